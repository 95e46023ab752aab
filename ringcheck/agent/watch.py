"""Watches every configured cluster: a thread a cluster, so that a slow one delays no other.

Each poll leaves a `Reading`, swapped whole. What was known stays known when a poll fails, with its age; how old may be
told as the present is decided when somebody asks, so that a poll that hangs makes it old too. A node whose Jolokia
stops answering is a suspect at once: Cassandra itself needs 18 to 37 s to convict it.

Whoever is told of readings has a thread of his own: a log or a Sensu that hangs delays no poll.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from bisect import bisect_left
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from ringcheck.core.assess import assess
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.health import let_go
from ringcheck.core.maintenance import Maintenance
from ringcheck.errors import DataError, RingcheckError, SourceError, UsageError
from ringcheck.leases.configured import open_store
from ringcheck.leases.grant import placed
from ringcheck.leases.record import LeaseError
from ringcheck.report.reading import BUCKETS, Reading, Reload
from ringcheck.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ringcheck.config.values import Cluster, Config
    from ringcheck.core.evidence import State
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import Source
    from ringcheck.core.verdict import Verdict
    from ringcheck.leases.store import Store
    from ringcheck.report.reading import Durations

    Listener = Callable[[Reading], object]

OLD = 3  # intervals after whose begin a verdict is no longer the present: two polls in a row may fail
YOUNG = 10.0  # seconds for which it is in any case: short intervals would make one hiccup a blindness
JITTER = 0.1  # of the interval, so that clusters are not all asked at once
LEASES = 2.0  # seconds that the store of leases may take
SHORTEST = 1.0  # seconds that a poll may take at least
LAST_WORDS = 1.0  # seconds that listeners get at the end, however long the polls took


def deadline_of(interval: float) -> float:
    """Seconds that one poll may take: it is over before the next is due."""
    return max(SHORTEST, 0.8 * interval)


class Watch:
    """One cluster, polled again and again by a thread of its own."""

    def __init__(self, cluster: Cluster, interval: float, told: Listener, clock: Callable[[], float]) -> None:
        """Prepare; nothing is asked before `start`.

        Args:
            cluster: what to ask, and how to judge it.
            interval: seconds from the begin of one poll to the begin of the next.
            told: called with each new reading.
            clock: monotonic seconds.
        """
        self.cluster = cluster
        self.interval = interval
        self.reading = Reading(
            cluster=cluster.name, holders=None if cluster.lease else (), store_asked=cluster.lease is None
        )
        self.beat = clock()
        self._told = told
        self._clock = clock
        self._stop = threading.Event()
        self._now = threading.Event()
        self._asked = threading.Lock()
        self._streams = False  # whether the next poll asks for streams too
        self._begun = 0  # polls
        self.answer: tuple[int, Reading] | None = None  # the last poll that was asked for: its number, what it left
        self._source: Source | None = None
        self._store: Store | None = None
        self._good_at: float | None = None
        self._trusted: frozenset[str] = frozenset()  # nodes whose Jolokia answered when they were last up
        self._thread = threading.Thread(target=self._run, name=f"watch {cluster.name}", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def hurry(self) -> None:
        """Poll again now."""
        self._now.set()

    def ask(self) -> int:
        """Poll again now, streams included; the number of `answer` exceeds the one returned once that poll is over."""
        with self._asked:
            self._streams = True
            begun = self._begun
        self.hurry()
        return begun

    def stop(self) -> None:
        """Ask the thread to end; the poll in hand is not waited for."""
        self._stop.set()
        self._now.set()

    def join(self, seconds: float) -> bool:
        """Wait for the thread; whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to end: it tells nothing more."""
        return self._stop.is_set()

    def pace(self, interval: float) -> None:
        """Poll so often from now on; all that is known stays."""
        if interval != self.interval:
            self.interval = interval
            self.beat = self._clock()  # a pause of the old length is not one that hangs
            self.hurry()

    def lively(self) -> bool:
        """Whether its polls go on: none hangs far beyond its deadline."""
        allowed = self.interval * (1 + JITTER) + 2 * deadline_of(self.interval) + 4 * LEASES
        return self._clock() - self.beat < allowed

    def present(self) -> Reading:
        """The reading as it is to be told now."""
        old = self._good_at is None or self._clock() - self._good_at > max(YOUNG, OLD * self.interval)
        reading = self.reading
        return reading if reading.fresh is not old else replace(reading, fresh=not old)

    # The thread

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._now.clear()
                begins = self._clock()
                self.turn()
                pause = self.interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
                self._now.wait(max(0.0, pause - (self._clock() - begins)))
        finally:
            self._close()

    def turn(self) -> None:
        """Poll once, and tell of it; not for use beside `start`."""
        begins = self.beat = self._clock()
        with self._asked:
            self._begun += 1
            streams, self._streams = self._streams, False
        self.reading = self._turn(begins, streams=streams)
        if self.reading.error is None:
            self._good_at = begins  # some of it may have been told right after the poll began
        if streams:  # the next poll may be over before whoever asked looks
            self.answer = self._begun, self.present()
        if not self._stop.is_set():
            self._told(self.present())

    def _close(self) -> None:
        for one in (self._source, self._store):
            if one is not None:
                one.close()

    def _turn(self, begins: float, *, streams: bool) -> Reading:
        try:
            found = self._poll(streams=streams)
        except RingcheckError as error:
            found = self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - a bug must be told, and must not end the watch
            found = self._failed(bug(error))
        requests = dict(self._source.counts.requests) if self._source else {}
        return replace(found, polls=_with(found.polls, self._clock() - begins), requests=requests)

    def _failed(self, error: str, *, silent: bool = False) -> Reading:
        """What is left when a poll fails: nobody may restart, and if nobody answered all who did are suspects."""
        suspects = self._suspects(self.reading.verdict, frozenset()) if silent and self.reading.verdict else frozenset()
        unknown = replace(self.reading, restart_safe=None, restart_cures=None)
        return replace(unknown, error=error, suspects=suspects, store_asked=False)

    def _poll(self, *, streams: bool) -> Reading:
        try:
            seen = self._seen(streams=streams)
        except RingcheckError as error:
            failed = self._failed(str(error), silent=isinstance(error, SourceError | DataError))
            return replace(failed, holders=self._asked_for(self._leases()[1]), store_asked=True)
        return self._judged(seen)

    def _seen(self, *, streams: bool) -> Snapshot:
        """The cluster as it answers.

        Raises:
            RingcheckError: if it does not. Once the ring is known SourceError and DataError say that no node did.
        """
        if self._source is None:
            self._source = open_source(self.cluster)
        return replace(self._source.poll(deadline_of(self.interval), streams=streams), cluster=self.cluster.name)

    def _judged(self, seen: Snapshot) -> Reading:
        maintenance, holders = self._leases()
        verdict = assess(seen, self.cluster.policy, maintenance=maintenance)
        safe = self._safe(seen, holders)
        up = _in_state(verdict, "up")
        let_go(seen.rings)
        answering = frozenset(node.address for node in seen.nodes if node.source == "ok")
        suspects = self._suspects(verdict, answering)
        # Trust outlives a state that is not known: a killed node stays a suspect through a poll that saw nothing.
        self._trusted = answering | (self._trusted & _in_state(verdict, "up", "unknown"))
        return replace(
            self.reading,
            verdict=verdict,
            restart_safe=None if safe is None else safe & up,
            restart_cures=None if safe is None else safe - up,
            fresh=True,
            last_success=time.time(),
            error=None,
            suspects=suspects,
            holders=self._asked_for(holders),
            store_asked=True,
        )

    def _asked_for(self, holders: tuple[Holder, ...] | None) -> tuple[Holder, ...] | None:
        """A lock file that nobody asked for and that can't be read is no store that does not answer."""
        return () if holders is None and self.cluster.lease is None else holders

    def _leases(self) -> tuple[Maintenance | None, tuple[Holder, ...] | None]:
        """What leases lower, and who holds one: without `lease:` by the lock file that commands and gate use then."""
        lease = self.cluster.lease
        try:
            if self._store is None:
                self._store = open_store(self.cluster, LEASES)
            holders = self._store.holders()
        except RingcheckError as error:
            return Maintenance((), lease.deadline, str(error)) if lease else None, None
        return Maintenance(holders, lease.deadline) if lease else None, holders

    def _safe(self, seen: Snapshot, holders: tuple[Holder, ...] | None) -> frozenset[str] | None:
        """Nodes that may restart now, dead ones included; None while it is not known who else is to count as down.

        A lease of no node, or a gate that can't be asked as it is configured, lets no node restart; the verdict stands.
        """
        if holders is None:
            return None
        try:
            held = [placed(one, seen) for one in holders]
            gatekeeper = Gatekeeper(seen, self.cluster.policy, self.cluster.gate, held)
        except (LeaseError, UsageError):
            return frozenset()
        return gatekeeper.safe_nodes() - {one.node for one in held}

    def _suspects(self, verdict: Verdict, answering: frozenset[str]) -> frozenset[str]:
        """Nodes that answered before and do not now, while nobody sees them down."""
        return (_in_state(verdict, "up") & self._trusted) - answering


