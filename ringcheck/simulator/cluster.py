"""The embedded cluster: nodes, keyspaces, what each node believes, and how all of it changes.

Owns the state of a whole Cassandra cluster as far as JMX shows it; knows nothing of Jolokia or sockets. The clock
is passed in. What a node reports depends on the time at which it is asked: startups, drains and convictions take as
long as on real nodes, multiplied by `time_factor`.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.ring import Factor, Replication
from ringcheck.errors import UsageError
from ringcheck.simulator.gossip import ChangeKind, Gossip
from ringcheck.simulator.metadata import KEYSPACE as METADATA_KEYSPACE
from ringcheck.simulator.metadata import SINCE as METADATA_SINCE
from ringcheck.simulator.metadata import SimMetadata, log_replication
from ringcheck.simulator.placement import (
    Gains,
    Movement,
    SimPlace,
    SimRow,
    TokenRing,
    even_tokens,
    pending,
    place,
    random_tokens,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ringcheck.simulator.faults import Fault

SimProcess: TypeAlias = Literal["running", "paused", "killed"]

LOCAL = Replication("LocalStrategy")

# Startup on existing data: (phase, seconds after the process start), as recorded from each release line.
#   refused       nothing listens
#   unregistered  Jolokia answers, no MBean of Cassandra is registered
#   snitch        EndpointSnitchInfo is registered, StorageService is not
#   starting      no tokens, LiveNodes=[self]
#   own           own tokens only
#   ring          the whole ring, no peer in any list
#   alone         the whole ring, every peer unreachable, STARTING
#   newborn       a first start: NORMAL, own tokens, no peer
#   normal-alone  NORMAL, every peer unreachable
#   normal        all peers live, CQL off
#   up            CQL on
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
UNKNOWN = SimPlace("UNKNOWN_DC", "UNKNOWN_RACK")  # GossipingPropertyFileSnitch's answer for an unknown node
GOSSIPING = ("normal-alone", "normal", "up")
NORMAL_PHASES = ("newborn", *GOSSIPING)


def version_of(release: str) -> tuple[int, ...]:
    """A release such as `5.0.8` as a tuple of numbers, without what follows a hyphen."""
    return tuple(int(part) for part in release.partition("-")[0].split("."))


@dataclass(frozen=True, slots=True)
class SimAgent:
    """How a node's Jolokia is set up.

    Attributes:
        line: major version of Jolokia, `1` (1.7.2) or `2` (2.2.9).
        user: user name for basic authentication; None for no authentication.
        password: of that user.
        limits: maxCollectionSize, maxObjects, maxDepth; 0 or absent means no limit.
        allowed: attributes and operations that the access policy allows, by MBean; None means no policy.
    """

    line: str = "2"
    _: KW_ONLY
    user: str | None = None
    password: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    allowed: Mapping[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a new node is made of. Tokens may be empty for `join`, which draws them."""

    address: str
    _: KW_ONLY
    datacenter: str = "dc1"
    rack: str = "r1"
    tokens: tuple[int, ...] = ()
    release: str = "5.0.8"
    paxos_variant: str = "v1"
    jolokia: str = "2"
    host_id: str | None = None
    generation: int | None = None


@dataclass(frozen=True, kw_only=True)
class SimTopology:
    """Which nodes own which tokens, or will own them; replaced and never changed, so that a view can be frozen.

    Attributes:
        ring: tokens of the nodes that own ranges, including leaving ones.
        movement: which nodes join, leave or move.
        members: nodes that gossip knows, including joining ones.
        places: datacenter and rack of every node there ever was, by index.
        cache: computed values; they depend on this topology alone.
    """

    ring: TokenRing
    movement: Movement
    members: frozenset[int]
    places: tuple[SimPlace, ...]
    cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def rows(self, replication: Replication, release: tuple[int, ...]) -> list[SimRow]:
        """Natural endpoints of each range of the ring."""
        key = ("rows", replication, release < (3, 2))
        if key not in self.cache:
            self.cache[key] = place(self.ring, replication, self.places, release)
        rows: list[SimRow] = self.cache[key]
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
        """Nodes that join; their order has no meaning."""
        return tuple([node for node, _ in self.movement.joining])

    @cached_property
    def tokens(self) -> dict[int, int]:
        """Owner of every token, including those of joining nodes."""
        owners = dict(zip(self.ring.tokens, self.ring.owners, strict=True))
        return owners | {token: node for node, tokens in self.movement.joining for token in tokens}


