"""Sending a verdict to Sensu's classic socket, under a deadline: pysensu-yelp itself waits for ever."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.errors import UsageError
from ringcheck.report.sensu import Event, events

if TYPE_CHECKING:
    from ringcheck.config import Cluster
    from ringcheck.core.verdict import Verdict

DEADLINE = 2.0  # seconds; the socket is on this host


@dataclass(frozen=True, slots=True)
class Settings:
    """Where events go and whom they name."""

    host: str
    port: int
    team: str
    runbook: str


def settings(
    configured: Cluster | None, team: str | None, runbook: str | None, host: str | None, port: int | None
) -> Settings:
    """Settings of the command line, then of the configuration.

    Raises:
        UsageError: if no team or runbook is named: an event without them reaches nobody.
    """
    sensu = configured.sensu if configured else None
    if sensu and sensu.transport == "sensu-go":
        raise UsageError("--sensu writes to the classic socket, but the configuration says `transport: sensu-go`")
    team = team or (sensu.team if sensu else None)
    runbook = runbook or (sensu.runbook if sensu else None)
    if not team or not runbook:
        raise UsageError("--sensu needs --team and --runbook, or `sensu: {team, runbook}` in the configuration")
    return Settings(
        host or (sensu.host if sensu else "127.0.0.1"), port or (sensu.port if sensu else 3030), team, runbook
    )


def emit(verdict: Verdict, where: Settings) -> str | None:
    """Send the page event and the ticket event; what went wrong, in one line."""
    problems: list[str] = []
    work = threading.Thread(target=_send_all, args=(events(verdict), where, problems), daemon=True)
    work.start()
    work.join(DEADLINE)
    if work.is_alive():
        return f"{where.host}:{where.port} took longer than {DEADLINE:g} s"
    return "; ".join(problems) or None


def _send_all(found: tuple[Event, ...], where: Settings, problems: list[str]) -> None:
    for event in found:
        try:
            _send(event, where)
        except Exception as error:  # noqa: BLE001 - pysensu-yelp raises plain Exception too
            problems.append(f"{event.name}: {error}")


def _send(event: Event, where: Settings) -> None:
    from pysensu_yelp import send_event

    send_event(
        name=event.name,
        runbook=where.runbook,
        status=event.status,
        output=event.output,
        team=where.team,
        page=event.page,
        ticket=not event.page,
        source=event.source,
        sensu_host=where.host,
        sensu_port=where.port,
    )
