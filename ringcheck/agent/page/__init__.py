"""Renders the agent's pages: the state of the clusters, for people with a browser.

Owns the words, order and bounds of a page; as in report/, all of it is pure. An old verdict is never shown as current:
such a cluster is UNKNOWN, and its last known state is in a closed section below, with its age.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup

from ringcheck import __version__
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Severity
from ringcheck.core.transitions import utc
from ringcheck.core.words import counted, percent
from ringcheck.errors import cut, printable
from ringcheck.report.history import line, moments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.evidence import State
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Node
    from ringcheck.core.transitions import Entry, Transition
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
    from ringcheck.report.reading import Reading

HERE = Path(__file__).parent
KEYSPACES, NODES, SAFE, LEASES, CHOICES = 200, 100, 256, 100, 12  # most that one page shows
ENTRIES, MOMENTS, CHANGES = 80, 12, 8  # most of the history: entries that are read, times, entries of one time
REFRESH = 15  # seconds, without JavaScript

STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
_ICONS = {
    Severity.OK: ("#1a7f37", '<circle cx="16" cy="16" r="15"/>', '<path d="M9 17l5 5 9-11" class="i"/>'),
    Severity.WARNING: ("#b45309", '<path d="M16 1L31 30H1z"/>', '<path d="M16 11v9M16 23.5v3" class="i"/>'),
    Severity.CRITICAL: (
        "#c1121f", '<path d="M10 1h12l9 9v12l-9 9H10l-9-9V10z"/>', '<path d="M10 10l12 12M22 10L10 22" class="i"/>'
    ),
    Severity.UNKNOWN: (
        "#6639ba", '<path d="M16 0l16 16-16 16L0 16z"/>',
        '<path d="M12 13a4 4 0 1 1 5 4q-1 .5-1 2.500M16 22v3" class="i"/>',
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePicture:
    """The picture of a ring, as a page refers to it.

    Attributes:
        keyspace: the keyspace that is drawn.
        url: of the SVG.
        title: title of the drawing.
        description: description of the drawing, for people who can't see it.
    """

    keyspace: str
    url: str
    title: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a cluster's page shows beside the reading.

    Attributes:
        picture: the ring of the chosen keyspace; None if there is none to draw.
        chosen: the chosen level; None for the worst watched one.
        reasons: why no node that is up may restart; empty if some may.
        past: the last entries of the history, the newest first; a text if they can't be read, None if none are kept.
    """

    picture: PagePicture | None = None
    chosen: Level | None = None
    reasons: Sequence[Reason] = ()
    past: Sequence[Entry] | str | None = None


# Static files


@cache
def static(name: str) -> bytes:
    """A style sheet or script."""
    return (HERE / "static" / name).read_bytes()


@cache
def icon(severity: Severity) -> str:
    """The icon of a severity as SVG; each severity has its own shape."""
    colour, shape, sign = _ICONS[severity]
    sign = sign.replace('class="i"', 'fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"')
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="{colour}">{shape}{sign}</svg>'


def _link(name: str) -> str:
    """The path of a static file; it changes with the content, for browsers' caches."""
    return f"/static/{name}?v={sha256(static(name)).hexdigest()[:12]}"


# Words


