"""Polls of a node before, while and after it is restarted: nothing that was known must be lost for good."""

from __future__ import annotations

from contextlib import closing

import pytest

from ringcheck.jolokia.client import Settings
from ringcheck.jolokia.collect import Collector
from ringcheck.simulator.cluster import PHASES, EmbeddedCluster, loopback_address
from ringcheck.simulator.server import serve


@pytest.mark.parametrize("release", ["2.2.19", "3.11.19", "4.1.9", "5.0.8"])
def test_a_node_that_was_polled_while_it_started_is_known_as_before(release: str) -> None:
    """At whatever point of its start it was asked: generation and schema are told again, so that settle can judge."""
    cluster = EmbeddedCluster.uniform(3, release=release, addresses=loopback_address, time_factor=0.0)
    with serve(cluster) as server:
        names = tuple(node.address for node in cluster.nodes)
        with closing(Collector(Settings(names, url=server.template))) as collector:
            before = collector.poll(5.0)  # the first node is the one that is asked for everything: it is not the one
            for phase in PHASES:
                cluster.down(2, instant=True)
                collector.poll(5.0)
                cluster.up(2, instant=True, hold=phase)
                collector.poll(5.0)
                cluster.up(2, instant=True)
                seen = collector.poll(5.0)
                assert seen.nodes[2].generation == cluster.nodes[2].generation, phase
                views = {view.observer: view.schema_version for view in seen.views}
                assert views == {view.observer: view.schema_version for view in before.views}, phase
