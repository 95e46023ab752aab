"""The harness of real clusters works on each chosen release."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cassandra.cluster import NoHostAvailable

from tests.cassandra.cluster import ClusterError, RealCluster, RealNode, free_subnet, parse_layout, wait_until
from tests.cassandra.launch import CQL_PORT, JOLOKIA_PORT, STORAGE_PORT, cassandra_yaml
from tests.cassandra.oracle import OracleError
from tests.cassandra.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from tests.cassandra.conftest import ClusterFactory

LAYOUT = "dc1:r1,dc1:r2,dc2:r1"
UPGRADES = {"3.11.19": "4.0.17", "4.1.9": "5.0.8"}

real = pytest.mark.cassandra


@pytest.fixture
def cluster(real_cluster: ClusterFactory, cassandra_release: str) -> RealCluster:
    """Three nodes, all up."""
    return real_cluster(cassandra_release, LAYOUT)


@real
def test_nodes_are_laid_out_as_asked(cluster: RealCluster) -> None:
    """Each node reports the release, datacenter and rack of the layout."""
    snitch = "org.apache.cassandra.db:type=EndpointSnitchInfo"
    for node, place in zip(cluster.nodes, parse_layout(LAYOUT), strict=True):
        assert node.read("ReleaseVersion") == node.release
        assert (node.read("Datacenter", mbean=snitch), node.read("Rack", mbean=snitch)) == place
        assert len(node.read("TokenToEndpointMap")) == 3 * 4


@real
def test_logging_jars_match(cluster: RealCluster) -> None:
    """No node's output shows the error of two logback versions, which silently stops gossip."""
    for node in cluster.nodes:
        assert "NoSuchMethodError" not in (node.directory / "logs" / "stdout.log").read_text()


@real
def test_session_has_one_coordinator(cluster: RealCluster) -> None:
    """All queries of a session are answered by the node it was opened for."""
    for node in cluster.nodes:
        with cluster.session(node) as session:
            for _ in range(5):
                assert session.execute("SELECT rpc_address FROM system.local").one().rpc_address == node.address


@real
def test_killed_node_is_convicted_and_comes_back_as_itself(cluster: RealCluster) -> None:
    """Peers drop a killed node; restarted on its data it has the same host id."""
    victim = cluster.node(3)
    host_id = victim.read("LocalHostId")
    victim.kill()
    assert victim.status == "stopped"
    cluster.wait_down(victim)
    victim.start()
    cluster.wait_all_up()
    assert victim.read("LocalHostId") == host_id


@real
def test_a_terminated_node_announces_its_shutdown(cluster: RealCluster) -> None:
    """Peers drop a node that got SIGTERM long before they would convict it by silence."""
    cluster.node(2).terminate()
    cluster.wait_down(cluster.node(2), timeout=10)


@real
def test_paused_node_is_silent_and_resumes(cluster: RealCluster) -> None:
    """A paused node accepts connections and answers nothing; resumed it answers at once."""
    node = cluster.node(2)
    node.pause()
    with pytest.raises(OracleError, match="timed out"):
        node.read("OperationMode", timeout=2)
    assert node.status == "paused"
    node.resume()
    assert node.read("OperationMode") == "NORMAL"


@real
def test_drained_node_answers_and_is_down(cluster: RealCluster) -> None:
    """A drained node's Jolokia still answers while its peers list it as down."""
    node = cluster.node(2)
    node.drain()
    cluster.wait_down(node, timeout=30)
    assert node.read("OperationMode") == "DRAINED"
    assert not node.ready


@real
def test_gossip_off_and_on(cluster: RealCluster) -> None:
    """Peers drop a node without gossip, and list it again when gossip is back."""
    node = cluster.node(3)
    node.stop_gossip()
    cluster.wait_down(node, stable=5)
    assert node.read("OperationMode") == "NORMAL"
    node.start_gossip()
    cluster.wait_up(node, timeout=60)


@real
def test_binary_off_and_on(cluster: RealCluster) -> None:
    """A node without CQL stays live for its peers."""
    node = cluster.node(2)
    node.stop_binary()
    assert not node.ready
    assert node.address in cluster.node(1).addresses("LiveNodes")
    node.start_binary()
    assert node.ready


@real
def test_nodetool_speaks_to_the_node_asked(cluster: RealCluster) -> None:
    """The node's own host id is in the output of `nodetool info`."""
    for node in cluster.nodes[:2]:
        assert node.read("LocalHostId") in node.nodetool("info")


@real
def test_node_joins_and_leaves(cluster: RealCluster) -> None:
    """A bootstrapping node is JOINING, then owns tokens; decommissioned, it is no longer in the ring."""
    joiner = cluster.bootstrap("dc1", "r3")
    assert joiner.read("OperationMode") == "JOINING"
    assert joiner.address in cluster.node(1).addresses("JoiningNodes")
    joiner.wait_ready()
    cluster.wait_all_up()
    leaving = joiner.decommission()
    seen = _modes_until_done(joiner, leaving)
    leaving.result()
    assert "LEAVING" in seen
    assert joiner.address not in cluster.node(1).addresses("LiveNodes")
    assert joiner not in cluster.members


def _modes_until_done(node: RealNode, leaving: Future[None]) -> list[str]:
    """The modes that a node goes through, during which its Jolokia answers."""
    seen: list[str] = []
    while not leaving.done():
        mode = node.read("OperationMode")
        seen += [mode] if mode not in seen else []
        time.sleep(0.2)
    return seen


