"""What a stop puts at stake: every ring, at each level that it must keep, for the clients of each datacenter.

Two more things can be lost that are no ranges of keyspaces, and are judged as rings of their own: the quorum of the
cluster metadata service (`core.quorum`), and the coordinators of a datacenter (`core.coordinators`).

Gate and plan weigh a stop by the same stakes. Keyspaces with one replication share a ring, and so a stake.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from ringcheck.core import coordinators
from ringcheck.core.consistency import Behaviour, Rules, UnknownReplicationError
from ringcheck.core.headroom import demands_of
from ringcheck.core.policy import DEFAULT, Severity, Threshold
from ringcheck.core.quorum import KEYSPACE, LEVEL, MetadataService, rules_of
from ringcheck.core.reasons import reason
from ringcheck.core.words import listed, suggestion
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.consistency import Demand, Level
    from ringcheck.core.health import RingState
    from ringcheck.core.policy import Rule
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.selection import Scope

STATED = "its replication is stated under `replication:`"
"""What lifts a reason of class UNKNOWN about a keyspace whose replication can't be read."""


_Kept: TypeAlias = "tuple[bool, Level, str | None]"
"""Whether a level is kept by default only, the level, and the clients' datacenter."""


class StakeFields(TypedDict):
    """The fields of a reason that say which keyspaces, level and clients it is about."""

    keyspace: str | None
    keyspaces: tuple[str, ...]
    level: Level
    datacenter: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """One ring at one level for one client datacenter.

    Attributes:
        keyspaces: names of those that have this ring and must keep this level; empty for a ring of coordinators or of
            the nodes that keep the logs of batches.
        ring: their ranges.
        level: the consistency level.
        client: the clients' datacenter of LOCAL levels, None for the others.
        demands: what each operation of the level demands of a range.
        rules: where the demands come from.
        by_default: whether the level is the critical one of keyspaces without a rule.
        advisory: whether its loss is a note. So it is for logged batches, and for the only node of a datacenter of
            which it is only presumed that it has clients: it could never be restarted otherwise.
    """

    keyspaces: tuple[str, ...]
    ring: Ring
    level: Level
    client: str | None
    demands: tuple[Demand, ...]
    rules: Rules
    by_default: bool = False
    advisory: bool = False

    @property
    def metadata(self) -> bool:
        """Whether it is the quorum of the cluster metadata service, and no keyspace of clients."""
        return self.keyspaces == (KEYSPACE,)

    @property
    def coordinators(self) -> bool:
        """Whether it is the coordinators of a datacenter, and no keyspace."""
        return not self.keyspaces and self.level is coordinators.LEVEL

    @property
    def of_keyspaces(self) -> bool:
        """Whether it is ranges of keyspaces that clients or Cassandra read."""
        return bool(self.keyspaces) and not self.metadata

    @property
    def code(self) -> str | None:
        """The code of the reason that it is lost; None for ranges, for which that depends on how they are lost."""
        if self.of_keyspaces:
            return None
        if self.metadata:
            return "metadata_quorum"
        return "last_coordinator" if self.coordinators else "logged_batches"

    def breakers(self, state: RingState, dead: frozenset[int]) -> frozenset[int]:
        """The nodes that may not stop because their stop alone takes something of it.

        Args:
            state: its ring with the nodes down that may not be counted on. Ranges that are lost in that state are a
                reason of their own, but coordinators are not: then each of them may be the last.
            dead: nodes whose stop costs nothing.
        """
        if self.advisory:
            return frozenset()
        if self.coordinators and self.ring.holders <= state.down:
            return self.ring.holders - dead
        return state.breakers(self.demands)

    @property
    def where(self) -> str:
        """`at LOCAL_QUORUM in dc1`."""
        return f"at {self.level}" + (f" in {self.client}" if self.client else "")

    @property
    def fields(self) -> StakeFields:
        """The fields of a reason about this stake."""
        return {
            "keyspace": next(iter(self.keyspaces), None),
            "keyspaces": self.keyspaces,
            "level": self.level,
            "datacenter": self.client,
        }


