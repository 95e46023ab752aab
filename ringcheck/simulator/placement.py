"""Where Cassandra puts replicas: tokens, natural endpoints, pending ranges.

Owns both strategies and the arithmetic of nodes that join, leave or move, as in Cassandra 2.2 to 5.0; knows nothing of
time, gossip or HTTP. A node is an index into a list of places; a row is the replicas of one range in Cassandra's order.

Cassandra finds the replicas of a token by walking the ring forward from it. One walk backwards finds the replicas of
all tokens: the nodes that it visited last are those that the forward walk visits first. So the cost of a token does not
depend on the length of its walk, which is long for a small datacenter in a large cluster and for a rack with one node.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.ring import Replication

SimRow: TypeAlias = "tuple[int, ...]"
Gains: TypeAlias = "dict[tuple[int, int], list[int]]"  # (start, end] -> nodes for which it is pending

NEW_ORDER = (3, 2)  # CASSANDRA-10200: since 3.2 a node of a repeated rack is taken in walk order, not after all racks
_STEP = 1 << 20  # more than nodes in any cluster: position * _STEP + node sorts by position


@dataclass(frozen=True, slots=True)
class SimPlace:
    """Datacenter and rack of a node."""

    datacenter: str
    rack: str


@dataclass(frozen=True, slots=True)
class TokenRing:
    """Tokens in order and the node that owns each; range `i` is `(tokens[i - 1], tokens[i]]`.

    Attributes:
        tokens: in ascending order.
        owners: index of the node that owns each token.
    """

    tokens: tuple[int, ...]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, owned: Mapping[int, Iterable[int]]) -> TokenRing:
        """The ring in which each node owns these tokens."""
        pairs = sorted((token, node) for node, tokens in owned.items() for token in tokens)
        return cls(tuple([token for token, _ in pairs]), tuple([node for _, node in pairs]))

    def without(self, nodes: Iterable[int]) -> TokenRing:
        """The ring without the tokens of some nodes."""
        gone = set(nodes)
        kept = [pair for pair in zip(self.tokens, self.owners, strict=True) if pair[1] not in gone]
        return TokenRing(tuple([token for token, _ in kept]), tuple([node for _, node in kept]))

    def with_tokens(self, node: int, tokens: Iterable[int]) -> TokenRing:
        """The ring in which a node owns these tokens in addition."""
        pairs = sorted([*zip(self.tokens, self.owners, strict=True), *((token, node) for token in tokens)])
        return TokenRing(tuple([token for token, _ in pairs]), tuple([owner for _, owner in pairs]))

    def range(self, index: int) -> tuple[int, int]:
        """`(start, end]` of a range."""
        return self.tokens[index - 1], self.tokens[index]

    def index(self, token: int) -> int:
        """Index of the range that holds a token."""
        return bisect_left(self.tokens, token) % len(self.tokens)


def random_tokens(nodes: int, vnodes: int, seed: int, minimum: int = -(2**63), size: int = 2**64) -> list[list[int]]:
    """Tokens of each node, drawn at random and none twice, as without `allocate_tokens_for_keyspace`."""
    draw = random.Random(seed)  # noqa: S311 - tokens of a simulation, reproducible by their seed
    taken: set[int] = set()
    while len(taken) < nodes * vnodes:
        taken.add(minimum + 1 + draw.randrange(size - 1))
    shuffled = sorted(taken)
    draw.shuffle(shuffled)
    return [sorted(shuffled[node * vnodes : (node + 1) * vnodes]) for node in range(nodes)]


def even_tokens(nodes: int, vnodes: int, minimum: int = -(2**63), size: int = 2**64) -> list[list[int]]:
    """Tokens of each node at equal distances, dealt out in turn: the even load that Cassandra's allocation aims at."""
    step = size // (nodes * vnodes)
    return [[minimum + step * (turn * nodes + node + 1) - 1 for turn in range(vnodes)] for node in range(nodes)]


def place(
    ring: TokenRing, replication: Replication, places: Sequence[SimPlace], release: tuple[int, ...]
) -> list[SimRow]:
    """The natural endpoints of every range.

    Args:
        ring: tokens and owners.
        replication: SimpleStrategy or NetworkTopologyStrategy.
        places: datacenter and rack of each node.
        release: of the node that is asked; if racks repeat, the order of replicas depends on it.

    Returns:
        A row for each token of the ring.

    Raises:
        ValueError: if the strategy is another one, which places nothing by token.
    """
    factors = {name: factor.replicas for name, factor in replication.options}
    if replication.strategy == "SimpleStrategy":
        return _simple(ring, factors["replication_factor"])
    if replication.strategy == "NetworkTopologyStrategy":
        return _topology(ring, factors, places, repeats_last=release < NEW_ORDER)
    raise ValueError(f"{replication.strategy} places no replicas by token")


