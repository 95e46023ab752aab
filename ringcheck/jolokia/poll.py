"""One poll: whom to ask, whom to believe, and the snapshot of it.

Owns the order of questions and the rule by which the ring is read again; knows nothing of how a question looks.

Rings of different nodes are not compared: 40 MB from each of a thousand nodes would be a load that the cluster feels,
and what makes rings differ (a member, a schema, tokens in movement) shows in the views, which are.
"""

from __future__ import annotations

import socket
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.ring import NORMAL, Node, Problem, Snapshot, View, partitioner
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.jolokia import decode, mbeans
from ringcheck.jolokia.agent import Agent
from ringcheck.jolokia.decode import Reading
from ringcheck.jolokia.members import (
    Member,
    Names,
    by_address,
    members_of,
    node_of,
    refusal,
    state_of,
    unheard,
    view_of,
)
from ringcheck.jolokia.reply import shown
from ringcheck.jolokia.topology import Place, Survey, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.ring import JolokiaState, Replication
    from ringcheck.jolokia.client import Client, Settings
    from ringcheck.jolokia.crew import Crew

Answer: TypeAlias = "Reading | RingcheckError"
Identity: TypeAlias = "tuple[str | None, int | None]"  # host id, generation

_GRACE = 0.25  # seconds that other contact points have after the first usable one
_LIVENESS_SHARE = 0.75  # of a later poll's time: the rest is for a ring that has changed
_OLDEST = 3600.0  # seconds after which the ring is read again though nothing says that it changed
_OLDEST_GAP = 60.0  # the same for a ring of which something could not be read
_SHOWN = 3  # errors in one message
_SOURCES = 3  # nodes that are tried for the ring
_NOWHERE: Place = (None, None)


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
        signs: see `_signs`.
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
    busy: dict[Agent, Future[Reading]] = field(default_factory=dict)
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


