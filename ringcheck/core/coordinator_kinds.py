"""The rows of the table of findings for what clients lack though their ranges are served."""

from __future__ import annotations

from ringcheck.core.finding_kind import FindingKind
from ringcheck.core.policy import Severity

COORDINATOR_KINDS = (
    FindingKind(
        code="no_coordinator",
        severity=Severity.WARNING,
        meaning="No node of a datacenter with clients serves clients, so that they have no node to connect to, "
        "although every range can be served at its level. CRITICAL if `client_datacenters` names the datacenter.",
        next_step="Bring back a node of that datacenter. If it has no clients, name the others in "
        "`client_datacenters`.",
        gate="judged",
    ),
    FindingKind(
        code="logged_batches",
        severity=Severity.OK,
        meaning="A coordinator reaches no other node of its datacenter, which has several. Logged batches that write "
        "several partitions are Unavailable there at every level, because their log goes to another node of the "
        "datacenter. Left out if its clients lose ranges anyway.",
        next_step="Bring back a node of that datacenter.",
        gate="judged",
    ),
)
