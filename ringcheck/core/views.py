"""Whose word counts: which views may be used, and what they say together.

A view is a coordinator's. Owns the rules by which a view is believed, and what nodes are up, down or unknown by all
that are. Silence never counts as up.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.consistency import release
from ringcheck.core.ring import COORDINATING, View
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.core.ring import Node, Snapshot

State: TypeAlias = Literal["up", "down", "unknown"]


def discard_reason(node: Node | None, view: View) -> str | None:
    """Why a view that was read must not be believed; None where it may be.

    What a source can't know (None) is not held against a view.
    """
    if node is None:
        return "the observer is not a member of the cluster"
    if node.mode is not None and node.mode not in COORDINATING:
        return node.mode.lower()
    if node.gossip_running is False:
        return "gossip is off: its view is frozen"
    if node.native_transport_running is False:
        return "native transport is off: it serves no clients"
    if view.observer not in view.live:
        return "it does not list itself as live"
    return None


def judged(snapshot: Snapshot) -> tuple[View, ...]:
    """All views of a snapshot; those that must not be believed are discarded, whatever their source said."""
    nodes = {node.address: node for node in snapshot.nodes}
    return tuple([_judge(view, nodes.get(view.observer)) for view in snapshot.views])


def _judge(view: View, node: Node | None) -> View:
    reason = discard_reason(node, view) if view.outcome == "ok" else None
    return replace(view, outcome="discarded", reason=reason) if reason else view


@dataclass(frozen=True, slots=True)
class Outlook:
    """Views that see the same nodes down, from coordinators of one release.

    Attributes:
        observers: addresses, sorted.
        down: indexes of the nodes that they do not call live.
        version: (major, minor) of the observers.
    """

    observers: tuple[str, ...]
    down: frozenset[int]
    version: tuple[int, int]


class Views:
    """What the usable views of a snapshot say."""

    def __init__(self, snapshot: Snapshot, only: str | None = None) -> None:
        """Judge the views.

        Args:
            snapshot: where they are.
            only: address of the one observer to believe.

        Raises:
            UsageError: if that observer has no view in the snapshot.
        """
        self.snapshot = snapshot
        self.all = judged(snapshot)
        if only is not None:
            self.all = tuple(view for view in self.all if view.observer == only)
            if not self.all:
                raise UsageError(f"there is no view of {only}")
        self.usable = tuple(view for view in self.all if view.outcome == "ok")
        self._down_by_live: dict[tuple[frozenset[str], frozenset[str]], frozenset[int]] = {}
        self._outlooks: dict[tuple[str, ...], tuple[Outlook, ...]] = {}

    def down(self, view: View) -> frozenset[int]:
        """Indexes of the nodes that a view does not call live, or calls unreachable as well."""
        key = view.live, view.unreachable or frozenset()
        found = self._down_by_live.get(key)
        if found is None:
            up = key[0] - key[1]
            members = enumerate(self.snapshot.nodes)
            found = self._down_by_live[key] = frozenset(index for index, node in members if node.address not in up)
        return found

    def observers_in(self, datacenters: Iterable[str]) -> tuple[View, ...]:
        """Usable views of coordinators there; those of all coordinators where none is usable there.

        A datacenter of which no view can be used is judged by what the others see of it.
        """
        wanted = frozenset(datacenters)
        index, nodes = self.snapshot.index, self.snapshot.nodes
        there = tuple([view for view in self.usable if nodes[index[view.observer]].datacenter in wanted])
        return there or self.usable

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
            node = self.snapshot.nodes[self.snapshot.index[view.observer]]
            groups[self.down(view), release(node.release_version)].append(view.observer)
        return tuple(
            Outlook(tuple(sorted(observers)), down, version) for (down, version), observers in sorted_groups(groups)
        )

    def down_anywhere(self) -> frozenset[int]:
        """Indexes of the nodes that any usable view does not call live."""
        return frozenset().union(*{self.down(view) for view in self.usable})

    @cached_property
    def seen_down_by(self) -> dict[int, tuple[str, ...]]:
        """For each node that a usable view does not call live the observers, sorted."""
        found: dict[int, list[str]] = defaultdict(list)
        for view in self.usable:
            for index in self.down(view):
                found[index].append(view.observer)
        return {index: tuple(sorted(observers)) for index, observers in found.items()}

    def states(self) -> tuple[State, ...]:
        """State of each node: down where a usable view sees it so, unknown where none can tell."""
        nodes = self.snapshot.nodes
        if not self.usable:
            unknown: State = "unknown"
            return (unknown,) * len(nodes)
        down = self.down_anywhere()
        told = {(view.live, view.unreachable or frozenset()) for view in self.usable}  # few: most say the same
        silent = any(view.unreachable is None for view in self.usable)
        known = None if silent else frozenset().union(*(live | unreachable for live, unreachable in told))
        return tuple([self._state(node.address, index in down, known) for index, node in enumerate(nodes)])

    @staticmethod
    def _state(address: str, down: bool, known: frozenset[str] | None) -> State:  # noqa: FBT001 - a fact, not a switch
        if not down:
            return "up"
        return "down" if known is None or address in known else "unknown"


def sorted_groups(
    groups: dict[tuple[frozenset[int], tuple[int, int]], list[str]],
) -> list[tuple[tuple[frozenset[int], tuple[int, int]], list[str]]]:
    """Groups in an order that does not depend on the order of the views."""
    return sorted(groups.items(), key=lambda item: min(item[1]))
