"""The quorum of the cluster metadata service: judged as Cassandra commits, and kept by gate and plan for every set."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.actions import NAMES
from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.maintenance import Maintenance
from ringcheck.core.metadata import MetadataReport
from ringcheck.core.odds import Rates, odds
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.risk import risk
from ringcheck.core.whatif import Supposition, what_if
from tests.conftest import examples
from tests.core.clusters import address, addresses, findings, held, nodes, ring, snapshot, with_node, with_view

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringcheck.core.actions import Action
    from ringcheck.core.gate import Decision
    from ringcheck.core.ring import Snapshot

EVERYWHERE = "SimpleStrategy {replication_factor=6}"
NOT_INITIALISED = {"state": "GOSSIP", "members": frozenset(), "epoch": -(2**63) + 1}
GATE = Gate(level=Level.ONE)  # of six replicas five may stop, so only the metadata service matters


def report(*members: int, **fields: Any) -> MetadataReport:
    """What a node reports, with the members given by number."""
    return replace(MetadataReport(members=addresses(members), epoch=7, state="REMOTE", paused=False), **fields)


def cluster(*members: int, size: int = 6, down: Collection[int] = (), release: str = "6.0-alpha2") -> Snapshot:
    """A cluster of 6.0 in three racks, whose nodes agree on the members."""
    places = nodes(*(f"dc1:r{number % 3}" for number in range(size)), release_version=release)
    every = [list(range(1, size + 1))] * 4
    made = snapshot(places, [ring("orders", EVERYWHERE, every, size)], down)
    views = (replace(view, metadata=report(*members)) if view.outcome == "ok" else view for view in made.views)
    return replace(made, views=tuple(views))


def believing(one: Snapshot, observer: int, *members: int, **fields: Any) -> Snapshot:
    """The snapshot in which one node reports something else."""
    return with_view(one, observer, metadata=report(*members, **fields))


def decide(one: Snapshot, *numbers: int, action: Action = "restart", gate: Gate = GATE, **fields: Any) -> Decision:
    return Gatekeeper(one, Policy(), gate, **fields).decide([address(number) for number in numbers], action)


def blocking(decision: Decision) -> dict[str, str]:
    """The summaries of the reasons that block, by code."""
    return {reason.code: reason.summary for reason in decision.reasons if reason.blocks}


def of_metadata(one: Snapshot, maintenance: Maintenance | None = None) -> dict[str, list[str]]:
    found = findings(assess(one, Policy(), maintenance=maintenance))
    return {code: texts for code, texts in found.items() if code.startswith("metadata")}


# Health


def _lost(members: str, needed: int) -> str:
    return (
        f"WARNING no metadata quorum: {members} of the cluster metadata service up, {needed} needed; "
        "no change of schema or topology can be made"
    )


@pytest.mark.parametrize(
    ("members", "down", "expected"),
    [
        ((1, 2, 3), (), None),
        ((1, 2, 3), (6,), None),
        ((1, 2, 3), (2,), "OK 2 of 3 members of the cluster metadata service up, and none to spare"),
        ((1, 2, 3), (2, 3), _lost("1 of 3 members", 2)),
        ((1, 2, 3, 4, 5), (2,), None),
        ((1, 2, 3, 4), (2, 3), _lost("2 of 4 members", 3)),
        ((1,), (), None),
        ((1,), (1,), _lost("0 of 1 member", 1)),
    ],
)
def test_a_lost_quorum_is_a_warning(members: tuple[int, ...], down: tuple[int, ...], expected: str | None) -> None:
    """A quorum is a majority of the members; its loss is a WARNING, and having none to spare is a note."""
    assert of_metadata(cluster(*members, down=down)) == ({"metadata_quorum": [expected]} if expected else {})


def test_the_verdict_has_the_worst_quorum() -> None:
    """The coordinator that reaches the fewest members counts, and is named."""
    one = with_view(
        cluster(1, 2, 3), 6, live=addresses({3, 4, 5, 6}), unreachable=addresses({1, 2}), metadata=report(1, 2, 3)
    )
    verdict = assess(one, Policy())
    quorum = verdict.metadata_quorum
    assert quorum
    assert (quorum.members, quorum.live) == (("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("10.0.0.3",))
    assert (quorum.required, quorum.spare, quorum.observer) == (2, -1, "10.0.0.6")
    assert next(finding for finding in verdict.findings if finding.code == "metadata_quorum").detail == (
        "as 10.0.0.6 sees it; down: 10.0.0.1, 10.0.0.2"
    )


def test_a_lease_excuses_what_it_causes_alone() -> None:
    """If only nodes under a lease break the quorum it is a note; with another member down it stays a WARNING."""
    lone = cluster(1, down=(1,))
    leased = Maintenance(holders=tuple(held(1)))
    assert of_metadata(lone, leased)["metadata_quorum"][0].startswith("OK no metadata quorum")
    two = cluster(1, 2, 3, down=(1, 2))
    assert of_metadata(two, leased)["metadata_quorum"][0].startswith("OK ")  # the lease alone makes the difference
    three = cluster(1, 2, 3, down=(1, 2, 3))
    assert of_metadata(three, leased)["metadata_quorum"][0].startswith("WARNING ")


def test_releases_before_6_have_no_metadata_service() -> None:
    """Nothing is reported, and nothing counts as missing."""
    old = cluster(release="5.0.8")
    old = replace(old, views=tuple(replace(view, metadata=None) for view in old.views))
    assert not of_metadata(old)
    assert assess(old, Policy()).metadata_quorum is None
    assert decide(old, 1, gate=Gate()).decision == "safe"


def test_members_that_no_node_reports_are_unknown() -> None:
    """If an access policy forbids the request they are UNKNOWN and block; one node that reports them is enough."""
    silent = cluster(1, 2, 3)
    silent = replace(silent, views=tuple(replace(view, metadata=None) for view in silent.views))
    [text] = of_metadata(silent)["metadata_unknown"]
    assert text.startswith("UNKNOWN the members of the cluster metadata service are not known: 10.0.0.1")
    assert decide(silent, 4, gate=Gate()).decision == "unknown"
    assert not of_metadata(believing(silent, 4, 1, 2, 3))


def test_a_member_that_is_no_node_is_unknown_and_still_counts() -> None:
    """An endpoint that is not a node of the snapshot counts as a member that is down."""
    members = report(members=addresses({1, 2}) | {"10.0.9.9"})
    one = cluster(1, 2)
    one = replace(one, views=tuple(replace(view, metadata=members) for view in one.views))
    found = of_metadata(one)
    assert found["metadata_unknown"] == [
        "UNKNOWN 10.0.9.9 is a member of the cluster metadata service but not a known node"
    ]
    assert found["metadata_quorum"] == ["OK 2 of 3 members of the cluster metadata service up, and none to spare"]
    assert {"no_data", "metadata_quorum"} <= blocking(decide(one, 1)).keys()


# Freshness and contradictions


def test_a_view_that_is_behind_blocks_the_gate_and_is_a_note() -> None:
    """If the epoch of a view is older than that of others, the gate waits until it has caught up."""
    one = believing(cluster(1, 2, 3), 5, 1, 2, 3, epoch=4)
    assert of_metadata(one) == {"metadata_behind": ["OK 10.0.0.5 has not applied all changes of the metadata"]}
    assert blocking(decide(one, 4, gate=Gate())) == {
        "view_disagreement": "10.0.0.5 has not applied all changes of the metadata"
    }


def test_different_members_at_one_epoch_are_a_contradiction() -> None:
    """One change can't have produced two different sets of members."""
    one = believing(cluster(1, 2, 3), 5, 4, 5, 6)
    [text] = of_metadata(one)["metadata_contradiction"]
    assert text == "WARNING views at epoch 7 report 2 different sets of members of the metadata service"
    assert decide(one, 1, gate=Gate()).decision == "unknown"


