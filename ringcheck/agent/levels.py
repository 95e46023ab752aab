"""The evidence of the levels that clients use, from polls, proxies and Prometheus, for all clusters of the agent.

Polls, requests and queries to Prometheus may add evidence at the same time, in different threads.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial, reduce
from typing import TYPE_CHECKING

from ringcheck.agent.clock import ClockWatch
from ringcheck.core.levels import changed
from ringcheck.core.observed import PATIENCE
from ringcheck.core.sources import CURRENT, PROMETHEUS, PROXY, Sources, is_proxy, proxy_named, read_sources
from ringcheck.core.usage import COUNTERS, Evidence, failed, noted, reported, sampled
from ringcheck.core.usage_values import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ringcheck.config.values import Cluster, Observing
    from ringcheck.core.observed import Observed
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.uses import Use

    Save = Callable[[str, str, Mapping[str, object]], object]

ANEW = (
    30.0  # seconds after which the levels in use are determined again even without new evidence: the window has moved
)
EARLY = 10  # readings that are kept until the state file can be read


class ClusterLevels:
    """The evidence of one cluster; thread-safe."""

    def __init__(self, name: str, save: Save, clock: Callable[[], float], steady: Callable[[], float]) -> None:
        """Begin without evidence.

        Args:
            name: of the cluster.
            save: called with the plain values of a source, to keep them by cluster and source.
            clock: Unix seconds.
            steady: seconds of a clock that can't be set.
        """
        self._name = name
        self._save = save
        self._clock = clock
        self._clock_watch = ClockWatch(clock, steady)
        self._guard = threading.Lock()
        self._sources = Sources()
        self._early: list[Callable[[Evidence], Evidence]] | None = []  # readings before the file was; None if too many
        self._found_at: float | None = None
        self._datacenters: tuple[str, ...] = ()
        self._unsaved = False  # whether the names of the keyspaces changed

    def load(self, documents: Mapping[str, object]) -> None:
        """Use what the state file has, beside what is already known if the file could not be opened for a time."""
        with self._guard:
            at, since_start = self._now(), self._sources
            earlier = read_sources(documents).resumed(at)
            self._sources = earlier.followed_by(since_start)
            if self._early:  # as if the file had been there at once
                counters = reduce(lambda found, add: add(found), self._early, earlier.of(COUNTERS))
                self._sources = self._sources.with_source(COUNTERS, counters)
            self._early = None
            self._found_at = None
            if since_start.evidence:
                self._save_all()

    @property
    def sources(self) -> Sources:
        """All evidence, as it is now; immutable."""
        return self._sources

    def note(self, observing: Observing, seen: Snapshot) -> Observed:
        """Add the evidence of a poll; returns the levels in use."""
        with self._guard:
            at = self._now()
            self._datacenters = seen.datacenters
            self._keep_names({name for ring in seen.rings for name in ring.keyspaces})
            if seen.requests is not None:
                window, auth = observing.following.window, seen.auth_read_level
                add = partial(noted, nodes=seen.requests, at=at, window=window, auth=auth)
                if self._early is not None:
                    self._early = [*self._early, add] if len(self._early) < EARLY else None
                self._keep(COUNTERS, add(self._sources.of(COUNTERS)))
            return self._levels_in_use(observing, at)

    def _keep_names(self, keyspaces: set[str]) -> None:
        """Keep the names of the keyspaces, unless none could be read."""
        if keyspaces and keyspaces != self._sources.keyspaces:
            self._sources = replace(self._sources, keyspaces=frozenset(keyspaces))
            self._found_at = None
            self._unsaved = True

    def report(self, observing: Observing, found: Mapping[Use, int], reporter: str = "") -> None:
        """Add the number of queries that a proxy has seen since its last report.

        Args:
            observing: of the cluster.
            found: number of queries, by what they used.
            reporter: name of the proxy; may be empty.
        """
        with self._guard:
            source, patience = proxy_named(reporter), self._sources.patience(observing.interval)[PROXY]
            at, before = self._now(), self._sources.of(source)
            self._keep(source, reported(before, found, at, observing.following.window, patience))

    def proxies(self) -> dict[str, Evidence]:
        """The evidence of proxies by source."""
        return {name: evidence for name, evidence in self._sources.evidence.items() if is_proxy(name)}

    def sample(self, observing: Observing, series: Mapping[str, tuple[Use, int]], gap: str) -> None:
        """Add counters from Prometheus, and what is missing in them."""
        with self._guard:
            patience = self._sources.patience(observing.interval)[PROMETHEUS]
            at, before = self._now(), self._sources.of(PROMETHEUS)
            self._keep(PROMETHEUS, sampled(before, series, at, observing.following.window, patience, gap))

    def fail(self, why: str) -> None:
        """Note that Prometheus could not be asked."""
        with self._guard:
            self._keep(PROMETHEUS, failed(self._sources.of(PROMETHEUS), why))

    def _now(self) -> float:
        """The time; if the clock was set since the last call, nothing before counts as known."""
        at = self._clock()
        if abs(self._clock_watch.jump()) > PATIENCE:
            self._sources = self._sources.clock_set(at)
            self._early = self._found_at = None
            self._save_all()
        return at

    def _save_all(self) -> None:
        for source, values in self._sources.plain().items():
            self._save(self._name, source, values)

    def _keep(self, source: str, evidence: Evidence) -> None:
        self._sources = self._sources.with_source(source, evidence)
        self._found_at = None
        self._save(self._name, source, plain(evidence))

    def _levels_in_use(self, observing: Observing, at: float) -> Observed:
        """The levels in use, determined anew if anything may have changed."""
        before = self._sources.current
        same = self._found_at is not None and 0 <= at - self._found_at < ANEW
        if before is not None and same and before.datacenters == self._datacenters:
            return before
        found = self._sources.observed(at, observing.following, self._datacenters, observing.interval)
        after = changed(before, found, at)
        self._sources = self._sources.with_current(after)
        self._found_at = at
        if self._unsaved or before is None or _lasting(before) != _lasting(after):
            self._unsaved = False
            self._save(self._name, CURRENT, self._sources.plain_current())
        return after


def _lasting(seen: Observed) -> tuple[object, ...]:
    """What the state file keeps."""
    return seen.keyspaces, seen.datacenters, seen.changes, seen.begun


class LevelBook:
    """The evidence of all clusters."""

    def __init__(
        self,
        save: Save = lambda *_: None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without evidence; for the arguments see `ClusterLevels`."""
        self._new = partial(ClusterLevels, save=save, clock=clock, steady=steady)
        self._guard = threading.Lock()
        self._clusters: dict[str, ClusterLevels] = {}

    def of(self, cluster: str) -> ClusterLevels:
        """The evidence of a cluster."""
        with self._guard:
            if cluster not in self._clusters:
                self._clusters[cluster] = self._new(cluster)
            return self._clusters[cluster]

    def load(self, documents: Mapping[str, Mapping[str, object]]) -> None:
        """Use what the state file has."""
        for cluster, sources in documents.items():
            self.of(cluster).load(sources)

    def plain(self) -> dict[str, dict[str, dict[str, object]]]:
        """All evidence as plain values, by cluster and source."""
        with self._guard:
            return {name: found.sources.plain() for name, found in self._clusters.items()}

    def keep(self, clusters: Collection[str]) -> list[str]:
        """Forget all clusters but these; the names of those that were forgotten."""
        with self._guard:
            gone = [name for name in self._clusters if name not in clusters]
            self._clusters = {name: found for name, found in self._clusters.items() if name in clusters}
            return gone


def levels_of(book: LevelBook, cluster: Cluster) -> ClusterLevels | None:
    """The evidence of a cluster; None if nothing depends on it."""
    return book.of(cluster.name) if cluster.observing else None
