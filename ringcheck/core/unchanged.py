"""Snapshots that differ in nothing but the time: what was derived from one holds for the other.

Most polls of most clusters show what the poll before them showed. The only judgements that depend on the time of a
snapshot are the age of restart leases and of nodes that were started a moment ago.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.evidence import evidence_of

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot


def equal_but_for_time(snapshot: Snapshot, before: Snapshot) -> bool:
    """Whether two snapshots differ in nothing but the time."""
    return replace(snapshot, taken_at=before.taken_at) == before


def shows_the_same(snapshot: Snapshot, before: Snapshot) -> bool:
    """Whether two snapshots differ in nothing but the time; if so, the first one takes over the other's evidence."""
    if not equal_but_for_time(snapshot, before):
        return False
    evidence = copy(evidence_of(before))
    evidence.snapshot = snapshot
    snapshot.memo["evidence"] = evidence
    for name in ("index", "datacenters", "layout"):
        snapshot.__dict__[name] = getattr(before, name)
    return True
