"""`doctor` on broken set-ups: each fails in exactly one step, which has the cause and how to fix it."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.http.tls import Tls
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.doctor import diagnose
from ringcheck.jolokia.settings import JolokiaSettings
from tests.fake_jolokia import (
    Agent,
    cluster,
    denied,
    failed,
    free_port,
    hang,
    missing_attribute,
    missing_mbean,
    missing_operation,
    ok,
    send,
)
from tests.http.servers import Certificates, listening
from tests.jolokia.scripted import FAILURE_DETECTOR, SNITCH, STREAM_MANAGER, Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

    from ringcheck.core.diagnosis import Diagnosis, Step
    from tests.fake_jolokia import Item

STORAGE = mbeans.STORAGE_SERVICE
RUNTIME = "java.lang:type=Runtime"
NOW = 1795237065.0  # the time in the replies of the fake agent
ONE, TWO, THREE = (f"127.0.2.{number}" for number in (1, 2, 3))


@dataclass
class Jvm:
    """One agent: the node of a lab behind an access policy.

    Attributes:
        node: its MBeans.
        agent: version of Jolokia; None if the policy hides it.
        refused: what the policy denies, as (MBean, attribute or operation); only the name for a whole MBean.
        restricted: whether the policy denies what ringcheck does not need.
        started: when the JVM was started, in seconds.
        others: names of other MBeans of Cassandra.
        items: that it was asked.
    """

    node: Callable[[Item], Any]
    agent: str | None = "2.2.9"
    refused: tuple[Any, ...] = ()
    restricted: bool = True
    started: float = NOW - 7200
    others: tuple[str, ...] = ()
    items: list[Item] = field(default_factory=list)

    def __call__(self, item: Item) -> Any:
        self.items.append(item)
        if item["type"] == "version":
            return ok(item, {"agent": self.agent, "protocol": "7.2"}) if self.agent else denied_command(item)
        if item["type"] == "search":
            return denied_command(item) if self.restricted else ok(item, list(self.others))
        name = item.get("operation") or item.get("attribute")
        if item["mbean"] in self.refused or (item["mbean"], name) in self.refused:
            return denied(item)
        if item["mbean"] == RUNTIME:
            allowed = name == "StartTime" or not self.restricted
            return ok(item, self.started * 1000 if name == "StartTime" else "OpenJDK") if allowed else denied(item)
        return self.node(item)


def denied_command(item: Item) -> Item:
    text = f"Command type {item['type'].upper()} not allowed due to policy used"
    return failed(item, 403, "java.lang.Exception", text)


def healthy() -> Lab:
    """Three nodes whose MBeans have all that `doctor` asks for."""
    lab = Lab()
    for node in lab.nodes.values():
        node.attributes |= {"Ownership": {}, "OwnershipWithPort": {}}
        node.other |= {(FAILURE_DETECTOR, name): "" for name in (mbeans.STATES, mbeans.STATES_WITH_PORT)}
        node.other[STREAM_MANAGER, "CurrentStreams"] = []
        for operation in (mbeans.RANGES, mbeans.RANGES_WITH_PORT, mbeans.PENDING, mbeans.PENDING_WITH_PORT):
            node.operations[operation, "ringcheck_doctor"] = {}
        node.operations[mbeans.REPLICATION, "ringcheck_doctor"] = lambda item: failed(item, 500, "java.lang.Error")
    return lab


def settings(url: str, **options: Any) -> JolokiaSettings:
    return JolokiaSettings(**{"contact_points": (ONE,), "url": url, "timeout": 2.0, **options})


def asked(url: str, *, contact: str = ONE, skew: float = 0.0, seconds: float = 6.0, **options: Any) -> Diagnosis:
    return diagnose(settings(url, **options), contact, seconds, lambda: NOW + skew)


@contextmanager
def served(lab: Lab | None = None, *, without: tuple[str, ...] = (), **first: Any) -> Iterator[tuple[str, Jvm]]:
    """A cluster; the template of its agents' URLs, and the first node's URL."""
    lab = lab or healthy()
    jvms = {address: Jvm(node) for address, node in lab.nodes.items()}
    jvms[ONE] = replace(jvms[ONE], **first)
    with cluster({address: None if address in without else jvm for address, jvm in jvms.items()}) as running:
        yield running.template, jvms[ONE]


def only_fault(found: Diagnosis) -> Step:
    """The step that failed, which must be the only one; each later step names it or succeeds."""
    [step] = found.failed
    assert step.fix
    assert "\n" not in step.text + step.fix
    return step


def agent_of(raw: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None, **options: Any) -> Agent:
    return Agent(Jvm(healthy().nodes[ONE]), raw=raw, host=ONE, **options)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers of another protocol that do answer: as long as a busy machine needs."""
    monkeypatch.setattr("ringcheck.jolokia.listeners._PATIENCE", 5.0)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch, patience: None) -> None:  # noqa: ARG001 - it comes first
    """For servers that never answer: only a short time."""
    monkeypatch.setattr("ringcheck.jolokia.listeners._PATIENCE", 1.0)


