"""The agent with many clusters: how soon each has a verdict, and the cost in cores, threads, memory and scrape time.

`RINGCHECK_BENCH_FLEET` chooses the sizes, "300 1000" by default; "30" is a quick trial. One separate process sends
stored answers for the nodes of all clusters. In the fleet of 1,000 one node in 50 is silent and one cluster in 100 is
dead; a dead cluster has no verdict to wait for.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.simulator.cluster import loopback_address
from tests.benchmarks import Row
from tests.benchmarks._canned import NODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEASURED = 60.0  # seconds, counted after each live cluster has a verdict
PATIENCE = 300.0  # seconds for these first verdicts
SCRAPED = 15.0  # seconds between two scrapes until then, as a Prometheus does it
_UP = re.compile(r'^ringcheck_up\{cassandra_cluster="[^"]*"\} 1', re.MULTILINE)
_AGE = re.compile(r"^ringcheck_last_success_timestamp_seconds\{[^}]*\} (\S+)$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


class Fleet(NamedTuple):
    """What is watched, and what it may cost."""

    clusters: int
    interval: int
    silent: int  # clusters with a silent node
    dead: int  # clusters of silent nodes only
    first: float  # seconds until each live cluster has a verdict
    cores: float
    median: float
    worst: float
    threads: int
    mebibytes: int


DEFAULT = "300 1000"
FLEETS = {
    "30": Fleet(30, 15, 7, 1, 25, 0.35, 0.5, 1.0, 80, 250),
    "300": Fleet(300, 15, 0, 0, 25, 0.35, 0.5, 1.0, 80, 250),
    "1000": Fleet(1000, 30, 240, 10, 45, 0.7, 1.0, 2.0, 100, 600),
}


def run() -> Iterator[Row]:
    for name in os.environ.get("RINGCHECK_BENCH_FLEET", DEFAULT).split():
        yield from _measure(FLEETS[name])


def _measure(fleet: Fleet) -> Iterator[Row]:
    what = f"{fleet.clusters} clusters x {NODES} nodes, {fleet.interval} s"
    started = time.monotonic()  # a moment later, once the nodes are there, the agent starts too
    with _nodes() as ports, _agent(fleet, ports) as (process, port, first):
        alive = fleet.clusters - fleet.dead
        while not first.wait(SCRAPED) and time.monotonic() - started < PATIENCE:
            _scrape(port)
        yield _row(f"{what}: each live one has a verdict", time.monotonic() - started, "s", fleet.first)
        assert len(_UP.findall(_scrape(port)[1])) >= alive
        cpu, begun = _cpu(process.pid), time.monotonic()
        scrapes, stale = [], 0
        while time.monotonic() - begun < MEASURED:
            seconds, text = _scrape(port)
            scrapes.append(seconds)
            now = time.time()
            fresh = sum(now - float(at) <= 2 * fleet.interval for at in _AGE.findall(text))
            stale = max(stale, alive - fresh)
            time.sleep(5)
        cores = (_cpu(process.pid) - cpu) / (time.monotonic() - begun)
        status = Path(f"/proc/{process.pid}/status").read_text()
        yield _row(f"{what}: cores", cores, "", fleet.cores)
        yield _row(f"{what}: scrape, median", statistics.median(scrapes), "s", fleet.median)
        yield _row(f"{what}: scrape, worst", max(scrapes), "s", fleet.worst)
        yield _row(f"{what}: threads", _field(status, "Threads"), "", fleet.threads)
        yield _row(f"{what}: resident", _field(status, "VmRSS") / 1024, "MiB", fleet.mebibytes)
        yield _row(f"{what}: live ones without a verdict of 2 intervals", stale, "", 0)
        ended = time.monotonic()
        process.terminate()
        process.wait(60)
        yield _row(f"{what}: SIGTERM", time.monotonic() - ended, "s", 3)


def _row(what: str, measured: float, unit: str, most: float) -> Row:
    return Row(what, f"{measured:.3g} {unit}".strip(), "", None, f"<= {most:g} {unit}".strip(), measured <= most)


@contextmanager
def _nodes() -> Iterator[list[int]]:
    command = [sys.executable, "-m", "tests.benchmarks._canned"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield [int(port) for port in server.stdout.readline().split()]
        finally:
            server.kill()


@contextmanager
def _agent(fleet: Fleet, ports: list[int]) -> Iterator[tuple[subprocess.Popen[str], int, threading.Event]]:
    """The agent's process, its port, and an event that is set when each live cluster has a verdict."""
    well, one_silent, all_silent = ports
    kinds = [well] * (fleet.clusters - fleet.silent - fleet.dead) + [one_silent] * fleet.silent
    contacts = ", ".join(loopback_address(number) for number in range(3))
    lines = [f"agent: {{listen: '127.0.0.1:0', interval: {fleet.interval}s}}", "clusters:"]
    for number, port in enumerate([*kinds, *[all_silent] * fleet.dead]):
        # Shuffled, so that clusters that fail are not all at the end.
        name = f"c{number * 7919 % fleet.clusters:04}"
        url = f"http://{{address}}:{port}/jolokia"
        lines.append(f"  {name}: {{jolokia: {{contact_points: [{contacts}], url: '{url}'}}}}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ringcheck.yaml"
        file.write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", "ringcheck", "agent", "-C", str(file)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                log = process.stderr
                line = next(line for line in log if "http://" in line)
                found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
                assert found, line
                first = threading.Event()
                alive = fleet.clusters - fleet.dead
                threading.Thread(target=_follow, args=(log, alive, first), daemon=True).start()
                yield process, int(found[1]), first
            finally:
                process.kill()


def _follow(log: Iterable[str], alive: int, first: threading.Event) -> None:
    """Read the log to its end; its lines tell when each live cluster has its first verdict, at no cost to the agent."""
    told = 0
    for line in log:
        told += "event=severity" in line and "was=none" in line
        if told == alive:
            first.set()


def _scrape(port: int) -> tuple[float, str]:
    started = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return time.monotonic() - started, text


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _field(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert found
    return int(found[1])
