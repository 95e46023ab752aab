"""The recorder: since when each state has lasted, also across restarts, and what the gate answered."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import recorder as recording
from ringcheck.agent.recorder import Recorder
from ringcheck.config.values import Webhook
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.observed import EVERY, LevelChange, Observed, Used
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.transitions import utc
from ringcheck.history import entries, reader
from ringcheck.history import writer as writing
from ringcheck.history.reader import Question
from ringcheck.history.writer import Limits, Writer
from ringcheck.report.reading import Reading
from tests import article
from tests.agent.embedded import embedded, polled, severity
from tests.agent.service import PATIENCE
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from pathlib import Path

    from ringcheck.core.gate import Decision

MIDNIGHT = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Clock:
    time = MIDNIGHT

    def __call__(self) -> float:
        return self.time


def reading(*down: str, **changes: Any) -> Reading:
    return Reading(cluster="blogs", verdict=assess(article.snapshot(down), Policy()), fresh=True, **changes)


def recorded(path: Path, clock: Clock, steady: Clock | None = None) -> Recorder:
    writer = Writer(path, Limits(), lambda state, why: pytest.fail(f"{state}: {why}"), clock)
    found = Recorder(writer, clock, lambda error: pytest.fail(repr(error)), steady or clock)
    found.start()
    return found


def since(known: tuple[Reading, Any]) -> str | None:
    assert known[0].verdict
    return known[0].verdict.since


def kinds(path: Path) -> list[tuple[str, str | None, str | None]]:
    page = reader.page(path, Question(cluster="blogs", order="oldest", limit=1000))
    return [(entry.change.kind, entry.change.was, entry.change.now) for entry in page.entries]


def decision(*nodes: str, down: str = "") -> Decision:
    return Gatekeeper(article.snapshot([down] if down else []), Policy(), Gate()).decide(list(nodes), "restart")


def test_since_is_kept_without_a_file() -> None:
    """The time is kept in memory from the first poll on; a failed poll does not change it."""
    clock = Clock()
    known = Recorder(clock=clock, steady=clock)
    known.start()
    assert since(known.note(reading())) == "2026-01-01T00:00:00Z"
    clock.time += 60
    assert since(known.note(reading())) == "2026-01-01T00:00:00Z"
    down, written = known.note(reading("10.0.0.1"))
    assert since((down, None)) == "2026-01-01T00:01:00Z"
    assert written is None
    clock.time += 60
    assert since(known.note(replace(down, error="nobody answers"))) == "2026-01-01T00:01:00Z"
    assert known.stop(0)
    assert (known.path, known.works) == (None, None)


def test_since_when_polls_fail_is_known_while_they_do() -> None:
    """It is the time of the first failed poll, whatever the others failed of."""
    clock = Clock()
    known = Recorder(clock=clock, steady=clock)
    known.start()
    assert known.note(reading())[0].failing_since is None
    clock.time += 60
    first, _ = known.note(Reading(cluster="blogs", error="no node answered"))
    clock.time += 60
    later, _ = known.note(replace(first, error="connection refused"))
    assert first.failing_since == later.failing_since == "2026-01-01T00:01:00Z"
    assert known.note(replace(later, error=None))[0].failing_since is None


def test_a_restart_keeps_since(tmp_path: Path) -> None:
    """The history also shows since when nothing was watched; changes in that time are entries of the first poll."""
    path, clock = tmp_path / "state.db", Clock()
    first = recorded(path, clock)
    _, written = first.note(reading("10.0.0.1"))
    assert written
    written.result(PATIENCE)
    clock.time += 3600
    assert first.stop(PATIENCE)
    clock.time += 600
    second = recorded(path, clock)
    again, _ = second.note(reading("10.0.0.1"))
    assert since((again, None)) == "2026-01-01T00:00:00Z"
    assert again.verdict
    assert again.verdict.states_since[0] == "2026-01-01T00:00:00Z"
    assert second.stop(PATIENCE)
    assert kinds(path)[-1] == ("agent", "2026-01-01T01:00:00Z", "2026-01-01T01:10:00Z")
    third = recorded(path, clock)
    assert since(third.note(reading())) == "2026-01-01T01:10:00Z"
    assert third.stop(PATIENCE)
    assert ("severity", "CRITICAL", "OK") in kinds(path)
    assert [kind for kind, _, _ in kinds(path)].count("agent") == 2


def begins(known: tuple[Reading, Any]) -> list[tuple[str | None, bool | None]]:
    """Since when each node has its state, and whether that was seen."""
    assert known[0].verdict
    return [(since, known[0].verdict.begin_seen(since)) for since in known[0].verdict.states_since]


def test_what_began_before_the_agent_watched_is_marked(tmp_path: Path) -> None:
    """All that the first poll shows may have lasted for long, and so may what changed while the agent was not there."""
    path, clock = tmp_path / "state.db", Clock()
    first = recorded(path, clock)
    known = first.note(reading())
    assert begins(known) == [("2026-01-01T00:00:00Z", False)] * 3
    assert known[0].verdict
    assert known[0].verdict.begin_seen(since(known)) is False
    clock.time += 60
    known = first.note(reading("10.0.0.1"))
    assert begins(known) == [("2026-01-01T00:01:00Z", True), *[("2026-01-01T00:00:00Z", False)] * 2]
    assert known[0].verdict
    assert known[0].verdict.begin_seen(since(known)) is True
    assert first.stop(PATIENCE)
    clock.time += 3540
    second = recorded(path, clock)
    known = second.note(reading("10.0.0.1", "10.0.0.2"))
    assert begins(known) == [
        ("2026-01-01T00:01:00Z", True), ("2026-01-01T01:00:00Z", False), ("2026-01-01T00:00:00Z", False),
    ]  # fmt: skip
    assert second.stop(PATIENCE)


@pytest.mark.parametrize(("seconds", "seen"), [(15, True), (600, False)])
def test_what_changed_while_polls_failed_was_not_seen_to_begin(seconds: int, *, seen: bool) -> None:
    """A poll or two may fail while a node dies; after many, the node may have been down for most of that time."""
    clock = Clock()
    known = Recorder(clock=clock, steady=clock)
    known.start()
    known.note(reading())
    clock.time += 60
    known.note(Reading(cluster="blogs", error="nobody answers"))
    clock.time += seconds
    assert begins(known.note(reading("10.0.0.1")))[0][1] is seen


def test_a_file_of_an_older_release_does_not_say_what_was_seen(tmp_path: Path) -> None:
    """Its times are kept, as those since when states have lasted at least, also before an agent opens it."""
    path, clock = tmp_path / "state.db", Clock()
    first = recorded(path, clock)
    first.note(reading())
    clock.time += 60
    first.note(reading("10.0.0.1"))
    assert first.stop(PATIENCE)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("ALTER TABLE fact DROP COLUMN seen; PRAGMA user_version=3")
    assert {entry.fact.seen for entry in reader.facts(path, "blogs").values()} == {False}
    second = recorded(path, clock)
    assert begins(second.note(reading("10.0.0.1")))[0] == ("2026-01-01T00:01:00Z", False)
    assert second.stop(PATIENCE)


def test_nothing_is_written_if_nothing_changed(tmp_path: Path) -> None:
    """A quiet cluster causes no writes to the disk."""
    known = recorded(tmp_path / "state.db", Clock())
    assert known.note(reading())[1]
    assert known.note(reading())[1] is None
    assert known.stop(PATIENCE)


def test_a_cluster_that_is_removed_is_forgotten(tmp_path: Path) -> None:
    """Its history is kept, but if the cluster is added again, it counts as seen for the first time."""
    path, clock = tmp_path / "state.db", Clock()
    known = recorded(path, clock)
    known.note(reading())
    known.keep(["other"])
    clock.time += 60
    assert since(known.note(reading())) == "2026-01-01T00:01:00Z"
    assert known.stop(PATIENCE)
    assert [kind for kind, _, _ in kinds(path)] == ["severity", "severity"]


def test_evidence_takes_no_room_from_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the file can't be written: an outage is still in the history when it can."""
    monkeypatch.setattr(writing, "MOST", 100)
    monkeypatch.setattr(writing, "RETRY", 0.02)
    path, clock = tmp_path / "none" / "state.db", Clock()
    known = Recorder(Writer(path, Limits(), lambda *_: None, clock), clock, steady=clock)
    known.start()
    for number in range(200):
        known.levels.of("blogs").fail(str(number))
    known.note(reading("10.0.0.1"))
    path.parent.mkdir()
    await_(lambda: bool(known.works), PATIENCE, "the file is not made")
    assert known.stop(PATIENCE)
    assert ("severity", None, "CRITICAL") in kinds(path)
    assert reader.evidence(path, "blogs")["prometheus"]["gaps"] == ["199"]  # type: ignore[index]  # a document


