"""A small cluster: a test can change everything that its nodes answer before they are asked."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests import fake_jolokia
from tests.fake_jolokia import Storage, missing_mbean, ok, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

    from ringcheck.core.ring import Snapshot
    from ringcheck.errors import RingcheckError

LISTS = ("LiveNodes", "UnreachableNodes", "JoiningNodes", "LeavingNodes", "MovingNodes")
SNITCH = "org.apache.cassandra.db:type=EndpointSnitchInfo"
CREDENTIALS = "org.apache.cassandra.auth:type=CredentialsCache"
STREAM_MANAGER = "org.apache.cassandra.net:type=StreamManager"
FAILURE_DETECTOR = "org.apache.cassandra.net:type=FailureDetector"
PAXOS_VARIANT = ("org.apache.cassandra.db:type=StorageProxy", "PaxosVariant")
STEP = 2**60
ONE, TWO, THREE = "127.0.2.1", "127.0.2.2", "127.0.2.3"
TWO_RINGS = {"orders": "NetworkTopologyStrategy {dc1=3}", "bills": "NetworkTopologyStrategy {dc1=2}"}
OK = ("ok", None)  # outcome and reason of a usable view


@dataclass
class Lab:
    """Nodes 127.0.2.1 ... with two tokens each, in dc1, every third in another rack.

    Attributes:
        count: how many.
        release: of all of them.
        keyspaces: replication text by keyspace; the first number in it is how many replicas a range has.
        endpoints: how a node is written with its port, if not as `address:7000`.
        nodes: the answers of each; change them before asking.
    """

    count: int = 3
    release: str = "5.0.8"
    keyspaces: dict[str, str] = field(default_factory=lambda: {"orders": "NetworkTopologyStrategy {dc1=3}"})
    subnet: str = "127.0.2"
    cluster: str = "lab"
    endpoints: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Storage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.addresses = [f"{self.subnet}.{number}" for number in range(1, self.count + 1)]
        for number, address in enumerate(self.addresses):
            self.nodes[address] = Storage(self._attributes(number, address), self._operations(), self._others(address))

    @property
    def modern(self) -> bool:
        return int(self.release.split(".")[0]) >= 4

    def endpoint(self, address: str) -> str:
        return self.endpoints.get(address, f"{address}:7000")

    def host_id(self, address: str) -> str:
        return f"00000000-0000-0000-0000-{int(address.rsplit('.', 1)[1]):012d}"

    @property
    def tokens(self) -> dict[int, str]:
        """Owner by token: all nodes once, then all nodes a second time."""
        owners = [*self.addresses, *self.addresses]
        return {-(2**62) + STEP * place // self.count: owner for place, owner in enumerate(owners)}

    def ranges(self, replicas: int, *, with_port: bool) -> dict[str, list[str]]:
        """A range map: each range is held by the owner of its end and the nodes after it."""
        tokens = sorted(self.tokens)
        ranges = {}
        for position, end in enumerate(tokens):
            replicas_of = [self.addresses[(position + step) % self.count] for step in range(min(replicas, self.count))]
            ranges[f"[{tokens[position - 1]}, {end}]"] = [
                self.endpoint(item) if with_port else item for item in replicas_of
            ]
        return ranges

    def _attributes(self, number: int, address: str) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "ClusterName": self.cluster,
            "ReleaseVersion": self.release,
            "PartitionerName": "org.apache.cassandra.dht.Murmur3Partitioner",
            "LocalHostId": self.host_id(address),
            "OperationMode": "NORMAL",
            "GossipRunning": True,
            "NativeTransportRunning": True,
            "CurrentGenerationNumber": 1795236945 + number,
            "SchemaVersion": "6d2eef77-47ed-36a9-86d3-0c01cb6eff96",
            "Keyspaces": ["system", *self.keyspaces],
            "NonLocalStrategyKeyspaces": list(self.keyspaces),
        }
        for suffix in ("", "WithPort")[: 1 + self.modern]:
            written = {item: self.endpoint(item) if suffix else item for item in self.addresses}
            ids = {written[item]: self.host_id(item) for item in self.addresses}
            attributes |= {name + suffix: [] for name in LISTS}
            attributes[f"LiveNodes{suffix}"] = list(written.values())
            attributes[f"Endpoint{suffix}ToHostId"] = ids
            attributes[f"TokenToEndpoint{suffix}Map"] = {
                str(token): written[owner] for token, owner in self.tokens.items()
            }
        return attributes

    def _operations(self) -> dict[tuple[str, ...], Any]:
        operations: dict[tuple[str, ...], Any] = {}
        for keyspace, replication in self.keyspaces.items():
            replicas = int(next(char for char in replication.partition("=")[2] or "1" if char.isdigit()))
            operations["getKeyspaceReplicationInfo", keyspace] = replication
            for suffix in ("", "WithPort")[: 1 + self.modern]:
                operations[f"getRangeToEndpoint{suffix}Map", keyspace] = self.ranges(replicas, with_port=bool(suffix))
                operations[f"getPendingRangeToEndpoint{suffix}Map", keyspace] = {}
        for number, address in enumerate(self.addresses):
            for written in (address, self.endpoint(address))[: 1 + self.modern]:
                operations["getDatacenter", written] = "dc1"
                operations["getRack", written] = f"r{number % 3 + 1}"
        return operations

    def _others(self, address: str) -> dict[tuple[str, str], Any]:
        variants = {PAXOS_VARIANT: "v1"} if self.release >= "4.1" else {}
        return {(CREDENTIALS, "Validity"): missing_mbean, **variants, **self._detector(address)}

    def _detector(self, address: str) -> dict[tuple[str, str], Any]:
        """The failure detector of a node, which agrees with the node's lists."""

        def listed(name: str) -> list[str]:
            members = self.nodes[address].attributes.get(name)
            return members if isinstance(members, list) else []

        def states(suffix: str) -> dict[str, str]:
            live = {f"/{item}": "UP" for item in listed(f"LiveNodes{suffix}")}
            return live | {f"/{item}": "DOWN" for item in listed(f"UnreachableNodes{suffix}")}

        answers: dict[tuple[str, str], Any] = {
            (FAILURE_DETECTOR, "DownEndpointCount"): lambda item: ok(item, len(listed("UnreachableNodes"))),
            (FAILURE_DETECTOR, "SimpleStates"): lambda item: ok(item, states("")),
        }
        if self.modern:
            answers[FAILURE_DETECTOR, "SimpleStatesWithPort"] = lambda item: ok(item, states("WithPort"))
        return answers

    def set_all(self, name: str, value: Any) -> None:
        """Set an answer for all nodes."""
        for node in self.nodes.values():
            node.attributes[name] = value

    def lists(self, address: str, name: str, members: list[str]) -> None:
        """Set a list of one node, such as LiveNodes."""
        node = self.nodes[address]
        node.attributes[name] = members
        if self.modern:
            node.attributes[f"{name}WithPort"] = [self.endpoint(item) for item in members]

    def knows(self, address: str, ids: dict[str, str]) -> None:
        """The host ids that one node knows, by address."""
        attributes = self.nodes[address].attributes
        attributes["EndpointToHostId"] = ids
        attributes["EndpointWithPortToHostId"] = {self.endpoint(member): ids[member] for member in ids}

    def down(self, *gone: str) -> None:
        """Make all nodes see some nodes as unreachable."""
        for address in self.addresses:
            self.lists(address, "LiveNodes", [item for item in self.addresses if item not in gone])
            self.lists(address, "UnreachableNodes", list(gone))

    @contextmanager
    def running(
        self, *contacts: str, without: tuple[str, ...] = (), hanging: tuple[str, ...] = (), **settings: Any
    ) -> Iterator[Running]:
        """The cluster served, and a source for it (of the first node, if no contact point is named)."""
        answers = {address: None if address in without else node for address, node in self.nodes.items()}
        with fake_jolokia.cluster(dict(answers), hanging) as cluster:
            options: dict[str, Any] = {"url": cluster.template, "timeout": 2.0} | settings
            running = Running(
                self,
                cluster,
                JolokiaSource(JolokiaSettings(contact_points=contacts or (self.addresses[0],), **options)),
            )
            try:
                yield running
            finally:
                running.source.close()


