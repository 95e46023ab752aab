"""What nodes of 6.0 report about the metadata service: read in each poll, and never to the detriment of other data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.metadata import MetadataReport
from tests.fake_jolokia import denied, failed, missing_mbean, missing_operation
from tests.jolokia.scripted import OK, ONE, THREE, TWO, Lab, asked_of, poll_outcomes

if TYPE_CHECKING:
    from tests.jolokia.scripted import Running

DESCRIBE = ("describeCMS",)


def described(*members: str, **fields: str) -> dict[str, str]:
    """A map as a node of 6.0-alpha2 returns it."""
    return {
        "MEMBERS": ",".join(f"/{member}:7000" for member in members),
        "IS_MEMBER": "true",
        "LOCAL_PENDING": "0",
        "SERVICE_STATE": "LOCAL",
        "EPOCH": "17",
        "CMS_ID": "2130717273",
        "NEEDS_RECONFIGURATION": "false",
        "COMMITS_PAUSED": "false",
        "IS_MIGRATING": "false",
        "REPLICATION_FACTOR": "ReplicationParams{class=org.apache.cassandra.locator.MetaStrategy, dc1=3}",
        **fields,
    }


def lab(answer: Any, release: str = "6.0-alpha2") -> Lab:
    """Three nodes that give the same answers about the service."""
    made = Lab(release=release)
    for node in made.nodes.values():
        node.operations[DESCRIBE] = answer
    return made


def reports(running: Running) -> list[MetadataReport | None]:
    """The reports of a new poll, by observer."""
    return [view.metadata for view in running.poll().views]


REPORT = MetadataReport(
    members=frozenset({ONE, TWO, THREE}),
    epoch=17,
    state="LOCAL",
    migrating=False,
    paused=False,
    needs_reconfiguration=False,
)


def test_every_poll_reads_the_metadata_of_every_node() -> None:
    """The first poll and each later one have the reports; a later poll is one request per node."""
    with lab(described(ONE, TWO, THREE)).running() as running:
        assert reports(running) == [REPORT] * 3
        before = {address: len(agent.payloads) for address, agent in running.cluster.agents.items()}
        running.lab.nodes[TWO].operations[DESCRIBE] = described(ONE, TWO, EPOCH="18", COMMITS_PAUSED="true")
        second = reports(running)[1]
        assert second
        assert (second.members, second.epoch, second.paused) == (frozenset({ONE, TWO}), 18, True)
        assert {len(agent.payloads) - before[address] for address, agent in running.cluster.agents.items()} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("answer", [missing_mbean, missing_operation, denied])
@pytest.mark.parametrize("release", ["5.0.8", "6.0-alpha2"])
def test_a_node_without_an_answer_is_asked_once(answer: Any, release: str) -> None:
    """An older release, or a policy that forbids the request, causes no error and no request in later polls."""
    with lab(answer, release).running() as running:
        assert reports(running) == [None] * 3
        asked = [len(asked_of(running, address)) for address in (ONE, TWO, THREE)]
        assert poll_outcomes(running) == dict.fromkeys((ONE, TWO, THREE), OK)
        for address, before in zip((ONE, TWO, THREE), asked, strict=True):
            assert DESCRIBE[0] not in asked_of(running, address)[before:]


BROKEN: tuple[Any, ...] = (
    "no map",
    {},
    described() | {"MEMBERS": None},
    described("not an address"),
    described(ONE, EPOCH="soon"),
    described(ONE, COMMITS_PAUSED="perhaps"),
    described(ONE) | {"MEMBERS": "x" * 10_000},
)


@pytest.mark.slow
@pytest.mark.parametrize("answer", BROKEN, ids=range(len(BROKEN)))
def test_an_answer_of_another_form_costs_no_view(answer: Any) -> None:
    """What can't be understood is unknown; the node's own state and lists still count."""
    with lab(answer).running() as running:
        for _ in range(2):
            assert reports(running) == [None] * 3
        assert poll_outcomes(running) == dict.fromkeys((ONE, TWO, THREE), OK)


def test_keys_that_are_missing_are_not_known() -> None:
    """A release may report fewer keys."""
    with lab({"MEMBERS": "host/127.0.2.1:7000,/127.0.2.9:7001", "NEW": "1"}).running() as running:
        assert reports(running) == [MetadataReport(members=frozenset({ONE, "127.0.2.9:7001"}))] * 3


@pytest.mark.parametrize("upgraded", [ONE, TWO])
def test_an_upgraded_node_is_asked_though_it_was_not_before(upgraded: str) -> None:
    """A node that comes back with 6.0 reports the service in the first poll that sees it, contact point or not."""
    with lab(missing_mbean, "5.0.8").running() as running:
        assert reports(running) == [None] * 3
        running.lab.nodes[upgraded].attributes["ReleaseVersion"] = "6.0-alpha2"
        running.lab.nodes[upgraded].operations[DESCRIBE] = described(SERVICE_STATE="GOSSIP")
        found = dict(zip((ONE, TWO, THREE), reports(running), strict=True))
        assert found[upgraded]
        assert found == dict.fromkeys((ONE, TWO, THREE)) | {upgraded: found[upgraded]}


def test_an_error_in_the_operation_costs_no_view() -> None:
    """Jolokia up to 2.3 answers a whole bulk with one Error: then the rest is asked one by one."""

    def thrown(_: Any) -> Any:
        return {"error_type": "java.lang.AssertionError", "error": "java.lang.AssertionError : null", "status": 500}

    with lab(described(ONE, TWO, THREE)).running() as running:
        assert reports(running) == [REPORT] * 3
        running.lab.nodes[TWO].operations[DESCRIBE] = thrown
        assert reports(running) == [REPORT, None, REPORT]
        assert poll_outcomes(running) == dict.fromkeys((ONE, TWO, THREE), OK)
        running.lab.nodes[TWO].operations[DESCRIBE] = described(ONE, TWO, THREE)
        assert reports(running) == [REPORT] * 3


def test_an_exception_of_the_operation_costs_no_view() -> None:
    """Only the one operation fails."""

    def refused(item: Any) -> Any:
        return failed(item, 500, "java.lang.IllegalStateException", "not started")

    with lab(described(ONE, TWO, THREE)).running() as running:
        assert reports(running) == [REPORT] * 3
        running.lab.nodes[TWO].operations[DESCRIBE] = refused
        assert reports(running) == [REPORT, None, REPORT]
        running.lab.nodes[TWO].operations[DESCRIBE] = described(ONE, TWO, THREE)
        assert reports(running) == [REPORT] * 3
