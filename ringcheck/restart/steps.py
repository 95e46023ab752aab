"""What is done to the nodes of a batch: drain, command, and the wait until they are back.

If a step fails, its task gets a problem, and later steps skip that task. This module does not decide whether a node may
stop, or whether the run continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.evidence import evidence_of
from ringcheck.core.words import listed
from ringcheck.errors import DataError, GoneError, RingcheckError, SourceError
from ringcheck.restart.procedure import Halt
from ringcheck.restart.readiness import missing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.core.ring import Snapshot
    from ringcheck.report.roll import RollOutcome
    from ringcheck.restart.commands import Command, CommandResult
    from ringcheck.restart.context import RunContext
    from ringcheck.restart.procedure import RestartTask

DRAINED = "DRAINED"  # OperationMode
_REFUSALS = 3  # refused connections in a row, after which the process is gone


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a restart, each for all nodes of a batch at once."""

    context: RunContext

    # Drain

    def drain(self, tasks: list[RestartTask]) -> None:
        """Drain nodes, and wait until each is DRAINED and no peer sends it requests any more."""
        if not tasks:
            return
        self.context.record("draining", nodes=[task.node.address for task in tasks])
        self.context.on_all(tasks, self._drain)
        waiting = not_failed(tasks)
        self.context.poll_until(waiting, _undrained, self.context.procedure.drain_timeout)
        for task in not_failed(waiting):
            self.context.record("drained", node=task.node.address)

    def _drain(self, task: RestartTask) -> None:
        seconds = self.context.procedure.drain_timeout
        try:
            self.context.environment.drain(task.node.address, task.target.host_id, seconds)
        except RingcheckError as error:
            task.problem = f"it could not be drained: {error} (--no-drain skips the drain)"

    # Commands

    def run_commands(self, tasks: list[RestartTask]) -> None:
        """Run the operator's command for each node; of two commands the second runs once the old process is gone."""
        how = self.context.procedure
        if how.restart:
            self._run_on_all(tasks, how.restart)
            return
        assert how.stop is not None  # noqa: S101 - the command line asks for one command or for both others
        assert how.start is not None  # noqa: S101 - as above
        self._run_on_all(tasks, how.stop)
        self._await_exits(not_failed(tasks))
        self._run_on_all(not_failed(tasks), how.start)

    def _run_on_all(self, tasks: list[RestartTask], command: Command) -> None:
        self.context.on_all(tasks, lambda task: self._run(task, command))

    def _run(self, task: RestartTask, command: Command) -> None:
        words, address = task.words[command], task.node.address
        environment = self.context.environment

        def started(pid: int) -> None:
            fields = {"words": list(words), "pid": pid, "born": environment.birth(pid)}
            starts = command is not self.context.procedure.stop
            self.context.record("command", node=address, **fields, starts=starts)

        result = environment.run(words, self.context.procedure.exec_timeout, started)
        self.context.record(
            "command_ended", node=address, status=result.status, output=result.output, problem=result.problem
        )
        if result.status != 0:
            task.problem = f"the command {_ended(result)}"

    def _await_exits(self, tasks: list[RestartTask]) -> None:
        """Wait until the old processes have ended: a node started too early would run twice on the same data."""
        for task in tasks:
            task.doubt = True
        self.context.poll_until(tasks, self._still_running, self.context.procedure.exec_timeout)
        for task in tasks:
            if task.doubt:
                task.problem += "; once it has ended there, start it by hand and continue with --resume"

    def _still_running(self, task: RestartTask, _: Snapshot) -> str | None:
        """Why a node can't be started yet. Silence does not prove an exit: a JVM that is stopping is silent too."""
        try:
            now = self.context.environment.started_at(task.node.address, task.target.host_id)
        except (SourceError, DataError) as error:
            task.refusals = task.refusals + 1 if isinstance(error, GoneError) else 0
            task.doubt = task.refusals < _REFUSALS
            return f"not known whether its process has ended: {error}" if task.doubt else None
        task.refusals, task.doubt = 0, False
        return "it still runs" if now == task.target.started_at else None

    def check(self, outcome: RollOutcome) -> None:
        """Run the operator's check of the cluster, between batches.

        Raises:
            Halt: with this outcome, if the check does not succeed.
        """
        words = self.context.procedure.check
        if words is None:
            return
        result = self.context.environment.run(words, self.context.procedure.exec_timeout, lambda _: None)
        self.context.record(
            "check", words=list(words), status=result.status, output=result.output, problem=result.problem
        )
        if result.status != 0:
            raise Halt(outcome, f"the check {_ended(result)}")

    # Back

    def await_back(self, tasks: list[RestartTask], down_before: frozenset[str]) -> None:
        """Wait until each node is back, as `readiness` defines it.

        Args:
            tasks: the nodes.
            down_before: identities of the nodes that were down before the batch; they are not waited for.
        """
        begins = self.context.environment.clock()

        def lacks(task: RestartTask, seen: Snapshot) -> str | None:
            return self._lacks(task, seen, down_before)

        def back(task: RestartTask) -> None:
            seconds = round(self.context.environment.clock() - begins, 1)
            self.context.record("back", node=task.node.address, seconds=seconds)

        self.context.poll_until(tasks, lacks, self.context.procedure.back_timeout, back)

    def _lacks(self, task: RestartTask, seen: Snapshot, down_before: frozenset[str]) -> str | None:
        environment, target = self.context.environment, task.target
        if lack := missing(target, seen, down_before):
            return lack
        node = target.find(seen)
        address = node.address if node else task.node.address
        try:
            old = target.started_at
            if old is not None and environment.started_at(address, target.host_id) == old:
                return "its process was not replaced"
        except RingcheckError as error:
            return str(error)
        if target.client and not environment.answers_cql(*target.client):
            host, port = target.client
            return f"its CQL port {host}:{port} does not answer"
        return None


def _ended(result: CommandResult) -> str:
    """How a command failed, with the end of its output."""
    how = result.problem or f"ended with status {result.status}"
    tail = " ".join(result.output.split())[-200:]
    return how + (f": {tail}" if tail else "")


def not_failed(tasks: Iterable[RestartTask]) -> list[RestartTask]:
    """The tasks without a problem."""
    return [task for task in tasks if not task.problem]


def _undrained(task: RestartTask, seen: Snapshot) -> str | None:
    """What a drain still lacks; None if the node is drained and every usable view sees it down."""
    node = task.target.find(seen)
    if node is None or node.mode != DRAINED:
        return f"it is {node.mode}, not {DRAINED}" if node and node.mode else "its Jolokia does not answer"
    evidence = evidence_of(seen)
    up = [view.observer for view in evidence.usable if seen.index[node.address] not in evidence.down(view)]
    if up:
        return f"seen up by {listed(up)}"
    return None if evidence.usable else "no peer's view can be used"
