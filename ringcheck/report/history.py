"""The history of a cluster as text: a line for each entry, and entries of one poll under one time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from ringcheck.core.observed import EVERY
from ringcheck.core.transitions import utc
from ringcheck.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.policy import Severity
    from ringcheck.core.transitions import Entry, Transition


def line(change: Transition) -> str:
    """What happened, in one line that begins with what it is about."""
    said = _LINES.get(change.kind, _unknown_kind)(change)
    return f"{said}{f': {change.text}' if change.text else ''}"


def marked(change: Transition) -> tuple[Severity | None, str]:
    """The severity that begins, of the cluster or of a finding, and the line without that word.

    None and the whole line for all other changes.
    """
    if change.severity is None or change.now is None:
        return None, line(change)
    was = f"was {change.was}" if change.was else ""
    said = was if change.kind == "severity" else f"{_what(change)}{_before(change.was)}"
    return change.severity, ": ".join(filter(None, (said, change.text)))


def _before(was: str | None, new: str = "") -> str:
    text = f"was {was}" if was else new
    return f" ({text})" if text else ""


def _unknown_kind(change: Transition) -> str:
    """An entry of a kind that this release does not know."""
    return f"{change.kind} of {change.subject} is {change.now or 'gone'}{_before(change.was)}"


def _what(change: Transition) -> str:
    """The finding that a change is about."""
    level = f" at {change.level}" if change.level else ""
    where = f" in {change.datacenter}" if change.datacenter else ""
    return f"{change.code} of {change.subject}{level}{where}"


def _finding(change: Transition) -> str:
    what = _what(change)
    return f"{change.now} {what}{_before(change.was)}" if change.now else f"{what} is over{_before(change.was)}"


def _whose(keyspace: str) -> str:
    return "clients" if keyspace == EVERY else f"clients of {keyspace}"


def _lease(change: Transition) -> str:
    if change.now:
        return f"{change.subject} is under a restart lease of {change.now}{_before(change.was)}"
    return f"the lease of {change.was} on {change.subject} is gone"


def _batch(change: Transition) -> str:
    return f"{change.subject} holds {change.now}" if change.now else f"{change.subject} no longer holds {change.was}"


_LINES: Mapping[str, Callable[[Transition], str]] = {
    "severity": lambda change: f"{change.now}{_before(change.was)}",
    "polls": lambda change: "polls fail" if change.now == "failing" else "polls work again",
    "node": lambda change: f"{change.subject} is {change.now or 'gone'}{_before(change.was, 'new')}",
    "address": lambda change: f"{change.subject} has a new address{_before(change.was)}",
    "restart": lambda change: f"{change.subject} was restarted at {change.now}",
    "release": lambda change: f"{change.subject} runs {change.now}{_before(change.was)}",
    "movement": lambda change: f"{change.subject} is {change.now or f'no longer {change.was}'}",
    "view": lambda change: f"view of {change.subject} is {change.now}{_before(change.was)}",
    "finding": _finding,
    "level": lambda change: f"{_whose(change.subject)} use {change.now}{_before(change.was)}",
    "leases": lambda change: f"the lease store {'does not answer' if change.now == 'unknown' else 'answers again'}",
    "lease": _lease,
    "batch": _batch,
    "decision": lambda change: f"the gate answered {change.now} for {change.subject}",
    "agent": lambda change: f"the agent was started; it had not been watching since {change.was}",
    "gap": lambda _: "changes are missing here",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Entries that one poll made, in order.

    Attributes:
        at: milliseconds of Unix time.
        changes: what happened.
    """

    at: int
    changes: tuple[Transition, ...]


def moments(entries: Iterable[Entry]) -> list[Moment]:
    """Neighbouring entries with the same time, as one moment each; entries stay in their order."""
    grouped = (tuple(group) for _, group in groupby(entries, key=lambda entry: entry.at))
    return [
        Moment(group[0].at, tuple(entry.change for entry in sorted(group, key=lambda entry: entry.id)))
        for group in grouped
    ]


def render(cluster: str, entries: Sequence[Entry], *, more: bool) -> str:
    """The output of `history`.

    Args:
        cluster: its name.
        entries: in order of time.
        more: whether there are earlier ones.
    """
    return "\n".join(_lines(cluster, entries, more=more))


def _lines(cluster: str, entries: Sequence[Entry], *, more: bool) -> Iterator[str]:
    changes = f"the last {counted(len(entries), 'change')}; --limit shows more" if more else None
    yield f"{cluster}: {changes or counted(len(entries), 'change')}"
    for moment in moments(entries):
        for index, change in enumerate(moment.changes):
            time = utc(moment.at).replace("T", " ").removesuffix("Z") if index == 0 else ""
            yield f"{time:19}  {line(change)}"
