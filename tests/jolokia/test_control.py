"""What a restart asks of a single node, on the embedded cluster."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.endpoint import split
from ringcheck.errors import DataError, GoneError, SourceError
from ringcheck.jolokia import endpoints, mbeans
from ringcheck.jolokia.control import Control
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.simulator.cluster import EmbeddedCluster, ipv6_address, loopback_address
from ringcheck.simulator.server import serve
from tests.fake_jolokia import Agent, ok
from tests.jolokia.scripted import FAILURE_DETECTOR, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def embedded(release: str = "5.0.8") -> Iterator[tuple[EmbeddedCluster, Control]]:
    """A cluster of three, and the object that controls it."""
    cluster = EmbeddedCluster.uniform(3, release=release, addresses=loopback_address, time_factor=0.01)
    with serve(cluster) as server:
        names = tuple(node.address for node in cluster.nodes)
        with closing(Control(JolokiaSettings(contact_points=names, url=server.template))) as control:
            yield cluster, control


def test_the_start_time_changes_only_with_a_restart() -> None:
    """StartTime rises with a restart, but not when gossip is switched off and on."""
    with embedded() as (cluster, control):
        node, host_id = cluster.nodes[0].address, cluster.nodes[0].host_id
        before = control.started_at(node, host_id, 5.0)
        cluster.gossip_off(node, instant=True)
        cluster.gossip_on(node, instant=True)
        assert control.started_at(node, host_id, 5.0) == before
        cluster.down(node, instant=True)
        with pytest.raises(SourceError):
            control.started_at(node, host_id, 5.0)
        cluster.up(node, instant=True)
        assert control.started_at(node, host_id, 5.0) > before


@pytest.mark.slow
def test_only_a_refused_connection_at_its_own_address_shows_that_a_node_is_gone() -> None:
    """A reset proves nothing, since a proxy may send it when its node is away; nor does a proxy that is itself away."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for url, gone in (("http://{address}", True), ("http://localhost", False), ("http://127.0.0.2", False)):
        with closing(Control(JolokiaSettings(contact_points=(), url=f"{url}:{port}/jolokia"))) as control:
            with pytest.raises(SourceError) as caught:
                control.started_at("127.0.0.1", "a", 5.0)
            assert isinstance(caught.value, GoneError) is gone, url
    with embedded() as (cluster, control):
        cluster.down(0, instant=True)
        with pytest.raises(SourceError) as caught:
            control.started_at(cluster.nodes[0].address, cluster.nodes[0].host_id, 5.0)
        assert not isinstance(caught.value, GoneError)


def _cut_off(here: socket.socket) -> None:
    with suppress(OSError):  # closed at the end
        while True:
            here.accept()[0].close()


def test_a_node_that_does_not_answer_is_not_gone() -> None:
    """If a connection stays silent or is cut off, there may still be a process behind it."""
    for act in ("silent", "cut off"):
        with socket.create_server(("127.0.0.1", 0)) as here:
            if act == "cut off":
                threading.Thread(target=_cut_off, args=(here,), daemon=True).start()
            url = f"http://{{address}}:{here.getsockname()[1]}/jolokia"
            with closing(Control(JolokiaSettings(contact_points=(), url=url))) as control:
                with pytest.raises(SourceError) as caught:
                    control.started_at("127.0.0.1", "a", 0.5)
                assert not isinstance(caught.value, GoneError), act


def test_a_refusal_at_a_shared_address_counts_at_the_known_port_only() -> None:
    """The node once answered at that port; the port in `url` may belong to another node."""
    with sharing(1) as (lab, control, _, second):
        one, two = ((f"127.0.2.1:{7000 + number}", lab.host_id(lab.addresses[number])) for number in (0, 1))
        assert control.started_at(*two, 5.0) == 1
        second.stop()
        with pytest.raises(GoneError):
            control.started_at(*two, 5.0)
        assert control.started_at(*one, 5.0) == 0


def test_drain_drains() -> None:
    """Afterwards the node is DRAINED, and its peers know it."""
    with embedded() as (cluster, control):
        node = cluster.nodes[1]
        control.drain(node.address, node.host_id, 10.0)
        assert cluster.mode(node, cluster.now()) == "DRAINED"


