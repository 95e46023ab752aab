"""Lines of styled text for a terminal: made printable, wrapped or cut to its columns, and painted if it has colours.

A style is a word: a severity, a condition of a range, `dim` or `bold`. The text alone says everything; colour repeats
a part of it.
"""

from __future__ import annotations

import textwrap
import unicodedata
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ringcheck.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Span: TypeAlias = tuple[str, str]
"""Text and its style; an empty style is plain text."""

Line: TypeAlias = tuple[Span, ...]

ENDLESS = 10**9  # columns of a file or a pipe, whose lines are not broken

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
    "safe": "32",
    "unsafe": "31;1",
    "blocks": "31;1",
    "allowed": "33",
    "dim": "2",
    "bold": "1",
}
"""Style to SGR parameters (ECMA-48)."""


def ansi(line: Line, *, colour: bool) -> str:
    """A line with its colours, or as plain text without blanks at its end."""
    if not colour:
        return "".join(text for text, _ in line).rstrip()
    return "".join(f"\x1b[{CODES[style]}m{text}\x1b[0m" if style and text else text for text, style in line)


# Wrapping


def wrapped(sentence: str, indent: int = 0, hang: int = 2, *, width: int = ENDLESS) -> list[str]:
    """A sentence in rows of at most `width` columns; a word that is longer than a row is not broken."""
    first, rest = " " * indent, " " * (indent + hang)
    return textwrap.wrap(
        sentence, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def plain(text: str) -> Line:
    """A line without a style."""
    return ((text, ""),)


def wrapped_line(line: Line, indent: int = 0, hang: int = 2, *, width: int = ENDLESS) -> Iterator[Line]:
    """A line in rows as `wrapped` makes them of a sentence, each part of it with its style."""
    spans = tuple((printable(text), style) for text, style in line)
    whole, end = "".join(text for text, _ in spans), 0
    for row in wrapped(whole, indent, hang, width=width):
        words = row.lstrip()
        start = whole.index(words, end)  # wrapping drops blanks between rows and changes nothing else
        end = start + len(words)
        yield (" " * (len(row) - len(words)), ""), *_part(spans, start, end)


class Sentence(NamedTuple):
    """A line to wrap: its own indentation, and by how much its further rows are indented beyond that."""

    line: Line
    indent: int = 0
    hang: int = 2


def said(text: str, indent: int = 0, hang: int = 2) -> Sentence:
    """A sentence without styles; blanks at its beginning count as its indentation if none is given."""
    blanks = len(text) - len(text.lstrip())
    return Sentence(plain(text), indent, hang) if indent else Sentence(plain(text.lstrip()), blanks, hang)


def labelled(word: str, style: str, rest: str, indent: int = 0, hang: int = 2) -> Sentence:
    """A sentence whose first word has a style."""
    return Sentence(((word, style), (rest, "")), indent, hang)


def blocks(parts: Iterable[Iterable[Sentence]], *, colour: bool = False, width: int | None = None) -> str:
    """Blocks of sentences with a blank line between them, in rows of `width` columns. None: no line is broken."""
    most = width or ENDLESS
    texts = (
        "\n".join(ansi(row, colour=colour) for line, *rest in part for row in wrapped_line(line, *rest, width=most))
        for part in parts
    )
    return "\n\n".join(filter(None, texts))


def fitted(lines: Iterable[Line], columns: int | None, *, colour: bool = False) -> str:
    """Printable text; lines longer than `columns` continue in the next row, indented. None: no line is broken."""
    return "\n".join(ansi(row, colour=colour) for line in lines for row in _rows(line, columns))


def _rows(line: Line, columns: int | None) -> Iterator[Line]:
    spans = tuple((printable(text), style) for text, style in line)
    whole = "".join(text for text, _ in spans)
    if columns is None or len(whole) <= columns:
        yield spans
        return
    indent = len(whole) - len(whole.lstrip())
    yield from wrapped_line(tuple(_part(spans, indent, len(whole))), indent, width=columns)


def _part(line: Line, start: int, end: int) -> Iterator[Span]:
    """The characters from `start` to `end` of a line, with their styles."""
    before = 0
    for text, style in line:
        yield text[max(0, start - before) : max(0, end - before)], style
        before += len(text)


# Cutting


def cells(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide Asian character, none for a combining one."""
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
    """The text in at most `most` columns, with a mark at its end if it was cut."""
    if cells(text) <= most:
        return text
    room, kept = max(0, most - cells(mark)), ""
    for char in text:
        if cells(kept + char) > room:
            break
        kept += char
    return (kept + mark)[:most] if most > cells(mark) else mark[:most]


def crop(line: Iterable[Span], most: int) -> Line:
    """The line, printable, in at most `most` columns."""
    cropped: list[Span] = []
    spans = [(printable(text), style) for text, style in line]
    left = most
    for index, (text, style) in enumerate(spans):
        rest = sum(cells(other) for other, _ in spans[index:])
        cropped.append((text if rest <= left else clip(text, left), style))
        left -= cells(cropped[-1][0])
        if cropped[-1][0] != text:
            break
    return tuple(cropped)


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text filled with blanks to exactly `columns`; `right` aligns it to the right, as numbers are."""
    space = " " * max(0, columns - cells(text))
    return space + text if right else text + space
