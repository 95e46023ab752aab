"""Which down node to bring back first: the one whose return makes the largest share of a keyspace available again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.verdict import Recovery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.consistency import Demand
    from ringcheck.core.health import RingState

_CANDIDATES = 16  # with more nodes down, those that hold most of what is lost
_IN_SEQUENCE = 8  # with more, each is judged alone: the order among so many is a guess anyway


@dataclass(frozen=True, slots=True)
class Outage:
    """A ring in the state in which a watched level is lost on some of it, and what that level demands."""

    state: RingState
    demands: tuple[Demand, ...]


def recovery_order(down: Iterable[int], outages: Sequence[Outage]) -> tuple[Recovery, ...]:
    """Down nodes (indexes), the most useful first; where nothing is lost, those that hold most ranges."""
    left = sorted(down, key=lambda node: (-_held(node, outages), node))[:_CANDIDATES]
    sequence = len(left) <= _IN_SEQUENCE
    found: list[Recovery] = []
    if not sequence:
        alone = [Recovery(node, _share(frozenset(), node, outages)) for node in left]
        return tuple(sorted(alone, key=lambda one: -one.restores_share))
    while left:
        back = frozenset(one.node for one in found)
        shares = {node: _share(back, node, outages) for node in left}
        best = max(left, key=lambda node: shares[node])  # the first of equals: it holds most
        found.append(Recovery(best, shares[best]))
        left.remove(best)
    return tuple(found)


def _held(node: int, outages: Sequence[Outage]) -> int:
    return sum(len(one.state.ring.ranges_of[node]) for one in outages)


def _share(back: frozenset[int], node: int, outages: Sequence[Outage]) -> float:
    return max((one.state.regained(back, node, one.demands) / one.state.space.size for one in outages), default=0.0)
