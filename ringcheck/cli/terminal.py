"""What standard output can show: its signs, colours and width."""

from __future__ import annotations

import os
import sys

from ringcheck import deadline

NARROWEST = 40  # columns; sentences can't be read in fewer


def shows(text: str) -> bool:
    """Whether the encoding of standard output has every character of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def is_terminal() -> bool:
    """Whether what is printed goes to a terminal; the output of `check` does so through the process that watches it."""
    return sys.stdout.isatty() or deadline.columns() is not None


def colours() -> bool:
    """Whether to use colours: on a terminal, unless https://no-color.org or a dumb terminal forbids it."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns() -> int | None:
    """The width of the terminal; None if the output is no terminal, where scripts need whole lines."""
    import shutil

    if not is_terminal():
        return None
    return max(NARROWEST, shutil.get_terminal_size((deadline.columns() or 80, 24)).columns)
