"""The truth of a world: nodes, their ring, and the nodes that each of them reaches.

It owns placement (SimpleStrategy, NetworkTopologyStrategy with racks), pending ranges and the state of each process. It
is written from Cassandra's documentation (`locator/SimpleStrategy`, `locator/NetworkTopologyStrategy`,
`locator/TokenMetadata.calculatePendingRanges`) and shares no code with ringcheck.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Role: TypeAlias = Literal["member", "leaver", "removed", "joiner", "replacement", "coordinator", "left"]
Answering: TypeAlias = Literal["answers", "silent", "late", "refuses", "broken"]

OWNERS: frozenset[Role] = frozenset({"member", "leaver", "removed"})  # own tokens in the ring
GAINERS: frozenset[Role] = frozenset({"joiner", "replacement"})  # will own tokens
SERVING_MODES = frozenset({"NORMAL", "LEAVING", "MOVING"})
STORAGE_PORT = 7000
AGENT_PORT = 8778
SCHEMA = "6d2eef77-47ed-36a9-86d3-0c01cb6eff96"


class Endpoint(NamedTuple):
    """A storage address and port."""

    address: str
    port: int = STORAGE_PORT

    @property
    def host(self) -> str:
        """The address as Java writes it: IPv6 is not compressed."""
        return _java(self.address)

    @property
    def with_port(self) -> str:
        """The form in which attributes and operations whose name ends with WithPort write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.address else f"{self.host}:{self.port}"


@lru_cache(maxsize=4096)
def _java(address: str) -> str:
    if ":" not in address:
        return address
    return ":".join(f"{int(part, 16):x}" for part in ip_address(address).exploded.split(":"))


@dataclass(kw_only=True)
class Node:
    """One Cassandra process and its agent.

    Attributes:
        number: of the node in its cluster; identifies it everywhere.
        endpoint: where it really is.
        agent_port: of its Jolokia; not the usual port if several instances share an address.
        tokens: that it owns or will own.
        role: in the ring.
        replaces: number of the dead node whose tokens a replacement takes over.
        running: whether the process exists.
        mode: OperationMode as the node reports it; likewise gossip and native transport.
        agent: how a request to its Jolokia ends.
        forbids: parts of the names of attributes and operations that its access policy denies.
    """

    number: int
    host_id: str
    endpoint: Endpoint
    datacenter: str
    rack: str
    tokens: tuple[int, ...]
    release: str
    agent_port: int = AGENT_PORT
    role: Role = "member"
    replaces: int | None = None
    running: bool = True
    mode: str = "NORMAL"
    gossip: bool = True
    native: bool = True
    agent: Answering = "answers"
    forbids: tuple[str, ...] = ()
    schema: str = SCHEMA
    streams: int = 0

    @property
    def serves_clients(self) -> bool:
        """Whether clients can connect to it and it takes part in gossip."""
        return self.running and self.mode in SERVING_MODES and self.gossip and self.native

    @property
    def works(self) -> bool:
        """Whether others can rely on it as a replica: it runs, and reports nothing that contradicts this."""
        return self.running and self.gossip and self.mode in SERVING_MODES | {"JOINING"}


@dataclass
class View:
    """What one node believes about the others, by number, and how its Jolokia shows it.

    Attributes:
        knows: nodes that it knows; the others are in none of its answers.
        reaches: nodes that its failure detector considers alive: the truth of this coordinator.
        listed: the lists in which a node is shown, if that does not follow from `reaches`.
        book: the endpoint under which it knows a node, if it is not the true one.
        roles: the role that it believes a node has, if it is not the true one.
        nameless: nodes whose host id it does not know.
        pinned: nodes whose host id it must know, because nothing else identifies them.
        extra_live: endpoints that it lists as live in addition to the nodes that it knows; likewise unreachable.
        broken_ring: whether its range maps are truncated.
    """

    knows: set[int]
    reaches: set[int]
    listed: dict[int, frozenset[str]] = field(default_factory=dict)
    book: dict[int, Endpoint] = field(default_factory=dict)
    roles: dict[int, Role] = field(default_factory=dict)
    nameless: set[int] = field(default_factory=set)
    pinned: set[int] = field(default_factory=set)
    extra_live: list[Endpoint] = field(default_factory=list)
    extra_unreachable: list[Endpoint] = field(default_factory=list)
    broken_ring: bool = False


@dataclass(frozen=True)
class Keyspace:
    """A keyspace; for NetworkTopologyStrategy the factors are by datacenter."""

    name: str
    strategy: Literal["SimpleStrategy", "NetworkTopologyStrategy"]
    factors: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.strategy} {{{', '.join(f'{name}={factor}' for name, factor in self.factors)}}}"

    @property
    def total(self) -> int:
        """Replicas in all datacenters together, as configured."""
        return sum(factor for _, factor in self.factors)

    def factor(self, datacenter: str) -> int:
        """Replicas in a datacenter, as configured."""
        return dict(self.factors).get(datacenter, 0)


