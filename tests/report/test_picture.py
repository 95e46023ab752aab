"""Pictures of the ring: the article's figures, and rings from one range up to more than can be drawn one by one."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Node, Pending, Replication, Ring, Snapshot, View
from ringcheck.report import picture_svg, picture_text
from ringcheck.report.picture import Picture, draw
from ringcheck.report.terminal import cells
from tests import article, figures

SVG = "{http://www.w3.org/2000/svg}"
QUORUM = Level.LOCAL_QUORUM
PLAIN = picture_text.ASCII
AT_MOST = 300_000
HOSTILE = "</title><script>alert(1)</script>\x1b[2J&\"'\x00"


def drawn(seen: Snapshot, keyspace: str = "blog", level: Level | None = QUORUM) -> Picture:
    levels = (level,) if level else ()
    picture = draw(assess(seen, Policy(), Question(keyspaces=(keyspace,), levels=levels)), keyspace, level)
    assert picture is not None
    return picture


def svg(picture: Picture) -> ET.Element:
    return ET.fromstring(picture_svg.render(picture))  # noqa: S314 - our own output


def ranges(root: ET.Element) -> list[ET.Element]:
    """The arcs of the outer ring: those with a tooltip."""
    return [path for path in root.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None]


def arcs(root: ET.Element, style: str) -> int:
    return sum(path.get("class") == style for path in ranges(root))


FIRST = """\
blogs, keyspace blog at LOCAL_QUORUM in dc1: 0 of 12 ranges unavailable, 9 at
  minimum
NetworkTopologyStrategy {dc1=3}, needs 2 live in dc1, as 10.0.0.2 sees it,
  2026-01-01T00:00:00Z
X unavailable       0 of 12  too few replicas are live
o at minimum        9 of 12  one more loss is an outage
. with spare        3 of 12  can lose a replica
- replica not live  9 of 12  have at least one such replica

  RANGE ENDS AT         LIVE  STATE            REPLICAS
o -9223372036854775808   2/3  at minimum       -10.0.0.1 +10.0.0.2 +10.0.0.3
. -7686143364045646507   3/3  with spare       +10.0.0.2 +10.0.0.3 +10.0.0.4
o -6148914691236517206   2/3  at minimum       +10.0.0.3 +10.0.0.4 -10.0.0.1
o -4611686018427387905   2/3  at minimum       +10.0.0.4 -10.0.0.1 +10.0.0.2
o -3074457345618258604   2/3  at minimum       -10.0.0.1 +10.0.0.2 +10.0.0.3
. -1537228672809129303   3/3  with spare       +10.0.0.2 +10.0.0.3 +10.0.0.4
o                   -2   2/3  at minimum       +10.0.0.3 +10.0.0.4 -10.0.0.1
o  1537228672809129299   2/3  at minimum       +10.0.0.4 -10.0.0.1 +10.0.0.2
o  3074457345618258600   2/3  at minimum       -10.0.0.1 +10.0.0.2 +10.0.0.3
.  4611686018427387901   3/3  with spare       +10.0.0.2 +10.0.0.3 +10.0.0.4
o  6148914691236517202   2/3  at minimum       +10.0.0.3 +10.0.0.4 -10.0.0.1
o  7686143364045646503   2/3  at minimum       +10.0.0.4 -10.0.0.1 +10.0.0.2

- 10.0.0.1 not live: 9 of 12 ranges"""

SECOND = """\
blogs, keyspace blog at LOCAL_QUORUM in
  dc1: 6 of 12 ranges (50.0 % of the
  tokens) unavailable
NetworkTopologyStrategy {dc1=3}, needs 2
  live in dc1, as 10.0.0.2 sees it,
  2026-01-01T00:00:00Z
█ unavailable       6 of 12  too few
  replicas are live
▪ at minimum        6 of 12  one more
  loss is an outage
· with spare        0 of 12  can lose a
  replica
○ replica not live 12 of 12  have at
  least one such replica

  LIVE  REPLICAS
█  1/3  ○10.0.0.1 ●10.0.0.2 ○10.0.0.3
▪  2/3  ●10.0.0.2 ○10.0.0.3 ●10.0.0.4"""


SIXTY = """\
blogs, keyspace blog at LOCAL_QUORUM in dc1: 6 of 12 ranges
  (50.0 % of the tokens) unavailable
