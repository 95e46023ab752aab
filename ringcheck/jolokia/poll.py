"""One poll of one cluster: what it must establish, which nodes it asks for that, and when it reads the ring again.

A poll answers three questions, which cost very different amounts.

1. Who are the members? No single node is right about this. Gossip reaches nodes at different times, and a node whose
   gossip has died still knows the cluster of yesterday. So the reports of all nodes that coordinate are testimonies,
   and `core.membership` merges them. The nodes are asked for host ids and token owners: all of them in a cluster of up
   to 16, else 16 of them and one in each datacenter, in turn; and any node that lists an endpoint which is not a known
   member. `discovery.py` does this.
2. What does each member see? Whether a query is available depends on the view of its coordinator. So every member is
   asked for its state and its lists of live and unreachable nodes, in one small request. An agent that does not answer
   makes a node `unreachable` and a view missing. Silence never counts as up, nor as down.
3. What is the ring: keyspaces, replication, ranges, datacenters and racks? It is the same for all nodes while nothing
   changes, and it is large: 40 MB for 1,024 nodes with 256 tokens each. So it is read from one node and kept.
   `ring_sources.py` chooses the node and `ring_reader.py` reads it.

A steady poll therefore costs one small request a node, and no new connection. The first poll of three nodes with one
replication takes ten requests.

The ring and the members are read again if anything suggests that they have changed:

- the shares of the ring that serving nodes give the members;
- the members that serving nodes list, the nodes in movement, or the schema versions (`membership.fingerprint`);
- the members that all testimonies give together;
- a host id or a generation: a restarted node may have another rack, other tokens or another release;
- nothing at all, if a change would leave no sign: a node with a single token can move between two polls, and a cluster
  that does not report schema versions can gain a keyspace;
- nothing for an hour; for a minute, if a part of the ring could not be read.

While a node joins, leaves or moves, pending ranges are read in every poll, from one node in one request. If the ring
can't be read again, the snapshot has the old one and a problem `topology_stale`, and the next poll tries again.

No node can answer for another what only its own configuration says: how clients log in to it, and in which datacenter
and rack it places itself. Every node is asked for the former within its request of the first poll, after a restart, and
once in a while; and for the latter after each reading of the ring. An agent of many clusters, whose first verdicts are
urgent, asks for it in the second poll. `own_settings.py` explains both.

Each coordinator places replicas by its own schema. If nodes that serve clients report several schema versions, one node
of each version is asked for its keyspaces, after each reading of the ring. `schemas.py` explains this.

Rings of different nodes are not compared: reading a ring from each of a thousand nodes would be a considerable load.
    Whatever makes rings differ (a member, a schema, a movement, a token) shows in what every node reports,
and that is compared. Tokens show in the share of the ring that a node gives each member.
The ring is read from a node that knows what most others know. If its ring can't be read, contradicts itself or lacks
a token owner, the next node is asked.

What would go wrong otherwise. If the first agent that answers were believed, a node that is cut off would show a
cluster of its own, and the gate would find it safe to stop a replica of the real one. If an agent's last report stood
in for a missing one, a dead cluster would stay green. If the nodes could use the whole deadline, one that hangs would
leave no time for the ring: so they get 60 % of a first poll and 75 % of a later one. If the ring were read from one
node until the deadline, one that does not send it would hide every outage: so it gets 75 % of what is left, if there is
another one to ask. If every address that a node names were asked, one node could make ringcheck connect to thousands
that it has invented: so only few agents that have never answered are asked at once. If contact points that are not
members were left out, a node that has just joined and that no peer knows yet would serve clients unseen.

Polls are coroutines, so that the same code runs on worker threads (a command) and on an event loop (the long-running
agent). `asking.py` explains this; nothing in this file depends on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.ring import Problem
from ringcheck.errors import DataError, SourceError
from ringcheck.http.timing import step
from ringcheck.jolokia.discovery import Discovery
from ringcheck.jolokia.fanout import FanOut
from ringcheck.jolokia.membership import fingerprint, processes, reported_shares, same_process
from ringcheck.jolokia.ring_sources import RingSources
from ringcheck.jolokia.schemas import same_schema
from ringcheck.jolokia.snapshot import SnapshotBuilder, counted
from ringcheck.jolokia.testimony import believable, serving

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot
    from ringcheck.jolokia.membership import ClusterSession, KnownCluster

_OLDEST = 3600.0  # seconds after which the ring is read again without any sign of a change
_OLDEST_INCOMPLETE = 60.0  # the same for a ring that could not be read completely
_LATE = SourceError("its answer was late")


class Poll:
    """One poll of one cluster."""

    def __init__(self, session: ClusterSession, ends: float, taken_at: str) -> None:
        """Prepare; nothing is asked.

        Args:
            session: shared by the polls of the cluster.
            ends: clock time at which the poll must be over.
            taken_at: of the snapshot.
        """
        self._session = session
        self._fanout = FanOut(session)
        self._discovery = Discovery(session, self._fanout, ends)
        self._sources = RingSources(session, self._fanout, self._discovery, ends)
        self._builder = SnapshotBuilder(session, self._fanout.answers, taken_at)

    async def snapshot(self) -> Snapshot:
        """The cluster as its nodes report it now.

        Raises:
            SourceError: if no node answered, or the ring can't be read and is not known from an earlier poll.
            DataError: if reports contradict each other, or if the ring can't be read for such a reason.
        """
        self._session.let_go()
        self._session.shared.trim(self._session.agents.values())
        self._session.polls += 1
        counting = self._session.shared.counting = self._session.counts()
        begun = self._session.clock()
        snapshot = await self._snapshot()
        if not counting:
            return snapshot
        self._session.counted_at = begun
        return replace(snapshot, requests=counted(self._session, snapshot))

    async def _snapshot(self) -> Snapshot:
        known = self._session.known
        if known is None:
            with step("members"):
                await self._discovery.ask_contact_points()
            with step("ring"):
                return await self._first()
        with step("members"):
            await self._discovery.ask_members(known.membership)
        if self._unchanged(known):
            return await self._steady(known)
        with step("ring"):
            return await self._again(known)

    async def with_streams(self, snapshot: Snapshot, until: float) -> Snapshot:
        """A snapshot with the number of streams of each node that answered, or a problem if it can't be read.

        This is one more request a node, and only for the gate: a node that streams must list its files for it. An
        access policy that forbids it is not a problem: the number stays unknown.
        """
        agents = self._session.known.membership.agents if self._session.known else {}
        answered = [node.address for node in snapshot.nodes if node.source == "ok" and node.address in agents]
        started = {address: self._session.asking.start(agents[address].streams(until)) for address in answered}
        self._session.busy |= {agents[address]: work for address, work in started.items()}
        with step("streams"):
            await self._session.asking.wait(started.values(), max(0.0, until - self._session.clock()))
        answers = {address: work.result() if work.done() else _LATE for address, work in started.items()}
        numbers = {address: streams for address, streams in answers.items() if isinstance(streams, int)}
        unread = [
            Problem("streams_unread", address, f"not known whether {address} is streaming: {why}")
            for address, why in answers.items()
            if not isinstance(why, int) and getattr(why, "kind", "") != "denied"
        ]
        return replace(
            snapshot,
            nodes=tuple(replace(node, streams=numbers.get(node.address)) for node in snapshot.nodes),
            problems=(*snapshot.problems, *unread),
        )

    async def _first(self) -> Snapshot:
        """The snapshot of a cluster whose ring is not known yet.

        Raises:
            SourceError: the failure of the best source, if the ring could not be read from any.
            DataError: likewise.
        """
        snapshot = await self._loaded()
        if snapshot:
            return snapshot
        if self._sources.failures:
            raise self._sources.failures[0]
        return self._builder.without_ring(self._discovery.membership())

    async def _loaded(self) -> Snapshot | None:
        """The snapshot with members and ring read anew; None if no node reported a ring."""
        known = await self._sources.load()
        return self._builder.of(known, self._discovery.disagreements(known.membership)) if known else None

    async def _again(self, known: KnownCluster) -> Snapshot:
        """The snapshot with members and ring read anew; if they can't be, the old ones and a problem."""
        failures = self._sources.failures
        try:
            snapshot = await self._loaded()
            if snapshot:
                return snapshot
        except (SourceError, DataError) as error:
            failures.insert(0, error)
        why = failures[0] if failures else "no node that is NORMAL and serves clients has answered"
        text = f"the ring may have changed but can't be read again: {why}"
        return self._builder.of(known, (Problem("topology_stale", known.membership.cluster, text),))

    async def _steady(self, known: KnownCluster) -> Snapshot:
        """The snapshot with the known ring; while a node moves, with the present pending ranges."""
        await self._sources.schemas.ask(known)
        await self._sources.ask_locations(known)
        problems = self._discovery.disagreements(known.membership)
        reports = self._discovery.member_reports(known.membership)
        moving = any(
            report.joining or report.leaving or report.moving for _, _, report in reports if believable(report)
        )
        sources = self._sources.ranked(known.membership) if moving else []
        if not sources:
            return self._builder.of(known, problems)
        reader = self._sources.reader(*sources[0])
        try:
            rings = tuple(await reader.with_pending(known.topology.rings, known.membership.roster))
        except (SourceError, DataError) as error:
            text = f"pending ranges can't be read: {error}"
            unread = Problem("pending_unreadable", known.membership.cluster, text)
            return self._builder.of(known, (*problems, unread))
        known.topology = replace(known.topology, rings=rings)
        return self._builder.of(known, (*problems, *reader.problems))

    def _unchanged(self, known: KnownCluster) -> bool:
        """Whether nothing suggests that members or ring have changed since they were read."""
        reports = self._discovery.member_reports(known.membership)
        serve = [report for _, _, report in reports if serving(report)]
        if not serve:
            return True  # no node could report a change
        if known.topology.may_move or not any(report.schema_version for report in serve):
            return False  # a change would leave no sign
        age = self._session.clock() - known.read_at
        if age > (_OLDEST if known.topology.complete else _OLDEST_INCOMPLETE):
            return False
        if fingerprint(reports) != known.fingerprint or not self._discovery.same_members(known.membership):
            return False
        if not same_schema(known, reports) or any(shares not in known.shares for shares in reported_shares(reports)):
            return False
        now = processes(reports)
        return all(same_process(known.processes.get(address), process) for address, process in now.items())
