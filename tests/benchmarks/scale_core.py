"""Evaluating 1,024 nodes of 256 vnodes, 100 keyspaces of 5 distinct replications, against parsing their replies."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.core.ring import Node, Replication, Ring, Snapshot, View
from ringcheck.simulator.placement import SimPlace, TokenRing, place, random_tokens
from tests.benchmarks import Row, compared, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VNODES = 256
LARGEST = 1024
KEYSPACES = 20  # a replication
RACKS = 3
REPLICATIONS = (
    "NetworkTopologyStrategy {dc1=3}",
    "NetworkTopologyStrategy {dc2=3}",
    "NetworkTopologyStrategy {dc1=3, dc2=3}",
    "NetworkTopologyStrategy {dc1=2, dc2=1}",
    "SimpleStrategy {replication_factor=3}",
)
LEVELS = (Level.LOCAL_ONE, Level.LOCAL_QUORUM, Level.QUORUM, Level.LOCAL_ALL)
POLICY = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.LOCAL_QUORUM)),))


def address(node: int) -> str:
    return f"10.{node // 65536}.{node // 256 % 256}.{node % 256}"


def cluster(nodes: int) -> tuple[Snapshot, list[str]]:
    """A snapshot with all nodes up, and the replies with its rings."""
    places = [SimPlace(f"dc{1 + node % 2}", f"r{1 + node // 2 % RACKS}") for node in range(nodes)]
    tokens = TokenRing.of(dict(enumerate(random_tokens(nodes, VNODES, 1))))
    rings: list[Ring] = []
    replies = []
    for number, text in enumerate(REPLICATIONS):
        rows = place(tokens, Replication.parse(text), places, (5, 0))
        spans = [(*tokens.range(index), row) for index, row in enumerate(rows)]
        names = [f"ks_{number}_{place}" for place in range(KEYSPACES)]
        rings.append(Ring.build(names, Replication.parse(text), spans, nodes, (), rings[0].tokens if rings else ()))
        replies.append(json.dumps({f"[{a}, {b}]": [address(node) for node in row] for a, b, row in spans}))
    return all_up("big", places, VNODES, rings), replies


def all_up(
    name: str, places: Sequence[SimPlace], vnodes: int, rings: Sequence[Ring], most: int | None = None
) -> Snapshot:
    """A snapshot in which every view, or each of this many views, sees every node live."""
    members = tuple(
        Node(
            address(at),
            host_id=f"h{at}",
            datacenter=one.datacenter,
            rack=one.rack,
            release_version="5.0.8",
            mode="NORMAL",
            gossip_running=True,
            native_transport_running=True,
            generation=1,
            source="ok",
            tokens=vnodes,
        )
        for at, one in enumerate(places)
    )
    live = frozenset(node.address for node in members)
    views = tuple(View(node.address, live=live, unreachable=frozenset(), schema_version="s") for node in members[:most])
    return Snapshot(
        cluster=name,
        taken_at="2026-01-01T00:00:00Z",
        partitioner="Murmur3Partitioner",
        nodes=members,
        views=views,
        rings=tuple(rings),
    )


def with_down(seen: Snapshot, down: int) -> Snapshot:
    """The same with one node down and without its view."""
    gone = seen.nodes[down].address
    live = seen.views[0].live - {gone}
    views = tuple(
        replace(view, live=live, unreachable=frozenset([gone])) for view in seen.views if view.observer != gone
    )
    return replace(seen, views=views)


def fresh(seen: Snapshot) -> Snapshot:
    """The same without cached results."""
    return replace(seen, rings=tuple(replace(ring) for ring in seen.rings))


def judge(seen: Snapshot) -> object:
    return assess(seen, POLICY, Question(levels=LEVELS))


def run() -> Iterator[Row]:
    for nodes in (64, 256, LARGEST):
        yield from _measure(nodes)


def _measure(nodes: int) -> Iterator[Row]:
    seen, replies = cluster(nodes)
    gc.collect()
    parse = seconds(lambda: [json.loads(reply) for reply in replies], 3)
    large = nodes == LARGEST
    size = f"{nodes} nodes, {len(seen.rings[0]):,} ranges"
    firsts, changes, sames = [], [], []
    for round_ in range(3):
        new = fresh(seen)
        firsts.append(_timed(new, index=True))
        changes.append(_timed(with_down(new, 7 + round_)))
        sames.append(_timed(new))
    first, change, same = sorted(firsts)[1], sorted(changes)[1], sorted(sames)[1]
    yield compared(
        f"evaluate, first time: {size}",
        first,
        "json.loads of the replies",
        parse,
        budget=1 / 2 if large else None,
        text="<= 1/2",
    )
    yield compared(
        f"evaluate, one node changed: {size}",
        change,
        "first time",
        first,
        budget=1 / 50 if large else None,
        text="<= 1/50",
    )
    gates = seconds(lambda: Gatekeeper(with_down(seen, 7), POLICY, Gate()).safe_nodes(), 3)
    yield compared(
        f"gate for every node: {size}", gates, "first time", first, budget=1 / 4 if large else None, text="<= 1/4"
    )
    yield compared(
        f"evaluate, unchanged: {size}", same, "first time", first, budget=1 / 50 if large else None, text="~0"
    )


def _timed(seen: Snapshot, *, index: bool = False) -> float:
    """Seconds of one evaluation; the first includes the index of each node's ranges, which later ones use."""
    start = time.perf_counter()
    judge(seen)
    if index:
        assert all(ring.ranges_of for ring in seen.rings)
    return time.perf_counter() - start
