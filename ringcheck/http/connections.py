"""HTTP/1.1 over connections that are kept, each request within a deadline. Built on the standard library's client.

Knows nothing of Jolokia or etcd. Nothing here retries, keeps cookies, follows redirects, or looks at the environment's
proxies and .netrc: a plugin must ask the node that it names, whatever the environment of its user.
"""

from __future__ import annotations

import select
import threading
import time
import zlib
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, cast

from ringcheck.http.sockets import PlainSocket, TlsSocket, connect, secured
from ringcheck.http.timing import RequestTimer
from ringcheck.http.urls import Addresses

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ringcheck.http.urls import Address, Server

KEPT = 2  # idle connections to one server


class FramingError(HTTPException):
    """The body of an answer is not divided as its headers announce."""


class Answer:
    """One answer: its status and headers, and its body as it is read."""

    def __init__(self, raw: HTTPResponse) -> None:
        self.status = raw.status
        self.headers = raw.headers
        self._raw = raw
        self._inflater = zlib.decompressobj(31) if self.header("Content-Encoding").lower() == "gzip" else None

    def header(self, name: str) -> str:
        """A header's value; empty if the answer has none of that name."""
        return self.headers.get(name) or ""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the decoded body; empty at its end.

        Raises:
            OSError: if the connection breaks or time is over.
            HTTPException: if the answer is cut off.
            zlib.error: if a body that should be compressed is not.
        """
        if self._inflater is None:
            return self._read(size)
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._read(size)
            if not packed:
                raise zlib.error("the compressed answer ends early")
            if found := self._inflater.decompress(packed, size):
                return found
        while self._read(size):  # bytes after the compressed part do not belong to the answer
            pass
        return b""

    def _read(self, size: int) -> bytes:
        try:
            part = self._raw.read(size)
        except ValueError:  # http.client passes on the size of a chunk as int() reads it, `-5` too
            raise FramingError("a chunk has no valid size") from None
        if not part and self._raw.length:
            raise IncompleteRead(b"", self._raw.length)
        return part

    @property
    def whole(self) -> bool:
        """Whether the body was read to its end, so that the connection can be used again."""
        return self._raw.isclosed() and not self._raw.will_close


class Connections:
    """Kept connections to any number of servers. Safe to use from many threads."""

    def __init__(self, context: Callable[[], ssl.SSLContext], kept: int = KEPT) -> None:
        """Prepare; nothing is connected.

        Args:
            context: makes the TLS context when the first https URL is met; its `sslsocket_class` is `TlsSocket`.
            kept: idle connections to one server, at most.
        """
        self._context = context
        self._kept = kept
        self._guard = threading.Lock()
        self._addresses = Addresses()
        self._idle: dict[Server, list[HTTPConnection]] = {}
        self._closed = False

    @contextmanager
    def request(
        self, method: str, url: str, seconds: float, headers: Mapping[str, str], body: bytes | None = None
    ) -> Iterator[Answer]:
        """Send a request; the answer's body is not read yet.

        Args:
            method: of HTTP.
            url: http or https.
            seconds: time limit of the whole request, including the reading of the body.
            headers: all but Host and Content-Length.
            body: to be sent.

        Raises:
            SourceError: if the URL is not usable.
            ConfigError: if a file of the TLS settings can't be used.
            OSError, HTTPException: if no answer comes in time, or if it is not HTTP.
        """
        with RequestTimer(method, url) as timer:
            address = self._addresses[url]
            ends = time.monotonic() + seconds
            connection = self._connection(address, ends, timer)
            kept = False
            try:
                own = {"Authorization": address.auth} if address.auth and "Authorization" not in headers else {}
                connection.request(method, address.target, body, {"Accept-Encoding": "identity", **headers, **own})
                answer = Answer(connection.getresponse())
                timer.answered()
                timer.status(answer.status)
                yield answer
                kept = answer.whole
            finally:
                if kept:
                    self._keep(address, connection)
                else:
                    connection.close()

    def forget(self, urls: Iterable[str]) -> None:
        """Close the idle connections to the servers of some URLs."""
        with self._guard:
            idle = [connection for server in self._addresses.forget(urls) for connection in self._idle.pop(server, ())]
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close all idle connections; those in use are closed after their answers."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _connection(self, address: Address, ends: float, timer: RequestTimer) -> HTTPConnection:
        while connection := self._taken(address):
            if _usable(connection):
                cast("PlainSocket | TlsSocket", connection.sock).ends = ends
                return connection
            connection.close()
        context = self._context() if address.scheme == "https" else None
        connection = HTTPConnection(address.host, address.port)
        sock = connect(address.host, address.port, ends)
        timer.connected()
        connection.sock = secured(sock, context, address.host) if context else sock
        if context:
            timer.secured()
        return connection

    def _taken(self, address: Address) -> HTTPConnection | None:
        """An idle connection, which now belongs to the caller; None if there is none."""
        with self._guard:
            idle = self._idle.get(address.server)
            return idle.pop() if idle else None

    def _keep(self, address: Address, connection: HTTPConnection) -> None:
        with self._guard:
            idle = self._idle.setdefault(address.server, [])
            if len(idle) < self._kept and not self._closed:
                idle.append(connection)
                return
        connection.close()


def _usable(connection: HTTPConnection) -> bool:
    """Whether a kept connection is still open. It is readable if the server closed it or sent something unasked."""
    if connection.sock is None:
        return False
    watched = select.poll()
    watched.register(connection.sock, select.POLLIN)
    return not watched.poll(0)
