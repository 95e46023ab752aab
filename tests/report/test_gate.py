"""The text of a decision: its first lines never contradict its reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Replication, Ring, Snapshot
from ringcheck.report.gate import answer, render
from tests import article

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
