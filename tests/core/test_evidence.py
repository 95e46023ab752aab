"""Evidence: whose view counts, who is up, and for whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringcheck.core.consistency import Behaviour
from ringcheck.core.evidence import Evidence, judged
from ringcheck.core.findings import FINDINGS
from ringcheck.core.gaps import gaps
from ringcheck.core.ring import Node, Problem, View
from ringcheck.core.views import unusable_because
from ringcheck.errors import UsageError
from tests.core.clusters import address, addresses, nodes, ring, snapshot, with_node, with_view

THREE = nodes("dc1:r1", "dc1:r2", "dc2:r1")
FOUR = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1")
WELL, VIEW = THREE[0], View(address(1), live=addresses([1, 2]))
SILENT: dict[str, Any] = {
    "outcome": "unreachable",
    "reason": "connection refused",
    "live": frozenset(),
    "unreachable": None,
}


@pytest.mark.parametrize(
    ("node", "view", "reason"),
    [
        (WELL, VIEW, None),
        (None, VIEW, "not a member of the cluster"),
        (None, replace(VIEW, outcome="discarded", reason="decommissioned"), "decommissioned"),
        *[
            (replace(WELL, mode=mode), VIEW, mode.lower().replace("_", " "))
            for mode in ("STARTING", "JOINING", "DRAINING", "DRAINED", "DECOMMISSIONED", "JOINING_FAILED", "CLIENT")
        ],
        *[
            (replace(WELL, mode=mode), VIEW, None)
            for mode in ("LEAVING", "MOVING", "DECOMMISSION_FAILED", "MOVE_FAILED")
        ],
        (replace(WELL, gossip_running=False), VIEW, "gossip is off: its view is frozen"),
        (replace(WELL, native_transport_running=False), VIEW, "native transport is off: it serves no clients"),
        (replace(WELL, mode="DRAINED", gossip_running=False), VIEW, "drained"),
        (Node(address(1)), VIEW, None),
        # with `join_ring=false` a node stays in STARTING, but serves clients
        (replace(WELL, mode="STARTING", tokens=0), VIEW, None),
        (replace(WELL, mode="STARTING", tokens=0, native_transport_running=False), VIEW, "starting"),
        # a node of 6.0 that only surveys writes
        (replace(WELL, mode="JOINING_FAILED", tokens=0), VIEW, None),
        (replace(WELL, mode="JOINING_FAILED", tokens=0, native_transport_running=False), VIEW, "joining failed"),
        (
            WELL,
            View(address(1), outcome="discarded", reason="another node answers there"),
            "another node answers there",
        ),
    ],
)
def test_why_a_view_does_not_count(node: Node | None, view: View, reason: str | None) -> None:
    """The view of a node that serves clients and gossips counts, however few nodes it sees; None excludes nothing."""
    assert unusable_because(node, view) == reason


def test_a_source_decides_only_about_views_that_it_could_not_read() -> None:
    """A view with lists is judged by its node's own report, whatever outcome a source or an old release gave it."""
    one = with_view(snapshot(THREE), 1, outcome="discarded", reason="starting: it sees only itself so far")
    one = with_node(with_view(one, 2, outcome="unreachable", reason="refused"), 2, mode="DRAINED")
    one = with_view(one, 3, outcome="discarded", reason="another node answers there", live=frozenset())
    found = Evidence(one).views
    assert [(view.outcome, view.reason) for view in found] == [
        ("ok", None),
        ("unreachable", "refused"),
        ("discarded", "another node answers there"),
    ]
    assert [view.observer for view in Evidence(one).usable] == [address(1)]


def test_a_view_without_its_own_node_is_discarded() -> None:
    """LiveNodes always contains the node itself (`Gossiper.getLiveMembers`); otherwise the list is damaged."""
    one = Evidence(with_view(snapshot(THREE), 1, live=addresses([2, 3])))
    assert [view.reason for view in one.views] == ["it does not list itself as live", None, None]


def test_a_lone_coordinator_counts() -> None:
    """A node that serves clients and reaches no other node is a coordinator whose clients get Unavailable."""
    one = with_view(snapshot(THREE), 1, live=addresses([1]), unreachable=frozenset())
    found = Evidence(one)
    assert [sorted(found.down(view)) for view in found.usable] == [[1, 2], [], []]


