"""Snapshots, verdicts, decisions and plans as JSON documents, `ringcheck/snapshot/1` and so on; two are read back.

Tokens are decimal text, since JSON numbers lose 64 bits. Fields may be added within a version; readers must bear
unknown ones, as this one does. The JSON Schemas stand in `schemas/`.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, cast

from ringcheck.core.consistency import Level, Requirement, release
from ringcheck.core.evidence import evidence_of
from ringcheck.core.findings import Finding
from ringcheck.core.health import LevelHealth, OperationHealth, WorstRange
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Severity
from ringcheck.core.ring import (
    JolokiaState,
    Node,
    Pending,
    Problem,
    Replication,
    Ring,
    Snapshot,
    View,
    ViewOutcome,
    partitioner,
)
from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Recovery, Verdict
from ringcheck.errors import DataError, RingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ringcheck.core.evidence import Evidence, State
    from ringcheck.core.gate import Decision
    from ringcheck.core.plan import Plan
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Partitioner, Range

SNAPSHOT = "ringcheck/snapshot/1"
VERDICT = "ringcheck/verdict/1"
DECISION = "ringcheck/decision/1"
PLAN = "ringcheck/plan/1"

Json = dict[str, Any]

_ROWS = 4096  # ranges that are written at a time


# Writing


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
        "nodes": [_node(node) for node in snapshot.nodes],
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


def _node(node: Node) -> Json:
    return {field.name: getattr(node, field.name) for field in fields(Node)}


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
        "pending": [[*_tokens((one.start, one.end)), list(one.replicas)] for one in ring.pending],
    }


def _row(ring: Ring, index: int) -> list[Any]:
    return [*_tokens(ring.range(index)), list(ring.replicas(index))]


def _tokens(span: Range) -> list[str]:
    return [str(span[0]), str(span[1])]


def verdict_document(verdict: Verdict) -> Json:
    """A verdict as `ringcheck/verdict/1`."""
    addresses = [node.address for node in verdict.snapshot.nodes]
    evidence = evidence_of(verdict.snapshot)
    return {
        "schema": VERDICT,
        "cluster": verdict.snapshot.cluster,
        "taken_at": verdict.snapshot.taken_at,
        "severity": verdict.severity.name,
        "summary": verdict.summary,
        "nodes": [
            {**_node(node), "state": state, "seen_down_by": list(verdict.seen_down_by.get(index, ()))}
            for index, (node, state) in enumerate(zip(verdict.snapshot.nodes, verdict.states, strict=True))
        ],
        "views": [_judged_view(view, evidence) for view in verdict.views],
        "keyspaces": [_keyspace(one, addresses) for one in verdict.keyspaces],
        "findings": [
            {
                "code": one.code,
                "severity": one.severity.name,
                "subject": one.subject,
                "summary": one.summary,
                "detail": one.detail,
            }
            for one in verdict.findings
        ],
        "recover_first": [
            {"node": addresses[one.node], "restores_share": one.restores_share} for one in verdict.recover_first
        ],
        "holders": None if verdict.holders is None else [_holder(one) for one in verdict.holders],
    }


def _holder(one: Holder) -> Json:
    return {"node": one.node, "owner": one.owner, "purpose": one.purpose, "since": one.since}


def _judged_view(view: View, evidence: Evidence) -> Json:
    """A view without the nodes that it sees live: with 1,024 nodes these lists are all that there would be to read."""
    return {
        "observer": view.observer,
        "outcome": view.outcome,
        "reason": view.reason,
        "not_live": evidence.names(evidence.down(view)) if view.outcome == "ok" else None,
        "schema_version": view.schema_version,
    }


def _keyspace(keyspace: KeyspaceVerdict, addresses: list[str]) -> Json:
    return {
        "name": keyspace.name,
        "replication": keyspace.replication,
        "ranges": keyspace.ranges,
        "levels": [_level(one, addresses) for one in keyspace.levels],
    }


def _level(level: LevelVerdict, addresses: list[str]) -> Json:
    document: Json = {
        "level": level.level.value,
        "datacenter": level.datacenter,
        "severity": level.severity.name if level.severity else None,
        **_numbers(level.health, addresses),
        "worst_view": level.worst_view,
    }
    if level.unavailable_ranges is not None:
        spans = level.unavailable_ranges.items()
        document["unavailable_ranges"] = {name: [_tokens(span) for span in found] for name, found in spans}
    return document


_COUNTS = (
    "unavailable",
    "unavailable_share",
    "at_minimum",
    "node_failures_to_outage",
    "rack_failures_to_outage",
    "structurally_unavailable",
)


def _numbers(health: LevelHealth | None, addresses: list[str]) -> Json:
    """The numbers of a level; null where they can't be known."""
    if health is None:
        return {"required": None, **dict.fromkeys(_COUNTS), "by_operation": None, "worst_range": None}
    return {
        "required": [_requirement(one) for one in health.required],
        **{name: getattr(health, name) for name in _COUNTS},
        "by_operation": {
            name: {"unavailable": one.unavailable, "at_minimum": one.at_minimum}
            for name, one in health.by_operation.items()
        },
        "worst_range": _worst(health.worst_range, addresses),
    }


