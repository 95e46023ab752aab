"""The agent's answers over HTTP: every path, its errors, and that an old verdict is never shown as current."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import requests
import yaml
from starlette.routing import Route

from ringcheck.agent import answers, api, preflight, web, webconfig
from ringcheck.agent.routes import ROUTES
from ringcheck.agent.service import Agent
from ringcheck.cli import run
from ringcheck.config import load
from ringcheck.config.values import Cluster
from ringcheck.core.assess import assess
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.leases.stamp import now
from ringcheck.report.reading import Reading
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from tests import article
from tests.agent.scenes import served_agent
from tests.agent.watched import NAME, World, watched
from tests.counterparts.daemon import await_, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LINKS = {
    "grafana_url": "https://grafana.example.org/d/x?var-cluster={cluster}",
    "runbook_url": "https://wiki.example.org/cassandra#{code}",
}
SCHEMAS = Path(__file__).parents[2] / "ringcheck" / "documents" / "schemas"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with watched(tmp_path_factory.mktemp("web")) as world:
        yield world


def lease(node: str) -> Holder:
    return Holder(node=node, owner="another", purpose="restart", since=now())


def valid(document: Any, name: str) -> None:
    jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text()))


def test_metrics_of_some_clusters(tmp_path: Path) -> None:
    """A scrape may name the clusters that it wants; a name that matches no cluster is an error."""
    with watched(tmp_path, interval=3600) as once:  # no poll between the two scrapes
        whole, part = once.get("/metrics").text, once.get(f"/metrics?cluster={NAME}").text
        assert f'ringcheck_up{{cassandra_cluster="{NAME}"}} 1.0' in part
        assert "\nringcheck_build_info{" in part  # each scrape has the agent's own series
        assert [line for line in part.splitlines() if "cassandra_cluster" in line] == [
            line for line in whole.splitlines() if f'cassandra_cluster="{NAME}"' in line
        ]
        assert once.get("/metrics?cluster=other").status_code == 404
        assert once.get("/metrics?name=x").status_code == 400


def test_metrics_have_both_formats(world: World) -> None:
    """Prometheus's text by default, OpenMetrics on request."""
    plain = world.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert f'ringcheck_up{{cassandra_cluster="{NAME}"}} 1.0' in plain.text
    assert "ringcheck_config_last_reload_successful 1.0" in plain.text
    requested = world.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1"})
    assert requested.headers["Content-Type"].startswith("application/openmetrics-text")
    assert requested.text.endswith("# EOF\n")


