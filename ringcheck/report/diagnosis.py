"""The result of `doctor`, for people: one line for each step, and below a failed step how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.words import counted
from ringcheck.report.terminal import fitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.diagnosis import Diagnosis
    from ringcheck.report.terminal import Line

_STYLES = {"ok": "OK", "failed": "CRITICAL", "skipped": "dim"}


def render(diagnosis: Diagnosis, *, colour: bool = False) -> str:
    """The output of `doctor`. Lines are not wrapped, so that fixes can be copied."""
    return fitted(_lines(diagnosis), None, colour=colour)


def _lines(diagnosis: Diagnosis) -> Iterator[Line]:
    yield _head(diagnosis)
    widest = max(len(step.name) for step in diagnosis.steps)
    for step in diagnosis.steps:
        yield (f"{step.status:<7}", _STYLES[step.status]), (f"  {step.name:<{widest}}  {step.text}", "")
        if step.fix:
            yield ((f"{'':>{widest + 11}}-> {step.fix}", "bold" if step.status == "failed" else ""),)


def _head(diagnosis: Diagnosis) -> Line:
    if not diagnosis.failed:
        return ("OK", "OK"), (f" {diagnosis.url}: everything that was asked is well", "")
    names = ", ".join(step.name for step in diagnosis.failed)
    return ("FAILED", "CRITICAL"), (f" {diagnosis.url}: {counted(len(diagnosis.failed), 'step')} failed ({names})", "")
