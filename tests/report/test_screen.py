"""The screen of `watch`: the verdict, its age, and as much as fits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ringcheck.report.changes import Session
from ringcheck.report.screen import ASCII, Frame, ago, compose, is_old
from ringcheck.report.terminal import width
from tests import article, figures
from tests.report.sessions import START, session, verdict

if TYPE_CHECKING:
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.report.terminal import Line

FRAME = Frame(columns=90, lines=20, now=START + timedelta(seconds=3), limit=20.0, signs=ASCII)


def shown(session: Session, frame: Frame = FRAME) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in compose(session, frame)]


def styles(lines: tuple[Line, ...]) -> set[str]:
    return {style for line in lines for text, style in line if text.strip()}


TWO_POLLS = """\
 WARNING  blogs: 6 of 12 ranges (50.0 % of the tokens) of blog unavailable at LOCAL_QUO...
seen 2 s ago; 4 nodes (2 up, 2 down); 2 of 4 views usable; 2026-01-01T00:00:01Z

  KEYSPACE  LEVEL         DC   STATE    UNAVAILABLE   SHARE  AT MIN  NODES  RACKS
v blog      LOCAL_QUORUM  dc1  WARNING      6 of 12  50.0 %       6      0      0
v blog      LOCAL_ONE     dc1  OK           0 of 12   0.0 %       6      1      1

2 nodes down: 10.0.0.1, 10.0.0.3
Bring back first: 10.0.0.1 (+50.0 %)
00:00:01Z v worse   node 10.0.0.3 is down (was up)
00:00:01Z v worse   blog at LOCAL_QUORUM in dc1: OK -> WARNING, unavailable 0 -> 6, at ...
00:00:01Z v worse   blog at LOCAL_ONE in dc1: at minimum 0 -> 6, node failures to outag...







every 5 s  q quit  space pause  r poll now  down up more rows  v worse ^ better"""


def test_a_screen() -> None:
    """A complete screen: the second figure after the first."""
    watched = session(figures.snapshot([figures.A]), figures.snapshot([figures.A, figures.C]))
    assert "\n".join(shown(watched)) == TWO_POLLS


def test_a_failed_poll_makes_the_screen_old() -> None:
    """The banner is UNKNOWN with the reason and the age; no severity keeps its colour."""
    watched = session(figures.snapshot([figures.A]))
    watched.fail("no node answered")
    lines = shown(watched)
    assert lines[0] == " UNKNOWN  the data below was taken 3 s ago: no node answered"
    assert lines[1].startswith(" OK  blogs: ")
    painted = compose(watched, FRAME)
    assert styles(painted[:1]) == {"UNKNOWN!", "UNKNOWN"}
    assert styles(painted[1:-1]) == {"dim"}


def test_the_next_good_poll_makes_it_fresh_again() -> None:
    """The error is shown until the next poll succeeds."""
    watched = session(figures.snapshot())
    watched.fail("no node answered")
    watched.add(verdict(figures.snapshot(), 2))
    assert shown(watched)[0].startswith(" OK  blogs")
    assert not is_old(watched, FRAME)


@pytest.mark.parametrize(
    ("seconds", "limit", "paused", "first"),
    [
        (20, 20.0, False, " OK  blogs"),
        (21, 20.0, False, " UNKNOWN  the data below was taken 21 s ago: no new data"),
        (300, 20.0, True, " UNKNOWN  the data below was taken 5 min ago: paused"),
        (-60, 20.0, False, " UNKNOWN  the data below was taken at 2026-01-01T00:00:00Z: no new data"),
        (86400 * 9, None, False, " OK  blogs"),
    ],
)
def test_old_data_never_looks_fresh(seconds: int, limit: float | None, paused: bool, first: str) -> None:  # noqa: FBT001 - a column
    """Data that is too old, or from a clock ahead of ours, is UNKNOWN; a recording shows its age instead."""
    frame = replace(FRAME, now=START + timedelta(seconds=seconds), limit=limit, paused=paused)
    lines = shown(session(figures.snapshot()), frame)
    assert lines[0].startswith(first)
    if limit is None:
        assert lines[1].startswith("recorded 9 d ago; ")


def test_before_the_first_poll_there_is_no_severity() -> None:
    """If the first poll fails, the severity is UNKNOWN."""
    watched = Session()
    assert shown(watched)[0] == " ...  asking the cluster"
    watched.fail("no node answered")
    assert shown(watched)[0] == " UNKNOWN  no node answered"


def many(down: tuple[str, ...] = ()) -> Snapshot:
    """Sixty keyspaces of one ring."""
    seen = figures.snapshot(down)
    ring: Ring = replace(seen.rings[0], keyspaces=tuple(f"ks_{number:02}" for number in range(60)))
    return replace(seen, rings=(ring,))


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 2, 3, 5, 8, 12, 24, 50, 200])
@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_the_screen_fits_every_terminal(lines: int, columns: int) -> None:
    """It has exactly as many lines as the terminal, and none is wider."""
    watched = session(many(), many((figures.A, figures.C)))
    watched.fail("x" * 500)
    screen = compose(watched, replace(FRAME, columns=columns, lines=lines))
    assert len(screen) == lines
    assert all(width(line) <= columns for line in screen)


def test_the_worst_rows_come_first_and_the_rest_is_counted() -> None:
    """A short screen shows the worst rows and counts those that it leaves out."""
    lines = shown(session(many((figures.A, figures.C))))
    table = [line for line in lines if "ks_" in line and "dc1" in line]
    assert "WARNING" in table[1]
    (more,) = [line for line in lines if "more below" in line]
    rows = sum(line.startswith("  ks_") for line in lines)
    assert more == f"  {120 - rows} more below (OK, WARNING)"


def test_rows_can_be_scrolled_to_the_last() -> None:
    """Scrolling ends at the last row."""
    lines = shown(session(many((figures.A,))), replace(FRAME, offset=10_000))
    (above,) = [line for line in lines if "above" in line]
    assert above == f"  {120 - sum(line.startswith('  ks_') for line in lines)} above"


def test_gaps_are_listed() -> None:
    """What is not known is listed outside of the table."""
    lines = shown(session(article.snapshot(article.ADDRESSES)))
    assert lines[0].startswith(" UNKNOWN  blogs: no usable view")
    assert any(line.startswith("UNKNOWN no usable view: ") for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (86400 * 3, "3 d")]
)
def test_ages(seconds: float, text: str) -> None:
    """An age is shown in a single unit."""
    assert ago(seconds) == text
