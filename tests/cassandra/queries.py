"""The CQL oracle: outcomes of real queries to a coordinator, range by range, compared with predictions.

Every range of every keyspace is queried at every level, read and write, with keys whose tokens are in it, through one
coordinator and without retries. Shares no code with ringcheck: ranges and pending ranges come from the harness's own
Jolokia helper, tokens from the driver, predictions from the document that `ringcheck health --format json` prints.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cassandra import (
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    ReadFailure,
    ReadTimeout,
    Unavailable,
    WriteFailure,
    WriteTimeout,
)
from cassandra.cluster import NoHostAvailable
from cassandra.concurrent import execute_concurrent
from cassandra.metadata import Murmur3Token
from cassandra.protocol import ErrorMessage
from cassandra.query import SimpleStatement

from ringcheck import cli
from ringcheck.core.policy import Severity
from tests.cassandra.cluster import wait_until
from tests.cassandra.launch import release_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.cassandra.cluster import RealCluster, RealNode

Operation: TypeAlias = Literal["read", "write"]
Outcome: TypeAlias = Literal["served", "unavailable", "timeout", "invalid", "failed"]

# Cassandra's own levels; LOCAL_ALL is ringcheck's.
LEVELS = (
    "ANY",
    "ONE",
    "TWO",
    "THREE",
    "QUORUM",
    "ALL",
    "LOCAL_ONE",
    "LOCAL_QUORUM",
    "EACH_QUORUM",
    "SERIAL",
    "LOCAL_SERIAL",
)
SERIAL = frozenset({"SERIAL", "LOCAL_SERIAL"})

# Milliseconds. A query that is certain to time out takes this long; any other query must be faster, also on a busy
# machine. Since 4.1 these are old names, still accepted, of keys without `_in_ms`.
TIMEOUTS = {
    "read_request_timeout_in_ms": 2000,
    "write_request_timeout_in_ms": 2000,
    "cas_contention_timeout_in_ms": 2000,
}
_IN_FLIGHT = 48
_CAS_WRITE_UNKNOWN = 0x1700  # 4.0+: a proposal that some replicas accepted timed out; the driver has no class for it
_KEYS = 96  # known for each range
_SHARED = 4  # of these are for all but conditional writes, which contend for a key with anything serial
_POOL = 2**18


@dataclass(frozen=True, slots=True)
class Keyspace:
    """A keyspace with one table `t (k blob PRIMARY KEY, v int)`."""

    name: str
    strategy: str
    factors: dict[str, int]

    @property
    def replication(self) -> dict[str, str | int]:
        """The replication as CQL and ringcheck's configuration write it."""
        return {"class": self.strategy, **self.factors}


def simple(factor: int) -> Keyspace:
    """`simple_FACTOR`."""
    return Keyspace(f"simple_{factor}", "SimpleStrategy", {"replication_factor": factor})


def network(name: str, **factors: int) -> Keyspace:
    """NetworkTopologyStrategy."""
    return Keyspace(name, "NetworkTopologyStrategy", factors)


def create(cluster: RealCluster, keyspaces: Iterable[Keyspace]) -> None:
    """Create the keyspaces and tables that do not exist yet, and wait until all nodes have them."""
    with cluster.session(next(node for node in cluster.members if node.running), timeout=60) as session:
        session.cluster.max_schema_agreement_wait = 0  # a single wait at the end instead of one for each statement
        for keyspace in keyspaces:
            replication = json.dumps(keyspace.replication).replace('"', "'")
            session.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace.name} WITH replication = {replication}")
            session.execute(f"CREATE TABLE IF NOT EXISTS {keyspace.name}.t (k blob PRIMARY KEY, v int)")

    def lacking() -> str:
        versions = {node.read("SchemaVersion") for node in cluster.members if node.running}
        return ", ".join(sorted(versions)) if len(versions) > 1 else ""

    wait_until(lacking, 60, "several schema versions:", cluster)


# Tokens and keys

Piece: TypeAlias = tuple[int, int]
"""A range `(start, end]`, or a part of one."""


def contains(piece: Piece, token: int) -> bool:
    """Whether a range, which may wrap, contains a token."""
    start, end = piece
    return start < token <= end if start < end else token > start or token <= end


def pieces(node: RealNode, keyspace: str) -> list[Piece]:
    """The natural ranges of a keyspace, cut at the borders of its pending ranges, as a node reports both."""
    spans = [*node.exec("getRangeToEndpointMap", keyspace), *node.exec("getPendingRangeToEndpointMap", keyspace)]
    cuts = sorted({token for text in spans for token in span(text)})
    return [(cuts[index - 1], end) for index, end in enumerate(cuts)]


