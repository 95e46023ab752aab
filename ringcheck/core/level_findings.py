"""Findings about levels that follow the queries: changes, and missing evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.findings import noted
from ringcheck.core.observed import EVERY
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.findings import Finding
    from ringcheck.core.policy import Policy

_ASK = "the agent knows them: `--agent`, or `agent: {state: FILE}`"


def of_levels(policy: Policy, cluster: str) -> Iterator[Finding]:
    """The findings of a policy whose levels follow the queries, or whose gate keeps those in use.

    Args:
        policy: with the levels in use, as far as they are known.
        cluster: its name.
    """
    seen = policy.observed
    if policy.follows and seen is None:
        text = f"the levels that clients use are not known: {policy.unobserved or 'no evidence was collected'}"
        yield noted("levels_unclear", cluster, f"{text}; the default levels hold", _ASK)
    if seen is None:
        return
    if policy.follows and seen.unclear:
        text = f"the levels that clients use are not fully known: {listed(seen.unclear)}"
        yield noted("levels_unclear", cluster, f"{text}; the default levels hold beside those in use")
    for change in seen.changes:
        subject = cluster if change.keyspace == EVERY else change.keyspace
        yield noted("level_changed", subject, change.summary)
