"""Transitions: which facts a poll shows, what is a change, and that identity depends on neither text nor address."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.fact_kinds import KINDS
from ringcheck.core.findings import Finding, noted
from ringcheck.core.maintenance import Holder
from ringcheck.core.observed import EVERY, Observed, Used
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.transitions import LONGEST, Key, carried, dated, facts_of, transitions
from ringcheck.report.reading import Reading
from tests import article

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.transitions import Fact, Facts, Transition
    from ringcheck.core.verdict import Verdict


def polled(*down: str, **changes: Any) -> Reading:
    return replace(Reading(cluster="blogs", verdict=assess(article.snapshot(down), Policy()), fresh=True), **changes)


def with_findings(*findings: Finding) -> Reading:
    known = polled()
    assert known.verdict
    return replace(known, verdict=replace(known.verdict, findings=findings))


def with_nodes(reading: Reading, **changes: Any) -> Reading:
    """The reading with the first node changed."""
    assert reading.verdict
    seen = reading.verdict.snapshot
    nodes = (replace(seen.nodes[0], **changes), *seen.nodes[1:])
    return replace(reading, verdict=replace(reading.verdict, snapshot=replace(seen, nodes=nodes)))


def facts(reading: Reading, before: Mapping[Key, Fact] | None = None) -> Facts:
    return facts_of(reading, before or {})


def after(*readings: Reading) -> list[Transition]:
    """The changes that the last of these polls makes."""
    known: Facts = {}
    for reading in readings[:-1]:
        known = facts(reading, known)
    return transitions(known, facts(readings[-1], known))


def short(changes: list[Transition]) -> list[tuple[str, str, str | None, str | None]]:
    return [(change.kind, change.subject, change.was, change.now) for change in changes]


def held(node: str, owner: str = "ops") -> Holder:
    return Holder(node=node, owner=owner, purpose="rolling restart", since="2026-01-01T00:00:00Z", host_id=f"id-{node}")


def test_a_healthy_cluster_that_is_seen_first_is_one_entry() -> None:
    """The entry is its severity; nodes that are up, usable views and polls that work are not reported."""
    assert short(after(polled())) == [("severity", "blogs", None, "OK")]


def test_what_is_wrong_at_first_sight_is_news() -> None:
    """Nodes that are down, views that do not count, and findings are reported."""
    kinds = {(change.kind, change.subject) for change in after(polled("10.0.0.1"))}
    assert {("severity", "blogs"), ("node", "10.0.0.1"), ("view", "10.0.0.1"), ("finding", "blog_1")} <= kinds
    assert ("node", "10.0.0.2") not in kinds


def test_a_node_goes_and_comes_back() -> None:
    """Each fact changes once on the way down and once on the way back, and nothing changes in between."""
    assert after(polled(), polled("10.0.0.1"), polled("10.0.0.1")) == []
    went = after(polled(), polled("10.0.0.1"))
    came = after(polled(), polled("10.0.0.1"), polled())
    assert ("node", "10.0.0.1", "up", "down") in short(went)
    assert ("node", "10.0.0.1", "down", "up") in short(came)
    assert ("severity", "blogs", "CRITICAL", "OK") in short(came)
    raised = {(change.code, change.subject, change.level) for change in went if change.kind == "finding"}
    over = {(change.code, change.subject, change.level) for change in came if change.kind == "finding"}
    assert raised == over
    assert ("unavailable", "blog_1", "LOCAL_ONE") in raised


def test_entries_are_in_the_order_of_the_kinds() -> None:
    """The severity comes first: it is what people look for."""
    ranks = [list(KINDS).index(change.kind) for change in after(polled(), polled("10.0.0.1"))]
    assert ranks == sorted(ranks)


def test_a_finding_is_identified_by_code_subject_and_level() -> None:
    """Its text does not matter, since the numbers in it change with every poll."""
    first = noted("unavailable", "orders", "3 of 9 ranges")
    at_quorum, at_one = (replace(first, level=level, datacenter="dc1") for level in ("LOCAL_QUORUM", "LOCAL_ONE"))
    moved = replace(at_one, summary="4 of 9 ranges")
    assert after(with_findings(at_one), with_findings(moved)) == []
    (appeared,) = after(with_findings(at_one), with_findings(at_one, at_quorum))
    assert (appeared.level, appeared.datacenter, appeared.now) == ("LOCAL_QUORUM", "dc1", "CRITICAL")
    (eased,) = after(with_findings(at_one), with_findings(replace(at_one, severity=Severity.WARNING)))
    assert (eased.was, eased.now, eased.severity) == ("CRITICAL", "WARNING", Severity.WARNING)
    (gone,) = after(with_findings(at_one), with_findings(replace(at_one, severity=Severity.OK)))
    assert (gone.was, gone.now, gone.severity) == ("CRITICAL", None, Severity.OK)


def test_findings_that_are_left_out_are_not_over() -> None:
    """A verdict lists only some findings of a code: the known ones stay until all are listed again."""
    listed = [noted("view_missing", f"10.0.0.{index}", "silent") for index in range(3)]
    more = Finding(code="view_missing", severity=Severity.UNKNOWN, subject="10.0.0.0", summary="and 2 more", more=2)
    assert after(with_findings(*listed), with_findings(listed[0], more)) == []
    assert [change.subject for change in after(with_findings(*listed), with_findings(listed[0]))] == [
        "10.0.0.1",
        "10.0.0.2",
    ]


def test_a_poll_that_fails_changes_only_that() -> None:
    """Nodes, findings and severity stay as they were last seen; the next successful poll reports no change of them."""
    failed = polled("10.0.0.1", error="nobody answers")
    assert short(after(polled("10.0.0.1"), failed)) == [("polls", "blogs", "working", "failing")]
    assert short(after(polled("10.0.0.1"), failed, polled("10.0.0.1"))) == [("polls", "blogs", "failing", "working")]
    (change,) = after(polled(), failed)
    assert change.text == "nobody answers"


def test_a_lease_store_that_does_not_answer_keeps_its_leases() -> None:
    """Unknown does not mean released; a poll that did not ask the store shows nothing about it."""
    leased, unknown = polled(holders=(held("10.0.0.1"),)), polled(holders=None)
    assert short(after(leased, unknown)) == [("leases", "blogs", "known", "unknown")]
    assert short(after(leased, unknown, leased)) == [("leases", "blogs", "unknown", "known")]
    assert after(leased, polled(store_asked=False)) == []
    assert short(after(leased, polled())) == [("lease", "10.0.0.1", "ops", None)]


def test_several_leases_of_one_owner_are_a_batch() -> None:
    """The batch lists its nodes; a single lease is not a batch."""
    two = polled(holders=(held("10.0.0.2"), held("10.0.0.1")))
    assert short(after(polled(), two))[-1] == ("batch", "ops", None, "10.0.0.1, 10.0.0.2")
    assert short(after(two, polled(holders=(held("10.0.0.2"),)))) == [
        ("lease", "10.0.0.1", "ops", None),
        ("batch", "ops", "10.0.0.1, 10.0.0.2", None),
    ]


def test_a_suspect_is_a_state_of_its_own() -> None:
    """It is shown as on the page."""
    suspect = polled(suspects=frozenset({"10.0.0.2"}))
    assert short(after(polled(), suspect)) == [("node", "10.0.0.2", "up", "suspect")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"address": "10.0.0.9"}, ("address", "10.0.0.9", "10.0.0.1", "10.0.0.9")),
        ({"generation": 1_767_225_600}, ("restart", "10.0.0.1", "1970-01-01T00:00:01Z", "2026-01-01T00:00:00Z")),
        ({"release_version": "5.0.9"}, ("release", "10.0.0.1", "5.0.8", "5.0.9")),
    ],
    ids=["address", "restart", "release"],
)
def test_a_node_is_known_by_its_host_id(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    """It is the same node at another address, after a restart and with another release."""
    before, now = polled(), polled()
    views = now.verdict.views if now.verdict else ()
    now = with_nodes(now, **changes)
    if "address" in changes and now.verdict:
        moved = (replace(views[0], observer=changes["address"]), *views[1:])
        now = replace(now, verdict=replace(now.verdict, views=moved))
    assert short(after(before, now)) == [expected]


def test_another_host_id_at_an_address_is_another_node() -> None:
    """With a replacement, the old node is gone, and the new one is reported."""
    replaced = with_nodes(polled(), host_id="host-new")
    assert short(after(polled(), replaced)) == [
        ("node", "10.0.0.1", None, "up"),
        ("node", "10.0.0.1", "up", None),
    ]


def test_a_host_id_that_is_sometimes_unknown_is_not_a_change() -> None:
    """There is no change when it is missing, and none when it becomes known."""
    nameless = with_nodes(polled(), host_id=None)
    assert after(polled(), nameless) == []
    assert after(nameless, polled()) == []
    assert after(nameless, polled(), nameless) == []


def test_what_a_node_does_not_report_is_as_it_was() -> None:
    """A node that is down reports no start time, and with some sources no release."""
    assert after(polled(), with_nodes(polled(), generation=None, release_version=None), polled()) == []


def test_texts_are_printable_and_bounded() -> None:
    """Lone surrogates and long texts of nodes are not written to any file."""
    evil = Finding(code="x", severity=Severity.WARNING, subject="a\udc80" * 900, summary="b\x1b\n" * 900)
    (change,) = after(polled(), with_findings(evil))[-1:]
    assert len(change.subject.encode()) <= LONGEST
    assert len(change.text.encode()) <= LONGEST
    assert change.text.isprintable()
    assert after(with_findings(evil), with_findings(evil)) == []


def verdict_after(*steps: tuple[Reading, int]) -> Verdict:
    known: dict[Any, Any] = {}
    for reading, at in steps:
        now = facts(reading, {key: entry.fact for key, entry in known.items()})
        known = carried(known, now, at)
    last = steps[-1][0].verdict
    assert last
    return dated(last, known)


def test_since_when() -> None:
    """Each fact has the time of its last change; a fact that is not known has none."""
    verdict = verdict_after((polled(), 1000), (polled("10.0.0.1"), 2000), (polled("10.0.0.1"), 3000))
    assert verdict.since == "1970-01-01T00:00:02Z"
    assert verdict.states_since == ("1970-01-01T00:00:02Z", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z")
    assert {finding.since for finding in verdict.findings if finding.severity is not Severity.OK} == {
        "1970-01-01T00:00:02Z"
    }
    assert {finding.since for finding in verdict.findings if finding.severity is Severity.OK} <= {None}


def test_since_survives_a_new_name() -> None:
    """When the host id becomes known, the node counts as up since the first poll."""
    verdict = verdict_after((with_nodes(polled(), host_id=None), 1000), (polled(), 2000))
    assert verdict.states_since[0] == "1970-01-01T00:00:01Z"


def test_down_since_the_first_poll_that_saw_it() -> None:
    """Polls that can't tell are entries of the history, but do not end the time for which a node is down."""

    def unseen(reading: Reading) -> Reading:
        assert reading.verdict
        return replace(reading, verdict=replace(reading.verdict, states=("unknown", "unknown", "unknown")))

    down = polled("10.0.0.1")
    assert ("node", "10.0.0.1", "down", "unknown") in short(after(down, unseen(down)))
    assert verdict_after((down, 1000), (unseen(down), 2000), (down, 3000)).states_since[0] == "1970-01-01T00:00:01Z"
    up = verdict_after((down, 1000), (unseen(down), 2000), (polled(), 3000), (unseen(down), 4000), (down, 5000))
    assert up.states_since[0] == "1970-01-01T00:00:05Z"


