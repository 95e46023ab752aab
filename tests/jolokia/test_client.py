"""Requests to agents that misbehave: every failure ends in time and is one line that names its cause."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import socket
import ssl
import threading
import time
import weakref
from contextlib import closing, contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import trustme

from ringcheck.errors import ConfigError, SourceError
from ringcheck.http.exchange import RetryableError
from ringcheck.http.loop import RequestLimit
from ringcheck.http.threads import WorkerThreads
from ringcheck.http.tls import Tls
from ringcheck.jolokia.client import Client, RefusedError, Requests
from ringcheck.jolokia.loop import OnLoop
from ringcheck.jolokia.settings import JolokiaSettings, host_of
from tests.fake_jolokia import Agent, denied, free_port, hang, ok, send
from tests.http.servers import DRIPS, drip, listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

READ = {"type": "read", "mbean": "m", "attribute": "a"}
MEBIBYTE = 2**20
SECRET, WRONG = "s3cret", "wr0ng"


class OnOneLoop:
    """The client as the long-running agent uses it: requests run on an event loop."""

    def __init__(self, requests: Requests) -> None:
        self._runner = asyncio.Runner()
        self._asking = OnLoop(requests, WorkerThreads(1), RequestLimit(8))
        self.counts = requests.counts

    def post(self, url: str, payload: object, deadline: float) -> Any:
        return self._runner.run(self._asking.post(url, payload, deadline))

    def stream(self, url: str, payload: object, deadline: float) -> Any:
        return self._runner.run(self._asking.stream(url, payload, deadline))

    def close(self) -> None:
        self._asking.close()
        self._runner.close()


Asker: TypeAlias = "Client | OnOneLoop"


def requests_of(**settings: Any) -> Requests:
    return Requests(JolokiaSettings(contact_points=("127.0.0.1",), **({"timeout": 1.0} | settings)))


def client(**settings: Any) -> Client:
    return Client(requests_of(**settings), sleep=lambda _: None)


def on_loop(**settings: Any) -> OnOneLoop:
    LOOPS.append(OnOneLoop(requests_of(**settings)))
    return LOOPS[-1]


LOOPS: list[OnOneLoop] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close all event loops, also those that a test dropped: some later test would have to find them as garbage."""
    yield
    while LOOPS:
        LOOPS.pop().close()


BOTH = pytest.mark.parametrize("asker", [client, on_loop])


def soon(seconds: float = 3.0) -> float:
    return time.monotonic() + seconds


def failure(asking: Asker, url: str, seconds: float = 3.0) -> SourceError:
    """The error of a request that must fail, and must do so in time."""
    started = time.monotonic()
    with pytest.raises(SourceError) as caught:
        asking.post(url, READ, soon(seconds))
    assert time.monotonic() - started < seconds + 8  # the server may take for ever
    assert "\n" not in str(caught.value)
    return caught.value


def said(error: SourceError, url: str) -> str:
    """The message of an error without its URL, with which it must start."""
    text = str(error)
    assert text.startswith(f"{url}: ")
    return text.removeprefix(f"{url}: ")


def body(content: bytes, **options: Any) -> Any:
    """A handler that answers with a body."""
    return lambda handler, _: send(handler, content, **options)


# Where agents are.


@pytest.mark.parametrize(
    ("contact", "url"),
    [
        ("10.0.0.1", "http://10.0.0.1:8778/jolokia"),
        ("cas1", "http://cas1:8778/jolokia"),
        ("cas1:9000", "http://cas1:9000/jolokia"),
        ("2001:db8::1", "http://[2001:db8::1]:8778/jolokia"),
        ("[2001:db8::1]:9000", "http://[2001:db8::1]:9000/jolokia"),
        ("https://gate/cas1/jolokia", "https://gate/cas1/jolokia"),
    ],
)
def test_a_contact_point_is_a_host_a_host_and_port_or_a_url(contact: str, url: str) -> None:
    """Every form of a contact point stands for one URL."""
    assert JolokiaSettings(contact_points=(contact,)).url_of_contact(contact) == url


