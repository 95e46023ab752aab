"""HTTP to Jolokia agents: how to ask, and when to give up.

Owns credentials, deadlines, caps, retries and what an HTTP status means; knows nothing of MBeans. What a 200 contains
is judged in outcomes.py: Jolokia reports its failures inside it.
"""

from __future__ import annotations

import json
import random
import threading
import time
import zlib
from collections import defaultdict
from contextlib import contextmanager, suppress
from functools import lru_cache
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from ringcheck.core.source import RequestCounts
from ringcheck.errors import DeniedError, SourceError
from ringcheck.http.connections import Connections
from ringcheck.http.credentials import basic_auth
from ringcheck.http.exchange import USER_AGENT, RetryableError, explained
from ringcheck.http.replies import CHUNK, Reply, document, one_line
from ringcheck.http.sockets import tls_context
from ringcheck.http.tls import Tls
from ringcheck.http.urls import shown
from ringcheck.jolokia.refusals import words

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from ringcheck.http.connections import Answer
    from ringcheck.http.loop import BufferedAnswer
    from ringcheck.jolokia.settings import JolokiaSettings

_ATTEMPTS = 3
_FIRST_PAUSE = 0.1  # seconds before the second attempt, at half of the most
_LONGEST_PAUSE = 1.0  # seconds

T = TypeVar("T")
Decode: TypeAlias = "Callable[[Reply], T]"


@lru_cache(maxsize=4096)
def with_slash(url: str) -> str:
    """The URL with its path ended by a slash: JVM agents (1.7.2 and 2.2.9) answer 404 to `POST /jolokia`."""
    parts = urlsplit(url)
    return url if parts.path.endswith("/") else parts._replace(path=f"{parts.path}/").geturl()


class RefusedError(SourceError):
    """HTTP 400: the agent refuses the request as a whole, which from Jolokia 2.4 on one bad item of a bulk does."""


class Requests:
    """What requests to agents have in common, however they are sent: headers, TLS, and the count of their outcomes."""

    def __init__(self, settings: JolokiaSettings) -> None:
        """Prepare; nothing is sent.

        Args:
            settings: how to ask.

        Raises:
            UsageError: if the password can't be read.
        """
        self.settings = settings
        self.counts = RequestCounts()
        self._guard = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self.headers = {
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            "Accept": "application/json, text/plain",
            "Accept-Encoding": "gzip",
        }
        auth = settings.basic_auth()
        if auth:
            self.headers["Authorization"] = basic_auth(*auth)

    def tls(self) -> ssl.SSLContext:
        """The TLS context of all connections.

        Raises:
            ConfigError: if a file of the settings can't be used.
        """
        with self._guard:
            if self._context is None:
                self._context = tls_context(self.settings.tls or Tls())
            return self._context

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the outcome of one request."""
        try:
            yield
        except (SourceError, RetryableError) as failure:
            error = failure.error if isinstance(failure, RetryableError) else failure
            self._count(error.kind)
            raise
        except Exception:
            self._count("error")  # what decode refuses is an answer that is none
            raise
        self._count("ok")

    def result(self, answer: Answer | BufferedAnswer, url: str, decode: Decode[T]) -> T:
        """What a decoder makes of an answer; its bytes are counted.

        Raises:
            SourceError: if its status is not 200, or it is larger than may be.
        """
        check_status(answer, url, self.settings.username)
        reply = Reply(answer, url, self.settings.max_bytes)
        try:
            return decode(reply)
        finally:
            with self._guard:
                self.counts.bytes += reply.bytes_read

    def _count(self, outcome: str) -> None:
        with self._guard:
            self.counts.requests[outcome] += 1


class Client:
    """Asks agents and waits; safe to use from many threads, one request in flight to each URL.

    Agents run requests on a single thread by default, so that a second one would only wait behind the first.
    """

    def __init__(
        self,
        requests: Requests,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            requests: how to ask.
            clock: monotonic seconds.
            sleep: waits between attempts.
        """
        self._requests = requests
        self._clock = clock
        self._sleep = sleep
        self._guard = threading.Lock()
        self._in_flight: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._connections = Connections(requests.tls)

    @property
    def counts(self) -> RequestCounts:
        """Requests since the start."""
        return self._requests.counts

    def post(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """Ask an agent something that may be asked twice.

        Connection errors are retried. A reading timeout is not: the agent still works on it, and its executor is
        single, so that asking again would only queue behind.

        Args:
            url: of the agent.
            payload: Jolokia request(s), to be sent as JSON.
            deadline: clock time at which all of it must be over.
            decode: makes the result from the reply.

        Raises:
            SourceError: kind `unreachable`, `denied` or `error`.
        """
        for pause in (*pauses(), None):
            try:
                return self._attempt(url, payload, deadline, decode)
            except RetryableError as failure:
                if pause is None or pause >= deadline - self._clock():
                    raise failure.error from failure
                self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def exec_once(self, url: str, payload: object, deadline: float) -> Any:  # noqa: ANN401 - as document
        """Ask an agent to do something that must not be done twice, `drain` above all.

        Never retried, and not cut off by the timeout of one request: only by the deadline.

        Raises:
            SourceError: as `post`. Whether it was done is then not known.
        """
        try:
            return self._attempt(url, payload, deadline, document, timeout=float("inf"))
        except RetryableError as failure:
            raise failure.error from failure

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _attempt(
        self, url: str, payload: object, deadline: float, decode: Decode[T], timeout: float | None = None
    ) -> T:
        """One request, its outcome counted."""
        requests = self._requests
        body = encoded(payload)
        with requests.counted(), self._turn(url, deadline) as left:
            seconds = min(left, timeout or requests.settings.timeout)
            with (
                explained(url, seconds),
                self._connections.request("POST", with_slash(url), seconds, requests.headers, body) as answer,
            ):
                return requests.result(answer, url, decode)

    @contextmanager
    def _turn(self, url: str, deadline: float) -> Iterator[float]:
        """This URL's turn, and the seconds left then."""
        with self._guard:
            turn = self._in_flight[url]
        if not turn.acquire(timeout=max(0.0, deadline - self._clock())):
            raise SourceError(f"{shown(url)}: an earlier request is still not answered", "unreachable")
        try:
            yield time_left(url, deadline - self._clock())
        finally:
            turn.release()


def pauses() -> Iterator[float]:
    """Seconds before each further attempt at a request: random, and up to twice as long each time."""
    for attempt in range(1, _ATTEMPTS):
        yield random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))  # noqa: S311 - no secret


