"""The tables of the history: entries, the facts that hold now, and how both stay within their bounds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.transitions import Fact, Key, Known
from ringcheck.history import outbox

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ringcheck.core.transitions import Transition
    from ringcheck.history.outbox import Letter

FullState = dict[str, dict[Key, Known]]  # facts by cluster
HOUR = 3600_000  # milliseconds
EXPIRES = 10  # a tenth of a cluster's entries at most expires at once: a clock that is wrong for an hour loses no more
LEAST = 100  # entries that may expire at once in any case
FULL, TO = 7 / 8, 3 / 4  # share of the size at which entries are dropped, and share of the entries that stay then

_INSERT = """
    INSERT INTO entry (cluster, at, kind, subject, code, level, datacenter, was, now, text)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_KEY = "cluster = ? AND kind = ? AND subject = ? AND code = ? AND level = ? AND datacenter = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one poll changes in the file.

    Attributes:
        cluster: its name.
        at: milliseconds of Unix time.
        entries: in order.
        facts: that are new or have another value or time.
        gone: keys of facts that no longer hold.
        letters: events for webhooks, in order.
    """

    cluster: str
    at: int
    entries: Sequence[Transition]
    facts: Mapping[Key, Known]
    gone: Collection[Key]
    letters: Sequence[Letter] = ()

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Write them."""
        connection.executemany(_INSERT, (_row(self.cluster, self.at, entry) for entry in self.entries))
        gone = (_encodable(self.cluster, *key) for key in self.gone)
        connection.executemany(f"DELETE FROM fact WHERE {_KEY}", gone)  # noqa: S608 - a constant
        put_facts(connection, self.cluster, self.facts)
        outbox.post(connection, self.letters)


def _row(cluster: str, at: int, entry: Transition) -> tuple[str | int | None, ...]:
    key = (entry.kind, entry.subject, entry.code, entry.level, entry.datacenter)
    return _encodable(cluster, at, *key, entry.was, entry.now, entry.text)


def _encodable(*values: str | int | None) -> tuple[str | int | None, ...]:
    """The values with `?` for what can't be encoded: a single name must not keep all else out of the file."""
    return tuple([value.encode(errors="replace").decode() if isinstance(value, str) else value for value in values])


def put_facts(connection: sqlite3.Connection, cluster: str, facts: Mapping[Key, Known]) -> None:
    """Write facts, in place of those that have the same keys."""
    connection.executemany(
        "INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            _encodable(cluster, *key, fact.value, fact.name, fact.text, since, fact.seen)
            for key, (fact, since) in facts.items()
        ),
    )


def replace_facts(connection: sqlite3.Connection, state: FullState) -> None:
    """Write all facts of all clusters anew."""
    connection.execute("DELETE FROM fact")
    for cluster, facts in state.items():
        put_facts(connection, cluster, facts)


def drop_clusters(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Delete the facts of clusters that are no longer watched; their entries stay until they expire."""
    connection.executemany("DELETE FROM fact WHERE cluster = ?", ((name,) for name in names))


def load_facts(connection: sqlite3.Connection) -> FullState:
    """All facts of all clusters; a file of an older release does not have whether they were seen to begin."""
    state: FullState = defaultdict(dict)
    for cluster, kind, subject, code, level, datacenter, *fact in connection.execute("SELECT * FROM fact"):
        value, name, text, since, *seen = fact
        known = Known(Fact(value, name, text, seen == [1]), since)
        state[cluster][Key(kind, subject, code, level, datacenter)] = known
    return dict(state)


# The last sign of life


def stamp(connection: sqlite3.Connection, at: int) -> None:
    """Record that the agent was running at this time."""
    connection.execute("INSERT OR REPLACE INTO note VALUES ('alive', ?)", (at,))


def last_stamp(connection: sqlite3.Connection) -> int | None:
    """When the agent was running last; None if it never was."""
    row = connection.execute("SELECT value FROM note WHERE name = 'alive'").fetchone()
    return row[0] if row else None


# Bounds


def expire(connection: sqlite3.Connection, before: int) -> None:
    """Delete entries older than a time, oldest first, and at most a tenth of each cluster's entries at once."""
    for cluster, number in _counts(connection).items():
        connection.execute(
            "DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE cluster = ? AND at < ? ORDER BY at LIMIT ?)",
            (cluster, before, max(LEAST, number // EXPIRES)),
        )


def shrink(connection: sqlite3.Connection, size: int) -> bool:
    """Delete entries if the data come near their maximum size in bytes. Returns whether they did.

    The oldest entries of the clusters that have most are deleted, so a flapping cluster loses its own history and not
    that of the others.
    """
    if used_bytes(connection) < size * FULL:
        return False
    counts = _counts(connection)
    level = water_level(counts.values(), int(sum(counts.values()) * TO))
    for cluster, number in counts.items():
        if number > level:
            connection.execute(
                "DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE cluster = ? ORDER BY id LIMIT ?)",
                (cluster, number - level),
            )
    return True


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold data; SQLite fills the free rest before the file grows."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def water_level(counts: Iterable[int], total: int) -> int:
    """The highest limit for each at which all together keep no more than a total."""
    ordered, left = sorted(counts), total
    for index, count in enumerate(ordered):
        share = left // (len(ordered) - index)
        if count > share:
            return share
        left -= count
    return max(ordered, default=0)


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    """The number of entries by cluster."""
    return dict(connection.execute("SELECT cluster, count(*) FROM entry GROUP BY cluster").fetchall())
