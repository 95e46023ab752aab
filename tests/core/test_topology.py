"""Supposed topologies: replicas are where Cassandra would place them, and tokens are as the nodes would have them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.assess import Question
from ringcheck.core.consistency import Level
from ringcheck.core.odds import Rates, odds
from ringcheck.core.placement import Ownership, ownership_of, placed, spans_of
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.ring import Layout, Replication, Ring
from ringcheck.core.topology import Topology, rack_aware, with_topology
from ringcheck.core.whatif import Supposition, what_if
from ringcheck.documents.snapshot import read_snapshot
from ringcheck.errors import UsageError
from ringcheck.simulator.placement import SimPlace, TokenRing, even_tokens, place, random_tokens
from tests.conftest import examples
from tests.core.clusters import nodes, ring, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.core.ring import Snapshot

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
BOTH = "NetworkTopologyStrategy {dc1=2, dc2=1}"
ONE_SIDE = "NetworkTopologyStrategy {dc1=2}"
REPLICATIONS = st.one_of(
    st.integers(1, 5).map(lambda factor: f"SimpleStrategy {{replication_factor={factor}}}"),
    st.tuples(st.integers(0, 5), st.integers(0, 4)).map(
        lambda factors: f"NetworkTopologyStrategy {{dc1={factors[0]}, dc2={factors[1]}}}"
    ),
    st.just("NetworkTopologyStrategy {dc1=3}"),
)


def cluster(places: Sequence[str], replications: Sequence[str], vnodes: int = 4, tokens: str = "random") -> Snapshot:
    """A healthy cluster whose replicas the simulator has placed; keyspaces are ks0, ks1 and so on."""
    made = random_tokens(len(places), vnodes, 1) if tokens == "random" else even_tokens(len(places), vnodes)
    owned = TokenRing.of(dict(enumerate(made)))
    homes = [SimPlace(*text.split(":")) for text in places]
    rings = []
    for number, text in enumerate(replications):
        rows = place(owned, Replication.parse(text), homes, (5, 0))
        spans = [(*owned.range(index), row) for index, row in enumerate(rows)]
        rings.append(Ring.build([f"ks{number}"], Replication.parse(text), spans, len(places)))
    return snapshot(nodes(*places, tokens=vnodes), rings)


def replicas(seen: Snapshot, keyspace: str) -> list[tuple[int, frozenset[int]]]:
    """Token and nodes of each range."""
    (found,) = [found for found in seen.rings if keyspace in found.keyspaces]
    return [(end, frozenset(row) - {found.filler}) for end, row in zip(found.tokens, found.rows(), strict=True)]


PLACES = ("dc1:r1", "dc1:r2", "dc1:r2", "dc2:r1", "dc2:r1")


@settings(max_examples=examples(100))
@given(
    homes=st.lists(st.tuples(st.sampled_from(("dc1", "dc2")), st.sampled_from("abcd")), min_size=1, max_size=10),
    vnodes=st.integers(1, 4),
    text=REPLICATIONS,
)
def test_replicas_are_where_the_simulator_places_them(homes: list[tuple[str, str]], vnodes: int, text: str) -> None:
    """Each range has the same nodes as on the embedded cluster, which is compared with recordings of real clusters."""
    tokens = TokenRing.of(dict(enumerate(random_tokens(len(homes), vnodes, 1))))
    racks = tuple(sorted(set(homes)))
    layout = Layout(racks, tuple(map(racks.index, homes)))
    rows = placed(Ownership(tokens.tokens, tokens.owners), Replication.parse(text), layout)
    assert [len(row) for row in rows] == [len(set(row)) for row in rows]
    wanted = place(tokens, Replication.parse(text), [SimPlace(*home) for home in homes], (5, 0))
    assert list(map(set, rows)) == list(map(set, wanted))


def test_the_owners_of_tokens() -> None:
    """The first replicas of a keyspace that is in all datacenters own the tokens; other keyspaces are only checked."""
    seen = cluster(PLACES, [ONE_SIDE, BOTH])
    ownership = ownership_of(seen)
    tokens = random_tokens(5, 4, 1)
    assert {node: sorted(owned) for node, owned in ownership.owned().items()} == dict(enumerate(tokens))
    article = read_snapshot((SNAPSHOTS / "article-healthy.json").read_text(), "article")
    assert Counter(ownership_of(article).owners) == dict.fromkeys(range(3), 256)


def test_owners_that_are_not_known() -> None:
    """If no keyspace is in all datacenters, replicas are elsewhere, or a node moves, nothing is supposed."""
    with pytest.raises(UsageError, match="no keyspace has replicas in every datacenter"):
        ownership_of(cluster(PLACES, [ONE_SIDE]))
    seen = cluster(PLACES, [BOTH])
    (only,) = seen.rings
    moved = Ring.build(["ks0"], only.replication, [(*only.range(0), (1, 2, 4)), *_but_the_first(only)], 5)
    with pytest.raises(UsageError, match="the replicas of ks0 are not where its replication would place them"):
        ownership_of(replace(seen, rings=(moved,)))
    orders = ring("orders", "SimpleStrategy {replication_factor=1}", [[1], [2]], 2, [(0, 5, [2])])
    with pytest.raises(UsageError, match="nodes are joining, leaving or moving"):
        with_topology(snapshot(nodes("dc1", "dc1"), [orders]), Topology(tokens=4))


def _but_the_first(of: Ring) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(*of.range(index), of.replicas(index)) for index in range(1, len(of))]


def test_another_replication() -> None:
    """The keyspace gets the replicas of the new replication; other keyspaces keep their rings."""
    seen = cluster(PLACES, [BOTH, "SimpleStrategy {replication_factor=1}"])
    wanted = Replication.parse("NetworkTopologyStrategy {dc1=3, dc2=2}")
    then = with_topology(seen, Topology(replication=(("ks1", wanted),)))
    assert replicas(then, "ks1") == replicas(cluster(PLACES, [str(wanted)]), "ks0")
    assert then.rings[0] == seen.rings[0]
    merged = with_topology(seen, Topology(replication=(("ks1", Replication.parse(BOTH)),)))
    assert [found.keyspaces for found in merged.rings] == [("ks0", "ks1")]


@pytest.mark.parametrize(
    ("topology", "error"),
    [
        (Topology(replication=(("none", Replication.parse(BOTH)),)), "there is no keyspace none (known: ks0)"),
        (
            Topology(replication=(("ks0", Replication.parse("NetworkTopologyStrategy {dc3=1}")),)),
            "datacenter dc3 has no nodes (known: dc1, dc2)",
        ),
    ],
)
def test_suppositions_about_what_does_not_exist(topology: Topology, error: str) -> None:
    """They are errors."""
    with pytest.raises(UsageError) as caught:
        with_topology(cluster(PLACES, [BOTH]), topology)
    assert str(caught.value) == error


@pytest.mark.parametrize("choice", ["random", "allocated"])
def test_every_node_with_other_tokens(choice: str) -> None:
    """Each node has this many new tokens, none occurs twice, and the ring is placed by them."""
    then = with_topology(cluster(PLACES, [BOTH]), Topology(tokens=8, choice=choice))  # type: ignore[arg-type]
    assert [node.tokens for node in then.nodes] == [8] * 5
    ownership = ownership_of(then)
    assert Counter(ownership.owners) == dict.fromkeys(range(5), 8)
    assert len(set(ownership.tokens)) == 40
    assert then == with_topology(cluster(PLACES, [BOTH]), Topology(tokens=8, choice=choice))  # type: ignore[arg-type]


def test_allocated_tokens_spread_the_load_of_a_rack() -> None:
    """Within a rack the largest share of a node is nearer to the mean than with random tokens."""
    seen = cluster(["dc1:r1"] * 12, ["SimpleStrategy {replication_factor=1}"])

    def largest(choice: str) -> int:
        ownership = ownership_of(with_topology(seen, Topology(tokens=8, choice=choice)))  # type: ignore[arg-type]
        widths: Counter[int] = Counter()
        for (start, end), owner in zip(
            pairwise([ownership.tokens[-1], *ownership.tokens]), ownership.owners, strict=True
        ):
            widths[owner] += (end - start) % 2**64
        return max(widths.values())

    assert largest("allocated") < 1.6 * 2**64 / 12 < largest("random")


@pytest.mark.parametrize("choice", ["random", "allocated"])
def test_a_node_that_joins(choice: str) -> None:
    """It has as many tokens as the other nodes of its datacenter, which keep theirs."""
    seen = cluster(PLACES, [BOTH])
    then = with_topology(seen, Topology(added=(("dc2", "r2"), ("dc1", "r2")), choice=choice))  # type: ignore[arg-type]
    assert [(node.address, node.tokens) for node in then.nodes[5:]] == [("added-1", 4), ("added-2", 4)]
    assert {node: owned for node, owned in ownership_of(then).owned().items() if node < 5} == ownership_of(seen).owned()


def test_the_verdict_with_a_node_that_joins() -> None:
    """It is up for every view, has a view of its own, and becomes the third replica of its datacenter."""
    seen = cluster(["dc1:r1", "dc1:r2"], ["NetworkTopologyStrategy {dc1=3}"])
    result = what_if(seen, Policy(), Supposition(topology=Topology(added=(("dc1", "r3"),))))
    assert (result.now.severity, result.then.severity) == (Severity.OK, Severity.OK)
    assert list(result.then.states) == ["up"] * 3
    health = {change.then.level: change.then.health for change in result.changes}[Level.LOCAL_QUORUM]
    assert health is not None
    assert (health.at_minimum, health.node_failures_to_outage) == (0, 2)
    gone = what_if(
        seen, Policy(), Supposition(down=(seen.nodes[0].address,), topology=Topology(added=(("dc1", "r3"),)))
    )
    assert gone.then.down() == [seen.nodes[0].address]


def test_rings_whose_replicas_are_not_known() -> None:
    """No other tokens can be supposed for them, but another replication of another keyspace can."""
    seen = cluster(["dc1:r1", "dc1:r2"], ["SimpleStrategy {replication_factor=1}"])
    foreign = replace(seen.rings[0], keyspaces=("odd",), replication=Replication.parse("com.example.Odd {}"))
    seen = replace(seen, rings=(*seen.rings, foreign))
    with pytest.raises(UsageError, match=r"it is not known where odd \(Odd\) would have its replicas"):
        with_topology(seen, Topology(tokens=2))
    then = with_topology(seen, Topology(replication=(("ks0", Replication.parse("NetworkTopologyStrategy {dc1=2}")),)))
    assert then.rings[1] == foreign


def test_the_metadata_log_does_not_follow_the_tokens() -> None:
    """The members of the metadata service of 6.0+ stay the same."""
    seen = cluster(["dc1:r1", "dc1:r2"], ["SimpleStrategy {replication_factor=1}"])
    log = ring("system_cluster_metadata", "MetaStrategy {replication_factor=1}", [[2]], 2)
    then = with_topology(replace(seen, rings=(*seen.rings, log)), Topology(added=(("dc1", "r1"),)))
    assert replicas(then, "system_cluster_metadata") == [(log.tokens[0], frozenset({1}))]
    assert then.rings[1].filler == 3


def test_rack_awareness() -> None:
    """A datacenter gets as many racks as it has replicas; SimpleStrategy becomes NetworkTopologyStrategy."""
    seen = cluster(["dc1:r1"] * 9, ["SimpleStrategy {replication_factor=3}"], vnodes=16)
    then = rack_aware(seen)
    assert Counter(node.rack for node in then.nodes) == {"rack-1": 3, "rack-2": 3, "rack-3": 3}
    rack_of = then.layout.rack_of
    assert all(len({rack_of[node] for node in row}) == 3 for _, row in replicas(then, "ks0"))
    rates = Rates(node_mtbf=1000.0, repair=1.0, rack_mtbf=10_000.0)
    now, aware = (odds(each, Policy(), rates, Question()).data[0] for each in (seen, then))
    assert now.odds is not None
    assert aware.odds is not None
    assert (now.racks, aware.racks) == ((("dc1", "r1"),), ())
    assert aware.odds.probability.at_most < now.odds.probability.at_least / 1000
    awake = cluster(["dc1:r1", "dc1:r2", "dc1:r3"], ["NetworkTopologyStrategy {dc1=3}"])
    assert rack_aware(awake).nodes == awake.nodes


def test_tokens_of_the_random_partitioner() -> None:
    """They lie in the token space of that partitioner."""
    space = 2**127 + 1
    draw = random.Random(1)  # noqa: S311 - repeatable
    owned = Ownership.of({node: [draw.randrange(space) for _ in range(3)] for node in range(3)})
    replication = Replication.parse("SimpleStrategy {replication_factor=2}")
    seen = snapshot(nodes("dc1", "dc1", "dc1", tokens=3))
    made = Ring.build(["ks0"], replication, spans_of(owned, placed(owned, replication, seen.layout)), 3)
    seen = replace(seen, rings=(made,), partitioner="RandomPartitioner")
    then = with_topology(seen, Topology(tokens=32))
    assert all(0 <= token < space for token in then.rings[0].tokens)
    assert max(then.rings[0].tokens) > 2**125
