"""The watch of one cluster: it polls again and again, and keeps the last reading.

It is a task of the event loop in `polls`, so that a slow cluster delays no other. A reading is replaced as a whole. If
a poll fails, the last verdict is kept. Its age is checked when the reading is asked for, so a verdict also becomes old
if a poll hangs. A node whose Jolokia stops answering is a suspect at once: Cassandra itself needs 18
to 37 s to convict it.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from bisect import bisect_left
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ringcheck.agent.bugs import located_bug
from ringcheck.agent.clock import LeaseAges
from ringcheck.agent.judging import Given, Judging
from ringcheck.agent.levels import LevelBook, levels_of
from ringcheck.agent.polls import InThread
from ringcheck.agent.prometheus import follow
from ringcheck.core.maintenance import Maintenance
from ringcheck.errors import DataError, RingcheckError, SourceError
from ringcheck.http.timing import step
from ringcheck.leases.configured import open_store
from ringcheck.report.reading import BUCKETS, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.agent.polls import PollLoop, PollRunner
    from ringcheck.agent.recorder import Recorder
    from ringcheck.config.values import Cluster
    from ringcheck.core.evidence import State
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.observed import Observed
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import LoopSource, Source
    from ringcheck.core.verdict import Verdict
    from ringcheck.leases.store import Store
    from ringcheck.report.reading import Durations

    Listener = Callable[[Reading], object]

MAX_AGE_INTERVALS = 3  # intervals for which a verdict is current: two polls in a row may fail
MIN_AGE = 10.0  # seconds for which it is current at least: with a short interval one failed poll must not make it old
JITTER = 0.1  # share of the interval by which polls vary, so that clusters are not all polled at once
LEASE_SECONDS = 2.0  # deadline of a step at the lease store
MIN_DEADLINE = 1.0  # seconds that a poll may take at least
WRITTEN_SECONDS = 0.5  # seconds that a reading with changes waits for the state file; this delays no later poll


def deadline_of(interval: float) -> float:
    """Seconds that one poll may take: it ends before the next is due."""
    return max(MIN_DEADLINE, 0.8 * interval)


class Watch:
    """One cluster, polled again and again."""

    def __init__(
        self,
        cluster: Cluster,
        interval: float,
        publish: Listener,
        clock: Callable[[], float],
        recorder: Recorder | None = None,
    ) -> None:
        """Prepare; nothing is polled before `start`.

        Args:
            cluster: what to poll, and the policy of its verdict.
            interval: seconds from the start of one poll to the start of the next.
            publish: called with each new reading.
            clock: monotonic seconds.
            recorder: keeps what polls change; None to keep nothing.
        """
        self.cluster = cluster
        self.interval = interval
        self.reading = Reading(
            cluster=cluster.name, holders=None if cluster.lease else (), store_asked=cluster.lease is None
        )
        self.beat = clock()
        self._publish = publish
        self._clock = clock
        self._recorder = recorder
        self.levels = levels_of(recorder.levels if recorder else LevelBook(), cluster)
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._started = False
        self._hurried = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now: asyncio.Event | None = None  # set to poll at once
        self._asked = threading.Lock()
        self._streams = False  # whether the next poll asks for streams too
        self._begun = 0  # polls
        self.answer: tuple[int, Reading] | None = None  # number and reading of the last poll that `ask` requested
        self._source: Source | LoopSource | None = None
        self._store: Store | None = None
        self._ages = LeaseAges(steady=clock)
        self._good_at: float | None = None
        self._due: float | None = None  # when the next poll begins; None while one is under way
        self._judging = Judging(cluster.gate)
        self._trusted: frozenset[str] = frozenset()  # nodes whose Jolokia answered when they were last up

    def start(self, loop: PollLoop, delay: float = 0.0) -> None:
        """Start to poll on a loop, after a delay in seconds."""
        self._started = True
        loop.spawn(self._run(loop, delay))
        if self.levels and self.cluster.observing and self.cluster.observing.prometheus:
            loop.spawn(follow(self.levels, self.cluster.observing, loop, self._stop))

    def hurry(self) -> None:
        """Poll now."""
        self._hurried = True
        if self._loop and self._now:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._now.set)

    def ask(self) -> int:
        """Poll now, streams included; once that poll is over, the number in `answer` exceeds the one returned."""
        with self._asked:
            self._streams = True
            begun = self._begun
        self.hurry()
        return begun

    def stop(self) -> None:
        """Ask the watch to end, without waiting for the current poll."""
        self._stop.set()
        self.hurry()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the watch, and return whether it has ended or was never started."""
        return not self._started or self._ended.wait(seconds)

    @property
    def stopped(self) -> bool:
        """Whether the watch was asked to end: it publishes no more readings."""
        return self._stop.is_set()

    def set_interval(self, interval: float) -> None:
        """Change the interval; all that is known is kept."""
        if interval != self.interval:
            self.interval = interval
            self.beat = self._clock()  # a pause of the old length does not count as a hanging poll
            self.hurry()

    def makes_progress(self) -> bool:
        """Whether polls continue: none hangs far beyond its deadline."""
        allowed = self.interval * (1 + JITTER) + 2 * deadline_of(self.interval) + 4 * LEASE_SECONDS
        return self._clock() - self.beat < allowed

    def present(self) -> Reading:
        """The last reading, with `fresh` as it is now."""
        max_age = max(MIN_AGE, MAX_AGE_INTERVALS * self.interval)
        old = self._good_at is None or self._clock() - self._good_at > max_age
        reading = self.reading
        return reading if reading.fresh is not old else replace(reading, fresh=not old)

    def rest_left(self) -> float | None:
        """Seconds until the next poll begins; None while one is under way."""
        due = self._due
        return None if due is None else max(0.0, due - self._clock())

    # The polls

    async def _run(self, loop: PollLoop, delay: float) -> None:
        self._loop, self._now = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self._rest(loop, 0.0 if self._hurried else delay)
            while not self._stop.is_set():
                self._now.clear()
                begins, self._due = self._clock(), None
                with suppress(MemoryError):  # even the report of an error needs memory; the last reading becomes old
                    await self._turn(loop)
                pause = self.interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
                self._due = begins + pause
                await self._rest(loop, pause - (self._clock() - begins))
        finally:
            self._close()
            self._ended.set()

    async def _rest(self, loop: PollLoop, seconds: float) -> None:
        """Wait until the time is over or a poll is wanted at once, then for its turn; not if the watch is to end."""
        assert self._now  # noqa: S101 - set by `_run`
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), seconds)
        if not self._stop.is_set():
            await loop.turn()

    def turn(self) -> None:
        """Poll once in this thread, and publish the reading; not for use after `start`."""
        try:
            self._turn(InThread()).send(None)
        except StopIteration:
            return
        raise AssertionError("a poll in one thread waits for nothing")

    async def _turn(self, runner: PollRunner) -> None:
        begins = self.beat = self._clock()
        with self._asked:
            self._begun += 1
            streams, self._streams = self._streams, False
        with step("poll", self.cluster.name):
            self.reading = await self._recorded(runner, await self._read(runner, begins, streams=streams))
        if self.reading.error is None:
            self._good_at = begins  # some of it may have been read right after the poll began
        if streams:  # kept apart: the next poll may be over before the caller of `ask` looks
            self.answer = self._begun, self.present()
        if not self._stop.is_set():
            self._publish(self.present())

    async def _recorded(self, runner: PollRunner, reading: Reading) -> Reading:
        """The reading with the times of its facts; its changes are in the file, unless the disk is slow or full."""
        if self._recorder is None or self._stop.is_set():
            return reading
        with step("record"):
            dated, written = await runner.judge(partial(self._recorder.note, reading))
            if written:
                await runner.wait(written, WRITTEN_SECONDS)
        return dated

    def _close(self) -> None:
        self._judging.close()
        for resource in (self._source, self._store):
            if resource is not None:
                resource.close()

    async def _read(self, runner: PollRunner, begins: float, *, streams: bool) -> Reading:
        try:
            reading = await self._poll(runner, streams=streams)
        except RingcheckError as error:
            reading = self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - a bug is reported and must not end the watch
            reading = self._failed(located_bug(error))
        requests = dict(self._source.counts.requests) if self._source else {}
        return replace(reading, polls=_with(reading.polls, self._clock() - begins), requests=requests)

    def _failed(self, error: str, *, silent: bool = False) -> Reading:
        """A failed poll: no node may restart. If no node answered, all nodes that did before are suspects."""
        suspects = self._suspects(self.reading.verdict, frozenset()) if silent and self.reading.verdict else frozenset()
        unknown = replace(self.reading, restart_safe=None, restart_cures=None)
        return replace(unknown, error=error, suspects=suspects, store_asked=False)

    async def _poll(self, runner: PollRunner, *, streams: bool) -> Reading:
        try:
            with step("ask"):
                seen = await self._snapshot(runner, streams=streams)
        except RingcheckError as error:
            failed = self._failed(str(error), silent=isinstance(error, SourceError | DataError))
            _, holders = await self._read_leases(runner)
            return replace(failed, holders=self._shown_holders(holders), store_asked=True)
        maintenance, holders = await self._read_leases(runner)
        with step("judge"):  # includes the wait for a thread; the step `assess` is the work alone
            return await runner.judge(partial(copy_context().run, self._judged, seen, maintenance, holders))

    async def _read_leases(self, runner: PollRunner) -> tuple[Maintenance | None, tuple[Holder, ...] | None]:
        with step("leases"):
            return await runner.read_store(partial(copy_context().run, self._leases))

    async def _snapshot(self, runner: PollRunner, *, streams: bool) -> Snapshot:
        """The cluster as it is now.

        Raises:
            RingcheckError: it could not be read. After the first snapshot, SourceError and DataError mean that no node
                answered.
        """
        if self._source is None:
            self._source = runner.open(self.cluster)
        seen = await runner.poll(self._source, deadline_of(self.interval), streams=streams)
        return replace(seen, cluster=self.cluster.name)

    def _judged(self, seen: Snapshot, maintenance: Maintenance | None, holders: tuple[Holder, ...] | None) -> Reading:
        observed = self._observed(seen)
        self._judging.look(seen)
        given = Given(
            policy=self.cluster.policy_with(observed, "nothing records them"),
            maintenance=maintenance,
            lasting=self._recorder.overdue(self.cluster, seen) if self._recorder else (),
            holders=holders,
        )
        with step("assess"):
            judgement = self._judging.judge(seen, given)
        verdict, safe = judgement.verdict, judgement.safe
        up = _in_state(verdict, "up")
        answering = frozenset(node.address for node in seen.nodes if node.source == "ok")
        suspects = self._suspects(verdict, answering)
        # Trust outlives an unknown state: a killed node stays a suspect through a poll without a usable view.
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
            observed=observed,
            holders=self._shown_holders(holders),
            store_asked=True,
            lease_ages=maintenance.ages if maintenance else {},
        )

    def _observed(self, seen: Snapshot) -> Observed | None:
        """The levels that clients use; None if nothing depends on them."""
        observing = self.cluster.observing
        return self.levels.note(observing, seen) if self.levels and observing else None

    def _shown_holders(self, holders: tuple[Holder, ...] | None) -> tuple[Holder, ...] | None:
        """An unreadable default lock file is not a failing lease store: none was configured."""
        return () if holders is None and self.cluster.lease is None else holders

    def _leases(self) -> tuple[Maintenance | None, tuple[Holder, ...] | None]:
        """What leases excuse, and their holders; None for holders that could not be read.

        A cluster without `lease:` excuses nothing, but holders in the default lock file still count for the gate.
        """
        lease = self.cluster.lease
        try:
            if self._store is None:
                self._store = open_store(self.cluster, LEASE_SECONDS)
            holders = self._store.holders()
        except RingcheckError as error:
            return Maintenance((), lease.deadline, str(error)) if lease else None, None
        ages = self._ages.of(holders, lease.deadline) if lease else {}
        return Maintenance(holders, lease.deadline, ages=ages) if lease else None, holders

    def _suspects(self, verdict: Verdict, answering: frozenset[str]) -> frozenset[str]:
        """Nodes whose Jolokia answered before and does not now, although no view sees them down."""
        return (_in_state(verdict, "up") & self._trusted) - answering


def _in_state(verdict: Verdict, *states: State) -> frozenset[str]:
    nodes = zip(verdict.snapshot.nodes, verdict.states, strict=True)
    return frozenset(node.address for node, state in nodes if state in states)


def _with(durations: Durations, seconds: float) -> Durations:
    counts = list(durations.counts)
    counts[bisect_left(BUCKETS, seconds)] += 1
    return replace(durations, counts=tuple(counts), total=durations.total + seconds)
