"""The levels in use on an embedded cluster: counters, a proxy, the state file, and the rules that follow from them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from starlette.exceptions import HTTPException

from ringcheck.agent import levels
from ringcheck.agent.levels import LevelBook
from ringcheck.agent.observed import counts_of
from ringcheck.agent.questions import policy_for
from ringcheck.agent.recorder import Recorder
from ringcheck.agent.watch import Watch
from ringcheck.cli import following, run
from ringcheck.cli.following import observed_policy
from ringcheck.config.values import Cluster, Observing, Prometheus, Webhook
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.levels import Following
from ringcheck.core.observed import EVERY
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.core.sources import CURRENT, read_sources
from ringcheck.core.uses import Use
from ringcheck.history import database, reader
from ringcheck.history import writer as writing
from ringcheck.history.reader import Question
from ringcheck.history.writer import Limits, Writer
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.report import metrics
from ringcheck.report.history import line
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import serve
from tests.agent.embedded import polled, severity
from tests.agent.service import PATIENCE
from tests.agent.watched import watched
from tests.counterparts.daemon import await_
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading
    from ringcheck.simulator.cluster import SimNode

NAME = "orders-prod"
WINDOW = 1000.0
AUTO = Rule(
    keyspaces=("*",),
    critical=Threshold(Level.LOCAL_ONE),
    warning=Threshold(Level.LOCAL_QUORUM),
    auto=frozenset({"critical", "warning"}),
)
HIGH = 60  # queries that the simulated clients make


class Clock:
    time = 2_000_000_000.0

    def __call__(self) -> float:
        return self.time


class Scene:
    """Six nodes in two datacenters, and a watch on them whose levels follow the queries."""

    def __init__(self, cluster: EmbeddedCluster, configured: Cluster, book: Recorder, clock: Clock) -> None:
        self.cluster = cluster
        self.configured = configured
        self.clock = clock
        self.book = book
        self.watch = Watch(configured, 15.0, lambda _: None, clock, book)

    def poll(self, seconds: float = 60.0) -> Reading:
        """The reading of a poll made this many seconds after the last one."""
        self.clock.time += seconds
        return polled(self.watch)

    def nodes(self, datacenter: str) -> list[SimNode]:
        return [node for node in self.cluster.nodes if node.spec.datacenter == datacenter]

    def query(self, datacenter: str, *scopes: str) -> None:
        """Queries through one node of a datacenter."""
        for scope in scopes:
            self.nodes(datacenter)[0].counters[f"{scope},Latency"] += HIGH


@contextmanager
def scene(
    recorder: Recorder | None = None, clock: Clock | None = None, datacenters: int = 2, **changes: Any
) -> Iterator[Scene]:
    clock = clock or Clock()
    keyspaces = {"orders": topology(**{f"dc{number}": 3 for number in range(1, datacenters + 1)})}
    cluster = EmbeddedCluster.uniform(
        3 * datacenters, datacenters=datacenters, racks=3, vnodes=4, keyspaces=keyspaces, name=NAME, time_factor=0
    )
    for node in cluster.nodes:
        node.born_at = clock.time - 100 * WINDOW
    with serve(cluster) as server:
        settings = JolokiaSettings(contact_points=(cluster.nodes[0].address,), url=server.template, timeout=5)
        observed = Observing(following=Following(window=WINDOW), every=0.001)
        configured = Cluster(
            name=NAME, source=settings, policy=Policy((AUTO,)), gate=Gate(settle=0, level=Level.LOCAL_ONE),
            observed=observed,
        )  # fmt: skip
        yield Scene(cluster, replace(configured, **changes), recorder or Recorder(clock=clock, steady=clock), clock)


def watched_levels(reading: Reading, keyspace: str = "orders") -> set[str]:
    assert reading.verdict
    levels = next(found.levels for found in reading.verdict.keyspaces if found.name == keyspace)
    return {f"{each.level} {each.datacenter or '-'}" for each in levels}


def notes(reading: Reading, code: str) -> list[str]:
    assert reading.verdict
    return [finding.summary for finding in reading.verdict.findings if finding.code == code]


@pytest.mark.slow
def test_rules_follow_the_queries_of_each_datacenter() -> None:
    """Default levels apply at first; a level in use is watched at once in its datacenter, and lowered only later."""
    with scene() as world:
        first = world.poll()
        assert watched_levels(first) == {
            "LOCAL_ONE dc1", "LOCAL_QUORUM dc1", "LOCAL_ONE dc2", "LOCAL_QUORUM dc2",
        }  # fmt: skip
        [why] = notes(first, "levels_unclear")
        assert why.endswith("counters: 0 s of 16 min are known; the default levels apply in addition to those in use")
        world.query("dc1", "Read-LOCAL_QUORUM", "Write-LOCAL_QUORUM")
        world.query("dc2", "Read-LOCAL_ONE")
        assert {"LOCAL_ALL dc1", "LOCAL_QUORUM dc1", "LOCAL_ONE dc2"} <= watched_levels(world.poll())
        while world.clock.time < 2_000_000_000 + WINDOW + 200:
            world.query("dc2", "Read-LOCAL_ONE")
            last = world.poll(120)
        assert watched_levels(last) == {
            "LOCAL_ONE dc1", "LOCAL_QUORUM dc1", "LOCAL_ONE dc2", "LOCAL_QUORUM dc2",
        }  # fmt: skip
        assert notes(last, "levels_unclear") == []
        [change] = notes(last, "level_changed")
        assert change == "clients use LOCAL_ONE in dc2, before LOCAL_QUORUM in dc1, LOCAL_ONE in dc2"


@pytest.mark.slow
def test_a_lost_level_that_is_used_is_critical_and_the_gate_keeps_it() -> None:
    """Two of three nodes down are critical in the datacenter that uses LOCAL_QUORUM; elsewhere they are a warning."""
    with scene() as world:
        world.poll()
        world.query("dc1", "Write-LOCAL_QUORUM")
        reading = world.poll()
        assert severity(reading) is Severity.OK
        one, other, _ = world.nodes("dc1")
        far, farther, _ = world.nodes("dc2")
        world.cluster.down(far.index, instant=True)
        far_down = world.poll()
        assert severity(far_down) is Severity.OK
        world.cluster.down(farther.index, instant=True)
        assert severity(world.poll()) is Severity.WARNING
        for node in (far, farther):
            world.cluster.up(node.index, instant=True)
        world.cluster.down(one.index, instant=True)
        reading = world.poll()
        assert severity(reading) is Severity.WARNING  # LOCAL_ALL
        assert reading.error is None
        assert reading.restart_safe is not None
        assert other.address not in reading.restart_safe
        assert far.address in reading.restart_safe
        world.cluster.down(other.index, instant=True)
        assert severity(world.poll()) is Severity.CRITICAL


@pytest.mark.parametrize("policy", [Policy((AUTO,)), Policy()])
def test_the_gate_waits_for_the_first_evidence(policy: Policy) -> None:
    """One reading of the counters shows no query. This also holds if no rule is `auto` but `observed` is configured."""

    def answer(reading: Reading | None) -> tuple[str, bool]:
        decision = Gatekeeper(seen, policy_for(reading, world.configured), world.configured.gate).decide([node])
        [reason] = [reason for reason in decision.reasons if reason.code == "levels_unclear"]
        return decision.decision, reason.blocks

    with scene(policy=policy) as world:
        first = world.poll()
        assert first.verdict
        seen, node = first.verdict.snapshot, world.nodes("dc1")[0].address
        assert answer(None) == ("unknown", True)
        assert answer(first) == ("unknown", True)
        assert first.restart_safe == frozenset()
        second = world.poll()
        assert answer(second) == ("safe", False)
        assert second.restart_safe
        assert node in second.restart_safe


@pytest.mark.slow
def test_a_proxy_that_was_removed_is_forgotten() -> None:
    """Its counters must first be known for a window in which it was silent; until then the window is incomplete."""
    with scene() as world:
        observing = world.configured.observing
        assert observing
        assert world.watch.levels
        world.poll()
        world.watch.levels.report(observing, {Use("orders", "dc1", Level.QUORUM, "read"): 1})
        while world.clock.time < 2_000_000_000 + WINDOW - 100:
            last = world.poll(120)
            assert last.observed
            assert last.observed.unclear
            assert "QUORUM -" in watched_levels(last)
        last = world.poll(300)
        assert last.observed
        assert last.observed.unclear == ()
        assert "QUORUM -" not in watched_levels(last)


def test_each_proxy_with_a_name_is_a_source_of_its_own() -> None:
    """The silence of one is seen while another reports: its level stays."""
    clock, observing = Clock(), Observing(following=Following(window=20 * WINDOW))
    known = LevelBook(clock=clock).of(NAME)
    known.report(observing, {Use("orders", "dc1", Level.QUORUM): 1}, "east")
    for _ in range(30):
        known.report(observing, {Use("orders", "dc1", Level.LOCAL_ONE): 1}, "west")
        clock.time += WINDOW
    seen = known.sources.observed(clock.time, observing.following, ("dc1", "dc2"), 0)
    assert "proxy east: nothing was read for 8 h" in seen.unclear
    assert {used.level for used in seen.of("orders")} == {Level.QUORUM, Level.LOCAL_ONE}


@pytest.mark.slow
@pytest.mark.parametrize("read", [True, False])
def test_a_prometheus_that_was_removed_is_forgotten(read: bool) -> None:  # noqa: FBT001 - a case
    """That is so if the configuration has none, once the counters are known for a window without it."""
    with scene() as world:
        observing = world.configured.observing
        assert observing
        assert world.watch.levels
        world.poll()
        if read:
            world.watch.levels.sample(observing, {"x": (Use("orders", "dc1", Level.QUORUM), 1)}, "")
            world.watch.levels.sample(observing, {"x": (Use("orders", "dc1", Level.QUORUM), 2)}, "")
        else:
            world.watch.levels.fail("refused")
        while world.clock.time < 2_000_000_000 + WINDOW - 100:
            last = world.poll(120)
            assert last.observed
            assert last.observed.unclear
            assert ("QUORUM -" in watched_levels(last)) is read
        last = world.poll(300)
        assert last.observed
        assert last.observed.unclear == ()
        assert "QUORUM -" not in watched_levels(last)
        asked = replace(observing, prometheus=Prometheus(url="http://127.0.0.1:9", query="q"))
        sources = world.watch.levels.sources
        assert sources.observed(world.clock.time, asked.following, ("dc1", "dc2"), asked.interval).unclear


def test_a_node_that_does_not_answer_lowers_nothing() -> None:
    """The clients of a node that does not answer may use any level, however long its silence lasts."""
    with scene() as world:
        world.poll()
        world.query("dc1", "Write-LOCAL_QUORUM")
        world.poll()
        world.cluster.set_fault(5, Fault("status", status=500))
        for _ in range(6):
            last = world.poll(WINDOW / 2)
        assert "LOCAL_ALL dc1" in watched_levels(last)
        assert world.cluster.nodes[5].address in notes(last, "levels_unclear")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keyspace", "datacenter", "why"),
    [
        ("orders", "DC2", "the cluster has no datacenter DC2"),
        ('"orders"', "dc2", 'the cluster has no keyspace "orders"'),
        ("orders", "dc2", ""),
        ("", "dc2", ""),
        ("system", "", ""),
    ],
)
def test_names_that_the_cluster_does_not_have_count_for_all(keyspace: str, datacenter: str, why: str) -> None:
    """A proxy may write a name differently: its queries must not be lost."""
    with scene(policy=Policy((AUTO,), auto_datacenters=True)) as world:
        observing = world.configured.observing
        assert observing
        assert world.watch.levels
        for _ in range(7):
            world.watch.levels.report(
                observing,
                {Use(keyspace, datacenter, Level.LOCAL_QUORUM): 1, Use("orders", "dc1", Level.LOCAL_ONE): 1},
            )
            last = world.poll(250)
        assert last.observed
        if keyspace != "system":
            assert "LOCAL_QUORUM dc2" in watched_levels(last)
            assert "LOCAL_ALL dc2" in watched_levels(last)
        unclear = [text for text in last.observed.unclear if text.startswith("proxy: ")]
        assert unclear == ([f"proxy: {why}"] if why else [])
        again = LevelBook(clock=world.clock).of(NAME)
        again.load({"levels": world.watch.levels.sources.plain_current()})
        assert again.sources.keyspaces == world.watch.levels.sources.keyspaces


def test_a_level_after_none_is_a_change(tmp_path: Path) -> None:
    """A restart of the agent makes no difference."""
    clock, path = Clock(), tmp_path / "state.db"
    first = recorded(path, clock)
    with scene(first, clock) as world:
        for _ in range(5):
            last = world.poll(250)
        assert notes(last, "level_changed") == []
        assert first.stop(PATIENCE)
        second = recorded(path, clock)
        again = Scene(world.cluster, world.configured, second, clock)
        again.query("dc1", "Write-ALL")
        assert notes(again.poll(), "level_changed") == ["clients use ALL, before none"]
        assert second.stop(PATIENCE)


def test_client_datacenters_follow() -> None:
    """Once a whole window is known, a datacenter without clients is no longer watched."""
    with scene(policy=Policy((AUTO,), auto_datacenters=True)) as world:
        world.poll()
        world.query("dc1", "Write-LOCAL_QUORUM")
        assert "LOCAL_ONE dc2" in watched_levels(world.poll())
        for _ in range(5):
            world.query("dc1", "Write-LOCAL_QUORUM")
            last = world.poll(250)
        assert watched_levels(last) == {"LOCAL_QUORUM dc1", "LOCAL_ALL dc1"}


def test_a_datacenter_that_only_scans_is_watched() -> None:
    """The clients of a datacenter for analytics may make no other queries."""
    with scene(policy=Policy((AUTO,), auto_datacenters=True)) as world:
        world.poll()
        for _ in range(5):
            world.query("dc1", "Write-LOCAL_QUORUM")
            world.query("dc2", "RangeSlice")
            last = world.poll(250)
        assert notes(last, "levels_unclear") == []
        assert {"LOCAL_ONE dc2", "LOCAL_QUORUM dc2"} <= watched_levels(last)
        for node in world.nodes("dc2"):
            world.cluster.down(node.index, instant=True)
        assert severity(world.poll()) is Severity.CRITICAL


def test_logins_raise_nothing() -> None:
    """On 5.0, logins read system_auth at LOCAL_QUORUM and QUORUM."""
    with scene() as world:
        world.poll()
        for _ in range(3):
            world.query("dc1", "Read-LOCAL_QUORUM", "Read-QUORUM")
            world.nodes("dc1")[0].counters["system_auth.roles,CoordinatorReadLatency"] += 2 * HIGH
            last = world.poll()
        assert last.observed
        assert last.observed.of(EVERY) == ()
        world.query("dc1", "Read-LOCAL_QUORUM")
        assert "LOCAL_ALL dc1" in watched_levels(world.poll())


def recorded(path: Path, clock: Clock) -> Recorder:
    writer = Writer(path, Limits(), lambda state, why: pytest.fail(f"{state}: {why}"), clock)
    found = Recorder(writer, clock, lambda error: pytest.fail(repr(error)), clock)
    found.start()
    return found


def test_the_evidence_outlives_the_agent(tmp_path: Path) -> None:
    """A new process knows the levels and the window; a use while the agent was off is reported as a change."""
    clock, path = Clock(), tmp_path / "state.db"
    first = recorded(path, clock)
    with scene(first, clock) as world:
        world.poll()
        world.query("dc1", "Write-LOCAL_QUORUM")
        world.poll()
        assert first.stop(PATIENCE)
        world.query("dc2", "Write-ALL")
        clock.time += 250
        second = recorded(path, clock)
        again = Scene(world.cluster, world.configured, second, clock)
        reading = again.poll()
        assert "ALL -" in watched_levels(reading)
        assert second.levels.of(NAME).sources.of("counters").known(clock.time, WINDOW) == 370
        assert notes(reading, "level_changed") == ["clients use ALL, before LOCAL_QUORUM in dc1"]
        assert second.stop(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize(("early", "known"), [(2, "4 min"), (1, "2 min")])
def test_evidence_of_a_file_that_is_opened_late_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: int, known: str
) -> None:
    """Another agent may still have the file; some readings since the start leave no gap between both evidences."""
    monkeypatch.setattr(writing, "RETRY", 0.02)
    monkeypatch.setattr(levels, "EARLY", early)
    clock, path = Clock(), tmp_path / "state.db"
    first = recorded(path, clock)
    with scene(first, clock) as world:
        world.poll()
        world.query("dc1", "Write-ALL")
        world.poll()
        assert first.stop(PATIENCE)
        with database.locked(path):
            second = Recorder(Writer(path, Limits(), lambda *_: None, clock), clock, steady=clock)
            second.keep([NAME])
            second.start()
            again = Scene(world.cluster, world.configured, second, clock)
            again.poll()
            world.query("dc1", "Write-LOCAL_QUORUM")
            assert "ALL -" not in watched_levels(again.poll())
        await_(lambda: bool(second.works), PATIENCE, "the file is not opened")
        reading = again.poll()
        assert "ALL -" in watched_levels(reading)
        assert f"counters: {known} of 16 min are known" in notes(reading, "levels_unclear")[0]
        assert second.stop(PATIENCE)
    written = read_sources(reader.evidence(path, NAME)).of("counters")
    assert {str(use.level) for use in written.uses} == {"ALL", "LOCAL_QUORUM"}


@pytest.mark.slow
def test_a_clock_that_is_set_lowers_nothing() -> None:
    """Only the clock of the host was set, so the window begins anew, whether it is ahead or right again."""
    clock, steady = Clock(), Clock()
    with scene(Recorder(clock=clock, steady=steady), clock) as world:
        world.poll()
        world.query("dc1", "Write-LOCAL_QUORUM")
        last = world.poll()
        for _ in range(9):
            steady.time += 105
            last = world.poll(105)
        assert notes(last, "levels_unclear") == []
        for leap in (30 * WINDOW, -30 * WINDOW):
            steady.time += 60
            last = world.poll(leap)
            assert "LOCAL_ALL dc1" in watched_levels(last)
            assert "counters: 0 s of 16 min are known" in notes(last, "levels_unclear")[0]


def test_all_evidence_is_written_anew_after_the_file_was_removed(tmp_path: Path) -> None:
    """This holds for the levels in use too, which are written otherwise only when they change."""
    clock, path = Clock(), tmp_path / "state.db"
    recorder = Recorder(Writer(path, Limits(), lambda *_: None, clock), clock, steady=clock)
    recorder.start()
    with scene(recorder, clock) as world:
        world.poll()
        world.query("dc1", "Write-LOCAL_QUORUM")
        world.poll()
        await_(lambda: "levels" in reader.evidence(path, NAME), PATIENCE, "the levels are not written")
        path.unlink()
        world.poll()
        assert recorder.stop(PATIENCE)
    assert set(reader.evidence(path, NAME)) == {"counters", "levels"}


@pytest.mark.slow
def test_a_change_is_an_event_and_an_entry_of_the_history(tmp_path: Path) -> None:
    """This holds for a rise and for a fall; an agent that starts while a change is still shown repeats neither."""
    clock, path = Clock(), tmp_path / "state.db"
    first = recorded(path, clock)
    first.webhooks = (Webhook(name="hook", url="http://127.0.0.1:9/", secret_file=""),)
    with scene(first, clock) as world:
        world.query("dc1", "Read-LOCAL_ONE")
        world.poll()
        world.query("dc1", "Read-LOCAL_ONE")
        world.poll()
        world.query("dc1", "Read-LOCAL_QUORUM")
        world.poll()
        assert changes_of_level(path) == [("LOCAL_ONE in dc1", "LOCAL_QUORUM in dc1")]
        assert first.stop(PATIENCE)
        second = recorded(path, clock)
        second.webhooks = first.webhooks
        again = Scene(world.cluster, world.configured, second, clock)
        again.poll()
        assert len(changes_of_level(path)) == 1
        for _ in range(12):
            again.query("dc1", "Read-LOCAL_ONE")
            again.poll(100)
        assert second.stop(PATIENCE)
    risen_and_fallen = [
        ("LOCAL_ONE in dc1", "LOCAL_QUORUM in dc1"),
        ("LOCAL_QUORUM in dc1", "LOCAL_ONE in dc1"),
    ]
    assert changes_of_level(path) == risen_and_fallen
    page = reader.page(path, Question(cluster=NAME, order="oldest", kinds=("level",)))
    entries = [(entry.change.was, entry.change.now) for entry in page.entries]
    assert entries[-2:] == risen_and_fallen
    assert line(page.entries[-1].change) == "clients use LOCAL_ONE in dc1 (was LOCAL_QUORUM in dc1)"


def changes_of_level(path: Path) -> list[tuple[str, str]]:
    """The changes of levels in the queue for webhooks, each with the old and the new level."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT body FROM outbox WHERE kind = 'level_changed' ORDER BY number"
        found = [json.loads(body)["data"] for (body,) in connection.execute(query)]
    return [(data["was"], data["now"]) for data in found if data["keyspace"] == EVERY]


