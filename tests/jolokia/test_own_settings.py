"""What each node tells of its own configuration: no node can answer for another."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy, Severity
from ringcheck.http.loop import RequestLimit
from ringcheck.http.threads import WorkerThreads
from ringcheck.jolokia import mbeans, own_settings
from ringcheck.jolokia.loop import OnLoop
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import denied, failed, missing_attribute, ok, send
from tests.jolokia.scripted import CREDENTIALS, ONE, THREE, TWO, Lab, asked_of, refuse_if
from tests.jolokia.test_client import requests_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from http.server import BaseHTTPRequestHandler

    from ringcheck.core.ring import Snapshot

PROPERTIES = (mbeans.AUTH_PROPERTIES, "ReadConsistencyLevel")
VALIDITY = (CREDENTIALS, "Validity")
DATACENTER, RACK = mbeans.DATACENTER, mbeans.RACK
KEYSPACES = {"orders": "NetworkTopologyStrategy {dc1=3}", "system_auth": "NetworkTopologyStrategy {dc1=2}"}


def lab(levels: Sequence[str | None] = (None, None, None), **options: Any) -> Lab:
    """Three nodes, whose clients log in where the node has a level."""
    made = Lab(keyspaces=KEYSPACES, **options)
    for level, address in zip(levels, made.addresses, strict=True):
        node = made.nodes[address]
        node.other |= {PROPERTIES: level, VALIDITY: 2000} if level else {}
    return made


def levels_watched(seen: Snapshot) -> dict[str, Severity | None]:
    verdict = assess(seen, Policy())
    auth = next((one for one in verdict.keyspaces if one.name == "system_auth"), None)
    return {str(level.level): level.severity for level in auth.levels} if auth else {}


@pytest.mark.slow
@pytest.mark.parametrize("levels", list(permutations(["LOCAL_ONE", "LOCAL_QUORUM", "QUORUM"])))
@pytest.mark.parametrize("contact", [ONE, THREE])
def test_logins_are_watched_at_the_level_of_every_node(levels: Sequence[str], contact: str) -> None:
    """The level can be changed on one node after the other; the source of the ring says nothing about the others."""
    with lab(levels).running(contact) as running:
        seen = running.poll()
    assert [node.auth_read_level for node in seen.nodes] == list(levels)
    assert levels_watched(seen) == dict.fromkeys(("QUORUM", "LOCAL_QUORUM", "LOCAL_ONE"), Severity.OK)


@pytest.mark.slow
@pytest.mark.parametrize("with_logins", range(3))
@pytest.mark.parametrize("contact", [ONE, TWO, THREE])
def test_logins_are_watched_if_one_node_asks_for_them(with_logins: int, contact: str) -> None:
    """While an authenticator is introduced, the verdict does not depend on the node that is asked first."""
    levels: list[str | None] = [None, None, None]
    levels[with_logins] = "LOCAL_QUORUM"
    with lab(levels).running(contact) as running:
        seen = running.poll()
    assert seen.authenticates is True
    assert levels_watched(seen) == {"LOCAL_QUORUM": Severity.OK}


def test_logins_are_not_watched_if_every_node_denies_them() -> None:
    """Then there is only a note."""
    with lab().running() as running:
        seen = running.poll()
    assert seen.authenticates is False
    assert levels_watched(seen) == {}


@pytest.mark.parametrize("number", range(3))
def test_a_policy_that_hides_logins_on_one_node_does_not_end_the_watch(number: int) -> None:
    """What can't be read is not denied."""
    made = lab()
    made.nodes[made.addresses[number]].other[VALIDITY] = denied
    with made.running() as running:
        assert running.poll().authenticates is True


def test_the_level_follows_a_restart_in_the_next_poll() -> None:
    """A new process is asked again."""
    made = lab(["LOCAL_QUORUM"] * 3)
    with made.running() as running:
        running.poll()
        made.nodes[TWO].other[PROPERTIES] = "QUORUM"
        assert {node.auth_read_level for node in running.poll().nodes} == {"LOCAL_QUORUM"}
        made.nodes[TWO].attributes["CurrentGenerationNumber"] += 1000
        assert [node.auth_read_level for node in running.poll().nodes] == ["LOCAL_QUORUM", "QUORUM", "LOCAL_QUORUM"]


