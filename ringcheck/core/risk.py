"""The smallest sets of nodes, and of racks, whose loss is an outage.

They are found for every level of every keyspace, in addition to the nodes that are down now, and for the quorum of the
cluster metadata service. `core.failuresets` explains how.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import TYPE_CHECKING, Generic, TypeVar

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import UnknownReplicationError
from ringcheck.core.evidence import Evidence, evidence_of
from ringcheck.core.failuresets import RingSurvey, joined, worst_first
from ringcheck.core.headroom import demands_of
from ringcheck.core.health import ring_state
from ringcheck.core.policy import Severity
from ringcheck.core.quorum import KEYSPACE, LEVEL, MetadataService, rules_of
from ringcheck.core.selection import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringcheck.core.consistency import Level, Rules
    from ringcheck.core.evidence import Outlook
    from ringcheck.core.failuresets import SmallestSets
    from ringcheck.core.findings import Finding
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.verdict import Verdict

T = TypeVar("T")

LISTED = 5


@dataclass(frozen=True, slots=True)
class FailureSet(Generic[T]):
    """Nodes or racks that are lost together, and the share of the token space, 0 to 1, that is unavailable then."""

    members: tuple[T, ...]
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses(Generic[T]):
    """The smallest losses that are an outage.

    Attributes:
        failures: how many nodes or racks each loss takes; 0 if ranges are lost already, None if no loss is an outage.
        number: how many different losses there are; None if there are too many to merge equal ones.
        at_most: upper bound of that number.
        concerned: how many nodes or racks are in any of the losses.
        worst: some of the losses, the largest share first.
    """

    failures: int | None
    number: int | None = 0
    at_most: int = 0
    concerned: int = 0
    worst: tuple[FailureSet[T], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRisk:
    """The smallest losses of the keyspaces with one replication, at one level.

    Attributes:
        keyspaces: names.
        level: the consistency level.
        datacenter: client datacenter of LOCAL levels, None for the others.
        tier: the highest severity that an outage can have; None if the level is not watched.
        ranges: how many ranges the ring has.
        structurally_unavailable: how many of them are unavailable with all nodes up; no loss includes them.
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
    """The smallest losses that are an outage, in addition to what is down now.

    Attributes:
        verdict: the cluster as it is now; its UNKNOWN findings are gaps of the risk too.
        overall: by tier, CRITICAL first; a tier is left out if a level of it can't be judged.
        levels: by replication, level, client datacenter and tier.
        metadata: of the quorum of the cluster metadata service, which is not watched as keyspaces are; None if there is
            no service.
    """

    verdict: Verdict
    overall: tuple[TierRisk, ...]
    levels: tuple[LevelRisk, ...]
    metadata: LevelRisk | None = None

    @property
    def gaps(self) -> tuple[Finding, ...]:
        """What is not known, so that smaller losses than those listed may be an outage."""
        return tuple(finding for finding in self.verdict.findings if finding.severity is Severity.UNKNOWN)


def risk(snapshot: Snapshot, policy: Policy, question: Question | None = None, limit: int = LISTED) -> Risk:
    """The smallest sets of nodes, and of racks, whose loss is an outage, by every usable view as it is now.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        question: keyspaces, and levels in addition to those that are watched.
        limit: how many losses are listed of each kind.

    Raises:
        UsageError: as `assess`.
        RingError: as `assess`.
    """
    asked = question or Question()
    verdict = assess(snapshot, policy, asked)
    if not verdict.keyspaces:
        return Risk(verdict, (), ())
    finder = _RiskFinder(snapshot, policy, asked, limit)
    levels, overall = finder.risks()
    return Risk(verdict, overall, levels, finder.of_metadata())


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedLevel:
    """A level at which keyspaces of one ring are judged; its fields are those of `LevelRisk`."""

    keyspaces: tuple[str, ...]
    level: Level
    datacenter: str | None
    tier: Severity | None


def judged_levels(scope: Scope, ring: Ring, more: Sequence[Level]) -> Iterator[JudgedLevel]:
    """The levels that are watched for keyspaces of a ring, and more that are asked for."""
    groups: dict[tuple[Level, str | None, Severity | None], list[str]] = defaultdict(list)
    for name, rule in scope.chosen(ring):
        for level in dict.fromkeys((*rule.levels, *more)):
            for client in scope.clients(level, ring):
                tier = _tier(rule, level, client)
                if tier or level in more:
                    groups[level, client, tier].append(name)
    for (level, client, tier), names in groups.items():
        yield JudgedLevel(keyspaces=tuple(sorted(names)), level=level, datacenter=client, tier=tier)


@dataclass(frozen=True, slots=True)
class _RingLosses:
    """The smallest losses of one ring at one level, and how many ranges are structurally unavailable."""

    nodes: SmallestSets
    racks: SmallestSets
    structural: int


