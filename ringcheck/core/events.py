"""The events that ringcheck sends for programs to react to; for people there are the entries of the history.

Pure. An event is due when a fact that was not announced yet holds: a node has been down for a while, or a cluster is in
another condition than at the last event. What was announced is kept with the facts, in the same transaction as the
event, so that a restart neither repeats an event nor loses one.

The condition of a cluster is its worst: `outage` while ranges are unavailable at a critical level, `at_minimum` while a
node is down and ranges have no replica to spare at the lowest watched level of their keyspace, otherwise `served`. A
poll that leaves something unknown does not improve it.

A change of the levels in use stays in the readings for a day. The announcement keeps the time at which the change was
found, so that each change is announced once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.fact_kinds import DOWN, WATCHED_DOWN
from ringcheck.core.observed import EVERY
from ringcheck.core.policy import Severity
from ringcheck.core.transitions import Fact, Key, Known, kept, utc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ringcheck.core.observed import Observed
    from ringcheck.core.ring import Node
    from ringcheck.core.transitions import Polled
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict

EVENTS: Mapping[str, str] = {
    "node_lost": "A node has been down for the webhook's `node_lost_after`, and is under no restart lease.",
    "outage": "Ranges are unavailable at a critical level.",
    "at_minimum": "A node is down, and ranges have no replica to spare at the lowest watched level of their keyspace.",
    "recovered": "The cluster is neither in an outage nor at the minimum any more.",
    "lease_old": "A restart lease is older than `lease: {deadline: ...}`.",
    "level_changed": "Clients of a keyspace use other levels than before; rules with `auto` follow.",
}
"""All kinds of events."""

ANNOUNCED = frozenset({"condition", "lost", "lease_old", "level_change"})
"""Kinds of facts that record what was announced; they make no entries of the history."""

_RANKS = {"served": 0, "at_minimum": 1, "outage": 2}
_CONDITION = Key("condition", "")

Data: TypeAlias = "dict[str, str | int | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a cluster.

    Attributes:
        kind: a key of EVENTS.
        subject: address of a node; empty if it is about the cluster.
        data: more about it, as JSON.
        after: for node_lost, the seconds for which the node has been down; events of other kinds go to every webhook.
    """

    kind: str
    subject: str
    data: Data
    after: float | None = None


def noticed(
    polled: Polled, announced: Mapping[Key, Known], facts: Mapping[Key, Known], at: int, delays: Collection[float]
) -> tuple[list[Event], dict[Key, Known]]:
    """The events of a poll, and what has been announced after it.

    Args:
        polled: the poll.
        announced: what had been announced before the poll.
        facts: the facts after the poll.
        at: milliseconds of Unix time.
        delays: seconds after which a node counts as lost; each of them makes an event of its own.
    """
    if polled.error or polled.verdict is None:
        return [], dict(announced)
    record = _Announcements(announced, at)
    events = [
        *_condition(polled.verdict, record),
        *_lost(polled, facts, delays, record),
        *_old_leases(polled.verdict, record),
        *_levels(polled.observed, record),
    ]
    return events, record.after


@dataclass(frozen=True, slots=True)
class _Announcements:
    """What was announced before a poll, and what has been announced after it.

    Attributes:
        before: what was announced before.
        at: time of the poll, in milliseconds of Unix time.
        after: what stays announced, or is announced now.
    """

    before: Mapping[Key, Known]
    at: int
    after: dict[Key, Known] = field(default_factory=dict)

    def stays(self, key: Key, former: Key | None = None) -> bool:
        """Whether a fact was announced before, perhaps under another key; if so, it stays announced."""
        known = self.before.get(key) or (self.before.get(former) if former else None)
        if known:
            self.after[key] = known
        return known is not None

    def all_stay(self, kind: str) -> None:
        """Keep all announcements of a kind."""
        self.after.update({key: known for key, known in self.before.items() if key.kind == kind})


# The condition of the cluster


def _condition(verdict: Verdict, record: _Announcements) -> Iterator[Event]:
    before = record.before.get(_CONDITION, Known(Fact("served", ""), record.at))
    now = _now(verdict)
    better = _RANKS[now] < _RANKS.get(before.fact.value, 0)
    if now == before.fact.value or (better and _leaves_unknown(verdict)):
        record.after[_CONDITION] = before
        return
    record.after[_CONDITION] = Known(Fact(now, ""), record.at)
    kind = "recovered" if now == "served" else now
    data: Data = {"was": before.fact.value, "was_since": utc(before.since), "summary": verdict.summary}
    yield Event(kind=kind, subject="", data=data)


