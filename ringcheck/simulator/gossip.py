"""Which node believes which other node to be up, and when.

Owns the times at which a change of one node becomes known to another; knows nothing of rings, states or HTTP. There are
no timers: a belief is computed from the changes and the time for which it is asked, since 1,024 nodes would need a
million of them. The times are those measured on real clusters: a silent node is convicted after 18 to 30 s, an
announced stop is known after 0.3 s (2.3 s on 2.2), a return after 0.3 to 1.8 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ChangeKind: TypeAlias = Literal["up", "silent", "announced", "stopped"]

ANNOUNCED = 0.25  # seconds until an announced stop is known
LONGEST = 45.0  # seconds after which every change is known to all, at factor 1


@dataclass(frozen=True, slots=True)
class GossipChange:
    """A node began to gossip, or stopped.

    Attributes:
        kind: `up` for a beginning; `silent` for a kill, a pause or a lost network; `announced` for a drain or a clean
            stop; `stopped` for disablegossip, after which the node still answers messages.
        at: when it happened.
        factor: multiplies the delays until it is known; 0 makes it known at once.
    """

    kind: ChangeKind
    at: float
    factor: float


@dataclass(slots=True, kw_only=True)
class Cut:
    """A partition: two sets of nodes that hear nothing of each other, neither directly nor through others."""

    one: frozenset[int]
    other: frozenset[int]
    at: float
    factor: float
    healed_at: float | None = None

    def side(self, node: int) -> frozenset[int]:
        """The nodes from which a node is cut off."""
        if node in self.one:
            return self.other
        return self.one if node in self.other else frozenset()


@dataclass(slots=True)
class Gossip:
    """All changes and partitions of one cluster.

    Attributes:
        seed: of the delays, which differ from observer to observer.
        changes: the last changes of each node that is not simply up, oldest first.
        cuts: partitions, until all nodes know that they are healed.
        resumed: when a node was last resumed from a pause; from then on it waits the full time for silent nodes.
        joined: when a node's gossip last started; it never saw nodes up that were silent before.
        version: number of changes so far.
    """

    seed: int
    changes: dict[int, list[GossipChange]] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    resumed: dict[int, float] = field(default_factory=dict)
    joined: dict[int, float] = field(default_factory=dict)
    version: int = 0
    _settled_at: float = 0.0
    _common: dict[object, frozenset[int]] = field(default_factory=dict)

    def change(self, node: int, kind: ChangeKind, at: float, factor: float) -> None:
        """Record a change; changes that were due later than this one are dropped."""
        history = [change for change in self.changes.get(node, ()) if change.at < at or change.at == at]
        self.changes[node] = [*history[-2:], GossipChange(kind, at, factor)]
        if kind == "up" and self.resumed.get(node) != at:
            self.joined[node] = at
        self._touch(at, factor)

    def forget(self, node: int) -> None:
        """Drop the history of a node that left the cluster."""
        self.changes.pop(node, None)
        self._touch(0.0, 0.0)

    def resume(self, node: int, at: float, factor: float) -> None:
        """Record that a paused node continues; it does not convict other nodes for the time that it missed."""
        self.resumed[node] = at
        self.change(node, "up", at, factor)

    def cut(self, one: Iterable[int], other: Iterable[int], at: float, factor: float) -> None:
        """Separate two sets of nodes."""
        self.cuts.append(Cut(one=frozenset(one), other=frozenset(other), at=at, factor=factor))
        self._touch(at, factor)

    def heal(self, at: float) -> None:
        """End all partitions."""
        for cut in self.cuts:
            if cut.healed_at is None:
                cut.healed_at = at
                self._touch(at, cut.factor)

    def down(self, observer: int, now: float) -> frozenset[int]:
        """Nodes that an observer believes to be down, never including itself."""
        if now < self._settled_at:
            return self._judge(observer, now)
        self._prune()
        key = (observer in self.changes and observer, *(cut.side(observer) for cut in self.cuts))
        if key not in self._common:
            self._common[key] = self._judge(observer, now)
        return self._common[key]

    def audible(self, node: int, now: float) -> bool:
        """Whether a node gossips at a time."""
        due = [change for change in self.changes.get(node, ()) if change.at <= now]
        return not due or due[-1].kind == "up"

    def _touch(self, at: float, factor: float) -> None:
        self.version += 1
        self._common.clear()
        self._settled_at = max(self._settled_at, at + LONGEST * factor)

    def _prune(self) -> None:
        """Once all changes are known, drop the history of nodes that are up, and healed partitions."""
        if not self._common:
            self.changes = {node: past for node, past in self.changes.items() if past[-1].kind != "up"}
            self.cuts = [cut for cut in self.cuts if cut.healed_at is None]

    def _judge(self, observer: int, now: float) -> frozenset[int]:
        judged = {node for node, past in self.changes.items() if not self._up(observer, node, past, now)}
        for cut in self.cuts:
            judged.update(self._cut_off(observer, cut, now))
        judged.discard(observer)
        return frozenset(judged)

    def _cut_off(self, observer: int, cut: Cut, now: float) -> Collection[int]:
        far = {}
        for node in cut.side(observer):
            down_from = cut.at + self._conviction(observer, node) * cut.factor
            up_from = None if cut.healed_at is None else cut.healed_at + self._return(observer, node) * cut.factor
            never = cut.healed_at is not None and cut.healed_at < down_from
            far[node] = not never and now >= down_from and (up_from is None or now < up_from)
        return [node for node, off in far.items() if off]

    def _up(self, observer: int, node: int, past: list[GossipChange], now: float) -> bool:
        """Whether an observer believes a node up after its changes; before the first change it does."""
        if not past:
            return True
        last, before = past[-1], past[:-1]
        if last.kind != "up" and self.joined.get(observer, last.at) > last.at:
            return False  # the node was silent when the observer's gossip started
        since = now - last.at
        known = self._known(observer, node, last, since)
        return self._up(observer, node, before, min(now, last.at)) if known is None else known

    def _known(self, observer: int, node: int, last: GossipChange, since: float) -> bool | None:
        """Whether the node is believed up some seconds after a change; None while the change is not known yet."""
        if last.kind == "up":
            return True if since >= self._return(observer, node) * last.factor else None
        if last.kind == "silent":
            since = min(since, since + last.at - self.resumed.get(observer, last.at))
            return False if since >= self._conviction(observer, node) * last.factor else None
        if last.kind == "stopped":
            return self._after_stop(observer, node, last, since)
        return False if since >= ANNOUNCED * last.factor else None

    def _after_stop(self, observer: int, node: int, last: GossipChange, since: float) -> bool | None:
        """The belief after disablegossip. Since 4.0 two of three peers mark the node up again, until they convict it.

        It still answers the ECHO that a peer sends when other nodes mention it.
        """
        if since >= (18 + 3 * self._spread(observer, node, 5)) * last.factor:
            return False
        if self._spread(observer, node, 3) < 1 / 3:
            return False if since >= ANNOUNCED * last.factor else None
        return ANNOUNCED * last.factor > since or since >= (0.4 + 0.6 * self._spread(observer, node, 4)) * last.factor

    def _conviction(self, observer: int, node: int) -> float:
        return 18 + 6 * self._spread(0, node, 1) + 6 * self._spread(observer, node, 2)

    def _return(self, observer: int, node: int) -> float:
        return 0.3 + 1.5 * self._spread(observer, node, 6)

    def _spread(self, observer: int, node: int, use: int) -> float:
        """A number in [0, 1) that is always the same for a pair of nodes (Python does not salt hashes of integers)."""
        return hash((self.seed, observer, node, use)) % 9973 / 9973
