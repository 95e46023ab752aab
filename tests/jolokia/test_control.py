"""What a restart asks of one node, on the embedded cluster."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ringcheck.errors import DataError, SourceError
from ringcheck.jolokia import decode
from ringcheck.jolokia.client import Settings
from ringcheck.jolokia.control import Control, _split
from ringcheck.simulator.cluster import EmbeddedCluster, ipv6_address, loopback_address
from ringcheck.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def embedded(release: str = "5.0.8") -> Iterator[tuple[EmbeddedCluster, Control]]:
    """A cluster of three and what controls it."""
    cluster = EmbeddedCluster.uniform(3, release=release, addresses=loopback_address, time_factor=0.01)
    with serve(cluster) as server:
        names = tuple(node.address for node in cluster.nodes)
        with closing(Control(Settings(names, url=server.template))) as control:
            yield cluster, control


def test_a_new_process_is_told_from_new_gossip() -> None:
    """StartTime rises with a restart, and not when gossip is switched off and on."""
    with embedded() as (cluster, control):
        node = cluster.nodes[0].address
        before = control.started_at(node, 5.0)
        cluster.gossip_off(node, instant=True)
        cluster.gossip_on(node, instant=True)
        assert control.started_at(node, 5.0) == before
        cluster.down(node, instant=True)
        with pytest.raises(SourceError):
            control.started_at(node, 5.0)
        cluster.up(node, instant=True)
        assert control.started_at(node, 5.0) > before


def test_drain_drains() -> None:
    """After it the node is DRAINED, and its peers have heard so."""
    with embedded() as (cluster, control):
        node = cluster.nodes[1]
        control.drain(node.address, 10.0)
        assert cluster.mode(node, cluster.now()) == "DRAINED"


@pytest.mark.parametrize(("release", "port"), [("5.0.8", 9042), ("3.11.19", None)])
def test_where_clients_connect(release: str, port: int | None) -> None:
    """Gossip tells the address of every node's clients, and the port from 4.0 on."""
    with embedded(release) as (cluster, control):
        names = [node.address for node in cluster.nodes]
        assert control.client_addresses(names[0], 5.0) == {name: (name, port) for name in names}


def test_ipv6_clients() -> None:
    """Addresses in brackets and without port are understood; what is none is an error."""
    assert _split(f"[{ipv6_address(0)}]:9042") == (decode.endpoint(ipv6_address(0)), 9042)
    assert _split("10.0.0.1") == ("10.0.0.1", None)
    with pytest.raises(DataError):
        _split("nowhere")
