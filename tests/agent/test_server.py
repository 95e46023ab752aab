"""The agent's HTTP server: addresses, TLS, event streams, shutdown in time, and clients that are slow on purpose."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme

from ringcheck.agent import monitoring, server, web
from ringcheck.agent.webconfig import load
from ringcheck.errors import ConfigError, UsageError
from tests.agent.test_webconfig import basic, hashed
from tests.agent.watched import NAME, World, watched
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringcheck.agent.server import Served

CA = trustme.CA()
UNENDING = (
    f"POST /api/v1/clusters/{NAME}/preflight HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
).encode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with watched(tmp_path_factory.mktemp("server")) as world:
        yield world


def connected(served: Served) -> socket.socket:
    host, _, port = served.url.rpartition("://")[2].rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=30)


def ended(connection: socket.socket) -> bool:
    """Whether the server closes the connection within the time that a test waits."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


# Addresses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listen", "url"),
    [("127.0.0.1:0", "http://127.0.0.1:"), ("[::1]:0", "http://[::1]:"), ("localhost:0", "http://"), (":0", "http://")],
)
def test_it_listens_on_the_configured_address(world: World, listen: str, url: str) -> None:
    """The reported URL works for a client on this host."""
    with web.serve(world.agent, listen) as served:
        assert served.url.startswith(url)
        assert requests.get(f"{served.url}/-/healthy", timeout=30).status_code == 200


@pytest.mark.parametrize("listen", ["127.0.0.1", "9742", "127.0.0.1:99999", "::1:9742", "http://127.0.0.1:1", ""])
def test_a_wrong_address_is_refused(world: World, listen: str) -> None:
    """The error has one line."""
    with pytest.raises(UsageError, match="it is not HOST:PORT"), web.serve(world.agent, listen):
        pass


def test_a_port_in_use_is_an_error_at_the_start(world: World) -> None:
    """The error is raised to the caller, not only in the server's thread."""
    taken = world.served.url.partition("://")[2]
    with pytest.raises(UsageError, match=r"can't listen on .* in use"), web.serve(world.agent, taken):
        pass


# TLS


def secured(folder: Path, more: str = "", users: str = "", name: str = "127.0.0.1") -> str:
    """A web configuration whose certificate is signed by CA."""
    pair = CA.issue_cert(name, "localhost")
    pair.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    pair.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    CA.cert_pem.write_to_path(folder / "ca.pem")
    file = folder / "web.yml"
    file.write_text(f"tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n{more}{users}")
    file.chmod(0o600)
    return str(file)


def test_clients_verify_the_certificate(world: World, tmp_path: Path) -> None:
    """The certificate is signed by the configured authority; a client without TLS gets no answer."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with web.serve(world.agent, "127.0.0.1:0", secured(tmp_path)) as served:
        assert served.url.startswith("https://127.0.0.1:")
        url = f"{served.url}/metrics"
        assert requests.get(url, verify=str(tmp_path / "ca.pem"), timeout=30).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, verify=str(tmp_path / "other.pem"), timeout=30)
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(url.replace("https", "http"), timeout=30)


def test_old_versions_of_tls_are_refused(world: World, tmp_path: Path) -> None:
    """`min_version` is enforced."""
    with web.serve(world.agent, "127.0.0.1:0", secured(tmp_path, "  min_version: TLS13\n")) as served:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with connected(served) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.slow
def test_client_certificates_are_required(world: World, tmp_path: Path) -> None:
    """A client with a certificate needs no password, from any host."""
    more = "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
    mine = CA.issue_cert("client")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    with web.serve(world.agent, "127.0.0.1:0", secured(tmp_path, more)) as served:
        trust = str(tmp_path / "ca.pem")
        url = f"{served.url}/api/v1/clusters/{NAME}/preflight"
        body, headers = {"nodes": [world.address(0)]}, {"X-Forwarded-For": "203.0.113.9"}
        mine_too = str(tmp_path / "client.pem")
        answer = requests.post(url, json=body, headers=headers, cert=mine_too, verify=trust, timeout=60)
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(f"{served.url}/metrics", verify=trust, timeout=60)


def test_a_renewed_certificate_is_used_without_a_restart(world: World, tmp_path: Path) -> None:
    """Changed users take effect too; an unusable file is reported and leaves the old configuration in force."""
    path = secured(tmp_path, users=f"basic_auth_users: {{alice: {hashed('old').decode()}}}\n")
    reported: list[str | None] = []
    with web.serve(world.agent, "127.0.0.1:0", path, report=reported.append) as served:

        def status(password: str) -> int:
            trust = str(tmp_path / "ca.pem")
            headers = {"Authorization": basic("alice", password)}
            return requests.get(f"{served.url}/-/healthy", headers=headers, verify=trust, timeout=30).status_code

        def serial() -> str:
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            with connected(served) as plain, context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                return str((wrapped.getpeercert() or {})["serialNumber"])

        before = serial()
        assert (status("old"), status("new")) == (200, 401)
        secured(tmp_path, users=f"basic_auth_users: {{alice: {hashed('new').decode()}}}\n")
        served.look()
        assert served.problem is None
        assert serial() != before
        assert (status("old"), status("new")) == (401, 200)
        for text in ("basic_auth_users: {alice: plain}", "basic_auth_users: {alice: }", "{}"):
            (tmp_path / "web.yml").write_text(text)
            served.look()
            assert reported[-1] == served.problem is not None
            assert (status("old"), status("new")) == (401, 200)
        secured(tmp_path)
        served.look()
        assert reported[-1] is None
        secured(tmp_path, "  min_version: TLS13\n")
        with pytest.raises(ConfigError, match="can't change while the service runs"):
            served.reload()


@pytest.mark.slow
def test_the_server_notices_changed_files(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal is needed."""
    monkeypatch.setattr(server, "LOOK", 0)
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{alice: {hashed('old').decode()}}}")
    path.chmod(0o600)
    with web.serve(world.agent, "127.0.0.1:0", str(path)) as served:
        path.write_text(f"basic_auth_users: {{alice: {hashed('new').decode()}}}  # another")
        url = f"{served.url}/-/healthy"
        await_(lambda: requests.get(url, auth=("alice", "new"), timeout=30).status_code == 200, 30, "the new password")


