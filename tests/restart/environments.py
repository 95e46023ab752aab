"""A world for the runner: an embedded cluster, commands that drive it, and leases in a file."""

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
from ringcheck.restart.commands import Command, Ended
from ringcheck.restart.environment import RealWorld
from ringcheck.restart.runner import Procedure, Runner
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
    """The process of the run is gone: nothing is cleaned up."""


class World(RealWorld):
    """The real one, but for commands, which act on the embedded cluster, and for CQL ports, which it does not have."""

    def __init__(self, cluster: EmbeddedCluster, poll: Any, control: Control) -> None:
        super().__init__(poll, control, lambda: self.asked)
        self.cluster = cluster
        self.asked = 0  # interrupts
        self.ran: list[tuple[str, ...]] = []
        self.beside: list[tuple[str, frozenset[str], frozenset[str]]] = []  # node, who did not serve, who saw it up
        self.status: dict[str, int] = {}  # of a command by its node; it does nothing then
        self.deaf: set[str] = set()  # nodes whose CQL port does not answer
        self.after: dict[str, Callable[[], object]] = {}  # beside the command of a node
        self.alive: dict[int, int] = {}  # processes of an earlier run
        self.last = 1000

    def birth(self, pid: int) -> int | None:
        return self.alive.get(pid)

    def run(self, words: tuple[str, ...], seconds: float, started: Callable[[int], None]) -> Ended:
        assert seconds > 0
        self.last += 1
        started(self.last)
        self.ran.append(words)
        what, address = words
        now = self.cluster.now()
        off = frozenset(node.address for node in self.cluster.nodes if not self.cluster.serving(node, now))
        one = self.cluster.node(address).index
        serving = [node for node in self.cluster.nodes if node.address not in off and node.index != one]
        up = frozenset(node.address for node in serving if one in self.cluster.view(node, now).live)
        self.beside.append((address, off, up))
        if status := self.status.get(address):
            return Ended(status, "no such unit\n")
        if what in {"restart", "stop"}:
            self.cluster.down(address)
        self.after.get(address, int)()
        if what in {"restart", "start"}:
            self.cluster.up(address)
        return Ended(0, "")

    def answers_cql(self, host: str, port: int) -> bool:  # type: ignore[override]  # a real one has no state
        assert port == 9042
        return host not in self.deaf and self.cluster.serving(self.cluster.node(host), self.cluster.now())


@dataclass
class Stage:
    """All that a run needs, and what became of it."""

    cluster: EmbeddedCluster
    world: World
    store: LockFile
    another: Callable[[str], Stage]  # run, of another owner, over the same cluster
    events: list[dict[str, Any]] = field(default_factory=list)
    dies_at: Callable[[dict[str, Any]], bool] = lambda _: False
    owner: str = ""

    @property
    def names(self) -> list[str]:
        return [node.address for node in self.cluster.nodes]

    def tell(self, event: str, **fields: Any) -> None:
        told = {"event": event, **fields}
        self.events.append(told)
        if self.dies_at(told):
            raise Killed

    def roll(self, *nodes: str, past: Past | None = None, gate: Gate | None = None, **how: Any) -> Report:
        quick: dict[str, Any] = {"between": 0.05, "stable": 2, "wait": 4.0, "back_timeout": 30.0}
        quick |= {"lost": 2.0, "flap": 1.0}
        procedure = Procedure(**{"restart": RESTART, **quick, **how})
        chosen = gate or Gate(settle=0.0)
        runner = Runner(self.world, self.store, Policy(), chosen, procedure, self.owner, self.tell)
        return runner.run(list(nodes) or self.names, past)

    def told(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    def restarted(self) -> list[str]:
        return [words[1] for words in self.world.ran if words[0] in {"restart", "start"}]


@contextmanager
def stage(
    folder: Path, nodes: int = 6, racks: int = 3, *, time_factor: float = 0.02, own: bool = False, **layout: Any
) -> Iterator[Stage]:
    """An embedded cluster, served; a node is back some 0.4 s after its start.

    Its nodes are behind one proxy, unless each has its `own` socket, that refuses while the node is down.
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
            world = World(cluster, lambda: collector.poll(5.0), control)
            return Stage(cluster, world, LockFile("embedded", str(folder / "leases.json")), made, owner=owner)

        yield made("me@here roll r1")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to be"
        time.sleep(0.02)