def test_the_gate_keeps_the_quorum_of_every_set() -> None:
    """If nodes report different members, a stop must leave a quorum of each set, whatever else is allowed."""
    one = believing(cluster(1, 2, 3), 5, 4, 5, 6, epoch=3)
    gate = replace(GATE, allow=frozenset({"view_disagreement", "contradiction"}))
    for pair in combinations(range(1, 7), 2):
        wanted = "unsafe" if set(pair) <= {1, 2, 3} or set(pair) <= {4, 5, 6} else "safe"
        assert decide(one, *pair, gate=gate).decision == wanted, pair


# The gate


def test_a_stop_that_leaves_no_quorum_is_unsafe() -> None:
    """Two of three members must not stop together; one may, together with any number of other nodes."""
    one = cluster(1, 2, 3)
    decision = decide(one, 1, 2)
    assert decision.decision == "unsafe"
    assert blocking(decision) == {
        "metadata_quorum": "1 of 3 members of the cluster metadata service would be left, 2 needed: "
        "no change of schema or topology can be made"
    }
    assert decide(one, 1).decision == "safe"
    assert decide(one, 1, 4, 5, 6).decision == "safe"
    assert decide(cluster(1, 2, 3, down=(2,)), 1).decision == "unsafe"
    assert decide(one, 1, holders=held(2)).decision == "unsafe"


