"""Sends events to webhooks: CloudEvents 1.0 with the signature of Standard Webhooks, at least once, in order.

Events wait in the state file (`history.outbox`), so nothing is lost while a receiver is down or if the agent is killed.
Each webhook has its own thread. It sends the first event of each cluster; the next event of that cluster follows once
the receiver has answered 2xx. Failed attempts are repeated with the same id, after a time that doubles. An event that
the receiver refuses (4xx) delays only the events of its cluster. Redirects are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import uuid
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urlsplit

from ringcheck.agent.bugs import located_bug
from ringcheck.core.transitions import utc
from ringcheck.errors import RingcheckError, UsageError
from ringcheck.history import outbox
from ringcheck.history.database import StateFileError
from ringcheck.history.outbox import Letter
from ringcheck.http.credentials import secret
from ringcheck.http.urls import shown
from ringcheck.report.reading import WebhookCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ringcheck.config.values import Webhook
    from ringcheck.core.events import Event
    from ringcheck.history.outbox import Waiting
    from ringcheck.history.writer import Writer

    Report: TypeAlias = Callable[[str, str, str | None], object]
    Post: TypeAlias = Callable[[str, bytes, dict[str, str]], int]

FIRST_RETRY, LAST_RETRY = 5.0, 300.0  # seconds until the second attempt, and longest pause between two
ENDING = 1.0  # seconds for an attempt under way when its webhook is removed from the configuration
IDLE = 1.0  # seconds between two checks of an empty queue
PREFIX = "whsec_"  # of a secret in Standard Webhooks' form
_LEAST_KEY = 24  # bytes, by Standard Webhooks
_OK = range(200, 300)
_REFUSED = frozenset(range(400, 500)) - {401, 403, 404, 408, 410, 425, 429}  # the event is at fault, not the receiver


def letters(cluster: str, at: int, events: Iterable[Event], webhooks: Iterable[Webhook]) -> list[Letter]:
    """The events of a poll, for each webhook that receives them."""
    found = []
    for event in events:
        name = str(uuid.uuid4())
        for webhook in webhooks:
            if event.kind in webhook.events and event.after in {None, webhook.node_lost_after}:
                body = json.dumps(cloud_event(name, cluster, at, event)).encode()
                found.append(
                    Letter(
                        webhook=webhook.name,
                        cluster=cluster,
                        event=name,
                        kind=event.kind,
                        body=body,
                        room=webhook.queue,
                    )
                )
    return found


def cloud_event(name: str, cluster: str, at: int, event: Event) -> dict[str, Any]:
    """An event as CloudEvents 1.0 in structured JSON."""
    return {
        "specversion": "1.0",
        "id": name,
        "source": f"/clusters/{quote(cluster, safe='')}",
        "type": f"ringcheck.{event.kind}",
        **({"subject": event.subject} if event.subject else {}),
        "time": utc(at),
        "datacontenttype": "application/json",
        "data": {"cluster": cluster, **event.data},
    }


def key_of(text: str) -> bytes:
    """The key of a secret: `whsec_` and base64, of at least 24 bytes.

    Raises:
        UsageError: if it has another form.
    """
    with suppress(ValueError):
        key = b64decode(text.removeprefix(PREFIX), validate=True)
        if text.startswith(PREFIX) and len(key) >= _LEAST_KEY:
            return key
    raise UsageError(f"a webhook's secret is {PREFIX} and the base64 text of at least {_LEAST_KEY} bytes")


def signed(key: bytes, name: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks for one attempt."""
    content = f"{name}.{timestamp}.".encode() + body
    signature = b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
        "Content-Type": "application/cloudevents+json; charset=utf-8",
    }


@dataclass(slots=True)
class _Pause:
    """The time until the next attempt, and how many attempts in a row have failed."""

    until: float = 0.0
    failures: int = 0

    def longer(self, now: float) -> None:
        self.until = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(self.failures, 10))
        self.failures += 1


_READY = _Pause()


