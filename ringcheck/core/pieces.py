"""Ranges in movement: pending ranges cut the natural ranges that they overlap into pieces."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.ring import Partitioner, Pending, Range, Ring


@dataclass(frozen=True, slots=True)
class Piece:
    """A part `(start, end]` of a natural range within which the pending nodes are the same."""

    start: int
    end: int
    pending: tuple[int, ...]


def cut_ranges(ring: Ring, space: Partitioner) -> dict[int, tuple[Piece, ...]]:
    """The natural ranges that pending ranges overlap, by index: their pieces, in the order of tokens.

    The pending ranges of a joining node end at its tokens, inside natural ranges. Those of a leaving node are equal to
    natural ranges, and leave them in one piece.
    """
    overlapping: dict[int, list[Pending]] = defaultdict(list)
    for pending in ring.pending:
        for index in _overlapped(ring, pending, space):
            overlapping[index].append(pending)
    return {index: tuple(_pieces(ring.range(index), pending, space)) for index, pending in overlapping.items()}


def _overlapped(ring: Ring, pending: Pending, space: Partitioner) -> Iterator[int]:
    """Indexes of the natural ranges that share a token with a pending range."""
    first = bisect_right(ring.tokens, pending.start) % len(ring)
    last = bisect_left(ring.tokens, pending.end) % len(ring)
    if first == last and space.width(pending.start, pending.end) > space.width(pending.start, ring.tokens[first]):
        return iter(range(len(ring)))  # it starts and ends in the same range, and covers the whole ring
    return (index % len(ring) for index in range(first, last + 1 if first <= last else last + 1 + len(ring)))


def _pieces(whole: Range, overlapping: list[Pending], space: Partitioner) -> Iterator[Piece]:
    start, end = whole
    cuts = {token for pending in overlapping for token in (pending.start, pending.end) if space.within(token, whole)}
    for token in sorted(cuts | {end}, key=lambda token: space.width(start, token)):
        nodes = {
            node
            for pending in overlapping
            if space.within(token, (pending.start, pending.end))
            for node in pending.replicas
        }
        yield Piece(start, token, tuple(sorted(nodes)))
        start = token
