"""How the agent reads a Prometheus's answers; tests/counterparts queries a real one."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import prometheus
from ringcheck.agent.levels import LevelBook
from ringcheck.config.values import Observing, Prometheus, SpanLabels
from ringcheck.core.consistency import Level
from ringcheck.core.levels import Following
from ringcheck.core.uses import Use
from ringcheck.errors import DataError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

LABELS = SpanLabels()


def vector(*series: tuple[dict[str, str], object]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1.0, value]} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def span(level: str = "local_quorum", **labels: str) -> dict[str, str]:
    return {"cassandra_consistency_level": level, "db_namespace": "orders", "cassandra_coordinator_dc": "dc1", **labels}


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def test_labels_name_level_keyspace_and_datacenter() -> None:
    """Upper and lower case are accepted; of several labels the first counts; ANY needs no replica and is left out."""
    old = {"db_cassandra_consistency_level": "ONE", "db_name": "clicks"}
    found = prometheus.read(vector((span(), "12"), (old, "3"), (span("any"), "9")), LABELS, "p")
    assert list(found.series.values()) == [
        (Use("orders", "dc1", Level.LOCAL_QUORUM), 12),
        (Use("clicks", "", Level.ONE), 3),
    ]
    assert found.gap == ""
    named = prometheus.read(vector(({"cl": "TWO", "x": "1"}, "1")), SpanLabels(level=("cl",)), "p")
    assert next(iter(named.series.values())) == (Use("", "", Level.TWO), 1)


def test_series_that_differ_are_counters_of_their_own() -> None:
    """The series belong to two clients, one of which ends later."""
    found = prometheus.read(vector((span(instance="a"), "1"), (span(instance="b"), "2")), LABELS, "p")
    assert len(found.series) == 2


@pytest.mark.parametrize(
    ("answer", "gap"),
    [
        (vector((span("fast"), "1")), "p: 1 series have an unknown consistency level"),
        (vector((span(""), "1"), (span(), "1")), "p: 1 series have an unknown consistency level"),
        (vector((span("LOCAL_ALL"), "1")), "p: 1 series have an unknown consistency level"),
        (vector(), "p: the result of the query has no series"),
        (vector((span("any"), "NaN")), ""),
        *(
            (vector((span(), value), (span(a="b"), "1")), f"p: 1 series have a value that is not between 0 and {2**53}")
            for value in ("NaN", "+Inf", "-Inf", "-1", str(2**53 + 2), "1.7e308")
        ),
        (vector((span(), str(2**53))), ""),
        (
            vector((span("fast"), "1"), (span(), "NaN")),
            f"p: 1 series have an unknown consistency level; 1 series have a value that is not between 0 and {2**53}",
        ),
        (vector((span(), "1")) | {"warnings": []}, ""),
        (
            vector((span(), "1")) | {"warnings": ["store a: refused", "b"]},
            "p: the answer has warnings: store a: refused",
        ),
        (vector() | {"warnings": "odd"}, "p: the result of the query has no series; the answer has warnings: odd"),
    ],
)
def test_what_cannot_be_used_is_a_gap(answer: dict[str, Any], gap: str) -> None:
    """A series without a level may belong to a high level; without a number its queries are not known."""
    assert prometheus.read(answer, LABELS, "p").gap == gap


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"data": None},
        {"data": {"resultType": "matrix", "result": []}},
        {"data": {"resultType": "vector", "result": {}}},
        {"data": {"resultType": "vector", "result": [{}]}},
        vector((span(), "many")),
        {"data": {"resultType": "vector", "result": [{"metric": [], "value": [1, "1"]}]}},
        {"data": {"resultType": "vector", "result": [1] * 20_001}},
    ],
)
def test_a_result_that_is_not_a_vector_is_refused(answer: object) -> None:
    """The error is one line that names the source."""
    with pytest.raises(DataError, match=r"^p: "):
        prometheus.read(answer, LABELS, "p")


def test_the_query_is_sent_with_the_login(tmp_path: Any) -> None:
    """The query is a GET to the query API."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    with answering(200, json.dumps(vector((span(), "1"))).encode()) as (url, asked):
        where = Prometheus(url=f"{url}/base/", query='a{b="c"}', username="ringcheck", password_file=str(password))
        assert len(prometheus.ask(where).series) == 1
    assert asked == ["/base/api/v1/query?query=a%7Bb%3D%22c%22%7D Basic cmluZ2NoZWNrOnNlY3JldA=="]


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (400, b'{"status": "error", "error": "parse error: unexpected end"}', "HTTP 400: parse error: unexpected end"),
        (503, b"<html>", "HTTP 503"),
        (503, b"[" * 100_000, "HTTP 503"),
        (200, b"", "the answer is empty"),
    ],
)
def test_errors_are_gaps_and_lower_nothing(status: int, body: bytes, why: str) -> None:
    """The note has the reason."""
    with answering(status, body) as (url, _):
        with pytest.raises(SourceError, match=why):
            prometheus.ask(Prometheus(url=url, query="q"))
        observing = Observing(following=Following(window=60.0), prometheus=Prometheus(url=url, query="q"))
        levels = LevelBook(clock=lambda: 1000.0).of("orders")
        levels.sample(observing, {"x": (Use("orders", "dc1", Level.ALL), 1)}, "")
        levels.sample(observing, {"x": (Use("orders", "dc1", Level.ALL), 2)}, "")
        prometheus.tried(levels, observing)
        evidence = levels.sources.of("prometheus")
        assert why in evidence.gaps[0]
        assert [use.level for use in evidence.uses] == [Level.ALL]


def test_a_server_that_is_not_there_is_a_gap() -> None:
    """A server that can't be reached, or any other error, is a gap."""
    observing = Observing(prometheus=Prometheus(url="http://127.0.0.1:9", query="q"))
    levels = LevelBook().of("orders")
    prometheus.tried(levels, observing)
    assert levels.sources.of("prometheus").gaps[0].startswith("http://127.0.0.1:9/api/v1/query: ")
