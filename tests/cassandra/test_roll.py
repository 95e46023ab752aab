"""A rolling restart loses no query; the load that shows this does fail if nodes are stopped at the wrong time.

The default runs take some ten minutes: six nodes of 5.0.8, two in each of three racks; three nodes of 4.1.9 whose run
is killed twice and resumed; and three nodes whose client gets errors. `RINGCHECK_CASSANDRA_VERSIONS` chooses other
releases for the three nodes, and adds two runs, one without interruption and one without drain. With "all" this takes
an hour, and tests on each release what the default tests on two.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cassandra import ConsistencyLevel, OperationTimedOut, Unavailable, WriteTimeout
from cassandra.connection import ConnectionShutdown
from cassandra.protocol import IsBootstrappingErrorMessage, OverloadedErrorMessage, ServerError
from cassandra.query import SimpleStatement

from tests.cassandra.cluster import wait_until
from tests.cassandra.launch import release_key
from tests.cassandra.load import (
    BROKEN,
    CLIENTS,
    KEYSPACE,
    LEVELS,
    OPERATIONS,
    SERVED,
    Load,
    Request,
    RetryNext,
    Traffic,
    kind_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory

real = pytest.mark.cassandra

DEFAULT_RELEASES = ("4.1.9",)
TOKENS = 8  # of each node: 24 ranges with 3 nodes, each queried in four ways about once a second
RACKS = "dc1:r1,dc1:r1,dc1:r2,dc1:r2,dc1:r3,dc1:r3"
HEAP = ("-Xms256m", "-Xmx256m")  # of six nodes: two busy cores have 4 GB
# Milliseconds. A replica that stops without an announcement is still noticed: peers convict it after 18 s or more. A
# machine that starts two JVMs at once may need more than the default of 2 s for writes. The last one is for the ECHO
# by which a peer finds a restarted node alive: if it is late, that peer never sees the node up again (CASSANDRA-21428).
TIMEOUTS = {
    "read_request_timeout_in_ms": 10_000,
    "write_request_timeout_in_ms": 10_000,
    "request_timeout_in_ms": 20_000,
}
OUTAGE = 100  # more failures of a client than can happen by accident
STALL = 30  # seconds without a request of some kind to some range; after a longer gap the load proves nothing
SETTLE = 15  # seconds that nodes must have run before the gate allows a stop; 45 by default
ROLL_SECONDS = 900
REPOSITORY = Path(__file__).resolve().parents[2]
Event = dict[str, Any]


@pytest.fixture
def cluster(real_cluster: ClusterFactory, cassandra_release: str) -> RealCluster:
    """Three nodes, all up, each a replica of every range."""
    return real_cluster(cassandra_release, num_tokens=TOKENS, yaml=TIMEOUTS)


def outage(found: Traffic) -> bool:
    """Whether each client got Unavailable often enough."""
    return all(len(found.of(client).ended("unavailable").requests) >= OUTAGE for client in CLIENTS)


def every_way(found: Traffic) -> set[tuple[str, str, str]]:
    """Clients, levels and operations of these requests."""
    return {(request.client, request.level, request.operation) for request in found.requests}


WAYS = {(client, level, operation) for client in CLIENTS for level in LEVELS for operation in OPERATIONS}


def quiet(load: Load) -> float:
    """Wait until no request fails while no node restarts: JVMs that have just started are slow at first.

    Returns:
        Since when (seconds since the epoch).
    """

    def warm(found: Traffic) -> bool:
        last = [request for client in CLIENTS for request in found.of(client).requests[-WARM:]]
        return len(last) == WARM * len(CLIENTS) and all(
            request.outcome == SERVED and request.ended - request.sent < 1 for request in last
        )

    return max(request.ended for request in load.until(warm).requests)


WARM = 300  # requests of each client: three seconds


@real
def test_two_replicas_stopped_at_once_fail_the_load(cluster: RealCluster, tmp_path: Path) -> None:
    """With two of three replicas down each client gets Unavailable on every range, for every kind of query."""
    with Load(cluster, tmp_path) as load:
        quiet(load)
        assert not load.traffic().ended("unavailable").requests
        stop(cluster.node(2), cluster.node(3))
        found = load.until(outage).ended("unavailable")
    assert every_way(found) == WAYS
    assert all(found.of(client).hit == set(range(3 * TOKENS)) for client in CLIENTS)


@real
def test_next_stop_when_the_jvm_answers_fails_the_load(cluster: RealCluster, tmp_path: Path) -> None:
    """If the next node is stopped as soon as the last one's Jolokia answers, clients get Unavailable."""
    first, second = cluster.node(2), cluster.node(3)
    with Load(cluster, tmp_path) as load:
        quiet(load)
        first.drain()
        first.restart(hard=True)
        wait_answer(first)
        assert not load.traffic().ended("unavailable").requests, "one node at a time costs none"
        stop(second)
        found = load.until(outage).ended("unavailable")
    assert every_way(found) == WAYS


