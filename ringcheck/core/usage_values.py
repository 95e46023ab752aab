"""The evidence of the levels in use as plain values, for the state file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.consistency import Level
from ringcheck.core.usage import BUCKETS, Evidence, Reading, Seen
from ringcheck.core.uses import Use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def plain(evidence: Evidence) -> dict[str, object]:
    """Lists, texts and numbers from which `read_plain` restores the evidence."""
    return {
        "at": evidence.at,
        "since": evidence.since,
        "gaps": list(evidence.gaps),
        "scans": dict(evidence.scans),
        "floor": evidence.floor,
        "window": evidence.window,
        "unread": None if evidence.unread is None else dict(evidence.unread),
        "uses": [[*use, seen.last, seen.counts] for use, seen in evidence.uses.items()],
        "readings": {name: _row(reading) for name, reading in evidence.readings.items()},
    }


def _row(reading: Reading) -> list[object]:
    values, owed = dict(reading.values), list(reading.owed)
    return [reading.at, reading.since, reading.started, values, owed, reading.generation]


def read_plain(values: Mapping[str, object]) -> Evidence:
    """The evidence from plain values, also of an older document, which lacks some of them.

    Raises:
        KeyError, TypeError, ValueError: if they are not those of `plain`.
    """
    uses = {}
    for keyspace, datacenter, level, operation, last, counts in _rows(values["uses"]):
        parts = tuple((int(begin), int(count)) for begin, count in counts)
        uses[Use(str(keyspace), str(datacenter), Level(level), str(operation))] = Seen(float(last), parts)
    readings = {str(name): _reading(*row) for name, row in _mapping(values["readings"]).items()}
    unread = values.get("unread")
    return Evidence(
        uses=uses,
        readings=readings,
        at=_time(values["at"]),
        since=_time(values["since"]),
        scans=_scans(values["scans"]),
        gaps=tuple(map(str, _rows(values["gaps"]))),
        unread=None if unread is None else {str(name): float(absent) for name, absent in _mapping(unread).items()},
        floor=_time(values.get("floor")) or 0.0,
        window=_time(values["window"]) if "window" in values else _shown(uses, _time(values["at"])),
    )


def _reading(
    at: float, since: float, started: object, values: object, owed: Sequence[int], generation: int | None = None
) -> Reading:
    return Reading(
        at=float(at),
        since=float(since),
        started=_time(started),
        generation=None if generation is None else int(generation),
        values={str(name): int(value) for name, value in _mapping(values).items()},
        owed=(int(owed[0]), int(owed[1])),
    )


def _shown(uses: Mapping[Use, Seen], at: float | None) -> float | None:
    """The window of an older document, which does not state it: at least as long as its counts show."""
    if at is None:
        return None
    oldest = min((seen.counts[0][0] for seen in uses.values() if seen.counts), default=at)
    return max(0.0, at - oldest) * BUCKETS / (BUCKETS + 1)  # one part more than the window may be kept


def _scans(value: object) -> dict[str, float]:
    """By datacenter; an older document has one time for all."""
    if isinstance(value, dict):
        return {str(name): float(last) for name, last in value.items()}
    last = _time(value)
    return {} if last is None else {"": last}


def _rows(value: object) -> list:  # type: ignore[type-arg]  # of whatever JSON has there
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _mapping(value: object) -> dict:  # type: ignore[type-arg]  # of whatever JSON has there
    if not isinstance(value, dict):
        raise TypeError("not a mapping")
    return value


def _time(value: object) -> float | None:
    if value is not None and not isinstance(value, int | float):
        raise TypeError("not a time")
    return None if value is None else float(value)
