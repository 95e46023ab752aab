"""The results of `what-if` and `risk`, as text and as JSON documents."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Any

from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, listed, percent
from ringcheck.documents.verdict import verdict_document
from ringcheck.report import text
from ringcheck.report.terminal import Sentence, blocks, labelled, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ringcheck.core.risk import LevelRisk, Losses, Risk, T, TierRisk
    from ringcheck.core.topology import Topology
    from ringcheck.core.verdict import LevelVerdict
    from ringcheck.core.whatif import LevelChange, Supposition, WhatIf

RISK = "ringcheck/risk/1"


def render(result: WhatIf, *, colour: bool = False, width: int | None = None) -> str:
    """The output of `what-if`: what changes, then the verdict as it would be, as `health` shows it.

    Args:
        result: what to show.
        colour: paint severities with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    changes = blocks([[*_supposed(result), *_changes(result.changes)]], colour=colour, width=width)
    return f"{changes}\n\n{text.render(result.then, colour=colour, width=width)}"


def document(result: WhatIf) -> dict[str, Any]:
    """The verdict as it would be, as `ringcheck/verdict/1`, with the states that were assumed."""
    return {**verdict_document(result.then), "supposed": _supposition_document(result.supposed)}


def _supposition_document(supposed: Supposition) -> dict[str, Any]:
    return {"down": list(supposed.down), "up": list(supposed.up), **_topology_document(supposed.topology)}


def _topology_document(topology: Topology) -> dict[str, Any]:
    """What is assumed of the topology; empty if nothing is."""
    document: dict[str, Any] = {}
    if topology.replication:
        document["replication"] = {
            name: {"strategy": replication.strategy, "options": {home: str(rf) for home, rf in replication.options}}
            for name, replication in topology.replication
        }
    if topology.added:
        document["added"] = [
            {"address": address, "datacenter": datacenter, "rack": rack}
            for address, (datacenter, rack) in zip(topology.names, topology.added, strict=True)
        ]
    if topology.tokens:
        document["tokens"] = topology.tokens
    if topology.added or topology.tokens:
        document["token_choice"] = topology.choice
    return document


def _supposed(result: WhatIf) -> Iterator[Sentence]:
    states = (result.supposed.down, "down"), (result.supposed.up, "up")
    parts = [*(f"{listed(nodes)} {state}" for nodes, state in states if nodes), *_topology(result.supposed.topology)]
    now, then = result.now.severity.name, result.then.severity.name
    yield said(f"Assuming {' and '.join(parts)}: {f'{now} -> {then}' if now != then else f'still {now}'}")


def _topology(topology: Topology) -> Iterator[str]:
    for name, replication in topology.replication:
        yield f"{name} with {', '.join(f'{home}={factor}' for home, factor in replication.options)}"
    if topology.tokens:
        yield f"{topology.tokens} {topology.choice} tokens on every node"
    for address, (datacenter, rack) in zip(topology.names, topology.added, strict=True):
        tokens = "" if topology.tokens else f" with {topology.choice} tokens"
        yield f"a new node {address} in {datacenter}/{rack}{tokens}"


def _changes(changes: Sequence[LevelChange]) -> Iterator[Sentence]:
    if not changes:
        yield said("No level of any keyspace changes.")
    for change in changes:
        where = f" in {change.then.datacenter}" if change.then.datacenter else ""
        yield said(f"{change.keyspace} at {change.then.level}{where}: {'; '.join(_differences(change))}", 2, 4)


def _differences(change: LevelChange) -> Iterator[str]:
    """Severity and unavailable ranges always; other numbers only if they change."""
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
    failures = [
        ("nodes", was.node_failures_to_outage, will.node_failures_to_outage),
        ("racks", was.rack_failures_to_outage, will.rack_failures_to_outage),
    ]
    steps = [f"{unit} {_failures(old)} -> {_failures(new)}" for unit, old, new in failures if old != new]
    if steps:
        yield f"failures to outage: {', '.join(steps)}"