NetworkTopologyStrategy {dc1=3}, needs 2 live in dc1, as
  10.0.0.2 sees it, 2026-01-01T00:00:00Z
X unavailable       6 of 12  too few replicas are live
o at minimum        6 of 12  one more loss is an outage
. with spare        0 of 12  can lose a replica
- replica not live 12 of 12  have at least one such replica
"""


def test_no_explanation_is_cut_at_sixty_columns() -> None:
    """Further rows of the head are indented; a meaning that does not fit continues below itself."""
    lost = drawn(figures.snapshot([figures.A, figures.C]))
    assert picture_text.render(lost, columns=60, signs=PLAIN).startswith(SIXTY)
    text = picture_text.render(drawn(figures.snapshot([], 2, 3, 2), level=Level.THREE), columns=50, signs=PLAIN)
    assert "# never available  6 of 6  needs more replicas\n                           than there are\n" in text


def test_the_first_figure_in_a_terminal() -> None:
    """With A down, nine of twelve ranges lose a replica, and all are available."""
    assert picture_text.render(drawn(figures.snapshot([figures.A])), signs=PLAIN) == FIRST


def test_the_second_figure_in_a_narrow_terminal() -> None:
    """With A and C down, six of twelve ranges are unavailable at LOCAL_QUORUM."""
    text = picture_text.render(drawn(figures.snapshot([figures.A, figures.C])), columns=40)
    assert text.startswith(SECOND)
    assert re.findall(r"(?m)^█  1/3", text) == ["█  1/3"] * 6


@pytest.mark.parametrize(
    ("down", "expected"), [((), (12, 0, 0)), ((figures.A,), (3, 9, 0)), ((figures.A, figures.C), (0, 6, 6))]
)
def test_the_figures_as_svg(down: tuple[str, ...], expected: tuple[int, int, int]) -> None:
    """Each range has an arc, with the class of its condition and its number of live replicas."""
    root = svg(drawn(figures.snapshot(down)))
    assert (arcs(root, "s"), arcs(root, "m"), arcs(root, "u")) == expected
    counts = [label.text for label in root.iter(f"{SVG}text") if (label.get("class") or "").startswith("l w")]
    assert sorted(map(str, counts)) == sorted(["3/3"] * expected[0] + ["2/3"] * expected[1] + ["1/3"] * expected[2])


def test_svg_has_a_title_and_a_description() -> None:
    """They say what the picture shows; the tooltip of an unavailable range lists its replicas."""
    root = svg(drawn(figures.snapshot([figures.A, figures.C])))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == (
        "blogs, keyspace blog at LOCAL_QUORUM in dc1: 6 of 12 ranges (50.0 % of the tokens) unavailable"
    )
    assert root.findtext(f"{SVG}desc") == (
        "Ranges in the order of tokens, clockwise: 6 of 12 unavailable, 6 of 12 at minimum. "
        "Not live: 10.0.0.1, 10.0.0.3. as 10.0.0.2 sees it, 2026-01-01T00:00:00Z."
    )
    assert ranges(root)[0].findtext(f"{SVG}title") == (
        "Range 1 of 12, (7686143364045646503, -9223372036854775808]: 1/3 live, unavailable; "
        "10.0.0.1 (not live), 10.0.0.2, 10.0.0.3 (not live)"
    )


def test_the_words_and_styles_of_a_drawing_are_those_in_the_svg() -> None:
    """Pages show the text beside the picture, and a policy allows the styles by their hashes."""
    drawing = picture_svg.drawing(drawn(figures.snapshot([figures.A], cluster=HOSTILE)))
    root = ET.fromstring(drawing.svg)  # noqa: S314 - our own output
    assert (drawing.title, drawing.description) == (root.findtext(f"{SVG}title"), root.findtext(f"{SVG}desc"))
    elements = [part.text for part in root.iter(f"{SVG}style")]
    assert (*elements, *(part.attrib["style"] for part in root.iter() if "style" in part.attrib)) == picture_svg.STYLES
    assert len(drawing) == len(drawing.svg)
    assert not picture_svg.NOTHING


def test_unavailable_ranges_stand_out_by_more_than_colour() -> None:
    """They are thicker than the rest of the ring, and hatched if there is room."""
    root = svg(drawn(figures.snapshot([figures.A, figures.C])))
    widths = {path.get("class"): path.get("stroke-width") for path in ranges(root)}
    assert widths == {"u": "44", "m": None}
    assert "stroke:url(#rc-u)" in (root.findtext(f"{SVG}style") or "")


SIZES = [(1, 1, 1), (2, 1, 2), (4, 3, 3), (16, 16, 9), (12, 64, 5), (256, 4, 3), (1025, 1, 3), (640, 64, 3)]


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "vnodes", "factor"), SIZES)
def test_every_size_is_bounded(nodes: int, vnodes: int, factor: int) -> None:
    """An SVG has at most 300 kB; a text is at most as wide as the terminal, and shorter than a hundred lines."""
    seen = drawn(figures.snapshot(figures.addresses(nodes)[1:6:2], nodes, vnodes, factor))
    assert len(picture_svg.render(seen).encode()) < AT_MOST
    for columns in (40, 80, 200):
        lines = picture_text.render(seen, columns=columns).splitlines()
        assert max(map(cells, lines)) <= columns
        assert len(lines) < 100


def test_the_longest_of_everything_is_bounded() -> None:
    """With tokens of 39 digits, IPv6 addresses and nine replicas, some are left out, and the legend says so."""
    nodes = tuple(
        Node(f"2001:db8:1:2:3:4:5:{index:x}", datacenter="dc1", rack=f"r{index % 8}") for index in range(1024)
    )
    ends = [2**127 - 2**116 * (1024 - index) for index in range(1024)]
    rows = [(ends[at - 1], end, [(at + more) % 1024 for more in range(9)]) for at, end in enumerate(ends)]
    ring = Ring.build(["blog"], Replication.parse("NetworkTopologyStrategy {dc1=9}"), rows, 1024)
    views = (View(nodes[0].address, live=frozenset(node.address for node in nodes[::2])),)
    text = picture_svg.render(
        drawn(
            Snapshot(
                cluster="c", taken_at="t", partitioner="RandomPartitioner", nodes=nodes, views=views, rings=(ring,)
            )
        )
    )
    assert len(text.encode()) < AT_MOST
    assert "Inner rings: replicas 1 to 3 from outside" in text


def test_the_same_verdict_gives_the_same_bytes() -> None:
    """This includes the styles for light and dark."""
    first, second = (picture_svg.render(drawn(figures.snapshot([figures.A]))) for _ in range(2))
    assert first == second
    assert "prefers-color-scheme:dark" in first


def test_svg_loads_nothing() -> None:
    """It has no script, no handler, and no URL except the namespace."""
    text = picture_svg.render(drawn(figures.snapshot([figures.A])))
    assert not re.search(r"<script|<image|<use|<foreignObject|\bon\w+=|@import|href", text)
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]


def test_a_hostile_name_is_text() -> None:
    """A cluster's name can neither end an element nor move the cursor."""
    seen = drawn(figures.snapshot([figures.A], cluster=HOSTILE))
    root = svg(seen)
    assert not list(root.iter(f"{SVG}script"))
    assert str(root.findtext(f"{SVG}title")).startswith("</title><script>alert(1)</script>?[2J&\"'?, keyspace")
    assert "\x1b" not in picture_text.render(seen)


