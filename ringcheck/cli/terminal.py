"""What standard output can show: its signs, colours and width."""

from __future__ import annotations

import os
import sys

NARROWEST = 40  # columns; sentences can't be read in fewer


def shows(text: str) -> bool:
    """Whether the encoding of standard output has every character of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def colours() -> bool:
    """Whether to use colours: on a terminal, unless https://no-color.org or a dumb terminal forbids it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns() -> int | None:
    """The width of the terminal; None if the output is no terminal, where scripts need whole lines."""
    import shutil

    return max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
