"""Decommissions, removals, replacements and new nodes: a `safe` one costs no range its last source or its level."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations, product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.actions import ACTIONS, NAMES, Newcomer, counted, newcomer_of
from ringcheck.core.consistency import Level
from ringcheck.core.gate import CODES, Gate, Gatekeeper, with_leases
from ringcheck.core.metadata import MetadataReport
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.errors import UsageError
from tests.conftest import examples
from tests.core import clusters as small
from tests.core.bruteforce import LEVELS, Arc
from tests.core.test_bruteforce import exact
from tests.core.test_gate import blocking, cases, reason, subsets, summaries
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.actions import Action
    from ringcheck.core.gate import Decision
    from ringcheck.core.ring import Snapshot
    from tests.core.bruteforce import Case

JUDGED = {"would_become_unavailable", "already_unavailable", "no_live_source", "candidate_up"}
REST = CODES - JUDGED  # allowed, so that only sources, levels and the state of the targets decide
NEW = "new"


def still(cluster: Cluster) -> Cluster:
    """The same cluster without any movement."""
    tables = tuple(replace(table, pending=()) for table in cluster.tables)
    return replace(cluster, joining=(), tables=tables)


def gaining(cluster: Cluster, case: Case, action: Action, targets: frozenset[str]) -> Iterator[tuple[Arc, ...]]:
    """The pending ranges that may exist while the action lasts."""
    if action == "bootstrap":
        yield tuple(Arc(arc.start, arc.end, (NEW,)) for arc in case.natural)
        return
    held = [arc for arc in case.natural if targets & set(arc.nodes)]
    if action == "replace":
        yield tuple(Arc(arc.start, arc.end, (f"{NEW}-{name}",)) for arc in held for name in targets & set(arc.nodes))
        return
    choices = [list(successors(cluster, case, arc, targets)) for arc in held]
    yield from product(*choices)


def successors(cluster: Cluster, case: Case, arc: Arc, targets: frozenset[str]) -> Iterator[Arc]:
    """A range with the nodes that may gain it: as many as it loses, in their datacenters if it counts by datacenter."""
    by_datacenter = case.factors.kind == "nts"
    lost = Counter(cluster.places[name].dc if by_datacenter else "" for name in targets & set(arc.nodes))
    others = sorted(set(cluster.places) - targets - set(arc.nodes))
    near = {home: [name for name in others if not home or cluster.places[name].dc == home] for home in lost}
    sets = [list(combinations(near[home], min(count, len(near[home]))))[:2] for home, count in lost.items()]
    for chosen in product(*sets):
        yield Arc(arc.start, arc.end, tuple(name for names in chosen for name in names))


def loses(cluster: Cluster, case: Case, action: Action, targets: frozenset[str], live: frozenset[str]) -> bool:
    """Whether a range that is served before is not served during the action, wherever its replicas are placed."""
    home = cluster.places[min(targets)] if targets else next(iter(cluster.places.values()))
    places = {**case.places, NEW: home, **{f"{NEW}-{name}": cluster.places[name] for name in targets}}
    up = live | (places.keys() - case.places.keys())
    lasting = [replace(case, places=places, pending=arcs) for arcs in gaining(cluster, case, action, targets)]
    return any(during.unserved(up, one) - case.unserved(live, one) for during in lasting for one in case.operations)


@pytest.mark.slow
@settings(max_examples=examples(600))
@given(clusters(nodes=6, views=2, tables=2), st.sampled_from(LEVELS), st.sampled_from(NAMES[2:]), st.data())
def test_safe_is_what_trying_shows(drawn: Cluster, level: str, action: Action, data: st.DataObject) -> None:
    """This holds whichever of the doubtful nodes are up, and whichever nodes gain the ranges."""
    cluster = still(drawn)
    names = sorted(cluster.places)
    if data.draw(st.sampled_from((True, True, True, False))):  # few of the drawn clusters agree that a node is dead
        gone = data.draw(st.permutations(names))[: data.draw(st.sampled_from((0, 1, 2, 2, 3)))]
        up = sorted(set(names).difference(gone[: len(names) - 1]))
        cluster = replace(cluster, live=dict.fromkeys(up[:2], frozenset(up)))
    everywhere = frozenset(names).intersection(*cluster.live.values())
    somewhere = frozenset().union(*cluster.live.values())
    dead = sorted(set(names) - somewhere) or names
    many = 2 if action == "replace" else 1
    chosen = data.draw(st.lists(st.sampled_from(dead), min_size=1, max_size=many, unique=True))
    targets = frozenset(() if action == "bootstrap" else chosen)
    home = next(iter(cluster.places.values()))
    newcomer = Newcomer(home.dc, home.rack) if action == "bootstrap" else None
    gate = Gate(level=Level(level), allow=frozenset(REST))
    decision = Gatekeeper(cluster.snapshot(), Policy(), gate).decide(sorted(targets), action, newcomer)
    judged = list(cases(cluster, level))
    orphaned = action != "bootstrap" and any(
        targets & set(arc.nodes) and not (everywhere - targets) & set(arc.nodes)
        for table in cluster.tables
        for arc in table.natural
    )
    alive = bool(targets & somewhere)
    lost = any(
        loses(cluster, case, action, targets, (everywhere | back) - targets)
        for back in subsets(somewhere - everywhere)
        for case in judged
    )
    if decision.decision == "safe":
        assert not alive
        assert not orphaned
        assert not lost
    elif everywhere == somewhere and action == "replace" and all(exact(case) for case in judged):
        transient = any(table.factors.transient for table in cluster.tables)
        assert alive or orphaned or lost or transient


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(clusters(nodes=6, views=2, tables=2), st.sampled_from(LEVELS), st.data())
def test_safe_to_leave_is_what_trying_shows(drawn: Cluster, level: str, data: st.DataObject) -> None:
    """They serve their ranges meanwhile; this holds whichever doubtful nodes are up and whoever gains the ranges."""
    cluster = still(drawn)
    names = sorted(cluster.places)
    if data.draw(st.sampled_from((True, True, False))):  # in only few of the drawn clusters most nodes are up
        cluster = replace(cluster, live=dict.fromkeys(names[:2], frozenset(names)))
    everywhere = frozenset(names).intersection(*cluster.live.values())
    somewhere = frozenset().union(*cluster.live.values())
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    gate = Gate(level=Level(level), allow=frozenset(CODES - {"would_become_unavailable"}))
    decision = Gatekeeper(cluster.snapshot(), Policy(), gate).decide(sorted(chosen), "decommission")
    judged = list(cases(cluster, level))
    lost = any(
        loses(cluster, case, "decommission", frozenset(chosen), everywhere | back)
        for back in subsets(somewhere - everywhere)
        for case in judged
    )
    fits = "replication_would_not_fit" not in {found.code for found in decision.reasons}
    if lost:
        assert decision.decision == "unsafe"
    elif everywhere == frozenset(names) and fits and all(exact(case) for case in judged):
        assert decision.decision == "safe"


# ---- tables ----

SIX = small.nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1", "dc1:r2", "dc1:r3")
RF_3 = "NetworkTopologyStrategy {dc1=3}"
ROWS = [[1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]


def seen(*down: int, rows: Sequence[Sequence[int]] = ROWS, **fields: object) -> Snapshot:
    return small.snapshot(SIX, [small.ring("orders", RF_3, rows, 6)], down=down, **fields)


def ask(
    snapshot: Snapshot, action: Action, *targets: int, newcomer: Newcomer | None = None, **gate: object
) -> Decision:
    keeper = Gatekeeper(snapshot, Policy(), Gate(settle=0, **gate))  # type: ignore[arg-type]
    return keeper.decide([small.address(number) for number in targets], action, newcomer)


R1, R2 = Newcomer("dc1", "r1"), Newcomer("dc1", "r2")


def test_one_dead_node_may_be_removed_or_replaced() -> None:
    """Its ranges have live replicas, and five nodes are enough for RF 3; a repair must follow."""
    for action in ("removenode", "replace"):
        decision = ask(seen(1), action, 1, newcomer=R1 if action == "replace" else None)
        assert (decision.decision, blocking(decision)) == ("safe", [])
        text = "repair the ranges of 10.0.0.1 afterwards: each is streamed from one replica only"
        assert ("repair_needed", False, text) in summaries(decision)


@pytest.mark.parametrize("action", ["decommission", "removenode", "replace", "bootstrap"])
def test_nothing_moves_between_releases(action: Action) -> None:
    """A node may refuse the streams of another release. That of a dead node does not matter, nor any to a restart."""
    dead = action in ("removenode", "replace")
    targets = () if action == "bootstrap" else (1,)
    newcomer = R1 if action in ("replace", "bootstrap") else None

    def asked(*releases: str) -> Decision:
        return ask(released(seen(*targets) if dead else seen(), *releases), action, *targets, newcomer=newcomer)

    mixed = asked(*["4.0.17"] * 5, "3.11.19")
    assert blocking(mixed) == ["releases_differ"]
    text = f"nodes run different releases (3.11 on 10.0.0.6, 4.0 on {4 if dead else 5} nodes)"
    assert reason(mixed, "releases_differ").summary == f"{text} and may refuse each other's streams"
    assert blocking(asked("3.11.19", *["4.0.17"] * 5)) == ([] if dead else ["releases_differ"])
    assert blocking(asked(*["4.0.17"] * 5, "4.0.9")) == []
    assert blocking(ask(released(seen(), *["4.0.17"] * 5, "3.11.19"), "restart", 1)) == []


def released(snapshot: Snapshot, *releases: str) -> Snapshot:
    pairs = zip(snapshot.nodes, releases, strict=True)
    return replace(snapshot, nodes=tuple(replace(node, release_version=text) for node, text in pairs))


@pytest.mark.parametrize("action", ["removenode", "replace"])
def test_a_node_that_may_be_up_is_not_dead(action: Action) -> None:
    """A live node is refused, and so is a node that one view reaches, or whose own Jolokia reports that it serves."""
    up = ask(seen(), action, 1)
    assert blocking(up) == ["candidate_up"]
    assert reason(up, "candidate_up").summary == (
        f"10.0.0.1 is not surely down (it is up): only a dead node can {ACTIONS[action].verb}"
    )
    everyone = small.addresses(range(1, 7))
    doubtful = small.with_view(seen(1), 2, live=everyone, unreachable=frozenset())
    assert "candidate_up" in blocking(ask(doubtful, action, 1))
    serving = small.with_view(seen(1), 1, outcome="ok", reason=None, live=everyone, unreachable=frozenset())
    assert "candidate_up" in blocking(ask(serving, action, 1))


@pytest.mark.parametrize("action", ["removenode", "replace"])
def test_a_node_without_tokens_has_no_place_to_give(action: Action) -> None:
    """There is nothing to remove and nothing to replace."""
    coordinator = replace(SIX[5], tokens=0)
    snapshot = small.snapshot(
        (*SIX[:5], coordinator), [small.ring("orders", RF_3, [[1, 2, 3], [2, 3, 4]], 6)], down=[6]
    )
    assert "not_a_member" in blocking(ask(snapshot, action, 6))


def test_a_range_without_a_live_replica_is_named() -> None:
    """If all replicas of a range are dead, its data can't be streamed; the range is given as the example."""
    decision = ask(seen(1, 2, 3), "replace", 1)
    lost = reason(decision, "no_live_source")
    assert decision.decision == "unsafe"
    assert lost.summary == (
        "1 of 4 ranges (25.0 % of the tokens) of orders have no live replica to stream from: "
        "Cassandra does not start without"
    )
    assert lost.example
    assert (lost.ranges, lost.example.replicas, lost.example.live) == (1, small_addresses(1, 2, 3), ())


