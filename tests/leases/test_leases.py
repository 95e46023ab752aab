"""Restart leases: what is granted, what is withdrawn, and what a record bears."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import ringcheck.documents
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy
from ringcheck.errors import UsageError
from ringcheck.leases.leases import HeldError, LeaseError, NotHeldError, granted
from ringcheck.leases.lockfile import LockFile
from ringcheck.leases.record import HISTORY, LONGEST, Record
from tests import article
from tests.leases.stores import NODES, SEEN, decision, holder, one_at_a_time

if TYPE_CHECKING:
    from ringcheck.core.gate import Decision
    from ringcheck.core.maintenance import Holder

FIRST, SECOND, THIRD = NODES[:3]


@pytest.fixture
def store(tmp_path: Path) -> LockFile:
    return LockFile("blogs", str(tmp_path / "leases.json"))


# The grant


def test_only_safe_leaves_a_lease(store: LockFile) -> None:
    """A refusal and a gap are withdrawn; the decision is returned either way."""
    for answer in ("unsafe", "unknown"):
        assert granted(store, [holder()], lambda _, answer=answer: decision(answer)).decision == answer  # type: ignore[misc]
        assert store.holders() == ()
    assert granted(store, [holder()], lambda _: decision("safe")).decision == "safe"
    assert store.holders() == (holder(),)


def test_the_record_comes_before_the_decision(store: LockFile) -> None:
    """While the gate is asked everybody sees the lease, and its own node is not among those that count as down."""
    store.add([holder(SECOND, "you"), holder(THIRD, "you")])

    def decide(others: tuple[Holder, ...]) -> Decision:
        assert holder() in store.holders()
        assert others == (holder(SECOND, "you"), holder(THIRD, "you"))
        return decision("safe", others)

    assert granted(store, [holder()], decide).decision == "safe"


def test_two_at_once_are_never_both_granted(store: LockFile) -> None:
    """A second one that asks while the first is being decided on counts it as down; here neither is granted."""
    inner: list[str] = []

    def decide(others: tuple[Holder, ...]) -> Decision:
        inner.append(granted(store, [holder(SECOND, "you")], one_at_a_time).decision)
        return one_at_a_time(others)

    assert granted(store, [holder()], decide).decision == "safe"
    assert inner == ["unsafe"]
    assert store.holders() == (holder(),)


def test_the_real_gate_counts_a_lease_as_down(store: LockFile) -> None:
    """With blog_3 at LOCAL_QUORUM one of three may stop; the second is refused though all are up."""
    seen = article.snapshot()

    def ask(node: str, owner: str) -> str:
        def decide(others: tuple[Holder, ...]) -> Decision:
            return Gatekeeper(seen, Policy(), Gate(accept=("blog_1",)), others).decide([node])

        return granted(store, [holder(node, owner)], decide).decision

    assert [ask("10.0.0.1", "me"), ask("10.0.0.2", "you")] == ["safe", "unsafe"]
    assert [one.node for one in store.holders()] == ["10.0.0.1"]
    store.remove(["10.0.0.1"], "me")
    assert ask("10.0.0.2", "you") == "safe"


@pytest.mark.parametrize("error", [UsageError("no such keyspace"), KeyboardInterrupt(), ZeroDivisionError("bug")])
def test_whatever_ends_the_decision_withdraws(store: LockFile, error: BaseException) -> None:
    """An error, a bug and an interrupt leave no lease, and are passed on."""

    def decide(_: tuple[Holder, ...]) -> Decision:
        raise error

    with pytest.raises(type(error)):
        granted(store, [holder()], decide)
    assert store.holders() == ()


def test_what_was_held_before_stays(store: LockFile) -> None:
    """A run that asks again for a node that it has stopped must not lose that lease by a refusal."""
    store.add([holder()])
    again = [replace(holder(), since="2026-01-02T00:00:00Z"), holder(SECOND)]
    assert granted(store, again, lambda _: decision("unsafe")).decision == "unsafe"
    assert store.holders() == (holder(),)


def test_a_refusal_leaves_a_grant_of_the_same_owner(store: LockFile) -> None:
    """Two requests of one owner at once: the one that is refused must not withdraw what the other was granted."""

    def decide(_: tuple[Holder, ...]) -> Decision:
        assert granted(store, [holder()], lambda _: decision("safe")).decision == "safe"
        return decision("unsafe")

    assert granted(store, [holder()], decide).decision == "unsafe"
    assert store.holders() == (holder(),)


def test_a_withdrawal_that_fails_is_said(store: LockFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is left, and whoever reads the error knows it."""

    def fails(*_: Any) -> None:
        raise LeaseError("the disk is full")

    monkeypatch.setattr(store, "remove", fails)
    with pytest.raises(LeaseError, match=f"no grant .the gate says unsafe.*{FIRST} could not be withdrawn and is left"):
        granted(store, [holder()], lambda _: decision("unsafe"))
    with pytest.raises(LeaseError, match=r"no grant .nobody answers.*could not be withdrawn"):
        granted(store, [holder(SECOND)], _raising(UsageError("nobody answers")))
    assert [one.node for one in store.holders()] == [FIRST, SECOND]


