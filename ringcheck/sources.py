"""Opens the source that a cluster's configuration names: the only file that knows all kinds of sources."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ringcheck.errors import UsageError
from ringcheck.jolokia.settings import ConfiguredCluster, JolokiaSettings

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster
    from ringcheck.core.diagnosis import Diagnosis
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import LoopSource, NodeControl, RequestCounts, Source
    from ringcheck.http.loop import RequestLimit
    from ringcheck.http.threads import WorkerThreads
    from ringcheck.jolokia.source import JolokiaSource


def open_source(cluster: Cluster, *, counting: bool = False) -> Source:
    """The source of a cluster; nothing is asked yet.

    Args:
        cluster: to be polled.
        counting: whether to read the nodes' counters of requests, if the levels follow the queries: for polls again and
            again, since a single reading shows no queries.

    Raises:
        ConfigError: if it can't be used as configured.
        UsageError: if a password can't be read.
    """
    if not isinstance(cluster.source, JolokiaSettings):
        from ringcheck.replay.source import ReplaySource  # noqa: PLC0415 - a check of live nodes does not need it

        return ReplaySource(cluster.source)
    from ringcheck.jolokia.source import JolokiaSource  # noqa: PLC0415 - brings HTTP

    every = _count_every(cluster) if counting else None
    return JolokiaSource(cluster.source, _configured(cluster), count_every=every)


def _configured(cluster: Cluster) -> ConfiguredCluster:
    return ConfiguredCluster(cluster.name or None, cluster.replication, cluster.policy.authenticates)


def _count_every(cluster: Cluster) -> float | None:
    return cluster.observing.every if cluster.observing else None


def open_on_loop(cluster: Cluster, threads: WorkerThreads, limit: RequestLimit) -> LoopSource:
    """The same source for an event loop that polls many clusters.

    Args:
        cluster: to be polled.
        threads: do what would block the loop.
        limit: of the requests that are in flight, for all clusters together.

    Raises:
        ConfigError: as `open_source`.
        UsageError: as `open_source`.
    """
    if not isinstance(cluster.source, JolokiaSettings):
        return _InThreads(open_source(cluster), threads)
    from ringcheck.jolokia.client import Requests  # noqa: PLC0415 - brings HTTP
    from ringcheck.jolokia.loop import OnLoop  # noqa: PLC0415 - brings asyncio
    from ringcheck.jolokia.source import JolokiaSource  # noqa: PLC0415 - brings HTTP

    asking = OnLoop(Requests(cluster.source), threads, limit)
    every = _count_every(cluster)
    return _JolokiaOnLoop(JolokiaSource(cluster.source, _configured(cluster), count_every=every, asking=asking))


class _JolokiaOnLoop:
    """A source whose requests are sent from the loop."""

    def __init__(self, source: JolokiaSource) -> None:
        self._source = source
        self.poll = source.poll_on_loop
        self.close = source.close

    @property
    def counts(self) -> RequestCounts:
        return self._source.counts


class _InThreads:
    """A source that would block the loop."""

    def __init__(self, source: Source, threads: WorkerThreads) -> None:
        self._source = source
        self._threads = threads
        self.close = source.close

    @property
    def counts(self) -> RequestCounts:
        return self._source.counts

    async def poll(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:
        from asyncio import wrap_future  # noqa: PLC0415 - commands that run no loop don't load it

        work = partial(self._source.poll, deadline_seconds, streams=streams)
        return await wrap_future(self._threads.submit(work))


def is_recorded(cluster: Cluster) -> bool:
    """Whether a cluster is replayed from recordings."""
    return not isinstance(cluster.source, JolokiaSettings)


def open_control(cluster: Cluster) -> NodeControl:
    """The control of a cluster's single nodes, for a rolling restart; nothing is asked yet.

    Raises:
        ConfigError: as `open_source`.
        UsageError: as `open_source`; also for a replayed cluster, whose nodes can't be restarted.
    """
    if not isinstance(cluster.source, JolokiaSettings):
        raise UsageError(f"{cluster.name} is replayed from recordings: its nodes can't be restarted")
    from ringcheck.jolokia.control import Control  # noqa: PLC0415 - brings HTTP

    return Control(cluster.source)


def diagnose(cluster: Cluster, contact: str | None, seconds: float) -> Diagnosis:
    """Ask one host of a cluster step by step, to find out what is wrong with it.

    Args:
        cluster: to which the host belongs.
        contact: the host; None for the first contact point.
        seconds: that all steps may take.

    Raises:
        UsageError: for a replayed cluster, which has no hosts; also if a password can't be read.
        ConfigError: if the contact has none of the known forms, or a file of the settings can't be used.
        SourceError: if the URL is not usable.
    """
    if not isinstance(cluster.source, JolokiaSettings):
        raise UsageError(f"{cluster.name} is replayed from recordings: it has no hosts to ask")
    from ringcheck.jolokia import doctor  # noqa: PLC0415 - brings HTTP

    return doctor.diagnose(cluster.source, contact or cluster.source.contact_points[0], seconds)
