"""Serves a large embedded cluster from a process of its own, so that its work is not measured."""

from __future__ import annotations

import sys

from ringcheck.core.ring import Replication
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address
from ringcheck.simulator.server import serve
from tests.benchmarks.scale_core import KEYSPACES, RACKS, REPLICATIONS, VNODES


def main(nodes: int) -> None:
    keyspaces = {
        f"ks_{number}_{place}": Replication.parse(text)
        for number, text in enumerate(REPLICATIONS)
        for place in range(KEYSPACES)
    }
    cluster = EmbeddedCluster.uniform(
        nodes, datacenters=2, racks=RACKS, vnodes=VNODES, keyspaces=keyspaces, addresses=loopback_address, name="big"
    )
    with serve(cluster) as server:
        print(server.template, flush=True)
        for line in sys.stdin:
            verb, node = line.split()
            getattr(cluster, verb)(int(node), instant=True)
            print("done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
