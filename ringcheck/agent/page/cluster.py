"""The page of one cluster: its state, what to do about it, its ring, keyspaces, nodes and history.

An old verdict is never shown as current: such a cluster is UNKNOWN, and its last known state is in a closed section
below, with its age.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ringcheck.agent.page.clusters import NOTICES, current_severity, summary, suspected
from ringcheck.agent.page.nodes import by_rack, listed, racks, refusals
from ringcheck.agent.page.reference import finding_url
from ringcheck.agent.page.rendering import clock, render, since
from ringcheck.core.consistency import Level
from ringcheck.core.endpoint import order
from ringcheck.core.policy import Severity
from ringcheck.core.transitions import utc
from ringcheck.core.words import percent
from ringcheck.report.history import marked, moments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ringcheck.core.held_back import HeldBack
    from ringcheck.core.transitions import Entry, Transition
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
    from ringcheck.report.reading import Reading
    from ringcheck.report.svg_legend import LegendEntry

KEYSPACES, LEASES, CHOICES = 200, 100, 12  # most that one page shows
FEW_KEYSPACES = 12  # up to this many keyspaces, there is no closed section
OPEN_KEYSPACES, OPEN_FINDINGS, OPEN_NOTES, OPEN_MOMENTS = 8, 8, 3, 4  # shown at once; more are in a closed section
ENTRIES, MOMENTS, CHANGES = 80, 12, 8  # most of the history: entries that are read, times, entries of one time


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePicture:
    """The picture of a ring, as a page refers to it.

    Attributes:
        keyspace: the keyspace that is drawn.
        url: of the SVG.
        title: title of the drawing.
        description: description of the drawing, for people who can't see it.
        legend: what its colours mean.
    """

    keyspace: str
    url: str
    title: str
    description: str
    legend: Sequence[LegendEntry] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a cluster's page shows in addition to the reading.

    Attributes:
        picture: the ring of the chosen keyspace; None if there is none to draw.
        chosen: the chosen level; None for the worst watched one.
        held: why nodes that are up may not restart; empty if all may, or it is not known.
        past: the last entries of the history, the newest first; a text if they can't be read, None if none are kept.
        filter: words that the keyspaces and nodes in the tables must contain.
        asked: where the cluster is asked first: its contact points.
        next_poll: when the next poll begins; None if not known.
        labels: of the cluster.
        links: text and URL of links to other systems.
        config: path of the agent's configuration file, absolute; None if commands read it anyway.
        runbook_url: where findings are explained, with `{code}` in it; None for the page of codes.
    """

    picture: PagePicture | None = None
    chosen: Level | None = None
    held: Sequence[HeldBack] = ()
    past: Sequence[Entry] | str | None = None
    filter: str = ""
    asked: Sequence[str] = ()
    next_poll: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()
    config: str | None = None
    runbook_url: str | None = None


def cluster(reading: Reading, shown: Shown, now: datetime) -> str:
    """One cluster's page.

    Args:
        reading: the cluster's reading.
        shown: the choices of the user, and what belongs to them.
        now: the current time.
    """
    verdict = reading.verdict
    suspects, silent = suspected(reading, now)
    values: dict[str, Any] = {
        "reading": reading,
        "severity": current_severity(reading),
        "summary": summary(reading),
        "verdict": verdict,
        "shown": shown,
        "picture": shown.picture,
        "chosen": shown.chosen,
        "filter": shown.filter,
        "suspects": suspects,
        "silent": silent,
        "notices": NOTICES,
        "named": _cluster_options(reading.cluster, shown.config),
        "next_poll": clock(shown.next_poll, now) if shown.next_poll else None,
        "levels": [level for level in Level if level is not Level.ANY],
        "open_moments": OPEN_MOMENTS,
        "problem": shown.past if isinstance(shown.past, str) else None,
        "timeline": None if isinstance(shown.past, str | None) else _timeline(shown.past),
        "since": verdict.since if verdict and reading.fresh else None,
        "begin": partial(since, now=now, blind_until=verdict.blind_until if verdict else ()),
        "latest": _latest(verdict) if verdict and reading.fresh else None,
        "finding_url": partial(finding_url, template=shown.runbook_url),
    }
    if verdict:
        values |= _verdict_values(reading, verdict, shown)
    return render("cluster.html", now, **values)


def _cluster_options(cluster: str, config: str | None) -> str:
    """The options of a command that name the cluster, for a shell."""
    file = ["-C", config] if config else []
    return shlex.join([*file, "--cluster", cluster])


def _verdict_values(reading: Reading, verdict: Verdict, shown: Shown) -> dict[str, Any]:
    """The values that a page gets from a verdict."""
    words = shown.filter.casefold().split()
    return {
        **_keyspaces(verdict, shown, words),
        **_findings(verdict),
        "recover": [(verdict.snapshot.nodes[step.node], step.restores_share) for step in verdict.recover_first[:5]],
        "racks": racks(verdict),
        "safe": by_rack(reading.restart_safe, verdict, "up"),
        "cures": by_rack(reading.restart_cures, verdict, "down"),
        "first_safe": min(reading.restart_safe or ("NODE",), key=order),
        "refusals": refusals(shown.held, verdict),
        "holders": sorted((reading.holders or ())[:LEASES], key=lambda lease: order(lease.node)),
        "level_cells": partial(_cells, all_up=all(state == "up" for state in verdict.states)),
        **listed(reading, verdict, words),
    }