def _shown(value: object) -> object:
    """Make text from nodes printable and short: control characters mislead a reader, and a long text hides the rest."""
    return cut(printable(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _mark(severity: Severity) -> Markup:
    """The icon of a severity for use in a line, beside the word."""
    svg = icon(severity).replace("<svg ", '<svg class="icon" aria-hidden="true" focusable="false" ')
    return Markup(svg)  # noqa: S704 - made of constants


def _age(seconds: float) -> str:
    """`4 s`, `12 min`, `3 h`."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # OverflowError: the year is out of range in UTC
        return None


def _ago(text: str | None, now: datetime) -> Markup:
    """A time and its age, which the script keeps counting."""
    at = _time(text)
    if at is None:
        return Markup("<span>{}</span>").format(cut(printable(text or "never")))
    clock = at.strftime("%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC")
    since = int(at.timestamp())
    age = _age((now - at).total_seconds())
    form = '<time datetime="{}">{}</time> (<span data-since="{}">{}</span> ago)'
    return Markup(form).format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), clock, since, age)  # noqa: S704 - a constant form


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(
        Severity=Severity, mark=_mark, css=_link("page.css"), js=_link("page.js"), version=__version__, refresh=REFRESH,
        counted=counted, percent=percent, cluster_url=cluster_url,
    )  # fmt: skip
    return environment


def _render(template: str, now: datetime, **values: Any) -> str:  # noqa: ANN401 - what the template shows
    def ago(text: str | None) -> Markup:
        return _ago(text, now)

    return _environment().get_template(template).render(now=int(now.timestamp()), ago=ago, **values)


def cluster_url(name: str, **chosen: object) -> str:
    """The URL of a cluster's page, with the choices on it."""
    query = urlencode({key: value for key, value in chosen.items() if value is not None})
    return f"/clusters/{quote(name, safe='')}{f'?{query}' if query else ''}"


# Pages


def current_severity(reading: Reading) -> Severity:
    """The severity of a cluster now; UNKNOWN if its verdict is too old."""
    return reading.verdict.severity if reading.verdict and reading.fresh else Severity.UNKNOWN


def summary(reading: Reading) -> str:
    """One line on a cluster."""
    if reading.verdict is None:
        return reading.error or "the first poll is under way"
    if not reading.fresh:
        return f"no current verdict: {reading.error or 'polls hang'}"
    return reading.verdict.summary


def overview(readings: Sequence[Reading], now: datetime) -> str:
    """The page of all clusters, the worst first."""
    ordered = sorted(readings, key=current_severity, reverse=True)
    numbers = Counter(map(current_severity, readings))
    counts = [(severity, numbers[severity]) for severity in sorted(Severity, reverse=True) if numbers[severity]]
    worst = current_severity(ordered[0]) if ordered else Severity.UNKNOWN
    cards = [_card(reading, now) for reading in ordered]
    return _render("clusters.html", now, cards=cards, counts=counts, worst=worst)


def _card(reading: Reading, now: datetime) -> Markup:
    """A cluster on the page of all clusters."""
    card = _Card.of(reading)
    ages = [_ago(card.since, now)] if card.since else []
    ages.append(_ago(reading.verdict.snapshot.taken_at, now) if reading.verdict else Markup("never"))
    first, *others = card.around_the_ages()
    return first + Markup("").join(age + text for age, text in zip(ages, others, strict=True))


_AGE = Markup("\0")  # stands for the age in a kept text; no other text has it, since `_shown` takes it away


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """What the card of a cluster shows beside the ages: since when it is as severe, if known, and when seen."""

    cluster: str
    severity: Severity
    summary: str
    error: str | None
    suspects: tuple[str, ...]
    nodes: str
    restart: str
    cures: int
    leases: int
    since: str | None

    @classmethod
    def of(cls, reading: Reading) -> _Card:
        verdict = reading.verdict if reading.fresh else None
        return cls(
            cluster=reading.cluster,
            severity=current_severity(reading),
            summary=summary(reading),
            error=reading.error if reading.fresh else None,
            suspects=tuple(sorted(reading.suspects)),
            nodes=_nodes(verdict),
            restart=_restart(reading),
            cures=len(reading.restart_cures or ()) if verdict else 0,
            leases=len(reading.holders or ()),
            since=verdict.since if verdict else None,
        )

    @lru_cache(maxsize=4096)  # noqa: B019 - equal cards of all polls share one text
    def around_the_ages(self) -> tuple[Markup, ...]:
        """The card before, between and after the ages; rendered anew only if it has changed."""
        text = _environment().get_template("card.html").render(card=self, age=_AGE)
        return tuple(map(Markup, text.split(_AGE)))


def _nodes(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not known"
    states = verdict.states
    parts = [f"{states.count(state)} {state}" for state in ("up", "down", "unknown") if state in states]
    return ", ".join(parts) or "none"


def _restart(reading: Reading) -> str:
    if not reading.fresh or reading.verdict is None or reading.restart_safe is None:
        return "not known"
    number = len(reading.restart_safe)
    return f"{number or 'none'} of {len(reading.verdict.states)}"


def cluster(reading: Reading, shown: Shown, now: datetime) -> str:
    """One cluster's page.

    Args:
        reading: the cluster's reading.
        shown: the choices of the user, and what belongs to them.
        now: the current time.
    """
    verdict = reading.verdict
    values: dict[str, Any] = {
        "reading": reading,
        "severity": current_severity(reading),
        "summary": summary(reading),
        "verdict": verdict,
        "picture": shown.picture,
        "reasons": shown.reasons,
        "chosen": shown.chosen,
        "levels": [level for level in Level if level is not Level.ANY],
        "problem": shown.past if isinstance(shown.past, str) else None,
        "timeline": None if isinstance(shown.past, str | None) else _timeline(shown.past),
        "since": verdict.since if verdict and reading.fresh else None,
    }
    if verdict:
        keyspaces = sorted(verdict.keyspaces, key=lambda keyspace: keyspace.severity, reverse=True)
        values |= {
            "keyspaces": keyspaces[:KEYSPACES],
            "more_keyspaces": max(0, len(keyspaces) - KEYSPACES),
            "choices": _choices(keyspaces, shown.picture),
            "findings": verdict.findings,
            "recover": [(verdict.snapshot.nodes[step.node], step.restores_share) for step in verdict.recover_first[:5]],
            "racks": _racks(verdict),
            "safe": _by_rack(reading.restart_safe, verdict, "up"),
            "cures": _by_rack(reading.restart_cures, verdict, "down"),
            "holders": (reading.holders or ())[:LEASES],
            "level_cells": _cells,
            **_listed(reading, verdict),
        }
    return _render("cluster.html", now, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """What one poll changed, in the timeline; `severity` is None if the cluster's did not change."""

    at: str
    severity: Severity | None
    changes: list[tuple[Severity | None, str]]
    more: int


def _timeline(entries: Sequence[Entry]) -> list[_Moment]:
    return [
        _Moment(
            at=utc(moment.at),
            severity=next((change.severity for change in moment.changes if change.kind == "severity"), None),
            changes=[_shown_change(change) for change in moment.changes[:CHANGES]],
            more=max(0, len(moment.changes) - CHANGES),
        )
        for moment in moments(entries)[:MOMENTS]
    ]


def _shown_change(change: Transition) -> tuple[Severity | None, str]:
    """A line of the timeline; a change of the cluster's severity has a badge in place of the word."""
    if change.kind != "severity" or change.severity is None:
        return None, line(change)
    return change.severity, ": ".join(filter(None, (change.was and f"was {change.was}", change.text)))


def _choices(keyspaces: Sequence[KeyspaceVerdict], picture: PagePicture | None) -> list[str]:
    """Keyspaces that are offered beside the picture; the table has all of them."""
    names = [keyspace.name for keyspace in keyspaces[:CHOICES]]
    if picture and picture.keyspace not in names:
        names.append(picture.keyspace)
    return names


def _cells(level: LevelVerdict, ranges: int) -> tuple[str, ...]:
    """Unavailable ranges, their share, ranges at minimum, node failures and rack failures to an outage."""
    health = level.health
    if health is None:
        return ("?",) * 5
    left = (health.node_failures_to_outage, health.rack_failures_to_outage)
    return (
        f"{health.unavailable} of {ranges}",
        percent(health.unavailable_share),
        str(health.at_minimum),
        *("no outage possible" if failures is None else str(failures) for failures in left),
    )


@dataclass(frozen=True, slots=True)
class _Rack:
    """How many nodes of a rack have which state."""

    datacenter: str
    rack: str
    states: Counter[str]


def _racks(verdict: Verdict) -> list[_Rack]:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True):
        counts[node.datacenter or "?", node.rack or "?"][state] += 1
    return [_Rack(datacenter, rack, states) for (datacenter, rack), states in sorted(counts.items())]


def _by_rack(addresses: frozenset[str] | None, verdict: Verdict, usual: State) -> list[tuple[str, list[str]]] | None:
    """Nodes by rack, with their state if it is not the usual one; None if the nodes are not known."""
    if addresses is None:
        return None
    by_rack: dict[str, list[str]] = defaultdict(list)
    nodes = zip(verdict.snapshot.nodes, verdict.states, strict=True)
    listed = [(node, state) for node, state in nodes if node.address in addresses]
    for node, state in listed[:SAFE]:
        text = node.address if state == usual else f"{node.address} ({state})"
        by_rack[f"{node.datacenter or '?'} {node.rack or '?'}"].append(text)
    if len(listed) > SAFE:
        by_rack["and more"] = [f"{len(listed) - SAFE} of them: see the API"]
    return sorted(by_rack.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _NodeRow:
    """A node in the table of nodes."""

    node: Node
    state: str
    seen_down_by: str
    restart: str
    lease: Holder | None
    since: str | None


def _listed(reading: Reading, verdict: Verdict) -> dict[str, Any]:
    """The rows of the table: all nodes, or in a large cluster only those that are not up or have a lease."""
    holders = {holder.node: holder for holder in reading.holders or ()}
    rows = [
        _NodeRow(
            node=node,
            state="suspect" if node.address in reading.suspects else state,
            seen_down_by=_seen_by(verdict.seen_down_by.get(index, ()), verdict),
            restart=_may_restart(node.address, reading),
            lease=holders.get(node.address),
            since=verdict.states_since[index] if verdict.states_since else None,
        )
        for index, (node, state) in enumerate(zip(verdict.snapshot.nodes, verdict.states, strict=True))
    ]
    few = rows if len(rows) <= NODES else [row for row in rows if row.state != "up" or row.lease]
    return {"nodes": few[:NODES], "all_nodes": len(rows), "more_nodes": max(0, len(few) - NODES)}


def _seen_by(observers: Iterable[str], verdict: Verdict) -> str:
    number, usable = len(tuple(observers)), sum(view.outcome == "ok" for view in verdict.views)
    return f"{number} of {counted(usable, 'view')}" if number else "no view"


def _may_restart(address: str, reading: Reading) -> str:
    if reading.restart_safe is None or not reading.fresh:
        return "not known"
    if address in (reading.restart_cures or ()):
        return "yes, it is down"
    return "yes, alone" if address in reading.restart_safe else "no"


def problem(status: int, text: str, now: datetime) -> str:
    """A page for an error."""
    return _render("error.html", now, status=status, text=text)
