"""Snapshots as documents: they conform to their schema and are read back unchanged; errors name the path."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from ringcheck.core.metadata import MetadataReport
from ringcheck.core.schema_report import KeyspaceReport, SchemaReport
from ringcheck.documents import snapshot as snapshot_documents
from ringcheck.documents.snapshot import read_snapshot, snapshot_document, snapshot_parts
from ringcheck.errors import DataError
from tests import article
from tests.documents.pending import with_pending
from tests.schemas import validate


@pytest.mark.slow
@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_a_snapshot_is_read_back_as_it_was(down: tuple[str, ...]) -> None:
    """Writing a snapshot and reading it back changes nothing."""
    seen = with_pending(article.snapshot(down))
    document = snapshot_document(seen)
    validate(document, "snapshot-1")
    again = read_snapshot(json.dumps(document), "file")
    assert again == seen
    assert snapshot_document(again) == document


@pytest.mark.parametrize("rows", [1, 100, 768, 4096])
def test_a_snapshot_in_pieces_is_the_same_document(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the pieces and the number of rings do not matter."""
    monkeypatch.setattr(snapshot_documents, "_ROWS", rows)
    seen = article.snapshot(["10.0.0.1"])
    for snapshot in (seen, replace(seen, rings=()), with_pending(seen)):
        parts = list(snapshot_parts(snapshot))
        assert json.loads("".join(parts)) == snapshot_document(snapshot)
        assert max(map(len, parts)) < 3000 + 90 * rows


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, "LOCAL_QUORUM", "NODE_LOCAL"])
def test_the_level_of_logins_is_read_back(level: str | None) -> None:
    """It may be unknown, and snapshots of older releases lack the field."""
    seen = replace(article.snapshot(), auth_read_level=level)
    document = snapshot_document(seen)
    validate(document, "snapshot-1")
    assert read_snapshot(json.dumps(document), "file") == seen
    del document["auth_read_level"]
    validate(document, "snapshot-1")
    assert read_snapshot(json.dumps(document), "file") == article.snapshot()


def test_the_metadata_of_views_is_read_back() -> None:
    """Members are addresses of nodes; a field that a node does not report is null; older documents have no metadata."""
    seen = article.snapshot()
    whole = MetadataReport(
        members=frozenset({"10.0.0.1:7000", "10.0.0.9:7000"}),
        epoch=17,
        state="LOCAL",
        migrating=False,
        paused=True,
        needs_reconfiguration=False,
    )
    reports = (whole, MetadataReport(members=frozenset()), None)
    views = tuple(replace(view, metadata=report) for view, report in zip(seen.views, reports, strict=True))
    document = snapshot_document(replace(seen, views=views))
    validate(document, "snapshot-1")
    assert document["views"][0]["metadata"]["members"] == ["10.0.0.1", "10.0.0.9:7000"]
    read = read_snapshot(json.dumps(document), "it")
    assert [view.metadata for view in read.views] == [
        replace(whole, members=frozenset({"10.0.0.1", "10.0.0.9:7000"})), *reports[1:],
    ]  # fmt: skip
    for view in document["views"]:
        del view["metadata"]
    assert [view.metadata for view in read_snapshot(json.dumps(document), "it").views] == [None] * 3


@pytest.mark.parametrize("variant", ["v2", "v9", None])
def test_the_variant_of_paxos_is_read_back(variant: str | None) -> None:
    """It is kept as the node reports it, even if it is unknown; snapshots of earlier versions have none."""
    seen = article.snapshot()
    seen = replace(seen, nodes=tuple(replace(node, paxos_variant=variant) for node in seen.nodes))
    document = snapshot_document(seen)
    assert read_snapshot(json.dumps(document), "f.json") == seen
    for node in document["nodes"]:
        assert node.pop("paxos_variant") == variant
    assert {node.paxos_variant for node in read_snapshot(json.dumps(document), "f.json").nodes} == {None}


@pytest.mark.slow
def test_the_keyspaces_by_schema_version_are_read_back() -> None:
    """Snapshots of older releases lack them; a replication is read in any form and order that Cassandra writes."""
    orders = KeyspaceReport(name="orders", replication="NetworkTopologyStrategy {dc1=3, dc2=2}")
    own = SchemaReport(version="a", nodes=("10.0.0.1", "10.0.0.2"), asked="10.0.0.1", of_ring=True, keyspaces=(orders,))
    old = KeyspaceReport(name="orders", replication=None, same_ranges=False)
    other = SchemaReport(version=None, nodes=("10.0.0.3",), asked="10.0.0.3", keyspaces=(old,))
    silent = SchemaReport(version="c", nodes=("10.0.0.4",), asked=None, reason="no answer in time")
    seen = replace(article.snapshot(), schemas=(own, other, silent))
    document = snapshot_document(seen)
    validate(document, "snapshot-1")
    assert read_snapshot(json.dumps(document), "file") == seen
    document["schemas"][0]["keyspaces"][0]["replication"] = "a.NetworkTopologyStrategy {dc2=2, dc1=3}"
    assert read_snapshot(json.dumps(document), "file") == seen
    del document["schemas"]
    validate(document, "snapshot-1")
    assert read_snapshot(json.dumps(document), "file") == article.snapshot()


