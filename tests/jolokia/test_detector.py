"""Nodes that a coordinator lists as live, but that its failure detector has down: seen on 5.0.8 after restarts."""

from __future__ import annotations

from typing import Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.jolokia import endpoint
from tests.fake_jolokia import denied, failed
from tests.jolokia.scripted import FAILURE_DETECTOR, ONE, THREE, TWO, Lab, asked_of

ALL_PAGES = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ALL)),))
GHOST = "127.0.2.9"


def detects(lab: Lab, address: str, *down: str, among: tuple[str, ...] = ()) -> None:
    """Set whom the failure detector of a node has down; its lists stay as they are."""
    known = (*lab.addresses, *among)
    other = lab.nodes[address].other
    states = {item: "DOWN" if item in down else "UP" for item in known}
    other[FAILURE_DETECTOR, "DownEndpointCount"] = len(down)
    other[FAILURE_DETECTOR, "SimpleStates"] = {f"/{item}": state for item, state in states.items()}
    if lab.modern:
        written = {f"host/{lab.endpoint(item)}": state for item, state in states.items()}
        other[FAILURE_DETECTOR, "SimpleStatesWithPort"] = written


def states_asked(running: Any, address: str) -> int:
    return sum("SimpleStates" in name for name in asked_of(running, address))


@pytest.mark.parametrize("release", ["3.11.19", "5.0.8"])
def test_a_live_node_that_the_failure_detector_has_down_is_not_reached(release: str) -> None:
    """The coordinator answers Unavailable, whatever its list says; the verdict names it, and the gate counts it."""
    lab = Lab(release=release)
    for address in lab.addresses:
        detects(lab, address)
    detects(lab, ONE, THREE)
    with lab.running() as running:
        snapshot = running.poll()
        verdict = assess(snapshot, ALL_PAGES)
        assert verdict.severity is Severity.CRITICAL
        found = {finding.code: finding.summary for finding in verdict.findings}
        assert found["live_but_down"] == (
            f"{ONE} lists {THREE} as live, but its failure detector has it down: no query from there reaches it"
        )
        assert found["view_disagreement"] == f"{THREE} is down for {ONE} but up for {TWO}, {THREE}"
        decision = Gatekeeper(snapshot, Policy(), Gate(settle=0)).decide([TWO])
        assert (decision.decision, decision.reasons[0].code) == ("unsafe", "would_become_unavailable")
        detects(lab, ONE)
        assert assess(running.poll(), ALL_PAGES).severity is Severity.OK


def test_a_node_that_died_again_is_down_also_if_it_is_not_asked() -> None:
    """A restarted node that dies before its echo stays among the live nodes for good."""
    lab = Lab()
    detects(lab, ONE, THREE)
    with lab.running(without=(THREE,), views="contact_points") as running:
        for _ in range(3):
            verdict = assess(running.poll(), ALL_PAGES)
            assert (verdict.severity, verdict.states) == (Severity.CRITICAL, ("up", "up", "down"))


def test_former_members_are_asked_about_once() -> None:
    """The failure detector has them down for days; nothing changes by that, and a change of the lists is noticed."""
    lab = Lab()
    detects(lab, ONE, GHOST, among=(GHOST,))
    with lab.running() as running:
        first = running.poll()
        assert assess(first, ALL_PAGES).severity is Severity.OK
        assert states_asked(running, ONE) == 1
        assert running.poll().views == first.views
        assert states_asked(running, ONE) == 1
        detects(lab, ONE, GHOST, THREE, among=(GHOST,))
        assert assess(running.poll(), ALL_PAGES).severity is Severity.CRITICAL


def test_a_change_that_leaves_the_number_alone_is_noticed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A former member is forgotten as another node goes down: the node is asked again after some polls."""
    monkeypatch.setattr(endpoint, "_POLLS", 3)
    lab = Lab()
    detects(lab, ONE, GHOST, among=(GHOST,))
    with lab.running() as running:
        running.poll()
        detects(lab, ONE, THREE)
        severities = [assess(running.poll(), ALL_PAGES).severity for _ in range(4)]
    assert severities == [Severity.OK, Severity.OK, Severity.CRITICAL, Severity.CRITICAL]


@pytest.mark.parametrize("name", ["DownEndpointCount", "SimpleStatesWithPort"])
def test_an_access_policy_that_forbids_it(name: str) -> None:
    """The lists are believed, as far as they go."""
    lab = Lab()
    detects(lab, ONE, THREE)
    lab.nodes[ONE].other[FAILURE_DETECTOR, name] = denied
    with lab.running() as running:
        assert assess(running.poll(), ALL_PAGES).severity is Severity.OK
        asked = states_asked(running, ONE)
        assert assess(running.poll(), ALL_PAGES).severity is Severity.OK
        assert states_asked(running, ONE) == asked


def test_states_that_fail_once_cost_the_view() -> None:
    """Some node is down, and which one is not known: the lists are not believed."""
    lab = Lab()
    detects(lab, ONE, THREE)
    states = lab.nodes[ONE].other[FAILURE_DETECTOR, "SimpleStatesWithPort"]
    lab.nodes[ONE].other[FAILURE_DETECTOR, "SimpleStatesWithPort"] = lambda item: failed(item, 500, "java.lang.X")
    with lab.running(TWO) as running:
        snapshot = running.poll()
        assert assess(snapshot, ALL_PAGES).severity is Severity.UNKNOWN
        assert Gatekeeper(snapshot, Policy(), Gate(settle=0)).decide([TWO]).decision == "unknown"
        lab.nodes[ONE].other[FAILURE_DETECTOR, "SimpleStatesWithPort"] = states
        assert assess(running.poll(), ALL_PAGES).severity is Severity.CRITICAL


def test_a_node_that_is_unreachable_is_not_asked_about() -> None:
    """The numbers agree, so that an outage costs no further request."""
    lab = Lab()
    lab.down(THREE)
    for address in (ONE, TWO):
        detects(lab, address, THREE)
    with lab.running(without=(THREE,)) as running:
        running.poll()
        assert assess(running.poll(), ALL_PAGES).severity is Severity.CRITICAL
        assert not states_asked(running, ONE)
