"""Packs things into the fewest batches; limits say how many members of a set of things a batch may hold.

This is graph colouring, with limits on sets of any size instead of edges between two things. The module knows nothing
of nodes or ranges: things are numbers from 0, and a set of things is an int with a bit for each.

The result is deterministic. It comes with a lower bound: no packing has fewer batches. If the bound equals the number
of batches, these are proven to be the fewest. The bound comes from a clique, from the members of a limit, from the
room in a batch, or from a complete search.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SEARCHED = 64  # things that the complete search takes, at most
_STEPS = 20_000  # steps after which the complete search gives up
_STARTS = 64  # things from which a clique is grown
_WEIGHED = 512  # candidates that are compared for the next member of a batch
_WORK = 3_000_000  # how often reordering may look at a batch, in total


@dataclass(frozen=True, slots=True)
class Packing:
    """Batches, and a lower bound of their number.

    Attributes:
        batches: members ascending, in the order in which the batches were made.
        least: no packing has fewer batches.
    """

    batches: tuple[tuple[int, ...], ...]
    least: int

    @property
    def proven(self) -> bool:
        """Whether no packing has fewer batches."""
        return len(self.batches) == self.least


class Limits:
    """Limits on how many members of a set of things a batch may hold."""

    def __init__(self, size: int) -> None:
        """No limits yet, on `size` things."""
        self.never = 0
        """Things that no batch may hold."""
        self.apart = [0] * size
        """For each thing, the things that must not share a batch with it."""
        self.sums: dict[int, int] = {}
        """By set, how many of its members a batch may hold; only if that is more than one."""

    def add(self, members: int, most: int) -> None:
        """Let a batch hold at most `most` of these members."""
        if most <= 0:
            self.never |= members
        elif members.bit_count() <= most:
            return
        elif most == 1:
            for thing in bits(members):
                self.apart[thing] |= members
        else:
            self.sums[members] = min(most, self.sums.get(members, most))

    def pack(self, things: int, groups: Sequence[int] = (), room: int | None = None) -> Packing:
        """The fewest batches of some things, or few if the fewest are not found.

        Args:
            things: what is to be packed, without the things in `never`.
            groups: sets that are kept together if that costs no batch; in order of preference.
            room: how many things a batch may hold; None for any number.
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
    for thing in things:
        mask |= 1 << thing
    return mask


@dataclass(slots=True)
class _Batch:
    """Members, what may no longer join them, and how many members it has of each sum."""

    members: int = 0
    blocked: int = 0
    counts: Counter[int] = field(default_factory=Counter)

    def copy(self) -> _Batch:
        return _Batch(self.members, self.blocked, self.counts.copy())


