"""Paxos v2: each query at SERIAL and LOCAL_SERIAL ends as predicted for the variant of its coordinator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cassandra import queries
from tests.cassandra.launch import release_key
from tests.cassandra.queries import Lab, judged, network, simple

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cassandra.cluster import RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

STORAGE_PROXY = "org.apache.cassandra.db:type=StorageProxy"
LAYOUT = "dc1:r1,dc1:r2,dc1:r3,dc2:r1"
RING_DELAY_MS = 180_000  # after this time a dead joining node is forgotten
DEFAULT_RELEASES: tuple[str, ...] = ()  # a quarter of an hour; RINGCHECK_CASSANDRA_VERSIONS=5.0.8 runs it
JOINING = [
    "-Dcassandra.write_survey=true",
    "-Dcassandra.consistent.rangemovement=false",  # two at once
    # While another node is pending, v2 refuses the Paxos repair that is part of a bootstrap.
    "-Dcassandra.skip_paxos_repair_on_topology_change=true",
]

KEYSPACES = (
    simple(2),
    simple(3),
    simple(7),  # more than there are nodes
    network("nts_3_1", dc1=3, dc2=1),
    network("nts_2_2", dc1=2, dc2=2),  # more than dc2 has nodes
    network("nts_1", dc1=1),  # absent from dc2
    network("nts_5", dc1=5),  # more than dc1 has nodes
)


def members(lab: Lab) -> list[RealNode]:
    """The nodes that have joined."""
    return [lab.node(number) for number in (1, 2, 3, 4)]


def use(node: RealNode, variant: str) -> None:
    """Change the variant of a running node, as an operator does over JMX."""
    wanted = {"attribute": "PaxosVariant", "value": variant}
    node.oracle.ask({"type": "write", "mbean": STORAGE_PROXY, **wanted})


def compare(lab: Lab, state: str, *, differs: bool = True) -> None:
    """Compare a coordinator of each datacenter with v2, then one with v1 among nodes with v2.

    `differs` is whether the two variants must serve different ranges in this state.
    """
    lab.compare(f"v2, {state}", 1, 4)
    with_v2 = lab.predicted(lab.node(1))
    use(lab.node(1), "v1")
    with_v1 = lab.predicted(lab.node(1))
    assert not differs or with_v1["keyspaces"] != with_v2["keyspaces"]
    found = [finding["code"] for finding in judged(lab.node(2))["findings"]]
    assert "paxos_disagreement" in found
    lab.compare(f"v1, {state}", 1)
    use(lab.node(1), "v2")


def join(lab: Lab) -> None:
    """Start a node that stays pending, since it only surveys writes."""
    fields: dict[str, Any] = {"auto_bootstrap": True, "jvm_options": JOINING, "ring_delay_ms": 3000}
    joiner = lab.cluster.add("dc1", "r1", **fields)
    joiner.start()
    lab.cluster.wait_joining(joiner, members(lab))


def test_paxos_v2(real_cluster: ClusterFactory, cassandra_release: str, tmp_path: Path) -> None:
    """It holds with nodes killed, with two nodes joining, at every level, and beside a coordinator that uses v1."""
    if release_key(cassandra_release) < (4, 1):
        pytest.skip(f"{cassandra_release} has Paxos v1 alone")
    yaml = queries.TIMEOUTS | {"paxos_variant": "v2"}
    lab = Lab(real_cluster(cassandra_release, LAYOUT, ring_delay_ms=RING_DELAY_MS, yaml=yaml), KEYSPACES, tmp_path)
    compare(lab, "all up", differs=False)
    lab.lose(3, hard=True)
    compare(lab, "a node killed")
    lab.bring_back(3)
    join(lab)
    join(lab)
    compare(lab, "two joining")
    lab.lose(3)
    compare(lab, "two joining, one down")
    lab.lose(6, hard=True)
    compare(lab, "a joiner and another down")
    lab.node(3).start()
    lab.cluster.wait_all_up(members(lab))
    compare(lab, "a joiner down")
