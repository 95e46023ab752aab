"""How many agents are asked at once: by threads, or on an event loop.

A poll is written once, as coroutines. A one-shot command runs it on threads, each of which waits for one agent, and
loads no event loop. The long-running agent runs the polls of all clusters on one loop, where an agent that hangs costs
no thread. Large answers are streamed by threads in both.
"""

from __future__ import annotations

import socket
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
    """Work that was begun; what futures of threads and tasks of an event loop have in common."""

    def done(self) -> bool:
        """Whether it is over."""

    def result(self) -> T_co:
        """What came of it; raises what it raised."""


class Asking(Protocol):
    """Sends requests to agents, and waits for many of them."""

    @property
    def counts(self) -> RequestCounts:
        """Requests since the start."""

    def start(self, work: Coroutine[Any, Any, T]) -> Started[T]:
        """Begin some work."""

    async def wait(self, started: Collection[Started[Any]], seconds: float, *, first: bool = False) -> None:
        """Wait until all work is done, or with `first` any of it, or time is over; nothing is cancelled."""

    async def addresses(self, host: str) -> list[str]:
        """The IP addresses of a host name.

        Raises:
            OSError, UnicodeError: if it has none.
        """

    async def post(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Client.post`; for answers of up to a mebibyte."""

    async def stream(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Client.post`; for answers that may be large."""

    def close(self) -> None:
        """Close all connections; requests in flight end by themselves."""


class ByThreads:
    """Each agent is asked by a thread that waits for it."""

    def __init__(self, client: Client, workers: WorkerThreads) -> None:
        """Prepare.

        Args:
            client: sends and waits.
            workers: threads to wait in.
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

    async def addresses(self, host: str) -> list[str]:
        """See `Asking`."""
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]

    async def post(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Asking`."""
        return self._client.post(url, payload, deadline, decode)

    async def stream(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Asking`."""
        return self._client.post(url, payload, deadline, decode)

    def close(self) -> None:
        """See `Asking`."""
        self._workers.close()
        self._client.close()


def completed(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for threads only, and so never gives way to an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("it waits for an event loop, and there is none")
