"""Which down node to bring back first: the one whose return makes the largest share of a keyspace available again.

Only the outages of the loudest severity count: a node that ends a ticket does not come before one that ends the page.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.verdict import Recovery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.consistency import Demand
    from ringcheck.core.evidence import Evidence
    from ringcheck.core.health import RingState
    from ringcheck.core.policy import Severity

_CANDIDATES = 16  # nodes that are ordered: those that hold most of what is lost
_IN_SEQUENCE = 8  # if there are more, the return of each is judged alone: their order is only a guess


@dataclass(frozen=True, slots=True)
class Outage:
    """A ring that has lost a watched level.

    Attributes:
        state: the ring without the nodes that the worst coordinator does not reach.
        demands: what the level demands.
        severity: of the loudest rule that watches the level.
    """

    state: RingState
    demands: tuple[Demand, ...]
    severity: Severity


def recovery_order(evidence: Evidence, outages: Sequence[Outage]) -> tuple[Recovery, ...]:
    """Nodes that some coordinator does not reach, in the order in which their return restores most of what is lost.

    Nodes that are being removed or replaced are left out, since they must not come back, and so are nodes whose return
    restores nothing.
    """
    nodes = evidence.not_reached - evidence.leaving - evidence.replaced - evidence.coordinators
    loudest = max((outage.severity for outage in outages), default=None)
    worst = [outage for outage in outages if outage.severity is loudest]
    order = list(_ordered(nodes, worst))
    while order and not order[-1].restores_share:
        order.pop()
    return tuple(_needed(order, worst))


def _needed(order: Sequence[Recovery], outages: Sequence[Outage]) -> list[Recovery]:
    """The order without nodes that restore nothing themselves, unless a later node would restore less without them."""
    kept = list(order)
    for recovery in order:
        if not recovery.restores_share:
            without = [other for other in kept if other is not recovery]
            shares = _shares([other.node for other in without], outages)
            if all(share >= other.restores_share for share, other in zip(shares, without, strict=True)):
                kept = without
    return kept


def _shares(nodes: Sequence[int], outages: Sequence[Outage]) -> list[float]:
    """What the return of each node restores, once those before it are back."""
    return [_share(frozenset(nodes[:index]), node, outages) for index, node in enumerate(nodes)]


def _ordered(nodes: Iterable[int], outages: Sequence[Outage]) -> Sequence[Recovery]:
    left = sorted(nodes, key=lambda node: (-_ranges_held(node, outages), node))[:_CANDIDATES]
    if len(left) > _IN_SEQUENCE:
        alone = [Recovery(node, _share(frozenset(), node, outages)) for node in left]
        return sorted(alone, key=lambda recovery: -recovery.restores_share)
    order: list[Recovery] = []
    while left:
        back = frozenset(recovery.node for recovery in order)
        shares = {node: _share(back, node, outages) for node in left}
        best = max(left, key=lambda node: shares[node])  # the first of equals: it holds most
        order.append(Recovery(best, shares[best]))
        left.remove(best)
    return order


def _ranges_held(node: int, outages: Sequence[Outage]) -> int:
    return sum(len(outage.state.ring.ranges_of[node]) for outage in outages)


def _share(back: frozenset[int], node: int, outages: Sequence[Outage]) -> float:
    """The largest share of a ring's token space that a node's return restores, once the nodes `back` are back."""
    lost: dict[RingState, list[tuple[Demand, ...]]] = defaultdict(list)
    for outage in outages:
        lost[outage.state].append(outage.demands)
    regained = (max(state.regained(back, node, demands)) / state.space.size for state, demands in lost.items())
    return max(regained, default=0.0)
