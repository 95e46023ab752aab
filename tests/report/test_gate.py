"""The text of a decision: its first lines never contradict its reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Replication, Ring, Snapshot
from ringcheck.report.gate import answer, render
from tests import article
from tests.core.clusters import nodes, ring, snapshot

if TYPE_CHECKING:
    from collections.abc import Collection

ALL = article.ADDRESSES
LOSSES = frozenset({"structurally_never_safe", "would_become_unavailable"})


def short_of_replicas() -> Snapshot:
    """A cluster with a keyspace whose quorum needs more replicas than there are nodes."""
    seen = article.snapshot()
    ring = seen.rings[1]
    rows = [(*ring.range(index), ring.replicas(index)) for index in range(len(ring))]
    wide = Ring.build(["wide"], Replication.parse("SimpleStrategy {replication_factor=7}"), rows, 3)
    return replace(seen, rings=(seen.rings[1], wide))


def torn() -> Snapshot:
    """Three coordinators, one of which sees a node down."""
    seen = article.snapshot()
    blind = replace(seen.views[1], live=frozenset(ALL[:2]), unreachable=frozenset(ALL[2:]))
    return replace(seen, views=(seen.views[0], blind, seen.views[2]))


@pytest.mark.parametrize(
    ("seen", "gate", "candidates", "kept"),
    [
        (article.snapshot(), Gate(accept=("blog_1",)), ALL[:1], "every range of 1 keyspace keeps LOCAL_QUORUM"),
        (
            article.snapshot(),
            Gate(allow=LOSSES),
            ALL[:2],
            (
                "not every range keeps LOCAL_QUORUM, as you allow: 768 of 768 ranges (100.0 % of the tokens) of blog_3"
                " would become unavailable at LOCAL_QUORUM in dc1 (and 1 more, below)"
            ),
        ),
        (
            article.snapshot(ALL[:1]),
            Gate(),
            ALL[:1],
            (
                "no range of 2 keyspaces loses LOCAL_QUORUM; 256 of 768 ranges (31.5 % of the tokens) of blog_1 are"
                " unavailable already at LOCAL_QUORUM in dc1"
            ),
        ),
        (
            short_of_replicas(),
            Gate(level=Level.QUORUM),
            ALL[:1],
            (
                "no range of 2 keyspaces loses QUORUM, LOCAL_ONE; 768 of 768 ranges"
                " (100.0 % of the tokens) of wide can never be served at QUORUM"
            ),
        ),
        (
            article.snapshot(ALL[:1]),
            Gate(level=Level.ONE, accept=("blog_1",), require_all_up=True, allow=frozenset({"node_down_elsewhere"})),
            ALL[1:2],
            "every range of 1 keyspace keeps ONE, LOCAL_ONE, but for what you allow: node_down_elsewhere",
        ),
        (
            article.snapshot(),
            Gate(accept=("*",), allow=frozenset({"no_data"})),
            ALL[:1],
            "no range was evaluated, as you allow: no_data",
        ),
    ],
)
def test_a_safe_decision_says_what_is_kept(seen: Snapshot, gate: Gate, candidates: tuple[str, ...], kept: str) -> None:
    """It says that every range keeps its level, but only if no reason says that a range loses it."""
    lines = render(Gatekeeper(seen, Policy(), gate).decide(candidates)).splitlines()
    assert (lines[0].split(" ")[0], lines[1]) == ("SAFE", kept)


def test_views_that_disagree_are_reported_with_a_safe_decision() -> None:
    """The operator may allow the disagreement, but it is still stated."""
    gate = Gate(level=Level.ONE, accept=("blog_1",), allow=frozenset({"view_disagreement"}))
    lines = render(Gatekeeper(torn(), Policy(), gate).decide(ALL[:1])).splitlines()
    assert (lines[0].split(" ")[0], lines[2]) == ("SAFE", "though 3 views of 2026-01-01T00:00:00Z do not agree")


def test_allowed_reasons_are_marked() -> None:
    """A reason that the operator allows is not labelled as a note."""
    text = render(Gatekeeper(article.snapshot(ALL[:1]), Policy(), Gate(allow=LOSSES)).decide(ALL[1:2]))
    labels = [line.split(":")[0].strip() for line in text.splitlines() if line.startswith("  ") and line[2] != " "]
    assert labels == [
        "blocks already_unavailable",
        "allowed would_become_unavailable",
        "allowed structurally_never_safe",
        "note node_down_elsewhere",
    ]


def test_the_answer_alone_has_three_lines() -> None:
    """These are the first lines of the complete output."""
    decision = Gatekeeper(article.snapshot(), Policy(), Gate()).decide(ALL[:2])
    assert answer(decision).splitlines() == render(decision).splitlines()[:3]


def test_sentences_are_broken_between_words_for_a_terminal() -> None:
    """Without a terminal no sentence is broken."""
    decision = Gatekeeper(article.snapshot(), Policy(), Gate()).decide(ALL[:2])
    whole, shown = render(decision).splitlines(), render(decision, width=80).splitlines()
    assert max(map(len, whole)) > 80 >= max(map(len, shown))
    assert " ".join(shown).split() == " ".join(whole).split()
    assert shown[1:3] == [
        "because 768 of 768 ranges (100.0 % of the tokens) of blog_3 would become",
        "  unavailable at LOCAL_QUORUM in dc1 (and 1 more reason)",
    ]


def two_datacenters(down: Collection[int] = ()) -> Snapshot:
    """Three nodes in each of two datacenters, RF 3 in both."""
    members = nodes(*["dc1"] * 3, *["dc2"] * 3)
    rows = [(1, 2, 3, 4, 5, 6), (3, 1, 2, 6, 4, 5)]
    return snapshot(members, [ring("orders", "NetworkTopologyStrategy {dc1=3, dc2=3}", rows, 6)], down)


def test_the_clients_that_were_looked_at_are_named() -> None:
    """If only clients of some datacenters count, a yes says so: a stop elsewhere costs them nothing."""
    keeper = Gatekeeper(two_datacenters(), Policy(client_datacenters=("dc2",)), Gate())
    lines = answer(keeper.decide(["10.0.0.1", "10.0.0.2"])).splitlines()
    assert lines[0] == "SAFE test: 10.0.0.1, 10.0.0.2 may stop now"
    assert lines[1] == "every range of 1 keyspace keeps LOCAL_QUORUM for clients of dc2"
    everyone = answer(Gatekeeper(two_datacenters(), Policy(), Gate()).decide(["10.0.0.1", "10.0.0.2"]))
    assert everyone.startswith("UNSAFE test:")


def test_a_yes_names_a_lease_on_the_node() -> None:
    """Somebody else may be restarting it: its stop costs nothing more, but is not for others to do."""
    holder = Holder(node="10.0.0.1", owner="bob", purpose="kernel", since="2026-01-01T00:00:00Z")
    decision = Gatekeeper(two_datacenters(), Policy(), Gate(), [holder]).decide(["10.0.0.1"])
    assert decision.decision == "safe"
    text = "10.0.0.1 is under the restart lease of bob: only its owner may stop it"
    assert answer(decision).splitlines()[2] == f"though {text}"
    assert ("lease_held", text, False) in [(one.code, one.summary, one.blocks) for one in decision.reasons]
    other = Gatekeeper(two_datacenters(), Policy(), Gate(), [holder]).decide(["10.0.0.4"])
    assert "though" not in answer(other)


def test_a_yes_says_that_a_node_is_down_already() -> None:
    """It may be started again; nothing that is up stops."""
    decision = Gatekeeper(two_datacenters([1]), Policy(), Gate()).decide(["10.0.0.1"])
    assert decision.decision == "safe"
    assert answer(decision).splitlines()[2] == "10.0.0.1 is down already"
    assert "down already" not in answer(Gatekeeper(two_datacenters(), Policy(), Gate()).decide(["10.0.0.1"]))


def test_the_example_has_the_replicas_that_count() -> None:
    """For a LOCAL level these are the replicas in the clients' datacenter."""
    text = render(Gatekeeper(two_datacenters([3]), Policy(), Gate()).decide(["10.0.0.1"]))
    assert "replicas in dc1 10.0.0.1, 10.0.0.2, 10.0.0.3; 10.0.0.2 would be left" in text
    everywhere = render(Gatekeeper(two_datacenters([3, 4]), Policy(), Gate(level=Level.QUORUM)).decide(["10.0.0.1"]))
    assert (
        "replicas 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5 and 1 more; 10.0.0.2, 10.0.0.5, 10.0.0.6"
        in everywhere
    )


