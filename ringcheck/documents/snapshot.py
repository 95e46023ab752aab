"""Snapshots as `ringcheck/snapshot/1` documents, written and read back.

Tokens are decimal text, since JSON numbers can't hold 64 bits exactly. Fields may be added within a version; readers
ignore unknown ones.
"""

from __future__ import annotations

import gc
import json
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ringcheck.core.consistency import release
from ringcheck.core.evidence import evidence_of
from ringcheck.core.metadata import MetadataReport
from ringcheck.core.ring import (
    Node,
    Pending,
    Problem,
    Replication,
    Ring,
    Snapshot,
    SourceState,
    View,
    ViewOutcome,
    partitioner,
)
from ringcheck.core.schema_report import KeyspaceReport, SchemaReport
from ringcheck.core.spans import Spans
from ringcheck.documents.fields import LONGEST_TEXT, Fields, address, parse_document, shown, token_texts
from ringcheck.errors import DataError, RingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.ring import Partitioner
    from ringcheck.documents.fields import Json

SNAPSHOT = "ringcheck/snapshot/1"

_NODE_KEYS = {"source": "jolokia"}  # keys that differ from the fields of `Node`: the keys have been published
_ROWS = 4096  # ranges that are written at a time

# A ring of 1,024 nodes with 256 tokens each takes 17 MB and two million values; this is enough for 15 such rings.
MOST_BYTES = 2**28
_MOST_VALUES = 2**25
_TOKEN = 40  # characters: 39 digits and a sign, a token of RandomPartitioner

Row = tuple[int, int, tuple[int, ...]]
"""A range: start, end and the indexes of its nodes."""

# Writing


def snapshot_document(snapshot: Snapshot) -> Json:
    """A snapshot as `ringcheck/snapshot/1`.

    Views list nodes by the addresses of the snapshot; an endpoint that belongs to no node is written as it was read.
    """
    evidence = evidence_of(snapshot)
    return {
        "schema": SNAPSHOT,
        "cluster": snapshot.cluster,
        "taken_at": snapshot.taken_at,
        "partitioner": snapshot.partitioner,
        "authenticates": snapshot.authenticates,
        "auth_read_level": snapshot.auth_read_level,
        "nodes": [node_document(node) for node in snapshot.nodes],
        "views": [_view(evidence.named(view)) for view in evidence.views],
        "rings": [_ring(ring) for ring in snapshot.rings],
        "problems": [
            {"code": problem.code, "subject": problem.subject, "summary": problem.summary}
            for problem in snapshot.problems
        ],
        "schemas": [_schema(report) for report in snapshot.schemas],
    }


def snapshot_parts(snapshot: Snapshot) -> Iterator[str]:
    """The document as JSON in pieces: as a whole it has 70 MB for 1,024 nodes, in addition to its objects."""
    head = snapshot_document(replace(snapshot, rings=()))
    del head["rings"]
    yield json.dumps(head)[:-1] + ', "rings": ['
    for index, ring in enumerate(snapshot.rings):
        yield ", " if index else ""
        yield from _ring_parts(ring)
    yield "]}\n"


def _ring_parts(ring: Ring) -> Iterator[str]:
    head = _head(ring)
    yield json.dumps(head)[:-1] + ', "ranges": ['
    for first in range(0, len(ring), _ROWS):
        rows = [_row(ring, index) for index in range(first, min(first + _ROWS, len(ring)))]
        yield (", " if first else "") + json.dumps(rows)[1:-1]
    yield "]}"


def node_document(node: Node) -> Json:
    """A node as snapshots and verdicts contain it."""
    return {_NODE_KEYS.get(field.name, field.name): getattr(node, field.name) for field in fields(Node)}


def _view(view: View) -> Json:
    return {
        "observer": view.observer,
        "outcome": view.outcome,
        "reason": view.reason,
        "live": sorted(view.live),
        "unreachable": None if view.unreachable is None else sorted(view.unreachable),
        "joining": sorted(view.joining),
        "leaving": sorted(view.leaving),
        "moving": sorted(view.moving),
        "known_as": dict(view.known_as),
        "schema_version": view.schema_version,
        "metadata": view.metadata and _metadata(view.metadata),
    }


