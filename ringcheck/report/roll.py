"""A rolling restart in lines for a terminal and a log: what would be done, what is being done, and how it ended."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.client_errors import in_words
from ringcheck.core.words import counted, listed
from ringcheck.errors import cut, printable
from ringcheck.report.plan import batches
from ringcheck.report.terminal import fitted, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ringcheck.core.plan import Plan

RollOutcome: TypeAlias = Literal["done", "interrupted", "refused", "failed", "doubt", "aborted"]


@dataclass(slots=True, kw_only=True)
class Report:
    """How a run ended.

    Attributes:
        outcome: all nodes were restarted only if it is `done`.
        why: one line; empty if it is `done`.
        done: nodes that were restarted and are back.
        failed: nodes whose restart failed, and why; their leases are kept.
        in_hand: nodes whose restart was begun and whose state is not known; their leases are kept.
        left: nodes that were not touched.
        remedy: as of `Halt`.
        seconds: duration of the whole run.
    """

    outcome: RollOutcome = "done"
    why: str = ""
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    in_hand: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    remedy: str = ""
    seconds: float = 0.0


def line(event: Mapping[str, Any]) -> str | None:
    """An event as a line of at most 1,000 bytes; None for events that only the journal needs."""
    words = _WORDS.get(event["event"])
    text = words(event) if words else None
    return cut(printable(f"{event['time'][11:19]} {text}")) if text else None


def _plan(event: Mapping[str, Any]) -> str:
    nodes = sum(len(batch) for batch in event["batches"])
    return f"{batches(len(event['batches']))} of {counted(nodes, 'node')} left; next {listed(event['next'])}"


def _gate(event: Mapping[str, Any]) -> str | None:
    """No line for a refusal: the event that follows says whether the run waits or ends."""
    return f"gate: safe to stop {listed(event['candidates'])}" if event["decision"] == "safe" else None


def _ended(event: Mapping[str, Any]) -> str:
    result = event["problem"] or f"status {event['status']}"
    tail = event["output"].strip().splitlines()[-1:] if event["status"] != 0 else []
    return f"{event['node']} command ended, {result}" + (f": {tail[0][-200:]}" if tail else "")


def _clients(event: Mapping[str, Any]) -> str:
    seconds = event["seconds"]
    time = "since before the batch" if seconds is None else f"in {seconds:g} s"
    return f"clients got {in_words(event['errors']) or 'no errors'} {time}"


def _check(event: Mapping[str, Any]) -> str:
    return f"check {shlex.join(event['words'])} {_ended({**event, 'node': '-'}).removeprefix('- command ')}"


_WORDS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "plan": _plan,
    "gate": _gate,
    "waiting": lambda event: f"waiting: {event['why']}",
    "pause": lambda event: f"pause of {event['seconds']:g} s",
    "lease": lambda event: f"lease of {listed(event['nodes'])} in {event['store']}",
    "draining": lambda event: f"draining {listed(event['nodes'])}",
    "drained": lambda event: f"{event['node']} drained, and its peers see it down",
    "command": lambda event: f"{event['node']} runs {shlex.join(event['words'])}",
    "command_ended": _ended,
    "lacks": lambda event: f"waiting for {event['node']}: {event['what']}",
    "back": lambda event: f"{event['node']} back after {event['seconds']:g} s",
    "load": lambda event: event["what"],
    "clients": _clients,
    "clients_unread": lambda event: f"the errors of clients can't be read from {event['why']}",
    "check": _check,
    "bake": lambda event: f"watching clients for {event['seconds']:g} s",
    "failed": lambda event: f"{event['node']} FAILED: {event['why']}",
    "released": lambda event: f"lease released: {listed(event['nodes'])}",
}

_HEADS = {
    "done": "DONE",
    "interrupted": "STOPPED",
    "refused": "REFUSED",
    "failed": "FAILED",
    "doubt": "STOPPED IN DOUBT",
    "aborted": "ABORTED",
}


def final(cluster: str, report: Report, journal: str) -> str:
    """How a run ended: what was restarted, what was not, and what to do; at most 1,000 bytes a line."""
    return "\n".join(cut(printable(text)) for text in _final(cluster, report, journal))


def _final(cluster: str, report: Report, journal: str) -> Iterator[str]:
    number = len(report.done) + len(report.failed) + len(report.left) + len(report.in_hand)
    yield ""
    restarted = f"{len(report.done)} of {counted(number, 'node')} restarted in {duration(report.seconds)}"
    yield f"{_HEADS[report.outcome]} {cluster}: {restarted}"
    if report.why:
        yield f"because {report.why}"
    for node, problem in report.failed.items():
        yield f"  {node} failed and is still under its lease: {problem}"
    if report.in_hand:
        yield f"  restart begun, not known to be back, still under a lease: {listed(report.in_hand)}"
    if report.left:
        yield f"  not touched: {listed(report.left)}"
    if report.outcome != "done":
        remedy = f" {report.remedy}" if report.remedy else ""
        yield f"To continue, run the same command with --resume{remedy} (journal {journal})."


def rehearsal(
    plan: Plan, words: Mapping[str, Sequence[Sequence[str]]], *, drain: bool, width: int | None = None
) -> str:
    """What a run would do: each batch, and the commands for each of its nodes.

    Args:
        plan: the batches.
        words: by node its commands, each as a list of words.
        drain: whether a node is drained first.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    return fitted(map(plain, _rehearsal(plan, words, drain=drain)), width)


def _rehearsal(plan: Plan, words: Mapping[str, Sequence[Sequence[str]]], *, drain: bool) -> Iterator[str]:
    nodes, number = sum(len(batch) for batch in plan.batches), len(plan.batches)
    cluster = plan.snapshot.cluster
    yield f"WOULD RESTART {counted(nodes, 'node')} of {cluster} in {batches(number)} ({plan.rule})"
    for place, batch in enumerate(plan.batches, 1):
        yield f"Batch {place} of {number}"
        for node in batch:
            if drain:
                yield f"  {node} drain"
            yield from (f"  {node} {shlex.join(command)}" for command in words[node])
    for refusal in plan.refused:
        yield f"REFUSED {refusal.node}: {refusal.reasons[0].summary}"


def refusal(cluster: str, why: str, *, width: int | None = None) -> str:
    """Why a run would end before it takes a lease; `width` as for `rehearsal`."""
    return fitted([plain(f"REFUSED {cluster}: {why}")], width)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 7 min`."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - an hour
