"""Serves an embedded cluster over HTTP on loopback, with a control API.

Owns sockets, HTTP and faults on the wire. One port serves the control API and all nodes by path
(`/{address}/jolokia`); each node can also listen on its own loopback address, port 8778, as a real one does. It uses
asyncio protocols with a small parser, so that one process answers for 1,024 nodes faster than a client asks.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import unquote

import yaml

from ringcheck.core.ring import Replication
from ringcheck.errors import UsageError
from ringcheck.simulator import faults
from ringcheck.simulator.cluster import LOCAL, EmbeddedCluster, NodeSpec, SimAgent, SimNode
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.protocol import SimReply, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOLOKIA_PORT = 8778
CONTROL_PORT = 18778  # where `ringcheck simulate` listens, if it is free
MOST_HEADER, MOST_BODY = 64 * 1024, 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SimRequest:
    """One HTTP request.

    Attributes:
        method: as sent, usually GET or POST.
        path: without the query.
        query: after the question mark.
        headers: names in lower case.
        body: as sent.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def keeps(self) -> bool:
        """Whether the connection stays open after the answer."""
        return self.headers.get("connection", "").lower() != "close"


class Server:
    """A served cluster; use it as a context manager.

    Attributes:
        cluster: what it serves.
        url: base of the control API and of the nodes by path.
    """

    def __init__(self, cluster: EmbeddedCluster, *, port: int = 0, address_port: int | None = None) -> None:
        self.cluster = cluster
        self.url = ""
        self._port = port
        self._address_port = address_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded-cluster", daemon=True)
        self._listening: dict[int, asyncio.Server] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._connections: set[_ServedConnection] = set()

    # --- start and end

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, in a thread for all connections.

        Raises:
            OSError: if the port or an address is taken.
        """
        self._thread.start()
        try:
            self._wait(self._open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening and drop all connections."""
        with suppress(Exception):
            self._wait(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def wait(self) -> None:
        """Block until the thread ends."""
        self._thread.join()

    def _wait(self, work: Any) -> None:  # noqa: ANN401 - a coroutine of ours
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        server = await self._loop.create_server(
            partial(_ServedConnection, self, None), "127.0.0.1", self._port, backlog=1024
        )
        self._listening[-1] = server
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        if self._address_port is not None:
            for node in self.cluster.nodes:
                await self._listen(node)
            self._loop.call_soon(self._follow)

    async def _listen(self, node: SimNode) -> None:
        self._listening[node.index] = await self._loop.create_server(
            partial(_ServedConnection, self, node), node.address, self._address_port, backlog=64
        )

    def _follow(self) -> None:
        """Close the socket of each node that is down, so that connections are refused; open it again when it is up."""
        now = self.cluster.now()
        for node in self.cluster.nodes:
            deaf = self.deaf(node, now)
            if deaf and node.index in self._listening:
                self._listening.pop(node.index).close()
                self.drop(node)
            elif not deaf and node.index not in self._listening and node.index not in self._opening:
                self._opening[node.index] = self._loop.create_task(self._reopen(node))
        self._loop.call_later(0.05, self._follow)

    async def _reopen(self, node: SimNode) -> None:
        try:
            await self._listen(node)
        finally:
            del self._opening[node.index]

    async def _shut(self) -> None:
        for server in self._listening.values():
            server.close()
        for connection in list(self._connections):
            connection.abort()

    # --- for connections

    def opened(self, connection: _ServedConnection) -> None:
        """Note a new connection."""
        self._connections.add(connection)

    def closed(self, connection: _ServedConnection) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)

    def drop(self, node: SimNode) -> None:
        """Reset all connections of a node."""
        for connection in list(self._connections):
            if connection.node is node:
                connection.abort()

    def deaf(self, node: SimNode, now: float) -> bool:
        """Whether nothing listens on a node's port."""
        refused = node.fault is not None and node.fault.kind == "refuse"
        return node.process == "killed" or refused or self.cluster.phase(node, now) == "refused"

    @property
    def template(self) -> str:
        """URL of a node's Jolokia, with `{address}` in place of its address."""
        if self._address_port is not None:
            return f"http://{{address}}:{self._address_port}/jolokia"
        return f"{self.url}/{{address}}/jolokia"

    def config(self, contact_points: int = 3) -> str:
        """A ringcheck configuration for this cluster, as YAML."""
        points = [node.address for node in self.cluster.nodes[:contact_points]]
        entry: dict[str, Any] = {"jolokia": {"contact_points": points, "url": self.template}}
        if any(node.release < (3, 11, 11) for node in self.cluster.nodes):
            entry["replication"] = {
                name: {"class": replication.strategy} | {key: factor.replicas for key, factor in replication.options}
                for name, replication in self.cluster.keyspaces.items()
                if replication != LOCAL
            }
        return yaml.safe_dump({"clusters": {self.cluster.name: entry}}, sort_keys=False)


