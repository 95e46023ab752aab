"""The share of all sets of a given size that are an outage: exact for small sets, bounds for larger ones.

The problem: of n nodes there are C(n, j) sets of j nodes, and some of them make a range unavailable. A set that is not
an outage contains no cut (core/cuts.py), and neither does any of its subsets. So the sets that are not an outage are
counted by adding nodes one by one, in order; a set with a cut is not extended.

Larger sets than can be counted have bounds that hold for every ring:

- At most: the sum over the cuts of the share of sets that contain each of them. Besides, an outage of j nodes contains
  at least C(j - s, k - s) outages of k nodes, if the largest cut has s nodes.
- At least: if C(x, k) sets of k nodes are no outage, at most C(x, j) larger sets are none (theorem of Kruskal and
  Katona, in the form of Lovász). Where cuts are rare, the sum over the cuts minus the sum over all pairs of cuts
  (Bonferroni) is nearer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import accumulate, chain, combinations, combinations_with_replacement, repeat
from math import comb, exp, lgamma, log, log1p, prod
from typing import TYPE_CHECKING

from ringcheck.core.cuts import cuts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ringcheck.core.cuts import Cuts, Members, Tolerance

GROWN = 600_000  # sets that are grown in all
_KEPT = 150_000  # sets of one size that are kept to be grown again
_PAIRED = 3_000_000  # subsets of cuts that are examined to count the pairs of cuts
_ROUNDED = 1e-9  # more than what the bound of Kruskal and Katona loses by rounding


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number between two bounds; they are equal if it is exact."""

    at_least: float
    at_most: float


@dataclass(frozen=True, slots=True)
class FailureShares:
    """For each number of failed nodes, from 0 to all, the share of the sets of that size that are an outage.

    Attributes:
        at_least: lower bounds.
        at_most: upper bounds.
        exact_to: the bounds are equal for sets of up to this many nodes.
    """

    at_least: tuple[float, ...]
    at_most: tuple[float, ...]
    exact_to: int

    @property
    def nodes(self) -> int:
        """How many nodes can cause an outage; the others do not matter."""
        return len(self.at_least) - 1

    def probability(self, down: float) -> Bounds:
        """The probability of an outage if each node is down with this probability, independently of the others."""
        chances = list(binomial(self.nodes, down))
        return Bounds(_dot(chances, self.at_least), min(1.0, _dot(chances, self.at_most)))

    def onsets(self, down: float) -> Bounds:
        """How many outages begin while a node that is up fails once on average.

        A failure begins an outage if it leads from a set that is not an outage to one that is. Each outage of j nodes
        can be reached from j smaller sets; how many of these are outages follows from the sets that they lead to.
        """
        weights = [
            chance * weight
            for chance, weight in zip(binomial(self.nodes, down), onset_weights(self.nodes, down), strict=True)
        ]
        bounds = list(zip(weights, self.at_least, self.at_most, strict=True))
        low = sum(weight * (least if weight >= 0 else most) for weight, least, most in bounds)
        high = sum(weight * (most if weight >= 0 else least) for weight, least, most in bounds)
        return Bounds(max(0.0, low), max(0.0, high))


def binomial(number: int, down: float) -> Iterator[float]:
    """The probabilities that none, one, ... of a number of things are down, each with the same probability."""
    for size in range(number + 1):
        ways = lgamma(number + 1) - lgamma(size + 1) - lgamma(number - size + 1)
        yield exp(ways + size * log(down) + (number - size) * log1p(-down))


def onset_weights(number: int, down: float) -> Iterator[float]:
    """For each size of a set: the rate of failures that lead to the set, minus the rate of those that lead away.

    The unit is the rate at which one node fails while exactly the nodes of the set are down.
    """
    for size in range(number + 1):
        yield size * (1 - down) / down - (number - size)


def _dot(weights: Sequence[float], shares: Sequence[float]) -> float:
    return sum(weight * share for weight, share in zip(weights, shares, strict=True))


ALWAYS = FailureShares((1.0,), (1.0,), 0)
NEVER = FailureShares((0.0,), (0.0,), 0)


def failure_shares(tolerances: Collection[Tolerance], room: int = GROWN) -> FailureShares:
    """The shares for ranges that can each lose some replicas.

    Args:
        tolerances: distinct ones; a negative number of replicas to spare is an outage already.
        room: how many sets may be grown to count them.
    """
    if any(spare < 0 for _, spare in tolerances):
        return ALWAYS
    if len(tolerances) == 1:  # EverywhereStrategy: one range of many replicas, with more cuts than can be listed
        ((members, spare),) = tolerances
        shares = tuple([float(size > spare) for size in range(len(members) + 1)])
        return FailureShares(shares, shares, len(members))
    cuts = cuts_of(tolerances)
    return _shares(cuts, room) if cuts.number else NEVER


def _shares(cuts: Cuts, room: int) -> FailureShares:
    sound = sound_sets(cuts, room)
    counted = len(sound) - 1
    known = [(comb(cuts.nodes, size) - number) / comb(cuts.nodes, size) for size, number in enumerate(sound)]
    if cuts.complete and counted == cuts.nodes:
        return FailureShares(tuple(known), tuple(known), cuts.nodes)
    sums = list(_sums(cuts.nodes, cuts.number))
    lows = [*known, *_sound_at_most(cuts.nodes, counted, known[counted])]
    if not cuts.complete:
        return FailureShares((*lows[:-1], 1.0), tuple([min(1.0, total) for total in sums]), min(cuts.number) - 1)
    if sums[counted + 1] < 1 and sum(len(sets) << size for size, sets in cuts.listed.items()) <= _PAIRED:
        pairs = list(_sums(cuts.nodes, _pairs(cuts)))
        rare = [total - pair for total, pair in zip(sums, pairs, strict=True)]
        lows = [*known, *map(max, lows[counted + 1 :], rare[counted + 1 :])]
    scales = _scales(cuts, counted)
    highs = [min(1.0, sums[size], scales[size] * known[counted]) for size in range(counted + 1, cuts.nodes + 1)]
    return FailureShares(tuple(lows), (*known, *map(max, highs, lows[counted + 1 :])), counted)


