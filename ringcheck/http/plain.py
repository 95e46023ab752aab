"""The usual form of small HTTP/1.1 requests and answers, read and written without a library.

h11 knows every form of HTTP, but reading a small answer with it takes as long as all the rest of the request. So the
usual form is read here: status 200, printable headers, a body with a length or in chunks, and nothing after it. Any
other form is left to h11, from the first byte on (`answers.py`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Headers: TypeAlias = "list[tuple[bytes, bytes]]"  # names in lower case

_LINES = rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]++:[\t -~]*+\r\n)++)\r\n"
_ANSWER = re.compile(rb"HTTP/1\.1 200(?: [ -~]*+)?+\r\n" + _LINES)
_REQUEST = re.compile(rb"[A-Z]++ [!-~]++ HTTP/1\.1\r\n" + _LINES)
_BLANK_LINE = re.compile(rb"\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")
_LONGEST_CHUNK_LINE = 9  # bytes
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_LONGEST_LENGTH = 7  # digits


class UnusualError(Exception):
    """The answer has another form than the one that is read here."""


class PlainAnswer(NamedTuple):
    """A complete answer of status 200; its connection stays open."""

    headers: Headers
    body: bytes


def plain_answer(received: bytes) -> PlainAnswer | int:
    """The answer that was received; if it is not complete, how many bytes it has at least.

    Raises:
        UnusualError: if it has another form.
    """
    head = _ANSWER.match(received)
    if head is None:
        if received.startswith(b"HTTP/1.1 200") and not _BLANK_LINE.search(received):
            return len(received) + 1
        raise UnusualError
    lines = (line.partition(b":") for line in head[1].split(b"\r\n")[:-1])
    headers = [(name.lower(), value.strip(b"\t ")) for name, _, value in lines]
    length = _length(headers)
    if length is None:
        body = _chunks(received, head.end())
        return body if isinstance(body, int) else PlainAnswer(headers, body)
    end = head.end() + length
    if len(received) > end:
        raise UnusualError
    return PlainAnswer(headers, received[head.end() :]) if len(received) == end else end


def _length(headers: Headers) -> int | None:
    """The length of the body; None if it comes in chunks.

    Raises:
        UnusualError: if it has neither, or both, or the connection is to be closed.
    """
    framing = [(name, value) for name, value in headers if name in _FRAMING]
    if len(framing) != 1:
        raise UnusualError
    name, value = framing[0]
    if name == b"content-length" and value.isdigit() and len(value) <= _LONGEST_LENGTH:
        return int(value)
    if name == b"transfer-encoding" and value == b"chunked":
        return None
    raise UnusualError


def _chunks(received: bytes, start: int) -> bytes | int:
    """The body in the chunks from an index on; if it is not complete, how many bytes the answer has at least.

    Raises:
        UnusualError: if something is not a chunk, or if more than the body follows.
    """
    parts: list[bytes] = []
    while head := _CHUNK.match(received, start):
        size, begin = int(head[1], 16), head.end()
        start = begin + size + 2
        if len(received) < start:
            return start
        if received[start - 2 : start] != b"\r\n":
            raise UnusualError
        if size == 0:
            if len(received) > start:
                raise UnusualError
            return b"".join(parts)
        parts.append(received[begin : start - 2])
    if b"\n" in received[start:] or len(received) - start > _LONGEST_CHUNK_LINE:
        raise UnusualError
    return len(received) + 1


def plain_head(method: str, target: str, headers: Mapping[str, str]) -> bytes | None:
    """The head of a request; None if a part of it is not printable and might end a line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    text = "\r\n".join(lines)
    head = text.encode() if text.isascii() else b""
    whole = text.count("\r\n") == len(lines) - 1  # no value contains the end of a line
    return head if whole and _REQUEST.fullmatch(head) else None