def _step(now: str, then: str) -> str:
    return then if now == then else f"{now} -> {then}"


def _severity(level: LevelVerdict | None) -> str:
    return level.severity.name if level and level.severity else "?"


def _unavailable(level: LevelVerdict | None) -> str:
    return str(level.health.unavailable) if level and level.health else "?"


def _failures(number: int | None) -> str:
    return "-" if number is None else str(number)


# Risk


def render_risk(risk: Risk, *, colour: bool = False, width: int | None = None) -> str:
    """The output of `risk`: the smallest losses overall, then by keyspace, level and datacenter.

    Args:
        risk: what to show.
        colour: paint tiers, and what is not known, with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    parts = (_head(risk), _gaps(risk), *map(_level, risk.levels), _metadata(risk.metadata), _note(risk))
    return blocks(parts, colour=colour, width=width)


def _head(risk: Risk) -> Iterator[Sentence]:
    word = "UNKNOWN" if risk.gaps else "RISK"
    tiers = (
        "; ".join(_tier(tier, risk.levels) for tier in risk.overall) or "no level that is watched could be evaluated"
    )
    style = "UNKNOWN" if risk.gaps else risk.verdict.severity.name
    yield labelled(word, style, f" {risk.verdict.snapshot.cluster}: {tiers}")
    yield said(text.basis(risk.verdict))


def _tier(risk: TierRisk, levels: Sequence[LevelRisk]) -> str:
    outage = f"a {risk.tier.name} outage"
    if risk.nodes.failures == 0:
        of_tier = (level for level in levels if level.tier is risk.tier and level.nodes)
        lost = list(dict.fromkeys(level.level.value for level in of_tier if level.nodes and not level.nodes.failures))
        return f"{listed(lost)} {'is' if len(lost) == 1 else 'are'} lost now ({risk.tier.name})"
    if risk.nodes.failures is None:
        return f"no loss of nodes makes {outage}"
    racks = f" or {counted(risk.racks.failures, 'rack')}" if risk.racks.failures else ""
    return f"{outage} takes {counted(risk.nodes.failures, 'node')}{racks}"


def _gaps(risk: Risk) -> Iterator[Sentence]:
    if risk.gaps:
        yield said("Incomplete: smaller losses than these may be an outage")
    for gap in risk.gaps:
        yield said(f"{gap.code}: {gap.summary}", 2)


def _level(risk: LevelRisk) -> Iterator[Sentence]:
    where = f" in {risk.datacenter}" if risk.datacenter else ""
    tier, style = (risk.tier.name, risk.tier.name) if risk.tier else ("not watched", "")
    yield Sentence(((f"{listed(risk.keyspaces)} at {risk.level}{where} (", ""), (tier, style), (")", "")))
    if risk.problem is not None or risk.nodes is None or risk.racks is None:
        yield said(f"not known: {risk.problem}", 2)
        return
    if risk.structurally_unavailable:
        lost = f"{risk.structurally_unavailable} of {counted(risk.ranges, 'range')}"
        yield said(f"{lost} can never be served: the level needs more replicas than there are", 2)
    if risk.nodes.failures == 0:
        yield said("  ranges are unavailable now: see `ringcheck health`")
        return
    yield from _losses(risk.nodes, "node", str)
    yield from _losses(risk.racks, "rack", "/".join)


def _metadata(risk: LevelRisk | None) -> Iterator[Sentence]:
    """The smallest losses that end the quorum of the metadata service; without shares, since all of it is lost."""
    if risk is None:
        return
    yield said("Cluster metadata service: no change of schema or topology without its quorum", 0, 2)
    if risk.nodes is None or risk.racks is None:
        yield said(f"not known: {risk.problem}", 2)
    elif risk.nodes.failures == 0:
        yield said("there is no quorum now: see `ringcheck health`", 2)
    else:
        yield from _losses(risk.nodes, "node", str, shares=False)
        yield from _losses(risk.racks, "rack", "/".join, shares=False)


def _losses(losses: Losses[T], unit: str, name: Callable[[T], str], *, shares: bool = True) -> Iterator[Sentence]:
    if losses.failures is None:
        what = "makes ranges unavailable" if shares else "takes the quorum"
        yield said(f"  no loss of {unit}s {what}")
        return
    yield said(_sets(losses, unit), 2)
    for loss in losses.worst:
        share = f"{percent(loss.share):>7}  " if shares else ""
        yield said(f"{share}{', '.join(map(name, loss.members))}", 4, 10)
    if losses.number is None or losses.number > len(losses.worst):
        more = "" if losses.number is None else f"{losses.number - len(losses.worst)} "
        yield said(f"    and {more}more (--limit)")


def _sets(losses: Losses[T], unit: str) -> str:
    """How many sets of nodes or racks are an outage, or that any set of this size is."""
    size, members = losses.failures or 0, counted(losses.concerned, unit)
    if losses.number is None:
        return f"{counted(size, unit)}: at most {losses.at_most} sets of {members}; some of the worst"
    if losses.number == comb(losses.concerned, size):
        every = f"any {size}" if size < losses.concerned else "all"
        sets = f" ({losses.number} sets)" if losses.number > 1 else ""
        return f"{counted(size, unit)}: {every} of {members}{sets}"
    worst = f"; worst {len(losses.worst)}" if losses.worst else ""
    return f"{counted(size, unit)}: {counted(losses.number, 'set')} of {members}{worst}"


def _note(risk: Risk) -> Iterator[Sentence]:
    if any(level.nodes and level.nodes.failures for level in risk.levels):
        down = risk.verdict.down()
        besides = f", in addition to the nodes that are down now ({listed(down)})" if down else ""
        yield said(f"Shares are of the token space that is unavailable after the loss{besides}.")
    if risk.verdict.severity is Severity.CRITICAL:
        yield said("There is an outage now: see `ringcheck health`.")


def risk_document(risk: Risk) -> dict[str, Any]:
    """The smallest losses as `ringcheck/risk/1`."""
    return {
        "schema": RISK,
        "cluster": risk.verdict.snapshot.cluster,
        "taken_at": risk.verdict.snapshot.taken_at,
        "complete": not risk.gaps,
        "down": risk.verdict.down(),
        "overall": [{"tier": tier.tier.name, **_both(tier.nodes, tier.racks)} for tier in risk.overall],
        "levels": [_level_document(level) for level in risk.levels],
        "metadata_service": risk.metadata
        and {"problem": risk.metadata.problem, **_both(risk.metadata.nodes, risk.metadata.racks)},
        "gaps": [
            {"code": gap.code, "subject": gap.subject, "summary": gap.summary, "detail": gap.detail}
            for gap in risk.gaps
        ],
    }


def _level_document(risk: LevelRisk) -> dict[str, Any]:
    return {
        "keyspaces": list(risk.keyspaces),
        "level": risk.level.value,
        "datacenter": risk.datacenter,
        "tier": risk.tier.name if risk.tier else None,
        "ranges": risk.ranges,
        "structurally_unavailable": risk.structurally_unavailable,
        "problem": risk.problem,
        **_both(risk.nodes, risk.racks),
    }


def _both(nodes: Losses[str] | None, racks: Losses[tuple[str, str]] | None) -> dict[str, Any]:
    return {
        "nodes": nodes and _losses_document(nodes, str),
        "racks": racks and _losses_document(racks, lambda rack: {"datacenter": rack[0], "rack": rack[1]}),
    }


def _losses_document(losses: Losses[T], name: Callable[[T], object]) -> dict[str, Any]:
    return {
        "failures": losses.failures,
        "sets": losses.number,
        "sets_at_most": losses.at_most,
        "concerned": losses.concerned,
        "worst": [{"members": [name(member) for member in loss.members], "share": loss.share} for loss in losses.worst],
    }
