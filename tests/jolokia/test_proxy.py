"""Nodes without a Jolokia agent, asked through a proxy; and nodes whose agents' URLs are in `nodes`."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.errors import ConfigError, GoneError, SourceError
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.control import Control
from ringcheck.jolokia.doctor import diagnose
from ringcheck.jolokia.proxy import node_failure, place
from ringcheck.jolokia.settings import JolokiaSettings, jmx_end
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import Agent, failed, ok
from tests.jolokia.scripted import ONE, THREE, TWO, Lab
from tests.jolokia.test_client import on_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.ring import Snapshot

JMX = "service:jmx:rmi:///jndi/rmi://{address}:7199/jmxrmi"
SECRET = "s3cret"  # noqa: S105 - a test's
VERSION = {"agent": "2.6.0", "protocol": "8.2", "info": {"proxy": {}, "jmx": {}}}


def jmx(address: str) -> str:
    return JMX.replace("{address}", address)


def stub(*causes: str) -> str:
    """The text of an error when Java looks up the registry, with its causes as Jolokia 2.6.0 writes them."""
    chain = "; nested exception is: \n\t".join(causes)
    return f"Failed to retrieve RMIServer stub: javax.naming.CommunicationException [Root exception is {chain}]"


def refused(host: str) -> str:
    refusal = "java.net.ConnectException: Connection refused"
    return stub(f"java.rmi.ConnectException: Connection refused to host: {host}", refusal)


class FakeProxy:
    """A proxy for the nodes of a lab. `failures` has its answers for single nodes; nodes in `hanging` do not answer."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.failures: dict[str, tuple[int, str, str]] = {}
        self.hanging: set[str] = set()
        self.version: Any = VERSION
        self.released = threading.Event()
        self.logins: set[tuple[str | None, str | None]] = set()
        self.agent = Agent(self._answer)

    def _answer(self, item: dict[str, Any]) -> Any:
        if item["type"] == "version":
            return ok(item, self.version)
        target = item["target"]
        self.logins.add((target.get("user"), target.get("password")))
        assert item["config"]["includeRequest"] == "false"
        host = jmx_end(target["url"])[0]
        if host in self.hanging:
            self.released.wait(20)
        if host in self.failures:
            status, error_type, error = self.failures[host]
            return {"request": {}, "status": status, "error_type": error_type, "error": error, ".error": True}
        return self.lab.nodes[host](item) | {"request": {}}

    def fail(self, address: str, error: str, status: int = 500, error_type: str = "java.io.IOException") -> None:
        self.failures[address] = (status, error_type, error)


@contextmanager
def proxied(lab: Lab | None = None, **settings: Any) -> Iterator[tuple[FakeProxy, JolokiaSource]]:
    """A running proxy, and a source that uses it."""
    proxy = FakeProxy(lab or Lab())
    with proxy.agent as agent:
        options: dict[str, Any] = {"contact_points": (ONE,), "proxy": agent.url, "jmx": JMX, "timeout": 2.0} | settings
        with closing(JolokiaSource(JolokiaSettings(**options))) as source:
            yield proxy, source
        proxy.released.set()


def states(snapshot: Snapshot) -> dict[str, str]:
    return {node.address: node.source for node in snapshot.nodes}


def reason(snapshot: Snapshot, address: str) -> str | None:
    return next(view.reason for view in snapshot.views if view.observer == address)


# Polls


def test_a_cluster_without_agents_looks_as_one_with_agents() -> None:
    """The snapshots are equal, in the first poll and in a later one."""
    lab = Lab()
    with lab.running() as running:
        direct = [running.poll(), running.poll()]
    with proxied(lab) as (proxy, source):
        through = [source.poll(4.0), source.poll(4.0)]
    for one, other in zip(direct, through, strict=True):
        assert (one.nodes, one.views, one.rings, one.problems) == (other.nodes, other.views, other.rings, ())
    assert proxy.agent.payloads[0] == {"type": "version"}  # and it is asked once
    assert sum(item["type"] == "version" for item in proxy.agent.items) == 1