def test_answers_of_the_gate_are_kept(tmp_path: Path) -> None:
    """Every safe answer is kept; a refusal is kept once, until it differs."""
    path = tmp_path / "state.db"
    known = recorded(path, Clock())
    unsafe = decision("10.0.0.2", down="10.0.0.1")
    assert unsafe.decision == "unsafe"
    safe = replace(unsafe, decision="safe", reasons=())
    for answer in (unsafe, unsafe, safe, safe, unsafe):
        known.decided("blogs", answer, "the API")
    known.decided("blogs", unsafe, "fleetlock host-1")
    assert known.stop(PATIENCE)
    page = reader.page(path, Question(cluster="blogs", order="oldest"))
    assert [entry.change.now for entry in page.entries] == ["unsafe", "safe", "safe", "unsafe", "unsafe"]
    first = page.entries[0].change
    assert first.subject == "10.0.0.2"
    assert first.code == unsafe.reasons[0].code
    assert first.text.startswith("restart, asked by the API: ")


def test_questions_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand hosts may ask; the oldest question is forgotten first."""
    monkeypatch.setattr(recording, "REMEMBERED", 2)
    known = Recorder()
    for asker in ("a", "b", "c"):
        known.decided("blogs", decision("10.0.0.2"), asker)
    assert len(known._answers) == 2


def test_a_bug_costs_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug is reported, and the reading is shown without its history."""
    complaints: list[Exception] = []
    known = Recorder(complain=complaints.append)
    monkeypatch.setattr(recording, "transitions", lambda *_: 1 / 0)
    shown = reading()
    assert known.note(shown) == (shown, None)
    assert isinstance(complaints[0], ZeroDivisionError)