def serve(cluster: EmbeddedCluster, *, port: int = 0, address_port: int | None = None) -> Server:
    """A server for a cluster, to be used as a context manager.

    Args:
        cluster: what to serve.
        port: of the control API and of all nodes by path; 0 for any free port.
        address_port: port on each node's own address to listen on as well; the nodes need loopback addresses then.
    """
    return Server(cluster, port=port, address_port=address_port)


class _ServedConnection(asyncio.Protocol):
    """The connection of one client; requests are answered one after another."""

    def __init__(self, server: Server, node: SimNode | None) -> None:
        self.node = node
        self._server = server
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)
        if self.node is not None and self._server.deaf(self.node, self._server.cluster.now()):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._proceed()

    # --- requests

    def _proceed(self) -> None:
        while not self._busy and not self._transport.is_closing():
            try:
                parsed = parse(self._buffer)
            except ValueError as error:
                self._plain(400, str(error))
                self._transport.close()
                return
            if parsed is None:
                return
            request, used = parsed
            self._buffer = self._buffer[used:]
            self._handle(request)

    def _handle(self, request: SimRequest) -> None:
        node, path = self._route(request.path)
        if node is None:
            self._control(request)
            return
        cluster = self._server.cluster
        now = cluster.now()
        if self._server.deaf(node, now):
            self.abort()
            return
        if node.process == "paused":
            self._busy = True  # never answered
            return
        self._ask(request, node, path, max(0.0, node.busy_until - now))

    def _route(self, path: str) -> tuple[SimNode | None, str]:
        """The node that a path names, and the path below its agent's context; None for the control API."""
        _, first, *rest = path.split("/", 3 if self.node is None else 2)
        if self.node is not None:
            return (self.node, "".join(rest)) if first == "jolokia" else (None, "")
        if rest[:1] != ["jolokia"]:
            return None, ""
        try:
            return self._server.cluster.node(unquote(first)), "".join(rest[1:])
        except UsageError:
            return None, ""

    def _ask(self, request: SimRequest, node: SimNode, path: str, wait: float) -> None:
        fault = node.fault
        if fault is None:
            self._answer(request, node, path, wait)
            return
        node.fault = fault.spent()
        self._spoil(fault, request, node, path)

    def _answer(self, request: SimRequest, node: SimNode, path: str, wait: float = 0.0) -> None:
        if wait:
            self._later(wait, lambda: self._answer(request, node, path))
            return
        reply = self._reply(request, node, path)
        if reply.seconds:
            node.busy_until = self._server.cluster.now() + reply.seconds
            self._later(reply.seconds, lambda: self._send(reply, request))
        else:
            self._send(reply, request)

    def _reply(self, request: SimRequest, node: SimNode, path: str) -> SimReply:
        body = request.body if request.method == "POST" else None
        authorization = request.headers.get("authorization")
        return answer(self._server.cluster, node, path, request.query, body, authorization)

    # --- control

    def _control(self, request: SimRequest) -> None:
        status, document = control(self._server.cluster, request)
        body = json.dumps(document).encode() + b"\n"
        self._send(SimReply(status, content_type="application/json", chunks=[body]), request)

    # --- answers

    def _send(self, reply: SimReply, request: SimRequest) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(head(reply, sum(map(len, reply.chunks)), keep=request.keeps))
        for chunk in _joined(reply.chunks):
            self._transport.write(chunk)
        self._done(request)

    def _done(self, request: SimRequest) -> None:
        if not request.keeps:
            self._transport.close()
        self._busy = False
        self._proceed_soon()

    def _proceed_soon(self) -> None:
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._proceed)

    def _plain(self, status: int, text: str) -> None:
        body = f"{text}\n".encode()
        reply = SimReply(status, content_type="text/plain; charset=utf-8", chunks=[body])
        self._transport.write(head(reply, len(body), keep=False) + body)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        self._busy = True
        asyncio.get_running_loop().call_later(seconds, self._unless_gone, then)

    def _unless_gone(self, then: Callable[[], None]) -> None:
        if not self._transport.is_closing():
            then()

    def abort(self) -> None:
        """Reset the connection (RST, not FIN)."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # --- faults

    def _spoil(self, fault: Fault, request: SimRequest, node: SimNode, path: str) -> None:
        kind = fault.kind
        if kind == "delay":
            self._answer(request, node, path, fault.seconds)
        elif kind in {"reset", "refuse"}:
            self.abort()
        elif kind == "hang":
            self._busy = True
        elif kind == "wrong-node":
            other = self._server.cluster.node(fault.node or (node.index + 1) % len(self._server.cluster.nodes))
            self._answer(request, other, path)
        elif kind in {"drip-headers", "drip-body"}:
            self._drip(fault, self._reply(request, node, path))
        elif kind == "truncate":
            self._truncate(fault, self._reply(request, node, path))
        elif kind == "oversize":
            self._flood(fault.size, request)
        else:
            self._send(_false_reply(fault), request)

    def _drip(self, fault: Fault, reply: SimReply) -> None:
        self._busy = True
        body = b"".join(reply.chunks)
        start = head(reply, len(body), keep=False)
        if fault.kind == "drip-body":
            self._transport.write(start)
            start = b""
        pieces = _pieces(start + body, fault.size)
        self._next_drip(pieces, fault.seconds)

    def _next_drip(self, pieces: Iterator[bytes], seconds: float) -> None:
        piece = next(pieces, None)
        if piece is None:
            self._transport.close()
            return
        self._transport.write(piece)
        self._later(seconds, lambda: self._next_drip(pieces, seconds))

    def _truncate(self, fault: Fault, reply: SimReply) -> None:
        body = b"".join(reply.chunks)
        self._transport.write(head(reply, len(body), keep=False) + body[: fault.size])
        self._transport.close()

    def _flood(self, size: int, request: SimRequest) -> None:
        """Send valid JSON of any size: an array that consists of spaces."""
        self._transport.write(
            head(SimReply(200, content_type="application/json", chunks=[]), size, keep=request.keeps) + b"["
        )
        self._busy = True
        self._pour(size - 2, request)

    def _pour(self, left: int, request: SimRequest) -> None:
        piece = min(left, 1 << 20)
        if piece <= 0:
            self._transport.write(b"]")
            self._done(request)
            return
        self._transport.write(b" " * piece)
        wait = 0.01 if self._transport.get_write_buffer_size() > 4 << 20 else 0.0
        self._later(wait, lambda: self._pour(left - piece, request))


def parse(buffer: bytes) -> tuple[SimRequest, int] | None:
    """The first complete request in a buffer and its number of bytes; None if it is not complete yet.

    Raises:
        ValueError: if it is not an HTTP/1 request, or too large.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > MOST_HEADER:
            raise ValueError("headers too large")
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length") or 0)
    if "transfer-encoding" in headers or not 0 <= length <= MOST_BODY:
        raise ValueError("only bodies with a Content-Length are understood")
    start = end + 4
    if len(buffer) < start + length:
        return None
    method, target, *_ = [*first.split(" "), "", ""]
    if not target.startswith("/"):
        raise ValueError("not an HTTP request")
    path, _, query = target.partition("?")
    return SimRequest(
        method=method, path=path, query=query, headers=headers, body=buffer[start : start + length]
    ), start + length


