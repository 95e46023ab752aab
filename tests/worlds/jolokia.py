"""The answers of a world's agents, in the form of Jolokia 1.7.2.

It owns the forms of replies: unknown attributes are 404, unknown operations are 400, and an operation that throws an
Error turns the answer to a whole bulk into one object. The content follows from the world.
"""

from __future__ import annotations

import struct
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.worlds.cluster import GAINERS, OWNERS, Endpoint, Keyspace, Node, Ring, Role, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from tests.worlds.world import World

Item: TypeAlias = dict[str, Any]

STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"
SNITCH = "org.apache.cassandra.db:type=EndpointSnitchInfo"
FAILURE_DETECTOR = "org.apache.cassandra.net:type=FailureDetector"
STREAM_MANAGER = "org.apache.cassandra.net:type=StreamManager"
CREDENTIALS_CACHE = "org.apache.cassandra.auth:type=CredentialsCache"
AUTH_PROPERTIES = "org.apache.cassandra.auth:type=AuthProperties"
STORAGE_PROXY = "org.apache.cassandra.db:type=StorageProxy"
RUNTIME = "java.lang:type=Runtime"

CLUSTER = "worlds"
GENERATION = 1795000000  # long before the polls
PARTITIONER = "org.apache.cassandra.dht.Murmur3Partitioner"
LOCAL_KEYSPACES = ("system", "system_schema")


