"""The routes for the levels that clients use: to read the evidence, and to report queries that a proxy has seen.

Owns the fields of a report.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ringcheck.agent.answers import agent_of, body_of, cluster_of, json_response
from ringcheck.core.consistency import Level
from ringcheck.core.sources import proxy_named
from ringcheck.core.uses import MOST, QUERIED, Use
from ringcheck.documents.levels import levels_document

if TYPE_CHECKING:
    from starlette.requests import Request

    from ringcheck.agent.levels import ClusterLevels
    from ringcheck.config.values import Cluster, Observing

FIELDS = ("keyspace", "datacenter", "level", "operation", "count")
MOST_COUNTS = 500  # counts in one report, at most
MOST_REPORTERS = 100  # names of proxies of a cluster
MOST_USES = 20_000  # kept for a cluster, so that a faulty proxy can't fill the memory
LONGEST = 64  # characters of a name


def levels(request: Request) -> Response:
    """`/api/v1/clusters/NAME/levels`: the levels that clients use, with the evidence."""
    cluster, known, observing = _cluster_and_levels(request)
    sources = known.sources
    return json_response(levels_document(cluster.name, sources, observing.following, time.time(), observing.interval))


async def observed(request: Request) -> Response:
    """`POST /api/v1/clusters/NAME/observed`: how many queries a proxy has seen since its last report."""
    _, known, observing = _cluster_and_levels(request)
    body = await body_of(request)
    found, reporter = counts_of(body), _text(body, "reporter")
    uses = {name: set(evidence.uses) for name, evidence in known.proxies().items()}
    uses[proxy_named(reporter)] = uses.get(proxy_named(reporter), set()) | found.keys()
    if len(uses) > MOST_REPORTERS:
        raise HTTPException(413, f"more than {MOST_REPORTERS} reporters have reported")
    if sum(map(len, uses.values())) > MOST_USES:
        raise HTTPException(413, f"more than {MOST_USES} different counts were reported")
    known.report(observing, found, reporter)
    return Response(status_code=204)


def _cluster_and_levels(request: Request) -> tuple[Cluster, ClusterLevels, Observing]:
    """The cluster in the path, with the evidence of its levels.

    Raises:
        HTTPException: 404 if there is no such cluster, 409 if nothing in its configuration depends on the levels in
            use.
    """
    cluster = cluster_of(request)
    observing = cluster.observing
    if observing is None:
        raise HTTPException(409, f"{cluster.name} has neither observed nor auto in the configuration")
    return cluster, agent_of(request).recorder.levels.of(cluster.name), observing


def counts_of(body: dict[str, Any]) -> Counter[Use]:
    """The counts of a report.

    Raises:
        HTTPException: 400 with the first field that is unknown, missing or wrong: a report is accepted as a whole or
            refused.
    """
    unknown = sorted(set(body) - {"counts", "reporter"})
    if unknown:
        raise HTTPException(400, f"there is no field {unknown[0]!r} (known: counts, reporter)")
    rows = body.get("counts")
    if not isinstance(rows, list) or len(rows) > MOST_COUNTS:
        raise HTTPException(400, f"counts must be a list of at most {MOST_COUNTS} objects")
    found: Counter[Use] = Counter()
    for row in rows:
        use, count = _count(row)
        if use.level in QUERIED:
            found[use] += count
    return found


def _count(row: object) -> tuple[Use, int]:
    if not isinstance(row, dict) or set(row) - set(FIELDS):
        raise HTTPException(400, f"each of counts is an object with {', '.join(FIELDS)}")
    keyspace, datacenter, operation = (_text(row, name) for name in ("keyspace", "datacenter", "operation"))
    level, count = row.get("level"), row.get("count")
    if not isinstance(level, str) or level not in Level.__members__ or level == Level.LOCAL_ALL:
        raise HTTPException(400, f"there is no consistency level {str(level)[:LONGEST]!r}")
    if operation not in {"", "read", "write"}:
        raise HTTPException(400, f"operation is read or write, not {operation!r}")
    if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count <= MOST or count != int(count):
        raise HTTPException(400, f"count must be a whole number from 0 to {MOST}")
    return Use(keyspace, datacenter, Level[level], operation), int(count)


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
        raise HTTPException(400, f"{name} must be a text of at most {LONGEST} characters")
    return value
