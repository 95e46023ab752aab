"""What must not be believed of whatever answers in etcd's place, and how it is asked; no etcd is needed."""

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
from ringcheck.leases.leases import LeaseError
from ringcheck.leases.record import Record
from tests.leases.stores import NODES, holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST = NODES[0]
HEADER = {"cluster_id": "14841639068965178418", "revision": "7"}
KEY = base64.b64encode(b"/ringcheck/leases/c").decode()
VALUE = base64.b64encode(Record.empty("c").dump()).decode()
HUGE = "9007199254740993"  # 2**53 + 1: what a float can't hold


def kv(**fields: Any) -> dict[str, Any]:
    return {"key": KEY, "value": VALUE, "mod_revision": HUGE, "create_revision": "2", "version": "3", **fields}


def found(*kvs: Any) -> dict[str, Any]:
    return {"header": HEADER, "kvs": list(kvs), "count": str(len(kvs))}


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go in the middle are what some tests are about."""


class Double:
    """Answers each path by a function: (status, headers, document or bytes)."""

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
                """Say nothing."""

        self.server = _Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.says("/v3/kv/range", found())
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
        ({}, "does not answer as etcd does"),
        ([], "does not answer as etcd does"),
        (None, "does not answer as etcd does"),
        ({"kvs": [kv()]}, "does not answer as etcd does"),
        ({"header": {}}, "does not answer as etcd does"),
        ({"header": {"cluster_id": 7}}, "does not answer as etcd does"),
        (b"<html>hello</html>", "answered no JSON: <html>hello</html>"),
        (b"", "answered no JSON"),
        (b'{"header"', "answered no JSON"),
        (b"\xff\xfe", "answered no JSON"),
        (found(kv(key="b3RoZXI=")), "answered a question for the leases with"),
        (found(kv(), kv()), "answered a question for the leases with"),
        (found(kv(mod_revision="0")), "answered a question for the leases with"),
        (found(kv(mod_revision="-1")), "answered a question for the leases with"),
        (found(kv(mod_revision="seven")), "answered a question for the leases with"),
        (found(kv(mod_revision=None)), "answered a question for the leases with"),
        (found({"key": KEY, "value": VALUE}), "answered a question for the leases with"),
        (found(kv(value="*")), "answered a question for the leases with"),
        (found(kv(value=None)), "answered a question for the leases with"),
        (found("x"), "answered a question for the leases with"),
        ({"header": HEADER, "kvs": {"a": 1}}, "answered a question for the leases with"),
        (found(kv(value="")), "holds no record of leases"),
    ],
)
def test_what_is_not_understood_is_not_empty(double: Double, store: Etcd, answer: Any, why: str) -> None:
    """Nobody's leases are read from it, and nothing is written on it."""
    double.says("/v3/kv/range", answer)
    for step in (store.holders, lambda: store.add([holder()])):
        with pytest.raises(LeaseError, match=why):
            step()
    assert set(double.paths()) == {"/v3/kv/range"}


def test_an_answer_without_end_is_refused(double: Double) -> None:
    """Four MiB are read, once; what a transaction did that is so answered is not known."""
    with closing(Etcd("c", Lease(etcd=(double.url,)), 60.0, 60.0)) as store:
        double.says("/v3/kv/txn", b"x" * (5 * 2**20))
        with pytest.raises(LeaseError, match=r"larger than 4 MiB.*; whether the record was changed is not known"):
            store.add([holder()])
        double.says("/v3/kv/range", b"x" * (5 * 2**20))
        with pytest.raises(LeaseError, match=r"larger than 4 MiB, which is refused$"):
            store.holders()
    assert len(double.asked) == 3


@pytest.mark.parametrize("succeeded", ["yes", 1, [], {}, None, "true"])
def test_only_true_is_won(double: Double, store: Etcd, succeeded: Any) -> None:
    """Anything else that stands where etcd says `true` is no grant."""
    double.says("/v3/kv/txn", {"header": HEADER, "succeeded": succeeded})
    with pytest.raises(LeaseError, match="answered a transaction with succeeded="):
        store.add([holder()])


