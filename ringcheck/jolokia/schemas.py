"""The keyspaces of nodes whose schema differs from that of the node from which the ring was read.

Every coordinator places replicas by its own schema. Nodes with one schema version have the same keyspaces, so one node
of each other version is asked after the ring was read: three small requests, or a map of ranges for each keyspace if a
release before 3.11.11 does not report replications. If all nodes have one version, nothing is asked.

A change of the schema takes a moment to reach all nodes of a release. So if keyspaces differ among nodes of one major
release, they are asked for a second time after a pause, also from the node that the ring was read from.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from ringcheck.core.schema_report import KeyspaceReport, SchemaReport
from ringcheck.core.schemas import differing
from ringcheck.errors import DataError, SourceError
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.membership import AskedSchema
from ringcheck.jolokia.ring_reader import RingReader
from ringcheck.jolokia.testimony import settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.ring import Replication
    from ringcheck.errors import RingcheckError
    from ringcheck.jolokia.asking import Started
    from ringcheck.jolokia.discovery import Discovery
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.membership import ClusterSession, KnownCluster, MemberReport, SchemaKey
    from ringcheck.jolokia.node_report import NodeReport

_SHARE = 0.4  # share of the remaining time for asking the nodes of all versions once
_SHARE_OF_ONE = 0.5  # share of that time for one node, as long as there is another one of its version to ask
_TRIED = 3  # nodes of one version that are asked, at most
_SPREADING = 1.0  # seconds for a change of the schema to reach the other nodes of a release
_PAUSE = 0.3  # share of the remaining time for that
_OLDEST = 3600.0  # seconds after which the nodes of a version are asked again without any sign of a change
_AGAIN = 60.0  # seconds after which a version whose keyspaces could not be read is asked for again


class OtherSchemas:
    """Asks one node of each schema version that the node does not have from which the ring was read."""

    def __init__(self, session: ClusterSession, discovery: Discovery) -> None:
        """Prepare; nothing is asked.

        Args:
            session: shared by the polls of the cluster.
            discovery: has the reports of the members.
        """
        self._session = session
        self._discovery = discovery

    async def ask(self, known: KnownCluster) -> Mapping[SchemaKey, Sequence[MemberReport]]:
        """Ask for the keyspaces of each version for which they are not known; returns the nodes of these versions."""
        now = self._session.clock()
        groups = self._groups(known)
        due = {key: group for key, group in groups.items() if _due(known.schemas.get(key), now)}
        await self._ask(known, due)
        return due

    async def outdated(self, known: KnownCluster) -> bool:
        """Ask, after the ring was read; whether the keyspaces of its source have changed since."""
        asked, source = await self.ask(known), source_report(known, self._discovery.member_reports(known.membership))
        if source is None:
            return False
        unlike = {key: group for key, group in asked.items() if _spreads(source, group) and _differs(known, key)}
        if not unlike:
            return False
        left = self._discovery.after(_PAUSE) - self._session.clock()
        await self._session.asking.pause(min(_SPREADING, left))
        await self._ask(known, unlike)
        before = dict(_of_ring(known))
        return None in before.values() or await self._present(source) not in (None, before)

    async def _present(self, source: MemberReport) -> Mapping[str, Replication | None] | None:
        """The keyspaces of a node, now; None if it can't be asked."""
        until = self._discovery.after(_SHARE)
        with suppress(SourceError, DataError):
            configured = self._session.configured.replication
            return await RingReader(source.agent, source.report, configured, until).keyspaces()
        return None

    def _groups(self, known: KnownCluster) -> Mapping[SchemaKey, Sequence[MemberReport]]:
        """The members that serve clients, by schema version; without that of the source of the ring."""
        groups: dict[SchemaKey, list[MemberReport]] = defaultdict(list)
        for item in self._discovery.member_reports(known.membership):
            if settled(item.report, owns=item.member.owns):
                groups[schema_key(item.report)].append(item)
        known.schema_nodes = {key: tuple(item.member.address for item in group) for key, group in groups.items()}
        groups.pop(known.schema_key, None)
        return groups

    async def _ask(self, known: KnownCluster, groups: Mapping[SchemaKey, Sequence[MemberReport]]) -> None:
        """Ask a node of each group at once; a group of which no node answers has a reason instead of keyspaces."""
        until = self._discovery.after(_SHARE)
        started: dict[SchemaKey, Started[AskedSchema]] = {}
        for key, group in groups.items():
            able = [item for item in group if not self._is_busy(item)][:_TRIED]
            work = self._session.asking.start(self._first_answer(known, able, until))
            started[key] = work
            self._session.busy |= {item.agent: work for item in able}
        if started:
            await self._session.asking.wait(started.values(), max(0.0, until - self._session.clock()))
        late = AskedSchema(at=self._session.clock(), reason="no answer in time")
        known.schemas |= {key: work.result() if work.done() else late for key, work in started.items()}

    def _is_busy(self, item: MemberReport) -> bool:
        earlier = self._session.busy.get(item.agent)
        return bool(earlier and not earlier.done())

    async def _first_answer(self, known: KnownCluster, group: Sequence[MemberReport], until: float) -> AskedSchema:
        """The keyspaces by the first node that reports them and still has the schema version of the group.

        If all have another version by then, those of the last one stand until the next poll.
        """
        failure: RingcheckError | None = None
        changed: AskedSchema | None = None
        clock = self._session.clock
        for member, agent, report in group:
            now = clock()
            deadline = until if agent is group[-1].agent else now + (until - now) * _SHARE_OF_ONE
            reader = RingReader(agent, report, {}, deadline)
            try:
                keyspaces = tuple(await _keyspaces(known, reader))
                if await _still_has(agent, report.schema_version, deadline):
                    return AskedSchema(at=clock(), asked=member.address, keyspaces=keyspaces)
                changed = AskedSchema(at=-inf, asked=member.address, keyspaces=keyspaces)
            except (SourceError, DataError) as error:
                failure = failure or error
        return changed or AskedSchema(at=clock(), reason=str(failure or "no answer in time"))


