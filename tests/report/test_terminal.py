"""Lines for a terminal: wrapped, cut and padded by the number of columns that they take."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.report.terminal import Line, ansi, clip, crop, fitted, pad, width, wrapped

SPANS = st.lists(st.tuples(st.text("ab ü\x1b漢", max_size=12), st.sampled_from(["", "OK", "bold"])), max_size=6)


@given(SPANS, st.integers(min_value=1, max_value=30))
def test_wrapping_changes_no_word_and_painting_no_row(spans: list[tuple[str, str]], columns: int) -> None:
    """Wrapping only moves words to other rows, and colours only add escapes."""
    rows = fitted([tuple(spans)], columns)
    assert rows.split() == fitted([tuple(spans)], None).split()
    painted = re.sub(r"\x1b\[[0-9;]*m", "", fitted([tuple(spans)], columns, colour=True))
    assert [row.rstrip() for row in painted.split("\n")] == [row.rstrip() for row in rows.split("\n")]


def test_a_style_follows_its_word_to_the_next_row() -> None:
    """A coloured span may begin in any row, and continue in the next."""
    line: Line = (("  state of blogs: ", ""), ("CRITICAL since noon", "CRITICAL"), (" or so", ""))
    assert fitted([line], 26, colour=True).splitlines() == [
        "  state of blogs: \x1b[31;1mCRITICAL\x1b[0m",
        "    \x1b[31;1msince noon\x1b[0m or so",
    ]


@given(SPANS, st.integers(min_value=0, max_value=30))
def test_a_cropped_line_fits(spans: list[tuple[str, str]], columns: int) -> None:
    """Wide characters take two columns."""
    assert width(crop(spans, columns)) <= columns


@pytest.mark.parametrize(
    ("text", "most", "clipped"),
    [("abc", 3, "abc"), ("abcdef", 5, "ab..."), ("abcdef", 2, ".."), ("漢字漢字", 7, "漢字...")],
)
def test_a_clipped_text_ends_with_a_mark(text: str, most: int, clipped: str) -> None:
    """The mark itself is cut if there is no room for it."""
    assert clip(text, most) == clipped


def test_padding_aligns_to_either_side() -> None:
    """Numbers are aligned to the right, and texts to the left."""
    assert (pad("漢", 4), pad("7", 4, right=True), pad("long", 2)) == ("漢  ", "   7", "long")


def test_no_control_character_reaches_the_terminal() -> None:
    """Escapes are only those of the styles."""
    assert fitted([(("\x1b[2J\r", "OK"),)], None) == "?[2J?"
    assert ansi((("a", "OK"), ("", "OK")), colour=True) == "\x1b[32ma\x1b[0m"


def test_a_word_longer_than_the_line_stays_whole() -> None:
    """A token or an address can be copied from the screen."""
    assert wrapped("at 10.0.0.1:7000 now", 2, 2, width=10) == ["  at", "    10.0.0.1:7000", "    now"]
