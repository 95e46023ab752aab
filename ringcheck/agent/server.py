"""The agent's HTTP server: uvicorn in a thread of its own, with time limits for slow clients.

Owns sockets, TLS and deadlines. uvicorn itself waits for ever for the first request of a connection, for the rest of a
header, and for a client that does not read: a few hundred such clients would keep Prometheus from scraping.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ringcheck.errors import ConfigError, RingcheckError, UsageError
from ringcheck.http.descriptors import rest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ringcheck.agent.webconfig import ServerTls, WebConfig

HANDSHAKE = 10.0  # seconds for the TLS handshake
RECEIVE = 10.0  # seconds for a whole request, header and body, and for a new connection to begin one
IDLE = 20.0  # seconds that a connection is kept between requests
ANSWER = 120.0  # seconds to make and send an answer
EVENTS = 330.0  # the same for an event stream, which ends by itself before that
CONNECTIONS = 256  # beyond these, or half of `rest()`, the one that has waited longest for a request is closed
HEADER = 16 * 1024  # bytes
BACKLOG = 512  # connections that wait to be accepted
ACCEPTED = 64  # connections that are accepted at once
AGAIN = 1.0  # seconds until a server that failed is started again
GRACE = 3.0  # seconds for open answers at the end
LOOK = 10.0  # seconds between checks of the files of web_config

Phase: TypeAlias = Literal["receiving", "answering", "idle"]
Complain: TypeAlias = "Callable[[Exception], object]"


class Patient(H11Protocol):
    """A connection with a deadline for each phase."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        super().__init__(*args, **kwargs)
        self.phase: Phase = "receiving"
        self.since = 0.0
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the type that uvicorn's own protocol has
        """See the base; makes room if too many connections wait."""
        super().connection_made(transport)
        self._enter("receiving")
        others = (other for other in self.connections if isinstance(other, Patient))
        open_ones = [other for other in others if not other.transport.is_closing()]
        if len(open_ones) > min(CONNECTIONS, rest() // 2):
            waiting = (other for other in open_ones if other.phase != "answering")
            min(waiting, key=lambda other: other.since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See the base."""
        if self._end:
            self._end.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See the base."""
        super().data_received(data)
        self._look("receiving")

    def on_response_complete(self) -> None:
        """See the base."""
        super().on_response_complete()
        self._look("idle")

    def _look(self, otherwise: Phase) -> None:
        done = self.cycle is None or self.cycle.response_complete
        phase: Phase = "answering" if not done else otherwise
        if self.conn.their_state is h11.SEND_BODY:
            phase = "receiving"
        if phase != self.phase:
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        if self._end:
            self._end.cancel()
        self.phase, self.since = phase, self.loop.time()
        # abort, not close: close waits until the buffer is empty, which never happens if the client does not read.
        self._end = self.loop.call_later(self._seconds(), self.transport.abort)

    def _seconds(self) -> float:
        if self.phase == "answering":
            return EVENTS if self.scope["path"] == "/events" else ANSWER
        return RECEIVE if self.phase == "receiving" else IDLE + RECEIVE


class _Loop(asyncio.SelectorEventLoop):
    """Limits the TLS handshake, and how many connections are accepted at once.

    uvicorn has no setting for the handshake, and asyncio gives it a minute. asyncio accepts as many connections in a
    row as may wait. Each takes a descriptor before `Patient` can make room.
    """

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:  # noqa: ANN401 - passed on
        if kwargs.get("ssl"):
            kwargs["ssl_handshake_timeout"] = HANDSHAKE
        waiting, kwargs["backlog"] = kwargs["backlog"], min(ACCEPTED, rest() // 8)
        server = await super().create_server(*args, **kwargs)
        kwargs["sock"].listen(waiting)
        return server


def bound(listen: str) -> socket.socket:
    """A socket that listens on `HOST:PORT`, `[IPV6]:PORT`, or `:PORT` for all addresses.

    Raises:
        UsageError: the text is not such an address, or the address can't be used.
    """
    parts = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:]*)):([0-9]{1,5})", listen)
    if not parts or int(parts[3]) >= 2**16:
        raise UsageError(f"can't listen on {listen!r}: it is not HOST:PORT")
    host, port = parts[1] or parts[2], int(parts[3])
    try:
        if not host:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=BACKLOG)
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        # Python adds the address to the system's words; the errors of name resolution have negative numbers.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise UsageError(
            f"can't listen on {listen}: {why}", "listen on an address of this host, and a free port"
        ) from None


