"""Reads the ring from one settled node: keyspaces, replication, ranges, datacenters and racks.

Owns which requests that takes and in which order; does not know views. Each distinct replication is read once, for all
keyspaces that have it. A keyspace that can't be read is a problem that names it; the other keyspaces are still read.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ringcheck.core.consistency import LOCAL_STRATEGY, META_STRATEGY, expected
from ringcheck.core.ring import Problem, Replication, Ring, partitioner
from ringcheck.errors import DataError, DeniedError, RingError, SourceError
from ringcheck.jolokia import endpoints, mbeans, outcomes, rangemaps
from ringcheck.jolokia.membership import listed_members
from ringcheck.jolokia.outcomes import Outcome
from ringcheck.jolokia.own_settings import location_name
from ringcheck.jolokia.rangemaps import NodeIndexes
from ringcheck.jolokia.topology import NOWHERE, Location, Topology, sharing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ringcheck.core.membership import Member, Roster
    from ringcheck.core.ring import Pending
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.node_report import NodeReport

# Releases before 3.0.6 name all keyspaces. These are the ones with LocalStrategy; users can't make more of them
# (`cql3/statements/KSPropDefs`: "LocalStrategy is reserved for internal use").
_LOCAL_KEYSPACES = frozenset({"system", "system_schema"})
# Replicas of these are not placed by token: each node has its own replica, or the members of the metadata service have
# one (6.0+); every node reports these members in each poll.
_NOT_PLACED = frozenset({LOCAL_STRATEGY, META_STRATEGY})
# Values in one reply with pending ranges. A node of 256 tokens that joins gains 768 ranges at RF 3, each with four of
# the bytes that are counted: this is enough for three such nodes and 100 keyspaces, each with its own replication.
_PENDING_VALUES = 2**20
_STRANGERS = 64  # members that the node does not list and is asked to locate, at most
_TRIES = 3  # keyspaces of one replication: the first may have been dropped meanwhile


class RingReader:
    """Reads the ring from one node. The node must be settled, since its snitch is asked (`mbeans.locations`)."""

    def __init__(
        self, agent: JolokiaEndpoint, report: NodeReport, replication: Mapping[str, Replication], deadline: float
    ) -> None:
        """Prepare; nothing is asked.

        Args:
            agent: of the node.
            report: of the node, from this poll.
            replication: by keyspace, as configured, for releases that do not report it.
            deadline: clock time at which everything must be read.

        Attributes:
            schema_version: of the node, as it was after the ring was read.
        """
        self.schema_version = report.schema_version
        self._agent = agent
        self._report = report
        self._release = mbeans.release(report.release)
        self._replication = replication
        self._deadline = deadline
        self._members: tuple[Member, ...] = ()
        self._roster: Roster
        self._endpoint_of: Mapping[str, str] = {}  # by host id, as the node itself knows it
        self._indexes: NodeIndexes
        self._problems: list[Problem] = []
        self._consistent = True

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read so far."""
        return tuple(self._problems)

    async def token_counts(self) -> Counter[str]:
        """Number of tokens by endpoint, those of joining nodes included.

        Raises:
            SourceError: if the node can't be asked or forbids it.
            DataError: if its answer can't be used.
        """
        name = mbeans.TOKENS_WITH_PORT if self._report.with_port else mbeans.TOKENS
        request = mbeans.read(mbeans.STORAGE_SERVICE, name)
        counts: Counter[str] = await self._agent.stream(request, self._deadline, rangemaps.token_counts)
        return counts

    async def topology(self, roster: Roster, token_counts: Counter[str]) -> Topology:
        """The whole ring.

        Args:
            roster: the members; the rings index into them.
            token_counts: as the method of that name returns them.

        Raises:
            SourceError: if the node can't be asked or forbids what is needed.
            DataError: if its partitioner is not supported, its list of keyspaces can't be used, or the endpoints of
                members changed meanwhile.
        """
        self._bind(roster)
        space = partitioner(self._report.partitioner or "unknown")
        keyspaces, locations = await self._basics()
        rings, counts = await self._consistent_rings(keyspaces, locations, token_counts)
        rings = await self._with_pending(sharing(rings))
        self._check_joining(locations)
        return Topology(
            partitioner=space.name,
            locations=locations,
            tokens=self._tokens(counts),
            rings=tuple(rings),
            problems=tuple(dict.fromkeys(self._problems)),
            consistent=self._consistent,
        )

    async def with_pending(self, rings: Sequence[Ring], roster: Roster) -> list[Ring]:
        """Rings with the present pending ranges; a ring whose pending ranges are unchanged is the same object.

        Raises:
            SourceError: if the node can't be asked.
            DataError: if its answer can't be used, or the endpoints of members changed meanwhile.
        """
        self._bind(roster)
        return await self._with_pending(rings)

    def _bind(self, roster: Roster) -> None:
        """Set the members that the node indexes of rings refer to."""
        self._roster = roster
        self._members = roster.members
        self._indexes = NodeIndexes(partial(_index_of, roster, self._agent))
        self._endpoint_of = {host_id: endpoint for endpoint, host_id in (self._agent.host_ids or {}).items()}

    # Keyspaces and locations.

    async def _basics(self) -> tuple[list[str], dict[str, Location]]:
        """Keyspaces and locations: one request in a small cluster."""
        located = self._locatable()
        targets = mbeans.locations(map(self._target, located))
        requests = [mbeans.read(mbeans.STORAGE_SERVICE, self._list_of_keyspaces), *targets]
        names, *answers = await self._agent.bulk(requests, self._deadline)
        return await self._names(names), self._locations(located, answers)

    @property
    def _list_of_keyspaces(self) -> str:
        return mbeans.SHARED_KEYSPACES if self._release >= mbeans.SHARED else mbeans.KEYSPACES

    async def _names(self, names: Outcome) -> list[str]:
        """Names of keyspaces, from the outcome of that attribute."""
        attribute = self._list_of_keyspaces
        if attribute == mbeans.SHARED_KEYSPACES and names.status == outcomes.NOT_FOUND:  # 3.1 to 3.5
            names = await self._agent.ask(mbeans.read(mbeans.STORAGE_SERVICE, mbeans.KEYSPACES), self._deadline)
        return sorted(set(outcomes.strings(names.get(attribute), attribute)) - _LOCAL_KEYSPACES)

    async def keyspaces(self) -> dict[str, Replication | None]:
        """The replication, as in `Ring`, of each keyspace whose replicas are placed by token.

        Raises:
            SourceError: if the node can't be asked or forbids it.
            DataError: if its list of keyspaces can't be used.
        """
        listed = await self._agent.ask(mbeans.read(mbeans.STORAGE_SERVICE, self._list_of_keyspaces), self._deadline)
        names = await self._names(listed)
        replications = zip(names, await self._replications(names), strict=True)
        return {name: found for name, found in replications if found is None or found.strategy not in _NOT_PLACED}

    async def has_ranges_of(self, ring: Ring, keyspace: str, roster: Roster) -> bool:
        """Whether the ranges of a keyspace have the same replicas as those of a ring of these members.

        Raises:
            SourceError: if the node can't be asked or forbids it.
            DataError: if its answer can't be used.
        """
        self._bind(roster)
        own = await self._ring(None, keyspace, [keyspace])
        return own.tokens == ring.tokens and all(map(set.__eq__, map(set, own.rows()), map(set, ring.rows())))

    def _locatable(self) -> list[Member]:
        """The members that the node is asked to locate: those that it lists, and a few others.

        Some snitches know a location for every address. But another node may have named thousands that do not exist.
        """
        listed = listed_members(self._report, self._agent, self._roster)
        strangers = [index for index in range(len(self._members)) if index not in listed]
        kept = listed.union(strangers[:_STRANGERS])
        return [member for index, member in enumerate(self._members) if index in kept]

    def _locations(self, located: Sequence[Member], answers: Sequence[Outcome]) -> dict[str, Location]:
        """Location by member address, from the answers to `mbeans.locations`."""
        pairs = zip(answers[::2], answers[1::2], strict=True)
        locations = dict.fromkeys((member.address for member in self._members), NOWHERE)
        return locations | {
            member.address: (_snitch_name(datacenter), _snitch_name(rack))
            for member, (datacenter, rack) in zip(located, pairs, strict=True)
        }

    def _check_joining(self, locations: Mapping[str, Location]) -> None:
        """Add a problem for each joining node of unknown datacenter.

        Its datacenter decides which writes wait for it. It owns no tokens yet, so that no other check would miss it.
        """
        for address in sorted(self._joining):
            if locations.get(address, NOWHERE)[0] is None:
                text = f"the datacenter of {address}, which is joining, is not known"
                self._problems.append(Problem("unknown_datacenter", address, text))

    def _target(self, member: Member) -> str:
        """The text by which the node's snitch finds a member: the endpoint under which the node knows it."""
        return mbeans.snitch_target(self._endpoint_of.get(member.host_id or "", member.endpoint), self._release)

    # Tokens.

    def _by_address(self, token_counts: Counter[str]) -> Counter[str]:
        """Number of tokens by member address; an endpoint that is not a member's stays as it is."""
        counts: Counter[str] = Counter()
        for endpoint, count in token_counts.items():
            index = self._roster.index_of(endpoint, self._agent.host_ids)
            counts[endpoint if index is None else self._members[index].address] += count
        return counts

    @property
    def _joining(self) -> frozenset[str]:
        """Addresses of the members that the node sees joining."""
        indexes = (self._roster.index_of(endpoint, self._agent.host_ids) for endpoint in self._report.joining)
        return frozenset(self._members[index].address for index in indexes if index is not None)

    def _tokens(self, counts: Counter[str]) -> dict[str, int | None]:
        """Number of tokens owned by member address: 0 while a member joins, None if unknown.

        A node that replaces a dead one is listed with the dead one's tokens (`TokenMetadata.addReplaceTokens`). So a
        member without tokens may be a replaced one while a node joins. A member may also own tokens that this node
        does not know, unless every testimony denies it.
        """
        joining = self._joining
        unsure = None if joining else 0
        return {
            member.address: 0
            if member.address in joining
            else counts[member.address] or (unsure if member.owns is False else None)
            for member in self._members
        }

    # Rings.

    async def _consistent_rings(
        self, keyspaces: Sequence[str], locations: Mapping[str, Location], token_counts: Counter[str]
    ) -> tuple[list[Ring], Counter[str]]:
        """Rings, and the number of tokens by member address.

        Tokens, replication and ranges are answers to three requests: an ALTER KEYSPACE or a node that has just joined
        may come between them. Rings that do not match are read a second time. A contradiction that stays is for the
        core to judge; only a ring with another number of ranges than there are tokens is left out.
        """
        counts = self._by_address(token_counts)
        rings = await self._rings(await self._groups(keyspaces))
        if not all(self._matches(ring, counts, locations) for ring in rings):
            counts = self._by_address(await self.token_counts())
            sorts: dict[bool, list[Ring]] = {True: [], False: []}
            for ring in rings:
                sorts[self._matches(ring, counts, locations)].append(ring)
            again = await self._rings(await self._groups([name for ring in sorts[False] for name in ring.keyspaces]))
            self._consistent = all(self._matches(ring, counts, locations) for ring in again)
            rings = [*sorts[True], *again]
        return [ring for ring in rings if self._has_all_ranges(ring, counts)], counts

    def _matches(self, ring: Ring, counts: Counter[str], locations: Mapping[str, Location]) -> bool:
        """Whether a ring has a range for each token, and each range has the replicas of its replication."""
        return self._missing_ranges(ring, counts) is None and self._has_replicas(ring, counts, locations)

    def _has_replicas(self, ring: Ring, counts: Counter[str], locations: Mapping[str, Location]) -> bool:
        datacenters = [locations.get(member.address, NOWHERE)[0] or "" for member in self._members]
        wanted = expected(ring.replication, Counter(itertools.compress(datacenters, self._owning(counts))))
        # A hundred thousand ranges have some dozen combinations of datacenters. The filler's index is the last.
        columns = [map([*datacenters, None].__getitem__, ring.table)] * ring.width
        combinations = set(zip(*columns, strict=True)) or {()}
        return wanted is None or all(_counted(combination, wanted) == wanted for combination in combinations)

    def _owning(self, counts: Counter[str]) -> list[bool]:
        """Which members own tokens, as `Evidence.owners` counts them."""
        tokens = self._tokens(counts).items()
        return [bool(number) or (number is None and address not in self._joining) for address, number in tokens]

    def _has_all_ranges(self, ring: Ring, counts: Counter[str]) -> bool:
        """Whether a ring has a range for every token; adds a problem if not."""
        missing = self._missing_ranges(ring, counts)
        if missing:
            self._add_problem(ring.keyspaces, f"can't be read: {missing}")
        return not missing

    def _missing_ranges(self, ring: Ring, counts: Counter[str]) -> str | None:
        """What is wrong with the number of ranges; None if there is one for every owned token.

        A node that has just started can have fewer.
        """
        most = counts.total()
        owned = most - sum(counts[address] for address in self._joining)
        return None if owned <= len(ring) <= most else f"it has {len(ring)} ranges, but its nodes own {owned} tokens"

    async def _groups(self, keyspaces: Sequence[str]) -> list[tuple[Replication | None, list[str]]]:
        """Keyspaces by replication; a keyspace of unknown replication is a group of its own."""
        groups: dict[Replication, list[str]] = defaultdict(list)
        alone: list[tuple[Replication | None, list[str]]] = []
        for keyspace, replication in zip(keyspaces, await self._replications(keyspaces), strict=True):
            if replication is None:
                alone.append((None, [keyspace]))
            elif replication.strategy not in _NOT_PLACED:
                groups[replication].append(keyspace)
        return [*groups.items(), *alone]

    async def _replications(self, keyspaces: Sequence[str]) -> list[Replication | None]:
        """Replication of each keyspace as Cassandra reports it (3.11.11+), else as configured, else None."""
        answers: Sequence[Outcome] = [Outcome(status=outcomes.NOT_FOUND)] * len(keyspaces)
        if self._release >= mbeans.REPLICATION_INFO:
            requests = [mbeans.run(mbeans.STORAGE_SERVICE, mbeans.REPLICATION, keyspace) for keyspace in keyspaces]
            answers = await self._agent.bulk(requests, self._deadline)
        return [
            self._parsed(keyspace, outcome) if outcome.status == outcomes.OK else self._replication.get(keyspace)
            for keyspace, outcome in zip(keyspaces, answers, strict=True)
        ]

    def _parsed(self, keyspace: str, outcome: Outcome) -> Replication | None:
        try:
            return Replication.parse(outcomes.text(outcome.value, "the replication"))
        except DataError as error:
            self._add_problem([keyspace], f"can't be judged: {error}")
            return None

    async def _rings(self, groups: Iterable[tuple[Replication | None, list[str]]]) -> list[Ring]:
        """The rings of groups of keyspaces; adds a problem for a group that can't be read."""
        return [ring for group in groups for ring in await self._first_ring(*group)]

    async def _first_ring(self, replication: Replication | None, keyspaces: list[str]) -> list[Ring]:
        """The ring of a group of keyspaces, read from the first keyspace that can be read; empty if none can."""
        failure: DataError | SourceError | None = None
        for keyspace in keyspaces[:_TRIES]:
            try:
                return [await self._ring(replication, keyspace, keyspaces)]
            except DeniedError:
                raise
            except (DataError, SourceError) as error:
                failure = failure or error
        self._add_problem(keyspaces, f"can't be read: {failure}")
        return []

    async def _ring(self, replication: Replication | None, keyspace: str, group: list[str]) -> Ring:
        """The ring of a keyspace, for its whole group.

        Raises:
            RingError: if it does not tile the ring, or a token is outside the partitioner's range.
            DataError: if the answer can't be used.
            SourceError: if the node can't be asked.
        """
        name = mbeans.RANGES_WITH_PORT if self._report.with_port else mbeans.RANGES
        request = mbeans.run(mbeans.STORAGE_SERVICE, name, keyspace)
        read = partial(rangemaps.range_rows, indexes=self._indexes, nodes=len(self._members))
        ring = Ring.of(group, replication, await self._agent.stream(request, self._deadline, read))
        space = partitioner(self._report.partitioner or "unknown")
        if not space.admits(ring.tokens[0]) or not space.admits(ring.tokens[-1]):  # they are sorted
            raise RingError(f"it has tokens outside the range of {space.name}")
        return ring

    # Pending ranges.

    async def _with_pending(self, rings: Sequence[Ring]) -> list[Ring]:
        name = mbeans.PENDING_WITH_PORT if self._report.with_port else mbeans.PENDING
        requests: list[Request] = [mbeans.run(mbeans.STORAGE_SERVICE, name, ring.keyspaces[0]) for ring in rings]
        ids = mbeans.HOST_IDS_WITH_PORT if self._report.with_port else mbeans.HOST_IDS
        requests += mbeans.reads([ids, "SchemaVersion"])
        *pending, host_ids, version = await self._agent.bulk(requests, self._deadline, values=_PENDING_VALUES)
        self._check_endpoints(endpoints.host_ids(host_ids.get(ids), ids))
        if self.schema_version and isinstance(version.value, str):
            self.schema_version = version.value
        return [self._with_its_pending(ring, outcome) for ring, outcome in zip(rings, pending, strict=True)]

    def _check_endpoints(self, host_ids: Mapping[str, str]) -> None:
        """Check that every endpoint means the same node as when the reading began.

        Ranges name nodes by endpoint. If nodes swap their addresses, an endpoint means another node from one request
        to the next. An endpoint that the node learns or forgets meanwhile does no harm: it means no other node.

        Raises:
            DataError: if an endpoint has changed its meaning; the next reading begins with the new one.
        """
        before = self._agent.host_ids or {}
        endpoint_of = {host_id: endpoint for endpoint, host_id in before.items()}
        if any(
            before.get(endpoint, host_id) != host_id or endpoint_of.get(host_id, endpoint) != endpoint
            for endpoint, host_id in host_ids.items()
        ):
            self._agent.host_ids = host_ids
            raise DataError("the endpoints of members changed while the ring was read")

    def _with_its_pending(self, ring: Ring, outcome: Outcome) -> Ring:
        """A ring with the pending ranges of an outcome; adds a problem if they can't be read."""
        what, space = "pending ranges", partitioner(self._report.partitioner or "unknown")
        try:
            pending: tuple[Pending, ...] = rangemaps.pending(outcome.get(what), self._indexes, what)
            if not all(space.admits(token) for gained in pending for token in (gained.start, gained.end)):
                raise RingError(f"{what} have tokens outside the range of {space.name}")
        except (DataError, SourceError) as error:
            self._add_problem(ring.keyspaces, f"can't be read: {error}")
            return ring
        return ring if pending == ring.pending else replace(ring, pending=pending)

    def _add_problem(self, keyspaces: Iterable[str], text: str) -> None:
        self._problems += [
            Problem("ring_unreadable", keyspace, f"{keyspace}: the ring {text}") for keyspace in keyspaces
        ]


def _counted(datacenters: Iterable[str | None], wanted: Mapping[str | None, int]) -> dict[str | None, int]:
    """Replicas by datacenter, or all of them under None if `wanted` counts them so."""
    counts = dict.fromkeys(wanted, 0)
    for datacenter in datacenters:
        if datacenter is not None:
            key = None if None in wanted else datacenter
            counts[key] = counts.get(key, 0) + 1
    return counts


def _snitch_name(outcome: Outcome) -> str | None:
    """A datacenter or rack; None if the snitch does not know it, or if the name, which its node chose, is too long.

    Raises:
        SourceError: if the agent's policy forbids the question.
    """
    if outcome.status == outcomes.FORBIDDEN:
        outcome.get("the snitch")
    return location_name(outcome.value)


def _index_of(roster: Roster, agent: JolokiaEndpoint, endpoint: str) -> int:
    index = roster.index_of(endpoint, agent.host_ids)
    if index is None:
        raise DataError(f"{endpoint} holds ranges but is not a member")
    return index
