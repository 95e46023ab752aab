"""The service's log: one line a change, as key=value or JSON; what stays as it is is told once."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.findings import Finding
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

Form: TypeAlias = Literal["logfmt", "json"]
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,()%*")


class Log:
    """Writes lines; safe to use from many threads."""

    def __init__(self, form: Form = "logfmt", stream: IO[str] | None = None) -> None:
        """Prepare.

        Args:
            form: of a line.
            stream: where to; by default stderr, which systemd's journal keeps.
        """
        self.form = form
        self._stream = stream
        self._guard = threading.Lock()

    def __call__(self, event: str, level: str = "info", **fields: Any) -> None:  # noqa: ANN401 - what JSON can tell
        """Write a line. Nothing is raised: a full disk must not end the polls."""
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        line = _line({"time": time, "level": level, "event": event, **fields}, self.form)
        with self._guard:
            try:
                stream = self._stream or sys.stderr
                stream.write(f"{line}\n")  # in one: what others write there must not come between
                stream.flush()
            except (OSError, ValueError):
                return


def _line(fields: dict[str, Any], form: Form) -> str:
    if form == "json":
        return json.dumps(fields, default=str)
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items())


def _value(value: object) -> str:
    text = str(value)
    return text if text and set(text) <= _PLAIN else json.dumps(text)


_LEVELS = {Severity.OK: "info", Severity.WARNING: "warning", Severity.UNKNOWN: "warning", Severity.CRITICAL: "error"}


class Changes:
    """Tells what differs from one reading of a cluster to the next; a listener of the agent."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: dict[str, Reading] = {}

    def __call__(self, reading: Reading) -> None:
        """Log what is new in a reading."""
        before = self._last.get(reading.cluster)
        self._last[reading.cluster] = reading
        for event, level, fields in _news(before, reading):
            self._log(event, level, cluster=reading.cluster, **fields)

    def forget(self, cluster: str) -> None:
        """A cluster is no longer watched."""
        self._last.pop(cluster, None)


def _news(before: Reading | None, now: Reading) -> Iterator[tuple[str, str, dict[str, Any]]]:
    error = before.error if before else None
    if now.error and now.error != error:
        yield "poll_failed", "error", {"error": now.error}
    if error and not now.error:
        yield "poll_works_again", "info", {}
    if not now.error:  # where nobody answers that is told already, and not a thousand times
        yield from _of_suspects(before, now)
    yield from _of_leases(before, now)
    if now.verdict and not now.error:
        yield from _of_verdicts(before.verdict if before else None, now.verdict)


def _of_suspects(before: Reading | None, now: Reading) -> Iterator[tuple[str, str, dict[str, Any]]]:
    had = before.suspects if before and not before.error else frozenset()
    for node in sorted(now.suspects - had):
        yield "node_suspect", "warning", {"node": node, "why": "its Jolokia stopped answering"}
    up = {node.address for node in now.verdict.snapshot.nodes if node.source == "ok"} if now.verdict else set()
    for node in sorted((had - now.suspects) & up):
        yield "node_answers_again", "info", {"node": node}


def _of_verdicts(before: Verdict | None, now: Verdict) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if before is None or before.severity is not now.severity:
        was = before.severity.name if before else "none"
        fields = {"severity": now.severity.name, "was": was, "summary": now.summary}
        yield "severity", _LEVELS[now.severity], fields
    states = {node.address: state for node, state in zip(now.snapshot.nodes, now.states, strict=True)}
    old = (
        {node.address: state for node, state in zip(before.snapshot.nodes, before.states, strict=True)}
        if before
        else {}
    )
    for node, state in states.items():
        if state != old.get(node, "up"):
            yield "node_state", "info" if state == "up" else "warning", {"node": node, "state": state}
    for node in sorted(old.keys() - states.keys()):
        yield "node_gone", "info", {"node": node}
    found, had = _findings(now), _findings(before) if before else {}
    for key in sorted(found.keys() | had.keys()):
        one = found.get(key)
        if one is None:
            yield "finding_cleared", "info", {"code": key[0], "subject": key[1]}
        elif key not in had or had[key].severity is not one.severity:
            yield "finding", _LEVELS[one.severity], {"code": one.code, "subject": one.subject, "summary": one.summary}


def _findings(verdict: Verdict) -> dict[tuple[str, str], Finding]:
    """What is more than a note, by code and subject: of several the worst, which comes first."""
    return {(one.code, one.subject): one for one in reversed(verdict.findings) if one.severity is not Severity.OK}


def _of_leases(before: Reading | None, now: Reading) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if not now.store_asked:
        return
    unknown = before is not None and before.store_asked and before.holders is None
    if now.holders is None:
        if not unknown:
            yield "leases_unknown", "warning", {}
        return
    if unknown:
        yield "leases_known_again", "info", {}
    old = {(one.node, one.owner) for one in (before.holders or ()) if before} if before else set()
    new = {(one.node, one.owner) for one in now.holders}
    for node, owner in sorted(new - old):
        yield "lease_held", "info", {"node": node, "owner": owner}
    for node, owner in sorted(old - new):
        yield "lease_released", "info", {"node": node, "owner": owner}
