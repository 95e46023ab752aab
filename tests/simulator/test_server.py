"""The embedded cluster over HTTP: nodes by path and by address, keep-alive, control, faults."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ringcheck.simulator.cluster import EmbeddedCluster, SimAgent, loopback_address
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

STORAGE = "org.apache.cassandra.db:type=StorageService"
LIVE = {"type": "read", "mbean": STORAGE, "attribute": "LiveNodes"}


@pytest.fixture
def served() -> Iterator[Server]:
    with serve(EmbeddedCluster.uniform(4, racks=2, time_factor=0.02)) as server:
        yield server


class Client:
    """One kept-alive connection."""

    def __init__(self, url: str, timeout: float = 5) -> None:
        self.host = url.removeprefix("http://")
        self.connection = http.client.HTTPConnection(self.host, timeout=timeout)

    def post(self, path: str, document: Any, **headers: str) -> tuple[int, Any]:
        self.connection.request("POST", path, json.dumps(document), headers)
        return self._reply()

    def get(self, path: str) -> tuple[int, Any]:
        self.connection.request("GET", path)
        return self._reply()

    def _reply(self) -> tuple[int, Any]:
        response = self.connection.getresponse()
        body = response.read()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, body


def node(server: Server, index: int) -> str:
    return f"/{server.cluster.nodes[index].address}/jolokia"


def live(client: Client, server: Server, index: int) -> set[str]:
    return set(client.post(node(server, index), LIVE)[1]["value"])


def test_one_connection_asks_all_nodes(served: Server) -> None:
    """It reaches every node by its path, with GET and POST."""
    client = Client(served.url)
    everyone = {member.address for member in served.cluster.nodes}
    assert all(live(client, served, index) == everyone for index in range(4))
    first = client.connection.sock
    assert client.get(f"{node(served, 1)}/read/{STORAGE}/OperationMode")[1]["value"] == "NORMAL"
    assert client.get(node(served, 1))[1]["value"]["agent"] == "2.2.9"
    assert client.connection.sock is first


def test_bulk_answers_come_in_order(served: Server) -> None:
    """A bulk request is answered item by item, including errors."""
    wrong = {"type": "read", "mbean": STORAGE, "attribute": "NoSuch"}
    _, reply = Client(served.url).post(node(served, 0), [LIVE, wrong, LIVE])
    assert [item["status"] for item in reply] == [200, 404, 200]


def test_an_error_of_the_jvm_takes_the_whole_bulk(served: Server) -> None:
    """An unknown keyspace is a java.lang.Error: there is one object instead of three answers."""
    unknown = {"type": "exec", "mbean": STORAGE, "operation": "getRangeToEndpointMap", "arguments": ["nope"]}
    _, reply = Client(served.url).post(node(served, 0), [LIVE, unknown, LIVE])
    assert reply["status"] == 500
    assert reply["error"].endswith("java.lang.AssertionError: Unknown keyspace nope")


def test_control_kills_and_starts_a_node(served: Server) -> None:
    """`down` resets its connections and shows in its peers' views; `up` brings it back."""
    client = Client(served.url)
    victim = served.cluster.nodes[2].address
    assert client.post("/control/down", {"node": victim, "instant": True})[0] == 200
    assert victim not in live(client, served, 0)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        Client(served.url).post(node(served, 2), LIVE)
    _, state = client.post("/control/up", {"node": victim, "instant": True})
    assert victim in live(client, served, 0)
    assert state["nodes"][2]["mode"] == "NORMAL"


def test_control_refuses_nonsense(served: Server) -> None:
    """An unknown action is 404; an unknown node or field is 400 with the reason."""
    client = Client(served.url)
    assert client.post("/control/explode", {})[0] == 404
    status, reply = client.post("/control/down", {"node": "10.9.9.9"})
    assert (status, reply["error"]) == (400, "the embedded cluster has no node 10.9.9.9")
    assert client.post("/control/down", {"node": served.cluster.nodes[0].address, "hard": 1})[0] == 400


def test_a_paused_node_accepts_and_never_answers(served: Server) -> None:
    """After SIGSTOP a connection is accepted and no answer comes; after SIGCONT it does."""
    served.cluster.pause(1)
    with pytest.raises(TimeoutError):
        Client(served.url, timeout=0.3).post(node(served, 1), LIVE)
    served.cluster.resume(1)
    assert Client(served.url).post(node(served, 1), LIVE)[0] == 200


def test_drain_over_jolokia_freezes_the_view(served: Server) -> None:
    """The node is DRAINED without CQL and sees all nodes live, while its peers do not see it."""
    client = Client(served.url)
    status, reply = client.post(node(served, 3), {"type": "exec", "mbean": STORAGE, "operation": "drain"})
    assert (status, reply["status"], reply["value"]) == (200, 200, None)
    names = ["OperationMode", "GossipRunning", "NativeTransportRunning", "Joined", "Drained"]
    _, reply = client.post(node(served, 3), LIVE | {"attribute": names})
    assert list(reply["value"].values()) == ["DRAINED", False, False, True, True]
    assert len(live(client, served, 3)) == 4
    assert served.cluster.nodes[3].address not in live(client, served, 0)


