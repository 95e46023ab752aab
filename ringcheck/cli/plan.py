"""`ringcheck plan`: the batches of a rolling restart, before it begins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import gate_options
from ringcheck.cli.node_names import members
from ringcheck.cli.options import EVERY_KEYSPACE, ClusterCommand, Whole, format_option, target_options
from ringcheck.cli.terminal import colours, columns

if TYPE_CHECKING:
    from ringcheck.cli.target import Target
    from ringcheck.core.gate import Gate
    from ringcheck.core.plan import By, Plan


@click.command(cls=ClusterCommand)
@target_options(refused={"keyspace": EVERY_KEYSPACE})
@gate_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--rack", metavar="RACK", help="Only the nodes of this rack.")
@click.option("--max-batch", type=Whole(1), metavar="N", help="Restart at most N nodes at once.")
@click.option(
    "--by", type=click.Choice(["rack", "node"]), help="rack: no batch spans racks; node: each node is a batch."
)
@format_option("text", "json")
def plan(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    gate: Gate,
    nodes: tuple[str, ...],
    rack: str | None,
    max_batch: int | None,
    by: By | None,
    format_: str,
) -> int:
    """The fewest batches in which nodes can restart, with every range available at every step.

    Plans for all nodes, for those of --dc, for those of --rack, or for the nodes that are named. With --dc, only the
    clients of those datacenters count. A batch may span racks and datacenters if that makes fewer batches. Nothing is
    restarted.

    Exit codes: 0 every node has a batch, 2 some nodes are refused, 3 unknown.
    """
    from ringcheck.cli.repeated import repeated
    from ringcheck.cli.roll import roll
    from ringcheck.core import plan as core
    from ringcheck.documents.decision import plan_document
    from ringcheck.report import plan as report

    cluster = target.choose()
    seen = cluster.snapshot()
    wanted = members(seen, nodes, rack, target.dc)
    batches = core.plan(seen, cluster.policy(seen), gate, nodes=wanted, max_batch=max_batch, by=by)
    shown = report.render(batches, colour=colours(), width=columns(), options=repeated(roll))
    click.echo(json.dumps(plan_document(batches), indent=2) if format_ == "json" else shown)
    return _exit_code(batches)


def _exit_code(batches: Plan) -> int:
    if batches.unknown:
        return 3
    return 2 if batches.refused else 0