class StakeFinder:
    """Finds the stakes of a snapshot.

    Attributes:
        unjudged: reasons of class UNKNOWN, for keyspaces that can't be judged at a level.
    """

    def __init__(self, scope: Scope, level: Level, accept: Sequence[str]) -> None:
        """Choose what must be kept.

        Args:
            scope: keyspaces and client datacenters that are judged.
            level: a level that every range must keep, in addition to its keyspace's critical level.
            accept: shell patterns of keyspaces that may lose ranges.

        Raises:
            UsageError: if a pattern matches no keyspace.
        """
        _check_accepted(scope.snapshot, accept)
        self._scope = scope
        self._level = level
        self._accept = accept
        self.unjudged: list[Reason] = []

    def stakes(self) -> Iterator[Stake]:
        """All stakes of keyspaces; none while no view counts. Fills `unjudged` as it goes."""
        behaviours = sorted({outlook.behaviour for outlook in self._scope.evidence.outlooks(())})
        for ring in self._scope.snapshot.rings:
            for (by_default, level, client), keyspaces in self._levels(ring).items():
                for demands, rules in self._demands(ring, keyspaces, level, client, behaviours).items():
                    yield Stake(
                        keyspaces=keyspaces,
                        ring=ring,
                        level=level,
                        client=client,
                        demands=demands,
                        rules=rules,
                        by_default=by_default,
                    )

    def metadata_stakes(self) -> Iterator[Stake]:
        """The quorum of the cluster metadata service, once for each set of members that a view reports."""
        for ring in MetadataService(self._scope.evidence).rings:
            rules = rules_of(ring)
            demands = tuple(demands_of(LEVEL, None, rules).values())
            yield Stake(keyspaces=ring.keyspaces, ring=ring, level=LEVEL, client=None, demands=demands, rules=rules)

    def coordinator_stakes(self) -> Iterator[Stake]:
        """The coordinators of each datacenter with clients, and its logs of batches; none while no view counts."""
        evidence, policy = self._scope.evidence, self._scope.policy
        stated = {*policy.client_datacenters, *(policy.observed.clients if policy.observed else ())}
        for client in self._scope.with_clients(self._accept) if evidence.usable else ():
            ring = coordinators.ring_of(evidence, client)
            if ring:
                rules = Rules(ring.replication, Behaviour((4, 0), "v1"), {})
                demands = tuple(demands_of(coordinators.LEVEL, client, rules).values())
                yield Stake(
                    keyspaces=(),
                    ring=ring,
                    level=coordinators.LEVEL,
                    client=client,
                    demands=demands,
                    rules=rules,
                    advisory=client not in stated and len(coordinators.nodes_of(evidence, client)) == 1,
                )
            log = coordinators.batchlog_of(evidence, client)
            if ring and log:
                yield Stake(
                    keyspaces=(),
                    ring=log,
                    level=coordinators.BATCHES,
                    client=client,
                    demands=coordinators.demands_of_batches(client),
                    rules=Rules(log.replication, Behaviour((4, 0), "v1"), {}),
                    advisory=True,
                )

    def _levels(self, ring: Ring) -> dict[_Kept, tuple[str, ...]]:
        """What a ring must keep, each with the keyspaces that need it."""
        keyspaces: dict[_Kept, list[str]] = {}
        for name, rule in self._scope.chosen(ring):
            if not any(fnmatchcase(name, pattern) for pattern in self._accept):
                for threshold, by_default in self._thresholds(name, rule):
                    for client in self._scope.clients(threshold.level, ring):
                        if threshold.watches(threshold.level, client):
                            keyspaces.setdefault((by_default, threshold.level, client), []).append(name)
        return {key: tuple(dict.fromkeys(names)) for key, names in keyspaces.items()}

    def _thresholds(self, keyspace: str, rule: Rule) -> Iterator[tuple[Threshold, bool]]:
        """The gate's own level, the critical levels of the rule, and the levels that clients use.

        Each with whether it is kept only because the keyspace has no rule.
        """
        if rule.by_cassandra:
            yield from ((threshold, False) for _, threshold in rule.tiers)
            return
        yield Threshold(self._level), False
        critical = [threshold for severity, threshold in rule.tiers if severity is Severity.CRITICAL]
        yield from ((threshold, rule is DEFAULT) for threshold in critical if threshold.level is not self._level)
        seen = self._scope.policy.observed
        for used in seen.of(keyspace) if seen else ():
            yield Threshold(used.level, clients=(used.datacenter,) if used.datacenter else ()), False

    def _demands(
        self,
        ring: Ring,
        keyspaces: tuple[str, ...],
        level: Level,
        client: str | None,
        behaviours: Sequence[Behaviour],
    ) -> dict[tuple[Demand, ...], Rules]:
        """The distinct demands of coordinators of these behaviours, with the rules that they come from."""
        found: dict[tuple[Demand, ...], Rules] = {}
        try:
            for behaviour in behaviours:
                rules = self._scope.rules(ring, behaviour)
                found.setdefault(tuple(demands_of(level, client, rules).values()), rules)
        except UnknownReplicationError as error:
            text = f"{listed(keyspaces)} can't be judged at {level}: {error}"
            fields = {"lifts_when": STATED, "keyspace": keyspaces[0], "keyspaces": keyspaces, "level": level}
            self.unjudged.append(reason("no_data", keyspaces[0], text, **fields))
        return found


def _check_accepted(snapshot: Snapshot, accept: Sequence[str]) -> None:
    """Refuse patterns that match no keyspace: they may be misspelt, and would accept nothing.

    Raises:
        UsageError: with the nearest name.
    """
    names = sorted(name for ring in snapshot.rings for name in ring.keyspaces)
    for pattern in accept if names else ():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"accept: no keyspace matches {pattern!r} ({suggestion(pattern, names)})")
