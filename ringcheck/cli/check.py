"""`ringcheck check`: the plugin for Nagios, Icinga, NRPE and Sensu."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from ringcheck import __version__
from ringcheck.cli.target import RESERVE, Seconds, Settled, Target, level, target_options
from ringcheck.errors import RingcheckError, SourceError, UsageError

if TYPE_CHECKING:
    from ringcheck.agent.sensu import Sender
    from ringcheck.config.values import Sensu
    from ringcheck.core.policy import Policy, Severity
    from ringcheck.core.verdict import Verdict

BETWEEN_CHECKS = 60.0  # seconds, as Nagios and Sensu run plugins; Sensu wants to be told


@dataclass(frozen=True, slots=True)
class ToSensu:
    """What was said on the command line about Sensu; it goes before the configuration."""

    sensu: bool
    team: str | None
    runbook: str | None
    sensu_host: str | None
    sensu_port: int | None
    sensu_url: str | None

    def sender(self, settled: Settled) -> Sender | None:
        """What tells Sensu, if it is to be told.

        Raises:
            UsageError: if no team or runbook is named, or both transports.
        """
        if not self.sensu:
            return None
        from ringcheck.agent.sensu import Sender
        from ringcheck.config import values

        known = (settled.configured.sensu if settled.configured else None) or values.Sensu()
        team, runbook = self.team or known.team, self.runbook or known.runbook
        if not team or not runbook:
            raise UsageError("--sensu needs --team and --runbook, or `sensu: {team, runbook}` in the configuration")
        chosen = self._transport(replace(known, team=team, runbook=runbook))
        interval = min(BETWEEN_CHECKS, chosen.ttl // 3) if chosen.ttl else BETWEEN_CHECKS
        return Sender(_name(settled), chosen, interval)

    def _transport(self, known: Sensu) -> Sensu:
        if self.sensu_url and (self.sensu_host or self.sensu_port):
            raise UsageError("--sensu-url is Sensu Go's API, --sensu-host and --sensu-port are the socket: choose one")
        if self.sensu_url:
            from ringcheck.config.formats import url

            try:
                return replace(known, transport="sensu-go", url=url(self.sensu_url))
            except ValueError as error:
                raise UsageError(f"--sensu-url: {error}") from None
        if self.sensu_host or self.sensu_port:
            host, port = self.sensu_host or known.host, self.sensu_port or known.port
            return replace(known, transport="socket", host=host, port=port)
        return known


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
@click.option(
    "--agent", metavar="URL", help="Ask this running agent for its verdict instead of polling; with --cluster."
)
@click.option(
    "--max-age", type=Seconds(), default=60.0, show_default="60s", help="With --agent: how old its verdict may be."
)
@click.option("--sensu", is_flag=True, help="Send the result to Sensu too: a page event and a ticket event.")
@click.option("--team", help="Sensu: the team that is told, where the configuration names none.")
@click.option("--runbook", help="Sensu: URL of what to do, where the configuration names none.")
@click.option("--sensu-host", help="Sensu: host of the classic socket. [default: 127.0.0.1]")
@click.option("--sensu-port", type=click.IntRange(1, 65535), help="Sensu: its port. [default: 3030]")
@click.option("--sensu-url", metavar="URL", help="Sensu Go: the agent's API instead of the socket.")
@click.version_option(__version__, "-V", "--version", prog_name="ringcheck check", message="%(prog)s %(version)s")
def check(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    warning: str | None,
    critical: str | None,
    format_: str,
    verbose: int,
    unreachable: str,
    agent: str | None,
    max_age: float,
    sensu: bool,  # noqa: FBT001 - a flag
    team: str | None,
    runbook: str | None,
    sensu_host: str | None,
    sensu_port: int | None,
    sensu_url: str | None,
) -> int:
    """One line for Nagios, NRPE and Sensu: can every range be served?

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. With a configuration its rules say what matters; -w and -c
    replace them. Anything that keeps ringcheck from knowing is 3. With --agent the agent's configuration says what
    matters, and --username, --password-file and the files of TLS are for the agent.
    """
    from ringcheck.core.policy import Severity

    started = time.monotonic()
    if agent:
        _refuse_with_agent(target, warning or critical, unreachable)
    settled = Settled(target, None) if agent and not target.config else target.settled()
    sender = ToSensu(sensu, team, runbook, sensu_host, sensu_port, sensu_url).sender(settled)
    try:
        verdict = _of_agent(settled, agent, max_age) if agent else _polled(settled, warning, critical)
    except SourceError as error:
        return _blind(settled, str(error), Severity[unreachable.upper()], sender)
    except RingcheckError as error:
        if sender is None:
            raise
        return _blind(settled, str(error), Severity.UNKNOWN, sender)
    _print(verdict, format_, time.monotonic() - started, verbose=verbose > 0)
    _complain(sender.send(verdict) if sender else None, aside=format_ == "json")
    return verdict.severity.exit_code


def _polled(settled: Settled, warning: str | None, critical: str | None) -> Verdict:
    from ringcheck.core.assess import Question

    return settled.verdict(Question(), _policy(settled.policy(), warning, critical))


def _refuse_with_agent(target: Target, levels: str | None, unreachable: str) -> None:
    """Options that an agent's verdict would ignore, without a word, are refused."""
    ignored = {
        "-H": target.host, "-u": target.url, "--from": target.from_, "--dc": target.dc, "-k": target.keyspace,
        "-w and -c": levels, "--unreachable critical": unreachable == "critical",
    }  # fmt: skip
    wrong = next((name for name, given in ignored.items() if given), None)
    if wrong:
        raise UsageError(f"{wrong} can't be used with --agent: its own configuration says what matters")
    if not (target.cluster or target.config):
        raise UsageError("--agent needs --cluster NAME: which of its clusters")


