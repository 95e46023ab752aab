"""Lines of styled text for a terminal: cut and padded by the cells that they take, then painted, or not.

Styles are words (a severity, a condition of a range, `dim`, `bold`), so that what is said never depends on how it is
shown.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

Span: TypeAlias = tuple[str, str]
"""Text and its style; no style is empty."""

Line: TypeAlias = tuple[Span, ...]

CODES = {
    "OK": "32",
    "WARNING": "33",
    "UNKNOWN": "35",
    "CRITICAL": "31;1",
    "spare": "32",
    "at_minimum": "33",
    "unavailable": "31;1",
    "structurally_unavailable": "35",
    "unknown": "36",
    "dim": "2",
    "bold": "1",
}
"""Style to SGR parameters (ECMA-48)."""


def cells(text: str) -> int:
    """How many columns of a terminal a text takes; Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(line: Line) -> int:
    """How many columns a line takes."""
    return sum(cells(text) for text, _ in line)


def clip(text: str, most: int, mark: str = "...") -> str:
    """A text in at most so many columns, with a mark where it was cut."""
    if cells(text) <= most:
        return text
    room, kept = max(0, most - cells(mark)), ""
    for char in text:
        if cells(kept + char) > room:
            break
        kept += char
    return (kept + mark)[:most] if most > cells(mark) else mark[:most]


def crop(line: Iterable[Span], most: int) -> Line:
    """A line in at most so many columns."""
    found: list[Span] = []
    spans = [(printable(text), style) for text, style in line]
    left = most
    for place, (text, style) in enumerate(spans):
        rest = sum(cells(other) for other, _ in spans[place:])
        found.append((text if rest <= left else clip(text, left), style))
        left -= cells(found[-1][0])
        if found[-1][0] != text:
            break
    return tuple(found)


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """A text in exactly so many columns; to the right for numbers."""
    space = " " * max(0, columns - cells(text))
    return space + text if right else text + space


def ansi(line: Line, *, colour: bool) -> str:
    """A line for a terminal, without blanks at its end."""
    plain = "".join(text for text, _ in line)
    if not colour:
        return plain.rstrip()
    return "".join(f"\x1b[{CODES[style]}m{text}\x1b[0m" if style and text else text for text, style in line)
