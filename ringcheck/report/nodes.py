"""The table of nodes for a terminal: like `nodetool status`, also with who sees a node down and whether it may stop.

Problems come first. A large cluster's nodes without problems are counted by rack instead of listed. A column in which
all nodes are alike gives way to one line if the terminal is narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.words import counted, listed
from ringcheck.errors import printable
from ringcheck.report.lease import span
from ringcheck.report.terminal import ansi, cells, clip, fitted, pad

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringcheck.core.node_status import NodeStatus
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.terminal import Line

LISTED = 40  # up to this many nodes, all are listed
_LONGEST = 16  # characters of the name of a datacenter or rack


class Row(NamedTuple):
    """The cells of a node: `?` if a value is not known, `-` if there is none."""

    datacenter: str
    rack: str
    address: str
    state: str
    since: str
    release: str
    tokens: str
    mode: str
    jolokia: str
    stop: str


_HEAD = Row("DC", "RACK", "ADDRESS", "STATE", "SINCE", "RELEASE", "TOKENS", "MODE", "JOLOKIA", "STOP")
_RIGHT = {"since", "tokens"}
_ALIKE = ("release", "tokens", "mode", "jolokia", "since", "datacenter", "rack")
"""Columns that one line can stand for, the least important first."""
_DROPPED = ("tokens", "release", "since", "mode", "rack", "jolokia", "datacenter")
"""Columns that are dropped, in this order, if the terminal is still too narrow."""
_STYLES = {"down": "CRITICAL", "unknown": "UNKNOWN", "up": "OK", "yes": "OK", "no": "WARNING", "?": "UNKNOWN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesTable:
    """What the table shows.

    Attributes:
        verdict: on the cluster, whose views and times it has.
        statuses: the nodes to show, in order.
        total: how many nodes the cluster has.
        all: list every node, however many there are.
        notes: lines below the table, such as why something is not known.
    """

    verdict: Verdict
    statuses: Sequence[NodeStatus]
    total: int
    all: bool = False
    notes: Sequence[str] = ()


def render(table: NodesTable, *, colour: bool = False, width: int | None = None) -> str:
    """The output of `nodes`.

    Args:
        table: what to show.
        colour: paint states and answers with ANSI escapes.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    shown, folded = _split(table)
    blocks = [
        fitted(_head(table), width, colour=colour),
        "\n".join(ansi(line, colour=colour) for line in _table(shown, table.verdict.snapshot.taken_at, width)),
        fitted(_folded(folded), width, colour=colour),
        fitted(_details(shown), width, colour=colour),
        fitted(_stops(table.statuses), width, colour=colour),
        fitted((_plain(note) for note in table.notes), width, colour=colour),
    ]
    return "\n\n".join(filter(None, blocks))


def _plain(text: str) -> Line:
    return ((text, ""),)


def _split(table: NodesTable) -> tuple[list[NodeStatus], list[NodeStatus]]:
    """The nodes that are listed, and those that are only counted."""
    statuses = list(table.statuses)
    if table.all or len(statuses) <= LISTED:
        return statuses, []
    return [status for status in statuses if status.wrong], [status for status in statuses if not status.wrong]


def _head(table: NodesTable) -> Iterator[Line]:
    states = [status.state for status in table.statuses]
    parts = [f"{states.count(state)} {state}" for state in ("up", "down", "unknown") if state in states]
    of = f" of {table.total}" if len(states) < table.total else ""
    nodes = f"{len(states)}{of} {'node' if len(states) == 1 and not of else 'nodes'} ({', '.join(parts) or 'none'})"
    yield _plain(f"{table.verdict.snapshot.cluster}: {nodes}; {_may(table.statuses)}")
    usable = sum(view.outcome == "ok" for view in table.verdict.views)
    views = f"{usable} of {counted(len(table.verdict.views), 'view')} usable"
    yield _plain(f"{views}; {table.verdict.snapshot.taken_at}")


def _may(statuses: Sequence[NodeStatus]) -> str:
    if any(status.stop is None for status in statuses):
        return "which may stop is not known"
    up = [status for status in statuses if status.state == "up"]
    safe = sum(status.stop is not None and status.stop.decision == "safe" for status in up)
    if not up:
        return "none is up"
    if len(up) == 1:
        return f"the one up may {'stop' if safe else 'not stop'} now, alone"
    return f"{safe or 'none'} of the {len(up)} up may stop now, alone"


# The table


def _row(status: NodeStatus, taken_at: str) -> Row:
    node, stop = status.node, status.stop
    mode = node.mode or "?"
    if node.native_transport_running is False and mode == "NORMAL":
        mode = "NO CQL" if node.gossip_running is not False else "NO GOSSIP"
    return Row(
        datacenter=clip(printable(node.datacenter or "?"), _LONGEST),
        rack=clip(printable(node.rack or "?"), _LONGEST),
        address=node.address,
        state=status.state,
        since=_age(status, taken_at),
        release=printable(node.release_version or "?"),
        tokens="?" if node.tokens is None else str(node.tokens),
        mode=printable(mode),
        jolokia="not asked" if node.source == "not_asked" else node.source,
        stop={"safe": "yes", "unsafe": "no"}.get(stop.decision, "?") if stop else "?",
    )


def _age(status: NodeStatus, taken_at: str) -> str:
    """How long it has had its state, in one unit: `>= 5 min` if the start was not seen, `-` if it is not known."""
    try:
        seconds = (datetime.fromisoformat(taken_at) - datetime.fromisoformat(status.since or "")).total_seconds()
    except (ValueError, TypeError):
        return "-"
    age = f"{round(seconds / 86400)} d" if seconds >= 2 * 86400 else span(max(0.0, seconds))
    return age if status.begin_seen else f">= {age}"