def span(text: str) -> Piece:
    """A range as Cassandra's maps of ranges write it: `[start, end]`."""
    start, end = text.strip("[]").split(", ")
    return int(start), int(end)


class Keys:
    """Partition keys by token; those nearest to the borders of a range come first."""

    def __init__(self, each: int = _KEYS) -> None:
        """Hash the first keys; each range gets at least `each` keys."""
        self._each = each
        self._numbers = count()
        pool = (self._next() for _ in range(_POOL))
        self._pool = sorted(pool)
        self._tokens = [token for token, _ in self._pool]
        self._found: dict[Piece, list[tuple[int, bytes]]] = {}
        self._unused: dict[tuple[str, Piece], Iterator[tuple[int, bytes]]] = {}

    def _next(self) -> tuple[int, bytes]:
        key = struct.pack(">q", next(self._numbers))
        return Murmur3Token.hash_fn(key), key

    def of(self, piece: Piece) -> list[tuple[int, bytes]]:
        """Tokens and keys of a piece: first, last, second, last but one ..."""
        if piece not in self._found:
            self._found[piece] = self._search(piece)
        return self._found[piece]

    def unused(self, keyspace: str, piece: Piece) -> tuple[int, bytes]:
        """A key that no conditional write of this keyspace has used."""
        left = self._unused.setdefault((keyspace, piece), iter(self.of(piece)[_SHARED:]))
        return next(left)

    def _search(self, piece: Piece) -> list[tuple[int, bytes]]:
        start, end = piece
        first, last = bisect_right(self._tokens, start), bisect_right(self._tokens, end)
        inside = self._pool[first:last] if start < end else self._pool[first:] + self._pool[:last]
        while len(inside) < self._each:  # a narrow piece
            key = self._next()
            if contains(piece, key[0]):
                inside.append(key)
        ends = chain.from_iterable(zip(inside, reversed(inside), strict=True))
        return list(islice(dict.fromkeys(ends), self._each))


# Queries


@dataclass(frozen=True, slots=True)
class Query:
    """A query, without its coordinator."""

    keyspace: str
    piece: Piece
    level: str
    operation: Operation
    token: int
    key: bytes

    @property
    def statement(self) -> SimpleStatement:
        """The statement for the driver."""
        level = ConsistencyLevel.name_to_value[self.level]
        key = f"0x{self.key.hex()}"
        if self.operation == "read":
            text = f"SELECT v FROM {self.keyspace}.t WHERE k = {key}"  # noqa: S608 - our own names and hex digits
            return SimpleStatement(text, consistency_level=level)
        insert = f"INSERT INTO {self.keyspace}.t (k, v) VALUES ({key}, 1)"  # noqa: S608 - as above
        if self.level not in SERIAL:
            return SimpleStatement(insert, consistency_level=level)
        # Committed at ANY, so that only the Paxos round can fail.
        any_ = ConsistencyLevel.ANY
        return SimpleStatement(f"{insert} IF NOT EXISTS", consistency_level=any_, serial_consistency_level=level)


def queries(keyspace: str, where: Iterable[Piece], keys: Keys, levels: Iterable[str] = LEVELS) -> Iterator[Query]:
    """Every level and operation on every piece, alternating between its two ends."""
    asked = [(level, operation) for level in levels for operation in _OPERATIONS]
    for piece in where:
        shared = keys.of(piece)[:_SHARED]
        for index, (level, operation) in enumerate(asked):
            fresh = level in SERIAL and operation == "write"
            token, key = keys.unused(keyspace, piece) if fresh else shared[index % len(shared)]
            yield Query(keyspace, piece, level, operation, token, key)


_OPERATIONS: tuple[Operation, ...] = ("read", "write")


def ask(session: Any, wanted: Sequence[Query]) -> list[Outcome]:
    """The outcome of each query; an error that is not one of the known outcomes is raised."""
    statements = [(query.statement, None) for query in wanted]
    results = execute_concurrent(session, statements, concurrency=_IN_FLIGHT, raise_on_first_error=False)
    return [_outcome(found) for _, found in results]


def _outcome(found: object) -> Outcome:
    if isinstance(found, Unavailable):
        return "unavailable"
    if isinstance(found, ReadTimeout | WriteTimeout) or getattr(found, "code", None) == _CAS_WRITE_UNKNOWN:
        return "timeout"
    if isinstance(found, InvalidRequest):
        return "invalid"
    if isinstance(found, ReadFailure | WriteFailure):
        return "failed"
    if isinstance(found, Exception):
        raise found
    return "served"


# Predictions


def ringcheck(*arguments: str) -> tuple[int, str]:
    """Exit code of a command line, and its standard output; its standard error if it printed nothing else."""
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        code = cli.run(arguments)
    return code, output.getvalue() or errors.getvalue()


