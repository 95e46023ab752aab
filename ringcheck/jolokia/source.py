"""From a cluster to a Snapshot: when it is asked what, and what is kept between polls.

The first poll discovers everything. Later ones ask every node for its view, in one request each, and for the ring again
only when something says that it may have changed. Silence never counts: whoever does not answer is shown as unreachable
with the reason, and what could not be read is a problem of the snapshot.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from ringcheck.errors import ConfigError
from ringcheck.http.threads import WorkerThreads
from ringcheck.jolokia.asking import ByThreads, completed
from ringcheck.jolokia.client import Client, Requests
from ringcheck.jolokia.membership import Contact, Home
from ringcheck.jolokia.poll import Poll
from ringcheck.jolokia.settings import host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringcheck.core.ring import Replication, Snapshot
    from ringcheck.core.source import RequestCounts
    from ringcheck.jolokia.asking import Asking
    from ringcheck.jolokia.settings import JolokiaSettings

_BEFORE_STREAMS = 0.8  # of a poll's time: a node that hangs leaves the rest for the others' streams
_NO_REPLICATION: Mapping[str, Replication] = MappingProxyType({})


class JolokiaSource:
    """Polls one cluster. Not for use by two threads at once."""

    def __init__(  # noqa: PLR0913 - what the configuration says, and two clocks for tests
        self,
        settings: JolokiaSettings,
        replication: Mapping[str, Replication] = _NO_REPLICATION,
        name: str | None = None,
        authenticates: bool | None = None,  # noqa: FBT001 - a setting of the configuration
        *,
        asking: Asking | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing is asked.

        Args:
            settings: where the agents are.
            replication: by keyspace, for releases that can't tell (before 3.11.11).
            name: of the cluster in the configuration; used where Cassandra does not tell its own.
            authenticates: overrides what is found out.
            asking: how requests are sent; by threads of its own without it.
            clock: monotonic seconds.
            now: UTC.

        Raises:
            ConfigError: if there is no contact point, or one has none of the known forms.
        """
        self._clock = clock
        self._now = now
        self._asking = asking or ByThreads(Client(Requests(settings), clock), WorkerThreads())
        self._home = Home(settings, self._asking, replication, name, authenticates, clock)
        if not settings.contact_points:
            raise ConfigError("there is no contact point to ask")
        self._home.contacts = [
            Contact(host_of(point), self._home.agent(settings.url_of_contact(point)))
            for point in dict.fromkeys(settings.contact_points)
        ]

    @property
    def counts(self) -> RequestCounts:
        """Requests by outcome and bytes, since the start."""
        return self._asking.counts

    def forget_topology(self) -> None:
        """Read everything again at the next poll."""
        self._home.known = None

    def close(self) -> None:
        """Close all connections; requests in flight end by themselves."""
        self._asking.close()

    def poll(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:
        """What the cluster looks like now.

        Args:
            deadline_seconds: after which it returns what came in, at the latest.
            streams: ask every node for its streams too, for the gate.

        Raises:
            SourceError: if nobody answered, or nobody would tell the ring.
            DataError: if what was said can't be true: two clusters, a host id twice, an unknown partitioner.
        """
        return completed(self.poll_on_loop(deadline_seconds, streams=streams))

    async def poll_on_loop(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:
        """The same for an event loop, which is not held up."""
        taken_at = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        started = self._clock()
        poll = Poll(self._home, started + deadline_seconds * (_BEFORE_STREAMS if streams else 1), taken_at)
        seen = await poll.snapshot()
        return await poll.with_streams(seen, started + deadline_seconds) if streams else seen
