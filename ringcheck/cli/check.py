"""`ringcheck check`: the plugin for Nagios, Icinga, NRPE and Sensu."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ringcheck import __version__, deadline
from ringcheck.cli.options import ClusterCommand, Seconds, Whole, format_option, level, target_options
from ringcheck.cli.target import ChosenCluster
from ringcheck.cli.terminal import colours, columns, say
from ringcheck.errors import RingcheckError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.agent.sensu import Sender
    from ringcheck.cli.target import Target
    from ringcheck.config.values import Sensu
    from ringcheck.core.policy import Policy, Severity, Threshold
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.terminal import Line

MAX_AGE = 60.0  # seconds: greatest age of an agent's verdict
BETWEEN_CHECKS = 60.0  # seconds: how often Nagios and Sensu usually run plugins; an event for Sensu states it


@dataclass(frozen=True, slots=True, kw_only=True)
class SensuOptions:
    """The options about Sensu, under their names; they override the configuration."""

    sensu: bool
    team: str | None
    runbook: str | None
    sensu_host: str | None
    sensu_port: int | None
    sensu_url: str | None

    def sender(self, cluster: ChosenCluster) -> Sender | None:
        """What sends events to Sensu; None without --sensu.

        Raises:
            UsageError: if no team or runbook is named, or options of both transports are given.
        """
        if not self.sensu:
            return None
        from ringcheck.agent.sensu import Sender
        from ringcheck.config import values

        configured = (cluster.configured.sensu if cluster.configured else None) or values.Sensu()
        team, runbook = self.team or configured.team, self.runbook or configured.runbook
        if not team or not runbook:
            raise UsageError("--sensu needs --team and --runbook, or `sensu: {team, runbook}` in the configuration")
        settings = self._transport(replace(configured, team=team, runbook=runbook))
        interval = min(BETWEEN_CHECKS, settings.ttl // 3) if settings.ttl else BETWEEN_CHECKS
        return Sender(cluster.name, settings, interval)

    def _transport(self, settings: Sensu) -> Sensu:
        """The settings with the transport that the options name."""
        socket = self.sensu_host or self.sensu_port
        if self.sensu_url and socket:
            raise UsageError("--sensu-url is Sensu Go's API, --sensu-host and --sensu-port are the socket: choose one")
        if self.sensu_url:
            return replace(settings, transport="sensu-go", url=_checked(self.sensu_url))
        if socket:
            host, port = self.sensu_host or settings.host, self.sensu_port or settings.port
            return replace(settings, transport="socket", host=host, port=port)
        return settings


def _checked(sensu_url: str) -> str:
    from ringcheck.config.formats import url

    try:
        return url(sensu_url)
    except ValueError as error:
        raise UsageError(f"--sensu-url: {error}") from None


@click.command(cls=ClusterCommand)
@target_options()
@click.option("-w", "--warning", metavar="LEVEL", help="Warn if this level is lost. [default: LOCAL_QUORUM]")
@click.option("-c", "--critical", metavar="LEVEL", help="Critical if this level is lost. [default: LOCAL_ONE]")
@format_option("nagios", "json")
@click.option(
    "-v",
    "--verbose",
    count=True,
    help="Further lines. -v: what was assumed, findings and levels; -vv: also nodes; -vvv: also views.",
)
@click.option(
    "--unreachable",
    type=click.Choice(["unknown", "critical"]),
    default="unknown",
    show_default=True,
    help="The result if no node's Jolokia answers.",
)
@click.option(
    "--agent", metavar="URL", help="Take the verdict of this running agent instead of polling; needs --cluster."
)
@click.option("--max-age", type=Seconds(), help="With --agent: maximum age of its verdict. [default: 60s]")
@click.option("--sensu", is_flag=True, help="Also send the result to Sensu, as a page event and a ticket event.")
@click.option("--team", metavar="NAME", help="Sensu: team to notify. [default: that of the configuration]")
@click.option("--runbook", metavar="URL", help="Sensu: URL of the runbook. [default: that of the configuration]")
@click.option("--sensu-host", metavar="HOST", help="Sensu: host of the classic socket. [default: 127.0.0.1]")
@click.option("--sensu-port", type=Whole(1, 65535), metavar="PORT", help="Sensu: port of the socket. [default: 3030]")
@click.option("--sensu-url", metavar="URL", help="Sensu Go: URL of the agent's API, instead of the socket.")
@click.version_option(__version__, "-V", "--version", prog_name="ringcheck check", message="%(prog)s %(version)s")
def check(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    warning: str | None,
    critical: str | None,
    format_: str,
    verbose: int,
    unreachable: str,
    agent: str | None,
    max_age: float | None,
    **sensu: Any,  # noqa: ANN401 - the fields of SensuOptions
) -> int:
    """One line for Nagios, NRPE and Sensu: can every range be served?

    The rules of the configuration decide what is critical and what is a warning; -w and -c replace them. With --agent,
    the agent's configuration decides, and --username, --password-file and the certificates are for the agent.

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Every error is 3.
    """
    from ringcheck.core.policy import Severity

    started = time.monotonic()
    if agent:
        _refuse_with_agent(target, warning or critical, unreachable)
    elif max_age is not None:
        raise UsageError("--max-age needs --agent: without an agent the nodes are asked now")
    cluster = ChosenCluster(target, None) if agent and not target.config else target.choose()
    sender = SensuOptions(**sensu).sender(cluster)
    try:
        verdict = _of_agent(cluster, agent, max_age or MAX_AGE) if agent else _polled(cluster, warning, critical)
    except SourceError as error:
        return _report_unknown(cluster, error, Severity[unreachable.upper()], sender, format_)
    except RingcheckError as error:
        if sender is None:
            raise
        return _report_unknown(cluster, error, Severity.UNKNOWN, sender, format_)
    _print(verdict, format_, time.monotonic() - started, verbose, _assumed(cluster, warning, critical, agent, verdict))
    deadline.settle(verdict.severity.exit_code)
    _complain(sender.send(verdict) if sender else None, aside=format_ == "json")
    return verdict.severity.exit_code


def _polled(cluster: ChosenCluster, warning: str | None, critical: str | None) -> Verdict:
    from ringcheck.core.assess import Question

    return cluster.verdict(Question(), lambda policy: _policy(policy, warning, critical))


def _policy(policy: Policy, warning: str | None, critical: str | None) -> Policy:
    """The policy, with its rules replaced by the levels of -w and -c if there are any."""
    from ringcheck.core.policy import DEFAULT, Rule, Threshold

    if warning is None and critical is None:
        return policy
    page = DEFAULT.critical if critical is None else Threshold(level(critical))
    ticket = DEFAULT.warning if warning is None else Threshold(level(warning))
    return replace(policy, rules=(Rule(keyspaces=("*",), critical=page, warning=ticket),))


def _refuse_with_agent(target: Target, levels: str | None, unreachable: str) -> None:
    """Refuse options that the agent's verdict would silently ignore."""
    ignored = {
        "-H": target.host, "-u": target.url, "--proxy": target.proxy,
        "--from": target.from_, "--dc": target.dc, "-k": target.keyspace,
        "-w and -c": levels, "--unreachable critical": unreachable == "critical",
    }  # fmt: skip
    wrong = next((name for name, given in ignored.items() if given), None)
    if wrong:
        raise UsageError(f"{wrong} can't be used with --agent: the agent's configuration decides")
    if not (target.cluster or target.config):
        raise UsageError("--agent needs --cluster NAME, the cluster's name in the agent's configuration")


