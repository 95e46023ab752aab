"""The gate: may these nodes stop now?

The problem. A stop takes a replica from thousands of ranges at once. Whether a range can spare it depends on which of
its other replicas are up, on its keyspace's replication, and on the consistency level and the datacenter of its
clients. The health of the cluster does not answer this: with RF 1 no node of a healthy cluster may stop, and in an
outage the restart of a node that is down does no harm.

The rule. Compare the cluster before the stop with the cluster after it, for every stake (`core.stakes`): each ring, at
each level that it must keep, for the clients of each datacenter. A range is lost if some operation can be served
before the stop and might not be after it (`core.losses`). One lost range makes the stop unsafe.

- Before the stop every node is up that any usable view lists as live, and every candidate that is not surely down.
- After the stop only those nodes are up that may be counted on (`core.evidence`), hold no restart lease, and are no
  candidates.

Why it is right. A doubt about a node counts against the stop on both sides: the node is up before, so that its ranges
can be lost, and down after, so that it spares none. Whichever of the doubtful nodes are really up, a stop that the gate
calls safe takes no range. `tests/core/test_gate.py` tries this against a brute force over all of them.

What would go wrong otherwise:

- If a doubtful node counted as up after the stop, the stop could take the last replica of a quorum.
- If it counted as down before the stop, its ranges would pass for lost already, and the stop would cost nothing.
- If one view decided, a partition would be judged from the side that the clients are not on.
- If the nodes under a lease counted as up, two operators could stop two replicas of one range at once.
- If missing or contradictory data passed for good data, the gate would be the most generous where least is known. So
  these block with the answer `unknown`. Unknown wins over safe, and unsafe over unknown.

Ranges that are lost before the stop block it too, unless every candidate is surely down: then the restart is the cure.
What each reason means, and which answer it leads to, is in the table of `core.reasons`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.core.actions import ACTIONS
from ringcheck.core.answers import answer, bounded, ordered, without_notes_of_blocking_leases
from ringcheck.core.assess import AT_MOST
from ringcheck.core.consistency import Level
from ringcheck.core.decommission import decommission_reasons
from ringcheck.core.evidence import evidence_of
from ringcheck.core.health import ring_state
from ringcheck.core.losses import groups_of, loss_of, lost, lost_before, lost_by_the_stop, without_implied
from ringcheck.core.maintenance import lease_on_candidate, release_of, under_lease
from ringcheck.core.movements import RangeMovement
from ringcheck.core.reasons import REASONS, DecisionWord, Reason, reason
from ringcheck.core.refusals import refusals, strangers
from ringcheck.core.selection import Scope
from ringcheck.core.stakes import StakeFinder
from ringcheck.core.streaming import may_stream, streaming_reasons
from ringcheck.core.words import counted, listed, suggestion
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ringcheck.core.actions import Action, Newcomer
    from ringcheck.core.health import RingState
    from ringcheck.core.losses import CandidateLoss, RangeGroup
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.stakes import Stake

CODES = frozenset(REASONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What must hold before a node of a cluster may stop.

    Attributes:
        level: a level that every range must keep, in addition to its keyspace's critical level.
        accept: shell patterns of keyspaces that may lose ranges.
        settle: seconds that every node must have run.
        require_spare: block if a range would be left without a spare replica.
        require_all_up: block while any other node is down.
        allow: codes of reasons that are reported as notes and do not block.
    """

    level: Level = Level.LOCAL_QUORUM
    accept: tuple[str, ...] = ()
    settle: float = 45.0
    require_spare: bool = False
    require_all_up: bool = False
    allow: frozenset[str] = frozenset()

    def asked(
        self,
        *,
        level: Level | None = None,
        accept: Iterable[str] = (),
        allow: Iterable[str] = (),
        require_spare: bool = False,
        require_all_up: bool = False,
    ) -> Gate:
        """The configured gate, changed by what one question asks for: `level` replaces, everything else is added.

        Raises:
            UsageError: if `level` is ANY, which every stop keeps, or if `allow` has a code that no reason has.
        """
        if level is Level.ANY:
            raise UsageError("the gate can't keep ANY: it is for writes only, and a hint alone satisfies it")
        codes = frozenset(allow)
        unknown = sorted(codes - CODES)
        if unknown:
            raise UsageError(f"there is no reason {unknown[0]!r} ({suggestion(unknown[0], sorted(CODES), len(CODES))})")
        return replace(
            self,
            level=level or self.level,
            accept=(*self.accept, *accept),
            allow=self.allow | codes,
            require_spare=self.require_spare or require_spare,
            require_all_up=self.require_all_up or require_all_up,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a decision looked at: how many keyspaces, ranges and views, and at which levels.

    Attributes:
        clients: the datacenters whose clients were looked at; empty for all.
    """

    keyspaces: int
    ranges: int
    views: int
    levels: tuple[Level, ...]
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer whether an action on the candidates may begin; for a restart, whether they may stop.

    Attributes:
        snapshot: what the decision is based on.
        decision: only `safe` is a yes.
        action: what is to be done to the candidates.
        candidates: addresses, as asked.
        holders: addresses that hold a lease and count as down.
        reasons: blocking ones first.
        checked: what was looked at.
        left_out: codes of reasons, and `stable`, that a recorded snapshot can't give, or only in part.
        allowed: codes of reasons that do not block because the operator allows them, whether they arose or not.
        newcomer: datacenter and rack of the node that will join or replace a candidate; None if they are not stated.
        together: candidates that are to be replaced, in groups that may be replaced at once.
    """

    snapshot: Snapshot
    decision: DecisionWord
    action: Action
    candidates: tuple[str, ...]
    holders: tuple[str, ...]
    reasons: tuple[Reason, ...]
    checked: Checked
    left_out: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    newcomer: Newcomer | None = None
    together: tuple[tuple[str, ...], ...] = ()


def with_leases(decision: Decision, holders: Iterable[Holder]) -> Decision:
    """A decision for which `actions.counted` left out leases on candidates, with a note for each of these."""
    if ACTIONS[decision.action].of_dead_nodes:
        return decision
    notes = [lease_on_candidate(holder) for holder in holders if holder.node in decision.candidates]
    return replace(decision, reasons=(*decision.reasons, *notes)) if notes else decision


class Gatekeeper:
    """Answers for one snapshot, for any candidates.

    Attributes:
        stakes: what a stop may cost.
        refusals: reasons, notes included, that do not depend on the candidates.
        leased: indexes of the nodes under a restart lease.
        uncounted: indexes of the nodes that count as down after a stop, in addition to those that stop.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        policy: Policy,
        gate: Gate,
        holders: Collection[Holder] = (),
        *,
        recorded: bool = False,
    ) -> None:
        """Find what is at stake, and what prevents every stop.

        Args:
            snapshot: fresh, unless `recorded`.
            policy: the cluster's rules.
            gate: what must hold.
            holders: of restart leases, each with the address that its node has in the snapshot.
            recorded: whether the snapshot is a recorded one: reasons that need a second look are left out then, and
                the decision names them.

        Raises:
            RingError: if the partitioner's tokens can't be compared.
            UsageError: if the policy names a datacenter without nodes, or a pattern in `accept` matches no keyspace.
        """
        self.snapshot = snapshot
        self.evidence = evidence_of(snapshot)
        self.gate = gate
        self.holders = tuple(holders)
        self.left_out = _left_out(snapshot) if recorded else ()
        self.scope = Scope(self.evidence, policy)
        self._everyone = frozenset(range(len(snapshot.nodes)))
        self.leased = frozenset(snapshot.index[holder.node] for holder in holders if holder.node in snapshot.index)
        self.uncounted = (self._everyone - self.evidence.counted_on) | self.leased
        finder = StakeFinder(self.scope, gate.level, gate.accept)
        of_keyspaces = list(finder.stakes())
        self.stakes = [*of_keyspaces, *finder.metadata_stakes(), *finder.coordinator_stakes()]
        general = refusals(self.scope, judged=bool(of_keyspaces), settle=gate.settle, leased=self.leased)
        self.refusals = [*finder.unjudged, *general]

    def state(self, ring: Ring, down: Iterable[int]) -> RingState:
        """A ring with these nodes down; remembered with the ring."""
        return ring_state(ring, self.snapshot.layout, self.scope.space, down)

    def breakers(self, stake: Stake) -> frozenset[int]:
        """The nodes whose stop alone takes something of a stake."""
        return stake.breakers(self.state(stake.ring, self.uncounted), self.evidence.surely_down)

    # The questions

    def decide(
        self, candidates: Sequence[str], action: Action = "restart", newcomer: Newcomer | None = None
    ) -> Decision:
        """Whether these nodes (addresses) may stop together, or whether another action may begin.

        Args:
            candidates: the nodes that the action is about; none for a bootstrap.
            action: what is to be done.
            newcomer: datacenter and rack of the node that will join or replace a candidate.
        """
        known = frozenset(self.snapshot.index[name] for name in candidates if name in self.snapshot.index)
        reasons = [*self._general(candidates), *self._notes(known, action), *self._streams(known)]
        reasons += [*strangers(self.snapshot, candidates, action), *self._outages(known, action)]
        movement = None
        if action == "restart":
            reasons += self._losses(known)
        else:
            movement = self._movement(known, action, newcomer)
            reasons += decommission_reasons(self.scope, known) if action == "decommission" else movement.reasons()
            reasons += [*movement.unplaced(self.stakes), *self._lost_meanwhile(movement, known)]
        allowed = map(self._allowed, without_notes_of_blocking_leases(reasons))
        final = ordered(without_implied(self.stakes, allowed))
        return Decision(
            snapshot=self.snapshot,
            decision=answer(final),
            action=action,
            candidates=tuple(candidates),
            holders=tuple(self.evidence.names(self.leased)),
            reasons=bounded(final, AT_MOST),
            newcomer=newcomer,
            together=() if movement is None else movement.together,
            checked=self._checked(),
            left_out=self.left_out,
            allowed=tuple(sorted(self.gate.allow)),
        )

    def _checked(self) -> Checked:
        stakes = [stake for stake in self.stakes if stake.of_keyspaces]
        keyspaces = {name for stake in stakes for name in stake.keyspaces}
        ranges = sum(len(ring) * len(keyspaces.intersection(ring.keyspaces)) for ring in self.snapshot.rings)
        # LOCAL_QUORUM includes LOCAL_ONE, the level that is kept by default.
        levels = tuple(dict.fromkeys(one.level for one in stakes if not (one.by_default and self.gate.level.local)))
        return Checked(
            keyspaces=len(keyspaces),
            ranges=ranges,
            views=len(self.evidence.usable),
            levels=levels,
            clients=self.scope.policy.client_datacenters,
        )

    def _allowed(self, reason: Reason) -> Reason:
        return replace(reason, blocks=False) if reason.code in self.gate.allow else reason

    def safe_nodes(self) -> frozenset[str]:
        """Addresses of the nodes each of which may restart now, alone.

        The same answers as `decide` gives for each node, in one pass over the ranges.
        """
        blocking = self._blocking_all(self.refusals)
        waived = {reason.subject for reason in blocking if reason.waived_for_subject}
        if len(waived) > 1 or any(not reason.waived_for_subject for reason in blocking):
            return frozenset()
        nodes = self.snapshot.nodes
        if self.gate.require_spare or self.gate.allow:  # rare, and not counted in one pass
            safe = frozenset(node.address for node in nodes if self.decide([node.address]).decision == "safe")
        else:
            safe = frozenset(nodes[index].address for index in self._spared())
        return safe & waived if waived else safe

    def _spared(self) -> frozenset[int]:
        """Nodes whose stop takes no range and that have no streams."""
        outage = any(reason.blocks for reason in self._outages(frozenset()))
        spared = self.evidence.surely_down if outage else self._everyone.difference(*map(self.breakers, self.stakes))
        down = self.evidence.not_reached if self.gate.require_all_up else frozenset()
        return frozenset(index for index in spared - may_stream(self.evidence) if not down - {index})

    def obstacles(self) -> tuple[Reason, ...]:
        """The reasons that keep every node from stopping, whichever is asked for."""
        return ordered(without_implied(self.stakes, self._blocking_all([*self.refusals, *self._outages(frozenset())])))

    def _blocking_all(self, reasons: Iterable[Reason]) -> list[Reason]:
        allowed = map(self._allowed, reasons)
        return [reason for reason in allowed if reason.blocks and not self._excused(reason)]

    # What does not depend on the ranges

    def _general(self, candidates: Sequence[str]) -> Iterator[Reason]:
        """The refusals; a reason that the stop of its own subject lifts does not block that stop."""
        for refusal in self.refusals:
            waived = refusal.waived_for_subject and refusal.subject in candidates
            yield replace(refusal, blocks=False) if waived or self._excused(refusal) else refusal

    def _excused(self, reason: Reason) -> bool:
        """Whether a reason is about a node that counts as down because of its lease, whatever its own view is."""
        return reason.waived_for_subject and reason.subject in {holder.node for holder in self.holders}

    def _notes(self, known: frozenset[int], action: Action) -> Iterator[Reason]:
        """Other nodes that are down or under a lease: notes, unless the operator or the action makes them block."""
        kind = ACTIONS[action]
        down = self.evidence.names((self.evidence.not_reached & self.evidence.members) - known)
        if down:
            text = f"{counted(len(down), 'other node')} down: {listed(down)}"
            yield reason("node_down_elsewhere", down[0], text, blocks=self.gate.require_all_up or kind.needs_all_up)
        stopping = set(self.evidence.names(known))
        for holder in self.holders:
            if holder.node in stopping and not kind.of_dead_nodes:
                yield lease_on_candidate(holder)
                continue
            text = f"{under_lease(holder)} and " + (
                "is down on purpose" if holder.node in stopping else "counts as down"
            )
            yield reason("lease_held", holder.node, text, blocks=kind.changes_ring, lifts_when=release_of(holder))

    def _leases_in_the_way(self, replicas: frozenset[int]) -> Iterator[Reason]:
        """The leases on these nodes; all leases if none of these nodes has one."""
        names = set(self.evidence.names(replicas & self.leased or self.leased))
        for holder in self.holders:
            if holder.node in names:
                yield reason("lease_held", holder.node, under_lease(holder), lifts_when=release_of(holder))

    def _streams(self, known: frozenset[int]) -> Iterator[Reason]:
        return streaming_reasons(self.evidence, known, recorded="streaming" in self.left_out)

    # Ranges that are lost before the stop

    def _outages(self, known: frozenset[int], action: Action = "restart") -> Iterator[Reason]:
        """Ranges that are lost before anything begins; they do not block what is done to nodes that are down."""
        cure = bool(known) and known <= self.evidence.surely_down
        down = self._before(known, self.uncounted)
        broken = []
        for stake in (stake for stake in self.stakes if stake.keyspaces):
            health = self.state(stake.ring, down).level(stake.level, stake.client, stake.rules)
            if health.outage:
                broken.append(stake)
                # Without its quorum the metadata service commits no change of who holds what.
                cured = cure and not (stake.metadata and ACTIONS[action].changes_ring)
                yield lost_before(self.snapshot, stake, down, health, blocks=not cured)
            if health.structurally_unavailable:
                share = health.unavailable_share - health.outage_share
                yield lost("structurally_unavailable", stake, health.structurally_unavailable, share, blocks=False)
        if broken and not cure and not any(self._lost_without_leases(stake, known) for stake in broken):
            yield from self._leases_in_the_way(frozenset())

    def _lost_without_leases(self, stake: Stake, known: frozenset[int]) -> bool:
        """Whether ranges are lost before the stop even if every node under a lease is up."""
        down = self._before(known, self._everyone - self.evidence.counted_on)
        return self.state(stake.ring, down).level(stake.level, stake.client, stake.rules).outage > 0

    def _before(self, known: frozenset[int], down: frozenset[int]) -> frozenset[int]:
        """The nodes that are down before the stop: those in `down`, but a candidate only if it is surely down."""
        return (down - known) | (known & self.evidence.surely_down)

    # Ranges that move to other nodes

    def _movement(self, known: frozenset[int], action: Action, newcomer: Newcomer | None) -> RangeMovement:
        return RangeMovement(
            self.scope,
            action=action,
            targets=known,
            newcomer=newcomer,
            reliable=self._everyone - self.uncounted,
            accept=self.gate.accept,
        )

    def _lost_meanwhile(self, movement: RangeMovement, known: frozenset[int]) -> Iterator[Reason]:
        """Ranges that can be served before they move and might not be while they do."""
        down = self._before(known, self._everyone - self.evidence.listed_live)
        for stake, loss, after in movement.losses(
            self.stakes,
            before=lambda ring: self.state(ring, down),
            after=lambda ring: self.state(ring, self.uncounted | movement.stopped),
        ):
            yield from lost_by_the_stop(self.snapshot, stake, after, loss)
            yield from self._at_minimum(stake, loss)

    # Ranges that are lost by the stop

    def _losses(self, known: frozenset[int]) -> Iterator[Reason]:
        """Ranges that can be served before the stop and might not be after it."""
        losses = list(self._lost_with(known, self.uncounted))
        taken = [(stake, loss) for stake, loss, _ in losses if loss.ranges and not stake.advisory]
        only_leased = self.leased & self.evidence.counted_on  # counted on if they were not under a lease
        if taken and self.leased - known and not self._takes(known, self.uncounted - only_leased):
            yield from self._leases_in_the_way(
                frozenset(node for stake, loss in taken for node in stake.ring.replicas(loss.first or 0))
            )
        for stake, loss, after in losses:
            yield from lost_by_the_stop(self.snapshot, stake, after, loss)
            yield from self._at_minimum(stake, loss)

    def _takes(self, known: frozenset[int], uncounted: frozenset[int]) -> bool:
        """Whether the stop takes any range if these nodes may not be counted on."""
        return any(loss.ranges and not stake.advisory for stake, loss, _ in self._lost_with(known, uncounted))

    def _lost_with(
        self, known: frozenset[int], uncounted: frozenset[int]
    ) -> Iterator[tuple[Stake, CandidateLoss, RingState]]:
        """For each stake what the stop takes if these nodes may not be counted on, and its ring after the stop."""
        groups: dict[int, list[RangeGroup]] = {}  # by the identity of a ring: all stakes of a ring share one list
        stopped = known - self.evidence.surely_down
        down_before = self._before(known, self._everyone - self.evidence.listed_live)
        for stake in self.stakes:
            before, after = self.state(stake.ring, down_before), self.state(stake.ring, uncounted | known)
            if id(stake.ring) not in groups:
                groups[id(stake.ring)] = groups_of(before, after, stopped)
            yield stake, loss_of(groups[id(stake.ring)], stake.demands), after

    def _at_minimum(self, stake: Stake, loss: CandidateLoss) -> Iterator[Reason]:
        if loss.tight and stake.of_keyspaces:
            text = f"{loss.tight} ranges of {listed(stake.keyspaces)} would have no replica to spare {stake.where}"
            subject, blocks = stake.keyspaces[0], self.gate.require_spare
            yield reason("would_be_at_minimum", subject, text, blocks=blocks, ranges=loss.tight, **stake.fields)


def _left_out(recorded: Snapshot) -> tuple[str, ...]:
    """What a recorded snapshot can't show. How young its nodes were it does show, by their generations."""
    streams = () if any(node.streams is not None for node in recorded.nodes) else ("streaming",)
    return ("stable", "recently_changed", "lease_held", *streams)
