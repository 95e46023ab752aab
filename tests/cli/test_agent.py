"""`check --agent`: a running agent's verdict instead of a poll, and answers that must not be trusted."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from ringcheck.agent import client
from ringcheck.cli import run
from ringcheck.core.assess import assess
from ringcheck.core.policy import Policy
from ringcheck.documents.verdict import verdict_document
from tests import article
from tests.counterparts import sensu as double

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LATE = "--max-age is shorter than the agent's interval, or its polls fail or hang"
HEALTH = "/api/v1/clusters/blogs/health"


def document(*down: str, age: float = 5, **changes: Any) -> dict[str, Any]:
    taken = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return verdict_document(assess(article.snapshot(down), Policy())) | {"taken_at": taken} | changes


@dataclass
class Web:
    """A stand-in for the agent's API, with its answers and the requests that it got.

    Attributes:
        answers: status and body by path.
        user: the name and password that are needed; None for none.
        hangs: whether it never answers.
    """

    answers: Mapping[str, tuple[int, bytes]]
    user: tuple[str, str] | None = None
    hangs: bool = False
    url: str = ""
    paths: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        self.paths.append(handler.path)
        if self.hangs:
            self.closing.wait()
        if self.user:
            wanted = "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
            if handler.headers.get("Authorization") != wanted:
                return 401, b"who are you?"
        return self.answers.get(handler.path, (404, b"there is no such cluster\n"))


@contextmanager
def served(web: Web, tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = web.answer(self)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are tested
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    web.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        server.server_close()


def of(answer: Any, status: int = 200, path: str = HEALTH) -> Web:
    return Web({path: (status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())})


def check(web: Web, *options: str, cluster: str = "blogs") -> int:
    return run(["check", "--agent", web.url, "--cluster", cluster, *options])


@pytest.mark.parametrize(("down", "code"), [((), 0), (("10.0.0.1",), 2), (article.ADDRESSES, 3)])
def test_the_verdict_of_an_agent_is_printed_like_that_of_a_poll(
    down: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line, perfdata and exit code are those of a poll, except for the time that it took."""
    recorded = Path(__file__).parents[1] / "snapshots" / "article-one-down.json"
    with served(of(document(*down))) as web:
        assert check(web, "-v") == code
    assert web.paths == [HEALTH]
    out = capsys.readouterr().out
    if down == ("10.0.0.1",):
        run(["check", "--from", str(recorded), "-v"])
        own = capsys.readouterr().out
        ours, theirs = ([one.partition("time=")[0] for one in text.splitlines()] for text in (out, own))
        assert (ours.pop(1), theirs.pop(1)[:14]) == ("levels: those of the agent's configuration", "levels assumed")
        assert ours == theirs
    assert out.startswith(("OK - blogs: ", "CRITICAL - blogs: ", "UNKNOWN - blogs: "))


def test_json_is_the_agent_s_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The document is printed unchanged."""
    answer = document("10.0.0.1")
    with served(of(answer)) as web:
        assert check(web, "--format", "json") == 2
    assert json.loads(capsys.readouterr().out) == answer


@pytest.mark.parametrize(
    ("web", "options", "text"),
    [
        (of(document(age=61)), [], f"old, more than 60 s: {LATE}\n"),
        (of(document(age=20)), ["--max-age", "10s"], f"old, more than 10 s: {LATE}\n"),
        (of(document(age=-3600)), [], "in the future: the clocks differ"),
        (of(document() | {"taken_at": "yesterday"}), [], "taken_at 'yesterday' is not a time with a zone"),
        (of(document() | {"taken_at": "2026-01-01T00:00:00"}), [], "is not a time with a zone"),
        (of(document(cluster="orders")), [], "answered for cluster 'orders'"),
        (
            of(document("10.0.0.1", severity="OK")),
            [],
            "its severity is OK, which its keyspaces and findings contradict",
        ),
        (of(document() | {"schema": "ringcheck/verdict/2"}), [], "has schema 'ringcheck/verdict/2'"),
        (of(b"<html>"), [], "is not a JSON document"),
        (of(json.dumps(document()).encode()[:500]), [], "is not a JSON document"),
        (of(b""), [], "is not a JSON document"),
        (of(b"the last poll failed", 503), [], "HTTP 503: the last poll failed"),
        (of(document(), path="/elsewhere"), [], "HTTP 404: there is no such cluster"),
        (of(document(), 302), [], "HTTP 302"),
        (
            of({"error": "blogs was not polled yet", "status": 503}, 503),
            [],
            "/health: HTTP 503: blogs was not polled yet\n",
        ),
        (of({"error": {}}, 503), [], 'HTTP 503: {"error": {}}'),
        (of(b"[" * 100_000, 503), [], "HTTP 503: [["),
        (of(b"[" + b"[]," * 2**20 + b"1]"), [], "/health: the answer has more than 2097152 values, which is refused\n"),
        (of(b"[" + b"[]," * 2**20 + b"1]", 503), [], "the answer has more than 2097152 values, which is refused\n"),
    ],
)
def test_an_answer_that_can_not_be_trusted_is_unknown(
    web: Web, options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """If it is old, of another cluster, contradictory, cut off or refused, the last good verdict is not shown."""
    with served(web):
        assert check(web, *options) == 3
    out = capsys.readouterr().out
    assert out.startswith("UNKNOWN - ")
    assert text in out
    assert out.count("\n") == 1


def test_an_agent_that_hangs_or_is_down_is_unknown_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    """-t bounds the time."""
    with served(Web({}, hangs=True)) as web:
        assert check(web, "-t", "1s") == 3
        assert "no whole answer within" in capsys.readouterr().out
    assert check(web, "-t", "1s") == 3
    refused = f"UNKNOWN - blogs: {web.url}{HEALTH}: connection refused"
    step = "next: start `ringcheck agent`, or correct the URL (docs/agent.md)"
    assert capsys.readouterr().out == f"{refused}; {step}\n"


def test_an_answer_that_is_too_large_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory for an answer is bounded."""
    monkeypatch.setattr(client, "MAX_BYTES", 1000)
    with served(of(document())) as web:
        assert check(web) == 3
    assert "which is refused" in capsys.readouterr().out


