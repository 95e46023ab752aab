"""The history as text: a line for each kind of entry, grouped by poll."""

from __future__ import annotations

import json

import pytest

from ringcheck.core.fact_kinds import KINDS
from ringcheck.core.transitions import Entry, Transition
from ringcheck.documents.history import history_document, moment, read_history
from ringcheck.errors import DataError
from ringcheck.report.history import line, moments, render
from tests.schemas import validate

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
CHANGES = {
    "CRITICAL (was OK): 1 range lost": Transition(
        kind="severity", subject="blogs", was="OK", now="CRITICAL", text="1 range lost"
    ),
    "OK": Transition(kind="severity", subject="blogs", now="OK"),
    "polls fail: nobody": Transition(kind="polls", subject="blogs", was="working", now="failing", text="nobody"),
    "polls work again": Transition(kind="polls", subject="blogs", was="failing", now="working"),
    "10.0.0.1 is down (was up)": Transition(kind="node", subject="10.0.0.1", was="up", now="down"),
    "10.0.0.1 is up (new)": Transition(kind="node", subject="10.0.0.1", now="up"),
    "10.0.0.1 is gone (was down)": Transition(kind="node", subject="10.0.0.1", was="down"),
    "10.0.0.2 has a new address (was 10.0.0.1)": Transition(
        kind="address", subject="10.0.0.2", was="10.0.0.1", now="10.0.0.2"
    ),
    "10.0.0.1 was restarted at T": Transition(kind="restart", subject="10.0.0.1", was="S", now="T"),
    "10.0.0.1 runs 5.0.9 (was 5.0.8)": Transition(kind="release", subject="10.0.0.1", was="5.0.8", now="5.0.9"),
    "view of 10.0.0.1 is discarded (was ok): drained": Transition(
        kind="view", subject="10.0.0.1", was="ok", now="discarded", text="drained"
    ),
    "CRITICAL unavailable of orders at LOCAL_QUORUM in dc1: 3 of 9": Transition(
        kind="finding", subject="orders", code="unavailable", level="LOCAL_QUORUM", datacenter="dc1", now="CRITICAL",
        text="3 of 9",
    ),
    "node_unknown of 10.0.0.1 is over (was UNKNOWN)": Transition(
        kind="finding", subject="10.0.0.1", code="node_unknown", was="UNKNOWN"
    ),
    "clients of orders use QUORUM (was ONE)": Transition(kind="level", subject="orders", was="ONE", now="QUORUM"),
    "clients use none (was ALL)": Transition(kind="level", subject="*", was="ALL", now="none"),
    "10.0.0.9 is joining": Transition(kind="movement", subject="10.0.0.9", now="joining"),
    "10.0.0.9 is no longer joining": Transition(kind="movement", subject="10.0.0.9", was="joining"),
    "the lease store does not answer": Transition(kind="leases", subject="blogs", was="known", now="unknown"),
    "the lease store answers again": Transition(kind="leases", subject="blogs", was="unknown", now="known"),
    "10.0.0.1 is under a restart lease of ops: by hand": Transition(
        kind="lease", subject="10.0.0.1", now="ops", text="by hand"
    ),
    "the lease of ops on 10.0.0.1 is gone": Transition(kind="lease", subject="10.0.0.1", was="ops"),
    "ops holds 10.0.0.1, 10.0.0.2": Transition(kind="batch", subject="ops", now="10.0.0.1, 10.0.0.2"),
    "ops no longer holds 10.0.0.1, 10.0.0.2": Transition(kind="batch", subject="ops", was="10.0.0.1, 10.0.0.2"),
    "the gate answered safe for 10.0.0.1: restart, asked by the API": Transition(
        kind="decision", subject="10.0.0.1", now="safe", text="restart, asked by the API"
    ),
    "the agent was started; it had not been watching since T": Transition(
        kind="agent", subject="blogs", was="T", now="U"
    ),
    "changes are missing here: the state file was broken": Transition(
        kind="gap", subject="blogs", text="the state file was broken"
    ),
    "weather of dc1 is rain (was sun)": Transition(kind="weather", subject="dc1", was="sun", now="rain"),
}  # fmt: skip


