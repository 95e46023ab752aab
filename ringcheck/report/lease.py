"""Restart leases, as a document and as text: their holders, their ages, and which were broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.maintenance import unix_seconds
from ringcheck.core.words import counted
from ringcheck.report.terminal import fitted, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.maintenance import Holder
    from ringcheck.documents.fields import Json
    from ringcheck.report.terminal import Line

LEASES = "ringcheck/leases/1"
_IN_MINUTES, _IN_HOURS = 120, 7200  # seconds


def leases_document(
    cluster: str,
    store: str,
    taken_at: str,
    deadline: float,
    holders: Iterable[Holder],
    history: Iterable[tuple[Holder, str, str, str]],
) -> Json:
    """A cluster's leases as `ringcheck/leases/1`.

    Args:
        cluster: its name.
        store: where the leases are kept, in words.
        taken_at: UTC, when they were read.
        deadline: seconds that a lease may last.
        holders: the leases in force.
        history: leases that were broken: the lease, by whom, why, and when.
    """
    return {
        "schema": LEASES,
        "cluster": cluster,
        "taken_at": taken_at,
        "store": store,
        "deadline": deadline,
        "holders": [_holder(holder, taken_at, deadline) for holder in holders],
        "history": [{**_fields(holder), "by": by, "reason": why, "taken_at": at} for holder, by, why, at in history],
    }


def _holder(holder: Holder, taken_at: str, deadline: float) -> Json:
    # 0 for a time that can't be read, which makes the lease overdue, as everywhere.
    age = (unix_seconds(taken_at) or 0.0) - (unix_seconds(holder.since) or 0.0)
    # A lease that begins far in the future is overdue, not young: the clocks differ too much for its age to be known.
    return {**_fields(holder), "age": age, "overdue": abs(age) > deadline}


def _fields(holder: Holder) -> Json:
    return {name: getattr(holder, name) for name in ("node", "owner", "purpose", "since", "host_id")}


def render(document: Json, *, colour: bool = False, width: int | None = None) -> str:
    """A `ringcheck/leases/1` document as text, a line for each lease.

    Args:
        document: what to show.
        colour: paint overdue leases with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    return fitted(_lines(document), width, colour=colour)


def _lines(document: Json) -> Iterator[Line]:
    holders = document["holders"]
    nodes = counted(len(holders), "node") if holders else "no node"
    yield plain(f"{document['cluster']}: {nodes} under a restart lease; {document['store']}")
    for lease in holders:
        purpose = f": {lease['purpose']}" if lease["purpose"] else ""
        holder = f"{lease['node']} for {span(lease['age'])}, since {lease['since']}, of {lease['owner']}"
        yield (f"  {holder}{purpose}", ""), *(_late(document) if lease["overdue"] else ())
    if document["history"]:
        yield plain("")
        yield plain("Broken leases")
    for lease in document["history"]:
        yield plain(f"  {lease['node']} from {lease['owner']} by {lease['by']}, {lease['taken_at']}: {lease['reason']}")


def _late(document: Json) -> Line:
    return ("; ", ""), ("OVERDUE", "WARNING"), (f": {span(document['deadline'])} are allowed", "")


def span(seconds: float) -> str:
    """A duration rounded to seconds, minutes or hours: `90 s`, `45 min`, `3 h`."""
    if abs(seconds) >= _IN_HOURS:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 60)} min" if abs(seconds) >= _IN_MINUTES else f"{round(seconds)} s"
