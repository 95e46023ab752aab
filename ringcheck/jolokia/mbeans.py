"""The attributes and operations that may be used, the releases that have them, and the requests for them.

Owns names, versions and request payloads. Only what `CALLS` lists is ever sent: a test compares it with the calls that
are really made and with the access policy in `config/jolokia/jolokia-access.xml`.

Names and versions are those of `service/StorageServiceMBean`, `service/StorageProxyMBean`,
`locator/EndpointSnitchInfoMBean`, `gms/FailureDetectorMBean`, `auth/AuthCacheMBean` and `auth/AuthPropertiesMXBean` of
Apache Cassandra 2.2 to 6.0, and of `tcm/CMSOperationsMBean` of 6.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.client_errors import HINTS_SERVICE
from ringcheck.core.endpoint import ip_of
from ringcheck.core.release import Release, parse_release

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Request: TypeAlias = "dict[str, Any]"

STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"
STORAGE_PROXY = "org.apache.cassandra.db:type=StorageProxy"
SNITCH = "org.apache.cassandra.db:type=EndpointSnitchInfo"
FAILURE_DETECTOR = "org.apache.cassandra.net:type=FailureDetector"
RUNTIME = "java.lang:type=Runtime"
STREAM_MANAGER = "org.apache.cassandra.net:type=StreamManager"
CREDENTIALS_CACHE = "org.apache.cassandra.auth:type=CredentialsCache"
IDENTITIES_CACHE = "org.apache.cassandra.auth:type=IdentitiesCache"
AUTH_PROPERTIES = "org.apache.cassandra.auth:type=AuthProperties"
METADATA_SERVICE = "org.apache.cassandra.tcm:type=CMSOperations"
METRICS = "org.apache.cassandra.metrics:"
CLIENT_REQUEST = f"{METRICS}type=ClientRequest,scope=*"
CLIENT_REQUESTS = f"{METRICS}type=ClientRequest,*"  # the pattern by which access policies name all of them
HINTS_CREATED = f"{METRICS}type=Storage,name=TotalHints"
HINTS_DELIVERED = f"{METRICS}type=HintsService,name=HintsSucceeded"
CONNECTIONS = f"{METRICS}type=Client,name=connectedNativeClients"

OLDEST: Release = (0, 0, 0)
WITH_PORT: Release = (4, 0, 0)  # CASSANDRA-7544: several nodes on one address; since then all WithPort names
REPLICATION_INFO: Release = (3, 11, 11)  # CASSANDRA-16395 is not in 3.0
SHARED: Release = (3, 0, 6)  # and 3.6, 3.11.0 (CASSANDRA-11627), but not 3.1 to 3.5
CREDENTIALS: Release = (3, 4, 0)  # CASSANDRA-7715
AUTH_LEVEL: Release = (4, 1, 0)  # CASSANDRA-12988
WITH_PAXOS_VARIANT: Release = (4, 1, 0)  # CASSANDRA-14746
IDENTITIES: Release = (5, 0, 0)  # CASSANDRA-18554
REQUESTS_BY_LEVEL: Release = (3, 10, 0)  # CASSANDRA-11880
METADATA: Release = (6, 0, 0)  # CASSANDRA-18330

# An agent's own limits cut lists and maps silently; only 0 in a request lifts them, no other number does.
# Without stack traces, which Jolokia 1 adds to every error by default and which would be most of some replies.
NO_LIMITS = {"maxCollectionSize": 0, "maxObjects": 0, "maxDepth": 0, "includeStackTrace": "false"}
# The list of a stream's files can be large (some 300 bytes a file). A few entries of each list are enough to know that
# there is a stream. Jolokia 1 may return one entry more than this.
FEW = NO_LIMITS | {"maxCollectionSize": 2}
CHUNK = 256  # items of one bulk request: meanwhile the agent answers no other request


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An attribute or operation that may be used.

    Attributes:
        mbean: object name.
        kind: `read` for an attribute, `exec` for an operation.
        name: of the attribute or operation.
        since: first release that has it; all newer ones have it too, up to 6.0 at least.
        writes: whether it changes the node.
    """

    mbean: str
    kind: Literal["read", "exec"]
    name: str
    since: Release = OLDEST
    writes: bool = False