def _in_state(verdict: Verdict, *states: State) -> frozenset[str]:
    nodes = zip(verdict.snapshot.nodes, verdict.states, strict=True)
    return frozenset(node.address for node, state in nodes if state in states)


def bug(error: Exception) -> str:
    """An error that nobody expected, with the place where it arose, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"this is a bug of ringcheck: {type(error).__name__}: {' '.join(str(error).split())}{place}"


def _with(durations: Durations, seconds: float) -> Durations:
    counts = list(durations.counts)
    counts[bisect_left(BUCKETS, seconds)] += 1
    return replace(durations, counts=tuple(counts), total=durations.total + seconds)


class Outlet:
    """A listener with a thread of its own. Of readings that wait for it the newest of each cluster is kept."""

    def __init__(self, listener: Listener, complain: Callable[[str], object]) -> None:
        """Prepare.

        Args:
            listener: called with one reading after another, never at once.
            complain: called with the text of what it raises.
        """
        self._listener = listener
        self._complain = complain
        self._changed = threading.Condition()
        self._waiting: dict[str, Reading] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Begin to hand on."""
        self._thread.start()

    def put(self, reading: Reading) -> None:
        """Take a reading; never waits for the listener."""
        with self._changed:
            self._waiting[reading.cluster] = reading
            self._changed.notify()

    def forget(self, cluster: str) -> None:
        """Drop what waits of a cluster."""
        with self._changed:
            self._waiting.pop(cluster, None)

    def end(self) -> None:
        """Hand on what waits, then end the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the thread; whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (reading := self._next()) is not None:
            try:
                self._listener(reading)
            except Exception as error:  # noqa: BLE001 - one that fails is told again at the next poll
                self._complain(bug(error))

    def _next(self) -> Reading | None:
        """A reading, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting.pop(next(iter(self._waiting))) if self._waiting else None


