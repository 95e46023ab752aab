"""How the commands that ask the gate are told what is wanted of it, and which nodes are meant."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import reduce, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ringcheck.cli.target import Target, level
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ringcheck.core.gate import Gate
    from ringcheck.core.ring import Node, Snapshot

R = TypeVar("R")

_NUMBER = r"(0[xX][0-9a-fA-F]*|\d+)"
_NUMBERS = re.compile(rf"{_NUMBER}?(\.{_NUMBER}?)*")

_SHARED = (
    click.option(
        "--level",
        "gate_level",
        metavar="LEVEL",
        help="Keep this level, beside a keyspace's own critical one. [default: LOCAL_QUORUM, or the config's]",
    ),
    click.option("--accept", metavar="GLOB", multiple=True, help="Keyspaces that may lose ranges. Repeatable."),
    click.option(
        "--allow", metavar="CODE", multiple=True, help="A reason that does not block, by your word. Repeatable."
    ),
    click.option("--require-spare", is_flag=True, help="Block where a range would be left without a spare replica."),
    click.option("--require-all-up", is_flag=True, help="Block while any other node is down."),
)


def gate_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command, below its `target_options`, what is wanted of the gate, as one argument `gate`."""

    @wraps(command)  # click keeps what the other options' decorators said on the function
    def with_gate(target: Target, **options: Any) -> R:  # noqa: ANN401 - click passes what the options hold
        names = ("gate_level", "accept", "allow", "require_spare", "require_all_up")
        return command(target=target, gate=_gate(target, *(options.pop(name) for name in names)), **options)

    decorated: Callable[..., R] = reduce(lambda inner, option: option(inner), reversed(_SHARED), with_gate)
    return decorated


def _gate(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    gate_level: str | None,
    accept: tuple[str, ...],
    allow: tuple[str, ...],
    require_spare: bool,  # noqa: FBT001 - a flag
    require_all_up: bool,  # noqa: FBT001 - a flag
) -> Gate:
    """The configured gate, with what the command line says.

    Raises:
        UsageError: if it is to look at some keyspaces only: whoever stops a node takes a replica from all.
    """
    if target.keyspace:
        raise UsageError(
            "a stop takes a replica from every keyspace: --accept names those that may lose ranges, not -k"
        )
    return (
        target.settled()
        .gate()
        .asked(
            level=level(gate_level) if gate_level else None,
            accept=accept,
            allow=allow,
            require_spare=require_spare,
            require_all_up=require_all_up,
        )
    )


# Which nodes


def in_rack(snapshot: Snapshot, rack: str, datacenters: Sequence[str]) -> list[str]:
    """Addresses of the members in a rack; in one of some datacenters, if any are named.

    Raises:
        UsageError: if there is no such rack, or several datacenters have it.
    """
    here = [node for node in _members(snapshot, datacenters) if node.rack == rack]
    homes = sorted({node.datacenter or "" for node in here})
    if len(homes) > 1:
        raise UsageError(f"rack {rack} is in {', '.join(homes)}: choose with --dc")
    if not here:
        where = f" in {', '.join(datacenters)}" if datacenters else ""
        raise UsageError(f"there is no rack {rack or repr(rack)}{where}")
    return [node.address for node in here]


def members(snapshot: Snapshot, names: Sequence[str], rack: str | None, datacenters: Sequence[str]) -> list[str]:
    """Addresses of the nodes that are named, or of the members of a rack, of some datacenters, or of all; each once.

    Names that no node has stay as they are, for the gate to refuse.

    Raises:
        UsageError: if nodes and a rack are named, a rack can't be found, or a name can mean several nodes.
    """
    if names and rack is not None:
        raise UsageError("name nodes or a --rack, not both")
    if names:
        return list(dict.fromkeys(resolve(name, snapshot) for name in names))
    if rack is not None:  # an empty one is a variable that was never set, and must not mean every node
        return in_rack(snapshot, rack, datacenters)
    return [node.address for node in _members(snapshot, datacenters)]


def _members(snapshot: Snapshot, datacenters: Sequence[str]) -> list[Node]:
    """The nodes that hold replicas, in some datacenters if any are named: coordinators are asked for by name."""
    from ringcheck.core.evidence import evidence_of

    here = (snapshot.nodes[index] for index in sorted(evidence_of(snapshot).members))
    return [node for node in here if not datacenters or node.datacenter in datacenters]


def resolve(name: str, snapshot: Snapshot) -> str:
    """The address of the node that a name means; what no node has stays as it is.

    Raises:
        UsageError: if it can mean several.
    """
    return meant(name, {node.address: node.host_id for node in snapshot.nodes})


def meant(name: str, known: Mapping[str, str | None]) -> str:
    """The address that a name means, of those that are known with their host ids, or else the name itself.

    Raises:
        UsageError: if it can mean several nodes, or a node and another host.
    """
    from ringcheck.documents.fields import address
    from ringcheck.errors import DataError

    if not name:
        raise UsageError("a NODE is empty")  # a variable that was never set, and the beginning of every name
    with suppress(DataError):
        return address(name)  # a whole address is no beginning of another one: 10.0.0.1 must never mean 10.0.0.10
    whole = [one for one, host_id in known.items() if name in {one, host_id}]
    near = whole or [one for one, host_id in known.items() if one.startswith(name) or (host_id or "").startswith(name)]
    hosts = [] if whole else _addresses(name)
    # A host that is no node, or is one by another address, is not the node whose host id happens to begin so either.
    here = [one for one in hosts if one in known] or (hosts if near else [])
    found = list(dict.fromkeys([*near, *here]))
    if len(found) > 1:
        raise UsageError(f"{name} can mean {', '.join(found)}")
    return found[0] if found else name


def _addresses(name: str) -> list[str]:
    """The addresses of a host by its name; none where nobody knows it: who restarts it by that name then fails too."""
    import socket

    if ":" in name or _NUMBERS.fullmatch(name):
        return []  # a part of an address is no host's name, but getaddrinfo takes 10.1 and 0xa000001 for 10.0.0.1
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None)})
    except (OSError, UnicodeError):
        return []
