"""Polls of a whole cluster: how much is asked, from which release, and within which time."""

from __future__ import annotations

import time
from concurrent.futures import wait
from datetime import UTC, datetime

import pytest

from ringcheck.core.ring import Replication
from ringcheck.errors import ConfigError, SourceError
from ringcheck.jolokia import asking
from ringcheck.jolokia.asking import ByThreads
from ringcheck.jolokia.settings import ConfiguredCluster, JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import cluster, denied, ok
from tests.jolokia.scripted import (
    FAILURE_DETECTOR,
    ONE,
    THREE,
    TWO,
    TWO_RINGS,
    Lab,
    asked_of,
)

# How much is asked.


def test_a_first_poll_costs_a_few_requests_and_a_later_poll_one_a_node() -> None:
    """The load is known: ten requests for three nodes and one replication, then one request per node."""
    with Lab(keyspaces=dict.fromkeys(("a", "b", "c"), "SimpleStrategy {replication_factor=3}")).running() as running:
        first = running.poll()
        assert running.cluster.posts == 10
        assert running.cluster.bytes_sent < 23_000
        posts, sent = running.cluster.posts, running.cluster.bytes_sent
        second = running.poll()
        assert running.cluster.posts - posts == 3
        assert running.cluster.bytes_sent - sent < 3 * 1_800
        assert running.cluster.connections == 3
        assert sum(running.source.counts.requests.values()) == running.cluster.posts
        assert running.source.counts.bytes == running.cluster.bytes_sent
        assert max(agent.most_in_flight for agent in running.cluster.agents.values()) == 1
    assert [ring.keyspaces for ring in first.rings] == [("a", "b", "c")]
    assert (second.nodes, second.views, second.rings) == (first.nodes, first.views, first.rings)


def test_unchanged_parts_of_a_snapshot_are_the_same_objects() -> None:
    """Unchanged nodes, views and rings are kept, and with them everything that was derived from them."""
    with Lab().running() as running:
        first, second = running.poll(), running.poll()
    assert all(one is other for one, other in zip(first.nodes, second.nodes, strict=True))
    assert all(one is other for one, other in zip(first.views, second.views, strict=True))
    assert first.rings is second.rings
    assert len({id(view.live) for view in first.views}) == 1