def _metadata(report: MetadataReport) -> Json:
    return {
        "members": sorted(report.members),
        "epoch": report.epoch,
        "state": report.state,
        "migrating": report.migrating,
        "paused": report.paused,
        "needs_reconfiguration": report.needs_reconfiguration,
    }


def _schema(report: SchemaReport) -> Json:
    return {
        "version": report.version,
        "nodes": list(report.nodes),
        "asked": report.asked,
        "reason": report.reason,
        "of_ring": report.of_ring,
        "keyspaces": [
            {"name": keyspace.name, "replication": keyspace.replication, "same_ranges": keyspace.same_ranges}
            for keyspace in report.keyspaces
        ],
    }


def _ring(ring: Ring) -> Json:
    return {**_head(ring), "ranges": [_row(ring, index) for index in range(len(ring))]}


def _head(ring: Ring) -> Json:
    """A ring without its ranges."""
    return {
        "keyspaces": list(ring.keyspaces),
        "replication": str(ring.replication) if ring.replication else None,
        "pending": [[*token_texts((range_.start, range_.end)), list(range_.replicas)] for range_ in ring.pending],
    }


def _row(ring: Ring, index: int) -> list[Any]:
    return [*token_texts(ring.range(index)), list(ring.replicas(index))]


# Reading


def read_file(path: str | Path) -> bytes:
    """The bytes of a file; only so many that `read_snapshot` refuses them if there are more, since a device has no end.

    Raises:
        OSError: if it can't be read.
    """
    with Path(path).open("rb") as file:
        return file.read(MOST_BYTES + 1)


def read_snapshot(text: str | bytes, source: str) -> Snapshot:
    """A snapshot from its document.

    Args:
        text: JSON.
        source: a file or URL, for errors.

    Raises:
        DataError: in one line that begins with the source and names the path of what is wrong.
    """
    with _uncollected():
        document = parse_document(_bounded(text, source), source, SNAPSHOT)
        try:
            return _snapshot(document)
        except DataError as error:
            raise DataError(f"{source}: {error}") from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector, which would look for cycles again and again among millions of new values."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _bounded(text: str | bytes, source: str) -> str | bytes:
    """The text of a document, if it has no more bytes and values than that of a large cluster."""
    if len(text) > MOST_BYTES:
        raise DataError(f"{source} has more than {MOST_BYTES >> 20} MiB, which is too large for a snapshot")
    marks = (b"[", b"{", b",") if isinstance(text, bytes) else ("[", "{", ",")
    if sum(map(text.count, marks)) > _MOST_VALUES:  # type: ignore[arg-type]  # marks are of the same kind
        raise DataError(f"{source} has more than {_MOST_VALUES} values, which is too many for a snapshot")
    return text


def _snapshot(document: Fields) -> Snapshot:
    name = document.required("partitioner", str)
    nodes = read_nodes(document)
    views = tuple(map(_read_whole_view, document.objects("views")))
    _distinct((view.observer for view in views), "two views have the same observer")
    views, problems = _without_ghosts(nodes, views)
    # Without rings no node has reported a partitioner, and there are no tokens to compare.
    space = partitioner(name) if document.values.get("rings") else None
    rings = tuple(_read_ring(ring, len(nodes), space) for ring in document.objects("rings") if space)
    _distinct((keyspace for ring in rings for keyspace in ring.keyspaces), "a keyspace is in two rings")
    return Snapshot(
        cluster=document.required("cluster", str),
        taken_at=document.required("taken_at", str),
        partitioner=name.rpartition(".")[2],
        nodes=nodes,
        views=views,
        rings=rings,
        authenticates=document.optional("authenticates", bool),
        auth_read_level=document.optional("auth_read_level", str),
        problems=(*_read_problems(document), *problems),
        schemas=tuple(_read_schemas(document)),
    )


def _distinct(names: Iterable[str], error: str) -> None:
    listed = list(names)
    if len(set(listed)) < len(listed):
        raise DataError(error)


def _read_problems(document: Fields) -> Iterator[Problem]:
    for problem in document.objects("problems", optional=True):
        code, subject, summary = problem.texts("code", "subject", "summary")
        yield Problem(code=code, subject=subject, summary=summary)


