"""health: what its options add to the output."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ringcheck.cli import run

ONE_DOWN = str(Path(__file__).parents[1] / "snapshots" / "article-one-down.json")


def test_ranges_lists_what_the_table_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """For the chosen keyspaces and levels there are as many lines as the table counts; without the option none."""
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


def at_a_terminal(*words: str, **environment: str) -> str:
    """What a command prints at a terminal of 70 columns."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "wb") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "ringcheck", *words, "--from", ONE_DOWN]
        settings = {**os.environ, "COLUMNS": "70", "TERM": "xterm", **environment}
        if "NO_COLOR" not in environment:
            settings.pop("NO_COLOR", None)
        subprocess.run(command, stdout=terminal, stderr=subprocess.DEVNULL, env=settings, check=False, timeout=60)
        return screen.read(65536).decode().replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["health"], ["preflight", "10.0.0.2"], ["plan"], ["risk", "--node-mtbf", "180d", "--repair", "4h"],
        ["what-if", "10.0.0.2"], ["ring", "blog_1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_lines_fit_a_terminal_and_stay_whole_elsewhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """At 80 columns lines break between words; in a pipe every sentence is on one line."""
    run([*words, "--from", ONE_DOWN])
    whole = capsys.readouterr().out
    shown = at_a_terminal(*words, COLUMNS="80", NO_COLOR="1")
    assert max(map(len, whole.splitlines())) > 80 >= max(map(len, shown.splitlines()))
    assert shown.split() == whole.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["check"], "CRITICAL"), (["health"], "CRITICAL"), (["preflight", "10.0.0.2"], "UNSAFE"), (["plan"], "REFUSED"),
        (["risk"], "RISK"), (["what-if", "10.0.0.2"], "CRITICAL"), (["nodes"], "down"),
    ],
)  # fmt: skip
def test_all_commands_follow_the_same_rules_at_a_terminal(words: list[str], word: str) -> None:
    """All use colours and the terminal's width, even under the second process of `check`; NO_COLOR disables colours."""
    painted, plain = at_a_terminal(*words), at_a_terminal(*words, NO_COLOR="1")
    assert re.search(rf"\x1b\[[0-9;]+m{word}\x1b\[0m", painted)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 70


def test_problems_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """The text shows only what is not OK; a document is always complete."""
    assert run(["health", "--from", ONE_DOWN, "--problems"]) == 2
    assert "blog_3" not in capsys.readouterr().out
    assert run(["health", "--from", ONE_DOWN, "--problems", "--format", "json"]) == 3
    assert "--problems shortens the text" in capsys.readouterr().err


def test_an_empty_pattern_is_shown_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """It comes from a variable of the shell that was never set, and matches nothing."""
    assert run(["health", "--from", ONE_DOWN, ""]) == 3
    assert "no keyspace matches '' (known: blog_1, blog_3)" in capsys.readouterr().out
