"""A roll that is killed at random moments; `python -m tests.restart.killed` does it hundreds of times."""

from __future__ import annotations

import pytest

from tests.restart.killed import killed


@pytest.mark.slow
def test_killed_rolls_keep_every_promise() -> None:
    """Never beyond the gate, never twice, never a false DONE, always resumable; with full disks and torn journals."""
    result = killed(seed=0, count=6)
    assert result.failures == []
    assert result.counts["kills"] == 6
