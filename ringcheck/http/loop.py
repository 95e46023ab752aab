"""HTTP/1.1 to thousands of servers at once, on one event loop and without a thread for any of them.

For the agent: a node that hangs costs a socket and a timer here. Answers are read whole into memory, so that this is
for small ones; `connections` streams large ones. Loads asyncio, which a one-shot command does not need.
"""

from __future__ import annotations

import asyncio
import socket
import time
import zlib
from collections import defaultdict
from contextlib import suppress
from functools import partial
from http.client import BadStatusLine, RemoteDisconnected
from itertools import chain
from typing import TYPE_CHECKING, Any

import h11

from ringcheck.errors import SourceError
from ringcheck.http.answers import AnswerReader, TooLargeError, Whole, request_head
from ringcheck.http.descriptors import room
from ringcheck.http.sockets import ConnectTimeoutError, DeadlineError, NotConnectedError
from ringcheck.http.timing import RequestTimer
from ringcheck.http.urls import Addresses, shown

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping

    from ringcheck.http.threads import WorkerThreads
    from ringcheck.http.urls import Address, Server

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # as in `sockets`


class RequestLimit:
    """How many requests are in flight at once, for all clusters of a process."""

    def __init__(self, most: int, slow: float = 1.0) -> None:
        """For use on one event loop.

        Args:
            most: requests at once.
            slow: seconds after which a request no longer counts: a node that hangs costs a socket and a timer, and
                must not keep other nodes from being asked.
        """
        self._free = asyncio.Semaphore(most)
        self._slow = slow

    def counted(self) -> _Counted:
        """A context that waits until one more request may be sent, and counts it."""
        return _Counted(self._free, self._slow)


class _Counted:
    """One request in flight, until it is over or slow."""

    __slots__ = ("_free", "_slow", "_timer")

    def __init__(self, free: asyncio.Semaphore, slow: float) -> None:
        self._free = free
        self._slow = slow
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._free.acquire()
        self._timer = asyncio.get_running_loop().call_later(self._slow, self._release)

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._release()

    def _release(self) -> None:
        if self._timer is not None:
            self._timer = None
            self._free.release()


class BufferedAnswer:
    """One answer whose body has been read."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Keep an answer; the names of the headers are in lower case."""
        self.status = status
        self._headers = headers
        self._body = body

    def header(self, name: str) -> str:
        """A header's value; empty if the answer has none of that name."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for given, value in self._headers if given == wanted), "")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the decoded body; empty at its end."""
        part, self._body = self._body[:size], self._body[size:]
        return part


class LoopConnections:
    """Kept connections to any number of servers. For use on one event loop only."""

    def __init__(self, context: Callable[[], ssl.SSLContext], threads: WorkerThreads, kept: int = 1) -> None:
        """Prepare; nothing is connected.

        Args:
            context: makes the TLS context when the first https URL is met.
            threads: that look up host names.
            kept: idle connections to one server, at most.
        """
        self._context = context
        self._threads = threads
        self._kept = kept
        self._addresses = Addresses()
        self._idle: defaultdict[Server, list[_Connection]] = defaultdict(list)

    async def request(
        self, method: str, url: str, seconds: float, headers: Mapping[str, str], body: bytes, max_bytes: int
    ) -> BufferedAnswer:
        """Send a request and read the whole answer.

        Args:
            method: of HTTP.
            url: http or https.
            seconds: time limit of the whole request.
            headers: all but Host and Content-Length.
            body: to be sent.
            max_bytes: decoded bytes of the answer at most.

        Raises:
            SourceError: if the URL is not usable, or the answer is too large.
            ConfigError: if a file of the TLS settings can't be used.
            OSError, HTTPException, zlib.error: if no answer comes in time, or if it is not HTTP.
        """
        with RequestTimer(method, url) as timer:
            address = self._addresses[url]
            ends = asyncio.get_running_loop().time() + seconds
            connection = self._taken(address) or await self._connected(address, ends, timer)
            try:
                head = connection.head(method, address, headers, body)
                answer = await connection.exchange(head + body, AnswerReader(method, max_bytes), ends)
            except TooLargeError as error:
                what = str(error) or f"larger than {max_bytes / 2**20:.3g} MiB"
                raise SourceError(f"{shown(url)}: the answer is {what}, which is refused") from None
            finally:
                self._keep(address, connection)
                if connection.first_byte is not None:
                    timer.answered(connection.first_byte)
            timer.status(answer.status)
            return answer

    def _taken(self, address: Address) -> _Connection | None:
        """An idle connection that is still open, which now belongs to the caller; None if there is none."""
        idle = self._idle[address.server]
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    def _keep(self, address: Address, connection: _Connection) -> None:
        """Keep a connection whose answer was read whole, unless its server has enough idle ones.

        A quarter of the descriptors for connections is left to those in use: the system gives out the lowest first.
        """
        idle = self._idle[address.server]
        few = connection.descriptor < room() * 3 // 4
        if connection.usable and few and len(idle) < self._kept:
            idle.append(connection)
        else:
            connection.abort()

    def forget(self, urls: Iterable[str]) -> None:
        """Close the idle connections to the servers of some URLs."""
        for server in self._addresses.forget(urls):
            for connection in self._idle.pop(server, ()):
                connection.abort()

    def close(self) -> None:
        """Close all idle connections."""
        for connection in chain.from_iterable(self._idle.values()):
            connection.abort()
        self._idle.clear()

    async def _connected(self, address: Address, ends: float, timer: RequestTimer) -> _Connection:
        loop = asyncio.get_running_loop()
        context = self._context() if address.scheme == "https" else None
        try:
            async with asyncio.timeout_at(ends):
                sock = await _dialled(address.host, address.port, self._threads)
        except TimeoutError:
            raise ConnectTimeoutError("timed out while connecting") from None
        timer.connected()
        try:
            async with asyncio.timeout_at(ends):
                name = address.host if context else None
                _, connection = await loop.create_connection(_Connection, sock=sock, ssl=context, server_hostname=name)
        except TimeoutError:
            raise DeadlineError("timed out in the TLS handshake") from None
        if context:
            timer.secured()
        return connection


