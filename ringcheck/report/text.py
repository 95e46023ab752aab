"""A verdict for people at a terminal of 80 columns: what is wrong, the table of levels, what to do first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, listed, percent
from ringcheck.report.terminal import fitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Operation
    from ringcheck.core.ring import Range
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
    from ringcheck.report.terminal import Line


class LevelRow(NamedTuple):
    """The cells of a level in a table: `?` where a number is not known, `-` where there is none."""

    level: str
    datacenter: str
    severity: str
    unavailable: str
    share: str
    at_minimum: str
    nodes: str
    racks: str


_HEAD = LevelRow("KEYSPACE, LEVEL", "DC", "STATE", "UNAVAILABLE", "SHARE", "AT MIN", "NODES", "RACKS")
_TEXTS = 3  # columns of text, aligned to the left; the others are numbers
_SEVERITY = LevelRow._fields.index("severity")


def render(verdict: Verdict, *, colour: bool = False, width: int | None = None) -> str:
    """The output of `health`.

    Args:
        verdict: what to show.
        colour: paint severities with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    blocks = (_head(verdict), *_overview(verdict), _findings(verdict), _ranges(verdict))
    return _screen(blocks, colour=colour, width=width)


def overview(verdict: Verdict, *, colour: bool = False) -> str:
    """The middle of that output: the table, the worst ranges, and which nodes to bring back first."""
    return _screen(_overview(verdict), colour=colour)


def _overview(verdict: Verdict) -> tuple[Iterator[Line], ...]:
    return _table(verdict.keyspaces), _worst(verdict), _recovery(verdict)


def _screen(blocks: Iterable[Iterable[Line]], *, colour: bool, width: int | None = None) -> str:
    texts = (fitted(block, width, colour=colour) for block in blocks)
    return "\n\n".join(filter(None, texts))


def _plain(text: str) -> Line:
    return ((text, ""),)


def _marked(severity: Severity, text: str, before: str = "") -> Line:
    """A line with a severity in its colour; OK is written as `note`, in no colour."""
    if severity is Severity.OK:
        return _plain(f"{before}note{text}")
    return (before, ""), (severity.name, severity.name), (text, "")


def _head(verdict: Verdict) -> Iterator[Line]:
    yield (verdict.severity.name, verdict.severity.name), (f" {verdict.snapshot.cluster}: {verdict.summary}", "")
    yield _plain(basis(verdict))


def basis(verdict: Verdict) -> str:
    """The data behind a verdict, in a line: nodes by state, usable views, and when they were asked."""
    states = verdict.states
    usable = sum(view.outcome == "ok" for view in verdict.views)
    parts = [f"{states.count(state)} {state}" for state in ("up", "down", "unknown") if state in states]
    views = f"{usable} of {counted(len(verdict.views), 'view')} usable"
    return f"{counted(len(states), 'node')} ({', '.join(parts) or 'none'}); {views}; {verdict.snapshot.taken_at}"


# The table


def _table(keyspaces: Iterable[KeyspaceVerdict]) -> Iterator[Line]:
    """A row for each level, below the line of its keyspace."""
    groups = [(keyspace, [row(level) for level in keyspace.levels]) for keyspace in keyspaces]
    rows = [row for _, group in groups for row in group]
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    yield _plain("  ".join(_aligned(_HEAD, widths)).rstrip())
    for keyspace, group in groups:
        replication = keyspace.replication or "replication not known"
        yield _plain(f"{keyspace.name}: {replication}, {counted(keyspace.ranges, 'range')}")
        yield from (_row(row, widths) for row in group)
    yield _plain("NODES, RACKS: failures until a range is lost (0: already lost)")


def _row(row: LevelRow, widths: Sequence[int]) -> Line:
    texts = _aligned(row, widths)
    before, after = "  ".join(texts[:_SEVERITY]), "  ".join(texts[_SEVERITY + 1 :])
    style = row.severity if row.severity in Severity.__members__ else ""
    blanks = " " * (widths[_SEVERITY] - len(row.severity))
    return (f"{before}  ", ""), (row.severity, style), (f"{blanks}  {after}".rstrip(), "")


