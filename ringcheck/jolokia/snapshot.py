"""The snapshot of what is known and of what was answered.

Owns what a node, a view and a problem look like in it; asks nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import has_port
from ringcheck.core.evidence import judged
from ringcheck.core.membership import Roster, Testimony
from ringcheck.core.ring import NORMAL, Node, Problem, Snapshot, View
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.http.urls import shown
from ringcheck.jolokia.membership import Crowd, Known, impostor, neighbour
from ringcheck.jolokia.node_report import NodeReport
from ringcheck.jolokia.testimony import node_of, refusal, serving, state_of, unheard, view_of
from ringcheck.jolokia.topology import NOWHERE, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ringcheck.core.membership import Member
    from ringcheck.core.ring import SourceState
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.membership import Answer, Home


class Portrait:
    """Makes one snapshot."""

    def __init__(self, home: Home, answers: Mapping[JolokiaEndpoint, Answer], taken_at: str) -> None:
        """Prepare.

        Args:
            home: contact points and settings.
            answers: of this poll.
            taken_at: of the snapshot.
        """
        self._home = home
        self._answers = answers
        self._taken_at = taken_at

    def of(self, known: Known, problems: Sequence[Problem] = ()) -> Snapshot:
        """The snapshot of what is known and of what was answered."""
        crowd, topology = known.crowd, known.topology
        nodes, views, wrong = self._nodes_and_views(crowd, topology, known.judged)
        answers = (self._answers.get(agent) for agent in crowd.agents.values())
        usable = any(isinstance(answer, NodeReport) and serving(answer) for answer in answers)
        authenticates = topology.authenticates if self._home.authenticates is None else self._home.authenticates
        raw = Snapshot(
            cluster=crowd.cluster,
            taken_at=self._taken_at,
            partitioner=topology.partitioner,
            nodes=tuple(nodes),
            views=(*views, *self._views_of_strays(crowd)),
            rings=topology.rings if usable else (),
            authenticates=authenticates,
            problems=(*topology.problems, *wrong, *problems),
            auth_read_level=topology.auth_read_level,
        )
        return self._settled(raw, known)

    @staticmethod
    def _settled(raw: Snapshot, known: Known) -> Snapshot:
        """The snapshot with its views judged; the same objects for those that say what they said before."""
        views = tuple(
            [before if (before := known.views.get(view.observer)) == view else view for view in judged(raw).views]
        )
        known.views = {view.observer: view for view in views}
        return replace(raw, views=views, problems=(*raw.problems, *_behind(raw.nodes, views, known.crowd)))

    def bare(self, crowd: Crowd) -> Snapshot:
        """What is to be seen where no node can be believed: who is there, and why not."""
        if not crowd.members:
            crowd = self._of_contacts(crowd)
        told = [answer for answer in self._answers.values() if isinstance(answer, NodeReport)]
        names = [answer.partitioner for answer in told if answer.partitioner]
        name = names[0].rpartition(".")[2] if names else "unknown"
        return self.of(
            Known(crowd, Topology(partitioner=name, places={}, tokens={}, rings=(), authenticates=None), 0.0, None, {})
        )

    def _of_contacts(self, crowd: Crowd) -> Crowd:
        """The contact points in place of members, where nobody has named a member."""
        addresses = {min(contact.ips, default=contact.host): contact.agent for contact in self._home.contacts}
        nobody: frozenset[str] = frozenset()
        told = Testimony(
            own=None, host_ids=None, owners=None, live=frozenset(addresses), unreachable=nobody, moving=nobody
        )
        return replace(crowd, roster=Roster([told]), agents=addresses)

    def _nodes_and_views(
        self, crowd: Crowd, topology: Topology, judged: dict[str, tuple[NodeReport, object, Node, View]]
    ) -> tuple[list[Node], list[View], list[Problem]]:
        """All nodes, and the views of those that were asked; the same objects for those who said nothing new."""
        nodes: list[Node] = []
        views: list[View] = []
        wrong: list[Problem] = []
        for member in crowd.members:
            agent = crowd.agents.get(member.address)
            answer = self._answers.get(agent) if agent else None
            if isinstance(answer, NodeReport) and agent and (other := neighbour(member, answer, crowd)):
                answer = SourceError(
                    f"its Jolokia's address is not known: {shown(agent.url)} answers for {other}", "unreachable"
                )
            if isinstance(answer, NodeReport) and agent and (what := impostor(member, answer, crowd)):
                answer = DataError(f"{shown(agent.url)} is another node: {what}")
                wrong.append(Problem("wrong_node", member.address, str(answer)))
                nodes.append(self._silent(member, topology, "error"))
                views.append(replace(unheard(member.address, answer), outcome="discarded"))
            elif isinstance(answer, NodeReport):
                host_ids = crowd.roster.known_otherwise(agent.host_ids) if agent else ()
                node, view = self._judged(member, answer, host_ids, topology, judged)
                nodes.append(node)
                views.append(view)
            else:
                nodes.append(self._silent(member, topology, state_of(answer) if answer else "not_asked"))
                views += [unheard(member.address, answer)] if answer else []
        return nodes, views, wrong

    def _judged(
        self,
        member: Member,
        told: NodeReport,
        host_ids: tuple[tuple[str, str], ...],
        topology: Topology,
        judged: dict[str, tuple[NodeReport, object, Node, View]],
    ) -> tuple[Node, View]:
        before = judged.get(member.address)
        if before and before[0] is told and before[1] == host_ids:
            return before[2:]
        place = topology.places.get(member.address, NOWHERE)
        node = node_of(member, told, place, self._tokens(member, topology))
        if node.release_version is None:  # StorageService is not registered yet
            node = replace(node, release_version=self._home.releases.get(member.address))
        view = view_of(told, member.address, host_ids)
        if before:  # the same answer to another question
            node, view = before[2] if node == before[2] else node, before[3] if view == before[3] else view
        judged[member.address] = (told, host_ids, node, view)
        return node, view

    def _silent(self, member: Member, topology: Topology, state: SourceState) -> Node:
        """A node that did not answer, as far as others know it."""
        datacenter, rack = topology.places.get(member.address, NOWHERE)
        return Node(
            member.address,
            endpoint=member.endpoint if has_port(member.endpoint) else None,
            host_id=member.host_id,
            datacenter=datacenter,
            rack=rack,
            release_version=self._home.releases.get(member.address),
            source=state,
            tokens=self._tokens(member, topology),
        )

    @staticmethod
    def _tokens(member: Member, topology: Topology) -> int | None:
        """Tokens owned; 0 for a node of which every testimony says that it owns none."""
        unknown = None if member.owns is not False or not topology.tokens else 0
        return topology.tokens.get(member.address, unknown)

    def _views_of_strays(self, crowd: Crowd) -> Iterator[View]:
        """Contact points that are no members; those that do not answer only where nobody else would be asked."""
        asked, ids = set(crowd.agents.values()), {member.host_id for member in crowd.members}
        for contact in self._home.contacts:
            answer = self._answers.get(contact.agent)
            if contact.agent in asked:
                continue
            if isinstance(answer, NodeReport) and (answer.host_id is None or answer.host_id not in ids):
                reason = refusal(answer) or "unknown to the others"
                yield View(contact.host, outcome="discarded", reason=f"{reason}, not a member of the cluster")
            elif isinstance(answer, RingcheckError) and self._home.settings.views != "all":
                yield unheard(contact.host, answer)


def _behind(nodes: Sequence[Node], views: Sequence[View], crowd: Crowd) -> Iterator[Problem]:
    """Nodes that have joined, or own tokens according to any node, but own none in the ring that was read."""
    owners = {member.address for member in crowd.members if member.owns}
    joining = frozenset().union(*(view.joining for view in views if view.outcome == "ok"))
    nodes_have_tokens = any(node.tokens for node in nodes)
    for node in nodes:
        unknown = node.tokens is None and node.address not in joining
        if node.mode == NORMAL and unknown and node.native_transport_running and nodes_have_tokens:
            text = f"{node.address} is NORMAL but owns no tokens in the ring that was read"
            yield Problem("ring_behind", node.address, text)
        elif (node.tokens == 0 or (unknown and not joining)) and node.address in owners and nodes_have_tokens:
            text = f"{node.address} owns tokens according to some nodes, but none in the ring that was read"
            yield Problem("ring_behind", node.address, text)
