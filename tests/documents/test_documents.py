"""Snapshots and verdicts as documents: what is written is what the schemas say, and is read back the same."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import ringcheck.documents
from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Pending, Problem, Replication, Ring, Snapshot
from ringcheck.documents import snapshot as snapshot_documents
from ringcheck.documents.decision import decision_document, plan_document
from ringcheck.documents.snapshot import read_snapshot, snapshot_document, snapshot_parts
from ringcheck.documents.verdict import read_verdict, verdict_document
from ringcheck.errors import DataError
from ringcheck.report import nagios, sensu
from tests import article

SCHEMAS = Path(ringcheck.documents.__file__).parent / "schemas"


def validate(document: dict[str, Any], name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def with_pending(seen: Snapshot) -> Snapshot:
    ring = seen.rings[1]
    start, end = ring.range(5)
    moved = ring.build(
        ring.keyspaces,
        ring.replication,
        [(*ring.range(i), ring.replicas(i)) for i in range(len(ring))],
        3,
        [Pending(start, end, (0,))],
    )
    return Snapshot(
        cluster=seen.cluster,
        taken_at=seen.taken_at,
        partitioner=seen.partitioner,
        nodes=seen.nodes,
        views=seen.views,
        rings=(seen.rings[0], moved),
        problems=(Problem("ring_unreadable", "ks", "the ring of ks can't be read"),),
    )


@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_a_snapshot_is_read_back_as_it_was(down: tuple[str, ...]) -> None:
    """Writing and reading lose nothing."""
    seen = with_pending(article.snapshot(down))
    document = snapshot_document(seen)
    validate(document, "snapshot-1")
    again = read_snapshot(json.dumps(document), "file")
    assert again == seen
    assert snapshot_document(again) == document


@pytest.mark.parametrize("rows", [1, 100, 768, 4096])
def test_a_snapshot_in_pieces_is_the_same_document(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the pieces are, and however many rings there are."""
    monkeypatch.setattr(snapshot_documents, "_ROWS", rows)
    seen = article.snapshot(["10.0.0.1"])
    for one in (seen, replace(seen, rings=()), with_pending(seen)):
        parts = list(snapshot_parts(one))
        assert json.loads("".join(parts)) == snapshot_document(one)
        assert max(map(len, parts)) < 3000 + 90 * rows


@pytest.mark.parametrize("level", [None, "LOCAL_QUORUM", "NODE_LOCAL"])
def test_the_level_of_logins_is_read_back(level: str | None) -> None:
    """It may be unknown, and a snapshot of before it was there says nothing of it."""
    seen = replace(article.snapshot(), auth_read_level=level)
    document = snapshot_document(seen)
    validate(document, "snapshot-1")
    assert read_snapshot(json.dumps(document), "file") == seen
    del document["auth_read_level"]
    validate(document, "snapshot-1")
    assert read_snapshot(json.dumps(document), "file") == article.snapshot()


def test_a_snapshot_without_rings_is_read_back() -> None:
    """While all nodes start none has told its partitioner, and there are no tokens to compare."""
    seen = replace(article.snapshot(), partitioner="unknown", rings=())
    assert read_snapshot(json.dumps(snapshot_document(seen)), "file") == seen


@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_a_verdict_is_what_its_schema_says(down: tuple[str, ...]) -> None:
    """Verdicts of all severities, with every level and the ranges, validate."""
    verdict = assess(article.snapshot(down), Policy(), Question(levels=tuple(Level), ranges=True))
    validate(verdict_document(verdict), "verdict-1")


def test_a_verdict_of_unknown_replication_validates() -> None:
    """Numbers that can't be known are null."""
    document = snapshot_document(article.snapshot())
    for ring in document["rings"]:
        ring["replication"] = None
    verdict = verdict_document(assess(read_snapshot(json.dumps(document), "file"), Policy()))
    validate(verdict, "verdict-1")
    quorum = [level for level in verdict["keyspaces"][0]["levels"] if level["level"] == "LOCAL_QUORUM"]
    assert [(one["severity"], one["unavailable"], one["required"]) for one in quorum] == [("UNKNOWN", None, None)]


