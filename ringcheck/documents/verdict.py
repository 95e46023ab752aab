"""Verdicts as `ringcheck/verdict/1` documents, written and read back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.consistency import Level, Requirement
from ringcheck.core.evidence import evidence_of
from ringcheck.core.findings import Finding
from ringcheck.core.health import LevelHealth, OperationHealth, WorstRange
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Severity
from ringcheck.core.ring import (
    Snapshot,
    View,
)
from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Recovery, Verdict
from ringcheck.documents.fields import Json, addresses, objects, one_of, optional, parse_document, required, token_texts
from ringcheck.documents.snapshot import SnapshotReader, node_document
from ringcheck.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.core.evidence import Evidence, State

VERDICT = "ringcheck/verdict/1"


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
            {**node_document(node), "state": state, "seen_down_by": list(verdict.seen_down_by.get(index, ()))}
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
        document["unavailable_ranges"] = {name: [token_texts(span) for span in found] for name, found in spans}
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


def read_verdict(text: str | bytes, source: str) -> Verdict:
    """A verdict from its document: what every rendering of it shows, without the rings that it was made from.

    Args:
        text: JSON.
        source: where it came from, for errors.

    Raises:
        DataError: as read_snapshot; also where the document contradicts itself.
    """
    document = parse_document(text, source, VERDICT)
    try:
        return _VerdictReader(document).verdict()
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{source} has not the form of {VERDICT}: {error}") from None


class _VerdictReader(SnapshotReader):
    """Takes a verdict apart."""

    def verdict(self) -> Verdict:
        document = self.document
        if "supposed" in document:
            raise DataError("it is the verdict of a supposition, not of what was seen")
        rows = list(objects(document, "nodes", ""))
        nodes = tuple(self.node(one, f"nodes[{at}]") for at, one in rows)
        self.index: dict[str, int] = {node.address: place for place, node in enumerate(nodes)}
        if len(self.index) < len(nodes):
            raise DataError("two nodes have one address")
        views = tuple(self.judged_view(one, f"views[{at}]") for at, one in objects(document, "views", ""))
        seen = Snapshot(
            cluster=required(document, "cluster", str, ""),
            taken_at=required(document, "taken_at", str, ""),
            partitioner="",
            nodes=nodes,
            views=views,
            rings=(),
        )
        states: Iterable[State] = ("up", "down", "unknown")
        found = Verdict(
            snapshot=seen,
            severity=self.severity(document, ""),
            summary=required(document, "summary", str, ""),
            states=tuple(one_of(one, "state", states, f"nodes[{at}]") for at, one in rows),
            seen_down_by={
                at: tuple(required(one, "seen_down_by", list, "")) for at, one in rows if one["seen_down_by"]
            },
            views=views,
            keyspaces=tuple(self.keyspace(one, f"keyspaces[{at}]") for at, one in objects(document, "keyspaces", "")),
            findings=tuple(self.finding(one, f"findings[{at}]") for at, one in objects(document, "findings", "")),
            recover_first=tuple(
                Recovery(self.place(required(one, "node", str, "recover_first")), float(one.get("restores_share") or 0))
                for _, one in objects(document, "recover_first", "")
            ),
            holders=self.holders(),
        )
        told = [one.severity for one in found.findings] + [one.severity for one in found.keyspaces]
        worst = max(told, default=Severity.OK)
        if found.severity < worst or (found.severity is Severity.OK and not (nodes and found.keyspaces)):
            raise DataError(f"it says {found.severity.name}, but what it says of keyspaces and findings is worse")
        return found

    def severity(self, one: Json, where: str) -> Severity:
        return Severity[one_of(one, "severity", Severity.__members__, where)]

    def place(self, text: object) -> int:
        if not isinstance(text, str) or text not in self.index:
            raise DataError(f"{text!r} is none of its nodes")
        return self.index[text]

    def judged_view(self, one: Json, where: str) -> View:
        seen = self.view(one, where)
        return replace(seen, live=frozenset(self.index) - addresses(one, "not_live", where))

    def holders(self) -> tuple[Holder, ...] | None:
        if self.document.get("holders", ()) is None:
            return None
        names = ("node", "owner", "purpose", "since")
        rows = objects(self.document, "holders", "", optional=True)
        return tuple(Holder(**{name: required(one, name, str, f"holders[{at}]") for name in names}) for at, one in rows)

    def finding(self, one: Json, where: str) -> Finding:
        subject, summary, detail = (required(one, name, str, where) for name in ("subject", "summary", "detail"))
        return Finding(
            code=required(one, "code", str, where),
            severity=self.severity(one, where),
            subject=subject,
            summary=summary,
            detail=detail,
        )

    def keyspace(self, one: Json, where: str) -> KeyspaceVerdict:
        ranges = required(one, "ranges", int, where)
        rows = objects(one, "levels", where)
        levels = tuple(self.level(level, ranges, f"{where}.levels[{at}]") for at, level in rows)
        return KeyspaceVerdict(
            name=required(one, "name", str, where),
            replication=optional(one, "replication", str, where),
            ranges=ranges,
            levels=levels,
        )

    def level(self, one: Json, ranges: int, where: str) -> LevelVerdict:
        level = Level[one_of(one, "level", Level.__members__, where)]
        spans = optional(one, "unavailable_ranges", dict, where)
        return LevelVerdict(
            level=level,
            datacenter=optional(one, "datacenter", str, where),
            severity=self.severity(one, where) if one.get("severity") is not None else None,
            health=self.health(one, level, ranges, where) if one.get("unavailable") is not None else None,
            worst_view=optional(one, "worst_view", str, where),
            unavailable_ranges=spans and {name: [(int(a), int(b)) for a, b in rows] for name, rows in spans.items()},
        )

    def health(self, one: Json, level: Level, ranges: int, where: str) -> LevelHealth:
        share = one.get("unavailable_share")
        if not isinstance(share, int | float):
            raise DataError(f"{where}.unavailable_share is no number")
        return LevelHealth(
            level=level,
            datacenter=optional(one, "datacenter", str, where),
            required=tuple(
                Requirement(required(each, "replicas", int, where), optional(each, "datacenter", str, where))
                for _, each in objects(one, "required", where)
            ),
            ranges=ranges,
            unavailable=required(one, "unavailable", int, where),
            unavailable_share=share,
            at_minimum=required(one, "at_minimum", int, where),
            structurally_unavailable=required(one, "structurally_unavailable", int, where),
            outage_share=share,  # the document has no other; judging needs it, rendering does not
            node_failures_to_outage=optional(one, "node_failures_to_outage", int, where),
            rack_failures_to_outage=optional(one, "rack_failures_to_outage", int, where),
            by_operation={
                name: OperationHealth(*(required(each, field, int, where) for field in ("unavailable", "at_minimum")))
                for name, each in required(one, "by_operation", dict, where).items()
            },
            worst_range=self.worst(optional(one, "worst_range", dict, where), where),
        )

    def worst(self, one: Json | None, where: str) -> WorstRange | None:
        if one is None:
            return None
        held, live = (tuple(map(self.place, required(one, field, list, where))) for field in ("replicas", "live"))
        return WorstRange(
            start=int(required(one, "start", str, where)),
            end=int(required(one, "end", str, where)),
            replicas=held,
            live=live,
        )
