"""Threads for work that may hang, which never delay the end of the process.

`ThreadPoolExecutor` joins its threads at exit: a thread that hangs in a name look-up would keep a plugin from ending.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Job: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"


class WorkerThreads:
    """Up to `size` daemon threads, each started when there is work for it."""

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._guard = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do some work in one of the threads; the future has its result or its exception.

        Raises:
            RuntimeError: if there is no thread yet, and the system allows none.
        """
        future: Future[T] = Future()
        with self._guard:
            if self._unfinished >= len(self._threads) and len(self._threads) < self._size:
                self._start()
            self._unfinished += 1
        self._jobs.put((future, work))
        return future

    def _start(self) -> None:
        """Start another thread; if the system allows no more, the work waits for the existing threads."""
        thread = threading.Thread(target=self._serve, name="ringcheck-worker", daemon=True)
        with suppress(RuntimeError) if self._threads else nullcontext():
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Let each thread end after the work that was submitted; does not wait for them."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads = []

    def _serve(self) -> None:
        while job := self._jobs.get():
            self._do(*job)

    def _do(self, future: Future[Any], work: Callable[[], Any]) -> None:
        try:
            if future.set_running_or_notify_cancel():
                future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the future, as with ThreadPoolExecutor
            future.set_exception(error)
        finally:
            with self._guard:
                self._unfinished -= 1
