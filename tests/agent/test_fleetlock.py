"""FleetLock on the embedded cluster: which clients get a lock, which do not and why, and when it is released."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from ringcheck.agent import fleetlock, web
from ringcheck.agent.fleetlock import KINDS, FleetLock, FleetLockAnswer, LeaseClient, routes
from ringcheck.agent.log import Log
from ringcheck.agent.service import Agent
from ringcheck.config import load
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.jolokia import mbeans
from ringcheck.leases.configured import open_store
from ringcheck.leases.lockfile import LockFile
from ringcheck.leases.record import LeaseError
from ringcheck.simulator.cluster import EmbeddedCluster, SimAgent, loopback_address, topology
from ringcheck.simulator.server import serve
from tests.agent.asgi import served
from tests.agent.service import clusters, service
from tests.outage import lost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.config.values import Cluster
    from ringcheck.core.ring import Snapshot

HEADERS = {"fleet-lock-protocol": "true"}
GROUP = "embedded"


@dataclass
class House:
    """An embedded cluster, the agent that watches it, and the lock."""

    cluster: EmbeddedCluster
    agent: Agent
    lock: FleetLock
    log: io.StringIO

    def body(self, number: int, group: str = GROUP) -> bytes:
        return json.dumps({"client_params": {"id": f"host-{number}", "group": group}}).encode()

    def ask(self, number: int) -> FleetLockAnswer:
        return self.lock.pre_reboot(self.body(number), HEADERS)

    def steady(self, number: int) -> FleetLockAnswer:
        return self.lock.steady_state(self.body(number), HEADERS)

    def address(self, number: int) -> str:
        return self.cluster.nodes[number].address

    def owners(self) -> set[tuple[str, str]]:
        return {(lease.node, lease.owner) for lease in self.store().holders()}

    def store(self) -> Any:
        return open_store(self.agent.config.clusters[GROUP])

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def configuration(folder: Path, server_config: str, cluster: EmbeddedCluster, more: str = "") -> Path:
    """Write a configuration with clients host-0, host-1, ... by address, and the last by its host id."""
    nodes = [f"host-{node.index}: {node.address}" for node in cluster.nodes[:-1]]
    nodes.append(f"host-{len(nodes)}: {cluster.nodes[-1].host_id}")
    file = folder / "ringcheck.yaml"
    file.write_text(
        f"{server_config.rstrip()}\n    gate: {{settle: 0s{more}}}\n    lease: {{file: {folder / 'leases.json'}}}\n"
        f"    fleetlock: {{nodes: {{{', '.join(nodes)}}}}}\nagent: {{interval: 6s}}\n"
    )
    return file


@contextmanager
def house(folder: Path, nodes: int = 6, more: str = "") -> Iterator[House]:
    cluster = EmbeddedCluster.uniform(
        nodes, racks=3, vnodes=4, addresses=loopback_address, keyspaces={"orders": topology(dc1=3)}
    )
    with ExitStack() as stack:
        server = stack.enter_context(serve(cluster))
        agent = Agent(load(str(configuration(folder, server.config(), cluster, more))))
        agent.start()
        stack.callback(agent.stop)
        stream = io.StringIO()
        yield House(cluster, agent, FleetLock(agent, Log("json", stream), lambda _: None), stream)


@pytest.fixture
def three_racks(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as home:
        yield home


@pytest.mark.slow
def test_nodes_of_one_rack_at_a_time_are_granted(three_racks: House) -> None:
    """Another node of the same rack may stop too; a node of another rack must wait for the release."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    assert home.owners() == {(home.address(0), "fleetlock host-0")}
    refused = home.ask(1)
    assert (refused.kind, refused.status) == ("unsafe", 409)
    lease = f"{home.address(0)} is under the restart lease of fleetlock host-0"
    [held] = home.store().holders()
    assert refused.value.startswith(lease)
    until = f"until fleetlock host-0 releases the lease on {home.address(0)} (reboot by FleetLock, since {held.since})"
    assert refused.value.endswith(until)
    assert "\n" not in refused.value
    assert home.ask(3).kind == "granted"  # of the same rack
    assert home.owners() == {(home.address(0), "fleetlock host-0"), (home.address(3), "fleetlock host-3")}
    assert [home.steady(number).kind for number in (0, 3)] == ["released", "released"]
    assert home.ask(1).kind == "granted"