def small_addresses(*numbers: int) -> tuple[str, ...]:
    return tuple(small.address(number) for number in numbers)


@pytest.mark.parametrize(
    ("action", "keyspace", "accept", "blocks"),
    [
        ("removenode", "scratch", (), True),
        ("removenode", "scratch", ("scratch",), False),
        ("replace", "scratch", (), True),
        ("replace", "scratch", ("scratch",), False),
        ("removenode", "system_traces", (), False),
        ("replace", "system_traces", (), False),
    ],
)
def test_data_of_rf_1_is_lost_unless_it_is_accepted(
    action: Action,
    keyspace: str,
    accept: tuple[str, ...],
    blocks: bool,  # noqa: FBT001 - a case
) -> None:
    """Cassandra would continue without the data; system keyspaces that are not watched do not block a replacement."""
    rings = [
        small.ring("orders", RF_3, ROWS, 6),
        small.ring(keyspace, "SimpleStrategy {replication_factor=1}", [[1], [2]], 6),
    ]
    decision = ask(small.snapshot(SIX, rings, down=[1]), action, 1, accept=accept)
    lost = reason(decision, "no_live_source")
    assert (lost.keyspace, lost.blocks, lost.ranges) == (keyspace, blocks, 1)
    assert decision.decision == ("unsafe" if blocks else "safe")


