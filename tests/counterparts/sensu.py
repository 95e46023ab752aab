"""A test double of Sensu Go's agent and backend that behaves as version 6.12.0 of both did.

It keeps the fields that they kept, loses those that they lost, and silently drops what they dropped. It has a clock of
its own, which `advance` moves, so that no test waits for the end of a ttl.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

NAME = re.compile(r"[A-Za-z0-9_.-]+")
ITSELF = "sensu-agent.example"  # the agent's own entity


@dataclass
class Stored:
    """An event as the backend has it."""

    entity: str
    entity_class: str
    name: str
    status: int
    output: str
    interval: int = 1
    ttl: int = 0
    handlers: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    history: list[int] = field(default_factory=list)
    last: float = 0.0
    due: float | None = None

    @property
    def state(self) -> str:
        return "passing" if self.status == 0 else "failing"


class RefusedError(ValueError):
    """An event to which the API answers 400, and which the socket drops silently."""


class Backend:
    """The events that are kept, from the socket and from the API.

    Attributes:
        events: by entity and check.
        now: seconds of its clock.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], Stored] = {}
        self.now = 1000.0
        self._guard = threading.Lock()

    def event(self, entity: str, name: str) -> Stored:
        with self._guard:
            return self.events[entity, name]

    def advance(self, seconds: float) -> None:
        """Move the clock: an event that is not renewed within its ttl becomes a warning, repeatedly."""
        with self._guard:
            self.now += seconds
            for event in self.events.values():
                while event.due is not None and event.due <= self.now:
                    self._write(event, 1, f"Last check execution was {event.due - event.last:.0f} seconds ago")
                    event.due += event.ttl

    def from_socket(self, message: dict[str, Any]) -> None:
        """Keep name, status, output, interval, handlers and source of an event from the socket, and nothing else.

        Raises:
            RefusedError: if the real agent drops it.
        """
        if not message.get("output"):
            raise RefusedError("a check output must be provided")
        handler = message.get("handler")
        fields = {"handlers": (handler,) if handler else (), "interval": message.get("interval") or 1}
        self._keep(message.get("name") or "", message.get("source") or "", message["status"], message["output"], fields)

    def from_api(self, message: dict[str, Any]) -> None:
        """Keep an event from the API.

        Raises:
            RefusedError: with the text of the 400.
        """
        check = message.get("check")
        if not isinstance(check, dict):
            raise RefusedError("check has not been instantiated for this event")
        meta = check.get("metadata") or {}
        interval, ttl = check.get("interval") or 1, check.get("ttl") or 0
        if type(interval) is not int or type(ttl) is not int:
            raise RefusedError("json: cannot unmarshal number into Go struct field of type int64")
        if ttl and ttl <= interval:
            raise RefusedError("ttl must be greater than check interval")
        fields = {
            "interval": interval,
            "ttl": ttl,
            "handlers": tuple(check.get("handlers") or ()),
            "labels": _texts(meta.get("labels")),
            "annotations": _texts(meta.get("annotations")),
        }
        proxy = check.get("proxy_entity_name") or ""
        self._keep(meta.get("name") or "", proxy, check.get("status") or 0, check.get("output") or "", fields)

    def _keep(self, name: str, proxy: str, status: int, output: str, fields: dict[str, Any]) -> None:
        if not NAME.fullmatch(name):
            raise RefusedError("check name cannot contain spaces or special characters")
        if proxy and not NAME.fullmatch(proxy):
            raise RefusedError("proxy entity name cannot contain spaces or special characters")
        if status < 0:
            raise RefusedError("json: cannot unmarshal number into Go struct field of type uint32")
        entity = (proxy, "proxy") if proxy else (ITSELF, "agent")
        with self._guard:
            earlier = self.events.get((entity[0], name))
            event = Stored(*entity, name, status, output, **fields, last=self.now)
            event.history = earlier.history if earlier else []
            event.due = self.now + event.ttl if event.ttl else None
            self._write(event, status, output)
            self.events[event.entity, name] = event

    @staticmethod
    def _write(event: Stored, status: int, output: str) -> None:
        event.status, event.output = status, output
        event.history = [*event.history[-20:], status]


