"""Time limits on states: what has lasted for hours although it should have passed. For tickets, never for pages.

Pure: the facts of the history say since when a state lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.fact_kinds import DOWN
from ringcheck.core.findings import noted
from ringcheck.core.transitions import Key, identities_of, utc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.findings import Finding
    from ringcheck.core.ring import Node
    from ringcheck.core.transitions import Known

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """How long states may last, in seconds.

    Attributes:
        hint_window: how long a node may be down: Cassandra's `max_hint_window`.
        gc_grace: likewise: the shortest `gc_grace_seconds` of a table that matters.
        movement: how long a node may join, leave or move.
    """

    hint_window: float = 3.0 * _HOUR
    gc_grace: float = 10.0 * _DAY
    movement: float = 6.0 * _HOUR


def overdue(evidence: Evidence, known: Mapping[Key, Known], at: int, limits: TimeLimits) -> Iterator[Finding]:
    """The findings about states that have lasted too long.

    Args:
        evidence: of the poll.
        known: the facts before the poll, and since when they hold.
        at: milliseconds of Unix time.
        limits: how long states may last.
    """
    identities = identities_of(known)

    def since_of(kind: str, node: Node, value: str) -> int | None:
        """Since when a node is in a state; None if it was not when that was last known."""
        entry = known.get(Key(kind, node.host_id or identities.get(node.address, node.address)))
        return entry.since if entry and entry.fact.value == value else None

    moving = evidence.joining | evidence.leaving | evidence.moving | evidence.replaced
    for index, node in enumerate(evidence.snapshot.nodes):
        if evidence.states[index] == "down" and index in evidence.members:
            yield from _down(node, since_of(DOWN, node, "down"), at, limits)
        if index in moving:
            movement = evidence.movement(index)
            since = since_of("movement", node, movement)
            if since is not None and at - since > limits.movement * 1000:
                text = f"{node.address} has been {movement} since {utc(since)}"
                yield noted("movement_too_long", node.address, text)


def _down(node: Node, since: int | None, at: int, limits: TimeLimits) -> Iterator[Finding]:
    seconds = 0.0 if since is None else (at - since) / 1000
    if since is not None and seconds > limits.gc_grace:
        text = f"{node.address} has been down since {utc(since)}, for longer than gc_grace ({_span(limits.gc_grace)})"
        yield noted("down_past_gc_grace", node.address, text, "deleted data would come back with it")
    elif since is not None and seconds > limits.hint_window:
        text = f"{node.address} has been down since {utc(since)}, for longer than hints are kept"
        yield noted("down_past_hints", node.address, f"{text} ({_span(limits.hint_window)})", "it needs a repair")


def _span(seconds: float) -> str:
    """`10 d`, `3 h`, `90 min`: in the largest unit of which it is a whole number."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
