"""The article's figures as snapshots: nodes A to D alternate around the ring, three tokens each; `blog` has RF 3.

With A down nine of the twelve ranges lose a replica; with A and C down six are unavailable at LOCAL_QUORUM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.ring import Node, Pending, Replication, Ring, Snapshot, View

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

A, B, C, D = ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")


def addresses(nodes: int) -> tuple[str, ...]:
    """Addresses of several nodes."""
    return tuple(f"10.0.{number // 250}.{number % 250 + 1}" for number in range(nodes))


def placed(nodes: int, vnodes: int, factor: int) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Ranges of equal width that the nodes own in turn; the replicas are the nodes that follow."""
    number = nodes * vnodes
    step = 2**64 // number
    ends = [index * step - 2**63 for index in range(number)]
    for index, end in enumerate(ends):
        yield ends[index - 1], end, tuple((index + more) % nodes for more in range(factor))


def snapshot(
    down: Collection[str] = (),
    nodes: int = 4,
    vnodes: int = 3,
    factor: int = 3,
    cluster: str = "blogs",
    pending: Sequence[Pending] = (),
) -> Snapshot:
    """The cluster with some nodes down, whose Jolokia refuses connections."""
    names = addresses(nodes)
    live = frozenset(names) - frozenset(down)
    members = tuple(
        Node(name, host_id=f"host-{name}", datacenter="dc1", rack=f"r{index % 3}", release_version="5.0.8")
        for index, name in enumerate(names)
    )
    views = tuple(
        View(name, live=live, unreachable=frozenset(down))
        if name in live
        else View(name, outcome="unreachable", reason="refused")
        for name in names
    )
    replication = Replication.parse(f"NetworkTopologyStrategy {{dc1={factor}}}")
    ring = Ring.build(["blog"], replication, placed(nodes, vnodes, factor), nodes, pending)
    return Snapshot(
        cluster=cluster,
        taken_at="2026-01-01T00:00:00Z",
        partitioner="Murmur3Partitioner",
        nodes=members,
        views=views,
        rings=(ring,),
        authenticates=False,
    )
