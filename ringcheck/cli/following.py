"""The levels that clients use, for commands that poll by themselves: what the agent's state file knows of them.

A command sees a cluster once, and so no queries. Without the evidence of an agent the verdict uses the default levels
and says so, and the gate does not know what a stop may take (`levels_unclear`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ringcheck.core.sources import read_sources
from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Snapshot


def observed_policy(cluster: Cluster, state: str | None, seen: Snapshot, *, recorded: bool = False) -> Policy:
    """The policy of a cluster with the levels in use.

    Args:
        cluster: whose policy or gate depends on them.
        state: path of the agent's state file; None if none is configured.
        seen: the snapshot that is judged. Its datacenters count: the state file may have older ones.
        recorded: whether it is a recorded snapshot, of whose time the state file shows nothing.
    """
    observing = cluster.observing
    if recorded:
        return cluster.policy_with(None, "a recorded snapshot does not show them")
    if state is None or observing is None:
        return cluster.policy_with(None, "no state file of an agent is configured")
    from ringcheck.history.reader import evidence

    try:
        sources = read_sources(evidence(Path(state), cluster.name))
    except RingcheckError as error:
        return cluster.policy_with(None, str(error))
    if not sources.evidence:
        return cluster.policy_with(None, f"{state} has no evidence of {cluster.name}")
    found = sources.observed(time.time(), observing.following, seen.datacenters, observing.interval)
    return cluster.policy_with(found, "")
