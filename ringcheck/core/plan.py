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

from ringcheck.core.batches import Limits, bits, mask_of
from ringcheck.core.findings import kind_of as finding_kind
from ringcheck.core.gate import CandidateLoss, Gatekeeper, never
from ringcheck.core.health import RingState, ring_state
from ringcheck.core.reasons import REASONS, Reason, reason
from ringcheck.core.reasons import kind_of as reason_kind
from ringcheck.core.ring import COORDINATING, Node, View
from ringcheck.core.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ringcheck.core.consistency import Demand, Replicas
    from ringcheck.core.gate import Gate, Stake
    from ringcheck.core.health import RangeKind
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Layout, Ring, Snapshot

By: TypeAlias = Literal["rack", "node"]

_LOSSES = frozenset(code for code, kind in REASONS.items() if kind.takes)
_ASKED = 16  # refused nodes for whose reasons the gate is asked one by one


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
        answers = {reason.kind.answer for one in self.refused for reason in one.reasons}
        return "unknown" in answers or not (self.batches or self.refused)


def plan(  # noqa: PLR0913 - what an operator may wish
    snapshot: Snapshot,
    policy: Policy,
    gate: Gate,
    *,
    nodes: Sequence[str] | None = None,
    max_batch: int | None = None,
    by: By | None = None,
    holders: Collection[Holder] = (),
) -> Plan:
    """The fewest batches that the gate allows.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        gate: what its owners want of the gate.
        nodes: addresses of those that are to restart; None for all members.
        max_batch: how many nodes a batch holds at most.
        by: `rack` keeps each batch within one rack, `node` makes each of one node.
        holders: of others' restart leases: their nodes stay down meanwhile.

    Raises:
        RingError: if the partitioner's tokens can't be compared.
        UsageError: if the policy names a datacenter that has no nodes.
    """
    return _Planner(snapshot, policy, gate, holders).plan(nodes, 1 if by == "node" else max_batch, by)


