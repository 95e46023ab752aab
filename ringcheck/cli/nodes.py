"""`ringcheck nodes`: a table of nodes like that of `nodetool status`, which also shows whether each may stop now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import EVERY_KEYSPACE, ClusterCommand, format_option, target_options
from ringcheck.cli.target import DEFAULT_CONFIG
from ringcheck.cli.terminal import colours, columns
from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringcheck.cli.target import ChosenCluster, Target
    from ringcheck.core.node_status import StopAnswer
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict


@click.command(cls=ClusterCommand)
@target_options(refused={"keyspace": EVERY_KEYSPACE, "dc": "--datacenter chooses the nodes of a datacenter"})
@click.argument("names", metavar="[NODE]...", nargs=-1)
@click.option(
    "--datacenter", "datacenters", metavar="DC", multiple=True, help="Only nodes of this datacenter. Repeatable."
)
@click.option("--rack", metavar="RACK", help="Only nodes of this rack.")
@click.option(
    "--all", "every", is_flag=True, help="List every node; without it, only problems if there are more than 40."
)
@click.option(
    "--state",
    metavar="FILE",
    help="The agent's state file, for SINCE. [default: `state` of the configuration's `agent` section]",
)
@format_option("text", "json")
def nodes(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    names: tuple[str, ...],
    datacenters: tuple[str, ...],
    rack: str | None,
    every: bool,  # noqa: FBT001 - a flag
    state: str | None,
    format_: str,
) -> int:
    """The table of nodes: place, state, who sees them down, since when, release, tokens, mode, may each stop now.

    Problems come first. STOP is the answer of `preflight` for that node alone, by the gate of the configuration. SINCE
    is known if an agent keeps a history; `>=` means that the agent did not see the state begin.

    Exit codes: 0, or 3 if nothing could be read. `health` and `check` judge what the states mean.
    """
    from ringcheck.core.assess import Question, assess
    from ringcheck.core.node_status import statuses
    from ringcheck.documents.nodes import nodes_document
    from ringcheck.report.nodes import NodesTable, render

    cluster = target.choose()
    leases = cluster.maintenance()
    seen = cluster.snapshot(streams=True)
    verdict = assess(seen, cluster.policy(seen), Question(), leases())
    verdict, notes = _dated(verdict, cluster, state)
    chosen = _chosen(seen, names, datacenters, rack)
    stops, refusal = _stops(cluster, seen, chosen)
    shown = [status for status in statuses(verdict, stops) if status.node.address in chosen]
    if format_ == "json":
        click.echo(json.dumps(nodes_document(seen, shown), indent=2))
        return 0
    notes = [*notes, *([f"Whether nodes may stop is not known: {refusal}"] if refusal else [])]
    table = NodesTable(verdict=verdict, statuses=shown, total=len(seen.nodes), all=every, notes=notes)
    click.echo(render(table, colour=colours(), width=columns()))
    return 0


def _chosen(seen: Snapshot, names: Sequence[str], datacenters: Sequence[str], rack: str | None) -> frozenset[str]:
    """Addresses of the nodes that are asked for; of all nodes if nothing restricts them.

    Raises:
        UsageError: if there is no such node, datacenter or rack.
    """
    from ringcheck.cli.node_names import in_datacenters, matching, with_rack

    chosen = matching(seen, names) if names else [node.address for node in seen.nodes]
    if datacenters:
        chosen = [address for address in chosen if address in set(in_datacenters(seen, datacenters))]
    if rack is not None:
        chosen = [address for address in chosen if address in set(with_rack(seen, rack))]
    return frozenset(chosen)


def _stops(
    cluster: ChosenCluster, seen: Snapshot, addresses: frozenset[str]
) -> tuple[Mapping[str, StopAnswer] | None, str]:
    """The gate's answers; None and why, if it can't be asked."""
    from ringcheck.core.gate import Gatekeeper
    from ringcheck.core.node_status import stop_answers

    try:
        holders = cluster.holders(seen)
        recorded = cluster.recorded
        keeper = Gatekeeper(seen, cluster.policy(seen), cluster.gate(), holders, recorded=recorded)
        return stop_answers(keeper, addresses), ""
    except RingcheckError as error:
        return None, str(error)


def _state_file(cluster: ChosenCluster) -> str | None:
    """The agent's state file, if the cluster is configured and the configuration names one that exists."""
    if cluster.configured is None:
        return None
    from ringcheck.config import load

    path = load(cluster.target.config or str(DEFAULT_CONFIG)).agent.state
    return path if path and Path(path).exists() else None


def _dated(verdict: Verdict, cluster: ChosenCluster, state: str | None) -> tuple[Verdict, list[str]]:
    """The verdict with the times of the agent's history, if there is one; and why they are not known."""
    from ringcheck.core.transitions import dated

    path = state or _state_file(cluster)
    if path is None or cluster.target.from_:
        return verdict, []
    from ringcheck.history.reader import facts

    try:
        known = facts(Path(path), verdict.snapshot.cluster)
    except RingcheckError as error:
        return verdict, [f"Since when is not known: {error}"]
    past = dated(verdict, known)
    return replace(verdict, states_since=past.states_since, blind_until=past.blind_until), []
