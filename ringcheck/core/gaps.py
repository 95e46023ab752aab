"""Findings about views and nodes: what is not known, what contradicts itself, which nodes are down or in movement.

Owns the sentences. Which view counts and who is up is decided in evidence.py, and how bad each finding is in the table
of findings.py.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ringcheck.core.consistency import release
from ringcheck.core.contested import ContestedMovements
from ringcheck.core.findings import FINDINGS, Finding, noted
from ringcheck.core.policy import Severity
from ringcheck.core.quorum import MetadataService
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.ring import View


def gaps(evidence: Evidence) -> Iterator[Finding]:
    """Findings about what is not known or contradictory, and notes about nodes that are down or in movement."""
    yield from _problems(evidence)
    yield from _contradictions(evidence)
    if not evidence.usable:
        views = listed([f"{view.observer} ({view.reason or view.outcome})" for view in evidence.views])
        yield noted("no_usable_view", evidence.snapshot.cluster, f"no usable view: {views or 'none asked'}")
        return
    yield from _unusable_views(evidence)
    yield from _strangers(evidence)
    yield from _blind_datacenters(evidence)
    yield from _disagreements(evidence)
    yield from _other_addresses(evidence)
    yield from _schemas(evidence)
    yield from MetadataService(evidence).findings()
    yield from _paxos_variants(evidence)
    yield from _movements(evidence)
    yield from ContestedMovements(evidence).notes()
    yield from _nodes(evidence)


def _problems(evidence: Evidence) -> Iterator[Finding]:
    """What the source could not read; a code that this release does not know is UNKNOWN too."""
    for problem in evidence.snapshot.problems:
        known = FINDINGS.get(problem.code)
        severity = known.severity if known and known.source_decides else Severity.UNKNOWN
        yield Finding(code=problem.code, severity=severity, subject=problem.subject, summary=problem.summary)


def _contradictions(evidence: Evidence) -> Iterator[Finding]:
    snapshot = evidence.snapshot
    for (claimed, value), nodes in evidence.claimed_twice.items():
        names = f": {listed(evidence.names(nodes))}" if claimed == "host id" else ""
        yield noted("duplicate_host_id", snapshot.cluster, f"{len(nodes)} nodes claim {claimed} {value}{names}")
    for index, observers in evidence.in_both_lists.items():
        address = snapshot.nodes[index].address
        text = f"{address} is listed as live and as unreachable by {listed(observers)}"
        yield noted("contradictory_view", address, text, "in these views it counts as unreachable")
    placeless = {index for index, node in enumerate(snapshot.nodes) if not node.datacenter and snapshot.rings}
    if placeless:
        coordinating = {snapshot.index[view.observer] for view in evidence.usable}
        for address in evidence.names(placeless & (evidence.members | coordinating)):
            yield noted("unknown_datacenter", address, f"the datacenter of {address} is not known")


def _unusable_views(evidence: Evidence) -> Iterator[Finding]:
    """Views that don't count although other views see the node up, or it may serve clients.

    The missing view of a coordinator without tokens is not a gap.
    """
    index_of = evidence.snapshot.index
    for view in evidence.views:
        index = index_of.get(view.observer)
        if view.outcome == "ok":
            continue
        if index is None:
            yield _of_former_member(view)
        elif index in evidence.coordinators:
            continue
        elif not evidence.is_gone(index) and not evidence.only_joins(index):
            yield _unusable(view)
        elif evidence.may_serve(view):
            yield _discarded(view, "others see it down, but it may serve clients")
    for index in sorted(evidence.coordinators):
        address = evidence.snapshot.nodes[index].address
        yield noted(
            "coordinator_only", address, f"{address} owns no tokens: it only coordinates, and holds no replicas"
        )


def _of_former_member(view: View) -> Finding:
    if view.outcome == "unreachable":
        text = f"{view.observer} did not answer ({view.reason or 'no answer'}) and is not a known member"
        return noted("view_missing", view.observer, text, "it is a contact point")
    return noted("former_member", view.observer, f"{view.observer} answers: {view.reason}")


def _unusable(view: View) -> Finding:
    if view.outcome == "unreachable":
        text = f"{view.observer} did not answer ({view.reason or 'no answer'}), though others see it up"
        hint = "its own view is not known; other nodes notice a killed node after 18-37 s"
        return noted("view_missing", view.observer, text, hint)
    return _discarded(view, "others see it up")


def _discarded(view: View, hint: str) -> Finding:
    text = f"the view of {view.observer} is not usable: {view.reason}"
    return noted("view_discarded", view.observer, text, hint)


def _strangers(evidence: Evidence) -> Iterator[Finding]:
    for view in evidence.usable if any(lists.strangers for lists, _ in evidence.observers_of) else ():
        strangers = evidence.liveness(view).strangers
        if strangers:
            text = f"{view.observer} sees {listed(strangers)} live, which is not a known node"
            yield noted("unknown_endpoint", view.observer, text)


def _blind_datacenters(evidence: Evidence) -> Iterator[Finding]:
    """Datacenters with members up but without a usable view of their own, if views there were asked for."""
    nodes, index_of = evidence.snapshot.nodes, evidence.snapshot.index
    seeing = {evidence.node(views[0]).datacenter for views in evidence.alike}
    blind = set(evidence.snapshot.datacenters) - seeing
    if not blind:
        return
    asked = {nodes[index_of[view.observer]].datacenter for view in evidence.views if view.observer in index_of}
    alive = {nodes[index].datacenter for index in evidence.members if evidence.states[index] == "up"}
    for name in sorted(blind & asked & alive):
        text = f"no usable view from {name}: it is judged by what other datacenters see of it"
        yield noted("view_missing", name, text)


def _disagreements(evidence: Evidence) -> Iterator[Finding]:
    sides = evidence.partition
    if sides:
        yield noted("view_disagreement", evidence.snapshot.cluster, f"views disagree: {_sides(sides)}", _WORST)
    for index, blind in evidence.disputed.items():
        address = evidence.snapshot.nodes[index].address
        if index in evidence.isolated:
            text = f"{address} serves clients, but every other view sees it down"
            yield noted("gossip_dead", address, text, "it is cut off, or its gossip has died")
        elif not sides and index in evidence.members:
            others = sorted(view.observer for view in evidence.usable if view.observer not in blind)
            text = f"{address} is down for {listed(blind)} but up for {listed(others)}"
            yield noted("view_disagreement", address, text, _WORST)


_WORST = "the worst view counts"


def _sides(sides: Sequence[Sequence[str]]) -> str:
    """`2 see 10.0.0.1, 10.0.0.2; 10.0.0.3 sees only itself`."""
    return "; ".join(
        f"{len(side)} see {listed(side)}" if len(side) > 1 else f"{side[0]} sees only itself"
        for side in sorted(sides, key=lambda side: (-len(side), side))
    )


def _other_addresses(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that some views know under another address."""
    observers_of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for view in evidence.usable:
        for known_as in evidence.named(view).known_as if view.host_ids or view.known_as else ():
            observers_of[known_as].append(view.observer)
    for (endpoint, address), observers in sorted(observers_of.items()):
        verb = "knows" if len(observers) == 1 else "know"
        yield noted("address_disagreement", address, f"{listed(sorted(observers))} {verb} {address} as {endpoint}")