def test_the_numbers_of_the_article() -> None:
    """With one node down blog_1 loses exactly the ranges that it held, and blog_3 none at LOCAL_QUORUM."""
    seen = article.snapshot(["10.0.0.1"])
    document = verdict_document(assess(seen, Policy(), Question(levels=(Level.LOCAL_ALL,), ranges=True)))
    levels = {(each["name"], one["level"]): one for each in document["keyspaces"] for one in each["levels"]}
    held = [[str(start), str(end)] for start, end, nodes in article.placed(1) if nodes == (0,)]
    one = levels["blog_1", "LOCAL_ONE"]
    assert one["unavailable"] == len(held) == 256
    assert one["severity"] == "CRITICAL"
    assert one["required"] == [{"replicas": 1, "datacenter": "dc1"}]
    assert sorted(one["unavailable_ranges"]["read"]) == sorted(one["unavailable_ranges"]["write"]) == sorted(held)
    assert (levels["blog_3", "LOCAL_QUORUM"]["unavailable"], levels["blog_3", "LOCAL_QUORUM"]["severity"]) == (0, "OK")
    assert levels["blog_3", "LOCAL_ALL"]["unavailable"] == 768
    assert document["recover_first"] == [{"node": "10.0.0.1", "restores_share": one["unavailable_share"]}]


BASE = snapshot_document(article.snapshot())


