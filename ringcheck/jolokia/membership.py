"""What the polls of one cluster share: its members, its ring as last read, and the signs of a change. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ringcheck.core.endpoint import ip_of
from ringcheck.jolokia.endpoint import JolokiaEndpoint, SharedValues
from ringcheck.jolokia.testimony import believable, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ringcheck.core.membership import Member, Roster
    from ringcheck.core.ring import Node, Snapshot, View
    from ringcheck.core.schema_report import KeyspaceReport
    from ringcheck.errors import RingcheckError
    from ringcheck.jolokia.asking import Asking, Started
    from ringcheck.jolokia.node_report import NodeReport
    from ringcheck.jolokia.own_settings import OwnSettings
    from ringcheck.jolokia.settings import ConfiguredCluster, JolokiaSettings
    from ringcheck.jolokia.topology import Topology

ReportOrError: TypeAlias = "NodeReport | RingcheckError"
SchemaKey: TypeAlias = "tuple[str | None, str | None]"  # schema version; the release of nodes that don't report it
Process: TypeAlias = "tuple[str | None, int | None]"  # host id and generation; another generation after a restart


@dataclass(slots=True)
class ContactPoint:
    """A contact point of the configuration.

    Attributes:
        host: as configured, without port.
        agent: the Jolokia agent that it leads to.
        ips: addresses that the host name resolved to; empty before the first poll.
    """

    host: str
    agent: JolokiaEndpoint
    ips: frozenset[str] = frozenset()


class AgentReport(NamedTuple):
    """A report and the agent that it came from; which member that is has not been checked."""

    agent: JolokiaEndpoint
    report: NodeReport


class MemberReport(NamedTuple):
    """A report that comes from the member itself: host id and cluster name match."""

    member: Member
    agent: JolokiaEndpoint
    report: NodeReport


class BuiltNode(NamedTuple):
    """A node and a view of a snapshot, with the report, the settings and the host ids that they were made from."""

    report: NodeReport
    logins: OwnSettings | None
    host_ids: tuple[tuple[str, str], ...]
    node: Node
    view: View


@dataclass(frozen=True, slots=True)
class Membership:
    """The members of a cluster and their agents.

    Attributes:
        cluster: ClusterName.
        roster: the members, merged from all testimonies.
        agents: agent by member address; a member that must not be asked has none.
    """

    cluster: str
    roster: Roster
    agents: Mapping[str, JolokiaEndpoint]

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in the order of the snapshot's nodes."""
        return self.roster.members

    @property
    def named_once(self) -> dict[str, str]:
        """Address by identity, of the members that share theirs with no other."""
        numbers = Counter(member.identity for member in self.members)
        return {member.identity: member.address for member in self.members if numbers[member.identity] == 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSchema:
    """What a node of another schema version than that of the ring reported.

    Attributes:
        at: monotonic time at which it was asked.
        asked: its address; None if no node of that version answered.
        reason: why none did.
        keyspaces: that it knows.
    """

    at: float
    asked: str | None = None
    reason: str | None = None
    keyspaces: tuple[KeyspaceReport, ...] = ()


@dataclass(slots=True, kw_only=True)
class KnownCluster:
    """What a poll keeps of a cluster for the next polls.

    Attributes:
        membership: the members.
        topology: the ring.
        read_at: monotonic time at which both were read.
        fingerprint: see `fingerprint`; None if both must be read again in any case.
        shares: of the ring by endpoint, each map that a believable node reported when it was read.
        processes: of believable nodes by address, as last reported.
        built: nodes and views of earlier snapshots by address: an unchanged report gives the same objects.
        views: of the last snapshot, by observer.
        source: the agent from which the ring was read.
        source_id: identity of its node.
        schema_key: schema version of that node when the ring was read.
        schemas: what nodes of other schema versions reported since.
        schema_nodes: addresses of the nodes that serve clients, by schema version, in this poll.
        judged: the last snapshot, before and after its views were judged; None before the first.
    """

    membership: Membership
    topology: Topology
    read_at: float
    fingerprint: object
    processes: dict[str, Process]
    shares: Sequence[Mapping[str, float]] = ()
    built: dict[str, BuiltNode] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    source: JolokiaEndpoint | None = None
    source_id: str | None = None
    schema_key: SchemaKey = (None, None)
    schemas: dict[SchemaKey, AskedSchema] = field(default_factory=dict)
    schema_nodes: dict[SchemaKey, tuple[str, ...]] = field(default_factory=dict)
    judged: tuple[Snapshot, Snapshot] | None = None


@dataclass(slots=True, kw_only=True)
class ClusterSession:
    """What all polls of one cluster share.

    Attributes:
        settings: where the agents are and how to ask them.
        asking: sends the requests.
        configured: what the configuration says about the cluster.
        clock: monotonic seconds.
        contacts: the contact points.
        agents: by location, those of contact points and members, and those that were used since the last `let_go`.
        named: the locations that `nodes` has for host names, by the addresses of these hosts.
        shared: sets and maps that many nodes report alike.
        busy: the last request to each agent; it may still run when the next poll begins.
        releases: ReleaseVersion by member address, as last known.
        known: what the last poll that read the ring found; None before the first.
        polls: how many polls were begun.
        testified: what all testimonies were when the members were last compared.
        explained: the lists of each agent that were already checked for unknown endpoints.
        count_every: seconds between two readings of the nodes' counters of requests; None for never.
        counted_at: clock time of the last such reading.
    """

    settings: JolokiaSettings
    asking: Asking
    configured: ConfiguredCluster
    clock: Callable[[], float]
    contacts: list[ContactPoint] = field(default_factory=list)
    agents: dict[str, JolokiaEndpoint] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    shared: SharedValues = field(default_factory=SharedValues)
    busy: dict[JolokiaEndpoint, Started[Any]] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)
    known: KnownCluster | None = None
    polls: int = 0
    testified: object = None
    explained: dict[JolokiaEndpoint, object] = field(default_factory=dict)
    count_every: float | None = None
    counted_at: float | None = None

    def counts(self) -> bool:
        """Whether it is time to read the nodes' counters of requests."""
        if self.count_every is None:
            return False
        return self.counted_at is None or self.clock() - self.counted_at >= self.count_every

    def agent(self, url: str) -> JolokiaEndpoint:
        """The agent at a location; the same object for the same location."""
        if url not in self.agents:
            self.agents[url] = JolokiaEndpoint(url, self.asking, self.shared)
        return self.agents[url]

    def agent_at(self, endpoint: str, host_id: str | None) -> JolokiaEndpoint:
        """The agent of a node, by `nodes` or else by the template."""
        return self.listed(endpoint, host_id) or self.agent(self.settings.url_of(ip_of(endpoint)))

    def listed(self, endpoint: str, host_id: str | None) -> JolokiaEndpoint | None:
        """The agent that `nodes` has for a node; None if it has none."""
        location = self.settings.listed(endpoint, host_id) or self.named.get(ip_of(endpoint))
        return self.agent(location) if location else None

    def let_go(self) -> None:
        """Forget agents that earlier polls asked and nothing leads to now: new containers always have new addresses."""
        self.busy = {agent: work for agent, work in self.busy.items() if not work.done()}
        membership = self.known.membership if self.known else None
        kept = {*self.busy, *(contact.agent for contact in self.contacts)}
        kept.update(membership.agents.values() if membership else ())
        if len(self.agents) > len(kept):
            self.asking.forget([url for url, agent in self.agents.items() if agent not in kept])
            self.agents = {url: agent for url, agent in self.agents.items() if agent in kept}
            self.explained = {agent: lists for agent, lists in self.explained.items() if agent in kept}


