"""What handlers of HTTP requests share: finding the cluster, checking parameters, threads, and a cache of answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import Sized
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ringcheck.agent.preflight import UnknownError
from ringcheck.core.words import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request

    from ringcheck.agent.service import Agent
    from ringcheck.config.values import Cluster
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

MAX_BODY = 64 * 1024  # bytes of a request
WAITING = 8  # requests whose answers are being made, or wait for that
CACHED, MAX_CACHED = 16, 1024 * 1024  # answers in the cache, and bytes of the largest

Made = TypeVar("Made", bound=Sized)
T = TypeVar("T")
Key = tuple[Any, ...]


class AnswerCache:
    """Answers made from the current verdicts. Each is made once for all clients, and at most two at the same time."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Key, tuple[Verdict, Sized]] = OrderedDict()
        self._guard = threading.Lock()
        self._work = threading.Semaphore(2)
        self._room = threading.Semaphore(WAITING)

    def get(self, verdict: Verdict, key: Key, make: Callable[[], Made]) -> Made:
        """The answer to a question about a verdict, from the cache if it has it.

        Args:
            verdict: answers made from another verdict on the cluster are dropped.
            key: the cluster's name, then the question.
            make: function that makes the answer.

        Raises:
            UnknownError: too many requests wait for an answer: they would take the threads that a scrape needs.
        """
        if (answer := self._find(verdict, key)) is not None:
            return cast("Made", answer)
        if not self._room.acquire(blocking=False):
            raise UnknownError("too many requests at once: ask again")
        try:
            with self._work:
                if (answer := self._find(verdict, key)) is not None:
                    return cast("Made", answer)
                made = make()
        finally:
            self._room.release()
        self._keep(verdict, key, made)
        return made

    def _keep(self, verdict: Verdict, key: Key, made: Sized) -> None:
        with self._guard:
            old = [other for other, (of, _) in self._answers.items() if other[0] == key[0] and of is not verdict]
            for other in old:  # a verdict keeps its whole snapshot in memory
                del self._answers[other]
            if len(made) <= MAX_CACHED:
                self._answers[key] = verdict, made
            while len(self._answers) > CACHED:
                self._answers.popitem(last=False)

    def _find(self, verdict: Verdict, key: Key) -> Sized | None:
        with self._guard:
            of, answer = self._answers.get(key, (None, None))
            return answer if of is verdict else None


# Of a request


def agent_of(request: Request) -> Agent:
    """The agent that the application serves."""
    return cast("Agent", request.app.state.agent)


def cache_of(request: Request) -> AnswerCache:
    """The cache of the application."""
    return cast("AnswerCache", request.app.state.cache)


def reading_of(request: Request) -> Reading:
    """The reading of the cluster in the path.

    Raises:
        HTTPException: 404 if no cluster has that name.
    """
    name = request.path_params["cluster"]
    reading = agent_of(request).reading(name)
    if reading is None:
        raise no_cluster(name, (known.cluster for known in agent_of(request).readings()))
    return reading


def cluster_of(request: Request) -> Cluster:
    """The configuration of the cluster in the path.

    Raises:
        HTTPException: 404 if no cluster has that name.
    """
    name = request.path_params["cluster"]
    cluster = agent_of(request).config.clusters.get(name)
    if cluster is None:
        raise no_cluster(name, agent_of(request).config.clusters)
    return cluster


def no_cluster(name: str, known: Iterable[str]) -> HTTPException:
    """The answer to a request that names an unknown cluster, with the name that was meant or those that are known."""
    return HTTPException(404, f"there is no cluster {name!r} ({suggestion(name, known)})")


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object in the body.

    Raises:
        HTTPException: 413 if it is too large, 400 if it is not a JSON object.
    """
    data = bytearray()
    try:
        async for part in request.stream():
            data += part
            if len(data) > MAX_BODY:
                raise HTTPException(413, f"the body has more than {MAX_BODY} bytes")
        document = decoded(data)
    except ClientDisconnect:
        raise HTTPException(400, "the body is incomplete") from None
    except RepeatedFieldError as error:
        raise HTTPException(400, str(error)) from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return document


class RepeatedFieldError(ValueError):
    """A JSON object has a field twice: of two lists of nodes, the gate would decide only on the last."""


def decoded(body: bytes | bytearray) -> Any:  # noqa: ANN401 - decoded JSON
    """The parsed JSON of a request, in which no object has a field twice.

    Raises:
        RepeatedFieldError: if a field is given twice.
        ValueError: if it is not JSON; RecursionError if it is nested too deeply.
    """
    return json.loads(body, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise RepeatedFieldError("a field is given twice")
    return fields


# Answers


def current_verdict(reading: Reading) -> Verdict:
    """The verdict of a reading, if it is young enough to be current.

    Raises:
        UnknownError: if there is none that is young enough.
    """
    if reading.verdict is None:
        why = reading.error or "the first poll is under way"
        raise UnknownError(f"there is no verdict on {reading.cluster} yet: {why}")
    if not reading.fresh:
        why = reading.error or "polls hang"
        raise UnknownError(f"the last verdict on {reading.cluster} is from {reading.verdict.snapshot.taken_at}: {why}")
    return reading.verdict


def json_response(document: object, status: int = 200) -> Response:
    """A document as the whole answer."""
    return Response(dump(document), status, media_type="application/json")


def dump(document: object) -> bytes:
    """JSON and a line end."""
    return json.dumps(document).encode() + b"\n"


def started(work: Callable[[], T]) -> asyncio.Future[T]:
    """Start a thread, and return the future of its result."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            finish = partial(future.set_result, work())
        except Exception as error:  # noqa: BLE001 - raised by the future
            finish = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended: no one waits any more
            loop.call_soon_threadsafe(finish)

    threading.Thread(target=run, name="lease", daemon=True).start()
    return future
