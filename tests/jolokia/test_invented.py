"""A node that names nodes, tokens or keyspaces that do not exist: work is bounded, and a known outage stays known."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.cli import run
from ringcheck.http import connections, sockets
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.server import serve
from tests.fake_jolokia import ok
from tests.jolokia.scripted import ONE, THREE, TWO, Lab, asked_of

if TYPE_CHECKING:
    from collections.abc import Callable


UNREPLICATED = {"cache": "SimpleStrategy {replication_factor=1}"}
NODES = 4088  # that a node may name besides the real ones
MOST = 70  # invented addresses to which a poll may connect in a cluster of three nodes
OUTAGE = "CRITICAL - lab: 2 of 6 ranges (4.2 % of the tokens) of cache unavailable at LOCAL_ONE in dc1"


def invented(number: int) -> list[str]:
    """Endpoints of nodes that do not exist, and that come before the real ones in any order by address."""
    return [f"10.{place // 62500}.{place // 250 % 250}.{place % 250 + 1}:7000" for place in range(number)]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a connection to each invented address was attempted; all are refused."""
    tried: Counter[str] = Counter()

    def dial(host: str, port: int, ends: float) -> sockets.PlainSocket:
        if not host.startswith("10."):
            return sockets.connect(host, port, ends)
        tried[host] += 1
        raise sockets.NotConnectedError("connection refused")

    monkeypatch.setattr(connections, "connect", dial)
    return tried


@pytest.fixture
def lab() -> Lab:
    """Three nodes and a keyspace without replication; the third node is down."""
    lab = Lab(keyspaces=dict(UNREPLICATED))
    lab.down(THREE)
    return lab


def name_ids(lab: Lab, address: str, number: int) -> None:
    """Let a node list this many nodes as live, each with a host id."""
    attributes = lab.nodes[address].attributes
    ids = {endpoint: f"{place:x}" for place, endpoint in enumerate(invented(number))}
    attributes["LiveNodesWithPort"] = [*attributes["LiveNodesWithPort"], *ids]
    attributes["EndpointWithPortToHostId"] = attributes["EndpointWithPortToHostId"] | ids


def name_owners(lab: Lab, address: str, number: int) -> None:
    """Let a node report this many owners of tokens; the other nodes report the real ones."""
    lab.set_all("OwnershipWithPort", {lab.endpoint(owner): 1 / 3 for owner in lab.addresses})
    lab.nodes[address].attributes["OwnershipWithPort"] = dict.fromkeys(invented(number), 0.1)


def name_moving(lab: Lab, address: str, number: int) -> None:
    """Let a node list this many nodes as joining or as moving."""
    lab.nodes[address].attributes["JoiningNodesWithPort"] = invented(number)[::2]
    lab.nodes[address].attributes["MovingNodesWithPort"] = invented(number)[1::2]


def name_tokens(lab: Lab, address: str, number: int) -> None:
    """Let this many nodes own a token each, in the ring of a node."""
    tokens = {str(place): endpoint for place, endpoint in enumerate(invented(number))}
    lab.nodes[address].attributes["TokenToEndpointWithPortMap"] = tokens


# Contact points and the node that invents: another one leads to it, or it is asked first, also for the ring.
POSITIONS = [pytest.param((ONE,), TWO, id="member"), pytest.param((ONE, TWO), ONE, id="first")]


