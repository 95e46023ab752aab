"""The ring of a cluster as one node reported it: rings, datacenters, racks and tokens as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.ring import Problem, Ring

Location: TypeAlias = "tuple[str | None, str | None]"  # datacenter and rack; None if unknown

NOWHERE: Location = (None, None)
_LARGE = 20_000  # ranges: some 3 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The ring of a cluster as one node reported it.

    Attributes:
        partitioner: simple class name.
        locations: datacenter and rack by member address.
        tokens: number of tokens owned by member address; None if unknown.
        rings: one for each distinct replication.
        problems: what could not be read.
        consistent: whether the ranges match the tokens and the replication.
    """

    partitioner: str
    locations: Mapping[str, Location]
    tokens: Mapping[str, int | None]
    rings: tuple[Ring, ...]
    problems: tuple[Problem, ...] = ()
    consistent: bool = True

    @property
    def complete(self) -> bool:
        """Whether everything could be read, and no part contradicts another."""
        return self.consistent and not self.problems and all(datacenter for datacenter, _ in self.locations.values())

    @property
    def large(self) -> bool:
        """Whether reading it again is a load that the cluster feels."""
        return sum(map(len, self.rings)) > _LARGE

    @property
    def may_move(self) -> bool:
        """Whether a node has a single token: only such a node can move, and a move between two polls leaves no sign."""
        return 1 in self.tokens.values()

    def reusing_rings(self, before: Topology) -> Topology:
        """The same topology, with the ring objects of an earlier one of the same nodes wherever the rings are equal.

        After a restart the ring is read again, and it seldom differs. A second copy of a large ring, and of all
        that was derived from it, would stay in the heap for good.
        """
        if list(self.locations.items()) != list(before.locations.items()):
            return self
        old = {ring.keyspaces: ring for ring in before.rings}
        rings = [old[ring.keyspaces] if old.get(ring.keyspaces) == ring else ring for ring in self.rings]
        return replace(self, rings=tuple(rings))


def sharing(rings: Iterable[Ring]) -> list[Ring]:
    """The same rings in less memory: equal tokens are one tuple, and equal rings of unknown replication one ring."""
    shared: list[Ring] = []
    for read in rings:
        first = shared[0] if shared else read
        ring = replace(read, tokens=first.tokens) if read.tokens == first.tokens else read
        twin = next((other for other in shared if ring.replication is None and _equal(ring, other)), None)
        if twin:
            shared[shared.index(twin)] = replace(twin, keyspaces=(*twin.keyspaces, *ring.keyspaces))
        else:
            shared.append(ring)
    return shared


def _equal(ring: Ring, other: Ring) -> bool:
    return other.replication is None and ring.tokens == other.tokens and ring.table == other.table
