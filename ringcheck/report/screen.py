"""What `watch` shows: one screen of a verdict, what has changed since, and how old it is.

Owns what stands on the screen and what gives way when it is small. Knows no terminal and reads no clock: the time, the
size and the keys' effects are told. Old data never looks fresh: when a poll fails or data is too old, the banner says
UNKNOWN and since when, and all else is dimmed.
"""

from __future__ import annotations

import textwrap
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, listed, percent
from ringcheck.report.terminal import cells, clip, crop, pad
from ringcheck.report.text import row, seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
    from ringcheck.report.terminal import Line

Direction: TypeAlias = Literal["worse", "better", "changed"]
RowKey: TypeAlias = tuple[str, ...]

KEPT = 50  # changes that are remembered
MARKED = 60  # seconds for which a changed row is marked: long enough to be seen
SHOWN = 6  # of which a screen shows so many
LEAST = 3  # rows of the table that nothing takes away
REASON = 2  # further lines for why data is old: the one thing that must be read then
REPORTED = 3  # gaps that a screen names

STYLES: dict[Direction, str] = {"worse": "CRITICAL", "better": "OK", "changed": "bold"}


@dataclass(frozen=True, slots=True)
class ScreenSigns:
    """What the terminal can show."""

    directions: dict[Direction, str]
    up: str
    down: str

    @property
    def all(self) -> str:
        """Every sign once."""
        return "".join((*self.directions.values(), self.up, self.down))


UNICODE = ScreenSigns({"worse": "▼", "better": "▲", "changed": "•"}, "↑", "↓")
ASCII = ScreenSigns({"worse": "v", "better": "^", "changed": "*"}, "up", "down")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenChange:
    """What differs between two polls.

    Attributes:
        key: row that it is about, or a node's address alone.
        direction: whether it got worse.
        text: one line.
        at: when the later poll was taken; None where it does not tell.
    """

    key: RowKey
    direction: Direction
    text: str
    at: datetime | None


@dataclass(slots=True)
class Session:
    """What has been seen since the start.

    Attributes:
        verdict: the last one.
        error: why the last poll failed; None where it did not.
        changes: latest first.
        polls: how many there were, failed ones too.
    """

    verdict: Verdict | None = None
    error: str | None = None
    changes: deque[ScreenChange] = field(default_factory=lambda: deque(maxlen=KEPT))
    polls: int = 0

    def add(self, verdict: Verdict) -> None:
        """A poll succeeded."""
        found = list(differences(self.verdict, verdict)) if self.verdict else []
        self.changes.extendleft(reversed(found))
        self.verdict, self.error = verdict, None
        self.polls += 1

    def marks(self) -> dict[RowKey, Direction]:
        """What changed in the last minute, by key; where it changed twice the later counts."""
        now = taken_at(self.verdict) if self.verdict else None
        fresh = [one for one in self.changes if now and one.at and (now - one.at).total_seconds() <= MARKED]
        return {one.key: one.direction for one in reversed(fresh)}

    def fail(self, error: str) -> None:
        """A poll failed; what was seen before stays, and is old."""
        self.error = error
        self.polls += 1


def differences(before: Verdict, after: Verdict) -> Iterator[ScreenChange]:
    """What got worse or better: nodes first, then what is worst now."""
    at = taken_at(after)
    yield from _of_nodes(before, after, at)
    old, new = dict(_levels(before)), dict(_levels(after))
    for key in [*sorted(new, key=lambda key: _rank(new[key]), reverse=True), *(one for one in old if one not in new)]:
        then, now = old.get(key), new.get(key)
        place = f"{key[0]} at {key[1]}{f' in {key[2]}' if key[2] else ''}"
        if then is None or now is None:
            yield ScreenChange(
                key=key, direction="changed", text=f"{place} is {'gone' if now is None else 'new'}", at=at
            )
        elif _rank(then) != _rank(now):
            direction: Direction = "worse" if _rank(now) > _rank(then) else "better"
            yield ScreenChange(key=key, direction=direction, text=f"{place}: {_moved(then, now)}", at=at)


def _of_nodes(before: Verdict, after: Verdict, at: datetime | None) -> Iterator[ScreenChange]:
    old, new = _states(before), _states(after)
    for address in [*new, *(one for one in old if one not in new)]:
        then, now = old.get(address, "gone"), new.get(address, "gone")
        if then != now:
            direction: Direction = "better" if now == "up" else "worse" if then == "up" and now != "gone" else "changed"
            was = "new" if then == "gone" else f"was {then}"
            yield ScreenChange(key=(address,), direction=direction, text=f"node {address} is {now} ({was})", at=at)


