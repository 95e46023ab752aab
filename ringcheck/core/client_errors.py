"""The counters that coordinators keep of their clients' requests, and their increase between two readings.

Counters begin at 0 when a process starts, and only grow. A coordinator counts a failed request once, so that the sum
over all nodes is the number of errors that clients were sent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ringcheck.core.release import Release

HINTS_SERVICE: Release = (3, 0, 0)  # the first release that counts delivered hints (CASSANDRA-6230)
UNAVAILABLES = "Unavailables"
ERRORS = (UNAVAILABLES, "Timeouts", "Failures")  # names of metrics: too few replicas up, too late, replicas failed

Errors: TypeAlias = "Mapping[tuple[str, str], int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCounters:
    """What one coordinator has counted since its process started.

    Attributes:
        errors: failed requests by scope (`Read-LOCAL_QUORUM`, `CASWrite`) and metric (one of `ERRORS`).
        hints_created: hints that the node has stored for others; None if it does not report that.
        hints_delivered: hints that others have acknowledged, from 3.0 on; None if it does not report that.
        connections: native connections of clients that are open now; None if it does not report that.
    """

    errors: Errors = field(default_factory=dict)
    hints_created: int | None = None
    hints_delivered: int | None = None
    connections: int | None = None


def new_errors(
    before: Mapping[str, ClientCounters], after: Mapping[str, ClientCounters], restarted: Collection[str]
) -> Counter[tuple[str, str]]:
    """Errors that coordinators counted between two readings, by scope and metric.

    Args:
        before: the first reading, by node.
        after: the second reading; counters of a node that is not in the first one are taken to begin at 0.
        restarted: nodes whose process is known to be a new one, so that their counters began again.
    """
    total: Counter[tuple[str, str]] = Counter()
    for node, now in after.items():
        then = before.get(node) if node not in restarted else None
        total.update(_increase(then.errors if then else {}, now.errors))
    return +total


def _increase(before: Errors, after: Errors) -> dict[tuple[str, str], int]:
    """By how much counters have grown; one that is smaller now began again at 0."""
    levels = {(scope.partition("-")[0], name) for scope, name in after if "-" in scope}
    return {
        key: count - before.get(key, 0) if count >= before.get(key, 0) else count
        for key, count in after.items()
        if key not in levels  # the sum over all levels, which are counted one by one (3.11+)
    }


def by_name(errors: Errors) -> dict[str, int]:
    """Errors by scope and metric in one text: `Read-QUORUM Unavailables`, sorted."""
    return {f"{scope} {metric}": count for (scope, metric), count in sorted(errors.items())}


def read_names(errors: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Errors from the texts of `by_name`."""
    parts = {name: name.rpartition(" ") for name in errors}
    return {(parts[name][0], parts[name][2]): count for name, count in errors.items()}


def in_words(errors: Mapping[str, int]) -> str:
    """`12 Read-QUORUM Unavailables, 3 Write-ONE Timeouts`: errors of `by_name`, the most frequent first."""
    return listed([f"{count} {name}" for name, count in sorted(errors.items(), key=lambda item: (-item[1], item[0]))])


def hints_left(before: Mapping[str, ClientCounters], after: Mapping[str, ClientCounters]) -> dict[str, int] | None:
    """Hints that were created since the first reading and are not delivered, for each node that holds some.

    None if a node does not report them.

    A node that was restarted in between keeps its hints in files and forgets its counters; it is left out. Each node
    is counted alone: if one node delivers old hints, that says nothing about the new hints of another node.
    """
    left = {}
    for node, then in before.items():
        now = after.get(node)
        if now is None:
            return None
        created = _grown(then.hints_created, now.hints_created)
        delivered = _grown(then.hints_delivered, now.hints_delivered)
        if created is None or delivered is None:
            return None
        if delivered >= 0 and created > delivered:
            left[node] = created - delivered
    return left


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