def test_a_user_and_a_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The options for Jolokia's user and password apply to the agent too."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    web = of(document())
    web.user = ("nagios", "s3cret")
    with served(web):
        assert check(web, "--username", "nagios", "--password-file", str(secret)) == 0
        capsys.readouterr()
        assert check(web) == 3
        missing = capsys.readouterr().out
        assert check(web, "--username", "nobody") == 3
        wrong = capsys.readouterr().out
    assert "HTTP 401: who are you?; next: add --username NAME --password-file FILE (docs/agent.md)" in missing
    assert "next: correct --username or the file of --password-file (docs/agent.md)" in wrong


def test_tls_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent's certificate must be issued by the named authority."""
    ours, others = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    for authority, name in ((ours, "ours.pem"), (others, "others.pem")):
        authority.cert_pem.write_to_path(tmp_path / name)
    with served(of(document()), context) as web:
        assert check(web, "--ca-file", str(tmp_path / "ours.pem")) == 0
        assert check(web, "--ca-file", str(tmp_path / "others.pem")) == 3
    assert "TLS: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--agent", "http://127.0.0.1:1"], "--agent needs --cluster NAME"),
        (["--agent", "127.0.0.1:9742", "--cluster", "a"], "is not the URL of an agent"),
        (["--agent", "http://u:p@127.0.0.1:1", "--cluster", "a"], "a URL holds no password here: use --username"),
        (
            ["--agent", "http://u:s3/cret@h", "--cluster", "a", "--ca-file", "x"],
            "UNKNOWN - http://h is not https: the certificates would have no effect",
        ),
        (["--agent", "http://h", "--cluster", "a", "-w", "ALL"], "-w and -c can't be used with --agent"),
        (["--agent", "http://h", "--cluster", "a", "-k", "x"], "-k can't be used with --agent"),
        (["--agent", "http://h", "--cluster", "a", "--dc", "x"], "--dc can't be used with --agent"),
        (["--agent", "http://h", "-H", "x"], "-H can't be used with --agent"),
        (["--agent", "http://h", "--cluster", "a", "--unreachable", "critical"], "--unreachable critical can't be"),
        (
            ["--agent", "http://h", "--cluster", "a", "--ca-file", "x"],
            "certificates would have no effect",
        ),
    ],
)
def test_options_that_the_agent_would_ignore_are_refused(
    options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option without an effect would mislead the user."""
    assert run(["check", *options]) == 3
    assert text in capsys.readouterr().out


def test_the_cluster_s_name_is_a_part_of_the_path() -> None:
    """The name stays a single segment, whatever characters it has."""
    assert (
        client.RemoteAgent(url="http://h:1/x/").health_url("a/b ?") == "http://h:1/x/api/v1/clusters/a%2Fb%20%3F/health"
    )


def test_sensu_is_notified_of_the_verdict_and_of_a_silent_agent() -> None:
    """Both events are sent under the cluster's name, with or without a verdict."""
    with double.Sensu() as sensu, served(of(document("10.0.0.1"))) as web:
        options = ["--sensu", "--team", "t", "--runbook", "r", "--sensu-url", sensu.url]
        assert check(web, *options) == 2
        assert sensu.event("blogs", "ringcheck.blogs.page").status == 2
        web.answers = of(document("10.0.0.1", age=3600)).answers
        assert check(web, *options) == 3
        web.answers = {}
        assert check(web, *options) == 3
        assert sensu.event("blogs", "ringcheck.blogs.page").history == [2, 3, 3]
