"""A rolling restart: one batch after another, each allowed by the gate, and each back before the next begins.

Theory of operation
===================

A rolling restart takes nodes away on purpose. It may do so only while every range of every keyspace stays available,
and it must know at every moment which nodes it has stopped. The second part is harder: the process that runs the
restart can die at any moment, and what it has begun continues without it.

1. What every moment must satisfy
---------------------------------

(a) A node is stopped only after the gate said safe, on fresh data, several times in a row, with the node already under
    a lease and with all nodes under other leases counted as down. The lease comes before the question: of two runs that
    ask at the same time, at least one sees the other's lease. Both may be refused, but they never both get more than
    the gate allows. If runs asked first and recorded afterwards, both could stop a replica of the same range.

(b) A batch is over only when each of its nodes is back: it runs in a new process, serves clients, sees its peers up,
    and all of them see it up (`readiness`, and `Steps.await_back`). It is too early when only the JVM answers: the
    peers do not see the node up yet, so the next batch would stop a second replica. On a cluster of three nodes that
    caused a total outage of 8 s at QUORUM.

(c) No node outside the batch may be down that was up before it. The gate would also see that before the next batch, but
    the operator should know before the lease is released and the run looks finished.

(d) A node stays under its lease from before it is touched until it is back. A node that failed keeps its lease, so that
    no other run, and no operator who asks the gate, stops a replica beside it. A lease does not expire.

At the first doubt the run ends, if possible before a node is touched. A node that does not answer is a doubt: silence
never counts as up, and does not prove that a process has ended.

2. Why the journal makes a run resumable
----------------------------------------

`stopping` is on disk before a node is touched. All other events of a node are written as soon as they are known:

    counters -> stopping -> (drained) -> command -> command_ended -> back -> passed          (or failed)

`command` is on disk before the command does anything: its process exists by then, but starts the command only after the
line is written (`commands.run`). So when a run dies, the journal may lack the last step of a node, but no node was
touched without a line. The state of a node follows from the lines:

    no `stopping`               it was not touched; its lease, if there is one, is released
    `stopping`, no `back`       it was begun: its lease stays, and it must be brought back
    `back`                      it is done; its lease is released if the killed run did not come to that

What the journal may lack is looked up, not guessed. `stopping` holds the start time of the process that is to be
replaced: if the node's process has another start time, the node was restarted, whatever the journal lacks. (The new
time may be earlier, because clocks can be set back.) `command` holds the process id of the operator's command and the
time at which that process started: if it still runs, it is waited for. After a command that has not failed, a node gets
some time to show its new process, and a node that does not answer is awaited like any starting node: a second command
could interrupt a start that is only slow. In all other cases the node was not restarted, and it goes through lease and
gate again like any other.

A batch has passed once clients and the operator's check were well after it, which for a canary includes the time in
which it is watched. `counters` has what coordinators had counted before the batch, and is on disk before a node of it
is touched; `passed` ends the batch. Without `passed` a resumed run watches and checks first, against `counters`: the
errors of the batch, and of the time in which no run was alive, count. A canary that has not passed stays one. If a run
ended because of its clients and could record that, the operator knows, and to continue is his decision.

If the journal can't be written, nothing that a line would announce is done: no node is touched, no command runs. A run
whose last line is missing is not reported as done.

No new run can begin in a journal whose last run has not ended: the record of what may be down would be lost.

3. What is never done twice
---------------------------

- A command is never run for a node whose process is already a new one, nor beside a recorded command that still runs.
  Two restarts at once may end with no process, or with two on the same data directory.
- A drain is sent once. If its answer is lost, the node's mode shows the result.
- With two commands, the second never runs while the old process may exist. If that can't be determined, the node is
  left to the operator, under its lease, and the run ends even with `--max-failures`, which covers only known failures.

4. How the room is divided
--------------------------

`Runner` determines the order of all steps, and holds the report. `admission` plans, asks the gate and keeps the leases;
`steps` does what is done to nodes; `clients` counts what clients noticed; `resume` finishes a killed run; `context`
waits. None of them reads a clock, polls or runs a command directly: an `Environment` does that, which tests replace.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringcheck.core.words import listed
from ringcheck.errors import RingcheckError, UsageError
from ringcheck.report.roll import Report
from ringcheck.restart.admission import Admission, NotNow
from ringcheck.restart.clients import ClientWatch
from ringcheck.restart.context import RunContext
from ringcheck.restart.procedure import Halt
from ringcheck.restart.readiness import down_ids, identity
from ringcheck.restart.resume import Resumption
from ringcheck.restart.steps import DRAINED, Steps, not_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ringcheck.core.gate import Gate
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Snapshot
    from ringcheck.leases.store import Store
    from ringcheck.restart.environment import Environment
    from ringcheck.restart.journal import Past
    from ringcheck.restart.procedure import Procedure, RestartTask


@dataclass(kw_only=True)
class Runner:
    """One run.

    Attributes:
        environment: polls, runs commands, knows the time.
        store: where leases are kept.
        policy: the cluster's rules for judging a snapshot; asked for each snapshot, since levels follow the queries.
        gate: the settings of the gate.
        procedure: how nodes are restarted.
        owner: of the run's leases.
        record: writes an event to the journal; it is on disk when this returns.
    """

    environment: Environment
    store: Store
    policy: Callable[[Snapshot], Policy]
    gate: Gate
    procedure: Procedure
    owner: str
    record: Callable[..., object]
    _report: Report = field(default_factory=Report, init=False)
    _first: bool = field(default=True, init=False)  # whether no batch has passed: the next one is the canary

    def __post_init__(self) -> None:
        self._context = RunContext(self.environment, self.procedure, self.record)
        self._admission = Admission(
            context=self._context, store=self.store, owner=self.owner, policy=self.policy, gate=self.gate
        )
        self._steps = Steps(self._context)
        self._clients = ClientWatch(self._context)
        self._resumption = Resumption(self._context, self._admission, self._steps)

    def run(self, wanted: Sequence[str], past: Past | None = None) -> Report:
        """Restart nodes.

        Args:
            wanted: addresses of all nodes, including those that an earlier run has done.
            past: what the run that this one continues had done; None for a new run.
        """
        begins = self.environment.clock()
        report = self._report
        report.done = [node for node in wanted if past and node in past.done]
        report.left = [node for node in wanted if node not in report.done]
        self._first = past is None or not past.passed
        try:
            if past:
                self._resume(past)
            self._steps.check("refused")
            while report.left:
                self._next_batch()
        except Halt as halt:
            report.outcome, report.why, report.remedy = halt.outcome, str(halt), halt.remedy
        except RingcheckError as error:
            report.outcome, report.why = "doubt", str(error)
        self._admission.release_untouched()
        if report.outcome == "done" and report.failed:
            report.outcome, report.why = "failed", f"{listed(list(report.failed))} not back"
        report.seconds = self.environment.clock() - begins
        self._record_end()
        return report

    def _record_end(self) -> None:
        """Record the end. If that fails, the run does not count as done, but its report is kept."""
        report = self._report
        try:
            self.record("end", outcome=report.outcome, why=report.why, seconds=round(report.seconds, 1))
        except UsageError as error:
            if report.outcome == "done":
                report.outcome, report.why = "doubt", str(error)

    def _resume(self, past: Past) -> None:
        """Finish what a killed run had begun."""
        self._admission.release_all_but(past.begun)
        if past.begun:
            self._finish_begun(past)
        if past.suffered:
            raise Halt("failed", past.suffered)
        if past.unpassed and past.unpassed.nodes:
            self._clients.resume(past.unpassed, self.environment.poll())
            self._pass(past.unpassed.nodes, past.unpassed.restarted)

    def _finish_begun(self, past: Past) -> None:
        """Bring back the nodes whose restart a killed run had begun."""
        tasks = self._resumption.tasks(past.begun.values())
        self._report.in_hand = [task.target.node for task in tasks]
        self._report.left = [node for node in self._report.left if node not in self._report.in_hand]
        down_before = _down_before(tasks, self.environment.poll())
        self._resumption.restart_the_rest(tasks)
        self._steps.await_back(not_failed(tasks), down_before)
        self._finish(tasks, down_before)

    def _next_batch(self) -> None:
        """Restart one batch, from asking the gate to releasing its lease and counting clients' errors."""
        how = self.procedure
        sizes = [size for size in (how.max_batch, how.canary if self._first else None) if size]
        self._admission.max_batch = min(sizes, default=None)
        tasks = self._await_admission()
        self._clients.begin(self._admission.snapshot or self.environment.poll())
        self._restart(tasks)
        self._pass([task.target.node for task in tasks], [identity(task.node) for task in tasks])
        self._rest("pause", how.pause)

    def _pass(self, nodes: Collection[str], restarted: Collection[str]) -> None:
        """Bake a canary, and end the run unless clients and the operator's check are well after a batch.

        Until the journal has `passed`, a resumed run does this again.

        Args:
            nodes: addresses of the batch.
            restarted: their identities.

        Raises:
            Halt: if they are not, or if that can't be determined. No batch is in progress at this point.
        """
        self._rest("bake", self.procedure.bake if self._first else 0.0)
        if why := self._clients.end(restarted):
            raise Halt("failed", why)
        self._steps.check("failed")
        back = [node for node in nodes if node in self._report.done]
        self.record("passed", nodes=back)
        self._first = self._first and not back

    def _rest(self, event: str, seconds: float) -> None:
        if self._report.left and seconds:
            self.record(event, seconds=seconds)
            self._context.pause(seconds, idle=True)

    def _await_admission(self) -> list[RestartTask]:
        """The next batch, once it may stop."""
        ends = self.environment.clock() + self.procedure.wait
        cause: object = ""
        while True:
            self._context.stop_if_asked()
            if self._context.await_window():
                ends = self.environment.clock() + self.procedure.wait
            try:
                if tasks := self._admission.next_batch(self._report.left):
                    return tasks
                ends = self.environment.clock() + self.procedure.wait
                continue
            except NotNow as refusal:
                if refusal.cause != cause:
                    self.record("waiting", why=str(refusal))
                    cause = refusal.cause
                if self.environment.clock() > ends:
                    text = f"the gate did not open within {self.procedure.wait:g} s: {refusal}"
                    raise Halt(self._admission.outcome, text) from None
            # The pause is random: two runs that wait for each other must not stay in step for ever.
            self._context.pause(self.procedure.interval * random.uniform(1, 1.5))  # noqa: S311 - no secret

    def _restart(self, tasks: list[RestartTask]) -> None:
        """Drain, restart and await a batch that may stop now."""
        down_before = _down_before(tasks, self._admission.snapshot or self.environment.poll())
        for task in tasks:
            target = task.target
            self.record("stopping", node=target.node, host_id=target.host_id, started_at=target.started_at)
            self._report.left.remove(target.node)
            self._report.in_hand.append(target.node)
        self._admission.untouched = []
        if self.procedure.drain:
            running = [task for task in tasks if task.target.started_at is not None]
            self._steps.drain([task for task in running if task.node.mode != DRAINED])
        self._steps.run_commands(not_failed(tasks))
        self._steps.await_back(not_failed(tasks), down_before)
        self._finish(tasks, down_before)

    def _finish(self, tasks: list[RestartTask], down_before: frozenset[str]) -> None:
        """Report the nodes of a batch, check that no other node went down, and release the nodes that are back.

        Raises:
            Halt: if more nodes failed than allowed, if one is in doubt, or if other nodes went down.
        """
        failed = [task for task in tasks if task.problem]
        for task in failed:
            self._report.failed[task.target.node] = task.problem
            self.record("failed", node=task.target.node, why=task.problem)
        back = [task.target.node for task in not_failed(tasks)]
        self._report.done += back
        self._report.in_hand = []
        doubt = any(task.doubt for task in tasks)
        if doubt or len(self._report.failed) > self.procedure.max_failures:
            self._release(back)
            why = "; ".join(f"{node}: {problem}" for node, problem in self._report.failed.items())
            raise Halt("doubt" if doubt else "failed", why)
        self._await_as_before(down_before | {identity(task.node) for task in failed})
        self._clients.await_load([task.node for task in not_failed(tasks)])
        self._release(back)

    def _release(self, nodes: list[str]) -> None:
        if nodes:
            self._admission.release(nodes)

    def _await_as_before(self, down_before: frozenset[str]) -> None:
        """Wait until only nodes are down that were down before; a flapping node gets some time to come back.

        Raises:
            Halt: if the time is over.
        """
        ends = self.environment.clock() + self.procedure.flap_timeout
        while why := self._worse(down_before):
            if self.environment.clock() > ends:
                raise Halt("failed", f"the batch is back, but the cluster is not as before: {why}")
            self._context.pause(self.procedure.interval)

    def _worse(self, down_before: frozenset[str]) -> str:
        """What is worse than before the batch; empty if nothing is."""
        try:
            seen = self.environment.poll()
            addresses = {identity(node): node.address for node in seen.nodes}
            down = [addresses[node] for node in sorted(down_ids(seen) - down_before) if node in addresses]
        except RingcheckError as error:
            return str(error)
        return f"{listed(down)} went down meanwhile" if down else ""


def _down_before(tasks: Iterable[RestartTask], seen: Snapshot) -> frozenset[str]:
    """Identities of the nodes that are down and not in the batch; they are not waited for."""
    return down_ids(seen) - {identity(task.node) for task in tasks}
