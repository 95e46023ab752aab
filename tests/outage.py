"""Which nodes of an embedded cluster are really down, and which ranges that costs, whatever other nodes believe."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ringcheck.simulator.cluster import EmbeddedCluster

_BETWEEN = 0.01  # seconds; a restart in the tests takes many times as long


def away(cluster: EmbeddedCluster) -> dict[str, str]:
    """Addresses and racks of the nodes that serve no clients now."""
    nodes = cluster.state()["nodes"]
    return {node["address"]: node["rack"] for node in nodes if not (node["native"] and node["mode"] == "NORMAL")}


def lost(cluster: EmbeddedCluster, nodes: Collection[str], keyspace: str = "orders") -> int:
    """The number of ranges of a keyspace that have no quorum while these nodes are down, by placement alone."""
    gone = {cluster.node(node).index for node in nodes}
    rows = cluster.topology.rows(cluster.keyspaces[keyspace], cluster.nodes[0].release)
    return sum(1 for row in rows if len(set(row) - gone) < len(row) // 2 + 1)


@dataclass
class Seen:
    """Samples.

    Attributes:
        count: of samples with a node down.
        together: addresses that were down at the same time.
        racks: racks with a node down at the same time.
    """

    count: int = 0
    together: set[frozenset[str]] = field(default_factory=set)
    racks: set[frozenset[str]] = field(default_factory=set)

    @property
    def nodes(self) -> set[str]:
        """All nodes that were down in any sample."""
        return set().union(*self.together)

    def worst(self, cluster: EmbeddedCluster) -> int:
        """The largest number of ranges without a quorum at one time."""
        return max(lost(cluster, sample) for sample in self.together)


@contextmanager
def sampled(cluster: EmbeddedCluster) -> Iterator[Seen]:
    """Sample until the block ends."""
    seen, ending = Seen(), threading.Event()

    def run() -> None:
        while not ending.wait(_BETWEEN):
            if found := away(cluster):
                seen.count += 1
                seen.together.add(frozenset(found))
                seen.racks.add(frozenset(found.values()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ending.set()
        thread.join()
