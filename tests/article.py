"""The article's example as snapshots: 3 nodes of 256 vnodes, blog_1 of RF 1 and blog_3 of RF 3, some nodes down."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

from ringcheck.core.ring import Node, Replication, Ring, Snapshot, View

if TYPE_CHECKING:
    from collections.abc import Collection

ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
VNODES = 256


def tokens() -> list[tuple[int, int]]:
    """Sorted tokens and the node that owns each."""
    source = random.Random(2016)  # noqa: S311 - tokens, no secret
    return sorted((source.randrange(-(2**63), 2**63), node) for node in range(3) for _ in range(VNODES))


@cache
def placed(factor: int) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    """Ranges of SimpleStrategy as (start, end, replicas), by walking the ring from each token."""
    owned = tokens()
    return tuple((owned[i - 1][0], owned[i][0], _walk(owned, i, factor)) for i in range(len(owned)))


def _walk(owned: list[tuple[int, int]], start: int, factor: int) -> tuple[int, ...]:
    """The first nodes of different tokens, clockwise."""
    met: list[int] = []
    for _, owner in chain(owned[start:], owned[:start]):
        if owner not in met:
            met.append(owner)
        if len(met) == factor:
            break
    return tuple(met)


@cache
def ring(factor: int) -> Ring:
    """The ring of the keyspace with this replication factor; cached, since most test modules need it."""
    replication = Replication.parse(f"SimpleStrategy {{replication_factor={factor}}}")
    return Ring.build([f"blog_{factor}"], replication, placed(factor), 3)


def _silent(address: str, place: int) -> Node:
    """A node as its peers know it, whose Jolokia refuses connections."""
    return Node(
        address,
        host_id=f"host-{place}",
        datacenter="dc1",
        rack=f"r{place}",
        release_version="5.0.8",
        tokens=VNODES,
        source="unreachable",
    )


def _serving(node: Node) -> Node:
    """The same node, while it answers and serves clients."""
    return replace(
        node, mode="NORMAL", gossip_running=True, native_transport_running=True, generation=1, source="ok", streams=0
    )


def snapshot(down: Collection[str] = (), cluster: str = "blogs") -> Snapshot:
    """The cluster with some nodes down, whose Jolokia refuses connections."""
    nodes = tuple(
        _silent(address, index) if address in down else _serving(_silent(address, index))
        for index, address in enumerate(ADDRESSES)
    )
    live = frozenset(ADDRESSES) - frozenset(down)
    views = tuple(
        View(address, outcome="unreachable", reason="connection refused")
        if address in down
        else View(address, live=live, unreachable=frozenset(down), schema_version="s")
        for address in ADDRESSES
    )
    rings = (ring(1), ring(3))
    return Snapshot(
        cluster=cluster,
        taken_at="2026-01-01T00:00:00Z",
        partitioner="Murmur3Partitioner",
        nodes=nodes,
        views=views,
        rings=rings,
        authenticates=False,
    )
