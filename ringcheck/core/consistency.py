"""What each consistency level demands of a range's replicas, as Cassandra's coordinators decide it.

Owns the rules of `db/ConsistencyLevel.java` (2.2-3.11) and `locator/ReplicaPlans.java` (4.0+). A demand is compiled
once from the configured replication, never from how many endpoints were found, and then asked of counts by
datacenter and rack. Knows nothing of policies, views or whole rings.

A range is *unavailable* if Cassandra answers Unavailable, or is certain to time out because it awaits more
acknowledgements than there are live replicas. For writes this is one rule on every release, because up to 3.11 the
check ignores pending replicas but the wait does not:
`live(natural + pending) >= block_for + pending`, counted in the level's own scope.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.release import parse_release
from ringcheck.core.ring import Factor, Replication
from ringcheck.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Operation: TypeAlias = Literal["read", "write"]
OPERATIONS: tuple[Operation, ...] = ("read", "write")

Paxos: TypeAlias = Literal["v1", "v2"]
"""The two ways in which coordinators count the participants of a serial operation."""

# `Config.PaxosVariant`. What else a variant decides, such as whether reads are linearizable, changes no count.
PAXOS_VARIANTS: Mapping[str, Paxos] = {
    "v1": "v1",
    "v1_without_linearizable_reads_or_rejected_writes": "v1",
    "v2": "v2",
    "v2_without_linearizable_reads": "v2",
    "v2_without_linearizable_reads_or_rejected_writes": "v2",
}
_FIRST_WITH_VARIANTS = (4, 1)  # CASSANDRA-14746

NETWORK_TOPOLOGY = "NetworkTopologyStrategy"
EVERYWHERE = "EverywhereStrategy"
LOCAL_STRATEGY = "LocalStrategy"
META_STRATEGY = "MetaStrategy"  # the strategy of the metadata log of 6.0+: a replica on each member of its service
TOTAL_STRATEGIES = frozenset({"SimpleStrategy", "OldNetworkTopologyStrategy"})  # one factor for all datacenters


class Level(StrEnum):
    """Consistency levels by Cassandra's names, and our LOCAL_ALL: every replica that a range has in a datacenter."""

    ANY = "ANY"
    ONE = "ONE"
    TWO = "TWO"
    THREE = "THREE"
    QUORUM = "QUORUM"
    ALL = "ALL"
    LOCAL_ONE = "LOCAL_ONE"
    LOCAL_QUORUM = "LOCAL_QUORUM"
    LOCAL_ALL = "LOCAL_ALL"
    EACH_QUORUM = "EACH_QUORUM"
    SERIAL = "SERIAL"
    LOCAL_SERIAL = "LOCAL_SERIAL"

    @property
    def local(self) -> bool:
        """Whether it counts only replicas of the coordinator's datacenter."""
        return self.startswith("LOCAL_")

    @property
    def serial(self) -> bool:
        """Whether a Paxos round precedes its operations."""
        return self.endswith("SERIAL")


_FIXED = {Level.ONE: 1, Level.TWO: 2, Level.THREE: 3, Level.LOCAL_ONE: 1}
_WITHOUT_FACTOR = frozenset({Level.ANY, Level.LOCAL_ALL, *_FIXED})  # need no replication factor


