"""Natural ranges gathered into columns of numbers, sorted, and checked to be one whole ring."""

from __future__ import annotations

from array import array
from itertools import combinations, islice
from operator import eq, lt
from typing import TYPE_CHECKING, TypeVar

from ringcheck.errors import RingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Cells of the table. 262,144 ranges at RF 12 have three million; more than this would be a few wide ranges that force
# their width on many narrow ones.
CELLS = 2**24
WIDENINGS = 64  # each copies the table; ranges of one ring have one width, or a few
_NARROW = 8  # columns that are cheaper to compare pair by pair


class Spans:
    """Natural ranges on their way into a ring, in any order.

    They are kept as columns of numbers: the ranges of a large ring as tuples would take ten times the memory and
    leave it fragmented.

    Attributes:
        nodes: number of nodes in the cluster.
        width: the largest number of replicas of a range so far.
        replicas: number of replicas of all ranges together.
        starts: tokens that the ranges start at; an array, or a list if tokens have more than 64 bits.
        ends: tokens that they end at, likewise.
        table: `width` node indexes for each range, padded with `nodes`.
    """

    def __init__(self, nodes: int) -> None:
        """Begin without ranges."""
        self.nodes = nodes
        self.width = 0
        self.replicas = 0
        self._widenings = 0
        self.starts: array[int] | list[int] = array("q")
        self.ends: array[int] | list[int] = array("q")
        self.table = array("H" if nodes < 2**16 else "I")

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int, Sequence[int]]], nodes: int) -> Spans:
        """Spans with these ranges: (start, end, node indexes).

        Raises:
            RingError: as `add`.
        """
        spans = cls(nodes)
        for start, end, replicas in ranges:
            spans.add(start, end, replicas)
        return spans

    @classmethod
    def of_columns(cls, starts: Sequence[int], ends: Sequence[int], table: Sequence[int], nodes: int) -> Spans:
        """Spans with ranges that all have the same number of replicas.

        Args:
            starts: tokens that the ranges start at.
            ends: tokens that they end at.
            table: node indexes, as many for each range.
            nodes: number of nodes in the cluster.

        Raises:
            RingError: as `add`.
        """
        spans = cls(nodes)
        spans.width = len(table) // len(ends) if ends else 0
        spans._check_size(spans.width)
        try:
            spans.starts, spans.ends = array("q", starts), array("q", ends)
        except OverflowError:  # tokens of RandomPartitioner
            spans.starts, spans.ends = list(starts), list(ends)
        try:
            spans.table.extend(table)
        except OverflowError:
            raise RingError("a range names a node that the cluster does not have") from None
        spans.replicas = len(table)
        return spans

    def add(self, start: int, end: int, replicas: Sequence[int]) -> None:
        """Add the range `(start, end]`.

        Raises:
            RingError: if a number is not a node index, or the ranges differ too much in their number of replicas.
        """
        if len(replicas) != self.width:
            self._check_size(max(len(replicas), self.width))
        if len(replicas) > self.width:
            self._widen(len(replicas))
        try:
            self.starts.append(start)
            self.ends.append(end)
        except OverflowError:  # a token of RandomPartitioner
            self.starts, self.ends = [*self.starts[: len(self.ends)], start], [*self.ends, end]
        try:
            self.table.extend(replicas)
        except OverflowError:
            raise RingError("a range names a node that the cluster does not have") from None
        self.replicas += len(replicas)
        for _ in range(self.width - len(replicas)):
            self.table.append(self.nodes)

    def _check_size(self, width: int) -> None:
        if width * (len(self.ends) + 1) > CELLS or self._widenings > WIDENINGS:
            raise RingError("the ranges differ too much in their number of replicas")

    def _widen(self, width: int) -> None:
        self._widenings += 1
        columns = [
            *self._columns(),
            *(array(self.table.typecode, [self.nodes]) * len(self.ends),) * (width - self.width),
        ]
        self.width = width
        self._join(columns)

    def _columns(self) -> list[array[int]]:
        return [self.table[column :: self.width] for column in range(self.width)]

    def _join(self, columns: Sequence[array[int]]) -> None:
        self.table = array(self.table.typecode, bytes(self.table.itemsize * self.width * len(self.ends)))
        for offset, column in enumerate(columns):
            self.table[offset :: self.width] = column

    def sort(self) -> None:
        """Sort the ranges by their ends."""
        if all(map(lt, self.ends, islice(self.ends, 1, None))):
            return
        order = sorted(range(len(self.ends)), key=self.ends.__getitem__)
        self.starts, self.ends = _picked(self.starts, order), _picked(self.ends, order)
        self._join([_picked(column, order) for column in self._columns()])

    def check(self) -> None:
        """Check that the ranges, which must be sorted, cover the whole ring once.

        Raises:
            RingError: if they overlap or leave a gap, or if a range names a node twice or one that does not exist.
        """
        self._check_tiling()
        if self.table and (
            max(self.table) > self.nodes or len(self.table) - self.table.count(self.nodes) != self.replicas
        ):
            raise RingError("a range names a node that the cluster does not have")
        if self._repeats():
            raise RingError("a range names the same node twice")

    def _repeats(self) -> bool:
        """Whether a range names a node twice."""
        columns = self._columns()
        if self.width > _NARROW:
            rows = zip(*columns, strict=True)
            return any(self.width - len(set(row)) != max(0, row.count(self.nodes) - 1) for row in rows)
        pairs = combinations(columns, 2)
        equal = (zip(left, right, strict=True) for left, right in pairs if any(map(eq, left, right)))
        return any(a == b != self.nodes for pair in equal for a, b in pair)

    def _check_tiling(self) -> None:
        """Check that each range starts where the one before it ends: then no range is missing, and none comes twice."""
        starts, ends = self.starts, self.ends
        if not ends:
            raise RingError("the ring has no ranges")
        if starts[1:] == ends[:-1] and starts[0] == ends[-1] and not any(map(eq, ends, islice(ends, 1, None))):
            return
        for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
            before = ends[index - 1]
            if start != before or (index and end == before):
                overlap = start < before or bool(index and start >= end)
                what = "overlaps" if overlap else "leaves a gap behind"
                raise RingError(f"the ring is not whole: range ({start}, {end}] {what} the range that ends at {before}")


Column = TypeVar("Column", "array[int]", "array[int] | list[int]")


def _picked(column: Column, order: Iterable[int]) -> Column:
    """The column in another order; an array stays an array."""
    picked = map(column.__getitem__, order)
    return array(column.typecode, picked) if isinstance(column, array) else list(picked)
