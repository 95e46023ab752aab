"""The gate: it answers `safe` exactly if trying the stop shows that every range stays available."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import CODES, Gate, Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.node_status import stop_answers
from ringcheck.core.observed import Observed
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.core.ring import Pending, Problem, Snapshot, View
from ringcheck.errors import UsageError
from tests import article
from tests.conftest import examples
from tests.core import clusters as small
from tests.core.bruteforce import LEVELS, LOCAL_LEVELS
from tests.core.test_bruteforce import exact
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ringcheck.core.gate import Decision
    from ringcheck.core.reasons import Reason
    from tests.core.bruteforce import Case

RANGES = {"would_become_unavailable", "structurally_never_safe", "already_unavailable"}
DATA = CODES - RANGES  # allowed, so that only the ranges decide


def cases(cluster: Cluster, level: str) -> Iterator[Case]:
    """What must stay served: every keyspace, for the clients of each datacenter that holds it."""
    for table in cluster.tables:
        holders = {cluster.places[node].dc for arc in table.natural for node in arc.nodes}
        homes = tuple(sorted(holders)) if table.factors.kind == "nts" and holders else cluster.datacenters
        for client in homes if level in LOCAL_LEVELS else (None,):
            yield cluster.case(table, level, client)


def may_stop(case: Case, live: frozenset[str], candidates: Sequence[str]) -> bool:
    """Whether the stop loses no range, and none was lost before (unless only nodes that are down are restarted)."""
    left = live - set(candidates)
    lost = any(case.unserved(left, one) - case.unserved(live, one) for one in case.operations)
    return not lost and (not case.outage(live) or not live & set(candidates))


def leases(names: Iterable[str]) -> list[Holder]:
    return [Holder(node=name, owner="anna@bastion", purpose="kernel", since="2024-05-06T07:00:00Z") for name in names]


def keeper(cluster: Cluster, level: str, holders: Sequence[str] = ()) -> Gatekeeper:
    return Gatekeeper(cluster.snapshot(), Policy(), Gate(level=Level(level), allow=DATA), leases(holders))


def subsets(names: Collection[str]) -> Iterator[frozenset[str]]:
    return (frozenset(some) for size in range(len(names) + 1) for some in combinations(sorted(names), size))


@pytest.mark.slow
@settings(max_examples=examples(400))
@given(clusters(views=3, tables=2), st.sampled_from(LEVELS), st.data())
def test_safe_is_what_trying_shows(cluster: Cluster, level: str, data: st.DataObject) -> None:
    """A safe stop loses nothing, whichever of the doubtful nodes and of the nodes under a lease are up."""
    names = sorted(cluster.places)
    candidates = frozenset(data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)))
    holders = frozenset(data.draw(st.lists(st.sampled_from(names), max_size=1)))
    everywhere, somewhere = (
        frozenset(names).intersection(*cluster.live.values()),
        frozenset().union(*cluster.live.values()),
    )
    decision = keeper(cluster, level, sorted(holders)).decide(sorted(candidates))
    judged = [*cases(cluster, level), *cases(cluster, "LOCAL_ONE")]  # the second is critical by default
    doubtful = (somewhere - (everywhere - holders)) - candidates
    lost = any(
        case.unserved(somewhere - gone - candidates, one) - case.unserved(somewhere - gone, one)
        for gone in subsets(doubtful)
        for case in judged
        for one in case.operations
    )
    before = (everywhere - holders - candidates) | (candidates & somewhere)
    broken = any(case.outage(before) for case in judged) and bool(somewhere & candidates)
    plain = not doubtful or (level != "EACH_QUORUM" and not any(table.pending for table in cluster.tables))
    if plain and all(exact(case) for case in judged):
        assert (decision.decision == "safe") == (not lost and not broken)
    elif decision.decision == "safe":
        assert not lost
        assert not broken


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(clusters(views=2, tables=2), st.sampled_from(LEVELS), st.booleans(), st.integers(0, 1))
def test_one_pass_answers_as_decide_does(cluster: Cluster, level: str, spare: bool, streams: int) -> None:  # noqa: FBT001 - drawn
    """`safe_nodes` has exactly the nodes for which `decide` answers safe."""
    cluster = replace(cluster, tables=tuple(replace(table, pending=()) for table in cluster.tables))
    gate = Gate(level=Level(level), require_spare=spare)
    first, *others = cluster.snapshot().nodes
    members = (replace(first, streams=streams), *others)
    snapshot = replace(cluster.snapshot(), nodes=members, taken_at="2024-05-06T07:08:09Z")
    one_by_one = Gatekeeper(snapshot, Policy(), gate)
    alone = {name for name in cluster.places if one_by_one.decide([name]).decision == "safe"}
    assert one_by_one.safe_nodes() == alone


def decide(seen: Snapshot, *candidates: str, gate: Gate | None = None, holders: Sequence[str] = ()) -> Decision:
    accept = Gate(accept=("blog_1",))
    return Gatekeeper(seen, Policy(), gate or accept, leases(holders)).decide(candidates)


def summaries(decision: Decision) -> list[tuple[str, bool, str]]:
    return [(one.code, one.blocks, one.summary) for one in decision.reasons]


def blocking(decision: Decision) -> list[str]:
    return [one.code for one in decision.reasons if one.blocks]


def with_view(seen: Snapshot, observer: str, **changes: object) -> Snapshot:
    views = tuple(replace(view, **changes) if view.observer == observer else view for view in seen.views)  # type: ignore[arg-type]
    return replace(seen, views=views)


def test_one_of_three_may_stop() -> None:
    """RF 3 at LOCAL_QUORUM can spare one node; a note says that no spare would be left."""
    decision = decide(article.snapshot(), "10.0.0.1")
    assert decision.decision == "safe"
    text = "768 ranges of blog_3 would have no replica to spare at LOCAL_QUORUM in dc1"
    assert summaries(decision) == [("would_be_at_minimum", False, text)]
    assert (decision.checked.keyspaces, decision.checked.ranges, decision.checked.views) == (1, 768, 3)


def test_two_of_three_must_not() -> None:
    """The reason has an example range, and says what would remove it."""
    decision = decide(article.snapshot(), "10.0.0.1", "10.0.0.2")
    assert decision.decision == "unsafe"
    (reason,) = decision.reasons
    assert reason.code == "would_become_unavailable"
    assert (
        reason.summary
        == "768 of 768 ranges (100.0 % of the tokens) of blog_3 would become unavailable at LOCAL_QUORUM in dc1"
    )
    assert (reason.ranges, reason.share, reason.lifts_when) == (768, 1.0, "more of their replicas are up")
    assert reason.example is not None
    assert reason.example.live == ("10.0.0.3",)


@pytest.mark.parametrize(
    ("replication", "places", "level", "stopped"),
    [
        ("NetworkTopologyStrategy {dc1=5}", ("dc1", "dc1"), Level.LOCAL_QUORUM, (1, 2)),  # LOCAL_QUORUM: never served
        ("NetworkTopologyStrategy {dc1=3, dc2=3}", ("dc1", "dc1", "dc1", "dc2"), Level.LOCAL_QUORUM, (4,)),
        ("NetworkTopologyStrategy {dc1=2, dc2=3}", ("dc1", "dc1", "dc2", "dc2", "dc2"), Level.QUORUM, (1, 2)),
    ],
)
def test_the_default_critical_level_is_kept_too(
    replication: str, places: tuple[str, ...], level: Level, stopped: tuple[int, ...]
) -> None:
    """A keyspace without a rule keeps LOCAL_ONE, as one with the same rule does."""
    members = small.nodes(*places)
    rows = [list(range(1, len(places) + 1))]
    snapshot = small.snapshot(members, [small.ring("orders", replication, rows, len(places))])
    names = [small.address(number) for number in stopped]
    stated = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE)),))
    for policy in (Policy(), stated):
        decision = Gatekeeper(snapshot, policy, Gate(level=level)).decide(names)
        assert decision.decision == "unsafe"
        assert {why.level for why in decision.reasons if why.blocks} == {Level.LOCAL_ONE}
    losses = {"would_become_unavailable", "structurally_never_safe", "last_coordinator"}
    everything = Gate(level=level, allow=frozenset(losses))
    assert Gatekeeper(snapshot, Policy(), everything).decide(names).decision == "safe"


def test_rf_one_can_never_pass() -> None:
    """A keyspace without a spare replica is named, with the three remedies."""
    decision = decide(article.snapshot(), "10.0.0.1", gate=Gate())
    reason = decision.reasons[0]
    assert (decision.decision, reason.code, reason.ranges) == ("unsafe", "structurally_never_safe", 256)
    assert (
        reason.summary
        == "256 of 768 ranges (31.5 % of the tokens) of blog_1 can't survive any stop at LOCAL_QUORUM in dc1"
    )
    assert reason.lifts_when == ("the replication factor is raised, or the keyspace is accepted by name")


def test_a_second_node_waits_for_the_first() -> None:
    """While a node is down, no other node may stop; restarting the down node resolves this."""
    seen = article.snapshot(["10.0.0.2"])
    assert blocking(decide(seen, "10.0.0.1")) == ["would_become_unavailable"]
    assert decide(seen, "10.0.0.2").decision == "safe"
    assert Gatekeeper(seen, Policy(), Gate(accept=("blog_1",))).safe_nodes() == {"10.0.0.2"}


def test_ranges_lost_before_block_all_but_the_cure() -> None:
    """With two of three nodes down, the third must not stop, but each of the two may be restarted."""
    seen = article.snapshot(["10.0.0.1", "10.0.0.2"])
    assert blocking(decide(seen, "10.0.0.3")) == ["already_unavailable"]
    assert decide(seen, "10.0.0.1").decision == "safe"


def test_lease_holders_count_as_down() -> None:
    """Two restarts at the same time take two nodes away, even if different people run them."""
    decision = decide(article.snapshot(), "10.0.0.1", holders=["10.0.0.3"])
    assert blocking(decision) == ["lease_held", "would_become_unavailable"]
    first = decision.reasons[0]
    assert first.summary == "10.0.0.3 is under the restart lease of anna@bastion"
    assert first.lifts_when == "anna@bastion releases the lease on 10.0.0.3 (kernel, since 2024-05-06T07:00:00Z)"
    two = decide(
        article.snapshot(), "10.0.0.1", gate=Gate(level=Level.LOCAL_ONE, accept=("blog_1",)), holders=["10.0.0.3"]
    )
    assert ("lease_held", False, "10.0.0.3 is under the restart lease of anna@bastion and counts as down") in summaries(
        two
    )


def streaming(**streams: int | None) -> Snapshot:
    """The article's cluster; `n1=2` gives the first node two streams."""
    seen = article.snapshot()
    changed = {f"10.0.0.{name[1:]}": number for name, number in streams.items()}
    return replace(seen, nodes=tuple(replace(one, streams=changed.get(one.address, 0)) for one in seen.nodes))