async def _keyspaces(known: KnownCluster, reader: RingReader) -> list[KeyspaceReport]:
    """The keyspaces of a node, compared with the ring by their ranges if a replication is not reported.

    Raises:
        SourceError: if the node can't be asked or forbids it.
        DataError: if its answer can't be used.
    """
    ring_of = {name: ring for ring in known.topology.rings for name in ring.keyspaces}
    reports = []
    for name, replication in sorted((await reader.keyspaces()).items()):
        ring, same = ring_of.get(name), None
        if ring and (replication is None or ring.replication is None):
            same = await reader.has_ranges_of(ring, name, known.membership.roster)
        text = str(replication) if replication else None
        reports.append(KeyspaceReport(name=name, replication=text, same_ranges=same))
    return reports


async def _still_has(agent: JolokiaEndpoint, version: str | None, deadline: float) -> bool:
    """Whether a node's schema version is unchanged; true if it does not report it."""
    if version is None:
        return True
    name = "SchemaVersion"
    reported: object = (await agent.ask(mbeans.read(mbeans.STORAGE_SERVICE, name), deadline)).get(name)
    return reported == version


def source_report(known: KnownCluster, reports: Iterable[MemberReport]) -> MemberReport | None:
    """The report of the node from which the ring was read."""
    return next((item for item in reports if item.agent is known.source), None)


def same_schema(known: KnownCluster, reports: Iterable[MemberReport]) -> bool:
    """Whether the node from which the ring was read has the schema version of that time, as far as is known."""
    source = source_report(known, reports)
    return source is None or schema_key(source.report) == known.schema_key


def still_known(before: KnownCluster | None, now: KnownCluster) -> dict[SchemaKey, AskedSchema]:
    """What was reported after an earlier reading of the same rings: a schema version stands for its keyspaces."""
    if before is None or (before.schema_key, before.topology.rings) != (now.schema_key, now.topology.rings):
        return {}
    return {key: asked for key, asked in before.schemas.items() if key[0] and asked.asked}


def schema_key(report: NodeReport) -> SchemaKey:
    """What nodes with the same schema have in common; if they hide the version, those of one release count as such."""
    return (report.schema_version, None) if report.schema_version else (None, report.release)


def _due(asked: AskedSchema | None, now: float) -> bool:
    return asked is None or now - asked.at > (_AGAIN if asked.asked is None else _OLDEST)


def _spreads(source: MemberReport, group: Sequence[MemberReport]) -> bool:
    """Whether a change of the schema surely reaches one of these nodes: it may not cross major releases."""
    majors = {mbeans.release(item.report.release)[0] for item in group}
    return mbeans.release(source.report.release)[0] in majors


def _differs(known: KnownCluster, key: SchemaKey) -> bool:
    return bool(differing([_own(known), _report(known, key)]))


def schemas(known: KnownCluster) -> tuple[SchemaReport, ...]:
    """The keyspaces by schema version, as a snapshot has them; empty if all nodes have the version of the ring."""
    others = sorted(known.schema_nodes.keys() - {known.schema_key}, key=lambda key: known.schema_nodes[key])
    return (_own(known), *(_report(known, key) for key in others)) if others else ()


def _own(known: KnownCluster) -> SchemaReport:
    """The keyspaces of the ring."""
    nodes = tuple(sorted(known.schema_nodes.get(known.schema_key, ())))
    return SchemaReport(
        version=known.schema_key[0],
        nodes=nodes,
        asked=next((address for address, agent in known.membership.agents.items() if agent is known.source), None),
        of_ring=True,
        keyspaces=tuple(
            KeyspaceReport(name=name, replication=str(replication) if replication else None, same_ranges=True)
            for name, replication in sorted(_of_ring(known))
        ),
    )


def _of_ring(known: KnownCluster) -> Iterator[tuple[str, Replication | None]]:
    """The keyspaces of the ring, with those whose ring could not be read."""
    for ring in known.topology.rings:
        yield from ((name, ring.replication) for name in ring.keyspaces)
    read = {name for ring in known.topology.rings for name in ring.keyspaces}
    problems = known.topology.problems
    unread = {problem.subject for problem in problems if problem.code == "ring_unreadable"}
    yield from ((name, None) for name in unread - read)


def _report(known: KnownCluster, key: SchemaKey) -> SchemaReport:
    """The keyspaces of another schema version."""
    asked = known.schemas.get(key) or AskedSchema(at=0.0, reason="not asked yet")
    return SchemaReport(
        version=key[0],
        nodes=tuple(sorted(known.schema_nodes[key])),
        asked=asked.asked,
        reason=asked.reason,
        keyspaces=asked.keyspaces,
    )