@pytest.mark.parametrize(
    ("schemas", "message"),
    [
        ({}, "schemas is an object, not a list"),
        ([{"nodes": ["x"], "keyspaces": []}], "schemas[0].nodes: 'x' is not an address"),
        ([{"nodes": []}], "schemas[0].keyspaces is missing"),
        ([{"nodes": [], "keyspaces": [{"replication": None}]}], "schemas[0].keyspaces[0].name is missing"),
        (
            [{"nodes": [], "keyspaces": [{"name": "a", "replication": "x"}]}],
            "schemas[0].keyspaces[0]: replication 'x' is not understood",
        ),
    ],
)
def test_invalid_keyspaces_of_a_schema_version(schemas: object, message: str) -> None:
    """Each error names the path and the reason."""
    with pytest.raises(DataError, match=re.escape(f"f.json: {message}")):
        read_snapshot(json.dumps(snapshot_document(article.snapshot()) | {"schemas": schemas}), "f.json")


def test_the_level_of_logins_of_each_node_is_read_back() -> None:
    """Snapshots of earlier versions have none."""
    seen = article.snapshot()
    levels = ["LOCAL_ONE", "QUORUM", None] * len(seen.nodes)
    nodes = [replace(node, auth_read_level=level) for node, level in zip(seen.nodes, levels, strict=False)]
    document = snapshot_document(replace(seen, nodes=tuple(nodes)))
    assert list(read_snapshot(json.dumps(document), "f.json").nodes) == nodes
    for node in document["nodes"]:
        del node["auth_read_level"]
    assert {node.auth_read_level for node in read_snapshot(json.dumps(document), "f.json").nodes} == {None}


def test_a_snapshot_without_rings_is_read_back() -> None:
    """While all nodes start, none reports a partitioner, and there are no tokens to compare."""
    seen = replace(article.snapshot(), partitioner="unknown", rings=())
    assert read_snapshot(json.dumps(snapshot_document(seen)), "file") == seen


BASE = snapshot_document(article.snapshot())


def test_ranges_may_be_in_any_order_and_have_tokens_of_more_than_64_bits() -> None:
    """Tokens may be as long as RandomPartitioner's; ranges are written back in the order of their ends."""
    places = (2**127, 5, 2**100, 7)
    ordered = sorted(places)
    rows = [[str(ordered[index - 1]), str(token), [index % 3]] for index, token in enumerate(ordered)]
    document = {**BASE, "partitioner": "RandomPartitioner", "rings": [{**BASE["rings"][0], "ranges": rows[::-1]}]}
    again = read_snapshot(json.dumps(document), "file")
    assert snapshot_document(again)["rings"][0]["ranges"] == rows


