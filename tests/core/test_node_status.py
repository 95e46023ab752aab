"""Whether each node may stop: the table of nodes decides as the gate does for each node alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core import node_status
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.node_status import stop_answers
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Snapshot, View
from tests import article
from tests.conftest import examples
from tests.core.bruteforce import LEVELS
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from collections.abc import Collection

ONE, TWO, THREE = article.ADDRESSES


def silenced(seen: Snapshot, names: Collection[str]) -> Snapshot:
    """The same, but the Jolokia of these nodes does not answer."""
    views = [view for view in seen.views if view.observer not in names]
    silent = [View(name, outcome="unreachable", reason="timed out") for name in sorted(names)]
    nodes = tuple(replace(node, source="unreachable") if node.address in names else node for node in seen.nodes)
    return replace(seen, nodes=nodes, views=(*views, *silent))


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(clusters(views=3, tables=2), st.sampled_from(LEVELS), st.data())
def test_stop_is_what_the_gate_decides(cluster: Cluster, level: str, data: st.DataObject) -> None:
    """The decision is that of `decide`, whatever is down, silent, under a lease or demanded."""
    if data.draw(st.booleans()):
        cluster = replace(cluster, tables=tuple(replace(table, pending=()) for table in cluster.tables))
    names = st.lists(st.sampled_from(sorted(cluster.places)), max_size=2, unique=True)
    seen = silenced(cluster.snapshot(), data.draw(names))
    gate = Gate(
        level=Level(level),
        settle=0,
        require_spare=data.draw(st.sampled_from((False, False, True))),
        require_all_up=data.draw(st.sampled_from((False, False, True))),
        allow=frozenset(
            data.draw(st.sets(st.sampled_from(("view_missing", "already_unavailable", "view_disagreement"))))
        ),
    )
    holders = [Holder(node=name, owner="anna", purpose="", since="2024-05-06T07:00:00Z") for name in data.draw(names)]
    keeper = Gatekeeper(seen, Policy(), gate, holders)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_status, "ASKED", asked := data.draw(st.sampled_from((0, 64))))
        answers = stop_answers(keeper, list(cluster.places))
    for name in cluster.places:
        decision, stop = keeper.decide([name]), answers[name]
        reasons = decision.reasons
        assert stop.decision == decision.decision
        dead = keeper.snapshot.index[name] in keeper.evidence.surely_down
        if asked or dead:
            leased = "lease_held" if any(holder.node == name for holder in holders) else None
            expected = leased if stop.decision == "safe" else next(why.code for why in reasons if why.blocks)
            assert (stop.reason and stop.reason.code) == expected


@pytest.mark.parametrize(
    ("down", "silent", "expected"),
    [
        ([ONE], [THREE], {ONE: ("unknown", "view_missing"), TWO: ("unsafe", "would_become_unavailable")}),
        ([ONE, TWO], [], {ONE: ("safe", None), THREE: ("unsafe", "already_unavailable")}),
        ([], [THREE], {ONE: ("unknown", "view_missing"), THREE: ("safe", None)}),
    ],
)
def test_a_reason_that_does_not_block_a_node_is_not_its_answer(
    down: list[str], silent: list[str], expected: dict[str, tuple[str, str | None]]
) -> None:
    """Ranges that are lost while a node is down do not block its own restart; a silent Jolokia elsewhere does."""
    gate = Gate(settle=0, accept=("blog_1",))
    answers = stop_answers(Gatekeeper(silenced(article.snapshot(down), silent), Policy(), gate), article.ADDRESSES)
    asked = {name: answers[name] for name in expected}
    found = {name: (stop.decision, stop.reason.code if stop.reason else None) for name, stop in asked.items()}
    assert found == expected
