"""From a list of reasons to the gate's answer: which one decides, in which order people read them, and how many."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.reasons import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.reasons import DecisionWord, Reason

_ORDER = {code: number for number, code in enumerate(REASONS)}
_RANKS: Mapping[DecisionWord, int] = {"unsafe": 0, "unknown": 1, "safe": 2}


def answer(reasons: Iterable[Reason]) -> DecisionWord:
    """The answer to which the blocking reasons lead: unknown wins over safe, unsafe over unknown."""
    answers = {reason.kind.answer for reason in reasons if reason.blocks}
    if answers - {"unknown"}:
        return "unsafe"
    return "unknown" if answers else "safe"


def bounded(reasons: Iterable[Reason], most: int) -> tuple[Reason, ...]:
    """The reasons; if many about nodes have one code, only the first `most` of them, and how many more there are.

    Only for display: the answer was made from all of them before.
    """
    every = tuple(reasons)
    total = Counter((reason.code, reason.blocks) for reason in every if reason.keyspace is None)
    seen: Counter[tuple[str, bool]] = Counter()
    kept: list[Reason] = []
    for entry in every:
        key = entry.code, entry.blocks
        seen[key] += entry.keyspace is None
        if entry.keyspace or seen[key] <= most:
            kept.append(entry)
        elif seen[key] == most + 1:
            more = total[key] - seen[key]
            kept.append(replace(entry, summary=f"{entry.subject} and {more} more like those before"))
    return tuple(kept)


def ordered(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Blocking reasons first, and among these the ones that decide; then the largest loss, then the table's order.

    The coordinators of a mixed cluster read demands by their own releases and Paxos variants, and may give the same
    reason several times. The one with the largest loss is kept.
    """

    def rank(reason: Reason) -> tuple[bool, int, int, float, int]:
        return (
            not reason.blocks,
            _RANKS[reason.kind.answer],
            reason.kind.headline,
            -(reason.share or 0.0),
            _ORDER.get(reason.code, len(_ORDER)),
        )

    kept: dict[tuple[object, ...], Reason] = {}
    for reason in sorted(reasons, key=rank):
        about = reason.subject, reason.keyspaces, reason.level, reason.datacenter
        text = reason.summary if reason.ranges is None else ""  # texts of losses hold their numbers
        kept.setdefault((reason.code, reason.blocks, *about, text), reason)
    return tuple(kept.values())


def without_notes_of_blocking_leases(reasons: list[Reason]) -> list[Reason]:
    """The reasons without the notes on leases that block: no lease appears twice."""
    blocking = {reason.subject for reason in reasons if reason.code == "lease_held" and reason.blocks}
    return [
        reason for reason in reasons if reason.code != "lease_held" or reason.blocks or reason.subject not in blocking
    ]