def _states(verdict: Verdict) -> dict[str, str]:
    return {node.address: state for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True)}


def _levels(verdict: Verdict) -> Iterator[tuple[RowKey, LevelVerdict]]:
    for each in verdict.keyspaces:
        for one in each.levels:
            yield _key(each, one), one


def _key(keyspace: KeyspaceVerdict, one: LevelVerdict) -> RowKey:
    return keyspace.name, one.level.value, one.datacenter or ""


def _rank(one: LevelVerdict) -> tuple[Severity, bool, tuple[float, ...]]:
    """Orders rows by how bad they are; what is not known is worse than what is."""
    return one.severity or Severity.OK, one.health is None, one.health.badness if one.health else ()


def _moved(then: LevelVerdict, now: LevelVerdict) -> str:
    names = ("unavailable", "at minimum", "node failures to outage")
    old, new = (dict(zip(names, _numbers(one), strict=True)) for one in (then, now))
    parts = [f"{name} {old[name]} -> {new[name]}" for name in names if old[name] != new[name]]
    if then.severity is not now.severity and then.severity and now.severity:
        parts.insert(0, f"{then.severity.name} -> {now.severity.name}")
    return ", ".join(parts) or "a smaller or larger share of the token space"


def _numbers(one: LevelVerdict) -> tuple[str, str, str]:
    _, _, _, unavailable, _, at_minimum, nodes, _ = row(one)
    return unavailable, at_minimum, nodes


# Time


