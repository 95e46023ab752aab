"""Blocking sockets that end at a deadline, and the TLS context of all connections.

Owns how bytes get to a server and back in bounded time; knows nothing of HTTP.

The timeout of a Python socket limits each `recv`: a server that sends a byte a second would hold a call for ever. Here
every blocking call gets the time that is left until the deadline of its request. OpenSSL's calls loop inside one such
call and keep to its total time (CPython `Modules/_ssl.c`, `_PyDeadline_Get`), so that a slow TLS handshake ends in time
too.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from ringcheck.http.tls import Tls


class DeadlineError(TimeoutError):
    """The time of a request is over."""


class NotConnectedError(OSError):
    """No connection was made; its text says why, its cause is the error of the socket if there is one.

    Attributes:
        symptom: as in `SourceError`.
    """

    def __init__(self, text: str, symptom: str = "") -> None:
        super().__init__(text)
        self.symptom = symptom

    @classmethod
    def unresolved(cls, error: OSError | UnicodeError) -> NotConnectedError:
        """The error for a host name that has no address."""
        why = getattr(error, "strerror", None) or "it is not a host name"
        return cls(f"the host name can't be resolved: {lower_first(why)}", "name")

    @classmethod
    def failed(cls, error: OSError) -> NotConnectedError:
        """The error if no address of a host could be connected to, made from the error of the last one."""
        reason = os.strerror(error.errno) if error.errno else str(error)  # asyncio's strerror repeats the address
        return cls(lower_first(reason), "refused" if error.errno == errno.ECONNREFUSED else "")


class ConnectTimeoutError(DeadlineError):
    """No connection was made in time."""


# The JDK's HTTP server writes head and body of an answer apart and leaves Nagle's algorithm on: the body waits for our
# ACK of the head, which Linux delays by 40 ms on a connection that is kept. The option holds for one answer only.
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class _Timed:
    """A socket whose blocking calls together end at `ends`, a monotonic time."""

    ends: float = 0.0

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


class PlainSocket(_Timed, socket.socket):
    """Plain TCP until a deadline."""


class TlsSocket(_Timed, ssl.SSLSocket):
    """TLS until a deadline, the handshake included."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of SSLSocket
        """Shake hands within the deadline."""
        self._limit()
        super().do_handshake(block)


def seconds_left(ends: float) -> float:
    """Seconds until a monotonic time.

    Raises:
        DeadlineError: if it is over.
    """
    left = ends - time.monotonic()
    if left <= 0:
        raise DeadlineError("timed out")
    return left


def connect(host: str, port: int, ends: float) -> PlainSocket:
    """A connected socket to any address of a host; all tries together end at a monotonic time.

    The system looks up the host name, which can take longer.

    Raises:
        ConnectTimeoutError: if the last address that was tried did not answer in time.
        NotConnectedError: if the name has no address, or the last one refused.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotConnectedError.unresolved(error) from error
    failure: OSError = OSError("the host name has no address")
    for family, _, _, _, address in addresses:
        try:
            return _connected_to(family, address, ends)
        except OSError as error:
            failure = error.with_traceback(None)  # it would refer to this frame, which refers to it
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError("timed out while connecting") from failure
    raise NotConnectedError.failed(failure) from failure


def _connected_to(family: int, address: tuple[Any, ...], ends: float) -> PlainSocket:
    sock = PlainSocket(family, socket.SOCK_STREAM)
    sock.ends = ends
    try:
        sock.settimeout(seconds_left(ends))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


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
    """A TLS context, to be used for all connections: loading the system's authorities takes 40 ms of CPU.

    Raises:
        ConfigError: if a file can't be read or is not a certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            _require_key(tls.cert_file, tls.key_file)
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (tls.ca_file, tls.cert_file, tls.key_file)))
        raise ConfigError(f"tls: {files or 'system certificates'} can't be loaded: {unloadable(error)}") from error
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = TlsSocket
    return context


def _require_key(cert_file: str, key_file: str | None) -> None:
    """Refuse a certificate whose private key is named nowhere: OpenSSL's own text for it is `no data`.

    Raises:
        ConfigError: as above.
        OSError: if the file can't be read.
    """
    held = Path(cert_file).read_bytes()
    if key_file is None and b"BEGIN CERTIFICATE" in held and b"PRIVATE KEY" not in held:
        raise ConfigError(f"tls: {cert_file} has no private key: name the file that has it by key_file (--key-file)")


def unloadable(error: OSError | ValueError) -> str:
    """Why a file of certificates or keys can't be used."""
    if isinstance(error, ssl.SSLError):
        return f"not a certificate or key in PEM form, or not a pair ({(error.reason or 'no data').lower()})"
    return lower_first(getattr(error, "strerror", None) or str(error))


def lower_first(text: str) -> str:
    """A text for the middle of a sentence; an abbreviation at its beginning stays in capitals."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
