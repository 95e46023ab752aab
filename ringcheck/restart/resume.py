"""Finishing a run that was killed.

The journal proves what was announced, not what was done: the run may have died in between. So everything that can be
looked up is looked up again, and only the start time of a node's process shows whether it was restarted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.errors import RingcheckError
from ringcheck.restart.admission import NotNow
from ringcheck.restart.procedure import Halt, RestartTask
from ringcheck.restart.readiness import RestartedNode
from ringcheck.restart.steps import not_failed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.restart.admission import Admission
    from ringcheck.restart.context import RunContext
    from ringcheck.restart.journal import Begun
    from ringcheck.restart.steps import Steps


@dataclass(frozen=True, slots=True)
class Resumption:
    """Finishes the nodes whose restart a killed run had begun, and restarts none of them twice."""

    context: RunContext
    admission: Admission
    steps: Steps

    def tasks(self, begun: Iterable[Begun]) -> list[RestartTask]:
        """Tasks for the nodes whose restart was begun, once no command of the killed run is running any more.

        Raises:
            Halt: if such a command does not end, or a node has left the cluster.
        """
        nodes = list(begun)
        self._await_commands(nodes)
        return [self._task(node) for node in nodes]

    def _await_commands(self, begun: Iterable[Begun]) -> None:
        environment = self.context.environment
        ends = environment.clock() + self.context.procedure.exec_timeout
        for node in begun:
            while node.pid is not None and node.born is not None and environment.birth(node.pid) == node.born:
                if environment.clock() > ends:
                    raise Halt("doubt", f"the command of the earlier run for {node.node} still runs (pid {node.pid})")
                self.context.pause(self.context.procedure.interval)

    def _task(self, begun: Begun) -> RestartTask:
        target = RestartedNode(begun.node, begun.host_id, started_at=begun.started_at)
        node = target.find(self.context.environment.poll())
        if node is None:
            raise Halt("doubt", f"{begun.node} left the cluster")
        client = self.context.environment.clients_of([node.address]).get(node.address)
        return RestartTask(node=node, target=replace(target, client=client), begun=begun)

    def restart_the_rest(self, tasks: list[RestartTask]) -> None:
        """Restart the nodes whose process the killed run had not replaced; the gate must allow that again.

        Raises:
            Halt: if the gate does not allow it within the time to wait.
            UsageError: if the arguments of a command can't be made.
        """
        tasks = [task for task in tasks if not self._was_restarted(task)]
        if not tasks:
            return
        for task in tasks:
            task.words = self.context.procedure.words(task.node)
        self._await_lease(tasks)
        self.admission.untouched = []  # the killed run may have drained them
        seen = self.context.environment.poll()
        serving = [task for task in tasks if (node := task.target.find(seen)) and node.mode == "NORMAL"]
        if self.context.procedure.drain:
            self.steps.drain(serving)
        self.steps.run_commands(not_failed(tasks))

    def _was_restarted(self, task: RestartTask) -> bool:
        """Whether a node needs no command any more: its process is a new one, or a command may be starting it.

        A command that failed has no later effect. After any other command, the node gets some time to show a new
        process. A node that does not answer is not restarted again, because its start may only be slow: it is awaited,
        and fails if it does not come back.
        """
        begun, environment = task.begun, self.context.environment
        acts = bool(begun and begun.pid is not None and begun.ran is not False)
        ends = environment.clock() + (self.context.procedure.replace_timeout if begun and begun.pid is not None else 0)
        while True:
            silent = True
            with suppress(RingcheckError):
                now = environment.started_at(task.node.address, task.target.host_id)
                silent = False
                if now != task.target.started_at:
                    return True
                if not acts:
                    return False
            if environment.clock() >= ends:
                return silent and acts and bool(begun and begun.starts)
            self.context.pause(self.context.procedure.interval)

    def _await_lease(self, tasks: list[RestartTask]) -> None:
        procedure = self.context.procedure
        ends = self.context.environment.clock() + procedure.wait
        while True:
            try:
                self.admission.lease(tasks)
            except NotNow as refusal:
                if self.context.environment.clock() > ends:
                    text = f"the gate did not open within {procedure.wait:g} s: {refusal}"
                    raise Halt(self.admission.outcome, text) from None
                self.context.record("waiting", why=str(refusal))
                self.context.pause(procedure.interval, idle=True)
            else:
                return
