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

from ringcheck.cli.simulate import simulate
from ringcheck.errors import SourceError, UsageError
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
    """Each command changes the state that is printed after it."""
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
    """It returns once the node serves CQL, and gives up with the reason."""
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


def test_mistakes_are_reported() -> None:
    """No cluster answers at the URL; a configuration is asked for without a server."""
    with pytest.raises(SourceError, match=r"no embedded cluster answers at http://127\.0\.0\.1:1"):
        run("down", "127.0.1.1", "--url", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="--config-out needs --serve"):
        run("--config-out", "/nonexistent/x.yaml")


def test_an_unknown_node_is_reported(served: Server) -> None:
    """The user sees the reason that the control API gives."""
    with pytest.raises(UsageError, match=r"has no node 10\.9\.9\.9"):
        run("down", "10.9.9.9", "--url", served.url)
