"""`ringcheck agent` as a process of its own: a configuration for embedded clusters, and its notifications."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.core.ring import Replication
from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import await_, end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RINGCHECK = Path(sys.executable).parent / "ringcheck"
PATIENCE = 60.0  # seconds; generous, so that a busy machine does not fail a test

# The service, modified so that the assessment of a cluster hangs while the file FOLDER/CLUSTER.hangs exists, which it
# confirms with the file FOLDER/CLUSTER.hung. A node that hangs would not be enough, because polls have deadlines.
HANGING = """
import pathlib, sys, time
from ringcheck.agent.judging import Judging

judge = Judging.judge

def hanging(judging, seen, given):
    folder = pathlib.Path(sys.argv[1])
    while (folder / f"{seen.cluster}.hangs").exists():
        (folder / f"{seen.cluster}.hung").touch()
        time.sleep(0.05)
    return judge(judging, seen, given)

Judging.judge = hanging
from ringcheck.cli import main
main(sys.argv[2:])
"""


@dataclass(frozen=True)
class Clusters:
    """Embedded clusters that answer, and a configuration file that can be rewritten.

    Attributes:
        cluster: three nodes.
        document: configuration of a cluster that these nodes belong to.
        path: of the configuration.
    """

    cluster: EmbeddedCluster
    document: dict[str, Any]
    path: Path

    def nodes_down(self, *indexes: int) -> None:
        """Kill these nodes and start the others; all peers notice at once."""
        for node in self.cluster.nodes:
            if node.index in indexes and node.process != "killed":
                self.cluster.down(node.index, instant=True)
            elif node.index not in indexes and node.process == "killed":
                self.cluster.up(node.index, instant=True)

    def write(self, *names: str, dead: tuple[str, ...] = (), interval: str = "1s") -> None:
        """Configure clusters of these names, and dead ones without a node that answers."""
        silent = {"jolokia": {"contact_points": ["127.0.0.1:1"], "timeout": "1s"}}
        clusters = dict.fromkeys(names, self.document) | dict.fromkeys(dead, silent)
        text = yaml.safe_dump({"clusters": clusters, "agent": {"listen": "127.0.0.1:0", "interval": interval}})
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)


@contextmanager
def clusters(folder: Path) -> Iterator[Clusters]:
    """A cluster of three nodes, configured as orders-prod."""
    factor = Replication.parse("NetworkTopologyStrategy {dc1=3}")
    cluster = EmbeddedCluster.uniform(3, keyspaces={"orders": factor}, name="orders-prod", time_factor=0)
    with serve(cluster) as server:
        (document,) = yaml.safe_load(server.config())["clusters"].values()
        made = Clusters(cluster, document, folder / "ringcheck.yaml")
        made.write("orders-prod")
        yield made


@dataclass
class Service:
    """A running service, its notifications and its log.

    Attributes:
        process: the service.
        notified: assignments that its manager received, in order.
        log: path of its log.
        folder: a file CLUSTER.hangs in it makes the service hang.
    """

    process: subprocess.Popen[bytes]
    receiver: socket.socket
    log: Path
    folder: Path
    notified: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Receive what has arrived."""
        with suppress(BlockingIOError):
            while True:
                self.notified += self.receiver.recv(65536).decode().splitlines()

    def awaits(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Listen until a condition holds."""

        def holds() -> bool:
            self.listen()
            return condition()

        await_(holds, seconds, lambda: f"notified {self.notified[-20:]}, logged {self.logged()}")

    def hears(self, assignment: str, times: int = 1) -> None:
        """Listen until an assignment has arrived this many times, counted from now."""
        self.listen()
        before = self.notified.count(assignment)
        self.awaits(lambda: self.notified.count(assignment) >= before + times)

    def quiet(self, seconds: float) -> bool:
        """Whether nothing arrives for this many seconds."""
        self.listen()
        before = len(self.notified)
        time.sleep(seconds)
        self.listen()
        return len(self.notified) == before

    def logged(self, event: str = "") -> list[str]:
        """The lines of the log for one event."""
        return [line for line in self.log.read_text().splitlines() if f" event={event}" in line]


@contextmanager
def service(
    config: Path, folder: Path, watchdog: float | None = 2.0, program: str = HANGING, descriptors: int | None = None
) -> Iterator[Service]:
    """Run the service with a manager socket like that of systemd, until the block ends.

    Args:
        config: path of its configuration.
        folder: of its log and its socket.
        watchdog: seconds within which systemd wants to hear of it.
        program: what Python runs, with the folder before the words of the command line.
        descriptors: that it may open.
    """
    named = folder / "notify"
    environment = {**os.environ, "NOTIFY_SOCKET": str(named)}
    if watchdog:
        environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
    command = [sys.executable, "-c", program, str(folder), "agent", "-C", str(config)]
    if descriptors:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    log = folder / "service.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver, log.open("wb") as out:
        receiver.bind(str(named))
        receiver.setblocking(False)  # noqa: FBT003 - as it is
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)
        try:
            yield Service(process, receiver, log, folder)
        finally:
            end(process)
