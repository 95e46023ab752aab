"""Keeps each cluster's current facts, and since when they hold; passes changes to the writer of the state file.

Works in memory: after a restart it begins anew until the state file can be read. The changes of a poll are put into the
queue before its reading is shown; the watch waits for the commit, but only for a moment.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ringcheck.agent.clock import ClockWatch
from ringcheck.agent.levels import LevelBook
from ringcheck.agent.webhooks import letters
from ringcheck.core.events import ANNOUNCED, noticed
from ringcheck.core.evidence import evidence_of
from ringcheck.core.overdue import overdue
from ringcheck.core.since import continued, moved, resumed
from ringcheck.core.transitions import Key, Transition, carried, dated, facts_of, kept, transitions, utc
from ringcheck.history import entries
from ringcheck.history.entries import Changes
from ringcheck.history.levels import SaveEvidence, drop_evidence

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
    from concurrent.futures import Future
    from pathlib import Path

    from ringcheck.config.values import Cluster, Webhook
    from ringcheck.core.findings import Finding
    from ringcheck.core.gate import Decision
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.transitions import Known
    from ringcheck.history.entries import FullState
    from ringcheck.history.outbox import Letter
    from ringcheck.history.writer import Loaded, Write, Writer
    from ringcheck.report.reading import Reading

BLIND = 60_000  # milliseconds of failing polls after which a state that is new may have begun long before
LOAD_SECONDS = 5.0  # seconds that the start waits for the state file, at most
REMEMBERED = 1000  # questions to the gate whose last answer is remembered, so that the same refusal is kept once


class Recorder:
    """The past of all clusters; thread-safe."""

    def __init__(
        self,
        writer: Writer | None = None,
        clock: Callable[[], float] = time.time,
        complain: Callable[[Exception], object] = lambda _: None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is known before `start`.

        Args:
            writer: writes the state file; None for no file.
            clock: Unix seconds.
            complain: called with an unexpected error.
            steady: seconds of a clock that can't be set.

        Attributes:
            levels: the evidence of the levels that clients use.
        """
        self.writer = writer
        self._clock = clock
        self._complain = complain
        self._guard = threading.Lock()
        self._known: dict[str, dict[Key, Known]] = {}
        self._resumed: dict[str, int] = {}  # clusters of the file that were not polled yet: when they last could be
        self._announced: dict[str, dict[Key, Known]] = {}  # what events have announced
        self._watched: tuple[str, ...] | None = None  # clusters to keep; None for all
        self.webhooks: tuple[Webhook, ...] = ()
        self._clock_watch = ClockWatch(clock, steady)
        self._begun = int(clock() * 1000)  # when this process began, by the clock as it is set now
        self._adopted = writer is None
        self._answers: OrderedDict[tuple[str, ...], tuple[str, ...]] = OrderedDict()
        self.levels = LevelBook(self._save_evidence, clock, steady)

    def _save_evidence(self, cluster: str, source: str, values: Mapping[str, object]) -> None:
        if self.writer is not None:
            self.writer.keep(cluster, source, SaveEvidence.of(cluster, source, values))

    @property
    def path(self) -> Path | None:
        """The state file; None if none is configured."""
        return self.writer.path if self.writer else None

    @property
    def works(self) -> bool | None:
        """Whether the state file can be written; None if none is configured."""
        return self.writer.works if self.writer else None

    def start(self) -> None:
        """Read what the state file knows, and begin to write it."""
        if self.writer is None:
            return
        self.writer.start(self._whole, self._adopt)
        with suppress(TimeoutError):  # it is adopted later
            self.writer.loaded.result(LOAD_SECONDS)

    def _adopt(self, loaded: Loaded) -> Write:
        """Use what the state file held, also of clusters that were polled before it could be opened.

        Returns a write of the times that are other ones now.
        """
        self.levels.load(loaded.evidence)
        known, announced = _facts_and_announcements(loaded.state)
        with self._guard:
            self._now()
            unwatched = self._begun - loaded.alive if loaded.alive else 0
            known, announced = (
                {cluster: resumed(facts, unwatched, self._begun) for cluster, facts in state.items()}
                for state in (known, announced)
            )
            self._resumed = dict.fromkeys(known.keys() - self._known.keys(), loaded.alive) if loaded.alive else {}
            polled = known.keys() & self._known.keys()
            self._known |= {cluster: continued(facts, self._known.get(cluster, {})) for cluster, facts in known.items()}
            self._announced |= announced
            self._adopted = True
            now = self._state()
            if polled and self.writer:  # after what their polls have put into the queue
                self.writer.put(partial(_put_all, {cluster: now[cluster] for cluster in polled}))
            corrected = {name: _differences(facts, now[name])[0] for name, facts in loaded.state.items()}
        if self._watched is not None:
            self.keep(self._watched)
        return partial(_put_all, corrected)

    def stop(self, seconds: float) -> bool:
        """Write the remaining changes. Returns whether that was done in time."""
        return self.writer is None or self.writer.close(seconds)

    # Polls

    def note(self, reading: Reading) -> tuple[Reading, Future[None] | None]:
        """Note a poll.

        Returns:
            The reading with the times since when its facts hold, and a future that is done once its changes are in the
                file: None if there are no changes, or waiting would be useless.
        """
        try:
            return self._noted(reading)
        except Exception as error:  # noqa: BLE001 - a bug here must not cost the verdict
            self._complain(error)
            return reading, None

    def overdue(self, cluster: Cluster, seen: Snapshot) -> tuple[Finding, ...]:
        """The findings about states that have lasted too long, by what was known before this poll."""
        with self._guard:
            at, known = self._now(), self._known.get(cluster.name, {})
        return tuple(overdue(evidence_of(seen), known, at, cluster.limits))

    def _noted(self, reading: Reading) -> tuple[Reading, Future[None] | None]:
        with self._guard:
            at = self._now()
            known = self._known.get(reading.cluster, {})
            before = {key: entry.fact for key, entry in known.items()}
            facts = facts_of(reading, before)
            found = [*self._resumption(reading.cluster, at), *transitions(before, facts)]
            watched = _watched(known, at) and not any(change.kind == "agent" for change in found)
            after = self._known[reading.cluster] = carried(known, facts, at, watched=watched)
            events, changed = self._announce(reading, known, after, at, len(found))
            written = self._put(reading.cluster, at, found, changed, events)
        verdict = dated(reading.verdict, after) if reading.verdict else None
        since = utc(after[Key("polls", "")].since) if reading.error else None
        return replace(reading, verdict=verdict, failing_since=since), written

    def _announce(
        self, reading: Reading, known: Mapping[Key, Known], after: Mapping[Key, Known], at: int, found: int
    ) -> tuple[list[Letter], tuple[dict[Key, Known], set[Key]]]:
        """The events of a poll with so many entries, and how the file differs after it.

        If all of it does not fit in memory, there are no events: a later poll makes them.
        """
        announced = self._announced.get(reading.cluster, {})
        events, now_announced = self._events(reading, announced, after, at)
        changed = _differences({**known, **announced}, {**after, **now_announced})
        if events and self.writer and not self.writer.fits(_weight(found, changed[0], events)):
            events, now_announced = [], announced
            changed = _differences(known, after)
        self._announced[reading.cluster] = now_announced
        return events, changed

    def _events(
        self, reading: Reading, announced: dict[Key, Known], facts: Mapping[Key, Known], at: int
    ) -> tuple[list[Letter], dict[Key, Known]]:
        """The events of a poll for the webhooks, and what has been announced after it.

        There are none before the state file is read: it has what was announced before the start.
        """
        if not self.webhooks or not self._adopted:
            return [], announced
        delays = {webhook.node_lost_after for webhook in self.webhooks if "node_lost" in webhook.events}
        events, after = noticed(reading, announced, facts, at, delays)
        return letters(reading.cluster, at, events, self.webhooks), after

    def _resumption(self, cluster: str, at: int) -> Iterable[Transition]:
        alive = self._resumed.pop(cluster, None)
        if alive is not None:
            yield Transition(kind="agent", subject=cluster, was=utc(alive), now=utc(at))

    def _put(
        self,
        cluster: str,
        at: int,
        found: Sequence[Transition],
        differences: tuple[dict[Key, Known], set[Key]],
        events: Sequence[Letter] = (),
    ) -> Future[None] | None:
        facts, gone = differences
        if self.writer is None or not (found or facts or gone or events):
            return None
        changes = Changes(cluster=cluster, at=at, entries=found, facts=facts, gone=gone, letters=events)
        return self.writer.put(changes, _weight(len(found), facts, events))

    def _whole(self, why: str) -> Write:
        """A write of all facts and all evidence, with an entry that says why changes are missing, if they are."""
        with self._guard:
            at, state = self._now(), self._state()
        documents = [
            SaveEvidence.of(cluster, source, values)
            for cluster, sources in self.levels.plain().items()
            for source, values in sources.items()
        ]
        return partial(_write_whole, state, documents, at, kept(why))

    def _state(self) -> FullState:
        return {cluster: {**facts, **self._announced.get(cluster, {})} for cluster, facts in self._known.items()}

    def _now(self) -> int:
        """Milliseconds of Unix time; the guard must be held.

        If the clock was set since the last call, so are the times since when facts hold: durations stay what they are.
        """
        at = int(self._clock() * 1000)
        if seconds := self._clock_watch.jump():
            at = int(self._clock() * 1000)
            self._move(int(seconds * 1000), at)
        return at

    def _move(self, milliseconds: int, at: int) -> None:
        """Move all times, and write them with a sign of life by the clock as it is set now."""
        self._begun += milliseconds
        for state in (self._known, self._announced):
            state |= {cluster: moved(facts, milliseconds) for cluster, facts in state.items()}
        if self.writer is not None and self._adopted:
            self.writer.put(partial(_put_all, self._state(), alive=at))

    # Everything else

    def keep(self, clusters: Collection[str]) -> None:
        """Forget all clusters but these; their history stays in the file until it expires."""
        self._watched = tuple(clusters)
        dropped = self.levels.keep(clusters)
        if dropped and self.writer:
            self.writer.forget(dropped)
            self.writer.put(lambda connection: drop_evidence(connection, dropped))
        with self._guard:
            gone = [name for name in self._known if name not in clusters]
            for name in gone:
                del self._known[name]
                self._resumed.pop(name, None)
                self._announced.pop(name, None)
            if gone and self.writer:
                self.writer.put(lambda connection: entries.drop_clusters(connection, gone))

    def decided(self, cluster: str, decision: Decision, asker: str) -> None:
        """Note an answer of the gate; a refusal that repeats the last one to the same question is left out.

        Args:
            cluster: its name.
            decision: the answer.
            asker: who asked.
        """
        blocking = [reason for reason in decision.reasons if reason.blocks]
        about = decision.candidates or (str(decision.newcomer),)
        question = (cluster, asker, decision.action, *about)
        answer = (decision.decision, *(reason.code for reason in blocking))
        change = Transition(
            kind="decision",
            subject=kept(", ".join(about)),
            code=blocking[0].code if blocking else "",
            now=decision.decision,
            text=kept(f"{decision.action}, asked by {asker}{f': {blocking[0].summary}' if blocking else ''}"),
        )
        with self._guard:
            repeated = self._answers.pop(question, None) == answer and decision.decision != "safe"
            self._answers[question] = answer
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
            if not repeated:
                self._put(cluster, self._now(), [change], ({}, set()))


