"""`ringcheck levels`: the levels that clients use, from the agent's state file or a running agent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringcheck.cli.options import FOR_AGENT, ClusterCommand, format_option, target_options
from ringcheck.cli.terminal import columns
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.cli.target import Target

NODES = "the evidence is the agent's: no node is asked"


@click.command(cls=ClusterCommand)
@target_options(
    without=("dc", "keyspace", "jmx", "jmx_username", "jmx_password_file"),
    refused=dict.fromkeys(("host", "url", "proxy"), NODES) | {"from_": "a snapshot has no queries"},
    texts=FOR_AGENT,
)
@click.option("--agent", metavar="URL", help="Ask this running agent; needs --cluster.")
@format_option("text", "json")
def levels(target: Target, agent: str | None, format_: str) -> int:
    """Which consistency levels clients use, which source shows that, and which rules it suggests.

    The agent looks at the queries of a cluster that has `observed`, or `auto` in a rule. Without --agent its state file
    is read.

    Exit codes: 0, or 3 if the evidence can't be read.
    """
    from ringcheck.report.levels import render

    document = _of_agent(target, agent) if agent else _of_file(target)
    click.echo(json.dumps(document, indent=2) if format_ == "json" else render(document, width=columns()))
    return 0


def _of_agent(target: Target, url: str) -> Any:  # noqa: ANN401 - a JSON document
    from ringcheck.agent.client import levels as asked

    target.require_name("--agent")
    name = target.cluster if target.cluster and not target.config else target.choose().name
    return asked(target.agent(url), name, target.polling_time)


def _of_file(target: Target) -> Any:  # noqa: ANN401 - a JSON document
    from ringcheck.core.sources import read_sources
    from ringcheck.documents.levels import levels_document
    from ringcheck.history.reader import evidence

    chosen = target.choose()
    observing = chosen.configured.observing if chosen.configured else None
    if observing is None:
        raise UsageError(
            f"{chosen.name} has neither `observed` nor `auto` in the configuration: add one (docs/levels.md)"
        )
    if chosen.state is None:
        raise UsageError("the configuration has no `agent: {state: FILE}`: name an --agent")
    sources = read_sources(evidence(Path(chosen.state), chosen.name))
    return levels_document(chosen.name, sources, observing.following, time.time(), observing.interval)