def test_cassandra_refuses_a_replacement_without_a_source_whatever_is_accepted() -> None:
    """`accept` covers ranges that may be lost; but with RF above 1 the replacement would not even start."""
    rings = [
        small.ring("orders", RF_3, [[3, 4, 5]] * 4, 6),
        small.ring("scratch", "SimpleStrategy {replication_factor=2}", [[1, 2], [2, 3]], 6),
    ]
    decision = ask(small.snapshot(SIX, rings, down=[1, 2]), "replace", 1, accept=("scratch",))
    assert blocking(decision) == ["no_live_source"]


def test_a_replica_that_may_be_transient_is_no_source() -> None:
    """With RF 3/1 the one live replica may be the transient one, which has no data after a repair."""
    ring = small.ring("orders", "NetworkTopologyStrategy {dc1=3/1}", ROWS, 6)
    assert "no_live_source" in blocking(ask(small.snapshot(SIX, [ring], down=[1, 2]), "replace", 1))
    assert "no_live_source" not in blocking(ask(small.snapshot(SIX, [ring], down=[1]), "replace", 1))


def test_another_dead_node_keeps_a_node_from_being_removed_but_not_replaced() -> None:
    """The other dead node may be the one that gains ranges of the removed node, and it acknowledges nothing."""
    down = seen(1, 6)
    assert blocking(ask(down, "removenode", 1)) == ["would_become_unavailable", "node_down_elsewhere"]
    assert ask(down, "replace", 1).decision == "safe"
    assert ask(seen(1, 2), "replace", 1).decision == "safe"  # ranges are already lost, and this restores them