def test_sets_of_nodes_are_shared_and_their_number_is_bounded() -> None:
    """A cluster that flaps for months does not fill the memory with its past states; the present ones stay."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        session = running.source._session
        for number in range(300):
            session.shared.sets[frozenset({str(number)})] = frozenset()
            session.shared.map({str(number): "a host id"})
        session.shared.trim(session.agents.values())
        assert len(session.shared.sets) < 10
        assert len(session.shared._maps) < 10
        (known,) = {id(agent.host_ids): agent.host_ids for agent in session.agents.values()}.values()
        assert known
        assert session.shared.map(dict(known)) is known


def test_a_snapshot_has_the_time_at_which_its_poll_began() -> None:
    """No report in a snapshot is older than the time of the snapshot."""
    moment = datetime(2026, 11, 21, 5, 15, 45, tzinfo=UTC)
    lab = Lab()
    with lab.running() as running:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), now=lambda: moment)
        assert source.poll(2.0).taken_at == "2026-11-21T05:15:45Z"
        source.close()


def test_a_configuration_without_contact_points_is_refused() -> None:
    """The error is raised before anything is asked."""
    with pytest.raises(ConfigError, match="there is no contact point to ask"):
        JolokiaSource(JolokiaSettings(contact_points=()))


def test_closing_a_source_ends_its_threads() -> None:
    """No thread of a source prevents the process from ending."""
    with Lab().running() as running:
        running.poll()
        by_threads = running.source._session.asking
        assert isinstance(by_threads, ByThreads)
        threads = list(by_threads._workers._threads)
        assert threads
        assert all(thread.daemon for thread in threads)
        running.source.close()
        for thread in threads:
            thread.join(2)
            assert not thread.is_alive()


def test_a_nonsense_answer_is_an_error_of_its_node_alone() -> None:
    """The error is one line, and the other nodes are not affected."""
    lab = Lab()
    with cluster({ONE: lab.nodes[ONE], TWO: lab.nodes[TWO], THREE: lambda item: ok(item, [7])}) as running:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.template))
        snapshot = source.poll(2.0)
        source.close()
    assert [node.source for node in snapshot.nodes] == ["ok", "ok", "error"]
    assert snapshot.views[2].outcome == "unreachable"
    assert "\n" not in str(snapshot.views[2].reason)


@pytest.mark.slow
def test_many_nodes_are_located_in_pieces_of_limited_size() -> None:
    """A bulk has at most 256 items, because the agent answers no other request in the meantime."""
    with Lab(200).running(without=tuple(Lab(200).addresses[1:]), timeout=5) as running:
        snapshot = running.poll(8.0)
        assert {node.datacenter for node in snapshot.nodes} == {"dc1"}
        sizes = [len(payload) for payload in running.cluster.agents[ONE].payloads if isinstance(payload, list)]
        assert max(sizes) == 256


# Releases.


@pytest.mark.slow
@pytest.mark.parametrize(
    "release", ["2.2.19", "3.0.29", "3.11.10", "3.11.19", "4.0.17", "4.1.9", "5.0.8", "5.1-alpha1"]
)
def test_each_release_is_asked_for_what_it_has(release: str) -> None:
    """Only the first request to a node of unknown release asks for attributes that the release may lack."""
    with Lab(release=release).running() as running:
        snapshot = running.poll()
        running.poll()
        assert not snapshot.problems
        modern = int(release[0]) >= 4
        assert [node.release_version for node in snapshot.nodes] == [release] * 3
        assert all(node.source == "ok" and node.tokens == 2 for node in snapshot.nodes)
        reported = release not in {"2.2.19", "3.0.29", "3.11.10"}
        assert [str(ring.replication) for ring in snapshot.rings] == [
            "NetworkTopologyStrategy {dc1=3}" if reported else "None"
        ]
        later_asked = [name for name in asked_of(running, ONE, since=1) if "WithPort" in name]
        assert bool(later_asked) == modern
        assert ("getKeyspaceReplicationInfo" in asked_of(running, ONE)) == reported


def test_replication_that_a_release_does_not_report_comes_from_the_configuration() -> None:
    """Before 3.11.11 the configured replication is used, and keyspaces of equal replication share a ring."""
    lab = Lab(release="3.0.29", keyspaces=dict.fromkeys(("a", "b", "c"), "SimpleStrategy {replication_factor=3}"))
    stated = Replication.parse("SimpleStrategy {replication_factor=3}")
    with lab.running() as running:
        source = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template),
            ConfiguredCluster(replication={"a": stated, "c": stated}),
        )
        rings = source.poll(2.0).rings
        source.close()
    assert [(ring.keyspaces, ring.replication) for ring in rings] == [(("a", "c"), stated), (("b",), None)]


def test_a_reported_replication_wins_over_the_configured_one() -> None:
    """The replication may have been altered since the configuration was written."""
    with Lab().running() as running:
        stated = ConfiguredCluster(replication={"orders": Replication.parse("SimpleStrategy {replication_factor=1}")})
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), stated)
        assert str(source.poll(2.0).rings[0].replication) == "NetworkTopologyStrategy {dc1=3}"
        source.close()


def test_in_a_mixed_cluster_the_ring_is_read_from_the_newest_release() -> None:
    """A node that reports replication is asked for the ring, even if it is not a contact point."""
    lab = Lab(release="3.0.29")
    lab.nodes[THREE] = Lab(release="4.0.17").nodes[THREE]
    with lab.running(ONE) as running:
        snapshot = running.poll()
        assert [str(ring.replication) for ring in snapshot.rings] == ["NetworkTopologyStrategy {dc1=3}"]
        assert "getRangeToEndpointMap" not in asked_of(running, ONE)
        assert "getRangeToEndpointWithPortMap" in asked_of(running, THREE)


def test_local_keyspaces_are_left_out() -> None:
    """Keyspaces whose replicas are not placed by token belong to no ring."""
    replications = {
        "x": "LocalStrategy {}",
        "m": "MetaStrategy {dc1=3}",
        "orders": "SimpleStrategy {replication_factor=2}",
    }
    with Lab(keyspaces=replications).running() as running:
        assert [ring.keyspaces for ring in running.poll().rings] == [("orders",)]


def test_releases_without_the_attribute_give_all_keyspaces_but_the_local_ones() -> None:
    """3.1 to 3.5 lack an attribute that 3.0.6 has: all keyspaces except `system` and `system_schema` are used."""
    lab = Lab(release="3.5.0", keyspaces={"orders": "SimpleStrategy {replication_factor=3}", "system_schema": "x=1"})
    for node in lab.nodes.values():
        del node.attributes["NonLocalStrategyKeyspaces"]
    with lab.running() as running:
        assert [ring.keyspaces for ring in running.poll().rings] == [("orders",)]


def test_an_access_policy_with_the_plain_names_only_is_enough() -> None:
    """An access policy written for an older release still works on 4.0 and newer."""
    lab = Lab()
    for node in lab.nodes.values():
        node.attributes |= {name: denied for name in node.attributes if "WithPort" in name}
    with lab.running() as running:
        snapshot = running.poll()
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3
        assert (len(snapshot.rings), snapshot.problems) == (1, ())


def test_releases_of_nodes_that_do_not_answer_come_from_gossip() -> None:
    """If a member's release is not known otherwise, AllEndpointStates is read once."""
    lab = Lab()
    lab.down(THREE)
    states = "".join(f"/{address}:7000\n  RELEASE_VERSION:5:5.0.8\n" for address in lab.addresses)
    for node in lab.nodes.values():
        node.other[FAILURE_DETECTOR, "AllEndpointStatesWithPort"] = states
    with lab.running(without=(THREE,)) as running:
        assert running.poll().nodes[2].release_version == "5.0.8"
        assert running.poll().nodes[2].release_version == "5.0.8"
        assert sum(item.get("attribute") == "AllEndpointStatesWithPort" for item in running.cluster.items()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release", "line", "known"),
    [
        ("3.0.8", "RELEASE_VERSION:3.0.8", "3.0.8"),
        ("2.1.22", "RELEASE_VERSION:2.1.22", "2.1.22"),
        ("3.11.19", "RELEASE_VERSION:5:3.11.19", "3.11.19"),
        ("3.11.19", "RELEASE_VERSION", None),
        ("3.11.19", "RELEASE_VERSION:5:?", None),
    ],
)
def test_a_release_that_gossip_does_not_show_stays_unknown(release: str, line: str, known: str | None) -> None:
    """A dead node's release is read from both forms of the text; an unreadable one does not fail the poll."""
    lab = Lab(release=release)
    lab.down(THREE)
    for node in lab.nodes.values():
        node.other[FAILURE_DETECTOR, "AllEndpointStates"] = "".join(
            f"/{address}\n  {line}\n" for address in lab.addresses
        )
    with lab.running(without=(THREE,)) as running:
        seen = running.poll()
    assert seen.nodes[2].release_version == known
    assert [(view.outcome, view.observer) for view in seen.views[:2]] == [("ok", ONE), ("ok", TWO)]


