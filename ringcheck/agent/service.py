"""The agent: a watch for every configured cluster, the listeners of their readings, and the configuration in force.

A listener has a thread of its own: a log or a Sensu that hangs delays no poll. A reload keeps the watches of clusters
whose configuration did not change, with all that they know.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.agent.mailbox import Mailbox
from ringcheck.agent.polls import PollLoop
from ringcheck.agent.recorder import Recorder
from ringcheck.agent.watch import Watch
from ringcheck.agent.webhooks import Webhooks
from ringcheck.report.reading import Reading, Reload, ServiceReading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ringcheck.agent.watch import Listener
    from ringcheck.config.values import Cluster, Config

FIRST_GAP = 0.05  # seconds at most between the first polls of two clusters
FIRST_SHARE = 2 / 3  # of the interval, in which all first polls begin: a silent node makes one last half an interval
LISTENER_SECONDS = 1.0  # least time that listeners get at the end, however long the polls took


@dataclass(frozen=True, slots=True)
class Run:
    """The configuration in force and its watches; replaced as a whole at a reload."""

    config: Config
    watches: tuple[Watch, ...]
    reload: Reload


class Agent:
    """All watches and listeners; safe to use from many threads.

    Attributes:
        config_file: absolute path of the configuration file; None if commands read it by default.
    """

    def __init__(
        self,
        config: Config,
        listeners: Iterable[Listener] = (),
        clock: Callable[[], float] = time.monotonic,
        complain: Callable[[Exception], object] = lambda _: None,
        recorder: Recorder | None = None,
        *,
        webhooks: Webhooks | None = None,
    ) -> None:
        """Prepare; nothing is polled before `start`.

        Args:
            config: clusters and interval.
            listeners: called with each new reading, each in a thread of its own. A listener slower than the polls
                misses readings, but never the newest of a cluster.
            clock: monotonic seconds.
            complain: called with an error that a listener raises.
            recorder: keeps what changes; by default in memory only.
            webhooks: send events; by default none are sent.
        """
        self.recorder = recorder or Recorder()
        self.webhooks = webhooks or Webhooks(None)
        self._outlets = tuple(Mailbox("listener", _guarded(listener, complain)) for listener in listeners)
        self.config_file: str | None = None
        self._clock = clock
        self._loop = PollLoop()
        self._changed = threading.Condition()
        self._sequence = 0
        self._running = False
        self._retired: list[Watch] = []  # watches of removed or changed clusters, until their last poll ends
        self._state = Run(
            config, tuple(self._watch(cluster, config) for cluster in config.clusters.values()), _loaded()
        )

    def _watch(self, cluster: Cluster, config: Config) -> Watch:
        return Watch(cluster, config.agent.interval, self._publish, self._clock, self.recorder)

    # What is known

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._state.config

    @property
    def last_reload(self) -> Reload:
        """The result of the last attempt to load the configuration."""
        return self._state.reload

    def own_reading(self) -> ServiceReading:
        """What the agent knows about itself."""
        return ServiceReading(reload=self.last_reload, history=self.recorder.works, webhooks=self.webhooks.counts())

    def readings(self) -> tuple[Reading, ...]:
        """The current readings of all clusters, in the order of the configuration."""
        return tuple(watch.present() for watch in self._state.watches)

    def reading(self, cluster: str) -> Reading | None:
        """The current reading of a cluster; None if no cluster has that name."""
        watch = self._find(cluster)
        return watch.present() if watch else None

    def _find(self, cluster: str) -> Watch | None:
        return next((watch for watch in self._state.watches if watch.cluster.name == cluster), None)

    def rest_left(self, cluster: str) -> float | None:
        """Seconds until the next poll of a cluster begins; None while one is under way, or for an unknown cluster."""
        watch = self._find(cluster)
        return watch.rest_left() if watch else None

    def hurry(self, cluster: str) -> None:
        """Poll a cluster now."""
        if watch := self._find(cluster):
            watch.hurry()

    def fresh(self, cluster: str, seconds: float) -> Reading | None:
        """The reading of a poll that began after this call and asked for streams: what the gate may decide on.

        None if no such poll ends in time, or no cluster has that name. If the poll failed, the reading has its error.
        """
        watch = self._find(cluster)
        if watch is None:
            return None
        asked = watch.ask()

        def answered() -> Reading | None:
            return watch.answer[1] if watch.answer and watch.answer[0] > asked else None

        with self._changed:
            self._changed.wait_for(lambda: answered() or watch.stopped, seconds)
        return answered()

    def makes_progress(self) -> bool:
        """Whether the polls of every cluster continue."""
        return all(watch.makes_progress() for watch in self._state.watches)

    def tried(self) -> bool:
        """Whether every cluster was polled at least once, with or without success."""
        return all(any(watch.reading.polls.counts) for watch in self._state.watches)

    @property
    def sequence(self) -> int:
        """The number of readings so far; see `wait`."""
        return self._sequence

    def wait(self, seen: int, seconds: float) -> int:
        """Wait until `sequence` differs from `seen`, the agent stops, or the time is over; return `sequence`."""
        with self._changed:
            self._changed.wait_for(lambda: self._sequence != seen or not self._running, seconds)
            return self._sequence

    # Start, stop and reload

    def start(self) -> None:
        """Start to poll."""
        self._running = True
        self.recorder.webhooks = self.config.agent.webhooks
        self.recorder.start()
        self.recorder.keep(self.config.clusters)
        self.webhooks.use(self.config.agent.webhooks)
        for outlet in self._outlets:
            outlet.start()
        self._loop.start()
        self._start(self._state.watches, self._state.config.agent.interval)

    def _start(self, watches: Sequence[Watch], interval: float) -> None:
        """Start watches one after another, so that their polls are spread over the interval from the first on."""
        gap = min(FIRST_GAP, FIRST_SHARE * interval / max(1, len(watches)))
        for number, watch in enumerate(watches):
            watch.start(self._loop, number * gap)

    def stop(self, seconds: float = 5.0) -> bool:
        """Stop all watches and deliver the last readings; return whether all threads ended in that time.

        Polls and listeners that hang are abandoned.
        """
        self._running = False
        watches = [*self._state.watches, *self._retired]
        for watch in watches:
            watch.stop()
        with self._changed:
            self._changed.notify_all()
        self._loop.abandon_polls()  # they only read, and their results would not be published
        ends = time.monotonic() + seconds
        polls_ended = _joined(watches, ends)
        self._loop.stop()
        for outlet in self._outlets:
            outlet.end()
        listeners_ended = _joined(self._outlets, max(ends, time.monotonic() + LISTENER_SECONDS))
        self.webhooks.stop(LISTENER_SECONDS)
        recorded = self.recorder.stop(max(LISTENER_SECONDS, ends - time.monotonic()))
        return polls_ended and listeners_ended and recorded

    def reload(self, config: Config) -> None:
        """Use another configuration; a cluster whose configuration is the same in both keeps its watch."""
        before = {watch.cluster.name: watch for watch in self._state.watches}
        watches = []
        for cluster in config.clusters.values():
            old = before.get(cluster.name)
            watches.append(old if old and old.cluster == cluster else self._watch(cluster, config))
        self._state = Run(config, tuple(watches), _loaded())
        for watch in before.values():
            if watch in watches:
                watch.set_interval(config.agent.interval)
            else:
                self._retire(watch)
        self.recorder.keep(config.clusters)
        self.recorder.webhooks = config.agent.webhooks
        if self._running:
            self.webhooks.use(config.agent.webhooks)
            self._start([watch for watch in watches if watch not in before.values()], config.agent.interval)
        self._notify()

    def _retire(self, watch: Watch) -> None:
        watch.stop()
        self._retired = [retired for retired in self._retired if not retired.join(0)] + [watch]
        if self._find(watch.cluster.name) is None:
            for outlet in self._outlets:
                outlet.forget(watch.cluster.name)

    def refuse(self) -> None:
        """Note that a new configuration could not be used; the old one stays in force."""
        self._state = replace(self._state, reload=replace(self._state.reload, successful=False))

    def _publish(self, reading: Reading) -> None:
        for outlet in self._outlets:
            outlet.put(reading.cluster, reading)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._sequence += 1
            self._changed.notify_all()


def _loaded() -> Reload:
    return Reload(successful=True, last_success=time.time())


def _guarded(listener: Listener, complain: Callable[[Exception], object]) -> Listener:
    """A listener whose errors are reported; it is called again with the next reading."""

    def call(reading: Reading) -> None:
        try:
            listener(reading)
        except Exception as error:  # noqa: BLE001 - a bug in a listener must not end its thread
            complain(error)

    return call


def _joined(threads: Iterable[Watch | Mailbox[Reading]], ends: float) -> bool:
    """Wait for threads until a monotonic time; return whether all have ended."""
    alive = [thread for thread in threads if not thread.join(max(0.0, ends - time.monotonic()))]
    return not alive
