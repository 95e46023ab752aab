"""A decision of the gate for an operator who was woken: the answer, why, and what would change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.words import counted, listed
from ringcheck.report.terminal import fitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.gate import Decision
    from ringcheck.core.reasons import Example, Reason

_SAYS = {
    "safe": "{who} may {what} now",
    "unsafe": "{who} must not {what} now",
    "unknown": "not known whether {who} may {what} now",
}
_WHAT = {"restart": "stop", "decommission": "leave"}


def render(decision: Decision, *, width: int | None = None) -> str:
    """What `preflight` prints: three lines that matter, then every reason; for a terminal in lines of its width."""
    lines = (*_head(decision), *_reasons(decision), *_left_out(decision))
    return fitted((((line, ""),) for line in lines), width)


def _head(decision: Decision) -> Iterator[str]:
    blocking = [one for one in decision.reasons if one.blocks]
    who = listed(decision.candidates) or "no node"
    name = decision.decision.upper()
    says = _SAYS[decision.decision].format(who=who, what=_WHAT[decision.action])
    yield f"{name} {decision.snapshot.cluster}: {says}"
    if blocking:
        more = f" (and {counted(len(blocking) - 1, 'more reason')})" if len(blocking) > 1 else ""
        yield f"because {blocking[0].summary}{more}"
        yield f"until {blocking[0].lifts_when}"
    else:
        yield _kept(decision)
        views = f"{counted(decision.checked.views, 'view')} of {decision.snapshot.taken_at}"
        agree = all(one.code != "view_disagreement" for one in decision.reasons)
        yield f"as {views} agree" if agree else f"though {views} do not agree"


def _kept(decision: Decision) -> str:
    """What clients keep: a yes by the operator's word may cost ranges, and some may be lost already."""
    checked, reasons = decision.checked, decision.reasons
    levels = listed([level.value for level in checked.levels])
    takes, lost = ([one for one in reasons if one.kind.lost == when] for when in ("by_the_stop", "before"))
    lifted = dict.fromkeys(one.code for one in reasons if one.code in decision.allowed and one.kind.lost is None)
    others = list(lifted)
    hedge = f", but for what you allow: {', '.join(others)}" if others else ""
    if not checked.keyspaces:
        return f"no range was judged, as you allow: {', '.join(others)}"
    if takes:
        return f"not every range keeps {levels}, as you allow: {_first(takes)}"
    if lost:
        return f"no range of {counted(checked.keyspaces, 'keyspace')} loses {levels}{hedge}; {_first(lost)}"
    return f"every range of {counted(checked.keyspaces, 'keyspace')} keeps {levels}{hedge}"


def _first(losses: list[Reason]) -> str:
    return losses[0].summary + (f" (and {len(losses) - 1} more, below)" if len(losses) > 1 else "")


def _reasons(decision: Decision) -> Iterator[str]:
    if not decision.reasons:
        return
    yield ""
    yield "Reasons"
    for one in decision.reasons:
        label = "blocks" if one.blocks else "allowed" if one.code in decision.allowed else "note"
        yield f"  {label} {one.code}: {one.summary}"
        if one.blocks and one.lifts_when:
            yield f"    lifts when {one.lifts_when}"
        yield from _example(one, one.example)


def _left_out(decision: Decision) -> Iterator[str]:
    if decision.left_out:
        yield f"Left out, for the snapshot is recorded: {', '.join(decision.left_out)}"


def _example(reason: Reason, example: Example | None) -> Iterator[str]:
    if example is None or not reason.blocks:
        return
    yield f"    for example ({example.start}, {example.end}]"
    yield f"      replicas {listed(example.replicas)}; {listed(example.live) or 'none'} would be left"
