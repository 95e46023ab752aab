"""Why a dead node may not be removed or replaced, why a new node may not join, and what a decommission costs.

Each of these four actions moves ranges to a node that does not have their data yet. While that lasts,

- the node streams each range from a replica that is up: a range without one is lost, or the operation fails
  (`RangeStreamer`: "Unable to find sufficient sources for streaming range");
- its writes need one acknowledgement more, and have one replica more that may acknowledge (`ReplicaPlans`: `blockFor`
  plus pending). A gaining node that is down acknowledges nothing, and with Paxos v1 a second gaining node makes serial
  operations unavailable.

A level is lost by the operation if a range can be served before it and might not be while it lasts. The rule, and the
treatment of doubtful nodes, are those of `core.gate`. Sources are counted in all keyspaces, since Cassandra asks for
sources in all of them.

A value that was written at QUORUM may be on the dead node and on one other replica. The new node streams each range
from one replica, which may be a third one: that is why a repair must follow. A repair can't help once two of three
replicas were replaced from the third. So dead nodes are replaced together only if they leave a quorum of live replicas
in each range that they share.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.actions import ACTIONS
from ringcheck.core.consistency import META_STRATEGY, NETWORK_TOPOLOGY, TOTAL_STRATEGIES, with_pending
from ringcheck.core.decommission import ring_reasons, room_reasons
from ringcheck.core.health import ring_state
from ringcheck.core.losses import CandidateLoss, example_of, groups_of, loss_of
from ringcheck.core.reasons import reason
from ringcheck.core.words import counted, listed, percent, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ringcheck.core.actions import Action, Newcomer
    from ringcheck.core.consistency import Replicas
    from ringcheck.core.health import RingState
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Ring
    from ringcheck.core.selection import Scope
    from ringcheck.core.stakes import Stake

Lost: TypeAlias = "tuple[Stake, CandidateLoss, RingState]"


@dataclass(frozen=True, slots=True)
class Shared:
    """Ranges in which the same dead nodes have replicas; of NetworkTopologyStrategy, in one datacenter.

    Attributes:
        nodes: indexes of these dead nodes.
        outnumbered: whether fewer replicas than a quorum would be left without these nodes.
    """

    nodes: frozenset[int]
    outnumbered: bool


class RangeMovement:
    """A decommission, a removal, a replacement or a bootstrap on one snapshot."""

    def __init__(
        self,
        scope: Scope,
        *,
        action: Action,
        targets: frozenset[int],
        newcomer: Newcomer | None,
        reliable: frozenset[int],
        accept: Sequence[str],
    ) -> None:
        """Describe what moves.

        Args:
            scope: keyspaces that are judged.
            action: decommission, removenode, replace or bootstrap.
            targets: indexes of the leaving or dead nodes; empty for a bootstrap.
            newcomer: datacenter and rack of the new node; None if there is no new node, or if they are not stated.
            reliable: indexes of the nodes that may be counted on and are under no lease.
            accept: shell patterns of keyspaces that may lose ranges.
        """
        self._scope = scope
        self._snapshot = scope.snapshot
        self._action = action
        self._targets = targets
        self._newcomer = newcomer
        self._live = reliable - targets
        self._accept = accept

    def reasons(self) -> Iterator[Reason]:
        """Why no node may be removed, be replaced or join, and notes; losses of levels are left out."""
        yield from self._of_targets()
        yield from ring_reasons(self._scope, self._targets)
        if self._action == "removenode":
            yield from self._of_removal()
        else:
            yield from self._of_newcomer()
        yield from self._without_source()
        if self._targets:
            names = self._names(self._targets)
            text = f"repair the ranges of {listed(names)} afterwards: each is streamed from one replica only"
            yield reason("repair_needed", names[0], text)

    @property
    def stopped(self) -> frozenset[int]:
        """Indexes of the nodes that serve nothing meanwhile; a node that leaves serves its ranges until it has left."""
        return self._targets if ACTIONS[self._action].of_dead_nodes else frozenset()

    def _names(self, nodes: Iterable[int]) -> list[str]:
        return self._scope.evidence.names(nodes)

    # The dead nodes

    def _of_targets(self) -> Iterator[Reason]:
        evidence, nodes = self._scope.evidence, self._snapshot.nodes
        for index in sorted(self._targets - evidence.surely_down):
            seen = "some views do not reach it" if index in evidence.not_reached else "it is up"
            text = f"{nodes[index].address} is not surely down ({seen}): only a dead node can {self._verb}"
            yield reason("candidate_up", nodes[index].address, text)
        for index in sorted(self._targets):
            name, tokens = nodes[index].address, nodes[index].tokens
            if tokens == 0 or index not in evidence.members:
                yield reason("not_a_member", name, f"{name} owns no tokens: it can't {self._verb}")
            elif tokens is None and index not in evidence.holders:
                yield reason("no_data", name, f"not known whether {name} owns tokens")

    @property
    def _verb(self) -> str:
        return ACTIONS[self._action].verb

    def _of_removal(self) -> Iterator[Reason]:
        yield from room_reasons(self._scope, self._targets)
        if len(self._targets) > 1:
            names = self._names(self._targets)
            text = f"{listed(names)}: Cassandra removes one node at a time"
            yield reason("one_at_a_time", names[0], text)

    # The new node

    def _of_newcomer(self) -> Iterator[Reason]:
        if self._action == "replace":
            yield from self._in_place()
            yield from self._apart()
        elif self._newcomer:
            yield from self._home(self._newcomer)

    def _in_place(self) -> Iterator[Reason]:
        """The replacement belongs where the dead node was: in another rack it would hold other ranges."""
        for index in sorted(self._targets):
            node = self._snapshot.nodes[index]
            place = f"{node.datacenter or '?'} {node.rack or '?'}"
            lifts = f"the new node is in {place}"
            if self._newcomer is None:
                text = f"the node that replaces {node.address} must be in {place}"
                yield reason("rack_differs", node.address, text, blocks=False, lifts_when=lifts)
            elif (self._newcomer.datacenter, self._newcomer.rack) != (node.datacenter, node.rack):
                text = f"{node.address} is in {place}, the new node in {self._newcomer}"
                yield reason("rack_differs", node.address, text, lifts_when=lifts)

    def _home(self, newcomer: Newcomer) -> Iterator[Reason]:
        """What a new datacenter or rack means for the ranges that a new node gets."""
        name = newcomer.datacenter
        if not self._scope.evidence.owners[name]:
            wanting = [keyspace for ring in self._snapshot.rings if _wants(ring, name) for keyspace in ring.keyspaces]
            others = sorted(home for home, number in self._scope.evidence.owners.items() if home and number)
            text = f"datacenter {name} has no node"
            if not wanting:
                text += f" ({suggestion(name, others)})"
            else:
                text += f", though {listed(wanting)} has replicas there: its first nodes have nothing to stream from"
            yield reason("new_datacenter", name, text, blocks=bool(wanting))
            return
        homes = {(node.datacenter, node.rack) for node in self._snapshot.nodes if node.tokens}
        if (name, newcomer.rack) not in homes:
            racks = sorted(rack for datacenter, rack in homes if datacenter == name and rack)
            text = f"rack {newcomer.rack} of {name} has no node ({suggestion(newcomer.rack, racks)}): "
            text += "the first node of a rack gets more ranges than others"
            yield reason("rack_new", name, text)

    # Sources

    def _without_source(self) -> Iterator[Reason]:
        for ring in self._snapshot.rings:
            lost = [index for index in self._moved(ring) if self._no_source(ring, index)]
            if lost:
                yield from self._lost_data(ring, lost)

    def _moved(self, ring: Ring) -> Iterable[int]:
        """The ranges that the new node streams, or may stream."""
        if self._action == "bootstrap":
            return range(len(ring)) if self._gains(ring) else ()
        return sorted({index for node in self._targets for index in ring.ranges_of[node]})

    def _gains(self, ring: Ring) -> bool:
        """Whether a new node gets ranges of a ring; if its replication is not known, it does."""
        if ring.replication is None or self._newcomer is None:
            return True
        if ring.replication.strategy == META_STRATEGY:
            return False
        return ring.replication.strategy != NETWORK_TOPOLOGY or _wants(ring, self._newcomer.datacenter)

    def _no_source(self, ring: Ring, index: int) -> bool:
        """Whether no replica is left that may be counted on and has the data, whichever replicas are transient."""
        replicas = ring.replicas(index)
        transient = sum(factor.transient for _, factor in ring.replication.options) if ring.replication else 0
        return bool(replicas) and len(self._live.intersection(replicas)) <= transient

    def _lost_data(self, ring: Ring, lost: Sequence[int]) -> Iterator[Reason]:
        """The reasons that ranges have no source: for the keyspaces for which that blocks, and for the others."""
        judged = {name for name, _ in self._scope.chosen(ring)}
        # Cassandra lets a replacement start without the data of keyspaces of RF 1.
        refused = self._action == "bootstrap" or (self._action == "replace" and _factor(ring) > 1)
        blocking = [name for name in ring.keyspaces if refused or self._keeps(name, judged)]
        noted = [name for name in ring.keyspaces if name not in blocking]
        space = self._scope.space
        share = sum(space.width(*ring.range(index)) for index in lost) / space.size
        what = "Cassandra does not start without" if refused else "their data would be lost"
        for names, blocks in ((blocking, True), (noted, False)):
            if names:
                number = f"{len(lost)} of {len(ring)} ranges ({percent(share)} of the tokens) of {listed(names)}"
                yield reason(
                    "no_live_source",
                    names[0],
                    f"{number} have no live replica to stream from: {what}",
                    blocks=blocks,
                    keyspace=names[0],
                    keyspaces=tuple(names),
                    ranges=len(lost),
                    share=share,
                    example=example_of(self._snapshot, self._state(ring), lost[0]),
                )

    def _keeps(self, keyspace: str, judged: Iterable[str]) -> bool:
        """Whether the data of a keyspace must be kept: unless it is accepted, or a system one that is not watched."""
        if any(fnmatchcase(keyspace, pattern) for pattern in self._accept):
            return False
        return keyspace in judged or not keyspace.startswith("system")

    def _state(self, ring: Ring) -> RingState:
        everyone = frozenset(range(len(self._snapshot.nodes)))
        return ring_state(ring, self._snapshot.layout, self._scope.space, everyone - self._live)

    # Placement

    def unplaced(self, stakes: Iterable[Stake]) -> Iterator[Reason]:
        """The reasons that a range may have too few replicas in the clients' datacenter once the action is done.

        SimpleStrategy places replicas without regard to datacenters, and a change of the tokens' owners moves them.
        """
        owners = self._scope.evidence.owners
        homes = {home for home, number in owners.items() if number} | (
            {self._newcomer.datacenter} if self._newcomer else set()
        )
        if self._action == "replace" or len(homes) == 1:
            return
        reported = set()
        for stake in stakes:
            strategy = (
                stake.ring.replication.strategy if stake.ring.replication else "its strategy, which is not known,"
            )
            by_datacenter = stake.ring.replication is not None and strategy not in TOTAL_STRATEGIES
            if stake.client is not None and not by_datacenter and stake.keyspaces not in reported:
                reported.add(stake.keyspaces)
                text = f"{strategy} places the replicas of {listed(stake.keyspaces)} without regard to datacenters"
                yield reason(
                    "placement_unknown",
                    stake.keyspaces[0],
                    f"{text}: afterwards a range may have too few {stake.where}",
                    **stake.fields,
                )

    # Nodes that are replaced together

    @cached_property
    def together(self) -> tuple[tuple[str, ...], ...]:
        """The dead nodes in groups, each of which may be replaced at once; empty unless nodes are replaced."""
        groups: list[set[int]] = []
        for node in sorted(self._targets) if self._action == "replace" else ():
            group = next((group for group in groups if not self._collide(group | {node})), None)
            if group is None:
                groups.append({node})
            else:
                group.add(node)
        return tuple(tuple(self._names(group)) for group in groups)

    def _collide(self, nodes: set[int]) -> bool:
        return any(self._too_few(shared, nodes) for rows in self._shared.values() for shared in rows)

    def _too_few(self, shared: Shared, nodes: Iterable[int]) -> bool:
        return shared.outnumbered and len(shared.nodes.intersection(nodes)) > 1

    @cached_property
    def _shared(self) -> dict[int, Counter[Shared]]:
        """How many ranges dead nodes share, by the ring's index in the snapshot; only of judged keyspaces."""
        shared: dict[int, Counter[Shared]] = {}
        for number, ring in enumerate(self._snapshot.rings):
            if any(self._keeps(name, ()) for name, _ in self._scope.chosen(ring)):
                shared[number] = Counter(
                    entry for index in self._moved(ring) for entry in self._sharing(ring, ring.replicas(index))
                )
        return shared

    def _sharing(self, ring: Ring, replicas: Sequence[int]) -> Iterator[Shared]:
        nodes = self._snapshot.nodes
        apart = ring.replication is not None and ring.replication.strategy == NETWORK_TOPOLOGY
        for home in {nodes[node].datacenter for node in replicas} if apart else {None}:
            local = [node for node in replicas if home is None or nodes[node].datacenter == home]
            dead = self._targets.intersection(local)
            if len(dead) > 1:
                yield Shared(dead, len(self._live.intersection(local)) < len(local) // 2 + 1)

    def _apart(self) -> Iterator[Reason]:
        """The reason that not all of the dead nodes may be replaced together."""
        if len(self.together) < 2:  # noqa: PLR2004 - one group is not a reason
            return
        for number, rows in self._shared.items():
            ranges = sum(count for shared, count in rows.items() if self._too_few(shared, self._targets))
            if ranges:
                keyspaces = self._snapshot.rings[number].keyspaces
                groups = "; then ".join(listed(group) for group in self.together)
                these = f"{counted(ranges, 'range')} of {listed(keyspaces)}"
                text = f"{these} would have no quorum of replicas that keep their data"
                yield reason(
                    "shared_ranges",
                    self.together[0][0],
                    f"{text}: replace {groups}",
                    keyspace=keyspaces[0],
                    keyspaces=keyspaces,
                    ranges=ranges,
                    lifts_when=f"they are replaced in this order, each group after a repair: {groups}",
                )

    # Levels

    def losses(
        self, stakes: Iterable[Stake], before: Callable[[Ring], RingState], after: Callable[[Ring], RingState]
    ) -> Iterator[Lost]:
        """For each stake of keyspaces what it may lose while the operation lasts, and its ring meanwhile.

        Args:
            stakes: all of them.
            before: a ring with the nodes down that are surely down, or that no view lists as live.
            after: a ring with the nodes down that may not be counted on.
        """
        concerned = self._targets or frozenset(range(len(self._snapshot.nodes)))
        for stake in stakes:
            if stake.of_keyspaces:
                ring, lasting = stake.ring, after(stake.ring)
                losses = [
                    loss_of(groups_of(before(ring), lasting, concerned, changed), stake.demands)
                    for changed in self._changes(ring)
                ]
                worst = max(losses, key=lambda loss: (loss.ranges, loss.tight), default=CandidateLoss())
                worst.never = 0  # no replica stops here, so it does not matter that a range can't spare one
                yield stake, worst, lasting
            elif stake.coordinators and self._leaves_none(stake.ring):
                yield stake, CandidateLoss(ranges=1, first=0), after(stake.ring)

    def _leaves_none(self, coordinators: Ring) -> bool:
        """Whether leaving nodes are the last of these coordinators that may be counted on."""
        leaving = self._action == "decommission" and self._targets & coordinators.holders
        return bool(leaving) and not self._live & coordinators.holders

    def _changes(self, ring: Ring) -> Iterator[Callable[[int, Replicas], Replicas]]:
        """The ways in which counts of ranges may change: one for each datacenter that the gaining node may be in."""
        if self._action == "bootstrap":
            if self._newcomer and self._gains(ring):
                joined = self._newcomer.datacenter
                yield lambda _, counts: with_pending(counts, joined, live=True)
        elif self._action == "replace":
            yield lambda index, counts: self._with_gaining(ring, index, counts, None)
        else:
            by_datacenter = ring.replication is not None and ring.replication.strategy == NETWORK_TOPOLOGY
            homes: tuple[str | None, ...] = (None,) if by_datacenter else self._snapshot.datacenters
            for home in homes:
                yield lambda index, counts, home=home: self._with_gaining(ring, index, counts, home)  # type: ignore[misc]

    def _with_gaining(self, ring: Ring, index: int, counts: Replicas, home: str | None) -> Replicas:
        """Counts of a range with one gaining node for each that leaves or is dead, in its datacenter or in another."""
        for node in self._targets.intersection(ring.replicas(index)):
            datacenter = home or self._snapshot.nodes[node].datacenter or ""
            live = self._action == "replace" or self._all_live_in(datacenter)
            counts = with_pending(counts, datacenter, live=live)
        return counts

    def _all_live_in(self, datacenter: str) -> bool:
        """Whether each node that may gain ranges of a leaving or removed one may be counted on."""
        nodes = self._snapshot.nodes
        others = (index for index in range(len(nodes)) if nodes[index].datacenter == datacenter)
        return all(index in self._live or index in self._targets or nodes[index].tokens == 0 for index in others)


def _factor(ring: Ring) -> int:
    """The replication factor of a ring, over all datacenters; if it is not known, the most replicas of a range."""
    return sum(factor.replicas for _, factor in ring.replication.options) if ring.replication else ring.width


def _wants(ring: Ring, datacenter: str) -> bool:
    """Whether a ring of NetworkTopologyStrategy has replicas in a datacenter."""
    if ring.replication is None or ring.replication.strategy != NETWORK_TOPOLOGY:
        return False
    factor = dict(ring.replication.options).get(datacenter)
    return factor is not None and factor.replicas > 0