class _RiskFinder:
    """Finds the losses of every level, once for all keyspaces of one replication."""

    def __init__(self, snapshot: Snapshot, policy: Policy, question: Question, limit: int) -> None:
        self.snapshot = snapshot
        self.question = question
        self.limit = limit
        self.evidence = Evidence(snapshot, question.view) if question.view else evidence_of(snapshot)
        self.scope = Scope(self.evidence, policy, question.keyspaces, question.view)
        self.levels: list[LevelRisk] = []
        self.tiers: dict[Severity, list[_RingLosses | str]] = defaultdict(list)

    def risks(self) -> tuple[tuple[LevelRisk, ...], tuple[TierRisk, ...]]:
        """The losses of the levels, and of the tiers."""
        for ring in self.snapshot.rings:
            self._add_ring(ring)
        self.levels.sort(key=lambda level: (level.keyspaces, level.level, level.datacenter or ""))
        return tuple(self.levels), tuple(self._overall())

    def of_metadata(self) -> LevelRisk | None:
        """The losses of the metadata service's quorum, for the reported set of members that is nearest to losing it.

        None if there is no service.
        """
        rings = MetadataService(self.evidence).rings
        outlooks = self.evidence.outlooks(())
        found = [
            _RingFinder(self.scope, ring, self.limit).seen(
                ((outlook, rules_of(ring)) for outlook in outlooks), LEVEL, None
            )
            for ring in rings
        ]
        if not found:
            return None
        about = LevelRisk(keyspaces=(KEYSPACE,), level=LEVEL, datacenter=None, tier=None, ranges=1)
        losses = _worst(found)
        return self._with_losses(about, "members are not known nodes" if losses.structural else losses)

    def _add_ring(self, ring: Ring) -> None:
        finder = _RingFinder(self.scope, ring, self.limit)
        for level in judged_levels(self.scope, ring, self.question.levels):
            losses = finder.losses(level.level, level.datacenter)
            about = LevelRisk(
                keyspaces=level.keyspaces,
                level=level.level,
                datacenter=level.datacenter,
                tier=level.tier,
                ranges=len(ring),
            )
            self.levels.append(self._with_losses(about, losses))
            if level.tier:
                self.tiers[level.tier].append(losses)

    def _with_losses(self, about: LevelRisk, losses: _RingLosses | str) -> LevelRisk:
        if isinstance(losses, str):
            return replace(about, problem=losses)
        return replace(
            about,
            structurally_unavailable=losses.structural,
            nodes=self._nodes(losses.nodes),
            racks=self._racks(losses.racks),
        )

    def _overall(self) -> Iterator[TierRisk]:
        for tier in sorted(self.tiers, reverse=True):
            known = [losses for losses in self.tiers[tier] if not isinstance(losses, str)]
            if len(known) == len(self.tiers[tier]):  # a level that can't be judged may have a smaller loss
                distinct = list({id(losses): losses for losses in known}.values())
                nodes = joined([losses.nodes for losses in distinct])
                racks = joined([losses.racks for losses in distinct])
                yield TierRisk(tier, self._nodes(nodes), self._racks(racks))

    def _nodes(self, sets: SmallestSets) -> Losses[str]:
        return self._named(sets, [node.address for node in self.snapshot.nodes])

    def _racks(self, sets: SmallestSets) -> Losses[tuple[str, str]]:
        return self._named(sets, self.snapshot.layout.racks)

    def _named(self, sets: SmallestSets, names: Sequence[T]) -> Losses[T]:
        worst = nsmallest(self.limit, sets.tokens.items(), key=worst_first)
        return Losses(
            failures=sets.failures,
            number=sets.number,
            at_most=sets.at_most,
            concerned=sets.concerned,
            worst=tuple(
                [
                    FailureSet(tuple([names[member] for member in members]), cost / self.scope.space.size)
                    for members, cost in worst
                ]
            ),
        )


class _RingFinder:
    """Finds the losses of one ring, once for each level and client datacenter."""

    def __init__(self, scope: Scope, ring: Ring, limit: int) -> None:
        self._scope = scope
        self._ring = ring
        self._limit = limit
        self._known: dict[tuple[Level, str | None], _RingLosses | str] = {}
        self._surveys: dict[frozenset[int], RingSurvey] = {}

    def losses(self, level: Level, client: str | None) -> _RingLosses | str:
        """The smallest losses by the views that see them nearest; or why they can't be known."""
        losses = self._known.get((level, client))
        if losses is None:
            try:
                losses = self.seen(self._scope.outlooks(self._ring, level, client), level, client)
            except UnknownReplicationError as error:
                losses = str(error)
            self._known[level, client] = losses
        return losses

    def seen(self, outlooks: Iterable[tuple[Outlook, Rules]], level: Level, client: str | None) -> _RingLosses:
        """The smallest losses by some outlooks: those of the outlooks that are nearest to an outage."""
        snapshot, space, views = self._scope.snapshot, self._scope.space, []
        for outlook, rules in outlooks:
            state = ring_state(self._ring, snapshot.layout, space, outlook.down)
            demands = tuple(demands_of(level, client, rules).values())
            health = state.level(level, client, rules)
            survey = self._surveys.setdefault(state.down, RingSurvey(state, snapshot))
            nodes = survey.nodes(demands, health.node_failures_to_outage, self._limit)
            racks = survey.racks(demands, health.rack_failures_to_outage)
            views.append(_RingLosses(nodes, racks, health.structurally_unavailable))
        return _worst(views)


def _worst(several: Sequence[_RingLosses]) -> _RingLosses:
    """The nearest losses of several views."""
    nodes, racks = joined([losses.nodes for losses in several]), joined([losses.racks for losses in several])
    return _RingLosses(nodes, racks, max(losses.structural for losses in several))


def _tier(rule: Rule, level: Level, client: str | None) -> Severity | None:
    """The highest severity that an outage at a level can have; None if the rule does not watch it."""
    tiers = rule.at(level, client)
    return tiers[0][0] if tiers else None
