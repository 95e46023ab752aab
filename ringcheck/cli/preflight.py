"""`ringcheck preflight`: the gate for people and for scripts that restart nodes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import EXIT, gate_options, stable_option, wait_option
from ringcheck.cli.node_names import members
from ringcheck.cli.options import EVERY_KEYSPACE, ClusterCommand, format_option, target_options
from ringcheck.cli.terminal import colours, columns
from ringcheck.core.actions import NAMES, counted, newcomer_of
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ringcheck.cli.target import ChosenCluster, Target
    from ringcheck.core.actions import Action, Newcomer
    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot

BETWEEN = 2.0  # seconds between readings


@click.command(cls=ClusterCommand)
@target_options(refused={"keyspace": EVERY_KEYSPACE})
@gate_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option(
    "--rack",
    metavar="RACK",
    help="All nodes of this rack; add --dc if several datacenters have it. With --action replace or bootstrap: the "
    "rack of the new node.",
)
@click.option("--datacenter", metavar="DC", help="With --action replace or bootstrap: the datacenter of the new node.")
@click.option(
    "--action",
    type=click.Choice(NAMES),
    default="restart",
    show_default=True,
    help="The planned action: for the nodes or, with bootstrap, for a new node.",
)
@stable_option
@wait_option
@format_option("text", "json")
def preflight(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    gate: Gate,
    nodes: tuple[str, ...],
    rack: str | None,
    datacenter: str | None,
    action: Action,
    stable: int | None,
    wait: float | None,
    format_: str,
) -> int:
    """May these nodes stop now, or another action begin, with every range of every keyspace still available?

    A NODE is an address, a host name, a host id, or the beginning of an address or host id. A NODE that can mean
    several nodes is an error. A bootstrap has no NODE: it takes the --datacenter and --rack of the new node.

    Exit codes: 0 safe, 2 unsafe, 3 unknown. Act only on 0.
    """
    from ringcheck.documents.decision import decision_document
    from ringcheck.report import gate as report

    choose, newcomer = question(action, nodes, rack, datacenter, target.dc)
    cluster = target.choose()
    readings = Readings(cluster=cluster, gate=gate, choose=choose, stable=stable, action=action, newcomer=newcomer)
    decision = readings.decide(wait or 0.0)
    shown = report.render(decision, colour=colours(), width=columns())
    click.echo(json.dumps(decision_document(decision), indent=2) if format_ == "json" else shown)
    return EXIT[decision.decision]


def question(
    action: Action, nodes: tuple[str, ...], rack: str | None, datacenter: str | None, client_dcs: Sequence[str]
) -> tuple[Callable[[Snapshot], list[str]], Newcomer | None]:
    """Which nodes of a snapshot the options mean, and where the new node is.

    Raises:
        UsageError: if they name too much or too little for the action.
    """
    if action in {"replace", "bootstrap"}:
        newcomer = newcomer_of(action, nodes, datacenter, rack)
        return (lambda seen: members(seen, nodes, None, ()) if nodes else []), newcomer
    if bool(nodes) == bool(rack):
        raise UsageError("name the nodes that are to stop, or a --rack" + (", not both" if nodes else ""))
    newcomer_of(action, nodes or (rack or "",), datacenter, None)
    return partial(members, names=nodes, rack=rack, datacenters=client_dcs), None


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Readings of a cluster, each judged by the gate, until enough in a row are safe.

    Attributes:
        cluster: to poll.
        gate: what must hold.
        choose: the candidates in a snapshot.
        stable: safe readings in a row that are needed; None for as many as the configuration asks for.
        action: what is to be done.
        newcomer: where the node is that is to join, or to replace a candidate.
        holders: restart leases, whose nodes count as down unless they are candidates; None for those in the store.
    """

    cluster: ChosenCluster
    gate: Gate
    choose: Callable[[Snapshot], list[str]]
    stable: int | None = None
    action: Action = "restart"
    newcomer: Newcomer | None = None
    holders: Collection[Holder] | None = None

    def decide(self, wait: float = 0.0) -> Decision:
        """The last decision: enough in a row were safe, or after `wait` seconds the last one was not.

        A recorded snapshot is read once.
        """
        from ringcheck.core.readings import confirmed

        ends = time.monotonic() + wait
        wanted = 1 if self._recorded else self.stable or self.cluster.stable_readings()
        with self.cluster.polls(streams=True) as poll:
            while True:
                decision = confirmed(self._decisions(poll), wanted)
                if decision.decision == "safe" or self._recorded or time.monotonic() + BETWEEN > ends:
                    return decision
                time.sleep(BETWEEN)

    def _decisions(self, poll: Callable[[], Snapshot]) -> Iterator[Decision]:
        while True:
            yield self._decision(poll())
            time.sleep(BETWEEN)

    @property
    def _recorded(self) -> bool:
        return self.cluster.recorded

    def _decision(self, seen: Snapshot) -> Decision:
        from ringcheck.core.gate import Gatekeeper, with_leases
        from ringcheck.leases.grant import PlacedLeases

        candidates = self.choose(seen)
        leases = self.cluster.leases(seen) if self.holders is None else PlacedLeases(tuple(self.holders))
        holders = counted(leases.holders, candidates, self.action)
        keeper = Gatekeeper(seen, self.cluster.policy(seen), self.gate, holders, recorded=self._recorded)
        decision = keeper.decide(candidates, self.action, self.newcomer)
        return leases.required(with_leases(decision, leases.holders))