def test_colour_changes_nothing_but_colour() -> None:
    """Without its escapes the coloured picture is the plain one."""
    seen = drawn(figures.snapshot([figures.A, figures.C]))
    painted = picture_text.render(seen, colour=True)
    assert "\x1b[31;1m█ \x1b[0m" in painted
    bare = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", painted).splitlines())
    assert bare == picture_text.render(seen)


def test_a_middle_ring_has_a_sign_for_each_range() -> None:
    """The signs of 768 ranges are those of their conditions, in the order of tokens."""
    text = picture_text.render(drawn(article.snapshot(["10.0.0.1"]), "blog_1", Level.LOCAL_ONE), signs=PLAIN)
    strip = "".join(line[6:] for line in text.splitlines() if re.match(r" *\d+  [Xo.]", line))
    assert (strip.count("X"), strip.count("o"), strip.count(".")) == (256, 512, 0)
    lost = [index for index, (_, _, nodes) in enumerate(article.placed(1)) if nodes == (0,)]
    assert [index for index, sign in enumerate(strip.replace(" ", "")) if sign == "X"] == lost


def test_a_large_ring_says_how_many_ranges_a_row_stands_for() -> None:
    """The rows add up to the ring, and a single unavailable range is visible in its row."""
    seen = drawn(figures.snapshot(figures.addresses(640)[:3:2], 640, 64))
    text = picture_text.render(seen, signs=PLAIN)
    assert "Each row stands for 1280 of 40960 ranges" in text
    rows = [line.split() for line in text.splitlines() if re.match(r"[Xo.] +\d+ +\d+ +\d+  ", line)]
    assert len(rows) == 32
    assert sum(int(row[2]) for row in rows) == seen.conditions["unavailable"] == 64
    assert {row[0] for row in rows} == {"X"}
    assert all(row[4].startswith("X") for row in rows)


