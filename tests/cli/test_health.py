"""health: what its options add to the output."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ringcheck.cli import run

if TYPE_CHECKING:
    import pytest

ONE_DOWN = str(Path(__file__).parents[1] / "snapshots" / "article-one-down.json")


def test_ranges_lists_what_the_table_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """For the chosen keyspaces and levels, as many lines as the table counts; without the option none."""
    arguments = ["health", "--from", ONE_DOWN, "blog_1", "--level", "ALL"]
    assert run(arguments) == 2
    plain = capsys.readouterr().out
    assert run([*arguments, "--ranges"]) == 2
    shown = capsys.readouterr().out
    assert shown.startswith(plain)
    heads = [line for line in shown.splitlines() if line.startswith("Unavailable ranges of ")]
    assert heads == [
        "Unavailable ranges of blog_1 at LOCAL_ONE in dc1: 256",
        "Unavailable ranges of blog_1 at LOCAL_QUORUM in dc1: 256",
        "Unavailable ranges of blog_1 at ALL: 256",
    ]
    assert len(shown[len(plain) :].splitlines()) == 1 + 3 * (1 + 256)


def test_lines_fit_a_terminal_and_stay_whole_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines break between words at 80 columns; in a pipe every sentence is on one line."""
    assert run(["health", "--from", ONE_DOWN]) == 2
    whole = capsys.readouterr().out
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "wb") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "ringcheck", "health", "--from", ONE_DOWN]
        environment = os.environ | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm"}
        subprocess.run(command, stdout=terminal, stderr=subprocess.DEVNULL, env=environment, check=False, timeout=30)
        shown = screen.read(65536).decode().replace("\r\n", "\n")
    assert max(map(len, whole.splitlines())) > 80 >= max(map(len, shown.splitlines()))
    assert shown.split() == whole.split()
