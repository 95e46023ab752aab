"""The thread that syncs the state file: a sync may take a second on a busy disk, and writes must not wait for it.

A commit writes to the write-ahead log without a sync, so it survives the end of the process at once. A checkpoint then
syncs the log, copies it into the database and syncs that, so that it also survives a loss of power. SQLite allows other
writes meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from ringcheck.history import database

if TYPE_CHECKING:
    from pathlib import Path

PAUSE = 1.0  # seconds from a commit to the checkpoint, which takes all commits of that time


class Checkpoints:
    """Syncs a state file some time after each commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def start(self) -> None:
        """Start the thread, which ends with the process; closing the file for the last time also syncs it."""
        self._thread.start()

    def want(self) -> None:
        """Sync soon."""
        self._due.set()

    def _run(self) -> None:
        while self._due.wait():
            time.sleep(PAUSE)
            self._due.clear()
            with suppress(sqlite3.Error, OSError):  # the writer meets the same error, and reports it
                checkpoint(self._path)


def checkpoint(path: Path) -> None:
    """Sync what has been committed, without delaying the thread that writes.

    Raises:
        sqlite3.Error: the file can't be written or is broken.
        OSError: it is not there.
    """
    path.stat()  # SQLite would make an empty one
    with closing(sqlite3.connect(path, timeout=database.BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
