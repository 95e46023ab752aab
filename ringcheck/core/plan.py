"""The restart plan: the fewest batches in which nodes can restart while the gate allows each.

A plan is made for the ring with all nodes up: while a batch is stopped, all other nodes are up. So the snapshot is
planned for as it would be if every node were well (`_healed`), by the stakes of the gate. Reasons that keep the gate
from allowing a batch now, but pass by themselves, become notes. If data about the ring itself is missing, or if nodes
join, leave or move, there is no ring to plan for: then every node is refused.

Nodes that are down come first, in batches of their own. Their restart is the cure, and the gate lets no other node stop
before.

What a batch may hold is in `core.limits`; how few batches that makes, in `core.batches`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.batches import bits, mask_of
from ringcheck.core.findings import kind_of as finding_kind
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.health import RingState
from ringcheck.core.limits import NumberedNodes, limits_of, stakes_by_ring
from ringcheck.core.losses import losses_alone, lost_by_the_stop, without_implied
from ringcheck.core.reasons import REASONS, Reason, reason
from ringcheck.core.reasons import kind_of as reason_kind
from ringcheck.core.ring import COORDINATING, Node, View
from ringcheck.core.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ringcheck.core.batches import Limits
    from ringcheck.core.evidence import Evidence
    from ringcheck.core.gate import Gate
    from ringcheck.core.metadata import MetadataReport
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.stakes import Stake

By: TypeAlias = Literal["rack", "node"]

_LOSSES = frozenset(code for code, kind in REASONS.items() if kind.takes)
_ASKED = 16  # the gate is asked about each of up to this many refused nodes; for more, one pass counts the losses


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that no batch may hold.

    Attributes:
        node: address; or the name that was asked for, if no node has it.
        reasons: those of the gate that block.
    """

    node: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Batches in which nodes can restart.

    Attributes:
        snapshot: what the plan was made from.
        batches: addresses; a batch stops once all nodes of the batch before it are back.
        refused: nodes that are in no batch.
        rule: how the batches were made, and whether fewer are possible.
        notes: what keeps the gate from allowing the batches now, but will pass.
    """

    snapshot: Snapshot
    batches: tuple[tuple[str, ...], ...]
    refused: tuple[Refusal, ...]
    rule: str
    notes: tuple[Reason, ...] = ()

    @property
    def unknown(self) -> bool:
        """Whether something that a plan needs is not known."""
        answers = {reason.kind.answer for refusal in self.refused for reason in refusal.reasons}
        return "unknown" in answers or not (self.batches or self.refused)


def plan(
    snapshot: Snapshot,
    policy: Policy,
    gate: Gate,
    *,
    nodes: Sequence[str] | None = None,
    max_batch: int | None = None,
    by: By | None = None,
) -> Plan:
    """The fewest batches that a gate allows while no other restart is under way.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        gate: what must hold before a batch may stop.
        nodes: as for `plan_with`.
        max_batch: as for `plan_with`.
        by: as for `plan_with`.

    Raises:
        RingError: if the partitioner's tokens can't be compared.
        UsageError: if the policy names a datacenter without nodes, or a pattern in `accept` matches no keyspace.
    """
    return plan_with(Gatekeeper(snapshot, policy, gate), nodes=nodes, max_batch=max_batch, by=by)


def plan_with(
    keeper: Gatekeeper, *, nodes: Sequence[str] | None = None, max_batch: int | None = None, by: By | None = None
) -> Plan:
    """The fewest batches that a gatekeeper allows.

    Args:
        keeper: answers for the snapshot that is planned for; its lease holders count as down in every batch.
        nodes: addresses of the nodes that are to restart; None for all members.
        max_batch: how many nodes a batch may hold; None for any number.
        by: `rack` keeps each batch within one rack, `node` makes a batch of each node.
    """
    return _Planner(keeper).plan(nodes, 1 if by == "node" else max_batch, by)


class _Planner:
    """Plans for one snapshot.

    Attributes:
        now: the gate on the snapshot as it is.
        healed: the gate on the snapshot as it would be if every node were well.
    """

    def __init__(self, keeper: Gatekeeper) -> None:
        self.snapshot = keeper.snapshot
        self.gate = keeper.gate
        self.now = keeper
        self.healed = Gatekeeper(_healed(keeper), keeper.scope.policy, keeper.gate, keeper.holders)

    def plan(self, nodes: Sequence[str] | None, room: int | None, by: By | None) -> Plan:
        members = self.now.evidence.names(self.now.evidence.members)
        asked = list(dict.fromkeys(members if nodes is None else nodes))
        index = self.snapshot.index
        strangers = [Refusal(name, _blocking(self.now, name, {"unknown_node"})) for name in asked if name not in index]
        known = sorted((index[name] for name in asked if name in index), key=self._order)
        obstacles = self._obstacles()
        if obstacles or not known:
            refused = [Refusal(self._address(node), obstacles) for node in known]
            return self._made((), [*strangers, *refused], "none")
        numbered = NumberedNodes(known)
        limits = limits_of(self.healed, numbered)
        refused = self._refusals([known[number] for number in bits(limits.never)])
        numbers, rule = self._batches(numbered, limits, room, by)
        batches = tuple(tuple(known[number] for number in batch) for batch in numbers)
        self._verify(batches)
        return self._made(batches, [*strangers, *refused], rule)

    def _made(self, batches: Iterable[Iterable[int]], refused: Iterable[Refusal], rule: str) -> Plan:
        addresses = tuple(tuple(map(self._address, batch)) for batch in batches)
        refusals = tuple(refused)
        return Plan(snapshot=self.snapshot, batches=addresses, refused=refusals, rule=rule, notes=self._notes())

    def _address(self, node: int) -> str:
        return self.snapshot.nodes[node].address

    def _order(self, index: int) -> tuple[str, str, list[int | str]]:
        node = self.snapshot.nodes[index]
        return node.datacenter or "", node.rack or "", _by_numbers(node.address)

    # What keeps all nodes from a batch

    def _obstacles(self) -> tuple[Reason, ...]:
        """Reasons that stay when all nodes are well: missing data, movements, and ranges that are lost already."""
        if not self.now.evidence.usable:
            return tuple(refusal for refusal in self.now.refusals if refusal.kind.answer == "unknown")
        return self.healed.obstacles()

    def _notes(self) -> tuple[Reason, ...]:
        """The reasons and notes that the gate has now, but not once all nodes are well."""
        lasting = {(refusal.code, refusal.subject, refusal.blocks) for refusal in self.healed.refusals}
        passing = [
            refusal for refusal in self.now.refusals if (refusal.code, refusal.subject, refusal.blocks) not in lasting
        ]
        down = [self._address(node) for node in sorted(self._down, key=self._order)]
        if down:
            text = f"{counted(len(down), 'node')} down: {listed(down)}; bring back what is down first"
            passing.append(reason("node_down_elsewhere", down[0], text, lifts_when="all nodes are up"))
        return tuple(replace(note, blocks=False) for note in passing)

    @property
    def _down(self) -> frozenset[int]:
        return self.now.evidence.not_reached

    # What keeps one node from a batch

    def _refusals(self, nodes: list[int]) -> list[Refusal]:
        """The reasons of the gate for each of these nodes; those of many nodes from one pass over the ranges."""
        if len(nodes) <= _ASKED or not self._plain or self.gate.require_spare:
            return [Refusal(name, _blocking(self.healed, name)) for name in map(self._address, nodes)]
        reasons = reasons_alone(self.healed, frozenset(nodes))
        return [Refusal(self._address(node), tuple(reasons[node])) for node in nodes]

    @property
    def _plain(self) -> bool:
        """Whether counting ranges is enough: ranges are lost whole, and the operator allows none to be lost."""
        return not (any(stake.ring.pending for stake in self.healed.stakes) or self.gate.allow & _LOSSES)

    # Batches

    def _batches(
        self, numbered: NumberedNodes, limits: Limits, room: int | None, by: By | None
    ) -> tuple[list[tuple[int, ...]], str]:
        """Batches of numbers of nodes, and the rule by which they were made."""
        down = numbered.mask(self._down)
        free = numbered.all & ~limits.never
        racks = self._racks(numbered)
        stages = [stage for stage in (free & down, free & ~down) if stage]
        units = [stage & rack for stage in stages for rack in racks if stage & rack] if by == "rack" else stages
        packings = [limits.pack(unit, racks, room) for unit in units]
        batches = [batch for packing in packings for batch in sorted(packing.batches)]
        least = sum(packing.least for packing in packings)
        return batches, _rule(len(batches), least, room, by, staged=len(stages) > 1)

    def _racks(self, numbered: NumberedNodes) -> list[int]:
        racks: dict[int, list[int]] = defaultdict(list)
        for number, node in enumerate(numbered.nodes):
            racks[self.snapshot.layout.rack_of[node]].append(number)
        return [mask_of(racks[rack]) for rack in sorted(racks)]

    def _verify(self, batches: Sequence[Sequence[int]]) -> None:
        """Count again what each batch takes away, as the gate counts ranges, and not as the limits did.

        Raises:
            AssertionError: if a batch takes anything away: better no plan than one that the gate refuses.
        """
        for batch in batches:
            if self._plain:
                safe = not any(self._takes(stakes, batch) for stakes in stakes_by_ring(self.healed))
            else:
                safe = self.healed.decide(list(map(self._address, batch))).decision == "safe"
            if not safe:
                raise AssertionError(f"a batch of {len(batch)} nodes is not what the gate allows")

    def _takes(self, stakes: list[Stake], batch: Iterable[int]) -> bool:
        """Whether an operation loses ranges, or spare replicas if these must stay."""
        ring, uncounted = stakes[0].ring, self.healed.uncounted
        before = self.healed.state(ring, uncounted)
        after = RingState(ring, self.snapshot.layout, before.space, ring.holding(uncounted.union(batch)))  # not kept
        for stake in (stake for stake in stakes if not stake.advisory):
            was, now = (state.level(stake.level, stake.client, stake.rules).by_operation for state in (before, after))
            spares = self.gate.require_spare and stake.of_keyspaces
            for operation in was:
                tighter = spares and now[operation].at_minimum > was[operation].at_minimum
                if tighter or now[operation].unavailable > was[operation].unavailable:
                    return True
        return False


def _rule(batches: int, least: int, room: int | None, by: By | None, *, staged: bool) -> str:
    """How batches were made, in words."""
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
    """The reasons that block the stop of one node; those with these codes, if any are given."""
    reasons = keeper.decide([address]).reasons
    return tuple(reason for reason in reasons if reason.blocks and (not codes or reason.code in codes))


def reasons_alone(keeper: Gatekeeper, nodes: frozenset[int]) -> dict[int, list[Reason]]:
    """For each node, the reasons of `decide` that its stop alone loses ranges; one pass over each stake for all."""
    reasons: dict[int, list[Reason]] = {node: [] for node in nodes}
    snapshot = keeper.snapshot
    for stake in (stake for stake in keeper.stakes if not stake.advisory):
        state = keeper.state(stake.ring, keeper.uncounted)
        for node, loss in losses_alone(stake, state, snapshot.layout, nodes - keeper.uncounted).items():
            after = RingState(stake.ring, snapshot.layout, state.space, state.down | {node})
            reasons[node] += lost_by_the_stop(snapshot, stake, after, loss)
    return {node: without_implied(keeper.stakes, of_node) for node, of_node in reasons.items()}


def _by_numbers(address: str) -> list[int | str]:
    """Sorts 10.0.0.9 before 10.0.0.10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", address)]


