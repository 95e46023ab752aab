"""Decisions of the gate and restart plans as `ringcheck/decision/1` and `ringcheck/plan/1` documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.documents.fields import Json, token_texts

if TYPE_CHECKING:
    from ringcheck.core.gate import Decision
    from ringcheck.core.plan import Plan
    from ringcheck.core.reasons import Reason

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
        "holders": list(decision.holders),
        "left_out": list(decision.left_out),
        "allowed": list(decision.allowed),
        "reasons": [_reason(one) for one in decision.reasons],
        "checked": {
            "keyspaces": decision.checked.keyspaces,
            "ranges": decision.checked.ranges,
            "views": decision.checked.views,
            "levels": [level.value for level in decision.checked.levels],
        },
    }


def _reason(one: Reason) -> Json:
    document: Json = {name: getattr(one, name) for name in _REASON}
    document["keyspaces"] = list(one.keyspaces)
    document["level"] = one.level.value if one.level else None
    document["example"] = None
    if one.example:
        start, end = token_texts((one.example.start, one.example.end))
        held = {"replicas": list(one.example.replicas), "live": list(one.example.live)}
        document["example"] = {"start": start, "end": end, **held}
    return document


_REASON = ("code", "blocks", "subject", "keyspace", "datacenter", "ranges", "share", "summary", "lifts_when")


def plan_document(plan: Plan) -> Json:
    """A restart plan as `ringcheck/plan/1`."""
    return {
        "schema": PLAN,
        "cluster": plan.snapshot.cluster,
        "taken_at": plan.snapshot.taken_at,
        "batches": [list(batch) for batch in plan.batches],
        "refused": [{"node": one.node, "reasons": [_reason(reason) for reason in one.reasons]} for one in plan.refused],
        "rule": plan.rule,
        "notes": [_reason(one) for one in plan.notes],
    }