def test_a_url_template_may_have_the_address_anywhere_and_tls_makes_the_default_https() -> None:
    """The address replaces every `{address}`; with a TLS section the default is https."""
    assert (
        JolokiaSettings(contact_points=(), url="https://gate/{address}/j").url_of("10.0.0.1")
        == "https://gate/10.0.0.1/j"
    )
    assert JolokiaSettings(contact_points=(), tls=Tls()).url_of("fe80::1%eth0") == "https://[fe80::1]:8778/jolokia"


@pytest.mark.parametrize("contact", ["", "a b:1:2", "host:port", "user@host", "host/path"])
def test_a_contact_point_of_another_form_is_refused(contact: str) -> None:
    """The configuration error quotes it."""
    with pytest.raises(ConfigError, match="is neither HOST, HOST:PORT"):
        JolokiaSettings(contact_points=(contact,)).url_of_contact(contact)


def test_hosts_of_contact_points_are_canonical() -> None:
    """Hosts are compared with members, so each address must have a single form."""
    found = [host_of(item) for item in ("2001:0db8::0001", "https://u:p@10.0.0.1:1/j", "cas1:9")]
    assert found == ["2001:db8::1", "10.0.0.1", "cas1"]


@BOTH
def test_credentials_are_never_shown(asker: Any) -> None:
    """User name and password appear in no settings and no error, even if they are in a URL."""
    settings = JolokiaSettings(contact_points=("h",), username="monitor", password=SECRET)
    assert "s3cret" not in repr(settings)
    assert "monitor" not in repr(settings)
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}/jolokia"
    assert said(failure(asker(), url.replace("//", "//monitor:s3cret@")), url) == "connection refused"


# What goes over the wire.


@BOTH
def test_a_request_carries_version_and_credentials_and_no_cookies(asker: Any) -> None:
    """The agent sees which program asks; its cookies are not sent back."""

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        send(handler, b'{"value":1,"status":200}', headers={"Set-Cookie": "a=b"})

    with Agent(raw=answer) as agent:
        asking = asker(username="u", password=SECRET)
        for _ in range(2):
            asking.post(agent.url, READ, soon())
    assert agent.connections == 1
    assert agent.headers[1]["User-Agent"].startswith("ringcheck/")
    assert agent.headers[1]["Authorization"] == "Basic dTpzM2NyZXQ="
    assert "Cookie" not in agent.headers[1]


