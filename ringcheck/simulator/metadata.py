"""The cluster metadata service of an embedded cluster, as nodes of Cassandra 6.0 and newer report it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringcheck.core.ring import Factor, Replication

if TYPE_CHECKING:
    from collections.abc import Sequence

SINCE = (6, 0)
KEYSPACE = "system_cluster_metadata"
STRATEGY = "MetaStrategy"
_CLASS = f"org.apache.cassandra.locator.{STRATEGY}"


@dataclass(slots=True, kw_only=True)
class SimMetadata:
    """The state of the metadata service; tests change it as they like.

    Attributes:
        members: indexes of the nodes that keep the log of changes.
        epoch: number of the last change.
        initialised: False if the cluster was upgraded and still keeps its metadata in gossip.
        paused: nodes that refuse to commit changes.
        behind: by node, how many changes it has not applied yet.
        believed: by node, the members that it reports, if they differ from `members`.
    """

    members: tuple[int, ...]
    epoch: int = 20
    initialised: bool = True
    paused: frozenset[int] = frozenset()
    behind: dict[int, int] = field(default_factory=dict)
    believed: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def describe(self, node: int, names: Sequence[str]) -> dict[str, str]:
        """What `describeCMS` of a node returns.

        Args:
            node: index of the node.
            names: of all nodes, as Java writes their addresses with ports.
        """
        members = self.believed.get(node, self.members) if self.initialised else ()
        state = "LOCAL" if node in members else "REMOTE"
        return {
            "MEMBERS": ",".join(sorted(names[member] for member in members)),
            "IS_MEMBER": _text(node in members),
            "LOCAL_PENDING": "0",
            "SERVICE_STATE": state if self.initialised else "GOSSIP",
            "EPOCH": str(self.epoch - self.behind.get(node, 0)),
            "CMS_ID": "2130717273",
            "NEEDS_RECONFIGURATION": "false",
            "COMMITS_PAUSED": _text(node in self.paused),
            "IS_MIGRATING": "false",
            "REPLICATION_FACTOR": f"ReplicationParams{{class={_CLASS}, dc1={len(members)}}}",
        }


def _text(flag: bool) -> str:  # noqa: FBT001 - as Java writes it
    return str(flag).lower()


def log_replication(members: int) -> Replication:
    """The replication of the metadata log."""
    return Replication.of(STRATEGY, {"dc1": Factor(members)})
