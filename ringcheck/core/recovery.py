"""Which down node to bring back first: the one whose return makes the largest share of a keyspace available again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.verdict import Recovery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.consistency import Demand
    from ringcheck.core.evidence import Evidence
    from ringcheck.core.health import RingState

_CANDIDATES = 16  # with more nodes down, those that hold most of what is lost
_IN_SEQUENCE = 8  # with more, each is judged alone: the order among so many is a guess anyway


@dataclass(frozen=True, slots=True)
class Outage:
    """A ring in the state in which a watched level is lost on some of it, and what that level demands."""

    state: RingState
    demands: tuple[Demand, ...]


def recovery_order(evidence: Evidence, outages: Sequence[Outage]) -> tuple[Recovery, ...]:
    """Nodes that a coordinator does not reach, the one first whose return restores most.

    A node that is being removed or replaced must not come back, and one whose return restores nothing is no advice.
    """
    nodes = evidence.not_reached - evidence.leaving - evidence.replaced - evidence.coordinators
    found = list(_ordered(nodes, outages))
    while found and not found[-1].restores_share:
        found.pop()
    return tuple(_needed(found, outages))


def _needed(found: Sequence[Recovery], outages: Sequence[Outage]) -> list[Recovery]:
    """Those that restore something, and those without which a later one would restore less."""
    kept = list(found)
    for one in found:
        if not one.restores_share:
            without = [other for other in kept if other is not one]
            back: frozenset[int] = frozenset()
            shares = []
            for other in without:
                shares.append(_share(back, other.node, outages))
                back |= {other.node}
            if all(share >= other.restores_share for share, other in zip(shares, without, strict=True)):
                kept = without
    return kept


def _ordered(nodes: Iterable[int], outages: Sequence[Outage]) -> Sequence[Recovery]:
    left = sorted(nodes, key=lambda node: (-_held(node, outages), node))[:_CANDIDATES]
    if len(left) > _IN_SEQUENCE:
        alone = [Recovery(node, _share(frozenset(), node, outages)) for node in left]
        return sorted(alone, key=lambda one: -one.restores_share)
    found: list[Recovery] = []
    while left:
        back = frozenset(one.node for one in found)
        shares = {node: _share(back, node, outages) for node in left}
        best = max(left, key=lambda node: shares[node])  # the first of equals: it holds most
        found.append(Recovery(best, shares[best]))
        left.remove(best)
    return found


def _held(node: int, outages: Sequence[Outage]) -> int:
    return sum(len(one.state.ring.ranges_of[node]) for one in outages)


def _share(back: frozenset[int], node: int, outages: Sequence[Outage]) -> float:
    return max((one.state.regained(back, node, one.demands) / one.state.space.size for one in outages), default=0.0)
