"""Since when facts hold, after the clock was set and after a restart of the agent.

Pure. Times are kept by the clock that can be set, since only that one still counts after a restart. While the agent
runs, it notices that the clock was set, and moves the times. In a time without an agent the clock may have been set
unseen: then no duration becomes negative, and that time does not count for `watched_down`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.fact_kinds import WATCHED_DOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.transitions import Key, Known

_IDENTIFIED_BY_TIME = "level_change"  # its time identifies a change, and is not the start of a state


def moved(known: Mapping[Key, Known], milliseconds: int, kind: str | None = None) -> dict[Key, Known]:
    """The facts, with times that are later by some milliseconds; `kind` restricts that to facts of one kind."""

    def began(key: Key, since: int) -> int:
        stays = key.kind == _IDENTIFIED_BY_TIME or kind not in {None, key.kind}
        return since if stays else since + milliseconds

    return {key: entry._replace(since=began(key, entry.since)) for key, entry in known.items()}


def resumed(known: Mapping[Key, Known], unwatched: int, begun: int) -> dict[Key, Known]:
    """The facts of an earlier process.

    Args:
        known: the facts, and since when they hold.
        unwatched: milliseconds by the clock since its last sign of life; negative if the clock was set back.
        begun: when this process began: no fact holds since a later time.
    """
    facts = moved(known, unwatched, WATCHED_DOWN if unwatched > 0 else None)
    return {
        key: entry._replace(since=min(entry.since, begun)) if key.kind != _IDENTIFIED_BY_TIME else entry
        for key, entry in facts.items()
    }


def continued(earlier: Mapping[Key, Known], later: Mapping[Key, Known]) -> dict[Key, Known]:
    """The facts of an earlier process and of this one, which began to poll before it could read the earlier ones.

    What the polls did not change holds since the earlier time, and what they did not show is as it was.
    """
    first = min((entry.since for entry in later.values()), default=0)
    unchanged = {
        key
        for key, entry in later.items()
        if key in earlier and entry.since == first and entry.fact.value == earlier[key].fact.value
    }
    return {**earlier, **{key: earlier[key] if key in unchanged else entry for key, entry in later.items()}}
