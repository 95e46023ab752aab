"""The table of the agent's HTTP operations, from which routing, OpenAPI and the list in `docs/web.md` are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.agent import (
    api,
    evictions,
    fleetlock,
    history,
    monitoring,
    nodes,
    observed,
    openapi,
    page,
    pages,
    pictures,
)
from ringcheck.agent.bodies import ADMISSION, FLEETLOCK, GATE_LEVEL, LEVEL, OBSERVED, PREFLIGHT
from ringcheck.agent.operations import Answer, Operation, Parameter
from ringcheck.core.fact_kinds import KINDS
from ringcheck.core.policy import Severity
from ringcheck.history.reader import MOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.agent.operations import Schema

_JSON, _TEXT, _HTML = "application/json", "text/plain", "text/html"
_LINE = {"type": "string", "pattern": r"^[^\n]*\n$"}


def _document(name: str, text: str = "The document") -> Answer:
    return Answer(text, {_JSON: {"$ref": name}})


def _page(text: str) -> Answer:
    return Answer(text, {_HTML: {"type": "string"}})


def _one_line_answer(text: str, *names: str) -> Answer:
    """An answer about one node: one line, or JSON for clients that accept it."""
    refs = [{"$ref": name} for name in names]
    return Answer(text, {_TEXT: _LINE, _JSON: refs[0] if len(refs) == 1 else {"anyOf": refs}})


_INVALID = _document("error", "A parameter or field is unknown or has a wrong value")
_NO_CLUSTER = _document("error", "No cluster has that name")
_UNKNOWN = _document("error", "It is not known now: there is no verdict, or it is too old to be current")
_INVALID_PAGE = _page("A parameter has a wrong value")
_ANSWERS = {404: _NO_CLUSTER, 400: _INVALID, 503: _UNKNOWN}

_KEYSPACES = Parameter("keyspace", "Only keyspaces that match one of these patterns", repeats=True)
_DATACENTERS = Parameter("dc", "Clients of these datacenters in place of the configured ones", repeats=True)
_LEVEL_OR_NONE = {"enum": [*LEVEL["enum"], ""]}
_FILTER = Parameter("filter", "Words that each entry must contain", {"type": "string"})
_FLAG = {"enum": ["0", "1", "false", "true", ""]}
_TIME = {
    "type": "string",
    "format": "moment",
    "description": "A duration before now such as `24h`, an ISO 8601 time, or a Unix time",
}

_PAGES = (
    Operation(
        path="/",
        contents="all clusters, the worst first; `?filter=`, `?state=`, `?sort=`, `?group=`: [the pages](#the-pages)",
        handler=pages.overview,
        parameters=(
            _FILTER,
            Parameter("state", "Only clusters in this state", {"enum": [*Severity.__members__, ""]}),
            Parameter("sort", "The order", {"enum": [*page.SORTS]}),
            Parameter("group", "A label, with a section for each of its values"),
        ),
        strict=False,
        topic="pages",
        answers={200: _page("The page"), 400: _INVALID_PAGE},
    ),
    Operation(
        path="/clusters/{cluster}",
        contents="one cluster: its ring, keyspaces, findings, nodes, leases, which nodes may restart now, which are "
        "down and may be started, which to bring back first, what changed lately; `?keyspace=` and `?level=` choose "
        "the picture, `?filter=` the keyspaces and nodes in the tables",
        handler=pages.cluster_page,
        parameters=(
            _FILTER,
            Parameter("keyspace", "The keyspace of the picture"),
            Parameter("level", "Its level", _LEVEL_OR_NONE),
        ),
        strict=False,
        topic="pages",
        answers={200: _page("The page"), 400: _INVALID_PAGE, 404: _page("No cluster or keyspace has that name")},
    ),
    Operation(
        path="/reference",
        contents="what the codes of findings and reasons mean, and what to do",
        handler=pages.reference,
        strict=False,
        topic="pages",
        answers={200: _page("The page")},
    ),
    Operation(
        path="/static/{name}",
        contents="style sheet, script and icons of the pages",
        handler=pages.static,
        strict=False,
        topic="pages",
        answers={
            200: Answer(
                "The file",
                {kind: {"type": "string"} for kind in sorted({*page.STATIC.values(), "image/svg+xml"})},
            ),
            404: _document("error", "No file has that name"),
        },
    ),
)

_MONITORING = (
    Operation(
        path="/metrics",
        contents="[metrics](metrics.md), in the text format of Prometheus or as OpenMetrics",
        handler=monitoring.metrics_,
        parameters=(Parameter("cluster", "Only clusters of these names", repeats=True),),
        topic="monitoring",
        answers={
            200: Answer("The metrics", {_TEXT: {"type": "string"}, "application/openmetrics-text": {"type": "string"}}),
            400: _INVALID,
            404: _NO_CLUSTER,
        },
    ),
    Operation(
        path="/-/healthy",
        contents="200 while the polls of every cluster make progress, otherwise 503",
        handler=monitoring.healthy,
        strict=False,
        topic="monitoring",
        answers={200: Answer("Polls make progress", {_TEXT: _LINE}), 503: Answer("Polls hang", {_TEXT: _LINE})},
    ),
    Operation(
        path="/-/ready",
        contents="200 once every cluster was polled, successfully or not, otherwise 503",
        handler=monitoring.ready,
        strict=False,
        topic="monitoring",
        answers={
            200: Answer("Every cluster was polled", {_TEXT: _LINE}),
            503: Answer("Some cluster was not polled yet", {_TEXT: _LINE}),
        },
    ),
    Operation(
        path="/events",
        contents="server-sent events: a line whenever something has changed",
        handler=monitoring.events,
        parameters=(Parameter("cluster", "Only changes of this cluster"),),
        strict=False,
        topic="monitoring",
        answers={
            200: Answer("A stream of up to five minutes", {"text/event-stream": {"type": "string"}}),
            503: _document("error", "Too many streams are open"),
        },
    ),
)

_CLUSTERS = "/api/v1/clusters"
_CLUSTER = f"{_CLUSTERS}/{{cluster}}"
_KNOWN = (
    Operation(
        path="/api/v1/openapi.json",
        contents="this list for programs: [OpenAPI 3.1](#openapi)",
        handler=openapi.openapi,
        topic="monitoring",
        answers={200: Answer("An OpenAPI 3.1 document", {_JSON: {"type": "object"}}), 400: _INVALID},
    ),
    Operation(
        path=_CLUSTERS,
        contents="for each cluster severity, summary, age, suspects, lease holders, `restart_safe` (nodes that are up "
        "and may restart, one at a time) and `restart_cures` (nodes that are down and may be started), "
        "`ringcheck/clusters/1`",
        handler=api.clusters,
        answers={200: _document("clusters-1"), 400: _INVALID},
    ),
    Operation(
        path=f"{_CLUSTER}/health",
        contents="the verdict, `ringcheck/verdict/1`, as `ringcheck health --format json` prints it",
        handler=api.health,
        parameters=(
            _KEYSPACES,
            Parameter(
                "level", "Levels to show beside the watched ones", {"enum": [*LEVEL["enum"], "all"]}, repeats=True
            ),
            Parameter("ranges", "List the unavailable ranges", _FLAG),
            _DATACENTERS,
        ),
        answers={200: _document("verdict-1"), **_ANSWERS},
    ),
    Operation(
        path=f"{_CLUSTER}/snapshot",
        contents="the data behind it, `ringcheck/snapshot/1`, for `--from`",
        handler=api.snapshot,
        answers={200: _document("snapshot-1"), **_ANSWERS},
    ),
    Operation(
        path=f"{_CLUSTER}/history",
        contents="what changed, `ringcheck/history/1`: see [history.md](history.md#over-the-api)",
        handler=history.history,
        parameters=(
            Parameter("since", "The earliest time", _TIME),
            Parameter("until", "The latest time", _TIME),
            Parameter("kind", "Only changes of these kinds", {"enum": [*KINDS]}, repeats=True),
            Parameter(
                "limit", "Most entries of a page", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 100}
            ),
            Parameter(
                "cursor",
                "The `cursor` of the previous page",
                {"type": "integer", "minimum": 1, "maximum": history.LAST},
            ),
            Parameter("order", "Which entries come first", {"enum": ["newest", "oldest"], "default": "newest"}),
        ),
        answers={200: _document("history-1"), **_ANSWERS},
    ),
    Operation(
        path=f"{_CLUSTER}/plan",
        contents="the batches of a rolling restart, `ringcheck/plan/1`",
        handler=api.plan,
        parameters=(
            Parameter("level", "The level to keep", GATE_LEVEL),
            Parameter("max_batch", "Most nodes in a batch", {"type": "integer", "minimum": 1, "maximum": 9999999}),
            Parameter("by", "rack: no batch spans racks; node: each node is a batch", {"enum": ["rack", "node"]}),
            _DATACENTERS,
        ),
        answers={200: _document("plan-1"), **_ANSWERS},
    ),
    Operation(
        path=f"{_CLUSTER}/ring.svg",
        contents="the picture of a keyspace's ring",
        handler=pictures.ring,
        parameters=(
            Parameter("keyspace", "The keyspace; by default that of the headline"),
            Parameter("level", "The level; by default the worst", _LEVEL_OR_NONE),
            Parameter("at", "Has no effect: it gives each picture its own URL, for the caches of browsers"),
        ),
        answers={
            200: Answer("The picture", {"image/svg+xml": {"type": "string"}}),
            **_ANSWERS,
            404: _document("error", "No cluster or keyspace has that name"),
        },
    ),
)

_GATE = (
    Operation(
        path=f"{_CLUSTER}/nodes/{{node}}/ready",
        contents="200 if the node is ready, otherwise 503: [one node](#one-node)",
        handler=nodes.ready,
        parameters=(
            Parameter(
                "max_age",
                "Accept a poll that began less than so many seconds ago",
                {"type": "integer", "minimum": 0, "maximum": nodes.OLDEST, "default": 0},
            ),
        ),
        topic="gate",
        answers={
            200: _one_line_answer("It serves clients, sees its peers up, and they see it up", "readiness"),
            **_ANSWERS,
            503: _one_line_answer("One of these is missing or not known", "readiness", "unready", "error"),
        },
    ),
    Operation(
        path=f"{_CLUSTER}/nodes/{{node}}/may-stop",
        contents="200 if the node may stop now, 409 if not, 503 if that is not known",
        handler=nodes.may_stop,
        topic="gate",
        answers={
            200: _one_line_answer("It may stop now, alone", "decision-1"),
            409: _one_line_answer("It must not stop", "decision-1"),
            **_ANSWERS,
            503: _one_line_answer("It is not known whether it may stop", "decision-1", "undecided", "error"),
        },
    ),
    Operation(
        path=f"{_CLUSTER}/preflight",
        method="POST",
        contents="may these nodes stop now? `ringcheck/decision/1`",
        handler=api.preflight,
        body=PREFLIGHT,
        topic="gate",
        answers={
            200: _document("decision-1", "They may stop now"),
            409: _document("decision-1", "They must not stop"),
            **_ANSWERS,
            503: Answer(
                "It is not known whether they may stop",
                {_JSON: {"anyOf": [{"$ref": "decision-1"}, {"$ref": "undecided"}, {"$ref": "error"}]}},
            ),
        },
    ),
)

_NOT_OBSERVED = _document("error", "The configuration of the cluster has neither `observed` nor `auto`")
_LEVELS = (
    Operation(
        path=f"{_CLUSTER}/levels",
        contents="the levels that clients use, with their evidence, `ringcheck/levels/1`: see [levels.md](levels.md)",
        handler=observed.levels,
        topic="levels",
        answers={200: _document("levels-1"), 400: _INVALID, 404: _NO_CLUSTER, 409: _NOT_OBSERVED},
    ),
    Operation(
        path=f"{_CLUSTER}/observed",
        method="POST",
        contents="[how many queries](levels.md#a-proxy) a proxy has seen",
        handler=observed.observed,
        body=OBSERVED,
        topic="levels",
        answers={
            204: Answer("The report was counted"),
            400: _INVALID,
            404: _NO_CLUSTER,
            409: _NOT_OBSERVED,
            413: _document("error", "The body is too large, or too many different counts were reported"),
        },
    ),
)


def _fleetlock_answers() -> Mapping[int, Answer]:
    kinds: dict[int, list[str]] = {}
    for kind, status in fleetlock.KINDS.items():
        kinds.setdefault(status, []).append(f"`{kind}`")
    return {status: _document("fleetlock", f"`kind` is {' or '.join(names)}") for status, names in kinds.items()}


_HEADER: Mapping[str, Schema] = {"fleet-lock-protocol": {"const": "true"}}
_SECRET = f"{evictions.PATH}/{{secret}}"
_PROTOCOLS = (
    Operation(
        path=fleetlock.PRE_REBOOT,
        method="POST",
        contents="may this host reboot? [FleetLock](fleetlock.md)",
        body=FLEETLOCK,
        headers=_HEADER,
        topic="protocols",
        answers=_fleetlock_answers(),
    ),
    Operation(
        path=fleetlock.STEADY_STATE,
        method="POST",
        contents="this host is back; [FleetLock](fleetlock.md)",
        body=FLEETLOCK,
        headers=_HEADER,
        topic="protocols",
        answers=_fleetlock_answers(),
    ),
    *(
        Operation(
            path=path,
            method="POST",
            contents=f"the [admission webhook](kubernetes.md) for evictions{text}",
            body=ADMISSION,
            parameters=(Parameter("timeout", "Seconds that the API server waits, such as `10s`"),),
            strict=False,
            secret=path == _SECRET,
            topic="protocols",
            answers={
                200: _document("admission", "Whether the pod may be evicted"),
                400: _document("error", "It is not an AdmissionReview of an eviction"),
                404: _document("error", "The secret in the path is wrong"),
            },
        )
        for path, text in (
            (_SECRET, ", with the secret of `admission_secret_file`"),
            (evictions.PATH, ", without a secret"),
        )
    ),
)

OPERATIONS = (*_PAGES, *_MONITORING, *_KNOWN, *_GATE, *_LEVELS, *_PROTOCOLS)
ROUTES = [operation.route() for operation in OPERATIONS if operation.handler]