def test_check_can_ask_an_agent(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`check --agent` reads the document of the health endpoint."""
    answer = world.get("/api/v1/clusters/NAME/health")
    assert answer.status_code == 200
    valid(answer.json(), "verdict-1")
    assert run(["check", "--agent", world.served.url, "--cluster", NAME]) == 0
    assert capsys.readouterr().out.startswith(f"OK - {NAME}: ")
    assert run(["check", "--agent", world.served.url, "--cluster", "other"]) == 3
    text = f"HTTP 404: there is no cluster 'other' (known: {NAME}); next: correct --cluster"
    assert text in capsys.readouterr().out


def test_healthy_and_ready(world: World) -> None:
    """Both answer 200 once every cluster was polled."""
    assert [world.get(path).status_code for path in ("/-/healthy", "/-/ready")] == [200, 200]


# What is known


def test_all_clusters_are_listed(world: World) -> None:
    """Each is listed with its current state."""
    document = world.get("/api/v1/clusters").json()
    valid(document, "clusters-1")
    found = document["clusters"]
    assert [(entry["name"], entry["severity"], entry["fresh"], entry["error"]) for entry in found] == [
        (NAME, "OK", True, None)
    ]
    assert found[0]["restart_safe"] == sorted(node.address for node in world.cluster.nodes)
    assert found[0]["restart_cures"] == []
    assert found[0]["holders"] == []


def test_health_takes_parameters(world: World) -> None:
    """Levels, keyspaces and ranges can be chosen, as on the command line."""
    plain = world.get("/api/v1/clusters/NAME/health").json()
    assert [entry["level"] for entry in plain["keyspaces"][0]["levels"]] == ["LOCAL_QUORUM", "LOCAL_ALL"]
    more = world.get("/api/v1/clusters/NAME/health?level=TWO&ranges=1&dc=dc1").json()
    valid(more, "verdict-1")
    levels = more["keyspaces"][0]["levels"]
    assert {entry["level"] for entry in levels} == {"LOCAL_QUORUM", "LOCAL_ALL", "TWO"}
    assert levels[0]["unavailable_ranges"] == {"read": [], "write": []}
    every = world.get("/api/v1/clusters/NAME/health?level=all").json()
    assert len({entry["level"] for entry in every["keyspaces"][0]["levels"]}) == 12
    assert world.get("/api/v1/clusters/NAME/health?keyspace=other").json()["severity"] == "UNKNOWN"


def test_snapshot_and_plan_are_their_documents(world: World) -> None:
    """They have the same form as the documents that the commands print."""
    seen = world.get("/api/v1/clusters/NAME/snapshot").json()
    valid(seen, "snapshot-1")
    assert (seen["cluster"], len(seen["nodes"])) == (NAME, 3)
    batches = world.get("/api/v1/clusters/NAME/plan").json()
    valid(batches, "plan-1")
    assert len(batches["batches"]) == 3
    strict = world.get("/api/v1/clusters/NAME/plan?level=LOCAL_ALL").json()
    assert (strict["batches"], len(strict["refused"])) == ([], 3)
    single = world.get("/api/v1/clusters/NAME/plan?level=LOCAL_ONE&max_batch=1&by=node&dc=dc1").json()
    assert len(single["batches"]) == 3


def test_the_picture_may_only_apply_its_own_styles(world: World) -> None:
    """Its policy allows, by their hashes, the styles that it contains, and nothing else."""
    answer = world.get("/api/v1/clusters/NAME/ring.svg?keyspace=orders&level=LOCAL_QUORUM")
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert "keyspace orders at LOCAL_QUORUM" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert world.get("/api/v1/clusters/NAME/ring.svg").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/api/v1/clusters/other/health", 404, f"there is no cluster 'other' (known: {NAME})"),
        (f"/api/v1/clusters/{NAME}s/plan", 404, f"(did you mean {NAME}?)"),
        ("/metrics?cluster=other", 404, f"there is no cluster 'other' (known: {NAME})"),
        ("/api/v1/clusters/other/snapshot", 404, "there is no cluster 'other'"),
        ("/api/v1/clusters/other/plan", 404, "there is no cluster 'other'"),
        ("/api/v1/clusters/other/ring.svg", 404, "there is no cluster 'other'"),
        ("/api/v1/clusters/NAME/other", 404, "Not Found"),
        ("/api/v1/clusters/NAME/health?levle=ONE", 400, "there is no parameter 'levle' here"),
        ("/api/v1/clusters/NAME/health?level=one", 400, "there is no consistency level 'one'"),
        ("/api/v1/clusters/NAME/health?ranges=maybe", 400, "neither true nor false"),
        ("/api/v1/clusters/NAME/health?dc=mars", 400, "mars"),
        ("/api/v1/clusters/NAME/plan?max_batch=0", 400, "max_batch is a number of nodes"),
        ("/api/v1/clusters/NAME/plan?by=colour", 400, "by is rack or node"),
        ("/api/v1/clusters/NAME/plan?level=one", 400, "there is no consistency level"),
        ("/api/v1/clusters/NAME/ring.svg?keyspace=other", 404, "there is no keyspace 'other'"),
        ("/api/v1/clusters/NAME/preflight", 405, "Method Not Allowed"),
        ("/static/../web.py", 404, "Not Found"),
        ("/static/other.css", 404, "there is no such file"),
    ],
)
def test_errors_are_json(world: World, path: str, status: int, text: str) -> None:
    """They have the status, and a text for people."""
    answer = world.get(path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert text in answer.json()["error"]


def test_an_error_does_not_repeat_a_long_request(world: World) -> None:
    """What it quotes is cut."""
    answer = world.get(f"/metrics?cluster={'x' * 8000}")
    assert (answer.status_code, answer.json()["error"][-4:]) == (404, "x...")
    assert len(answer.json()["error"]) <= 1000


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/clusters/other", 404, "there is no cluster &#39;other&#39;"),
        ("/clusters/NAME?keyspace=%3Cb%3E", 404, "there is no keyspace &#39;&lt;b&gt;&#39;"),
        ("/clusters/NAME?level=x", 400, "there is no consistency level"),
    ],
)
def test_errors_of_pages_are_pages(world: World, path: str, status: int, text: str) -> None:
    """Text from the request is escaped in them."""
    answer = world.get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert text in answer.text


def test_a_get_changes_nothing(world: World) -> None:
    """Paths that change something refuse GET, and paths that only read refuse POST."""
    reads = [route for route in ROUTES if isinstance(route, Route) and "POST" not in (route.methods or ())]
    paths = [route.path.replace("{cluster}", NAME) for route in reads]
    wrong = {path: world.post(path, {}).status_code for path in paths}
    assert len(wrong) >= 12
    assert set(wrong.values()) == {405}
    assert world.get("/api/v1/clusters/NAME/observed").headers["Allow"] == "POST"


def test_a_slash_too_much_is_no_redirect(world: World) -> None:
    """`curl -f` treats every status below 400 as success, so that a redirect would mean that a node may stop."""
    for path in (f"/api/v1/clusters/NAME/nodes/{world.address(0)}/may-stop/", "/api/v1/clusters/", "/-/healthy/"):
        assert world.get(path, allow_redirects=False).status_code == 404
    assert world.post("/api/v1/clusters/NAME/preflight/", {"nodes": []}, allow_redirects=False).status_code == 404


def test_a_parameter_or_field_that_would_be_overridden_is_refused(world: World) -> None:
    """With two lists of nodes the gate would decide only on the last one."""
    assert "given once only" in world.get("/api/v1/clusters/NAME/plan?by=rack&by=node").json()["error"]
    body = f'{{"nodes": ["{world.address(0)}", "{world.address(1)}"], "nodes": ["{world.address(0)}"]}}'
    headers = {"Content-Type": "application/json"}
    answer = requests.post(world.url("/api/v1/clusters/NAME/preflight"), data=body, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (400, "a field is given twice")


def test_other_methods_are_refused_by_name(world: World) -> None:
    """The answer is 405 with the methods that the path has, whatever else the request contains."""
    for method in ("PUT", "DELETE", "OPTIONS", "POST"):
        answer = requests.request(method, world.url("/api/v1/clusters"), timeout=30)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_an_answer_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests about a verdict share one answer; the next verdict gets a new one, and the old one is dropped."""
    cache, made = answers.AnswerCache(), [0]
    old, new = (assess(article.snapshot(down), Policy()) for down in ((), ("10.0.0.1",)))

    def make() -> bytes:
        made[0] += 1
        return str(made[0]).encode()

    assert [cache.get(old, ("a", "x"), make) for _ in range(3)] == [b"1"] * 3
    assert [cache.get(new, ("a", "x"), make) for _ in range(3)] == [b"2"] * 3
    assert cache.get(old, ("b", "x"), make) == b"3"
    assert [of for of, _ in cache._answers.values()] == [new, old]
    monkeypatch.setattr(answers, "MAX_CACHED", 0)
    assert [cache.get(new, ("a", "y"), make) for _ in range(2)] == [b"4", b"5"]


@pytest.mark.slow
def test_slow_answers_do_not_delay_a_scrape(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred plans at once still leave threads for the metrics; requests above the limit get 503."""
    leave = threading.Event()

    def slow(*_: Any) -> dict[str, Any]:
        leave.wait(60)
        return {}

    monkeypatch.setattr(api, "plan_document", slow)
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(world.get, f"/api/v1/clusters/NAME/plan?max_batch={number + 1}") for number in range(100)]
        try:
            await_(lambda: sum(future.done() for future in asked) >= 100 - answers.WAITING, 60, "the refusals")
            assert world.get("/metrics").status_code == 200
        finally:
            leave.set()
    codes = Counter(future.result().status_code for future in asked)
    assert codes == {200: answers.WAITING, 503: 100 - answers.WAITING}


# Old verdicts


@pytest.mark.slow
def test_a_dead_node_is_listed_apart_from_nodes_that_may_stop(tmp_path: Path) -> None:
    """It may be started; the nodes that are up may not be stopped meanwhile, and the page shows why."""
    with watched(tmp_path) as world:
        world.cluster.down(1, instant=True)
        world.seen("WARNING")
        listed = world.get("/api/v1/clusters").json()["clusters"][0]
        assert (listed["restart_safe"], listed["restart_cures"]) == ([], [world.address(1)])
        assert f'cassandra_ring_restart_safe_nodes{{cassandra_cluster="{NAME}"}} 0.0' in world.get("/metrics").text
        page = world.get("/clusters/NAME").text
        assert "<strong>No node that is up.</strong>" in page
        assert "would become unavailable" in page
        assert "<h3>Down, and may be started</h3>" in page


def test_an_old_reading_lists_no_node_that_may_restart() -> None:
    """If polls hang no error is reported, but both lists are null instead of out of date."""
    known = Reading(
        cluster=NAME, restart_safe=frozenset({"10.0.0.1"}), restart_cures=frozenset({"10.0.0.2"}), fresh=True
    )
    now_listed, old_listed = api._listed(known), api._listed(replace(known, fresh=False))
    assert (now_listed["restart_safe"], now_listed["restart_cures"]) == (["10.0.0.1"], ["10.0.0.2"])
    assert (old_listed["restart_safe"], old_listed["restart_cures"]) == (None, None)


@pytest.mark.slow
def test_a_wrong_name_in_accept_does_not_affect_the_verdict(tmp_path: Path) -> None:
    """The gate refuses every node, and the page shows what to correct; the cluster's health is still shown."""
    with watched(tmp_path, gate={"settle": "0s", "accept": ["order"]}) as world:
        world.seen("OK")
        listed = world.get("/api/v1/clusters").json()["clusters"][0]
        assert (listed["error"], listed["restart_safe"], listed["restart_cures"]) == (None, [], [])
        wrong = "accept: no keyspace matches 'order' (did you mean orders?)"
        page = unescape(world.get("/clusters/NAME").text)
        assert (
            f'All 3 nodes that are up:</strong> {wrong} <a class="code" href="/reference#reason-no_data">'
            in " ".join(page.split())
        )
        refused = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
        assert (refused.status_code, refused.json()["error"], refused.json()["decision"]) == (503, wrong, "unknown")


@pytest.mark.slow
def test_a_blind_agent_shows_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last OK is not shown as current by the API, the page or the picture."""
    with watched(tmp_path) as world:
        world.seen("OK")
        for node in world.cluster.nodes:
            world.cluster.down(node.index, instant=True)
        world.seen("UNKNOWN")
        for path in ("health", "snapshot", "plan", "ring.svg"):
            answer = world.get(f"/api/v1/clusters/NAME/{path}")
            assert answer.status_code == 503
            assert "the last verdict on orders-prod is from 20" in answer.json()["error"]
        assert run(["check", "--agent", world.served.url, "--cluster", NAME]) == 3
        assert "HTTP 503" in capsys.readouterr().out
        listed = world.get("/api/v1/clusters").json()["clusters"][0]
        assert (listed["summary"], listed["restart_safe"], listed["restart_cures"]) == (None, None, None)
        assert "no node answered" in listed["error"]
        page = world.get("/clusters/NAME").text
        assert "<title>UNKNOWN orders-prod" in page
        assert "No current verdict." in page
        assert 'class="badge ok"' not in page.partition("<details")[0]
        assert "ring.svg" not in page
        assert "<strong>Not known.</strong>" in page
        assert "<title>UNKNOWN" in world.get("/").text
        decision = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
        assert (decision.status_code, decision.json()["decision"]) == (503, "unknown")


def test_before_the_first_poll_nothing_is_known(tmp_path: Path) -> None:
    """The agent is not ready, has no verdict, and its page does not look OK."""
    config = tmp_path / "ringcheck.yaml"
    config.write_text("clusters: {orders-prod: {jolokia: {contact_points: ['127.0.0.1:1']}}}")
    agent = Agent(load(str(config)))
    with web.serve(agent, "127.0.0.1:0") as served:
        world = World(EmbeddedCluster.uniform(1), agent, served)
        assert world.get("/-/ready").status_code == 503
        assert world.get("/-/healthy").status_code == 200
        assert world.get("/api/v1/clusters/NAME/health").status_code == 503
        assert "the first poll is under way" in world.get("/clusters/NAME").text
        assert 'ringcheck_up{cassandra_cluster="orders-prod"} 0.0' in world.get("/metrics").text


def test_an_agent_that_hangs_is_not_healthy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer or a probe finds out by its request."""
    monkeypatch.setattr(world.agent, "makes_progress", lambda: False)
    assert world.get("/-/healthy").status_code == 503


# The gate


def test_a_spare_node_may_stop(world: World) -> None:
    """It may be named by address or host id; the decision is based on a poll that began after the request."""
    before = datetime.now(UTC).replace(microsecond=0)
    answer = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
    assert answer.status_code == 200
    valid(answer.json(), "decision-1")
    assert datetime.fromisoformat(answer.json()["taken_at"]) >= before
    assert "streaming" not in {entry["code"] for entry in answer.json()["reasons"]}
    by_id = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.cluster.nodes[1].host_id]})
    assert by_id.json()["candidates"] == [world.address(1)]


