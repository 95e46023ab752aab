"""Which nodes hold a range: the rules of Cassandra's replication strategies, for hypothetical rings.

A strategy walks the ring from the end of a range and takes nodes. SimpleStrategy takes the next nodes.
NetworkTopologyStrategy takes in each datacenter the next nodes of different racks, and if there are fewer racks than
replicas, the next nodes of racks that it has already (`calculateNaturalReplicas`, all releases). One walk backwards
finds the nodes of all ranges: those that it passed last are the next ones.

No node reports who owns a token. If every datacenter has replicas, the owner of a range's last token is the first
replica of the range. To check the owners that were found, the replicas of all rings are placed again and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.consistency import EVERYWHERE, NETWORK_TOPOLOGY
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ringcheck.core.ring import Layout, Replication, Ring, Snapshot

SIMPLE = "SimpleStrategy"


@dataclass(frozen=True, slots=True)
class Ownership:
    """The tokens of a cluster in order, and the index of the node that owns each."""

    tokens: tuple[int, ...]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, owned: Mapping[int, Iterable[int]]) -> Ownership:
        """The ownership in which each node has these tokens."""
        pairs = sorted((token, node) for node, tokens in owned.items() for token in tokens)
        return cls(tuple([token for token, _ in pairs]), tuple([node for _, node in pairs]))

    def owned(self) -> dict[int, list[int]]:
        """The tokens of each node that has some."""
        tokens: dict[int, list[int]] = {}
        for token, node in zip(self.tokens, self.owners, strict=True):
            tokens.setdefault(node, []).append(token)
        return tokens


def placed(ownership: Ownership, replication: Replication, layout: Layout) -> list[tuple[int, ...]]:
    """The nodes that hold each range: first those in the datacenter of the token's owner, beginning with the owner.

    Args:
        ownership: of the tokens.
        replication: one for which `is_placed` holds.
        layout: racks of the nodes.
    """
    options = {name: factor.replicas for name, factor in replication.options}
    if replication.strategy == EVERYWHERE:
        return [tuple(sorted(set(ownership.owners)))] * len(ownership.tokens)
    if replication.strategy == SIMPLE:
        options = {"": options["replication_factor"]}
    racks: list[tuple[str, object]] = [
        ("", node) if replication.strategy == SIMPLE else layout.racks[at] for node, at in enumerate(layout.rack_of)
    ]
    return _walked(ownership, options, racks)


def _walked(ownership: Ownership, options: Mapping[str, int], racks: list[tuple[str, object]]) -> list[tuple[int, ...]]:
    number_of = {name: len({racks[node] for node in ownership.owners if racks[node][0] == name}) for name in options}
    nexts = {name: _Next(factor, number_of[name]) for name, factor in options.items() if factor}
    parts: dict[str, tuple[int, ...]] = dict.fromkeys(nexts, ())
    rows: list[tuple[int, ...]] = []
    for lap in (0, 1):  # the first lap collects the nodes that the second one begins with
        for node in reversed(ownership.owners):
            home, rack = racks[node]
            if home in nexts:
                nexts[home].passed(node, rack)
                parts[home] = nexts[home].taken() if lap else ()
            if lap:
                ordered = sorted(nexts, key=home.__ne__)  # the owner of the token is the first replica
                rows.append(sum((parts[name] or nexts[name].taken() for name in ordered), ()))
    rows.reverse()
    return rows


class _Next:
    """The next nodes of one datacenter, seen from the place that a walk backwards has reached."""

    def __init__(self, factor: int, racks: int) -> None:
        self._factor = factor
        self._repeats = max(0, factor - racks)
        self._by_rack: dict[object, int] = {}  # the next node of each rack; the nearest is the last key
        self._nodes: dict[int, None] = {}  # all nodes, likewise; only needed if racks repeat

    def passed(self, node: int, rack: object) -> None:
        """Go back past a token of this node."""
        self._by_rack.pop(rack, None)
        self._by_rack[rack] = node
        if self._repeats:
            self._nodes.pop(node, None)
            self._nodes[node] = None

    def taken(self) -> tuple[int, ...]:
        """The nodes that the strategy takes from here."""
        nodes = [node for node, _ in zip(reversed(self._by_rack.values()), range(self._factor), strict=False)]
        if self._repeats:
            others = (node for node in reversed(self._nodes) if node not in nodes[: len(self._by_rack)])
            nodes += [node for node, _ in zip(others, range(self._repeats), strict=False)]
        return tuple(nodes)


def ownership_of(snapshot: Snapshot) -> Ownership:
    """Who owns each token.

    Raises:
        UsageError: if that is not known, or nodes are joining, leaving or moving.
    """
    if any(ring.pending for ring in snapshot.rings):
        raise UsageError("nodes are joining, leaving or moving: until they are done, the future ring is not known")
    homes = {node.datacenter or "" for node in snapshot.nodes if node.tokens != 0}
    rings = [(ring, ring.replication) for ring in snapshot.rings if ring.replication and is_placed(ring.replication)]
    telling = next((ring for ring, replication in rings if _names_owners(ring, replication, homes)), None)
    if telling is None:
        raise UsageError("the owners of tokens are not known: no keyspace has replicas in every datacenter")
    ownership = Ownership(tuple(telling.tokens), tuple([row[0] for row in telling.rows()]))
    for ring, replication in rings:
        if not _reproduced(ring, replication, ownership, snapshot.layout):
            raise UsageError(f"the replicas of {ring.keyspaces[0]} are not where its replication would place them")
    return ownership


def is_placed(replication: Replication) -> bool:
    """Whether this module knows where a replication places replicas."""
    names = {name for name, _ in replication.options}
    if replication.strategy == SIMPLE:
        return names == {"replication_factor"}
    return replication.strategy == EVERYWHERE or (replication.strategy == NETWORK_TOPOLOGY and "" not in names)


def _names_owners(ring: Ring, replication: Replication, homes: set[str]) -> bool:
    """Whether the first replica of every range owns the token at its end."""
    if replication.strategy == EVERYWHERE or not ring.width or ring.filler in ring.table[:: ring.width]:
        return False
    factors = {name: factor.replicas for name, factor in replication.options}
    return replication.strategy == SIMPLE or all(factors.get(home) for home in homes)


def _reproduced(ring: Ring, replication: Replication, ownership: Ownership, layout: Layout) -> bool:
    if tuple(ring.tokens) != ownership.tokens:
        return False
    rows = placed(ownership, replication, layout)
    return all(set(row) == set(seen) - {ring.filler} for row, seen in zip(rows, ring.rows(), strict=True))


def spans_of(ownership: Ownership, rows: list[tuple[int, ...]]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """The ranges of an ownership with the nodes that hold them, as `Ring.build` takes them."""
    for index, row in enumerate(rows):
        yield ownership.tokens[index - 1], ownership.tokens[index], row