def test_replication_must_fit_without_the_removed_node() -> None:
    """RF 3 does not fit on two nodes; a note says which rack would be empty."""
    three = small.snapshot(SIX[:3], [small.ring("orders", RF_3, [[1, 2, 3]] * 3, 3)], down=[1])
    decision = ask(three, "removenode", 1)
    assert blocking(decision) == ["replication_would_not_fit"]
    assert reason(decision, "rack_empties").summary == "rack r1 of dc1 would have no node: replicas would share racks"
    assert ask(three, "replace", 1).decision == "safe"


def test_nodes_are_removed_one_at_a_time() -> None:
    """This holds even if no range has two of them."""
    assert "one_at_a_time" in blocking(ask(seen(1, 4), "removenode", 1, 4))


def test_two_replicas_of_a_range_that_leave_together_cost_serial_operations() -> None:
    """Paxos v1 refuses a range with two pending replicas; one node, or two that share no range, may leave."""
    assert ask(seen(), "decommission", 1, 2).decision == "safe"
    for level in (Level.SERIAL, Level.LOCAL_SERIAL):
        together = ask(seen(), "decommission", 1, 2, level=level)
        assert (together.decision, blocking(together)) == ("unsafe", ["would_become_unavailable"])
        assert reason(together, "would_become_unavailable").ranges == 1
        assert ask(seen(), "decommission", 1, level=level).decision == "safe"
        assert ask(seen(), "decommission", 1, 5, level=level).decision == "safe"


