"""A mailbox: a thread that works through the items of other threads, so that slow work delays none of these.

Of the items that wait under one key only the newest is kept. A worker that hangs costs neither time nor memory.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PAUSE = 0.1  # seconds to let others free memory


class Mailbox(Generic[T]):
    """Items by key, and the thread that works through them."""

    def __init__(self, thread_name: str, work: Callable[[T], object]) -> None:
        """Prepare; the thread runs from `start` on.

        Args:
            thread_name: name of the thread.
            work: called with one item after another, never concurrently; an error that it raises ends the thread,
                except for MemoryError.
        """
        self._work = work
        self._changed = threading.Condition()
        self._waiting: dict[str, T] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, key: str, item: T) -> None:
        """Add an item; it replaces one that waits under the same key. Never waits for the worker."""
        with self._changed:
            self._waiting[key] = item
            self._changed.notify()

    def forget(self, key: str) -> None:
        """Drop the item that waits under a key."""
        with self._changed:
            self._waiting.pop(key, None)

    def end(self) -> None:
        """Let the thread end once it has worked through the items that wait."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the thread, and return whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                if (item := self._next()) is None:
                    return
                self._work(item)
            except MemoryError:  # even the report of an error needs memory; the next item may find some
                time.sleep(_PAUSE)

    def _next(self) -> T | None:
        """An item, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting.pop(next(iter(self._waiting))) if self._waiting else None
