"""One node over HTTP: is it ready, and may it stop? The status has the answer, the body has the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from ringcheck.agent import web
from ringcheck.agent.preflight import resolved
from ringcheck.core.maintenance import Holder
from ringcheck.core.refusals import not_meant
from ringcheck.leases.stamp import now
from tests.agent.test_guard import ALICE
from tests.agent.test_webconfig import hashed, written
from tests.agent.watched import NAME, World, watched
from tests.core.clusters import nodes, snapshot
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from ringcheck.core.ring import Snapshot

SCHEMA = Path(__file__).parents[2] / "ringcheck" / "documents" / "schemas" / "decision-1.json"
JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with watched(tmp_path_factory.mktemp("nodes"), nodes=6) as world:
        yield world


def ask(world: World, node: str, question: str, **options: dict[str, str]) -> requests.Response:
    answer = world.get(f"/api/v1/clusters/NAME/nodes/{node}/{question}", **options)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer


def line(answer: requests.Response) -> str:
    """The body, which must be one line of text."""
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text.count("\n") == 1
    return answer.text.rstrip("\n")


def host_id(world: World, index: int) -> str:
    found = world.get("/api/v1/clusters/NAME/snapshot").json()["nodes"][index]
    assert found["address"] == world.address(index)
    return str(found["host_id"])


def test_a_healthy_node_is_ready_and_may_stop(world: World) -> None:
    """The node can be named by address or by host id; curl gets text."""
    address = world.address(0)
    for node in (address, host_id(world, 0)):
        answer = ask(world, node, "ready", headers={"Accept": "*/*"})
        assert answer.status_code == 200
        assert line(answer).startswith(
            f"READY {NAME}: {address} is ready: it serves clients, and its peers see it up; 2"
        )
        answer = ask(world, node, "may-stop")
        assert answer.status_code == 200
        assert line(answer).startswith(f"SAFE {NAME}: {address} may stop now; every range of 1 keyspace keeps")
        assert "; as 6 views of 2" in line(answer)


def test_clients_that_accept_it_get_json(world: World) -> None:
    """The decision conforms to its schema; readiness has its own document."""
    address = world.address(0)
    found = ask(world, host_id(world, 0), "ready", headers=JSON).json()
    assert found.pop("taken_at")
    assert found == {"cluster": NAME, "node": address, "ready": True, "reason": None}
    decision = ask(world, address, "may-stop", headers={"Accept": "text/html, application/json;q=0.9"}).json()
    jsonschema.validate(decision, json.loads(SCHEMA.read_text()))
    assert (decision["decision"], decision["candidates"]) == ("safe", [address])


@pytest.mark.slow
@pytest.mark.parametrize("node", ["10.9.9.9", "nobody", "127.0.1.", "%20", "2001:db8::1", "[2001:db8::1]:7000"])
def test_a_name_that_no_node_has(world: World, node: str) -> None:
    """An unknown name is never ready and never safe, not even if it is the beginning of an address."""
    answers = [ask(world, node, question) for question in ("ready", "may-stop")]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert line(answers[0]).startswith(f"NOT READY {NAME}: ")
    assert " is not a node of this cluster" in line(answers[0])
    assert line(answers[1]).startswith(f"UNKNOWN {NAME}: not known whether ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::2]:7001", "[2001:db8::2]:7001"),
        ("[2001:db8::9]", "2001:db8::9"),  # belongs to no node
        ("[10.0.0.1]", "[10.0.0.1]"),
        ("[]", "[]"),
        ("host-1", "2001:db8::1"),
        ("db1", "db1"),
    ],
)
def test_names_of_nodes_in_a_path(name: str, meant: str) -> None:
    """An IPv6 address may be in brackets, as in a URL; text that is neither an address nor a host id names no node."""
    assert resolved(name, ipv6()) == meant


def test_a_name_of_several_nodes_is_not_ready_and_says_why() -> None:
    """Instances that share an address can be distinguished by their ports."""
    assert not_meant(ipv6(), "2001:db8::2") == (
        "2001:db8::2 can mean [2001:db8::2]:7000, [2001:db8::2]:7001: name one of them"
    )


def ipv6() -> Snapshot:
    """Three nodes on IPv6: one has an address of its own, and two share one."""
    places = nodes("dc1:r1", "dc1:r2", "dc1:r3")
    names = ("2001:db8::1", "[2001:db8::2]:7000", "[2001:db8::2]:7001")
    seen = snapshot(places, [])
    renamed = [
        replace(node, address=name, host_id=f"host-{number}")
        for number, (node, name) in enumerate(zip(seen.nodes, names, strict=True), start=1)
    ]
    return replace(seen, nodes=tuple(renamed), views=())


def test_unknown_clusters_and_parameters_are_errors(world: World) -> None:
    """The errors are the same as for the other paths of the API."""
    for question in ("ready", "may-stop"):
        assert world.get(f"/api/v1/clusters/other/nodes/127.0.1.1/{question}").status_code == 404
        assert world.get(f"/api/v1/clusters/NAME/nodes/127.0.1.1/{question}?timeout=1").status_code == 400
        assert world.get(f"/api/v1/clusters/NAME/nodes/127.0.1.1/{question}/more").status_code == 404


@pytest.mark.slow
def test_a_node_that_is_down_is_not_ready(tmp_path: Path) -> None:
    """The node that is down may be stopped; the others are ready and may not be stopped."""
    with watched(tmp_path) as world:
        world.cluster.down(1, instant=True)
        world.seen("WARNING")
        down = ask(world, world.address(1), "ready")
        assert (down.status_code, line(down).split("; 2")[0]) == (
            503,
            f"NOT READY {NAME}: {world.address(1)} is not ready: its Jolokia does not answer",
        )
        assert ask(world, world.address(0), "ready").status_code == 200
        answer = ask(world, world.address(0), "may-stop")
        assert answer.status_code == 409
        assert f"{world.address(0)} must not stop now because " in line(answer)
        assert " would become unavailable " in line(answer)
        assert "; until " in line(answer)
        assert ask(world, world.address(1), "may-stop").status_code == 200


def test_a_lease_on_the_node_is_named(tmp_path: Path) -> None:
    """Somebody else may be restarting it. For its owner the answer stays yes."""
    with watched(tmp_path, nodes=6) as world:
        address = world.address(0)
        world.store.add([Holder(node=address, owner="another", purpose="restart", since=now())])
        text = f"though {address} is under the restart lease of another: only its owner may stop it"
        await_(lambda: text in line(ask(world, address, "may-stop")), 30, "the lease")
        assert ask(world, address, "may-stop").status_code == 200
        assert "though" not in line(ask(world, world.address(3), "may-stop"))


def replaced(world: World, patch: pytest.MonkeyPatch, *, fresh: bool = True, **fields: Any) -> None:
    """Change fields of the last reading and of the readings of new polls."""
    good = world.agent.fresh(NAME, 30)
    assert good is not None
    changed = replace(good, fresh=fresh, **fields)
    patch.setattr(world.agent, "reading", lambda _: changed)
    patch.setattr(world.agent, "fresh", lambda *_: changed)


@pytest.mark.parametrize("path", ["ready", "ready?max_age=3600"])
def test_a_node_whose_jolokia_stopped_answering_is_not_ready(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """This holds whatever the last verdict was."""
    replaced(world, monkeypatch, suspects=frozenset({world.address(0)}))
    answer = ask(world, world.address(0), path)
    assert (answer.status_code, "its Jolokia stopped answering" in line(answer)) == (503, True)


@pytest.mark.parametrize("path", ["ready", "ready?max_age=3600", "may-stop"])
@pytest.mark.parametrize("fields", [{"error": "no node answered"}, {"fresh": False, "error": "no node answered"}])
def test_a_failed_poll_answers_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str, fields: dict[str, Any]
) -> None:
    """Both formats get 503 with the reason, although an earlier poll has a verdict."""
    replaced(world, monkeypatch, **fields)
    answer = ask(world, world.address(0), path)
    assert (answer.status_code, "no node answered" in line(answer)) == (503, True)
    found = ask(world, world.address(0), path, headers=JSON).json()
    assert (found["status"], found.get("ready"), found.get("decision")) == (
        (503, None, "unknown") if path == "may-stop" else (503, None, None)
    )


def test_an_old_verdict_answers_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds even if the request accepts data of that age."""
    replaced(world, monkeypatch, fresh=False)
    assert ask(world, world.address(0), "ready?max_age=3600").status_code == 503