# Counting


def sound_sets(cuts: Cuts, room: int) -> list[int]:
    """How many sets of each size contain none of the listed cuts, from size 0 as far as there is room to grow them."""
    beside, completed = _above(cuts), _completing(cuts)
    parts = range(1, max(cuts.listed, default=0) - 1)  # sizes of what a cut has besides its last two nodes
    alone = sum(1 << node for (node,) in cuts.listed.get(1, ()))
    frontier: list[tuple[Members, int]] = [((), ((1 << cuts.nodes) - 1) & ~alone)]
    counts = [1, frontier[0][1].bit_count()]
    while len(counts) <= cuts.nodes and counts[-1] <= room:
        room -= counts[-1]
        kept = counts[-1] <= _KEPT
        total, longer = 0, []
        for members, allowed in frontier:
            begun = [part for size in parts for part in combinations(members, size)]
            for node in _bits(allowed):
                left = allowed & beside[node]
                for part in begun:
                    left &= ~completed.get((*part, node), 0)
                total += left.bit_count()
                if kept and left:
                    longer.append(((*members, node), left))
        counts.append(total)
        if not kept:
            break
        frontier = longer
    return counts


def _above(cuts: Cuts) -> list[int]:
    """For each node a mask of the nodes above it that do not form a cut of two with it."""
    whole = (1 << cuts.nodes) - 1
    above = [whole >> (node + 1) << (node + 1) for node in range(cuts.nodes)]
    for first, second in cuts.listed.get(2, ()):
        above[first] &= ~(1 << second)
    return above


def _completing(cuts: Cuts) -> dict[Members, int]:
    """For the nodes of each larger cut without the last node a mask of the nodes that complete a cut."""
    masks: dict[Members, int] = defaultdict(int)
    for size, listed in cuts.listed.items():
        if size > 2:  # noqa: PLR2004 - pairs are in `_above`
            for members in listed:
                masks[members[:-1]] |= 1 << members[-1]
    return dict(masks)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


# Bounds


def _sums(nodes: int, number: Mapping[int, int]) -> Iterator[float]:
    """For each size, the sum of the shares of sets of that size that contain one of these sets.

    `number` has how many of these sets there are, by their size.
    """
    for size in range(nodes + 1):
        yield sum(
            many * prod((size - place) / (nodes - place) for place in range(least))
            for least, many in number.items()
            if least <= size
        )


def _sound_at_most(nodes: int, counted: int, share: float) -> Iterator[float]:
    """For each size above a counted one, the least share of sets that are an outage, by Kruskal and Katona."""

    def sound(width: float) -> float:
        return prod(max(0.0, width - place) / (nodes - place) for place in range(counted))

    low, high = float(counted - 1), float(nodes)
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if sound(middle) < 1 - share else (low, middle)
    width = min(float(nodes), high * (1 + _ROUNDED))
    factors = [max(0.0, width - place) / (nodes - place) for place in range(nodes)]
    products = list(accumulate(factors, lambda left, right: left * right))
    return (max(0.0, 1 - products[size - 1]) for size in range(counted + 1, nodes + 1))


def _scales(cuts: Cuts, counted: int) -> list[float]:
    """For each size, the factor by which its share can exceed that of the counted size, at most."""
    largest = max(cuts.number)
    if largest > counted:
        return [float("inf")] * (cuts.nodes + 1)
    # The quotient of C(j, k) and C(j - s, k - s):
    return [
        prod((size - place) / (counted - place) for place in range(largest)) if size >= counted else 1.0
        for size in range(cuts.nodes + 1)
    ]


def _pairs(cuts: Cuts) -> dict[int, int]:
    """How many pairs of cuts there are, by the number of nodes in both cuts together."""
    degrees = {size: _degrees(listed, size) for size, listed in cuts.listed.items()}
    pairs: Counter[int] = Counter()
    for first, second in combinations_with_replacement(sorted(degrees), 2):
        alike = first == second
        moments = [cuts.number[first] * cuts.number[second], *([0] * first)]
        moments[first] = cuts.number[first] if alike else 0  # a cut contains no other one
        for part, number in degrees[first].items():
            moments[len(part)] += number * degrees[second][part]
        for common, number in enumerate(_overlapping(moments)):
            if common < first or not alike:  # not a cut and itself
                pairs[first + second - common] += number // 2 if alike else number
    return dict(pairs)


def _degrees(listed: Collection[Members], size: int) -> Counter[Members]:
    """How many cuts contain each part of a cut; the empty part and whole cuts are left out."""
    degrees: Counter[Members] = Counter()
    for length in range(1, size):
        degrees.update(chain.from_iterable(map(combinations, listed, repeat(length))))
    return degrees


def _overlapping(moments: Sequence[int]) -> list[int]:
    """How many ordered pairs have exactly none, one, ... nodes in common.

    Args:
        moments: for each number of nodes from 0 on, how many parts of that size the pairs have in common, summed
            over all pairs.
    """
    sizes = range(len(moments))
    return [
        sum((-1) ** (size - common) * comb(size, common) * moments[size] for size in sizes[common:]) for common in sizes
    ]
