"""The counters of client requests that a node keeps: how to ask for them, and how to read the answers.

They are part of the bulk request of a poll, once in a while and only if the levels follow the queries. A counter that
fails affects no other: it is a request of its own within the bulk.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ringcheck.core.uses import LOGINS, ROLES, SCANS, SCOPES
from ringcheck.errors import DataError
from ringcheck.jolokia import mbeans, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.outcomes import Outcome

_STARTED = "StartTime"
_BY_LEVEL = f"{mbeans.CLIENT_REQUEST},name=Latency"
# The tables from which roles and permissions are read for clients; newer releases have more of them.
_AUTH_TABLES = (
    "roles", "role_members", "role_permissions", "network_permissions", "cidr_permissions", "identity_to_role",
)  # fmt: skip
_READ, _WRITTEN = "read ", "written "
_ABSENT = frozenset({outcomes.NOT_FOUND, outcomes.FORBIDDEN})  # of a table that counts as never used


def _counter(pattern: str, scope: str) -> Request:
    return mbeans.read(pattern.replace("*", scope), mbeans.COUNT)


# The counters of levels come first: a read that is counted in between then appears in the counter of a table alone,
# and can be recognised there.
REQUESTS: Mapping[str, Request] = {
    _STARTED: mbeans.read(mbeans.RUNTIME, mbeans.START_TIME),
    **{scope: _counter(_BY_LEVEL, scope) for scope in SCOPES},
    SCANS: _counter(_BY_LEVEL, "RangeSlice"),
    **{f"{_READ}{table}": _counter(mbeans.LOGIN_COUNTERS, table) for table in _AUTH_TABLES},
    **{f"{_WRITTEN}{table}": _counter(mbeans.ROLE_COUNTERS, table) for table in _AUTH_TABLES},
}
NAMES = tuple(REQUESTS)
_PROBE = (_STARTED, next(iter(SCOPES)))  # asked of a node without counters by level, since it may be upgraded


class Counters:
    """What one node counted when it was last asked.

    Attributes:
        names: the counters to ask for; only a few if the node has no counters by level.
        counts: by name as in `core.uses`, without a sum over tables of which one could not be read; None if the
            counters of levels could not be read.
        started: when its process was started, in seconds of Unix time; None if it is not known.
        problem: why `counts` is None, if the node answered.
    """

    __slots__ = ("counts", "names", "problem", "started")

    def __init__(self) -> None:
        self.names = NAMES
        self.begin()

    def begin(self) -> None:
        """Forget the last answer: the node is asked again."""
        self.counts: dict[str, int] | None = None
        self.started: float | None = None
        self.problem = ""

    def take(self, answers: Mapping[str, Outcome]) -> None:
        """Take the outcomes of requests; after a restart there may be more `names` than were asked for.

        The counters of all levels are there from the start, those of scans only once there was one.
        """
        read = dict(_numbers(answers))
        missing = [name for name in SCOPES if name not in read]
        lacks_all = all(answers[name].status == outcomes.NOT_FOUND for name in SCOPES if name in answers)
        self.names = _PROBE if lacks_all else NAMES
        started = read.get(_STARTED)
        self.started = None if started is None else started / 1000
        counts = {name: read[name] for name in SCOPES if name in read} | {SCANS: read.get(SCANS, 0)}
        for name, prefix in ((LOGINS, _READ), (ROLES, _WRITTEN)):
            tables = {key: answer for key, answer in answers.items() if key.startswith(prefix)}
            if all(key in read or answer.status in _ABSENT for key, answer in tables.items()):
                counts[name] = sum(read.get(key, 0) for key in tables)
        self.counts = None if missing else counts
        self.problem = _why(answers.get(missing[0]), missing[0]) if missing else ""


def _numbers(answers: Mapping[str, Outcome]) -> Iterator[tuple[str, int]]:
    for name, answer in answers.items():
        if answer.status == outcomes.OK:
            with suppress(DataError):
                number = outcomes.number(answer.value, name)
                if number >= 0:
                    yield name, number


def _why(answer: Outcome | None, name: str) -> str:
    if answer is None or answer.status == outcomes.NOT_FOUND:
        return f"it has no counter {name}"
    return answer.refusal if answer.status == outcomes.FORBIDDEN else f"its counter {name} can't be read"