def test_a_level_that_is_set_over_jmx_is_seen_after_a_while() -> None:
    """Each node is asked once in many polls, within its one request of that poll."""
    made = lab(["LOCAL_QUORUM"] * 3)
    with made.running() as running:
        running.poll()
        made.nodes[TWO].other[PROPERTIES] = "QUORUM"
        running.poll()
        posts, asked = running.cluster.posts, len(running.cluster.agents[TWO].payloads)
        for _ in range(own_settings.EVERY):
            seen = running.poll()
        assert running.cluster.posts - posts == 3 * own_settings.EVERY
        assert asked_of(running, TWO, asked).count("ReadConsistencyLevel") == 1
    assert [node.auth_read_level for node in seen.nodes] == ["LOCAL_QUORUM", "QUORUM", "LOCAL_QUORUM"]
    assert [view.outcome for view in seen.views] == ["ok"] * 3


def test_settings_of_a_node_that_starts_are_asked_for_when_it_serves_clients() -> None:
    """Until then the MBeans may be missing, which would pass for no logins."""
    made = lab(["LOCAL_QUORUM"] * 3)
    node = made.nodes[THREE]
    node.attributes["NativeTransportRunning"] = False
    kept = {name: node.other.pop(name) for name in (PROPERTIES, VALIDITY)}
    with made.running() as running:
        assert running.poll().nodes[2].auth_read_level is None
        node.attributes["NativeTransportRunning"] = True
        node.other |= kept
        assert running.poll().nodes[2].auth_read_level == "LOCAL_QUORUM"


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("contact", [ONE, TWO])
@pytest.mark.parametrize(
    ("operation", "own", "place"),
    [(DATACENTER, "dc2", "dc2, r{}"), (RACK, "r9", "dc1, r9")],
    ids=["datacenter", "rack"],
)
def test_a_node_that_places_itself_elsewhere_is_a_contradiction(
    number: int, contact: str, operation: str, own: str, place: str
) -> None:
    """Its clients' local replicas are others than the ring shows: not OK, and no node is SAFE."""
    made = lab()
    address = made.addresses[number]
    for written in (address, made.endpoint(address)):
        made.nodes[address].operations[operation, written] = own
    with made.running(contact) as running:
        seen = running.poll()
    places = place.format(number + 1), f"dc1, r{number + 1}"
    text = f"{address} places itself in {places[0]}, and the ring that was read has it in {places[1]}"
    assert [(one.code, one.subject, one.summary) for one in seen.problems] == [("location_disagreement", address, text)]
    assert assess(seen, Policy()).severity is Severity.UNKNOWN
    gatekeeper = Gatekeeper(seen, Policy(), Gate())
    for node in seen.nodes:
        decision = gatekeeper.decide((node.address,))
        assert decision.decision == ("unknown" if node.address == address else "unsafe")  # nothing counts on that node
        assert "contradiction" in {reason.code for reason in decision.reasons}


@pytest.mark.slow
@pytest.mark.parametrize("release", ["3.11.19", "5.0.8"])
@pytest.mark.parametrize("contact", [ONE, TWO])
@pytest.mark.parametrize(("asker", "about"), [(TWO, TWO), (THREE, TWO), (ONE, TWO)])
def test_a_node_without_host_id_is_asked_about_too(release: str, contact: str, asker: str, about: str) -> None:
    """If no node lists its host id, it is known by its endpoint."""
    made = lab(release=release)
    for address in made.addresses:
        made.knows(address, {one: made.host_id(one) for one in made.addresses if one != about})
    for written in (about, made.endpoint(about)):
        made.nodes[asker].operations[DATACENTER, written] = "dc2"
    with made.running(contact) as running:
        seen = running.poll()
    assert ("location_disagreement", about) in {(problem.code, problem.subject) for problem in seen.problems}


