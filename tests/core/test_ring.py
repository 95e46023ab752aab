"""Rings are complete or refused; tokens, factors and replications are understood or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.core.pieces import Piece, cut_ranges
from ringcheck.core.ring import PARTITIONERS, Factor, Partitioner, Pending, Replication, Ring, partitioner
from ringcheck.errors import RingError

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

MURMUR, RANDOM = PARTITIONERS["Murmur3Partitioner"], PARTITIONERS["RandomPartitioner"]


def build(rows: Sequence[tuple[int, int, Sequence[int]]], total: int = 3, pending: Sequence[Pending] = ()) -> Ring:
    return Ring.build(["orders"], None, rows, total, pending)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the ring has no ranges"),
        ([(0, 5, [0])], "the ring is not whole: range (0, 5] overlaps the range that ends at 5"),
        ([(9, 5, [0])], "the ring is not whole: range (9, 5] leaves a gap behind the range that ends at 5"),
        (
            [(9, 0, [0]), (0, 4, [1]), (5, 9, [2])],
            "the ring is not whole: range (5, 9] leaves a gap behind the range that ends at 4",
        ),
        (
            [(9, 0, [0]), (0, 5, [1]), (4, 9, [2])],
            "the ring is not whole: range (4, 9] overlaps the range that ends at 5",
        ),
        (
            [(9, 0, [0]), (0, 5, [1]), (0, 5, [1]), (5, 9, [2])],
            "the ring is not whole: range (0, 5] overlaps the range that ends at 5",
        ),
        (
            [(9, 0, [0]), (0, 5, [1]), (5, 5, [1]), (5, 9, [2])],
            "the ring is not whole: range (5, 5] overlaps the range that ends at 5",
        ),
        (
            [(0, 5, [1]), (5, 9, [2])],
            "the ring is not whole: range (0, 5] overlaps the range that ends at 9",
        ),
        ([(9, 0, [0]), (0, 9, [3])], "a range names a node that the cluster does not have"),
        ([(9, 0, [0]), (0, 9, [1, 3])], "a range names a node that the cluster does not have"),
        ([(9, 0, [0]), (0, 9, [4])], "a range names a node that the cluster does not have"),
        ([(9, 0, [0]), (0, 9, [-1])], "a range names a node that the cluster does not have"),
        ([(9, 0, [0]), (0, 9, [70000])], "a range names a node that the cluster does not have"),
        ([(9, 0, [0]), (0, 9, [1, 2, 1])], "a range names the same node twice"),
        ([(9, 0, [0, 0]), (0, 9, [1])], "a range names the same node twice"),
    ],
)
def test_rings_that_are_not_whole(rows: list[tuple[int, int, list[int]]], message: str) -> None:
    """A gap, an overlap, a repeated range, or an unknown or repeated replica is refused, with the range."""
    with pytest.raises(RingError) as error:
        build(rows)
    assert str(error.value) == message


@pytest.mark.parametrize("node", [3, -1, 99])
def test_pending_nodes_must_be_known(node: int) -> None:
    """A pending range of an unknown node is refused too."""
    with pytest.raises(RingError, match=r"^a pending range names a node that the cluster does not have$"):
        build([(0, 0, [0])], pending=[Pending(0, 1, (node,))])


def test_a_ring() -> None:
    """Ranges are in the order of tokens; replicas are in Cassandra's order, without padding."""
    ring = build([(5, 9, [2]), (9, 0, [0, 1]), (0, 5, [])])
    assert list(ring.tokens) == [0, 5, 9]
    assert [ring.range(index) for index in range(len(ring))] == [(9, 0), (0, 5), (5, 9)]
    assert [ring.replicas(index) for index in range(len(ring))] == [(0, 1), (), (2,)]
    assert ring.holders == {0, 1, 2}
    assert [list(held) for held in ring.ranges_of] == [[0], [0], [2]]
    assert ring.holding([2, 7]) == {2}
    assert build([(0, 0, [0])], pending=[Pending(0, 1, (2,))]).holding([0, 1, 2]) == {0, 2}