class Poll:
    """One poll of one cluster."""

    def __init__(self, home: Home, ends: float, taken_at: str) -> None:
        """Prepare.

        Args:
            home: what it shares with others.
            ends: clock time at which it must be over.
            taken_at: of the snapshot.
        """
        self._home = home
        self._ends = ends
        self._taken_at = taken_at
        self._answers: dict[Agent, Answer] = {}
        self._started: dict[Agent, Future[Reading]] = {}

    def snapshot(self) -> Snapshot:
        """The cluster as it answers.

        Raises:
            SourceError: if nobody answered, or nobody would tell the ring.
            DataError: if what was said can't be true.
        """
        known = self._home.known
        if known is None:
            return self._discovered(self._introduced())
        limit = self._home.clock() + self._left() * _LIVENESS_SHARE
        self._start([*known.crowd.agents.values(), *self._strays(known.crowd)], limit)
        self._gather(limit)
        if not any(self._readings()):
            raise self._silence()
        return self._later(known) if self._unchanged(known) else self._again(known)

    def _left(self) -> float:
        return max(0.0, self._ends - self._home.clock())

    # Asking.

    def _start(self, agents: Iterable[Agent], until: float) -> None:
        """Ask, each in a thread, the agents that were not asked in this poll."""
        for agent in agents:
            if agent not in self._started and agent not in self._answers:
                self._submit(agent, partial(agent.refresh, until))

    def _submit(self, agent: Agent, work: Callable[[], Reading]) -> None:
        earlier = self._home.busy.get(agent)
        if earlier and not earlier.done():
            self._answers[agent] = SourceError(
                f"{shown(agent.url)}: an earlier request is still not answered", "unreachable"
            )
        else:
            self._home.busy[agent] = self._started[agent] = self._home.crew.submit(work)

    def _gather(self, until: float) -> None:
        """Take what comes in before a time; whoever has not answered then is silent."""
        wait(self._started.values(), max(0.0, until - self._home.clock()))
        self._take(self._started)
        for agent in self._started:
            silent = f"{shown(agent.url)}: no answer in time"
            self._answers.setdefault(agent, SourceError(silent, "unreachable"))

    def _take(self, agents: Iterable[Agent]) -> None:
        """Note what is there."""
        for agent in agents:
            future = self._started[agent]
            if agent not in self._answers and future.done():
                self._answers[agent] = _answer(future, agent)

    def _readings(self) -> Iterator[tuple[Agent, Reading]]:
        """Who answered, and what."""
        for agent, answer in self._answers.items():
            if isinstance(answer, Reading):
                yield agent, answer

    # Finding out who is there.

    def _introduced(self) -> tuple[Agent, Reading]:
        """Ask the contact points; whoever knows members first is the guide, and a usable one before the others.

        Raises:
            SourceError: if none answers.
            DataError: if what they say can't be used, or they are of two clusters.
        """
        for contact in self._home.contacts:
            self._submit(contact.agent, partial(_meet, contact, self._ends))
        until, waiting = self._ends, set(self._started.values())
        while waiting and (left := until - self._home.clock()) > 0:
            done, waiting = wait(waiting, left, FIRST_COMPLETED)
            self._take(self._started)
            if any(told.host_ids for _, told in self._readings()):
                until = min(until, self._home.clock() + (_GRACE if done else 0.0))
        self._check_one_cluster()
        told = sorted(self._readings(), key=lambda item: (not _usable_alone(item[1]), not item[1].host_ids))
        if not told:
            self._gather(self._home.clock())
            raise self._silence()
        return told[0]

    def _check_one_cluster(self) -> None:
        """Contact points must be of one cluster; two can have one name.

        Raises:
            DataError: if they are not.
        """
        met = [(contact.host, self._answers.get(contact.agent)) for contact in self._home.contacts]
        told = [(host, answer) for host, answer in met if isinstance(answer, Reading) and answer.cluster]
        for host, one in told[1:]:
            first, other = told[0]
            if one.cluster != other.cluster:
                raise DataError(f"two clusters: {first} belongs to {other.cluster!r}, {host} to {one.cluster!r}")
            if _strangers(one, other):
                raise DataError(f"two clusters, both named {one.cluster!r}: {first} and {host} do not know each other")

    def _silence(self) -> RingcheckError:
        """Why there is nothing to say."""
        answers = [self._answers.get(agent) for agent in {**self._started, **self._answers}]  # in the order of asking
        errors = [answer for answer in answers if isinstance(answer, RingcheckError)]
        told = "; ".join(dict.fromkeys(str(error) for error in errors[:_SHOWN]))
        text = f"nobody answered: {told}{f' and {len(errors) - _SHOWN} more' if len(errors) > _SHOWN else ''}"
        broken = [error for error in errors if not isinstance(error, SourceError)]
        if broken:
            return DataError(text)
        kinds = {error.kind for error in errors if isinstance(error, SourceError)}
        return SourceError(text, kinds.pop() if len(kinds) == 1 else "error")

    def _crowd(self, guide: Reading) -> Crowd:
        """The members that a guide knows, and whom to ask for each."""
        names = Names(guide.host_ids or guide.live)
        members = members_of(guide, names)
        agents = self._agents_met(members)
        if self._home.settings.views == "all":
            for member in members:
                agents.setdefault(member.name, self._home.agent_of(member))
        settled = frozenset(member.name for member in members if member.host_id)
        return Crowd(guide.cluster or self._home.name or "unknown", names, members, settled, agents)

    def _agents_met(self, members: Sequence[Member]) -> dict[str, Agent]:
        """Agents of which we know whose they are: by host id, or else a contact point's by its address."""
        by_id = {member.host_id: member.name for member in members if member.host_id}
        met: dict[str, Agent] = {}
        for agent, told in self._readings():
            if told.host_id in by_id:
                met.setdefault(by_id[told.host_id], agent)
        for contact in self._home.contacts:
            here = [member.name for member in members if decode.ip_of(member.endpoint) in contact.ips]
            if len(here) == 1 and not isinstance(self._answers.get(contact.agent), Reading):
                met.setdefault(here[0], contact.agent)
        return met

    def _strays(self, crowd: Crowd) -> list[Agent]:
        """Contact points that nobody knows as members; asked again only where nobody else is asked."""
        if self._home.settings.views == "all":
            return []
        found = set(crowd.agents.values())
        return [contact.agent for contact in self._home.contacts if contact.agent not in found]

    # The ring.

    def _discovered(self, guide: tuple[Agent, Reading]) -> Snapshot:
        """Everything: the members that a guide knows, their views, and the ring from whoever is usable.

        Raises:
            SourceError: if nobody usable would tell the ring.
            DataError: likewise, or if the partitioner is not supported.
        """
        found: tuple[Agent, Reading] | None = guide
        failures: list[RingcheckError] = []
        tried: set[Agent] = set()
        everyone = False
        while found and len(tried) < _SOURCES:
            agent, told = found
            crowd = self._crowd(told)
            self._ask_all(crowd, told)
            topology = None
            if self._may_tell(told, everyone):
                tried.add(agent)
                topology = self._surveyed(agent, told, crowd, failures)
            self._gather(self._ends)
            everyone = True
            self._check_one_cluster()
            if topology:
                return self._learned(agent, crowd, topology)
            found = self._next_guide(crowd, tried, failures)
        if failures:
            raise failures[0]
        return self._bare(crowd)

    def _ask_all(self, crowd: Crowd, guide: Reading) -> None:
        for agent in crowd.agents.values():
            agent.expect(guide)
        self._start([*crowd.agents.values(), *self._strays(crowd)], self._ends)

    def _may_tell(self, told: Reading, everyone: bool) -> bool:  # noqa: FBT001 - a fact, not a switch
        """Whether to read the ring there: not from one too old to tell replication while newer ones may answer yet."""
        new_enough = mbeans.release(told.release) >= mbeans.REPLICATION_INFO or bool(self._home.replication)
        return _usable_alone(told) and (everyone or new_enough)

    def _surveyed(self, agent: Agent, told: Reading, crowd: Crowd, failures: list[RingcheckError]) -> Topology | None:
        partitioner(told.partitioner or "unknown")  # no other node could tell a better one
        try:
            return self._survey(agent, told, crowd).topology()
        except (SourceError, DataError) as error:
            failures.append(error)
            return None

    def _survey(self, agent: Agent, told: Reading, crowd: Crowd) -> Survey:
        return Survey(agent, told, crowd.members, crowd.names, self._home.replication, self._ends)

    def _next_guide(
        self, crowd: Crowd, tried: set[Agent], failures: list[RingcheckError]
    ) -> tuple[Agent, Reading] | None:
        """A usable node that was not tried, of the newest release: only from 3.11.11 on they tell replication."""
        usable = [(agent, told) for agent, told in self._usable(crowd) if agent not in tried]
        for agent, told in sorted(usable, key=lambda item: mbeans.release(item[1].release), reverse=True)[:_SOURCES]:
            full = self._introduction(agent, told, failures)
            if full:
                return agent, full
        return None

    def _introduction(self, agent: Agent, told: Reading, failures: list[RingcheckError]) -> Reading | None:
        """What an agent said with the members that it knows."""
        try:
            full = told if told.host_ids else agent.introduce(self._ends)
        except (SourceError, DataError) as error:
            failures.append(error)
            return None
        self._answers[agent] = full
        return full

    def _usable(self, crowd: Crowd) -> Iterator[tuple[Agent, Reading]]:
        """Nodes that may be asked for the ring, and even their snitch: NORMAL and settled."""
        for member, agent, told in self._members_heard(crowd):
            if told.mode == NORMAL and view_of(told, member.name, crowd.names, crowd.settled).outcome == "ok":
                yield agent, told

    def _members_heard(self, crowd: Crowd) -> Iterator[tuple[Member, Agent, Reading]]:
        """Members that answered for themselves."""
        for member in crowd.members:
            agent = crowd.agents.get(member.name)
            answer = self._answers.get(agent) if agent else None
            if agent and isinstance(answer, Reading) and not _impostor(member, answer, crowd):
                yield member, agent, answer

    def _learned(self, agent: Agent, crowd: Crowd, topology: Topology) -> Snapshot:
        """Remember what was found out."""
        wider = self._with_strangers(crowd)
        if len(wider.members) > len(crowd.members):
            topology = topology.for_nodes(len(wider.members))
        heard = list(self._members_heard(wider))
        self._home.releases |= {member.name: told.release for member, _, told in heard if told.release}
        if any(member.name not in self._home.releases for member in wider.members):
            self._home.releases = self._gossiped(agent, wider.names) | self._home.releases
        signs = _signs(heard)
        known = Known(wider, topology, self._home.clock(), signs, _identities(heard))
        self._home.known = known
        return self._made(known)

    def _with_strangers(self, crowd: Crowd) -> Crowd:
        """The crowd with those of whom others know and the guide does not yet, behind the rest."""
        told = [reading for _, _, reading in self._members_heard(crowd) if _believable(reading)]
        sets = {listed for reading in told for listed in (reading.live, reading.joining)}
        have = {member.name for member in crowd.members}
        extra = {crowd.names.one(endpoint): endpoint for endpoint in frozenset().union(*sets)}
        new = [Member(name, extra[name], None) for name in sorted(extra.keys() - have, key=by_address)]
        agents = dict(crowd.agents)
        if self._home.settings.views == "all":  # asked from the next poll on
            agents |= {member.name: self._home.agent_of(member) for member in new}
        return replace(crowd, members=(*crowd.members, *new), agents=agents)

    def _gossiped(self, agent: Agent, names: Names) -> dict[str, str]:
        """Releases by name as gossip tells them: for nodes that do not answer."""
        told = self._answers[agent]
        with_port = isinstance(told, Reading) and told.with_port
        name = mbeans.STATES_WITH_PORT if with_port else mbeans.STATES
        with suppress(SourceError, DataError):
            states = agent.ask(mbeans.read(mbeans.FAILURE_DETECTOR, name), self._ends).get(name)
            return {names.one(key): release for key, release in decode.gossiped_releases(states).items()}
        return {}

    # Later polls.

    def _unchanged(self, known: Known) -> bool:
        """Whether nothing says that members or ring are not what they were."""
        heard = list(self._members_heard(known.crowd))
        if not any(_believable(told) for _, _, told in heard):
            return True
        places = known.topology.places.values()
        whole = not known.topology.problems and _NOWHERE[0] not in {datacenter for datacenter, _ in places}
        if self._home.clock() - known.read_at > (_OLDEST if whole else _OLDEST_GAP):
            return False
        if _signs(heard) != known.signs:
            return False
        before = known.identities
        return all(_same(before.get(name), now) for name, now in _identities(heard).items())

    def _again(self, known: Known) -> Snapshot:
        """Members and ring anew, or, where nobody can tell them, the old ones and that they are old."""
        failures: list[RingcheckError] = []
        guide = self._guide_again(known.crowd, failures)
        try:
            if guide:
                return self._discovered(guide)
        except (SourceError, DataError) as error:
            failures.append(error)
        if not failures:
            return self._made(known)  # no view is usable, and the snapshot says so
        text = f"the ring has changed but can't be read again: {failures[0]}"
        return self._made(known, (Problem("topology_stale", known.crowd.cluster, text),))

    def _guide_again(self, crowd: Crowd, failures: list[RingcheckError]) -> tuple[Agent, Reading] | None:
        """A node that is settled among those whom it knows now: the members of before may not be those of today."""
        heard = [(agent, told) for _, agent, told in self._members_heard(crowd) if told.mode == NORMAL]
        serving = [(agent, told) for agent, told in heard if _believable(told) and told.native_transport_running]
        for agent, told in sorted(serving, key=lambda item: mbeans.release(item[1].release), reverse=True)[:_SOURCES]:
            full = self._introduction(agent, told, failures)
            if full and _usable_alone(full):
                return agent, full
        return None

    def _later(self, known: Known) -> Snapshot:
        """The known ring, with what is pending now while anything moves."""
        heard = list(self._members_heard(known.crowd))
        moving = any(told.joining or told.leaving or told.moving for _, _, told in heard if _believable(told))
        source = next(self._usable(known.crowd), None)
        if not moving or source is None:
            return self._made(known)
        survey = self._survey(*source, known.crowd)
        try:
            rings = tuple(survey.with_pending(known.topology.rings))
        except (SourceError, DataError) as error:
            text = f"pending ranges can't be read: {error}"
            return self._made(known, (Problem("pending_unreadable", known.crowd.cluster, text),))
        known.topology = replace(known.topology, rings=rings)
        return self._made(known, survey.problems)

    # The snapshot.

    def _made(self, known: Known, problems: Sequence[Problem] = ()) -> Snapshot:
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
            (*topology.problems, *wrong, *problems),
        )

    def _bare(self, crowd: Crowd) -> Snapshot:
        """What is to be seen where no node can be believed: who is there, and why not."""
        if not crowd.members:
            members = [
                Member(next(iter(contact.ips), contact.host), contact.host, None) for contact in self._home.contacts
            ]
            agents = {member.name: contact.agent for member, contact in zip(members, self._home.contacts, strict=True)}
            crowd = replace(crowd, members=tuple(members), agents=agents)
        names = [told.partitioner for _, told in self._readings() if told.partitioner]
        name = names[0].rpartition(".")[2] if names else "unknown"
        return self._made(Known(crowd, Topology(name, {}, {}, (), None), 0.0, None, {}))

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
            if isinstance(answer, Reading) and agent and (what := _impostor(member, answer, crowd)):
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
        place = topology.places.get(member.name, _NOWHERE)
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
        datacenter, rack = topology.places.get(member.name, _NOWHERE)
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