def judged(node: RealNode, *arguments: str, config: Path | None = None, seconds: int = 30) -> dict[str, Any]:
    """The document of `ringcheck health --format json`, with a node as contact point or with a configuration."""
    through = ("--proxy", node.cluster.proxy_url) if node.cluster.record.jolokia == "none" else ()
    target = ("-C", str(config)) if config else ("-H", node.address, *through)
    code, text = ringcheck("health", *target, "-t", f"{seconds}s", "--format", "json", *arguments)
    assert text.startswith("{"), text
    document: dict[str, Any] = json.loads(text)
    assert code == Severity[document["severity"]].exit_code
    return document


def configuration(cluster: RealCluster, keyspaces: Iterable[Keyspace], directory: Path) -> Path:
    """A configuration file that states the replication, for releases that do not report it (before 3.11.11)."""
    file = directory / "ringcheck.yaml"
    replication = {one.name: one.replication for one in keyspaces}
    lab = {"jolokia": cluster.asked_at(*cluster.members), "replication": replication}
    file.write_text(json.dumps({"clusters": {"lab": lab}}))
    return file


class Prediction:
    """The verdict document of one view, as a prediction for single queries."""

    def __init__(self, document: dict[str, Any], coordinator: RealNode) -> None:
        """Read the part that concerns a coordinator's clients."""
        self.document = document
        self._lost: dict[tuple[str, str, str], list[Piece]] = {}
        for keyspace in document["keyspaces"]:
            for level in keyspace["levels"]:
                if level["datacenter"] in {None, coordinator.datacenter}:
                    self._learn(keyspace["name"], level)

    def _learn(self, keyspace: str, level: dict[str, Any]) -> None:
        assert level["by_operation"] is not None, f"{keyspace} can't be judged at {level['level']}"
        for operation in level["by_operation"]:
            lost = level["unavailable_ranges"][operation]
            self._lost[keyspace, level["level"], operation] = [(int(start), int(end)) for start, end in lost]

    def of(self, query: Query) -> Outcome:
        """The predicted outcome of a query: Cassandra refuses an operation that the level does not list."""
        lost = self._lost.get((query.keyspace, query.level, query.operation))
        if lost is None:
            return "invalid"
        return "unavailable" if any(contains(piece, query.token) for piece in lost) else "served"


@dataclass(slots=True)
class Comparison:
    """The results of comparing queries with predictions.

    Attributes:
        outcomes: number of queries by outcome.
        differences: one line each.
        noise: queries that were repeated, with both outcomes.
        unserved: ranges with a read that was not served, by keyspace and level.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    unserved: defaultdict[tuple[str, str], set[Piece]] = field(default_factory=lambda: defaultdict(set))

    @property
    def compared(self) -> int:
        """The number of outcomes."""
        return self.outcomes.total()

    def add(self, other: Comparison) -> None:
        """Add the results of another comparison."""
        self.outcomes += other.outcomes
        self.differences += other.differences
        self.noise += other.noise


COUNTED: Counter[str] = Counter()
"""What was asked without being compared one by one."""

LEDGER: list[tuple[str, str, Comparison]] = []
"""Release, state and comparison of all that was asked in this session; the test run ends with a table of it."""


def agrees(predicted: Outcome, observed: Outcome) -> bool:
    """Whether an outcome is the predicted one; a certain timeout counts as unavailable."""
    return observed == predicted or (predicted == "unavailable" and observed == "timeout")


def compare(
    coordinator: RealNode,
    keyspaces: Iterable[Keyspace],
    prediction: Prediction,
    keys: Keys,
    levels: Iterable[str] = LEVELS,
) -> Comparison:
    """Send one coordinator all queries, and compare the outcomes with the predictions."""
    wanted = [query for one in keyspaces for query in queries(one.name, pieces(coordinator, one.name), keys, levels)]
    found = Comparison()
    with _logs_if_it_fails(coordinator.cluster), coordinator.cluster.session(coordinator) as session:
        for query, observed in zip(wanted, ask(session, wanted), strict=True):
            predicted = prediction.of(query)
            if observed == "failed" or (observed == "timeout" and predicted == "served"):
                observed = _again(session, query, observed, found)  # noqa: PLW2901 - the second answer counts
            found.outcomes[observed] += 1
            if query.operation == "read" and observed != "served":
                found.unserved[query.keyspace, query.level].add(query.piece)
            if not agrees(predicted, observed):
                found.differences.append(_line(query, coordinator, predicted, observed))
    return found


@contextmanager
def _logs_if_it_fails(cluster: RealCluster) -> Iterator[None]:
    """Add the nodes' logs to the error of a query with an unknown outcome."""
    try:
        yield
    except (DriverException, ErrorMessage) as error:
        raise AssertionError(f"{error!r}\n{cluster.log_tails(100)}") from error


