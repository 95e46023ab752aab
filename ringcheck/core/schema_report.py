"""The keyspaces that nodes of one schema version know: values of a snapshot. `core.schemas` compares them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyspaceReport:
    """A keyspace as a node knows it.

    Attributes:
        name: of the keyspace.
        replication: text of a `ring.Replication`, as the node reports it; None if it does not (before 3.11.11).
        same_ranges: whether its ranges have the same replicas as in the ring that was read; None if this was not
            compared.
    """

    name: str
    replication: str | None
    same_ranges: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaReport:
    """The keyspaces of the nodes that have one schema version.

    Attributes:
        version: UUID text; None if the nodes do not report it.
        nodes: addresses of the nodes that have it, sorted.
        asked: address of the node that reported the keyspaces; None if none of those that were asked did.
        reason: why none did.
        of_ring: whether the ring was read from one of these nodes.
        keyspaces: those whose replicas are placed by token, sorted by name.
    """

    version: str | None
    nodes: tuple[str, ...]
    asked: str | None
    reason: str | None = None
    of_ring: bool = False
    keyspaces: tuple[KeyspaceReport, ...] = ()