def test_a_node_is_not_ready_by_what_it_was_before(tmp_path: Path) -> None:
    """Readiness comes from a new poll, unless the request accepts an older one."""
    with watched(tmp_path, nodes=6, interval=600) as world:
        assert ask(world, world.address(0), "ready").status_code == 200
        world.cluster.down(0, instant=True)
        assert ask(world, world.address(0), "ready?max_age=3600").status_code == 200
        assert ask(world, world.address(0), "ready").status_code == 503
        assert ask(world, world.address(0), "ready?max_age=3600").status_code == 503


@pytest.mark.parametrize("age", ["-1", "1.5", "soon", "", "3601", "٣"])
def test_an_age_that_is_none_is_refused(world: World, age: str) -> None:
    assert ask(world, world.address(0), f"ready?max_age={age}").status_code == 400


def test_each_decision_is_made_on_a_new_poll(tmp_path: Path) -> None:
    """A stream or a lease that began after the last poll is noticed."""
    with watched(tmp_path, nodes=6, interval=600) as world:
        assert ask(world, world.address(0), "may-stop").status_code == 200
        world.cluster.stream(0)
        answer = ask(world, world.address(0), "may-stop")
        assert (answer.status_code, "stream" in line(answer)) == (409, True)
        world.cluster.stream(0, 0)
        world.store.add([Holder(node=world.address(1), owner="another", purpose="restart", since=now())])
        assert ask(world, world.address(0), "may-stop").status_code == 409


def test_too_many_requests_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has the time for the next attempt."""
    monkeypatch.setattr(web, "DECISIONS", 0)
    with web.serve(world.agent, "127.0.0.1:0") as served:
        for question in ("ready", "may-stop"):
            answer = ask(replace(world, served=served), world.address(0), question)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert "too many requests at once" in line(answer)


def test_with_users_every_question_needs_one(tmp_path: Path) -> None:
    """The rule is the same as for every other path."""
    path = written(tmp_path, f"basic_auth_users: {{alice: {hashed('s3cret').decode()}}}")
    with watched(tmp_path, web_config=path) as world:
        await_(lambda: world.get("/-/ready", auth=ALICE).status_code == 200, 30, "the first poll")
        for question in ("ready", "may-stop"):
            url = f"/api/v1/clusters/NAME/nodes/{world.address(0)}/{question}"
            assert world.get(url).status_code == 401
            assert world.get(url, auth=ALICE).status_code == 200
