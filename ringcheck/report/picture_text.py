"""The picture of a ring in a terminal of 40 to 200 columns.

Each condition has a sign, a darker one if it is worse; colour only repeats this. So the picture can be read without
colour and without Unicode. A small ring has a row for each range, a middle one a sign for each range, a large one a row
for each band.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.report.picture import MEANINGS, WORDS, WORST_FIRST, Band
from ringcheck.report.terminal import ENDLESS, ansi, clip, crop, pad, width, wrapped_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.picture import Drawn, Picture
    from ringcheck.report.terminal import Line, Span

ROWS = 64  # ranges that get a row each
LINES = 26  # lines of signs; a larger ring is drawn in bands
BANDS = 32  # rows of a ring in bands
_GROUP = 10  # signs between two blanks, to count by
_LABEL = 6  # columns before the signs
_MEANING = 20  # least columns of a meaning in the legend
_NODES = 8  # nodes that are not live and are named
NARROW, WIDE = 64, 80  # columns from which the token, and the words for a condition, are shown


@dataclass(frozen=True, slots=True)
class PictureSigns:
    """Signs that the terminal can show: for each condition, and for a replica that is live or not."""

    conditions: dict[Drawn, str]
    live: str
    down: str

    @property
    def all(self) -> str:
        """Every sign once."""
        return "".join((*self.conditions.values(), self.live, self.down))


UNICODE = PictureSigns(
    {"spare": "·", "at_minimum": "▪", "unavailable": "█", "structurally_unavailable": "▒", "unknown": "?"},
    "●", "○",
)  # fmt: skip
ASCII = PictureSigns(
    {"spare": ".", "at_minimum": "o", "unavailable": "X", "structurally_unavailable": "#", "unknown": "?"},
    "+", "-",
)  # fmt: skip


def render(
    picture: Picture, *, columns: int = 80, whole: bool = False, colour: bool = False, signs: PictureSigns = UNICODE
) -> str:
    """The output of `ring`.

    Args:
        picture: what to show.
        columns: of the longest line.
        whole: don't break the sentences around the picture, which may then be longer.
        colour: paint conditions with ANSI escapes.
        signs: that the output can show.
    """
    number, most = len(picture.ring), ENDLESS if whole else columns
    if number <= ROWS:
        body = _rows(picture, columns, signs)
    elif number <= LINES * _per_line(columns):
        body = _strip(picture, columns, signs)
    else:
        body = _bands(picture, columns, signs)
    head, not_live = [*_head(picture, most), *_legend(picture, most, signs)], _not_live(picture, most, signs)
    blocks = [head, body, not_live, _metadata(picture, most)]
    lines = [[ansi(crop(line, most), colour=colour) for line in block] for block in blocks]
    return "\n\n".join("\n".join(block) for block in lines if block)


def _head(picture: Picture, columns: int) -> Iterator[Line]:
    style = picture.level.severity.name if picture.level and picture.level.severity else "bold"
    headline = f"{picture.verdict.snapshot.cluster}, keyspace {picture.keyspace} {picture.at}: {picture.headline()}"
    for line in _wrapped(headline, columns):
        yield ((line, style),)
    replication = str(picture.ring.replication) if picture.ring.replication else "replication not known"
    for line in _wrapped(", ".join(filter(None, (replication, picture.needs(), picture.seen))), columns):
        yield ((line, ""),)
    if picture.health is None:
        yield from (((line, "UNKNOWN"),) for line in _wrapped(picture.verdict.summary, columns))


def _metadata(picture: Picture, columns: int) -> list[Line]:
    """A line that says that the members of the cluster metadata service are not drawn, since they form no ring."""
    quorum = picture.verdict.metadata_quorum
    if quorum is None:
        return []
    text = f"Not in this picture: {quorum} up, {quorum.required} needed to change schema or topology."
    return [((line, ""),) for line in _wrapped(text, columns)]


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, subsequent_indent="  ", break_on_hyphens=False) or [""]


def _legend(picture: Picture, columns: int, signs: PictureSigns) -> Iterator[Line]:
    """Each sign, the number of ranges that have it, and its meaning."""
    number, health = len(picture.ring), picture.health
    always: set[Drawn] = {"unavailable", "at_minimum", "spare"} if health else set()
    for shown in WORST_FIRST:
        count = picture.conditions[shown]
        if shown in always or count:
            counts = _counts(WORDS[shown], count, number)
            yield from _entry((signs.conditions[shown], shown), counts, MEANINGS[shown], columns)
    if health:
        sign = (signs.down, "unavailable")
        counts = _counts("replica not live", picture.degraded, number)
        yield from _entry(sign, counts, "have at least one such replica", columns)


def _counts(word: str, count: int, number: int) -> str:
    return f" {word:<16} {count:>{len(str(number))}} of {number}"


def _entry(sign: Span, counts: str, meaning: str, columns: int) -> Iterator[Line]:
    """The rows of an entry; a meaning that does not fit continues below itself, or in a narrow terminal below all."""
    column = len(sign[0]) + len(counts) + 2
    hang = column if columns - column >= _MEANING else 2
    yield from wrapped_line((sign, (counts, ""), (f"  {meaning}", "dim")), 0, hang, width=columns)


def _not_live(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    """The nodes that are not live, and the number of ranges of which they hold a replica."""
    lines: list[Line] = []
    for node, ranges in picture.not_live[:_NODES]:
        tail = f" not live: {ranges} of {len(picture.ring)} ranges"
        name = clip(picture.address(node), max(12, columns - len(tail) - 2))
        lines.append(((signs.down, "unavailable"), (f" {name}{tail}", "")))
    more = len(picture.not_live) - _NODES
    return [*lines, ((f"  and {more} more nodes", ""),)] if more > 0 else lines


# A row for each range


def _rows(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    tokens = [str(end) for end in picture.ring.tokens] if columns >= NARROW else []
    digits = max(map(len, [*tokens, "RANGE ENDS AT"])) if tokens else 0
    head = f"  {pad('RANGE ENDS AT', digits + 2) if tokens else ''}LIVE"
    words = f"  {'STATE':<15}" if columns >= WIDE else ""
    lines: list[Line] = [((f"{head}{words}  REPLICAS", "dim"),)]
    for index in range(len(picture.ring)):
        condition = picture.condition(index)
        start: list[Span] = [(f"{signs.conditions[condition]} ", condition)]
        if tokens:
            start.append((f"{tokens[index]:>{digits}}  ", ""))
        start.append((f"{picture.live(index):>4}", condition))
        if words:
            start.append((f"  {WORDS[condition]:<15}", condition))
        lines.append((*start, *_replicas(picture, index, columns - width(tuple(start)), signs)))
    return lines


def _replicas(picture: Picture, index: int, room: int, signs: PictureSigns) -> Iterator[Span]:
    """The replicas and their states, as many as there is room for."""
    nodes = picture.replicas(index)
    yield "  ", ""
    room -= 2
    for position, node in enumerate(nodes):
        down = picture.down is not None and node in picture.down
        sign = "?" if picture.down is None else signs.down if down else signs.live
        text = f"{sign}{picture.address(node)} "
        rest = len(nodes) - position
        room -= len(text)
        if room < (len(f"+{rest - 1}") if rest > 1 else -1):
            yield f"+{rest}", "dim"
            return
        yield text, "unavailable" if down else ""


# A sign for each range


def _per_line(columns: int) -> int:
    return max(1, (columns - _LABEL + 1) // (_GROUP + 1)) * _GROUP


def _strip(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    conditions = [picture.condition(index) for index in range(len(picture.ring))]
    step = _per_line(columns)
    lines: list[Line] = [(("Every range in the order of tokens, with the number of each line's first range", "dim"),)]
    for first in range(0, len(conditions), step):
        spans: list[Span] = [(f"{first + 1:>{_LABEL - 2}}  ", "dim")]
        for column, condition in enumerate(conditions[first : first + step]):
            blank = " " if column and not column % _GROUP else ""
            spans.append((f"{blank}{signs.conditions[condition]}", condition))
        lines.append(tuple(_joined(spans)))
    return lines


def _joined(spans: list[Span]) -> Iterator[Span]:
    """The spans with neighbours of the same style joined."""
    text, style = spans[0]
    for more, other in spans[1:]:
        if other == style:
            text += more
        else:
            yield text, style
            text, style = more, other
    yield text, style


# A row for each band


def _bands(picture: Picture, columns: int, signs: PictureSigns) -> list[Line]:
    bands = list(picture.bands(BANDS))
    sizes = sorted({band.ranges for band in bands})
    size = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} or {sizes[-1]}"
    head = f"Each row stands for {size} of {len(picture.ring)} ranges, in the order of tokens"
    digits = max(len("UNAVAIL"), len(str(len(picture.ring))))
    columned = f" {'FROM':>{digits}}  {'UNAVAIL':>{digits}}  {'AT MIN':>{digits}}"
    lines: list[Line] = [((line, "dim"),) for line in _wrapped(head, columns)]
    lines.append(((columned, "dim"),))
    for band in bands:
        unavailable = band.conditions["unavailable"] + band.conditions["structurally_unavailable"]
        numbers = band.first + 1, unavailable, band.conditions["at_minimum"]
        text = "  ".join(f"{number:>{digits}}" for number in numbers)
        start: list[Span] = [(signs.conditions[band.worst], band.worst), (f" {text}  ", "")]
        lines.append((*start, *_bar(band, columns - width(tuple(start)), signs)))
    return lines


def _bar(band: Band, room: int, signs: PictureSigns) -> Iterator[Span]:
    """The conditions of a band's ranges in proportion, each that occurs with at least one sign."""
    present = [condition for condition in WORST_FIRST if band.conditions[condition]]
    left = max(room, len(present))
    for index, condition in enumerate(present):
        after = len(present) - index - 1
        share = band.conditions[condition] / band.ranges
        number = max(1, min(left - after, round(share * room))) if after else left
        yield signs.conditions[condition] * number, condition
        left -= number
