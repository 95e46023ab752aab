"""The model: nodes, views, rings, and the snapshot that holds them.

Owns the definition of a ring and the check that a ring is whole. Knows nothing of levels, policies or sources.

Token ranges are `(start, end]`, as in Cassandra, and tile the ring: a ring is its sorted tokens, and range `i` ends
at token `i` and starts at the token before it. The replicas of all ranges are in one flat array of node indexes: for
262,144 ranges of RF 3 it takes 1.5 MB instead of 40 MB. Their tokens take 2 MB, which the rings of a cluster share.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.spans import Spans
from ringcheck.errors import RingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringcheck.core.metadata import MetadataReport
    from ringcheck.core.node_requests import NodeRequests
    from ringcheck.core.schema_report import SchemaReport

SourceState: TypeAlias = Literal["ok", "unreachable", "denied", "error", "not_asked"]
ViewOutcome: TypeAlias = Literal["ok", "discarded", "unreachable"]
Range: TypeAlias = "tuple[int, int]"  # (start, end], may wrap; start == end is the whole ring

NORMAL = "NORMAL"  # OperationMode of a node that serves
# A leaving or moving node serves its clients until it is done, and a node whose decommission (5.0) or move (6.0) failed
# goes on serving them: they get what it sees. 6.0 has more states of a node and shows them as the modes of before
# (`StorageService.operationMode`): REGISTERED as STARTING, BOOTSTRAPPING and BOOT_REPLACING as JOINING.
COORDINATING = frozenset({NORMAL, "LEAVING", "MOVING", "DECOMMISSION_FAILED", "MOVE_FAILED"})


@dataclass(frozen=True, slots=True)
class Partitioner:
    """A partitioner whose tokens are whole numbers, so that ranges have a share of the token space.

    Attributes:
        name: simple class name, as Cassandra prints it.
        minimum: the smallest token.
        size: number of tokens in the space.
    """

    name: str
    minimum: int
    size: int

    def width(self, start: int, end: int) -> int:
        """Number of tokens in `(start, end]`; all of them if both are equal."""
        return (end - start) % self.size or self.size

    def within(self, token: int, whole: Range) -> bool:
        """Whether a range `(start, end]` contains a token."""
        return self.width(whole[0], token) <= self.width(*whole)

    def admits(self, token: int) -> bool:
        """Whether a token lies in this space."""
        return self.minimum <= token < self.minimum + self.size


PARTITIONERS = {
    "Murmur3Partitioner": Partitioner("Murmur3Partitioner", -(2**63), 2**64),
    # The absolute value of a signed hash: 0 and 2**127 are both tokens (`RandomPartitioner.MAXIMUM`).
    "RandomPartitioner": Partitioner("RandomPartitioner", 0, 2**127 + 1),
}


DEFAULT_PARTITIONER = "Murmur3Partitioner"  # Cassandra's own default


def partitioner(name: str) -> Partitioner:
    """The partitioner of a (fully qualified) class name.

    Raises:
        RingError: if it is not supported. The order-preserving ones are not: their tokens are keys of any text.
    """
    simple = name.rpartition(".")[2]
    try:
        return PARTITIONERS[simple]
    except KeyError:
        known = ", ".join(sorted(PARTITIONERS))
        name = _quoted(simple)[1:-1]
        raise RingError(f"partitioner {name} is not supported (only {known}): its tokens can't be compared") from None


@dataclass(frozen=True, slots=True)
class Node:
    """One Cassandra node; None means that the source does not know a field.

    Attributes:
        address: its name: the broadcast address as canonical text; `ip:port` only if nodes share an address.
        endpoint: the broadcast address with its port; None before 4.0, which reports no ports.
        host_id: UUID text, the node's identity; None if no view knows it (`nodetool status` shows `null`).
        paxos_variant: PaxosVariant, as the node itself reports it: how it coordinates serial operations (from 4.1 on).
        auth_read_level: consistency level at which it reads system_auth when a client logs in, as the node itself
            reports it (from 4.1 on).
        mode: OperationMode (NORMAL, JOINING, DRAINED, ...), as the node itself reports it.
        generation: gossip generation, epoch seconds at which gossip was started.
        source: whether the source could read this node: the outcome of its last request to it.
        tokens: number of tokens that it owns; 0 while it joins and for a node that only coordinates.
        streams: number of streams (repair, bootstrap, rebuild, decommission) that it sends or receives; if there are
            more than two, some may not be counted. None also if it was not asked.
    """

    address: str
    _: KW_ONLY
    endpoint: str | None = None
    host_id: str | None = None
    datacenter: str | None = None
    rack: str | None = None
    release_version: str | None = None
    paxos_variant: str | None = None
    auth_read_level: str | None = None
    mode: str | None = None
    gossip_running: bool | None = None
    native_transport_running: bool | None = None
    generation: int | None = None
    source: SourceState = "not_asked"
    tokens: int | None = None
    streams: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What one node reports about all nodes. Only core/views.py and core/evidence.py read its lists.

    Attributes:
        observer: address of the node whose view this is.
        outcome: `ok`, `discarded` (it answered, but its view does not count) or `unreachable` (it did not answer).
        reason: why it is not `ok`.
        live: endpoints that it lists as live, as it writes them or as addresses of the snapshot's nodes.
        unreachable: endpoints that it lists as unreachable; None if the source can't list them. An endpoint in neither
            list is unknown to this view.
        joining: endpoints that it sees joining the ring; likewise leaving and moving.
        host_ids: (endpoint, host id) pairs that differ from those of the snapshot's nodes, sorted; used if the lists
            are as it writes them.
        known_as: (endpoint, address) pairs of nodes that it knows under another endpoint; used if the lists are
            addresses.
        schema_version: UUID text of its schema.
        metadata: what it reports of the cluster metadata service; None before 6.0, or if it can't be read.
    """

    observer: str
    _: KW_ONLY
    outcome: ViewOutcome = "ok"
    reason: str | None = None
    live: frozenset[str] = frozenset()
    unreachable: frozenset[str] | None = None
    joining: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    moving: frozenset[str] = frozenset()
    host_ids: tuple[tuple[str, str], ...] = ()
    known_as: tuple[tuple[str, str], ...] = ()
    schema_version: str | None = None
    metadata: MetadataReport | None = None


