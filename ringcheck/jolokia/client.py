"""HTTP to Jolokia agents: how to ask, and when to give up.

Owns credentials, deadlines, caps, retries and what an HTTP status means; knows nothing of MBeans. What a 200 contains
is judged in outcomes.py: Jolokia reports its failures inside it.
"""

from __future__ import annotations

import json
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
    from ringcheck.jolokia.settings import JolokiaSettings

_ATTEMPTS = 3
_LONGEST_WAIT = 1.0  # seconds between attempts

T = TypeVar("T")
Decode: TypeAlias = "Callable[[Reply], T]"


@lru_cache(maxsize=4096)
def _with_slash(url: str) -> str:
    """The URL with its path ended by a slash: JVM agents (1.7.2 and 2.2.9) answer 404 to `POST /jolokia`."""
    parts = urlsplit(url)
    return url if parts.path.endswith("/") else parts._replace(path=f"{parts.path}/").geturl()


class RefusedError(SourceError):
    """HTTP 400: the agent refuses the request as a whole, which from Jolokia 2.4 on one bad item of a bulk does."""


class Client:
    """Asks agents; safe to use from many threads, one request in flight to each URL.

    Agents run requests on a single thread by default, so that a second one would only wait behind the first.
    """

    def __init__(
        self,
        settings: JolokiaSettings,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            settings: how to ask.
            clock: monotonic seconds.
            sleep: waits between attempts.

        Raises:
            UsageError: if the password can't be read.
        """
        self.settings = settings
        self.counts = RequestCounts()
        self._clock = clock
        self._sleep = sleep
        self._guard = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._in_flight: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._headers = {
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            "Accept": "application/json, text/plain",
            "Accept-Encoding": "gzip",
        }
        auth = settings.basic_auth()
        if auth:
            self._headers["Authorization"] = basic_auth(*auth)
        self._connections = Connections(self._tls)

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
        try:
            return self._attempt(url, payload, deadline, decode)
        except RetryableError as failure:
            return self._again(failure, url, payload, deadline, decode)

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

    def _again(self, failure: RetryableError, url: str, payload: object, deadline: float, decode: Decode[Any]) -> Any:  # noqa: ANN401 - as document
        # Imported where the first retry is needed: it costs `check` 49 ms.
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay  # noqa: PLC0415
        from tenacity.wait import wait_random_exponential  # noqa: PLC0415 - as above

        made = iter([failure])

        def attempt() -> Any:  # noqa: ANN401 - as document
            for first in made:
                raise first  # the attempt that was made before tenacity was there
            return self._attempt(url, payload, deadline, decode)

        retrying = Retrying(
            sleep=self._sleep,
            wait=wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT),
            stop=stop_after_attempt(_ATTEMPTS) | stop_before_delay(max(0.0, deadline - self._clock())),
            retry=retry_if_exception_type(RetryableError),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except RetryableError as last:
            raise last.error from last

    def _attempt(
        self, url: str, payload: object, deadline: float, decode: Decode[T], timeout: float | None = None
    ) -> T:
        """One request, its outcome counted."""
        try:
            with self._turn(url, deadline) as left:
                result = self._exchange(url, payload, min(left, timeout or self.settings.timeout), decode)
        except (SourceError, RetryableError) as failure:
            error = failure.error if isinstance(failure, RetryableError) else failure
            self._count(error.kind)
            raise
        except Exception:
            self._count("error")  # what decode refuses is an answer that is none
            raise
        self._count("ok")
        return result

    @contextmanager
    def _turn(self, url: str, deadline: float) -> Iterator[float]:
        """This URL's turn, and the seconds left then."""
        turn = self._lock_of(url)
        if not turn.acquire(timeout=max(0.0, deadline - self._clock())):
            raise SourceError(f"{shown(url)}: an earlier request is still not answered", "unreachable")
        try:
            left = deadline - self._clock()
            if left <= 0:
                raise SourceError(f"{shown(url)}: there was no time left to ask", "unreachable")
            yield left
        finally:
            turn.release()

    def _exchange(self, url: str, payload: object, seconds: float, decode: Decode[T]) -> T:
        body = payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()
        with (
            explained(url, seconds),
            self._connections.request("POST", _with_slash(url), seconds, self._headers, body) as answer,
        ):
            _check_status(answer, url, self.settings.username)
            reply = Reply(answer, url, self.settings.max_bytes)
            try:
                return decode(reply)
            finally:
                self._count_bytes(reply.bytes_read)

    def _tls(self) -> ssl.SSLContext:
        with self._guard:
            if self._context is None:
                self._context = tls_context(self.settings.tls or Tls())
            return self._context

    def _lock_of(self, url: str) -> threading.Lock:
        with self._guard:
            return self._in_flight[url]

    def _count(self, outcome: str) -> None:
        with self._guard:
            self.counts.requests[outcome] += 1

    def _count_bytes(self, number: int) -> None:
        with self._guard:
            self.counts.bytes += number


def _check_status(raw: Answer, url: str, username: str | None) -> None:
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


def _said(raw: Answer) -> str:
    """What the answer to a refused request says, in one line; HTML and the rest say nothing."""
    kind = raw.header("Content-Type").partition(";")[0].strip().lower()
    if kind not in {"text/plain", "application/json"}:
        return ""
    with suppress(HTTPException, OSError, zlib.error):
        return f": {words(raw.read(CHUNK))}".rstrip(": ")
    return ""