STRICT = {"require_spare": Gate(require_spare=True), "require_all_up": Gate(require_all_up=True)}


@pytest.mark.parametrize(("name", "gate"), STRICT.items())
def test_a_request_can_t_relax_the_configured_gate(name: str, gate: Gate) -> None:
    """A client that sends the defaults explicitly must not relax the requirements of the configuration."""
    lax = Cluster(name="c", source=JolokiaSettings(contact_points=("127.0.0.1",)))
    for body in ({}, {name: False}, {name: True}):
        assert preflight.wish_of({"nodes": ["a"], **body}, replace(lax, gate=gate)).gate == gate
    assert preflight.wish_of({"nodes": ["a"], name: True}, lax).gate == gate


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"nodes": [0, 1]}, 409, "would_become_unavailable"),
        ({"nodes": [0], "level": "LOCAL_ONE"}, 200, None),
        ({"nodes": [0, 1], "level": "LOCAL_ONE"}, 409, "would_become_unavailable"),
        ({"nodes": [0, 1], "accept": ["orders"]}, 503, "no_data"),
        ({"nodes": [0], "level": "LOCAL_ALL"}, 409, "structurally_never_safe"),
        ({"nodes": [0], "level": "LOCAL_ALL", "allow": ["structurally_never_safe"]}, 200, None),
        ({"nodes": [0], "require_spare": True}, 409, "would_be_at_minimum"),
        ({"nodes": [0], "action": "decommission"}, 409, "replication_would_not_fit"),
        ({"nodes": [0], "action": "removenode"}, 409, "candidate_up"),
        ({"nodes": [0], "action": "replace", "datacenter": "dc1", "rack": "r9"}, 409, "rack_differs"),
        ({"nodes": [], "action": "bootstrap", "datacenter": "dc1", "rack": "r9"}, 200, None),
        ({"nodes": [], "action": "bootstrap", "datacenter": "dc9", "rack": "r9", "level": "LOCAL_ONE"}, 200, None),
        ({"nodes": ["127.9.9.9"]}, 503, "unknown_node"),
        ({"nodes": ["127"]}, 503, "unknown_node"),
    ],
)
def test_each_decision_has_its_status(world: World, body: dict[str, Any], status: int, code: str | None) -> None:
    """The status is 200 for safe, 409 for unsafe and 503 for unknown; fields mean the same as on the command line."""
    nodes = [world.address(node) if isinstance(node, int) else node for node in body["nodes"]]
    answer = world.post("/api/v1/clusters/NAME/preflight", body | {"nodes": nodes})
    assert answer.status_code == status, answer.text
    assert api.STATUS[answer.json()["decision"]] == status
    blocking = {entry["code"] for entry in answer.json()["reasons"] if entry["blocks"]}
    assert code in blocking if code else not blocking


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "nodes is missing"),
        ({"nodes": "a"}, "nodes must be a list of names"),
        ({"nodes": [""]}, "nodes must be a list of names"),
        ({"nodes": ["a"], "node": "b"}, "there is no field 'node'"),
        ({"nodes": ["a"], "action": "destroy"}, "action must be restart, decommission, "),
        ({"nodes": ["a"], "action": []}, "action must be restart, decommission, "),
        ({"nodes": ["a"], "action": {}}, "action must be restart, decommission, "),
        ({"nodes": ["a"], "action": None}, "action must be restart, decommission, "),
        ({"nodes": ["a"], "action": "bootstrap"}, "name no node"),
        ({"action": "bootstrap", "rack": "r1"}, "bootstrap needs the datacenter and the rack"),
        ({"nodes": ["a"], "rack": "r1"}, "restart has no new node"),
        ({"nodes": ["a"], "action": "replace", "rack": 1}, "datacenter and rack must be names"),
        ({"nodes": ["a"], "level": 1}, "there is no consistency level 1"),
        ({"nodes": ["a"], "allow": ["all"]}, "there is no reason 'all'"),
        ({"nodes": ["a"], "require_spare": "no"}, "must be true or false"),
        ({"nodes": ["a"], "stable": 0}, "stable must be a number from 1 to 20"),
        ({"nodes": ["a"], "stable": 1.5}, "stable must be a whole number"),
        ({"nodes": ["a"], "stable": True}, "stable must be a number"),
        ({"nodes": ["a"], "timeout": 1e9}, "timeout must be a number from 1 to 100"),
        (["a"], "not a JSON object"),
    ],
)
def test_a_wrong_request_is_refused(world: World, body: Any, text: str) -> None:
    """The answer is 400, and never a decision about something else."""
    answer = world.post("/api/v1/clusters/NAME/preflight", body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]


