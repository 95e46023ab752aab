"""Another question about a snapshot that the agent already has: other levels, keyspaces or client datacenters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.assess import Question, assess
from ringcheck.core.maintenance import Maintenance

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster
    from ringcheck.core.policy import Policy
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading


def judged(
    reading: Reading, verdict: Verdict, cluster: Cluster, question: Question, datacenters: tuple[str, ...] = ()
) -> Verdict:
    """The verdict on a question about the snapshot of another verdict.

    Args:
        reading: its holders excuse their nodes as in the first verdict.
        verdict: its snapshot is judged again.
        cluster: policy and lease settings.
        question: keyspaces and levels.
        datacenters: client datacenters in place of the configured ones; empty to use the configured ones.

    Raises:
        UsageError: the question does not fit the cluster.
    """
    maintenance = None
    if cluster.lease:
        problem = "the lease store did not answer" if reading.holders is None else None
        holders, ages = reading.holders or (), reading.lease_ages
        maintenance = Maintenance(holders, cluster.lease.deadline, problem, ages=ages)
    return assess(verdict.snapshot, policy_for(reading, cluster, datacenters), question, maintenance)


def policy_for(reading: Reading | None, cluster: Cluster, datacenters: tuple[str, ...] = ()) -> Policy:
    """A cluster's policy with the levels that its clients use, and with other client datacenters if any are given."""
    policy = cluster.policy_with(reading.observed if reading else None, "the first poll is under way")
    return replace(policy, client_datacenters=datacenters) if datacenters else policy
