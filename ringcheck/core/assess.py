"""From a snapshot and a policy to a verdict.

Owns severities and findings. A gap in what is known is a finding of its own, UNKNOWN, so that it can't pass for
health; what is known to be lost is CRITICAL or WARNING as the policy says; a mistake of configuration, which no
return of nodes mends, is a WARNING.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ringcheck.core.combined import seen_by_any
from ringcheck.core.consistency import UnknownReplicationError, expected
from ringcheck.core.evidence import Evidence, evidence_of
from ringcheck.core.findings import Finding, noted, place_of
from ringcheck.core.gaps import gaps
from ringcheck.core.headroom import demands_of
from ringcheck.core.health import ring_state
from ringcheck.core.maintenance import Leases
from ringcheck.core.policy import AUTH_KEYSPACE, Severity
from ringcheck.core.recovery import Outage, recovery_order
from ringcheck.core.selection import Scope
from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
from ringcheck.core.words import counted, listed, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Level, Operation, Rules
    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.maintenance import Maintenance
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Range, Ring, Snapshot

AT_MOST = 20  # findings of one code and severity
_LONGEST_LEVEL = 40  # characters of a level that is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a snapshot, beside the policy.

    Attributes:
        keyspaces: shell patterns; empty for all that the policy does not leave out.
        levels: levels to show, watched or not.
        view: address of the one observer to believe.
        ranges: whether to list the unavailable ranges.
    """

    keyspaces: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    view: str | None = None
    ranges: bool = False


def assess(
    snapshot: Snapshot, policy: Policy, question: Question | None = None, maintenance: Maintenance | None = None
) -> Verdict:
    """The verdict on a snapshot.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        question: what is asked beside them.
        maintenance: restart leases; None where the cluster keeps none.

    Raises:
        RingError: if the partitioner's tokens can't be compared.
        UsageError: if the question or the policy names a datacenter or an observer that the snapshot does not have.
    """
    asked = question or Question()
    evidence = Evidence(snapshot, asked.view) if asked.view else evidence_of(snapshot)
    leases = Leases(evidence, maintenance)
    judge = _Judge(Scope(evidence, policy, asked.keyspaces, asked.view), asked, leases)
    keyspaces = judge.keyspaces() if evidence.usable else ()
    unjudged = _unjudged(snapshot, keyspaces, asked) if evidence.usable else ()
    logins = of_logins(judge.scope) if evidence.usable else ()
    findings = _distinct([*judge.findings, *gaps(evidence), *unjudged, *logins])
    ordered = _worst_first([*map(leases.eased, findings), *leases.findings()])
    severity = max((one.severity for one in ordered), default=Severity.OK)
    return Verdict(
        snapshot=snapshot,
        severity=severity,
        summary=_Summary(evidence, leases, keyspaces).of(severity, ordered),
        states=evidence.states,
        seen_down_by=evidence.seen_down_by,
        views=evidence.views,
        keyspaces=keyspaces,
        findings=_bounded(ordered, AT_MOST),
        recover_first=recovery_order(evidence, judge.outages),
        holders=None if leases.maintenance.problem else leases.maintenance.holders,
    )