def stop(*nodes: RealNode) -> None:
    """SIGTERM all nodes at once, and wait until they have ended."""
    for node in nodes:
        node.process.signal(signal.SIGTERM)
    for node in nodes:
        node.terminate()


def wait_answer(node: RealNode) -> None:
    """Wait until the agent in a starting JVM answers at all."""

    def lacking() -> str:
        node.read("Uptime", mbean="java.lang:type=Runtime")
        return ""

    wait_until(lacking, 120, f"{node} does not answer", node.cluster)


# The runs


class Roll:
    """`ringcheck roll` on a cluster, as a process that an operator starts."""

    def __init__(self, cluster: RealCluster, directory: Path, *how: str) -> None:
        """Write its configuration; `how` has the options that restart nodes."""
        self.cluster = cluster
        self.file = directory / "roll.jsonl"
        self._config = directory / "ringcheck.yaml"
        self._config.write_text(json.dumps({"clusters": {"lab": configured(cluster, directory)}}))
        self._how = how
        self._output = directory / "roll.txt"

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start it."""
        command = [sys.executable, "-m", "ringcheck", "roll", "-C", str(self._config), "--journal", str(self.file)]
        with self._output.open("ab") as sink:
            return subprocess.Popen(
                [*command, *self._how, *options, "--yes"],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it has restarted all nodes."""
        try:
            code = process.wait(ROLL_SECONDS)
        finally:
            process.kill()
        assert code == 0, self.said

    def kill_at(self, process: subprocess.Popen[bytes], event: str, *, done: int) -> str:
        """SIGKILL it at an event of its current node, after this many others are done; return the address of that node.

        Only for batches of one node.
        """
        deadline = time.monotonic() + ROLL_SECONDS
        try:
            while not (found := self._in_hand(event, done)):
                assert process.poll() is None, self.said
                assert time.monotonic() < deadline, self.said
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        assert len(self.of("back")) == done, "too late to show anything"
        return found

    def _in_hand(self, event: str, done: int) -> str:
        events = self.events
        begun = [place for place, one in enumerate(events) if one["event"] == "stopping"]
        since = events[begun[-1] :] if len(begun) == done + 1 else []
        return str(since[0]["node"]) if any(one["event"] == event for one in since) else ""

    @property
    def said(self) -> str:
        """Its output and its journal."""
        return f"{self._output.read_text()}\n{self.file.read_text() if self.file.exists() else 'no journal'}"

    @property
    def events(self) -> list[Event]:
        """The events of its journal so far."""
        lines = self.file.read_text().splitlines(keepends=True) if self.file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def of(self, *names: str) -> list[Event]:
        """Events of some kinds."""
        return [one for one in self.events if one["event"] in names]


def configured(cluster: RealCluster, directory: Path) -> dict[str, Any]:
    """The configuration of the cluster."""
    found: dict[str, Any] = {
        "jolokia": cluster.asked_at(*cluster.members),
        "gate": {"settle": f"{SETTLE}s"},
        "lease": {"file": str(directory / "leases.json")},
        "authenticates": False,  # releases before 3.4 do not report it
    }
    node = cluster.node(1)
    if release_key(node.release) < (3, 11):  # releases before 3.11.11 do not report it
        found["replication"] = {KEYSPACE: {"class": "NetworkTopologyStrategy", node.datacenter: 3}}
    return found


def harness(cluster: RealCluster, action: str, *options: str) -> str:
    """A command of the harness for the node whose address is filled in."""
    return " ".join(
        [sys.executable, "-m", "tests.cassandra", action, "--dir", str(cluster.directory), *options, "{address}"]
    )


