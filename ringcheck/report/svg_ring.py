"""The ring of the SVG: every range with its replicas, or bands of ranges if there are too many."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ringcheck.report.picture import WORDS, WORST_FIRST
from ringcheck.report.svg_colours import ColourKey
from ringcheck.report.svg_shapes import (
    BANDS,
    BUMP,
    CLASSES,
    INNERMOST,
    LOUD,
    OUTER,
    SPACED,
    THICK,
    arc,
    point,
    rounded,
    safe,
    sector,
    segment,
    style,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.picture import Band, Drawn, Picture

LABELLED = 64  # ranges that have room for their live count
NAMED = 24  # ranges whose replicas have room for their names
LISTED = 256  # ranges whose tooltip lists the replicas: the file stays small
RINGS, ARCS = 9, 3072  # replicas that are drawn, of one range and of all ranges: the file stays small
LEAST = 6.0  # pixels of each condition in a band, however few ranges have it


def exact(picture: Picture) -> Iterator[str]:
    """Every range, its live count and its replicas."""
    number = len(picture.ring)
    yield f'<g stroke-width="{rounded(THICK)}">'
    for index in range(number):
        condition = picture.condition(index)
        bump = BUMP if condition in LOUD else 0.0
        radius = OUTER + bump / 2 - THICK / 2
        wide = f' stroke-width="{rounded(THICK + bump)}"' if bump else ""
        path = arc(radius, segment(index, index + 1, number, radius))
        tooltip = safe(_tooltip(picture, index))
        yield f'<path class="{style(condition, number)}"{wide} d="{path}"><title>{tooltip}</title></path>'
    yield "</g>"
    if number <= LABELLED:
        for index in range(number):
            yield _label(OUTER - THICK / 2, index, number, picture.live(index), " w" if number <= NAMED else "")
    yield from _replicas(picture)


def _tooltip(picture: Picture, index: int) -> str:
    """A range in words."""
    start, end = picture.ring.range(index)
    number, live = len(picture.ring), picture.live(index)
    if number > LISTED:
        return f"Ends at {end}: {live} live"
    nodes = [
        f"{picture.address(node)}{' (not live)' if node in (picture.down or ()) else ''}"
        for node in picture.replicas(index)
    ]
    condition = WORDS[picture.condition(index)]
    head = f"Range {index + 1} of {number}, ({start}, {end}]: {live} live, {condition}"
    return f"{head}; {', '.join(nodes[:RINGS]) or 'no replicas'}"


def _label(radius: float, index: int, number: int, words: str, classes: str = "") -> str:
    x, y = point(radius, (index + 0.5) / number).split()
    return f'<text class="l{classes}" x="{x}" y="{y}">{safe(words)}</text>'


# Replicas


def _replicas(picture: Picture) -> Iterator[str]:
    """A ring for the first replica of each range, one for the second, and so on."""
    number, drawn = len(picture.ring), replicas_drawn(picture)
    if not drawn:
        return
    rows = [picture.replicas(index)[:drawn] for index in range(number)]
    step = min(THICK, (OUTER - THICK - 8 - INNERMOST) / drawn)
    radii = [OUTER - THICK - 8 - step * (position + 0.5) for position in range(drawn)]
    key = ColourKey(picture)
    yield f'<g stroke-width="{rounded(step - 2)}">'
    for position, radius in enumerate(radii):
        yield from _runs([key.style(row[position]) if position < len(row) else "" for row in rows], radius)
    yield "</g>"
    if number <= NAMED:
        yield from _names(picture, rows, radii)


def _names(picture: Picture, rows: list[tuple[int, ...]], radii: list[float]) -> Iterator[str]:
    names = _short([node.address for node in picture.verdict.snapshot.nodes])
    for index, row in enumerate(rows):
        for node, radius in zip(row, radii, strict=False):
            down = " x" if node in (picture.down or ()) else ""
            yield _label(radius, index, len(rows), names[node], down)


def replicas_drawn(picture: Picture) -> int:
    """How many replicas of each range are drawn."""
    return min(most_replicas(picture), RINGS, ARCS // len(picture.ring))


def most_replicas(picture: Picture) -> int:
    """The largest number of replicas of a range."""
    return max(len(picture.replicas(index)) for index in range(len(picture.ring)))


def _runs(classes: list[str], radius: float) -> Iterator[str]:
    """A path for each class: neighbours of the same class as one arc, unless there is room for gaps."""
    number, first = len(classes), 0
    paths: dict[str, list[str]] = defaultdict(list)
    for index, name in enumerate(classes):
        if index + 1 == number or classes[index + 1] != name or number <= SPACED:
            paths[name].append(arc(radius, segment(first, index + 1, number, radius)))
            first = index + 1
    for name in sorted(paths.keys() - {""}):
        yield f'<path class="{name}" d="{"".join(paths[name])}"/>'


def _short(addresses: list[str]) -> list[str]:
    """Addresses without the part that all of them begin with."""
    if len(addresses) < 2:  # noqa: PLR2004 - a single address shares nothing
        return addresses
    low, high = min(addresses), max(addresses)
    same = next((at for at, pair in enumerate(zip(low, high, strict=False)) if len(set(pair)) > 1), 0)
    cut = max(low.rfind(mark, 0, same) for mark in ".:")
    return [address[cut:] if cut > 0 else address for address in addresses]


# Bands


def bands(picture: Picture) -> Iterator[str]:
    """Each band divided by the conditions of its ranges, the worst outside; it stands out if that is unavailable."""
    paths: dict[Drawn, list[str]] = defaultdict(list)
    tooltips: list[str] = []
    parts = list(picture.bands(BANDS))
    for index, band in enumerate(parts):
        part = segment(index, index + 1, len(parts), OUTER)
        for condition, outside, inside in _layers(band):
            paths[condition].append(sector(part, outside, inside))
        tooltips.append(f'<path d="{sector(part, OUTER, INNERMOST + 30)}"><title>{_of_band(band)}</title></path>')
    yield '<g stroke="none">'
    drawn = [condition for condition in WORST_FIRST if paths[condition]]
    yield from (f'<path class="{CLASSES[condition]}f" d="{"".join(paths[condition])}"/>' for condition in drawn)
    yield "</g>"
    yield f'<g pointer-events="all">{"".join(tooltips)}</g>'


def _layers(band: Band) -> Iterator[tuple[Drawn, float, float]]:
    """Condition, outer and inner radius of each layer of a band, from outside."""
    present = [condition for condition in WORST_FIRST if band.conditions[condition]]
    room = OUTER - (INNERMOST + 30)
    left, outside = room, OUTER
    for index, condition in enumerate(present):
        after = LEAST * (len(present) - index - 1)
        share = band.conditions[condition] / band.ranges
        depth = left if not after else min(left - after, max(LEAST, share * room))
        yield condition, outside + (BUMP if condition in LOUD and not index else 0), outside - depth
        outside, left = outside - depth, left - depth


def _of_band(band: Band) -> str:
    counts = [f"{band.conditions[shown]} {WORDS[shown]}" for shown in WORST_FIRST if band.conditions[shown]]
    return f"Ranges {band.first + 1} to {band.first + band.ranges}: {', '.join(counts)}"
