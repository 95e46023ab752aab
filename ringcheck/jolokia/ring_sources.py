"""Which node the ring is read from, and how a reading is kept: the third question of a poll.

The best sources are asked first, until the reading of one is complete and has every token owner.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.endpoint import order
from ringcheck.core.ring import NORMAL
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.http.replies import document
from ringcheck.jolokia import gossip, mbeans, outcomes
from ringcheck.jolokia.discovery import FEW
from ringcheck.jolokia.membership import (
    AgentReport,
    KnownCluster,
    MemberReport,
    Membership,
    fingerprint,
    listed_members,
    processes,
    reported_shares,
)
from ringcheck.jolokia.node_report import NodeReport
from ringcheck.jolokia.own_settings import differs
from ringcheck.jolokia.ring_reader import RingReader
from ringcheck.jolokia.schemas import OtherSchemas, schema_key, still_known
from ringcheck.jolokia.testimony import serving, settled
from ringcheck.jolokia.topology import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ringcheck.core.membership import Member, Roster
    from ringcheck.jolokia.discovery import Discovery
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.fanout import FanOut
    from ringcheck.jolokia.membership import ClusterSession
    from ringcheck.jolokia.topology import Topology

_ANSWERING = 3  # nodes that are asked for the ring and answer, at most
_SHARE = 0.75  # share of the remaining time for one node, as long as there is another one to ask
_LOCATING = 0.25  # share of the remaining time for locations
_TRIED = 8  # nodes that are asked for the ring, those that went down meanwhile included
_NO_HOST_IDS: Mapping[str, str] = {}


class _Reading(NamedTuple):
    """The ring as one node reports it, the members as they are known after it, and the node's schema version then."""

    membership: Membership
    topology: Topology
    agent: JolokiaEndpoint
    schema_version: str | None