def test_a_ring_of_one_token() -> None:
    """(t, t] is the whole ring."""
    ring = build([(7, 7, [0])])
    assert ring.range(0) == (7, 7)
    assert MURMUR.width(*ring.range(0)) == 2**64


def test_tokens_are_shared_by_rings_of_one_cluster() -> None:
    """Equal tuples of tokens are stored once."""
    first = build([(9, 0, [0]), (0, 9, [1])])
    second = Ring.build(["b"], None, [(9, 0, [1]), (0, 9, [1])], 3, tokens=first.tokens)
    assert second.tokens is first.tokens
    third = Ring.build(["b"], None, [(8, 0, [1]), (0, 8, [1])], 3, tokens=first.tokens)
    assert list(third.tokens) == [0, 8]


@given(
    st.lists(
        st.tuples(st.integers(0, 99) | st.integers(0, 2**127), st.permutations(range(4)), st.integers(0, 4)),
        min_size=1,
        max_size=9,
    ),
    st.randoms(),
)
def test_ranges_may_come_in_any_order(ends: list[tuple[int, list[int], int]], chance: random.Random) -> None:
    """This holds however many replicas they have, and for RandomPartitioner's tokens of 127 bits."""
    expected = sorted({end: tuple(nodes[:count]) for end, nodes, count in ends}.items())
    rows = [(expected[at - 1][0], end, replicas) for at, (end, replicas) in enumerate(expected)]
    chance.shuffle(rows)
    ring = build(rows, 4)
    assert [(end, ring.replicas(at)) for at, end in enumerate(ring.tokens)] == expected
    assert [ring.range(at)[0] for at in range(len(ring))] == [expected[at - 1][0] for at in range(len(ring))]


@pytest.mark.parametrize(
    ("start", "end", "pieces"),
    [
        (0, 10, {1: [(0, 10, 2)]}),
        (2, 4, {1: [(0, 2, None), (2, 4, 2), (4, 10, None)]}),
        (0, 4, {1: [(0, 4, 2), (4, 10, None)]}),
        (4, 10, {1: [(0, 4, None), (4, 10, 2)]}),
        (4, 12, {1: [(0, 4, None), (4, 10, 2)], 2: [(10, 12, 2), (12, 20, None)]}),
        (15, 5, {2: [(10, 15, None), (15, 20, 2)], 0: [(20, 0, 2)], 1: [(0, 5, 2), (5, 10, None)]}),
        (25, -5, {0: [(20, 25, None), (25, -5, 2), (-5, 0, None)]}),
        (20, 0, {0: [(20, 0, 2)]}),
        # it goes round the whole ring, back into the range where it started, so it touches all of them
        (5, 3, {1: [(0, 3, 2), (3, 5, None), (5, 10, 2)], 2: [(10, 20, 2)], 0: [(20, 0, 2)]}),
        (-5, 25, {0: [(20, 25, 2), (25, -5, None), (-5, 0, 2)], 1: [(0, 10, 2)], 2: [(10, 20, 2)]}),
        (5, 5, {0: [(20, 0, 2)], 1: [(0, 5, 2), (5, 10, 2)], 2: [(10, 20, 2)]}),
        (10, 10, {0: [(20, 0, 2)], 1: [(0, 10, 2)], 2: [(10, 20, 2)]}),
    ],
)
def test_pending_ranges_cut_natural_ones(
    start: int, end: int, pieces: dict[int, list[tuple[int, int, int | None]]]
) -> None:
    """The pieces of (20, 0], (0, 10] and (10, 20], the first of which wraps and covers nearly the whole ring."""
    ring = build([(20, 0, [0]), (0, 10, [1]), (10, 20, [0])], pending=[Pending(start, end, (2,))])
    expected = {
        index: tuple(Piece(*piece[:2], () if piece[2] is None else (piece[2],)) for piece in each)
        for index, each in pieces.items()
    }
    assert cut_ranges(ring, MURMUR) == expected


def test_pending_ranges_that_overlap_add_up() -> None:
    """In the overlap of two pending ranges, the nodes of both are pending."""
    ring = build([(20, 0, [0]), (0, 20, [0])], pending=[Pending(0, 10, (1,)), Pending(5, 20, (2, 1))])
    assert cut_ranges(ring, MURMUR) == {1: (Piece(0, 5, (1,)), Piece(5, 10, (1, 2)), Piece(10, 20, (1, 2)))}