def test_the_evidence_of_a_removed_cluster_is_dropped(tmp_path: Path) -> None:
    """If the cluster is added again, nothing is known about its levels."""
    clock, path = Clock(), tmp_path / "state.db"
    recorder = recorded(path, clock)
    with scene(recorder, clock) as world:
        world.poll()
        recorder.keep(["other"])
        assert recorder.levels.of(NAME).sources.evidence == {}
        assert recorder.stop(PATIENCE)
    third = recorded(path, clock)
    assert third.levels.of(NAME).sources.evidence == {}
    assert third.stop(PATIENCE)


# Commands


def by_command(world: Scene, reading: Reading, path: Path) -> Verdict:
    """The verdict of a command on the snapshot of a reading, with the levels in the state file."""
    assert reading.verdict
    seen = reading.verdict.snapshot
    return assess(seen, observed_policy(world.configured, str(path), seen))


def kept_datacenters(path: Path) -> list[str]:
    """The datacenters in the state file, once it is written."""
    evidence = reader.evidence(path, NAME)[CURRENT]
    assert isinstance(evidence, dict)
    return list(evidence["datacenters"])


@pytest.mark.slow
def test_a_command_watches_a_datacenter_that_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody queries it yet, so the levels in use stay the same: its own default levels are watched all the same."""
    clock, path = Clock(), tmp_path / "state.db"
    monkeypatch.setattr(following, "time", SimpleNamespace(time=clock))
    recorder = recorded(path, clock)
    with scene(recorder, clock, datacenters=1) as world:
        world.poll()
        world.query("dc1", "Write-LOCAL_QUORUM")
        world.poll()
    with scene(recorder, clock) as world:
        for _ in range(11):
            world.query("dc1", "Write-LOCAL_QUORUM")
            last = world.poll(100)
        assert by_command(world, last, path).severity is Severity.OK
        for node in world.nodes("dc2"):
            world.cluster.down(node.index, instant=True)
        last = world.poll(10)
        assert severity(last) is Severity.CRITICAL
        assert by_command(world, last, path).severity is Severity.CRITICAL
        assert recorder.stop(PATIENCE)
        assert kept_datacenters(path) == ["dc1", "dc2"]


@pytest.mark.slow
def test_a_command_forgets_a_datacenter_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evidence still has its queries; it is no datacenter of clients any more."""
    clock, path = Clock(), tmp_path / "state.db"
    monkeypatch.setattr(following, "time", SimpleNamespace(time=clock))
    recorder = recorded(path, clock)
    with scene(recorder, clock, policy=Policy((AUTO,), auto_datacenters=True)) as world:
        world.poll()
        for _ in range(11):
            world.query("dc1", "Write-LOCAL_QUORUM")
            world.query("dc2", "Write-LOCAL_QUORUM")
            world.poll(100)
        for node in world.nodes("dc2"):
            world.cluster.leave(node.index)
            world.cluster.finish(node.index)
        world.query("dc1", "Write-LOCAL_QUORUM")
        last = world.poll(100)
        assert by_command(world, last, path).severity is severity(last) is Severity.WARNING  # replication_without_nodes
        assert recorder.stop(PATIENCE)
        assert kept_datacenters(path) == ["dc1"]


