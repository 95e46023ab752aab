"""A restart plan for people at a terminal of 80 columns: the batches by rack, and who is in none."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ringcheck.core.words import counted
from ringcheck.report.terminal import printable, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.plan import Plan
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Node

_NAMED = 24  # nodes of one rack and batch that are named; --format json names all


def render(plan: Plan) -> str:
    """What `plan` prints."""
    blocks = [list(each(plan)) for each in (_head, _batches, _refused, _notes, _next)]
    return "\n\n".join("\n".join(printable(one) for one in block) for block in blocks if block)


def _head(plan: Plan) -> Iterator[str]:
    planned, refused = sum(len(batch) for batch in plan.batches), len(plan.refused)
    name = "UNKNOWN" if plan.unknown else "REFUSED" if refused else "PLAN"
    parts = [f"{counted(planned, 'node')} in {_batches_of(len(plan.batches))}"] if planned else []
    parts += [f"{counted(refused, 'node')} refused"] if refused else []
    yield from wrapped(f"{name} {plan.snapshot.cluster}: {', '.join(parts) or 'there is no node'}")
    if planned:
        yield from wrapped(plan.rule)
        yield from wrapped(f"for the ring of {plan.snapshot.taken_at} with all nodes up but those of the batch")


def _batches_of(number: int) -> str:
    return "1 batch" if number == 1 else f"{number} batches"


def _batches(plan: Plan) -> Iterator[str]:
    nodes = {node.address: node for node in plan.snapshot.nodes}
    for number, batch in enumerate(plan.batches, start=1):
        yield f"Batch {number}: {counted(len(batch), 'node')}"
        for place, members in groupby((nodes[one] for one in batch), key=_place):
            found = [node.address for node in members]
            yield from wrapped(f"{place} ({len(found)}): {_named(found)}", 2, 4)


def _place(node: Node) -> str:
    return f"{node.datacenter or '?'} {node.rack or '?'}"


def _named(addresses: list[str]) -> str:
    more = len(addresses) - _NAMED
    return ", ".join(addresses[:_NAMED]) + (f" and {more} more (--format json)" if more > 0 else "")


def _refused(plan: Plan) -> Iterator[str]:
    """Nodes with the same reasons together, in the words of the first."""
    alike: dict[tuple[object, ...], list[str]] = {}
    reasons: dict[tuple[object, ...], tuple[Reason, ...]] = {}
    for one in plan.refused:
        same: tuple[object, ...] = tuple((each.code, each.subject, each.level, each.datacenter) for each in one.reasons)
        alike.setdefault(same, []).append(one.node)
        reasons.setdefault(same, one.reasons)
    if alike:
        yield f"Refused: {counted(len(plan.refused), 'node')}"
    for key, nodes in alike.items():
        yield from wrapped(_named(nodes), 2)
        for why in reasons[key]:
            whose = f" ({nodes[0]})" if len(nodes) > 1 and why.ranges else ""
            yield from wrapped(f"{why.code}: {why.summary}{whose}", 4)
            if why.lifts_when:
                yield from wrapped(f"lifts when {why.lifts_when}", 6)


def _notes(plan: Plan) -> Iterator[str]:
    if plan.notes:
        yield "Now (this passes; the gate looks again before each batch)"
    for one in plan.notes:
        yield from wrapped(f"note {one.code}: {one.summary}", 2)


def _next(plan: Plan) -> Iterator[str]:
    if plan.batches:
        yield "Next: ringcheck roll --exec 'CMD {address}' asks the gate before each batch"