# All is well


def test_a_healthy_node_passes_every_step() -> None:
    """TLS is not used, and drain is not sent."""
    with served() as (url, jvm):
        found = asked(url)
        assert found.failed == ()
        assert [step.name for step in found.steps if step.status == "skipped"] == ["tls", "drain"]
        assert {step.name: step.text for step in found.steps}["peers"] == "2 peers that the node sees up answer here"
        assert all(item.get("operation") != "drain" for item in jvm.items)


def test_every_call_of_the_release_is_tried() -> None:
    """The calls are those of check, gate and roll, except drain; all lists and maps are truncated."""
    with served() as (url, jvm):
        asked(url)
        items = [item for item in jvm.items if "mbean" in item]
        made = {(item["mbean"], item.get("operation") or item.get("attribute")) for item in items}
        calls = {(call.mbean, call.name) for call in mbeans.CALLS if not call.writes and call.since <= (5, 0, 8)}
        assert made - {mbeans.UNNEEDED} == calls
        large = [item for item in items if {"operation", "attribute"} & item.keys() and _may_be_large(item)]
        assert large
        assert all(item["config"] == mbeans.FEW for item in large)


def _may_be_large(item: Item) -> bool:
    return item["type"] == "exec" or item["attribute"] in {mbeans.TOKENS, mbeans.TOKENS_WITH_PORT, mbeans.STREAMS}


@pytest.mark.parametrize(("release", "with_port"), [("3.11.19", False), ("5.0.8", True)])
def test_a_release_is_not_asked_for_what_it_lacks(release: str, with_port: bool) -> None:  # noqa: FBT001 - which of two
    """3.11 has no names that end with WithPort."""
    lab = healthy()
    lab.set_all("ReleaseVersion", release)
    with served(lab) as (url, jvm):
        assert asked(url).failed == ()
        assert any("WithPort" in str(item.get("attribute")) for item in jvm.items) is with_port


def test_an_agent_without_a_policy_is_well_and_gets_advice() -> None:
    """The step names the policy that should be there; without a policy drain can't be denied."""
    with served(restricted=False) as (url, _):
        steps = {step.name: step for step in asked(url).steps}
    assert (steps["policy"].status, steps["drain"].status) == ("ok", "ok")
    assert "everyone who can connect to it has full control of the node" in steps["policy"].text
    assert "policyLocation=" in steps["policy"].fix


# From the name to HTTP


def test_a_name_that_does_not_resolve() -> None:
    step = only_fault(asked("http://{address}:8778/jolokia", contact="no-such-host.invalid"))
    assert (step.name, "no-such-host.invalid can't be resolved" in step.text) == ("name", True)
    assert "/etc/hosts" in step.fix


