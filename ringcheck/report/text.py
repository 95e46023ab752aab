"""A verdict for people at a terminal of 80 columns: what is wrong, the table, what to do first."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, listed, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Operation
    from ringcheck.core.ring import Range
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict

WIDTH = 80  # columns of what is wrapped wherever it is printed
_COLUMNS = ("keyspace, level", "dc", "state", "unavailable", "share", "at min", "nodes", "racks")
_LEFT = {0, 1, 2}  # columns of text; the others are numbers
_COLOURS = {"OK": "32", "WARNING": "33", "UNKNOWN": "35", "CRITICAL": "31;1"}
_SEVERITY = re.compile(rf"\b({'|'.join(_COLOURS)})\b")


def render(verdict: Verdict, *, colour: bool = False, width: int | None = None) -> str:
    """What `health` prints.

    Args:
        verdict: what to say.
        colour: paint severities with ANSI escapes; they are words either way.
        width: columns of the terminal that reads it; without one lines are as long as they are.
    """
    blocks = [
        [f"{verdict.severity.name} {verdict.snapshot.cluster}: {verdict.summary}", seen(verdict)],
        list(_table(verdict.keyspaces)),
        list(_worst(verdict)),
        list(_recovery(verdict)),
        list(_findings(verdict)),
        list(_ranges(verdict)),
    ]
    screen = "\n\n".join(fitted(block, width) for block in blocks if block)
    return _SEVERITY.sub(_paint, screen) if colour else screen


def fitted(lines: Iterable[str], width: int | None) -> str:
    """Printable lines, broken between words where a terminal would break in their midst; scripts read them whole."""
    return "\n".join(part for line in lines for part in _fitted(printable(line), width))


def _fitted(line: str, width: int | None) -> list[str]:
    if width is None or len(line) <= width:
        return [line]
    return wrapped(line.lstrip(), len(line) - len(line.lstrip()), width=width)


def wrapped(sentence: str, indent: int = 0, hang: int = 2, *, width: int = WIDTH) -> list[str]:
    """A sentence in lines that fit; names that are longer than a line stay whole."""
    first, rest = " " * indent, " " * (indent + hang)
    return textwrap.wrap(
        sentence, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def printable(text: str) -> str:
    """Text without what a node could say to move a terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _paint(word: re.Match[str]) -> str:
    return f"\x1b[{_COLOURS[word[0]]}m{word[0]}\x1b[0m"


def seen(verdict: Verdict) -> str:
    """Nodes by state, views, and when."""
    states = verdict.states
    usable = sum(view.outcome == "ok" for view in verdict.views)
    parts = [f"{states.count(state)} {state}" for state in ("up", "down", "unknown") if state in states]
    views = f"{usable} of {counted(len(verdict.views), 'view')} usable"
    return f"{counted(len(states), 'node')} ({', '.join(parts) or 'none'}); {views}; {verdict.snapshot.taken_at}"


def _table(keyspaces: Iterable[KeyspaceVerdict]) -> Iterator[str]:
    """A block a keyspace, a row a level."""
    rows = [(each, [row(one) for one in each.levels]) for each in keyspaces]
    every = [row for _, group in rows for row in group]
    if not every:
        return
    head = tuple(name.upper() for name in _COLUMNS)
    widths = [max(len(row[column]) for row in (head, *every)) for column in range(len(head))]
    yield _align(head, widths)
    for each, group in rows:
        yield f"{each.name}: {each.replication or 'replication not known'}, {counted(each.ranges, 'range')}"
        yield from (_align(row, widths) for row in group)
    yield "NODES, RACKS: fewest whose loss makes a range unavailable; 0: one is"


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    placed = (
        cell.ljust(width) if place in _LEFT else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(placed).rstrip()


def row(one: LevelVerdict) -> tuple[str, ...]:
    """Level, datacenter, severity, unavailable, their share, at minimum, node and rack failures to outage."""
    head = (f"  {one.level}", _short(one.datacenter or "-"), one.severity.name if one.severity else "-")
    health = one.health
    if health is None:
        return (*head, "?", "?", "?", "?", "?")
    nodes, racks = health.node_failures_to_outage, health.rack_failures_to_outage
    return (
        *head,
        str(health.unavailable),
        percent(health.unavailable_share),
        str(health.at_minimum),
        "-" if nodes is None else str(nodes),
        "-" if racks is None else str(racks),
    )


def _short(name: str, most: int = 20) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _worst(verdict: Verdict) -> Iterator[str]:
    """The worst range of each keyspace that is not well, at its worst watched level."""
    nodes = verdict.snapshot.nodes
    for each in verdict.keyspaces:
        if each.severity is Severity.OK:
            continue
        one = max(each.levels, key=lambda level: (level.severity or Severity.OK, level.health is not None))
        if one.health is None or one.health.worst_range is None:
            continue
        worst = one.health.worst_range
        yield f"Worst range of {each.name} at {one.level}: ({worst.start}, {worst.end}]"
        yield f"  replicas {listed([nodes[node].address for node in worst.replicas])}"
        live = listed([nodes[node].address for node in worst.live]) or "none"
        yield f"  live     {live}, as {one.worst_view} sees it"


def _recovery(verdict: Verdict) -> Iterator[str]:
    nodes = verdict.snapshot.nodes
    for place, one in enumerate(verdict.recover_first[:5]):
        gain = (
            f"restores {percent(one.restores_share)} of the tokens"
            if one.restores_share
            else "restores ranges together with the next"
        )
        yield f"{'Bring back first:' if not place else '            then:'} {nodes[one.node].address} ({gain})"


def _findings(verdict: Verdict) -> Iterator[str]:
    told = [one for one in verdict.findings if one.code != "node_down" or len(verdict.findings) > 1]
    if told:
        yield "Findings"
    for one in told:
        label = "note" if one.severity is Severity.OK else one.severity.name
        yield f"  {label} {one.code}: {one.summary}"
        if one.detail:
            yield f"    {one.detail}"


def _ranges(verdict: Verdict) -> Iterator[str]:
    """Every unavailable range by keyspace and level, where they were asked for: last, for they may be thousands."""
    levels = [(each.name, one) for each in verdict.keyspaces for one in each.levels]
    if all(one.unavailable_ranges is None for _, one in levels):
        return
    lost = [(name, one, _spans(one.unavailable_ranges)) for name, one in levels if one.unavailable_ranges]
    if not any(spans for _, _, spans in lost):
        unknown = verdict.severity is Severity.UNKNOWN or any(one.unavailable_ranges is None for _, one in levels)
        yield f"No range is unavailable{' where that can be told' if unknown else ''}"
    for name, one, spans in lost:
        if spans:
            where = f" in {one.datacenter}" if one.datacenter else ""
            yield f"Unavailable ranges of {name} at {one.level}{where}: {len(spans)}"
            yield from (f"  ({start}, {end}]{note}" for (start, end), note in spans.items())


def _spans(found: Mapping[Operation, list[Range]]) -> dict[Range, str]:
    """Ranges in the order of their tokens, and which operation alone has lost one: pending ranges count for writes."""
    whose: dict[Range, list[str]] = {}
    for operation, spans in found.items():
        for span in spans:
            whose.setdefault(span, []).append(operation)
    ordered = sorted(whose.items(), key=lambda item: item[0][1])
    return {span: "" if len(names) == len(found) else f" {names[0]}s only" for span, names in ordered}
