"""The restart plan: the fewest batches in which nodes can restart while the gate allows each.

A plan is a property of the ring with all nodes up: each batch alone is stopped, all others are back. So it is made for
the snapshot as it would be if nothing ailed (`_healed`), by the gate's own stakes; what ails now and would pass is a
note. What is not known of the ring itself, and nodes that join, leave or move, leave no ring to plan for: then every
node is refused. Nodes that are down come first, in batches of their own: their restart is the cure, and needs no gate
but the others' do.

What a batch may hold comes from every range: as many of its live replicas as the level spares there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.assess import counted, listed
from ringcheck.core.batches import Limits, bits, mask_of
from ringcheck.core.gate import GAPS, Gatekeeper, Reason
from ringcheck.core.health import ring_state, stand
from ringcheck.core.ring import COORDINATING, View

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ringcheck.core.consistency import Demand, Replicas
    from ringcheck.core.gate import Gate, _Stake
    from ringcheck.core.health import RingState
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Node, Ring, Snapshot

By: TypeAlias = Literal["rack", "node"]

_LOSSES = frozenset({"would_become_unavailable", "structurally_never_safe", "would_be_at_minimum"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that no batch may hold.

    Attributes:
        node: address, or the name that no node has.
        reasons: the gate's, those that block.
    """

    node: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches in which nodes can restart.

    Attributes:
        snapshot: what it was made from.
        batches: addresses; one after the other, each once the one before is back.
        refused: nodes that are in none.
        rule: how they were made, and whether fewer could be.
        notes: what keeps the gate from allowing them now, and passes; what to know.
    """

    snapshot: Snapshot
    batches: tuple[tuple[str, ...], ...]
    refused: tuple[Refusal, ...]
    rule: str
    notes: tuple[Reason, ...] = ()

    @property
    def unknown(self) -> bool:
        """Whether something that a plan needs is not known."""
        codes = {reason.code for one in self.refused for reason in one.reasons}
        return bool(codes & GAPS) or not (self.batches or self.refused)


def plan(  # noqa: PLR0913 - what an operator may wish
    snapshot: Snapshot,
    policy: Policy,
    gate: Gate,
    *,
    nodes: Sequence[str] | None = None,
    max_batch: int | None = None,
    by: By | None = None,
    holders: Collection[str] = (),
) -> Plan:
    """The fewest batches that the gate allows.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        gate: what its owners want of the gate.
        nodes: addresses of those that are to restart; None for all.
        max_batch: how many nodes a batch holds at most.
        by: `rack` keeps each batch within one rack, `node` makes each of one node.
        holders: addresses of nodes that stay down meanwhile: they hold others' restart leases.

    Raises:
        RingError: if the partitioner's tokens can't be compared.
        UsageError: if the policy names a datacenter that has no nodes.
    """
    return _Planner(snapshot, policy, gate, holders).plan(nodes, 1 if by == "node" else max_batch, by)


class _Planner:
    """Plans for one snapshot."""

    def __init__(self, snapshot: Snapshot, policy: Policy, gate: Gate, holders: Collection[str]) -> None:
        self.snapshot = snapshot
        self.gate = gate
        self.now = Gatekeeper(snapshot, policy, gate, holders)
        self.then = Gatekeeper(_healed(self.now), policy, gate, holders)

    def plan(self, nodes: Sequence[str] | None, room: int | None, by: By | None) -> Plan:
        asked = list(dict.fromkeys([one.address for one in self.snapshot.nodes] if nodes is None else nodes))
        index = self.snapshot.index
        strangers = [Refusal(one, _blocking(self.now, one, {"unknown_node"})) for one in asked if one not in index]
        known = sorted((index[one] for one in asked if one in index), key=self._place)
        obstacles = self._obstacles()
        if obstacles or not known:
            refused = [Refusal(self.snapshot.nodes[one].address, obstacles) for one in known]
            return Plan(self.snapshot, (), (*strangers, *refused), "none", self._notes())
        numbered = _Numbered(known)
        limits = limits_of(self.then, numbered)
        refused = [self._refusal(known[one]) for one in bits(limits.never)]
        batches, rule = self._batches(numbered, limits, room, by)
        addresses = tuple(tuple(self.snapshot.nodes[known[one]].address for one in batch) for batch in batches)
        return Plan(self.snapshot, addresses, (*strangers, *refused), rule, self._notes())

    def _place(self, index: int) -> tuple[str, str, list[int | str]]:
        node = self.snapshot.nodes[index]
        return node.datacenter or "", node.rack or "", _by_numbers(node.address)

    # What keeps all of them

    def _obstacles(self) -> tuple[Reason, ...]:
        """Reasons that no healing lifts: what is not known, what moves, what is lost already."""
        if not self.now.views.usable:
            return tuple(one for one in self.now.refusals if one.code == "no_data")
        decision = self.then.decide([node.address for node in self.snapshot.nodes[:1]])
        return tuple(one for one in decision.reasons if one.blocks and one.code not in _LOSSES)

    def _refusal(self, index: int) -> Refusal:
        address = self.snapshot.nodes[index].address
        return Refusal(address, _blocking(self.then, address))

    def _notes(self) -> tuple[Reason, ...]:
        """What the gate would say now, and not once all is well."""
        lasting = {(one.code, one.subject) for one in self.then.refusals}
        passing = [one for one in self.now.refusals if (one.code, one.subject) not in lasting]
        down = [self.snapshot.nodes[one].address for one in sorted(self._down, key=self._place)]
        if down:
            text = f"{counted(len(down), 'node')} down: {listed(down)}; bring back what is down first"
            passing.append(Reason("node_down_elsewhere", down[0], text, lifts_when="all nodes are up"))
        return tuple(replace(one, blocks=False) for one in passing)

    @property
    def _down(self) -> frozenset[int]:
        return self.now.views.down_anywhere()

    # Batches

    def _batches(
        self, numbered: _Numbered, limits: Limits, room: int | None, by: By | None
    ) -> tuple[list[tuple[int, ...]], str]:
        down = numbered.mask(self._down)
        free = numbered.all & ~limits.never
        racks = self._racks(numbered)
        stages = [stage for stage in (free & down, free & ~down) if stage]
        units = [stage & rack for stage in stages for rack in racks if stage & rack] if by == "rack" else stages
        packings = [limits.pack(unit, racks, room) for unit in units]
        batches = [batch for packing in packings for batch in sorted(packing.batches)]
        least = sum(packing.least for packing in packings)
        return batches, _rule(len(batches), least, room, by, staged=len(stages) > 1)

    def _racks(self, numbered: _Numbered) -> list[int]:
        found: dict[int, list[int]] = defaultdict(list)
        for place, index in enumerate(numbered.nodes):
            found[self.snapshot.layout.rack_of[index]].append(place)
        return [mask_of(found[rack]) for rack in sorted(found)]


def _rule(batches: int, least: int, room: int | None, by: By | None, *, staged: bool) -> str:
    if not batches:
        return "none"
    if by == "node":
        text = "one node at a time"
    else:
        text = "fewest: proven" if batches == least else f"few: at least {least} are needed"
        text += "; no batch spans racks" if by == "rack" else ""
        text += f"; at most {room} a batch" if room else ""
    return text + ("; nodes that are down first" if staged else "")


def _blocking(keeper: Gatekeeper, address: str, codes: Collection[str] = ()) -> tuple[Reason, ...]:
    reasons = keeper.decide([address]).reasons
    return tuple(one for one in reasons if one.blocks and (not codes or one.code in codes))


def _by_numbers(address: str) -> list[int | str]:
    """What sorts 10.0.0.9 before 10.0.0.10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", address)]


