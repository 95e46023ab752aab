"""Contact points: which of them are used, which other nodes are asked, and which cluster they lead to."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ringcheck.errors import DataError, SourceError
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import Agent, free_port
from tests.jolokia.scripted import (
    OK,
    ONE,
    SNITCH,
    THREE,
    TWO,
    Lab,
    error_of,
    unavailable,
)


def test_one_contact_point_that_answers_is_enough() -> None:
    """Dead contact points do no harm as long as one answers; their nodes are unreachable."""
    lab = Lab()
    lab.down(ONE)
    with lab.running(ONE, TWO, without=(ONE,)) as running:
        snapshot = running.poll()
        assert len(snapshot.rings) == 1
        assert [view.outcome for view in snapshot.views] == ["unreachable", "ok", "ok"]
        assert snapshot.nodes[0].source == "unreachable"
        assert snapshot.nodes[0].datacenter == "dc1"


def test_without_any_answer_each_contact_point_is_named_with_its_reason() -> None:
    """If no agent answers, the error lists those that were tried, each with its error."""
    with Lab().running(ONE, TWO, without=(ONE, TWO)) as running:
        text = error_of(running, SourceError)
        assert text == f"no node answered: http://{ONE}: connection refused; http://{TWO}: connection refused"


def test_without_any_answer_a_later_poll_fails_too() -> None:
    """A source that knows the ring does not claim to know its current state."""
    with Lab().running() as running:
        running.poll()
        for agent in running.cluster.agents.values():
            agent.raw = unavailable
        text = error_of(running, SourceError)
        assert text == "no node answered: " + "; ".join(f"http://{address}: HTTP 503" for address in (ONE, TWO, THREE))


def test_a_contact_point_keeps_its_url() -> None:
    """A node whose URL differs from the template's is asked only at that URL."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[TWO]) as other:
        source = JolokiaSource(JolokiaSettings(contact_points=(other.url,), url=running.cluster.template))
        snapshot = source.poll(2.0)
        source.poll(2.0)
        source.close()
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3
        assert running.cluster.agents[TWO].payloads == []


def test_two_names_of_one_node_are_one_node() -> None:
    """Contact points that lead to the same node make one view."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[ONE]) as other:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        assert [view.observer for view in source.poll(2.0).views] == [ONE, TWO, THREE]
        source.close()


def test_with_views_contact_points_no_other_node_is_asked() -> None:
    """If agents listen only on loopback, the other nodes are `not_asked` and not unreachable."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[TWO]) as other:
        source = JolokiaSource(
            JolokiaSettings(contact_points=(other.url,), url=running.cluster.template, views="contact_points")
        )
        for _ in range(2):
            snapshot = source.poll(2.0)
            assert [(view.observer, view.outcome) for view in snapshot.views] == [(TWO, "ok")]
            assert [node.source for node in snapshot.nodes] == ["not_asked", "ok", "not_asked"]
            assert len(snapshot.rings) == 1
        source.close()
        assert running.cluster.posts == 0


def test_with_views_contact_points_a_silent_one_is_an_unreachable_view() -> None:
    """A coordinator that was to be asked is not forgotten, and is asked again."""
    lab = Lab()
    with lab.running() as running:
        silent = f"http://127.0.0.1:{free_port('127.0.0.1')}/jolokia"
        source = JolokiaSource(
            JolokiaSettings(contact_points=(ONE, silent), url=running.cluster.template, views="contact_points")
        )
        for _ in range(2):
            views = source.poll(2.0).views
            assert [(view.observer, view.outcome) for view in views] == [(ONE, "ok"), ("127.0.0.1", "unreachable")]
            assert views[1].reason == f"{silent}: connection refused"
        source.close()


def test_a_drained_contact_point_leads_to_the_others() -> None:
    """Every node that answers knows the members; the ring is read from a usable one."""
    lab = Lab()
    lab.nodes[ONE].attributes |= {"OperationMode": "DRAINED", "GossipRunning": False, "NativeTransportRunning": False}
    with lab.running(ONE) as running:
        snapshot = running.poll()
        assert [(view.outcome, view.reason) for view in snapshot.views] == [("discarded", "drained"), OK, OK]
        assert len(snapshot.rings) == 1
        assert not [item for item in running.cluster.agents[ONE].items if item["mbean"] == SNITCH]


# Contact points that are not members.