def test_nothing_listens() -> None:
    port = free_port(ONE)
    step = only_fault(asked(f"http://{{address}}:{port}/jolokia"))
    assert (step.name, step.text) == ("port", f"nothing listens on {ONE}:{port}")
    assert f"host={ONE},port={port}" in step.fix


def test_nothing_listens_on_an_ipv6_address() -> None:
    """The address is in brackets if a port follows; without IPv6 there is no route to it."""
    step = only_fault(asked("http://{address}:1/jolokia", contact="::1"))
    assert step.name == "port"
    assert "[::1]:1" in step.text


def test_a_firewall_that_drops_packets() -> None:
    """A full backlog drops packets too."""
    with socket.create_server((ONE, 0), backlog=0) as server, ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 - as it is
            filler.connect_ex(server.getsockname())
        step = only_fault(asked(f"http://{{address}}:{server.getsockname()[1]}/jolokia", timeout=0.3))
    assert (step.name, "a firewall drops the packets" in step.text) == ("port", True)
    assert "tcp dport" in step.fix


def answering(greetings: dict[bytes, bytes], otherwise: bytes = b"") -> Callable[[socket.socket], None]:
    """A server that chooses its answer by the start of a request, and then closes."""

    def serve(sock: socket.socket) -> None:
        with sock:
            heard = sock.recv(4096)
            sock.sendall(next((reply for begin, reply in greetings.items() if heard.startswith(begin)), otherwise))

    return serve


CQL_ERROR = b"\x84\x00\x00\x00\x00\x00\x00\x00\x0bInvalid or unsupported protocol version"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("serve", "text"),
    [
        (answering({}, CQL_ERROR), "is the CQL port (native transport), not a Jolokia agent"),
        (answering({b"JRMI": b"\x4e\x00\x09127.0.0.1"}), "is a JMX port (RMI), not a Jolokia agent"),
    ],
    ids=["CQL", "JMX"],
)
def test_another_port_of_cassandra(serve: Callable[[socket.socket], None], text: str, scheme: str) -> None:
    with listening(serve) as url:
        step = only_fault(asked(url.replace("http", scheme), contact=url.replace("http", scheme)))
    assert (step.name, text in step.text) == ("http" if scheme == "http" else "tls", True)
    assert "8778 by default" in step.fix


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_of_an_unknown_protocol(scheme: str) -> None:
    with listening(answering({}, b"220 mail.example.org ESMTP\r\n")) as url:
        step = only_fault(asked(url, contact=url.replace("http", scheme)))
    assert (step.name, "does not speak" in step.text) == ("http" if scheme == "http" else "tls", True)


@pytest.mark.slow
@pytest.mark.usefixtures("impatience")
def test_a_process_that_hangs() -> None:
    with agent_of(hang) as agent:
        step = only_fault(asked(agent.url, contact=agent.url, timeout=0.3))
    assert (step.name, "accepts connections and does not answer" in step.text) == ("http", True)
    assert "jcmd" in step.fix


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.written(tmp_path_factory.mktemp("tls"))


def test_plain_http_to_a_port_of_tls(certificates: Certificates) -> None:
    with agent_of(tls=certificates.context(ONE)) as agent:
        step = only_fault(asked(agent.url, contact=agent.url.replace("https", "http")))
    assert (step.name, "speaks TLS, not plain HTTP" in step.text) == ("http", True)
    assert "https://" in step.fix


@pytest.mark.slow
@pytest.mark.usefixtures("impatience")
def test_tls_to_a_port_of_plain_http() -> None:
    with agent_of() as agent:
        step = only_fault(asked(agent.url, contact=agent.url.replace("http", "https")))
    assert (step.name, "speaks plain HTTP, not TLS" in step.text) == ("tls", True)
    assert "use http://" in step.fix


