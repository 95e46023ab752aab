"""A Jolokia agent on a loopback address whose answers a test chooses.

`Agent` serves one node. Its answers come from an `Answer` function, which gets a request item and returns a reply
object. The agent itself handles HTTP, bulk arrays and reads of several attributes as Jolokia does. `replay` answers
from a recording, `recorded_cluster` starts a recorded state. If HTTP itself must fail, `raw` writes to the socket.

    with Agent(lambda item: ok(item, "NORMAL")) as agent:
        requests.post(agent.url, json={"type": "read", ...})
        assert agent.items == [...]
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tests.recordings import Recording, recordings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from types import TracebackType

Item: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[Item], Any]
Raw: TypeAlias = "Callable[[BaseHTTPRequestHandler, bytes], None]"

STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"


def ok(item: Item, value: Any) -> Item:
    """A successful reply."""
    return {"request": item, "value": value, "timestamp": 1795237065, "status": 200}


def failed(item: Item, status: int, error_type: str, error: str = "") -> Item:
    """A reply with an error."""
    text = f"{error_type} : {error}" if error else error_type
    return {"request": item, "error_type": error_type, "error": text, "status": status}


def missing_attribute(item: Item) -> Item:
    name = item["attribute"]
    return failed(item, 404, "javax.management.AttributeNotFoundException", f"No such attribute: {name}")


def missing_mbean(item: Item) -> Item:
    return failed(item, 404, "javax.management.InstanceNotFoundException", item["mbean"])


def missing_operation(item: Item) -> Item:
    text = f"No operation {item['operation']} found on MBean {item['mbean']}"
    return failed(item, 400, "java.lang.IllegalArgumentException", text)


def denied(item: Item) -> Item:
    what = (
        f"Reading attribute {item.get('attribute')} is" if item["type"] == "read" else f"Operation {item['operation']}"
    )
    return failed(item, 403, "java.lang.Exception", f"{what} forbidden for MBean {item['mbean']}")


@dataclass
class Storage:
    """A node from a table: attributes of StorageService and operations by name and arguments.

    Attributes:
        attributes: value by attribute; others are 404.
        operations: value by (operation, *arguments); others are 400. A callable value is called with the item.
        other: value by (mbean, attribute), for other MBeans.
    """

    attributes: dict[str, Any] = field(default_factory=dict)
    operations: dict[tuple[str, ...], Any] = field(default_factory=dict)
    other: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __call__(self, item: Item) -> Any:
        if item["type"] == "exec":
            return self._found(
                item, self.operations, (item["operation"], *item.get("arguments", [])), missing_operation
            )
        if item["mbean"] == STORAGE_SERVICE:
            return self._found(item, self.attributes, item["attribute"], missing_attribute)
        return self._found(item, self.other, (item["mbean"], item["attribute"]), missing_mbean)

    @staticmethod
    def _found(item: Item, table: dict[Any, Any], key: Any, absent: Answer) -> Any:
        if key not in table:
            return absent(item)
        value = table[key]
        return value(item) if callable(value) else ok(item, value)


def replay(recording: Recording) -> Answer:
    """The answers of a recorded node; a request that was not recorded is missing.

    Most recordings have the ring of only a few keyspaces, so lists of keyspaces are reduced to those. Replication and
    locations were recorded only for the healthy state, and come from there.
    """
    known = _known(recording)
    asked = [json.loads(key)[-1] for key in known if '"getRangeToEndpointMap"' in key]
    rings = {arguments[0] for arguments in asked if arguments and isinstance(arguments[0], str)}

    def answer(item: Item) -> Any:
        reply = known.get(_key(item)) or known.get(_key(_without_port(item)))
        if reply is None:
            return _not_recorded(item)
        if str(item.get("attribute")).endswith("Keyspaces") and reply["status"] == 200:
            return reply | {"value": [name for name in reply["value"] if name in rings]}
        return reply

    return answer


def _without_port(item: Item) -> Item:
    """An address without its port: the snitch's answers for a joining node were recorded only without it."""
    of_snitch = item.get("operation") in {"getDatacenter", "getRack"}
    return item | {"arguments": [item["arguments"][0].partition(":")[0]]} if of_snitch else item


FIXED = ("getKeyspaceReplicationInfo", "getDatacenter", "getRack")


@cache
def _known(recording: Recording) -> dict[str, Any]:
    """Replies to single requests; what was recorded only for the healthy state comes from there."""
    known = _replies(recording)
    healthy = next((item for item in recordings() if (item.line, item.state) == (recording.line, "healthy")), None)
    if healthy is None:
        return known
    return {key: reply for key, reply in _replies(healthy).items() if any(name in key for name in FIXED)} | known


@cache
def _replies(recording: Recording) -> dict[str, Any]:
    """Replies to single requests, by MBean and name or arguments."""
    known: dict[str, Any] = {}
    for exchange in recording.items():
        asked = exchange.request
        if isinstance(asked, dict) and "config" not in asked and not {"query", "auth"} & exchange.raw.keys():
            known.setdefault(_key(asked), exchange.reply)
    return known


def _not_recorded(item: Item) -> Any:
    if item["type"] == "exec":
        pending = item["operation"].startswith("getPendingRangeToEndpoint")
        return ok(item, {}) if pending else missing_operation(item)
    return missing_attribute(item) if item["mbean"] == STORAGE_SERVICE else missing_mbean(item)