@pytest.mark.parametrize("place", ["dc2", "UNKNOWN_DC"])
@pytest.mark.parametrize(("asker", "about"), [(THREE, TWO), (THREE, ONE), (TWO, THREE)])
def test_a_node_that_places_a_peer_elsewhere_is_a_contradiction(asker: str, about: str, place: str) -> None:
    """As a coordinator it counts other replicas as local. A snitch that was asked too early knows a peer by no name."""
    made = lab()
    for written in (about, made.endpoint(about)):
        made.nodes[asker].operations[DATACENTER, written] = place
    with made.running() as running:
        seen = running.poll()
    assert [(problem.code, problem.subject) for problem in seen.problems] == [("location_disagreement", about)]
    assert seen.problems[0].summary.startswith(f"{asker} places {about} in {place}, ")
    assert assess(seen, Policy()).severity is Severity.UNKNOWN


def test_a_corrected_location_is_seen_in_the_next_poll() -> None:
    """While there is a contradiction, the node is asked in each poll; also if it becomes the source of the ring."""
    made = lab()
    for written in (TWO, made.endpoint(TWO)):
        made.nodes[TWO].operations[DATACENTER, written] = "dc2"
    with made.running(ONE, TWO) as running:
        assert [problem.code for problem in running.poll().problems] == ["location_disagreement"]
        assert [problem.code for problem in running.poll().problems] == ["location_disagreement"]
        for written in (TWO, made.endpoint(TWO)):
            made.nodes[TWO].operations[DATACENTER, written] = "dc1"
        assert running.poll().problems == ()


@pytest.mark.parametrize("late", ["not serving", "failed"])
def test_a_node_that_could_not_be_asked_is_asked_as_soon_as_it_can(late: str) -> None:
    """A node is NORMAL some seconds before it serves clients, and an answer may be lost."""
    made = lab()
    node = made.nodes[TWO]
    for written in (TWO, made.endpoint(TWO)):
        node.operations[DATACENTER, written] = "dc2"
    with made.running() as running:
        if late == "failed":
            agent = running.cluster.agents[TWO]

            def fail_once(handler: Any, body: bytes) -> None:
                if b"getDatacenter" in body:
                    agent.raw = None
                    send(handler, b"", status=503)
                else:
                    agent.raw = None
                    agent._serve(handler, body)
                    agent.raw = fail_once

            agent.raw = fail_once
        else:
            node.attributes["NativeTransportRunning"] = False
        assert not running.poll().problems
        node.attributes["NativeTransportRunning"] = True
        assert [problem.code for problem in running.poll().problems] == ["location_disagreement"]


@pytest.mark.parametrize("late", ["not live", "thrown"])
def test_what_was_missing_in_an_answer_is_asked_again(late: str) -> None:
    """A peer may be down for a moment, or the snitch may throw once; nothing else changes when that is over."""
    made = lab()
    written = (TWO, made.endpoint(TWO))
    if late == "thrown":
        thrown = [failed({}, 500, "java.lang.IllegalStateException")]
        for name in written:
            made.nodes[THREE].operations[DATACENTER, name] = lambda item: thrown.pop() if thrown else ok(item, "dc2")
    else:
        made.lists(THREE, "LiveNodes", [ONE, THREE])
        made.lists(THREE, "UnreachableNodes", [TWO])
        for name in written:
            made.nodes[THREE].operations[DATACENTER, name] = "dc2"
    with made.running() as running:
        assert running.poll().problems == ()
        made.lists(THREE, "LiveNodes", [ONE, TWO, THREE])
        made.lists(THREE, "UnreachableNodes", [])
        assert [problem.code for problem in running.poll().problems] == ["location_disagreement"]


@pytest.mark.parametrize(("status", "most"), [(403, 0), (503, 3)])
def test_a_node_that_does_not_answer_about_locations_is_not_asked_in_each_poll(status: int, most: int) -> None:
    """A refusal is an answer; after another failure the node is asked a few times at once, and then seldom."""
    made = lab()
    with made.running() as running:
        refuse_if(running.cluster.agents[TWO], lambda body: b"getDatacenter" in body, status)
        assert running.poll().problems == ()
        posts = running.cluster.posts
        for _ in range(10):
            assert [view.outcome for view in running.poll().views] == ["ok"] * 3
        assert running.cluster.posts - posts <= 30 + most