_FACTOR = re.compile(r"([0-9]{1,9})(?:/([0-9]{1,9}))?")


def _quoted(text: str) -> str:
    """A text of a source for a message: short, and with escapes for what can't be printed."""
    most = 100
    return repr(text if len(text) <= most else f"{text[:most]}...")


@dataclass(frozen=True, slots=True)
class Factor:
    """A replication factor, `3` or `3/1`: three replicas, one of them transient."""

    replicas: int
    transient: int = 0

    def __str__(self) -> str:
        return f"{self.replicas}/{self.transient}" if self.transient else str(self.replicas)

    @classmethod
    def parse(cls, text: str) -> Factor:
        """A factor from Cassandra's text.

        Raises:
            RingError: if the text is not a factor.
        """
        parts = _FACTOR.fullmatch(text.strip())
        if not parts:
            raise RingError(f"replication factor {_quoted(text)} is not a number")
        factor = cls(int(parts[1]), int(parts[2] or 0))
        if factor.transient and factor.transient >= factor.replicas:
            raise RingError(f"replication factor {_quoted(text)} has no full replica")
        return factor


@dataclass(frozen=True, slots=True)
class Replication:
    """A strategy and its factors, for example `NetworkTopologyStrategy {dc1=3, dc2=2}`.

    Attributes:
        strategy: simple class name.
        options: (option, factor) pairs sorted by option; the options are datacenters for NetworkTopologyStrategy
            and `replication_factor` for the others.
    """

    strategy: str
    options: tuple[tuple[str, Factor], ...] = ()

    def __str__(self) -> str:
        return f"{self.strategy} {{{', '.join(f'{name}={factor}' for name, factor in self.options)}}}"

    @classmethod
    def parse(cls, text: str) -> Replication:
        """The replication that `getKeyspaceReplicationInfo` (StorageServiceMBean, 3.11.11+) writes as text.

        Raises:
            RingError: if the text has another form.
        """
        strategy, brace, rest = text.strip().partition("{")
        if not brace or not rest.endswith("}") or not strategy.strip():
            raise RingError(f"replication {_quoted(text)} is not understood")
        pairs = [part.rpartition("=") for part in rest[:-1].split(", ") if part]
        if any(not equals or not name for name, equals, _ in pairs):
            raise RingError(f"replication {_quoted(text)} is not understood")
        return cls.of(strategy.strip(), {name: Factor.parse(factor) for name, _, factor in pairs})

    @classmethod
    def of(cls, strategy: str, factors: dict[str, Factor]) -> Replication:
        """A replication from a (fully qualified) class name and the factor of each option."""
        return cls(strategy.rpartition(".")[2], tuple(sorted(factors.items())))


