"""Benchmarks: each compares two things in one run and prints the ratio with its budget. They are not tests.

    python -m tests.benchmarks [NAME ...]

A benchmark is a module of this package with a `run()` that yields `Row`s.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured, with its size.
        measured: the result, with unit.
        against: what it is compared with, with unit.
        ratio: measured over compared; None if the budget is absolute.
        budget: as text.
        met: whether the budget is met; None if the size has no budget and shows the growth.
    """

    what: str
    measured: str
    against: str
    ratio: float | None
    budget: str
    met: bool | None


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """Median wall seconds of several rounds of the same work."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def compared(what: str, measured: float, name: str, against: float, *, budget: float | None, text: str) -> Row:
    """A row of two times in seconds whose ratio has a budget."""
    ratio = measured / against
    return Row(
        what,
        f"{measured * 1000:.2f} ms",
        f"{name}: {against * 1000:.1f} ms",
        ratio,
        text,
        None if budget is None else ratio <= budget,
    )