def _distinct(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each code, subject and text, the worst: a source and the core may have seen the same."""
    found: dict[tuple[str, str, str], Finding] = {}
    for one in findings:
        same = found.setdefault((one.code, one.subject, one.summary), one)
        if one.severity > same.severity:
            found[one.code, one.subject, one.summary] = one
    return list(found.values())


_LOUDEST = {severity: place for place, severity in enumerate(sorted(Severity, reverse=True))}


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, then what is lost, the largest loss first, then in the order of the table."""

    def place(one: Finding) -> tuple[int, bool, float, int]:
        return _LOUDEST[one.severity], not one.kind.loses, -one.share, place_of(one.code)

    return sorted(findings, key=place)


def _bounded(findings: Iterable[Finding], most: int) -> tuple[Finding, ...]:
    """Of one code and severity only so many: a rack that is lost need not take a line a node."""
    kept: list[Finding] = []
    groups: dict[tuple[Severity, str], list[Finding]] = defaultdict(list)
    for one in findings:
        groups[one.severity, one.code].append(one)
    for (severity, code), group in groups.items():
        kept += group[:most]
        if len(group) > most:
            text = f"and {counted(len(group) - most, 'more finding')} of this kind"
            kept.append(Finding(code=code, severity=severity, subject=group[0].subject, summary=text))
    return tuple(kept)


class _Judge:
    """Keyspaces at levels; remembers rings, so that a hundred keyspaces of one replication cost one."""

    def __init__(self, scope: Scope, question: Question, leases: Leases) -> None:
        self.scope = scope
        self.leases = leases
        self.evidence = scope.evidence
        self.snapshot = scope.snapshot
        self.question = question
        self.findings: list[Finding] = []
        self._outages: dict[object, Outage] = {}
        self._seen: dict[tuple[int, Level, str | None], tuple[_Sight, ...] | str] = {}

    @property
    def outages(self) -> list[Outage]:
        """What is lost at watched levels."""
        return list(self._outages.values())

    def keyspaces(self) -> tuple[KeyspaceVerdict, ...]:
        """A verdict a keyspace that is asked for, by name."""
        found = []
        for place, ring in enumerate(self.snapshot.rings):
            chosen = self.scope.chosen(ring)
            if chosen:
                self.findings += contradictions(self.scope, ring, [name for name, _ in chosen])
            replication = str(ring.replication) if ring.replication else None
            found += [
                KeyspaceVerdict(
                    name=name, replication=replication, ranges=len(ring), levels=self._levels(name, rule, place, ring)
                )
                for name, rule in chosen
            ]
        return tuple(sorted(found, key=lambda one: one.name))

    def _levels(self, name: str, rule: Rule, place: int, ring: Ring) -> tuple[LevelVerdict, ...]:
        wanted = [
            (level, client)
            for level in dict.fromkeys((*rule.levels, *self.question.levels))
            for client in self.scope.clients(level, ring)
        ]
        unknown = [
            (level, client) for level, client in wanted if level in rule.levels and self._why(place, level, client)
        ]
        if unknown:
            levels = listed(list(dict.fromkeys(str(level) for level, _ in unknown)))
            text = f"{name} can't be judged at {levels}: {self._why(place, *unknown[0])}"
            self.findings.append(noted("replication_unknown", name, text, "state it under `replication:`"))
        return tuple([self._level(name, rule, place, level, client) for level, client in wanted])

    def _why(self, place: int, level: Level, client: str | None) -> str:
        """Why a level can't be judged; empty if it can."""
        sights = self._sights(place, level, client)
        return sights if isinstance(sights, str) else ""

    def _level(self, name: str, rule: Rule, place: int, level: Level, client: str | None) -> LevelVerdict:
        watched = level in rule.levels
        sight = self._worst(rule, self._sights(place, level, client))
        if isinstance(sight, str):
            return LevelVerdict(
                level=level,
                datacenter=client,
                severity=Severity.UNKNOWN if watched else None,
                health=None,
                worst_view=None,
            )
        severity = self._weigh(name, rule, sight) if watched else None
        if severity and sight.health.outage:
            demands = tuple(demands_of(level, client, sight.rules).values())
            self._outages.setdefault((place, level, client), Outage(sight.state, demands))
        ranges = self._ranges(place, sight) if self.question.ranges else None
        return LevelVerdict(
            level=level,
            datacenter=client,
            severity=severity,
            health=sight.health,
            worst_view=sight.observer,
            unavailable_ranges=ranges,
        )

    def _ranges(self, place: int, worst: _Sight) -> dict[Operation, list[Range]]:
        """The ranges that the numbers of a level count as unavailable."""
        level, client = worst.health.level, worst.health.datacenter
        found = worst.state.unavailable(level, client, worst.rules)
        sights = self._sights(place, level, client)
        if client is not None or isinstance(sights, str) or len(sights) == 1:
            return found
        lost = [sight.state.unavailable(level, client, sight.rules) for sight in sights]
        return {
            name: sorted({span for one in lost for span in one.get(name, ())}, key=lambda span: span[1])
            for name in found
        }

    def _worst(self, rule: Rule, sights: tuple[_Sight, ...] | str) -> _Sight | str:
        """What the worst coordinator sees: of those that raise the loudest alarm the one that has lost most."""
        if isinstance(sights, str):
            return sights
        if len(sights) == 1:  # of a well cluster there is one, and a hundred keyspaces ask
            return sights[0]
        worst = max(sights, key=lambda one: (*self._loudness(rule, one), one.health.badness))
        if worst.health.datacenter is not None or not worst.health.outage:
            return worst
        # A level without a datacenter has coordinators everywhere: a range is lost that any of them can't serve.
        return replace(worst, health=seen_by_any(worst.health, [(one.state, one.rules) for one in sights]))

    def _loudness(self, rule: Rule, sight: _Sight) -> tuple[Severity, Severity]:
        """The alarm that a view raises, and the one that it would raise without leases."""
        alarm, excuse = _alarm(rule, sight.health), self._excuse(rule, sight)
        loud = [Severity.OK if excuse.lost else alarm]
        if self.leases.leased and self._near(rule, sight.health) and not excuse.near:
            loud.append(Severity.WARNING)
        return max(loud), alarm

    def _excuse(self, rule: Rule, sight: _Sight) -> _Excuse:
        """What of a view's alarm is the work of nodes under a lease alone.

        It is if they alone, with all others up, make the same of it, and if the others alone make none of it. More
        nodes down never means fewer ranges lost, so equal numbers are the same ranges.
        """
        state, health = sight.state, sight.health
        held = state.down & self.leases.leased
        if not held:
            return _NO_EXCUSE
        alone, others = (
            ring_state(state.ring, self.snapshot.layout, self.scope.space, down).level(
                health.level, health.datacenter, sight.rules
            )
            for down in (held, state.down - held)
        )
        lost = _alarm(rule, health) is Severity.WARNING and alone.outage == health.outage and not others.outage
        left = alone.node_failures_to_outage == health.node_failures_to_outage
        return _Excuse(lost, left and not self._near(rule, others), held)

    def _sights(self, place: int, level: Level, client: str | None) -> tuple[_Sight, ...] | str:
        """What coordinators see, or why it can't be known."""
        found = self._seen.get((place, level, client))
        if found is None:
            try:
                found = tuple(self._look(place, level, client))
            except UnknownReplicationError as error:
                found = str(error)
            self._seen[place, level, client] = found
        return found

    def _look(self, place: int, level: Level, client: str | None) -> Iterator[_Sight]:
        ring = self.snapshot.rings[place]
        clients = self.scope.policy.client_datacenters if client is None else (client,)
        for outlook in self.evidence.outlooks(clients):
            rules = self.scope.rules(ring, outlook.version)
            state = ring_state(ring, self.snapshot.layout, self.scope.space, outlook.down)
            yield _Sight(
                health=state.level(level, client, rules), observer=outlook.observers[0], state=state, rules=rules
            )

    def _weigh(self, name: str, rule: Rule, sight: _Sight) -> Severity:
        """The severity of a watched level; notes the findings that make it."""
        health = sight.health
        alarm, excuse = _alarm(rule, health), self._excuse(rule, sight)
        loud = [Severity.OK if excuse.lost else alarm]
        if health.outage:
            allowed = "" if alarm > Severity.OK else ", as its thresholds allow"
            whose = self.leases.whose(excuse.held) if excuse.lost else ""
            text = f"{lost(name, health)}{allowed}{whose}"
            self._note("unavailable", loud[0], name, text, health.outage_share, f"as {sight.observer} sees it")
        if health.structurally_unavailable:
            share = health.unavailable_share - health.outage_share
            self._note("structurally_unavailable", Severity.WARNING, name, never_served(name, health), share)
            loud.append(Severity.WARNING)
        if self._near(rule, health):
            loud.append(Severity.OK if excuse.near else Severity.WARNING)
            whose = self.leases.whose(excuse.held) if excuse.near else ""
            self._note("failures_left", loud[-1], name, near(name, health) + whose, 0.0)
        return max(loud)

    @staticmethod
    def _near(rule: Rule, health: LevelHealth) -> bool:
        left = health.node_failures_to_outage
        if rule.warning_failures_left is None or rule.critical is None or rule.critical.level is not health.level:
            return False
        # None are left where ranges are lost: that is told already, unless as much loss is allowed.
        return left is not None and left <= rule.warning_failures_left and not rule.critical.alerts(health)

    def _note(  # noqa: PLR0913, PLR0917 - the parts of a finding
        self, code: str, severity: Severity, subject: str, text: str, share: float, detail: str = ""
    ) -> None:
        self.findings.append(
            Finding(code=code, severity=severity, subject=subject, summary=text, detail=detail, share=share)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """How a ring looks at a level to one observer, and what that was worked out from."""

    health: LevelHealth
    observer: str
    state: RingState
    rules: Rules


@dataclass(frozen=True, slots=True)
class _Excuse:
    """What the nodes under a lease that a view sees down account for alone: a loss, and few failures left."""

    lost: bool = False
    near: bool = False
    held: frozenset[int] = frozenset()


_NO_EXCUSE = _Excuse()


def _alarm(rule: Rule, health: LevelHealth) -> Severity:
    """The loudest tier whose threshold an outage exceeds."""
    tiers = ((Severity.CRITICAL, rule.critical), (Severity.WARNING, rule.warning))
    return next((tier for tier, one in tiers if one and one.level is health.level and one.alerts(health)), Severity.OK)


def _at(health: LevelHealth) -> str:
    return f"at {health.level}" + (f" in {health.datacenter}" if health.datacenter else "")


def lost(name: str, health: LevelHealth) -> str:
    """An outage in words."""
    part = percent(health.outage_share)
    return f"{health.outage} of {health.ranges} ranges ({part} of the tokens) of {name} unavailable {_at(health)}"


def never_served(name: str, health: LevelHealth) -> str:
    """A mistake of configuration in words."""
    number = f"{health.structurally_unavailable} of {health.ranges} ranges"
    return f"{number} of {name} can never be served {_at(health)}: it needs more replicas than they have"


def near(name: str, health: LevelHealth) -> str:
    """Few failures left, in words."""
    return f"{counted(health.node_failures_to_outage or 0, 'more node failure')} to an outage of {name} {_at(health)}"


def contradictions(scope: Scope, ring: Ring, names: list[str]) -> Iterator[Finding]:
    """A ring whose ranges have not as many replicas as its replication says: a half-started view, a wrong config."""
    wanted = expected(ring.replication, scope.evidence.owners)
    if wanted is None:
        return
    for kind in ring_state(ring, scope.snapshot.layout, scope.space, ()).kinds:
        found: dict[str | None, int] = dict.fromkeys(wanted, 0)
        for name, number in kind[0].natural:
            place = None if None in wanted else name
            found[place] = found.get(place, 0) + number
        if found != wanted:
            text = f"ranges of {listed(names)} have {_places(found)}, but {ring.replication} asks for {_places(wanted)}"
            yield noted("ring_contradicts_replication", names[0], text)
            return


def _places(counts: Mapping[str | None, int]) -> str:
    return ", ".join(
        f"{counted(number, 'replica')}{f' in {name}' if name else ''}"
        for name, number in sorted(counts.items(), key=lambda item: item[0] or "")
    )


def of_logins(scope: Scope) -> Iterator[Finding]:
    """What is not known of logins, for which Cassandra reads system_auth."""
    if scope.auth_level is None and scope.auth_by_cassandra:
        level = repr(scope.snapshot.auth_read_level)[:_LONGEST_LEVEL]
        text = f"whether clients can log in is not known: {AUTH_KEYSPACE} is read at {level}, which is no known level"
        yield noted("auth_level_unknown", AUTH_KEYSPACE, text, "name the keyspace under `monitor:`")
    if scope.auth_left_out:
        text = f"{AUTH_KEYSPACE} is not watched: no authenticator is recognised over JMX"
        yield noted("auth_not_watched", AUTH_KEYSPACE, text, "if clients log in: `authenticates: true`")


def _unjudged(snapshot: Snapshot, keyspaces: Sequence[KeyspaceVerdict], question: Question) -> Iterator[Finding]:
    """Where nothing was judged: OK would be said of nothing."""
    names = [one.name for one in keyspaces]
    missing = [pattern for pattern in question.keyspaces if not any(fnmatchcase(name, pattern) for name in names)]
    if missing:
        yield noted("no_keyspaces", snapshot.cluster, f"no keyspace matches {listed(missing)}")
    elif not any(level.severity for one in keyspaces for level in one.levels):
        yield noted("no_keyspaces", snapshot.cluster, "no keyspace is watched")


class _Summary:
    """The verdict in one line."""

    def __init__(self, evidence: Evidence, leases: Leases, keyspaces: Sequence[KeyspaceVerdict]) -> None:
        self._leases = leases
        self._keyspaces = keyspaces
        self._states = evidence.states
        self._down = [index for index, state in enumerate(self._states) if state == "down"]

    def of(self, severity: Severity, findings: Sequence[Finding]) -> str:
        """The line, without the severity.

        Args:
            severity: of the verdict.
            findings: all of them, worst first.
        """
        if severity is Severity.OK:
            return self._well(findings)
        others = sum(one.severity > Severity.OK for one in findings) - 1
        nodes = self._nodes()
        return f"{findings[0].summary}{f' ({nodes})' if nodes else ''}{_more(others)}"

    def _nodes(self) -> str:
        """Which nodes are down, and which others are under a lease."""
        gone = ""
        if self._down:
            gone = f"{counted(len(self._down), 'node')} down: {listed([self._leases.named(one) for one in self._down])}"
        return "; ".join(one for one in (gone, self._leases.besides(self._down)) if one)

    def _well(self, findings: Sequence[Finding]) -> str:
        nodes = self._nodes()
        allowed = [one.summary for one in findings if one.code == "unavailable"]
        if allowed:
            return f"{allowed[0]}{f' ({nodes})' if nodes else ''}{_more(len(allowed) - 1)}"
        watched = {str(one.level) for each in self._keyspaces for one in each.levels if one.severity}
        up = f"{len(self._states) - len(self._down)} of {counted(len(self._states), 'node')} up"
        shown = nodes if self._down else "; ".join(one for one in (up, nodes) if one)
        available = f"{counted(len(self._keyspaces), 'keyspace')} available at {listed(sorted(watched))}"
        return f"{available}, {shown}{_left(self._keyspaces)}"


def _more(number: int) -> str:
    return f"; and {counted(number, 'more finding')}" if number > 0 else ""


def _left(keyspaces: Sequence[KeyspaceVerdict]) -> str:
    """How far the nearest outage of a watched level is."""
    near_by = [
        (one.health.node_failures_to_outage, str(one.level), each.name)
        for each in keyspaces
        for one in each.levels
        if one.severity and one.health and one.health.node_failures_to_outage is not None
    ]
    if not near_by:
        return ""
    failures, level, name = min(near_by)
    return f"; {counted(failures, 'node failure')} to an outage of {name} at {level}"