def _requirement(one: Requirement) -> Json:
    return {"replicas": one.replicas, "datacenter": one.datacenter}


def _worst(one: WorstRange | None, addresses: list[str]) -> Json | None:
    if one is None:
        return None
    return {
        "start": str(one.start),
        "end": str(one.end),
        "replicas": [addresses[node] for node in one.replicas],
        "live": [addresses[node] for node in one.live],
    }


def decision_document(decision: Decision) -> Json:
    """A decision of the gate as `ringcheck/decision/1`."""
    return {
        "schema": DECISION,
        "cluster": decision.snapshot.cluster,
        "taken_at": decision.snapshot.taken_at,
        "decision": decision.decision,
        "action": decision.action,
        "candidates": list(decision.candidates),
        "holders": list(decision.holders),
        "left_out": list(decision.left_out),
        "allowed": list(decision.allowed),
        "reasons": [_reason(one) for one in decision.reasons],
        "checked": {
            "keyspaces": decision.checked.keyspaces,
            "ranges": decision.checked.ranges,
            "views": decision.checked.views,
            "levels": [level.value for level in decision.checked.levels],
        },
    }


def _reason(one: Reason) -> Json:
    document: Json = {name: getattr(one, name) for name in _REASON}
    document["keyspaces"] = list(one.keyspaces)
    document["level"] = one.level.value if one.level else None
    document["example"] = None
    if one.example:
        start, end = _tokens((one.example.start, one.example.end))
        held = {"replicas": list(one.example.replicas), "live": list(one.example.live)}
        document["example"] = {"start": start, "end": end, **held}
    return document


_REASON = ("code", "blocks", "subject", "keyspace", "datacenter", "ranges", "share", "summary", "lifts_when")


def plan_document(plan: Plan) -> Json:
    """A restart plan as `ringcheck/plan/1`."""
    return {
        "schema": PLAN,
        "cluster": plan.snapshot.cluster,
        "taken_at": plan.snapshot.taken_at,
        "batches": [list(batch) for batch in plan.batches],
        "refused": [{"node": one.node, "reasons": [_reason(reason) for reason in one.reasons]} for one in plan.refused],
        "rule": plan.rule,
        "notes": [_reason(one) for one in plan.notes],
    }


# Reading