def taken_at(verdict: Verdict) -> datetime | None:
    """When its data was taken; None where it does not tell."""
    try:
        found = datetime.fromisoformat(verdict.snapshot.taken_at)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ago(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `8 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


# The screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a screen is drawn for.

    Attributes:
        columns: width of the terminal.
        lines: its height.
        now: the time.
        limit: seconds after which data is old; None for recorded data, whose age is told instead.
        paused: nothing is polled until it goes on.
        interval: seconds between polls.
        offset: rows of the table that were scrolled away.
        signs: what the terminal can show.
        keys: whether it listens to keys.
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
    """Whether what is shown must not be taken for what is."""
    if session.verdict is None or session.error is not None:
        return True
    age = _age(session.verdict, frame)
    return frame.limit is not None and (age is None or age > frame.limit)


def _age(verdict: Verdict, frame: Frame) -> float | None:
    """Seconds since the data was taken; None where that can't be told, as when clocks differ."""
    taken = taken_at(verdict)
    age = (frame.now - taken).total_seconds() if taken else None
    return None if age is None or age < -2 else max(0.0, age)  # noqa: PLR2004 - times are told in whole seconds


def _banner(session: Session, frame: Frame, *, old: bool) -> Iterator[Line]:
    """How bad, and whether that is still so."""
    verdict = session.verdict
    if verdict is None:
        name, text = ("UNKNOWN", session.error) if session.error else ("...", "asking the cluster")
        yield (f" {name} ", f"{name}!"), (f" {text}", "")
        return
    age = _age(verdict, frame)
    since = f"{ago(age)} ago" if age is not None else f"at {verdict.snapshot.taken_at or 'an unknown time'}"
    if old:
        first, *more = textwrap.wrap(
            f"what is below was seen {since}: {_why_old(session, frame)}", max(20, frame.columns - 11)
        )
        yield (" UNKNOWN ", "UNKNOWN!"), (f" {first}", "UNKNOWN")
        yield from (((f"          {line}", "UNKNOWN"),) for line in more[:REASON])
    label = (f" {verdict.severity.name} ", "dim" if old else f"{verdict.severity.name}!")
    yield label, (f" {verdict.snapshot.cluster}: {verdict.summary}", "dim" if old else "bold")
    style = "dim" if old else "" if frame.limit is not None else "WARNING"
    what = "recorded" if frame.limit is None else "seen"
    yield (f"{what} {since}; ", style), (seen(verdict), "dim" if old else "")


def _why_old(session: Session, frame: Frame) -> str:
    if session.error is not None:
        return session.error
    return "paused" if frame.paused else "no new data"


def _foot(session: Session, frame: Frame) -> Line:
    signs = frame.signs
    state = "PAUSED" if frame.paused else f"every {frame.interval:g} s"
    if not frame.keys:
        return ((f"{state}, {counted(session.polls, 'poll')}; Ctrl-C quits", "dim"),)
    told = f"  q quit  space {'go on' if frame.paused else 'pause'}  r poll now  {signs.down} {signs.up} more rows  "
    marks = f"{signs.directions['worse']} worse {signs.directions['better']} better"
    return (state, "WARNING" if frame.paused else "dim"), (told, "bold"), (marks, "dim")


def _body(session: Session, frame: Frame, room: int) -> Iterator[Line]:
    """The table, and below it as much as there is room for."""
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
    """Key, level and ranges, worst first."""
    found = [(_key(each, one), one, each.ranges) for each in verdict.keyspaces for one in each.levels]
    found.sort(key=lambda item: item[0])
    return sorted(found, key=lambda item: _rank(item[1]), reverse=True)


_HEAD = ("KEYSPACE", "LEVEL", "DC", "STATE", "UNAVAILABLE", "SHARE", "AT MIN", "NODES", "RACKS")
_TEXTS = 4  # columns of text; the others are numbers
_GIVE_WAY = (8, 5, 7, 2)  # columns that a narrow terminal does without, in this order
_LONGEST = 24  # of a name


def _table(
    rows: Sequence[tuple[RowKey, LevelVerdict, int]], session: Session, frame: Frame, room: int
) -> Iterator[Line]:
    offset = max(0, min(frame.offset, len(rows) - room))
    shown = rows[offset : offset + room]
    grid = [_HEAD, *(_cells(*one) for one in shown)]
    columns = _fitting(grid, frame.columns - 2)
    widths = [max(cells(line[column]) for line in grid) for column in columns]
    yield (("  " + _joined(_HEAD, columns, widths), "dim"),)
    marks = session.marks()
    for (key, one, _), line in zip(shown, grid[1:], strict=True):
        mark = marks.get(key)
        sign = (f"{frame.signs.directions[mark]} ", STYLES[mark]) if mark else ("  ", "")
        yield sign, (_joined(line, columns, widths), one.severity.name if one.severity and one.severity.value else "")
    left = len(rows) - offset - len(shown)
    if offset or left:
        rest = {one.severity.name if one.severity else "-" for _, one, _ in rows[offset + len(shown) :]}
        more = f"{left} more below ({', '.join(sorted(rest))})" if left else ""
        yield ((f"  {', '.join(one for one in (f'{offset} above' if offset else '', more) if one)}", "bold"),)


def _cells(key: RowKey, one: LevelVerdict, ranges: int) -> tuple[str, ...]:
    _, _, state, unavailable, *numbers = row(one)
    part = f"{unavailable} of {ranges}"
    return clip(key[0], _LONGEST), key[1], clip(key[2] or "-", _LONGEST), state, part, *numbers


def _fitting(grid: Iterable[tuple[str, ...]], room: int) -> list[int]:
    """The columns that fit; those that say least give way first."""
    lines = list(grid)
    columns = list(range(len(_HEAD)))
    for gone in _GIVE_WAY:
        if sum(max(cells(line[column]) for line in lines) + 2 for column in columns) - 2 <= room:
            break
        columns.remove(gone)
    return columns


def _joined(line: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
    parts = [pad(line[column], width, right=column >= _TEXTS) for column, width in zip(columns, widths, strict=True)]
    return "  ".join(parts)


def _nodes(verdict: Verdict) -> Iterator[Line]:
    for state, style in (("down", "CRITICAL"), ("unknown", "UNKNOWN")):
        names = [name for name, found in _states(verdict).items() if found == state]
        if names:
            yield (f"{counted(len(names), 'node')} {state}: ", style), (listed(names), "")


def _recovery(verdict: Verdict) -> Iterator[Line]:
    """The nodes whose return helps most, while something is lost."""
    gains = [one for one in verdict.recover_first if one.restores_share]
    nodes = verdict.snapshot.nodes
    named = [f"{nodes[one.node].address} (+{percent(one.restores_share)})" for one in gains[:SHOWN]]
    if named:
        yield ("Bring back first: ", "bold"), (", then ".join(named), "")


def _gaps(verdict: Verdict) -> Iterator[Line]:
    """What is not known, in words: no table shows it."""
    gaps = [one for one in verdict.findings if one.severity is Severity.UNKNOWN]
    for one in gaps[:REPORTED]:
        yield ("UNKNOWN ", "UNKNOWN"), (one.summary, "")
    if len(gaps) > REPORTED:
        yield (("        ", ""), (f"and {len(gaps) - REPORTED} more: see health", ""))


def _changes(session: Session, frame: Frame) -> Iterator[Line]:
    for one in list(session.changes)[:SHOWN]:
        sign = frame.signs.directions[one.direction]
        at = one.at.astimezone(UTC).strftime("%H:%M:%SZ") if one.at else "?"
        yield (f"{at} ", "dim"), (f"{sign} {one.direction:<8}", STYLES[one.direction]), (one.text, "")
