"""Sending verdicts to Sensu, through its classic socket or a Sensu Go agent's API, without ever waiting long for it.

Owns transports, the deadline and the threads. pysensu-yelp has no timeout at all: it waits for ever for a listener
that does not read, so that all sending is done by a thread that is given up after the deadline; while that one still
hangs, no second one is started.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from ringcheck.core.policy import Severity
from ringcheck.errors import RingcheckError, UsageError
from ringcheck.report.sensu import SensuEvent, Terms, Tiers, api_event, blind, events, socket_event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from ringcheck.config import Config
    from ringcheck.config.values import Sensu
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

DEADLINE = 2.0  # seconds for all events of a verdict; the socket and the API are on this host
SHORTEST_TTL = 300.0
_ACCEPTED = 202
_SHOWN = 200  # characters of what a refusal says

SendOutcome: TypeAlias = Literal["sent", "failed", "bug"]


def default_ttl(interval: float) -> float:
    """Seconds after which Sensu warns of silence: ten polls, and longer than a restart of the agent may take.

    Sensu Go's backend overwrites the last state with WARNING then, a standing CRITICAL too (`Last check execution was
    N seconds ago`), so that it must be rare.
    """
    return max(SHORTEST_TTL, 10 * interval)


class Sender:
    """Tells Sensu of one cluster; safe to use from one thread at a time."""

    def __init__(self, cluster: str, sensu: Sensu, interval: float, deadline: float | None = None) -> None:
        """Prepare; nothing is sent.

        Args:
            cluster: its name in the configuration.
            sensu: where events go and whom they name.
            interval: seconds between two calls of `send`.
            deadline: seconds that one call may take. [default: DEADLINE]

        Raises:
            UsageError: if no team or runbook is named: an event without them reaches nobody; if the ttl is over
                before the next event, which Sensu Go refuses.
        """
        if not sensu.team or not sensu.runbook:
            raise UsageError(f"cluster {cluster}: `sensu` needs team and runbook")
        if sensu.ttl is not None and sensu.ttl <= interval:
            raise UsageError(
                f"cluster {cluster}: a ttl of {sensu.ttl:g} s is over before the next event, {interval:g} s later"
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
        """What events are sent to, for messages."""
        sensu = self._sensu
        return sensu.url if sensu.transport == "sensu-go" else f"{sensu.host}:{sensu.port}"

    def send(self, verdict: Verdict) -> str | None:
        """Send the events of a verdict; what went wrong, in one line."""
        return self._send(events(verdict, self._tiers))

    def send_blind(self, reason: str, severity: Severity = Severity.UNKNOWN) -> str | None:
        """Tell both tiers that nothing is known, and why; what went wrong, in one line."""
        return self._send(blind(self._cluster, reason, severity, self._tiers))

    def send_reading(self, reading: Reading) -> str | None:
        """Send what a poll left: its verdict, or that there is none young enough; what went wrong, in one line."""
        if reading.verdict and reading.fresh:
            return self.send(reading.verdict)
        return self.send_blind(reading.error or "nothing is known yet")

    def _send(self, found: tuple[SensuEvent, ...]) -> str | None:
        if self._work and self._work.is_alive():
            return f"{self.where} has not taken earlier events yet"
        problems: list[str] = []
        self._work = threading.Thread(target=self._send_all, args=(found, problems), name="sensu", daemon=True)
        self._work.start()
        self._work.join(self._deadline)
        if self._work.is_alive():
            return f"{self.where} took longer than {self._deadline:g} s"
        return "; ".join(problems) or None

    def _send_all(self, found: tuple[SensuEvent, ...], problems: list[str]) -> None:
        send = self._to_api if self._sensu.transport == "sensu-go" else self._to_socket
        for event in found:
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
            RingcheckError: unless the agent takes it.
        """
        from ringcheck.http.exchange import exchange  # noqa: PLC0415 - as above

        url = f"{self._sensu.url.rstrip('/')}/events"
        body = json.dumps(api_event(event, self._terms)).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        status, said = exchange("POST", url, self._deadline, body=body, headers=headers, max_bytes=65536)
        if status != _ACCEPTED:
            raise RingcheckError(f"HTTP {status} from {url}: {said.decode('utf-8', 'replace')[:_SHOWN]}")


def senders(config: Config) -> dict[str, Sender]:
    """The senders of the clusters that have `sensu`, by name, for a service that sends after each poll.

    Raises:
        UsageError: as Sender does.
    """
    every = config.agent.interval
    return {
        name: Sender(name, replace(cluster.sensu, ttl=cluster.sensu.ttl or default_ttl(every)), every)
        for name, cluster in config.clusters.items()
        if cluster.sensu
    }


class Courier:
    """Sends readings of many clusters in threads of its own: whoever hands them in never waits.

    Each cluster has one thread and room for one reading, in which a newer one replaces an older: a Sensu that is dead
    costs neither time nor memory. A reading that could not be sent is not sent later; the next poll's is.
    """

    def __init__(self, senders: Mapping[str, Sender], tell: Callable[[str, str | None], None]) -> None:
        """Start.

        Args:
            senders: by the clusters' names.
            tell: called with a cluster and what goes wrong, or None once it is well again; once for each change.
                Another text alone is none: one listener that hangs makes two of them by turns.
        """
        self._boxes = {cluster: _Box(cluster, sender, tell) for cluster, sender in senders.items()}

    def __call__(self, reading: Reading) -> None:
        """Take a reading; those of clusters that have no Sensu are dropped."""
        if box := self._boxes.get(reading.cluster):
            box.put(reading)

    def close(self) -> None:
        """Send what is waiting, end the threads and wait for them, no longer than the deadline of two sendings."""
        for box in self._boxes.values():
            box.end()
        for box in self._boxes.values():
            box.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Box:
    """One cluster's thread and its newest reading."""

    def __init__(self, cluster: str, sender: Sender, tell: Callable[[str, str | None], None]) -> None:
        self._cluster = cluster
        self._sender = sender
        self._tell = tell
        self._changed = threading.Condition()
        self._newest: Reading | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"sensu {cluster}", daemon=True)
        self._thread.start()

    def put(self, reading: Reading) -> None:
        with self._changed:
            self._newest = reading
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def join(self) -> None:
        self._thread.join(2 * DEADLINE + 1)

    def _run(self) -> None:
        before: SendOutcome = "sent"
        while (reading := self._next()) is not None:
            outcome, problem = self._sent(reading)
            if outcome != before:
                self._tell(self._cluster, problem)
            before = outcome

    def _sent(self, reading: Reading) -> tuple[SendOutcome, str | None]:
        """How sending a reading ended, and what went wrong in one line."""
        try:
            problem = self._sender.send_reading(reading)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the thread: Sensu would hear no more
            return "bug", f"this is a bug of ringcheck: {type(error).__name__}: {error}"
        return ("failed", problem) if problem else ("sent", None)

    def _next(self) -> Reading | None:
        """The newest reading, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._ended)
            reading, self._newest = self._newest, None
            return reading
