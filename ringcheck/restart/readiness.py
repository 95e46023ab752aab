"""Whether a node that was restarted is really back: a new process, serving, and seen so by all.

"The JVM answers" is not enough: going on then costs seconds of total outage at QUORUM, since its peers have not yet
seen it up. Nor is "its peers list it": clients are served seconds later.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.evidence import evidence_of
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.ring import Node, Snapshot, View

_OPTIONS = b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"  # of CQL's native protocol v4, which 2.2 to 5.0 speak


@dataclass(frozen=True, slots=True)
class RestartedNode:
    """A node that is restarted.

    Attributes:
        node: its address before.
        host_id: its identity.
        started_at: epoch milliseconds of the process that is to be replaced; None where it was down already.
        client: where its clients connect; None where that is not to be checked.
    """

    node: str
    host_id: str | None
    started_at: int | None = None
    client: tuple[str, int] | None = None

    def find(self, seen: Snapshot) -> Node | None:
        """The node in a snapshot, by its identity: its address may be another one now."""
        if self.host_id:
            found = next((node for node in seen.nodes if node.host_id == self.host_id), None)
            if found:
                return found
        place = seen.index.get(self.node)
        node = seen.nodes[place] if place is not None else None
        other = node and self.host_id and node.host_id not in {None, self.host_id}
        return None if other else node


def down_ids(seen: Snapshot) -> frozenset[str]:
    """Identities of the nodes that a view that counts does not reach."""
    return frozenset(_identity(seen.nodes[index]) for index in evidence_of(seen).not_reached)


def _identity(node: Node) -> str:
    return node.host_id or node.address


def lacking(target: RestartedNode, seen: Snapshot) -> str | None:
    """What the node of a lease lacks to be back, where it is not known how things were before; None for nothing.

    That its process is a new one is not asked for: a lease may be given back unused. Who is down for all peers is down
    itself, and not for this node to see.
    """
    node = target.find(seen)
    evidence = evidence_of(seen)
    peers = [one for one in evidence.usable if node is None or one.observer != node.address]
    lack = missing(target, seen, _down_for_all(peers, evidence))
    if lack is None and not peers and len(seen.nodes) > 1:
        return "no peer's view can be used"
    return lack


def _down_for_all(peers: Sequence[View], evidence: Evidence) -> frozenset[str]:
    """Identities of the nodes that no peer reaches."""
    down = frozenset.intersection(*(evidence.down(one) for one in peers)) if peers else frozenset()
    return frozenset(_identity(evidence.snapshot.nodes[index]) for index in down)


def missing(target: RestartedNode, seen: Snapshot, down_before: frozenset[str]) -> str | None:
    """What a node still lacks to be back as far as a poll can tell; None for nothing.

    Args:
        target: the node.
        seen: a fresh snapshot.
        down_before: identities of the nodes that were down before the batch; they are not waited for.
    """
    node = target.find(seen)
    if node is None:
        return "no node lists it"
    if node.source != "ok":
        return "its Jolokia does not answer"
    if node.mode != "NORMAL":
        return f"it is {node.mode}" if node.mode else "its process has only begun to start"
    if not node.gossip_running:
        return "its gossip is not running"
    if not node.native_transport_running:
        return "its native transport is not running"
    return _unseen(node, seen, down_before)


def _unseen(node: Node, seen: Snapshot, down_before: frozenset[str]) -> str | None:
    """Who does not see whom."""
    evidence = evidence_of(seen)
    own = next((view for view in evidence.views if view.observer == node.address), None)
    if own is None or own.outcome != "ok":
        return f"its view can't be used: {own.reason if own else 'it was not asked'}"
    # A node that only coordinates is neither waited for nor a peer that must see the node.
    members = evidence.members
    names = {_identity(seen.nodes[index]): seen.nodes[index].address for index in members}
    unseen = sorted({_identity(seen.nodes[one]) for one in evidence.down(own) & members} - down_before)
    index = seen.index[node.address]
    blind = sorted(view.observer for view in evidence.usable if index in evidence.down(view))
    peers = names.keys() - down_before - {_identity(node)}
    heard = {_identity(evidence.node(view)) for view in evidence.usable}
    if peers and not peers & heard:
        return "no peer's view can be used"
    lacks = [f"it does not see {listed([names[one] for one in unseen])} up"] if unseen else []
    lacks += [f"{listed(blind)} {'does' if len(blind) == 1 else 'do'} not see it up"] if blind else []
    return "; ".join(lacks) or None


def answers_cql(host: str, port: int, seconds: float) -> bool:
    """Whether something answers CQL's OPTIONS there.

    Where the port wants TLS the connection is closed at once: that is an answer too, since only a running native
    transport gives it.
    """
    with suppress(OSError), socket.create_connection((host, port), seconds) as connection:
        connection.settimeout(seconds)
        connection.sendall(_OPTIONS)
        with suppress(ConnectionResetError):
            connection.recv(1)
        return True
    return False