def test_a_node_that_streams_must_not_stop() -> None:
    """A stop would abort its repair or rebuild; other nodes may stop, with a note about it."""
    seen = streaming(n1=2)
    decision = decide(seen, "10.0.0.1")
    text = "10.0.0.1 is streaming (repair, bootstrap, rebuild or decommission): a stop would interrupt that"
    assert (decision.decision, blocking(decision)) == ("unsafe", ["streaming"])
    assert summaries(decision)[0] == ("streaming", True, text)
    assert decision.reasons[0].lifts_when == "10.0.0.1 has no more streams"
    assert [one.code for one in decision.reasons].count("streaming") == 1
    other = decide(seen, "10.0.0.2")
    assert other.decision == "safe"
    assert ("streaming", False, "1 other node streaming: 10.0.0.1") in summaries(other)
    assert Gatekeeper(seen, Policy(), Gate(accept=("blog_1",))).safe_nodes() == {"10.0.0.2", "10.0.0.3"}
    keeper = Gatekeeper(seen, Policy(), Gate(accept=("blog_1",)))
    assert "streaming" in blocking(keeper.decide(["10.0.0.1"], "decommission"))


def test_streaming_can_be_allowed() -> None:
    """A stream that hangs for ever must not prevent the restart of its node."""
    allowed = Gate(accept=("blog_1",), allow=frozenset({"streaming"}))
    decision = decide(streaming(n1=1), "10.0.0.1", gate=allowed)
    assert decision.decision == "safe"
    assert ("streaming", False) in [one[:2] for one in summaries(decision)]
    assert Gatekeeper(streaming(n1=1), Policy(), allowed).safe_nodes() == set(article.ADDRESSES)


