"""What the terminal that we write to can show."""

from __future__ import annotations

import sys


def shows(text: str) -> bool:
    """Whether stdout's encoding has these signs."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
