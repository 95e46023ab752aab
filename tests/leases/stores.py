"""Leases for tests: holders, gates, and a model with which every store is compared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ringcheck.core.gate import Checked, Decision
from ringcheck.core.maintenance import Holder
from ringcheck.core.ring import Node
from ringcheck.leases.record import HISTORY, HeldError, NotHeldError
from tests import article

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringcheck.core.reasons import DecisionWord
    from ringcheck.leases.record import Taken
    from ringcheck.leases.store import RecordStore

SINCE = "2026-01-01T00:00:00Z"
NODES = tuple(f"10.0.0.{number}" for number in range(1, 61))
SEEN = replace(article.snapshot(), nodes=tuple(Node(node, host_id=f"id-{node}") for node in NODES), views=(), rings=())


def holder(node: str = NODES[0], owner: str = "me", since: str = SINCE, host_id: str | None = None) -> Holder:
    return Holder(node=node, owner=owner, purpose="test", since=since, host_id=host_id)


def decision(answer: DecisionWord, others: Sequence[Holder] = ()) -> Decision:
    return Decision(
        snapshot=SEEN,
        decision=answer,
        action="restart",
        candidates=(),
        holders=tuple(lease.node for lease in others),
        reasons=(),
        checked=Checked(keyspaces=0, ranges=0, views=0, levels=()),
    )


def one_at_a_time(others: Sequence[Holder]) -> Decision:
    """The gate of a cluster that can spare one node."""
    return decision("unsafe" if others else "safe", others)


class StoreMachine(RuleBasedStateMachine):
    """Random steps at a store, with a dictionary as the model of the expected result."""

    make: Callable[[], tuple[RecordStore, RecordStore]]  # two clients of one new store

    def __init__(self) -> None:
        super().__init__()
        self.clients = type(self).make()
        self.model: dict[str, Holder] = {}
        self.taken: list[Taken] = []

    nodes = st.sampled_from(NODES[:4])
    owners = st.sampled_from(["me", "you"])
    which = st.sampled_from([0, 1])

    @rule(client=which, wanted=st.sets(nodes, min_size=1, max_size=3), owner=owners, second=st.integers(0, 59))
    def add(self, client: int, wanted: set[str], owner: str, second: int) -> None:
        asked = [holder(node, owner, f"2026-01-01T00:00:{second:02}Z") for node in sorted(wanted)]
        foreign = {node for node in wanted if node in self.model and self.model[node].owner != owner}
        if foreign:
            with pytest.raises(HeldError) as caught:
                self.clients[client].add(asked)
            assert {lease.node for lease in caught.value.holders} == foreign
            return
        added = self.clients[client].add(asked)
        assert added.new == wanted - set(self.model)
        self.model |= {lease.node: lease for lease in asked if lease.node not in self.model}
        assert {lease.node: lease for lease in added.holders} == self.model

    @rule(client=which, nodes=st.sets(nodes, max_size=3), owner=owners)
    def remove(self, client: int, nodes: set[str], owner: str) -> None:
        foreign = [node for node in nodes if node in self.model and self.model[node].owner != owner]
        try:
            self.clients[client].remove(nodes, owner)
        except HeldError:
            assert foreign
        else:
            assert not foreign
            self.model = {node: lease for node, lease in self.model.items() if node not in nodes}

    @rule(client=which, node=nodes, reason=st.text(max_size=20))
    def take_away(self, client: int, node: str, reason: str) -> None:
        try:
            taken = self.clients[client].take_away(node, "boss", reason)
        except NotHeldError:
            assert node not in self.model
        else:
            assert taken == self.model.pop(node)
            self.taken.append(self.clients[client].history()[-1])
            assert self.taken[-1][:3] == (taken, "boss", reason)

    @precondition(lambda self: self.taken)
    @rule()
    def history(self) -> None:
        assert list(self.clients[0].history()) == self.taken[-HISTORY:]

    @invariant()
    def all_see_the_same(self) -> None:
        for client in self.clients:
            assert {lease.node: lease for lease in client.holders()} == self.model
            assert len(client.holders()) == len(self.model)