def test_unknown_streams_are_a_note() -> None:
    """An older access policy denies reading them; a node that every view sees as down has no streams."""
    decision = decide(streaming(n1=None), "10.0.0.1")
    assert decision.decision == "safe"
    assert ("streaming", False, "not known whether 10.0.0.1 is streaming") in summaries(decision)
    both = decide(streaming(n1=None, n2=None), "10.0.0.1", "10.0.0.2")
    assert ("streaming", False, "not known whether 10.0.0.1, 10.0.0.2 are streaming") in summaries(both)
    assert "streaming" not in {one.code for one in decide(streaming(n1=None), "10.0.0.2").reasons}
    down = article.snapshot(["10.0.0.1"])
    assert "streaming" not in {one.code for one in decide(down, "10.0.0.1").reasons}


def test_streams_that_a_candidate_did_not_tell_block() -> None:
    """Its answer failed or was late, so that it may stream; other nodes may stop, and a dead node has no streams."""
    text = "not known whether 10.0.0.1 is streaming: its answer was late"
    unread = Problem("streams_unread", "10.0.0.1", text)
    seen = replace(streaming(n1=None), problems=(unread,))
    decision = decide(seen, "10.0.0.1")
    assert decision.decision == "unknown"
    assert summaries(decision)[0] == ("streams_unread", True, text)
    assert [one.code for one in decision.reasons].count("streaming") == 0
    assert decide(seen, "10.0.0.2").decision == "safe"
    both = decide(seen, "10.0.0.1", "10.0.0.2")
    assert ("streams_unread", True, text) in summaries(both)
    keeper = Gatekeeper(seen, Policy(), Gate(accept=("blog_1",)))
    assert keeper.safe_nodes() == {"10.0.0.2", "10.0.0.3"}
    assert stop_answers(keeper, ["10.0.0.1"])["10.0.0.1"].decision == "unknown"
    allowed = Gate(accept=("blog_1",), allow=frozenset({"streams_unread"}))
    assert decide(seen, "10.0.0.1", gate=allowed).decision == "safe"
    dead = replace(article.snapshot(["10.0.0.1"]), problems=(unread,))
    assert "streams_unread" not in {one.code for one in decide(dead, "10.0.0.1").reasons}
    assert assess(seen, Policy()).severity is assess(streaming(n1=None), Policy()).severity