STATE = ("LocalHostId", "OperationMode", "GossipRunning", "NativeTransportRunning")
EXTRA = ("CurrentGenerationNumber", "SchemaVersion")  # a view can be used without these
IDENTITY = ("ClusterName", "ReleaseVersion", "PartitionerName")
LISTS = ("LiveNodes", "UnreachableNodes", "JoiningNodes", "LeavingNodes", "MovingNodes")
LISTS_WITH_PORT = tuple(f"{name}WithPort" for name in LISTS)
HOST_IDS = "EndpointToHostId"
HOST_IDS_WITH_PORT = "EndpointWithPortToHostId"
OWNERSHIP = "Ownership"  # a share by endpoint, of owners of tokens only
OWNERSHIP_WITH_PORT = "OwnershipWithPort"

PAXOS_VARIANT = "PaxosVariant"  # of StorageProxy; it can be changed while the node runs

TOKENS = "TokenToEndpointMap"  # it includes the tokens of joining nodes
TOKENS_WITH_PORT = "TokenToEndpointWithPortMap"

# The first request to a node of unknown release: old releases answer 404 to the WithPort half.
INTRODUCTION = (
    *IDENTITY, *STATE, *EXTRA, *LISTS, HOST_IDS, OWNERSHIP, *LISTS_WITH_PORT, HOST_IDS_WITH_PORT, OWNERSHIP_WITH_PORT,
)  # fmt: skip

KEYSPACES = "Keyspaces"
SHARED_KEYSPACES = "NonLocalStrategyKeyspaces"
RANGES = "getRangeToEndpointMap"
RANGES_WITH_PORT = "getRangeToEndpointWithPortMap"
PENDING = "getPendingRangeToEndpointMap"
PENDING_WITH_PORT = "getPendingRangeToEndpointWithPortMap"
REPLICATION = "getKeyspaceReplicationInfo"
DATACENTER = "getDatacenter"
RACK = "getRack"
STATES = "AllEndpointStates"
STATES_WITH_PORT = "AllEndpointStatesWithPort"
SIMPLE_STATES = "SimpleStates"
SIMPLE_STATES_WITH_PORT = "SimpleStatesWithPort"
DOWN_COUNT = "DownEndpointCount"
VALIDITY = "Validity"
READ_LEVEL = "ReadConsistencyLevel"
START_TIME = "StartTime"
STREAMS = "CurrentStreams"
DRAIN = "drain"
DESCRIBE_METADATA = "describeCMS"
COUNT, VALUE = "Count", "Value"

# MBeans that exist only on nodes whose clients log in. PasswordAuthenticator and MutualTlsAuthenticator register theirs
# when they start. AuthProperties follows when the first role other than `cassandra` is read, with any authenticator.
LOGINS = (
    (CREDENTIALS_CACHE, VALIDITY, CREDENTIALS),
    (AUTH_PROPERTIES, READ_LEVEL, AUTH_LEVEL),
    (IDENTITIES_CACHE, VALIDITY, IDENTITIES),
)


def _attributes(mbean: str, *names: str, since: Release = OLDEST) -> tuple[Call, ...]:
    return tuple(Call(mbean=mbean, kind="read", name=name, since=since) for name in names)


def _operations(mbean: str, *names: str, since: Release = OLDEST) -> tuple[Call, ...]:
    return tuple(Call(mbean=mbean, kind="exec", name=name, since=since) for name in names)


# For `doctor` alone: neither is in CALLS, and no poll needs them.
VERSION: Request = {"type": "version"}
UNNEEDED = (RUNTIME, "VmName")  # an agent that allows this has no access policy, or one that is far too wide