async def _dialled(host: str, port: int, threads: WorkerThreads) -> socket.socket:
    """A connected socket to any address of a host, as `sockets.connect` makes one.

    Raises:
        NotConnectedError: if the name has no address, or the last one refused.
    """
    try:
        found = _literal(host, port) or [(entry[0], entry[4]) for entry in await looked_up(host, port, threads)]
    except (OSError, UnicodeError) as error:
        raise NotConnectedError.unresolved(error) from error
    failure: OSError = OSError("the host name has no address")
    for family, address in found:
        try:
            return await _connected_to(family, address)
        except OSError as error:
            failure = error.with_traceback(None)  # as in `sockets`
    raise NotConnectedError.failed(failure) from failure


async def _connected_to(family: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the signature of socket
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def looked_up(host: str, port: int | None, threads: WorkerThreads) -> list[Any]:
    """`socket.getaddrinfo` in a thread: the loop's own threads would keep the process from ending.

    Raises:
        OSError, UnicodeError: if the name has no address.
    """
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return await asyncio.wrap_future(threads.submit(look_up))


def _literal(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """The address itself if the host is an IP address, else empty: looking it up would take a thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return [(family, (host, port))]
    return []


def _head(method: str, address: Address, headers: Mapping[str, str], body: bytes) -> bytes:
    host = f"[{address.host}]" if ":" in address.host else address.host
    default = {"http": 80, "https": 443}[address.scheme]
    own = {"Authorization": address.auth} if address.auth and "Authorization" not in headers else {}
    named = {
        "Host": host if address.port == default else f"{host}:{address.port}",
        **headers,
        **own,
        "Content-Length": str(len(body)),
    }
    return request_head(method, address.target, named)


class _Connection(asyncio.Protocol):
    """One connection: one request after the other."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._socket: socket.socket | None = None
        self._open = False
        self.first_byte: float | None = None  # time of the last answer's first byte, on the monotonic clock
        self._waiter: asyncio.Future[BufferedAnswer] | None = None  # the future of the answer that is expected
        self._reader: AnswerReader
        self._head: tuple[tuple[object, ...], Mapping[str, str], bytes] | None = None

    def head(self, method: str, address: Address, headers: Mapping[str, str], body: bytes) -> bytes:
        """The head of a request; the head of the last request is used again if they are equal."""
        key = method, address, len(body)
        if self._head is None or self._head[0] != key or self._head[1] is not headers:
            self._head = key, headers, _head(method, address, headers, body)
        return self._head[2]

    @property
    def descriptor(self) -> int:
        """The number of its file descriptor; -1 if it is closed."""
        return self._socket.fileno() if self._socket is not None else -1

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._open and self._waiter is None

    async def exchange(self, request: bytes, reader: AnswerReader, ends: float) -> BufferedAnswer:
        """Send a request, its head and body, and return the answer.

        Raises:
            DeadlineError: if the answer does not come in time.
            TooLargeError: if the answer is too large.
            OSError, HTTPException, zlib.error: as `LoopConnections.request`.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[BufferedAnswer] = loop.create_future()
        self._waiter, self._reader = waiter, reader
        self.first_byte = None
        self._transport.write(request)
        timer = loop.call_at(ends, self._fail, DeadlineError("timed out"))
        try:
            return await waiter
        finally:
            timer.cancel()
            del waiter  # an error, which it has, refers to this frame

    def abort(self) -> None:
        """Close the connection at once."""
        self._open = False
        self._transport.abort()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection was made."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of create_connection
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self._open = True
        self._acknowledge_at_once()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._acknowledge_at_once()
        if self._waiter is None:  # a server that sends unasked is not asked again here
            self.abort()
            return
        if self.first_byte is None:
            self.first_byte = time.monotonic()
        try:
            if answer := self._reader.feed(data):
                self._done(answer)
        except h11.RemoteProtocolError as error:
            self._fail(_cut_off() if self._reader.begun else BadStatusLine(str(error)))
        except (TooLargeError, zlib.error) as error:
            self._fail(error)

    def eof_received(self) -> None:
        """The server sends no more."""
        if self._waiter is not None:
            with suppress(h11.RemoteProtocolError, TooLargeError, zlib.error):
                if answer := self._reader.feed(b""):
                    self._done(answer)
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection was closed or broke."""
        self._end(exc)

    def _end(self, error: Exception | None = None) -> None:
        self._fail(error or _cut_off())

    def _fail(self, error: Exception) -> None:
        """Make the request fail; its connection is not used again."""
        self._open = False
        waiter, self._waiter = self._waiter, None  # the error refers to frames that refer to this connection
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _acknowledge_at_once(self) -> None:
        if _QUICK_ACK is not None and self._socket is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
            except OSError:
                self._socket = None

    def _done(self, answer: Whole) -> None:
        waiter, self._waiter = self._waiter, None
        if not answer.reusable:
            self._open = False
            self._transport.close()
        if waiter is not None and not waiter.done():
            waiter.set_result(BufferedAnswer(answer.status, answer.headers, answer.body))


def _cut_off() -> RemoteDisconnected:
    return RemoteDisconnected("closed before the answer was whole")