def read_snapshot(text: str | bytes, source: str) -> Snapshot:
    """A snapshot from its document.

    Args:
        text: JSON.
        source: where it came from, for errors.

    Raises:
        DataError: with one line that begins with the source and says where the document is wrong.
    """
    document = _document(text, source, SNAPSHOT)
    try:
        return _Reader(document).snapshot()
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _document(text: str | bytes, source: str, schema: str) -> Json:
    """The JSON document of a schema."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is no JSON document: {error}") from None
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise DataError(f"{source} has schema {found!r}; this release reads {schema!r}")
    return cast("Json", document)


class _Reader:
    """Takes a document apart; every error names the place."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.space: Partitioner

    def snapshot(self) -> Snapshot:
        document = self.document
        name = _get(document, "partitioner", str, "")
        if document.get("rings"):  # else nobody has said it, and there are no tokens to compare
            self.space = partitioner(name)
        nodes = tuple(self.node(one, f"nodes[{at}]") for at, one in _each(document, "nodes", ""))
        known = [node.address for node in nodes]
        if len(set(known)) < len(known):
            raise DataError("two nodes have one address")
        views = tuple(self.view(one, f"views[{at}]") for at, one in _each(document, "views", ""))
        if len({view.observer for view in views}) < len(views):
            raise DataError("two views have one observer")
        views, without_ports = _without_ghosts(nodes, views)
        rings = [self.ring(one, f"rings[{at}]", len(nodes)) for at, one in _each(document, "rings", "")]
        names = [name for ring in rings for name in ring.keyspaces]
        if len(set(names)) < len(names):
            raise DataError("a keyspace stands in two rings")
        return Snapshot(
            cluster=_get(document, "cluster", str, ""),
            taken_at=_get(document, "taken_at", str, ""),
            partitioner=name.rpartition(".")[2],
            nodes=nodes,
            views=views,
            rings=tuple(rings),
            authenticates=_optional(document, "authenticates", bool, ""),
            auth_read_level=_optional(document, "auth_read_level", str, ""),
            problems=tuple(
                Problem(*(_get(one, field, str, f"problems[{at}]") for field in ("code", "subject", "summary")))
                for at, one in _each(document, "problems", "", optional=True)
            )
            + without_ports,
        )

    def node(self, one: Json, where: str) -> Node:
        states: Iterable[JolokiaState] = ("ok", "unreachable", "denied", "error", "not_asked")
        return Node(
            address=address(_get(one, "address", str, where), where),
            endpoint=_endpoint(one, where),
            host_id=_optional(one, "host_id", str, where),
            datacenter=_optional(one, "datacenter", str, where) or None,
            rack=_optional(one, "rack", str, where) or None,
            release_version=_optional(one, "release_version", str, where),
            mode=_optional(one, "mode", str, where),
            gossip_running=_optional(one, "gossip_running", bool, where),
            native_transport_running=_optional(one, "native_transport_running", bool, where),
            generation=_optional(one, "generation", int, where),
            jolokia=_one_of(one, "jolokia", states, where) if one.get("jolokia") is not None else "not_asked",
            tokens=_optional(one, "tokens", int, where),
            streams=_optional(one, "streams", int, where),
        )

    def view(self, one: Json, where: str) -> View:
        outcomes: Iterable[ViewOutcome] = ("ok", "discarded", "unreachable")
        unreachable = None if one.get("unreachable") is None else _addresses(one, "unreachable", where)
        return View(
            observer=address(_get(one, "observer", str, where), where),
            outcome=_one_of(one, "outcome", outcomes, where),
            reason=_optional(one, "reason", str, where),
            live=_addresses(one, "live", where),
            unreachable=unreachable,
            joining=_addresses(one, "joining", where),
            leaving=_addresses(one, "leaving", where),
            moving=_addresses(one, "moving", where),
            known_as=_known_as(one, where),
            schema_version=_optional(one, "schema_version", str, where),
        )

    def ring(self, one: Json, where: str, nodes: int) -> Ring:
        keyspaces = _get(one, "keyspaces", list, where)
        if not keyspaces or not all(isinstance(name, str) for name in keyspaces):
            raise DataError(f"{where}.keyspaces is not a list of names")
        text = _optional(one, "replication", str, where)
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
        for at, row in enumerate(_get(one, field, list, where) if field in one or not optional else ()):
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


def read_verdict(text: str | bytes, source: str) -> Verdict:
    """A verdict from its document: what every rendering of it shows, without the rings that it was made from.

    Args:
        text: JSON.
        source: where it came from, for errors.

    Raises:
        DataError: as read_snapshot; also where the document contradicts itself.
    """
    document = _document(text, source, VERDICT)
    try:
        return _VerdictReader(document).verdict()
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{source} has not the form of {VERDICT}: {error}") from None


