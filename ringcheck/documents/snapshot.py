"""Snapshots as `ringcheck/snapshot/1` documents, written and read back.

Tokens are decimal text, since JSON numbers lose 64 bits. Fields may be added within a version; readers ignore unknown
ones.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ringcheck.core.consistency import release
from ringcheck.core.evidence import evidence_of
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
from ringcheck.documents.fields import (
    Json,
    address,
    addresses,
    objects,
    one_of,
    optional,
    parse_document,
    required,
    token_texts,
)
from ringcheck.errors import DataError, RingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.ring import Partitioner

SNAPSHOT = "ringcheck/snapshot/1"

_NODE_KEYS = {"source": "jolokia"}  # keys that differ from the fields of `Node`: the document's have been published

_ROWS = 4096  # ranges that are written at a time


def snapshot_document(snapshot: Snapshot) -> Json:
    """A snapshot as `ringcheck/snapshot/1`.

    The lists of views have the addresses of the snapshot's nodes; endpoints that are no node's stand as they were said.
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
        "problems": [{"code": one.code, "subject": one.subject, "summary": one.summary} for one in snapshot.problems],
    }


def snapshot_parts(snapshot: Snapshot) -> Iterator[str]:
    """The same as JSON in pieces: as a whole that of 1,024 nodes has 70 MB, beside the objects that it is made of."""
    head = snapshot_document(replace(snapshot, rings=()))
    del head["rings"]
    yield json.dumps(head)[:-1] + ', "rings": ['
    for place, ring in enumerate(snapshot.rings):
        yield ", " if place else ""
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
    """A node as it stands in snapshots and verdicts."""
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
    }


def _ring(ring: Ring) -> Json:
    return {**_head(ring), "ranges": [_row(ring, index) for index in range(len(ring))]}


def _head(ring: Ring) -> Json:
    """A ring without its ranges."""
    return {
        "keyspaces": list(ring.keyspaces),
        "replication": str(ring.replication) if ring.replication else None,
        "pending": [[*token_texts((one.start, one.end)), list(one.replicas)] for one in ring.pending],
    }


def _row(ring: Ring, index: int) -> list[Any]:
    return [*token_texts(ring.range(index)), list(ring.replicas(index))]


def read_snapshot(text: str | bytes, source: str) -> Snapshot:
    """A snapshot from its document.

    Args:
        text: JSON.
        source: where it came from, for errors.

    Raises:
        DataError: with one line that begins with the source and says where the document is wrong.
    """
    document = parse_document(text, source, SNAPSHOT)
    try:
        return SnapshotReader(document).snapshot()
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