# The ring with all nodes up


def _healed(keeper: Gatekeeper) -> Snapshot:
    """The snapshot as it would be with all nodes up, settled and of one mind; what moves still moves."""
    snapshot, usable = keeper.snapshot, keeper.views.usable
    joining, leaving, moving = (
        frozenset().union(*{getattr(view, name) for view in usable}) for name in ("joining", "leaving", "moving")
    )
    # Strangers stay: the ring does not have all that is live.
    live = frozenset(snapshot.index).union(*{view.live for view in usable})
    version = snapshot.nodes[snapshot.index[usable[0].observer]].release_version if usable else None
    views = tuple(
        View(node.address, "ok", None, live, frozenset(), joining, leaving, moving, "")
        for node in snapshot.nodes
        if node.address not in joining
    )
    nodes = tuple([_well(node, version) for node in snapshot.nodes])
    return replace(snapshot, nodes=nodes, views=views)


def _well(node: Node, version: str | None) -> Node:
    return replace(
        node,
        mode=node.mode if node.mode in COORDINATING else "NORMAL",
        gossip_running=True,
        native_transport_running=True,
        generation=None,
        release_version=node.release_version or version,  # of a node that is down it may not be known
    )


# What a batch may hold


class _Numbered:
    """The nodes to plan for, by bit; others have none."""

    def __init__(self, nodes: list[int]) -> None:
        self.nodes = nodes
        self.bit = {node: 1 << place for place, node in enumerate(nodes)}
        self.all = (1 << len(nodes)) - 1

    def mask(self, nodes: Iterable[int]) -> int:
        mask = 0
        for node in nodes:
            mask |= self.bit.get(node, 0)
        return mask