@pytest.mark.parametrize(
    ("ca", "name", "text", "fix"),
    [
        ("other", ONE, "unable to get local issuer certificate", "--ca-file FILE"),
        ("ca", "10.0.0.9", f"certificate is not valid for '{ONE}'", "subjectAltName"),
        ("ca", "other.example.org", f"certificate is not valid for '{ONE}'", "subjectAltName"),
    ],
    ids=["unknown authority", "other address", "host name"],
)
def test_an_untrusted_certificate(certificates: Certificates, ca: str, name: str, text: str, fix: str) -> None:
    with agent_of(tls=certificates.context(name)) as agent:
        step = only_fault(asked(agent.url, contact=agent.url, tls=Tls(ca_file=getattr(certificates, ca))))
    assert (step.name, text in step.text, fix in step.fix) == ("tls", True, True)


@pytest.mark.parametrize(
    ("valid", "text"), [((-9, -1), "certificate has expired"), ((3, 9), "certificate is not yet valid")]
)
def test_a_certificate_that_is_not_valid_now(certificates: Certificates, valid: tuple[int, int], text: str) -> None:
    with agent_of(tls=certificates.context(ONE, valid=valid)) as agent:
        step = only_fault(asked(agent.url, contact=agent.url, tls=Tls(ca_file=certificates.ca)))
    assert (step.name, text in step.text, "-dates" in step.fix) == ("tls", True, True)


def test_an_agent_that_wants_a_client_certificate(certificates: Certificates) -> None:
    with agent_of(tls=certificates.context(ONE, wants_client=True)) as agent:
        step = only_fault(asked(agent.url, contact=agent.url, tls=Tls(ca_file=certificates.ca)))
    assert (step.name, "--cert-file FILE" in step.fix) == ("http", True)


# From HTTP to Jolokia


@pytest.mark.parametrize(
    ("login", "text", "fix"),
    [
        ({}, "asks for a user name and a password", "--username NAME --password-file FILE"),
        ({"username": "monitor", "password": "wrong"}, "user name or password is wrong", "user= and password="),
    ],
    ids=["none", "wrong"],
)
def test_a_login(login: dict[str, Any], text: str, fix: str) -> None:
    with agent_of(auth=("monitor", "s3cret")) as agent:
        step = only_fault(asked(agent.url, contact=agent.url, **login))
        assert "s3cret" not in step.text + step.fix
    assert (step.name, text in step.text, fix in step.fix) == ("login", True, True)


