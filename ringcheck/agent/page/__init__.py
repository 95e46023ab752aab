"""The agent's pages: what is known of the clusters, for people with a browser.

Owns words, order and bounds of what a page shows; pure renderings of readings, as report/'s are. What is too old is
never shown as the present: such a cluster is UNKNOWN, and what was known of it stands closed below, with its age.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup

from ringcheck import __version__
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, percent
from ringcheck.report.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.evidence import State
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Node
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
    from ringcheck.report.reading import Reading

HERE = Path(__file__).parent
KEYSPACES, NODES, SAFE, LEASES, CHOICES = 200, 100, 256, 100, 12  # that one page shows at most
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


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A ring in words.

    Attributes:
        keyspace: whose.
        title: of the drawing.
        description: of the drawing, for whoever does not see it.
    """

    keyspace: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a cluster's page shows beside the reading.

    Attributes:
        picture: of the keyspace that is chosen; None where there is none to draw.
        picture_url: where it is.
        chosen: the level that is asked for; None for the worst that is watched.
        reasons: why no node that is up may restart, where none may.
    """

    picture: PagePicture | None
    picture_url: str
    chosen: Level | None
    reasons: Sequence[Reason]


# Static files


@cache
def static(name: str) -> bytes:
    """A style sheet or script."""
    return (HERE / "static" / name).read_bytes()


@cache
def icon(severity: Severity) -> str:
    """The icon of a severity as SVG: each has a shape of its own."""
    colour, shape, sign = _ICONS[severity]
    sign = sign.replace('class="i"', 'fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"')
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="{colour}">{shape}{sign}</svg>'


def _link(name: str) -> str:
    """A static file's path; it changes with what is in it."""
    return f"/static/{name}?v={sha256(static(name)).hexdigest()[:12]}"


# Words


def _shown(value: object) -> object:
    """What a node could say to confuse a reader is not printable."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _mark(severity: Severity) -> Markup:
    """The icon of a severity for use in a line; the word stands beside it."""
    drawn = icon(severity).replace("<svg ", '<svg class="icon" aria-hidden="true" focusable="false" ')
    return Markup(drawn)  # noqa: S704 - made of constants


def _age(seconds: float) -> str:
    """`4 s`, `12 min`, `3 h`."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the second where UTC has no such year
        return None


def _ago(text: str | None, now: datetime) -> Markup:
    """A time and how long ago it is, which the script counts on."""
    at = _time(text)
    if at is None:
        return Markup("<span>{}</span>").format(printable(text or "never"))
    told = at.strftime("%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC")
    since = int(at.timestamp())
    age = _age((now - at).total_seconds())
    form = '<time datetime="{}">{}</time> (<span data-since="{}">{}</span> ago)'
    return Markup(form).format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), told, since, age)  # noqa: S704 - a constant form


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.globals.update(
        Severity=Severity, mark=_mark, css=_link("page.css"), js=_link("page.js"), version=__version__, refresh=REFRESH,
        counted=counted, percent=percent, cluster_url=cluster_url,
    )  # fmt: skip
    return made


def _render(template: str, now: datetime, **values: Any) -> str:  # noqa: ANN401 - what the template shows
    def ago(text: str | None) -> Markup:
        return _ago(text, now)

    return _environment().get_template(template).render(now=int(now.timestamp()), ago=ago, **values)


def cluster_url(name: str, **chosen: object) -> str:
    """A cluster's page, with what is chosen on it."""
    asked = urlencode({key: value for key, value in chosen.items() if value is not None})
    return f"/clusters/{quote(name, safe='')}{f'?{asked}' if asked else ''}"


# Pages


def told(reading: Reading) -> Severity:
    """How a cluster is to be told now: what is not of the present is not known."""
    return reading.verdict.severity if reading.verdict and reading.fresh else Severity.UNKNOWN


def summary(reading: Reading) -> str:
    """One line on a cluster."""
    if reading.verdict is None:
        return reading.error or "the first poll is under way"
    if not reading.fresh:
        return f"no verdict of the present: {reading.error or 'polls hang'}"
    return reading.verdict.summary


def overview(readings: Sequence[Reading], now: datetime) -> str:
    """The page of all clusters, the worst first."""
    ordered = sorted(readings, key=told, reverse=True)
    numbers = Counter(map(told, readings))
    counts = [(one, numbers[one]) for one in sorted(Severity, reverse=True) if numbers[one]]
    worst = told(ordered[0]) if ordered else Severity.UNKNOWN
    rows = [_Row.of(one) for one in ordered]
    return _render("clusters.html", now, rows=rows, counts=counts, worst=worst)