def _again(session: Any, query: Query, first: Outcome, found: Comparison) -> Outcome:
    """Whether to repeat a query: it was predicted to be served, and timed out or failed, perhaps on a busy machine."""
    (observed,) = ask(session, [query])
    found.noise.append(f"{query.keyspace} {query.level} {query.operation}: {first}, then {observed}")
    return observed


def _line(query: Query, coordinator: RealNode, predicted: Outcome, observed: Outcome) -> str:
    where = f"{query.keyspace} {query.piece} token {query.token}"
    who = f"{coordinator.address} ({coordinator.datacenter}, {coordinator.release})"
    return f"{where}: {query.level} {query.operation} through {who}: predicted {predicted}, observed {observed}"


class Lab:
    """A cluster with keyspaces, compared state by state."""

    def __init__(self, cluster: RealCluster, keyspaces: Sequence[Keyspace], directory: Path) -> None:
        """Create the keyspaces.

        `directory` gets the configuration with their replication, for releases that do not report it (before 3.11.11).
        """
        self.cluster = cluster
        self.keyspaces = keyspaces
        self.release = cluster.record.nodes[0].release
        self._keys = Keys()
        create(cluster, keyspaces)
        numbers = self.release.partition("-")[0].split(".")
        tells = tuple(map(int, numbers)) >= (3, 11, 11)
        self._config = None if tells else configuration(cluster, keyspaces, directory)

    def node(self, number: int) -> RealNode:
        """A node by its number."""
        return self.cluster.node(number)

    def lose(self, *numbers: int, hard: bool = False) -> None:
        """Stop nodes (by SIGTERM, or SIGKILL if `hard`) and wait until every other node has noticed."""
        for number in numbers:
            self.node(number).kill() if hard else self.node(number).terminate()
        for number in numbers:
            self.cluster.wait_down(self.node(number), stable=2)

    def bring_back(self, *numbers: int) -> None:
        """Start nodes and wait until all running nodes see each other."""
        for number in numbers:
            self.node(number).start()
        self.cluster.wait_all_up([node for node in self.cluster.members if node.running])

    def begin_to_join(self, datacenter: str, rack: str, ring_delay_ms: int) -> None:
        """Start a node that joins during all queries: for its ring delay, or from 6.0 on by surveying writes."""
        survey = ["-Dcassandra.write_survey=true"] if release_key(self.release) >= (6, 0) else []
        self.cluster.bootstrap(datacenter, rack, ring_delay_ms=ring_delay_ms, jvm_options=survey)

    def begin_to_leave(self, number: int) -> None:
        """Decommission a node and wait until it is leaving, which takes at least its ring delay (before 6.0)."""
        node = self.node(number)
        leaving = node.decommission(force=self.release >= "4")

        def lacking() -> str:
            if leaving.done():
                leaving.result()
            mode: str = node.read("OperationMode")
            return "" if mode == "LEAVING" else mode

        wait_until(lacking, 60, f"{node} does not leave:", self.cluster)

    def compare(self, state: str, *coordinators: int) -> None:
        """Send each coordinator every query, and fail with all outcomes that were not predicted."""
        found = Comparison()
        for number in coordinators:
            found.add(self._compare(self.node(number)))
        LEDGER.append((self.release, state, found))
        shown = "\n".join(found.differences[:20])
        assert not found.differences, f"{state}: {len(found.differences)} of {found.compared} differ\n{shown}"

    def _compare(self, coordinator: RealNode) -> Comparison:
        """A comparison with a prediction that was the same before and after the queries."""
        for _ in range(_ATTEMPTS):
            before = self.predicted(coordinator)
            found = compare(coordinator, self.keyspaces, Prediction(before, coordinator), self._keys)
            after = self.predicted(coordinator)
            if _substance(before) == _substance(after):
                return found
        raise AssertionError(f"the cluster did not stand still: {_substance(before)}, then {_substance(after)}")

    def predicted(self, coordinator: RealNode) -> dict[str, Any]:
        """The prediction for all keyspaces by one coordinator's view."""
        names = [keyspace.name for keyspace in self.keyspaces]
        wanted = ("--level", "all", "--ranges", "--view", coordinator.address, *names)
        return judged(coordinator, *wanted, config=self._config)


def refusal(node: RealNode, statement: str, level: int) -> str:
    """Why a coordinator does not serve a statement at a level; empty if it does."""
    with node.cluster.session(node) as session:
        try:
            session.execute(SimpleStatement(statement, consistency_level=level))
        except (NoHostAvailable, Unavailable) as error:
            return repr(error)
    return ""


_ATTEMPTS = 3


def _substance(document: dict[str, Any]) -> object:
    return document["views"], document["keyspaces"]
