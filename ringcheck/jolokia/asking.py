"""Sends requests to many Jolokia agents at once: with worker threads, or on an event loop.

A poll is written once, as coroutines, and can run in two ways. Both have the interface `Asking`.

- `ByThreads`, for a command. Every piece of work that a poll starts runs in a worker thread, and its requests block
  that thread. No coroutine ever suspends, so that `completed` can run one to its end without an event loop. The
  process does not even load asyncio.
- `OnLoop` (loop.py), for the long-running agent. Every piece of work is a task on one event loop, which all clusters
  share. An agent that hangs costs a socket and no thread.

A poll awaits only what `Asking` offers, and so does not depend on which of the two it is. Large replies are streamed in
threads in both ways.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, wait
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from ringcheck.http.replies import document

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine
    from concurrent.futures import Future

    from ringcheck.core.source import RequestCounts
    from ringcheck.http.threads import WorkerThreads
    from ringcheck.jolokia.client import Client, Decode

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Started(Protocol[T_co]):
    """Work that was begun: what a thread's future and an event loop's task have in common."""

    def done(self) -> bool:
        """Whether it has ended."""

    def result(self) -> T_co:
        """Its result, after it has ended; raises what the work raised."""

    def exception(self) -> BaseException | None:
        """What the work raised, after it has ended."""


class Asking(Protocol):
    """Sends requests to Jolokia agents, and runs many pieces of work at once.

    Attributes:
        shared: whether the sources of many clusters use it.
    """

    shared: bool

    @property
    def counts(self) -> RequestCounts:
        """Requests by outcome and bytes, since the start."""

    def start(self, work: Coroutine[Any, Any, T]) -> Started[T]:
        """Begin some work, which runs while the caller continues."""

    async def wait(self, started: Collection[Started[Any]], seconds: float, *, first: bool = False) -> None:
        """Wait for work that was started; work that has not ended by then continues.

        Args:
            started: the work.
            seconds: to wait, at most.
            first: return as soon as any of it has ended, instead of all.
        """

    async def pause(self, seconds: float) -> None:
        """Let some time pass."""

    async def addresses(self, host: str) -> list[str]:
        """The IP addresses that a host name resolves to.

        Raises:
            OSError, UnicodeError: if it can't be resolved.
        """

    async def post(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """As `Client.post`: the reply has a mebibyte at most."""

    async def stream(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """As `Client.stream`: the reply may be large."""

    def forget(self, urls: Collection[str]) -> None:
        """Close the idle connections to agents that are not asked any more."""

    def close(self) -> None:
        """Close all connections; requests in flight end by themselves."""


class ByThreads:
    """Runs each piece of work in a worker thread, which waits for the agent."""

    shared = False

    def __init__(self, client: Client, workers: WorkerThreads) -> None:
        """Prepare; nothing is sent.

        Args:
            client: sends a request and waits for the reply.
            workers: threads that run the work.
        """
        self._client = client
        self._workers = workers

    @property
    def counts(self) -> RequestCounts:
        """See `Asking`."""
        return self._client.counts

    def start(self, work: Coroutine[Any, Any, T]) -> Started[T]:
        """See `Asking`."""
        return self._workers.submit(partial(completed, work))

    async def wait(self, started: Collection[Started[Any]], seconds: float, *, first: bool = False) -> None:
        """See `Asking`."""
        futures = cast("Collection[Future[Any]]", started)
        wait(futures, seconds, FIRST_COMPLETED if first else ALL_COMPLETED)

    async def pause(self, seconds: float) -> None:
        """See `Asking`."""
        time.sleep(max(0.0, seconds))  # noqa: ASYNC251 - there is no event loop

    async def addresses(self, host: str) -> list[str]:
        """See `Asking`."""
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]

    async def post(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Asking`."""
        return self._client.post(url, payload, deadline, decode)

    async def stream(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Asking`."""
        return self._client.stream(url, payload, deadline, decode)

    def forget(self, urls: Collection[str]) -> None:
        """See `Asking`."""
        self._client.forget(urls)

    def close(self) -> None:
        """See `Asking`."""
        self._workers.close()
        self._client.close()


def completed(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends, since all that it awaits blocks its thread."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("the coroutine waits for an event loop, and there is none")
