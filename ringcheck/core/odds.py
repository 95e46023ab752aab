"""The odds of an outage and of lost data, from how often nodes and racks fail and how long a repair takes.

The model: every node and every rack fails at random and is repaired at random, independently of all others and of how
long it has been up or down (exponential times). A node is down while it or its rack has failed. In the long run a node
is then down with the probability repair / (MTBF + repair). The sets of nodes and racks that are an outage determine the
probability of an outage at any moment, and how often one begins. What is down now is not considered.

The sum goes over the sets of racks that can have failed together. A set of failed racks takes replicas from the ranges;
core/failureshares.py then computes which share of the sets of other nodes is an outage. Sets of racks are evaluated
from small to large. Those that are not evaluated have bounds: at least the probability without failed racks, at most 1.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from math import comb, exp, log, log1p
from typing import TYPE_CHECKING

from ringcheck.core.consistency import Behaviour, Level, UnknownReplicationError
from ringcheck.core.evidence import Evidence, evidence_of
from ringcheck.core.failuresets import RingSurvey
from ringcheck.core.failureshares import ALWAYS, GROWN, Bounds, failure_shares
from ringcheck.core.headroom import demands_of
from ringcheck.core.health import ring_state
from ringcheck.core.quorum import LEVEL, MetadataService, rules_of
from ringcheck.core.risk import judged_levels
from ringcheck.core.selection import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringcheck.core.assess import Question
    from ringcheck.core.cuts import Tolerance
    from ringcheck.core.failuresets import Demands
    from ringcheck.core.failureshares import FailureShares
    from ringcheck.core.health import RingState
    from ringcheck.core.policy import Policy, Severity
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.risk import JudgedLevel

YEAR = 365 * 86400.0
_ANY_BEHAVIOUR = Behaviour((4, 0), "v1")  # any will do: which replicas may be transient does not depend on it
_RANGES = 2_000_000  # tolerances that are looked through for sets of failed racks
_RACK_SETS = 5_000  # sets of racks of one size
_LEAST_GROWN = 2_000  # sets of nodes that are grown for each set of racks


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often things fail, as mean times in seconds.

    Attributes:
        node_mtbf: time that a node is up until it fails.
        repair: time until a failed node or rack is up again.
        rack_mtbf: time that a rack is up until all its nodes fail together; None if racks don't fail.
    """

    node_mtbf: float
    repair: float
    rack_mtbf: float | None = None

    def down(self, mtbf: float) -> float:
        """The probability that something with this MTBF is down."""
        return self.repair / (mtbf + self.repair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How likely an outage is, and how often one begins.

    Attributes:
        probability: that there is an outage at any one moment.
        outages: how many begin in a year of 365 days.
        counted: size up to which all sets of failed nodes were counted; larger sets have bounds.
    """

    probability: Bounds
    outages: Bounds
    counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelOdds:
    """The odds that some range of keyspaces is unavailable at a level.

    Attributes:
        level: which keyspaces, and at which level.
        odds: None if they can't be known.
        racks: (datacenter, rack) of each rack whose loss alone is an outage.
        problem: why nothing is known.
    """

    level: JudgedLevel
    odds: Odds | None = None
    racks: tuple[tuple[str, str], ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOdds:
    """The odds that all replicas of some range have failed at the same time.

    Attributes:
        keyspaces: of one replication.
        copysets: different sets of nodes that hold all replicas of a range.
        least: fewest copysets of any placement of as many replicas on these nodes.
        odds: None if they can't be known.
        racks: (datacenter, rack) of each rack that alone has all replicas of some range.
        problem: why nothing is known.
    """

    keyspaces: tuple[str, ...]
    copysets: int
    least: int
    odds: Odds | None = None
    racks: tuple[tuple[str, str], ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterOdds:
    """The odds of a cluster.

    Attributes:
        tiers: by severity, CRITICAL first, the odds that any level watched with it is unavailable; a severity is left
            out if one of its levels can't be judged.
        levels: by replication, level, client datacenter and tier.
        data: by replication.
        metadata: the odds that the cluster metadata service has no quorum; None if there is no service, or if a member
            is not a known node.
    """

    tiers: tuple[tuple[Severity, Odds], ...]
    levels: tuple[LevelOdds, ...]
    data: tuple[DataOdds, ...]
    metadata: Odds | None = None


def odds(snapshot: Snapshot, policy: Policy, rates: Rates, question: Question) -> ClusterOdds:
    """The odds in the long run, whatever is down now.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        rates: how often things fail.
        question: keyspaces, and levels in addition to those that are watched.

    Raises:
        UsageError: as `assess`.
        RingError: as `assess`.
    """
    evidence = Evidence(snapshot, question.view) if question.view else evidence_of(snapshot)
    if not evidence.usable or not snapshot.rings:
        return ClusterOdds((), (), ())
    finder = _OddsFinder(Scope(evidence, policy, question.keyspaces, question.view), rates, question.levels)
    return finder.cluster()


class _OddsFinder:
    """Finds the odds of every level, once for equal tolerances."""

    def __init__(self, scope: Scope, rates: Rates, levels: Sequence[Level]) -> None:
        self._scope = scope
        self._rates = rates
        self._asked = levels
        self._known: dict[frozenset[Tolerance], Odds] = {}
        self._tiers: dict[Severity, list[frozenset[Tolerance] | None]] = defaultdict(list)

    def cluster(self) -> ClusterOdds:
        rings = [ring for ring in self._scope.snapshot.rings if self._scope.chosen(ring)]
        levels: list[LevelOdds] = []
        data: list[DataOdds] = []
        for survey in map(self._survey, rings):
            levels.extend(self._levels(survey))
            data.append(self._data(survey))
        levels.sort(key=lambda odds: (odds.level.keyspaces, odds.level.level, odds.level.datacenter or ""))
        data.sort(key=lambda odds: odds.keyspaces)
        return ClusterOdds(tuple(self._overall()), tuple(levels), tuple(data), self._metadata())

    def _metadata(self) -> Odds | None:
        """The odds for the quorum of any of the sets of members that views report."""
        tolerances: set[Tolerance] = set()
        for ring in MetadataService(self._scope.evidence).rings:
            demands = tuple(demands_of(LEVEL, None, rules_of(ring)).values())
            tolerances |= self._survey(ring).tolerances(demands)
        return self._odds(frozenset(tolerances)) if tolerances else None

    def _overall(self) -> Iterator[tuple[Severity, Odds]]:
        for tier in sorted(self._tiers, reverse=True):
            known = [tolerances for tolerances in self._tiers[tier] if tolerances is not None]
            if len(known) == len(self._tiers[tier]):
                yield tier, self._odds(_union(known))

    def _odds(self, tolerances: frozenset[Tolerance]) -> Odds:
        if tolerances not in self._known:
            self._known[tolerances] = outage_odds(tolerances, self._scope.snapshot.layout.rack_of, self._rates)
        return self._known[tolerances]

    def _levels(self, survey: RingSurvey) -> Iterator[LevelOdds]:
        for level in judged_levels(self._scope, survey.state.ring, self._asked):
            try:
                demands = self._demands(survey, level)
            except UnknownReplicationError as error:
                self._add(level, None)
                yield LevelOdds(level=level, problem=str(error))
                continue
            tolerances = _union(list(map(survey.tolerances, demands)))
            self._add(level, tolerances)
            yield LevelOdds(level=level, odds=self._odds(tolerances), racks=self._racks(survey, demands))

    def _add(self, level: JudgedLevel, tolerances: frozenset[Tolerance] | None) -> None:
        if level.tier:
            self._tiers[level.tier].append(tolerances)

    def _survey(self, ring: Ring) -> RingSurvey:
        snapshot = self._scope.snapshot
        return RingSurvey(ring_state(ring, snapshot.layout, self._scope.space, ()), snapshot)

    def _demands(self, survey: RingSurvey, level: JudgedLevel) -> list[Demands]:
        """What coordinators demand; those of different behaviours may demand different things."""
        outlooks = self._scope.outlooks(survey.state.ring, level.level, level.datacenter)
        demands = (tuple(demands_of(level.level, level.datacenter, rules).values()) for _, rules in outlooks)
        return list(dict.fromkeys(demands))

    def _racks(self, survey: RingSurvey, demands: Iterable[Demands]) -> tuple[tuple[str, str], ...]:
        """The racks whose loss alone takes more replicas of some range than it can lose."""
        layout = self._scope.snapshot.layout
        homes = set().union(*map(survey.homes, demands))
        fatal = {rack for racks, spare in homes for rack, number in Counter(racks).items() if number > spare}
        return tuple(layout.racks[rack] for rack in sorted(fatal))

    def _data(self, survey: RingSurvey) -> DataOdds:
        ring = survey.state.ring
        names = tuple(sorted(name for name, _ in self._scope.chosen(ring)))
        number, least = len(survey.copysets), self._least_copysets(survey.state)
        try:
            rules = self._scope.rules(ring, _ANY_BEHAVIOUR)
        except UnknownReplicationError as error:
            return DataOdds(keyspaces=names, copysets=number, least=least, problem=str(error))
        demands = (rules.demand(Level.ONE, "read", None),)
        return DataOdds(
            keyspaces=names,
            copysets=number,
            least=least,
            odds=self._odds(survey.tolerances(demands)),
            racks=self._racks(survey, [demands]),
        )

    def _least_copysets(self, state: RingState) -> int:
        """The fewest copysets that these nodes can form, if a copyset has as many nodes of a datacenter as now."""
        layout = self._scope.snapshot.layout
        nodes = Counter([layout.racks[layout.rack_of[node]][0] for node in state.ring.holders])
        replicas: Counter[str] = Counter()
        for kind in state.kinds:
            replicas |= Counter(dict(kind[0].natural))
        return max((-(-nodes[home] // replicas[home]) for home in nodes), default=0)


def _union(several: Sequence[frozenset[Tolerance]]) -> frozenset[Tolerance]:
    """The union; the set itself if all are one object, since a copy and a comparison of a large set take long."""
    distinct = list({id(tolerances): tolerances for tolerances in several}.values())
    return distinct[0] if len(distinct) == 1 else frozenset().union(*distinct)


# The sum over sets of failed racks


def outage_odds(tolerances: frozenset[Tolerance], rack_of: Sequence[int], rates: Rates) -> Odds:
    """The odds that some range has lost more replicas than it can lose.

    Args:
        tolerances: the replicas of each range, and how many of them may be lost.
        rack_of: for each node the index of its rack.
        rates: how often nodes and racks fail.
    """
    racks: set[int] = set()
    if rates.rack_mtbf is not None:
        racks = {rack_of[node] for members, _ in tolerances for node in members}
    total = _Sum(len(racks), rates)
    for size, number, shares in _RackSets(tolerances, rack_of, sorted(racks)).cases():
        total.add(size, number, shares)
    return total.odds()


class _RackSets:
    """What failures of other nodes mean for each set of failed racks."""

    def __init__(self, tolerances: frozenset[Tolerance], rack_of: Sequence[int], racks: Sequence[int]) -> None:
        self._tolerances = tolerances
        self._rack_of = rack_of
        self._racks = racks
        self._fatal: list[frozenset[int]] = []  # the smallest sets of racks that are an outage
        self._room = max(_RANGES, len(tolerances))

    def cases(self) -> Iterator[tuple[int, int, FailureShares | None]]:
        """Size and number of equivalent sets of failed racks, and their shares; None if these are not known."""
        every_larger = False
        for size in range(len(self._racks) + 1):
            number = comb(len(self._racks), size)
            if every_larger:
                yield size, number, ALWAYS
            elif number > _RACK_SETS:
                yield size, number, None
            else:
                shares = [self._shares(frozenset(lost), number) for lost in combinations(self._racks, size)]
                yield from ((size, 1, share) for share in shares)
                every_larger = all(share is ALWAYS for share in shares)

    def _shares(self, lost: frozenset[int], number: int) -> FailureShares | None:
        if any(fatal <= lost for fatal in self._fatal):
            return ALWAYS
        if len(self._tolerances) > self._room:
            return None
        self._room -= len(self._tolerances) if lost else 0
        shares = failure_shares(frozenset(self._left(lost)), max(GROWN // number, _LEAST_GROWN))
        if shares is ALWAYS:
            self._fatal.append(lost)
        return shares

    def _left(self, lost: frozenset[int]) -> Iterable[Tolerance]:
        """The tolerances of the ranges without the nodes of failed racks."""
        if not lost:
            return self._tolerances
        return (self._without(members, spare, lost) for members, spare in self._tolerances)

    def _without(self, members: tuple[int, ...], spare: int, lost: frozenset[int]) -> Tolerance:
        left = tuple([node for node in members if self._rack_of[node] not in lost])
        return left, spare - len(members) + len(left)


class _Sum:
    """The sum over the sets of racks, of probabilities and of how often an outage begins."""

    def __init__(self, racks: int, rates: Rates) -> None:
        self._racks = racks
        self._rates = rates
        self._down = rates.down(rates.node_mtbf)
        self._counted = 0
        self._whole: FailureShares | None = None  # the shares with all racks up
        self._probability = self._by_nodes = self._by_racks = Bounds(0.0, 0.0)

    def add(self, size: int, number: int, shares: FailureShares | None) -> None:
        """Add `number` sets of failed racks of one size."""
        if self._whole is None:
            self._whole = shares
        chance, weight = self._chance(size)
        known = shares.probability(self._down) if shares else Bounds(self._least(), 1.0)
        begin = shares.onsets(self._down) if shares else Bounds(0.0, float(self._whole.nodes if self._whole else 0))
        self._probability = _plus(self._probability, known, number * chance)
        self._by_nodes = _plus(self._by_nodes, begin, number * chance)
        self._by_racks = _plus(self._by_racks, known, number * chance * weight)

    def _least(self) -> float:
        return self._whole.probability(self._down).at_least if self._whole else 0.0

    def _chance(self, size: int) -> tuple[float, float]:
        """The probability that exactly these racks have failed, and the weight of a set for how often outages begin."""
        if self._rates.rack_mtbf is None:
            return 1.0, 0.0
        down = self._rates.down(self._rates.rack_mtbf)
        others = self._racks - size
        return exp(size * log(down) + others * log1p(-down)), size * (1 - down) / down - others

    def odds(self) -> Odds:
        """The odds."""
        outages = _plus(Bounds(0.0, 0.0), self._by_nodes, YEAR / self._rates.node_mtbf)
        if self._rates.rack_mtbf is not None:
            outages = _plus(outages, self._by_racks, YEAR / self._rates.rack_mtbf)
        return Odds(
            probability=Bounds(max(0.0, self._probability.at_least), min(1.0, self._probability.at_most)),
            outages=Bounds(max(0.0, outages.at_least), max(0.0, outages.at_most)),
            counted=self._whole.exact_to if self._whole else 0,
        )


def _plus(total: Bounds, more: Bounds, weight: float) -> Bounds:
    """The sum of `total` and `weight` times `more`; a negative weight swaps the bounds."""
    low, high = (more.at_least, more.at_most) if weight >= 0 else (more.at_most, more.at_least)
    return Bounds(total.at_least + weight * low, total.at_most + weight * high)