def _backwards(ring: TokenRing) -> Iterator[tuple[int, int]]:
    """Positions and owners of two laps backwards: the second lap needs the nodes that the first one visited last."""
    count = len(ring.owners)
    for lap in (1, 0):
        for index in range(count - 1, -1, -1):
            yield lap * count + index, ring.owners[index]


def _simple(ring: TokenRing, factor: int) -> list[SimRow]:
    """The next nodes on the ring, in whatever rack (SimpleStrategy.calculateNaturalEndpoints)."""
    count = len(ring.owners)
    recent: list[int] = []
    rows: list[SimRow] = [()] * count
    for position, node in _backwards(ring):
        if node in recent:
            recent.remove(node)
        recent.insert(0, node)
        del recent[factor:]
        if position < count:
            rows[position] = tuple(recent)
    return rows


def _topology(
    ring: TokenRing, factors: dict[str, int], places: Sequence[SimPlace], *, repeats_last: bool
) -> list[SimRow]:
    """The replicas of each datacenter, merged in the order of the walk."""
    count = len(ring.owners)
    members = set(ring.owners)
    fillers = _fillers(members, factors, places, repeats_last=repeats_last)
    chosen: dict[str, list[int]] = {name: [] for name in fillers}
    rows: list[SimRow] = [()] * count
    row: SimRow = ()
    for position, node in _backwards(ring):
        home = places[node].datacenter
        if home in fillers:
            fillers[home].visit(position, node)
            if position < count:
                chosen[home] = fillers[home].choice()
        if position < count:
            row = _merge(chosen, fillers) if home in chosen or not row else row
            rows[position] = row
    return rows


def _fillers(
    members: set[int], factors: dict[str, int], places: Sequence[SimPlace], *, repeats_last: bool
) -> dict[str, _Datacenter]:
    fillers = {}
    for name, factor in factors.items():
        local = {node: places[node].rack for node in members if places[node].datacenter == name}
        if factor > 0 and local:
            fillers[name] = _Datacenter(local, factor, repeats_last=repeats_last)
    return fillers


def _merge(chosen: dict[str, list[int]], fillers: dict[str, _Datacenter]) -> SimRow:
    """One row from the choices of all datacenters; a datacenter that was not visited yet in this lap is asked."""
    keys: list[int] = []
    for name, choice in chosen.items():
        keys += choice or fillers[name].choice()
    if len(chosen) > 1:
        keys.sort(key=_position)  # stable: the order within a datacenter is its own
    return tuple([key % _STEP for key in keys])


def _position(key: int) -> int:
    return key // _STEP


