"""The restart plan: the gate allows every batch, and trying all partitions finds none with fewer batches."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ringcheck.core.batches import Limits, mask_of
from ringcheck.core.consistency import Level
from ringcheck.core.gate import CODES, Gate, Gatekeeper
from ringcheck.core.plan import plan, plan_with, reasons_alone
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Problem, Replication, Ring
from tests import article
from tests.conftest import examples
from tests.core.bruteforce import LEVELS
from tests.core.clusters import addresses, nodes, ring, snapshot, with_node, with_view
from tests.core.test_gate import leases
from tests.strategies import Cluster, clusters, wide_clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ringcheck.core.plan import By, Plan
    from ringcheck.core.ring import Snapshot

LOSSES = {"would_become_unavailable", "structurally_never_safe", "already_unavailable"}
DATA = CODES - LOSSES  # allowed, so that only the ranges decide


def all_up(cluster: Cluster) -> Cluster:
    everyone = frozenset(cluster.places)
    return replace(cluster, live=dict.fromkeys(cluster.live, everyone))


def fewest(names: Collection[str], safe: Callable[[Sequence[str]], bool]) -> int:
    """The fewest safe sets into which the names can be partitioned, by trying every partition."""
    order = sorted(names)
    fine = {frozenset(some) for size in range(len(order) + 1) for some in combinations(order, size) if safe(some)}
    least: dict[frozenset[str], int] = {frozenset(): 0}
    for size in range(1, len(order) + 1):
        for some in map(frozenset, combinations(order, size)):
            first = min(some)
            parts = (one for one in fine if first in one and one <= some)
            least[some] = min((least[some - one] for one in parts), default=len(order)) + 1
    return least[frozenset(order)]


@pytest.mark.slow
@settings(max_examples=examples(150))
@given(clusters(nodes=6, tables=2), st.sampled_from(LEVELS), st.sampled_from((None, None, 1, 2, 3)), st.booleans())
def test_no_plan_has_fewer_batches(cluster: Cluster, level: str, most: int | None, spare: bool) -> None:  # noqa: FBT001 - drawn
    """Every node that may stop alone is in exactly one batch, all batches are safe, and no plan has fewer."""
    cluster = all_up(cluster)
    allow = DATA - {"would_be_at_minimum"}
    gate = Gate(level=Level(level), require_spare=spare, allow=allow)
    keeper = Gatekeeper(cluster.snapshot(), Policy(), gate)

    def safe(some: Sequence[str]) -> bool:
        return (most is None or len(some) <= most) and keeper.decide(some).decision == "safe"

    made = plan(cluster.snapshot(), Policy(), gate, max_batch=most)
    alone = {one for one in cluster.places if safe([one])}
    assert sorted(node for batch in made.batches for node in batch) == sorted(alone)
    assert {one.node for one in made.refused} == cluster.places.keys() - alone
    assert all(one.reasons for one in made.refused)
    assert all(safe(batch) for batch in made.batches)
    assert len(made.batches) == fewest(alone, safe)
    assert made.rule.startswith("fewest: proven") or not made.batches


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(wide_clusters(), st.sampled_from(("QUORUM", "LOCAL_QUORUM", "ONE", "LOCAL_ONE", "SERIAL")), st.data())
def test_every_batch_is_safe(cluster: Cluster, level: str, data: st.DataObject) -> None:
    """It holds with many ranges, racks and levels, with pending ranges and lease holders, and by every rule."""
    cluster = all_up(cluster)
    gate = Gate(level=Level(level), allow=DATA)
    holders = data.draw(st.lists(st.sampled_from(sorted(cluster.places)), max_size=1))
    rules: list[By | None] = [None, "rack", "node"]
    by = data.draw(st.sampled_from(rules))
    named = data.draw(st.lists(st.sampled_from(sorted(cluster.places)), min_size=1, unique=True))
    keeper = Gatekeeper(cluster.snapshot(), Policy(), gate, leases(holders))
    made = plan_with(keeper, nodes=named, by=by)
    assert all(keeper.decide(batch).decision == "safe" for batch in made.batches)
    assert sorted([*(one.node for one in made.refused), *(one for batch in made.batches for one in batch)]) == sorted(
        named
    )
    assert all(keeper.decide([one.node]).decision != "safe" for one in made.refused)
    if by:
        racks = [{cluster.places[node] for node in batch} for batch in made.batches]
        assert all(len(rack) == 1 for rack in racks)


@settings(max_examples=examples(60))
@given(clusters(nodes=6), st.permutations(range(6)))
def test_the_order_of_nodes_does_not_matter(cluster: Cluster, order: list[int]) -> None:
    """The plan is the same if the nodes of the cluster are listed in another order."""
    cluster = all_up(cluster)
    gate = Gate(level=Level.QUORUM, allow=DATA)
    names = sorted(cluster.places)
    mixed = [names[place] for place in order if place < len(names)]
    assume(mixed != list(cluster.places))
    first, second = (plan(cluster.snapshot(some), Policy(), gate) for some in ((), mixed))
    assert first.batches == second.batches
    assert {one.node for one in first.refused} == {one.node for one in second.refused}


RACKS = tuple(f"dc1:r{rack}" for rack in (1, 2, 3, 1, 2, 3))
QUARTERS = ([1, 2, 3], [2, 3, 4], [4, 5, 6], [5, 6, 1])
NTS = "NetworkTopologyStrategy {dc1=3}"


def racked(replication: str = NTS, **fields: object) -> Snapshot:
    """Six nodes in three racks; nodes 1 and 4 are in the first."""
    return snapshot(nodes(*RACKS, generation=None), [ring("ks", replication, QUARTERS, 6)], **fields)  # type: ignore[arg-type]


def made(seen: Snapshot, gate: Gate | None = None, **wishes: object) -> Plan:
    return plan(seen, Policy(), gate or Gate(), **wishes)  # type: ignore[arg-type]


def numbers(result: Plan) -> list[list[int]]:
    return [[int(node.rpartition(".")[2]) for node in batch] for batch in result.batches]


def test_each_rack_is_a_batch() -> None:
    """RF 3 over three racks at LOCAL_QUORUM needs three batches, which are the racks."""
    result = made(racked())
    assert numbers(result) == [[1, 4], [2, 5], [3, 6]]
    assert (result.refused, result.notes, result.rule, result.unknown) == ((), (), "fewest: proven", False)


def test_options_of_a_plan() -> None:
    """Smaller batches, one node at a time, or only the nodes that are named."""
    assert numbers(made(racked(), max_batch=1)) == [[1], [4], [2], [5], [3], [6]]
    alone = made(racked(), by="node")
    assert (numbers(alone), alone.rule) == ([[1], [4], [2], [5], [3], [6]], "one node at a time")
    assert numbers(made(racked(), nodes=["10.0.0.6", "10.0.0.1", "10.0.0.4"])) == [[1, 4], [6]]
    assert made(racked(), max_batch=1).rule == "fewest: proven; at most 1 a batch"


def test_two_datacenters_side_by_side_unless_by_rack() -> None:
    """A stop in another datacenter does not affect clients at LOCAL levels."""
    places = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc2:r1", "dc2:r2", "dc2:r3")
    seen = snapshot(places, [ring("ks", "NetworkTopologyStrategy {dc1=3, dc2=3}", [[1, 2, 3, 4, 5, 6]], 6)])
    assert numbers(made(seen)) == [[1, 4], [2, 5], [3, 6]]
    apart = made(seen, by="rack")
    assert (numbers(apart), apart.rule) == ([[1], [2], [3], [4], [5], [6]], "fewest: proven; no batch spans racks")
    quorum = made(seen, Gate(level=Level.QUORUM))
    assert (len(quorum.batches), quorum.rule) == (3, "fewest: proven")
    assert len(made(seen, Gate(level=Level.EACH_QUORUM)).batches) == 3
    assert made(seen, Gate(level=Level.ALL)).batches == ()


def test_what_can_never_stop_is_refused_by_name() -> None:
    """Three nodes hold a keyspace of RF 1: they are refused with that reason, and the other nodes are planned."""
    lone = ring("lone", "SimpleStrategy {replication_factor=1}", [[1], [2], [3], [3]], 6)
    result = made(replace(racked(), rings=(*racked().rings, lone)))
    assert numbers(result) == [[4], [5], [6]]
    assert [one.node for one in result.refused] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    (reason,) = result.refused[2].reasons
    assert reason.summary == (
        "2 of 4 ranges (50.0 % of the tokens) of lone can't survive any stop at LOCAL_QUORUM in dc1"
    )
    assert not result.unknown


PASSING = [
    (with_view(racked(), 3, outcome="unreachable", reason="timeout"), "view_missing"),
    (with_view(racked(), 3, schema_version="other"), "schema_disagreement"),
    (with_view(racked(), 3, live=addresses(range(2, 7)), unreachable=addresses([1])), "view_disagreement"),
    (with_node(racked(), 3, generation=1714979340), "recently_changed"),
    (with_node(racked(), 3, mode="DRAINED"), "view_missing"),
]


@pytest.mark.parametrize(("seen", "code"), PASSING)
def test_a_passing_reason_is_a_note(seen: Snapshot, code: str) -> None:
    """It blocks the gate now; the plan is for the time after it has passed."""
    result = made(seen)
    assert sum(len(batch) for batch in result.batches) == 6
    assert result.refused == ()
    assert code in {one.code for one in result.notes}
    assert not any(one.blocks for one in result.notes)


LASTING = [
    (replace(racked(), problems=(Problem("ring_unreadable", "x", "the ring of x can't be read"),)), "no_data", True),
    (replace(racked(), rings=()), "no_data", True),
    (replace(racked(), views=()), "no_data", True),
    (replace(racked(), taken_at="yesterday"), "no_data", True),
    (with_view(racked(), 3, live=addresses(range(1, 9))), "no_data", True),
    (racked("NetworkTopologyStrategy {dc1=2}"), "no_data", True),
    (with_view(racked(), 3, joining=addresses([2])), "topology_changing", True),  # it already owns ranges
    (with_view(racked(), 3, leaving=addresses([2])), "topology_changing", False),
]


@pytest.mark.parametrize(("seen", "code", "unknown"), LASTING)
def test_without_a_ring_to_plan_for_all_are_refused(seen: Snapshot, code: str, unknown: bool) -> None:  # noqa: FBT001 - of the table
    """If the ring is not known, or is about to change, there is no plan for it."""
    result = made(seen)
    assert (result.batches, len(result.refused), result.unknown) == ((), 6, unknown)
    assert all(code in {one.code for one in refusal.reasons} for refusal in result.refused)


def test_a_ring_in_movement_is_planned_if_that_is_allowed() -> None:
    """`--allow topology_changing` plans for the ring as it is, pending ranges included."""
    gate = Gate(allow=frozenset({"topology_changing"}))
    assert numbers(made(with_view(racked(), 3, leaving=addresses([2])), gate)) == [[1, 4], [2, 5], [3, 6]]


def test_without_nodes_or_with_strangers_a_plan_is_unknown() -> None:
    """An unknown name is refused as `unknown_node`; the other nodes are planned."""
    result = made(racked(), nodes=["10.9.9.9", "10.0.0.1"])
    assert (numbers(result), result.unknown) == ([[1]], True)
    assert [(one.node, one.reasons[0].code) for one in result.refused] == [("10.9.9.9", "unknown_node")]
    assert made(replace(racked(), nodes=(), views=(), rings=())).unknown
    assert made(racked(), nodes=[]).unknown


def test_nodes_that_are_down_come_first() -> None:
    """They have batches of their own: until they are back, the gate allows only these to restart."""
    seen = racked(down=[2, 3, 5])
    result = made(seen)
    assert numbers(result) == [[2, 5], [3], [1, 4], [6]]
    assert result.rule == "fewest: proven; nodes that are down first"
    note = next(one for one in result.notes if one.code == "node_down_elsewhere")
    assert note.summary == "3 nodes down: 10.0.0.2, 10.0.0.5, 10.0.0.3; bring back what is down first"
    now = Gatekeeper(seen, Policy(), Gate())
    assert [now.decide(batch).decision for batch in result.batches] == ["safe", "safe", "unsafe", "unsafe"]


def test_a_plan_needs_no_data_from_a_node_that_is_down() -> None:
    """If something can't be read from a node that is down, it is assumed to be the same as on the other nodes."""
    seen = with_node(racked(down=[2]), 2, release_version=None, mode=None, gossip_running=None)
    assert numbers(made(seen)) == [[2], [1, 4], [5], [3, 6]]


