"""Ranges while they are collected for a ring: a few hostile ones can't make the table large."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.core import spans
from ringcheck.core.spans import Spans
from ringcheck.errors import RingError


def gathered(*replicas: tuple[int, ...], nodes: int = 5000) -> Spans:
    """Ranges with these replicas."""
    return Spans.of(((index - 1, index, held) for index, held in enumerate(replicas)), nodes)


def test_a_wide_range_does_not_widen_many_narrow_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of the table have the same width, so one range of 4,096 replicas would make every row that wide."""
    monkeypatch.setattr(spans, "CELLS", 1000)
    wide = tuple(range(100))
    assert len(gathered(wide, *[(0,)] * 9).table) == 1000
    for replicas in ([wide, *[(0,)] * 10], [*[(0,)] * 10, wide], [*[()] * 10, wide]):
        with pytest.raises(RingError, match="the ranges differ too much in their number of replicas"):
            gathered(*replicas)


def test_ranges_of_ever_more_replicas_are_refused() -> None:
    """Each wider range makes a copy of the table necessary."""
    with pytest.raises(RingError, match="the ranges differ too much in their number of replicas"):
        gathered(*[tuple(range(width)) for width in range(100)])


def test_a_ring_with_all_nodes_as_replicas_is_checked_in_time() -> None:
    """With EverywhereStrategy half a million pairs of columns would have to be compared, which is not necessary."""
    everywhere = tuple(range(1024))
    started = time.process_time()
    ranges = Spans.of((((index - 1) % 256, index, everywhere) for index in range(256)), 1024)
    ranges.check()
    assert time.process_time() - started < 3


@given(st.lists(st.lists(st.integers(0, 19), max_size=12), min_size=1, max_size=5))
def test_a_repeated_node_is_found_in_narrow_and_wide_ranges(replicas: list[list[int]]) -> None:
    """Both ways of searching find the same."""
    ranges = Spans.of(((index, index + 1, held) for index, held in enumerate(replicas)), 20)
    assert ranges._repeats() == any(len(set(held)) < len(held) for held in replicas)