def test_outlooks_are_distinct_and_in_no_order_of_views() -> None:
    """Views that reach the same nodes from one release are one outlook, whose name is its first observer."""
    one = with_view(snapshot(THREE), 2, live=addresses([1, 2]), unreachable=addresses([3]))
    turned, old = replace(one, views=one.views[::-1]), Behaviour((4, 1), "v1")
    for each in (one, turned):
        found = Evidence(each).outlooks(())
        assert [(look.observers, look.down, look.behaviour) for look in found] == [
            ((address(1), address(3)), frozenset(), old),
            ((address(2),), frozenset({2}), old),
        ]
    mixed = Evidence(with_node(one, 3, release_version="5.0.8")).outlooks(())
    assert [look.behaviour.release for look in mixed] == [(4, 1), (4, 1), (5, 0)]


def test_observers_of_a_datacenter() -> None:
    """They have the views of its coordinators, or all usable views if none of those is usable."""
    one = snapshot(THREE)
    assert observers(Evidence(one), "dc2") == [address(3)]
    blind = Evidence(with_node(one, 3, mode="DRAINED"))
    assert observers(blind, "dc2") == [address(1), address(2)]
    assert observers(blind, "dc1", "dc2") == [address(1), address(2)]


def observers(evidence: Evidence, *datacenters: str) -> list[str]:
    """The observers of the outlooks of some datacenters."""
    return sorted({observer for outlook in evidence.outlooks(datacenters) for observer in outlook.observers})


# ---- endpoints and names ----


def test_an_endpoint_with_another_port_is_another_instance() -> None:
    """An instance that left another port of a live member's address is no node (seen on real 4.1 and 5.0)."""
    members = tuple(replace(node, endpoint=f"{node.address}:7000") for node in THREE)
    live = frozenset(f"{address(number)}:7000" for number in (1, 2, 3))
    ghosts = frozenset(f"{address(number)}:7001" for number in (2, 3))
    one = snapshot(members)
    one = replace(one, views=tuple(View(node.address, live=live, unreachable=ghosts) for node in members))
    found = Evidence(one)
    assert (found.states, found.not_reached, found.surely_down) == (("up",) * 3, frozenset(), frozenset())
    assert found.counted_on == {0, 1, 2}
    assert found.named(found.views[0]).unreachable == ghosts
    assert found.named(found.views[0]).live == addresses([1, 2, 3])


def test_an_endpoint_without_a_port_is_the_only_node_there() -> None:
    """Releases before 4.0 report no port; if several nodes share an address, such an endpoint means none of them."""
    members = tuple(replace(node, endpoint=f"{node.address}:7000") for node in THREE)
    one = snapshot(members)
    assert Evidence(one).states == ("up",) * 3
    twins = (
        *members[:2],
        replace(members[1], address=f"{address(2)}:7001", endpoint=f"{address(2)}:7001", host_id="x"),
    )
    shared = (twins[0], replace(twins[1], address=f"{address(2)}:7000"), twins[2])
    views = (View(address(1), live=addresses([1, 2]), unreachable=frozenset()),)
    assert sorted(Evidence(snapshot(shared, views=views)).not_reached) == [1, 2]


def test_a_view_means_the_host_id_whatever_its_address() -> None:
    """A stale, translated or swapped address means the node whose host id the view knows for it."""
    stale = {"10.9.9.2": "host-2", "10.9.9.3": "host-3"}
    one = with_view(
        snapshot(THREE),
        1,
        live=addresses([1]) | {"10.9.9.2"},
        unreachable=frozenset({"10.9.9.3"}),
        host_ids=tuple(stale.items()),
    )
    found = Evidence(one)
    assert sorted(found.down(found.usable[0])) == [2]
    assert found.named(found.usable[0]).live == addresses([1, 2])
    swapped = ((address(2), "host-3"), (address(3), "host-2"))
    one = with_view(snapshot(THREE), 1, live=addresses([1, 2]), unreachable=addresses([3]), host_ids=swapped)
    assert sorted(Evidence(one).down(one.views[0])) == [1]


@pytest.mark.parametrize(
    ("unreachable", "both"), [(frozenset[str](), frozenset[int]()), (frozenset({"10.9.9.2"}), {1})]
)
def test_a_view_with_another_address_of_a_node_does_not_reach_it(
    unreachable: frozenset[str], both: frozenset[int]
) -> None:
    """A coordinator sends queries to the address in its ring, even if it lists another one as live."""
    one = with_view(snapshot(THREE), 1, unreachable=unreachable, host_ids=(("10.9.9.2", "host-2"),))
    for found in (Evidence(one), Evidence(judged(one))):
        assert sorted(found.down(found.usable[0])) == [1]
        assert frozenset(found.in_both_lists) == both
        assert (sorted(found.counted_on), sorted(found.surely_down)) == ([0, 2], [])


