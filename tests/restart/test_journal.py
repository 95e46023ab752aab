"""The journal: the conclusions from its lines, and how a bad file is refused."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.errors import DataError, UsageError
from ringcheck.restart.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


def begun(path: Path) -> Journal:
    journal = Journal(path)
    journal.write("begin", run="r1", owner="me@here r1", cluster="c", nodes=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    return journal


def test_done_and_begun_nodes_are_distinguished(tmp_path: Path) -> None:
    """A node that is back is done; a node whose command was started is begun, with the command's process."""
    journal = begun(tmp_path / "j")
    journal.write("stopping", node="10.0.0.1", host_id="a", started_at=5)
    journal.write("back", node="10.0.0.1", seconds=3)
    journal.write("stopping", node="10.0.0.2", host_id="b", started_at=6)
    journal.write("drained", node="10.0.0.2")
    journal.write("command", node="10.0.0.2", words=["x"], pid=77, born=99)
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.run, past.owner, past.done, past.ended) == ("r1", "me@here r1", ["10.0.0.1"], False)
    [node] = past.begun.values()
    assert (node.node, node.host_id, node.started_at, node.drained, node.pid, node.born, node.ran) == (
        "10.0.0.2", "b", 6, True, 77, 99, None,
    )  # fmt: skip


def test_only_status_0_counts_as_a_command_that_ran(tmp_path: Path) -> None:
    """A command with another status, or with none, may not have restarted its node."""
    for status, ran in ((0, True), (1, False), (None, False)):
        journal = begun(tmp_path / str(status))
        journal.write("stopping", node="10.0.0.1", host_id="a", started_at=5)
        journal.write("command", node="10.0.0.1", words=["x"], pid=1, born=2)
        journal.write("command_ended", node="10.0.0.1", status=status, output="", problem="")
        journal.close()
        assert Journal(tmp_path / str(status)).past.begun["10.0.0.1"].ran is ran


@pytest.mark.parametrize(("outcome", "ended"), [("done", True), ("failed", False), ("interrupted", False)])
def test_a_run_that_is_not_done_can_be_resumed(tmp_path: Path, outcome: str, *, ended: bool) -> None:
    """Only the outcome `done` ends a run for good."""
    journal = begun(tmp_path / "j")
    journal.write("end", outcome=outcome, why="", seconds=1)
    journal.close()
    assert Journal(tmp_path / "j").past.ended is ended


def test_the_last_run_counts(tmp_path: Path) -> None:
    """A journal may have several runs; the nodes of an earlier run do not belong to the last one."""
    journal = begun(tmp_path / "j")
    journal.write("back", node="10.0.0.1", seconds=1)
    journal.write("begin", run="r2", owner="o", cluster="c", nodes=["10.0.0.9"])
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.run, past.nodes, past.done) == ("r2", ("10.0.0.9",), [])


def test_half_a_line_counts_as_not_written(tmp_path: Path) -> None:
    """A run that was killed while it wrote a line had not done what the line announces; later lines are complete."""
    path = tmp_path / "j"
    begun(path).close()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"schema": "ringcheck/journal/1","event":"stopping","node":"10.0')
    journal = Journal(path)
    assert journal.past.begun == {}
    journal.write("end", outcome="done", why="", seconds=0)
    journal.close()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["begin", "end"]


def test_no_two_runs_share_a_journal(tmp_path: Path) -> None:
    """The second run is refused as long as the first one has the journal open."""
    first = begun(tmp_path / "j")
    with pytest.raises(UsageError, match="in use by another roll"):
        Journal(tmp_path / "j")
    first.close()
    Journal(tmp_path / "j").close()


def test_a_torn_end_of_any_bytes_is_dropped(tmp_path: Path) -> None:
    """A file system may leave zeros, foreign bytes or half a character in place of the last line."""
    ends = (b"\0" * 500, b"\xff\xfe", '{"event": "\u00e9'.encode()[:-1], b"{", b'{"schema": "x"}')
    for number, torn in enumerate(ends):
        path = tmp_path / str(number)
        begun(path).close()
        whole = path.read_bytes()
        path.write_bytes(whole + torn)
        journal = Journal(path)
        assert journal.past.run == "r1"
        journal.close()
        assert path.read_bytes() == whole


