"""The journal of a rolling restart: one JSON line for each event, so that a run can be resumed and reviewed.

Owns the file and what follows from its lines; decides nothing. Why a run can be resumed from it is in `runner`.

Each line is ASCII and on disk before its event counts. A line that could not be written whole is cut off again, so
that only the last line can ever be torn. A torn last line was not acted on, and is dropped. Anything else that can't be
read is damage: the run can't be resumed, since what is missing may be a node that is down.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

from ringcheck.core.client_errors import ClientCounters, read_names
from ringcheck.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SCHEMA = "ringcheck/journal/1"
_HEAD = f'{{"schema": "{SCHEMA}"'.encode()  # every line begins with it
Event: TypeAlias = "dict[str, Any]"

# What `past` needs of each kind of event.
_NEEDED: dict[str, dict[str, tuple[type, ...]]] = {
    "begin": {"run": (str,), "owner": (str,), "cluster": (str,), "nodes": (list,)},
    "stopping": {"node": (str,), "host_id": (str, NoneType), "started_at": (int, NoneType)},
    "drained": {"node": (str,)},
    "command": {"node": (str,), "pid": (int,), "born": (int, NoneType)},
    "command_ended": {"node": (str,), "status": (int, NoneType)},
    "back": {"node": (str,)},
    "counters": {"errors": (dict,)},
    "clients": {"errors": (dict,)},
    "passed": {"nodes": (list,)},
    "end": {"outcome": (str,)},
}


@dataclass(slots=True, kw_only=True)
class Begun:
    """A node whose restart began and has no recorded end.

    Attributes:
        node: its address.
        host_id: its identity; None if it was not known.
        started_at: start of the process that was to be replaced, in epoch milliseconds; None if the node was down.
        drained: whether it was seen drained.
        pid: process id of the last command that was started for it; None before the first.
        born: start of that process in clock ticks since boot; None if it had already ended.
        starts: whether the last command starts the node; True for every command except `--stop-exec`.
        ran: whether the last command ended with status 0; None if its end is not known.
    """

    node: str
    host_id: str | None = None
    started_at: int | None = None
    drained: bool = False
    pid: int | None = None
    born: int | None = None
    starts: bool = False
    ran: bool | None = False


@dataclass(slots=True, kw_only=True)
class Unpassed:
    """A batch that was begun, and after which clients and the operator's check were not found to be well.

    Attributes:
        before: what coordinators had counted before the batch, by identity; only errors.
        nodes: addresses of the nodes that were stopped, or about to be.
        restarted: their identities; their counters began again at 0.
    """

    before: dict[str, ClientCounters]
    nodes: list[str] = field(default_factory=list)
    restarted: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class Past:
    """The last run in a journal.

    Attributes:
        run: its name; None if the journal is empty.
        owner: of its leases.
        cluster: the name of its cluster.
        nodes: addresses of the nodes that were to be restarted.
        done: nodes that are back, in the order of their return.
        begun: nodes whose restart began and that were not seen back, by address.
        ended: whether the run ended with all nodes done; also True if the journal is empty.
        passed: whether a batch has passed, so that the next one is not a canary.
        unpassed: the last batch, if it has not passed; None in a journal of an older release.
        suffered: the errors of clients that should have ended the run, if it was killed before it could record its end.
    """

    run: str | None = None
    owner: str = ""
    cluster: str = ""
    nodes: tuple[str, ...] = ()
    done: list[str] = field(default_factory=list)
    begun: dict[str, Begun] = field(default_factory=dict)
    ended: bool = True
    passed: bool = False
    unpassed: Unpassed | None = None
    suffered: str = ""


def past(events: Iterable[Event]) -> Past:
    """The last run in a journal, from all events."""
    last = Past()
    for event in events:
        node = event.get("node")
        _note_clients(last, event)
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


def _note_clients(last: Past, event: Event) -> None:
    """Add what an event shows of clients, and of the batch that has to pass.

    A run that ends because of its clients has shown that: to continue it is the operator's decision.
    """
    match event["event"]:
        case "counters":
            before = {name: ClientCounters(errors=read_names(errors)) for name, errors in event["errors"].items()}
            last.unpassed = Unpassed(before=before)
        case "stopping" if last.unpassed:
            last.unpassed.nodes.append(event["node"])
            last.unpassed.restarted.add(event["host_id"] or event["node"])
        case "clients":
            last.suffered = event.get("excess", "")
        case "passed":
            last.unpassed, last.passed = None, last.passed or bool(event["nodes"])
        case "end" if last.suffered:
            last.unpassed, last.suffered = None, ""


def _note(begun: Begun, kind: str, event: Event) -> None:
    """Add an event of a node whose restart began."""
    if kind == "drained":
        begun.drained = True
    elif kind == "command":
        begun.pid, begun.born = event["pid"], event.get("born")
        begun.starts, begun.ran = event.get("starts", True), None
    elif kind == "command_ended":
        begun.ran = event.get("status") == 0


class Journal:
    """An open journal. No other run can open it at the same time."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Open the file, or create it.

        Raises:
            UsageError: if it can't be written, is not a regular file, or another run has it open.
            DataError: if it is damaged, or holds something other than a journal.
        """
        self.path = path
        self._now = now
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._refuse_device()
            self._lock()
            self.past = past(self._read())
        except BaseException:
            self.close()
            raise

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(f"the journal {self.path} can't be written: {error.strerror or error}")

    def _refuse_device(self) -> None:
        """Refuse everything except a regular file: reading a device may never end."""
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise UsageError(f"{self.path} is not a regular file: name another one with --journal")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"the journal {self.path} is in use by another roll") from None

    def _read(self) -> list[Event]:
        """All events; a torn last line is cut off."""
        try:
            with open(self._file, "rb", closefd=False) as file:
                content = file.read()
            whole, newline, rest = content.rpartition(b"\n")
            events = [self._event(number, line) for number, line in enumerate(whole.split(b"\n"), 1) if line]
            if rest and not events and not rest.startswith(_HEAD[: len(rest)]):
                raise self._foreign()
            self._end = len(whole + newline)
            os.ftruncate(self._file, self._end)
            _sync_folder(self.path)
        except OSError as error:
            raise self._unwritable(error) from None
        return events

    def _event(self, number: int, line: bytes) -> Event:
        event = _parsed(line)
        if event is not None and not _fault(event):
            return event
        if number == 1 and not line.startswith(_HEAD):
            raise self._foreign()
        fault = "it is not a line of a journal" if event is None else _fault(event)
        raise DataError(
            f"{self.path}:{number}: the line is damaged: {fault}; no run can be resumed from this journal. See which "
            "nodes are down (`ringcheck health`) or under its leases (`ringcheck lease list`), bring them back, "
            "release the leases, and begin a new roll of the nodes that are left with another --journal"
        )

    def _foreign(self) -> DataError:
        return DataError(f"{self.path} is not a journal of ringcheck: name another file with --journal")

    def write(self, event: str, **fields: Any) -> Event:  # noqa: ANN401 - JSON
        """Add an event; it is on disk when this returns.

        Returns:
            The event with its time.

        Raises:
            UsageError: if it can't be written; the caller must then not do what the event announces.
        """
        line = {"schema": SCHEMA, "time": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "event": event, **fields}
        try:
            self._append(json.dumps(line).encode("ascii") + b"\n")
        except OSError as error:
            raise self._unwritable(error) from None
        return line

    def _append(self, line: bytes) -> None:
        if os.fstat(self._file).st_size > self._end:  # the incomplete line could not be removed
            os.ftruncate(self._file, self._end)
        try:
            left = line
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end += len(line)

    def close(self) -> None:
        """Close the file, so that another run can open it."""
        with suppress(OSError):  # every line is on disk
            os.close(self._file)


def _parsed(line: bytes) -> Event | None:
    """The event of a line; None if the line holds no event."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and event.get("schema") == SCHEMA else None


def _fault(event: Event) -> str:
    """What is wrong with an event; empty if nothing is wrong."""
    kind = event.get("event")
    if not isinstance(kind, str):
        return "it has no event"
    for name, types in _NEEDED.get(kind, {}).items():
        if name not in event or not isinstance(event[name], types):
            return f"its {name} is missing or unusable"
    if not all(isinstance(node, str) for node in event.get("nodes", ()) if kind == "begin"):
        return "its nodes are unusable"
    if kind == "counters" and not all(_are_counts(errors) for errors in event["errors"].values()):
        return "its errors are unusable"
    return ""


def _are_counts(errors: object) -> bool:
    return isinstance(errors, dict) and all(isinstance(count, int) for count in errors.values())


def _sync_folder(path: Path) -> None:
    """Sync the folder, so that the name of a new file also survives a power failure."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