def test_a_lone_member_must_not_stop_unless_that_is_allowed() -> None:
    """In a new cluster there is only one member; the reason says what helps."""
    decision = decide(cluster(1), 1)
    [reason] = [reason for reason in decision.reasons if reason.blocks]
    assert (reason.code, reason.lifts_when) == (
        "metadata_quorum", "it has three or more members (`nodetool cms reconfigure 3`)",
    )  # fmt: skip
    assert decide(cluster(1), 1, gate=replace(GATE, allow=frozenset({"metadata_quorum"}))).decision == "safe"
    assert decide(cluster(1), 2).decision == "safe"


def test_without_a_quorum_only_members_that_are_down_may_restart() -> None:
    """A lost quorum blocks every stop except the restart of down members."""
    one = cluster(1, 2, 3, down=(1, 2))
    assert "metadata_quorum" in blocking(decide(one, 5))
    assert "metadata_quorum" not in blocking(decide(one, 1, 2))


def test_require_spare_does_not_concern_the_quorum() -> None:
    """`--require-spare` is about ranges: three members could never have two to spare."""
    gate = replace(GATE, require_spare=True)
    assert decide(cluster(1, 2, 3), 1, gate=gate).decision == "safe"
    assert len(plan(cluster(1, 2, 3), Policy(), gate).batches) == 3


@pytest.mark.slow
@settings(max_examples=examples(150))
@given(st.data())
def test_safe_nodes_and_plan_agree_with_the_gate(data: st.DataObject) -> None:
    """For all states and views, one pass gives the same answers as the gate, and every batch passes the gate."""
    numbers = st.sets(st.integers(1, 6), min_size=1)
    one = cluster(*data.draw(numbers), down=data.draw(st.sets(st.integers(2, 6), max_size=2)))
    if data.draw(st.booleans()):
        one = believing(one, 1, *data.draw(numbers), epoch=data.draw(st.integers(5, 7)))
    gate = replace(GATE, allow=frozenset({"view_disagreement", "contradiction"}))
    strict = Gatekeeper(one, Policy(), GATE)
    safe = {node.address for node in one.nodes if strict.decide([node.address]).decision == "safe"}
    assert strict.safe_nodes() == safe
    made = plan(one, Policy(), gate)
    for batch in made.batches:
        healed = replace(one, views=tuple(_well(view.observer, one) for view in one.views))
        healed = replace(healed, nodes=tuple(replace(node, source="ok") for node in one.nodes))
        assert Gatekeeper(healed, Policy(), gate).decide(batch).decision == "safe", batch


