"""Nodes that cost almost no CPU: answers of an embedded cluster, stored by request and sent again from memory.

Every cluster of a fleet has the same twelve addresses under another name; an argument asks for more addresses. The
three ports differ in how nodes fail: at the first all answer; at the second one node accepts connections and stays
silent; at the third all nodes do so.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
from contextlib import suppress
from http.client import HTTPConnection
from urllib.parse import urlsplit

from ringcheck.core.ring import Replication
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address
from ringcheck.simulator.server import serve

NODES = 12
VNODES = 16
SILENT = 7  # number of the node that stays silent at the second port
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Canned:
    """Accepts connections, looks up answers, and sends them."""

    def __init__(self, template: str, nodes: int) -> None:
        self._template = template
        self._nodes = nodes
        self._answers: dict[tuple[str, bytes], bytes] = {}
        self._selector = selectors.EpollSelector()
        self._buffers: dict[socket.socket, bytes] = {}
        self.ports = [self._listen(kind) for kind in ("well", "one silent", "all silent")]

    def _listen(self, kind: str) -> int:
        port = 0
        for number in range(self._nodes):
            address = loopback_address(number)
            server = socket.create_server((address, port), backlog=4096)
            port = server.getsockname()[1]
            silent = kind == "all silent" or (kind == "one silent" and number == SILENT)
            self._selector.register(server, selectors.EVENT_READ, (address, silent))
        return port

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                address, silent = key.data
                if sock in self._buffers:
                    self._read(sock, address, silent)
                else:
                    self._accept(sock, key.data)

    def _accept(self, server: socket.socket, data: object) -> None:
        sock, _ = server.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffers[sock] = b""
        self._selector.register(sock, selectors.EVENT_READ, data)

    def _read(self, sock: socket.socket, address: str, silent: bool) -> None:  # noqa: FBT001 - a fact
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(sock)
            del self._buffers[sock]
            sock.close()
            return
        if silent:
            return
        buffer = self._buffers[sock] + data
        head, _, rest = buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or len(rest) < int(length[1]):
            self._buffers[sock] = buffer
            return
        self._buffers[sock] = b""
        key = address, rest
        if key not in self._answers:
            self._answers[key] = self._ask(address, rest)
        with suppress(OSError):
            sock.sendall(self._answers[key])

    def _ask(self, address: str, body: bytes) -> bytes:
        parts = urlsplit(self._template.format(address=address))
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        connection.request("POST", f"{parts.path}/", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        head = f"HTTP/1.1 {answer.status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(found)}\r\n\r\n"
        return head.encode() + found


def main(nodes: int) -> None:
    keyspaces = {f"ks_{number}": Replication.parse("NetworkTopologyStrategy {dc1=3}") for number in range(6)}
    cluster = EmbeddedCluster.uniform(
        nodes, racks=3, vnodes=VNODES, keyspaces=keyspaces, addresses=loopback_address, name="Test Cluster"
    )
    with serve(cluster) as server:
        canned = Canned(server.template, nodes)
        print(*canned.ports, flush=True)
        canned.run()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else NODES)
