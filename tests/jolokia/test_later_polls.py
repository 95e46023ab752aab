"""Later polls: what makes a poll read the ring again, and what is read while nodes move or stream."""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.evidence import judged
from ringcheck.core.membership import Roster
from ringcheck.core.ring import Pending
from ringcheck.jolokia import discovery, snapshot
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import denied, missing_mbean, ok
from tests.jolokia.scripted import (
    OK,
    ONE,
    STREAM_MANAGER,
    THREE,
    TWO,
    Lab,
    Running,
    later,
    rings_read,
    unavailable,
)

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot

# When the ring is read again.


def test_the_ring_is_read_again_when_the_schema_changes() -> None:
    """A created or altered keyspace changes the schema version, and the next poll notices it."""
    lab = Lab(keyspaces={"a": "SimpleStrategy {replication_factor=3}", "b": "SimpleStrategy {replication_factor=2}"})
    lab.set_all("NonLocalStrategyKeyspaces", ["a"])
    with lab.running() as running:
        assert len(running.poll().rings) == 1
        lab.set_all("NonLocalStrategyKeyspaces", ["a", "b"])
        assert len(running.poll().rings) == 1
        lab.set_all("SchemaVersion", "new")
        assert len(running.poll().rings) == 2
        assert rings_read(running) == 3


def test_without_schema_versions_the_ring_is_read_in_each_poll() -> None:
    """Otherwise a keyspace that is created between two polls would leave no trace."""
    lab = Lab()
    lab.set_all("SchemaVersion", denied)
    with lab.running() as running:
        assert not running.poll().problems
        lab.set_all("NonLocalStrategyKeyspaces", ["orders", "new"])
        seen = running.poll()
        assert [problem.subject for problem in seen.problems] == ["new"]  # the keyspace exists, and has no ring yet
        assert [view.outcome for view in seen.views] == ["ok"] * 3


@pytest.mark.parametrize("name", ["CurrentGenerationNumber"])
def test_the_ring_is_read_again_after_a_restart(name: str) -> None:
    """A restarted node may have another rack, release or tokens."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        lab.nodes[THREE].attributes[name] += 100
        lab.nodes[ONE].operations["getRack", f"{THREE}:7000"] = "r9"
        assert running.poll().nodes[2].rack == "r9"
        running.poll()
        assert rings_read(running) == 2


def test_a_node_that_goes_down_does_not_cause_another_reading() -> None:
    """Its state changes, but the ring does not. When it is back unchanged, nothing is read again either."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        lab.down(THREE)
        running.cluster.agents[THREE].raw = unavailable
        assert [view.outcome for view in running.poll().views] == ["ok", "ok", "unreachable"]
        lab.down()
        running.cluster.agents[THREE].raw = None
        assert [view.outcome for view in running.poll().views] == ["ok"] * 3
        assert rings_read(running) == 1


def test_the_ring_is_read_again_on_request_and_after_an_hour() -> None:
    """A change that leaves no trace is found after an hour, or when the caller asks for it."""
    clock = [time.monotonic()]
    with Lab().running() as running:
        source = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), clock=lambda: clock[0]
        )
        for seconds, expected in ((0, 1), (3500, 1), (200, 2)):
            clock[0] += seconds
            source.poll(5.0)
            assert rings_read(running) == expected
        source.forget_topology()
        source.poll(5.0)
        assert rings_read(running) == 3
        source.close()