def _table(shown: Sequence[NodeStatus], taken_at: str, width: int | None) -> Iterator[Line]:
    rows = [_row(status, taken_at) for status in shown]
    if not rows:
        return
    columns, alike = _columns(rows, width)
    if alike:
        yield _plain(f"all: {', '.join(alike)}")
    widths = [max(cells(getattr(row, name)) for row in (_HEAD, *rows)) for name in columns]
    yield _plain("  ".join(_padded(_HEAD, columns, widths)).rstrip())
    for row in rows:
        yield tuple(_spans(row, columns, widths))


def _columns(rows: Sequence[Row], width: int | None) -> tuple[list[str], list[str]]:
    """The columns that fit, and what all nodes have in common in columns that were taken out."""
    columns, alike = list(Row._fields), list[str]()
    for name in _ALIKE if width is not None else ():
        if _fits(rows, columns, width):
            return columns, alike
        values = {getattr(row, name) for row in rows}
        if len(values) == 1:
            columns.remove(name)
            alike += _common(name, values.pop())
    for name in _DROPPED if width is not None else ():
        if not _fits(rows, columns, width) and name in columns:
            columns.remove(name)
    return columns, alike


def _common(name: str, value: str) -> list[str]:
    words = {
        "tokens": f"{value} tokens", "datacenter": f"datacenter {value}", "rack": f"rack {value}",
        "jolokia": f"Jolokia {value}", "release": f"release {value}", "mode": value, "since": f"since {value}",
    }  # fmt: skip
    return [] if value == "-" else [words[name]]


def _fits(rows: Sequence[Row], columns: Sequence[str], width: int | None) -> bool:
    if width is None:
        return True
    return sum(max(cells(getattr(row, name)) for row in (_HEAD, *rows)) + 2 for name in columns) - 2 <= width


def _padded(row: Row, columns: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [pad(getattr(row, name), width, right=name in _RIGHT) for name, width in zip(columns, widths, strict=True)]


def _spans(row: Row, columns: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, str]]:
    last = len(columns) - 1
    for index, (name, text) in enumerate(zip(columns, _padded(row, columns, widths), strict=True)):
        word = getattr(row, name) if name in {"state", "stop"} else ""
        yield word, _STYLES.get(word, "")
        rest = text.removeprefix(word)  # the blanks after a word have no colour
        yield rest.rstrip() if index == last else f"{rest}  ", ""


# Below the table


def _folded(folded: Sequence[NodeStatus]) -> Iterator[Line]:
    """Nodes without problems, counted by rack."""
    if folded:
        yield _plain(f"Without problems: {counted(len(folded), 'node')} (--all lists them)")
    places = sorted(folded, key=lambda status: (status.node.datacenter or "?", status.node.rack or "?"))
    for (datacenter, rack), group in groupby(
        places, key=lambda status: (status.node.datacenter or "?", status.node.rack or "?")
    ):
        nodes = list(group)
        safe = sum(status.stop is not None and status.stop.decision == "safe" for status in nodes)
        releases = listed(sorted({status.node.release_version or "?" for status in nodes}))
        yield _plain(f"  {datacenter} {rack}: {counted(len(nodes), 'node')} up, {releases}; {safe} may stop now")


def _details(shown: Iterable[NodeStatus]) -> Iterator[Line]:
    """What the table has no room for: who sees a node down, and why a node's own view is not usable."""
    for status in shown:
        by = f"seen down by {listed(status.seen_down_by)}" if status.seen_down_by else ""
        view = status.view
        own = f"its view is not usable: {view.reason}" if view and view.reason and view.outcome != "ok" else ""
        own = "" if status.state == "down" else own
        lease = f"under the lease of {status.lease.owner}" if status.lease else ""
        if parts := list(filter(None, (by, own, lease))):
            yield _plain(f"{status.node.address}: {'; '.join(parts)}")


def _stops(statuses: Sequence[NodeStatus]) -> Iterator[Line]:
    """Why nodes may not stop, grouped by the first reason of each; then whose lease is on those that may."""
    refused = [status for status in statuses if status.stop and status.stop.decision != "safe"]
    groups: dict[tuple[str, str], list[NodeStatus]] = {}
    for status in refused:
        code = status.stop.reason.code if status.stop and status.stop.reason else ""
        groups.setdefault((status.stop.decision if status.stop else "", code), []).append(status)
    for (decision, code), group in groups.items():
        known = decision == "unsafe"
        answer = (
            f"{_group_name(group)} must not stop now" if known else f"Not known whether {_group_name(group)} may stop"
        )
        yield _plain(f"{answer} ({code})")
        yield from _first_reason(group)
    for status in statuses:
        if status.stop and status.stop.decision == "safe" and status.stop.reason:
            yield _plain(status.stop.reason.summary)


def _group_name(group: Sequence[NodeStatus]) -> str:
    names = listed([status.node.address for status in group])
    return names if len(group) == 1 else f"{counted(len(group), 'node')} ({names})"


def _first_reason(group: Sequence[NodeStatus]) -> Iterator[Line]:
    """The reason of the first node; `for example` if it is not that of all."""
    first = group[0]
    summaries = {status.stop.reason.summary for status in group if status.stop and status.stop.reason}
    if first.stop is None or first.stop.reason is None:
        return
    example = f"for example {first.node.address}: " if len(summaries) > 1 else ""
    yield _plain(f"  {example}{first.stop.reason.summary}")
    if first.stop.reason.lifts_when:
        yield _plain(f"  until {first.stop.reason.lifts_when}")