def _schemas(evidence: Evidence) -> Iterator[Finding]:
    """Nodes of one release with different schema versions; during an upgrade releases differ, which is normal."""
    schemas_of: dict[tuple[int, int], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for views in evidence.alike:
        schemas = schemas_of[release(evidence.node(views[0]).release_version)]
        for view in views:
            if view.schema_version:
                schemas[view.schema_version].append(view.observer)
    for schemas in schemas_of.values():
        if len(schemas) > 1:
            few = min((sorted(observers) for observers in schemas.values()), key=lambda names: (len(names), names))
            text = f"{len(schemas)} schema versions; {listed(few)} differ from the others"
            yield noted("schema_disagreement", evidence.snapshot.cluster, text)


def _paxos_variants(evidence: Evidence) -> Iterator[Finding]:
    """Coordinators with different variants; releases that report none have v1, and unknown ones are left out."""
    observers_of: dict[str, list[str]] = defaultdict(list)
    for views in evidence.alike:
        possible = evidence.behaviours(views[0])
        if len(possible) == 1:
            variant = evidence.node(views[0]).paxos_variant or possible[0].paxos
            observers_of[variant] += [view.observer for view in views]
    if len(observers_of) > 1:
        used = "; ".join(f"{name} on {listed(sorted(observers_of[name]))}" for name in sorted(observers_of))
        yield noted("paxos_disagreement", evidence.snapshot.cluster, f"Paxos variants differ: {used}")


def unknown_paxos(evidence: Evidence) -> Iterator[Finding]:
    """Coordinators whose variant of Paxos is not known."""
    unknown = sorted(view.observer for view in evidence.usable if len(evidence.behaviours(view)) > 1)
    if unknown:
        text = f"not known which variant of Paxos {listed(unknown)} {'uses' if len(unknown) == 1 else 'use'}"
        yield noted(
            "paxos_unknown", unknown[0], text, "SERIAL and LOCAL_SERIAL are judged for each, and the worst counts"
        )


def _movements(evidence: Evidence) -> Iterator[Finding]:
    for index in sorted(evidence.joining | evidence.leaving | evidence.moving | evidence.replaced):
        address = evidence.snapshot.nodes[index].address
        yield noted("topology_changing", address, f"{address} is {evidence.movement(index)}")


def _nodes(evidence: Evidence) -> Iterator[Finding]:
    reasons = {view.observer: view.reason for view in evidence.views if view.outcome == "discarded"}
    for index, (node, state) in enumerate(zip(evidence.snapshot.nodes, evidence.states, strict=True)):
        if state == "down":
            because = f" ({reasons[node.address]})" if reasons.get(node.address) else ""
            blind = evidence.seen_down_by[index]
            yield noted("node_down", node.address, f"{node.address} is down{because}", f"for {listed(blind)}")
        elif state == "unknown" and index in evidence.members:
            text = f"no view lists {node.address} as live or as unreachable"
            yield noted("node_unknown", node.address, text)
