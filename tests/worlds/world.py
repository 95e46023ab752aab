"""A world: a cluster, what its nodes believe, what its owners want, and how it is polled.

It owns how a healthy cluster is drawn from a seed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias
from uuid import UUID

from tests.worlds.cluster import AGENT_PORT, GAINERS, OWNERS, SCHEMA, Endpoint, Keyspace, Node, Ring, Role, View

if TYPE_CHECKING:
    from random import Random

Change: TypeAlias = Literal["none", "during", "between"]

TRACES = Keyspace("system_traces", "SimpleStrategy", (("replication_factor", 2),))
SIZES = (1, 2, *((3,) * 9), *((4,) * 5), 5, 5, 5, 6, 6, 6, 7, 8, 9)
FACTORS = (1, 2, 2, *((3,) * 15), 5)
RELEASES = ("3.11.19", "4.1.9", "5.0.8")
MIXED = (("3.11.19", "4.1.9"), ("4.1.9", "5.0.8"))
NEW_SCHEMA = "0d918984-7629-353c-90f8-31a47a6ff839"


@dataclass(frozen=True)
class Wishes:
    """What the owners of a cluster want to be reported, and to be kept by stops.

    Attributes:
        critical: level of the page tier, with Cassandra's name; likewise warning.
        gate: level that every range must keep through a stop.
        accept: names of keyspaces that may lose ranges by a stop.
        clients: datacenters with clients; empty for all that hold replicas.
        allow: codes of the gate's reasons that do not block; none of them is about the cost of a stop.
    """

    critical: str | None = "LOCAL_ONE"
    warning: str | None = "LOCAL_QUORUM"
    gate: str = "LOCAL_QUORUM"
    accept: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


TIERS = (
    *((("LOCAL_ONE", "LOCAL_QUORUM"),) * 8),
    ("LOCAL_QUORUM", "LOCAL_ALL"),
    ("LOCAL_QUORUM", None),
    ("ONE", "QUORUM"),
    ("QUORUM", "ALL"),
    ("LOCAL_QUORUM", "EACH_QUORUM"),
    ("ONE", "TWO"),
    (None, "LOCAL_QUORUM"),
)
ALLOWED = ("view_disagreement", "schema_disagreement", "topology_changing", "streaming")
AUTH_LEVELS = ("LOCAL_QUORUM", "LOCAL_QUORUM", "LOCAL_ONE", "QUORUM")
GATES = (*(("LOCAL_QUORUM",) * 8), "LOCAL_ONE", "QUORUM", "ONE", "EACH_QUORUM")


@dataclass
class World:
    """A cluster with everything that belongs to it.

    Attributes:
        seed: from which it was drawn.
        views: what each node believes, by number.
        authenticates: whether clients must log in; `auth_level` is the level of their reads since 4.1.
        auth_levels: that level of single nodes, by number, where it differs.
        quiet_nodes: numbers of nodes that were restarted: the level of their logins is the default again, and they
            don't report it yet.
        open_nodes: numbers of nodes whose clients need not log in, although those of others must.
        own_datacenters: where single nodes place themselves, by number, if other nodes place them elsewhere.
        own_keyspaces: keyspaces by schema version, where they are not `keyspaces`.
        own_tokens: tokens of nodes, by number, as single nodes know them, by their numbers, if not the true ones.
        contacts: URLs of ringcheck's contact points, in this order.
        holders: numbers of the nodes under a restart lease.
        routes: node whose agent answers at a host and port, if it is not the node with that endpoint.
        lies: names of the bends, in order.
        before: the same world at an earlier time, if it changes.
        change: when it changes: during the poll that counts, or between an earlier poll and that one.
        rings: computed so far, by the members and the roles that they are believed to have.
        patience: how many requests each node answers before it sees a change during the poll.
    """

    seed: int
    nodes: list[Node]
    views: dict[int, View]
    keyspaces: list[Keyspace]
    wishes: Wishes
    authenticates: bool = False
    auth_level: str = "LOCAL_QUORUM"
    auth_levels: dict[int, str] = field(default_factory=dict)
    quiet_nodes: set[int] = field(default_factory=set)
    open_nodes: set[int] = field(default_factory=set)
    own_datacenters: dict[int, str] = field(default_factory=dict)
    own_keyspaces: dict[str, list[Keyspace]] = field(default_factory=dict)
    own_tokens: dict[int, dict[int, tuple[int, ...]]] = field(default_factory=dict)
    contacts: list[str] = field(default_factory=list)
    holders: list[int] = field(default_factory=list)
    routes: dict[tuple[str, int], int] = field(default_factory=dict)
    lies: list[str] = field(default_factory=list)
    before: World | None = None
    change: Change = "none"
    patience: dict[int, int] = field(default_factory=dict)
    rings: dict[tuple[tuple[int, Role, tuple[int, ...]], ...], Ring] = field(default_factory=dict, repr=False)

    def copied(self) -> World:
        """A copy that can be changed independently."""
        return copy.deepcopy(self)

    def ring(self, observer: int | None = None) -> Ring:
        """The ring, either the true one or the one that a node believes in; the world must not change any more."""
        everyone = set(range(len(self.nodes)))
        return self.ring_of(everyone if observer is None else self.views[observer].knows | {observer}, observer)

    def ring_of(self, known: set[int], observer: int | None = None) -> Ring:
        """The ring of these nodes, with their true roles and tokens or with those that a node believes they have."""
        roles = [(number, self.role(number, observer)) for number in sorted(known)]
        believed = {} if observer is None else self.own_tokens.get(observer, {})
        members = tuple(
            (number, role, believed.get(number, self.nodes[number].tokens))
            for number, role in roles
            if role in OWNERS | GAINERS
        )
        if members not in self.rings:
            self.rings[members] = Ring(_as(self.nodes[number], role, tokens) for number, role, tokens in members)
        return self.rings[members]

    def role(self, number: int, observer: int | None = None) -> Role:
        """The role of a node, or the role that another node believes it has."""
        role = self.nodes[number].role
        return role if observer is None else self.views[observer].roles.get(number, role)

    def keyspaces_of(self, number: int) -> list[Keyspace]:
        """The keyspaces as a node knows them: as a coordinator it uses their replication."""
        return self.own_keyspaces.get(self.nodes[number].schema, self.keyspaces)

    def logs_in(self, number: int) -> bool:
        """Whether clients of a node must log in."""
        return self.authenticates and number not in self.open_nodes

    def auth_level_of(self, number: int) -> str:
        """The level at which a node reads system_auth for logins."""
        modern = tuple(map(int, self.nodes[number].release.split("."))) >= (4, 1)
        known = "LOCAL_QUORUM" if number in self.quiet_nodes else self.auth_levels.get(number, self.auth_level)
        return known if modern else "LOCAL_ONE"

    @property
    def owners(self) -> list[Node]:
        """Nodes that own tokens."""
        return [node for node in self.nodes if node.role in OWNERS]

    @property
    def members(self) -> list[Node]:
        """Owners of tokens, and nodes that will own some."""
        return [node for node in self.nodes if node.role in OWNERS | GAINERS]

    def reached(self, observer: int) -> frozenset[int]:
        """Nodes that a coordinator's failure detector considers alive, including itself."""
        view = self.views[observer]
        return frozenset((view.reaches & view.knows) | {observer})

    def at(self, host: str, port: int) -> Node | None:
        """The node whose agent answers at an address."""
        if (host, port) in self.routes:
            return self.nodes[self.routes[host, port]]
        return next((node for node in self.nodes if (node.endpoint.address, node.agent_port) == (host, port)), None)

    def fresh_endpoint(self, rng: Random) -> Endpoint:
        """An endpoint that no node has or has had."""
        head = self.nodes[0].endpoint.address.rpartition(":" if self.version == 6 else ".")
        number = rng.randrange(100, 250)
        while True:
            endpoint = Endpoint(f"{head[0]}{head[1]}{number}")
            if endpoint not in self._used():
                return endpoint
            number += 1

    def _used(self) -> set[Endpoint]:
        used = {node.endpoint for node in self.nodes}
        for view in self.views.values():
            used.update(view.book.values(), view.extra_live, view.extra_unreachable)
        return used

    @property
    def version(self) -> int:
        """The version of the IP addresses."""
        return 6 if ":" in self.nodes[0].endpoint.address else 4


