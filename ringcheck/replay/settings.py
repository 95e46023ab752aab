"""Which recordings are replayed, and how fast."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """Settings of a replayed cluster.

    Attributes:
        directory: with the recordings: files named `*.json` with one snapshot document in each.
        speed: recorded seconds that are replayed in one second.
    """

    directory: str
    speed: float = 1.0

    @property
    def asked_first(self) -> tuple[str, ...]:
        """Where the recordings are, for people to read."""
        return (self.directory,)
