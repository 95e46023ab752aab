"""JSON of a server that may be broken or hostile: refused before it becomes objects that fill memory or time.

A body of 64 MiB is little; the objects that it decodes to need not be. 63 MiB of `[],` are 22 million lists: 1.7 GB and
15 seconds of CPU. So values, depth and digits are counted in the bytes, which costs a small part of the decoding.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ringcheck.errors import DataError

# Every value but the first follows a comma or begins a list or an object. The largest small reply of a real cluster is
# the introduction of one with 1,024 nodes: ten lists and maps of all nodes, some 10,000 values. The largest map of
# ranges that is not streamed (a mebibyte) has 12,000 entries with up to 100,000 of these bytes.
VALUES = 2**18
# A reply nests some 10 levels: a bulk, an item, its value, and what an MBean returns, such as streams of sessions.
DEPTH = 32
# 128 bits, the tokens of RandomPartitioner, have 39 digits and may have a sign.
DIGITS = 40

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # the last string may be unterminated
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def tree(body: bytes, values: int = VALUES) -> Any:  # noqa: ANN401 - decoded JSON is any shape
    """The value of a JSON text in UTF-8. Half a surrogate pair, which no output can encode, becomes U+FFFD.

    Args:
        body: the text.
        values: approximately how many values it may have.

    Raises:
        DataError: if it has too many values, too many levels, or a number with too many digits.
        ValueError: if it is not JSON.
    """
    check(body, values)
    decoded = json.loads(body.removeprefix(b"\xef\xbb\xbf").decode(), parse_int=_integer)
    return _encodable(decoded) if _ESCAPED_SURROGATE.search(body) else decoded


def check(body: bytes, values: int = VALUES) -> None:
    """Check the bounds of a JSON text, those of its numbers excepted.

    Raises:
        DataError: if it has too many values or too many levels.
    """
    openings = body.count(b"[") + body.count(b"{")
    if openings + body.count(b",") > values:
        raise DataError(f"the answer has more than {values} values, which is refused")
    if openings > DEPTH and _deeper(body):
        raise DataError(f"the answer is nested deeper than {DEPTH} levels, which is refused")


def _deeper(body: bytes) -> bool:
    """Whether lists and objects are nested too deeply: each round takes away the innermost ones."""
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKET)
    for _ in range(DEPTH):
        inner = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) == inner:  # nothing is left, or it is not JSON
            return False
    return bool(brackets)


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise DataError(f"the answer has a number of {len(digits)} digits, which is refused")
    return int(digits)


def _encodable(value: Any) -> Any:  # noqa: ANN401 - as tree
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value