@pytest.mark.parametrize("known", [True, False])
def test_a_decision_on_a_recorded_snapshot_names_what_it_leaves_out(known: bool) -> None:  # noqa: FBT001 - a case
    """What needs a second reading, or was not recorded, is named and not judged; the rest is judged."""
    seen = streaming(n1=1) if known else streaming(n1=None, n2=None, n3=None)
    decision = Gatekeeper(seen, Policy(), Gate(accept=("blog_1",)), recorded=True).decide(["10.0.0.1"])
    assert decision.left_out == ("stable", "recently_changed", "lease_held", *(() if known else ("streaming",)))
    assert [one.blocks for one in decision.reasons if one.code == "streaming"] == ([True] if known else [])
    assert decide(seen, "10.0.0.1").left_out == ()


NOT_KNOWN = [
    (with_view(article.snapshot(), "10.0.0.3", outcome="unreachable", reason="timeout"), "view_missing"),
    (
        with_view(article.snapshot(), "10.0.0.3", outcome="discarded", reason="drained", live=frozenset()),
        "view_missing",
    ),
    (
        replace(article.snapshot(), problems=(Problem("ring_unreadable", "x", "the ring of x can't be read"),)),
        "no_data",
    ),
    (replace(article.snapshot(), rings=()), "no_data"),
    (replace(article.snapshot(), views=()), "no_data"),
    (article.snapshot(article.ADDRESSES), "no_data"),
    (replace(article.snapshot(), taken_at="yesterday"), "no_data"),
]


@pytest.mark.parametrize(("seen", "code"), NOT_KNOWN)
def test_gaps_are_unknown(seen: Snapshot, code: str) -> None:
    """If data is missing the answer is never safe."""
    decision = decide(seen, "10.0.0.1")
    assert decision.decision == "unknown"
    assert code in blocking(decision)


def test_a_missing_view_of_the_candidate_does_not_block() -> None:
    """A node whose Jolokia hangs may be restarted: its view no longer matters once it stops."""
    seen = with_view(article.snapshot(), "10.0.0.3", outcome="unreachable", reason="timeout")
    assert decide(seen, "10.0.0.3").decision == "safe"


UNSAFE = [
    (with_view(article.snapshot(), "10.0.0.3", joining=frozenset(["10.0.0.2"])), "topology_changing"),
    (with_view(article.snapshot(), "10.0.0.3", schema_version="other"), "schema_disagreement"),
    (
        with_view(article.snapshot(), "10.0.0.3", live=frozenset(["10.0.0.2", "10.0.0.3"]), unreachable=frozenset()),
        "view_disagreement",
    ),
    (
        replace(
            article.snapshot(), nodes=tuple(replace(node, generation=1767225580) for node in article.snapshot().nodes)
        ),
        "recently_changed",
    ),
]


def test_a_contested_movement_blocks_though_movements_are_allowed() -> None:
    """The ring was read from one node; coordinators that the stop would affect may know other movements."""
    gate = Gate(accept=("blog_1",), allow=frozenset({"topology_changing", "view_disagreement"}))
    agreed = article.snapshot()
    for observer in [view.observer for view in agreed.views]:
        agreed = with_view(agreed, observer, leaving=frozenset(["10.0.0.2"]))
    assert decide(agreed, "10.0.0.1", gate=gate).decision == "safe"
    contested = with_view(article.snapshot(), "10.0.0.3", leaving=frozenset(["10.0.0.2"]))
    decision = decide(contested, "10.0.0.1", gate=gate)
    assert decision.decision == "unknown"
    assert ("contradiction", True, "10.0.0.3 sees 10.0.0.2 leaving, and other nodes do not") in summaries(decision)