@BOTH
def test_proxies_of_the_environment_are_ignored(asker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable in the environment of a check does not redirect its requests."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Agent(lambda item: ok(item, 1)) as agent:
        assert asker().post(agent.url, READ, soon())["value"] == 1


@BOTH
def test_outcomes_and_bytes_are_counted(asker: Any) -> None:
    """The metrics count the requests that were really made."""
    with Agent(lambda item: ok(item, 1)) as agent, Agent(auth=("a", "b")) as guarded:
        asking = asker()
        asking.post(agent.url, READ, soon())
        failure(asking, guarded.url)
        failure(asking, f"http://127.0.0.1:{free_port('127.0.0.1')}/")
        assert asking.counts.bytes == agent.bytes_sent
    assert asking.counts.requests == {"ok": 1, "denied": 1, "unreachable": 3}


# Answers that can't be used.


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(
    ("raw", "message", "kind"),
    [
        (body(b"<html>hello</html>"), "answered HTML instead of JSON: is this the URL of a Jolokia agent?", "error"),
        (body(b'[{"status":200,"va'), "the JSON of the answer is broken or cut off after 18 bytes", "error"),
        (body(b"it is \x1b[1m late\n"), "the answer is not JSON: it is ?[1m late", "error"),
        (body(b""), "the answer is empty", "error"),
        (body(b"[" * 100_000), "the JSON of the answer is broken or cut off after 100000 bytes", "error"),
        (body(b"", status=401), "HTTP 401, it requires a user name and password", "denied"),
        (body(b"", status=403), "HTTP 403, access is forbidden", "denied"),
        (
            body(b'{"error_type":"a.B","error":"a.B : No\\nentry \\ud800","status":403}', status=403),
            "HTTP 403, access is forbidden: No entry ?",
            "denied",
        ),
        (
            body(b'{"error":"' + b"e" * 300 + b'"}', status=403, content_type="text/plain; charset=utf-8"),
            f"HTTP 403, access is forbidden: {'e' * 200}...",
            "denied",
        ),
        (body(b'{"error":7}', status=403), "HTTP 403, access is forbidden", "denied"),
        (body(b"[7]", status=403), "HTTP 403, access is forbidden", "denied"),
        (body(b"go away", status=403, content_type="text/plain"), "HTTP 403, access is forbidden: go away", "denied"),
        (
            body(b"<html><h1>Forbidden</h1>", status=403, content_type="text/html"),
            "HTTP 403, access is forbidden",
            "denied",
        ),
        (body(b'{"error":"wrong","status":400}', status=400), "HTTP 400: wrong", "error"),
        (body(b"<h1>404</h1>", status=404, content_type="text/html"), "HTTP 404", "error"),
        (
            body(b"400 (Bad Request)\n\nNo type", status=400, content_type="text/plain"),
            "HTTP 400: 400 (Bad Request) No type",
            "error",
        ),
        (
            body(b"x", status=302, headers={"Location": "http://u:p@other/x?y"}),
            "HTTP 302 to http://other/x: redirects are not followed",
            "error",
        ),
        (body(b"not gzip", headers={"Content-Encoding": "gzip"}), "the compressed answer is broken", "error"),
        (
            body(b"{}", headers={"Content-Length": "99"}),
            "the connection was closed before the answer was whole",
            "unreachable",
        ),
    ],
)
def test_an_unusable_answer_is_an_error_of_one_line(asker: Any, raw: Any, message: str, kind: str) -> None:
    """The error describes the answer, has its URL, and says whether access was denied."""

    def once(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
        raw(handler, asked)
        handler.close_connection = True

    with Agent(raw=once) as agent:
        error = failure(asker(), agent.url)
        assert (said(error, agent.url), error.kind) == (message, kind)


@BOTH
def test_wrong_and_missing_credentials_have_different_errors(asker: Any) -> None:
    """The error of a 401 says whether credentials were sent."""
    with Agent(auth=("monitor", SECRET)) as agent:
        error = failure(asker(username="monitor", password=WRONG), agent.url)
        assert said(error, agent.url) == "HTTP 401, user name or password is wrong"
        assert asker(username="monitor", password=SECRET).post(agent.url, READ, soon())["status"] == 404


def test_http_400_has_an_error_of_its_own() -> None:
    """After it the requests of a bulk may be sent one by one."""
    with Agent(raw=body(b"", status=400)) as agent, pytest.raises(RefusedError):
        client().post(agent.url, READ, soon())


@BOTH
def test_a_status_403_inside_http_200_is_an_answer(asker: Any) -> None:
    """Jolokia reports what a policy forbids inside an HTTP 200, so that decoding must recognise it."""
    with Agent(denied) as agent:
        assert asker().post(agent.url, READ, soon())["status"] == 403


@pytest.mark.slow
@BOTH
@DRIPS
def test_a_dripping_answer_ends_at_the_timeout(asker: Any, head: bytes, dripped: bytes) -> None:
    """The deadline is a total: it is not extended by bytes that arrive in time."""
    with listening(lambda sock: drip(sock, head, dripped)) as url:
        error = failure(asker(timeout=0.5), url, 1.5)
        assert (said(error, url), error.kind) == ("no whole answer within 0.5 s", "unreachable")


@pytest.mark.slow
@BOTH
def test_a_dripping_handshake_ends_at_the_timeout(asker: Any) -> None:
    """A TLS handshake that never ends does not block a poll either."""
    with listening(lambda sock: drip(sock, b"", b"\x16\x03\x03\x40\x00")) as url:
        secure = url.replace("http:", "https:")
        error = failure(asker(timeout=0.5), secure, 1.5)
        assert error.kind == "unreachable"
        # The first request needs CPU time for the TLS context before it connects.
        assert said(error, secure) in {"no whole answer within 0.5 s", "no connection within 0.5 s"}


@BOTH
def test_the_deadline_wins_over_the_timeout_of_a_request(asker: Any) -> None:
    """A request gets the time that is left, not its own timeout."""
    with Agent(raw=hang) as agent:
        assert said(failure(asker(timeout=30), agent.url, 0.4), agent.url) == "no whole answer within 0.4 s"


@BOTH
def test_a_connection_that_is_not_accepted_ends_at_the_timeout(asker: Any) -> None:
    """A host that drops packets costs the timeout and says so."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        full = [socket.socket() for _ in range(3)]
        for sock in full:
            sock.setblocking(False)  # noqa: FBT003 - the only way to say it
            sock.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        error = failure(asker(timeout=0.4), url, 1.0)
        assert error.kind == "unreachable"
        assert said(error, url) in {"no connection within 0.4 s", "no whole answer within 0.4 s"}
        for sock in full:
            sock.close()


@BOTH
def test_a_host_name_without_an_address_is_reported(asker: Any) -> None:
    """The error names the host name that can't be resolved."""
    url = "http://no-such-host.invalid/jolokia"
    assert said(failure(asker(), url), url).startswith("the host name can't be resolved: ")


# Size.


def endless(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    """A handler that answers with 100 MB."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(100 * MEBIBYTE))
    handler.end_headers()
    try:
        for _part in range(100):
            handler.wfile.write(bytes(MEBIBYTE))
    except OSError:
        pass


@BOTH
def test_an_answer_of_100_mb_is_refused_before_it_is_read(asker: Any) -> None:
    """The limit stops an answer that would fill the memory: 1 MiB, unless the answer may be large."""
    with Agent(raw=endless) as agent:
        asking = asker(timeout=10)
        error = failure(asking, agent.url, 10)
        assert str(error).endswith(": the answer is larger than 1 MiB, which is refused")
        assert error.kind == "error"
        assert asking.counts.bytes < 2 * MEBIBYTE
        with pytest.raises(SourceError, match="the answer is larger than 16 MiB, which is refused"):
            asking.stream(agent.url, READ, soon(10))
        assert asking.counts.bytes < 20 * MEBIBYTE
        asking.close()


@pytest.mark.slow
@BOTH
def test_a_gzip_bomb_is_refused_by_its_decoded_size(asker: Any) -> None:
    """Compression does not get around the cap, and what fits under it is read."""
    with Agent(raw=body(gzip.compress(b" " * (80 * MEBIBYTE)), headers={"Content-Encoding": "gzip"})) as agent:
        asking = asker(timeout=10)
        assert str(failure(asking, agent.url, 10)).endswith(": the answer is larger than 1 MiB, which is refused")
        asking.close()
    small = gzip.compress(b'{"status":200,"value":[]}')
    with Agent(raw=body(small, headers={"Content-Encoding": "gzip"})) as agent:
        assert client().post(agent.url, READ, soon())["value"] == []


@pytest.mark.slow
def test_only_a_reply_that_may_be_large_can_have_40_mb() -> None:
    """A decoder of streams gets the ranges of 1,024 nodes with 256 tokens each; no setting allows more."""
    with Agent(raw=body(b" " * (40 * MEBIBYTE))) as agent:
        assert client(timeout=10).stream(agent.url, READ, soon(10), lambda reply: len(reply.all())) == 40 * MEBIBYTE
    with Agent(raw=body(b" " * (65 * MEBIBYTE))) as agent, pytest.raises(SourceError, match="larger than 64 MiB"):
        client(timeout=10).stream(agent.url, READ, soon(10), lambda reply: len(reply.all()))


# Retries.


def flaky(times: int) -> tuple[Agent, list[int]]:
    """An agent that breaks the first connections after it has read the request."""
    seen: list[int] = []

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        seen.append(1)
        if len(seen) <= times:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        else:
            send(handler, b'{"status":200,"value":1}')

    return Agent(raw=answer), seen


def test_a_broken_connection_is_tried_again_with_growing_pauses() -> None:
    """Connection errors are retried: three attempts in all."""
    pauses: list[float] = []
    agent, seen = flaky(2)
    with agent:
        asking = Client(Requests(JolokiaSettings(contact_points=("h",))), sleep=pauses.append)
        assert asking.post(agent.url, READ, soon())["value"] == 1
    assert (len(seen), len(pauses)) == (3, 2)
    assert all(0 <= pause <= 1 for pause in pauses)
    agent, seen = flaky(9)
    with agent:
        assert said(failure(client(), agent.url), agent.url) == "the connection was closed before the answer was whole"
    assert len(seen) == 3


def test_no_pause_goes_beyond_the_deadline() -> None:
    """A request is not retried if no time is left."""
    pauses: list[float] = []
    agent, seen = flaky(9)
    with agent, pytest.raises(SourceError):
        Client(Requests(JolokiaSettings(contact_points=("h",))), sleep=pauses.append).post(agent.url, READ, soon(0.02))
    assert sum(pauses) <= 0.02
    assert len(seen) <= 3


@BOTH
def test_a_timeout_is_not_tried_again(asker: Any) -> None:
    """A slow agent still works on the first request, and a second one would only wait behind it."""
    with Agent(raw=hang) as agent:
        failure(asker(timeout=0.2), agent.url)
        assert len(agent.payloads) == 1


def test_a_request_with_an_effect_is_sent_once() -> None:
    """A drain is never repeated, whatever happens to its answer, and may take longer than a read."""
    agent, seen = flaky(1)
    with agent, pytest.raises(SourceError, match="closed before the answer was whole"):
        client().exec_once(agent.url, READ, soon())
    assert len(seen) == 1
    with Agent(lambda item: ok(item, None), delay=0.3) as slow:
        assert client(timeout=0.1).exec_once(slow.url, READ, soon())["status"] == 200


def test_one_request_is_in_flight_to_an_agent() -> None:
    """If several threads ask the same agent, they take turns."""
    with Agent(lambda item: ok(item, 1), delay=0.02) as agent:
        asking = client()
        threads = [threading.Thread(target=asking.post, args=(agent.url, READ, soon())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(agent.payloads), agent.most_in_flight, agent.connections) == (8, 1, 1)


@pytest.mark.slow
def test_waiting_for_a_turn_ends_at_the_deadline() -> None:
    """A request that waits behind one that is stuck gives up in time."""
    with Agent(raw=hang) as agent:
        asking = client(timeout=2)
        first = threading.Thread(target=failure, args=(asking, agent.url))
        first.start()
        while not agent.payloads:
            time.sleep(0.01)
        assert said(failure(asking, agent.url, 0.2), agent.url) == "an earlier request is still not answered"
        first.join()


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """Files of the authority, of another one, and of a client's certificate."""
    found = {name: str(tmp_path / name) for name in ("ca", "other", "client")}
    authority.cert_pem.write_to_path(found["ca"])
    trustme.CA().cert_pem.write_to_path(found["other"])
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(found["client"])
    return found


def context_of(authority: trustme.CA, name: str, *, wants_client: bool = False) -> ssl.SSLContext:
    """A server's context with a certificate for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if wants_client:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@BOTH
def test_an_agent_of_the_own_authority_is_trusted_on_a_kept_connection(
    asker: Any, authority: trustme.CA, files: Any
) -> None:
    """TLS works with a CA file, and one handshake serves many requests."""
    with Agent(lambda item: ok(item, 1), tls=context_of(authority, "127.0.0.1")) as agent:
        asking = asker(tls=Tls(ca_file=files["ca"]))
        assert [asking.post(agent.url, READ, soon())["value"] for _ in range(3)] == [1, 1, 1]
        assert agent.connections == 1


@BOTH
@pytest.mark.parametrize(
    ("ca", "name", "message"),
    [
        ("other", "127.0.0.1", "TLS: unable to get local issuer certificate"),
        ("ca", "10.0.0.9", "TLS: IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (None, "127.0.0.1", "TLS: unable to get local issuer certificate"),
    ],
    ids=["other authority", "other name", "system's authorities"],
)
def test_an_agent_that_is_not_to_be_trusted_is_refused(
    asker: Any, authority: trustme.CA, files: Any, ca: str | None, name: str, message: str
) -> None:
    """A certificate of another authority or for another name ends the connection before anything is sent."""
    with Agent(lambda item: ok(item, 1), tls=context_of(authority, name)) as agent:
        error = failure(asker(tls=Tls(ca_file=files[ca] if ca else None)), agent.url)
        assert (said(error, agent.url), error.kind) == (message, "unreachable")
        assert agent.payloads == []


@BOTH
def test_verification_is_skipped_only_where_asked(
    asker: Any, authority: trustme.CA, recwarn: pytest.WarningsRecorder
) -> None:
    """insecure_skip_verify trusts any server; the warning comes with the configuration, not in a plugin's output."""
    with (
        Agent(lambda item: ok(item, 1), tls=context_of(authority, "10.0.0.9")) as agent,
        closing(asker(tls=Tls(insecure_skip_verify=True))) as trusting,
    ):
        assert trusting.post(agent.url, READ, soon())["value"] == 1
    assert {warning.category for warning in recwarn.list} <= {ResourceWarning}  # warning of the server's sockets


@BOTH
def test_a_client_certificate_is_shown(asker: Any, authority: trustme.CA, files: Any) -> None:
    """An agent that asks for a certificate gets it, and refuses clients without one."""
    with Agent(lambda item: ok(item, 1), tls=context_of(authority, "127.0.0.1", wants_client=True)) as agent:
        asking = asker(tls=Tls(ca_file=files["ca"], cert_file=files["client"]))
        assert asking.post(agent.url, READ, soon())["value"] == 1
        error = failure(asker(tls=Tls(ca_file=files["ca"])), agent.url)
        assert error.kind == "unreachable"


@BOTH
def test_files_that_are_no_certificates_are_named(asker: Any) -> None:
    """A CA file that is missing or is no PEM is a configuration error, found when the file is first needed."""
    for path in ("/no/such/file", os.devnull):
        with pytest.raises(ConfigError, match=f"tls: {path} can't be loaded: "):
            asker(tls=Tls(ca_file=path)).post("https://127.0.0.1:9/", READ, soon())


def test_agents_that_hang_keep_no_other_from_being_asked() -> None:
    """A request that has waited for long no longer counts towards the limit on all requests."""

    async def ask(asking: OnLoop, urls: list[str]) -> Any:
        hanging = [asyncio.create_task(asking.post(url, READ, soon(60))) for url in urls[1:]]
        await asyncio.sleep(0)
        value = await asking.post(urls[0], READ, soon(30))
        for task in hanging:
            task.cancel()
        asking.close()
        return value

    with Agent(lambda item: ok(item, 7)) as agent, Agent(raw=hang) as first, Agent(raw=hang) as second:
        asking = OnLoop(requests_of(timeout=60.0), WorkerThreads(1), RequestLimit(2, slow=0.1))
        reply = asyncio.run(ask(asking, [agent.url, first.url, second.url]))
    assert reply["value"] == 7


class _Poll:
    """Stands for all that the work of a poll refers to."""


@pytest.mark.parametrize("streamed", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("raw", [hang, body(b"<html>"), None], ids=["hangs", "no JSON", "refuses"])
def test_an_error_keeps_nothing_of_its_poll(raw: Any, streamed: bool) -> None:  # noqa: FBT001 - a case
    """What failed work refers to, and its errors, are freed with its task, not only when Python searches for cycles."""

    async def failing(asking: OnLoop, url: str, _: _Poll) -> None:
        await (asking.stream if streamed else asking.post)(url, READ, soon(0.2))

    async def poll(asking: OnLoop, url: str) -> weakref.ref[_Poll]:
        kept = _Poll()
        task = asking.start(failing(asking, url, kept))
        await asking.wait([task], 30)
        assert isinstance(task.exception(), SourceError)
        asking.close()
        return weakref.ref(kept)

    with Agent(raw=raw or hang) as agent, cycles() as found:
        url = agent.url if raw else f"http://127.0.0.1:{free_port()}/jolokia"
        refers = asyncio.run(poll(OnLoop(requests_of(), WorkerThreads(1), RequestLimit(8)), url))
        assert refers() is None
    errors = SourceError, RetryableError, OSError, HTTPException
    assert [each for each in found if isinstance(each, errors)] == []


@contextmanager
def cycles() -> Iterator[list[object]]:
    """What Python would have freed only by a search for cycles; the list is filled when the block ends."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
