"""One node of a cluster, for probes and scripts that have only curl: is it ready, and may it stop?

The HTTP status is the answer; the body has the reason in one line, or as JSON for clients that accept it. A node is
ready if it has what `roll` waits for after a restart; the gate decides whether it may stop.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from ringcheck.agent.answers import agent_of, cluster_of, current_verdict, json_response, reading_of
from ringcheck.agent.api import RETRY, STATUS, in_turn
from ringcheck.agent.preflight import BusyError, UnknownError, decided, fresh_reading, resolved, wish_of
from ringcheck.core.refusals import not_meant
from ringcheck.documents.decision import decision_document
from ringcheck.errors import RingcheckError, one_line
from ringcheck.report import gate
from ringcheck.restart.readiness import RestartedNode, lacking

if TYPE_CHECKING:
    from starlette.requests import Request

    from ringcheck.core.ring import Snapshot
    from ringcheck.report.reading import Reading

_UNKNOWN = 503
_POLL_SECONDS = 30.0  # seconds that a poll may take, including a wait for the one before it
OLDEST = 3600  # seconds


async def ready(request: Request) -> Response:
    """`/api/v1/clusters/NAME/nodes/NODE/ready`: does it serve clients, see its peers up, and do they see it up?"""
    reading, name = reading_of(request), request.path_params["node"]
    try:
        reading = await _recent(request, reading, _seconds(request.query_params.get("max_age")))
        seen = current_verdict(reading).snapshot
    except UnknownError as error:
        return _unknown(request, reading.cluster, error, {"ready": None})
    return _readiness(request, reading, resolved(name, seen), seen)


def _seconds(text: str | None) -> int:
    """A number of seconds; 0 if there is none.

    Raises:
        HTTPException: 400 if it is not such a number.
    """
    if text is not None and not (text.isdecimal() and text.isascii() and int(text) <= OLDEST):
        raise HTTPException(400, f"max_age is a number of seconds up to {OLDEST}, not {text!r}")
    return int(text or 0)


async def _recent(request: Request, reading: Reading, max_age: int) -> Reading:
    """The present reading, if its poll began at most that many seconds ago; otherwise the reading of a new poll.

    Raises:
        UnknownError: the new poll fails or takes too long, or too many requests wait.
    """
    if reading.verdict and not reading.error and _age(reading.verdict.snapshot) < max_age:
        return reading
    cluster = cluster_of(request)
    polled = await in_turn(request, partial(fresh_reading, agent_of(request), cluster, _POLL_SECONDS))
    if polled is None or polled.error:
        why = polled.error if polled else f"it took longer than {_POLL_SECONDS:g} s"
        raise UnknownError(f"the poll of {cluster.name} failed: {why}")
    return polled


def _age(seen: Snapshot) -> float:
    """Seconds since a poll of the agent began."""
    return (datetime.now(UTC) - datetime.fromisoformat(seen.taken_at)).total_seconds()


def _readiness(request: Request, reading: Reading, node: str, seen: Snapshot) -> Response:
    lack = _lack(node, seen, reading)
    word, status = ("READY", 200) if lack is None else ("NOT READY", _UNKNOWN)
    text = "is ready: it serves clients, and its peers see it up" if lack is None else f"is not ready: {lack}"
    document = {"cluster": reading.cluster, "node": node, "ready": not lack, "reason": lack, "taken_at": seen.taken_at}
    return _answer(request, f"{word} {reading.cluster}: {node} {text}; {seen.taken_at}", document, status)


def _lack(address: str, seen: Snapshot, reading: Reading) -> str | None:
    """What a node lacks to be ready; None if it lacks nothing."""
    if address in reading.suspects:
        return "its Jolokia stopped answering"
    if address not in seen.index:
        return not_meant(seen, address)
    return lacking(RestartedNode(address, seen.nodes[seen.index[address]].host_id), seen)


async def may_stop(request: Request) -> Response:
    """`/api/v1/clusters/NAME/nodes/NODE/may-stop`: the gate's decision on a poll that begins after the request."""
    cluster = cluster_of(request)
    try:
        wish = wish_of({"nodes": [request.path_params["node"]]}, cluster)
        decision = await in_turn(request, partial(decided, agent_of(request), cluster, wish))
    except (UnknownError, RingcheckError) as error:
        return _unknown(request, cluster.name, error, {"decision": "unknown"})
    agent_of(request).recorder.decided(cluster.name, decision, "the API")
    return _answer(request, gate.one_line(decision), decision_document(decision), STATUS[decision.decision])


def _unknown(request: Request, cluster: str, error: Exception, field: dict[str, str | None]) -> Response:
    """503, as there is no answer; `field` stands for it in JSON."""
    document = {"error": str(error), "status": _UNKNOWN, **field}
    answer = _answer(request, f"UNKNOWN {cluster}: {error}", document, _UNKNOWN)
    answer.headers.update(RETRY if isinstance(error, BusyError) else {})
    return answer


def _answer(request: Request, text: str, document: object, status: int) -> Response:
    """One line of text, or JSON if the client's Accept header names it."""
    accepted = request.headers.get("accept", "").split(",")
    if any(part.partition(";")[0].strip().lower() == "application/json" for part in accepted):
        return json_response(document, status)
    return PlainTextResponse(f"{one_line(text)}\n", status)