def entry(number: int, change: Transition, at: float = NOW) -> Entry:
    return Entry(id=number, cluster="blogs", at=int(at * 1000), change=change)


@pytest.mark.parametrize(("text", "change"), CHANGES.items(), ids=lambda value: getattr(value, "kind", None))
def test_a_line_says_what_happened(text: str, change: Transition) -> None:
    """The line is in plain words, and begins with the subject."""
    assert line(change) == text


def test_every_kind_has_a_line_and_a_meaning() -> None:
    """A kind that is added must get words of its own."""
    assert {change.kind for change in CHANGES.values()} == {*KINDS, "weather"}
    assert all(kind.meaning.endswith(".") for kind in KINDS.values())


def test_a_history_as_text() -> None:
    """Entries of one poll are listed under one time."""
    severity, node, *_ = [change for change in CHANGES.values() if change.kind in {"severity", "node"}][1:]
    entries = [entry(1, severity), entry(2, node), entry(3, node, NOW + 61)]
    assert render("blogs", entries, more=False) == (
        "blogs: 3 changes\n"
        "2026-01-01 00:00:00  OK\n"
        "                     10.0.0.1 is down (was up)\n"
        "2026-01-01 00:01:01  10.0.0.1 is down (was up)"
    )
    assert render("blogs", entries[:1], more=True).startswith("blogs: the last 1 change; --limit shows more\n")
    assert render("blogs", [], more=False) == "blogs: 0 changes"


def test_moments_keep_the_order_within_a_poll() -> None:
    """This holds even if the newest entries come first."""
    severity, node = (Transition(kind=kind, subject="x", now="OK") for kind in ("severity", "node"))
    newest = [entry(3, node, NOW + 1), entry(2, node), entry(1, severity)]
    kinds = [[change.kind for change in moment.changes] for moment in moments(newest)]
    assert kinds == [["node"], ["severity", "node"]]


def test_a_document_is_read_back() -> None:
    """Every field of every kind is read back, and the document conforms to its schema."""
    entries = tuple(entry(number, change, NOW + number / 1000) for number, change in enumerate(CHANGES.values(), 1))
    document = history_document("blogs", entries, 7)
    validate(document, "history-1")
    assert read_history(json.dumps(document), "test") == (entries, 7)
    assert read_history(json.dumps(history_document("blogs", (), None)), "test") == ((), None)
    assert document["entries"][0]["at"] == "2026-01-01T00:00:00.001Z"
    assert document["entries"][0]["severity"] == "CRITICAL"


@pytest.mark.parametrize(
    "damage",
    [{"entries": None}, {"cursor": "x"}, {"cluster": 1}, {"entries": [{"kind": "node"}]}, {"schema": "ringcheck/x/1"}],
    ids=lambda damage: next(iter(damage)),
)
def test_a_wrong_document_is_an_error(damage: dict[str, object]) -> None:
    """The error is one line that names the source."""
    document = history_document("blogs", (), None) | damage
    with pytest.raises(DataError, match=r"^test "):
        read_history(json.dumps(document), "test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW - 5400), ("1w", NOW - 7 * 86400), ("2026-01-01T00:00:00Z", NOW), ("2026-01-01", NOW),
        ("2026-01-01T01:00:00+01:00", NOW), ("1767225600", NOW), ("1767225600000", NOW),
    ],
)  # fmt: skip
def test_times_as_people_and_grafana_write_them(text: str, expected: float) -> None:
    """They may be durations before now, ISO 8601, or Unix time in seconds or in milliseconds."""
    assert moment(text, NOW) == expected * 1000


@pytest.mark.parametrize("text", ["", "yesterday", "5", "24 h", "-3h", "99999-01-01", "1e9"])
def test_what_is_no_time(text: str) -> None:
    """Such text is refused, with examples of valid times."""
    with pytest.raises(ValueError, match="is not a time such as 24h"):
        moment(text, NOW)
