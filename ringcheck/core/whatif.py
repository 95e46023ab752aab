"""What would be: the verdict if nodes were down or back, and the smallest losses that are an outage.

A supposition makes another snapshot, of which the verdict is the same `assess` as of a real one. A risk set is exact:
a loss of the smallest size that is an outage takes, of one range, all replicas that it can spare and one more, and
nothing beside. So the sets of that size are found from the ranges alone, without trying any.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import nsmallest
from itertools import chain, combinations
from math import comb
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import UnknownReplicationError
from ringcheck.core.evidence import Evidence, evidence_of
from ringcheck.core.health import demands_of, ring_state
from ringcheck.core.policy import Severity
from ringcheck.core.ring import COORDINATING, View
from ringcheck.core.selection import Scope
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Demand, Level, Replicas
    from ringcheck.core.findings import Finding
    from ringcheck.core.health import RingState
    from ringcheck.core.maintenance import Maintenance
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Node, Ring, Snapshot
    from ringcheck.core.verdict import LevelVerdict, Verdict

T = TypeVar("T")
Demands: TypeAlias = "tuple[Demand, ...]"
Members: TypeAlias = tuple[int, ...]
"""Indexes of nodes or of racks, ascending."""

LISTED = 5
SUPPOSED_DOWN = "supposed down"
_ENUMERATED = 3_000_000  # sets that are made of ranges, before equal ones are told apart; some 500 MB


# Suppositions


def suppose(snapshot: Snapshot, down: Collection[str] = (), up: Collection[str] = ()) -> Snapshot:
    """The snapshot as it would be with some nodes down for every view, and others back for every view.

    A node that is supposed down coordinates no more: its view is discarded. One that is supposed back serves, and
    sees down whatever any other view sees down. What could not be read stays unread.

    Args:
        snapshot: what was seen.
        down: addresses.
        up: addresses.

    Raises:
        UsageError: if an address is no node's, or a node is supposed to be both.
    """
    gone, back = frozenset(down), frozenset(up)
    strangers = sorted((gone | back) - snapshot.index.keys())
    if strangers:
        raise UsageError(f"{strangers[0]} is no node of {snapshot.cluster}")
    if gone & back:
        raise UsageError(f"{min(gone & back)} can't be supposed both down and up")
    evidence = evidence_of(snapshot)
    observers = {view.observer for view in evidence.usable}
    waking = back - observers - frozenset(evidence.names(evidence.joining))
    # A release that a dead node could not tell is taken to be the others'; its replicas are counted the same.
    version = evidence.node(evidence.usable[0]).release_version if evidence.usable else None
    changed = {address: _woken(snapshot.nodes[snapshot.index[address]], version) for address in waking}
    changed |= {address: _stopped(snapshot.nodes[snapshot.index[address]]) for address in gone}
    nodes = tuple([changed.get(node.address, node) for node in snapshot.nodes])
    kept = tuple([_supposed(evidence, view, gone, back) for view in snapshot.views if view.observer not in waking])
    seen = Evidence(replace(snapshot, nodes=nodes, views=kept))
    woken = tuple([_awake(address, seen) for address in sorted(waking, key=snapshot.index.__getitem__)])
    return replace(snapshot, nodes=nodes, views=(*kept, *woken))


def _woken(node: Node, version: str | None) -> Node:
    return replace(
        node,
        release_version=node.release_version or version,
        mode=node.mode if node.mode in COORDINATING else "NORMAL",
        gossip_running=True,
        native_transport_running=True,
    )


def _stopped(node: Node) -> Node:
    return replace(node, native_transport_running=False)


def _supposed(evidence: Evidence, view: View, gone: frozenset[str], back: frozenset[str]) -> View:
    """A view as it would be, in addresses of the snapshot's nodes."""
    if view.observer in gone:
        return View(view.observer, outcome="discarded", reason=SUPPOSED_DOWN)
    if view.outcome == "unreachable":
        return view
    lists = evidence.named(view)
    unreachable = None if lists.unreachable is None else (lists.unreachable | gone) - back
    return replace(lists, live=(lists.live - gone) | back, unreachable=unreachable)