def _leaves_unknown(verdict: Verdict) -> bool:
    return "unknown" in verdict.states or any(finding.severity is Severity.UNKNOWN for finding in verdict.findings)


def _now(verdict: Verdict) -> str:
    if any(finding.code == "unavailable" and finding.severity is Severity.CRITICAL for finding in verdict.findings):
        return "outage"
    down = any(state == "down" for state in verdict.states)
    return "at_minimum" if down and any(map(_at_minimum, verdict.keyspaces)) else "served"


def _at_minimum(keyspace: KeyspaceVerdict) -> bool:
    levels: dict[str | None, list[LevelVerdict]] = defaultdict(list)
    for level in keyspace.levels:
        if level.severity is not None and level.health:
            levels[level.datacenter].append(level)
    lowest = (min(found, key=_needed) for found in levels.values())
    return any(level.health and level.health.at_minimum for level in lowest)


def _needed(level: LevelVerdict) -> int:
    return sum(requirement.replicas or 0 for requirement in level.health.required) if level.health else 0


# Nodes and leases


def _lost(
    polled: Polled, facts: Mapping[Key, Known], delays: Collection[float], record: _Announcements
) -> Iterator[Event]:
    """Nodes that are down for long enough; each is announced once, until it is up again or is no longer a member."""
    nodes = {node.address: node for node in polled.verdict.snapshot.nodes} if polled.verdict else {}
    for key, (fact, watched) in facts.items():
        if key.kind != WATCHED_DOWN:
            continue
        subject, address = key.subject, fact.name
        held_back = address not in nodes or not _is_down(subject, facts) or _is_leased(subject, address, facts)
        for delay in delays:
            mark, former = (Key("lost", name, code=f"{delay:g}") for name in (subject, address))
            if not record.stays(mark, former) and not held_back and record.at - watched >= delay * 1000:
                since = facts[Key(DOWN, subject)].since
                record.after[mark] = Known(Fact("lost", address), since)
                yield Event(kind="node_lost", subject=address, data=_node_data(nodes[address], since), after=delay)


def _is_down(subject: str, facts: Mapping[Key, Known]) -> bool:
    """Whether this poll saw a node down; False also if the poll does not show it."""
    node = facts.get(Key("node", subject))
    return node is not None and node.fact.value == "down"


def _is_leased(subject: str, address: str, facts: Mapping[Key, Known]) -> bool:
    """Whether a node is under a lease, or was when the lease store last answered.

    A lease with a host id is about that node, and not about another one that got its address.
    """
    leases = [(key.subject, entry.fact.name) for key, entry in facts.items() if key.kind == "lease"]
    nameless = subject == address
    return any(subject == leased or (address == name and (nameless or leased == name)) for leased, name in leases)


def _node_data(node: Node, since: int) -> Data:
    return {
        "node": node.address,
        "host_id": node.host_id,
        "datacenter": node.datacenter,
        "rack": node.rack,
        "down_since": utc(since),
    }


def _old_leases(verdict: Verdict, record: _Announcements) -> Iterator[Event]:
    if verdict.holders is None:  # the store did not answer: what was announced stays announced
        record.all_stay("lease_old")
        return
    overdue = [finding for finding in verdict.findings if finding.code == "lease_overdue"]
    if any(finding.more for finding in overdue):  # those that are left out may be among the announced ones
        record.all_stay("lease_old")
    for finding in overdue:
        if not finding.more:
            mark = Key("lease_old", finding.subject)
            if not record.stays(mark):
                record.after[mark] = Known(Fact("old", finding.subject), record.at)
                data: Data = {"node": finding.subject, "summary": finding.summary}
                yield Event(kind="lease_old", subject=finding.subject, data=data)


# Levels


def _levels(seen: Observed | None, record: _Announcements) -> Iterator[Event]:
    """The changes of the levels in use; while the levels are not observed, announced changes stay announced."""
    if seen is None:
        record.all_stay("level_change")
        return
    for change in seen.changes:
        mark = Key("level_change", kept(change.keyspace))
        at = int(change.at * 1000)
        record.after[mark] = Known(Fact("announced", mark.subject), at)
        if mark not in record.before or record.before[mark].since != at:
            subject = "" if change.keyspace == EVERY else change.keyspace
            data: Data = {"keyspace": change.keyspace, "was": change.was, "now": change.now, "summary": change.summary}
            yield Event(kind="level_changed", subject=subject, data=data)
