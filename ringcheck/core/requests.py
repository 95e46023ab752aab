"""What a node counts of the requests that it coordinates, and what other sources count of them.

Cassandra 3.10 and later count single-partition reads, and writes, by consistency level
(`org.apache.cassandra.metrics:type=ClientRequest,scope=Read-LOCAL_QUORUM,name=Latency`, `StorageProxy.readMetricsMap`).
They count no keyspace there. Scans of ranges are counted without a level, and Cassandra's own reads of system_auth with
those of clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.consistency import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

# No query can be made at LOCAL_ALL. A hint alone satisfies ANY: it needs no replica. Cassandra writes the history of
# repairs and traces at that level.
QUERIED = tuple(level for level in Level if level not in {Level.ANY, Level.LOCAL_ALL})
SCOPES = {
    **{f"Read-{level}": (level, "read") for level in QUERIED},
    **{f"Write-{level}": (level, "write") for level in QUERIED},
}
"""Level and operation of each counter, by its scope. A conditional write counts at its serial level."""

LOGINS = "logins"  # reads of system_auth: roles and permissions, which Cassandra reads for clients that log in
SCANS = "scans"  # range scans, whose level is not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRequests:
    """The counters of one node.

    Attributes:
        node: host id; the address if it is not known.
        address: for texts.
        datacenter: empty if it is not known.
        release: ReleaseVersion; None if it is not known.
        started: when the process was started, in seconds of Unix time by the node's clock; None if it is not known.
        counts: by name: a key of SCOPES, LOGINS or SCANS; None if they could not be read.
        problem: why they could not be read; empty if they could, or if the release has none.
    """

    node: str
    address: str
    datacenter: str = ""
    release: str | None = None
    started: float | None = None
    counts: Mapping[str, int] | None = None
    problem: str = ""


class Use(NamedTuple):
    """What a query needs of the ring, as far as a source can tell.

    Attributes:
        keyspace: empty if the source does not tell keyspaces apart.
        datacenter: of the coordinator; empty if the source does not tell it.
        level: its consistency level.
        operation: `read` or `write`; empty if the source does not tell.
    """

    keyspace: str
    datacenter: str
    level: Level
    operation: str = ""
