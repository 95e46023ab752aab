"""`ringcheck what-if`: the verdict as it would be with nodes down, or back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ringcheck.cli.nodes import in_datacenters, in_rack, resolve
from ringcheck.cli.options import ClusterCommand, asked_levels, format_option, levels_option, target_options
from ringcheck.cli.terminal import colours
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.cli.target import Target
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.whatif import WhatIf


@click.command("what-if", cls=ClusterCommand)
@target_options()
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--down", metavar="NODE[,NODE...]", multiple=True, help="Suppose these nodes down. Repeatable.")
@click.option(
    "--rack", metavar="RACK", help="Suppose all nodes of this rack down; add --dc if several datacenters have it."
)
@click.option("--down-dc", metavar="DC", multiple=True, help="Suppose all nodes of this datacenter down. Repeatable.")
@click.option("--up", metavar="NODE[,NODE...]", multiple=True, help="Suppose these nodes back. Repeatable.")
@levels_option
@format_option("text", "json")
def what_if(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    nodes: tuple[str, ...],
    down: tuple[str, ...],
    rack: str | None,
    down_dc: tuple[str, ...],
    up: tuple[str, ...],
    levels: tuple[str, ...],
    format_: str,
) -> int:
    """The verdict as it would be if nodes were down, or back.

    A NODE is an address, a host name, a host id, or the beginning of an address or host id. A NODE without an option
    is supposed down. Nothing is stopped.

    Exit codes: those of `health`, for the supposed verdict.
    """
    from ringcheck.core import whatif as core
    from ringcheck.core.assess import Question

    if nodes and up:
        raise UsageError(f"put --down or --up before {nodes[0]}")
    cluster = target.choose()
    leases = cluster.maintenance()
    seen = cluster.snapshot()
    gone = [*_named(seen, (*down, *nodes)), *(in_rack(seen, rack, target.dc) if rack else ())]
    lost, back = _once([*gone, *in_datacenters(seen, down_dc)]), _once(_named(seen, up))
    if not (lost or back):
        raise UsageError("name nodes to suppose down (--down, --rack, --down-dc) or back (--up)")
    question = Question(keyspaces=target.keyspace, levels=asked_levels(levels))
    supposition = core.what_if(seen, cluster.policy(), question, leases(), down=lost, up=back)
    click.echo(_shown(supposition, format_))
    return supposition.then.severity.exit_code


def _named(seen: Snapshot, names: Iterable[str]) -> list[str]:
    return [resolve(name.strip(), seen) for listed in names for name in listed.split(",") if name.strip()]


def _once(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(addresses))


def _shown(supposition: WhatIf, format_: str) -> str:
    from ringcheck.report import whatif as report

    if format_ == "json":
        return json.dumps(report.document(supposition), indent=2)
    return report.render(supposition, colour=colours())