def test_an_unknown_age_is_a_note() -> None:
    """Without its generation the age of a node is not known; the decision says so."""
    nodes = tuple(replace(node, generation=None, source="ok") for node in article.snapshot().nodes)
    decision = decide(replace(article.snapshot(), nodes=nodes), "10.0.0.1")
    [note] = [one for one in decision.reasons if one.code == "recently_changed"]
    assert note.summary == "not known how long 10.0.0.1, 10.0.0.2, 10.0.0.3 have run"
    assert (note.blocks, decision.decision) == (False, "safe")


def test_the_age_of_a_node_that_was_not_asked_is_unknown() -> None:
    """With `views: contact_points` a node that has just come back looks like any other; the decision says so."""
    nodes = tuple(replace(node, generation=None, source="not_asked") for node in article.snapshot().nodes[:1])
    decision = decide(replace(article.snapshot(), nodes=(*nodes, *article.snapshot().nodes[1:])), "10.0.0.2")
    assert ("recently_changed", False, "not known how long 10.0.0.1 has run") in summaries(decision)
    down = article.snapshot(["10.0.0.1"])
    nodes = tuple(replace(node, source="not_asked") for node in down.nodes[:1])
    decision = decide(replace(down, nodes=(*nodes, *down.nodes[1:])), "10.0.0.1")
    assert "recently_changed" not in [one.code for one in decision.reasons]


def test_a_generation_in_the_future_blocks() -> None:
    """A clock must be wrong, so the node's real age is not known."""
    nodes = tuple(replace(node, generation=1767225600 + 86400) for node in article.snapshot().nodes)
    decision = decide(replace(article.snapshot(), nodes=nodes), "10.0.0.1")
    text = "10.0.0.2 reports a start 86400 s in the future: its clock or that of this host is or was wrong"
    assert ("recently_changed", True, text) in summaries(decision)
    lifts = {one.lifts_when for one in decision.reasons if one.code == "recently_changed"}
    assert lifts == {"86445 s have passed, or recently_changed is allowed"}


def test_schema_versions_that_can_not_be_read_are_a_note() -> None:
    """An access policy may deny SchemaVersion, so that a disagreement can't be seen."""
    seen = article.snapshot()
    seen = replace(seen, views=tuple(replace(view, schema_version=None) for view in seen.views))
    assert ("schema_disagreement", False, "not known whether the nodes agree on the schema") in summaries(
        decide(seen, "10.0.0.1")
    )


@pytest.mark.parametrize(("seen", "code"), UNSAFE)
def test_an_unsettled_cluster_is_unsafe(seen: Snapshot, code: str) -> None:
    """Movements, disagreements and nodes that have just come back block, unless their code is allowed."""
    decision = decide(seen, "10.0.0.1")
    assert decision.decision == "unsafe"
    assert code in blocking(decision)
    allowed = decide(seen, "10.0.0.1", gate=Gate(accept=("blog_1",), allow=frozenset({code})))
    assert code not in blocking(allowed)
    assert code in [one.code for one in allowed.reasons]


def test_pending_ranges_block() -> None:
    """They block even if no view says which node moves."""
    seen = article.snapshot()
    ring = replace(seen.rings[1], pending=(Pending(1, 2, (0,)),))
    assert "topology_changing" in blocking(decide(replace(seen, rings=(seen.rings[0], ring)), "10.0.0.1"))


def test_options_make_notes_block() -> None:
    """`require_spare` and `require_all_up` turn notes into reasons that block."""
    seen = article.snapshot()
    assert blocking(decide(seen, "10.0.0.1", gate=Gate(accept=("blog_1",), require_spare=True))) == [
        "would_be_at_minimum"
    ]
    down = article.snapshot(["10.0.0.2"])
    gate = Gate(level=Level.LOCAL_ONE, accept=("blog_1",), require_all_up=True)
    assert blocking(decide(down, "10.0.0.1", gate=gate)) == ["node_down_elsewhere"]
    assert decide(down, "10.0.0.2", gate=gate).decision == "safe"


@pytest.mark.parametrize("candidates", [(), ("10.9.9.9",), ("10.0.0.1", "10.9.9.9")])
def test_strangers_are_unknown(candidates: Sequence[str]) -> None:
    """Without a candidate, or with a candidate that the cluster does not have, the answer is never safe."""
    decision = decide(article.snapshot(), *candidates)
    assert decision.decision == "unknown"
    assert "unknown_node" in blocking(decision)


