"""Nodes of different schema versions: which of them is asked for its keyspaces, and what differs from the ring."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy
from ringcheck.http.loop import RequestLimit
from ringcheck.http.threads import WorkerThreads
from ringcheck.jolokia import schemas
from ringcheck.jolokia.loop import OnLoop
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.jolokia.topology import Topology
from tests.fake_jolokia import denied
from tests.jolokia.scripted import ONE, THREE, TWO, Lab, Running, asked_of, later
from tests.jolokia.test_client import requests_of

if TYPE_CHECKING:
    from ringcheck.core.findings import Finding
    from ringcheck.core.ring import Snapshot

NEW_SCHEMA = "0d918984-7629-353c-90f8-31a47a6ff839"
FOUR = "127.0.2.4"
REST = f"{TWO}, {THREE}, {FOUR}"
THREE_REPLICAS = {"orders": "NetworkTopologyStrategy {dc1=3}"}
ONE_REPLICA = {"orders": "NetworkTopologyStrategy {dc1=1}"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_SPREADING", 0.01)


def upgraded(
    old: dict[str, str], new: dict[str, str], *addresses: str, releases: tuple[str, str] = ("4.1.9", "5.0.8")
) -> Lab:
    """Four nodes, of which these (the first one by default) have the new release, with keyspaces of their own."""
    lab = Lab(count=4, release=releases[0], keyspaces=old)
    other = Lab(count=4, release=releases[1], keyspaces=new)
    for address in addresses or (ONE,):
        lab.nodes[address] = other.nodes[address]
        lab.nodes[address].attributes["SchemaVersion"] = NEW_SCHEMA
    return lab


def findings(seen: Snapshot, policy: Policy | None = None) -> list[Finding]:
    """The findings about replication."""
    found = assess(seen, policy or Policy(authenticates=False)).findings
    return [finding for finding in found if finding.code in {"replication_disagreement", "replication_unread"}]


def safe(seen: Snapshot) -> frozenset[str]:
    return Gatekeeper(seen, Policy(authenticates=False), Gate(settle=0)).safe_nodes()


def summaries(seen: Snapshot, policy: Policy | None = None) -> list[str]:
    return [f"{finding.code} {finding.severity.name}: {finding.summary}" for finding in findings(seen, policy)]


def keyspaces_asked(running: Running, address: str) -> int:
    """How often a node was asked for its keyspaces."""
    return asked_of(running, address).count("NonLocalStrategyKeyspaces")


@pytest.mark.slow
@pytest.mark.parametrize("contact", [ONE, TWO, FOUR])
@pytest.mark.parametrize("addresses", [(ONE,), (ONE, TWO), (FOUR,)])
def test_an_alter_that_reached_one_release_only(contact: str, addresses: tuple[str, ...]) -> None:
    """Each coordinator uses its own replication, so the cluster is not OK, and no node may stop."""
    lab = upgraded(ONE_REPLICA, THREE_REPLICAS, *addresses)
    with lab.running(contact) as running:
        seen = running.poll()
    (finding,) = findings(seen)
    others = [address for address in lab.addresses if address not in addresses]
    assert finding.severity.name == "UNKNOWN"
    assert finding.subject == "orders"
    assert set(finding.summary.removeprefix("orders: ").split("; ")) == {
        f"NetworkTopologyStrategy {{dc1=3}} by {', '.join(addresses)}",
        f"NetworkTopologyStrategy {{dc1=1}} by {', '.join(others)}",
    }
    assert safe(seen) == frozenset()
    reasons = Gatekeeper(seen, Policy(authenticates=False), Gate(settle=0)).decide([others[0]]).reasons
    assert ("contradiction", True) in {(reason.code, reason.blocks) for reason in reasons}


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (THREE_REPLICAS | {"fresh": ONE_REPLICA["orders"]}, THREE_REPLICAS, f"by {REST}; unknown to {ONE}"),
        (THREE_REPLICAS, THREE_REPLICAS | {"fresh": ONE_REPLICA["orders"]}, f"by {ONE}; unknown to {REST}"),
    ],
)  # fmt: skip
def test_a_keyspace_that_one_release_does_not_know(old: dict[str, str], new: dict[str, str], text: str) -> None:
    """Its ranges are not known, or not those of all coordinators: whichever node the ring was read from."""
    for contact in (ONE, FOUR):
        with upgraded(old, new).running(contact) as running:
            seen = running.poll()
        (finding,) = findings(seen)
        assert finding.subject == "fresh"
        parts = f"NetworkTopologyStrategy {{dc1=1}} {text}".split("; ")
        assert set(finding.summary.removeprefix("fresh: ").split("; ")) == set(parts)
        assert safe(seen) == frozenset()


@pytest.mark.parametrize(
    "other",
    [
        "org.apache.cassandra.locator.NetworkTopologyStrategy {dc1=3}",
        "NetworkTopologyStrategy {dc2=0, dc1=3}",
        "NetworkTopologyStrategy {dc1=3, dc2=0}",
    ],
)
def test_replications_that_mean_the_same(other: str) -> None:
    """The order of options, the package of the class and a factor of 0 make no difference."""
    with upgraded(THREE_REPLICAS, {"orders": other}).running() as running:
        seen = running.poll()
        assert len(seen.schemas) == 2
        assert findings(seen) == []
        assert safe(seen) == set(running.lab.addresses)


def test_keyspaces_that_are_not_judged_may_differ() -> None:
    """Cassandra's own keyspaces differ between releases; one that is watched must not."""
    own = {
        "system_traces": "SimpleStrategy {replication_factor=2}",
        "system_auth": "SimpleStrategy {replication_factor=2}",
    }
    new = {
        "system_distributed_x": "SimpleStrategy {replication_factor=3}",
        "system_auth": "SimpleStrategy {replication_factor=1}",
    }
    lab = upgraded(THREE_REPLICAS | own, THREE_REPLICAS | new)
    for node in lab.nodes.values():
        node.attributes["NonLocalStrategyKeyspaces"] += ["system_metadata"]
        node.operations["getKeyspaceReplicationInfo", "system_metadata"] = "MetaStrategy {}"
    lab.nodes[TWO].attributes["NonLocalStrategyKeyspaces"].remove("system_metadata")
    with lab.running() as running:
        seen = running.poll()
    assert findings(seen) == []
    assert [finding.subject for finding in findings(seen, Policy(authenticates=True))] == ["system_auth"]


