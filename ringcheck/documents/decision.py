"""Decisions of the gate and restart plans as `ringcheck/decision/1` and `ringcheck/plan/1` documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.documents.fields import token_texts

if TYPE_CHECKING:
    from ringcheck.core.actions import Newcomer
    from ringcheck.core.gate import Decision
    from ringcheck.core.plan import Plan
    from ringcheck.core.reasons import Example, Reason
    from ringcheck.documents.fields import Json

DECISION = "ringcheck/decision/1"
PLAN = "ringcheck/plan/1"


def decision_document(decision: Decision) -> Json:
    """A decision of the gate as `ringcheck/decision/1`."""
    return {
        "schema": DECISION,
        "cluster": decision.snapshot.cluster,
        "taken_at": decision.snapshot.taken_at,
        "decision": decision.decision,
        "action": decision.action,
        "candidates": list(decision.candidates),
        "newcomer": decision.newcomer and _newcomer(decision.newcomer),
        "together": [list(group) for group in decision.together],
        "holders": list(decision.holders),
        "left_out": list(decision.left_out),
        "allowed": list(decision.allowed),
        "reasons": [_reason(reason) for reason in decision.reasons],
        "checked": {
            "keyspaces": decision.checked.keyspaces,
            "ranges": decision.checked.ranges,
            "views": decision.checked.views,
            "levels": [level.value for level in decision.checked.levels],
        },
    }


def _newcomer(newcomer: Newcomer) -> Json:
    return {"datacenter": newcomer.datacenter, "rack": newcomer.rack}


_REASON = ("code", "blocks", "subject", "keyspace", "datacenter", "ranges", "share", "summary", "lifts_when")


def _reason(reason: Reason) -> Json:
    return {
        **{name: getattr(reason, name) for name in _REASON},
        "keyspaces": list(reason.keyspaces),
        "level": reason.level.value if reason.level else None,
        "example": reason.example and _example(reason.example),
    }


def _example(example: Example) -> Json:
    start, end = token_texts((example.start, example.end))
    return {"start": start, "end": end, "replicas": list(example.replicas), "live": list(example.live)}


def plan_document(plan: Plan) -> Json:
    """A restart plan as `ringcheck/plan/1`."""
    return {
        "schema": PLAN,
        "cluster": plan.snapshot.cluster,
        "taken_at": plan.snapshot.taken_at,
        "batches": [list(batch) for batch in plan.batches],
        "refused": [
            {"node": refusal.node, "reasons": [_reason(reason) for reason in refusal.reasons]}
            for refusal in plan.refused
        ],
        "rule": plan.rule,
        "notes": [_reason(note) for note in plan.notes],
    }