def test_an_ip_address_of_several_nodes_means_none_of_them() -> None:
    """The reason names the nodes with that IP address."""
    seen = article.snapshot()
    names = ["10.0.0.1:7000", "10.0.0.1:7100", "10.0.0.3"]
    moved = [replace(node, address=name) for node, name in zip(seen.nodes, names, strict=True)]
    views = [View(name, live=frozenset(names)) for name in names]
    twins = replace(seen, nodes=tuple(moved), views=tuple(views))
    text = "10.0.0.1 can mean 10.0.0.1:7000, 10.0.0.1:7100: name one of them"
    assert reason(decide(twins, "10.0.0.1"), "unknown_node").summary == text
    strange = reason(decide(twins, "10.0.0.3:7000"), "unknown_node").summary
    assert strange == "10.0.0.3:7000 is not a node of this cluster; at its address is 10.0.0.3"


def reason(decision: Decision, code: str) -> Reason:
    return next(one for one in decision.reasons if one.code == code)


def test_decommission_needs_room() -> None:
    """RF 3 does not fit on two nodes; a note names the rack that would be empty."""
    decision = Gatekeeper(article.snapshot(), Policy(), Gate()).decide(["10.0.0.1"], "decommission")
    assert decision.decision == "unsafe"
    text = "blog_3: replication factor 3 in dc1, where 2 nodes would be left"
    assert reason(decision, "replication_would_not_fit").summary == text
    note = reason(decision, "rack_empties")
    assert (note.blocks, note.summary) == (False, "rack r0 of dc1 would have no node: replicas would share racks")
    assert "structurally_never_safe" not in blocking(decision)


def test_a_node_without_tokens_makes_no_room() -> None:
    """A coordinator, or a node whose tokens are not known, takes over no ranges and fills no rack."""
    seen = article.snapshot()
    for tokens in (0, None):
        extra = replace(seen.nodes[0], address="10.0.0.9", host_id=None, tokens=tokens)
        wider = replace(seen, nodes=(*seen.nodes, extra))
        decision = Gatekeeper(wider, Policy(), Gate()).decide(["10.0.0.1"], "decommission")
        text = "blog_3: replication factor 3 in dc1, where 2 nodes would be left"
        assert reason(decision, "replication_would_not_fit").summary == text
        assert reason(decision, "rack_empties")


FIVE = small.nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1", "dc1:r2")
RF_3 = "NetworkTopologyStrategy {dc1=3}"


def leave(seen: Snapshot, candidate: int, *holders: int, level: Level = Level.LOCAL_QUORUM) -> Decision:
    keeper = Gatekeeper(seen, Policy(), Gate(level=level, settle=0), small.held(*holders))
    return keeper.decide([small.address(candidate)], "decommission")


def test_a_node_leaves_only_when_all_others_are_up() -> None:
    """The nodes that take over its ranges must also acknowledge writes; one that is down reduces availability."""
    ring = small.ring("orders", RF_3, [[1, 2, 3], [2, 3, 4], [3, 4, 1], [4, 1, 2]], 5)
    assert leave(small.snapshot(FIVE, [ring]), 1).decision == "safe"
    assert blocking(leave(small.snapshot(FIVE, [ring], down=[5]), 1)) == ["node_down_elsewhere"]
    assert blocking(leave(small.snapshot(FIVE, [ring]), 1, 5)) == ["lease_held"]
    dead = leave(small.snapshot(FIVE, [ring], down=[5]), 5)
    assert blocking(dead) == ["candidate_down"]
    assert summaries(dead)[0][2] == "10.0.0.5 is down: only a node that is up can leave"


def test_a_node_with_a_keyspace_of_unknown_replication_does_not_leave() -> None:
    """Without the replication it is not known whether the replicas would fit."""
    ring = small.ring("orders", None, [[1, 2, 3], [2, 3, 4], [3, 4, 1], [4, 1, 2]], 5)
    decision = leave(small.snapshot(FIVE, [ring]), 1, level=Level.LOCAL_ONE)
    assert (decision.decision, blocking(decision)) == ("unknown", ["no_data"])


