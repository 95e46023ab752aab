"""`ringcheck health`: which ranges can be served at which level, and how near an outage is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import ClusterCommand, asked_levels, format_option, levels_option, target_options
from ringcheck.cli.terminal import colours, columns
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.cli.target import Target


@click.command(cls=ClusterCommand)
@target_options()
@click.argument("keyspaces", metavar="[KEYSPACE]...", nargs=-1)
@levels_option
@click.option("--problems", is_flag=True, help="Show only what is not OK.")
@click.option("--ranges", is_flag=True, help="List every unavailable range.")
@click.option(
    "--view",
    metavar="ADDRESS",
    help="Judge by the view of this coordinator only, for the clients of its datacenter: only these connect to it.",
)
@format_option("text", "json")
def health(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    keyspaces: tuple[str, ...],
    levels: tuple[str, ...],
    problems: bool,  # noqa: FBT001 - a flag
    ranges: bool,  # noqa: FBT001 - a flag
    view: str | None,
    format_: str,
) -> int:
    """Which ranges of which keyspaces can be served, and how close the next outage is.

    A KEYSPACE is a pattern like that of --keyspace.

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, judged by the monitored levels.
    """
    from ringcheck.core.assess import Question
    from ringcheck.documents.fields import address
    from ringcheck.documents.verdict import verdict_document
    from ringcheck.report import text

    if problems and format_ == "json":
        raise UsageError("--problems shortens the text: a ringcheck/verdict/1 document is always whole")
    cluster = replace(target, keyspace=(*target.keyspace, *keyspaces)).choose()
    observer = None if view is None else address(view, "--view")
    verdict = cluster.verdict(Question(levels=asked_levels(levels), view=observer, ranges=ranges))
    if format_ == "json":
        click.echo(json.dumps(verdict_document(verdict), indent=2))
    else:
        click.echo(text.render(verdict, colour=colours(), width=columns(), problems=problems))
    return verdict.severity.exit_code
