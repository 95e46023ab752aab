"""FleetLock on the embedded cluster: who gets a lock, who does not and why, and when it is given back."""

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
from ringcheck.agent.fleetlock import KINDS, FleetLock, FleetLockAnswer, routes
from ringcheck.agent.log import Log
from ringcheck.agent.service import Agent
from ringcheck.config import load
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.jolokia import mbeans
from ringcheck.leases.configured import open_store
from ringcheck.simulator.cluster import EmbeddedCluster, SimAgent, loopback_address, topology
from ringcheck.simulator.server import serve
from tests.agent.asgi import served
from tests.agent.service import clusters, service
from tests.outage import lost

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADERS = {"fleet-lock-protocol": "true"}
GROUP = "embedded"


@dataclass
class House:
    """An embedded cluster, an agent that watches it, and the lock."""

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
        return {(one.node, one.owner) for one in self.store().holders()}

    def store(self) -> Any:
        return open_store(self.agent.config.clusters[GROUP])

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def configuration(folder: Path, server_config: str, cluster: EmbeddedCluster, more: str = "") -> Path:
    """A file: clients host-0, host-1, ... by address, the last by its host id."""
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
    with house(tmp_path) as found:
        yield found


def test_a_lock_is_granted_refused_beside_another_rack_s_and_given_back(three_racks: House) -> None:
    """One rack at a time: the same rack's other node may go too, a node of another rack must wait."""
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


def test_a_client_that_holds_its_lock_is_granted_again_while_it_is_safe(three_racks: House) -> None:
    """The same lease, whose time stays; but 200 always means that it is safe now."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    [before] = home.store().holders()
    assert home.ask(0).kind == "granted"
    assert home.store().holders() == (before,)
    home.cluster.down(1, instant=True)
    assert home.ask(0).kind == "unsafe"
    assert home.store().holders() == (before,)  # its node may be on its way down already
    home.cluster.up(1, instant=True)
    assert home.ask(0).kind == "granted"


def test_nothing_is_granted_on_what_was_seen_before(three_racks: House) -> None:
    """A node that died since the agent's last poll counts; its interval is far away."""
    home = three_racks
    assert home.agent.fresh(GROUP, 30) is not None
    home.cluster.down(4, instant=True)
    assert home.ask(0).kind == "unsafe"
    assert home.owners() == set()


def test_streams_that_no_node_may_tell_are_asked_for_once(three_racks: House) -> None:
    """An access policy without them does not keep a host from its reboot, nor the agent at polling without a pause."""
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
    assert polls(home) - before <= 3  # the look for who it is, the decision's, and one that may just have begun


def polls(home: House) -> int:
    found = home.agent.reading(GROUP)
    return sum(found.polls.counts) if found else 0


@pytest.mark.parametrize("away", ["down", "drain", pytest.param("pause", marks=pytest.mark.slow), "gossip_off"])
def test_a_lock_is_kept_until_the_node_is_back(three_racks: House, away: str) -> None:
    """Whatever its client says: killed, drained, hanging, or out of gossip."""
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
    """Its process answers, its clients are not served."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    home.cluster.down(0, instant=True)
    home.cluster.up(0, hold="starting")
    assert home.steady(0).kind == "not_back"


def test_a_node_that_is_down_for_all_keeps_nobody_s_lock(three_racks: House) -> None:
    """What no peer sees up is not for the one that came back to see; what only it does not see is."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    home.cluster.down(0, instant=True)
    home.cluster.down(4, instant=True)
    home.cluster.up(0, instant=True)
    assert home.steady(0).kind == "released"