def test_the_login_goes_with_each_request_and_is_not_asked_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JMX password is in each target; the login of the proxy itself is a header."""
    monkeypatch.setenv("RINGCHECK_JMX_PASSWORD", "s3cret")
    with proxied(jmx_username="monitor", username="me", password=SECRET) as (proxy, source):
        source.poll(4.0)
    assert proxy.logins == {("monitor", "s3cret")}
    assert all(headers["Authorization"].startswith("Basic ") for headers in proxy.agent.headers)


def test_without_a_login_the_user_name_is_empty() -> None:
    """Jolokia uses TLS for the registry only if the target has a user name."""
    with proxied() as (proxy, source):
        source.poll(4.0)
    assert proxy.logins == {("", None)}


@pytest.mark.slow
def test_nodes_behind_one_proxy_are_asked_at_once() -> None:
    """One request at a time applies to a node, and not to the proxy; a node that hangs does not delay the others."""
    with proxied(timeout=20.0) as (proxy, source):
        source.poll(4.0)
        proxy.hanging.add(TWO)
        snapshot = source.poll(2.0)  # the request to the second node takes longer than the poll
        assert states(snapshot) == {ONE: "ok", TWO: "unreachable", THREE: "ok"}
        assert reason(snapshot, TWO) == "JMX of 127.0.2.2:7199: no answer in time"
        again = source.poll(2.0)
        assert states(again) == {ONE: "ok", TWO: "unreachable", THREE: "ok"}
        assert reason(again, TWO) == "JMX of 127.0.2.2:7199: an earlier request is still not answered"
        proxy.released.set()


def test_on_an_event_loop_nodes_behind_one_proxy_are_asked_at_once() -> None:
    """As with threads, one request at a time applies to a node, and not to the proxy."""
    lab = Lab()
    with proxied(lab) as (proxy, _), closing(on_loop(proxy=proxy.agent.url, jmx=JMX)) as asker:
        proxy.hanging.add(TWO)
        request, ends = mbeans.read(mbeans.STORAGE_SERVICE, "LocalHostId"), time.monotonic() + 3.0

        async def beside() -> tuple[Any, str]:
            asking = asker._asking
            slow = asking.start(asking.post(jmx(TWO), request, ends))
            await asking.wait([slow], 0.1)
            answer = await asking.post(jmx(ONE), request, ends)
            with pytest.raises(SourceError) as caught:
                await asking.post(jmx(TWO), request, ends)
            proxy.released.set()
            return answer["value"], str(caught.value)

        line = "JMX of 127.0.2.2:7199: an earlier request is still not answered"
        assert asker._runner.run(beside()) == (lab.host_id(ONE), line)


def test_polls_on_an_event_loop_go_through_the_proxy_too() -> None:
    """Polls as the agent makes them have the same results, and keep their connections to the proxy."""
    with proxied() as (proxy, source):
        expected = source.poll(4.0)
        asker = on_loop(proxy=proxy.agent.url, jmx=JMX, timeout=0.4)
        request = mbeans.read(mbeans.STORAGE_SERVICE, "LocalHostId")
        answers = [asker.post(jmx(node.address), request, time.monotonic() + 3.0) for node in expected.nodes]
        assert [answer["value"] for answer in answers] == [node.host_id for node in expected.nodes]
        proxy.hanging.add(THREE)
        with pytest.raises(SourceError, match=r"JMX of 127\.0\.2\.3:7199: no answer through the proxy within 0.4 s"):
            asker.post(jmx(THREE), request, time.monotonic() + 3.0)
        asker.close()


# What fails, and what is to blame


def test_a_dead_proxy_shows_nothing_about_nodes() -> None:
    """No snapshot shows the nodes as down or up; the line of the error names the proxy."""
    with proxied() as (proxy, source):
        source.poll(4.0)
        proxy.agent.stop()
        with pytest.raises(SourceError) as caught:
            source.poll(2.0)
        assert caught.value.kind == "unreachable"
        url = proxy.agent.url
        assert str(caught.value) == f"no node answered: the proxy does not answer: {url}: connection refused"
    with closing(JolokiaSource(JolokiaSettings(contact_points=(ONE,), proxy=url))) as source:
        with pytest.raises(SourceError) as caught:
            source.poll(2.0)
        assert str(caught.value) == f"the proxy does not answer: {url}: connection refused"
        proxy.agent = Agent()


def test_doctor_distinguishes_the_proxy_from_the_node() -> None:
    """The first steps test the proxy; if it can't reach a node, a later step fails."""
    with proxied() as (proxy, _):
        settings = JolokiaSettings(contact_points=(ONE,), proxy=proxy.agent.url, jmx=JMX, timeout=2.0)
        proxy.fail(ONE, refused(ONE))
        steps = {step.name: step for step in diagnose(settings, ONE, 4.0).steps}
        reached = ("name", "port", "http", "login", "jolokia")
        assert [steps[name].status for name in reached] == ["ok"] * 5
        assert (steps["bulk"].status, f"JMX of {ONE}:7199" in steps["bulk"].text) == ("failed", True)
    steps = {step.name: step for step in diagnose(settings, ONE, 4.0).steps}
    assert (steps["port"].status, steps["port"].fix[:15]) == ("failed", "start the proxy")