@dataclass(frozen=True, slots=True)
class _Row:
    """A cluster on the page of all."""

    reading: Reading
    severity: Severity
    summary: str
    nodes: str
    restart: str
    cures: int

    @classmethod
    def of(cls, reading: Reading) -> _Row:
        verdict = reading.verdict if reading.fresh else None
        cures = len(reading.restart_cures or ()) if verdict else 0
        return cls(reading, told(reading), summary(reading), _nodes(verdict), _restart(reading), cures)


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
        reading: what is known.
        shown: what was chosen, and what goes with it.
        now: the time.
    """
    verdict = reading.verdict
    values: dict[str, Any] = {
        "reading": reading,
        "severity": told(reading),
        "summary": summary(reading),
        "verdict": verdict,
        "picture": shown.picture,
        "picture_url": shown.picture_url,
        "reasons": shown.reasons,
        "chosen": shown.chosen,
        "levels": [one for one in Level if one is not Level.ANY],
    }
    if verdict:
        keyspaces = sorted(verdict.keyspaces, key=lambda one: one.severity, reverse=True)
        values |= {
            "keyspaces": keyspaces[:KEYSPACES],
            "more_keyspaces": max(0, len(keyspaces) - KEYSPACES),
            "choices": _choices(keyspaces, shown.picture),
            "findings": verdict.findings,
            "recover": [(verdict.snapshot.nodes[one.node], one.restores_share) for one in verdict.recover_first[:5]],
            "places": _places(verdict),
            "safe": _by_rack(reading.restart_safe, verdict, "up"),
            "cures": _by_rack(reading.restart_cures, verdict, "down"),
            "holders": (reading.holders or ())[:LEASES],
            "level_cells": _cells,
            **_listed(reading, verdict),
        }
    return _render("cluster.html", now, **values)


def _choices(keyspaces: Sequence[KeyspaceVerdict], picture: PagePicture | None) -> list[str]:
    """Keyspaces that are offered beside the picture; the table has them all."""
    names = [one.name for one in keyspaces[:CHOICES]]
    if picture and picture.keyspace not in names:
        names.append(picture.keyspace)
    return names


def _cells(one: LevelVerdict, ranges: int) -> tuple[str, ...]:
    """Unavailable ranges, their share, ranges at minimum, node and rack failures to an outage."""
    health = one.health
    if health is None:
        return ("?",) * 5
    left = (health.node_failures_to_outage, health.rack_failures_to_outage)
    return (
        f"{health.unavailable} of {ranges}",
        percent(health.unavailable_share),
        str(health.at_minimum),
        *("none leads to one" if each is None else str(each) for each in left),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A rack's nodes, or a datacenter's where there are many racks."""

    datacenter: str
    rack: str
    states: Counter[str]


def _places(verdict: Verdict) -> list[_Place]:
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True):
        found[node.datacenter or "?", node.rack or "?"][state] += 1
    return [_Place(*place, states) for place, states in sorted(found.items())]


def _by_rack(addresses: frozenset[str] | None, verdict: Verdict, usual: State) -> list[tuple[str, list[str]]] | None:
    """Some nodes by rack, with their state if it is not the usual one; None if it is not known which nodes."""
    if addresses is None:
        return None
    found: dict[str, list[str]] = defaultdict(list)
    nodes = zip(verdict.snapshot.nodes, verdict.states, strict=True)
    here = [(node, state) for node, state in nodes if node.address in addresses]
    for node, state in here[:SAFE]:
        said = node.address if state == usual else f"{node.address} ({state})"
        found[f"{node.datacenter or '?'} {node.rack or '?'}"].append(said)
    if len(here) > SAFE:
        found["and more"] = [f"{len(here) - SAFE} of them: see the API"]
    return sorted(found.items())


@dataclass(frozen=True, slots=True)
class _Told:
    """A node in the table of nodes."""

    node: Node
    state: str
    seen_down_by: str
    restart: str
    lease: Holder | None


def _listed(reading: Reading, verdict: Verdict) -> dict[str, Any]:
    """All nodes, or of many those of which there is something to tell."""
    holders = {one.node: one for one in reading.holders or ()}
    rows = [
        _Told(
            node,
            "suspect" if node.address in reading.suspects else state,
            _by(verdict.seen_down_by.get(place, ()), verdict),
            _may(node.address, reading),
            holders.get(node.address),
        )
        for place, (node, state) in enumerate(zip(verdict.snapshot.nodes, verdict.states, strict=True))
    ]
    few = rows if len(rows) <= NODES else [one for one in rows if one.state != "up" or one.lease]
    return {"nodes": few[:NODES], "all_nodes": len(rows), "more_nodes": max(0, len(few) - NODES)}


def _by(observers: Iterable[str], verdict: Verdict) -> str:
    number, usable = len(tuple(observers)), sum(view.outcome == "ok" for view in verdict.views)
    return f"{number} of {counted(usable, 'view')}" if number else "no view"


def _may(address: str, reading: Reading) -> str:
    if reading.restart_safe is None or not reading.fresh:
        return "not known"
    if address in (reading.restart_cures or ()):
        return "yes, it is down"
    return "yes, alone" if address in reading.restart_safe else "no"


def problem(status: int, text: str, now: datetime) -> str:
    """A page for an error."""
    return _render("error.html", now, status=status, text=text)
