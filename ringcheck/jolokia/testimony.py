"""What nodes say, as testimonies on the members of the cluster; and nodes and views as a snapshot has them.

Pure. Knows nothing of how it was read. Who is a member, and whose view counts, is decided in `core`.
"""

from __future__ import annotations

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


def refusal(reading: NodeReport) -> str | None:
    """Why a node's view does not count, by what it says of itself alone; None if it coordinates."""
    if reading.mode is None:
        return "starting: StorageService is not registered yet"
    itself = Node(
        "",
        mode=reading.mode,
        gossip_running=reading.gossip_running,
        native_transport_running=reading.native_transport_running,
    )
    return unusable_because(itself, View(""))


def believable(reading: NodeReport) -> bool:
    """Whether a node takes part in the ring and in gossip, so that what it says of the members counts."""
    # Whether it serves clients does not matter for that.
    itself = Node("", mode=reading.mode, gossip_running=reading.gossip_running, native_transport_running=True, tokens=1)
    return reading.mode is not None and unusable_because(itself, View("")) is None


def serving(reading: NodeReport) -> bool:
    """Whether a node coordinates, gossips and serves clients."""
    return believable(reading) and bool(reading.native_transport_running)


def testimony(agent: JolokiaEndpoint, reading: NodeReport) -> Testimony:
    """What a node says of the members, with what it said last of that for which it was not asked this time."""
    return Testimony(
        own=reading.host_id,
        host_ids=agent.host_ids,
        owners=agent.owners,
        live=reading.live,
        unreachable=reading.unreachable,
        moving=reading.joining | reading.leaving | reading.moving,
    )


def view_of(reading: NodeReport, address: str, host_ids: tuple[tuple[str, str], ...]) -> View:
    """A node's view as it says it; a node that has only begun to start has none."""
    starting = refusal(reading) if reading.mode is None else None
    return View(
        address,
        outcome="discarded" if starting else "ok",
        reason=starting,
        live=reading.live,
        unreachable=reading.unreachable,
        joining=reading.joining,
        leaving=reading.leaving,
        moving=reading.moving,
        host_ids=host_ids,
        schema_version=reading.schema_version,
    )


def unheard(address: str, error: RingcheckError) -> View:
    """The view of a node that could not be asked or made no sense."""
    return View(address, outcome="unreachable", reason=str(error))


def state_of(error: RingcheckError) -> SourceState:
    """What an error says about a node's Jolokia."""
    kind = error.kind if isinstance(error, SourceError) else "error"
    states: Mapping[str, SourceState] = {"unreachable": "unreachable", "denied": "denied"}
    return states.get(kind, "error")


def node_of(member: Member, reading: NodeReport, place: tuple[str | None, str | None], tokens: int | None) -> Node:
    """A node that answered."""
    datacenter, rack = place
    return Node(
        member.address,
        endpoint=member.endpoint if has_port(member.endpoint) else None,
        host_id=member.host_id or reading.host_id,
        datacenter=datacenter,
        rack=rack,
        release_version=reading.release,
        mode=reading.mode,
        gossip_running=reading.gossip_running,
        native_transport_running=reading.native_transport_running,
        generation=reading.generation,
        source="ok",
        tokens=tokens,
    )
