"""Several readings of the gate, and the one answer that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.core.gate import Decision


def confirmed(readings: Iterable[Decision], wanted: int) -> Decision:
    """The first reading that is not safe, or the last of as many safe ones in a row as are wanted.

    A single safe reading may be coincidence: gossip takes seconds to spread, and a flapping node is up half of the
        time.

    Args:
        readings: decisions on fresh data, made when they are asked for; never fewer than wanted. No reading is asked
            for after the answer is known.
        wanted: how many; at least one is read.
    """
    for number, decision in enumerate(readings, 1):
        if decision.decision != "safe" or number >= wanted:
            return decision
    raise ValueError("too few readings")
