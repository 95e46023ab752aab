"""Notices when the clock of the host is set, or the host was suspended. Ages and waits do not depend on that clock.

The time at which a lease was taken is one of another host's clock. So its age is known by both clocks when the agent
first sees it; from then on it grows by the clock that can't be set.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ringcheck.core.maintenance import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ringcheck.core.maintenance import Holder

LEAST = 2.0  # seconds; a clock that is only adjusted changes by far less between two calls


class ClockWatch:
    """Compares the clock that can be set with the one that can't."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def jump(self) -> float:
        """Seconds by which the clock was set since the last call, negative for back; 0 if it was not."""
        before, self._offset = self._offset, self._wall() - self._steady()
        moved = self._offset - before
        return moved if abs(moved) >= LEAST else 0.0


class LeaseAges:
    """The ages of the leases of one cluster, as long as they are held."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._taken: dict[Holder, float] = {}  # by the clock that can't be set

    def of(self, holders: Iterable[Holder], deadline: float) -> dict[Holder, float]:
        """The age of each lease in seconds, a little below 0 if another clock is ahead.

        Leases from a future further away than the deadline are left out: one of the clocks is wrong, and may be set.
        """
        wall, steady = self._wall(), self._steady()
        known = {holder: self._taken.get(holder, _taken(holder, wall, steady)) for holder in holders}
        self._taken = {
            holder: taken for holder, taken in known.items() if taken is not None and steady - taken >= -deadline
        }
        return {holder: steady - taken for holder, taken in self._taken.items()}


def _taken(holder: Holder, wall: float, steady: float) -> float | None:
    since = unix_seconds(holder.since)
    return None if since is None else steady - (wall - since)
