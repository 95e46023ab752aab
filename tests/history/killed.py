"""Kill an agent repeatedly while its clusters change with every poll: no change that was shown may be lost.

`python -m tests.history.killed --count 200` prints what it found. Each agent is a process of its own with the real
watches, recorder and writer, on one state file; its source makes the nodes of a cluster go down and come back, and
numbers each poll by the release of a node. The agent writes a line for each reading that it publishes. After a
`kill -9` at a random moment, every such line must have its entry in the file, in order, and the facts must be those of
the last entries. A second process loads the disk meanwhile.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import random
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from ringcheck.agent.recorder import Recorder
from ringcheck.agent.service import Agent
from ringcheck.config.values import AgentSettings, Cluster, Config
from ringcheck.core.source import RequestCounts
from ringcheck.history.writer import Limits, Writer
from ringcheck.jolokia.settings import JolokiaSettings
from tests import article

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.ring import Snapshot
    from ringcheck.report.reading import Reading

CLUSTERS, INTERVAL = 20, 0.05
ROUND = 1_000_000  # polls of one agent have numbers below this
PATIENCE = 300.0  # seconds; generous, so that a busy machine does not fail a test
LOAD = """
import os, sys
while True:
    with open(sys.argv[1], "wb") as file:
        file.write(os.urandom(4 * 2**20))
        os.fsync(file.fileno())
"""


class Changing:
    """A source whose polls all differ from the poll before."""

    def __init__(self, cluster: Cluster, first: int) -> None:
        self.counts = RequestCounts()
        self._number = first
        self._cluster = cluster

    async def poll(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:  # noqa: ARG002 - as the protocol
        self._number += 1
        seen = article.snapshot(["10.0.0.3"] if self._number % 2 else [])
        numbered = replace(seen.nodes[0], release_version=f"5.0.{self._number}")
        return replace(seen, nodes=(numbered, *seen.nodes[1:]))

    def close(self) -> None:
        pass


class Telling(Agent):
    """An agent that writes a line for each reading that it publishes, before anybody else gets the reading."""

    def _publish(self, reading: Reading) -> None:
        assert reading.verdict
        (number,) = (reading.verdict.snapshot.nodes[0].release_version or "").split(".")[2:]
        os.write(1, f"{reading.cluster} {number}\n".encode())
        super()._publish(reading)


def agent(output: int, path: Path, first: int) -> None:
    """Watch until the process is killed; all output goes to a pipe."""
    os.dup2(output, 1)
    names = [f"cluster-{index}" for index in range(CLUSTERS)]
    clusters = {name: Cluster(name=name, source=JolokiaSettings(contact_points=("127.0.0.1",))) for name in names}
    config = Config(clusters=clusters, agent=AgentSettings(interval=INTERVAL))
    writer = Writer(path, Limits(), lambda state, why: os.write(1, f"! {state} {why}\n".encode()))
    with patch("ringcheck.agent.polls.open_on_loop", lambda cluster, *_: Changing(cluster, first)):
        Telling(config, recorder=Recorder(writer)).start()
        time.sleep(3600)


@dataclass
class Result:
    """What was found.

    Attributes:
        kills: agents that were killed.
        shown: readings that were published.
        lost: those without an entry.
        entries: in the file at the end.
        failures: everything else that was wrong.
    """

    kills: int
    shown: int
    lost: list[tuple[str, int]]
    entries: int
    failures: list[str]


def run(count: int, folder: Path, seed: int = 1, *, load: bool = True) -> Result:
    """Kill this many agents on one state file."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    path, shown, failures = folder / "state.db", list[tuple[str, int]](), list[str]()
    loading = subprocess.Popen([sys.executable, "-c", LOAD, str(folder / "load")]) if load else None
    try:
        for number in range(1, count + 1):
            run_agent = partial(agent, path=path, first=number * ROUND)
            shown += published(until_killed(run_agent, chance.uniform(0.05, 0.6)), failures)
            failures += broken(path)
    finally:
        if loading:
            loading.kill()
            loading.wait()
    lost, entries = missing(path, shown)
    return Result(count, len(shown), lost, entries, [*failures, *disordered(path)])