@dataclass(frozen=True, slots=True)
class Stop:
    """The time from the first step to stop a node to the end of the command (seconds since the epoch).

    If ringcheck was killed before that end, the time ends when the node was back.
    """

    node: str
    begin: float
    end: float


def stops(events: Iterable[Event]) -> list[Stop]:
    """The stops in a journal."""
    found: list[Stop] = []
    begun: dict[str, float] = {}
    for event in events:
        if event["event"] == "stopping":
            begun[event["node"]] = seconds(event)
        elif event["event"] in {"command_ended", "back"} and event["node"] in begun:
            found.append(Stop(event["node"], begun.pop(event["node"]), seconds(event)))
    return found


def seconds(event: Event) -> float:
    """The time of an event, in seconds since the epoch."""
    return datetime.fromisoformat(event["time"]).timestamp()


def assert_nothing_lost(found: Traffic, stopped: list[Stop], nodes: set[str]) -> None:
    """Assert what a rolling restart promises for every request of both clients."""
    begin, end = found.requests[0].sent, found.requests[-1].sent
    assert not found.lapses(begin, end, STALL), "the load itself stood still"
    assert {(client, node) for client in CLIENTS for node in nodes} <= {
        (request.client, request.coordinator) for request in found.ended(SERVED).requests
    }
    assert not found.of("retry_next").failed.requests, found.of("retry_next")
    dropped = found.of("no_retry").failed.requests
    assert {request.outcome for request in dropped} <= BROKEN, found.of("no_retry")
    stray = [str(request) for request in dropped if not any(in_flight(request, stop) for stop in stopped)]
    assert not stray, f"{stopped}\n" + "\n".join(stray)


def in_flight(request: Request, stop: Stop) -> bool:
    """Whether a request was in progress on a node while that node was being stopped."""
    return request.coordinator == stop.node and request.ended >= stop.begin and request.sent <= stop.end


def addresses(cluster: RealCluster) -> set[str]:
    """Of all nodes."""
    return {node.address for node in cluster.members}


def processes(cluster: RealCluster) -> dict[str, object]:
    """The process of each node."""
    return {node.address: node.process for node in cluster.members}


def served_by_all(load: Load, cluster: RealCluster) -> None:
    """Wait until each client is served through each node again."""
    since = time.time()
    wanted = {(client, node) for client in CLIENTS for node in addresses(cluster)}

    def served(found: Traffic) -> bool:
        requests = found.between(since, time.time()).ended(SERVED).requests
        return wanted <= {(request.client, request.coordinator) for request in requests}

    load.until(served)


@real
def test_racks_restart_without_a_lost_query(real_cluster: ClusterFactory, tmp_path: Path) -> None:
    """Six nodes in three racks restart in three batches, killed hard after their drain, and no query is lost."""
    cluster = real_cluster("5.0.8", RACKS, num_tokens=4, yaml=TIMEOUTS, jvm_options=HEAP)
    before = processes(cluster)
    with Load(cluster, tmp_path, rate=50) as load:  # six JVMs need the rest of two cores
        begin = quiet(load)
        roll = Roll(cluster, tmp_path, "--exec", harness(cluster, "restart", "--hard"))
        roll.finish(roll.start())
        served_by_all(load, cluster)
    racks = [{node.rack for node in cluster.members if node.address in one["nodes"]} for one in roll.of("lease")]
    assert sorted(map(sorted, racks)) == [["r1"], ["r2"], ["r3"]], roll.said
    assert not set(before.values()) & set(processes(cluster).values())
    assert len(roll.of("clients")) == 3, roll.said
    assert not [error for one in roll.of("clients") for error in one["errors"] if "Unavailables" in error], roll.said
    assert_nothing_lost(load.traffic().between(begin, time.time()), stops(roll.events), addresses(cluster))


@real
def test_a_killed_roll_continues_without_a_lost_query(cluster: RealCluster, tmp_path: Path) -> None:
    """If a roll is killed during the drain of the first node and the restart of the second, each restarts only once."""
    before = processes(cluster)
    with Load(cluster, tmp_path) as load:
        begin = quiet(load)
        roll = Roll(cluster, tmp_path, "--exec", harness(cluster, "restart"))
        first = roll.kill_at(roll.start(), "draining", done=0)
        assert processes(cluster) == before
        second = roll.kill_at(roll.start("--resume"), "command", done=1)
        finished = processes(cluster)[first]
        roll.finish(roll.start("--resume"))
        served_by_all(load, cluster)
    after = processes(cluster)
    assert after[first] == finished
    assert not set(before.values()) & set(after.values())
    assert sorted(one["node"] for one in roll.of("command")) == sorted(addresses(cluster)), "once each"
    assert [one["node"] for one in roll.of("back")][:2] == [first, second]
    assert_nothing_lost(load.traffic().between(begin, time.time()), stops(roll.events), addresses(cluster))


