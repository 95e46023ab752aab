"""The journal: what may be concluded from it, and what happens to a bad one."""

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


def test_what_was_done_and_what_was_begun(tmp_path: Path) -> None:
    """Nodes that are back are done; one whose command was started is begun, with the process that ran it."""
    journal = begun(tmp_path / "j")
    journal.write("stopping", node="10.0.0.1", host_id="a", started_at=5)
    journal.write("back", node="10.0.0.1", seconds=3)
    journal.write("stopping", node="10.0.0.2", host_id="b", started_at=6)
    journal.write("drained", node="10.0.0.2")
    journal.write("command", node="10.0.0.2", words=["x"], pid=77, born=99)
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.run, past.owner, past.done, past.ended) == ("r1", "me@here r1", ["10.0.0.1"], False)
    [one] = past.begun.values()
    assert (one.node, one.host_id, one.started_at, one.drained, one.pid, one.born, one.ran) == (
        "10.0.0.2", "b", 6, True, 77, 99, False,
    )  # fmt: skip


def test_a_command_that_ended_well_and_one_that_did_not(tmp_path: Path) -> None:
    """Only status 0 is the word that a restart was ordered."""
    for status, ran in ((0, True), (1, False), (None, False)):
        journal = begun(tmp_path / str(status))
        journal.write("stopping", node="10.0.0.1", host_id="a", started_at=5)
        journal.write("command", node="10.0.0.1", words=["x"], pid=1, born=2)
        journal.write("command_ended", node="10.0.0.1", status=status, output="", problem="")
        journal.close()
        assert Journal(tmp_path / str(status)).past.begun["10.0.0.1"].ran is ran


@pytest.mark.parametrize(("outcome", "ended"), [("done", True), ("failed", False), ("interrupted", False)])
def test_only_done_is_the_end(tmp_path: Path, outcome: str, *, ended: bool) -> None:
    """Whatever else a run ended with, it can be continued."""
    journal = begun(tmp_path / "j")
    journal.write("end", outcome=outcome, why="", seconds=1)
    journal.close()
    assert Journal(tmp_path / "j").past.ended is ended


def test_the_last_run_counts(tmp_path: Path) -> None:
    """A journal may have several runs; what an earlier one did is over."""
    journal = begun(tmp_path / "j")
    journal.write("back", node="10.0.0.1", seconds=1)
    journal.write("begin", run="r2", owner="o", cluster="c", nodes=["10.0.0.9"])
    journal.close()
    past = Journal(tmp_path / "j").past
    assert (past.run, past.nodes, past.done) == ("r2", ("10.0.0.9",), [])


def test_half_a_line_is_what_was_not_done(tmp_path: Path) -> None:
    """A run that was killed while it wrote had not yet done what it was about to tell; later lines stay whole."""
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
    """The second is refused as long as the first has it."""
    first = begun(tmp_path / "j")
    with pytest.raises(UsageError, match="in use by another roll"):
        Journal(tmp_path / "j")
    first.close()
    Journal(tmp_path / "j").close()


@pytest.mark.parametrize("content", ["hello\n", '{"a": 1}\n', "[1]\n", "hello", '{"schema":"ringcheck/journal/1"}\n'])
def test_another_file_is_not_written_to(tmp_path: Path, content: str) -> None:
    """A file that is no journal stays as it is."""
    path = tmp_path / "j"
    path.write_text(content)
    with pytest.raises(DataError):
        Journal(path)
    assert path.read_text() == content


def test_a_journal_that_can_not_be_written(tmp_path: Path) -> None:
    """Nothing is begun that could not be told."""
    with pytest.raises(UsageError, match="can't be written"):
        Journal(tmp_path / "missing" / "j")
