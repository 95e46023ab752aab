"""What got better or worse between two polls, and what a session remembers of it.

Compares verdicts by node and by level: a state, a severity or a number that moved is a change, with a direction and a
line of text. Reads no clock: times are those at which the data was taken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.policy import Severity
from ringcheck.report.text import row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict

Direction: TypeAlias = Literal["worse", "better", "changed"]
RowKey: TypeAlias = tuple[str, ...]
"""Keyspace, level and datacenter of a row in the table; a node's address alone for a change of a node."""

KEPT = 50  # changes that are remembered
MARKED = 60  # seconds for which a changed row is marked: long enough to be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenChange:
    """A difference between two polls.

    Attributes:
        key: the row or node that changed.
        direction: whether it got worse.
        text: one line.
        at: when the data of the later poll was taken; None if it does not say.
    """

    key: RowKey
    direction: Direction
    text: str
    at: datetime | None


@dataclass(slots=True, kw_only=True)
class Session:
    """Everything seen since the start.

    Attributes:
        verdict: the last one; None before the first.
        error: why the last poll failed; None if it did not.
        changes: latest first.
        polls: how many there were, including failed ones.
    """

    verdict: Verdict | None = None
    error: str | None = None
    changes: deque[ScreenChange] = field(default_factory=lambda: deque(maxlen=KEPT))
    polls: int = 0

    def add(self, verdict: Verdict) -> None:
        """Record a poll that succeeded."""
        changes = list(differences(self.verdict, verdict)) if self.verdict else []
        self.changes.extendleft(reversed(changes))
        self.verdict, self.error = verdict, None
        self.polls += 1

    def fail(self, error: str) -> None:
        """Record a poll that failed. The last verdict stays, and counts as old."""
        self.error = error
        self.polls += 1

    def marks(self) -> dict[RowKey, Direction]:
        """What changed in the last MARKED seconds; if it changed twice, the later direction."""
        now = taken_at(self.verdict) if self.verdict else None
        return {change.key: change.direction for change in reversed(self.changes) if _recent(change.at, now)}


def _recent(at: datetime | None, now: datetime | None) -> bool:
    return at is not None and now is not None and (now - at).total_seconds() <= MARKED


def differences(before: Verdict, after: Verdict) -> Iterator[ScreenChange]:
    """What got worse or better: nodes first, then levels in the order of how bad they are now."""
    at = taken_at(after)
    yield from _of_nodes(before, after, at)
    old, new = dict(_levels(before)), dict(_levels(after))
    worst_first = sorted(new, key=lambda key: badness(new[key]), reverse=True)
    for key in [*worst_first, *(key for key in old if key not in new)]:
        then, now = old.get(key), new.get(key)
        subject = f"{key[0]} at {key[1]}{f' in {key[2]}' if key[2] else ''}"
        if then is None or now is None:
            text = f"{subject} is {'gone' if now is None else 'new'}"
            yield ScreenChange(key=key, direction="changed", text=text, at=at)
        elif badness(then) != badness(now):
            direction: Direction = "worse" if badness(now) > badness(then) else "better"
            yield ScreenChange(key=key, direction=direction, text=f"{subject}: {_number_changes(then, now)}", at=at)


def _of_nodes(before: Verdict, after: Verdict, at: datetime | None) -> Iterator[ScreenChange]:
    old, new = states(before), states(after)
    for address in [*new, *(address for address in old if address not in new)]:
        then, now = old.get(address, "gone"), new.get(address, "gone")
        if then != now:
            direction: Direction = "better" if now == "up" else "worse" if then == "up" and now != "gone" else "changed"
            text = f"node {address} is {now} ({'new' if then == 'gone' else f'was {then}'})"
            yield ScreenChange(key=(address,), direction=direction, text=text, at=at)


def states(verdict: Verdict) -> dict[str, str]:
    """`up`, `down` or `unknown` by the node's address."""
    return {node.address: state for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True)}


def _levels(verdict: Verdict) -> Iterator[tuple[RowKey, LevelVerdict]]:
    for keyspace in verdict.keyspaces:
        for level in keyspace.levels:
            yield row_key(keyspace, level), level


def row_key(keyspace: KeyspaceVerdict, level: LevelVerdict) -> RowKey:
    """The key of a level's row."""
    return keyspace.name, level.level.value, level.datacenter or ""


def badness(level: LevelVerdict) -> tuple[Severity, bool, tuple[float, ...]]:
    """Orders levels by how bad they are; a level that can't be evaluated is worse than one that can."""
    return level.severity or Severity.OK, level.health is None, level.health.badness if level.health else ()


def _number_changes(then: LevelVerdict, now: LevelVerdict) -> str:
    names = ("unavailable", "at minimum", "node failures to outage")
    old, new = (dict(zip(names, _numbers(level), strict=True)) for level in (then, now))
    parts = [f"{name} {old[name]} -> {new[name]}" for name in names if old[name] != new[name]]
    if then.severity is not now.severity and then.severity and now.severity:
        parts.insert(0, f"{then.severity.name} -> {now.severity.name}")
    return ", ".join(parts) or "a smaller or larger share of the token space"


def _numbers(level: LevelVerdict) -> tuple[str, str, str]:
    cells = row(level)
    return cells.unavailable, cells.at_minimum, cells.nodes


def taken_at(verdict: Verdict) -> datetime | None:
    """When the verdict's data was taken; None if it does not say."""
    try:
        taken = datetime.fromisoformat(verdict.snapshot.taken_at)
    except ValueError:
        return None
    return taken if taken.tzinfo else taken.replace(tzinfo=UTC)
