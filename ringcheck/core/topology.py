"""The cluster as it would be with other replication, other tokens, more nodes, or replicas in different racks.

Each assumption makes another snapshot, with its rings placed anew (core/placement.py). New tokens are made up.
`random` tokens are what nodes draw without token allocation; they come from a fixed sequence, so that the same question
has the same answer. `allocated` tokens are what allocation aims at: the tokens of a node halve the largest ranges of
its rack. They are an approximation, since Cassandra's own algorithm considers more than that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.consistency import META_STRATEGY, NETWORK_TOPOLOGY
from ringcheck.core.placement import SIMPLE, Ownership, is_placed, ownership_of, placed, spans_of
from ringcheck.core.ring import Factor, Node, Replication, Ring, partitioner
from ringcheck.core.words import suggestion
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ringcheck.core.ring import Partitioner, Snapshot

TokenChoice: TypeAlias = Literal["random", "allocated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What is assumed of a cluster's topology; the defaults assume nothing.

    Attributes:
        replication: of keyspaces, by name.
        added: (datacenter, rack) of nodes that join.
        tokens: how many tokens every node has; None if each keeps the tokens that it has.
        choice: how made-up tokens are chosen.
    """

    replication: tuple[tuple[str, Replication], ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    tokens: int | None = None
    choice: TokenChoice = "random"

    def __bool__(self) -> bool:
        return bool(self.replication or self.added or self.tokens)

    @property
    def names(self) -> tuple[str, ...]:
        """Names that stand in place of the addresses of the nodes that join: these have no address yet."""
        return tuple(f"added-{number}" for number in range(1, len(self.added) + 1))


AS_IT_IS = Topology()


def with_topology(snapshot: Snapshot, topology: Topology) -> Snapshot:
    """The snapshot as it would be. No view lists the nodes that join.

    Raises:
        UsageError: if a keyspace or datacenter does not exist, or it is not known where replicas would be placed.
    """
    if not topology:
        return snapshot
    ownership = ownership_of(snapshot)
    grown = replace(snapshot, nodes=(*snapshot.nodes, *_joined(topology)))
    _check(snapshot, grown, topology)
    if not (topology.added or topology.tokens):
        return _placed(grown, dict(topology.replication), ownership, moved=False)
    owned = _owned(grown, ownership, topology)
    nodes = [replace(node, tokens=len(owned.get(index, ()))) for index, node in enumerate(grown.nodes)]
    changed = replace(grown, nodes=tuple(nodes))
    return _placed(changed, dict(topology.replication), Ownership.of(owned), moved=True)


def rack_aware(snapshot: Snapshot) -> Snapshot:
    """The snapshot as it would be if no two replicas of a range were in one rack.

    A datacenter with fewer racks than replicas gets as many racks as replicas, with its nodes dealt out in turn.
    SimpleStrategy becomes NetworkTopologyStrategy, unless the cluster has several datacenters.

    Raises:
        UsageError: if it is not known where replicas would be placed.
    """
    ownership = ownership_of(snapshot)
    homes = sorted({snapshot.nodes[node].datacenter or "" for node in ownership.owners})
    replication = {
        name: Replication(NETWORK_TOPOLOGY, ((homes[0], ring.replication.options[0][1]),))
        for ring in snapshot.rings
        if len(homes) == 1 and ring.replication and ring.replication.strategy == SIMPLE and is_placed(ring.replication)
        for name in ring.keyspaces
    }
    nodes = list(snapshot.nodes)
    for home in homes:
        members = [node for node in sorted(set(ownership.owners)) if (nodes[node].datacenter or "") == home]
        racks = _replicas(snapshot, replication.values(), home)
        if len({nodes[node].rack for node in members}) < racks:
            for turn, node in enumerate(members):
                nodes[node] = replace(nodes[node], rack=f"rack-{turn % racks + 1}")
    return _placed(replace(snapshot, nodes=tuple(nodes)), replication, ownership, moved=True)


def _replicas(snapshot: Snapshot, more: Iterable[Replication], home: str) -> int:
    """The largest factor that a datacenter has."""
    replications = [*(ring.replication for ring in snapshot.rings if ring.replication), *more]
    known = [dict(each.options) for each in replications if each.strategy == NETWORK_TOPOLOGY]
    return max((options.get(home, Factor(0)).replicas for options in known), default=0)


def _joined(topology: Topology) -> Iterator[Node]:
    for address, (datacenter, rack) in zip(topology.names, topology.added, strict=True):
        yield Node(address, host_id=address, datacenter=datacenter, rack=rack)


def _check(snapshot: Snapshot, grown: Snapshot, topology: Topology) -> None:
    known = {name for ring in snapshot.rings for name in ring.keyspaces}
    for name, replication in topology.replication:
        if name not in known:
            raise UsageError(f"there is no keyspace {name} ({suggestion(name, sorted(known))})")
        strangers = sorted({home for home, _ in replication.options} - set(grown.datacenters))
        if strangers:
            raise UsageError(f"datacenter {strangers[0]} has no nodes ({suggestion(strangers[0], grown.datacenters)})")


def _placed(
    snapshot: Snapshot, replication: Mapping[str, Replication], ownership: Ownership, *, moved: bool
) -> Snapshot:
    """The snapshot with every keyspace on a ring of its replication.

    Args:
        snapshot: with the rings as they are.
        replication: of keyspaces that get another one.
        ownership: of the tokens, as it would be.
        moved: whether the ownership, or a rack, would change.
    """
    rings: dict[Replication | int, Ring] = {}
    for number, ring in enumerate(snapshot.rings):
        for name in ring.keyspaces:
            wanted = replication.get(name, ring.replication)
            key = number if wanted is None or (wanted == ring.replication and not is_placed(wanted)) else wanted
            if key in rings:
                rings[key] = replace(rings[key], keyspaces=(*rings[key].keyspaces, name))
            elif wanted is not None and is_placed(wanted) and (moved or wanted != ring.replication):
                spans = spans_of(ownership, placed(ownership, wanted, snapshot.layout))
                rings[key] = Ring.build((name,), wanted, spans, len(snapshot.nodes))
            else:
                rings[key] = _kept(ring, name, snapshot, moved=moved)
    return replace(snapshot, rings=tuple(rings.values()))


def _kept(ring: Ring, name: str, snapshot: Snapshot, *, moved: bool) -> Ring:
    """The ring of one keyspace as it is; the metadata log of 6.0+ does not follow the tokens.

    Raises:
        UsageError: if the ring would change, and it is not known how.
    """
    if not moved:
        return replace(ring, keyspaces=(name,))
    if ring.replication is None or ring.replication.strategy != META_STRATEGY:
        strategy = ring.replication.strategy if ring.replication else "of unknown replication"
        raise UsageError(f"it is not known where {name} ({strategy}) would have its replicas")
    spans = [(*ring.range(index), ring.replicas(index)) for index in range(len(ring))]
    return Ring.build((name,), ring.replication, spans, len(snapshot.nodes))


# Tokens


def _owned(snapshot: Snapshot, ownership: Ownership, topology: Topology) -> dict[int, list[int]]:
    """The tokens of each node as they would be."""
    owned = ownership.owned()
    first = len(snapshot.nodes) - len(topology.added)
    numbers = {node: topology.tokens or _usual(snapshot, owned, node) for node in range(first, len(snapshot.nodes))}
    if topology.tokens:
        numbers |= dict.fromkeys(owned, topology.tokens)
        owned = {}
    tokens = _Tokens(partitioner(snapshot.partitioner), owned, snapshot.layout.rack_of)
    for node in sorted(numbers):
        choose = tokens.allocated if topology.choice == "allocated" else tokens.random
        owned[node] = choose(node, numbers[node])
    return owned


def _usual(snapshot: Snapshot, owned: Mapping[int, Collection[int]], node: int) -> int:
    """How many tokens most nodes of a datacenter have; of the cluster, if the node is the first there."""
    home = snapshot.nodes[node].datacenter
    local = [len(tokens) for other, tokens in owned.items() if snapshot.nodes[other].datacenter == home]
    return Counter(local or map(len, owned.values())).most_common(1)[0][0]


class _Tokens:
    """Makes up tokens, none twice."""

    def __init__(self, space: Partitioner, owned: Mapping[int, Iterable[int]], rack_of: tuple[int, ...]) -> None:
        self._space = space
        self._rack_of = rack_of
        self._draws = _draws()
        self._taken = {token for tokens in owned.values() for token in tokens}
        self._in_rack: dict[int, list[int]] = defaultdict(list)
        for node, tokens in owned.items():
            self._in_rack[rack_of[node]].extend(tokens)

    def random(self, node: int, number: int) -> list[int]:
        """Tokens drawn from the fixed sequence."""
        return [self._take(node, next(self._draws)) for _ in range(number)]

    def allocated(self, node: int, number: int) -> list[int]:
        """Tokens that halve the largest ranges of the node's rack; if it has too few ranges, the rest are drawn."""
        tokens = sorted(self._in_rack[self._rack_of[node]])
        ranges = list(pairwise([tokens[-1], *tokens])) if tokens else []
        widest = nlargest(number, ((self._space.width(start, end), start) for start, end in ranges))
        halved = [self._take(node, start + width // 2) for width, start in widest]
        return halved + self.random(node, number - len(halved))

    def _take(self, node: int, number: int) -> int:
        token = self._space.minimum + 1 + (number - self._space.minimum - 1) % (self._space.size - 1)
        while token in self._taken:
            token = self._space.minimum + 1 + (token - self._space.minimum) % (self._space.size - 1)
        self._taken.add(token)
        self._in_rack[self._rack_of[node]].append(token)
        return token


def _draws() -> Iterator[int]:
    """Numbers of 128 bits that look random, always the same."""
    low = _split_mix()
    while True:
        yield next(low) << 64 | next(low)


def _split_mix() -> Iterator[int]:
    """SplitMix64, from 0."""
    mask, state = (1 << 64) - 1, 0
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        yield mixed ^ (mixed >> 31)