def test_a_ring_that_can_not_be_read_again_is_shown_as_stale() -> None:
    """The old ring is shown with a problem, and the next poll tries again."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        lab.set_all("SchemaVersion", "new")
        keyspaces = lab.nodes[ONE].attributes["NonLocalStrategyKeyspaces"]
        lab.set_all("NonLocalStrategyKeyspaces", 7)
        snapshot = running.poll()
        assert [(problem.code, problem.subject, problem.summary) for problem in snapshot.problems] == [
            (
                "topology_stale",
                "lab",
                "the ring may have changed but can't be read again: NonLocalStrategyKeyspaces is not a list: 7",
            )
        ]
        assert len(snapshot.rings) == 1
        lab.set_all("NonLocalStrategyKeyspaces", keyspaces)
        assert running.poll().problems == ()


# Pending ranges.


def test_a_joining_node_is_shown_with_its_pending_ranges() -> None:
    """It has no tokens yet. Its pending ranges are read in each poll until it has joined."""
    lab, four = Lab(4), "127.0.2.4"
    settled = Lab(3)
    moving = {f"[{-(2**62)}, 7]": [f"{four}:7000"]}
    for address in lab.addresses:
        lab.lists(address, "JoiningNodes", [four])
        lab.nodes[address].operations["getRangeToEndpointWithPortMap", "orders"] = settled.ranges(3, with_port=True)
        tokens = {str(token): f"{owner}:7000" for token, owner in settled.tokens.items()}
        lab.nodes[address].attributes["TokenToEndpointWithPortMap"] = tokens | {"7": f"{four}:7000"}
        lab.nodes[address].operations["getPendingRangeToEndpointWithPortMap", "orders"] = later({}, moving, {})
    lab.nodes[four].attributes |= {"OperationMode": "JOINING", "NativeTransportRunning": False}
    with lab.running() as running:
        first, second, third = running.poll(), running.poll(), running.poll()
        assert rings_read(running) == 1
    assert [node.tokens for node in first.nodes] == [2, 2, 2, 0]
    assert [snapshot.rings[0].pending for snapshot in (first, third)] == [(), ()]
    assert second.rings[0].pending == (Pending(-(2**62), 7, (3,)),)
    assert second.rings[0].table is first.rings[0].table
    assert [view.reason for view in second.views] == [None, None, None, "joining"]


def test_pending_ranges_that_can_not_be_read_are_a_problem() -> None:
    """While a node moves, a ring without its pending ranges is incomplete."""
    lab = Lab()
    for address in lab.addresses:
        lab.lists(address, "LeavingNodes", [THREE])
        lab.nodes[address].operations["getPendingRangeToEndpointWithPortMap", "orders"] = denied
    with lab.running() as running:
        for _ in range(2):
            assert [problem.code for problem in running.poll().problems][-1] == "ring_unreadable"


# Streams.


def streams_of(running: Running) -> list[int | None]:
    return [node.streams for node in running.source.poll(4.0, streams=True).nodes]


@pytest.mark.slow
def test_streams_cost_a_request_a_node_and_only_on_request() -> None:
    """A steady poll does not ask; the gate's poll asks each node that answered for the start of its list."""
    lab = Lab()
    lab.nodes[ONE].other[STREAM_MANAGER, "CurrentStreams"] = [{"planId": "a"}, {"planId": "b"}]
    lab.nodes[TWO].other[STREAM_MANAGER, "CurrentStreams"] = []
    lab.down(THREE)
    with lab.running(without=(THREE,)) as running:
        assert [node.streams for node in running.poll().nodes] == [None, None, None]
        before = running.cluster.posts
        assert streams_of(running) == [2, 0, None]
        assert running.cluster.posts - before == 2 * 2
        assert [node.streams for node in running.poll().nodes] == [None, None, None]
        assert running.cluster.posts - before == 3 * 2
        items = [item for item in running.cluster.items() if item.get("attribute") == "CurrentStreams"]
        assert [item["config"]["maxCollectionSize"] for item in items] == [2, 2]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (denied, None),
        (missing_mbean, "StreamManager"),
        ("text", "CurrentStreams is not a list"),
        ({"a": 1}, "CurrentStreams is not a list"),
        (None, "CurrentStreams is not a list"),
    ],
)
def test_streams_that_can_not_be_read_are_unknown(answer: Any, why: str | None) -> None:
    """That is a problem, unless an older access policy forbids reading them; the view is used all the same."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[STREAM_MANAGER, "CurrentStreams"] = []
    lab.nodes[TWO].other[STREAM_MANAGER, "CurrentStreams"] = answer
    with lab.running() as running:
        seen = running.source.poll(4.0, streams=True)
        assert [node.streams for node in seen.nodes] == [0, None, 0]
        assert {(view.outcome, view.reason) for view in seen.views} == {OK}
        assert [(one.code, one.subject) for one in seen.problems] == ([("streams_unread", TWO)] if why else [])
        assert all(why in one.summary for one in seen.problems if why)
        assert running.poll().problems == ()


@pytest.mark.slow
def test_a_node_that_hangs_leaves_time_for_the_streams_of_the_others() -> None:
    """The first poll of a process waits for that node too; on the command line this is the gate's poll."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[STREAM_MANAGER, "CurrentStreams"] = []
    with lab.running(hanging=(THREE,), timeout=60.0) as running:
        seen = running.source.poll(8.0, streams=True)
        assert [node.streams for node in seen.nodes] == [0, 0, None]
        assert len(running.cluster.agents[THREE].payloads) == 1


