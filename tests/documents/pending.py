"""A snapshot with everything that a document can hold."""

from __future__ import annotations

from ringcheck.core.ring import Pending, Problem, Snapshot


def with_pending(seen: Snapshot) -> Snapshot:
    """A snapshot of the article with a pending range, and a ring that could not be read."""
    ring = seen.rings[1]
    start, end = ring.range(5)
    moved = ring.build(
        ring.keyspaces,
        ring.replication,
        [(*ring.range(i), ring.replicas(i)) for i in range(len(ring))],
        3,
        [Pending(start, end, (0,))],
    )
    return Snapshot(
        cluster=seen.cluster,
        taken_at=seen.taken_at,
        partitioner=seen.partitioner,
        nodes=seen.nodes,
        views=seen.views,
        rings=(seen.rings[0], moved),
        problems=(Problem("ring_unreadable", "ks", "the ring of ks can't be read"),),
    )