def _key(item: Item) -> str:
    what = [item.get(name) for name in ("type", "mbean", "attribute", "operation")]
    return json.dumps([*what, item.get("arguments") or []])


def _answered(answer: Answer, payload: Any) -> Any:
    """The reply to a payload: bulks in order, several attributes as one value, an Error for the whole bulk."""
    if isinstance(payload, list):
        replies = [_answered(answer, item) for item in payload]
        collapsed = [reply for reply in replies if isinstance(reply, dict) and "request" not in reply]
        return collapsed[0] if collapsed else replies
    if payload.get("type") == "read" and isinstance(payload.get("attribute"), list):
        values = {}
        for name in payload["attribute"]:
            reply = answer(payload | {"attribute": name})
            if reply["status"] != 200:
                return reply
            values[name] = reply["value"]
        return ok(payload, values)
    return answer(payload)


class Agent:
    """The agent of one node on its own port; it also counts requests.

    Attributes:
        url: of it.
        payloads: every decoded request body, in order.
        connections: number of connections that were opened.
        bytes_sent: of all bodies.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        raw: Raw | None = None,
        auth: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        delay: float = 0.0,
    ) -> None:
        self.answer = answer or missing_attribute
        self.raw = raw
        self.auth = auth
        self.delay = delay
        self.payloads: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.bytes_sent = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.closing = threading.Event()
        self._guard = threading.Lock()
        self._server = _Server((host, port), self, tls)
        scheme = "https" if tls else "http"
        self.host, self.port = self._server.server_address[:2]
        self.url = f"{scheme}://{self.host!s}:{self.port}/jolokia"

    @property
    def items(self) -> list[Item]:
        """Every request item, with bulks flattened."""
        return [item for payload in self.payloads for item in (payload if isinstance(payload, list) else [payload])]

    def start(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer one POST."""
        with self._guard:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.payloads.append(json.loads(body))
            self.headers.append(dict(handler.headers))
        try:
            self._serve(handler, body)
        finally:
            with self._guard:
                self.in_flight -= 1

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if self.delay:
            self.closing.wait(self.delay)
        if self.raw:
            self.raw(handler, body)
        elif self.auth and handler.headers.get("Authorization") != _basic(*self.auth):
            send(handler, b"", status=401, headers={"WWW-Authenticate": 'Basic realm="jolokia"'}, content_type=None)
        else:
            reply = _answered(self.answer, json.loads(body))
            self.bytes_sent += send(handler, json.dumps(reply, separators=(",", ":")).encode())


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    content_type: str | None = "application/json; charset=utf-8",
) -> int:
    """Send an answer, and return the size of its body."""
    handler.send_response(status)
    fields = {"Content-Length": str(len(body))} | ({"Content-Type": content_type} if content_type else {})
    for name, value in (fields | (headers or {})).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    return len(body)


def hang(handler: BaseHTTPRequestHandler, body: bytes) -> None:  # noqa: ARG001 - a Raw
    """Do not answer, like a stopped process; end far beyond any deadline, so that a missing deadline fails the test."""
    server = handler.server
    assert isinstance(server, _Server)
    server.agent.closing.wait(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], agent: Agent, tls: ssl.SSLContext | None) -> None:
        self.agent = agent
        self.tls = tls
        self.open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        self.agent.connections += 1
        self.open.add(sock)
        return sock, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def drop_connections(self) -> None:
        for sock in list(self.open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: clients that disconnect are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.agent.serve(self, body)

    def log_message(self, *args: Any) -> None:
        """Tests print nothing."""


def free_port(host: str = "127.0.1.1") -> int:
    """A port that is free now."""
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Cluster:
    """Agents by node address, all on one port; `template` is the `url` of a configuration."""

    agents: dict[str, Agent]
    template: str

    @property
    def posts(self) -> int:
        return sum(len(agent.payloads) for agent in self.agents.values())

    @property
    def bytes_sent(self) -> int:
        return sum(agent.bytes_sent for agent in self.agents.values())

    @property
    def connections(self) -> int:
        return sum(agent.connections for agent in self.agents.values())

    def items(self) -> list[Item]:
        return [item for agent in self.agents.values() for item in agent.items]


@contextmanager
def cluster(answers: dict[str, Answer | None], hanging: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """Agents of several nodes on loopback addresses; None refuses connections.

    Args:
        answers: by address.
        hanging: addresses whose agents accept and never answer.
    """
    port = free_port(next(iter(answers)))
    with ExitStack() as stack:
        agents = {}
        for address, answer in answers.items():
            if answer is not None or address in hanging:
                agent = Agent(answer, host=address, port=port, raw=hang if address in hanging else None)
                agents[address] = stack.enter_context(agent)
        yield Cluster(agents, f"http://{{address}}:{port}/jolokia")


@contextmanager
def recorded_cluster(line: str, state: str) -> Iterator[Cluster]:
    """A recorded state, for example `("5.0.8-jolokia2", "drained")`, with its addresses."""
    nodes = {item.address: item for item in recordings() if (item.line, item.state) == (line, state)}
    assert nodes, f"there is no recording of {state} on {line}"
    why = {address: str(item.load()[0].get("failed", "")) for address, item in nodes.items()}
    hanging = tuple(address for address, text in why.items() if "timed out" in text)
    answers = {address: None if text else replay(nodes[address]) for address, text in why.items()}
    with cluster(answers, hanging) as running:
        yield running
