"""How the state file is opened: its schema, its settings, its lock, and how a broken file is handled.

A file that SQLite reports as malformed, or as not a database, is moved aside and a new one is made: monitoring
continues, and the old file can be examined. A file of a newer release, or of another program, is not touched.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    from typing import IO

APPLICATION = 0x72696E67  # of SQLite's application_id, so that `file` and we know our own: "ring"
PAGES = 4096  # of the write-ahead log after which a commit makes a checkpoint itself, so that the log stays bounded
LOG_ROOM = 24 * 2**20  # bytes of the file's greatest size that are kept for the log
WAL_BYTES = 4 * 2**20  # to which the write-ahead log is cut after a checkpoint
BUSY_SECONDS = 5.0  # that a statement waits for another process
BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

MIGRATIONS = (
    """
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is never given twice, not even after its entry was deleted
        cluster TEXT NOT NULL,
        at INTEGER NOT NULL,  -- milliseconds by the agent's clock, for people; the order is that of the ids
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        code TEXT NOT NULL,
        level TEXT NOT NULL,
        datacenter TEXT NOT NULL,
        was TEXT,
        now TEXT,
        text TEXT NOT NULL
    );
    CREATE INDEX entry_order ON entry (cluster, id);
    CREATE INDEX entry_time ON entry (cluster, at);
    CREATE TABLE fact (
        cluster TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        code TEXT NOT NULL,
        level TEXT NOT NULL,
        datacenter TEXT NOT NULL,
        value TEXT NOT NULL,
        name TEXT NOT NULL,
        text TEXT NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (cluster, kind, subject, code, level, datacenter)
    ) WITHOUT ROWID;
    CREATE TABLE note (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order, within a cluster, in which events are sent
        webhook TEXT NOT NULL,
        cluster TEXT NOT NULL,
        event TEXT NOT NULL,
        kind TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX outbox_order ON outbox (webhook, cluster, number);
    """,
    """
    CREATE TABLE evidence (
        cluster TEXT NOT NULL,
        source TEXT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (cluster, source)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE fact ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;  -- whether the agent saw it begin
    """,
)
"""The schema, step by step. `user_version` of a file is the number of steps that it has. A release only adds steps."""


class StateFileError(RingcheckError):
    """The state file can't be used; it was left as it is.

    Attributes:
        broken: whether the file is damaged or not a database.
    """

    def __init__(self, message: str, *, broken: bool = False) -> None:
        super().__init__(message)
        self.broken = broken


def is_broken(error: sqlite3.Error) -> bool:
    """Whether an error means that the file is damaged; other errors may be temporary, such as a full disk."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF in BROKEN  # the higher bits are details


def reason(error: sqlite3.Error) -> str:
    """Why the file can't be used, in words."""
    return "it is damaged, or not an SQLite file" if is_broken(error) else str(error)


def locked(path: Path) -> IO[str]:
    """Take the file for this process; closing the result gives it back.

    The lock is a separate file: opening and closing the database file a second time would drop SQLite's locks on it.

    Raises:
        StateFileError: another process has it, or the folder can't be written.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        lock = beside.open("a")
    except OSError as error:
        raise StateFileError(f"{beside} can't be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StateFileError(f"{path} is in use by another agent") from None
    return lock


def connected(path: Path) -> sqlite3.Connection:
    """The file with its schema, for the one thread that writes; it is made if there is none.

    A commit that has returned survives the end of the process, and once `checkpoints` has synced it, also a loss of
    power. Neither damages the file.

    Raises:
        StateFileError: it belongs to a newer release or to another program.
        sqlite3.Error: it can't be used now, or is broken (`is_broken`).
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _check(connection, path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # the log is synced by checkpoints, and not by each commit
        connection.execute(f"PRAGMA wal_autocheckpoint={PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is not ours, and find out whether it is whole."""
    owner, version = _number(connection, "application_id"), _number(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and owner != APPLICATION:
        raise StateFileError(f"{path} is a database of another program")
    if version > len(MIGRATIONS):
        raise StateFileError(f"{path} was written by a newer release (schema {version}, known: {len(MIGRATIONS)})")
    require_whole(connection)


def require_whole(connection: sqlite3.Connection) -> None:
    """Look at every page.

    Raises:
        sqlite3.DatabaseError: the file is broken.
    """
    (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        error = sqlite3.DatabaseError(result)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    number: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return number


def _migrate(connection: sqlite3.Connection) -> None:
    for step in range(_number(connection, "user_version"), len(MIGRATIONS)):
        settings = f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={step + 1};"
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[step]} {settings} COMMIT;")


def move_aside(path: Path) -> Path:
    """Rename a broken file with its write-ahead log, in place of an earlier broken one; the new path.

    Raises:
        OSError: it can't be renamed.
    """
    aside = path.with_name(f"{path.name}.broken")
    path.replace(aside)
    with suppress(FileNotFoundError):
        Path(f"{path}-wal").replace(f"{aside}-wal")
    with suppress(FileNotFoundError):
        Path(f"{path}-shm").unlink()
    return aside


def reading(path: Path, seconds: float) -> sqlite3.Connection:
    """The file for reading, while another thread or process writes.

    Raises:
        StateFileError: it is not there, can't be read, or is not a state file of this release or an older one.
    """
    try:
        path.stat()  # SQLite has one text for every reason
        connection = sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro", uri=True, timeout=seconds)
    except OSError as error:
        raise StateFileError(f"{path} can't be read: {error.strerror}") from None
    except sqlite3.Error as error:
        raise StateFileError(f"{path} can't be read: {reason(error)}") from None
    try:
        owner = _number(connection, "application_id")
    except sqlite3.Error as error:
        connection.close()
        raise StateFileError(f"{path} can't be read: {reason(error)}", broken=is_broken(error)) from None
    if owner != APPLICATION:
        connection.close()
        raise StateFileError(f"{path} is not a state file of ringcheck")
    return connection
