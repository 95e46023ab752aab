"""The levels in use as a table with their evidence, and the rules that they suggest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.levels import WEAKER, above, strictest
from ringcheck.core.observed import EVERY, Observed, Used

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.consistency import Level
    from ringcheck.core.sources import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """One use and its evidence; fields that the source does not know are empty.

    Attributes:
        keyspace: its name.
        datacenter: the coordinators'.
        level: the consistency level.
        operation: read or write.
        source: `counters`, `prometheus`, `proxy`, or `proxy NAME`.
        queries: in the window.
        rate: queries per second, averaged over the time that is known; None if that time is too short.
        last: when it was seen last, in seconds of Unix time.
    """

    keyspace: str
    datacenter: str
    level: Level
    operation: str
    source: str
    queries: int
    rate: float | None
    last: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedRule:
    """The rule that an operator could write by hand for the levels in use.

    Attributes:
        keyspaces: names, or `*` for all others.
        critical: the strictest level in use.
        warning: one step above; None if there is none.
        beside: levels in use that the critical one does not include: only `auto` watches these too.
        clients: datacenters whose clients use the critical level; empty for all.
    """

    keyspaces: tuple[str, ...]
    critical: Level
    warning: Level | None
    beside: tuple[Level, ...]
    clients: tuple[str, ...]


def rows(sources: Sources, at: float, window: float) -> Iterator[LevelRow]:
    """All uses of all sources, by keyspace, datacenter and source, the strictest level first."""
    found = [
        LevelRow(
            keyspace=use.keyspace,
            datacenter=use.datacenter,
            level=use.level,
            operation=use.operation,
            source=source,
            queries=seen.total,
            rate=seen.total / known if (known := evidence.known(at, window)) else None,
            last=seen.last,
        )
        for source, evidence in sources.evidence.items()
        for use, seen in evidence.uses.items()
    ]
    yield from sorted(
        found, key=lambda row: (row.keyspace, row.datacenter, row.source, *_strictness(row), row.operation)
    )


def _strictness(one: LevelRow | Used) -> tuple[int, str]:
    return -len(WEAKER[one.level]), one.level


def suggested(seen: Observed) -> tuple[SuggestedRule, ...]:
    """The rules for keyspaces whose levels are known: one for all keyspaces with the same levels; `*` comes last."""
    named: dict[tuple[Used, ...], list[str]] = {}
    for keyspace, used in seen.keyspaces.items():
        if keyspace != EVERY and used:
            named.setdefault(strictest(used), []).append(keyspace)
    every = seen.of(EVERY)
    found = [_rule(tuple(names), used) for used, names in named.items()]
    return (*found, *([_rule((EVERY,), every)] if every else []))


def _rule(keyspaces: tuple[str, ...], used: tuple[Used, ...]) -> SuggestedRule:
    order = sorted(strictest(used), key=_strictness)
    critical = order[0].level
    clients = {one.datacenter for one in order if one.level is critical}
    return SuggestedRule(
        keyspaces=keyspaces,
        critical=critical,
        warning=above(critical),
        beside=tuple(dict.fromkeys(one.level for one in order if one.level is not critical)),
        clients=() if "" in clients or not critical.local else tuple(sorted(clients)),
    )