def test_a_body_that_is_no_json_is_refused(world: World) -> None:
    """This holds for a word, nested brackets, a huge text, and no body."""
    headers = {"Content-Type": "application/json"}
    url = world.url("/api/v1/clusters/NAME/preflight")
    for data, status in (
        (b"nodes", 400),
        (b"[" * 60_000, 400),
        (b'"' + b"x" * answers.MAX_BODY + b'"', 413),
        (b"", 400),
    ):
        assert requests.post(url, data=data, headers=headers, timeout=30).status_code == status


def test_each_decision_is_made_on_a_new_poll(tmp_path: Path) -> None:
    """A repair or a death between two regular polls is seen by the next request."""
    with watched(tmp_path, nodes=6, interval=600) as world:
        body = {"nodes": [world.address(0)]}
        assert world.post("/api/v1/clusters/NAME/preflight", body).status_code == 200
        world.cluster.stream(0)
        answer = world.post("/api/v1/clusters/NAME/preflight", body)
        assert answer.status_code == 409
        assert "streaming" in {entry["code"] for entry in answer.json()["reasons"] if entry["blocks"]}
        world.cluster.stream(0, 0)
        world.cluster.down(1, instant=True)
        answer = world.post("/api/v1/clusters/NAME/preflight", body)
        assert answer.status_code == 409
        assert "would_become_unavailable" in {entry["code"] for entry in answer.json()["reasons"]}


