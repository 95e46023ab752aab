"""docs/getting-started.md, followed word by word on a real cluster: its shell commands and its configuration."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cassandra import queries
from tests.cassandra.queries import simple
from tests.fake_jolokia import free_port

if TYPE_CHECKING:
    from tests.cassandra.cluster import RealCluster
    from tests.cassandra.conftest import ClusterFactory

pytestmark = [pytest.mark.cassandra, pytest.mark.long]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "getting-started.md").read_text()
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BEFORE = "## The line for the JVM"  # everything before this heading is done before a node is started
SECONDS = 180


class Operator:
    """Runs the commands of the page in a folder that stands for the hosts' /etc, with the cluster's addresses."""

    def __init__(self, folder: Path) -> None:
        self.words = {
            "/etc/": f"{folder}/etc/",
            "127.0.0.1:9742": f"127.0.0.1:{free_port('127.0.0.1')}",
        }
        self._folder = folder
        for name in ("etc/cassandra", "etc/ringcheck", "bin"):
            (folder / name).mkdir(parents=True)
        program = folder / "bin" / "ringcheck"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m ringcheck "$@"\n')
        program.chmod(0o755)

    def follow(self, text: str) -> str:
        """Do everything in a part of the page; return the output of its commands."""
        return "".join(
            self._write(block) if kind == "yaml" else self._run(block) for kind, block in BLOCK.findall(text)
        )

    def _here(self, text: str) -> str:
        for word, meant in self.words.items():
            text = text.replace(word, meant)
        return text

    def _write(self, block: str) -> str:
        head, _, body = self._here(block).partition("\n")
        Path(head.removeprefix("# ")).write_text(body)
        return ""

    def _run(self, block: str) -> str:
        script = f"set -euo pipefail\nPATH={self._folder}/bin:$PATH\n{self._here(block)}"
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False
        )
        assert done.returncode == 0, f"{block}{done.stdout}{done.stderr}"
        return done.stdout


def started(real_cluster: ClusterFactory, release: str, folder: Path, operator: Operator) -> RealCluster:
    """The cluster, whose agents use the file of options that the page creates; each agent has its own host."""
    password = (folder / "etc/ringcheck/jolokia-password").read_text().strip()
    options = {"config": f"{folder}/etc/cassandra/jolokia.properties", "user": "ringcheck", "password": password}
    cluster = real_cluster(release, jolokia_options=options)
    operator.words |= {f"10.0.0.{number}": cluster.node(number).address for number in (1, 2)}
    queries.create(cluster, (simple(3),))
    return cluster


def test_the_page_works_as_it_is_written(real_cluster: ClusterFactory, cassandra_release: str, tmp_path: Path) -> None:
    """It works from the policy to the metrics; the page's policy and password are in force."""
    operator = Operator(tmp_path)
    before, _, after = PAGE.partition(BEFORE)
    operator.follow(before)
    cluster = started(real_cluster, cassandra_release, tmp_path, operator)
    shown = operator.follow(after)
    node = cluster.node(1).address
    assert '"value":"NORMAL"' in shown
    assert f"OK http://{node}:8778/jolokia: all steps passed" in shown
    assert "an access policy is in force" in shown
    assert "OK - orders-prod: " in shown
    assert f"READY orders-prod: {node} is ready" in shown
    assert re.search(rf"^(SAFE|UNSAFE) orders-prod: {re.escape(node)} ", shown, re.MULTILINE)
