"""The grant of restart leases: what is granted, what is withdrawn, and what is in doubt."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count, repeat
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy
from ringcheck.core.ring import View
from ringcheck.errors import UsageError
from ringcheck.leases.grant import granted
from ringcheck.leases.lockfile import LockFile
from ringcheck.leases.record import HeldError, LeaseError
from tests import article
from tests.core import clusters
from tests.leases.stores import NODES, SEEN, decision, holder, one_at_a_time

if TYPE_CHECKING:
    from pathlib import Path

    from ringcheck.core.gate import Decision
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot

FIRST, SECOND, THIRD = NODES[:3]


@pytest.fixture
def store(tmp_path: Path) -> LockFile:
    return LockFile("blogs", str(tmp_path / "leases.json"))


def test_only_safe_leaves_a_lease(store: LockFile) -> None:
    """After unsafe and unknown the lease is withdrawn; the decision is returned in either case."""
    for answer in ("unsafe", "unknown"):
        assert granted(store, [holder()], lambda _, answer=answer: decision(answer)).decision == answer  # type: ignore[misc]
        assert store.holders() == ()
    assert granted(store, [holder()], lambda _: decision("safe")).decision == "safe"
    assert store.holders() == (holder(),)


def test_a_lease_is_recorded_before_the_gate_is_asked(store: LockFile) -> None:
    """Others see the lease while the gate is asked; the requested node itself does not count as down."""
    store.add([holder(SECOND, "you"), holder(THIRD, "you")])

    def decide(others: tuple[Holder, ...]) -> Decision:
        assert holder() in store.holders()
        assert others == (holder(SECOND, "you"), holder(THIRD, "you"))
        return decision("safe", others)

    assert granted(store, [holder()], decide).decision == "safe"


def test_two_at_once_are_never_both_granted(store: LockFile) -> None:
    """A second request that is made while the first is being decided counts the first node as down and is refused."""
    second: list[str] = []

    def decide(others: tuple[Holder, ...]) -> Decision:
        second.append(granted(store, [holder(SECOND, "you")], one_at_a_time).decision)
        return one_at_a_time(others)

    assert granted(store, [holder()], decide).decision == "safe"
    assert second == ["unsafe"]
    assert store.holders() == (holder(),)


def test_the_real_gate_counts_a_lease_as_down(store: LockFile) -> None:
    """With blog_3 at LOCAL_QUORUM one of three nodes may stop; the second is refused although all are up."""
    seen = article.snapshot()

    def ask(node: str, owner: str) -> str:
        def decide(others: tuple[Holder, ...]) -> Decision:
            return Gatekeeper(seen, Policy(), Gate(accept=("blog_1",)), others).decide([node])

        return granted(store, [holder(node, owner)], decide).decision

    assert [ask("10.0.0.1", "me"), ask("10.0.0.2", "you")] == ["safe", "unsafe"]
    assert [lease.node for lease in store.holders()] == ["10.0.0.1"]
    store.remove(["10.0.0.1"], "me")
    assert ask("10.0.0.2", "you") == "safe"


@pytest.mark.parametrize("error", [UsageError("no such keyspace"), KeyboardInterrupt(), ZeroDivisionError("bug")])
def test_an_error_in_the_gate_withdraws_the_lease(store: LockFile, error: BaseException) -> None:
    """An error, a bug or an interrupt leaves no lease, and is raised to the caller."""

    def decide(_: tuple[Holder, ...]) -> Decision:
        raise error

    with pytest.raises(type(error)):
        granted(store, [holder()], decide)
    assert store.holders() == ()


def test_a_lease_held_before_is_not_withdrawn(store: LockFile) -> None:
    """If a run asks again for a node that it has stopped, and is refused, it keeps that lease."""
    store.add([holder()])
    again = [replace(holder(), since="2026-01-02T00:00:00Z"), holder(SECOND)]
    assert granted(store, again, lambda _: decision("unsafe")).decision == "unsafe"
    assert store.holders() == (holder(),)


def test_a_refusal_leaves_a_grant_of_the_same_owner(store: LockFile) -> None:
    """If two requests of one owner run at once, the one that is refused does not withdraw the other's lease."""

    def decide(_: tuple[Holder, ...]) -> Decision:
        assert granted(store, [holder()], lambda _: decision("safe")).decision == "safe"
        return decision("unsafe")

    assert granted(store, [holder()], decide).decision == "unsafe"
    assert store.holders() == (holder(),)


