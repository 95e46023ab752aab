"""Which ranges of one ring can be served at a level, and how many failures they are from not being.

Owns counting: it takes a ring, the nodes that a view does not call live, and a level, and gives numbers. Knows
nothing of thresholds or keyspaces' importance.

Ranges whose replicas stand in the same racks and are live or not alike are counted once, as one kind: a ring of
262,144 ranges has some hundred kinds. The census of a ring with all nodes live is made once; a set of down nodes
costs what these nodes hold, not what the ring has.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from ringcheck.core.consistency import OPERATIONS, Demand, Replicas, resolved, supports

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Level, Operation, Requirement, Rules
    from ringcheck.core.ring import Layout, Partitioner, Pending, Range, Ring

Marks: TypeAlias = tuple[int, ...]
"""For each replica of a range the index of its rack, plus the number of racks where the replica is not live."""

RangeKind: TypeAlias = tuple[Replicas, ...]
"""What a range is like; several where pending ranges cut it into pieces that differ."""

_AT_ONCE = 8192
_NEVER = 1 << 31  # failures: more than there are nodes
_REMEMBERED = 64  # states a ring keeps: one for each distinct set of down nodes among the views of two polls


@dataclass(frozen=True, slots=True)
class OperationHealth:
    """Numbers of one operation: ranges unavailable, and ranges with no spare replica."""

    unavailable: int
    at_minimum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstRange:
    """The range nearest to (or deepest in) unavailability; node indexes, in Cassandra's order."""

    start: int
    end: int
    replicas: tuple[int, ...]
    live: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelHealth:
    """How a ring stands at one level for one client datacenter.

    A range counts as unavailable where the worse of its operations is. Structurally unavailable ranges are counted
    in `unavailable` too, but not in the failures to outage, which no node causes.

    Attributes:
        level: the consistency level.
        datacenter: the clients' datacenter of LOCAL levels, None for the others.
        required: what a range needs, without pending replicas.
        ranges: how many the ring has: the denominator of the counts.
        unavailable: ranges that can't be served.
        unavailable_share: their share of the token space, 0 to 1.
        at_minimum: ranges that can be served with no replica to spare.
        structurally_unavailable: ranges that need more replicas than there are.
        outage_share: share of the token space of the unavailable ranges that are not structurally so.
        node_failures_to_outage: fewest nodes whose loss makes a range unavailable; 0 where one is, None where no
            loss can.
        rack_failures_to_outage: the same in racks.
        by_operation: the operations that the level has.
        worst_range: None for a level that needs no replica (ANY).
    """

    level: Level
    datacenter: str | None
    required: tuple[Requirement, ...]
    ranges: int
    unavailable: int
    unavailable_share: float
    at_minimum: int
    structurally_unavailable: int
    outage_share: float
    node_failures_to_outage: int | None
    rack_failures_to_outage: int | None
    by_operation: Mapping[Operation, OperationHealth]
    worst_range: WorstRange | None

    @property
    def outage(self) -> int:
        """Ranges that are unavailable because nodes are down, and would be served if they came back."""
        return self.unavailable - self.structurally_unavailable

    @property
    def badness(self) -> tuple[int, int, int, int]:
        """Orders views by how bad the same ring looks from them; one that no failure makes worse is the best."""
        left = self.node_failures_to_outage
        return self.outage, self.unavailable, self.at_minimum, -_NEVER if left is None else -left


@dataclass(frozen=True, slots=True)
class Stand:
    """How ranges of one kind stand against one demand; None where nothing can make them unavailable."""

    spare: int | None
    rack_failures: int | None
    structural: bool


