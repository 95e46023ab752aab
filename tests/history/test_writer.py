"""The state file: what is written is there, in order and within bounds; failures are reported and do not spread."""

from __future__ import annotations

import fcntl
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.transitions import Fact, Key, Known, Transition
from ringcheck.history import checkpoints, database, entries, reader, writer
from ringcheck.history.database import StateFileError
from ringcheck.history.entries import Changes, water_level
from ringcheck.history.levels import SaveEvidence
from ringcheck.history.reader import Question
from ringcheck.history.writer import Limits, Writer
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60.0
NODE = Key("node", "id-1")


def changes(number: int, cluster: str = "blogs", at: int | None = None, text: str = "") -> Changes:
    """One entry and one fact with this number."""
    entry = Transition(kind="node", subject="10.0.0.1", now=str(number), text=text)
    known = {NODE: Known(Fact(str(number), "10.0.0.1"), number)}
    return Changes(cluster=cluster, at=number if at is None else at, entries=[entry], facts=known, gone=())


class Kept:
    """A writer, what it reported, and the facts that it restores."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.reports: list[tuple[str, str]] = []
        self.writer = Writer(path, limits or Limits(), lambda state, why: self.reports.append((state, why)))
        self.state: entries.FullState = {"blogs": {NODE: Known(Fact("restored", "10.0.0.1"), 7)}}

    def start(self) -> None:
        def restore(why: str) -> writer.Write:
            def write(connection: sqlite3.Connection) -> None:
                entries.replace_facts(connection, self.state)
                gaps = [Transition(kind="gap", subject="blogs", text=why)] if why else []
                Changes(cluster="blogs", at=0, entries=gaps, facts={}, gone=())(connection)

            return write

        self.writer.start(restore)
        self.writer.loaded.result(PATIENCE)

    def write(self, *numbers: int) -> None:
        """Write entries, and wait until all are committed."""
        for number in numbers:
            self.writer.put(changes(number))
        await_(lambda: not self.writer._queue, PATIENCE, "the writer does not write")

    @property
    def states(self) -> list[str]:
        return [state for state, _ in self.reports]


@contextmanager
def kept(path: Path, limits: Limits | None = None) -> Iterator[Kept]:
    found = Kept(path, limits)
    found.start()
    try:
        yield found
    finally:
        found.writer.close(PATIENCE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make failed writes be retried soon."""
    monkeypatch.setattr(writer, "RETRY", 0.02)


def numbers(path: Path, **asked: object) -> list[str | None]:
    page = reader.page(path, Question(**{"cluster": "blogs", "order": "oldest", **asked}))  # type: ignore[arg-type]
    return [entry.change.now or entry.change.kind for entry in page.entries]