def _well(observer: str, one: Snapshot) -> Any:
    """A view that reaches every node, with that observer's report or with the first one there is."""
    reports = {view.observer: view.metadata for view in one.views if view.metadata}
    first = next(view for view in one.views if view.metadata)
    everyone = frozenset(one.index)
    return replace(
        first, observer=observer, live=everyone, unreachable=frozenset(), metadata=reports.get(observer, first.metadata)
    )


@pytest.mark.parametrize("partitioner", ["Murmur3Partitioner", "unknown"])
def test_a_quorum_is_judged_without_a_ring(partitioner: str) -> None:
    """If no node reports keyspaces, the loss of the quorum is still found, and nothing may stop for lack of data."""
    one = replace(cluster(1, 2, 3, down=(2, 3)), rings=(), partitioner=partitioner)
    assert "metadata_quorum" in of_metadata(one)
    for action in NAMES:
        assert "no_data" in blocking(decide(one, 1, action=action)), action
    assert not Gatekeeper(one, Policy(), GATE).safe_nodes()
    assert not plan(one, Policy(), GATE).batches
    assert what_if(one, Policy(), Supposition(down=(address(1),))).then.severity is Severity.UNKNOWN


# Plan and what-if


def test_every_batch_keeps_the_quorum() -> None:
    """Three of six nodes are members, and no batch has two of them."""
    made = plan(cluster(1, 2, 3), Policy(), GATE)
    assert len(made.batches) == 3
    assert all(len({"10.0.0.1", "10.0.0.2", "10.0.0.3"}.intersection(batch)) == 1 for batch in made.batches)


def test_a_plan_refuses_a_lone_member_by_name() -> None:
    """No batch can have it; a view that is behind is a note."""
    made = plan(believing(cluster(1), 4, 1, epoch=3), Policy(), GATE)
    [refusal] = made.refused
    assert (refusal.node, [reason.code for reason in refusal.reasons]) == ("10.0.0.1", ["metadata_quorum"])
    assert [note.code for note in made.notes] == ["view_disagreement"]
    allowed = plan(cluster(1), Policy(), replace(GATE, allow=frozenset({"metadata_quorum"})))
    assert not allowed.refused


def test_what_if_shows_a_quorum_that_would_be_lost() -> None:
    """The supposed verdict has the finding, and the present one does not."""
    result = what_if(cluster(1, 2, 3), Policy(), Supposition(down=(address(1), address(2))))
    assert "metadata_quorum" in findings(result.then)
    assert "metadata_quorum" not in findings(result.now)
    back = what_if(cluster(1, 2, 3, down=(1, 2)), Policy(), Supposition(up=(address(1),)))
    assert findings(back.then)["metadata_quorum"][0].startswith("OK ")


# Changes that are refused


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (NOT_INITIALISED, "the cluster metadata service is not initialised"),
        ({"migrating": True}, "the cluster metadata service is being initialised (seen by 10.0.0.1"),
        ({"paused": True}, "commits to the cluster metadata are paused on 10.0.0.1"),
    ],
)
def test_metadata_that_can_not_change_blocks_a_decommission(fields: dict[str, Any], text: str) -> None:
    """The service is not initialised, migrating or paused: the reason says which, and restarts are not affected."""
    one = cluster(1, 2, 3)
    for observer in range(1, 7):
        one = believing(one, observer, 1, 2, 3, **fields)
    [found] = of_metadata(one)["metadata_not_writable"]
    assert found.startswith(f"WARNING {text}")
    reasons = blocking(decide(one, 6, action="decommission"))
    assert reasons["metadata_not_writable"].startswith(text)
    assert decide(one, 6).decision == "safe"


