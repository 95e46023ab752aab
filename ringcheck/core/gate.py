"""The gate: may these nodes stop now?

A counterfactual on what was seen. A range is lost by a stop if it could be served before it and might not be after it:
before, every node that some view that counts lists as live is taken to be up; after, only those that may be counted on
(`core.evidence`) and hold no restart lease. Every range of every keyspace must still be served at its gate level, for
the clients of every datacenter. Never today's colour: a cluster that is all well may have no node that can be spared.

Missing or contradictory data block. Unknown wins over safe, unsafe over unknown. What each reason means is in the table
of `core.reasons`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.assess import AT_MOST, contradictions, of_logins
from ringcheck.core.consistency import NETWORK_TOPOLOGY, Level, UnknownReplicationError
from ringcheck.core.endpoint import has_port, ip_of
from ringcheck.core.evidence import evidence_of
from ringcheck.core.gaps import gaps
from ringcheck.core.health import demands_of, ring_state, stand
from ringcheck.core.policy import DEFAULT, Severity
from ringcheck.core.reasons import REASONS, DecisionWord, Example, Reason, answer, ordered, reason
from ringcheck.core.selection import Scope
from ringcheck.core.words import counted, listed, nearest, percent
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ringcheck.core.consistency import Demand, Replicas, Rules
    from ringcheck.core.findings import Finding
    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Node, Ring, Snapshot

Action: TypeAlias = Literal["restart", "decommission"]

CODES = frozenset(REASONS)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a cluster's owners want of the gate.

    Attributes:
        level: that every range must keep, beside its keyspace's own critical one.
        accept: shell patterns of keyspaces that may lose ranges.
        settle: seconds that a node must have run.
        require_spare: block where a range would be left without a spare replica.
        require_all_up: block while any other node is down.
        allow: codes of reasons that do not block, by the operator's word.
    """

    level: Level = Level.LOCAL_QUORUM
    _: KW_ONLY
    accept: tuple[str, ...] = ()
    settle: float = 45.0
    require_spare: bool = False
    require_all_up: bool = False
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the decision looked at."""

    keyspaces: int
    ranges: int
    views: int
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """May the candidates stop?

    Attributes:
        snapshot: what it is based on.
        decision: only `safe` is a yes.
        action: what is to be done to them.
        candidates: addresses, as asked.
        holders: addresses that hold a lease and count as down.
        reasons: blocking ones first.
        checked: what was looked at.
        left_out: codes of reasons, and `stable`, that a recorded snapshot can't give or not whole.
        allowed: codes of reasons that do not block by the operator's word, whether they arose or not.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """A ring at a level for one client datacenter: what a stop may cost, and which keyspaces would pay."""

    names: tuple[str, ...]
    ring: Ring
    level: Level
    client: str | None
    demands: tuple[Demand, ...]
    rules: Rules


@dataclass(slots=True)
class CandidateLoss:
    """Ranges that one stop would take away."""

    ranges: int = 0
    tokens: int = 0
    tight: int = 0
    never: int = 0
    first: int | None = None