class Sensu(Backend):
    """The agent's socket and API, and the backend behind them.

    Attributes:
        reads: seconds for which the agent reads from its socket.
        dropped: reasons why messages to the socket were dropped; the real agent only logs them.
        raw: every JSON object that the socket got.
        port: of the socket.
        url: of the API.
    """

    def __init__(self, reads: float = 5.0) -> None:
        super().__init__()
        self.dropped: list[str] = []
        self.raw: list[dict[str, Any]] = []
        self.reads = reads
        self._socket = _Socket(("127.0.0.1", 0), _SocketHandler)
        self._api = _Api(("127.0.0.1", 0), _ApiHandler)
        self._socket.sensu = self._api.sensu = self
        self.port: int = self._socket.server_address[1]
        self.url = f"http://127.0.0.1:{self._api.server_address[1]}"

    def __enter__(self) -> Self:
        for server in (self._socket, self._api):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._socket, self._api):
            server.shutdown()
            server.server_close()


def _texts(found: Any) -> dict[str, str]:
    """A map of texts; Go refuses other values."""
    if not all(isinstance(value, str) for value in (found or {}).values()):
        raise RefusedError("json: cannot unmarshal bool into Go struct field ObjectMeta of type string")
    return found or {}


def points(output: str) -> dict[str, float]:
    """The metrics that `output_metric_format: nagios_perfdata` reads from an output, including its mistakes."""
    parts = output.split("|")
    if len(parts) != 2:
        return {}
    return dict(_point(one) for one in parts[1].split(" ") if one.strip().partition(";")[0].count("=") == 1)


def _point(text: str) -> tuple[str, float]:
    label, _, value = text.strip().partition(";")[0].partition("=")
    return label, float(re.sub(r"[^-0-9.]", "", value))


def refuses_check(spec: dict[str, Any], name: str) -> str | None:
    """The reason why the backend refuses a check definition."""
    if not NAME.fullmatch(name):
        return "check name cannot contain spaces or special characters"
    if spec.get("ttl") and spec["ttl"] <= spec["interval"]:
        return "ttl must be greater than check interval"
    return None


def results(status: int, stdout: str, stderr: str, *, timed_out: bool = False) -> tuple[int, str]:
    """Status and output of a command that a check definition runs."""
    return (2, "Execution timed out") if timed_out else (status, stdout + stderr)


class _Socket(socketserver.ThreadingTCPServer):
    daemon_threads = True
    sensu: Sensu


class _SocketHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Socket)
        self.connection.settimeout(server.sensu.reads)
        body = b"".join(self._parts())
        try:
            found = json.loads(body)
            valid = isinstance(found, dict) and type(found.get("status")) is int
        except ValueError:
            valid = False
        if not valid:
            self._say(b"invalid")
            return
        server.sensu.raw.append(found)
        try:
            server.sensu.from_socket(found)
        except RefusedError as error:
            server.sensu.dropped.append(str(error))
        else:
            self._say(b"ok")

    def _parts(self) -> Iterator[bytes]:
        try:
            while part := self.connection.recv(65536):
                yield part
        except TimeoutError:
            return

    def _say(self, text: bytes) -> None:
        try:
            self.wfile.write(text)
        except OSError:
            return  # pysensu-yelp never waits for the answer


class _Api(ThreadingHTTPServer):
    daemon_threads = True
    sensu: Sensu


class _ApiHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, b"ok") if self.path == "/healthz" else self._answer(404, b"404 page not found\n")

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Api)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/events":
            self._answer(404, b"404 page not found\n")
            return
        try:
            server.sensu.from_api(json.loads(body))
        except ValueError as error:
            self._answer(400, f"{error}\n".encode())
        else:
            self._answer(202, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Tests print nothing."""