def _of_agent(cluster: ChosenCluster, url: str, max_age: float) -> Verdict:
    """The present verdict of an agent.

    Raises:
        RingcheckError: if there is none that can be trusted.
    """
    from ringcheck.agent.client import health

    return health(cluster.target.agent(url, max_age), cluster.name, cluster.target.polling_time)


def _assumed(
    cluster: ChosenCluster, warning: str | None, critical: str | None, agent: str | None, verdict: Verdict
) -> list[str]:
    """Which levels are watched, and where they are set, in a line for the long output."""
    from ringcheck.core.policy import LEFT_OUT

    if agent:
        return ["levels: those of the agent's configuration"]
    if cluster.configured and cluster.configured.policy.rules and not (warning or critical):
        return [_configured(cluster, cluster.configured.policy, verdict)]
    which = f"{_alerts(critical, warning)}, in each keyspace"
    besides = f"except {', '.join(LEFT_OUT.keyspaces)}"
    if critical and warning:
        return [f"levels: {which} {besides}, as -w and -c ask"]
    why = "the configuration has no rules in `monitor`" if cluster.configured else "there is no configuration"
    return [f"levels assumed: {which} {besides}: {why}; `ringcheck init` writes a first one, or use -w and -c"]


def _configured(cluster: ChosenCluster, policy: Policy, verdict: Verdict) -> str:
    """The same for levels that rules name, and the keyspaces that have no rule."""
    from ringcheck.core.policy import DEFAULT
    from ringcheck.core.words import listed

    named = bool(cluster.target.keyspace)
    names = [keyspace.name for keyspace in verdict.keyspaces]
    rest = [name for name in names if policy.rule(name, authenticates=True, named=named) is DEFAULT]
    without = f"; without a rule: {listed(rest)} ({_alerts()})" if rest else ""
    return f"levels: those of `monitor` of cluster {cluster.name} in the configuration{without}"


