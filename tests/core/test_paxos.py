"""Coordinators with different or unknown variants of Paxos: each is judged by the variants that it may have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.evidence import Evidence
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.whatif import suppose
from ringcheck.report.picture import draw
from tests.conftest import examples
from tests.core.clusters import address, nodes, ring, snapshot, views, with_node
from tests.core.test_bruteforce import exact
from tests.core.test_gate import DATA
from tests.core.test_verdicts import cases, eyes, told, watching
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict
    from tests.core.bruteforce import Case, Interval, Variant

BOTH: tuple[Variant, ...] = ("v1", "v2")
MAY_BE: Mapping[str | None, tuple[Variant, ...]] = {"v1": ("v1",), "v2": ("v2",), "v9": BOTH, None: BOTH}
SERIAL = st.sampled_from(("SERIAL", "LOCAL_SERIAL"))


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[Cluster, dict[str, str | None]]:
    """Clusters of 4.1 or 5.0, and the variant that each node reports."""
    cluster = replace(draw(clusters(views=3)), release=draw(st.sampled_from(("4.1.9", "5.0.8"))))
    return cluster, {name: draw(st.sampled_from(tuple(MAY_BE))) for name in cluster.places}


def reported(cluster: Cluster, variants: Mapping[str, str | None]) -> Snapshot:
    """The snapshot of a cluster whose nodes report these variants."""
    seen = cluster.snapshot()
    return replace(
        seen, nodes=tuple(replace(node, paxos_variant=variants[node.address], streams=0) for node in seen.nodes)
    )


def lost(case: Case, live: frozenset[str], variant: str | None) -> list[set[Interval]]:
    """The ranges that a coordinator which sees these nodes live has lost, for each variant that it may have."""
    return [replace(case, paxos=paxos).outage(live) for paxos in MAY_BE[variant]]


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(mixtures(), SERIAL)
def test_each_coordinator_is_judged_by_its_own_variant(
    mixture: tuple[Cluster, dict[str, str | None]], level: str
) -> None:
    """The brute force tries each coordinator with each variant that it may have; the worst one counts."""
    cluster, variants = mixture
    verdict = assess(reported(cluster, variants), watching(level))
    for keyspace, case in cases(cluster, level):
        if not exact(case):
            continue
        health = told(verdict, keyspace, case.client).health
        assert health is not None
        outages = [
            some for name, live in eyes(cluster, case.client).items() for some in lost(case, live, variants[name])
        ]
        if case.client is None:
            assert health.outage == len(case.arcs_of(set().union(*outages)))
        else:
            assert health.outage == max(len(case.arcs_of(some)) for some in outages)


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(mixtures(), SERIAL, st.data())
def test_a_stop_is_safe_only_for_every_variant_in_use(
    mixture: tuple[Cluster, dict[str, str | None]], level: str, data: st.DataObject
) -> None:
    """The gate answers safe exactly if it also does so for clusters that use each of the variants alone."""
    cluster, variants = mixture
    candidates = data.draw(st.lists(st.sampled_from(sorted(cluster.places)), min_size=1, max_size=2, unique=True))
    gate = Gate(level=Level(level), allow=DATA)
    used = {paxos for name in cluster.live for paxos in MAY_BE[variants[name]]}
    alone = [
        Gatekeeper(reported(cluster, dict.fromkeys(cluster.places, paxos)), Policy(), gate).decide(candidates)
        for paxos in sorted(used)
    ]
    together = Gatekeeper(reported(cluster, variants), Policy(), gate).decide(candidates)
    assert (together.decision == "safe") == all(decision.decision == "safe" for decision in alone)


# Two nodes join three others, in the last quarter of the ring
JOINING = ring("ks", "NetworkTopologyStrategy {dc1=3}", [[1, 2, 3]] * 4, 5, [(0, 2**62, [4, 5])])


def joining(variant: str | None, down: tuple[int, ...] = ()) -> Snapshot:
    """Five nodes, of which 4 and 5 join."""
    three, two = nodes(*["dc1"] * 5)[:3], nodes(*["dc1"] * 5, mode="JOINING", tokens=0)[3:]
    return snapshot([replace(node, paxos_variant=variant) for node in (*three, *two)], [JOINING], down)


@pytest.mark.parametrize(
    ("variant", "down", "unavailable"),
    [
        ("v1", (), 1),  # more than one pending participant
        ("v2", (), 0),  # four of five participants are needed
        ("v2", (3,), 0),
        ("v2", (5,), 0),
        ("v2", (3, 5), 1),  # three are left, although two natural replicas are enough for QUORUM
        ("v2", (4, 5), 1),
        (None, (), 1),
        ("v9", (), 1),
        (None, (3, 5), 1),
    ],
)
def test_two_joiners(variant: str | None, down: tuple[int, ...], unavailable: int) -> None:
    """Paxos v2 allows several pending participants, and needs one more promise for each of them."""
    (level,) = assess(joining(variant, down), watching("SERIAL")).keyspaces[0].levels
    assert level.health is not None
    assert level.health.unavailable == unavailable


def test_a_loss_by_one_variant_hides_no_loss_by_the_other() -> None:
    """A range that v1 already refuses may still be lost for v2 by a stop."""
    gate = Gate(level=Level.SERIAL, allow=DATA | {"already_unavailable"})
    blocking = {
        variant: [reason.code for reason in decision.reasons if reason.blocks]
        for variant in ("v1", "v2", None)
        for decision in [Gatekeeper(joining(variant, (5,)), Policy(), gate).decide([address(2)])]
    }
    assert blocking == {"v1": [], "v2": ["would_become_unavailable"], None: ["would_become_unavailable"]}


def test_a_picture_shows_the_variant_that_is_worse() -> None:
    """A coordinator of unknown variant is drawn with the numbers that the verdict shows for it."""
    verdict = assess(joining(None), watching("SERIAL"))
    picture = draw(verdict, "ks", Level.SERIAL)
    assert picture is not None
    assert [standing is not None and standing.condition for standing in picture.standings].count("unavailable") == 1


# Findings


def noted(verdict: Verdict) -> list[tuple[str, str]]:
    """The findings about Paxos."""
    return [(found.code, found.summary) for found in verdict.findings if found.code.startswith("paxos")]


def three(*variants: str | None, release: str = "5.0.8") -> Snapshot:
    """Three nodes that report these variants."""
    members = [
        replace(node, paxos_variant=variant, release_version=release)
        for node, variant in zip(nodes("dc1", "dc1", "dc1"), variants, strict=True)
    ]
    return snapshot(members, [ring("ks", "NetworkTopologyStrategy {dc1=3}", [[1, 2, 3]] * 4, 3)])


@pytest.mark.parametrize(
    ("variants", "summary"),
    [
        (("v1", "v1", "v1"), None),
        (("v1", "v2", "v2"), "Paxos variants differ: v1 on 10.0.0.1; v2 on 10.0.0.2, 10.0.0.3"),
        (
            ("v2", "v2_without_linearizable_reads", "v2"),
            "Paxos variants differ: v2 on 10.0.0.1, 10.0.0.3; v2_without_linearizable_reads on 10.0.0.2",
        ),
        (("v2", None, "v9"), None),  # not known, which is a different finding
    ],
)
def test_different_variants_are_a_finding(variants: tuple[str | None, ...], summary: str | None) -> None:
    """It is a warning, whichever level is watched, and does not block a stop."""
    seen = three(*variants)
    verdict = assess(seen, watching("QUORUM"))
    assert noted(verdict) == ([("paxos_disagreement", summary)] if summary else [])
    assert verdict.severity is (Severity.WARNING if summary else Severity.OK)
    assert Gatekeeper(seen, Policy(), Gate(level=Level.SERIAL)).decide([address(1)]).decision == "safe"


def test_releases_without_variants_have_v1() -> None:
    """An upgrade to 4.1 causes no disagreement until an upgraded node uses v2."""
    old = three(None, None, None, release="4.0.17")
    assert noted(assess(old, watching("SERIAL"))) == []
    for variant, differs in (("v1", False), ("v2", True)):
        mixed = with_node(old, 1, release_version="4.1.9", paxos_variant=variant)
        assert [code for code, _ in noted(assess(mixed, watching("SERIAL")))] == ["paxos_disagreement"] * differs


def test_unknown_variants_are_noted_where_they_matter() -> None:
    """The note names the coordinators, if SERIAL or LOCAL_SERIAL is judged."""
    seen = three("v1", None, "v9")
    text = "not known which variant of Paxos 10.0.0.2, 10.0.0.3 use"
    assert noted(assess(seen, watching("LOCAL_SERIAL"))) == [("paxos_unknown", text)]
    assert noted(assess(seen, watching("QUORUM"), Question(levels=(Level.SERIAL,)))) == [("paxos_unknown", text)]
    assert noted(assess(seen, watching("QUORUM"))) == []
    assert assess(seen, watching("SERIAL")).severity is Severity.OK


# Nodes that could not be asked


@pytest.mark.parametrize(
    ("others", "assumed"),
    [(("v2", "v2"), "v2"), (("v1", "v2"), None), ((None, None), None), (("v2", None), None)],
)
def test_a_node_that_is_supposed_back_has_the_variant_of_the_others(
    others: tuple[str | None, str | None], assumed: str | None
) -> None:
    """Its own variant is not known while it is down; one is assumed only if all other nodes of its release agree."""
    gone = {"release_version": None, "paxos_variant": None, "source": "unreachable"}
    seen = with_node(three(*others, None), 3, **gone)
    down = replace(seen, views=views(seen.nodes, (3,)))
    back = suppose(down, up=[address(3)]).nodes[2]
    assert (back.release_version, back.paxos_variant) == ("5.0.8", assumed)


def test_a_refused_attribute_stays_unknown() -> None:
    """A node that answered without its variant is not given that of the others, even while its view does not count."""
    seen = with_node(three("v2", "v2", None), 3, mode="DRAINED")
    assert Evidence(seen).assumed(seen.nodes[2]).paxos_variant is None


def test_what_one_variant_can_never_serve_is_no_outage_of_the_other() -> None:
    """With more replicas configured than nodes, only a range that is lost for v2 alone counts as lost."""
    rows = [[1], [2], [3], [1]]
    members = [replace(node, paxos_variant=None) for node in nodes("dc1", "dc1", "dc1")]
    seen = snapshot(members, [ring("ks", "NetworkTopologyStrategy {dc1=3}", rows, 3)], (2,))
    (level,) = assess(seen, watching("SERIAL")).keyspaces[0].levels
    assert level.health is not None
    assert (level.health.unavailable, level.health.outage, level.health.outage_share) == (4, 1, 0.25)