class _Packer:
    """Packs one set of things in several ways.

    Attributes:
        order: the things, ascending.
        room: how many things a batch may hold.
        apart: for each thing, the things that must not share a batch with it.
        sums: sets of things and how many of each set a batch may hold.
        sums_of: for each thing, the indexes of the sums that it is in.
        near: for each thing, the things that share any limit with it.
    """

    def __init__(self, limits: Limits, things: int, groups: Sequence[int], room: int | None) -> None:
        self.things = things
        self.order = [*bits(things)]
        self.groups = [group & things for group in groups if group & things]
        self.room = room or max(1, len(self.order))
        self.apart = [mask & things & ~(1 << thing) for thing, mask in enumerate(limits.apart)]
        self.sums = _sums(limits, things)
        self.sums_of: list[list[int]] = [[] for _ in limits.apart]
        self.near = list(self.apart)
        for number, (members, _) in enumerate(self.sums):
            for thing in bits(members):
                self.sums_of[thing].append(number)
                self.near[thing] |= members

    def packing(self) -> Packing:
        if not self.order:
            return Packing((), 0)
        least = max(1, self._by_room(), self._by_sums(), self._by_clique())
        best = min(self._ways(least), key=len)
        if len(best) > least and len(self.order) <= _SEARCHED:
            best, least = self._searched(best, least)
        elif len(best) > least:
            best = self._fewer(best, least)
        return Packing(tuple(tuple(bits(members)) for members in best), least)

    def _ways(self, least: int) -> Iterator[list[int]]:
        """Packings by the groups, then by the limits; stops at a packing that is proven to have the fewest batches."""
        whole = self._whole_groups()
        if whole:
            yield whole
        if not whole or len(whole) > least:
            ordered = [thing for group in self.groups for thing in bits(group)] or self.order
            grouped = self._first_fit(ordered)
            yield grouped
            if len(grouped) > least:
                yield self._largest_first()

    # Lower bounds

    def _by_room(self) -> int:
        return -(-len(self.order) // self.room)

    def _by_sums(self) -> int:
        return max((-(-members.bit_count() // most) for members, most in self.sums), default=0)

    def _by_clique(self) -> int:
        """The size of the largest set that was found in which no two things may share a batch."""
        ranked = sorted(self.order, key=lambda thing: -self.apart[thing].bit_count())
        return max((self._clique(start) for start in ranked[:_STARTS]), default=0)

    def _clique(self, start: int) -> int:
        """The size of a set that is grown greedily."""
        size, rest = 1, self.apart[start]
        while rest:
            best = max(bits(rest), key=lambda thing: ((self.apart[thing] & rest).bit_count(), -thing))
            rest &= self.apart[best]
            size += 1
        return size

    # Ways to pack

    def fits(self, batch: _Batch, thing: int) -> bool:
        """Whether a batch may hold this thing too."""
        return not batch.blocked >> thing & 1 and batch.members.bit_count() < self.room

    def add(self, batch: _Batch, thing: int) -> None:
        """Put a thing into a batch that it fits."""
        batch.members |= 1 << thing
        batch.blocked |= self.apart[thing]
        for number in self.sums_of[thing]:
            batch.counts[number] += 1
            if batch.counts[number] == self.sums[number][1]:
                batch.blocked |= self.sums[number][0]

    def _first_fit(self, order: Iterable[int]) -> list[int]:
        batches: list[_Batch] = []
        for thing in order:
            batch = next((batch for batch in batches if self.fits(batch, thing)), None)
            if batch is None:
                batch = _Batch()
                batches.append(batch)
            self.add(batch, thing)
        return [batch.members for batch in batches]

    def _whole_groups(self) -> list[int]:
        """First fit of whole groups, cut to the room in a batch; nothing if a group does not fit a batch as a whole."""
        batches: list[_Batch] = []
        for group in self.groups:
            for number in range(len(batches) + 1):
                joined = self._joined(batches[number].copy() if number < len(batches) else _Batch(), group)
                if joined:
                    batches[number : number + 1] = [joined]
                    break
            else:
                return []
        return [part for batch in batches for part in self._cut(batch.members)]

    def _joined(self, batch: _Batch, group: int) -> _Batch | None:
        """The batch with a group added, whatever its room; None if a limit forbids it."""
        for thing in bits(group):
            if batch.blocked >> thing & 1:
                return None
            self.add(batch, thing)
        return batch

    def _cut(self, members: int) -> Iterator[int]:
        ordered = [thing for group in self.groups for thing in bits(group & members)]
        for start in range(0, len(ordered), self.room):
            yield mask_of(ordered[start : start + self.room])

    def _largest_first(self) -> list[int]:
        """Batch after batch, each filled with the things that leave most room for others (Leighton's RLF, 1979)."""
        batches, left = [], self.things
        while left:
            batch = _Batch()
            free = left
            while free and batch.members.bit_count() < self.room:
                outside = left & ~free & ~batch.members
                best = max(_some(free), key=lambda thing: self._weight(thing, outside, free))
                self.add(batch, best)
                free &= ~batch.blocked & ~batch.members
            batches.append(batch.members)
            left &= ~batch.members
        return batches

    def _weight(self, thing: int, outside: int, free: int) -> tuple[int, int, int]:
        """How well a thing suits a batch: it should share limits with things outside, not with those that may join."""
        near = self.near[thing]
        if not outside:
            return (near & free).bit_count(), 0, -thing
        return (near & outside).bit_count(), -(near & free).bit_count(), -thing

    def _fewer(self, best: list[int], least: int) -> list[int]:
        """First fit of whole batches in other orders, which never makes more batches (Culberson, 1992)."""
        cost = sum(len(self.sums_of[thing]) for thing in self.order) + len(self.order) * len(best) // 2
        current = best
        for turn in range(_WORK // cost):
            current = self._first_fit(thing for batch in _reordered(current, turn) for thing in bits(batch))
            best = min(best, current, key=len)
            if len(best) == least:
                break
        return best

    # Complete search

    def _searched(self, best: list[int], least: int) -> tuple[list[int], int]:
        """Search for one batch fewer until there is no such packing, or the search gives up."""
        search = _Search(self)
        while len(best) > least:
            fewer = search.within(len(best) - 1)
            if fewer is None:
                return best, least if search.gave_up else len(best)
            best = fewer
        return best, least


class _Search:
    """Tries every packing into a number of batches, things with many limits first."""

    def __init__(self, packer: _Packer) -> None:
        self._packer = packer
        self._order = sorted(packer.order, key=lambda thing: (-packer.near[thing].bit_count(), thing))
        self._steps = 0

    @property
    def gave_up(self) -> bool:
        """Whether it took too many steps."""
        return self._steps > _STEPS

    def within(self, number: int) -> list[int] | None:
        """A packing into at most this number of batches; None if there is none, or if the search gave up."""
        batches = self._rest_packed(0, [], number)
        return [batch.members for batch in batches] if batches else None

    def _rest_packed(self, position: int, batches: list[_Batch], number: int) -> list[_Batch] | None:
        """The batches with all things from a position on; None if they do not fit."""
        if position == len(self._order):
            return batches
        thing = self._order[position]
        for choice in range(min(len(batches) + 1, number)):  # one empty batch is like another
            self._steps += 1
            if self.gave_up:
                return None
            batch = batches[choice].copy() if choice < len(batches) else _Batch()
            if self._packer.fits(batch, thing):
                self._packer.add(batch, thing)
                packed = self._rest_packed(position + 1, [*batches[:choice], batch, *batches[choice + 1 :]], number)
                if packed or self.gave_up:
                    return packed
        return None


def _sums(limits: Limits, things: int) -> list[tuple[int, int]]:
    """The sums that limit these things, with only these things as members."""
    sums: dict[int, int] = {}
    for members, most in limits.sums.items():
        packed = members & things
        if packed.bit_count() > most:
            sums[packed] = min(most, sums.get(packed, most))
    return list(sums.items())


def _some(mask: int) -> list[int]:
    """The first members of a set, as many as are worth comparing."""
    return list(islice(bits(mask), _WEIGHED))


def _reordered(batches: list[int], turn: int) -> list[int]:
    """Batches in another order each turn: backwards, the largest first, or every second to sixth batch first."""
    if turn % 3 == 0:
        return batches[::-1]
    if turn % 3 == 1:
        return sorted(batches, key=lambda members: (-members.bit_count(), members))
    step = 2 + turn % 5
    return [members for start in range(step) for members in batches[start::step]]