class AnswerError(Exception):
    """A failure that Jolokia reports within HTTP 200."""

    def __init__(self, status: int, kind: str, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.text = text


class CollapseError(AnswerError):
    """A Java Error, which replaces the answer to the whole bulk."""


@lru_cache(maxsize=64)
def generation(release: str) -> tuple[int, ...]:
    """The numbers of a release."""
    return tuple(int(part) for part in release.split("."))


class Answers:
    """The answers of one node."""

    def __init__(self, world: World, node: Node, shuffle: Random | None = None) -> None:
        """Prepare.

        Args:
            world: of the node.
            node: that answers.
            shuffle: orders everything that has no order; None for the order of creation.
        """
        self.world = world
        self.node = node
        self.view = world.views[node.number]
        self._shuffle = shuffle
        self._values: dict[tuple[str, ...], Any] = {}
        self._modern = generation(node.release) >= (4, 0)
        self.ring: Ring = world.ring(node.number)
        self._keyspaces = {keyspace.name: keyspace for keyspace in world.keyspaces_of(node.number)}

    # Names

    def endpoint(self, number: int) -> Endpoint:
        """The endpoint under which this node knows another node."""
        return self.view.book.get(number, self.world.nodes[number].endpoint)

    def _written(self, number: int, *, port: bool) -> str:
        return _text(self.endpoint(number), port=port)

    def _role(self, node: Node) -> Role:
        return self.world.role(node.number, self.node.number)

    def _known(self) -> list[Node]:
        return [node for node in self.world.nodes if node.number in self.view.knows or node is self.node]

    def _lists(self, number: int) -> frozenset[str]:
        """The lists (live, unreachable) in which this node shows another node."""
        if number in self.view.listed:
            return self.view.listed[number]
        up = number == self.node.number or number in self.view.reaches
        return frozenset({"live" if up else "unreachable"})

    def listing(self, name: str) -> list[Endpoint]:
        """The endpoints of the live or the unreachable list."""
        extra = self.view.extra_live if name == "live" else self.view.extra_unreachable
        return [*(self.endpoint(node.number) for node in self._known() if name in self._lists(node.number)), *extra]

    def host_ids(self) -> dict[Endpoint, str]:
        """Host id by endpoint, of members."""
        members = [node for node in self._known() if self._role(node) in OWNERS | GAINERS]
        return {self.endpoint(node.number): node.host_id for node in members if node.number not in self.view.nameless}

    # Attributes

    def attribute(self, name: str) -> Any:
        """An attribute of StorageService.

        Raises:
            AnswerError: if it does not exist in this release.
        """
        plain = name.replace("WithPort", "")
        port = plain != name
        if port and not self._modern:
            raise _no_attribute(name)
        if name in self._simple:
            return self._simple[name]
        written: dict[str, Callable[[], Any]] = {
            "LiveNodes": lambda: self._endpoints("live", port=port),
            "UnreachableNodes": lambda: self._endpoints("unreachable", port=port),
            "JoiningNodes": lambda: self._movers(GAINERS, port=port),
            "LeavingNodes": lambda: self._movers({"leaver", "removed"}, port=port),
            "MovingNodes": list,
            "EndpointToHostId": lambda: self._map_of_ids(port=port),
            "HostIdToEndpoint": lambda: {value: key for key, value in self._map_of_ids(port=port).items()},
            "TokenToEndpointMap": lambda: self._token_map(port=port),
            "Ownership": lambda: self._ownership(port=port),
        }
        if plain not in written:
            raise _no_attribute(name)
        return written[plain]()

    @cached_property
    def _simple(self) -> dict[str, Any]:
        node = self.node
        values = {
            "ClusterName": CLUSTER,
            "ReleaseVersion": node.release,
            "PartitionerName": PARTITIONER,
            "LocalHostId": node.host_id,
            "OperationMode": node.mode,
            "GossipRunning": node.gossip,
            "NativeTransportRunning": node.native,
            "CurrentGenerationNumber": GENERATION + node.number,
            "SchemaVersion": node.schema,
            "Initialized": node.mode != "JOINING",
            "Joined": node.mode not in {"JOINING", "DECOMMISSIONED"},
            "Starting": node.mode == "STARTING",
            "BootstrapMode": node.mode == "JOINING",
            "Drained": node.mode == "DRAINED",
            "Draining": False,
            "Tokens": [str(token) for token in node.tokens],
            "Keyspaces": self._shuffled([*LOCAL_KEYSPACES, *self._keyspaces]),
            "NonLocalStrategyKeyspaces": self._shuffled(self._keyspaces),
            "NonSystemKeyspaces": self._shuffled(name for name in self._keyspaces if not name.startswith("system")),
        }
        if generation(node.release) < (5, 0):
            values["HostIdMap"] = self._map_of_ids(port=False)
        return values

    def _shuffled(self, values: Iterable[Any]) -> list[Any]:
        """The items in the order of this node's answers."""
        mixed = list(values)
        if self._shuffle:
            self._shuffle.shuffle(mixed)
        return mixed

    def _mixed(self, values: dict[str, Any]) -> dict[str, Any]:
        return dict(self._shuffled(values.items()))

    def _endpoints(self, name: str, *, port: bool) -> list[str]:
        return self._shuffled(_text(endpoint, port=port) for endpoint in self.listing(name))

    def _movers(self, roles: Iterable[str], *, port: bool) -> list[str]:
        movers = [node for node in self._known() if self._role(node) in set(roles)]
        return self._shuffled(self._written(node.number, port=port) for node in movers)

    def _map_of_ids(self, *, port: bool) -> dict[str, str]:
        return self._mixed({_text(key, port=port): value for key, value in self.host_ids().items()})

    def _token_map(self, *, port: bool) -> dict[str, str]:
        """Owners by token, including joining nodes: a replacement is shown with the tokens that it takes over."""
        owners = [*self.ring.owners, *self.ring.gainers]
        return self._mixed(
            {str(token): self._written(node.number, port=port) for node in owners for token in node.tokens}
        )

    def _ownership(self, *, port: bool) -> dict[str, float]:
        """The share of the ring of each owner, added up range by range as 32-bit floats."""
        owners = {token: node.number for node in self.ring.owners for token in node.tokens}
        tokens = sorted(owners)
        shares: dict[int, float] = {}
        for before, token in zip([*tokens[-1:], *tokens], tokens, strict=False):
            share = _float32(((token - before) % 2**64 or 2**64) / 2**64)
            shares[owners[token]] = _float32(shares.get(owners[token], 0.0) + share)
        names = {number: self._written(number, port=port) for number in shares}
        return self._mixed({name if port else f"/{name}": shares[number] for number, name in names.items()})

    # Operations

    def operation(self, name: str, arguments: list[Any]) -> Any:
        """The result of an operation of StorageService.

        Raises:
            AnswerError: if this release has no such operation, or it throws.
        """
        plain = name.replace("WithPort", "")
        port = plain != name
        if port and not self._modern:
            raise _no_operation(name)
        if plain == "getRangeToEndpointMap":
            return self._ranges(self.ring.natural(self._keyspace(arguments)), port=port)
        if plain == "getPendingRangeToEndpointMap":
            keyspace = self._keyspaces.get(arguments[0])
            return self._merged(self.ring.pending(keyspace) if keyspace else [], port=port)
        if plain == "getKeyspaceReplicationInfo":
            return self._replication(self._keyspace(arguments))
        raise _no_operation(name)

    def _keyspace(self, arguments: list[Any]) -> Keyspace:
        if arguments[0] not in self._keyspaces:
            text = f"java.lang.AssertionError: Unknown keyspace {arguments[0]}"
            raise CollapseError(500, "javax.management.RuntimeErrorException", text)
        return self._keyspaces[arguments[0]]

    def _ranges(self, spans: list[Span], *, port: bool) -> dict[str, list[str]]:
        if self.node.mode == "STARTING" and (4, 0) <= generation(self.node.release) < (5, 0):
            raise CollapseError(500, "javax.management.RuntimeErrorException", "java.lang.AssertionError")
        shown = spans[1:] if self.view.broken_ring else spans
        return self._mixed(
            {
                f"[{span.start}, {span.end}]": [self._written(number, port=port) for number in span.nodes]
                for span in shown
            }
        )

    def _merged(self, spans: list[Span], *, port: bool) -> dict[str, list[str]]:
        """Pending ranges: one entry for each range, with all nodes that gain it."""
        merged: dict[str, list[str]] = {}
        for span in spans:
            gaining = merged.setdefault(f"[{span.start}, {span.end}]", [])
            gaining += [self._written(number, port=port) for number in span.nodes]
        return self._mixed({key: self._shuffled(dict.fromkeys(value)) for key, value in merged.items()})

    def _replication(self, keyspace: Keyspace) -> str:
        factors = self._shuffled(f"{name}={factor}" for name, factor in keyspace.factors)
        return f"{keyspace.strategy} {{{', '.join(factors)}}}"

    # Other MBeans

    def other(self, mbean: str, name: str) -> Any:
        """An attribute of another MBean.

        Raises:
            AnswerError: if there is no such attribute or MBean.
        """
        release = generation(self.node.release)
        if (mbean, name) == (STREAM_MANAGER, "CurrentStreams"):
            return [{"currentRxBytes": 1}] * self.node.streams
        if (mbean, name) == (RUNTIME, "StartTime"):
            return GENERATION * 1000
        if (mbean, name) == (CREDENTIALS_CACHE, "Validity") and self.world.logs_in(self.node.number):
            return 2000
        if (
            (mbean, name) == (AUTH_PROPERTIES, "ReadConsistencyLevel")
            and self.world.logs_in(self.node.number)
            and self.node.number not in self.world.quiet_nodes
            and release >= (4, 1)
        ):
            return self.world.auth_level_of(self.node.number)
        if (mbean, name) == (STORAGE_PROXY, "PaxosVariant") and release >= (4, 1):
            return "v1"
        if mbean == FAILURE_DETECTOR:
            return self._gossip(name)
        if mbean == STORAGE_PROXY:
            raise _no_attribute(name)
        raise AnswerError(404, "javax.management.InstanceNotFoundException", mbean)

    def _gossip(self, name: str) -> Any:
        port = name.endswith("WithPort")
        if port and not self._modern:
            raise _no_attribute(name)
        known = {self.endpoint(node.number): node for node in self._known()}
        ghosts = [endpoint for endpoint in self.view.extra_unreachable if endpoint not in known]
        up = {self.endpoint(number) for number in (*self.view.reaches, self.node.number)}
        states = {key: "UP" if key in up else "DOWN" for key in (*known, *ghosts)}
        if name == "DownEndpointCount":
            return list(states.values()).count("DOWN")
        if name.startswith("SimpleStates"):
            return self._mixed({f"/{_text(key, port=port)}": state for key, state in states.items()})
        if name.startswith("AllEndpointStates"):
            blocks = [*(self._states(key, node, port=port) for key, node in known.items())]
            blocks += [_ghostly(key, self.node.release, port=port) for key in ghosts]
            return "".join(self._shuffled(blocks))
        raise _no_attribute(name)

    def _states(self, endpoint: Endpoint, node: Node, *, port: bool) -> str:
        """The gossip state of a node, as `AllEndpointStates` writes it."""
        status = {"joiner": "BOOT", "replacement": "BOOT_REPLACE", "leaver": "LEAVING", "removed": "removing"}
        states = [("SCHEMA", node.schema), ("DC", node.datacenter), ("RACK", node.rack)]
        states += [("RELEASE_VERSION", node.release), ("NET_VERSION", "12"), ("RPC_READY", str(node.native).lower())]
        if node.role != "coordinator":
            states.append(
                ("STATUS", f"{status.get(self._role(node), 'NORMAL')},{node.tokens[0] if node.tokens else ''}")
            )
            states.append(("TOKENS", "<hidden>"))
        if node.number not in self.view.nameless:
            states.append(("HOST_ID", node.host_id))
        return _block(endpoint, GENERATION + node.number, states, port=port)

    def location(self, operation: str, arguments: list[Any]) -> str:
        """The snitch's answer.

        Raises:
            AnswerError: if this release does not accept the argument.
        """
        named = {text: node for node in self._known() for text in self._texts(node.number)}
        written = str(arguments[0])
        if operation not in {"getDatacenter", "getRack"}:
            raise AnswerError(
                400, "java.lang.IllegalArgumentException", f"No operation {operation} found on MBean {SNITCH}"
            )
        if not self._modern and (written.startswith("[") or written.count(":") == 1):
            raise AnswerError(500, "java.net.UnknownHostException", f"{written}: invalid IPv6 address")
        node = named.get(_canonical(written))
        return (self._place(node) if node else ("UNKNOWN_DC", "UNKNOWN_RACK"))[operation == "getRack"]

    def _place(self, node: Node) -> tuple[str, str]:
        """Datacenter and rack of a node, as this node's snitch knows them."""
        own = self.world.own_datacenters.get(node.number, node.datacenter) if node is self.node else node.datacenter
        return own, node.rack

    def _texts(self, number: int) -> tuple[str, str]:
        endpoint = self.endpoint(number)
        return endpoint.with_port, endpoint.host

    # Requests

    def answered(self, payload: Any) -> Any:
        """The reply to a payload: a list for a bulk, unless an Error is thrown in it."""
        if not isinstance(payload, list):
            return self._safely(payload)
        try:
            return [self._reply(item) for item in payload]
        except CollapseError as error:
            return _failed(error)

    def _safely(self, item: Item) -> Item:
        try:
            return self._reply(item)
        except CollapseError as error:
            return _failed(error)

    def _reply(self, item: Item) -> Item:
        try:
            return {"request": item, "value": self._value(item), "timestamp": 1795237065, "status": 200}
        except CollapseError:
            raise
        except AnswerError as error:
            return {"request": item, **_failed(error)}

    def _value(self, item: Item) -> Any:
        mbean = item["mbean"]
        if item["type"] == "exec":
            self._permit(item["operation"], f"Operation {item['operation']} forbidden for MBean {mbean}")
            arguments = item.get("arguments", [])
            key = (mbean, item["operation"], *map(str, arguments))
            ask = self.location if mbean == SNITCH else self.operation
            return self._once(key, lambda: ask(item["operation"], arguments))
        names = item["attribute"]
        if isinstance(names, list):
            return {name: self._read(mbean, name) for name in names}
        return self._read(mbean, names)

    def _permit(self, name: str, text: str) -> None:
        if any(word in name for word in self.node.forbids):
            raise AnswerError(403, "java.lang.Exception", text)

    def _once(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """A value that is computed when it is first needed."""
        if key not in self._values:
            self._values[key] = make()
        return self._values[key]

    def _read(self, mbean: str, name: str) -> Any:
        self._permit(name, f"Reading attribute {name} is forbidden for MBean {mbean}")
        return self._once((mbean, name), lambda: self._attribute_of(mbean, name))

    def _attribute_of(self, mbean: str, name: str) -> Any:
        if mbean == STORAGE_SERVICE:
            return self.attribute(name)
        if mbean == SNITCH and name in {"Datacenter", "Rack"}:
            return self._place(self.node)[name == "Rack"]
        return self.other(mbean, name)


def _text(endpoint: Endpoint, *, port: bool) -> str:
    return endpoint.with_port if port else endpoint.host


def _canonical(written: str) -> str:
    """An address in a request, in the form of the tables: IPv6 as Java writes it."""
    address, bracket, port = written.strip("[").partition("]")
    if ":" not in address or "." in address:
        return written
    return Endpoint(address).host if not bracket else f"[{Endpoint(address).host}]{port}"


def _block(endpoint: Endpoint, start: int, states: list[tuple[str, str]], *, port: bool) -> str:
    lines = [f"  generation:{start}", "  heartbeat:87"]
    lines += [f"  {name}:{index + 1}:{value}" for index, (name, value) in enumerate(states)]
    return "\n".join([f"/{_text(endpoint, port=port)}", *lines, ""])


def _ghostly(endpoint: Endpoint, release: str, *, port: bool) -> str:
    return _block(endpoint, GENERATION, [("STATUS", "LEFT,1,1795300000000"), ("RELEASE_VERSION", release)], port=port)


def _float32(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _no_attribute(name: str) -> AnswerError:
    return AnswerError(404, "javax.management.AttributeNotFoundException", f"No such attribute: {name}")


def _no_operation(name: str) -> AnswerError:
    return AnswerError(
        400, "java.lang.IllegalArgumentException", f"No operation {name} found on MBean {STORAGE_SERVICE}"
    )


def _failed(error: AnswerError) -> Item:
    text = f"{error.kind} : {error.text}" if error.text else error.kind
    return {"error_type": error.kind, "error": text, "status": error.status}


def all_answers(world: World) -> Iterator[Answers]:
    """The answers of all nodes."""
    for node in world.nodes:
        yield Answers(world, node)
