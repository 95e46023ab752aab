"""Worker threads: results, exceptions, their number, and their end."""

from __future__ import annotations

import threading

import pytest

from ringcheck.http.threads import WorkerThreads


def test_a_future_has_the_result_or_the_exception() -> None:
    """An exception in one job is raised to its caller, and the thread goes on with the next job."""
    workers = WorkerThreads(1)
    failed = workers.submit(lambda: 1 // 0)
    assert workers.submit(lambda: 42).result(5) == 42
    with pytest.raises(ZeroDivisionError):
        failed.result(5)
    workers.close()


def test_no_more_threads_are_started_than_there_is_work() -> None:
    """Jobs that come one at a time need one thread; concurrent jobs need up to `size`."""
    workers, gate = WorkerThreads(3), threading.Event()
    for _ in range(5):
        assert workers.submit(threading.current_thread).result(5).name == "ringcheck-worker"
    assert len(workers._threads) <= 2  # a thread may still be finishing its job
    for _ in range(9):
        workers.submit(lambda: gate.wait(5))
    assert len(workers._threads) == 3
    gate.set()
    workers.close()


def test_threads_end_after_close_and_never_keep_the_process() -> None:
    """They are daemon threads, and end once all submitted jobs are done."""
    workers = WorkerThreads(2)
    thread = workers.submit(threading.current_thread).result(5)
    assert thread.daemon
    workers.close()
    thread.join(5)
    assert not thread.is_alive()