class Gatekeeper:
    """Answers for one snapshot, for any candidates."""

    def __init__(
        self,
        snapshot: Snapshot,
        policy: Policy,
        gate: Gate,
        holders: Collection[Holder] = (),
        *,
        recorded: bool = False,
    ) -> None:
        """Look at what was seen.

        Args:
            snapshot: what was seen, fresh.
            policy: the cluster's rules.
            gate: what its owners want of the gate.
            holders: of restart leases, each with the address that its node has in the snapshot.
            recorded: the snapshot is no fresh one: what needs a second look is left out, and the decision says so.

        Raises:
            RingError: if the partitioner's tokens can't be compared.
            UsageError: if the policy names a datacenter that has no nodes, or `accept` a keyspace that there is not.
        """
        self.snapshot = snapshot
        self.evidence = evidence_of(snapshot)
        self.policy = policy
        self.gate = gate
        self.holders = tuple(holders)
        self.left_out = _left_out(snapshot) if recorded else ()
        self.scope = Scope(self.evidence, policy)
        self._check_accepted()
        self._everyone = frozenset(range(len(snapshot.nodes)))
        self.held = frozenset(snapshot.index[one.node] for one in holders if one.node in snapshot.index)
        self.uncounted = (self._everyone - self.evidence.counted_on) | self.held
        self.refusals: list[Reason] = []
        self.stakes = list(self._stakes()) if self.evidence.usable else []
        self.refusals += self._gaps()

    def _check_accepted(self) -> None:
        """A keyspace accepted by a name that there is not would be accepted in vain.

        Raises:
            UsageError: with the nearest name.
        """
        names = sorted(name for ring in self.snapshot.rings for name in ring.keyspaces)
        for pattern in self.gate.accept if names else ():
            if not any(fnmatchcase(name, pattern) for name in names):
                near = nearest(pattern, names)
                hint = f"; did you mean {near}?" if near else ""
                raise UsageError(f"accept: no keyspace matches {pattern!r}{hint}")

    # What is at stake

    def _stakes(self) -> Iterator[Stake]:
        versions = sorted({one.version for one in self.evidence.outlooks(())})
        for ring in self.snapshot.rings:
            for level, names in self._levels(ring).items():
                for client in self.scope.clients(level, ring):
                    for version in versions:
                        yield from self._stake(ring, names, level, client, version)

    def _levels(self, ring: Ring) -> dict[Level, tuple[str, ...]]:
        """The levels that a ring must keep, and for which of its keyspaces."""
        found: dict[Level, list[str]] = {}
        for name, rule in self.scope.chosen(ring):
            if not self._accepted(name):
                for level in self._levels_of(rule):
                    found.setdefault(level, []).append(name)
        return {level: tuple(names) for level, names in found.items()}

    def _accepted(self, keyspace: str) -> bool:
        return any(fnmatchcase(keyspace, pattern) for pattern in self.gate.accept)

    def _levels_of(self, rule: Rule) -> tuple[Level, ...]:
        if rule.by_cassandra:
            return rule.levels
        own = rule.critical.level if rule.critical and rule is not DEFAULT else self.gate.level
        return tuple(dict.fromkeys((self.gate.level, own)))

    def _stake(
        self, ring: Ring, names: tuple[str, ...], level: Level, client: str | None, version: tuple[int, int]
    ) -> Iterator[Stake]:
        try:
            rules = self.scope.rules(ring, version)
            demands = tuple(demands_of(level, client, rules).values())
        except UnknownReplicationError as error:
            text = f"{listed(names)} can't be judged at {level}: {error}"
            more = {"lifts_when": _STATED, "keyspace": names[0], "keyspaces": names, "level": level}
            self.refusals.append(reason("no_data", names[0], text, **more))
            return
        yield Stake(names=names, ring=ring, level=level, client=client, demands=demands, rules=rules)

    def state(self, ring: Ring, down: Iterable[int]) -> RingState:
        """A ring without some nodes; remembered with the ring."""
        return ring_state(ring, self.snapshot.layout, self.scope.space, down)

    # What keeps any node from stopping

    def _gaps(self) -> Iterator[Reason]:
        """Reasons that do not depend on the candidates, but for whose view is missing."""
        for finding in (*gaps(self.evidence), *self._contradictions()):
            yield from _of_finding(finding)
        if self.evidence.usable and not self.stakes:
            yield self._nothing_to_judge()
        yield from self._young()
        if self.evidence.usable and not any(view.schema_version for view in self.evidence.usable):
            text = "whether the nodes agree on the schema is not known"
            lifts = "their Jolokia tells SchemaVersion"
            yield reason("schema_disagreement", self.snapshot.cluster, text, blocks=False, lifts_when=lifts)
        if any(ring.pending for ring in self.snapshot.rings):
            yield reason("topology_changing", self.snapshot.cluster, "ranges are moving to other nodes")

    def _contradictions(self) -> Iterator[Finding]:
        if not self.evidence.usable:
            return
        yield from of_logins(self.scope)
        for ring in self.snapshot.rings:
            names = [name for name, _ in self.scope.chosen(ring)]
            if names:
                yield from contradictions(self.scope, ring, names)

    def _nothing_to_judge(self) -> Reason:
        chosen = [name for ring in self.snapshot.rings for name, _ in self.scope.chosen(ring)]
        if chosen:
            text, lifts = "every keyspace is accepted: none is left to judge", "fewer keyspaces are accepted"
        else:
            text, lifts = "no keyspace to judge", "a keyspace is watched"
        return reason("no_data", self.snapshot.cluster, text, lifts_when=lifts)

    def _young(self) -> Iterator[Reason]:
        """Members that have not run long enough to be trusted to stay."""
        try:
            taken = datetime.fromisoformat(self.snapshot.taken_at).timestamp()
        except ValueError:
            text = f"the time of the snapshot is not readable: {self.snapshot.taken_at!r}"
            yield reason("no_data", self.snapshot.cluster, text, lifts_when="the snapshot is taken anew")
            return
        running = [self.snapshot.nodes[index] for index in sorted(self.evidence.members - self._down)]
        for node in running:
            if node.generation is not None and taken - node.generation < self.gate.settle:
                yield self._too_young(node, round(taken - node.generation))
        ageless = [node.address for node in running if node.generation is None and node.jolokia in {"ok", "not_asked"}]
        if ageless and self.gate.settle:
            text = f"since when {listed(ageless)} {'runs' if len(ageless) == 1 else 'run'} is not known"
            lifts = "their Jolokia tells CurrentGenerationNumber"
            yield reason("recently_changed", ageless[0], text, blocks=False, lifts_when=lifts)

    def _too_young(self, node: Node, age: int) -> Reason:
        text = f"{node.address} has run for {age} s; {self.gate.settle:g} s are asked for"
        if age < 0:
            text = f"{node.address} says that it starts in {-age} s: its clock or the one here is wrong"
        lifts = f"{round(self.gate.settle - age)} s have passed"
        return reason("recently_changed", node.address, text, lifts_when=lifts)

    @property
    def _down(self) -> frozenset[int]:
        """Nodes that some view that counts does not reach, and those under a lease."""
        return self.evidence.not_reached | self.held

    # The questions

    def decide(self, candidates: Sequence[str], action: Action = "restart") -> Decision:
        """May these nodes (addresses) stop together?"""
        known = frozenset(self.snapshot.index[one] for one in candidates if one in self.snapshot.index)
        reasons = [*self._strangers(candidates), *self._general(candidates), *self._notes(known, action)]
        reasons += [*self._streams(known), *self._outages(known)]
        reasons += self._losses(known) if action == "restart" else self._decommission(sorted(known))
        final = ordered(map(self._allowed, _without_notes_of_blocking_leases(reasons)))
        return Decision(
            snapshot=self.snapshot,
            decision=answer(final),
            action=action,
            candidates=tuple(candidates),
            holders=tuple(dict.fromkeys(one.node for one in self.holders)),
            reasons=_bounded(final),
            checked=self._checked(),
            left_out=self.left_out,
            allowed=tuple(sorted(self.gate.allow)),
        )

    def _checked(self) -> Checked:
        names = {name for stake in self.stakes for name in stake.names}
        ranges = sum(len(ring) * len(names.intersection(ring.keyspaces)) for ring in self.snapshot.rings)
        levels = tuple(dict.fromkeys(stake.level for stake in self.stakes))
        return Checked(keyspaces=len(names), ranges=ranges, views=len(self.evidence.usable), levels=levels)

    def _allowed(self, one: Reason) -> Reason:
        return replace(one, blocks=False) if one.code in self.gate.allow else one

    def safe_nodes(self) -> frozenset[str]:
        """Addresses of the nodes each of which may restart now, alone: what `decide` would say of each, in one pass."""
        blocking = [one for one in map(self._allowed, self.refusals) if one.blocks and not self._excused(one)]
        waived = {one.subject for one in blocking if one.waived_for_subject}
        if len(waived) > 1 or any(not one.waived_for_subject for one in blocking):
            return frozenset()
        if self.gate.require_spare or self.gate.allow:  # rare wishes: answered one by one
            fine = frozenset(
                node.address for node in self.snapshot.nodes if self.decide([node.address]).decision == "safe"
            )
        else:
            fine = frozenset(self.snapshot.nodes[index].address for index in self._spared())
        return fine & waived if waived else fine

    def _spared(self) -> frozenset[int]:
        """Nodes whose stop takes no range and that stream nothing."""
        outage = any(one.blocks for one in self._outages(frozenset()))
        breaking = (self.state(one.ring, self.uncounted).breakers(one.demands) for one in self.stakes)
        fine = self.evidence.surely_down if outage else self._everyone.difference(*breaking)
        down = self.evidence.not_reached if self.gate.require_all_up else frozenset()
        return frozenset(index for index in fine if not self.snapshot.nodes[index].streams and not down - {index})

    def obstacles(self) -> tuple[Reason, ...]:
        """The reasons that keep every node from stopping, whichever is asked for."""
        found = map(self._allowed, (*self.refusals, *self._outages(frozenset())))
        return tuple(one for one in ordered(found) if one.blocks and not self._excused(one))

    def _strangers(self, candidates: Sequence[str]) -> Iterator[Reason]:
        if not candidates:
            yield reason("unknown_node", self.snapshot.cluster, "no node is named", lifts_when="a node is named")
        for one in candidates:
            if one not in self.snapshot.index:
                yield reason("unknown_node", one, self._not_meant(one))

    def _not_meant(self, name: str) -> str:
        """Why a name means no node, and which it may have meant."""
        here = [node.address for node in self.snapshot.nodes if ip_of(node.address) == ip_of(name)]
        if len(here) > 1 and not has_port(name):
            return f"{name} can mean {listed(here)}"
        return f"{name} is no node of this cluster{f'; at its address is {listed(here)}' if here else ''}"

    def _general(self, candidates: Sequence[str]) -> Iterator[Reason]:
        """What was found wrong, without the views of those that are to stop."""
        for one in self.refusals:
            mine = one.waived_for_subject and one.subject in candidates
            yield replace(one, blocks=False) if mine or self._excused(one) else one

    def _excused(self, one: Reason) -> bool:
        """Whether a reason is about a node that counts as down by its lease, whatever its own view is."""
        return one.waived_for_subject and one.subject in {holder.node for holder in self.holders}

    def _outages(self, known: frozenset[int]) -> Iterator[Reason]:
        """Ranges that are lost before anything is stopped; restarting nodes that are down is the cure."""
        cure = bool(known) and known <= self.evidence.surely_down
        down = self._before(known, self.uncounted)
        lost = []
        for stake in self.stakes:
            health = self.state(stake.ring, down).level(stake.level, stake.client, stake.rules)
            if health.outage:
                lost.append(stake)
                share = health.outage_share
                yield self._of_level("already_unavailable", stake, health, health.outage, share, not cure)
            if health.structurally_unavailable:
                share = health.unavailable_share - health.outage_share
                number = health.structurally_unavailable
                yield self._of_level("structurally_unavailable", stake, health, number, share, blocks=False)
        if lost and not cure and not any(self._lost_now(one, known) for one in lost):
            yield from self._leases_in_the_way(frozenset())

    def _lost_now(self, stake: Stake, known: frozenset[int]) -> bool:
        """Whether ranges are lost though no node under a lease were down."""
        down = self._before(known, self._everyone - self.evidence.counted_on)
        return self.state(stake.ring, down).level(stake.level, stake.client, stake.rules).outage > 0

    def _before(self, known: frozenset[int], down: frozenset[int]) -> frozenset[int]:
        """Nodes that are down before the stop, of these: a candidate is up unless it is down for sure."""
        return (down - known) | (known & self.evidence.surely_down)

    def _of_level(  # noqa: PLR0913, PLR0917 - the parts of a sentence
        self,
        code: str,
        stake: Stake,
        health: LevelHealth,
        ranges: int,
        share: float,
        blocks: bool,  # noqa: FBT001 - as Reason's
    ) -> Reason:
        number = f"{ranges} of {health.ranges} ranges ({percent(share)} of the tokens) of {listed(stake.names)}"
        text = f"{number} {_LEVEL_WORDS[code]} {_at(stake)}"
        return reason(code, stake.names[0], text, blocks=blocks, ranges=ranges, share=share, **_where(stake))

    def _notes(self, known: frozenset[int], action: Action) -> Iterator[Reason]:
        """What an operator should know, and may ask to be kept by.

        A node that leaves hands its ranges to others, whose writes must be acknowledged besides (`ReplicaPlans`:
        `blockFor` plus pending): who is down may be one of them.
        """
        hand_over = action == "decommission"
        down = self.evidence.names((self.evidence.not_reached & self.evidence.members) - known)
        if down:
            text = f"{counted(len(down), 'other node')} down: {listed(down)}"
            blocks = self.gate.require_all_up or hand_over
            yield reason("node_down_elsewhere", down[0], text, blocks=blocks)
        mine = {self.snapshot.nodes[index].address for index in known}
        for one in self.holders:
            if one.node not in mine:
                yield reason(
                    "lease_held",
                    one.node,
                    f"{_lease(one)} and counts as down",
                    blocks=hand_over,
                    lifts_when=f"{one.owner} gives back {one.node} ({_purpose(one)})",
                )

    def _leases_in_the_way(self, held: Iterable[int]) -> Iterator[Reason]:
        """The leases without which nothing would be lost; of all nodes under one where it is not known of which."""
        names = set(self.evidence.names(frozenset(held) & self.held or self.held))
        for one in self.holders:
            if one.node in names:
                lifts = f"{one.owner} gives back {one.node} ({_purpose(one)})"
                yield reason("lease_held", one.node, _lease(one), lifts_when=lifts)

    def _streams(self, known: frozenset[int]) -> Iterator[Reason]:
        """A stop breaks off what a node sends and receives: a repair or a rebuild that took hours fails."""
        nodes = self.snapshot.nodes
        silent = self.evidence.names(
            index for index in known - self.evidence.surely_down if nodes[index].streams is None
        )
        for index in sorted(known):
            if nodes[index].streams:
                name = nodes[index].address
                text = f"{name} is streaming (repair, bootstrap, rebuild or decommission): a stop breaks that off"
                yield reason("streaming", name, text, lifts_when=f"{name} streams nothing")
        if silent and "streaming" not in self.left_out:
            text = f"whether {listed(silent)} {'streams' if len(silent) == 1 else 'stream'} is not known"
            lifts = "CurrentStreams can be read there"
            yield reason("streaming", silent[0], text, blocks=False, lifts_when=lifts)
        others = self.evidence.names(index for index in self._everyone - known if nodes[index].streams)
        if others:
            text = f"{counted(len(others), 'other node')} streaming: {listed(others)}"
            yield reason("streaming", others[0], text, blocks=False)

    # The counterfactual

    def _losses(self, known: frozenset[int]) -> Iterator[Reason]:
        """Ranges that could be served before the stop and might not be after it."""
        found = list(self._lost_with(known, self.uncounted))
        taken = [one for one in found if one[1].ranges]
        if (
            taken
            and self.held - known
            and not any(loss.ranges for _, loss, _ in self._lost_with(known, self.uncounted - self._only_leased))
        ):
            replicas = {node for stake, loss, _ in taken for node in stake.ring.replicas(loss.first or 0)}
            yield from self._leases_in_the_way(replicas)
        for stake, loss, after in found:
            yield from self._loss_reasons(stake, after, loss)

    @property
    def _only_leased(self) -> frozenset[int]:
        """Nodes that would be counted on but for their lease."""
        return self.held & self.evidence.counted_on

    def _lost_with(
        self, known: frozenset[int], uncounted: frozenset[int]
    ) -> Iterator[tuple[Stake, CandidateLoss, RingState]]:
        """For each stake what the stop takes where these nodes may not be counted on, and the ring after it."""
        groups: dict[int, list[_Alike]] = {}  # by the identity of a ring: the same for all of its levels and clients
        stopped = known - self.evidence.surely_down
        up_before = self._before(known, self._everyone - self.evidence.listed_live)
        for stake in self.stakes:
            before, after = self.state(stake.ring, up_before), self.state(stake.ring, uncounted | known)
            if id(stake.ring) not in groups:
                groups[id(stake.ring)] = _alike(before, after, stopped)
            yield stake, _loss(groups[id(stake.ring)], stake.demands), after

    def _loss_reasons(self, stake: Stake, after: RingState, loss: CandidateLoss) -> Iterator[Reason]:
        if loss.never:
            yield self.lost("structurally_never_safe", stake, after, loss, loss.never)
        if loss.ranges > loss.never:
            yield self.lost("would_become_unavailable", stake, after, loss, loss.ranges - loss.never)
        if loss.tight:
            text = f"{loss.tight} ranges of {listed(stake.names)} would have no replica to spare {_at(stake)}"
            blocks = self.gate.require_spare
            yield reason("would_be_at_minimum", stake.names[0], text, blocks=blocks, ranges=loss.tight, **_where(stake))

    def lost(self, code: str, stake: Stake, after: RingState, loss: CandidateLoss, ranges: int) -> Reason:
        """The reason that a stop takes ranges away, with an example of one as it would be after the stop."""
        share = loss.tokens / self.scope.space.size
        number = f"{ranges} of {len(stake.ring)} ranges ({percent(share)} of the tokens) of {listed(stake.names)}"
        text = f"{number} {_LEVEL_WORDS[code]} {_at(stake)}"
        example = self._example(after, loss.first) if loss.first is not None else None
        return reason(code, stake.names[0], text, ranges=ranges, share=share, example=example, **_where(stake))

    def _example(self, state: RingState, index: int) -> Example:
        nodes, held = self.snapshot.nodes, state.ring.replicas(index)
        start, end = state.ring.range(index)
        return Example(
            start=start,
            end=end,
            replicas=tuple(nodes[node].address for node in held),
            live=tuple(nodes[node].address for node in held if node not in state.down),
        )

    def _decommission(self, known: list[int]) -> Iterator[Reason]:
        """A node that leaves hands its ranges over; what counts is whether there is room for them."""
        nodes = self.snapshot.nodes
        dead = [nodes[index].address for index in known if index in self.evidence.not_reached]
        if dead:
            text = f"{listed(dead)} {'is' if len(dead) == 1 else 'are'} down: only a node that is up can leave"
            yield reason("candidate_down", dead[0], text)
        leaving: dict[str, list[int]] = {}
        for index in known:
            leaving.setdefault(nodes[index].datacenter or "", []).append(index)
        for datacenter, gone in sorted(leaving.items()):
            yield from self._no_room(datacenter, gone)
            emptied = self._emptied_racks(datacenter, gone)
            if emptied:
                text = f"rack {listed(emptied)} of {datacenter} would have no node: replicas would share racks"
                yield reason("rack_empties", datacenter, text)

    def _no_room(self, datacenter: str, gone: list[int]) -> Iterator[Reason]:
        # One of which nobody knows that it owns tokens makes no room.
        staying = [node for index, node in enumerate(self.snapshot.nodes) if node.tokens and index not in gone]
        left = Counter(node.datacenter or "" for node in staying)
        for ring in self.snapshot.rings:
            replication, names = ring.replication, tuple(name for name, _ in self.scope.chosen(ring))
            if not names:
                continue
            if replication is None:
                text = f"how many replicas {listed(names)} want is not known"
                yield reason("no_data", names[0], text, lifts_when=_STATED, keyspace=names[0], keyspaces=names)
                continue
            network = replication.strategy == NETWORK_TOPOLOGY
            wanted = dict(replication.options).get(datacenter if network else "replication_factor")
            room = left[datacenter] if network else left.total()
            if wanted and wanted.replicas > room:
                text = f"{listed(names)} want {wanted} replicas in {datacenter}, where {room} nodes would be left"
                yield reason("replication_would_not_fit", names[0], text, keyspace=names[0], keyspaces=names)

    def _emptied_racks(self, datacenter: str, gone: list[int]) -> list[str]:
        nodes = self.snapshot.nodes
        here = [index for index, node in enumerate(nodes) if node.datacenter == datacenter and node.tokens]
        stay = {nodes[index].rack for index in here if index not in gone}
        return sorted({nodes[index].rack or "" for index in gone} - {rack or "" for rack in stay})


