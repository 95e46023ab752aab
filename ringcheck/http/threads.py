"""Threads that ask many nodes at once and never keep a process from ending.

`ThreadPoolExecutor` joins its threads at exit, so that one that hangs in a name look-up would hang the plugin.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Job: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"


class Crew:
    """Up to `size` daemon threads, started as they are needed."""

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0
        self._guard = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do something soon; its exceptions are in the future."""
        future: Future[T] = Future()
        with self._guard:
            self._waiting += 1
            if self._waiting > len(self._threads) and len(self._threads) < self._size:
                thread = threading.Thread(target=self._serve, name="ringcheck-jolokia", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put((future, work))
        return future

    def close(self) -> None:
        """Let the threads end when they are done; nobody waits for them."""
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
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it, as from ThreadPoolExecutor
            future.set_exception(error)
        finally:
            with self._guard:
                self._waiting -= 1
