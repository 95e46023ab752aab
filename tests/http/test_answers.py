"""An answer that is read without h11 is read as h11 would read it; all other answers are left to h11."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import TYPE_CHECKING

import h11
import pytest

from ringcheck.http.answers import AnswerReader, TooLargeError, Whole, _H11Reader, request_head
from ringcheck.http.plain import PlainAnswer, UnusualError, plain_answer, plain_head

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PACKED = gzip.compress(b"packed " * 50, mtime=0)
BOMB = gzip.compress(b"x" * 1001, mtime=0)
MOST = 1000


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


USUAL = [
    HEAD + b"Content-Length: 2\r\n\r\n{}",
    HEAD + b"content-length:0\r\n\r\n",
    b"HTTP/1.1 200\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT \r\nX: \r\nContent-Length: \t 3\r\n\r\nabc",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"3\r\na\r\n\r\n00A\r\n0123456789\r\n000\r\n\r\n",
    HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED,
    HEAD
    + b"Content-Encoding: GZIP\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(PACKED)
    + PACKED
    + b"\r\n0\r\n\r\n",
]
UNUSUAL = [
    b"",
    b"nonsense",
    b"HTTP/1.1 200 OK\n\nbare",
    b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\n{}",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    HEAD + b"\r\nuntil the end",
    HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    HEAD + b"Content-Length: +2\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    HEAD + b"X : 1\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"X: 1\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"X: \xe9\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"X: \0\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\n\r\n{}more",
    CHUNKED + b"2;name=value\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n",
    CHUNKED + b"2\r\n{}\r\n0\r\n\r\nmore",
    CHUNKED + b"2\r\n{}no0\r\n\r\n",
    CHUNKED + b"x\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"0000000000000002\r\n{}\r\n0\r\n\r\n",
]
TOO_LARGE = [
    HEAD + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
    CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
    HEAD
    + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(b"x" * 1001, mtime=0))
    + gzip.compress(b"x" * 1001, mtime=0),
]


def read(reader: AnswerReader | _H11Reader, pieces: Iterable[bytes]) -> object:
    """What a reader makes of an answer in pieces, after which the server sends nothing more: a value to compare."""
    try:
        whole = next((whole for piece in (*pieces, b"") if (whole := reader.feed(piece))), None)
    except (h11.RemoteProtocolError, TooLargeError, zlib.error) as error:
        return type(error), reader.begun
    return whole and (whole.status, list(whole.headers), whole.body, whole.reusable)


def outcome(found: object) -> object:
    """What must be equal in two readings: all except what follows the answer, and how far a broken one was read."""
    return found and ((found[0],) if isinstance(found[0], type) else found[:3])  # type: ignore[index]


def cut(answer: bytes, rng: random.Random, most: int) -> list[bytes]:
    """The answer, cut into some pieces."""
    places = sorted({rng.randrange(1, max(2, len(answer))) for _ in range(rng.randrange(most))})
    return [piece for piece in map(answer.__getitem__, map(slice, [0, *places], [*places, None])) if piece]


@pytest.mark.parametrize("answer", USUAL)
def test_the_usual_answers_are_read_without_h11(answer: bytes) -> None:
    """Otherwise most requests would be slow, and the tests below would compare h11 with itself."""
    assert isinstance(plain_answer(answer), PlainAnswer)
    for end in range(len(b"HTTP/1.1 200"), len(answer)):
        least = plain_answer(answer[:end])
        assert isinstance(least, int)
        assert end < least <= len(answer)


@pytest.mark.parametrize("answer", UNUSUAL)
def test_no_other_answer_is_read_without_h11(answer: bytes) -> None:
    """The quick reader does not decide about answers that are ambiguous or that end the connection."""
    with pytest.raises(UnusualError):
        plain_answer(answer)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [*USUAL, *UNUSUAL, *TOO_LARGE])
def test_an_answer_in_any_pieces_is_read_as_h11_reads_it(answer: bytes) -> None:
    """This includes answers that are cut off."""
    rng = random.Random(answer)  # noqa: S311 - no secret
    for most in (1, 2, 4, 30):
        for _ in range(10):
            for text in (answer, answer[: rng.randrange(len(answer) + 1)]):
                pieces = cut(text, rng, most)
                alone = read(_H11Reader("POST", MOST), [text] if text else [])
                found = read(AnswerReader("POST", MOST), pieces)
                assert outcome(found) == outcome(alone), pieces


@pytest.mark.parametrize("answer", [CHUNKED + chunk(b"x") * 50_000, b"HTTP/1.1 100 Continue\r\n\r\n" * 10**4])
def test_an_answer_in_thousands_of_parts_is_refused(answer: bytes) -> None:
    """Otherwise a mebibyte in chunks of one byte would keep the agent from all other nodes for 20 seconds."""
    with pytest.raises(TooLargeError, match="in more than 8192 parts"):
        AnswerReader("POST", 2**20).feed(answer)


def test_an_answer_of_many_pieces_is_not_looked_at_again_and_again() -> None:
    """If a server sends single bytes, the work must not grow with the square of their number."""
    reader = AnswerReader("POST", 10**6)
    for byte in CHUNKED + b"1\r\nx\r\n" * 20:
        assert reader.feed(bytes([byte])) is None
    assert reader._other is not None
    long = AnswerReader("POST", 10**6)
    assert long.feed(HEAD + b"Content-Length: 5000\r\n\r\n") is None
    for _ in range(4999):
        assert long.feed(b"x") is None
    whole = long.feed(b"x")
    assert isinstance(whole, Whole)
    assert whole.body == b"x" * 5000
    assert long._other is None


HEADERS = {"Host": "127.0.0.1:8778", "User-Agent": "ringcheck", "Content-Length": "2"}


def test_a_head_is_the_one_that_h11_writes() -> None:
    """The two heads are equal, byte by byte."""
    request = h11.Request(method="POST", target="/jolokia/", headers=list(HEADERS.items()))
    assert plain_head("POST", "/jolokia/", HEADERS) == h11.Connection(h11.CLIENT).send(request)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", HEADERS),
        ("/a\r\nX: 1", HEADERS),
        ("/", HEADERS | {"Host": "a\r\nX: 1"}),
        ("/", HEADERS | {"Host": "a\nX: 1"}),
        ("/", HEADERS | {"X\r\nY": "1"}),
        ("/", HEADERS | {"X": "1\0"}),
    ],
)
def test_no_value_ends_a_line_of_a_head(target: str, headers: dict[str, str]) -> None:
    """Otherwise a URL could add headers, or a whole request."""
    assert plain_head("POST", target, headers) is None
    with pytest.raises(h11.LocalProtocolError):
        request_head("POST", target, headers)