@dataclass
class Running:
    """A served cluster and its source."""

    lab: Lab
    cluster: fake_jolokia.Cluster
    source: JolokiaSource

    def poll(self, seconds: float = 4.0) -> Snapshot:
        return self.source.poll(seconds)


def refuse_if(agent: fake_jolokia.Agent, matches: Callable[[bytes], bool], status: int, text: bytes = b"") -> None:
    """Make an agent refuse the requests whose body matches, and answer the others as before."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if matches(body):
            send(handler, text, status=status, content_type="text/plain")
        else:
            agent.raw = None
            agent._serve(handler, body)
            agent.raw = answer

    agent.raw = answer


def later(*values: Any) -> Any:
    """An answer that changes from call to call, and then stays at the last value."""
    left = list(values)

    def answer(item: dict[str, Any]) -> Any:
        return ok(item, left.pop(0) if len(left) > 1 else left[0])

    return answer


def asked_of(running: Running, address: str, since: int = 0) -> list[str]:
    """Names of the attributes and operations that an agent was asked for; a list of names is one text."""
    items = [
        item
        for payload in running.cluster.agents[address].payloads[since:]
        for item in (payload if isinstance(payload, list) else [payload])
    ]
    return [str(item.get("operation") or item.get("attribute")) for item in items]


def poll_outcomes(running: Running) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of each view in a new poll, by observer."""
    return {view.observer: (view.outcome, view.reason) for view in running.poll().views}


def error_of(running: Running, kind: type[RingcheckError]) -> str:
    """The text of the error that a poll raises, without ports."""
    with pytest.raises(kind) as caught:
        running.poll()
    return str(caught.value).replace(running.cluster.template.partition("}")[2], "")


def unavailable(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    """A handler that answers HTTP 503."""
    send(handler, b"", status=503)


def rings_read(running: Running) -> int:
    """How often range maps were asked for."""
    return sum("getRangeToEndpoint" in str(item.get("operation")) for item in running.cluster.items())
