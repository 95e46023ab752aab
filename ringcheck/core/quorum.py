"""The quorum of the cluster metadata service (CMS), without which Cassandra 6.0+ changes neither schema nor topology.

The members of the service keep the log of all changes, in a keyspace of MetaStrategy: one range, with a replica on each
member. A change is committed at QUORUM of them. While fewer are up, no table can be created, and no node can join,
leave, move or be replaced. Queries are served as before, and a node that stopped can start again.

The log is judged as a ring of its own. Which nodes are members is what the nodes report. If they differ, each of the
sets that a usable view reports may be the true one: health shows the worst, and the gate keeps the quorum of all.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.consistency import META_STRATEGY, Behaviour, Level, Rules, release
from ringcheck.core.findings import Finding, noted
from ringcheck.core.policy import Severity
from ringcheck.core.ring import Factor, Replication, Ring
from ringcheck.core.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.maintenance import Leases
    from ringcheck.core.metadata import MetadataReport
    from ringcheck.core.ring import Snapshot, View

KEYSPACE = "system_cluster_metadata"
LEVEL = Level.QUORUM
SINCE = (6, 0)  # CASSANDRA-18330

_LOST = "no change of schema or topology can be made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """The members of the metadata service, and those of them that are up.

    Attributes:
        size: how many members there are.
        members: addresses of those that are nodes of the snapshot, in its order.
        live: those of them that are up.
        observer: address of the coordinator that sees them so; None for the state after a stop.
    """

    size: int
    members: tuple[str, ...]
    live: tuple[str, ...]
    observer: str | None = None

    @property
    def required(self) -> int:
        """How many members must be up."""
        return self.size // 2 + 1

    @property
    def spare(self) -> int:
        """How many more members may go down; negative without a quorum."""
        return len(self.live) - self.required

    def __str__(self) -> str:
        """`1 of 3 members of the cluster metadata service`."""
        return f"{len(self.live)} of {counted(self.size, 'member')} of the cluster metadata service"


class MetadataService:
    """What the views of a snapshot say together of the metadata service.

    Attributes:
        reports: what each usable view reports; views that report nothing are left out.
        rings: the log, once for each set of members that a view reports; empty before the service is initialised.
    """

    def __init__(self, evidence: Evidence) -> None:
        """Read the reports of the usable views."""
        self._evidence = evidence
        self.reports: list[tuple[View, MetadataReport]] = [
            (view, view.metadata) for view in evidence.usable if view.metadata is not None
        ]
        self._sets = self._members_by_views()
        self.rings = tuple([self._ring(*members) for members in self._sets])

    def _members_by_views(self) -> dict[tuple[frozenset[int], tuple[str, ...]], list[View]]:
        """The sets of members, as nodes and as endpoints that are not nodes, with the views that report them."""
        sets: dict[tuple[frozenset[int], tuple[str, ...]], list[View]] = defaultdict(list)
        for view, report in self.reports:
            if report.initialised:
                sets[self._evidence.metadata_members(view)].append(view)
        return dict(sets)

    def _ring(self, known: frozenset[int], strangers: tuple[str, ...]) -> Ring:
        replication = Replication.of(META_STRATEGY, {"replication_factor": Factor(len(known) + len(strangers))})
        whole = (0, 0, sorted(known))
        return Ring.build((KEYSPACE,), replication, [whole], len(self._evidence.snapshot.nodes))

    def worst(self, spared: frozenset[int] = frozenset()) -> Quorum | None:
        """The quorum as seen by the coordinator that reaches the fewest members; None if there is no service.

        Args:
            spared: nodes that count as up for all coordinators.
        """
        quorums = [
            quorum_of(self._evidence.snapshot, ring, outlook.down - spared, outlook.observers[0])
            for ring in self.rings
            for outlook in self._evidence.outlooks(())
        ]
        return min(quorums, key=lambda quorum: quorum.spare, default=None)

    # Findings

    def findings(self) -> Iterator[Finding]:
        """What is unknown or contradictory about the service, and what other than a missing quorum prevents changes."""
        yield from self._unknown()
        yield from self._behind()
        # During an upgrade nodes of 6.0 wait for the service, as they should.
        upgrading = any(release(node.release_version) < SINCE for node in self._evidence.snapshot.nodes)
        for text in () if upgrading else self.refuses_changes():
            yield noted("metadata_not_writable", self._evidence.snapshot.cluster, text)

    def of_quorum(self, leases: Leases) -> Iterator[Finding]:
        """A missing quorum, or one with no member to spare; a note if only nodes under a lease are missing."""
        quorum = self.worst()
        if quorum is None or quorum.spare > 0 or (quorum.spare == 0 and len(quorum.live) == quorum.size):
            return
        down = [name for name in quorum.members if name not in quorum.live]
        detail = f"as {quorum.observer} sees it; down: {listed(down)}"
        if quorum.spare == 0:
            text = f"{quorum} up, and none to spare"
            yield Finding(code="metadata_quorum", severity=Severity.OK, subject=KEYSPACE, summary=text, detail=detail)
            return
        text = f"no metadata quorum: {quorum} up, {quorum.required} needed; {_LOST}"
        without = self.worst(leases.leased)
        excused = leases.leased and without is not None and without.spare >= 0
        severity = Severity.OK if excused else Severity.WARNING
        yield Finding(code="metadata_quorum", severity=severity, subject=KEYSPACE, summary=text, detail=detail)

    def _unknown(self) -> Iterator[Finding]:
        evidence = self._evidence
        views = [view for alike in evidence.alike if self._has_service(alike[0]) for view in alike]
        silent = sorted(view.observer for view in views if view.metadata is None)
        if silent and not self.reports:
            text = f"the members of the cluster metadata service are not known: {listed(silent)} did not report them"
            hint = "the access policy must allow CMSOperations' describeCMS"
            yield noted("metadata_unknown", evidence.snapshot.cluster, text, hint)
        for name in sorted({name for _, strangers in self._sets for name in strangers}):
            text = f"{name} is a member of the cluster metadata service but not a known node"
            yield noted("metadata_unknown", evidence.snapshot.cluster, text)

    def _has_service(self, view: View) -> bool:
        return release(self._evidence.node(view).release_version) >= SINCE

    def _behind(self) -> Iterator[Finding]:
        """Views that have not applied all changes, and different members after the same change."""
        epochs: dict[int, list[str]] = defaultdict(list)
        for view, report in self.reports:
            if report.epoch is not None:
                epochs[report.epoch].append(view.observer)
        newest = max(epochs, default=0)
        for epoch, observers in sorted(epochs.items()):
            if epoch < newest:
                verb = "has" if len(observers) == 1 else "have"
                text = f"{listed(sorted(observers))} {verb} not applied all changes of the metadata"
                yield noted("metadata_behind", min(observers), text, f"at epoch {epoch} of {newest}")
        members = {self._evidence.metadata_members(view) for view, report in self.reports if report.epoch == newest}
        if len(members) > 1:
            text = f"views at epoch {newest} report {len(members)} different sets of members of the metadata service"
            yield noted("metadata_contradiction", self._evidence.snapshot.cluster, text)

    def refuses_changes(self) -> Iterator[str]:
        """Why nodes refuse to change the metadata whatever the quorum is; empty if they don't."""
        waiting = sorted(view.observer for view, report in self.reports if not report.initialised)
        moving = sorted(view.observer for view, report in self.reports if report.migrating)
        paused = sorted(view.observer for view, report in self.reports if report.paused)
        if waiting:
            text = "the cluster metadata service is not initialised"
            yield f"{text} (`nodetool cms initialize`, once all nodes have 6.0): {_LOST}"
        if moving:
            yield f"the cluster metadata service is being initialised (seen by {listed(moving)}): {_LOST}"
        if paused:
            yield f"commits to the cluster metadata are paused on {listed(paused)}"


