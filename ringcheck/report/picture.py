"""The content of a picture of a ring, however it is drawn: the condition of each range at one level, for one observer.

Owns what is drawn and the words for it. All numbers come from the verdict and from the state of the ring behind it:
nothing is evaluated anew. In a large ring neighbouring ranges are drawn as one band, which shows its worst condition
and says how many ranges it stands for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.consistency import Rules
from ringcheck.core.evidence import evidence_of
from ringcheck.core.health import ring_state
from ringcheck.core.ring import partitioner
from ringcheck.core.words import counted, percent
from ringcheck.report.changes import badness

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
    "unknown": "required or live replicas are not known",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Neighbouring ranges that are drawn as one; in a small ring a single range.

    Attributes:
        first: index of the first range.
        ranges: how many ranges.
        start: token at which the first range starts.
        end: token at which the last range ends.
        conditions: number of ranges by condition.
    """

    first: int
    ranges: int
    start: int
    end: int
    conditions: Counter[Drawn]

    @property
    def worst(self) -> Drawn:
        """The worst condition of its ranges: the band is drawn as this."""
        return next(condition for condition in WORST_FIRST if self.conditions[condition])


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A keyspace's ring at one level.

    Attributes:
        verdict: the verdict that it is drawn from.
        keyspace: its name.
        ring: its ring.
        level: the level and the clients' datacenter; None without a usable view.
        standings: by range its live and required replicas; None for a range for which they are not known.
        down: indexes of the nodes that the observer does not see live; None without a usable view.
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
        """The observer, and when the data was taken."""
        observer = self.level.worst_view if self.level else None
        return (
            f"as {observer} sees it, {self.verdict.snapshot.taken_at}" if observer else self.verdict.snapshot.taken_at
        )

    @cached_property
    def conditions(self) -> Counter[Drawn]:
        """Number of ranges by condition."""
        return Counter(map(_condition, self.standings))

    def condition(self, index: int) -> Drawn:
        """The condition of a range."""
        return _condition(self.standings[index])

    @cached_property
    def degraded(self) -> int:
        """How many ranges have a replica that the level counts and that is not live."""
        return sum(standing is not None and standing.live < standing.replicas for standing in self.standings)

    @cached_property
    def _uncounted(self) -> frozenset[int]:
        """Nodes whose replicas a LOCAL level does not count, and the filler of the ring's replica lists."""
        filler = frozenset({self.ring.filler})
        if self.level is None or self.level.datacenter is None:
            return filler
        local, nodes = self.level.datacenter, self.verdict.snapshot.nodes
        return filler.union(index for index, node in enumerate(nodes) if node.datacenter != local)

    def replicas(self, index: int) -> tuple[int, ...]:
        """Indexes of the nodes whose replicas of a range the level counts, in Cassandra's order."""
        return tuple([node for node in self.ring.replicas(index) if node not in self._uncounted])

    def live(self, index: int) -> str:
        """`2/3`: live replicas, of those that the level counts."""
        standing = self.standings[index]
        return (
            f"{standing.live}/{standing.replicas}" if standing else f"{self._alive(index)}/{len(self.replicas(index))}"
        )

    def _alive(self, index: int) -> str:
        if self.down is None:
            return "?"
        return str(sum(node not in self.down for node in self.replicas(index)))

    def address(self, node: int) -> str:
        """A node's address, by its index."""
        return self.verdict.snapshot.nodes[node].address

    @cached_property
    def not_live(self) -> list[tuple[int, int]]:
        """Nodes that are not live and hold replicas that count: index and number of ranges, the most ranges first."""
        down = (self.down or frozenset()) & self.ring.holders - self._uncounted
        return sorted(((node, len(self.ring.ranges_of[node])) for node in down), key=lambda item: (-item[1], item[0]))

    def bands(self, most: int) -> Iterator[Band]:
        """The ring in at most `most` bands, whose numbers of ranges differ by one at most."""
        number = len(self.ring)
        pieces = min(most, number)
        cuts = [piece * number // pieces for piece in range(pieces + 1)]
        for first, end in pairwise(cuts):
            yield Band(
                first=first,
                ranges=end - first,
                start=self.ring.tokens[first - 1],
                end=self.ring.tokens[end - 1],
                conditions=Counter(map(_condition, self.standings[first:end])),
            )

    def headline(self) -> str:
        """How many ranges are unavailable, with the denominator."""
        health, ranges = self.health, len(self.ring)
        if health is None:
            return f"not known for {counted(ranges, 'range')}"
        if health.unavailable:
            share = f"{percent(health.unavailable_share)} of the tokens"
            never = health.structurally_unavailable
            more = f", {never} of them never available" if never else ""
            return f"{health.unavailable} of {counted(ranges, 'range')} ({share}) unavailable{more}"
        return f"0 of {counted(ranges, 'range')} unavailable, {health.at_minimum} at minimum"

    def needs(self) -> str:
        """The live replicas that the level requires of a range; empty if not known."""
        required = self.health.required if self.health else ()
        parts = [f"{part.replicas} live{f' in {part.datacenter}' if part.datacenter else ''}" for part in required]
        return f"needs {' and '.join(parts)}" if parts else ""


def _condition(standing: RangeHealth | None) -> Drawn:
    return standing.condition if standing else "unknown"


def draw(verdict: Verdict, keyspace: str, level: Level | None = None) -> Picture | None:
    """The picture of a keyspace's ring; None if the snapshot has no such keyspace.

    Args:
        verdict: must contain the level.
        keyspace: its name.
        level: the level to draw; None for the worst of the verdict. Of a LOCAL level the worst datacenter is drawn.
    """
    ring = next((ring for ring in verdict.snapshot.rings if keyspace in ring.keyspaces), None)
    if ring is None:
        return None
    evaluated = next((each for each in verdict.keyspaces if each.name == keyspace), None)
    chosen = _worst(evaluated, level) if evaluated else None
    if chosen is None or chosen.health is None or chosen.worst_view is None:
        usable = any(view.outcome == "ok" for view in verdict.views)
        down = frozenset(index for index, state in enumerate(verdict.states) if state != "up") if usable else None
        return Picture(
            verdict=verdict, keyspace=keyspace, ring=ring, level=chosen, standings=(None,) * len(ring), down=down
        )
    return _picture_for(verdict, keyspace, ring, chosen, chosen.worst_view)


def _worst(keyspace: KeyspaceVerdict, level: Level | None) -> LevelVerdict | None:
    levels = (each for each in keyspace.levels if level in {None, each.level})
    return max(levels, key=badness, default=None)


def _picture_for(verdict: Verdict, keyspace: str, ring: Ring, level: LevelVerdict, observer: str) -> Picture:
    """The ring for the observer whose numbers are those of the verdict."""
    snapshot = verdict.snapshot
    evidence = evidence_of(snapshot)
    view = next(view for view in evidence.usable if view.observer == observer)
    down = evidence.down(view)
    state = ring_state(ring, snapshot.layout, partitioner(snapshot.partitioner), down)
    candidates = [Rules(ring.replication, behaviour, evidence.owners) for behaviour in evidence.behaviours(view)]
    rules = max(candidates, key=lambda rules: state.level(level.level, level.datacenter, rules).badness)
    standings = tuple(state.range_healths(level.level, level.datacenter, rules))
    return Picture(verdict=verdict, keyspace=keyspace, ring=ring, level=level, standings=standings, down=down)