def test_of_many_missing_views_only_those_of_the_candidates_are_waived() -> None:
    """However many candidates do not answer, another node that does not answer may have just been killed."""
    members = small.nodes(*["dc1:r1"] * 30)
    seen = small.snapshot(members, [small.ring("orders", RF_3, [[26, 27, 28]] * 4, 30)])
    for number in (*range(1, 25), 30):
        seen = small.with_view(seen, number, outcome="unreachable", reason="timeout")
    keeper = Gatekeeper(seen, Policy(), Gate(settle=0))
    decision = keeper.decide([small.address(number) for number in range(1, 25)])
    assert decision.decision == "unknown"
    assert [one.subject for one in decision.reasons if one.blocks] == ["10.0.0.30"]
    silent = [one for one in decision.reasons if one.code == "view_missing" and not one.blocks]
    assert [one.summary for one in silent][20:] == ["10.0.0.21 and 3 more like those before"]
    assert keeper.decide([small.address(number) for number in (*range(1, 25), 30)]).decision == "safe"


def test_a_missing_view_of_a_node_under_a_lease_blocks_nothing() -> None:
    """The node counts as down, both in `safe_nodes` and in `decide`."""
    seen = with_view(article.snapshot(), "10.0.0.3", outcome="unreachable", reason="timeout")
    keeper = Gatekeeper(seen, Policy(), Gate(level=Level.LOCAL_ONE, accept=("blog_1",)), small.held(3))
    assert keeper.safe_nodes() == set(article.ADDRESSES)
    assert all(keeper.decide([one]).decision == "safe" for one in article.ADDRESSES)


def test_a_decision_lists_allowed_codes_and_all_keyspaces_of_a_reason() -> None:
    """A reason names every keyspace of its ring; an allowed code is listed even if no reason has it."""
    ring = small.ring("a b c d", RF_3, [[1, 2, 3]] * 4, 5)
    gate = Gate(settle=0, allow=frozenset({"would_become_unavailable", "streaming"}))
    decision = Gatekeeper(small.snapshot(FIVE, [ring]), Policy(), gate).decide(["10.0.0.1", "10.0.0.2"])
    assert (decision.decision, decision.allowed) == ("safe", ("streaming", "would_become_unavailable"))
    lost = reason(decision, "would_become_unavailable")
    assert (lost.keyspace, lost.keyspaces, lost.blocks) == ("a", ("a", "b", "c", "d"), False)


def test_an_observer_with_no_view_at_all_is_a_gap() -> None:
    """If a snapshot lacks a node's view, it does not show that the node is well."""
    seen = replace(
        article.snapshot(), views=tuple(View(one, outcome="unreachable", reason="x") for one in article.ADDRESSES)
    )
    assert decide(seen, "10.0.0.1").decision == "unknown"


# ---- logins ----


def with_logins(level: str | None, release: str) -> Snapshot:
    """Three replicas of orders and two of system_auth, all up; clients log in."""
    members = small.nodes("dc1:r1", "dc1:r2", "dc1:r3", release_version=release)
    orders = small.ring("orders", "NetworkTopologyStrategy {dc1=3}", [(1, 2, 3), (2, 3, 1), (3, 1, 2)], 3)
    auth = small.ring("system_auth", "NetworkTopologyStrategy {dc1=2}", [(1, 2), (2, 3), (3, 1)], 3)
    return small.snapshot(members, [orders, auth], authenticates=True, auth_read_level=level)


@pytest.mark.parametrize(
    ("level", "release", "answer", "codes"),
    [
        ("LOCAL_QUORUM", "5.0.8", "unsafe", ["structurally_never_safe"]),
        (None, "4.1.9", "unsafe", ["structurally_never_safe"]),
        ("LOCAL_ONE", "4.1.9", "safe", []),
        (None, "4.0.17", "safe", []),
        ("NODE_LOCAL", "5.0.8", "unsafe", ["no_data", "structurally_never_safe"]),
    ],
)
def test_logins_are_kept_at_the_level_at_which_cassandra_reads(
    level: str | None, release: str, answer: str, codes: list[str]
) -> None:
    """With two replicas no node may stop if logins need a quorum; the gate's own level does not apply to them."""
    keeper = Gatekeeper(with_logins(level, release), Policy(), Gate())
    decision = keeper.decide(["10.0.0.1"])
    assert (decision.decision, sorted(blocking(decision))) == (answer, codes)
    assert keeper.safe_nodes() == (frozenset() if codes else {"10.0.0.1", "10.0.0.2", "10.0.0.3"})


def test_an_unknown_level_of_logins_blocks_and_is_named() -> None:
    """It blocks even with enough replicas, since it is not known how many a login needs."""
    seen = with_logins("NODE_LOCAL", "5.0.8")
    [ring, _] = seen.rings
    seen = replace(seen, rings=(replace(ring, keyspaces=("orders", "system_auth")),))
    decision = Gatekeeper(seen, Policy(), Gate()).decide(["10.0.0.1"])
    assert (decision.decision, blocking(decision)) == ("unknown", ["no_data"])
    assert "NODE_LOCAL" in decision.reasons[0].summary
    assert Gatekeeper(seen, Policy(authenticates=False), Gate()).decide(["10.0.0.1"]).decision == "safe"


