"""`ringcheck plan`: the batches of a rolling restart, before it begins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import gate_options, members
from ringcheck.cli.target import Target, target_options

if TYPE_CHECKING:
    from ringcheck.core.gate import Gate
    from ringcheck.core.plan import By, Plan


@click.command
@target_options
@gate_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--rack", metavar="RACK", help="Only the nodes of this rack.")
@click.option("--max-batch", type=click.IntRange(1), metavar="N", help="Nodes at once, at most.")
@click.option("--by", type=click.Choice(["rack", "node"]), help="No batch spans racks, or single nodes.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def plan(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    gate: Gate,
    nodes: tuple[str, ...],
    rack: str | None,
    max_batch: int | None,
    by: By | None,
    format_: str,
) -> int:
    """The fewest batches in which nodes can restart, with every range staying available at every step.

    All nodes, those of a --rack, or those named; with --dc those of its datacenters, for its clients. A batch may hold
    nodes of several racks and datacenters where that makes fewer of them. Nothing is restarted. Exit codes: 0 every
    node has a batch, 2 some are refused, 3 unknown.
    """
    from ringcheck.core import plan as core
    from ringcheck.documents.decision import plan_document
    from ringcheck.report import plan as report

    settled = target.settled()
    seen = settled.snapshot()
    wanted = members(seen, nodes, rack, target.dc)
    made = core.plan(seen, settled.policy(), gate, nodes=wanted, max_batch=max_batch, by=by)
    click.echo(json.dumps(plan_document(made), indent=2) if format_ == "json" else report.render(made))
    return _exit_code(made)


def _exit_code(made: Plan) -> int:
    if made.unknown:
        return 3
    return 2 if made.refused else 0