_STATED = "its replication is stated under `replication:`"
_LEVEL_WORDS = {
    "already_unavailable": "are unavailable already",
    "structurally_unavailable": "can never be served",
    "would_become_unavailable": "would become unavailable",
    "structurally_never_safe": "can't survive any stop",
}


def _left_out(recorded: Snapshot) -> tuple[str, ...]:
    """What a recorded snapshot can't tell; it tells by generations which nodes were young when it was taken."""
    streams = () if any(node.streams is not None for node in recorded.nodes) else ("streaming",)
    return ("stable", "recently_changed", "lease_held", *streams)


def _bounded(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Where they say the same of many nodes, some of them and how many more; only after all were judged."""
    alike = Counter((one.code, one.blocks) for one in reasons if one.keyspace is None)
    seen: Counter[tuple[str, bool]] = Counter()
    kept: list[Reason] = []
    for one in reasons:
        key = one.code, one.blocks
        seen[key] += one.keyspace is None
        if one.keyspace or seen[key] <= AT_MOST:
            kept.append(one)
        elif seen[key] == AT_MOST + 1:
            kept.append(replace(one, summary=f"{one.subject} and {alike[key] - seen[key]} more like those before"))
    return tuple(kept)


def _of_finding(finding: Finding) -> Iterator[Reason]:
    """The reason that a finding is; what is lost is judged by the gate itself, at its own level."""
    kind = finding.kind
    if kind.gate == "blocks":
        waived = kind.waived_for_subject
        lifts = kind.lifts_when
        yield reason(kind.reason, finding.subject, finding.summary, lifts_when=lifts, waived_for_subject=waived)
    elif finding.severity is Severity.UNKNOWN:  # a source that can't read something, whatever it calls that
        yield reason("no_data", finding.subject, finding.summary)


def _without_notes_of_blocking_leases(reasons: Iterable[Reason]) -> list[Reason]:
    found = list(reasons)
    blocking = {one.subject for one in found if one.code == "lease_held" and one.blocks}
    return [one for one in found if one.code != "lease_held" or one.blocks or one.subject not in blocking]


def _where(stake: Stake) -> dict[str, object]:
    """The fields of a reason that say which keyspaces, level and clients it is about."""
    return {
        "keyspace": stake.names[0],
        "keyspaces": stake.names,
        "level": stake.level,
        "datacenter": stake.client,
    }


def _lease(holder: Holder) -> str:
    return f"{holder.node} is under the restart lease of {holder.owner}"


def _purpose(holder: Holder) -> str:
    return ", ".join(one for one in (holder.purpose, f"since {holder.since}") if one)


@dataclass(slots=True)
class _Alike:
    """Ranges that a stop does the same to.

    Attributes:
        whole: what they are like with all nodes up.
        parts: what they are like before and after, piece by piece where pending ranges cut them.
        ranges: how many.
        tokens: in each of the pieces, all ranges together.
        first: the first of them.
    """

    whole: Replicas
    parts: tuple[tuple[Replicas, Replicas], ...]
    ranges: int
    tokens: list[int]
    first: int


def _alike(before: RingState, after: RingState, stopped: Iterable[int]) -> list[_Alike]:
    """The ranges that some nodes hold, by what their stop does to them: of thousands there are some hundred kinds."""
    found: dict[tuple[Replicas, tuple[tuple[Replicas, Replicas], ...]], _Alike] = {}
    for index in _touched(before, frozenset(stopped)):
        pieces = [(end, start, then, now) for (start, end, then), (_, _, now) in _both(before, after, index)]
        parts = tuple([(then, now) for _, _, then, now in pieces])
        whole = before.whole(index)
        group = found.get((whole, parts))
        if group is None:
            group = found[whole, parts] = _Alike(whole, parts, 0, [0] * len(parts), index)
        group.ranges += 1
        for place, (end, start, _, _) in enumerate(pieces):
            group.tokens[place] += before.space.width(start, end)
    return list(found.values())


def _touched(state: RingState, nodes: frozenset[int]) -> list[int]:
    """The ranges that some nodes hold or gain, ascending."""
    cut = (index for index in state.pieces if nodes.intersection(state.members(index)))
    return sorted({*cut, *(index for node in nodes for index in state.ring.ranges_of[node])})


def _both(
    before: RingState, after: RingState, index: int
) -> Iterable[tuple[tuple[int, int, Replicas], tuple[int, int, Replicas]]]:
    return zip(before.parts(index), after.parts(index), strict=True)


def _loss(groups: Iterable[_Alike], demands: tuple[Demand, ...]) -> CandidateLoss:
    """What the stop of some nodes takes away, operation by operation."""
    loss = CandidateLoss()
    for one in groups:
        fates = [_fate(then, now, demands) for then, now in one.parts]
        if any(gone for gone, _ in fates):
            loss.ranges += one.ranges
            loss.tokens += sum(width for width, (gone, _) in zip(one.tokens, fates, strict=True) if gone)
            loss.never += one.ranges if never(one.whole, demands) else 0
            loss.first = one.first if loss.first is None else min(loss.first, one.first)
        elif any(tight for _, tight in fates):
            loss.tight += one.ranges
    return loss


def _fate(then: Replicas, now: Replicas, demands: tuple[Demand, ...]) -> tuple[bool, bool]:
    """Whether a (piece of a) range is lost to any operation, and whether it has come to its last replicas."""
    spares = [(stand((then,), one).spare, stand((now,), one).spare) for one in demands]
    gone = any(was is not None and left is not None and left < 0 <= was for was, left in spares)
    return gone, any(left == 0 and was != 0 for was, left in spares)


def never(whole: Replicas, demands: tuple[Demand, ...]) -> bool:
    """Whether a range has no replica to spare even with all nodes up."""
    return any((stand((whole,), one).spare or 0) <= 0 for one in demands if one.requirements)


def _at(stake: Stake) -> str:
    return f"at {stake.level}" + (f" in {stake.client}" if stake.client else "")
