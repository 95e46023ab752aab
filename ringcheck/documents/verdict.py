"""Verdicts as `ringcheck/verdict/1` documents, written and read back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from ringcheck.core.consistency import OPERATIONS, Level, Requirement
from ringcheck.core.evidence import State, evidence_of
from ringcheck.core.findings import Finding
from ringcheck.core.health import LevelHealth, OperationHealth, WorstRange
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Severity
from ringcheck.core.quorum import Quorum
from ringcheck.core.ring import Snapshot, View
from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Recovery, Verdict
from ringcheck.documents.fields import Fields, parse_document, shown, token_texts
from ringcheck.documents.snapshot import node_document, read_nodes, read_view
from ringcheck.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.consistency import Operation
    from ringcheck.core.evidence import Evidence
    from ringcheck.core.ring import Node
    from ringcheck.documents.fields import Json

VERDICT = "ringcheck/verdict/1"

# Writing


def verdict_document(verdict: Verdict) -> Json:
    """A verdict as `ringcheck/verdict/1`."""
    addresses = [node.address for node in verdict.snapshot.nodes]
    evidence = evidence_of(verdict.snapshot)
    past = verdict.states_since or (None,) * len(addresses)
    return {
        "schema": VERDICT,
        "cluster": verdict.snapshot.cluster,
        "taken_at": verdict.snapshot.taken_at,
        "severity": verdict.severity.name,
        "since": verdict.since,
        "begin_seen": verdict.begin_seen(verdict.since),
        "summary": verdict.summary,
        "nodes": [
            {
                **node_document(node),
                "state": state,
                "since": since,
                "begin_seen": verdict.begin_seen(since),
                "seen_down_by": list(verdict.seen_down_by.get(index, ())),
            }
            for index, (node, state, since) in enumerate(zip(verdict.snapshot.nodes, verdict.states, past, strict=True))
        ],
        "views": [_judged_view(view, evidence) for view in verdict.views],
        "keyspaces": [_keyspace(keyspace, addresses) for keyspace in verdict.keyspaces],
        "findings": [_finding(finding, verdict) for finding in verdict.findings],
        "recover_first": [
            {"node": addresses[recovery.node], "restores_share": recovery.restores_share}
            for recovery in verdict.recover_first
        ],
        "holders": None if verdict.holders is None else [_holder(holder) for holder in verdict.holders],
        "metadata_service": verdict.metadata_quorum and _quorum(verdict.metadata_quorum),
    }


def _quorum(quorum: Quorum) -> Json:
    return {
        "size": quorum.size,
        "required": quorum.required,
        "members": list(quorum.members),
        "live": list(quorum.live),
        "worst_view": quorum.observer,
    }


def _finding(finding: Finding, verdict: Verdict) -> Json:
    return {
        "code": finding.code,
        "severity": finding.severity.name,
        "subject": finding.subject,
        "summary": finding.summary,
        "detail": finding.detail,
        "level": finding.level,
        "datacenter": finding.datacenter,
        "since": finding.since,
        "begin_seen": verdict.begin_seen(finding.since),
    }


def _holder(holder: Holder) -> Json:
    return {"node": holder.node, "owner": holder.owner, "purpose": holder.purpose, "since": holder.since}


def _judged_view(view: View, evidence: Evidence) -> Json:
    """A view with the nodes that are not live: the lists of live nodes would fill the document of a large cluster."""
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
        "levels": [_level(level, addresses) for level in keyspace.levels],
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
        document["unavailable_ranges"] = {
            operation: [token_texts(span) for span in spans] for operation, spans in level.unavailable_ranges.items()
        }
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
    """The numbers of a level; all null if it could not be evaluated."""
    if health is None:
        return {"required": None, **dict.fromkeys(_COUNTS), "by_operation": None, "worst_range": None}
    return {
        "required": [_requirement(requirement) for requirement in health.required],
        **{name: getattr(health, name) for name in _COUNTS},
        "by_operation": {
            operation: {"unavailable": counts.unavailable, "at_minimum": counts.at_minimum}
            for operation, counts in health.by_operation.items()
        },
        "worst_range": _worst(health.worst_range, addresses),
    }


def _requirement(requirement: Requirement) -> Json:
    return {"replicas": requirement.replicas, "datacenter": requirement.datacenter}


def _worst(worst: WorstRange | None, addresses: list[str]) -> Json | None:
    if worst is None:
        return None
    return {
        "start": str(worst.start),
        "end": str(worst.end),
        "replicas": [addresses[node] for node in worst.replicas],
        "live": [addresses[node] for node in worst.live],
    }


# Reading


def read_verdict(text: str | bytes, source: str) -> Verdict:
    """A verdict from its document: all that its renderings show, without the rings from which it was made.

    Args:
        text: JSON.
        source: a file or URL, for errors.

    Raises:
        DataError: in one line that begins with the source, if a field is missing or wrong, or if the document
            contradicts itself.
    """
    document = parse_document(text, source, VERDICT)
    try:
        return _verdict(document)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{source} is not a valid {VERDICT} document: {error}") from None


_STATES: tuple[State, ...] = get_args(State)


def _verdict(document: Fields) -> Verdict:
    if "supposed" in document.values:
        raise DataError("it is the result of `what-if`, not a verdict on the real cluster")
    nodes = read_nodes(document)
    index = {node.address: at for at, node in enumerate(nodes)}
    views = tuple(_read_view(view, frozenset(index)) for view in document.objects("views"))
    rows = list(document.objects("nodes"))
    verdict = Verdict(
        snapshot=_snapshot(document, nodes, views),
        severity=_severity(document),
        summary=document.required("summary", str),
        states=tuple(row.choice("state", _STATES) for row in rows),
        seen_down_by={at: tuple(names) for at, row in enumerate(rows) if (names := row.required("seen_down_by", list))},
        views=views,
        keyspaces=tuple(_read_keyspace(keyspace, index) for keyspace in document.objects("keyspaces")),
        findings=tuple(map(_read_finding, document.objects("findings"))),
        recover_first=tuple(_read_recovery(recovery, index) for recovery in document.objects("recover_first")),
        holders=_read_holders(document),
        since=_read_time(document),
        states_since=tuple(map(_read_time, rows)),
        blind_until=_read_blind((document, *rows, *document.objects("findings"))),
        metadata_quorum=_read_quorum(document),
    )
    _check(verdict)
    return verdict


def _snapshot(document: Fields, nodes: tuple[Node, ...], views: tuple[View, ...]) -> Snapshot:
    cluster, taken_at = document.texts("cluster", "taken_at")
    return Snapshot(cluster=cluster, taken_at=taken_at, partitioner="", nodes=nodes, views=views, rings=())


def _check(verdict: Verdict) -> None:
    """Check that a verdict is not better than its parts, and that one without parts is not OK.

    Raises:
        DataError: if the verdict is too good.
    """
    parts = [*(finding.severity for finding in verdict.findings), *(each.severity for each in verdict.keyspaces)]
    empty = not (verdict.snapshot.nodes and verdict.keyspaces)
    if verdict.severity < max(parts, default=Severity.OK) or (verdict.severity is Severity.OK and empty):
        raise DataError(f"its severity is {verdict.severity.name}, which its keyspaces and findings contradict")


def _read_blind(parts: Iterable[Fields]) -> frozenset[str]:
    """The times of parts whose start was not seen; an older agent does not report whether it was."""
    unseen = (part for part in parts if part.optional("begin_seen", bool) is False)
    return frozenset(since for part in unseen if (since := _read_time(part)))


def _read_time(part: Fields) -> str | None:
    """The time since which a part is in its state, None if not known; raises ValueError if it is not a time."""
    text: str | None = part.optional("since", str)
    if text is not None:
        datetime.fromisoformat(text)
    return text


def _severity(part: Fields) -> Severity:
    return Severity[part.choice("severity", Severity.__members__)]


def _node(address: object, index: Mapping[str, int]) -> int:
    if not isinstance(address, str) or address not in index:
        raise DataError(f"{shown(address)} is not one of its nodes")
    return index[address]


def _read_view(view: Fields, addresses: frozenset[str]) -> View:
    return replace(read_view(view), live=addresses - view.addresses("not_live"))


def _read_finding(finding: Fields) -> Finding:
    code, subject, summary, detail = finding.texts("code", "subject", "summary", "detail")
    return Finding(
        code=code,
        severity=_severity(finding),
        subject=subject,
        summary=summary,
        detail=detail,
        level=finding.optional("level", str),
        datacenter=finding.optional("datacenter", str),
        since=_read_time(finding),
    )


def _read_recovery(recovery: Fields, index: Mapping[str, int]) -> Recovery:
    node = _node(recovery.required("node", str), index)
    return Recovery(node=node, restores_share=float(recovery.values.get("restores_share") or 0))


def _read_quorum(document: Fields) -> Quorum | None:
    values = document.optional("metadata_service", dict)
    if values is None:
        return None
    quorum = Fields(values, "metadata_service")
    return Quorum(
        size=quorum.required("size", int),
        members=tuple(map(str, quorum.required("members", list))),
        live=tuple(map(str, quorum.required("live", list))),
        observer=quorum.optional("worst_view", str),
    )


def _read_holders(document: Fields) -> tuple[Holder, ...] | None:
    if document.values.get("holders", ()) is None:
        return None
    rows = [row.texts("node", "owner", "purpose", "since") for row in document.objects("holders", optional=True)]
    return tuple(Holder(node=node, owner=owner, purpose=purpose, since=since) for node, owner, purpose, since in rows)


def _read_keyspace(keyspace: Fields, index: Mapping[str, int]) -> KeyspaceVerdict:
    ranges = keyspace.required("ranges", int)
    levels = keyspace.objects("levels")
    return KeyspaceVerdict(
        name=keyspace.required("name", str),
        replication=keyspace.optional("replication", str),
        ranges=ranges,
        levels=tuple(_read_level(level, ranges, index) for level in levels),
    )


def _read_level(level: Fields, ranges: int, index: Mapping[str, int]) -> LevelVerdict:
    spans = level.optional("unavailable_ranges", dict)
    return LevelVerdict(
        level=Level[level.choice("level", Level.__members__)],
        datacenter=level.optional("datacenter", str),
        severity=None if level.values.get("severity") is None else _severity(level),
        health=None if level.values.get("unavailable") is None else _read_health(level, ranges, index),
        worst_view=level.optional("worst_view", str),
        unavailable_ranges=spans and {name: [(int(a), int(b)) for a, b in rows] for name, rows in spans.items()},
    )


def _read_health(level: Fields, ranges: int, index: Mapping[str, int]) -> LevelHealth:
    share = level.values.get("unavailable_share")
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise DataError(f"{level.at('unavailable_share')} is not a number from 0 to 1")
    return LevelHealth(
        level=Level[level.choice("level", Level.__members__)],
        datacenter=level.optional("datacenter", str),
        required=tuple(map(_read_requirement, level.objects("required"))),
        ranges=ranges,
        unavailable=level.required("unavailable", int),
        unavailable_share=share,
        at_minimum=level.required("at_minimum", int),
        structurally_unavailable=level.required("structurally_unavailable", int),
        outage_share=share,  # not in the document: only evaluation needs it, no rendering does
        node_failures_to_outage=level.optional("node_failures_to_outage", int),
        rack_failures_to_outage=level.optional("rack_failures_to_outage", int),
        by_operation=_read_operations(level),
        worst_range=_read_worst(level, index),
    )


def _read_requirement(requirement: Fields) -> Requirement:
    return Requirement(requirement.required("replicas", int), requirement.optional("datacenter", str))


def _read_operations(level: Fields) -> dict[Operation, OperationHealth]:
    """The counts of reads and writes; a level without one of the operations has no count for it."""
    parts = level.required("by_operation", dict)
    counts = {name: Fields(parts[name], level.at(f"by_operation.{name}")) for name in OPERATIONS if name in parts}
    return {
        name: OperationHealth(part.required("unavailable", int), part.required("at_minimum", int))
        for name, part in counts.items()
    }


def _read_worst(level: Fields, index: Mapping[str, int]) -> WorstRange | None:
    values = level.optional("worst_range", dict)
    if values is None:
        return None
    worst = Fields(values, level.at("worst_range"))
    start, end = map(int, worst.texts("start", "end"))
    replicas, live = ([_node(node, index) for node in worst.required(name, list)] for name in ("replicas", "live"))
    return WorstRange(start=start, end=end, replicas=tuple(replicas), live=tuple(live))
