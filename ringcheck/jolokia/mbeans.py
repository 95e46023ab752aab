"""What may be asked of Cassandra, in which release, and how the question looks.

Owns names, versions and request payloads. Nothing that is not in `CALLS` is ever sent; a test compares it with the
calls really made and with the access policy in `config/jolokia/jolokia-access.xml`.

Names and versions are those of `service/StorageServiceMBean`, `locator/EndpointSnitchInfoMBean`,
`gms/FailureDetectorMBean`, `auth/AuthCacheMBean` and `auth/AuthPropertiesMXBean` of Apache Cassandra 2.2 to 5.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.release import Release, parse_release

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Request: TypeAlias = "dict[str, Any]"

STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"
SNITCH = "org.apache.cassandra.db:type=EndpointSnitchInfo"
FAILURE_DETECTOR = "org.apache.cassandra.net:type=FailureDetector"
RUNTIME = "java.lang:type=Runtime"
STREAM_MANAGER = "org.apache.cassandra.net:type=StreamManager"
CREDENTIALS_CACHE = "org.apache.cassandra.auth:type=CredentialsCache"
IDENTITIES_CACHE = "org.apache.cassandra.auth:type=IdentitiesCache"
AUTH_PROPERTIES = "org.apache.cassandra.auth:type=AuthProperties"

OLDEST: Release = (0, 0, 0)
WITH_PORT: Release = (4, 0, 0)  # CASSANDRA-7544: several nodes on one address; every WithPort twin is from here
REPLICATION_INFO: Release = (3, 11, 11)  # CASSANDRA-16395 is not in 3.0
SHARED: Release = (3, 0, 6)  # and 3.6, 3.11.0 (CASSANDRA-11627), but not 3.1 to 3.5
CREDENTIALS: Release = (3, 4, 0)  # CASSANDRA-7715
AUTH_LEVEL: Release = (4, 1, 0)  # CASSANDRA-12988
IDENTITIES: Release = (5, 0, 0)  # CASSANDRA-18554

# An agent's own limits cut lists and maps silently; 0 in a request lifts them, any other number does not.
# Stack traces, which Jolokia 1 adds to every error by default, would be most of some replies.
NO_LIMITS = {"maxCollectionSize": 0, "maxObjects": 0, "maxDepth": 0, "includeStackTrace": "false"}
# A stream of many files is a large reply (some 300 bytes a file); a few of each list are enough to know that there is
# one. Jolokia 1 may give one more than asked for.
FEW = NO_LIMITS | {"maxCollectionSize": 2}
CHUNK = 256  # items of one bulk request: the agent answers nobody else meanwhile


@dataclass(frozen=True, slots=True)
class Call:
    """An attribute or operation that may be used.

    Attributes:
        mbean: object name.
        kind: `read` or `exec`.
        name: of the attribute or operation.
        since: first release that has it; all newer ones do, to 5.0 at least.
        writes: whether it changes the node.
    """

    mbean: str
    kind: Literal["read", "exec"]
    name: str
    since: Release = OLDEST
    writes: bool = False


STATE = ("LocalHostId", "OperationMode", "GossipRunning", "NativeTransportRunning")
EXTRA = ("CurrentGenerationNumber", "SchemaVersion")  # a view can be used without them
IDENTITY = ("ClusterName", "ReleaseVersion", "PartitionerName")
LISTS = ("LiveNodes", "UnreachableNodes", "JoiningNodes", "LeavingNodes", "MovingNodes")
LISTS_WITH_PORT = tuple(f"{name}WithPort" for name in LISTS)
HOST_IDS = "EndpointToHostId"
HOST_IDS_WITH_PORT = "EndpointWithPortToHostId"
OWNERSHIP = "Ownership"  # a share by endpoint, for the owners of tokens and for no other
OWNERSHIP_WITH_PORT = "OwnershipWithPort"

TOKENS = "TokenToEndpointMap"  # tokens of joining nodes included
TOKENS_WITH_PORT = "TokenToEndpointWithPortMap"

# Asked of nodes of which nothing is known yet: old releases answer 404 to the WithPort half.
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
VALIDITY = "Validity"
READ_LEVEL = "ReadConsistencyLevel"
START_TIME = "StartTime"
STREAMS = "CurrentStreams"
DRAIN = "drain"

# MBeans that exist only on nodes where clients log in. PasswordAuthenticator and MutualTlsAuthenticator register theirs
# at the start; AuthProperties follows with the first role but `cassandra` that is read, whichever authenticator asks.
LOGINS = (
    (CREDENTIALS_CACHE, VALIDITY, CREDENTIALS),
    (AUTH_PROPERTIES, READ_LEVEL, AUTH_LEVEL),
    (IDENTITIES_CACHE, VALIDITY, IDENTITIES),
)

CALLS = (
    *(Call(STORAGE_SERVICE, "read", name) for name in (*IDENTITY, *STATE, *EXTRA, *LISTS)),
    *(Call(STORAGE_SERVICE, "read", name) for name in (HOST_IDS, OWNERSHIP, TOKENS)),
    Call(STORAGE_SERVICE, "read", KEYSPACES),
    *(Call(STORAGE_SERVICE, "read", name, WITH_PORT) for name in LISTS_WITH_PORT),
    *(
        Call(STORAGE_SERVICE, "read", name, WITH_PORT)
        for name in (HOST_IDS_WITH_PORT, OWNERSHIP_WITH_PORT, TOKENS_WITH_PORT)
    ),
    Call(STORAGE_SERVICE, "read", SHARED_KEYSPACES, SHARED),
    *(Call(STORAGE_SERVICE, "exec", name) for name in (RANGES, PENDING)),
    *(Call(STORAGE_SERVICE, "exec", name, WITH_PORT) for name in (RANGES_WITH_PORT, PENDING_WITH_PORT)),
    Call(STORAGE_SERVICE, "exec", REPLICATION, REPLICATION_INFO),
    Call(STORAGE_SERVICE, "exec", DRAIN, writes=True),  # the only one; `roll` alone uses it
    *(Call(SNITCH, "exec", name) for name in (DATACENTER, RACK)),
    Call(FAILURE_DETECTOR, "read", STATES),
    Call(FAILURE_DETECTOR, "read", STATES_WITH_PORT, WITH_PORT),
    Call(RUNTIME, "read", START_TIME),  # of the JVM; `roll` alone asks
    Call(STREAM_MANAGER, "read", STREAMS),  # for the gate alone
    *(Call(mbean, "read", name, since) for mbean, name, since in LOGINS),
)


def release(text: str | None) -> Release:
    """The release that decides what may be asked of a node; the oldest if its ReleaseVersion is not known."""
    return parse_release(text) or OLDEST


def lists_of(with_port: bool) -> tuple[str, ...]:  # noqa: FBT001 - which of two names
    """The five liveness attributes, in the order live, unreachable, joining, leaving, moving."""
    return LISTS_WITH_PORT if with_port else LISTS


def read(mbean: str, attribute: str | Sequence[str]) -> Request:
    """Read one attribute, or several at once: then one that is missing or denied fails them all."""
    named = attribute if isinstance(attribute, str) else list(attribute)
    return {"type": "read", "mbean": mbean, "attribute": named, "config": NO_LIMITS}


def run(mbean: str, operation: str, *arguments: str) -> Request:
    """Execute an operation."""
    return {
        "type": "exec",
        "mbean": mbean,
        "operation": operation,
        "arguments": list(arguments),
        "config": NO_LIMITS,
    }


def reads(attributes: Iterable[str]) -> list[Request]:
    """Attributes of StorageService as a bulk of single reads, so that each one fails alone."""
    return [read(STORAGE_SERVICE, attribute) for attribute in attributes]


def streams() -> Request:
    """What a node streams, as initiator or as follower; only the beginning of each list.

    `metrics:type=Streaming,name=ActiveOutboundStreams` would be cheaper, but nothing counts in it since streaming 2.0
    (CASSANDRA-11174).
    """
    return read(STREAM_MANAGER, STREAMS) | {"config": FEW}


def drain() -> Request:
    """The one call that writes."""
    return run(STORAGE_SERVICE, DRAIN)


def locations(endpoints: Iterable[str]) -> list[Request]:
    """Datacenter and rack of each endpoint, alternating. Only for a settled node.

    GossipingPropertyFileSnitch caches what it knows when first asked: asked too early, it shrinks the node's own ring.
    """
    return [run(SNITCH, operation, endpoint) for endpoint in endpoints for operation in (DATACENTER, RACK)]
