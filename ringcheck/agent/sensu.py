"""Sends verdicts to Sensu, through the classic client socket or the API of a Sensu Go agent, within a deadline.

Owns transports, the deadline and the threads. pysensu-yelp has no timeout: it waits for ever for a listener that does
not read. Therefore all events are sent by a thread that is abandoned at the deadline, and no second one is started
while it hangs.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ringcheck.agent.bugs import located_bug
from ringcheck.agent.mailbox import Mailbox
from ringcheck.core.policy import Severity
from ringcheck.errors import RingcheckError, UsageError, limit_of
from ringcheck.report.sensu import SensuEvent, Terms, Tiers, api_event, blind, events, socket_event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, Self, TypeAlias

    from ringcheck.config import Config
    from ringcheck.config.values import Sensu
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

    SendOutcome: TypeAlias = Literal["sent", "failed", "bug"]
    Report: TypeAlias = Callable[[str, str | None], object]

DEADLINE = 2.0  # seconds for all events of a verdict; the socket and the API are on this host
SHORTEST_TTL = 300.0
_ACCEPTED = 202
_SHOWN = 200  # characters shown of the body of a refusal


def default_ttl(interval: float) -> float:
    """Seconds of silence after which Sensu warns: ten polls, and longer than a restart of the agent takes.

    Sensu Go's backend then overwrites the last state with WARNING, even a CRITICAL (`Last check execution was N seconds
    ago`), so it must be rare.
    """
    return max(SHORTEST_TTL, 10 * interval)


class Sender:
    """Sends the events of one cluster; for use by one thread at a time."""

    def __init__(self, cluster: str, sensu: Sensu, interval: float, deadline: float | None = None) -> None:
        """Prepare; nothing is sent.

        Args:
            cluster: name in the configuration.
            sensu: transport, and the team and runbook of the events.
            interval: seconds between two calls of `send`.
            deadline: seconds that one call may take. [default: DEADLINE]

        Raises:
            UsageError: no team or runbook is configured, so that nobody would be notified; or the ttl ends before the
                next event, which Sensu Go refuses.
        """
        if not sensu.team or not sensu.runbook:
            raise UsageError(f"cluster {cluster}: `sensu` needs team and runbook")
        if sensu.ttl is not None and sensu.ttl <= interval:
            raise UsageError(
                f"cluster {cluster}: the ttl of {sensu.ttl:g} s ends before the next event, {interval:g} s later"
            )
        self._cluster = cluster
        self._sensu = sensu
        self._tiers = Tiers(sensu.page, sensu.ticket)
        self._terms = Terms(
            team=sensu.team,
            runbook=sensu.runbook,
            interval=interval,
            ttl=sensu.ttl,
            after=sensu.after,
            repeat=sensu.repeat,
        )
        self._deadline = DEADLINE if deadline is None else deadline
        self._work: threading.Thread | None = None

    @property
    def where(self) -> str:
        """The address that events are sent to, for messages."""
        sensu = self._sensu
        return sensu.url if sensu.transport == "sensu-go" else f"{sensu.host}:{sensu.port}"

    def send(self, verdict: Verdict) -> str | None:
        """Send the events of a verdict; return the problem in one line, or None."""
        return self._send(events(verdict, self._tiers))

    def send_unknown(self, reason: str, severity: Severity = Severity.UNKNOWN) -> str | None:
        """Report to both tiers that nothing is known, and why; return the problem in one line, or None."""
        return self._send(blind(self._cluster, reason, severity, self._tiers))

    def send_reading(self, reading: Reading) -> str | None:
        """Send the verdict of a reading, or that it has no current one; return the problem in one line, or None."""
        if reading.verdict and reading.fresh:
            return self.send(reading.verdict)
        return self.send_unknown(reading.error or "no poll has finished yet")

    def _send(self, sensu_events: tuple[SensuEvent, ...]) -> str | None:
        if self._work and self._work.is_alive():
            return f"{self.where} has not accepted the earlier events yet"
        problems: list[str] = []
        self._work = threading.Thread(target=self._send_all, args=(sensu_events, problems), name="sensu", daemon=True)
        self._work.start()
        self._work.join(self._deadline)
        if self._work.is_alive():
            return f"{self.where} took longer than {self._deadline:g} s"
        return "; ".join(problems) or None

    def _send_all(self, sensu_events: tuple[SensuEvent, ...], problems: list[str]) -> None:
        send = self._to_api if self._sensu.transport == "sensu-go" else self._to_socket
        for event in sensu_events:
            try:
                send(event)
            except Exception as error:  # noqa: BLE001 - pysensu-yelp raises plain Exception too
                problems.append(f"{event.name}: {' '.join(str(error).split()) or type(error).__name__}")

    def _to_socket(self, event: SensuEvent) -> None:
        from pysensu_yelp import send_event  # noqa: PLC0415 - `check` loads it only to send

        send_event(**socket_event(event, self._terms), sensu_host=self._sensu.host, sensu_port=self._sensu.port)

    def _to_api(self, event: SensuEvent) -> None:
        """Post one event.

        Raises:
            RingcheckError: the agent did not accept it.
        """
        from ringcheck.http.exchange import exchange  # noqa: PLC0415 - loads HTTP

        url = f"{self._sensu.url.rstrip('/')}/events"
        body = json.dumps(api_event(event, self._terms)).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        status, answer = exchange(url, self._deadline, body=body, headers=headers, max_bytes=65536)
        if status != _ACCEPTED:
            raise RingcheckError(f"HTTP {status} from {url}: {answer.decode('utf-8', 'replace')[:_SHOWN]}")


def senders(config: Config) -> dict[str, Sender]:
    """The senders of the clusters with a `sensu` section, by name, for a service that sends after each poll.

    Raises:
        UsageError: see Sender.
    """
    interval = config.agent.interval
    return {
        name: Sender(name, replace(cluster.sensu, ttl=cluster.sensu.ttl or default_ttl(interval)), interval)
        for name, cluster in config.clusters.items()
        if cluster.sensu
    }


class Courier:
    """Sends the readings of many clusters, each cluster's in a thread of its own: the caller never waits.

    If several readings of a cluster wait, only the newest is sent, so that a dead Sensu costs neither time nor memory.
    A reading that could not be sent is not sent again; the next poll has a new one.
    """

    def __init__(self, senders: Mapping[str, Sender], report: Report) -> None:
        """Start the threads.

        Args:
            senders: by cluster name.
            report: called with a cluster and its problem, or None once sending works again. Called once for each
                change between sent, failed and bug: another text for the same outcome does not count, since a listener
                that hangs gives two texts in turn.
        """
        self._boxes = {
            cluster: Mailbox(f"sensu {cluster}", _Delivery(cluster, sender, report))
            for cluster, sender in senders.items()
        }
        for box in self._boxes.values():
            box.start()

    def __call__(self, reading: Reading) -> None:
        """Take a reading; readings of clusters without Sensu are dropped."""
        if box := self._boxes.get(reading.cluster):
            box.put(reading.cluster, reading)

    def close(self) -> None:
        """Send the readings that wait and end the threads; waits for each cluster as long as two sendings may take."""
        for box in self._boxes.values():
            box.end()
        for box in self._boxes.values():
            box.join(2 * DEADLINE + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Delivery:
    """Sends one cluster's readings, and reports when sending begins or ceases to fail."""

    def __init__(self, cluster: str, sender: Sender, report: Report) -> None:
        self._cluster = cluster
        self._sender = sender
        self._report = report
        self._before: SendOutcome = "sent"

    def __call__(self, reading: Reading) -> None:
        outcome, problem = self._send(reading)
        if outcome != self._before:
            self._report(self._cluster, problem)
        self._before = outcome

    def _send(self, reading: Reading) -> tuple[SendOutcome, str | None]:
        """How sending a reading ended, and the problem in one line."""
        try:
            problem = self._sender.send_reading(reading)
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread: Sensu would get no more events
            return "failed" if limit_of(error) else "bug", located_bug(error)
        return ("failed" if problem else "sent"), problem
