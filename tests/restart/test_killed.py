"""A roll that is killed at random moments; `python -m tests.restart.killed` does it hundreds of times."""

from __future__ import annotations

import pytest

from tests.restart.killed import killed


@pytest.mark.slow
def test_killed_rolls_keep_every_promise() -> None:
    """They obey the gate, restart nothing twice, report no false DONE and can be resumed, even with full disks."""
    result = killed(seed=0, count=6)
    assert result.failures == []
    assert result.counts["kills"] == 6
