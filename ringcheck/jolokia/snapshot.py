"""Builds a snapshot from what is known of a cluster and what its agents answered in one poll.

Owns what a node, a view and a problem look like in the snapshot. Sends no requests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import has_port
from ringcheck.core.evidence import judged
from ringcheck.core.membership import Roster, Testimony
from ringcheck.core.node_requests import NodeRequests
from ringcheck.core.ring import NORMAL, Node, Problem, Snapshot, View
from ringcheck.core.unchanged import equal_but_for_time
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.jolokia.membership import BuiltNode, KnownCluster, Membership, identity_mismatch, neighbour
from ringcheck.jolokia.node_report import NodeReport
from ringcheck.jolokia.own_settings import auth_read_level, authenticates, located_otherwise
from ringcheck.jolokia.proxy import place
from ringcheck.jolokia.schemas import schemas
from ringcheck.jolokia.testimony import node_of, refusal, serving, state_of, unreachable_view, view_of
from ringcheck.jolokia.topology import NOWHERE, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ringcheck.core.membership import Member
    from ringcheck.core.ring import SourceState
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.membership import ClusterSession, ContactPoint, ReportOrError
    from ringcheck.jolokia.topology import Location


class SnapshotBuilder:
    """Builds the snapshot of one poll."""

    def __init__(
        self, session: ClusterSession, answers: Mapping[JolokiaEndpoint, ReportOrError], taken_at: str
    ) -> None:
        """Prepare.

        Args:
            session: has the contact points and the settings.
            answers: of this poll, by agent; may still be filled later.
            taken_at: of the snapshot.
        """
        self._session = session
        self._answers = answers
        self._taken_at = taken_at

    def of(self, known: KnownCluster, problems: Sequence[Problem] = ()) -> Snapshot:
        """The snapshot of known members and a known ring; without rings if no node serves clients.

        Args:
            known: members and ring.
            problems: of this poll, to be reported in addition to those of the ring.
        """
        membership, topology = known.membership, known.topology
        configured = self._session.configured.authenticates
        settings = [agent.logins.known for agent in membership.agents.values() if agent.logins.known]
        nodes, views, wrong_nodes = self._nodes_and_views(known)
        answers = (self._answers.get(agent) for agent in membership.agents.values())
        usable = any(isinstance(answer, NodeReport) and serving(answer) for answer in answers)
        snapshot = Snapshot(
            cluster=membership.cluster,
            taken_at=self._taken_at,
            partitioner=topology.partitioner,
            nodes=tuple(nodes),
            views=(*views, *self._views_of_other_contacts(membership)),
            rings=topology.rings if usable else (),
            authenticates=authenticates(settings) if configured is None else configured,
            problems=(
                *topology.problems,
                *wrong_nodes,
                *problems,
                *self._unknown_contacts(membership),
                *located_otherwise(nodes, self._placed(known)),
            ),
            auth_read_level=auth_read_level(settings),
            schemas=schemas(known) if usable else (),
        )
        return self._with_judged_views(snapshot, known)

    def _placed(self, known: KnownCluster) -> Iterator[tuple[str, str, Location]]:
        """Who places which node where, by address, of the nodes that answered; the source of the ring is left out."""
        addresses = known.membership.named_once
        for address, agent in known.membership.agents.items():
            if agent is not known.source and isinstance(self._answers.get(agent), NodeReport):
                yield from (
                    (address, addresses[of], place) for of, place in agent.places.known.items() if of in addresses
                )

    @staticmethod
    def _with_judged_views(snapshot: Snapshot, known: KnownCluster) -> Snapshot:
        """The snapshot with its views judged; a view that equals that of the last snapshot is the same object.

        The time plays no part in judging a view: a snapshot that shows the same as the last one is not judged anew.
        """
        if known.judged and equal_but_for_time(snapshot, known.judged[0]):
            return replace(known.judged[1], taken_at=snapshot.taken_at)
        views = tuple(
            [before if (before := known.views.get(view.observer)) == view else view for view in judged(snapshot).views]
        )
        known.views = {view.observer: view for view in views}
        behind = _owners_without_tokens(snapshot.nodes, views, known.membership)
        known.judged = snapshot, replace(snapshot, views=views, problems=(*snapshot.problems, *behind))
        return known.judged[1]

    def without_ring(self, membership: Membership) -> Snapshot:
        """The snapshot of a cluster in which no view counts: its nodes and the reasons, and no ring."""
        if not membership.members:
            membership = self._contact_points_as_members(membership)
        reports = [answer for answer in self._answers.values() if isinstance(answer, NodeReport)]
        partitioners = [report.partitioner for report in reports if report.partitioner]
        name = partitioners[0].rpartition(".")[2] if partitioners else "unknown"
        topology = Topology(partitioner=name, locations={}, tokens={}, rings=())
        known = KnownCluster(membership=membership, topology=topology, read_at=0.0, fingerprint=None, processes={})
        return self.of(known)

    def _contact_points_as_members(self, membership: Membership) -> Membership:
        """The contact points in place of members, if no report names a member."""
        agents = {min(contact.ips, default=contact.host): contact.agent for contact in self._session.contacts}
        none: frozenset[str] = frozenset()
        testimony = Testimony(
            own=None, host_ids=None, owners=None, live=frozenset(agents), unreachable=none, moving=none
        )
        return replace(membership, roster=Roster([testimony]), agents=agents)

    def _nodes_and_views(self, known: KnownCluster) -> tuple[list[Node], list[View], list[Problem]]:
        """All nodes, the views of the nodes that were asked, and a problem for each agent of a wrong node."""
        nodes: list[Node] = []
        views: list[View] = []
        problems: list[Problem] = []
        for member in known.membership.members:
            node, view = self._node_and_view(member, known, problems)
            nodes.append(node)
            views += [view] if view else []
        return nodes, views, problems

    def _node_and_view(self, member: Member, known: KnownCluster, problems: list[Problem]) -> tuple[Node, View | None]:
        """A member's node, and its view; the view is None if the member was not asked."""
        membership = known.membership
        agent = membership.agents.get(member.address)
        answer = self._answers.get(agent) if agent else None
        if agent is None or answer is None:
            return self._silent(member, known, "not_asked"), None
        if isinstance(answer, NodeReport) and (other := neighbour(member, answer, membership)):
            text = f"its Jolokia's address is not known: {place(agent.url)} answers for {other}"
            answer = SourceError(text, "unreachable")
        if isinstance(answer, NodeReport) and (mismatch := identity_mismatch(member, answer, membership)):
            error = DataError(f"{place(agent.url)} is another node: {mismatch}")
            problems.append(Problem("wrong_node", member.address, str(error)))
            view = replace(unreachable_view(member.address, error), outcome="discarded")
            return self._silent(member, known, "error"), view
        if isinstance(answer, RingcheckError):
            return self._silent(member, known, state_of(answer)), unreachable_view(member.address, answer)
        return self._reported(member, agent, answer, known)

    def _reported(
        self, member: Member, agent: JolokiaEndpoint, report: NodeReport, known: KnownCluster
    ) -> tuple[Node, View]:
        """Node and view of a member that answered; the same objects as before if nothing in them has changed."""
        host_ids = known.membership.roster.known_otherwise(agent.host_ids)
        before = known.built.get(member.address)
        if before and before.report is report and before.logins is agent.logins.known and before.host_ids == host_ids:
            return before.node, before.view
        topology = known.topology
        location = topology.locations.get(member.address, NOWHERE)
        node = node_of(member, report, location, self._tokens(member, topology), _auth_read_level(agent))
        if node.release_version is None:  # StorageService is not registered yet
            node = replace(node, release_version=self._session.releases.get(member.address))
        view = view_of(report, member.address, host_ids)
        if before:  # another request can give another report with an equal node or view
            node = before.node if node == before.node else node
            view = before.view if view == before.view else view
        known.built[member.address] = BuiltNode(
            report=report, logins=agent.logins.known, host_ids=host_ids, node=node, view=view
        )
        return node, view

    def _silent(self, member: Member, known: KnownCluster, state: SourceState) -> Node:
        """A node without a report of its own: what other nodes report of it, and how clients logged in to it before."""
        datacenter, rack = known.topology.locations.get(member.address, NOWHERE)
        return Node(
            member.address,
            endpoint=member.endpoint if has_port(member.endpoint) else None,
            host_id=member.host_id,
            datacenter=datacenter,
            rack=rack,
            release_version=self._session.releases.get(member.address),
            auth_read_level=_auth_read_level(known.membership.agents.get(member.address)),
            source=state,
            tokens=self._tokens(member, known.topology),
        )

    @staticmethod
    def _tokens(member: Member, topology: Topology) -> int | None:
        """Number of tokens; for a member that the ring does not have, 0 if every testimony denies that it owns any."""
        default = None if member.owns is not False or not topology.tokens else 0
        return topology.tokens.get(member.address, default)

    def _views_of_other_contacts(self, membership: Membership) -> Iterator[View]:
        """Views of contact points that are not members; errors only if no other nodes are asked."""
        for contact, answer in self._other_contacts(membership):
            if isinstance(answer, NodeReport):
                reason = refusal(answer) or "unknown to the others"
                yield View(contact.host, outcome="discarded", reason=f"{reason}, not a member of the cluster")
            elif self._session.settings.views != "all":
                yield unreachable_view(contact.host, answer)

    def _unknown_contacts(self, membership: Membership) -> Iterator[Problem]:
        """A problem for each contact point that has joined and not left, and is not a member by any report that counts.

        Its own report does not count. But the other nodes may know only a part of the cluster.
        """
        for contact, answer in self._other_contacts(membership):
            if isinstance(answer, NodeReport) and answer.mode not in _OUTSIDE:
                text = f"{contact.host} answers and is {answer.mode}, but no node whose report counts knows it"
                yield Problem("ring_behind", contact.host, text)

    def _other_contacts(self, membership: Membership) -> Iterator[tuple[ContactPoint, NodeReport | RingcheckError]]:
        """Contact points that are not members, with what they answered."""
        asked, ids = set(membership.agents.values()), {member.host_id for member in membership.members}
        for contact in self._session.contacts:
            answer = self._answers.get(contact.agent)
            known = isinstance(answer, NodeReport) and answer.host_id is not None and answer.host_id in ids
            if answer is not None and contact.agent not in asked and not known:
                yield contact, answer


