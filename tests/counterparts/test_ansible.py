"""The Ansible example: ansible-playbook restarts the embedded cluster node by node, or is refused.

ansible-core is in no lock file. `make examples` installs it with the other programs, and runs these tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.server import serve
from tests.counterparts.examples import example_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.simulator.server import Server

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "ansible"
RINGCHECK = [sys.executable, "-m", "ringcheck"]

# Restarts one node of the embedded cluster, and records which nodes did not serve when it began.
RESTART = """
import json, subprocess, sys
address, url, record = sys.argv[1:]
simulate = [sys.executable, "-m", "ringcheck", "simulate"]
state = json.loads(subprocess.check_output([*simulate, "state", "--format", "json", "--url", url]))
silent = [node["address"] for node in state["nodes"] if node["mode"] != "NORMAL"]
with open(record, "a") as file:
    print(json.dumps([address, silent]), file=file)
subprocess.check_call([*simulate, "stop", "--url", url, address])
subprocess.check_call([*simulate, "up", "--url", url, address])
"""


@pytest.fixture
def served() -> Iterator[Server]:
    """Four nodes in two racks, RF 3."""
    with serve(EmbeddedCluster.uniform(4, racks=2, time_factor=0.02)) as server:
        yield server


class Play:
    """The example's playbook, for one embedded cluster."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.program, self.folder, self.record = example_program("ansible-playbook"), folder, folder / "restarts"
        self.addresses = [node.address for node in server.cluster.nodes]
        self.config = folder / "ringcheck.yaml"
        jolokia = {"contact_points": self.addresses[:2], "url": f"{server.url}/{{address}}/jolokia"}
        cluster = {
            "jolokia": jolokia,
            "gate": {"settle": "0s", "accept": ["blog_1"]},
            "lease": {"file": str(folder / "leases.json")},
        }
        self.config.write_text(yaml.safe_dump({"clusters": {"embedded": cluster}}))
        (folder / "restart.py").write_text(RESTART)
        (folder / "inventory.yml").write_text(yaml.safe_dump({"cassandra": self._inventory(server.url)}))

    def _inventory(self, url: str) -> dict[str, Any]:
        address = "{{ cassandra_address }}"
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ringcheck_command": RINGCHECK,
            "ringcheck_config": str(self.config),
            "ringcheck_cluster": "embedded",
            "ringcheck_stable": 1,
            "ringcheck_wait": "2m",
            "cassandra_become": False,
            "cassandra_back_retries": 240,
            "cassandra_back_delay": 1,
            "cassandra_drain_command": [*RINGCHECK, "simulate", "drain", "--url", url, address],
            "cassandra_restart_command": [
                sys.executable,
                str(self.folder / "restart.py"),
                address,
                url,
                str(self.record),
            ],
        }
        hosts = {f"node{number}": {"cassandra_address": address} for number, address in enumerate(self.addresses)}
        return {"hosts": hosts, "vars": variables}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ANSIBLE_HOME": str(self.folder / "ansible")}
        command = [self.program, "-i", str(self.folder / "inventory.yml"), *arguments, "rolling-restart.yml"]
        return subprocess.run(command, cwd=EXAMPLE, env=environment, capture_output=True, text=True, check=False)

    def restarts(self) -> list[tuple[str, list[str]]]:
        """The nodes in the order of their restarts, each with the nodes that did not serve when its restart began."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [(address, silent) for address, silent in map(json.loads, lines)]

    def leases(self) -> int:
        """The exit code of `lease list`, and no output if there are none."""
        document = json.loads((self.folder / "leases.json").read_text())
        return len(document["holders"])


def test_every_node_is_restarted_once_and_no_two_at_a_time(served: Server, tmp_path: Path) -> None:
    """Each node is drained first, all others serve at that moment, and no lease is left."""
    play = Play(served, tmp_path)
    done = play.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert play.restarts() == [(address, [address]) for address in play.addresses]
    assert play.leases() == 0


def test_a_refusal_ends_the_play_before_any_node(served: Server, tmp_path: Path) -> None:
    """While another node is down, no node is drained or restarted, and the reason is shown."""
    served.cluster.down(served.cluster.nodes[3].address, instant=True)
    play = Play(served, tmp_path)
    done = play.run("-e", "ringcheck_wait=1s")
    assert done.returncode != 0
    assert "would_become_unavailable" in done.stdout
    assert play.restarts() == []
    assert "Drain" not in done.stdout


def test_a_node_that_does_not_come_back_keeps_its_lease(served: Server, tmp_path: Path) -> None:
    """The play ends at this node, and the next one is not touched."""
    play = Play(served, tmp_path)
    silent = json.dumps({"cassandra_restart_command": ["true"], "cassandra_back_retries": 1})
    done = play.run("-e", silent)
    assert done.returncode != 0
    assert play.leases() == 1
    assert "node1" not in done.stdout


def test_the_shipped_inventory_and_role_have_no_mistake() -> None:
    """Ansible reads the files as they are shipped, and runs the five tasks in their order."""
    program = example_program("ansible-playbook")
    command = [program, "-i", "inventory.ini", "--list-hosts", "--list-tasks", "rolling-restart.yml"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tasks = re.findall(r"(?m)^ +cassandra_restart : (.*?)\tTAGS", done.stdout)
    assert [task.split()[0] for task in tasks] == ["Check", "Take", "Drain", "Restart", "Wait"]
    assert set(re.findall(r"(?m)^ +(cassandra-\d)$", done.stdout)) == {"cassandra-1", "cassandra-2", "cassandra-3"}


def test_every_variable_of_the_role_is_documented() -> None:
    """The table in docs/ansible.md names each default, and no other variable."""
    defaults = yaml.safe_load((EXAMPLE / "roles" / "cassandra_restart" / "defaults" / "main.yml").read_text())
    section = (ROOT / "docs" / "ansible.md").read_text().partition("\n## Variables\n")[2].partition("\n## ")[0]
    cells = re.findall(r"(?m)^\| (`[^|]+) \|", section)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(defaults) - {"ringcheck_target"}
