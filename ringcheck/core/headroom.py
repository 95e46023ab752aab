"""How far a kind of range is from being unavailable at a level.

Takes replica counts and a demand and compares them; knows nothing of whole rings. Numbers are worked out once for a
kind and kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.consistency import OPERATIONS, supports
from ringcheck.core.kinds import KEPT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ringcheck.core.consistency import Demand, Level, Operation, Replicas, Rules
    from ringcheck.core.kinds import RangeKind

Condition: TypeAlias = Literal["spare", "at_minimum", "unavailable", "structurally_unavailable"]


@dataclass(frozen=True, slots=True)
class Headroom:
    """What ranges of one kind can lose before a demand fails.

    Attributes:
        spare: live minus required replicas, negative if unavailable; None if the demand needs no replica.
        rack_failures: how many racks can be lost until the demand fails, 0 if it fails already; None if the demand
            needs no replica.
        structural: whether the demand needs more replicas than the range has, even with all nodes up.
    """

    spare: int | None
    rack_failures: int | None
    structural: bool

    @property
    def available(self) -> bool:
        """Whether the demand is met."""
        return self.spare is None or self.spare >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeHealth:
    """The health of one range at a level: the operation with the fewest spare replicas counts.

    Attributes:
        live: live replicas that the operation counts; pending ones too, if it needs them.
        replicas: what `live` would be with all nodes up.
        required: live replicas that it needs; 0 for ANY.
        spare: live - required; None if the operation needs no replica.
        structural: whether it needs more replicas than the range has, even with all nodes up.
    """

    live: int
    replicas: int
    required: int
    spare: int | None
    structural: bool = False

    @property
    def condition(self) -> Condition:
        """How `LevelHealth` counts the range; structurally unavailable ranges have a condition of their own."""
        if self.structural:
            return "structurally_unavailable"
        if self.spare == 0:
            return "at_minimum"
        return "unavailable" if self.spare is not None and self.spare < 0 else "spare"


def demands_of(level: Level, client: str | None, rules: Rules) -> dict[Operation, Demand]:
    """What each operation that the level has demands of a range."""
    return {name: rules.demand(level, name, client) for name in OPERATIONS if supports(level, name, rules.version)}


@lru_cache(maxsize=KEPT)
def headroom(kind: RangeKind, demand: Demand) -> Headroom:
    """The headroom of a kind of range; of a range in pieces, that of its worst piece."""
    margins = [margin for piece in kind for margin in piece.margins(demand)]
    if not margins:
        return Headroom(None, None, structural=False)
    return Headroom(
        min(margin.spare for margin in margins),
        min(margin.rack_failures() for margin in margins),
        any(piece.structural(demand) for piece in kind),
    )


def least(rooms: Collection[Headroom]) -> Headroom:
    """The smallest of each number: a range is as healthy as the worse of its operations."""
    spares = [room.spare for room in rooms if room.spare is not None]
    racks = [room.rack_failures for room in rooms if room.rack_failures is not None]
    return Headroom(min(spares, default=None), min(racks, default=None), any(room.structural for room in rooms))


@lru_cache(maxsize=KEPT)
def served(counts: Replicas, demands: tuple[Demand, ...]) -> bool:
    """Whether a range (or a piece of one) with these counts meets all demands."""
    return all(headroom((counts,), demand).available for demand in demands)


def scarce_datacenters(kind: RangeKind, demands: Iterable[Demand]) -> frozenset[str | None]:
    """Datacenters in which every live replica of this kind is needed for an operation that is available now.

    None stands for all datacenters together.
    """
    scarce: set[str | None] = set()
    for piece in kind:
        for demand in demands:
            margins = piece.margins(demand)
            if all(margin.spare >= 0 for margin in margins):
                scarce.update(margin.datacenter for margin in margins if margin.spare == 0)
    return frozenset(scarce)


def range_health(kind: RangeKind, demands: tuple[Demand, ...]) -> RangeHealth:
    """The health of a range of this kind at a level with these demands: that of its worst piece at its worst demand."""
    healths = [health for piece in kind for demand in demands for health in _healths(piece, demand)]
    if not healths:
        live = sum(sum(racks) for _, racks in kind[0].live)
        return RangeHealth(live=live, replicas=_total(kind[0].natural, None), required=0, spare=None)
    worst = min(healths, key=lambda health: health.live - health.required)
    return replace(worst, structural=any(piece.structural(demand) for piece in kind for demand in demands))


def _healths(piece: Replicas, demand: Demand) -> Iterator[RangeHealth]:
    """The health of a piece by each condition of the demand."""
    for margin in piece.margins(demand):
        replicas = _total(piece.natural, margin.datacenter)
        if margin.counts_pending:
            replicas += _total(piece.pending, margin.datacenter)
        yield RangeHealth(live=margin.live, replicas=replicas, required=margin.required, spare=margin.spare)


def _total(counts: Iterable[tuple[str, int]], datacenter: str | None) -> int:
    return sum(number for name, number in counts if datacenter in {None, name})
