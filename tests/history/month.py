"""A thousand clusters for thirty days on one state file: how large it gets, and how long a page takes to read.

`python -m tests.history.month` prints the result. The clock is simulated; recorder, facts, entries and file are real.
Most clusters are quiet: one node restarts each day, and the whole cluster is restarted each week. Some flap: a node
goes down and comes back each minute, all day long. It fails if the file gets larger than its limit, or if a change
is lost.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ringcheck.agent.recorder import Recorder
from ringcheck.core.findings import noted
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Severity
from ringcheck.core.ring import Node, Snapshot, View
from ringcheck.core.verdict import Verdict
from ringcheck.history import reader
from ringcheck.history.writer import Limits, Writer
from ringcheck.report.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.findings import Finding

DAY = 86400
FLAPPING = 2  # of a thousand clusters
FLAPS = 1440  # a day
FINE = "all ranges of 12 keyspaces can be served; 12 nodes up"
LOST = "256 of 768 ranges (33.3 % of the tokens) of orders unavailable at LOCAL_ALL in dc1 (1 node down: 10.0.0.1)"


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    time: float = 1_767_225_600.0

    def __call__(self) -> float:
        return self.time


class Ring:
    """A cluster of some nodes, of which some are down."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self._nodes = [
            Node(
                f"10.{hash(name) % 250}.{index // 250}.{index % 250}",
                host_id=f"00000000-0000-4000-8000-{index:06}{abs(hash(name)) % 10**6:06}",
                datacenter="dc1", rack=f"r{index % 3}", release_version="5.0.8", mode="NORMAL",
                generation=1_767_225_600, source="ok", tokens=16,
            )
            for index in range(size)
        ]  # fmt: skip

    def restarted(self, index: int, at: float) -> None:
        self._nodes[index] = replace(self._nodes[index], generation=int(at))

    def reading(self, down: int | None = None, owner: str | None = None) -> Reading:
        """What a poll shows: at most one node is down, under a lease if there is an owner."""
        views = tuple(
            View(node.address, outcome="unreachable", reason="connection refused")
            if index == down
            else View(node.address)
            for index, node in enumerate(self._nodes)
        )
        snapshot = Snapshot(
            cluster=self.name, taken_at="2026-01-01T00:00:00Z", partitioner="Murmur3Partitioner",
            nodes=tuple(self._nodes), views=views, rings=(),
        )  # fmt: skip
        verdict = Verdict(
            snapshot=snapshot,
            severity=Severity.OK if down is None else Severity.WARNING,
            summary=FINE if down is None else LOST,
            states=tuple("down" if index == down else "up" for index in range(len(self._nodes))),
            seen_down_by={},
            views=views,
            keyspaces=(),
            findings=() if down is None else tuple(self._findings(self._nodes[down].address)),
            recover_first=(),
        )
        holders = () if down is None or owner is None else (self._lease(down, owner),)
        return Reading(cluster=self.name, verdict=verdict, fresh=True, holders=holders)

    def _lease(self, index: int, owner: str) -> Holder:
        node = self._nodes[index]
        since = "2026-01-01T00:00:00Z"
        return Holder(node=node.address, owner=owner, purpose="rolling restart", since=since, host_id=node.host_id)

    @staticmethod
    def _findings(address: str) -> Iterator[Finding]:
        yield noted("view_missing", address, f"the Jolokia of {address} does not answer: connection refused")
        for keyspace in ("orders", "payments"):
            yield replace(noted("unavailable", keyspace, LOST), level="LOCAL_ALL", datacenter="dc1")


def outage(recorder: Recorder, ring: Ring, index: int, clock: Clock, owner: str | None = None) -> None:
    """A node goes down, comes back restarted, and then all is well: two polls with changes."""
    recorder.note(ring.reading(index, owner))
    clock.time += 0.001
    ring.restarted(index, clock.time)
    recorder.note(ring.reading())


def live(recorder: Recorder, rings: list[Ring], flapping: int, clock: Clock, days: int) -> Iterator[int]:
    """Let the clusters change, and yield at the end of each day."""
    chance, start = random.Random(1), clock.time  # noqa: S311 - no secret
    for ring in rings:
        recorder.note(ring.reading())
        settle(recorder)
    for day in range(days):
        for number, ring in enumerate(rings[flapping:]):
            clock.time = start + day * DAY + number * DAY / len(rings)
            outage(recorder, ring, chance.randrange(12), clock)
            for index in range(12) if (number + day) % 7 == 0 else ():
                outage(recorder, ring, index, clock, "ops@host roll 20260101")
            settle(recorder)
        for ring in rings[:flapping]:
            for flap in range(FLAPS):
                clock.time = start + day * DAY + flap * DAY / FLAPS
                outage(recorder, ring, 3, clock)
                settle(recorder)
        settle(recorder)
        yield day + 1


def settle(recorder: Recorder) -> None:
    """Wait until little is left in the queue."""
    assert recorder.writer
    while recorder.writer._weight > 10_000:
        time.sleep(0.01)


def main() -> int:
    """Run, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--flapping", type=int, default=FLAPPING)
    parser.add_argument("--size", type=int, default=256, help="MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "state.db", Clock()
        reports: list[str] = []
        writer = Writer(
            path, Limits(keep=90 * DAY, size=options.size * 2**20), lambda *what: reports.append(": ".join(what)), clock
        )
        recorder = Recorder(writer, clock, print, clock)
        recorder.start()
        rings = [Ring(f"cluster-{index:04}", 12) for index in range(options.clusters)]
        largest = 0.0
        for day in live(recorder, rings, options.flapping, clock, options.days):
            size = sum(file.stat().st_size for file in path.parent.iterdir()) / 2**20
            largest = max(largest, size)
            print(f"day {day}: {size:.1f} MiB", flush=True)
        assert recorder.stop(60)
        for name in (rings[0].name, rings[-1].name):
            begins = time.perf_counter()
            page = reader.page(path, reader.Question(cluster=name))
            print(f"{name}: a page of {len(page.entries)} in {(time.perf_counter() - begins) * 1000:.1f} ms")
        final = path.stat().st_size / 2**20
    print(f"{options.clusters} clusters, {options.days} days: {final:.1f} MiB at the end, at most {largest:.1f} MiB")
    print("\n".join(reports) or "no change was lost")
    return int(largest > options.size or bool(reports))


if __name__ == "__main__":
    sys.exit(main())
