"""The operator's options for a restart, and the state of one node during it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.core.ring import Node
    from ringcheck.report.roll import RollOutcome
    from ringcheck.restart.commands import Command
    from ringcheck.restart.journal import Begun
    from ringcheck.restart.readiness import RestartedNode

    Words: TypeAlias = dict[Command, tuple[str, ...]]


_DAY = 24 * 60  # minutes
_WINDOW = re.compile(r"([0-9]{1,2}):([0-5][0-9])-([0-9]{1,2}):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Window:
    """A part of each day, in minutes since midnight; it may span midnight.

    Attributes:
        begins: its first minute.
        ends: the first minute after it.
    """

    begins: int
    ends: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """A window such as `22:00-06:00`.

        Raises:
            UsageError: if it has another form, or is empty.
        """
        found = _WINDOW.fullmatch(text.strip())
        begins, ends = ((int(found[1]) * 60 + int(found[2])), (int(found[3]) * 60 + int(found[4]))) if found else (0, 0)
        if begins == ends or max(begins, ends) > _DAY:
            raise UsageError(f"{text!r} is not a window such as 22:00-06:00")
        return cls(begins % _DAY, ends % _DAY)

    def contains(self, minute: int) -> bool:
        """Whether a minute of the day is in it."""
        return (minute - self.begins) % _DAY < (self.ends - self.begins) % _DAY

    def __str__(self) -> str:
        """`22:00-06:00`."""
        return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.begins, self.ends))


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """The operator's options; times in seconds.

    Attributes:
        restart: the command that restarts a node; None if `stop` and `start` do it.
        stop: the command that stops a node.
        start: the command that starts it again.
        drain: whether to drain a node before its command runs.
        stable: safe readings in a row that the gate must give before a batch.
        max_batch: maximum number of nodes in a batch; None for no limit.
        by: how batches are made, as in `plan`.
        wait: how long the gate may refuse before the run ends.
        drain_timeout: for a drain, until the peers see the node down.
        exec_timeout: for one command.
        back_timeout: for a node to be back.
        pause: pause between two batches.
        max_failures: nodes that may fail before the run ends.
        interval: between two polls.
        flap_timeout: within which a node outside the batch that went down meanwhile must be back.
        replace_timeout: after a resume, how long to wait for a sign that the killed run's command replaced a node's
            process.
        purpose: of the leases, shown to other people.
        check: arguments of the command that must succeed before each batch and after the last; None for none.
        canary: maximum number of nodes in the first batch; None for no special limit.
        bake: pause after the first batch, during which clients' errors are still counted.
        step: whether the operator is asked before each batch.
        window: time of day in which batches may begin; None for any time.
        max_client_errors: maximum number of errors of all kinds during a batch; None: any number of errors, but no
            Unavailables.
        hints_timeout: how long to wait until the hints of a batch that is back are delivered; 0: don't wait.
        load_timeout: how long to wait until clients connect to the batch again; 0: don't wait.
    """

    restart: Command | None = None
    stop: Command | None = None
    start: Command | None = None
    drain: bool = True
    stable: int = 3
    max_batch: int | None = None
    by: Literal["rack", "node"] | None = None
    wait: float = 600.0
    drain_timeout: float = 300.0
    exec_timeout: float = 600.0
    back_timeout: float = 900.0
    pause: float = 0.0
    max_failures: int = 0
    interval: float = 2.0
    flap_timeout: float = 60.0
    replace_timeout: float = 120.0
    purpose: str = "rolling restart"
    check: tuple[str, ...] | None = None
    canary: int | None = None
    bake: float = 0.0
    step: bool = False
    window: Window | None = None
    max_client_errors: int | None = None
    hints_timeout: float = 300.0
    load_timeout: float = 120.0

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands for a node, in their order."""
        return tuple(command for command in (self.restart, self.stop, self.start) if command)

    def words(self, node: Node) -> Words:
        """The arguments of each command for a node.

        Raises:
            UsageError: if a value that they need is not known or can't be used.
        """
        return {command: command.of(node) for command in self.commands}


@dataclass(slots=True, kw_only=True)
class RestartTask:
    """The restart of one node of the batch.

    Attributes:
        node: as the snapshot had it before anything was done to it.
        target: what is needed to recognise the node afterwards.
        words: arguments of its commands; made before its lease is taken, because that can fail.
        begun: what the killed run did to the node; None in a run that was not resumed.
        problem: why it failed; empty if it has not.
        refusals: how many connections in a row its agent refused after the stop command.
        doubt: whether its old process may still be stopping.
    """

    node: Node
    target: RestartedNode
    words: Words = field(default_factory=dict)
    begun: Begun | None = None
    problem: str = ""
    refusals: int = 0
    doubt: bool = False


class Halt(Exception):  # noqa: N818 - the end of a run is not always an error
    """The run ends here, with this outcome and this reason.

    Attributes:
        remedy: the end of "run the same command with --resume ...": what must change, or else the resumed run ends
            for the same reason. Empty if nothing must.
    """

    def __init__(self, outcome: RollOutcome, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.outcome = outcome
        self.remedy = remedy
