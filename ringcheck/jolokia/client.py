"""Sends HTTP requests to Jolokia agents, and decides when to retry and when to give up.

Owns credentials, deadlines, limits, retries and the meaning of an HTTP status; does not know MBeans. `outcomes.py`
judges the body of a 200, since Jolokia reports its failures inside it. A `url` here is a location (`proxy.py`): the URL
of an agent, or the JMX service URL of a node that is asked through a proxy.
"""

from __future__ import annotations

import json
import random
import threading
import time
import zlib
from collections import defaultdict
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPException
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from ringcheck.core.source import RequestCounts
from ringcheck.errors import ConfigError, DeniedError, SourceError
from ringcheck.http.connections import KEPT, Connections
from ringcheck.http.credentials import basic_auth
from ringcheck.http.exchange import USER_AGENT, RetryableError, explained
from ringcheck.http.replies import CHUNK, SMALL, Reply, document, one_line
from ringcheck.http.sockets import tls_context
from ringcheck.http.tls import Tls
from ringcheck.http.urls import shown
from ringcheck.jolokia.proxy import Proxy, ProxyError, place
from ringcheck.jolokia.refusals import refusal_in
from ringcheck.jolokia.settings import is_jmx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from ringcheck.http.connections import Answer
    from ringcheck.http.loop import BufferedAnswer
    from ringcheck.jolokia.settings import JolokiaSettings

_ATTEMPTS = 3
_FIRST_PAUSE = 0.1  # seconds: half of the longest pause before the second attempt
_LONGEST_PAUSE = 1.0  # seconds before any attempt
KEPT_TO_PROXY = 64  # idle connections: a command asks this many nodes at once

T = TypeVar("T")
Decode: TypeAlias = "Callable[[Reply], T]"


def with_slash(url: str) -> str:
    """The URL with a slash at the end of its path: JVM agents (1.7.2 and 2.2.9) answer 404 to `POST /jolokia`."""
    if "?" not in url and "#" not in url:
        return url if url.endswith("/") else f"{url}/"
    parts = urlsplit(url)
    return url if parts.path.endswith("/") else parts._replace(path=f"{parts.path}/").geturl()


class RefusedError(SourceError):
    """HTTP 400: the agent refuses the whole request. From Jolokia 2.5 on one bad item of a bulk is enough for that."""


class Requests:
    """What all requests to the agents of a cluster share: headers, TLS, and the counts of outcomes and bytes."""

    def __init__(self, settings: JolokiaSettings) -> None:
        """Prepare; nothing is sent.

        Args:
            settings: of the cluster.

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
        self._proxy = Proxy(settings.proxy, settings.jmx_login()) if settings.proxy else None

    @property
    def kept(self) -> int:
        """Idle connections to keep to one server: a proxy is asked for many nodes at once."""
        return KEPT_TO_PROXY if self._proxy else KEPT

    def message(self, location: str, payload: object) -> tuple[str, bytes]:
        """URL and body of the request with which a location is asked.

        Raises:
            ConfigError: if it is a JMX service URL, and no proxy is configured.
        """
        if not is_jmx(location):
            return with_slash(location), encoded(payload)
        if self._proxy is None:
            raise ConfigError(f"{location} is asked through a proxy, and none is configured: set `jolokia: proxy`")
        return with_slash(self._proxy.url), self._proxy.request(location, payload)

    def explained(self, location: str, seconds: float) -> AbstractContextManager[None]:
        """As `exchange.explained`; failures of a proxy are distinguished from failures of the node behind it."""
        through = self._proxy if is_jmx(location) else None
        return through.explained(location, seconds) if through else explained(location, seconds)

    def tls(self) -> ssl.SSLContext:
        """The TLS context of all connections.

        Raises:
            ConfigError: if a certificate or key file of the settings can't be used.
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
            self._count("error")  # the reply could not be decoded
            raise
        self._count("ok")

    def limit(self, *, large: bool) -> int:
        """Decoded bytes that a reply may have. Only maps of ranges and tokens and the text of gossip may be large."""
        most = self.settings.max_bytes
        return most if large else min(most, SMALL)

    def result(self, answer: Answer | BufferedAnswer, location: str, decode: Decode[T], max_bytes: int) -> T:
        """An answer as a decoder returns it; its bytes are counted.

        Raises:
            SourceError: if its status is not 200, or it is too large.
        """
        url = self._proxy.url if self._proxy and is_jmx(location) else location
        try:
            check_status(answer, url, self.settings.username)
        except RefusedError:
            raise
        except SourceError as error:
            raise (error if url == location else ProxyError.of(error)) from None
        reply = Reply(answer, url, max_bytes)
        try:
            return decode(reply)
        finally:
            with self._guard:
                self.counts.bytes += reply.bytes_read

    def _count(self, outcome: str) -> None:
        with self._guard:
            self.counts.requests[outcome] += 1


