"""From a snapshot and a policy to a verdict.

Owns severities and findings. A gap in what is known is a finding of its own, UNKNOWN, so that it can't pass for
health; what is known to be lost is CRITICAL or WARNING as the policy says; a mistake of configuration, which no
return of nodes mends, is a WARNING.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ringcheck.core.consistency import UnknownReplicationError, expected, release
from ringcheck.core.health import RingState, demands_of, ring_state
from ringcheck.core.maintenance import Leases
from ringcheck.core.policy import AUTH_KEYSPACE, Severity
from ringcheck.core.recovery import Outage, recovery_order
from ringcheck.core.scope import Scope
from ringcheck.core.verdict import Finding, KeyspaceVerdict, LevelVerdict, Verdict
from ringcheck.core.views import Views

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Level, Rules
    from ringcheck.core.health import LevelHealth
    from ringcheck.core.maintenance import Maintenance
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Ring, Snapshot, View
    from ringcheck.core.views import State

NAMED = 5  # how many of a list a line of text names
AT_MOST = 20  # findings of one code and severity
_LONGEST_LEVEL = 40  # characters of a level that is none


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a snapshot, beside the policy.

    Attributes:
        keyspaces: shell patterns; empty for all that the policy does not leave out.
        levels: levels to show, watched or not.
        view: address of the one observer to believe.
        ranges: whether to list the unavailable ranges.
        every: whether to tell every finding, however many are alike: for who decides by them.
    """

    keyspaces: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    view: str | None = None
    ranges: bool = False
    every: bool = False


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
    views = Views(snapshot, asked.view)
    states = views.states()
    leases = Leases(snapshot, maintenance)
    judge = _Judge(Scope(snapshot, policy, asked.keyspaces, asked.view), asked, views, leases)
    keyspaces = judge.keyspaces() if views.usable else ()
    gaps = [*_gaps(views, keyspaces, asked), *(_of_logins(judge.scope) if views.usable else ())]
    findings = [*judge.findings, *gaps, *_of_views(views, states), *_of_nodes(views, states)]
    seen_down = views.seen_down_by
    told = [*(leases.eased(one, seen_down) for one in _distinct(findings)), *leases.findings()]
    ordered = _bounded(told, len(told) if asked.every else AT_MOST)
    severity = max((one.severity for one in ordered), default=Severity.OK)
    recover = recovery_order(views.down_anywhere(), judge.outages)
    text = _summary(severity, ordered, keyspaces, states, leases)
    holders = None if leases.maintenance.problem else leases.maintenance.holders
    return Verdict(snapshot, severity, text, states, seen_down, views.all, keyspaces, ordered, recover, holders)


_PLACE = {severity: place for place, severity in enumerate(sorted(Severity, reverse=True))}


