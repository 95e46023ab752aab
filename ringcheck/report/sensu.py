"""A verdict as events for Sensu: one that pages people, and one for their ticket queue.

The page tier and the ticket tier are two checks, so that each resolves on its own: the loss of a critical level pages,
and every other problem is a ticket. What is not known makes both UNKNOWN, since it must not resolve a standing page;
one exception is the missing view of a node that others see up, which makes a ticket only.

Sensu's agents drop some events without notice: names with characters other than letters, digits, `_`, `.` and `-`,
empty output, a status below 0. This module never makes such an event.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ringcheck.core.policy import Severity
from ringcheck.report.nagios import line, perfdata

if TYPE_CHECKING:
    from ringcheck.core.findings import Finding
    from ringcheck.core.verdict import Verdict

Tier: TypeAlias = Literal["page", "ticket"]
LowestSeverity: TypeAlias = Literal["critical", "warning", "never"]
"""The lowest severity that a tier reports."""

_REPORTED: dict[LowestSeverity, frozenset[Severity]] = {
    "critical": frozenset({Severity.CRITICAL}),
    "warning": frozenset({Severity.CRITICAL, Severity.WARNING}),
    "never": frozenset(),
}
BACKOFF = -1  # pysensu-yelp's realert_every for "again after 1, 2, 4, 8 ... events"


@dataclass(frozen=True, slots=True)
class Tiers:
    """Which severities page, and which make a ticket; a finding that pages makes no ticket."""

    page: LowestSeverity = "critical"
    ticket: LowestSeverity = "warning"

    def reports(self, tier: Tier, severity: Severity) -> bool:
        """Whether the tier reports a finding of this severity."""
        pages = severity in _REPORTED[self.page]
        return pages if tier == "page" else not pages and severity in _REPORTED[self.ticket]

    def sent(self) -> tuple[Tier, ...]:
        """The tiers that are in use."""
        chosen: tuple[tuple[Tier, LowestSeverity], ...] = (("page", self.page), ("ticket", self.ticket))
        return tuple(tier for tier, least in chosen if least != "never")


DEFAULT = Tiers()


@dataclass(frozen=True, slots=True, kw_only=True)
class SensuEvent:
    """A result of a check.

    Attributes:
        name: name of the check, `[A-Za-z0-9_.-]+`.
        status: Nagios exit code.
        output: a Nagios line.
        page: True for the page tier, False for the ticket tier.
        source: name of the proxy entity: the cluster.
    """

    name: str
    status: int
    output: str
    page: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How Sensu handles the events of a cluster.

    Attributes:
        team: the team to notify.
        runbook: URL of the instructions for them.
        interval: seconds between two events.
        ttl: seconds without an event after which Sensu itself warns; None for never.
        after: seconds that a problem must last before the team is notified.
        repeat: seconds after which the team is notified again; None leaves that to Sensu's handlers.
    """

    team: str
    runbook: str
    interval: float
    ttl: float | None = None
    after: float = 0.0
    repeat: float | None = None


def events(verdict: Verdict, tiers: Tiers = DEFAULT) -> tuple[SensuEvent, ...]:
    """The page event and the ticket event of a verdict; both are always sent, so that each can resolve."""
    return tuple(_event(verdict, tier, tiers) for tier in tiers.sent())


def _event(verdict: Verdict, tier: Tier, tiers: Tiers) -> SensuEvent:
    severity = tier_severity(verdict, tier, tiers)
    text = verdict.summary
    if severity is not verdict.severity:  # the other tier reports the worst finding
        own = (finding.summary for finding in _of_tier(verdict, tier, tiers) if finding.severity is severity)
        text = f"nothing for this tier; {text}" if severity is Severity.OK else next(own)
    return _tier_event(verdict.snapshot.cluster, tier, severity, text, tuple(perfdata(verdict)))


def blind(cluster: str, reason: str, severity: Severity, tiers: Tiers = DEFAULT) -> tuple[SensuEvent, ...]:
    """The events if there is no verdict: without them Sensu would keep the last status."""
    return tuple(_tier_event(cluster, tier, severity, reason) for tier in tiers.sent())


def _tier_event(cluster: str, tier: Tier, severity: Severity, text: str, values: tuple[str, ...] = ()) -> SensuEvent:
    name = safe_name(cluster)
    output = line(severity, f"{cluster}: {text}", values)
    return SensuEvent(
        name=f"ringcheck.{name}.{tier}", status=severity.exit_code, output=output, page=tier == "page", source=name
    )


def tier_severity(verdict: Verdict, tier: Tier, tiers: Tiers = DEFAULT) -> Severity:
    """The severity that a tier reports: of outages and gaps for pages, of warnings and gaps for tickets."""
    return max((finding.severity for finding in _of_tier(verdict, tier, tiers)), default=Severity.OK)


def _of_tier(verdict: Verdict, tier: Tier, tiers: Tiers) -> list[Finding]:
    return [finding for finding in verdict.findings if _is_of_tier(finding, tier, tiers)]


def _is_of_tier(finding: Finding, tier: Tier, tiers: Tiers) -> bool:
    if finding.severity is Severity.UNKNOWN:
        return tier == "ticket" or finding.code != "view_missing"
    return tiers.reports(tier, finding.severity)


def safe_name(text: str) -> str:
    """A name that Sensu accepts: it drops events with other names without notice."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or "cluster"


def socket_event(event: SensuEvent, terms: Terms) -> dict[str, Any]:
    """The arguments of pysensu-yelp's `send_event`, without the address of the socket."""
    every = _whole(terms.interval)
    return {
        "name": event.name,
        "runbook": terms.runbook,
        "status": event.status,
        "output": event.output,
        "team": terms.team,
        "page": event.page,
        "ticket": not event.page,
        "source": event.source,
        "check_every": f"{every}s",
        "alert_after": f"{_whole(terms.after)}s",
        "realert_every": max(1, round(terms.repeat / every)) if terms.repeat else BACKOFF,
        "ttl": f"{_whole(terms.ttl)}s" if terms.ttl else None,
    }


def api_event(event: SensuEvent, terms: Terms) -> dict[str, Any]:
    """The body of `POST /events` at a Sensu Go agent.

    Sensu Go has no fields for team, runbook and repeats: they are annotations, those for repeats as read by the fatigue
    check filter (https://github.com/sensu/sensu-go-fatigue-check-filter).
    """
    tier = "page" if event.page else "ticket"
    check: dict[str, Any] = {
        "metadata": {
            "name": event.name,
            "labels": {"cassandra_cluster": event.source, "ringcheck_tier": tier},
            "annotations": {
                "team": terms.team,
                "runbook": terms.runbook,
                "page": str(event.page).lower(),
                "ticket": str(not event.page).lower(),
                **_fatigue(terms),
            },
        },
        "status": event.status,
        "output": event.output,
        "interval": _whole(terms.interval),
        "proxy_entity_name": event.source,
        "handlers": ["default"],
    }
    return {"check": check | ({"ttl": _whole(terms.ttl)} if terms.ttl else {})}


def _fatigue(terms: Terms) -> dict[str, str]:
    """Occurrences begin at 1: with 1 the first event notifies."""
    occurrences = {"fatigue_check/occurrences": str(1 + math.ceil(terms.after / _whole(terms.interval)))}
    return occurrences | ({"fatigue_check/interval": str(_whole(terms.repeat))} if terms.repeat else {})


def _whole(seconds: float) -> int:
    """Sensu's integer seconds, rounded up, so that a ttl does not end too early."""
    return math.ceil(seconds)
