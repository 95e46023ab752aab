"""The screen of `watch`: a verdict, its age, and what changed since the start.

Owns what is on the screen and what is left out if the terminal is small. Knows no terminal and reads no clock:
time, size and the effects of keys come with the frame. Old data never looks fresh: if a poll fails or the data is too
old, the banner says UNKNOWN and since when, and everything else is dimmed.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, listed, percent
from ringcheck.report.changes import badness, row_key, states, taken_at
from ringcheck.report.terminal import cells, clip, crop, pad
from ringcheck.report.text import basis, row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from ringcheck.core.verdict import LevelVerdict, Verdict
    from ringcheck.report.changes import Direction, RowKey, Session
    from ringcheck.report.terminal import Line

SHOWN = 6  # changes, and nodes to bring back, that a screen shows
LEAST = 3  # rows of the table that are shown however small the screen is
REASON = 2  # further lines for the reason why data is old
REPORTED = 3  # gaps that a screen names

STYLES: dict[Direction, str] = {"worse": "CRITICAL", "better": "OK", "changed": "bold"}


@dataclass(frozen=True, slots=True)
class ScreenSigns:
    """Signs that the terminal can show: the direction of a change, and the arrow keys."""

    directions: dict[Direction, str]
    up: str
    down: str

    @property
    def all(self) -> str:
        """Every sign once."""
        return "".join((*self.directions.values(), self.up, self.down))


UNICODE = ScreenSigns({"worse": "▼", "better": "▲", "changed": "•"}, "↑", "↓")
ASCII = ScreenSigns({"worse": "v", "better": "^", "changed": "*"}, "up", "down")


def ago(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `8 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The terminal, the time and the options for which a screen is drawn.

    Attributes:
        columns: width of the terminal.
        lines: its height.
        now: the time.
        limit: seconds after which data is old; None for recorded data, of which the screen shows the age.
        paused: whether polling is paused.
        interval: seconds between polls.
        offset: rows of the table that were scrolled away.
        signs: what the terminal can show.
        keys: whether the terminal listens to keys.
    """

    columns: int
    lines: int
    now: datetime
    limit: float | None
    paused: bool = False
    interval: float = 5.0
    offset: int = 0
    signs: ScreenSigns = UNICODE
    keys: bool = True


def compose(session: Session, frame: Frame) -> tuple[Line, ...]:
    """A screen, never larger than the frame."""
    old = is_old(session, frame)
    head = list(_banner(session, frame, old=old))
    foot = _foot(session, frame)
    body = list(_body(session, frame, frame.lines - len(head) - 1)) if session.verdict else []
    if old:
        body = [tuple((text, "dim") for text, _ in line) for line in body]
    body = body[: max(0, frame.lines - len(head) - 1)]
    blank: list[Line] = [()] * max(0, frame.lines - len(head) - len(body) - 1)
    return tuple(crop(line, frame.columns) for line in [*head, *body, *blank, foot][: frame.lines])


def is_old(session: Session, frame: Frame) -> bool:
    """Whether the data must not pass for the present state."""
    if session.verdict is None or session.error is not None:
        return True
    age = _age(session.verdict, frame)
    return frame.limit is not None and (age is None or age > frame.limit)


def _age(verdict: Verdict, frame: Frame) -> float | None:
    """Seconds since the data was taken; None if it does not say when, or if clocks differ."""
    taken = taken_at(verdict)
    age = (frame.now - taken).total_seconds() if taken else None
    return None if age is None or age < -2 else max(0.0, age)  # noqa: PLR2004 - `taken_at` has whole seconds


def _banner(session: Session, frame: Frame, *, old: bool) -> Iterator[Line]:
    """The severity, the summary, and how old they are."""
    verdict = session.verdict
    if verdict is None:
        name, text = ("UNKNOWN", session.error) if session.error else ("...", "asking the cluster")
        yield (f" {name} ", f"{name}!"), (f" {text}", "")
        return
    age = _age(verdict, frame)
    since = f"{ago(age)} ago" if age is not None else f"at {verdict.snapshot.taken_at or 'an unknown time'}"
    if old:
        reason = f"the data below was taken {since}: {_why_old(session, frame)}"
        first, *more = textwrap.wrap(reason, max(20, frame.columns - 11))
        yield (" UNKNOWN ", "UNKNOWN!"), (f" {first}", "UNKNOWN")
        yield from (((f"          {line}", "UNKNOWN"),) for line in more[:REASON])
    label = (f" {verdict.severity.name} ", "dim" if old else f"{verdict.severity.name}!")
    yield label, (f" {verdict.snapshot.cluster}: {verdict.summary}", "dim" if old else "bold")
    style = "dim" if old else "" if frame.limit is not None else "WARNING"
    verb = "recorded" if frame.limit is None else "seen"
    yield (f"{verb} {since}; ", style), (basis(verdict), "dim" if old else "")


def _why_old(session: Session, frame: Frame) -> str:
    if session.error is not None:
        return session.error
    return "paused" if frame.paused else "no new data"


def _foot(session: Session, frame: Frame) -> Line:
    signs = frame.signs
    state = "PAUSED" if frame.paused else f"every {frame.interval:g} s"
    if not frame.keys:
        return ((f"{state}, {counted(session.polls, 'poll')}; Ctrl-C quits", "dim"),)
    keys = f"  q quit  space {'go on' if frame.paused else 'pause'}  r poll now  {signs.down} {signs.up} more rows  "
    marks = f"{signs.directions['worse']} worse {signs.directions['better']} better"
    return (state, "WARNING" if frame.paused else "dim"), (keys, "bold"), (marks, "dim")


