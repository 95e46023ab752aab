"""A judgement is reused as long as its input is unchanged, and always equals one that is made from scratch."""

from __future__ import annotations

import gc
import random
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import judging
from ringcheck.agent.judging import Given, Judgement, Judging
from ringcheck.core.assess import assess
from ringcheck.core.evidence import Evidence, evidence_of
from ringcheck.core.findings import noted
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.maintenance import Maintenance
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Problem
from ringcheck.core.unchanged import shows_the_same
from ringcheck.documents.verdict import verdict_document
from tests.core import clusters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.ring import Snapshot

MEMBERS = clusters.nodes("dc1:r1", "dc1:r2", "dc1:r3")
RING = clusters.ring("shop", "NetworkTopologyStrategy {dc1=3}", [[1, 2, 3], [2, 3, 1], [3, 1, 2]], 3)
SEEN = clusters.snapshot(MEMBERS, [RING])
STARTED = 1714979289 - 20  # seconds: 20 before SEEN was taken
GIVEN = Given(policy=Policy(), maintenance=None, lasting=(), holders=())
LATER = tuple(f"2024-05-06T07:{minute:02}:09Z" for minute in range(8, 13))


def taken(judge: Judging, seen: Snapshot, given: Given = GIVEN) -> Judgement:
    """The judgement on the next snapshot."""
    judge.look(seen)
    return judge.judge(seen, given)


def answers(judgement: Judgement) -> Mapping[str, Any]:
    """A judgement as a value to compare."""
    return {"verdict": verdict_document(judgement.verdict), "safe": judgement.safe}


def made_anew(seen: Snapshot, given: Given = GIVEN) -> Mapping[str, Any]:
    """A judgement that is made from scratch, without anything cached."""
    return answers(taken(Judging(Gate()), replace(seen), given))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Snapshot]:
    """The snapshots that are judged from scratch from now on."""
    judged: list[Snapshot] = []

    def noting(seen: Snapshot, *rest: Any, **options: Any) -> Any:
        judged.append(seen)
        return assess(seen, *rest, **options)

    monkeypatch.setattr(judging, "assess", noting)
    return judged


def test_a_snapshot_that_shows_the_same_is_not_judged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judgement is reused, but its verdict refers to the new snapshot with its own time."""
    judge, judged = Judging(Gate()), counted(monkeypatch)
    for at in LATER:
        seen = replace(SEEN, taken_at=at)
        judgement = taken(judge, seen)
        assert judgement.verdict.snapshot is seen
        assert judgement.safe == clusters.addresses([1, 2, 3])
        assert len(judged) == 1
        assert answers(judgement) == made_anew(seen)
        judged.pop()


CHANGES: Mapping[str, tuple[Snapshot, Given]] = {
    "a node is down": (clusters.snapshot(MEMBERS, [RING], down=[2]), GIVEN),
    "a view differs": (clusters.with_view(SEEN, 1, schema_version="other"), GIVEN),
    "a node has streams": (clusters.with_node(SEEN, 1, streams=1), GIVEN),
    "a node was started": (clusters.with_node(SEEN, 1, generation=STARTED), GIVEN),
    "a problem": (replace(SEEN, problems=(Problem("ring_unreadable", "shop", "shop can't be read"),)), GIVEN),
    "no ring": (replace(SEEN, rings=()), GIVEN),
    "another ring": (replace(SEEN, rings=(replace(RING, keyspaces=("other",)),)), GIVEN),
    "other logins": (replace(SEEN, authenticates=False, auth_read_level="ONE"), GIVEN),
    "another policy": (SEEN, replace(GIVEN, policy=Policy(authenticates=True))),
    "a lease": (SEEN, replace(GIVEN, holders=tuple(clusters.held(1)))),
    "an excuse": (SEEN, replace(GIVEN, maintenance=Maintenance(tuple(clusters.held(1))), holders=())),
    "no lease store": (SEEN, replace(GIVEN, maintenance=Maintenance(problem="down"), holders=None)),
    "it lasts": (SEEN, replace(GIVEN, lasting=(noted("movement_too_long", "10.0.0.1", "it moves"),))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_is_judged_anew(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any change leads to a new judgement, and so does the change back."""
    judge, judged = Judging(Gate()), counted(monkeypatch)
    taken(judge, replace(SEEN))
    seen, given = CHANGES[change]
    assert answers(taken(judge, replace(seen), given)) == made_anew(seen, given)
    assert answers(taken(judge, replace(SEEN))) == made_anew(SEEN)
    assert len(judged) == 5


