"""`ringcheck simulate`: serving a cluster, and driving it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from ringcheck.cli.simulate import build, simulate
from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Policy
from ringcheck.errors import SourceError, UsageError
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.server import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def served() -> Iterator[Server]:
    with serve(EmbeddedCluster.uniform(4, time_factor=0.0)) as server:
        yield server


def run(*arguments: str) -> str:
    result = CliRunner().invoke(simulate, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


@pytest.mark.slow
def test_serves_until_terminated(tmp_path: Path) -> None:
    """It prints exactly one line, writes a configuration with its URL, and ends cleanly on SIGTERM."""
    config = tmp_path / "config.yaml"
    program = "from ringcheck.cli.simulate import simulate; simulate()"
    arguments = ["--nodes", "12", "--racks", "3", "--dcs", "2", "--serve", "--port", "0", "--config-out", str(config)]
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        word, url = process.stdout.readline().split()
        entry = yaml.safe_load(config.read_text())["clusters"]["embedded"]
        down = run("down", "127.0.1.2", "--url", url)
        process.send_signal(signal.SIGTERM)
        rest, code = process.stdout.read(), process.wait(10)
    assert (word, rest, code) == ("serving", "", 0)
    assert entry["jolokia"]["url"] == f"{url}/{{address}}/jolokia"
    assert down == "127.0.1.2       dc2 r1 5.0.8 killed\n"


def test_commands_drive_a_running_cluster(served: Server) -> None:
    """After each command its effect is printed."""
    url, (first, second, third, _) = ("--url", served.url), [node.address for node in served.cluster.nodes]
    assert "killed" in run("down", first, *url)
    assert "NORMAL" in run("up", first, *url)
    assert "paused" in run("pause", second, *url)
    assert "NORMAL" in run("resume", second, *url)
    assert "DRAINED" in run("drain", third, *url)
    assert "no CQL" in run("binary-off", first, *url)
    assert "no gossip" in run("gossip-off", first, *url)
    assert "fault hang" in run("fault", second, "hang", *url)
    assert "fault" not in run("fault", second, *url)
    assert f"cut: {second} | " in run("partition", second, *url)
    assert "cut" not in run("heal", *url)
    assert "JOINING" in run("join", *url)
    assert "STARTING" in run("hold", third, "alone", *url)
    assert len(json.loads(run("state", "--format", "json", *url))["nodes"]) == 5


def test_wait_returns_when_a_node_is_back(served: Server) -> None:
    """It returns once the node serves CQL; if it gives up it prints the reason."""
    address = served.cluster.nodes[0].address
    run("wait", address, "--url", served.url)
    served.cluster.down(0)
    served.cluster.up(0, hold="normal")
    with pytest.raises(SourceError, match="not up after"):
        run("wait", address, "--seconds", "0.2", "--url", served.url)


def test_mixed_releases_are_dealt_out_in_turn() -> None:
    """With two releases, every second node has the second one."""
    lines = run("--nodes", "4", "--release", "4.1.9", "--release", "5.0.8").splitlines()
    assert [line.split()[3] for line in lines[:4]] == ["4.1.9", "5.0.8", "4.1.9", "5.0.8"]


def test_variants_of_paxos_are_dealt_out_in_turn() -> None:
    """Each node reports its own variant to a check, which counts the replicas of serial operations accordingly."""
    options = {"nodes": 4, "dcs": 1, "racks": 1, "vnodes": 4, "tokens": "random", "rf": 3, "keyspaces": 0, "seed": 1}
    options |= {"releases": (), "jolokia": "2", "name": "embedded", "time_factor": 0.0, "authenticates": False}
    cluster = build(options | {"paxos_variants": ("v1", "v2")})
    with serve(cluster) as server:
        source = JolokiaSource(JolokiaSettings(contact_points=("127.0.1.1",), url=f"{server.url}/{{address}}/jolokia"))
        cluster.join()
        cluster.join()
        seen = source.poll(10.0)
        source.close()
    assert [node.paxos_variant for node in seen.nodes] == ["v1", "v2", "v1", "v2", "v1", "v1"]
    refused = {}
    for observer in ("127.0.1.1", "127.0.1.2"):
        question = Question(levels=(Level.SERIAL,), view=observer, keyspaces=("orders",))
        (health,) = [
            level.health
            for level in assess(seen, Policy(), question).keyspaces[0].levels
            if level.level is Level.SERIAL and level.health
        ]
        refused[observer] = health.unavailable
    assert refused["127.0.1.1"] > 0  # ranges with two pending replicas
    assert refused["127.0.1.2"] == 0


def test_mistakes_are_reported() -> None:
    """Examples are a URL at which no cluster answers, and a configuration that is requested without a server."""
    with pytest.raises(UsageError, match=r"no embedded cluster answers at http://127\.0\.0\.1:1"):
        run("down", "127.0.1.1", "--url", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="--config-out needs --serve"):
        run("--config-out", "/nonexistent/x.yaml")


def test_an_unknown_node_is_reported(served: Server) -> None:
    """The user sees the reason that the control API gives."""
    with pytest.raises(UsageError, match=r"has no node 10\.9\.9\.9"):
        run("down", "10.9.9.9", "--url", served.url)