# What it costs.


def test_one_schema_version_costs_no_request() -> None:
    """A cluster of one release, and a mixed one too that reports one version, is asked for keyspaces once."""
    for lab in (Lab(count=4), upgraded(THREE_REPLICAS, THREE_REPLICAS)):
        lab.set_all("SchemaVersion", NEW_SCHEMA)
        with lab.running() as running:
            assert running.poll().schemas == ()
            first = sum(len(agent.payloads) for agent in running.cluster.agents.values())
            assert first == 12  # 4 introductions, 5 of the ring, and 3 nodes are asked for locations
            assert sum(keyspaces_asked(running, address) for address in lab.addresses) == 1
            running.poll()
            assert sum(len(agent.payloads) for agent in running.cluster.agents.values()) == first + 4


def test_a_node_of_each_version_is_asked_once() -> None:
    """Later polls ask it again only after the schema has changed; the snapshot shows who reported what."""
    lab = upgraded(THREE_REPLICAS, THREE_REPLICAS)
    with lab.running() as running:
        seen = running.poll()
        assert running.poll().schemas == seen.schemas
        asked = [keyspaces_asked(running, address) for address in lab.addresses]
        assert sorted(asked) == [0, 0, 1, 1]
        assert [(report.of_ring, report.nodes) for report in seen.schemas] in (
            [(True, (ONE,)), (False, (TWO, THREE, FOUR))],
            [(True, (TWO, THREE, FOUR)), (False, (ONE,))],
        )
        for address in (TWO, THREE, FOUR):
            lab.nodes[address].attributes["SchemaVersion"] = "later"
            lab.nodes[address].operations["getKeyspaceReplicationInfo", "orders"] = ONE_REPLICA["orders"]
        assert [finding.subject for finding in findings(running.poll())] == ["orders"]