def test_a_wrong_file_is_an_error_at_the_start(world: World, tmp_path: Path) -> None:
    """It is reported before the server listens."""
    path = secured(tmp_path)
    (tmp_path / "cert.pem").write_text("none")
    assert load(path).tls
    with pytest.raises(ConfigError, match="TLS with"), web.serve(world.agent, "127.0.0.1:0", path):
        pass


# Slow clients


@pytest.mark.slow
def test_idle_handshakes_end_and_do_not_delay_a_scrape(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty clients connect and never start the TLS handshake."""
    monkeypatch.setattr(server, "HANDSHAKE", 3)
    with web.serve(world.agent, "127.0.0.1:0", secured(tmp_path)) as served, ExitStack() as stack:
        idle = [stack.enter_context(connected(served)) for _ in range(50)]
        trust = str(tmp_path / "ca.pem")
        assert all(requests.get(f"{served.url}/metrics", verify=trust, timeout=10).ok for _ in range(5))
        assert all(map(ended, idle))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        UNENDING,
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\nGET /-/heal",
    ],
)
def test_connections_of_silent_clients_end(world: World, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends nothing, an endless header or body, nothing after a request, or the start of a second request."""
    monkeypatch.setattr(server, "RECEIVE", 0.3)
    monkeypatch.setattr(server, "IDLE", 1)
    with web.serve(world.agent, "127.0.0.1:0") as served, connected(served) as slow:
        slow.sendall(sent)
        assert ended(slow)


def test_a_slow_header_ends_at_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline applies to the whole header; further bytes do not extend it."""
    monkeypatch.setattr(server, "RECEIVE", 0.5)
    with web.serve(world.agent, "127.0.0.1:0") as served, connected(served) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")

        def refused() -> bool:
            try:
                slow.send(b"x")
            except ConnectionError:
                return True
            return False

        await_(refused, 30, "the end of the connection")


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending an answer has a deadline, even if the buffers are full."""
    monkeypatch.setattr(server, "ANSWER", 0.5)
    over = threading.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(10_000):
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        finally:
            over.set()

    served = server.Served(None, lambda _: None, lambda _: None)
    with server.running(endless, server.bound("127.0.0.1:0"), served, None), connected(served) as deaf:
        deaf.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert over.wait(30)


def test_endless_headers_are_refused(world: World) -> None:
    """The size of headers is limited."""
    with connected(world.served) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * server.HEADER * 2)
        assert endless.recv(100).startswith(b"HTTP/1.1 400 ")


