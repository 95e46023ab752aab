"""The time that each part of a poll takes: in the debug log and as traces; neither by default."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ringcheck.agent import traces
from ringcheck.agent.log import LibraryLogs, Log, Troubles
from ringcheck.agent.polls import PollLoop
from ringcheck.http import debuglog, timing
from ringcheck.http.connections import Connections
from ringcheck.http.loop import LoopConnections
from ringcheck.http.threads import WorkerThreads
from ringcheck.simulator.faults import Fault
from tests.agent import service as process
from tests.agent.embedded import NEVER, embedded, polled
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from ringcheck.agent.watch import Watch
    from ringcheck.http.timing import RequestTimes
    from tests.agent.embedded import World

STEPS = {"poll", "ask", "members", "ring", "leases", "judge", "assess"}  # of a first poll without a state file


class Collected:
    """An observer that records what it is given."""

    def __init__(self) -> None:
        self.requests: list[RequestTimes] = []

    def request(self, times: RequestTimes) -> None:
        self.requests.append(times)

    def step(self, name: str, cluster: str) -> AbstractContextManager[None]:
        raise NotImplementedError


@contextmanager
def observing(observer: Any) -> Iterator[None]:
    timing.observe(observer)
    try:
        yield
    finally:
        timing.unobserve(observer)


@pytest.fixture
def debug_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """The agent's log with --debug, as JSON."""
    out = StringIO()
    log = Log("json", out)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(debuglog, "_INSTALLED", [])
    monkeypatch.setattr(timing, "_observers", ())
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    LibraryLogs(log, Troubles(log)).install(debug=True)
    debuglog.install()
    debuglog.install()
    try:
        yield out
    finally:
        logging.captureWarnings(capture=False)
        logging.getLogger("ringcheck").setLevel(logging.NOTSET)
        root.handlers[:], root.level = before


def lines(log: StringIO, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in found if line["event"] == event]


def on_loop(world: World) -> Watch:
    """A watch after one poll on an event loop."""
    watch, loop = world.watch(interval=NEVER), PollLoop()
    loop.start()
    watch.start(loop)
    await_(lambda: bool(world.published), 60, "the first poll")
    watch.stop()
    assert watch.join(30)
    loop.stop()
    return watch


@pytest.mark.parametrize("poll", [on_loop, lambda world: polled(world.watch())], ids=["loop", "thread"])
def test_the_debug_log_has_requests_and_steps(debug_log: StringIO, poll: Any) -> None:
    """Each request to a node and each step of the poll has a line, with the cluster's name."""
    with embedded() as world:
        poll(world)
        nodes = world.addresses
    requests, steps = lines(debug_log, "request"), lines(debug_log, "step")
    assert {node for node in nodes for line in requests if f"/{node}/" in line["url"]} == nodes
    for line in requests:
        assert line["status"] == 200
        assert 0 < line["first_byte"] <= line["seconds"]
    assert any("connect" in line for line in requests)
    assert any("connect" not in line for line in requests)
    assert {line["step"] for line in steps} == STEPS
    assert {line["cluster"] for line in steps} == {"orders-prod"}
    assert all(line["level"] == "debug" for line in [*requests, *steps])
    longest = max(steps, key=lambda line: float(line["seconds"]))
    assert longest["step"] == "poll"


def test_a_request_that_fails_says_why(debug_log: StringIO) -> None:
    """The line of a node that refuses connections has an error and no status."""
    with embedded() as world:
        world.simulated.set_fault(0, Fault("reset"))
        polled(world.watch())
    failed = [line for line in lines(debug_log, "request") if "error" in line]
    assert failed
    assert all(f"/{world.address(0)}/" in line["url"] for line in failed)


def test_our_loggers_go_into_the_log(debug_log: StringIO) -> None:
    """They log at their own level; those of libraries are logged from WARNING on, as before."""
    logging.getLogger("ringcheck.any").info("said %s", "this")
    logging.getLogger("ringcheckers").info("not ours")
    logging.getLogger("ringcheckers").error("theirs")
    assert [(line["level"], line["logger"], line["message"]) for line in lines(debug_log, "message")] == [
        ("info", "ringcheck.any", "said this")
    ]
    assert [line["message"] for line in lines(debug_log, "library")] == ["theirs"]


