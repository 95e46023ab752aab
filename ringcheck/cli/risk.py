"""`ringcheck risk`: the smallest sets of nodes or racks whose loss is an outage."""

from __future__ import annotations

import json

import click

from ringcheck.cli.health import asked_levels
from ringcheck.cli.target import Target, target_options


@click.command
@target_options
@click.option(
    "--level", "levels", metavar="LEVEL|all", multiple=True, help="Show this level, watched or not. Repeatable."
)
@click.option(
    "--limit", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Sets to list a level."
)
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def risk(target: Target, levels: tuple[str, ...], limit: int, format_: str) -> int:
    """The smallest sets of nodes, and of racks, whose loss beside what is down now is an outage.

    Of each watched level: how many such sets there are, and those that lose most. Exit codes: 0 told, however near an
    outage is (`check` is the alarm), 3 something is not known, so that smaller sets may be an outage.
    """
    from ringcheck.core import risk as core
    from ringcheck.core.assess import Question
    from ringcheck.report import whatif as report

    settled = target.settled()
    question = Question(keyspaces=target.keyspace, levels=asked_levels(levels))
    found = core.risk(settled.snapshot(), settled.policy(), question, limit)
    click.echo(json.dumps(report.risk_document(found), indent=2) if format_ == "json" else report.render_risk(found))
    return 3 if found.gaps else 0
