"""Why nodes may not stop: every such node that is up is in a group, and the gate gives the group's reason for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core import held_back as held_back_module
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.held_back import ASKED, held_back
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy
from ringcheck.core.reasons import REASONS
from ringcheck.core.ring import Problem
from tests import article
from tests.conftest import examples
from tests.core.bruteforce import LEVELS
from tests.core.test_gate import DATA
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    import pytest

TAKES = {code for code, kind in REASONS.items() if kind.takes}
GATE = Gate(settle=0, accept=("blog_1",))


def blocking(gatekeeper: Gatekeeper, node: int) -> set[str]:
    decision = gatekeeper.decide([gatekeeper.snapshot.nodes[node].address])
    return {reason.code for reason in decision.reasons if reason.blocks}


@settings(max_examples=examples(100))
@given(clusters(views=2, tables=2), st.sampled_from(LEVELS), st.booleans(), st.booleans())
def test_each_group_has_a_reason_that_the_gate_has_too(cluster: Cluster, level: str, allow: bool, spare: bool) -> None:  # noqa: FBT001 - drawn
    """Each node that may not stop is in a group, and the gate gives the group's reason for each node of the group."""
    cluster = replace(cluster, tables=tuple(replace(table, pending=()) for table in cluster.tables))
    gate = Gate(level=Level(level), allow=DATA if allow else frozenset(), require_spare=spare)
    gatekeeper = Gatekeeper(cluster.snapshot(), Policy(), gate)
    everyone = frozenset(range(len(gatekeeper.snapshot.nodes)))
    codes = {node: blocking(gatekeeper, node) for node in everyone}
    up = {node for node, state in enumerate(gatekeeper.evidence.states) if state == "up"}
    held = frozenset(node for node in up if codes[node])
    groups = held_back(gatekeeper, held)
    assert frozenset().union(*(group.nodes for group in groups)) == held
    for group in groups:
        assert group.reason
        same = TAKES if group.reason.kind.takes else {group.reason.code}
        assert all(same & codes[node] for node in group.nodes)


def test_the_numbers_of_a_group_are_those_of_its_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """One node is down, so each other stop would lose the quorum; this is found without asking the gate about each."""
    monkeypatch.setattr(held_back_module, "ASKED", 0)
    gatekeeper = Gatekeeper(article.snapshot(["10.0.0.1"]), Policy(), GATE)
    [loss] = [group for group in held_back(gatekeeper, frozenset({1, 2})) if group.example is not None]
    assert loss.nodes == {1, 2}
    assert loss.example == 1
    assert loss.reason
    assert loss.reason.code == "would_become_unavailable"
    assert loss.reason.summary in {reason.summary for reason in gatekeeper.decide(["10.0.0.2"]).reasons}


def test_what_holds_back_all_is_one_group() -> None:
    """A gap in the data is one reason for all nodes."""
    gap = Problem(code="topology_changing", subject="10.0.0.9", summary="a node joins")
    seen = replace(article.snapshot(), problems=(gap,))
    groups = held_back(Gatekeeper(seen, Policy(), GATE), frozenset({0, 1, 2}))
    assert groups[0].nodes == {0, 1, 2}
    assert groups[0].reason
    assert groups[0].reason.code == "topology_changing"


def test_a_node_under_a_lease_is_held_back_by_it() -> None:
    """The gate would let it stop, since it already counts as down; but nobody else must stop it a second time."""
    holder = Holder(node="10.0.0.2", owner="anna@bastion", purpose="kernel", since="2024-05-06T07:00:00Z")
    gatekeeper = Gatekeeper(article.snapshot(), Policy(), GATE, [holder])
    [group] = [group for group in held_back(gatekeeper, frozenset({1})) if group.nodes == {1}]
    assert group.reason
    assert group.reason.code == "lease_held"
    assert "anna@bastion" in group.reason.summary


def test_the_gate_is_asked_about_few_nodes() -> None:
    """Nodes that stream are checked one by one, up to a limit; the others form a group without a reason."""
    seen = article.snapshot()
    nodes = tuple(
        replace(seen.nodes[0], address=f"10.1.0.{number}", host_id=f"more-{number}", streams=1, tokens=0)
        for number in range(ASKED + 20)
    )
    wide = replace(seen, nodes=(*seen.nodes, *nodes))
    gatekeeper = Gatekeeper(wide, Policy(), Gate(settle=0, accept=("blog_1", "blog_3")))
    streaming = frozenset(range(3, 3 + len(nodes)))
    groups = held_back(gatekeeper, streaming)
    assert frozenset().union(*(group.nodes for group in groups)) == streaming
