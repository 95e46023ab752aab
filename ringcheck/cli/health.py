"""`ringcheck health`: what `nodetool health` would print."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ringcheck.cli.target import Target, colours, columns, level, target_options

if TYPE_CHECKING:
    from ringcheck.core.consistency import Level


@click.command
@target_options
@click.argument("keyspaces", metavar="[KEYSPACE]...", nargs=-1)
@click.option(
    "--level", "levels", metavar="LEVEL|all", multiple=True, help="Show this level, watched or not. Repeatable."
)
@click.option("--ranges", is_flag=True, help="List every unavailable range.")
@click.option("--view", metavar="ADDRESS", help="Judge by one coordinator's view alone.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def health(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    keyspaces: tuple[str, ...],
    levels: tuple[str, ...],
    ranges: bool,  # noqa: FBT001 - a flag
    view: str | None,
    format_: str,
) -> int:
    """Which ranges of which keyspaces can be served, and how near an outage is.

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, by the levels that are watched.
    """
    from ringcheck.core.assess import Question
    from ringcheck.documents.fields import address
    from ringcheck.documents.verdict import verdict_document
    from ringcheck.report import text

    settled = replace(target, keyspace=(*target.keyspace, *keyspaces)).settled()
    observer = address(view, "--view") if view else None
    verdict = settled.verdict(Question(levels=asked_levels(levels), view=observer, ranges=ranges))
    if format_ == "json":
        click.echo(json.dumps(verdict_document(verdict), indent=2))
    else:
        click.echo(text.render(verdict, colour=colours(), width=columns()))
    return verdict.severity.exit_code


def asked_levels(names: tuple[str, ...]) -> tuple[Level, ...]:
    """The levels that `--level` names.

    Raises:
        UsageError: if there is no such level.
    """
    from ringcheck.core.consistency import Level

    return tuple(Level) if "all" in names else tuple(level(name) for name in names)
