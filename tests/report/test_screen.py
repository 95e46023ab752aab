"""What `watch` shows of a session: changes, age, and as much as there is room for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.policy import Policy
from ringcheck.report.changes import ScreenChange, Session, differences
from ringcheck.report.screen import ASCII, Frame, ago, compose, is_old
from ringcheck.report.terminal import width
from tests import article, figures

if TYPE_CHECKING:
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.terminal import Line

START = datetime(2026, 1, 1, tzinfo=UTC)
FRAME = Frame(columns=90, lines=20, now=START + timedelta(seconds=3), limit=20.0, signs=ASCII)


def verdict(seen: Snapshot, second: int = 0) -> Verdict:
    at = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return assess(replace(seen, taken_at=at), Policy(), Question())


def session(*seen: Snapshot) -> Session:
    found = Session()
    for second, one in enumerate(seen):
        found.add(verdict(one, second))
    return found


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
    """The second figure after the first, whole."""
    found = session(figures.snapshot([figures.A]), figures.snapshot([figures.A, figures.C]))
    assert "\n".join(shown(found)) == TWO_POLLS


def test_what_got_better_is_told() -> None:
    """The other way round, and marks go after a minute."""
    found = session(figures.snapshot([figures.A, figures.C]), figures.snapshot([figures.A]))
    directions = {one.key: one.direction for one in found.changes}
    assert directions == {
        ("10.0.0.3",): "better",
        ("blog", "LOCAL_QUORUM", "dc1"): "better",
        ("blog", "LOCAL_ONE", "dc1"): "better",
    }
    assert found.marks() == directions
    found.add(verdict(figures.snapshot([figures.A]), 62))
    assert found.marks() == {}
    assert len(found.changes) == 3


def test_nothing_changed_is_no_change() -> None:
    """Two polls of one cluster differ in nothing but the time."""
    assert not list(differences(verdict(figures.snapshot([figures.A])), verdict(figures.snapshot([figures.A]), 9)))


def test_nodes_and_keyspaces_come_and_go() -> None:
    """New and gone ones are neither better nor worse."""
    small, large = figures.snapshot(), figures.snapshot(nodes=5)
    renamed = replace(small, rings=(replace(small.rings[0], keyspaces=("other",)),))
    assert [(one.key, one.direction, one.text) for one in differences(verdict(small), verdict(large))][:1] == [
        (("10.0.0.5",), "better", "node 10.0.0.5 is up (new)")
    ]
    gone: list[ScreenChange] = list(differences(verdict(small), verdict(renamed)))
    assert {one.text for one in gone if one.direction == "changed"} == {
        f"{name} at {level} in dc1 is {what}"
        for name, what in (("other", "new"), ("blog", "gone"))
        for level in ("LOCAL_ONE", "LOCAL_QUORUM")
    }


def test_a_level_that_can_no_longer_be_judged_is_worse() -> None:
    """Not to know is worse than to know that all is well."""
    healthy = figures.snapshot()
    blind = replace(healthy, rings=(replace(healthy.rings[0], replication=None),))
    found = {one.key[1]: one.direction for one in differences(verdict(healthy), verdict(blind))}
    assert found["LOCAL_QUORUM"] == "worse"


def test_a_failed_poll_makes_all_of_it_old() -> None:
    """The banner is UNKNOWN with the reason and the age; no severity keeps its colour."""
    found = session(figures.snapshot([figures.A]))
    found.fail("nobody answered")
    lines = shown(found)
    assert lines[0] == " UNKNOWN  the data below was taken 3 s ago: nobody answered"
    assert lines[1].startswith(" OK  blogs: ")
    painted = compose(found, FRAME)
    assert styles(painted[:1]) == {"UNKNOWN!", "UNKNOWN"}
    assert styles(painted[1:-1]) == {"dim"}


def test_the_next_good_poll_makes_it_fresh_again() -> None:
    """An error is not remembered longer than it lasts."""
    found = session(figures.snapshot())
    found.fail("nobody answered")
    found.add(verdict(figures.snapshot(), 2))
    assert shown(found)[0].startswith(" OK  blogs")
    assert not is_old(found, FRAME)


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
    """Beyond the limit, or from a clock ahead of ours, nothing is sure; a recording says its age instead."""
    frame = replace(FRAME, now=START + timedelta(seconds=seconds), limit=limit, paused=paused)
    lines = shown(session(figures.snapshot()), frame)
    assert lines[0].startswith(first)
    if limit is None:
        assert lines[1].startswith("recorded 9 d ago; ")


def test_before_the_first_poll_nothing_is_claimed() -> None:
    """Neither well nor ill; and if it fails, UNKNOWN."""
    found = Session()
    assert shown(found)[0] == " ...  asking the cluster"
    found.fail("nobody answered")
    assert shown(found)[0] == " UNKNOWN  nobody answered"


def many(down: tuple[str, ...] = ()) -> Snapshot:
    """Sixty keyspaces of one ring."""
    seen = figures.snapshot(down)
    ring: Ring = replace(seen.rings[0], keyspaces=tuple(f"ks_{number:02}" for number in range(60)))
    return replace(seen, rings=(ring,))


@pytest.mark.parametrize("lines", [1, 2, 3, 5, 8, 12, 24, 50, 200])
@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_it_never_outgrows_the_terminal(lines: int, columns: int) -> None:
    """Whatever there is to say."""
    found = session(many(), many((figures.A, figures.C)))
    found.fail("x" * 500)
    screen = compose(found, replace(FRAME, columns=columns, lines=lines))
    assert len(screen) == lines
    assert all(width(line) <= columns for line in screen)


def test_the_worst_come_first_and_the_rest_is_counted() -> None:
    """A short screen shows what is lost and says what it leaves out."""
    lines = shown(session(many((figures.A, figures.C))))
    table = [line for line in lines if "ks_" in line and "dc1" in line]
    assert "WARNING" in table[1]
    (more,) = [line for line in lines if "more below" in line]
    rows = sum(line.startswith("  ks_") for line in lines)
    assert more == f"  {120 - rows} more below (OK, WARNING)"


def test_rows_can_be_scrolled_to_the_last() -> None:
    """And not beyond."""
    lines = shown(session(many((figures.A,))), replace(FRAME, offset=10_000))
    (above,) = [line for line in lines if "above" in line]
    assert above == f"  {120 - sum(line.startswith('  ks_') for line in lines)} above"


def test_gaps_are_named() -> None:
    """What is not known stands in no table."""
    lines = shown(session(article.snapshot(article.ADDRESSES)))
    assert lines[0].startswith(" UNKNOWN  blogs: no usable view")
    assert any(line.startswith("UNKNOWN no usable view: ") for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (86400 * 3, "3 d")]
)
def test_ages(seconds: float, text: str) -> None:
    """Two digits are enough to know how old something is."""
    assert ago(seconds) == text
