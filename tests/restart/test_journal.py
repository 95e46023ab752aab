"""The journal: what follows from its lines, and how a bad file is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ringcheck.errors import DataError, UsageError
from ringcheck.restart.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


def begun(path: Path) -> Journal:
    journal = Journal(path)
    journal.write("begin", run="r1", owner="me@here r1", cluster="c", nodes=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    return journal


def test_done_and_begun_nodes_are_told_apart(tmp_path: Path) -> None:
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
        "10.0.0.2", "b", 6, True, 77, 99, False,
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
    """A journal may have several runs; the nodes of an earlier run are not those of the last one."""
    journal = begun(tmp_path / "j")
    journal.write("back", node="10.0.0.1", seconds=1)
    journal.write("begin", run="r2", owner="o", cluster="c", nodes=["10.0.0.9"])
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.run, past.nodes, past.done) == ("r2", ("10.0.0.9",), [])


def test_half_a_line_counts_as_not_written(tmp_path: Path) -> None:
    """A run that was killed while it wrote a line had not done what the line announces; later lines stay whole."""
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
    """The second run is refused as long as the first has the journal open."""
    first = begun(tmp_path / "j")
    with pytest.raises(UsageError, match="in use by another roll"):
        Journal(tmp_path / "j")
    first.close()
    Journal(tmp_path / "j").close()


@pytest.mark.parametrize("content", ["hello\n", '{"a": 1}\n', "[1]\n", "hello", '{"schema":"ringcheck/journal/1"}\n'])
def test_another_file_is_not_written_to(tmp_path: Path, content: str) -> None:
    """A file that is not a journal stays as it is."""
    path = tmp_path / "j"
    path.write_text(content)
    with pytest.raises(DataError):
        Journal(path)
    assert path.read_text() == content


def test_a_journal_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    """Without a journal no run is begun."""
    with pytest.raises(UsageError, match="can't be written"):
        Journal(tmp_path / "missing" / "j")