@pytest.mark.slow
def test_a_restarted_node_of_a_large_cluster_is_asked_in_the_next_poll() -> None:
    """Whether or not it is its turn to be asked for the members that it knows."""
    made = Lab(count=20, keyspaces=KEYSPACES)
    for address in made.addresses:
        made.nodes[address].other |= {PROPERTIES: "LOCAL_ONE", VALIDITY: 2000}
    with made.running() as running:
        running.poll(20)
        for address in made.addresses[::3]:
            made.nodes[address].attributes["CurrentGenerationNumber"] += 1000
            made.nodes[address].other[PROPERTIES] = "ALL"
        seen = running.poll(20)
    assert [node.auth_read_level for node in seen.nodes[::3]] == ["ALL"] * 7


def test_a_coordinator_without_tokens_is_asked_too() -> None:
    """With `join_ring=false` a node stays STARTING and serves clients: their logins are read as it reads them."""
    made = lab(["LOCAL_ONE", "LOCAL_ONE", "QUORUM"])
    made.nodes[THREE].attributes["OperationMode"] = "STARTING"
    with made.running() as running:
        assert running.poll().nodes[2].auth_read_level == "QUORUM"


def test_a_level_that_a_node_does_not_report_may_be_the_default() -> None:
    """A restarted node has the level of its configuration again, and reports it with the first login."""
    made = lab(["LOCAL_ONE"] * 3)
    with made.running() as running:
        assert levels_watched(running.poll()) == {"LOCAL_ONE": Severity.OK}
        node = made.nodes[THREE]
        node.attributes["CurrentGenerationNumber"] += 1000
        level = node.other.pop(PROPERTIES)
        assert levels_watched(running.poll()) == {"LOCAL_QUORUM": Severity.OK, "LOCAL_ONE": Severity.OK}
        node.other[PROPERTIES] = level
        assert levels_watched(running.poll()) == {"LOCAL_ONE": Severity.OK}


@pytest.mark.slow
def test_a_rolling_restart_does_not_end_the_watch_on_logins() -> None:
    """An authenticator that only AuthProperties shows is invisible from the restart to the first login."""
    made = lab(["LOCAL_QUORUM"] * 3)
    for node in made.nodes.values():
        del node.other[VALIDITY]
    with made.running() as running:
        assert running.poll().authenticates is True
        for node in made.nodes.values():
            node.attributes["CurrentGenerationNumber"] += 1000
            del node.other[PROPERTIES]
            assert running.poll().authenticates is True
        for _ in range(own_settings.EVERY - 2):
            assert running.poll().authenticates is True
        for _ in range(2 * own_settings.EVERY + 2):
            seen = running.poll()
        assert seen.authenticates is False


