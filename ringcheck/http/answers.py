"""One request and its answer on a connection, as bytes: no sockets and no waiting.

The usual forms are read by `plain.py`, all others by h11.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import h11

from ringcheck.http.plain import PlainAnswer, UnusualError, plain_answer, plain_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HEAD = 64 * 1024  # bytes of status line and headers at most
_PLAIN = 256 * 1024  # bytes of an answer that is not left to h11
# Informational answers and chunks of one answer at most: h11 needs 20 microseconds for each, on the event loop that
# asks all clusters. Servers fill chunks of some kilobytes.
_PARTS = 8192
_LOOKS = 8  # tries to read an answer that is not yet whole, before it is left to h11


class TooLargeError(Exception):
    """The answer has more bytes or parts than allowed; the text says what it has, empty for the bytes."""


class Whole(NamedTuple):
    """An answer that was received completely.

    Attributes:
        status: of HTTP.
        headers: their names are in lower case.
        body: decoded.
        reusable: whether another request may be sent on the connection.
    """

    status: int
    headers: Iterable[tuple[bytes, bytes]]
    body: bytes
    reusable: bool


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request.

    Raises:
        h11.LocalProtocolError: if it can't be sent.
    """
    head = plain_head(method, target, headers)
    if head is not None:
        return head
    request = h11.Request(method=method, target=target, headers=list(headers.items()))
    return h11.Connection(h11.CLIENT).send(request) or b""


class AnswerReader:
    """Reads the answer to one request."""

    def __init__(self, method: str, max_bytes: int) -> None:
        """Begin.

        Args:
            method: of the request.
            max_bytes: decoded bytes of the answer at most.
        """
        self._method = method
        self._most = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._least = 0  # bytes that the answer has, as far as is known
        self._looks = 0
        self._other: _H11Reader | None = None

    @property
    def begun(self) -> bool:
        """Whether the head of an answer was read."""
        return self._other is not None and self._other.begun

    def feed(self, data: bytes) -> Whole | None:
        """Take received bytes (none: the server sends no more), and return the answer once it is whole, else None.

        Raises:
            h11.RemoteProtocolError: if the answer is not HTTP, or cut off.
            TooLargeError: if the answer is larger than allowed.
            zlib.error: if a body that should be compressed is not.
        """
        if self._other is not None:
            return self._other.feed(data)
        self._pieces.append(data)
        self._size += len(data)
        if data and self._size < self._least:
            return None
        received = b"".join(self._pieces)
        try:
            found = plain_answer(received) if data else None
        except UnusualError:
            found = None
        if isinstance(found, PlainAnswer):
            return self._decoded(found)
        self._looks += 1
        if found is None or found > _PLAIN or self._looks == _LOOKS:
            return self._left(received, ended=not data)
        self._least = found
        return None

    def _decoded(self, answer: PlainAnswer) -> Whole:
        body = _Body(answer.headers, self._most)
        body.take(answer.body)
        return Whole(status=200, headers=answer.headers, body=body.whole(), reusable=True)

    def _left(self, received: bytes, *, ended: bool) -> Whole | None:
        """Leave the answer to h11."""
        self._pieces = []
        self._other = _H11Reader(self._method, self._most)
        whole = self._other.feed(received) if received else None
        return whole if whole or not ended else self._other.feed(b"")


class _H11Reader:
    """Reads an answer of any form."""

    def __init__(self, method: str, max_bytes: int) -> None:
        self._most = max_bytes
        self._parts = 0
        self._response: h11.Response | None = None
        self._body: _Body | None = None
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
        self._http.send(h11.Request(method=method, target="/", headers=[("Host", "it")]))
        self._http.send(h11.EndOfMessage())

    @property
    def begun(self) -> bool:
        return self._response is not None

    def feed(self, data: bytes) -> Whole | None:
        self._http.receive_data(data)
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return None
            self._parts += 1
            if self._parts > _PARTS:
                raise TooLargeError(f"in more than {_PARTS} parts")
            if isinstance(event, h11.Response):
                self._response, self._body = event, _Body(event.headers, self._most)
            elif isinstance(event, h11.Data) and self._body:
                self._body.take(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return self._whole()
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("closed")

    def _whole(self) -> Whole:
        assert self._response is not None  # noqa: S101 - h11 ends no message before its head
        assert self._body is not None  # noqa: S101 - likewise
        reusable = self._http.their_state is h11.DONE and not self._http.trailing_data[0]
        return Whole(
            status=self._response.status_code,
            headers=self._response.headers,
            body=self._body.whole(),
            reusable=reusable,
        )


class _Body:
    """The decoded body of an answer, part by part."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], max_bytes: int) -> None:
        encoding = next((value for name, value in headers if name == b"content-encoding"), b"")
        self._inflater = zlib.decompressobj(31) if encoding.lower() == b"gzip" else None
        self._room = max_bytes
        self._parts: list[bytes] = []

    def take(self, part: bytes) -> None:
        if self._inflater is not None:
            part = self._inflater.decompress(part, self._room + 1)
        self._room -= len(part)
        if self._room < 0:
            raise TooLargeError
        self._parts.append(part)

    def whole(self) -> bytes:
        if self._inflater is not None and not self._inflater.eof:
            raise zlib.error("the compressed answer ends early")
        return b"".join(self._parts)