# Time.


@pytest.mark.slow
def test_a_node_that_hangs_delays_a_poll_by_one_timeout() -> None:
    """A stopped process costs one timeout, and the rest of the snapshot is complete."""
    lab = Lab()
    lab.down(THREE)
    with lab.running(hanging=(THREE,), timeout=0.5) as running:
        for _ in range(2):
            started = time.monotonic()
            snapshot = running.poll()
            assert 0.4 < time.monotonic() - started < 8  # it hangs however long one waits
            assert [view.outcome for view in snapshot.views] == ["ok", "ok", "unreachable"]
            assert str(snapshot.views[2].reason).endswith("no whole answer within 0.5 s")
            assert len(snapshot.rings) == 1


@pytest.mark.slow
def test_a_contact_point_that_hangs_does_not_delay_the_others() -> None:
    """A poll goes on with the first usable contact point. The hanging one is asked once, not twice."""
    lab = Lab()
    lab.down(ONE)
    with lab.running(ONE, TWO, hanging=(ONE,), timeout=5) as running:
        started = time.monotonic()
        snapshot = running.poll(1.5)
        assert time.monotonic() - started < 8
        assert [view.outcome for view in snapshot.views] == ["unreachable", "ok", "ok"]
        assert len(snapshot.rings) == 1
        assert len(running.cluster.agents[ONE].payloads) == 1


@pytest.mark.slow
def test_a_node_that_hangs_leaves_time_for_the_ring() -> None:
    """If the timeout is longer than the poll, the first poll still reads the ring, and a later one a changed ring."""
    lab = Lab(keyspaces=TWO_RINGS)
    lab.down(THREE)
    lab.set_all("NonLocalStrategyKeyspaces", ["bills"])
    with lab.running(hanging=(THREE,), timeout=60) as running:
        assert [ring.keyspaces for ring in running.poll(3.0).rings] == [("bills",)]
        lab.set_all("NonLocalStrategyKeyspaces", ["bills", "orders"])
        lab.set_all("SchemaVersion", "new")
        assert [ring.keyspaces for ring in running.poll(3.0).rings] == [("bills",), ("orders",)]


def test_a_poll_ends_at_its_deadline_if_all_nodes_hang() -> None:
    """A cluster in which no node answers does not make a poll longer than its deadline."""
    with Lab().running(ONE, TWO, THREE, hanging=(ONE, TWO, THREE), timeout=30) as running:
        started = time.monotonic()
        with pytest.raises(SourceError, match="no node answered") as caught:
            running.poll(0.5)
        assert time.monotonic() - started < 8
        assert caught.value.kind == "unreachable"


@pytest.mark.slow
@pytest.mark.parametrize("patient", [False, True])
def test_a_missing_answer_has_the_same_reason_in_every_poll(patient: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - as it is named
    """The deadline is noticed by a thread or by the poll. Measured seconds in the reason would differ in every poll."""
    if patient:  # threads that notice the deadline before the poll does
        monkeypatch.setattr(asking, "wait", lambda asked, _seconds, *how: wait(asked, 10, *how))
    with Lab().running(ONE, TWO, hanging=(ONE, TWO), timeout=30) as running, pytest.raises(SourceError) as caught:
        running.poll(0.4)
    urls = [running.cluster.template.format(address=address) for address in (ONE, TWO)]
    assert str(caught.value) == f"no node answered: {urls[0]}: no answer in time; {urls[1]}: no answer in time"