class Span(NamedTuple):
    """A token range `(start, end]` and the numbers of its nodes."""

    start: int
    end: int
    nodes: tuple[int, ...]

    def covers(self, token: int) -> bool:
        """Whether a token is in the range; a range from a token to itself is the whole ring."""
        if self.start < self.end:
            return self.start < token <= self.end
        return token > self.start or token <= self.end


class Piece(NamedTuple):
    """The replicas of a part of a range, in the order of placement, and the nodes that gain it."""

    natural: tuple[int, ...]
    pending: frozenset[int]


class Ring:
    """Tokens and their owners, for a set of known nodes."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        known = list(nodes)
        self.nodes = {node.number: node for node in known}
        self.owners = [node for node in known if node.role in OWNERS]
        self.gainers = [node for node in known if node.role in GAINERS]
        self.leavers = [node for node in self.owners if node.role in {"leaver", "removed"}]
        self._pieces: dict[Keyspace, frozenset[Piece]] = {}
        self._natural: dict[Keyspace, list[Span]] = {}
        self._pending: dict[Keyspace, list[Span]] = {}

    def natural(self, keyspace: Keyspace) -> list[Span]:
        """All ranges with their natural replicas."""
        if keyspace not in self._natural:
            self._natural[keyspace] = _placed(_tokens(self.owners), self.nodes, keyspace)
        return self._natural[keyspace]

    def pending(self, keyspace: Keyspace) -> list[Span]:
        """Ranges in movement, with the nodes that gain them."""
        if keyspace not in self._pending:
            self._pending[keyspace] = list(self._moving(keyspace))
        return self._pending[keyspace]

    def _moving(self, keyspace: Keyspace) -> list[Span]:
        stay = [node for node in self.owners if node not in self.leavers]
        spans = [*self._left_behind(keyspace, stay)]
        for gainer in self.gainers:
            future = _tokens(stay) | _tokens([gainer])
            spans += [
                Span(span.start, span.end, (gainer.number,))
                for span in _placed(future, self.nodes, keyspace)
                if gainer.number in span.nodes
            ]
        return spans

    def _left_behind(self, keyspace: Keyspace, stay: list[Node]) -> Iterable[Span]:
        """The ranges that leaving nodes hold, with the nodes that will hold them."""
        if not self.leavers or not stay:
            return
        leaving = {node.number for node in self.leavers}
        future = _placed(_tokens(stay), self.nodes, keyspace)
        for span in self.natural(keyspace):
            if leaving.intersection(span.nodes):
                then = next(item.nodes for item in future if item.covers(span.end))
                gaining = tuple(number for number in then if number not in span.nodes)
                if gaining:
                    yield Span(span.start, span.end, gaining)

    def pieces(self, keyspace: Keyspace) -> frozenset[Piece]:
        """Every combination of natural and pending replicas that occurs in the ring."""
        if keyspace not in self._pieces:
            self._pieces[keyspace] = frozenset(self._cut(keyspace))
        return self._pieces[keyspace]

    def _cut(self, keyspace: Keyspace) -> Iterable[Piece]:
        natural, pending = self.natural(keyspace), self.pending(keyspace)
        if not pending:
            yield from (Piece(span.nodes, frozenset()) for span in natural)
            return
        for token in {edge for span in (*natural, *pending) for edge in (span.start, span.end)}:
            replicas = next((span.nodes for span in natural if span.covers(token)), ())
            gaining = {number for span in pending if span.covers(token) for number in span.nodes}
            yield Piece(replicas, frozenset(gaining.difference(replicas)))


def _tokens(nodes: Iterable[Node]) -> dict[int, int]:
    """The number of the owner by token."""
    return {token: node.number for node in nodes for token in node.tokens}


def _placed(owners: dict[int, int], nodes: dict[int, Node], keyspace: Keyspace) -> list[Span]:
    tokens = sorted(owners)
    spans = []
    for index, end in enumerate(tokens):
        clockwise = list(dict.fromkeys(owners[token] for token in (*tokens[index:], *tokens[:index])))
        replicas = _replicas(clockwise, nodes, keyspace)
        spans.append(Span(tokens[index - 1], end, tuple(sorted(replicas, key=clockwise.index))))
    return spans


def _replicas(clockwise: list[int], nodes: dict[int, Node], keyspace: Keyspace) -> list[int]:
    if keyspace.strategy == "SimpleStrategy":
        return clockwise[: keyspace.total]
    return [
        number
        for datacenter, factor in keyspace.factors
        for number in _in_racks([item for item in clockwise if nodes[item].datacenter == datacenter], nodes, factor)
    ]


def _in_racks(clockwise: Sequence[int], nodes: dict[int, Node], factor: int) -> list[int]:
    """Replicas in one datacenter: on as many racks as possible, with as few repeated racks as possible."""
    repeats = factor - len({nodes[number].rack for number in clockwise})
    chosen: list[int] = []
    seen: set[str] = set()
    for number in clockwise:
        repeated = nodes[number].rack in seen
        if len(chosen) < factor and (not repeated or repeats > 0):
            repeats -= repeated
            seen.add(nodes[number].rack)
            chosen.append(number)
    return chosen
