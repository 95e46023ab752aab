"""The legend of the SVG: conditions, colours, and the nodes that are not live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.words import counted
from ringcheck.report.picture import MEANINGS, WORDS, WORST_FIRST
from ringcheck.report.svg_colours import ColourKey
from ringcheck.report.svg_ring import most_replicas, replicas_drawn
from ringcheck.report.svg_shapes import BANDS, COLUMN, ENTRIES, EXACT, HEIGHT, rounded, style, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.picture import Drawn, Picture


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A line of the legend as text.

    Attributes:
        classes: class of the swatch in the drawing; empty for a heading.
        words: what it stands for.
        meaning: explanation; may be empty.
    """

    classes: str
    words: str
    meaning: str = ""


def entries(picture: Picture) -> Iterator[LegendEntry]:
    """The legend as text: conditions, colours of replicas, and how many nodes are not live."""
    number = len(picture.ring)
    exact = number <= EXACT
    bands = f"{BANDS} bands of about {round(number / BANDS)} ranges each"
    yield LegendEntry("", "Outer ring: each range at the level" if exact else bands)
    for condition in _conditions(picture):
        words = f"{picture.conditions[condition]} of {number} {WORDS[condition]}"
        yield LegendEntry(style(condition, number), words, MEANINGS[condition])
    if exact:
        yield LegendEntry("", _inner(picture))
        yield from (LegendEntry(classes, words) for classes, words in ColourKey(picture).entries())
    elif picture.not_live:
        yield LegendEntry("", f"Not live: {counted(len(picture.not_live), 'node')}")


def legend(picture: Picture) -> Iterator[str]:
    """The column beside the ring, from the top."""
    number, y = len(picture.ring), 112.0
    exact = number <= EXACT
    bands = f"{BANDS} bands of about {round(number / BANDS)} ranges each"
    yield text(COLUMN, y, "Outer ring: each range at the level" if exact else bands, "b")
    if not exact:
        y += 18
        yield text(COLUMN, y, "divided as its ranges are, the worst outside", "q")
    for condition in _conditions(picture):
        yield _swatch(y + 25, style(condition, number))
        yield text(COLUMN + 30, y + 25, f"{picture.conditions[condition]} of {number} {WORDS[condition]}")
        yield text(COLUMN + 30, y + 41, MEANINGS[condition], "q")
        y += 41
    y += 40
    key = ColourKey(picture) if exact else None
    if key:
        entries = list(key.entries())
        yield from _replicas(picture, entries, y)
        y += 23 * len(entries) + 40
    if not (key and key.by_node):
        yield from _not_live(picture, y)
    yield text(COLUMN, HEIGHT - 22, "Clockwise from the top in the order of tokens", "q")


def _conditions(picture: Picture) -> list[Drawn]:
    always: set[Drawn] = {"unavailable", "at_minimum", "spare"} if picture.health else set()
    return [condition for condition in WORST_FIRST if picture.conditions[condition] or condition in always]


def _swatch(y: float, classes: str) -> str:
    edge = f'<path class="e" d="M{COLUMN} {rounded(y - 12)}h20v15h-20z"/>' if classes == "o" else ""
    return f'<path class="{classes}" stroke-width="15" d="M{COLUMN} {rounded(y - 4.5)}h20"/>{edge}'


def _replicas(picture: Picture, entries: list[tuple[str, str]], y: float) -> Iterator[str]:
    yield text(COLUMN, y, _inner(picture), "b")
    for classes, words in entries:
        y += 23
        yield _swatch(y, classes)
        yield text(COLUMN + 30, y, words)


def _inner(picture: Picture) -> str:
    """What the inner rings show."""
    drawn = replicas_drawn(picture)
    partly = f"replicas 1 to {drawn} from outside"
    return f"Inner rings: {'its replicas, the first outside' if drawn == most_replicas(picture) else partly}"


def _not_live(picture: Picture, y: float) -> Iterator[str]:
    """The nodes that are not live, as many as there is room for."""
    if not picture.not_live:
        return
    room = max(1, min(ENTRIES, int((HEIGHT - 60 - y) // 19)))
    yield text(COLUMN, y, f"Not live: {counted(len(picture.not_live), 'node')}", "b")
    for node, ranges in picture.not_live[:room]:
        y += 19
        yield text(COLUMN, y, f"{picture.address(node)}: a replica of {ranges} of {len(picture.ring)} ranges")
    if len(picture.not_live) > room:
        yield text(COLUMN, y + 19, f"and {len(picture.not_live) - room} more", "q")