def test_a_failed_withdrawal_is_reported(store: LockFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error states that the lease was left behind, and whether the stop is known to be unsafe."""

    def fails(*_: Any) -> None:
        raise LeaseError("the disk is full")

    monkeypatch.setattr(store, "remove", fails)
    with pytest.raises(
        LeaseError, match=f"no grant .the gate says unsafe.*{FIRST} could not be withdrawn and is left"
    ) as left:
        granted(store, [holder()], lambda _: decision("unsafe"))
    assert left.value.unsafe
    with pytest.raises(LeaseError, match=r"no grant .nobody answers.*could not be withdrawn") as left:
        granted(store, [holder(SECOND)], _raising(UsageError("nobody answers")))
    assert not left.value.unsafe
    assert [lease.node for lease in store.holders()] == [FIRST, SECOND]


def _raising(error: BaseException) -> Any:
    def decide(_: tuple[Holder, ...]) -> Decision:
        raise error

    return decide


def test_a_lease_broken_while_the_gate_is_asked_is_no_grant(store: LockFile) -> None:
    """Meanwhile other runs counted the node as up."""

    def decide(_: tuple[Holder, ...]) -> Decision:
        store.take_away(FIRST, "boss", "mine")
        return decision("safe")

    with pytest.raises(LeaseError, match=f"the lease of {FIRST} was taken away"):
        granted(store, [holder(), holder(SECOND)], decide)
    assert store.holders() == ()


def test_a_holder_with_a_new_address_counts_as_down(store: LockFile) -> None:
    """The gate is asked again with the addresses that the nodes have now."""
    store.add([holder("10.9.9.9", "you", host_id=f"id-{SECOND}")])
    asked: list[tuple[Holder, ...]] = []

    def decide(others: tuple[Holder, ...]) -> Decision:
        asked.append(others)
        return one_at_a_time([lease for lease in others if lease.node in SEEN.index])

    assert granted(store, [holder()], decide).decision == "unsafe"
    assert [[lease.node for lease in others] for others in asked] == [["10.9.9.9"], [SECOND]]
    assert {(lease.owner, lease.host_id) for others in asked for lease in others} == {("you", f"id-{SECOND}")}


def _moving(last: str) -> Snapshot:
    """Three racks of one node each, the third of which has a new address."""
    known = clusters.nodes("dc1:r1", "dc1:r2", "dc1:r3")
    moved = (*known[:2], replace(known[2], address=last))
    rings = [clusters.ring("orders", "NetworkTopologyStrategy {dc1=3}", [(1, 2, 3)] * 4, 3)]
    live = frozenset(node.address for node in moved)
    views = tuple(View(name, live=live, unreachable=frozenset(), schema_version="s") for name in live)
    return replace(clusters.snapshot(moved, rings), views=views, authenticates=False)


@pytest.mark.parametrize("moves", [["10.0.0.13"], ["10.0.0.13", "10.0.0.14"], ["10.0.0.13", "10.0.0.14", "10.0.0.15"]])
def test_a_holder_counts_as_down_however_often_it_moves(store: LockFile, moves: list[str]) -> None:
    """The address may change between two decisions of one grant; the decision lists the node that it counted."""
    store.add([holder("10.0.0.3", "you", host_id="host-3")])
    readings = chain(moves, repeat(moves[-1]))

    def decide(others: tuple[Holder, ...]) -> Decision:
        return Gatekeeper(_moving(next(readings)), Policy(), Gate(settle=0), others).decide(["10.0.0.1"])

    decided = granted(store, [holder("10.0.0.1", host_id="host-1")], decide)
    assert (decided.decision, decided.holders) == ("unsafe", (moves[-1],))
    assert [lease.node for lease in store.holders()] == ["10.0.0.3"]


def test_a_holder_that_never_stops_moving_prevents_the_grant(store: LockFile) -> None:
    """The number of decisions is bounded."""
    store.add([holder("10.0.0.3", "you", host_id="host-3")])
    numbers = count(13)

    def decide(others: tuple[Holder, ...]) -> Decision:
        return Gatekeeper(_moving(f"10.0.0.{next(numbers)}"), Policy(), Gate(settle=0), others).decide(["10.0.0.1"])

    with pytest.raises(LeaseError, match=r"the gate did not count 10.0.0.16 as down"):
        granted(store, [holder("10.0.0.1", host_id="host-1")], decide)
    assert [lease.node for lease in store.holders()] == ["10.0.0.3"]


def test_another_node_at_the_address_of_a_holder_does_not_count_as_down(store: LockFile) -> None:
    """A lease records the address of the past: the gate is asked again before it refuses because of it."""
    store.add([holder(SECOND, "you", host_id=f"id-{THIRD}")])

    def decide(others: tuple[Holder, ...]) -> Decision:
        return decision("unsafe" if others[0].node == SECOND else "safe", others)

    assert granted(store, [holder()], decide).decision == "safe"


@pytest.mark.parametrize("host_id", [None, "id-gone"])
def test_a_lease_of_an_unknown_node_does_not_hide_an_unsafe_stop(store: LockFile, host_id: str | None) -> None:
    """What is known to be unsafe is unsafe whatever that lease means."""
    store.add([holder("10.9.9.9", "you", host_id=host_id)])
    assert granted(store, [holder()], lambda _: decision("unsafe")).decision == "unsafe"
    with pytest.raises(LeaseError, match=r"10\.9\.9\.9 is under the restart lease of you") as caught:
        granted(store, [holder()], lambda _: decision("unknown"))
    assert caught.value.unsafe is False
    assert [lease.node for lease in store.holders()] == ["10.9.9.9"]


@pytest.mark.parametrize("host_id", [None, "id-gone"])
def test_a_lease_of_an_unknown_node_blocks(store: LockFile, host_id: str | None) -> None:
    """Its node can't be counted as down, so nothing is granted, and the text names the command that helps."""
    store.add([holder("10.9.9.9", "you", host_id=host_id)])
    with pytest.raises(
        LeaseError, match=r"10.9.9.9 is under the restart lease of you, but no node of blogs.*lease break"
    ):
        granted(store, [holder()], lambda others: decision("safe", others))
    assert [lease.node for lease in store.holders()] == ["10.9.9.9"]


def test_a_lease_does_not_match_a_new_node_at_its_address(store: LockFile) -> None:
    """The host id shows that another node has that address now."""
    store.add([holder(SECOND, "you", host_id="id-replaced")])
    with pytest.raises(LeaseError, match="but no node of blogs"):
        granted(store, [holder()], lambda others: decision("safe", others))


def test_a_decision_that_ignores_a_lease_is_no_grant(store: LockFile) -> None:
    """A decision lists the holders that it counted as down."""
    store.add([holder(SECOND, "you")])
    with pytest.raises(LeaseError, match=f"did not count {SECOND} as down"):
        granted(store, [holder()], lambda _: decision("safe"))
    assert store.holders() == (holder(SECOND, "you"),)


def test_a_held_node_is_refused_before_the_gate_is_asked(store: LockFile) -> None:
    """All nodes are granted or none; the error names the lease."""
    store.add([holder(SECOND, "you")])
    with pytest.raises(HeldError, match=f"{SECOND} is under the restart lease of you since 2026") as caught:
        granted(store, [holder(), holder(SECOND)], _raising(AssertionError("the gate was asked")))
    assert caught.value.holders == (holder(SECOND, "you"),)
    assert store.holders() == (holder(SECOND, "you"),)