def _findings(verdict: Verdict) -> dict[str, Any]:
    """Findings, the worst first; notes, and findings beyond the first, in closed sections if there are many.

    No note is shown above a finding that is in a closed section.
    """
    alarms = [finding for finding in verdict.findings if finding.severity is not Severity.OK]
    notes = [finding for finding in verdict.findings if finding.severity is Severity.OK]
    folded = len(notes) > OPEN_NOTES or len(alarms) > OPEN_FINDINGS
    return {
        "findings": [*alarms[:OPEN_FINDINGS], *(() if folded else notes)],
        "more_findings": alarms[OPEN_FINDINGS:],
        "notes": notes if folded else [],
    }


def _latest(verdict: Verdict) -> str | None:
    """Since when the latest finding of the verdict's severity is there, if that is later than the severity."""
    alike = (finding for finding in verdict.findings if finding.severity is verdict.severity is not Severity.OK)
    latest = max((finding.since or "" for finding in alike), default="")
    return latest if verdict.since and latest > verdict.since else None


# Keyspaces


def _keyspaces(verdict: Verdict, shown: Shown, words: Sequence[str]) -> dict[str, Any]:
    """The keyspaces, the worst first; if there are many, all but the first are in a closed section."""
    by_name = sorted(verdict.keyspaces, key=lambda keyspace: keyspace.name)
    ordered = sorted(by_name, key=_worst, reverse=True)
    matching = [keyspace for keyspace in ordered if all(word in keyspace.name.casefold() for word in words)]
    first = matching if words or len(matching) <= FEW_KEYSPACES else matching[:OPEN_KEYSPACES]
    others = matching[len(first) : KEYSPACES]
    return {
        "keyspaces": first[:KEYSPACES],
        "other_keyspaces": others,
        "other_problems": sum(keyspace.severity is not Severity.OK for keyspace in others),
        "more_keyspaces": max(0, len(matching) - KEYSPACES),
        "matching_keyspaces": len(matching),
        "all_keyspaces": len(ordered),
        "choices": _choices(ordered, shown.picture),
    }


def _worst(keyspace: KeyspaceVerdict) -> tuple[Severity, float]:
    """Its severity, and the largest share of its tokens that is unavailable at a watched level."""
    shares = (level.health.unavailable_share for level in keyspace.levels if level.health and level.severity)
    return keyspace.severity, max(shares, default=0.0)


def _choices(keyspaces: Sequence[KeyspaceVerdict], picture: PagePicture | None) -> list[str]:
    """Keyspaces that are offered beside the picture; the table has all of them."""
    names = [keyspace.name for keyspace in keyspaces[:CHOICES]]
    if picture and picture.keyspace not in names:
        names.append(picture.keyspace)
    return names


def _cells(level: LevelVerdict, ranges: int, *, all_up: bool) -> tuple[tuple[str, str], ...]:
    """Class and text: unavailable ranges, their share, ranges at minimum, node failures, rack failures to an outage.

    Ranges at minimum are marked only while a node is not up, and not at a level that needs all replicas.
    """
    health = level.health
    if health is None:
        return (("", "?"),) * 5
    left = (health.node_failures_to_outage, health.rack_failures_to_outage)
    by_design = all_up or level.level in {Level.ALL, Level.LOCAL_ALL}
    lost = " unavailable" if health.unavailable else ""
    return (
        (lost, f"{health.unavailable} of {ranges}"),
        ("", percent(health.unavailable_share)),
        (" minimum" if health.at_minimum and not by_design else "", str(health.at_minimum)),
        *(("", "never" if failures is None else str(failures)) for failures in left),
    )


# The history


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """What one poll changed, in the timeline.

    Attributes:
        at: UTC.
        severity: of the cluster, or if it did not change, of the worst finding that began; None without either.
        changes: the first of them, each with the severity that began.
        more: how many others there are.
        worst_of_more: the worst severity that began among those.
    """

    at: str
    severity: Severity | None
    changes: list[tuple[Severity | None, str]]
    more: int
    worst_of_more: Severity | None


def _timeline(entries: Sequence[Entry]) -> list[_Moment]:
    return [
        _Moment(
            at=utc(moment.at),
            severity=_severity(moment.changes),
            changes=[marked(change) for change in moment.changes[:CHANGES]],
            more=max(0, len(moment.changes) - CHANGES),
            worst_of_more=_severity(moment.changes[CHANGES:]),
        )
        for moment in moments(entries)[:MOMENTS]
    ]


def _severity(changes: Sequence[Transition]) -> Severity | None:
    """The cluster's severity from now on, or if that did not change, the worst of the findings that began."""
    own = next((change.severity for change in changes if change.kind == "severity"), None)
    begun = (change.severity for change in changes if change.now and change.severity is not None)
    return max(begun, default=None) if own is None else own
