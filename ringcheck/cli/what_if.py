"""`ringcheck what-if`: the verdict as it would be with nodes down or back, or with another topology."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ringcheck.cli.node_names import in_datacenters, in_rack, resolve
from ringcheck.cli.options import (
    ClusterCommand,
    Whole,
    asked_levels,
    format_option,
    levels_option,
    target_options,
    tokens_choice_option,
)
from ringcheck.cli.terminal import colours, columns
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.cli.target import Target
    from ringcheck.core.ring import Replication, Snapshot
    from ringcheck.core.topology import Topology
    from ringcheck.core.whatif import WhatIf


@click.command("what-if", cls=ClusterCommand)
@target_options()
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--down", metavar="NODE[,NODE...]", multiple=True, help="Assume that these nodes are down. Repeatable.")
@click.option("--rack", metavar="RACK", help="Assume that this rack is down; add --dc if several datacenters have it.")
@click.option("--down-dc", metavar="DC", multiple=True, help="Assume that this datacenter is down. Repeatable.")
@click.option("--up", metavar="NODE[,NODE...]", multiple=True, help="Assume that these nodes are up. Repeatable.")
@click.option(
    "--rf", metavar="KEYSPACE=DC:N[,DC:N...]", multiple=True, help="Assume this replication of a keyspace. Repeatable."
)
@click.option(
    "--add",
    metavar="DC:RACK",
    multiple=True,
    help="Assume a new node there, with as many tokens as the others. Repeatable.",
)
@click.option("--tokens", type=Whole(1, 1024), metavar="N", help="Assume that every node has N new tokens.")
@tokens_choice_option
@levels_option
@format_option("text", "json")
def what_if(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    nodes: tuple[str, ...],
    down: tuple[str, ...],
    rack: str | None,
    down_dc: tuple[str, ...],
    up: tuple[str, ...],
    rf: tuple[str, ...],
    add: tuple[str, ...],
    tokens: int | None,
    allocated: bool,  # noqa: FBT001 - a flag
    levels: tuple[str, ...],
    format_: str,
) -> int:
    """The verdict as it would be with nodes down or back, another replication, other tokens or more nodes.

    A NODE is an address, a host name, a host id, or the beginning of an address or host id. A NODE without an option
    is assumed to be down. Nothing is stopped or changed.

    Exit codes: those of `health`, for the verdict as it would be.
    """
    from ringcheck.core import whatif as core
    from ringcheck.core.assess import Question

    if nodes and up:
        raise UsageError(f"put --down or --up before {nodes[0]}")
    cluster = target.choose()
    leases = cluster.maintenance()
    seen = cluster.snapshot()
    gone = [*_addresses(seen, (*down, *nodes)), *(in_rack(seen, rack, target.dc) if rack else ())]
    supposed = core.Supposition(
        down=_once([*gone, *in_datacenters(seen, down_dc)]),
        up=_once(_addresses(seen, up)),
        topology=_topology(rf, add, tokens, allocated=allocated),
    )
    if not supposed:
        raise UsageError(
            "name nodes to assume down (--down, --rack, --down-dc) or up (--up), or use --rf, --add or --tokens"
        )
    question = Question(keyspaces=target.keyspace, levels=asked_levels(levels))
    result = core.what_if(seen, cluster.policy(seen), supposed, question, leases())
    click.echo(_rendered(result, format_))
    return result.then.severity.exit_code


def _addresses(seen: Snapshot, names: Iterable[str]) -> list[str]:
    return [resolve(name.strip(), seen) for listed in names for name in listed.split(",") if name.strip()]


def _topology(rf: Iterable[str], add: Iterable[str], tokens: int | None, *, allocated: bool) -> Topology:
    from ringcheck.core.topology import Topology

    topology = Topology(
        replication=tuple(map(_replication, rf)),
        added=tuple(map(_rack, add)),
        tokens=tokens,
        choice="allocated" if allocated else "random",
    )
    if allocated and not (topology.added or tokens):
        raise UsageError("--allocated says how the tokens of --add or --tokens are chosen", "add one of them")
    if len(dict(topology.replication)) < len(topology.replication):
        raise UsageError("name each keyspace once with --rf")
    return topology


def _replication(text: str) -> tuple[str, Replication]:
    from ringcheck.core.consistency import NETWORK_TOPOLOGY
    from ringcheck.core.ring import Factor, Replication
    from ringcheck.errors import RingError

    keyspace, equals, factors = text.partition("=")
    pairs = [part.strip().rpartition(":") for part in factors.split(",")]
    try:
        options = {name: Factor.parse(factor) for name, _, factor in pairs}
    except RingError:
        options = {}
    if not (keyspace and equals) or "" in options or len(options) < len(pairs):
        raise UsageError(f"{text!r} is not a replication such as orders=dc1:3,dc2:3")
    return keyspace, Replication.of(NETWORK_TOPOLOGY, options)


def _rack(text: str) -> tuple[str, str]:
    datacenter, _, rack = text.partition(":")
    if not (datacenter and rack):
        raise UsageError(f"{text!r} is not a place such as dc1:rack1")
    return datacenter, rack


def _once(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(addresses))


def _rendered(supposition: WhatIf, format_: str) -> str:
    from ringcheck.report import whatif as report

    if format_ == "json":
        return json.dumps(report.document(supposition), indent=2)
    return report.render(supposition, colour=colours(), width=columns())