Condition: TypeAlias = Literal["spare", "at_minimum", "unavailable", "structurally_unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one range stands at a level, by the demand that is nearest to failing, or has failed deepest.

    Attributes:
        live: live replicas that the demand counts; pending ones too, where it needs them.
        replicas: those that it would count with all nodes live.
        required: live replicas that it needs; 0 for ANY.
        spare: live - required; None where nothing can make the range unavailable.
        structural: whether it needs more replicas than there are.
    """

    live: int
    replicas: int
    required: int
    spare: int | None
    structural: bool = False

    @property
    def condition(self) -> Condition:
        """What `LevelHealth` counts the range as; structurally unavailable ones are told apart."""
        if self.structural:
            return "structurally_unavailable"
        if self.spare == 0:
            return "at_minimum"
        return "unavailable" if self.spare is not None and self.spare < 0 else "spare"


def standing(kind: RangeKind, demands: tuple[Demand, ...]) -> Standing:
    """How a range of this kind stands against all of these demands: the worst of its pieces, on the worst of them."""
    found = [one for piece in kind for demand in demands for one in _standings(piece, demand)]
    if not found:
        live = sum(sum(racks) for _, racks in kind[0].live)
        return Standing(live=live, replicas=_total(kind[0].natural, None), required=0, spare=None)
    worst = min(found, key=lambda one: one.live - one.required)
    return replace(worst, structural=any(piece.structural(demand) for piece in kind for demand in demands))


def _standings(piece: Replicas, demand: Demand) -> Iterator[Standing]:
    for margin in piece.margins(demand):
        replicas = _total(piece.natural, margin.datacenter)
        if margin.counts_pending:
            replicas += _total(piece.pending, margin.datacenter)
        yield Standing(live=margin.live, replicas=replicas, required=margin.required, spare=margin.spare)


def _total(counts: Iterable[tuple[str, int]], datacenter: str | None) -> int:
    return sum(number for name, number in counts if datacenter in {None, name})


@lru_cache(maxsize=65536)
def stand(kind: RangeKind, demand: Demand) -> Stand:
    """How a range of this kind stands: its worst piece counts."""
    margins = [margin for piece in kind for margin in piece.margins(demand)]
    if not margins:
        return Stand(None, None, structural=False)
    return Stand(
        min(margin.spare for margin in margins),
        min(margin.rack_failures() for margin in margins),
        any(piece.structural(demand) for piece in kind),
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a range within which the pending nodes are the same."""

    start: int
    end: int
    pending: tuple[int, ...]


def cut(ring: Ring, space: Partitioner) -> dict[int, tuple[Piece, ...]]:
    """The natural ranges that pending ranges overlap, by index, in pieces.

    A joiner's pending ranges cut natural ranges at its tokens; a leaver's equal natural ranges.
    """
    touched: dict[int, list[Pending]] = defaultdict(list)
    for item in ring.pending:
        for index in _overlapped(ring, item, space):
            touched[index].append(item)
    return {index: tuple(_pieces(ring.range(index), items, space)) for index, items in touched.items()}


def _overlapped(ring: Ring, item: Pending, space: Partitioner) -> Iterator[int]:
    """Sequence[int] of the natural ranges that share a token with a pending one."""
    first = bisect_right(ring.tokens, item.start) % len(ring)
    last = bisect_left(ring.tokens, item.end) % len(ring)
    if first == last and space.width(item.start, item.end) > space.width(item.start, ring.tokens[first]):
        return iter(range(len(ring)))  # it begins and ends in one range, the long way round
    return (index % len(ring) for index in range(first, last + 1 if first <= last else last + 1 + len(ring)))


def _pieces(whole: Range, items: list[Pending], space: Partitioner) -> Iterator[Piece]:
    start, end = whole
    cuts = {token for item in items for token in (item.start, item.end) if space.within(token, whole)} | {end}
    for token in sorted(cuts, key=lambda token: space.width(start, token)):
        nodes = {node for item in items if space.within(token, (item.start, item.end)) for node in item.replicas}
        yield Piece(start, token, tuple(sorted(nodes)))
        start = token


class RingState:
    """A ring of which some nodes are not live; makes each number once."""

    def __init__(self, ring: Ring, layout: Layout, space: Partitioner, down: frozenset[int]) -> None:
        self.ring = ring
        self.space = space
        self.down = down
        self._layout = layout
        racks = len(layout.racks)
        self._places = [*layout.rack_of, 2 * racks]  # the filler's place is in no rack, live or not
        self._marks = [place + racks if node in down else place for node, place in enumerate(self._places)]
        self._replicas: dict[tuple[Marks, Marks], Replicas] = {}
        self._levels: dict[object, LevelHealth] = {}
        self._memo: dict[tuple[str, str | None], frozenset[int]] = {}
        self.combined: dict[object, LevelHealth] = {}  # with other states of the ring, by `seen_by_any`
        self.idle = False  # whether nobody has asked for it since `let_go`

    # What the ranges are like

    @cached_property
    def pieces(self) -> dict[int, tuple[Piece, ...]]:
        """Ranges that pending ones cut; they are counted one by one."""
        return cut(self.ring, self.space) if self.ring.pending else {}

    @cached_property
    def touched(self) -> list[int] | range:
        """Sequence[int] of the ranges with a down or a pending replica, ascending; all where there are many."""
        if not self.down and not self.pieces:
            return []
        held = self.ring.ranges_of
        if sum(len(held[node]) for node in self.down) > len(self.ring) // 4:
            return range(len(self.ring))
        return sorted(set(self.pieces).union(*(held[node] for node in self.down)))

    @cached_property
    def kinds(self) -> Counter[RangeKind]:
        """How many ranges there are of each kind."""
        counts, _ = self._touched_marks
        marks = counts.copy()
        if not isinstance(self.touched, range):
            marks.update(self._census())
            for row, number in self._unhurt(counts).items():
                marks[row] -= number
            for index in self.pieces:
                marks[self._sorted_row(index, self._places)] -= 1
        found: Counter[RangeKind] = Counter()
        for row, number in marks.items():
            if number:
                found[self._alike(row),] += number
        found.update(self.kind(index) for index in self.pieces)
        return found

    @cached_property
    def _touched_marks(self) -> tuple[Counter[Marks], Counter[Marks]]:
        """How many of the touched ranges, without those that are cut, there are of each marks, and how many tokens."""
        indexes = [index for index in self.touched if index not in self.pieces] if self.pieces else self.touched
        rows = list(self._rows(indexes, self._marks))
        return _unordered(Counter(rows)), self._widths(indexes, rows)

    def _unhurt(self, numbers: Mapping[Marks, int]) -> Counter[Marks]:
        """The same by what the marks would be with all nodes live."""
        racks = len(self._layout.racks)
        return _unordered(numbers, lambda mark: mark - racks if racks <= mark < 2 * racks else mark)

    def _census(self) -> Counter[Marks]:
        """Marks of all ranges with all nodes live: made once for a ring, as long as its nodes stay in their racks."""
        key = ("census", self._layout)
        census = self.ring.memo.get(key)
        if census is None:
            census = self.ring.memo[key] = _unordered(Counter(self._rows(self._everything, self._places)))
        return cast("Counter[Marks]", census)

    @property
    def _everything(self) -> range:
        return range(len(self.ring))

    def _rows(self, indexes: Sequence[int], places: list[int]) -> Iterator[Marks]:
        """Marks of these ranges."""
        width, table = self.ring.width, self.ring.table
        if not width:
            return iter([()] * len(indexes))
        if len(indexes) == len(self.ring):
            return zip(*[map(places.__getitem__, table)] * width, strict=True)
        first = [index * width for index in indexes]
        columns = [map(table.__getitem__, map(column.__add__, first)) for column in range(width)]
        return zip(*[map(places.__getitem__, column) for column in columns], strict=True)

    def _widths(self, indexes: Sequence[int], rows: Iterable[Marks]) -> Counter[Marks]:
        """How many tokens these ranges, which ascend, have of each marks."""
        found: defaultdict[Marks, int] = defaultdict(int)
        tokens = self.ring.tokens
        starts = map(tokens.__getitem__, map((-1).__add__, indexes))
        ends = map(tokens.__getitem__, indexes)
        lap = self.space.size if indexes and not indexes[0] else 0  # range 0 begins at the last token, a lap earlier
        for row, start, end in zip(rows, starts, ends, strict=True):
            found[row] += end - start + lap
            lap = 0
        return _unordered(found)

    def _row(self, index: int, places: list[int]) -> Marks:
        width = self.ring.width
        return tuple([places[node] for node in self.ring.table[index * width : (index + 1) * width]])

    def _sorted_row(self, index: int, places: list[int]) -> Marks:
        return tuple(sorted(self._row(index, places)))

    def kind(self, index: int) -> RangeKind:
        """What a range is like."""
        row = self._row(index, self._marks)
        pieces = self.pieces.get(index)
        if pieces is None:
            return (self._alike(row),)
        return tuple(sorted({self._alike(row, piece) for piece in pieces}))

    def _alike(self, row: Marks, piece: Piece | None = None, marks: list[int] | None = None) -> Replicas:
        marks = marks or self._marks
        pending = tuple([marks[node] for node in piece.pending]) if piece else ()
        found = self._replicas.get((row, pending))
        if found is None:
            # The order of replicas makes hundreds of rows of one kind; it is worked out for one of them.
            found = _counted(self._layout.racks, tuple(sorted(row)), tuple(sorted(pending)))
            self._replicas[row, pending] = found
        return found

    # How they stand at a level

    def level(self, level: Level, client: str | None, rules: Rules) -> LevelHealth:
        """Numbers of one level, seen by clients of one datacenter (None for levels that are not LOCAL).

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        key = (level, client, rules.key)
        found = self._levels.get(key)
        if found is None:
            found = self._levels[key] = self._judge(level, client, rules)
        return found

    def _judge(self, level: Level, client: str | None, rules: Rules) -> LevelHealth:
        demands = demands_of(level, client, rules)
        stands = {kind: [stand(kind, one) for one in demands.values()] for kind in self.kinds}
        worst = {kind: _worst(each) for kind, each in stands.items()}
        structural = {kind for kind, each in stands.items() if any(one.structural for one in each)}
        gone = {kind for kind, one in worst.items() if one.spare is not None and one.spare < 0}
        sound = [one for kind, one in worst.items() if kind not in structural and one.spare is not None]
        return LevelHealth(
            level=level,
            datacenter=client,
            required=self._required(next(iter(demands.values()))),
            ranges=len(self.ring),
            unavailable=sum(self.kinds[kind] for kind in gone),
            unavailable_share=self._share(gone, demands.values()),
            at_minimum=sum(self.kinds[kind] for kind, one in worst.items() if one.spare == 0),
            structurally_unavailable=sum(self.kinds[kind] for kind in structural),
            outage_share=self._share(gone - structural, demands.values()),
            node_failures_to_outage=min((max(0, (one.spare or 0) + 1) for one in sound), default=None),
            rack_failures_to_outage=min((one.rack_failures or 0 for one in sound), default=None),
            by_operation={name: self._operation(one) for name, one in demands.items()},
            worst_range=self._worst_range(worst),
        )

    def _required(self, demand: Demand) -> tuple[Requirement, ...]:
        """The demand's requirements in numbers: of "all that it has" the most that a range has."""
        most = {piece.natural for kind in self.kinds for piece in kind}
        return tuple(
            max((resolved(one, demand, natural) for natural in most), key=_number) for one in demand.requirements
        )

    def _operation(self, demand: Demand) -> OperationHealth:
        spares = [(stand(kind, demand).spare, number) for kind, number in self.kinds.items()]
        return OperationHealth(
            unavailable=sum(number for spare, number in spares if spare is not None and spare < 0),
            at_minimum=sum(number for spare, number in spares if spare == 0),
        )

    def _worst_range(self, worst: Mapping[RangeKind, Stand]) -> WorstRange | None:
        spares = {kind: one.spare for kind, one in worst.items() if one.spare is not None}
        if not spares:
            return None
        kind = min(spares, key=lambda kind: (spares[kind], kind))
        index = next(index for index in self._where({kind}) if self.kind(index) == kind)
        start, end = self.ring.range(index)
        nodes = self.ring.replicas(index)
        live = tuple([node for node in nodes if node not in self.down])
        return WorstRange(start=start, end=end, replicas=nodes, live=live)

    def _where(self, kinds: Iterable[RangeKind]) -> list[int] | range:
        """Where ranges of these kinds can be: among the touched ones, unless one has all replicas live."""
        hurt = all(any(piece.pending or piece.live != piece.unhurt for piece in kind) for kind in kinds)
        return self.touched if hurt else range(len(self.ring))

    def _share(self, gone: set[RangeKind], demands: Iterable[Demand]) -> float:
        if not gone:
            return 0.0
        pieces = {piece for kind in gone for piece in kind}
        lost = {piece for piece in pieces if any((stand((piece,), one).spare or 0) < 0 for one in demands)}
        widths = self._touched_widths if isinstance(self._where(gone), list) else self._all_widths
        return sum(widths[piece] for piece in lost) / self.space.size

    @cached_property
    def _touched_widths(self) -> Counter[Replicas]:
        """How many tokens there are of each kind of (piece of a) range, among the touched ranges."""
        found: Counter[Replicas] = Counter()
        for row, width in self._touched_marks[1].items():
            found[self._alike(row)] += width
        for index in self.pieces:
            for start, end, alike in self.parts(index):
                found[alike] += self.space.width(start, end)
        return found

    @cached_property
    def _all_widths(self) -> Counter[Replicas]:
        """The same among all ranges: those of the ring with all nodes live, but for the touched ones."""
        if isinstance(self.touched, range):
            return self._touched_widths
        found = self._touched_widths.copy()
        for row, width in self._census_widths().items():
            found[self._alike(row)] += width
        for row, width in self._unhurt(self._touched_marks[1]).items():
            found[self._alike(row)] -= width
        for index in self.pieces:
            found[self.whole(index)] -= self.space.width(*self.ring.range(index))
        return found

    def _census_widths(self) -> Counter[Marks]:
        """How many tokens there are of each marks with all nodes live; made once, as the census."""
        key = ("widths", self._layout)
        if key not in self.ring.memo:
            rows = self._rows(self._everything, self._places)
            self.ring.memo[key] = self._widths(self._everything, rows)
        return cast("Counter[Marks]", self.ring.memo[key])

    def unavailable(self, level: Level, client: str | None, rules: Rules) -> dict[Operation, list[Range]]:
        """The ranges (or the pieces of ranges that pending ones cut) that each operation can't be served on.

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        demands = demands_of(level, client, rules)
        found: dict[Operation, list[Range]] = {name: [] for name in demands}
        if not self.level(level, client, rules).unavailable:
            return found
        for index in range(len(self.ring)):
            for start, end, alike in self.parts(index):
                for name, one in demands.items():
                    if (stand((alike,), one).spare or 0) < 0:
                        found[name].append((start, end))
        return found

    def standings(self, level: Level, client: str | None, rules: Rules) -> Iterator[Standing]:
        """How each range stands at a level, in the order of tokens; ranges that are alike share one value.

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        demands = tuple(demands_of(level, client, rules).values())
        found: dict[Marks, Standing] = {}
        for index, row in enumerate(self._rows(self._everything, self._marks)):
            one = standing(self.kind(index), demands) if index in self.pieces else found.get(row)
            if one is None:
                one = found[row] = standing((self._alike(row),), demands)
            yield one

    def parts(self, index: int) -> Iterator[tuple[int, int, Replicas]]:
        """A range, or the pieces that pending ranges cut it into: start, end and what each is like."""
        row = self._row(index, self._marks)
        if index not in self.pieces:
            yield *self.ring.range(index), self._alike(row)
            return
        for piece in self.pieces[index]:
            yield piece.start, piece.end, self._alike(row, piece)

    def whole(self, index: int) -> Replicas:
        """What a range would be like with all nodes live and none pending."""
        return self._alike(self._row(index, self._places))

    def breakers(self, demands: Iterable[Demand]) -> frozenset[int]:
        """The live nodes each of which, if it stopped, would make a range unavailable that can be served now."""
        each = tuple(demands)
        scopes = {kind: places for kind in self.kinds if (places := _breaking(kind, each))}
        members: dict[str | None, set[int]] = {place: set() for places in scopes.values() for place in places}
        for rows in self._members_of(scopes):
            for kind, nodes in rows:
                for place in scopes.get(kind, ()):
                    members[place].update(nodes)
            if all(found >= self._living(place) for place, found in members.items()):
                break  # of most rings a few thousand ranges name every node
        return frozenset().union(*(found & self._living(place) for place, found in members.items()))

    def _members_of(self, kinds: Collection[RangeKind]) -> Iterator[Iterator[tuple[RangeKind, tuple[int, ...]]]]:
        """Kind and nodes of the ranges that can be of these kinds, a few thousand at a time."""
        if kinds and isinstance(self._where(kinds), list):
            yield ((self.kind(index), self.members(index)) for index in self.touched)
        elif kinds:
            yield ((self.kind(index), self.members(index)) for index in self.pieces)
            # A cut range comes again here, whole: its natural replicas are counted on the safe side.
            rows = zip(map(self._kind_of, self._rows(self._everything, self._marks)), self.ring.rows(), strict=True)
            for _ in range(0, len(self.ring), _AT_ONCE):
                yield islice(rows, _AT_ONCE)

    def _kind_of(self, row: Marks) -> RangeKind:
        return (self._replicas.get((row, ())) or self._alike(row),)

    def _living(self, datacenter: str | None) -> frozenset[int]:
        """The nodes of a datacenter (None: of all) that hold ranges here and are live."""
        key = ("living", datacenter)
        if key not in self._memo:
            homes = [self._layout.racks[place][0] for place in self._layout.rack_of]
            here = [node for node, home in enumerate(homes) if datacenter in {None, home}]
            self._memo[key] = self.ring.holding(here) - self.down
        return self._memo[key]

    def members(self, index: int) -> tuple[int, ...]:
        """Nodes that hold a range or gain a part of it."""
        pending = (node for piece in self.pieces.get(index, ()) for node in piece.pending)
        return (*self.ring.replicas(index), *pending)

    def regained(self, back: frozenset[int], node: int, demands: Iterable[Demand]) -> int:
        """How many tokens can be served again when a node returns, some others being back already."""
        wanted = tuple(demands)
        before, after = self._marks_with(back), self._marks_with(back | {node})
        total = 0
        held = [index for index in self.ring.ranges_of[node] if index not in self.pieces]
        for row, width in self._widths(held, self._rows(held, before)).items():
            place = row.index(before[node])
            returned = (*row[:place], after[node], *row[place + 1 :])
            if not _served(self._alike(row), wanted) and _served(self._alike(returned), wanted):
                total += width
        for index, pieces in self.pieces.items():
            if node not in self.members(index):
                continue
            then, now = self._row(index, before), self._row(index, after)
            for piece in pieces:
                lost = not _served(self._alike(then, piece, before), wanted)
                if lost and _served(self._alike(now, piece, after), wanted):
                    total += self.space.width(piece.start, piece.end)
        return total

    def _marks_with(self, back: frozenset[int]) -> list[int]:
        return [self._places[node] if node in back else mark for node, mark in enumerate(self._marks)]


def _unordered(numbers: Mapping[Marks, int], mark: Callable[[int], int] = int) -> Counter[Marks]:
    """Numbers by sorted marks, each made another one first: the order of replicas makes hundreds of what is a few."""
    found: Counter[Marks] = Counter()
    for row, number in numbers.items():
        found[tuple(sorted(map(mark, row)))] += number
    return found


def _number(one: Requirement) -> int:
    return one.replicas or 0


def _worst(stands: list[Stand]) -> Stand:
    spares = [one.spare for one in stands if one.spare is not None]
    racks = [one.rack_failures for one in stands if one.rack_failures is not None]
    structural = any(one.structural for one in stands)
    return Stand(min(spares, default=None), min(racks, default=None), structural)


def seen_by_any(worst: LevelHealth, seen: Sequence[tuple[RingState, Rules]]) -> LevelHealth:
    """The numbers of a level where a range counts as lost if any of several coordinators can't serve it.

    Args:
        worst: the numbers of the coordinator that is worst off: level, requirements and worst range are its.
        seen: how the ring looks to each of the coordinators, and the rules of its release.
    """
    level, client = worst.level, worst.datacenter
    key = (level, client, frozenset((state.down, rules.key) for state, rules in seen))
    first = seen[0][0]
    found = first.combined.get(key)
    if found is None:
        found = first.combined[key] = _combined(worst, seen)
    return found


def _combined(worst: LevelHealth, seen: Sequence[tuple[RingState, Rules]]) -> LevelHealth:
    level, client, ring, space = worst.level, worst.datacenter, seen[0][0].ring, seen[0][0].space
    lost: dict[Operation, set[Range]] = defaultdict(set)
    tight: set[int] = set()
    for state, rules in seen:
        for operation, spans in state.unavailable(level, client, rules).items():
            lost[operation].update(spans)
        tight.update(index for index, one in enumerate(state.standings(level, client, rules)) if one.spare == 0)
    index_of = {end: index for index, end in enumerate(ring.tokens)}
    gone = {name: {_index(ring, index_of, end) for _, end in spans} for name, spans in lost.items()}
    every = frozenset().union(*gone.values())
    widths = {span: space.width(*span) for spans in lost.values() for span in spans}
    structural_share = worst.unavailable_share - worst.outage_share
    share = sum(widths.values()) / space.size
    return replace(
        worst,
        unavailable=len(every),
        unavailable_share=share,
        outage_share=max(0.0, share - structural_share),
        at_minimum=len(tight - every),
        by_operation={
            name: replace(one, unavailable=len(gone.get(name, ()))) for name, one in worst.by_operation.items()
        },
    )


def _index(ring: Ring, index_of: Mapping[int, int], end: int) -> int:
    """The natural range that a range, or a piece of one, ends in."""
    found = index_of.get(end)
    return bisect_left(ring.tokens, end) % len(ring) if found is None else found


def demands_of(level: Level, client: str | None, rules: Rules) -> dict[Operation, Demand]:
    """What each operation that the level has demands."""
    return {name: rules.demand(level, name, client) for name in OPERATIONS if supports(level, name, rules.version)}


def _breaking(kind: RangeKind, demands: tuple[Demand, ...]) -> frozenset[str | None]:
    """Datacenters (None: all) whose live replicas this kind can't spare, for an operation that is served now."""
    found: set[str | None] = set()
    for piece in kind:
        for one in demands:
            margins = piece.margins(one)
            if all(margin.spare >= 0 for margin in margins):
                found.update(margin.datacenter for margin in margins if margin.spare == 0)
    return frozenset(found)


@lru_cache(maxsize=65536)
def _served(alike: Replicas, demands: tuple[Demand, ...]) -> bool:
    return all((stand((alike,), one).spare or 0) >= 0 for one in demands)


@lru_cache(maxsize=65536)
def _counted(racks: tuple[tuple[str, str], ...], row: Marks, pending: Marks) -> Replicas:
    """Counts of a range with these marks: whichever node of a rack is down, they were counted before."""
    return _one_of_its_kind(replicas(racks, row, pending))


@lru_cache(maxsize=65536)
def _one_of_its_kind(one: Replicas) -> Replicas:
    """The first of equals, so that later ones are found by identity."""
    return one


def replicas(racks: tuple[tuple[str, str], ...], row: Marks, pending: Marks) -> Replicas:
    """Counts of a range with these marks."""
    number = len(racks)
    natural = [mark % number for mark in row if mark < 2 * number]
    live = [mark for mark in row if mark < number]
    return Replicas(
        natural=_by_datacenter(racks, natural),
        live=_by_rack(racks, live),
        pending=_by_datacenter(racks, [mark % number for mark in pending]),
        together=_by_rack(racks, live + [mark for mark in pending if mark < number]),
        unhurt=_by_rack(racks, natural),
    )


def _by_datacenter(racks: tuple[tuple[str, str], ...], places: list[int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter([racks[place][0] for place in places]).items()))


def _by_rack(racks: tuple[tuple[str, str], ...], places: list[int]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, number in Counter(places).items():
        found[racks[place][0]].append(number)
    return tuple(sorted((name, tuple(sorted(counts, reverse=True))) for name, counts in found.items()))


def ring_state(ring: Ring, layout: Layout, space: Partitioner, down: Iterable[int]) -> RingState:
    """The state of a ring without these nodes; remembered with the ring, which is immutable."""
    key = ("state", layout, space, ring.holding(down))
    found = ring.memo.get(key)
    if found is None:
        for old in _remembered(ring)[: -_REMEMBERED + 1]:
            ring.memo.pop(old, None)
        found = ring.memo[key] = RingState(ring, layout, space, key[3])
    state = cast("RingState", found)
    state.idle = False
    return state


def let_go(rings: Iterable[Ring]) -> None:
    """Forget states that nobody has asked for since the last call; for who polls for months.

    A state without three of 1,024 nodes takes 4 MiB on five rings, and no set of down nodes need ever come back.
    """
    for ring in rings:
        for key in _remembered(ring):
            state = ring.memo.get(key)
            if isinstance(state, RingState) and state.idle:
                ring.memo.pop(key, None)
            elif isinstance(state, RingState):
                state.idle = True


def _remembered(ring: Ring) -> list[object]:
    """Keys of the states that a ring keeps, oldest first; `list` is one step, whatever other threads do meanwhile."""
    return [one for one in list(ring.memo) if isinstance(one, tuple) and one[0] == "state"]
