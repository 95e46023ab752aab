"""Histories as `ringcheck/history/1` documents, written and read back, and the times that bound them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ringcheck.core.durations import seconds_of
from ringcheck.core.transitions import Entry, Transition
from ringcheck.documents.fields import parse_document
from ringcheck.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.documents.fields import Fields, Json

HISTORY = "ringcheck/history/1"
_SECONDS_DIGITS = 10  # a Unix time with more digits is in milliseconds, as Grafana writes it


def history_document(cluster: str, entries: Iterable[Entry], cursor: int | None) -> Json:
    """A page of a cluster's history.

    Args:
        cluster: its name.
        entries: in the order that was asked for.
        cursor: for the next page; None if there is none.
    """
    return {
        "schema": HISTORY,
        "cluster": cluster,
        "entries": [_written(entry) for entry in entries],
        "cursor": None if cursor is None else str(cursor),
    }


def _written(entry: Entry) -> Json:
    change = entry.change
    return {
        "id": entry.id,
        "at": moment_text(entry.at),
        "kind": change.kind,
        "subject": change.subject,
        "code": change.code or None,
        "level": change.level or None,
        "datacenter": change.datacenter or None,
        "was": change.was,
        "now": change.now,
        "severity": change.severity.name if change.severity else None,
        "text": change.text,
    }


def read_history(text: str | bytes, source: str) -> tuple[tuple[Entry, ...], int | None]:
    """The entries of a document, and the cursor of the next page.

    Args:
        text: JSON.
        source: a URL, for errors.

    Raises:
        DataError: in one line that begins with the source, if a field is missing or wrong.
    """
    document = parse_document(text, source, HISTORY)
    try:
        cluster, cursor = document.required("cluster", str), document.optional("cursor", str)
        return tuple(_read(entry, cluster) for entry in document.objects("entries")), cursor and int(cursor)
    except (DataError, ValueError, OverflowError) as error:
        raise DataError(f"{source} is not a valid {HISTORY} document: {error}") from None


def _read(entry: Fields, cluster: str) -> Entry:
    kind, subject, text, at = entry.texts("kind", "subject", "text", "at")
    code, level, datacenter = (entry.optional(name, str) or "" for name in ("code", "level", "datacenter"))
    was, now = (entry.optional(name, str) for name in ("was", "now"))
    change = Transition(
        kind=kind, subject=subject, code=code, level=level, datacenter=datacenter, was=was, now=now, text=text
    )
    time = round(datetime.fromisoformat(at).timestamp() * 1000)
    return Entry(id=entry.required("id", int), cluster=cluster, at=time, change=change)


def moment_text(milliseconds: int) -> str:
    """A Unix time in milliseconds as `2026-01-31T23:59:59.000Z`."""
    time = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S')}.{milliseconds % 1000:03}Z"


def moment(text: str, now: float) -> int:
    """A time as a user writes it, in milliseconds of Unix time.

    Args:
        text: a duration before now (`90m`, `24h`, `7d`), an ISO 8601 time (UTC unless it names a zone), or a Unix time
            in seconds or, with more than ten digits, in milliseconds.
        now: Unix seconds.

    Raises:
        ValueError: it is none of these.
    """
    if (ago := seconds_of(text)) is not None:
        return int((now - ago) * 1000)
    if re.fullmatch(r"[0-9]{5,15}", text):
        return int(text) * (1 if len(text) > _SECONDS_DIGITS else 1000)
    try:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a time such as 24h, 2026-01-31T12:00:00Z or a Unix time") from None
