"""Counting safe readings in a row: one safe reading may be luck, since nodes learn of each other's state by gossip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringcheck.core.gate import Decision


@dataclass(slots=True)
class SafeStreak:
    """How many of the last readings in a row were safe.

    Attributes:
        wanted: readings that must be safe; at least 1.
        count: how many have been, since the last that was not.
    """

    wanted: int
    count: int = 0

    def add(self, decision: Decision) -> bool:
        """Count a decision, and return whether enough in a row were safe."""
        self.count = self.count + 1 if decision.decision == "safe" else 0
        return self.count >= self.wanted
