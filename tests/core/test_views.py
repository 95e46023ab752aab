"""Whose word counts: each reason to discard a view, and what the rest says together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringcheck.core.ring import Node, View
from ringcheck.core.views import Views, discard_reason
from ringcheck.errors import UsageError
from tests.core.clusters import address, addresses, nodes, snapshot, with_node, with_view

THREE = nodes("dc1:r1", "dc1:r2", "dc2:r1")
WELL, VIEW = THREE[0], View(address(1), live=addresses([1, 2]))


@pytest.mark.parametrize(
    ("node", "view", "reason"),
    [
        (WELL, VIEW, None),
        (None, VIEW, "the observer is not a member of the cluster"),
        *[
            (replace(WELL, mode=mode), VIEW, mode.lower())
            for mode in ("STARTING", "JOINING", "DRAINING", "DRAINED", "DECOMMISSIONED", "JOINING_FAILED", "CLIENT")
        ],
        *[(replace(WELL, mode=mode), VIEW, None) for mode in ("LEAVING", "MOVING")],
        (replace(WELL, gossip_running=False), VIEW, "gossip is off: its view is frozen"),
        (replace(WELL, native_transport_running=False), VIEW, "native transport is off: it serves no clients"),
        (WELL, replace(VIEW, live=addresses([2])), "it does not list itself as live"),
        (WELL, replace(VIEW, live=frozenset()), "it does not list itself as live"),
        (replace(WELL, mode="DRAINED", gossip_running=False), VIEW, "drained"),
        (Node(address(1)), VIEW, None),
    ],
)
def test_discard_reasons(node: Node | None, view: View, reason: str | None) -> None:
    """Only a member that serves clients, gossips and sees itself is believed; None is not held against it."""
    assert discard_reason(node, view) == reason


def test_a_discarded_view_keeps_its_source_s_reason() -> None:
    """What the source discarded stays so, with its words; what it could not reach too."""
    one = with_view(snapshot(THREE), 1, outcome="discarded", reason="not settled")
    one = with_node(with_view(one, 2, outcome="unreachable", reason="refused"), 2, mode="DRAINED")
    found = Views(one).all
    assert [(view.outcome, view.reason) for view in found] == [
        ("discarded", "not settled"),
        ("unreachable", "refused"),
        ("ok", None),
    ]
    assert [view.observer for view in Views(one).usable] == [address(3)]


def test_outlooks_are_distinct_and_in_no_order_of_views() -> None:
    """Views that see the same down from one release are one outlook; its first observer names it."""
    one = with_view(snapshot(THREE), 2, live=addresses([1, 2]), unreachable=addresses([3]))
    turned = replace(one, views=one.views[::-1])
    for each in (one, turned):
        found = Views(each).outlooks(())
        assert [(look.observers, look.down, look.version) for look in found] == [
            ((address(1), address(3)), frozenset(), (4, 1)),
            ((address(2),), frozenset({2}), (4, 1)),
        ]
    mixed = Views(with_node(one, 3, release_version="5.0.8")).outlooks(())
    assert [look.version for look in mixed] == [(4, 1), (4, 1), (5, 0)]


def test_observers_of_a_datacenter() -> None:
    """Coordinators there; all of them where none is usable there."""
    one = snapshot(THREE)
    assert [view.observer for view in Views(one).observers_in(["dc2"])] == [address(3)]
    blind = Views(with_node(one, 3, mode="DRAINED"))
    assert [view.observer for view in blind.observers_in(["dc2"])] == [address(1), address(2)]
    assert [view.observer for view in blind.observers_in(["dc1", "dc2"])] == [address(1), address(2)]


def test_states() -> None:
    """Down where any usable view does not call it live, if some view knows it at all; unknown otherwise."""
    one = with_view(snapshot(THREE), 1, live=addresses([1, 2]), unreachable=frozenset())
    assert Views(one).states() == ("up", "up", "down")  # others see it live: it is known
    alone = Views(one, only=address(1))
    assert alone.states() == ("up", "up", "unknown")
    silent = with_view(one, 1, unreachable=None)
    assert Views(silent, only=address(1)).states() == ("up", "up", "down")
    assert alone.down_anywhere() == frozenset({2})
    assert Views(one).seen_down_by == {2: (address(1),)}


def test_states_without_views() -> None:
    """Silence never counts as up, nor as down."""
    assert Views(replace(snapshot(THREE), views=())).states() == ("unknown",) * 3


def test_a_node_in_both_lists_is_down() -> None:
    """A view that contradicts itself is taken for the worse, and does not infect one that does not."""
    one = with_view(snapshot(THREE), 1, unreachable=addresses([2]))
    views = Views(one)
    assert [sorted(views.down(view)) for view in views.usable] == [[1], [], []]


def test_the_only_view() -> None:
    """A view asked for by address must be there."""
    with pytest.raises(UsageError, match=r"^there is no view of 10\.9\.9\.9$"):
        Views(snapshot(THREE), only="10.9.9.9")
    assert [view.observer for view in Views(snapshot(THREE), only=address(2)).all] == [address(2)]
