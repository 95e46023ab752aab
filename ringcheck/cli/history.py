"""`ringcheck history`: what changed in a cluster, read from the agent's state file or from a running agent."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import FOR_AGENT, ClusterCommand, Whole, format_option, target_options
from ringcheck.cli.target import DEFAULT_CONFIG, require_config
from ringcheck.cli.terminal import say
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.cli.target import Target
    from ringcheck.history.reader import Page, Question

NODES = "the history is the agent's: no node is asked"
MOST = 100_000  # entries


@click.command(cls=ClusterCommand)
@target_options(
    without=("dc", "keyspace", "jmx", "jmx_username", "jmx_password_file"),
    refused=dict.fromkeys(("host", "url", "proxy"), NODES) | {"from_": "a snapshot has no past"},
    texts=FOR_AGENT,
)
@click.option("--agent", metavar="URL", help="Ask this running agent; needs --cluster.")
@click.option(
    "--state", metavar="FILE", help="The agent's state file. [default: `state` of the configuration's `agent` section]"
)
@click.option(
    "--since",
    metavar="TIME",
    help="Only changes since then: 90m, 24h, 7d, or a time such as 2026-01-31T12:00:00Z (UTC).",
)
@click.option("--kind", "kinds", metavar="KIND", multiple=True, help="Only this kind of change. Repeatable.")
@click.option(
    "--limit",
    type=Whole(1, MOST),
    metavar="N",
    default=100,
    show_default=True,
    help="Number of changes; the latest are shown.",
)
@format_option("text", "json")
def history(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    agent: str | None,
    state: str | None,
    since: str | None,
    kinds: tuple[str, ...],
    limit: int,
    format_: str,
) -> int:
    """What changed in a cluster, and when: severity, nodes, views, findings, leases, the gate's decisions.

    The agent keeps it in its state file (`agent: {state: FILE}`). Without --agent this command reads the file, even
    while the agent runs.

    Exit codes: 0, or 3 if the history can't be read.
    """
    from ringcheck.documents.history import history_document
    from ringcheck.history.reader import Question
    from ringcheck.report.history import render

    if agent and state:
        raise UsageError("name --agent or --state, not both")
    cluster = _cluster(target, "--agent" if agent else "--state" if state else None)
    asked = Question(cluster=cluster, since=_moment(since), kinds=_known(kinds), limit=limit)
    newest = _all(_of_agent(target, agent) if agent else partial(_of_file, target, state), asked)
    entries = newest.entries[::-1]
    if format_ == "json":
        click.echo(json.dumps(history_document(cluster, entries, newest.cursor), indent=2))
    else:
        say(render(cluster, entries, more=newest.cursor is not None))
    return 0


def _cluster(target: Target, source: str | None) -> str:
    """The name of the cluster: the configured one, or, with --agent or --state as the source, that of --cluster."""
    if source:
        target.require_name(source)
    return target.cluster if source and target.cluster and not target.config else target.choose().name


def _of_agent(target: Target, url: str) -> Callable[[Question], Page]:
    from ringcheck.agent.client import history as asked

    agent = target.agent(url)
    return lambda question: asked(agent, question, target.polling_time)


def _of_file(target: Target, state: str | None, question: Question) -> Page:
    from ringcheck.history.reader import page

    return page(Path(state or _configured(target)), question)


def _configured(target: Target) -> str:
    from ringcheck.config import load

    path = target.config or str(DEFAULT_CONFIG)
    require_config(path)
    state = load(path).agent.state
    if state is None:
        raise UsageError(f"{path} has no `agent: {{state: FILE}}`: name the state file with --state, or an --agent")
    return state


def _all(read: Callable[[Question], Page], asked: Question) -> Page:
    """As many entries as are asked for, the newest first, in as many pages as that takes."""
    from ringcheck.history.reader import MOST as MOST_OF_A_PAGE
    from ringcheck.history.reader import Page

    page = Page((), None)
    while (left := asked.limit - len(page.entries)) > 0:
        more = read(replace(asked, limit=min(left, MOST_OF_A_PAGE), cursor=page.cursor))
        page = Page((*page.entries, *more.entries), more.cursor)
        if more.cursor is None:
            break
    return page


def _moment(text: str | None) -> int | None:
    from ringcheck.documents.history import moment

    try:
        return None if text is None else moment(text, time.time())
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None


def _known(kinds: tuple[str, ...]) -> tuple[str, ...]:
    from ringcheck.core.fact_kinds import KINDS
    from ringcheck.core.words import suggestion

    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"there is no kind of change {kind!r} ({suggestion(kind, KINDS)})")
    return kinds
