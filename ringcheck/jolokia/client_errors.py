"""Reads a coordinator's counters of its clients' requests, of hints, and of its clients' connections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ringcheck.core.client_errors import ERRORS, ClientCounters
from ringcheck.errors import DataError
from ringcheck.jolokia import mbeans, outcomes

if TYPE_CHECKING:
    from ringcheck.jolokia.mbeans import Request
    from ringcheck.jolokia.outcomes import Outcome

_SCOPE = re.compile(r"[A-Za-z]+(-[A-Z_]+)?")
_MOST = 256  # scopes of one metric: 6 kinds of requests, and reads and writes at 12 levels


def requests() -> list[Request]:
    """The requests of one reading."""
    errors = [mbeans.read(f"{mbeans.CLIENT_REQUEST},name={name}", mbeans.COUNT) for name in ERRORS]
    hints = [mbeans.read(name, mbeans.COUNT) for name in (mbeans.HINTS_CREATED, mbeans.HINTS_DELIVERED)]
    return [*errors, *hints, mbeans.read(mbeans.CONNECTIONS, mbeans.VALUE)]


def counters(answers: list[Outcome]) -> ClientCounters:
    """What a node answered to `requests`.

    A node of 3.0 or later registers `HintsSucceeded` when it first delivers a hint.

    Raises:
        SourceError: if the agent's policy forbids reading the errors.
        DataError: if an answer can't be used.
    """
    *errors, created, delivered, connections = answers
    found: dict[tuple[str, str], int] = {}
    for name, answer in zip(ERRORS, errors, strict=True):
        found |= {(scope, name): count for scope, count in _by_scope(answer, name).items()}
    return ClientCounters(
        errors=found,
        hints_created=_number(created, "TotalHints"),
        hints_delivered=0 if outcomes.is_missing_mbean(delivered) else _number(delivered, "HintsSucceeded"),
        connections=_number(connections, "connectedNativeClients"),
    )


def _by_scope(answer: Outcome, name: str) -> dict[str, int]:
    values = answer.get(name)
    if not isinstance(values, dict) or len(values) > _MOST:
        raise DataError(f"{name}: not a map of MBeans: {outcomes.shortened(values)}")
    return {_scope(bean): _count(value, name) for bean, value in values.items()}


def _scope(bean: str) -> str:
    properties = dict(pair.partition("=")[::2] for pair in bean.partition(":")[2].split(","))
    scope = properties.get("scope", "")
    if not _SCOPE.fullmatch(scope):
        raise DataError(f"an MBean of client requests without a scope: {outcomes.shortened(bean)}")
    return scope


def _count(value: Any, name: str) -> int:  # noqa: ANN401 - decoded JSON
    return outcomes.number(value.get(mbeans.COUNT) if isinstance(value, dict) else value, name)


def _number(answer: Outcome, name: str) -> int | None:
    """A number; None if the node does not have this metric or does not allow reading it."""
    return outcomes.number(answer.value, name) if answer.status == outcomes.OK else None
