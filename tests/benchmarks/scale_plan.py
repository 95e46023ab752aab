"""Planning the restart of up to 1,024 nodes, and its number of batches against the rule of Spotify's cstar.

cstar's default strategy, `topology` (endpoint_mapping.py, strategy.py and topology.py at af21a60), takes hosts rack by
rack and runs on each host that shares no range with a running one, in one datacenter after the other, or with
`--topology-per-dc` in all of them at once. Here it runs in rounds, each of which waits for the one before, as batches
do. It ignores levels: nodes that share a range never stop together, but nodes that can't be spared do stop.

Seconds are CPU seconds of one thread: the duration on a machine without other work.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.core.ring import Replication, Ring, Snapshot
from ringcheck.simulator.placement import SimPlace, TokenRing, place, random_tokens
from tests.benchmarks import Row
from tests.benchmarks.scale_core import LARGEST, POLICY, VNODES, all_up, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

BUDGET = 10.0  # seconds


class Case(NamedTuple):
    """A cluster with one keyspace and all nodes up."""

    nodes: int
    vnodes: int
    racks: int
    replication: str
    level: Level = Level.LOCAL_QUORUM
    datacenters: int = 1


THREE, FIVE = "NetworkTopologyStrategy {dc1=3}", "NetworkTopologyStrategy {dc1=5}"
BOTH = "NetworkTopologyStrategy {dc1=3, dc2=3}"
CASES = (
    Case(6, 16, 3, THREE),
    Case(12, 16, 3, BOTH, datacenters=2),
    Case(12, 16, 3, BOTH, Level.QUORUM, datacenters=2),
    Case(6, 16, 3, "NetworkTopologyStrategy {dc1=2}"),
    Case(24, 16, 1, THREE),
    Case(24, 16, 5, THREE),
    Case(30, 16, 5, FIVE),
    Case(30, 16, 5, FIVE, Level.LOCAL_ONE),
    Case(96, 16, 1, THREE),
    Case(100, 1, 1, "SimpleStrategy {replication_factor=3}"),
    Case(256, 16, 1, "SimpleStrategy {replication_factor=3}"),
    Case(LARGEST, VNODES, 3, BOTH, datacenters=2),
    Case(LARGEST, VNODES, 3, BOTH, Level.QUORUM, datacenters=2),
    Case(LARGEST, VNODES, 1, "SimpleStrategy {replication_factor=3}"),
)


def snapshot(case: Case) -> Snapshot:
    """The snapshot of a case, with all nodes up."""
    places = [
        SimPlace(f"dc{1 + one % case.datacenters}", f"r{1 + one // case.datacenters % case.racks}")
        for one in range(case.nodes)
    ]
    tokens = TokenRing.of(dict(enumerate(random_tokens(case.nodes, case.vnodes, 1))))
    replication = Replication.parse(case.replication)
    spans = [(*tokens.range(at), row) for at, row in enumerate(place(tokens, replication, places, (5, 0)))]
    ring = Ring.build(["ks"], replication, spans, case.nodes)
    return all_up("plan", places, case.vnodes, [ring])


def cstar_rounds(seen: Snapshot) -> list[int]:
    """Rounds of cstar's topology strategy in each datacenter."""
    friends: dict[int, set[int]] = {node: set() for node in range(len(seen.nodes))}
    for ring in seen.rings:
        for row in set(ring.rows()):
            for node in set(row) - {ring.filler}:
                friends[node].update(row)
    return [_rounds(seen, name, friends) for name in seen.datacenters]


def _rounds(seen: Snapshot, datacenter: str, friends: dict[int, set[int]]) -> int:
    here = [at for at, node in enumerate(seen.nodes) if node.datacenter == datacenter]
    remaining = sorted(here, key=lambda at: seen.nodes[at].rack or "")
    rounds = 0
    while remaining:
        running: set[int] = set()
        for node in remaining:
            if friends[node].isdisjoint(running):
                running.add(node)
        remaining = [node for node in remaining if node not in running]
        rounds += 1
    return rounds


def run() -> Iterator[Row]:
    """First the whole benchmark cluster, then batches compared with those of cstar."""
    seen, _ = cluster(LARGEST)
    for what, accept in (("", ("ks_3*", "ks_4*")), (", all refused", ("ks_0*",))):
        start = time.process_time()
        made = plan(seen, POLICY, Gate(accept=accept))
        taken = time.process_time() - start
        result = f"{len(made.batches)} batches, {len(made.refused)} refused"
        size = f"{LARGEST} nodes, {len(seen.rings[0]):,} ranges, {len(seen.rings)} replications"
        yield Row(f"plan{what}: {size}", f"{taken:.2f} s", result, None, f"<= {BUDGET:g} s", taken <= BUDGET)
    for case in CASES:
        yield _against_cstar(case)


def _against_cstar(case: Case) -> Row:
    seen = snapshot(case)
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(case.level)),))
    start = time.process_time()
    made = plan(seen, policy, Gate(level=case.level))
    taken = time.process_time() - start
    rounds = cstar_rounds(seen)
    racks = "1 rack" if case.racks == 1 else f"{case.racks} racks"
    where = racks if case.datacenters == 1 else f"{case.datacenters} x {racks}"
    what = f"batches: {case.nodes} nodes of {case.vnodes}, {where}, {case.replication} at {case.level}"
    answer = f"{len(made.batches)} ({made.rule})" if made.batches else f"none: {len(made.refused)} refused"
    aside = f" (at once: {max(rounds)})" if len(rounds) > 1 else ""
    budget = (f"<= {BUDGET:g} s", taken <= BUDGET) if case.nodes == LARGEST else ("", None)
    ratio = len(made.batches) / sum(rounds) if made.batches else None
    return Row(what, f"{answer}, {taken:.2f} s", f"cstar: {sum(rounds)}{aside}", ratio, *budget)
