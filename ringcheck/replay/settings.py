"""Which recordings are replayed, and how fast."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """Settings of a replayed cluster.

    Attributes:
        directory: holds the recordings: files named `*.json`, each with one snapshot document.
        speed: recorded seconds that pass in one second.
    """

    directory: str
    speed: float = 1.0
