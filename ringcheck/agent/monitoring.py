"""Routes for monitoring: metrics, the health of the service itself, and the event stream that refreshes pages."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from ringcheck.agent.answers import agent_of, no_cluster
from ringcheck.agent.guard import refusal
from ringcheck.report import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

STREAMS = 64  # event streams at once
STREAM_SECONDS = 300.0  # seconds after which a stream ends; browsers connect again by themselves
ALIVE_SECONDS = 15.0  # seconds without news after which a stream sends a sign of life
TICK = 0.25  # seconds between checks for news


def metrics_(request: Request) -> Response:
    """`/metrics`: all clusters, or those that `cluster` parameters name, so that scrapes can be shared out."""
    agent, names = agent_of(request), set(request.query_params.getlist("cluster"))
    readings = agent.readings()
    watched = {reading.cluster for reading in readings}
    if unknown := names - watched:
        raise no_cluster(min(unknown), sorted(watched))
    wanted = [reading for reading in readings if not names or reading.cluster in names]
    accept, series = request.headers.get("accept", ""), request.app.state.series
    series.keep(watched)
    content_type, body = metrics.render(lambda: wanted, agent.own_reading(), accept, series=series)
    return Response(body, headers={"Content-Type": content_type})


def healthy(request: Request) -> Response:
    """`/-/healthy`: whether the polls of all clusters continue."""
    if agent_of(request).makes_progress():
        return Response("ringcheck is healthy.\n", media_type="text/plain")
    return Response("The polls of a cluster hang.\n", 503, media_type="text/plain")


def ready(request: Request) -> Response:
    """`/-/ready`: whether every cluster was polled once."""
    if agent_of(request).tried():
        return Response("ringcheck is ready.\n", media_type="text/plain")
    return Response("Not every cluster has been polled yet.\n", 503, media_type="text/plain")


async def events(request: Request) -> Response:
    """`/events`: a line for each new reading, and for each reading that becomes old; `cluster` names the only one."""
    media_type, headers, state = "text/event-stream", {"X-Accel-Buffering": "no"}, request.app.state
    if request.method == "HEAD":  # a stream would never end for it
        return Response(headers=headers, media_type=media_type)
    if state.streams >= STREAMS:
        return refusal(503, f"{STREAMS} streams are open already", {"Retry-After": "10"})
    state.streams += 1  # before the stream is sent: concurrent requests must see the count
    return _CountedStream(state, _news(_newest_of(request), state), media_type=media_type, headers=headers)


class _CountedStream(StreamingResponse):
    """An event stream that is counted until it ends."""

    def __init__(self, state: Any, news: AsyncIterator[str], **options: Any) -> None:  # noqa: ANN401 - Starlette's
        super().__init__(news, **options)
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the base."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._state.streams -= 1


def _newest_of(request: Request) -> Callable[[], tuple[int, object]]:
    """A function whose result changes with each event: a number, and what has become old.

    No cluster has to have the name: a page stays open while its cluster is taken out of the configuration for a time.
    """
    agent, name = agent_of(request), request.query_params.get("cluster")
    if name is None:
        return lambda: (agent.sequence, tuple(reading.fresh for reading in agent.readings()))

    def newest() -> tuple[int, object]:
        reading = agent.reading(name)
        return (sum(reading.polls.counts), reading.fresh) if reading else (0, None)

    return newest


async def _news(newest: Callable[[], tuple[int, object]], state: Any) -> AsyncIterator[str]:  # noqa: ANN401 - Starlette's
    yield "retry: 2000\n\n"
    seen: object = None
    ends, last = time.monotonic() + STREAM_SECONDS, time.monotonic()
    while not state.ending.is_set() and time.monotonic() < ends:
        current = newest()
        if current != seen:
            yield f"data: {current[0]}\n\n"
            seen, last = current, time.monotonic()
        elif time.monotonic() - last > ALIVE_SECONDS:
            yield "event: alive\ndata:\n\n"
            last = time.monotonic()
        await asyncio.sleep(TICK)  # after news too: without a pause others don't run, and a disconnect goes unnoticed