def test_nodes_under_a_lease_count_as_down(tmp_path: Path) -> None:
    """This includes a lease that was just taken; the candidate's own lease does not count."""
    with watched(tmp_path, nodes=6, interval=600) as world:
        world.store.add([lease(world.address(1))])
        answer = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
        assert answer.status_code == 409
        assert answer.json()["holders"] == [world.address(1)]
        assert world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(1)]}).status_code == 200
        (tmp_path / "leases.json").write_text("{")
        answer = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(1)]})
        assert (answer.status_code, answer.json()["decision"]) == (503, "unknown")
        assert "restart leases is not known" in answer.json()["error"]


def test_without_a_lease_store_the_default_lock_file_counts(tmp_path: Path) -> None:
    """`ringcheck roll` on this host without `lease:` keeps its leases there."""
    with watched(tmp_path, nodes=6, interval=600, lease=None) as world:
        body = {"nodes": [world.address(0)]}
        assert world.post("/api/v1/clusters/NAME/preflight", body).status_code == 200
        world.store.add([lease(world.address(1))])
        assert world.post("/api/v1/clusters/NAME/preflight", body).status_code == 409


def test_several_readings_must_be_safe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading comes from a new poll; at the deadline the answer is unknown."""
    asked: list[float] = []
    fresh = world.agent.fresh

    def counted(name: str, seconds: float) -> Any:
        asked.append(seconds)
        return fresh(name, seconds)

    monkeypatch.setattr(preflight, "BETWEEN", 0.05)
    monkeypatch.setattr(world.agent, "fresh", counted)
    body = {"nodes": [world.address(0)], "stable": 3}
    assert world.post("/api/v1/clusters/NAME/preflight", body).status_code == 200
    assert len(asked) == 3
    monkeypatch.setattr(preflight, "BETWEEN", 60)
    answer = world.post("/api/v1/clusters/NAME/preflight", body)
    assert (answer.status_code, answer.json()["decision"]) == (503, "unknown")
    assert "1 of 3 readings were safe within 60 s" in answer.json()["error"]


def test_a_replaced_configuration_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the level becomes stricter between two readings, nothing is decided by the old level."""
    with watched(tmp_path) as world:
        readings, fresh, file = [0], world.agent.fresh, tmp_path / "ringcheck.yaml"

        def tightened(name: str, seconds: float) -> Any:
            readings[0] += 1
            if readings[0] == 2:
                file.write_text(file.read_text().replace("critical: LOCAL_QUORUM", "critical: ALL"))
                world.agent.reload(load(str(file)))
            return fresh(name, seconds)

        monkeypatch.setattr(preflight, "BETWEEN", 0.05)
        monkeypatch.setattr(world.agent, "fresh", tightened)
        body = {"nodes": [world.address(0)], "stable": 3}
        answer = world.post("/api/v1/clusters/NAME/preflight", body)
        assert (answer.status_code, answer.json()["decision"]) == (503, "unknown")
        assert answer.json()["error"] == "the configuration was reloaded meanwhile: ask again"
        assert world.post("/api/v1/clusters/NAME/preflight", body).status_code == 409


