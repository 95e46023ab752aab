"""Findings and reasons about levels that follow the queries: changes, and missing evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.findings import noted
from ringcheck.core.observed import EVERY
from ringcheck.core.reasons import reason
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.findings import Finding
    from ringcheck.core.observed import Observed
    from ringcheck.core.policy import Policy
    from ringcheck.core.reasons import Reason

_ASK = "the agent knows them: `--agent`, or `agent: {state: FILE}`"


def of_levels(policy: Policy, cluster: str) -> Iterator[Finding]:
    """The findings of a policy whose levels follow the queries, or whose gate keeps those in use.

    Args:
        policy: with the levels in use, as far as they are known.
        cluster: its name.
    """
    seen = policy.observed
    if policy.follows and seen is None:
        yield noted("levels_unclear", cluster, f"{_not_known(policy)}; the default levels apply", _ASK)
    if seen is None:
        return
    if policy.follows and seen.unclear:
        yield noted(
            "levels_unclear", cluster, f"{_not_fully(seen)}; the default levels apply in addition to those in use"
        )
    for change in seen.changes:
        subject = cluster if change.keyspace == EVERY else change.keyspace
        yield noted("level_changed", subject, change.summary)


def unclear_levels(policy: Policy, cluster: str) -> Iterator[Reason]:
    """The reason of the gate for levels in use that it can't keep because they are not known, or not fully.

    Args:
        policy: with the levels in use, as far as they are known.
        cluster: its name.
    """
    seen = policy.observed
    if policy.blind:
        yield reason("levels_unclear", cluster, _not_known(policy))
    elif seen and seen.unclear:
        yield reason("levels_unclear", cluster, _not_fully(seen), blocks=False)


def _not_known(policy: Policy) -> str:
    why = listed(policy.observed.unclear) if policy.observed else policy.unobserved
    return f"the levels that clients use are not known: {why or 'no evidence was collected'}"


def _not_fully(seen: Observed) -> str:
    return f"the levels that clients use are not fully known: {listed(seen.unclear)}"