def test_without_any_view_nothing_is_gone() -> None:
    """Nodes that such a poll does not know, and movements that it can't show, are as they were."""
    before = polled("10.0.0.1")
    assert before.verdict
    seen = before.verdict.snapshot
    fewer = replace(seen, nodes=seen.nodes[1:], views=())
    blind = replace(before, verdict=replace(before.verdict, snapshot=fewer, states=("up", "up"), views=()))
    assert after(before, blind) == []


# ---- levels in use ----

ONE, QUORUM = Used("dc1", Level.LOCAL_ONE), Used("dc1", Level.LOCAL_QUORUM)


def using(general: tuple[Used, ...] = (), known: bool = True, **keyspaces: tuple[Used, ...]) -> Reading:  # noqa: FBT001, FBT002 - a test
    return polled(observed=Observed(keyspaces={**keyspaces, EVERY: general}, known=known))


def level_changes(*readings: Reading) -> list[tuple[str, str | None, str | None]]:
    return [(change.subject, change.was, change.now) for change in after(*readings) if change.kind == "level"]


def test_every_change_of_the_levels_of_a_keyspace_is_an_entry() -> None:
    """Seen first, raised, lowered or used no more: each is an entry, of several keyspaces in one poll too."""
    one, quorum = "LOCAL_ONE in dc1", "LOCAL_QUORUM in dc1"
    assert level_changes(using()) == []
    assert level_changes(using(orders=(ONE,), users=(QUORUM,))) == [("orders", None, one), ("users", None, quorum)]
    first = using(orders=(ONE,), users=(QUORUM,))
    assert level_changes(using(), first) == [("orders", "none", one), ("users", "none", quorum)]
    assert level_changes(using(), first, first) == []
    swapped = using(orders=(QUORUM,), users=(ONE,))
    assert level_changes(first, swapped) == [("orders", one, quorum), ("users", quorum, one)]
    assert level_changes(first, using(users=(QUORUM,))) == [("orders", one, "none")]
    assert level_changes(first, using((ONE,))) == [
        ("users", quorum, one),
        ("*", "none", one),
    ]