def limits_of(keeper: Gatekeeper, numbered: _Numbered) -> Limits:
    """How many nodes of each range a batch may hold, by all stakes of the gate."""
    limits = Limits(len(numbered.nodes))
    by_ring: dict[int, list[_Stake]] = defaultdict(list)
    for stake in keeper.stakes:
        by_ring[id(stake.ring)].append(stake)
    for stakes in by_ring.values():
        _RingLimits(keeper, stakes).fill(limits, numbered)
    return limits


class _RingLimits:
    """The limits of one ring. Ranges with as many replicas in each datacenter are alike."""

    def __init__(self, keeper: Gatekeeper, stakes: list[_Stake]) -> None:
        self.stakes = stakes
        self.gate = keeper.gate
        self.layout = keeper.snapshot.layout
        self.ring: Ring = stakes[0].ring
        self.down = keeper.before
        self.state: RingState = ring_state(self.ring, self.layout, keeper.scope.space, self.down)
        self.homes = [self.layout.racks[rack][0] for rack in self.layout.rack_of]
        self.spare = keeper.gate.require_spare and "would_be_at_minimum" not in keeper.gate.allow

    def fill(self, limits: Limits, numbered: _Numbered) -> None:
        bit = [0 if node in self.down else numbered.bit.get(node, 0) for node in range(len(self.homes))] + [0]
        scopes = self._scopes(numbered)
        known: dict[tuple[object, ...], list[tuple[int, int]]] = {}
        for index, (row, key) in enumerate(zip(self.ring.rows(), self._keys(), strict=True)):
            if index in self.state.pieces:
                continue
            found = known.get(key)
            if found is None:
                found = known[key] = self._whole(index, scopes)
            if found:
                members = 0
                for node in row:
                    members |= bit[node]
                for scope, most in found:
                    limits.add(members & scope, most)
        self._fill_pieces(limits, bit, scopes)

    def _keys(self) -> Iterator[tuple[object, ...]]:
        """What of a row tells its limits: each replica's datacenter, and whether it is down already."""
        places = {name: place for place, name in enumerate(sorted(set(self.homes)))}
        code = [2 * places[home] + (node in self.down) for node, home in enumerate(self.homes)] + [-1]
        flat = map(code.__getitem__, self.ring.table)
        return zip(*[flat] * self.ring.width, strict=True) if self.ring.width else iter([()] * len(self.ring))

    def _scopes(self, numbered: _Numbered) -> dict[str | None, int]:
        found: dict[str | None, int] = defaultdict(int)
        found[None] = numbered.all
        for node, home in enumerate(self.homes):
            found[home] |= numbered.bit.get(node, 0)
        return found

    def _whole(self, index: int, scopes: dict[str | None, int]) -> list[tuple[int, int]]:
        """Scopes and how many replicas in each may stop together, for a range that no pending one cuts."""
        found: dict[str | None, int] = {}
        for alike in self.state.kind(index):
            for scope, most, _ in self._spares(index, alike):
                found[scope] = min(most, found.get(scope, most))
        return [(scopes[scope], most) for scope, most in found.items() if scope in scopes]

    def _spares(self, index: int, alike: Replicas) -> Iterator[tuple[str | None, int, bool]]:
        """Datacenter, how many of its replicas may stop together, and whether pending ones count among them."""
        for stake in self.stakes:
            lost = "structurally_never_safe" if self._never(index, stake.demands) else "would_become_unavailable"
            for demand in stake.demands:
                margins = alike.margins(demand)
                worst = min((one.spare for one in margins), default=-1)
                strict = self.spare and worst > 0
                # Of what is lost already nothing can be lost; what may be lost by the operator's word is not counted.
                if worst >= 0 and (strict or lost not in self.gate.allow):
                    for place, one in enumerate(margins):
                        reads = place < len(demand.requirements) and (demand.operation == "read" or demand.serial)
                        yield one.datacenter, one.spare - strict, not reads

    def _never(self, index: int, demands: Iterable[Demand]) -> bool:
        whole = (self.state.whole(index),)
        return any((stand(whole, one).spare or 0) <= 0 for one in demands if one.requirements)

    def _fill_pieces(self, limits: Limits, bit: list[int], scopes: dict[str | None, int]) -> None:
        for index, pieces in self.state.pieces.items():
            natural = self.ring.replicas(index)
            for piece, (_, _, alike) in zip(pieces, self.state.parts(index), strict=True):
                for scope, most, pending in self._spares(index, alike):
                    members = 0
                    for node in (*natural, *piece.pending) if pending else natural:
                        members |= bit[node]
                    limits.add(members & scopes.get(scope, 0), most)
