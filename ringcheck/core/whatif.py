"""What if nodes were down or up, or the topology were different: makes a snapshot that is judged like a real one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.core.assess import assess
from ringcheck.core.evidence import Evidence, evidence_of
from ringcheck.core.ring import COORDINATING, View
from ringcheck.core.topology import AS_IT_IS, with_topology
from ringcheck.core.words import suggestion
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringcheck.core.assess import Question
    from ringcheck.core.maintenance import Maintenance
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Node, Snapshot
    from ringcheck.core.topology import Topology
    from ringcheck.core.verdict import LevelVerdict, Verdict

SUPPOSED_DOWN = "assumed down"


def suppose(snapshot: Snapshot, down: Collection[str] = (), up: Collection[str] = ()) -> Snapshot:
    """The snapshot as it would be with some nodes down for every view, and others up for every view.

    A node that is assumed down no longer coordinates: its view is discarded, or stays as it is if the node is down
    already. A node that is assumed up serves clients, and sees a node down if any other view sees it down. What could
    not be read stays unread.

    Args:
        snapshot: what was seen.
        down: addresses of nodes that are assumed down.
        up: addresses of nodes that are assumed up.

    Raises:
        UsageError: if no node has one of the addresses, or if a node is assumed both down and up.
    """
    gone, back = frozenset(down), frozenset(up)
    strangers = sorted((gone | back) - snapshot.index.keys())
    if strangers:
        near = suggestion(strangers[0], [node.address for node in snapshot.nodes])
        raise UsageError(f"{strangers[0]} is not a node of {snapshot.cluster} ({near})")
    if gone & back:
        raise UsageError(f"{min(gone & back)} can't be assumed both down and up")
    evidence = evidence_of(snapshot)
    observers = {view.observer for view in evidence.usable}
    waking = back - observers - frozenset(evidence.names(evidence.joining))
    changed = {address: _woken(evidence.assumed(snapshot.nodes[snapshot.index[address]])) for address in waking}
    changed |= {address: _stopped(snapshot.nodes[snapshot.index[address]]) for address in gone}
    nodes = tuple([changed.get(node.address, node) for node in snapshot.nodes])
    stopped = gone - (frozenset(evidence.names(evidence.surely_down)) - observers)
    others = [view for view in snapshot.views if view.observer not in waking]
    kept = tuple(
        [
            View(view.observer, outcome="discarded", reason=SUPPOSED_DOWN)
            if view.observer in stopped
            else _supposed(evidence, view, gone, back)
            for view in others
        ]
    )
    seen = Evidence(replace(snapshot, nodes=nodes, views=kept))
    woken = tuple([_view_of_node_up(address, seen) for address in sorted(waking, key=snapshot.index.__getitem__)])
    return replace(snapshot, nodes=nodes, views=(*kept, *woken))


def _woken(node: Node) -> Node:
    return replace(
        node,
        mode=node.mode if node.mode in COORDINATING else "NORMAL",
        gossip_running=True,
        native_transport_running=True,
    )


def _stopped(node: Node) -> Node:
    return replace(node, native_transport_running=False)


def _supposed(evidence: Evidence, view: View, gone: frozenset[str], back: frozenset[str]) -> View:
    """A view as it would be, with the addresses that the nodes have in the snapshot."""
    if view.outcome == "unreachable":
        return view
    lists = evidence.named(view)
    unreachable = None if lists.unreachable is None else (lists.unreachable | gone) - back
    return replace(lists, live=(lists.live - gone) | back, unreachable=unreachable)


def _view_of_node_up(address: str, others: Evidence) -> View:
    """The view of a node that is assumed up: live are the nodes that all others reach, unreachable the other nodes."""
    if not others.usable:
        reason = "assumed up, but no view shows what it would see"
        return View(address, outcome="discarded", reason=reason)
    first = others.named(others.usable[0])
    reached = frozenset.intersection(*{others.liveness(view).reached for view in others.usable})
    live = frozenset(others.names(reached)) | {address}
    silent = any(view.unreachable is None for view in others.usable)
    unreachable = None if silent else frozenset(others.names(others.known)) - live
    return replace(first, observer=address, live=live, unreachable=unreachable, schema_version=None)


@dataclass(frozen=True, slots=True)
class LevelChange:
    """One level of one keyspace that an assumption changes; `now` is None if it can't be judged now."""

    keyspace: str
    now: LevelVerdict | None
    then: LevelVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposition:
    """What is assumed of a cluster; the defaults assume nothing.

    Attributes:
        down: addresses of the nodes that are assumed down.
        up: addresses of the nodes that are assumed up.
        topology: replication, tokens and nodes that join. A node that joins is up.
    """

    down: tuple[str, ...] = ()
    up: tuple[str, ...] = ()
    topology: Topology = AS_IT_IS

    def __bool__(self) -> bool:
        return bool(self.down or self.up or self.topology)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """Assumptions, and the verdict with and without them.

    Attributes:
        supposed: the assumptions.
        now: the verdict on what was seen.
        then: the verdict as it would be.
    """

    supposed: Supposition
    now: Verdict
    then: Verdict

    @property
    def changes(self) -> tuple[LevelChange, ...]:
        """The levels that change, in the order of the verdict."""
        was = {
            (keyspace.name, level.level, level.datacenter): level
            for keyspace in self.now.keyspaces
            for level in keyspace.levels
        }
        levels = [
            LevelChange(keyspace.name, was.get((keyspace.name, level.level, level.datacenter)), level)
            for keyspace in self.then.keyspaces
            for level in keyspace.levels
        ]
        return tuple(change for change in levels if change.now is None or _numbers(change.now) != _numbers(change.then))


def _numbers(level: LevelVerdict) -> tuple[object, ...]:
    """The numbers of a level whose difference counts as a change."""
    health = level.health
    if health is None:
        return level.severity, None
    left = health.node_failures_to_outage, health.rack_failures_to_outage
    return level.severity, health.unavailable, health.unavailable_share, health.at_minimum, left


def what_if(
    snapshot: Snapshot,
    policy: Policy,
    supposed: Supposition,
    question: Question | None = None,
    maintenance: Maintenance | None = None,
) -> WhatIf:
    """The verdict as it would be, and the verdict as it is.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        supposed: what is assumed of the cluster.
        question: as for `assess`.
        maintenance: as for `assess`.

    Raises:
        UsageError: as `suppose`, `with_topology` and `assess`.
        RingError: as `assess`.
    """
    topology = supposed.topology
    imagined = suppose(with_topology(snapshot, topology), supposed.down, (*supposed.up, *topology.names))
    then = assess(imagined, policy, question, maintenance)
    return WhatIf(supposed=supposed, now=assess(snapshot, policy, question, maintenance), then=then)
