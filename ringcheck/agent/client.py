"""Asks a running agent for its verdict or its history, without any request to the cluster.

Owns the age limit of an answer: an old verdict is an error, whatever its severity.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from ringcheck.errors import DataError, SourceError, UsageError
from ringcheck.http.credentials import basic_auth
from ringcheck.http.urls import shown

if TYPE_CHECKING:
    from ringcheck.core.verdict import Verdict
    from ringcheck.history.reader import Page, Question
    from ringcheck.http.tls import Tls

MAX_AHEAD = 10.0  # seconds that the agent's clock may be ahead of ours
MAX_BYTES = 64 * 2**20  # limit for a verdict: one on 1,024 nodes has 0.5 MB, or 3 MB with 100 of them down
_VALUES = 2**21  # in an answer: that verdict has some 300,000. Each can take 80 bytes
_SHOWN = 400  # characters shown of the text of an error


class AgentError(SourceError):
    """The agent can't be asked, or has no answer."""

    asked = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAgent:
    """An agent, and how to ask it.

    Attributes:
        url: base URL of the agent, `http://127.0.0.1:9742`.
        auth: user and password, or None.
        tls: for https.
        max_age: highest age of a verdict in seconds.
    """

    url: str
    auth: tuple[str, str] | None = None
    tls: Tls | None = None
    max_age: float = 60.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            parts = urlsplit("")
        if "@" in parts.netloc:
            raise UsageError(f"{shown(self.url)}: a URL holds no password here: use --username and --password-file")
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query:
            raise UsageError(f"{shown(self.url)!r} is not the URL of an agent, such as http://127.0.0.1:9742")
        if self.tls and parts.scheme == "http":
            raise UsageError(f"{shown(self.url)} is not https: the certificates would have no effect")

    def health_url(self, cluster: str) -> str:
        """The URL of the verdict on a cluster."""
        return self._url(cluster, "health")

    def history_url(self, question: Question) -> str:
        """The URL of a page of the history of a cluster."""
        names = ("since", "until", "limit", "cursor", "order")
        asked = {name: value for name in names if (value := getattr(question, name)) is not None}
        return f"{self._url(question.cluster, 'history')}?{urlencode({**asked, 'kind': question.kinds}, doseq=True)}"

    def levels_url(self, cluster: str) -> str:
        """The URL of the levels that the clients of a cluster use."""
        return self._url(cluster, "levels")

    def _url(self, cluster: str, what: str) -> str:
        return f"{self.url.rstrip('/')}/api/v1/clusters/{quote(cluster, safe='')}/{what}"


def health(agent: RemoteAgent, cluster: str, seconds: float, now: datetime | None = None) -> Verdict:
    """The agent's current verdict on a cluster, for any output.

    Args:
        agent: the agent to ask.
        cluster: name in the agent's configuration.
        seconds: deadline of the request.
        now: the current time. [default: the clock's]

    Raises:
        SourceError: the agent does not answer, or has no current verdict.
        DataError: the answer is not a verdict, is about another cluster, or is too old.
    """
    from ringcheck.documents.verdict import read_verdict  # noqa: PLC0415 - loaded only if it is used

    url = agent.health_url(cluster)
    verdict = read_verdict(_get(agent, url, seconds), url)
    if verdict.snapshot.cluster != cluster:
        raise DataError(f"{url} answered for cluster {verdict.snapshot.cluster!r}")
    _require_current(verdict, now or datetime.now(UTC), agent.max_age, url)
    return verdict


def history(agent: RemoteAgent, question: Question, seconds: float) -> Page:
    """A page of the history that the agent keeps.

    Args:
        agent: the agent to ask.
        question: which entries; the cluster by its name in the agent's configuration.
        seconds: deadline of the request.

    Raises:
        SourceError: the agent does not answer, or can't read its history.
        DataError: the answer is not a history.
    """
    from ringcheck.documents.history import read_history  # noqa: PLC0415 - loaded only if it is used
    from ringcheck.history.reader import Page  # noqa: PLC0415 - loads SQLite

    url = agent.history_url(question)
    return Page(*read_history(_get(agent, url, seconds), url))


def levels(agent: RemoteAgent, cluster: str, seconds: float) -> dict[str, Any]:
    """The levels that the clients of a cluster use, as a `ringcheck/levels/1` document.

    Args:
        agent: the agent to ask.
        cluster: name in the agent's configuration.
        seconds: deadline of the request.

    Raises:
        SourceError: the agent does not answer, or does not look at the queries of this cluster.
        DataError: the answer is not such a document.
    """
    from ringcheck.documents.levels import read_levels  # noqa: PLC0415 - loaded only if it is used

    url = agent.levels_url(cluster)
    return read_levels(_get(agent, url, seconds), url)


def _get(agent: RemoteAgent, url: str, seconds: float) -> bytes:
    """The body of an answer.

    Raises:
        SourceError: there is none, or it is an error.
        DataError: it would fill the memory.
    """
    from ringcheck.http import trees  # noqa: PLC0415 - is loaded with HTTP
    from ringcheck.http.exchange import exchange  # noqa: PLC0415 - loads HTTP

    headers = {"Accept": "application/json", "Connection": "close"}
    if agent.auth:
        headers["Authorization"] = basic_auth(*agent.auth)
    try:
        status, body = exchange(url, seconds, headers=headers, tls=agent.tls, max_bytes=MAX_BYTES)
    except SourceError as error:
        raise AgentError(str(error), error.kind, error.symptom) from error
    try:
        trees.check(body, _VALUES)
    except DataError as error:
        raise DataError(f"{url}: {error}") from None
    _require_ok(status, body, url, named=agent.auth is not None)
    return body


def _require_ok(status: int, body: bytes, url: str, *, named: bool) -> None:
    if status == 200:  # noqa: PLR2004 - HTTP's OK
        return
    kind = "denied" if status in {401, 403} else "error"
    message = _message_in(body)
    symptom = {401: "login_wrong" if named else "login_missing", 403: "forbidden", 404: "path"}.get(status, "")
    if message.startswith("<"):  # a page of another server: the agent answers programs in JSON
        message, symptom = "", symptom if status in {401, 403} else "foreign"
    raise AgentError(f"{url}: HTTP {status}{f': {message}' if message else ''}", kind, symptom)


def _message_in(body: bytes) -> str:
    """The text of an error: the field `error` of the agent's JSON, or the beginning of any other body."""
    with suppress(ValueError, RecursionError):
        document = json.loads(body)
        if isinstance(document, dict) and isinstance(document.get("error"), str):
            return " ".join(document["error"].split())[:_SHOWN]
    return " ".join(body[:_SHOWN].decode("utf-8", "replace").split())


def _require_current(verdict: Verdict, now: datetime, max_age: float, url: str) -> None:
    """Refuse a verdict that is too old or from the future.

    Raises:
        DataError: with the age.
    """
    try:
        taken = datetime.fromisoformat(verdict.snapshot.taken_at)
        age = (now - taken).total_seconds()
    except (ValueError, TypeError):
        raise DataError(f"{url}: taken_at {verdict.snapshot.taken_at!r} is not a time with a zone") from None
    if age > max_age:
        why = "--max-age is shorter than the agent's interval, or its polls fail or hang"
        raise DataError(f"{url}: the verdict is {age:.0f} s old, more than {max_age:g} s: {why}")
    if age < -MAX_AHEAD:
        raise DataError(f"{url}: the verdict is {-age:.0f} s in the future: the clocks differ")
