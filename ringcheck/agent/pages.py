"""The HTML routes: read from a request what a page needs; agent/page renders it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from ringcheck.agent import page
from ringcheck.agent.answers import agent_of, cache_of, cluster_of, reading_of
from ringcheck.agent.history import recent
from ringcheck.agent.pictures import chosen_level, shown_picture
from ringcheck.agent.questions import policy_for
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.held_back import HeldBack, held_back
from ringcheck.core.policy import Severity
from ringcheck.core.reasons import reason
from ringcheck.core.words import nearest
from ringcheck.errors import RingcheckError, UsageError
from ringcheck.leases.grant import placed

if TYPE_CHECKING:
    from starlette.requests import Request

    from ringcheck.config.values import Cluster, Config
    from ringcheck.core.reasons import Reason
    from ringcheck.core.verdict import Verdict
    from ringcheck.history.reader import Page
    from ringcheck.report.reading import Reading

MAX_FILTER = 100  # characters


def overview(request: Request) -> Response:
    """`/`: all clusters."""
    agent = agent_of(request)
    labels = {name: cluster.labels for name, cluster in agent.config.clusters.items()}
    return HTMLResponse(page.overview(agent.readings(), datetime.now(UTC), labels, _choices(request)))


def _choices(request: Request) -> page.Asked:
    """The choices in the query of the page of all clusters.

    Raises:
        HTTPException: 400 if there is no such state or order.
    """
    query = request.query_params
    state, sort = query.get("state", "").upper(), query.get("sort", "state")
    if state and state not in Severity.__members__:
        raise HTTPException(400, f"there is no state {state!r} (known: {', '.join(Severity.__members__)})")
    order = next((known for known in page.SORTS if known == sort), None)
    if order is None:
        raise HTTPException(400, f"there is no order {sort!r} (known: {', '.join(page.SORTS)})")
    severity = Severity[state] if state else None
    return page.Asked(filter=_filter(request), state=severity, sort=order, group=query.get("group") or None)


def _filter(request: Request) -> str:
    return request.query_params.get("filter", "").strip()[:MAX_FILTER]


async def cluster_page(request: Request) -> Response:
    """`/clusters/NAME`: one cluster."""
    past = await recent(request, cluster_of(request).name, page.ENTRIES)
    return await run_in_threadpool(_cluster_page, request, past)


def _cluster_page(request: Request, past: Page | str | None) -> Response:
    cluster, reading = cluster_of(request), reading_of(request)
    now, rest = datetime.now(UTC), agent_of(request).rest_left(cluster.name)
    config = agent_of(request).config
    shown = page.Shown(
        picture=shown_picture(request, reading),
        chosen=chosen_level(request),
        held=_held(request, reading, cluster),
        past=past if past is None or isinstance(past, str) else past.entries,
        filter=_filter(request),
        asked=cluster.source.asked_first,
        next_poll=None if rest is None else now + timedelta(seconds=rest),
        labels=cluster.labels,
        links=_links(config, cluster),
        config=agent_of(request).config_file,
        runbook_url=config.agent.runbook_url,
    )
    return HTMLResponse(page.cluster(reading, shown, now))


def _links(config: Config, cluster: Cluster) -> list[tuple[str, str]]:
    """Links to other systems, as the configuration has them."""
    links = []
    if config.agent.grafana_url:
        links.append(("Grafana", config.agent.grafana_url.replace("{cluster}", quote(cluster.name, safe=""))))
    if cluster.sensu and cluster.sensu.runbook:
        links.append(("Runbook", cluster.sensu.runbook))
    return links


def _held(request: Request, reading: Reading, cluster: Cluster) -> tuple[HeldBack, ...]:
    """Why nodes that are up may not restart: the gate's reasons, each with its nodes. Empty if it is not known."""
    verdict, safe = reading.verdict if reading.fresh else None, reading.restart_safe
    if verdict is None or safe is None:
        return ()
    nodes = zip(verdict.snapshot.nodes, verdict.states, strict=True)
    held = frozenset(index for index, (node, state) in enumerate(nodes) if state == "up" and node.address not in safe)
    if not held:
        return ()
    key = (reading.cluster, "held back", reading.holders)
    return cache_of(request).get(verdict, key, lambda: _reasons(reading, verdict, cluster, held))


def _reasons(reading: Reading, verdict: Verdict, cluster: Cluster, held: frozenset[int]) -> tuple[HeldBack, ...]:
    seen = verdict.snapshot
    try:
        leases = [placed(holder, seen) for holder in reading.holders or ()]
        gatekeeper = Gatekeeper(seen, policy_for(reading, cluster), cluster.gate, leases)
    except RingcheckError as error:
        return (HeldBack(reason=_unusable(reading, error), nodes=held),)
    return held_back(gatekeeper, held)


def _unusable(reading: Reading, error: RingcheckError) -> Reason:
    if isinstance(error, UsageError):
        return reason("no_data", reading.cluster, str(error), lifts_when="the configuration is corrected")
    return reason("lease_held", reading.cluster, str(error), lifts_when="that lease is gone")


def reference(_request: Request) -> Response:
    """`/reference`: what the codes of findings and reasons mean."""
    return HTMLResponse(page.reference(datetime.now(UTC)))


def nearest_cluster(request: Request, path: str) -> str | None:
    """The cluster that was probably meant by the path of a page that does not exist."""
    name = path.removeprefix("/clusters/")
    clusters = agent_of(request).config.clusters
    return None if name in clusters else nearest(name, clusters)


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
