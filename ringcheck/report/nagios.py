"""A verdict as a Nagios plugin prints it: one line with one set of perfdata, more lines only where they are asked for.

Labels have no spaces and values no exponents, for Sensu Go and Icinga read them too; the first line with its perfdata
stays under 1,000 bytes, for NRPE's old packets cut at 1,023 without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.health import LevelHealth
    from ringcheck.core.verdict import Verdict

FIRST_LINE_BYTES = 1000


def plain(text: str) -> str:
    """Text that a plugin may print: no `|`, which begins perfdata, no line breaks, no control characters."""
    return "".join(" " if char.isspace() else char if char.isprintable() else "?" for char in text.replace("|", "/"))


def line(severity: Severity, text: str, perfdata: Iterable[str] = ()) -> str:
    """One line of status, text and perfdata, cut in the text where it would be too long."""
    values = " ".join(perfdata)
    tail = f" | {values}" if values else ""
    room = FIRST_LINE_BYTES - len(tail.encode()) - len(severity.name) - len(" - ")
    body = plain(text).encode()
    if len(body) > room:
        body = body[: room - len("...")] + b"..."
    return f"{severity.name} - {body.decode(errors='ignore')}{tail}"


def render(verdict: Verdict, *, seconds: float | None = None, verbose: bool = False) -> str:
    """What `check` prints.

    Args:
        verdict: what to say.
        seconds: how long it took to find out.
        verbose: add findings and levels in further lines.
    """
    first = line(verdict.severity, f"{verdict.snapshot.cluster}: {verdict.summary}", perfdata(verdict, seconds))
    return "\n".join([first, *(plain(one) for one in _details(verdict))] if verbose else [first])


def perfdata(verdict: Verdict, seconds: float | None = None) -> Iterator[str]:
    """`label=value[unit];warn;crit;min;max`, numbers of the worst watched level of all keyspaces."""
    watched = [one.health for each in verdict.keyspaces for one in each.levels if one.severity and one.health]
    tiers = [each.severity for each in verdict.keyspaces]
    nodes = len(verdict.states)
    yield f"keyspaces={len(tiers)};;;0"
    yield f"keyspaces_critical={tiers.count(Severity.CRITICAL)};;;0;{len(tiers)}"
    yield f"keyspaces_warning={tiers.count(Severity.WARNING)};;;0;{len(tiers)}"
    yield f"keyspaces_unknown={tiers.count(Severity.UNKNOWN)};;;0;{len(tiers)}"
    yield from _worst(watched)
    yield f"nodes={nodes};;;0"
    yield f"nodes_up={verdict.states.count('up')};;;0;{nodes}"
    yield f"nodes_down={verdict.states.count('down')};;;0;{nodes}"
    yield f"views={sum(view.outcome == 'ok' for view in verdict.views)};;;0;{nodes}"
    if seconds is not None:
        yield f"time={seconds:.3f}s;;;0"


def _worst(watched: list[LevelHealth]) -> Iterator[str]:
    """Nothing where nothing is known: a 0 would be a lie."""
    if not watched:
        return
    most = max(watched, key=lambda one: (one.unavailable_share, one.unavailable))
    failures = [one.node_failures_to_outage for one in watched if one.node_failures_to_outage is not None]
    yield f"unavailable_ranges={most.unavailable};;;0;{most.ranges}"
    yield f"unavailable_share={most.unavailable_share * 100:.4f}%;;;0;100"
    yield f"at_minimum_ranges={max(one.at_minimum for one in watched)};;;0"
    if failures:
        yield f"node_failures_to_outage={min(failures)};;;0"


def _details(verdict: Verdict) -> Iterator[str]:
    for one in verdict.findings:
        label = "note" if one.severity is Severity.OK else one.severity.name
        yield f"{label}: {one.summary}{f' ({one.detail})' if one.detail else ''} [{one.code}]"
    for each in verdict.keyspaces:
        for level in each.levels:
            at = f"{each.name} at {level.level}{f' in {level.datacenter}' if level.datacenter else ''}"
            yield f"{level.severity.name if level.severity else '-'}: {at}: {_counts(level.health)}"


def _counts(health: LevelHealth | None) -> str:
    if health is None:
        return "not known"
    left = health.node_failures_to_outage
    return (
        f"{health.unavailable} of {health.ranges} ranges unavailable, {health.at_minimum} at minimum, "
        f"{'no' if left is None else left} node failure{'' if left == 1 else 's'} to outage"
    )