class RingSources:
    """Reads the ring of a cluster from the nodes that can best report it."""

    def __init__(self, session: ClusterSession, fanout: FanOut, discovery: Discovery, ends: float) -> None:
        """Prepare; nothing is asked.

        Args:
            session: shared by the polls of the cluster.
            fanout: the requests of this poll.
            discovery: finds the members.
            ends: clock time at which the poll must be over.

        Attributes:
            schemas: asks for the keyspaces of nodes with another schema version.
            failures: errors of the nodes that were asked for the ring, in the order in which they were asked.
        """
        self.failures: list[RingcheckError] = []
        self._session = session
        self._fanout = fanout
        self._discovery = discovery
        self._ends = ends
        self._failed: set[JolokiaEndpoint] = set()
        self.schemas = OtherSchemas(session, discovery)

    async def load(self) -> KnownCluster | None:
        """Read members and ring again and keep them in the session; None if no node reported a ring.

        Raises:
            DataError: if the contact points are of two clusters.
        """
        for agent, report in self._fanout.reports():
            if report.host_ids is None:
                agent.forget_members()
        first = self._session.known is None
        best = await self._best_reading(await self._discovery.ask_everyone())
        if best is None:
            return None
        if self._has_altered(best):
            await self._discovery.ask_again()
        known = await self._keep(best)
        if await self.schemas.outdated(known):
            known = await self._read_again(known)
        if not (first and self._session.asking.shared):  # then the next poll asks: first verdicts are urgent
            await self.ask_locations(known, self._discovery.asked_in_turn(known.membership))
        return known

    def _has_altered(self, reading: _Reading) -> bool:
        """Whether the schema has changed since the nodes reported their versions: they may have several now."""
        report = self._fanout.answers[reading.agent]
        return isinstance(report, NodeReport) and report.schema_version != reading.schema_version

    async def _read_again(self, known: KnownCluster) -> KnownCluster:
        """Members and ring after a change of the schema while the ring was read; as before if they can't be read."""
        again = await self._best_reading(known.membership)
        if again is None or (known.topology.complete and not again.topology.complete):
            return known
        known = await self._keep(again)
        await self.schemas.ask(known)
        return known

    async def ask_locations(self, known: KnownCluster, again: Collection[JolokiaEndpoint] = ()) -> None:
        """Ask nodes where they place themselves and other nodes, if it is not known, or contradicts the ring.

        In a small cluster they are asked about all nodes, in a larger one about themselves and the source of the ring.
        The source is not asked, nor is a node whose ring could not be read.

        Args:
            known: members and ring.
            again: agents that are asked in any case.
        """
        membership, until = known.membership, self._discovery.after(_LOCATING)
        names = membership.named_once
        reports = self._discovery.member_reports(membership)
        endpoints = _endpoints_by_host_id(agent for _, agent, _ in reports)
        few = len(membership.members) <= FEW
        named = [member for member in membership.members if member.identity in names]
        common = [member for member in named if few or member.identity == known.source_id]
        started = {}
        for member, agent, report in reports:
            if agent is known.source or agent in self._failed or not settled(report, owns=member.owns):
                continue
            about = common if few or member.identity not in names else [*common, member]
            targets = _locatable(report, about, endpoints[agent])
            if member.identity not in targets:  # it does not see even itself, and is not settled
                continue
            if agent.places.due(targets) or agent in again or _contradicts(agent, known, names):
                started[agent] = self._session.asking.start(agent.locate(targets, report, until))
        if started:
            self._session.busy |= started
            await self._session.asking.wait(started.values(), max(0.0, until - self._session.clock()))

    async def _best_reading(self, membership: Membership) -> _Reading | None:
        """The first reading that is complete and has all token owners, else the best of a few."""
        best: _Reading | None = None
        answered = 0
        sources = self.ranked(membership)[:_TRIED]
        for agent, report in sources:
            last = agent is sources[-1].agent
            reading = await self._read(agent, report, self._ends if last else self._discovery.after(_SHARE))
            answered += reading is not None or not _unreachable(self.failures[-1])
            believed = reading is not None and reading.topology.complete and _has_owners(report, reading)
            if reading and (best is None or believed or _worth(reading) > _worth(best)):
                best = reading
            if answered == _ANSWERING or believed or (best and best.topology.large):
                break
        return best

    def ranked(self, membership: Membership) -> list[AgentReport]:
        """The nodes that can report the ring, the best first; the order does not depend on who answered first.

        Nodes whose release reports replication come first, then nodes that know what most others know, movements and
        tokens included. A node whose gossip is dead would report an outdated ring, and a node that has met no other
        node would report a ring of its own.
        """
        able = [
            item
            for item in self._discovery.member_reports(membership)
            if item.report.mode == NORMAL and serving(item.report)
        ]
        known = _knowledge(able, membership.roster)
        agreeing = Counter(known.values())
        telling = Counter(id(item.agent.shares) for item in able if item.agent.shares)

        def rank(item: MemberReport) -> tuple[object, ...]:
            agent, report = item.agent, item.report
            return (
                mbeans.release(report.release) < mbeans.REPLICATION_INFO,
                -agreeing[known[agent]],
                -telling[id(agent.shares)],
                -len(known[agent].listed),
                -len(agent.owners or ()),
                bool(membership.roster.known_otherwise(agent.host_ids)),
                -len(report.live),
                order(item.member.endpoint),
            )

        return [AgentReport(item.agent, item.report) for item in sorted(able, key=rank)]

    async def _read(self, agent: JolokiaEndpoint, report: NodeReport, until: float) -> _Reading | None:
        """The ring as a node reports it; None, with another entry in `failures`, if it can't be read.

        The node may name token owners that no other node has named, so that there are more members afterwards.
        """
        try:
            if agent.host_ids is None or report.partitioner is None:
                self._fanout.answers[agent] = report = await agent.introduce(until)
            reader = RingReader(agent, report, self._session.configured.replication, until)
            counts = await reader.token_counts()
            if not report.joining:
                agent.owners = self._session.shared.sets.setdefault(frozenset(counts), frozenset(counts))
            membership = self._discovery.membership()
            topology = await reader.topology(membership.roster, counts)
            return _Reading(membership, topology, agent, reader.schema_version)
        except (SourceError, DataError) as error:
            self.failures.append(error)
            self._failed.add(agent)
            return None

    def reader(self, agent: JolokiaEndpoint, report: NodeReport) -> RingReader:
        """Reads the ring from one node, until the poll must be over."""
        return RingReader(agent, report, self._session.configured.replication, self._ends)

    async def _keep(self, reading: _Reading) -> KnownCluster:
        """Keep members, ring and releases in the session; equal rings of the last reading stay the same objects."""
        membership, topology, agent, schema_version = reading
        session = self._session
        if session.known and session.known.membership.members == membership.members:
            topology = topology.reusing_rings(session.known.topology)
        reports = self._discovery.member_reports(membership)
        session.releases |= {member.address: report.release for member, _, report in reports if report.release}
        if any(member.address not in session.releases for member in membership.members):
            session.releases = await self._gossiped_releases(agent, membership.roster) | session.releases
        addresses = {member.address for member in membership.members}
        session.releases = {address: text for address, text in session.releases.items() if address in addresses}
        before, session.known = (
            session.known,
            KnownCluster(
                membership=membership,
                topology=topology,
                read_at=session.clock(),
                fingerprint=fingerprint(reports),
                shares=reported_shares(reports),
                processes=processes(reports),
                source=agent,
                source_id=next((member.identity for member, one, _ in reports if one is agent), None),
                schema_key=(schema_version, None)
                if schema_version
                else next((schema_key(report) for _, other, report in reports if other is agent), (None, None)),
            ),
        )
        session.known.schemas = still_known(before, session.known)
        return session.known

    async def _gossiped_releases(self, agent: JolokiaEndpoint, roster: Roster) -> dict[str, str]:
        """Releases by address as gossip has them, for nodes that do not answer; empty if they can't be read."""
        report = self._fanout.answers[agent]
        with_port = isinstance(report, NodeReport) and report.with_port
        name = mbeans.STATES_WITH_PORT if with_port else mbeans.STATES
        releases: dict[str, str] = {}
        with suppress(SourceError, DataError):
            reply = await agent.stream(mbeans.read(mbeans.FAILURE_DETECTOR, name), self._ends, document)
            states = outcomes.outcome(reply).get(name)
            for endpoint, release in gossip.gossiped_releases(states).items():
                index = roster.index_of(endpoint, agent.host_ids)
                if index is not None:
                    releases[roster.members[index].address] = release
        return releases


