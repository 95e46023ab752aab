"""The truth: which ranges each coordinator serves, and what a stop would cost.

A brute force over the pieces of the ring, level by level as Cassandra's coordinators decide it
(`db/ConsistencyLevel.java`, 4.0+ `locator/ReplicaPlans.java`). It is simple, and independent of ringcheck.

Rules that are not obvious:

- A coordinator serves a range if its own failure detector considers enough replicas alive. It acts on the ring that it
  knows; one that knows only some members fails only if it fails by its own ring and by the whole one, because
  ringcheck does not compare rings.
- What a stop costs is judged more strictly: replicas count only if they work (run, gossip, in a mode that serves), and
  nodes under a lease are gone afterwards.
- A coordinator whose agent can't be asked, and that every usable view lists as unreachable, is dead as far as
  anyone can know. A node that no answering node knows does not exist, as far as anyone can know: neither as a
  coordinator, nor in the whole ring. A joining node that only its own silent process knows can't be reported.
- A node that answers at a contact point is asked there, not at the usual port of its address too.
- An agent that forbids something that ringcheck asks for does not answer; nothing is demanded of its view.
- A coordinator places replicas by the replication in its own schema, which may not be that of the others, and by the
  tokens that it knows.
- LOCAL levels matter in the datacenters that have clients: those that are named, else those that hold replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from tests.worlds.cluster import OWNERS, SERVING_MODES, Endpoint, Keyspace, Node, Piece, Ring
from tests.worlds.jolokia import Answers, all_answers
from tests.worlds.world import TRACES, agent_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worlds.world import World

Operation: TypeAlias = Literal["read", "write"]
Up: TypeAlias = "frozenset[int]"

OPERATIONS: tuple[Operation, ...] = ("read", "write")
FIXED = {"ONE": 1, "TWO": 2, "THREE": 3, "LOCAL_ONE": 1}


class Query(NamedTuple):
    """A client's query to a coordinator in a datacenter."""

    operation: Operation
    keyspace: Keyspace
    level: str
    datacenter: str


class Case(NamedTuple):
    """A query to a coordinator, for a piece of the ring.

    Attributes:
        structural: whether it can't be served even with all nodes up, by the whole ring or by the coordinator's own.
    """

    coordinator: int
    query: Query
    piece: Piece
    structural: bool

    def __str__(self) -> str:
        replicas = ",".join(map(str, self.piece.natural))
        pending = f" pending {sorted(self.piece.pending)}" if self.piece.pending else ""
        query = self.query
        what = f"{query.operation} of {query.keyspace.name} ({query.keyspace}) at {query.level}"
        return f"node {self.coordinator}: {what}, replicas {replicas}{pending}"