# ---- up or down, for whom ----


def test_states() -> None:
    """Up if its own view counts and others reach it; down if no other view reaches it; unknown if no view knows it."""
    one = with_view(snapshot(THREE), 1, live=addresses([1, 2]), unreachable=frozenset())
    assert Evidence(one).states == ("up", "up", "up")
    silent = with_view(one, 3, **SILENT)
    assert Evidence(silent).states == ("up", "up", "down")  # it is silent, and one coordinator does not reach it
    alone = Evidence(one, only=address(1))
    assert alone.states == ("up", "up", "unknown")
    assert Evidence(with_view(one, 1, unreachable=None), only=address(1)).states == ("up", "up", "down")
    assert Evidence(one).seen_down_by == {2: (address(1),)}


def test_states_without_views() -> None:
    """Silence counts neither as up nor as down."""
    found = Evidence(replace(snapshot(THREE), views=()))
    assert found.states == ("unknown",) * 3
    assert (found.counted_on, found.surely_down) == (frozenset(), frozenset())


def test_a_node_in_both_lists_is_neither_reached_nor_counted_on() -> None:
    """The worse is assumed in each case: the gate neither counts on such a node nor considers it down."""
    one = with_view(snapshot(THREE), 1, unreachable=addresses([2]))
    found = Evidence(one)
    assert [sorted(found.down(view)) for view in found.usable] == [[1], [], []]
    assert found.contradictory == {1}
    assert found.counted_on == {0, 2}
    everywhere = snapshot(THREE)
    for number in (1, 2, 3):
        everywhere = with_view(everywhere, number, unreachable=addresses([2]))
    assert Evidence(with_view(everywhere, 2, **SILENT)).surely_down == frozenset()


def test_only_what_all_views_list_as_unreachable_is_surely_down() -> None:
    """A view without the node, a view that reaches it, or its own report that it serves makes it doubtful."""
    down = snapshot(THREE, down=[3])
    assert Evidence(down).surely_down == {2}
    assert Evidence(with_view(down, 1, unreachable=frozenset())).surely_down == frozenset()
    assert Evidence(with_view(down, 1, live=addresses([1, 2, 3]), unreachable=frozenset())).surely_down == frozenset()
    speaks = with_view(down, 3, outcome="ok", reason=None, live=addresses([3]), unreachable=addresses([1, 2]))
    assert Evidence(speaks).surely_down == frozenset()
    drained = with_node(with_view(down, 3, outcome="ok", live=addresses([1, 2, 3])), 3, mode="DRAINED")
    assert Evidence(drained).surely_down == {2}


@pytest.mark.parametrize("denial", [{"mode": "DRAINED"}, {"gossip_running": False}, {"mode": "STARTING"}])
def test_a_node_that_denies_that_it_serves_is_not_counted_on(denial: dict[str, object]) -> None:
    """Its peers may still see it up, but the other replicas must be enough without it."""
    found = Evidence(with_node(snapshot(THREE), 2, **denial))
    assert found.counted_on == {0, 2}
    assert found.surely_down == frozenset()


def test_a_node_without_cql_is_counted_on() -> None:
    """`disablebinary` stops clients but not the replica: gossip and storage go on."""
    assert Evidence(with_node(snapshot(THREE), 2, native_transport_running=False)).counted_on == {0, 1, 2}


def test_isolated_and_partition() -> None:
    """An isolated node serves clients, but no other view reaches it; a partition's sides don't reach each other."""
    one = with_view(with_view(snapshot(THREE), 2, live=addresses([2, 3])), 3, live=addresses([2, 3]))
    assert Evidence(one).isolated == {0}
    assert Evidence(one).partition == ()
    cut = with_view(one, 1, live=addresses([1]))
    assert Evidence(cut).partition == ((address(1),), (address(2), address(3)))
    assert Evidence(cut).states == ("down", "up", "up")
    each = snapshot(THREE)
    for number in (1, 2, 3):
        each = with_view(each, number, live=addresses([number]))
    assert Evidence(each).states == ("up",) * 3


# ---- members ----