def checked(lab: Lab, contacts: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """What `check -v` prints; the third node does not answer."""
    with lab.running(without=(THREE,)) as running:
        urls = [option for address in contacts for option in ("-u", running.cluster.template.format(address=address))]
        started = time.process_time()
        assert run(["check", "-v", *urls, "-t", "60"]) == 2
        assert time.process_time() - started < 15
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("naming", [name_ids, name_owners, name_moving, name_tokens])
@pytest.mark.parametrize(("contacts", "hostile"), POSITIONS)
def test_few_invented_nodes_are_asked_and_no_outage_is_hidden(
    naming: Callable[[Lab, str, int], None],
    contacts: tuple[str, ...],
    hostile: str,
    lab: Lab,
    dialled: Counter[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There are as many as one node may name."""
    naming(lab, hostile, NODES)
    assert checked(lab, contacts, capsys).startswith(OUTAGE)
    assert len(dialled) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("naming", [name_ids, name_owners, name_moving])
@pytest.mark.parametrize(("contacts", "hostile"), POSITIONS)
def test_a_node_that_names_too_many_is_not_believed(
    naming: Callable[[Lab, str, int], None],
    contacts: tuple[str, ...],
    hostile: str,
    lab: Lab,
    dialled: Counter[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its answer becomes an error, which the finding about its missing view quotes; nothing in the answer counts."""
    naming(lab, hostile, NODES + 9)
    output = checked(lab, contacts, capsys)
    assert output.startswith(OUTAGE)
    assert f"1 node down: {THREE}" in output
    assert "nodes: more than 4096 are refused" in output
    assert not dialled


@pytest.mark.slow
@pytest.mark.parametrize(("contacts", "hostile"), POSITIONS)
def test_a_ring_with_too_many_owners_is_read_from_another_node(
    contacts: tuple[str, ...], hostile: str, lab: Lab, dialled: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The owners that it names are not members."""
    name_tokens(lab, hostile, NODES + 9)
    output = checked(lab, contacts, capsys)
    assert output.startswith(OUTAGE)
    assert not dialled


@pytest.mark.slow
@pytest.mark.parametrize(("keyspaces", "seconds"), [(1000, 0.2), (1, 9)])
def test_a_ring_that_does_not_end_leaves_time_for_another_node(
    keyspaces: int, seconds: float, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The node that is asked first has very many keyspaces with their own replications, or its range map is late."""

    def late(item: dict[str, Any]) -> dict[str, Any]:
        time.sleep(seconds)
        return ok(item, lab.ranges(1, with_port=True))

    node, names = lab.nodes[ONE], [f"ks_{number}" for number in range(keyspaces)]
    node.attributes["NonLocalStrategyKeyspaces"] = names
    for number, name in enumerate(names):
        node.operations["getKeyspaceReplicationInfo", name] = f"SimpleStrategy {{replication_factor={number + 1}}}"
        node.operations["getRangeToEndpointWithPortMap", name] = late
    with lab.running(without=(THREE,)) as running:
        assert run(["check", "-u", running.cluster.template.format(address=ONE), "-t", "8"]) == 2
    assert capsys.readouterr().out.startswith(OUTAGE)


@pytest.mark.slow
def test_only_a_few_strangers_are_located(lab: Lab, dialled: Counter[str]) -> None:
    """A node is asked for the locations of the members that it lists, and of a few that only another node named."""
    name_ids(lab, TWO, 200)
    with lab.running(ONE, without=(THREE,)) as running:
        snapshot = running.poll(30)
        itself_and_source = 2  # after the ring was read from another node
        assert asked_of(running, ONE).count("getRack") <= len(lab.nodes) + 64 + itself_and_source
    assert len(snapshot.nodes) == 203
    assert dialled


@pytest.mark.slow
def test_all_nodes_of_a_large_cluster_are_asked() -> None:
    """The first poll asks all nodes, though none has answered before: each answer allows further requests."""
    cluster = EmbeddedCluster.uniform(300, vnodes=1, keyspaces={"orders": topology(dc1=3)})
    with serve(cluster) as server:
        source = JolokiaSource(JolokiaSettings(contact_points=(cluster.nodes[0].address,), url=server.template))
        snapshot = source.poll(60)
        source.close()
    assert [node.source for node in snapshot.nodes] == ["ok"] * 300


@pytest.mark.slow
def test_a_cluster_whose_agents_are_dead_is_not_asked_to_the_end(dialled: Counter[str]) -> None:
    """All nodes are shown, with the reason."""
    lab = Lab()
    name_ids(lab, ONE, 300)
    with lab.running(ONE, without=(TWO, THREE)) as running:
        snapshot = running.poll(30)
    reasons = Counter(view.reason.partition(": ")[2] for view in snapshot.views if view.reason)
    assert len(dialled) <= MOST
    why = "not asked, because too many others that have never answered do not answer now"
    assert reasons[why] >= 300 - MOST
    assert reasons.total() == 302


@pytest.mark.parametrize("name", ["getDatacenter", "getRack"])
def test_a_name_longer_than_any_is_not_known(name: str) -> None:
    """A node chooses its own datacenter and rack, and its peers repeat them: the ring is still read."""
    lab = Lab()
    for node in lab.nodes.values():
        node.operations |= {(name, written): "x" * 256 for written in (TWO, lab.endpoint(TWO))}
    with lab.running() as running:
        snapshot = running.poll()
    places = [(node.datacenter, node.rack) for node in snapshot.nodes]
    assert places[0] == ("dc1", "r1")
    assert None in places[1]
    assert snapshot.rings
