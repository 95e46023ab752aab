"""How the history is read: a page of entries, for the agent's pages and API and for the command."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from ringcheck.core.transitions import Entry, Transition
from ringcheck.history import database, entries
from ringcheck.history.levels import load_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ringcheck.core.transitions import Key, Known

K = TypeVar("K")
V = TypeVar("V")

Order: TypeAlias = Literal["newest", "oldest"]

MOST = 1000  # entries of a page
BUSY_SECONDS = 1.0  # that a reader waits for the writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which entries are asked for.

    Attributes:
        cluster: its name.
        since: milliseconds of Unix time; None for no bound. The time of an entry, not its order, is compared.
        until: the same for the end; entries of that time are left out.
        kinds: keys of KINDS; empty for all.
        limit: of entries on the page, at most MOST.
        cursor: id of the last entry of the page before; None for the first page.
        order: which entries come first.
    """

    cluster: str
    since: int | None = None
    until: int | None = None
    kinds: tuple[str, ...] = ()
    limit: int = 100
    cursor: int | None = None
    order: Order = "newest"


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in the order that was asked for.

    Attributes:
        entries: at most as many as the limit.
        cursor: for the next page; None if the page is the last one, which only `newest` has: later entries may come.
    """

    entries: tuple[Entry, ...]
    cursor: int | None


def page(path: Path, question: Question) -> Page:
    """A page of the history in a state file, which may be in use by an agent.

    Raises:
        StateFileError: it can't be read.
    """
    with closing(database.reading(path, BUSY_SECONDS)) as connection:
        try:
            rows = connection.execute(*_query(question)).fetchall()
        except sqlite3.Error as error:
            raise database.StateFileError(
                f"{path} can't be read: {database.reason(error)}", broken=database.is_broken(error)
            ) from None
    more = len(rows) > question.limit
    entries = tuple(map(_entry, rows[: question.limit]))
    last = entries[-1].id if entries else question.cursor
    return Page(entries, last if more or question.order == "oldest" else None)


def facts(path: Path, cluster: str) -> Mapping[Key, Known]:
    """The last known facts of a cluster, and since when each holds; empty if the agent does not watch the cluster.

    Raises:
        StateFileError: it can't be read.
    """
    return _of_cluster(path, cluster, entries.load_facts)


def evidence(path: Path, cluster: str) -> Mapping[str, object]:
    """What each source has shown of the levels that a cluster's clients use, as plain values by its name.

    Raises:
        StateFileError: it can't be read, or was written by an older release that has no such table.
    """
    return _of_cluster(path, cluster, lambda connection: load_evidence(connection, cluster))


def _of_cluster(
    path: Path, cluster: str, load: Callable[[sqlite3.Connection], Mapping[str, Mapping[K, V]]]
) -> Mapping[K, V]:
    with closing(database.reading(path, BUSY_SECONDS)) as connection:
        try:
            return load(connection).get(cluster, {})
        except sqlite3.Error as error:
            raise database.StateFileError(
                f"{path} can't be read: {database.reason(error)}", broken=database.is_broken(error)
            ) from None


def _query(question: Question) -> tuple[str, list[str | int]]:
    """The statement and its values; it reads one entry more than the limit, to know whether there are more."""
    later = question.order == "oldest"
    conditions, values = ["cluster = ?"], list[str | int]([question.cluster])
    if question.cursor is not None:
        conditions.append("id > ?" if later else "id < ?")
        values.append(question.cursor)
    if question.since is not None:  # the first id of that time bounds what is read
        conditions.append("id >= (SELECT min(id) FROM entry WHERE cluster = ? AND at >= ?) AND at >= ?")
        values += [question.cluster, question.since, question.since]
    if question.until is not None:
        conditions.append("at < ?")
        values.append(question.until)
    if question.kinds:
        conditions.append(f"kind IN ({', '.join('?' * len(question.kinds))})")
        values += question.kinds
    columns = "id, cluster, at, kind, subject, code, level, datacenter, was, now, text"
    where, order = " AND ".join(conditions), "ASC" if later else "DESC"
    statement = f"SELECT {columns} FROM entry INDEXED BY entry_order WHERE {where} ORDER BY id {order} LIMIT ?"  # noqa: S608 - constants
    return statement, [*values, min(question.limit, MOST) + 1]


def _entry(row: tuple[int, str, int, str, str, str, str, str, str | None, str | None, str]) -> Entry:
    number, cluster, at, kind, subject, code, level, datacenter, was, now, text = row
    change = Transition(
        kind=kind, subject=subject, code=code, level=level, datacenter=datacenter, was=was, now=now, text=text
    )
    return Entry(id=number, cluster=cluster, at=at, change=change)
