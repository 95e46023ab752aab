"""The coordinators of each datacenter that has clients. Without one, its clients have no node to connect to.

Drivers connect to the nodes of their own datacenter only, unless they are told otherwise. So at a level that counts
replicas of all datacenters, such as QUORUM, every range can be served while the clients of a datacenter get nothing.
LOCAL levels show that only if the datacenter has replicas.

The coordinators of a datacenter are judged as a ring of their own: one range, of which each of them has a replica, and
one of them must be up.

A logged batch needs more than its ranges, too: its log goes to other nodes of the coordinator's datacenter, whatever
the level. If none of them is alive, and the datacenter has more than one node, the batch is Unavailable
(`StorageProxy.getBatchlogEndpoints`, 4.0+ `ReplicaPlans.forBatchlogWrite`; seen on 5.0.8, at ANY too). Whether clients
use logged batches is not known, and with two nodes no restart spares them: so this is a note, and blocks no stop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.consistency import NETWORK_TOPOLOGY, Demand, Level, Requirement
from ringcheck.core.findings import Finding, noted
from ringcheck.core.policy import Severity
from ringcheck.core.ring import Factor, Replication, Ring, View
from ringcheck.core.views import unusable_because
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.maintenance import Leases
    from ringcheck.core.selection import Scope

LEVEL = Level.LOCAL_ONE
"""The level at which a ring of coordinators is judged: one of them is enough."""
BATCHES = Level.TWO
"""The level at which a ring of the nodes that keep the logs of batches is judged: each needs another one."""


def nodes_of(evidence: Evidence, datacenter: str) -> frozenset[int]:
    """The nodes of a datacenter that clients can connect to, now or once they serve clients.

    Nodes without tokens count only if the datacenter has no others: drivers do not find them by themselves.
    """
    here = [index for index, node in enumerate(evidence.snapshot.nodes) if node.datacenter == datacenter]
    return evidence.members.intersection(here) or frozenset(here)


def coordinators_of(evidence: Evidence, datacenter: str) -> frozenset[int]:
    """Those of these nodes that serve clients while they are up; a node that does not tell counts as one."""
    nodes = ((index, evidence.snapshot.nodes[index]) for index in nodes_of(evidence, datacenter))
    return frozenset(index for index, node in nodes if unusable_because(node, View(node.address)) is None)


def ring_of(evidence: Evidence, datacenter: str) -> Ring | None:
    """The coordinators of a datacenter as a ring; None if it has none, so that none can be lost."""
    return _ring(evidence, datacenter, coordinators_of(evidence, datacenter))


def batchlog_of(evidence: Evidence, datacenter: str) -> Ring | None:
    """The nodes of a datacenter that keep the logs of batches, as a ring; None if there is only one."""
    nodes = _keeping_logs(evidence, datacenter)
    return _ring(evidence, datacenter, nodes) if len(nodes) > 1 else None


def demands_of_batches(datacenter: str) -> tuple[Demand, ...]:
    """What logged batches demand of the ring of `batchlog_of`."""
    return (Demand((Requirement(2, datacenter),), "write"),)


def _keeping_logs(evidence: Evidence, datacenter: str) -> frozenset[int]:
    """The nodes of a datacenter that own tokens: the ring's topology has only these."""
    nodes = evidence.snapshot.nodes
    return frozenset(index for index in nodes_of(evidence, datacenter) if nodes[index].tokens != 0)


def _ring(evidence: Evidence, datacenter: str, nodes: frozenset[int]) -> Ring | None:
    if not nodes:
        return None
    replication = Replication.of(NETWORK_TOPOLOGY, {datacenter: Factor(len(nodes))})
    return Ring.build((), replication, [(0, 0, sorted(nodes))], len(evidence.snapshot.nodes))


def of_coordinators(scope: Scope, leases: Leases, told: Iterable[Finding]) -> Iterator[Finding]:
    """What the clients of each datacenter lack though their ranges are served.

    Args:
        scope: what is judged.
        leases: restart leases.
        told: findings about ranges.
    """
    lost = [finding for finding in told if finding.code == "unavailable"]
    if scope.evidence.usable:
        yield from _without_coordinator(scope, leases, lost)
        yield from _without_batches(scope, lost)


def _without_coordinator(scope: Scope, leases: Leases, told: list[Finding]) -> Iterator[Finding]:
    """Datacenters with clients in which no coordinator is up; none if a loss of ranges says as much."""
    evidence, named = scope.evidence, scope.policy.client_datacenters
    for datacenter in scope.with_clients():
        severity = Severity.CRITICAL if datacenter in named else Severity.WARNING
        if any(loss.datacenter == datacenter and loss.severity >= severity for loss in told):
            continue
        nodes = coordinators_of(evidence, datacenter)
        if any(evidence.states[index] != "down" for index in nodes):
            continue
        # A node that is drained or starting is none of the coordinators, but its restart is what they lack.
        if severity is Severity.WARNING and nodes_of(evidence, datacenter) & leases.leased:
            severity = Severity.OK
        down = listed(evidence.names(nodes)) if nodes else "none of its nodes serves clients"
        yield Finding(
            code="no_coordinator",
            severity=severity,
            subject=datacenter,
            summary=f"no coordinator is up in {datacenter}: its clients have no node to connect to",
            detail=f"down: {down}" if nodes else down,
            datacenter=datacenter,
        )


def _without_batches(scope: Scope, told: list[Finding]) -> Iterator[Finding]:
    """Datacenters with clients in which a coordinator reaches no other node; none if they lose ranges anyway."""
    evidence = scope.evidence
    for datacenter in scope.with_clients():
        nodes = _keeping_logs(evidence, datacenter)
        if any(loss.datacenter in {None, datacenter} and loss.severity > Severity.OK for loss in told):
            continue
        alone = [
            observer
            for lists, observers in evidence.observers_of
            if len(nodes) > 1 == len(nodes & lists.reached)
            for observer in observers
            if evidence.snapshot.index[observer] in nodes & lists.reached
        ]
        if alone:
            verb = "reaches" if len(alone) == 1 else "reach"
            text = f"no logged batch can be written in {datacenter}: {listed(sorted(alone))} {verb} no other node there"
            yield replace(noted("logged_batches", datacenter, text), datacenter=datacenter)