def test_a_proxy_that_wants_another_password_is_named() -> None:
    """HTTP 401 comes from the proxy, and not from a node."""
    with proxied(username="me", password=f"not {SECRET}") as (proxy, source):
        proxy.agent.auth = ("me", SECRET)
        with pytest.raises(SourceError, match=r"^the proxy can't be used: .*HTTP 401, user name or password is wrong"):
            source.poll(2.0)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ({"agent": "1.7.1", "info": {}}, "it is Jolokia 1.7.1 and can't ask other JVMs"),
        ({"agent": "2.1.0", "info": {"proxy": {}}}, "it is Jolokia 2.1.0 and can't ask other JVMs"),
        ({"agent": "2.6.0", "info": {"jmx": {}}}, "it is Jolokia 2.6.0 and can't ask other JVMs"),
        ("none", "it is not a Jolokia agent"),
    ],
)
def test_a_jolokia_that_would_answer_for_itself_is_refused(version: object, text: str) -> None:
    """Jolokia 1.x ignores the target and answers for its own JVM, with status 200."""
    with proxied() as (proxy, source):
        proxy.version = version
        with pytest.raises(SourceError) as caught:
            source.poll(2.0)
    assert f"the proxy {proxy.agent.url} can't be used: {text}" in str(caught.value)


def test_a_proxy_whose_policy_hides_its_version_is_refused() -> None:
    """Without the version it is not known whether it respects the target."""
    with proxied() as (proxy, source):
        proxy.agent.answer = lambda item: failed(item, 403, "java.lang.Exception", "Command type VERSION not allowed")
        with pytest.raises(SourceError, match="its access policy must allow the command `version`"):
            source.poll(2.0)


NO_RMI = "the port does not speak plain RMI: another service listens there, or it wants TLS"
FAILURES = (
    ("refused", 500, "java.io.IOException", refused(TWO), "unreachable", "it refuses the connection"),
    (
        "stale host name", 500, "java.rmi.ConnectException",
        "Connection refused to host: 10.9.9.9; nested exception is: \n\tjava.net.ConnectException: Connection refused",
        "unreachable", "it answers, but its JMX server at 10.9.9.9 does not: see java.rmi.server.hostname",
    ),
    (
        "silent", 500, "java.io.IOException",
        stub("java.rmi.ConnectIOException: error during JRMP connection establishment",
             "java.net.SocketTimeoutException: Read timed out"),
        "unreachable",
        "it accepts connections and does not answer (java.net.SocketTimeoutException: Read timed out)",
    ),
    (
        "TLS", 500, "java.io.IOException",
        stub("java.rmi.ConnectIOException: non-JRMP server at remote endpoint"),
        "unreachable",
        f"{NO_RMI} (java.rmi.ConnectIOException: non-JRMP server at remote endpoint)",
    ),
    (
        "unknown name", 500, "java.io.IOException",
        stub("java.rmi.UnknownHostException: Unknown host: db1", "java.net.UnknownHostException: db1"),
        "unreachable", "the proxy can't resolve its name (java.net.UnknownHostException: db1)",
    ),
    (
        "wrong password", 403, "java.lang.Exception", "Authentication failed! Invalid username or password",
        "denied", "wrong JMX user name or password",
    ),
    (
        "no password", 403, "java.lang.Exception", "Authentication failed! Credentials required",
        "denied", "it requires a JMX user name and password",
    ),
    (
        "not allowed", 403, "java.lang.Exception", f"Target URL {jmx(TWO)} is not allowed by configuration",
        "denied", "the proxy does not allow this target: see its --allow",
    ),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("status", "kind", "error", "state", "line"), [case[1:] for case in FAILURES],
                         ids=[case[0] for case in FAILURES])  # fmt: skip
