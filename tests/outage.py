"""What really is away in an embedded cluster, and what that costs, whatever anybody believes of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ringcheck.simulator.cluster import EmbeddedCluster

_BETWEEN = 0.01  # seconds; a restart of the tests takes many times that


def away(cluster: EmbeddedCluster) -> dict[str, str]:
    """Address and rack of the nodes that serve no clients now."""
    nodes = cluster.state()["nodes"]
    return {one["address"]: one["rack"] for one in nodes if not (one["native"] and one["mode"] == "NORMAL")}


def lost(cluster: EmbeddedCluster, nodes: Collection[str], keyspace: str = "orders") -> int:
    """How many ranges of a keyspace have no quorum of their replicas without these nodes: by placement alone."""
    gone = {cluster.node(one).index for one in nodes}
    rows = cluster.topology.rows(cluster.keyspaces[keyspace], cluster.nodes[0].release)
    return sum(1 for row in rows if len(set(row) - gone) < len(row) // 2 + 1)


@dataclass
class Seen:
    """Samples.

    Attributes:
        count: of samples that had a node away.
        together: addresses that were away at once.
        racks: racks that had a node away at once.
    """

    count: int = 0
    together: set[frozenset[str]] = field(default_factory=set)
    racks: set[frozenset[str]] = field(default_factory=set)

    @property
    def nodes(self) -> set[str]:
        """All that were away in any sample."""
        return set().union(*self.together)

    def worst(self, cluster: EmbeddedCluster) -> int:
        """The most ranges that had no quorum at once."""
        return max(lost(cluster, one) for one in self.together)


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