# OperationModes of nodes that have left the ring, or have not joined it; None: Cassandra has not registered it yet.
_OUTSIDE = frozenset({None, "STARTING", "JOINING", "JOINING_FAILED", "DECOMMISSIONED", "CLIENT"})


def _owners_without_tokens(nodes: Sequence[Node], views: Sequence[View], membership: Membership) -> Iterator[Problem]:
    """A problem for each node that has joined, or owns tokens by any testimony, but owns none in the ring."""
    if not any(node.tokens for node in nodes):
        return
    owners = {member.address for member in membership.members if member.owns}
    joining = frozenset().union(*(view.joining for view in views if view.outcome == "ok"))
    for node in nodes:
        unknown = node.tokens is None and node.address not in joining
        if node.mode == NORMAL and unknown and node.native_transport_running:
            text = f"{node.address} is NORMAL but owns no tokens in the ring that was read"
            yield Problem("ring_behind", node.address, text)
        elif (node.tokens == 0 or (unknown and not joining)) and node.address in owners:
            text = f"{node.address} owns tokens according to some nodes, but none in the ring that was read"
            yield Problem("ring_behind", node.address, text)


def _auth_read_level(agent: JolokiaEndpoint | None) -> str | None:
    return agent.logins.known.auth_read_level if agent and agent.logins.known else None


def counted(session: ClusterSession, snapshot: Snapshot) -> tuple[NodeRequests, ...]:
    """The counters of all nodes of a snapshot, those that could not be read included."""
    agents = session.known.membership.agents if session.known else {}
    return tuple(_of(node, agents.get(node.address)) for node in snapshot.nodes)


def _of(node: Node, agent: JolokiaEndpoint | None) -> NodeRequests:
    counters = agent.counters if agent and node.source == "ok" else None
    silent = "it is not asked" if node.source == "not_asked" else "its Jolokia does not answer"
    return NodeRequests(
        node=node.host_id or node.address,
        address=node.address,
        datacenter=node.datacenter or "",
        release=node.release_version,
        auth_read_level=node.auth_read_level,
        started=counters.started if counters else None,
        generation=node.generation,
        counts=counters.counts if counters else None,
        problem=counters.problem if counters else silent,
    )