# Nodes that do not answer.


def hides_replication(lab: Lab, *addresses: str) -> None:
    for address in addresses:
        lab.nodes[address].attributes["NonLocalStrategyKeyspaces"] = denied


def test_the_next_node_of_a_version_is_asked_if_one_fails() -> None:
    """The keyspaces of a version are known if one of its nodes reports them."""
    lab = upgraded(ONE_REPLICA, THREE_REPLICAS, ONE, TWO)
    hides_replication(lab, ONE, THREE)
    with lab.running() as running:
        seen = running.poll()
        assert [finding.code for finding in findings(seen)] == ["replication_disagreement"]
        assert {report.asked for report in seen.schemas} == {TWO, FOUR}


def test_if_no_node_of_a_version_can_be_asked_that_is_not_known() -> None:
    """It is UNKNOWN and blocks; it is asked for again after a minute, not in each poll."""
    lab = upgraded(THREE_REPLICAS, THREE_REPLICAS)
    hides_replication(lab, TWO, THREE, FOUR)
    with lab.running() as running:
        seen = running.poll()
        (text,) = summaries(seen)
        assert text.startswith(
            "replication_unread UNKNOWN: not known how 127.0.2.2, 127.0.2.3, 127.0.2.4 replicate keyspaces: "
        )
        assert safe(seen) == frozenset()
        asked = keyspaces_asked(running, TWO)
        assert summaries(running.poll()) == [text]
        assert keyspaces_asked(running, TWO) == asked