@pytest.mark.parametrize(
    ("space", "start", "end", "width"),
    [
        (MURMUR, 0, 1, 1),
        (MURMUR, 5, 5, 2**64),
        (MURMUR, 2**63 - 1, -(2**63), 1),
        (MURMUR, -(2**63), 2**63 - 1, 2**64 - 1),
        (MURMUR, 1, 0, 2**64 - 1),
        (RANDOM, 0, 2**127, 2**127),
        (RANDOM, 2**127, 0, 1),
        (RANDOM, 2**127 - 1, 0, 2),
        (RANDOM, 3, 3, 2**127 + 1),
    ],
)
def test_widths(space: Partitioner, start: int, end: int, width: int) -> None:
    """The number of tokens in a range, also if it crosses the end of the token space."""
    assert space.width(start, end) == width


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [("Murmur3Partitioner", -(2**63), 2**63 - 1), ("org.apache.cassandra.dht.RandomPartitioner", 0, 2**127)],
)
def test_tokens_of_a_partitioner(name: str, lowest: int, highest: int) -> None:
    """Both ends are valid tokens, and numbers beyond them are not."""
    space = partitioner(name)
    assert [space.admits(token) for token in (lowest - 1, lowest, highest, highest + 1)] == [False, True, True, False]


@pytest.mark.parametrize("name", ["ByteOrderedPartitioner", "a.b.LocalPartitioner", "", "murmur3partitioner"])
def test_other_partitioners(name: str) -> None:
    """Each is refused by name."""
    text = f"partitioner {name.rpartition('.')[2]} is not supported (only Murmur3Partitioner, RandomPartitioner): "
    with pytest.raises(RingError) as error:
        partitioner(name)
    assert str(error.value) == f"{text}its tokens can't be compared"


@pytest.mark.parametrize(
    ("text", "factor"),
    [("3", Factor(3)), (" 3 ", Factor(3)), ("3/1", Factor(3, 1)), ("0", Factor(0)), ("12", Factor(12))],
)
def test_factors(text: str, factor: Factor) -> None:
    """A factor is a number, or a number of full and of transient replicas."""
    assert Factor.parse(text) == factor
    assert str(factor) == text.strip()


@pytest.mark.parametrize("text", ["", "a", "-1", "3.0", "3/", "/1", "3/a", "3/-1", "1/1/1", "\u0663"])
def test_texts_that_are_no_factor(text: str) -> None:
    """Each is refused, and the text is quoted."""
    with pytest.raises(RingError) as error:
        Factor.parse(text)
    assert str(error.value) == f"replication factor {text!r} is not a number"


@pytest.mark.parametrize("text", ["1/1", "2/3"])
def test_factors_without_a_full_replica(text: str) -> None:
    """Cassandra refuses them too (`ReplicationFactor.validate`)."""
    with pytest.raises(RingError) as error:
        Factor.parse(text)
    assert str(error.value) == f"replication factor {text!r} has no full replica"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("NetworkTopologyStrategy {dc2=1, dc1=3}", "NetworkTopologyStrategy {dc1=3, dc2=1}"),
        ("org.apache.cassandra.locator.SimpleStrategy {replication_factor=3}", "SimpleStrategy {replication_factor=3}"),
        ("LocalStrategy {}", "LocalStrategy {}"),
        ("NetworkTopologyStrategy {dc=east=3/1}", "NetworkTopologyStrategy {dc=east=3/1}"),
    ],
)
def test_replications(text: str, printed: str) -> None:
    """They are written as by `getKeyspaceReplicationInfo`, with the datacenters in any order."""
    assert str(Replication.parse(text)) == printed


@pytest.mark.parametrize(
    "text", ["", "SimpleStrategy", "{dc1=3}", "SimpleStrategy {replication_factor}", "S {=3}", "S {a=1"]
)
def test_texts_that_are_no_replication(text: str) -> None:
    """Each is refused, and the text is quoted."""
    with pytest.raises(RingError) as error:
        Replication.parse(text)
    assert str(error.value) == f"replication {text!r} is not understood"
