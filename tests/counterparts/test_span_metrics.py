"""A real Prometheus that has span metrics: keyspaces get the levels of their own clients."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import requests
import yaml

from ringcheck.agent.service import Agent
from ringcheck.config import load
from ringcheck.core.levels import strictest
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import await_, daemon, free_port, required

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringcheck.report.reading import Reading

PATIENCE = 90.0  # seconds; generous, so that a busy machine does not fail a test
NAME = "orders-prod"
QUERY = 'last_over_time(traces_span_metrics_calls_total{db_system_name="cassandra"}[1m])'


@contextmanager
def exporting(spans: Counter[tuple[str, str]]) -> Iterator[int]:
    """An exporter of span metrics as OpenTelemetry's connector writes them; returns its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines = ["# TYPE traces_span_metrics_calls_total counter"]
            for (keyspace, level), calls in spans.items():
                labels = {
                    "db_system_name": "cassandra", "db_namespace": keyspace, "cassandra_coordinator_dc": "dc1",
                    "cassandra_consistency_level": level, "span_kind": "SPAN_KIND_CLIENT",
                }  # fmt: skip
                written = ",".join(f'{name}="{value}"' for name, value in labels.items())
                lines.append(f"traces_span_metrics_calls_total{{{written}}} {calls}")
            body = "\n".join([*lines, ""]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextmanager
def prometheus(folder: Path, exporter: int) -> Iterator[str]:
    """A Prometheus that scrapes the exporter every second and has its first samples; returns its URL.

    To an agent that queries earlier, old series look new.
    """
    program, port = required("prometheus"), free_port()
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "spans", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def scraped() -> bool:
        answer = requests.get(f"{url}/api/v1/query", params={"query": QUERY}, timeout=5)
        return answer.ok and bool(answer.json()["data"]["result"])

    with daemon(command, folder / "prometheus.log", scraped, PATIENCE):
        yield url


@contextmanager
def watching(folder: Path, url: str) -> Iterator[tuple[EmbeddedCluster, Agent]]:
    """An agent that queries the Prometheus every second, and whose levels follow."""
    keyspaces = {"orders": topology(dc1=3), "clicks": topology(dc1=3)}
    cluster = EmbeddedCluster.uniform(3, racks=3, vnodes=4, keyspaces=keyspaces, name=NAME, time_factor=0)
    with serve(cluster) as server:
        document = yaml.safe_load(server.config())
        document["clusters"][NAME] |= {
            "monitor": [{"keyspaces": ["*"], "critical": "auto", "warning": "auto"}],
            "observed": {"window": "1h", "every": "1s", "interval": "1s", "prometheus": url, "query": QUERY},
        }
        document["agent"] = {"interval": "1s"}
        (folder / "ringcheck.yaml").write_text(yaml.safe_dump(document))
        agent = Agent(load(str(folder / "ringcheck.yaml")))
        agent.start()
        try:
            yield cluster, agent
        finally:
            agent.stop()


def levels(reading: Reading | None, keyspace: str) -> list[str]:
    """The strictest levels in use; ONE is also that of control connections."""
    seen = reading.observed if reading else None
    return [str(used.level) for used in strictest(seen.of(keyspace))] if seen else []


@pytest.mark.counterparts
@pytest.mark.long
def test_keyspaces_follow_their_own_clients(tmp_path: Path) -> None:
    """A new series counts from zero; queries without a span count for all; without Prometheus no level sinks."""
    spans: Counter[tuple[str, str]] = Counter({("orders", "local_one"): 1_000_000})
    with (
        exporting(spans) as exporter,
        prometheus(tmp_path, exporter) as url,
        watching(tmp_path, url) as (cluster, agent),
    ):

        def sampled(number: int) -> bool:
            return len(agent.recorder.levels.of(NAME).sources.of("prometheus").readings) == number

        await_(lambda: sampled(1), PATIENCE, "the first series")
        assert levels(agent.reading(NAME), "orders") == []  # nothing is known about old queries
        spans["orders", "local_quorum"] += 1
        spans["clicks", "one"] += 100
        await_(lambda: levels(agent.reading(NAME), "orders") == ["LOCAL_QUORUM"], PATIENCE, "orders at LOCAL_QUORUM")
        await_(lambda: levels(agent.reading(NAME), "clicks") == ["ONE"], PATIENCE, "clicks at ONE")
        cluster.nodes[0].counters["Write-ALL,Latency"] += 5
        await_(lambda: levels(agent.reading(NAME), "clicks") == ["ALL"], PATIENCE, "ALL of nobody known")
        reading = agent.reading(NAME)
        assert reading
        assert reading.verdict
        assert any(finding.code == "levels_unclear" for finding in reading.verdict.findings)
    gone = f"{url}/api/v1/query"
    with watching(tmp_path, url) as (_, agent):
        await_(lambda: "prometheus" in agent.recorder.levels.of(NAME).sources.evidence, PATIENCE, "a failed query")
        assert agent.recorder.levels.of(NAME).sources.of("prometheus").gaps[0].startswith(gone)
