"""Severities of keyspaces at levels: what the worst coordinator sees, weighed by the rule of the keyspace.

Owns which coordinator counts, what a restart lease excuses, and the texts of losses. Findings about what is not known
are in core/gaps.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.core.combined import seen_by_any
from ringcheck.core.consistency import UnknownReplicationError
from ringcheck.core.findings import Finding, noted
from ringcheck.core.headroom import demands_of
from ringcheck.core.health import ring_state
from ringcheck.core.policy import Severity
from ringcheck.core.recovery import Outage
from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict
from ringcheck.core.words import counted, listed, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.consistency import Level, Operation, Rules
    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.maintenance import Leases
    from ringcheck.core.policy import Rule
    from ringcheck.core.ring import Range, Ring
    from ringcheck.core.selection import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """How a ring looks at a level to the coordinators of one outlook.

    Attributes:
        health: numbers of the level.
        observer: the first of the coordinators, which stands for all.
        state: the ring without the nodes that they do not reach.
        rules: of their behaviour.
    """

    health: LevelHealth
    observer: str
    state: RingState
    rules: Rules


@dataclass(frozen=True, slots=True)
class _Excuse:
    """Which parts of a sight's alarm are caused by nodes under a restart lease alone.

    Attributes:
        lost: whether the loss of ranges is caused by them alone.
        near: whether they alone are the cause that few failures are left.
        held: the nodes under a lease that the coordinators do not reach.
    """

    lost: bool = False
    near: bool = False
    held: frozenset[int] = frozenset()


_NO_EXCUSE = _Excuse()


class Judge:
    """Judges keyspaces at levels. Results are kept by ring: a hundred keyspaces with one replication cost as one.

    Attributes:
        findings: those noted so far.
    """

    def __init__(self, scope: Scope, leases: Leases, levels: Sequence[Level] = (), *, ranges: bool = False) -> None:
        """Begin with no finding.

        Args:
            scope: what is judged.
            leases: restart leases.
            levels: levels to show in addition to those that the rules watch.
            ranges: whether to list the unavailable ranges.
        """
        self.findings: list[Finding] = []
        self._scope = scope
        self._leases = leases
        self._levels_shown = levels
        self._lists_ranges = ranges
        self._snapshot = scope.snapshot
        self._outages: dict[object, Outage] = {}
        self._seen: dict[tuple[int, Level, str | None], tuple[_Sight, ...] | str] = {}
        # By index of the ring and identity of the rule, which the scope keeps alive:
        self._wanted: dict[tuple[int, int], list[tuple[Level, str | None]]] = {}
        self._shared: dict[tuple[int, int, Level, str | None], LevelVerdict] = {}

    @property
    def outages(self) -> list[Outage]:
        """What is lost at watched levels, among the keyspaces judged so far."""
        return list(self._outages.values())

    def keyspaces(self) -> tuple[KeyspaceVerdict, ...]:
        """The verdict on each keyspace in scope, in order of name."""
        verdicts = []
        for index, ring in enumerate(self._snapshot.rings):
            replication = str(ring.replication) if ring.replication else None
            verdicts += [
                KeyspaceVerdict(
                    name=name, replication=replication, ranges=len(ring), levels=self._levels(name, rule, index)
                )
                for name, rule in self._scope.chosen(ring)
            ]
        return tuple(sorted(verdicts, key=lambda verdict: verdict.name))

    def _levels(self, name: str, rule: Rule, index: int) -> tuple[LevelVerdict, ...]:
        """Verdicts on a keyspace at each level for each client datacenter; `index` is that of its ring."""
        wanted = self._wanted.get((index, id(rule)))
        if wanted is None:
            wanted = self._wanted[index, id(rule)] = self._levels_of(rule, index)
        unknown = [
            (level, client) for level, client in wanted if rule.at(level, client) and self._why(index, level, client)
        ]
        if unknown:
            levels = listed(list(dict.fromkeys(str(level) for level, _ in unknown)))
            text = f"{name} can't be judged at {levels}: {self._why(index, *unknown[0])}"
            self.findings.append(noted("replication_unknown", name, text, "state it under `replication:`"))
        return tuple([self._level(name, rule, index, level, client) for level, client in wanted])

    def _levels_of(self, rule: Rule, index: int) -> list[tuple[Level, str | None]]:
        """The levels that are watched or shown for keyspaces with a rule, each with its client datacenters."""
        return [
            (level, client)
            for level in dict.fromkeys((*rule.levels, *self._levels_shown))
            for client in self._scope.clients(level, self._snapshot.rings[index])
            if level in self._levels_shown or rule.at(level, client)
        ]

    def _level(self, name: str, rule: Rule, index: int, level: Level, client: str | None) -> LevelVerdict:
        """The verdict at one level. Keyspaces of one ring and rule share it, unless it comes with findings."""
        key = (index, id(rule), level, client)
        verdict = self._shared.get(key)
        if verdict is None:
            noted = len(self.findings)
            verdict = self._judge(name, rule, index, level, client)
            if len(self.findings) == noted:
                self._shared[key] = verdict
        return verdict

    def _judge(self, name: str, rule: Rule, index: int, level: Level, client: str | None) -> LevelVerdict:
        watched = bool(rule.at(level, client))
        sight = self._worst(rule, self._sights(index, level, client))
        if isinstance(sight, str):
            severity = Severity.UNKNOWN if watched else None
            return LevelVerdict(level=level, datacenter=client, severity=severity, health=None, worst_view=None)
        severity = self._weigh(name, rule, sight) if watched else None
        if severity and sight.health.outage:
            demands = tuple(demands_of(level, client, sight.rules).values())
            outage = Outage(sight.state, demands, severity)
            known = self._outages.setdefault((index, level, client), outage)
            if known.severity < severity:  # another keyspace of the ring has a louder rule
                self._outages[index, level, client] = outage
        return LevelVerdict(
            level=level,
            datacenter=client,
            severity=severity,
            health=sight.health,
            worst_view=sight.observer,
            unavailable_ranges=self._ranges(index, sight) if self._lists_ranges else None,
        )

    def _ranges(self, index: int, worst: _Sight) -> dict[Operation, list[Range]]:
        """The ranges that the numbers of a level count as unavailable."""
        level, client = worst.health.level, worst.health.datacenter
        ranges = worst.state.unavailable(level, client, worst.rules)
        sights = self._sights(index, level, client)
        if client is not None or isinstance(sights, str) or len(sights) == 1:
            return ranges
        lost_to = [sight.state.unavailable(level, client, sight.rules) for sight in sights]
        return {
            name: sorted({part for lost in lost_to for part in lost.get(name, ())}, key=lambda part: part[1])
            for name in ranges
        }

    # Coordinators

    def _why(self, index: int, level: Level, client: str | None) -> str:
        """Why a level can't be judged; empty if it can."""
        sights = self._sights(index, level, client)
        return sights if isinstance(sights, str) else ""

    def _sights(self, index: int, level: Level, client: str | None) -> tuple[_Sight, ...] | str:
        """What the coordinators see, or why it can't be known."""
        sights = self._seen.get((index, level, client))
        if sights is None:
            try:
                sights = tuple(self._look(index, level, client))
            except UnknownReplicationError as error:
                sights = str(error)
            self._seen[index, level, client] = sights
        return sights

    def _look(self, index: int, level: Level, client: str | None) -> Iterator[_Sight]:
        ring = self._snapshot.rings[index]
        for outlook, rules in self._scope.outlooks(ring, level, client):
            state = self._state(ring, outlook.down)
            health = state.level(level, client, rules)
            yield _Sight(health=health, observer=outlook.observers[0], state=state, rules=rules)

    def _state(self, ring: Ring, down: frozenset[int]) -> RingState:
        return ring_state(ring, self._snapshot.layout, self._scope.space, down)

    def _worst(self, rule: Rule, sights: tuple[_Sight, ...] | str) -> _Sight | str:
        """The sight that raises the loudest alarm; of equally loud ones, the one that has lost most."""
        if isinstance(sights, str):
            return sights
        if len(sights) == 1:  # as in every healthy cluster, for each of a hundred keyspaces
            return sights[0]
        worst = max(sights, key=lambda sight: (*self._loudness(rule, sight), sight.health.badness))
        if worst.health.datacenter is not None or not worst.health.outage:
            return worst
        # A level without a datacenter has coordinators everywhere: a range is lost if any of them can't serve it.
        return replace(worst, health=seen_by_any(worst.health, [(sight.state, sight.rules) for sight in sights]))

    # Severities

    def _loudness(self, rule: Rule, sight: _Sight) -> tuple[Severity, Severity]:
        """The alarm that a sight raises, and the one that it would raise without leases."""
        alarm, excuse = alarm_of(rule, sight.health), self._excuse(rule, sight)
        raised = [Severity.OK if excuse.lost else alarm]
        if self._leases.leased and _is_near(rule, sight.health) and not excuse.near:
            raised.append(Severity.WARNING)
        return max(raised), alarm

    def _excuse(self, rule: Rule, sight: _Sight) -> _Excuse:
        """Which parts of a sight's alarm are caused by nodes under a lease alone.

        That is so if these nodes alone, with all others up, cause the same numbers, and the others alone cause no
        alarm. More down nodes never mean fewer lost ranges, so that equal numbers are the same ranges.
        """
        state, health = sight.state, sight.health
        held = state.down & self._leases.leased
        if not held:
            return _NO_EXCUSE
        alone, others = (
            self._state(state.ring, down).level(health.level, health.datacenter, sight.rules)
            for down in (held, state.down - held)
        )
        is_lost = alarm_of(rule, health) is Severity.WARNING and alone.outage == health.outage and not others.outage
        same_left = alone.node_failures_to_outage == health.node_failures_to_outage
        return _Excuse(is_lost, same_left and not _is_near(rule, others), held)

    def _weigh(self, name: str, rule: Rule, sight: _Sight) -> Severity:
        """The severity of a watched level; notes the findings that cause it."""
        health, excuse = sight.health, self._excuse(rule, sight)
        findings = []
        if health.outage:
            findings.append(self._lost(name, rule, sight, excuse))
        if health.structurally_unavailable:
            share = health.unavailable_share - health.outage_share
            findings.append(noted("structurally_unavailable", name, never_served(name, health), share=share))
        if _is_near(rule, health):
            severity = Severity.OK if excuse.near else Severity.WARNING
            text = near(name, health) + (self._leases.cause_text(excuse.held) if excuse.near else "")
            findings.append(Finding(code="failures_left", severity=severity, subject=name, summary=text))
        level, client = health.level.value, health.datacenter
        self.findings += [replace(finding, level=level, datacenter=client) for finding in findings]
        return max((finding.severity for finding in findings), default=Severity.OK)

    def _lost(self, name: str, rule: Rule, sight: _Sight, excuse: _Excuse) -> Finding:
        alarm = alarm_of(rule, sight.health)
        allowed = "" if alarm > Severity.OK else ", as its thresholds allow"
        cause = self._leases.cause_text(excuse.held) if excuse.lost else ""
        return Finding(
            code="unavailable",
            severity=Severity.OK if excuse.lost else alarm,
            subject=name,
            summary=f"{lost(name, sight.health)}{allowed}{cause}",
            detail=f"as {sight.observer} sees it",
            share=sight.health.outage_share,
        )


