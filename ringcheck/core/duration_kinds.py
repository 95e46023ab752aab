"""Rows of the table of findings about time limits and replication; `core.findings` has the table."""

from __future__ import annotations

from ringcheck.core.finding_kind import FindingKind
from ringcheck.core.policy import Severity

DURATION_KINDS = (
    FindingKind(
        code="down_past_hints",
        severity=Severity.WARNING,
        meaning="A node has been down for longer than hints are kept for it (`limits: {hint_window: ...}`).",
        next_step="Bring it back and repair it (`nodetool repair`), or replace it.",
        gate="note",
    ),
    FindingKind(
        code="down_past_gc_grace",
        severity=Severity.WARNING,
        meaning="A node has been down for longer than `gc_grace_seconds`: if it started again, it would bring back "
        "deleted data.",
        next_step="Don't start it again with its data: replace or remove it.",
        gate="note",
    ),
    FindingKind(
        code="movement_too_long",
        severity=Severity.WARNING,
        meaning="A node has been joining, leaving or moving, or has been removed or replaced, for longer than `limits: "
        "{movement: ...}`.",
        next_step="Look at `nodetool netstats` on the node; resume a bootstrap that failed, or abort it.",
        gate="note",
    ),
    FindingKind(
        code="replication_without_nodes",
        severity=Severity.WARNING,
        meaning="The replication of a keyspace names a datacenter that has no nodes; QUORUM and ALL still count "
        "replicas there.",
        next_step="Correct the name, or leave out the datacenter: `ALTER KEYSPACE ... WITH replication`.",
        gate="note",
    ),
)
