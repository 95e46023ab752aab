"""What is known of a cluster between polls, and the signs by which its ring is read again. Asks nobody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ringcheck.core.endpoint import ip_of
from ringcheck.jolokia.endpoint import JolokiaEndpoint, SharedValues
from ringcheck.jolokia.testimony import believable, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ringcheck.core.membership import Member, Roster
    from ringcheck.core.ring import Node, Replication, View
    from ringcheck.errors import RingcheckError
    from ringcheck.jolokia.asking import Asking, Started
    from ringcheck.jolokia.node_report import NodeReport
    from ringcheck.jolokia.settings import JolokiaSettings
    from ringcheck.jolokia.topology import Topology

Answer: TypeAlias = "NodeReport | RingcheckError"
Identity: TypeAlias = "tuple[str | None, int | None]"  # host id, generation
Heard: TypeAlias = "tuple[Member, JolokiaEndpoint, NodeReport]"


@dataclass(slots=True)
class Contact:
    """A contact point: its host as configured, the agent there, and the addresses that its name turned out to have."""

    host: str
    agent: JolokiaEndpoint
    ips: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Crowd:
    """The members of a cluster and their agents.

    Attributes:
        cluster: ClusterName.
        roster: the members, as all testimonies together have them.
        agents: by member address; members that are not to be asked have none.
    """

    cluster: str
    roster: Roster
    agents: Mapping[str, JolokiaEndpoint]

    @property
    def members(self) -> tuple[Member, ...]:
        """In the order of the snapshot's nodes."""
        return self.roster.members


@dataclass(slots=True)
class Known:
    """What is known of the cluster between polls.

    Attributes:
        crowd: its members.
        topology: its ring.
        read_at: monotonic time of both.
        signs: see `signs`; None if it must be read again in any case.
        identities: of believable nodes by address, as last told.
        judged: node and view by address, with the reading and the host ids that they were made of.
        views: of the snapshot before, by observer.
    """

    crowd: Crowd
    topology: Topology
    read_at: float
    signs: object
    identities: dict[str, Identity]
    judged: dict[str, tuple[NodeReport, object, Node, View]] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)


@dataclass(slots=True)
class Home:
    """What polls of one cluster share."""

    settings: JolokiaSettings
    asking: Asking
    replication: Mapping[str, Replication]
    name: str | None
    authenticates: bool | None
    clock: Callable[[], float]
    contacts: list[Contact] = field(default_factory=list)
    agents: dict[str, JolokiaEndpoint] = field(default_factory=dict)
    shared: SharedValues = field(default_factory=SharedValues)
    busy: dict[JolokiaEndpoint, Started[Any]] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)
    known: Known | None = None
    polls: int = 0
    said: object = None
    explained: dict[JolokiaEndpoint, object] = field(default_factory=dict)

    def agent(self, url: str) -> JolokiaEndpoint:
        """The agent at a URL, always the same."""
        if url not in self.agents:
            self.agents[url] = JolokiaEndpoint(url, self.asking, self.shared)
        return self.agents[url]

    def agent_at(self, endpoint: str) -> JolokiaEndpoint:
        """The agent where the configuration says that an endpoint's is."""
        return self.agent(self.settings.url_of(ip_of(endpoint)))


def known_to(told: NodeReport, agent: JolokiaEndpoint, roster: Roster) -> frozenset[int]:
    """Indexes of the members that a node lists, live or not."""
    found = {roster.index_of(endpoint, agent.host_ids) for endpoint in told.live | told.unreachable}
    return frozenset(index for index in found if index is not None)


def related(one: tuple[JolokiaEndpoint, NodeReport], other: tuple[JolokiaEndpoint, NodeReport]) -> bool:
    """Whether one of two nodes knows the other as a member, or both know a third one, by host id."""
    return not _host_ids(*one).isdisjoint(_host_ids(*other))


def _host_ids(agent: JolokiaEndpoint, told: NodeReport) -> frozenset[str]:
    """A node's own host id, and those of the members that it knows."""
    return frozenset((agent.host_ids or {}).values()).union([told.host_id] if told.host_id else ())


def strangers(one: tuple[JolokiaEndpoint, NodeReport], other: tuple[JolokiaEndpoint, NodeReport]) -> bool:
    """Whether two nodes know members, but neither each other nor a common one."""
    if not (believable(one[1]) and believable(other[1]) and one[0].host_ids and other[0].host_ids):
        return False
    return not related(one, other)


def impostor(member: Member, told: NodeReport, crowd: Crowd) -> str | None:
    """How an answer betrays that another node than the expected one gave it."""
    if told.cluster and told.cluster != crowd.cluster:
        return f"it belongs to cluster {told.cluster!r}"
    others = {other.host_id for other in crowd.members} if member.host_id is None else set()
    if told.host_id and (told.host_id in others or member.host_id not in {None, told.host_id}):
        return f"it has host id {told.host_id}" + (f", not {member.host_id}" if member.host_id else "")
    return None


def neighbour(member: Member, told: NodeReport, crowd: Crowd) -> str | None:
    """The other member at the same address whose agent answered in place of a member's; None if it is its own.

    The `url` leads to one agent of an address; those of other instances there are only found among the contact points.
    """
    others = (one for one in crowd.members if one is not member and ip_of(one.endpoint) == ip_of(member.endpoint))
    return next((one.address for one in others if one.host_id and one.host_id == told.host_id), None)


def signs(heard: Iterable[Heard]) -> object:
    """What can't stay the same while the ring changes, by all that coordinate.

    Whom each of them knows, so that a node that has left is noticed though it still lists itself; movements; schemas.
    """
    told = [reading for _, _, reading in heard if serving(reading)]
    known = frozenset({live | unreachable for live, unreachable in {(one.live, one.unreachable) for one in told}})
    moves = [frozenset().union(*{getattr(one, name) for one in told}) for name in ("joining", "leaving", "moving")]
    return known, *moves, frozenset(one.schema_version for one in told)


def identities(heard: Iterable[Heard]) -> dict[str, Identity]:
    """Host id and generation of those that are through with their start: a restart may change all that a node is."""
    return {member.address: (told.host_id, told.generation) for member, _, told in heard if believable(told)}


def same(before: Identity | None, now: Identity) -> bool:
    """Whether a node is known and was not restarted since; an unknown generation proves nothing."""
    if before is None or before[0] != now[0]:
        return False
    return before[1] == now[1] or None in {before[1], now[1]}
