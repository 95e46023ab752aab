"""Worker threads: results, exceptions, their number, and their end."""

from __future__ import annotations

import threading

import pytest

from ringcheck.http.threads import WorkerThreads


def test_a_future_has_the_result_or_the_exception() -> None:
    """An exception in one piece of work reaches its caller, and the thread goes on with the next."""
    workers = WorkerThreads(1)
    failed = workers.submit(lambda: 1 // 0)
    assert workers.submit(lambda: 42).result(5) == 42
    with pytest.raises(ZeroDivisionError):
        failed.result(5)
    workers.close()


def test_no_more_threads_are_started_than_there_is_work() -> None:
    """Work that comes one at a time needs one thread; work at once needs up to `size`."""
    workers, gate = WorkerThreads(3), threading.Event()
    for _ in range(5):
        assert workers.submit(threading.current_thread).result(5).name == "ringcheck-worker"
    assert len(workers._threads) <= 2  # a thread may still be at the end of its work
    for _ in range(9):
        workers.submit(lambda: gate.wait(5))
    assert len(workers._threads) == 3
    gate.set()
    workers.close()


def test_threads_end_after_close_and_never_keep_the_process() -> None:
    """They are daemons, and end once the work that was submitted is done."""
    workers = WorkerThreads(2)
    thread = workers.submit(threading.current_thread).result(5)
    assert thread.daemon
    workers.close()
    thread.join(5)
    assert not thread.is_alive()