@dataclass(frozen=True)
class SimView:
    """What one node reports about the others at one time.

    Attributes:
        topology: the ring as the node knows it.
        down: members that it lists as unreachable.
        unknown: members that it lists nowhere.
        hosts: members whose host id it knows; None for all.
        cache: encoded values, shared by all nodes with an equal view.
    """

    topology: SimTopology
    _: KW_ONLY
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


@dataclass(slots=True, kw_only=True)
class SimNode:
    """One node and its state; changed only by its cluster.

    Attributes:
        index: its position in the cluster's list; it never changes.
        spec: what it was made of.
        agent: its Jolokia.
        host_id: its identity.
        generation: gossip generation.
        tokens: that it owns, or will own once it has joined.
        born_at: start of its process; for the first nodes, one minute before the cluster was made.
        process: state of its process.
        mode: OperationMode once it is up: NORMAL, JOINING, LEAVING, MOVING or DECOMMISSIONED.
        gossip: whether its gossip was not switched off.
        native: whether its native transport was not switched off.
        frozen: the view of a node that no longer gossips; None for others.
        starting_at: process start of a startup that is not over.
        held: the phase at which its startup is held.
        drained_at: when its drain ends or ended.
        busy_until: end of a long exec; Jolokia runs one request at a time.
        clean: it was stopped after a drain or an announcement, so its saved peers are on disk, not in the commit log.
        misled: its snitch was asked before the saved peers were read, so its own rings place no peer until gossip does.
        streams: how many streams it takes part in, each of one file.
        fault: what its Jolokia does wrong.
        counters: client requests by name, such as `Read-LOCAL_QUORUM,Latency`.
    """

    index: int
    spec: NodeSpec
    agent: SimAgent
    host_id: str
    generation: int
    tokens: tuple[int, ...]
    born_at: float
    process: SimProcess = "running"
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
    counters: Counter[str] = field(default_factory=Counter)

    @property
    def address(self) -> str:
        """Its address, as written in the spec."""
        return self.spec.address

    @property
    def release(self) -> tuple[int, ...]:
        """Its release as numbers."""
        return version_of(self.spec.release)


def loopback_address(number: int) -> str:
    """127.0.1.1, 127.0.1.2, ...: a request to a node's own port by mistake never leaves this host."""
    return f"127.0.{number // 250 + 1}.{number % 250 + 1}"


def ipv6_address(number: int) -> str:
    """2001:db8::1, ... (RFC 3849)."""
    return f"2001:db8::{number + 1:x}"


@dataclass(frozen=True, slots=True)
class Layout:
    """A cluster of equal nodes, spread evenly over datacenters and racks.

    Attributes:
        nodes: how many in all.
        datacenters: how many, named dc1, dc2, ...
        racks: how many in each datacenter, named r1, r2, ...
        vnodes: tokens of each node.
        release: of all nodes.
        jolokia: major version of all agents.
        seed: of random tokens.
        tokens: `random`, or `even` as Cassandra's token allocation aims at.
        addresses: the address of a node by its number from 0.
    """

    nodes: int = 4
    _: KW_ONLY
    datacenters: int = 1
    racks: int = 1
    vnodes: int = 16
    release: str = "5.0.8"
    jolokia: str = "2"
    seed: int = 1
    tokens: str = "random"
    addresses: Callable[[int], str] = loopback_address

    def specs(self) -> list[NodeSpec]:
        """Its nodes."""
        even = self.tokens == "even"
        drawn = even_tokens(self.nodes, self.vnodes) if even else random_tokens(self.nodes, self.vnodes, self.seed)
        return [
            NodeSpec(
                self.addresses(number),
                datacenter=f"dc{number % self.datacenters + 1}",
                rack=f"r{number // self.datacenters % self.racks + 1}",
                tokens=tuple(drawn[number]),
                release=self.release,
                jolokia=self.jolokia,
            )
            for number in range(self.nodes)
        ]


