"""CPU of a steady poll for each node, against the same bytes through bare `http.client` connections, alternately.

The poll runs on an event loop, as the agent's polls do; the judgement is not included. A separate process sends stored
answers for the nodes.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ringcheck.http.loop import RequestLimit
from ringcheck.http.threads import WorkerThreads
from ringcheck.jolokia.client import Requests, encoded
from ringcheck.jolokia.loop import OnLoop
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import loopback_address
from tests.benchmarks import Row, compared
from tests.benchmarks._canned import NODES
from tests.benchmarks.scale_core import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.ring import Snapshot

ROUNDS = {NODES: 200, LARGEST: 15}
WARM = {NODES: 3, LARGEST: 70}  # polls until each node was asked once for the members that it knows
FIRST = 600.0  # seconds for the first poll, during which the stored answers are made
CPU_SECONDS = 0.6  # of a poll of the largest cluster


class _Recording(OnLoop):
    """Keeps the last request to each agent."""

    def __init__(self, settings: JolokiaSettings) -> None:
        self.requests = Requests(settings)
        self.sent: dict[str, bytes] = {}
        super().__init__(self.requests, WorkerThreads(4), RequestLimit(1024))

    async def _attempt(self, url: str, payload: object, *rest: Any) -> Any:
        self.sent[url] = encoded(payload)
        return await super()._attempt(url, payload, *rest)


def run() -> Iterator[Row]:
    for nodes in ROUNDS:
        with _served(nodes) as port:
            yield from _measure(nodes, port)


@contextmanager
def _served(nodes: int) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.benchmarks._canned", str(nodes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline().split()[0])
        finally:
            server.kill()


def _measure(nodes: int, port: int) -> Iterator[Row]:
    contacts = tuple(loopback_address(number) for number in range(3))
    asking = _Recording(
        JolokiaSettings(contact_points=contacts, url=f"http://{{address}}:{port}/jolokia", timeout=FIRST)
    )
    source = JolokiaSource(asking.requests.settings, asking=asking)
    loop = asyncio.new_event_loop()

    def poll() -> Snapshot:
        return loop.run_until_complete(source.poll_on_loop(FIRST))

    for _ in range(WARM[nodes]):
        assert all(view.outcome == "ok" for view in poll().views)
    polls, bares = _alternately(ROUNDS[nodes], poll, _bare(asking))
    source.close()
    loop.close()
    what, against = f"poll, CPU of each node: {nodes} nodes", "bare http.client, the same bytes"
    yield compared(what, polls / nodes, against, bares / nodes, budget=2.5, text="<= 2.5")
    if nodes == LARGEST:
        text = f"<= {CPU_SECONDS} CPU s"
        yield Row(f"steady poll on a loop, CPU: {nodes} nodes", f"{polls:.2f} s", "", None, text, polls <= CPU_SECONDS)


def _bare(asking: _Recording) -> Callable[[], None]:
    """Sends what the last poll sent to each node, and reads the answers."""
    parts = {url: urlsplit(url) for url in asking.sent}
    connections = {url: HTTPConnection(part.hostname or "", part.port) for url, part in parts.items()}

    def ask() -> None:
        for url, connection in connections.items():
            connection.request("POST", f"{parts[url].path}/", asking.sent[url], asking.requests.headers)
            connection.getresponse().read()

    ask()
    return ask


def _alternately(rounds: int, first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Median CPU seconds of two pieces of work that take turns."""
    taken = [(_cpu(first), _cpu(second)) for _ in range(rounds)]
    return median(one for one, _ in taken), median(other for _, other in taken)


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
