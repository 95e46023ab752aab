"""Sends requests to thousands of Jolokia agents on one event loop, for the long-running agent. Loads asyncio."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from itertools import chain
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ringcheck.errors import RingcheckError, SourceError
from ringcheck.http.exchange import RetryableError
from ringcheck.http.loop import LoopConnections, looked_up
from ringcheck.http.replies import document
from ringcheck.jolokia.client import Client, pauses, time_left, with_slash
from ringcheck.jolokia.proxy import place

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine

    from ringcheck.core.source import RequestCounts
    from ringcheck.http.loop import RequestLimit
    from ringcheck.http.threads import WorkerThreads
    from ringcheck.jolokia.asking import Started
    from ringcheck.jolokia.client import Decode, Requests

T = TypeVar("T")


class OnLoop:
    """Runs each piece of work as a task of one event loop; large replies are streamed in threads. See `Asking`."""

    shared = True

    def __init__(self, requests: Requests, threads: WorkerThreads, limit: RequestLimit) -> None:
        """Prepare; nothing is sent. All methods must be called on the same event loop.

        Args:
            requests: settings, headers and counts.
            threads: stream the large replies, and look up host names.
            limit: of the requests that are in flight; the same for all clusters of a process.
        """
        self._requests = requests
        self._threads = threads
        self._limit = limit
        self._connections = LoopConnections(requests.tls, threads, requests.kept)
        self._client = Client(requests)
        self._in_flight: set[str] = set()

    @property
    def counts(self) -> RequestCounts:
        """See `Asking`."""
        return self._requests.counts

    def start(self, work: Coroutine[Any, Any, T]) -> Started[T]:
        """See `Asking`."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_retrieve_error)
        return task

    async def wait(self, started: Collection[Started[Any]], seconds: float, *, first: bool = False) -> None:
        """See `Asking`."""
        if started:
            until = asyncio.FIRST_COMPLETED if first else asyncio.ALL_COMPLETED
            tasks = cast("Collection[asyncio.Task[Any]]", started)
            await asyncio.wait(tasks, timeout=max(0.0, seconds), return_when=until)

    async def pause(self, seconds: float) -> None:
        """See `Asking`."""
        await asyncio.sleep(max(0.0, seconds))

    async def addresses(self, host: str) -> list[str]:
        """See `Asking`."""
        return [str(entry[4][0]) for entry in await looked_up(host, None, self._threads)]

    async def post(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Asking`."""
        loop = asyncio.get_running_loop()
        for pause in chain(pauses(), [None]):
            try:
                return await self._attempt(url, payload, deadline, decode)
            except RetryableError as failure:
                if pause is None or pause >= deadline - loop.time():
                    raise failure.error from failure
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def stream(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """See `Asking`."""
        work = partial(copy_context().run, self._client.stream, url, payload, deadline, decode)
        return await asyncio.wrap_future(self._threads.submit(work))

    def forget(self, urls: Collection[str]) -> None:
        """See `Asking`."""
        self._connections.forget(map(with_slash, urls))
        self._client.forget(urls)

    def close(self) -> None:
        """See `Asking`."""
        self._connections.close()
        self._client.close()

    async def _attempt(self, url: str, payload: object, deadline: float, decode: Decode[T]) -> T:
        """Send one request and count its outcome; a second request to the same URL fails meanwhile."""
        requests = self._requests
        target, body = requests.message(url, payload)
        with requests.counted():
            if url in self._in_flight:
                raise SourceError(f"{place(url)}: an earlier request is still not answered", "unreachable")
            limit = requests.limit(large=False)
            self._in_flight.add(url)
            try:
                async with self._limit.counted():
                    left = time_left(url, deadline - asyncio.get_running_loop().time())
                    seconds = min(left, requests.settings.timeout)
                    with requests.explained(url, seconds):
                        answer = await self._connections.request("POST", target, seconds, requests.headers, body, limit)
                        return requests.result(answer, url, decode, limit)
            finally:
                self._in_flight.discard(url)


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of work that has ended: asyncio logs an error that nobody retrieves, as after a poll's end.

    Of ringcheck's own errors only the text is used. Causes, and the variables of the frames in which it occurred, are
    dropped: by way of these an error would keep itself and all that the poll knows, until Python searches for cycles.
    In a large fleet some nodes fail in every poll.
    """
    error = None if task.cancelled() else task.exception()
    if isinstance(error, RingcheckError):
        clear_frames(error.__traceback__)
        error.__cause__ = error.__context__ = None
