"""What a node reports of the cluster metadata service (CMS), which keeps schema and topology since Cassandra 6.0."""

from __future__ import annotations

from dataclasses import dataclass

GOSSIP = "GOSSIP"  # SERVICE_STATE of a node whose cluster still keeps its metadata in gossip


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataReport:
    """The state of the metadata service by one node (`CMSOperations.describeCMS`); None means not reported.

    Attributes:
        members: endpoints of the nodes that keep the metadata log, as the node writes them or as addresses of the
            snapshot's nodes; empty until the service is initialised.
        epoch: of the last change that the node has applied.
        state: LOCAL for a member, REMOTE for another node, GOSSIP before the service is initialised, RESET.
        migrating: whether the service is being initialised.
        paused: whether the node refuses to commit changes.
        needs_reconfiguration: whether the replication of the metadata log asks for other members.
    """

    members: frozenset[str]
    epoch: int | None = None
    state: str | None = None
    migrating: bool | None = None
    paused: bool | None = None
    needs_reconfiguration: bool | None = None

    @property
    def initialised(self) -> bool:
        """Whether the service keeps the metadata; before that, gossip keeps it, and no quorum is needed."""
        return self.state != GOSSIP and bool(self.members)