def at(path: str, node: Callable[[Item], Any]) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    """An agent at one path of a web server."""

    def raw(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if handler.path == path:
            send(handler, json.dumps(node(json.loads(body))).encode())
        else:
            send(handler, b"<h1>404 Not Found</h1>", status=404, content_type="text/html")

    return raw


def test_jolokia_at_another_path() -> None:
    """The usual other paths are tried."""
    with agent_of(at("/actuator/jolokia/", Jvm(healthy().nodes[ONE]))) as agent:
        step = only_fault(asked(agent.url, contact=agent.url))
    right = agent.url.replace("/jolokia", "/actuator/jolokia")
    assert (step.name, step.text) == ("jolokia", "there is no Jolokia agent at /jolokia (HTTP 404)")
    assert step.fix == f"use -u {right}"


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"<html>It works!</html>", 200, "text/html"),
        (b"", 404, None),
        (b'{"status": "UP"}', 200, "application/json"),
        (b"[]", 200, "application/json"),
        (b"method not allowed", 405, "text/plain"),
        (b"", 302, None),
    ],
)
def test_a_web_server_that_is_no_jolokia(body: bytes, status: int, kind: str | None) -> None:
    def raw(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        send(handler, body, status=status, content_type=kind)

    with agent_of(raw) as agent:
        step = only_fault(asked(agent.url, contact=agent.url))
    assert (step.name, "that is not a Jolokia agent (HTTP" in step.text) == ("jolokia", True)
    assert "Server: BaseHTTP" in step.text
    assert "agentContext=" in step.fix


def test_an_old_jolokia() -> None:
    with served(agent="1.2.3") as (url, _):
        step = only_fault(asked(url))
    assert (step.name, step.text) == ("jolokia", "Jolokia 1.2.3 is too old: 1.3 and later are supported")


@pytest.mark.parametrize("release", ["\u00b2.\u00b3", "9" * 5000, "9.9" * 5000, "", "x.y"])
def test_a_release_of_jolokia_that_is_no_number(release: str) -> None:
    """It is shown as it is; nothing else depends on it."""
    with served(agent=release) as (url, _):
        assert not asked(url).failed


def test_a_policy_may_hide_the_version_of_the_agent() -> None:
    """No other command needs the version."""
    with served(agent=None) as (url, _):
        assert asked(url).failed == ()


# The access policy


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize(
    ("error", "text", "fix"),
    [
        ("No access from client 127.0.0.1 allowed", "refuses this host", "<remote><host>127.0.0.1</host></remote>"),
        ("HTTP method post is not allowed according to the installed security policy", "refuses POST", "<method>post"),
    ],
    ids=["host", "POST"],
)
def test_a_policy_that_refuses_every_request(status: int, error: str, text: str, fix: str) -> None:
    """Jolokia reports the refusal in the body of a 403 or inside a 200."""

    def raw(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        document = {"status": 403, "error_type": "java.lang.SecurityException", "error": error}
        send(handler, json.dumps(document).encode(), status=status)

    with Agent(raw=raw, host="127.0.0.1") as agent:
        step = only_fault(asked(agent.url, contact=agent.url))
    assert (step.name, text in step.text, fix in step.fix) == ("login", True, True)


def test_a_policy_that_allows_no_post_but_the_version() -> None:
    """Jolokia 2.2.9 answers `version`, and refuses every MBean with the same text."""

    def refuses(item: Item) -> Item:
        error = "HTTP method post is not allowed according to the installed security policy"
        return failed(item, 403, "java.lang.Exception", error)

    with served(node=refuses, refused=()) as (url, _):
        step = only_fault(asked(url))
    assert (step.name, "refuses POST" in step.text) == ("cassandra", True)


def test_a_policy_that_denies_everything() -> None:
    """The policy must be replaced; that later steps can't be done is not a second cause."""
    mbean_names = {call.mbean for call in mbeans.CALLS}
    with served(refused=tuple(mbean_names)) as (url, _):
        found = asked(url)
    assert [step.name for step in found.failed] == ["check", "gate", "roll"]
    assert found.failed[0].fix.startswith("replace the agent's access policy with config/jolokia/jolokia-access.xml")
    assert [step.status for step in found.steps if step.name in {"clock", "peers"}] == ["skipped", "skipped"]


def test_a_proxy_that_forbids_access() -> None:
    def raw(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        send(handler, b"<h1>Forbidden</h1>", status=403, content_type="text/html")

    with agent_of(raw) as agent:
        step = only_fault(asked(agent.url, contact=agent.url))
    assert (step.name, "HTTP 403, access is forbidden" in step.text) == ("login", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refused", "name", "text", "fix"),
    [
        ((STREAM_MANAGER,), "gate", "denies CurrentStreams", '<attribute mode="read">CurrentStreams</attribute>'),
        ((SNITCH,), "check", "denies getDatacenter, getRack", "<operation>getRack</operation></mbean>"),
        (((STORAGE, "LiveNodes"),), "check", "denies LiveNodes", f"<name>{STORAGE}</name>"),
        (((STORAGE, mbeans.RANGES),), "check", f"denies {mbeans.RANGES}", f">{mbeans.RANGES}</operation>"),
        (((RUNTIME, "StartTime"),), "roll", "denies StartTime", '<attribute mode="read">StartTime</attribute>'),
    ],
    ids=["MBean", "MBean with operations", "attribute", "operation", "roll"],
)
def test_a_policy_that_denies_a_call(refused: tuple[Any, ...], name: str, text: str, fix: str) -> None:
    """The fix is what to add to the policy."""
    with served(refused=refused) as (url, _):
        step = only_fault(asked(url))
    assert (step.name, text in step.text, fix in step.fix) == (name, True, True)


@pytest.mark.parametrize(
    "answer",
    [
        lambda handler: send(handler, b"no arrays", status=400, content_type="text/plain"),
        lambda handler: send(handler, json.dumps({"status": 403, "error": "bulk"}).encode()),
        lambda handler: send(handler, json.dumps({"status": 200, "value": {}}).encode()),
    ],
    ids=["HTTP 400", "denied", "one answer"],
)
def test_bulk_requests_are_refused(answer: Callable[[BaseHTTPRequestHandler], Any]) -> None:
    jvm = Jvm(healthy().nodes[ONE])

    def raw(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if body.startswith(b"["):
            answer(handler)
        else:
            send(handler, json.dumps(jvm(json.loads(body))).encode())

    with agent_of(raw) as agent:
        step = only_fault(asked(agent.url, contact=agent.url))
    assert (step.name, "refuses several at once" in step.text) == ("bulk", True)


# Cassandra


def test_jolokia_in_another_jvm() -> None:
    with served(node=missing_mbean, restricted=False) as (url, _):
        step = only_fault(asked(url))
    assert (step.name, "a JVM that is not Cassandra's" in step.text) == ("cassandra", True)
    assert "it has run for 7200 s" in step.text


@pytest.mark.parametrize(
    "jvm",
    [
        {"restricted": False, "others": ("org.apache.cassandra.db:type=Caches",)},
        {"restricted": True, "started": NOW - 20},
    ],
    ids=["other MBeans", "a young JVM behind a policy"],
)
def test_cassandra_is_still_starting(jvm: dict[str, Any]) -> None:
    """Cassandra has not yet registered StorageService."""
    with served(node=missing_mbean, **jvm) as (url, _):
        step = only_fault(asked(url))
    assert (step.name, step.text) == (
        "cassandra",
        "Cassandra is still starting: it has not registered its MBeans yet",
    )


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("STARTING", "Cassandra is still starting"),
        (lambda item: failed(item, 500, "java.lang.NullPointerException"), "Cassandra is still starting"),
        (7, "OperationMode is not a text: 7"),
        (missing_attribute, "OperationMode: javax.management.AttributeNotFoundException : No such attribute"),
    ],
    ids=["mode", "thrown", "no text", "missing"],
)
def test_a_node_without_a_mode_of_service(mode: Any, text: str) -> None:
    """It has registered StorageService but is still starting, or its answer makes no sense."""
    lab = healthy()
    lab.nodes[ONE].attributes["OperationMode"] = mode
    with served(lab) as (url, _):
        step = only_fault(asked(url))
    assert (step.name, step.text.startswith(text)) == ("cassandra", True)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (missing_mbean, "CurrentStreams"),
        (missing_operation, "getRack"),
        (lambda item: failed(item, 500, "java.lang.NoSuchMethodException", "getRack"), "getRack"),
    ],
    ids=["MBean", "operation", "operation for Jolokia 2.6"],
)
def test_a_node_that_lacks_a_call_of_its_release(answer: Callable[[Item], Any], name: str) -> None:
    """The call is named with its MBean; a missing MBean of logins is no fault."""
    lab = healthy()
    node = lab.nodes[ONE]

    def lacking(item: Item) -> Any:
        return answer(item) if name in {item.get("attribute"), item.get("operation")} else node(item)

    with served(lab, node=lacking) as (url, _):
        step = only_fault(asked(url))
    assert (step.name, f"lacks {name} of " in step.text) == ("gate" if name == "CurrentStreams" else "check", True)


