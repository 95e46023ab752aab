"""How each line of Jolokia writes values, errors and refusals: real agents in a JVM other than Cassandra."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.jolokia import mbeans, outcomes
from ringcheck.jolokia.client import Client, RefusedError, Requests
from ringcheck.jolokia.endpoints import endpoint
from ringcheck.jolokia.settings import JolokiaSettings
from tests.cassandra import artifacts
from tests.cassandra.conftest import chosen_jolokias, require_tools
from tests.cassandra.test_jmx_proxy import free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cassandra

PROBE, ABSENT = "probe:type=Probe", "probe:type=Absent"
SOURCE = Path(__file__).with_name("JolokiaProbe.java")
POLICY = f"""<restrict><commands><command>version</command></commands><allow>
<mbean><name>{PROBE}</name><attribute mode="read">LiveNodes</attribute><operation>getRanges</operation></mbean>
<mbean><name>{ABSENT}</name><operation>describeCMS</operation></mbean></allow></restrict>"""
# An agent's own limits, which would truncate the lists of a large cluster without notice.
LIMITS = {"maxCollectionSize": "1", "maxDepth": "1", "maxObjects": "5"}
COLLAPSES = ("1", "2", "2.3", "2.4")  # lines in which one Error replaces the reply to a whole bulk


class Agent:
    """The client of ringcheck, and the agent that it asks."""

    def __init__(self, port: int, client: Client) -> None:
        self._url = f"http://127.0.0.1:{port}/jolokia"
        self._client = client

    def post(self, payload: object) -> Any:
        return self._client.post(self._url, payload, time.monotonic() + 60)

    def ask(self, request: dict[str, Any]) -> outcomes.Outcome:
        return outcomes.outcome(self.post(request))

    def value(self, request: dict[str, Any]) -> Any:
        return self.ask(request).get("value")

    def wait(self) -> None:
        """Wait until the MBean is registered; the agent may start earlier."""
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.ask(live_nodes()).status == outcomes.OK:
                    return
            except RingcheckError:
                pass  # the agent is starting
            assert time.monotonic() < deadline
            time.sleep(0.1)


def live_nodes() -> dict[str, Any]:
    return mbeans.read(PROBE, "LiveNodes")


def ranges(keyspace: str, *more: str) -> dict[str, Any]:
    return mbeans.run(PROBE, "getRanges", keyspace, *more)


@pytest.fixture(scope="module", params=chosen_jolokias(("1", "2", "2.6")))
def line(request: pytest.FixtureRequest) -> str:
    require_tools()
    return str(request.param)


@pytest.fixture(scope="module")
def agents(line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, Agent]]:
    """One agent that answers everything, and one with a policy; both have limits."""
    policy = tmp_path_factory.mktemp("policy") / "policy.xml"
    policy.write_text(POLICY)
    with ExitStack() as stack:
        client = stack.enter_context(closing(Client(Requests(JolokiaSettings(contact_points=(), timeout=20.0)))))
        started = []
        for more in ({}, {"policyLocation": policy.as_uri()}):
            port = free_port()
            options = {"host": "127.0.0.1", "port": str(port), "discoveryEnabled": "false", **LIMITS, **more}
            given = ",".join(f"{name}={value}" for name, value in options.items())
            agent = f"-javaagent:{artifacts.jolokia_agent(line)}={given}"
            stack.enter_context(running("java", "-Xmx96m", "-XX:TieredStopAtLevel=1", agent, str(SOURCE), port=port))
            started.append(Agent(port, client))
        for one in started:
            one.wait()
        yield started[0], started[1]


def test_values_are_complete_and_of_one_form(agents: tuple[Agent, Agent]) -> None:
    """The agent's own limits truncate no list; an address is read correctly both as a key and as a value."""
    open_, _ = agents
    assert open_.value(live_nodes()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
    found = open_.value(ranges("orders"))
    assert found == {f"[{start}, {start + 1}]": ["10.0.0.1", "10.0.0.2"] for start in range(4)}
    assert [endpoint(name) for name in open_.value(mbeans.read(PROBE, "Ownership"))] == ["10.0.0.1"]
    assert [endpoint(value) for value in open_.value(mbeans.read(PROBE, "Endpoints"))] == ["10.0.0.1"]
    assert outcomes.number(open_.value(mbeans.read(PROBE, "StartTime")), "StartTime") == 2**63 - 1


def test_an_error_of_java_in_a_bulk(agents: tuple[Agent, Agent], line: str) -> None:
    """It replaces the other answers of the bulk in some lines of Jolokia; asked alone it always has its own text."""
    open_, _ = agents
    found = outcomes.outcomes(open_.post([live_nodes(), ranges("nope"), live_nodes()]), 3)
    if line in COLLAPSES:
        assert found is None  # the signal to ask one by one
    else:
        assert found is not None
        assert [item.status for item in found] == [outcomes.OK, outcomes.THROWN, outcomes.OK]
    alone = open_.ask(ranges("nope"))
    assert (alone.status, alone.error[-len("Unknown keyspace nope") :]) == (outcomes.THROWN, "Unknown keyspace nope")


def test_what_does_not_exist(agents: tuple[Agent, Agent]) -> None:
    """A missing MBean is distinguished from a missing attribute; a missing operation is an error."""
    open_, _ = agents
    assert outcomes.is_missing_mbean(open_.ask(mbeans.read(ABSENT, "LiveNodes")))
    attribute = open_.ask(mbeans.read(PROBE, "Nothing"))
    assert attribute.status == outcomes.NOT_FOUND
    assert not outcomes.is_missing_mbean(attribute)
    with pytest.raises(DataError, match="nothing"):
        open_.value(mbeans.run(PROBE, "nothing"))


def test_a_bad_item_in_a_bulk(agents: tuple[Agent, Agent]) -> None:
    """Only the bad item fails, or the whole bulk is refused; the other items are never read wrongly."""
    open_, _ = agents
    try:
        found = outcomes.outcomes(open_.post([ranges("orders", "too many"), live_nodes()]), 2)
    except RefusedError:
        return
    assert found is not None
    assert found[0].status in {400, outcomes.THROWN}
    assert len(found[1].get("LiveNodes")) == 4


def test_what_a_policy_denies(agents: tuple[Agent, Agent]) -> None:
    """A denied item has its reason and does not affect the others; an allowed item that the JVM lacks is missing."""
    _, guarded = agents
    with pytest.raises(SourceError, match=r"^value: the agent refuses: Reading attribute Ownership is forbidden"):
        guarded.value(mbeans.read(PROBE, "Ownership"))
    with pytest.raises(SourceError, match=r"^value: the agent refuses: Operation drain forbidden"):
        guarded.value(mbeans.run(PROBE, "drain"))
    found = outcomes.outcomes(guarded.post([mbeans.read(PROBE, "Ownership"), live_nodes()]), 2)
    assert found is not None
    assert [item.status for item in found] == [outcomes.FORBIDDEN, outcomes.OK]
    assert len(found[1].value) == 4
    assert outcomes.is_missing_mbean(guarded.ask(mbeans.run(ABSENT, "describeCMS")))