# Proxies


def test_a_proxy_reports_by_keyspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its counts are evidence at once for API, command and metrics; through the state file `check` gets them too."""
    rules = [{"keyspaces": ["*"], "critical": "auto", "warning": "auto"}]
    with watched(tmp_path, monitor=rules, observed={"every": "1s", "window": "1h"}) as world:
        row = {"keyspace": "orders", "datacenter": "dc1", "level": "LOCAL_QUORUM", "operation": "read", "count": 12}
        answer = world.post("/api/v1/clusters/NAME/observed", {"counts": [row, row | {"level": "ANY"}]})
        assert (answer.status_code, answer.content) == (204, b"")
        document = world.get("/api/v1/clusters/NAME/levels").json()
        validate(document, "levels-1")
        [use] = document["uses"]
        assert (use["keyspace"], use["level"], use["queries"], use["source"]) == ("orders", "LOCAL_QUORUM", 12, "proxy")
        assert document["rules"][0] == {
            "keyspaces": ["orders"], "critical": "LOCAL_QUORUM", "warning": "LOCAL_ALL", "beside": [],
            "client_datacenters": ["dc1"],
        }  # fmt: skip
        assert not document["whole"]
        assert run(["levels", "--agent", world.served.url, "--cluster", NAME]) == 0
        text = capsys.readouterr().out
        assert "orders          dc1        LOCAL_QUORUM read" in text
        assert "      - keyspaces: [orders]\n        critical: LOCAL_QUORUM\n        warning: LOCAL_ALL\n" in text
        assert max(map(len, text.splitlines())) <= 80
        world.agent.fresh(NAME, PATIENCE)
        reading = world.agent.reading(NAME)
        assert reading
        assert "LOCAL_ALL dc1" in watched_levels(reading)
        exported = metrics.render(lambda: [reading])[1].decode()
        labels = 'cassandra_cluster="orders-prod",cassandra_dc="dc1",consistency_level="LOCAL_QUORUM",keyspace="orders"'
        assert f"cassandra_ring_used_level{{{labels}}} 1.0" in exported
        assert 'cassandra_ring_used_levels_known{cassandra_cluster="orders-prod"} 0.0' in exported
        assert world.post("/api/v1/clusters/other/observed", {}).status_code == 404


def test_reporters_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its evidence; their number is limited, as that of their counts."""
    monkeypatch.setattr("ringcheck.agent.observed.MOST_REPORTERS", 2)
    monkeypatch.setattr("ringcheck.agent.observed.MOST_USES", 3)
    counts = [{"level": level, "count": 1} for level in ("ONE", "TWO", "ALL")]
    with watched(tmp_path, observed={"every": "1s", "window": "1h"}) as world:

        def post(number: int, **fields: object) -> tuple[int, str]:
            answer = world.post("/api/v1/clusters/NAME/observed", {"counts": counts[:number], **fields})
            return answer.status_code, answer.json()["error"] if answer.content else ""

        assert post(1, reporter=1) == (400, "reporter must be a text of at most 64 characters")
        assert post(1, reporter="east") == (204, "")
        assert post(1, reporter="east") == (204, "")
        assert post(3) == (413, "more than 3 different counts were reported")
        assert post(2) == (204, "")
        assert post(1, reporter="west") == (413, "more than 2 reporters have reported")
        document = world.get("/api/v1/clusters/NAME/levels").json()
        assert sorted(use["source"] for use in document["uses"]) == ["proxy", "proxy", "proxy east"]


