"""The agent's HTTP, over real sockets, in front of an agent that watches an embedded cluster."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import requests
import yaml

from ringcheck.agent import web
from ringcheck.agent.loop import Agent
from ringcheck.cli import run
from ringcheck.config import load
from ringcheck.core.ring import Replication
from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.server import serve as simulate
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.agent.server import Served

NAME = "orders-prod"
SCHEMAS = Path(__file__).parents[2] / "ringcheck" / "report" / "schemas"


@dataclass
class World:
    """A cluster, who watches it, and where that is served.

    Attributes:
        cluster: to be driven.
        agent: polls it once a second.
        served: the agent's HTTP.
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
        return self.cluster.nodes[index].spec.address

    def seen(self, condition: str) -> None:
        """Wait for a severity."""
        await_(lambda: self.get("/api/v1/clusters").json()["clusters"][0]["severity"] == condition, 30, condition)


@contextmanager
def watched(
    folder: Path, nodes: int = 3, racks: int = 3, web_config: str | None = None, **settings: Any
) -> Iterator[World]:
    """A cluster of RF 3, all of it up for long enough to be trusted, and an agent that has seen it."""
    cluster = EmbeddedCluster.uniform(
        nodes, racks=racks, keyspaces={"orders": Replication.parse("NetworkTopologyStrategy {dc1=3}")}, name=NAME,
        time_factor=0,
    )  # fmt: skip
    with simulate(cluster) as simulator:
        document = yaml.safe_load(simulator.config())
        document["clusters"][NAME] |= {"gate": {"settle": "0s"}, **settings}
        document["agent"] = {"interval": "1s"}
        config = folder / "ringcheck.yaml"
        config.write_text(yaml.safe_dump(document))
        agent = Agent(load(str(config)))
        with web.serve(agent, "127.0.0.1:0", web_config) as served:
            agent.start()
            try:
                await_(agent.tried, 30, "the first poll")
                yield World(cluster, agent, served)
            finally:
                agent.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with watched(tmp_path_factory.mktemp("web")) as found:
        yield found


def valid(document: Any, name: str) -> None:
    jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text()))


def test_metrics_speak_both_forms(world: World) -> None:
    """Prometheus's text for whoever says nothing, OpenMetrics for who asks for it."""
    plain = world.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert f'ringcheck_up{{cassandra_cluster="{NAME}"}} 1.0' in plain.text
    assert "ringcheck_config_last_reload_successful 1.0" in plain.text
    openly = world.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1"})
    assert openly.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openly.text.endswith("# EOF\n")


def test_health_is_what_check_asks_for(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`check --agent` takes the endpoint's document as a verdict."""
    answer = world.get("/api/v1/clusters/NAME/health")
    assert answer.status_code == 200
    valid(answer.json(), "verdict-1")
    assert run(["check", "--agent", world.served.url, "--cluster", NAME]) == 0
    assert capsys.readouterr().out.startswith(f"OK - {NAME}: ")
    assert run(["check", "--agent", world.served.url, "--cluster", "other"]) == 3
    assert "there is no cluster 'other'" in capsys.readouterr().out


def test_alive_and_ready(world: World) -> None:
    """Both say so in a word."""
    assert [world.get(path).status_code for path in ("/-/healthy", "/-/ready")] == [200, 200]