@pytest.mark.slow
def test_a_node_whose_peers_do_not_answer_is_not_back(three_racks: House) -> None:
    """Nobody says that it is seen up."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    for node in home.cluster.nodes[1:]:
        home.cluster.pause(node.index)  # gossip still believes in them
    refused = home.steady(0)
    assert refused.kind == "not_back", refused
    assert "no peer's view can be used" in refused.value


def test_what_is_not_held_is_given_back_without_a_look(three_racks: House) -> None:
    """As every client does when its host starts; even while nothing of the cluster can be seen."""
    home = three_racks
    for node in home.cluster.nodes:
        home.cluster.down(node.index, instant=True)
    assert home.steady(2).kind == "not_held"
    assert home.steady(2).status == 200


def test_only_its_owner_gives_a_lease_back(three_racks: House) -> None:
    """A node under the lease of a rolling restart is neither granted to nor released by its host."""
    home = three_racks
    home.store().add(
        [Holder(node=home.address(0), owner="me@here roll 1", purpose="upgrade", since="2026-01-01T00:00:00Z")]
    )
    refused = home.ask(0)
    assert (refused.kind, refused.status) == ("held_by_another", 409)
    assert "me@here roll 1" in refused.value
    assert home.steady(0).kind == "not_held"
    assert home.owners() == {(home.address(0), "me@here roll 1")}


def test_a_client_may_be_known_by_its_host_id(three_racks: House) -> None:
    """The last one of the configuration is."""
    home = three_racks
    assert home.ask(5).kind == "granted"
    assert home.owners() == {(home.address(5), "fleetlock host-5")}


GOOD = {"client_params": {"id": "host-0", "group": GROUP}}
WRONG: list[tuple[Any, dict[str, str], str]] = [
    (GOOD, {}, "bad_request"),
    (GOOD, {"fleet-lock-protocol": "false"}, "bad_request"),
    ("not JSON", HEADERS, "bad_request"),
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


def test_what_is_not_the_protocol_s_is_refused(three_racks: House) -> None:
    """No header, no JSON, no such group or client: 4xx with kind and value, and no lease by either operation."""
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


def test_a_client_without_a_node_is_not_known(tmp_path: Path) -> None:
    """Its address is no node of the cluster: 503, and no lease."""
    with house(tmp_path) as home:
        file = tmp_path / "ringcheck.yaml"
        file.write_text(file.read_text().replace(f"host-0: {home.address(0)}", "host-0: 127.9.9.9"))
        home.agent.reload(load(str(file)))
        answer = home.ask(0)
        assert (answer.kind, answer.status) == ("unknown", 503)
        assert answer.value == "host-0 stands for 127.9.9.9, which is no node of embedded as it is seen now"
        assert home.owners() == set()


def test_a_cluster_that_can_not_be_seen_grants_nothing(three_racks: House) -> None:
    """All Jolokias are silent: 503 to both operations, the lease as it was."""
    home = three_racks
    assert home.ask(0).kind == "granted"
    for node in home.cluster.nodes:
        home.cluster.down(node.index, instant=True)
    assert [home.ask(1).kind, home.steady(0).kind] == ["unknown", "unknown"]
    assert home.owners() == {(home.address(0), "fleetlock host-0")}


def test_a_poll_that_fails_grants_nothing_though_the_last_one_was_good(
    three_racks: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent keeps its last verdict for its page; it is no reading for the gate."""
    home = three_racks
    good = home.agent.fresh(GROUP, 30)
    assert good is not None
    assert good.verdict is not None
    monkeypatch.setattr(home.agent, "fresh", lambda *_: replace(good, error="it hangs"))
    assert home.ask(0) == FleetLockAnswer("unknown", "it hangs")
    monkeypatch.setattr(home.agent, "fresh", lambda *_: None)
    assert home.ask(0).kind == "unknown"
    assert home.owners() == set()


def test_a_node_that_streams_is_not_stopped(three_racks: House) -> None:
    """Every look asks for streams."""
    home = three_racks
    home.cluster.stream(0)
    assert home.ask(0).kind == "unsafe"
    home.cluster.stream(0, 0)
    assert home.ask(0).kind == "granted"