def head(reply: SimReply, length: int, *, keep: bool) -> bytes:
    """Status line and headers of a reply, with the empty line after them."""
    reason = HTTPStatus(reply.status).phrase
    lines = [f"HTTP/1.1 {reply.status} {reason}", f"Content-Length: {length}"]
    lines += [f"Content-Type: {reply.content_type}"] if reply.content_type else []
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines += [] if keep else ["Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _joined(chunks: list[bytes]) -> Iterator[bytes]:
    """The chunks, with small ones joined and large ones as they are."""
    small: list[bytes] = []
    for chunk in chunks:
        if len(chunk) < 65536:  # noqa: PLR2004 - below it a copy costs less than a system call
            small.append(chunk)
            continue
        yield b"".join(small)
        small = []
        yield chunk
    yield b"".join(small)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), max(1, size)))


def _false_reply(fault: Fault) -> SimReply:
    if fault.kind == "garbage":
        return SimReply(200, content_type="application/octet-stream", chunks=[faults.garbage(fault.size)])
    if fault.kind == "html":
        return SimReply(200, content_type="text/html; charset=utf-8", chunks=[faults.PAGE])
    challenge = {"WWW-Authenticate": 'Basic realm="jolokia"'} if fault.status == HTTPStatus.UNAUTHORIZED else {}
    return SimReply(fault.status, content_type=None, chunks=[b""], headers=challenge)


