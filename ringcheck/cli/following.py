"""The levels that clients use, for commands that poll by themselves: what the agent's state file knows of them.

A command sees a cluster once, and so no queries. Without the evidence of an agent it uses the default levels, and the
verdict says so.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ringcheck.core.levels import with_observed
from ringcheck.core.sources import read_sources
from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster
    from ringcheck.core.policy import Policy


def observed_policy(cluster: Cluster, state: str | None) -> Policy:
    """The policy of a cluster with the levels in use.

    Args:
        cluster: whose policy or gate depends on them.
        state: path of the agent's state file; None if none is configured, or it says nothing of this snapshot.
    """
    observing = cluster.observing
    if state is None or observing is None:
        return with_observed(cluster.policy, None, "no state file of an agent is configured")
    from ringcheck.history.reader import evidence

    try:
        sources = read_sources(evidence(Path(state), cluster.name))
    except RingcheckError as error:
        return with_observed(cluster.policy, None, str(error))
    if sources.current is None:
        return with_observed(cluster.policy, None, f"{state} has no evidence of {cluster.name}")
    datacenters = sources.current.datacenters
    seen = sources.observed(time.time(), observing.following, datacenters, observing.interval)
    return with_observed(cluster.policy, seen)
