"""Embedded clusters that change at random: nodes die, return, join, leave and are upgraded; keyspaces and faults."""

from __future__ import annotations

import random
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import yaml

from ringcheck.core.ring import Replication
from ringcheck.errors import UsageError
from ringcheck.simulator.cluster import EmbeddedCluster, NodeSpec
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from ringcheck.simulator.cluster import SimNode

NODES = 4  # of a cluster that is at rest
FEWEST, MOST = 3, 6  # members while it changes
STAYING = 3  # clusters that are never removed, so that growth of what their polls keep would show
PASSING = 2  # clusters that come and go
RELEASES = ("4.1.9", "5.0.8")
FACTOR = Replication.parse("NetworkTopologyStrategy {dc1=3}")
FAULTS = (
    Fault("reset", times=4), Fault("truncate", size=40, times=4), Fault("garbage", times=4), Fault("html", times=4),
    Fault("status", status=401, times=4), Fault("status", status=503, times=4), Fault("refuse"),
    Fault("wrong-node", times=4), Fault("oversize", size=2**21, times=1), Fault("delay", seconds=0.1, times=2),
    Fault("hang", times=1),
)  # fmt: skip


class Addresses:
    """Loopback addresses, none of which is used twice: a node that returns in a new container has a new one."""

    def __init__(self) -> None:
        self._given = 0

    def __call__(self, _: int = 0) -> str:
        number, self._given = self._given, self._given + 1
        return f"127.{64 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


class Churned:
    """One cluster, served on addresses of its own, and what happens to it."""

    def __init__(self, name: str, addresses: Addresses, port: int, chance: random.Random) -> None:
        self.name = name
        self._addresses = addresses
        self._chance = chance
        self.cluster = EmbeddedCluster.uniform(
            NODES, racks=3, vnodes=4, keyspaces={"orders": FACTOR}, name=name, addresses=addresses, time_factor=0
        )
        self.server = Server(self.cluster, address_port=port)

    def document(self) -> dict[str, object]:
        """Its entry in a configuration: the first nodes, which never leave, are the contact points."""
        points = [node.address for node in self.cluster.nodes[:FEWEST]]
        return {"jolokia": {"contact_points": points, "url": self.server.template, "timeout": "500ms"}}

    def step(self) -> None:
        """Let one thing happen, if it is possible."""
        happening = self._chance.choice(HAPPENINGS)
        with suppress(UsageError, IndexError):  # IndexError: no node is in that state
            happening(self)

    def rest(self) -> None:
        """Heal everything, and return to as many members and keyspaces as at the start."""
        self.heal()
        for node in self._members():
            if node.mode in {"JOINING", "LEAVING"}:
                self.cluster.finish(node.index)
        while len(self._members()) > NODES:
            self._part(self._members()[-1])
        while len(self._members()) < NODES:
            self.join()
            self.cluster.finish(len(self.cluster.nodes) - 1)
        for node in self._gone():
            self.cluster.down(node.index, instant=True)
        for keyspace in [name for name in self.cluster.keyspaces if name != "orders"]:
            del self.cluster.keyspaces[keyspace]

    def heal(self) -> None:
        """End partitions and faults, and start every member."""
        self.cluster.heal()
        for node in self._members():
            self.cluster.set_fault(node.index, None)
            if node.process != "running" or node.mode == "NORMAL":
                self._restart(node)

    def kill(self) -> None:
        self.cluster.down(self._any("NORMAL").index, instant=True)

    def pause(self) -> None:
        self.cluster.pause(self._any("NORMAL").index, instant=True)

    def restart(self) -> None:
        self._restart(self._any("NORMAL"))

    def upgrade(self) -> None:
        node = self._any("NORMAL")
        self.cluster.down(node.index, instant=True)
        self.cluster.upgrade(node.index, self._chance.choice(RELEASES))
        self.cluster.up(node.index, instant=True)

    def drain(self) -> None:
        self.cluster.drain(self._any("NORMAL").index, instant=True)

    def stop_gossip(self) -> None:
        self.cluster.gossip_off(self._any("NORMAL").index, instant=True)

    def stop_binary(self) -> None:
        self.cluster.binary_off(self._any("NORMAL").index)

    def start_up(self) -> None:
        """Hold a startup at a phase in which some MBeans are not yet registered."""
        node = self._any("NORMAL")
        self.cluster.down(node.index, instant=True)
        self.cluster.up(node.index, hold=self._chance.choice(["unregistered", "starting", "alone", "normal"]))

    def join(self) -> None:
        if len(self._members()) < MOST:
            first = self.cluster.nodes[0].spec
            rack = f"r{self._chance.randrange(3) + 1}"
            self.cluster.join(NodeSpec(self._addresses(), rack=rack, release=first.release))

    def leave(self) -> None:
        if len(self._members()) > FEWEST:
            self.cluster.leave(self._any("NORMAL", self._members()[FEWEST:]).index)

    def finish(self) -> None:
        self.cluster.finish(self._any("JOINING" if self._chance.random() < 0.5 else "LEAVING").index)

    def end_gone(self) -> None:
        """End the process of a node that has left; until then its Jolokia answers."""
        self.cluster.down(self._chance.choice(self._gone()).index, instant=True)

    def part(self) -> None:
        self.cluster.partition([self._any("NORMAL").index], instant=True)

    def add_keyspace(self) -> None:
        if len(self.cluster.keyspaces) < MOST:
            factor = f"SimpleStrategy {{replication_factor={self._chance.randrange(1, 5)}}}"
            self.cluster.create_keyspace(f"ks_{self._chance.randrange(10**6)}", Replication.parse(factor))

    def drop_keyspace(self) -> None:
        del self.cluster.keyspaces[self._chance.choice([name for name in self.cluster.keyspaces if name != "orders"])]

    def fail(self) -> None:
        self.cluster.set_fault(self._chance.choice(self._members()).index, self._chance.choice(FAULTS))

    def restart_jolokia(self) -> None:
        self.server.drop(self._chance.choice(self._members()))

    def _members(self) -> list[SimNode]:
        return [self.cluster.nodes[index] for index in sorted(self.cluster.topology.members)]

    def _gone(self) -> list[SimNode]:
        members = self.cluster.topology.members
        return [node for node in self.cluster.nodes if node.index not in members and node.process == "running"]

    def _any(self, mode: str, nodes: list[SimNode] | None = None) -> SimNode:
        """Any member in a mode; raises IndexError if there is none."""
        return self._chance.choice([node for node in nodes or self._members() if node.mode == mode])

    def _part(self, node: SimNode) -> None:
        self.cluster.leave(node.index)
        self.cluster.finish(node.index)

    def _restart(self, node: SimNode) -> None:
        self.cluster.down(node.index, instant=True)
        self.cluster.up(node.index, instant=True)