def test_nothing_is_logged_without_debug() -> None:
    """There is no observer, so no time is measured."""
    program = (
        "import sys; from ringcheck.http import timing\n"
        "print(timing._observers, 'logging' in sys.modules, timing.step('x') is timing.step('y'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["()", "False", "True"]


@contextmanager
def tls_server() -> Iterator[tuple[str, ssl.SSLContext]]:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = server_side.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"https://user:secret@127.0.0.1:{server.server_address[1]}/", client_side
        server.shutdown()


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_tls_has_a_time_of_its_own(way: str) -> None:
    """Connecting, TLS and answering are timed separately, and the URL is shown without the password."""
    seen, threads = Collected(), WorkerThreads(1)

    async def ask(url: str, context: ssl.SSLContext) -> None:
        connections = LoopConnections(lambda: context, threads)
        await connections.request("GET", url, 30, {}, b"", 1000)
        connections.close()

    with observing(seen), tls_server() as (url, context):
        if way == "loop":
            asyncio.run(ask(url, context))
        else:
            from ringcheck.http.sockets import TlsSocket  # noqa: PLC0415 - of this way only

            context.sslsocket_class = TlsSocket
            with Connections(lambda: context).request("GET", url, 30, {}) as answer:
                answer.read(10)
    threads.close()
    [times] = seen.requests
    assert (times.method, times.status, times.error) == ("GET", 204, None)
    assert "secret" not in times.url
    assert times.connected is not None
    assert times.secured is not None
    assert times.answered is not None
    assert 0 < times.connected <= times.secured <= times.answered <= times.ended


# Traces


def below(spans: list[ReadableSpan]) -> dict[str, set[str | None]]:
    """The names of the spans below each span, by its name."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    found: dict[str, set[str | None]] = {}
    for span in spans:
        found.setdefault(span.name, set()).add(names[span.parent.span_id] if span.parent else None)
    return found


@pytest.mark.parametrize("poll", [on_loop, lambda world: polled(world.watch())], ids=["loop", "thread"])
def test_a_poll_is_a_trace(poll: Any) -> None:
    """Its steps and requests are its child spans."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with embedded() as world, observing(traces.Traces(provider)):
        poll(world)
    spans = list(exporter.get_finished_spans())
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    tree = below(spans)
    assert set(tree) == STEPS | {"POST"}
    expected = {"poll": {None}, "ask": {"poll"}, "members": {"ask"}, "ring": {"ask"}, "assess": {"judge"}}
    assert {name: tree[name] for name in expected} == expected
    assert tree["POST"] <= {"members", "ring", "ask"}
    [root] = [span for span in spans if span.name == "poll"]
    assert root.attributes == {"ringcheck.cluster": "orders-prod"}
    request = next(span for span in spans if span.name == "POST")
    assert request.attributes
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["server.address"] == "127.0.0.1"
    assert [event.name for event in request.events][-1] == "answered"


def test_a_request_outside_of_a_poll_is_no_trace() -> None:
    """This holds for a request to a webhook, for example."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    observer = traces.Traces(provider)
    observer.request(timing.RequestTimes(method="POST", url="http://127.0.0.1/", began=0.0))
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_the_environment_asks_for_traces(environment: dict[str, str], on: bool) -> None:  # noqa: FBT001 - a row
    """The standard variables switch traces on; they are off by default."""
    assert traces.wanted(environment) is on


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector of traces: its URL, and the requests that it received."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", received
        server.shutdown()


@pytest.mark.slow
def test_the_agent_sends_traces_to_a_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process sends them by OTLP over HTTP as its environment says, and sends what is left when it ends."""
    with collector() as (url, received), process.clusters(tmp_path) as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with process.service(made.path, tmp_path) as running:
            running.hears("READY=1")
            running.awaits(lambda: bool(received))
    parts = [part for request in received for part in request.resource_spans]
    spans = {span.name for part in parts for scope in part.scope_spans for span in scope.spans}
    attributes = {entry.key: entry.value.string_value for entry in parts[0].resource.attributes}
    assert spans >= {"poll", "members", "POST"}
    assert attributes["service.name"] == "ringcheck"


@pytest.mark.slow
def test_missing_libraries_and_a_dead_collector_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing libraries are logged once; with a dead collector polls go on, and the process ends normally."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent_port()}")
    without = f"import sys; sys.modules['opentelemetry'] = None\n{process.HANGING}"
    with process.clusters(tmp_path) as made:
        for name, program in (("missing", without), ("dead", process.HANGING)):
            folder = tmp_path / name
            folder.mkdir()
            with process.service(made.path, folder, program=program) as running:
                running.hears("READY=1")
                off = running.logged("traces_off")
            assert len(off) == (1 if name == "missing" else 0)
            assert running.process.returncode == 0
            assert any("clean=True" in line for line in running.logged("stopped"))


def silent_port() -> int:
    """A port on which nothing answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    _OPEN.append(listener)
    port: int = listener.getsockname()[1]
    return port


_OPEN: list[socket.socket] = []  # listen without accepting until the tests end
