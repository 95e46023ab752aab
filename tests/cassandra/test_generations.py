"""Both lines of Jolokia, as real agents in Cassandra: 1.7 and the newest.

Other tests use 2.2, whose answers are often written as those of 1.x; `test_jolokia_lines.py` tests the differences.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.errors import SourceError
from ringcheck.jolokia.control import Control
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.cassandra import artifacts, queries
from tests.cassandra.conftest import chosen_jolokias
from tests.cassandra.queries import network, simple

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot
    from tests.cassandra.cluster import RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

POLICY = Path(__file__).resolve().parents[2] / "config" / "jolokia" / "jolokia-access.xml"
USER, PASSWORD = "monitor", "s3cret"
# An agent's own limits, which would truncate the lists of a large cluster without notice.
LIMITS = {"maxCollectionSize": "1", "maxDepth": "1", "maxObjects": "5"}


def polled(node: RealNode, **settings: Any) -> Snapshot:
    source = JolokiaSource(JolokiaSettings(contact_points=(node.address,), **settings))
    try:
        return source.poll(30.0, streams=True)
    finally:
        source.close()


@pytest.mark.parametrize("generation", chosen_jolokias(("1", "2.6")))
def test_each_line_reports_the_same(generation: str, real_cluster: ClusterFactory) -> None:
    """With the shipped policy, a password and limits of the agent, each line reports the same ring without problems."""
    options = {"policyLocation": f"file://{POLICY}", "user": USER, "password": PASSWORD, **LIMITS}
    cluster = real_cluster("5.0.8", "dc1:r1", jolokia=generation, jolokia_options=options)
    node = cluster.node(1)
    release = node.oracle.ask({"type": "version"})["agent"]
    assert release in {artifacts.JOLOKIA_RELEASES[generation], "1.7.1"}  # 1.7.2 reports this version
    queries.create(cluster, (simple(1), network("nts_1", dc1=1)))
    snapshot = polled(node, username=USER, password=PASSWORD)
    assert not snapshot.problems, snapshot.problems
    assert {name for ring in snapshot.rings for name in ring.keyspaces} >= {"simple_1", "nts_1"}
    (seen,) = snapshot.nodes
    assert (seen.address, seen.source, seen.mode, seen.datacenter, seen.rack) == (
        node.address, "ok", "NORMAL", "dc1", "r1",
    )  # fmt: skip
    assert (seen.tokens, seen.streams, seen.release_version) == (4, 0, "5.0.8")
    control = Control(JolokiaSettings(contact_points=(node.address,), username=USER, password=PASSWORD))
    assert control.started_at(node.address, seen.host_id, 10.0) > 0
    with pytest.raises(SourceError, match="drain: the agent refuses: Operation drain forbidden"):
        control.drain(node.address, seen.host_id, 10.0)  # commented out in the shipped policy
    control.close()
    with pytest.raises(SourceError, match="HTTP 401, user name or password is wrong"):
        polled(node, username=USER, password=f"not {PASSWORD}")
