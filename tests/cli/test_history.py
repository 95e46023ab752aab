"""`ringcheck history`: which history is read, and what is refused."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ringcheck.cli import run
from ringcheck.core.transitions import Transition
from ringcheck.history import database, reader
from ringcheck.history.entries import Changes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with two clusters, and a state file with five entries of one of them."""
    with closing(database.connected(tmp_path / "state.db")) as connection:
        for number in range(5):
            change = Transition(kind="severity" if number % 2 else "node", subject="x", now=str(number))
            Changes(cluster="blogs", at=number * 1000, entries=[change], facts={}, gone=())(connection)
    path = tmp_path / "ringcheck.yaml"
    clusters = "".join(f"  {name}: {{jolokia: {{contact_points: [10.0.0.1]}}}}\n" for name in ("blogs", "other"))
    path.write_text(f"clusters:\n{clusters}agent: {{state: state.db}}\n")
    return path


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run(["history", *words]) == code
    out, err = capsys.readouterr()
    assert not (err if code == 0 else out)
    return out + err


def test_the_file_of_the_configuration_is_read(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the last changes, the newest last; a cluster without history has none."""
    target = ["-C", str(config), "--cluster", "blogs"]
    assert printed(capsys, *target, "--limit", "2") == (
        "blogs: the last 2 changes; --limit shows more\n1970-01-01 00:00:03  3\n1970-01-01 00:00:04  x is 4 (new)\n"
    )
    assert printed(capsys, *target, "--kind", "severity").splitlines()[0] == "blogs: 2 changes"
    assert printed(capsys, *target, "--since", "1h") == "blogs: 0 changes\n"
    assert printed(capsys, "-C", str(config), "--cluster", "other") == "other: 0 changes\n"


def test_more_than_a_page_is_read(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages are read, and each entry is printed once."""
    monkeypatch.setattr(reader, "MOST", 2)
    text = printed(capsys, "-C", str(config), "--cluster", "blogs")
    assert [line[17:19] for line in text.splitlines()[1:]] == ["00", "01", "02", "03", "04"]
    assert text.startswith("blogs: 5 changes\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--agent", "http://127.0.0.1:1", "--state", "x"], "name --agent or --state, not both"),
        (["--since", "soon"], "--since: 'soon' is not a time"),
        (["--kind", "weather"], "there is no kind of change 'weather'"),
        (["--state", "/nowhere/state.db"], "/nowhere/state.db can't be read: No such file or directory"),
        (["-H", "10.0.0.1"], "does not take --host: the history is the agent's"),
        (["--proxy", "http://127.0.0.1:1/jolokia"], "does not take --proxy: the history is the agent's"),
        (["--from", "x"], "does not take --from: a snapshot has no past"),
    ],
)
def test_what_is_refused(config: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    """Each error is one line, with exit code 3."""
    text = printed(capsys, "-C", str(config), "--cluster", "blogs", *words, code=3)
    assert text.startswith("UNKNOWN - ")
    assert why in text
    assert text.count("\n") == 1


def test_a_configuration_without_a_state_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what else can be named."""
    path = tmp_path / "ringcheck.yaml"
    path.write_text("clusters:\n  blogs: {jolokia: {contact_points: [10.0.0.1]}}\n")
    assert "has no `agent: {state: FILE}`: name the state file with --state" in printed(capsys, "-C", str(path), code=3)