def _meet(contact: Contact, until: float) -> Reading:
    """Look up a contact point, then let it introduce itself."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(contact.host, None, type=socket.SOCK_STREAM)
        contact.ips = frozenset(str(ip_address(str(item[4][0]).partition("%")[0])) for item in found)
    return contact.agent.introduce(until)


def _answer(future: Future[Reading], agent: Agent) -> Answer:
    """What a thread brought back; anything but ringcheck's own errors is a bug and is raised."""
    try:
        return future.result()
    except SourceError as error:
        return SourceError(_located(error, agent), error.kind)
    except DataError as error:
        return DataError(_located(error, agent))


def _located(error: RingcheckError, agent: Agent) -> str:
    where, text = shown(agent.url), str(error)
    return text if text.startswith(where) else f"{where}: {text}"


def _believable(told: Reading) -> bool:
    return refusal(told) is None


def _usable_alone(told: Reading) -> bool:
    """Whether a node is usable by what it knows of the members itself."""
    ids = told.host_ids or {}
    own = next((endpoint for endpoint, host_id in ids.items() if host_id == told.host_id), None)
    if own is None or told.mode != NORMAL:
        return False
    names = Names(ids)
    return view_of(told, names.one(own), names, frozenset(map(names.one, ids))).outcome == "ok"


