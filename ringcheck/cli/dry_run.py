"""`ringcheck roll --dry-run`: what a run would do, after the checks that it makes before it takes a lease."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ringcheck.cli.gate import EXIT as GATE_EXIT
from ringcheck.cli.terminal import colours, columns, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.cli.target import ChosenCluster
    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.ring import Snapshot
    from ringcheck.restart.procedure import Procedure

REFUSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """A run that is only shown.

    Attributes:
        cluster: whose nodes would be restarted.
        gate: what must hold.
        how: to restart a node.
        options: of the command.
        owner: of the leases of the run that would be resumed; empty for a new run.
    """

    cluster: ChosenCluster
    gate: Gate
    how: Procedure
    options: dict[str, Any]
    owner: str = ""

    def show(self, seen: Snapshot, wanted: Sequence[str]) -> int:
        """Show the batches, the commands, the gate's present decision on the first batch, and what else refuses it.

        Returns:
            The exit code: that of the gate's decision, or `REFUSED`.
        """
        from ringcheck.core.gate import Gatekeeper
        from ringcheck.core.plan import plan_with
        from ringcheck.report.roll import rehearsal

        if not wanted:
            say(f"WOULD RESTART no other node of {seen.cluster}: --resume finishes those that were begun")
            return 0
        leases = self.cluster.leases(seen)
        others = [holder for holder in leases.holders if holder.owner != self.owner]
        gatekeeper = Gatekeeper(seen, self.cluster.policy(seen), self.gate, others)
        batches = plan_with(gatekeeper, nodes=wanted, max_batch=self.how.max_batch, by=self.how.by)
        words = {node: list(self.how.words(seen.nodes[seen.index[node]]).values()) for node in wanted}
        refused = bool(batches.refused) or not batches.batches
        decision = None if refused else leases.required(gatekeeper.decide(batches.batches[0]))
        click.echo(rehearsal(batches, words, drain=self.how.drain, width=columns()))
        return REFUSED if decision is None else self._decided(seen, decision)

    def _decided(self, seen: Snapshot, decision: Decision) -> int:
        from ringcheck.report import gate as report
        from ringcheck.report.roll import refusal

        click.echo(f"\n{report.render(decision, colour=colours(), width=columns())}")
        problem = self._problem(seen, decision.candidates)
        if problem:
            click.echo(f"\n{refusal(seen.cluster, problem, width=columns())}")
        return max(GATE_EXIT[decision.decision], REFUSED if problem else 0)

    def _problem(self, seen: Snapshot, batch: Sequence[str]) -> str:
        """Why a run would not restart a batch, whatever the gate answers; empty if nothing else prevents it."""
        from ringcheck.leases.stamp import whoami
        from ringcheck.restart.admission import Admission, NotNow
        from ringcheck.restart.context import RunContext
        from ringcheck.restart.environment import LiveEnvironment
        from ringcheck.restart.procedure import Halt
        from ringcheck.sources import open_control

        with (
            closing(self.cluster.lease_store(seen.cluster)) as store,
            closing(open_control(self.cluster.definition())) as control,
        ):
            port, cql = self.options["cql_port"], not self.options["no_cql"]
            environment = LiveEnvironment(lambda: seen, control, lambda: 0, port, cql=cql)
            admission = Admission(
                context=RunContext(environment, self.how, lambda *_, **__: None),
                store=store,
                owner=self.owner or whoami(),
                policy=self.cluster.policy,
                gate=self.gate,
            )
            try:
                admission.tasks(seen, batch)
            except (Halt, NotNow) as refusal:
                return str(refusal)
        return ""
