"""The result of `doctor`, for people: one line for each step, and below a failed step how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.words import counted
from ringcheck.report.terminal import Sentence, blocks, labelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.diagnosis import Diagnosis, Step

_STYLES = {"ok": "OK", "failed": "CRITICAL", "skipped": "dim"}


def render(diagnosis: Diagnosis, *, colour: bool = False, width: int | None = None) -> str:
    """The output of `doctor`.

    Args:
        diagnosis: what to show.
        colour: paint the answer and the status of each step with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    return blocks([_sentences(diagnosis)], colour=colour, width=width)


def _sentences(diagnosis: Diagnosis) -> Iterator[Sentence]:
    yield _head(diagnosis)
    widest = max(len(step.name) for step in diagnosis.steps)
    column = widest + 11  # of the texts
    for step in diagnosis.steps:
        text = f"  {step.name:<{widest}}  {step.text}"
        yield labelled(f"{step.status:<7}", _STYLES[step.status], text, hang=column)
        if step.fix:
            yield labelled(f"-> {step.fix}", "bold" if step.status == "failed" else "", "", column, len("-> "))


def _head(diagnosis: Diagnosis) -> Sentence:
    if diagnosis.failed:
        text = f"{counted(len(diagnosis.failed), 'step')} failed ({_names(diagnosis.failed)})"
        return labelled("FAILED", "CRITICAL", f" {diagnosis.url}: {text}")
    advised = [step for step in diagnosis.steps if step.status == "ok" and step.fix]
    text = f"no step failed; still to do: {_names(advised)}" if advised else "all steps passed"
    return labelled("OK", "OK", f" {diagnosis.url}: {text}")


def _names(steps: Sequence[Step]) -> str:
    return ", ".join(step.name for step in steps)
