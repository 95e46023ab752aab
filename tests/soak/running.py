"""Runs a soak: rounds in which every cluster changes and is polled; now and then it counts what the agent keeps."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from tests.counterparts.daemon import await_, free_port
from tests.soak.churn import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXCHANGED = 4  # rounds after which a cluster that comes and goes is replaced
ASKED = 5  # rounds after which streams are asked for, as the gate does
QUIET = 4  # rounds at rest before a count
COUNTED = ("objects", "blocks", "threads", "descriptors", "rss")


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the agent holds at one time, with all clusters at rest.

    Attributes:
        polls: how many there were.
        objects: that the garbage collector knows.
        blocks: of memory that Python has given out.
        threads: of the process.
        descriptors: that are open.
        rss: resident memory in KiB.
        kept: the same, after the C library has returned what it keeps for later.
        cpu: seconds that the process has used.
        cached: results in caches that have a bound; `objects` and `blocks` are without them.
        types: objects by type.
    """

    polls: int
    objects: int
    blocks: int
    threads: int
    descriptors: int
    rss: int
    kept: int
    cpu: float
    cached: int
    types: Counter[str] = field(repr=False)

    def line(self) -> str:
        """For people."""
        return (
            f"{self.polls:6} polls: {self.objects:7} objects, {self.blocks:7} blocks, {self.threads:3} threads, "
            f"{self.descriptors:3} descriptors, {self.rss / 1024:6.1f} MiB ({self.kept / 1024:.1f} kept), "
            f"{self.cached:5} cached, "
            f"{self.cpu:5.0f} s of CPU"
        )


def grown(before: Held, after: Held, most: int = 12) -> str:
    """The types of which there are more."""
    more = Counter(after.types)
    more.subtract(before.types)
    return ", ".join(f"{kind} {count:+}" for kind, count in more.most_common(most) if count > 0)


class Driven:
    """The agent's process."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process = process
        self._port = port
        self._log = log

    def __call__(self, word: str) -> dict[str, Any]:
        """Let it do something; return its answer.

        Raises:
            RuntimeError: if it has ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(60)
            raise RuntimeError(f"the agent ended with {code} at {word!r}: {self._log.read_text()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def get(self, path: str) -> int:
        """The status of a page."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


@contextmanager
def agent(config: Path, port: int, log: Path) -> Iterator[Driven]:
    """The agent, until the block ends."""
    command = [sys.executable, "-m", "tests.soak._agent", "-C", str(config)]
    pipe = subprocess.PIPE
    with log.open("w") as out, subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=out, text=True) as process:
        try:
            driven = Driven(process, port, log)
            await_(lambda: driven.get("/-/healthy") == 200, 60, lambda: log.read_text()[-2000:])
            yield driven
        finally:
            process.kill()


def soak(folder: Path, polls: int, seed: int, counts: int = 3) -> Iterator[Held]:
    """Make this many polls; return what the agent keeps at the start, then in equal steps up to the end.

    Args:
        folder: for configuration and log.
        polls: of all clusters together.
        seed: of what happens.
        counts: how many.
    """
    web = free_port()
    fleet = Fleet(folder, seed, free_port(), web)
    try:
        with agent(fleet.config, web, folder / "agent.log") as driven:
            done = 0
            warm = min(polls // 20, 400)  # caches fill up
            for step in range(counts):
                until = max(warm, polls * step // (counts - 1))
                for number in range(10**9):
                    if done >= until:
                        break
                    done += _round(fleet, driven, number)
                done += _rest(fleet, driven)
                held = driven("count")
                yield Held(polls=done, **held | {"types": Counter(held["types"])})
    finally:
        fleet.close()


def _round(fleet: Fleet, driven: Driven, number: int) -> int:
    if number % EXCHANGED == EXCHANGED - 1:
        fleet.exchange()
        driven("reload")
    fleet.step()
    polls: int = driven("ask" if number % ASKED == 0 else "poll")["polls"]
    _look(fleet, driven)
    return polls


def _rest(fleet: Fleet, driven: Driven) -> int:
    fleet.rest()
    time.sleep(0.2)  # the sockets of nodes that were down are opened again
    polls: int = sum(driven("poll")["polls"] for _ in range(QUIET))
    _look(fleet, driven)
    return polls


def _look(fleet: Fleet, driven: Driven) -> None:
    """Scrape, and request the pages of a cluster."""
    name = fleet.chance.choice(list(fleet.clusters))
    api = f"/api/v1/clusters/{name}"
    for path in ("/metrics", "/", f"/clusters/{name}", f"{api}/health", f"{api}/snapshot", f"{api}/ring.svg"):
        driven.get(path)