@real
def test_upgrade_in_place(real_cluster: ClusterFactory, cassandra_release: str) -> None:
    """One node goes to the next major release on its data, and all see each other."""
    if cassandra_release not in UPGRADES:
        pytest.skip("no upgrade from this release is tried")
    cluster = real_cluster(cassandra_release, "dc1:r1,dc1:r2")
    cluster.node(2).upgrade(UPGRADES[cassandra_release])
    cluster.wait_all_up()
    assert cluster.node(2).read("ReleaseVersion") == UPGRADES[cassandra_release]


@real
def test_agent_options_do_not_bind_the_harness(real_cluster: ClusterFactory, cassandra_release: str) -> None:
    """With a password, a limit on collections and CQL authentication the harness still reads everything."""
    guarded = real_cluster(
        cassandra_release,
        "dc1:r1",
        jolokia_options={"user": "monitor", "password": "secret", "maxCollectionSize": "1"},
        authenticator="PasswordAuthenticator",
    )
    assert len(guarded.node(1).read("TokenToEndpointMap")) == 4
    # Cassandra creates the default role at least 10 s after its start.
    wait_until(lambda: "" if _roles(guarded) else "nobody can log in", 120, "no default role", guarded)
    assert _roles(guarded) == ["cassandra"]


def _roles(guarded: RealCluster) -> list[str]:
    """Roles that can be read with the default role; none while it can't log in yet."""
    with (
        suppress(NoHostAvailable),
        guarded.session(1, credentials=("cassandra", "cassandra")) as session,
    ):
        return [row.role for row in session.execute("SELECT role FROM system_auth.roles")]
    return []


_STARTER = """
import time
from pathlib import Path
from tests.cassandra.cluster import RealCluster
cluster = RealCluster({release!r}, "dc1:r1", directory=Path({directory!r}))
cluster.start()
print("up", flush=True)
time.sleep(600)
"""


@real
def test_no_node_outlives_its_starter(real_cluster: ClusterFactory, tmp_path: Path) -> None:
    """If a process is killed, its nodes end soon after it, and their directory is removed."""
    real_cluster.close()
    directory = tmp_path / "cluster"
    script = _STARTER.format(release="5.0.8", directory=str(directory))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
        try:
            assert starter.stdout
            assert starter.stdout.readline() == "up\n"
            node = RealCluster.attach(directory).node(1).process
        finally:
            starter.kill()
    assert node.wait_gone(10)
    assert _gone(directory)


def _gone(directory: Path) -> bool:
    deadline = time.monotonic() + 10
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not directory.exists()


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[RealCluster]:
    """A cluster that is laid out and not started."""
    cluster = RealCluster("5.0.8", LAYOUT, directory=tmp_path / "cluster")
    yield cluster
    cluster.close()


def test_layout_is_checked() -> None:
    """A node without a rack is refused, and the error quotes the text."""
    with pytest.raises(ValueError, match="dc1:r1,dc2"):
        parse_layout("dc1:r1,dc2")


def test_stranger_with_a_stored_pid_is_left_alone() -> None:
    """If the start time differs, it is another process: ours counts as gone, and the other one gets no signal."""
    stranger = Process(os.getpid(), started=1)
    stranger.signal(signal.SIGKILL)
    assert not stranger.alive


def test_cluster_can_be_picked_up_from_its_directory(unstarted: RealCluster) -> None:
    """Another process can use the cluster, given its directory."""
    assert RealCluster.attach(unstarted.directory).record == unstarted.record


def test_instances_of_an_address_have_ports_of_their_own(unstarted: RealCluster) -> None:
    """The second instance on an address shares no port with the first; its name as a seed includes its port."""
    first, second = unstarted.node(2), unstarted.add("dc1", "r2", host=2, instance=1)
    assert (second.address, second.release) == (first.address, first.release)
    ports = [{node.jmx_port, *map(node.port, (CQL_PORT, STORAGE_PORT, JOLOKIA_PORT))} for node in (first, second)]
    assert not ports[0] & ports[1]
    yaml = cassandra_yaml(second.settings())
    assert (yaml["storage_port"], yaml["native_transport_port"]) == (second.port(STORAGE_PORT), second.port(CQL_PORT))
    assert str(second.port(JOLOKIA_PORT)) in second.url
    first.change(started_before=True)
    assert second.endpoint in first.settings().seeds


def test_changed_address_is_for_the_next_start(unstarted: RealCluster) -> None:
    """The node is started, asked and named at its new address, and keeps its directory."""
    node = unstarted.node(2)
    before, directory = node.address, node.directory
    node.change(host=12, seeds=[before])
    assert node.address == f"{unstarted.record.subnet}.12"
    assert node.address == node.settings().address
    assert node.address in node.url
    assert (node.directory, node.settings().seeds) == (directory, (before,))


def test_unknown_node_is_named(unstarted: RealCluster) -> None:
    """The error for an unknown node lists the known ones."""
    with pytest.raises(ClusterError, match="no node 9; there are 1, 2, 3"):
        unstarted.node(9)


def test_directory_in_use_is_refused(unstarted: RealCluster) -> None:
    """A second cluster can't be laid out in the directory of another."""
    with pytest.raises(ClusterError, match="not empty"):
        RealCluster("5.0.8", "dc1:r1", directory=unstarted.directory)


def test_free_subnet_is_loopback() -> None:
    """A free subnet is a /24 of the loopback network."""
    assert free_subnet().startswith("127.0.")
