"""Shapes of the SVG: sizes, texts, arcs and sectors, and the class of each condition."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.errors import cut, printable
from ringcheck.report.terminal import clip

if TYPE_CHECKING:
    from ringcheck.report.picture import Drawn

EXACT = 1024  # a larger ring is drawn in bands
BANDS = 360
SPACED = 256  # up to this many ranges, there is room for gaps between them, and for hatching
GAP, SEAM = 1.5, 0.4  # pixels left free behind a range; or drawn over the next range's edge, which would shine through

WIDTH, HEIGHT = 960, 680
CENTRE = 320.0, 374.0
OUTER = 262.0  # radius of the ring
THICK = 30.0  # width of the outer ring
BUMP = 14.0  # distance by which unavailable ranges stand out
INNERMOST = 128.0  # radius of the hole in the middle
COLUMN = 640  # left edge of the legend
VIEW = "34 88 572 572"  # the ring without head and legend: what `#ring` shows
ENTRIES = 8  # nodes, racks or datacenters that have a colour of their own; and nodes that are listed

Segment: TypeAlias = tuple[float, float]
"""Where an arc begins and ends, in turns from the top."""

CLASSES: dict[Drawn, str] = {
    "spare": "s", "at_minimum": "m", "unavailable": "u", "structurally_unavailable": "n", "unknown": "k",
}  # fmt: skip
SOLID: dict[Drawn, str] = {"unavailable": "us", "structurally_unavailable": "ns"}  # too narrow for a pattern
LOUD: frozenset[Drawn] = frozenset({"unavailable", "structurally_unavailable"})


def style(condition: Drawn, ranges: int) -> str:
    """The class of a range with this condition in a ring with `ranges` ranges."""
    narrow = SPACED < ranges <= EXACT
    return SOLID.get(condition, CLASSES[condition]) if narrow else CLASSES[condition]


def safe(text: str) -> str:
    """Text escaped for XML and bounded: no name that a node reports can become markup."""
    return escape(cut(printable(text)), quote=True)


def text(x: float, y: float, words: str, classes: str = "", most: int = 46) -> str:
    """A text element, cut to `most` characters."""
    classed = f' class="{classes}"' if classes else ""
    return f'<text x="{rounded(x)}" y="{rounded(y)}"{classed}>{safe(clip(words, most))}</text>'


def rounded(value: float) -> str:
    """A number to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def point(radius: float, turn: float) -> str:
    """Coordinates `x y` on a circle around the centre."""
    angle = 2 * math.pi * turn
    return f"{rounded(CENTRE[0] + radius * math.sin(angle))} {rounded(CENTRE[1] - radius * math.cos(angle))}"


def arc(radius: float, segment: Segment) -> str:
    """A path along a circle. A whole circle is drawn in halves, since an arc that ends where it begins is empty."""
    start, end = segment
    middle = (start + end) / 2
    halves = [middle, end] if end - start > 0.5 else [end]  # noqa: PLR2004 - half a turn
    steps = "".join(f"A{rounded(radius)} {rounded(radius)} 0 0 1 {point(radius, turn)}" for turn in halves)
    return f"M{point(radius, start)}{steps}"


def sector(segment: Segment, outside: float, inside: float) -> str:
    """A path around the area between two radii."""
    start, end = segment
    return (
        f"M{point(outside, start)}A{rounded(outside)} {rounded(outside)} 0 0 1 {point(outside, end)}"
        f"L{point(inside, end)}A{rounded(inside)} {rounded(inside)} 0 0 0 {point(inside, start)}Z"
    )


def segment(first: int, end: int, number: int, radius: float) -> Segment:
    """The arc of the ranges from `first` up to `end`, out of `number`: with a gap behind it if there is room for one.

    Without room it reaches a little over the next range, so that no seam shows.
    """
    behind = -GAP if 1 < number <= SPACED else SEAM
    return first / number, end / number + behind / (2 * math.pi * radius)