# The ring with all nodes up


def _healed(keeper: Gatekeeper) -> Snapshot:
    """The snapshot as it would be with all nodes up, settled and with equal views; nodes in movement still move."""
    snapshot, evidence = keeper.snapshot, keeper.evidence
    # Live endpoints of unknown nodes stay: the ring lacks these nodes, so there is no ring to plan for.
    strangers = frozenset().union(*{frozenset(evidence.liveness(view).strangers) for view in evidence.usable})
    live = frozenset(snapshot.index) | strangers
    metadata = _settled_metadata(evidence)
    views = tuple(
        View(
            node.address,
            live=live,
            unreachable=frozenset(),
            joining=frozenset(evidence.names(evidence.joining)),
            leaving=frozenset(evidence.names(evidence.leaving)),
            moving=frozenset(evidence.names(evidence.moving)),
            schema_version="",
            metadata=metadata.get(node.address, next(iter(metadata.values()), None)),
        )
        for index, node in enumerate(snapshot.nodes)
        if index in evidence.members - evidence.joining
    )
    nodes = tuple([_well(evidence.assumed(node)) for node in snapshot.nodes])
    lasting = [problem for problem in snapshot.problems if not reason_kind(finding_kind(problem.code).reason).passing]
    return replace(snapshot, nodes=nodes, views=views, problems=tuple(lasting))


def _settled_metadata(evidence: Evidence) -> dict[str, MetadataReport]:
    """By observer, what it reports of the metadata service, as if none were behind; each set of members stays."""
    reports = {view.observer: view.metadata for view in map(evidence.named, evidence.usable) if view.metadata}
    newest = max((report.epoch or 0 for report in reports.values()), default=0)
    return {
        observer: report if report.epoch == newest else replace(report, epoch=None)
        for observer, report in reports.items()
    }


def _well(node: Node) -> Node:
    """A node that serves clients, with no streams."""
    return replace(
        node,
        mode=node.mode if node.mode in COORDINATING else "NORMAL",
        gossip_running=True,
        native_transport_running=True,
        generation=None,
        source="ok",
        streams=None,
    )
