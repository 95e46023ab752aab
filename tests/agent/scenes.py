"""Embedded clusters in every state that a page shows, and an agent that watches them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.agent import web
from ringcheck.agent.recorder import Recorder
from ringcheck.agent.service import Agent
from ringcheck.config import load
from ringcheck.core.maintenance import Holder
from ringcheck.history.writer import Limits, Writer
from ringcheck.leases.configured import open_store
from ringcheck.leases.stamp import now
from ringcheck.simulator.cluster import EmbeddedCluster, ipv6_address, topology
from ringcheck.simulator.server import serve as simulate
from tests.counterparts.daemon import await_, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ringcheck.agent.server import Served

RULES = [{"keyspaces": ["*"], "critical": "LOCAL_QUORUM", "warning": "LOCAL_ALL"}]
LABELS = (
    {"environment": "production", "team": "payments"},
    {"environment": "production", "team": "search"},
    {"environment": "staging", "team": "search"},
)
LARGE = 1024  # nodes
PATHS = {
    "fine": "/clusters/fine",
    "minimum": "/clusters/minimum",
    "outage": "/clusters/outage",
    "unreachable": "/clusters/unreachable",
    "large": "/clusters/large",
}
"""The clusters of `states`, and their pages."""


def _small(name: str, sessions: int = 3, **layout: Any) -> EmbeddedCluster:
    keyspaces = {"orders": topology(dc1=3), "carts": topology(dc1=3), "sessions": topology(dc1=sessions)}
    return EmbeddedCluster.uniform(6, racks=3, vnodes=8, keyspaces=keyspaces, name=name, time_factor=0, **layout)


def _large() -> EmbeddedCluster:
    keyspaces = {f"tenant_{number:02}": topology(dc1=3, dc2=3) for number in range(40)}
    large = EmbeddedCluster.uniform(
        LARGE, datacenters=2, racks=8, vnodes=1, keyspaces=keyspaces, name="large", time_factor=0
    )
    for node in (3, 5, 7, 100, 700):
        large.down(node, instant=True)
    return large


def _clusters(*, large: bool) -> Iterator[EmbeddedCluster]:
    yield _small("fine", addresses=ipv6_address)
    minimum, outage = _small("minimum"), _small("outage", sessions=2)
    minimum.down(0, instant=True)
    outage.down(0, instant=True)
    outage.down(1, instant=True)
    yield from (minimum, outage)
    if large:
        yield _large()


def _silent() -> dict[str, Any]:
    contacts = ["127.0.0.1", "127.0.0.2"]
    return {"jolokia": {"contact_points": contacts, "url": f"http://{{address}}:{free_port()}/jolokia"}}


def _entry(text: str, folder: Path) -> dict[str, Any]:
    [(name, entry)] = yaml.safe_load(text)["clusters"].items()
    lease = {"file": str(folder / f"{name}.leases.json")}
    return {**entry, "gate": {"settle": "0s"}, "monitor": RULES, "lease": lease}


@contextmanager
def states(folder: Path, *, large: bool = True) -> Iterator[tuple[Agent, Served]]:
    """A cluster in each state (see PATHS), with or without the large one."""
    with ExitStack() as stack:
        entries: dict[str, Any] = {}
        for cluster in _clusters(large=large):
            simulator = stack.enter_context(simulate(cluster))
            entries[cluster.name] = _entry(simulator.config(), folder)
            if cluster.name == "outage":
                leased = cluster.nodes[0].address
        entries["unreachable"] = _silent()
        agent, served = stack.enter_context(served_agent(folder, entries, interval=60 if large else 5))
        known = [name for name in entries if name != "unreachable"]
        await_(lambda: all(_known(agent, name) for name in known), 300, "a verdict on each")
        store = open_store(agent.config.clusters["outage"])
        store.add([Holder(node=leased, owner="anna@bastion", purpose="kernel", since=now())])
        agent.hurry("outage")
        yield agent, served


def _known(agent: Agent, cluster: str) -> bool:
    reading = agent.reading(cluster)
    return reading is not None and reading.verdict is not None


@contextmanager
def fleet(folder: Path, clusters: int, interval: int = 60, place: str = "") -> Iterator[tuple[Agent, Served]]:
    """The given number of clusters: one in 40 has an outage, one in 20 has a node down, one in 100 can't be reached.

    Their names, such as `orders-003`, end with the place.
    """
    with ExitStack() as stack:
        simulators = [stack.enter_context(simulate(cluster)) for cluster in _clusters(large=False)]
        fine, minimum, outage = (_entry(simulator.config(), folder) for simulator in simulators)
        entries = {}
        for number in range(clusters):
            kind = _silent() if number % 100 == 7 else outage if number % 40 == 3 else fine
            kind = minimum if number % 20 == 5 else kind
            name = f"{('orders', 'carts', 'search')[number % 3]}-{number:03}{place}"
            entries[name] = {**kind, "labels": LABELS[number % 3]}
        yield stack.enter_context(served_agent(folder, entries, interval=interval))


@contextmanager
def served_agent(
    folder: Path, clusters: Mapping[str, Any], interval: int, **settings: Any
) -> Iterator[tuple[Agent, Served]]:
    """An agent that has polled these clusters, and its server."""
    config = folder / "ringcheck.yaml"
    document = {"clusters": dict(clusters), "agent": {"interval": f"{interval}s", **settings}}
    config.write_text(yaml.safe_dump(document))
    agent = Agent(load(str(config)), recorder=Recorder(Writer(folder / "state.db", Limits(), print)))
    with web.serve(agent, "127.0.0.1:0") as served:
        agent.start()
        try:
            await_(agent.tried, 300, "the first polls")
            yield agent, served
        finally:
            agent.stop()
