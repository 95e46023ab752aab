"""How pages are rendered: templates, static files, icons, and times with their ages."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup

from ringcheck import __version__
from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, percent
from ringcheck.errors import cut, printable

if TYPE_CHECKING:
    from collections.abc import Collection

HERE = Path(__file__).parent
REFRESH = 15  # seconds, without JavaScript

STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
ICONS = {
    Severity.OK: ("#1a7f37", '<circle cx="16" cy="16" r="15"/>', '<path d="M9 17l5 5 9-11" class="i"/>'),
    Severity.WARNING: ("#b45309", '<path d="M16 1L31 30H1z"/>', '<path d="M16 11v9M16 23.5v3" class="i"/>'),
    Severity.CRITICAL: (
        "#c1121f", '<path d="M10 1h12l9 9v12l-9 9H10l-9-9V10z"/>', '<path d="M10 10l12 12M22 10L10 22" class="i"/>'
    ),
    # A square: a diamond with a question mark is what browsers show for a broken character.
    Severity.UNKNOWN: (
        "#6639ba", '<rect x="1" y="1" width="30" height="30" rx="5"/>',
        '<path d="M11.500 12a4.500 4.500 0 1 1 6.500 4q-2 1-2 3.500M16 24v.5" class="i"/>',
    ),
}  # fmt: skip
"""For each severity its colour, its shape and the sign on the shape; no two severities have the same shape."""


# Static files


@cache
def static(name: str) -> bytes:
    """A style sheet or script."""
    return (HERE / "static" / name).read_bytes()


@cache
def icon(severity: Severity) -> str:
    """The icon of a severity as SVG."""
    colour, shape, sign = ICONS[severity]
    sign = sign.replace('class="i"', 'fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"')
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="{colour}">{shape}{sign}</svg>'


def _link(name: str) -> str:
    """The path of a static file; it changes with the content, for browsers' caches."""
    return f"/static/{name}?v={sha256(static(name)).hexdigest()[:12]}"


@cache
def _sprite() -> Markup:
    """The icons as symbols, once in each page; each line then refers to one of them."""
    symbols = (
        f'<symbol id="i-{severity.name.lower()}" viewBox="0 0 32 32">{shape}{sign}</symbol>'
        for severity, (_, shape, sign) in ICONS.items()
    )
    hidden = 'class="hidden" width="0" height="0" aria-hidden="true" focusable="false"'
    return Markup(f"<svg {hidden}>{''.join(symbols)}</svg>")  # noqa: S704 - constants


@cache
def mark(severity: Severity) -> Markup:
    """The icon of a severity for use in a line, beside the word."""
    name = severity.name.lower()
    return Markup(f'<svg class="icon x-{name}" aria-hidden="true"><use href="#i-{name}"/></svg>')  # noqa: S704 - constants


# Words


def _shown(value: object) -> object:
    """Make text from nodes printable and short: control characters mislead a reader, and a long text hides the rest."""
    return cut(printable(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def age(seconds: float) -> str:
    """`4 s`, `12 min`, `3 h`."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def time_of(text: str | None) -> datetime | None:
    """A time in UTC; None if the text is not a time."""
    try:
        time = datetime.fromisoformat(text or "")
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # OverflowError: the year is out of range in UTC
        return None


def ago(text: str | None, now: datetime) -> Markup:
    """A time and its age, which the script keeps counting."""
    at = time_of(text)
    if at is None:
        return Markup("<span>{}</span>").format(cut(printable(text or "never")))
    since = int(at.timestamp())
    form = '{} (<span data-since="{}">{}</span>&nbsp;ago)'
    return Markup(form).format(clock(at, now), since, age((now - at).total_seconds()))  # noqa: S704 - a constant form


def since(text: str | None, now: datetime, blind_until: Collection[str] = ()) -> Markup:
    """A time as `ago` shows it, for a sentence after `since`: `before` it, if the agent did not watch until then."""
    return Markup("before ") + ago(text, now) if text in blind_until else ago(text, now)


def clock(at: datetime, now: datetime) -> Markup:
    """A time of day in UTC, with the date if it is another day; the script shows the local time when it is hovered."""
    text = at.strftime("%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), text)


@cache
def environment() -> jinja2.Environment:
    """The templates."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters["sh"] = shlex.quote
    made.globals.update(
        Severity=Severity, mark=mark, css=_link("page.css"), js=_link("page.js"), version=__version__, refresh=REFRESH,
        counted=counted, percent=percent, cluster_url=cluster_url, sprite=_sprite(),
    )  # fmt: skip
    return made


def render(template: str, now: datetime, **values: Any) -> str:  # noqa: ANN401 - what the template shows
    """A whole page."""

    def ago_(text: str | None) -> Markup:
        return ago(text, now)

    return environment().get_template(template).render(now=int(now.timestamp()), ago=ago_, **values)


def cluster_url(name: str, **chosen: object) -> str:
    """The URL of a cluster's page, with the choices on it."""
    query = urlencode({key: value for key, value in chosen.items() if value not in {None, ""}})
    return f"/clusters/{quote(name, safe='')}{f'?{query}' if query else ''}"