@pytest.mark.parametrize("prefix", [True, False], ids=["2.2", "2.6"])
def test_what_fails_between_proxy_and_node_is_the_nodes_own_line(
    status: int,
    kind: str,
    error: str,
    state: str,
    line: str,
    prefix: bool,  # noqa: FBT001 - as above
) -> None:
    """The line is as the newest Jolokia writes it, or with the class first as until 2.3; others are still judged."""
    with proxied() as (proxy, source):
        proxy.fail(TWO, f"{kind} : {error}" if prefix else error, status, kind)
        snapshot = source.poll(4.0)
        assert states(snapshot) == {ONE: "ok", TWO: state, THREE: "ok"}
        assert reason(snapshot, TWO) == f"JMX of 127.0.2.2:7199: {line}"
        proxy.failures.clear()
        assert states(source.poll(4.0)) == {ONE: "ok", TWO: "ok", THREE: "ok"}


@pytest.mark.parametrize(
    ("case", "fix"),
    [
        ("refused", "start the node, or let its JMX listen"),
        ("stale host name", "set -Djava.rmi.server.hostname on the node"),
        ("silent", "look at the node"),
        ("TLS", "start the proxy with --tls"),
        ("unknown name", "make this name resolvable on the proxy's host"),
        ("wrong password", "set `jmx_username` and `jmx_password_file`"),
        ("no password", "set `jmx_username` and `jmx_password_file`"),
        ("not allowed", "start `ringcheck jmx-proxy` with an --allow"),
    ],
)
def test_doctor_names_the_fix_for_jmx(case: str, fix: str) -> None:
    """One step fails, with the text that a poll shows and with what to do; later steps are skipped."""
    _, status, kind, error, _, line = next(row for row in FAILURES if row[0] == case)
    with proxied() as (proxy, _):
        settings = JolokiaSettings(contact_points=(TWO,), proxy=proxy.agent.url, jmx=JMX, timeout=2.0)
        proxy.fail(TWO, error, status, kind)
        steps = diagnose(settings, TWO, 4.0).steps
    (failed_step,) = [step for step in steps if step.status == "failed"]
    assert (failed_step.name, failed_step.text) == ("bulk", f"JMX of {TWO}:7199: {line}")
    assert failed_step.fix.startswith(fix)
    assert all(step.status == "skipped" for step in steps[steps.index(failed_step) + 1 :])


def test_doctor_names_the_port_of_jmx_that_the_proxy_can_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers have endpoints with the port of gossip, which nobody asks."""
    monkeypatch.setattr("ringcheck.jolokia.peers._PATIENCE", 0.3)
    with proxied() as (proxy, _):
        proxy.hanging.add(TWO)
        settings = JolokiaSettings(contact_points=(ONE,), proxy=proxy.agent.url, jmx=JMX, timeout=2.0)
        step = diagnose(settings, ONE, 6.0).steps[-1]
        proxy.released.set()
    assert (step.name, f"1 of 2 peers can't be asked from here ({TWO}): " in step.text) == ("peers", True)
    assert step.fix.startswith("let the proxy connect to port 7199 of every node: ")


def test_an_answer_of_jmx_is_not_a_connection_failure() -> None:
    """A missing MBean or a refused operation is judged like the same answer of an agent."""
    assert node_failure(404, "org.apache:type=X", "javax.management.InstanceNotFoundException") is None
    assert node_failure(403, "Access denied! Invalid access level for requested MBeanServer operation.", "x") is None
    assert node_failure(500, "disk full", "java.io.IOException") is None
    assert node_failure(500, None, 7) is None


def test_no_way_of_a_proxy_is_used_without_one() -> None:
    """A JMX URL without a proxy is a configuration mistake."""
    with (
        closing(JolokiaSource(JolokiaSettings(contact_points=(jmx(ONE),)))) as source,
        pytest.raises(ConfigError, match="set `jolokia: proxy`"),
    ):
        source.poll(1.0)


# Single nodes, for a rolling restart


def test_a_node_is_gone_only_if_the_proxy_reports_its_refusal() -> None:
    """A proxy that is itself away refuses the connection, which says nothing about the node's process."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[mbeans.RUNTIME, mbeans.START_TIME] = 77
    with proxied(lab) as (proxy, _):
        settings = JolokiaSettings(contact_points=(ONE,), proxy=proxy.agent.url, jmx=JMX)
        with closing(Control(settings)) as control:
            host_id = lab.host_id(TWO)
            assert control.started_at(TWO, host_id, 3.0) == 77
            proxy.fail(TWO, refused(TWO))
            with pytest.raises(GoneError, match=r"JMX of 127\.0\.2\.2:7199: it refuses the connection"):
                control.started_at(TWO, host_id, 3.0)
            for error, kind in (
                (refused("127.0.2.9"), "java.io.IOException"),  # another host has refused
                (refused(TWO).rpartition("Root exception is ")[2], "java.rmi.ConnectException"),  # the registry answers
                (stub("java.rmi.ConnectIOException: x", "java.net.SocketTimeoutException: Read timed out"), "x"),
            ):
                proxy.fail(TWO, error, error_type=kind)
                with pytest.raises(SourceError) as caught:
                    control.started_at(TWO, host_id, 3.0)
                assert not isinstance(caught.value, GoneError), error
            proxy.agent.stop()
            with pytest.raises(SourceError, match="the proxy does not answer") as caught:
                control.started_at(TWO, host_id, 3.0)
            assert not isinstance(caught.value, GoneError)
            proxy.agent = Agent()