def test_a_reload_during_the_decision_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload comes after the last reading."""
    with watched(tmp_path) as world:
        file = tmp_path / "ringcheck.yaml"

        class Slow(Gatekeeper):
            def decide(self, *asked: Any) -> Any:
                file.write_text(file.read_text().replace("critical: LOCAL_QUORUM", "critical: ALL"))
                world.agent.reload(load(str(file)))
                return super().decide(*asked)

        monkeypatch.setattr(preflight, "Gatekeeper", Slow)
        answer = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
        assert (answer.status_code, answer.json()["decision"]) == (503, "unknown")


def test_a_failed_or_hanging_poll_is_unknown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds although an earlier poll has a current verdict."""
    good = world.agent.fresh(NAME, 30)
    assert good is not None
    for result, text in ((replace(good, error="no node answered"), "no node answered"), (None, "in time")):
        monkeypatch.setattr(world.agent, "fresh", lambda *_, result=result: result)
        answer = world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
        assert (answer.status_code, answer.json()["decision"]) == (503, "unknown")
        assert text in answer.json()["error"]


def test_a_fresh_reading_is_of_a_poll_that_began_later(tmp_path: Path) -> None:
    """A poll that is already running when the request comes does not count."""
    with watched(tmp_path, interval=600) as world:
        watch = world.agent._state.watches[0]
        inside, leave = threading.Event(), threading.Event()
        judged = watch._judged

        def slow(*seen: Any) -> Any:
            if not leave.is_set():
                inside.set()
                leave.wait(30)
            return judged(*seen)

        watch._judged = slow  # type: ignore[assignment,method-assign]
        world.agent.hurry(NAME)
        assert inside.wait(30)
        readings: list[Any] = []
        asking = threading.Thread(target=lambda: readings.append(world.agent.fresh(NAME, 30)))
        asking.start()
        await_(lambda: watch._streams, 30, "the question")
        leave.set()
        asking.join(30)
        assert readings[0].verdict.snapshot.nodes[0].streams == 0
        assert world.agent.fresh("other", 1) is None
        leave.clear()
        assert world.agent.fresh(NAME, 0.1) is None
        leave.set()