def _of_agent(settled: Settled, agent: str, max_age: float) -> Verdict:
    """What an agent says of a cluster now.

    Raises:
        RingcheckError: if it says nothing that can be believed.
    """
    from ringcheck.agent.client import RemoteAgent, health
    from ringcheck.http.credentials import PASSWORD_VARIABLE, secret
    from ringcheck.http.tls import Tls

    target = settled.target
    password = secret(target.password_file) if target.password_file else os.environ.get(PASSWORD_VARIABLE, "")
    tls = Tls(ca_file=target.ca_file, cert_file=target.cert_file, key_file=target.key_file)
    auth = (target.username, password) if target.username else None
    asked = RemoteAgent(url=agent, auth=auth, tls=tls if tls != Tls() else None, max_age=max_age)
    return health(asked, _name(settled), max(target.timeout - RESERVE, target.timeout / 2))


def _name(settled: Settled) -> str:
    """The cluster's name, as far as it is known before anybody is asked."""
    return settled.configured.name if settled.configured else settled.target.cluster or ""


def _print(verdict: Verdict, format_: str, seconds: float, *, verbose: bool) -> None:
    from ringcheck.documents.verdict import verdict_document
    from ringcheck.report import nagios

    if format_ == "json":
        click.echo(json.dumps(verdict_document(verdict), indent=2))
    else:
        click.echo(nagios.render(verdict, seconds=seconds, verbose=verbose))


def _blind(settled: Settled, reason: str, severity: Severity, sender: Sender | None) -> int:
    """Say that nothing is known. Sensu too, or it would go on believing the last event."""
    from ringcheck.report import nagios

    name = _name(settled)
    click.echo(nagios.line(severity, f"{name}: {reason}" if name else reason))
    if sender and not name:
        _complain("without a configuration the cluster's name is known only from the cluster")
    elif sender:
        _complain(sender.send_blind(reason, severity))
    return severity.exit_code


def _complain(problem: str | None, *, aside: bool = False) -> None:
    if problem:
        from ringcheck.report import nagios

        click.echo(f"Sensu was not told: {nagios.plain(problem)}", err=aside)


def _policy(policy: Policy, warning: str | None, critical: str | None) -> Policy:
    """The policy, or the two levels instead of its rules."""
    from ringcheck.core.policy import DEFAULT, Rule, Threshold

    if warning is None and critical is None:
        return policy
    page = Threshold(level(critical)) if critical else DEFAULT.critical
    ticket = Threshold(level(warning)) if warning else DEFAULT.warning
    return replace(policy, rules=(Rule(keyspaces=("*",), critical=page, warning=ticket),))
