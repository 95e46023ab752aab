"""Polls of a node before, during and after a restart: nothing that was known may be lost for good."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import PHASES, EmbeddedCluster, loopback_address, simple
from ringcheck.simulator.server import serve


@pytest.mark.slow
@pytest.mark.parametrize("release", ["2.2.19", "3.11.19", "4.1.9", "5.0.8"])
def test_a_node_that_was_polled_while_it_started_is_known_as_before(release: str) -> None:
    """At whatever point it was asked, it reports generation and schema again, which the settling time needs."""
    cluster = EmbeddedCluster.uniform(3, release=release, addresses=loopback_address, time_factor=0.0)
    with serve(cluster) as server:
        names = tuple(node.address for node in cluster.nodes)
        with closing(JolokiaSource(JolokiaSettings(contact_points=names, url=server.template))) as source:
            before = source.poll(5.0)  # the first node is asked for everything; another one is restarted
            for phase in PHASES:
                cluster.down(2, instant=True)
                source.poll(5.0)
                cluster.up(2, instant=True, hold=phase)
                source.poll(5.0)
                cluster.up(2, instant=True)
                seen = source.poll(5.0)
                assert seen.nodes[2].generation == cluster.nodes[2].generation, phase
                views = {view.observer: view.schema_version for view in seen.views}
                assert views == {view.observer: view.schema_version for view in before.views}, phase


def test_a_ring_that_is_read_again_and_is_the_same_is_the_same_object() -> None:
    """What was computed from it is neither computed again nor stored twice; a changed ring is a new object."""
    cluster = EmbeddedCluster.uniform(
        3, addresses=loopback_address, time_factor=0.0, keyspaces={"three": simple(3), "two": simple(2)}
    )
    with serve(cluster) as server:
        names = tuple(node.address for node in cluster.nodes)
        with closing(JolokiaSource(JolokiaSettings(contact_points=names, url=server.template))) as source:
            before = source.poll(5.0).rings
            cluster.up(2, instant=True)
            asked = source.counts.requests["ok"]
            after = source.poll(5.0).rings
            assert source.counts.requests["ok"] - asked > len(names)  # it was read again
            assert [ring is other for ring, other in zip(before, after, strict=True)] == [True] * len(before)
            cluster.create_keyspace("two", simple(1))
            cluster.up(2, instant=True)
            changed = {ring.keyspaces: ring for ring in source.poll(5.0).rings}
    kept = [ring for ring in before if changed[ring.keyspaces] is ring]
    assert [ring.keyspaces for ring in kept] == [("three",)]


def test_a_move_that_begins_and_ends_between_two_polls_is_seen() -> None:
    """Members, schema, generations and movements look the same before and after it."""
    cluster = EmbeddedCluster.uniform(
        6, vnodes=1, tokens="even", addresses=loopback_address, time_factor=0.0, keyspaces={"three": simple(3)}
    )
    with serve(cluster) as server:
        settings = JolokiaSettings(contact_points=tuple(node.address for node in cluster.nodes), url=server.template)
        with closing(JolokiaSource(settings)) as source, closing(JolokiaSource(settings)) as other:
            before = source.poll(5.0).rings
            cluster.move(0, (before[0].tokens[3] + before[0].tokens[4]) // 2)
            cluster.finish(0)
            after = source.poll(5.0).rings
            assert after == other.poll(5.0).rings
            assert after != before


def test_a_ring_of_other_nodes_is_another_object() -> None:
    """An equal table of indexes has another meaning if one of its nodes has moved to another rack."""
    cluster = EmbeddedCluster.uniform(3, addresses=loopback_address, time_factor=0.0, keyspaces={"three": simple(3)})
    with serve(cluster) as server:
        names = tuple(node.address for node in cluster.nodes)
        with closing(JolokiaSource(JolokiaSettings(contact_points=names, url=server.template))) as source:
            before = source.poll(5.0)
            node = cluster.nodes[2]
            node.spec = replace(node.spec, rack="elsewhere")
            cluster.up(2, instant=True)
            after = source.poll(5.0)
    assert after.nodes[2].rack == "elsewhere"
    assert before.rings[0] == after.rings[0]
    assert before.rings[0] is not after.rings[0]
