"""The table of nodes as a `ringcheck/nodes/1` document."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.core.node_status import NodeStatus
    from ringcheck.core.ring import Snapshot
    from ringcheck.documents.fields import Json

NODES = "ringcheck/nodes/1"
_FIELDS = (
    "address", "host_id", "datacenter", "rack", "release_version", "tokens", "mode", "gossip_running",
    "native_transport_running",
)  # fmt: skip


def nodes_document(snapshot: Snapshot, statuses: Sequence[NodeStatus]) -> Json:
    """The nodes as `ringcheck/nodes/1`, in their order."""
    return {
        "schema": NODES,
        "cluster": snapshot.cluster,
        "taken_at": snapshot.taken_at,
        "nodes": [_node(status) for status in statuses],
    }


def _node(status: NodeStatus) -> Json:
    view, stop, lease = status.view, status.stop, status.lease
    return {
        **{name: getattr(status.node, name) for name in _FIELDS},
        "state": status.state,
        "since": status.since,
        "begin_seen": status.begin_seen,
        "seen_down_by": list(status.seen_down_by),
        "problem": status.wrong,
        "jolokia": status.node.source,
        "view": view and {"outcome": view.outcome, "reason": view.reason},
        "lease": lease and {"owner": lease.owner, "purpose": lease.purpose, "since": lease.since},
        "stop": stop and {
            "decision": stop.decision,
            "code": stop.reason and stop.reason.code,
            "summary": stop.reason and stop.reason.summary,
        },
    }  # fmt: skip