def test_during_an_upgrade_the_service_is_not_missed() -> None:
    """While some nodes run 5.0, the nodes of 6.0 wait for them: no finding, but a decommission is blocked."""
    one = cluster()
    one = replace(one, views=tuple(replace(view, metadata=None) for view in one.views))
    one = with_node(one, 6, release_version="5.0.8")
    for observer in range(1, 6):
        one = believing(one, observer, **NOT_INITIALISED)
    assert not of_metadata(one)
    assert assess(one, Policy()).severity is Severity.OK
    assert decide(one, 1, gate=Gate()).decision == "safe"
    assert "metadata_not_writable" in blocking(decide(one, 1, action="decommission"))


@given(
    members=st.sets(st.integers(1, 6), min_size=1),
    down=st.sets(st.integers(1, 6), max_size=5),
)
@settings(max_examples=examples(60), deadline=None)
def test_risk_finds_the_smallest_losses_of_the_quorum(members: set[int], down: set[int]) -> None:
    """The sets of nodes and of racks are those that a brute force over all sets finds."""
    up = members - down
    required = len(members) // 2 + 1
    racks = {number: f"r{(number - 1) % 3}" for number in range(1, 7)}
    metadata = risk(cluster(*sorted(members), down=sorted(down)), Policy(), limit=100).metadata
    assert metadata is not None
    assert metadata.nodes is not None
    assert metadata.racks is not None
    if len(up) < required:
        assert (metadata.nodes.failures, metadata.racks.failures) == (0, 0)
        return
    size = len(up) - required + 1
    assert metadata.nodes.failures == size
    assert {frozenset(loss.members) for loss in metadata.nodes.worst} == {
        addresses(chosen) for chosen in combinations(sorted(up), size)
    }
    fatal = [
        set(chosen)
        for count in (1, 2, 3)
        for chosen in combinations(["r0", "r1", "r2"], count)
        if len([number for number in up if racks[number] not in chosen]) < required
    ]
    fewest = min(map(len, fatal))
    assert metadata.racks.failures == fewest
    assert sorted(sorted(rack for _, rack in loss.members) for loss in metadata.racks.worst) == sorted(
        sorted(chosen) for chosen in fatal if len(chosen) == fewest and chosen <= {racks[number] for number in up}
    )


def test_risk_takes_the_set_of_members_that_is_nearest_to_its_loss() -> None:
    """If views report different members, the loss of any of the sets counts; a member that is no node is a gap."""
    two = risk(believing(cluster(1, 2, 3), 4, 5), Policy()).metadata
    assert two is not None
    assert two.nodes is not None
    assert (two.nodes.failures, [loss.members for loss in two.nodes.worst]) == (1, [(address(5),)])
    strange = cluster(1, 2, 3)
    strange = with_view(
        strange, 1, metadata=replace(report(1), members=frozenset({address(1), "10.9.9.9", "10.9.9.8"}))
    )
    found = risk(strange, Policy())
    assert found.metadata is not None
    assert found.metadata.problem == "members are not known nodes"
    assert found.gaps


def test_clusters_without_a_metadata_service_have_no_such_risk() -> None:
    """The risk and the odds have no entry for it."""
    old = cluster(1, 2, 3, release="5.0.8")
    old = replace(old, views=tuple(replace(view, metadata=None) for view in old.views))
    assert risk(old, Policy()).metadata is None
    assert odds(old, Policy(), Rates(node_mtbf=9.0, repair=1.0), Question()).metadata is None


def test_the_odds_of_a_lost_quorum() -> None:
    """Of three members two must fail at the same time; with a lone member the odds are those of its being down."""
    rates = Rates(node_mtbf=9.0, repair=1.0)  # a node is down for a tenth of the time
    for members, expected in (((1, 2, 3), 3 * 0.1**2 * 0.9 + 0.1**3), ((4,), 0.1)):
        found = odds(cluster(*members), Policy(), rates, Question()).metadata
        assert found is not None
        assert found.probability.at_least == pytest.approx(expected)
        assert found.probability.at_most == pytest.approx(expected)
