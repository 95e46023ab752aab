"""A decision of the gate for an operator who was woken: the answer, why, and what would change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.assess import counted, listed
from ringcheck.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.gate import Decision, Example, Reason

_MAY = {"safe": "may", "unsafe": "must not", "unknown": "must not, as far as is known,"}
_DO = {"restart": "stop now", "decommission": "leave now"}


def render(decision: Decision) -> str:
    """What `preflight` prints: three lines that matter, then every reason."""
    return "\n".join(printable(one) for one in [*_head(decision), *_reasons(decision), *_left_out(decision)])


def _head(decision: Decision) -> Iterator[str]:
    blocking = [one for one in decision.reasons if one.blocks]
    who = listed(decision.candidates) or "no node"
    name = decision.decision.upper()
    yield f"{name} {decision.snapshot.cluster}: {who} {_MAY[decision.decision]} {_DO[decision.action]}"
    if blocking:
        more = f" (and {counted(len(blocking) - 1, 'more reason')})" if len(blocking) > 1 else ""
        yield f"because {blocking[0].summary}{more}"
        yield f"until {blocking[0].lifts_when}"
    else:
        checked = decision.checked
        levels = listed([level.value for level in checked.levels])
        yield f"every range of {counted(checked.keyspaces, 'keyspace')} keeps {levels}"
        yield f"as {counted(checked.views, 'view')} of {decision.snapshot.taken_at} agree"


def _reasons(decision: Decision) -> Iterator[str]:
    if not decision.reasons:
        return
    yield ""
    yield "Reasons"
    for one in decision.reasons:
        yield f"  {'blocks' if one.blocks else 'note'} {one.code}: {one.summary}"
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
