"""Cassandra's own reads and writes of system_auth, which nodes count together with those of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.consistency import Level, release
from ringcheck.core.policy import auth_level
from ringcheck.core.uses import LOGINS, ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.node_requests import NodeRequests

IN_FLIGHT = 16  # reads of system_auth that may have been counted there and not yet by their level
Names = tuple[str, ...]


def own_levels(node: NodeRequests, auth: str | None) -> tuple[Names, Names]:
    """The counters with which this node counts its own reads of system_auth, and its writes.

    Reads: that of logins, and QUORUM for the user `cassandra` (`CassandraRoleManager.consistencyForRoleRead`). Writes:
    the same before 4.1, EACH_QUORUM since then.
    """
    new = release(node.release) >= (4, 1)
    reported = auth if node.auth_read_level is None else node.auth_read_level
    level = auth_level(reported if new else None, (node.release,))
    reads = dict.fromkeys([level, Level.QUORUM] if level else [])
    writes = dict.fromkeys([Level.EACH_QUORUM if new else Level.LOCAL_ONE, Level.QUORUM])
    return tuple(f"Read-{one}" for one in reads), tuple(f"Write-{one}" for one in writes)


def owed_at_first(values: Mapping[str, int]) -> tuple[int, int]:
    """How many reads, and writes, may be counted later by the level than by the table, for a new process."""
    return IN_FLIGHT if values.get(LOGINS) else 0, IN_FLIGHT if values.get(ROLES) else 0


def without_own(
    counts: Mapping[str, int], owed: tuple[int, int], levels: tuple[Names, Names]
) -> tuple[tuple[int, int], dict[str, int]]:
    """The counts without own reads and writes, as far as they can be distinguished, and how many are still owed."""
    others = dict(counts)
    left = []
    for own, names, before in zip((LOGINS, ROLES), levels, owed, strict=True):
        rest, others = _subtracted(others, names, counts.get(own, 0), before)
        left.append(min(IN_FLIGHT, rest))
    return (left[0], left[1]), others


def _subtracted(counts: dict[str, int], names: Names, own: int, owed: int) -> tuple[int, dict[str, int]]:
    """How many own requests are still to be subtracted, and the counts without the others.

    The counter of a table can be ahead of that of the level by the requests in flight (`owed`), which are subtracted
    only at the first level. If both levels have more requests than there are own ones, they can't be assigned, and both
    counts stay.
    """
    counted_at = [name for name in names if counts.get(name, 0) > 0]
    total = sum(counts[name] for name in counted_at)
    spare = own + owed if names[:1] == tuple(counted_at[:1]) else own
    beside = sum(counts[name] for name in counted_at if name != names[0])
    if total <= spare and beside <= own:
        return own + owed - total, counts | dict.fromkeys(counted_at, 0)
    if len(counted_at) != 1:
        return 0, counts
    return 0 if counted_at[0] == names[0] else owed, counts | {counted_at[0]: total - spare}