def _read_schemas(document: Fields) -> Iterator[SchemaReport]:
    for report in document.objects("schemas", optional=True):
        yield SchemaReport(
            version=report.optional("version", str),
            nodes=tuple(sorted(report.addresses("nodes"))),
            asked=None if report.values.get("asked") is None else report.address("asked"),
            reason=report.optional("reason", str),
            of_ring=bool(report.optional("of_ring", bool)),
            keyspaces=tuple(map(_read_keyspace, report.objects("keyspaces"))),
        )


def _read_keyspace(keyspace: Fields) -> KeyspaceReport:
    text = keyspace.optional("replication", str)
    try:
        replication = str(Replication.parse(text)) if text else None
    except RingError as error:
        raise DataError(f"{keyspace.path}: {error}") from None
    return KeyspaceReport(
        name=keyspace.required("name", str),
        replication=replication,
        same_ranges=keyspace.optional("same_ranges", bool),
    )


def read_nodes(document: Fields) -> tuple[Node, ...]:
    """The nodes of a snapshot or verdict.

    Raises:
        DataError: if one is not valid, or two have the same address.
    """
    nodes = tuple(map(_read_node, document.objects("nodes")))
    _distinct((node.address for node in nodes), "two nodes have the same address")
    return nodes


def _read_node(node: Fields) -> Node:
    return Node(
        address=node.address("address"),
        endpoint=None if node.values.get("endpoint") is None else node.address("endpoint"),
        host_id=node.optional("host_id", str),
        datacenter=node.optional("datacenter", str) or None,
        rack=node.optional("rack", str) or None,
        release_version=node.optional("release_version", str),
        paxos_variant=node.optional("paxos_variant", str),
        auth_read_level=node.optional("auth_read_level", str),
        mode=node.optional("mode", str),
        gossip_running=node.optional("gossip_running", bool),
        native_transport_running=node.optional("native_transport_running", bool),
        generation=node.optional("generation", int),
        source="not_asked" if node.values.get("jolokia") is None else node.choice("jolokia", _SOURCE_STATES),
        tokens=node.optional("tokens", int),
        streams=node.optional("streams", int),
    )


_SOURCE_STATES: tuple[SourceState, ...] = get_args(SourceState)
_OUTCOMES: tuple[ViewOutcome, ...] = get_args(ViewOutcome)


def _read_whole_view(view: Fields) -> View:
    """A view of a snapshot: without one of its lists, an outage or a movement would not be seen."""
    view.require("live", "joining", "leaving", "moving")
    return read_view(view)


def read_view(view: Fields) -> View:
    """A view of a snapshot, or that part of it which a verdict has.

    Raises:
        DataError: if it is not valid.
    """
    return View(
        observer=view.address("observer"),
        outcome=view.choice("outcome", _OUTCOMES),
        reason=view.optional("reason", str),
        live=view.addresses("live"),
        unreachable=None if view.values.get("unreachable") is None else view.addresses("unreachable"),
        joining=view.addresses("joining"),
        leaving=view.addresses("leaving"),
        moving=view.addresses("moving"),
        known_as=_known_as(view),
        schema_version=view.optional("schema_version", str),
        metadata=_read_metadata(view),
    )


def _read_metadata(view: Fields) -> MetadataReport | None:
    values = view.optional("metadata", dict)
    if values is None:
        return None
    metadata = Fields(values, view.at("metadata"))
    return MetadataReport(
        members=metadata.addresses("members"),
        epoch=metadata.optional("epoch", int),
        state=metadata.optional("state", str),
        migrating=metadata.optional("migrating", bool),
        paused=metadata.optional("paused", bool),
        needs_reconfiguration=metadata.optional("needs_reconfiguration", bool),
    )


def _known_as(view: Fields) -> tuple[tuple[str, str], ...]:
    names, path = view.optional("known_as", dict) or {}, view.at("known_as")
    if not all(isinstance(node, str) for node in names.values()):
        raise DataError(f"{path} is not an object of addresses")
    return tuple(sorted((address(endpoint, path), address(node, path)) for endpoint, node in names.items()))


