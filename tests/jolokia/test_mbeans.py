"""The list of what may be asked agrees with the calls that are made, the access policy and the recordings."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ringcheck.errors import DataError, SourceError
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.control import Control
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.jolokia.scripted import FAILURE_DETECTOR, Lab
from tests.recordings import recordings

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = Path(__file__).parent.parent.parent / "config" / "jolokia" / "jolokia-access.xml"
LISTED = {(call.mbean, call.kind, call.name) for call in mbeans.CALLS}
COUNTED = {(call.mbean, call.kind, call.name) for call in mbeans.COUNTED}
WRITES = {(call.mbean, call.kind, call.name) for call in mbeans.CALLS if call.writes}


def calls_of(lab: Lab) -> Iterator[tuple[str, str, str]]:
    """All calls that polls make to a cluster in which nodes are down and moving."""
    lab.down(lab.addresses[2])
    for node in lab.nodes.values():
        node.other |= {(FAILURE_DETECTOR, name): "" for name in (mbeans.STATES, mbeans.STATES_WITH_PORT)}
    with lab.running(without=(lab.addresses[2],)) as running:
        running.poll()
        for address in lab.addresses:
            lab.lists(address, "LeavingNodes", [lab.addresses[1]])
        running.poll()
        running.poll()
        running.source.poll(4.0, streams=True)
        with suppress(DataError, SourceError):  # the fake agent has no such MBean: it matters only that it was asked
            control = Control(JolokiaSettings(contact_points=(), url=running.cluster.template))
            control.started_at(lab.addresses[0], lab.host_id(lab.addresses[0]), 5.0)
        with suppress(DataError, SourceError):
            control.client_counters(lab.addresses[0], lab.host_id(lab.addresses[0]), 5.0)
        for item in running.cluster.items():
            names = item.get("operation") or item.get("attribute")
            for name in names if isinstance(names, list) else [names]:
                mbean = item["mbean"]
                yield (
                    mbeans.CLIENT_REQUESTS if mbean.startswith(mbeans.CLIENT_REQUEST) else mbean,
                    item["type"],
                    str(name),
                )


@pytest.mark.slow
def test_exactly_the_listed_calls_are_made() -> None:
    """The list of calls has no missing and no unused entry."""
    old = Lab(release="3.0.3")
    for node in old.nodes.values():
        del node.attributes["NonLocalStrategyKeyspaces"]
    labs = Lab(), old, Lab(release="3.11.19")
    for lab in labs:
        lab.nodes[lab.addresses[0]].other[mbeans.FAILURE_DETECTOR, mbeans.DOWN_COUNT] = 2
    made = {call for lab in labs for call in calls_of(lab)}
    assert made == LISTED - WRITES


def test_drain_is_the_only_call_that_writes() -> None:
    """All other calls only read."""
    [drain] = WRITES
    assert drain == (mbeans.STORAGE_SERVICE, "exec", "drain")
    assert {mbeans.drain()[name] for name in ("mbean", "type", "operation")} == set(drain)


def allowed() -> set[tuple[str, str, str]]:
    """The calls that the example of an access policy allows."""
    root = ET.parse(POLICY).getroot()  # noqa: S314 - a file of this repository
    calls = set()
    for mbean in root.iterfind("./allow/mbean"):
        name = mbean.findtext("name") or ""
        assert all(item.get("mode") == "read" for item in mbean.iterfind("attribute"))
        calls |= {(name, "read", item.text or "") for item in mbean.iterfind("attribute")}
        calls |= {(name, "exec", item.text or "") for item in mbean.iterfind("operation")}
    return calls


def test_the_access_policy_allows_exactly_what_is_asked() -> None:
    """The example allows every call except the one that writes, including those for `auto`, and no other."""
    assert allowed() == (LISTED - WRITES) | COUNTED
    root = ET.parse(POLICY).getroot()  # noqa: S314 - a file of this repository
    assert [item.text for item in root.iterfind("./http/method")] == ["post"]
    assert [item.text for item in root.iterfind("./commands/command")] == ["version"]
    assert "<operation>drain</operation>" in POLICY.read_text()


@pytest.mark.parametrize("line", sorted({item.line for item in recordings()}))
def test_releases_have_what_the_list_says(line: str) -> None:
    """A call is recorded as missing exactly for the releases that lack it according to the list."""
    release = mbeans.release(line)
    seen: dict[tuple[str, str, str], bool] = {}
    for recording in recordings():
        if (recording.line, recording.state) == (line, "healthy"):
            for item in recording.items():
                asked = item.request
                if isinstance(asked, dict) and isinstance(asked.get("attribute") or asked.get("operation"), str):
                    what = asked.get("mbean", ""), asked["type"], asked.get("attribute") or asked["operation"]
                    seen[what] = seen.get(what, False) or item.reply["status"] == 200
    known = [call for call in mbeans.CALLS if (call.mbean, call.kind, call.name) in seen]
    assert len(known) > 25
    for call in known:
        assert seen[call.mbean, call.kind, call.name] == (call.since <= release), call


def test_every_request_lifts_the_agents_limits() -> None:
    """An agent that truncates lists by default must not truncate these."""
    lab = Lab()
    with lab.running() as running:
        JolokiaSource(JolokiaSettings(contact_points=("127.0.2.1",), url=running.cluster.template)).poll(3.0)
        assert all(item["config"] == mbeans.NO_LIMITS for item in running.cluster.items())
