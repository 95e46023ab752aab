"""Several readings of the gate are combined into one answer."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, cast

import pytest

from ringcheck.core.readings import confirmed

if TYPE_CHECKING:
    from ringcheck.core.gate import Decision


class Answer:
    """A decision that consists only of its answer."""

    def __init__(self, decision: str) -> None:
        self.decision = decision


def reading(word: str) -> Decision:
    return cast("Decision", Answer(word))


@pytest.mark.parametrize(
    ("words", "wanted", "index"),
    [
        (["safe", "safe", "safe"], 3, 2),
        (["safe", "safe", "safe"], 1, 0),
        (["safe", "safe", "safe"], 0, 0),
        (["safe", "unsafe", "safe"], 3, 1),
        (["unknown", "safe", "safe"], 3, 0),
    ],
)
def test_the_last_of_enough_safe_readings_or_the_first_other_one(words: list[str], wanted: int, index: int) -> None:
    """As many readings are requested as the answer needs, neither more nor fewer."""
    readings = [reading(word) for word in words]
    rest = iter(readings)
    assert confirmed(rest, wanted) is readings[index]
    assert list(rest) == readings[index + 1 :]


def test_too_few_readings_are_no_answer() -> None:
    """If the readings end before enough were safe, the caller made a mistake, and the answer is never yes."""
    with pytest.raises(ValueError, match="too few readings"):
        confirmed(repeat(reading("safe"), 2), 3)
