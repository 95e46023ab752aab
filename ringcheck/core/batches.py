"""The fewest batches of things that bear only so many of themselves in one batch.

Graph colouring where a limit may join any number: of the members of each limit a batch holds at most so many. Knows
nothing of nodes or ranges; things are numbers from 0 on, sets of them are ints of which each bit is one.

Deterministic, and honest: beside the batches stands the number below which no plan can be. Two numbers that are equal
are a proof; they come from a clique, from a limit's members, from room, or from a search to the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SEARCHED = 64  # things: more are not searched to the end
_STEPS = 20_000  # of the search to the end
_STARTS = 64  # cliques that are tried
_WEIGHED = 512  # candidates that are compared for the next place in a batch
_WORK = 3_000_000  # looks that making fewer of many batches may take


@dataclass(frozen=True, slots=True)
class Packing:
    """Batches, and how far they may be from the fewest.

    Attributes:
        batches: members ascending, in the order in which they were made.
        least: no fewer batches can be.
    """

    batches: tuple[tuple[int, ...], ...]
    least: int

    @property
    def proven(self) -> bool:
        """Whether there are no fewer."""
        return len(self.batches) == self.least


class Limits:
    """How many of which things a batch may hold."""

    def __init__(self, size: int) -> None:
        """No limits on so many things."""
        self.never = 0
        """Things that no batch may hold."""
        self.apart = [0] * size
        """For each thing those that it must not share a batch with."""
        self.sums: dict[int, int] = {}
        """Members and how many of them at most, where that is more than one."""

    def add(self, members: int, most: int) -> None:
        """Let a batch hold at most so many of these."""
        if most <= 0:
            self.never |= members
        elif members.bit_count() <= most:
            return
        elif most == 1:
            for one in bits(members):
                self.apart[one] |= members
        else:
            self.sums[members] = min(most, self.sums.get(members, most))

    def pack(self, things: int, groups: Sequence[int] = (), room: int | None = None) -> Packing:
        """The fewest batches of some things, or few.

        Args:
            things: what is to be packed; none of those that no batch may hold.
            groups: sets that are best kept together, where that costs no batch; in order.
            room: how many things a batch holds at most.
        """
        return _Packer(self, things, groups, room).packing()


def bits(mask: int) -> Iterator[int]:
    """The members of a set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def mask_of(things: Iterable[int]) -> int:
    """A set of things."""
    mask = 0
    for one in things:
        mask |= 1 << one
    return mask


@dataclass(slots=True)
class _Batch:
    """Members, what can't join them any more, and how many members of each sum there are."""

    members: int = 0
    blocked: int = 0
    counts: Counter[int] = field(default_factory=Counter)

    def copy(self) -> _Batch:
        return _Batch(self.members, self.blocked, self.counts.copy())


