"""The nodes' counters of client requests: read now and then in a poll's single request; no view depends on them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.uses import LOGINS, ROLES, SCANS, SCOPES
from ringcheck.jolokia import counters, mbeans
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import serve
from tests.fake_jolokia import denied, failed, missing_mbean, ok
from tests.jolokia.scripted import ONE, TWO, Lab, asked_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.node_requests import NodeRequests
    from ringcheck.core.ring import Snapshot


@contextmanager
def watched(release: str = "5.0.8", every: float = 0.0) -> Iterator[tuple[EmbeddedCluster, JolokiaSource]]:
    keyspaces = {"orders": topology(dc1=2, dc2=2)}
    cluster = EmbeddedCluster.uniform(4, datacenters=2, racks=2, vnodes=4, keyspaces=keyspaces, release=release)
    with serve(cluster) as server:
        settings = JolokiaSettings(contact_points=(cluster.nodes[0].address,), url=server.template, timeout=5)
        source = JolokiaSource(settings, count_every=every)
        yield cluster, source
        source.close()


def of(seen: Snapshot) -> list[NodeRequests]:
    assert seen.requests is not None
    return list(seen.requests)


def test_every_node_reports_its_counters_with_its_datacenter() -> None:
    """They come with the first poll and with later ones, without an additional request."""
    with watched() as (cluster, source):
        cluster.nodes[2].counters["Read-LOCAL_QUORUM,Latency"] += 7
        cluster.nodes[2].counters["RangeSlice,Latency"] += 2
        cluster.nodes[2].counters["system_auth.roles,CoordinatorReadLatency"] += 3
        first = of(source.poll(5.0))
        assert [node.node for node in first] == [str(node.host_id) for node in cluster.nodes]
        assert {node.datacenter for node in first} == {"dc1", "dc2"}
        counts = first[2].counts
        assert counts is not None
        assert set(counts) == {*SCOPES, LOGINS, ROLES, SCANS}
        assert {name: count for name, count in counts.items() if count} == {"Read-LOCAL_QUORUM": 7, SCANS: 2, LOGINS: 3}
        assert first[2].started == pytest.approx(cluster.nodes[2].born_at, abs=0.01)
        requests = source.counts.requests["ok"]
        cluster.nodes[2].counters["Write-ALL,Latency"] += 1
        again = of(source.poll(5.0))
        assert source.counts.requests["ok"] - requests == 4
        assert again[2].counts == {**counts, "Write-ALL": 1}


def test_they_are_read_once_in_a_while() -> None:
    """Without `count_every` they are never read; a poll that does not read them costs no more than before."""
    with watched(every=3600) as (_, source):
        assert source.poll(5.0).requests is not None
        before = source.counts.bytes
        assert source.poll(5.0).requests is None
        small = source.counts.bytes - before
        source._session.counted_at = None
        before = source.counts.bytes
        assert source.poll(5.0).requests is not None
        assert source.counts.bytes - before > 2 * small
        assert source.counts.bytes - before < small + 4 * 16_000


def test_views_and_nodes_are_the_same_objects_with_and_without_them() -> None:
    """Nothing has to be judged again because queries were counted."""
    with watched() as (cluster, source):
        source.poll(5.0)
        first = source.poll(5.0)
        cluster.nodes[0].counters["Read-ONE,Latency"] += 1
        second = source.poll(5.0)
        assert all(one is other for one, other in zip(first.nodes, second.nodes, strict=True))
        assert all(one is other for one, other in zip(first.views, second.views, strict=True))


def test_releases_before_3_10_have_no_counters_by_level() -> None:
    """They are asked once for counters that they lack, and their views count."""
    with watched("3.0.29") as (cluster, source):
        seen = source.poll(5.0)
        assert [node.counts for node in of(seen)] == [None] * 4
        assert {node.problem for node in of(seen)} == {"it has no counter Read-ONE"}
        before = source.counts.bytes
        assert {view.outcome for view in source.poll(5.0).views} == {"ok"}
        assert source.counts.bytes - before < 4 * 8000
        assert cluster.nodes[0].release[:2] == (3, 0)


def test_a_node_that_was_restarted_with_a_newer_release_has_its_counters() -> None:
    """The poll after that one asks again for the counters that the old release lacked."""
    with watched("4.1.9") as (cluster, source):
        source.poll(5.0)
        cluster.down(3, instant=True)
        source.poll(5.0)
        cluster.up(3, instant=True)
        assert of(source.poll(5.0))[3].counts is not None
        assert of(source.poll(5.0))[3].counts is not None


def test_counters_that_begin_later_are_zero_until_then() -> None:
    """The counter of range scans is registered with the first scan; its absence must not affect other counters."""
    scripted = lab(lambda item: ok(item, 7))
    request = counters.REQUESTS[SCANS]
    key = request["mbean"], request["attribute"]
    scripted.nodes[TWO].other[key] = missing_mbean
    with scripted.running() as running:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), count_every=0.0)
        for _ in range(2):
            counts = of(source.poll(5.0))[1].counts
            assert counts is not None
            assert (counts["Read-ONE"], counts[SCANS]) == (7, 0)
        scripted.nodes[TWO].other[key] = lambda item: ok(item, 3)
        counts = of(source.poll(5.0))[1].counts
        assert counts is not None
        assert counts[SCANS] == 3
        source.close()


@pytest.mark.parametrize(("answer", "logins"), [(denied, True), (missing_mbean, True), (None, False)])
def test_a_table_that_can_not_be_read_once_makes_no_sum(answer: Callable[[Any], Any] | None, logins: bool) -> None:  # noqa: FBT001 - an expectation
    """The sum would rise when the table is read again, and its reads would pass for logins of that time."""
    scripted = lab(lambda item: ok(item, 7))
    request = counters.REQUESTS["read roles"]
    fails = answer or (lambda item: failed(item, 500, "java.lang.IllegalStateException"))
    scripted.nodes[TWO].other[request["mbean"], request["attribute"]] = fails
    with scripted.running() as running:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), count_every=0.0)
        source.poll(5.0)
        counts = of(source.poll(5.0))[1].counts
        assert counts is not None
        assert (LOGINS in counts, ROLES in counts, counts["Read-ONE"]) == (logins, True, 7)
        source.close()


def test_a_silent_node_is_named() -> None:
    """It has no counts, and the other nodes have theirs."""
    with watched() as (cluster, source):
        source.poll(5.0)
        cluster.set_fault(3, Fault("refuse"))
        nodes = of(source.poll(5.0))
        assert [node.counts is None for node in nodes] == [False, False, False, True]
        assert nodes[3].problem == "its Jolokia does not answer"


def lab(answer: Callable[[Any], Any]) -> Lab:
    made = Lab()
    for node in made.nodes.values():
        for request in counters.REQUESTS.values():
            node.other[request["mbean"], request["attribute"]] = lambda item: ok(item, 1000)
    for name in counters.NAMES:
        request = counters.REQUESTS[name]
        made.nodes[TWO].other[request["mbean"], request["attribute"]] = answer
    return made


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (denied, "the agent refuses: Reading attribute Count is forbidden for MBean"),
        (lambda item: failed(item, 500, "java.lang.IllegalStateException"), "its counter Read-ONE can't be read"),
        (lambda item: ok(item, "many"), "its counter Read-ONE can't be read"),
        (lambda item: ok(item, -1), "its counter Read-ONE can't be read"),
    ],
)
def test_counters_that_cannot_be_read_cost_no_view(answer: Callable[[Any], Any], problem: str) -> None:
    """The node is kept with the reason; there is still one request in each poll."""
    scripted = lab(answer)
    with scripted.running() as running:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), count_every=0.0)
        source.poll(5.0)
        posts = running.cluster.posts
        seen = source.poll(5.0)
        assert running.cluster.posts - posts == 3
        source.close()
        assert [view.outcome for view in seen.views] == ["ok"] * 3
        assert [node.counts is None for node in of(seen)] == [False, True, False]
        assert of(seen)[1].problem.startswith(problem)
        assert asked_of(running, ONE).count("Count") > 2 * len(SCOPES)


def test_only_what_the_access_policy_allows_is_asked() -> None:
    """Each counter matches a pattern of the example, or is one that is allowed anyway."""
    listed = {(call.mbean, call.name) for call in (*mbeans.CALLS, *mbeans.COUNTED)}
    for request in counters.REQUESTS.values():
        name = request["mbean"]
        patterns = {(name, request["attribute"])} | {
            (pattern, request["attribute"])
            for pattern, _ in listed
            if "*" in pattern
            and name.startswith(pattern.partition("*")[0])
            and name.endswith(pattern.partition("*")[2])
        }
        assert patterns & listed, name
