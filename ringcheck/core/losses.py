"""What a stop costs: the ranges of a stake that can be served before it and not after it.

Gate and plan share these counts. The cost is counted range by range, for one stake (`core.stakes`) and two states of
its ring, before and after the stop. Ranges to which a stop does the same are counted once: of the thousands of ranges
that a node holds there are some hundred kinds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.headroom import headroom
from ringcheck.core.quorum import after_stop, before_stop, quorum_of
from ringcheck.core.reasons import Example, reason
from ringcheck.core.words import listed, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ringcheck.core.consistency import Demand, Replicas
    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.kinds import RangeKind
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Layout, Snapshot
    from ringcheck.core.stakes import Stake


@dataclass(slots=True, kw_only=True)
class CandidateLoss:
    """What one stop takes away from one stake.

    Attributes:
        ranges: how many can be served before and not after.
        tokens: how many of their tokens are lost.
        tight: how many other ranges are left without a spare replica.
        never: how many of the lost ranges have no replica to spare even with all nodes up.
        first: index of the first lost range; None if none is lost.
    """

    ranges: int = 0
    tokens: int = 0
    tight: int = 0
    never: int = 0
    first: int | None = None


Parts: TypeAlias = "tuple[tuple[Replicas, Replicas], ...]"
"""A range before and after a stop, piece by piece where pending ranges cut it."""


@dataclass(slots=True, kw_only=True)
class RangeGroup:
    """Ranges that a stop affects in the same way.

    Attributes:
        whole: the counts of their replicas with all nodes up.
        parts: the counts before and after the stop, piece by piece where pending ranges cut them.
        ranges: how many ranges there are.
        tokens: how many tokens all of them have in each of the pieces.
        first: index of the first range.
    """

    whole: Replicas
    parts: Parts
    ranges: int
    tokens: list[int]
    first: int


def groups_of(
    before: RingState,
    after: RingState,
    concerned: frozenset[int],
    changed: Callable[[int, Replicas], Replicas] | None = None,
) -> list[RangeGroup]:
    """The ranges that some nodes hold or gain, grouped by what happens to them.

    Args:
        before: the ring before.
        after: the same ring after.
        concerned: indexes of the nodes.
        changed: makes the counts after from the index of a range and its counts in `after`; None to use the latter.
    """
    groups: dict[tuple[Replicas, Parts], RangeGroup] = {}
    for index in _touched(before, concerned):
        pieces = list(zip(before.parts(index), after.parts(index), strict=True))
        parts = tuple([(then, changed(index, now) if changed else now) for (_, _, then), (_, _, now) in pieces])
        whole = before.whole(index)
        group = groups.get((whole, parts))
        if group is None:
            group = RangeGroup(whole=whole, parts=parts, ranges=0, tokens=[0] * len(parts), first=index)
            groups[whole, parts] = group
        group.ranges += 1
        for number, ((start, end, _), _) in enumerate(pieces):
            group.tokens[number] += before.space.width(start, end)
    return list(groups.values())


def _touched(state: RingState, nodes: frozenset[int]) -> list[int]:
    """The ranges that some nodes hold or gain, ascending."""
    cut = (index for index in state.pieces if nodes.intersection(state.members(index)))
    return sorted({*cut, *(index for node in nodes for index in state.ring.ranges_of[node])})


def loss_of(groups: Iterable[RangeGroup], demands: tuple[Demand, ...]) -> CandidateLoss:
    """What a stop takes away by these demands; a range is lost if a demand that was met before fails after it."""
    loss = CandidateLoss()
    for group in groups:
        fates = [_fate(then, now, demands) for then, now in group.parts]
        if any(gone for gone, _ in fates):
            loss.ranges += group.ranges
            loss.tokens += sum(width for width, (gone, _) in zip(group.tokens, fates, strict=True) if gone)
            loss.never += group.ranges if never_spared(group.whole, demands) else 0
            loss.first = group.first if loss.first is None else min(loss.first, group.first)
        elif any(tight for _, tight in fates):
            loss.tight += group.ranges
    return loss


def _fate(then: Replicas, now: Replicas, demands: tuple[Demand, ...]) -> tuple[bool, bool]:
    """Whether a piece of a range is lost to any operation, and whether the stop takes its last spare replica."""
    spares = [(headroom((then,), demand).spare, headroom((now,), demand).spare) for demand in demands]
    gone = any(was is not None and left is not None and left < 0 <= was for was, left in spares)
    return gone, any(left == 0 and was != 0 for was, left in spares)


def never_spared(whole: Replicas, demands: tuple[Demand, ...]) -> bool:
    """Whether a range has no replica to spare even with all nodes up."""
    return any((headroom((whole,), demand).spare or 0) <= 0 for demand in demands if demand.requirements)


# Each node alone


def losses_alone(stake: Stake, state: RingState, layout: Layout, nodes: frozenset[int]) -> dict[int, CandidateLoss]:
    """What the stop of each of these nodes alone takes away, in one pass over a ring without pending ranges.

    Args:
        stake: what is weighed.
        state: its ring, with the nodes down that may not be counted on.
        layout: racks and datacenters of the nodes.
        nodes: indexes of nodes that are up in that state.

    Returns:
        By node; nodes whose stop takes nothing are left out.
    """
    datacenters = [layout.racks[rack][0] for rack in layout.rack_of]
    losses: dict[int, CandidateLoss] = defaultdict(CandidateLoss)
    fragile = {kind: unspared for kind in state.kinds if (unspared := _unspared(kind[0], stake.demands))}
    if not fragile:
        return losses
    nevers: dict[RangeKind, bool] = {}
    for index, row in enumerate(stake.ring.rows()):
        kind = state.kind(index)
        if kind in fragile:
            if kind not in nevers:
                nevers[kind] = never_spared(state.whole(index), stake.demands)
            width = state.space.width(*stake.ring.range(index))
            for node in nodes.intersection(row):
                if None in fragile[kind] or datacenters[node] in fragile[kind]:
                    _add(losses[node], index, width, never=nevers[kind])
    return losses


def _add(loss: CandidateLoss, index: int, width: int, *, never: bool) -> None:
    loss.ranges += 1
    loss.tokens += width
    loss.never += never
    loss.first = index if loss.first is None else loss.first


def _unspared(kind: Replicas, demands: Iterable[Demand]) -> frozenset[str | None]:
    """Datacenters (None: all) in which no replica can be spared, by the demands that are met."""
    margins = [kind.margins(demand) for demand in demands]
    met = [conditions for conditions in margins if all(margin.spare >= 0 for margin in conditions)]
    return frozenset(margin.datacenter for conditions in met for margin in conditions if margin.spare == 0)


# As reasons

_WORDS = {
    "already_unavailable": "are unavailable already",
    "structurally_unavailable": "can never be served",
    "would_become_unavailable": "would become unavailable",
    "structurally_never_safe": "can't survive any stop",
}


_WITHOUT_COORDINATORS = {
    "last_coordinator": "no coordinator would be left in {}: its clients would have no node to connect to",
    "logged_batches": "no logged batch could be written in {}: only one of its nodes would be up",
}


def lost(code: str, stake: Stake, ranges: int, share: float, **fields: object) -> Reason:
    """The reason that ranges of a stake are lost, before the stop or by it.

    Args:
        code: of the reason; it says when and why the ranges are lost.
        stake: the stake whose ranges they are.
        ranges: how many.
        share: of the token space, 0 to 1.
        fields: more fields of the reason.
    """
    number = f"{ranges} of {len(stake.ring)} ranges ({percent(share)} of the tokens) of {listed(stake.keyspaces)}"
    text = f"{number} {_WORDS[code]} {stake.where}"
    return reason(code, stake.keyspaces[0], text, ranges=ranges, share=share, **stake.fields, **fields)


def without_implied(stakes: Iterable[Stake], reasons: Iterable[Reason]) -> list[Reason]:
    """The reasons without those of default levels beside a reason about the same keyspaces at another level.

    A reason that blocks is left out only beside one that blocks too, and with the same answer.

    Args:
        stakes: all of them; they know which levels are kept by default.
        reasons: with their final `blocks`.
    """
    by_default = {(stake.keyspaces, stake.level, stake.client) for stake in stakes if stake.by_default}
    given = list(reasons)

    def implied(one: Reason) -> bool:
        return (one.keyspaces, one.level, one.datacenter) in by_default and any(
            other.level is not one.level
            and other.datacenter == one.datacenter
            and set(other.keyspaces).issuperset(one.keyspaces)
            and (not one.blocks or (other.blocks and other.kind.answer == one.kind.answer))
            for other in given
            if other.ranges is not None
        )

    given = _without_lesser(given)
    return [one for one in given if not implied(one)] if by_default else given


def _without_lesser(reasons: list[Reason]) -> list[Reason]:
    """The reasons without those about coordinators of datacenters whose clients lose ranges at LOCAL levels anyway.

    Nor are batches told of where no coordinator is left, or where any level is lost, even if that is allowed.
    """
    lost = [one for one in reasons if one.kind.lost == "by_the_stop"]
    lost_in = {one.datacenter for one in lost if one.blocks}
    left = [one for one in reasons if one.code != "last_coordinator" or one.datacenter not in lost_in]
    worse_in = {one.datacenter for one in (*lost, *(one for one in left if one.code == "last_coordinator"))}
    return [one for one in left if one.code != "logged_batches" or not worse_in & {None, one.datacenter}]


def lost_before(snapshot: Snapshot, stake: Stake, down: frozenset[int], health: LevelHealth, *, blocks: bool) -> Reason:
    """The reason that a stake is lost before the stop, with these nodes down."""
    if stake.metadata:
        return _no_quorum(stake, *before_stop(quorum_of(snapshot, stake.ring, down)), blocks=blocks)
    return lost("already_unavailable", stake, health.outage, health.outage_share, blocks=blocks)


def _no_quorum(stake: Stake, summary: str, lifts_when: str, **fields: object) -> Reason:
    return reason("metadata_quorum", stake.keyspaces[0], summary, lifts_when=lifts_when, **stake.fields, **fields)


def lost_by_the_stop(snapshot: Snapshot, stake: Stake, after: RingState, loss: CandidateLoss) -> Iterator[Reason]:
    """The reasons that a stop takes ranges away; each with the first lost range as it would be after the stop."""
    if stake.metadata:
        if loss.ranges:
            yield _no_quorum(stake, *after_stop(quorum_of(snapshot, stake.ring, after.down)))
        return
    if stake.code:
        if loss.ranges:
            text = _WITHOUT_COORDINATORS[stake.code].format(stake.client)
            # Its level is how such a ring is judged: what is lost is lost at every level of a query.
            yield reason(stake.code, str(stake.client), text, blocks=not stake.advisory, datacenter=stake.client)
        return
    share = loss.tokens / after.space.size
    example = None if loss.first is None else example_of(snapshot, after, loss.first)
    if loss.never:
        cure = _cure(snapshot, stake, example)
        yield lost("structurally_never_safe", stake, loss.never, share, example=example, lifts_when=cure)
    if loss.ranges > loss.never:
        yield lost("would_become_unavailable", stake, loss.ranges - loss.never, share, example=example)


def _cure(snapshot: Snapshot, stake: Stake, example: Example | None) -> str:
    """What lifts `structurally_never_safe`; a lower level does not help a range with one replica."""
    nodes, index = snapshot.nodes, snapshot.index
    places = [nodes[index[name]].datacenter for name in (example.replicas if example else ())]
    counting = [place for place in places if stake.client in {None, place}]
    lower = ", a lower level is kept" if len(counting) > 1 else ""
    return f"the replication factor is raised{lower}, or the keyspace is accepted by name"


def example_of(snapshot: Snapshot, state: RingState, index: int) -> Example:
    """A range with its replicas, and those of them that are live in a state."""
    replicas = state.ring.replicas(index)
    start, end = state.ring.range(index)
    return Example(
        start=start,
        end=end,
        replicas=tuple(snapshot.nodes[node].address for node in replicas),
        live=tuple(snapshot.nodes[node].address for node in replicas if node not in state.down),
    )