class _Packer:
    """One set of things, packed in several ways."""

    def __init__(self, limits: Limits, things: int, groups: Sequence[int], room: int | None) -> None:
        self.things = things
        self.order = [*bits(things)]
        self.groups = [group & things for group in groups if group & things]
        self.room = room or max(1, len(self.order))
        self.apart = [mask & things & ~(1 << one) for one, mask in enumerate(limits.apart)]
        self.sums = _sums(limits, things)
        self.held: list[list[int]] = [[] for _ in limits.apart]
        self.near = list(self.apart)
        for number, (members, _) in enumerate(self.sums):
            for one in bits(members):
                self.held[one].append(number)
                self.near[one] |= members

    def packing(self) -> Packing:
        if not self.order:
            return Packing((), 0)
        least = max(1, self._by_room(), self._by_sums(), self._by_clique())
        best = min(self._ways(least), key=len)
        if len(best) > least and len(self.order) <= _SEARCHED:
            best, least = self._searched(best, least)
        elif len(best) > least:
            best = self._fewer(best, least)
        return Packing(tuple(tuple(bits(one)) for one in best), least)

    def _ways(self, least: int) -> Iterator[list[int]]:
        """Batches as the groups suggest them, then as the limits do; no more once they can't be fewer."""
        whole = self._whole_groups()
        if whole:
            yield whole
        if not whole or len(whole) > least:
            ordered = [one for group in self.groups for one in bits(group)] or self.order
            grouped = self._first_fit(ordered)
            yield grouped
            if len(grouped) > least:
                yield self._largest_first()

    # What no plan can be below

    def _by_room(self) -> int:
        return -(-len(self.order) // self.room)

    def _by_sums(self) -> int:
        return max((-(-members.bit_count() // most) for members, most in self.sums), default=0)

    def _by_clique(self) -> int:
        """Things of which no two may meet: the largest such set that some greedy tries find."""
        ranked = sorted(self.order, key=lambda one: -self.apart[one].bit_count())
        return max((self._clique(start) for start in ranked[:_STARTS]), default=0)

    def _clique(self, start: int) -> int:
        size, rest = 1, self.apart[start]
        while rest:
            best = max(bits(rest), key=lambda one: ((self.apart[one] & rest).bit_count(), -one))
            rest &= self.apart[best]
            size += 1
        return size

    # Ways to pack

    def _fits(self, batch: _Batch, one: int) -> bool:
        return not batch.blocked >> one & 1 and batch.members.bit_count() < self.room

    def _add(self, batch: _Batch, one: int) -> None:
        batch.members |= 1 << one
        batch.blocked |= self.apart[one]
        for number in self.held[one]:
            batch.counts[number] += 1
            if batch.counts[number] == self.sums[number][1]:
                batch.blocked |= self.sums[number][0]

    def _first_fit(self, order: Iterable[int]) -> list[int]:
        batches: list[_Batch] = []
        for one in order:
            batch = next((batch for batch in batches if self._fits(batch, one)), None)
            if batch is None:
                batch = _Batch()
                batches.append(batch)
            self._add(batch, one)
        return [batch.members for batch in batches]

    def _whole_groups(self) -> list[int]:
        """First fit of whole groups, cut where there is no room; nothing if a group can't be whole."""
        batches: list[_Batch] = []
        for group in self.groups:
            for place in range(len(batches) + 1):
                joined = self._joined(batches[place].copy() if place < len(batches) else _Batch(), group)
                if joined:
                    batches[place : place + 1] = [joined]
                    break
            else:
                return []
        return [part for batch in batches for part in self._cut(batch.members)]

    def _joined(self, batch: _Batch, group: int) -> _Batch | None:
        for one in bits(group):
            if batch.blocked >> one & 1:
                return None
            self._add(batch, one)
        return batch

    def _cut(self, members: int) -> Iterator[int]:
        ordered = [one for group in self.groups for one in bits(group & members)]
        for start in range(0, len(ordered), self.room):
            yield mask_of(ordered[start : start + self.room])

    def _largest_first(self) -> list[int]:
        """Batch after batch, each with the things that leave most room to the others (Leighton's RLF, 1979)."""
        batches, left = [], self.things
        while left:
            batch = _Batch()
            free = left
            while free and batch.members.bit_count() < self.room:
                outside = left & ~free & ~batch.members
                one = max(_some(free), key=lambda one: self._weight(one, outside, free))
                self._add(batch, one)
                free &= ~batch.blocked & ~batch.members
            batches.append(batch.members)
            left &= ~batch.members
        return batches

    def _weight(self, one: int, outside: int, free: int) -> tuple[int, int, int]:
        near = self.near[one]
        if not outside:
            return (near & free).bit_count(), 0, -one
        return (near & outside).bit_count(), -(near & free).bit_count(), -one

    def _fewer(self, best: list[int], least: int) -> list[int]:
        """First fit of whole batches in other orders, which never makes more of them (Culberson, 1992)."""
        cost = sum(len(self.held[one]) for one in self.order) + len(self.order) * len(best) // 2
        current = best
        for turn in range(_WORK // cost):
            current = self._first_fit(one for batch in _reordered(current, turn) for one in bits(batch))
            best = min(best, current, key=len)
            if len(best) == least:
                break
        return best

    # To the end

    def _searched(self, best: list[int], least: int) -> tuple[list[int], int]:
        """One batch fewer, again and again, until there is none or the search takes too long."""
        search = _Search(self)
        while len(best) > least:
            found = search.within(len(best) - 1)
            if found is None:
                return best, least if search.tired else len(best)
            best = found
        return best, least


class _Search:
    """Tries every packing into so many batches, the most entangled things first."""

    def __init__(self, packer: _Packer) -> None:
        self._packer = packer
        self._order = sorted(packer.order, key=lambda one: (-packer.near[one].bit_count(), one))
        self._steps = 0

    @property
    def tired(self) -> bool:
        """Whether it gave up."""
        return self._steps > _STEPS

    def within(self, number: int) -> list[int] | None:
        """A packing into at most so many batches; None if there is none, or none was found in time."""
        found = self._placed(0, [], number)
        return [batch.members for batch in found] if found else None

    def _placed(self, place: int, batches: list[_Batch], number: int) -> list[_Batch] | None:
        if place == len(self._order):
            return batches
        for choice in range(min(len(batches) + 1, number)):  # batches that are empty are all alike
            self._steps += 1
            if self.tired:
                return None
            batch = batches[choice].copy() if choice < len(batches) else _Batch()
            if self._packer._fits(batch, self._order[place]):  # noqa: SLF001 - its other half
                self._packer._add(batch, self._order[place])  # noqa: SLF001 - as above
                found = self._placed(place + 1, [*batches[:choice], batch, *batches[choice + 1 :]], number)
                if found or self.tired:
                    return found
        return None


def _sums(limits: Limits, things: int) -> list[tuple[int, int]]:
    """The sums that still bind these things."""
    found: dict[int, int] = {}
    for members, most in limits.sums.items():
        mine = members & things
        if mine.bit_count() > most:
            found[mine] = min(most, found.get(mine, most))
    return list(found.items())


def _some(mask: int) -> list[int]:
    """The first of a set, as many as are worth comparing."""
    return [one for one, _ in zip(bits(mask), range(_WEIGHED), strict=False)]


def _reordered(batches: list[int], turn: int) -> list[int]:
    """Batches in another order each turn: backwards, the largest first, and dealt like cards."""
    if turn % 3 == 0:
        return batches[::-1]
    if turn % 3 == 1:
        return sorted(batches, key=lambda one: (-one.bit_count(), one))
    step = 2 + turn % 5
    return [one for start in range(step) for one in batches[start::step]]
