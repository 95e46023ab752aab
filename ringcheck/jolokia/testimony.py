"""What a report means: whether its view counts, what it testifies about the members, and its node and view.

Pure. Who is a member, and which views count, is decided in `core`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import has_port
from ringcheck.core.membership import Testimony
from ringcheck.core.ring import Node, View
from ringcheck.core.views import unusable_because
from ringcheck.errors import RingcheckError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.membership import Member
    from ringcheck.core.ring import SourceState
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.node_report import NodeReport
    from ringcheck.jolokia.topology import Location


def refusal(report: NodeReport) -> str | None:
    """Why a node's view does not count, by its own state alone; None if the node coordinates queries."""
    if report.mode is None:
        return "starting: StorageService is not registered yet"
    itself = Node(
        "",
        mode=report.mode,
        gossip_running=report.gossip_running,
        native_transport_running=report.native_transport_running,
    )
    return unusable_because(itself, View(""))


def believable(report: NodeReport) -> bool:
    """Whether a node takes part in the ring and in gossip, so that its report of the members counts."""
    return _believable(report.mode, report.gossip_running)


@lru_cache(maxsize=64)
def _believable(mode: str | None, gossip_running: bool | None) -> bool:  # noqa: FBT001 - as the node reports it
    # Whether it serves clients makes no difference to that.
    itself = Node("", mode=mode, gossip_running=gossip_running, native_transport_running=True, tokens=1)
    return mode is not None and unusable_because(itself, View("")) is None


def serving(report: NodeReport) -> bool:
    """Whether a node coordinates queries, gossips and serves clients."""
    return believable(report) and bool(report.native_transport_running)


def settled(report: NodeReport, *, owns: bool | None) -> bool:
    """Whether a node serves clients and gossips, so that its snitch may be asked.

    Args:
        report: of the node.
        owns: whether it owns tokens; a node that has not joined the ring (`join_ring=false`) may serve clients too.
    """
    unjoined = owns is False and report.mode == "STARTING" and bool(report.gossip_running)
    return bool(report.native_transport_running) and (unjoined or believable(report))


def testimony(agent: JolokiaEndpoint, report: NodeReport) -> Testimony:
    """What a node reports of the members; host ids and owners may be from its last report that had them."""
    return Testimony(
        own=report.host_id,
        host_ids=agent.host_ids,
        owners=agent.owners,
        live=report.live,
        unreachable=report.unreachable,
        moving=report.joining | report.leaving | report.moving,
    )


def view_of(report: NodeReport, address: str, host_ids: tuple[tuple[str, str], ...]) -> View:
    """A node's view, not judged yet; discarded if the node has only begun to start."""
    starting = refusal(report) if report.mode is None else None
    return View(
        address,
        outcome="discarded" if starting else "ok",
        reason=starting,
        live=report.live,
        unreachable=report.unreachable,
        joining=report.joining,
        leaving=report.leaving,
        moving=report.moving,
        host_ids=host_ids,
        schema_version=report.schema_version,
        metadata=report.metadata,
    )


def unreachable_view(address: str, error: RingcheckError) -> View:
    """The view of a node that did not answer, or whose answer can't be used."""
    return View(address, outcome="unreachable", reason=str(error))


def state_of(error: RingcheckError) -> SourceState:
    """The state of a node's Jolokia that an error shows."""
    kind = error.kind if isinstance(error, SourceError) else "error"
    states: Mapping[str, SourceState] = {"unreachable": "unreachable", "denied": "denied"}
    return states.get(kind, "error")


def node_of(
    member: Member, report: NodeReport, location: Location, tokens: int | None, auth_read_level: str | None
) -> Node:
    """A node that answered."""
    datacenter, rack = location
    return Node(
        member.address,
        endpoint=member.endpoint if has_port(member.endpoint) else None,
        host_id=member.host_id or report.host_id,
        datacenter=datacenter,
        rack=rack,
        release_version=report.release,
        paxos_variant=report.paxos_variant,
        auth_read_level=auth_read_level,
        mode=report.mode,
        gossip_running=report.gossip_running,
        native_transport_running=report.native_transport_running,
        generation=report.generation,
        source="ok",
        tokens=tokens,
    )
