"""The embedded cluster: nodes, keyspaces, what each node believes, and how it changes.

Owns the state of a whole Cassandra cluster as far as it shows over JMX; knows nothing of Jolokia or sockets. The
clock is passed in. What a node tells depends on the time it is asked: startups, drains and convictions take their
real seconds, multiplied by `time_factor`.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.ring import Factor, Replication
from ringcheck.errors import UsageError
from ringcheck.simulator.gossip import ChangeKind, Gossip
from ringcheck.simulator.placement import (
    Gains,
    Movement,
    Row,
    SimPlace,
    TokenRing,
    even_tokens,
    pending,
    place,
    random_tokens,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ringcheck.simulator.faults import Fault

Process: TypeAlias = Literal["running", "paused", "killed"]

LOCAL = Replication("LocalStrategy")

# Startup on existing data: (phase, seconds after the process start), as recorded from each line of releases.
#   refused       nothing listens
#   unregistered  Jolokia answers, no MBean of Cassandra is there
#   snitch        EndpointSnitchInfo is there, StorageService is not
#   starting      no tokens, LiveNodes=[self]
#   own           own tokens only
#   ring          the whole ring, no peer in any list
#   alone         the whole ring, every peer unreachable, STARTING
#   newborn       a first start: NORMAL, own tokens, no peer
#   normal-alone  NORMAL, every peer unreachable
#   normal        all peers live, CQL off
#   up            as before
STARTUPS: dict[str, tuple[tuple[str, float], ...]] = {
    "2.2": (("refused", 0), ("unregistered", 0.8), ("starting", 3.7), ("normal-alone", 10.0), ("normal", 10.6),
            ("up", 18.4)),
    "3.0": (("refused", 0), ("unregistered", 0.4), ("starting", 2.1), ("own", 4.6), ("normal-alone", 7.2),
            ("normal", 8.0), ("up", 15.2)),
    "4.0": (("refused", 0), ("unregistered", 0.4), ("starting", 1.6), ("own", 3.5), ("alone", 4.0),
            ("normal-alone", 5.3), ("normal", 6.2), ("up", 13.8)),
    "4.1": (("refused", 0), ("unregistered", 0.8), ("starting", 3.0), ("own", 4.7), ("ring", 5.3), ("alone", 5.8),
            ("normal", 7.3), ("up", 15.4)),
    "5.0": (("refused", 0), ("unregistered", 0.4), ("snitch", 2.7), ("alone", 9.8), ("normal-alone", 11.2),
            ("normal", 12.1), ("up", 19.4)),
}  # fmt: skip
PHASES = ("refused", "unregistered", "snitch", "starting", "own", "ring", "alone", "newborn", "normal-alone", "normal",
          "up")  # fmt: skip
UNKNOWN = SimPlace("UNKNOWN_DC", "UNKNOWN_RACK")  # what GossipingPropertyFileSnitch says of those it does not know
GOSSIPING = ("normal-alone", "normal", "up")
NORMAL_PHASES = ("newborn", *GOSSIPING)


def version_of(release: str) -> tuple[int, ...]:
    """`5.0.8` as numbers."""
    return tuple(int(part) for part in release.partition("-")[0].split("."))


@dataclass(frozen=True, slots=True)
class SimAgent:
    """How a node's Jolokia is set up.

    Attributes:
        line: `1` (1.7.2) or `2` (2.2.9).
        user: with `password`, what basic authentication asks for.
        limits: maxCollectionSize, maxObjects, maxDepth; 0 or absent is none.
        allowed: MBean -> attributes and operations that the access policy allows; None is no policy.
    """

    line: str = "2"
    user: str | None = None
    password: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    allowed: Mapping[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node to be made; tokens may be empty where the cluster draws them."""

    address: str
    datacenter: str = "dc1"
    rack: str = "r1"
    tokens: tuple[int, ...] = ()
    release: str = "5.0.8"
    jolokia: str = "2"
    host_id: str | None = None
    generation: int | None = None