def test_observations_need_a_use(tmp_path: Path) -> None:
    """A cluster whose levels do not follow the queries refuses observations, since they would have no effect."""
    with watched(tmp_path) as world:
        answer = world.post("/api/v1/clusters/NAME/observed", {"counts": []})
        assert answer.status_code == 409
        assert answer.json()["error"] == "orders-prod has neither observed nor auto in the configuration"
        assert world.get("/api/v1/clusters/NAME/levels").status_code == 409


GOOD = {"level": "ONE", "count": 1}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"count": []}, "there is no field 'count' (known: counts, reporter)"),
        ({}, "counts must be a list"),
        ({"counts": [GOOD] * 501}, "counts must be a list of at most 500"),
        ({"counts": [GOOD | {"dc": "dc1"}]}, "each of counts is an object with"),
        ({"counts": [GOOD | {"level": "LOCAL_ALL"}]}, "there is no consistency level 'LOCAL_ALL'"),
        ({"counts": [GOOD | {"level": None}]}, "there is no consistency level"),
        ({"counts": [GOOD | {"count": -1}]}, "count must be a whole number"),
        ({"counts": [GOOD | {"count": True}]}, "count must be a whole number"),
        ({"counts": [GOOD | {"count": 1.5}]}, "count must be a whole number"),
        ({"counts": [GOOD | {"keyspace": "x" * 65}]}, "keyspace must be a text"),
        ({"counts": [GOOD | {"keyspace": "a\nb"}]}, "keyspace must be a text"),
        ({"counts": [GOOD | {"operation": "scan"}]}, "operation is read or write"),
    ],
)
def test_a_wrong_report_is_refused_whole(body: dict[str, Any], why: str) -> None:
    """The error names the field that is wrong."""
    with pytest.raises(HTTPException) as error:
        counts_of(body)
    assert error.value.status_code == 400
    assert error.value.detail.startswith(why)


def test_broken_evidence_is_missing_evidence() -> None:
    """Evidence in the state file that can't be read lowers no level: the default levels apply."""
    book = LevelBook()
    book.load({NAME: {"counters": {"uses": 3}, "levels": [], "proxy": json.loads("null")}})
    assert book.of(NAME).sources.evidence == {}
    assert book.of(NAME).sources.current is None
