"""The kinds of facts about a cluster: which changes are entries of its history, and which facts only keep a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class FactKind:
    """How facts of a kind come and go.

    Attributes:
        meaning: one sentence.
        normal: the value that is not news when it is seen for the first time; None if every value is news.
        silent: whether a fact that is seen for the first time is never news.
        vanishes: whether it is news that a fact is gone.
    """

    meaning: str
    normal: str | None = None
    silent: bool = False
    vanishes: bool = False


KINDS: Mapping[str, FactKind] = {
    "severity": FactKind(meaning="The verdict's severity: OK, WARNING, UNKNOWN, CRITICAL."),
    "polls": FactKind(meaning="Whether polls give verdicts: working, failing.", normal="working"),
    "node": FactKind(meaning="A node's state: up, down, unknown, suspect.", normal="up", vanishes=True),
    "address": FactKind(meaning="A node has another address; its host id is the same.", silent=True),
    "restart": FactKind(meaning="A node's gossip was started again, usually with the node.", silent=True),
    "release": FactKind(meaning="The release of Cassandra that a node runs.", silent=True),
    "movement": FactKind(meaning="A node joins, leaves or moves, is being removed or replaced.", vanishes=True),
    "view": FactKind(meaning="Whether a node's view is usable: ok, discarded, unreachable.", normal="ok"),
    "finding": FactKind(meaning="A finding above a note, with its severity.", vanishes=True),
    "level": FactKind(meaning="The levels that clients of a keyspace use; `*` for all others.", normal="none"),
    "leases": FactKind(meaning="Whether the lease store answers: known, unknown.", normal="known"),
    "lease": FactKind(meaning="The owner of a node's restart lease.", vanishes=True),
    "batch": FactKind(meaning="Several nodes under leases of one owner, such as a batch of `roll`.", vanishes=True),
    "decision": FactKind(meaning="An answer of the gate that the agent gave: safe, unsafe, unknown."),
    "agent": FactKind(meaning="The agent was started; the value before is the time since when nothing was watched."),
    "gap": FactKind(meaning="Changes that could not be recorded."),
}
"""All kinds of entries. The last three are events, not facts: they do not last."""

DOWN, WATCHED_DOWN = "down", "watched_down"
TIMES = frozenset({DOWN, WATCHED_DOWN})
"""Kinds of facts that only keep a time; they make no entries. Both last from the poll that first saw a node down until
one does not, also through polls that can't tell. The time of `watched_down` does not include periods in which no agent
was running."""
