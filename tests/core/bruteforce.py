"""A second implementation of every number of the core: naive, slow, and written from Cassandra's rules alone.

It has no spare counts, no caches and no shortcuts. It decides for one token at a time whether a query would be served,
as `ConsistencyLevel.assureSufficientLiveNodes` (to 3.11), `ReplicaPlans` (4.0 and later), the write handlers,
`StorageProxy.getPaxosParticipants` (Paxos v1) and `Paxos.Participants` (v2) do. It finds everything else by trying:
stop one more node, stop each set of nodes or racks, start a node. It imports nothing from the core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")

Operation: TypeAlias = Literal["read", "write"]
Kind: TypeAlias = Literal["simple", "old", "everywhere", "nts"]
Variant: TypeAlias = Literal["v1", "v2"]
Interval: TypeAlias = "tuple[int, int]"

LEVELS = (
    "ANY",
    "ONE",
    "TWO",
    "THREE",
    "LOCAL_ONE",
    "QUORUM",
    "ALL",
    "LOCAL_QUORUM",
    "EACH_QUORUM",
    "SERIAL",
    "LOCAL_SERIAL",
    "LOCAL_ALL",
)
LOCAL_LEVELS = ("LOCAL_ONE", "LOCAL_QUORUM", "LOCAL_SERIAL", "LOCAL_ALL")


@dataclass(frozen=True, slots=True)
class Place:
    """Datacenter and rack of a node."""

    dc: str
    rack: str


@dataclass(frozen=True, slots=True)
class Arc:
    """The nodes of the tokens in (start, end], which may wrap; start == end is the whole ring."""

    start: int
    end: int
    nodes: tuple[str, ...]

    def holds(self, token: int) -> bool:
        """Whether the token lies in the arc."""
        if self.start < self.end:
            return self.start < token <= self.end
        return token > self.start or token <= self.end


@dataclass(frozen=True, slots=True)
class Space:
    """The lowest and the highest token, both included."""

    low: int
    high: int

    def size(self) -> int:
        """How many tokens there are."""
        return self.high - self.low + 1

    def width(self, start: int, end: int) -> int:
        """How many tokens (start, end] has, counted in two parts and not by a modulus."""
        if start < end:
            return end - start
        return (self.high - start) + (end - self.low + 1)


@dataclass(frozen=True, slots=True)
class Factors:
    """Configured replication: `kind` is simple, old, everywhere or nts; `by_dc` has an entry for each option of nts."""

    kind: Kind
    total: int = 0
    by_dc: tuple[tuple[str, int], ...] = ()
    transient: tuple[tuple[str, int], ...] = ()
    """How many of the copies are transient: by DC for nts, under "" otherwise."""

    def everywhere(self) -> int:
        """The sum of the replication factors."""
        return sum(factor for _, factor in self.by_dc) if self.kind == "nts" else self.total

    def of(self, dc: str) -> int:
        """The replication factor of a DC; 0 if nts has no option for it."""
        return dict(self.by_dc).get(dc, 0)


def operations(level: str, release: tuple[int, int]) -> tuple[Operation, ...]:
    """The operations that Cassandra accepts at a level."""
    if level == "ANY":
        return ("write",)
    if level == "EACH_QUORUM" and release < (3, 0):
        return ("write",)
    return ("read", "write")


@dataclass(frozen=True)
class Case:
    """One keyspace, queried at one level by clients of one DC through coordinators of one release."""

    places: Mapping[str, Place]
    natural: Sequence[Arc]
    pending: Sequence[Arc]
    factors: Factors
    space: Space
    release: tuple[int, int]
    level: str
    client: str | None
    paxos: Variant

    # ---- one token ----

    def replicas(self, token: int) -> list[str]:
        """The natural replicas of a token."""
        return [node for arc in self.natural if arc.holds(token) for node in arc.nodes]

    def incoming(self, token: int) -> list[str]:
        """The pending replicas of a token, each once even if several arcs have it."""
        own = self.replicas(token)
        gaining = {node for arc in self.pending if arc.holds(token) for node in arc.nodes}
        return sorted(gaining - set(own))

    def served(self, token: int, live: Collection[str], operation: Operation) -> bool:
        """Whether a query of this token succeeds: accepted by the coordinator, and not certain to time out."""
        natural, pending = self.replicas(token), self.incoming(token)
        if not natural and self.level != "ANY":
            return False  # even though a quorum of no replicas is reached
        if self.level in ("SERIAL", "LOCAL_SERIAL"):
            paxos = self._paxos_v2 if self.paxos == "v2" else self._paxos_v1
            return paxos(natural, pending, live)
        if operation == "read":
            return self._read(natural, live)
        if self.release >= (4, 0):
            return self._write_from_4_0(natural, pending, live)
        return self._write_to_3_11(natural, pending, live)

    def _local(self, nodes: Iterable[str]) -> list[str]:
        return [node for node in nodes if self.places[node].dc == self.client]

    def _in_dc(self, nodes: Iterable[str], dc: str) -> list[str]:
        return [node for node in nodes if self.places[node].dc == dc]

    def _each_dc(self) -> list[str] | None:
        """The DCs that EACH_QUORUM needs a quorum in; None if Cassandra treats it as QUORUM."""
        if self.level != "EACH_QUORUM" or self.factors.kind != "nts":
            return None
        kept = self.release < (4, 0)
        return [dc for dc, factor in self.factors.by_dc if kept or factor > 0]

    def _block_for(self, natural: list[str]) -> int:
        factors = self.factors
        match self.level:
            case "ANY" | "ONE" | "LOCAL_ONE" | "TWO" | "THREE":
                need = {"TWO": 2, "THREE": 3}.get(self.level, 1)
            case "ALL":
                need = factors.everywhere()
            case "LOCAL_ALL":
                need = max(1, len(self._local(natural)))
            case "LOCAL_QUORUM" | "LOCAL_SERIAL" if factors.kind == "nts":
                need = factors.of(self.client or "") // 2 + 1
            case "QUORUM" | "EACH_QUORUM" | "SERIAL" | "LOCAL_QUORUM" | "LOCAL_SERIAL":
                need = factors.everywhere() // 2 + 1
            case other:
                raise AssertionError(other)
        return need

    def _scope(self) -> Callable[[Iterable[str]], list[str]]:
        return self._local if self.level in LOCAL_LEVELS else list

    def _read(self, natural: list[str], live: Collection[str]) -> bool:
        alive = [node for node in natural if node in live]
        if (dcs := self._each_dc()) is not None:
            enough = all(len(self._in_dc(alive, dc)) >= self.factors.of(dc) // 2 + 1 for dc in dcs)
        else:
            enough = len(self._scope()(alive)) >= self._block_for(natural)
        return enough and self._surely_full(natural, alive)

    def _surely_full(self, natural: list[str], alive: list[str]) -> bool:
        """Whether a live replica is a full one, whichever ones are transient; not all of them are.

        With several datacenters it assumes that the live replicas are the transient ones. That is too strict: of two
        live replicas in a datacenter with one transient replica, at least one is full.
        """
        if not self.factors.transient:
            return True
        if self.level in LOCAL_LEVELS and self.factors.kind == "nts":
            transient = dict(self.factors.transient).get(self.client or "", 0)
        else:
            transient = sum(count for _, count in self.factors.transient)
        scope = self._scope()
        return len(scope(alive)) > min(transient, len(scope(natural)) - 1)

    def _write_to_3_11(self, natural: list[str], pending: list[str], live: Collection[str]) -> bool:
        if self.level == "ANY":
            return True
        alive = [node for node in (*natural, *pending) if node in live]
        if (dcs := self._each_dc()) is not None:
            accepted = all(len(self._in_dc(alive, dc)) >= self.factors.of(dc) // 2 + 1 for dc in dcs)
            return accepted and self._each_dc_answers(dcs, pending, alive)
        scope, need = self._scope(), self._block_for(natural)
        accepted = len(scope(alive)) >= need
        return accepted and len(scope(alive)) >= need + len(scope(pending))

    def _write_from_4_0(self, natural: list[str], pending: list[str], live: Collection[str]) -> bool:
        if self.level == "ANY":
            return True
        alive = [node for node in (*natural, *pending) if node in live]
        if (dcs := self._each_dc()) is not None:
            accepted = all(len(self._in_dc(alive, dc)) >= self.factors.of(dc) // 2 + 1 for dc in dcs)
            return accepted and self._each_dc_answers(dcs, pending, alive)
        scope = self._scope()
        return len(scope(alive)) >= self._block_for(natural) + len(scope(pending))

    def _each_dc_answers(self, dcs: list[str], pending: list[str], alive: list[str]) -> bool:
        return all(
            len(self._in_dc(alive, dc)) >= self.factors.of(dc) // 2 + 1 + len(self._in_dc(pending, dc)) for dc in dcs
        )

    def _paxos_v1(self, natural: list[str], pending: list[str], live: Collection[str]) -> bool:
        scope = self._scope()
        participants = scope((*natural, *pending))
        if len(scope(pending)) > 1:
            return False
        if len([node for node in participants if node in live]) < len(participants) // 2 + 1:
            return False
        return self._read(natural, live)

    def _paxos_v2(self, natural: list[str], pending: list[str], live: Collection[str]) -> bool:
        scope = self._scope()
        electorate_natural, electorate_pending = scope(natural), scope(pending)
        size_of_read_quorum = len(electorate_natural) // 2 + 1
        size_of_consensus_quorum = size_of_read_quorum + len(electorate_pending)
        size_of_poll = len([node for node in (*electorate_natural, *electorate_pending) if node in live])
        alive = [node for node in natural if node in live]
        return size_of_poll >= size_of_consensus_quorum and self._surely_full(natural, alive)

    # ---- every token ----

    @cached_property
    def pieces(self) -> list[Interval]:
        """The elementary intervals (start, end]: no natural or pending arc begins or ends inside one."""
        cuts = sorted({cut for arc in (*self.natural, *self.pending) for cut in (arc.start, arc.end)})
        return list(zip([cuts[-1], *cuts[:-1]], cuts, strict=True))

    def unserved(self, live: Collection[str], operation: Operation) -> set[Interval]:
        """The elementary intervals where this operation fails."""
        return {piece for piece in self.pieces if not self.served(piece[1], live, operation)}

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations of this level and release."""
        return operations(self.level, self.release)

    def failing(self, live: Collection[str]) -> set[Interval]:
        """The elementary intervals where some operation fails."""
        return {piece for operation in self.operations for piece in self.unserved(live, operation)}

    def hopeless(self) -> set[Interval]:
        """The elementary intervals that fail even with all nodes up and nothing pending."""
        still, everyone = replace(self, pending=()), set(self.places)
        return {
            (start, end)
            for start, end in self.pieces
            if not all(still.served(end, everyone, operation) for operation in self.operations)
        }

    def tight(self, live: Collection[str], operation: Operation) -> set[Interval]:
        """The elementary intervals that are served, but would fail if some single live node died."""
        fewer = [set(live) - {node} for node in live]
        return {
            (start, end)
            for start, end in self.pieces
            if self.served(end, live, operation) and not all(self.served(end, left, operation) for left in fewer)
        }

    def arcs_of(self, pieces: Collection[Interval]) -> set[Arc]:
        """The natural arcs that contain any of these pieces."""
        return {arc for arc in self.natural for _, end in pieces if arc.holds(end)}

    def share(self, pieces: Collection[Interval]) -> Fraction:
        """The share of the token space that these pieces have."""
        return Fraction(sum(self.space.width(*piece) for piece in pieces), self.space.size())

    # ---- what if ----

    def outage(self, live: Collection[str]) -> set[Interval]:
        """The failing elementary intervals that would be served with all nodes up."""
        return self.failing(live) - self.hopeless()

    def node_failures(self, live: Collection[str]) -> int | None:
        """How many live nodes must die for an outage, by trying every set; None if no set is enough."""
        return self._smallest({node: {node} for node in live}, live)

    def rack_failures(self, live: Collection[str]) -> int | None:
        """How many racks must die for an outage, by trying every set; None if no set is enough."""
        racks: dict[Place, set[str]] = {}
        for node, place in self.places.items():
            racks.setdefault(place, set()).add(node)
        return self._smallest(racks, live)

    def weakest(self, live: Collection[str]) -> set[Arc]:
        """The natural arcs that fail after the fewest deaths of live nodes; those that fail already, if any do."""
        for size in range(len(live) + 1):
            failing = {
                arc for dead in combinations(live, size) for arc in self.arcs_of(self.failing(set(live) - {*dead}))
            }
            if failing:
                return failing
        return set()

    def _smallest(self, groups: Mapping[T, set[str]], live: Collection[str]) -> int | None:
        for chosen in _subsets(groups):
            dead = {node for group in chosen for node in groups[group]}
            if self.outage(set(live) - dead):
                return len(chosen)
        return None


def _subsets(groups: Mapping[T, set[str]]) -> Iterator[tuple[T, ...]]:
    for size in range(len(groups) + 1):
        yield from combinations(groups, size)