# Each is equally likely; what heals is there twice, so that most clusters are well most of the time.
HAPPENINGS = (
    Churned.kill, Churned.restart, Churned.restart, Churned.upgrade, Churned.drain, Churned.stop_gossip,
    Churned.stop_binary, Churned.start_up, Churned.pause, Churned.join, Churned.join, Churned.leave, Churned.leave,
    Churned.finish, Churned.finish, Churned.finish, Churned.end_gone, Churned.part, Churned.add_keyspace,
    Churned.drop_keyspace, Churned.fail, Churned.fail, Churned.restart_jolokia, Churned.heal, Churned.heal,
    Churned.heal, Churned.heal, Churned.heal,
)  # fmt: skip


class Fleet:
    """All clusters, and the configuration that names them: one file per cluster, found by `clusters_from`."""

    def __init__(self, folder: Path, seed: int, jolokia_port: int, web_port: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.config = folder / "ringcheck.yaml"
        self.clusters: dict[str, Churned] = {}
        self._parts = folder / "clusters.d"
        self._parts.mkdir()
        self._addresses = Addresses()
        self._port = jolokia_port
        self._opened: dict[str, ExitStack] = {}
        self._made = 0
        # Polls happen only when the soak asks for them.
        agent = {"listen": f"127.0.0.1:{web_port}", "interval": "1h"}
        self.config.write_text(yaml.safe_dump({"agent": agent, "clusters_from": ["clusters.d/*.yaml"]}))
        for _ in range(STAYING + PASSING):
            self.add()

    def add(self) -> None:
        """Add a cluster to the fleet and to the configuration."""
        name, self._made = f"c{self._made:05}", self._made + 1
        churned = Churned(name, self._addresses, self._port, self.chance)
        stack = self._opened[name] = ExitStack()
        stack.enter_context(churned.server)
        self.clusters[name] = churned
        (self._parts / f"{name}.yaml").write_text(yaml.safe_dump({"clusters": {name: churned.document()}}))

    def remove(self, name: str) -> None:
        """Take a cluster out of the fleet and the configuration."""
        (self._parts / f"{name}.yaml").unlink()
        self._opened.pop(name).close()
        del self.clusters[name]

    def exchange(self) -> None:
        """Replace a cluster that comes and goes by a new one."""
        self.remove(self.chance.choice(list(self.clusters)[STAYING:]))
        self.add()

    def step(self) -> None:
        """Let something happen to every cluster."""
        for churned in self.clusters.values():
            churned.step()

    def rest(self) -> None:
        """Bring all clusters back to the state in which they began."""
        for churned in self.clusters.values():
            churned.rest()

    def close(self) -> None:
        """Stop serving."""
        for name in list(self.clusters):
            self.remove(name)