def _raising(error: BaseException) -> Any:
    def decide(_: tuple[Holder, ...]) -> Decision:
        raise error

    return decide


def test_a_lease_that_is_broken_meanwhile_is_no_grant(store: LockFile) -> None:
    """Others were told that the node is up while the gate was asked."""

    def decide(_: tuple[Holder, ...]) -> Decision:
        store.take_away(FIRST, "boss", "mine")
        return decision("safe")

    with pytest.raises(LeaseError, match=f"the lease of {FIRST} was taken away"):
        granted(store, [holder(), holder(SECOND)], decide)
    assert store.holders() == ()


def test_a_node_with_a_new_address_counts_as_down_there(store: LockFile) -> None:
    """What is asked last is about the addresses that the nodes have now."""
    store.add([holder("10.9.9.9", "you", host_id=f"id-{SECOND}")])
    asked: list[tuple[Holder, ...]] = []

    def decide(others: tuple[Holder, ...]) -> Decision:
        asked.append(others)
        return one_at_a_time([one for one in others if one.node in SEEN.index])

    assert granted(store, [holder()], decide).decision == "unsafe"
    assert [[one.node for one in others] for others in asked] == [["10.9.9.9"], [SECOND]]
    assert {(one.owner, one.host_id) for others in asked for one in others} == {("you", f"id-{SECOND}")}


@pytest.mark.parametrize("host_id", [None, "id-gone"])
def test_a_lease_of_no_node_blocks(store: LockFile, host_id: str | None) -> None:
    """What can't be counted as down may be any node: nothing is granted, and the text says what helps."""
    store.add([holder("10.9.9.9", "you", host_id=host_id)])
    with pytest.raises(LeaseError, match=r"10.9.9.9 is under the restart lease of you, but is no node.*lease break"):
        granted(store, [holder()], lambda others: decision("safe", others))
    assert [one.node for one in store.holders()] == ["10.9.9.9"]


def test_an_address_that_is_another_node_s_now_is_not_its(store: LockFile) -> None:
    """Addresses change hands: the lease is of the node that had it."""
    store.add([holder(SECOND, "you", host_id="id-replaced")])
    with pytest.raises(LeaseError, match="is no node of"):
        granted(store, [holder()], lambda others: decision("safe", others))


def test_a_gate_that_forgets_a_lease_is_not_believed(store: LockFile) -> None:
    """A decision says which holders it counted."""
    store.add([holder(SECOND, "you")])
    with pytest.raises(LeaseError, match=f"did not count {SECOND} as down"):
        granted(store, [holder()], lambda _: decision("safe"))
    assert store.holders() == (holder(SECOND, "you"),)


def test_a_held_node_is_refused_before_the_gate_is_asked(store: LockFile) -> None:
    """All or none; the error names the lease."""
    store.add([holder(SECOND, "you")])
    with pytest.raises(HeldError, match=f"{SECOND} is under the restart lease of you since 2026") as caught:
        granted(store, [holder(), holder(SECOND)], _raising(AssertionError("the gate was asked")))
    assert caught.value.holders == (holder(SECOND, "you"),)
    assert store.holders() == (holder(SECOND, "you"),)


# The record


def test_a_node_is_one_whatever_its_address(store: LockFile) -> None:
    """By its host id another owner is refused, and its own owner keeps the time."""
    store.add([holder(FIRST, "me", host_id="id")])
    with pytest.raises(HeldError):
        store.add([holder(SECOND, "you", host_id="id")])
    store.add([holder(SECOND, "me", "2026-02-02T00:00:00Z", "id")])
    assert store.holders() == (holder(SECOND, "me", host_id="id"),)


