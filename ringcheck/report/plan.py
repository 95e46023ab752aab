"""A restart plan for people: the batches by rack, and the nodes that are in none."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ringcheck.core.words import counted
from ringcheck.report.terminal import Sentence, blocks, labelled, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.plan import Plan, Refusal
    from ringcheck.core.ring import Node

_NAMED = 24  # nodes of a rack in a batch that are named; --format json names all


def render(plan: Plan, *, colour: bool = False, width: int | None = None, options: str = "") -> str:
    """The output of `plan`.

    Args:
        plan: what to show.
        colour: paint the answer with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
        options: of `plan`, for the command that comes next.
    """
    parts = (_head, _batches, _refused, _notes)
    return blocks((*(part(plan) for part in parts), _next(plan, options)), colour=colour, width=width)


def batches(number: int) -> str:
    """`1 batch`, `2 batches`."""
    return "1 batch" if number == 1 else f"{number} batches"


_STYLES = {"PLAN": "OK", "REFUSED": "CRITICAL", "UNKNOWN": "UNKNOWN"}


def _head(plan: Plan) -> Iterator[Sentence]:
    planned, refused = sum(len(batch) for batch in plan.batches), len(plan.refused)
    word = "UNKNOWN" if plan.unknown else "REFUSED" if refused else "PLAN"
    parts = [f"{counted(planned, 'node')} in {batches(len(plan.batches))}"] if planned else []
    parts += [f"{counted(refused, 'node')} refused"] if refused else []
    rest = f" {plan.snapshot.cluster}: {', '.join(parts) or 'there is no node'}"
    yield labelled(word, _STYLES[word], rest)
    if planned:
        yield said(plan.rule)
        yield said(f"for the ring of {plan.snapshot.taken_at}, if all nodes outside the batch are up")


def _batches(plan: Plan) -> Iterator[Sentence]:
    nodes = {node.address: node for node in plan.snapshot.nodes}
    for number, batch in enumerate(plan.batches, start=1):
        yield said(f"Batch {number}: {counted(len(batch), 'node')}")
        for rack, members in groupby((nodes[address] for address in batch), key=_rack):
            addresses = [node.address for node in members]
            yield said(f"{rack} ({len(addresses)}): {_addresses(addresses)}", 2, 4)


def _rack(node: Node) -> str:
    return f"{node.datacenter or '?'} {node.rack or '?'}"


def _addresses(addresses: list[str]) -> str:
    more = len(addresses) - _NAMED
    return ", ".join(addresses[:_NAMED]) + (f" and {more} more (--format json)" if more > 0 else "")


def _refused(plan: Plan) -> Iterator[Sentence]:
    """Nodes that are refused for the same reasons together, with the reasons of the first."""
    groups: dict[object, list[Refusal]] = {}
    for refusal in plan.refused:
        alike = tuple((reason.code, reason.subject, reason.level, reason.datacenter) for reason in refusal.reasons)
        groups.setdefault(alike, []).append(refusal)
    if groups:
        yield said(f"Refused: {counted(len(plan.refused), 'node')}")
    for group in groups.values():
        addresses = [refusal.node for refusal in group]
        yield said(_addresses(addresses), 2)
        for reason in group[0].reasons:
            whose = f" ({addresses[0]})" if len(addresses) > 1 and reason.ranges else ""
            yield said(f"{reason.code}: {reason.summary}{whose}", 4)
            if reason.lifts_when:
                yield said(f"lifts when {reason.lifts_when}", 6)


def _notes(plan: Plan) -> Iterator[Sentence]:
    if plan.notes:
        yield said("Now (temporary; the gate checks again before each batch)")
    for note in plan.notes:
        yield said(f"note {note.code}: {note.summary}", 2)


def _next(plan: Plan, options: str) -> Iterator[Sentence]:
    if plan.batches:
        command = " ".join(filter(None, ("ringcheck roll", options, "--exec 'CMD {address}'")))
        yield said(f"Next: {command} asks the gate before each batch")
