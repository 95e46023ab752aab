"""The route of the history, and the reader that pages use: two threads of their own read the state file.

A disk that hangs blocks only these two threads, and delays only answers about the history.
"""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from typing import TYPE_CHECKING, cast

from starlette.exceptions import HTTPException

from ringcheck.agent.answers import agent_of, cluster_of, json_response
from ringcheck.agent.preflight import UnknownError
from ringcheck.core.fact_kinds import KINDS
from ringcheck.documents.history import history_document, moment
from ringcheck.errors import RingcheckError
from ringcheck.history import reader
from ringcheck.history.database import StateFileError
from ringcheck.http.threads import WorkerThreads

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from ringcheck.agent.recorder import Recorder
    from ringcheck.history.reader import Order, Page, Question

THREADS = 2
WAITING = 16  # questions at once
SECONDS = 5.0  # seconds that an answer may take
LAST = 2**62  # highest number of an entry


class HistoryReader:
    """Reads the state file without blocking the event loop."""

    def __init__(self) -> None:
        self._threads = WorkerThreads(THREADS)
        self._waiting = 0

    async def page(self, recorder: Recorder, question: Question, seconds: float = SECONDS) -> Page:
        """A page of the history; to be awaited on the server's event loop.

        Raises:
            UnknownError: the file can't be read now.
        """
        if recorder.path is None:
            raise UnknownError("no history is kept: `agent: {state: FILE}` is not configured")
        if self._waiting >= WAITING:
            raise UnknownError("too many questions about the history at once: ask again")
        self._waiting += 1
        future = self._threads.submit(partial(_read, recorder, recorder.path, question))
        future.add_done_callback(partial(self._done, asyncio.get_running_loop()))
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), seconds)
        except TimeoutError:
            raise UnknownError(f"the state file could not be read within {seconds:g} s") from None

    def _done(self, loop: asyncio.AbstractEventLoop, _: Future[Page]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._waiting -= 1


def _read(recorder: Recorder, path: Path, question: Question) -> Page:
    try:
        return reader.page(path, question)
    except StateFileError as error:
        if error.broken and recorder.writer:
            recorder.writer.doubt()
        raise UnknownError(str(error)) from None


async def history(request: Request) -> Response:
    """`/api/v1/clusters/NAME/history`: what changed."""
    question = _question(request, cluster_of(request).name)
    page = await reader_of(request).page(agent_of(request).recorder, question)
    return json_response(history_document(question.cluster, page.entries, page.cursor))


def reader_of(request: Request) -> HistoryReader:
    """The reader of the application."""
    return cast("HistoryReader", request.app.state.history)


def _question(request: Request, cluster: str) -> Question:
    """What the parameters ask for.

    Raises:
        HTTPException: 400 if one is wrong.
    """
    asked, kinds = request.query_params, tuple(request.query_params.getlist("kind"))
    order = asked.get("order", "newest")
    if order not in {"newest", "oldest"}:
        raise HTTPException(400, f"order is newest or oldest, not {order!r}")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise HTTPException(400, f"there is no kind {unknown[0]!r} (known: {', '.join(KINDS)})")
    return reader.Question(
        cluster=cluster,
        since=_moment(asked.get("since")),
        until=_moment(asked.get("until")),
        kinds=kinds,
        limit=_number(asked.get("limit", "100"), "limit", reader.MOST),
        cursor=_number(asked["cursor"], "cursor", LAST) if "cursor" in asked else None,
        order=cast("Order", order),
    )


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else moment(text, time.time())
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def _number(text: str, name: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 0 < int(text) <= most:
        raise HTTPException(400, f"{name} is a number from 1 to {most}, not {text[:40]!r}")
    return int(text)


async def recent(request: Request, cluster: str, limit: int) -> Page | str | None:
    """The last entries of a cluster, for its page: None if no history is kept, a text if it can't be read now."""
    recorder = agent_of(request).recorder
    if recorder.path is None:
        return None
    try:
        return await reader_of(request).page(recorder, reader.Question(cluster=cluster, limit=limit), 1.0)
    except (UnknownError, RingcheckError) as error:
        return str(error)
