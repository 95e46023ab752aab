"""What a picture of a ring shows, whatever it is drawn with: each range as it stands at one level, to one observer.

Owns what is drawn and the words for it. All numbers come from the verdict and the ring's state behind it: nothing is
judged again here. Beyond so many ranges neighbours are drawn as one band, which shows its worst range and says how
many it stands for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.consistency import Rules, release
from ringcheck.core.evidence import evidence_of
from ringcheck.core.health import ring_state
from ringcheck.core.policy import Severity
from ringcheck.core.ring import partitioner
from ringcheck.core.words import counted, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.consistency import Level
    from ringcheck.core.headroom import Condition, RangeHealth
    from ringcheck.core.health import LevelHealth
    from ringcheck.core.ring import Ring
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict

Drawn: TypeAlias = "Condition | Literal['unknown']"

WORST_FIRST: tuple[Drawn, ...] = ("unavailable", "structurally_unavailable", "unknown", "at_minimum", "spare")
WORDS: dict[Drawn, str] = {
    "spare": "with spare",
    "at_minimum": "at minimum",
    "unavailable": "unavailable",
    "structurally_unavailable": "never available",
    "unknown": "not known",
}
MEANINGS: dict[Drawn, str] = {
    "spare": "can lose a replica",
    "at_minimum": "one more loss is an outage",
    "unavailable": "too few replicas are live",
    "structurally_unavailable": "needs more replicas than there are",
    "unknown": "what it needs or has is not known",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Neighbouring ranges that are drawn as one; often a single range.

    Attributes:
        first: index of the first range.
        ranges: how many.
        start: where the first one starts.
        end: where the last one ends.
        conditions: how many ranges there are of each condition.
    """

    first: int
    ranges: int
    start: int
    end: int
    conditions: Counter[Drawn]

    @property
    def worst(self) -> Drawn:
        """The condition that the band is drawn as."""
        return next(one for one in WORST_FIRST if self.conditions[one])


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One keyspace's ring at one level.

    Attributes:
        verdict: what it is drawn from.
        keyspace: name.
        ring: its ranges.
        level: which level, for which clients; None where nothing usable was seen.
        standings: how each range stands; None where that can't be known.
        down: indexes of the nodes that the observer does not call live; None where nobody can tell.
    """

    verdict: Verdict
    keyspace: str
    ring: Ring
    level: LevelVerdict | None
    standings: Sequence[RangeHealth | None]
    down: frozenset[int] | None

    @property
    def health(self) -> LevelHealth | None:
        """The level's numbers."""
        return self.level.health if self.level else None

    @property
    def at(self) -> str:
        """The level and its clients' datacenter, in words."""
        if self.level is None:
            return "with no usable view"
        return f"at {self.level.level}{f' in {self.level.datacenter}' if self.level.datacenter else ''}"

    @property
    def seen(self) -> str:
        """Whose view it is, and when it was taken."""
        observer = self.level.worst_view if self.level else None
        return (
            f"as {observer} sees it, {self.verdict.snapshot.taken_at}" if observer else self.verdict.snapshot.taken_at
        )

    @cached_property
    def conditions(self) -> Counter[Drawn]:
        """How many ranges there are of each condition."""
        return Counter(map(_condition, self.standings))

    def condition(self, index: int) -> Drawn:
        """How a range is drawn."""
        return _condition(self.standings[index])

    @cached_property
    def hurt(self) -> int:
        """Ranges with a replica that is not live, of those that the level counts."""
        return sum(one is not None and one.live < one.replicas for one in self.standings)

    @cached_property
    def _uncounted(self) -> frozenset[int]:
        """Nodes whose replicas a LOCAL level does not count, and the ring's filler."""
        filler = frozenset({self.ring.filler})
        if self.level is None or self.level.datacenter is None:
            return filler
        here = self.level.datacenter
        return filler.union(index for index, node in enumerate(self.verdict.snapshot.nodes) if node.datacenter != here)

    def replicas(self, index: int) -> tuple[int, ...]:
        """Nodes of a range that the level counts, in Cassandra's order."""
        return tuple([node for node in self.ring.replicas(index) if node not in self._uncounted])

    def live(self, index: int) -> str:
        """`2/3`: live replicas of those that count."""
        one = self.standings[index]
        return f"{one.live}/{one.replicas}" if one else f"{self._alive(index)}/{len(self.replicas(index))}"

    def _alive(self, index: int) -> str:
        if self.down is None:
            return "?"
        return str(sum(node not in self.down for node in self.replicas(index)))

    def address(self, node: int) -> str:
        """A node's name."""
        return self.verdict.snapshot.nodes[node].address

    @cached_property
    def not_live(self) -> list[tuple[int, int]]:
        """Nodes that hold ranges here and are not live, and how many they hold: those that hold most first."""
        gone = (self.down or frozenset()) & self.ring.holders - self._uncounted
        return sorted(((node, len(self.ring.ranges_of[node])) for node in gone), key=lambda one: (-one[1], one[0]))

    def bands(self, most: int) -> Iterator[Band]:
        """The ring in at most so many bands of as many ranges each, give or take one."""
        number = len(self.ring)
        pieces = min(most, number)
        cuts = [place * number // pieces for place in range(pieces + 1)]
        for first, end in pairwise(cuts):
            part = self.standings[first:end]
            yield Band(
                first=first,
                ranges=end - first,
                start=self.ring.tokens[first - 1],
                end=self.ring.tokens[end - 1],
                conditions=Counter(map(_condition, part)),
            )

    def headline(self) -> str:
        """What matters most, with its denominator."""
        health, ranges = self.health, len(self.ring)
        if health is None:
            return f"not known of {counted(ranges, 'range')}"
        if health.unavailable:
            share = f"{percent(health.unavailable_share)} of the tokens"
            never = health.structurally_unavailable
            more = f", {never} of them never available" if never else ""
            return f"{health.unavailable} of {counted(ranges, 'range')} ({share}) unavailable{more}"
        return f"0 of {counted(ranges, 'range')} unavailable, {health.at_minimum} at minimum"

    def needs(self) -> str:
        """What the level demands of a range."""
        required = self.health.required if self.health else ()
        each = [f"{one.replicas} live in {one.datacenter}" if one.datacenter else f"{one.replicas} live"
                for one in required]  # fmt: skip
        return f"needs {' and '.join(each)}" if each else ""


def _condition(one: RangeHealth | None) -> Drawn:
    return one.condition if one else "unknown"


def draw(verdict: Verdict, keyspace: str, level: Level | None = None) -> Picture | None:
    """The picture of a keyspace's ring; None where the snapshot has no such keyspace.

    Args:
        verdict: on a snapshot, with the level among those that were asked for.
        keyspace: name.
        level: which one; by default the worst of those that the verdict has, for the clients that are worst off.
    """
    ring = next((one for one in verdict.snapshot.rings if keyspace in one.keyspaces), None)
    if ring is None:
        return None
    judged = next((one for one in verdict.keyspaces if one.name == keyspace), None)
    chosen = _worst(judged, level) if judged else None
    if chosen is None or chosen.health is None or chosen.worst_view is None:
        usable = any(view.outcome == "ok" for view in verdict.views)
        down = frozenset(place for place, state in enumerate(verdict.states) if state != "up") if usable else None
        return Picture(
            verdict=verdict, keyspace=keyspace, ring=ring, level=chosen, standings=(None,) * len(ring), down=down
        )
    return _seen(verdict, keyspace, ring, chosen, chosen.worst_view)


def _worst(keyspace: KeyspaceVerdict, level: Level | None) -> LevelVerdict | None:
    def rank(one: LevelVerdict) -> tuple[Severity, bool, tuple[float, ...]]:
        return one.severity or Severity.OK, one.health is None, one.health.badness if one.health else ()

    return max((one for one in keyspace.levels if level in {None, one.level}), key=rank, default=None)


def _seen(verdict: Verdict, keyspace: str, ring: Ring, level: LevelVerdict, observer: str) -> Picture:
    """The ring as the observer sees it whose numbers the verdict has."""
    snapshot = verdict.snapshot
    evidence = evidence_of(snapshot)
    down = evidence.down(next(view for view in evidence.usable if view.observer == observer))
    state = ring_state(ring, snapshot.layout, partitioner(snapshot.partitioner), down)
    node = snapshot.nodes[snapshot.index[observer]]
    rules = Rules(ring.replication, release(node.release_version), evidence.owners)
    standings = tuple(state.range_healths(level.level, level.datacenter, rules))
    return Picture(verdict=verdict, keyspace=keyspace, ring=ring, level=level, standings=standings, down=down)