class Served:
    """A running server.

    Attributes:
        url: its URL, as seen from this host.
        address: the address and port that it listens on, `0.0.0.0` or `[::]` if it is all of this host.
        unguarded: whether other hosts can reach it, and need neither a user nor a certificate.
        ending: set when the server is about to end, so that event streams end too.
        problem: why the current files of web_config can't be used; None if they can.
    """

    def __init__(
        self, web_config: str | None, use: Callable[[WebConfig], object], report: Callable[[str | None], object]
    ) -> None:
        """Prepare.

        Args:
            web_config: path of the file, or None.
            use: called with the configuration whenever it changes.
            report: called with `problem` whenever it changes.
        """
        self.url = self.address = ""
        self.unguarded = False
        self.ending = threading.Event()
        self.problem: str | None = None
        self._path = web_config
        self._use = use
        self._report = report
        self._seen: tuple[object, ...] = ()
        self._context: Any = None
        self._tls: ServerTls | None = None

    def begin(self, config: WebConfig) -> Any:  # noqa: ANN401 - an SSLContext or None
        """The TLS context of a configuration.

        Raises:
            ConfigError: the certificate or key can't be used.
        """
        self._tls = config.tls
        self._context = config.tls.context() if config.tls else None
        self._seen = self._stamps()
        return self._context

    def reload(self) -> None:
        """Read the files of web_config again, since certificates are renewed while the service runs.

        Raises:
            ConfigError: they can't be used; the old ones stay in force.
        """
        from ringcheck.agent.webconfig import load  # noqa: PLC0415 - loads yaml and bcrypt only if they are used

        if not self._path:
            return
        config = load(self._path)
        if (config.tls is None) != (self._tls is None):
            raise ConfigError(f"{self._path}: TLS can't be switched on or off while the service runs: restart it")
        if config.tls and self._tls:
            _require_same_options(config.tls, self._tls, self._path)
            config.tls.context()  # raises before a pair that does not match is half loaded
            config.tls.load(self._context)
        self._tls = config.tls
        self._use(config)

    def look(self) -> None:
        """Reload if a file has changed."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen, before = stamps, self.problem
        try:
            self.reload()
            self.problem = None
        except RingcheckError as error:
            self.problem = str(error)
        if self.problem != before:
            self._report(self.problem)

    def _stamps(self) -> tuple[object, ...]:
        tls = self._tls
        files = [self._path, *((tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ())]
        return tuple(_stamp(file) for file in files if file)


def _require_same_options(new: ServerTls, old: ServerTls, path: str) -> None:
    if (new.client_auth_type, new.min_version) != (old.client_auth_type, old.min_version):
        raise ConfigError(f"{path}: client_auth_type and min_version can't change while the service runs: restart it")


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


@contextmanager
def running(
    app: Any,  # noqa: ANN401 - an ASGI app
    listening: socket.socket,
    served: Served,
    context: Any,  # noqa: ANN401 - an SSLContext or None
    complain: Complain = lambda _: None,
) -> Iterator[Served]:
    """Serve in a thread until the block ends; a server that fails, such as for lack of memory, is started again.

    Raises:
        RingcheckError: the server did not start.
    """
    server = uvicorn.Server(_config(app, context, partial(_look, served, complain)))
    served.url = _url(listening, "https" if context else "http")
    served.address = _joined(*listening.getsockname()[:2])
    serve = partial(_serve, server, listening, served, complain)
    thread = threading.Thread(target=serve, name="web", daemon=True)
    thread.start()
    try:
        _await(server, thread)
        yield served
    finally:
        served.ending.set()
        server.should_exit = True
        thread.join(GRACE + 2)
        listening.close()


async def _look(served: Served, complain: Complain) -> None:
    try:
        await asyncio.to_thread(served.look)
    except Exception as error:  # noqa: BLE001 - uvicorn would end the server
        complain(error)


def _config(app: Any, context: Any, look: Callable[[], Awaitable[None]]) -> uvicorn.Config:  # noqa: ANN401 - as `running`
    return uvicorn.Config(
        app,
        http=Patient,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,  # with them, any client could claim to be on loopback
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="error",
        timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=int(GRACE),
        h11_max_incomplete_event_size=HEADER,
        backlog=BACKLOG,
        ssl_context_factory=(lambda *_: context) if context else None,
        callback_notify=look,
        timeout_notify=int(LOOK),
    )


def _serve(server: uvicorn.Server, listening: socket.socket, served: Served, complain: Complain) -> None:
    """Serve until the server is asked to end; after an error, start it again."""
    while not server.should_exit:
        try:
            with asyncio.Runner(loop_factory=_Loop) as runner:
                runner.run(server.serve(sockets=[listening]))
        except Exception as error:  # noqa: BLE001 - the service goes on
            complain(error)
            served.ending.wait(AGAIN)


def _url(listening: socket.socket, scheme: str) -> str:
    host, port = listening.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, host)  # noqa: S104 - only compared
    return f"{scheme}://{_joined(local, port)}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _await(server: uvicorn.Server, thread: threading.Thread) -> None:
    ends = time.monotonic() + 30
    while not server.started:
        if not thread.is_alive() or time.monotonic() > ends:
            raise RingcheckError("the web server did not start: this is a bug in ringcheck")
        time.sleep(0.01)