@pytest.mark.parametrize("most", [1, 7, 32, 40, 500])
def test_bands_tile_the_ring(most: int) -> None:
    """Each range is in one band, and the counts of the bands add up to those of the picture."""
    seen = drawn(figures.snapshot([figures.A], 4, 10))
    bands = list(seen.bands(most))
    assert [band.first for band in bands] == [sum(band.ranges for band in bands[:index]) for index in range(len(bands))]
    assert len(bands) == min(most, 40)
    assert sum((band.conditions for band in bands), start=type(seen.conditions)()) == seen.conditions
    assert [band.start for band in bands] == [bands[index - 1].end for index in range(len(bands))]


def test_without_a_view_nothing_passes_for_live() -> None:
    """Without a view every range and every replica is drawn as unknown."""
    seen = drawn(figures.snapshot(figures.ADDRESSES))
    text = picture_text.render(seen, signs=PLAIN)
    assert "no usable view: 10.0.0.1 (refused)" in text
    assert "? not known        12 of 12" in text
    assert "+10.0.0" not in text
    assert "?/3" in text
    root = svg(seen)
    assert {path.get("class") for group in root.findall(f"{SVG}g") for path in group} == {"k"}


def test_unknown_replication_is_unknown() -> None:
    """Without the replication the required replicas are unknown, and no range is drawn as available."""
    healthy = figures.snapshot([figures.A])
    seen = drawn(replace(healthy, rings=(replace(healthy.rings[0], replication=None),)))
    assert set(seen.conditions) == {"unknown"}
    assert seen.live(0) == "2/3"
    assert "replication not known" in picture_text.render(seen)


def test_structurally_unavailable_ranges_are_marked() -> None:
    """Ranges that need more replicas than there are nodes have a sign and a pattern of their own."""
    seen = drawn(figures.snapshot([], 2, 3, 2), level=Level.THREE)
    assert seen.conditions == {"structurally_unavailable": 6}
    assert "# never available  6 of 6" in picture_text.render(seen, signs=PLAIN)
    assert arcs(svg(seen), "n") == 6
    assert seen.headline() == "6 of 6 ranges (100.0 % of the tokens) unavailable, 6 of them never available"


def test_the_worst_level_is_drawn_by_default() -> None:
    """If LOCAL_QUORUM is lost and LOCAL_ONE is not, LOCAL_QUORUM is drawn."""
    seen = drawn(figures.snapshot([figures.A, figures.C]), level=None)
    assert seen.at == "at LOCAL_QUORUM in dc1"


def test_pending_replicas_count_where_writes_need_them() -> None:
    """A range with a pending replica that is down needs one more live replica than it has."""
    start, end, _ = next(figures.placed(4, 3, 3))
    seen = drawn(figures.snapshot([figures.A, figures.D], pending=[Pending(start, end, (3,))]))
    assert seen.live(0) == "2/4"
    assert seen.condition(0) == "unavailable"


def test_only_replicas_that_the_level_counts_are_drawn() -> None:
    """A LOCAL level counts the replicas of the clients' datacenter; by default the worst is drawn."""
    healthy = figures.snapshot()
    nodes = tuple(replace(node, datacenter="dc2") if node.address == figures.D else node for node in healthy.nodes)
    seen = drawn(replace(healthy, nodes=nodes), level=Level.LOCAL_ONE)
    assert seen.at == "at LOCAL_ONE in dc2"
    assert {node for index in range(12) for node in seen.replicas(index)} == {3}
    assert {seen.live(index) for index in range(12)} == {"1/1", "0/0"}


def test_an_unknown_keyspace_has_no_picture() -> None:
    """There is no picture, and the caller reports the error."""
    assert draw(assess(figures.snapshot(), Policy(), Question()), "none") is None
