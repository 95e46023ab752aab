"""The agent's HTTP server: uvicorn in a thread of its own, with limits on those who are slow.

Owns sockets, TLS and time. uvicorn itself waits for ever for the first request of a connection, for the rest of a
header, and for a client that does not read; a few hundred of such would be all there is, and nobody could scrape.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ringcheck.errors import ConfigError, RingcheckError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.agent.webconfig import ServerTls, WebConfig

HANDSHAKE = 10.0  # seconds for that of TLS
RECEIVE = 10.0  # seconds for a whole request, header and body, and for a connection to begin one
IDLE = 20.0  # seconds that a connection is kept between requests
ANSWER = 120.0  # seconds for an answer to be made and taken
EVENTS = 330.0  # the same for a stream of events, which ends before
CONNECTIONS = 256  # beyond these the one that waits longest for its request is closed
HEADER = 16 * 1024  # bytes
GRACE = 3.0  # seconds for answers in hand at the end
LOOK = 10.0  # seconds between looks at the files of web_config

Phase: TypeAlias = Literal["receiving", "answering", "idle"]


class Patient(H11Protocol):
    """One connection, which ends when it takes too long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        super().__init__(*args, **kwargs)
        self.phase: Phase = "receiving"
        self.since = 0.0
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base's
        """See the base; makes room where too many wait."""
        super().connection_made(transport)
        self._enter("receiving")
        here = [one for one in self.connections if isinstance(one, Patient) and not one.transport.is_closing()]
        if len(here) > CONNECTIONS:
            waiting = (one for one in here if one.phase != "answering")
            min(waiting, key=lambda one: one.since).transport.abort()

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
        # A client that does not read would keep a connection that is only closed: its buffer would have to be empty.
        self._end = self.loop.call_later(self._seconds(), self.transport.abort)

    def _seconds(self) -> float:
        if self.phase == "answering":
            return EVENTS if self.scope["path"] == "/events" else ANSWER
        return RECEIVE if self.phase == "receiving" else IDLE + RECEIVE


class _Loop(asyncio.SelectorEventLoop):
    """uvicorn has no setting for the time that a handshake may take; asyncio's own is a minute."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:  # noqa: ANN401 - passed on
        if kwargs.get("ssl"):
            kwargs["ssl_handshake_timeout"] = HANDSHAKE
        return await super().create_server(*args, **kwargs)


def bound(listen: str) -> socket.socket:
    """A socket that listens at `HOST:PORT`, `[IPV6]:PORT`, or at `:PORT` of all addresses.

    Raises:
        UsageError: if there is no such address, or it is taken.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:]*)):([0-9]{1,5})", listen)
    if not found or int(found[3]) >= 2**16:
        raise UsageError(f"{listen!r} is not HOST:PORT to listen at")
    host, port = found[1] or found[2], int(found[3])
    try:
        if not host:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=512)
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        raise UsageError(f"can't listen at {listen}: {error.strerror or error}") from None


class Served:
    """A running server.

    Attributes:
        url: where it can be asked, from this host.
        ending: set once it is to end: streams of events do then.
        problem: why the files of web_config as they are now can't be used; None where they can.
    """

    def __init__(
        self, web_config: str | None, use: Callable[[WebConfig], object], told: Callable[[str | None], object]
    ) -> None:
        """Prepare.

        Args:
            web_config: path of the file; None for none.
            use: called with what it says, whenever that changes.
            told: called with `problem` whenever that changes.
        """
        self.url = ""
        self.ending = threading.Event()
        self.problem: str | None = None
        self._path = web_config
        self._use = use
        self._told = told
        self._seen: tuple[object, ...] = ()
        self._context: Any = None
        self._tls: ServerTls | None = None

    def begin(self, config: WebConfig) -> Any:  # noqa: ANN401 - an SSLContext or None
        """The TLS context of a configuration.

        Raises:
            ConfigError: if there is none to be had.
        """
        self._tls = config.tls
        self._context = config.tls.context() if config.tls else None
        self._seen = self._stamps()
        return self._context

    def reload(self) -> None:
        """Read the files of web_config again; what can't be used leaves the old in force.

        Certificates are renewed under a service that nobody restarts.

        Raises:
            ConfigError: if they can't be used.
        """
        from ringcheck.agent.webconfig import load  # noqa: PLC0415 - brings yaml and bcrypt only where they are used

        if not self._path:
            return
        found = load(self._path)
        if (found.tls is None) != (self._tls is None):
            raise ConfigError(f"{self._path}: TLS can't be switched while the service runs: restart it")
        if found.tls and self._tls:
            _same_but_for_files(found.tls, self._tls, self._path)
            found.tls.context()  # a pair that does not fit must not be half loaded
            found.tls.load(self._context)
        self._tls = found.tls
        self._use(found)

    def look(self) -> None:
        """Reload if a file is another one than before."""
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
            self._told(self.problem)

    def _stamps(self) -> tuple[object, ...]:
        tls = self._tls
        files = [self._path, *((tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ())]
        return tuple(_stamp(one) for one in files if one)


def _same_but_for_files(new: ServerTls, old: ServerTls, path: str) -> None:
    if (new.client_auth_type, new.min_version) != (old.client_auth_type, old.min_version):
        raise ConfigError(f"{path}: client_auth_type and min_version can't change while the service runs: restart it")


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def running(app: Any, listening: socket.socket, served: Served, context: Any) -> Iterator[Served]:  # noqa: ANN401 - an ASGI app, an SSLContext
    """Serve in a thread until the block ends.

    Raises:
        RingcheckError: if it does not begin to serve.
    """

    async def look() -> None:
        await asyncio.to_thread(served.look)

    config = uvicorn.Config(
        app,
        http=Patient,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,  # whoever asks could say that it is on loopback
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="error",
        timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=int(GRACE),
        h11_max_incomplete_event_size=HEADER,
        ssl_context_factory=(lambda *_: context) if context else None,
        callback_notify=look,
        timeout_notify=int(LOOK),
    )
    server = uvicorn.Server(config)

    def run() -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(server.serve(sockets=[listening]))

    served.url = _url(listening, "https" if context else "http")
    thread = threading.Thread(target=run, name="web", daemon=True)
    thread.start()
    try:
        _await(server, thread)
        yield served
    finally:
        served.ending.set()
        server.should_exit = True
        thread.join(GRACE + 2)
        listening.close()


def _url(listening: socket.socket, scheme: str) -> str:
    host, port = listening.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, host)  # noqa: S104 - nothing is bound by it
    return f"{scheme}://[{here}]:{port}" if ":" in here else f"{scheme}://{here}:{port}"


def _await(server: uvicorn.Server, thread: threading.Thread) -> None:
    ends = time.monotonic() + 30
    while not server.started:
        if not thread.is_alive() or time.monotonic() > ends:
            raise RingcheckError("the web server did not begin to serve: this is a bug of ringcheck")
        time.sleep(0.01)