@dataclass(frozen=True, slots=True)
class Layout:
    """The racks of a snapshot's nodes.

    Attributes:
        racks: (datacenter, rack), sorted; an unknown name is empty.
        rack_of: for each node the index of its rack.
    """

    racks: tuple[tuple[str, str], ...]
    rack_of: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pending:
    """Nodes that gain the range `(start, end]`: its writes already go to them, its reads do not."""

    start: int
    end: int
    replicas: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ring:
    """The ranges of one distinct replication and the nodes that hold them.

    Attributes:
        keyspaces: names of the keyspaces that have it.
        replication: None if the release can't report it (before 3.11.11) and no configuration states it.
        tokens: sorted; range `i` is `(tokens[i - 1], tokens[i]]`.
        width: the largest number of replicas of a range.
        table: `width` node indexes for each range: its natural endpoints in Cassandra's order, padded with `filler`.
        filler: the index after the last node's, which stands for no replica.
        pending: ranges in movement, in any order; they need not be equal to natural ranges.
    """

    keyspaces: tuple[str, ...]
    replication: Replication | None
    tokens: Sequence[int]
    width: int
    table: array[int] = field(repr=False)
    filler: int
    pending: tuple[Pending, ...] = ()

    @classmethod
    def build(
        cls,
        keyspaces: Iterable[str],
        replication: Replication | None,
        ranges: Iterable[tuple[int, int, Sequence[int]]],
        nodes: int,
        pending: Iterable[Pending] = (),
        tokens: Sequence[int] = (),
    ) -> Ring:
        """A ring from ranges in any order.

        Args:
            keyspaces: names.
            replication: as in the class.
            ranges: (start, end, node indexes) of every natural range.
            nodes: number of nodes in the cluster; indexes are below it.
            pending: ranges in movement.
            tokens: tokens of another ring of the same cluster, which this ring shares if its own are equal.

        Raises:
            RingError: if there are no ranges, they overlap or leave a gap, or a replica is repeated or unknown.
        """
        return cls.of(keyspaces, replication, Spans.of(ranges, nodes), pending, tokens)

    @classmethod
    def of(
        cls,
        keyspaces: Iterable[str],
        replication: Replication | None,
        spans: Spans,
        pending: Iterable[Pending] = (),
        tokens: Sequence[int] = (),
    ) -> Ring:
        """As `build`, from gathered ranges; sorts them in place.

        Raises:
            RingError: as `build`.
        """
        spans.sort()
        spans.check()
        moving = tuple(pending)
        if any(not 0 <= node < spans.nodes for movement in moving for node in movement.replicas):
            raise RingError("a pending range names a node that the cluster does not have")
        shared = tokens if tokens == spans.ends else spans.ends
        return cls(
            keyspaces=tuple(keyspaces),
            replication=replication,
            tokens=shared,
            width=spans.width,
            table=spans.table,
            filler=spans.nodes,
            pending=moving,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def range(self, index: int) -> Range:
        """`(start, end]` of a range."""
        return self.tokens[index - 1], self.tokens[index]

    def replicas(self, index: int) -> tuple[int, ...]:
        """Node indexes of a range's natural endpoints, in Cassandra's order."""
        row = self.table[index * self.width : (index + 1) * self.width]
        return tuple([node for node in row if node != self.filler])

    def rows(self) -> Iterator[tuple[int, ...]]:
        """The rows of the table, in the order of tokens."""
        flat = iter(self.table)
        return zip(*[flat] * self.width, strict=True) if self.width else iter([()] * len(self))

    @cached_property
    def holders(self) -> frozenset[int]:
        """Indexes of the nodes that hold replicas."""
        return frozenset(self.table) - {self.filler}

    def holding(self, nodes: Iterable[int]) -> frozenset[int]:
        """Those of the nodes that hold replicas or gain them; no other node matters to this ring."""
        return self._concerned.intersection(nodes)

    @cached_property
    def _concerned(self) -> frozenset[int]:
        return self.holders.union(*(movement.replicas for movement in self.pending))

    @cached_property
    def memo(self) -> dict[object, object]:
        """Results derived from this ring, of which there may be few; they may be dropped at any time."""
        return {}

    @cached_property
    def ranges_of(self) -> tuple[array[int], ...]:
        """For each node the indexes of the ranges that it holds, ascending: what a change of its state touches."""
        ranges: list[list[int]] = [[] for _ in range(self.filler + 1)]
        for index, row in enumerate(self.rows()):
            for node in row:
                ranges[node].append(index)
        return tuple([array("I", indexes) for indexes in ranges[: self.filler]])


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read, or that contradicts itself; the verdict reports it as a finding.

    Attributes:
        code: a finding code, stable.
        subject: node address, keyspace or cluster that it is about.
        summary: one line for an operator.
    """

    code: str
    subject: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that one poll of a cluster returned.

    Attributes:
        cluster: Cassandra's ClusterName.
        taken_at: RFC 3339 text, UTC.
        partitioner: simple class name.
        nodes: all members, joining ones included; rings index into it.
        views: one for each node that was asked.
        rings: one for each distinct replication; keyspaces with LocalStrategy are in none.
        authenticates: whether clients must log in, for which Cassandra reads system_auth; None if not known.
        problems: what could not be read.
        auth_read_level: consistency level at which Cassandra reads system_auth when a client logs in, as a node reports
            it (4.1+); None if not known.
        schemas: the keyspaces by schema version, if nodes that serve clients have several; else empty.
        requests: the nodes' counters of client requests; None if this poll did not read them. No part of the document,
            since a single reading shows no queries.
    """

    cluster: str
    taken_at: str
    partitioner: str
    nodes: tuple[Node, ...]
    views: tuple[View, ...]
    rings: tuple[Ring, ...]
    authenticates: bool | None = None
    problems: tuple[Problem, ...] = ()
    auth_read_level: str | None = None
    schemas: tuple[SchemaReport, ...] = ()
    requests: tuple[NodeRequests, ...] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def index(self) -> dict[str, int]:
        """Node index by address."""
        return {node.address: index for index, node in enumerate(self.nodes)}

    @cached_property
    def datacenters(self) -> tuple[str, ...]:
        """Names of the datacenters that have nodes, sorted; unknown ones are left out."""
        return tuple(sorted({node.datacenter for node in self.nodes if node.datacenter}))

    @cached_property
    def layout(self) -> Layout:
        """The racks of the nodes."""
        homes = [(node.datacenter or "", node.rack or "") for node in self.nodes]
        racks = tuple(sorted(set(homes)))
        index_of = {rack: index for index, rack in enumerate(racks)}
        return Layout(racks, tuple([index_of[home] for home in homes]))

    @cached_property
    def memo(self) -> dict[str, object]:
        """What was derived from this snapshot, by name; it may be dropped at any time."""
        return {}