def test_a_node_is_drained_through_the_proxy() -> None:
    """It is drained once, and no other node is."""
    lab = Lab()
    drained: list[str] = []
    for address in lab.addresses:

        def drain(item: dict[str, Any], address: str = address) -> Any:
            drained.append(address)
            return ok(item, None)

        lab.nodes[address].operations["drain",] = drain
    with proxied(lab) as (proxy, _):
        settings = JolokiaSettings(contact_points=(ONE,), proxy=proxy.agent.url, jmx=JMX)
        with closing(Control(settings)) as control:
            control.drain(TWO, lab.host_id(TWO), 3.0)
    assert drained == [TWO]


# Where single nodes are


def by_host_id(lab: Lab, address: str) -> str:
    return lab.host_id(address)


def by_address(_: Lab, address: str) -> str:
    return address


def by_endpoint(_: Lab, address: str) -> str:
    return f"{address}:7000"


@pytest.mark.parametrize("name", [by_host_id, by_address, by_endpoint])
def test_nodes_are_asked_where_the_configuration_has_them(name: Callable[[Lab, str], str]) -> None:
    """By host id, address or endpoint, in polls and for `roll`; the URL template leads nowhere."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[mbeans.RUNTIME, mbeans.START_TIME] = int(address[-1])
    with Agent(lab.nodes[ONE]) as one, Agent(lab.nodes[TWO]) as two, Agent(lab.nodes[THREE]) as three:
        urls = {name(lab, address): agent.url for address, agent in ((TWO, two), (THREE, three))}
        settings = JolokiaSettings(contact_points=(one.url,), url="http://{address}:1/jolokia", nodes=urls)
        with closing(JolokiaSource(settings)) as source:
            assert states(source.poll(4.0)) == {ONE: "ok", TWO: "ok", THREE: "ok"}
        with closing(Control(settings)) as control:
            endpoint = f"{THREE}:7000" if name is by_endpoint else THREE
            assert control.started_at(endpoint, lab.host_id(THREE), 3.0) == 3


def test_nodes_are_found_by_the_names_of_their_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name means the addresses that it resolves to; one that does not resolve means none."""
    known = {"db2.test": TWO, "db3.test": THREE}
    resolve = socket.getaddrinfo

    def resolved(host: str, *rest: Any, **options: Any) -> Any:
        if host == "gone.test":
            raise socket.gaierror("no such name")
        return resolve(known.get(host, host), *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr("ringcheck.jolokia.control.getaddrinfo", resolved)
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[mbeans.RUNTIME, mbeans.START_TIME] = int(address[-1])
    with Agent(lab.nodes[ONE]) as one, Agent(lab.nodes[TWO]) as two, Agent(lab.nodes[THREE]) as three:
        urls = {"db2.test": two.url, "db3.test": three.url, "gone.test": "http://127.0.0.1:1/jolokia"}
        settings = JolokiaSettings(contact_points=(one.url,), url="http://{address}:1/jolokia", nodes=urls)
        with closing(JolokiaSource(settings)) as source:
            assert states(source.poll(4.0)) == {ONE: "ok", TWO: "ok", THREE: "ok"}
        with closing(Control(settings)) as control:
            assert control.started_at(THREE, lab.host_id(THREE), 3.0) == 3


def test_instances_of_one_host_are_distinguished_by_their_ports() -> None:
    """Two nodes share an address, and each is asked at its own URL."""
    endpoints = {ONE: f"{ONE}:7000", TWO: f"{ONE}:7001", THREE: f"{THREE}:7000"}
    lab = Lab(endpoints=endpoints)
    with Agent(lab.nodes[ONE]) as one, Agent(lab.nodes[TWO]) as two, Agent(lab.nodes[THREE]) as three:
        urls = {endpoints[ONE]: one.url, endpoints[TWO]: two.url, THREE: three.url}
        settings = JolokiaSettings(contact_points=(three.url,), url="http://{address}:1/jolokia", nodes=urls)
        with closing(JolokiaSource(settings)) as source:
            snapshot = source.poll(4.0)
    assert set(states(snapshot).values()) == {"ok"}
    assert len(snapshot.nodes) == 3


def test_an_agent_of_another_node_is_not_believed() -> None:
    """If two URLs are swapped, each shows the other node: both are found all the same, by their host ids."""
    lab = Lab()
    with Agent(lab.nodes[ONE]) as one, Agent(lab.nodes[TWO]) as two, Agent(lab.nodes[THREE]) as three:
        urls = {TWO: three.url, THREE: two.url}
        settings = JolokiaSettings(contact_points=(one.url,), url="http://{address}:1/jolokia", nodes=urls)
        with closing(JolokiaSource(settings)) as source:
            snapshot = source.poll(4.0)
    assert {node.address: node.host_id for node in snapshot.nodes} == {name: lab.host_id(name) for name in lab.nodes}


def test_some_nodes_may_have_agents_beside_a_proxy() -> None:
    """An http URL in `nodes` is asked directly."""
    lab = Lab()
    with Agent(lab.nodes[THREE]) as three, proxied(lab, nodes={THREE: three.url}) as (proxy, source):
        snapshot = source.poll(4.0)
        assert states(snapshot) == {ONE: "ok", TWO: "ok", THREE: "ok"}
        assert three.items
        assert all("target" not in item for item in three.items)
        assert jmx(THREE) not in {item.get("target", {}).get("url") for item in proxy.agent.items}


# Locations


@pytest.mark.parametrize(
    ("contact", "location", "shown"),
    [
        ("10.0.0.4", "service:jmx:rmi:///jndi/rmi://10.0.0.4:7199/jmxrmi", "JMX of 10.0.0.4:7199"),
        ("db1:7299", "service:jmx:rmi:///jndi/rmi://db1:7299/jmxrmi", "JMX of db1:7299"),
        ("2001:db8::1", "service:jmx:rmi:///jndi/rmi://[2001:db8::1]:7199/jmxrmi", "JMX of [2001:db8::1]:7199"),
        ("[2001:db8::1]:72", "service:jmx:rmi:///jndi/rmi://[2001:db8::1]:72/jmxrmi", "JMX of [2001:db8::1]:72"),
        (jmx("db9"), "service:jmx:rmi:///jndi/rmi://db9:7199/jmxrmi", "JMX of db9:7199"),
        ("http://u:p@db1:8778/jolokia", "http://u:p@db1:8778/jolokia", "http://db1:8778/jolokia"),
    ],
)
def test_contact_points_with_a_proxy(contact: str, location: str, shown: str) -> None:
    """Ports are those of JMX, IPv6 addresses are in brackets, and URLs are used unchanged."""
    settings = JolokiaSettings(contact_points=(contact,), proxy="http://127.0.0.1:8779/jolokia")
    assert settings.url_of_contact(contact) == location
    assert place(location) == shown


@pytest.mark.parametrize(
    "url",
    ["service:jmx:rmi:///jndi/ldap://10.0.0.1/x", "service:jmx:rmi:///jndi/rmi://", "service:jmx:jmxmp://h:1", ""],
)
def test_other_jmx_urls_are_refused(url: str) -> None:
    """A look-up over LDAP would let the proxy load foreign code."""
    with pytest.raises(ConfigError):
        jmx_end(url)
