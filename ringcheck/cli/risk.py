"""`ringcheck risk`: the smallest sets of nodes or racks whose loss is an outage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import ClusterCommand, asked_levels, format_option, levels_option, target_options

if TYPE_CHECKING:
    from ringcheck.cli.target import Target


@click.command(cls=ClusterCommand)
@target_options()
@levels_option
@click.option(
    "--limit", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Sets to list for each level."
)
@format_option("text", "json")
def risk(target: Target, levels: tuple[str, ...], limit: int, format_: str) -> int:
    """The smallest sets of nodes, and of racks, whose loss is an outage, given the nodes that are down now.

    For each monitored level: how many such sets there are, and which of them lose most.

    Exit codes: 0 risks known, however near an outage is (`check` raises the alarm); 3 something is not known, so that
    smaller sets may be an outage.
    """
    from ringcheck.core import risk as core
    from ringcheck.core.assess import Question
    from ringcheck.report import whatif as report

    cluster = target.choose()
    question = Question(keyspaces=target.keyspace, levels=asked_levels(levels))
    risks = core.risk(cluster.snapshot(), cluster.policy(), question, limit)
    click.echo(json.dumps(report.risk_document(risks), indent=2) if format_ == "json" else report.render_risk(risks))
    return 3 if risks.gaps else 0