def test_a_watch_shows_what_is_in_the_file(tmp_path: Path) -> None:
    """When a reading is published its changes are already committed, and it has the times from the history."""
    path = tmp_path / "state.db"
    with embedded(name="blogs", time_factor=0) as world:
        known = recorded(path, Clock())
        watch = world.watch()
        watch._recorder = known
        assert severity(polled(watch)) is Severity.OK
        world.simulated.down(0, instant=True)
        shown = polled(watch)
        assert since((shown, None)) == "2026-01-01T00:00:00Z"
        assert ("severity", "OK", severity(shown).name) in kinds(path)
        assert ("node", "up", "down") in kinds(path)
        assert known.stop(PATIENCE)


# ---- a clock that is set, and events ----

HOOK = Webhook(name="hook", url="http://127.0.0.1:9/", secret_file="", queue=100, node_lost_after=1800.0)
HOURS = 6 * 3600.0


class Watched:
    """A recorder with a webhook and two clocks, of which only one can be set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall, self.steady = Clock(), Clock()
        self.start()

    def start(self) -> None:
        self.recorder = recorded(self.path, self.wall, self.steady)
        self.recorder.webhooks = (HOOK,)

    def restart(self, seconds: float, clock_set: float = 0.0) -> None:
        assert self.recorder.stop(PATIENCE)
        self.wall.time += seconds + clock_set
        self.steady.time += seconds
        self.start()

    def poll(self, *down: str, seconds: float = 0.0, waits: bool = True, **changes: Any) -> Reading:
        self.wall.time += seconds
        self.steady.time += seconds
        known, written = self.recorder.note(reading(*down, **changes))
        if written and waits:
            written.result(PATIENCE)
        return known

    def events(self) -> list[str]:
        """The kinds of the events that were put into the queue, in order."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [kind for (kind,) in connection.execute("SELECT kind FROM outbox ORDER BY number")]

    def event(self) -> dict[str, Any]:
        """The last event."""
        with closing(sqlite3.connect(self.path)) as connection:
            ((text,),) = connection.execute("SELECT body FROM outbox ORDER BY number DESC LIMIT 1")
        return dict(json.loads(text))


