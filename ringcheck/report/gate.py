"""A decision of the gate for an operator: the answer, why, and what would change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.actions import ACTIONS
from ringcheck.core.evidence import evidence_of
from ringcheck.core.words import counted, listed
from ringcheck.report.terminal import CODES, fitted, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.gate import Decision
    from ringcheck.core.reasons import Example, Reason
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.terminal import Line

_ANSWERS = {
    "safe": "{nodes} may {verb} now",
    "unsafe": "{nodes} must not {verb} now",
    "unknown": "not known whether {nodes} may {verb} now",
}


def render(decision: Decision, *, colour: bool = False, width: int | None = None) -> str:
    """The output of `preflight`: three lines that matter, then every reason.

    Args:
        decision: what to show.
        colour: paint the answer and the labels of the reasons with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    lines = (*_answer(decision), *_reasons(decision), *map(plain, _left_out(decision)))
    return fitted(lines, width, colour=colour)


def answer(decision: Decision) -> str:
    """The three lines that matter, alone."""
    return fitted(_answer(decision), None)


def one_line(decision: Decision) -> str:
    """The same in one line: `SAFE NAME: 10.0.0.1 may stop now; ...; as 3 views agree`."""
    head, *grounds = ("".join(text for text, _ in line) for line in _answer(decision))
    blocked = any(reason.blocks for reason in decision.reasons)
    return f"{head}{' ' if blocked else '; '}{'; '.join(grounds)}"


def _answer(decision: Decision) -> Iterator[Line]:
    blocking = [reason for reason in decision.reasons if reason.blocks]
    answer = _ANSWERS[decision.decision].format(nodes=_subject(decision), verb=ACTIONS[decision.action].verb)
    yield (decision.decision.upper(), decision.decision), (f" {decision.snapshot.cluster}: {answer}", "")
    yield from map(plain, _grounds(decision, blocking))


def _grounds(decision: Decision, blocking: Sequence[Reason]) -> Iterator[str]:
    if blocking:
        more = f" (and {counted(len(blocking) - 1, 'more reason')})" if len(blocking) > 1 else ""
        yield f"because {blocking[0].summary}{more}"
        yield f"until {blocking[0].lifts_when}"
    else:
        yield _what_stays_available(decision)
        yield from _about_candidates(decision)
        views = f"{counted(decision.checked.views, 'view')} of {decision.snapshot.taken_at}"
        agree = all(reason.code != "view_disagreement" for reason in decision.reasons)
        yield f"as {views} agree" if agree else f"though {views} do not agree"


def _about_candidates(decision: Decision) -> Iterator[str]:
    """What a yes must not hide about the candidates: that they are down already, or under a lease."""
    down = [decision.snapshot.index[name] for name in decision.candidates if name in decision.snapshot.index]
    names = evidence_of(decision.snapshot).names(evidence_of(decision.snapshot).surely_down.intersection(down))
    if names and decision.action == "restart":
        yield f"{listed(names)} {'is' if len(names) == 1 else 'are'} down already"
    for reason in decision.reasons:
        if reason.code == "lease_held" and reason.subject in decision.candidates:
            yield f"though {reason.summary}"


def _subject(decision: Decision) -> str:
    if decision.action == "bootstrap":
        return f"a node in {decision.newcomer}"
    return listed(decision.candidates) or "no node"


def _what_stays_available(decision: Decision) -> str:
    """What stays available. With allowed reasons the stop may cost ranges, and some may be unavailable already."""
    checked, reasons = decision.checked, decision.reasons
    levels = listed([level.value for level in checked.levels])
    clients = f" for clients of {listed(checked.clients)}" if checked.clients else ""
    taken, lost = ([reason for reason in reasons if reason.kind.lost == when] for when in ("by_the_stop", "before"))
    allowed = ", ".join(_allowed(decision))
    hedge = f", but for what you allow: {allowed}" if allowed else ""
    if not checked.keyspaces:
        return f"no range was evaluated, as you allow: {allowed}"
    if taken:
        return f"not every range keeps {levels}{clients}, as you allow: {_first(taken)}"
    if lost:
        return f"no range of {counted(checked.keyspaces, 'keyspace')} loses {levels}{clients}{hedge}; {_first(lost)}"
    return f"every range of {counted(checked.keyspaces, 'keyspace')} keeps {levels}{clients}{hedge}"


def _allowed(decision: Decision) -> dict[str, None]:
    """Codes of the reasons that were allowed, apart from those for lost ranges; each once, in their order."""
    allowed = (reason for reason in decision.reasons if reason.code in decision.allowed)
    return dict.fromkeys(reason.code for reason in allowed if reason.kind.lost is None)


def _first(losses: list[Reason]) -> str:
    return losses[0].summary + (f" (and {len(losses) - 1} more, below)" if len(losses) > 1 else "")


def _reasons(decision: Decision) -> Iterator[Line]:
    if not decision.reasons:
        return
    yield plain("")
    yield plain("Reasons")
    for reason in decision.reasons:
        label = "blocks" if reason.blocks else "allowed" if reason.code in decision.allowed else "note"
        style = label if label in CODES else ""
        yield ("  ", ""), (label, style), (f" {reason.code}: {reason.summary}", "")
        if reason.blocks and reason.lifts_when:
            yield plain(f"    lifts when {reason.lifts_when}")
        if reason.blocks and reason.example:
            yield from map(plain, _example(decision.snapshot, reason.example, reason.datacenter))


def _example(snapshot: Snapshot, example: Example, datacenter: str | None) -> Iterator[str]:
    """A range with the replicas that count: for a LOCAL level those of the clients' datacenter."""
    replicas, live = (
        [name for name in names if datacenter is None or snapshot.nodes[snapshot.index[name]].datacenter == datacenter]
        for names in (example.replicas, example.live)
    )
    where = f" in {datacenter}" if datacenter else ""
    yield f"    for example ({example.start}, {example.end}]"
    yield f"      replicas{where} {listed(replicas) or 'none'}; {listed(live) or 'none'} would be left"


def _left_out(decision: Decision) -> Iterator[str]:
    if decision.left_out:
        yield f"Not fully checked, since the snapshot is recorded: {', '.join(decision.left_out)}"