@real
def test_clients_that_suffer_stop_a_roll(cluster: RealCluster, tmp_path: Path) -> None:
    """A client that needs every replica gets Unavailable, which the gate allows; the roll stops with its numbers."""
    first, second, third = cluster.members
    roll = Roll(cluster, tmp_path, "--exec", harness(cluster, "restart"), first.address, second.address)
    process = roll.start()
    try:
        lost = unavailable_at_all(cluster, third, while_running=process)
    finally:
        process.kill()
    assert process.returncode == 2, roll.said
    assert lost > 0
    [clients] = roll.of("clients")
    assert clients["errors"] == {"Write-ALL Unavailables": lost}
    assert [one["node"] for one in roll.of("back")] == [first.address]
    assert f"clients got errors: {lost} Write-ALL Unavailables" in roll.said


def unavailable_at_all(cluster: RealCluster, node: RealNode, while_running: subprocess.Popen[bytes]) -> int:
    """Write at ALL through one node until a process ends; return how many writes were Unavailable."""
    lost = 0
    replication = {"class": "NetworkTopologyStrategy", node.datacenter: "3"}
    with cluster.session(node) as session:
        session.execute(f"CREATE KEYSPACE suffering WITH replication = {replication}")
        session.execute("CREATE TABLE suffering.t (k int PRIMARY KEY)")
        write = SimpleStatement("INSERT INTO suffering.t (k) VALUES (0)", consistency_level=ConsistencyLevel.ALL)
        while while_running.poll() is None:
            try:
                session.execute(write)
            except Unavailable:
                lost += 1
            except (WriteTimeout, OperationTimedOut):
                pass  # the coordinator does not see the node down yet, or the machine is busy
            time.sleep(0.05)
    return lost


by_request = pytest.mark.skipif(
    not os.environ.get("RINGCHECK_CASSANDRA_VERSIONS"),
    reason="takes long for what the other runs show already: RINGCHECK_CASSANDRA_VERSIONS asks for it",
)


@real
@by_request
def test_nodes_stopped_and_started_without_a_lost_query(cluster: RealCluster, tmp_path: Path) -> None:
    """Separate commands stop and start the nodes one after another, and no query is lost."""
    before = processes(cluster)
    with Load(cluster, tmp_path) as load:
        begin = quiet(load)
        stop_and_start = (
            "--stop-exec",
            harness(cluster, "terminate"),
            "--start-exec",
            harness(cluster, "start", "--no-wait"),
        )
        roll = Roll(cluster, tmp_path, *stop_and_start)
        roll.finish(roll.start())
        served_by_all(load, cluster)
    assert [len(one["nodes"]) for one in roll.of("lease")] == [1, 1, 1]
    assert not set(before.values()) & set(processes(cluster).values())
    assert_nothing_lost(load.traffic().between(begin, time.time()), stops(roll.events), addresses(cluster))


@real
@by_request
def test_killed_without_drain_fails_the_load(cluster: RealCluster, tmp_path: Path) -> None:
    """Nodes that are killed one by one without a drain cause timeouts despite the gate, and the load reports them."""
    with Load(cluster, tmp_path) as load:
        begin = quiet(load)
        roll = Roll(cluster, tmp_path, "--no-drain", "--exec", harness(cluster, "restart", "--hard"))
        roll.finish(roll.start())
        time.sleep(TIMEOUTS["read_request_timeout_in_ms"] / 1000)
    found = load.traffic().between(begin, time.time())
    assert found.ended("read_timeout", "write_timeout", "client_timeout").requests, found
    assert not found.ended("unavailable").requests, found


# The helpers that the tests above rely on


def request(sent: float, **fields: Any) -> Request:
    """A request that was served, changed by `fields`."""
    usual = {"client": "no_retry", "piece": 0, "level": "QUORUM", "operation": "read", "coordinator": "n1", "tries": 1}
    return Request(**{**usual, "sent": sent, "ended": sent + 0.1, "outcome": SERVED, **fields})