class UnknownReplicationError(DataError):
    """The replicas that a level needs are not known: the factor is missing, or the strategy is not Cassandra's."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A number of live replicas in one datacenter, or in all of them together.

    Attributes:
        replicas: block_for, without pending ones; None if it follows from the natural replicas that the range has
            there: all of them, or their majority for Paxos v2.
        datacenter: where they are counted; None for all datacenters.
        transient: how many of the replicas there may be transient; JMX doesn't show which.
    """

    replicas: int | None
    datacenter: str | None = None
    transient: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """What one operation at one level demands of each range of a ring.

    Attributes:
        requirements: all must hold; empty for ANY, which a hint satisfies.
        operation: reads use natural replicas, writes pending ones too.
        paxos: how the participants of the Paxos round that precedes it are counted; None if there is none.
        digest: the hash, computed once.
    """

    requirements: tuple[Requirement, ...]
    operation: Operation
    paxos: Paxos | None = None
    digest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hash((self.requirements, self.operation, self.paxos)))

    def __hash__(self) -> int:
        return self.digest


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Replicas:
    """Replica counts of a range, or of all ranges of a kind.

    Attributes:
        natural: natural replicas by datacenter.
        live: live natural replicas by datacenter, a count for each rack, largest first.
        pending: pending replicas by datacenter, down ones included.
        live_with_pending: live natural and pending replicas, as in `live`.
        all_live: what `live` would be with every natural replica live.
        digest: the hash, computed once: counts are looked up some hundred thousand times.
    """

    natural: tuple[tuple[str, int], ...]
    live: tuple[tuple[str, tuple[int, ...]], ...]
    pending: tuple[tuple[str, int], ...]
    live_with_pending: tuple[tuple[str, tuple[int, ...]], ...]
    all_live: tuple[tuple[str, tuple[int, ...]], ...]
    digest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = (self.natural, self.live, self.pending, self.live_with_pending, self.all_live)
        object.__setattr__(self, "digest", hash(whole))

    def __hash__(self) -> int:
        return self.digest

    def structural(self, demand: Demand) -> bool:
        """Whether more natural replicas are needed than the range has, so that no return of nodes helps."""
        return any(
            _count(self.natural, requirement.datacenter) < _block_for(requirement, demand, self.natural)
            for requirement in demand.requirements
        )

    def margins(self, demand: Demand) -> tuple[Margin, ...]:
        """The margin of each of the demand's conditions; the range is available if no margin is negative."""
        margins = [self._acknowledging(requirement, demand) for requirement in demand.requirements]
        if demand.paxos:
            margins += [self._promising(requirement, demand.paxos) for requirement in demand.requirements]
        return tuple(margins)

    def _acknowledging(self, requirement: Requirement, demand: Demand) -> Margin:
        required = _block_for(requirement, demand, self.natural)
        # The value that a serial operation decides on is read from natural replicas, as every read.
        if demand.operation == "read" or demand.paxos:
            return self._margin(requirement, required, counts_pending=False)
        required += _count(self.pending, requirement.datacenter)
        return self._margin(requirement, required, counts_pending=True)

    def _promising(self, requirement: Requirement, paxos: Paxos) -> Margin:
        """The margin of the Paxos round: how many of its participants, natural and pending, must promise."""
        natural, pending = (_count(counts, requirement.datacenter) for counts in (self.natural, self.pending))
        if paxos == "v2":  # Paxos.Participants: a majority of the natural ones, and all pending ones as well
            required = natural // 2 + 1 + pending
        elif pending <= 1:
            required = (natural + pending) // 2 + 1
        else:  # more than one pending participant is refused (StorageProxy.getPaxosParticipants, CASSANDRA-8346)
            required = natural + pending + 1
        return self._margin(requirement, required, counts_pending=True)

    def _margin(self, requirement: Requirement, required: int, *, counts_pending: bool) -> Margin:
        racks = _racks(self.live_with_pending if counts_pending else self.live, requirement.datacenter)
        return Margin(
            required=required,
            racks=racks,
            datacenter=requirement.datacenter,
            counts_pending=counts_pending,
        )


