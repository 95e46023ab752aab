"""A verdict as text for a terminal of 80 columns."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Pending, View
from ringcheck.report import text
from tests import article

ONE_DOWN = """\
CRITICAL blogs: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE in dc1 \
(1 node down: 10.0.0.1); and 1 more finding
3 nodes (2 up, 1 down); 2 of 3 views usable; 2026-01-01T00:00:00Z

KEYSPACE, LEVEL  DC   STATE     UNAVAILABLE   SHARE  AT MIN  NODES  RACKS
blog_1: SimpleStrategy {replication_factor=1}, 768 ranges
  LOCAL_ONE      dc1  CRITICAL          256  31.5 %     512      0      0
  LOCAL_QUORUM   dc1  WARNING           256  31.5 %     512      0      0
blog_3: SimpleStrategy {replication_factor=3}, 768 ranges
  LOCAL_ONE      dc1  OK                  0   0.0 %       0      2      2
  LOCAL_QUORUM   dc1  OK                  0   0.0 %     768      1      1
NODES, RACKS: failures until a range is lost (0: already lost)

Worst range of blog_1 at LOCAL_ONE in dc1: (-9204263351511030140, -9197582255811759488]
  replicas 10.0.0.1
  live     none, as 10.0.0.2 sees it

Bring back first: 10.0.0.1 (restores 31.5 % of the tokens)

Findings
  CRITICAL unavailable: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE in dc1
    as 10.0.0.2 sees it
  WARNING unavailable: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_QUORUM in dc1
    as 10.0.0.2 sees it
  note node_down: 10.0.0.1 is down
    for 10.0.0.2, 10.0.0.3"""


def test_one_node_down() -> None:
    """This is the complete screen."""
    assert text.render(assess(article.snapshot(["10.0.0.1"]), Policy())) == ONE_DOWN


PAINT = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("width", [None, 80, 40, 12])
def test_colour_changes_nothing_but_colour(width: int | None) -> None:
    """Without its escapes the coloured screen is the plain one, however narrow the terminal is."""
    verdict = assess(article.snapshot(["10.0.0.1"]), Policy())
    painted = text.render(verdict, colour=True, width=width)
    assert "\x1b[31;1mCRITICAL\x1b[0m" in painted
    assert PAINT.sub("", painted) == text.render(verdict, width=width)


def test_names_are_never_painted() -> None:
    """If a cluster has the name of a severity, only the severity itself has a colour."""
    verdict = assess(article.snapshot(["10.0.0.1"], "OK"), Policy())
    painted = text.render(verdict, colour=True).splitlines()
    assert painted[0].startswith("\x1b[31;1mCRITICAL\x1b[0m OK: 256 of 768 ranges")
    (row,) = [line for line in painted if "LOCAL_QUORUM   dc1" in line and "768" in line]
    assert row == "  LOCAL_QUORUM   dc1  \x1b[32mOK\x1b[0m                  0   0.0 %     768      1      1"


def test_the_overview_is_the_middle_of_the_screen() -> None:
    """It has the table, the worst range and the node to bring back, but neither head nor findings."""
    verdict = assess(article.snapshot(["10.0.0.1"]), Policy())
    head, *middle, findings = ONE_DOWN.split("\n\n")
    assert (text.overview(verdict), len(middle)) == ("\n\n".join(middle), 3)
    assert text.overview(verdict, colour=True) in text.render(verdict, colour=True)
    assert (head.splitlines()[1], findings.splitlines()[0]) == (text.basis(verdict), "Findings")


def test_the_table_fits() -> None:
    """The table stays within 80 columns."""
    lines = text.render(assess(article.snapshot(["10.0.0.1"]), Policy())).splitlines()
    table = lines[lines.index("") + 1 :]
    assert all(len(row) <= 80 for row in table[: table.index("")])


def test_a_hostile_name_moves_no_cursor() -> None:
    """Control characters in a name do not reach the terminal."""
    shown = text.render(assess(article.snapshot((), "a\x1b]0;b\x07\rc"), Policy()))
    assert not set(shown) & {"\r", "\x07", "\x1b"}


def test_every_unavailable_range_is_listed_on_request() -> None:
    """They are at the end, by keyspace and level, one per line, without ranges that are available."""
    seen = article.snapshot(["10.0.0.1"])
    ring = seen.rings[0]
    spans = [ring.range(index) for index in range(len(ring)) if ring.replicas(index) == (0,)]
    listed = [f"  ({start}, {end}]" for start, end in spans]
    shown = text.render(assess(seen, Policy(), Question(ranges=True)))
    head = [f"Unavailable ranges of blog_1 at {level} in dc1: {len(spans)}" for level in ("LOCAL_ONE", "LOCAL_QUORUM")]
    assert shown == "\n".join([ONE_DOWN, "", head[0], *listed, head[1], *listed])
    assert max(map(len, listed)) <= 80


def test_a_request_without_unavailable_ranges_is_answered() -> None:
    """The answer shows that no list was cut off, but does not hide a gap."""
    seen = article.snapshot()
    silent = replace(seen, views=(View(article.ADDRESSES[0], outcome="unreachable", reason="timeout"), *seen.views[1:]))
    for snapshot, expected in (
        (seen, "No range is unavailable"),
        (silent, "No range is unavailable, as far as is known"),
    ):
        assert text.render(assess(snapshot, Policy(), Question(ranges=True))).endswith(f"\n\n{expected}")


def test_ranges_that_are_lost_for_writes_alone_say_so() -> None:
    """A pending replica that is down makes a range unavailable for writes, but not for reads."""
    seen = article.snapshot(["10.0.0.1"])
    ring = seen.rings[0]
    index = next(index for index in range(len(ring)) if ring.replicas(index) == (1,))
    start, end = ring.range(index)
    rows = [(*ring.range(at), ring.replicas(at)) for at in range(len(ring))]
    moved = ring.build(ring.keyspaces, ring.replication, rows, 3, [Pending(start, end, (0,))])
    shown = text.render(assess(replace(seen, rings=(moved,)), Policy(), Question(ranges=True)))
    assert f"\n  ({start}, {end}] writes only\n" in shown
    assert shown.count("only") == shown.count("Unavailable ranges of") == 2


def test_sentences_are_broken_between_words_for_a_terminal() -> None:
    """The rest of a sentence is indented; tables and words do not change."""
    verdict = assess(article.snapshot(["10.0.0.1"]), Policy())
    lines = text.render(verdict, width=80).splitlines()
    assert lines[:2] == [
        "CRITICAL blogs: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable",
        "  at LOCAL_ONE in dc1 (1 node down: 10.0.0.1); and 1 more finding",
    ]
    head = lines.index("Findings")
    assert lines[head + 1 : head + 4] == [
        "  CRITICAL unavailable: 256 of 768 ranges (31.5 % of the tokens) of blog_1",
        "    unavailable at LOCAL_ONE in dc1",
        "    as 10.0.0.2 sees it",
    ]
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).split() == text.render(verdict).split()