def change(path: str, value: object) -> dict[str, Any]:
    """The good document with one place changed, or taken out where the value is Ellipsis."""
    document = copy.deepcopy(BASE)
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place: Any = document
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            "{",
            "f.json is no JSON document: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("[]", "f.json has schema None; this release reads 'ringcheck/snapshot/1'"),
        (
            change("schema", "ringcheck/snapshot/2"),
            "f.json has schema 'ringcheck/snapshot/2'; this release reads 'ringcheck/snapshot/1'",
        ),
        (change("nodes", ...), "f.json: nodes is missing"),
        (change("nodes", {}), "f.json: nodes is {}, not a list"),
        (change("nodes.0", 5), "f.json: nodes[0] is not an object"),
        (change("nodes.1.address", "db7"), "f.json: nodes[1]: 'db7' is no address"),
        (change("nodes.1.address", "10.0.0.1"), "f.json: two nodes have one address"),
        (change("nodes.1.gossip_running", "yes"), 'f.json: nodes[1].gossip_running is "yes", not true or false'),
        (change("nodes.1.generation", bool(1)), "f.json: nodes[1].generation is true, not a number"),
        (
            change("nodes.1.jolokia", "maybe"),
            "f.json: nodes[1].jolokia is 'maybe', not one of ok, unreachable, denied, error, not_asked",
        ),
        (change("views.2.observer", "10.0.0.1"), "f.json: two views have one observer"),
        (change("views.2.live", [7]), "f.json: views[2].live is not a list of addresses"),
        (change("views.2.live", ["x"]), "f.json: views[2].live: 'x' is no address"),
        (change("partitioner", "ByteOrderedPartitioner"), None),
        (change("rings.0.keyspaces", []), "f.json: rings[0].keyspaces is not a list of names"),
        (change("rings.0.keyspaces", ["blog_3"]), "f.json: a keyspace stands in two rings"),
        (change("rings.0.ranges", []), "f.json: rings[0]: the ring has no ranges"),
        (change("rings.0.ranges.3", ["1", "2"]), "f.json: rings[0].ranges[3] is not [start, end, [node index, ...]]"),
        (change("rings.0.ranges.3.2", [-1]), "f.json: rings[0].ranges[3] has node indexes that are none"),
        (change("rings.0.ranges.3.2", [3]), "f.json: rings[0]: a range names a node that the cluster does not have"),
        (change("rings.0.ranges.3.2", [1, 1]), "f.json: rings[0]: a range names the same node twice"),
        (change("rings.0.ranges.3.0", 12), "f.json: rings[0] has a token 12 that Murmur3Partitioner does not have"),
        (
            change("rings.0.ranges.3.0", str(2**64)),
            "f.json: rings[0] has a token '18446744073709551616' that Murmur3Partitioner does not have",
        ),
        (change("rings.0.ranges.3", ...), None),
        (change("rings.0.replication", "Simple"), "f.json: rings[0]: replication 'Simple' is not understood"),
        (
            change("rings.0.replication", "SimpleStrategy {replication_factor=x}"),
            "f.json: rings[0]: replication factor 'x' is not a number",
        ),
    ],
)
def test_a_bad_document_is_told_in_one_line(document: object, message: str | None) -> None:
    """Each mistake has its place and its reason."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(DataError) as caught:
        read_snapshot(text, "f.json")
    assert "\n" not in str(caught.value)
    if message is not None:
        assert str(caught.value) == message
    else:
        assert str(caught.value).startswith("f.json: ")


def test_unknown_fields_are_borne() -> None:
    """A later release may add fields within the version."""
    document = change("colour", "blue")
    document["nodes"][0]["shape"] = "round"
    assert read_snapshot(json.dumps(document), "file") == article.snapshot()


def test_fields_that_a_source_can_t_know_may_be_null() -> None:
    """A snapshot with only what must be known is read."""
    document = copy.deepcopy(BASE)
    for node in document["nodes"]:
        for name in node.keys() - {"address", "jolokia"}:
            node[name] = None
    for view in document["views"]:
        view["unreachable"] = None
    assert [node.mode for node in read_snapshot(json.dumps(document), "file").nodes] == [None] * 3


@pytest.mark.parametrize("ranges", [False, True])
@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_a_verdict_is_read_back_as_it_was(down: tuple[str, ...], ranges: bool) -> None:  # noqa: FBT001 - a parameter
    """Whatever is rendered from it is the same: the document again, the plugin's lines, Sensu's events."""
    question = Question(levels=tuple(Level), ranges=ranges)
    verdict = assess(with_pending(article.snapshot(down)), Policy(), question)
    document = verdict_document(verdict)
    again = read_verdict(json.dumps(document), "url")
    assert verdict_document(again) == document
    assert nagios.render(again, verbose=True) == nagios.render(verdict, verbose=True)
    assert sensu.events(again) == sensu.events(verdict)


def changed(**fields: Any) -> dict[str, Any]:
    return verdict_document(assess(article.snapshot(["10.0.0.1"]), Policy())) | fields


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "url has schema None; this release reads 'ringcheck/verdict/1'"),
        (changed(schema="ringcheck/snapshot/1"), "url has schema 'ringcheck/snapshot/1'"),
        (changed(severity="FINE"), "url: .severity is 'FINE', not one of OK, "),
        (changed(severity="OK"), "url: it says OK, but what it says of keyspaces and findings is worse"),
        (changed(severity="OK", findings=[], keyspaces=[]), "url: it says OK, but"),
        (changed(severity="OK", findings=[]), "url: it says OK, but"),
        (changed(supposed={"down": [], "up": []}), "url: it is the verdict of a supposition"),
        (changed(nodes=None), "url: nodes is null, not a list"),
        (changed(keyspaces=[{}]), "url: keyspaces[0].ranges is missing"),
        (changed(recover_first=[{"node": "10.0.0.1", "restores_share": "x"}]), "url has not the form of ringcheck/ver"),
        (changed(recover_first=[{"node": "10.9.9.9"}]), "url: '10.9.9.9' is none of its nodes"),
        (changed(cluster=None), "url: cluster is null, not text"),
    ],
)
def test_a_verdict_that_is_none_is_refused(document: Any, text: str) -> None:
    """Nothing is filled in: what contradicts itself or lacks a part is no verdict."""
    with pytest.raises(DataError) as found:
        read_verdict(json.dumps(document), "url")
    assert str(found.value).startswith(text)


def twins() -> Snapshot:
    """The article's ring of RF 1 for two keyspaces that are alike."""
    seen = article.snapshot()
    ring = seen.rings[0]
    rows = [(*ring.range(index), ring.replicas(index)) for index in range(len(ring))]
    return replace(seen, rings=(Ring.build(["a", "b"], Replication.parse(str(ring.replication)), rows, 3),))


@pytest.mark.parametrize("allowed", [(), ("streaming", "structurally_never_safe")])
def test_a_decision_records_what_was_allowed_and_names_every_keyspace(allowed: tuple[str, ...]) -> None:
    """Whether a code arose or not, and whichever of the keyspaces that are alike is asked for."""
    document = decision_document(
        Gatekeeper(twins(), Policy(), Gate(allow=frozenset(allowed))).decide(article.ADDRESSES[:1])
    )
    validate(document, "decision-1")
    assert document["allowed"] == list(allowed)
    told = [(one["code"], one["blocks"], one["keyspace"], one["keyspaces"]) for one in document["reasons"]]
    assert told == [("structurally_never_safe", not allowed, "a", ["a", "b"])]


def test_a_plan_names_every_keyspace_of_its_reasons() -> None:
    """Its reasons are those of a decision."""
    document = plan_document(plan(twins(), Policy(), Gate()))
    validate(document, "plan-1")
    assert {tuple(why["keyspaces"]) for one in document["refused"] for why in one["reasons"]} == {("a", "b")}