def test_a_version_that_could_not_be_read_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it can be read, the finding ends."""
    monkeypatch.setattr(schemas, "_AGAIN", -1.0)
    lab = upgraded(THREE_REPLICAS, THREE_REPLICAS)
    hides_replication(lab, TWO, THREE, FOUR)
    with lab.running() as running:
        assert len(summaries(running.poll())) == 1
        for address in (TWO, THREE, FOUR):
            lab.nodes[address].attributes["NonLocalStrategyKeyspaces"] = ["orders"]
        assert summaries(running.poll()) == []


@pytest.mark.parametrize("hidden", [(TWO, THREE, FOUR), (ONE, TWO, THREE, FOUR)])
def test_nodes_that_hide_their_schema_version(hidden: tuple[str, ...]) -> None:
    """If access policies hide it, a node of each release is asked."""
    lab = upgraded(ONE_REPLICA, THREE_REPLICAS)
    for address in hidden:
        lab.nodes[address].attributes["SchemaVersion"] = denied
    with lab.running() as running:
        assert [finding.subject for finding in findings(running.poll())] == ["orders"]


def test_a_node_that_serves_no_clients_is_not_asked() -> None:
    """Nobody uses the replication that it knows."""
    lab = upgraded(THREE_REPLICAS, ONE_REPLICA)
    lab.nodes[ONE].attributes |= {"NativeTransportRunning": False}
    with lab.running(TWO) as running:
        seen = running.poll()
        assert seen.schemas == ()
        assert findings(seen) == []
        assert keyspaces_asked(running, ONE) == 0


# An ALTER that is spreading.


def spreading(before: str, after: str) -> Any:
    """The replication of orders, which changes after it was asked for once."""
    return later(f"NetworkTopologyStrategy {{dc1={before}}}", f"NetworkTopologyStrategy {{dc1={after}}}")


def altered(late: str) -> Lab:
    """An ALTER that has reached all nodes but one, whose old replication is seen once."""
    lab = Lab(keyspaces=THREE_REPLICAS)
    lab.set_all("SchemaVersion", NEW_SCHEMA)
    lab.nodes[late].attributes["SchemaVersion"] = "old"
    lab.nodes[late].operations["getKeyspaceReplicationInfo", "orders"] = spreading("1", "3")
    return lab


@pytest.mark.parametrize("late", [ONE, TWO, THREE])
def test_an_alter_that_is_just_spreading_is_no_disagreement(late: str) -> None:
    """The keyspaces are asked for a second time; if the source of the ring was late, the ring is read again."""
    lab = altered(late)
    if late == ONE:  # its ring before the change
        ranges = [lab.ranges(number, with_port=True) for number in (1, 3)]
        lab.nodes[ONE].operations["getRangeToEndpointWithPortMap", "orders"] = later(*ranges)
    with lab.running() as running:
        seen = running.poll()
    assert summaries(seen) == []
    assert [str(ring.replication) for ring in seen.rings] == ["NetworkTopologyStrategy {dc1=3}"]
    assert seen.problems == ()


def test_a_node_whose_schema_changes_meanwhile_does_not_speak_for_its_version() -> None:
    """Another node still has the version, and is asked: its replication differs from that of the ring."""
    lab = Lab(count=4, keyspaces=THREE_REPLICAS)
    lab.set_all("SchemaVersion", NEW_SCHEMA)
    lab.nodes[THREE].attributes["SchemaVersion"] = later("old", NEW_SCHEMA)
    lab.nodes[FOUR].attributes["SchemaVersion"] = "old"
    lab.nodes[FOUR].operations["getKeyspaceReplicationInfo", "orders"] = ONE_REPLICA["orders"]
    with lab.running() as running:
        seen = running.poll()
    assert [report.asked for report in seen.schemas] == [ONE, FOUR]
    assert [finding.subject for finding in findings(seen)] == ["orders"]


def test_the_ring_is_read_again_if_only_its_source_has_another_schema() -> None:
    """The versions of all nodes together are the same as before, but the ring shows another one."""
    lab = Lab(keyspaces=THREE_REPLICAS)
    lab.set_all("SchemaVersion", NEW_SCHEMA)
    lab.nodes[THREE].attributes["SchemaVersion"] = "old"
    lab.nodes[ONE].attributes["SchemaVersion"] = "old"
    with lab.running() as running:
        assert [report.nodes for report in running.poll().schemas] == [(ONE, THREE), (TWO,)]
        lab.nodes[ONE].attributes["SchemaVersion"] = NEW_SCHEMA
        lab.nodes[THREE].operations["getKeyspaceReplicationInfo", "orders"] = ONE_REPLICA["orders"]
        assert [finding.subject for finding in findings(running.poll())] == ["orders"]


def test_a_ring_that_is_read_in_each_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with a single token may move unseen; the keyspaces of a schema version are asked for once nevertheless."""
    lab = upgraded(ONE_REPLICA, THREE_REPLICAS)
    monkeypatch.setattr(Topology, "may_move", property(lambda _: True))
    with lab.running() as running:
        assert [finding.subject for finding in findings(running.poll())] == ["orders"]
        asked = sum(keyspaces_asked(running, address) for address in lab.addresses)
        assert [finding.subject for finding in findings(running.poll())] == ["orders"]
        assert sum(keyspaces_asked(running, address) for address in lab.addresses) == asked + 1


def test_the_agent_asks_again_too() -> None:
    """On an event loop, in the first poll: a false OK does not wait for the second one."""
    lab = altered(TWO)
    stuck = altered(THREE)
    stuck.nodes[THREE].operations["getKeyspaceReplicationInfo", "orders"] = ONE_REPLICA["orders"]
    for made, expected in ((lab, []), (stuck, ["orders"])):
        with made.running() as running, asyncio.Runner() as runner:
            asking = OnLoop(requests_of(timeout=2.0), WorkerThreads(1), RequestLimit(8))
            settings = JolokiaSettings(contact_points=(ONE,), url=running.cluster.template, timeout=2.0)
            source = JolokiaSource(settings, asking=asking)
            assert [finding.subject for finding in findings(runner.run(source.poll_on_loop(4.0)))] == expected
            source.close()


