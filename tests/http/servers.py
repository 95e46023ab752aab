"""Servers that misbehave, certificates for them, and a single request to them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from ringcheck.errors import SourceError
from ringcheck.http.exchange import exchange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DRIPPING = 20.0  # seconds


def failure(url: str, seconds: float = 3.0, **options: Any) -> SourceError:
    """The error of a request that must fail, in time and in one line."""
    started = time.monotonic()
    with pytest.raises(SourceError) as caught:
        exchange(url, seconds, body=b"{}", **options)
    assert time.monotonic() - started < seconds + 8  # the server may take for ever
    assert "\n" not in str(caught.value)
    return caught.value


def message(error: SourceError, url: str) -> str:
    """The text of an error without its URL, which it must start with."""
    text = str(error)
    assert text.startswith(f"{url}: ")
    return text.removeprefix(f"{url}: ")


@contextmanager
def listening(serve: Any) -> Iterator[str]:
    """The URL of a bare TCP server; `serve` gets each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/path"
        server.shutdown(socket.SHUT_RDWR)


def drip(sock: socket.socket, head: bytes, dripped: bytes) -> None:
    """Send something, and then single bytes, one every 50 ms, long beyond any deadline here.

    It does end, so that a broken deadline is a failure and not a test that hangs.
    """
    ends = time.monotonic() + DRIPPING
    with suppress(OSError), sock:
        sock.recv(65536)
        sock.sendall(head)
        while time.monotonic() < ends:
            for index in range(len(dripped)):
                sock.sendall(dripped[index : index + 1])
                time.sleep(0.05)


def once(sock: socket.socket, answer: bytes) -> None:
    """Answer one request with these bytes, and close the connection."""
    with suppress(OSError), sock:
        sock.recv(65536)
        sock.sendall(answer)


DRIPS = pytest.mark.parametrize(
    ("head", "dripped"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: one more\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"[1, 2, 3, "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n"),
        (b"", b"H"),
    ],
    ids=["headers", "body", "chunks", "status line"],
)
"""The parts of an answer that `drip` sends byte by byte, until long after the deadline."""


@dataclass(frozen=True)
class Certificates:
    """An authority, and files for clients.

    Attributes:
        authority: that signs the servers' certificates.
        ca: file with its certificate.
        other: file with the certificate of another authority.
        client: file with a client's certificate and key, signed by the authority.
    """

    authority: trustme.CA
    ca: str
    other: str
    client: str

    @classmethod
    def written(cls, folder: Path) -> Certificates:
        """New certificates, written to a folder."""
        authority = trustme.CA()
        ca, other, client = (str(folder / name) for name in ("ca", "other", "client"))
        authority.cert_pem.write_to_path(ca)
        trustme.CA().cert_pem.write_to_path(other)
        authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(client)
        return cls(authority, ca, other, client)

    def context(self, name: str, *, wants_client: bool = False, valid: tuple[int, int] = (-9, 9)) -> ssl.SSLContext:
        """A server's context with a certificate for a name; on request it asks clients for a certificate.

        `valid` has the first and the last day of the certificate, in days from now.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        begin, end = (datetime.now(UTC) + timedelta(days=days) for days in valid)
        self.authority.issue_cert(name, not_before=begin, not_after=end).configure_cert(context)
        if wants_client:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
