"""The JSON API: clusters, verdicts, snapshots, restart plans, and the gate's decisions.

Owns paths, parameters and status codes. Verdicts come from the readings; decisions come from the gate, on a poll that
began after the request.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from ringcheck.agent.answers import (
    agent_of,
    body_of,
    cache_of,
    cluster_of,
    current_verdict,
    dump,
    json_response,
    reading_of,
)
from ringcheck.agent.preflight import BusyError, UnknownError, decided, level_of, wish_of
from ringcheck.agent.questions import judged, policy_for
from ringcheck.core import plan as planning
from ringcheck.core.assess import Question
from ringcheck.core.consistency import Level
from ringcheck.documents.decision import decision_document, plan_document
from ringcheck.documents.snapshot import snapshot_parts
from ringcheck.documents.verdict import verdict_document
from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.requests import Request

    from ringcheck.core.maintenance import Holder
    from ringcheck.core.plan import By
    from ringcheck.report.reading import Reading

T = TypeVar("T")

RETRY = {"Retry-After": "5"}
STATUS = {"safe": 200, "unsafe": 409, "unknown": 503}


# What the readings have


def clusters(request: Request) -> Response:
    """`/api/v1/clusters`."""
    listed = [_listed(reading) for reading in agent_of(request).readings()]
    return json_response({"schema": "ringcheck/clusters/1", "clusters": listed})


def _listed(reading: Reading) -> dict[str, Any]:
    verdict = reading.verdict
    current = verdict if reading.fresh else None
    return {
        "name": reading.cluster,
        "fresh": reading.fresh,
        "severity": current.severity.name if current else "UNKNOWN",
        "summary": current.summary if current else None,
        "taken_at": verdict.snapshot.taken_at if verdict else None,
        "error": reading.error,
        "suspects": sorted(reading.suspects),
        "restart_safe": _restartable(reading, reading.restart_safe),
        "restart_cures": _restartable(reading, reading.restart_cures),
        "holders": None if reading.holders is None else [_holder(holder) for holder in reading.holders],
    }


def _holder(holder: Holder) -> dict[str, str]:
    return {name: getattr(holder, name) for name in ("node", "owner", "purpose", "since")}


def _restartable(reading: Reading, nodes: frozenset[str] | None) -> list[str] | None:
    """Nodes that may restart now; None if the reading is too old to know."""
    return sorted(nodes) if nodes is not None and reading.fresh else None


def health(request: Request) -> Response:
    """`/api/v1/clusters/NAME/health`: the current verdict, or one on other levels, keyspaces or datacenters."""
    cluster, reading = cluster_of(request), reading_of(request)
    verdict = current_verdict(reading)
    asked = request.query_params
    names = asked.getlist("level")
    levels = tuple(Level) if "all" in names else tuple(map(level_of, names))
    question = Question(keyspaces=tuple(asked.getlist("keyspace")), levels=levels, ranges=_flag(asked.get("ranges")))
    datacenters = tuple(asked.getlist("dc"))

    def make() -> bytes:
        plain = question == Question() and not datacenters
        return dump(verdict_document(verdict if plain else judged(reading, verdict, cluster, question, datacenters)))

    body = cache_of(request).get(verdict, (reading.cluster, "health", question, datacenters), make)
    return Response(body, media_type="application/json")


def _flag(text: str | None) -> bool:
    if text not in {None, "", "0", "1", "false", "true"}:
        raise HTTPException(400, f"{text!r} is neither true nor false")
    return text in {"", "1", "true"}


def snapshot(request: Request) -> Response:
    """`/api/v1/clusters/NAME/snapshot`: the snapshot of the current verdict."""
    verdict = current_verdict(reading_of(request))
    return StreamingResponse(snapshot_parts(verdict.snapshot), media_type="application/json")


def plan(request: Request) -> Response:
    """`/api/v1/clusters/NAME/plan`: the batches of a rolling restart."""
    cluster, reading = cluster_of(request), reading_of(request)
    verdict = current_verdict(reading)
    asked = request.query_params
    gate = replace(cluster.gate, level=level_of(asked["level"])) if "level" in asked else cluster.gate
    by, max_batch, datacenters = asked.get("by"), _count(asked.get("max_batch")), tuple(asked.getlist("dc"))
    if by not in {None, "rack", "node"}:
        raise HTTPException(400, f"by is rack or node, not {by!r}")
    seen, policy = verdict.snapshot, policy_for(reading, cluster, datacenters)

    def make() -> bytes:
        nodes = [node.address for node in seen.nodes if not datacenters or node.datacenter in datacenters]
        batches = planning.plan(seen, policy, gate, nodes=nodes, max_batch=max_batch, by=cast("By | None", by))
        return dump(plan_document(batches))

    body = cache_of(request).get(verdict, (reading.cluster, "plan", gate, max_batch, by, datacenters), make)
    return Response(body, media_type="application/json")


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise HTTPException(400, f"max_batch is a number of nodes from 1, not {text!r}")
    return int(text)


# The gate


async def preflight(request: Request) -> Response:
    """`POST /api/v1/clusters/NAME/preflight`: may these nodes stop now?"""
    cluster = cluster_of(request)
    wish = wish_of(await body_of(request), cluster)
    try:
        decision = await in_turn(request, partial(decided, agent_of(request), cluster, wish))
    except BusyError as error:
        return _undecided(str(error), RETRY)
    except (UnknownError, RingcheckError) as error:
        return _undecided(str(error))
    agent_of(request).recorder.decided(cluster.name, decision, "the API")
    return json_response(decision_document(decision), STATUS[decision.decision])


async def in_turn(request: Request, work: Callable[[], T]) -> T:
    """The result of work that waits for a poll, done in a thread.

    Raises:
        BusyError: too many requests wait already.
    """
    room: asyncio.Semaphore = request.app.state.decisions
    if room.locked():
        raise BusyError("too many requests at once: ask again")
    async with room:
        return await run_in_threadpool(work)


def _undecided(why: str, headers: dict[str, str] | None = None) -> Response:
    body = dump({"error": why, "status": 503, "decision": "unknown"})
    return Response(body, 503, headers, media_type="application/json")