LINE = b'{"schema": "ringcheck/journal/1", "time": "t", "event": '
DAMAGED = {
    "zeros": b"\0\0\0",
    "not UTF-8": b'{"schema": "\xff"}',
    "cut off": LINE + b'"stopp',
    "two lines in one": LINE + b'"pause"}' + LINE + b'"pause"}',
    "nested": b"[" * 100_000,
    "of another program": b'{"a": 1}',
    "no event": LINE + b"1}",
    "no node": LINE + b'"back"}',
    "no pid": LINE + b'"command", "node": "10.0.0.1", "pid": "7"}',
    "no start time": LINE + b'"stopping", "node": "10.0.0.1", "host_id": null}',
    "nodes": LINE + b'"begin", "run": "r", "owner": "o", "cluster": "c", "nodes": [1]}',
    "counters of no node": LINE + b'"counters", "errors": []}',
    "counters that are no numbers": LINE + b'"counters", "errors": {"a": {"x": "1"}}}',
    "counters that are no counters": LINE + b'"counters", "errors": {"a": 1}}',
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_named_with_the_way_on(tmp_path: Path, line: bytes) -> None:
    """The line may be about a node that is down: no run is resumed, and the file stays as it is."""
    path = tmp_path / "j"
    begun(path).close()
    content = path.read_bytes()
    path.write_bytes(content + line + b"\n" + content)
    with pytest.raises(DataError) as caught:
        Journal(path)
    assert str(caught.value).startswith(f"{path}:2: the line is damaged: ")
    assert "begin a new roll of the nodes that are left with another --journal" in str(caught.value)
    assert path.read_bytes() == content + line + b"\n" + content
    path.write_bytes(content)
    Journal(path).close()  # no longer locked


def full_disk(monkeypatch: pytest.MonkeyPatch, journal: Journal, room: int) -> None:
    """Let the journal's file grow by only this many bytes."""
    write = os.write

    def bounded(file: int, data: Any) -> int:
        nonlocal room
        if file != journal._file:
            return write(file, data)
        if not room:
            raise OSError(28, "No space left on device")
        written = write(file, bytes(data[:room]))
        room -= written
        return written

    monkeypatch.setattr(os, "write", bounded)


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_line_that_finds_no_room_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """The error says that the journal can't be written; once there is room the journal goes on, complete."""
    path = tmp_path / "j"
    journal = begun(path)
    with monkeypatch.context() as patched:
        full_disk(patched, journal, room)
        for _ in range(2):
            with pytest.raises(UsageError) as caught:
                journal.write("stopping", node="10.0.0.1", host_id="a", started_at=5)
            assert str(caught.value) == f"the journal {path} can't be written: No space left on device"
    journal.write("pause", seconds=1)
    journal.close()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["begin", "pause"]


def test_what_could_not_be_cut_off_is_cut_off_by_the_next_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is ever written after half a line."""
    path = tmp_path / "j"
    journal = begun(path)
    with monkeypatch.context() as patched:
        full_disk(patched, journal, 40)
        patched.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(UsageError):
            journal.write("pause", seconds=1)
    assert not path.read_bytes().endswith(b"\n")
    journal.write("pause", seconds=2)
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["begin", "pause"]
    journal.close()


def test_each_line_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a line could not be synced, it is not in the file."""
    journal = begun(tmp_path / "j")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal.write("pause", seconds=1)
    assert synced == [journal._file]
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(UsageError, match="can't be written: Input/output error"):
        journal.write("pause", seconds=2)
    journal.close()
    assert (tmp_path / "j").read_text().count("\n") == 2


@pytest.mark.parametrize("content", ["hello\n", '{"a": 1}\n', "[1]\n", "hello", '{"schema":"ringcheck/journal/1"}\n'])
def test_another_file_is_not_written_to(tmp_path: Path, content: str) -> None:
    """A file that is not a journal stays as it is."""
    path = tmp_path / "j"
    path.write_text(content)
    with pytest.raises(DataError):
        Journal(path)
    assert path.read_text() == content


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full", "/dev/zero", "pipe"])
def test_a_device_or_a_pipe_is_refused(tmp_path: Path, path: str) -> None:
    """Reading it might never end, and what is written to it is lost."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a regular file"):
        Journal(tmp_path / path)


def test_a_journal_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    """No run is begun without a journal."""
    with pytest.raises(UsageError, match="can't be written"):
        Journal(tmp_path / "missing" / "j")


def test_a_batch_that_has_not_passed_is_kept_with_its_counters(tmp_path: Path) -> None:
    """Only `passed`, or an end that names the errors of clients, ends it."""
    journal = begun(tmp_path / "j")
    journal.write("counters", errors={"a": {"Read-QUORUM Unavailables": 3}, "b": {}})
    journal.write("stopping", node="10.0.0.1", host_id="a", started_at=5)
    journal.write("stopping", node="10.0.0.2", host_id=None, started_at=5)
    journal.write("back", node="10.0.0.1", seconds=3)
    journal.write("end", outcome="interrupted", why="", seconds=1)
    journal.close()
    journal = Journal(tmp_path / "j")
    past = journal.past
    assert past.unpassed
    assert (past.unpassed.nodes, past.unpassed.restarted) == (["10.0.0.1", "10.0.0.2"], {"a", "10.0.0.2"})
    assert {node: counters.errors for node, counters in past.unpassed.before.items()} == {
        "a": {("Read-QUORUM", "Unavailables"): 3}, "b": {},
    }  # fmt: skip
    journal.write("passed", nodes=["10.0.0.1"])
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.unpassed, past.passed) == (None, True)


def test_errors_of_clients_are_known_to_the_operator_once_the_run_has_ended(tmp_path: Path) -> None:
    """A run that was killed before it could record its end has not reported them."""
    journal = begun(tmp_path / "j")
    journal.write("counters", errors={"a": {}})
    journal.write("clients", errors={"Read-QUORUM Unavailables": 3}, seconds=1, excess="clients got errors")
    journal.close()
    journal = Journal(tmp_path / "j")
    assert (journal.past.suffered, journal.past.unpassed is None) == ("clients got errors", False)
    journal.write("end", outcome="failed", why="clients got errors", seconds=1)
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.suffered, past.unpassed, past.passed) == ("", None, False)


def test_a_journal_of_an_older_release_can_be_resumed(tmp_path: Path) -> None:
    """It has neither `counters` nor `passed`: the next batch is a canary again, if the operator wants one."""
    journal = begun(tmp_path / "j")
    journal.write("stopping", node="10.0.0.1", host_id="a", started_at=5)
    journal.write("back", node="10.0.0.1", seconds=3)
    journal.write("clients", errors={"Read-QUORUM Unavailables": 3}, seconds=1)
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.done, past.unpassed, past.suffered, past.passed) == (["10.0.0.1"], None, "", False)