@dataclass(frozen=True)
class SimTopology:
    """Who owns which tokens and who is about to; replaced, never changed, so that a view can be frozen.

    Attributes:
        ring: tokens of nodes that own ranges, leaving ones included.
        movement: who joins, leaves or moves.
        members: nodes that gossip knows, joining ones included.
        places: datacenter and rack of every node ever, by index.
    """

    ring: TokenRing
    movement: Movement
    members: frozenset[int]
    places: tuple[SimPlace, ...]
    cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def rows(self, replication: Replication, release: tuple[int, ...]) -> list[Row]:
        """Natural endpoints of each range of the ring."""
        key = ("rows", replication, release < (3, 2))
        if key not in self.cache:
            self.cache[key] = place(self.ring, replication, self.places, release)
        rows: list[Row] = self.cache[key]
        return rows

    def gains(self, replication: Replication, release: tuple[int, ...]) -> Gains:
        """Pending endpoints of each range in movement."""
        key = ("gains", replication, release < (3, 2))
        if key not in self.cache:
            self.cache[key] = pending(self.ring, replication, self.places, release, self.movement)
        gains: Gains = self.cache[key]
        return gains

    @cached_property
    def joining(self) -> tuple[int, ...]:
        """Nodes that join, in no order that matters."""
        return tuple([node for node, _ in self.movement.joining])

    @cached_property
    def tokens(self) -> dict[int, int]:
        """Owner of every token, joining ones included."""
        owners = dict(zip(self.ring.tokens, self.ring.owners, strict=True))
        return owners | {token: node for node, tokens in self.movement.joining for token in tokens}


@dataclass(frozen=True)
class SimView:
    """What one node tells of the others at one time.

    Attributes:
        topology: the ring as it knows it.
        down: members that it lists as unreachable.
        unknown: members that it lists nowhere.
        hosts: members whose host id it knows.
        cache: encoded values, shared by all nodes with an equal view.
    """

    topology: SimTopology
    down: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    hosts: frozenset[int] | None = None
    cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def live(self) -> tuple[int, ...]:
        """Members listed as live."""
        return tuple(sorted(self.topology.members - self.down - self.unknown))

    @cached_property
    def unreachable(self) -> tuple[int, ...]:
        """Members listed as unreachable."""
        return tuple(sorted(self.down & self.topology.members))


@dataclass(slots=True)
class SimNode:
    """One node and its state; changed only by its cluster.

    Attributes:
        index: its place in the cluster's list, for good.
        process: what the operating system would say.
        mode: OperationMode once it is up: NORMAL, JOINING, LEAVING, MOVING or DECOMMISSIONED.
        frozen: the view of a node that no longer gossips.
        starting_at: process start of a startup that is not over.
        held: phase at which the startup stands still.
        drained_at: when its drain ends or ended.
        busy_until: Jolokia runs one request at a time; until then a long exec runs.
        clean: it was stopped after a drain or announcement, so its saved peers are on disk and not in the commit log.
        streams: how many streams it takes part in, each of one file.
        misled: its snitch was asked before those were read; its own rings know no peer's datacenter until gossip does.
    """

    index: int
    spec: NodeSpec
    agent: SimAgent
    host_id: str
    generation: int
    tokens: tuple[int, ...]
    born_at: float
    process: Process = "running"
    mode: str = "NORMAL"
    gossip: bool = True
    native: bool = True
    frozen: SimView | None = None
    starting_at: float | None = None
    held: str | None = None
    drained_at: float | None = None
    busy_until: float = 0.0
    clean: bool = False
    misled: bool = False
    streams: int = 0
    fault: Fault | None = None
    counters: Counter[str] = field(default_factory=Counter)  # `Read-LOCAL_QUORUM,Latency` -> requests

    @property
    def address(self) -> str:
        """Address as its spec writes it."""
        return self.spec.address

    @property
    def release(self) -> tuple[int, ...]:
        """Its version in numbers."""
        return version_of(self.spec.release)


