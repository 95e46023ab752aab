"""A short soak: what the agent keeps does not grow with the number of polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.soak.churn import NODES, PASSING, STAYING
from tests.soak.running import grown, soak

if TYPE_CHECKING:
    from pathlib import Path

POLLS = 400
CLUSTERS = STAYING + PASSING + 1  # a cluster that was removed may not be forgotten yet
MORE_OBJECTS = 1500  # of 50,000: how many objects a cluster at rest has depends on its past

# The maxima at rest. Without a limit each would grow by one for every node or cluster that ever existed.
MOST = {
    "ringcheck.agent.watch.Watch": CLUSTERS,
    "ringcheck.jolokia.source.JolokiaSource": CLUSTERS,
    "ringcheck.jolokia.endpoint.JolokiaEndpoint": CLUSTERS * NODES + 4,
    "ringcheck.http.loop._Connection": CLUSTERS * NODES,
    "ringcheck.http.urls.Address": 2 * CLUSTERS * NODES,
    "ringcheck.report.reading.Durations": 4 * CLUSTERS,
    "ringcheck.core.ring.Snapshot": 5 * CLUSTERS,
    "_asyncio.Task": CLUSTERS * NODES + 20,
}


@pytest.mark.slow
def test_what_the_agent_holds_stays_the_same(tmp_path: Path) -> None:
    """While nodes and clusters come and go, the numbers of objects, threads and descriptors stay the same."""
    _, middle, end = soak(tmp_path, POLLS, seed=1)
    assert end.polls >= middle.polls + POLLS // 3
    assert end.objects <= middle.objects + MORE_OBJECTS, grown(middle, end)
    assert end.threads <= middle.threads + 4  # workers for large replies are started when they are needed
    assert end.descriptors <= middle.descriptors + 8
    assert {name: end.types[name] for name, most in MOST.items() if end.types[name] > most} == {}
    assert {name for name in MOST if not end.types[name]} == set()  # no name is out of date
    assert "event=bug" not in (tmp_path / "agent.log").read_text()