def traffic(*more: Request, end: int = 100) -> Traffic:
    """Every kind of request to one range through two nodes every ten seconds, and additional requests."""
    kinds = [{"client": client, "level": level, "operation": operation} for client, level, operation in sorted(WAYS)]
    steady = [
        request(second, coordinator=node, **kind) for second in range(0, end, 10) for kind in kinds for node in NODES
    ]
    return Traffic((*steady, *more, request(end)), 1)


NODES = {"n1", "n2"}
STOPPED = [Stop("n1", 20, 25)]
DROPPED = request(22, outcome="connection")


def test_dropped_by_the_stopping_node_alone() -> None:
    """A client without retries may lose requests that are in progress on a node while that node stops."""
    assert_nothing_lost(traffic(DROPPED), STOPPED, NODES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"outcome": "unavailable"},
        {"outcome": "read_timeout"},
        {"outcome": "client_timeout"},
        {"outcome": "unanswered"},
        {"outcome": "lost"},
        {"client": "retry_next"},
        {"coordinator": "n2"},
        {"sent": 10, "ended": 19},
        {"sent": 26, "ended": 27},
    ],
)
def test_anything_else_is_a_lost_query(wrong: dict[str, Any]) -> None:
    """A failed request with any other outcome, client, node or time counts as lost."""
    with pytest.raises(AssertionError):
        assert_nothing_lost(traffic(replace(DROPPED, **wrong)), STOPPED, NODES)


@pytest.mark.parametrize("kind", [{"client": "retry_next"}, {"operation": "write"}, {"level": "QUORUM"}])
def test_a_load_that_stood_still_shows_nothing(kind: dict[str, str]) -> None:
    """A gap in one kind of request is reported, whatever other requests there were."""
    whole = traffic()
    gap = [
        one for one in whole.requests if not (30 < one.sent < 70 and all(getattr(one, k) == v for k, v in kind.items()))
    ]
    with pytest.raises(AssertionError, match="stood still"):
        assert_nothing_lost(Traffic(tuple(gap), 1), STOPPED, NODES)


def test_a_node_that_no_client_reached_shows_nothing() -> None:
    """Each client must have been served through each node."""
    with pytest.raises(AssertionError):
        assert_nothing_lost(traffic(), STOPPED, {*NODES, "n3"})


def test_a_journal_shows_when_nodes_stopped() -> None:
    """A stop lasts from `stopping` to the end of the first command, or to `back` if the run was killed before."""
    told = [("stopping", "a"), ("command", "a"), ("command_ended", "a"), ("command_ended", "a"), ("back", "a")]
    told += [("stopping", "b"), ("command", "b"), ("back", "b")]
    events = [
        {"event": event, "node": node, "time": f"1970-01-01T00:00:{second:02}.000000Z"}
        for second, (event, node) in enumerate(told)
    ]
    assert stops(events) == [Stop("a", 0, 2), Stop("b", 5, 7)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OverloadedErrorMessage(0x1001, "Server is shutting down", None), "shutting_down"),
        (OverloadedErrorMessage(0x1001, "Too many requests", None), "overloaded"),
        (IsBootstrappingErrorMessage(0x1002, "Cannot read from a bootstrapping node", None), "bootstrapping"),
        (ConnectionShutdown("closed"), "connection"),
        (ServerError(0x0000, "java.lang.Oops", None), "ServerError"),
        (OperationTimedOut(), "client_timeout"),
    ],
)
def test_a_client_retries_what_says_nothing_of_the_ring(error: object, kind: str) -> None:
    """The client goes to the next node only if its coordinator has stopped or is starting."""
    assert kind_of(error) == kind
    chosen, _ = RetryNext().on_request_error(None, None, error, 0)
    assert (chosen == RetryNext.RETRY_NEXT_HOST) is (kind in BROKEN)


def test_a_client_never_retries_what_the_ring_said() -> None:
    """Unavailable and timeouts are not retried."""
    policy = RetryNext()
    assert policy.on_unavailable(None, None, 2, 1, 0)[0] == RetryNext.RETHROW
    assert policy.on_read_timeout(None, None, 2, 2, data_retrieved=False, retry_num=0)[0] == RetryNext.RETHROW
    assert policy.on_write_timeout(None, None, "BATCH_LOG", 2, 1, 0)[0] == RetryNext.RETHROW