def test_dead_nodes_of_one_rack_may_be_replaced_together() -> None:
    """No range has two of them, so that each range keeps a quorum of live replicas."""
    rows = [[1, 2, 3], [4, 2, 3], [1, 5, 6], [4, 5, 6]]
    decision = ask(seen(1, 4, rows=rows), "replace", 1, 4, newcomer=R1)
    assert (decision.decision, decision.together) == ("safe", (small_addresses(1, 4),))


def test_dead_nodes_that_share_ranges_are_replaced_in_turn() -> None:
    """Replacing two of three replicas from the third would lose what only those two had; the groups are named."""
    rows = [[1, 2, 3], [4, 2, 3], [1, 5, 6], [4, 5, 6]]
    decision = ask(seen(1, 2, 4, rows=rows), "replace", 1, 2, 4)
    shared = reason(decision, "shared_ranges")
    assert decision.together == (small_addresses(1, 4), small_addresses(2))
    assert decision.decision == "unsafe"
    assert shared.ranges == 2
    assert shared.summary == (
        "2 ranges of orders would have no quorum of replicas that keep their data: "
        "replace 10.0.0.1, 10.0.0.4; then 10.0.0.2"
    )
    for group in decision.together:
        alone = Gatekeeper(seen(1, 2, 4, rows=rows), Policy(), Gate(settle=0)).decide(group, "replace")
        assert alone.decision == "safe"


def test_with_rf_5_two_of_a_range_may_be_replaced_together() -> None:
    """Three live replicas are a quorum; serial operations with Paxos v1 are lost while two replicas are pending."""
    ring = small.ring("orders", "NetworkTopologyStrategy {dc1=5}", [[1, 2, 3, 4, 5]] * 4, 6)
    snapshot = small.snapshot(SIX, [ring], down=[1, 2])
    assert ask(snapshot, "replace", 1, 2).decision == "safe"
    assert blocking(ask(snapshot, "replace", 1, 2, level=Level.SERIAL)) == ["would_become_unavailable"]
    assert ask(snapshot, "replace", 1, level=Level.SERIAL).decision == "safe"


def test_a_replacement_belongs_in_the_rack_of_the_dead_node() -> None:
    """If its location is not stated, a note says where it must be."""
    decision = ask(seen(1), "replace", 1, newcomer=R2)
    assert blocking(decision) == ["rack_differs"]
    differs = reason(decision, "rack_differs")
    assert differs.summary == "10.0.0.1 is in dc1 r1, the new node in dc1 r2"
    assert differs.lifts_when == "the new node is in dc1 r1"
    note = ("rack_differs", False, "the node that replaces 10.0.0.1 must be in dc1 r1")
    assert note in summaries(ask(seen(1), "replace", 1))


def test_a_node_joins_only_if_all_are_up() -> None:
    """Each range is streamed from the replica that gives it up, and it is not yet known which one that is."""
    decision = ask(seen(), "bootstrap", newcomer=R1)
    assert (decision.decision, decision.candidates, decision.newcomer) == ("safe", (), R1)
    assert blocking(ask(seen(1), "bootstrap", newcomer=R1)) == ["node_down_elsewhere"]
    joining = small.with_views(seen(), joining=frozenset(["10.0.0.6"]))
    assert blocking(ask(joining, "bootstrap", newcomer=R1)) == [
        "topology_changing",
        "contradiction",
    ]  # it already owns ranges


