"""One poll: whom to ask, whom to believe, and when the ring is read again.

Owns the order of questions; knows nothing of how a question looks.

Rings of different nodes are not compared: 40 MB from each of a thousand nodes would be a load that the cluster feels,
and what makes rings differ (a member, a schema, tokens in movement) shows in the views, which are. The ring is read
from a node that knows the same nodes as most others.
"""

from __future__ import annotations

from concurrent.futures import wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.ring import NORMAL, Problem, partitioner
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.jolokia import decode, mbeans
from ringcheck.jolokia.asking import Round
from ringcheck.jolokia.decode import Reading
from ringcheck.jolokia.members import Member, Names, by_address, members_of, view_of
from ringcheck.jolokia.portrait import Portrait
from ringcheck.jolokia.state import (
    Crowd,
    Heard,
    Home,
    Known,
    believable,
    common,
    identities,
    impostor,
    known_to,
    same,
    serving,
    signs,
    strangers,
    usable_alone,
)
from ringcheck.jolokia.topology import Survey, Topology

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.ring import Snapshot
    from ringcheck.jolokia.agent import Agent

Guide: TypeAlias = "tuple[Agent, Reading]"  # a node and what it told, its members included

_LIVENESS_SHARE = 0.75  # of a later poll's time: the rest is for a ring that has changed
_OLDEST = 3600.0  # seconds after which the ring is read again though nothing says that it changed
_OLDEST_GAP = 60.0  # the same for a ring of which something could not be read
_SOURCES = 3  # nodes that are tried for the ring
_SETS = 256  # distinct sets of endpoints that are kept for sharing


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
        self._round = Round(home)
        self._portrait = Portrait(home, self._round.answers, taken_at)
        self._failures: list[RingcheckError] = []  # of nodes that were to tell the ring

    def snapshot(self) -> Snapshot:
        """The cluster as it answers.

        Raises:
            SourceError: if nobody answered, or nobody would tell the ring.
            DataError: if what was said can't be true.
        """
        if len(self._home.same) > _SETS:
            self._home.same.clear()
        known = self._home.known
        if known is None:
            return self._discovered(self._introduced())
        now = self._home.clock()
        limit = now + max(0.0, self._ends - now) * _LIVENESS_SHARE
        self._round.start([*known.crowd.agents.values(), *self._strays(known.crowd)], limit)
        self._round.gather(limit)
        if not any(self._round.readings()):
            raise self._round.silence()
        return self._later(known) if self._unchanged(known) else self._again(known)

    def with_streams(self, seen: Snapshot, until: float) -> Snapshot:
        """The snapshot, with what each node that answered streams, as far as they say so before a time.

        One more request a node, which only the gate is worth: a node that streams has to list its files for it.
        """
        agents = self._home.known.crowd.agents if self._home.known else {}
        there = [node.address for node in seen.nodes if node.jolokia == "ok" and node.address in agents]
        asked = {name: self._home.crew.submit(partial(agents[name].streams, until)) for name in there}
        self._home.busy |= {agents[name]: future for name, future in asked.items()}
        wait(asked.values(), max(0.0, until - self._home.clock()))
        found = {name: future.result() for name, future in asked.items() if future.done()}
        return replace(seen, nodes=tuple(replace(node, streams=found.get(node.address)) for node in seen.nodes))

    # Finding out who is there.

    def _introduced(self) -> Guide:
        """Ask the contact points; whoever knows members first is the guide, and a usable one before the others.

        Raises:
            SourceError: if none answers.
            DataError: if what they say can't be used, or they are of two clusters.
        """
        self._round.meet(self._home.contacts, self._ends)
        self._check_one_cluster()
        told = sorted(self._round.readings(), key=lambda item: (not usable_alone(item[1]), not item[1].host_ids))
        if not told:
            self._round.gather(self._home.clock())
            raise self._round.silence()
        return told[0]

    def _check_one_cluster(self) -> None:
        """Contact points must be of one cluster; two can have one name.

        Raises:
            DataError: if they are not.
        """
        met = [(contact.host, self._round.answers.get(contact.agent)) for contact in self._home.contacts]
        told = [(host, answer) for host, answer in met if isinstance(answer, Reading) and answer.cluster]
        for host, one in told[1:]:
            first, other = told[0]
            if one.cluster != other.cluster:
                raise DataError(f"two clusters: {first} belongs to {other.cluster!r}, {host} to {one.cluster!r}")
            if strangers(one, other):
                raise DataError(f"two clusters, both named {one.cluster!r}: {first} and {host} do not know each other")

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
        for agent, told in self._round.readings():
            if told.host_id in by_id:
                met.setdefault(by_id[told.host_id], agent)
        for contact in self._home.contacts:
            here = [member.name for member in members if decode.ip_of(member.endpoint) in contact.ips]
            if len(here) == 1 and not isinstance(self._round.answers.get(contact.agent), Reading):
                met.setdefault(here[0], contact.agent)
        return met

    def _strays(self, crowd: Crowd) -> list[Agent]:
        """Contact points that nobody knows as members; asked again only where nobody else is asked."""
        if self._home.settings.views == "all":
            return []
        found = set(crowd.agents.values())
        return [contact.agent for contact in self._home.contacts if contact.agent not in found]

    def _heard(self, crowd: Crowd) -> list[Heard]:
        """Members that answered for themselves."""
        found = []
        for member in crowd.members:
            agent = crowd.agents.get(member.name)
            answer = self._round.answers.get(agent) if agent else None
            if agent and isinstance(answer, Reading) and not impostor(member, answer, crowd):
                found.append((member, agent, answer))
        return found

    # The ring.

    def _discovered(self, guide: Guide) -> Snapshot:
        """Everything: the members that a guide knows, their views, and the ring from whoever is usable.

        Raises:
            SourceError: if nobody usable would tell the ring.
            DataError: likewise, or if the partitioner is not supported.
        """
        found: Guide | None = guide
        tried: set[Agent] = set()
        told_by: tuple[Crowd, Topology, Agent] | None = None
        everyone = False
        while found and len(tried) < _SOURCES:
            agent, told = found
            crowd = self._crowd(told)
            self._ask_all(crowd, told)
            topology = None
            if everyone or self._may_tell(told):
                tried.add(agent)
                topology = self._surveyed(agent, told, crowd)
            self._round.gather(self._ends)
            everyone = True
            self._check_one_cluster()
            like_most = self._like_most(told, crowd)
            if topology and (like_most or not told_by):
                told_by = (crowd, topology, agent)
            if topology and like_most:
                break
            found = self._next_guide(crowd, tried)
        if told_by:
            return self._learned(*told_by)
        if self._failures:
            raise self._failures[0]
        return self._portrait.bare(crowd)

    def _ask_all(self, crowd: Crowd, guide: Reading) -> None:
        for agent in crowd.agents.values():
            agent.expect(guide)
        self._round.start([*crowd.agents.values(), *self._strays(crowd)], self._ends)

    def _may_tell(self, told: Reading) -> bool:
        """Whether to read the ring there while others may answer yet: not if it is too old to tell replication."""
        new_enough = mbeans.release(told.release) >= mbeans.REPLICATION_INFO or bool(self._home.replication)
        return usable_alone(told) and new_enough

    def _surveyed(self, agent: Agent, told: Reading, crowd: Crowd) -> Topology | None:
        if not usable_alone(told):
            return None
        partitioner(told.partitioner or "unknown")  # no other node could tell a better one
        try:
            return self._survey(agent, told, crowd).topology()
        except (SourceError, DataError) as error:
            self._failures.append(error)
            return None

    def _survey(self, agent: Agent, told: Reading, crowd: Crowd) -> Survey:
        return Survey(agent, told, crowd.members, crowd.names, self._home.replication, self._ends)

    def _like_most(self, told: Reading, crowd: Crowd) -> bool:
        """Whether no set of known nodes is more common than a guide's."""
        counted = common(self._heard(crowd), crowd.names)
        return not counted or counted[known_to(told, crowd.names)] == max(counted.values())

    def _next_guide(self, crowd: Crowd, tried: set[Agent]) -> Guide | None:
        """A node that is settled among those whom it knows now and was not tried.

        First those that can tell replication, and those that know what most others know: one whose gossip is dead
        would tell the ring of yesterday.
        """
        heard = self._heard(crowd)
        counted = common(heard, crowd.names)

        def rank(item: Guide) -> tuple[bool, int]:
            told = item[1]
            return mbeans.release(told.release) >= mbeans.REPLICATION_INFO, counted[known_to(told, crowd.names)]

        able = [(agent, told) for _, agent, told in heard if told.mode == NORMAL and serving(told)]
        for agent, told in sorted((item for item in able if item[0] not in tried), key=rank, reverse=True)[:_SOURCES]:
            full = self._introduction(agent, told)
            if full and usable_alone(full):
                return agent, full
        return None

    def _introduction(self, agent: Agent, told: Reading) -> Reading | None:
        """What an agent said with the members that it knows."""
        try:
            full = told if told.host_ids else agent.introduce(self._ends)
        except (SourceError, DataError) as error:
            self._failures.append(error)
            return None
        self._round.answers[agent] = full
        return full

    def _learned(self, crowd: Crowd, topology: Topology, agent: Agent) -> Snapshot:
        """Remember what was found out."""
        wider = self._with_unheard_of(crowd)
        new = len(wider.members) - len(crowd.members)
        if new:
            topology = topology.for_nodes(len(wider.members))
        if self._home.known and self._home.known.crowd.members == wider.members:
            topology = topology.keeping(self._home.known.topology)
        heard = self._heard(wider)
        self._home.releases |= {member.name: told.release for member, _, told in heard if told.release}
        if any(member.name not in self._home.releases for member in wider.members):
            self._home.releases = self._gossiped(agent, wider.names) | self._home.releases
        seen = None if new else signs(heard)  # the ring must be read again when its teller has heard of them
        known = Known(wider, topology, self._home.clock(), seen, identities(heard))
        self._home.known = known
        return self._portrait.of(known)

    def _with_unheard_of(self, crowd: Crowd) -> Crowd:
        """The crowd with those of whom others know and the guide does not yet, behind the rest."""
        told = [reading for _, _, reading in self._heard(crowd) if believable(reading)]
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
        told = self._round.answers[agent]
        with_port = isinstance(told, Reading) and told.with_port
        name = mbeans.STATES_WITH_PORT if with_port else mbeans.STATES
        with suppress(SourceError, DataError):
            states = agent.ask(mbeans.read(mbeans.FAILURE_DETECTOR, name), self._ends).get(name)
            return {names.one(key): release for key, release in decode.gossiped_releases(states).items()}
        return {}

    # Later polls.

    def _unchanged(self, known: Known) -> bool:
        """Whether nothing says that members or ring are not what they were."""
        heard = self._heard(known.crowd)
        able = [told for _, _, told in heard if serving(told)]
        if not able:
            return True  # nobody could tell
        if known.topology.movable or not any(told.schema_version for told in able):
            return False  # what could change without a sign
        whole = not known.topology.problems and all(place[0] for place in known.topology.places.values())
        if self._home.clock() - known.read_at > (_OLDEST if whole else _OLDEST_GAP):
            return False
        before = known.identities
        return signs(heard) == known.signs and all(
            same(before.get(name), now) for name, now in identities(heard).items()
        )

    def _again(self, known: Known) -> Snapshot:
        """Members and ring anew, or, where nobody can tell them, the old ones and that they are old."""
        try:
            guide = self._next_guide(known.crowd, set())
            if guide:
                return self._discovered(guide)
        except (SourceError, DataError) as error:
            self._failures.insert(0, error)
        why = self._failures[0] if self._failures else "no node that serves knows all members that it lists"
        text = f"the ring may have changed but can't be read again: {why}"
        return self._portrait.of(known, (Problem("topology_stale", known.crowd.cluster, text),))

    def _later(self, known: Known) -> Snapshot:
        """The known ring, with what is pending now while anything moves."""
        heard = self._heard(known.crowd)
        moving = any(told.joining or told.leaving or told.moving for _, _, told in heard if believable(told))
        source = self._usable(heard, known.crowd) if moving else None
        if source is None:
            return self._portrait.of(known)
        survey = self._survey(*source, known.crowd)
        try:
            rings = tuple(survey.with_pending(known.topology.rings))
        except (SourceError, DataError) as error:
            text = f"pending ranges can't be read: {error}"
            return self._portrait.of(known, (Problem("pending_unreadable", known.crowd.cluster, text),))
        known.topology = replace(known.topology, rings=rings)
        return self._portrait.of(known, survey.problems)

    @staticmethod
    def _usable(heard: Iterable[Heard], crowd: Crowd) -> Guide | None:
        """A node that is NORMAL and settled."""
        for member, agent, told in heard:
            if told.mode == NORMAL and view_of(told, member.name, crowd.names, crowd.settled).outcome == "ok":
                return agent, told
        return None
