"""The levels that clients use as text: the evidence, the levels in use, and the rules they suggest."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from ringcheck.errors import cut, printable
from ringcheck.report.terminal import ENDLESS, clip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDED = 80  # columns of rules
_HEAD = ("KEYSPACE", "DC", "LEVEL", "OP", "PER SECOND", "LAST (UTC)", "SOURCE")
_WIDTHS = (15, 10, 12, 5, 10, 11, 10)
NO_EVIDENCE = "no query was seen"


def render(document: Mapping[str, Any], *, width: int | None = None) -> str:
    """The output of `levels`.

    Args:
        document: `ringcheck/levels/1`.
        width: columns of the terminal; None for a file or a pipe, whose sentences are not broken.
    """
    return "\n".join(_lines(document, width or ENDLESS))


def _lines(document: Mapping[str, Any], width: int) -> Iterator[str]:
    whole = "the whole window is known" if document["whole"] else "the window is incomplete: defaults apply too"
    yield from _wrapped(f"{document['cluster']}: {_span(document['window_seconds'])}, {whole}", width)
    for text in document["unclear"]:
        yield from _wrapped(f"  {text}", width)
    if document["scans"]:
        yield from _wrapped("  range scans were seen; Cassandra does not count at which level they are made", width)
    yield ""
    yield from (clip(row, width) for row in _table(document["uses"]))
    yield ""
    yield from _in_use(document, width)
    yield from _rules(document)


def _span(seconds: float) -> str:
    days, rest = divmod(seconds, 86400)
    return f"window of {days:g} days" if days and not rest else f"window of {seconds:g} s"


def _wrapped(text: str, width: int) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.wrap(printable(text), width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _folded(text: str) -> list[str]:
    """A line of YAML in flow style, folded where YAML allows it."""
    return textwrap.wrap(text, FOLDED, subsequent_indent=" " * 10, break_long_words=False, break_on_hyphens=False)


def _table(uses: list[Mapping[str, Any]]) -> Iterator[str]:
    if not uses:
        yield NO_EVIDENCE
        return
    yield _row(_HEAD)
    for use in uses:
        rate = "-" if use["rate"] is None else f"{use['rate']:.3g}"
        seen = use["last_seen"][5:16].replace("T", " ")
        names = (use[name] or "*" for name in ("keyspace", "datacenter", "level", "operation"))
        yield _row((*names, rate, seen, use["source"]))


def _row(cells: tuple[str, ...]) -> str:
    fitted = (f"{cut(printable(cell), width):<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return " ".join(fitted).rstrip()


def _in_use(document: Mapping[str, Any], width: int) -> Iterator[str]:
    yield "in use:"
    places: dict[tuple[str, str], list[str]] = {}
    for used in document["in_use"]:
        places.setdefault((used["keyspace"] or "*", used["level"]), []).append(used["datacenter"] or "")
    for (keyspace, level), names in places.items():
        where = f" in {', '.join(filter(None, names))}" if any(names) else ""
        yield from _wrapped(f"  {keyspace}: {level}{where}", width)
    if not places:
        yield "  nothing"


def _rules(document: Mapping[str, Any]) -> Iterator[str]:
    if not document["rules"]:
        return
    yield ""
    yield "the same as rules by hand (critical: auto, warning: auto keep them current):"
    clients = document["client_datacenters"]
    if clients:
        yield f"    client_datacenters: [{', '.join(map(printable, clients))}]"
    yield "    monitor:"
    for rule in document["rules"]:
        names = ", ".join('"*"' if name == "*" else printable(name) for name in rule["keyspaces"])
        warning = f", warning: {rule['warning']}" if rule["warning"] else ""
        yield from _folded(f"      - keyspaces: [{names}]")
        yield f"        critical: {rule['critical']}"
        if warning:
            yield f"        warning: {rule['warning']}"
        if rule["client_datacenters"]:
            yield f"        # for clients in {', '.join(map(printable, rule['client_datacenters']))}"
        if rule["beside"]:
            yield f"        # also used, and watched by auto alone: {', '.join(rule['beside'])}"
