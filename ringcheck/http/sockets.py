"""Sockets that end at a deadline, and one TLS context for all of them.

Owns how bytes get to a node and back in bounded time; knows nothing of JSON, Jolokia or retries.

A timeout of requests or urllib3 is one of each `recv`: a server that drips a byte a second holds a call for ever, in
the headers as well as in the body. Here every blocking call of a socket gets what is left until the deadline of the
thread that makes it. OpenSSL's calls loop inside one such call and keep its total (CPython `Modules/_ssl.c`,
`_PyDeadline_Get`), so that a dripped TLS handshake ends in time too.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.retry import Retry

from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import PoolManager

    from ringcheck.http.tls import Tls


_ATTEMPT = threading.local()  # .ends: monotonic time at which this thread's request must be over


class DeadlineError(TimeoutError):
    """The time of a request is over."""


def root_cause(error: BaseException) -> BaseException:
    """The first cause in the chain of wrapped exceptions, where the words are."""
    while True:
        inner = [arg for arg in (getattr(error, "reason", None), *error.args) if isinstance(arg, BaseException)]
        if not inner:
            return error
        error = inner[0]


def start_clock(seconds: float) -> None:
    """From now on the sockets of this thread have so many seconds together."""
    _ATTEMPT.ends = time.monotonic() + seconds


def seconds_left() -> float:
    """What is left of this thread's time.

    Raises:
        DeadlineError: if nothing is.
    """
    left = float(_ATTEMPT.ends) - time.monotonic()
    if left <= 0:
        raise DeadlineError("timed out")
    return left


# The JDK's HTTP server writes head and body of an answer apart and leaves Nagle's algorithm on: the body waits for our
# ACK of the head, which Linux delays by 40 ms on a connection that is kept. The option holds for one answer only.
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class _Timed:
    """A socket whose blocking calls together end at the deadline of the thread."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - the signatures of socket and SSLSocket differ
        self.settimeout(seconds_left())  # type: ignore[attr-defined]  # a mixin of sockets
        if _QUICK_ACK is not None:
            self.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)  # type: ignore[attr-defined]  # likewise
        return cast("int", super().recv_into(*args, **kwargs))  # type: ignore[misc]  # likewise

    def sendall(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as above
        self.settimeout(seconds_left())  # type: ignore[attr-defined]  # as above
        super().sendall(*args, **kwargs)  # type: ignore[misc]  # as above


class _PlainSocket(_Timed, socket.socket):
    """Plain TCP until a deadline."""


class _TlsSocket(_Timed, ssl.SSLSocket):
    """TLS until a deadline, the handshake included."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of SSLSocket
        self.settimeout(seconds_left())
        super().do_handshake(block)


def _connect(connection: HTTPConnection) -> socket.socket:
    """A connected socket to any address of a host, all tries together within the deadline."""
    failure: OSError = OSError("the host name has no address")
    try:
        found = socket.getaddrinfo(connection._dns_host, connection.port, type=socket.SOCK_STREAM)  # noqa: SLF001 - urllib3 offers no other name of the host to look up
    except (OSError, UnicodeError) as error:
        raise NewConnectionError(connection, f"the host name can't be resolved: {error}") from error
    for family, kind, protocol, _, address in found:
        sock = _PlainSocket(family, kind, protocol)
        try:
            sock.settimeout(seconds_left())
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, "timed out while connecting") from failure
    raise NewConnectionError(connection, failure.strerror or str(failure)) from failure


class _PlainConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The one context of all connections.

    requests would load the CA bundle for every new connection: 12 CPU-seconds for 300 hosts.

    Raises:
        ConfigError: if a file can't be read or is no certificate or key.
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
    context.sslsocket_class = _TlsSocket
    return context


class Adapter(HTTPAdapter):
    """requests' adapter with the sockets above, the one TLS context, and no retries of its own."""

    def __init__(self, hosts: int, context: Callable[[], ssl.SSLContext]) -> None:
        """Prepare pools.

        Args:
            hosts: how many hosts must keep their connections; requests' default of 10 would reconnect each time.
            context: makes the TLS context when the first https URL is met.
        """
        self._context = context
        super().__init__(pool_connections=hosts, pool_maxsize=2, max_retries=Retry(0, read=False))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - the signature of requests
        """Make pools of the sockets above."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        manager = cast("PoolManager", self.poolmanager)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    def build_connection_pool_key_attributes(
        self,
        request: Any,  # noqa: ANN401 - PreparedRequest; the signature of requests
        verify: Any,  # noqa: ANN401, ARG002 - as above
        cert: Any = None,  # noqa: ANN401, ARG002 - as above
    ) -> tuple[Any, Any]:
        """Give https pools the one context."""
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
        """Leave the pool as it is: the context says whom to trust; requests would load its own bundle here."""