def until_killed(run_agent: Callable[[int], object], seconds: float) -> str:
    """Run an agent in a process, given the file descriptor for its output; kill it some time after its first output.

    Returns:
        The whole lines of the output.
    """
    readable, writable = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_traced, args=(run_agent, writable))
    process.start()
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        try:
            assert select.select([pipe], [], [], PATIENCE)[0], "the agent publishes nothing"
            time.sleep(seconds)
        finally:
            process.kill()
        output = pipe.read().decode()
    process.join()
    return output[: output.rfind("\n") + 1]


def _traced(run_agent: Callable[[int], object], output: int) -> None:
    """Run an agent; if it is still running after this time it hangs, and its stacks are printed."""
    faulthandler.dump_traceback_later(PATIENCE / 2)
    run_agent(output)


def published(output: str, failures: list[str]) -> list[tuple[str, int]]:
    """Cluster and number of each reading that an agent published; anything that its writer reported is a failure."""
    lines = output.splitlines()
    failures += [f"the writer reported: {line}" for line in lines if line.startswith("!")]
    return [(name, int(number)) for name, number in (line.split() for line in lines if not line.startswith("!"))]


def broken(path: Path) -> Iterator[str]:
    """What SQLite finds wrong with the file, read as by a process that starts after the kill."""
    with closing(sqlite3.connect(path)) as connection:
        (result,) = connection.execute("PRAGMA integrity_check").fetchone()
        if result != "ok":
            yield f"integrity_check: {result}"
        for cluster, value in connection.execute(
            "SELECT cluster, value FROM fact WHERE kind = 'release' AND name = ?", [article.ADDRESSES[0]]
        ):
            newest = "SELECT now FROM entry WHERE cluster = ? AND kind = 'release' ORDER BY id DESC LIMIT 1"
            last = connection.execute(newest, [cluster]).fetchone()
            if last is not None and last[0] != value:
                yield f"{cluster}: the last entry is {last[0]}, the fact {value}"


def missing(path: Path, shown: list[tuple[str, int]]) -> tuple[list[tuple[str, int]], int]:
    """Readings without an entry, and the number of entries."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT cluster, now FROM entry WHERE kind = 'release'").fetchall()
        # The first poll of a cluster changes no release, but it shows the first severity: CRITICAL, as with all
        # odd numbers.
        first = "SELECT cluster FROM entry WHERE kind = 'severity' AND was IS NULL AND now = 'CRITICAL'"
        begun = {cluster for (cluster,) in connection.execute(first)}
        (number,) = connection.execute("SELECT count(*) FROM entry").fetchone()
    kept = {(cluster, int(now.split(".")[2])) for cluster, now in rows}
    kept |= {(cluster, min(at for name, at in shown if name == cluster)) for cluster, _ in shown if cluster in begun}
    return [reading for reading in shown if reading not in kept], number


def disordered(path: Path) -> Iterator[str]:
    """Clusters whose entries are not in the order of the polls."""
    with closing(sqlite3.connect(path)) as connection:
        for (cluster,) in connection.execute("SELECT DISTINCT cluster FROM entry").fetchall():
            query = "SELECT now FROM entry WHERE cluster = ? AND kind = 'release' ORDER BY id"
            numbers = [int(now.split(".")[2]) for (now,) in connection.execute(query, [cluster])]
            if numbers != sorted(set(numbers)):
                yield f"{cluster}: entries are not in order"


def main() -> int:
    """Run, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.count, Path(folder), options.seed)
    print(
        f"{result.kills} agents killed; {result.shown} readings with changes shown, {len(result.lost)} lost; "
        f"{result.entries} entries; {len(result.failures)} other failures"
    )
    for failure in (*result.failures[:20], *result.lost[:20]):
        print(failure)
    return bool(result.lost or result.failures)


if __name__ == "__main__":
    sys.exit(main())
