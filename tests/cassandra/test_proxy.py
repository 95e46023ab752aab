"""Nodes without Jolokia, whose JMX ports `ringcheck jmx-proxy` reads: commands, queries, the agent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent.service import Agent
from ringcheck.config import load
from tests.cassandra import queries
from tests.cassandra.cluster import wait_until
from tests.cassandra.oracle import STORAGE_SERVICE, Oracle, OracleError
from tests.cassandra.queries import Lab, network, ringcheck, simple

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cassandra.cluster import RealCluster
    from tests.cassandra.conftest import ClusterFactory

pytestmark = [pytest.mark.cassandra, pytest.mark.long]

DEFAULT_RELEASES = ("5.0.8",)
TOKENS = 8  # of each node
KEYSPACES = (simple(1), simple(2), simple(3), network("nts_3", dc1=3), network("nts_2", dc1=2))

# A quorum of two replicas survives no stop.
ACCEPTED = ("--accept", "simple_1", "--accept", "simple_2", "--accept", "nts_2")


@pytest.fixture
def cluster(real_cluster: ClusterFactory, cassandra_release: str) -> RealCluster:
    """Three nodes, all up, that have JMX only."""
    return real_cluster(cassandra_release, jolokia="none", num_tokens=TOKENS, yaml=queries.TIMEOUTS)


@pytest.fixture
def lab(cluster: RealCluster, tmp_path: Path) -> Lab:
    """The cluster with keyspaces, and the queries that are compared with predictions."""
    return Lab(cluster, KEYSPACES, tmp_path)


def configured(lab: Lab, folder: Path, **jolokia: Any) -> str:
    """A configuration of the cluster, with keys of `jolokia` beside those of the proxy."""
    document = json.loads(queries.configuration(lab.cluster, KEYSPACES, folder).read_text())
    document["clusters"]["lab"]["jolokia"] |= jolokia
    document["clusters"]["lab"]["gate"] = {"settle": "1s"}
    file = folder / "proxied.yaml"
    file.write_text(json.dumps(document))
    return str(file)


def test_commands_judge_nodes_without_jolokia(lab: Lab, tmp_path: Path) -> None:
    """All nodes answer, each with its own view; gate and plan allow as much as with agents."""
    config = configured(lab, tmp_path)
    code, text = ringcheck("check", "-C", config, "-t", "30s")
    assert (code, text.split(" - ")[0]) == (0, "OK"), text
    for command in (("preflight", lab.cluster.node(2).address), ("plan",)):
        code, text = ringcheck(command[0], "-C", config, "-t", "30s", *ACCEPTED, *command[1:])
        assert code == 0, text
    document = queries.judged(lab.cluster.node(1))
    assert {node["jolokia"] for node in document["nodes"]} == {"ok"}, document["nodes"]


def test_queries_end_as_predicted(lab: Lab) -> None:
    """Each query ends as predicted while nodes are lost: the predictions do not depend on how nodes are asked."""
    lab.compare("proxy: all up", 1, 3)
    lab.lose(3, hard=True)
    lab.compare("proxy: one killed", 1, 2)
    lab.lose(2)
    lab.compare("proxy: two down", 1)


def test_each_failure_has_its_own_line(lab: Lab, tmp_path: Path) -> None:
    """Neither a refused connection, nor a target that is not allowed, nor a dead proxy means that a node is down."""
    cluster = lab.cluster
    first, second = cluster.node(1).address, cluster.node(2).address
    closed = configured(lab, tmp_path, nodes={second: f"service:jmx:rmi:///jndi/rmi://{second}:7198/jmxrmi"})
    code, text = ringcheck("check", "-C", closed, "-t", "30s")
    assert code == 3, text
    assert f"JMX of {second}:7198: the proxy does not allow this target" in text
    cluster.node(3).kill()
    _, text = ringcheck("check", "-C", configured(lab, tmp_path), "-t", "30s")
    third = cluster.node(3).address
    text = text.partition(" | ")[0]
    failed = [f"JMX of {third}:7199: {how}" for how in ("it refuses the connection", "the proxy can't ask it")]
    assert any(how in text for how in [*failed, "1 node down"]), text
    cluster.restore()
    cluster.stop_proxies()
    try:
        code, text = ringcheck("check", "-C", configured(lab, tmp_path))
        assert (code, text.strip()) == (
            3,
            (
                f"UNKNOWN - lab: the proxy does not answer: {cluster.proxy_url}: connection refused; "
                "next: start the proxy with `ringcheck jmx-proxy`, or correct its URL (docs/jmx.md)"
            ),
        )
        code, text = ringcheck("preflight", "-C", configured(lab, tmp_path), first)
        assert code != 0
        assert "the proxy does not answer" in text
    finally:
        cluster.start_proxies()


def test_the_proxy_answers_ringchecks_calls_only(lab: Lab) -> None:
    """A client that reaches the proxy can't change a node through it."""
    node = lab.cluster.node(1)
    proxy = Oracle(lab.cluster.proxy_url, target=node.jmx_url)
    assert proxy.read("OperationMode") == "NORMAL"
    memory = {"type": "read", "mbean": "java.lang:type=Memory", "attribute": "HeapMemoryUsage"}
    for request in (
        {"type": "exec", "mbean": STORAGE_SERVICE, "operation": "stopGossiping"},
        {"type": "read", "mbean": STORAGE_SERVICE, "attribute": "LoadString"},
        {"type": "search", "mbean": "*:*"},
        memory,
    ):
        with pytest.raises(OracleError) as caught:
            proxy.ask(request)
        assert caught.value.status == 403, request
    assert node.read("GossipRunning") is True


def test_the_agent_watches_through_the_proxy(lab: Lab, tmp_path: Path) -> None:
    """Its readings are OK, UNKNOWN while the proxy is away, and OK again; no node is ever reported as down."""
    agent = Agent(load(configured(lab, tmp_path)), [])
    seen: list[tuple[str, str | None]] = []

    def severity(wanted: str) -> str:
        reading = agent.readings()[0]
        current = reading.verdict.severity.name if reading.verdict and not reading.error else "UNKNOWN"
        seen.append((current, str(reading.error) if reading.error else None))
        return "" if current == wanted else str(seen[-1])

    agent.start()
    try:
        wait_until(lambda: severity("OK"), 120, "the agent does not see the cluster well:", lab.cluster)
        lab.cluster.stop_proxies()
        wait_until(lambda: severity("UNKNOWN"), 120, "the agent does not miss the proxy:", lab.cluster)
        assert "the proxy does not answer" in str(agent.readings()[0].error)
        lab.cluster.start_proxies()
        wait_until(lambda: severity("OK"), 120, "the agent does not find the proxy again:", lab.cluster)
    finally:
        assert agent.stop(60)
    assert "CRITICAL" not in {name for name, _ in seen}