def test_a_keyspace_that_is_named_had_the_levels_of_all_others_before() -> None:
    """An entry says what differs from those; if nothing does, that it is seen first."""
    one, quorum = "LOCAL_ONE in dc1", "LOCAL_QUORUM in dc1"
    general = using((QUORUM,))
    assert level_changes(general) == [("*", None, quorum)]
    assert level_changes(general, using((QUORUM,), orders=(ONE,))) == [("orders", quorum, one)]
    assert level_changes(general, using((QUORUM,), orders=(QUORUM,))) == [("orders", None, quorum)]
    assert level_changes(using((QUORUM,), orders=(QUORUM,)), general) == []


def test_missing_evidence_changes_no_level() -> None:
    """While nothing is known of the levels, they are as they were; a change meanwhile is an entry afterwards."""
    first, later = using(orders=(ONE,)), using(orders=(QUORUM,))
    for gap in (polled(), using(known=False), using(orders=(QUORUM,), known=False), polled(error="nobody answers")):
        assert level_changes(first, gap) == []
        assert level_changes(first, gap, first) == []
        assert level_changes(first, gap, later) == [("orders", "LOCAL_ONE in dc1", "LOCAL_QUORUM in dc1")]


def test_a_change_at_the_end_of_a_long_list_is_an_entry() -> None:
    """The levels of each of many datacenters are compared."""
    many = tuple(Used(f"datacenter-{number:03}", Level.LOCAL_QUORUM) for number in range(40))
    [(_, was, now)] = level_changes(using(orders=many), using(orders=(*many[:-1], many[-1]._replace(datacenter="z"))))
    assert was
    assert now
    assert (was[-14:], now[-17:]) == ("datacenter-039", "datacenter-038, z")