def with_pending(counts: Replicas, datacenter: str, *, live: bool) -> Replicas:
    """These counts with one more pending replica, in a rack of its own."""
    pending = dict(counts.pending)
    pending[datacenter] = pending.get(datacenter, 0) + 1
    together = dict(counts.live_with_pending)
    if live:
        together[datacenter] = (*together.get(datacenter, ()), 1)
    return replace(counts, pending=tuple(sorted(pending.items())), live_with_pending=tuple(sorted(together.items())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How far a range is from failing one condition of a demand.

    Attributes:
        required: live replicas that it needs.
        racks: live replicas that it counts, by rack.
        datacenter: where they are counted; None for all datacenters.
        counts_pending: whether pending replicas count too, as in plain writes and in the Paxos round.
    """

    required: int
    racks: tuple[int, ...]
    datacenter: str | None
    counts_pending: bool

    @property
    def live(self) -> int:
        """Live replicas that the condition counts."""
        return sum(self.racks)

    @property
    def spare(self) -> int:
        """Live minus required: negative is unavailable, 0 at minimum."""
        return self.live - self.required

    def rack_failures(self) -> int:
        """The smallest number of racks whose loss makes the condition fail; 0 if it fails already."""
        spare, lost = self.spare, 0
        if spare < 0:
            return 0
        for failures, count in enumerate(sorted(self.racks, reverse=True), start=1):
            lost += count
            if lost > spare:
                return failures
        return 0


def _count(counts: Iterable[tuple[str, int]], datacenter: str | None) -> int:
    return sum(count for name, count in counts if datacenter is None or name == datacenter)


def _racks(counts: Iterable[tuple[str, tuple[int, ...]]], datacenter: str | None) -> tuple[int, ...]:
    return tuple(count for name, racks in counts if datacenter is None or name == datacenter for count in racks)


def _block_for(requirement: Requirement, demand: Demand, natural: tuple[tuple[str, int], ...]) -> int:
    found, needed = _count(natural, requirement.datacenter), requirement.replicas
    if needed is None:
        # A datacenter without replicas serves nothing, as at Cassandra's own LOCAL levels: at least one is needed.
        needed = found // 2 + 1 if demand.paxos == "v2" else max(1, found)
    if demand.operation == "read" and requirement.transient:
        # A read needs one full replica, and any of the live ones may be transient.
        return max(needed, min(requirement.transient + 1, found))
    return needed


def resolved(requirement: Requirement, demand: Demand, natural: tuple[tuple[str, int], ...]) -> Requirement:
    """The requirement with the number of replicas that it means for a range with these natural replicas."""
    replicas = _block_for(requirement, demand, natural)
    return Requirement(replicas, requirement.datacenter, requirement.transient)


@lru_cache(maxsize=256)
def release(text: str | None) -> tuple[int, int]:
    """(major, minor) of a ReleaseVersion, whose rules a coordinator follows; (4, 0) if it is not known."""
    major, minor, _ = parse_release(text) or (4, 0, 0)
    return major, minor


@dataclass(frozen=True, slots=True, order=True)
class Behaviour:
    """The properties of a coordinator that decide how many replicas a level needs.

    Attributes:
        release: (major, minor).
        paxos: how it counts the participants of serial operations.
    """

    release: tuple[int, int]
    paxos: Paxos


@lru_cache(maxsize=256)
def behaviours(release_version: str | None, paxos_variant: str | None) -> tuple[Behaviour, ...]:
    """The behaviours that a coordinator may have, by its ReleaseVersion and its PaxosVariant.

    There are two if its variant is not known. Neither of them is stricter in all cases, so each question is judged for
    both, and the worse answer counts.
    """
    version = release(release_version)
    known = PAXOS_VARIANTS.get(paxos_variant or "")
    if known:
        return (Behaviour(version, known),)
    if paxos_variant is None and parse_release(release_version) and version < _FIRST_WITH_VARIANTS:
        return (Behaviour(version, "v1"),)
    return Behaviour(version, "v1"), Behaviour(version, "v2")


def supports(level: Level, operation: Operation, version: tuple[int, int]) -> bool:
    """Whether Cassandra admits the level for the operation (`ConsistencyLevel.validateForRead`, `...ForWrite`)."""
    if operation == "write":
        return True
    if level is Level.EACH_QUORUM:
        return version >= (3, 0)
    return level is not Level.ANY


class Rules:
    """The demands of every level, as coordinators of one behaviour read one replication."""

    def __init__(self, replication: Replication | None, behaviour: Behaviour, owners: Mapping[str, int]) -> None:
        """Read a replication.

        Args:
            replication: the configured one; if it is None (not known), only levels without a factor can be judged.
            behaviour: of the coordinators.
            owners: number of token-owning nodes by datacenter (EverywhereStrategy puts a replica on each).

        Raises:
            UnknownReplicationError: if the strategy or its options are not Cassandra's.
        """
        self.version = behaviour.release
        self.key = (replication, behaviour, tuple(sorted(owners.items())))
        self._paxos = behaviour.paxos
        self.known = replication is not None
        self.network = replication is not None and replication.strategy == NETWORK_TOPOLOGY
        self._factors = {} if replication is None else _factors(replication, self.version, owners)
        self.datacenters = tuple(self._factors)
        self.total = sum(factor.replicas for factor in self._factors.values())
        self._demands: dict[tuple[Level, Operation, str | None], Demand] = {}

    def demand(self, level: Level, operation: Operation, client: str | None) -> Demand:
        """What a level demands of each range.

        Args:
            level: the consistency level.
            operation: one that the level supports.
            client: the coordinator's datacenter, for LOCAL levels.

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        demand = self._demands.get((level, operation, client))
        if demand is None:
            demand = self._demands[level, operation, client] = self._demand(level, operation, client)
        return demand

    def _demand(self, level: Level, operation: Operation, client: str | None) -> Demand:
        scope = client if level.local else None
        if level is Level.ANY:
            return Demand((), operation)
        if level in _WITHOUT_FACTOR:
            return Demand((Requirement(_FIXED.get(level), scope, self.transient(scope)),), operation)
        if not self.known:
            raise UnknownReplicationError(
                "its replication is not known: this release does not report it, and no configuration states it"
            )
        if level is Level.EACH_QUORUM and self.network:
            quorums = tuple(Requirement(self.quorum(name), name, self.transient(name)) for name in self.datacenters)
            return Demand(quorums or (Requirement(1),), operation)  # without datacenters nothing can be served
        paxos = self._paxos if level.serial else None
        if paxos == "v2":  # it reads from the participants: the configured factor does not matter
            return Demand((Requirement(None, scope, self.transient(scope)),), operation, paxos)
        # Without replicas nothing can be served, though `blockFor` of ALL is 0 then.
        replicas = max(1, self.total) if level is Level.ALL else self.quorum(scope)
        return Demand((Requirement(replicas, scope, self.transient(scope)),), operation, paxos)

    def quorum(self, datacenter: str | None) -> int:
        """Quorum of a datacenter, or of all; strategies that know no datacenters have the same quorum for both."""
        if datacenter is None or not self.network:
            return self.total // 2 + 1
        return self._factors.get(datacenter, Factor(0)).replicas // 2 + 1

    def transient(self, datacenter: str | None) -> int:
        """How many replicas may be transient in a datacenter, or in all."""
        if datacenter is None or not self.network:
            return sum(factor.transient for factor in self._factors.values())
        return self._factors.get(datacenter, Factor(0)).transient


def _factors(replication: Replication, version: tuple[int, int], owners: Mapping[str, int]) -> dict[str, Factor]:
    """Factors by datacenter; strategies that know no datacenters have one factor, under an empty name."""
    options = dict(replication.options)
    if replication.strategy == NETWORK_TOPOLOGY:
        _refuse("replication_factor" in options, replication)
        # 4.0+ strips datacenters with factor 0 (NetworkTopologyStrategy's constructor); before, they count.
        return {name: factor for name, factor in options.items() if factor.replicas or version < (4, 0)}
    if replication.strategy in {*TOTAL_STRATEGIES, META_STRATEGY}:
        _refuse(set(options) != {"replication_factor"}, replication)
        return {"": options["replication_factor"]}
    _refuse(replication.strategy != EVERYWHERE, replication)
    return {"": Factor(sum(owners.values()))}


def _refuse(condition: bool, replication: Replication) -> None:  # noqa: FBT001 - reads as a sentence where it is used
    if condition:
        raise UnknownReplicationError(f"replication {replication} is not one of Cassandra's")


def expected(replication: Replication | None, owners: Mapping[str, int]) -> dict[str | None, int] | None:
    """How many natural replicas every range must have, by datacenter (None: in all); None if that is not known.

    A range with fewer shows that the ring was read from a half-started node; a range with more shows that the
    configured replication is wrong. A factor is capped by the number of nodes in its datacenter
    (`NetworkTopologyStrategy.calculateNaturalReplicas`).
    """
    if replication is None:
        return None
    options = dict(replication.options)
    if replication.strategy == NETWORK_TOPOLOGY:
        return {name: min(factor.replicas, owners.get(name, 0)) for name, factor in options.items()}
    if replication.strategy in TOTAL_STRATEGIES and set(options) == {"replication_factor"}:
        return {None: min(options["replication_factor"].replicas, sum(owners.values()))}
    return {None: sum(owners.values())} if replication.strategy == EVERYWHERE else None