def alarm_of(rule: Rule, health: LevelHealth) -> Severity:
    """The loudest tier whose threshold an outage exceeds."""
    tiers = rule.at(health.level, health.datacenter)
    return next((severity for severity, threshold in tiers if threshold.alerts(health)), Severity.OK)


def _is_near(rule: Rule, health: LevelHealth) -> bool:
    """Whether so few failures are left that the rule warns; False if the critical level is lost, a louder alarm."""
    left = health.node_failures_to_outage
    tiers = rule.at(health.level, health.datacenter)
    critical = [threshold for severity, threshold in tiers if severity is Severity.CRITICAL]
    if rule.warning_failures_left is None or not critical:
        return False
    return left is not None and left <= rule.warning_failures_left and not critical[0].alerts(health)


def _at(health: LevelHealth) -> str:
    return f"at {health.level}" + (f" in {health.datacenter}" if health.datacenter else "")


def lost(name: str, health: LevelHealth) -> str:
    """The outage of a keyspace, as text."""
    part = percent(health.outage_share)
    return f"{health.outage} of {health.ranges} ranges ({part} of the tokens) of {name} unavailable {_at(health)}"


def never_served(name: str, health: LevelHealth) -> str:
    """The structurally unavailable ranges of a keyspace, as text."""
    number = f"{health.structurally_unavailable} of {health.ranges} ranges"
    return f"{number} of {name} can never be served {_at(health)}: the level needs more replicas than they have"


def near(name: str, health: LevelHealth) -> str:
    """How few failures separate a keyspace from an outage, as text."""
    return f"{counted(health.node_failures_to_outage or 0, 'more node failure')} to an outage of {name} {_at(health)}"
