"""Sessions of `watch`: polls a second apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ringcheck.core.assess import Question, assess
from ringcheck.core.policy import Policy
from ringcheck.report.changes import Session

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)


def verdict(seen: Snapshot, second: int = 0) -> Verdict:
    """The verdict on a snapshot that was taken this many seconds after START."""
    at = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return assess(replace(seen, taken_at=at), Policy(), Question())


def session(*seen: Snapshot) -> Session:
    """A session that has polled these snapshots."""
    watched = Session()
    for second, snapshot in enumerate(seen):
        watched.add(verdict(snapshot, second))
    return watched