def test_equal_lists_of_views_are_one_object() -> None:
    """Otherwise a thousand views of a thousand nodes would be a million texts; lists may be written differently."""
    document = copy.deepcopy(BASE)
    document["views"][1]["live"] = [f"{address}%eth0" for address in reversed(document["views"][1]["live"])]
    views = read_snapshot(json.dumps(document), "file").views
    assert views[0].live is views[2].live
    assert views[0].live == views[1].live == frozenset(article.ADDRESSES)


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def change(path: str, value: object) -> dict[str, Any]:
    """A valid document with one value changed, or removed if the new value is Ellipsis; all other values are BASE's."""
    document = copy.copy(BASE)
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    parent: Any = document
    for part in parents:
        parent[part] = copy.copy(parent[part])
        parent = parent[part]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return document


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            "",
            "f.json is not a JSON document: it is empty",
        ),
        ("[]", "f.json is no 'ringcheck/snapshot/1' document: it has no field `schema`"),
        (
            change("schema", "ringcheck/snapshot/2"),
            "f.json has schema 'ringcheck/snapshot/2'; this release reads 'ringcheck/snapshot/1'",
        ),
        (change("nodes", ...), "f.json: nodes is missing"),
        (change("nodes", {}), "f.json: nodes is an object, not a list"),
        (change("nodes.0", 5), "f.json: nodes[0] is not an object"),
        (change("nodes.1.address", "db7"), "f.json: nodes[1].address: 'db7' is not an address"),
        (change("nodes.1.address", "10.0.0.1"), "f.json: two nodes have the same address"),
        (change("nodes.1.gossip_running", "yes"), "f.json: nodes[1].gossip_running is 'yes', not true or false"),
        (change("nodes.1.generation", bool(1)), "f.json: nodes[1].generation is true, not a number"),
        (
            change("nodes.1.jolokia", "maybe"),
            "f.json: nodes[1].jolokia is 'maybe', not one of ok, unreachable, denied, error, not_asked",
        ),
        (change("views.2.observer", "10.0.0.1"), "f.json: two views have the same observer"),
        (change("views.2.live", [7]), "f.json: views[2].live is not a list of addresses"),
        (change("views.2.live", ["x"]), "f.json: views[2].live: 'x' is not an address"),
        *[
            (change(f"views.2.{name}", ...), f"f.json: views[2].{name} is missing")
            for name in ("live", "joining", "leaving", "moving")
        ],
        (change("rings.0.pending", ...), "f.json: rings[0].pending is missing"),
        (change("partitioner", "ByteOrderedPartitioner"), None),
        (change("rings.0.keyspaces", []), "f.json: rings[0].keyspaces is not a list of names"),
        (change("rings.0.keyspaces", ["x" * 16385]), "f.json: rings[0].keyspaces is not a list of names"),
        (change("nodes.0.rack", "x" * 16385), "f.json: nodes[0].rack has 16385 characters, and at most 16384 are read"),
        (change("rings.0.keyspaces", ["blog_3"]), "f.json: a keyspace is in two rings"),
        (change("rings.0.ranges", []), "f.json: rings[0]: the ring has no ranges"),
        (change("rings.0.ranges.3", ["1", "2"]), "f.json: rings[0].ranges[3] is not [start, end, [node index, ...]]"),
        (change("rings.0.ranges.3.2", [-1]), "f.json: rings[0].ranges[3] has an invalid node index"),
        (change("rings.0.ranges.3.2", [3]), "f.json: rings[0]: a range names a node that the cluster does not have"),
        (change("rings.0.ranges.3.2", [1, 1]), "f.json: rings[0]: a range names the same node twice"),
        (change("rings.0.ranges.3.2.0", bool(1)), "f.json: rings[0].ranges[3] has an invalid node index"),
        (change("rings.0.ranges.3.2.0", 1.0), "f.json: rings[0].ranges[3] has an invalid node index"),
        (change("rings.0.ranges.3", {"a": 1}), "f.json: rings[0].ranges[3] is not [start, end, [node index, ...]]"),
        (change("rings.0.ranges.3.2", "0"), "f.json: rings[0].ranges[3] is not [start, end, [node index, ...]]"),
        (
            change("rings.0.ranges.3.1", "1e3"),
            "f.json: rings[0] has a token '1e3' that Murmur3Partitioner does not have",
        ),
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
        (change("rings.0.replication", f"SimpleStrategy {{replication_factor={'9' * 5000}}}"), None),
        (change("rings.0.ranges.0.0", "9" * 5000), None),
        (change("rings.0.ranges.0.2", [10**30]), None),
        (change("nodes.1.generation", 10**30), None),
        (json.dumps(BASE).replace('"tokens": 256', f'"tokens": {"9" * 5000}', 1), None),
        (change("cluster", nested(900)), "f.json: cluster is a list, not text"),
        (change("schema", nested(900)), None),
        ("[" * 100_000, None),
        (change("nodes.1.address", "x" * 5000), None),
    ],
)
def test_an_invalid_document_is_an_error_in_one_line(document: object, message: str | None) -> None:
    """Each error names the path and the reason."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(DataError) as caught:
        read_snapshot(text, "f.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    if message is not None:
        assert str(caught.value) == message
    else:
        assert str(caught.value).startswith("f.json")


def test_a_file_that_is_no_snapshot_of_a_cluster_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes and values are counted before it is decoded, and an endless device is read only up to a limit."""
    monkeypatch.setattr(snapshot_documents, "MOST_BYTES", 2**20)
    with pytest.raises(DataError, match=r"^/dev/zero has more than 1 MiB, which is too large for a snapshot$"):
        read_snapshot(snapshot_documents.read_file("/dev/zero"), "/dev/zero")
    monkeypatch.setattr(snapshot_documents, "_MOST_VALUES", 1000)
    for text in ("[" + "[]," * 500 + "1]", b"[" + b"[]," * 500 + b"1]"):
        with pytest.raises(DataError, match=r"^f.json has more than 1000 values"):
            read_snapshot(text, "f.json")


def test_unknown_fields_are_ignored() -> None:
    """A later release may add fields without changing the version."""
    document = change("colour", "blue")
    document["nodes"][0]["shape"] = "round"
    assert read_snapshot(json.dumps(document), "file") == article.snapshot()


def test_fields_that_a_source_can_t_know_may_be_null() -> None:
    """A snapshot with only the required fields is read."""
    document = copy.deepcopy(BASE)
    for node in document["nodes"]:
        for name in node.keys() - {"address", "jolokia"}:
            node[name] = None
    for view in document["views"]:
        view["unreachable"] = None
    assert [node.mode for node in read_snapshot(json.dumps(document), "file").nodes] == [None] * 3
