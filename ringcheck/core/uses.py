"""Counters of the requests that nodes coordinate, and the counts of other sources.

Cassandra 3.10 and later count single-partition reads, and writes, by consistency level
(`org.apache.cassandra.metrics:type=ClientRequest,scope=Read-LOCAL_QUORUM,name=Latency`, `StorageProxy.readMetricsMap`).
These counters do not distinguish keyspaces. Scans of ranges are counted without a level. Cassandra's own reads and
writes of system_auth are counted together with those of clients.
"""

from __future__ import annotations

from typing import NamedTuple

from ringcheck.core.consistency import Level

# No query can be made at LOCAL_ALL. A hint alone satisfies ANY: it needs no replica. Cassandra writes the history of
# repairs and traces at that level.
QUERIED = tuple(level for level in Level if level not in {Level.ANY, Level.LOCAL_ALL})
SCOPES = {
    **{f"Read-{level}": (level, "read") for level in QUERIED},
    **{f"Write-{level}": (level, "write") for level in QUERIED},
}
"""Level and operation of each counter, by its scope. A conditional write counts at its serial level."""

MOST = 2**53  # queries that a source may report at once: JSON numbers are exact up to it

LOGINS = "logins"  # reads of system_auth: roles and permissions, which Cassandra reads for clients that log in
ROLES = "roles"  # writes of system_auth: CREATE ROLE, GRANT and the like
SCANS = "scans"  # range scans, whose level is not counted


class Use(NamedTuple):
    """What a query needs of the ring, as far as a source knows it.

    Attributes:
        keyspace: empty if the source does not distinguish keyspaces.
        datacenter: of the coordinator; empty if the source does not know it.
        level: its consistency level.
        operation: `read` or `write`; empty if the source does not know it.
    """

    keyspace: str
    datacenter: str
    level: Level
    operation: str = ""