def test_credentials_are_required(served: Server) -> None:
    """Without them the answer is 401 with an empty body."""
    served.cluster.configure(0, SimAgent(user="monitor", password="s3cret"))  # noqa: S106 - a test's
    client = Client(served.url)
    assert client.post(node(served, 0), LIVE) == (401, b"")
    assert client.post(node(served, 0), LIVE, Authorization="Basic bW9uaXRvcjpzM2NyZXQ=")[0] == 200


FAULTS: dict[str, tuple[type[Exception], ...]] = {
    "reset": (ConnectionError, http.client.HTTPException),
    "refuse": (ConnectionError, http.client.HTTPException),
    "truncate": (http.client.IncompleteRead,),
    "hang": (TimeoutError,),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_broken_connections(served: Server, kind: Any) -> None:
    """A client sees a reset, a refusal, a body that is cut short, or no answer."""
    served.cluster.set_fault(0, Fault(kind))
    with pytest.raises(FAULTS[kind]):
        Client(served.url, timeout=0.3).post(node(served, 0), LIVE)


def test_false_answers(served: Server) -> None:
    """A client gets HTML, garbage, an error status, or the answer of another node."""
    client, cluster = Client(served.url), served.cluster
    cluster.set_fault(0, Fault("html"))
    assert client.post(node(served, 0), LIVE)[1].startswith(b"<!DOCTYPE html>")
    cluster.set_fault(0, Fault("garbage"))
    assert b"\x80" in client.post(node(served, 0), LIVE)[1]
    cluster.set_fault(0, Fault("status", status=403))
    assert client.post(node(served, 0), LIVE) == (403, b"")
    cluster.set_fault(0, Fault("wrong-node"))
    host = LIVE | {"attribute": "LocalHostId"}
    assert client.post(node(served, 0), host)[1]["value"] == cluster.nodes[1].host_id


def test_slow_answers(served: Server) -> None:
    """The right answer comes late, or in small pieces."""
    client, cluster = Client(served.url), served.cluster
    cluster.set_fault(0, Fault("delay", seconds=0.2))
    started = time.monotonic()
    assert client.post(node(served, 0), LIVE)[1]["status"] == 200
    assert time.monotonic() - started >= 0.2
    for kind in ("drip-headers", "drip-body"):
        cluster.set_fault(0, Fault.parse({"kind": kind, "seconds": 0.001, "size": 20}))
        assert Client(served.url).post(node(served, 0), LIVE)[1]["status"] == 200


def test_an_oversize_reply_has_its_size(served: Server) -> None:
    """It has as many bytes as the fault says."""
    served.cluster.set_fault(0, Fault("oversize", size=3_000_000))
    client = Client(served.url)
    client.connection.request("POST", node(served, 0), json.dumps(LIVE))
    assert len(client.connection.getresponse().read()) == 3_000_000


def test_a_fault_ends_by_itself(served: Server) -> None:
    """A fault of two requests does not affect the third."""
    served.cluster.set_fault(0, Fault("status", status=500, times=2))
    client = Client(served.url)
    assert [client.post(node(served, 0), LIVE)[0] for _ in range(3)] == [500, 500, 200]


def test_config_leads_to_the_cluster(served: Server) -> None:
    """It is YAML with contact points, and with a URL template."""
    entry = yaml.safe_load(served.config())["clusters"]["embedded"]
    assert entry["jolokia"]["url"] == f"{served.url}/{{address}}/jolokia"
    assert set(entry["jolokia"]["contact_points"]) <= {member.address for member in served.cluster.nodes}
    assert "replication" not in entry


def test_config_of_an_old_release_states_the_replication() -> None:
    """Before 3.11.11 a node can't report it, so the configuration has it."""
    cluster = EmbeddedCluster.uniform(3, release="2.2.19")
    replication = yaml.safe_load(serve(cluster).config())["clusters"]["embedded"]["replication"]
    assert replication["orders"] == {"class": "NetworkTopologyStrategy", "dc1": 3}
    assert "system" not in replication


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.1.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_each_node_on_its_own_address() -> None:
    """As with real nodes, each address refuses connections while its node is down."""
    port = free_port()
    cluster = EmbeddedCluster.uniform(3, addresses=loopback_address, time_factor=0.02)
    with serve(cluster, address_port=port) as server:
        urls = [f"http://{member.address}:{port}" for member in cluster.nodes]
        assert server.template == f"http://{{address}}:{port}/jolokia"
        assert all(Client(url).post("/jolokia", LIVE)[0] == 200 for url in urls)
        cluster.down(1, instant=True)
        time.sleep(0.2)
        with pytest.raises(ConnectionRefusedError):
            Client(urls[1]).post("/jolokia", LIVE)
        cluster.up(1, instant=True)
        time.sleep(0.2)
        assert Client(urls[1]).post("/jolokia", LIVE)[0] == 200


def test_a_request_that_is_not_http_gets_400(served: Server) -> None:
    """The connection is closed, and the answer has a reason."""
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=2) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
