"""`ringcheck agent` with a channel: it polls, reloads and counts what it holds when a line on stdin asks for it.

Arguments: those of `ringcheck agent`. Each line is answered by one line of JSON on stdout.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringcheck.agent import service
from ringcheck.cli import main as ringcheck
from ringcheck.cli.agent import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 600.0  # seconds for polls or a reload; generous, so that a busy machine does not fail a test
agents: list[service.Agent] = []


class Noted(service.Agent):
    """The agent of this process."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        agents.append(self)


def poll(agent: service.Agent, *, streams: bool) -> dict[str, int]:
    """Let every cluster be polled once more; return the number of clusters."""
    watches = agent._state.watches
    before = {watch: sum(watch.reading.polls.counts) for watch in watches}
    for watch in watches:
        if streams:
            watch.ask()
        else:
            watch.hurry()
    wait(
        lambda: all(sum(watch.reading.polls.counts) > count for watch, count in before.items()),
        lambda: [watch.cluster.name for watch, count in before.items() if sum(watch.reading.polls.counts) == count],
    )
    return {"polls": len(watches)}


def reload(agent: service.Agent) -> dict[str, int]:
    """Let the agent load its configuration again; return its number of clusters afterwards."""
    before = agent.config
    os.kill(os.getpid(), signal.SIGHUP)
    wait(lambda: agent.config is not before, lambda: ["the configuration"])
    return {"clusters": len(agent.config.clusters)}


def count() -> dict[str, Any]:
    """What the process keeps now, without the results of caches that have a limit of their own."""
    gc.unfreeze()  # what the agent made before its polls, caches included, is not listed otherwise
    resident, threads = status("VmRSS"), status("Threads")
    caches = bounded_caches()
    cached = sum(cache.cache_info().currsize for cache in caches)
    for cache in caches:
        cache.cache_clear()
    for _ in range(3):
        gc.collect()
    types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    return {
        "objects": types.total(),
        "blocks": sys.getallocatedblocks(),
        "threads": threads,
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names are enough
        "rss": resident,
        "kept": kept(),
        "cpu": time.process_time(),
        "cached": cached,
        "types": types,
    }


def status(name: str) -> int:
    """A number of /proc/self/status; sizes are in KiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0])


def kept() -> int:
    """Resident memory in KiB, after the C library has returned the pages that it keeps for later."""
    ctypes.CDLL(None).malloc_trim(0)
    return status("VmRSS")


def bounded_caches() -> list[_lru_cache_wrapper[Any]]:
    """Every `lru_cache` of ringcheck that has a limit; one without a limit must show as growth."""
    caches = [each for each in gc.get_objects() if isinstance(each, _lru_cache_wrapper)]
    own = (cache for cache in caches if str(cache.__module__).startswith("ringcheck."))
    return [cache for cache in own if cache.cache_parameters()["maxsize"] is not None]


def wait(condition: Callable[[], bool], missing: Callable[[], list[str]]) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: if it does not in time; the log then has all threads and what is missing.
    """
    ends = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > ends:
            faulthandler.dump_traceback()
            raise TimeoutError(f"still waiting for {missing()}")
        time.sleep(0.002)


def serve() -> None:
    """Answer the lines of stdin; the process ends when stdin is closed."""
    try:
        for line in sys.stdin:
            wait(lambda: bool(agents), lambda: ["the agent"])
            print(json.dumps(answer(line.strip())), flush=True)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def answer(word: str) -> dict[str, Any]:
    """Do what a line asks for."""
    if word == "count":
        return count()
    if word == "reload":
        return reload(agents[0])
    return poll(agents[0], streams=word == "ask")


if __name__ == "__main__":
    service.Agent = Noted  # type: ignore[misc]
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # or the thread below would take those of the main thread
    threading.Thread(target=serve, daemon=True).start()
    ringcheck(["agent", *sys.argv[1:]])
