"""The thread that writes the state file, so that no poll waits for the disk.

Writes wait in a queue of bounded size and are committed in its order, all that wait in one transaction. A committed
write survives the end of the process; `checkpoints` makes the syncs, which take long on a busy disk. While the file
can't be written (a full disk, a lock), the queue grows and the writer tries again; monitoring continues. If the queue
is full, or the file was lost, changes are missing from it: the history then has a `gap` entry for each cluster, and all
facts and documents are written anew.

Documents that are replaced as a whole do not wait in the queue: only the newest of each is kept, and is written with
the next commit.

What the file holds is passed on when it is opened for the first time, however late, before anything is written to it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.errors import RingcheckError, limit_of, one_line
from ringcheck.history import database, entries
from ringcheck.history.checkpoints import Checkpoints
from ringcheck.history.levels import load_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path
    from typing import IO

    from ringcheck.history.entries import FullState
    from ringcheck.history.levels import Documents

    Write: TypeAlias = Callable[[sqlite3.Connection], object]
    Item: TypeAlias = tuple[Write, int, Future[None]]

MOST = 50_000  # entries that wait at most, some 20 MB
RETRY = 5.0  # seconds after which a failed write is tried again
ALIVE = 60.0  # seconds between two signs of life in the file
HOURLY = 3600.0  # seconds between two searches for entries that are too old
UNCHECKED = 1000  # entries after which the size of the file is looked at
BEHIND = 0.5  # seconds that a write may wait until the writer counts as behind

State: TypeAlias = Literal["failed", "works", "broken", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the file keeps.

    Attributes:
        keep: seconds that an entry stays.
        size: bytes of the file, its write-ahead log included.
    """

    keep: float = 90 * 86400.0
    size: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the file held when it was opened.

    Attributes:
        state: facts by cluster.
        alive: when the agent was running last, in milliseconds of Unix time; None if it never was.
        evidence: of the levels in use.
    """

    state: FullState
    alive: int | None
    evidence: Documents = field(default_factory=dict)


class Writer:
    """Owns the state file; thread-safe.

    Attributes:
        path: of the file.
        loaded: what the file held; None if it could not be opened at first. Then it is passed on later.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        report: Callable[[State, str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; the file is opened by the thread, from `start` on.

        Args:
            path: of the file, which need not exist.
            limits: how much it keeps.
            report: called from the thread when the file can't be written, with the reason (`failed`, once), when it
                can be written again (`works`), when it was moved aside (`broken`), and when changes were lost (`lost`).
            clock: Unix seconds.
        """
        self.path = path
        self.loaded: Future[Loaded | None] = Future()
        self._limits = limits
        self._report = report
        self._clock = clock
        self._restore: Callable[[str], Write] = lambda _: lambda _: None
        self._adopt: Callable[[Loaded], Write | None] = lambda _: None
        self._opened = False
        self._first: list[Write] = []  # what to write before anything else
        self._changed = threading.Condition()
        self._queue: deque[Item] = deque()
        self._newest: dict[tuple[str, str], Write] = {}  # documents, by cluster and name
        self._weight = 0
        self._oldest: float | None = None  # when the first of those that are not committed yet was put
        self._lost = ""  # why changes are missing from the file; empty if none are
        self._failing = False
        self._ended = False
        self._connection: sqlite3.Connection | None = None
        self._lock: IO[str] | None = None
        self._inode = 0
        self._unchecked = 0
        self._hourly = self._alive = time.monotonic()
        self._checkpoints = Checkpoints(path)
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self, restore: Callable[[str], Write], adopt: Callable[[Loaded], Write | None] = lambda _: None) -> None:
        """Open the file and begin to write.

        Args:
            restore: given why changes are missing, what writes all facts and documents anew, and gaps; no gaps if the
                reason is empty.
            adopt: called once from the thread with what the file held, before anything is written to it. What it
                returns is written first, in one transaction with the sign of life of this process.
        """
        self._restore, self._adopt = restore, adopt
        self._checkpoints.start()
        self._thread.start()

    @property
    def works(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return not self._failing

    def put(self, write: Write, weight: int = 1) -> Future[None] | None:
        """Add a write to the queue; never waits.

        Args:
            write: called with the connection, within a transaction.
            weight: how many entries it holds in memory.

        Returns:
            A future that is done once the write is committed. None if waiting would be useless, because the file can't
                be written now or the disk is slow.
        """
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # a waiting poll may have given up
        with self._changed:
            if not self.fits(weight):
                self._lost = self._lost or f"more than {MOST} changes waited to be written"
                return None
            self._queue.append((write, weight, future))
            self._weight += weight
            now = time.monotonic()
            self._oldest = self._oldest or now
            behind = self._failing or now - self._oldest > BEHIND
            self._changed.notify_all()
        return None if behind else future

    def fits(self, weight: int) -> bool:
        """Whether a write of that weight would be added to the queue now."""
        return self._weight + weight <= MOST

    def keep(self, cluster: str, name: str, write: Write) -> None:
        """Write a document of a cluster with the next commit, in place of one that still waits; never waits."""
        with self._changed:
            self._newest[cluster, name] = write
            self._changed.notify_all()

    def forget(self, clusters: Collection[str]) -> None:
        """Do not write the documents of these clusters that still wait."""
        with self._changed:
            self._newest = {key: write for key, write in self._newest.items() if key[0] not in clusters}

    def doubt(self) -> None:
        """Check the file, since a reader found it broken."""
        self.put(database.require_whole)

    def close(self, seconds: float) -> bool:
        """Write everything in the queue, and end. Returns whether all was written in time."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive() and not self._waits

    # The thread

    def _run(self) -> None:
        while True:
            items = self._take()
            done = self._attempt(items)
            if self._ended and (not self._waits or not done):
                break
        if self._connection:
            with suppress(sqlite3.Error):
                self._write(lambda connection: entries.stamp(connection, self._now()))
        self._release()

    @property
    def _waits(self) -> bool:
        """Whether there is something to write."""
        return bool(self._queue or self._newest)

    def _take(self) -> list[Item]:
        """What waits, once there is something, or it is time for a sign of life. It stays in the queue."""
        with self._changed:
            if self._failing:
                self._changed.wait_for(lambda: self._ended, RETRY)
            elif self._connection:
                self._changed.wait_for(lambda: self._waits or self._lost or self._ended, ALIVE)
            return list(self._queue)

    def _attempt(self, items: list[Item]) -> bool:
        """Write items, and remove them from the queue; whether that succeeded."""
        try:
            self._open()
            self._commit(items)
            self._keep_house()
        except sqlite3.OperationalError as error:
            self._fail(f"{self.path}: {error}")
        except sqlite3.DatabaseError as error:
            if not database.is_broken(error):
                self._drop(items, str(error))
            else:
                self._move_aside(error)
        except (RingcheckError, OSError) as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - a write with a bug must not hold up the others
            if what := limit_of(error):
                self._fail(f"{self.path}: {what}")
            else:
                self._drop(items, f"this is a bug in ringcheck: {type(error).__name__}: {one_line(str(error), 400)}")
        else:
            return True
        finally:
            if not self.loaded.done():
                self.loaded.set_result(None)
                self._lost = self._lost or "the state file could not be opened"
        return False

    def _open(self) -> None:
        if self._connection and not self._is_ours():
            self._release()
            self._lost = self._lost or f"{self.path} was removed or replaced"
        if self._connection:
            return
        self._lock = self._lock or database.locked(self.path)
        self._connection = database.connected(self.path)
        self._inode = self.path.stat().st_ino
        if not self._opened:
            facts, alive = entries.load_facts(self._connection), entries.last_stamp(self._connection)
            loaded = Loaded(facts, alive, load_evidence(self._connection))
            self._opened = True
            corrections = self._adopt(loaded)
            self._first = [lambda connection: entries.stamp(connection, self._now()), *filter(None, [corrections])]
            if not self.loaded.done():
                self.loaded.set_result(loaded)

    def _is_ours(self) -> bool:
        """Whether the file that is open still is the one at the path."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def _commit(self, items: list[Item]) -> None:
        with self._changed:
            lost, self._lost = self._lost, ""
            newest = dict(self._newest)
        writes = [*(write for write, _, _ in items), *newest.values()]
        if lost:
            writes = [self._restore(lost), *writes, self._restore("")]  # what waited may be older than what was lost
        writes = [*self._first, *writes]
        try:
            if writes:
                self._write(lambda connection: [write(connection) for write in writes])
        except BaseException:
            self._lost = self._lost or lost
            raise
        self._first = []
        if lost:
            self._report("lost", lost)
        self._remove(items, newest)
        if writes:
            self._checkpoints.want()
        if self._failing:
            self._failing = False
            self._report("works", "")

    def _write(self, write: Write) -> None:
        """Do a write in one transaction."""
        assert self._connection  # noqa: S101 - `_open` came first
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            write(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            raise

    def _remove(self, items: list[Item], newest: Mapping[tuple[str, str], Write]) -> None:
        with self._changed:
            self._newest = {key: write for key, write in self._newest.items() if newest.get(key) is not write}
            for _, weight, _ in items:
                self._queue.popleft()
                self._weight -= weight
                self._unchecked += weight
            self._oldest = time.monotonic() if self._queue else None
        for _, _, future in items:
            future.set_result(None)

    def _drop(self, items: list[Item], why: str) -> None:
        """Write items one by one, and give up those that can't be written, ever."""
        self._lost = self._lost or why
        done = 0
        for write, _, _ in items:
            try:
                self._write(write)
            except Exception as error:  # noqa: BLE001 - reported by `why`
                later = isinstance(error, sqlite3.OperationalError) or limit_of(error)
                if later or (isinstance(error, sqlite3.Error) and database.is_broken(error)):
                    break
            done += 1
        self._remove(items[:done], self._newest)  # `restore` writes documents anew
        self._fail(why)

    def _keep_house(self) -> None:
        """The sign of life each minute, expiry each hour, and the size."""
        now = time.monotonic()
        if now - self._alive >= ALIVE:
            self._alive = now
            self._write(lambda connection: entries.stamp(connection, self._now()))
        if now - self._hourly >= HOURLY:
            self._hourly = now
            oldest = self._now() - int(self._limits.keep * 1000)
            self._write(lambda connection: entries.expire(connection, oldest))
        if self._unchecked >= UNCHECKED:
            self._unchecked = 0
            self._write(lambda connection: entries.shrink(connection, self._limits.size - database.LOG_ROOM))

    def _now(self) -> int:
        return int(self._clock() * 1000)

    # Failures

    def _fail(self, why: str) -> None:
        """Note that the file can't be written; the items stay in the queue."""
        self._release(keep_lock=True)
        if not self._failing:
            self._failing = True
            self._report("failed", why)

    def _move_aside(self, error: sqlite3.Error) -> None:
        self._release(keep_lock=True)
        try:
            aside = database.move_aside(self.path)
        except OSError as problem:
            self._fail(f"{self.path} is broken ({error}) and can't be moved aside: {problem.strerror}")
            return
        self._report("broken", f"{self.path} was broken ({error}) and is now {aside}")
        self._lost = self._lost or "the state file was broken"
        self._failing = True  # a disk that breaks every file is not tried without a pause

    def _release(self, *, keep_lock: bool = False) -> None:
        if self._connection:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._lock and not keep_lock:
            self._lock.close()
            self._lock = None
