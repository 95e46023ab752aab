"""Completion: what shells offer for options, levels, codes, files, and names in a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from ringcheck.cli import COMMANDS, COMPLETING, ringcheck
from ringcheck.cli.completion import NAMED, OFFERS, Completed, complete

ROOT = Path(__file__).parents[2]
SEEN = ["--from", str(ROOT / "tests" / "snapshots" / "article-one-down.json")]
CONFIG = ["-C", str(ROOT / "config" / "ringcheck.yaml")]


@pytest.fixture(autouse=True)
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the environment that of a process which a shell has started for completion."""
    monkeypatch.setenv(COMPLETING, "bash_complete")


def offered(*words: str, incomplete: str = "") -> list[str]:
    """What the shell offers after these words."""
    items = BashComplete(ringcheck, {}, "ringcheck", COMPLETING).get_completions(list(words), incomplete)
    return [f"<{item.type}>" if item.type != "plain" else str(item.value) for item in items]


NODES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        (["health", "--level"], "local_q", ["LOCAL_QUORUM"]), (["health", "--level"], "al", ["ALL", "all"]),
        (["check", "-w"], "Q", ["QUORUM"]), (["preflight", "--level"], "EACH", ["EACH_QUORUM"]),
        (["preflight", "--allow"], "node_", ["node_down_elsewhere"]), (["history", "--kind"], "sev", ["severity"]),
        (["health", "-C"], "r", ["<file>"]), (["health", "--from"], "", ["<file>"]),
        (["snapshot", "-o"], "x", ["<file>"]), (["config", "check"], "x", ["<file>"]),
        (["ring", "x", "--svg"], "", ["<file>"]), (["health", "--password-file"], "", ["<file>"]),
        (["health", *CONFIG, "--cluster"], "", ["legacy", "orders-prod", "search-prod"]),
        (["config", "show", *CONFIG, "--cluster"], "o", ["orders-prod"]),
        (["health", *SEEN, "-k"], "blog_", ["blog_1", "blog_3"]), (["health", *SEEN], "blog_3", ["blog_3"]),
        (["ring", *SEEN], "", ["blog_1", "blog_3"]), (["preflight", *SEEN, "--accept"], "", ["blog_1", "blog_3"]),
        (["preflight", *SEEN], "10", NODES), (["plan", *SEEN, "10.0.0.1"], "", NODES), (["nodes", *SEEN], "", NODES),
        (["status", *SEEN], "10.0.0.2", ["10.0.0.2"]), (["health", *SEEN, "--view"], "", NODES),
        (["what-if", *SEEN, "--down"], "10.0.0.1,", [f"10.0.0.1,{name}" for name in NODES]),
        (["preflight", *SEEN, "--rack"], "", ["r0", "r1", "r2"]), (["health", *SEEN, "--dc"], "", ["dc1"]),
        (["what-if", *SEEN, "--down-dc"], "d", ["dc1"]), (["health", "--prob"], "--prob", ["--problems"]),
    ],
)  # fmt: skip
def test_what_is_offered(words: list[str], incomplete: str, expected: list[str]) -> None:
    """Each kind of placeholder has its own words."""
    assert offered(*words, incomplete=incomplete) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["health", "--from", "/nowhere", "-k"], ["preflight", "-H", "127.0.0.1:1"], ["preflight", "-C", "/nowhere"],
        ["health", "-C", "/nowhere", "--cluster"], ["preflight"], ["simulate", "down"], ["demo", "--pause"],
    ],
)  # fmt: skip
def test_a_cluster_that_can_not_be_asked_has_no_names(words: list[str]) -> None:
    """No error is printed into the user's command line."""
    assert offered(*words) == []


def test_every_placeholder_that_names_something_is_offered() -> None:
    """In any command, an option or argument with such a placeholder is completed with its words."""
    context = click.Context(ringcheck)
    found: set[str] = set()
    for name in COMMANDS:
        command = ringcheck.get_command(context, name)
        assert command
        complete(command)
        pending = [command]
        while pending:
            current = pending.pop()
            pending += current.commands.values() if isinstance(current, click.Group) else ()
            for param in current.params:
                place = param.metavar or param.human_readable_name.upper()
                if place in OFFERS or param.name in NAMED:
                    assert isinstance(param.type, Completed), f"{current.name} {param.name}"
                    found |= {place, param.name or ""}
    assert {"FILE", "LEVEL", "LEVEL|all", "CODE", "KIND", "[NODE]...", "GLOB", "DC", "RACK", "cluster", "view"} <= found


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell: str) -> None:
    """It is printed with exit code 0, and calls this program."""
    environment = {**os.environ, COMPLETING: f"{shell}_source"}
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck"], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert f"{COMPLETING}={shell}_complete" in done.stdout


def test_a_shell_gets_its_words(tmp_path: Path) -> None:
    """A complete process gets them, started as by bash."""
    line = f"ringcheck preflight {' '.join(SEEN)} 10.0.0"
    environment = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck"], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == [f"plain,{name}" for name in NODES]
