"""The article's example for real: 3 nodes of 256 vnodes, blog_1 with RF 1, blog_3 with RF 3, nodes killed in turn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.cassandra import queries
from tests.cassandra.conftest import DEFAULT_RELEASES
from tests.cassandra.queries import Keys, Keyspace, Piece, Prediction

if TYPE_CHECKING:
    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

VNODES = 256
RANGES = 3 * VNODES
BLOGS = tuple(Keyspace(f"blog_{factor}", "SimpleStrategy", {"replication_factor": factor}) for factor in (1, 3))
LEVELS = ("LOCAL_ONE", "LOCAL_QUORUM", "ALL")


@pytest.fixture(scope="module")
def article(real_cluster: ClusterFactory) -> RealCluster:
    """Three nodes in three racks, with the two keyspaces."""
    release = DEFAULT_RELEASES[-1]
    cluster = real_cluster(release, "dc1:r1,dc1:r2,dc1:r3", num_tokens=VNODES, yaml=queries.TIMEOUTS)
    queries.create(cluster, BLOGS)
    return cluster


@pytest.fixture(scope="module")
def keys() -> Keys:
    """At least one key for each of the 768 ranges."""
    return Keys(each=1)


def without(cluster: RealCluster, *numbers: int) -> None:
    """Kill these nodes, if they are running, and wait until the others have noticed."""
    for number in numbers:
        cluster.node(number).kill()
    for number in numbers:
        cluster.wait_down(cluster.node(number))


def verdict(cluster: RealCluster) -> dict[str, Any]:
    """The verdict of `health`, with all levels and ranges."""
    return queries.judged(cluster.node(1), "--level", "all", "--ranges")


def level(document: dict[str, Any], keyspace: str, name: str) -> dict[str, Any]:
    """A level of a keyspace in a verdict."""
    (found,) = [
        one
        for each in document["keyspaces"]
        if each["name"] == keyspace
        for one in each["levels"]
        if one["level"] == name
    ]
    return dict(found)


def lost(document: dict[str, Any], keyspace: str, name: str) -> set[Piece]:
    """The ranges that are unavailable for reads at a level."""
    return {(int(start), int(end)) for start, end in level(document, keyspace, name)["unavailable_ranges"]["read"]}


def check(cluster: RealCluster, *arguments: str) -> tuple[int, str]:
    """Exit code and line of the plugin."""
    return queries.ringcheck("check", "-H", cluster.node(1).address, *arguments)


def described(node: RealNode, keyspace: str) -> dict[Piece, set[str]]:
    """Ranges and their endpoints as `nodetool describering` prints them."""
    rows = re.findall(
        r"start_token:(-?\d+), end_token:(-?\d+), endpoints:\[([^]]*)\]", node.nodetool("describering", keyspace)
    )
    return {(int(start), int(end)): set(endpoints.split(", ")) for start, end, endpoints in rows}


def answered(cluster: RealCluster, document: dict[str, Any], keys: Keys) -> dict[tuple[str, str], set[Piece]]:
    """The ranges with reads that were not served, by keyspace and level; fails if an outcome was not predicted."""
    node = cluster.node(1)
    found = queries.compare(node, BLOGS, Prediction(document, node), keys, LEVELS)
    queries.LEDGER.append((node.release, "the article's example", found))
    assert not found.differences, "\n".join(found.differences[:20])
    return found.unserved


def test_all_up(article: RealCluster, keys: Keys) -> None:
    """With all nodes up the plugin is OK, and every query is served."""
    article.restore()
    code, line = check(article)
    assert (code, line[:5]) == (0, "OK - ")
    document = verdict(article)
    assert document["severity"] == "OK"
    assert {each["name"]: each["ranges"] for each in document["keyspaces"]} == {"blog_1": RANGES, "blog_3": RANGES}
    assert not any(answered(article, document, keys).values())


def test_before_conviction(article: RealCluster) -> None:
    """Right after a kill, while every peer still lists the node as live, the verdict is not OK and names the node."""
    article.restore()
    victim = article.node(3)
    victim.kill()
    code, line = check(article)
    assert victim.address in article.node(1).addresses("LiveNodes"), "convicted already: nothing was shown"
    assert code == 3
    assert line.startswith("UNKNOWN - ")
    assert victim.address in line


def test_one_node_lost(article: RealCluster, keys: Keys) -> None:
    """blog_1 has lost exactly the node's ranges; blog_3 is available at LOCAL_QUORUM, but not at LOCAL_ALL."""
    victim = article.node(3)
    without(article, 3)
    own = {piece for piece, endpoints in described(article.node(1), "blog_1").items() if endpoints == {victim.address}}
    document = verdict(article)
    assert level(document, "blog_1", "LOCAL_ONE")["severity"] == "CRITICAL"
    assert level(document, "blog_1", "LOCAL_ONE")["unavailable"] == len(own)
    assert lost(document, "blog_1", "LOCAL_ONE") == own
    assert level(document, "blog_3", "LOCAL_QUORUM")["severity"] == "OK"
    assert level(document, "blog_3", "LOCAL_ALL")["unavailable"] == RANGES
    asked = answered(article, document, keys)
    assert asked["blog_1", "LOCAL_ONE"] == own
    assert asked["blog_3", "LOCAL_QUORUM"] == set()
    assert len(asked["blog_3", "ALL"]) == RANGES


def test_one_node_lost_for_the_plugin(article: RealCluster) -> None:
    """The plugin's exit codes agree: CRITICAL, OK, and WARNING if every replica is required."""
    without(article, 3)
    code, line = check(article)
    assert code == 2
    assert re.match(
        rf"CRITICAL - lab: \d+ of {RANGES} ranges \([\d.]+ % of the tokens\) of blog_1 unavailable at LOCAL_ONE", line
    )
    assert article.node(3).address in line
    assert check(article, "-k", "blog_3")[0] == 0
    assert check(article, "-k", "blog_3", "-w", "LOCAL_ALL")[0] == 1


def test_two_nodes_lost(article: RealCluster, keys: Keys) -> None:
    """blog_3 has lost LOCAL_QUORUM on all ranges, and is available at LOCAL_ONE."""
    without(article, 2, 3)
    document = verdict(article)
    assert level(document, "blog_3", "LOCAL_QUORUM")["unavailable"] == RANGES
    assert level(document, "blog_3", "LOCAL_QUORUM")["severity"] == "WARNING"
    assert level(document, "blog_3", "LOCAL_ONE")["unavailable"] == 0
    asked = answered(article, document, keys)
    assert len(asked["blog_3", "LOCAL_QUORUM"]) == RANGES
    assert asked["blog_3", "LOCAL_ONE"] == set()
    assert asked["blog_1", "LOCAL_ONE"] == lost(document, "blog_1", "LOCAL_ONE")