def _aligned(row: LevelRow, widths: Sequence[int]) -> list[str]:
    return [
        text.ljust(width) if column < _TEXTS else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


def row(level: LevelVerdict) -> LevelRow:
    """The cells of a level."""
    head = f"  {level.level}", _short(level.datacenter or "-"), level.severity.name if level.severity else "-"
    health = level.health
    if health is None:
        return LevelRow(*head, "?", "?", "?", "?", "?")
    nodes, racks = health.node_failures_to_outage, health.rack_failures_to_outage
    return LevelRow(
        *head,
        unavailable=str(health.unavailable),
        share=percent(health.unavailable_share),
        at_minimum=str(health.at_minimum),
        nodes="-" if nodes is None else str(nodes),
        racks="-" if racks is None else str(racks),
    )


def _short(name: str, most: int = 20) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


# Below the table


def _worst(verdict: Verdict) -> Iterator[Line]:
    """The worst range of each keyspace that is not OK, at its worst watched level."""
    nodes = verdict.snapshot.nodes
    for keyspace in verdict.keyspaces:
        if keyspace.severity is Severity.OK:
            continue
        level = max(keyspace.levels, key=lambda level: (level.severity or Severity.OK, level.health is not None))
        if level.health is None or level.health.worst_range is None:
            continue
        worst = level.health.worst_range
        yield _plain(f"Worst range of {keyspace.name} at {level.level}: ({worst.start}, {worst.end}]")
        yield _plain(f"  replicas {listed([nodes[node].address for node in worst.replicas])}")
        live = listed([nodes[node].address for node in worst.live]) or "none"
        yield _plain(f"  live     {live}, as {level.worst_view} sees it")


def _recovery(verdict: Verdict) -> Iterator[Line]:
    nodes = verdict.snapshot.nodes
    for index, recovery in enumerate(verdict.recover_first[:5]):
        share = recovery.restores_share
        gain = f"restores {percent(share)} of the tokens" if share else "restores ranges together with the next"
        label = "            then:" if index else "Bring back first:"
        yield _plain(f"{label} {nodes[recovery.node].address} ({gain})")


def _findings(verdict: Verdict) -> Iterator[Line]:
    """All findings, except a lone `node_down`: the head of the page names the node already."""
    several = len(verdict.findings) > 1
    shown = [finding for finding in verdict.findings if several or finding.code != "node_down"]
    if shown:
        yield _plain("Findings")
    for finding in shown:
        yield _marked(finding.severity, f" {finding.code}: {finding.summary}", "  ")
        if finding.detail:
            yield _plain(f"    {finding.detail}")


# Unavailable ranges


def _ranges(verdict: Verdict) -> Iterator[Line]:
    """Every unavailable range by keyspace and level, if the verdict lists them: last, since there may be thousands."""
    levels = [(keyspace.name, level) for keyspace in verdict.keyspaces for level in keyspace.levels]
    if all(level.unavailable_ranges is None for _, level in levels):
        return
    lost = [(name, level, _spans(level.unavailable_ranges)) for name, level in levels if level.unavailable_ranges]
    if not any(spans for _, _, spans in lost):
        unknown = verdict.severity is Severity.UNKNOWN or any(level.unavailable_ranges is None for _, level in levels)
        yield _plain(f"No range is unavailable{', as far as is known' if unknown else ''}")
    for name, level, spans in lost:
        if spans:
            where = f" in {level.datacenter}" if level.datacenter else ""
            yield _plain(f"Unavailable ranges of {name} at {level.level}{where}: {len(spans)}")
            yield from (_plain(f"  ({start}, {end}]{note}") for (start, end), note in spans.items())


def _spans(ranges: Mapping[Operation, list[Range]]) -> dict[Range, str]:
    """Ranges in the order of their tokens, each with a note if only reads or only writes have lost it."""
    lost_for: dict[Range, list[str]] = {}
    for operation, spans in ranges.items():
        for span in spans:
            lost_for.setdefault(span, []).append(operation)
    ordered = sorted(lost_for.items(), key=lambda item: item[0][1])
    return {span: "" if len(lost) == len(ranges) else f" {lost[0]}s only" for span, lost in ordered}
