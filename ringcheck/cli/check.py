"""`ringcheck check`: the plugin for Nagios, Icinga, NRPE and Sensu."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ringcheck import __version__
from ringcheck.cli.target import Target, level, target_options

if TYPE_CHECKING:
    from ringcheck.core.policy import Policy


@click.command
@target_options
@click.option("-w", "--warning", metavar="LEVEL", help="Warn where this level is lost. [default: LOCAL_QUORUM]")
@click.option("-c", "--critical", metavar="LEVEL", help="Critical where this level is lost. [default: LOCAL_ONE]")
@click.option("--format", "format_", type=click.Choice(["nagios", "json"]), default="nagios", show_default=True)
@click.option("-v", "--verbose", count=True, help="Findings and levels in further lines.")
@click.option(
    "--unreachable",
    type=click.Choice(["unknown", "critical"]),
    default="unknown",
    show_default=True,
    help="What it is when no node's Jolokia can be asked at all.",
)
@click.option("--sensu", is_flag=True, help="Send the result to Sensu too: a page event and a ticket event.")
@click.option("--team", help="Sensu: the team that is told, where the configuration names none.")
@click.option("--runbook", help="Sensu: URL of what to do, where the configuration names none.")
@click.option("--sensu-host", help="Sensu: the agent's socket. [default: 127.0.0.1]")
@click.option("--sensu-port", type=int, help="Sensu: its port. [default: 3030]")
@click.version_option(__version__, "-V", "--version", prog_name="ringcheck check", message="%(prog)s %(version)s")
def check(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    warning: str | None,
    critical: str | None,
    format_: str,
    verbose: int,
    unreachable: str,
    sensu: bool,  # noqa: FBT001 - a flag
    team: str | None,
    runbook: str | None,
    sensu_host: str | None,
    sensu_port: int | None,
) -> int:
    """One line for Nagios, NRPE and Sensu: can every range be served?

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. With a configuration its rules say what matters; -w and -c
    replace them. Anything that keeps ringcheck from knowing is 3.
    """
    from ringcheck.cli import emit
    from ringcheck.core.assess import Question
    from ringcheck.core.policy import Severity
    from ringcheck.errors import SourceError
    from ringcheck.report import nagios
    from ringcheck.report.document import verdict_document

    started = time.monotonic()
    settled = target.settled()
    policy = _policy(settled.policy(), warning, critical)
    told = emit.settings(settled.configured, team, runbook, sensu_host, sensu_port) if sensu else None
    try:
        verdict = settled.verdict(Question(), policy)
    except SourceError as error:
        severity = Severity[unreachable.upper()]
        who = f"{settled.configured.name}: " if settled.configured else ""
        click.echo(nagios.line(severity, f"{who}{error}"))
        return severity.exit_code
    if format_ == "json":
        text = json.dumps(verdict_document(verdict), indent=2)
    else:
        text = nagios.render(verdict, seconds=time.monotonic() - started, verbose=verbose > 0)
    click.echo(text)
    problem = emit.emit(verdict, told) if told else None
    if problem:
        click.echo(f"Sensu was not told: {nagios.plain(problem)}", err=format_ == "json")
    return verdict.severity.exit_code


def _policy(policy: Policy, warning: str | None, critical: str | None) -> Policy:
    """The policy, or the two levels instead of its rules."""
    from ringcheck.core.policy import DEFAULT, Rule, Threshold

    if warning is None and critical is None:
        return policy
    page = Threshold(level(critical)) if critical else DEFAULT.critical
    ticket = Threshold(level(warning)) if warning else DEFAULT.warning
    return replace(policy, rules=(Rule(("*",), page, ticket),))
