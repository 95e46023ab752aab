"""CQL through exactly one coordinator; its first answer counts: no retry, no speculation, no other host."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import (
    ConstantReconnectionPolicy,
    FallthroughRetryPolicy,
    HostFilterPolicy,
    NoSpeculativeExecutionPolicy,
    RoundRobinPolicy,
)

from tests.cassandra.launch import CQL_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

# The driver reports each node it can't reach; in these tests nodes are down on purpose.
logging.getLogger("cassandra").setLevel(logging.CRITICAL)


@contextmanager
def one_coordinator(
    address: str,
    *,
    protocol_version: int,
    port: int = CQL_PORT,
    consistency: int = ConsistencyLevel.ONE,
    timeout: float = 20,
    keyspace: str | None = None,
    credentials: tuple[str, str] | None = None,
    metadata: bool = False,
) -> Iterator[Any]:
    """Yield a driver session whose every request goes to `address` and `port`.

    `timeout` is the client's own, in seconds; keep it above the server's 5-10 s, so that the server's answer is seen.
    `metadata` lets the driver read schema and tokens, which costs time at each connection.
    """
    profile = ExecutionProfile(
        load_balancing_policy=HostFilterPolicy(RoundRobinPolicy(), lambda host: _is(host, address, port)),
        retry_policy=FallthroughRetryPolicy(),
        speculative_execution_policy=NoSpeculativeExecutionPolicy(),
        consistency_level=consistency,
        request_timeout=timeout,
    )
    driver = Cluster(
        [address],
        port=port,
        protocol_version=protocol_version,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        auth_provider=PlainTextAuthProvider(*credentials) if credentials else None,
        reconnection_policy=ConstantReconnectionPolicy(1),
        connect_timeout=10,
        control_connection_timeout=10,
        schema_metadata_enabled=metadata,
        token_metadata_enabled=metadata,
    )
    try:
        yield driver.connect(keyspace)
    finally:
        driver.shutdown()


def _is(host: Any, address: str, port: int) -> bool:
    """Whether a host of the driver is the coordinator; several instances may have the same address."""
    return bool((host.endpoint.address, host.endpoint.port) == (address, port))