def draw(rng: Random, seed: int) -> World:
    """A healthy cluster, and its contact points."""
    nodes = _nodes(rng)
    numbers = {node.number for node in nodes}
    views = {number: View(set(numbers), set(numbers)) for number in numbers}
    world = World(seed, nodes, views, _keyspaces(rng, nodes), Wishes())
    world.wishes = _wishes(rng, world)
    world.authenticates = rng.random() < 0.15
    if world.authenticates:
        world.auth_level = rng.choice(AUTH_LEVELS)
        world.keyspaces.append(_auth(rng, nodes))
    world.contacts = contact_points(rng, world)
    return world


def blended(ring: World, liveness: World) -> World:
    """A world between two times: members and tokens of one, processes and reachability of the other."""
    world = ring.copied()
    world.before = None
    world.rings.clear()
    for node, other in zip(world.nodes, liveness.nodes, strict=False):  # the others exist only at one time
        node.running, node.mode, node.gossip, node.native = other.running, other.mode, other.gossip, other.native
        world.views[node.number].reaches = set(liveness.views[node.number].reaches)
    return world


def _nodes(rng: Random) -> list[Node]:
    size = rng.choice(SIZES)
    datacenters = [f"dc{number + 1}" for number in range(_datacenters(rng, size))]
    racks = rng.choice((1, 2, 3, 3))
    vnodes = rng.choice((1, 1, 2, 2, 3, 4))
    releases = _releases(rng, size)
    nodes = []
    for number, (endpoint, port) in enumerate(_endpoints(rng, size, shared="3.11.19" not in releases)):
        node = Node(
            number=number,
            host_id=str(UUID(int=rng.getrandbits(128), version=4)),
            endpoint=endpoint,
            agent_port=port,
            datacenter=datacenters[number % len(datacenters)],
            rack=f"r{rng.randrange(racks) + 1 if rng.random() < 0.2 else number // len(datacenters) % racks + 1}",
            tokens=new_tokens(rng, vnodes),
            release=releases[number],
        )
        node.schema = SCHEMA if node.release == releases[0] else NEW_SCHEMA
        nodes.append(node)
    return nodes


