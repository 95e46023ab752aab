"""The journal of a rolling restart: one JSON line for each event, so that a run can be resumed and reviewed.

Owns the file and what follows from its lines; decides nothing. Why a run can be resumed from it is in `runner`.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from ringcheck.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SCHEMA = "ringcheck/journal/1"
_HEAD = f'{{"schema": "{SCHEMA}"'  # every line begins with it
Event: TypeAlias = "dict[str, Any]"


@dataclass(slots=True, kw_only=True)
class Begun:
    """A node whose restart was begun and not seen to its end.

    Attributes:
        node: its address.
        host_id: its identity; None if it was not known.
        started_at: start of the process that was to be replaced, in epoch milliseconds; None if the node was down.
        drained: whether it was seen drained.
        pid: process id of the last command that was started for it; None before the first.
        born: start of that process in clock ticks since boot; None if it had already ended.
        ran: whether the last command ended with status 0.
    """

    node: str
    host_id: str | None = None
    started_at: int | None = None
    drained: bool = False
    pid: int | None = None
    born: int | None = None
    ran: bool = False


@dataclass(slots=True, kw_only=True)
class Past:
    """The last run in a journal.

    Attributes:
        run: its name; None if the journal is empty.
        owner: of its leases.
        cluster: the name of its cluster.
        nodes: addresses of the nodes that were to be restarted.
        done: those that are back, in the order of their return.
        begun: those that were begun and not seen back, by address.
        ended: whether it ended with all nodes done; also True if the journal is empty.
    """

    run: str | None = None
    owner: str = ""
    cluster: str = ""
    nodes: tuple[str, ...] = ()
    done: list[str] = field(default_factory=list)
    begun: dict[str, Begun] = field(default_factory=dict)
    ended: bool = True


def past(events: Iterable[Event]) -> Past:
    """The last run in a journal, from all events."""
    last = Past()
    for event in events:
        node = event.get("node")
        match event["event"]:
            case "begin":
                nodes = tuple(event["nodes"])
                last = Past(run=event["run"], owner=event["owner"], cluster=event["cluster"], nodes=nodes, ended=False)
            case "stopping":
                last.begun[str(node)] = Begun(
                    node=str(node), host_id=event.get("host_id"), started_at=event.get("started_at")
                )
            case "end":
                last.ended = event["outcome"] == "done"
            case "back":
                last.begun.pop(str(node), None)
                last.done.append(str(node))
            case kind if node in last.begun:
                _note(last.begun[str(node)], kind, event)
    return last


def _note(begun: Begun, kind: str, event: Event) -> None:
    """Add an event of a node that was begun."""
    if kind == "drained":
        begun.drained = True
    elif kind == "command":
        begun.pid, begun.born, begun.ran = event["pid"], event.get("born"), False
    elif kind == "command_ended":
        begun.ran = event.get("status") == 0


class Journal:
    """An open journal. No other run can open it meanwhile."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Open the file, or create it.

        Raises:
            UsageError: if it can't be written, or another run has it open.
            DataError: if it holds something other than a journal.
        """
        self.path = path
        self._now = now
        try:
            self._file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"the journal {path} can't be written: {error.strerror or error}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(f"the journal {path} is in use by another roll") from None
        try:
            self.past = past(self._read())
        except (KeyError, TypeError):
            raise DataError(f"{path} is not a journal of ringcheck") from None

    def _read(self) -> list[Event]:
        self._file.seek(0)
        content = self._file.read()
        whole, newline, rest = content.rpartition("\n")
        events = [self._event(number, line) for number, line in enumerate(whole.split("\n"), 1) if line]
        if not all(isinstance(event, dict) and event.get("schema") == SCHEMA for event in events):
            raise DataError(f"{self.path} is not a journal of ringcheck")
        if rest and not events and not rest.startswith(_HEAD[: len(rest)]):
            raise DataError(f"{self.path} is not a journal of ringcheck")
        if rest:  # the run was killed while it wrote this line: it counts as not written
            self._file.truncate(len((whole + newline).encode()))
        return events

    def _event(self, number: int, line: str) -> Event:
        try:
            event: Event = json.loads(line)
        except ValueError:
            raise DataError(f"{self.path}:{number}: not a line of a journal") from None
        return event

    def write(self, event: str, **fields: Any) -> Event:  # noqa: ANN401 - JSON
        """Add an event; it is on disk when this returns.

        Returns:
            The event with its time.

        Raises:
            UsageError: if it can't be written; what the event announces must not be done then.
        """
        line = {"schema": SCHEMA, "time": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "event": event, **fields}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UsageError(f"the journal {self.path} can't be written: {error.strerror or error}") from None
        return line

    def close(self) -> None:
        """Close the file, so that another run can open it."""
        self._file.close()
