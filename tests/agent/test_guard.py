"""Access control: users, origins, Host names, and the headers of every answer."""

from __future__ import annotations

import io
import json
import re
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
import requests
from starlette.datastructures import Headers

from ringcheck.agent import api, guard, web
from ringcheck.agent.bugs import located_bug
from ringcheck.agent.fleetlock import _Requests, routes
from ringcheck.agent.log import Log
from tests.agent.test_webconfig import hashed, written
from tests.agent.watched import NAME, World, watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFLIGHT = "/api/v1/clusters/NAME/preflight"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with watched(tmp_path_factory.mktemp("guard")) as world:
        yield world


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with the user alice."""
    folder = tmp_path_factory.mktemp("named")
    path = written(folder, f"basic_auth_users: {{alice: {hashed('s3cret').decode()}}}")
    with watched(folder, web_config=path) as world:
        yield world


ALICE = ("alice", "s3cret")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/static/page.css", "/events", "/nowhere", PREFLIGHT])
def test_without_a_user_every_path_is_refused(named: World, path: str) -> None:
    """This includes paths that do not exist."""
    for auth in (None, ("alice", "wrong"), ("mallory", "s3cret")):
        answer = named.get(path, auth=auth)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Basic realm="ringcheck"')
        assert set(answer.json()) == {"error", "status"}


@pytest.mark.parametrize("path", ["/", "/nowhere", "/clusters/x"])
def test_a_browser_gets_its_refusal_as_a_page(named: World, path: str) -> None:
    """The browser shows it when the user cancels the password prompt; it has all headers of a page."""
    answer = named.get(path, auth=None, headers=BROWSER)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Security-Policy"] == guard.POLICY
    assert "a user and its password are required" in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/api/v1/clusters", "/v1/pre-reboot"])
def test_a_program_gets_json_whatever_it_accepts(named: World, path: str) -> None:
    """Paths for programs answer with JSON."""
    assert named.get(path, auth=None, headers=BROWSER).headers["Content-Type"] == "application/json"


def test_a_user_may_read_and_post(named: World) -> None:
    """With the password, a user may do both from any host."""
    assert named.get("/metrics", auth=ALICE).status_code == 200
    body = {"nodes": [named.address(0)]}
    assert named.post(PREFLIGHT, body).status_code == 401
    assert named.post(PREFLIGHT, body, auth=ALICE).status_code == 200
    assert named.post(PREFLIGHT, body, auth=ALICE, headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_proxied_request_without_a_user_may_not_post(world: World, header: str) -> None:
    """A proxy on this host may forward requests of a client on another host."""
    answer = world.post(PREFLIGHT, {"nodes": [world.address(0)]}, headers={header: "127.0.0.1"})
    assert answer.status_code == 403
    assert "only clients on this host" in answer.json()["error"]
    assert world.get("/metrics", headers={header: "127.0.0.1"}).status_code == 200


@pytest.mark.parametrize(
    ("client", "local"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False), ("", False), ("localhost", False),
    ],
)  # fmt: skip
def test_local_is_loopback(client: str, local: bool) -> None:  # noqa: FBT001 - a table
    """Loopback addresses count as local in any notation, and no other address does."""
    assert guard._is_local({"client": (client, 1)}, Headers({})) is local
    assert not guard._is_local({}, Headers({}))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "application/json", "Origin": "ITSELF", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=application/json"}, 415),
        ({}, 415),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Origin": "http://127.0.0.1:1"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Fleet-Lock-Protocol": "true", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Fleet-Lock-Protocol": "true"}, 200),
    ],
)
def test_pages_of_other_origins_can_t_post(world: World, headers: dict[str, str], status: int) -> None:
    """Origins with loopback addresses are recognised in every notation, and no others are."""
    sent: Any = {name: value.replace("ITSELF", world.served.url) for name, value in headers.items()}
    body = f'{{"nodes": ["{world.address(0)}"]}}'.encode()
    answer = requests.post(world.url(PREFLIGHT), data=body, headers=sent, timeout=60)
    assert answer.status_code == status, answer.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200), ("localhost", 200), ("LOCALHOST:9742", 200), ("x.localhost", 200), ("[::1]:1", 200),
        ("evil.example", 421), ("evil.example:9742", 421), ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421), ("", 421), ("[", 400), ("[::1].evil", 400), ("[::1].evil.example:9742", 400),
        ("[::1]evil", 400), ("[::1]:x", 400), ("x[::1]", 400), ("user@localhost", 400),
        ("evil.example/@localhost", 400),
        ("localhost, evil.example", 400), ("[evil.example]", 400), ("[]", 400), ("127.0.0.1:1:2", 400),
        ("localhost\\evil", 400), ("evil.example#.localhost", 400), ("[::1%lo]", 200), ("[::g]", 400),
    ],
)  # fmt: skip
def test_only_local_names_are_accepted_on_loopback(world: World, host: str, status: int) -> None:
    """Otherwise a browser would treat this service as part of any site whose name resolves to 127.0.0.1."""
    for path in ("/metrics", "/", "/api/v1/clusters"):
        assert world.get(path, headers={"Host": host}).status_code == status


def test_any_name_is_accepted_on_other_addresses() -> None:
    """The service does not know all names of its host."""
    assert guard._host_is_ours({"server": ("10.0.0.1", 9742)}, "monitor.example")
    assert not guard._host_is_ours({"server": ("10.0.0.1", 9742)}, "[")  # no Host name at all
    assert not guard._host_is_ours({"server": ("127.0.0.1", 9742)}, "monitor.example")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/", f"/clusters/{NAME}", "/metrics", "/events", "/api/v1/clusters", "/nowhere", "/clusters/none"]
)
def test_every_answer_has_the_security_headers(world: World, path: str) -> None:
    """This includes errors and streams."""
    with world.get(path, stream=True) as answer:
        headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "Server" not in headers


@pytest.mark.slow
def test_pages_comply_with_their_policy(world: World) -> None:
    """Pages have no inline style, script or event handler, and load nothing from other hosts."""
    for path in ("/", f"/clusters/{NAME}", "/clusters/none"):
        page = world.get(path).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
        assert not re.findall(r'(?:src|href)="(?!/|#)', page)
        for link in re.findall(r'(?:src|href)="(/static/[^"]*)"', page):
            answer = world.get(link)
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"].startswith("public")


def test_headers_may_be_configured(tmp_path: Path, world: World) -> None:
    """Configured headers replace the built-in ones."""
    path = written(tmp_path, "http_server_config: {headers: {X-Frame-Options: SAMEORIGIN}}")
    with web.serve(world.agent, "127.0.0.1:0", path) as served:
        assert requests.get(f"{served.url}/metrics", timeout=30).headers["X-Frame-Options"] == "SAMEORIGIN"


def test_a_bug_is_answered_as_one(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is 500 in the route's format, without the stack; one line is logged; the connection stays open."""
    monkeypatch.setattr(world.agent, "tried", lambda: 1 / 0)
    monkeypatch.setattr(world.agent, "readings", lambda: 1 / 0)
    complaints: list[str] = []
    with web.serve(world.agent, "127.0.0.1:0", complain=lambda error: complaints.append(located_bug(error))) as served:
        connection = HTTPConnection(served.url.removeprefix("http://"), timeout=30)
        connection.connect()
        connection.auto_open = 0
        answers = []
        for path in ("/-/ready", "/", "/api/v1/clusters"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answers.append((answer.status, answer.headers.get_content_type(), answer.read().decode()))
            assert {name: answer.headers.get(name) for name in guard.DEFAULTS} == guard.DEFAULTS
        connection.close()
    text = "this is a bug in ringcheck: ZeroDivisionError: division by zero"
    forms = ["application/json", "text/html", "application/json"]
    assert [(status, form) for status, form, _ in answers] == [(500, form) for form in forms]
    assert json.loads(answers[0][2])["error"] == text
    assert text in answers[1][2]
    assert len(complaints) == 3
    assert all(re.fullmatch(rf"{text} \(test_guard\.py:\d+\)", complaint) for complaint in complaints)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_a_bug_within_an_answer_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status was already sent, so the missing end shows that the answer is incomplete. One line is logged."""

    def parts(_: Any) -> Iterator[str]:
        yield "{"
        raise ZeroDivisionError

    monkeypatch.setattr(api, "snapshot_parts", parts)
    complaints: list[str] = []
    with (
        web.serve(world.agent, "127.0.0.1:0", complain=lambda error: complaints.append(located_bug(error))) as served,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        requests.get(f"{served.url}/api/v1/clusters/{NAME}/snapshot", timeout=30)
    assert [complaint.partition(" (")[0] for complaint in complaints] == [
        "this is a bug in ringcheck: ZeroDivisionError: "
    ]


def test_a_bug_is_logged_as_one_line(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This is the default if no `complain` is given."""
    monkeypatch.setattr(world.agent, "tried", lambda: 1 / 0)
    assert world.get("/-/ready").status_code == 500
    [line] = capsys.readouterr().err.splitlines()
    assert ' level=error event=bug error="this is a bug in ringcheck: ZeroDivisionError: ' in line


def test_fleetlock_clients_are_refused_in_the_form_of_the_protocol(
    world: World, named: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every refusal has `kind` and `value`, even if the request does not reach the routes of the protocol."""
    path = "/v1/pre-reboot"
    header = {"fleet-lock-protocol": "true"}
    with web.serve(world.agent, "127.0.0.1:0", None, routes(world.agent, Log("json", io.StringIO()))) as served:
        url = f"{served.url}{path}"
        answers = [
            (named.post(path, {}), 401, "unauthorized"),
            (requests.post(url, "{}", headers={**header, "Via": "x"}, timeout=30), 403, "forbidden"),
            (requests.get(url, timeout=30), 405, "bad_request"),
            (requests.post(url, "{}", timeout=30), 400, "bad_request"),
            (requests.post(url, json={}, timeout=30), 400, "bad_request"),
            (requests.post(url, "{}", headers={**header, "Host": "elsewhere.example"}, timeout=30), 421, "bad_request"),
            (requests.post(url, "x" * 20000, headers=header, timeout=30), 400, "bad_request"),
        ]
        monkeypatch.setattr(_Requests, "_handled", lambda *_: 1 / 0)
        answers.append((requests.post(url, "{}", headers=header, timeout=30), 500, "bug"))
    for answer, status, kind in answers:
        assert (answer.status_code, set(answer.json()), answer.json()["kind"]) == (status, {"kind", "value"}, kind)
        assert answer.json()["value"]