def test_too_many_requests_to_the_gate_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision is unknown, with the time for the next attempt."""
    monkeypatch.setattr(web, "DECISIONS", 0)
    with web.serve(world.agent, "127.0.0.1:0") as served:
        answer = replace(world, served=served).post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
    assert (answer.status_code, answer.json()["decision"]) == (503, "unknown")
    assert answer.headers["Retry-After"] == "5"


def test_every_field_and_key_is_documented() -> None:
    """docs/web.md lists all of them, and its examples are accepted."""
    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text()
    fields = re.findall(r"^\| `([a-z_`, ]+)` \|", text.partition("| Field |")[2].partition("## ")[0], re.MULTILINE)
    assert {field for row in fields for field in row.split("`, `")} == set(preflight.FIELDS)
    example = yaml.safe_load(text.partition("# web.yml")[2].partition("```")[0].partition("\n")[2])
    assert set(example) == set(webconfig._TOP.keys)
    assert set(example["tls_server_config"]) == set(webconfig._TLS.keys)
    assert webconfig._hash(example["basic_auth_users"]["prometheus"])
    assert all(name in text for name in webconfig.HEADERS)


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/nothing", "text/html", "text/html"),
        ("/nothing", "*/*", "application/json"),
        ("/clusters/none", "*/*", "text/html"),
        ("/?state=red", "*/*", "text/html"),
        ("/api/v1/none", "text/html", "application/json"),
        ("/api/v1/clusters/none/health", "text/html", "application/json"),
        ("/static/none", "text/html", "application/json"),
    ],
)
def test_errors_are_pages_for_people_and_json_for_programs(world: World, path: str, accept: str, kind: str) -> None:
    """A mistyped path in a browser gets a page; errors of the API are JSON, whatever the client accepts."""
    answer = world.get(path, headers={"Accept": accept})
    assert answer.status_code == (400 if "?" in path else 404)
    assert answer.headers["Content-Type"].partition(";")[0] == kind


def test_a_mistyped_cluster_is_suggested(world: World) -> None:
    """The page of an unknown cluster links to one with a similar name."""
    assert f'<a href="/clusters/{NAME}">Open {NAME}</a>' in world.get("/clusters/order-prod").text
    assert ">Open " not in world.get("/clusters/entirely-different").text


@pytest.mark.slow
def test_the_pages_have_what_the_configuration_adds(tmp_path: Path) -> None:
    """They show labels, the dashboard in Grafana, and the operator's own page about a finding."""
    labels = {"team": "payments"}
    with watched(tmp_path, labels=labels, agent=LINKS) as world:
        world.cluster.down(0, instant=True)
        world.seen("WARNING")
        text = world.get("/clusters/NAME").text
        assert f'href="https://grafana.example.org/d/x?var-cluster={NAME}"' in text
        assert 'href="https://wiki.example.org/cassandra#unavailable"' in text
        assert "team: payments</a>" in text
        assert "team: payments" in world.get("/?group=team").text
        assert "0 of 1 cluster with" in world.get("/?filter=team%3Dsearch").text


