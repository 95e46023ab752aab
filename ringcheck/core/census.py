"""The ranges of a ring with some nodes down, counted by kind.

The census of a ring with all nodes up is taken once and kept with the ring. A state with nodes down starts from it and
corrects it by the ranges that those nodes hold: removes what these ranges were and adds what they are. So its cost is
proportional to what the down nodes hold and not to the size of the ring. If they hold more than a quarter of the
ranges, counting all of them again is cheaper. Ranges that pending ranges cut are counted one by one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, cast

from ringcheck.core.kinds import replica_counts, unordered
from ringcheck.core.pieces import cut_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Replicas
    from ringcheck.core.kinds import Marks, RangeKind
    from ringcheck.core.pieces import Piece
    from ringcheck.core.ring import Layout, Partitioner, Ring


class RangeCensus:
    """The ranges of a ring without some nodes: how many there are of each kind, and how many tokens they have."""

    def __init__(self, ring: Ring, layout: Layout, space: Partitioner, down: frozenset[int]) -> None:
        self.ring = ring
        self.space = space
        self.down = down
        self._layout = layout
        racks = len(layout.racks)
        self._all_up = [*layout.rack_of, 2 * racks]  # marks with all nodes up; the filler's mark belongs to no rack
        self._marks = [rack + racks if node in down else rack for node, rack in enumerate(self._all_up)]
        self._counts_by_marks: dict[tuple[Marks, Marks], Replicas] = {}

    # Single ranges

    @cached_property
    def pieces(self) -> dict[int, tuple[Piece, ...]]:
        """The ranges that pending ranges cut, by index."""
        return cut_ranges(self.ring, self.space) if self.ring.pending else {}

    @cached_property
    def touched(self) -> list[int] | range:
        """Indexes of the ranges with a down or a pending replica, ascending; all ranges if there are many."""
        if not self.down and not self.pieces:
            return []
        ranges_of = self.ring.ranges_of
        if sum(len(ranges_of[node]) for node in self.down) > len(self.ring) // 4:
            return self._every_range
        return sorted(set(self.pieces).union(*(ranges_of[node] for node in self.down)))

    @property
    def _every_range(self) -> range:
        return range(len(self.ring))

    def kind(self, index: int) -> RangeKind:
        """The kind of a range."""
        row = self._row(index, self._marks)
        pieces = self.pieces.get(index)
        if pieces is None:
            return (self._counts(row),)
        return tuple(sorted({self._counts(row, piece) for piece in pieces}))

    def parts(self, index: int) -> Iterator[tuple[int, int, Replicas]]:
        """A range, or the pieces that pending ranges cut it into: start, end and replica counts."""
        row = self._row(index, self._marks)
        if index not in self.pieces:
            yield *self.ring.range(index), self._counts(row)
            return
        for piece in self.pieces[index]:
            yield piece.start, piece.end, self._counts(row, piece)

    def whole(self, index: int) -> Replicas:
        """Replica counts of a range with all nodes up and none pending."""
        return self._counts(self._row(index, self._all_up))

    def members(self, index: int) -> tuple[int, ...]:
        """Nodes that hold a range or gain a part of it."""
        pending = (node for piece in self.pieces.get(index, ()) for node in piece.pending)
        return (*self.ring.replicas(index), *pending)

    # All ranges

    @cached_property
    def kinds(self) -> Counter[RangeKind]:
        """How many ranges there are of each kind."""
        touched, _ = self._touched_marks
        marks = touched.copy()
        if not isinstance(self.touched, range):
            marks.update(self._census())
            for row, number in self._with_all_up(touched).items():
                marks[row] -= number
            for index in self.pieces:
                marks[tuple(sorted(self._row(index, self._all_up)))] -= 1
        kinds: Counter[RangeKind] = Counter()
        for row, number in marks.items():
            if number:
                kinds[self._counts(row),] += number
        kinds.update(self.kind(index) for index in self.pieces)
        return kinds

    @cached_property
    def _touched_widths(self) -> Counter[Replicas]:
        """How many tokens the touched ranges (and pieces) have, by replica counts."""
        widths: Counter[Replicas] = Counter()
        for row, width in self._touched_marks[1].items():
            widths[self._counts(row)] += width
        for index in self.pieces:
            for start, end, counts in self.parts(index):
                widths[counts] += self.space.width(start, end)
        return widths

    @cached_property
    def _all_widths(self) -> Counter[Replicas]:
        """How many tokens all ranges (and pieces) have, by replica counts."""
        if isinstance(self.touched, range):
            return self._touched_widths
        widths = self._touched_widths.copy()
        for row, width in self._census_widths().items():
            widths[self._counts(row)] += width
        for row, width in self._with_all_up(self._touched_marks[1]).items():
            widths[self._counts(row)] -= width
        for index in self.pieces:
            widths[self.whole(index)] -= self.space.width(*self.ring.range(index))
        return widths

    @cached_property
    def _touched_marks(self) -> tuple[Counter[Marks], Counter[Marks]]:
        """The touched ranges without those in pieces: how many there are, and how many tokens they have, by marks."""
        indexes = [index for index in self.touched if index not in self.pieces] if self.pieces else self.touched
        rows = list(self._rows(indexes, self._marks))
        return unordered(Counter(rows)), self._widths(indexes, rows)

    def _with_all_up(self, numbers: Mapping[Marks, int]) -> Counter[Marks]:
        """Numbers by marks, converted to numbers by the marks that the ranges have with all nodes up."""
        racks = len(self._layout.racks)
        return unordered(numbers, lambda mark: mark - racks if racks <= mark < 2 * racks else mark)

    def _census(self) -> Counter[Marks]:
        """How many ranges there are by marks with all nodes up; kept with the ring, for this layout."""
        key = ("census", self._layout)
        census = self.ring.memo.get(key)
        if census is None:
            census = self.ring.memo[key] = unordered(Counter(self._rows(self._every_range, self._all_up)))
        return cast("Counter[Marks]", census)

    def _census_widths(self) -> Counter[Marks]:
        """How many tokens the ranges have by marks with all nodes up; kept as the census."""
        key = ("widths", self._layout)
        widths = self.ring.memo.get(key)
        if widths is None:
            rows = self._rows(self._every_range, self._all_up)
            widths = self.ring.memo[key] = self._widths(self._every_range, rows)
        return cast("Counter[Marks]", widths)

    # Marks

    def _counts(self, row: Marks, piece: Piece | None = None, marks: list[int] | None = None) -> Replicas:
        """Replica counts of a range with these marks, or of a piece of it."""
        marks = marks or self._marks
        pending = tuple([marks[node] for node in piece.pending]) if piece else ()
        counts = self._counts_by_marks.get((row, pending))
        if counts is None:
            counts = replica_counts(self._layout.racks, tuple(sorted(row)), tuple(sorted(pending)))
            self._counts_by_marks[row, pending] = counts
        return counts

    def _row(self, index: int, marks: list[int]) -> Marks:
        """Marks of a range, in the order of replicas."""
        width = self.ring.width
        return tuple([marks[node] for node in self.ring.table[index * width : (index + 1) * width]])

    def _rows(self, indexes: Sequence[int], marks: list[int]) -> Iterator[Marks]:
        """Marks of these ranges, in the order of replicas."""
        width, table = self.ring.width, self.ring.table
        if not width:
            return iter([()] * len(indexes))
        if len(indexes) == len(self.ring):
            return zip(*[map(marks.__getitem__, table)] * width, strict=True)
        nodes = chain.from_iterable([table[index * width : (index + 1) * width] for index in indexes])
        return zip(*[map(marks.__getitem__, nodes)] * width, strict=True)

    def _widths(self, indexes: Sequence[int], rows: Iterable[Marks]) -> Counter[Marks]:
        """How many tokens these ranges have by marks; the indexes must ascend."""
        widths: defaultdict[Marks, int] = defaultdict(int)
        tokens = self.ring.tokens
        starts = map(tokens.__getitem__, map((-1).__add__, indexes))
        ends = map(tokens.__getitem__, indexes)
        ranges = zip(rows, starts, ends, strict=True)
        if indexes and not indexes[0]:  # range 0 starts at the last token, a lap earlier
            row, start, end = next(ranges)
            widths[row] = end - start + self.space.size
        for row, start, end in ranges:
            widths[row] += end - start
        return unordered(widths)
