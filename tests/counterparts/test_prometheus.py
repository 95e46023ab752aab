"""A real Prometheus scrapes an agent of an embedded cluster; its alerts reach a real Alertmanager and a webhook."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from ringcheck.agent import web
from ringcheck.agent.service import Agent
from ringcheck.config import values
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import await_, daemon, free_port, required
from tests.report.test_dashboards import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POLICY = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_QUORUM), warning=Threshold(Level.LOCAL_ALL)),))
PATIENCE = 90.0  # seconds; generous, so that a busy machine does not fail a test
SHIPPED = RULES.parent
DC1 = (0, 2, 4)  # the nodes of dc1, each in its own rack


@dataclass
class Watched:
    """An embedded cluster, and the agent that watches it."""

    cluster: EmbeddedCluster
    agent: Agent
    port: int

    def blind(self, *, yes: bool) -> None:
        """Make every node's Jolokia fail, or answer again."""
        for node in self.cluster.nodes:
            self.cluster.set_fault(node.index, Fault("status", status=500) if yes else None)

    def down(self, *indexes: int) -> None:
        """Kill these nodes and start the others; all nodes notice at once."""
        for node in self.cluster.nodes:
            if node.index in indexes and node.process != "killed":
                self.cluster.down(node.index, instant=True)
            elif node.index not in indexes and node.process == "killed":
                self.cluster.up(node.index, instant=True)


@dataclass
class Hook:
    """The last status of each alert that Alertmanager sent, by receiver."""

    told: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    texts: dict[str, dict[str, str]] = field(default_factory=dict)

    def take(self, path: str, body: dict[str, Any]) -> None:
        """Record one call of the webhook."""
        for alert in body["alerts"]:
            name = alert["labels"]["alertname"]
            self.told[path.strip("/")][name] = alert["status"]
            self.texts[name] = alert["annotations"]

    def firing(self, receiver: str) -> set[str]:
        """The alerts that fire for this receiver."""
        return {name for name, status in self.told[receiver].items() if status == "firing"}


