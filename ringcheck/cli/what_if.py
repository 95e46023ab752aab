"""`ringcheck what-if`: the verdict as it would be with nodes down, or back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import in_rack, resolve
from ringcheck.cli.health import asked_levels
from ringcheck.cli.target import Target, colours, target_options
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.core.ring import Snapshot


@click.command("what-if")
@target_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--down", metavar="NODE[,NODE...]", multiple=True, help="Suppose it down. Repeatable.")
@click.option("--rack", metavar="RACK", help="Suppose all its nodes down; with --dc where several datacenters have it.")
@click.option("--down-dc", metavar="DC", multiple=True, help="Suppose all nodes of this datacenter down. Repeatable.")
@click.option("--up", metavar="NODE[,NODE...]", multiple=True, help="Suppose it back. Repeatable.")
@click.option(
    "--level", "levels", metavar="LEVEL|all", multiple=True, help="Show this level, watched or not. Repeatable."
)
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
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
    """The verdict as it would be if nodes were down, or back, for every view.

    A NODE is an address, a host id, or the beginning of one that no other node has; those without an option are
    supposed down. Nothing is stopped. Exit codes: those of `health`, by the verdict as it would be.
    """
    from ringcheck.core import whatif as core
    from ringcheck.core.assess import Question
    from ringcheck.report import whatif as report

    if nodes and up:
        raise UsageError(f"say --down or --up before {nodes[0]}")
    settled = target.settled()
    leases = settled.maintenance()
    seen = settled.snapshot()
    gone = [*_named(seen, (*down, *nodes)), *(in_rack(seen, rack, target.dc) if rack else ()), *_in(seen, down_dc)]
    back = _named(seen, up)
    if not (gone or back):
        raise UsageError("say which nodes to suppose down (--down, --rack, --down-dc) or back (--up)")
    question = Question(keyspaces=target.keyspace, levels=asked_levels(levels))
    supposition = tuple(dict.fromkeys(gone)), tuple(dict.fromkeys(back))
    found = core.what_if(seen, settled.policy(), question, leases(), down=supposition[0], up=supposition[1])
    if format_ == "json":
        click.echo(json.dumps(report.document(found), indent=2))
    else:
        click.echo(report.render(found, colour=colours()))
    return found.then.severity.exit_code


def _named(seen: Snapshot, names: Iterable[str]) -> list[str]:
    return [resolve(name.strip(), seen) for some in names for name in some.split(",") if name.strip()]


def _in(seen: Snapshot, datacenters: Iterable[str]) -> list[str]:
    for name in datacenters:
        if name not in seen.datacenters:
            raise UsageError(f"datacenter {name} has no nodes (known: {', '.join(seen.datacenters) or 'none'})")
    return [node.address for node in seen.nodes if node.datacenter in set(datacenters)]
