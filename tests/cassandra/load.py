"""A continuous load of queries, each recorded, while nodes of a real cluster restart.

    with Load(cluster, directory) as load:
        ...
    traffic = load.traffic()

Reads and writes at QUORUM and LOCAL_QUORUM go to every range of the ring through every coordinator, from two clients
at once, each in a process of its own (`python -m tests.cassandra.load PLAN CLIENT FILE`), so that the test's own work
can't starve them. Requests are sent by the clock, whether or not earlier ones were answered: a cluster that hangs gets
as many, and every request is recorded, also if it is not answered.

- `no_retry` counts every error.
- `retry_next` sends a request whose connection broke, or whose coordinator answered that it is overloaded, starting
  or shutting down, to the next node, as drivers do by default. It never retries Unavailable or a timeout.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cassandra import ConsistencyLevel, OperationTimedOut, ReadTimeout, Unavailable, WriteTimeout
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import (
    ConstantReconnectionPolicy,
    FallthroughRetryPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.query import SimpleStatement

from tests.cassandra import queries
from tests.cassandra.cluster import ClusterError
from tests.cassandra.launch import CQL_PORT, release_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from io import TextIOWrapper

    from cassandra.policies import LoadBalancingPolicy

    from tests.cassandra.cluster import RealCluster
    from tests.cassandra.queries import Piece

CLIENTS = ("no_retry", "retry_next")
LEVELS = ("QUORUM", "LOCAL_QUORUM")
OPERATIONS = ("read", "write")
ROUTINGS = {"round_robin": RoundRobinPolicy, "token_aware": lambda: TokenAwarePolicy(RoundRobinPolicy())}
KEYSPACE = "load"
SERVED = "served"
BROKEN = frozenset({"connection", "shutting_down", "overloaded", "bootstrapping"})
"""Ends of a request that say nothing of the ring: its coordinator went away or is not there yet."""

_KEYS = 8  # for each range
_RATE = 100  # requests per second and client
_CLIENT_SECONDS = 20  # above the servers' own timeouts, so that their answer is seen
_CONNECT_SECONDS = 60
_OVERLOADED, _BOOTSTRAPPING = 0x1001, 0x1002
_REPOSITORY = Path(__file__).resolve().parents[2]


# What is recorded


@dataclass(frozen=True, slots=True)
class Request:
    """One request and its end.

    Attributes:
        client: one of `CLIENTS`.
        sent: time in seconds since the epoch.
        ended: time in seconds since the epoch.
        piece: number of its range.
        level: its consistency level.
        operation: read or write.
        coordinator: address of the last node that it was sent to; empty if no node was left.
        tries: number of nodes that it was sent to.
        outcome: served, unavailable, read_timeout, write_timeout, client_timeout, connection, shutting_down,
            overloaded, bootstrapping, no_host, lost (a row that was written is not there), unanswered (when the load
            ended) or the name of another exception.
        detail: the error's text.
    """

    client: str
    sent: float
    ended: float
    piece: int
    level: str
    operation: str
    coordinator: str
    tries: int
    outcome: str
    detail: str = ""

    def __str__(self) -> str:
        """A line for a failed assertion."""
        when = f"{self.sent % 86_400:.2f}-{self.ended % 86_400:.2f}"
        what = f"{self.operation} {self.level} in range {self.piece} through {self.coordinator or 'no node'}"
        return f"{when} {self.client} {what}: {self.outcome} {self.detail[:120]}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of a load, or of a part of it.

    Attributes:
        requests: in the order in which they ended.
        pieces: number of ranges.
    """

    requests: tuple[Request, ...]
    pieces: int

    def of(self, client: str) -> Traffic:
        """The requests of one client."""
        return self._where(lambda request: request.client == client)

    def between(self, begin: float, end: float) -> Traffic:
        """The requests that were sent in a period (seconds since the epoch)."""
        return self._where(lambda request: begin <= request.sent <= end)

    def ended(self, *outcomes: str) -> Traffic:
        """The requests with one of these outcomes."""
        return self._where(lambda request: request.outcome in outcomes)

    @property
    def failed(self) -> Traffic:
        """The requests that were not served."""
        return self._where(lambda request: request.outcome != SERVED)

    @property
    def counts(self) -> dict[str, int]:
        """The number of requests by outcome."""
        found: dict[str, int] = defaultdict(int)
        for request in self.requests:
            found[request.outcome] += 1
        return dict(found)

    @property
    def hit(self) -> set[int]:
        """The ranges that were queried."""
        return {request.piece for request in self.requests}

    def lapses(self, begin: float, end: float, seconds: float) -> list[str]:
        """Gaps in the load itself: spans longer than `seconds` in which a client did not query a range.

        Each combination of range, level and operation is counted separately; no request at all is one gap from `begin`
        to `end`.
        """
        asked: dict[tuple[object, ...], list[float]] = {
            key: [begin] for key in product(CLIENTS, range(self.pieces), LEVELS, OPERATIONS)
        }
        for request in sorted(self.between(begin, end).requests, key=lambda request: request.sent):
            asked[request.client, request.piece, request.level, request.operation].append(request.sent)
        return [
            f"{' '.join(map(str, key))}: nothing for {later - earlier:.1f} s"
            for key, times in asked.items()
            for earlier, later in pairwise([*times, end])
            if later - earlier > seconds
        ]

    def _where(self, wanted: Callable[[Request], bool]) -> Traffic:
        return Traffic(tuple(request for request in self.requests if wanted(request)), self.pieces)

    def __str__(self) -> str:
        """The first failures, one a line."""
        shown = [str(request) for request in self.failed.requests[:20]]
        return "\n".join([f"{len(self.requests)} requests: {self.counts}", *shown])


