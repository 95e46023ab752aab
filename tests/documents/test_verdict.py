"""Verdicts as documents: they conform to their schema, and every rendering is the same after reading them back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Policy
from ringcheck.core.quorum import Quorum
from ringcheck.documents.snapshot import read_snapshot, snapshot_document
from ringcheck.documents.verdict import read_verdict, verdict_document
from ringcheck.errors import DataError
from ringcheck.report import nagios, sensu
from tests import article
from tests.documents.pending import with_pending
from tests.schemas import validate


@pytest.mark.slow
@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_a_verdict_conforms_to_its_schema(down: tuple[str, ...]) -> None:
    """Verdicts of all severities do, with every level and the unavailable ranges."""
    verdict = assess(article.snapshot(down), Policy(), Question(levels=tuple(Level), ranges=True))
    validate(verdict_document(verdict), "verdict-1")


def test_a_verdict_of_unknown_replication_validates() -> None:
    """Numbers that are not known are null."""
    document = snapshot_document(article.snapshot())
    for ring in document["rings"]:
        ring["replication"] = None
    verdict = verdict_document(assess(read_snapshot(json.dumps(document), "file"), Policy()))
    validate(verdict, "verdict-1")
    (quorum,) = [level for level in verdict["keyspaces"][0]["levels"] if level["level"] == "LOCAL_QUORUM"]
    assert (quorum["severity"], quorum["unavailable"], quorum["required"]) == ("UNKNOWN", None, None)


def test_the_numbers_of_the_article() -> None:
    """With one node down, blog_1 loses exactly the ranges that the node held, and blog_3 none at LOCAL_QUORUM."""
    seen = article.snapshot(["10.0.0.1"])
    document = verdict_document(assess(seen, Policy(), Question(levels=(Level.LOCAL_ALL,), ranges=True)))
    levels = {
        (keyspace["name"], level["level"]): level for keyspace in document["keyspaces"] for level in keyspace["levels"]
    }
    held = [[str(start), str(end)] for start, end, nodes in article.placed(1) if nodes == (0,)]
    lost = levels["blog_1", "LOCAL_ONE"]
    assert lost["unavailable"] == len(held) == 256
    assert lost["severity"] == "CRITICAL"
    assert lost["required"] == [{"replicas": 1, "datacenter": "dc1"}]
    assert sorted(lost["unavailable_ranges"]["read"]) == sorted(lost["unavailable_ranges"]["write"]) == sorted(held)
    assert (levels["blog_3", "LOCAL_QUORUM"]["unavailable"], levels["blog_3", "LOCAL_QUORUM"]["severity"]) == (0, "OK")
    assert levels["blog_3", "LOCAL_ALL"]["unavailable"] == 768
    assert document["recover_first"] == [{"node": "10.0.0.1", "restores_share": lost["unavailable_share"]}]


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [False, True])
@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_a_verdict_is_read_back_as_it_was(down: tuple[str, ...], ranges: bool) -> None:  # noqa: FBT001 - a parameter
    """The document, the lines of the plugin and the events for Sensu are the same."""
    question = Question(levels=tuple(Level), ranges=ranges)
    verdict = assess(with_pending(article.snapshot(down)), Policy(), question)
    document = verdict_document(verdict)
    again = read_verdict(json.dumps(document), "url")
    assert verdict_document(again) == document
    assert nagios.render(again, verbosity=2) == nagios.render(verdict, verbosity=2)
    assert sensu.events(again) == sensu.events(verdict)


def test_the_quorum_of_the_metadata_service_is_read_back() -> None:
    """It is null before 6.0, and documents of older releases lack it."""
    verdict = assess(article.snapshot(("10.0.0.1",)), Policy())
    assert verdict_document(verdict)["metadata_service"] is None
    quorum = Quorum(size=3, members=("10.0.0.1", "10.0.0.2"), live=("10.0.0.2",), observer="10.0.0.3")
    document = verdict_document(replace(verdict, metadata_quorum=quorum))
    validate(document, "verdict-1")
    assert document["metadata_service"]["required"] == 2
    assert read_verdict(json.dumps(document), "url").metadata_quorum == quorum
    del document["metadata_service"]
    assert read_verdict(json.dumps(document), "url").metadata_quorum is None


def test_whether_a_begin_was_seen_is_read_back() -> None:
    """It is null without a time; an agent of an older release does not say it, and then the time counts as exact."""
    verdict = assess(article.snapshot(("10.0.0.1",)), Policy())
    assert {node["begin_seen"] for node in verdict_document(verdict)["nodes"]} == {None}
    start, later = "2025-12-31T23:00:00Z", "2025-12-31T23:30:00Z"
    findings = (replace(verdict.findings[0], since=later), *verdict.findings[1:])
    states = (later, start, None)
    dated = replace(verdict, since=start, findings=findings, states_since=states, blind_until=frozenset({start}))
    document = verdict_document(dated)
    validate(document, "verdict-1")
    assert (document["begin_seen"], document["findings"][0]["begin_seen"]) == (False, True)
    assert [node["begin_seen"] for node in document["nodes"]] == [True, False, None]
    again = read_verdict(json.dumps(document), "url")
    assert verdict_document(again) == document
    assert nagios.render(again).startswith(f"CRITICAL - blogs since before {start}: ")
    for part in (document, *document["nodes"], *document["findings"]):
        del part["begin_seen"]
    assert nagios.render(read_verdict(json.dumps(document), "url")).startswith(f"CRITICAL - blogs since {start}: ")


def changed(**fields: Any) -> dict[str, Any]:
    return verdict_document(assess(article.snapshot(["10.0.0.1"]), Policy())) | fields


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "url is no 'ringcheck/verdict/1' document: it has no field `schema`"),
        (changed(schema="ringcheck/snapshot/1"), "url has schema 'ringcheck/snapshot/1'"),
        (changed(severity="FINE"), "url: severity is 'FINE', not one of OK, "),
        (changed(severity="OK"), "url: its severity is OK, which its keyspaces and findings contradict"),
        (changed(severity="OK", findings=[], keyspaces=[]), "url: its severity is OK, which"),
        (changed(severity="OK", findings=[]), "url: its severity is OK, which"),
        (changed(supposed={"down": [], "up": []}), "url: it is the result of `what-if`"),
        (changed(nodes=None), "url: nodes is null, not a list"),
        (changed(keyspaces=[{}]), "url: keyspaces[0].ranges is missing"),
        (
            changed(recover_first=[{"node": "10.0.0.1", "restores_share": "x"}]),
            "url is not a valid ringcheck/verdict/1 document: ",
        ),
        (changed(recover_first=[{"node": "10.9.9.9"}]), "url: '10.9.9.9' is not one of its nodes"),
        (changed(cluster=None), "url: cluster is null, not text"),
    ],
)
def test_an_invalid_verdict_is_an_error(document: Any, text: str) -> None:
    """Nothing is filled in: a document that contradicts itself or lacks a part is refused."""
    with pytest.raises(DataError) as caught:
        read_verdict(json.dumps(document), "url")
    assert str(caught.value).startswith(text)
