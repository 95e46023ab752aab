"""The gate: may these nodes stop now?

A counterfactual on what was seen: live nodes minus the candidates, minus those that hold a restart lease, minus any
that any usable view calls down; then every range of every keyspace must still be served at its gate level, for the
clients of every datacenter. Never today's colour: a cluster that is all well may have no node that can be spared.

Missing or contradictory data block. Unknown wins over safe, unsafe over unknown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.assess import AT_MOST, Question, assess, counted, listed, percent
from ringcheck.core.consistency import NETWORK_TOPOLOGY, Level, UnknownReplicationError
from ringcheck.core.health import demands_of, ring_state, stand
from ringcheck.core.policy import DEFAULT, Severity
from ringcheck.core.scope import Scope
from ringcheck.core.views import Views

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ringcheck.core.consistency import Demand, Replicas, Rules
    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.verdict import Finding

Action: TypeAlias = Literal["restart", "decommission"]
Answer: TypeAlias = Literal["safe", "unsafe", "unknown"]

# Reasons that say "not known" rather than "not safe".
GAPS = frozenset({"view_missing", "unknown_node", "no_data"})

CODES = GAPS | {
    "already_unavailable",
    "candidate_down",
    "lease_held",
    "node_down_elsewhere",
    "rack_empties",
    "recently_changed",
    "replication_would_not_fit",
    "schema_disagreement",
    "streaming",
    "structurally_never_safe",
    "structurally_unavailable",
    "topology_changing",
    "view_disagreement",
    "would_be_at_minimum",
    "would_become_unavailable",
}


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
    accept: tuple[str, ...] = ()
    settle: float = 45.0
    require_spare: bool = False
    require_all_up: bool = False
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Example:
    """One range that a reason is about; addresses."""

    start: int
    end: int
    replicas: tuple[str, ...]
    live: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not, or what to know before.

    Attributes:
        code: stable name, documented in docs/gate.md.
        subject: node, keyspace, datacenter or cluster.
        summary: one line.
        blocks: False for a note.
        lifts_when: what would make it go away.
        keyspace: where it is about one or more that are alike the first; likewise level and datacenter.
        keyspaces: all of them.
        ranges: how many, of the keyspace's.
        share: of the token space, 0 to 1.
        example: one of the ranges, as it would be after the stop.
    """

    code: str
    subject: str
    summary: str
    blocks: bool = True
    lifts_when: str = ""
    keyspace: str | None = None
    level: Level | None = None
    datacenter: str | None = None
    ranges: int | None = None
    share: float | None = None
    example: Example | None = None
    keyspaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What the decision looked at."""

    keyspaces: int
    ranges: int
    views: int
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
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
    decision: Answer
    action: Action
    candidates: tuple[str, ...]
    holders: tuple[str, ...]
    reasons: tuple[Reason, ...]
    checked: Checked
    left_out: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stake:
    """A ring at a level for one client datacenter: what a stop may cost, and which keyspaces would pay."""

    names: tuple[str, ...]
    ring: Ring
    level: Level
    client: str | None
    demands: tuple[Demand, ...]
    rules: Rules


@dataclass
class _Loss:
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
        holders: Collection[str] = (),
        *,
        recorded: bool = False,
    ) -> None:
        """Look at what was seen.

        Args:
            snapshot: what was seen, fresh.
            policy: the cluster's rules.
            gate: what its owners want of the gate.
            holders: addresses that hold a restart lease.
            recorded: the snapshot is no fresh one: what needs a second look is left out, and the decision says so.

        Raises:
            RingError: if the partitioner's tokens can't be compared.
            UsageError: if the policy names a datacenter that has no nodes.
        """
        self.snapshot = snapshot
        self.gate = gate
        self.holders = tuple(holders)
        self.left_out = _left_out(snapshot) if recorded else ()
        self.scope = Scope(snapshot, policy)
        self.views = Views(snapshot)
        self.policy = policy
        held = frozenset(snapshot.index[one] for one in holders if one in snapshot.index)
        self.before = self.views.down_anywhere() | held
        self.refusals: list[Reason] = []
        self.stakes = list(self._stakes()) if self.views.usable else []
        self.refusals += self._gaps()

    # What is at stake

    def _stakes(self) -> Iterator[_Stake]:
        versions = sorted({one.version for one in self.views.outlooks(())})
        for ring in self.snapshot.rings:
            for level, names in self._levels(ring).items():
                for client in self.scope.clients(level, ring):
                    for version in versions:
                        yield from self._stake(ring, names, level, client, version)

    def _levels(self, ring: Ring) -> dict[Level, tuple[str, ...]]:
        """The levels that a ring must keep, and for which of its keyspaces."""
        found: dict[Level, list[str]] = {}
        for name, rule in self.scope.chosen(ring):
            if not any(fnmatchcase(name, pattern) for pattern in self.gate.accept):
                for level in self._levels_of(rule):
                    found.setdefault(level, []).append(name)
        return {level: tuple(names) for level, names in found.items()}

    def _levels_of(self, rule: Rule) -> tuple[Level, ...]:
        if rule.by_cassandra:
            return rule.levels
        own = rule.critical.level if rule.critical and rule is not DEFAULT else self.gate.level
        return tuple(dict.fromkeys((self.gate.level, own)))

    def _stake(
        self, ring: Ring, names: tuple[str, ...], level: Level, client: str | None, version: tuple[int, int]
    ) -> Iterator[_Stake]:
        try:
            rules = self.scope.rules(ring, version)
            demands = tuple(demands_of(level, client, rules).values())
        except UnknownReplicationError as error:
            text = f"{listed(names)} can't be judged at {level}: {error}"
            reason = Reason("no_data", names[0], text, True, _STATED, names[0], level, keyspaces=names)  # noqa: FBT003 - in the order of the fields
            self.refusals.append(reason)
            return
        yield _Stake(names, ring, level, client, demands, rules)

    def _state(self, stake: _Stake, down: Iterable[int]) -> RingState:
        return ring_state(stake.ring, self.snapshot.layout, self.scope.space, down)

    # What keeps any node from stopping

    def _gaps(self) -> Iterator[Reason]:
        """Reasons that do not depend on the candidates, but for whose view is missing."""
        for finding in assess(self.snapshot, self.policy, Question(every=True)).findings:
            reason = _from_finding(finding)
            if reason:
                yield reason
        if self.views.usable and not self.stakes:
            yield Reason("no_data", self.snapshot.cluster, "no keyspace to judge", lifts_when="a keyspace is watched")
        yield from self._young()
        if self.views.usable and not any(view.schema_version for view in self.views.usable):
            text = "whether the nodes agree on the schema is not known"
            lifts = "their Jolokia tells SchemaVersion"
            yield Reason("schema_disagreement", self.snapshot.cluster, text, blocks=False, lifts_when=lifts)
        if any(ring.pending for ring in self.snapshot.rings):
            yield Reason(
                "topology_changing", self.snapshot.cluster, "ranges are moving to other nodes", lifts_when=_SETTLED
            )

    def _young(self) -> Iterator[Reason]:
        """Nodes that have not run long enough to be trusted to stay."""
        try:
            taken = datetime.fromisoformat(self.snapshot.taken_at).timestamp()
        except ValueError:
            text = f"the time of the snapshot is not readable: {self.snapshot.taken_at!r}"
            yield Reason("no_data", self.snapshot.cluster, text, lifts_when="the snapshot is taken anew")
            return
        for index, node in enumerate(self.snapshot.nodes):
            if node.generation is not None and index not in self.before and taken - node.generation < self.gate.settle:
                age = round(taken - node.generation)
                text = f"{node.address} has run for {age} s; {self.gate.settle:g} s are asked for"
                if age < 0:
                    text = f"{node.address} says that it starts in {-age} s: its clock or the one here is wrong"
                lifts = f"{round(self.gate.settle - age)} s have passed"
                yield Reason("recently_changed", node.address, text, lifts_when=lifts)
        ageless = [
            node.address
            for index, node in enumerate(self.snapshot.nodes)
            if node.generation is None and node.jolokia in {"ok", "not_asked"} and index not in self.before
        ]
        if ageless and self.gate.settle:
            text = f"since when {listed(ageless)} {'runs' if len(ageless) == 1 else 'run'} is not known"
            lifts = "their Jolokia tells CurrentGenerationNumber"
            yield Reason("recently_changed", ageless[0], text, blocks=False, lifts_when=lifts)

    # The questions

    def decide(self, candidates: Sequence[str], action: Action = "restart") -> Decision:
        """May these nodes (addresses) stop together?"""
        known = [self.snapshot.index[one] for one in candidates if one in self.snapshot.index]
        reasons = [*self._strangers(candidates), *self._general(candidates, known), *self._notes(known, action)]
        reasons += self._streams(known)
        if action == "restart":
            reasons += self._losses(known)
        else:
            reasons += self._decommission(known)
        final = tuple(sorted((self._allowed(one) for one in reasons), key=lambda one: not one.blocks))
        levels = tuple(dict.fromkeys(stake.level for stake in self.stakes))
        names = {name for stake in self.stakes for name in stake.names}
        ranges = sum(len(ring) * len(names.intersection(ring.keyspaces)) for ring in self.snapshot.rings)
        checked = Checked(len(names), ranges, len(self.views.usable), levels)
        given = self.snapshot, _answer(final), action, tuple(candidates), self.holders, _bounded(final), checked
        return Decision(*given, self.left_out, tuple(sorted(self.gate.allow)))

    def _allowed(self, reason: Reason) -> Reason:
        return replace(reason, blocks=False) if reason.code in self.gate.allow else reason

    def safe_nodes(self) -> frozenset[str]:
        """Addresses of the nodes each of which may restart now, alone: what `decide` would say of each, in one pass."""
        blocking = [one for one in map(self._allowed, self.refusals) if one.blocks and not self._excused(one)]
        elsewhere = {one.subject for one in blocking if _spares_its_subject(one)}
        if len(elsewhere) > 1 or any(not _spares_its_subject(one) for one in blocking):
            return frozenset()
        if self.gate.require_spare or self.gate.allow:  # rare wishes: answered one by one
            return frozenset(
                node.address for node in self.snapshot.nodes if self.decide([node.address]).decision == "safe"
            )
        down = self.views.down_anywhere()
        unsafe = frozenset().union(*(self._state(one, self.before).breakers(one.demands) for one in self.stakes))
        if any(one.blocks for one in self._outages([])):
            unsafe |= frozenset(range(len(self.snapshot.nodes))) - down
        fine = frozenset(
            node.address
            for index, node in enumerate(self.snapshot.nodes)
            if index not in unsafe and not node.streams and not (self.gate.require_all_up and down - {index})
        )
        return fine & elsewhere if elsewhere else fine

    def _strangers(self, candidates: Sequence[str]) -> Iterator[Reason]:
        if not candidates:
            yield Reason("unknown_node", self.snapshot.cluster, "no node is named", lifts_when="a node is named")
        for one in candidates:
            if one not in self.snapshot.index:
                yield Reason("unknown_node", one, f"{one} is no node of this cluster", lifts_when="a member is named")

    def _general(self, candidates: Sequence[str], known: list[int]) -> Iterator[Reason]:
        """What was found wrong, without the views of those that are to stop, and whether something is lost already."""
        for one in self.refusals:
            mine = _spares_its_subject(one) and one.subject in candidates
            yield replace(one, blocks=False) if mine or self._excused(one) else one
        yield from self._outages(known)

    def _excused(self, reason: Reason) -> bool:
        """Whether a reason is about a node that counts as down by its lease, whatever its own view is."""
        return _spares_its_subject(reason) and reason.subject in self.holders

    def _outages(self, known: list[int]) -> Iterator[Reason]:
        """Ranges that are lost before anything is stopped; restarting nodes that are down is the cure."""
        cure = bool(known) and all(index in self.views.down_anywhere() for index in known)
        for stake in self.stakes:
            health = self._state(stake, self.before).level(stake.level, stake.client, stake.rules)
            if health.outage:
                yield self._of_level("already_unavailable", stake, health, health.outage, health.outage_share, not cure)
            if health.structurally_unavailable:
                share = health.unavailable_share - health.outage_share
                number = health.structurally_unavailable
                yield self._of_level("structurally_unavailable", stake, health, number, share, blocks=False)

    def _of_level(  # noqa: PLR0913, PLR0917 - the parts of a sentence
        self,
        code: str,
        stake: _Stake,
        health: LevelHealth,
        ranges: int,
        share: float,
        blocks: bool,  # noqa: FBT001 - as Reason's
    ) -> Reason:
        what, lifts = _LEVEL_WORDS[code]
        name = stake.names[0]
        number = f"{ranges} of {health.ranges} ranges ({percent(share)} of the tokens)"
        text = f"{number} of {listed(stake.names)} {what} {_at(stake)}"
        where = name, stake.level, stake.client
        return Reason(code, name, text, blocks, lifts, *where, ranges, share, keyspaces=stake.names)

    def _notes(self, known: list[int], action: Action) -> Iterator[Reason]:
        """What an operator should know, and may ask to be kept by.

        A node that leaves hands its ranges to others, whose writes must be acknowledged besides (`ReplicaPlans`:
        `blockFor` plus pending): who is down may be one of them.
        """
        nodes, hand_over = self.snapshot.nodes, action == "decommission"
        down = [nodes[index].address for index in sorted(self.views.down_anywhere() - set(known))]
        if down:
            text = f"{counted(len(down), 'other node')} down: {listed(down)}"
            blocks = self.gate.require_all_up or hand_over
            yield Reason("node_down_elsewhere", down[0], text, blocks, "all other nodes are up")
        held = [one for one in self.holders if one not in {nodes[index].address for index in known}]
        if held:
            text = f"{listed(held)} hold a restart lease and count as down"
            yield Reason("lease_held", held[0], text, hand_over, "the lease is released")

    def _streams(self, known: list[int]) -> Iterator[Reason]:
        """A stop breaks off what a node sends and receives: a repair or a rebuild that took hours fails."""
        nodes, down = self.snapshot.nodes, self.views.down_anywhere()
        silent = [nodes[index].address for index in known if nodes[index].streams is None and index not in down]
        for index in known:
            if nodes[index].streams:
                name = nodes[index].address
                text = f"{name} is streaming (repair, bootstrap, rebuild or decommission): a stop breaks that off"
                yield Reason("streaming", name, text, lifts_when=f"{name} streams nothing")
        if silent and "streaming" not in self.left_out:
            text = f"whether {listed(silent)} {'streams' if len(silent) == 1 else 'stream'} is not known"
            yield Reason("streaming", silent[0], text, blocks=False, lifts_when="CurrentStreams can be read there")
        others = [node.address for index, node in enumerate(nodes) if node.streams and index not in known]
        if others:
            text = f"{counted(len(others), 'other node')} streaming: {listed(others)}"
            yield Reason("streaming", others[0], text, blocks=False, lifts_when="all streams have ended")

    # The counterfactual

    def _losses(self, known: list[int]) -> Iterator[Reason]:
        groups: dict[int, list[_Alike]] = {}  # by the identity of a ring: the same for all of its levels and clients
        stopped = [node for node in known if node not in self.before]
        for stake in self.stakes:
            before, after = self._state(stake, self.before), self._state(stake, self.before.union(known))
            if id(stake.ring) not in groups:
                groups[id(stake.ring)] = _alike(before, after, stopped)
            yield from self._loss_reasons(stake, after, _loss(groups[id(stake.ring)], stake.demands))

    def _loss_reasons(self, stake: _Stake, after: RingState, loss: _Loss) -> Iterator[Reason]:
        if loss.never:
            yield self._lost("structurally_never_safe", stake, after, loss, loss.never)
        if loss.ranges > loss.never:
            yield self._lost("would_become_unavailable", stake, after, loss, loss.ranges - loss.never)
        if loss.tight:
            text = f"{loss.tight} ranges of {listed(stake.names)} would have no replica to spare {_at(stake)}"
            yield Reason(
                "would_be_at_minimum", stake.names[0], text, self.gate.require_spare, "more replicas are up",
                stake.names[0], stake.level, stake.client, loss.tight, keyspaces=stake.names,
            )  # fmt: skip

    def _lost(self, code: str, stake: _Stake, after: RingState, loss: _Loss, ranges: int) -> Reason:
        what, lifts = _LEVEL_WORDS[code]
        text = f"{ranges} of {len(stake.ring)} ranges of {listed(stake.names)} {what} {_at(stake)}"
        share = loss.tokens / self.scope.space.size
        example = self._example(after, loss.first) if loss.first is not None else None
        name = stake.names[0]
        where = name, stake.level, stake.client
        return Reason(code, name, text, True, lifts, *where, ranges, share, example, stake.names)  # noqa: FBT003 - in the order of the fields

    def _example(self, state: RingState, index: int) -> Example:
        nodes, held = self.snapshot.nodes, state.ring.replicas(index)
        live = tuple(nodes[node].address for node in held if node not in state.down)
        return Example(*state.ring.range(index), tuple(nodes[node].address for node in held), live)

    def _decommission(self, known: list[int]) -> Iterator[Reason]:
        """A node that leaves hands its ranges over; what counts is whether there is room for them."""
        nodes = self.snapshot.nodes
        dead = [nodes[index].address for index in known if index in self.views.down_anywhere()]
        if dead:
            text = f"{listed(dead)} {'is' if len(dead) == 1 else 'are'} down: only a node that is up can leave"
            yield Reason("candidate_down", dead[0], text, lifts_when="it is up; a dead node is removed instead")
        leaving: dict[str, list[int]] = {}
        for index in known:
            leaving.setdefault(nodes[index].datacenter or "", []).append(index)
        for datacenter, gone in sorted(leaving.items()):
            left = self.snapshot.owners[datacenter] - len(gone)
            yield from self._no_room(datacenter, left)
            emptied = self._emptied_racks(datacenter, gone)
            if emptied:
                text = f"rack {listed(emptied)} of {datacenter} would have no node: replicas would share racks"
                yield Reason("rack_empties", datacenter, text, blocks=False, lifts_when="another node joins that rack")

    def _no_room(self, datacenter: str, left: int) -> Iterator[Reason]:
        for ring in self.snapshot.rings:
            replication, names = ring.replication, [name for name, _ in self.scope.chosen(ring)]
            if not names:
                continue
            if replication is None:
                text = f"how many replicas {listed(names)} want is not known"
                yield Reason("no_data", names[0], text, lifts_when=_STATED, keyspace=names[0], keyspaces=tuple(names))
                continue
            network = replication.strategy == NETWORK_TOPOLOGY
            wanted = dict(replication.options).get(datacenter if network else "replication_factor")
            room = left if network else left + sum(self.snapshot.owners.values()) - self.snapshot.owners[datacenter]
            if wanted and wanted.replicas > room:
                text = f"{listed(names)} want {wanted} replicas in {datacenter}, where {room} nodes would be left"
                lifts = "the replication factor is lowered, or a node joins"
                yield Reason(
                    "replication_would_not_fit",
                    names[0],
                    text,
                    lifts_when=lifts,
                    keyspace=names[0],
                    keyspaces=tuple(names),
                )

    def _emptied_racks(self, datacenter: str, gone: list[int]) -> list[str]:
        nodes = self.snapshot.nodes
        stay = {node.rack for index, node in enumerate(nodes) if node.datacenter == datacenter and index not in gone}
        return sorted({nodes[index].rack or "" for index in gone} - {rack or "" for rack in stay})


_SETTLED = "no node is joining, leaving or moving"
_STATED = "its replication is stated under `replication:`"
_LEVEL_WORDS = {
    "already_unavailable": ("are unavailable already", "the nodes that are down are back"),
    "structurally_unavailable": ("can never be served", "the replication is mended; no stop makes it worse"),
    "would_become_unavailable": ("would become unavailable", "more of their replicas are up"),
    "structurally_never_safe": (
        "can't survive any stop",
        "the replication factor is raised, the gate's level lowered, or the keyspace accepted by name",
    ),
}

# Findings that keep every node from stopping: the reason that each becomes.
_FINDINGS = {
    "view_missing": ("view_missing", "every node's Jolokia answers"),
    "view_discarded": ("view_missing", "that node serves again, or is down for all"),
    "node_unknown": ("view_missing", "every node is in a view"),
    "view_disagreement": ("view_disagreement", "all views agree"),
    "gossip_dead": ("view_disagreement", "all views agree"),
    "schema_disagreement": ("schema_disagreement", "the nodes of each release have one schema version"),
    "topology_changing": ("topology_changing", _SETTLED),
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


def _from_finding(finding: Finding) -> Reason | None:
    """The reason that a finding is; what is lost is judged by the gate itself, at its own level."""
    known = _FINDINGS.get(finding.code)
    if known:
        return Reason(known[0], finding.subject, finding.summary, lifts_when=known[1])
    if finding.severity is Severity.UNKNOWN and finding.code != "replication_unknown":
        return Reason("no_data", finding.subject, finding.summary, lifts_when="it can be read")
    return None


def _spares_its_subject(reason: Reason) -> bool:
    """Whether the node that a reason is about may stop all the same: its own view counts no longer then."""
    return reason.code in {"view_missing", "recently_changed"}


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
    for index in sorted(set(before.pieces).union(*(before.ring.ranges_of[node] for node in stopped))):
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


def _both(
    before: RingState, after: RingState, index: int
) -> Iterable[tuple[tuple[int, int, Replicas], tuple[int, int, Replicas]]]:
    return zip(before.parts(index), after.parts(index), strict=True)


def _loss(groups: Iterable[_Alike], demands: tuple[Demand, ...]) -> _Loss:
    """What the stop of some nodes takes away, operation by operation."""
    loss = _Loss()
    for one in groups:
        fates = [_fate(then, now, demands) for then, now in one.parts]
        if any(gone for gone, _ in fates):
            loss.ranges += one.ranges
            loss.tokens += sum(width for width, (gone, _) in zip(one.tokens, fates, strict=True) if gone)
            loss.never += one.ranges if _never(one.whole, demands) else 0
            loss.first = one.first if loss.first is None else min(loss.first, one.first)
        elif any(tight for _, tight in fates):
            loss.tight += one.ranges
    return loss


def _fate(then: Replicas, now: Replicas, demands: tuple[Demand, ...]) -> tuple[bool, bool]:
    """Whether a (piece of a) range is lost to any operation, and whether it has come to its last replicas."""
    spares = [(stand((then,), one).spare, stand((now,), one).spare) for one in demands]
    gone = any(was is not None and left is not None and left < 0 <= was for was, left in spares)
    return gone, any(left == 0 and was != 0 for was, left in spares)


def _never(whole: Replicas, demands: tuple[Demand, ...]) -> bool:
    """Whether a range has no replica to spare even with all nodes up."""
    return any((stand((whole,), one).spare or 0) <= 0 for one in demands if one.requirements)


def _at(stake: _Stake) -> str:
    return f"at {stake.level}" + (f" in {stake.client}" if stake.client else "")


def _answer(reasons: Iterable[Reason]) -> Answer:
    codes = {one.code for one in reasons if one.blocks}
    if codes - GAPS:
        return "unsafe"
    return "unknown" if codes else "safe"
