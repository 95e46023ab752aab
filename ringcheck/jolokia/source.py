"""The public face of the room: `JolokiaSource` turns a configured cluster into one snapshot a poll.

The first poll discovers everything. A later poll asks every node for its view, in one request each, and reads the ring
again only if something suggests that it has changed; `poll.py` has the rules. A node that does not answer is shown as
unreachable with the reason. What could not be read is a problem of the snapshot.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ringcheck.errors import ConfigError
from ringcheck.http.threads import WorkerThreads
from ringcheck.jolokia.asking import ByThreads, completed
from ringcheck.jolokia.client import Client, Requests
from ringcheck.jolokia.membership import ClusterSession, ContactPoint
from ringcheck.jolokia.poll import Poll
from ringcheck.jolokia.settings import ConfiguredCluster, host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import RequestCounts
    from ringcheck.jolokia.asking import Asking
    from ringcheck.jolokia.settings import JolokiaSettings

_BEFORE_STREAMS = 0.8  # share of a poll's time: if a node hangs, the rest is for the streams of the other nodes


class JolokiaSource:
    """Polls one cluster. Not for use by two threads at once."""

    def __init__(
        self,
        settings: JolokiaSettings,
        configured: ConfiguredCluster | None = None,
        *,
        count_every: float | None = None,
        asking: Asking | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing is asked.

        Args:
            settings: where the agents are.
            configured: what the configuration states about the cluster; by default nothing.
            count_every: seconds between two readings of the nodes' counters of requests; None for never.
            asking: sends the requests; without it the source does so with threads of its own.
            clock: monotonic seconds.
            now: current time in UTC.

        Raises:
            ConfigError: if there is no contact point, or one has none of the known forms.
        """
        self._clock = clock
        self._now = now
        self._asking = asking or ByThreads(Client(Requests(settings), clock), WorkerThreads())
        self._session = ClusterSession(
            settings=settings,
            asking=self._asking,
            configured=configured or ConfiguredCluster(),
            clock=clock,
            count_every=count_every,
        )
        if not settings.contact_points:
            raise ConfigError("there is no contact point to ask")
        self._session.contacts = [
            ContactPoint(host_of(point), self._session.agent(settings.url_of_contact(point)))
            for point in dict.fromkeys(settings.contact_points)
        ]

    @property
    def counts(self) -> RequestCounts:
        """Requests by outcome and bytes, since the start."""
        return self._asking.counts

    def forget_topology(self) -> None:
        """Let the next poll read everything again."""
        self._session.known = None

    def close(self) -> None:
        """Close all connections; requests in flight end by themselves."""
        self._asking.close()

    def poll(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:
        """The cluster as its nodes report it now.

        Args:
            deadline_seconds: after which it returns what has come in.
            streams: also ask every node for its streams, for the gate.

        Raises:
            SourceError: if no node answered, or the ring can't be read.
            DataError: if the reports can't be true (two clusters, an unknown partitioner), or the ring can't be read.
        """
        return completed(self.poll_on_loop(deadline_seconds, streams=streams))

    async def poll_on_loop(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:
        """As `poll`, for callers on the event loop of `asking`: it never blocks the loop."""
        taken_at = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        started = self._clock()
        poll = Poll(self._session, started + deadline_seconds * (_BEFORE_STREAMS if streams else 1), taken_at)
        snapshot = await poll.snapshot()
        return await poll.with_streams(snapshot, started + deadline_seconds) if streams else snapshot