CALLS = (
    *_attributes(STORAGE_SERVICE, *IDENTITY, *STATE, *EXTRA, *LISTS, HOST_IDS, OWNERSHIP, TOKENS, KEYSPACES),
    *_attributes(STORAGE_SERVICE, *LISTS_WITH_PORT, HOST_IDS_WITH_PORT, since=WITH_PORT),
    *_attributes(STORAGE_SERVICE, OWNERSHIP_WITH_PORT, TOKENS_WITH_PORT, since=WITH_PORT),
    *_attributes(STORAGE_SERVICE, SHARED_KEYSPACES, since=SHARED),
    *_attributes(STORAGE_PROXY, PAXOS_VARIANT, since=WITH_PAXOS_VARIANT),
    *_operations(STORAGE_SERVICE, RANGES, PENDING),
    *_operations(STORAGE_SERVICE, RANGES_WITH_PORT, PENDING_WITH_PORT, since=WITH_PORT),
    *_operations(STORAGE_SERVICE, REPLICATION, since=REPLICATION_INFO),
    Call(mbean=STORAGE_SERVICE, kind="exec", name=DRAIN, writes=True),  # the only call that writes, for `roll` alone
    *_operations(SNITCH, DATACENTER, RACK),
    *_attributes(FAILURE_DETECTOR, STATES, SIMPLE_STATES, DOWN_COUNT),
    *_attributes(FAILURE_DETECTOR, STATES_WITH_PORT, SIMPLE_STATES_WITH_PORT, since=WITH_PORT),
    *_attributes(RUNTIME, START_TIME),  # of the JVM, for `roll` alone
    *_attributes(STREAM_MANAGER, STREAMS),  # for the gate alone
    *_attributes(CLIENT_REQUESTS, COUNT),  # this and the next three for `roll` alone
    *_attributes(HINTS_CREATED, COUNT),
    *_attributes(HINTS_DELIVERED, COUNT, since=HINTS_SERVICE),
    *_attributes(CONNECTIONS, VALUE),
    *(Call(mbean=mbean, kind="read", name=name, since=since) for mbean, name, since in LOGINS),
    *_operations(METADATA_SERVICE, DESCRIBE_METADATA, since=METADATA),
)

# These are read, in addition to CLIENT_REQUESTS, only if levels follow the queries (`auto`). The patterns are those
# that an access policy allows.
LOGIN_COUNTERS = f"{METRICS}type=Table,keyspace=system_auth,scope=*,name=CoordinatorReadLatency"
ROLE_COUNTERS = f"{METRICS}type=Table,keyspace=system_auth,scope=*,name=CoordinatorWriteLatency"
COUNTED = (
    *_attributes(LOGIN_COUNTERS, COUNT, since=REQUESTS_BY_LEVEL),
    *_attributes(ROLE_COUNTERS, COUNT, since=WITH_PORT),  # CASSANDRA-14232
)


def release(text: str | None) -> Release:
    """The release that decides what may be asked of a node; the oldest if its ReleaseVersion is not known."""
    return parse_release(text) or OLDEST


def lists_of(with_port: bool) -> tuple[str, ...]:  # noqa: FBT001 - which of two names
    """The five liveness attributes, in the order live, unreachable, joining, leaving, moving."""
    return LISTS_WITH_PORT if with_port else LISTS


def read(mbean: str, attribute: str | Sequence[str]) -> Request:
    """A request to read an attribute, or several: one that is missing or denied then fails the whole request."""
    named = attribute if isinstance(attribute, str) else list(attribute)
    return {"type": "read", "mbean": mbean, "attribute": named, "config": NO_LIMITS}


def run(mbean: str, operation: str, *arguments: str) -> Request:
    """A request to execute an operation."""
    return {
        "type": "exec",
        "mbean": mbean,
        "operation": operation,
        "arguments": list(arguments),
        "config": NO_LIMITS,
    }


def reads(attributes: Iterable[str]) -> list[Request]:
    """Requests for attributes of StorageService, one each, so that a failure affects one attribute only."""
    return [read(STORAGE_SERVICE, attribute) for attribute in attributes]


def streams() -> Request:
    """A request for the streams of a node, as initiator or follower; only the beginning of each list.

    `metrics:type=Streaming,name=ActiveOutboundStreams` would be cheaper, but stays 0 since streaming 2.0
    (CASSANDRA-11174).
    """
    return read(STREAM_MANAGER, STREAMS) | {"config": FEW}


def metadata() -> Request:
    """A request for what a node knows of the cluster metadata service: a map of texts."""
    return run(METADATA_SERVICE, DESCRIBE_METADATA)


def drain() -> Request:
    """The request to drain, the only one that writes."""
    return run(STORAGE_SERVICE, DRAIN)


def snitch_target(endpoint: str, asked: Release) -> str:
    """The text by which a node's snitch finds an endpoint.

    Before 4.0 `ip:port` is an error; from 4.0 on it is needed if nodes share an address.
    """
    return endpoint if asked >= WITH_PORT else ip_of(endpoint)


def locations(endpoints: Iterable[str]) -> list[Request]:
    """Requests for datacenter and rack of each endpoint, alternating. Only for a settled node.

    GossipingPropertyFileSnitch caches its first answer. If it is asked before the node knows its peers, the wrong
    answer stays, and the node's own ring shrinks.
    """
    return [run(SNITCH, operation, endpoint) for endpoint in endpoints for operation in (DATACENTER, RACK)]