def fact(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        value: str = connection.execute("SELECT value FROM fact WHERE cluster = 'blogs'").fetchone()[0]
    return value


# What is written


@pytest.mark.slow
def test_what_is_committed_is_in_the_file(path: Path) -> None:
    """Another process can read it at once; soon afterwards it is synced."""
    with kept(path) as file:
        written = file.writer.put(changes(1))
        assert written
        written.result(PATIENCE)
        assert numbers(path) == ["1"]
        before = path.stat().st_mtime_ns
        file.write(2)
        await_(lambda: path.stat().st_mtime_ns != before, PATIENCE, "nothing is synced")
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert file.reports == []


def test_a_commit_waits_for_no_sync(path: Path) -> None:
    """It is in the log, which survives the process; a checkpoint syncs it while others can write."""
    with closing(database.connected(path)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("BEGIN IMMEDIATE")
        changes(1)(connection)
        connection.execute("COMMIT")
        before = path.read_bytes()
        connection.execute("BEGIN IMMEDIATE")  # as a writer in operation has
        checkpoints.checkpoint(path)
        assert path.read_bytes() != before
        connection.execute("ROLLBACK")
        assert connection.execute("PRAGMA user_version").fetchone() == (len(database.MIGRATIONS),)


def test_a_restart_knows_facts_and_the_last_sign_of_life(path: Path) -> None:
    """It knows facts with their times, and when the agent was last running."""
    with kept(path) as file:
        assert file.writer.loaded.result() == writer.Loaded({}, None)
        file.write(1, 2)
    with kept(path) as file:
        loaded = file.writer.loaded.result()
        assert loaded
        assert loaded.state == {"blogs": {NODE: Known(Fact("2", "10.0.0.1"), 2)}}
        assert loaded.alive is not None


def test_order_is_that_of_the_polls_whatever_the_clock_says(path: Path) -> None:
    """If the clock jumps back by an hour, later entries still come later, and keep their own times."""
    with kept(path) as file:
        for number, at in ((1, 3600_000), (2, 3601_000), (3, 1000), (4, 2000)):
            file.writer.put(changes(number, at=at))
        file.write()
        assert numbers(path) == ["1", "2", "3", "4"]
        assert numbers(path, order="newest") == ["4", "3", "2", "1"]
        assert numbers(path, since=3600_000) == ["1", "2"]
        assert numbers(path, until=3600_000) == ["3", "4"]


def test_an_id_is_never_given_twice(path: Path) -> None:
    """This holds even if the last entries were deleted, so that a cursor stays valid."""
    with kept(path) as file:
        file.write(1, 2, 3)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM entry WHERE id > 1")
        file.write(4)
        page = reader.page(path, Question(cluster="blogs", order="oldest"))
        assert [entry.id for entry in page.entries] == [1, 4]


def test_pages_have_every_entry_once(path: Path) -> None:
    """This holds in both directions; oldest first, a page always has a cursor, since later entries may come."""
    with kept(path) as file:
        file.write(*range(1, 8))
        for order, expected in (("oldest", "1234567"), ("newest", "7654321")):
            found, cursor = [], None
            while True:
                page = reader.page(path, Question(cluster="blogs", limit=3, cursor=cursor, order=order))  # type: ignore[arg-type]
                found += [entry.change.now for entry in page.entries]
                cursor = page.cursor
                if cursor is None or not page.entries:
                    break
            assert "".join(map(str, found)) == expected
        file.write(8)
        page = reader.page(path, Question(cluster="blogs", cursor=cursor, order="oldest", limit=1))
        assert [entry.change.now for entry in page.entries] == (["1"] if cursor is None else ["8"])
        assert numbers(path, kinds=("severity",)) == []
        assert numbers(path, cluster="other") == []


# Bounds


@pytest.mark.slow
def test_old_entries_expire_little_by_little(path: Path) -> None:
    """A tenth is removed at a time, so that a clock which is ahead for an hour does not cost the whole history."""
    with closing(database.connected(path)) as connection:
        for number in range(2000):
            changes(number)(connection)
        entries.expire(connection, before=1500)
        assert connection.execute("SELECT count(*), min(at) FROM entry").fetchone() == (1800, 200)
        for _ in range(50):
            entries.expire(connection, before=1500)
        assert connection.execute("SELECT count(*), min(at) FROM entry").fetchone() == (500, 1500)


@pytest.mark.slow
def test_a_cluster_that_flaps_costs_its_own_history(path: Path) -> None:
    """The file stays within its size, and the quiet cluster keeps everything."""
    size = 2**20
    with closing(database.connected(path)) as connection:
        for number in range(50):
            changes(number, "quiet")(connection)
        for number in range(20_000):
            changes(number, text="x" * 100)(connection)
            if number % 500 == 0:
                entries.shrink(connection, size)
        assert entries.used_bytes(connection) < size
        assert path.stat().st_size < size
        assert connection.execute("SELECT count(*) FROM entry WHERE cluster = 'quiet'").fetchone() == (50,)
        assert connection.execute("SELECT max(at) FROM entry WHERE cluster = 'blogs'").fetchone() == (19_999,)


@pytest.mark.parametrize(
    ("counts", "total", "level"), [([5, 100, 7], 30, 18), ([5, 5], 20, 5), ([], 3, 0), ([9, 9, 9], 6, 2), ([4], 0, 0)]
)
def test_the_water_level(counts: list[int], total: int, level: int) -> None:
    """The number of entries that each cluster may keep if all together may keep this many."""
    assert water_level(counts, total) == level
    assert sum(min(count, level) for count in counts) <= max(total, 0)


# What breaks


@pytest.mark.usefixtures("_impatient")
def test_a_full_disk_is_reported_once_and_then_all_is_written(path: Path) -> None:
    """Nothing that fits in the queue is lost, and no poll has to wait."""
    with kept(path) as file:
        file.write(1)
        with closing(sqlite3.connect(path)) as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
        full = threading.Event()
        connected = database.connected

        def on_full_disk(at: Path) -> sqlite3.Connection:
            connection = connected(at)
            if not full.is_set():
                connection.execute(f"PRAGMA max_page_count={pages}")
            return connection

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "connected", on_full_disk)
            file.writer.put(lambda connection: connection.execute(f"PRAGMA max_page_count={pages}"))
            file.write()
            for number in range(2, 200):
                file.writer.put(changes(number, text="x" * 290))
            await_(lambda: not file.writer.works, PATIENCE, "the disk is not full")
            assert file.writer.put(changes(200)) is None  # waiting is useless
            full.set()
            await_(lambda: file.writer.works, PATIENCE, "the writer does not go on")
        file.write()
        assert numbers(path, limit=1000) == [str(number) for number in range(1, 201)]
    assert file.states == ["failed", "works"]
    assert "full" in file.reports[0][1]


@pytest.mark.usefixtures("_impatient")
def test_what_does_not_fit_in_the_queue_is_a_gap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history says that changes are missing, and the facts are the current ones."""
    monkeypatch.setattr(writer, "MOST", 3)
    with kept(path) as file:
        file.write(1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the writer waits for the lock
            for number in range(2, 10):
                file.writer.put(changes(number))
            other.execute("ROLLBACK")
        await_(lambda: "lost" in file.states, PATIENCE, "nothing is missing")
        assert fact(path) == "restored"  # what waited is older
        file.write()
        assert "gap" in numbers(path)
        assert "9" not in numbers(path)


@pytest.mark.usefixtures("_impatient")
def test_documents_do_not_fill_the_queue(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file can't be written, only the newest of each waits, and changes are not lost because of them."""
    monkeypatch.setattr(writer, "MOST", 3)
    with kept(path) as file:
        file.write(1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the writer waits for the lock
            for at in range(100):
                for cluster in ("blogs", "gone"):
                    file.writer.keep(cluster, "counters", SaveEvidence.of(cluster, "counters", {"at": at}))
            file.writer.forget(["gone"])
            file.writer.put(changes(2))
            other.execute("ROLLBACK")
        file.write()
        assert numbers(path) == ["1", "2"]
        assert reader.evidence(path, "blogs") == {"counters": {"at": 99}}
        assert reader.evidence(path, "gone") == {}
        file.writer.keep("blogs", "counters", SaveEvidence.of("blogs", "counters", {"at": 100}))
        await_(lambda: not file.writer._newest, PATIENCE, "a document alone is not written")
        assert reader.evidence(path, "blogs") == {"counters": {"at": 100}}
    assert file.states == []


@pytest.mark.parametrize("damage", ["text", "cut", "zeros"])
def test_a_broken_file_is_moved_aside(path: Path, damage: str) -> None:
    """A new file with the current facts takes its place, and the old one can be examined."""
    with kept(path) as file:
        file.write(*range(1, 300))
    whole = path.read_bytes()
    broken = {
        "text": b"no database at all, but long enough to be read as one\n" * 100,
        "cut": whole[: len(whole) // 2],
        "zeros": whole[:4096] + bytes(len(whole) - 4096),
    }[damage]
    path.write_bytes(broken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "RETRY", 0.02)
        with kept(path) as file:
            assert file.writer.loaded.result() is None
            await_(lambda: file.writer.works and "lost" in file.states, PATIENCE, lambda: f"{file.reports}")
            assert numbers(path) == ["gap"]
            assert fact(path) == "restored"
    assert path.with_name("state.db.broken").read_bytes()[:100] == broken[:100]
    assert file.states == ["broken", "lost", "works"]


@pytest.mark.usefixtures("_impatient")
def test_a_reader_that_finds_the_file_broken_lets_it_be_checked(path: Path) -> None:
    """The writer moves it aside while it is running."""
    with kept(path) as file:
        file.write(*range(1, 300))
        file.writer.doubt()
        file.write()
        assert file.states == []
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = path.stat().st_size
        with path.open("r+b") as data:
            data.seek(4096)
            data.write(bytes(size - 4096))
        file.writer.doubt()
        await_(lambda: "works" in file.states, PATIENCE, lambda: f"{file.reports}")
    assert file.states[0] == "broken"


@pytest.mark.usefixtures("_impatient")
def test_a_file_that_is_removed_is_made_again(path: Path) -> None:
    """Otherwise writes to a deleted file would be lost without notice."""
    with kept(path) as file:
        file.write(1)
        path.unlink()
        file.write(2)
        assert numbers(path) == ["gap", "2"]
    assert [state for state, _ in file.reports] == ["lost"]


@pytest.mark.parametrize(
    ("statement", "why"),
    [("PRAGMA user_version=99", "newer release"), ("PRAGMA application_id=7", "another program")],
    ids=["newer", "foreign"],
)
def test_a_file_that_is_not_ours_is_not_touched(path: Path, statement: str, why: str) -> None:
    """It is neither moved aside nor written to, and the log has the reason."""
    with kept(path) as file:
        file.write(1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    with kept(path) as file:
        assert file.writer.loaded.result() is None
        file.writer.put(changes(2))
    assert path.read_bytes() == before
    assert file.states == ["failed"]
    assert why in file.reports[0][1]


def test_two_agents_do_not_share_a_file(path: Path) -> None:
    """The second agent goes on without a file; the lock ends with its process."""
    with kept(path) as file, kept(path) as second:
        file.write(1)
        assert second.writer.loaded.result() is None
        assert second.states == ["failed"]
        assert "in use by another agent" in second.reports[0][1]
    with kept(path) as third:
        assert third.states == []


@pytest.mark.usefixtures("_impatient")
def test_a_file_that_is_opened_late_is_read_before_it_is_written(path: Path) -> None:
    """The facts that it held are passed on once, and those that are restored are written after that."""
    adopted: list[entries.FullState] = []
    with kept(path) as file:
        file.write(1)
    second = Kept(path)
    with database.locked(path):
        second.writer.start(lambda _: changes(7), lambda loaded: adopted.append(loaded.state))
        assert second.writer.loaded.result(PATIENCE) is None
        assert adopted == []
    await_(lambda: "lost" in second.states, PATIENCE, "the file is not opened")
    second.write(2)
    path.unlink()
    second.write(3)
    assert second.writer.close(PATIENCE)
    assert adopted == [{"blogs": {NODE: Known(Fact("1", "10.0.0.1"), 1)}}]


def test_a_folder_that_is_missing_is_reported(tmp_path: Path) -> None:
    """It is reported once, with its path."""
    with kept(tmp_path / "none" / "state.db") as file:
        pass
    assert file.states == ["failed"]
    assert str(tmp_path / "none") in file.reports[0][1]


@pytest.mark.usefixtures("_impatient")
def test_a_write_with_a_bug_does_not_hold_up_the_others(path: Path) -> None:
    """It is dropped and reported, and the history says that something is missing."""
    with kept(path) as file:
        file.write(1)
        file.writer.put(lambda connection: connection.execute("SELECT ?"))
        file.write(2)
        await_(lambda: "works" in file.states, PATIENCE, lambda: f"{file.reports}")
        file.write(3)
        assert numbers(path)[-1] == "3"
        assert "gap" in numbers(path)


@pytest.mark.usefixtures("_impatient")
def test_a_write_with_a_bug_costs_only_itself(path: Path) -> None:
    """Those that waited with it are written, in their order."""
    with kept(path) as file:
        file.write(1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # so that all three are in one transaction
            for write in (changes(2), lambda connection: connection.execute("SELECT ?"), changes(3)):
                file.writer.put(write)
            other.execute("ROLLBACK")
        await_(lambda: "works" in file.states, PATIENCE, lambda: f"{file.reports}")
        assert [number for number in numbers(path) if number != "gap"] == ["1", "2", "3"]


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("with_a_bug", [False, True])
def test_a_write_without_memory_is_repeated(path: Path, *, with_a_bug: bool) -> None:
    """The host is at a limit for a time: nothing is lost, and no bug is reported."""
    room = threading.Event()

    def write(connection: sqlite3.Connection) -> None:
        if not room.is_set():
            raise MemoryError
        changes(2)(connection)

    with kept(path) as file:
        file.write(1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # so that all are in one transaction
            if with_a_bug:
                file.writer.put(lambda connection: connection.execute("SELECT ?"))
            file.writer.put(write)
            file.writer.put(changes(3))
            other.execute("ROLLBACK")
        await_(lambda: not file.writer.works, PATIENCE, "the write does not fail")
        time.sleep(0.1)  # some attempts
        room.set()
        await_(lambda: file.writer.works, PATIENCE, "the writer does not go on")
        file.write()
        assert [number for number in numbers(path) if number != "gap"] == ["1", "2", "3"]
    if not with_a_bug:
        assert file.reports[0][1] == f"{path}: this host is at a limit: out of memory"


def test_a_hanging_disk_delays_no_poll(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a write has waited too long, later polls do not wait; in the end everything is written."""
    go = threading.Event()
    monkeypatch.setattr(writer, "BEHIND", 0.0)
    with kept(path) as file:
        file.writer.put(lambda _: go.wait(PATIENCE))
        assert file.writer.put(changes(1)) is None
        go.set()
        file.write(2)
        assert numbers(path) == ["1", "2"]


# Reading


def test_what_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    """The error is one line with the path; a broken file is recognised as such."""
    for name, content, broken in (("none", None, False), ("text", b"x" * 5000, True), ("empty", b"", False)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(StateFileError, match=name) as found:
            reader.page(tmp_path / name, Question(cluster="blogs"))
        assert found.value.broken is broken


def test_the_lock_is_not_on_the_database(path: Path) -> None:
    """If it were, closing the database a second time would drop SQLite's own locks."""
    with database.locked(path) as lock:
        assert lock.name.endswith("state.db.lock")
        with path.with_name("state.db.lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


# kill -9


@pytest.mark.slow
def test_nothing_is_lost_by_a_kill() -> None:
    """Some agents are killed under load; `python -m tests.history.killed` kills 200."""
    command = [sys.executable, "-m", "tests.history.killed", "--count", "5"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 agents killed" in done.stdout
    assert " 0 lost" in done.stdout