@pytest.mark.parametrize("lost", [{}, {"succeeded": False}])
def test_a_race_that_is_lost_for_ever_ends(double: Double, store: Etcd, lost: dict[str, Any]) -> None:
    """Each try reads first; when the time is over, that is an error and no grant."""
    double.says("/v3/kv/txn", {"header": HEADER, **lost})
    with pytest.raises(LeaseError, match=r"etcd: .* \(tried for 1.5 s\)"):  # on a busy machine the last try is cut off
        store.add([holder()])
    pairs = double.paths()
    assert len(pairs) > 2
    assert pairs[: len(pairs) // 2 * 2] == ["/v3/kv/range", "/v3/kv/txn"] * (len(pairs) // 2)


def test_what_it_sends(double: Double, store: Etcd) -> None:
    """A new record is created only where there is none; an old one replaced only in its very revision."""
    store.add([holder()])
    double.says("/v3/kv/range", found(kv()))
    store.add([holder()])
    (_, range_, _), (_, first, _), _, (_, second, _) = double.asked
    assert range_ == {"key": KEY}  # without `serializable`, which would be one member's memory
    assert first["compare"] == [{"key": KEY, "result": "EQUAL", "target": "CREATE", "create_revision": "0"}]
    assert second["compare"] == [{"key": KEY, "result": "EQUAL", "target": "MOD", "mod_revision": HUGE}]
    (put,) = second["success"]
    record = Record.parse(base64.b64decode(put["request_put"]["value"]), "c", "sent")
    assert (put["request_put"]["key"], set(put["request_put"]), record.holders) == (KEY, {"key", "value"}, (holder(),))


def test_a_step_that_changes_nothing_writes(double: Double, store: Etcd) -> None:
    """So that a write on its way which was given up finds another revision than it expects."""
    with_me = base64.b64encode(Record.empty("c").with_([holder()], "g").dump()).decode()
    double.says("/v3/kv/range", found(kv(value=with_me)))
    store.add([holder()])
    store.remove(["10.9.9.9"], "me")
    assert double.paths() == ["/v3/kv/range", "/v3/kv/txn"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_failures_of_servers_are_a_doubt(double: Double, store: Etcd, status: int) -> None:
    """A transaction so answered may be carried out yet; a question is only asked again."""
    double.says("/v3/kv/txn", {"error": "etcdserver: request timed out", "code": 14}, status)
    text = f"HTTP {status}, etcdserver: request timed out .*; whether the record was changed is not known$"
    with pytest.raises(LeaseError, match=text):
        store.add([holder()])
    double.says("/v3/kv/range", {"message": "no leader"}, status)
    with pytest.raises(LeaseError, match=rf"HTTP {status}, no leader \(tried for 1.5 s\)$"):
        store.holders()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 412])
def test_refusals_are_told_at_once(double: Double, store: Etcd, status: int) -> None:
    """Nothing was done, and asking again would not help."""
    double.says("/v3/kv/range", b"<html>\x1b[2Jno such page", status)
    with pytest.raises(LeaseError, match=f"HTTP {status}, <html>.*no such page$") as caught:
        store.holders()
    assert str(caught.value).isprintable()
    assert len(double.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(double: Double, store: Etcd, status: int) -> None:
    """Whoever redirects does not choose where leases are kept."""
    double.says("/v3/kv/range", {}, status, Location=f"{double.url}/elsewhere")
    with pytest.raises(LeaseError, match="redirects are not followed"):
        store.holders()
    assert double.paths() == ["/v3/kv/range"]


def test_an_answer_that_drips_ends_in_time(double: Double, store: Etcd) -> None:
    """A byte now and then resets no clock."""
    double.drip = 0.1
    with pytest.raises(LeaseError, match="no whole answer within"):
        store.holders()


def test_the_environment_s_proxy_is_not_used(double: Double, store: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor its .netrc: what decides is the configuration alone."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert store.holders() == ()
    assert "Authorization" not in double.asked[0][2]


def test_a_token_is_renewed(double: Double, tmp_path: Path) -> None:
    """Taken once, sent with each question, and taken anew when etcd does not know it any more."""
    password = tmp_path / "password"
    password.write_text("word")
    password.chmod(0o600)
    tokens = iter(["one", "two", "three"])
    double.answers["/v3/auth/authenticate"] = lambda: (200, {}, {"header": HEADER, "token": next(tokens)})
    refused = {"error": "etcdserver: invalid auth token", "code": 16}
    old = {"error": "etcdserver: revision of auth store is old", "code": 3}
    answers = iter([(200, found()), (401, refused), (200, found()), (400, old), (200, found())])

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
def test_a_login_without_a_token_is_none(double: Double, tmp_path: Path, answer: dict[str, Any]) -> None:
    """It is told at once, and nothing is asked without one."""
    password = tmp_path / "password"
    password.write_text("word")
    password.chmod(0o600)
    double.says("/v3/auth/authenticate", answer)
    lease = Lease(etcd=(double.url,), username="ringcheck", password_file=str(password))
    with closing(Etcd("c", lease, 5.0)) as store, pytest.raises(LeaseError, match="let ringcheck in without a token"):
        store.holders()
    assert double.paths() == ["/v3/auth/authenticate"]


def test_the_next_endpoint_is_asked(double: Double) -> None:
    """A closed port, then the double, which is kept to; the description names both."""
    with closing(Etcd("c", Lease(etcd=("http://127.0.0.1:9", f"{double.url}/")), 10.0)) as store:
        assert [store.holders() for _ in range(3)] == [(), (), ()]
        assert store.describe() == f"etcd at http://127.0.0.1:9, {double.url}"
    assert len(double.asked) == 3


def test_endpoints_of_two_clusters_are_told(double: Double) -> None:
    """What one says after the other is no longer the same record."""
    with closing(Double()) as other, closing(Etcd("c", Lease(etcd=(double.url, other.url)), 5.0)) as store:
        other.says("/v3/kv/range", {"header": {**HEADER, "cluster_id": "1"}})
        store.holders()
        double.says("/v3/kv/range", {}, 503)
        with pytest.raises(LeaseError, match=f"different etcd clusters: {other.url} is not of that"):
            store.holders()


def test_nobody_there_is_told(store: Etcd) -> None:
    """In one line, with the reason."""
    with (
        closing(Etcd("c", Lease(etcd=("http://127.0.0.1:9",)), 0.3)) as nobody,
        pytest.raises(LeaseError, match=r"^etcd: http://127.0.0.1:9: .*refused.* \(tried for 0.3 s\)$"),
    ):
        nobody.holders()
    assert store.holders() == ()