def test_a_contact_point_that_has_left_is_a_discarded_view() -> None:
    """A decommissioned node in the configuration is shown with its reason, and its view of the ring is not used."""
    lab = Lab(4)
    four = lab.addresses[3]
    rest = Lab(3)
    for address in rest.addresses:
        lab.nodes[address] = rest.nodes[address]
    lab.nodes[four].attributes |= {"OperationMode": "DECOMMISSIONED", "GossipRunning": False}
    with lab.running(four, ONE) as running:
        snapshot = running.poll()
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        assert snapshot.views[-1].observer == four
        assert snapshot.views[-1].outcome == "discarded"
        assert snapshot.views[-1].reason == "decommissioned, not a member of the cluster"
        assert snapshot.problems == ()
        assert len(snapshot.rings) == 1


@pytest.mark.parametrize(
    "state", [{"GossipRunning": False}, {"OperationMode": "DRAINED", "GossipRunning": False}], ids=["gossip", "drained"]
)
def test_a_contact_point_that_has_joined_another_ring_is_a_gap(state: dict[str, Any]) -> None:
    """Its own report does not count; but the nodes that it knows may be the cluster, and the others a part of it."""
    lab = Lab(4)
    four = joining_unknown_to_the_others(lab)
    lab.nodes[four].attributes |= {"OperationMode": "NORMAL", **state}
    with lab.running(ONE, four) as running:
        snapshot = running.poll()
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        [problem] = [one for one in snapshot.problems if one.code == "ring_behind"]
        mode = lab.nodes[four].attributes["OperationMode"]
        assert problem.summary == f"{four} answers and is {mode}, but no node whose report counts knows it"


def joining_unknown_to_the_others(lab: Lab) -> str:
    """Let the last node join without any other node knowing it yet; return its address."""
    rest, last = Lab(len(lab.addresses) - 1), lab.addresses[-1]
    for address in rest.addresses:
        lab.nodes[address] = rest.nodes[address]
    lab.nodes[last].attributes["OperationMode"] = "JOINING"
    return last


def test_a_contact_point_unknown_to_the_others_is_a_member_once_it_has_joined() -> None:
    """It serves clients by its own view, whether or not its peers know it."""
    lab = Lab(4)
    four = joining_unknown_to_the_others(lab)
    with lab.running(ONE, four) as running:
        assert [node.address for node in running.poll().nodes] == [ONE, TWO, THREE]
        assert running.poll().views[-1].reason == "joining, not a member of the cluster"
        lab.nodes[four].attributes["OperationMode"] = "NORMAL"
        seen = running.poll()
        assert [node.address for node in seen.nodes] == lab.addresses
        assert [view.outcome for view in seen.views] == ["ok"] * 4
        assert "membership_disagreement" in {problem.code for problem in seen.problems}


def test_a_silent_contact_point_is_a_member_once_it_answers() -> None:
    """It is asked in every poll, although no node knows it and it has never answered."""
    lab = Lab(4)
    four = joining_unknown_to_the_others(lab)
    lab.nodes[four].attributes["OperationMode"] = "NORMAL"
    with lab.running(ONE, four) as running:
        running.cluster.agents[four].raw = unavailable
        assert [node.address for node in running.poll().nodes] == [ONE, TWO, THREE]
        running.cluster.agents[four].raw = None
        assert [node.address for node in running.poll().nodes] == lab.addresses


def test_a_hanging_contact_point_that_is_not_a_member_delays_a_later_poll_little() -> None:
    """An address that leads nowhere gets only a moment in each poll, and not a whole timeout."""
    lab = Lab(4)
    four = joining_unknown_to_the_others(lab)
    with lab.running(ONE, four, timeout=20) as running:
        running.poll()
        running.cluster.agents[four].raw = lambda *_: time.sleep(6)
        started = time.monotonic()
        assert [view.outcome for view in running.poll(20).views] == ["ok"] * 3
        assert time.monotonic() - started < 4


