"""A verdict for people: what is wrong, the table of levels, what to do first."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
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
    """The cells of a level in a table: `?` if a number is not known, `-` if there is none."""

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
_ALIKE = 4  # findings of one severity and code that a terminal shows
_NAMED = 48  # keyspaces with the same answers whose names are listed


def render(verdict: Verdict, *, colour: bool = False, width: int | None = None, problems: bool = False) -> str:
    """The output of `health`.

    Args:
        verdict: what to show.
        colour: paint severities with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
        problems: leave out what is OK.
    """
    shown = without_ok(verdict) if problems else verdict
    table, most = _fitting(shown.keyspaces, width), None if width is None else _ALIKE
    blocks = (_head(shown), table, _worst(shown), _recovery(shown), _findings(shown, most), _ranges(shown))
    return _screen(blocks, colour=colour, width=width)


def without_ok(verdict: Verdict) -> Verdict:
    """The verdict without levels, keyspaces and findings that are OK."""
    keyspaces = (
        replace(keyspace, levels=tuple(level for level in keyspace.levels if level.severity not in {None, Severity.OK}))
        for keyspace in verdict.keyspaces
    )
    return replace(
        verdict,
        keyspaces=tuple(keyspace for keyspace in keyspaces if keyspace.levels),
        findings=tuple(finding for finding in verdict.findings if finding.severity is not Severity.OK),
    )


def overview(verdict: Verdict, *, colour: bool = False) -> str:
    """The middle of the output of `health`: the table, the worst ranges, and which nodes to bring back first."""
    return _screen(_overview(verdict), colour=colour)


def _overview(verdict: Verdict) -> tuple[Iterator[Line], ...]:
    return _fitting(verdict.keyspaces, None), _worst(verdict), _recovery(verdict)


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


_DROPPED = ("racks", "share", "nodes", "datacenter")
"""Columns that a narrow terminal does without, in this order."""


class _Group(NamedTuple):
    """Keyspaces with the same replication and the same answers."""

    keyspaces: list[KeyspaceVerdict]
    replication: str
    ranges: int
    rows: tuple[LevelRow, ...]


def _groups(keyspaces: Iterable[KeyspaceVerdict]) -> list[_Group]:
    """The keyspaces, grouped if they are alike; the worst group first, equally bad ones by their first keyspace."""
    groups: dict[tuple[str, int, tuple[LevelRow, ...]], list[KeyspaceVerdict]] = {}
    for keyspace in keyspaces:
        rows = tuple(row(level) for level in keyspace.levels)
        alike = (keyspace.replication or "replication not known", keyspace.ranges, rows)
        groups.setdefault(alike, []).append(keyspace)
    found = [_Group(members, *alike) for alike, members in groups.items()]
    return sorted(found, key=lambda group: group.keyspaces[0].severity, reverse=True)


def _fitting(keyspaces: Iterable[KeyspaceVerdict], width: int | None) -> Iterator[Line]:
    """A row for each level, below the line of its keyspaces."""
    groups = _groups(keyspaces)
    rows = [row for group in groups for row in group.rows]
    if not rows:
        return
    columns = _columns(rows, width)
    widths = [max(len(row[column]) for row in (_HEAD, *rows)) for column in columns]
    yield _plain("  ".join(_aligned(_HEAD, columns, widths)).rstrip())
    for group in groups:
        names = _names([keyspace.name for keyspace in group.keyspaces])
        yield _plain(f"{names}: {group.replication}, {counted(group.ranges, 'range')}")
        yield from (_row(row, columns, widths) for row in group.rows)
    shown = [_HEAD[column] for column in columns if LevelRow._fields[column] in {"nodes", "racks"}]
    if shown:
        yield _plain(f"{', '.join(shown)}: failures until a range is lost (0: already lost)")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _columns(rows: Iterable[LevelRow], width: int | None) -> list[int]:
    """The columns that fit the terminal."""
    columns, all_rows = list(range(len(_HEAD))), [_HEAD, *rows]
    for name in _DROPPED if width is not None else ():
        if sum(max(len(row[column]) for row in all_rows) + 2 for column in columns) - 2 <= (width or 0):
            break
        columns.remove(LevelRow._fields.index(name))
    return columns


def _row(row: LevelRow, columns: Sequence[int], widths: Sequence[int]) -> Line:
    texts = _aligned(row, columns, widths)
    place = columns.index(_SEVERITY)
    before, after = "  ".join(texts[:place]), "  ".join(texts[place + 1 :])
    style = row.severity if row.severity in Severity.__members__ else ""
    blanks = " " * (widths[place] - len(row.severity))
    return (f"{before}  ", ""), (row.severity, style), (f"{blanks}  {after}".rstrip(), "")


def _aligned(row: LevelRow, columns: Sequence[int], widths: Sequence[int]) -> list[str]:
    return [
        row[column].ljust(width) if column < _TEXTS else row[column].rjust(width)
        for column, width in zip(columns, widths, strict=True)
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
    """The worst range of each keyspace that is not OK, at its worst watched level; of keyspaces that are alike once."""
    nodes = verdict.snapshot.nodes
    for keyspace in (group.keyspaces[0] for group in _groups(verdict.keyspaces)):
        if keyspace.severity is Severity.OK:
            continue
        level = max(keyspace.levels, key=lambda level: (level.severity or Severity.OK, level.health is not None))
        if level.health is None or level.health.worst_range is None:
            continue
        worst, where = level.health.worst_range, level.datacenter
        replicas, live = (
            listed([nodes[node].address for node in some if where is None or nodes[node].datacenter == where]) or "none"
            for some in (worst.replicas, worst.live)
        )
        at = f"{level.level} in {where}" if where else f"{level.level}"
        yield _plain(f"Worst range of {keyspace.name} at {at}: ({worst.start}, {worst.end}]")
        yield _plain(f"  replicas {replicas}")
        yield _plain(f"  live     {live}, as {level.worst_view} sees it")


def _recovery(verdict: Verdict) -> Iterator[Line]:
    nodes = verdict.snapshot.nodes
    for index, recovery in enumerate(verdict.recover_first[:5]):
        share = recovery.restores_share
        gain = f"restores {percent(share)} of the tokens" if share else "restores ranges together with the next"
        label = "            then:" if index else "Bring back first:"
        yield _plain(f"{label} {nodes[recovery.node].address} ({gain})")


def _findings(verdict: Verdict, most: int | None = None) -> Iterator[Line]:
    """All findings, except a lone `node_down`: the head of the page names the node already.

    Args:
        verdict: whose findings.
        most: of one severity and code that are shown; the others are counted. None for all.
    """
    several = len(verdict.findings) > 1
    shown = [finding for finding in verdict.findings if several or finding.code != "node_down"]
    if shown:
        yield _plain("Findings")
    for (severity, code), group in groupby(shown, key=lambda finding: (finding.severity, finding.code)):
        alike = list(group)
        for finding in alike[:most]:
            yield _marked(severity, f" {code}: {finding.summary}", "  ")
            if finding.detail:
                yield _plain(f"    {finding.detail}")
        if more := sum(finding.count for finding in alike[most:] if most is not None):
            yield _marked(severity, f" {code}: {more} more like these", "  ")


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
