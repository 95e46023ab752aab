"""The HTML routes: what each page needs of a request; agent/page renders it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from ringcheck.agent import page
from ringcheck.agent.answers import agent_of, cluster_of, reading_of
from ringcheck.agent.history import recent
from ringcheck.agent.pictures import chosen_level, shown_picture
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.policy import Severity
from ringcheck.core.reasons import Reason, reason
from ringcheck.errors import RingcheckError, UsageError
from ringcheck.leases.grant import placed

if TYPE_CHECKING:
    from starlette.requests import Request

    from ringcheck.config.values import Cluster
    from ringcheck.history.reader import Page
    from ringcheck.report.reading import Reading

MAX_REASONS = 5  # that a page shows


def overview(request: Request) -> Response:
    """`/`: all clusters."""
    return HTMLResponse(page.overview(agent_of(request).readings(), datetime.now(UTC)))


async def cluster_page(request: Request) -> Response:
    """`/clusters/NAME`: one cluster."""
    past = await recent(request, cluster_of(request).name, page.ENTRIES)
    return await run_in_threadpool(_cluster_page, request, past)


def _cluster_page(request: Request, past: Page | str | None) -> Response:
    cluster, reading = cluster_of(request), reading_of(request)
    shown = page.Shown(
        picture=shown_picture(request, reading),
        chosen=chosen_level(request),
        reasons=_refusals(reading, cluster),
        past=past if past is None or isinstance(past, str) else past.entries,
    )
    return HTMLResponse(page.cluster(reading, shown, datetime.now(UTC)))


def _refusals(reading: Reading, cluster: Cluster) -> tuple[Reason, ...]:
    """Why no node that is up may restart: the gate's reasons for one of them. Empty if some may, or it is not known."""
    verdict = reading.verdict if reading.fresh else None
    if verdict is None or reading.restart_safe is None or reading.restart_safe:
        return ()
    seen = verdict.snapshot
    up = [node.address for node, state in zip(seen.nodes, verdict.states, strict=True) if state == "up"]
    try:
        leases = [placed(holder, seen) for holder in reading.holders or ()]
    except RingcheckError as error:
        return (reason("lease_held", reading.cluster, str(error), lifts_when="that lease is gone"),)
    try:
        gatekeeper = Gatekeeper(seen, cluster.policy, cluster.gate, leases)
    except UsageError as error:
        return (reason("no_data", reading.cluster, str(error), lifts_when="the configuration is corrected"),)
    decision = gatekeeper.decide(up[:1])
    return tuple(refusal for refusal in decision.reasons if refusal.blocks)[:MAX_REASONS]


def static(request: Request) -> Response:
    """`/static/NAME`: style sheet, script and icons."""
    name = request.path_params["name"]
    headers = {"Cache-Control": "public, max-age=86400"}
    if name in page.STATIC:
        return Response(page.static(name), headers=headers, media_type=page.STATIC[name])
    severity = next((severity for severity in Severity if name == f"{severity.name.lower()}.svg"), None)
    if severity is None:
        raise HTTPException(404, "there is no such file")
    return Response(page.icon(severity), headers=headers, media_type="image/svg+xml")