@dataclass(frozen=True, slots=True)
class Run:
    """What the agent runs on: swapped whole at a reload."""

    config: Config
    watches: tuple[Watch, ...]
    reload: Reload


class Agent:
    """All watches. Safe to use from many threads."""

    def __init__(
        self,
        config: Config,
        listeners: Iterable[Listener] = (),
        clock: Callable[[], float] = time.monotonic,
        complain: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Prepare; nothing is asked before `start`.

        Args:
            config: clusters and interval.
            listeners: called after each poll with the new reading, each by a thread of its own; one that is slower
                than the polls misses readings, never the newest of a cluster.
            clock: monotonic seconds.
            complain: called with the text of what a listener raises.
        """
        self._outlets = tuple(Outlet(one, complain) for one in listeners)
        self._clock = clock
        self._changed = threading.Condition()
        self._sequence = 0
        self._running = False
        self._retired: list[Watch] = []  # of clusters that are gone or changed, while their last poll lasts
        self._state = Run(config, tuple(self._watch(one, config) for one in config.clusters.values()), _fine())

    def _watch(self, cluster: Cluster, config: Config) -> Watch:
        return Watch(cluster, config.agent.interval, self._tell, self._clock)

    # What is known

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._state.config

    @property
    def last_reload(self) -> Reload:
        """How the last reading of the configuration went."""
        return self._state.reload

    def readings(self) -> tuple[Reading, ...]:
        """All clusters, in the configuration's order, as they are to be told now."""
        return tuple(one.present() for one in self._state.watches)

    def reading(self, cluster: str) -> Reading | None:
        """One cluster; None where none has that name."""
        return next((one.present() for one in self._state.watches if one.cluster.name == cluster), None)

    def hurry(self, cluster: str) -> None:
        """Poll a cluster again now."""
        for one in self._state.watches:
            if one.cluster.name == cluster:
                one.hurry()

    def fresh(self, cluster: str, seconds: float) -> Reading | None:
        """What a poll says that began after this call, streams included: what the gate may decide on.

        None where it is not over in time, or no cluster has that name. If the poll failed, the reading has its error.
        """
        watch = next((one for one in self._state.watches if one.cluster.name == cluster), None)
        if watch is None:
            return None
        asked = watch.ask()

        def answered() -> Reading | None:
            return watch.answer[1] if watch.answer and watch.answer[0] > asked else None

        with self._changed:
            self._changed.wait_for(lambda: answered() or watch.stopped, seconds)
        return answered()

    def lively(self) -> bool:
        """Whether the polls of every cluster go on."""
        return all(one.lively() for one in self._state.watches)

    def tried(self) -> bool:
        """Whether every cluster was polled once, well or not."""
        return all(any(one.reading.polls.counts) for one in self._state.watches)

    @property
    def sequence(self) -> int:
        """Counts readings; for `wait`."""
        return self._sequence

    def wait(self, seen: int, seconds: float) -> int:
        """Wait until there is a newer reading than those that `seen` counts, and return the count then."""
        with self._changed:
            self._changed.wait_for(lambda: self._sequence != seen or not self._running, seconds)
            return self._sequence

    # What is done

    def start(self) -> None:
        """Begin to poll."""
        self._running = True
        for outlet in self._outlets:
            outlet.start()
        for one in self._state.watches:
            one.start()

    def stop(self, seconds: float = 5.0) -> bool:
        """End all watches and tell the listeners what is left; whether all ended in that time.

        Polls in hand, and listeners that hang, are abandoned after it.
        """
        self._running = False
        watches = [*self._state.watches, *self._retired]
        for one in watches:
            one.stop()
        with self._changed:
            self._changed.notify_all()
        ends = time.monotonic() + seconds
        polls = _joined(watches, ends)
        for outlet in self._outlets:
            outlet.end()
        return _joined(self._outlets, max(ends, time.monotonic() + LAST_WORDS)) and polls

    def reload(self, config: Config) -> None:
        """Run on another configuration; clusters that are the same in both are watched on as if nothing was."""
        before = {one.cluster.name: one for one in self._state.watches}
        watches = []
        for cluster in config.clusters.values():
            old = before.get(cluster.name)
            watches.append(old if old and old.cluster == cluster else self._watch(cluster, config))
        self._state = Run(config, tuple(watches), _fine())
        for one in before.values():
            if one in watches:
                one.pace(config.agent.interval)
            else:
                self._retire(one)
        for one in watches:
            if one not in before.values() and self._running:
                one.start()
        self._notify()

    def _retire(self, watch: Watch) -> None:
        watch.stop()
        self._retired = [one for one in self._retired if not one.join(0)] + [watch]
        if all(one.cluster.name != watch.cluster.name for one in self._state.watches):
            for outlet in self._outlets:
                outlet.forget(watch.cluster.name)

    def refuse(self) -> None:
        """Note that a configuration could not be used; the old one stays in force."""
        self._state = replace(self._state, reload=replace(self._state.reload, successful=False))

    def _tell(self, reading: Reading) -> None:
        for outlet in self._outlets:
            outlet.put(reading)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._sequence += 1
            self._changed.notify_all()


def _fine() -> Reload:
    return Reload(successful=True, last_success=time.time())


def _joined(threads: Iterable[Watch | Outlet], ends: float) -> bool:
    """Wait for them until a monotonic time; whether all have ended."""
    left = [one for one in threads if not one.join(max(0.0, ends - time.monotonic()))]
    return not left
