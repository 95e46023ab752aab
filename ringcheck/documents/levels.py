"""The levels that clients use as `ringcheck/levels/1` documents, written and read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ringcheck.core.level_table import rows, suggested
from ringcheck.core.levels import strictest
from ringcheck.core.observed import EVERY
from ringcheck.core.transitions import utc
from ringcheck.documents.fields import parse_document
from ringcheck.errors import DataError

if TYPE_CHECKING:
    from ringcheck.core.level_table import LevelRow, SuggestedRule
    from ringcheck.core.levels import Following
    from ringcheck.core.observed import Used
    from ringcheck.core.sources import Sources
    from ringcheck.documents.fields import Json

LEVELS = "ringcheck/levels/1"
_ROW = {"keyspace", "datacenter", "level", "operation", "source", "queries", "rate", "last_seen"}
_RULE = {"keyspaces", "critical", "warning", "beside", "client_datacenters"}


def levels_document(cluster: str, sources: Sources, following: Following, at: float, interval: float) -> Json:
    """The levels in use and their evidence.

    Args:
        cluster: its name.
        sources: all evidence.
        following: window, and what counts as used.
        at: now, in seconds of Unix time.
        interval: between two queries to Prometheus, in seconds; 0 if none is configured.
    """
    current = sources.current
    seen = sources.observed(at, following, current.datacenters if current else (), interval)
    return {
        "schema": LEVELS,
        "cluster": cluster,
        "taken_at": utc(at * 1000),
        "window_seconds": following.window,
        "whole": not seen.unclear,
        "unclear": list(seen.unclear),
        "scans": any(evidence.scans for evidence in sources.evidence.values()),
        "uses": [_row(row) for row in rows(sources, at, following.window)],
        "in_use": [_in_use(name, used) for name, uses in sorted(seen.keyspaces.items()) for used in strictest(uses)],
        "client_datacenters": list(seen.clients),
        "rules": [_rule(rule) for rule in suggested(seen)],
        "changes": [
            {
                "keyspace": _keyspace(change.keyspace),
                "was": change.was,
                "now": change.now,
                "at": utc(change.at * 1000),
            }
            for change in (current.changes if current else ())
        ],
    }


def read_levels(text: str | bytes, source: str) -> Json:
    """A document as it was written.

    Args:
        text: JSON.
        source: a URL, for errors.

    Raises:
        DataError: in one line that begins with the source, if the text is not such a document.
    """
    parse_document(text, source, LEVELS)
    document: Json = json.loads(text)
    lists = ("unclear", "uses", "in_use", "rules", "client_datacenters")
    try:
        complete = all(isinstance(document[name], list) for name in lists)
        complete &= all(row.keys() >= _ROW for row in document["uses"])
        complete &= all(row.keys() >= {"keyspace", "datacenter", "level"} for row in document["in_use"])
        complete &= all(row.keys() >= _RULE for row in document["rules"])
        complete &= isinstance(document["window_seconds"], int | float) and document.keys() >= {"whole", "scans"}
    except (KeyError, AttributeError, TypeError):
        complete = False
    if not complete:
        raise DataError(f"{source} is not a valid {LEVELS} document")
    return document


def _keyspace(name: str) -> str | None:
    return None if name in {"", EVERY} else name


def _row(row: LevelRow) -> Json:
    return {
        "keyspace": row.keyspace or None,
        "datacenter": row.datacenter or None,
        "level": row.level.value,
        "operation": row.operation or None,
        "source": row.source,
        "queries": row.queries,
        "rate": row.rate,
        "last_seen": utc(row.last * 1000),
    }


def _in_use(keyspace: str, used: Used) -> Json:
    return {"keyspace": _keyspace(keyspace), "datacenter": used.datacenter or None, "level": used.level.value}


def _rule(rule: SuggestedRule) -> Json:
    return {
        "keyspaces": list(rule.keyspaces),
        "critical": rule.critical.value,
        "warning": rule.warning.value if rule.warning else None,
        "beside": [level.value for level in rule.beside],
        "client_datacenters": list(rule.clients),
    }