class _VerdictReader(_Reader):
    """Takes a verdict apart."""

    def verdict(self) -> Verdict:
        document = self.document
        if "supposed" in document:
            raise DataError("it is the verdict of a supposition, not of what was seen")
        rows = list(_each(document, "nodes", ""))
        nodes = tuple(self.node(one, f"nodes[{at}]") for at, one in rows)
        self.index: dict[str, int] = {node.address: place for place, node in enumerate(nodes)}
        if len(self.index) < len(nodes):
            raise DataError("two nodes have one address")
        views = tuple(self.judged_view(one, f"views[{at}]") for at, one in _each(document, "views", ""))
        seen = Snapshot(_get(document, "cluster", str, ""), _get(document, "taken_at", str, ""), "", nodes, views, ())
        states: Iterable[State] = ("up", "down", "unknown")
        found = Verdict(
            snapshot=seen,
            severity=self.severity(document, ""),
            summary=_get(document, "summary", str, ""),
            states=tuple(_one_of(one, "state", states, f"nodes[{at}]") for at, one in rows),
            seen_down_by={at: tuple(_get(one, "seen_down_by", list, "")) for at, one in rows if one["seen_down_by"]},
            views=views,
            keyspaces=tuple(self.keyspace(one, f"keyspaces[{at}]") for at, one in _each(document, "keyspaces", "")),
            findings=tuple(self.finding(one, f"findings[{at}]") for at, one in _each(document, "findings", "")),
            recover_first=tuple(
                Recovery(self.place(_get(one, "node", str, "recover_first")), float(one.get("restores_share") or 0))
                for _, one in _each(document, "recover_first", "")
            ),
            holders=self.holders(),
        )
        told = [one.severity for one in found.findings] + [one.severity for one in found.keyspaces]
        worst = max(told, default=Severity.OK)
        if found.severity < worst or (found.severity is Severity.OK and not (nodes and found.keyspaces)):
            raise DataError(f"it says {found.severity.name}, but what it says of keyspaces and findings is worse")
        return found

    def severity(self, one: Json, where: str) -> Severity:
        return Severity[_one_of(one, "severity", Severity.__members__, where)]

    def place(self, text: object) -> int:
        if not isinstance(text, str) or text not in self.index:
            raise DataError(f"{text!r} is none of its nodes")
        return self.index[text]

    def judged_view(self, one: Json, where: str) -> View:
        seen = self.view(one, where)
        return replace(seen, live=frozenset(self.index) - _addresses(one, "not_live", where))

    def holders(self) -> tuple[Holder, ...] | None:
        if self.document.get("holders", ()) is None:
            return None
        names = ("node", "owner", "purpose", "since")
        rows = _each(self.document, "holders", "", optional=True)
        return tuple(Holder(*(_get(one, name, str, f"holders[{at}]") for name in names)) for at, one in rows)

    def finding(self, one: Json, where: str) -> Finding:
        subject, summary, detail = (_get(one, name, str, where) for name in ("subject", "summary", "detail"))
        return Finding(_get(one, "code", str, where), self.severity(one, where), subject, summary, detail)

    def keyspace(self, one: Json, where: str) -> KeyspaceVerdict:
        ranges = _get(one, "ranges", int, where)
        rows = _each(one, "levels", where)
        levels = tuple(self.level(level, ranges, f"{where}.levels[{at}]") for at, level in rows)
        return KeyspaceVerdict(
            _get(one, "name", str, where), _optional(one, "replication", str, where), ranges, levels
        )  # fmt: skip

    def level(self, one: Json, ranges: int, where: str) -> LevelVerdict:
        level = Level[_one_of(one, "level", Level.__members__, where)]
        spans = _optional(one, "unavailable_ranges", dict, where)
        return LevelVerdict(
            level=level,
            datacenter=_optional(one, "datacenter", str, where),
            severity=self.severity(one, where) if one.get("severity") is not None else None,
            health=self.health(one, level, ranges, where) if one.get("unavailable") is not None else None,
            worst_view=_optional(one, "worst_view", str, where),
            unavailable_ranges=spans and {name: [(int(a), int(b)) for a, b in rows] for name, rows in spans.items()},
        )

    def health(self, one: Json, level: Level, ranges: int, where: str) -> LevelHealth:
        share = one.get("unavailable_share")
        if not isinstance(share, int | float):
            raise DataError(f"{where}.unavailable_share is no number")
        return LevelHealth(
            level=level,
            datacenter=_optional(one, "datacenter", str, where),
            required=tuple(
                Requirement(_get(each, "replicas", int, where), _optional(each, "datacenter", str, where))
                for _, each in _each(one, "required", where)
            ),
            ranges=ranges,
            unavailable=_get(one, "unavailable", int, where),
            unavailable_share=share,
            at_minimum=_get(one, "at_minimum", int, where),
            structurally_unavailable=_get(one, "structurally_unavailable", int, where),
            outage_share=share,  # the document has no other; judging needs it, rendering does not
            node_failures_to_outage=_optional(one, "node_failures_to_outage", int, where),
            rack_failures_to_outage=_optional(one, "rack_failures_to_outage", int, where),
            by_operation={
                name: OperationHealth(*(_get(each, field, int, where) for field in ("unavailable", "at_minimum")))
                for name, each in _get(one, "by_operation", dict, where).items()
            },
            worst_range=self.worst(_optional(one, "worst_range", dict, where), where),
        )

    def worst(self, one: Json | None, where: str) -> WorstRange | None:
        if one is None:
            return None
        held, live = (tuple(map(self.place, _get(one, field, list, where))) for field in ("replicas", "live"))
        return WorstRange(int(_get(one, "start", str, where)), int(_get(one, "end", str, where)), held, live)


