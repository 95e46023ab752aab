"""How a duration is written: `90s`, `1.5h`, `7d`. Configuration, documents and command line read the same grammar.

`deadline.py`, which may import nothing, repeats it for the command line; a test compares the two.
"""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Seconds of each unit."""

PATTERN = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)"


def seconds_of(text: str) -> float | None:
    """Seconds of a duration with its unit; None if the text is not a duration."""
    match = re.fullmatch(PATTERN, text)
    return float(match[1]) * UNITS[match[2]] if match else None