def uniform(  # noqa: PLR0913 - each is a knob of the command line
    nodes: int = 4,
    *,
    datacenters: int = 1,
    racks: int = 1,
    vnodes: int = 16,
    release: str = "5.0.8",
    jolokia: str = "2",
    seed: int = 1,
    tokens: str = "random",
    addresses: Callable[[int], str] | None = None,
) -> list[NodeSpec]:
    """Specs of a cluster with its nodes spread evenly over datacenters and racks.

    Args:
        nodes: how many in all.
        datacenters: named dc1, dc2, ...
        racks: in each datacenter, named r1, r2, ...
        vnodes: tokens a node.
        release: of all nodes.
        jolokia: line of all agents.
        seed: of random tokens.
        tokens: `random`, or `even` as Cassandra's allocation would have it.
        addresses: address of a node by its number from 0; default `loopback_address`.
    """
    address = addresses or loopback_address
    drawn = even_tokens(nodes, vnodes) if tokens == "even" else random_tokens(nodes, vnodes, seed)
    return [
        NodeSpec(
            address(number),
            f"dc{number % datacenters + 1}",
            f"r{number // datacenters % racks + 1}",
            tuple(drawn[number]),
            release,
            jolokia,
        )
        for number in range(nodes)
    ]


def loopback_address(number: int) -> str:
    """127.0.1.1, 127.0.1.2, ...: whoever is asked by mistake for a node's own port is this host, and nobody else."""
    return f"127.0.{number // 250 + 1}.{number % 250 + 1}"


def ipv6_address(number: int) -> str:
    """2001:db8::1, ... (RFC 3849)."""
    return f"2001:db8::{number + 1:x}"


def stock_keyspaces(release: str = "5.0.8") -> dict[str, Replication]:
    """What every cluster has: replication of the system keyspaces as installed.

    The order is as real nodes list them: where a keyspace is null, the first is meant.
    """
    version = version_of(release)
    stock = {"system_traces": simple(2), "system_distributed": simple(3), "system_auth": simple(1)}
    first = "system_traces" if version >= (4, 1) else "system_auth" if version >= (4, 0) else "system_distributed"
    local = {"system": LOCAL} | ({"system_schema": LOCAL} if version >= (3, 0) else {})
    return {first: stock[first], **stock, **local}


def simple(factor: int) -> Replication:
    """SimpleStrategy with a factor."""
    return Replication.of("SimpleStrategy", {"replication_factor": Factor(factor)})


def topology(**factors: int) -> Replication:
    """NetworkTopologyStrategy with a factor a datacenter."""
    return Replication.of("NetworkTopologyStrategy", {name: Factor(factor) for name, factor in factors.items()})


def default_keyspaces(specs: Sequence[NodeSpec], factor: int = 3, more: int = 0) -> dict[str, Replication]:
    """The article's `blog_1` and `blog_3`, `orders` with a factor in each datacenter, more like it, and stock ones."""
    names = sorted({spec.datacenter for spec in specs})
    everywhere = topology(**dict.fromkeys(names, factor))
    blogs = {"blog_1": simple(1), "blog_3": simple(3)}
    if len(names) > 1:  # SimpleStrategy over several datacenters would be a mistake of its own
        blogs = {"blog_1": topology(**{names[0]: 1}), "blog_3": topology(**dict.fromkeys(names, 3))}
    extra = {f"ks_{number:03d}": everywhere for number in range(1, more + 1)}
    return {**stock_keyspaces(specs[0].release), **blogs, "orders": everywhere, **extra}


