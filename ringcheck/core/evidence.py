"""Derives from the nodes' reports who is a member, whose view is usable, and which nodes each coordinator reaches.

Evidence is made once from a Snapshot; health, gate, plan, what-if, risk, recovery order and pictures read it. Only this
module and core/views.py read the lists of a view.

Liveness is a relation between an observer and a node, never a property of a node. Three questions have three answers:

- Does coordinator C reach node N? C's own lists say so. A node in both of its lists, or in neither, is not reached.
- May N be counted on while other nodes stop? Only if every usable view reaches it, its own agent does not deny
  that it serves, and nothing about it is contradictory. A doubt counts against N (`counted_on`).
- Is candidate N down already, so that its stop costs nothing? Only if every usable view lists it as unreachable
  and its own agent does not say that it serves. A doubt counts for N being up (`surely_down`).

Silence never counts as up, and a node is not down just because its agent is silent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.consistency import behaviours
from ringcheck.core.findings import FINDINGS
from ringcheck.core.membership import claimed_twice
from ringcheck.core.views import ViewReader, coordinates_unjoined, separated, unusable_because
from ringcheck.core.words import suggestion
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.core.consistency import Behaviour
    from ringcheck.core.ring import Node, Snapshot, View
    from ringcheck.core.views import Liveness

State: TypeAlias = Literal["up", "down", "unknown"]

# A node that reports one of these modes does not answer as a replica, whatever its peers still believe.
_NOT_SERVING = frozenset({"STARTING", "DRAINING", "DRAINED", "DECOMMISSIONED"})


@dataclass(frozen=True, slots=True)
class Outlook:
    """Views that reach the same nodes, from coordinators of one behaviour.

    Attributes:
        observers: addresses, sorted.
        down: indexes of the nodes that they do not reach.
        behaviour: of the observers; those whose Paxos variant is not known are in an outlook for each that it may be.
    """

    observers: tuple[str, ...]
    down: frozenset[int]
    behaviour: Behaviour


class Evidence:
    """What the views of a snapshot say together.

    Attributes:
        snapshot: the one that the views are from.
        views: all of them, judged: with the outcome and reason that the rules of this package give them.
        usable: those of them that are usable.
    """

    def __init__(self, snapshot: Snapshot, only: str | None = None) -> None:
        """Judge the views.

        Args:
            snapshot: the one that has the views.
            only: address of the only observer whose view is to count.

        Raises:
            UsageError: if that observer has no view in the snapshot.
        """
        self.snapshot = snapshot
        self._reader = ViewReader(snapshot.nodes)
        self._down: dict[frozenset[int], frozenset[int]] = {}
        self._outlooks: dict[tuple[str, ...], tuple[Outlook, ...]] = {}
        self._all_nodes = frozenset(range(len(snapshot.nodes)))
        self.views = tuple([self._judged(view) for view in snapshot.views])
        if only is not None:
            self.views = tuple(view for view in self.views if view.observer == only)
            if not self.views:
                raise UsageError(
                    f"there is no view of {only} ({suggestion(only, [view.observer for view in snapshot.views])})"
                )
        self.usable = tuple(view for view in self.views if view.outcome == "ok")

    def _judged(self, view: View) -> View:
        """The view with the outcome that the rules here give it; the outcome that its source gave is replaced."""
        if view.outcome == "unreachable":
            return view
        index = self.snapshot.index.get(view.observer)
        reason = unusable_because(None if index is None else self.snapshot.nodes[index], view)
        if reason is None:
            lists = self.liveness(view)
            if index not in lists.reached and index not in lists.both:
                reason = "it does not list itself as live"
        if reason is None:
            return view if view.outcome == "ok" else replace(view, outcome="ok", reason=None)
        return replace(view, outcome="discarded", reason=reason)

    # One view

    def liveness(self, view: View) -> Liveness:
        """The lists of a view as nodes; views with equal lists share one value."""
        return self._reader.liveness(view)

    def named(self, view: View) -> View:
        """The view with addresses of nodes in place of their endpoints; other endpoints stay as they are."""
        return self._reader.named(view)

    def metadata_members(self, view: View) -> tuple[frozenset[int], tuple[str, ...]]:
        """The members of the metadata service by a view that reports them; and those that are not nodes, sorted."""
        return self._reader.metadata_members(view)

    def node(self, view: View) -> Node:
        """The node whose view it is; it must be in the snapshot."""
        return self.snapshot.nodes[self.snapshot.index[view.observer]]

    def down(self, view: View) -> frozenset[int]:
        """Indexes of the nodes that a coordinator does not reach; equal sets are one object."""
        return self._not_in(self.liveness(view).reached)

    def _not_in(self, reached: frozenset[int]) -> frozenset[int]:
        down = self._down.get(reached)
        if down is None:
            down = self._down[reached] = self._all_nodes - reached
        return down

    @cached_property
    def observers_of(self) -> tuple[tuple[Liveness, tuple[str, ...]], ...]:
        """The distinct lists of the usable views, with their observers: of a thousand views most are equal."""
        groups: dict[int, tuple[Liveness, list[str]]] = {}
        for views in self.alike:
            lists = self.liveness(views[0])
            groups.setdefault(id(lists), (lists, []))[1].extend([view.observer for view in views])
        return tuple([(lists, tuple(observers)) for lists, observers in groups.values()])

    @property
    def _lists(self) -> tuple[Liveness, ...]:
        return tuple([lists for lists, _ in self.observers_of])

    # Coordinators, for health

    def outlooks(self, datacenters: tuple[str, ...]) -> tuple[Outlook, ...]:
        """The distinct outlooks of the coordinators in some datacenters; an empty tuple means all datacenters.

        Datacenters without a usable view are judged by what the others see of them.
        """
        outlooks = self._outlooks.get(datacenters)
        if outlooks is None:
            local = [views for views in self.alike if self.node(views[0]).datacenter in datacenters]
            outlooks = self._outlooks[datacenters] = self._distinct(local or self.alike)
        return outlooks

    def _distinct(self, alike: Iterable[list[View]]) -> tuple[Outlook, ...]:
        groups: dict[tuple[frozenset[int], Behaviour], list[str]] = defaultdict(list)
        for views in alike:
            for behaviour in self.behaviours(views[0]):
                groups[self.down(views[0]), behaviour] += [view.observer for view in views]
        ordered = sorted(groups.items(), key=lambda item: (min(item[1]), item[0][1]))
        return tuple(Outlook(tuple(sorted(observers)), down, behaviour) for (down, behaviour), observers in ordered)

    @cached_property
    def alike(self) -> tuple[list[View], ...]:
        """The usable views, grouped by equal lists, equal behaviour of their nodes, and datacenter."""
        groups: dict[tuple[object, ...], list[View]] = defaultdict(list)
        for view, node in zip(self.usable, map(self.node, self.usable), strict=True):
            lists = id(self.liveness(view))
            groups[lists, node.datacenter, node.release_version, node.paxos_variant].append(view)
        return tuple(groups.values())

    def behaviours(self, view: View) -> tuple[Behaviour, ...]:
        """The behaviours that the coordinator of a view may have."""
        node = self.node(view)
        return behaviours(node.release_version, node.paxos_variant)

    def assumed(self, node: Node) -> Node:
        """A node; its release and Paxos variant are taken from other nodes if it could not be asked for them.

        The variant stays unknown unless all coordinators of the release have the same one.
        """
        if node.release_version and (node.paxos_variant or node.source == "ok"):
            return node
        first = self.node(self.usable[0]).release_version if self.usable else None
        version = node.release_version or first
        variants = self._variants[version]
        variant = next(iter(variants)) if len(variants) == 1 else None
        return replace(node, release_version=version, paxos_variant=node.paxos_variant or variant)

    @cached_property
    def _variants(self) -> defaultdict[str | None, set[str | None]]:
        """The Paxos variants of coordinators, by ReleaseVersion."""
        variants: defaultdict[str | None, set[str | None]] = defaultdict(set)
        for node in (self.node(views[0]) for views in self.alike):
            variants[node.release_version].add(node.paxos_variant)
        return variants

    # Nodes, for the gate

    @cached_property
    def not_reached(self) -> frozenset[int]:
        """Nodes that some usable view does not reach."""
        return frozenset().union(*(self._not_in(lists.reached) for lists in self._lists))

    @cached_property
    def listed_live(self) -> frozenset[int]:
        """Nodes that some usable view lists as live, even if it lists them as unreachable too."""
        return frozenset().union(*(lists.reached | lists.both for lists in self._lists))

    @cached_property
    def counted_on(self) -> frozenset[int]:
        """Nodes that may be counted on while others stop, by the views alone; the gate takes leases into account."""
        if not self.usable:
            return frozenset()
        denying = frozenset(index for index in self._all_nodes if self._denies(index))
        return self._all_nodes - self.not_reached - denying - self.contradictory

    @cached_property
    def surely_down(self) -> frozenset[int]:
        """Nodes whose stop costs nothing: unreachable in every usable view, and their agents don't deny it."""
        if not self.usable:
            return frozenset()
        refused = frozenset.intersection(*(lists.refused for lists in self._lists))
        return frozenset(index for index in refused - self.contradictory if not self._says_it_serves(index))

    def _self_report(self, index: int) -> Node | None:
        """A node as its own agent reports it; None if that did not answer."""
        node = self.snapshot.nodes[index]
        own = self._view_of.get(node.address)
        return node if node.source == "ok" and own is not None and own.outcome != "unreachable" else None

    def _denies(self, index: int) -> bool:
        """Whether a node's own agent reports that it does not serve as a replica."""
        node = self._self_report(index)
        if node is None or coordinates_unjoined(node):
            return False
        return node.gossip_running is False or node.mode in _NOT_SERVING

    def _says_it_serves(self, index: int) -> bool:
        return self._self_report(index) is not None and not self._denies(index)

    def may_serve(self, view: View) -> bool:
        """Whether the node of a view that does not count may serve clients: it answers, and no report rules it out.

        Its peers may still see it down. It is then not known what its clients get.
        """
        node = self.node(view)
        if view.outcome == "unreachable":
            return node.source in {"error", "denied"}
        switched_off = node.native_transport_running is False or node.gossip_running is False
        return not switched_off and node.mode not in _NOT_SERVING

    @cached_property
    def _view_of(self) -> dict[str, View]:
        return {view.observer: view for view in self.views}

    # States, for people

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The state of each node.

        Only usable views matter; without any, all nodes are `unknown`. A node that all of them reach is `up`. So is
        a node whose own view counts, if another view reaches it or if no observer reaches any other observer. Of the
        other nodes, those that some view knows are `down`, and the rest are `unknown`.
        """
        of_most: State = "up" if self.usable else "unknown"
        states = [of_most] * len(self.snapshot.nodes)
        for index, blind in self.seen_down_by.items():
            states[index] = self._state(index, len(blind))
        return tuple(states)

    def _state(self, index: int, blind: int) -> State:
        """The state of a node that this many views that count do not reach."""
        own = self.snapshot.nodes[index].address in self._observers
        cut_off = blind == len(self.usable) - 1 and not all(len(side) == 1 for side in self.partition or ("",))
        if own and not cut_off:
            return "up"
        return "down" if index in self.known else "unknown"

    @cached_property
    def _observers(self) -> frozenset[str]:
        return frozenset(view.observer for view in self.usable)

    @cached_property
    def known(self) -> frozenset[int]:
        """Nodes in any list of a usable view; all nodes if the source can't list unreachable ones."""
        if any(view.unreachable is None for view in self.usable):
            return self._all_nodes
        listed = (lists.reached | lists.both | lists.refused for lists in self._lists)
        return frozenset().union(*listed) | self.joining

    @cached_property
    def seen_down_by(self) -> dict[int, tuple[str, ...]]:
        """Nodes that some usable view does not reach, with the addresses of the observers, sorted."""
        blind: dict[int, list[str]] = defaultdict(list)
        for lists, observers in self.observers_of:
            for index in self._not_in(lists.reached):
                blind[index] += observers
        return {index: tuple(sorted(observers)) for index, observers in blind.items()}

    @cached_property
    def disputed(self) -> dict[int, tuple[str, ...]]:
        """Nodes that some usable views reach and others do not, with the observers that do not."""
        return {index: blind for index, blind in sorted(self.seen_down_by.items()) if len(blind) < len(self.usable)}

    @cached_property
    def isolated(self) -> frozenset[int]:
        """Nodes that serve clients although no other usable view reaches them: their own view may be frozen."""
        return frozenset(
            index
            for index, blind in self.disputed.items()
            if len(blind) == len(self.usable) - 1 and self.snapshot.nodes[index].address in self._observers
        )

    @cached_property
    def partition(self) -> tuple[tuple[str, ...], ...]:
        """Groups of observers that reach no observer of another group; empty if the observers can't be grouped so."""
        observing = frozenset(self.snapshot.index[view.observer] for view in self.usable)
        return separated(self.observers_of, observing)

    # Members

    @cached_property
    def joining(self) -> frozenset[int]:
        """Nodes that join, according to a usable view or to the node itself."""
        return self._in_movement("joining")

    @cached_property
    def leaving(self) -> frozenset[int]:
        """Nodes that leave or are being removed, according to a usable view or to the node itself."""
        return self._in_movement("leaving")

    @cached_property
    def moving(self) -> frozenset[int]:
        """Nodes that change their token, according to a usable view or to the node itself."""
        return self._in_movement("moving")

    def _in_movement(self, which: Literal["joining", "leaving", "moving"]) -> frozenset[int]:
        found = [index for index, node in enumerate(self.snapshot.nodes) if node.mode == which.upper()]
        own = frozenset(filter(self._self_report, found))
        return own.union(*(getattr(lists, which) for lists in self._lists))

    @cached_property
    def holders(self) -> frozenset[int]:
        """Nodes that hold ranges of a ring or gain them."""
        return frozenset().union(*(ring.holding(self._all_nodes) for ring in self.snapshot.rings))

    @cached_property
    def coordinators(self) -> frozenset[int]:
        """Nodes that own no tokens, hold nothing and are in no movement (Stargate, `join_ring=false`): no replicas."""
        owning = (index for index, node in enumerate(self.snapshot.nodes) if node.tokens != 0)
        return self._all_nodes.difference(owning, self.holders, self.joining, self.leaving, self.moving)

    @cached_property
    def members(self) -> frozenset[int]:
        """Nodes that own tokens, hold or gain ranges, or are in a movement."""
        return self._all_nodes - self.coordinators

    @cached_property
    def replaced(self) -> frozenset[int]:
        """Nodes that are being replaced: no view reaches them, and a joining node has, or may have, their tokens."""
        if not self.joining:
            return frozenset()
        unsure = (index for index, node in enumerate(self.snapshot.nodes) if node.tokens is None)
        return frozenset(unsure) - self.joining - self.listed_live

    @cached_property
    def owners(self) -> Counter[str]:
        """How many nodes own tokens, by datacenter: replication can place replicas on these nodes."""
        return Counter(
            node.datacenter or ""
            for index, node in enumerate(self.snapshot.nodes)
            if node.tokens or (node.tokens is None and index not in self.joining)
        )

    def is_gone(self, index: int) -> bool:
        """Whether no usable view reaches a node: a missing view of its own is then no gap."""
        return len(self.seen_down_by.get(index, ())) == len(self.usable)

    def only_joins(self, index: int) -> bool:
        """Whether a node joins and owns nothing yet: its view is not needed."""
        return index in self.joining and not self.snapshot.nodes[index].tokens

    def movement(self, index: int) -> str:
        """What a node that joins, leaves or moves is doing, in words."""
        if index in self.replaced:
            return "being replaced"
        if index in self.leaving:
            return "leaving" if index in self.listed_live else "being removed"
        return "joining" if index in self.joining else "moving"

    # Contradictions

    @cached_property
    def claimed_twice(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """Host ids and addresses that several nodes claim; see `membership.claimed_twice`."""
        return claimed_twice(self.snapshot.nodes)

    @cached_property
    def in_both_lists(self) -> dict[int, tuple[str, ...]]:
        """Nodes that a usable view lists as live and as unreachable, with the observers."""
        contradicting: dict[int, list[str]] = defaultdict(list)
        for lists, observers in self.observers_of:
            for index in lists.both:
                contradicting[index] += observers
        return {index: tuple(sorted(observers)) for index, observers in sorted(contradicting.items())}

    @cached_property
    def contradictory(self) -> frozenset[int]:
        """Nodes about which the views, the snapshot's addresses or its problems contradict each other."""
        subjects = {
            problem.subject
            for problem in self.snapshot.problems
            if (kind := FINDINGS.get(problem.code)) and kind.distrusts_subject
        }
        reported = (index for index, node in enumerate(self.snapshot.nodes) if node.address in subjects)
        return frozenset().union(self.in_both_lists, reported, *self.claimed_twice.values())

    def names(self, nodes: Iterable[int]) -> list[str]:
        """Addresses of nodes, in the snapshot's order."""
        return [self.snapshot.nodes[index].address for index in sorted(nodes)]


def evidence_of(snapshot: Snapshot) -> Evidence:
    """The evidence of a snapshot, made once."""
    evidence = snapshot.memo.get("evidence")
    if not isinstance(evidence, Evidence):
        evidence = snapshot.memo["evidence"] = Evidence(snapshot)
    return evidence


def judged(snapshot: Snapshot) -> Snapshot:
    """A snapshot with its views judged, and their lists as addresses of its nodes."""
    evidence = Evidence(snapshot)
    return replace(snapshot, views=tuple([evidence.named(view) for view in evidence.views]))