# --- the control API


def control(cluster: EmbeddedCluster, request: SimRequest) -> tuple[int, Any]:
    """Carry out a control request: `POST /control/ACTION` with a JSON object, or `GET /control/state`.

    Returns:
        HTTP status and a JSON document: the cluster's state, or `{"error": ...}`.
    """
    action = request.path.removeprefix("/control/")
    if action == request.path or action not in {*ACTIONS, "state"}:
        return 404, {"error": f"no such path: {request.path}", "actions": sorted({*ACTIONS, "state"})}
    try:
        arguments = json.loads(request.body) if request.body else {}
        if action != "state":
            ACTIONS[action](cluster, **arguments)
    except (UsageError, TypeError, ValueError) as error:
        return 400, {"error": str(error)}
    return 200, cluster.state()


def _join(cluster: EmbeddedCluster, **fields: Any) -> None:  # noqa: ANN401 - a node's spec as JSON
    if fields:
        fields["tokens"] = tuple(int(token) for token in fields.get("tokens", ()))
    cluster.join(NodeSpec(**fields) if "address" in fields else None)


def _fault(cluster: EmbeddedCluster, node: str, fault: dict[str, Any] | None = None) -> None:
    cluster.set_fault(node, None if fault is None else Fault.parse(fault))


def _agent(cluster: EmbeddedCluster, node: str, **fields: Any) -> None:  # noqa: ANN401 - an agent as JSON
    allowed = fields.get("allowed")
    if allowed is not None:
        fields["allowed"] = {bean: frozenset(names) for bean, names in allowed.items()}
    cluster.configure(node, SimAgent(**fields))


def _keyspace(cluster: EmbeddedCluster, name: str, replication: str) -> None:
    cluster.create_keyspace(name, Replication.parse(replication))


def _count(cluster: EmbeddedCluster, node: str, scope: str, name: str = "Latency", requests: int = 1) -> None:
    cluster.node(node).counters[f"{scope},{name}"] += requests


def _on(method: str) -> Callable[..., Any]:
    """An action that calls a method of the cluster with a node and further arguments by name."""

    def call(cluster: EmbeddedCluster, node: str, **arguments: Any) -> None:  # noqa: ANN401 - JSON
        getattr(cluster, method)(node, **arguments)

    return call


ACTIONS: dict[str, Callable[..., Any]] = {
    "down": _on("down"),
    "stop": _on("stop"),
    "up": _on("up"),
    "proceed": _on("proceed"),
    "pause": _on("pause"),
    "resume": _on("resume"),
    "drain": _on("drain"),
    "gossip-off": _on("gossip_off"),
    "gossip-on": _on("gossip_on"),
    "binary-off": _on("binary_off"),
    "binary-on": _on("binary_on"),
    "join": _join,
    "leave": _on("leave"),
    "decommission": _on("decommission"),
    "move": _on("move"),
    "finish": _on("finish"),
    "upgrade": _on("upgrade"),
    "partition": EmbeddedCluster.partition,
    "heal": EmbeddedCluster.heal,
    "fault": _fault,
    "agent": _agent,
    "keyspace": _keyspace,
    "count": _count,
}