def test_the_outage_comes_before_a_smaller_loss_by_the_stop() -> None:
    """The headline is the largest loss: advice about the smaller one would lead into the next refusal."""
    members = nodes("dc1", "dc1", "dc1")
    single = ring("single", "NetworkTopologyStrategy {dc1=1}", [(1,), (2,), (3,), (1,)], 3)
    triple = ring("triple", "NetworkTopologyStrategy {dc1=3}", [(1, 2, 3)], 3)
    seen = snapshot(members, [single, triple], [2, 3])
    lines = answer(Gatekeeper(seen, Policy(), Gate()).decide(["10.0.0.1"])).splitlines()
    assert lines[1].startswith("because 1 of 1 ranges (100.0 % of the tokens) of triple are unavailable already")


@pytest.mark.parametrize(("level", "lower"), [(Level.LOCAL_ONE, False), (Level.LOCAL_QUORUM, True)])
def test_a_lower_level_is_advised_only_if_it_helps(level: Level, lower: bool) -> None:  # noqa: FBT001 - a case
    """A range with one replica survives no stop at any level; one with two does at LOCAL_ONE."""
    rows = [(1, 2)] if lower else [(1,)]
    pair = ring("pair", f"NetworkTopologyStrategy {{dc1={len(rows[0])}}}", rows, 3)
    seen = snapshot(nodes("dc1", "dc1", "dc1"), [pair])
    lines = answer(Gatekeeper(seen, Policy(), Gate(level=level)).decide(["10.0.0.1"])).splitlines()
    advice = ", a lower level is kept" if lower else ""
    assert lines[2] == f"until the replication factor is raised{advice}, or the keyspace is accepted by name"
