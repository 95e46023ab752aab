"""Restart leases for people and programs: who holds them, for how long, and which were taken away."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ringcheck.core.words import counted
from ringcheck.report.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.maintenance import Holder
    from ringcheck.documents.fields import Json

LEASES = "ringcheck/leases/1"
_IN_MINUTES, _IN_HOURS = 120, 7200  # seconds


def leases_document(  # noqa: PLR0913, PLR0917 - the document's own fields
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
        store: where they are kept, in words.
        taken_at: UTC, when they were read.
        deadline: seconds that a lease may last.
        holders: as they stand.
        history: leases that were taken away: the lease, by whom, why, and when.
    """
    return {
        "schema": LEASES,
        "cluster": cluster,
        "taken_at": taken_at,
        "store": store,
        "deadline": deadline,
        "holders": [_holder(one, taken_at, deadline) for one in holders],
        "history": [{**_fields(one), "by": by, "reason": why, "taken_at": at} for one, by, why, at in history],
    }


def _holder(one: Holder, taken_at: str, deadline: float) -> Json:
    age = (datetime.fromisoformat(taken_at) - datetime.fromisoformat(one.since)).total_seconds()
    # A lease of tomorrow is no young one: clocks that far apart are not believed.
    return {**_fields(one), "age": age, "overdue": abs(age) > deadline}


def _fields(one: Holder) -> Json:
    return {name: getattr(one, name) for name in ("node", "owner", "purpose", "since", "host_id")}


def render(document: Json) -> str:
    """The same in words, a line each."""
    return "\n".join(printable(line) for line in _lines(document))


def _lines(document: Json) -> Iterator[str]:
    holders = document["holders"]
    what = counted(len(holders), "node") if holders else "no node"
    yield f"{document['cluster']}: {what} under a restart lease; {document['store']}"
    for one in holders:
        late = f"; OVERDUE: {span(document['deadline'])} are allowed" if one["overdue"] else ""
        yield f"  {one['node']} for {span(one['age'])}, since {one['since']}, of {one['owner']}{_why(one)}{late}"
    if document["history"]:
        yield ""
        yield "Taken away"
    for one in document["history"]:
        yield f"  {one['node']} from {one['owner']} by {one['by']}, {one['taken_at']}: {one['reason']}"


def _why(one: Json) -> str:
    return f": {one['purpose']}" if one["purpose"] else ""


def span(seconds: float) -> str:
    """A duration as people say it."""
    if abs(seconds) >= _IN_HOURS:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 60)} min" if abs(seconds) >= _IN_MINUTES else f"{round(seconds)} s"
