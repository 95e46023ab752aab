"""Who the members are and which agents are asked: the first two questions of a poll.

Owns the order in which agents are asked. Who is a member is decided by `core.membership`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from ringcheck.core.endpoint import ip_of
from ringcheck.core.membership import Roster
from ringcheck.errors import DataError
from ringcheck.jolokia.disagreements import (
    answering_twice,
    different_tokens,
    known_to_idle_nodes,
    live_but_down,
    unconfirmed_addresses,
    unknown_to_some,
)
from ringcheck.jolokia.fanout import MOST_NEVER_ANSWERED
from ringcheck.jolokia.membership import (
    AgentReport,
    MemberReport,
    Membership,
    identity_mismatch,
    listed_members,
    related,
    related_groups,
)
from ringcheck.jolokia.node_report import NodeReport
from ringcheck.jolokia.testimony import believable, testimony

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.ring import Problem
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.fanout import FanOut
    from ringcheck.jolokia.membership import ClusterSession, ContactPoint

_ASKING_SHARE = 0.6  # share of a first poll's time in which nodes are asked; the rest is for the ring
_LIVENESS_SHARE = 0.75  # the same for a later poll; the rest is for a ring that has changed
_PATIENCE = 0.5  # seconds in a later poll for contact points that are not members
_ROUNDS = 4  # rounds of asking nodes that are known only to the nodes of the round before
_COMPARED = 16  # reports that count for the order: the first ones, which are those of contact points
FEW = 16  # nodes that are asked for members in each poll; those of a larger cluster in turn


class Discovery:
    """Asks the nodes of a cluster for their state and their view, and finds the members in what they report."""

    def __init__(self, session: ClusterSession, fanout: FanOut, ends: float) -> None:
        """Prepare; nothing is asked.

        Args:
            session: shared by the polls of the cluster.
            fanout: the requests of this poll.
            ends: clock time at which the poll must be over.
        """
        self._session = session
        self._fanout = fanout
        self._ends = ends
        self._merged: tuple[object, Membership] | None = None  # what was merged last, and the result
        self._reported: tuple[object, tuple[MemberReport, ...]] | None = None  # likewise, of `member_reports`

    # Which agents are asked.

    async def ask_contact_points(self) -> None:
        """Begin a first poll: ask the contact points for everything that they know.

        Raises:
            SourceError: if no agent answered.
            DataError: if no agent answered usefully, and one of the answers made no sense.
        """
        await self._fanout.check_proxy(self._ends)
        await self._fanout.introduce(self._session.contacts, self._ends)
        if not any(self._fanout.reports()):
            await self._fanout.gather(self._session.clock())
            raise self._fanout.silence()

    async def ask_members(self, membership: Membership) -> None:
        """Begin a later poll: ask every member for its state and its view.

        Raises:
            SourceError: if no agent answered.
            DataError: if no agent answered usefully, and one of the answers made no sense.
        """
        until = self.after(_LIVENESS_SHARE)
        self._fanout.start(membership.agents.values(), until, self.asked_in_turn(membership))
        self._start_other_contacts(membership, until)
        await self._fanout.gather(until)
        if not any(self._fanout.reports()):
            raise self._fanout.silence()
        await self._ask_about_unexplained(membership, until)

    async def ask_again(self) -> None:
        """Ask the nodes that answered once more for their states and views: these may have changed during this poll."""
        until = self.after(_LIVENESS_SHARE)
        self._fanout.start([agent for agent, _ in self._fanout.reports()], until, again=True)
        await self._fanout.gather(until)

    async def ask_everyone(self) -> Membership:
        """The members, after asking every node that any report names.

        This takes a share of the time only: a node that hangs leaves the rest for the ring.

        Raises:
            DataError: if the contact points are of two clusters.
        """
        until = self.after(_ASKING_SHARE)
        await self._fanout.look_up_names(until)
        membership = self.membership()
        for _ in range(_ROUNDS):
            await self._ask_new_members(membership, until)
            membership = self.membership()
            for ask in (self._ask_about_unexplained, self._ask_elsewhere):
                if await ask(membership, until):
                    membership = self.membership()
            if all(agent in self._fanout.answers for agent in membership.agents.values()):
                break
        return membership

    def after(self, share: float) -> float:
        """Clock time at which a share of the time that is left will have passed."""
        now = self._session.clock()
        return now + max(0.0, self._ends - now) * share

    async def _ask_new_members(self, membership: Membership, until: float) -> None:
        """Ask the members that were not asked yet, and contact points that are not members."""
        agents = [agent for agent in self._best_known_first(membership) if agent not in self._fanout.answers]
        guide = next((agent for agent, report in self._fanout.reports() if report.mode is not None), None)
        for agent in agents:
            if guide:
                agent.expect(guide)
        small = len(membership.members) <= FEW
        self._fanout.start(agents, until, frozenset(agents if small else islice(agents, 0, None, _stride(agents))))
        self._start_other_contacts(membership, until)
        await self._fanout.gather(until)

    def _best_known_first(self, membership: Membership) -> list[JolokiaEndpoint]:
        """The agents of members; if they are many, first those of members that most reports list.

        The order matters if one node has named many that do not exist: not all are asked then.
        """
        agents = membership.agents
        if len(agents) <= MOST_NEVER_ANSWERED:
            return list(agents.values())
        known = Counter(
            index
            for agent, report in islice(self._fanout.reports(), _COMPARED)
            for index in listed_members(report, agent, membership.roster)
        )
        order = sorted(range(len(membership.members)), key=lambda index: -known[index])
        addresses = [membership.members[index].address for index in order]
        return [agents[address] for address in addresses if address in agents]

    def asked_in_turn(self, membership: Membership) -> frozenset[JolokiaEndpoint]:
        """Agents that are asked for the members that they know.

        In a small cluster these are all agents. In a larger one they are a few, and one in each datacenter; later
        polls ask others, in turn. Some of those that know other tokens than most are asked each time.
        """
        agents = list(membership.agents.values())
        if len(agents) <= FEW:
            return frozenset(agents)
        locations = self._session.known.topology.locations if self._session.known else {}
        by_datacenter: dict[str | None, list[JolokiaEndpoint]] = defaultdict(list)
        for address, agent in membership.agents.items():
            by_datacenter[locations.get(address, (None, None))[0]].append(agent)
        turn = self._session.polls
        some = [agents[(turn * FEW + step) % len(agents)] for step in range(FEW)]
        return frozenset([*some, *(local[turn % len(local)] for local in by_datacenter.values()), *_unusual(agents)])

    async def _ask_about_unexplained(self, membership: Membership, until: float) -> bool:
        """Ask nodes for the members that they know, if their lists name an unknown endpoint or lack a member.

        A node is asked once for the same lists: a node that has left can stay in them for days. Returns whether any
        node was asked.
        """
        unexplained: dict[tuple[int, ...], bool] = {}
        agents = []
        for _, agent, report in self.member_reports(membership):
            lists = _lists(agent, report)
            if self._session.explained.get(agent) == lists or not believable(report):
                continue
            key = tuple(map(id, lists))
            if key not in unexplained:
                unexplained[key] = membership.roster.unexplained(testimony(agent, report))
            if unexplained[key] and report.host_ids is None:
                agents.append(agent)
        if agents:
            self._fanout.start(agents, until, frozenset(agents), again=True)
            await self._fanout.gather(until)
        self._session.explained |= {
            agent: _lists(agent, report) for _, agent, report in self.member_reports(membership)
        }
        return bool(agents)

    async def _ask_elsewhere(self, membership: Membership, until: float) -> bool:
        """Look for members that did not answer, at every endpoint under which some node knows a member.

        Most nodes may know a member by its old address. If nodes have swapped addresses, some know another member under
        the endpoint of the silent one. Returns whether any agent was asked.
        """
        if self._session.settings.views != "all":
            return False
        heard = {member for member, _, _ in self.member_reports(membership)}
        silent = {member.host_id for member in membership.members if member not in heard}
        if not silent:
            return False
        pairs = {pair for agent, _ in self._fanout.reports() for pair in (agent.host_ids or {}).items()}
        places = sorted((endpoint, host_id if host_id in silent else "") for endpoint, host_id in pairs)
        candidates = dict.fromkeys(self._session.agent_at(endpoint, host_id or None) for endpoint, host_id in places)
        agents = [agent for agent in candidates if agent not in self._fanout.answers]
        if agents:
            self._fanout.start(agents, until, frozenset(agents))
            await self._fanout.gather(until)
        return bool(agents)

    def _start_other_contacts(self, membership: Membership, until: float) -> None:
        """Begin to ask the contact points that are not members, also for the members that they know.

        One of them may have joined before its peers heard of it. If all members are asked, two rules keep a poll
        short: a contact point that leads to a member has nothing to add, and one that leads nowhere gets little time.
        """
        members = frozenset(membership.agents.values())
        others = [contact.agent for contact in self._session.contacts if contact.agent not in members]
        if self._session.settings.views == "all":
            processes = {agent.process for agent in members} - {None}
            others = [agent for agent in others if agent.process not in processes]
            until = min(until, self._session.clock() + _PATIENCE)
        self._fanout.start(others, until, frozenset(others))

    # What they report.

    def member_reports(self, membership: Membership) -> tuple[MemberReport, ...]:
        """The reports that members gave of themselves, in the order of the members; kept until an answer changes."""
        given = membership, self._fanout.answers.copy()
        if self._reported is None or self._reported[0] != given:
            self._reported = given, tuple(self._member_reports(membership))
        return self._reported[1]

    def _member_reports(self, membership: Membership) -> Iterator[MemberReport]:
        for member in membership.members:
            agent = membership.agents.get(member.address)
            answer = self._fanout.answers.get(agent) if agent else None
            if agent and isinstance(answer, NodeReport) and not identity_mismatch(member, answer, membership):
                yield MemberReport(member, agent, answer)

    def disagreements(self, membership: Membership) -> tuple[Problem, ...]:
        """Problems for what the reports disagree about."""
        reports = self.member_reports(membership)
        return (
            *unknown_to_some(membership, reports),
            *live_but_down(membership, reports),
            *different_tokens(membership, reports),
            *known_to_idle_nodes(membership, reports),
            *unconfirmed_addresses(membership, reports, self._agents_at),
            *answering_twice(membership, self._fanout.reports()),
        )

    def _agents_at(self, endpoint: str) -> set[JolokiaEndpoint]:
        """The agents that are asked for the node at an endpoint, whichever host id it has."""
        contacts = (contact.agent for contact in self._session.contacts if contact.ips == {ip_of(endpoint)})
        return {self._session.agent_at(endpoint, None), *contacts}

    def same_members(self, membership: Membership) -> bool:
        """Whether the reports result in the members that are known; computed only if a report has changed."""
        reports = self._testifying(membership.cluster)
        testified = [(agent, agent.host_ids, agent.owners, report.live, report.joining) for agent, report in reports]
        if testified == self._session.testified:
            return True
        unchanged = not testified or self.membership().members == membership.members
        self._session.testified = testified
        return unchanged

    def membership(self) -> Membership:
        """The members by all reports together, and the agent to ask for each; merged anew if any of it has changed.

        Raises:
            DataError: if the contact points are of two clusters.
        """
        reported = [(agent, report, agent.host_ids, agent.owners) for agent, report in self._fanout.reports()]
        given = reported, [contact.ips for contact in self._session.contacts], dict(self._session.named)
        if self._merged is None or self._merged[0] != given:
            self._merged = given, self._merge()
        return self._merged[1]

    def _merge(self) -> Membership:
        self._check_one_cluster()
        cluster = self._cluster_name()
        roster = Roster([testimony(agent, report) for agent, report in self._testifying(cluster)])
        if not roster.members:  # no node coordinates: show the known nodes, though none of their views counts
            roster = Roster([replace(testimony(*reported), owners=None) for reported in self._fanout.reports()])
        return Membership(cluster, roster, self._agents(roster))

    def _cluster_name(self) -> str:
        """ClusterName by a contact point, else by any agent that answered, else as configured."""
        for reports in ([report for _, report in self._contact_reports()], self._reports()):
            names = sorted({report.cluster for report in reports if report.cluster})
            if names:
                return names[0]
        return self._session.configured.name or "unknown"

    def _reports(self) -> list[NodeReport]:
        return [report for _, report in self._fanout.reports()]

    def _contact_reports(self) -> list[tuple[ContactPoint, NodeReport]]:
        """The contact points that answered, with their reports, in the order of the configuration."""
        answers = [(contact, self._fanout.answers.get(contact.agent)) for contact in self._session.contacts]
        return [(contact, answer) for contact, answer in answers if isinstance(answer, NodeReport)]

    def _testifying(self, cluster: str) -> list[AgentReport]:
        """The reports that count as testimonies on the members, in no particular order.

        An address may lead to another cluster, even to one of the same name. So a report that is not a contact
        point's counts only if it is related to a contact point's.
        """
        reports = [item for item in self._fanout.reports() if believable(item.report)]
        reports = [item for item in reports if item.report.cluster == cluster]
        contacts = {contact.agent for contact in self._session.contacts}
        trusted = [item for item in reports if item.agent in contacts]
        rest = [item for item in reports if item.agent not in contacts]
        if not trusted:
            return rest
        ids = {host_id for item in trusted for host_id in (item.report.host_id, *(item.agent.host_ids or {}).values())}
        near = [item for item in rest if item.report.host_id in ids]
        far = [item for item in rest if item.report.host_id not in ids]
        trusted += near
        return [*trusted, *(item for item in far if any(related(item, other) for other in trusted))]

    def _check_one_cluster(self) -> None:
        """Check that the contact points are of one cluster; two clusters can have the same name.

        Raises:
            DataError: if they are of two.
        """
        answered = [(contact, report) for contact, report in self._contact_reports() if report.cluster]
        hosts = sorted((report.cluster or "", contact.host) for contact, report in answered)
        if hosts and hosts[0][0] != hosts[-1][0]:
            (name, host), (other_name, other) = hosts[0], hosts[-1]
            raise DataError(f"two clusters: {host} belongs to {name!r}, {other} to {other_name!r}")
        groups = related_groups([AgentReport(contact.agent, report) for contact, report in answered])
        if len(groups) > 1:
            host_of = {contact.agent: contact.host for contact, _ in answered}
            first, second, *_ = sorted(min(host_of[agent] for agent in group) for group in groups)
            raise DataError(f"two clusters, both named {hosts[0][0]!r}: {first} and {second} do not know each other")

    def _agents(self, roster: Roster) -> dict[str, JolokiaEndpoint]:
        """The agent of each member, in the order of the members; a member that must not be asked has none.

        That is the agent that answered with the member's host id, else the one that `nodes` has for it, else the
        contact point at its address, else the agent at the configured `url`.
        """
        members = roster.members
        agents: dict[str, JolokiaEndpoint] = {}
        for agent, report in sorted(self._fanout.reports(), key=lambda item: item.agent.url):
            index = roster.index_of_host_id(report.host_id, agent.host_ids)
            if index is not None:
                agents.setdefault(members[index].address, agent)
        for member in members if self._session.settings.views == "all" else ():
            if listed := self._session.listed(member.endpoint, member.host_id):
                agents.setdefault(member.address, listed)
        for contact in self._session.contacts:
            at_its_ips = [member.address for member in members if ip_of(member.endpoint) in contact.ips]
            if len(at_its_ips) == 1 and not isinstance(self._fanout.answers.get(contact.agent), NodeReport):
                agents.setdefault(at_its_ips[0], contact.agent)
        if self._session.settings.views == "all":
            for member in members:
                agents.setdefault(member.address, self._session.agent_at(member.endpoint, member.host_id))
        return {member.address: agents[member.address] for member in members if member.address in agents}


def _lists(agent: JolokiaEndpoint, report: NodeReport) -> tuple[object, ...]:
    """The lists of a node, and the host ids that it knows."""
    return report.live, report.unreachable, report.joining, report.leaving, report.moving, agent.host_ids


def _stride(agents: Sequence[JolokiaEndpoint]) -> int:
    return max(1, len(agents) // FEW)


def _unusual(agents: Sequence[JolokiaEndpoint]) -> list[JolokiaEndpoint]:
    """A few of the agents that last reported other shares than most: they are asked whether that has ended."""
    numbers = Counter(id(agent.shares) for agent in agents if agent.shares)
    usual = max(numbers, key=lambda shares: numbers[shares], default=None)
    return [agent for agent in agents if agent.shares and id(agent.shares) != usual][:FEW]
