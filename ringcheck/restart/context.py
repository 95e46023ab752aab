"""What all steps of one run share: its environment, procedure and journal, and functions to wait.

Every wait of a run uses this module, so an interrupt is noticed within 0.2 s during any wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING

from ringcheck.errors import RingcheckError
from ringcheck.restart.procedure import Halt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ringcheck.core.ring import Snapshot
    from ringcheck.restart.environment import Environment
    from ringcheck.restart.procedure import Procedure, RestartTask


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run.

    Attributes:
        environment: polls, runs commands, knows the time.
        procedure: what the operator wants.
        record: writes an event to the journal; it is on disk when this returns.
    """

    environment: Environment
    procedure: Procedure
    record: Callable[..., object]

    def pause(self, seconds: float, *, idle: bool = False) -> None:
        """Sleep in small steps.

        Args:
            seconds: how long.
            idle: whether no batch is in progress, so that the first interrupt ends the run.

        Raises:
            Halt: `aborted` after a second interrupt; `interrupted` after the first one if `idle`.
        """
        ends = self.environment.clock() + seconds
        while True:
            if self.environment.interrupts() > 1:
                raise Halt(
                    "aborted",
                    "interrupted twice: nodes whose restart has begun stay under their leases; --resume continues",
                )
            if idle:
                self.stop_if_asked()
            left = ends - self.environment.clock()
            if left <= 0:
                return
            self.environment.sleep(min(left, 0.2))

    def stop_if_asked(self) -> None:
        """End the run if the operator has asked for that. Call it only while no batch is in progress.

        Raises:
            Halt: `interrupted`.
        """
        if self.environment.interrupts():
            raise Halt("interrupted", "stopped on request between two batches")

    def await_window(self) -> bool:
        """Wait until the time of day allows a batch to begin. Returns whether it had to wait.

        Raises:
            Halt: `interrupted`.
        """
        window = self.procedure.window
        if window is None or window.contains(self.environment.time_of_day()):
            return False
        self.record("waiting", why=f"the window is {window}")
        while not window.contains(self.environment.time_of_day()):
            self.pause(1.0, idle=True)
        return True

    def poll_until(
        self,
        tasks: Iterable[RestartTask],
        missing: Callable[[RestartTask, Snapshot], str | None],
        seconds: float,
        ready: Callable[[RestartTask], object] = lambda _: None,
    ) -> None:
        """Poll until every task is ready; when the time is over, each task that is not ready gets a problem.

        Args:
            tasks: what to wait for.
            missing: what a task still lacks according to a snapshot; None if it is ready.
            seconds: for all of them together.
            ready: called once with each task that is ready.
        """
        ends = self.environment.clock() + seconds
        waiting = {task.node.address: task for task in tasks}
        recorded: dict[str, str] = {}
        while waiting:
            lacks = self._lacks(waiting, missing)
            for address, lack in lacks.items():
                if lack is None:
                    ready(waiting.pop(address))
                elif recorded.get(address) != lack:
                    self.record("lacks", node=address, what=lack)
                    recorded[address] = lack
            if waiting and self.environment.clock() > ends:
                for address, task in waiting.items():
                    task.problem = f"not within {seconds:g} s: {lacks[address]}"
                return
            if waiting:
                self.pause(self.procedure.interval)

    def _lacks(
        self, waiting: dict[str, RestartTask], missing: Callable[[RestartTask, Snapshot], str | None]
    ) -> dict[str, str | None]:
        """What each task lacks now, by address; after a failed poll all tasks keep waiting."""
        try:
            seen = self.environment.poll()
            return {address: missing(task, seen) for address, task in waiting.items()}
        except RingcheckError as error:
            return dict.fromkeys(waiting, str(error))

    def on_all(self, tasks: Iterable[RestartTask], action: Callable[[RestartTask], None]) -> None:
        """Run an action for all tasks at once, each in its own thread.

        After a second interrupt the threads are not awaited.

        Raises:
            BaseException: the first exception of an action, once all actions have ended.
        """
        errors: list[BaseException] = []

        def guarded(task: RestartTask) -> None:
            try:
                action(task)
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        threads = [Thread(target=guarded, args=(task,), daemon=True) for task in tasks]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.pause(0.1)
        if errors:
            raise errors[0]