class EmbeddedCluster:
    """A cluster that answers as real ones do.

    Nodes are named by address, host id or index in all methods. Methods that change state are safe to call from
    another thread than the server's.
    """

    def __init__(  # noqa: PLR0913 - all but the nodes have defaults
        self,
        specs: Sequence[NodeSpec],
        keyspaces: Mapping[str, Replication] | None = None,
        *,
        name: str = "embedded",
        seed: int = 1,
        time_factor: float = 1.0,
        clock: Callable[[], float] = time.time,
        authenticates: bool = False,
    ) -> None:
        self.name = name
        self.clock = clock
        self.time_factor = time_factor
        self.authenticates = authenticates
        self.auth_read_level = "LOCAL_QUORUM"  # `auth_read_consistency_level` as installed, 4.1+
        self.keyspaces = dict(keyspaces if keyspaces is not None else default_keyspaces(specs))
        self.partitioner = "org.apache.cassandra.dht.Murmur3Partitioner"
        self.lock = threading.RLock()
        self.gossip = Gossip(seed)
        self.nodes: list[SimNode] = []
        self.version = 0  # counts changes
        self._due: dict[int, float] = {}  # nodes whose decommission ends by itself
        self._random = random.Random(seed)  # noqa: S311 - host ids and tokens of a simulation
        self._names: dict[str, int] = {}
        for spec in specs:
            self._add(spec, clock() - 60)
        owned = {node.index: node.tokens for node in self.nodes}
        self.topology = SimTopology(TokenRing.of(owned), Movement(), frozenset(owned), self._places())

    @classmethod
    def uniform(  # noqa: PLR0913 - the sum of what specs and clusters take
        cls,
        nodes: int = 4,
        *,
        rf: int = 3,
        more_keyspaces: int = 0,
        keyspaces: Mapping[str, Replication] | None = None,
        time_factor: float = 1.0,
        clock: Callable[[], float] = time.time,
        name: str = "embedded",
        **layout: Any,  # noqa: ANN401 - passed on to `uniform`
    ) -> EmbeddedCluster:
        """A cluster of equal nodes; see the function `uniform` for its layout."""
        specs = uniform(nodes, **layout)
        chosen = keyspaces if keyspaces is not None else default_keyspaces(specs, rf, more_keyspaces)
        seed = layout.get("seed", 1)
        return cls(specs, chosen, name=name, seed=seed, time_factor=time_factor, clock=clock)

    # --- what is

    def node(self, name: str | int) -> SimNode:
        """The node of an address, host id or index.

        Raises:
            UsageError: if there is none.
        """
        if isinstance(name, int):
            return self.nodes[name]
        try:
            return self.nodes[self._names[name.strip("[]").lower()]]
        except KeyError:
            raise UsageError(f"the embedded cluster has no node {name}") from None

    def now(self) -> float:
        """The clock's time."""
        return self.clock()

    def phase(self, node: SimNode, now: float) -> str:
        """Where a node is in its startup; `up` after it."""
        if node.starting_at is None:
            return "up"
        if node.held is not None:
            return node.held
        elapsed, current = now - node.starting_at, "refused"
        for phase, seconds in self._startup(node):
            if elapsed >= seconds * self.time_factor:
                current = phase
        return current

    def mode(self, node: SimNode, now: float) -> str:
        """OperationMode."""
        if self.phase(node, now) not in NORMAL_PHASES:
            return "STARTING"
        if node.drained_at is not None:
            return "DRAINED" if now >= node.drained_at else "DRAINING"
        return node.mode

    def gossiping(self, node: SimNode, now: float) -> bool:
        """GossipRunning."""
        return node.gossip and self.phase(node, now) in {*GOSSIPING, "newborn"}

    def serving(self, node: SimNode, now: float) -> bool:
        """NativeTransportRunning."""
        return node.native and node.mode not in {"JOINING", "DECOMMISSIONED"} and self.phase(node, now) == "up"

    def view(self, node: SimNode, now: float) -> SimView:
        """What a node tells of the others."""
        if node.frozen is not None:
            return node.frozen
        phase = self.phase(node, now)
        if phase in {"normal", "up"}:
            return self._shared_view(self.gossip.down(node.index, now) & self.topology.members)
        return self._startup_view(node, phase)

    def schema_version(self, node: SimNode) -> str:
        """One version a major release: the schema tables differ (3.11/4.0, 4.1/5.0)."""
        return str(uuid.uuid3(uuid.NAMESPACE_DNS, f"{self.name} {node.release[:2]} {','.join(self.keyspaces)}"))

    def heartbeat(self, node: SimNode, now: float) -> int:
        """Gossip heartbeat: one a second, standing still where gossip does."""
        return int(now - node.born_at) + 60 if self.gossiping(node, now) and node.process == "running" else 60

    def reachable(self, observer: SimNode, node: SimNode, now: float) -> bool:
        """Whether a message from one node to another is answered, whatever gossip believes."""
        cut = any(node.index in one.side(observer.index) for one in self.gossip.cuts if one.healed_at is None)
        return not cut and node.process == "running" and self.mode(node, now) not in {"DRAINED", "DECOMMISSIONED"}

    def snitch(self, observer: SimNode, node: SimNode, now: float) -> SimPlace:
        """Where a node's snitch believes another to be.

        Asked before the replay of the commit log has restored the saved peers, it knows none, remembers that, and the
        node's own rings shrink until gossip tells it better (seen on 3.11, 4.1 and 5.0 after kill -9).
        """
        if observer is not node and not observer.clean and self.phase(observer, now) not in GOSSIPING:
            observer.misled = True
        misled = observer.misled and self.phase(observer, now) not in {"normal", "up"}
        return UNKNOWN if misled and observer is not node else SimPlace(node.spec.datacenter, node.spec.rack)

    def state(self) -> dict[str, Any]:
        """A summary for people and the control API."""
        with self.lock:
            now = self.now()
            return {
                "cluster": self.name,
                "nodes": [self._node_state(node, now) for node in self.nodes],
                "joining": [self.nodes[index].address for index in self.topology.joining],
                "leaving": [self.nodes[index].address for index in sorted(self.topology.movement.leaving)],
                "moving": [self.nodes[index].address for index, _ in self.topology.movement.moving],
                "cuts": [
                    [[self.nodes[index].address for index in sorted(side)] for side in (cut.one, cut.other)]
                    for cut in self.gossip.cuts
                    if cut.healed_at is None
                ],
                "keyspaces": {name: str(replication) for name, replication in self.keyspaces.items()},
            }

    def _node_state(self, node: SimNode, now: float) -> dict[str, Any]:
        return {
            "address": node.address,
            "host_id": node.host_id,
            "datacenter": node.spec.datacenter,
            "rack": node.spec.rack,
            "release": node.spec.release,
            "jolokia": node.agent.line,
            "process": node.process,
            "phase": self.phase(node, now),
            "mode": self.mode(node, now),
            "gossip": node.process == "running" and self.gossiping(node, now),
            "native": node.process == "running" and self.serving(node, now),
            "fault": node.fault and node.fault.kind,
        }

    # --- what changes

    def down(self, name: str | int, *, instant: bool = False) -> None:
        """`kill -9`: refuses connections; its peers convict it after 18 to 30 s, or at once."""
        with self._changing() as now:
            node = self.node(name)
            node.process, node.starting_at, node.clean = "killed", None, node.drained_at is not None
            self.gossip.change(node.index, "silent", now, self._factor(instant))

    def stop(self, name: str | int) -> None:
        """SIGTERM: announced to the peers, then the process ends."""
        with self._changing() as now:
            node = self.node(name)
            self.gossip.change(node.index, "announced", now, self._announced(node))
            node.process, node.starting_at, node.clean = "killed", None, True

    def up(self, name: str | int, *, instant: bool = False, hold: str | None = None) -> None:
        """Start a node on its data: through the startup views of its release, or at once.

        Args:
            name: the node.
            instant: skip the startup.
            hold: phase (see STARTUPS) at which it stands still until `proceed`.
        """
        if hold is not None and hold not in PHASES:
            raise UsageError(f"there is no startup phase {hold}: choose from {', '.join(PHASES)}")
        with self._changing() as now:
            node = self.node(name)
            node.process, node.mode, node.gossip, node.native = "running", "NORMAL", True, True
            node.frozen, node.drained_at, node.busy_until, node.misled = None, None, 0.0, False
            node.held, node.streams = hold, 0
            node.starting_at = None if instant and hold is None else now
            node.generation = max(node.generation + 1, int(now))
            node.born_at = now
            if hold is None or hold in GOSSIPING:
                self.gossip.change(node.index, "up", now + self._until_gossip(node), self._factor(instant))

    def proceed(self, name: str | int) -> None:
        """Let a held startup go on from where it stands."""
        with self._changing() as now:
            node = self.node(name)
            if node.held is None:
                return
            seconds = dict(self._startup(node)).get(node.held, 0.0)
            held, node.held = node.held, None
            node.starting_at = now - seconds * self.time_factor
            if held not in GOSSIPING:
                self.gossip.change(node.index, "up", now + self._until_gossip(node) - (now - node.starting_at), 1.0)

    def pause(self, name: str | int, *, instant: bool = False) -> None:
        """SIGSTOP: connections are accepted and never answered."""
        with self._changing() as now:
            node = self.node(name)
            node.process = "paused"
            self.gossip.change(node.index, "silent", now, self._factor(instant))

    def resume(self, name: str | int, *, instant: bool = False) -> None:
        """SIGCONT: it answers at once, with everyone live whom it saw live before."""
        with self._changing() as now:
            node = self.node(name)
            node.process = "running"
            self.gossip.resume(node.index, now, self._factor(instant))

    def drain(self, name: str | int, *, instant: bool = False) -> float:
        """Drain, as the exec does; the node's own view freezes.

        Returns:
            Seconds until it is DRAINED; Jolokia answers nothing else meanwhile.
        """
        with self._changing() as now:
            node = self.node(name)
            self._freeze(node, now)
            node.native = False
            factor = 0.0 if instant else self.time_factor
            seconds = (2.1 if (3, 0) <= node.release < (4, 0) else 4.3) * factor
            node.drained_at = now + seconds
            self.gossip.change(node.index, "announced", now, self._announced(node, factor))
            return seconds

    def stream(self, name: str | int, streams: int = 1) -> None:
        """Let a node take part in so many streams, as a repair or a rebuild would; 0 ends them. A stop does too."""
        with self._changing():
            self.node(name).streams = streams

    def gossip_off(self, name: str | int, *, instant: bool = False) -> float:
        """`disablegossip`: its view freezes, and it goes on coordinating with it.

        Returns:
            Seconds that the exec takes.
        """
        with self._changing() as now:
            node = self.node(name)
            self._freeze(node, now)
            kind: ChangeKind = "stopped" if node.release >= (4, 0) and not instant else "announced"
            self.gossip.change(node.index, kind, now, self._factor(instant))
            return 0.0 if instant else 2.0 * self.time_factor

    def gossip_on(self, name: str | int, *, instant: bool = False) -> None:
        """`enablegossip`: a new generation without a restart."""
        with self._changing() as now:
            node = self.node(name)
            node.gossip, node.frozen = True, None
            node.generation = max(node.generation + 1, int(now))
            self.gossip.change(node.index, "up", now, self._factor(instant))

    def binary_off(self, name: str | int) -> None:
        """`disablebinary`: no CQL; nobody else notices."""
        with self._changing():
            self.node(name).native = False

    def binary_on(self, name: str | int) -> None:
        """`enablebinary`."""
        with self._changing():
            self.node(name).native = True

    def join(self, spec: NodeSpec | None = None) -> SimNode:
        """A new node bootstraps: in LiveNodes and JoiningNodes of all, its ranges pending until `finish`."""
        with self._changing() as now:
            chosen = spec or self._spare_spec()
            if not chosen.tokens:
                chosen = replace(chosen, tokens=self._free_tokens(len(self.nodes[0].tokens)))
            node = self._add(chosen, now)
            node.mode = "JOINING"
            moved = self.topology.movement
            joining = (*moved.joining, (node.index, node.tokens))
            self._reshape(movement=replace(moved, joining=joining), members=self.topology.members | {node.index})
            return node

    def leave(self, name: str | int) -> None:
        """Decommission: its ranges go to others, pending until `finish`; it owns them until then."""
        with self._changing():
            node = self.node(name)
            node.mode = "LEAVING"
            moved = self.topology.movement
            self._reshape(movement=replace(moved, leaving=moved.leaving | {node.index}))

    def decommission(self, name: str | int) -> float:
        """Decommission as the exec does: `leave`, then `finish` by itself.

        Returns:
            Seconds that it takes; Jolokia answers nothing else meanwhile.
        """
        with self._changing() as now:
            self.leave(name)
            seconds = 32.0 * self.time_factor
            self._due[self.node(name).index] = now + seconds
            return seconds

    def settle(self, now: float) -> None:
        """Do what is due; called before each answer."""
        for index in [index for index, at in self._due.items() if at <= now]:
            del self._due[index]
            self.finish(index)

    def move(self, name: str | int, token: int) -> None:
        """Move a node that has one token to another, pending until `finish`."""
        with self._changing():
            node = self.node(name)
            if len(node.tokens) != 1:
                raise UsageError("only a node with one token can move")
            node.mode = "MOVING"
            moved = self.topology.movement
            self._reshape(movement=replace(moved, moving=(*moved.moving, (node.index, token))))

    def finish(self, name: str | int) -> None:
        """End a node's join, leave or move."""
        with self._changing() as now:
            node = self.node(name)
            mode, node.mode = node.mode, "NORMAL"
            moved, ring, members = self.topology.movement, self.topology.ring, self.topology.members
            if mode == "JOINING":
                ring = ring.with_tokens(node.index, node.tokens)
                moved = replace(moved, joining=tuple(item for item in moved.joining if item[0] != node.index))
            elif mode == "LEAVING":
                self._part(node, now)
                ring, members = ring.without({node.index}), members - {node.index}
                moved = replace(moved, leaving=moved.leaving - {node.index})
            elif mode == "MOVING":
                node.tokens = tuple(token for index, token in moved.moving if index == node.index)
                ring = ring.without({node.index}).with_tokens(node.index, node.tokens)
                moved = replace(moved, moving=tuple(item for item in moved.moving if item[0] != node.index))
            self._reshape(ring=ring, movement=moved, members=members)
            if node.frozen is not None:  # it lists itself among the live, but no longer owns anything
                node.frozen = SimView(self.topology, node.frozen.down, cache={"live": node.frozen.live})

    def partition(
        self, one: Iterable[str | int], other: Iterable[str | int] | None = None, *, instant: bool = False
    ) -> None:
        """Cut two sets of nodes off from each other; without the second, all that are not in the first."""
        with self._changing() as now:
            here = {self.node(name).index for name in one}
            there = (
                {node.index for node in self.nodes} - here
                if other is None
                else {self.node(name).index for name in other}
            )
            self.gossip.cut(here, there, now, self._factor(instant))

    def heal(self) -> None:
        """End all partitions."""
        with self._changing() as now:
            self.gossip.heal(now)

    def set_fault(self, name: str | int, fault: Fault | None) -> None:
        """Make a node's Jolokia misbehave, or stop that."""
        with self._changing():
            self.node(name).fault = fault

    def configure(self, name: str | int, agent: SimAgent) -> None:
        """Set up a node's Jolokia: authentication, policy, limits."""
        with self._changing():
            self.node(name).agent = agent

    def upgrade(self, name: str | int, release: str) -> None:
        """Put another release on a node; meant for one that is down."""
        with self._changing():
            node = self.node(name)
            node.spec = replace(node.spec, release=release)

    def create_keyspace(self, name: str, replication: Replication) -> None:
        """Add a keyspace, on all nodes at once."""
        with self._changing():
            self.keyspaces[name] = replication

    # --- how

    def _changing(self) -> _Changing:
        return _Changing(self)

    def _factor(self, instant: bool) -> float:  # noqa: FBT001 - passed on from keyword-only arguments
        return 0.0 if instant else self.time_factor

    def _announced(self, node: SimNode, factor: float | None = None) -> float:
        """2.2 takes 2 s longer to tell its peers."""
        base = self.time_factor if factor is None else factor
        return base * (9.2 if node.release < (3, 0) else 1.0)

    def _startup(self, node: SimNode) -> tuple[tuple[str, float], ...]:
        known = [line for line in STARTUPS if version_of(line) <= node.release[:2]]
        return STARTUPS[known[-1] if known else "2.2"]

    def _until_gossip(self, node: SimNode) -> float:
        """Seconds from process start to gossip; none where the startup is skipped or held behind it."""
        if node.starting_at is None or node.held is not None:
            return 0.0
        return min(at for phase, at in self._startup(node) if phase in GOSSIPING) * self.time_factor

    def _add(self, spec: NodeSpec, now: float) -> SimNode:
        index = len(self.nodes)
        drawn = uuid.UUID(int=self._random.getrandbits(128), version=4)
        host_id, generation = spec.host_id or str(drawn), spec.generation or int(now)
        node = SimNode(index, spec, SimAgent(spec.jolokia), host_id, generation, tuple(spec.tokens), now)
        self.nodes.append(node)
        self._names |= {spec.address.lower(): index, host_id: index}
        return node

    def _places(self) -> tuple[SimPlace, ...]:
        return tuple([SimPlace(node.spec.datacenter, node.spec.rack) for node in self.nodes])

    def _reshape(
        self,
        *,
        ring: TokenRing | None = None,
        movement: Movement | None = None,
        members: frozenset[int] | None = None,
    ) -> None:
        old = self.topology
        self.topology = SimTopology(
            old.ring if ring is None else ring,
            old.movement if movement is None else movement,
            old.members if members is None else members,
            self._places(),
        )

    def _freeze(self, node: SimNode, now: float) -> None:
        node.frozen = node.frozen or self.view(node, now)
        node.gossip = False

    def _part(self, node: SimNode, now: float) -> None:
        """A decommissioned node: in nobody's list, its own view frozen with everyone and itself."""
        self._freeze(node, now)
        node.mode, node.native = "DECOMMISSIONED", False
        self.gossip.forget(node.index)

    def _shared_view(self, down: frozenset[int]) -> SimView:
        views = self.topology.cache.setdefault("views", {})
        if down not in views:
            if len(views) > 256:  # convictions under way: each observer may differ  # noqa: PLR2004
                views.clear()
            views[down] = SimView(self.topology, down)
        found: SimView = views[down]
        return found

    def _startup_view(self, node: SimNode, phase: str) -> SimView:
        key = ("startup", node.index, phase, node.misled)
        if key not in self.topology.cache:
            self.topology.cache[key] = self._make_startup_view(node, phase)
        found: SimView = self.topology.cache[key]
        return found

    def _make_startup_view(self, node: SimNode, phase: str) -> SimView:
        whole, me = self.topology, frozenset({node.index})
        if node.misled:
            places = tuple(place if index == node.index else UNKNOWN for index, place in enumerate(whole.places))
            whole = SimTopology(whole.ring, whole.movement, whole.members, places)
        if phase in {"ring", "alone", "normal-alone"}:
            others = whole.members - me
            hosts = None if phase == "normal-alone" else others if node.release >= (4, 0) else frozenset()
            if phase == "ring":
                return SimView(whole, unknown=others, hosts=hosts)
            return SimView(whole, down=others, hosts=hosts)
        tokens = node.tokens if phase in {"own", "newborn"} else ()
        alone = SimTopology(TokenRing.of({node.index: tokens}), Movement(), me, whole.places)
        return SimView(alone, hosts=me if phase == "newborn" else frozenset())

    def _spare_spec(self) -> NodeSpec:
        first, taken = self.nodes[0].spec, set(self._names)
        make = ipv6_address if ":" in first.address else loopback_address
        address = next(address for number in count(len(self.nodes)) if (address := make(number)) not in taken)
        return replace(first, address=address, tokens=(), host_id=None, generation=None)

    def _free_tokens(self, vnodes: int) -> tuple[int, ...]:
        taken = self.topology.tokens
        drawn: set[int] = set()
        while len(drawn) < vnodes:
            token = self._random.randrange(-(2**63) + 1, 2**63)
            drawn |= {token} - taken.keys()
        return tuple(sorted(drawn))


class _Changing:
    """Holds the lock during a change and counts it."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._cluster = cluster

    def __enter__(self) -> float:
        self._cluster.lock.acquire()
        self._cluster.version += 1
        return self._cluster.now()

    def __exit__(self, *_: object) -> None:
        self._cluster.lock.release()
