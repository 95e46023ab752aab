"""The lease record: how leases of one node are matched, what is kept, and which documents are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import ringcheck.documents
from ringcheck.leases.lockfile import LockFile
from ringcheck.leases.record import HISTORY, LONGEST, HeldError, LeaseError, NotHeldError, Record
from tests.leases.stores import NODES, holder

FIRST, SECOND = NODES[:2]


@pytest.fixture
def store(tmp_path: Path) -> LockFile:
    return LockFile("blogs", str(tmp_path / "leases.json"))


def test_a_node_is_recognised_by_its_host_id(store: LockFile) -> None:
    """At its new address another owner is refused, while its own owner keeps the original time."""
    store.add([holder(FIRST, "me", host_id="id")])
    with pytest.raises(HeldError):
        store.add([holder(SECOND, "you", host_id="id")])
    store.add([holder(SECOND, "me", "2026-02-02T00:00:00Z", "id")])
    assert store.holders() == (holder(SECOND, "me", host_id="id"),)


def test_one_step_records_leases_of_one_owner(store: LockFile) -> None:
    """Two owners, no lease at all, or the same node twice are errors of the caller."""
    for wanted in ([holder(), holder(SECOND, "you")], [], [holder(), holder()]):
        with pytest.raises(ValueError, match="one owner, each node once"):
            store.add(wanted)
    assert not store.path.exists()


@pytest.mark.slow
def test_the_history_is_bounded(store: LockFile) -> None:
    """The newest entries are kept, and a long reason is truncated."""
    for number in range(HISTORY + 5):
        store.add([holder()])
        store.take_away(FIRST, "boss", str(number) + "x" * 10_000)
    reasons = [taken.reason for taken in store.history()]
    assert [reason.rstrip("x") for reason in reasons] == [str(number) for number in range(5, HISTORY + 5)]
    assert {len(reason) for reason in reasons} == {LONGEST}


def test_a_node_without_a_lease_has_none_to_take_away(store: LockFile) -> None:
    """The error names the node."""
    with pytest.raises(NotHeldError, match=f"{FIRST} is under no restart lease"):
        store.take_away(FIRST, "boss", "x")


def test_unknown_fields_are_kept(store: LockFile) -> None:
    """Fields of a later release survive a step of this release."""
    store.add([holder()])
    kept = json.loads(store.path.read_text())
    kept["colour"], kept["holders"][0]["mood"] = "blue", "calm"
    store.path.write_text(json.dumps(kept))
    store.add([holder(SECOND)])
    store.add([holder(FIRST)])
    kept = json.loads(store.path.read_text())
    assert (kept["colour"], kept["holders"][1]["mood"]) == ("blue", "calm")


def test_the_stored_record_validates(store: LockFile) -> None:
    """It conforms to the schema ringcheck/leases/1."""
    store.add([holder(), holder(SECOND)])
    store.take_away(FIRST, "boss", "why")
    schema = json.loads((Path(ringcheck.documents.__file__).parent / "schemas" / "leases-1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(store.path.read_text()))


GOOD = json.loads(Record.empty("blogs").with_([holder()], "g").dump())
ENTRY = GOOD["holders"][0]


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
        ({**GOOD, "cluster": "other"}, "it belongs to cluster 'other'"),
        ({key: GOOD[key] for key in ("schema", "cluster")}, "KeyError 'holders'"),
        ({**GOOD, "holders": {}}, "must be lists"),
        ({**GOOD, "holders": None}, "must be lists"),
        ({**GOOD, "history": "x"}, "must be lists"),
        ({**GOOD, "holders": ["x"]}, "has no attribute"),
        ({**GOOD, "holders": [{**ENTRY, "node": 7}]}, "must be text"),
        ({**GOOD, "holders": [{**ENTRY, "node": ""}]}, "no node or no owner"),
        ({**GOOD, "holders": [{**ENTRY, "owner": ""}]}, "no node or no owner"),
        ({**GOOD, "holders": [{**ENTRY, "host_id": 7}]}, "must be text"),
        ({**GOOD, "holders": [{**ENTRY, "since": "yesterday"}]}, "Invalid isoformat"),
        ({**GOOD, "holders": [ENTRY, ENTRY]}, "two leases for one node"),
        ({**GOOD, "history": [ENTRY]}, "KeyError 'by'"),
    ],
)
def test_a_record_that_can_t_be_read_is_in_doubt(store: LockFile, document: Any, why: str) -> None:
    """Every step is refused in one line, and the stored text is not overwritten."""
    raw = document if isinstance(document, bytes) else document if isinstance(document, str) else json.dumps(document)
    raw = raw if isinstance(raw, bytes) else raw.encode()
    store.path.write_bytes(raw)
    for step in (
        store.holders,
        lambda: store.add([holder(SECOND)]),
        lambda: store.remove([FIRST], "me"),
        lambda: store.take_away(FIRST, "boss", "x"),
    ):
        with pytest.raises(LeaseError, match=f"has no readable lease record of blogs: .*({why})"):
            step()
    assert store.path.read_bytes() == raw