def _strangers(one: Reading, other: Reading) -> bool:
    """Whether two nodes know members, but not each other."""
    if not (_believable(one) and _believable(other) and one.host_ids and other.host_ids):
        return False
    return one.host_id not in other.host_ids.values() and other.host_id not in one.host_ids.values()


def _impostor(member: Member, told: Reading, crowd: Crowd) -> str | None:
    """How an answer betrays that another node than the expected one gave it."""
    if told.cluster and told.cluster != crowd.cluster:
        return f"it belongs to cluster {told.cluster!r}"
    others = {other.host_id for other in crowd.members} if member.host_id is None else set()
    if told.host_id and (told.host_id in others or member.host_id not in {None, told.host_id}):
        return f"it has host id {told.host_id}" + (f", not {member.host_id}" if member.host_id else "")
    return None


def _signs(heard: Iterable[tuple[Member, Agent, Reading]]) -> object:
    """What can't stay the same while the ring changes, by all that coordinate.

    Whom each of them knows, so that a node that has left is noticed though it still lists itself; movements; schemas.
    """
    told = [reading for _, _, reading in heard if _believable(reading) and reading.native_transport_running]
    known = frozenset({live | unreachable for live, unreachable in {(one.live, one.unreachable) for one in told}})
    moves = [frozenset().union(*{getattr(one, name) for one in told}) for name in ("joining", "leaving", "moving")]
    return known, *moves, frozenset(one.schema_version for one in told)


def _identities(heard: Iterable[tuple[Member, Agent, Reading]]) -> dict[str, Identity]:
    """Host id and generation of those that are through with their start: a restart may change all that a node is."""
    return {member.name: (told.host_id, told.generation) for member, _, told in heard if _believable(told)}


def _same(before: Identity | None, now: Identity) -> bool:
    if before is None or before[0] != now[0]:
        return False
    return before[1] == now[1] or None in {before[1], now[1]}