@pytest.mark.slow
def test_any_order_of_changes_gives_the_judgements_that_are_made_anew() -> None:
    """The times of snapshots also go back, as they do when a clock is set."""
    rng = random.Random(1)  # noqa: S311 - no secret
    judge = Judging(Gate())
    seen, given = SEEN, GIVEN
    for _ in range(300):
        if rng.random() < 0.4:
            seen, given = rng.choice([*CHANGES.values(), (SEEN, GIVEN)])
        seen = replace(seen, taken_at=rng.choice(LATER))
        assert answers(taken(judge, seen, given)) == made_anew(seen, given)


def test_other_nodes_may_restart_once_one_has_run_for_long_enough() -> None:
    """Until then only the node that was just started may restart. The snapshots differ only in their time."""
    judge, young = Judging(Gate(settle=45)), clusters.with_node(SEEN, 1, generation=STARTED)
    times = ["2024-05-06T07:08:09Z", "2024-05-06T07:08:19Z", "2024-05-06T07:08:39Z", "2024-05-06T07:08:19Z", "never"]
    safe = [taken(judge, replace(young, taken_at=at)).safe for at in times]
    alone, all_of_them = clusters.addresses([1]), clusters.addresses([1, 2, 3])
    assert safe == [alone, alone, all_of_them, alone, frozenset()]


def test_a_lease_that_is_overdue_excuses_nothing_any_more() -> None:
    """The lease stops being an excuse although the snapshots differ only in their time."""
    judge = Judging(Gate())
    given = replace(GIVEN, maintenance=Maintenance(tuple(clusters.held(2)), deadline_seconds=600))
    for at, code in ((LATER[0], "lease_held"), (LATER[1], "lease_held"), (LATER[4], "lease_overdue")):
        judgement = taken(judge, replace(SEEN, taken_at=at), given)
        assert [finding.code for finding in judgement.verdict.findings] == [code]


def test_what_the_judgement_needs_stays_with_the_ring() -> None:
    """What other callers computed for the ring is dropped after a while."""
    judge = Judging(Gate())
    ring = replace(RING)
    for at in LATER:
        seen = replace(SEEN, taken_at=at, rings=(ring,))
        taken(judge, seen)
        mine = {key for key in ring.memo if isinstance(key, tuple) and key[0] == "state"}
        if at == LATER[0]:
            first = mine
            Gatekeeper(seen, Policy(), Gate()).decide(["10.0.0.1"])
            assert len([key for key in ring.memo if isinstance(key, tuple) and key[0] == "state"]) > len(first)
    assert mine == first


@pytest.mark.parametrize("same", [True, False], ids=["the same", "a node died"])
def test_a_snapshot_that_was_replaced_is_freed_at_once(same: bool) -> None:  # noqa: FBT001 - a case
    """It and its rings don't stay in memory until Python searches for cycles."""
    judge = Judging(Gate())
    seen = replace(SEEN, rings=(replace(RING),))
    later = replace(seen, taken_at=LATER[1]) if same else clusters.snapshot(MEMBERS, [replace(RING)], down=[1])
    gc.disable()
    try:
        taken(judge, seen)
        judge_refers = weakref.ref(seen), weakref.ref(seen.rings[0])
        del seen
        taken(judge, later)
        assert [refers() is None for refers in judge_refers] == [True, not same]
    finally:
        gc.enable()


def test_evidence_is_shared_with_a_snapshot_that_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared evidence still refers to each snapshot separately."""
    before, seen = replace(SEEN), replace(SEEN, taken_at=LATER[1])
    evidence_of(before)
    monkeypatch.setattr(Evidence, "__init__", None)
    assert shows_the_same(seen, before)
    assert evidence_of(seen).snapshot is seen
    assert evidence_of(before).snapshot is before
    assert evidence_of(seen).states == ("up", "up", "up")
