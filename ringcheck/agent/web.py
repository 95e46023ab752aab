"""The agent's pages, metrics and API: what may be asked of it over HTTP, and the answers.

Owns paths, parameters, status codes. What is told comes from readings and from the renderings in report/; what is
decided comes from the gate, on a poll that began after the question. Who may ask is guard.py's, how long it may take
server.py's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sized
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ringcheck.agent import page
from ringcheck.agent.bugs import bug_text, located_bug
from ringcheck.agent.guard import Access, Guard, refusal
from ringcheck.agent.log import Log
from ringcheck.agent.preflight import UnknownError, decided, level_of, wish_of
from ringcheck.agent.server import Served, bound, running
from ringcheck.agent.webconfig import WebConfig, load
from ringcheck.core import plan as planning
from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Maintenance
from ringcheck.core.policy import Severity
from ringcheck.core.reasons import Reason, reason
from ringcheck.documents.decision import decision_document, plan_document
from ringcheck.documents.snapshot import snapshot_parts
from ringcheck.documents.verdict import verdict_document
from ringcheck.errors import RingcheckError, UsageError
from ringcheck.leases.grant import placed
from ringcheck.report import metrics, picture_svg
from ringcheck.report.picture import draw

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

    from ringcheck.agent.service import Agent
    from ringcheck.config.values import Cluster
    from ringcheck.core.gate import Gate
    from ringcheck.core.plan import By
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.picture_svg import Drawing
    from ringcheck.report.reading import Reading

MOST_BODY = 64 * 1024
STREAMS = 64  # of events, at once
STREAM = 300.0  # seconds that one lives; browsers come back by themselves
QUIET = 15.0  # seconds after which a stream without news says that it is alive
TICK = 0.25  # seconds between looks for news
DECISIONS = 8  # questions to the gate at once
WAITING = 8  # questions whose answers are made, or wait to be
KEPT, LARGEST = 16, 1024 * 1024  # answers that are kept, and bytes of the largest

STATUS = {"safe": 200, "unsafe": 409, "unknown": 503}


# What all handlers share

Made = TypeVar("Made", bound=Sized)


class Kept:
    """Answers made of the readings in force, each made once however many ask; at most two are made at a time."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[Any, ...], tuple[Verdict, Sized]] = OrderedDict()
        self._guard = threading.Lock()
        self._work = threading.Semaphore(2)
        self._room = threading.Semaphore(WAITING)

    def get(self, verdict: Verdict, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """The answer to a question about a verdict; the first part of the key is the cluster.

        Raises:
            UnknownError: if too many wait for theirs: the threads are those that answer a scrape too.
        """
        if (found := self._look(verdict, key)) is not None:
            return cast("Made", found)
        if not self._room.acquire(blocking=False):
            raise UnknownError("too many questions at once: ask again")
        try:
            with self._work:
                if (found := self._look(verdict, key)) is not None:
                    return cast("Made", found)
                made = make()
        finally:
            self._room.release()
        self._keep(verdict, key, made)
        return made

    def _keep(self, verdict: Verdict, key: tuple[Any, ...], made: Sized) -> None:
        with self._guard:
            old = [one for one, (of, _) in self._found.items() if one[0] == key[0] and of is not verdict]
            for one in old:  # a verdict holds its whole snapshot
                del self._found[one]
            if len(made) <= LARGEST:
                self._found[key] = verdict, made
            while len(self._found) > KEPT:
                self._found.popitem(last=False)

    def _look(self, verdict: Verdict, key: tuple[Any, ...]) -> Sized | None:
        with self._guard:
            of, found = self._found.get(key, (None, None))
            return found if of is verdict else None


def _agent(request: Request) -> Agent:
    return cast("Agent", request.app.state.agent)


def _kept(request: Request) -> Kept:
    return cast("Kept", request.app.state.kept)


def _reading(request: Request) -> Reading:
    name = request.path_params["cluster"]
    reading = _agent(request).reading(name)
    if reading is None:
        raise HTTPException(404, f"there is no cluster {name!r}")
    return reading


def _cluster(request: Request) -> Cluster:
    name = request.path_params["cluster"]
    cluster = _agent(request).config.clusters.get(name)
    if cluster is None:
        raise HTTPException(404, f"there is no cluster {name!r}")
    return cluster


def _present(reading: Reading) -> Verdict:
    """A verdict that may be told as the present.

    Raises:
        UnknownError: if there is none.
    """
    if reading.verdict is None:
        raise UnknownError(f"there is no verdict on {reading.cluster} yet: {reading.error or 'the first poll runs'}")
    if not reading.fresh:
        taken = reading.verdict.snapshot.taken_at
        raise UnknownError(f"the last verdict on {reading.cluster} is of {taken}: {reading.error or 'polls hang'}")
    return reading.verdict


def _json(document: object, status: int = 200) -> Response:
    return Response(_dump(document), status, media_type="application/json")


def _dump(document: object) -> bytes:
    return json.dumps(document).encode() + b"\n"


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object that was sent.

    Raises:
        HTTPException: 413 if it is too large, 400 if it is none.
    """
    data = bytearray()
    try:
        async for part in request.stream():
            data += part
            if len(data) > MOST_BODY:
                raise HTTPException(413, f"more than {MOST_BODY} bytes")
        found = json.loads(data)
    except ClientDisconnect:
        raise HTTPException(400, "the body did not end") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return found


def _parameters(request: Request, *known: str) -> None:
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:  # one without effect would be a false promise
        raise HTTPException(400, f"there is no parameter {unknown[0]!r} here (known: {', '.join(known) or 'none'})")


# Service


def metrics_(request: Request) -> Response:
    """`/metrics`."""
    agent = _agent(request)
    content_type, body = metrics.render(agent.readings, request.headers.get("accept", ""), agent.last_reload)
    return Response(body, headers={"Content-Type": content_type})


def healthy(request: Request) -> Response:
    """`/-/healthy`: whether the polls go on."""
    if _agent(request).lively():
        return Response("ringcheck is healthy.\n", media_type="text/plain")
    return Response("The polls of a cluster do not go on.\n", 503, media_type="text/plain")


def ready(request: Request) -> Response:
    """`/-/ready`: whether every cluster was asked once."""
    if _agent(request).tried():
        return Response("ringcheck is ready.\n", media_type="text/plain")
    return Response("Not every cluster has been polled yet.\n", 503, media_type="text/plain")


async def events(request: Request) -> Response:
    """`/events`: a line whenever there is something new to see."""
    kind, headers, state = "text/event-stream", {"X-Accel-Buffering": "no"}, request.app.state
    if request.method == "HEAD":  # nobody would hear what a stream tells
        return Response(headers=headers, media_type=kind)
    if state.streams >= STREAMS:
        return refusal(503, f"{STREAMS} streams are open already", {"Retry-After": "10"})
    state.streams += 1  # here, and not once it is sent: of those who ask at once each would find room
    return _Stream(state, _told(_agent(request), state), media_type=kind, headers=headers)


class _Stream(StreamingResponse):
    """One of those that are counted."""

    def __init__(self, state: Any, told: AsyncIterator[str], **how: Any) -> None:  # noqa: ANN401 - Starlette's
        super().__init__(told, **how)
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the base."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._state.streams -= 1


async def _told(agent: Agent, state: Any) -> AsyncIterator[str]:  # noqa: ANN401 - Starlette's
    yield "retry: 2000\n\n"
    seen: object = None
    ends, last = time.monotonic() + STREAM, time.monotonic()
    while not state.ending.is_set() and time.monotonic() < ends:
        now = agent.sequence, tuple(one.fresh for one in agent.readings())  # age alone is news too
        if now != seen:
            yield f"data: {now[0]}\n\n"
            seen, last = now, time.monotonic()
        elif time.monotonic() - last > QUIET:
            yield "event: alive\ndata:\n\n"
            last = time.monotonic()
        await asyncio.sleep(TICK)  # after news too: sending alone never lets others run, nor learns who left


# What is known


def clusters(request: Request) -> Response:
    """`/api/v1/clusters`."""
    _parameters(request)
    return _json({"clusters": [_listed(one) for one in _agent(request).readings()]})


def _listed(reading: Reading) -> dict[str, Any]:
    verdict = reading.verdict
    holders = reading.holders
    return {
        "name": reading.cluster,
        "fresh": reading.fresh,
        "severity": verdict.severity.name if verdict and reading.fresh else "UNKNOWN",
        "summary": verdict.summary if verdict and reading.fresh else None,
        "taken_at": verdict.snapshot.taken_at if verdict else None,
        "error": reading.error,
        "suspects": sorted(reading.suspects),
        "restart_safe": _restartable(reading, reading.restart_safe),
        "restart_cures": _restartable(reading, reading.restart_cures),
        "holders": None
        if holders is None
        else [{"node": one.node, "owner": one.owner, "purpose": one.purpose, "since": one.since} for one in holders],
    }


def _restartable(reading: Reading, nodes: frozenset[str] | None) -> list[str] | None:
    """Nodes that may restart now; what is not of the present is not known."""
    return sorted(nodes) if nodes is not None and reading.fresh else None


def health(request: Request) -> Response:
    """`/api/v1/clusters/NAME/health`: the verdict in force, or on what is asked for beside it."""
    _parameters(request, "keyspace", "level", "ranges", "dc")
    cluster, reading = _cluster(request), _reading(request)
    verdict = _present(reading)
    asked = request.query_params
    levels = asked.getlist("level")
    chosen = tuple(Level) if "all" in levels else tuple(map(level_of, levels))
    question = Question(keyspaces=tuple(asked.getlist("keyspace")), levels=chosen, ranges=_flag(asked.get("ranges")))
    homes = tuple(asked.getlist("dc"))
    make = partial(_judged, reading, verdict, cluster, question, homes)
    body = _kept(request).get(verdict, (reading.cluster, "health", question, homes), make)
    return Response(body, media_type="application/json")


def _flag(text: str | None) -> bool:
    if text not in {None, "", "0", "1", "false", "true"}:
        raise HTTPException(400, f"{text!r} is neither true nor false")
    return text in {"", "1", "true"}


def _judged(reading: Reading, verdict: Verdict, cluster: Cluster, question: Question, homes: tuple[str, ...]) -> bytes:
    if question != Question() or homes:
        verdict = judged(reading, verdict, cluster, question, homes)
    return _dump(verdict_document(verdict))


def judged(
    reading: Reading, verdict: Verdict, cluster: Cluster, question: Question, homes: tuple[str, ...] = ()
) -> Verdict:
    """What is to be said of the same snapshot to another question.

    Raises:
        UsageError: if it does not fit the cluster.
    """
    policy = replace(cluster.policy, client_datacenters=homes) if homes else cluster.policy
    maintenance = None
    if cluster.lease:
        problem = "the store of leases did not answer" if reading.holders is None else None
        maintenance = Maintenance(reading.holders or (), cluster.lease.deadline, problem)
    return assess(verdict.snapshot, policy, question, maintenance)


def snapshot(request: Request) -> Response:
    """`/api/v1/clusters/NAME/snapshot`: what the verdict in force is made from."""
    _parameters(request)
    reading = _reading(request)
    verdict = _present(reading)
    return StreamingResponse(snapshot_parts(verdict.snapshot), media_type="application/json")


def plan(request: Request) -> Response:
    """`/api/v1/clusters/NAME/plan`: the batches of a rolling restart."""
    _parameters(request, "level", "max_batch", "by", "dc")
    cluster, reading = _cluster(request), _reading(request)
    verdict = _present(reading)
    asked = request.query_params
    gate = replace(cluster.gate, level=level_of(asked["level"])) if "level" in asked else cluster.gate
    by, most, homes = asked.get("by"), _whole(asked.get("max_batch")), tuple(asked.getlist("dc"))
    if by not in {None, "rack", "node"}:
        raise HTTPException(400, f"by is rack or node, not {by!r}")
    make = partial(_planned, verdict.snapshot, cluster, gate, most, cast("By | None", by), homes)
    body = _kept(request).get(verdict, (reading.cluster, "plan", gate, most, by, homes), make)
    return Response(body, media_type="application/json")


def _planned(  # noqa: PLR0913, PLR0917 - what may be wished
    seen: Snapshot, cluster: Cluster, gate: Gate, most: int | None, by: By | None, homes: tuple[str, ...]
) -> bytes:
    policy = replace(cluster.policy, client_datacenters=homes) if homes else cluster.policy
    nodes = [one.address for one in seen.nodes if not homes or one.datacenter in homes]
    return _dump(plan_document(planning.plan(seen, policy, gate, nodes=nodes, max_batch=most, by=by)))


def _whole(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise HTTPException(400, f"{text!r} is no number of nodes")
    return int(text)


# The picture


def ring(request: Request) -> Response:
    """`/api/v1/clusters/NAME/ring.svg`: a keyspace's ring; by default the worst keyspace at its worst level."""
    _parameters(
        request, "keyspace", "level", "at"
    )  # `at` makes the pages' pictures differ, for browsers that keep them
    cluster, reading = _cluster(request), _reading(request)
    verdict = _present(reading)
    asked = request.query_params
    name = asked.get("keyspace") or _worst(verdict)
    drawn = _drawn(request, reading, verdict, cluster, name, _level_in(request)) if name else None
    if drawn is None:
        raise HTTPException(404, f"there is no keyspace {name!r}" if name else "there is no keyspace to draw")
    return Response(drawn.svg, headers={"Content-Security-Policy": _PICTURE_POLICY}, media_type="image/svg+xml")


def _worst(verdict: Verdict) -> str | None:
    worst = max(verdict.keyspaces, key=lambda one: one.severity, default=None)
    return worst.name if worst else None


def _level_in(request: Request) -> Level | None:
    name = request.query_params.get("level")
    return level_of(name) if name else None


def _drawn(  # noqa: PLR0913, PLR0917 - of whom, and what
    request: Request, reading: Reading, verdict: Verdict, cluster: Cluster, keyspace: str, level: Level | None
) -> Drawing | None:
    """The picture as SVG and in words; None if there is no such keyspace."""

    def make() -> Drawing:
        known = next((one for one in verdict.keyspaces if one.name == keyspace), None)
        seen = verdict
        if known is None or (level and level not in {one.level for one in known.levels}):
            seen = judged(reading, verdict, cluster, Question(keyspaces=(keyspace,), levels=(level,) if level else ()))
        picture = draw(seen, keyspace, level)
        return picture_svg.drawing(picture) if picture else picture_svg.NOTHING

    return _kept(request).get(verdict, (reading.cluster, "ring", keyspace, level), make) or None


def _picture_policy() -> str:
    """The Content-Security-Policy of an SVG that is opened by itself: it may apply its own styles, and nothing else."""
    hashes = [base64.b64encode(sha256(style.encode()).digest()).decode() for style in picture_svg.STYLES]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; style-src 'unsafe-hashes' {allowed}; frame-ancestors 'none'; sandbox"


_PICTURE_POLICY = _picture_policy()


# Pages


def overview(request: Request) -> Response:
    """`/`: all clusters."""
    return HTMLResponse(page.overview(_agent(request).readings(), datetime.now(UTC)))


def one_cluster(request: Request) -> Response:
    """`/clusters/NAME`: one of them."""
    cluster, reading = _cluster(request), _reading(request)
    level = _level_in(request)
    picture, url = _pictured(request, reading, cluster, level)
    shown = page.Shown(picture, url, level, _refusals(reading, cluster))
    return HTMLResponse(page.cluster(reading, shown, datetime.now(UTC)))


def _pictured(
    request: Request, reading: Reading, cluster: Cluster, level: Level | None
) -> tuple[page.PagePicture | None, str]:
    """The picture that is chosen, in words, and where it is; none of what is not of the present."""
    verdict = reading.verdict if reading.fresh else None
    name = request.query_params.get("keyspace") or (_worst(verdict) if verdict else None)
    drawn = _drawn(request, reading, verdict, cluster, name, level) if verdict and name else None
    if verdict and name and drawn is None:
        raise HTTPException(404, f"there is no keyspace {name!r}")
    if verdict is None or name is None or drawn is None:
        return None, ""
    asked = {"keyspace": name, "level": level.value if level else None, "at": verdict.snapshot.taken_at}
    url = f"/api/v1/clusters/{quote(reading.cluster, safe='')}/ring.svg?"
    query = urlencode({key: value for key, value in asked.items() if value})
    return page.PagePicture(name, drawn.title, drawn.description), url + query


def _refusals(reading: Reading, cluster: Cluster) -> tuple[Reason, ...]:
    """Why no node that is up may restart, where none may: what the gate says of one of them."""
    verdict = reading.verdict if reading.fresh else None
    if verdict is None or reading.restart_safe is None or reading.restart_safe:
        return ()
    seen = verdict.snapshot
    up = [node.address for node, state in zip(seen.nodes, verdict.states, strict=True) if state == "up"]
    try:
        held = [placed(one, seen) for one in reading.holders or ()]
    except RingcheckError as error:
        return (reason("lease_held", reading.cluster, str(error), lifts_when="that lease is gone"),)
    try:
        gatekeeper = Gatekeeper(seen, cluster.policy, cluster.gate, held)
    except UsageError as error:
        return (reason("no_data", reading.cluster, str(error), lifts_when="the configuration is corrected"),)
    decision = gatekeeper.decide(up[:1])
    return tuple(one for one in decision.reasons if one.blocks)[:5]


def static(request: Request) -> Response:
    """`/static/NAME`: style sheet, script and icons."""
    name = request.path_params["name"]
    kept = {"Cache-Control": "public, max-age=86400"}
    if name in page.STATIC:
        return Response(page.static(name), headers=kept, media_type=page.STATIC[name])
    severity = next((one for one in Severity if name == f"{one.name.lower()}.svg"), None)
    if severity is None:
        raise HTTPException(404, "there is no such file")
    return Response(page.icon(severity), headers=kept, media_type="image/svg+xml")


# The gate


async def preflight(request: Request) -> Response:
    """`POST /api/v1/clusters/NAME/preflight`: may these nodes stop now?"""
    _parameters(request)
    cluster = _cluster(request)
    wish = wish_of(await body_of(request), cluster)
    room: asyncio.Semaphore = request.app.state.decisions
    if room.locked():
        return _undecided("too many questions at once: ask again", {"Retry-After": "5"})
    async with room:
        try:
            decision = await run_in_threadpool(decided, _agent(request), cluster, wish)
        except (UnknownError, RingcheckError) as error:
            return _undecided(str(error))
    return _json(decision_document(decision), STATUS[decision.decision])


def _undecided(why: str, headers: dict[str, str] | None = None) -> Response:
    body = _dump({"error": why, "status": 503, "decision": "unknown"})
    return Response(body, 503, headers, media_type="application/json")


async def observed(request: Request) -> Response:
    """`POST /api/v1/clusters/NAME/observed`: nothing in this release would follow what a proxy tells."""
    _cluster(request)
    return refusal(501, "levels that follow the queries (critical: auto) are not built in this release")


# The service

_NAME = "/api/v1/clusters/{cluster}"
ROUTES: list[BaseRoute] = [
    Route("/", overview),
    Route("/clusters/{cluster}", one_cluster),
    Route("/static/{name}", static),
    Route("/metrics", metrics_),
    Route("/-/healthy", healthy),
    Route("/-/ready", ready),
    Route("/events", events),
    Route("/api/v1/clusters", clusters),
    Route(f"{_NAME}/health", health),
    Route(f"{_NAME}/snapshot", snapshot),
    Route(f"{_NAME}/plan", plan),
    Route(f"{_NAME}/ring.svg", ring),
    Route(f"{_NAME}/preflight", preflight, methods=["POST"]),
    Route(f"{_NAME}/observed", observed, methods=["POST"]),
]


def _complained(text: str) -> None:
    Log()("bug", "error", error=text)


def app(
    agent: Agent,
    config: WebConfig | None = None,
    more: Sequence[BaseRoute] = (),
    complain: Callable[[str], object] = _complained,
) -> Starlette:
    """All of it as an ASGI application.

    Args:
        agent: what knows the clusters.
        config: TLS, which is not the application's, and users.
        more: routes beside ROUTES; the same may ask them.
        complain: called with the text of an error that nobody expected.
    """

    def broken(scope: Scope, error: Exception) -> Response:
        complain(located_bug(error))
        return _refused(Request(scope), 500, bug_text(error))

    access = Access(config or WebConfig())
    made = Starlette(
        routes=[*ROUTES, *more],
        middleware=[Middleware(Guard, access=access, broken=broken)],
        exception_handlers={
            HTTPException: _told_http,
            UnknownError: _told_unknown,
            RingcheckError: _told_wrong,
        },
    )
    made.state.agent = agent
    made.state.kept = Kept()
    made.state.streams = 0
    made.state.ending = threading.Event()
    made.state.decisions = asyncio.Semaphore(DECISIONS)
    made.state.access = access
    return made


def _told_http(request: Request, error: Exception) -> Response:
    found = cast("HTTPException", error)
    return _refused(request, found.status_code, found.detail, found.headers)


def _told_unknown(request: Request, error: Exception) -> Response:
    return _refused(request, 503, str(error))


def _told_wrong(request: Request, error: Exception) -> Response:
    return _refused(request, 400 if isinstance(error, UsageError) else 503, str(error))


def _refused(request: Request, status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error for programs, or a page for people."""
    path = request.scope["path"]
    if path != "/" and not path.startswith("/clusters/"):
        return refusal(status, why, headers, path)
    return HTMLResponse(page.problem(status, why, datetime.now(UTC)), status, headers)


@contextmanager
def serve(  # noqa: PLR0913, PLR0917 - what it is made of, and who is told
    agent: Agent,
    listen: str,
    web_config: str | None = None,
    more: Sequence[BaseRoute] = (),
    told: Callable[[str | None], object] = lambda _: None,
    complain: Callable[[str], object] = _complained,
) -> Iterator[Served]:
    """Serve until the block ends; the agent need not be started yet.

    Args:
        agent: what knows the clusters.
        listen: `HOST:PORT`, `[IPV6]:PORT` or `:PORT` for all addresses; port 0 is any.
        web_config: path of a file with TLS and users.
        more: routes beside ROUTES.
        told: called when web_config was changed and can't be used, with the reason, and with None once it can.
        complain: called with the text of an error that nobody expected; by default it is logged.

    Raises:
        ConfigErrors: if the file can't be used.
        UsageError: if nobody can listen there.
    """
    config = load(web_config) if web_config else WebConfig()
    made = app(agent, config, more, complain)
    served = Served(web_config, made.state.access.use, told)
    context: ssl.SSLContext | None = served.begin(config)
    listening = bound(listen)
    made.state.ending = served.ending
    with running(made, listening, served, context):
        yield served