def _watched(known: Mapping[Key, Known], at: int) -> bool:
    """Whether the polls before gave verdicts; polls that failed only for a short time count as watched."""
    polls = known.get(Key("polls", ""))
    return polls is not None and (polls.fact.value == "working" or at - polls.since < BLIND)


def _facts_and_announcements(state: FullState) -> tuple[FullState, FullState]:
    """The facts of the file, and what events have announced."""
    known: FullState = {}
    announced: FullState = {}
    for cluster, facts in state.items():
        announced[cluster] = {key: fact for key, fact in facts.items() if key.kind in ANNOUNCED}
        known[cluster] = {key: fact for key, fact in facts.items() if key.kind not in ANNOUNCED}
    return known, announced


def _put_all(state: FullState, connection: sqlite3.Connection, alive: int | None = None) -> None:
    for cluster, facts in state.items():
        entries.put_facts(connection, cluster, facts)
    if alive is not None:
        entries.stamp(connection, alive)


def _weight(found: int, facts: Sized, events: Sized) -> int:
    return 1 + found + len(facts) + len(events)


def _differences(known: Mapping[Key, Known], after: Mapping[Key, Known]) -> tuple[dict[Key, Known], set[Key]]:
    """Facts to write to the file, and keys to delete from it. A fact that differs only in its text is not written."""
    facts = {key: entry for key, entry in after.items() if key not in known or _stored(known[key]) != _stored(entry)}
    return facts, known.keys() - after.keys()


def _stored(entry: Known) -> tuple[str, str, int]:
    return entry.fact.value, entry.fact.name, entry.since


def _write_whole(
    state: FullState, documents: Iterable[SaveEvidence], at: int, why: str, connection: sqlite3.Connection
) -> None:
    entries.replace_facts(connection, state)
    for document in documents:
        document(connection)
    for cluster in state if why else ():
        gap = Transition(kind="gap", subject=cluster, text=why)
        Changes(cluster=cluster, at=at, entries=[gap], facts={}, gone=())(connection)
