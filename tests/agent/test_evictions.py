"""Evictions in Kubernetes: which pods may be evicted, which may not and why, and when a lease is released."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import requests
import yaml

from ringcheck.agent import evictions, web
from ringcheck.agent.evictions import Eviction, Evictions, eviction_of
from ringcheck.agent.fleetlock import FleetLock
from ringcheck.agent.log import Log
from ringcheck.agent.service import Agent
from ringcheck.config import load
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.leases.configured import open_store
from ringcheck.leases.lockfile import LockFile
from ringcheck.leases.record import LeaseError
from ringcheck.simulator.cluster import EmbeddedCluster, Layout, topology
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.reading import Reading

PATIENCE = 60.0
NAME = "orders"
SECRET = "0123456789abcdef"  # noqa: S105 - of this test


def pod(address: str, **status: Any) -> dict[str, Any]:
    return {"spec": {"nodeName": f"host-{address}"}, "status": {"phase": "Running", "podIP": address, **status}}


@dataclass
class KubernetesApi:
    """The part of Kubernetes' API that describes pods."""

    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: int = 200
    paths: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    url: str = ""

    def start(self) -> ThreadingHTTPServer:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.paths.append(self.path)
                api.tokens.add(self.headers["Authorization"])
                found = api.pods.get(self.path.rpartition("/")[2])
                body = json.dumps(found or {"kind": "Status"}).encode()
                self.send_response(api.status if found else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server


@dataclass
class House:
    cluster: EmbeddedCluster
    api: KubernetesApi
    agent: Agent
    evictions: Evictions
    url: str

    def review(self, name: str, *, dry: bool = False, namespace: str = "cassandra", **changes: Any) -> dict[str, Any]:
        request = {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "policy", "version": "v1", "kind": "Eviction"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "subResource": "eviction",
            "name": name,
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "admin"},
            "object": {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}},
            "dryRun": dry,
        }
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**request, **changes}}

    def ask(self, name: str, *, path: str = f"/{SECRET}", timeout: str = "?timeout=30s", **request: Any) -> Any:
        url = f"{self.url}{evictions.PATH}{path}{timeout}"
        return requests.post(url, json=self.review(name, **request), timeout=PATIENCE)

    def answer(self, name: str, **request: Any) -> tuple[bool, str]:
        """Whether the pod may be evicted, and what its status or warning says."""
        document = self.ask(name, **request).json()
        assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response = document["response"]
        assert response["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
        if not response["allowed"]:
            assert (response["status"]["code"], response["status"]["reason"]) == (429, "TooManyRequests")
            return False, response["status"]["message"]
        return True, " ".join(response.get("warnings", ()))

    def leases(self) -> list[Holder]:
        with closing(open_store(self.agent.config.clusters[NAME])) as store:
            return list(store.holders())


@contextmanager
def house(folder: Path, **settings: Any) -> Iterator[House]:
    """A cluster of RF 3 in 3 racks whose nodes are pods, and an agent that has polled it."""
    cluster = EmbeddedCluster.uniform(
        3, racks=3, vnodes=4, keyspaces={"orders": topology(dc1=3)}, name=NAME, time_factor=0
    )
    api = KubernetesApi({f"cassandra-{node.index}": pod(node.address) for node in cluster.nodes})
    secret, token = folder / "admission.secret", folder / "token"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    token.write_text("abc\n")
    with ExitStack() as stack:
        simulator = stack.enter_context(serve(cluster))
        served_api = api.start()
        stack.callback(served_api.server_close)
        stack.callback(served_api.shutdown)
        document = yaml.safe_load(simulator.config())
        kubernetes = {"namespaces": ["cassandra"], "pods": ["cassandra-*"], "api": api.url, "token_file": str(token)}
        document["clusters"][NAME] |= {
            "gate": {"settle": "0s"},
            "lease": {"file": str(folder / "leases.json")},
            "kubernetes": kubernetes | settings.pop("kubernetes", {}),
            **settings,
        }
        document["clusters"][NAME] = {key: value for key, value in document["clusters"][NAME].items() if value}
        document["agent"] = {"interval": "1s", "admission_secret_file": str(secret)}
        config = folder / "ringcheck.yaml"
        config.write_text(yaml.safe_dump(document))

        def release(reading: Reading) -> None:
            found.release(reading)

        agent = Agent(load(str(config)), [release])
        log = Log("json", (folder / "log").open("w"))
        lock = FleetLock(agent, log)
        found = Evictions(agent, lock)
        served = stack.enter_context(web.serve(agent, "127.0.0.1:0", None, evictions.routes(found, agent, log)))
        agent.start()
        stack.callback(agent.stop)
        await_(agent.tried, PATIENCE, "the first poll")
        yield House(cluster, api, agent, found, served.url)


@pytest.mark.slow
def test_a_pod_may_go_and_the_next_must_wait(tmp_path: Path) -> None:
    """The grant takes a lease, so that the second pod is refused; the first is released once it has started again."""
    with house(tmp_path) as home:
        assert home.answer("cassandra-0") == (True, "")
        [lease] = home.leases()
        assert (lease.node, lease.owner) == (home.cluster.nodes[0].address, "kubernetes cassandra/cassandra-0")
        assert home.answer("cassandra-0") == (True, "")  # `kubectl drain` may repeat its request
        allowed, why = home.answer("cassandra-1")
        assert not allowed
        assert f"{lease.node} is under the restart lease of kubernetes cassandra/cassandra-0" in why
        home.cluster.down(0, instant=True)
        assert home.answer("cassandra-1")[0] is False
        assert len(home.leases()) == 1
        taken = datetime.fromisoformat(lease.since).timestamp()
        await_(lambda: int(time.time()) > taken, PATIENCE, "a later second than that of the lease")
        home.cluster.up(0, instant=True)
        await_(lambda: not home.leases(), PATIENCE, "the release of the lease")
        assert home.answer("cassandra-1") == (True, "")
        assert home.api.tokens == {"Bearer abc"}
        assert home.api.paths[0] == "/api/v1/namespaces/cassandra/pods/cassandra-0"


@pytest.mark.slow
def test_a_lease_of_a_pod_that_was_not_evicted_stays(tmp_path: Path) -> None:
    """The node serves, but it has not restarted since the lease was taken: its eviction may still follow."""
    with house(tmp_path) as home:
        assert home.answer("cassandra-0")[0]
        seen = home.agent.fresh(NAME, PATIENCE)
        assert seen
        home.evictions.release(seen)
        assert len(home.leases()) == 1


@pytest.mark.slow
def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """The gate answers, but takes no lease, whether the webhook or the eviction itself is marked as a dry run."""
    with house(tmp_path) as home:
        assert home.answer("cassandra-0", dry=True)[0]
        options = {"deleteOptions": {"dryRun": ["All"]}}
        assert home.answer("cassandra-0", object=options)[0]
        assert home.leases() == []
        home.cluster.down(1, instant=True)
        assert home.answer("cassandra-0", dry=True)[0] is False


def test_without_a_lease_store_the_gate_alone_decides(tmp_path: Path) -> None:
    """Without a lease store the answer, and its reason, come from the gate alone."""
    with house(tmp_path, lease=None) as home:
        assert home.answer("cassandra-0") == (True, "")
        home.cluster.down(1, instant=True)
        allowed, why = home.answer("cassandra-0")
        assert not allowed
        assert "would become unavailable at LOCAL_QUORUM in dc1" in why


def test_evictions_of_other_pods_are_allowed(tmp_path: Path) -> None:
    """Pods are recognised by namespace and name, without asking Kubernetes' API."""
    with house(tmp_path) as home:
        assert home.answer("web-0")[0]
        assert home.answer("cassandra-0", namespace="shop")[0]
        assert home.api.paths == []


@pytest.mark.slow
@pytest.mark.parametrize(("fail", "allowed"), [("closed", False), ("open", True)])
def test_what_is_not_known_is_decided_by_the_configuration(tmp_path: Path, fail: str, *, allowed: bool) -> None:
    """It decides about unknown pods, a refusing API and a cluster that can't be polled; unsafe is always refused."""
    with house(tmp_path, kubernetes={"fail": fail}) as home:
        home.api.pods["cassandra-9"] = pod("10.9.9.9")
        for name, part in (("cassandra-9", "10.9.9.9"), ("cassandra-8", "HTTP 404 from Kubernetes' API")):
            answer, why = home.answer(name)
            assert answer is allowed
            assert part in why or allowed
            assert not allowed or "not known whether it is safe" in why
        home.api.pods["cassandra-7"] = pod("", podIP=None)
        assert home.answer("cassandra-7")[0] is allowed
        home.cluster.down(1, instant=True)
        assert home.answer("cassandra-0")[0] is False


def stale_lease(home: House) -> None:
    with closing(open_store(home.agent.config.clusters[NAME])) as store:
        since = "2026-01-01T00:00:00Z"
        store.add([Holder(node="127.0.1.77", owner="anna", purpose="disk", since=since, host_id="gone")])


@pytest.mark.slow
@pytest.mark.parametrize("dry", [False, True])
def test_a_lease_of_a_node_that_is_gone_does_not_let_an_unsafe_eviction_through(tmp_path: Path, *, dry: bool) -> None:
    """With `fail: open` such a lease lets an eviction through only if the gate without it does not call it unsafe."""
    with house(tmp_path, kubernetes={"fail": "open"}) as home:
        stale_lease(home)
        allowed, why = home.answer("cassandra-0", dry=dry)
        assert (allowed, "allowed, although it is not known" in why) == (True, True)
        home.cluster.down(1, instant=True)
        allowed, why = home.answer("cassandra-0", dry=dry)
        assert (allowed, "would become unavailable" in why) == (False, True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["add", "holders", "remove"])
def test_a_failing_store_does_not_let_an_unsafe_eviction_through(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `fail: open` the gate is asked although the store does not answer, at whichever step."""

    def fails(*_: object) -> None:
        raise LeaseError("connection refused")

    with house(tmp_path, kubernetes={"fail": "open"}) as home:
        monkeypatch.setattr(LockFile, method, fails)
        if method != "remove":  # which a grant does not call
            assert "allowed, although it is not known" in home.answer("cassandra-0")[1]
        home.cluster.down(1, instant=True)
        assert [home.answer("cassandra-0", dry=dry)[0] for dry in (False, True)] == [False, False]


def test_a_reload_does_not_let_an_unsafe_eviction_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that is replaced while the gate decides makes no unsafe stop one that is not known."""
    with house(tmp_path, lease=None, kubernetes={"fail": "open"}) as home:
        config = home.agent.config
        other = replace(config.clusters[NAME], labels={"reloaded": "yes"})

        class Slow(Gatekeeper):
            def decide(self, *asked: Any) -> Any:
                home.agent.reload(replace(config, clusters={NAME: other}))
                return super().decide(*asked)

        home.cluster.down(1, instant=True)
        monkeypatch.setattr("ringcheck.agent.preflight.Gatekeeper", Slow)
        assert home.answer("cassandra-0")[0] is False


@dataclass
class Shared:
    """Two clusters whose pods share a namespace, with patterns that match the pods of both."""

    clusters: dict[str, EmbeddedCluster]
    api: KubernetesApi
    agent: Agent
    evictions: Evictions

    def answer(self, name: str, **asked: Any) -> tuple[bool, str]:
        answer = self.evictions.decide(Eviction("uid", "cassandra", name, **{"dry": False, **asked}), 20.0)
        return answer.allowed, answer.message


@contextmanager
def shared(folder: Path, fails: tuple[str, str] = ("open", "open"), **settings: Any) -> Iterator[Shared]:
    clusters, documents, api = {}, {}, KubernetesApi()
    with ExitStack() as stack:
        for number, name in enumerate(("blue", "green")):
            specs = Layout(3, racks=3, vnodes=4, addresses=f"127.0.{number + 3}.{{}}".format).specs()
            cluster = EmbeddedCluster(specs, {"orders": topology(dc1=3)}, name=name, time_factor=0)
            clusters[name] = cluster
            served = stack.enter_context(serve(cluster))
            documents[name] = yaml.safe_load(served.config())["clusters"][name]
            api.pods |= {f"{name}-{node.index}": pod(node.address) for node in cluster.nodes}
        server = api.start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        for (name, document), fail in zip(documents.items(), fails, strict=True):
            kubernetes = {"namespaces": ["cassandra"], "api": api.url, "fail": fail}
            lease = {"file": str(folder / f"{name}.json")}
            document |= {"gate": {"settle": "0s"}, "lease": lease, "kubernetes": kubernetes, **settings}
        config = folder / "ringcheck.yaml"
        config.write_text(yaml.safe_dump({"clusters": documents, "agent": {"interval": "1s"}}))
        agent = Agent(load(str(config)), [])
        found = Evictions(agent, FleetLock(agent, Log("json", stack.enter_context((folder / "log").open("w")))))
        agent.start()
        stack.callback(agent.stop)
        await_(agent.tried, PATIENCE, "the first poll")
        yield Shared(clusters, api, agent, found)


@pytest.mark.slow
def test_the_cluster_that_has_the_node_decides(tmp_path: Path) -> None:
    """Patterns of two clusters match each pod; the other cluster's gate knows nothing of its node."""
    with shared(tmp_path) as home:
        home.clusters["green"].down(1, instant=True)
        for dry in (True, False):
            allowed, why = home.answer("green-0", dry=dry)
            assert (allowed, why.startswith("green: refused: ")) == (False, True), why
            assert home.answer("blue-0", dry=dry)[0]
        assert [(tmp_path / f"{name}.json").read_text().count('"kubernetes') for name in ("blue", "green")] == [1, 0]


@pytest.mark.slow
def test_all_clusters_that_have_the_node_must_agree(tmp_path: Path) -> None:
    """One Cassandra cluster may be configured twice; if one entry calls the stop unsafe, the other takes no lease."""
    with shared(tmp_path) as home:
        config, blue = home.agent.config, home.agent.config.clusters["blue"]
        strict = replace(blue, name="green", gate=replace(blue.gate, level=Level.ALL), lease=None)
        home.agent.reload(replace(config, clusters={"blue": blue, "green": strict}))
        allowed, why = home.answer("blue-0")
        assert (allowed, "at ALL" in why) == (False, True), why
        assert not (tmp_path / "blue.json").exists() or "kubernetes" not in (tmp_path / "blue.json").read_text()
        home.agent.reload(replace(config, clusters={"blue": blue, "green": replace(strict, gate=blue.gate)}))
        assert home.answer("blue-0")[0]


@pytest.mark.slow
@pytest.mark.parametrize(("fails", "opens"), [(("open", "open"), True), (("open", "closed"), False)])
def test_a_pod_whose_cluster_is_not_known(tmp_path: Path, fails: tuple[str, str], *, opens: bool) -> None:
    """All clusters that it may belong to must be open; what the cluster that has the node calls unsafe is refused."""
    with shared(tmp_path, fails) as home:
        home.api.pods["green-9"] = pod("10.9.9.9")
        allowed, why = home.answer("green-9")
        assert (allowed, "none of these clusters has the pod's node" in why) == (opens, True)
        for node in home.clusters["blue"].nodes:
            home.clusters["blue"].down(node.index, instant=True)
        allowed, why = home.answer("green-0")
        assert (allowed, "not known whether the pod belongs to blue" in why) == (opens, True), why
        home.clusters["green"].down(1, instant=True)
        allowed, why = home.answer("green-0")
        assert (allowed, "would become unavailable" in why) == (False, True), why


@pytest.mark.slow
def test_a_shared_pod_whose_containers_have_ended_may_go(tmp_path: Path) -> None:
    """No cluster needs to have its node."""
    with shared(tmp_path, ("closed", "closed")) as home:
        home.api.pods["green-0"] = pod("10.9.9.9", phase="Succeeded")
        assert home.answer("green-0")[0]


def test_a_pod_whose_containers_have_ended_may_go(tmp_path: Path) -> None:
    """No Cassandra process runs in such a pod."""
    with house(tmp_path) as home:
        home.api.pods["cassandra-0"] = pod("10.0.0.1", phase="Failed")
        home.cluster.down(1, instant=True)
        assert home.answer("cassandra-0")[0]
        assert home.leases() == []


def test_nodes_are_found_by_the_kubernetes_node(tmp_path: Path) -> None:
    """The configured map is used; a node that is missing from it is unknown."""
    address = "127.0.1.2"
    nodes = {f"host-{address}": address}
    with house(tmp_path, kubernetes={"node_by": "node_name", "nodes": nodes}) as home:
        by_address = {node.address: f"cassandra-{node.index}" for node in home.cluster.nodes}
        assert address in by_address
        other = next(name for known, name in by_address.items() if known != address)
        assert home.answer(other)[0] is False
        assert "is not in kubernetes.nodes" in home.answer(other)[1]
        assert home.answer(by_address[address])[0]


def test_nodes_are_found_by_their_host_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod's host name is looked up; Kubernetes' API is not asked."""
    with house(tmp_path, kubernetes={"node_by": "host_name", "host_name": "{pod}.db.{namespace}.svc"}) as home:
        names = {"cassandra-0.db.cassandra.svc": home.cluster.nodes[0].address}
        known = socket.getaddrinfo

        def look_up(name: str, *more: Any, **options: Any) -> Any:
            return known(names.get(name, name), *more, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert home.answer("cassandra-0")[0]
        assert home.api.paths == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/wrong", "/", f"/{SECRET}x", ""])
def test_the_path_has_a_secret(tmp_path: Path, path: str) -> None:
    """A client that does not know the secret path can't take a lease."""
    with house(tmp_path) as home:
        assert home.ask("cassandra-0", path=path).status_code == 404
        assert home.leases() == []


def test_without_a_secret_the_rules_of_all_paths_apply(tmp_path: Path) -> None:
    """Without a secret a program on the same host may ask, and a path that contains a secret does not exist."""
    with house(tmp_path) as home:
        config = home.agent.config
        home.agent.reload(replace(config, agent=replace(config.agent, admission_secret_file=None)))
        assert home.ask("cassandra-0", path="", dry=True).status_code == 200
        assert home.ask("cassandra-0").status_code == 404


def test_a_review_that_names_two_pods_is_refused(tmp_path: Path) -> None:
    """JSON may repeat a field; the gate must not decide on one pod while Kubernetes evicts the other."""
    with house(tmp_path) as home:
        body = json.dumps(home.review("cassandra-0", dry=True)).replace('"name":', '"name": "cassandra-1", "name":', 1)
        url = f"{home.url}{evictions.PATH}/{SECRET}?timeout=30s"
        answer = requests.post(url, data=body, timeout=PATIENCE)
        assert (answer.status_code, answer.json()["error"]) == (400, "a field is given twice")


@pytest.mark.parametrize(
    "changes", [{"operation": "DELETE"}, {"subResource": "status"}, {"uid": ""}, {"name": 1}, {"resource": None}]
)
def test_other_requests_are_refused(changes: dict[str, Any]) -> None:
    """A webhook that is registered for another kind of request is a mistake, and the answer says so."""
    home = House(None, None, None, None, "")  # type: ignore[arg-type]
    review = home.review("cassandra-0")
    with pytest.raises(ValueError, match="not an AdmissionReview"):
        eviction_of(review | {"request": review["request"] | changes})
    others: list[object] = [[], None, "x", {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}]
    for other in others:
        with pytest.raises(ValueError, match="not an AdmissionReview"):
            eviction_of(other)


def test_an_answer_comes_before_the_api_server_gives_up(tmp_path: Path) -> None:
    """A gate that takes too long is answered as unknown, before the API server stops waiting."""
    with house(tmp_path, gate={"settle": "0s", "stable_readings": 20}) as home:
        allowed, why = home.answer("cassandra-0", timeout="?timeout=3s", dry=True)
        assert not allowed
        assert "refused" in why


def test_the_manifests_match_their_schemas() -> None:
    """The manifests conform to Kubernetes' own schemas, and their names, ports, labels and paths match each other."""
    path = Path(__file__).parents[2] / "packaging" / "kubernetes" / "ringcheck.yaml"
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        kubernetes_validate.validate(document, "1.32", strict=True)
    kinds = {document["kind"]: document for document in documents}
    assert set(kinds) == {
        "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "PersistentVolumeClaim", "Deployment", "Service",
        "ValidatingWebhookConfiguration",
    }  # fmt: skip
    template = kinds["Deployment"]["spec"]["template"]
    container = template["spec"]["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    [webhook] = kinds["ValidatingWebhookConfiguration"]["webhooks"]
    service = kinds["Service"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert webhook["clientConfig"]["service"]["name"] == service["metadata"]["name"]
    assert webhook["clientConfig"]["service"]["path"].startswith(f"{evictions.PATH}/")
    assert webhook["sideEffects"] == "NoneOnDryRun"
    assert {container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")} == {
        "/-/healthy",
        "/-/ready",
    }
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in template["spec"]["volumes"]}


def test_the_manifests_configuration_is_good(tmp_path: Path) -> None:
    """The configuration in the ConfigMap loads, with the files that it names in their places."""
    path = Path(__file__).parents[2] / "packaging" / "kubernetes" / "ringcheck.yaml"
    [text] = [
        document["data"]["ringcheck.yaml"]
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == "ConfigMap"
    ]
    for folder in ("/etc/ringcheck-secrets", "/etc/ringcheck", "/var/run/secrets/kubernetes.io/serviceaccount"):
        text = text.replace(f"{folder}/", f"{tmp_path}/")
    text = text.replace("/var/lib/ringcheck/", f"{tmp_path}/")
    for name in ("token", "ca.crt", "web.yml", "admission.secret"):
        (tmp_path / name).touch(0o600)
    (tmp_path / "ringcheck.yaml").write_text(text)
    cluster = load(str(tmp_path / "ringcheck.yaml")).clusters["orders-prod"]
    assert cluster.kubernetes
    assert cluster.kubernetes.namespaces == ("cassandra",)
