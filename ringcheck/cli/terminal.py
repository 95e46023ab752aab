"""What standard output and standard error can show: signs, colours and width; and sentences in that width."""

from __future__ import annotations

import os
import sys

import click

from ringcheck import deadline
from ringcheck.errors import printable

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
    """The width of the terminal; None if the output is not a terminal, because scripts need whole lines."""
    if not is_terminal():
        return None
    return _width(deadline.columns())


def error_columns() -> int | None:
    """The width of the terminal that standard error goes to; None if it goes elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        return _width(os.get_terminal_size(sys.stderr.fileno()).columns)
    except (OSError, ValueError):
        return _width(None)


def _width(seen: int | None) -> int:
    """The width to use for a terminal: that of COLUMNS or of standard output, or else the one that was seen."""
    import shutil

    return max(NARROWEST, shutil.get_terminal_size((seen or 80, 24)).columns)


def say(text: str, *, err: bool = False) -> None:
    """Print lines, on standard error if `err`; at a terminal, lines are broken at its width."""
    click.echo(broken(text, error_columns() if err else columns()), err=err)


def broken(text: str, width: int | None) -> str:
    """Lines, broken at a width; None: they are left as long as they are. What can't be printed becomes `?`."""
    if width is None:
        return "\n".join(map(printable, text.split("\n")))
    from ringcheck.report.terminal import fitted, plain

    return fitted(map(plain, text.split("\n")), width)
