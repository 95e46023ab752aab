"""The coordinators of each datacenter that has clients. Without one, its clients have no node to connect to.

Drivers connect to the nodes of their own datacenter only, unless they are told otherwise. So at a level that counts
replicas of all datacenters, such as QUORUM, every range can be served while the clients of a datacenter get nothing.
LOCAL levels show that only if the datacenter has replicas.

The coordinators of a datacenter are judged as a ring of their own: one range, of which each of them has a replica, and
one of them must be up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.consistency import NETWORK_TOPOLOGY, Level
from ringcheck.core.findings import Finding
from ringcheck.core.policy import Severity
from ringcheck.core.ring import Factor, Replication, Ring, View
from ringcheck.core.views import unusable_because
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.maintenance import Leases
    from ringcheck.core.selection import Scope

LEVEL = Level.LOCAL_ONE
"""The level at which a ring of coordinators is judged: one of them is enough."""


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
    nodes = sorted(coordinators_of(evidence, datacenter))
    if not nodes:
        return None
    replication = Replication.of(NETWORK_TOPOLOGY, {datacenter: Factor(len(nodes))})
    return Ring.build((), replication, [(0, 0, nodes)], len(evidence.snapshot.nodes))


def without_coordinator(scope: Scope, leases: Leases, told: Collection[Finding]) -> Iterator[Finding]:
    """Datacenters with clients in which no coordinator is up; none if a loss of ranges says as much.

    Args:
        scope: what is judged.
        leases: restart leases.
        told: the losses of ranges.
    """
    evidence, named = scope.evidence, scope.policy.client_datacenters
    for datacenter in scope.with_clients() if evidence.usable else ():
        severity = Severity.CRITICAL if datacenter in named else Severity.WARNING
        if any(loss.datacenter == datacenter and loss.severity >= severity for loss in told):
            continue
        nodes = coordinators_of(evidence, datacenter)
        if any(evidence.states[index] != "down" for index in nodes):
            continue
        if severity is Severity.WARNING and nodes & leases.leased:
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