@contextmanager
def answering(post: Callable[[str, dict[str, Any]], None]) -> Iterator[int]:
    """A small HTTP server for webhooks; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            post(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def told() -> Iterator[Watched]:
    """The cluster and its agent, which polls every second."""
    cluster = EmbeddedCluster.uniform(
        6, datacenters=2, racks=3, vnodes=8, keyspaces={"orders": topology(dc1=3, dc2=3)}, name="orders-prod",
        addresses=loopback_address,
    )  # fmt: skip
    with serve(cluster) as server:
        where = JolokiaSettings(
            contact_points=(cluster.nodes[1].address, cluster.nodes[3].address), url=server.template
        )
        one = values.Cluster(name="orders-prod", source=where, policy=POLICY, gate=Gate(settle=0.0))
        agent = Agent(values.Config(clusters={one.name: one}, agent=values.AgentSettings(interval=1.0)))
        with web.serve(agent, "127.0.0.1:0", None) as served:
            agent.start()
            try:
                yield Watched(cluster, agent, urlsplit(served.url).port or 0)
            finally:
                agent.stop()


def hurried(folder: Path, scraped: int, manager: int, hook: int) -> tuple[Path, Path]:
    """The shipped files with other addresses and intervals; in the rules only `for` is changed."""
    rules, number = re.subn(r"\bfor: \w+", "for: 2s", RULES.read_text())
    assert number >= 11
    (folder / RULES.name).write_text(rules)
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{manager}"]
    job = config["scrape_configs"][0]
    job |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{scraped}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    text = (SHIPPED / "alertmanager.yml").read_text().replace("127.0.0.1:9094", f"127.0.0.1:{hook}")
    text = re.sub(r"group_wait: \w+", "group_wait: 0s", re.sub(r"group_interval: \w+", "group_interval: 1s", text))
    (folder / "alertmanager.yml").write_text(text)
    return folder / "prometheus.yml", folder / "alertmanager.yml"


@dataclass
class Chain:
    """Everything from the cluster to the webhook."""

    watched: Watched
    hook: Hook
    prometheus: str
    alertmanager: str

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The values of a query by the labels that are not Prometheus's own, in the order of their names."""
        reply = requests.get(f"{self.prometheus}/api/v1/query", params={"query": expression}, timeout=10).json()
        mine = {"__name__", "job", "instance", "cassandra_cluster"}
        return {
            tuple(text for name, text in sorted(one["metric"].items()) if name not in mine): float(one["value"][1])
            for one in reply["data"]["result"]
        }

    def alerts(self) -> set[str]:
        """Alerts that Alertmanager has and does not inhibit."""
        reply = requests.get(f"{self.alertmanager}/api/v2/alerts?inhibited=false", timeout=10).json()
        return {one["labels"]["alertname"] for one in reply}

    def reaches(self, pages: set[str], tickets: set[str]) -> None:
        """Wait until exactly these alerts fire at the webhooks."""
        await_(
            lambda: (self.hook.firing("page"), self.hook.firing("ticket")) == (pages, tickets),
            PATIENCE,
            lambda: f"{pages} and {tickets}: told {dict(self.hook.told)}, Alertmanager has {self.alerts()}",
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("prometheus")
    ours, theirs, hook = free_port(), free_port(), Hook()
    with told() as watched, answering(hook.take) as port:
        config, routes = hurried(folder, watched.port, theirs, port)
        found = Chain(watched, hook, f"http://127.0.0.1:{ours}", f"http://127.0.0.1:{theirs}")
        manager = [
            required("prometheus-alertmanager"), f"--config.file={routes}", f"--storage.path={folder / 'am'}",
            f"--web.listen-address=127.0.0.1:{theirs}", "--cluster.listen-address=",
        ]  # fmt: skip
        prometheus = [
            required("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{ours}",
        ]  # fmt: skip
        with (
            daemon(manager, folder / "alertmanager.log", lambda: ready(found.alertmanager)),
            daemon(prometheus, folder / "prometheus.log", lambda: ready(found.prometheus)),
        ):
            yield found


def ready(url: str) -> bool:
    return requests.get(f"{url}/-/ready", timeout=2).ok


@pytest.fixture(autouse=True)
def well(chain: Chain) -> None:
    """Start each test with all nodes up and no alert."""
    chain.watched.blind(yes=False)
    chain.watched.down()
    chain.reaches(set(), set())
    await_(lambda: chain.query('cassandra_ring_verdict{severity="OK"} == 1') != {}, PATIENCE, "the verdict is OK")


def test_metrics_arrive_as_they_are(chain: Chain) -> None:
    """Prometheus scrapes OpenMetrics, and has the numbers of the ring."""
    reply = requests.get(f"{chain.prometheus}/api/v1/targets", timeout=10).json()
    (target,) = reply["data"]["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    accepted = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5"}
    scraped = requests.get(f"http://127.0.0.1:{chain.watched.port}/metrics", headers=accepted, timeout=10)
    assert scraped.headers["Content-Type"].startswith("application/openmetrics-text")
    left = chain.query("cassandra_ring_node_failures_to_outage")
    assert left == {
        (dc, level, "orders"): number
        for dc in ("dc1", "dc2")
        for level, number in (("LOCAL_QUORUM", 2), ("LOCAL_ALL", 1))
    }
    assert chain.query("cassandra_ring_restart_safe_nodes") == {(): 6}


def test_an_outage_pages_and_resolves(chain: Chain) -> None:
    """One node down is a ticket; two are a page instead, which names the loss; both resolve when the nodes are back."""
    chain.watched.down(DC1[0])
    chain.reaches(set(), {"CassandraRingDegraded", "CassandraRingOneFailureLeft"})
    chain.watched.down(*DC1[:2])
    await_(lambda: chain.hook.firing("page") == {"CassandraRingOutage"}, PATIENCE, lambda: str(chain.hook.told))
    assert (
        "orders at LOCAL_QUORUM in dc1: 100% of the partitions"
        in chain.hook.texts["CassandraRingOutage"]["description"]
    )
    await_(lambda: chain.alerts() == {"CassandraRingOutage"}, PATIENCE, lambda: f"no tickets beside: {chain.alerts()}")
    chain.watched.down()
    chain.reaches(set(), set())


def test_a_lost_datacenter_has_zero_nodes_up(chain: Chain) -> None:
    """If all nodes of a datacenter are down its series stay, with 0 nodes up."""
    chain.watched.down(*DC1)
    query = 'cassandra_ring_nodes{state="up"}'
    await_(
        lambda: chain.query(query) == {("dc1", "up"): 0, ("dc2", "up"): 3}, PATIENCE, lambda: str(chain.query(query))
    )
    ratio = 'cassandra_ring_unavailable_ratio{consistency_level="LOCAL_QUORUM"}'
    assert chain.query(ratio) == {("dc1", "LOCAL_QUORUM", "orders"): 1, ("dc2", "LOCAL_QUORUM", "orders"): 0}


def test_going_blind_resolves_no_outage(chain: Chain) -> None:
    """If the agent can't reach the nodes, the verdict's series stop, the page stays, and RingcheckBlind pages too."""
    chain.watched.down(*DC1[:2])
    await_(lambda: "CassandraRingOutage" in chain.hook.firing("page"), PATIENCE, lambda: str(chain.hook.told))
    chain.watched.blind(yes=True)
    await_(lambda: chain.query("cassandra_ring_verdict") == {}, PATIENCE, "the series stop")
    everything = {"CassandraRingOutage", "RingcheckBlind"}
    await_(lambda: chain.alerts() >= everything, PATIENCE, lambda: f"all stand: {chain.alerts()}")
    await_(lambda: "RingcheckBlind" in chain.hook.firing("page"), PATIENCE, lambda: str(chain.hook.told))
    assert chain.hook.firing("page") == {"CassandraRingOutage", "RingcheckBlind"}
    chain.watched.blind(yes=False)
    chain.watched.down()
    chain.reaches(set(), set())
