"""What the MBeans of an embedded node answer, by release.

Owns the names, types and errors of attributes and operations as in Cassandra 2.2 to 6.0; knows nothing of Jolokia's
envelope or of HTTP. Errors have the texts of real nodes.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ringcheck.simulator.cluster import GOSSIPING, LOCAL, UNKNOWN, EmbeddedCluster, SimNode, SimView
from ringcheck.simulator.metadata import SINCE as METADATA_SINCE
from ringcheck.simulator.metadata import STRATEGY as META_STRATEGY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ringcheck.core.ring import Replication
    from ringcheck.simulator.placement import SimRow, TokenRing

STORAGE = "org.apache.cassandra.db:type=StorageService"
SNITCH = "org.apache.cassandra.db:type=EndpointSnitchInfo"
PROXY = "org.apache.cassandra.db:type=StorageProxy"
DETECTOR = "org.apache.cassandra.net:type=FailureDetector"
GOSSIPER = "org.apache.cassandra.net:type=Gossiper"
STREAMS = "org.apache.cassandra.net:type=StreamManager"
HINTS = "org.apache.cassandra.hints:type=HintsService"
CREDENTIALS = "org.apache.cassandra.auth:type=CredentialsCache"
AUTH = "org.apache.cassandra.auth:type=AuthProperties"
METADATA = "org.apache.cassandra.tcm:type=CMSOperations"
RUNTIME = "java.lang:type=Runtime"
METRICS = "org.apache.cassandra.metrics:"

STORAGE_PORT, NATIVE_PORT = 7000, 9042
MINIMUM = -(2**63)  # token of Murmur3Partitioner
LEVELS = ("ANY", "ONE", "TWO", "THREE", "QUORUM", "ALL", "LOCAL_QUORUM", "EACH_QUORUM", "SERIAL", "LOCAL_SERIAL",
          "LOCAL_ONE")  # fmt: skip
NPE = "java.lang.NullPointerException"
ILLEGAL = "java.lang.IllegalArgumentException"
NO_STATE = (
    'Cannot invoke "org.apache.cassandra.gms.EndpointState.getHeartBeatState()" because the return value of '
    '"java.util.concurrent.ConcurrentMap.get(Object)" is null'
)
NO_HOST_ID = (
    'Cannot invoke "java.util.UUID.toString()" because the return value of '
    '"org.apache.cassandra.locator.TokenMetadata.getHostId(java.net.InetAddress)" is null'
)


class BeanError(Exception):
    """An exception in the JVM.

    Attributes:
        status: that Jolokia gives it.
        kind: class name.
        message: its message, or None.
        fatal: whether it is a java.lang.Error; Jolokia before 2.4 answers a whole bulk request with it.
    """

    def __init__(self, status: int, kind: str, message: str | None = None, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.fatal = fatal


def assertion(message: str = "") -> BeanError:
    """An AssertionError as JMX wraps it."""
    inner = f"java.lang.AssertionError: {message}" if message else "java.lang.AssertionError"
    return BeanError(500, "javax.management.RuntimeErrorException", inner, fatal=True)


class EncodedValue:
    """A value that occurs in many replies and is encoded once."""

    __slots__ = ("_text", "value")

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        self.value = value
        self._text: bytes | None = None

    @property
    def text(self) -> bytes:
        """JSON of the value."""
        if self._text is None:
            self._text = encode(self.value)
        return self._text


@dataclass(frozen=True, slots=True)
class SlowValue:
    """A value that the node takes some seconds to return."""

    value: Any
    seconds: float


def encode(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """JSON as Jolokia writes it: without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class MBeanQuestion:
    """A question to one node at one time.

    Attributes:
        cluster: that the node belongs to.
        node: that is asked.
        now: time of the cluster's clock.
        release: of the node.
        phase: of its startup.
    """

    cluster: EmbeddedCluster
    node: SimNode
    now: float
    release: tuple[int, ...] = field(init=False)
    phase: str = field(init=False)

    def __post_init__(self) -> None:
        self.release = self.node.release
        self.phase = self.cluster.phase(self.node, self.now)

    @cached_property
    def view(self) -> SimView:
        """What the node believes."""
        return self.cluster.view(self.node, self.now)

    @cached_property
    def replications(self) -> dict[str, Replication]:
        """Keyspaces that the node knows; only local ones until it has loaded its schema."""
        known = self.cluster.keyspaces
        if self.release >= METADATA_SINCE:
            known = dict(sorted(known.items()))
        if self.phase not in {"starting", "newborn"}:
            return known
        return {name: replication for name, replication in known.items() if replication == LOCAL}

    def nodes(self, indexes: Iterable[int], form: Callable[[str], str]) -> list[str]:
        """Addresses of nodes, written in one form."""
        return [form(self.cluster.nodes[index].spec.address) for index in indexes]


