"""The restart plan: every batch is safe by the gate, and there are no fewer batches than trying all of them finds."""

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
from ringcheck.core.plan import plan, reasons_alone
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
DATA = CODES - LOSSES  # set aside, so that the ranges alone decide


def all_up(cluster: Cluster) -> Cluster:
    everyone = frozenset(cluster.places)
    return replace(cluster, live=dict.fromkeys(cluster.live, everyone))


def fewest(names: Collection[str], safe: Callable[[Sequence[str]], bool]) -> int:
    """The fewest safe sets that the names can be parted into, by trying every parting."""
    order = sorted(names)
    fine = {frozenset(some) for size in range(len(order) + 1) for some in combinations(order, size) if safe(some)}
    found: dict[frozenset[str], int] = {frozenset(): 0}
    for size in range(1, len(order) + 1):
        for some in map(frozenset, combinations(order, size)):
            first = min(some)
            parts = (one for one in fine if first in one and one <= some)
            found[some] = min((found[some - one] for one in parts), default=len(order)) + 1
    return found[frozenset(order)]


@settings(max_examples=examples(150))
@given(clusters(nodes=6, tables=2), st.sampled_from(LEVELS), st.sampled_from((None, None, 1, 2, 3)), st.booleans())
def test_no_plan_has_fewer_batches(cluster: Cluster, level: str, most: int | None, spare: bool) -> None:  # noqa: FBT001 - drawn
    """All nodes that may stop alone are in one batch each, all batches are safe, and fewer can't be."""
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


@settings(max_examples=examples(100))
@given(wide_clusters(), st.sampled_from(("QUORUM", "LOCAL_QUORUM", "ONE", "LOCAL_ONE", "SERIAL")), st.data())
def test_every_batch_is_safe(cluster: Cluster, level: str, data: st.DataObject) -> None:
    """Of many ranges, racks and levels, with pending ones and lease holders, and by every rule."""
    cluster = all_up(cluster)
    gate = Gate(level=Level(level), allow=DATA)
    holders = data.draw(st.lists(st.sampled_from(sorted(cluster.places)), max_size=1))
    rules: list[By | None] = [None, "rack", "node"]
    by = data.draw(st.sampled_from(rules))
    named = data.draw(st.lists(st.sampled_from(sorted(cluster.places)), min_size=1, unique=True))
    keeper = Gatekeeper(cluster.snapshot(), Policy(), gate, leases(holders))
    made = plan(cluster.snapshot(), Policy(), gate, nodes=named, by=by, holders=leases(holders))
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
def test_the_order_of_nodes_says_nothing(cluster: Cluster, order: list[int]) -> None:
    """The same cluster told in another order has the same plan."""
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
    """Six nodes in three racks, 1 and 4 in the first."""
    return snapshot(nodes(*RACKS, generation=None), [ring("ks", replication, QUARTERS, 6)], **fields)  # type: ignore[arg-type]


def made(seen: Snapshot, gate: Gate | None = None, **wishes: object) -> Plan:
    return plan(seen, Policy(), gate or Gate(), **wishes)  # type: ignore[arg-type]


def numbers(one: Plan) -> list[list[int]]:
    return [[int(node.rpartition(".")[2]) for node in batch] for batch in one.batches]


def test_a_rack_a_batch() -> None:
    """RF 3 over three racks at LOCAL_QUORUM needs three batches, and they are the racks."""
    found = made(racked())
    assert numbers(found) == [[1, 4], [2, 5], [3, 6]]
    assert (found.refused, found.notes, found.rule, found.unknown) == ((), (), "fewest: proven", False)


def test_wishes() -> None:
    """Smaller batches, one node at a time, and only the nodes that are named."""
    assert numbers(made(racked(), max_batch=1)) == [[1], [4], [2], [5], [3], [6]]
    one = made(racked(), by="node")
    assert (numbers(one), one.rule) == ([[1], [4], [2], [5], [3], [6]], "one node at a time")
    assert numbers(made(racked(), nodes=["10.0.0.6", "10.0.0.1", "10.0.0.4"])) == [[1, 4], [6]]
    assert made(racked(), max_batch=1).rule == "fewest: proven; at most 1 a batch"