def test_text_from_a_node_is_shown_printable_and_short() -> None:
    """Whatever a node sends as names and versions, each step stays one line."""
    lab = healthy()
    lab.nodes[ONE].attributes["ClusterName"] = "lab\x1b[2J\n" * 1000
    with served(lab, agent="2.2.9\x1b[2J\n") as (url, _):
        texts = [step.text for step in asked(url).steps]
    assert all(text.isprintable() and len(text) < 400 for text in texts)


def test_the_snitch_of_a_joining_node_is_not_asked() -> None:
    """If it were asked now, its answer would stay wrong."""
    lab = healthy()
    lab.nodes[ONE].attributes["OperationMode"] = "JOINING"
    with served(lab) as (url, jvm):
        assert asked(url).failed == ()
        assert not any(item.get("mbean") == SNITCH for item in jvm.items)


@pytest.mark.parametrize(("skew", "text"), [(-300.0, "300 s ahead of"), (300.0, "300 s behind")])
def test_a_clock_that_is_wrong(skew: float, text: str) -> None:
    with served() as (url, _):
        step = only_fault(asked(url, skew=skew))
    assert (step.name, text in step.text, "chronyc" in step.fix) == ("clock", True, True)


# Peers


def test_a_peer_without_an_agent() -> None:
    with served(without=(THREE,)) as (url, _):
        step = only_fault(asked(url))
    assert (step.name, f"1 of 2 peers can't be asked from here ({THREE}): " in step.text) == ("peers", True)
    assert "host= of -javaagent" in step.fix