AttributeReader: TypeAlias = "Callable[[MBeanQuestion], Any]"
Caller: TypeAlias = "Callable[..., Any]"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute and the releases that have it."""

    read: AttributeReader
    since: tuple[tuple[int, ...], ...] = ()
    until: tuple[int, ...] | None = None

    def known(self, release: tuple[int, ...]) -> bool:
        """Whether a release has it."""
        return known(release, self.since, self.until)


@dataclass(frozen=True, slots=True)
class MBeanOperation:
    """An operation, its signature and the releases that have it."""

    call: Caller
    _: KW_ONLY
    signature: tuple[str, ...] = ("java.lang.String",)
    since: tuple[tuple[int, ...], ...] = ()
    until: tuple[int, ...] | None = None

    def known(self, release: tuple[int, ...]) -> bool:
        """Whether a release has it."""
        return known(release, self.since, self.until)


def known(release: tuple[int, ...], since: tuple[tuple[int, ...], ...], until: tuple[int, ...] | None) -> bool:
    """Whether a release has a feature.

    Args:
        release: as numbers.
        since: the first release of each line that got it; every release after the last of these has it too. So
            `((3, 0, 6), (3, 6))` means 3.0.6 and later 3.0 releases, and all from 3.6 on. Empty for all releases.
        until: the first release without it again; None if there is none.
    """
    if until is not None and release >= until:
        return False
    in_line = any(release[:2] == first[:2] and release >= first for first in since)
    return not since or in_line or release >= max(since)


# --- how addresses are written


@cache
def plain(address: str) -> str:
    """As by Java's getHostAddress: IPv6 with all eight groups."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:  # noqa: PLR2004 - IP's version
        return str(parsed)
    return ":".join(f"{int(group, 16):x}" for group in parsed.exploded.split(":"))


@cache
def with_port(address: str) -> str:
    """As by InetAddressAndPort.toString: `10.0.0.1:7000`, `[2001:db8:0:0:0:0:0:1]:7000`."""
    return f"[{plain(address)}]:{STORAGE_PORT}" if ":" in address else f"{address}:{STORAGE_PORT}"


@cache
def native(address: str) -> str:
    """As `with_port`, with the port of CQL."""
    return f"[{plain(address)}]:{NATIVE_PORT}" if ":" in address else f"{address}:{NATIVE_PORT}"


def slashed(address: str) -> str:
    """As by InetAddress.toString without a host name: `/10.0.0.1`."""
    return f"/{plain(address)}"


def slashed_with_port(address: str) -> str:
    """As `slashed`, with the storage port."""
    return f"/{with_port(address)}"


# --- StorageService


def _listed(part: Callable[[SimView], Iterable[int]], name: str, form: Callable[[str], str]) -> AttributeReader:
    def read(asked: MBeanQuestion) -> EncodedValue:
        cached = asked.view.cache
        key = (name, form)
        if key not in cached:
            members = cached["live"] if name == "live" and "live" in cached else part(asked.view)
            cached[key] = EncodedValue(asked.nodes(members, form))
        value: EncodedValue = cached[key]
        return value

    return read


def _tokens(form: Callable[[str], str]) -> AttributeReader:
    def read(asked: MBeanQuestion) -> EncodedValue:
        cached = asked.view.topology.cache
        if ("tokens", form) not in cached:
            names = asked.nodes(range(len(asked.cluster.nodes)), form)
            cached["tokens", form] = EncodedValue(
                {str(token): names[owner] for token, owner in asked.view.topology.tokens.items()}
            )
        value: EncodedValue = cached["tokens", form]
        return value

    return read


def _hosts(form: Callable[[str], str], *, inverse: bool = False) -> AttributeReader:
    def read(asked: MBeanQuestion) -> EncodedValue:
        cached, key = asked.view.cache, ("hosts", form, inverse)
        if key not in cached:
            members = asked.view.topology.members if asked.view.hosts is None else asked.view.hosts
            pairs = [(form(node.address), node.host_id) for node in map(asked.cluster.node, sorted(members))]
            cached[key] = EncodedValue({host: address for address, host in pairs} if inverse else dict(pairs))
        value: EncodedValue = cached[key]
        return value

    return read


def _keyspaces(*, local: bool, system: bool) -> AttributeReader:
    def read(asked: MBeanQuestion) -> list[str]:
        return [
            name
            for name, replication in asked.replications.items()
            if (local or replication != LOCAL) and (system or name not in {"system", "system_schema"})
        ]

    return read


def _generation(asked: MBeanQuestion) -> int:
    if asked.phase not in {*GOSSIPING, "newborn"}:
        raise BeanError(500, NPE, NO_STATE)
    return asked.node.generation


def _local_host_id(asked: MBeanQuestion) -> str:
    if asked.phase == "starting" and asked.release < (3, 0):
        raise BeanError(500, NPE, NO_HOST_ID)
    return asked.node.host_id


def _ownership(form: Callable[[str], str]) -> AttributeReader:
    def read(asked: MBeanQuestion) -> dict[str, float]:
        ring = asked.view.topology.ring
        shares: dict[int, int] = {}
        for index, owner in enumerate(ring.owners):
            shares[owner] = shares.get(owner, 0) + _width(ring, index)
        return {form(asked.cluster.nodes[owner].address): share / 2**64 for owner, share in shares.items()}

    return read


def _width(ring: TokenRing, index: int) -> int:
    start, end = ring.range(index)
    return (end - start) % 2**64 or 2**64