def test_two_datacenters_side_by_side_unless_by_rack() -> None:
    """Clients that ask their own datacenter alone don't mind what stops in the other."""
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
    """RF 1 on three nodes: they are refused with the reason, the others are planned."""
    lone = ring("lone", "SimpleStrategy {replication_factor=1}", [[1], [2], [3], [3]], 6)
    found = made(replace(racked(), rings=(*racked().rings, lone)))
    assert numbers(found) == [[4], [5], [6]]
    assert [one.node for one in found.refused] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    (reason,) = found.refused[2].reasons
    assert reason.summary == (
        "2 of 4 ranges (50.0 % of the tokens) of lone can't survive any stop at LOCAL_QUORUM in dc1"
    )
    assert not found.unknown


PASSING = [
    (with_view(racked(), 3, outcome="unreachable", reason="timeout"), "view_missing"),
    (with_view(racked(), 3, schema_version="other"), "schema_disagreement"),
    (with_view(racked(), 3, live=addresses(range(2, 7)), unreachable=addresses([1])), "view_disagreement"),
    (with_node(racked(), 3, generation=1714979340), "recently_changed"),
    (with_node(racked(), 3, mode="DRAINED"), "view_missing"),
]


@pytest.mark.parametrize(("seen", "code"), PASSING)
def test_what_passes_is_a_note(seen: Snapshot, code: str) -> None:
    """The gate refuses now; the plan is for when it is over."""
    found = made(seen)
    assert sum(len(batch) for batch in found.batches) == 6
    assert found.refused == ()
    assert code in {one.code for one in found.notes}
    assert not any(one.blocks for one in found.notes)


LASTING = [
    (replace(racked(), problems=(Problem("ring_unreadable", "x", "the ring of x can't be read"),)), "no_data", True),
    (replace(racked(), rings=()), "no_data", True),
    (replace(racked(), views=()), "no_data", True),
    (replace(racked(), taken_at="yesterday"), "no_data", True),
    (with_view(racked(), 3, live=addresses(range(1, 9))), "no_data", True),
    (racked("NetworkTopologyStrategy {dc1=2}"), "no_data", True),
    (with_view(racked(), 3, joining=addresses([2])), "topology_changing", False),
    (with_view(racked(), 3, leaving=addresses([2])), "topology_changing", False),
]


@pytest.mark.parametrize(("seen", "code", "unknown"), LASTING)
def test_without_a_ring_to_plan_for_all_are_refused(seen: Snapshot, code: str, unknown: bool) -> None:  # noqa: FBT001 - of the table
    """What is not known, or is about to be another ring, has no plan."""
    found = made(seen)
    assert (found.batches, len(found.refused), found.unknown) == ((), 6, unknown)
    assert all(code in {one.code for one in refusal.reasons} for refusal in found.refused)


def test_a_ring_in_movement_is_planned_by_the_operator_s_word() -> None:
    """`--allow topology_changing` plans for the ring as it is, with what it gains."""
    gate = Gate(allow=frozenset({"topology_changing"}))
    assert numbers(made(with_view(racked(), 3, leaving=addresses([2])), gate)) == [[1, 4], [2, 5], [3, 6]]


def test_no_node_and_strangers_are_unknown() -> None:
    """A name that no node has is refused as such; the others are planned."""
    found = made(racked(), nodes=["10.9.9.9", "10.0.0.1"])
    assert (numbers(found), found.unknown) == ([[1]], True)
    assert [(one.node, one.reasons[0].code) for one in found.refused] == [("10.9.9.9", "unknown_node")]
    assert made(replace(racked(), nodes=(), views=(), rings=())).unknown
    assert made(racked(), nodes=[]).unknown


