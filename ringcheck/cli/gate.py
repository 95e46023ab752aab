"""How the commands that ask the gate are told what is wanted of it, and which nodes are meant."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ringcheck.cli.target import Target, level
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringcheck.core.gate import Gate
    from ringcheck.core.ring import Node, Snapshot

R = TypeVar("R")

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
    gate = target.settled().gate()
    gate = replace(gate, level=level(gate_level)) if gate_level else gate
    return replace(
        gate,
        accept=(*gate.accept, *accept),
        allow=frozenset(_codes(allow)),
        require_spare=gate.require_spare or require_spare,
        require_all_up=gate.require_all_up or require_all_up,
    )


def _codes(allow: tuple[str, ...]) -> tuple[str, ...]:
    from ringcheck.core.gate import CODES

    unknown = sorted(set(allow) - CODES)
    if unknown:
        raise UsageError(f"there is no reason {unknown[0]!r} (known: {', '.join(sorted(CODES))})")
    return allow


# Which nodes


def in_rack(snapshot: Snapshot, rack: str, datacenters: Sequence[str]) -> list[str]:
    """Addresses of the nodes of a rack; of one of some datacenters, where any are named.

    Raises:
        UsageError: if there is no such rack, or several datacenters have it.
    """
    here = [node for node in snapshot.nodes if node.rack == rack and _in(node, datacenters)]
    homes = sorted({node.datacenter or "" for node in here})
    if len(homes) > 1:
        raise UsageError(f"rack {rack} is in {', '.join(homes)}: choose with --dc")
    if not here:
        where = f" in {', '.join(datacenters)}" if datacenters else ""
        raise UsageError(f"there is no rack {rack or repr(rack)}{where}")
    return [node.address for node in here]


def members(snapshot: Snapshot, names: Sequence[str], rack: str | None, datacenters: Sequence[str]) -> list[str]:
    """Addresses of the nodes that are named, of a rack, of some datacenters, or of all; each once.

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
    return [node.address for node in snapshot.nodes if _in(node, datacenters)]


def _in(node: Node, datacenters: Sequence[str]) -> bool:
    return not datacenters or node.datacenter in datacenters


def resolve(name: str, snapshot: Snapshot) -> str:
    """The address of the node that a name means.

    Raises:
        UsageError: if it can mean several.
    """
    from ringcheck.errors import DataError
    from ringcheck.report.document import address

    try:
        exact = address(name)
    except DataError:
        exact = name
    else:
        return exact  # a whole address is no beginning of another one: 10.0.0.1 must never mean 10.0.0.10
    if exact in snapshot.index:
        return exact
    near = [node for node in snapshot.nodes if name == node.host_id or _begins(node, name)]
    if len(near) > 1:
        raise UsageError(f"{name} can mean {', '.join(node.address for node in near)}")
    return near[0].address if near else _by_host_name(name, snapshot)


def _begins(node: Node, name: str) -> bool:
    return node.address.startswith(name) or (node.host_id or "").startswith(name)


def _by_host_name(name: str, snapshot: Snapshot) -> str:
    import socket

    try:
        found = {info[4][0] for info in socket.getaddrinfo(name, None)}
    except OSError:
        return name
    here = [str(one) for one in found if str(one) in snapshot.index]
    return here[0] if len(here) == 1 else name
