"""`ringcheck preflight`: the gate for people and for scripts that restart nodes."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ringcheck.cli.target import Seconds, Settled, Target, level, target_options
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.core.gate import Action, Decision, Gate
    from ringcheck.core.ring import Node, Snapshot

EXIT = {"safe": 0, "unsafe": 2, "unknown": 3}
BETWEEN = 2.0  # seconds between readings


@click.command
@target_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--rack", metavar="RACK", help="All nodes of this rack; with --dc where several datacenters have it.")
@click.option("--action", type=click.Choice(["restart", "decommission"]), default="restart", show_default=True)
@click.option(
    "--level", "gate_level", metavar="LEVEL", help="Keep this level. [default: LOCAL_QUORUM, or the config's]"
)
@click.option("--accept", metavar="GLOB", multiple=True, help="Keyspaces that may lose ranges. Repeatable.")
@click.option("--allow", metavar="CODE", multiple=True, help="A reason that does not block, by your word. Repeatable.")
@click.option("--require-spare", is_flag=True, help="Block where a range would be left without a spare replica.")
@click.option("--require-all-up", is_flag=True, help="Block while any other node is down.")
@click.option(
    "--stable", type=click.IntRange(1), metavar="N", help="Safe readings in a row. [default: the config's, or 1]"
)
@click.option("--wait", type=Seconds(), metavar="DURATION", help="Read again for so long until it is safe.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def preflight(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    nodes: tuple[str, ...],
    rack: str | None,
    action: Action,
    gate_level: str | None,
    accept: tuple[str, ...],
    allow: tuple[str, ...],
    require_spare: bool,  # noqa: FBT001 - a flag
    require_all_up: bool,  # noqa: FBT001 - a flag
    stable: int | None,
    wait: float | None,
    format_: str,
) -> int:
    """May these nodes stop now, with every range of every keyspace staying available?

    A NODE is an address, a host id, or the beginning of one that no other node has. Exit codes: 0 safe, 2 unsafe,
    3 unknown; only 0 is a yes.
    """
    from ringcheck.report import gate as report
    from ringcheck.report.document import decision_document

    settled = target.settled()
    wanted = replace(
        _gate(settled, gate_level),
        allow=frozenset(_codes(allow)),
        require_spare=require_spare,
        require_all_up=require_all_up,
    )
    wanted = replace(wanted, accept=(*wanted.accept, *accept))
    decision = _until_safe(
        settled, wanted, _Choice(nodes, rack, target.dc), action, stable or settled.stable_readings(), wait or 0.0
    )
    click.echo(json.dumps(decision_document(decision), indent=2) if format_ == "json" else report.render(decision))
    return EXIT[decision.decision]


class _Choice:
    """Which nodes are to stop."""

    def __init__(self, names: tuple[str, ...], rack: str | None, datacenters: tuple[str, ...]) -> None:
        if bool(names) == bool(rack):
            raise UsageError("name the nodes that are to stop, or a --rack")
        self._names = names
        self._rack = rack
        self._datacenters = datacenters

    def addresses(self, snapshot: Snapshot) -> list[str]:
        """Addresses in a snapshot; names that no node has stay as they are, for the gate to refuse."""
        if self._rack is None:
            return list(dict.fromkeys(resolve(name, snapshot) for name in self._names))
        here = [node for node in snapshot.nodes if node.rack == self._rack and self._in_place(node)]
        homes = sorted({node.datacenter or "" for node in here})
        if len(homes) > 1:
            raise UsageError(f"rack {self._rack} is in {', '.join(homes)}: choose with --dc")
        if not here:
            raise UsageError(f"there is no rack {self._rack}")
        return [node.address for node in here]

    def _in_place(self, node: Node) -> bool:
        return not self._datacenters or node.datacenter in self._datacenters


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


def _gate(settled: Settled, gate_level: str | None) -> Gate:
    """The configured gate, with the command line's level."""
    gate = settled.gate()
    return replace(gate, level=level(gate_level), exact=True) if gate_level else gate


def _codes(allow: tuple[str, ...]) -> tuple[str, ...]:
    from ringcheck.core.gate import CODES

    unknown = sorted(set(allow) - CODES)
    if unknown:
        raise UsageError(f"there is no reason {unknown[0]!r} (known: {', '.join(sorted(CODES))})")
    return allow


def _until_safe(  # noqa: PLR0913, PLR0917 - what the command line says
    settled: Settled, gate: Gate, choice: _Choice, action: Action, stable: int, wait: float
) -> Decision:
    """The last of the readings: of as many safe ones in a row as are asked for, or of the time there is."""
    from ringcheck.core.gate import Gatekeeper

    ends = time.monotonic() + wait
    safe = 0
    with settled.polls() as poll:
        while True:
            seen = poll()
            decision = Gatekeeper(seen, settled.policy(), gate).decide(choice.addresses(seen), action)
            safe = safe + 1 if decision.decision == "safe" else 0
            if safe >= stable or settled.target.from_ or (not safe and time.monotonic() + BETWEEN > ends):
                return decision
            time.sleep(BETWEEN)