@pytest.mark.parametrize("moved", [HOURS, -HOURS], ids=["forwards", "back"])
def test_a_clock_that_is_set_changes_no_duration(tmp_path: Path, moved: float) -> None:
    """The node is lost after the time that really passed; the file and the event have times of the new clock."""
    world = Watched(tmp_path / "state.db")
    world.poll("10.0.0.1")
    world.poll("10.0.0.1", seconds=600)
    world.wall.time += moved
    world.poll("10.0.0.1", seconds=600)
    assert "node_lost" not in world.events()
    world.restart(0)
    world.poll("10.0.0.1", seconds=599)
    assert "node_lost" not in world.events()
    shown = world.poll("10.0.0.1", seconds=1)
    assert "node_lost" in world.events()
    assert world.event()["data"]["down_since"] == since((shown, None)) == utc(1000 * (MIDNIGHT + moved))
    assert world.recorder.stop(PATIENCE)


def test_a_clock_that_is_set_announces_no_level_again(tmp_path: Path) -> None:
    """The time of a change of levels is its identity, and is kept."""
    world = Watched(tmp_path / "state.db")
    change = LevelChange(keyspace="orders", was="ONE", now="ALL", at=MIDNIGHT)
    seen = Observed(keyspaces={EVERY: ()}, changes=(change,))
    world.poll(observed=seen)
    world.wall.time += 3600
    world.poll(observed=seen, seconds=60)
    world.restart(0)
    world.poll(observed=seen, seconds=60)
    assert world.events() == ["level_changed"]
    assert world.recorder.stop(PATIENCE)


@pytest.mark.parametrize("moved", [0.0, HOURS, -2 * HOURS], ids=["kept", "forwards", "back"])
def test_a_node_is_not_lost_in_a_time_without_an_agent(tmp_path: Path, moved: float) -> None:
    """Only the clock that can be set knows how long the agent did not run: that time does not count."""
    world = Watched(tmp_path / "state.db")
    world.poll("10.0.0.1")
    world.poll("10.0.0.1", seconds=900)
    for _ in range(2):
        world.restart(HOURS, moved)
    world.poll("10.0.0.1")
    assert "node_lost" not in world.events()
    world.poll("10.0.0.1", seconds=890)
    assert "node_lost" not in world.events()
    world.poll("10.0.0.1", seconds=10)
    assert world.events()[-1] == "node_lost"
    expected = MIDNIGHT + (0 if moved >= 0 else 2 * (HOURS + moved))
    assert world.event()["data"]["down_since"] == utc(1000 * expected)
    assert world.recorder.stop(PATIENCE)


@pytest.mark.parametrize("trouble", ["full", "away", "slow"])
def test_a_file_that_is_read_late_loses_no_time_and_repeats_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """If it can't be written or opened when the agent starts, what it has is used as soon as it can be read."""
    monkeypatch.setattr(writing, "RETRY", 0.02)
    monkeypatch.setattr(recording, "LOAD_SECONDS", 0.1)
    load, go = entries.load_facts, threading.Event()
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    world = Watched(home / "state.db")
    world.poll("10.0.0.1")
    world.poll("10.0.0.1", seconds=900)
    assert world.recorder.stop(PATIENCE)
    write = Writer._write
    if trouble == "full":
        monkeypatch.setattr(Writer, "_write", full_disk)
    elif trouble == "away":
        home.rename(away)
    else:
        monkeypatch.setattr(entries, "load_facts", lambda connection: (go.wait(PATIENCE), load(connection))[1])
    later = Recorder(Writer(world.path, Limits(), lambda *_: None, world.wall), world.wall, steady=world.steady)
    later.webhooks = (HOOK,)
    later.start()
    world.recorder = later
    world.poll("10.0.0.1", seconds=10, waits=False)
    shown = world.poll("10.0.0.1", seconds=10, waits=False)
    assert (since((shown, None)) == utc(1000 * MIDNIGHT)) is (trouble == "full")
    monkeypatch.setattr(Writer, "_write", write)
    go.set()
    if trouble == "away":
        away.rename(home)
    await_(lambda: bool(later.works and later.writer and later.writer.loaded.done()), PATIENCE, "an open file")
    await_(lambda: since((world.poll("10.0.0.1"), None)) == utc(1000 * MIDNIGHT), PATIENCE, "the time in the file")
    world.poll("10.0.0.1", seconds=870)
    lost_at = utc(1000 * world.wall.time + 10_000)
    world.poll("10.0.0.1", seconds=10)
    assert later.stop(PATIENCE)
    assert world.events() == ["outage", "node_lost"]
    assert world.event()["time"] == lost_at
    world.restart(0)
    assert since((world.poll("10.0.0.1"), None)) == utc(1000 * MIDNIGHT)
    assert world.recorder.stop(PATIENCE)


