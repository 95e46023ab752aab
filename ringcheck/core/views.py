"""Views: whether a view counts, and which nodes its lists mean.

Knows one view at a time. What several views say together is in core/evidence.py.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.core.membership import Directory
from ringcheck.core.ring import COORDINATING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ringcheck.core.metadata import MetadataReport
    from ringcheck.core.ring import Node, View

_UNJOINED = frozenset({"STARTING", "JOINING_FAILED"})


def unusable_because(node: Node | None, view: View) -> str | None:
    """Why a view that was read does not count; None if it counts.

    The view of a node that coordinates, gossips and serves clients counts however few nodes it sees: its clients get
    what it sees. Fields that the source can't know (None) do not count against a view.

    Args:
        node: whose view it is; None if the snapshot does not have it.
        view: the view.
    """
    if node is None:
        return view.reason or "not a member of the cluster"
    if view.outcome == "discarded" and not view.live:
        return view.reason or "discarded by its source"
    if node.mode is not None and node.mode not in COORDINATING and not coordinates_unjoined(node):
        return node.mode.lower().replace("_", " ")
    if node.gossip_running is False:
        return "gossip is off: its view is frozen"
    if node.native_transport_running is False:
        return "native transport is off: it serves no clients"
    return None


def coordinates_unjoined(node: Node) -> bool:
    """Whether a node serves clients without having joined the ring.

    With `join_ring=false` it stays in STARTING. One that only surveys writes is JOINING_FAILED on 6.0, and serves.
    """
    return node.mode in _UNJOINED and node.native_transport_running is True and not node.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """The lists of one view, as indexes of nodes.

    Attributes:
        reached: listed live and not unreachable.
        refused: listed unreachable and not live.
        both: in both lists.
        joining: nodes that it sees joining; likewise leaving and moving.
        strangers: live endpoints that are not nodes of the snapshot, sorted.
    """

    reached: frozenset[int]
    refused: frozenset[int]
    both: frozenset[int]
    joining: frozenset[int]
    leaving: frozenset[int]
    moving: frozenset[int]
    strangers: tuple[str, ...]


class ViewReader:
    """Finds the nodes that the lists of views mean. Most of a thousand views have equal lists: these are read once."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._directory = Directory(nodes)
        self._of_view: dict[int, tuple[View, Liveness]] = {}  # by identity: hashing five lists is most of the work
        self._of_lists: dict[object, Liveness] = {}
        self._named: dict[object, tuple[frozenset[str] | None, ...]] = {}
        self._metadata_members: dict[object, tuple[frozenset[int], tuple[str, ...]]] = {}

    def liveness(self, view: View) -> Liveness:
        """The lists of a view as nodes; views with equal lists share one value."""
        known = self._of_view.get(id(view))
        if known is None or known[0] is not view:
            known = self._of_view[id(view)] = view, self._read(view)
        return known[1]

    def _read(self, view: View) -> Liveness:
        lists = _lists(view)
        key = (*lists, view.host_ids)
        liveness = self._of_lists.get(key)
        if liveness is None:
            host_ids = dict(view.host_ids)
            live, strangers = self._nodes_of(self._queried(view, host_ids), host_ids)
            unreachable, joining, leaving, moving = (self._nodes_of(names or (), host_ids)[0] for names in lists[1:])
            liveness = self._of_lists[key] = Liveness(
                reached=live - unreachable,
                refused=unreachable - live,
                both=live & unreachable,
                joining=joining,
                leaving=leaving,
                moving=moving,
                strangers=strangers,
            )
        return liveness

    def _queried(self, view: View, host_ids: Mapping[str, str]) -> frozenset[str]:
        """The live endpoints to which the view's coordinator sends queries.

        A live endpoint is left out if the view's host ids have its node at another endpoint: queries go there. If that
        other endpoint is unreachable, the live one stays, and the node is in both lists.
        """
        elsewhere = {self._directory.index_of(endpoint, host_ids) for endpoint in host_ids} - {None}
        if not elsewhere:
            return view.live
        elsewhere.difference_update(self._directory.index_of(name, host_ids) for name in view.unreachable or ())
        return frozenset(
            endpoint
            for endpoint in view.live
            if endpoint in host_ids or self._directory.index_of(endpoint, host_ids) not in elsewhere
        )

    def metadata_members(self, view: View) -> tuple[frozenset[int], tuple[str, ...]]:
        """The members of the metadata service by a view that reports them; and those that are not nodes, sorted."""
        members = view.metadata.members if view.metadata else frozenset()
        key = (members, view.host_ids)
        found = self._metadata_members.get(key)
        if found is None:
            found = self._metadata_members[key] = self._nodes_of(members, dict(view.host_ids))
        return found

    def _nodes_of(
        self, endpoints: Iterable[str], host_ids: Mapping[str, str]
    ) -> tuple[frozenset[int], tuple[str, ...]]:
        """The nodes that endpoints mean, and the endpoints that mean none."""
        indexes = {endpoint: self._directory.index_of(endpoint, host_ids) for endpoint in endpoints}
        strangers = tuple(sorted(endpoint for endpoint, index in indexes.items() if index is None))
        return frozenset(index for index in indexes.values() if index is not None), strangers

    def named(self, view: View) -> View:
        """The view with addresses of nodes in place of their endpoints; other endpoints stay as they are."""
        lists = _lists(view)
        key = (*lists, view.host_ids)
        named = self._named.get(key)
        if named is None:
            host_ids = dict(view.host_ids)
            queried = self._queried(view, host_ids)
            named = self._named[key] = tuple([self._addresses(names, host_ids) for names in (queried, *lists[1:])])
        live, unreachable, joining, leaving, moving = named
        return replace(
            view,
            live=live or frozenset(),
            unreachable=unreachable,
            joining=joining or frozenset(),
            leaving=leaving or frozenset(),
            moving=moving or frozenset(),
            host_ids=(),
            known_as=view.known_as or self._known_as(view.host_ids),
            metadata=self._named_metadata(view),
        )

    def _named_metadata(self, view: View) -> MetadataReport | None:
        if view.metadata is None:
            return None
        members = self._addresses(view.metadata.members, dict(view.host_ids))
        return replace(view.metadata, members=members or frozenset())

    def _addresses(self, endpoints: frozenset[str] | None, host_ids: Mapping[str, str]) -> frozenset[str] | None:
        if endpoints is None:
            return None
        indexes = {endpoint: self._directory.index_of(endpoint, host_ids) for endpoint in endpoints}
        return frozenset(
            endpoint if index is None else self._nodes[index].address for endpoint, index in indexes.items()
        )

    def _known_as(self, host_ids: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """As `View.known_as`."""
        meant = ((endpoint, self._directory.index_of(endpoint, {endpoint: host_id})) for endpoint, host_id in host_ids)
        return tuple((endpoint, self._nodes[index].address) for endpoint, index in meant if index is not None)


def _lists(view: View) -> tuple[frozenset[str] | None, ...]:
    return view.live, view.unreachable, view.joining, view.leaving, view.moving


def separated(
    observers_of: Iterable[tuple[Liveness, tuple[str, ...]]], observing: frozenset[int]
) -> tuple[tuple[str, ...], ...]:
    """Groups of observers that reach no observer of another group; empty if the observers can't be grouped so.

    Args:
        observers_of: distinct lists, with the addresses of their observers.
        observing: indexes of the observers.
    """
    reaching: dict[frozenset[int], list[str]] = defaultdict(list)
    for lists, observers in observers_of:
        reaching[lists.reached] += observers
    if len(reaching) == 1:
        return ()
    sides: dict[frozenset[int], list[str]] = defaultdict(list)
    for reached, together in reaching.items():
        sides[reached & observing] += together
    disjoint = len(sides) > 1 and sum(map(len, sides)) == len(frozenset().union(*sides))
    return tuple(sorted(tuple(sorted(observers)) for observers in sides.values())) if disjoint else ()
