"""What a rolling restart has done, a JSON line an event, so that it can be continued and told afterwards.

Owns the file and what may be concluded from it; decides nothing. A line is on disk before what it announces is done.
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
_HEAD = f'{{"schema": "{SCHEMA}"'  # of every line
Event: TypeAlias = "dict[str, Any]"


@dataclass(slots=True)
class Begun:
    """A node that was being restarted.

    Attributes:
        node: its address.
        host_id: its identity.
        started_at: epoch milliseconds of the process that was to be replaced; None where it was down already.
        drained: whether it had drained.
        pid: of the last command that was started for it, and since when that process ran; None before the first.
        born: likewise.
        ran: whether the last command ended well.
    """

    node: str
    host_id: str | None = None
    started_at: int | None = None
    drained: bool = False
    pid: int | None = None
    born: int | None = None
    ran: bool = False


@dataclass(slots=True)
class Past:
    """What a journal says of its last run.

    Attributes:
        run: its name; None where there is none.
        owner: of its leases.
        cluster: that it was about.
        nodes: that were to be restarted.
        done: those that were and are back, in order.
        begun: those that were begun and not seen back, by address.
        ended: whether it came to its end, with everything done.
    """

    run: str | None = None
    owner: str = ""
    cluster: str = ""
    nodes: tuple[str, ...] = ()
    done: list[str] = field(default_factory=list)
    begun: dict[str, Begun] = field(default_factory=dict)
    ended: bool = True


def past(events: Iterable[Event]) -> Past:
    """What the last run of a journal did."""
    found = Past()
    for event in events:
        node = event.get("node")
        match event["event"]:
            case "begin":
                nodes = tuple(event["nodes"])
                found = Past(event["run"], event["owner"], event["cluster"], nodes, ended=False)
            case "stopping":
                found.begun[str(node)] = Begun(str(node), event.get("host_id"), event.get("started_at"))
            case "end":
                found.ended = event["outcome"] == "done"
            case "back":
                found.begun.pop(str(node), None)
                found.done.append(str(node))
            case what if node in found.begun:
                _of_one(found.begun[str(node)], what, event)
    return found


def _of_one(begun: Begun, what: str, event: Event) -> None:
    if what == "drained":
        begun.drained = True
    elif what == "command":
        begun.pid, begun.born, begun.ran = event["pid"], event.get("born"), False
    elif what == "command_ended":
        begun.ran = event.get("status") == 0


class Journal:
    """An open journal, that no other run can open."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Open it, or make it.

        Raises:
            UsageError: if it can't be written, or another run has it.
            DataError: if there is something else in it.
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
            raise DataError(f"{path} is no journal of ringcheck") from None

    def _read(self) -> list[Event]:
        self._file.seek(0)
        content = self._file.read()
        whole, newline, rest = content.rpartition("\n")
        found = [self._event(number, line) for number, line in enumerate(whole.split("\n"), 1) if line]
        if not all(isinstance(one, dict) and one.get("schema") == SCHEMA for one in found):
            raise DataError(f"{self.path} is no journal of ringcheck")
        if rest and not found and not rest.startswith(_HEAD[: len(rest)]):
            raise DataError(f"{self.path} is no journal of ringcheck")
        if rest:  # the run was killed while it wrote: what was being announced was not done
            self._file.truncate(len((whole + newline).encode()))
        return found

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
            UsageError: if it can't be written: nothing must be done that could not be told.
        """
        told = {"schema": SCHEMA, "time": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "event": event, **fields}
        try:
            self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UsageError(f"the journal {self.path} can't be written: {error.strerror or error}") from None
        return told

    def close(self) -> None:
        """Let others open it."""
        self._file.close()
