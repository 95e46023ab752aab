"""The picture of a ring in a terminal of 40 to 200 columns.

Conditions are signs of growing ink first and colours second, so that the picture is read without colour and without
Unicode too. A small ring has a row a range, a middle one a sign a range, a large one a row for each stretch of ranges.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.words import percent
from ringcheck.report.picture import MEANINGS, WORDS, WORST_FIRST, Band
from ringcheck.report.terminal import ansi, clip, crop, pad, width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.picture import Drawn, Picture
    from ringcheck.report.terminal import Line, Span

ROWS = 64  # ranges that get a row each
LINES = 26  # of signs; a larger ring is aggregated
BANDS = 32  # rows of an aggregated ring
_GROUP = 10  # signs between two blanks: to count by
_LABEL = 6  # columns before the signs
_NODES = 8  # named in the line of nodes that are not live
NARROW, WIDE = 64, 80  # columns from which the token, and the words for a condition, are shown


@dataclass(frozen=True, slots=True)
class PictureSigns:
    """What a terminal can show."""

    conditions: dict[Drawn, str]
    live: str
    gone: str

    @property
    def all(self) -> str:
        """Every sign once."""
        return "".join((*self.conditions.values(), self.live, self.gone))


UNICODE = PictureSigns(
    {"spare": "·", "at_minimum": "▪", "unavailable": "█", "structurally_unavailable": "▒", "unknown": "?"},
    "●", "○",
)  # fmt: skip
ASCII = PictureSigns(
    {"spare": ".", "at_minimum": "o", "unavailable": "X", "structurally_unavailable": "#", "unknown": "?"},
    "+", "-",
)  # fmt: skip


def render(picture: Picture, *, columns: int = 80, colour: bool = False, signs: PictureSigns = UNICODE) -> str:
    """What `ring` prints; no line is longer than `columns`."""
    number = len(picture.ring)
    if number <= ROWS:
        body = _rows(picture, columns, signs)
    elif number <= LINES * _per_line(columns):
        body = _strip(picture, columns, signs)
    else:
        body = _stretches(picture, columns, signs)
    blocks = [[*_head(picture, columns), *_legend(picture, signs)], body, _gone(picture, columns, signs)]
    lines = [[ansi(crop(line, columns), colour=colour) for line in block] for block in blocks]
    return "\n\n".join("\n".join(block) for block in lines if block)


def _head(picture: Picture, columns: int) -> Iterator[Line]:
    style = picture.level.severity.name if picture.level and picture.level.severity else "bold"
    told = f"{picture.verdict.snapshot.cluster}, keyspace {picture.keyspace} {picture.at}: {picture.headline()}"
    for line in _wrapped(told, columns):
        yield ((line, style),)
    replication = str(picture.ring.replication) if picture.ring.replication else "replication not known"
    for line in _wrapped(", ".join(one for one in (replication, picture.needs(), picture.seen) if one), columns):
        yield ((line, ""),)
    if picture.health is None:
        yield from (((line, "UNKNOWN"),) for line in _wrapped(picture.verdict.summary, columns))


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_on_hyphens=False) or [""]


def _legend(picture: Picture, signs: PictureSigns) -> Iterator[Line]:
    """Each sign, how many ranges have it, and what it means."""
    number, health = len(picture.ring), picture.health
    always: set[Drawn] = {"unavailable", "at_minimum", "spare"} if health else set()
    for one in WORST_FIRST:
        if one in always or picture.conditions[one]:
            yield _entry(signs.conditions[one], one, WORDS[one], picture.conditions[one], number, MEANINGS[one])
    if health:
        yield _entry(signs.gone, "unavailable", "replica not live", picture.hurt, number, "at least one of those")
    if health and health.unavailable:
        yield ((f"  {percent(health.unavailable_share)} of tokens unavailable", ""),)


def _entry(sign: str, style: str, word: str, count: int, number: int, meaning: str) -> Line:  # noqa: PLR0913, PLR0917 - a row
    told = f" {word:<16} {count:>{len(str(number))}} of {number}"
    return (sign, style), (told, ""), (f"  {meaning}", "dim")


def _gone(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    """The nodes to blame."""
    lines: list[Line] = []
    for node, held in picture.not_live[:_NODES]:
        tail = f" not live: {held} of {len(picture.ring)} ranges"
        name = clip(picture.address(node), max(12, columns - len(tail) - 2))
        lines.append(((signs.gone, "unavailable"), (f" {name}{tail}", "")))
    more = len(picture.not_live) - _NODES
    return [*lines, ((f"  and {more} more nodes", ""),)] if more > 0 else lines


# A row a range


def _rows(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    tokens = [str(end) for end in picture.ring.tokens] if columns >= NARROW else []
    digits = max(map(len, [*tokens, "RANGE ENDS AT"])) if tokens else 0
    head = f"  {pad('RANGE ENDS AT', digits + 2) if tokens else ''}LIVE"
    words = f"  {'STATE':<15}" if columns >= WIDE else ""
    lines: list[Line] = [((f"{head}{words}  REPLICAS", "dim"),)]
    for index in range(len(picture.ring)):
        shown = picture.condition(index)
        start: list[Span] = [(f"{signs.conditions[shown]} ", shown)]
        if tokens:
            start.append((f"{tokens[index]:>{digits}}  ", ""))
        start.append((f"{picture.live(index):>4}", shown))
        if words:
            start.append((f"  {WORDS[shown]:<15}", shown))
        lines.append((*start, *_replicas(picture, index, columns - width(tuple(start)), signs)))
    return lines


def _replicas(picture: Picture, index: int, room: int, signs: PictureSigns) -> Iterator[Span]:
    """Each replica with its state, as many as there is room for."""
    nodes = picture.replicas(index)
    yield "  ", ""
    room -= 2
    for place, node in enumerate(nodes):
        gone = picture.down is not None and node in picture.down
        text = f"{signs.gone if gone else signs.live if picture.down is not None else '?'}{picture.address(node)} "
        rest = len(nodes) - place
        room -= len(text)
        if room < (len(f"+{rest - 1}") if rest > 1 else -1):
            yield f"+{rest}", "dim"
            return
        yield text, "unavailable" if gone else ""


# A sign a range


def _per_line(columns: int) -> int:
    return max(1, (columns - _LABEL + 1) // (_GROUP + 1)) * _GROUP


def _strip(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    shown = [band.worst for band in picture.bands(len(picture.ring))]
    step = _per_line(columns)
    lines: list[Line] = [(("Every range in the order of tokens; the number is that of the first in its line", "dim"),)]
    for first in range(0, len(shown), step):
        spans: list[Span] = [(f"{first + 1:>{_LABEL - 2}}  ", "dim")]
        for place, one in enumerate(shown[first : first + step]):
            spans.append((f"{' ' if place and not place % _GROUP else ''}{signs.conditions[one]}", one))
        lines.append(tuple(_joined(spans)))
    return lines


def _joined(spans: list[Span]) -> Iterator[Span]:
    """Neighbours of one style as one."""
    text, style = spans[0]
    for more, other in spans[1:]:
        if other == style:
            text += more
        else:
            yield text, style
            text, style = more, other
    yield text, style


# A row for many ranges


def _stretches(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    bands = list(picture.bands(BANDS))
    sizes = sorted({band.ranges for band in bands})
    each = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} or {sizes[-1]}"
    head = f"Each row stands for {each} of {len(picture.ring)} ranges, in the order of tokens"
    digits = max(len("UNAVAIL"), len(str(len(picture.ring))))
    columned = f" {'FROM':>{digits}}  {'UNAVAIL':>{digits}}  {'AT MIN':>{digits}}"
    lines: list[Line] = [((line, "dim"),) for line in _wrapped(head, columns)]
    lines.append(((columned, "dim"),))
    for band in bands:
        gone = band.conditions["unavailable"] + band.conditions["structurally_unavailable"]
        numbers = band.first + 1, gone, band.conditions["at_minimum"]
        told = "".join(f"  {number:>{digits}}" for number in numbers)
        start: list[Span] = [(signs.conditions[band.worst], band.worst), (f"{told[1:]}  ", "")]
        lines.append((*start, *_bar(band, columns - width(tuple(start)), signs)))
    return lines


def _bar(band: Band, room: int, signs: PictureSigns) -> Iterator[Span]:
    """How the ranges of a band divide; what there is at all has at least one sign."""
    there = [one for one in WORST_FIRST if band.conditions[one]]
    left = max(room, len(there))
    for place, one in enumerate(there):
        after = len(there) - place - 1
        number = max(1, min(left - after, round(band.conditions[one] / band.ranges * room)))
        number = left if not after else number
        yield signs.conditions[one] * number, one
        left -= number
