"""The snapshot of what is known and of what was answered.

Owns what a node, a view and a problem look like in it; asks nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.ring import NORMAL, Node, Problem, Snapshot, View
from ringcheck.errors import DataError, RingcheckError
from ringcheck.jolokia.decode import Reading
from ringcheck.jolokia.members import Member, node_of, refusal, state_of, unheard, view_of
from ringcheck.jolokia.reply import shown
from ringcheck.jolokia.state import Known, impostor
from ringcheck.jolokia.topology import NOWHERE, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ringcheck.core.ring import JolokiaState
    from ringcheck.jolokia.agent import Agent
    from ringcheck.jolokia.state import Answer, Crowd, Home


class Portrait:
    """Makes one snapshot."""

    def __init__(self, home: Home, answers: Mapping[Agent, Answer], taken_at: str) -> None:
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
        usable = any(view.outcome == "ok" for view in views)
        authenticates = topology.authenticates if self._home.authenticates is None else self._home.authenticates
        return Snapshot(
            crowd.cluster,
            self._taken_at,
            topology.partitioner,
            tuple(nodes),
            (*views, *self._views_of_strays(crowd)),
            topology.rings if usable else (),
            authenticates,
            (*topology.problems, *wrong, *_behind(nodes, views), *problems),
            auth_read_level=topology.auth_read_level,
        )

    def bare(self, crowd: Crowd) -> Snapshot:
        """What is to be seen where no node can be believed: who is there, and why not."""
        if not crowd.members:
            members = [
                Member(next(iter(contact.ips), contact.host), contact.host, None) for contact in self._home.contacts
            ]
            agents = {member.name: contact.agent for member, contact in zip(members, self._home.contacts, strict=True)}
            crowd = replace(crowd, members=tuple(members), agents=agents)
        told = [answer for answer in self._answers.values() if isinstance(answer, Reading)]
        names = [answer.partitioner for answer in told if answer.partitioner]
        name = names[0].rpartition(".")[2] if names else "unknown"
        return self.of(Known(crowd, Topology(name, {}, {}, (), None), 0.0, None, {}))

    def _nodes_and_views(
        self, crowd: Crowd, topology: Topology, judged: dict[str, tuple[Reading, Node, View]]
    ) -> tuple[list[Node], list[View], list[Problem]]:
        """All nodes, and the views of those that were asked; the same objects for those who said nothing new."""
        nodes: list[Node] = []
        views: list[View] = []
        wrong: list[Problem] = []
        for member in crowd.members:
            agent = crowd.agents.get(member.name)
            answer = self._answers.get(agent) if agent else None
            if isinstance(answer, Reading) and agent and (what := impostor(member, answer, crowd)):
                answer = DataError(f"{shown(agent.url)} is another node: {what}")
                wrong.append(Problem("wrong_node", member.name, str(answer)))
                nodes.append(self._silent(member, topology, "error"))
                views.append(replace(unheard(member.name, answer), outcome="discarded"))
            elif isinstance(answer, Reading):
                node, view = self._judged(member, answer, crowd, topology, judged)
                nodes.append(node)
                views.append(view)
            else:
                nodes.append(self._silent(member, topology, state_of(answer) if answer else "not_asked"))
                views += [unheard(member.name, answer)] if answer else []
        return nodes, views, wrong

    def _judged(
        self,
        member: Member,
        told: Reading,
        crowd: Crowd,
        topology: Topology,
        judged: dict[str, tuple[Reading, Node, View]],
    ) -> tuple[Node, View]:
        before = judged.get(member.name)
        if before and before[0] is told:
            return before[1:]
        place = topology.places.get(member.name, NOWHERE)
        node = node_of(member, told, place, self._tokens(member, topology))
        if node.release_version is None:  # StorageService is not registered yet
            node = replace(node, release_version=self._home.releases.get(member.name))
        view = view_of(told, member.name, crowd.names, crowd.settled)
        if before:  # the same answer to another question
            node, view = before[1] if node == before[1] else node, before[2] if view == before[2] else view
        judged[member.name] = (told, node, view)
        return node, view

    def _silent(self, member: Member, topology: Topology, state: JolokiaState) -> Node:
        """A node that did not answer, as far as others know it."""
        datacenter, rack = topology.places.get(member.name, NOWHERE)
        return Node(
            member.name,
            member.host_id,
            datacenter,
            rack,
            self._home.releases.get(member.name),
            jolokia=state,
            tokens=self._tokens(member, topology),
        )

    @staticmethod
    def _tokens(member: Member, topology: Topology) -> int | None:
        """Tokens owned; none for one of whom the node that told the ring did not know."""
        return topology.tokens.get(member.name, 0 if topology.tokens else None)

    def _views_of_strays(self, crowd: Crowd) -> Iterator[View]:
        """Contact points that are no members; those that do not answer only where nobody else would be asked."""
        asked, ids = set(crowd.agents.values()), {member.host_id for member in crowd.members}
        for contact in self._home.contacts:
            answer = self._answers.get(contact.agent)
            if contact.agent in asked:
                continue
            if isinstance(answer, Reading) and (answer.host_id is None or answer.host_id not in ids):
                reason = refusal(answer) or "unknown to the others"
                yield View(contact.host, "discarded", f"{reason}, not a member of the cluster")
            elif isinstance(answer, RingcheckError) and self._home.settings.views != "all":
                yield unheard(contact.host, answer)


def _behind(nodes: Sequence[Node], views: Sequence[View]) -> Iterator[Problem]:
    """Nodes that are through with joining, of which whoever told the ring does not know."""
    joining = frozenset().union(*(view.joining for view in views if view.outcome == "ok"))
    for node in nodes:
        if node.mode == NORMAL and node.tokens == 0 and node.native_transport_running and node.address not in joining:
            text = f"{node.address} is NORMAL but has no tokens in the ring as it was told: the ring is behind"
            yield Problem("ring_behind", node.address, text)
