"""simulate: its help names what the simulator has."""

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
        # A reply of another node needs the name of that node, for which the command has no option.
        ("fault", "KIND", [kind for kind in KINDS if kind != "wrong-node"]),
        ("hold", "PHASE", PHASES[:-1]),  # a startup is over in the last phase
    ],
)
def test_help_lists_all_kinds_and_phases(
    command: str, word: str, names: Iterable[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of them, in the order of the simulator, and no others."""
    assert run(["simulate", command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    *most, last = names
    assert f"A {word} is {', '.join(most)} or {last}" in text
