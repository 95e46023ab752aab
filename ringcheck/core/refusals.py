"""The reasons of the gate that do not depend on which nodes are to stop.

Most of them are findings about views and nodes, which the table of `core.findings` turns into reasons. The gate counts
lost ranges itself, at its own levels, so findings about those are left out here.
"""

from __future__ import annotations

from datetime import datetime
from math import inf
from typing import TYPE_CHECKING

from ringcheck.core.assess import contradictions, of_logins
from ringcheck.core.endpoint import has_port, ip_of
from ringcheck.core.gaps import gaps
from ringcheck.core.level_findings import unclear_levels
from ringcheck.core.policy import Severity
from ringcheck.core.reasons import reason
from ringcheck.core.schemas import of_schemas
from ringcheck.core.words import NAMED, listed, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.actions import Action
    from ringcheck.core.findings import Finding
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Node, Snapshot
    from ringcheck.core.selection import Scope


def refusals(scope: Scope, *, judged: bool, settle: float, leased: frozenset[int]) -> Iterator[Reason]:
    """The reasons, notes included, that a snapshot gives whichever nodes are to stop.

    Args:
        scope: what is judged.
        judged: whether anything is at stake; if nothing is, that is a reason too.
        settle: seconds that a node must have run.
        leased: indexes of nodes under a restart lease.
    """
    snapshot, evidence = scope.snapshot, scope.evidence
    for finding in (*gaps(evidence), *_contradictions(scope)):
        yield from _of_finding(finding)
    if evidence.usable and not judged:
        yield _nothing_to_judge(scope)
    yield from unclear_levels(scope.policy, snapshot.cluster)
    yield from _young(scope, settle, leased)
    if evidence.usable and not any(view.schema_version for view in evidence.usable):
        text = "not known whether the nodes agree on the schema"
        yield reason(
            "schema_disagreement", snapshot.cluster, text, blocks=False, lifts_when="SchemaVersion can be read"
        )
    if any(ring.pending for ring in snapshot.rings):
        yield reason("topology_changing", snapshot.cluster, "ranges are moving to other nodes")


def _contradictions(scope: Scope) -> Iterator[Finding]:
    if not scope.evidence.usable:
        return
    yield from of_logins(scope)
    yield from of_schemas(scope)
    for ring in scope.snapshot.rings:
        keyspaces = [name for name, _ in scope.chosen(ring)]
        if keyspaces:
            yield from contradictions(scope, ring, keyspaces)


def _of_finding(finding: Finding) -> Iterator[Reason]:
    """The reason that a finding becomes, by the table of findings."""
    kind = finding.kind
    if kind.gate == "blocks":
        yield reason(
            kind.reason,
            finding.subject,
            finding.summary,
            lifts_when=kind.lifts_when,
            waived_for_subject=kind.waived_for_subject,
        )
    elif finding.severity is Severity.UNKNOWN:  # a source could not read something, under whatever code
        yield reason("no_data", finding.subject, finding.summary)


def _nothing_to_judge(scope: Scope) -> Reason:
    if any(scope.chosen(ring) for ring in scope.snapshot.rings):
        text, lifts = "every keyspace is accepted: no keyspace is left to judge", "fewer keyspaces are accepted"
    else:
        text, lifts = "no keyspace to judge", "a keyspace is watched"
    return reason("no_data", scope.snapshot.cluster, text, lifts_when=lifts)


# Nodes that may not stay up


def _young(scope: Scope, settle: float, leased: frozenset[int]) -> Iterator[Reason]:
    """Members that are up and have not run long enough to be trusted to stay up."""
    snapshot, evidence = scope.snapshot, scope.evidence
    taken = _taken(snapshot)
    if taken is None:
        text = f"the time of the snapshot can't be read: {snapshot.taken_at!r}"
        yield reason("no_data", snapshot.cluster, text, lifts_when="a new snapshot is taken")
        return
    running = [snapshot.nodes[index] for index in sorted(evidence.members - evidence.not_reached - leased)]
    for node in running:
        age = _age(node, taken)
        if age < settle:
            yield _too_young(node, round(age), settle)
    if settle:
        yield from _ageless(running)


def young(snapshot: Snapshot, settle: float) -> tuple[str, ...] | None:
    """Addresses of the nodes that have not run for `settle` seconds; None if the time of the snapshot can't be read."""
    taken = _taken(snapshot)
    return None if taken is None else tuple([node.address for node in snapshot.nodes if _age(node, taken) < settle])


def _taken(snapshot: Snapshot) -> float | None:
    try:
        return datetime.fromisoformat(snapshot.taken_at).timestamp()
    except ValueError:
        return None


def _age(node: Node, taken: float) -> float:
    """Seconds for which a node has run; infinite if it is not known."""
    return inf if node.generation is None else taken - node.generation


def _too_young(node: Node, age: int, settle: float) -> Reason:
    """The reason that a node has run for `age` seconds only; a negative age is a wrong clock."""
    text = f"{node.address} has run for {age} s; {settle:g} s are required"
    if age < 0:
        text = f"{node.address} reports a start {-age} s in the future: its clock or that of this host is or was wrong"
    passed = f"{round(settle - age)} s have passed" + (", or recently_changed is allowed" if age < 0 else "")
    return reason("recently_changed", node.address, text, lifts_when=passed)


def _ageless(running: list[Node]) -> Iterator[Reason]:
    ageless = [node.address for node in running if node.generation is None and node.source in {"ok", "not_asked"}]
    if ageless:
        text = f"not known how long {listed(ageless)} {'has' if len(ageless) == 1 else 'have'} run"
        lifts = "CurrentGenerationNumber can be read there"
        yield reason("recently_changed", ageless[0], text, blocks=False, lifts_when=lifts)


# Names


def strangers(snapshot: Snapshot, candidates: Sequence[str], action: Action) -> Iterator[Reason]:
    """Reasons for candidates that are not nodes of the cluster, or for a missing candidate if the action needs one."""
    if not candidates and action != "bootstrap":
        yield reason("unknown_node", snapshot.cluster, "no node is named", lifts_when="a node is named")
    for name in candidates:
        if name not in snapshot.index:
            yield reason("unknown_node", name, not_meant(snapshot, name))


def not_meant(snapshot: Snapshot, name: str) -> str:
    """Why a name means no node, and which nodes have the same IP address."""
    near = [node.address for node in snapshot.nodes if ip_of(node.address) == ip_of(name)]
    if len(near) > 1 and not has_port(name):
        return f"{name} can mean {listed(near)}: name one of them"
    hint = f"at its address is {listed(near)}" if near else suggestion(name, snapshot.index, NAMED)
    return f"{name} is not a node of this cluster; {hint}"