def test_what_is_down_comes_first() -> None:
    """Nodes that are down have batches of their own: the gate lets them restart, and only them."""
    seen = racked(down=[2, 3, 5])
    found = made(seen)
    assert numbers(found) == [[2, 5], [3], [1, 4], [6]]
    assert found.rule == "fewest: proven; nodes that are down first"
    note = next(one for one in found.notes if one.code == "node_down_elsewhere")
    assert note.summary == "3 nodes down: 10.0.0.2, 10.0.0.5, 10.0.0.3; bring back what is down first"
    now = Gatekeeper(seen, Policy(), Gate())
    assert [now.decide(batch).decision for batch in found.batches] == ["safe", "safe", "unsafe", "unsafe"]


def test_one_that_is_down_forever_is_no_view_to_wait_for() -> None:
    """What a node that is down can't tell of itself is taken from the others."""
    seen = with_node(racked(down=[2]), 2, release_version=None, mode=None, gossip_running=None)
    assert numbers(made(seen)) == [[2], [1, 4], [5], [3, 6]]


def test_the_article_s_cluster() -> None:
    """Three nodes of RF 3: one after the other; with RF 1 beside it none, unless that is accepted."""
    assert [one.node for one in made(article.snapshot()).refused] == list(article.ADDRESSES)
    found = made(article.snapshot(), Gate(accept=("blog_1",)))
    assert (numbers(found), found.rule) == ([[1], [2], [3]], "fewest: proven")


@settings(max_examples=examples(50))
@given(wide_clusters(), st.sampled_from(LEVELS))
def test_reasons_of_many_are_those_of_each(cluster: Cluster, level: str) -> None:
    """One pass over the ranges says of each node what the gate would."""
    cluster = all_up(replace(cluster, tables=tuple(replace(table, pending=()) for table in cluster.tables)))
    seen = cluster.snapshot()
    keeper = Gatekeeper(seen, Policy(), Gate(level=Level(level), allow=DATA))
    told = reasons_alone(keeper, frozenset(range(len(seen.nodes))))
    for index, node in enumerate(seen.nodes):
        asked = [one for one in keeper.decide([node.address]).reasons if one.blocks]
        assert set(told[index]) == {one for one in asked if one.kind.takes}


def test_many_are_refused_as_few_are() -> None:
    """Of more nodes than are asked for one by one each has its own numbers."""
    tokens = range(-(2**63), 2**63, 2**60)
    spans = [(tokens[place - 1], token, [place, place + 1]) for place, token in enumerate(tokens)]
    pairs = Replication.parse("SimpleStrategy {replication_factor=2}")
    lone = ring("lone", "SimpleStrategy {replication_factor=1}", [[1], [2], [3], [3]], 17)
    seen = snapshot(nodes(*["dc1"] * 17), [lone, Ring.build(["pairs"], pairs, spans, 17)])
    found = made(seen)
    keeper = Gatekeeper(seen, Policy(), Gate())
    assert len(found.refused) == 17
    for one in found.refused:
        assert list(one.reasons) == [each for each in keeper.decide([one.node]).reasons if each.blocks]


def test_a_plan_that_the_gate_would_refuse_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is counted again by other means: a mistake of the limits is an error and no plan."""
    monkeypatch.setattr("ringcheck.core.plan.limits_of", lambda _, numbered: Limits(len(numbered.nodes)))
    for gate in (Gate(), Gate(allow=frozenset({"structurally_never_safe"}))):
        with pytest.raises(AssertionError, match="a batch of 6 nodes is not what the gate allows"):
            made(racked(), gate)


def test_a_search_to_the_end_proves_what_no_bound_does() -> None:
    """Five in a circle, neighbours apart: no three meet, two batches are not enough, three are proven to be needed."""
    circle = Limits(5)
    for one in range(5):
        circle.add(mask_of([one, (one + 1) % 5]), 1)
    found = circle.pack(mask_of(range(5)))
    assert (len(found.batches), found.least, found.proven) == (3, 3, True)
