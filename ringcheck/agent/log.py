"""The service's log: one line a change, as key=value or JSON; a lasting condition is logged once."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.policy import Severity
from ringcheck.errors import LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.evidence import State
    from ringcheck.core.findings import Finding
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

    News: TypeAlias = tuple[str, str, dict[str, Any]]  # event, level and fields of a line
    Findings: TypeAlias = dict[tuple[str, str], Finding]

Form: TypeAlias = Literal["logfmt", "json"]
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,()%*")


class Log:
    """Writes lines; safe to use from many threads."""

    def __init__(self, form: Form = "logfmt", stream: IO[str] | None = None) -> None:
        """Prepare.

        Args:
            form: the format of a line.
            stream: the output. [default: stderr, which systemd's journal keeps]
        """
        self.form = form
        self._stream = stream
        self._guard = threading.Lock()

    def __call__(self, event: str, level: str = "info", **fields: Any) -> None:  # noqa: ANN401 - any JSON value
        """Write a line. Raises nothing: a full disk must not end the polls."""
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        bounded = {name: _bounded(value) for name, value in fields.items()}
        line = _line({"time": time, "level": level, "event": event, **bounded}, self.form)
        with self._guard:
            try:
                stream = self._stream or sys.stderr
                stream.write(f"{line}\n")  # in one call, so that other writers' text does not come between
                stream.flush()
            except (OSError, ValueError):
                return


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
    """Findings other than notes, by code and subject; of several the worst, which comes first in the verdict."""
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
