"""What changed between two polls, and how long a session marks it."""

from __future__ import annotations

from dataclasses import replace

from ringcheck.report.changes import ScreenChange, differences
from tests import figures
from tests.report.sessions import session, verdict


def test_what_got_better_is_a_change() -> None:
    """The first figure follows the second; marks are removed after a minute."""
    watched = session(figures.snapshot([figures.A, figures.C]), figures.snapshot([figures.A]))
    directions = {change.key: change.direction for change in watched.changes}
    assert directions == {
        ("10.0.0.3",): "better",
        ("blog", "LOCAL_QUORUM", "dc1"): "better",
        ("blog", "LOCAL_ONE", "dc1"): "better",
    }
    assert watched.marks() == directions
    watched.add(verdict(figures.snapshot([figures.A]), 62))
    assert watched.marks() == {}
    assert len(watched.changes) == 3


def test_equal_polls_have_no_changes() -> None:
    """Two polls that differ only in their time have no differences."""
    assert not list(differences(verdict(figures.snapshot([figures.A])), verdict(figures.snapshot([figures.A]), 9)))


def test_nodes_and_keyspaces_come_and_go() -> None:
    """A keyspace that is new or gone counts neither as better nor as worse."""
    small, large = figures.snapshot(), figures.snapshot(nodes=5)
    renamed = replace(small, rings=(replace(small.rings[0], keyspaces=("other",)),))
    first = next(differences(verdict(small), verdict(large)))
    assert (first.key, first.direction, first.text) == (("10.0.0.5",), "better", "node 10.0.0.5 is up (new)")
    gone: list[ScreenChange] = list(differences(verdict(small), verdict(renamed)))
    assert {change.text for change in gone if change.direction == "changed"} == {
        f"{name} at {level} in dc1 is {what}"
        for name, what in (("other", "new"), ("blog", "gone"))
        for level in ("LOCAL_ONE", "LOCAL_QUORUM")
    }


def test_a_level_that_can_no_longer_be_judged_is_worse() -> None:
    """An unknown level is worse than one that is OK."""
    healthy = figures.snapshot()
    blind = replace(healthy, rings=(replace(healthy.rings[0], replication=None),))
    directions = {change.key[1]: change.direction for change in differences(verdict(healthy), verdict(blind))}
    assert directions["LOCAL_QUORUM"] == "worse"
