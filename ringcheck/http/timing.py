"""Timing of requests and steps, for observers: a debug log, or traces.

By default there is no observer: then a request or a step only costs a look at an empty tuple.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(slots=True, kw_only=True)
class RequestTimes:
    """One HTTP request; times are seconds since its beginning, None for a stage that was not reached.

    Attributes:
        method: of HTTP.
        url: without user and password.
        began: when it began, in Unix seconds.
        connected: when the TCP connection was made; None for a kept connection.
        secured: when the TLS handshake was over.
        answered: when the first byte of the answer arrived; on threads, the whole head.
        ended: when the whole answer was read, or the error occurred.
        status: of HTTP; None without an answer.
        error: what was raised; None if nothing was.
    """

    method: str
    url: str
    began: float
    connected: float | None = None
    secured: float | None = None
    answered: float | None = None
    ended: float = 0.0
    status: int | None = None
    error: str | None = None


class Observer(Protocol):
    """Is called for requests and steps, in the threads and tasks that run them. Must not raise."""

    def request(self, times: RequestTimes) -> None:
        """Called when a request is over."""

    def step(self, name: str, cluster: str) -> AbstractContextManager[None]:
        """Called for a step of a poll; the step lasts as long as the context. Steps are nested.

        Args:
            name: `poll`, or one of its parts.
            cluster: its name, for `poll`; otherwise empty.
        """


_observers: tuple[Observer, ...] = ()
_NOTHING = nullcontext()


def observe(observer: Observer) -> None:
    """Notify an observer of all requests and steps of this process from now on."""
    global _observers  # noqa: PLW0603 - of the process, as the loggers of `logging` are
    _observers = (*_observers, observer)


def unobserve(observer: Observer) -> None:
    """Stop notifying an observer."""
    global _observers  # noqa: PLW0603 - as above
    _observers = tuple(other for other in _observers if other is not observer)


def step(name: str, cluster: str = "") -> AbstractContextManager[object]:
    """A step of a poll, for a `with` block; see `Observer.step`."""
    if not _observers:
        return _NOTHING
    stack = ExitStack()
    for observer in _observers:
        stack.enter_context(observer.step(name, cluster))
    return stack


class RequestTimer:
    """Times one request for the observers, as a context; its methods mark events. Does nothing without observers."""

    __slots__ = ("_observers", "_start", "_times")

    def __init__(self, method: str, url: str) -> None:
        """Begin."""
        self._observers = _observers
        self._times: RequestTimes | None = None
        if _observers:
            from ringcheck.http.urls import shown  # noqa: PLC0415 - needed only if somebody observes

            self._times = RequestTimes(method=method, url=shown(url), began=time.time())
            self._start = time.monotonic()

    def __enter__(self) -> RequestTimer:  # noqa: PYI034 - it has no subclasses
        return self

    def connected(self) -> None:
        """The TCP connection is there."""
        if self._times:
            self._times.connected = time.monotonic() - self._start

    def secured(self) -> None:
        """The TLS handshake is over."""
        if self._times:
            self._times.secured = time.monotonic() - self._start

    def answered(self, at: float | None = None) -> None:
        """The answer has begun: now, or at a time of the monotonic clock."""
        if self._times and self._times.answered is None:
            self._times.answered = (time.monotonic() if at is None else at) - self._start

    def status(self, status: int) -> None:
        """The answer has this status."""
        if self._times:
            self._times.status = status

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._times is None:
            return
        self._times.ended = time.monotonic() - self._start
        self._times.error = None if error is None else str(error) or type(error).__name__
        for observer in self._observers:
            observer.request(self._times)