def test_leases_of_two_owners_are_a_mistake(store: LockFile) -> None:
    """So are none, and a node twice."""
    for wanted in ([holder(), holder(SECOND, "you")], [], [holder(), holder()]):
        with pytest.raises(ValueError, match="one owner, each node once"):
            store.add(wanted)
    assert not store.path.exists()


def test_the_history_is_bounded(store: LockFile) -> None:
    """The newest stay, and nobody can fill the record with a reason."""
    for number in range(HISTORY + 5):
        store.add([holder()])
        store.take_away(FIRST, "boss", str(number) + "x" * 10_000)
    reasons = [one.reason for one in store.history()]
    assert [one.rstrip("x") for one in reasons] == [str(number) for number in range(5, HISTORY + 5)]
    assert {len(one) for one in reasons} == {LONGEST}


def test_nothing_is_taken_from_nobody(store: LockFile) -> None:
    """A break of what is not held says so."""
    with pytest.raises(NotHeldError, match=f"{FIRST} is under no restart lease"):
        store.take_away(FIRST, "boss", "x")


def test_unknown_fields_stay(store: LockFile) -> None:
    """A later release's fields outlive a step of this one."""
    store.add([holder()])
    kept = json.loads(store.path.read_text())
    kept["colour"], kept["holders"][0]["mood"] = "blue", "calm"
    store.path.write_text(json.dumps(kept))
    store.add([holder(SECOND)])
    store.add([holder(FIRST)])
    kept = json.loads(store.path.read_text())
    assert (kept["colour"], kept["holders"][1]["mood"]) == ("blue", "calm")


def test_what_is_kept_is_what_the_schema_says(store: LockFile) -> None:
    """The stored record validates as ringcheck/leases/1."""
    store.add([holder(), holder(SECOND)])
    store.take_away(FIRST, "boss", "why")
    schema = json.loads((Path(ringcheck.documents.__file__).parent / "schemas" / "leases-1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(store.path.read_text()))


GOOD = json.loads(Record.empty("blogs").with_([holder()], "g").dump())
ONE = GOOD["holders"][0]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "recursion|Recursion"),
        ("\xff", "Expecting value"),
        (b"\xff", "codec can't decode"),
        ("[]", "its schema is"),
        ({}, "its schema is 'None'"),
        ({**GOOD, "schema": "ringcheck/leases/2"}, "its schema is 'ringcheck/leases/2', and this release reads"),
        ({**GOOD, "cluster": "other"}, "it is that of 'other'"),
        ({key: GOOD[key] for key in ("schema", "cluster")}, "KeyError 'holders'"),
        ({**GOOD, "holders": {}}, "are lists"),
        ({**GOOD, "holders": None}, "are lists"),
        ({**GOOD, "history": "x"}, "are lists"),
        ({**GOOD, "holders": ["x"]}, "has no attribute"),
        ({**GOOD, "holders": [{**ONE, "node": 7}]}, "fields are text"),
        ({**GOOD, "holders": [{**ONE, "node": ""}]}, "no node or no owner"),
        ({**GOOD, "holders": [{**ONE, "owner": ""}]}, "no node or no owner"),
        ({**GOOD, "holders": [{**ONE, "host_id": 7}]}, "fields are text"),
        ({**GOOD, "holders": [{**ONE, "since": "yesterday"}]}, "Invalid isoformat"),
        ({**GOOD, "holders": [ONE, ONE]}, "twice"),
        ({**GOOD, "history": [ONE]}, "KeyError 'by'"),
    ],
)
def test_a_record_that_is_not_understood_is_a_doubt(store: LockFile, document: Any, why: str) -> None:
    """Every step is refused in one line, and what stands there is not written over."""
    raw = document if isinstance(document, bytes) else document if isinstance(document, str) else json.dumps(document)
    raw = raw if isinstance(raw, bytes) else raw.encode()
    store.path.write_bytes(raw)
    for step in (
        store.holders,
        lambda: store.add([holder(SECOND)]),
        lambda: store.remove([FIRST], "me"),
        lambda: store.take_away(FIRST, "boss", "x"),
    ):
        with pytest.raises(LeaseError, match=f"holds no record of leases of blogs that can be read: .*({why})"):
            step()
    assert store.path.read_bytes() == raw