def _flag(read: Callable[[MBeanQuestion], bool]) -> AttributeReader:
    return read


def _mode(asked: MBeanQuestion) -> str:
    return asked.cluster.mode(asked.node, asked.now)


def _initialized(asked: MBeanQuestion) -> bool:
    stopped = not asked.node.gossip and asked.node.drained_at is None and asked.node.mode == "NORMAL"
    if stopped and asked.release < (3, 11):  # stopGossiping took it back there
        return False
    return asked.phase in {*GOSSIPING, "newborn"} and asked.node.mode != "JOINING"


def _joined(asked: MBeanQuestion) -> bool:
    return asked.phase != "starting" and asked.node.mode not in {"JOINING", "DECOMMISSIONED"}


V4 = ((4, 0),)
STORAGE_ATTRIBUTES: dict[str, Attribute] = {
    "Keyspaces": Attribute(_keyspaces(local=True, system=True)),
    "NonSystemKeyspaces": Attribute(_keyspaces(local=True, system=False), ((2, 2),)),
    "NonLocalStrategyKeyspaces": Attribute(_keyspaces(local=False, system=True), ((3, 0, 6), (3, 6))),
    "TokenToEndpointMap": Attribute(_tokens(plain)),
    "TokenToEndpointWithPortMap": Attribute(_tokens(with_port), V4),
    "EndpointToHostId": Attribute(_hosts(plain)),
    "EndpointWithPortToHostId": Attribute(_hosts(with_port), V4),
    "HostIdToEndpoint": Attribute(_hosts(plain, inverse=True)),
    "HostIdToEndpointWithPort": Attribute(_hosts(with_port, inverse=True), V4),
    "HostIdMap": Attribute(_hosts(plain), (), (5, 0)),
    "LocalHostId": Attribute(_local_host_id),
    "ClusterName": Attribute(lambda asked: asked.cluster.name),
    "ReleaseVersion": Attribute(lambda asked: asked.node.spec.release),
    "SchemaVersion": Attribute(lambda asked: asked.cluster.schema_version(asked.node)),
    "PartitionerName": Attribute(lambda asked: asked.cluster.partitioner),
    "Tokens": Attribute(lambda asked: [str(token) for token in asked.node.tokens]),
    "DrainProgress": Attribute(lambda _: "Drained 0/0 ColumnFamilies"),
    "CurrentGenerationNumber": Attribute(_generation),
    "OperationMode": Attribute(_mode),
    "Initialized": Attribute(_initialized),
    "Joined": Attribute(_joined),
    "Starting": Attribute(lambda asked: _mode(asked) == "STARTING"),
    "GossipRunning": Attribute(lambda asked: asked.cluster.gossiping(asked.node, asked.now)),
    "NativeTransportRunning": Attribute(lambda asked: asked.cluster.serving(asked.node, asked.now)),
    "RPCServerRunning": Attribute(lambda _: False, (), (4, 0)),
    "Drained": Attribute(lambda asked: _mode(asked) == "DRAINED", ((3, 0, 10), (3, 10))),
    "Draining": Attribute(lambda asked: _mode(asked) == "DRAINING", ((3, 0, 10), (3, 10))),
    "BootstrapMode": Attribute(lambda asked: asked.node.mode == "JOINING", ((2, 2, 14), (3, 0, 18), (3, 11, 4))),
    "BootstrapFailed": Attribute(lambda _: False, ((5, 0),)),
    "DecommissionFailed": Attribute(lambda _: False, ((5, 0),)),
    "Decommissioning": Attribute(lambda asked: asked.node.mode == "LEAVING", ((5, 0),)),
    "GitSHA": Attribute(lambda _: "Unknown", ((5, 0),)),
    "Ownership": Attribute(_ownership(slashed)),
    "OwnershipWithPort": Attribute(_ownership(slashed_with_port), V4),
    "OutstandingSchemaVersions": Attribute(lambda _: {}, ((3, 0, 24), (3, 11, 10))),
    "OutstandingSchemaVersionsWithPort": Attribute(lambda _: {}, V4),
}
LISTS: dict[str, Callable[[SimView], Iterable[int]]] = {
    "Live": lambda view: view.live,
    "Unreachable": lambda view: view.unreachable,
    "Joining": lambda view: view.topology.joining,
    "Leaving": lambda view: sorted(view.topology.movement.leaving),
    "Moving": lambda view: [node for node, _ in view.topology.movement.moving],
}
for _name, _part in LISTS.items():
    STORAGE_ATTRIBUTES[f"{_name}Nodes"] = Attribute(_listed(_part, _name.lower(), plain))
    STORAGE_ATTRIBUTES[f"{_name}NodesWithPort"] = Attribute(_listed(_part, _name.lower(), with_port), V4)