def _contradicts(agent: JolokiaEndpoint, known: KnownCluster, names: Mapping[str, str]) -> bool:
    """Whether a node places another node elsewhere than the ring that was read."""
    locations = known.topology.locations
    return any(differs(place, locations.get(names.get(of, ""), NOWHERE)) for of, place in agent.places.known.items())


def _endpoints_by_host_id(agents: Iterable[JolokiaEndpoint]) -> dict[JolokiaEndpoint, Mapping[str, str]]:
    """The endpoint by host id, as each node knows it; nodes that know the same host ids share one map."""
    host_ids = {agent: agent.host_ids or _NO_HOST_IDS for agent in agents}
    distinct = {id(known): known for known in host_ids.values()}
    maps = {key: {host_id: endpoint for endpoint, host_id in known.items()} for key, known in distinct.items()}
    return {agent: maps[id(known)] for agent, known in host_ids.items()}


def _locatable(report: NodeReport, members: Iterable[Member], endpoints: Mapping[str, str]) -> dict[str, str]:
    """The text by which a node's snitch finds each of some members, by identity: of those that it sees live and joined.

    Of others the snitch may invent a location, or keep a wrong one (`mbeans.locations`).

    Args:
        report: of the node.
        members: to find.
        endpoints: by host id, as the node knows them.
    """
    asked = mbeans.release(report.release)
    known = ((member.identity, endpoints.get(member.identity) or _listed(member, report)) for member in members)
    serving = ((identity, name) for identity, name in known if name in report.live and name not in report.joining)
    return {identity: mbeans.snitch_target(name, asked) for identity, name in serving}


def _listed(member: Member, report: NodeReport) -> str:
    """A member's endpoint as a node may list it that knows no host id of it: before 4.0 without the port."""
    return member.address if member.host_id is None and member.address in report.live else member.endpoint


class _Knowledge(NamedTuple):
    """The members that a node lists, by index, and the endpoints that it sees joining, leaving and moving."""

    listed: frozenset[int]
    joining: frozenset[str]
    leaving: frozenset[str]
    moving: frozenset[str]


def _knowledge(reports: list[MemberReport], roster: Roster) -> dict[JolokiaEndpoint, _Knowledge]:
    """What each node knows, by agent. Nodes with the same lists are looked up once."""
    listed: dict[tuple[int, ...], frozenset[int]] = {}
    known: dict[JolokiaEndpoint, _Knowledge] = {}
    for _, agent, report in reports:
        key = (id(report.live), id(report.unreachable), id(agent.host_ids))
        if key not in listed:
            listed[key] = listed_members(report, agent, roster)
        known[agent] = _Knowledge(
            listed=listed[key], joining=report.joining, leaving=report.leaving, moving=report.moving
        )
    return known


def _has_owners(report: NodeReport, reading: _Reading) -> bool:
    """Whether a reading has every member that owns tokens, or may own some; while a node joins, that is not known."""
    tokens = reading.topology.tokens
    if any(member.owns and tokens[member.address] == 0 for member in reading.membership.members):
        return False  # according to this node it still joins, but it has joined already
    return bool(report.joining) or None not in tokens.values()


def _worth(reading: _Reading) -> tuple[bool, int]:
    """A sort key for readings that can't be believed entirely: a better reading has a larger value."""
    topology = reading.topology
    return topology.complete, sum(len(ring.keyspaces) for ring in topology.rings)


def _unreachable(error: RingcheckError) -> bool:
    return isinstance(error, SourceError) and error.kind == "unreachable"
