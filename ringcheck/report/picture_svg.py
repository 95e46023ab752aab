"""The picture of a ring as SVG: no script, nothing loaded, the same bytes for the same verdict.

Ranges stand clockwise in the order of tokens, each as wide as the others, so that none is too narrow to be seen; shares
of the token space are told in words. The outer ring is what the level makes of a range, the inner ones are its
replicas, the first outside; a replica that is not live is a hole. What is unavailable is hatched and stands out beyond
the ring, for eyes and printers that see no colour. Colours are Okabe and Ito's.

A ring of more than `EXACT` ranges is drawn in `BANDS` bands, each divided as its ranges are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.words import counted, percent
from ringcheck.report.picture import MEANINGS, WORDS, WORST_FIRST
from ringcheck.report.terminal import clip, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.picture import Band, Drawn, Picture

EXACT = 1024  # ranges that are drawn one by one
BANDS = 360
LABELLED = 64  # ranges that have room for their live count
NAMED = 24  # ranges whose replicas have room for their names
TOLD = 256  # ranges whose tooltip lists the replicas: the file stays small
SPACED = 256  # ranges that have room for gaps between them, and for hatching
RINGS, ARCS = 9, 3072  # replicas that are drawn, of a range and of all: the file stays small
GAP, SEAM = 1.5, 0.4  # pixels left free behind a range, or drawn over the next one's edge, which would shine through

WIDTH, HEIGHT = 960, 680
CENTRE = 320.0, 374.0
OUTER = 262.0  # radius of the ring
THICK = 30.0  # of the outer ring
BUMP = 14.0  # by which what is unavailable stands out
INNERMOST = 128.0  # radius of the hole in the middle
LEAST = 6.0  # what a band has at all is drawn no thinner
COLUMN = 640  # where the legend begins
ENTRIES = 8  # nodes, racks or datacenters that have a colour of their own; and nodes that are listed

Segment: TypeAlias = tuple[float, float]
"""Where an arc begins and ends, in turns from the top."""

CLASSES: dict[Drawn, str] = {
    "spare": "s", "at_minimum": "m", "unavailable": "u", "structurally_unavailable": "n", "unknown": "k",
}  # fmt: skip
SOLID: dict[Drawn, str] = {"unavailable": "us", "structurally_unavailable": "ns"}  # too narrow for a pattern
LOUD: frozenset[Drawn] = frozenset({"unavailable", "structurally_unavailable"})

_FLUID = "max-width:100%;height:auto"
_ROOT = f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="rc-title rc-desc" style="{_FLUID}"'
_STYLE = """\
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1b1f24}
.paper{fill:#fff}.h{font-size:20px;font-weight:600}.b{font-weight:600}.big{font-size:38px;font-weight:700}
.q{fill:#57606a}.c,.l{text-anchor:middle}.l{font-size:12px;dominant-baseline:central;paint-order:stroke;\
stroke:#fffc;stroke-width:3px;fill:#111}.x{fill:#57606a;stroke:#fff}.w{font-size:14px;font-weight:600}
path{fill:none}.s{stroke:#009e73}.m{stroke:#e69f00}.u{stroke:url(#rc-u)}.n{stroke:url(#rc-n)}.k{stroke:url(#rc-k)}
.us{stroke:#c44d00}.ns{stroke:#cc79a7}
.sf{fill:#009e73}.mf{fill:#e69f00}.uf{fill:url(#rc-u)}.nf{fill:url(#rc-n)}.kf{fill:url(#rc-k)}
.o{stroke:url(#rc-o)}.v{fill:#d55e00}.e{stroke:#8c959f;stroke-width:1}.ground{fill:#fff}.line{stroke:#8c959f}
.c0{stroke:#0072b2}.c1{stroke:#f0e442}.c2{stroke:#56b4e9}.c3{stroke:#8a8a8a}.c4{stroke:#004b75}.c5{stroke:#b8ad1e}
.c6{stroke:#a9daf5}.c7{stroke:#c9c9c9}.c8{stroke:#7aa6c2}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.paper,.ground{fill:#0d1117}.q{fill:#9198a1}.l{fill:#111}
.x{fill:#9198a1;stroke:#0d1117}.v{fill:#ff8a3d}.line{stroke:#6e7681}.c4{stroke:#2d6f9e}}"""

_PATTERNS = """\
<defs><pattern id="rc-u" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">\
<path d="M0 3h6" stroke="#d55e00" stroke-width="6"/><path d="M0 1h6" stroke="#4a1c00" stroke-width="2"/></pattern>
<pattern id="rc-n" width="6" height="6" patternUnits="userSpaceOnUse">\
<path d="M0 3h6" stroke="#cc79a7" stroke-width="6"/><circle cx="3" cy="3" r="1.4" fill="#4d0f33"/></pattern>
<pattern id="rc-k" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">\
<path d="M0 4h8" stroke="#999" stroke-width="8"/><path d="M0 1h8" stroke="#555" stroke-width="1"/></pattern>
<pattern id="rc-o" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">\
<rect class="ground" width="5" height="5"/><path class="line" d="M0 1h5"/></pattern></defs>"""


STYLES = (_STYLE, _FLUID)
"""The text of every style element and attribute of a drawing: what a Content-Security-Policy admits by its hash."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture as SVG, and in words for readers who do not see it. Its length is that of the SVG.

    Attributes:
        svg: the whole document.
        title: keyspace, level and what matters most.
        description: how many ranges have which condition, and which nodes are not live.
    """

    svg: str
    title: str
    description: str

    def __len__(self) -> int:
        return len(self.svg)


NOTHING = Drawing("", "", "")
"""No picture: empty, and so false."""


def drawing(picture: Picture) -> Drawing:
    """The SVG of a picture with its title and description, which the SVG contains too."""
    return Drawing(render(picture), printable(_title(picture)), printable(_description(picture)))


def render(picture: Picture) -> str:
    """A whole SVG document; below 300 kB for a ring of any size."""
    exact = len(picture.ring) <= EXACT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {_ROOT}>',
        f'<title id="rc-title">{_safe(_title(picture))}</title>',
        f'<desc id="rc-desc">{_safe(_description(picture))}</desc>',
        f"<style>{_STYLE}</style>",
        _PATTERNS,
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *_head(picture),
        *(_ranges(picture) if exact else _bands(picture)),
        *_middle(picture),
        *_legend(picture, exact=exact),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _safe(text: str) -> str:
    """Text that is text in XML, whatever a node says its name is."""
    return escape(printable(text), quote=True)


def _text(x: float, y: float, text: str, style: str = "", most: int = 46) -> str:
    classed = f' class="{style}"' if style else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{classed}>{_safe(clip(text, most))}</text>'


def _n(value: float) -> str:
    """A number without what nobody sees."""
    return f"{value:.1f}".removesuffix(".0")


# In words


def _title(picture: Picture) -> str:
    return f"{picture.verdict.snapshot.cluster}, keyspace {picture.keyspace} {picture.at}: {picture.headline()}"


def _description(picture: Picture) -> str:
    number = len(picture.ring)
    counts = [f"{picture.conditions[one]} of {number} {WORDS[one]}" for one in WORST_FIRST if picture.conditions[one]]
    gone = [picture.address(node) for node, _ in picture.not_live[:ENTRIES]]
    more = len(picture.not_live) - len(gone)
    nodes = f" Not live: {', '.join(gone)}{f' and {more} more' if more > 0 else ''}." if gone else ""
    return f"Ranges in the order of tokens, clockwise: {', '.join(counts)}.{nodes} {picture.seen}."


def _head(picture: Picture) -> Iterator[str]:
    cluster = picture.verdict.snapshot.cluster
    yield _text(24, 36, f"{cluster}: keyspace {picture.keyspace} {picture.at}", "h", 84)
    replication = str(picture.ring.replication) if picture.ring.replication else "replication not known"
    told = [replication, counted(len(picture.ring), "range"), picture.needs(), picture.seen]
    yield _text(24, 58, "; ".join(one for one in told if one), "q", 140)


def _middle(picture: Picture) -> Iterator[str]:
    """What matters most, in the hole of the ring."""
    x, y = CENTRE
    health, number = picture.health, len(picture.ring)
    if health is None:
        yield _text(x, y - 8, "?", "big c")
        yield _text(x, y + 22, "UNKNOWN", "b c")
        yield _text(x, y + 42, "see the findings of health", "q c")
        return
    yield _text(x, y - 18, f"{health.unavailable}", f"big c{' v' if health.unavailable else ''}")
    yield _text(x, y + 6, f"of {counted(number, 'range')} unavailable", "b c", 32)
    yield _text(x, y + 28, f"{percent(health.unavailable_share)} of the token space", "c")
    never = health.structurally_unavailable
    yield _text(x, y + 48, f"{never} of them never available" if never else f"{health.at_minimum} at minimum", "q c")


# Arcs


def _point(radius: float, turn: float) -> str:
    angle = 2 * math.pi * turn
    return f"{_n(CENTRE[0] + radius * math.sin(angle))} {_n(CENTRE[1] - radius * math.cos(angle))}"


def _arc(radius: float, segment: Segment) -> str:
    """A path along a circle; a whole one in halves, since an arc to where it begins is none."""
    start, end = segment
    middle = (start + end) / 2
    halves = [middle, end] if end - start > 0.5 else [end]  # noqa: PLR2004 - half a turn
    steps = "".join(f"A{_n(radius)} {_n(radius)} 0 0 1 {_point(radius, turn)}" for turn in halves)
    return f"M{_point(radius, start)}{steps}"


def _segment(first: int, end: int, number: int, radius: float) -> Segment:
    """Ranges `first` to `end` of so many: with a gap behind them where there is room for it, else without a seam."""
    behind = -GAP if 1 < number <= SPACED else SEAM
    return first / number, end / number + behind / (2 * math.pi * radius)


def _ranges(picture: Picture) -> Iterator[str]:
    """Every range, its live count and its replicas."""
    number = len(picture.ring)
    yield f'<g stroke-width="{_n(THICK)}">'
    for index in range(number):
        shown = picture.condition(index)
        bump = BUMP if shown in LOUD else 0.0
        radius = OUTER + bump / 2 - THICK / 2
        wide = f' stroke-width="{_n(THICK + bump)}"' if bump else ""
        path = _arc(radius, _segment(index, index + 1, number, radius))
        told = _safe(_told(picture, index))
        yield f'<path class="{_style(shown, number)}"{wide} d="{path}"><title>{told}</title></path>'
    yield "</g>"
    if number <= LABELLED:
        for index in range(number):
            yield _label(OUTER - THICK / 2, index, number, picture.live(index), " w" if number <= NAMED else "")
    yield from _replicas(picture)


def _style(shown: Drawn, number: int) -> str:
    """The class of a range among so many."""
    return SOLID.get(shown, CLASSES[shown]) if SPACED < number <= EXACT else CLASSES[shown]


def _told(picture: Picture, index: int) -> str:
    """A range in words, for whoever points at it."""
    start, end = picture.ring.range(index)
    number, shown = len(picture.ring), picture.condition(index)
    if number > TOLD:
        return f"Ends at {end}: {picture.live(index)} live"
    nodes = [
        f"{picture.address(node)}{' (not live)' if node in (picture.down or ()) else ''}"
        for node in picture.replicas(index)
    ]
    told = f"Range {index + 1} of {number}, ({start}, {end}]: {picture.live(index)} live, {WORDS[shown]}"
    return f"{told}; {', '.join(nodes[:RINGS]) or 'no replicas'}"


def _label(radius: float, index: int, number: int, text: str, style: str = "") -> str:
    x, y = _point(radius, (index + 0.5) / number).split()
    return f'<text class="l{style}" x="{x}" y="{y}">{_safe(text)}</text>'


def _replicas(picture: Picture) -> Iterator[str]:
    """A ring for each place in a range's list of replicas."""
    number = len(picture.ring)
    places = _places(picture)
    rows = [picture.replicas(index)[:places] for index in range(number)]
    if not places:
        return
    step = min(THICK, (OUTER - THICK - 8 - INNERMOST) / places)
    key = _Key(picture)
    names = _short([picture.address(node) for node in range(len(picture.verdict.snapshot.nodes))])
    yield f'<g stroke-width="{_n(step - 2)}">'
    for place in range(places):
        radius = OUTER - THICK - 8 - step * (place + 0.5)
        shown = [key.style(row[place]) if place < len(row) else "" for row in rows]
        yield from _runs(shown, radius)
    yield "</g>"
    for index, row in enumerate(rows if number <= NAMED else []):
        for place, node in enumerate(row):
            gone = " x" if node in (picture.down or ()) else ""
            yield _label(OUTER - THICK - 8 - step * (place + 0.5), index, number, names[node], gone)


def _places(picture: Picture) -> int:
    """How many replicas of each range are drawn."""
    return min(_most(picture), RINGS, ARCS // len(picture.ring))


def _most(picture: Picture) -> int:
    return max(len(picture.replicas(index)) for index in range(len(picture.ring)))


def _runs(shown: list[str], radius: float) -> Iterator[str]:
    """A path for each class: neighbours of one class as one arc, unless there is room for gaps."""
    number, first = len(shown), 0
    paths: dict[str, list[str]] = defaultdict(list)
    for index, style in enumerate(shown):
        if index + 1 == number or shown[index + 1] != style or number <= SPACED:
            paths[style].append(_arc(radius, _segment(first, index + 1, number, radius)))
            first = index + 1
    for style in sorted(paths.keys() - {""}):
        yield f'<path class="{style}" d="{"".join(paths[style])}"/>'


class _Key:
    """Whose each colour is: a node's; with more nodes than colours a rack's, a datacenter's, or nobody's."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.nodes = picture.verdict.snapshot.nodes
        self.held = dict(picture.not_live)
        number = len(picture.ring)
        self.here = sorted({node for index in range(number) for node in picture.replicas(index)})
        self.groups = next((one for one in self._groupings() if len(one) <= ENTRIES), {})
        self.colours = {node: f"c{place}" for place, group in enumerate(self.groups.values()) for node in group}

    @property
    def by_node(self) -> bool:
        """Whether each node has a colour of its own."""
        return bool(self.groups) and all(len(group) == 1 for group in self.groups.values())

    def _groupings(self) -> Iterator[dict[str, list[int]]]:
        yield {self.nodes[node].address: [node] for node in self.here}
        for fields in (("datacenter", "rack"), ("datacenter",)):
            found: dict[str, list[int]] = defaultdict(list)
            for node in self.here:
                found[" ".join(getattr(self.nodes[node], field) or "?" for field in fields)].append(node)
            yield dict(sorted(found.items()))

    def style(self, node: int) -> str:
        """The class of a replica on this node."""
        if self.picture.down is None:
            return "k"  # drawn in its colour it would pass for live
        return "o" if node in (self.picture.down or ()) else self.colours.get(node, f"c{ENTRIES}")

    def entries(self) -> Iterator[tuple[str, str]]:
        """Each colour and whose it is, and the hole."""
        number = len(self.picture.ring)
        if self.picture.down is None:
            yield "k", "live or not: not known"
            return
        for place, (name, group) in enumerate(self.groups.items()):
            if self.by_node and group[0] in self.held:
                yield "o", f"{name}, not live: {self.held[group[0]]} of {number} ranges"
            else:
                yield f"c{place}", name if self.by_node else f"{name}: {counted(len(group), 'node')}"
        if not self.groups:
            yield f"c{ENTRIES}", "a live replica"
        if self.held and not self.by_node:
            yield "o", f"a replica that is not live: {self.picture.hurt} of {number} ranges"


def _short(addresses: list[str]) -> list[str]:
    """Addresses without what all of them begin with."""
    if len(addresses) < 2:  # noqa: PLR2004 - one has nothing in common with others
        return addresses
    low, high = min(addresses), max(addresses)
    same = next((place for place, pair in enumerate(zip(low, high, strict=False)) if len(set(pair)) > 1), 0)
    cut = max(low.rfind(mark, 0, same) for mark in ".:")
    return [one[cut:] if cut > 0 else one for one in addresses]


# Bands


def _bands(picture: Picture) -> Iterator[str]:
    """Each band divided as its ranges are, the worst outside; the outermost rim where anything is unavailable."""
    paths: dict[Drawn, list[str]] = defaultdict(list)
    titles: list[str] = []
    bands = list(picture.bands(BANDS))
    for place, band in enumerate(bands):
        segment = _segment(place, place + 1, len(bands), OUTER)
        for shown, outside, inside in _layers(band):
            paths[shown].append(_sector(segment, outside, inside))
        titles.append(f'<path d="{_sector(segment, OUTER, INNERMOST + 30)}"><title>{_of_band(band)}</title></path>')
    yield '<g stroke="none">'
    yield from (f'<path class="{CLASSES[one]}f" d="{"".join(paths[one])}"/>' for one in WORST_FIRST if paths[one])
    yield "</g>"
    yield f'<g pointer-events="all">{"".join(titles)}</g>'


def _layers(band: Band) -> Iterator[tuple[Drawn, float, float]]:
    """Condition and radii of what a band is made of, from outside."""
    there = [one for one in WORST_FIRST if band.conditions[one]]
    room = OUTER - (INNERMOST + 30)
    left, outside = room, OUTER
    for place, one in enumerate(there):
        after = LEAST * (len(there) - place - 1)
        deep = left if not after else min(left - after, max(LEAST, band.conditions[one] / band.ranges * room))
        yield one, outside + (BUMP if one in LOUD and not place else 0), outside - deep
        outside, left = outside - deep, left - deep


def _sector(segment: Segment, outside: float, inside: float) -> str:
    start, end = segment
    return (
        f"M{_point(outside, start)}A{_n(outside)} {_n(outside)} 0 0 1 {_point(outside, end)}"
        f"L{_point(inside, end)}A{_n(inside)} {_n(inside)} 0 0 0 {_point(inside, start)}Z"
    )


def _of_band(band: Band) -> str:
    each = [f"{band.conditions[one]} {WORDS[one]}" for one in WORST_FIRST if band.conditions[one]]
    return f"Ranges {band.first + 1} to {band.first + band.ranges}: {', '.join(each)}"


# Legend


def _legend(picture: Picture, *, exact: bool) -> Iterator[str]:
    y = 112.0
    each = f"{BANDS} bands of about {round(len(picture.ring) / BANDS)} ranges each"
    yield _text(COLUMN, y, "Outer ring: each range at the level" if exact else each, "b")
    if not exact:
        y += 18
        yield _text(COLUMN, y, "divided as its ranges are, the worst outside", "q")
    for one in _conditions(picture):
        y += 25
        yield _swatch(y, _style(one, len(picture.ring)))
        count, number = picture.conditions[one], len(picture.ring)
        yield _text(COLUMN + 30, y, f"{count} of {number} {WORDS[one]}")
        y += 16
        yield _text(COLUMN + 30, y, MEANINGS[one], "q")
    y += 40
    key = _Key(picture) if exact else None
    if key:
        places = _places(picture)
        which = (
            "its replicas, the first outside" if places == _most(picture) else f"replicas 1 to {places} from outside"
        )
        yield _text(COLUMN, y, f"Inner rings: {which}", "b")
        for style, text in key.entries():
            y += 23
            yield _swatch(y, style)
            yield _text(COLUMN + 30, y, text)
        y += 40
    if not (key and key.by_node):
        yield from _gone(picture, y)
    yield _text(COLUMN, HEIGHT - 22, "Clockwise from the top in the order of tokens", "q")


def _conditions(picture: Picture) -> list[Drawn]:
    always: set[Drawn] = {"unavailable", "at_minimum", "spare"}
    return [one for one in WORST_FIRST if picture.conditions[one] or (one in always and picture.health)]


def _swatch(y: float, style: str) -> str:
    edge = f'<path class="e" d="M{COLUMN} {_n(y - 12)}h20v15h-20z"/>' if style == "o" else ""
    return f'<path class="{style}" stroke-width="15" d="M{COLUMN} {_n(y - 4.5)}h20"/>{edge}'


def _gone(picture: Picture, y: float) -> Iterator[str]:
    """The nodes to blame, as many as there is room for."""
    if not picture.not_live:
        return
    room = max(1, min(ENTRIES, int((HEIGHT - 60 - y) // 19)))
    listed = picture.not_live[:room]
    yield _text(COLUMN, y, f"Not live: {counted(len(picture.not_live), 'node')}", "b")
    for node, held in listed:
        y += 19
        yield _text(COLUMN, y, f"{picture.address(node)}: a replica of {held} of {len(picture.ring)} ranges")
    if len(picture.not_live) > len(listed):
        yield _text(COLUMN, y + 19, f"and {len(picture.not_live) - len(listed)} more", "q")
