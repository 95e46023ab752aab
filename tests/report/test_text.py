"""What a terminal of 80 columns shows."""

from __future__ import annotations

import re

from ringcheck.core.assess import assess
from ringcheck.core.policy import Policy
from ringcheck.report import text
from tests import article

ONE_DOWN = """\
CRITICAL blogs: 256 of 768 ranges (33.3 %) of blog_1 unavailable at LOCAL_ONE in dc1 (1 node down: 10.0.0.1)
3 nodes (2 up, 1 down); 2 of 3 views usable; 2026-01-01T00:00:00Z

KEYSPACE, LEVEL  DC   STATE     UNAVAILABLE   SHARE  AT MIN  NODES  RACKS
blog_1: SimpleStrategy {replication_factor=1}, 768 ranges
  LOCAL_ONE      dc1  CRITICAL          256  31.5 %     512      0      0
  LOCAL_QUORUM   dc1  WARNING           256  31.5 %     512      0      0
blog_3: SimpleStrategy {replication_factor=3}, 768 ranges
  LOCAL_ONE      dc1  OK                  0   0.0 %       0      2      2
  LOCAL_QUORUM   dc1  OK                  0   0.0 %     768      1      1
NODES, RACKS: fewest whose loss makes a range unavailable; 0: one is

Worst range of blog_1 at LOCAL_ONE: (-9204263351511030140, -9197582255811759488]
  replicas 10.0.0.1
  live     none, as 10.0.0.2 sees it

Bring back first: 10.0.0.1 (restores 31.5 % of the token space)

Findings
  CRITICAL unavailable: 256 of 768 ranges (33.3 %) of blog_1 unavailable at LOCAL_ONE in dc1
    as 10.0.0.2 sees it
  WARNING unavailable: 256 of 768 ranges (33.3 %) of blog_1 unavailable at LOCAL_QUORUM in dc1
    as 10.0.0.2 sees it
  note node_down: 10.0.0.1 is down
    for 10.0.0.2, 10.0.0.3"""


def test_one_node_down() -> None:
    """The whole screen."""
    assert text.render(assess(article.snapshot(["10.0.0.1"]), Policy())) == ONE_DOWN


def test_colour_changes_nothing_but_colour() -> None:
    """Without its escapes the painted screen is the plain one."""
    verdict = assess(article.snapshot(["10.0.0.1"]), Policy())
    painted = text.render(verdict, colour=True)
    assert "\x1b[31;1mCRITICAL\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text.render(verdict)


def test_the_table_fits() -> None:
    """The table stays within 80 columns."""
    lines = text.render(assess(article.snapshot(["10.0.0.1"]), Policy())).splitlines()
    table = lines[lines.index("") + 1 :]
    assert all(len(one) <= 80 for one in table[: table.index("")])


def test_a_hostile_name_moves_no_cursor() -> None:
    """Control characters of a node's text don't reach the terminal."""
    shown = text.render(assess(article.snapshot((), "a\x1b]0;b\x07\rc"), Policy()))
    assert not set(shown) & {"\r", "\x07", "\x1b"}
