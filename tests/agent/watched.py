"""An agent that watches an embedded cluster, and its HTTP server on a real socket."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
import yaml

from ringcheck.agent import web
from ringcheck.agent.recorder import Recorder
from ringcheck.agent.service import Agent
from ringcheck.config import load
from ringcheck.core.ring import Replication
from ringcheck.history.writer import Limits, Writer
from ringcheck.leases.configured import open_store
from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.server import serve as simulate
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ringcheck.agent.server import Served
    from ringcheck.leases.store import Store

NAME = "orders-prod"


@dataclass
class World:
    """A cluster, the agent that watches it, and the agent's server.

    Attributes:
        cluster: the embedded cluster.
        agent: polls the cluster once a second.
        served: the server.
    """

    cluster: EmbeddedCluster
    agent: Agent
    served: Served

    def url(self, path: str) -> str:
        return f"{self.served.url}{path.replace('NAME', NAME)}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url(path), timeout=30, **options)

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        return requests.post(self.url(path), json=body, timeout=60, **options)

    def address(self, index: int) -> str:
        return self.cluster.nodes[index].address

    @property
    def store(self) -> Store:
        """The lease store of the cluster."""
        return open_store(self.agent.config.clusters[NAME])

    def seen(self, condition: str) -> None:
        """Wait until the page shows this severity."""
        await_(lambda: self.get("/api/v1/clusters").json()["clusters"][0]["severity"] == condition, 60, condition)


@contextmanager
def watched(
    folder: Path,
    nodes: int = 3,
    interval: float = 1,
    web_config: str | None = None,
    agent: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[World]:
    """A cluster of RF 3 in 3 racks, polled by an agent; `agent` and `settings` are added to the configuration."""
    factors = {"orders": Replication.parse("NetworkTopologyStrategy {dc1=3}")}
    cluster = EmbeddedCluster.uniform(nodes, racks=3, keyspaces=factors, name=NAME, time_factor=0)
    with simulate(cluster) as simulator:
        document = yaml.safe_load(simulator.config())
        lease = {"file": str(folder / "leases.json")}
        rules = [{"keyspaces": ["*"], "critical": "LOCAL_QUORUM", "warning": "LOCAL_ALL"}]
        sections = {"gate": {"settle": "0s"}, "lease": lease, "monitor": rules, **settings}
        document["clusters"][NAME] |= {key: value for key, value in sections.items() if value is not None}
        document["agent"] = {"interval": f"{interval:g}s", **(agent or {})}
        config = folder / "ringcheck.yaml"
        config.write_text(yaml.safe_dump(document))
        service = Agent(load(str(config)), recorder=Recorder(Writer(folder / "state.db", Limits(), print)))
        with web.serve(service, "127.0.0.1:0", web_config) as served:
            service.start()
            try:
                await_(service.tried, 30, "the first poll")
                yield World(cluster, service, served)
            finally:
                service.stop()
