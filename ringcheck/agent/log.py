"""The service's log: one line for each change, as key=value or JSON; a lasting condition is logged once."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.agent.bugs import located_bug, location
from ringcheck.core.policy import Severity
from ringcheck.errors import LINE_BYTES, limit_of, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.evidence import State
    from ringcheck.core.findings import Finding
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

    News: TypeAlias = tuple[str, str, dict[str, Any]]  # event, level and fields of a line
    Findings: TypeAlias = dict[tuple[str, str], Finding]

Form: TypeAlias = Literal["logfmt", "json"]
OURS = "ringcheck"  # the logger above all of ours
MOST_SEEN = 256  # errors that are remembered
QUIET = 60.0  # seconds without an error after which the same error is news again
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,()%*")


class Log:
    """Writes lines; safe to use from many threads."""

    def __init__(self, form: Form = "logfmt", stream: IO[str] | io.TextIOBase | None = None) -> None:
        """Prepare.

        Args:
            form: the format of a line.
            stream: the output. [default: stderr, which systemd's journal keeps]
        """
        self.form = form
        self._stream = stream
        self._guard = threading.Lock()
        self._lost = 0  # lines since the last one that could be written

    def __call__(self, event: str, level: str = "info", **fields: Any) -> None:  # noqa: ANN401 - any JSON value
        """Write a line. Raises nothing: a full disk must not end the polls.

        Once lines can be written again after some could not, a line says how many are missing.
        """
        with suppress(MemoryError), self._guard:
            if self._lost and self._written("log_lines_lost", "warning", {"lines": self._lost}):
                self._lost = 0
            self._lost += not self._written(event, level, fields)

    def _written(self, event: str, level: str, fields: dict[str, Any]) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        bounded = {name: _bounded(value) for name, value in fields.items()}
        line = _line({"time": now, "level": level, "event": event, **bounded}, self.form)
        try:
            stream = self._stream or sys.stderr
            stream.write(f"{line}\n")  # in one call, so that other writers' text does not come between
            stream.flush()
        except (OSError, ValueError):
            return False
        return True


def _bounded(value: object) -> object:
    """The value, a text cut to 1,000 bytes as JSON writes it: in ASCII, with escapes."""
    if not isinstance(value, str) or len(value) * 6 <= LINE_BYTES:
        return value
    short = value[:LINE_BYTES]
    while len(json.dumps(short)) > LINE_BYTES:
        short = short[: len(short) * 9 // 10]
    return value if short == value else f"{short[: len(short) - len('...')]}..."


def _line(fields: dict[str, Any], form: Form) -> str:
    if form == "json":
        return json.dumps(fields, default=str)
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items())


def _value(value: object) -> str:
    text = str(value)
    return text if text and set(text) <= _PLAIN else json.dumps(text)


class StandardError(io.TextIOBase):
    """Standard error without a buffer: on a full disk, a buffer would keep halves of lines for later."""

    def __init__(self) -> None:
        self._torn = False

    def write(self, text: str) -> int:
        """Write a whole line or raise OSError; a line that was written in part is ended before the next one."""
        line = text.encode("ascii", "backslashreplace")
        left = b"\n" + line if self._torn else line
        while left:
            written = os.write(2, left)
            self._torn, left = written < len(left), left[written:]
        return len(text)


class Troubles:
    """Logs unexpected errors: limits of the host as `limit`, all others as `bug`; a lasting error is logged once."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._seen: dict[object, float] = {}
        self._guard = threading.Lock()

    def __call__(self, error: BaseException) -> None:
        """Log an error. Raises nothing."""
        with suppress(MemoryError):
            text = located_bug(error)
            if not self.is_news(text):
                return
            if limit_of(error):
                self._log("limit", "error", error=text)
            else:
                self._log("bug", "error", error=text)

    def is_news(self, what: object) -> bool:
        """Note something, and return whether it had not been noted for a minute."""
        now = self._clock()
        with self._guard:
            self._seen = {key: at for key, at in self._seen.items() if now - at < QUIET}
            news = self._seen.pop(what, None) is None
            self._seen[what] = now
            if len(self._seen) > MOST_SEEN:
                del self._seen[next(iter(self._seen))]
        return news


class LibraryLogs(logging.Handler):
    """Puts what libraries and ringcheck's own loggers log through `logging` into our log, in its form.

    A record of ours has `event` and `fields`; all others become `event=library`.
    """

    def __init__(self, log: Log, troubles: Troubles) -> None:
        super().__init__()
        self._log = log
        self._troubles = troubles

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; one that recurs, or that is about a limit of the host which is logged already, only once."""
        try:
            if record.name.partition(".")[0] == OURS:
                self._log(getattr(record, "event", "message"), record.levelname.lower(), **_fields(record))
                return
            error = record.exc_info[1] if record.exc_info else None
            if error is not None and limit_of(error):
                self._troubles(error)
                return
            text = one_line(record.getMessage())
            what = f"{type(error).__name__}: {one_line(str(error))}{location(error)}" if error else ""
            if self._troubles.is_news((record.name, text.partition(" at 0x")[0], what)):
                level = "warning" if record.levelno < logging.ERROR else "error"
                self._log("library", level, library=record.name, message=text, **({"error": what} if what else {}))
        except Exception:  # noqa: BLE001 - a log must not fail
            return

    def install(self, *, debug: bool = False) -> None:
        """Take the logs and warnings of all libraries, and the errors that end threads, for the rest of the process.

        Args:
            debug: also take what ringcheck's own loggers log at the level DEBUG.
        """
        logging.basicConfig(handlers=[self], level=logging.WARNING, force=True)
        logging.getLogger(OURS).setLevel(logging.DEBUG if debug else logging.NOTSET)
        logging.captureWarnings(capture=True)
        threading.excepthook = self._of_hook
        sys.unraisablehook = self._of_hook

    def _of_hook(self, args: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            self._troubles(args.exc_value)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record of one of our loggers; its message if it has none."""
    fields: dict[str, Any] | None = getattr(record, "fields", None)
    return {"logger": record.name, "message": one_line(record.getMessage())} if fields is None else fields


_LEVELS = {Severity.OK: "info", Severity.WARNING: "warning", Severity.UNKNOWN: "warning", Severity.CRITICAL: "error"}


class Changes:
    """Logs the differences between two readings of a cluster; a listener of the agent."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: dict[str, Reading] = {}

    def __call__(self, reading: Reading) -> None:
        """Log the news of a reading."""
        before = self._last.get(reading.cluster)
        self._last[reading.cluster] = reading
        for event, level, fields in _news(before, reading):
            self._log(event, level, cluster=reading.cluster, **fields)

    def forget(self, cluster: str) -> None:
        """Forget the last reading of a cluster that is no longer watched."""
        self._last.pop(cluster, None)


def _news(before: Reading | None, now: Reading) -> Iterator[News]:
    error = before.error if before else None
    if now.error and now.error != error:
        yield "poll_failed", "error", {"error": now.error}
    if error and not now.error:
        yield "poll_works_again", "info", {}
    if not now.error:  # if no node answers, poll_failed already says so: not one line for each of 1,000 nodes
        yield from _of_suspects(before, now)
    yield from _of_leases(before, now)
    if now.verdict and not now.error:
        yield from _of_verdicts(before.verdict if before else None, now.verdict)


def _of_suspects(before: Reading | None, now: Reading) -> Iterator[News]:
    had = before.suspects if before and not before.error else frozenset()
    for node in sorted(now.suspects - had):
        yield "node_suspect", "warning", {"node": node, "why": "its Jolokia stopped answering"}
    up = {node.address for node in now.verdict.snapshot.nodes if node.source == "ok"} if now.verdict else set()
    for node in sorted((had - now.suspects) & up):
        yield "node_answers_again", "info", {"node": node}


def _of_verdicts(before: Verdict | None, now: Verdict) -> Iterator[News]:
    if before is None or before.severity is not now.severity:
        was = before.severity.name if before else "none"
        fields = {"severity": now.severity.name, "was": was, "summary": now.summary}
        yield "severity", _LEVELS[now.severity], fields
    states, old = _states(now), _states(before) if before else {}
    for node, state in states.items():
        if state != old.get(node, "up"):
            yield "node_state", "info" if state == "up" else "warning", {"node": node, "state": state}
    for node in sorted(old.keys() - states.keys()):
        yield "node_gone", "info", {"node": node}
    yield from _of_findings(_findings(before) if before else {}, _findings(now))


def _states(verdict: Verdict) -> dict[str, State]:
    nodes = zip(verdict.snapshot.nodes, verdict.states, strict=True)
    return {node.address: state for node, state in nodes}


def _findings(verdict: Verdict) -> Findings:
    """Findings above a note, by code and subject; of several only the worst, which comes first in the verdict."""
    alarms = [finding for finding in verdict.findings if finding.severity is not Severity.OK]
    return {(finding.code, finding.subject): finding for finding in reversed(alarms)}


def _of_findings(old: Findings, new: Findings) -> Iterator[News]:
    for key in sorted(new.keys() | old.keys()):
        finding = new.get(key)
        if finding is None:
            yield "finding_cleared", "info", {"code": key[0], "subject": key[1]}
        elif key not in old or old[key].severity is not finding.severity:
            fields = {"code": finding.code, "subject": finding.subject, "summary": finding.summary}
            yield "finding", _LEVELS[finding.severity], fields


def _of_leases(before: Reading | None, now: Reading) -> Iterator[News]:
    if not now.store_asked:
        return
    unknown = before is not None and before.store_asked and before.holders is None
    if now.holders is None:
        if not unknown:
            yield "leases_unknown", "warning", {}
        return
    if unknown:
        yield "leases_known_again", "info", {}
    old = {(lease.node, lease.owner) for lease in before.holders or ()} if before else set()
    new = {(lease.node, lease.owner) for lease in now.holders}
    for node, owner in sorted(new - old):
        yield "lease_held", "info", {"node": node, "owner": owner}
    for node, owner in sorted(old - new):
        yield "lease_released", "info", {"node": node, "owner": owner}
