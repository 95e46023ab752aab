"""What a batch of a restart plan may hold: no more live replicas of a range than every stake can spare.

Translates the ranges of a cluster into the `Limits` of `core.batches`, which knows nothing of nodes or ranges. Ranges
with equal numbers of live and of down replicas in each datacenter have the same limits, which are worked out once.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.batches import Limits
from ringcheck.core.losses import never_spared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ringcheck.core.consistency import Replicas
    from ringcheck.core.gate import Gatekeeper
    from ringcheck.core.stakes import Stake


class NumberedNodes:
    """The nodes to plan for, each with a bit of its own; other nodes have no bit.

    Attributes:
        nodes: indexes of the nodes, in the order of their bits.
        bit: the bit of each node, by index.
        all: all bits.
    """

    def __init__(self, nodes: list[int]) -> None:
        """Number the nodes in the order given."""
        self.nodes = nodes
        self.bit = {node: 1 << number for number, node in enumerate(nodes)}
        self.all = (1 << len(nodes)) - 1

    def mask(self, nodes: Iterable[int]) -> int:
        """The bits of some nodes."""
        mask = 0
        for node in nodes:
            mask |= self.bit.get(node, 0)
        return mask


def limits_of(keeper: Gatekeeper, numbered: NumberedNodes) -> Limits:
    """How many nodes of each range a batch may hold, by all stakes of the gate."""
    limits = Limits(len(numbered.nodes))
    for stakes in stakes_by_ring(keeper):
        _RingLimits(keeper, stakes, numbered).fill(limits)
    return limits


def stakes_by_ring(keeper: Gatekeeper) -> list[list[Stake]]:
    """The stakes of the gate, grouped by ring."""
    stakes: dict[int, list[Stake]] = defaultdict(list)
    for stake in keeper.stakes:
        stakes[id(stake.ring)].append(stake)
    return list(stakes.values())


class _Spare(NamedTuple):
    """How many replicas of a range may stop together: natural ones in a datacenter (None: in all), or pending too."""

    datacenter: str | None
    most: int
    counts_pending: bool


class _RingLimits:
    """The limits of one ring."""

    def __init__(self, keeper: Gatekeeper, stakes: list[Stake], numbered: NumberedNodes) -> None:
        layout = keeper.snapshot.layout
        self.stakes = stakes
        self.allow = keeper.gate.allow
        self.require_spare = keeper.gate.require_spare and "would_be_at_minimum" not in keeper.gate.allow
        self.ring = stakes[0].ring
        self.down = keeper.uncounted
        self.state = keeper.state(self.ring, self.down)
        self.datacenters = [layout.racks[rack][0] for rack in layout.rack_of]
        self.masks = self._masks(numbered)
        # The last entry is that of the filler, which follows a range's last replica.
        self.bits = [0 if node in self.down else numbered.bit.get(node, 0) for node in range(len(layout.rack_of))] + [0]

    def _masks(self, numbered: NumberedNodes) -> Mapping[str | None, int]:
        """The nodes of each datacenter, as bits; under None the nodes of all datacenters."""
        masks: dict[str | None, int] = defaultdict(int)
        masks[None] = numbered.all
        for node, datacenter in enumerate(self.datacenters):
            masks[datacenter] |= numbered.bit.get(node, 0)
        return dict(masks)

    def fill(self, limits: Limits) -> None:
        """Add the limits of every range."""
        by_key: dict[tuple[object, ...], list[tuple[int, int]]] = {}
        for index, (row, key) in enumerate(zip(self.ring.rows(), self._keys(), strict=True)):
            if index in self.state.pieces:
                continue
            bounds = by_key.get(key)
            if bounds is None:
                bounds = by_key[key] = self._bounds(index)
            if bounds:
                members = self._members(row)
                for mask, most in bounds:
                    limits.add(members & mask, most)
        self._fill_pieces(limits)

    def _keys(self) -> Iterator[tuple[object, ...]]:
        """For each range, what decides its limits: the datacenter of each replica, and whether it is down."""
        numbers = {name: number for number, name in enumerate(sorted(set(self.datacenters)))}
        codes = [2 * numbers[name] + (node in self.down) for node, name in enumerate(self.datacenters)] + [-1]
        flat = map(codes.__getitem__, self.ring.table)
        return zip(*[flat] * self.ring.width, strict=True) if self.ring.width else iter([()] * len(self.ring))

    def _members(self, nodes: Iterable[int]) -> int:
        members = 0
        for node in nodes:
            members |= self.bits[node]
        return members

    def _bounds(self, index: int) -> list[tuple[int, int]]:
        """Masks of nodes and how many of each may stop together, for a range that no pending one cuts."""
        bounds: dict[str | None, int] = {}
        for replicas in self.state.kind(index):
            for spare in self._spares(index, replicas):
                bounds[spare.datacenter] = min(spare.most, bounds.get(spare.datacenter, spare.most))
        return [(self.masks[name], most) for name, most in bounds.items() if name in self.masks]

    def _spares(self, index: int, replicas: Replicas) -> Iterator[_Spare]:
        for stake in self.stakes:
            never = never_spared(self.state.whole(index), stake.demands)
            taken = "structurally_never_safe" if never else "would_become_unavailable"
            allowed = stake.advisory or (stake.code or taken) in self.allow
            for demand in stake.demands:
                margins = replicas.margins(demand)
                worst = min((margin.spare for margin in margins), default=-1)
                strict = self.require_spare and worst > 0 and stake.of_keyspaces
                # Ranges that are lost already can't be lost again, and those that the operator gives up set no limit.
                if worst >= 0 and (strict or not allowed):
                    for margin in margins:
                        yield _Spare(margin.datacenter, margin.spare - strict, margin.counts_pending)

    def _fill_pieces(self, limits: Limits) -> None:
        for index, pieces in self.state.pieces.items():
            natural = self.ring.replicas(index)
            for piece, (_, _, replicas) in zip(pieces, self.state.parts(index), strict=True):
                for spare in self._spares(index, replicas):
                    members = self._members((*natural, *piece.pending) if spare.counts_pending else natural)
                    limits.add(members & self.masks.get(spare.datacenter, 0), spare.most)