@pytest.mark.slow
def test_a_node_that_is_slow_to_list_its_streams_does_not_delay_the_poll() -> None:
    """If its streams come late they are unknown; until they come the node gets no second request."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[STREAM_MANAGER, "CurrentStreams"] = []
    hanging = Event()
    lab.nodes[TWO].other[STREAM_MANAGER, "CurrentStreams"] = lambda item: hanging.wait(60) and ok(item, [])
    with lab.running(timeout=30.0) as running:
        running.poll()
        try:
            seen = running.source.poll(4.0, streams=True)
            assert [node.streams for node in seen.nodes] == [0, None, 0]
            late = f"not known whether {TWO} is streaming: its answer was late"
            assert [(one.code, one.summary) for one in seen.problems] == [("streams_unread", late)]
            again = running.poll(2.0).views[1]  # the request may have been abandoned just now
            assert again.outcome == "ok" or "earlier request is still not answered" in (again.reason or "")
        finally:
            hanging.set()


# What is kept.


def test_nothing_is_kept_of_a_node_that_has_left() -> None:
    """A cluster in containers always gets new addresses: agents, releases and connections of old ones must go."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        session = running.source._session
        lab.nodes[THREE].attributes["OperationMode"] = "DECOMMISSIONED"
        for address in (ONE, TWO):
            node = lab.nodes[address]
            lab.lists(address, "LiveNodes", [ONE, TWO])
            del node.attributes["EndpointWithPortToHostId"][lab.endpoint(THREE)]
            node.attributes["TokenToEndpointWithPortMap"] = {"1": lab.endpoint(ONE), "2": lab.endpoint(TWO)}
            node.operations["getRangeToEndpointWithPortMap", "orders"] = {
                "[1, 2]": [lab.endpoint(ONE), lab.endpoint(TWO)], "[2, 1]": [lab.endpoint(ONE), lab.endpoint(TWO)],
            }  # fmt: skip
        assert [node.address for node in running.poll().nodes] == [ONE, TWO]
        running.poll()
        client = session.asking._client  # type: ignore[attr-defined]
        assert sorted(session.releases) == [ONE, TWO]
        kept = (session.agents, client._in_flight, client._connections._addresses, client._connections._idle)
        assert [THREE in repr(list(each)) for each in kept] == [False] * 4
        assert [len(each) for each in (*kept, session.explained, session.busy)] == [2] * 6


# What is not computed again.


def test_views_that_say_the_same_are_not_judged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a view says something else, it is judged; snapshots equal those of a source that never polled before."""
    anew: list[object] = []

    def judging(seen: Snapshot) -> Snapshot:
        anew.append(seen)
        return judged(seen)

    monkeypatch.setattr(snapshot, "judged", judging)
    lab = Lab()
    with lab.running() as running:
        first = running.poll()
        assert running.poll().views == first.views
        assert len(anew) == 1
        lab.nodes[THREE].attributes["GossipRunning"] = False
        for _ in range(2):
            assert [view.outcome for view in running.poll().views] == ["ok", "ok", "discarded"]
        assert len(anew) == 2
        lab.nodes[THREE].attributes["GossipRunning"] = True
        with lab.running() as other:
            assert replace(running.poll(), taken_at="") == replace(other.poll(), taken_at="")


def test_members_are_merged_once_for_the_same_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first poll merges the reports of the contact points, then those of all nodes; the ring adds nothing."""
    merged: list[object] = []

    class Counting(Roster):
        def __init__(self, testimonies: Any) -> None:
            merged.append(testimonies)
            super().__init__(testimonies)

    monkeypatch.setattr(discovery, "Roster", Counting)
    lab = Lab()
    lab.set_all("OwnershipWithPort", {f"{address}:7000": 0.33 for address in lab.addresses})
    with lab.running() as running:
        assert [node.address for node in running.poll().nodes] == [ONE, TWO, THREE]
        assert [len(testimonies) for testimonies in merged] == [1, 3]  # type: ignore[arg-type]