def _distinct(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a code, subject and text, the worst: a collector and the core may have seen the same."""
    found: dict[tuple[str, str, str], Finding] = {}
    for one in findings:
        same = found.setdefault((one.code, one.subject, one.summary), one)
        if one.severity > same.severity:
            found[one.code, one.subject, one.summary] = one
    return list(found.values())


def _bounded(findings: list[Finding], most: int) -> tuple[Finding, ...]:
    """Worst first, and of one code and severity only so many: a rack that is lost need not be told a node a line."""
    kept: list[Finding] = []
    groups: dict[tuple[Severity, str], list[Finding]] = defaultdict(list)
    for one in findings:
        groups[one.severity, one.code].append(one)
    for (severity, code), group in sorted(groups.items(), key=lambda item: (_PLACE[item[0][0]], item[0][1])):
        kept += group[:most]
        if len(group) > most:
            more = len(group) - most
            kept.append(Finding(code, severity, group[0].subject, f"and {more} more like it", "see --format json"))
    return tuple(kept)


def listed(names: Sequence[str]) -> str:
    """Some names of a list, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def counted(number: int, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def percent(share: float) -> str:
    """A share, 0 to 1, as people read it; never 0 or 100 where it is only near it."""
    if 0 < share < 0.001:  # noqa: PLR2004 - half a digit of what is printed
        return "< 0.1 %"
    return f"{min(share * 100, 99.9) if share < 1 else 100:.1f} %"


class _Judge:
    """Keyspaces at levels; remembers rings, so that a hundred keyspaces of one replication cost one."""

    def __init__(self, scope: Scope, question: Question, views: Views, leases: Leases) -> None:
        self.scope = scope
        self.leases = leases
        self.snapshot = scope.snapshot
        self.question = question
        self.views = views
        self.findings: list[Finding] = []
        self._outages: dict[object, Outage] = {}
        self._shares: dict[Finding, float] = {}
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
                self.findings += _contradictions(self.scope, ring, [name for name, _ in chosen])
            replication = str(ring.replication) if ring.replication else None
            found += [
                KeyspaceVerdict(name, replication, len(ring), self._levels(name, rule, place, ring))
                for name, rule in chosen
            ]
        self.findings.sort(key=lambda one: -self._shares.get(one, 0.0))
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
            self._note("replication_unknown", Severity.UNKNOWN, name, text, "state it under `replication:`")
        return tuple([self._level(name, rule, place, level, client) for level, client in wanted])

    def _why(self, place: int, level: Level, client: str | None) -> str:
        """Why a level can't be judged; empty if it can."""
        sights = self._sights(place, level, client)
        return sights if isinstance(sights, str) else ""

    def _level(self, name: str, rule: Rule, place: int, level: Level, client: str | None) -> LevelVerdict:
        watched = level in rule.levels
        sight = self._worst(rule, self._sights(place, level, client))
        if isinstance(sight, str):
            return LevelVerdict(level, client, Severity.UNKNOWN if watched else None, None, None)
        severity = self._weigh(name, rule, sight) if watched else None
        if severity and sight.health.outage:
            demands = tuple(demands_of(level, client, sight.rules).values())
            self._outages.setdefault((place, level, client), Outage(sight.state, demands))
        ranges = sight.state.unavailable(level, client, sight.rules) if self.question.ranges else None
        return LevelVerdict(level, client, severity, sight.health, sight.observer, ranges)

    def _worst(self, rule: Rule, sights: tuple[_Sight, ...] | str) -> _Sight | str:
        """What the worst coordinator sees: of those that raise the loudest alarm the one that has lost most."""
        if isinstance(sights, str):
            return sights
        if len(sights) == 1:  # of a well cluster there is one, and a hundred keyspaces ask
            return sights[0]
        return max(sights, key=lambda one: (*self._loudness(rule, one), one.health.badness))

    def _loudness(self, rule: Rule, sight: _Sight) -> tuple[Severity, Severity]:
        """The alarm that a view raises, and the one that it would raise without leases."""
        alarm, excuse = _alarm(rule, sight.health), self._excuse(rule, sight)
        loud = [Severity.OK if excuse.lost else alarm]
        if self.leases.held and self._near(rule, sight.health) and not excuse.near:
            loud.append(Severity.WARNING)
        return max(loud), alarm

    def _excuse(self, rule: Rule, sight: _Sight) -> _Excuse:
        """What of a view's alarm is the work of nodes under a lease alone.

        It is if they alone, with all others up, make the same of it, and if the others alone make none of it. More
        nodes down never means fewer ranges lost, so equal numbers are the same ranges.
        """
        state, health = sight.state, sight.health
        held = state.down & self.leases.held
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
        for outlook in self.views.outlooks(clients):
            rules = self.scope.rules(ring, outlook.version)
            state = ring_state(ring, self.snapshot.layout, self.scope.space, outlook.down)
            yield _Sight(state.level(level, client, rules), outlook.observers[0], state, rules)

    def _weigh(self, name: str, rule: Rule, sight: _Sight) -> Severity:
        """The severity of a watched level; notes the findings that make it."""
        health = sight.health
        alarm, excuse = _alarm(rule, health), self._excuse(rule, sight)
        loud = [Severity.OK if excuse.lost else alarm]
        if health.outage:
            allowed = "" if alarm > Severity.OK else ", as its thresholds allow"
            whose = self.leases.whose(excuse.held) if excuse.lost else ""
            text = f"{lost(name, health)}{allowed}{whose}"
            self._note("unavailable", loud[0], name, text, f"as {sight.observer} sees it")
            self._shares[self.findings[-1]] = health.outage_share
        if health.structurally_unavailable:
            self._note("structurally_unavailable", Severity.WARNING, name, never_served(name, health))
            loud.append(Severity.WARNING)
        if self._near(rule, health):
            loud.append(Severity.OK if excuse.near else Severity.WARNING)
            whose = self.leases.whose(excuse.held) if excuse.near else ""
            self._note("failures_left", loud[-1], name, near(name, health) + whose)
        return max(loud)

    @staticmethod
    def _near(rule: Rule, health: LevelHealth) -> bool:
        left = health.node_failures_to_outage
        if rule.warning_failures_left is None or rule.critical is None or rule.critical.level is not health.level:
            return False
        # None are left where ranges are lost: that is told already, unless as much loss is allowed.
        return left is not None and left <= rule.warning_failures_left and not rule.critical.alerts(health)

    def _note(self, code: str, severity: Severity, subject: str, text: str, detail: str = "") -> None:
        self.findings.append(Finding(code, severity, subject, text, detail))


@dataclass(frozen=True, slots=True)
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
    part = percent(health.outage / health.ranges)
    return f"{health.outage} of {health.ranges} ranges ({part}) of {name} unavailable {_at(health)}"


def never_served(name: str, health: LevelHealth) -> str:
    """A mistake of configuration in words."""
    number = f"{health.structurally_unavailable} of {health.ranges} ranges"
    return f"{number} of {name} can never be served {_at(health)}: it needs more replicas than they have"


def near(name: str, health: LevelHealth) -> str:
    """Few failures left, in words."""
    return f"{counted(health.node_failures_to_outage or 0, 'more node failure')} to an outage of {name} {_at(health)}"


def _contradictions(scope: Scope, ring: Ring, names: list[str]) -> Iterator[Finding]:
    """A ring whose ranges have not as many replicas as its replication says: a half-started view, a wrong config."""
    wanted = expected(ring.replication, scope.snapshot.owners)
    if wanted is None:
        return
    for kind in ring_state(ring, scope.snapshot.layout, scope.space, ()).kinds:
        found: dict[str | None, int] = dict.fromkeys(wanted, 0)
        for name, number in kind[0].natural:
            place = None if None in wanted else name
            found[place] = found.get(place, 0) + number
        if found != wanted:
            text = f"ranges of {listed(names)} have {_places(found)}, but {ring.replication} asks for {_places(wanted)}"
            yield Finding("ring_contradicts_replication", Severity.UNKNOWN, names[0], text)
            return


def _places(counts: Mapping[str | None, int]) -> str:
    return ", ".join(
        f"{counted(number, 'replica')}{f' in {name}' if name else ''}"
        for name, number in sorted(counts.items(), key=lambda item: item[0] or "")
    )


def _gaps(views: Views, keyspaces: Sequence[KeyspaceVerdict], question: Question) -> Iterator[Finding]:
    """What could not be learned at all."""
    snapshot = views.snapshot
    for problem in snapshot.problems:
        yield Finding(problem.code, Severity.UNKNOWN, problem.subject, problem.summary)
    if not views.usable:
        whose = listed([f"{view.observer} ({view.reason or view.outcome})" for view in views.all])
        yield Finding("no_usable_view", Severity.UNKNOWN, snapshot.cluster, f"no usable view: {whose or 'none asked'}")
    else:
        yield from _unjudged(snapshot, keyspaces, question)
    claims = [("host id", node.host_id) for node in snapshot.nodes] + [
        ("address", one.address) for one in snapshot.nodes
    ]
    for (what, claimed), number in Counter(claims).items():
        if claimed and number > 1:
            text = f"{number} nodes claim {what} {claimed}"
            yield Finding("duplicate_host_id", Severity.UNKNOWN, snapshot.cluster, text)
    for index in sorted(_members(views)):
        node = snapshot.nodes[index]
        if not node.datacenter and snapshot.rings:
            text = f"the datacenter of {node.address} is not known"
            yield Finding("unknown_datacenter", Severity.UNKNOWN, node.address, text)


def _of_logins(scope: Scope) -> Iterator[Finding]:
    """What is not known of logins, for which Cassandra reads system_auth."""
    if scope.auth_level is None and scope.auth_by_cassandra:
        level = repr(scope.snapshot.auth_read_level)[:_LONGEST_LEVEL]
        text = f"whether clients can log in is not known: {AUTH_KEYSPACE} is read at {level}, which is no known level"
        yield Finding("auth_level_unknown", Severity.UNKNOWN, AUTH_KEYSPACE, text, "name the keyspace under `monitor:`")
    if scope.auth_left_out:
        text = f"{AUTH_KEYSPACE} is not watched: no authenticator is recognised over JMX"
        yield Finding("auth_not_watched", Severity.OK, AUTH_KEYSPACE, text, "if clients log in: `authenticates: true`")


def _unjudged(snapshot: Snapshot, keyspaces: Sequence[KeyspaceVerdict], question: Question) -> Iterator[Finding]:
    """Where nothing was judged: OK would be said of nothing."""
    names = [one.name for one in keyspaces]
    missing = [pattern for pattern in question.keyspaces if not any(fnmatchcase(name, pattern) for name in names)]
    if missing:
        text = f"no keyspace matches {listed(missing)}"
        yield Finding("no_keyspaces", Severity.UNKNOWN, snapshot.cluster, text)
    elif not any(level.severity for one in keyspaces for level in one.levels):
        yield Finding("no_keyspaces", Severity.UNKNOWN, snapshot.cluster, "no keyspace is watched")


def _members(views: Views) -> frozenset[int]:
    """Nodes whose place or state matters: they own tokens, hold or gain ranges, or coordinate."""
    snapshot = views.snapshot
    owning = {index for index, node in enumerate(snapshot.nodes) if node.tokens != 0}
    holding = (ring.holding(range(len(snapshot.nodes))) for ring in snapshot.rings)
    return frozenset(owning.union(*holding, (snapshot.index[view.observer] for view in views.usable)))


def _of_views(views: Views, states: Sequence[State]) -> Iterator[Finding]:
    """What is wrong with the views, or between them."""
    if not views.usable:
        return
    snapshot, seen_down = views.snapshot, views.seen_down_by
    joining = frozenset().union(*{view.joining for view in views.usable})
    strange = {live: sorted(live - snapshot.index.keys()) for live in {view.live for view in views.usable}}
    for view in views.all:
        index = snapshot.index.get(view.observer)
        gone = index is not None and len(seen_down.get(index, ())) == len(views.usable)
        owns = index is not None and snapshot.nodes[index].tokens
        if view.outcome != "ok" and not gone and (owns or view.observer not in joining):
            yield _unusable(view)
        strangers = strange.get(view.live) if view.outcome == "ok" else None
        if strangers:
            text = f"{view.observer} sees {listed(strangers)} live, which the ring does not have"
            yield Finding("unknown_endpoint", Severity.UNKNOWN, view.observer, text)
    yield from _blind_datacenters(views, states)
    yield from _disagreements(views)
    yield from _schemas(views)
    for name in ("joining", "leaving", "moving"):
        for address in sorted(frozenset().union(*{getattr(view, name) for view in views.usable})):
            yield Finding("topology_changing", Severity.OK, address, f"{address} is {name}")


def _unusable(view: View) -> Finding:
    if view.outcome == "unreachable":
        text = f"{view.observer} can't be asked ({view.reason or 'no answer'}), though others see it up"
        hint = "what it sees as a coordinator is not known; Cassandra needs 18-37 s to notice a killed node"
        return Finding("view_missing", Severity.UNKNOWN, view.observer, text, hint)
    text = f"the view of {view.observer} is not used: {view.reason}"
    return Finding("view_discarded", Severity.WARNING, view.observer, text, "others see it up")


def _blind_datacenters(views: Views, states: Sequence[State]) -> Iterator[Finding]:
    """Datacenters with nodes up whose own coordinators could not be believed, though they were asked."""
    nodes, index = views.snapshot.nodes, views.snapshot.index
    seeing = {nodes[index[view.observer]].datacenter for view in views.usable}
    asked = {nodes[index[view.observer]].datacenter for view in views.all if view.observer in index}
    alive = {node.datacenter for node, state in zip(nodes, states, strict=True) if state == "up"}
    for name in sorted((asked & alive) - seeing - {None}, key=str):
        text = f"no usable view from {name}: it is judged by what other datacenters see of it"
        yield Finding("view_missing", Severity.UNKNOWN, str(name), text)


def _disagreements(views: Views) -> Iterator[Finding]:
    nodes = views.snapshot.nodes
    for index, observers in sorted(views.seen_down_by.items()):
        if len(observers) == len(views.usable):
            continue
        address = nodes[index].address
        others = [view.observer for view in views.usable if view.observer not in observers]
        if others == [address]:
            text = f"{address} says that it is well, but every other view sees it down"
            yield Finding("gossip_dead", Severity.WARNING, address, text, "its gossip is dead, or it is cut off")
        else:
            text = f"{address} is down for {listed(observers)} but up for {listed(sorted(others))}"
            yield Finding("view_disagreement", Severity.WARNING, address, text, "the worst view counts")


def _schemas(views: Views) -> Iterator[Finding]:
    """Schema versions differ between releases during an upgrade; within one release they must not."""
    nodes, index = views.snapshot.nodes, views.snapshot.index
    found: dict[tuple[int, int], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for view in views.usable:
        if view.schema_version:
            version = release(nodes[index[view.observer]].release_version)
            found[version][view.schema_version].append(view.observer)
    for schemas in found.values():
        if len(schemas) > 1:
            few = min(schemas.values(), key=len)
            text = f"{len(schemas)} schema versions; {listed(sorted(few))} differ from the others"
            yield Finding("schema_disagreement", Severity.WARNING, views.snapshot.cluster, text)


def _of_nodes(views: Views, states: Sequence[State]) -> Iterator[Finding]:
    seen_down = views.seen_down_by
    modes = {view.observer: view.reason for view in views.all if view.outcome == "discarded"}
    members = _members(views)
    for index, (node, state) in enumerate(zip(views.snapshot.nodes, states, strict=True)):
        if state == "down":
            why = f" ({modes[node.address]})" if modes.get(node.address) else ""
            text = f"{node.address} is down{why}"
            yield Finding("node_down", Severity.OK, node.address, text, f"for {listed(seen_down[index])}")
        elif state == "unknown" and views.usable and index in members:
            text = f"{node.address} is neither live nor unreachable for any view"
            yield Finding("node_unknown", Severity.UNKNOWN, node.address, text)


def _summary(
    severity: Severity,
    findings: Sequence[Finding],
    keyspaces: Sequence[KeyspaceVerdict],
    states: Sequence[State],
    leases: Leases,
) -> str:
    """The verdict in one line."""
    down = [index for index, state in enumerate(states) if state == "down"]
    gone = f"{counted(len(down), 'node')} down: {listed([leases.named(one) for one in down])}" if down else ""
    nodes = "; ".join(one for one in (gone, leases.besides(down)) if one)
    if severity is Severity.OK:
        tolerated = [one.summary for one in findings if one.code == "unavailable"]
        if tolerated:
            more = f"; {len(tolerated) - 1} more like it" if len(tolerated) > 1 else ""
            return f"{tolerated[0]}{f' ({nodes})' if nodes else ''}{more}"
        levels = listed(sorted({str(one.level) for each in keyspaces for one in each.levels if one.severity}))
        up = f"{len(states) - len(down)} of {counted(len(states), 'node')} up"
        shown = nodes if down else "; ".join(one for one in (up, nodes) if one)
        return f"{counted(len(keyspaces), 'keyspace')} available at {levels}, {shown}{_left(keyspaces)}"
    loudest = [one for one in findings if one.severity is severity]
    more = f"; {len(loudest) - 1} more like it" if len(loudest) > 1 else ""
    return f"{loudest[0].summary}{f' ({nodes})' if nodes else ''}{more}"


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
