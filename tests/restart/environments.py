"""An environment for the runner: an embedded cluster, commands that drive it, and leases in a file."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ringcheck.core.gate import Gate
from ringcheck.core.policy import Policy
from ringcheck.jolokia.control import Control
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.leases.lockfile import LockFile
from ringcheck.restart.commands import Command, CommandResult
from ringcheck.restart.environment import LiveEnvironment
from ringcheck.restart.procedure import Procedure
from ringcheck.restart.runner import Runner
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ringcheck.report.roll import Report
    from ringcheck.restart.journal import Past

RESTART = Command.parse("restart {address}")
STOP, START = Command.parse("stop {address}"), Command.parse("start {address}")


class Killed(BaseException):
    """The process of the run dies: nothing is cleaned up."""


class EmbeddedEnvironment(LiveEnvironment):
    """The live environment, except that commands act on the embedded cluster, which also has no CQL ports."""

    def __init__(self, cluster: EmbeddedCluster, poll: Any, control: Control) -> None:
        super().__init__(poll, control, lambda: self.interrupt_count)
        self.cluster = cluster
        self.interrupt_count = 0
        self.commands: list[tuple[str, ...]] = []  # in the order of their start
        # At the start of each command: its node, the nodes that did not serve, and the serving nodes that saw it up.
        self.observations: list[tuple[str, frozenset[str], frozenset[str]]] = []
        self.status: dict[str, int] = {}  # by node: commands that fail and do nothing
        self.deaf: set[str] = set()  # nodes whose CQL port does not answer
        self.during: dict[str, Callable[[], object]] = {}  # by node: what is done while its command runs
        self.alive: dict[int, int] = {}  # processes of an earlier run: id and start
        self.last_pid = 1000

    def birth(self, pid: int) -> int | None:
        return self.alive.get(pid)

    def run(self, words: tuple[str, ...], seconds: float, started: Callable[[int], None]) -> CommandResult:
        assert seconds > 0
        self.last_pid += 1
        started(self.last_pid)
        self.commands.append(words)
        verb, address = words
        now = self.cluster.now()
        off = frozenset(node.address for node in self.cluster.nodes if not self.cluster.serving(node, now))
        index = self.cluster.node(address).index
        serving = [node for node in self.cluster.nodes if node.address not in off and node.index != index]
        up = frozenset(node.address for node in serving if index in self.cluster.view(node, now).live)
        self.observations.append((address, off, up))
        if status := self.status.get(address):
            return CommandResult(status, "no such unit\n")
        if verb in {"restart", "stop"}:
            self.cluster.down(address)
        self.during.get(address, int)()
        if verb in {"restart", "start"}:
            self.cluster.up(address)
        return CommandResult(0, "")

    def answers_cql(self, host: str, port: int) -> bool:  # type: ignore[override]  # static in the live one
        assert port == 9042
        return host not in self.deaf and self.cluster.serving(self.cluster.node(host), self.cluster.now())


@dataclass(kw_only=True)
class Stage:
    """Everything that a run needs, and the results."""

    cluster: EmbeddedCluster
    environment: EmbeddedEnvironment
    store: LockFile
    another: Callable[[str], Stage]  # a stage of another owner for the same cluster
    events: list[dict[str, Any]] = field(default_factory=list)
    dies_at: Callable[[dict[str, Any]], bool] = lambda _: False
    owner: str = ""
    policy: Policy = field(default_factory=Policy)

    @property
    def names(self) -> list[str]:
        return [node.address for node in self.cluster.nodes]

    def record(self, event: str, **fields: Any) -> None:
        line = {"event": event, **fields}
        self.events.append(line)
        if self.dies_at(line):
            raise Killed

    def roll(self, *nodes: str, past: Past | None = None, gate: Gate | None = None, **how: Any) -> Report:
        quick: dict[str, Any] = {"interval": 0.05, "stable": 2, "wait": 4.0, "back_timeout": 30.0}
        quick |= {"replace_timeout": 2.0, "flap_timeout": 1.0}
        procedure = Procedure(**{"restart": RESTART, **quick, **how})
        chosen = gate or Gate(settle=0.0)
        runner = Runner(
            environment=self.environment, store=self.store, policy=lambda _: self.policy, gate=chosen,
            procedure=procedure, owner=self.owner, record=self.record,
        )  # fmt: skip
        return runner.run(list(nodes) or self.names, past)

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def restarted(self) -> list[str]:
        return [words[1] for words in self.environment.commands if words[0] in {"restart", "start"}]


@contextmanager
def staged(
    folder: Path, nodes: int = 6, racks: int = 3, *, time_factor: float = 0.02, own: bool = False, **layout: Any
) -> Iterator[Stage]:
    """An embedded cluster that is served; a node is back about 0.4 s after its start.

    Its nodes are behind one proxy, unless each has its `own` socket, which refuses connections while the node is down.
    """
    layout.setdefault("keyspaces", {"orders": topology(dc1=3)})
    cluster = EmbeddedCluster.uniform(
        nodes, racks=racks, vnodes=4, addresses=loopback_address, time_factor=time_factor, **layout
    )
    folder.mkdir(exist_ok=True)
    with serve(cluster, address_port=_free_port() if own else None) as server, ExitStack() as stack:

        def made(owner: str) -> Stage:
            settings = JolokiaSettings(
                contact_points=tuple(node.address for node in cluster.nodes), url=server.template, timeout=3.0
            )
            collector = stack.enter_context(closing(JolokiaSource(settings)))
            control = stack.enter_context(closing(Control(settings)))
            environment = EmbeddedEnvironment(cluster, lambda: collector.poll(5.0), control)
            store = LockFile("embedded", str(folder / "leases.json"))
            return Stage(cluster=cluster, environment=environment, store=store, another=made, owner=owner)

        yield made("me@here roll r1")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not true within {seconds} s"
        time.sleep(0.02)
