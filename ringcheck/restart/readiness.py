"""Whether a node that was restarted is back: it serves clients, sees its peers up, and all of them see it up.

It is not enough that the JVM answers: its peers may not see it up yet, and stopping the next node at that point causes
seconds of total outage at QUORUM. It is not enough either that its peers list it as up: it serves clients only seconds
later.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
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
    """A node that is being restarted.

    Attributes:
        node: its address before the restart.
        host_id: its identity; None if it was not known.
        started_at: start of the process that is to be replaced, in epoch milliseconds; None if the node was down.
        client: host and port where its clients connect; None if they are not checked.
    """

    node: str
    host_id: str | None
    _: KW_ONLY
    started_at: int | None = None
    client: tuple[str, int] | None = None

    def find(self, seen: Snapshot) -> Node | None:
        """The node in a snapshot, by host id first, since its address may have changed; None if it is not there."""
        if self.host_id:
            same = next((node for node in seen.nodes if node.host_id == self.host_id), None)
            if same:
                return same
        index = seen.index.get(self.node)
        node = seen.nodes[index] if index is not None else None
        other = node and self.host_id and node.host_id not in {None, self.host_id}
        return None if other else node


def down_ids(seen: Snapshot) -> frozenset[str]:
    """Identities of the nodes that at least one usable view does not see up."""
    return frozenset(identity(seen.nodes[index]) for index in evidence_of(seen).not_reached)


def identity(node: Node) -> str:
    """The host id of a node, or its address if no host id is known."""
    return node.host_id or node.address


def lacking(target: RestartedNode, seen: Snapshot) -> str | None:
    """What a node under a lease still lacks to be back, if its state before the stop is not known; None for nothing.

    Its process need not be a new one, because a lease may be given back unused. Peers that all other peers see down
    count as down, so the node need not see them up.
    """
    node = target.find(seen)
    evidence = evidence_of(seen)
    peers = [view for view in evidence.usable if node is None or view.observer != node.address]
    lack = missing(target, seen, _down_for_all(peers, evidence))
    if lack is None and not peers and len(seen.nodes) > 1:
        return "no peer's view can be used"
    return lack


def _down_for_all(peers: Sequence[View], evidence: Evidence) -> frozenset[str]:
    """Identities of the nodes that no peer sees up."""
    down = frozenset.intersection(*(evidence.down(view) for view in peers)) if peers else frozenset()
    return frozenset(identity(evidence.snapshot.nodes[index]) for index in down)


def missing(target: RestartedNode, seen: Snapshot, down_before: frozenset[str]) -> str | None:
    """What a node still lacks to be back, according to a poll; None for nothing.

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
    """Which peers the node does not see up, and which do not see it up; None if there are none."""
    evidence = evidence_of(seen)
    own = next((view for view in evidence.views if view.observer == node.address), None)
    if own is None or own.outcome != "ok":
        return f"its view can't be used: {own.reason if own else 'it was not asked'}"
    # Nodes that own no tokens and only coordinate are not waited for, and need not see the node up.
    members = evidence.members
    names = {identity(seen.nodes[index]): seen.nodes[index].address for index in members}
    unseen = sorted({identity(seen.nodes[member]) for member in evidence.down(own) & members} - down_before)
    index = seen.index[node.address]
    blind = sorted(view.observer for view in evidence.usable if index in evidence.down(view))
    peers = names.keys() - down_before - {identity(node)}
    heard = {identity(evidence.node(view)) for view in evidence.usable}
    if peers and not peers & heard:
        return "no peer's view can be used"
    lacks = [f"it does not see {listed([names[peer] for peer in unseen])} up"] if unseen else []
    lacks += [f"{listed(blind)} {'does' if len(blind) == 1 else 'do'} not see it up"] if blind else []
    return "; ".join(lacks) or None


def answers_cql(host: str, port: int, seconds: float) -> bool:
    """Whether a native transport answers CQL's OPTIONS at this address within the time.

    A port that requires TLS closes the connection at once. That counts as an answer, since only a running native
    transport closes it.
    """
    with suppress(OSError), socket.create_connection((host, port), seconds) as connection:
        connection.settimeout(seconds)
        connection.sendall(_OPTIONS)
        with suppress(ConnectionResetError):
            connection.recv(1)
        return True
    return False