def test_a_refusal_whose_lease_is_left_is_unsafe(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's answer is known, whatever the store's is."""

    def fails(*_: object) -> None:
        raise LeaseError("the disk is full")

    home = three_racks
    monkeypatch.setattr(LockFile, "remove", fails)
    home.cluster.down(1, instant=True)
    answer = home.ask(0)
    assert (answer.kind, answer.status) == ("unsafe", 409)
    assert "could not be withdrawn and is left: the disk is full" in answer.value


def test_a_lease_of_a_node_that_is_gone_does_not_hide_an_unsafe_stop(three_racks: House) -> None:
    """Nothing is granted beside such a lease, and an unsafe stop is refused as unsafe."""
    home = three_racks
    lease = Holder(node="127.0.9.9", owner="you", purpose="", since="2026-01-01T00:00:00Z", host_id="gone")
    home.store().add([lease])
    assert home.ask(0).kind == "leases_in_doubt"
    home.cluster.down(1, instant=True)
    assert home.ask(0).kind == "unsafe"
    assert home.store().holders() == (lease,)


@pytest.mark.slow
def test_a_repeated_request_is_decided_on_anew(three_racks: House) -> None:
    """The lease keeps its start time, but each answer of 200 means that the stop is safe now."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    [before] = home.store().holders()
    assert home.ask(0).kind == "granted"
    assert home.store().holders() == (before,)
    home.cluster.down(1, instant=True)
    assert home.ask(0).kind == "unsafe"
    assert home.store().holders() == (before,)  # its node may already be shutting down
    home.cluster.up(1, instant=True)
    assert home.ask(0).kind == "granted"


def test_a_grant_is_decided_on_a_new_poll(three_racks: House) -> None:
    """A node that died since the last poll counts as down at once, long before the next regular poll."""
    home = three_racks
    assert home.agent.fresh(GROUP, 30) is not None
    home.cluster.down(4, instant=True)
    assert home.ask(0).kind == "unsafe"
    assert home.owners() == set()


def test_streams_that_no_node_may_report_do_not_block(three_racks: House) -> None:
    """If the access policy forbids reading streams, a reboot is still granted, and the agent polls no more often."""
    home = three_racks
    allowed: dict[str, set[str]] = {}
    for call in mbeans.CALLS:
        allowed.setdefault(call.mbean, set()).add(call.name)
    policy = {bean: frozenset(names) for bean, names in allowed.items() if bean != mbeans.STREAM_MANAGER}
    for node in home.cluster.nodes:
        home.cluster.configure(node.address, SimAgent(line=node.agent.line, allowed=policy))
    assert home.agent.fresh(GROUP, 30) is not None
    before = polls(home)
    assert home.ask(0).kind == "granted"
    assert polls(home) - before <= 3  # one to find the node, one to decide, and one that may just have begun


def polls(home: House) -> int:
    reading = home.agent.reading(GROUP)
    return sum(reading.polls.counts) if reading else 0


@pytest.mark.slow
@pytest.mark.parametrize("away", ["down", "drain", "pause", "gossip_off"])
def test_a_lock_is_kept_until_the_node_is_back(three_racks: House, away: str) -> None:
    """The client reports a steady state too early: its node is killed, drained, hanging, or out of gossip."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    getattr(home.cluster, away)(0, instant=True)
    refused = home.steady(0)
    assert (refused.kind, refused.status) == ("not_back", 409)
    assert refused.value.startswith(f"{home.address(0)}: ")
    assert refused.value.endswith("; the lease stays")
    assert home.ask(1).kind == "unsafe"
    assert home.owners() == {(home.address(0), "fleetlock host-0")}
    home.cluster.resume(0, instant=True) if away == "pause" else home.cluster.up(0, instant=True)
    assert home.steady(0).kind == "released"
    assert home.owners() == set()


def test_a_node_that_is_only_starting_is_not_back(three_racks: House) -> None:
    """Its process answers, but it does not serve clients yet."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    home.cluster.down(0, instant=True)
    home.cluster.up(0, hold="starting")
    assert home.steady(0).kind == "not_back"


def test_another_down_node_does_not_keep_a_lock(three_racks: House) -> None:
    """A node that is back need not see another node up if no peer sees that node up either."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    home.cluster.down(0, instant=True)
    home.cluster.down(4, instant=True)
    home.cluster.up(0, instant=True)
    assert home.steady(0).kind == "released"


@pytest.mark.slow
def test_a_node_whose_peers_do_not_answer_is_not_back(three_racks: House) -> None:
    """A node is back only if a peer confirms that it sees the node up."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    for node in home.cluster.nodes[1:]:
        home.cluster.pause(node.index)  # their gossip still works
    refused = home.steady(0)
    assert refused.kind == "not_back", refused
    assert "no peer's view can be used" in refused.value


def test_a_client_without_a_lock_needs_no_poll(three_racks: House) -> None:
    """Every client reports a steady state when its host starts, even if the cluster can't be read at that time."""
    home = three_racks
    for node in home.cluster.nodes:
        home.cluster.down(node.index, instant=True)
    assert home.steady(2).kind == "not_held"
    assert home.steady(2).status == 200


def test_only_its_owner_releases_a_lease(three_racks: House) -> None:
    """If a rolling restart holds the lease of a node, the host of that node gets no grant and can release nothing."""
    home = three_racks
    home.store().add(
        [Holder(node=home.address(0), owner="me@here roll 1", purpose="upgrade", since="2026-01-01T00:00:00Z")]
    )
    refused = home.ask(0)
    assert (refused.kind, refused.status) == ("held_by_another", 409)
    assert "me@here roll 1" in refused.value
    assert home.steady(0).kind == "not_held"
    assert home.owners() == {(home.address(0), "me@here roll 1")}


def test_a_client_may_be_configured_by_its_host_id(three_racks: House) -> None:
    """A client that is configured by its host id gets its lock too, as the last client of this configuration does."""
    home = three_racks
    assert home.ask(5).kind == "granted"
    assert home.owners() == {(home.address(5), "fleetlock host-5")}


GOOD = {"client_params": {"id": "host-0", "group": GROUP}}
WRONG: list[tuple[Any, dict[str, str], str]] = [
    (GOOD, {}, "bad_request"),
    (GOOD, {"fleet-lock-protocol": "false"}, "bad_request"),
    ("not JSON", HEADERS, "bad_request"),
    (f'{{"client_params": {{"id": "host-9", "id": "host-0", "group": "{GROUP}"}}}}', HEADERS, "bad_request"),
    ([], HEADERS, "bad_request"),
    ({"client_params": []}, HEADERS, "bad_request"),
    ({"client_params": {"id": "host-0"}}, HEADERS, "bad_request"),
    ({"client_params": {"id": "", "group": GROUP}}, HEADERS, "bad_request"),
    ({"client_params": {"id": 1, "group": GROUP}}, HEADERS, "bad_request"),
    ({"client_params": {"id": "host-0", "group": None}}, HEADERS, "bad_request"),
    ({"client_params": {"id": "host-0", "group": "default"}}, HEADERS, "unknown_group"),
    ({"client_params": {"id": "host-9", "group": GROUP}}, HEADERS, "unknown_client"),
    ({"client_params": {"id": "HOST-0", "group": GROUP}}, HEADERS, "unknown_client"),
]


def test_requests_outside_the_protocol_are_refused(three_racks: House) -> None:
    """A missing header, no JSON, or an unknown group or client gets a 4xx with kind and value, and no lease."""
    home = three_racks
    for document, headers, kind in WRONG:
        body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        for operation in (home.lock.pre_reboot, home.lock.steady_state):
            answer = operation(body, headers)
            assert answer.kind == kind, document
            assert 400 <= answer.status < 500
            assert answer.value
    assert home.lock.pre_reboot(b"[" * 10_000, HEADERS).kind == "bad_request"
    assert home.owners() == set()


def test_a_client_configured_as_an_unknown_node_is_refused(tmp_path: Path) -> None:
    """The answer is 503, and no lease is taken."""
    with house(tmp_path) as home:
        file = tmp_path / "ringcheck.yaml"
        file.write_text(file.read_text().replace(f"host-0: {home.address(0)}", "host-0: 127.9.9.9"))
        home.agent.reload(load(str(file)))
        answer = home.ask(0)
        assert (answer.kind, answer.status) == ("unknown", 503)
        assert answer.value == "host-0 is configured as 127.9.9.9, but embedded has no such node now"
        assert home.owners() == set()


@pytest.mark.slow
def test_nothing_is_granted_while_the_cluster_can_t_be_read(three_racks: House) -> None:
    """If no Jolokia answers, both operations get 503, and the lease is unchanged."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    for node in home.cluster.nodes:
        home.cluster.down(node.index, instant=True)
    assert [home.ask(1).kind, home.steady(0).kind] == ["unknown", "unknown"]
    assert home.owners() == {(home.address(0), "fleetlock host-0")}


def test_a_failed_poll_grants_nothing(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent keeps the last verdict for its pages, but the gate does not use it to decide."""
    home = three_racks
    good = home.agent.fresh(GROUP, 30)
    assert good is not None
    assert good.verdict is not None
    monkeypatch.setattr(home.agent, "fresh", lambda *_: replace(good, error="it hangs"))
    assert home.ask(0) == FleetLockAnswer("unknown", "it hangs")
    monkeypatch.setattr(home.agent, "fresh", lambda *_: None)
    assert home.ask(0).kind == "unknown"
    assert home.owners() == set()


def test_a_streaming_node_may_not_stop(three_racks: House) -> None:
    """Each poll for a decision asks for streams, so that a node that streams is refused."""
    home = three_racks
    home.cluster.stream(0)
    assert home.ask(0).kind == "unsafe"
    home.cluster.stream(0, 0)
    assert home.ask(0).kind == "granted"


def test_an_unreadable_record_grants_nothing(three_racks: House, tmp_path: Path) -> None:
    """Both operations are refused, and the record is not overwritten."""
    home = three_racks
    (tmp_path / "leases.json").write_text("{")
    assert [home.ask(0).kind, home.steady(0).kind] == ["leases_in_doubt", "leases_in_doubt"]
    assert (tmp_path / "leases.json").read_text() == "{"


def test_a_bug_grants_nothing(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 500, the bug is logged, and the lease that was recorded for the request is withdrawn."""
    home = three_racks

    def broken(*_: object) -> None:
        raise ZeroDivisionError("what")

    monkeypatch.setattr(fleetlock, "Gatekeeper", broken)
    answer = home.ask(0)
    assert (answer.kind, answer.status) == ("bug", 500)
    assert home.owners() == set()
    assert home.logged()[-1]["level"] == "error"


def test_every_reading_must_be_safe(tmp_path: Path) -> None:
    """`stable_readings` safe readings in a row are needed; a node that dies between two of them causes a refusal."""
    with house(tmp_path, more=", stable_readings: 3") as home:
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                home.cluster.down(1, instant=True)

        home.lock = FleetLock(home.agent, Log("json", io.StringIO()), pause)
        assert home.ask(0).kind == "unsafe"
        assert pauses == [2.0, 2.0]
        assert home.owners() == set()


def reloaded(home: House, folder: Path, old: str, new: str) -> None:
    """Replace a part of the configuration, and reload it."""
    file = folder / "ringcheck.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    home.agent.reload(load(str(file)))


def test_a_replaced_configuration_grants_nothing(tmp_path: Path) -> None:
    """If `lease:` changes to another store between two readings, users of that store would not see this lease."""
    with house(tmp_path, more=", stable_readings: 3") as home:
        old = home.store()
        home.lock = FleetLock(
            home.agent, Log("json", home.log), lambda _: reloaded(home, tmp_path, "leases.json", "others.json")
        )
        answer = home.ask(0)
        assert (answer.kind, answer.status) == ("unknown", 503)
        assert answer.value == "the configuration was reloaded meanwhile: ask again"
        assert old.holders() == home.store().holders() == ()


def test_a_reload_after_the_last_reading_is_noticed(three_racks: House, tmp_path: Path) -> None:
    """If a reload comes while the gate decides, the lease that was recorded for the request is withdrawn."""
    home = three_racks
    old = home.store()

    class Slow(Gatekeeper):
        def decide(self, *asked: Any) -> Any:
            reloaded(home, tmp_path, "gate: {", "gate: {level: ALL, ")
            return super().decide(*asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleetlock, "Gatekeeper", Slow)
        assert home.ask(0).kind == "unknown"
    assert old.holders() == ()


@pytest.mark.parametrize("operation", ["ask", "steady"])
def test_a_request_that_waited_through_a_reload_is_refused(
    three_racks: House, tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the reload the lease store, or the client's node, may be a different one."""
    home = three_racks
    answers: list[FleetLockAnswer] = []
    known, looked_up = home.lock._client, threading.Event()

    def client(**asked: str) -> Any:
        looked_up.set()
        return known(**asked)

    monkeypatch.setattr(home.lock, "_client", client)
    with home.lock.turn(GROUP):
        waiting = threading.Thread(target=lambda: answers.append(getattr(home, operation)(0)))
        waiting.start()
        assert looked_up.wait(30)
        time.sleep(0.1)
        reloaded(home, tmp_path, "leases.json", "others.json")
    waiting.join(30)
    assert [answer.kind for answer in answers] == ["unknown"]


@pytest.mark.slow
def test_concurrent_requests_are_granted_safely(tmp_path: Path) -> None:
    """If ten hosts of three racks ask at once, the grants leave every range a quorum, and no other node could stop."""
    with house(tmp_path, nodes=10) as home:
        answers: dict[int, FleetLockAnswer] = {}
        threads = [
            threading.Thread(target=lambda number=number: answers.update({number: home.ask(number)}))
            for number in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        granted = {number for number, answer in answers.items() if answer.kind == "granted"}
        stopping = {home.address(number) for number in granted}
        assert lost(home.cluster, stopping) == 0
        assert all(lost(home.cluster, {*stopping, home.address(number)}) for number in set(range(10)) - granted)
        assert {answer.kind for answer in answers.values()} == {"granted", "unsafe"}
        assert {node for node, _ in home.owners()} == stopping


@pytest.mark.slow
def test_each_change_is_logged_once(three_racks: House) -> None:
    """A refused client repeats its request for days: only each grant and each release is logged."""
    home = three_racks
    for number in (0, 1, 1, 1):
        home.ask(number)
    for number in (0, 0, 0):
        home.steady(number)
    home.ask(1)
    lines = [tuple(line[field] for field in ("event", "action", "id", "kind", "status")) for line in home.logged()]
    assert lines == [
        ("fleetlock", "pre-reboot", "host-0", "granted", 200),
        ("fleetlock", "pre-reboot", "host-1", "unsafe", 409),
        ("fleetlock", "steady-state", "host-0", "released", 200),
        ("fleetlock", "steady-state", "host-0", "not_held", 200),
        ("fleetlock", "pre-reboot", "host-1", "granted", 200),
    ]
    assert home.logged()[1]["level"] == "warning"
    assert home.logged()[1]["why"].startswith(f"{home.address(0)} is under the restart lease of fleetlock host-0")


@pytest.mark.slow
def test_over_http(three_racks: House) -> None:
    """Only POST requests with a JSON document of bounded size are accepted."""
    home = three_racks
    with served(routes(home.agent, Log("json", home.log))) as url:

        def post(path: str, body: bytes, headers: dict[str, str]) -> requests.Response:
            return requests.post(f"{url}{path}", body, headers=headers, timeout=60)

        for path in ("/v1/pre-reboot", "/v1/steady-state"):
            assert requests.get(f"{url}{path}", headers=HEADERS, timeout=60).status_code == 405
            assert post(path, home.body(0), {}).status_code == 400
            large = post(path, b" " * 20_000, HEADERS)
            assert (large.status_code, large.json()["kind"]) == (400, "bad_request")
        granted = post("/v1/pre-reboot", home.body(0), {"Fleet-Lock-Protocol": "true"})
        assert (granted.status_code, granted.json()["kind"]) == (200, "granted")
        refused = post("/v1/pre-reboot", home.body(1), HEADERS)
        assert refused.status_code == 409
        assert refused.headers["content-type"] == "application/json"
        assert set(refused.json()) == {"kind", "value"}
        assert post("/v1/steady-state", home.body(0), HEADERS).json()["kind"] == "released"


def test_a_client_that_disconnects_is_no_bug(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is granted, and nothing is logged."""
    home, complaints = three_racks, list[Exception]()
    read, body = threading.Event(), fleetlock.body_of

    async def watched(request: Any) -> Any:
        try:
            return await body(request)
        finally:
            read.set()

    monkeypatch.setattr(fleetlock, "body_of", watched)
    more = routes(home.agent, Log("json", home.log))
    with web.serve(home.agent, "127.0.0.1:0", None, more, complain=complaints.append) as served_:
        host, _, port = served_.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as leaving:
            leaving.sendall(
                b"POST /v1/pre-reboot HTTP/1.1\r\nHost: localhost\r\nfleet-lock-protocol: true\r\n"
                b'Content-Length: 100\r\n\r\n{"cli'
            )
            time.sleep(0.1)
        assert read.wait(30)
        assert requests.get(f"{served_.url}/-/healthy", timeout=30).ok
    assert complaints == []
    assert home.logged() == []


class Hanging:
    """A store that accepts connections and never answers."""

    def __init__(self) -> None:
        self.asked: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                self.asked.append(self._listening.accept()[0])

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self.asked:
            connection.close()


@pytest.mark.slow
def test_an_agent_that_stops_does_not_wait_for_a_lease_store(tmp_path: Path) -> None:
    """All waiting clients get an answer, and the process ends before systemd would kill it."""
    with closing(Hanging()) as store, clusters(tmp_path) as ours:
        ours.document["lease"] = {"etcd": [store.url]}
        ours.document["fleetlock"] = {"nodes": {"host-0": ours.cluster.nodes[0].address}}
        ours.write("orders-prod")
        with service(ours.path, tmp_path) as process, ThreadPoolExecutor(4) as pool:
            process.hears("READY=1")
            url = re.findall(r"url=(\S+)", process.logged("started")[0])[0]
            body = json.dumps({"client_params": {"id": "host-0", "group": "orders-prod"}})
            before = len(store.asked)
            paths = ("/v1/steady-state", "/v1/steady-state", "/v1/steady-state", "/v1/pre-reboot")
            asked = [pool.submit(requests.post, f"{url}{path}", body, headers=HEADERS, timeout=60) for path in paths]
            process.awaits(lambda: len(store.asked) > before + 1)
            began = time.monotonic()
            process.process.terminate()
            process.process.wait(60)
            took = time.monotonic() - began
            answers = [future.result() for future in asked]
    assert took < 12
    assert [(answer.status_code, answer.json()["kind"]) for answer in answers] == [(503, "unknown")] * 4
    assert "the agent is stopping" in {answer.json()["value"] for answer in answers}
    assert [line for line in process.logged() if " event=" not in line] == []


def test_an_agent_that_is_stopping_grants_nothing(three_racks: House) -> None:
    """New requests are refused, and so is a request that is being decided, because its client already got a refusal."""
    home = three_racks
    home.lock.stop()
    assert home.ask(0) == FleetLockAnswer("unknown", "the agent is stopping")
    home.lock = FleetLock(home.agent, Log("json", home.log), lambda _: None)
    decide = home.lock._decide

    def ended(*asked: Any) -> Any:
        home.lock.stop()
        return decide(*asked)

    home.lock._decide = ended  # type: ignore[assignment, method-assign]
    assert home.ask(0) == FleetLockAnswer("unknown", "the agent is stopping")
    assert home.owners() == set()


def test_too_many_requests_at_once_are_refused(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 503 with the time for the next attempt, and no poll is made."""
    home = three_racks
    monkeypatch.setattr(fleetlock, "MAX_REQUESTS", 0)
    with served(routes(home.agent, Log("json", home.log))) as url:
        answer = requests.post(f"{url}/v1/pre-reboot", home.body(0), headers=HEADERS, timeout=60)
    assert (answer.status_code, answer.json()["kind"]) == (503, "busy")
    assert answer.headers["retry-after"] == "30"
    assert home.owners() == set()


def test_a_client_does_not_wait_long_for_others(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client waits only for a bounded time while another client's request is decided."""
    home = three_racks
    monkeypatch.setattr(fleetlock, "TURN_SECONDS", 0.1)
    with home.lock.turn(GROUP):
        assert home.ask(0).kind == "busy"
    assert home.ask(0).kind == "granted"


def test_every_kind_is_documented() -> None:
    """docs/fleetlock.md lists each `kind` with its status, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "fleetlock.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", page, re.MULTILINE)
    assert {kind: int(status) for kind, status in rows} == KINDS


@pytest.mark.slow
@pytest.mark.parametrize(("other", "kind"), [(1, "unsafe"), (3, "granted")])
def test_a_host_that_reboots_stops_all_nodes_at_its_address(
    three_racks: House, monkeypatch: pytest.MonkeyPatch, other: int, kind: str
) -> None:
    """The gate is asked about all of them together: with node 3 it is one rack, with node 1 two. Each gets a lease."""
    home = three_racks
    both = {home.address(0), home.address(other)}
    monkeypatch.setattr(fleetlock, "ip_of", lambda address: "10.0.0.1" if address in both else address)
    answer = home.ask(0)
    assert answer.kind == kind
    if kind == "granted":
        assert home.owners() == {(address, "fleetlock host-0") for address in both}
        names = f"{home.address(0)}, {home.address(other)}"
        assert answer.value.startswith(f"{names} of embedded may stop now; their leases are in ")
        assert home.steady(0).kind == "released"
    assert home.owners() == set()
    pod = LeaseClient("cassandra/c-0", home.agent.config.clusters[GROUP], home.address(0), protocol="eviction")
    home.lock.grant(pod)  # an evicted pod stops its own node only
    assert home.owners() == {(home.address(0), pod.owner)}


@pytest.mark.slow
def test_a_dead_node_at_the_address_of_a_host_gets_no_lease(
    three_racks: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may never come back, and would keep the lock of its host for ever."""
    home = three_racks
    both = {home.address(0), home.address(3)}
    monkeypatch.setattr(fleetlock, "ip_of", lambda address: "10.0.0.1" if address in both else address)
    home.cluster.down(3, instant=True)
    assert home.ask(0).kind == "granted"
    assert home.owners() == {(home.address(0), "fleetlock host-0")}
    assert home.steady(0).kind == "released"


def test_a_node_of_the_host_that_comes_up_meanwhile_refuses_the_lock(
    three_racks: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reboot would stop it too, although it was down, and had no lease, when the lock was asked for."""
    home = three_racks
    both = {home.address(0), home.address(1)}
    monkeypatch.setattr(fleetlock, "ip_of", lambda address: "10.0.0.1" if address in both else address)
    polled, first = home.lock.poll, [True]

    def poll(cluster: Cluster) -> Snapshot:
        seen = polled(cluster)
        if not first:
            return seen
        first.clear()
        views = tuple(
            replace(view, live=view.live - {home.address(1)}, unreachable=frozenset({home.address(1)}))
            for view in seen.views
            if view.observer != home.address(1)
        )
        nodes = tuple(replace(node, source="error") if node.address == home.address(1) else node for node in seen.nodes)
        return replace(seen, views=views, nodes=nodes)

    monkeypatch.setattr(home.lock, "poll", poll)
    refused = home.ask(0)
    assert (refused.kind, refused.status) == ("unknown", 503)
    assert refused.value.startswith(f"{home.address(1)} at the address of {home.address(0)} has come up meanwhile")
    assert home.owners() == set()
