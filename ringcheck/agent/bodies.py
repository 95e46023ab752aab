"""JSON Schemas of bodies that are not versioned documents: those of requests, and small answers.

The handlers check requests by their own rules, with an error that names the field; tests compare the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ringcheck.agent import evictions, fleetlock, guard, observed, preflight
from ringcheck.core.actions import NAMES, NEWCOMERS
from ringcheck.core.consistency import Level
from ringcheck.core.reasons import REASONS
from ringcheck.core.uses import MOST

if TYPE_CHECKING:
    from collections.abc import Iterable

LEVEL = {"enum": [level.value for level in Level]}
GATE_LEVEL = {"enum": [level.value for level in Level if level is not Level.ANY]}
_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1}
_NAMES = {"type": "array", "items": _NAME}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - schemas
    return {"type": "object", "required": list(required), "properties": properties}


def _wish(actions: Iterable[str], required: tuple[str, ...], **own: Any) -> dict[str, Any]:  # noqa: ANN401 - schemas
    """The body of a preflight for these actions."""
    properties = {
        "action": {"enum": list(actions)},
        **own,
        "level": GATE_LEVEL,
        "accept": {"description": "Patterns of keyspaces that may lose ranges", **_NAMES},
        "allow": {
            "description": "Codes of reasons that do not block",
            "type": "array",
            "items": {"enum": sorted(REASONS)},
        },
        "require_spare": {"type": "boolean", "default": False},
        "require_all_up": {"type": "boolean", "default": False},
        "stable": {
            "description": "Safe answers in a row, 2 s apart; by default `stable_readings` of the configuration",
            "type": "integer",
            "minimum": 1,
            "maximum": preflight.MAX_STABLE,
        },
        "timeout": {
            "description": "Seconds that the request may take",
            "type": "number",
            "minimum": 1,
            "maximum": preflight.MAX_TIMEOUT,
            "default": preflight.DEFAULT_TIMEOUT,
        },
    }
    return _object(required, **properties) | {"additionalProperties": False}


_NODES = {"description": "Addresses or host ids", "type": "array", "minItems": 1, "items": _NAME}
_NONE = {"type": "array", "maxItems": 0}
_ABSENT = {"type": "null"}
_STOPS = [name for name in NAMES if name not in NEWCOMERS]

PREFLIGHT = {
    "anyOf": [
        _wish(_STOPS, ("nodes",), nodes=_NODES, datacenter=_ABSENT, rack=_ABSENT),
        _wish(["replace"], ("nodes", "action"), nodes=_NODES, datacenter=_ABSENT, rack=_ABSENT),
        _wish(["replace"], ("nodes", "action", "datacenter", "rack"), nodes=_NODES, datacenter=_NAME, rack=_NAME),
        _wish(["bootstrap"], ("action", "datacenter", "rack"), nodes=_NONE, datacenter=_NAME, rack=_NAME),
    ]
}

_PRINTABLE = {"type": "string", "maxLength": observed.LONGEST, "format": "printable"}
OBSERVED = _object(
    ("counts",),
    reporter=_PRINTABLE,
    counts={
        "type": "array",
        "maxItems": observed.MOST_COUNTS,
        "items": {
            "type": "object",
            "required": ["level", "count"],
            "additionalProperties": False,
            "properties": {
                "keyspace": _PRINTABLE,
                "datacenter": _PRINTABLE,
                "level": {"enum": [level.value for level in Level if level is not Level.LOCAL_ALL]},
                "operation": {"enum": ["", "read", "write"]},
                "count": {"type": "integer", "minimum": 0, "maximum": MOST},
            },
        },
    },
) | {"additionalProperties": False}

FLEETLOCK = _object(("client_params",), client_params=_object(("id", "group"), id=_NAME, group=_NAME))

_FLAG = {"type": ["boolean", "null"]}
ADMISSION = _object(
    ("apiVersion", "kind", "request"),
    apiVersion={"const": evictions.API},
    kind={"const": "AdmissionReview"},
    request=_object(
        ("uid", "namespace", "name", "resource", "subResource", "operation"),
        uid=_NAME,
        namespace=_NAME,
        name=_NAME,
        resource=_object(("resource",), resource={"const": "pods"}),
        subResource={"const": "eviction"},
        operation={"const": "CREATE"},
        dryRun=_FLAG,
        object={"type": ["object", "null"], "description": "The eviction; `deleteOptions.dryRun` is respected"},
    ),
)

# Answers by the name that `$ref` of an operation has.
ANSWERS: dict[str, dict[str, Any]] = {
    "error": _object(("error", "status"), error=_TEXT, status={"type": "integer", "minimum": 400, "maximum": 599}),
    "undecided": _object(
        ("error", "status", "decision"), error=_TEXT, status={"const": 503}, decision={"const": "unknown"}
    ),
    "unready": _object(("error", "status", "ready"), error=_TEXT, status={"const": 503}, ready=_ABSENT),
    "readiness": _object(
        ("cluster", "node", "ready", "reason", "taken_at"),
        cluster=_NAME,
        node=_NAME,
        ready={"type": "boolean"},
        reason={"description": "What the node lacks; null if it is ready", "type": ["string", "null"]},
        taken_at={"type": "string", "format": "date-time"},
    ),
    "fleetlock": _object(
        ("kind", "value"),
        kind={"enum": sorted({*fleetlock.KINDS, *guard.KINDS.values()})},
        value={"description": "One line for people", "type": "string"},
    ),
    "admission": _object(
        ("apiVersion", "kind", "response"),
        apiVersion={"const": evictions.API},
        kind={"const": "AdmissionReview"},
        response=_object(
            ("uid", "allowed"),
            uid=_NAME,
            allowed={"type": "boolean"},
            status={"description": "Why it is refused", "type": "object"},
            warnings={"type": "array", "items": _TEXT},
        ),
    ),
}
