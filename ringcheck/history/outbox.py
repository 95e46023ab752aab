"""The events that wait for webhooks, in the state file: a queue for each webhook, in order, of bounded length.

An event is written in the transaction of the changes that it reports, and deleted once its receiver has taken it. If
the process is killed in between, it is sent again, with the same id.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ringcheck.history import database

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

BUSY_SECONDS = 1.0  # that a reader waits for the writer
AT_ONCE = 100  # events that are looked at together
_DROPPED = "webhook_dropped:"
_NONE: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An event for one webhook, before it is in the queue.

    Attributes:
        webhook: name of the receiver.
        cluster: which it is about.
        event: its id, which every attempt repeats.
        kind: of the event.
        body: what is sent.
        room: events that may wait for this webhook; the oldest are dropped.
    """

    webhook: str
    cluster: str
    event: str
    kind: str
    body: bytes
    room: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event in the queue: its place in the order, cluster, id, and what is sent."""

    number: int
    cluster: str
    event: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one webhook.

    Attributes:
        heads: the first event of each cluster, oldest first.
        waiting: how many events wait.
        dropped: how many were dropped, ever.
        left: number and id of events that were delivered and are not deleted yet.
    """

    heads: tuple[Waiting, ...]
    waiting: int
    dropped: int
    left: dict[int, str]


def post(connection: sqlite3.Connection, letters: Iterable[Letter]) -> None:
    """Add events to the queues, in order; if a queue is full, its oldest events are dropped and counted."""
    room: dict[str, int] = {}
    for letter in letters:
        room[letter.webhook] = letter.room
        row = (letter.webhook, letter.cluster, letter.event, letter.kind, letter.body)
        connection.execute("INSERT INTO outbox (webhook, cluster, event, kind, body) VALUES (?, ?, ?, ?, ?)", row)
    for webhook, most in room.items():
        surplus = _waiting(connection, webhook) - most
        if surplus > 0:
            oldest = "SELECT number FROM outbox WHERE webhook = ? ORDER BY number LIMIT ?"
            connection.execute(f"DELETE FROM outbox WHERE number IN ({oldest})", (webhook, surplus))  # noqa: S608 - a constant
            count = "INSERT INTO note VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
            connection.execute(count, (_DROPPED + webhook, surplus))


def remove(connection: sqlite3.Connection, events: Mapping[int, str]) -> None:
    """Delete events that were delivered, by number and id: in a new file another event may have the number."""
    connection.executemany("DELETE FROM outbox WHERE number = ? AND event = ?", events.items())


def keep(connection: sqlite3.Connection, webhooks: Collection[str]) -> None:
    """Delete the events of webhooks that are not configured any more."""
    known = [name for (name,) in connection.execute("SELECT DISTINCT webhook FROM outbox")]
    connection.executemany("DELETE FROM outbox WHERE webhook = ?", ((name,) for name in set(known) - set(webhooks)))


def queue(path: Path, webhook: str, delivered: Mapping[int, str] = _NONE) -> Queue:
    """The queue of a webhook.

    Args:
        path: of the state file.
        webhook: its name.
        delivered: number and id of events that are about to be deleted.

    Raises:
        StateFileError: it can't be read.
    """
    marks = ", ".join("?" * len(delivered))
    first = f"SELECT min(number) FROM outbox WHERE webhook = ? AND number NOT IN ({marks}) GROUP BY cluster"  # noqa: S608 - marks
    query = f"SELECT number, cluster, event, body FROM outbox WHERE number IN ({first}) ORDER BY number LIMIT ?"  # noqa: S608 - likewise
    stored = f"SELECT number, event FROM outbox WHERE number IN ({marks})"  # noqa: S608 - likewise
    with closing(database.reading(path, BUSY_SECONDS)) as connection:
        try:
            connection.execute("BEGIN")  # all of it at one time
            rows = connection.execute(query, (webhook, *delivered, AT_ONCE)).fetchall()
            waiting = _waiting(connection, webhook)
            dropped = connection.execute("SELECT value FROM note WHERE name = ?", (_DROPPED + webhook,)).fetchone()
            left = dict(delivered.items() & set(connection.execute(stored, (*delivered,))))
        except sqlite3.Error as error:
            raise database.StateFileError(f"{path} can't be read: {error}") from None
    heads = tuple(Waiting(*row) for row in rows)
    return Queue(heads, waiting - len(left), dropped[0] if dropped else 0, left)


def _waiting(connection: sqlite3.Connection, webhook: str) -> int:
    number: int = connection.execute("SELECT count(*) FROM outbox WHERE webhook = ?", (webhook,)).fetchone()[0]
    return number
