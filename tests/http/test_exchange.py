"""Requests to servers that misbehave: each ends in time, and its error says in one line what went wrong."""

from __future__ import annotations

import gzip
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.errors import SourceError
from ringcheck.http.exchange import exchange
from ringcheck.http.replies import parsed
from tests.fake_jolokia import Agent, free_port, hang, send
from tests.http.servers import DRIPS, drip, failure, listening, message, once

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

MEBIBYTE = 2**20


def body(content: bytes, **options: Any) -> Any:
    """A handler that sends these bytes and closes the connection."""

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        send(handler, content, **options)
        handler.close_connection = True

    return answer


def test_status_and_body_come_back_whatever_the_status() -> None:
    """The caller judges the HTTP status; a redirect is not followed."""
    with Agent(raw=body(b"gone", status=404)) as server:
        assert exchange(server.url, 3.0, body=b"{}") == (404, b"gone")
    with Agent(raw=body(b"x", status=302, headers={"Location": "http://127.0.0.1:1/"})) as server:
        assert exchange(server.url, 3.0, body=b"{}") == (302, b"x")


def test_a_request_has_the_user_agent_and_the_headers_of_the_caller() -> None:
    """The server sees ringcheck as the user agent, and every header that the caller gives."""
    with Agent(raw=body(b"{}")) as server:
        exchange(server.url, 3.0, body=b"{}", headers={"Authorization": "Basic dTpw", "X-More": "1"})
    assert server.headers[0]["User-Agent"].startswith("ringcheck/")
    assert server.headers[0]["Authorization"] == "Basic dTpw"
    assert server.headers[0]["X-More"] == "1"


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable in the environment does not redirect a request."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Agent(raw=body(b"direct")) as server:
        assert exchange(server.url, 3.0, body=b"{}") == (200, b"direct")


def test_credentials_of_a_url_are_in_no_message() -> None:
    """An error shows the URL without its user name and password."""
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}/path"
    assert message(failure(url.replace("//", "//monitor:s3cret@")), url) == "connection refused"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<html>hello</html>", "answered HTML instead of JSON: is this the URL of a Jolokia agent?"),
        (b'[{"status":200,"va', "the JSON of the answer is broken or cut off after 18 bytes"),
        (b"it is \x1b[1m late\n", "the answer is not JSON: it is ?[1m late"),
        (b"", "the answer is empty"),
        (b"[" * 100_000, "the JSON of the answer is broken or cut off after 100000 bytes"),
    ],
)
def test_a_body_that_is_not_json_is_described(content: bytes, text: str) -> None:
    """The message says what was received instead, with unprintable characters replaced."""
    with pytest.raises(SourceError) as caught:
        parsed(content, "http://u:p@host/path?q")
    assert str(caught.value) == f"http://host/path: {text}"


@pytest.mark.parametrize(
    ("headers", "text", "kind"),
    [
        ({"Content-Encoding": "gzip"}, "the compressed answer is broken", "error"),
        ({"Content-Length": "99"}, "the connection was closed before the answer was whole", "unreachable"),
    ],
)
def test_a_broken_body_is_an_error(headers: dict[str, str], text: str, kind: str) -> None:
    """A body that is not what its headers announce is never taken for an answer."""
    with Agent(raw=body(b"{}", headers=headers)) as server:
        error = failure(server.url)
        assert (message(error, server.url), error.kind) == (text, kind)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc", "a chunk has no valid size"),
        (b"X: 1\r\n" * 200 + b"\r\n", "got more than 100 headers"),
    ],
)
def test_an_answer_that_breaks_the_rules_of_http_is_named(answer: bytes, text: str) -> None:
    """It is the server's fault, no bug of ringcheck, and nothing that a second request would change."""
    with listening(lambda sock: once(sock, b"HTTP/1.1 200 OK\r\n" + answer)) as url:
        error = failure(url)
        assert (message(error, url), error.kind) == (f"the answer is not HTTP: {text}", "error")


@pytest.mark.slow
@DRIPS
def test_an_answer_of_single_bytes_ends_at_the_deadline(head: bytes, dripped: bytes) -> None:
    """The deadline is a total: it is not extended by each byte."""
    with listening(lambda sock: drip(sock, head, dripped)) as url:
        error = failure(url, 0.5)
        assert (message(error, url), error.kind) == ("no whole answer within 0.5 s", "unreachable")


@pytest.mark.slow
def test_a_handshake_of_single_bytes_ends_at_the_deadline() -> None:
    """The deadline holds for a TLS handshake too."""
    with listening(lambda sock: drip(sock, b"", b"\x16\x03\x03\x40\x00")) as url:
        secure = url.replace("http:", "https:")
        error = failure(secure, 2.0)
        assert (message(error, secure), error.kind) == ("no whole answer within 2 s", "unreachable")


def test_a_server_that_never_answers_costs_the_deadline() -> None:
    """If nothing comes after the request, the error says how long the wait was."""
    with Agent(raw=hang) as server:
        assert message(failure(server.url, 0.4), server.url) == "no whole answer within 0.4 s"


def test_a_connection_that_is_not_accepted_ends_at_the_deadline() -> None:
    """A host that drops packets costs the time until the deadline, and no more."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        backlog = [socket.socket() for _ in range(3)]
        for sock in backlog:
            sock.setblocking(False)  # noqa: FBT003 - the only way to say it
            sock.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        error = failure(url, 0.4)
        assert error.kind == "unreachable"
        assert message(error, url) in {"no connection within 0.4 s", "no whole answer within 0.4 s"}
        for sock in backlog:
            sock.close()


def test_a_host_name_without_an_address_is_named() -> None:
    """The message says that the name could not be resolved."""
    url = "http://no-such-host.invalid/path"
    assert message(failure(url), url).startswith("the host name can't be resolved: ")


def test_an_answer_above_the_limit_is_refused() -> None:
    """The caller's limit applies; an answer of exactly that size is read."""
    with Agent(raw=body(b"x" * (2 * MEBIBYTE))) as server:
        error = failure(server.url)
        assert (message(error, server.url), error.kind) == (
            "the answer is larger than 1 MiB, which is refused",
            "error",
        )
        assert len(exchange(server.url, 3.0, body=b"{}", max_bytes=2 * MEBIBYTE)[1]) == 2 * MEBIBYTE


@pytest.mark.slow
def test_a_gzip_bomb_is_refused_by_its_decoded_size() -> None:
    """The limit applies to the decoded size; what fits within it is read."""
    headers = {"Content-Encoding": "gzip"}
    with Agent(raw=body(gzip.compress(b" " * (80 * MEBIBYTE)), headers=headers)) as server:
        error = failure(server.url, 10, max_bytes=64 * MEBIBYTE)
        assert message(error, server.url) == "the answer is larger than 64 MiB, which is refused"
    with Agent(raw=body(gzip.compress(b"[1]"), headers=headers)) as server:
        assert exchange(server.url, 3.0, body=b"{}") == (200, b"[1]")
