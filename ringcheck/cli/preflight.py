"""`ringcheck preflight`: the gate for people and for scripts that restart nodes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import EXIT, gate_options, stable_option, wait_option
from ringcheck.cli.nodes import members
from ringcheck.cli.options import EVERY_KEYSPACE, ClusterCommand, format_option, target_options
from ringcheck.cli.terminal import columns
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ringcheck.cli.target import ChosenCluster, Target
    from ringcheck.core.gate import Action, Decision, Gate
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot

BETWEEN = 2.0  # seconds between readings


@click.command(cls=ClusterCommand)
@target_options(refused={"keyspace": EVERY_KEYSPACE})
@gate_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--rack", metavar="RACK", help="All nodes of this rack; add --dc if several datacenters have it.")
@click.option(
    "--action",
    type=click.Choice(["restart", "decommission"]),
    default="restart",
    show_default=True,
    help="What the nodes are stopped for.",
)
@stable_option
@wait_option
@format_option("text", "json")
def preflight(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    gate: Gate,
    nodes: tuple[str, ...],
    rack: str | None,
    action: Action,
    stable: int | None,
    wait: float | None,
    format_: str,
) -> int:
    """May these nodes stop now, with every range of every keyspace still available?

    A NODE is an address, a host name, a host id, or the beginning of an address or host id. A NODE that can mean
    several nodes is an error.

    Exit codes: 0 safe, 2 unsafe, 3 unknown. Stop the nodes only on 0.
    """
    from ringcheck.documents.decision import decision_document
    from ringcheck.report import gate as report

    if bool(nodes) == bool(rack):
        raise UsageError("name the nodes that are to stop, or a --rack")
    cluster = target.choose()
    choose = partial(members, names=nodes, rack=rack, datacenters=target.dc)
    readings = Readings(cluster=cluster, gate=gate, choose=choose, stable=stable, action=action)
    decision = readings.decide(wait or 0.0)
    shown = report.render(decision, width=columns())
    click.echo(json.dumps(decision_document(decision), indent=2) if format_ == "json" else shown)
    return EXIT[decision.decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Readings of a cluster, each judged by the gate, until enough in a row are safe.

    Attributes:
        cluster: to poll.
        gate: what must hold.
        choose: the candidates in a snapshot.
        stable: safe readings in a row that are needed; None for as many as the configuration asks for.
        action: what the candidates are stopped for.
        holders: restart leases, whose nodes count as down unless they are candidates; by default those in the store.
    """

    cluster: ChosenCluster
    gate: Gate
    choose: Callable[[Snapshot], list[str]]
    stable: int | None = None
    action: Action = "restart"
    holders: Callable[[Snapshot], Collection[Holder]] | None = None

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
        return bool(self.cluster.target.from_)

    def _decision(self, seen: Snapshot) -> Decision:
        from ringcheck.core.gate import Gatekeeper

        candidates = self.choose(seen)
        # The lease of a candidate may be one that is still being decided on: it takes nothing off the candidate's loss.
        others = [holder for holder in (self.holders or self.cluster.holders)(seen) if holder.node not in candidates]
        keeper = Gatekeeper(seen, self.cluster.policy(), self.gate, others, recorded=self._recorded)
        return keeper.decide(candidates, self.action)
