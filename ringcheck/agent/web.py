"""The agent's web application: its routes, its answers to errors, and the server that runs it.

routes.py has the table of routes with their handlers. guard.py decides who may ask, server.py limits how long a request
may take.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match

from ringcheck.agent import history, page
from ringcheck.agent.answers import AnswerCache
from ringcheck.agent.bugs import bug_text
from ringcheck.agent.guard import Access, Guard, is_loopback, refusal
from ringcheck.agent.log import Log, Troubles
from ringcheck.agent.pages import nearest_cluster
from ringcheck.agent.preflight import UnknownError
from ringcheck.agent.routes import OPERATIONS, ROUTES
from ringcheck.agent.server import Served, bound, running
from ringcheck.agent.webconfig import WebConfig, load
from ringcheck.errors import RingcheckError, UsageError, limit_of
from ringcheck.report.metrics import SeriesCache

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starlette.routing import BaseRoute
    from starlette.types import Scope

    from ringcheck.agent.service import Agent

DECISIONS = 8  # requests to the gate at once
NOT_FOUND = 404
MACHINES = ("/api/", "/v1/", "/metrics", "/-/", "/events", "/static/")  # paths of programs


def app(
    agent: Agent,
    config: WebConfig | None = None,
    more: Sequence[BaseRoute] = (),
    complain: Callable[[Exception], object] | None = None,
) -> Starlette:
    """The ASGI application.

    Args:
        agent: has the readings of the clusters.
        config: users and headers; its TLS settings are for the server, not for the application.
        more: routes beside ROUTES, under the same access rules.
        complain: called with an unexpected error; by default it is logged.
    """
    complain = complain or Troubles(Log())

    def broken(scope: Scope, error: Exception) -> Response:
        complain(error)
        return _refused(Request(scope), 503 if limit_of(error) else 500, bug_text(error))

    def refused(scope: Scope, status: int, why: str, headers: Mapping[str, str] | None) -> Response:
        if "text/html" not in Headers(scope=scope).get("accept", ""):
            return refusal(status, why, headers, scope["path"])
        return _refused(Request(scope), status, why, headers)

    def routed(scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in routes)

    access, routes = Access(config or WebConfig()), [*ROUTES, *more]
    application = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access, broken=broken, refused=refused, routed=routed)],
        exception_handlers={
            HTTPException: _http_error,
            UnknownError: _unknown_error,
            RingcheckError: _ringcheck_error,
        },
    )
    _prepare(application, agent, access)
    return application


def _prepare(application: Starlette, agent: Agent, access: Access) -> None:
    """Give an application what its handlers share."""
    application.router.redirect_slashes = False  # `curl -f .../may-stop/` would take the redirect for a yes
    application.state.agent = agent
    application.state.operations = OPERATIONS
    application.state.cache = AnswerCache()
    application.state.series = SeriesCache()
    application.state.history = history.HistoryReader()
    application.state.streams = 0
    application.state.ending = threading.Event()
    application.state.decisions = asyncio.Semaphore(DECISIONS)
    application.state.access = access


def _http_error(request: Request, error: Exception) -> Response:
    http_error = cast("HTTPException", error)
    return _refused(request, http_error.status_code, http_error.detail, http_error.headers)


def _unknown_error(request: Request, error: Exception) -> Response:
    return _refused(request, 503, str(error))


def _ringcheck_error(request: Request, error: Exception) -> Response:
    return _refused(request, 400 if isinstance(error, UsageError) else 503, str(error))


def _refused(request: Request, status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as JSON; as a page under the paths of pages, and for browsers that ask for an unknown path."""
    path = request.scope["path"]
    if not _is_of_a_page(path, request.headers.get("accept", "")):
        return refusal(status, why, headers, path)
    near = nearest_cluster(request, path) if status == NOT_FOUND else None
    return HTMLResponse(page.problem(status, why, datetime.now(UTC), near), status, headers)


def _is_of_a_page(path: str, accepts: str) -> bool:
    """Whether people see the answer. The paths of programs answer JSON, whatever the client accepts."""
    if path in {"/", "/reference"} or path.startswith("/clusters/"):
        return True
    return "text/html" in accepts and not path.startswith(MACHINES)


@contextmanager
def serve(
    agent: Agent,
    listen: str,
    web_config: str | None = None,
    more: Sequence[BaseRoute] = (),
    report: Callable[[str | None], object] = lambda _: None,
    complain: Callable[[Exception], object] | None = None,
) -> Iterator[Served]:
    """Serve until the block ends; the agent may be started later.

    Args:
        agent: has the readings of the clusters.
        listen: `HOST:PORT`, `[IPV6]:PORT`, or `:PORT` for all addresses; port 0 is any free one.
        web_config: path of the file with TLS and users.
        more: routes beside ROUTES.
        report: called with the reason when a changed web_config can't be used, and with None once it can.
        complain: called with an unexpected error; by default it is logged.

    Raises:
        ConfigErrors: the web_config can't be used.
        UsageError: the address can't be used.
    """
    config = load(web_config) if web_config else WebConfig()
    complain = complain or Troubles(Log())
    application = app(agent, config, more, complain)
    served = Served(web_config, application.state.access.use, report)
    context: ssl.SSLContext | None = served.begin(config)
    listening = bound(listen)
    application.state.ending = served.ending
    served.unguarded = not (config.users or config.certified or is_loopback(listening.getsockname()[0]))
    with running(application, listening, served, context, complain):
        yield served
