"""TLS: which servers are trusted, which certificate a client presents, and which files are refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ringcheck.errors import ConfigError
from ringcheck.http.exchange import exchange
from ringcheck.http.sockets import tls_context
from ringcheck.http.tls import Tls
from tests.fake_jolokia import Agent, send
from tests.http.servers import Certificates, failure, message

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.written(tmp_path_factory.mktemp("tls"))


def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    send(handler, b"{}")


def test_a_server_of_the_given_authority_is_trusted(certificates: Certificates) -> None:
    """`ca_file` replaces the system's authorities."""
    with Agent(raw=answer, tls=certificates.context("127.0.0.1")) as server:
        assert exchange(server.url, 3.0, body=b"{}", tls=Tls(ca_file=certificates.ca)) == (200, b"{}")


@pytest.mark.parametrize(
    ("ca", "name", "text"),
    [
        ("other", "127.0.0.1", "TLS: unable to get local issuer certificate"),
        ("ca", "10.0.0.9", "TLS: IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (None, "127.0.0.1", "TLS: unable to get local issuer certificate"),
    ],
    ids=["other authority", "other name", "system's authorities"],
)
def test_an_untrusted_server_gets_no_request(certificates: Certificates, ca: str | None, name: str, text: str) -> None:
    """If its certificate is of another authority or for another name, the connection ends before anything is sent."""
    with Agent(raw=answer, tls=certificates.context(name)) as server:
        error = failure(server.url, tls=Tls(ca_file=getattr(certificates, ca) if ca else None))
        assert (message(error, server.url), error.kind) == (text, "unreachable")
        assert server.headers == []


def test_verification_is_skipped_only_on_request(certificates: Certificates) -> None:
    """`insecure_skip_verify` accepts a certificate of any authority for any name."""
    context = tls_context(Tls(insecure_skip_verify=True))
    assert (context.check_hostname, context.verify_mode) == (False, 0)
    strict = tls_context(Tls(ca_file=certificates.ca))
    assert (strict.check_hostname, strict.verify_mode) == (True, 2)


def test_a_client_certificate_is_presented(certificates: Certificates) -> None:
    """A server that asks for one gets it, and refuses a client without one."""
    with Agent(raw=answer, tls=certificates.context("127.0.0.1", wants_client=True)) as server:
        tls = Tls(ca_file=certificates.ca, cert_file=certificates.client)
        assert exchange(server.url, 3.0, body=b"{}", tls=tls) == (200, b"{}")
        assert failure(server.url, tls=Tls(ca_file=certificates.ca)).kind == "unreachable"


@pytest.mark.parametrize("path", ["/no/such/file", os.devnull])
def test_a_file_without_certificates_is_named(path: str) -> None:
    """A CA file that is missing or is not PEM is a configuration error."""
    with pytest.raises(ConfigError, match=f"tls: {path} can't be loaded: "):
        exchange("https://127.0.0.1:9/", 3.0, tls=Tls(ca_file=path))