@pytest.mark.slow
def test_the_picture_is_of_the_keyspace_in_the_headline(tmp_path: Path) -> None:
    """It is not the first keyspace by name that is equally bad."""
    with watched(tmp_path, nodes=6) as world:
        world.cluster.create_keyspace("a_small_loss", topology(dc1=3))
        world.cluster.create_keyspace("the_large_loss", topology(dc1=2))
        world.cluster.down(0, instant=True)
        world.cluster.down(1, instant=True)
        world.seen("CRITICAL")
        await_(lambda: "the_large_loss" in summary(world), 60, "the keyspace")
        assert "Ring of the_large_loss" in world.get("/clusters/NAME").text


def summary(world: World) -> str:
    return str(world.get("/api/v1/clusters").json()["clusters"][0]["summary"])


@pytest.mark.slow
def test_the_page_of_a_cluster_that_is_not_reached_says_what_was_tried(tmp_path: Path) -> None:
    """It has the contact points' URLs, the time of the next poll, and the command that finds the cause."""
    url = f"http://{{address}}:{free_port()}/jolokia"
    silent = {"jolokia": {"contact_points": ["127.0.0.1"], "url": url}}
    with served_agent(tmp_path, {NAME: silent}, interval=600) as (agent, served):
        await_(lambda: (agent.rest_left(NAME) or 0) > 500, 60, "the rest after the first poll")
        assert agent.rest_left("other") is None
        text = " ".join(requests.get(f"{served.url}/clusters/{NAME}", timeout=30).text.split())
        assert f"<dt>What was tried</dt><dd>{url.replace('{address}', '127.0.0.1')}</dd>" in text
        assert "<dt>Next poll</dt><dd>begins at <time" in text
        assert f'ringcheck doctor <span class="option">--cluster</span> {NAME}</code>' in text
