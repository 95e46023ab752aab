"""Leases in etcd: one record a cluster, replaced by compare-and-swap through the v3 JSON gateway.

Owns endpoints, time, tokens and what etcd answers; knows nothing of what a record means. etcd 3.4 and later.

A transaction whose answer is lost may have been carried out, or may be yet: nothing is assumed of it. The record is
read anew, and the next transaction is made on what stands there. Each is bound to the revision that was read, so that
one which was given up can't be carried out any more once a later one was.
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
from ringcheck.leases.record import MAX_BYTES, Json, LeaseError, Record
from ringcheck.leases.store import SECONDS, RecordStore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from ringcheck.config.values import Lease

T = TypeVar("T")

ONE_REQUEST = 3.0  # seconds, after which the next endpoint is asked
_MAX_ANSWER = 4 * MAX_BYTES
_OK = 200
_NOT_KNOWN = "; whether the record was changed is not known"
_UNCERTAIN = frozenset({408, 429})  # what gRPC's Canceled and ResourceExhausted become; and every 5xx


class _RetryableError(Exception):
    """A try that did not succeed, and may if it is made again.

    `doubt`: whether it may have been carried out all the same. `late`: whether it ended because its time was over.
    """

    def __init__(self, text: str, *, doubt: bool = False, late: bool = False) -> None:
        super().__init__(text)
        self.doubt = doubt
        self.late = late


class Etcd(RecordStore):
    """One cluster's leases in one record of etcd; safe to use from many threads."""

    def __init__(self, cluster: str, lease: Lease, seconds: float = SECONDS, one_request: float = ONE_REQUEST) -> None:
        """Prepare; nothing is sent.

        Args:
            cluster: whose leases.
            lease: endpoints, user and TLS.
            seconds: that a step may take, all tries together.
            one_request: seconds after which the next endpoint is asked.

        Raises:
            UsageError: if the password can't be read.
        """
        super().__init__(cluster)
        self._endpoints = [one.rstrip("/") for one in lease.etcd]
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
        """Its endpoints."""
        return f"etcd at {', '.join(self._endpoints)}"

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def read(self) -> Record:
        """See RecordStore."""
        return self._tried(lambda ends: self._found(ends)[0])

    def change(self, step: Callable[[Record], tuple[Record, T]]) -> T:
        """See RecordStore."""

        def attempt(ends: float) -> T:
            record, revision = self._found(ends)
            then, result = step(record)
            self._swap(then, revision, ends)
            return result

        return self._tried(attempt)

    def _tried(self, attempt: Callable[[float], T]) -> T:
        """The result of the first try that succeeds.

        A lost race means that somebody else's write won, so that racers finish one after another.
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
            doubt = _NOT_KNOWN if any(one.doubt for one in failures) else ""
            # The last try had what was left of the time: what an earlier one met tells more.
            told = next((one for one in reversed(failures[:-1]) if not one.late), error) if error.late else error
            raise LeaseError(f"etcd: {told} (tried for {self._seconds:g} s){doubt}") from error

    # The two questions

    def _found(self, ends: float) -> tuple[Record, int]:
        """The record and the revision it was last changed in, 0 where there is none.

        By default a range is linearizable: what a majority agrees on, and not what one member remembers.
        """
        answer = self._ask("/v3/kv/range", {"key": self._key}, ends)
        kvs = answer.get("kvs", [])
        with self._understood(answer):
            if not kvs:
                return Record.empty(self.cluster), 0
            (one,) = kvs
            if one["key"] != self._key:
                raise ValueError("another key")
            text, revision = base64.b64decode(one["value"], validate=True), int(one["mod_revision"])
            if revision <= 0:
                raise ValueError("a record without a revision")
        where = f"etcd's key {base64.b64decode(self._key).decode()}"
        return Record.parse(text, self.cluster, where), revision

    def _swap(self, record: Record, revision: int, ends: float) -> None:
        """Replace the record if it is still of that revision.

        Raises:
            _AgainError: if it is not, or nobody knows.
        """
        text = record.dump()
        if len(text) > MAX_BYTES:
            raise LeaseError(f"the record of leases of {self.cluster} would become larger than it can be")
        put = {"key": self._key, "value": base64.b64encode(text).decode()}
        known = (
            {"target": "MOD", "mod_revision": str(revision)}
            if revision
            else {"target": "CREATE", "create_revision": "0"}
        )
        compare = {"key": self._key, "result": "EQUAL", **known}
        answer = self._ask("/v3/kv/txn", {"compare": [compare], "success": [{"request_put": put}]}, ends, writes=True)
        won = answer.get("succeeded", False)  # a lost transaction's answer lacks it
        if won is False:
            raise _RetryableError("others change the record all the time")
        if won is not True:
            raise LeaseError(f"etcd answered a transaction with succeeded={str(won)[:40]!r}")

    # How they are asked

    def _ask(self, path: str, payload: Json, ends: float, *, writes: bool = False) -> Json:
        """The answer of the endpoint whose turn it is; after a failure it is the next one's turn."""
        with self._guard:
            at = self._current
        endpoint = self._endpoints[at]
        try:
            if self._lease.username and self._token is None:
                self._token = self._login(endpoint, ends)
            return self._answer(endpoint, path, payload, ends, writes=writes)
        except _RetryableError:
            with self._guard:
                if self._current == at:
                    self._current = (at + 1) % len(self._endpoints)
            raise

    def _login(self, endpoint: str, ends: float) -> str:
        payload = {"name": self._lease.username, "password": self._password}
        token = self._answer(endpoint, "/v3/auth/authenticate", payload, ends).get("token")
        if not isinstance(token, str) or not token:
            raise LeaseError(f"etcd at {endpoint} let {self._lease.username} in without a token")
        return token

    def _answer(self, endpoint: str, path: str, payload: Json, ends: float, *, writes: bool = False) -> Json:
        seconds = min(self._one_request, ends - time.monotonic())
        if seconds <= 0:
            raise _RetryableError(f"{endpoint}: there was no time left to ask", late=True)
        with _explained(endpoint, seconds, writes=writes):
            status, body = self._exchange(endpoint + path, payload, seconds)
        if status != _OK:
            raise self._refusal(endpoint, status, body, writes=writes)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            doubt = _NOT_KNOWN if writes else ""
            raise LeaseError(f"{endpoint} answered no JSON: {one_line(body)}{doubt}") from None
        return self._of_one_cluster(endpoint, answer)

    def _of_one_cluster(self, endpoint: str, answer: Any) -> Json:  # noqa: ANN401 - decoded JSON
        """An answer with etcd's header, from the etcd cluster that answered before.

        `{}` from whatever else listens there would else read as "no leases", and endpoints of two clusters would let
        two runs each have a record of its own.
        """
        header = answer.get("header") if isinstance(answer, dict) else None
        cluster_id = header.get("cluster_id") if isinstance(header, dict) else None
        if not isinstance(cluster_id, str):
            raise LeaseError(f"{endpoint} does not answer as etcd does: {str(answer)[:80]}")
        with self._guard:
            known = self._cluster_id = self._cluster_id or cluster_id
        if cluster_id != known:
            raise LeaseError(
                f"the endpoints are of different etcd clusters: {endpoint} is not of that which answered before"
            )
        return cast("Json", answer)

    def _refusal(self, endpoint: str, status: int, body: bytes, *, writes: bool) -> Exception:
        """The error that an answer other than 200 is."""
        said = _said(body)
        text = f"{endpoint}: HTTP {status}{f', {said}' if said else ''}"
        if "invalid auth token" in said or "auth store is old" in said:
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
            raise LeaseError(f"etcd answered a question for the leases with {str(answer)[:200]}") from None


@contextmanager
def _explained(endpoint: str, seconds: float, *, writes: bool) -> Iterator[None]:
    """Turn what goes wrong on the way into a try that did not succeed; whether it was carried out is not known."""
    try:
        with explained(endpoint, seconds):
            yield
    except RetryableError as error:
        raise _RetryableError(str(error), doubt=writes) from error
    except SourceError as error:
        if error.kind != "unreachable":  # an answer that is larger than etcd's can be, or that is not HTTP
            raise LeaseError(f"{error}{_NOT_KNOWN if writes else ''}") from error
        raise _RetryableError(str(error), doubt=writes, late=isinstance(error.__cause__, TimeoutError)) from error


def _said(body: bytes) -> str:
    """What etcd says of it: the gateway of 3.4 has them as `error`, later ones as `message`."""
    try:
        document = json.loads(body)
        text = document.get("message") or document.get("error") or ""
    except (ValueError, RecursionError, AttributeError):
        return one_line(body)
    return one_line(str(text).encode())
