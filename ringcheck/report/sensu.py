"""A verdict as events for Sensu: one for the people who are paged, one for their ticket queue.

The page tier and the ticket tier are two checks, so that each resolves by itself: what pages is the loss of a
critical level, all else that is wrong is a ticket. What is not known is UNKNOWN in both, for it must not resolve a
page that stands; only a missing view of a node that others see up is no more than a ticket.

Sensu's agents drop what they don't like without a word: names with other characters than letters, digits, `_`, `.`
and `-`, empty output, a status below 0. Nothing of that can come from here.
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
From: TypeAlias = Literal["critical", "warning", "never"]
"""From which severity on a tier is told."""

_TELLS: dict[From, frozenset[Severity]] = {
    "critical": frozenset({Severity.CRITICAL}),
    "warning": frozenset({Severity.CRITICAL, Severity.WARNING}),
    "never": frozenset(),
}
BACKOFF = -1  # pysensu-yelp's realert_every for "again after 1, 2, 4, 8 ... events"


@dataclass(frozen=True, slots=True)
class Tiers:
    """What is told to whom; what pages is no ticket as well."""

    page: From = "critical"
    ticket: From = "warning"

    def tells(self, tier: Tier, severity: Severity) -> bool:
        """Whether a finding of this severity is the tier's."""
        pages = severity in _TELLS[self.page]
        return pages if tier == "page" else not pages and severity in _TELLS[self.ticket]

    def sent(self) -> tuple[Tier, ...]:
        """The tiers that are told at all."""
        chosen: tuple[tuple[Tier, From], ...] = (("page", self.page), ("ticket", self.ticket))
        return tuple(tier for tier, least in chosen if least != "never")


DEFAULT = Tiers()


@dataclass(frozen=True, slots=True, kw_only=True)
class SensuEvent:
    """One result of one check.

    Attributes:
        name: check name, `[A-Za-z0-9_.-]+`.
        status: Nagios code.
        output: a Nagios line.
        page: whether it is of the page tier; if not, it is of the ticket tier.
        source: name of the proxy entity, the cluster.
    """

    name: str
    status: int
    output: str
    page: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an event says beside the verdict.

    Attributes:
        team: who is told.
        runbook: URL of what to do.
        interval: seconds between two events.
        ttl: seconds without an event after which Sensu itself warns; None for never.
        after: seconds that something must last before people are told.
        repeat: seconds after which they are told again; None as Sensu's handlers do by themselves.
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
    if severity is not verdict.severity:  # what is worse is the other tier's to tell
        own = (one.summary for one in _of_tier(verdict, tier, tiers) if one.severity is severity)
        text = f"nothing for this tier; {text}" if severity is Severity.OK else next(own)
    return _named(verdict.snapshot.cluster, tier, severity, text, tuple(perfdata(verdict)))


def blind(cluster: str, reason: str, severity: Severity, tiers: Tiers = DEFAULT) -> tuple[SensuEvent, ...]:
    """What both tiers are told where there is no verdict: silence would leave the last one standing."""
    return tuple(_named(cluster, tier, severity, reason) for tier in tiers.sent())


def _named(cluster: str, tier: Tier, severity: Severity, text: str, values: tuple[str, ...] = ()) -> SensuEvent:
    name = safe_name(cluster)
    output = line(severity, f"{cluster}: {text}", values)
    return SensuEvent(
        name=f"ringcheck.{name}.{tier}", status=severity.exit_code, output=output, page=tier == "page", source=name
    )


def tier_severity(verdict: Verdict, tier: Tier, tiers: Tiers = DEFAULT) -> Severity:
    """What a tier is told: the page tier of outages and gaps, the ticket tier of warnings and gaps."""
    return max((one.severity for one in _of_tier(verdict, tier, tiers)), default=Severity.OK)


def _of_tier(verdict: Verdict, tier: Tier, tiers: Tiers) -> list[Finding]:
    told = [one for one in verdict.findings if one.severity is Severity.UNKNOWN or tiers.tells(tier, one.severity)]
    return told if tier == "ticket" else [one for one in told if not _only_a_ticket(one)]


def _only_a_ticket(gap: Finding) -> bool:
    return gap.severity is Severity.UNKNOWN and gap.code == "view_missing"


def safe_name(text: str) -> str:
    """A name that Sensu takes: it drops others without a word."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or "cluster"


def socket_event(event: SensuEvent, terms: Terms) -> dict[str, Any]:
    """The arguments of pysensu-yelp's `send_event` for an event; where to is the caller's."""
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

    Sensu Go has no fields for team, runbook and repeats: they are annotations, the last ones those of Sensu's fatigue
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
    """Occurrences begin at 1: with 1 the first event is told."""
    told = {"fatigue_check/occurrences": str(1 + math.ceil(terms.after / _whole(terms.interval)))}
    return told | ({"fatigue_check/interval": str(_whole(terms.repeat))} if terms.repeat else {})


def _whole(seconds: float) -> int:
    """Sensu's integer seconds: never less than said, so that a ttl is not over too early."""
    return math.ceil(seconds)