def _body(session: Session, frame: Frame, room: int) -> Iterator[Line]:
    """The table, and below it as much as fits."""
    verdict = session.verdict
    if verdict is None:
        return
    rows = _rows(verdict)
    below = [*_nodes(verdict), *_recovery(verdict), *_gaps(verdict), *_changes(session, frame)]
    wanted = min(len(rows), max(LEAST, room - 3 - len(below)))
    below = below[: max(0, room - 3 - wanted)]
    yield ()
    yield from _table(rows, session, frame, wanted)
    if below:
        yield ()
        yield from below


def _rows(verdict: Verdict) -> list[tuple[RowKey, LevelVerdict, int]]:
    """Key, level and number of ranges, worst first."""
    rows = [
        (row_key(keyspace, level), level, keyspace.ranges)
        for keyspace in verdict.keyspaces
        for level in keyspace.levels
    ]
    rows.sort(key=lambda row: row[0])
    return sorted(rows, key=lambda row: badness(row[1]), reverse=True)


_HEAD = ("KEYSPACE", "LEVEL", "DC", "STATE", "UNAVAILABLE", "SHARE", "AT MIN", "NODES", "RACKS")
_TEXTS = 4  # columns of text; the others are numbers
_DROPPED = (8, 5, 7, 2)  # columns that a narrow terminal does without, in this order
_LONGEST = 24  # characters of a name


def _table(
    rows: Sequence[tuple[RowKey, LevelVerdict, int]], session: Session, frame: Frame, room: int
) -> Iterator[Line]:
    offset = max(0, min(frame.offset, len(rows) - room))
    shown = rows[offset : offset + room]
    grid = [_HEAD, *(_cells(*row) for row in shown)]
    columns = _fitting(grid, frame.columns - 2)
    widths = [max(cells(line[column]) for line in grid) for column in columns]
    yield (("  " + _joined(_HEAD, columns, widths), "dim"),)
    marks = session.marks()
    for (key, level, _), line in zip(shown, grid[1:], strict=True):
        mark = marks.get(key)
        sign = (f"{frame.signs.directions[mark]} ", STYLES[mark]) if mark else ("  ", "")
        style = level.severity.name if level.severity and level.severity is not Severity.OK else ""
        yield sign, (_joined(line, columns, widths), style)
    if hidden := _hidden(rows, offset, offset + len(shown)):
        yield ((f"  {hidden}", "bold"),)


def _hidden(rows: Sequence[tuple[RowKey, LevelVerdict, int]], first: int, end: int) -> str:
    """How many rows are above the first and below the last shown, with the severities of those below."""
    below = rows[end:]
    severities = sorted({level.severity.name if level.severity else "-" for _, level, _ in below})
    parts = [f"{first} above"] if first else []
    return ", ".join([*parts, f"{len(below)} more below ({', '.join(severities)})"] if below else parts)


def _cells(key: RowKey, level: LevelVerdict, ranges: int) -> tuple[str, ...]:
    keyspace, name, datacenter = key
    cells = row(level)
    lost = f"{cells.unavailable} of {ranges}"
    numbers = cells.share, cells.at_minimum, cells.nodes, cells.racks
    return clip(keyspace, _LONGEST), name, clip(datacenter or "-", _LONGEST), cells.severity, lost, *numbers


def _fitting(grid: Iterable[tuple[str, ...]], room: int) -> list[int]:
    """The columns that fit; the least important are dropped first."""
    lines = list(grid)
    columns = list(range(len(_HEAD)))
    for dropped in _DROPPED:
        if sum(max(cells(line[column]) for line in lines) + 2 for column in columns) - 2 <= room:
            break
        columns.remove(dropped)
    return columns


def _joined(line: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
    parts = [pad(line[column], width, right=column >= _TEXTS) for column, width in zip(columns, widths, strict=True)]
    return "  ".join(parts)


def _nodes(verdict: Verdict) -> Iterator[Line]:
    for state, style in (("down", "CRITICAL"), ("unknown", "UNKNOWN")):
        names = [address for address, known in states(verdict).items() if known == state]
        if names:
            yield (f"{counted(len(names), 'node')} {state}: ", style), (listed(names), "")


def _recovery(verdict: Verdict) -> Iterator[Line]:
    """The nodes whose return restores most, while ranges are unavailable."""
    gains = [recovery for recovery in verdict.recover_first if recovery.restores_share]
    nodes = verdict.snapshot.nodes
    names = [f"{nodes[gain.node].address} (+{percent(gain.restores_share)})" for gain in gains[:SHOWN]]
    if names:
        yield ("Bring back first: ", "bold"), (", then ".join(names), "")


def _gaps(verdict: Verdict) -> Iterator[Line]:
    """Gaps in what is known, which the table does not show."""
    gaps = [finding for finding in verdict.findings if finding.severity is Severity.UNKNOWN]
    for gap in gaps[:REPORTED]:
        yield ("UNKNOWN ", "UNKNOWN"), (gap.summary, "")
    if len(gaps) > REPORTED:
        yield (("        ", ""), (f"and {len(gaps) - REPORTED} more: see health", ""))


def _changes(session: Session, frame: Frame) -> Iterator[Line]:
    for change in list(session.changes)[:SHOWN]:
        sign = frame.signs.directions[change.direction]
        at = change.at.astimezone(UTC).strftime("%H:%M:%SZ") if change.at else "?"
        yield (f"{at} ", "dim"), (f"{sign} {change.direction:<8}", STYLES[change.direction]), (change.text, "")
