"""A verdict as events for Sensu: one for the people who are paged, one for their ticket queue.

The page tier and the ticket tier are two checks, so that each resolves by itself: what pages is the loss of a
critical level, all else that is wrong is a ticket. What is not known is UNKNOWN in both, for it must not resolve a
page that stands; only a missing view of a node that others see up is no more than a ticket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.policy import Severity
from ringcheck.report.nagios import line, perfdata

if TYPE_CHECKING:
    from ringcheck.core.verdict import Verdict

Tier: TypeAlias = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True)
class Event:
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


def events(verdict: Verdict) -> tuple[Event, Event]:
    """The page event and the ticket event of a verdict; both are always sent, so that each can resolve."""
    cluster = safe_name(verdict.snapshot.cluster)
    return tuple(_event(verdict, cluster, tier) for tier in ("page", "ticket"))  # type: ignore[return-value]


def _event(verdict: Verdict, cluster: str, tier: Tier) -> Event:
    severity = tier_severity(verdict, tier)
    text = verdict.summary if severity is verdict.severity else f"nothing for this tier; {verdict.summary}"
    output = line(severity, f"{verdict.snapshot.cluster}: {text}", perfdata(verdict))
    return Event(f"ringcheck.{cluster}.{tier}", severity.exit_code, output, tier == "page", cluster)


def tier_severity(verdict: Verdict, tier: Tier) -> Severity:
    """What a tier is told: the page tier of outages and gaps, the ticket tier of warnings and gaps."""
    worst = max((one.severity for one in verdict.findings if _belongs(one.severity, tier)), default=Severity.OK)
    gaps = {one.code for one in verdict.findings if one.severity is Severity.UNKNOWN}
    gap = gaps - {"view_missing"} if tier == "page" else gaps
    return max(worst, Severity.UNKNOWN) if gap else worst


def _belongs(severity: Severity, tier: Tier) -> bool:
    return severity is (Severity.CRITICAL if tier == "page" else Severity.WARNING)


def safe_name(text: str) -> str:
    """A name that Sensu takes: it drops others without a word."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or "cluster"