@contextmanager
def sharing(*contacts: int) -> Iterator[tuple[Lab, Control, list[str], Agent]]:
    """Two nodes on one address, to the first of which `url` leads; `contacts` has the numbers of the contact points.

    It yields the lab, its control, the nodes that were drained, and the agent of the second node.
    """
    one, two = names = "127.0.2.1", "127.0.2.2"
    lab = Lab(count=2, endpoints={one: f"{one}:7000", two: f"{one}:7001"})
    drained: list[str] = []
    for name in names:

        def drain(item: dict[str, Any], name: str = name) -> dict[str, Any]:
            drained.append(name)
            return ok(item, None)

        lab.nodes[name].operations["drain",] = drain
        lab.nodes[name].other[mbeans.RUNTIME, mbeans.START_TIME] = names.index(name)
    with Agent(lab.nodes[one], host=one) as first, Agent(lab.nodes[two], host=one) as second:
        points = tuple((first, second)[number].url for number in contacts)
        with closing(Control(JolokiaSettings(contact_points=points, url=first.url))) as control:
            yield lab, control, drained, second


def test_of_nodes_that_share_an_address_the_right_one_is_drained() -> None:
    """If `url` leads to the other node, the contact point with the right host id is used."""
    with sharing(0, 1) as (lab, control, drained, _):
        ids = [lab.host_id(name) for name in lab.addresses]
        assert [control.started_at(f"127.0.2.1:{7000 + number}", ids[number], 5.0) for number in (0, 1)] == [0, 1]
        control.drain("127.0.2.1:7001", ids[1], 5.0)
        assert drained == ["127.0.2.2"]


def test_another_node_is_not_drained() -> None:
    """Nothing is sent to an agent with another host id, and its start time is not returned."""
    with sharing(0) as (lab, control, drained, _):
        other = f"answers for host id {lab.host_id('127.0.2.1')}, but 127.0.2.1:7001 has {lab.host_id('127.0.2.2')}"
        with pytest.raises(DataError, match=other):
            control.drain("127.0.2.1:7001", lab.host_id("127.0.2.2"), 5.0)
        with pytest.raises(DataError, match=other):
            control.started_at("127.0.2.1:7001", lab.host_id("127.0.2.2"), 5.0)
        assert drained == []


def test_a_node_of_unknown_identity_is_not_drained() -> None:
    """Neither the cluster nor the node itself reports its host id."""
    with sharing(0) as (lab, control, drained, _):
        with pytest.raises(DataError, match=r"the host id of 127\.0\.2\.1:7000 is not known"):
            control.drain("127.0.2.1:7000", None, 5.0)
        lab.nodes["127.0.2.1"].attributes["LocalHostId"] = None
        with pytest.raises(DataError, match="LocalHostId is not a text"):
            control.drain("127.0.2.1:7000", lab.host_id("127.0.2.1"), 5.0)
        assert drained == []


@pytest.mark.parametrize(("release", "port"), [("5.0.8", 9042), ("3.11.19", None)])
def test_where_clients_connect(release: str, port: int | None) -> None:
    """Gossip has every node's address for clients, and from 4.0 on also the port."""
    with embedded(release) as (cluster, control):
        names = [node.address for node in cluster.nodes]
        assert control.client_addresses(names[0], 5.0) == {name: (name, port) for name in names}


@pytest.mark.parametrize("version", ["", "7:"])
def test_where_clients_of_older_nodes_connect(version: str) -> None:
    """Gossip is read with and without versions; a node with a wildcard or an unreadable address is left out."""
    addresses = {
        "127.0.2.1": "127.0.3.1",
        "127.0.2.2": "0.0.0.0",  # noqa: S104 - a node may report it
        "127.0.2.3": "0:0:0:0:0:0:0:0",
        "127.0.2.4": "nowhere",
        "127.0.2.5": "2001:db8:0:0:0:0:0:5",
    }
    blocks = [
        f"/{node}\n  STATUS:{version}NORMAL,1\n  RPC_ADDRESS:{version}{host}\n" for node, host in addresses.items()
    ]
    lab = Lab(1, release="3.11.19")
    lab.nodes["127.0.2.1"].other[FAILURE_DETECTOR, "AllEndpointStates"] = "".join(blocks)
    with (
        lab.running() as running,
        closing(Control(JolokiaSettings(contact_points=(), url=running.cluster.template))) as control,
    ):
        clients = control.client_addresses("127.0.2.1", 5.0)
    assert clients == {"127.0.2.1": ("127.0.3.1", None), "127.0.2.5": ("2001:db8::5", None)}


def test_ipv6_clients() -> None:
    """Addresses in brackets and without a port are understood; any other text is an error."""
    assert split(endpoints.endpoint(f"[{ipv6_address(0)}]:9042")) == (endpoints.endpoint(ipv6_address(0)), 9042)
    assert split(endpoints.endpoint("10.0.0.1")) == ("10.0.0.1", None)
    with pytest.raises(DataError):
        endpoints.endpoint("nowhere")