def quorum_of(snapshot: Snapshot, ring: Ring, down: Iterable[int], observer: str | None = None) -> Quorum:
    """The members in one of the rings of a `MetadataService`, with some nodes down."""
    live = ring.holders.difference(down)
    return Quorum(
        size=rules_of(ring).total,
        members=tuple([snapshot.nodes[index].address for index in sorted(ring.holders)]),
        live=tuple([snapshot.nodes[index].address for index in sorted(live)]),
        observer=observer,
    )


def rules_of(ring: Ring) -> Rules:
    """The demands on one of the rings of a `MetadataService`."""
    return Rules(ring.replication, Behaviour(SINCE, "v1"), {})


def after_stop(quorum: Quorum) -> tuple[str, str]:
    """A sentence that says that a stop leaves no quorum, and what would lift that."""
    needed = f"{quorum} would be left, {quorum.required} needed: {_LOST}"
    if quorum.size > 2:  # noqa: PLR2004 - the smallest service of which one member may stop
        return needed, "more of its members are up"
    return needed, "it has three or more members (`nodetool cms reconfigure 3`)"


def before_stop(quorum: Quorum) -> tuple[str, str]:
    """A sentence that says that there is no quorum before a stop, and what would lift that."""
    return f"{quorum} may be counted on, {quorum.required} needed: {_LOST}", "more of its members are up"