def unavailable(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    send(handler, b"", status=503)


def test_a_silent_node_keeps_its_level() -> None:
    """Its clients are still served while only its agent does not answer."""
    made = lab(["LOCAL_ONE", "LOCAL_ONE", "QUORUM"])
    with made.running() as running:
        running.poll()
        running.cluster.agents[THREE].raw = unavailable
        seen = running.poll()
    assert (seen.nodes[2].source, seen.nodes[2].auth_read_level) == ("error", "QUORUM")


@pytest.mark.slow
def test_every_node_of_a_large_cluster_is_asked_in_the_first_poll() -> None:
    """The verdict does not depend on a node's place in the list."""
    made = Lab(count=40, keyspaces=KEYSPACES)
    for address in made.addresses:
        made.nodes[address].other |= {PROPERTIES: "LOCAL_ONE", VALIDITY: 2000}
    made.nodes[made.addresses[4]].other[PROPERTIES] = "ALL"
    with made.running() as running:
        seen = running.poll(20)
    assert [node.auth_read_level for node in seen.nodes if node.auth_read_level != "LOCAL_ONE"] == ["ALL"]


def test_the_agent_asks_for_locations_in_its_second_poll() -> None:
    """The first verdicts of many clusters are urgent; later, a node is asked as soon as it was restarted."""
    made = lab()
    with made.running() as running, asyncio.Runner() as runner:
        asking = OnLoop(requests_of(timeout=2.0), WorkerThreads(1), RequestLimit(8))
        settings = JolokiaSettings(contact_points=(ONE,), url=running.cluster.template, timeout=2.0)
        source = JolokiaSource(settings, asking=asking)

        def poll() -> set[tuple[str, str]]:
            seen = runner.run(source.poll_on_loop(4.0))
            return {(problem.code, problem.subject) for problem in seen.problems}

        def move(address: str) -> None:
            for written in (address, made.endpoint(address)):
                made.nodes[address].operations[DATACENTER, written] = "dc2"

        move(TWO)
        assert poll() == set()
        assert poll() == {("location_disagreement", TWO)}
        move(THREE)
        assert poll() == {("location_disagreement", TWO)}
        made.nodes[THREE].attributes["CurrentGenerationNumber"] += 1000
        assert poll() == {("location_disagreement", TWO), ("location_disagreement", THREE)}
        source.close()


@pytest.mark.slow
@pytest.mark.parametrize("about", [7, 0])
def test_a_node_of_a_large_cluster_is_asked_about_itself_and_the_source_of_the_ring(about: int) -> None:
    """It may place either of them elsewhere than the ring that was read; the first node is the source."""
    made = Lab(count=20, keyspaces=KEYSPACES)
    address = made.addresses[about]
    for written in (address, made.endpoint(address)):
        made.nodes[made.addresses[7]].operations[DATACENTER, written] = "dc2"
    with made.running() as running:
        seen = running.poll(20)
    assert [(problem.code, problem.subject) for problem in seen.problems] == [("location_disagreement", address)]


@pytest.mark.parametrize(("operation", "own"), [(DATACENTER, "dc2"), (RACK, "r9")])
def test_the_source_of_the_ring_may_be_the_one_that_is_wrong(operation: str, own: str) -> None:
    """The other nodes are asked where they place it: what it says of itself is no better than what they say."""
    made = lab()
    for written in (ONE, made.endpoint(ONE)):
        made.nodes[ONE].operations[operation, written] = own
    with made.running() as running:
        seen = running.poll()
    assert ("location_disagreement", ONE) in {(one.code, one.subject) for one in seen.problems}
    assert assess(seen, Policy()).severity in {Severity.UNKNOWN, Severity.CRITICAL}
    gatekeeper = Gatekeeper(seen, Policy(), Gate())
    assert not any(gatekeeper.decide((node.address,)).decision == "safe" for node in seen.nodes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        denied,
        missing_attribute,
        lambda item: failed(item, 500, "java.lang.IllegalStateException"),
        7,
        None,
    ],
)
def test_a_node_that_does_not_tell_its_location_is_believed(answer: Callable[[Any], Any]) -> None:
    """Another answer than a location says nothing."""
    made = lab()
    for written in (TWO, made.endpoint(TWO)):
        made.nodes[TWO].operations[DATACENTER, written] = answer
    with made.running() as running:
        seen = running.poll()
        assert [view.outcome for view in running.poll().views] == ["ok"] * 3
    assert seen.problems == ()


@pytest.mark.parametrize("release", ["3.11.19", "5.0.8"])
def test_a_refused_bulk_does_not_cost_the_view(release: str) -> None:
    """An agent that answers single requests only is asked singly."""
    made = lab(["LOCAL_QUORUM"] * 3, release=release)
    with made.running() as running:
        refuse_if(running.cluster.agents[TWO], lambda body: body.startswith(b"["), 400, b"400 (Bad Request)")
        for _ in range(3):
            assert [view.outcome for view in running.poll().views] == ["ok"] * 3
        since = len(asked_of(running, TWO))
        made.lists(TWO, "LiveNodes", [ONE, TWO])
        made.lists(TWO, "UnreachableNodes", [THREE])
        assert running.poll().views[1].unreachable == frozenset({THREE})
        assert len(asked_of(running, TWO)) - since <= 3  # not each attribute alone
