"""The odds of 1,024 nodes of 256 vnodes: pairs whose loss is an outage at LOCAL_QUORUM, and triples at LOCAL_ONE."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ringcheck.core.assess import Question
from ringcheck.core.consistency import Level
from ringcheck.core.odds import Rates, odds
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.core.ring import Replication, Ring
from ringcheck.simulator.placement import SimPlace, TokenRing, place, random_tokens
from tests.benchmarks import Row
from tests.benchmarks.scale_core import all_up, fresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.ring import Snapshot

NODES = 1024
SECONDS = 5.0
RATES = Rates(node_mtbf=180 * 86400.0, repair=4 * 3600.0)


def cluster(vnodes: int) -> Snapshot:
    places = [SimPlace("dc1", f"r{1 + node % 3}") for node in range(NODES)]
    tokens = TokenRing.of(dict(enumerate(random_tokens(NODES, vnodes, 1))))
    replication = Replication.parse("NetworkTopologyStrategy {dc1=3}")
    rows = place(tokens, replication, places, (5, 0))
    spans = [(*tokens.range(index), row) for index, row in enumerate(rows)]
    return all_up("big", places, vnodes, [Ring.build(["orders"], replication, spans, NODES)])


def run() -> Iterator[Row]:
    for vnodes in (16, 256):
        seen = cluster(vnodes)
        for level, sets in ((Level.LOCAL_QUORUM, "pairs"), (Level.LOCAL_ONE, "triples")):
            policy = Policy((Rule(keyspaces=("*",), critical=Threshold(level)),))
            begin, cpu = time.perf_counter(), time.process_time()
            found = odds(fresh(seen), policy, RATES, Question())
            taken, used = time.perf_counter() - begin, time.process_time() - cpu
            (known,) = found.levels
            assert known.odds is not None
            width = known.odds.probability.at_most / known.odds.probability.at_least - 1
            yield Row(
                what=f"odds by {sets}, and of data: {NODES} nodes, {len(seen.rings[0]):,} ranges",
                measured=f"{taken:.2f} s ({used:.2f} s of CPU); bounds {width:.1%} apart",
                against="",
                ratio=None,
                budget=f"<= {SECONDS:g} s for pairs",
                met=used <= SECONDS if sets == "pairs" else None,
            )
