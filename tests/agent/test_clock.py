"""Clocks: the age of a lease is what passed since it was seen, however the clock is set."""

from __future__ import annotations

import pytest

from ringcheck.agent.clock import LeaseAges
from ringcheck.core.maintenance import Holder

DEADLINE = 3600.0
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z
LEASE = Holder(node="10.0.0.1", owner="anna", purpose="kernel", since="2026-01-01T00:00:00Z")


class Clocks:
    def __init__(self, at: float = 0.0) -> None:
        self.wall, self.steady = START + at, 0.0
        self.ages = LeaseAges(lambda: self.wall, lambda: self.steady)

    def age(self, seconds: float = 0.0, *holders: Holder) -> float | None:
        self.wall += seconds
        self.steady += seconds
        return self.ages.of(holders or (LEASE,), DEADLINE).get(LEASE)


@pytest.mark.parametrize("moved", [6 * 3600.0, -6 * 3600.0])
def test_a_clock_that_is_set_makes_no_lease_older_or_younger(moved: float) -> None:
    """Its age at first sight is known by the clock at that time; from then on the other clock counts."""
    clocks = Clocks(at=100.0)
    assert clocks.age() == 100.0
    clocks.wall += moved
    assert clocks.age(60.0) == 160.0


def test_a_lease_from_the_future_has_no_known_age() -> None:
    """One of the clocks is wrong, by more than a lease may last: if it is corrected, its time counts."""
    clocks = Clocks(at=-2 * DEADLINE)
    assert clocks.age() is None
    clocks.wall += 2 * DEADLINE
    assert clocks.age(60.0) == 60.0


def test_a_lease_that_is_gone_is_forgotten() -> None:
    """A later lease of the node is another one, and a time that can't be read has no age."""
    clocks = Clocks()
    clocks.age()
    unreadable = Holder(node="10.0.0.2", owner="anna", purpose="", since="yesterday")
    assert clocks.age(60.0, unreadable) is None
    clocks.wall += 600.0
    assert clocks.age() == 660.0