def _alerts(critical: str | None = None, warning: str | None = None) -> str:
    """The levels of both tiers in words; None for the default level."""
    from ringcheck.core.levels import warns_first
    from ringcheck.core.policy import DEFAULT, Threshold

    page, ticket = critical or _level_of(DEFAULT.critical), warning or _level_of(DEFAULT.warning)
    first = warns_first(Threshold(level(ticket)), Threshold(level(page)))
    text = f"critical if {page} is lost, warning if {ticket} is lost"
    return text if first else f"{text}; the warning never comes first"


def _level_of(threshold: Threshold | None) -> str:
    return threshold.level.value if threshold else "no level"


def _print(verdict: Verdict, format_: str, seconds: float, verbosity: int, notes: Sequence[str]) -> None:
    from ringcheck.documents.verdict import verdict_document
    from ringcheck.report import nagios

    if format_ == "json":
        click.echo(json.dumps(verdict_document(verdict), indent=2))
    else:
        shown = nagios.lines(verdict, seconds=seconds, verbosity=verbosity, notes=notes)
        _show(shown)


def _show(lines: Iterable[Line]) -> None:
    """Print lines: whole for a monitoring system; in the width and the colours of a terminal for people."""
    from ringcheck.report.terminal import fitted

    colour = colours()
    click.echo(fitted(lines, columns(), colour=colour), color=colour)  # click sees the pipe to the watching process


def _report_unknown(
    cluster: ChosenCluster, error: RingcheckError, severity: Severity, sender: Sender | None, format_: str
) -> int:
    """Report that nothing is known, to Sensu too: otherwise it would keep the state of the last event."""
    from ringcheck.cli.failure import PLUGIN, Call, document, problem_of
    from ringcheck.report import nagios

    problem = problem_of(error)
    if format_ == "json":
        click.echo(document(problem, Call(PLUGIN, json=True), severity.exit_code))
    else:
        text = f"{cluster.name}: {problem.line}" if cluster.name else problem.line
        _show([nagios.labelled(severity, nagios.line(severity, text))])
    deadline.settle(severity.exit_code)
    if sender and not cluster.name:
        _complain("without a configuration the cluster's name is known only from the cluster", aside=format_ == "json")
    elif sender:
        _complain(sender.send_unknown(problem.line, severity), aside=format_ == "json")
    return severity.exit_code


def _complain(problem: str | None, *, aside: bool = False) -> None:
    if problem:
        from ringcheck.report import nagios

        say(f"Sensu was not notified: {nagios.plain(problem)}", err=aside)
