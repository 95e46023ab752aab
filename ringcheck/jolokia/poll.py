"""One poll: whom to ask, what they say of the members, and when the ring is read again.

Owns the order of questions; knows nothing of how a question looks, nor who is a member (`core.membership`).

Rings of different nodes are not compared: 40 MB from each of a thousand nodes would be a load that the cluster feels,
and what makes rings differ (a member, a schema, tokens in movement) shows in the views, which are. The ring is read
from a node that knows the same nodes as most others; if its ring can't be read or contradicts itself, from the next.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.endpoint import ip_of
from ringcheck.core.membership import Roster, by_address
from ringcheck.core.ring import NORMAL, Problem
from ringcheck.core.words import listed
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.http.replies import document
from ringcheck.http.urls import shown
from ringcheck.jolokia import gossip, mbeans, outcomes
from ringcheck.jolokia.fanout import Round
from ringcheck.jolokia.membership import (
    Crowd,
    Heard,
    Home,
    Known,
    identities,
    impostor,
    known_to,
    related,
    same,
    signs,
    strangers,
)
from ringcheck.jolokia.node_report import NodeReport
from ringcheck.jolokia.snapshot import Portrait
from ringcheck.jolokia.testimony import believable, serving, testimony
from ringcheck.jolokia.topology import Survey, Topology

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.ring import Snapshot
    from ringcheck.jolokia.endpoint import JolokiaEndpoint

Told: TypeAlias = "tuple[JolokiaEndpoint, NodeReport]"  # a node and what it said

_ASKING_SHARE = 0.6  # of a first poll's time, in which nodes are asked; the rest is for the ring
_LIVENESS_SHARE = 0.75  # of a later poll's time: the rest is for a ring that has changed
_OLDEST = 3600.0  # seconds after which the ring is read again though nothing says that it changed
_OLDEST_GAP = 60.0  # the same for a ring of which something could not be read
_PATIENCE = 0.5  # seconds that contact points which are no members have in a later poll
_SOURCES = 3  # nodes that are asked for the ring and answer
_TRIED = 8  # those that went down meanwhile included
_ROUNDS = 4  # of asking nodes of which only the last ones asked have heard
_SETS = 256  # distinct sets of endpoints that are kept for sharing
_ASKED_WHOLE = 16  # nodes that are asked for the members that they know, at each poll; in a larger cluster in turn


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

    async def snapshot(self) -> Snapshot:
        """The cluster as it answers.

        Raises:
            SourceError: if nobody answered, or nobody would tell the ring.
            DataError: if what was said can't be true.
        """
        self._home.shared.trim(_SETS)
        self._home.polls += 1
        known = self._home.known
        if known is None:
            await self._round.meet(self._home.contacts, self._ends)
            if not any(self._round.readings()):
                await self._round.gather(self._home.clock())
                raise self._round.silence()
            return await self._discovered()
        now = self._home.clock()
        limit = now + max(0.0, self._ends - now) * _LIVENESS_SHARE
        self._round.start(known.crowd.agents.values(), limit, self._in_turn(known.crowd))
        self._start_strays(known.crowd, limit)
        await self._round.gather(limit)
        if not any(self._round.readings()):
            raise self._round.silence()
        await self._ask_unexplained(known.crowd, limit)
        return await (self._later(known) if self._unchanged(known) else self._again(known))

    async def with_streams(self, seen: Snapshot, until: float) -> Snapshot:
        """The snapshot, with what each node that answered streams, as far as they say so before a time.

        One more request a node, which only the gate is worth: a node that streams has to list its files for it.
        """
        agents = self._home.known.crowd.agents if self._home.known else {}
        there = [node.address for node in seen.nodes if node.source == "ok" and node.address in agents]
        asked = {name: self._home.asking.start(agents[name].streams(until)) for name in there}
        self._home.busy |= {agents[name]: future for name, future in asked.items()}
        await self._home.asking.wait(asked.values(), max(0.0, until - self._home.clock()))
        found = {name: future.result() for name, future in asked.items() if future.done()}
        return replace(seen, nodes=tuple(replace(node, streams=found.get(node.address)) for node in seen.nodes))

    # Who is there.

    def _in_turn(self, crowd: Crowd) -> frozenset[JolokiaEndpoint]:
        """Agents that are asked for the members that they know: all of a small cluster, else one a DC and some more."""
        agents = list(crowd.agents.values())
        if len(agents) <= _ASKED_WHOLE:
            return frozenset(agents)
        places = self._home.known.topology.places if self._home.known else {}
        homes: dict[str | None, list[JolokiaEndpoint]] = defaultdict(list)
        for address, agent in crowd.agents.items():
            homes[places.get(address, (None, None))[0]].append(agent)
        turn = self._home.polls
        some = [agents[(turn * _ASKED_WHOLE + step) % len(agents)] for step in range(_ASKED_WHOLE)]
        return frozenset([*some, *(here[turn % len(here)] for here in homes.values())])

    async def _ask_unexplained(self, crowd: Crowd, until: float) -> bool:
        """Ask the nodes whose lists name an endpoint that is no known member, or lack one, for the members they know.

        Once for the same lists: a node that has left can stay in them for days. Returns whether any was asked.
        """
        verdicts: dict[tuple[int, ...], bool] = {}
        asked = []
        for _, agent, told in self._heard(crowd):
            lists = _lists(agent, told)
            if self._home.explained.get(agent) == lists or not believable(told):
                continue
            key = tuple(map(id, lists))
            if key not in verdicts:
                verdicts[key] = crowd.roster.unexplained(testimony(agent, told))
            if verdicts[key] and told.host_ids is None:
                asked.append(agent)
        if asked:
            self._round.start(asked, until, frozenset(asked), again=True)
            await self._round.gather(until)
        self._home.explained |= {agent: _lists(agent, told) for _, agent, told in self._heard(crowd)}
        return bool(asked)

    async def _ask_elsewhere(self, crowd: Crowd, until: float) -> bool:
        """Ask for nodes that did not answer where some views have them too: most may know one by its old address.

        Returns whether any was asked.
        """
        if self._home.settings.views != "all":
            return False
        answers = self._round.answers
        heard = {member.address for member, _, _ in self._heard(crowd)}
        silent = {member.host_id for member in crowd.members if member.address not in heard}
        told = {pair for agent, _ in self._round.readings() for pair in (agent.host_ids or {}).items()}
        places = sorted(endpoint for endpoint, host_id in told if host_id in silent)
        asked = [agent for agent in dict.fromkeys(map(self._home.agent_at, places)) if agent not in answers]
        if asked:
            self._round.start(asked, until, frozenset(asked))
            await self._round.gather(until)
        return bool(asked)

    def _testifying(self, cluster: str) -> list[Told]:
        """The nodes whose word on the members counts, in no particular order.

        Of those that are no contact point only the ones that are related to one: an address may lead to another
        cluster, of the same name even.
        """
        told = [item for item in self._round.readings() if believable(item[1]) and item[1].cluster == cluster]
        contacts = {contact.agent for contact in self._home.contacts}
        found = [item for item in told if item[0] in contacts]
        rest = [item for item in told if item[0] not in contacts]
        if not found:
            return rest
        ids = {host_id for agent, one in found for host_id in (one.host_id, *(agent.host_ids or {}).values())}
        near = [item for item in rest if item[1].host_id in ids]
        far = [item for item in rest if item[1].host_id not in ids]
        return [*found, *near, *(item for item in far if any(related(item, one) for one in (*found, *near)))]

    def _crowd(self) -> Crowd:
        """The members that all who answered know together, and whom to ask for each.

        Raises:
            DataError: if the contact points are of two clusters.
        """
        self._check_one_cluster()
        names = sorted({told.cluster for told in self._contacts_told() if told.cluster})
        names = names or sorted({told.cluster for _, told in self._round.readings() if told.cluster})
        cluster = names[0] if names else self._home.name or "unknown"
        roster = Roster([testimony(agent, told) for agent, told in self._testifying(cluster)])
        if not roster.members:  # nobody coordinates: those who were heard of are there, though nobody can be judged
            roster = Roster([replace(testimony(*item), owners=None) for item in self._round.readings()])
        return Crowd(cluster, roster, self._agents(roster))

    def _contacts_told(self) -> list[NodeReport]:
        found = (self._round.answers.get(contact.agent) for contact in self._home.contacts)
        return [answer for answer in found if isinstance(answer, NodeReport)]

    def _check_one_cluster(self) -> None:
        """Contact points must be of one cluster; two can have one name.

        Raises:
            DataError: if they are not.
        """
        met = [(contact, self._round.answers.get(contact.agent)) for contact in self._home.contacts]
        told = [(contact, answer) for contact, answer in met if isinstance(answer, NodeReport) and answer.cluster]
        for contact, answer in told[1:]:
            first, other = told[0]
            if answer.cluster != other.cluster:
                raise DataError(
                    f"two clusters: {first.host} belongs to {other.cluster!r}, {contact.host} to {answer.cluster!r}"
                )
            if not any(not strangers((contact.agent, answer), (one.agent, its)) for one, its in told if one != contact):
                raise DataError(
                    f"two clusters, both named {answer.cluster!r}: {first.host} and {contact.host} do not know each "
                    "other"
                )

    def _agents(self, roster: Roster) -> dict[str, JolokiaEndpoint]:
        """Whom to ask for each member: whoever answered with its host id, its contact point, or by the `url`."""
        members = roster.members
        met: dict[str, JolokiaEndpoint] = {}
        for agent, told in sorted(self._round.readings(), key=lambda item: item[0].url):
            index = roster.itself(told.host_id, agent.host_ids)
            if index is not None:
                met.setdefault(members[index].address, agent)
        for contact in self._home.contacts:
            here = [member.address for member in members if ip_of(member.endpoint) in contact.ips]
            if len(here) == 1 and not isinstance(self._round.answers.get(contact.agent), NodeReport):
                met.setdefault(here[0], contact.agent)
        if self._home.settings.views == "all":
            for member in members:
                met.setdefault(member.address, self._home.agent_at(member.endpoint))
        return {member.address: met[member.address] for member in members if member.address in met}

    def _start_strays(self, crowd: Crowd, until: float) -> None:
        """Ask contact points that nobody knows as members, of themselves and of the members that they know.

        One may have joined although its peers have not heard of it. Where members are asked as well, an address that
        leads nowhere any more must not delay each poll, and one that leads to a member has nothing else to say.
        """
        asked = frozenset(crowd.agents.values())
        strays = [contact.agent for contact in self._home.contacts if contact.agent not in asked]
        if self._home.settings.views == "all":
            heard = {agent.process for agent in asked} - {None}
            strays = [agent for agent in strays if agent.process not in heard]
            until = min(until, self._home.clock() + _PATIENCE)
        self._round.start(strays, until, frozenset(strays))

    def _heard(self, crowd: Crowd) -> list[Heard]:
        """Members that answered for themselves."""
        found = []
        for member in crowd.members:
            agent = crowd.agents.get(member.address)
            answer = self._round.answers.get(agent) if agent else None
            if agent and isinstance(answer, NodeReport) and not impostor(member, answer, crowd):
                found.append((member, agent, answer))
        return found

    async def _everyone_asked(self) -> Crowd:
        """The members, after all of them were asked of whom somebody has heard.

        In a part of the time: a node that hangs leaves the rest for the ring.
        """
        now = self._home.clock()
        limit = now + max(0.0, self._ends - now) * _ASKING_SHARE
        crowd = self._crowd()
        for _ in range(_ROUNDS):
            asked = [agent for agent in crowd.agents.values() if agent not in self._round.answers]
            guide = next((agent for agent, told in self._round.readings() if told.mode is not None), None)
            for agent in asked:
                if guide:
                    agent.expect(guide)
            whole = frozenset(asked if len(crowd.members) <= _ASKED_WHOLE else islice(asked, 0, None, _stride(asked)))
            self._round.start(asked, limit, whole)
            self._start_strays(crowd, limit)
            await self._round.gather(limit)
            crowd = self._crowd()
            for ask in (self._ask_unexplained, self._ask_elsewhere):
                if await ask(crowd, limit):
                    crowd = self._crowd()
            if all(agent in self._round.answers for agent in crowd.agents.values()):
                break
        return crowd

    # The ring.

    async def _discovered(self) -> Snapshot:
        """Everything: the members, their views, and the ring from a node that can tell it.

        Raises:
            SourceError: if nobody usable would tell the ring.
            DataError: likewise, or if the partitioner is not supported.
        """
        found = await self._found_out()
        if found:
            return found
        if self._failures:
            raise self._failures[0]
        return self._portrait.bare(self._crowd())

    async def _found_out(self) -> Snapshot | None:
        """Members and ring anew; None if no node that could tell the ring did."""
        for agent, told in self._round.readings():
            if told.host_ids is None:  # what it said of the members before may be of yesterday
                agent.host_ids = agent.owners = None
        crowd = await self._everyone_asked()
        best: tuple[Crowd, Topology, JolokiaEndpoint] | None = None
        answered = 0
        for agent, told in islice(self._sources(crowd), _TRIED):
            found = await self._surveyed(agent, told)
            answered += found is not None or not _unreachable(self._failures[-1])
            believed = found is not None and found[1].whole and _has_owners(told, *found)
            if found and (best is None or believed or found[1].whole > best[1].whole):
                best = (*found, agent)
            if answered == _SOURCES or believed or (best and best[1].large):
                break
        return await self._learned(*best) if best else None

    def _sources(self, crowd: Crowd) -> list[Told]:
        """Nodes that can tell the ring, the best first, in an order that does not depend on who answered first.

        Those that can tell replication, and those that know what most others know, movements included: a node whose
        gossip is dead would tell the ring of yesterday, one that has met nobody a ring of its own.
        """
        heard = [item for item in self._heard(crowd) if item[2].mode == NORMAL and serving(item[2])]
        lists: dict[tuple[int, ...], frozenset[int]] = {}
        known: dict[JolokiaEndpoint, tuple[frozenset[int], frozenset[str], frozenset[str], frozenset[str]]] = {}
        for _, agent, told in heard:
            key = (id(told.live), id(told.unreachable), id(agent.host_ids))
            if key not in lists:
                lists[key] = known_to(told, agent, crowd.roster)
            known[agent] = lists[key], told.joining, told.leaving, told.moving
        counted = Counter(known.values())

        def rank(item: Heard) -> tuple[object, ...]:
            member, agent, told = item
            able = mbeans.release(told.release) >= mbeans.REPLICATION_INFO
            stale = bool(crowd.roster.known_otherwise(agent.host_ids))
            known_here = -counted[known[agent]], -len(known[agent][0]), -len(agent.owners or ())
            return not able, *known_here, stale, -len(told.live), by_address(member.endpoint)

        return [(agent, told) for _, agent, told in sorted(heard, key=rank)]

    async def _surveyed(self, agent: JolokiaEndpoint, told: NodeReport) -> tuple[Crowd, Topology] | None:
        """The ring as a node tells it, and the members: that it names token owners nobody else named may add some."""
        try:
            if agent.host_ids is None or told.partitioner is None:
                self._round.answers[agent] = told = await agent.introduce(self._ends)
            survey = self._survey(agent, told)
            counts = await survey.token_counts()
            if not told.joining:
                agent.owners = self._home.shared.sets.setdefault(frozenset(counts), frozenset(counts))
            crowd = self._crowd()
            return crowd, await survey.topology(crowd.roster, counts)
        except (SourceError, DataError) as error:
            self._failures.append(error)
            return None

    def _survey(self, agent: JolokiaEndpoint, told: NodeReport) -> Survey:
        return Survey(agent, told, self._home.replication, self._ends)

    async def _learned(self, crowd: Crowd, topology: Topology, agent: JolokiaEndpoint) -> Snapshot:
        """Remember what was found out."""
        if self._home.known and self._home.known.crowd.members == crowd.members:
            topology = topology.keeping(self._home.known.topology)
        heard = self._heard(crowd)
        self._home.releases |= {member.address: told.release for member, _, told in heard if told.release}
        if any(member.address not in self._home.releases for member in crowd.members):
            self._home.releases = await self._gossiped(agent, crowd.roster) | self._home.releases
        known = Known(crowd, topology, self._home.clock(), signs(heard), identities(heard))
        self._home.known = known
        return self._portrait.of(known, self._about_members(crowd))

    async def _gossiped(self, agent: JolokiaEndpoint, roster: Roster) -> dict[str, str]:
        """Releases by address as gossip tells them: for nodes that do not answer."""
        told = self._round.answers[agent]
        with_port = isinstance(told, NodeReport) and told.with_port
        name = mbeans.STATES_WITH_PORT if with_port else mbeans.STATES
        found: dict[str, str] = {}
        with suppress(SourceError, DataError):
            answer = await agent.stream(mbeans.read(mbeans.FAILURE_DETECTOR, name), self._ends, document)
            states = outcomes.outcome(answer).get(name)
            for endpoint, release in gossip.gossiped_releases(states).items():
                index = roster.index_of(endpoint, agent.host_ids)
                if index is not None:
                    found[roster.members[index].address] = release
        return found

    # What the testimonies disagree about.

    def _about_members(self, crowd: Crowd) -> tuple[Problem, ...]:
        return (*self._unknown_to_some(crowd), *self._answering_twice(crowd))

    def _unknown_to_some(self, crowd: Crowd) -> list[Problem]:
        """Token owners that some nodes do not know as members; nodes in movement aside."""
        told = [(member, testimony(agent, one)) for member, agent, one in self._heard(crowd) if serving(one)]
        moving = {crowd.roster.index_of(endpoint, one.host_ids) for _, one in told for endpoint in one.moving}
        passing = {crowd.members[index].address for index in moving if index is not None}
        known: dict[tuple[int, ...], frozenset[str]] = {}
        lacking: dict[frozenset[str], list[str]] = defaultdict(list)
        for member, one in told:
            key = (id(one.host_ids), id(one.owners), id(one.live), id(one.unreachable))
            if key not in known:
                known[key] = crowd.roster.strangers_to(one) - passing
            if known[key]:
                lacking[known[key]].append(member.address)
        return [
            Problem("membership_disagreement", observers[0], _lacks(observers, members))
            for members, observers in lacking.items()
        ]

    def _answering_twice(self, crowd: Crowd) -> list[Problem]:
        """Host ids that two processes answer with, at addresses of their own."""
        found: dict[str, dict[object, JolokiaEndpoint]] = defaultdict(dict)
        for agent, told in self._round.readings():
            if told.host_id and told.generation is not None and told.cluster == crowd.cluster:
                found[told.host_id].setdefault(told.generation, agent)
        by_id = {member.host_id: member.address for member in crowd.members}
        return [
            Problem("duplicate_host_id", by_id.get(host_id, crowd.cluster), _twice(host_id, agents.values()))
            for host_id, agents in sorted(found.items())
            if len(agents) > 1
        ]

    # Later polls.

    def _unchanged(self, known: Known) -> bool:
        """Whether nothing says that members or ring are not what they were."""
        heard = self._heard(known.crowd)
        able = [told for _, _, told in heard if serving(told)]
        if not able:
            return True  # nobody could tell
        if known.topology.movable or not any(told.schema_version for told in able):
            return False  # what could change without a sign
        if self._home.clock() - known.read_at > (_OLDEST if known.topology.whole else _OLDEST_GAP):
            return False
        if signs(heard) != known.signs or not self._same_members(known):
            return False
        before = known.identities
        return all(same(before.get(name), now) for name, now in identities(heard).items())

    def _same_members(self, known: Known) -> bool:
        """Whether the nodes still have the members that are known; looked at only if one says something else."""
        told = self._testifying(known.crowd.cluster)
        said = [(agent, agent.host_ids, agent.owners, one.live, one.joining) for agent, one in told]
        if said == self._home.said:
            return True
        unchanged = not said or self._crowd().members == known.crowd.members
        self._home.said = said
        return unchanged

    async def _again(self, known: Known) -> Snapshot:
        """Members and ring anew, or, where nobody can tell them, the old ones and that they are old."""
        try:
            found = await self._found_out()
            if found:
                return found
        except (SourceError, DataError) as error:
            self._failures.insert(0, error)
        why = self._failures[0] if self._failures else "no node that serves knows all members that it lists"
        text = f"the ring may have changed but can't be read again: {why}"
        return self._portrait.of(known, (Problem("topology_stale", known.crowd.cluster, text),))

    async def _later(self, known: Known) -> Snapshot:
        """The known ring, with what is pending now while anything moves."""
        heard = self._heard(known.crowd)
        doubts = self._about_members(known.crowd)
        moving = any(told.joining or told.leaving or told.moving for _, _, told in heard if believable(told))
        sources = self._sources(known.crowd) if moving else []
        if not sources:
            return self._portrait.of(known, doubts)
        survey = self._survey(*sources[0])
        try:
            rings = tuple(await survey.with_pending(known.topology.rings, known.crowd.roster))
        except (SourceError, DataError) as error:
            text = f"pending ranges can't be read: {error}"
            return self._portrait.of(known, (*doubts, Problem("pending_unreadable", known.crowd.cluster, text)))
        known.topology = replace(known.topology, rings=rings)
        return self._portrait.of(known, (*doubts, *survey.problems))


def _lists(agent: JolokiaEndpoint, told: NodeReport) -> tuple[object, ...]:
    """What a node lists, and whom it knows by host id."""
    return told.live, told.unreachable, told.joining, told.leaving, told.moving, agent.host_ids


def _has_owners(told: NodeReport, crowd: Crowd, topology: Topology) -> bool:
    """Whether the ring that a node told has all who own tokens, or may; while one joins nobody can say who may."""
    if any(one.owns and topology.tokens[one.address] == 0 for one in crowd.members):
        return False  # it joins, as this node has it, but has joined already
    return bool(told.joining) or None not in topology.tokens.values()


def _unreachable(error: RingcheckError) -> bool:
    return isinstance(error, SourceError) and error.kind == "unreachable"


def _stride(agents: Sequence[JolokiaEndpoint]) -> int:
    return max(1, len(agents) // _ASKED_WHOLE)


def _lacks(observers: Sequence[str], members: Iterable[str]) -> str:
    names = sorted(members, key=by_address)
    verb = "does" if len(observers) == 1 else "do"
    return f"{listed(observers)} {verb} not know {listed(names)} as {'a member' if len(names) == 1 else 'members'}"


def _twice(host_id: str, agents: Iterable[JolokiaEndpoint]) -> str:
    urls = sorted(shown(agent.url) for agent in agents)
    return f"{' and '.join(urls[:2])} both answer as host id {host_id}"
