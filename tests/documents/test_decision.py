"""Decisions and plans as documents: they conform to their schemas and name every keyspace of a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Replication, Ring, Snapshot
from ringcheck.documents.decision import decision_document, plan_document
from tests import article
from tests.schemas import validate


def twins() -> Snapshot:
    """The article's ring of RF 1 for two keyspaces."""
    seen = article.snapshot()
    ring = seen.rings[0]
    rows = [(*ring.range(index), ring.replicas(index)) for index in range(len(ring))]
    return replace(seen, rings=(Ring.build(["a", "b"], Replication.parse(str(ring.replication)), rows, 3),))


@pytest.mark.parametrize("allowed", [(), ("streaming", "structurally_never_safe")])
def test_a_decision_records_what_was_allowed_and_names_every_keyspace(allowed: tuple[str, ...]) -> None:
    """Allowed codes are listed whether or not such a reason arose; all keyspaces that share a ring are named."""
    document = decision_document(
        Gatekeeper(twins(), Policy(), Gate(allow=frozenset(allowed))).decide(article.ADDRESSES[:1])
    )
    validate(document, "decision-1")
    assert document["allowed"] == list(allowed)
    reasons = [(why["code"], why["blocks"], why["keyspace"], why["keyspaces"]) for why in document["reasons"]]
    assert reasons == [("structurally_never_safe", not allowed, "a", ["a", "b"])]


def test_a_plan_names_every_keyspace_of_its_reasons() -> None:
    """Its reasons have the form of those of a decision."""
    document = plan_document(plan(twins(), Policy(), Gate()))
    validate(document, "plan-1")
    assert {tuple(why["keyspaces"]) for refusal in document["refused"] for why in refusal["reasons"]} == {("a", "b")}