def stock_keyspaces(release: str = "5.0.8") -> dict[str, Replication]:
    """Replication of the system keyspaces, as every cluster has it after its installation.

    The order is that of real nodes: an operation that is called with null means the first keyspace.
    """
    version = version_of(release)
    stock = {"system_traces": simple(2), "system_distributed": simple(3), "system_auth": simple(1)}
    first = "system_traces" if version >= (4, 1) else "system_auth" if version >= (4, 0) else "system_distributed"
    local = {"system": LOCAL} | ({"system_schema": LOCAL} if version >= (3, 0) else {})
    local |= {METADATA_KEYSPACE: log_replication(3)} if version >= METADATA_SINCE else {}
    return {first: stock[first], **stock, **local}


def simple(factor: int) -> Replication:
    """SimpleStrategy with a factor."""
    return Replication.of("SimpleStrategy", {"replication_factor": Factor(factor)})


def topology(**factors: int) -> Replication:
    """NetworkTopologyStrategy with a factor for each datacenter."""
    return Replication.of("NetworkTopologyStrategy", {name: Factor(factor) for name, factor in factors.items()})


def default_keyspaces(specs: Sequence[NodeSpec], factor: int = 3, more: int = 0) -> dict[str, Replication]:
    """The keyspaces of a cluster that names none.

    `blog_1` and `blog_3` are those of the article; `orders` has a factor in each datacenter, `more` keyspaces `ks_001`
    and so on are like it; the stock keyspaces come first.
    """
    names = sorted({spec.datacenter for spec in specs})
    everywhere = topology(**dict.fromkeys(names, factor))
    blogs = {"blog_1": simple(1), "blog_3": simple(3)}
    if len(names) > 1:  # SimpleStrategy over several datacenters would be a mistake of its own
        blogs = {"blog_1": topology(**{names[0]: 1}), "blog_3": topology(**dict.fromkeys(names, 3))}
    extra = {f"ks_{number:03d}": everywhere for number in range(1, more + 1)}
    return {**stock_keyspaces(specs[0].release), **blogs, "orders": everywhere, **extra}


