"""The metadata service of the embedded cluster: what nodes of 6.0 report of it is judged over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import EmbeddedCluster, ipv6_address
from ringcheck.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.ring import Snapshot

GATE = Gate(level=Level.LOCAL_ONE, settle=0, accept=("blog_1",))


class Seen:
    """An embedded cluster of 6.0 and a source that polls it."""

    def __init__(self, cluster: EmbeddedCluster, source: JolokiaSource) -> None:
        self.cluster = cluster
        self._source = source

    def snapshot(self) -> Snapshot:
        return self._source.poll(20)

    def findings(self) -> dict[str, str]:
        return {finding.code: finding.severity.name for finding in assess(self.snapshot(), Policy()).findings}

    def decision(self, *nodes: int) -> str:
        snapshot = self.snapshot()
        names = [self.cluster.node(node).address for node in nodes]
        return Gatekeeper(snapshot, Policy(), GATE).decide(names).decision


@pytest.fixture
def seen() -> Iterator[Seen]:
    cluster = EmbeddedCluster.uniform(5, racks=3, vnodes=4, release="6.0-alpha2")
    with serve(cluster) as server:
        settings = JolokiaSettings(contact_points=("127.0.1.1",), url=server.template, timeout=10)
        source = JolokiaSource(settings)
        yield Seen(cluster, source)
        source.close()


@pytest.mark.slow
def test_two_of_three_members_must_not_stop(seen: Seen) -> None:
    """There are three members by default: two of them make a quorum, and no stop may leave fewer."""
    assert not {code for code in seen.findings() if code.startswith("metadata")}
    assert (seen.decision(0), seen.decision(0, 1), seen.decision(0, 3)) == ("safe", "unsafe", "safe")
    seen.cluster.down(1, instant=True)
    assert seen.findings()["metadata_quorum"] == "OK"
    assert (seen.decision(0), seen.decision(3)) == ("unsafe", "safe")
    seen.cluster.down(2, instant=True)
    assert seen.findings()["metadata_quorum"] == "WARNING"


def test_what_nodes_report_of_it_can_differ(seen: Seen) -> None:
    """One node is behind, one reports other members, and one has paused its commits."""
    seen.cluster.metadata.behind[4] = 2
    assert seen.findings()["metadata_behind"] == "OK"
    seen.cluster.metadata.behind.clear()
    seen.cluster.metadata.believed[4] = (3, 4)
    assert seen.findings()["metadata_contradiction"] == "WARNING"
    seen.cluster.metadata.believed.clear()
    seen.cluster.metadata.paused = frozenset({0})
    assert seen.findings()["metadata_not_writable"] == "WARNING"
    seen.cluster.metadata.paused = frozenset()
    seen.cluster.metadata.initialised = False
    assert seen.findings()["metadata_not_writable"] == "WARNING"
    assert seen.decision(0, 1) == "safe"  # without the service there is no quorum to keep


def test_older_releases_have_no_such_service() -> None:
    """In a mixed cluster only nodes of 6.0 report it, and their keyspace of MetaStrategy is not placed by tokens."""
    cluster = EmbeddedCluster.uniform(3, vnodes=4, release="6.0-alpha2", addresses=ipv6_address)
    cluster.upgrade(2, "5.0.8")
    with serve(cluster) as server:
        settings = JolokiaSettings(contact_points=("2001:db8::1",), url=server.template, timeout=10)
        source = JolokiaSource(settings)
        try:
            snapshot = source.poll(20)
        finally:
            source.close()
    members = frozenset(f"2001:db8::{number}" for number in (1, 2, 3))
    assert [view.metadata and view.metadata.members for view in snapshot.views] == [members, members, None]
    assert all("system_cluster_metadata" not in ring.keyspaces for ring in snapshot.rings)
    assert not snapshot.problems
