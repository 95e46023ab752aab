"""A few seconds of the fuzzer, and planted faults that it must find."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.policy import Severity
from tests.fuzz.running import Report, case, fuzzed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict

SECONDS = 3.0
MOST = 150  # cases, within which a planted fault must show


@pytest.mark.slow
def test_no_bent_answer_is_a_crash_a_false_ok_or_unprintable(tmp_path: Path) -> None:
    """Each release has its own cases, the same on every machine: `python -m tests.fuzz` runs more of them."""
    report = fuzzed(2026, SECONDS, tmp_path)
    assert not report.failures
    assert report.cases


@pytest.mark.slow
def test_a_case_is_the_same_in_every_run(tmp_path: Path) -> None:
    """Thus a failure can be run again, given its seed and its number."""
    reports = [Report(), Report()]
    for report in reports:
        for number in range(10):
            case(1, number, tmp_path, report)
    assert reports[0].codes == reports[1].codes


def careless(value: Any, what: str) -> str:
    """Like `outcomes.text`, but any value is accepted as text."""
    del what
    text: str = value.strip()
    return text


def optimist(snapshot: Snapshot, *arguments: Any) -> Verdict:
    """Like `assess`, but unusable answers of nodes do no harm."""
    verdict = assess(snapshot, *arguments)
    broken = any(node.source == "error" for node in snapshot.nodes)
    return replace(verdict, severity=Severity.OK) if broken else verdict


def raw(text: str) -> str:
    """Like `printable`, but nothing is replaced."""
    return text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "fault", "first", "found"),
    [
        ("ringcheck.jolokia.node_report.text", careless, 0, "a bug"),
        ("ringcheck.core.assess.assess", optimist, 0, "exit 0 instead of"),
        ("ringcheck.report.terminal.printable", raw, 140, "a character that can't be printed"),
    ],
)
def test_a_planted_fault_is_found(
    where: str, fault: Callable[..., Any], first: int, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases from the first on show an exception that is not ringcheck's own, a false OK, and control characters."""
    monkeypatch.setattr(where, fault)
    report = Report()
    for number in range(first, first + MOST):
        case(7, number, tmp_path, report)
        if any(found in failure for failure in report.failures):
            return
    pytest.fail(f"{MOST} cases did not show {found}")


@pytest.mark.slow
def test_the_program_reports_its_cases() -> None:
    """It exits with 0 if nothing is wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "20", "--seed", "1", "--case", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("seed 1: 1 cases in ")