def address(text: str, where: str = "") -> str:
    """An address, or `ip:port`, in canonical form; host names are none.

    Raises:
        DataError: if it is no address.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        host, _, port = text.rpartition(":")
    try:
        bare = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise DataError(f"{where}: {text!r} is no address") from None
    return f"[{bare}]:{port}" if bare.version == 6 else f"{bare}:{port}"  # noqa: PLR2004 - IPv6


def _get(one: Mapping[str, Any], field: str, kind: type[Any], where: str) -> Any:  # noqa: ANN401 - JSON
    place = f"{where}.{field}".lstrip(".")
    if not isinstance(one, dict) or field not in one:
        raise DataError(f"{place} is missing")
    value = one[field]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(f"{place} is {json.dumps(value)[:40]}, not {_KINDS[kind]}")
    return value


_KINDS = {str: "text", int: "a number", bool: "true or false", list: "a list", dict: "an object"}


def _optional(one: Mapping[str, Any], field: str, kind: type[Any], where: str) -> Any:  # noqa: ANN401 - JSON
    return None if one.get(field) is None else _get(one, field, kind, where)


def _each(one: Json, field: str, where: str, *, optional: bool = False) -> Iterable[tuple[int, Json]]:
    place = f"{where}.{field}".lstrip(".")
    for at, item in enumerate(_get(one, field, list, where) if field in one or not optional else ()):
        if not isinstance(item, dict):
            raise DataError(f"{place}[{at}] is not an object")
        yield at, item


def _addresses(one: Json, field: str, where: str) -> frozenset[str]:
    place = f"{where}.{field}"
    texts = _optional(one, field, list, where) or []
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{place} is not a list of addresses")
    return frozenset(address(text, place) for text in texts)


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
    text = _optional(one, "endpoint", str, where)
    return None if text is None else address(text, f"{where}.endpoint")


def _known_as(one: Json, where: str) -> tuple[tuple[str, str], ...]:
    found = _optional(one, "known_as", dict, where) or {}
    place = f"{where}.known_as"
    if not all(isinstance(node, str) for node in found.values()):
        raise DataError(f"{place} is not an object of addresses")
    return tuple(sorted((address(endpoint, place), address(node, place)) for endpoint, node in found.items()))


def _one_of(one: Json, field: str, values: Iterable[Any], where: str) -> Any:  # noqa: ANN401 - one of the values
    value = _get(one, field, str, where)
    if value not in values:
        raise DataError(f"{where}.{field} is {value!r}, not one of {', '.join(values)}")
    return value