def test_releases_that_never_agree_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema does not cross major releases, so `check` does not take a second longer during an upgrade."""
    monkeypatch.setattr(schemas, "_SPREADING", 60.0)
    with upgraded(ONE_REPLICA, THREE_REPLICAS).running() as running:
        begun = time.monotonic()
        assert [finding.subject for finding in findings(running.poll(seconds=30.0))] == ["orders"]
        assert time.monotonic() - begun < 5
        assert max(keyspaces_asked(running, address) for address in running.lab.addresses) == 1


def test_an_alter_that_does_not_spread_is_a_disagreement() -> None:
    """Two schema versions of one release can last for long."""
    lab = altered(THREE)
    lab.nodes[THREE].operations["getKeyspaceReplicationInfo", "orders"] = ONE_REPLICA["orders"]
    with lab.running() as running:
        assert [finding.subject for finding in findings(running.poll())] == ["orders"]
        assert [finding.subject for finding in findings(running.poll())] == ["orders"]


# Releases that do not report replications.


@pytest.mark.parametrize(("replicas", "found"), [(3, []), (1, ["orders"])])
@pytest.mark.parametrize("releases", [("3.0.30", "3.11.19"), ("2.2.19", "3.0.30")])
def test_old_releases_are_compared_by_their_ranges(releases: tuple[str, str], replicas: int, found: list[str]) -> None:
    """Before 3.11.11 a node does not report a replication, but its ranges show the replicas."""
    old = {"orders": f"NetworkTopologyStrategy {{dc1={replicas}}}"}
    lab = upgraded(old, THREE_REPLICAS, releases=releases)
    for address, node in lab.nodes.items():
        if address != ONE or releases[1] == "3.0.30":
            del node.operations["getKeyspaceReplicationInfo", "orders"]
    with lab.running() as running:
        seen = running.poll()
    assert [finding.subject for finding in findings(seen)] == found
    if found:
        assert "other replicas by" in findings(seen)[0].summary
        assert safe(seen) == frozenset()


def test_ranges_that_cannot_be_compared_are_not_known() -> None:
    """If neither replication nor ranges can be read, the finding says so."""
    lab = upgraded(THREE_REPLICAS, THREE_REPLICAS, releases=("3.0.30", "3.11.19"))
    for address in (TWO, THREE, FOUR):
        lab.nodes[address].operations.clear()
    with lab.running() as running:
        seen = running.poll()
    assert [finding.code for finding in findings(seen)] == ["replication_unread"]
    assert safe(seen) == frozenset()


OLD = "6d2eef77-47ed-36a9-86d3-0c01cb6eff96"


@pytest.mark.parametrize("lasting", [True, False])
def test_a_change_of_the_schema_while_the_ring_is_read(lasting: bool) -> None:  # noqa: FBT001 - a case
    """All nodes reported one version, and the ring is of the next one: a node that stays behind is found all the same.

    The versions are asked for once more, so that nothing is unknown if the change has reached every node by then.
    """
    lab = upgraded(ONE_REPLICA, THREE_REPLICAS, ONE, TWO, THREE, FOUR, releases=("5.0.8", "5.0.8"))
    behind = upgraded(ONE_REPLICA, THREE_REPLICAS, ONE, TWO, THREE, releases=("5.0.8", "5.0.8"))
    if lasting:
        lab.nodes[FOUR] = behind.nodes[FOUR]
    for address in (ONE, TWO, THREE, *(() if lasting else (FOUR,))):
        lab.nodes[address].attributes["SchemaVersion"] = later(OLD, NEW_SCHEMA)
    lab.nodes[FOUR].attributes["SchemaVersion"] = OLD if lasting else later(OLD, NEW_SCHEMA)
    with lab.running() as running:
        seen = running.poll()
    if lasting:
        assert [(found.code, found.subject) for found in findings(seen)] == [("replication_disagreement", "orders")]
        assert safe(seen) == frozenset()
    else:
        assert findings(seen) == []
        assert len(safe(seen)) == 4