class EmbeddedCluster:
    """A cluster whose nodes answer as real ones do.

    All methods take a node by address, host id or index. Methods that change state may be called from any thread.
    """

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        keyspaces: Mapping[str, Replication] | None = None,
        *,
        name: str = "embedded",
        seed: int = 1,
        time_factor: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.clock = clock
        self.time_factor = time_factor
        self.authenticates = False  # whether clients must log in
        self.auth_read_level = "LOCAL_QUORUM"  # `auth_read_consistency_level` as installed, 4.1+
        self.keyspaces = dict(keyspaces if keyspaces is not None else default_keyspaces(specs))
        self.partitioner = "org.apache.cassandra.dht.Murmur3Partitioner"
        self.lock = threading.RLock()
        self.gossip = Gossip(seed)
        self.nodes: list[SimNode] = []
        self.version = 0  # number of changes so far
        self._due: dict[int, float] = {}  # node -> time at which its decommission ends
        self._random = random.Random(seed)  # noqa: S311 - host ids and tokens of a simulation
        self._names: dict[str, int] = {}
        for spec in specs:
            self._add(spec, clock() - 60)
        self.metadata = SimMetadata(members=tuple(range(min(3, len(specs)))))
        owned = {node.index: node.tokens for node in self.nodes}
        self.topology = SimTopology(
            ring=TokenRing.of(owned), movement=Movement(), members=frozenset(owned), places=self._places()
        )

    @classmethod
    def uniform(
        cls,
        nodes: int = 4,
        *,
        keyspaces: Mapping[str, Replication] | None = None,
        time_factor: float = 1.0,
        clock: Callable[[], float] = time.time,
        name: str = "embedded",
        **layout: Any,  # noqa: ANN401 - passed on to `Layout`
    ) -> EmbeddedCluster:
        """A cluster of equal nodes; `Layout` describes `layout`."""
        made = Layout(nodes, **layout)
        return cls(made.specs(), keyspaces, name=name, seed=made.seed, time_factor=time_factor, clock=clock)

    # --- state

    def node(self, name: str | int) -> SimNode:
        """The node with an address, host id or index.

        Raises:
            UsageError: if there is no such node.
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
        """The phase of a node's startup (see STARTUPS); `up` after it."""
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
        """What a node reports about the others."""
        if node.frozen is not None:
            return node.frozen
        phase = self.phase(node, now)
        if phase in {"normal", "up"}:
            return self._shared_view(self.gossip.down(node.index, now) & self.topology.members)
        return self._startup_view(node, phase)

    def schema_version(self, node: SimNode) -> str:
        """One version for each major release, since their schema tables differ (3.11/4.0, 4.1/5.0)."""
        return str(uuid.uuid3(uuid.NAMESPACE_DNS, f"{self.name} {node.release[:2]} {','.join(self.keyspaces)}"))

    def heartbeat(self, node: SimNode, now: float) -> int:
        """Gossip heartbeat: it rises once a second while the node gossips."""
        return int(now - node.born_at) + 60 if self.gossiping(node, now) and node.process == "running" else 60

    def reachable(self, observer: SimNode, node: SimNode, now: float) -> bool:
        """Whether one node answers a message of another, whatever gossip believes."""
        is_cut = any(node.index in cut.side(observer.index) for cut in self.gossip.cuts if cut.healed_at is None)
        return not is_cut and node.process == "running" and self.mode(node, now) not in {"DRAINED", "DECOMMISSIONED"}

    def snitch(self, observer: SimNode, node: SimNode, now: float) -> SimPlace:
        """The datacenter and rack in which a node's snitch places another node.

        If it is asked before the replay of the commit log has restored the saved peers, it knows no peer and caches
        that. The node's own rings then lack replicas until gossip corrects it (seen on 3.11, 4.1 and 5.0 after
        kill -9).
        """
        if observer is not node and not observer.clean and self.phase(observer, now) not in GOSSIPING:
            observer.misled = True
        misled = observer.misled and self.phase(observer, now) not in {"normal", "up"}
        return UNKNOWN if misled and observer is not node else SimPlace(node.spec.datacenter, node.spec.rack)

    def state(self) -> dict[str, Any]:
        """A summary for the control API, as JSON values."""
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

    # --- changes

    def down(self, name: str | int, *, instant: bool = False) -> None:
        """`kill -9`: the node refuses connections; its peers convict it after 18 to 30 s, or at once if `instant`."""
        with self._changing() as now:
            node = self.node(name)
            node.process, node.starting_at, node.clean = "killed", None, node.drained_at is not None
            self.gossip.change(node.index, "silent", now, self._factor(instant))

    def stop(self, name: str | int) -> None:
        """SIGTERM: the node announces its stop to its peers, then the process ends."""
        with self._changing() as now:
            node = self.node(name)
            self.gossip.change(node.index, "announced", now, self._announced(node))
            node.process, node.starting_at, node.clean = "killed", None, True

    def up(self, name: str | int, *, instant: bool = False, hold: str | None = None) -> None:
        """Start a node on its data, through the phases of its release or at once.

        Args:
            name: the node.
            instant: skip the startup.
            hold: phase (see STARTUPS) at which the startup is held until `proceed`.

        Raises:
            UsageError: if there is no such phase.
        """
        if hold is not None and hold not in PHASES:
            raise UsageError(f"there is no startup phase {hold}: choose from {', '.join(PHASES)}")
        with self._changing() as now:
            node = self.node(name)
            node.process, node.mode, node.gossip, node.native = "running", "NORMAL", True, True
            node.frozen, node.drained_at, node.busy_until, node.misled = None, None, 0.0, False
            node.held, node.streams = hold, 0
            node.counters.clear()
            node.starting_at = None if instant and hold is None else now
            node.generation = max(node.generation + 1, int(now))
            node.born_at = now
            if hold is None or hold in GOSSIPING:
                self.gossip.change(node.index, "up", now + self._until_gossip(node), self._factor(instant))

    def proceed(self, name: str | int) -> None:
        """Let a startup continue from the phase at which it is held."""
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
        """SIGSTOP: the node accepts connections and never answers."""
        with self._changing() as now:
            node = self.node(name)
            node.process = "paused"
            self.gossip.change(node.index, "silent", now, self._factor(instant))

    def resume(self, name: str | int, *, instant: bool = False) -> None:
        """SIGCONT: the node answers at once, and lists all nodes as live that it listed before."""
        with self._changing() as now:
            node = self.node(name)
            node.process = "running"
            self.gossip.resume(node.index, now, self._factor(instant))

    def drain(self, name: str | int, *, instant: bool = False) -> float:
        """Drain a node, as the exec does; its own view freezes.

        Returns:
            Seconds until it is DRAINED; until then its Jolokia answers no other request.
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
        """Set the number of streams of a node, as of a repair or a rebuild; a start of the node sets it to 0."""
        with self._changing():
            self.node(name).streams = streams

    def gossip_off(self, name: str | int, *, instant: bool = False) -> float:
        """`disablegossip`: the node's view freezes, and the node continues to coordinate by it.

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
        """`enablegossip`: the node gets a new generation without a restart."""
        with self._changing() as now:
            node = self.node(name)
            node.gossip, node.frozen = True, None
            node.generation = max(node.generation + 1, int(now))
            self.gossip.change(node.index, "up", now, self._factor(instant))

    def binary_off(self, name: str | int) -> None:
        """`disablebinary`: the node serves no CQL; its peers do not notice."""
        with self._changing():
            self.node(name).native = False

    def binary_on(self, name: str | int) -> None:
        """`enablebinary`: the node serves CQL again."""
        with self._changing():
            self.node(name).native = True

    def join(self, spec: NodeSpec | None = None) -> SimNode:
        """Bootstrap a new node: all nodes list it as live and joining, and its ranges are pending until `finish`."""
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
        """Begin a decommission: the node owns its ranges until `finish`, and they are pending for other nodes."""
        with self._changing():
            node = self.node(name)
            node.mode = "LEAVING"
            moved = self.topology.movement
            self._reshape(movement=replace(moved, leaving=moved.leaving | {node.index}))

    def decommission(self, name: str | int) -> float:
        """Decommission a node as the exec does: `leave` now, `finish` when the time is over.

        Returns:
            Seconds that it takes; until then its Jolokia answers no other request.
        """
        with self._changing() as now:
            self.leave(name)
            seconds = 32.0 * self.time_factor
            self._due[self.node(name).index] = now + seconds
            return seconds

    def settle(self, now: float) -> None:
        """Finish the decommissions that are due; called before each answer."""
        for index in [index for index, at in self._due.items() if at <= now]:
            del self._due[index]
            self.finish(index)

    def move(self, name: str | int, token: int) -> None:
        """Move a node to another token; its new ranges are pending until `finish`.

        Raises:
            UsageError: if the node has several tokens.
        """
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
            if node.frozen is not None:  # a decommissioned node lists itself as live, but owns nothing
                node.frozen = SimView(self.topology, down=node.frozen.down, cache={"live": node.frozen.live})

    def partition(
        self, one: Iterable[str | int], other: Iterable[str | int] | None = None, *, instant: bool = False
    ) -> None:
        """Cut two sets of nodes off from each other; the second is all other nodes if it is None."""
        with self._changing() as now:
            side = {self.node(name).index for name in one}
            rest = {node.index for node in self.nodes} - side
            far = rest if other is None else {self.node(name).index for name in other}
            self.gossip.cut(side, far, now, self._factor(instant))

    def heal(self) -> None:
        """End all partitions."""
        with self._changing() as now:
            self.gossip.heal(now)

    def set_fault(self, name: str | int, fault: Fault | None) -> None:
        """Make a node's Jolokia misbehave; None ends it."""
        with self._changing():
            self.node(name).fault = fault

    def configure(self, name: str | int, agent: SimAgent) -> None:
        """Set up a node's Jolokia: authentication, policy, limits."""
        with self._changing():
            self.node(name).agent = agent

    def upgrade(self, name: str | int, release: str) -> None:
        """Change the release of a node; it should be down."""
        with self._changing():
            node = self.node(name)
            node.spec = replace(node.spec, release=release)

    def create_keyspace(self, name: str, replication: Replication) -> None:
        """Add a keyspace, on all nodes at once."""
        with self._changing():
            self.keyspaces[name] = replication

    # --- helpers

    def _changing(self) -> _Changing:
        return _Changing(self)

    def _factor(self, instant: bool) -> float:  # noqa: FBT001 - passed on from keyword-only arguments
        return 0.0 if instant else self.time_factor

    def _announced(self, node: SimNode, factor: float | None = None) -> float:
        """The factor for the delay of an announcement: on 2.2 the peers know of it 2 s later."""
        base = self.time_factor if factor is None else factor
        return base * (9.2 if node.release < (3, 0) else 1.0)

    def _startup(self, node: SimNode) -> tuple[tuple[str, float], ...]:
        lines = [line for line in STARTUPS if version_of(line) <= node.release[:2]]
        return STARTUPS[lines[-1] if lines else "2.2"]

    def _until_gossip(self, node: SimNode) -> float:
        """Seconds from the process start to gossip; 0 if the startup is skipped or held."""
        if node.starting_at is None or node.held is not None:
            return 0.0
        return min(at for phase, at in self._startup(node) if phase in GOSSIPING) * self.time_factor

    def _add(self, spec: NodeSpec, now: float) -> SimNode:
        index = len(self.nodes)
        drawn = uuid.UUID(int=self._random.getrandbits(128), version=4)
        host_id, generation = spec.host_id or str(drawn), spec.generation or int(now)
        node = SimNode(
            index=index,
            spec=spec,
            agent=SimAgent(spec.jolokia),
            host_id=host_id,
            generation=generation,
            tokens=tuple(spec.tokens),
            born_at=now,
        )
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
            ring=old.ring if ring is None else ring,
            movement=old.movement if movement is None else movement,
            members=old.members if members is None else members,
            places=self._places(),
        )

    def _freeze(self, node: SimNode, now: float) -> None:
        node.frozen = node.frozen or self.view(node, now)
        node.gossip = False

    def _part(self, node: SimNode, now: float) -> None:
        """Take a decommissioned node out of all lists; its own view freezes with all nodes and itself in it."""
        self._freeze(node, now)
        node.mode, node.native = "DECOMMISSIONED", False
        self.gossip.forget(node.index)

    def _shared_view(self, down: frozenset[int]) -> SimView:
        views = self.topology.cache.setdefault("views", {})
        if down not in views:
            if len(views) > 256:  # during convictions each observer may differ  # noqa: PLR2004
                views.clear()
            views[down] = SimView(self.topology, down=down)
        view: SimView = views[down]
        return view

    def _startup_view(self, node: SimNode, phase: str) -> SimView:
        key = ("startup", node.index, phase, node.misled)
        if key not in self.topology.cache:
            self.topology.cache[key] = self._make_startup_view(node, phase)
        view: SimView = self.topology.cache[key]
        return view

    def _make_startup_view(self, node: SimNode, phase: str) -> SimView:
        whole, me = self.topology, frozenset({node.index})
        if node.misled:
            places = tuple(known if index == node.index else UNKNOWN for index, known in enumerate(whole.places))
            whole = SimTopology(ring=whole.ring, movement=whole.movement, members=whole.members, places=places)
        if phase in {"ring", "alone", "normal-alone"}:
            others = whole.members - me
            hosts = None if phase == "normal-alone" else others if node.release >= (4, 0) else frozenset()
            if phase == "ring":
                return SimView(whole, unknown=others, hosts=hosts)
            return SimView(whole, down=others, hosts=hosts)
        tokens = node.tokens if phase in {"own", "newborn"} else ()
        alone = SimTopology(
            ring=TokenRing.of({node.index: tokens}), movement=Movement(), members=me, places=whole.places
        )
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
    """Holds the cluster's lock during a change, and counts the change."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._cluster = cluster

    def __enter__(self) -> float:
        self._cluster.lock.acquire()
        self._cluster.version += 1
        return self._cluster.now()

    def __exit__(self, *_: object) -> None:
        self._cluster.lock.release()