def test_coordinators_hold_nothing_and_move_nowhere() -> None:
    """A live node that owns no tokens is a coordinator, unless it holds or gains ranges, or joins."""
    rings = [ring("orders", "SimpleStrategy {replication_factor=1}", [(1,), (2,)], 4, [(0, 1, (3,))])]
    one = snapshot(tuple(replace(node, tokens=0) if place else node for place, node in enumerate(FOUR)), rings)
    found = Evidence(one)
    assert found.coordinators == {3}
    assert found.members == {0, 1, 2}
    assert Evidence(with_view(one, 1, joining=addresses([4]))).coordinators == frozenset()
    assert Evidence(with_node(one, 4, mode="JOINING")).coordinators == frozenset()
    assert Evidence(with_node(one, 4, tokens=None)).coordinators == frozenset()


def test_who_is_being_replaced() -> None:
    """It is a node that no view lists as live, and whose tokens a joining node may have."""
    one = with_node(snapshot(FOUR, down=[3]), 3, tokens=None)
    assert Evidence(one).replaced == frozenset()
    joining = with_view(one, 1, joining=addresses([4]))
    assert Evidence(joining).replaced == {2}
    assert Evidence(joining).movement(2) == "being replaced"
    assert Evidence(joining).movement(3) == "joining"


def test_movements_in_words() -> None:
    """A node that leaves but is not listed as live is reported as being removed."""
    one = with_view(snapshot(FOUR, down=[3]), 1, leaving=addresses([2, 3]), moving=addresses([4]))
    found = Evidence(one)
    assert [found.movement(index) for index in (1, 2, 3)] == ["leaving", "being removed", "moving"]


def test_two_nodes_of_one_host_id_contradict_each_other() -> None:
    """The gate counts on neither, and in a view that host id means neither of them."""
    found = Evidence(with_node(snapshot(THREE), 2, host_id="host-1"))
    assert found.claimed_twice == {("host id", "host-1"): (0, 1)}
    assert found.counted_on == {2}


@pytest.mark.parametrize("code", [*FINDINGS, "code_of_a_later_release"])
def test_problems_that_make_a_node_contradictory(code: str) -> None:
    """The table of findings decides which problems reported by a source make their node one that can't be relied on."""
    seen = replace(snapshot(THREE), problems=(Problem(code, address(2), "reported by the source"),))
    distrusted = {"duplicate_host_id", "contradictory_view", "unconfirmed_address", "location_disagreement"}
    contradictory = {1} if code in distrusted else set()
    assert Evidence(seen).contradictory == contradictory
    assert Evidence(seen).counted_on == {0, 1, 2} - contradictory


def test_the_only_view() -> None:
    """A view that is asked for by address must exist."""
    with pytest.raises(UsageError, match=r"^there is no view of 10\.9\.9\.9 \(known: 10\.0\.0\.1, "):
        Evidence(snapshot(THREE), only="10.9.9.9")
    assert [view.observer for view in Evidence(snapshot(THREE), only=address(2)).views] == [address(2)]


@pytest.mark.parametrize(
    ("node", "view", "told"),
    [
        ({}, {"outcome": "ok", "reason": None}, True),
        ({"mode": "NEW_IN_6"}, {"outcome": "ok", "live": addresses([1])}, True),
        ({"source": "error"}, {"outcome": "unreachable", "reason": "LiveNodes is no list"}, True),
        ({"source": "denied"}, {"outcome": "unreachable", "reason": "HTTP 403"}, True),
        ({"source": "unreachable"}, {"outcome": "unreachable", "reason": "connection refused"}, False),
        ({"mode": "DRAINED"}, {"outcome": "ok", "live": addresses([1])}, False),
        ({"native_transport_running": False}, {"outcome": "ok", "live": addresses([1])}, False),
    ],
)
def test_a_down_node_that_may_serve_clients_is_reported(node: dict[str, Any], view: dict[str, Any], told: bool) -> None:  # noqa: FBT001 - an expectation
    """It is not known what its clients get; a node that is off, or whose process is gone, serves no clients."""
    seen = snapshot(THREE, [ring("ks", "SimpleStrategy {replication_factor=3}", [[1, 2, 3]] * 3, 3)], down=[1])
    seen = with_view(with_node(seen, 1, **node), 1, **view)
    found = [one for one in gaps(Evidence(seen)) if one.code == "view_discarded"]
    assert [one.subject for one in found] == [address(1)] * told