def test_a_record_that_can_not_be_read_grants_nothing(three_racks: House, tmp_path: Path) -> None:
    """Doubt about leases is a refusal, and the record stays as it is."""
    home = three_racks
    (tmp_path / "leases.json").write_text("{")
    assert [home.ask(0).kind, home.steady(0).kind] == ["leases_in_doubt", "leases_in_doubt"]
    assert (tmp_path / "leases.json").read_text() == "{"


def test_a_bug_grants_nothing(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """500, logged as an error, and the lease that was recorded for the question is withdrawn."""
    home = three_racks

    def broken(*_: object) -> None:
        raise ZeroDivisionError("what")

    monkeypatch.setattr(fleetlock, "Gatekeeper", broken)
    answer = home.ask(0)
    assert (answer.kind, answer.status) == ("bug", 500)
    assert home.owners() == set()
    assert home.logged()[-1]["level"] == "error"


def test_every_reading_must_be_safe(tmp_path: Path) -> None:
    """As many in a row as `gate: {stable_readings: ...}` says; a node that dies between two of them refuses."""
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
    """The configuration with a piece of it replaced, in force."""
    file = folder / "ringcheck.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    home.agent.reload(load(str(file)))


def test_nothing_is_granted_by_a_configuration_that_was_replaced(tmp_path: Path) -> None:
    """Between two readings `lease:` names another store: others no longer look where this lease would be."""
    with house(tmp_path, more=", stable_readings: 3") as home:
        old = home.store()
        home.lock = FleetLock(
            home.agent, Log("json", home.log), lambda _: reloaded(home, tmp_path, "leases.json", "others.json")
        )
        answer = home.ask(0)
        assert (answer.kind, answer.status) == ("unknown", 503)
        assert answer.value == "the configuration was reloaded meanwhile: ask again"
        assert old.holders() == home.store().holders() == ()


def test_a_reload_after_the_last_reading_is_seen_too(three_racks: House, tmp_path: Path) -> None:
    """While the gate reckons; the lease that was recorded for the question is withdrawn."""
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
def test_who_waited_while_the_configuration_was_replaced_asks_again(
    three_racks: House, tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store that he would be answered from is another one now; so is whom his name stands for, perhaps."""
    home = three_racks
    found: list[FleetLockAnswer] = []
    known, looked_up = home.lock._client, threading.Event()

    def client(**asked: str) -> Any:
        looked_up.set()
        return known(**asked)

    monkeypatch.setattr(home.lock, "_client", client)
    with home.lock._turn(GROUP):
        waiting = threading.Thread(target=lambda: found.append(getattr(home, operation)(0)))
        waiting.start()
        assert looked_up.wait(30)
        time.sleep(0.1)
        reloaded(home, tmp_path, "leases.json", "others.json")
    waiting.join(30)
    assert [one.kind for one in found] == ["unknown"]


@pytest.mark.slow
def test_all_at_once(tmp_path: Path) -> None:
    """Ten hosts of three racks at once: those granted leave every range its quorum, and no other one could go too."""
    with house(tmp_path, nodes=10) as home:
        answers: dict[int, FleetLockAnswer] = {}
        threads = [
            threading.Thread(target=lambda number=number: answers.update({number: home.ask(number)}))
            for number in range(10)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        granted = {number for number, one in answers.items() if one.kind == "granted"}
        held = {home.address(number) for number in granted}
        assert lost(home.cluster, held) == 0
        assert all(lost(home.cluster, {*held, home.address(number)}) for number in set(range(10)) - granted)
        assert {one.kind for one in answers.values()} == {"granted", "unsafe"}
        assert {node for node, _ in home.owners()} == held


def test_the_log_tells_every_change_once(three_racks: House) -> None:
    """A client that is refused asks for days; grants and releases are each told."""
    home = three_racks
    for number in (0, 1, 1, 1):
        home.ask(number)
    for number in (0, 0, 0):
        home.steady(number)
    home.ask(1)
    told = [(one["event"], one["action"], one["id"], one["kind"], one["status"]) for one in home.logged()]
    assert told == [
        ("fleetlock", "pre-reboot", "host-0", "granted", 200),
        ("fleetlock", "pre-reboot", "host-1", "unsafe", 409),
        ("fleetlock", "steady-state", "host-0", "released", 200),
        ("fleetlock", "steady-state", "host-0", "not_held", 200),
        ("fleetlock", "pre-reboot", "host-1", "granted", 200),
    ]
    assert home.logged()[1]["level"] == "warning"
    assert home.logged()[1]["why"].startswith(f"{home.address(0)} is under the restart lease of fleetlock host-0")


def test_over_http(three_racks: House) -> None:
    """POST alone, the documents as JSON, a body of bounded size."""
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


def test_who_leaves_within_his_question_is_no_bug(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is granted, and the log says nothing of it."""
    home, told = three_racks, list[str]()
    read, body = threading.Event(), fleetlock._body

    async def watched(request: Any) -> Any:
        try:
            return await body(request)
        finally:
            read.set()

    monkeypatch.setattr(fleetlock, "_body", watched)
    more = routes(home.agent, Log("json", home.log))
    with web.serve(home.agent, "127.0.0.1:0", None, more, complain=told.append) as served_:
        host, _, port = served_.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as leaving:
            leaving.sendall(
                b"POST /v1/pre-reboot HTTP/1.1\r\nHost: localhost\r\nfleet-lock-protocol: true\r\n"
                b'Content-Length: 100\r\n\r\n{"cli'
            )
            time.sleep(0.1)
        assert read.wait(30)
        assert requests.get(f"{served_.url}/-/healthy", timeout=30).ok
    assert told == []
    assert home.logged() == []


class Hanging:
    """A store that takes questions and answers none."""

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
        for one in self.asked:
            one.close()


@pytest.mark.slow
def test_an_agent_that_ends_does_not_wait_for_a_store(tmp_path: Path) -> None:
    """Who waits for it is told so, whoever is behind him too; the process is gone before systemd would kill it."""
    with closing(Hanging()) as store, clusters(tmp_path) as found:
        found.document["lease"] = {"etcd": [store.url]}
        found.document["fleetlock"] = {"nodes": {"host-0": found.cluster.nodes[0].address}}
        found.write("orders-prod")
        with service(found.path, tmp_path) as process, ThreadPoolExecutor(4) as pool:
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
            answers = [one.result() for one in asked]
    assert took < 12
    assert [(one.status_code, one.json()["kind"]) for one in answers] == [(503, "unknown")] * 4
    assert "the agent is stopping" in {one.json()["value"] for one in answers}
    assert [line for line in process.logged() if " event=" not in line] == []


def test_nothing_is_granted_by_an_agent_that_is_stopping(three_racks: House) -> None:
    """Neither to who comes then, nor to who is being decided on: he has been told no."""
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


def test_too_many_at_once_are_turned_away(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 at once and when to ask again, for which nothing is asked of the cluster."""
    home = three_racks
    monkeypatch.setattr(fleetlock, "MOST", 0)
    with served(routes(home.agent, Log("json", home.log))) as url:
        answer = requests.post(f"{url}/v1/pre-reboot", home.body(0), headers=HEADERS, timeout=60)
    assert (answer.status_code, answer.json()["kind"]) == (503, "busy")
    assert answer.headers["retry-after"] == "30"
    assert home.owners() == set()


def test_who_waits_too_long_for_others_is_turned_away(three_racks: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, whatever the one before is waiting for."""
    home = three_racks
    monkeypatch.setattr(fleetlock, "PATIENCE", 0.1)
    with home.lock._turn(GROUP):
        assert home.ask(0).kind == "busy"
    assert home.ask(0).kind == "granted"


def test_every_kind_is_documented() -> None:
    """Each `kind` is in docs/fleetlock.md with its status, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "fleetlock.md").read_text()
    told = re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", page, re.MULTILINE)
    assert {kind: int(status) for kind, status in told} == KINDS