class _Datacenter:
    """The nodes of one datacenter that the walk visited last, and which of them become replicas.

    NetworkTopologyStrategy takes the first node of each rack as long as there are racks left. If there are fewer racks
    than replicas, it fills up with the next nodes of racks that it has already.
    """

    def __init__(self, racks: dict[int, str], factor: int, *, repeats_last: bool) -> None:
        self._racks = racks
        self._factor = factor
        self._repeats = max(0, factor - len(set(racks.values())))
        self._repeats_last = repeats_last
        self._firsts: dict[str, int] = {}  # rack -> key of its node visited last, in the order of the walk
        self._nodes: dict[int, int] = {}  # node -> key, in the same order; only needed if racks repeat

    def visit(self, position: int, node: int) -> None:
        rack = self._racks[node]
        key = position * _STEP + node
        self._firsts.pop(rack, None)
        self._firsts[rack] = key
        if self._repeats:
            self._nodes.pop(node, None)
            self._nodes[node] = key

    def choice(self) -> list[int]:
        """Keys `position * _STEP + node` in the order in which Cassandra adds them."""
        if not self._repeats:
            return [key for key, _ in zip(reversed(self._firsts.values()), range(self._factor), strict=False)]
        firsts = list(reversed(self._firsts.values()))
        repeats = self._first_repeats(set(firsts))
        if self._repeats_last:
            last = firsts[-1] // _STEP  # repeats that come before the last rack are added after it
            return firsts + [max(last, key // _STEP) * _STEP + key % _STEP for key in repeats]
        return sorted(firsts + repeats)

    def _first_repeats(self, firsts: set[int]) -> list[int]:
        repeats: list[int] = []
        for key in reversed(self._nodes.values()):
            if len(repeats) == self._repeats:
                break
            if key not in firsts:
                repeats.append(key)
        return repeats


@dataclass(frozen=True, slots=True)
class Movement:
    """Which nodes are about to change the ring.

    Attributes:
        joining: nodes with the tokens that they will own.
        leaving: nodes that will own no tokens.
        moving: nodes with the one token that they will own instead of theirs.
    """

    joining: tuple[tuple[int, tuple[int, ...]], ...] = ()
    leaving: frozenset[int] = frozenset()
    moving: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.joining or self.leaving or self.moving)


def pending(
    ring: TokenRing, replication: Replication, places: Sequence[SimPlace], release: tuple[int, ...], movement: Movement
) -> Gains:
    """Pending ranges with the nodes that gain them, as TokenMetadata.calculatePendingRanges computes them.

    A leaving node keeps its natural ranges. A joining node gains its ranges of a ring that includes its tokens. Each
    joining or moving node is considered alone, on the ring without the leaving ones.
    """
    gains: Gains = {}
    if not movement:
        return gains

    def rows(of: TokenRing) -> list[SimRow]:
        return place(of, replication, places, release)

    now = rows(ring)
    left = ring.without(movement.leaving)
    if movement.leaving:
        _gain_by_leaving(gains, ring, now, left, rows(left), movement.leaving)
    for node, tokens in movement.joining:
        grown = left.with_tokens(node, tokens)
        for span in _ranges_of(grown, rows(grown), node):
            _add(gains, span, node)
    for node, token in movement.moving:
        rest = left.without({node})
        moved = rest.with_tokens(node, (token,))
        _gain_by_moving(gains, (ring, now), (left, rows(left)), (moved, rows(moved)), node)
        left = rest  # Cassandra drops a moving node before it considers the next one
    return gains


def _add(gains: Gains, span: tuple[int, int], node: int) -> None:
    gaining = gains.setdefault(span, [])
    if node not in gaining:
        gaining.append(node)


def _ranges_of(ring: TokenRing, rows: list[SimRow], node: int) -> list[tuple[int, int]]:
    return [ring.range(index) for index, row in enumerate(rows) if node in row]


def _gain_by_leaving(
    gains: Gains, ring: TokenRing, now: list[SimRow], left: TokenRing, then: list[SimRow], leaving: frozenset[int]
) -> None:
    for index, row in enumerate(now):
        if leaving.isdisjoint(row):
            continue
        span = ring.range(index)
        for node in then[left.index(span[1])]:
            if node not in row:
                _add(gains, span, node)


def _gain_by_moving(
    gains: Gains,
    now: tuple[TokenRing, list[SimRow]],
    left: tuple[TokenRing, list[SimRow]],
    moved: tuple[TokenRing, list[SimRow]],
    mover: int,
) -> None:
    """Add what nodes gain by a move: only ranges that the moving node has before or after it change."""
    for _, end in {*_ranges_of(*left, mover), *_ranges_of(*moved, mover)}:
        before = now[1][now[0].index(end)]
        for node in moved[1][moved[0].index(end)]:
            if node not in before:
                had = _ranges_of(*now, node)
                for span in _ranges_of(*moved, node):
                    for piece in _subtract(span, had):
                        _add(gains, piece, node)


def _subtract(span: tuple[int, int], others: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of a range that lie in no other range, on the ring (Range.subtractAll)."""
    if any(start == end for start, end in others):
        return []
    start, end = span
    cuts = sorted({cut for other in others for cut in other if _within(cut, span) and cut != end}, key=_after(start))
    edges = [start, *cuts, end]
    return [piece for piece in pairwise(edges) if not any(_covers(other, piece) for other in others)]


def _after(start: int) -> Callable[[int], int]:
    """Sort key: distance from a token upwards around the ring. 2**130 is just more than any token space."""
    return lambda token: token - start if token > start else token - start + (1 << 130)


def _within(token: int, span: tuple[int, int]) -> bool:
    start, end = span
    return start < token <= end if start < end else token > start or token <= end


def _covers(span: tuple[int, int], piece: tuple[int, int]) -> bool:
    """Whether a piece lies in a span. Pieces are cut at the ends of spans, so looking at the piece's ends is enough."""
    return _within(piece[1], span) and (piece[0] == span[0] or _within(piece[0], span)) and piece[0] != span[1]
