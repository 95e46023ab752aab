"""Finds out what listens on a port that does not answer like a Jolokia agent: TLS, plain HTTP, CQL or JMX."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from typing import Literal, TypeAlias

from ringcheck.http.sockets import connect, secured, tls_context
from ringcheck.http.tls import Tls

Protocol: TypeAlias = Literal["TLS", "HTTP", "CQL", "JMX"]

_CQL_OPTIONS = b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"  # of the native protocol v4
_CQL_REPLIES = range(0x81, 0x88)  # first byte of a reply, by the version of the protocol
_RMI_HELLO = b"JRMI\x00\x02\x4b"  # magic, version, StreamProtocol
_RMI_ACK = b"\x4e"
_PATIENCE = 1.0  # seconds for each exchange: a server of another protocol often just waits


def protocol_of(host: str, port: int, ends: float) -> Protocol | None:
    """The protocol of a port, determined by at most four short exchanges that change nothing; None for other protocols.

    Args:
        host: name or address.
        port: that accepts connections.
        ends: monotonic time at which all exchanges must be over.
    """
    cql = _reply(host, port, ends, _CQL_OPTIONS)
    if cql[:1] and cql[0] in _CQL_REPLIES:
        return "CQL"
    if _reply(host, port, ends, _RMI_HELLO).startswith(_RMI_ACK):
        return "JMX"
    if _reply(host, port, ends, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/"):
        return "HTTP"
    return "TLS" if _speaks_tls(host, port, ends) else None


def _reply(host: str, port: int, ends: float, sent: bytes) -> bytes:
    """The first bytes that a server answers; empty for none."""
    with suppress(OSError):
        sock = connect(host, port, min(ends, time.monotonic() + _PATIENCE))
        with sock:
            sock.sendall(sent)
            buffer = bytearray(64)
            return bytes(buffer[: sock.recv_into(buffer)])
    return b""


def _speaks_tls(host: str, port: int, ends: float) -> bool:
    """Whether a server completes a TLS handshake, or refuses it with a TLS alert."""
    anyone = tls_context(Tls(insecure_skip_verify=True))
    try:
        with secured(connect(host, port, min(ends, time.monotonic() + _PATIENCE)), anyone, host):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