def _awake(address: str, others: Evidence) -> View:
    """What a node that is back would see: live is what all others reach; the rest they know of is unreachable."""
    if not others.usable:
        reason = "supposed up, but no view tells what it would see"
        return View(address, outcome="discarded", reason=reason)
    first = others.named(others.usable[0])
    reached = frozenset.intersection(*{others.liveness(view).reached for view in others.usable})
    live = frozenset(others.names(reached)) | {address}
    silent = any(view.unreachable is None for view in others.usable)
    unreachable = None if silent else frozenset(others.names(others.known)) - live
    return replace(first, observer=address, live=live, unreachable=unreachable, schema_version=None)


@dataclass(frozen=True, slots=True)
class LevelChange:
    """One level of one keyspace that a supposition changes; `now` is None where nothing could be judged."""

    keyspace: str
    now: LevelVerdict | None
    then: LevelVerdict


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A supposition and what it makes of a verdict.

    Attributes:
        down: addresses that are supposed down.
        up: addresses that are supposed back.
        now: the verdict on what was seen.
        then: the verdict as it would be.
    """

    down: tuple[str, ...]
    up: tuple[str, ...]
    now: Verdict
    then: Verdict

    @property
    def changes(self) -> tuple[LevelChange, ...]:
        """The levels that change, in the order of the verdict."""
        was = {(each.name, one.level, one.datacenter): one for each in self.now.keyspaces for one in each.levels}
        found = [
            LevelChange(each.name, was.get((each.name, one.level, one.datacenter)), one)
            for each in self.then.keyspaces
            for one in each.levels
        ]
        return tuple(one for one in found if one.now is None or _numbers(one.now) != _numbers(one.then))


def _numbers(one: LevelVerdict) -> tuple[object, ...]:
    health = one.health
    if health is None:
        return one.severity, None
    left = health.node_failures_to_outage, health.rack_failures_to_outage
    return one.severity, health.unavailable, health.unavailable_share, health.at_minimum, left


def what_if(  # noqa: PLR0913 - a question, and what it is asked of
    snapshot: Snapshot,
    policy: Policy,
    question: Question | None = None,
    maintenance: Maintenance | None = None,
    *,
    down: Collection[str] = (),
    up: Collection[str] = (),
) -> WhatIf:
    """The verdict as it would be, beside the one that is.

    Raises:
        UsageError: as `suppose` and `assess`.
        RingError: as `assess`.
    """
    then = assess(suppose(snapshot, down, up), policy, question, maintenance)
    return WhatIf(tuple(down), tuple(up), assess(snapshot, policy, question, maintenance), then)


# The smallest losses


@dataclass(frozen=True, slots=True)
class FailureSet(Generic[T]):
    """Nodes or racks that are lost together, and the share of the token space, 0 to 1, that can't be served then."""

    members: tuple[T, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Losses(Generic[T]):
    """The smallest losses that are an outage.

    Attributes:
        failures: how many nodes or racks each takes; 0 where ranges are lost already, None where none can.
        number: how many such losses there are; None where they are too many to tell equal ones apart.
        at_most: what the number can't be above.
        concerned: how many nodes or racks are in one or more of them.
        worst: some, the largest share first.
    """

    failures: int | None
    number: int | None = 0
    at_most: int = 0
    concerned: int = 0
    worst: tuple[FailureSet[T], ...] = ()


@dataclass(frozen=True, slots=True)
class LevelRisk:
    """What keyspaces of one replication lose first at one level.

    Attributes:
        keyspaces: names.
        level: the consistency level.
        datacenter: client datacenter of LOCAL levels, None for the others.
        tier: the severity that an outage has at most; None where nobody watches the level.
        ranges: how many the ring has.
        structurally_unavailable: how many of them no node could serve; they count in no loss.
        nodes: smallest losses in node addresses.
        racks: smallest losses in (datacenter, rack).
        problem: why nothing is known; the losses are None then.
    """

    keyspaces: tuple[str, ...]
    level: Level
    datacenter: str | None
    tier: Severity | None
    ranges: int
    structurally_unavailable: int = 0
    nodes: Losses[str] | None = None
    racks: Losses[tuple[str, str]] | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TierRisk:
    """The smallest losses that are an outage at any level that is watched with one severity."""

    tier: Severity
    nodes: Losses[str]
    racks: Losses[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Risk:
    """What a cluster can't bear to lose, beside what is down now.

    Attributes:
        verdict: how it stands now; its UNKNOWN findings are gaps of the risk too.
        overall: one a tier, the loudest first; a tier of which a level is not known is left out.
        levels: one a replication, level, client datacenter and tier.
    """

    verdict: Verdict
    overall: tuple[TierRisk, ...]
    levels: tuple[LevelRisk, ...]

    @property
    def gaps(self) -> tuple[Finding, ...]:
        """What is not known, so that there may be smaller losses than those told."""
        return tuple(one for one in self.verdict.findings if one.severity is Severity.UNKNOWN)


def risk(snapshot: Snapshot, policy: Policy, question: Question | None = None, limit: int = LISTED) -> Risk:
    """The smallest sets of nodes, and of racks, whose loss is an outage, by every usable view as it is now.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        question: keyspaces and more levels than those that are watched.
        limit: how many losses are listed of each kind.

    Raises:
        UsageError: as `assess`.
        RingError: as `assess`.
    """
    asked = question or Question()
    verdict = assess(snapshot, policy, asked)
    levels, overall = _Risks(snapshot, policy, asked, limit).found() if verdict.keyspaces else ((), ())
    return Risk(verdict, overall, levels)


@dataclass(frozen=True, slots=True)
class _Sets:
    """The smallest losses, tokens by members: all of them, or some where `number` is None."""

    failures: int | None
    tokens: Mapping[Members, int]
    number: int | None = 0
    at_most: int = 0
    concerned: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    """The smallest losses of one ring at one level."""

    nodes: _Sets
    racks: _Sets
    structural: int


class _Risks:
    """Finds the losses of every level, each once a replication."""

    def __init__(self, snapshot: Snapshot, policy: Policy, question: Question, limit: int) -> None:
        self.snapshot = snapshot
        self.question = question
        self.limit = limit
        self.evidence = Evidence(snapshot, question.view) if question.view else evidence_of(snapshot)
        self.scope = Scope(self.evidence, policy, question.keyspaces, question.view)
        self.levels: list[LevelRisk] = []
        self.tiers: dict[Severity, list[_Found | str]] = defaultdict(list)

    def found(self) -> tuple[tuple[LevelRisk, ...], tuple[TierRisk, ...]]:
        """The levels' losses, and the tiers'."""
        for ring in self.snapshot.rings:
            self._ring(ring)
        self.levels.sort(key=lambda one: (one.keyspaces, one.level, one.datacenter or ""))
        return tuple(self.levels), tuple(self._overall())

    def _ring(self, ring: Ring) -> None:
        groups: dict[tuple[Level, Severity | None], list[str]] = defaultdict(list)
        for name, rule in self.scope.chosen(ring):
            for level in dict.fromkeys((*rule.levels, *self.question.levels)):
                groups[level, _tier(rule, level)].append(name)
        known: dict[tuple[Level, str | None], _Found | str] = {}
        surveys: dict[frozenset[int], _Survey] = {}
        for (level, tier), names in groups.items():
            for client in self.scope.clients(level, ring):
                found = known.get((level, client)) or self._look(ring, level, client, surveys)
                known[level, client] = found
                head = tuple(sorted(names)), level, client, tier, len(ring)
                self.levels.append(self._level(head, found))
                if tier:
                    self.tiers[tier].append(found)

    def _look(
        self, ring: Ring, level: Level, client: str | None, surveys: dict[frozenset[int], _Survey]
    ) -> _Found | str:
        """The smallest losses, as the views have it that see them nearest; or why they can't be known."""
        clients = self.scope.policy.client_datacenters if client is None else (client,)
        found = []
        try:
            for outlook in self.evidence.outlooks(clients):
                rules = self.scope.rules(ring, outlook.version)
                state = ring_state(ring, self.snapshot.layout, self.scope.space, outlook.down)
                demands = tuple(demands_of(level, client, rules).values())
                health = state.level(level, client, rules)
                survey = surveys.setdefault(state.down, _Survey(state, self.snapshot))
                nodes = survey.nodes(demands, health.node_failures_to_outage, self.limit)
                racks = survey.racks(demands, health.rack_failures_to_outage)
                found.append(_Found(nodes, racks, health.structurally_unavailable))
        except UnknownReplicationError as error:
            return str(error)
        nodes, racks = _joined([one.nodes for one in found]), _joined([one.racks for one in found])
        return _Found(nodes, racks, max(one.structural for one in found))

    def _level(
        self, head: tuple[tuple[str, ...], Level, str | None, Severity | None, int], found: _Found | str
    ) -> LevelRisk:
        if isinstance(found, str):
            return LevelRisk(*head, problem=found)
        return LevelRisk(*head, found.structural, self._nodes(found.nodes), self._racks(found.racks))

    def _overall(self) -> Iterator[TierRisk]:
        for tier in sorted(self.tiers, reverse=True):
            known = [one for one in self.tiers[tier] if not isinstance(one, str)]
            if len(known) == len(self.tiers[tier]):  # else a smaller one may be where nothing is known
                distinct = list({id(one): one for one in known}.values())
                nodes, racks = _joined([one.nodes for one in distinct]), _joined([one.racks for one in distinct])
                yield TierRisk(tier, self._nodes(nodes), self._racks(racks))

    def _nodes(self, sets: _Sets) -> Losses[str]:
        return self._losses(sets, [node.address for node in self.snapshot.nodes])

    def _racks(self, sets: _Sets) -> Losses[tuple[str, str]]:
        return self._losses(sets, self.snapshot.layout.racks)

    def _losses(self, sets: _Sets, names: Sequence[T]) -> Losses[T]:
        worst = nsmallest(self.limit, sets.tokens.items(), key=_worst_first)
        listed = tuple(
            [FailureSet(tuple([names[one] for one in who]), cost / self.scope.space.size) for who, cost in worst]
        )
        return Losses(sets.failures, sets.number, sets.at_most, sets.concerned, listed)


def _worst_first(item: tuple[Members, int]) -> tuple[int, Members]:
    return -item[1], item[0]


def _tier(rule: Rule, level: Level) -> Severity | None:
    """The loudest severity that an outage at a level can have."""
    if rule.critical and rule.critical.level is level:
        return Severity.CRITICAL
    return Severity.WARNING if rule.warning and rule.warning.level is level else None


def _joined(found: Sequence[_Sets]) -> _Sets:
    """The smallest of several; each loss with what it costs where it costs most."""
    failures = min((one.failures for one in found if one.failures is not None), default=None)
    nearest = [one for one in found if one.failures == failures]
    if len(nearest) == 1:
        return nearest[0]
    tokens: dict[Members, int] = {}
    for one in nearest:
        for members, cost in one.tokens.items():
            tokens[members] = max(cost, tokens.get(members, 0))
    if any(one.number is None for one in nearest):
        most = sum(one.at_most for one in nearest)
        return _Sets(failures, tokens, None, most, max(one.concerned for one in nearest))
    return _counted(failures, tokens)


def _counted(failures: int | None, tokens: Mapping[Members, int]) -> _Sets:
    return _Sets(failures, tokens, len(tokens), len(tokens), len({one for members in tokens for one in members}))


@dataclass(frozen=True, slots=True)
class _Condition:
    """Live replicas of which more than `spare` can't be missed, by their places among a range's replicas."""

    places: tuple[int, ...]
    spare: int


_Places: TypeAlias = tuple[tuple[int, ...], ...]


class _Survey:
    """One ring as one outlook has it: which replicas each range can't spare together.

    Ranges whose replicas stand alike place by place are a row kind; they are told apart only by who these are.
    """

    def __init__(self, state: RingState, snapshot: Snapshot) -> None:
        self.state = state
        self.rack_of = snapshot.layout.rack_of
        self.homes = [snapshot.layout.racks[rack][0] for rack in self.rack_of]
        self._shared: dict[frozenset[object], dict[tuple[Members, ...], int]] = {}

    def nodes(self, demands: Demands, size: int | None, limit: int) -> _Sets:
        """The smallest losses of nodes, of so many."""
        if not size:
            return _Sets(size, {})
        tight = {key: _tight(self._conditions(row, (), kind, demands), size) for key, row, _, kind in self._kinds}
        signature: frozenset[object] = frozenset((key, places) for key, places in tight.items() if places)
        if signature not in self._shared:  # as LOCAL_ONE and LOCAL_QUORUM of one datacenter share
            self._shared[signature] = self._held(tight)
        tokens = self._shared[signature].copy()
        for who, conditions, width in self._pieces(demands):
            places = _tight(conditions, size)
            if places:
                held = tuple([tuple(sorted([who[place] for place in each])) for each in places])
                tokens[held] = tokens.get(held, 0) + width
        return _enumerated(size, tokens, limit)

    def _held(self, tight: Mapping[tuple[int, ...], _Places]) -> dict[tuple[Members, ...], int]:
        """Tokens by the nodes that ranges can't spare together."""
        tokens: dict[tuple[Members, ...], int] = defaultdict(int)
        for _, row, key, width in self._whole():
            places = tight[key]
            if places:
                tokens[tuple([tuple(sorted([row[place] for place in each])) for each in places])] += width
        return dict(tokens)

    def racks(self, demands: Demands, size: int | None) -> _Sets:
        """The smallest losses of racks, of so many."""
        if not size:
            return _Sets(size, {})
        kinds = ((row, self._conditions(row, (), kind, demands), width) for _, row, width, kind in self._kinds)
        tokens: dict[Members, int] = defaultdict(int)
        for who, conditions, width in chain(kinds, self._pieces(demands)):
            racks = {(tuple([self.rack_of[who[at]] for at in one.places]), one.spare) for one in conditions}
            for members in {chosen for held, spare in racks for chosen in _rack_sets(held, spare, size)}:
                tokens[members] += width
        return _counted(size, tokens)

    @cached_property
    def _kinds(self) -> list[tuple[tuple[int, ...], Members, int, Replicas]]:
        """Of each row kind its key, one of the rows, the tokens of all, and what they are like."""
        widths: dict[tuple[int, ...], int] = defaultdict(int)
        first: dict[tuple[int, ...], tuple[int, Members]] = {}
        for index, row, key, width in self._whole():
            widths[key] += width
            if key not in first:
                first[key] = index, row
        return [(key, row, widths[key], self.state.kind(index)[0]) for key, (index, row) in first.items()]

    def _whole(self) -> Iterator[tuple[int, Members, tuple[int, ...], int]]:
        """Index, replicas, row kind and tokens of each range that no pending one cuts."""
        ring, pieces = self.state.ring, self.state.pieces
        before = ring.tokens[-1] - self.state.space.size  # range 0 begins at the last token, a lap earlier
        for index, (row, key, end) in enumerate(zip(ring.rows(), self._keys(), ring.tokens, strict=True)):
            if index not in pieces:
                yield index, row, key, end - before
            before = end

    def _keys(self) -> Iterator[tuple[int, ...]]:
        """Where each replica of a row stands, and whether it is down."""
        ring, down = self.state.ring, self.state.down
        code = [2 * rack + (node in down) for node, rack in enumerate(self.rack_of)] + [-1]
        flat = map(code.__getitem__, ring.table)
        return zip(*[flat] * ring.width, strict=True) if ring.width else iter([()] * len(ring))

    def _pieces(self, demands: Demands) -> Iterator[tuple[Members, tuple[_Condition, ...], int]]:
        """Replicas, conditions and tokens of the pieces of ranges that pending ones cut."""
        for index, pieces in self.state.pieces.items():
            natural = self.state.ring.replicas(index)
            for piece, (start, end, alike) in zip(pieces, self.state.parts(index), strict=True):
                conditions = self._conditions(natural, piece.pending, alike, demands)
                yield (*natural, *piece.pending), conditions, self.state.space.width(start, end)

    def _conditions(
        self, natural: Members, pending: Members, alike: Replicas, demands: Demands
    ) -> tuple[_Condition, ...]:
        """What must hold of a range that can be served; nothing of one that lacks replicas for good."""
        if any(alike.structural(one) for one in demands):
            return ()
        found = []
        for demand in demands:
            for margin in alike.margins(demand):
                who = (*natural, *pending) if margin.counts_pending else natural
                found.append(_Condition(tuple(self._living(who, margin.datacenter)), margin.spare))
        return tuple(dict.fromkeys(found))

    def _living(self, who: Members, datacenter: str | None) -> Iterator[int]:
        for place, node in enumerate(who):
            if node < len(self.homes) and node not in self.state.down and datacenter in {None, self.homes[node]}:
                yield place


def _tight(conditions: Iterable[_Condition], size: int) -> _Places:
    """The replicas of which so many can't be lost."""
    return tuple(dict.fromkeys(one.places for one in conditions if one.spare + 1 == size))


def _rack_sets(racks: Members, spare: int, size: int) -> Iterator[Members]:
    """So many racks that hold more of the live replicas than can be spared; `racks` has one entry a replica."""
    counts = {rack: racks.count(rack) for rack in racks}
    for chosen in combinations(sorted(counts), size):
        if sum(counts[rack] for rack in chosen) > spare:
            yield chosen


def _enumerated(size: int, tokens: Mapping[tuple[Members, ...], int], limit: int) -> _Sets:
    """All sets of a size that lie in the replicas of a range, or of very many the costliest that were met."""
    total = sum(comb(len(each), size) for found in tokens for each in found)
    if total <= _ENUMERATED:
        return _counted(size, _subsets(tokens.items(), size))
    left, some = _ENUMERATED, []
    for found, width in sorted(tokens.items(), key=lambda item: (-item[1], item[0])):
        left -= sum(comb(len(each), size) for each in found)
        if left < 0:
            break
        some.append((found, width))
    met = nsmallest(limit, _subsets(some, size).items(), key=_worst_first)
    exact = {members: _cost(frozenset(members), tokens) for members, _ in met}
    return _Sets(size, exact, None, total, len({one for found in tokens for each in found for one in each}))


def _subsets(ranges: Iterable[tuple[tuple[Members, ...], int]], size: int) -> dict[Members, int]:
    costs: dict[Members, int] = defaultdict(int)
    for found, width in ranges:
        if len(found) == 1:
            for members in combinations(found[0], size):
                costs[members] += width
        else:
            for members in {chosen for each in found for chosen in combinations(each, size)}:
                costs[members] += width
    return costs


def _cost(members: frozenset[int], tokens: Mapping[tuple[Members, ...], int]) -> int:
    return sum(width for found, width in tokens.items() if any(members.issubset(each) for each in found))