def _name_of(argument: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """A keyspace argument as Jolokia converts it for Java: anything but text becomes its JSON."""
    if argument is None or isinstance(argument, str):
        return argument
    return encode(argument).decode()


def _replication(asked: MBeanQuestion, keyspace: str | None) -> Replication:
    """The replication of a keyspace for the ring operations; None means the first keyspace that is not local."""
    if keyspace is None:
        keyspace = next(name for name, replication in asked.replications.items() if replication != LOCAL)
    try:
        return asked.replications[keyspace]
    except KeyError:
        if asked.release >= METADATA_SINCE:
            raise BeanError(400, ILLEGAL, f"Unknown keyspace {keyspace}") from None
        raise assertion(f"Unknown keyspace {keyspace}") from None


def _rows(asked: MBeanQuestion, replication: Replication) -> list[SimRow]:
    ring = asked.view.topology.ring
    if replication == LOCAL:
        return [(asked.node.index,)] * len(ring.tokens)
    if replication.strategy == META_STRATEGY:
        return [asked.cluster.metadata.members] * len(ring.tokens)
    return asked.view.topology.rows(replication, asked.release)


def _range_map(form: Callable[[str], str]) -> Caller:
    def call(asked: MBeanQuestion, keyspace: Any) -> EncodedValue:  # noqa: ANN401 - any JSON value
        if asked.phase == "starting" and asked.release >= (4, 0):
            raise assertion("Initialized: false" if asked.release >= (4, 1) else "")
        if asked.phase == "starting":
            return EncodedValue({})
        replication = _replication(asked, _name_of(keyspace))
        if replication.strategy == META_STRATEGY:
            return EncodedValue({f"[{MINIMUM}, {MINIMUM}]": asked.nodes(asked.cluster.metadata.members, form)})
        topology = asked.view.topology
        key = ("ranges", form, replication, asked.node.index if replication == LOCAL else asked.release < (3, 2))
        if key not in topology.cache:
            topology.cache[key] = Ranges(topology.ring, _rows(asked, replication), _names(asked, form))
        value: EncodedValue = topology.cache[key]
        return value

    return call


def _names(asked: MBeanQuestion, form: Callable[[str], str]) -> list[str]:
    return asked.nodes(range(len(asked.cluster.nodes)), form)


class Ranges(EncodedValue):
    """A map of ranges that is written as text directly; for 262,144 ranges, objects would cost too much."""

    __slots__ = ("_names", "_ring", "_rows")

    def __init__(self, ring: TokenRing, rows: list[SimRow], names: list[str]) -> None:
        super().__init__(None)
        self._ring, self._rows, self._names = ring, rows, names

    @property
    def text(self) -> bytes:
        """JSON of the map."""
        if self._text is None:
            tokens, names = self._ring.tokens, self._names

            @lru_cache(maxsize=65536)
            def endpoints(row: SimRow) -> str:
                return '"' + '","'.join([names[node] for node in row]) + '"' if row else ""

            starts = (*tokens[-1:], *tokens[:-1])
            cells = [
                f'"[{start}, {end}]":[{endpoints(row)}]'
                for start, end, row in zip(starts, tokens, self._rows, strict=True)
            ]
            self._text = ("{" + ",".join(cells) + "}").encode()
        return self._text

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - `value` is made from the text on demand
        if name == "value":
            return json.loads(self.text)
        return super().__getattribute__(name)


def _pending_map(form: Callable[[str], str]) -> Caller:
    def call(asked: MBeanQuestion, keyspace: Any) -> dict[str, list[str]]:  # noqa: ANN401 - any JSON value
        name = _name_of(keyspace)
        replication = asked.replications.get(name) if name is not None else _replication(asked, None)
        if replication is None and asked.release >= METADATA_SINCE:
            raise assertion(f"Unknown keyspace {name}")
        if replication is None or replication == LOCAL or replication.strategy == META_STRATEGY:
            return {}  # before 6.0 an unknown keyspace is not an error here
        names = _names(asked, form)
        gains = asked.view.topology.gains(replication, asked.release)
        return {f"[{start}, {end}]": [names[node] for node in nodes] for (start, end), nodes in gains.items()}

    return call


def _describe_ring(form: Callable[[str], str], client: Callable[[str], str]) -> Caller:
    def call(asked: MBeanQuestion, keyspace: Any) -> list[str]:  # noqa: ANN401 - any JSON value
        name = _name_of(keyspace)
        replication = asked.replications.get(str(name))
        if replication is None:
            raise BeanError(500, "java.io.IOException", f"No such keyspace: {name}")
        if replication == LOCAL:
            raise BeanError(500, "java.io.IOException", f"There is no ring for the keyspace: {name}")
        ring = asked.view.topology.ring
        return [
            _token_range(asked, ring.range(index), row, form, client)
            for index, row in enumerate(_rows(asked, replication))
        ]

    return call


def _token_range(
    asked: MBeanQuestion, span: tuple[int, int], row: SimRow, form: Callable[[str], str], client: Callable[[str], str]
) -> str:
    endpoints, clients = ", ".join(asked.nodes(row, form)), ", ".join(asked.nodes(row, client))
    specs = [asked.cluster.nodes[node].spec for node in row]
    details = ", ".join(
        f"EndpointDetails(host:{form(spec.address)}, datacenter:{spec.datacenter}, rack:{spec.rack})" for spec in specs
    )
    return (
        f"TokenRange(start_token:{span[0]}, end_token:{span[1]}, endpoints:[{endpoints}], "
        f"rpc_endpoints:[{clients}], endpoint_details:[{details}])"
    )


def _replication_info(asked: MBeanQuestion, keyspace: Any) -> str:  # noqa: ANN401 - any JSON value
    replication = asked.replications.get(str(_name_of(keyspace)))
    if replication is None:
        raise BeanError(400, ILLEGAL)
    options = reversed(replication.options)  # real nodes keep no order of datacenters either
    return f"{replication.strategy} {{{', '.join(f'{name}={factor}' for name, factor in options)}}}"


def _effective_ownership(form: Callable[[str], str]) -> Caller:
    def call(asked: MBeanQuestion, keyspace: Any) -> dict[str, float]:  # noqa: ANN401 - any JSON value
        replication = asked.replications.get(str(_name_of(keyspace)))
        if replication is None:
            raise BeanError(400, ILLEGAL, f"The keyspace {_name_of(keyspace)}, does not exist")
        ring = asked.view.topology.ring
        shares = dict.fromkeys(ring.owners, 0)
        for index, row in enumerate(_rows(asked, replication)):
            for node in row:
                shares[node] += _width(ring, index)
        return {form(asked.cluster.nodes[node].address): share / 2**64 for node, share in shares.items()}

    return call


def _natural(asked: MBeanQuestion, keyspace: Any, key: str) -> SimRow:  # noqa: ANN401 - any JSON value
    """Replicas of a key. Its token is not that of Murmur3: the embedded cluster stores no rows."""
    replication = _replication(asked, _name_of(keyspace))
    digest = hashlib.blake2b(str(key).encode(), digest_size=8).digest()
    ring = asked.view.topology.ring
    return _rows(asked, replication)[ring.index(int.from_bytes(digest, "big", signed=True))]


def _natural_beans(asked: MBeanQuestion, keyspace: Any, _table: str, key: str) -> list[dict[str, Any]]:  # noqa: ANN401
    return [_inet_address(asked.cluster.nodes[node].address) for node in _natural(asked, keyspace, key)]


def _natural_names(asked: MBeanQuestion, keyspace: Any, _table: str, key: str) -> list[str]:  # noqa: ANN401
    return asked.nodes(_natural(asked, keyspace, key), with_port)


def _inet_address(address: str) -> dict[str, Any]:
    """An InetAddress as Jolokia writes it up to 2.5."""
    bean = _inet_bean(address)
    loop = {**_inet_bean("127.0.0.1"), "hostName": "localhost", "canonicalHostName": "localhost"}
    return bean | {"loopbackAddress": loop | {"loopbackAddress": "[this]"}}


def _inet_bean(address: str) -> dict[str, Any]:
    flags = ("linkLocalAddress", "mCOrgLocal", "siteLocalAddress", "mCNodeLocal", "mCGlobal", "multicastAddress",
             "mCLinkLocal", "anyLocalAddress", "mCSiteLocal")  # fmt: skip
    octets = list(ipaddress.ip_address(address).packed)
    named = {"hostName": plain(address), "canonicalHostName": plain(address), "hostAddress": plain(address)}
    return {**dict.fromkeys(flags, False), **named, "address": octets}


def _no_buffer(_asked: MBeanQuestion, *_arguments: object) -> None:
    raise BeanError(400, ILLEGAL, "Cannot convert string to java.nio.ByteBuffer: no converter could be found")


def _drain(asked: MBeanQuestion) -> SlowValue:
    return SlowValue(None, asked.cluster.drain(asked.node.index))


def _stop_gossiping(asked: MBeanQuestion) -> SlowValue:
    return SlowValue(None, asked.cluster.gossip_off(asked.node.index))


def _start_gossiping(asked: MBeanQuestion) -> None:
    asked.cluster.gossip_on(asked.node.index)


def _stop_native(asked: MBeanQuestion, *_force: object) -> None:
    asked.cluster.binary_off(asked.node.index)


def _start_native(asked: MBeanQuestion) -> None:
    asked.cluster.binary_on(asked.node.index)


def _decommission(asked: MBeanQuestion, *_force: object) -> SlowValue:
    return SlowValue(None, asked.cluster.decommission(asked.node.index))


THREE_STRINGS = ("java.lang.String",) * 3
BUFFER = ("java.lang.String", "java.nio.ByteBuffer")
STORAGE_OPERATIONS: dict[str, tuple[MBeanOperation, ...]] = {
    "getRangeToEndpointMap": (MBeanOperation(_range_map(plain)),),
    "getRangeToEndpointWithPortMap": (MBeanOperation(_range_map(with_port), since=V4),),
    "getRangeToRpcaddressMap": (MBeanOperation(_range_map(plain)),),
    "getRangeToNativeaddressWithPortMap": (MBeanOperation(_range_map(native), since=V4),),
    "getPendingRangeToEndpointMap": (MBeanOperation(_pending_map(plain)),),
    "getPendingRangeToEndpointWithPortMap": (MBeanOperation(_pending_map(with_port), since=V4),),
    "describeRingJMX": (MBeanOperation(_describe_ring(plain, plain)),),
    "describeRingWithPortJMX": (MBeanOperation(_describe_ring(with_port, native), since=V4),),
    "getKeyspaceReplicationInfo": (MBeanOperation(_replication_info, since=((3, 11, 11),)),),
    "effectiveOwnership": (MBeanOperation(_effective_ownership(slashed)),),
    "effectiveOwnershipWithPort": (MBeanOperation(_effective_ownership(with_port), since=V4),),
    "getNaturalEndpoints": (
        MBeanOperation(_natural_beans, signature=THREE_STRINGS),
        MBeanOperation(_no_buffer, signature=BUFFER),
    ),
    "getNaturalEndpointsWithPort": (
        MBeanOperation(_natural_names, signature=THREE_STRINGS, since=V4),
        MBeanOperation(_no_buffer, signature=BUFFER, since=V4),
    ),
    "drain": (MBeanOperation(_drain, signature=()),),
    "stopGossiping": (MBeanOperation(_stop_gossiping, signature=()),),
    "startGossiping": (MBeanOperation(_start_gossiping, signature=()),),
    "startNativeTransport": (MBeanOperation(_start_native, signature=()),),
    "stopNativeTransport": (
        MBeanOperation(_stop_native, signature=()),
        MBeanOperation(_stop_native, signature=("boolean",), since=((5, 0),)),
    ),
    "decommission": (
        MBeanOperation(_decommission, signature=(), since=(), until=(4, 0)),
        MBeanOperation(_decommission, signature=("boolean",), since=((4, 0),)),
    ),
}

# --- other MBeans


def _snitch_answer(part: str) -> Caller:
    def call(asked: MBeanQuestion, host: str) -> str:
        node = _resolve(asked, str(host))
        location = UNKNOWN if node is None else asked.cluster.snitch(asked.node, node, asked.now)
        return str(getattr(location, part))

    return call


def _resolve(asked: MBeanQuestion, host: str) -> SimNode | None:
    """The node of a host argument, as InetAddress.getByName resolves it; None if there is no such node."""
    address = host
    if asked.release >= (4, 0) and (host.startswith("[") or host.count(":") == 1):
        address = host.rpartition(":")[0].strip("[]")
    elif host.count(":") == 1:
        raise BeanError(500, "java.net.UnknownHostException", f"{host}: invalid IPv6 address literal")
    try:
        wanted = str(ipaddress.ip_address(address.strip("[]")))
    except ValueError:
        raise BeanError(500, "java.net.UnknownHostException", f"{host}: Name or service not known") from None
    return next((node for node in asked.cluster.nodes if str(ipaddress.ip_address(node.address)) == wanted), None)


def _states(asked: MBeanQuestion) -> dict[int, bool]:
    """Whether the failure detector has each node as up; a node that left stays in it, as up."""
    view = asked.view
    left = {node.index for node in asked.cluster.nodes if node.mode == "DECOMMISSIONED"}
    return {node: node not in view.down for node in sorted(view.topology.members | left | {asked.node.index})}


def _simple_states(form: Callable[[str], str]) -> AttributeReader:
    def read(asked: MBeanQuestion) -> dict[str, str]:
        nodes = asked.cluster.nodes
        return {form(nodes[node].address): "UP" if up else "DOWN" for node, up in _states(asked).items()}

    return read


def _all_states(form: Callable[[str], str]) -> AttributeReader:
    def read(asked: MBeanQuestion) -> str:
        return "".join(_endpoint_state(asked, asked.cluster.nodes[node], form) for node in _states(asked))

    return read


def _endpoint_state(asked: MBeanQuestion, node: SimNode, form: Callable[[str], str]) -> str:
    """The gossip state of one node as FailureDetector prints it; the versions of its values are made up."""
    cluster, modern = asked.cluster, node.release >= (4, 0)
    tokens = node.tokens or (0,)
    status = f"{'BOOT' if node.mode == 'JOINING' else node.mode},{tokens[0]}"
    lines = [
        f"generation:{node.generation}",
        f"heartbeat:{cluster.heartbeat(node, asked.now)}",
        f"STATUS:29:{status}",
        "LOAD:96:119771.0",
        f"SCHEMA:60:{cluster.schema_version(node)}",
        f"DC:12:{node.spec.datacenter}",
        f"RACK:14:{node.spec.rack}",
        f"RELEASE_VERSION:5:{node.spec.release}",
        f"INTERNAL_IP:10:{plain(node.address)}",
        f"RPC_ADDRESS:4:{plain(node.address)}",
        *(["SEVERITY:59:0.0"] if node.release < (3, 0) else []),
        f"NET_VERSION:1:{12 if modern else 11 if node.release >= (3, 0) else 9}",
        f"HOST_ID:2:{node.host_id}",
        f"RPC_READY:41:{str(cluster.serving(node, asked.now)).lower()}",
    ]
    if modern:
        lines += [
            f"INTERNAL_ADDRESS_AND_PORT:8:{with_port(node.address)}",
            f"NATIVE_ADDRESS_AND_PORT:3:{native(node.address)}",
            f"STATUS_WITH_PORT:28:{status}",
        ]
    return "\n  ".join([form(node.address), *lines, "TOKENS:27:<hidden>"]) + "\n"


def _generation_of(asked: MBeanQuestion, host: str) -> int:
    node = _resolve(asked, str(host))
    if node is None or node.index not in _states(asked):
        raise BeanError(500, NPE, NO_STATE)
    return node.generation


def _downtime_of(asked: MBeanQuestion, host: str) -> int:
    node = _resolve(asked, str(host))
    if node is None or node.index not in asked.view.down:
        return 0
    silent = asked.cluster.gossip.changes.get(node.index)
    return max(1, int((asked.now - silent[-1].at) * 1000)) if silent else 1


def _schema_versions(form: Callable[[str], str]) -> AttributeReader:
    def read(asked: MBeanQuestion) -> SlowValue | dict[str, list[str]]:
        cluster, now, view = asked.cluster, asked.now, asked.view
        mode = _mode(asked)
        if mode == "DRAINED" and asked.release >= (4, 0):
            raise BeanError(500, "java.util.concurrent.RejectedExecutionException", "event executor terminated")
        mute = mode in {"DRAINED", "DECOMMISSIONED"}
        versions: dict[str, list[str]] = {}
        silent = [] if mute else list(view.unreachable)
        waits = mute
        for index in view.cache.get("live", view.live):
            node = cluster.nodes[index]
            if mute or not cluster.reachable(asked.node, node, now):
                silent.append(index)
                waits = True
            else:
                versions.setdefault(cluster.schema_version(node), []).append(form(node.address))
        if silent:
            versions["UNREACHABLE"] = asked.nodes(silent, form)
        return SlowValue(versions, 10.0 * cluster.time_factor) if waits else versions

    return read


def _uptime(asked: MBeanQuestion) -> int:
    return max(0, int((asked.now - asked.node.born_at) * 1000))


def _counter(scope: str, name: str) -> Attribute:
    return Attribute(_counted(f"{scope},{name}"))


def _counted(name: str) -> Callable[[MBeanQuestion], int]:
    return lambda asked: asked.node.counters[name]


@dataclass(frozen=True)
class Bean:
    """An MBean.

    Attributes:
        attributes: that can be read, by name.
        operations: that can be called, by name; several if the name is overloaded.
        since: the releases that register it, as in `known`.
        when: whether a node of such a release registers it.
    """

    attributes: Mapping[str, Attribute]
    operations: Mapping[str, tuple[MBeanOperation, ...]] = field(default_factory=dict)
    _: KW_ONLY
    since: tuple[tuple[int, ...], ...] = ()
    when: Callable[[MBeanQuestion], bool] = lambda _: True

    def registered(self, asked: MBeanQuestion) -> bool:
        """Whether the node that is asked has it now."""
        return known(asked.release, self.since, None) and self.when(asked)


def _streams(asked: MBeanQuestion) -> list[dict[str, Any]]:
    """Streams as `streaming/management/StreamStateCompositeData` shows them; recorded from 5.0.8 during a rebuild."""
    return [_stream(f"1f797f60-e595-11f1-8aa3-{number:012x}") for number in range(asked.node.streams)]


def _stream(plan: str) -> dict[str, Any]:
    session = {
        "planId": plan, "peer": "127.0.0.1", "connecting": "127.0.0.1", "sessionIndex": 0, "state": "STREAMING",
        "receivingSummaries": [], "sendingSummaries": [], "receivingFiles": [], "sendingFiles": [],
    }  # fmt: skip
    return {
        "planId": plan, "description": "Rebuild", "sessions": [session],
        "currentRxBytes": 0, "totalRxBytes": 0, "rxPercentage": 100.0,
        "currentTxBytes": 196608, "totalTxBytes": 5456524, "txPercentage": 3.0,
    }  # fmt: skip


def _detector() -> Bean:
    return Bean(
        {
            "SimpleStates": Attribute(_simple_states(slashed)),
            "SimpleStatesWithPort": Attribute(_simple_states(slashed_with_port), V4),
            "AllEndpointStates": Attribute(_all_states(slashed)),
            "AllEndpointStatesWithPort": Attribute(_all_states(slashed_with_port), V4),
            "DownEndpointCount": Attribute(lambda asked: sum(not up for up in _states(asked).values())),
            "UpEndpointCount": Attribute(lambda asked: sum(_states(asked).values())),
        }
    )


def _snitch() -> Bean:
    since = ((2, 2, 7), (3, 0, 8))
    return Bean(
        {
            "Datacenter": Attribute(lambda asked: asked.node.spec.datacenter, since),
            "Rack": Attribute(lambda asked: asked.node.spec.rack, since),
        },
        {
            "getDatacenter": (MBeanOperation(_snitch_answer("datacenter")),),
            "getRack": (MBeanOperation(_snitch_answer("rack")),),
        },
    )


def _describe_metadata(asked: MBeanQuestion) -> dict[str, str]:
    return asked.cluster.metadata.describe(asked.node.index, _names(asked, slashed_with_port))


def _authentication() -> dict[str, Bean]:
    """The beans of a cluster that authenticates. Real nodes register AUTH when they first read a role."""

    def authenticates(asked: MBeanQuestion) -> bool:
        return asked.cluster.authenticates

    validity = {"Validity": Attribute(lambda _: 2000)}
    level = {"ReadConsistencyLevel": Attribute(lambda asked: asked.cluster.auth_read_level)}
    return {
        CREDENTIALS: Bean(validity, since=((3, 4),), when=authenticates),
        AUTH: Bean(level, since=((4, 1),), when=authenticates),
    }


def _beans() -> dict[str, Bean]:
    """All MBeans by canonical name."""
    proxy = {
        "PaxosVariant": Attribute(lambda asked: asked.node.spec.paxos_variant, ((4, 1),)),
        "SchemaVersions": Attribute(_schema_versions(plain)),
        "SchemaVersionsWithPort": Attribute(_schema_versions(with_port), V4),
    }
    gossiper = {
        "getCurrentGenerationNumber": (MBeanOperation(_generation_of),),
        "getEndpointDowntime": (MBeanOperation(_downtime_of),),
    }
    runtime = {"Uptime": Attribute(_uptime), "StartTime": Attribute(lambda asked: int(asked.node.born_at * 1000))}
    return {
        STORAGE: Bean(STORAGE_ATTRIBUTES, STORAGE_OPERATIONS),
        SNITCH: _snitch(),
        PROXY: Bean(proxy),
        DETECTOR: _detector(),
        GOSSIPER: Bean({}, gossiper),
        STREAMS: Bean({"CurrentStreams": Attribute(_streams)}),
        HINTS: Bean({"PendingHints": Attribute(lambda _: [], ((4, 1),))}, since=((3, 0),)),
        METADATA: Bean(
            {}, {"describeCMS": (MBeanOperation(_describe_metadata, signature=()),)}, since=(METADATA_SINCE,)
        ),
        **_authentication(),
        RUNTIME: Bean(runtime),
        **_metrics(),
    }


def _metrics() -> dict[str, Bean]:
    beans = {
        f"{METRICS}name=TotalHintsInProgress,type=Storage": Bean({"Count": Attribute(lambda _: 0)}),
        f"{METRICS}name=TotalHints,type=Storage": Bean({"Count": Attribute(_counted("TotalHints"))}),
        f"{METRICS}name=HintsSucceeded,type=HintsService": Bean(
            {"Count": Attribute(_counted("HintsSucceeded"))},
            since=((3, 0),),
            when=lambda asked: asked.node.counters["HintsSucceeded"] > 0,
        ),
        f"{METRICS}name=connectedNativeClients,type=Client": Bean(
            {"Value": Attribute(_counted("connectedNativeClients"))}
        ),
        f"{METRICS}name=PendingTasks,type=Compaction": Bean({"Value": Attribute(lambda _: 0)}),
    }
    scopes = dict.fromkeys(("Read", "Write", "CASRead", "CASWrite", "RangeSlice"), ())
    since: dict[str, tuple[tuple[int, ...], ...]] = {**scopes, "ViewWrite": ((3, 0),)}
    for direction in ("Read", "Write"):
        since |= {f"{direction}-{level}": ((3, 10),) for level in LEVELS} | {f"{direction}-NODE_LOCAL": V4}
    for scope, first in since.items():
        for name in ("Latency", "Unavailables", "Timeouts", "Failures"):
            bean = Bean({"Count": _counter(scope, name)}, since=first)
            beans[f"{METRICS}name={name},scope={scope},type=ClientRequest"] = bean
    for table, first in {"roles": (), "role_members": (), "role_permissions": (), "network_permissions": V4}.items():
        for name, known in (("CoordinatorReadLatency", first), ("CoordinatorWriteLatency", V4)):
            bean = Bean({"Count": _counter(f"system_auth.{table}", name)}, since=known)
            beans[f"{METRICS}keyspace=system_auth,name={name},scope={table},type=Table"] = bean
    return beans


BEANS = _beans()


@lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """An ObjectName with its properties sorted, as in Java's canonical names.

    Raises:
        BeanError: if it is not an ObjectName.
    """
    domain, colon, rest = name.partition(":")
    parts = rest.split(",")
    pairs = [part for part in parts if part != "*"]
    if not colon or (not pairs and "*" not in parts) or any("=" not in part for part in pairs):
        raise BeanError(400, ILLEGAL, f"Invalid object name {name}")
    return f"{domain}:{','.join(sorted(pairs) + ['*'] * ('*' in parts))}"


def matching(asked: MBeanQuestion, pattern: str) -> list[str]:
    """Canonical names of the registered MBeans that match a pattern."""
    domain, _, rest = pattern.partition(":")
    wanted = rest.split(",")
    return [name for name, bean in BEANS.items() if _matches(name, domain, wanted) and bean.registered(asked)]


def covers(rule: str, name: str) -> bool:
    """Whether a name in an access policy, which may be a pattern, includes every MBean that another name matches."""
    domain, _, rest = canonical(rule).partition(":")
    return _matches(canonical(name), domain, rest.split(","))


def _matches(name: str, domain: str, wanted: list[str]) -> bool:
    have_domain, _, rest = name.partition(":")
    have = rest.split(",")
    if not fnmatchcase(have_domain, domain) or ("*" not in wanted and len(wanted) != len(have)):
        return False
    return all(any(fnmatchcase(pair, want) for pair in have) for want in wanted if want != "*")