def _read_ring(ring: Fields, nodes: int, space: Partitioner) -> Ring:
    """A ring of a cluster with `nodes` nodes."""
    keyspaces = ring.required("keyspaces", list)
    if not keyspaces or not all(isinstance(name, str) and len(name) <= LONGEST_TEXT for name in keyspaces):
        raise DataError(f"{ring.at('keyspaces')} is not a list of names")
    text = ring.optional("replication", str)
    pending_rows = _rows(ring, "pending", space)
    try:
        replication = Replication.parse(text) if text else None
        pending = [Pending(start, end, replicas) for start, end, replicas in pending_rows]
        return Ring.of(keyspaces, replication, _spans(ring, nodes, space), pending)
    except RingError as error:
        raise DataError(f"{ring.path}: {error}") from None


def _spans(ring: Fields, nodes: int, space: Partitioner) -> Spans:
    """The natural ranges of a ring."""
    spans = _in_columns(ring.required("ranges", list), nodes, space)
    return spans or Spans.of(_rows(ring, "ranges", space), nodes)


def _in_columns(rows: list[Any], nodes: int, space: Partitioner) -> Spans | None:
    """The ranges of a document, read column by column: a large ring has hundreds of thousands of rows.

    None if a row is wrong (`_rows` then raises the error that names it), or if the numbers of replicas differ.
    """
    try:
        if set(map(list.__len__, rows)) != {3}:
            return None
        starts, ends, replicas = (list(map(itemgetter(column), rows)) for column in range(3))
        longest = max(map(str.__len__, chain(starts, ends)))
        table = list(chain.from_iterable(replicas))
        if longest > _TOKEN or len(set(map(list.__len__, replicas))) > 1 or not set(map(type, table)) <= {int}:
            return None
        tokens = list(map(int, starts)), list(map(int, ends))
        if not all(space.admits(bound(column)) for column in tokens for bound in (min, max)):
            return None
        return Spans.of_columns(*tokens, table, nodes)
    except (TypeError, ValueError, RingError):
        return None


def _rows(ring: Fields, name: str, space: Partitioner) -> Iterator[Row]:
    for index, row in enumerate(ring.required(name, list)):
        if not isinstance(row, list) or len(row) != 3 or not isinstance(row[2], list):  # noqa: PLR2004 - its form
            raise DataError(f"{ring.at(name)}[{index}] is not [start, end, [node index, ...]]")
        if not all(type(node) is int and node >= 0 for node in row[2]):
            raise DataError(f"{ring.at(name)}[{index}] has an invalid node index")
        yield _token(row[0], ring.path, space), _token(row[1], ring.path, space), tuple(row[2])


def _token(text: object, path: str, space: Partitioner) -> int:
    try:
        token = int(text) if isinstance(text, str) and len(text) <= _TOKEN else None
    except ValueError:
        token = None
    if token is None or not space.admits(token):
        raise DataError(f"{path} has a token {shown(text)} that {space.name} does not have")
    return token


def _without_ghosts(nodes: tuple[Node, ...], views: tuple[View, ...]) -> tuple[tuple[View, ...], tuple[Problem, ...]]:
    """The views of a snapshot that was recorded without ports, and the problems that follow from the lack of ports.

    Nodes of 4.0 and newer report ports, which such a snapshot lacks. If one of their views lists an address as live and
    as unreachable, it is that of a live node and of another instance that has left: which is which is not known any
    more, and the address is taken for live.
    """
    index = {node.address: node for node in nodes}
    doubted: dict[str, None] = {}
    kept = []
    for view in views:
        node = index.get(view.observer)
        both = view.live & (view.unreachable or frozenset())
        if node and node.endpoint is None and release(node.release_version) >= (4, 0) and both:
            doubted.update(dict.fromkeys(sorted(both)))
            view = replace(view, unreachable=(view.unreachable or frozenset()) - both)  # noqa: PLW2901 - the same view
        kept.append(view)
    text = "is listed as live and as unreachable, and the snapshot was recorded without ports: taken for live"
    return tuple(kept), tuple(Problem("contradictory_view", name, f"{name} {text}") for name in doubted)
