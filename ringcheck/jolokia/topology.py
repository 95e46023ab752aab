"""The ring as one settled node tells it: keyspaces, replication, ranges, datacenters.

Owns which questions that takes and in which order; knows nothing of views. Each distinct replication is read once,
however many keyspaces share it. A keyspace that can't be read is a problem that names it; the others go on.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.consistency import expected
from ringcheck.core.endpoint import ip_of
from ringcheck.core.ring import Problem, Replication, Ring, partitioner
from ringcheck.errors import DataError, DeniedError, RingError, SourceError
from ringcheck.http.replies import LONGEST_TEXT, printable
from ringcheck.jolokia import endpoints, mbeans, outcomes, rangemaps
from ringcheck.jolokia.outcomes import Outcome
from ringcheck.jolokia.rangemaps import Places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ringcheck.core.membership import Member, Roster
    from ringcheck.core.ring import Pending
    from ringcheck.jolokia.endpoint import JolokiaEndpoint
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.node_report import NodeReport

Location: TypeAlias = "tuple[str | None, str | None]"  # datacenter, rack

NOWHERE: Location = (None, None)

# Releases before 3.0.6 name all keyspaces. These are the ones with LocalStrategy; users can't make more of them
# (`cql3/statements/KSPropDefs`: "LocalStrategy is reserved for internal use").
_LOCAL_KEYSPACES = frozenset({"system", "system_schema"})
# Replicas of these are not placed by token: each node's own, and trunk's members of the metadata service.
_NOT_PLACED = frozenset({"LocalStrategy", "MetaStrategy"})
_UNKNOWN = frozenset({"UNKNOWN_DC", "UNKNOWN_RACK"})  # GossipingPropertyFileSnitch, of a node it never heard of
_LARGE = 20_000  # ranges: some 3 MB
_TRIES = 3  # keyspaces of one replication: the first may have been dropped meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What one node told of the ring.

    Attributes:
        partitioner: simple class name.
        places: datacenter and rack by node name.
        tokens: number of tokens by node name.
        rings: one a distinct replication.
        authenticates: whether clients must log in; None if unknown.
        problems: what could not be read.
        auth_read_level: consistency level at which logins read system_auth, as the node reports it; None if unknown.
        fitting: whether the ranges fit the tokens and the replication.
    """

    partitioner: str
    places: Mapping[str, Location]
    tokens: Mapping[str, int | None]
    rings: tuple[Ring, ...]
    authenticates: bool | None
    problems: tuple[Problem, ...] = ()
    auth_read_level: str | None = None
    fitting: bool = True

    @property
    def whole(self) -> bool:
        """Whether all of it could be read, and nothing of it contradicts the rest."""
        return self.fitting and not self.problems and all(datacenter for datacenter, _ in self.places.values())

    @property
    def large(self) -> bool:
        """Whether reading it is a load that a cluster feels."""
        return sum(map(len, self.rings)) > _LARGE

    @property
    def movable(self) -> bool:
        """Whether a node may move, which only one with a single token can: over between two polls it leaves no sign."""
        return 1 in self.tokens.values()

    def keeping(self, before: Topology) -> Topology:
        """The same, with the very rings of before that say the same of the same nodes: what is derived from them stays.

        A restart makes the ring be read again and seldom changes it; a second copy of a large one and of what was
        derived from it would stay in the heap for good.
        """
        if list(self.places.items()) != list(before.places.items()):
            return self
        old = {ring.keyspaces: ring for ring in before.rings}
        kept = [old[ring.keyspaces] if old.get(ring.keyspaces) == ring else ring for ring in self.rings]
        return replace(self, rings=tuple(kept))