def time_left(url: str, seconds: float) -> float:
    """The seconds, if there are any.

    Raises:
        SourceError: if there are none.
    """
    if seconds <= 0:
        raise SourceError(f"{shown(url)}: there was no time left to ask", "unreachable")
    return seconds


def encoded(payload: object) -> bytes:
    """Jolokia requests as JSON; bytes are that already."""
    return payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()


def check_status(raw: Answer | BufferedAnswer, url: str, username: str | None) -> None:
    """Only 200 may carry an answer.

    Raises:
        SourceError: for every other status, with what an operator can do about it.
    """
    status, where = raw.status, shown(url)
    if status == 200:  # noqa: PLR2004 - HTTP's OK
        return
    if status == 401:  # noqa: PLR2004 - HTTP's Unauthorized
        who = "user name or password is wrong" if username is not None else "it wants a user name and password"
        raise DeniedError(f"{where}: HTTP 401, {who}")
    if status == 403:  # noqa: PLR2004 - HTTP's Forbidden
        raise DeniedError(f"{where}: HTTP 403, access is forbidden{_said(raw)}")
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's redirects
        target = shown(raw.header("Location") or "nowhere")
        raise SourceError(f"{where}: HTTP {status} to {one_line(target.encode())}: redirects are not followed")
    kind = RefusedError if status == 400 else SourceError  # noqa: PLR2004 - HTTP's Bad Request
    raise kind(f"{where}: HTTP {status}{_said(raw)}")


def _said(raw: Answer | BufferedAnswer) -> str:
    """What the answer to a refused request says, in one line; HTML and the rest say nothing."""
    kind = raw.header("Content-Type").partition(";")[0].strip().lower()
    if kind not in {"text/plain", "application/json"}:
        return ""
    with suppress(HTTPException, OSError, zlib.error):
        return f": {words(raw.read(CHUNK))}".rstrip(": ")
    return ""
