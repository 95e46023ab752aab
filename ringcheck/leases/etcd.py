"""The lease store in etcd 3.4 or later: one record a cluster, replaced by compare-and-swap (v3 JSON gateway).

Owns endpoints, deadlines, tokens and the checks of etcd's answers; knows nothing of the content of a record.

A transaction whose answer was lost may have been applied, or may still be. Nothing is assumed about it: the record is
read again, and the next transaction starts from that record. Each transaction is bound to the revision that was read,
so that an abandoned one can't be applied any more after a later one was.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tenacity import Retrying, retry_if_exception_type, stop_before_delay
from tenacity.wait import wait_random_exponential

from ringcheck.errors import SourceError
from ringcheck.http.connections import Connections
from ringcheck.http.credentials import secret
from ringcheck.http.exchange import USER_AGENT, RetryableError, explained
from ringcheck.http.replies import Reply, one_line
from ringcheck.http.sockets import tls_context
from ringcheck.http.tls import Tls
from ringcheck.leases.record import MAX_BYTES, LeaseError, Record
from ringcheck.leases.store import STEP_SECONDS, RecordStore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from ringcheck.config.values import Lease
    from ringcheck.documents.fields import Json

T = TypeVar("T")

ONE_REQUEST = 3.0  # seconds before the next endpoint is asked
_MAX_ANSWER = 4 * MAX_BYTES
_OK = 200
_NOT_KNOWN = "; it is not known whether the record was changed"
_UNCERTAIN = frozenset({408, 429})  # gRPC's Canceled and ResourceExhausted; every 5xx is uncertain too


class _RetryableError(Exception):
    """A failed attempt that may succeed if it is repeated.

    `doubt`: it may have changed the record nevertheless. `late`: it ended at its deadline.
    """

    def __init__(self, text: str, *, doubt: bool = False, late: bool = False) -> None:
        super().__init__(text)
        self.doubt = doubt
        self.late = late


class Etcd(RecordStore):
    """One cluster's leases in one record of etcd; safe to use from many threads."""

    def __init__(
        self, cluster: str, lease: Lease, seconds: float = STEP_SECONDS, one_request: float = ONE_REQUEST
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            cluster: name of the cluster.
            lease: endpoints, user and TLS.
            seconds: deadline of a step, including retries.
            one_request: seconds before the next endpoint is asked.

        Raises:
            UsageError: the password file can't be read.
        """
        super().__init__(cluster)
        self._endpoints = [url.rstrip("/") for url in lease.etcd]
        self._lease = lease
        self._password = secret(lease.password_file) if lease.password_file else None
        self._seconds = seconds
        self._one_request = one_request
        self._key = base64.b64encode(f"/ringcheck/leases/{cluster}".encode()).decode()
        self._guard = threading.Lock()
        self._current = 0
        self._token: str | None = None
        self._cluster_id: str | None = None
        self._context: ssl.SSLContext | None = None
        self._connections = Connections(self._tls)

    def describe(self) -> str:
        """The endpoints."""
        return f"etcd at {', '.join(self._endpoints)}"

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def read(self) -> Record:
        """See RecordStore."""
        return self._retried(lambda ends: self._stored(ends)[0])

    def change(self, step: Callable[[Record], tuple[Record, T]]) -> T:
        """See RecordStore."""

        def attempt(ends: float) -> T:
            record, revision = self._stored(ends)
            changed, result = step(record)
            self._swap(changed, revision, ends)
            return result

        return self._retried(attempt)

    def _retried(self, attempt: Callable[[float], T]) -> T:
        """The result of the first attempt that succeeds.

        An attempt that loses a race means that another write won, so that racing runs finish one after another.
        """
        ends = time.monotonic() + self._seconds
        failures: list[_RetryableError] = []

        def noted() -> T:
            try:
                return attempt(ends)
            except _RetryableError as error:
                failures.append(error)
                raise

        retrying = Retrying(
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            stop=stop_before_delay(self._seconds),
            retry=retry_if_exception_type(_RetryableError),
            reraise=True,
        )
        try:
            return retrying(noted)
        except _RetryableError as error:
            doubt = _NOT_KNOWN if any(failure.doubt for failure in failures) else ""
            # The last attempt only had the rest of the time: an earlier failure explains more.
            cause = next((failure for failure in reversed(failures[:-1]) if not failure.late), error)
            raise LeaseError(
                f"etcd: {cause if error.late else error} (tried for {self._seconds:g} s){doubt}"
            ) from error

    # The two requests

    def _stored(self, ends: float) -> tuple[Record, int]:
        """The record, and the revision that last changed it; 0 if none is stored.

        A range request is linearizable by default: it returns what a majority agreed on, not what one member remembers.
        """
        answer = self._ask("/v3/kv/range", {"key": self._key}, ends)
        kvs = answer.get("kvs", [])
        with self._understood(answer):
            if not kvs:
                return Record.empty(self.cluster), 0
            (pair,) = kvs
            if pair["key"] != self._key:
                raise ValueError("another key")
            text, revision = base64.b64decode(pair["value"], validate=True), int(pair["mod_revision"])
            if revision <= 0:
                raise ValueError("a record without a revision")
        where = f"etcd's key {base64.b64decode(self._key).decode()}"
        return Record.parse(text, self.cluster, where), revision

    def _swap(self, record: Record, revision: int, ends: float) -> None:
        """Replace the record if its revision is still the given one.

        Raises:
            _RetryableError: the revision changed, or the outcome is not known.
        """
        text = record.dump()
        if len(text) > MAX_BYTES:
            raise LeaseError(f"the lease record of {self.cluster} would become larger than {MAX_BYTES} bytes")
        put = {"key": self._key, "value": base64.b64encode(text).decode()}
        unchanged = (
            {"target": "MOD", "mod_revision": str(revision)}
            if revision
            else {"target": "CREATE", "create_revision": "0"}
        )
        compare = {"key": self._key, "result": "EQUAL", **unchanged}
        answer = self._ask("/v3/kv/txn", {"compare": [compare], "success": [{"request_put": put}]}, ends, writes=True)
        won = answer.get("succeeded", False)  # absent if the comparison failed
        if won is False:
            raise _RetryableError("other runs keep changing the record")
        if won is not True:
            raise LeaseError(f"etcd answered a transaction with succeeded={str(won)[:40]!r}")

    # Endpoints, tokens and answers

    def _ask(self, path: str, payload: Json, ends: float, *, writes: bool = False) -> Json:
        """The answer of the current endpoint; after a failure the next endpoint becomes the current one."""
        with self._guard:
            current = self._current
        endpoint = self._endpoints[current]
        try:
            if self._lease.username and self._token is None:
                self._token = self._login(endpoint, ends)
            return self._answer(endpoint, path, payload, ends, writes=writes)
        except _RetryableError:
            with self._guard:
                if self._current == current:
                    self._current = (current + 1) % len(self._endpoints)
            raise

    def _login(self, endpoint: str, ends: float) -> str:
        payload = {"name": self._lease.username, "password": self._password}
        token = self._answer(endpoint, "/v3/auth/authenticate", payload, ends).get("token")
        if not isinstance(token, str) or not token:
            raise LeaseError(f"etcd at {endpoint} accepted the login of {self._lease.username} but returned no token")
        return token

    def _answer(self, endpoint: str, path: str, payload: Json, ends: float, *, writes: bool = False) -> Json:
        seconds = min(self._one_request, ends - time.monotonic())
        if seconds <= 0:
            raise _RetryableError(f"{endpoint}: no time left for a request", late=True)
        with _explained(endpoint, seconds, writes=writes):
            status, body = self._exchange(endpoint + path, payload, seconds)
        if status != _OK:
            raise self._refusal(endpoint, status, body, writes=writes)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            doubt = _NOT_KNOWN if writes else ""
            raise LeaseError(f"the answer of {endpoint} is not JSON: {one_line(body)}{doubt}") from None
        return self._of_one_cluster(endpoint, answer)

    def _of_one_cluster(self, endpoint: str, answer: Any) -> Json:  # noqa: ANN401 - decoded JSON
        """Check that an answer has etcd's header and comes from the same etcd cluster as earlier answers.

        Without this check, `{}` from any other service would read as "no leases", and with endpoints of two etcd
        clusters two runs could each use a record of their own.
        """
        header = answer.get("header") if isinstance(answer, dict) else None
        cluster_id = header.get("cluster_id") if isinstance(header, dict) else None
        if not isinstance(cluster_id, str):
            raise LeaseError(f"the answer of {endpoint} is not one of etcd: {str(answer)[:80]}")
        with self._guard:
            known = self._cluster_id = self._cluster_id or cluster_id
        if cluster_id != known:
            raise LeaseError(
                f"the endpoints belong to different etcd clusters: {endpoint} is not in the one that answered before"
            )
        return cast("Json", answer)

    def _refusal(self, endpoint: str, status: int, body: bytes, *, writes: bool) -> Exception:
        """The error for a status other than 200."""
        message = _message(body)
        text = f"{endpoint}: HTTP {status}{f', {message}' if message else ''}"
        if "invalid auth token" in message or "auth store is old" in message:
            self._token = None
            return _RetryableError(text)
        if status in _UNCERTAIN or status >= 500:  # noqa: PLR2004 - HTTP's failures of servers
            return _RetryableError(text, doubt=writes)
        if 300 <= status < 400:  # noqa: PLR2004 - HTTP's redirects
            return LeaseError(f"etcd: {text}: redirects are not followed")
        return LeaseError(f"etcd: {text}")

    def _exchange(self, url: str, payload: Json, seconds: float) -> tuple[int, bytes]:
        """Status and body of one answer."""
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json"}
        if self._token and not url.endswith("/authenticate"):
            headers["Authorization"] = self._token
        with self._connections.request("POST", url, seconds, headers, json.dumps(payload).encode()) as answer:
            return answer.status, Reply(answer, url, _MAX_ANSWER).all()

    def _tls(self) -> ssl.SSLContext:
        with self._guard:
            if self._context is None:
                self._context = tls_context(self._lease.tls or Tls())
            return self._context

    @contextmanager
    def _understood(self, answer: Json) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
            raise LeaseError(f"etcd's answer holds no lease record: {str(answer)[:200]}") from None


@contextmanager
def _explained(endpoint: str, seconds: float, *, writes: bool) -> Iterator[None]:
    """Turn network errors into _RetryableError; a write may have been applied nevertheless."""
    try:
        with explained(endpoint, seconds):
            yield
    except RetryableError as error:
        raise _RetryableError(str(error), doubt=writes) from error
    except SourceError as error:
        if error.kind != "unreachable":  # larger than _MAX_ANSWER, or not HTTP
            raise LeaseError(f"{error}{_NOT_KNOWN if writes else ''}") from error
        raise _RetryableError(str(error), doubt=writes, late=isinstance(error.__cause__, TimeoutError)) from error


def _message(body: bytes) -> str:
    """The error message in an answer: `error` in the gateway of etcd 3.4, `message` in later ones."""
    try:
        document = json.loads(body)
        text = document.get("message") or document.get("error") or ""
    except (ValueError, RecursionError, AttributeError):
        return one_line(body)
    return one_line(str(text).encode())
