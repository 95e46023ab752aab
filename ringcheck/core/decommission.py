"""Why nodes may not leave the cluster for good, and why replicas would find no room on the nodes that stay.

A node that is decommissioned first hands its ranges over to the nodes that stay, and serves them until then. What
counts here is whether the nodes that stay have room for as many replicas as each keyspace wants. Until the node has
left, writes of these ranges go to the gaining nodes as well; what that costs is in `core.movements`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ringcheck.core.consistency import NETWORK_TOPOLOGY, release
from ringcheck.core.quorum import MetadataService
from ringcheck.core.reasons import reason
from ringcheck.core.stakes import STATED
from ringcheck.core.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Replication, Snapshot
    from ringcheck.core.selection import Scope


def decommission_reasons(scope: Scope, leaving: frozenset[int]) -> Iterator[Reason]:
    """Why these nodes (indexes) must not leave together, and notes on what they leave behind."""
    down = scope.evidence.names(leaving & scope.evidence.not_reached)
    if down:
        text = f"{listed(down)} {'is' if len(down) == 1 else 'are'} down: only a node that is up can leave"
        yield reason("candidate_down", down[0], text)
    yield from ring_reasons(scope, frozenset())
    yield from room_reasons(scope, leaving)


def ring_reasons(scope: Scope, dead: frozenset[int]) -> Iterator[Reason]:
    """Why no node can join, leave, or be removed or replaced now, whichever it is.

    Args:
        scope: whose cluster it is.
        dead: indexes of the nodes to remove or replace, whose own release does not matter.
    """
    for text in MetadataService(scope.evidence).refuses_changes():
        yield reason("metadata_not_writable", scope.snapshot.cluster, text)
    nodes_of: dict[tuple[int, int], list[str]] = defaultdict(list)
    for index in sorted(scope.evidence.members - dead):
        node = scope.snapshot.nodes[index]
        if node.release_version:
            nodes_of[release(node.release_version)].append(node.address)
    if len(nodes_of) > 1:
        runs = ", ".join(f"{major}.{minor} on {_few(names)}" for (major, minor), names in sorted(nodes_of.items()))
        text = f"nodes run different releases ({runs}) and may refuse each other's streams"
        yield reason("releases_differ", scope.snapshot.cluster, text)


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else counted(len(names), "node")


def room_reasons(scope: Scope, gone: frozenset[int]) -> Iterator[Reason]:
    """Why the replicas of these nodes (indexes) would find no place on the others, and notes on empty racks."""
    snapshot = scope.snapshot
    by_datacenter: dict[str, list[int]] = defaultdict(list)
    for index in sorted(gone):
        by_datacenter[snapshot.nodes[index].datacenter or ""].append(index)
    for datacenter, nodes in sorted(by_datacenter.items()):
        yield from _no_room(scope, datacenter, gone)
        emptied = _emptied_racks(snapshot, datacenter, nodes)
        if emptied:
            text = f"rack {listed(emptied)} of {datacenter} would have no node: replicas would share racks"
            yield reason("rack_empties", datacenter, text)


def _no_room(scope: Scope, datacenter: str, gone: Collection[int]) -> Iterator[Reason]:
    # A node that is not known to own tokens makes no room.
    staying = [node for index, node in enumerate(scope.snapshot.nodes) if node.tokens and index not in gone]
    left = Counter(node.datacenter or "" for node in staying)
    for ring in scope.snapshot.rings:
        keyspaces = tuple(name for name, _ in scope.chosen(ring))
        if not keyspaces:
            continue
        if ring.replication is None:
            text = f"the replication of {listed(keyspaces)} is not known"
            fields = {"lifts_when": STATED, "keyspace": keyspaces[0], "keyspaces": keyspaces}
            yield reason("no_data", keyspaces[0], text, **fields)
        else:
            yield from _does_not_fit(ring.replication, keyspaces, datacenter, left)


def _does_not_fit(
    replication: Replication, keyspaces: tuple[str, ...], datacenter: str, left: Counter[str]
) -> Iterator[Reason]:
    """The reason that keyspaces want more replicas than nodes are left in a datacenter (or in all of them)."""
    by_datacenter = replication.strategy == NETWORK_TOPOLOGY
    wanted = dict(replication.options).get(datacenter if by_datacenter else "replication_factor")
    room = left[datacenter] if by_datacenter else left.total()
    if wanted and wanted.replicas > room:
        place = f"in {datacenter}, where {counted(room, 'node')} would be left"
        text = f"{listed(keyspaces)}: replication factor {wanted} {place}"
        yield reason("replication_would_not_fit", keyspaces[0], text, keyspace=keyspaces[0], keyspaces=keyspaces)


def _emptied_racks(snapshot: Snapshot, datacenter: str, gone: Collection[int]) -> list[str]:
    owners = [index for index, node in enumerate(snapshot.nodes) if node.datacenter == datacenter and node.tokens]
    kept = {snapshot.nodes[index].rack or "" for index in owners if index not in gone}
    return sorted({snapshot.nodes[index].rack or "" for index in gone} - kept)