class SnapshotReader:
    """Takes a document apart; every error names the place."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.space: Partitioner

    def snapshot(self) -> Snapshot:
        """The snapshot."""
        document = self.document
        name = required(document, "partitioner", str, "")
        if document.get("rings"):  # else nobody has said it, and there are no tokens to compare
            self.space = partitioner(name)
        nodes = tuple(self.node(one, f"nodes[{at}]") for at, one in objects(document, "nodes", ""))
        known = [node.address for node in nodes]
        if len(set(known)) < len(known):
            raise DataError("two nodes have one address")
        views = tuple(self.view(one, f"views[{at}]") for at, one in objects(document, "views", ""))
        if len({view.observer for view in views}) < len(views):
            raise DataError("two views have one observer")
        views, without_ports = _without_ghosts(nodes, views)
        rings = [self.ring(one, f"rings[{at}]", len(nodes)) for at, one in objects(document, "rings", "")]
        names = [name for ring in rings for name in ring.keyspaces]
        if len(set(names)) < len(names):
            raise DataError("a keyspace stands in two rings")
        return Snapshot(
            cluster=required(document, "cluster", str, ""),
            taken_at=required(document, "taken_at", str, ""),
            partitioner=name.rpartition(".")[2],
            nodes=nodes,
            views=views,
            rings=tuple(rings),
            authenticates=optional(document, "authenticates", bool, ""),
            auth_read_level=optional(document, "auth_read_level", str, ""),
            problems=tuple(
                Problem(*(required(one, field, str, f"problems[{at}]") for field in ("code", "subject", "summary")))
                for at, one in objects(document, "problems", "", optional=True)
            )
            + without_ports,
        )

    def node(self, one: Json, where: str) -> Node:
        """One of its nodes."""
        states: Iterable[SourceState] = ("ok", "unreachable", "denied", "error", "not_asked")
        return Node(
            address=address(required(one, "address", str, where), where),
            endpoint=_endpoint(one, where),
            host_id=optional(one, "host_id", str, where),
            datacenter=optional(one, "datacenter", str, where) or None,
            rack=optional(one, "rack", str, where) or None,
            release_version=optional(one, "release_version", str, where),
            mode=optional(one, "mode", str, where),
            gossip_running=optional(one, "gossip_running", bool, where),
            native_transport_running=optional(one, "native_transport_running", bool, where),
            generation=optional(one, "generation", int, where),
            source=one_of(one, "jolokia", states, where) if one.get("jolokia") is not None else "not_asked",
            tokens=optional(one, "tokens", int, where),
            streams=optional(one, "streams", int, where),
        )

    def view(self, one: Json, where: str) -> View:
        """One of its views."""
        outcomes: Iterable[ViewOutcome] = ("ok", "discarded", "unreachable")
        unreachable = None if one.get("unreachable") is None else addresses(one, "unreachable", where)
        return View(
            observer=address(required(one, "observer", str, where), where),
            outcome=one_of(one, "outcome", outcomes, where),
            reason=optional(one, "reason", str, where),
            live=addresses(one, "live", where),
            unreachable=unreachable,
            joining=addresses(one, "joining", where),
            leaving=addresses(one, "leaving", where),
            moving=addresses(one, "moving", where),
            known_as=_known_as(one, where),
            schema_version=optional(one, "schema_version", str, where),
        )

    def ring(self, one: Json, where: str, nodes: int) -> Ring:
        """One of its rings; `nodes` is how many nodes there are."""
        keyspaces = required(one, "keyspaces", list, where)
        if not keyspaces or not all(isinstance(name, str) for name in keyspaces):
            raise DataError(f"{where}.keyspaces is not a list of names")
        text = optional(one, "replication", str, where)
        try:
            replication = Replication.parse(text) if text else None
            pending = [Pending(*row) for row in self.spans(one, "pending", where, optional=True)]
            return Ring.build(keyspaces, replication, self.spans(one, "ranges", where), nodes, pending)
        except RingError as error:
            raise DataError(f"{where}: {error}") from None

    def spans(
        self, one: Json, field: str, where: str, *, optional: bool = False
    ) -> Iterable[tuple[int, int, tuple[int, ...]]]:
        """Rows of start, end and node indexes."""
        for at, row in enumerate(required(one, field, list, where) if field in one or not optional else ()):
            if not isinstance(row, list) or len(row) != 3 or not isinstance(row[2], list):  # noqa: PLR2004 - its form
                raise DataError(f"{where}.{field}[{at}] is not [start, end, [node index, ...]]")
            if not all(type(index) is int and index >= 0 for index in row[2]):
                raise DataError(f"{where}.{field}[{at}] has node indexes that are none")
            yield self.token(row[0], where), self.token(row[1], where), tuple(row[2])

    def token(self, text: object, where: str) -> int:
        """A token from decimal text."""
        try:
            token = int(text) if isinstance(text, str) else None
        except ValueError:
            token = None
        if token is None or not self.space.admits(token):
            raise DataError(f"{where} has a token {text!r} that {self.space.name} does not have")
        return token


def _without_ghosts(nodes: tuple[Node, ...], views: tuple[View, ...]) -> tuple[tuple[View, ...], tuple[Problem, ...]]:
    """Views of a snapshot that was recorded without ports, and what is not known for lack of them.

    A node of 4.0 or newer told ports, which such a snapshot has dropped. There an address in both lists of a view is
    that of a live node and of another instance that has left; which of them is a node can't be told any more.
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
    return tuple(kept), tuple(Problem("contradictory_view", one, f"{one} {text}") for one in doubted)


def _endpoint(one: Json, where: str) -> str | None:
    text = optional(one, "endpoint", str, where)
    return None if text is None else address(text, f"{where}.endpoint")


def _known_as(one: Json, where: str) -> tuple[tuple[str, str], ...]:
    found = optional(one, "known_as", dict, where) or {}
    place = f"{where}.known_as"
    if not all(isinstance(node, str) for node in found.values()):
        raise DataError(f"{place} is not an object of addresses")
    return tuple(sorted((address(endpoint, place), address(node, place)) for endpoint, node in found.items()))