def listed_members(report: NodeReport, agent: JolokiaEndpoint, roster: Roster) -> frozenset[int]:
    """Indexes of the members that a node lists as live or unreachable."""
    indexes = {roster.index_of(endpoint, agent.host_ids) for endpoint in report.live | report.unreachable}
    return frozenset(index for index in indexes if index is not None)


def related(first: AgentReport, second: AgentReport) -> bool:
    """Whether two nodes have a host id in common: one knows the other, or both know the same third node."""
    return not _host_ids(*first).isdisjoint(_host_ids(*second))


def _host_ids(agent: JolokiaEndpoint, report: NodeReport) -> frozenset[str]:
    """A node's own host id, and the host ids of the members that it knows."""
    return frozenset((agent.host_ids or {}).values()).union([report.host_id] if report.host_id else ())


def related_groups(reports: Iterable[AgentReport]) -> list[set[JolokiaEndpoint]]:
    """The agents of believable nodes that know members, grouped so that nodes of different groups are not related.

    Nodes that know no members are in no group: they may belong to any group.
    """
    groups: list[tuple[set[JolokiaEndpoint], set[str]]] = []
    for agent, report in reports:
        if believable(report) and agent.host_ids:
            agents, ids = {agent}, set(_host_ids(agent, report))
            near = [group for group in groups if not group[1].isdisjoint(ids)]
            groups = [group for group in groups if group not in near]
            groups.append((agents.union(*(group[0] for group in near)), ids.union(*(group[1] for group in near))))
    return [agents for agents, _ in groups]