def test_peers_behind_a_firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = healthy()
    monkeypatch.setattr("ringcheck.jolokia.peers._PATIENCE", 0.3)
    jvms = {address: Jvm(node) for address, node in lab.nodes.items()}
    with cluster(dict(jvms), hanging=(TWO, THREE)) as running:
        step = only_fault(asked(running.template))
        port = int(running.template.rpartition(":")[2].partition("/")[0])
    assert (step.name, f"2 of 2 peers can't be asked from here ({TWO}, {THREE}): " in step.text) == ("peers", True)
    assert f"let this host connect to port {port} of every node: a firewall drops the packets" in step.fix


def test_a_peer_whose_agent_has_another_address() -> None:
    """It is found at an address that gossip has for the peer."""
    lab = healthy()
    gossip = f"/{THREE}:7000\n  RELEASE_VERSION:5:5.0.8\n  NATIVE_ADDRESS_AND_PORT:7:127.0.2.33:9042\n"
    lab.nodes[ONE].other[FAILURE_DETECTOR, mbeans.STATES_WITH_PORT] = gossip
    with served(lab, without=(THREE,)) as (url, _):
        port = int(url.rpartition(":")[2].partition("/")[0])
        with Agent(Jvm(lab.nodes[THREE]), host="127.0.2.33", port=port):
            step = only_fault(asked(url))
    assert (step.name, f"the agent of {THREE} listens on 127.0.2.33" in step.text) == ("peers", True)
    assert f"host={THREE}" in step.fix


def test_peers_that_are_asked_at_one_address() -> None:
    """If the URL has no `{address}`, it leads to the same node each time."""
    with served() as (url, _):
        step = only_fault(asked(url.replace("{address}", ONE)))
    assert (step.name, "answers for another node" in step.text) == ("peers", True)
    assert "`jolokia: {url: ...}`" in step.fix


def test_peers_are_not_asked_if_polls_do_not() -> None:
    with served(without=(TWO, THREE)) as (url, _):
        found = asked(url, views="contact_points")
    assert found.failed == ()
    assert found.steps[-1].status == "skipped"


def test_a_peer_that_is_down_is_not_asked() -> None:
    lab = healthy()
    lab.down(THREE)
    with served(lab, without=(THREE,)) as (url, _):
        assert asked(url).failed == ()


@pytest.mark.slow
@pytest.mark.usefixtures("impatience")
def test_all_steps_together_end_in_time() -> None:
    """The limit applies to the whole command, and not only to a single request."""
    with agent_of(hang) as agent:
        step = only_fault(asked(agent.url, contact=agent.url, seconds=1.0, timeout=3600))
    assert step.name == "http"
