"""Blocking sockets that end at a deadline, and the TLS context of all connections.

Owns how bytes reach a server and come back in bounded time; knows nothing of JSON or retries.

A timeout of requests or urllib3 applies to each `recv`: a server that sends one byte a second holds a call for ever, in
the headers as well as in the body. Here every blocking call of a socket gets the time that is left until the deadline
of its thread. OpenSSL's calls loop inside one such call and keep its total (CPython `Modules/_ssl.c`,
`_PyDeadline_Get`), so a TLS handshake of single bytes ends in time too.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from ringcheck.http.tls import Tls


class DeadlineError(TimeoutError):
    """The deadline of this thread's request has passed."""


class ConnectionFailedError(NewConnectionError):
    """No connection to any address of a host.

    Attributes:
        text: why, without the representation of the connection that urllib3 puts before it.
    """

    def __init__(self, connection: HTTPConnection, text: str) -> None:
        super().__init__(connection, text)
        self.text = text


def root_cause(error: BaseException) -> BaseException:
    """The innermost of wrapped exceptions, whose text says what went wrong."""
    while True:
        inner = [arg for arg in (getattr(error, "reason", None), *error.args) if isinstance(arg, BaseException)]
        if not inner:
            return error
        error = inner[0]


def start_clock(seconds: float) -> None:
    """Give all sockets of this thread together so many seconds, from now on."""
    _ATTEMPT.ends = time.monotonic() + seconds


def seconds_left() -> float:
    """Seconds until this thread's deadline, more than 0.

    Raises:
        DeadlineError: if it has passed.
    """
    left = float(_ATTEMPT.ends) - time.monotonic()
    if left <= 0:
        raise DeadlineError("timed out")
    return left


# The JDK's HTTP server writes the head and the body of an answer separately, with Nagle's algorithm on. The body waits
# for our ACK of the head, which Linux delays by 40 ms on a kept connection. The option lasts for one answer only.
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class _Timed:
    """A socket whose blocking calls all end at the deadline of their thread."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - the signatures of socket and SSLSocket differ
        self._limit()
        if _QUICK_ACK is not None:
            self.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)  # type: ignore[attr-defined]  # a mixin of sockets
        return super().recv_into(*args, **kwargs)  # type: ignore[misc,no-any-return]  # likewise

    def sendall(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as above
        self._limit()
        super().sendall(*args, **kwargs)  # type: ignore[misc]  # likewise

    def _limit(self) -> None:
        self.settimeout(seconds_left(self.ends))  # type: ignore[attr-defined]  # likewise


class _PlainSocket(_Timed, socket.socket):
    """Plain TCP with a deadline."""


class _TlsSocket(_Timed, ssl.SSLSocket):
    """TLS with a deadline, also for the handshake."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of SSLSocket
        """Shake hands within the deadline."""
        self._limit()
        super().do_handshake(block)


def _connect(connection: HTTPConnection) -> socket.socket:
    """A socket that is connected to the first address of a host that answers, with one deadline for all of them."""
    failure: OSError = OSError("the host name has no address")
    try:
        addresses = socket.getaddrinfo(connection._dns_host, connection.port, type=socket.SOCK_STREAM)  # noqa: SLF001 - urllib3 has no public name for it
    except (OSError, UnicodeError) as error:
        raise ConnectionFailedError(connection, f"the host name can't be resolved: {error}") from error
    for family, kind, protocol, _, address in addresses:
        sock = _PlainSocket(family, kind, protocol)
        try:
            sock.settimeout(seconds_left(ends))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, "timed out while connecting") from failure
    raise ConnectionFailedError(connection, failure.strerror or str(failure)) from failure


def secured(sock: PlainSocket, context: ssl.SSLContext, host: str) -> TlsSocket:
    """The socket after a TLS handshake, within the same deadline.

    Raises:
        ssl.SSLError: if the server is not trusted, or does not speak TLS.
        DeadlineError: if the time is over.
    """
    ends = sock.ends
    wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    assert isinstance(wrapped, TlsSocket)  # noqa: S101 - tls_context says so
    wrapped.ends = ends
    try:
        wrapped.do_handshake()
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A context for all connections with these settings.

    requests would load the CA bundle anew for every connection: 12 CPU-seconds for 300 hosts.

    Raises:
        ConfigError: if a file can't be read, or does not hold what it should.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (tls.ca_file, tls.cert_file, tls.key_file)))
        raise ConfigError(f"tls: {files or 'system certificates'} can't be loaded: {error}") from error
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = TlsSocket
    return context


class Adapter(HTTPAdapter):
    """requests' adapter with the sockets above, one TLS context, and no retries."""

    def __init__(self, hosts: int, context: Callable[[], ssl.SSLContext]) -> None:
        """Prepare the pools; nothing is connected yet.

        Args:
            hosts: how many hosts keep their connections; with requests' default of 10, most polls would reconnect.
            context: makes the TLS context; called for https URLs only.
        """
        self._context = context
        super().__init__(pool_connections=hosts, pool_maxsize=2, max_retries=Retry(0, read=False))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - the signature of requests
        """Let the pools use the sockets above."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        manager = cast("PoolManager", self.poolmanager)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    def build_connection_pool_key_attributes(
        self,
        request: Any,  # noqa: ANN401 - PreparedRequest; the signature of requests
        verify: Any,  # noqa: ANN401, ARG002 - as above
        cert: Any = None,  # noqa: ANN401, ARG002 - as above
    ) -> tuple[Any, Any]:
        """Give every https pool the same context."""
        host, _ = super().build_connection_pool_key_attributes(request, verify=True)
        if host["scheme"] != "https":
            return host, {}
        context = self._context()
        return host, {
            "ssl_context": context,
            "cert_reqs": context.verify_mode.name,
            "assert_hostname": None if context.check_hostname else False,
        }

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ANN401 - the signature of requests
        """Leave the pool as it is: the context says what to trust; requests would load its own bundle here."""