def identity_mismatch(member: Member, report: NodeReport, membership: Membership) -> str | None:
    """What shows that a report does not come from the expected member; None if nothing does."""
    if report.cluster and report.cluster != membership.cluster:
        return f"it belongs to cluster {report.cluster!r}"
    others = {other.host_id for other in membership.members} if member.host_id is None else set()
    if report.host_id and (report.host_id in others or member.host_id not in {None, report.host_id}):
        return f"it has host id {report.host_id}" + (f", not {member.host_id}" if member.host_id else "")
    return None


def neighbour(member: Member, report: NodeReport, membership: Membership) -> str | None:
    """The other member at the same IP address that a report comes from; None if it is the member's own.

    The configured `url` leads to one agent of an IP address. The agents of other instances there must be contact
    points, or be listed in `nodes`.
    """
    here = membership.roster.at_ip.get(ip_of(member.endpoint), ())
    others = (other for other in here if other is not member)
    return next((other.address for other in others if other.host_id and other.host_id == report.host_id), None)


def fingerprint(reports: Iterable[MemberReport]) -> object:
    """A value made from the reports of all nodes that serve clients: it changes when the ring changes.

    It holds the endpoints that each node lists, so that it changes when peers forget a node that still lists itself;
    the nodes that join, leave and move; and the schema versions.
    """
    serve = [report for _, _, report in reports if serving(report)]
    lists = {(report.live, report.unreachable) for report in serve}
    known = frozenset({live | unreachable for live, unreachable in lists})
    moves = [
        frozenset().union(*{getattr(report, name) for report in serve}) for name in ("joining", "leaving", "moving")
    ]
    return known, *moves, frozenset(report.schema_version for report in serve)


def reported_shares(reports: Iterable[MemberReport]) -> list[Mapping[str, float]]:
    """Each map of shares of the ring that nodes which serve clients reported: a new one means that tokens moved."""
    by_id = {id(agent.shares): agent.shares for _, agent, report in reports if agent.shares and serving(report)}
    return list(by_id.values())


def processes(reports: Iterable[MemberReport]) -> dict[str, Process]:
    """Host id and generation by address, of nodes that have started: a restart may change rack, tokens and release."""
    return {member.address: (report.host_id, report.generation) for member, _, report in reports if believable(report)}


def same_process(before: Process | None, now: Process) -> bool:
    """Whether a node is known and was not restarted since; an unknown generation counts as unchanged."""
    if before is None or before[0] != now[0]:
        return False
    return before[1] == now[1] or None in {before[1], now[1]}