@pytest.mark.parametrize(
    ("newcomer", "answer", "code", "text"),
    [
        (Newcomer("dc1", "r9"), "safe", "rack_new", "rack r9 of dc1 has no node (known: r1, r2, r3): the first node "),
        (Newcomer("dc1", "rr3"), "safe", "rack_new", "rack rr3 of dc1 has no node (did you mean r3?): the first node "),
        (Newcomer("dc2", "r1"), "unsafe", "new_datacenter", "datacenter dc2 has no node, though orders has replicas "),
        (Newcomer("dc3", "r1"), "safe", "new_datacenter", "datacenter dc3 has no node (did you mean dc1?)"),
        (Newcomer("east", "r1"), "safe", "new_datacenter", "datacenter east has no node (known: dc1)"),
    ],
)
def test_a_new_rack_or_datacenter_is_named(newcomer: Newcomer, answer: str, code: str, text: str) -> None:
    """The first node of a datacenter that a keyspace already replicates to must not be added by a bootstrap.

    A new datacenter may be a typing error, so the ones that exist are named.
    """
    ring = small.ring("orders", "NetworkTopologyStrategy {dc1=3, dc2=1}", ROWS, 6)
    decision = ask(small.snapshot(SIX, [ring]), "bootstrap", newcomer=newcomer, level=Level.LOCAL_ONE)
    assert decision.decision == answer
    assert reason(decision, code).blocks == (answer == "unsafe")
    assert reason(decision, code).summary.startswith(text)


@pytest.mark.parametrize("action", NAMES[1:])
def test_restart_leases_and_movements_block(action: Action) -> None:
    """During an action no other node may move, and no other owner may stop a node."""
    down = () if action in {"decommission", "bootstrap"} else (1,)
    targets = [] if action == "bootstrap" else [small.address(1)]
    newcomer = R1 if action == "bootstrap" else None
    keeper = Gatekeeper(seen(*down), Policy(), Gate(settle=0), small.held(5))
    assert "lease_held" in blocking(keeper.decide(targets, action, newcomer))
    leaving = small.with_view(seen(*down), 2, leaving=frozenset(["10.0.0.6"]))
    moving = Gatekeeper(leaving, Policy(), Gate(settle=0)).decide(targets, action, newcomer)
    assert "topology_changing" in blocking(moving)


@pytest.mark.parametrize("action", ["restart", "decommission"])
def test_the_lease_on_a_candidate_is_a_note(action: Action) -> None:
    """The decision may be for its owner, so that it does not count; somebody else must know of it."""
    holders = small.held(1, 2)
    keeper = Gatekeeper(seen(), Policy(), Gate(settle=0), counted(holders, ["10.0.0.1"], action))
    decision = keeper.decide(["10.0.0.1"], action)
    told = with_leases(decision, holders)
    assert told.decision == decision.decision
    [note] = [one for one in told.reasons if one not in decision.reasons]
    text = "10.0.0.1 is under the restart lease of anna@bastion: only its owner may stop it"
    assert (note.code, note.summary, note.blocks) == ("lease_held", text, False)
    assert with_leases(decision, small.held(2)) is decision
    direct = Gatekeeper(seen(), Policy(), Gate(settle=0), small.held(1)).decide(["10.0.0.1"], action)
    assert note in direct.reasons


@pytest.mark.parametrize("action", ["removenode", "replace"])
def test_a_dead_node_under_a_lease_comes_back(action: Action) -> None:
    """It was stopped on purpose, so its lease counts; the lease of a node that is about to stop does not."""
    assert [one.node for one in counted(small.held(1, 2), ["10.0.0.1"], action)] == ["10.0.0.1", "10.0.0.2"]
    assert [one.node for one in counted(small.held(1, 2), ["10.0.0.1"], "restart")] == ["10.0.0.2"]
    decision = Gatekeeper(seen(1), Policy(), Gate(settle=0), small.held(1)).decide(["10.0.0.1"], action)
    assert blocking(decision) == ["lease_held"]
    assert decision.reasons[0].summary.endswith("of anna@bastion and is down on purpose")