def full_disk(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_change_of_levels_is_in_the_history_once_across_a_restart(tmp_path: Path) -> None:
    """What was used before the restart is compared with what is used after it."""
    world = Watched(tmp_path / "state.db")

    def using(**levels: Level) -> Observed:
        return Observed(keyspaces={EVERY: (), **{name: (Used("", level),) for name, level in levels.items()}})

    world.poll(observed=using())
    world.poll(observed=using(orders=Level.ONE, users=Level.QUORUM))
    world.restart(60)
    world.poll(observed=using(orders=Level.ONE, users=Level.QUORUM))
    world.restart(60)
    world.poll(observed=Observed(keyspaces={EVERY: ()}, known=False))
    world.poll(observed=using(orders=Level.ALL))
    world.poll(observed=using(orders=Level.ALL))
    assert world.recorder.stop(PATIENCE)
    page = reader.page(world.path, Question(cluster="blogs", order="oldest", kinds=("level",)))
    assert [(entry.change.subject, entry.change.was, entry.change.now) for entry in page.entries] == [
        ("orders", "none", "ONE"),
        ("users", "none", "QUORUM"),
        ("orders", "ONE", "ALL"),
        ("users", "QUORUM", "none"),
    ]


def test_a_name_that_can_not_be_encoded_stops_no_history(tmp_path: Path) -> None:
    """A recorded snapshot may hold lone surrogates; facts, entries and events of the cluster are still written."""
    world = Watched(tmp_path / "state.db")

    def strange(*down: str) -> Reading:
        known = reading(*down)
        assert known.verdict
        seen = known.verdict.snapshot
        nodes = (replace(seen.nodes[0], host_id="a\udc80"), *seen.nodes[1:])
        return replace(known, verdict=replace(known.verdict, snapshot=replace(seen, nodes=nodes)))

    for known in (strange(), strange("10.0.0.1"), reading(), strange()):
        world.recorder.note(known)
    assert world.recorder.stop(PATIENCE)
    assert world.events() == ["outage", "recovered"]
    assert kinds(world.path)[-1] == ("node", "up", None)


def test_an_event_is_made_once_there_is_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the changes of a poll do not fit in memory, its events do not count as announced."""
    monkeypatch.setattr(writing, "RETRY", 0.02)
    world = Watched(tmp_path / "state.db")
    world.poll()
    assert world.recorder.stop(PATIENCE)
    later = Recorder(Writer(world.path, Limits(), lambda *_: None, world.wall), world.wall, steady=world.steady)
    later.webhooks = (HOOK,)
    later.start()
    world.recorder = later
    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_write", full_disk)
        patched.setattr(writing, "MOST", 5)
        world.poll("10.0.0.1", seconds=10, waits=False)
        assert later.writer
        await_(lambda: not later.works, PATIENCE, "a full disk")
    await_(lambda: bool(later.works), PATIENCE, "a disk with room")
    world.poll("10.0.0.1", seconds=10)
    assert later.stop(PATIENCE)
    assert world.events() == ["outage"]
