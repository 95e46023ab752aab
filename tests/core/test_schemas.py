"""What follows from the keyspaces that nodes of different schema versions report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy, Rule
from ringcheck.core.schema_report import KeyspaceReport, SchemaReport
from tests import article

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot

ONE, TWO, THREE = article.ADDRESSES
BLOG = "NetworkTopologyStrategy {dc1=3}"


def seen(*keyspaces: KeyspaceReport, asked: str | None = TWO, ring: tuple[KeyspaceReport, ...] = ()) -> Snapshot:
    """The article's cluster, in which two nodes have another schema version than the source of the ring."""
    snapshot = article.snapshot()
    for observer in (TWO, THREE):
        snapshot = with_view(snapshot, observer, schema_version="new")
    version = next(view.schema_version for view in snapshot.views if view.observer == ONE)
    own = ring or (KeyspaceReport(name="k", replication=BLOG, same_ranges=True),)
    reports = (
        SchemaReport(version=version, nodes=(ONE,), asked=ONE, of_ring=True, keyspaces=own),
        SchemaReport(version="new", nodes=(TWO, THREE), asked=asked, reason="HTTP 403", keyspaces=keyspaces),
    )
    return replace(snapshot, schemas=reports)


def summaries(snapshot: Snapshot, policy: Policy | None = None, question: Question | None = None) -> list[str]:
    found = assess(snapshot, policy or Policy(), question).findings
    return [f"{item.severity.name} {item.summary}" for item in found if item.code.startswith("replication_")]


def with_view(snapshot: Snapshot, observer: str, **fields: Any) -> Snapshot:
    views = (replace(view, **fields) if view.observer == observer else view for view in snapshot.views)
    return replace(snapshot, views=tuple(views))


def k(replication: str | None, same: bool | None = None) -> KeyspaceReport:  # noqa: FBT001 - as the report has it
    return KeyspaceReport(name="k", replication=replication, same_ranges=same)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (k(BLOG), None),
        (k("NetworkTopologyStrategy {dc1=3, dc2=0}"), None),
        (k("SimpleStrategy {replication_factor=3}"), "SimpleStrategy {replication_factor=3} by 10.0.0.2, 10.0.0.3"),
        (k("NetworkTopologyStrategy {dc1=3/1}"), "NetworkTopologyStrategy {dc1=3/1} by 10.0.0.2, 10.0.0.3"),
        (k(None, same=False), "other replicas by 10.0.0.2, 10.0.0.3"),
        (k(None, same=True), None),
    ],
)
def test_each_keyspace_is_compared(other: KeyspaceReport, text: str | None) -> None:
    """By its replication, or else by its ranges."""
    expected = [] if text is None else [f"UNKNOWN k: {BLOG} by 10.0.0.1; {text}"]
    assert summaries(seen(other)) == expected
    codes = {reason.code for reason in Gatekeeper(seen(other), Policy(), Gate(settle=0)).obstacles()}
    assert ("contradiction" in codes) is (text is not None)


def test_options_that_do_not_count() -> None:
    """SimpleStrategy has one option."""
    odd = k("SimpleStrategy {dc1=3, replication_factor=3}")
    assert summaries(seen(odd, ring=(k("SimpleStrategy {replication_factor=3}", same=True),))) == []


def test_a_keyspace_that_some_do_not_know() -> None:
    """It is named whichever side lacks it; the finding is for the keyspace, and blocks."""
    assert summaries(seen()) == [f"UNKNOWN k: {BLOG} by 10.0.0.1; unknown to 10.0.0.2, 10.0.0.3"]
    keeper = Gatekeeper(seen(), Policy(), Gate(settle=0, allow=frozenset({"contradiction"})))
    assert {reason.code for reason in keeper.decide([ONE]).reasons if not reason.blocks} >= {"contradiction"}


def test_a_replication_that_cannot_be_compared() -> None:
    """It is not known, which is not the same as no difference."""
    text = "UNKNOWN k: not known whether 10.0.0.2, 10.0.0.3 place its replicas like the ring that was read"
    assert summaries(seen(k(None))) == [text]
    assert summaries(seen(k(BLOG), ring=(k(None, same=True),))) == [text]


def test_keyspaces_that_could_not_be_read() -> None:
    """The reason is the one of the node that was asked."""
    text = "UNKNOWN not known how 10.0.0.2, 10.0.0.3 replicate keyspaces: HTTP 403"
    assert summaries(seen(asked=None)) == [text]
    assert Gatekeeper(seen(asked=None), Policy(), Gate(settle=0)).safe_nodes() == frozenset()


def test_a_snapshot_without_the_keyspaces_of_a_version() -> None:
    """A recorded snapshot of an older ringcheck does not show them; nothing is assumed about them."""
    snapshot = replace(seen(), schemas=())
    text = "replicate keyspaces: the snapshot does not have the keyspaces of their schema version"
    assert summaries(snapshot) == [f"UNKNOWN not known how 10.0.0.1, 10.0.0.2, 10.0.0.3 {text}"]
    snapshot = replace(seen(), schemas=seen().schemas[:1])
    assert f"UNKNOWN not known how 10.0.0.2, 10.0.0.3 {text}" in summaries(snapshot)


def test_a_view_that_does_not_count() -> None:
    """A node that serves no clients uses no replication."""
    snapshot = seen(k("SimpleStrategy {replication_factor=1}"))
    for observer in (TWO, THREE):
        snapshot = with_view(snapshot, observer, outcome="unreachable", reason="timeout")
    assert summaries(snapshot) == []


def test_keyspaces_that_are_left_out() -> None:
    """By a rule, or because others were asked for."""
    snapshot = seen(k("SimpleStrategy {replication_factor=1}"))
    assert summaries(snapshot, Policy(rules=(Rule(keyspaces=("k",), ignore=True),))) == []
    assert summaries(snapshot, question=Question(keyspaces=("blog*",))) == []
    assert len(summaries(snapshot, question=Question(keyspaces=("k",)))) == 1


def test_one_observer_alone() -> None:
    """If only the view of a node with the schema of the ring is asked for, the others do not matter."""
    snapshot = seen(k("SimpleStrategy {replication_factor=1}"))
    assert summaries(snapshot, question=Question(view=ONE)) == []
    assert len(summaries(snapshot, question=Question(view=TWO))) == 1