@pytest.mark.parametrize("action", NAMES[1:])
def test_without_a_metadata_quorum_nothing_moves(action: Action) -> None:
    """Restarting the dead members helps; any other action could not be committed."""
    members = small.nodes(*["dc1:r1", "dc1:r2", "dc1:r3"] * 2, release_version="6.0-alpha2", paxos_variant="v2")
    service = MetadataReport(members=frozenset(small.addresses([1, 2, 3])), epoch=7)
    snapshot = small.snapshot(members, [small.ring("orders", RF_3, [[4, 5, 6]] * 4, 6)], down=[1, 2])
    snapshot = replace(snapshot, views=tuple(replace(view, metadata=service) for view in snapshot.views))
    newcomer = R1 if action == "bootstrap" else None
    targets = () if action == "bootstrap" else (1,)
    assert "metadata_quorum" in blocking(ask(snapshot, action, *targets, newcomer=newcomer))
    assert "metadata_quorum" not in blocking(ask(snapshot, "restart", 1))


@pytest.mark.parametrize(
    ("action", "nodes", "datacenter", "rack", "message"),
    [
        ("bootstrap", ("10.0.0.1",), "dc1", "r1", "name no node"),
        ("bootstrap", (), "dc1", None, "needs the datacenter and the rack"),
        ("replace", (), "dc1", "r1", "replace needs the nodes"),
        ("replace", ("10.0.0.1",), "dc1", None, "needs both a datacenter and a rack"),
        ("restart", ("10.0.0.1",), "dc1", "r1", "restart has no new node"),
    ],
)
def test_half_a_question_is_an_error(
    action: Action, nodes: tuple[str, ...], datacenter: str | None, rack: str | None, message: str
) -> None:
    """A location that is left out must not count as one that fits."""
    with pytest.raises(UsageError, match=message):
        newcomer_of(action, nodes, datacenter, rack)


@pytest.mark.parametrize(
    ("action", "targets", "newcomer"),
    [("bootstrap", (), Newcomer("dc2", "r1")), ("decommission", (1,), None), ("removenode", (1,), None)],
)
def test_simple_strategy_places_replicas_anywhere_after_the_action(
    action: Action, targets: tuple[int, ...], newcomer: Newcomer | None
) -> None:
    """With several datacenters, LOCAL levels can't be promised afterwards; QUORUM and NetworkTopologyStrategy can."""
    rows = [[1, 2], [2, 3], [3, 4], [4, 1]]
    members = small.nodes("dc1", "dc1", "dc1", "dc1" if newcomer else "dc2")
    names = [small.address(number) for number in targets]
    down = targets if action == "removenode" else ()
    gate = Gate(level=Level.LOCAL_ONE, settle=0)

    def decided(replication: str, gate: Gate = gate, policy: Policy | None = None) -> Decision:
        snapshot = small.snapshot(members, [small.ring("orders", replication, rows, 4)], down)
        return Gatekeeper(snapshot, policy or Policy(), gate).decide(names, action, newcomer)

    simple = "SimpleStrategy {replication_factor=2}"
    assert blocking(decided(simple)) == ["placement_unknown"]
    text = reason(decided(simple), "placement_unknown").summary
    assert text.startswith("SimpleStrategy places the replicas of orders without regard to datacenters")
    assert decided(simple, replace(gate, allow=frozenset({"placement_unknown"}))).decision == "safe"
    anywhere = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE)),))
    assert decided(simple, replace(gate, level=Level.ONE), anywhere).decision == "safe"
    assert "placement_unknown" not in blocking(decided("NetworkTopologyStrategy {dc1=2}"))
