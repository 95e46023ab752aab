"""Logs why a poll is slow, through Python's `logging` at the level DEBUG: a line for each request and each step.

Loads `logging`, which a one-shot command does not need.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ringcheck.http.timing import observe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ringcheck.http.timing import RequestTimes

LOGGER = logging.getLogger("ringcheck.polls")
_cluster: ContextVar[str] = ContextVar("cluster", default="")


def install() -> None:
    """Begin to log what LOGGER's level lets through; call it once in a process."""
    if not _INSTALLED:
        _INSTALLED.append(_DebugLog())
        observe(_INSTALLED[0])


class _DebugLog:
    """An observer; see `timing.Observer`."""

    def request(self, times: RequestTimes) -> None:
        fields = {
            "url": times.url,
            "connect": times.connected,
            "tls": _between(times.connected, times.secured),
            "first_byte": times.answered,
            "seconds": times.ended,
            "status": times.status,
            "error": times.error,
        }
        _log("request", fields)

    @contextmanager
    def step(self, name: str, cluster: str) -> Iterator[None]:
        begun = time.monotonic()
        token = _cluster.set(cluster) if cluster else None
        try:
            yield
        finally:
            _log("step", {"step": name, "seconds": time.monotonic() - begun})
            if token:
                _cluster.reset(token)


_INSTALLED: list[_DebugLog] = []


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else end - begin


def _log(event: str, fields: Mapping[str, Any]) -> None:
    """Log a record with a complete message; `event` and `fields` are for handlers with their own format."""
    if not LOGGER.isEnabledFor(logging.DEBUG):
        return
    cluster = _cluster.get()
    known: dict[str, Any] = {"cluster": cluster} if cluster else {}
    known |= {name: round(value, 4) if isinstance(value, float) else value for name, value in fields.items()}
    shown = {name: value for name, value in known.items() if value is not None}
    message = " ".join(f"{name}={value}" for name, value in shown.items())
    LOGGER.debug("%s %s", event, message, extra={"event": event, "fields": shown})
