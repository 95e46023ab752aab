"""The etcd store against a fake server: which answers it refuses, and what it sends. No etcd is needed."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.config.values import Lease
from ringcheck.leases.etcd import Etcd
from ringcheck.leases.record import LeaseError, Record
from tests.leases.stores import NODES, holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST = NODES[0]
HEADER = {"cluster_id": "14841639068965178418", "revision": "7"}
KEY = base64.b64encode(b"/ringcheck/leases/c").decode()
VALUE = base64.b64encode(Record.empty("c").dump()).decode()
HUGE = "9007199254740993"  # 2**53 + 1, which a float can't hold


def kv(**fields: Any) -> dict[str, Any]:
    return {"key": KEY, "value": VALUE, "mod_revision": HUGE, "create_revision": "2", "version": "3", **fields}


def stored(*kvs: Any) -> dict[str, Any]:
    return {"header": HEADER, "kvs": list(kvs), "count": str(len(kvs))}


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect early: some tests do so."""


class Double:
    """A server whose answer to each path is the result of a function: (status, headers, document or bytes)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.answers: dict[str, Callable[[], tuple[int, dict[str, str], Any]]] = {}
        self.drip = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, json.loads(body), dict(self.headers)))
                status, headers, answer = outer.answers[self.path]()
                raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(raw))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    self._send(raw)

            def _send(self, raw: bytes) -> None:
                if not outer.drip:
                    self.wfile.write(raw)
                    return
                for byte in raw:
                    self.wfile.write(bytes([byte]))
                    time.sleep(outer.drip)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.server = _Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.says("/v3/kv/range", stored())
        self.says("/v3/kv/txn", {"header": HEADER, "succeeded": True})
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def says(self, path: str, document: Any, status: int = 200, **headers: str) -> None:
        self.answers[path] = lambda: (status, headers, document)

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def double() -> Iterator[Double]:
    with closing(Double()) as made:
        yield made


@pytest.fixture
def store(double: Double) -> Iterator[Etcd]:
    with closing(Etcd("c", Lease(etcd=(double.url,)), 1.5, 1.0)) as made:
        yield made


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "is not one of etcd"),
        ([], "is not one of etcd"),
        (None, "is not one of etcd"),
        ({"kvs": [kv()]}, "is not one of etcd"),
        ({"header": {}}, "is not one of etcd"),
        ({"header": {"cluster_id": 7}}, "is not one of etcd"),
        (b"<html>hello</html>", "is not JSON: <html>hello</html>"),
        (b"", "is not JSON"),
        (b'{"header"', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (stored(kv(key="b3RoZXI=")), "etcd's answer holds no lease record"),
        (stored(kv(), kv()), "etcd's answer holds no lease record"),
        (stored(kv(mod_revision="0")), "etcd's answer holds no lease record"),
        (stored(kv(mod_revision="-1")), "etcd's answer holds no lease record"),
        (stored(kv(mod_revision="seven")), "etcd's answer holds no lease record"),
        (stored(kv(mod_revision=None)), "etcd's answer holds no lease record"),
        (stored({"key": KEY, "value": VALUE}), "etcd's answer holds no lease record"),
        (stored(kv(value="*")), "etcd's answer holds no lease record"),
        (stored(kv(value=None)), "etcd's answer holds no lease record"),
        (stored("x"), "etcd's answer holds no lease record"),
        ({"header": HEADER, "kvs": {"a": 1}}, "etcd's answer holds no lease record"),
        (stored(kv(value="")), "has no readable lease record"),
    ],
)
def test_a_strange_answer_is_not_read_as_no_leases(double: Double, store: Etcd, answer: Any, why: str) -> None:
    """Neither reading nor writing goes on."""
    double.says("/v3/kv/range", answer)
    for step in (store.holders, lambda: store.add([holder()])):
        with pytest.raises(LeaseError, match=why):
            step()
    assert set(double.paths()) == {"/v3/kv/range"}


def test_an_endless_answer_is_refused(double: Double) -> None:
    """Four MiB are read, once; after such an answer the outcome of a transaction is not known."""
    with closing(Etcd("c", Lease(etcd=(double.url,)), 60.0, 60.0)) as store:
        double.says("/v3/kv/txn", b"x" * (5 * 2**20))
        with pytest.raises(LeaseError, match=r"larger than 4 MiB.*; it is not known whether the record was changed"):
            store.add([holder()])
        double.says("/v3/kv/range", b"x" * (5 * 2**20))
        with pytest.raises(LeaseError, match=r"larger than 4 MiB, which is refused$"):
            store.holders()
    assert len(double.asked) == 3


@pytest.mark.parametrize("succeeded", ["yes", 1, [], {}, None, "true"])
def test_only_true_means_that_the_transaction_won(double: Double, store: Etcd, succeeded: Any) -> None:
    """With any other value of `succeeded` nothing is granted."""
    double.says("/v3/kv/txn", {"header": HEADER, "succeeded": succeeded})
    with pytest.raises(LeaseError, match="answered a transaction with succeeded="):
        store.add([holder()])


@pytest.mark.slow
@pytest.mark.parametrize("lost", [{}, {"succeeded": False}])
def test_a_race_that_is_always_lost_ends(double: Double, store: Etcd, lost: dict[str, Any]) -> None:
    """Each attempt reads first; at the deadline the result is an error, and nothing is granted."""
    double.says("/v3/kv/txn", {"header": HEADER, **lost})
    with pytest.raises(LeaseError, match=r"etcd: .* \(tried for 1.5 s\)"):
        store.add([holder()])
    pairs = double.paths()
    assert len(pairs) > 2
    assert pairs[: len(pairs) // 2 * 2] == ["/v3/kv/range", "/v3/kv/txn"] * (len(pairs) // 2)


def test_the_requests(double: Double, store: Etcd) -> None:
    """A record is created only if there is none, and replaced only in the revision that was read."""
    store.add([holder()])
    double.says("/v3/kv/range", stored(kv()))
    store.add([holder()])
    (_, range_, _), (_, first, _), _, (_, second, _) = double.asked
    assert range_ == {"key": KEY}  # without `serializable`, which would read only one member's memory
    assert first["compare"] == [{"key": KEY, "result": "EQUAL", "target": "CREATE", "create_revision": "0"}]
    assert second["compare"] == [{"key": KEY, "result": "EQUAL", "target": "MOD", "mod_revision": HUGE}]
    (put,) = second["success"]
    record = Record.parse(base64.b64decode(put["request_put"]["value"]), "c", "sent")
    assert (put["request_put"]["key"], set(put["request_put"]), record.holders) == (KEY, {"key", "value"}, (holder(),))


def test_a_step_that_changes_nothing_writes(double: Double, store: Etcd) -> None:
    """Otherwise an abandoned write that arrives later would not fail its revision check."""
    with_me = base64.b64encode(Record.empty("c").with_([holder()], "g").dump()).decode()
    double.says("/v3/kv/range", stored(kv(value=with_me)))
    store.add([holder()])
    store.remove(["10.9.9.9"], "me")
    assert double.paths() == ["/v3/kv/range", "/v3/kv/txn"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_server_errors_leave_a_doubt(double: Double, store: Etcd, status: int) -> None:
    """A transaction with such an answer may still be applied; a read is simply repeated."""
    double.says("/v3/kv/txn", {"error": "etcdserver: request timed out", "code": 14}, status)
    text = f"HTTP {status}, etcdserver: request timed out .*; it is not known whether the record was changed$"
    with pytest.raises(LeaseError, match=text):
        store.add([holder()])
    double.says("/v3/kv/range", {"message": "no leader"}, status)
    with pytest.raises(LeaseError, match=rf"HTTP {status}, no leader \(tried for 1.5 s\)$"):
        store.holders()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 412])
def test_refusals_are_not_retried(double: Double, store: Etcd, status: int) -> None:
    """Nothing was changed, and a retry would not help."""
    double.says("/v3/kv/range", b"<html>\x1b[2Jno such page", status)
    with pytest.raises(LeaseError, match=f"HTTP {status}, <html>.*no such page$") as caught:
        store.holders()
    assert str(caught.value).isprintable()
    assert len(double.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(double: Double, store: Etcd, status: int) -> None:
    """A redirect must not lead to another store."""
    double.says("/v3/kv/range", {}, status, Location=f"{double.url}/elsewhere")
    with pytest.raises(LeaseError, match="redirects are not followed"):
        store.holders()
    assert double.paths() == ["/v3/kv/range"]


@pytest.mark.slow
def test_a_slow_answer_ends_at_the_deadline(double: Double, store: Etcd) -> None:
    """A byte now and then does not extend the deadline."""
    double.drip = 0.1
    with pytest.raises(LeaseError, match="no whole answer within"):
        store.holders()


def test_the_environment_s_proxy_is_not_used(double: Double, store: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is .netrc: only the configuration counts."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert store.holders() == ()
    assert "Authorization" not in double.asked[0][2]


def test_a_token_is_renewed(double: Double, tmp_path: Path) -> None:
    """It is requested once, sent with each request, and requested again when etcd rejects it."""
    password = tmp_path / "password"
    password.write_text("word")
    password.chmod(0o600)
    tokens = iter(["one", "two", "three"])
    double.answers["/v3/auth/authenticate"] = lambda: (200, {}, {"header": HEADER, "token": next(tokens)})
    refused = {"error": "etcdserver: invalid auth token", "code": 16}
    old = {"error": "etcdserver: revision of auth store is old", "code": 3}
    answers = iter([(200, stored()), (401, refused), (200, stored()), (400, old), (200, stored())])

    def answer() -> tuple[int, dict[str, str], Any]:
        status, document = next(answers)
        return status, {}, document

    double.answers["/v3/kv/range"] = answer
    lease = Lease(etcd=(double.url,), username="ringcheck", password_file=str(password))
    with closing(Etcd("c", lease, 5.0)) as store:
        assert [store.holders() for _ in range(3)] == [(), (), ()]
    sent = [headers.get("Authorization") for path, _, headers in double.asked if path == "/v3/kv/range"]
    assert sent == ["one", "one", "two", "two", "three"]
    logins = [(body, headers.get("Authorization")) for path, body, headers in double.asked if "auth" in path]
    assert logins == [({"name": "ringcheck", "password": "word"}, None)] * 3


@pytest.mark.parametrize(
    "answer", [{"header": HEADER}, {"header": HEADER, "token": ""}, {"header": HEADER, "token": 7}]
)
def test_a_login_without_a_token_fails(double: Double, tmp_path: Path, answer: dict[str, Any]) -> None:
    """The error is immediate, and no request is sent without a token."""
    password = tmp_path / "password"
    password.write_text("word")
    password.chmod(0o600)
    double.says("/v3/auth/authenticate", answer)
    lease = Lease(etcd=(double.url,), username="ringcheck", password_file=str(password))
    with (
        closing(Etcd("c", lease, 5.0)) as store,
        pytest.raises(LeaseError, match="accepted the login of ringcheck but returned no token"),
    ):
        store.holders()
    assert double.paths() == ["/v3/auth/authenticate"]


def test_the_next_endpoint_is_asked(double: Double) -> None:
    """After a closed port the second endpoint stays in use; the description names both."""
    with closing(Etcd("c", Lease(etcd=("http://127.0.0.1:9", f"{double.url}/")), 10.0)) as store:
        assert [store.holders() for _ in range(3)] == [(), (), ()]
        assert store.describe() == f"etcd at http://127.0.0.1:9, {double.url}"
    assert len(double.asked) == 3


def test_endpoints_of_two_etcd_clusters_are_refused(double: Double) -> None:
    """The records of the two clusters would differ."""
    with closing(Double()) as other, closing(Etcd("c", Lease(etcd=(double.url, other.url)), 5.0)) as store:
        other.says("/v3/kv/range", {"header": {**HEADER, "cluster_id": "1"}})
        store.holders()
        double.says("/v3/kv/range", {}, 503)
        with pytest.raises(LeaseError, match=f"different etcd clusters: {other.url} is not in the one"):
            store.holders()


def test_a_missing_etcd_is_reported(store: Etcd) -> None:
    """The report is one line with the reason."""
    with (
        closing(Etcd("c", Lease(etcd=("http://127.0.0.1:9",)), 0.3)) as missing,
        pytest.raises(LeaseError, match=r"^etcd: http://127.0.0.1:9: .*refused.* \(tried for 0.3 s\)$"),
    ):
        missing.holders()
    assert store.holders() == ()