def test_the_longest_idle_connection_makes_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is serving a request is never closed."""
    monkeypatch.setattr(server, "CONNECTIONS", 5)
    monkeypatch.setattr(server, "RECEIVE", 600)
    with web.serve(world.agent, "127.0.0.1:0") as served, ExitStack() as stack:
        idle = [stack.enter_context(connected(served)) for _ in range(12)]
        assert all(requests.get(f"{served.url}/metrics", timeout=10).ok for _ in range(5))
        assert all(map(ended, idle[:7]))


# Event streams


@contextmanager
def stream(served: Served, query: str = "") -> Iterator[Iterator[str]]:
    with requests.get(f"{served.url}/events{query}", stream=True, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield (line for line in answer.iter_lines(1, decode_unicode=True) if line)


@pytest.mark.slow
def test_events_announce_new_readings(world: World) -> None:
    """The stream has one line at the beginning, and one for each new reading."""
    with stream(world.served) as lines:
        assert next(lines) == "retry: 2000"
        numbers = [int(next(lines).removeprefix("data: ")) for _ in range(3)]
    assert numbers == sorted(set(numbers))


@pytest.mark.slow
def test_events_of_one_cluster_leave_out_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream has the news of its own cluster only; the name need not exist, since a reload may bring it back."""
    monkeypatch.setattr(monitoring, "ALIVE_SECONDS", 1.5)
    with stream(world.served, f"?cluster={NAME}") as lines:
        numbers = [int(line.removeprefix("data: ")) for line in islice(lines, 1, 4)]
        assert numbers == sorted(set(numbers))
    with stream(world.served, "?cluster=none") as lines:
        assert list(islice(lines, 6)) == ["retry: 2000", "data: 0", *["event: alive", "data:"] * 2]


@pytest.mark.slow
def test_a_quiet_stream_sends_that_it_is_alive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a browser can distinguish a quiet stream from a lost connection."""
    monkeypatch.setattr(monitoring, "ALIVE_SECONDS", 0)
    with stream(world.served) as lines:
        assert "event: alive" in {next(lines) for _ in range(12)}


def test_a_client_that_leaves_a_busy_stream_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the server would write for ever, and would not answer other clients."""
    monkeypatch.setattr(monitoring, "ALIVE_SECONDS", 0)
    for _ in range(10):
        with stream(world.served) as lines:
            next(lines)
        assert requests.get(f"{world.served.url}/metrics", timeout=30).ok


@pytest.mark.slow
def test_streams_are_bounded_and_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers then reconnect by themselves; a client above the limit gets the time for its next attempt."""
    monkeypatch.setattr(monitoring, "STREAMS", 1)
    monkeypatch.setattr(monitoring, "STREAM_SECONDS", 1)
    with web.serve(world.agent, "127.0.0.1:0") as served:
        with stream(served) as lines:
            next(lines)
            answer = requests.get(f"{served.url}/events", timeout=30)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
            assert all(line.startswith(("data: ", "event: ")) for line in lines)

        def again() -> bool:
            with requests.get(f"{served.url}/events", stream=True, timeout=30) as answer:
                return answer.status_code == 200

        await_(again, 30, "room for another")


def test_concurrent_streams_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thirty concurrent requests only as many as allowed succeed."""
    monkeypatch.setattr(monitoring, "STREAMS", 4)
    with web.serve(world.agent, "127.0.0.1:0") as served, ExitStack() as stack:
        connections = [stack.enter_context(connected(served)) for _ in range(30)]
        for connection in connections:
            connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        codes = [connection.recv(12).rpartition(b" ")[2] for connection in connections]
    assert Counter(codes) == {b"200": 4, b"503": 26}


def test_a_stream_that_never_began_is_not_counted(world: World) -> None:
    """Its client disconnected before the first byte."""
    application = web.app(world.agent)
    scope = {"type": "http", "method": "GET", "path": "/events", "query_string": b"", "headers": []}
    taken: list[int] = []

    async def gone(_: Any) -> None:
        taken.append(application.state.streams)
        raise OSError

    async def receive() -> dict[str, str]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    with suppress(OSError):
        asyncio.run(application(scope, receive, gone))
    assert taken[0] == 1
    assert application.state.streams == 0


def test_a_head_request_for_events_is_answered_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count as a stream."""
    monkeypatch.setattr(monitoring, "STREAMS", 0)
    answer = requests.head(f"{world.served.url}/events", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")


def test_it_stops_with_open_streams(world: World) -> None:
    """Afterwards nothing listens, and no thread is left."""
    before = web_threads()
    with ExitStack() as stack:
        with web.serve(world.agent, "127.0.0.1:0") as served:
            lines = [stack.enter_context(stream(served)) for _ in range(3)]
            assert [next(stream_lines) for stream_lines in lines] == ["retry: 2000"] * 3
        assert all(line.startswith("data: ") for stream_lines in lines for line in stream_lines)
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(f"{served.url}/metrics", timeout=30)
    assert web_threads() == before


def web_threads() -> int:
    return sum(thread.name == "web" for thread in threading.enumerate())
