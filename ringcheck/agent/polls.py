"""Runs the polls of all clusters: one event loop for their requests, and a few threads for work that would block it.

The number of threads does not depend on the number of clusters or nodes. A node that hangs costs a socket and a timer.
Work that takes CPU time is done by a few judges, and lease stores, which may hang, are read by threads of their own, so
that neither delays the requests of other clusters.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent import futures
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ringcheck.http.descriptors import room
from ringcheck.http.loop import RequestLimit
from ringcheck.http.threads import WorkerThreads
from ringcheck.sources import open_on_loop, open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

    from ringcheck.config.values import Cluster
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import LoopSource, Source

T = TypeVar("T")

IN_FLIGHT = 1024  # requests at once, of all clusters together; a quarter of the descriptors at most
JUDGES = 4  # threads that make verdicts; more would only take turns on the interpreter
STORE_READERS = 16  # threads that wait for lease stores
STREAMERS = 8  # threads that read large replies, look up host names and read recordings


class PollRunner(Protocol):
    """What a watch needs to poll its cluster."""

    def open(self, cluster: Cluster) -> Source | LoopSource:
        """The source of a cluster.

        Raises:
            ConfigError: if it can't be used as configured.
            UsageError: if a password can't be read.
        """

    async def poll(self, source: Any, seconds: float, *, streams: bool) -> Snapshot:  # noqa: ANN401 - as `open` made it
        """A snapshot of a source that `open` made; see `Source.poll`."""

    async def read_store(self, work: Callable[[], T]) -> T:
        """The result of some work that waits for a lease store."""

    async def judge(self, work: Callable[[], T]) -> T:
        """The result of some work that takes CPU time."""

    async def wait(self, future: Future[None], seconds: float) -> None:
        """Wait until something is done, or the time is over."""


class InThread:
    """Does everything in the thread of the caller: for tests, and for one cluster."""

    def open(self, cluster: Cluster) -> Source:
        """See `PollRunner`."""
        return open_source(cluster, counting=True)

    async def poll(self, source: Source, seconds: float, *, streams: bool) -> Snapshot:
        """See `PollRunner`."""
        return source.poll(seconds, streams=streams)

    async def read_store(self, work: Callable[[], T]) -> T:
        """See `PollRunner`."""
        return work()

    async def judge(self, work: Callable[[], T]) -> T:
        """See `PollRunner`."""
        return work()

    async def wait(self, future: Future[None], seconds: float) -> None:
        """See `PollRunner`."""
        futures.wait([future], seconds)


class PollLoop:
    """The event loop of all polls, in a thread of its own."""

    def __init__(self) -> None:
        """Prepare; nothing runs before `start`."""
        self._loop = asyncio.new_event_loop()
        self._stopping = False
        self._limit = RequestLimit(max(1, min(IN_FLIGHT, room() // 4)))
        self._turns = asyncio.Lock()
        self._asking: set[asyncio.Task[Any]] = set()
        self._judges = WorkerThreads(JUDGES)
        self._store_readers = WorkerThreads(STORE_READERS)
        self._streamers = WorkerThreads(STREAMERS)
        self._thread = threading.Thread(target=self._serve, name="polls", daemon=True)

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine on the loop."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def abandon_polls(self) -> None:
        """Cancel the polls that wait for nodes, and the work that began them; judging that has begun continues."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._asking])

    def stop(self) -> None:
        """Cancel what still runs, and end the threads after their present work; does not wait for them."""
        first, self._stopping = not self._stopping, True
        if first:  # a second time it would end the cancelling
            self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread.ident is None:  # no thread closes it
            self._loop.close()
        for threads in (self._judges, self._store_readers, self._streamers):
            threads.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            running = True
            while running:  # at least once: a `stop` that came first would end the cancelling
                with suppress(MemoryError):  # raised by the loop itself; a task handles its own
                    self._loop.run_forever()
                running = not self._stopping
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            self._loop.close()

    # What a watch needs, on the loop

    async def turn(self) -> None:
        """Wait until a poll may begin: in each pass of the loop one poll does.

        If the machine can't keep up, passes become long. Then polls wait here, before their deadline runs, instead of
        sharing the processor with so many others that none of them ends in time. Nodes that hang have no effect on it.
        """
        async with self._turns:
            await asyncio.sleep(0)

    def open(self, cluster: Cluster) -> LoopSource:
        """See `PollRunner`."""
        return open_on_loop(cluster, self._streamers, self._limit)

    async def poll(self, source: LoopSource, seconds: float, *, streams: bool) -> Snapshot:
        """See `PollRunner`."""
        task = asyncio.current_task()
        assert task  # noqa: S101 - a coroutine of the loop
        self._asking.add(task)
        try:
            return await source.poll(seconds, streams=streams)
        finally:
            self._asking.discard(task)

    async def read_store(self, work: Callable[[], T]) -> T:
        """See `PollRunner`."""
        return await asyncio.wrap_future(self._store_readers.submit(work))

    async def judge(self, work: Callable[[], T]) -> T:
        """See `PollRunner`."""
        return await asyncio.wrap_future(self._judges.submit(work))

    async def wait(self, future: Future[None], seconds: float) -> None:
        """See `PollRunner`."""
        await asyncio.wait([asyncio.wrap_future(future)], timeout=seconds)
