"""Why nodes may not stop now, for all of them at once: each reason with the nodes that it holds back.

The answers are those of the gate. What a stop would take is found for all nodes in one pass over the ranges of each
stake; the gate itself is asked about one node of each group, whose answer is the example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.reasons import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.gate import Gatekeeper
    from ringcheck.core.reasons import Reason
    from ringcheck.core.stakes import Stake

ASKED = 32  # nodes that the gate is asked about one by one, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A reason, and the nodes that may not stop because of it.

    Attributes:
        reason: of the gate; None if the gate was not asked about these nodes, since they are too many.
        nodes: indexes of nodes.
        example: the node that the numbers of the reason are about; None if it is about all of them.
    """

    reason: Reason | None
    nodes: frozenset[int]
    example: int | None = None


def held_back(gatekeeper: Gatekeeper, nodes: frozenset[int]) -> tuple[HeldBack, ...]:
    """Why each of these nodes may not stop alone.

    Args:
        gatekeeper: of the snapshot.
        nodes: indexes of nodes that are up, none of which may stop.

    Returns:
        Groups that together hold all nodes; first the reasons that hold back all of them. A node can be in several.
    """
    groups = [*_by_obstacles(gatekeeper, nodes), *_by_stakes(gatekeeper, nodes), *_by_leases(gatekeeper, nodes)]
    rest = nodes.difference(*(group.nodes for group in groups))
    return (*groups, *_one_by_one(gatekeeper, rest))


def _by_obstacles(gatekeeper: Gatekeeper, nodes: frozenset[int]) -> Iterator[HeldBack]:
    """What does not depend on the node that stops."""
    index = gatekeeper.snapshot.index
    for obstacle in gatekeeper.obstacles():
        waived = obstacle.waived_for_subject and obstacle.subject in index
        held = nodes - {index[obstacle.subject]} if waived else nodes
        if held:
            yield HeldBack(reason=obstacle, nodes=held)


def _by_stakes(gatekeeper: Gatekeeper, nodes: frozenset[int]) -> Iterator[HeldBack]:
    """What a stop would take."""
    for stake in gatekeeper.stakes:
        breaking = gatekeeper.breakers(stake) & nodes
        if breaking:
            example = min(breaking)
            for loss in _taken(gatekeeper, stake, example):
                yield HeldBack(reason=loss, nodes=breaking, example=example)


def _taken(gatekeeper: Gatekeeper, stake: Stake, node: int) -> list[Reason]:
    decision = gatekeeper.decide([gatekeeper.snapshot.nodes[node].address])
    return [
        loss
        for loss in decision.reasons
        if loss.blocks
        and loss.kind.takes
        and (loss.keyspaces, loss.level, loss.datacenter) == (stake.keyspaces, stake.level, stake.client)
    ]


def _by_leases(gatekeeper: Gatekeeper, nodes: frozenset[int]) -> Iterator[HeldBack]:
    """Nodes that restart already, as far as others know."""
    for holder in gatekeeper.holders:
        index = gatekeeper.snapshot.index.get(holder.node)
        if index in nodes:
            text = f"{holder.node} is under the restart lease of {holder.owner}"
            yield HeldBack(reason=reason("lease_held", holder.node, text), nodes=frozenset({index}))


def _one_by_one(gatekeeper: Gatekeeper, nodes: frozenset[int]) -> Iterator[HeldBack]:
    """What else the gate answers: streams of a node, `require_spare`, and what `allow` leaves."""
    groups: dict[tuple[str, str, str], tuple[Reason, set[int], int]] = {}
    ordered = sorted(nodes)
    for node in ordered[:ASKED]:
        for refusal in gatekeeper.decide([gatekeeper.snapshot.nodes[node].address]).reasons:
            if refusal.blocks:
                key = (refusal.code, refusal.keyspace or refusal.subject, str(refusal.level))
                groups.setdefault(key, (refusal, set(), node))[1].add(node)
    for refusal, held, example in groups.values():
        yield HeldBack(reason=refusal, nodes=frozenset(held), example=example)
    if rest := nodes.difference(*(held for _, held, _ in groups.values())):
        yield HeldBack(reason=None, nodes=rest)
