"""A verdict in the form of a Nagios plugin: one line with one set of perfdata, and more lines only on request.

Labels have no spaces and values no exponents, so that Sensu Go and Icinga read them too. The first line with its
perfdata stays under 1,000 bytes, since the packets of old NRPE releases are cut at 1,023 without notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity
from ringcheck.errors import LINE_BYTES, cut, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ringcheck.core.health import LevelHealth
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.terminal import Line

# The verbosity from which there are more lines than one, lines for each node, and lines for each view.
_LONG, _NODES, _VIEWS = 1, 2, 3


def plain(text: str) -> str:
    """A line that a plugin may print: no `|`, which begins perfdata, no line breaks, no control characters; bounded."""
    return cut(_plain(text))


def _plain(text: str) -> str:
    return printable("".join([" " if char.isspace() else char for char in text.replace("|", "/")]))


def line(severity: Severity, text: str, perfdata: Iterable[str] = ()) -> str:
    """One line of status, text and perfdata; the text is cut if the line would be too long."""
    values = " ".join(perfdata)
    tail = f" | {values}" if values else ""
    room = LINE_BYTES - len(tail.encode()) - len(severity.name) - len(" - ")
    return f"{severity.name} - {cut(_plain(text), room)}{tail}"


def render(verdict: Verdict, *, seconds: float | None = None, verbosity: int = 0) -> str:
    """The output of `check`, as `lines` without colours."""
    shown = lines(verdict, seconds=seconds, verbosity=verbosity)
    return "\n".join("".join(text for text, _ in line) for line in shown)


def lines(
    verdict: Verdict, *, seconds: float | None = None, verbosity: int = 0, notes: Iterable[str] = ()
) -> Iterator[Line]:
    """The lines of `check`, each with its severity as a style.

    Args:
        verdict: what to show.
        seconds: how long the check took; None leaves it out.
        verbosity: 0: one line with the worst finding; 1: more lines, with the notes, each finding and each level;
            2: also each node; 3: also each view.
        notes: what the check assumed.
    """
    since = f" since {verdict.when(verdict.since)}" if verdict.since and verdict.severity is not Severity.OK else ""
    text = f"{verdict.snapshot.cluster}{since}: {verdict.summary}"
    yield labelled(verdict.severity, line(verdict.severity, text, perfdata(verdict, seconds)))
    if verbosity >= _LONG:
        yield from (((plain(note), ""),) for note in notes)
        yield from (labelled(severity, plain(detail)) for severity, detail in _details(verdict))
    if verbosity >= _NODES:
        yield from (((plain(detail), ""),) for detail in _nodes(verdict))
    if verbosity >= _VIEWS:
        yield from (((plain(detail), ""),) for detail in _views(verdict))


def _nodes(verdict: Verdict) -> Iterator[str]:
    for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True):
        place = f"{node.datacenter or '?'} {node.rack or '?'}"
        own = f"mode {node.mode or '?'}, release {node.release_version or '?'}, Jolokia {node.source}"
        yield f"node {node.address} in {place}: {state}, {own}"


def _views(verdict: Verdict) -> Iterator[str]:
    for view in verdict.views:
        yield f"view of {view.observer}: {view.outcome}{f', {view.reason}' if view.reason else ''}"


def labelled(severity: Severity | None, text: str) -> Line:
    """A text that begins with a severity, in its colour; unchanged if it begins with another word."""
    if severity is None or not text.startswith(severity.name):
        return ((text, ""),)
    return (severity.name, severity.name), (text.removeprefix(severity.name), "")


def perfdata(verdict: Verdict, seconds: float | None = None) -> Iterator[str]:
    """`label=value[unit];warn;crit;min;max`, with the numbers of the worst watched level of all keyspaces."""
    levels = [level for keyspace in verdict.keyspaces for level in keyspace.levels]
    watched = [level.health for level in levels if level.severity and level.health]
    severities = [keyspace.severity for keyspace in verdict.keyspaces]
    nodes = len(verdict.states)
    yield f"keyspaces={len(severities)};;;0"
    # Thresholds on ranges differ by keyspace. The two numbers below decide the state as soon as they are above 0.
    yield f"keyspaces_critical={severities.count(Severity.CRITICAL)};;0;0;{len(severities)}"
    yield f"keyspaces_warning={severities.count(Severity.WARNING)};0;;0;{len(severities)}"
    yield f"keyspaces_unknown={severities.count(Severity.UNKNOWN)};;;0;{len(severities)}"
    yield from _worst(watched)
    yield f"nodes={nodes};;;0"
    yield f"nodes_up={verdict.states.count('up')};;;0;{nodes}"
    yield f"nodes_down={verdict.states.count('down')};;;0;{nodes}"
    yield f"views={sum(view.outcome == 'ok' for view in verdict.views)};;;0;{nodes}"
    if seconds is not None:
        yield f"time={seconds:.3f}s;;;0"


def _worst(watched: list[LevelHealth]) -> Iterator[str]:
    """Nothing if no level could be evaluated: a 0 would be false."""
    if not watched:
        return
    worst = max(watched, key=lambda health: (health.unavailable_share, health.unavailable))
    failures = [health.node_failures_to_outage for health in watched if health.node_failures_to_outage is not None]
    yield f"unavailable_ranges={worst.unavailable};;;0;{worst.ranges}"
    yield f"unavailable_share={worst.unavailable_share * 100:.4f}%;;;0;100"
    yield f"at_minimum_ranges={max(health.at_minimum for health in watched)};;;0"
    if failures:
        yield f"node_failures_to_outage={min(failures)};;;0"


def _details(verdict: Verdict) -> Iterator[tuple[Severity | None, str]]:
    for finding in verdict.findings:
        label = "note" if finding.severity is Severity.OK else finding.severity.name
        detail = "; ".join(filter(None, (finding.detail, finding.since and f"since {verdict.when(finding.since)}")))
        yield finding.severity, f"{label}: {finding.summary}{f' ({detail})' if detail else ''} [{finding.code}]"
    for keyspace in verdict.keyspaces:
        for level in keyspace.levels:
            where = f"{keyspace.name} at {level.level}{f' in {level.datacenter}' if level.datacenter else ''}"
            word = level.severity.name if level.severity else "-"
            yield level.severity, f"{word}: {where}: {_counts(level.health)}"


def _counts(health: LevelHealth | None) -> str:
    if health is None:
        return "not known"
    failures = health.node_failures_to_outage
    return (
        f"{health.unavailable} of {health.ranges} ranges unavailable, {health.at_minimum} at minimum, "
        f"{'no' if failures is None else failures} node failure{'' if failures == 1 else 's'} to outage"
    )