class Dispatcher:
    """Delivers the events of one webhook; only one thread may call `step`.

    Attributes:
        counts: for the metrics.
    """

    def __init__(
        self,
        webhook: Webhook,
        writer: Writer,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
        post: Post | None = None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            webhook: the receiver.
            writer: of the state file.
            report: called with the webhook's name, what happened (`failed`, `works`, `dropped`) and why.
            clock: seconds of a clock that can't be set, for retries.
            post: sends a body with headers to a URL and returns the status. [default: one bounded request]
        """
        self.webhook = webhook
        self.counts = WebhookCounts()
        self._writer = writer
        self._report = report
        self._clock = clock
        self._post = post or self._exchange
        self._delivered: dict[int, str] = {}  # number and id of events that are not deleted yet
        self._all = _Pause()
        self._of: dict[str, _Pause] = {}
        self._failing = False
        self._dropped: int | None = None

    def step(self) -> float:
        """Send the events that are due. Returns the seconds until there may be more to do."""
        try:
            heads = self._heads()
        except StateFileError as error:
            self._fail(str(error))
            return IDLE
        now = self._clock()
        waiting = {head.cluster for head in heads}
        self._of = {cluster: pause for cluster, pause in self._of.items() if cluster in waiting}
        due = [head for head in heads if max(self._all.until, self._of.get(head.cluster, _READY).until) <= now]
        for head in due:
            if not self._deliver(head):
                return IDLE
        return 0.0 if due else IDLE

    def _heads(self) -> tuple[Waiting, ...]:
        """Read the queue, and delete delivered events from it.

        Raises:
            StateFileError: the file can't be read.
        """
        queue = outbox.queue(self._writer.path, self.webhook.name, self._delivered)
        self._delivered = queue.left
        if queue.left:  # once more, because the file could not be written, or the deletion was given up
            self._delete()
        lost = queue.dropped - (queue.dropped if self._dropped is None else self._dropped)
        if lost > 0:
            self._report(self.webhook.name, "dropped", f"{lost} events: more than {self.webhook.queue} waited")
        self._dropped = self.counts.dropped = queue.dropped
        self.counts.waiting = max(0, queue.waiting)
        return queue.heads

    def _deliver(self, head: Waiting) -> bool:
        """Send an event. Returns False if no other event can be sent to this receiver now."""
        try:
            headers = signed(key_of(secret(self.webhook.secret_file)), head.event, int(time.time()), head.body)
            status = self._post(self.webhook.url, head.body, headers)
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread: no event would be sent any more
            self.counts.attempts["failed"] += 1
            self._all.longer(self._clock())
            self._fail(self._without_path(error) if isinstance(error, RingcheckError) else located_bug(error))
            return False
        if status in _OK:
            self._took(head)
            return True
        self.counts.attempts["refused" if status in _REFUSED else "failed"] += 1
        pause = self._of.setdefault(head.cluster, _Pause()) if status in _REFUSED else self._all
        pause.longer(self._clock())
        self._fail(f"HTTP {status} for event {head.event}")
        return status in _REFUSED

    def _took(self, head: Waiting) -> None:
        self.counts.attempts["delivered"] += 1
        self._all = _Pause()
        self._of.pop(head.cluster, None)
        self._delivered[head.number] = head.event
        self._delete()
        if self._failing and not self._of:
            self._failing = False
            self._report(self.webhook.name, "works", None)

    def _delete(self) -> None:
        """Request the deletion of the delivered events; they are not sent again meanwhile.

        The request replaces one that still waits: while the file can't be written, requests do not pile up.
        """
        delete = partial(outbox.remove, events=dict(self._delivered))
        self._writer.keep("", f"delivered to {self.webhook.name}", delete)

    def _without_path(self, error: RingcheckError) -> str:
        """An error without the path of the URL: at some receivers the path is the secret."""
        named = shown(self.webhook.url)
        scheme, host = urlsplit(named)[:2]
        return str(error).replace(named, f"{scheme}://{host}")

    def _fail(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            self._report(self.webhook.name, "failed", why)

    def _exchange(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        from ringcheck.http.exchange import exchange  # noqa: PLC0415 - loads HTTP

        seconds = self.webhook.timeout
        return exchange(url, seconds, body=body, headers=headers, tls=self.webhook.tls, max_bytes=65536)[0]


class Webhooks:
    """The dispatchers of all webhooks, each with its own thread."""

    def __init__(self, writer: Writer | None, report: Report = lambda *_: None) -> None:
        """Prepare; nothing is sent before `use`.

        Args:
            writer: writer of the state file, in which events wait; None if there is no file, and nothing is sent.
            report: as for `Dispatcher`.
        """
        self._writer = writer
        self._report = report
        self._running: dict[Webhook, _Running] = {}

    def use(self, webhooks: Sequence[Webhook]) -> None:
        """Send to these webhooks from now on, instead of earlier ones; the events of all others are deleted."""
        before, self._running = self._running, {}
        self._end([running for webhook, running in before.items() if webhook not in webhooks], ENDING)
        if self._writer is None:
            return
        self._writer.put(partial(outbox.keep, webhooks=[webhook.name for webhook in webhooks]))
        for webhook in webhooks:
            self._running[webhook] = before.get(webhook) or _Running(Dispatcher(webhook, self._writer, self._report))

    def counts(self) -> dict[str, WebhookCounts]:
        """How many events were delivered, refused or failed, by webhook."""
        return {webhook.name: running.dispatcher.counts for webhook, running in self._running.items()}

    def stop(self, seconds: float) -> None:
        """End the threads; an attempt in progress is abandoned after this time, and repeated after a restart."""
        self._end(self._running.values(), seconds)

    def _end(self, running: Collection[_Running], seconds: float) -> None:
        for entry in running:
            entry.ended.set()
        for entry in running:
            entry.join(seconds)


class _Running(threading.Thread):
    """The thread of a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(name=f"webhook {dispatcher.webhook.name}", daemon=True)
        self.dispatcher = dispatcher
        self.ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Work until the end."""
        while not self.ended.wait(self.dispatcher.step()):
            pass
