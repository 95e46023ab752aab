"""The watch of a cluster whose nodes die and return, in a process of its own; prints its memory as JSON."""

from __future__ import annotations

import itertools
import json
import sys
import time

import requests

from ringcheck.agent.watch import Watch
from ringcheck.config.values import Cluster
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.report import metrics
from ringcheck.simulator.cluster import loopback_address
from tests.benchmarks._poll import peak, resident
from tests.benchmarks.scale_core import POLICY

INTERVAL = 75.0  # seconds, for the deadline of a poll; there is no wait between polls
EARLY = 100  # polls, at least
FIRST = 50  # polls after which everything was read once, and memory is first measured
LATE = 5  # measurements, of which the largest counts
CHANGE = 10  # polls between two changes
DEAD = 3  # nodes, at most


class Nodes:
    """Kills or starts a node of the embedded cluster at each change, so that at most DEAD nodes are down."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._next = itertools.cycle(range(7, number, 31))
        self._down: list[str] = []
        self.changes = 0

    def change(self) -> None:
        self.changes += 1
        if len(self._down) < DEAD:
            self._down.append(loopback_address(next(self._next)))
            self._say("down", self._down[-1])
        else:
            self._say("up", self._down.pop(0))

    def _say(self, action: str, node: str) -> None:
        body = {"node": node, "instant": True}
        requests.post(f"{self._url}/control/{action}", json=body, timeout=60).raise_for_status()


def main(template: str, number: int, polls: int, seconds: float) -> None:
    told: list[int] = []
    jolokia = JolokiaSettings(contact_points=(loopback_address(0), loopback_address(1)), url=template, timeout=60)
    watch = Watch(
        Cluster(name="big", source=jolokia, policy=POLICY),
        INTERVAL,
        lambda one: told.append(len(one.suspects)),
        time.monotonic,
    )
    nodes = Nodes(template.partition("/{")[0], number)
    sizes: dict[int, float] = {}
    ends = time.monotonic() + seconds
    done = 0
    while done < polls and (done <= EARLY or time.monotonic() < ends):
        watch.turn()
        done += 1
        reading = watch.present()
        assert reading.fresh, reading.error
        assert reading.verdict
        assert len(reading.verdict.states) == number
        if done % CHANGE == 0:
            metrics.render(lambda: [reading])  # noqa: B023 - asked at once
            sizes[done] = resident()
            nodes.change()
    print(
        json.dumps(
            {
                "polls": done,
                "changes": nodes.changes,
                "half": max(list(sizes.values())[: len(sizes) // 2][-LATE:]),
                "late": max(list(sizes.values())[-LATE:]),
                "most": max(size for at, size in sizes.items() if at > FIRST),
                "peak": peak(),
                "sizes": sizes,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
