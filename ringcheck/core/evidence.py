"""From what nodes say to what is so: who is a member, whose view counts, and who is up, for whom.

Evidence is made once from a Snapshot; health, gate, plan, what-if, risk, recovery order and pictures read it, and
nothing else reads the lists of a view.

Liveness is a relation between an observer and a node, never a property of a node. Three questions have three answers:

- Does coordinator C reach node N? C's own lists say so. A member in both of its lists, or in neither, is not reached.
- May N be counted on while other nodes stop? Only if every view that counts reaches it, its own agent does not deny
  that it serves, and nothing about it is contradictory. A doubt counts against N (`counted_on`).
- Is candidate N down already, so that its stop costs nothing? Only if every view that counts lists it as unreachable
  and its own agent does not say that it serves. A doubt counts for N being up (`surely_down`).

Silence never counts as up, and a node whose agent is silent is not thereby down.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.consistency import release
from ringcheck.core.endpoint import has_port, ip_of
from ringcheck.core.membership import Directory
from ringcheck.core.ring import COORDINATING, View
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.ring import Node, Snapshot

State: TypeAlias = Literal["up", "down", "unknown"]

# Modes in which a node is no replica that answers: it says so itself, whatever its peers still believe.
_NOT_SERVING = frozenset({"STARTING", "DRAINING", "DRAINED", "DECOMMISSIONED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """The lists of one view, as indexes of nodes.

    Attributes:
        reached: listed live and not unreachable.
        refused: listed unreachable and not live.
        both: in both lists.
        joining: nodes that it sees joining; likewise leaving and moving.
        strangers: live endpoints that are no node's, sorted.
    """

    reached: frozenset[int]
    refused: frozenset[int]
    both: frozenset[int]
    joining: frozenset[int]
    leaving: frozenset[int]
    moving: frozenset[int]
    strangers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Views that reach the same nodes, from coordinators of one release.

    Attributes:
        observers: addresses, sorted.
        down: indexes of the nodes that they do not reach.
        version: (major, minor) of the observers.
    """

    observers: tuple[str, ...]
    down: frozenset[int]
    version: tuple[int, int]


def unusable_because(node: Node | None, view: View) -> str | None:
    """Why a view that was read does not count; None where it does.

    A node that coordinates, gossips and serves clients counts, however little it sees: its clients get what it sees.
    What a source can't know (None) is not held against a view.
    """
    if node is None:
        return view.reason or "not a member of the cluster"
    if view.outcome == "discarded" and not view.live:
        return view.reason or "discarded by its source"
    if node.mode is not None and node.mode not in COORDINATING and not _coordinates_unjoined(node):
        return node.mode.lower().replace("_", " ")
    if node.gossip_running is False:
        return "gossip is off: its view is frozen"
    if node.native_transport_running is False:
        return "native transport is off: it serves no clients"
    return None


def _coordinates_unjoined(node: Node) -> bool:
    """Whether a node serves clients without having joined the ring (`join_ring=false`): it stays in STARTING."""
    return node.mode == "STARTING" and node.native_transport_running is True and not node.tokens