# For tests


class Load:
    """A running load of both clients, from the first request of each that was served to the end of the block."""

    def __init__(
        self, cluster: RealCluster, directory: Path, *, rate: int = _RATE, routing: str = "round_robin"
    ) -> None:
        """Create the keyspace (RF 3 in the first datacenter) and write each key once at ALL.

        `directory` gets the records, a file for each client; `rate` is requests per second and client.
        """
        directory.mkdir(parents=True, exist_ok=True)
        node = cluster.node(1)
        queries.create(cluster, [queries.network(KEYSPACE, **{node.datacenter: 3})])
        _hide_nothing(cluster)
        keys = queries.Keys(each=_KEYS)
        pieces = [[key.hex() for _, key in keys.of(piece)[:_KEYS]] for piece in _ring(cluster)]
        _preload(cluster, [key for piece in pieces for key in piece])
        self._pieces = len(pieces)
        self._files = {client: directory / f"{client}.jsonl" for client in CLIENTS}
        self._plan = directory / "plan.json"
        self._plan.write_text(
            json.dumps(
                {
                    "addresses": [node.address for node in cluster.members],
                    "protocol_version": 5 if release_key(node.release) >= (4, 0) else 4,
                    "pieces": pieces,
                    "rate": rate,
                    "routing": routing,
                }
            )
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Start the clients and wait until each was served."""
        for client, file in self._files.items():
            command = [sys.executable, "-m", "tests.cassandra.load", str(self._plan), client, str(file)]
            self._processes[client] = subprocess.Popen(command, cwd=_REPOSITORY, stdin=subprocess.PIPE)
        try:
            self._wait_served()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clients; requests in progress are recorded when they end."""
        self.check()
        self._stop()

    def check(self) -> None:
        """Raise `ClusterError` if a client has ended."""
        if ended := [client for client, process in self._processes.items() if process.poll() is not None]:
            raise ClusterError(f"the load has ended by itself: {', '.join(ended)}")

    def traffic(self) -> Traffic:
        """All requests that have ended so far."""
        requests = [Request(**line) for file in self._files.values() for line in _lines(file)]
        return Traffic(tuple(sorted(requests, key=lambda request: request.ended)), self._pieces)

    def until(self, done: Callable[[Traffic], bool], seconds: float = 120) -> Traffic:
        """Wait until the traffic so far is as wanted; `ClusterError` with the traffic on a timeout."""
        deadline = time.monotonic() + seconds
        while not done(found := self.traffic()):
            self.check()
            if time.monotonic() > deadline:
                raise ClusterError(f"not within {seconds} s\n{found}")
            time.sleep(0.5)
        return found

    def _wait_served(self) -> None:
        self.until(lambda found: all(SERVED in found.of(client).counts for client in CLIENTS), _CONNECT_SECONDS)

    def _stop(self) -> None:
        for process in self._processes.values():
            assert process.stdin
            process.stdin.close()
        for process in self._processes.values():
            process.wait(_CLIENT_SECONDS * 2)


def _ring(cluster: RealCluster) -> list[Piece]:
    return queries.pieces(cluster.node(1), KEYSPACE)


def _hide_nothing(cluster: RealCluster) -> None:
    """Switch off speculative retry: it would hide the timeout of a read whose first replica is silent."""
    with cluster.session(1, timeout=60) as session:
        session.execute(f"ALTER TABLE {KEYSPACE}.t WITH speculative_retry = 'NONE'")


def _preload(cluster: RealCluster, keys: Iterable[str]) -> None:
    with cluster.session(1) as session:
        wanted = [(_statement(key, "ALL", "write"), None) for key in keys]
        execute_concurrent(session, wanted, concurrency=16)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Complete lines: the last line may be incomplete."""
    for line in file.read_text().splitlines(keepends=True) if file.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)


# In the process of a client


class RetryNext(FallthroughRetryPolicy):  # type: ignore[misc]  # of the untyped driver
    """Retries on another node if the coordinator has stopped or is starting; never after Unavailable or a timeout."""

    def on_request_error(self, query: object, consistency: object, error: object, retry_num: int) -> Any:
        """Called for broken connections, Overloaded (as which a node shuts down), IsBootstrapping, ServerError."""
        del query, retry_num
        return (self.RETRY_NEXT_HOST, consistency) if kind_of(error) in BROKEN else (self.RETHROW, None)


def kind_of(error: object) -> str:
    """The outcome of a request that raised an exception, as `Request` names it."""
    code = getattr(error, "code", None)
    if code == _OVERLOADED:
        return "shutting_down" if "shutting down" in str(error).lower() else "overloaded"
    if code == _BOOTSTRAPPING:
        return "bootstrapping"
    named = {
        Unavailable: "unavailable",
        ReadTimeout: "read_timeout",
        WriteTimeout: "write_timeout",
        OperationTimedOut: "client_timeout",
        NoHostAvailable: "no_host",
        ConnectionException: "connection",
    }
    return next((name for known, name in named.items() if isinstance(error, known)), type(error).__name__)


def _statement(key: str, level: str, operation: str) -> SimpleStatement:
    # Not prepared: the driver prepares a statement again on a restarted node, and a failure of that is raised even if
    # the client tries the next host (`ResponseFuture._execute_after_prepare`).
    text = (
        f"SELECT v FROM {KEYSPACE}.t WHERE k = 0x{key}"  # noqa: S608 - our own names and hex digits
        if operation == "read"
        else f"INSERT INTO {KEYSPACE}.t (k, v) VALUES (0x{key}, 1)"  # noqa: S608 - as above
    )
    return SimpleStatement(
        text,
        consistency_level=ConsistencyLevel.name_to_value[level],
        routing_key=bytes.fromhex(key),
        keyspace=KEYSPACE,
        is_idempotent=True,
    )


class _Client:
    """Sends and records requests until it is stopped."""

    def __init__(self, name: str, plan: dict[str, Any], sink: TextIOWrapper) -> None:
        self._name = name
        self._plan = plan
        self._sink = sink
        self._lock = threading.Lock()
        self._open: dict[object, tuple[Any, ...]] = {}

    def run(self, stop: threading.Event) -> None:
        driver = _driver(self._plan, RetryNext() if self._name == "retry_next" else FallthroughRetryPolicy())
        try:
            session = driver.connect()
            begin = time.monotonic()
            for number, asked in enumerate(self._asked()):
                if stop.wait(max(0.0, begin + number / self._plan["rate"] - time.monotonic())):
                    break
                self._send(session, *asked)
            self._await_open()
        finally:
            driver.shutdown()

    def _asked(self) -> Iterator[tuple[int, str, str, str]]:
        """Range, key, level and operation of each request: all combinations in random order, repeated for ever."""
        chance = random.Random(self._name)  # noqa: S311 - the same order in each run
        pieces: Sequence[Sequence[str]] = self._plan["pieces"]
        everything = list(product(range(len(pieces)), LEVELS, OPERATIONS))
        while True:
            chance.shuffle(everything)
            for piece, level, operation in everything:
                yield piece, chance.choice(pieces[piece]), level, operation

    def _send(self, session: Any, piece: int, key: str, level: str, operation: str) -> None:
        asked = (time.time(), piece, level, operation)
        future = session.execute_async(_statement(key, level, operation))
        with self._lock:
            self._open[future] = asked
        # It is called at once if the request has already ended.
        future.add_callbacks(self._served, self._failed, callback_args=(future,), errback_args=(future,))

    def _served(self, rows: Any, future: Any) -> None:
        lost = self._open[future][3] == "read" and not rows
        self._end(future, "lost" if lost else SERVED, "no row" if lost else "")

    def _failed(self, error: object, future: Any) -> None:
        self._end(future, kind_of(error), str(error))

    def _end(self, future: Any, outcome: str, detail: str) -> None:
        with self._lock:
            asked = self._open.pop(future, None)
        if asked:
            host = None if outcome == "no_host" else future._current_host
            self._record(asked, host.address if host else "", len(future.attempted_hosts), outcome, detail)

    def _record(self, asked: tuple[Any, ...], coordinator: str, tries: int, outcome: str, detail: str) -> None:
        sent, piece, level, operation = asked
        request = Request(self._name, sent, time.time(), piece, level, operation, coordinator, tries, outcome, detail)
        with self._lock:
            self._sink.write(json.dumps(asdict(request)) + "\n")

    def _await_open(self) -> None:
        """Wait for requests in progress; those without an answer after that are recorded as unanswered."""
        deadline = time.monotonic() + _CLIENT_SECONDS
        while self._open and time.monotonic() < deadline:
            time.sleep(0.05)
        for future in list(self._open):
            self._end(future, "unanswered", "")


def _driver(plan: dict[str, Any], retry: FallthroughRetryPolicy) -> Cluster:
    policy: LoadBalancingPolicy = ROUTINGS[plan["routing"]]()
    profile = ExecutionProfile(load_balancing_policy=policy, retry_policy=retry, request_timeout=_CLIENT_SECONDS)
    return Cluster(
        plan["addresses"],
        port=CQL_PORT,
        protocol_version=plan["protocol_version"],
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ConstantReconnectionPolicy(1, max_attempts=None),
        connect_timeout=10,
        control_connection_timeout=10,
    )


def main(plan: str, client: str, file: str) -> None:
    """Run a client until standard input ends, which also happens when the process that started this one dies."""
    stop = threading.Event()

    def await_end() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=await_end, daemon=True).start()
    with Path(file).open("w", buffering=1) as sink:
        _Client(client, json.loads(Path(plan).read_text()), sink).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