# ---- what a request adds ----


def test_a_question_adds_to_what_is_configured() -> None:
    """A level replaces the configured level; everything else adds to the configuration and removes nothing."""
    configured = Gate(level=Level.QUORUM, accept=("scratch",), require_spare=True)
    assert configured.asked() == configured
    asked = configured.asked(level=Level.ONE, accept=["tmp_*"], allow=["streaming"], require_all_up=True)
    assert asked == Gate(
        level=Level.ONE,
        accept=("scratch", "tmp_*"),
        allow=frozenset({"streaming"}),
        require_spare=True,
        require_all_up=True,
    )


def test_a_reason_that_does_not_exist_can_not_be_allowed() -> None:
    """A misspelt code would allow nothing, and the operator would not notice."""
    with pytest.raises(UsageError, match="there is no reason 'steaming'"):
        Gate().asked(allow=["steaming"])


def test_any_can_not_be_kept() -> None:
    """A hint alone satisfies ANY: if only ANY had to be kept, every stop would be safe."""
    with pytest.raises(UsageError, match="can't keep ANY"):
        Gate().asked(level=Level.ANY)


def test_coordinators_of_several_releases_repeat_no_reason() -> None:
    """In a mixed cluster requirements differ by release; each reason is given once, with the largest loss."""
    seen = article.snapshot()
    mixed = replace(
        seen,
        nodes=tuple(
            replace(node, release_version=text)
            for node, text in zip(seen.nodes, ("3.11.19", "4.1.9", "5.0.8"), strict=True)
        ),
    )
    for node in mixed.nodes:
        reasons = decide(mixed, node.address).reasons
        about = [(reason.code, reason.keyspaces, reason.level, reason.datacenter) for reason in reasons]
        assert len(set(about)) == len(about)
        assert "would_be_at_minimum" in {reason.code for reason in reasons}


FOLLOWING = Policy(
    (Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE), auto=frozenset({"critical"})),), unobserved="no file"
)
FIRST = Observed(keyspaces={}, unclear=("counters: 0 s of 7 days are known",), known=False)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (FOLLOWING, "no file"),
        (replace(FOLLOWING, unobserved=""), "no evidence was collected"),
        (Policy(unobserved="no file"), "no file"),  # `observed:` without `auto`
        (Policy(auto_datacenters=True, unobserved="no file"), "no file"),
        (replace(FOLLOWING, observed=FIRST), "counters: 0 s of 7 days are known"),
        (Policy(observed=FIRST), "counters: 0 s of 7 days are known"),
    ],
)
def test_levels_that_are_not_known_block(policy: Policy, why: str) -> None:
    """Clients may use a level that the stop takes; every question to the gate gets this answer."""
    gate = Gate(accept=("blog_1",))
    asked = Gatekeeper(article.snapshot(), policy, gate)
    decision = asked.decide(["10.0.0.1"])
    text = f"the levels that clients use are not known: {why}"
    assert (decision.decision, blocking(decision)) == ("unknown", ["levels_unclear"])
    assert decision.reasons[0].summary == text
    assert asked.safe_nodes() == frozenset()
    assert [reason.code for reason in asked.obstacles()] == ["levels_unclear"]
    planned = plan(article.snapshot(), policy, gate)
    assert (planned.batches, len(planned.refused), planned.unknown) == ((), 3, True)
    allowed = Gatekeeper(article.snapshot(), policy, gate.asked(allow=["levels_unclear"]))
    assert allowed.decide(["10.0.0.1"]).decision == "safe"
    assert allowed.safe_nodes() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_levels_that_are_known_in_part_are_a_note() -> None:
    """Levels that clients used in the known part of the window are kept."""
    partly = Observed(keyspaces={}, unclear=("counters: 90 s of 7 days are known",))
    decision = Gatekeeper(article.snapshot(), replace(FOLLOWING, observed=partly), Gate()).decide(["10.0.0.1"])
    text = "the levels that clients use are not fully known: counters: 90 s of 7 days are known"
    assert ("levels_unclear", False, text) in summaries(decision)


def test_levels_that_nothing_follows_need_no_evidence() -> None:
    """Without `auto` and `observed` in the configuration nobody looks for the levels in use."""
    decision = Gatekeeper(article.snapshot(), Policy(), Gate()).decide(["10.0.0.1"])
    assert "levels_unclear" not in {reason.code for reason in decision.reasons}
