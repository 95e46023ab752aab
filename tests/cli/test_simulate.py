"""simulate: its help lists what the simulator has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ringcheck.cli import run
from ringcheck.simulator.cluster import PHASES
from ringcheck.simulator.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.mark.parametrize(
    ("command", "word", "names"),
    [
        # A reply of another node needs that node's name, for which the command has no option.
        ("fault", "KIND", [kind for kind in KINDS if kind != "wrong-node"]),
        ("hold", "PHASE", PHASES[:-1]),  # the last phase is the end of a startup
    ],
)
def test_help_lists_all_kinds_and_phases(
    command: str, word: str, names: Iterable[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them are listed, in the simulator's order, and no others."""
    assert run(["simulate", command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    *most, last = names
    assert f"A {word} is {', '.join(most)} or {last}" in text
