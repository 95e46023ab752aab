"""Safe readings in a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy
from ringcheck.core.streak import SafeStreak
from tests import article

SAFE = Gatekeeper(article.snapshot(), Policy(), Gate(accept=("blog_1",))).decide(["10.0.0.1"])


@pytest.mark.parametrize(
    ("wanted", "readings", "enough"),
    [
        (1, "s", [True]),
        (2, "ss", [False, True]),
        (2, "sus", [False, False, False]),
        (2, "susss", [False, False, False, True, True]),
        (3, "ss?sss", [False, False, False, False, False, True]),
    ],
)
def test_a_reading_that_is_not_safe_begins_anew(wanted: int, readings: str, enough: list[bool]) -> None:
    """Safe readings count only in a row; an unknown one ends it like an unsafe one."""
    assert SAFE.decision == "safe"
    streak = SafeStreak(wanted)
    decisions = {"s": SAFE, "u": replace(SAFE, decision="unsafe"), "?": replace(SAFE, decision="unknown")}
    assert [streak.add(decisions[reading]) for reading in readings] == enough