class Survey:
    """Asks one settled node for the ring; nobody else may be asked its snitch (`mbeans.locations`)."""

    def __init__(
        self, agent: JolokiaEndpoint, reading: NodeReport, replication: Mapping[str, Replication], deadline: float
    ) -> None:
        """Prepare.

        Args:
            agent: of the node.
            reading: what it said of itself.
            replication: by keyspace, for releases that can't tell.
            deadline: when all must be over.
        """
        self._agent = agent
        self._reading = reading
        self._release = mbeans.release(reading.release)
        self._replication = replication
        self._deadline = deadline
        self._members: tuple[Member, ...] = ()
        self._roster: Roster
        self._endpoint_of: Mapping[str, str] = {}  # by host id, as the node itself knows it
        self._places = Places(self._index_of)
        self._problems: list[Problem] = []
        self._fitting = True

    async def token_counts(self) -> Counter[str]:
        """How many tokens each endpoint has, those of joining nodes included.

        Raises:
            SourceError: if the node can't be asked or forbids it.
            DataError: if the answer is none.
        """
        name = mbeans.TOKENS_WITH_PORT if self._reading.with_port else mbeans.TOKENS
        request = mbeans.read(mbeans.STORAGE_SERVICE, name)
        found: Counter[str] = await self._agent.stream(request, self._deadline, rangemaps.token_counts)
        return found

    async def topology(self, roster: Roster, token_counts: Counter[str]) -> Topology:
        """All of it.

        Args:
            roster: the members; rings index into them.
            token_counts: as the method of that name has them.

        Raises:
            SourceError: if the node can't be asked or forbids what is needed.
            DataError: if its partitioner is not supported, it does not say which keyspaces there are, or the endpoints
                of members changed meanwhile.
        """
        self._use(roster)
        space = partitioner(self._reading.partitioner or "unknown")
        names, logins, places = await self._basics()
        found, counts = await self._consistent(names, places, token_counts)
        rings = tuple(await self._with_pending(self._shared(found)))
        self._check_joining(places)
        tokens, problems = self._tokens(counts), tuple(dict.fromkeys(self._problems))
        return Topology(
            partitioner=space.name,
            places=places,
            tokens=tokens,
            rings=rings,
            authenticates=self._authenticates(logins),
            problems=problems,
            auth_read_level=_read_level(logins),
            fitting=self._fitting,
        )

    def _use(self, roster: Roster) -> None:
        self._roster = roster
        self._members = roster.members
        self._endpoint_of = {host_id: endpoint for endpoint, host_id in (self._agent.host_ids or {}).items()}

    def _index_of(self, endpoint: str) -> int:
        found = self._roster.index_of(endpoint, self._agent.host_ids)
        if found is None:
            raise DataError(f"{endpoint} holds ranges but is no member")
        return found

    async def _basics(self) -> tuple[list[str], dict[str, Outcome], dict[str, Location]]:
        """Keyspaces, what shows logins by MBean, and where the nodes are: one request on a small cluster."""
        shared = self._release >= mbeans.SHARED
        keyspaces = mbeans.SHARED_KEYSPACES if shared else mbeans.KEYSPACES
        beans = {mbean: name for mbean, name, since in mbeans.LOGINS if self._release >= since}
        asked = [mbeans.read(mbeans.STORAGE_SERVICE, keyspaces), *itertools.starmap(mbeans.read, beans.items())]
        targets = [self._target(member) for member in self._members]
        names, *found = await self._agent.bulk([*asked, *mbeans.locations(targets)], self._deadline)
        logins, where = dict(zip(beans, found, strict=False)), found[len(beans) :]
        if shared and names.status == outcomes.NOT_FOUND:  # 3.1 to 3.5
            names = await self._agent.ask(mbeans.read(mbeans.STORAGE_SERVICE, mbeans.KEYSPACES), self._deadline)
        places = zip(where[::2], where[1::2], strict=True)
        return (
            sorted(set(outcomes.strings(names.get(keyspaces), keyspaces)) - _LOCAL_KEYSPACES),
            logins,
            {
                member.address: (_place(datacenter), _place(rack))
                for member, (datacenter, rack) in zip(self._members, places, strict=True)
            },
        )

    def _authenticates(self, logins: Mapping[str, Outcome]) -> bool:
        """Whether clients must log in; yes where that can't be told, by an old release or through an access policy."""
        return self._release < mbeans.CREDENTIALS or not all(map(outcomes.is_missing_mbean, logins.values()))

    def _check_joining(self, places: Mapping[str, Location]) -> None:
        """A joining node's datacenter decides whose writes wait for it; without tokens nobody else would miss it."""
        for name in sorted(self._joining):
            if places.get(name, NOWHERE)[0] is None:
                text = f"the datacenter of {name}, which is joining, is not known"
                self._problems.append(Problem("unknown_datacenter", name, text))

    def _target(self, member: Member) -> str:
        """How the node's snitch wants a member named.

        By the endpoint under which the node knows it; `ip:port` is an error before 4.0, and needed where nodes share
        an address.
        """
        here = self._endpoint_of.get(member.host_id or "", member.endpoint)
        return here if self._release >= mbeans.WITH_PORT else ip_of(here)

    def _by_address(self, token_counts: Counter[str]) -> Counter[str]:
        """Tokens by address of the members; an endpoint that is none stays as it is."""
        named = type(token_counts)()
        for endpoint, count in token_counts.items():
            index = self._roster.index_of(endpoint, self._agent.host_ids)
            named[endpoint if index is None else self._members[index].address] += count
        return named

    @property
    def _joining(self) -> frozenset[str]:
        found = (self._roster.index_of(endpoint, self._agent.host_ids) for endpoint in self._reading.joining)
        return frozenset(self._members[index].address for index in found if index is not None)

    def _tokens(self, counts: Counter[str]) -> dict[str, int | None]:
        """Tokens owned: none while joining, unknown while a joining node may be shown with those of another.

        A node that replaces a dead one is listed with the dead one's tokens (`TokenMetadata.addReplaceTokens`). One
        of which no node says that it owns none may own tokens that this node does not know.
        """
        joining = self._joining
        unsure = None if joining else 0
        return {
            member.address: 0
            if member.address in joining
            else counts[member.address] or (unsure if member.owns is False else None)
            for member in self._members
        }

    async def _consistent(
        self, keyspaces: Sequence[str], places: Mapping[str, Location], token_counts: Counter[str]
    ) -> tuple[list[Ring], Counter[str]]:
        """Rings, and the tokens that each node has.

        Tokens, replication and ranges are answers to three requests: an ALTER KEYSPACE or a node that has just joined
        may lie between them. What does not fit together is read once more, and accepted as it then is: a contradiction
        that stays is for the core to judge, but for a ring that has not as many ranges as there are tokens.
        """
        counts = self._by_address(token_counts)
        rings = await self._rings(await self._groups(keyspaces))
        if not all(self._fits(ring, counts, places) for ring in rings):
            counts = self._by_address(await self.token_counts())
            fit = [ring for ring in rings if self._fits(ring, counts, places)]
            stale = [name for ring in rings if ring not in fit for name in ring.keyspaces]
            again = await self._rings(await self._groups(stale))
            self._fitting = all(self._fits(ring, counts, places) for ring in again)
            rings = [*fit, *again]
        return [ring for ring in rings if self._is_whole(ring, counts)], counts

    def _fits(self, ring: Ring, counts: Counter[str], places: Mapping[str, Location]) -> bool:
        """Whether a ring has the ranges that the tokens make, and each the replicas that its replication asks for."""
        return self._missing_ranges(ring, counts) is None and self._has_replicas(ring, counts, places)

    def _has_replicas(self, ring: Ring, counts: Counter[str], places: Mapping[str, Location]) -> bool:
        homes = [places.get(member.address, NOWHERE)[0] or "" for member in self._members]
        wanted = expected(ring.replication, Counter(itertools.compress(homes, self._owning(counts))))
        # Of a hundred thousand ranges there are some dozen kinds. The filler's index is behind the members'.
        kinds = set(zip(*[map([*homes, None].__getitem__, ring.table)] * ring.width, strict=True)) or {()}
        return wanted is None or all(_counted(kind, wanted) == wanted for kind in kinds)

    def _owning(self, counts: Counter[str]) -> list[bool]:
        """Which members own tokens, as `Evidence.owners` counts them."""
        tokens = self._tokens(counts).items()
        return [bool(number) or (number is None and name not in self._joining) for name, number in tokens]

    def _is_whole(self, ring: Ring, counts: Counter[str]) -> bool:
        """Whether a ring has a range for every token; if not, that is a problem."""
        missing = self._missing_ranges(ring, counts)
        if missing:
            self._report(ring.keyspaces, f"can't be read: {missing}")
        return not missing

    async def _groups(self, keyspaces: Sequence[str]) -> list[tuple[Replication | None, list[str]]]:
        """Keyspaces by replication; those of which nobody knows it alone."""
        grouped: dict[Replication, list[str]] = defaultdict(list)
        alone: list[tuple[Replication | None, list[str]]] = []
        for keyspace, replication in zip(keyspaces, await self._replications(keyspaces), strict=True):
            if replication is None:
                alone.append((None, [keyspace]))
            elif replication.strategy not in _NOT_PLACED:
                grouped[replication].append(keyspace)
        return [*grouped.items(), *alone]

    async def _replications(self, keyspaces: Sequence[str]) -> list[Replication | None]:
        """What Cassandra says (3.11.11+), else what the operator does."""
        told: Sequence[Outcome] = [Outcome(outcomes.NOT_FOUND)] * len(keyspaces)
        if self._release >= mbeans.REPLICATION_INFO:
            asked = [mbeans.run(mbeans.STORAGE_SERVICE, mbeans.REPLICATION, keyspace) for keyspace in keyspaces]
            told = await self._agent.bulk(asked, self._deadline)
        return [
            self._parsed(keyspace, outcome) if outcome.status == outcomes.OK else self._replication.get(keyspace)
            for keyspace, outcome in zip(keyspaces, told, strict=True)
        ]

    def _parsed(self, keyspace: str, outcome: Outcome) -> Replication | None:
        try:
            return Replication.parse(outcomes.text(outcome.value, "the replication"))
        except DataError as error:
            self._report([keyspace], f"can't be judged: {error}")
            return None

    async def _rings(self, groups: Iterable[tuple[Replication | None, list[str]]]) -> list[Ring]:
        """The rings of groups of keyspaces; one that can't be read is a problem."""
        return [ring for group in groups for ring in await self._first_ring(*group)]

    async def _first_ring(self, replication: Replication | None, keyspaces: list[str]) -> list[Ring]:
        """The ring of a group of keyspaces, read from the first that can be."""
        failure: DataError | SourceError | None = None
        for keyspace in keyspaces[:_TRIES]:
            try:
                return [await self._ring(replication, keyspace, keyspaces)]
            except DeniedError:
                raise
            except (DataError, SourceError) as error:
                failure = failure or error
        self._report(keyspaces, f"can't be read: {failure}")
        return []

    async def _ring(self, replication: Replication | None, keyspace: str, group: list[str]) -> Ring:
        """The ring of a keyspace, for all of its group.

        Raises:
            RingError: if it is not whole, or a token is none of the partitioner's.
            DataError: if the answer is none.
            SourceError: if it can't be asked for.
        """
        name = mbeans.RANGES_WITH_PORT if self._reading.with_port else mbeans.RANGES
        request = mbeans.run(mbeans.STORAGE_SERVICE, name, keyspace)
        read = partial(rangemaps.range_rows, places=self._places, nodes=len(self._members))
        ring = Ring.of(group, replication, await self._agent.stream(request, self._deadline, read))
        space = partitioner(self._reading.partitioner or "unknown")
        if not space.admits(ring.tokens[0]) or not space.admits(ring.tokens[-1]):
            raise RingError(f"its tokens are none of {space.name}")
        return ring

    def _missing_ranges(self, ring: Ring, counts: Counter[str]) -> str | None:
        """What is wrong with the number of ranges: there must be one for every token that is owned.

        Fewer are those of a node that has just started.
        """
        whole = counts.total()
        owned = whole - sum(counts[name] for name in self._joining)
        return None if owned <= len(ring) <= whole else f"it has {len(ring)} ranges, but its nodes own {owned} tokens"

    def _shared(self, rings: Iterable[Ring]) -> list[Ring]:
        """The same rings with one tuple of tokens for all, and those of unknown replication together that are equal."""
        found: list[Ring] = []
        for ring in rings:
            like = found[0] if found else ring
            ring = replace(ring, tokens=like.tokens) if ring.tokens == like.tokens else ring  # noqa: PLW2901 - the same ring
            twin = next((other for other in found if ring.replication is None and _equal(ring, other)), None)
            if twin:
                found[found.index(twin)] = replace(twin, keyspaces=(*twin.keyspaces, *ring.keyspaces))
            else:
                found.append(ring)
        return found

    async def with_pending(self, rings: Sequence[Ring], roster: Roster) -> list[Ring]:
        """The rings with the pending ranges of now; the same objects where these have not changed.

        Raises:
            SourceError: if the node can't be asked.
            DataError: if its answer can't be used, or the endpoints of members changed meanwhile.
        """
        self._use(roster)
        return await self._with_pending(rings)

    async def _with_pending(self, rings: Sequence[Ring]) -> list[Ring]:
        name = mbeans.PENDING_WITH_PORT if self._reading.with_port else mbeans.PENDING
        asked: list[Request] = [mbeans.run(mbeans.STORAGE_SERVICE, name, ring.keyspaces[0]) for ring in rings]
        names = mbeans.HOST_IDS_WITH_PORT if self._reading.with_port else mbeans.HOST_IDS
        *told, named = await self._agent.bulk([*asked, mbeans.read(mbeans.STORAGE_SERVICE, names)], self._deadline)
        self._check_names(endpoints.host_ids(named.get(names), names))
        return [self._moving(ring, outcome) for ring, outcome in zip(rings, told, strict=True)]

    def _check_names(self, host_ids: Mapping[str, str]) -> None:
        """Whether an endpoint meant the same node all the while; remembers what they mean now where one did not.

        Ranges name nodes by endpoints. When nodes swap their addresses, an endpoint means another node from one
        request to the next. One that the node comes to know or forgets meanwhile is no other node's.

        Raises:
            DataError: if it did not.
        """
        before = self._agent.host_ids or {}
        places = {host_id: endpoint for endpoint, host_id in before.items()}
        if any(before.get(one, other) != other or places.get(other, one) != one for one, other in host_ids.items()):
            self._agent.host_ids = host_ids
            raise DataError("the endpoints of members changed while the ring was read")

    def _moving(self, ring: Ring, outcome: Outcome) -> Ring:
        try:
            found: tuple[Pending, ...] = rangemaps.pending(
                outcome.get("pending ranges"), self._places, "pending ranges"
            )
        except (DataError, SourceError) as error:
            self._report(ring.keyspaces, f"can't be read: {error}")
            return ring
        return ring if found == ring.pending else replace(ring, pending=found)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read so far."""
        return tuple(self._problems)

    def _report(self, keyspaces: Iterable[str], text: str) -> None:
        self._problems += [
            Problem("ring_unreadable", keyspace, f"{keyspace}: the ring {text}") for keyspace in keyspaces
        ]


def _equal(one: Ring, other: Ring) -> bool:
    return other.replication is None and one.tokens == other.tokens and one.table == other.table


def _counted(kind: Iterable[str | None], wanted: Mapping[str | None, int]) -> dict[str | None, int]:
    """Replicas by datacenter, or all under None where that is how they are wanted."""
    found = dict.fromkeys(wanted, 0)
    for home in kind:
        if home is not None:
            place = None if None in wanted else home
            found[place] = found.get(place, 0) + 1
    return found


def _read_level(logins: Mapping[str, Outcome]) -> str | None:
    """The level at which logins read system_auth, if the node reports it."""
    told = logins.get(mbeans.AUTH_PROPERTIES)
    return printable(told.value)[:LONGEST_TEXT] if told and isinstance(told.value, str) else None


def _place(outcome: Outcome) -> str | None:
    """A datacenter or rack.

    Raises:
        SourceError: if the agent's policy forbids to ask.
    """
    if outcome.status == outcomes.FORBIDDEN:
        outcome.get("the snitch")
    found = outcome.value
    return found if isinstance(found, str) and found not in _UNKNOWN else None