def served(query: Query, piece: Piece, datacenters: list[str], up: Up) -> bool:
    """Whether a coordinator that considers some nodes alive serves a piece of the ring.

    Args:
        query: of the client.
        piece: of the ring.
        datacenters: of all nodes, by number.
        up: numbers of the nodes that are alive to the coordinator.
    """
    if query.level == "EACH_QUORUM" and query.keyspace.strategy == "NetworkTopologyStrategy":
        scopes: list[tuple[str | None, int]] = [(name, factor // 2 + 1) for name, factor in query.keyspace.factors]
    else:
        scope = query.datacenter if query.level.startswith("LOCAL_") else None
        scopes = [(scope, _needed(query, piece, datacenters))]
    return all(_enough(query.operation, _within(piece, datacenters, name), needed, up) for name, needed in scopes)


def _within(piece: Piece, datacenters: list[str], scope: str | None) -> Piece:
    """The replicas that count: those of a datacenter, or all."""
    if scope is None:
        return piece
    natural = tuple(number for number in piece.natural if datacenters[number] == scope)
    return Piece(natural, frozenset(number for number in piece.pending if datacenters[number] == scope))


def _enough(operation: Operation, piece: Piece, needed: int, up: Up) -> bool:
    """Whether enough replicas are alive. A write also goes to pending replicas and waits for them."""
    if operation == "read":
        return len(up.intersection(piece.natural)) >= needed
    return len(up & piece.pending.union(piece.natural)) >= needed + len(piece.pending)


def _needed(query: Query, piece: Piece, datacenters: list[str]) -> int:
    """The replicas that must answer, without pending ones: from the configured factors, not from the replicas found."""
    keyspace, level = query.keyspace, query.level
    if level in FIXED:
        return FIXED[level]
    if level == "LOCAL_ALL":  # every replica that exists
        return sum(datacenters[number] == query.datacenter for number in piece.natural)
    if level == "ALL":
        return keyspace.total
    if level == "LOCAL_QUORUM" and keyspace.strategy == "NetworkTopologyStrategy":
        return keyspace.factor(query.datacenter) // 2 + 1
    return keyspace.total // 2 + 1


class Oracle:
    """The truth of one world.

    Attributes:
        answering: numbers of the nodes that can be asked.
        counting: those of them that serve clients.
        whole: the ring of all nodes of which one that can be asked has heard.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes = world.nodes
        self.answering = _answering(world)
        self.counting = [number for number in self.answering if self.nodes[number].serves_clients]
        self._datacenters = [node.datacenter for node in world.nodes]
        self._everyone = frozenset(range(len(world.nodes)))
        self.whole = world.ring_of(set(self.answering).union(*(world.views[one].knows for one in self.answering)))
        self._unserved: dict[tuple[int, Query, Up], frozenset[Piece]] = {}

    # Coordinators

    def health_coordinators(self) -> list[int]:
        """Coordinators that serve clients and whose agents answer."""
        return self.counting

    def gate_coordinators(self) -> list[int]:
        """Coordinators that serve clients, whether or not their agents answer."""
        return [node.number for node in self.nodes if node.serves_clients and self._matters(node)]

    def _matters(self, node: Node) -> bool:
        if node.number in self.answering:
            return True
        return node.role in OWNERS and self._heard_of(node.number) and not self.dead_to_all(node.number)

    def _heard_of(self, number: int) -> bool:
        return any(number in self.world.views[observer].knows for observer in self.counting)

    def dead_to_all(self, number: int) -> bool:
        """Whether every usable view, other than its own, lists a node as unreachable and in no other list."""
        others = [observer for observer in self.counting if observer != number]
        return bool(others) and all(self._lists_down(observer, number) for observer in others)

    def _lists_down(self, observer: int, number: int) -> bool:
        view = self.world.views[observer]
        listed = view.listed.get(number, frozenset({"live" if number in view.reaches else "unreachable"}))
        return number in view.knows and listed == {"unreachable"}

    # What is watched

    def keyspaces(self, coordinator: int) -> list[Keyspace]:
        """The keyspaces that clients of a coordinator can use, with the replication that it uses itself."""
        return self.world.keyspaces_of(coordinator)

    def watched(self, keyspace: Keyspace, coordinator: int) -> dict[str, str]:
        """Level by tier (`critical`, `warning`)."""
        wishes = self.world.wishes
        if keyspace.name == TRACES.name:
            return {}
        if keyspace.name == "system_auth":
            level = self.world.auth_level_of(coordinator)
            return {"critical": level, "warning": level} if self.world.logs_in(coordinator) else {}
        tiers = {"critical": wishes.critical, "warning": wishes.warning}
        return {tier: level for tier, level in tiers.items() if level}

    def gated(self, keyspace: Keyspace, coordinator: int) -> list[str]:
        """Levels that must be kept through a stop."""
        tiers = self.watched(keyspace, coordinator)
        if not tiers or keyspace.name in self.world.wishes.accept:
            return []
        if keyspace.name == "system_auth":
            return [tiers["critical"]]
        return sorted({self.world.wishes.gate} | {level for tier, level in tiers.items() if tier == "critical"})

    def _has_clients(self, keyspace: Keyspace, datacenter: str, level: str) -> bool:
        if self.world.wishes.clients:
            return datacenter in self.world.wishes.clients
        if not level.startswith("LOCAL_") or keyspace.strategy == "SimpleStrategy":
            return True
        return keyspace.factor(datacenter) > 0

    def queries(self, coordinator: int, keyspace: Keyspace, level: str) -> list[Query]:
        """The queries that clients of a coordinator may send to a keyspace at a level."""
        datacenter = self.world.own_datacenters.get(coordinator, self._datacenters[coordinator])
        if not self._has_clients(keyspace, datacenter, level):
            return []
        return [Query(operation, keyspace, level, datacenter) for operation in OPERATIONS]

    # What is lost

    def _pieces(self, ring: Ring, query: Query, up: Up) -> frozenset[Piece]:
        """The pieces of a ring that are not served."""
        key = id(ring), query, up
        if key not in self._unserved:
            pieces = ring.pieces(query.keyspace)
            self._unserved[key] = frozenset(
                piece for piece in pieces if not served(query, piece, self._datacenters, up)
            )
        return self._unserved[key]

    def _own_ring(self, coordinator: int) -> Ring:
        return self.world.ring(coordinator)

    def _whole_ring(self, coordinator: int) -> Ring:
        """The ring of all nodes, or the one that a coordinator with tokens of its own knows."""
        return self._own_ring(coordinator) if coordinator in self.world.own_tokens else self.whole

    def unserved(self, coordinator: int, tier: str) -> list[Case]:
        """The cases that a coordinator can't serve at the level of a tier."""
        watched = [
            (keyspace, self.watched(keyspace, coordinator).get(tier)) for keyspace in self.keyspaces(coordinator)
        ]
        return [case for keyspace, level in watched if level for case in self.unserved_at(coordinator, keyspace, level)]

    def unserved_at(self, coordinator: int, keyspace: Keyspace, level: str) -> list[Case]:
        """The cases of a keyspace that a coordinator can't serve at a level; none if its own ring has none."""
        up, whole = self.world.reached(coordinator), self._whole_ring(coordinator)
        own = self._own_ring(coordinator)
        queries = self.queries(coordinator, keyspace, level)
        failing = [query for query in queries if self._pieces(own, query, up)]
        if not failing:
            return []
        mistake = all(self._pieces(own, query, up) == self._pieces(own, query, self._everyone) for query in failing)
        return [
            Case(coordinator, query, piece, mistake or piece in self._pieces(whole, query, self._everyone))
            for query in failing
            for piece in sorted(self._pieces(whole, query, up), key=str)
        ]

    def costs(self, stopped: Up) -> Iterator[Case]:
        """The cases that other coordinators serve now, and not after a stop."""
        for coordinator in self.gate_coordinators():
            if coordinator not in stopped and coordinator not in self.world.holders:
                yield from self._costs_of(coordinator, stopped)

    def abandoned(self, stopped: Up) -> Iterator[str]:
        """Datacenters with clients that have a coordinator before a stop, and none after it."""
        for datacenter in sorted(self._client_datacenters()):
            before = {number for number in self.gate_coordinators() if self._place(number) == datacenter}
            after = {number for number in before - stopped - set(self.world.holders) if self.nodes[number].works}
            if before & stopped and not after and (self.world.wishes.clients or self._is_shared(datacenter)):
                yield datacenter

    def _is_shared(self, datacenter: str) -> bool:
        """Whether a datacenter has several members, as far as anyone knows. The only one could never be restarted."""
        here = [node.number for node in self.world.members if node.datacenter == datacenter]
        return sum(number in self.answering or self._heard_of(number) for number in here) > 1

    def deserted(self) -> Iterator[str]:
        """Datacenters with clients in which no node serves clients, as far as anyone can know."""
        serving = {self._place(number) for number in self.gate_coordinators()}
        dead = {node.number for node in self.world.members if self.dead_to_all(node.number)}
        for datacenter in sorted(self._client_datacenters() - serving):
            nodes = {node.number for node in self.world.members if node.datacenter == datacenter}
            if nodes <= dead and not nodes & set(self.world.own_datacenters):
                yield datacenter

    def _place(self, number: int) -> str:
        return self.world.own_datacenters.get(number, self._datacenters[number])

    def _client_datacenters(self) -> set[str]:
        """Those that are named, else those that hold replicas of a keyspace that must be kept."""
        places = {node.datacenter for node in self.world.members}
        known = [(keyspace, one) for one in self.gate_coordinators() for keyspace in self.keyspaces(one)]
        return {
            place
            for place in places
            for keyspace, one in known
            if keyspace.name != "system_auth" and self.gated(keyspace, one)
            if self._has_clients(keyspace, place, "LOCAL_ONE")
        }

    def orphans(self, number: int) -> Iterator[str]:
        """The watched keyspaces with ranges of a node that no other working node has."""
        known = [(keyspace, one) for one in self.gate_coordinators() for keyspace in self.keyspaces(one)]
        for keyspace in dict.fromkeys(keyspace for keyspace, _ in known):
            if any(other == keyspace and self.gated(keyspace, coordinator) for other, coordinator in known):
                for piece in self.whole.pieces(keyspace):
                    others = set(piece.natural) - {number}
                    if number in piece.natural and not any(self.nodes[other].works for other in others):
                        yield keyspace.name

    def _costs_of(self, coordinator: int, stopped: Up) -> Iterator[Case]:
        up = frozenset(number for number in self.world.reached(coordinator) if self.nodes[number].works)
        if not up & stopped:
            return
        after = up - stopped - frozenset(self.world.holders)
        own, whole = self._own_ring(coordinator), self._whole_ring(coordinator)
        for keyspace in self.keyspaces(coordinator):
            for level in self.gated(keyspace, coordinator):
                for query in self.queries(coordinator, keyspace, level):
                    lost = self._pieces(whole, query, after) - self._pieces(whole, query, up)
                    if lost and self._pieces(own, query, after) - self._pieces(own, query, up):
                        yield Case(coordinator, query, min(lost, key=str), structural=False)


def _answering(world: World) -> list[int]:
    """Nodes whose agents answer, and which can be found from the contact points by the addresses that nodes report."""
    known = {answers.node.number: answers for answers in all_answers(world)}
    reached: dict[int, None] = {}
    waiting = [node for url in world.contacts if (node := _asked(world, url))]
    met = {node.endpoint for node in waiting}
    while waiting:
        node = waiting.pop()
        if node.number not in reached:
            reached[node.number] = None
            asked = {agent_url(endpoint.address) for endpoint in _named(known[node.number]) - met}
            waiting += [other for url in sorted(asked) if (other := _asked(world, url))]
    return list(reached)


def _asked(world: World, url: str) -> Node | None:
    """The node that answers at a URL, if it answers everything that ringcheck asks for."""
    parts = urlsplit(url)
    node = world.at(parts.hostname or "", parts.port or 0)
    return node if node and node.running and node.agent == "answers" and not node.forbids else None


def _named(answers: Answers) -> set[Endpoint]:
    """Endpoints of members and coordinators in a node's answers."""
    if answers.node.mode not in SERVING_MODES:
        return set()
    ring = [answers.endpoint(node.number) for node in (*answers.ring.owners, *answers.ring.gainers)]
    return {*ring, *answers.host_ids(), *answers.listing("live")}