class Evidence:
    """What the views of a snapshot say together."""

    def __init__(self, snapshot: Snapshot, only: str | None = None) -> None:
        """Judge the views.

        Args:
            snapshot: where they are.
            only: address of the one observer whose view counts.

        Raises:
            UsageError: if that observer has no view in the snapshot.
        """
        self.snapshot = snapshot
        self._directory = Directory(snapshot.nodes)
        self._liveness: dict[object, Liveness] = {}
        self._of_view: dict[int, tuple[View, Liveness]] = {}  # by identity: hashing five lists is most of the work
        self._named: dict[object, tuple[frozenset[str] | None, ...]] = {}
        self._down: dict[frozenset[int], frozenset[int]] = {}
        self._outlooks: dict[tuple[str, ...], tuple[Outlook, ...]] = {}
        self._everyone = frozenset(range(len(snapshot.nodes)))
        self.views = tuple([self._judged(view) for view in snapshot.views])
        if only is not None:
            self.views = tuple(view for view in self.views if view.observer == only)
            if not self.views:
                raise UsageError(f"there is no view of {only}")
        self.usable = tuple(view for view in self.views if view.outcome == "ok")

    def _judged(self, view: View) -> View:
        """The view with its outcome by the rules of this module, whatever its source made of it."""
        if view.outcome == "unreachable":
            return view
        index = self.snapshot.index.get(view.observer)
        reason = unusable_because(None if index is None else self.snapshot.nodes[index], view)
        if reason is None and not self._lists_itself(view, index):
            reason = "it does not list itself as live"
        if reason is None:
            return view if view.outcome == "ok" else replace(view, outcome="ok", reason=None)
        return replace(view, outcome="discarded", reason=reason)

    def _lists_itself(self, view: View, index: int | None) -> bool:
        lists = self.liveness(view)
        return index in lists.reached or index in lists.both

    # One view

    def liveness(self, view: View) -> Liveness:
        """The lists of a view, by node; views that say the same share one value."""
        found = self._of_view.get(id(view))
        if found is None or found[0] is not view:
            found = self._of_view[id(view)] = view, self._read(view)
        return found[1]

    def _read(self, view: View) -> Liveness:
        lists = (view.live, view.unreachable, view.joining, view.leaving, view.moving)
        key = (*lists, view.host_ids)
        found = self._liveness.get(key)
        if found is None:
            host_ids = dict(view.host_ids)
            live, strangers = self._found(self._queried(view, host_ids), host_ids)
            unreachable, joining, leaving, moving = (self._found(one or (), host_ids)[0] for one in lists[1:])
            found = self._liveness[key] = Liveness(
                reached=live - unreachable,
                refused=unreachable - live,
                both=live & unreachable,
                joining=joining,
                leaving=leaving,
                moving=moving,
                strangers=strangers,
            )
        return found

    def _queried(self, view: View, host_ids: Mapping[str, str]) -> frozenset[str]:
        """Live endpoints, but for those of nodes that the view has at other endpoints: it sends its queries there.

        A node that it lists as unreachable there is in both lists all the same.
        """
        elsewhere = {self._directory.index_of(endpoint, host_ids) for endpoint in host_ids} - {None}
        if not elsewhere:
            return view.live
        elsewhere.difference_update(self._directory.index_of(one, host_ids) for one in view.unreachable or ())
        return frozenset(
            endpoint
            for endpoint in view.live
            if endpoint in host_ids or self._directory.index_of(endpoint, host_ids) not in elsewhere
        )

    def _found(self, endpoints: Iterable[str], host_ids: Mapping[str, str]) -> tuple[frozenset[int], tuple[str, ...]]:
        found = {endpoint: self._directory.index_of(endpoint, host_ids) for endpoint in endpoints}
        strangers = tuple(sorted(endpoint for endpoint, index in found.items() if index is None))
        return frozenset(index for index in found.values() if index is not None), strangers

    def down(self, view: View) -> frozenset[int]:
        """Indexes of the nodes that a coordinator does not reach; equal sets are one object."""
        reached = self.liveness(view).reached
        found = self._down.get(reached)
        if found is None:
            found = self._down[reached] = self._everyone - reached
        return found

    @cached_property
    def _lists(self) -> tuple[Liveness, ...]:
        """The distinct lists of the views that count: most of a thousand views say the same."""
        return tuple({id(one): one for one in map(self.liveness, self.usable)}.values())

    # Coordinators, for health

    def observers_in(self, datacenters: Iterable[str]) -> tuple[View, ...]:
        """Usable views of coordinators there; those of all coordinators where none is usable there.

        A datacenter of which no view can be used is judged by what the others see of it.
        """
        wanted = frozenset(datacenters)
        there = tuple([view for view in self.usable if self.node(view).datacenter in wanted])
        return there or self.usable

    def node(self, view: View) -> Node:
        """The node whose view it is; it must be one of the snapshot."""
        return self.snapshot.nodes[self.snapshot.index[view.observer]]

    def outlooks(self, datacenters: tuple[str, ...]) -> tuple[Outlook, ...]:
        """The distinct outlooks of coordinators in some datacenters (of all, where none is named)."""
        found = self._outlooks.get(datacenters)
        if found is None:
            views = self.observers_in(datacenters) if datacenters else self.usable
            found = self._outlooks[datacenters] = self._distinct(views)
        return found

    def _distinct(self, views: Iterable[View]) -> tuple[Outlook, ...]:
        groups: dict[tuple[frozenset[int], tuple[int, int]], list[str]] = defaultdict(list)
        for view in views:
            groups[self.down(view), release(self.node(view).release_version)].append(view.observer)
        ordered = sorted(groups.items(), key=lambda item: min(item[1]))
        return tuple(Outlook(tuple(sorted(observers)), down, version) for (down, version), observers in ordered)

    # Nodes, for the gate

    @cached_property
    def not_reached(self) -> frozenset[int]:
        """Nodes that a view that counts does not reach."""
        return frozenset().union(*{self.down(view) for view in self.usable})

    @cached_property
    def listed_live(self) -> frozenset[int]:
        """Nodes that a view that counts lists as live, if only among other things."""
        return frozenset().union(*(one.reached | one.both for one in self._lists))

    @cached_property
    def counted_on(self) -> frozenset[int]:
        """Nodes that may be counted on while others stop, as far as the views tell; leases are the gate's."""
        if not self.usable:
            return frozenset()
        denying = frozenset(index for index in self._everyone if self._denies(index))
        return self._everyone - self.not_reached - denying - self.contradictory

    @cached_property
    def surely_down(self) -> frozenset[int]:
        """Nodes whose stop costs nothing: listed unreachable by every view that counts, and not denying it."""
        if not self.usable:
            return frozenset()
        refused = frozenset.intersection(*(one.refused for one in self._lists))
        return frozenset(index for index in refused - self.contradictory if not self._says_it_serves(index))

    def _own_word(self, index: int) -> Node | None:
        """The node as it speaks of itself; None where its agent did not answer."""
        node = self.snapshot.nodes[index]
        own = self._view_of.get(node.address)
        return node if node.source == "ok" and own is not None and own.outcome != "unreachable" else None

    def _denies(self, index: int) -> bool:
        """Whether a node says of itself that it does not serve as a replica."""
        node = self._own_word(index)
        if node is None or _coordinates_unjoined(node):
            return False
        return node.gossip_running is False or node.mode in _NOT_SERVING

    def _says_it_serves(self, index: int) -> bool:
        return self._own_word(index) is not None and not self._denies(index)

    def may_serve(self, view: View) -> bool:
        """Whether the node of a view that does not count answers, and says nothing that keeps it from serving clients.

        Its peers may see it down all the same: what its clients get is then not known.
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
        """State of each node.

        `up`: all views that count reach it, or its own counts and others reach it, or no view reaches another node.
        `down`: no other view that counts reaches it though some know it, or some do not and its own does not count.
        `unknown`: no view that counts knows it.
        """
        return tuple([self._state(index) for index in range(len(self.snapshot.nodes))])

    def _state(self, index: int) -> State:
        blind = len(self.seen_down_by.get(index, ()))
        if not self.usable:
            return "unknown"
        if not blind:
            return "up"
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
        """Nodes in some list of a view that counts; all of them where a source tells no unreachable ones."""
        if any(view.unreachable is None for view in self.usable):
            return self._everyone
        return frozenset().union(*(one.reached | one.both | one.refused for one in self._lists)) | self.joining

    @cached_property
    def seen_down_by(self) -> dict[int, tuple[str, ...]]:
        """For each node that a view that counts does not reach the observers, sorted."""
        found: dict[int, list[str]] = defaultdict(list)
        for view in self.usable:
            for index in self.down(view):
                found[index].append(view.observer)
        return {index: tuple(sorted(observers)) for index, observers in found.items()}

    @cached_property
    def disputed(self) -> dict[int, tuple[str, ...]]:
        """Nodes that some views that count reach and others do not, with the observers that do not."""
        return {index: blind for index, blind in sorted(self.seen_down_by.items()) if len(blind) < len(self.usable)}

    @cached_property
    def isolated(self) -> frozenset[int]:
        """Nodes that serve clients though no other view that counts reaches them: their own view may be frozen."""
        return frozenset(
            index
            for index, blind in self.disputed.items()
            if len(blind) == len(self.usable) - 1 and self.snapshot.nodes[index].address in self._observers
        )

    @cached_property
    def partition(self) -> tuple[tuple[str, ...], ...]:
        """Groups of observers that reach none of the other groups' observers; empty where there is no such cut."""
        alike: dict[frozenset[int], list[str]] = defaultdict(list)
        for view in self.usable:
            alike[self.liveness(view).reached].append(view.observer)
        if len(alike) == 1:
            return ()
        places = frozenset(self.snapshot.index[view.observer] for view in self.usable)
        sides: dict[frozenset[int], list[str]] = defaultdict(list)
        for reached, observers in alike.items():
            sides[reached & places] += observers
        disjoint = len(sides) > 1 and sum(map(len, sides)) == len(frozenset().union(*sides))
        return tuple(sorted(tuple(sorted(observers)) for observers in sides.values())) if disjoint else ()

    # Members

    @cached_property
    def joining(self) -> frozenset[int]:
        """Nodes that join, as a view that counts or the node itself says."""
        return self._in_movement("joining")

    @cached_property
    def leaving(self) -> frozenset[int]:
        """Nodes that leave or are being removed, as a view that counts or the node itself says."""
        return self._in_movement("leaving")

    @cached_property
    def moving(self) -> frozenset[int]:
        """Nodes that change their token, as a view that counts or the node itself says."""
        return self._in_movement("moving")

    def _in_movement(self, which: Literal["joining", "leaving", "moving"]) -> frozenset[int]:
        mode = which.upper()
        own = (index for index in self._everyone if (node := self._own_word(index)) and node.mode == mode)
        return frozenset(own).union(*(getattr(one, which) for one in self._lists))

    @cached_property
    def holders(self) -> frozenset[int]:
        """Nodes that hold ranges of a ring or gain them."""
        return frozenset().union(*(ring.holding(self._everyone) for ring in self.snapshot.rings))

    @cached_property
    def coordinators(self) -> frozenset[int]:
        """Nodes that own no tokens, hold nothing and are in no movement (Stargate, `join_ring=false`): no replicas."""
        owning = (index for index, node in enumerate(self.snapshot.nodes) if node.tokens != 0)
        return self._everyone.difference(owning, self.holders, self.joining, self.leaving, self.moving)

    @cached_property
    def members(self) -> frozenset[int]:
        """Nodes that own tokens, hold or gain ranges, or are in a movement."""
        return self._everyone - self.coordinators

    @cached_property
    def replaced(self) -> frozenset[int]:
        """Nodes that nobody reaches and whose tokens a joining node has, or may have: they are being replaced."""
        if not self.joining:
            return frozenset()
        unsure = (index for index, node in enumerate(self.snapshot.nodes) if node.tokens is None)
        return frozenset(unsure) - self.joining - self.listed_live

    @cached_property
    def owners(self) -> Counter[str]:
        """How many nodes own tokens, by datacenter: what replication has to place replicas on."""
        return Counter(
            node.datacenter or ""
            for index, node in enumerate(self.snapshot.nodes)
            if node.tokens or (node.tokens is None and index not in self.joining)
        )

    def is_gone(self, index: int) -> bool:
        """Whether no view that counts reaches a node: what its own agent does is no gap then."""
        return len(self.seen_down_by.get(index, ())) == len(self.usable)

    def only_joins(self, index: int) -> bool:
        """Whether a node joins and owns nothing yet: its view is not needed."""
        return index in self.joining and not self.snapshot.nodes[index].tokens

    def movement(self, index: int) -> str:
        """What a node in movement does, in words."""
        if index in self.replaced:
            return "being replaced"
        if index in self.leaving:
            return "leaving" if index in self.listed_live else "being removed"
        return "joining" if index in self.joining else "moving"

    # Contradictions

    @cached_property
    def claimed_twice(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """Host ids and addresses that several nodes claim: (`host id` or `address`, value) and the nodes' indexes.

        Nodes can share an address only by ports: where one is known there without its port, nobody can say which.
        """
        claims: dict[tuple[str, str], list[int]] = defaultdict(list)
        plain = {node.address for node in self.snapshot.nodes if not has_port(node.address)}
        for index, node in enumerate(self.snapshot.nodes):
            claims["address", ip_of(node.address) if ip_of(node.address) in plain else node.address].append(index)
            if node.host_id:
                claims["host id", node.host_id].append(index)
        return {claim: tuple(nodes) for claim, nodes in claims.items() if len(nodes) > 1}

    @cached_property
    def in_both_lists(self) -> dict[int, tuple[str, ...]]:
        """Nodes that a view that counts lists as live and as unreachable, with the observers."""
        found: dict[int, list[str]] = defaultdict(list)
        for view in self.usable:
            for index in self.liveness(view).both:
                found[index].append(view.observer)
        return {index: tuple(sorted(observers)) for index, observers in sorted(found.items())}

    @cached_property
    def contradictory(self) -> frozenset[int]:
        """Nodes about which something contradicts itself."""
        named = {problem.subject for problem in self.snapshot.problems if problem.code in _CONTRADICTIONS}
        told = (index for index, node in enumerate(self.snapshot.nodes) if node.address in named)
        return frozenset().union(self.in_both_lists, told, *self.claimed_twice.values())

    def names(self, nodes: Iterable[int]) -> list[str]:
        """Addresses of nodes, in the snapshot's order."""
        return [self.snapshot.nodes[index].address for index in sorted(nodes)]

    def named(self, view: View) -> View:
        """The view with addresses of nodes in place of their endpoints; other endpoints stay as they are."""
        lists = (view.unreachable, view.joining, view.leaving, view.moving)
        key = (view.live, *lists, view.host_ids)
        found = self._named.get(key)
        if found is None:
            host_ids = dict(view.host_ids)
            queried = self._queried(view, host_ids)
            found = self._named[key] = tuple([self._addresses(one, host_ids) for one in (queried, *lists)])
        live, unreachable, joining, leaving, moving = found
        return replace(
            view,
            live=live or frozenset(),
            unreachable=unreachable,
            joining=joining or frozenset(),
            leaving=leaving or frozenset(),
            moving=moving or frozenset(),
            host_ids=(),
            known_as=view.known_as or self._known_as(view.host_ids),
        )

    def _addresses(self, endpoints: frozenset[str] | None, host_ids: Mapping[str, str]) -> frozenset[str] | None:
        if endpoints is None:
            return None
        found = {endpoint: self._directory.index_of(endpoint, host_ids) for endpoint in endpoints}
        nodes = self.snapshot.nodes
        return frozenset(endpoint if index is None else nodes[index].address for endpoint, index in found.items())

    def _known_as(self, host_ids: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        meant = ((endpoint, self._directory.index_of(endpoint, {endpoint: host_id})) for endpoint, host_id in host_ids)
        nodes = self.snapshot.nodes
        return tuple((endpoint, nodes[index].address) for endpoint, index in meant if index is not None)


# Problems of a source that say that something about their subject contradicts itself.
_CONTRADICTIONS = frozenset({"duplicate_host_id", "contradictory_view"})


def evidence_of(snapshot: Snapshot) -> Evidence:
    """The evidence of a snapshot, made once."""
    found = snapshot.memo.get("evidence")
    if not isinstance(found, Evidence):
        found = snapshot.memo["evidence"] = Evidence(snapshot)
    return found


def settled(snapshot: Snapshot) -> Snapshot:
    """A snapshot as its source reports it, with its views judged and in addresses of its nodes."""
    evidence = Evidence(snapshot)
    return replace(snapshot, views=tuple([evidence.named(view) for view in evidence.views]))
