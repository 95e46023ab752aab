"""Notices when the clock of the host is set, or the host was suspended. Ages and waits do not depend on that clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

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
