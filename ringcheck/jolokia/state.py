"""What is known of a cluster between polls, and what one answer says beside another.

Owns the shared state of polls and the signs by which a ring is read again; asks nobody.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ringcheck.core.ring import NORMAL
from ringcheck.jolokia import decode
from ringcheck.jolokia.agent import Agent
from ringcheck.jolokia.members import Member, Names, refusal, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future

    from ringcheck.core.ring import Node, Replication, View
    from ringcheck.errors import RingcheckError
    from ringcheck.jolokia.client import Client, Settings
    from ringcheck.jolokia.crew import Crew
    from ringcheck.jolokia.decode import Reading
    from ringcheck.jolokia.topology import Topology

Answer: TypeAlias = "Reading | RingcheckError"
Identity: TypeAlias = "tuple[str | None, int | None]"  # host id, generation
Heard: TypeAlias = "tuple[Member, Agent, Reading]"


@dataclass(slots=True)
class Contact:
    """A contact point: its host as configured, the agent there, and the addresses that its name turned out to have."""

    host: str
    agent: Agent
    ips: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Crowd:
    """Members, as one node knows them.

    Attributes:
        cluster: ClusterName.
        names: what nodes are called.
        members: of the snapshot; sorted, but that those behind the first who told of them follow.
        settled: names that every settled view must have heard of.
        agents: by member name; members that are not to be asked have none.
    """

    cluster: str
    names: Names
    members: tuple[Member, ...]
    settled: frozenset[str]
    agents: Mapping[str, Agent]


@dataclass(slots=True)
class Known:
    """What is known of the cluster between polls.

    Attributes:
        crowd: its members.
        topology: its ring.
        read_at: monotonic time of both.
        signs: see `signs`; None if it must be read again in any case.
        identities: of believable nodes by name, as last told.
        judged: node and view by name, with the reading that they were made of.
    """

    crowd: Crowd
    topology: Topology
    read_at: float
    signs: object
    identities: dict[str, Identity]
    judged: dict[str, tuple[Reading, Node, View]] = field(default_factory=dict)


@dataclass(slots=True)
class Home:
    """What polls of one cluster share."""

    settings: Settings
    client: Client
    crew: Crew
    replication: Mapping[str, Replication]
    name: str | None
    authenticates: bool | None
    clock: Callable[[], float]
    contacts: list[Contact] = field(default_factory=list)
    agents: dict[str, Agent] = field(default_factory=dict)
    same: dict[frozenset[str], frozenset[str]] = field(default_factory=dict)
    busy: dict[Agent, Future[Any]] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)
    known: Known | None = None

    def agent(self, url: str) -> Agent:
        """The agent at a URL, always the same."""
        if url not in self.agents:
            self.agents[url] = Agent(url, self.client, self.same)
        return self.agents[url]

    def agent_of(self, member: Member) -> Agent:
        """The agent where the configuration says that a member's is."""
        return self.agent(self.settings.url_of(decode.ip_of(member.endpoint)))


def believable(told: Reading) -> bool:
    """Whether a node says of itself that it coordinates and takes part in gossip."""
    return refusal(told) is None


def serving(told: Reading) -> bool:
    """Whether a node serves clients and takes part in gossip."""
    return believable(told) and bool(told.native_transport_running)


def common(heard: Iterable[Heard], names: Names) -> Counter[frozenset[str]]:
    """How many of those who serve know the same nodes.

    One whose gossip is dead without its noticing tells an old ring: the others know whom it does not.
    """
    return Counter(known_to(told, names) for _, _, told in heard if serving(told))


def known_to(told: Reading, names: Names) -> frozenset[str]:
    """Names of the nodes that one lists, live or not."""
    return names.all(told.live) | names.all(told.unreachable)


def usable_alone(told: Reading) -> bool:
    """Whether a node is usable by what it knows of the members itself."""
    ids = told.host_ids or {}
    own = next((endpoint for endpoint, host_id in ids.items() if host_id == told.host_id), None)
    if own is None or told.mode != NORMAL:
        return False
    names = Names(ids)
    return view_of(told, names.one(own), names, frozenset(map(names.one, ids))).outcome == "ok"


def strangers(one: Reading, other: Reading) -> bool:
    """Whether two nodes know members, but not each other."""
    if not (believable(one) and believable(other) and one.host_ids and other.host_ids):
        return False
    return one.host_id not in other.host_ids.values() and other.host_id not in one.host_ids.values()


def impostor(member: Member, told: Reading, crowd: Crowd) -> str | None:
    """How an answer betrays that another node than the expected one gave it."""
    if told.cluster and told.cluster != crowd.cluster:
        return f"it belongs to cluster {told.cluster!r}"
    others = {other.host_id for other in crowd.members} if member.host_id is None else set()
    if told.host_id and (told.host_id in others or member.host_id not in {None, told.host_id}):
        return f"it has host id {told.host_id}" + (f", not {member.host_id}" if member.host_id else "")
    return None


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
    return {member.name: (told.host_id, told.generation) for member, _, told in heard if believable(told)}


def same(before: Identity | None, now: Identity) -> bool:
    """Whether a node is known and was not restarted since; an unknown generation proves nothing."""
    if before is None or before[0] != now[0]:
        return False
    return before[1] == now[1] or None in {before[1], now[1]}