class _Planner:
    """Plans for one snapshot."""

    def __init__(self, snapshot: Snapshot, policy: Policy, gate: Gate, holders: Collection[Holder]) -> None:
        self.snapshot = snapshot
        self.gate = gate
        self.now = Gatekeeper(snapshot, policy, gate, holders)
        self.then = Gatekeeper(_healed(self.now), policy, gate, holders)

    def plan(self, nodes: Sequence[str] | None, room: int | None, by: By | None) -> Plan:
        everyone = self.now.evidence.names(self.now.evidence.members)
        asked = list(dict.fromkeys(everyone if nodes is None else nodes))
        index = self.snapshot.index
        strangers = [Refusal(one, _blocking(self.now, one, {"unknown_node"})) for one in asked if one not in index]
        known = sorted((index[one] for one in asked if one in index), key=self._place)
        obstacles = self._obstacles()
        if obstacles or not known:
            refused = [Refusal(self.snapshot.nodes[one].address, obstacles) for one in known]
            return Plan(self.snapshot, (), (*strangers, *refused), "none", self._notes())
        numbered = _Numbered(known)
        limits = limits_of(self.then, numbered)
        refused = self._refusals([known[one] for one in bits(limits.never)])
        numbers, rule = self._batches(numbered, limits, room, by)
        batches = tuple(tuple(known[one] for one in batch) for batch in numbers)
        self._verify(batches)
        addresses = tuple(tuple(self.snapshot.nodes[one].address for one in batch) for batch in batches)
        return Plan(self.snapshot, addresses, (*strangers, *refused), rule, self._notes())

    def _place(self, index: int) -> tuple[str, str, list[int | str]]:
        node = self.snapshot.nodes[index]
        return node.datacenter or "", node.rack or "", _by_numbers(node.address)

    # What keeps all of them

    def _obstacles(self) -> tuple[Reason, ...]:
        """Reasons that no healing lifts: what is not known, what moves, what is lost already."""
        if not self.now.evidence.usable:
            return tuple(one for one in self.now.refusals if one.kind.answer == "unknown")
        return self.then.obstacles()

    def _refusals(self, indexes: list[int]) -> list[Refusal]:
        """The gate's reasons for each; where they are many, from one pass over the ranges."""
        nodes = self.snapshot.nodes
        if len(indexes) <= _ASKED or not self._plain or self.gate.require_spare:
            return [Refusal(nodes[one].address, _blocking(self.then, nodes[one].address)) for one in indexes]
        reasons = _losses_alone(self.then, frozenset(indexes))
        return [Refusal(nodes[one].address, tuple(reasons[one])) for one in indexes]

    def _verify(self, batches: Sequence[Sequence[int]]) -> None:
        """Count again what each batch takes away, as the gate counts ranges, and not as the limits did.

        Raises:
            AssertionError: if it takes away anything: no plan is better than one that the gate refuses.
        """
        for batch in batches:
            if self._plain:
                safe = not any(self._takes(stakes, batch) for stakes in _by_ring(self.then))
            else:
                safe = self.then.decide([self.snapshot.nodes[one].address for one in batch]).decision == "safe"
            if not safe:
                raise AssertionError(f"a batch of {len(batch)} nodes is not what the gate allows")

    @property
    def _plain(self) -> bool:
        """Whether ranges are lost whole and by nobody's leave, so that counts of them tell all."""
        return not (any(stake.ring.pending for stake in self.then.stakes) or self.gate.allow & _LOSSES)

    def _takes(self, stakes: list[Stake], batch: Iterable[int]) -> bool:
        """Whether an operation loses ranges; or, where they are asked for, spare replicas."""
        ring, layout, space = stakes[0].ring, self.snapshot.layout, self.then.scope.space
        before = ring_state(ring, layout, space, self.then.uncounted)
        after = RingState(ring, layout, space, ring.holding(self.then.uncounted.union(batch)))  # not to be remembered
        for stake in stakes:
            was, now = (one.level(stake.level, stake.client, stake.rules).by_operation for one in (before, after))
            for name in was:
                tighter = self.gate.require_spare and now[name].at_minimum > was[name].at_minimum
                if tighter or now[name].unavailable > was[name].unavailable:
                    return True
        return False

    def _notes(self) -> tuple[Reason, ...]:
        """What the gate would say now, and not once all is well."""
        lasting = {(one.code, one.subject, one.blocks) for one in self.then.refusals}
        passing = [one for one in self.now.refusals if (one.code, one.subject, one.blocks) not in lasting]
        down = [self.snapshot.nodes[one].address for one in sorted(self._down, key=self._place)]
        if down:
            text = f"{counted(len(down), 'node')} down: {listed(down)}; bring back what is down first"
            passing.append(reason("node_down_elsewhere", down[0], text, lifts_when="all nodes are up"))
        return tuple(replace(one, blocks=False) for one in passing)

    @property
    def _down(self) -> frozenset[int]:
        return self.now.evidence.not_reached

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
    snapshot, evidence = keeper.snapshot, keeper.evidence
    # Strangers stay: the ring does not have all that is live.
    strangers = frozenset().union(*{frozenset(evidence.liveness(view).strangers) for view in evidence.usable})
    live = frozenset(snapshot.index) | strangers
    version = evidence.node(evidence.usable[0]).release_version if evidence.usable else None
    views = tuple(
        View(
            node.address,
            live=live,
            unreachable=frozenset(),
            joining=frozenset(evidence.names(evidence.joining)),
            leaving=frozenset(evidence.names(evidence.leaving)),
            moving=frozenset(evidence.names(evidence.moving)),
            schema_version="",
        )
        for index, node in enumerate(snapshot.nodes)
        if index in evidence.members - evidence.joining
    )
    nodes = tuple([_well(node, version) for node in snapshot.nodes])
    problems = tuple(one for one in snapshot.problems if not reason_kind(finding_kind(one.code).reason).passing)
    return replace(snapshot, nodes=nodes, views=views, problems=problems)


