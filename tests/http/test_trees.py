"""JSON that would fill memory or time is refused before it is decoded; everything else is decoded as `json` does."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.errors import DataError
from ringcheck.http.trees import DEPTH, tree

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**38), 10**38) | st.text('\\"[]{},:ab\u00e9\U0001f600'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"[]{}\\a'), inner),
)


@pytest.mark.slow
@given(VALUES, st.booleans())
def test_what_is_within_the_bounds_is_decoded(value: object, ascii_: bool) -> None:  # noqa: FBT001 - drawn
    """Brackets, quotes and escapes within strings are not counted as structure."""
    assert tree(json.dumps(value, ensure_ascii=ascii_).encode()) == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" + b"[]," * 300_000 + b"1]", "more than 262144 values"),
        (b"[" + b"1," * 300_000 + b"1]", "more than 262144 values"),
        (b"{" + b'"a":{},' * 200_000 + b'"b":1}', "more than 262144 values"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "nested deeper than 32 levels"),
        (b'{"a":' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1), "nested deeper than 32 levels"),
        (b'["]",' * 50 + b'"["],' * 49 + b'"["]', "nested deeper than 32 levels"),
        (b'["\\"]",' * 50 + b'"["],' * 49 + b'"["]', "nested deeper than 32 levels"),
        (b"9" * 5000, "a number of 5000 digits"),
        (b'{"a":[-' + b"9" * 41 + b"]}", "a number of 42 digits"),
        (b"9" * 1_000_000, "a number of 1000000 digits"),
    ],
)
def test_too_many_values_levels_or_digits_are_refused(body: bytes, message: str) -> None:
    """Each is refused in one line, and in less time than decoding would take."""
    started = time.process_time()
    with pytest.raises(DataError, match=f"the answer .*{message}.*, which is refused$"):
        tree(body)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("body", [b"[" * 33, b"]" * 50, b'["' + b'\\"' * 500_000, b"[" * 40 + b'"', b'"\xff"', b""])
def test_what_is_not_json_is_a_value_error(body: bytes) -> None:
    """Strings that do not end take only linear time."""
    with pytest.raises(ValueError):  # noqa: PT011 - several texts
        tree(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'"a\ud800b"', "a\ufffdb"),
        (rb'{"\uDFFF":["\udc00"]}', {"\ufffd": ["\ufffd"]}),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\\ud800"', r"\ud800"),
        (b"\xef\xbb\xbf[1]", [1]),
    ],
)
def test_half_a_surrogate_pair_is_replaced(body: bytes, value: object) -> None:
    """No output could encode half a pair; whole pairs stay."""
    assert tree(body) == value


def test_the_largest_depth_and_number_are_accepted() -> None:
    """The limits are inclusive."""
    assert str(tree(b"[" * DEPTH + b"]" * DEPTH)) == "[" * DEPTH + "]" * DEPTH
    assert tree(b"-" + b"9" * 39) == 1 - 10**39