def test_two_names_of_one_node_are_asked_once_in_a_later_poll() -> None:
    """If a contact point leads to the same member as another one, asking it again adds nothing."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[ONE]) as other:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        for _ in range(3):
            source.poll(2.0)
        source.close()
        asked_at = [len(running.cluster.agents[ONE].payloads), len(other.payloads)]
    assert min(asked_at) == 1  # as it identified itself


# Two clusters.


def test_contact_points_of_two_clusters_are_refused() -> None:
    """The error names both clusters."""
    with Lab().running() as running, Agent(Lab(cluster="other", subnet="127.0.3").nodes["127.0.3.1"]) as other:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        with pytest.raises(DataError) as caught:
            source.poll(2.0)
        source.close()
    assert str(caught.value) == f"two clusters: {ONE} belongs to 'lab', 127.0.0.1 to 'other'"


def test_two_clusters_of_one_name_are_refused() -> None:
    """Many clusters keep the default name, so that only whether the nodes know each other shows the difference."""
    other_lab = Lab(subnet="127.0.3")
    for node in other_lab.nodes.values():
        ids = node.attributes["EndpointWithPortToHostId"]
        node.attributes["EndpointWithPortToHostId"] = {key: f"other-{value}" for key, value in ids.items()}
        node.attributes["LocalHostId"] = f"other-{node.attributes['LocalHostId']}"
    with Lab().running() as running, Agent(other_lab.nodes["127.0.3.1"]) as other:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        with pytest.raises(DataError) as caught:
            source.poll(2.0)
        source.close()
    assert str(caught.value) == f"two clusters, both named 'lab': 127.0.0.1 and {ONE} do not know each other"


@pytest.mark.parametrize("order", [(ONE, TWO, THREE), (THREE, TWO, ONE), (TWO, THREE, ONE)])
def test_a_contact_point_that_no_other_one_knows_is_of_another_cluster_in_any_order(order: tuple[str, ...]) -> None:
    """No contact point counts more than another because it is the first."""
    lab = Lab()
    knowing(lab, {ONE: [ONE, TWO], TWO: [ONE, TWO], THREE: [THREE]})
    with lab.running(*order) as running, pytest.raises(DataError) as caught:
        running.poll()
    assert str(caught.value) == f"two clusters, both named 'lab': {ONE} and {THREE} do not know each other"


def test_two_pairs_of_contact_points_are_of_two_clusters() -> None:
    """Each knows one other contact point, but no node knows members of both pairs."""
    lab = Lab(4)
    four = lab.addresses[3]
    knowing(lab, {ONE: [ONE, TWO], TWO: [ONE, TWO], THREE: [THREE, four], four: [THREE, four]})
    with lab.running(ONE, THREE, TWO, four) as running, pytest.raises(DataError) as caught:
        running.poll()
    assert str(caught.value) == f"two clusters, both named 'lab': {ONE} and {THREE} do not know each other"


def knowing(lab: Lab, members: dict[str, list[str]]) -> None:
    """Set the members whose host ids each node knows."""
    for address, known in members.items():
        lab.knows(address, {member: lab.host_id(member) for member in known})


def test_contact_points_that_turn_out_to_be_of_two_clusters_are_refused_in_each_poll() -> None:
    """A node that has only just started may turn out to belong to another cluster of the same name."""
    other_lab = Lab(subnet="127.0.3")
    for node in other_lab.nodes.values():
        ids = node.attributes["EndpointWithPortToHostId"]
        node.attributes["EndpointWithPortToHostId"] = {key: f"other-{value}" for key, value in ids.items()}
        node.attributes["LocalHostId"] = f"other-{node.attributes['LocalHostId']}"
    stranger = other_lab.nodes["127.0.3.1"]
    stranger.attributes["OperationMode"] = "STARTING"
    with Lab().running() as running, Agent(stranger) as other:
        source = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        assert len(source.poll(2.0).nodes) == 3
        stranger.attributes["OperationMode"] = "NORMAL"
        for _ in range(2):
            with pytest.raises(DataError, match="two clusters, both named 'lab'"):
                source.poll(2.0)
        source.close()


def test_contact_points_that_know_a_common_member_are_of_one_cluster() -> None:
    """Two nodes may lack each other's host ids; a third node that both know shows that they belong to one cluster."""
    lab = Lab()
    for address in (ONE, TWO):
        lab.nodes[address].attributes["EndpointWithPortToHostId"] = {lab.endpoint(THREE): lab.host_id(THREE)}
    with lab.running(ONE, TWO) as running:
        seen = running.poll()
        assert [(node.address, node.host_id) for node in seen.nodes] == [
            (address, lab.host_id(address)) for address in lab.addresses
        ]
        assert [view.outcome for view in seen.views] == ["ok"] * 3