def _well(node: Node, version: str | None) -> Node:
    """A node that serves: what it is stays, what it was doing does not."""
    return replace(
        node,
        release_version=node.release_version or version,  # of a node that is down it may not be known
        mode=node.mode if node.mode in COORDINATING else "NORMAL",
        gossip_running=True,
        native_transport_running=True,
        generation=None,
        jolokia="ok",
        streams=None,
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
    for stakes in _by_ring(keeper):
        _RingLimits(keeper, stakes).fill(limits, numbered)
    return limits


def _by_ring(keeper: Gatekeeper) -> list[list[Stake]]:
    found: dict[int, list[Stake]] = defaultdict(list)
    for stake in keeper.stakes:
        found[id(stake.ring)].append(stake)
    return list(found.values())


class _RingLimits:
    """The limits of one ring. Ranges with as many replicas in each datacenter are alike."""

    def __init__(self, keeper: Gatekeeper, stakes: list[Stake]) -> None:
        self.stakes = stakes
        self.gate = keeper.gate
        self.layout = keeper.snapshot.layout
        self.ring: Ring = stakes[0].ring
        self.down = keeper.uncounted
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
            lost = (
                "structurally_never_safe"
                if never(self.state.whole(index), stake.demands)
                else "would_become_unavailable"
            )
            for demand in stake.demands:
                margins = alike.margins(demand)
                worst = min((one.spare for one in margins), default=-1)
                strict = self.spare and worst > 0
                # Of what is lost already nothing can be lost; what may be lost by the operator's word is not counted.
                if worst >= 0 and (strict or lost not in self.gate.allow):
                    for margin in margins:
                        yield margin.datacenter, margin.spare - strict, margin.counts_pending

    def _fill_pieces(self, limits: Limits, bit: list[int], scopes: dict[str | None, int]) -> None:
        for index, pieces in self.state.pieces.items():
            natural = self.ring.replicas(index)
            for piece, (_, _, alike) in zip(pieces, self.state.parts(index), strict=True):
                for scope, most, pending in self._spares(index, alike):
                    members = 0
                    for node in (*natural, *piece.pending) if pending else natural:
                        members |= bit[node]
                    limits.add(members & scopes.get(scope, 0), most)


# Who can't stop at all


def _losses_alone(keeper: Gatekeeper, nodes: frozenset[int]) -> dict[int, list[Reason]]:
    """What `decide` would say that the stop of each of these nodes alone loses; one pass a stake for all of them."""
    found: dict[int, list[Reason]] = {node: [] for node in nodes}
    layout, space = keeper.snapshot.layout, keeper.scope.space
    for stake in keeper.stakes:
        state = ring_state(stake.ring, layout, space, keeper.uncounted)
        for node, loss in _alone(stake, state, layout, nodes - keeper.uncounted).items():
            after = RingState(stake.ring, layout, space, state.down | {node})
            if loss.never:
                found[node].append(keeper.lost("structurally_never_safe", stake, after, loss, loss.never))
            if loss.ranges > loss.never:
                number = loss.ranges - loss.never
                found[node].append(keeper.lost("would_become_unavailable", stake, after, loss, number))
    return found


def _alone(stake: Stake, state: RingState, layout: Layout, nodes: frozenset[int]) -> dict[int, CandidateLoss]:
    """What each node's stop takes of a ring without pending ranges."""
    homes = [layout.racks[rack][0] for rack in layout.rack_of]
    found: dict[int, CandidateLoss] = defaultdict(CandidateLoss)
    fragile = {kind: held for kind in state.kinds if (held := _fragile(kind[0], stake.demands))}
    if not fragile:
        return found
    nevers: dict[RangeKind, bool] = {}
    for index, row in enumerate(stake.ring.rows()):
        kind = state.kind(index)
        places = fragile.get(kind)
        if places:
            if kind not in nevers:
                nevers[kind] = never(state.whole(index), stake.demands)
            width = state.space.width(*stake.ring.range(index))
            for node in nodes.intersection(row):
                if None in places or homes[node] in places:
                    loss = found[node]
                    loss.ranges += 1
                    loss.tokens += width
                    loss.never += nevers[kind]
                    loss.first = index if loss.first is None else loss.first
    return found


def _fragile(alike: Replicas, demands: Iterable[Demand]) -> frozenset[str | None]:
    """Datacenters (None: all) of which no replica can be spared, by a demand that is met."""
    margins = [alike.margins(demand) for demand in demands]
    met = [each for each in margins if all(one.spare >= 0 for one in each)]
    return frozenset(one.datacenter for each in met for one in each if one.spare == 0)
