"""Resolves a command's nodes, rack and datacenters to addresses.

A wrong answer restarts the wrong node: a name is refused unless it stands for exactly one node.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ringcheck.core.ring import Node, Snapshot

_NUMBER = r"(0[xX][0-9a-fA-F]*|\d+)"
_NUMBERS = re.compile(rf"{_NUMBER}?(\.{_NUMBER}?)*")


def members(snapshot: Snapshot, names: Sequence[str], rack: str | None, datacenters: Sequence[str]) -> list[str]:
    """Addresses of the named nodes, or else of the ring's members in a rack, in some datacenters, or of all members.

    Each address appears once. A name that no node has is returned as it is, for the gate to refuse.

    Raises:
        UsageError: if both nodes and a rack are named, the rack does not exist or is in several datacenters, or a name
            can mean several nodes.
    """
    if names and rack is not None:
        raise UsageError("name nodes or a --rack, not both")
    if names:
        return list(dict.fromkeys(resolve(name, snapshot) for name in names))
    if rack is not None:  # an empty rack is a variable that was never set, and must not mean every node
        return in_rack(snapshot, rack, datacenters)
    return [node.address for node in _members(snapshot, datacenters)]


def in_rack(snapshot: Snapshot, rack: str, datacenters: Sequence[str]) -> list[str]:
    """Addresses of the ring's members in a rack, in some datacenters if any are named.

    Raises:
        UsageError: if there is no such rack, or several datacenters have it.
    """
    from ringcheck.core.words import suggestion

    in_datacenters(snapshot, datacenters)  # refuses one that does not exist
    nodes = [node for node in _members(snapshot, datacenters) if node.rack == rack]
    homes = sorted({node.datacenter or "" for node in nodes})
    if len(homes) > 1:
        raise UsageError(f"rack {rack} is in {', '.join(homes)}: choose with --dc, then only the clients there count")
    if not nodes:
        where = f" in {', '.join(datacenters)}" if datacenters else ""
        racks = sorted({node.rack for node in _members(snapshot, datacenters) if node.rack})
        raise UsageError(f"there is no rack {rack or repr(rack)}{where} ({suggestion(rack, racks)})")
    return [node.address for node in nodes]


def matching(snapshot: Snapshot, names: Iterable[str]) -> list[str]:
    """Addresses of all nodes that some names can mean: the beginning of an address or host id may mean several.

    Raises:
        UsageError: if a name means none.
    """
    from ringcheck.core.words import suggestion

    host_ids = {node.address: node.host_id for node in snapshot.nodes}
    found: dict[str, None] = {}
    for name in names:
        meant = [address for address in _candidates(name, host_ids) if address in host_ids] if name else []
        if not meant:
            raise UsageError(f"{name or repr(name)} is not a node of {snapshot.cluster} ({suggestion(name, host_ids)})")
        found |= dict.fromkeys(meant)
    return list(found)


def with_rack(snapshot: Snapshot, rack: str) -> list[str]:
    """Addresses of the nodes in the racks of this name, in any datacenter.

    Raises:
        UsageError: if there is no such rack.
    """
    from ringcheck.core.words import suggestion

    nodes = [node.address for node in snapshot.nodes if node.rack == rack]
    if not nodes:
        racks = sorted({node.rack for node in snapshot.nodes if node.rack})
        raise UsageError(f"there is no rack {rack or repr(rack)} ({suggestion(rack, racks)})")
    return nodes


def in_datacenters(snapshot: Snapshot, names: Iterable[str]) -> list[str]:
    """Addresses of all nodes in some datacenters.

    Raises:
        UsageError: if there is no such datacenter.
    """
    from ringcheck.core.words import suggestion

    wanted = set(names)
    for name in sorted(wanted - set(snapshot.datacenters)):
        raise UsageError(f"datacenter {name or repr(name)} has no nodes ({suggestion(name, snapshot.datacenters)})")
    return [node.address for node in snapshot.nodes if node.datacenter in wanted]


def _members(snapshot: Snapshot, datacenters: Sequence[str]) -> list[Node]:
    """The nodes that hold replicas, in some datacenters if any are named; other coordinators are named by hand."""
    from ringcheck.core.evidence import evidence_of

    nodes = (snapshot.nodes[index] for index in sorted(evidence_of(snapshot).members))
    return [node for node in nodes if not datacenters or node.datacenter in datacenters]


def resolve(name: str, snapshot: Snapshot) -> str:
    """The address of the node that a name stands for; the name itself if no node has it.

    Raises:
        UsageError: if it can mean several nodes.
    """
    return resolve_among(name, {node.address: node.host_id for node in snapshot.nodes})


def resolve_among(name: str, host_ids: Mapping[str, str | None]) -> str:
    """The address that a name stands for; the name itself if it stands for none.

    Args:
        name: an address, a host name, a host id, or the beginning of an address or host id.
        host_ids: the addresses to choose from, each with the host id of its node.

    Raises:
        UsageError: if it can mean several nodes, or a node and another host.
    """
    from ringcheck.core.words import listed
    from ringcheck.documents.fields import address
    from ringcheck.errors import DataError

    if not name:
        raise UsageError("a NODE is empty")  # a variable that was never set; it is the beginning of every name
    if "," in name:
        raise UsageError(f"{name!r} is not a single NODE", "separate nodes with spaces, not with commas")
    with suppress(DataError):
        return address(name)  # a whole address is not the beginning of another: 10.0.0.1 never means 10.0.0.10
    candidates = _candidates(name, host_ids)
    if len(candidates) > 1:
        raise UsageError(f"{name} can mean {listed(candidates)}: name one of them")
    return candidates[0] if candidates else name


def _candidates(name: str, host_ids: Mapping[str, str | None]) -> list[str]:
    """The addresses that a name can mean."""
    whole = [address for address, host_id in host_ids.items() if name in {address, host_id}]
    if whole:
        return whole
    partial = [
        address for address, host_id in host_ids.items() if address.startswith(name) or (host_id or "").startswith(name)
    ]
    hosts = _addresses(name)
    # A host name must not stand for the node whose host id happens to begin with it: the host's own addresses are
    # candidates too, even if no node has them.
    named = [address for address in hosts if address in host_ids] or (hosts if partial else [])
    return list(dict.fromkeys([*partial, *named]))


def _addresses(name: str) -> list[str]:
    """The addresses of a host name; empty if it can't be looked up."""
    import socket

    if ":" in name or _NUMBERS.fullmatch(name):
        return []  # part of an address is not a host name, but getaddrinfo reads 10.1 and 0xa000001 as 10.0.0.1
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None)})
    except (OSError, UnicodeError):
        return []