def _datacenters(rng: Random, size: int) -> int:
    """The number of datacenters; seldom more than allow three nodes in each."""
    most = size if rng.random() < 0.15 else max(1, size // 3)
    return min(most, rng.choice((1, 1, 2, 2, 3)))


def new_tokens(rng: Random, count: int) -> tuple[int, ...]:
    """Tokens of Murmur3Partitioner for one node."""
    return tuple(rng.randrange(-(2**63) + 1, 2**63) for _ in range(count))


def _releases(rng: Random, size: int) -> list[str]:
    """The release of each node: the same for all, or two releases in the middle of an upgrade."""
    if size > 1 and rng.random() < 0.15:
        old, new = rng.choice(MIXED)
        upgraded = rng.randrange(1, size)
        return [old] * (size - upgraded) + [new] * upgraded
    return [rng.choice(RELEASES)] * size


def _endpoints(rng: Random, size: int, *, shared: bool) -> list[tuple[Endpoint, int]]:
    """Endpoints, and ports of agents; several instances per address if all releases support that."""
    prefix = "2001:db8::" if rng.random() < 0.15 else "10.0.0."
    numbers = rng.sample(range(1, 90), size)
    if not shared or rng.random() > 0.15:
        return [(Endpoint(f"{prefix}{number}"), AGENT_PORT) for number in numbers]
    endpoints = []
    for number in range(size):
        host_index, instance = divmod(number, 2)
        endpoints.append((Endpoint(f"{prefix}{numbers[host_index]}", 7000 + instance), AGENT_PORT + instance))
    return endpoints


def _keyspaces(rng: Random, nodes: list[Node]) -> list[Keyspace]:
    names = ("orders", "users", "logs")[: rng.choice((1, 1, 2, 3))]
    system = [TRACES] if rng.random() < 0.3 else []
    return [*(_keyspace(rng, name, nodes) for name in names), *system]


def _keyspace(rng: Random, name: str, nodes: list[Node]) -> Keyspace:
    if rng.random() < 0.15:
        return Keyspace(name, "SimpleStrategy", (("replication_factor", rng.choice((1, 2, 3, 3, 3, 3))),))
    datacenters = sorted({node.datacenter for node in nodes})
    used = datacenters if rng.random() < 0.85 else rng.sample(datacenters, rng.randrange(1, len(datacenters) + 1))
    factor = rng.choice(FACTORS)
    return Keyspace(name, "NetworkTopologyStrategy", tuple((name, _factor(rng, nodes, name, factor)) for name in used))


def _factor(rng: Random, nodes: list[Node], datacenter: str, wanted: int) -> int:
    """A replication factor for a datacenter; seldom above its number of nodes."""
    nodes_there = sum(node.datacenter == datacenter for node in nodes)
    return wanted if rng.random() < 0.15 else min(wanted, nodes_there)


def _auth(rng: Random, nodes: list[Node]) -> Keyspace:
    if rng.random() < 0.3:
        return Keyspace("system_auth", "SimpleStrategy", (("replication_factor", rng.choice((1, 2, 3))),))
    datacenters = sorted({node.datacenter for node in nodes})
    return Keyspace("system_auth", "NetworkTopologyStrategy", tuple((dc, rng.choice((2, 3))) for dc in datacenters))


def _wishes(rng: Random, world: World) -> Wishes:
    critical, warning = rng.choice(TIERS)
    names = [keyspace.name for keyspace in world.keyspaces if not keyspace.name.startswith("system")]
    datacenters = sorted({node.datacenter for node in world.nodes})
    return Wishes(
        critical,
        warning,
        rng.choice(GATES),
        (rng.choice(names),) if len(names) > 1 and rng.random() < 0.08 else (),
        (rng.choice(datacenters),) if rng.random() < 0.08 else (),
        ALLOWED if rng.random() < 0.25 else (),
    )


def contact_points(rng: Random, world: World) -> list[str]:
    """URLs of some agents, in random order; for an address with several instances, the URLs of all of them."""
    nodes = list(world.nodes)
    rng.shuffle(nodes)
    some = nodes[: rng.randint(1, len(nodes))]
    if any(node.agent_port != AGENT_PORT for node in nodes) and rng.random() < 0.8:
        some = nodes
    return [agent_url(node.endpoint.address, node.agent_port) for node in some]


def _as(node: Node, role: Role, tokens: tuple[int, ...]) -> Node:
    return node if (node.role, node.tokens) == (role, tokens) else replace(node, role=role, tokens=tokens)


def agent_url(address: str, port: int = AGENT_PORT) -> str:
    """The URL of the agent at an address."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/jolokia"
