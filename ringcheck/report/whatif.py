"""Suppositions and risks: for people at a terminal of 80 columns, and as JSON documents."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Any

from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, listed, percent
from ringcheck.documents.verdict import verdict_document
from ringcheck.report import text
from ringcheck.report.terminal import printable, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ringcheck.core.risk import FailureSet, LevelRisk, Losses, Risk, T, TierRisk
    from ringcheck.core.verdict import LevelVerdict
    from ringcheck.core.whatif import LevelChange, WhatIf

RISK = "ringcheck/risk/1"


def render(found: WhatIf, *, colour: bool = False) -> str:
    """What `what-if` prints: what changes, then the verdict as `health` would print it."""
    changes = "\n".join(printable(line) for line in (*_supposed(found), *_changes(found.changes)))
    return f"{changes}\n\n{text.render(found.then, colour=colour)}"


def document(found: WhatIf) -> dict[str, Any]:
    """The verdict as it would be as `ringcheck/verdict/1`, and what was supposed."""
    return {**verdict_document(found.then), "supposed": {"down": list(found.down), "up": list(found.up)}}


def _supposed(found: WhatIf) -> Iterator[str]:
    parts = [f"{listed(who)} {what}" for who, what in ((found.down, "down"), (found.up, "up")) if who]
    now, then = found.now.severity.name, found.then.severity.name
    yield from wrapped(f"Supposing {' and '.join(parts)}: {f'{now} -> {then}' if now != then else f'still {now}'}")


def _changes(changes: Sequence[LevelChange]) -> Iterator[str]:
    if not changes:
        yield "No level of any keyspace changes."
    for one in changes:
        where = f" in {one.then.datacenter}" if one.then.datacenter else ""
        yield from wrapped(f"{one.keyspace} at {one.then.level}{where}: {'; '.join(_differences(one))}", 2, 4)


def _differences(change: LevelChange) -> Iterator[str]:
    """Severity and unavailable ranges always; the others where they change."""
    now, then = change.now, change.then
    if then.severity:
        yield _step(_severity(now), _severity(then))
    if then.health is None or now is None or now.health is None:
        yield f"unavailable {_step(_unavailable(now), _unavailable(then))}"
        return
    was, will = now.health, then.health
    of = f" of {counted(will.ranges, 'range')} ({percent(will.unavailable_share)})"
    yield f"unavailable {_step(str(was.unavailable), str(will.unavailable))}{of}"
    if was.at_minimum != will.at_minimum:
        yield f"at minimum {was.at_minimum} -> {will.at_minimum}"
    left = [
        (what, getattr(was, f"{what}_failures_to_outage"), getattr(will, f"{what}_failures_to_outage"))
        for what in ("node", "rack")
    ]
    steps = [f"{what}s {_left(before)} -> {_left(after)}" for what, before, after in left if before != after]
    if steps:
        yield f"failures to outage: {', '.join(steps)}"


def _step(now: str, then: str) -> str:
    return then if now == then else f"{now} -> {then}"


def _severity(one: LevelVerdict | None) -> str:
    return one.severity.name if one and one.severity else "?"


def _unavailable(one: LevelVerdict | None) -> str:
    return str(one.health.unavailable) if one and one.health else "?"


def _left(failures: int | None) -> str:
    return "-" if failures is None else str(failures)


# Risk


def render_risk(found: Risk) -> str:
    """What `risk` prints: the smallest losses overall, then by keyspace, level and datacenter."""
    blocks = [list(_head(found)), list(_gaps(found)), *([*_level(one)] for one in found.levels), list(_note(found))]
    return "\n\n".join("\n".join(printable(line) for line in block) for block in blocks if block)


def _head(found: Risk) -> Iterator[str]:
    word = "UNKNOWN" if found.gaps else "RISK"
    tiers = "; ".join(_tier(one) for one in found.overall) or "nothing can be told of any level that is watched"
    yield from wrapped(f"{word} {found.verdict.snapshot.cluster}: {tiers}")
    yield from wrapped(text.seen(found.verdict))


def _tier(one: TierRisk) -> str:
    what = f"a {one.tier.name} outage"
    if one.nodes.failures == 0:
        return f"{what} is there now"
    if one.nodes.failures is None:
        return f"no loss of nodes makes {what}"
    racks = f" or {counted(one.racks.failures, 'rack')}" if one.racks.failures else ""
    return f"{what} takes {counted(one.nodes.failures, 'node')}{racks}"


def _gaps(found: Risk) -> Iterator[str]:
    if found.gaps:
        yield "Not known: smaller losses than these may be an outage"
    for one in found.gaps:
        yield from wrapped(f"{one.code}: {one.summary}", 2)


def _level(one: LevelRisk) -> Iterator[str]:
    where = f" in {one.datacenter}" if one.datacenter else ""
    tier = one.tier.name if one.tier else "not watched"
    yield from wrapped(f"{listed(one.keyspaces)} at {one.level}{where} ({tier})", 0, 2)
    if one.problem is not None or one.nodes is None or one.racks is None:
        yield from wrapped(f"not known: {one.problem}", 2)
        return
    if one.structurally_unavailable:
        lost = f"{one.structurally_unavailable} of {counted(one.ranges, 'range')}"
        yield from wrapped(f"{lost} can never be served: more replicas are needed than there are", 2)
    if one.nodes.failures == 0:
        yield "  ranges are unavailable now: `ringcheck health` tells which"
        return
    yield from _losses(one.nodes, "node", str)
    yield from _losses(one.racks, "rack", "/".join)


def _losses(found: Losses[T], what: str, name: Callable[[T], str]) -> Iterator[str]:
    if found.failures is None:
        yield f"  no loss of {what}s makes ranges unavailable"
        return
    yield from wrapped(_which(found, what), 2)
    for one in found.worst:
        yield from wrapped(_loss(one, name), 4, 10)
    if found.number is None or found.number > len(found.worst):
        more = "" if found.number is None else f"{found.number - len(found.worst)} "
        yield f"    and {more}more (--limit)"


def _which(found: Losses[T], what: str) -> str:
    """How many losses there are, and whether any nodes or racks of those concerned make one."""
    size, all_of = found.failures or 0, counted(found.concerned, what)
    if found.number is None:
        return f"{counted(size, what)}: at most {found.at_most} sets of {all_of}; some of the worst"
    if found.number == comb(found.concerned, size):
        one = f"any {size}" if size < found.concerned else "all"
        return f"{counted(size, what)}: {one} of {all_of}" + (f" ({found.number} sets)" if found.number > 1 else "")
    sets = counted(found.number, "set")
    return f"{counted(size, what)}: {sets} of {all_of}" + (f"; worst {len(found.worst)}" if found.worst else "")


def _loss(one: FailureSet[T], name: Callable[[T], str]) -> str:
    return f"{percent(one.share):>7}  {', '.join(name(member) for member in one.members)}"


def _note(found: Risk) -> Iterator[str]:
    if any(one.nodes and one.nodes.failures for one in found.levels):
        down = found.verdict.down()
        besides = f", beside what is down now ({listed(down)})" if down else ""
        yield from wrapped(f"Shares are of the token space that can't be served after the loss{besides}.")
    if found.verdict.severity is Severity.CRITICAL:
        yield "There is an outage now: see `ringcheck health`."


def risk_document(found: Risk) -> dict[str, Any]:
    """The smallest losses as `ringcheck/risk/1`."""
    return {
        "schema": RISK,
        "cluster": found.verdict.snapshot.cluster,
        "taken_at": found.verdict.snapshot.taken_at,
        "complete": not found.gaps,
        "down": found.verdict.down(),
        "overall": [{"tier": one.tier.name, **_both(one.nodes, one.racks)} for one in found.overall],
        "levels": [
            {
                "keyspaces": list(one.keyspaces),
                "level": one.level.value,
                "datacenter": one.datacenter,
                "tier": one.tier.name if one.tier else None,
                "ranges": one.ranges,
                "structurally_unavailable": one.structurally_unavailable,
                "problem": one.problem,
                **_both(one.nodes, one.racks),
            }
            for one in found.levels
        ],
        "gaps": [
            {"code": one.code, "subject": one.subject, "summary": one.summary, "detail": one.detail}
            for one in found.gaps
        ],
    }


def _both(nodes: Losses[str] | None, racks: Losses[tuple[str, str]] | None) -> dict[str, Any]:
    return {
        "nodes": nodes and _document_of(nodes, str),
        "racks": racks and _document_of(racks, lambda one: {"datacenter": one[0], "rack": one[1]}),
    }


def _document_of(found: Losses[T], name: Callable[[T], object]) -> dict[str, Any]:
    return {
        "failures": found.failures,
        "sets": found.number,
        "sets_at_most": found.at_most,
        "concerned": found.concerned,
        "worst": [{"members": [name(member) for member in one.members], "share": one.share} for one in found.worst],
    }