class Client:
    """Sends requests and waits for the replies. Safe to use from many threads.

    At most one request is in flight to each URL: agents run requests on a single thread by default, so that a second
    one would only wait behind the first.
    """

    def __init__(
        self,
        requests: Requests,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            requests: settings, headers and counts.
            clock: monotonic seconds.
            sleep: waits between attempts.
        """
        self._requests = requests
        self._clock = clock
        self._sleep = sleep
        self._guard = threading.Lock()
        self._in_flight: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._connections = Connections(requests.tls, requests.kept)

    @property
    def counts(self) -> RequestCounts:
        """Requests by outcome and bytes, since the start."""
        return self._requests.counts

    def post(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """Send a request that only reads, so that it may be sent twice.

        Connection errors are retried. A timeout is not: the agent still works on the request with its single thread,
        so that a second request would only queue behind it.

        Args:
            url: of the agent.
            payload: Jolokia request(s), to be sent as JSON; bytes are JSON already.
            deadline: clock time at which all attempts must be over.
            decode: makes the result from the reply, which has a mebibyte at most.

        Raises:
            SourceError: kind `unreachable`, `denied` or `error`.
        """
        return self._repeated(url, payload, deadline, decode, self._requests.limit(large=False))

    def stream(self, url: str, payload: object, deadline: float, decode: Decode[Any] = document) -> Any:  # noqa: ANN401 - as document
        """As `post`, for a reply that may be as large as the settings allow."""
        return self._repeated(url, payload, deadline, decode, self._requests.limit(large=True))

    def _repeated(self, url: str, payload: object, deadline: float, decode: Decode[T], max_bytes: int) -> T:
        for pause in chain(pauses(), [None]):
            try:
                return self._attempt(url, payload, deadline, decode, max_bytes)
            except RetryableError as failure:
                if pause is None or pause >= deadline - self._clock():
                    raise failure.error from failure
                self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def exec_once(self, url: str, payload: object, deadline: float) -> Any:  # noqa: ANN401 - as document
        """Send a request that has an effect, such as `drain`, exactly once.

        It is never retried. Its only limit is the deadline, not the timeout of one request.

        Raises:
            SourceError: as `post`. It is then not known whether the request took effect.
        """
        try:
            limit = self._requests.limit(large=False)
            return self._attempt(url, payload, deadline, document, limit, timeout=float("inf"))
        except RetryableError as failure:
            raise failure.error from failure

    def forget(self, urls: Iterable[str]) -> None:
        """Close the idle connections to agents that are not asked any more."""
        self._connections.forget(map(with_slash, urls))
        with self._guard:
            for url in urls:
                self._in_flight.pop(url, None)

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _attempt(
        self,
        url: str,
        payload: object,
        deadline: float,
        decode: Decode[T],
        max_bytes: int,
        timeout: float | None = None,
    ) -> T:
        """Send one request and count its outcome."""
        requests = self._requests
        target, body = requests.message(url, payload)
        with requests.counted(), self._turn(url, deadline) as left:
            seconds = min(left, timeout or requests.settings.timeout)
            with (
                requests.explained(url, seconds),
                self._connections.request("POST", target, seconds, requests.headers, body) as answer,
            ):
                return requests.result(answer, url, decode, max_bytes)

    @contextmanager
    def _turn(self, url: str, deadline: float) -> Iterator[float]:
        """Wait until no other request to a URL is in flight; yields the seconds that are left."""
        with self._guard:
            turn = self._in_flight[url]
        if not turn.acquire(timeout=max(0.0, deadline - self._clock())):
            raise SourceError(f"{place(url)}: an earlier request is still not answered", "unreachable")
        try:
            yield time_left(url, deadline - self._clock())
        finally:
            turn.release()


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt: random, and up to twice as long as before the last one."""
    for attempt in range(1, _ATTEMPTS):
        yield random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))  # noqa: S311 - no secret


def time_left(url: str, seconds: float) -> float:
    """Return the seconds unchanged, if any are left.

    Raises:
        SourceError: if none are left.
    """
    if seconds <= 0:
        raise SourceError(f"{place(url)}: no time was left to ask", "unreachable")
    return seconds


def encoded(payload: object) -> bytes:
    """Jolokia requests as JSON; bytes are JSON already."""
    return payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()


def check_status(raw: Answer | BufferedAnswer, url: str, username: str | None) -> None:
    """Check that an HTTP status is 200.

    Raises:
        SourceError: for every other status; the text helps an operator to correct it.
    """
    if raw.status != 200:  # noqa: PLR2004 - HTTP's OK
        raise _refusal(raw, shown(url), username)


def _refusal(raw: Answer | BufferedAnswer, location: str, username: str | None) -> SourceError:
    status = raw.status
    if status == 401:  # noqa: PLR2004 - HTTP's Unauthorized
        if username is None:
            return DeniedError(f"{location}: HTTP 401, it requires a user name and password", "login_missing")
        return DeniedError(f"{location}: HTTP 401, user name or password is wrong", "login_wrong")
    if status == 403:  # noqa: PLR2004 - HTTP's Forbidden
        return DeniedError(f"{location}: HTTP 403, access is forbidden{_quoted(raw)}", "forbidden")
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's redirects
        target = shown(raw.header("Location") or "nowhere")
        text = f"{location}: HTTP {status} to {one_line(target.encode())}: redirects are not followed"
        return SourceError(text, symptom="redirect")
    kind = RefusedError if status == 400 else SourceError  # noqa: PLR2004 - HTTP's Bad Request
    symptom = "path" if status == 404 else "status"  # noqa: PLR2004 - HTTP's Not Found
    return kind(f"{location}: HTTP {status}{_quoted(raw)}", symptom=symptom)


def _quoted(raw: Answer | BufferedAnswer) -> str:
    """The reason in the body of a refusal, as the end of a message; empty for HTML and other formats."""
    kind = raw.header("Content-Type").partition(";")[0].strip().lower()
    if kind not in {"text/plain", "application/json"}:
        return ""
    with suppress(HTTPException, OSError, zlib.error):
        return f": {refusal_in(raw.read(CHUNK))}".rstrip(": ")
    return ""
