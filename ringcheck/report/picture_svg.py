"""The picture of a ring as SVG: no script, no external resources, the same bytes for the same verdict.

Ranges stand clockwise in the order of tokens, all of the same width, so that none is too narrow to be seen; shares of
the token space are given in words. The outer ring shows the condition of each range, the inner rings its replicas, the
first outside; a replica that is not live is a hole. Unavailable ranges are hatched and stand out beyond the ring, for
readers and printers without colour. Unavailable is red and at minimum is amber; the other
colours are those of Okabe and Ito.

A ring of more than `EXACT` ranges is drawn in `BANDS` bands, each divided by the conditions of its ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.words import counted, percent
from ringcheck.errors import cut, printable
from ringcheck.report.picture import WORDS, WORST_FIRST
from ringcheck.report.svg_legend import LegendEntry, entries, legend
from ringcheck.report.svg_ring import bands, exact
from ringcheck.report.svg_shapes import CENTRE, ENTRIES, EXACT, HEIGHT, VIEW, WIDTH, safe, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.picture import Picture

_FLUID = "max-width:100%;height:auto"
_ROOT = f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="rc-title rc-desc" style="{_FLUID}"'
_STYLE = """\
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1b1f24}
.paper{fill:#fff}.h{font-size:20px;font-weight:600}.b{font-weight:600}.big{font-size:38px;font-weight:700}
.q{fill:#57606a}.c,.l{text-anchor:middle}.l{font-size:12px;dominant-baseline:central;paint-order:stroke;\
stroke:#fffc;stroke-width:3px;fill:#111}.x{fill:#57606a;stroke:#fff}.w{font-size:14px;font-weight:600}
path{fill:none}.s{stroke:#009e73}.m{stroke:#e69f00}.u{stroke:url(#rc-u)}.n{stroke:url(#rc-n)}.k{stroke:url(#rc-k)}
.us{stroke:#c1121f}.ns{stroke:#cc79a7}
.sf{fill:#009e73}.mf{fill:#e69f00}.uf{fill:url(#rc-u)}.nf{fill:url(#rc-n)}.kf{fill:url(#rc-k)}
.o{stroke:url(#rc-o)}.v{fill:#c1121f}.e{stroke:#8c959f;stroke-width:1}.ground{fill:#fff}.line{stroke:#8c959f}
.c0{stroke:#0072b2}.c1{stroke:#f0e442}.c2{stroke:#56b4e9}.c3{stroke:#8a8a8a}.c4{stroke:#004b75}.c5{stroke:#b8ad1e}
.c6{stroke:#a9daf5}.c7{stroke:#c9c9c9}.c8{stroke:#7aa6c2}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.paper,.ground{fill:#151b23}.q{fill:#9198a1}.l{fill:#111}
.x{fill:#9198a1;stroke:#151b23}.v{fill:#ff7b72}.line{stroke:#6e7681}.c4{stroke:#2d6f9e}}
@media (max-width:420px){.l,.c.q{display:none}.c{font-size:19px}.c.big{font-size:56px}}"""

_PATTERNS = """\
<defs><pattern id="rc-u" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">\
<path d="M0 3h6" stroke="#d1242f" stroke-width="6"/><path d="M0 1h6" stroke="#4a0509" stroke-width="2"/></pattern>
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
        legend: what its colours mean, as text beside the part of it that `#ring` shows.
    """

    svg: str
    title: str
    description: str
    legend: tuple[LegendEntry, ...] = ()

    def __len__(self) -> int:
        return len(self.svg)


NOTHING = Drawing("", "", "")
"""No picture: empty, and so false."""


def drawing(picture: Picture) -> Drawing:
    """The SVG of a picture with its title and description, which the SVG contains too."""
    words = cut(printable(_title(picture))), cut(printable(_description(picture)))
    return Drawing(render(picture), *words, tuple(entries(picture)))


def render(picture: Picture) -> str:
    """A whole SVG document, smaller than 300 kB for a ring of any size."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {_ROOT}>',
        f'<title id="rc-title">{safe(_title(picture))}</title>',
        f'<desc id="rc-desc">{safe(_description(picture))}</desc>',
        f'<view id="ring" viewBox="{VIEW}"/>',
        f"<style>{_STYLE}</style>",
        _PATTERNS,
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *_head(picture),
        *(exact(picture) if len(picture.ring) <= EXACT else bands(picture)),
        *_middle(picture),
        *legend(picture),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _title(picture: Picture) -> str:
    return f"{picture.verdict.snapshot.cluster}, keyspace {picture.keyspace} {picture.at}: {picture.headline()}"


def _description(picture: Picture) -> str:
    number, conditions = len(picture.ring), picture.conditions
    counts = [f"{conditions[shown]} of {number} {WORDS[shown]}" for shown in WORST_FIRST if conditions[shown]]
    down = [picture.address(node) for node, _ in picture.not_live[:ENTRIES]]
    more = len(picture.not_live) - len(down)
    nodes = f" Not live: {', '.join(down)}{f' and {more} more' if more > 0 else ''}." if down else ""
    return f"Ranges in the order of tokens, clockwise: {', '.join(counts)}.{nodes} {picture.seen}."


def _head(picture: Picture) -> Iterator[str]:
    cluster = picture.verdict.snapshot.cluster
    yield text(24, 36, f"{cluster}: keyspace {picture.keyspace} {picture.at}", "h", 84)
    replication = str(picture.ring.replication) if picture.ring.replication else "replication not known"
    parts = [replication, counted(len(picture.ring), "range"), picture.needs(), picture.seen]
    yield text(24, 58, "; ".join(filter(None, parts)), "q", 140)


def _middle(picture: Picture) -> Iterator[str]:
    """The number of unavailable ranges, in the hole of the ring."""
    x, y = CENTRE
    health, number = picture.health, len(picture.ring)
    if health is None:
        yield text(x, y - 8, "?", "big c")
        yield text(x, y + 22, "UNKNOWN", "b c")
        yield text(x, y + 42, "see the findings of health", "q c")
        return
    yield text(x, y - 18, f"{health.unavailable}", f"big c{' v' if health.unavailable else ''}")
    yield text(x, y + 6, f"of {counted(number, 'range')} unavailable", "b c", 32)
    yield text(x, y + 28, f"{percent(health.unavailable_share)} of the token space", "c")
    never = health.structurally_unavailable
    yield text(x, y + 48, f"{never} of them never available" if never else f"{health.at_minimum} at minimum", "q c")