def test_the_article_s_cluster() -> None:
    """Three nodes with RF 3 restart in turn; with an RF 1 keyspace none may restart, unless that is accepted."""
    assert [one.node for one in made(article.snapshot()).refused] == list(article.ADDRESSES)
    result = made(article.snapshot(), Gate(accept=("blog_1",)))
    assert (numbers(result), result.rule) == ([[1], [2], [3]], "fewest: proven")


@settings(max_examples=examples(50))
@given(wide_clusters(), st.sampled_from(LEVELS))
def test_one_pass_gives_the_reasons_of_each_node(cluster: Cluster, level: str) -> None:
    """One pass over the ranges finds, for each node, the reasons that the gate gives."""
    cluster = all_up(replace(cluster, tables=tuple(replace(table, pending=()) for table in cluster.tables)))
    seen = cluster.snapshot()
    keeper = Gatekeeper(seen, Policy(), Gate(level=Level(level), allow=DATA))
    alone = reasons_alone(keeper, frozenset(range(len(seen.nodes))))
    for index, node in enumerate(seen.nodes):
        asked = [one for one in keeper.decide([node.address]).reasons if one.blocks]
        assert set(alone[index]) == {one for one in asked if one.kind.takes}


def test_many_are_refused_as_few_are() -> None:
    """If more nodes are refused than the gate is asked about one by one, each still gets its own numbers."""
    tokens = range(-(2**63), 2**63, 2**60)
    spans = [(tokens[place - 1], token, [place, place + 1]) for place, token in enumerate(tokens)]
    pairs = Replication.parse("SimpleStrategy {replication_factor=2}")
    lone = ring("lone", "SimpleStrategy {replication_factor=1}", [[1], [2], [3], [3]], 17)
    seen = snapshot(nodes(*["dc1"] * 17), [lone, Ring.build(["pairs"], pairs, spans, 17)])
    result = made(seen)
    keeper = Gatekeeper(seen, Policy(), Gate())
    assert len(result.refused) == 17
    for refusal in result.refused:
        assert list(refusal.reasons) == [reason for reason in keeper.decide([refusal.node]).reasons if reason.blocks]


def test_a_plan_that_the_gate_would_refuse_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is counted again in another way, so that a mistake in the limits is an error and not a plan."""
    monkeypatch.setattr("ringcheck.core.plan.limits_of", lambda _, numbered: Limits(len(numbered.nodes)))
    for gate in (Gate(), Gate(allow=frozenset({"structurally_never_safe"}))):
        with pytest.raises(AssertionError, match="a batch of 6 nodes is not what the gate allows"):
            made(racked(), gate)


def test_a_complete_search_proves_what_no_bound_does() -> None:
    """Five nodes in a circle exclude their neighbours: no three exclude each other, yet two batches are not enough."""
    circle = Limits(5)
    for thing in range(5):
        circle.add(mask_of([thing, (thing + 1) % 5]), 1)
    packing = circle.pack(mask_of(range(5)))
    assert (len(packing.batches), packing.least, packing.proven) == (3, 3, True)
