"""The agent's loop on embedded clusters: what a poll leaves, what age does to it, reloads, and the end.

Polls are an interval of a minute apart; a test asks for the ones that it needs.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ringcheck.agent import loop
from ringcheck.agent.loop import Agent, Outlet, deadline_of
from ringcheck.config import values
from ringcheck.core.assess import assess
from ringcheck.core.gate import Gate
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Severity
from ringcheck.core.ring import Replication
from ringcheck.report import metrics
from ringcheck.report.reading import Reading
from ringcheck.restart.lease import now, open_store
from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ringcheck.core.maintenance import Maintenance
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict

PATIENCE = 60.0  # seconds; a busy machine is no failure
INTERVAL = 60.0
HANG = Fault("hang")


@dataclass
class Clock:
    """A clock that can be put forward."""

    ahead: float = 0.0
    read: Callable[[], float] = time.monotonic

    def __call__(self) -> float:
        return self.read() + self.ahead


@dataclass
class World:
    """Embedded clusters and the agent that watches them.

    Attributes:
        clusters: by name.
        known: their configuration.
        clock: of all clusters, in unix seconds.
        ours: the agent's, monotonic.
        told: readings that a listener got.
    """

    clusters: dict[str, EmbeddedCluster]
    known: dict[str, values.Cluster]
    clock: Clock
    ours: Clock = field(default_factory=Clock)
    told: list[Reading] = field(default_factory=list)
    agent: Agent = field(init=False)

    def config(self, *names: str, interval: float = INTERVAL, **changed: values.Cluster) -> values.Config:
        known = {**self.known, **changed}
        return values.Config({name: known[name] for name in names or known}, values.Agent(interval=interval))

    def poll(self, name: str = "one") -> Reading:
        """What the next poll leaves."""
        found = self.agent.fresh(name, PATIENCE)
        assert found is not None, "no poll was over in time"
        return found

    def reading(self, name: str = "one") -> Reading:
        found = self.agent.reading(name)
        assert found is not None
        return found


@contextmanager
def world(*names: str, start: bool = True, time_factor: float = 1.0) -> Iterator[World]:
    """Clusters of three nodes, one a rack, with RF 3; the agent has polled each once, if it is started."""
    clock = Clock(read=time.time)
    with ExitStack() as stack:
        clusters, known = {}, {}
        for name in names or ("one",):
            cluster = EmbeddedCluster.uniform(
                3, racks=3, vnodes=4, name="as Cassandra has it", clock=clock, time_factor=time_factor,
                keyspaces={"orders": Replication.parse("NetworkTopologyStrategy {dc1=3}")},
            )  # fmt: skip
            server = stack.enter_context(serve(cluster))
            where = values.Jolokia(tuple(one.address for one in cluster.nodes), server.template, timeout=3)
            clusters[name], known[name] = cluster, values.Cluster(name, where, gate=Gate(settle=0))
        found = World(clusters, known, clock)
        found.agent = Agent(found.config(), [found.told.append], found.ours)
        if start:
            found.agent.start()
            stack.callback(found.agent.stop)
            await_(found.agent.tried, PATIENCE, "the first polls")
        yield found


def addresses(cluster: EmbeddedCluster, *places: int) -> frozenset[str]:
    """Of these nodes, or of all."""
    return frozenset(one.address for one in cluster.nodes if not places or one.index in places)


def scraped(*readings: Reading) -> list[str]:
    return metrics.render(lambda: readings)[1].decode().splitlines()


def severity(reading: Reading) -> Severity | None:
    return reading.verdict.severity if reading.verdict else None


# What a poll leaves


def test_before_the_first_poll_nothing_is_known() -> None:
    """No verdict, nothing that may be told as the present, and no node that may restart."""
    with world(start=False) as found:
        reading = found.reading()
        assert (reading.verdict, reading.fresh, reading.restart_safe, reading.last_success) == (None, False, None, None)
        assert not found.agent.tried()
        assert 'ringcheck_up{cassandra_cluster="one"} 0.0' in scraped(reading)


def test_what_a_poll_leaves() -> None:
    """Verdict under the configuration's name, its time, who may restart, how long it took and what was asked."""
    before = time.time()
    with world() as found:
        reading = found.poll()
        assert (severity(reading), reading.fresh, reading.error) == (Severity.OK, True, None)
        assert reading.verdict is not None
        assert reading.verdict.snapshot.cluster == "one"
        assert reading.last_success is not None
        assert before <= reading.last_success <= time.time()
        assert reading.restart_safe == addresses(found.clusters["one"])
        assert (reading.suspects, reading.holders) == (frozenset(), ())
        assert reading.requests["ok"] > 3
        assert sum(reading.polls.counts) == 2
        assert 0 < reading.polls.total < PATIENCE


def test_polls_go_on_by_themselves_and_ask_little() -> None:
    """Every interval one request a node and no more; the ring was read once."""
    with world(start=False) as found:
        found.agent.reload(found.config(interval=0.05))
        found.agent.start()
        await_(lambda: sum(found.reading().polls.counts) > 5, PATIENCE, "polls")
        found.agent.stop()
        first, later = found.told[0], found.told[-1]
        polls = sum(later.polls.counts) - sum(first.polls.counts)
        assert later.requests["ok"] - first.requests["ok"] == 3 * polls


def test_a_node_is_a_suspect_before_cassandra_knows() -> None:
    """The first poll after kill -9 makes it one, and UNKNOWN, which is worse than WARNING; then it is simply down."""
    with world() as found:
        cluster = found.clusters["one"]
        victim = cluster.nodes[1].address
        cluster.down(1)
        reading = found.poll()
        assert reading.suspects == {victim}
        assert severity(reading) is Severity.UNKNOWN
        assert 'cassandra_ring_suspect_nodes{cassandra_cluster="one"} 1.0' in scraped(reading)
        assert 'cassandra_ring_verdict{cassandra_cluster="one",severity="UNKNOWN"} 1.0' in scraped(reading)
        assert reading.restart_safe == addresses(cluster, 1), "nobody else may stop beside it"
        found.clock.ahead += 40
        reading = found.poll()
        assert reading.suspects == frozenset()
        assert reading.verdict is not None
        assert dict(zip(reading.verdict.snapshot.index, reading.verdict.states, strict=True))[victim] == "down"


def test_a_suspect_stays_one_until_it_answers() -> None:
    """Poll after poll, and not a poll longer; a node that was down and is up again without Jolokia is none yet."""
    with world() as found:
        cluster = found.clusters["one"]
        cluster.set_fault(0, Fault("refuse"))
        assert [found.poll().suspects for _ in range(3)] == [{cluster.nodes[0].address}] * 3
        cluster.set_fault(0, None)
        assert found.poll().suspects == frozenset()
        cluster.down(0, instant=True)
        assert found.poll().suspects == frozenset()
        cluster.set_fault(0, Fault("refuse"))
        cluster.up(0, instant=True)
        assert found.poll().suspects == frozenset(), "it has not answered since"


def test_a_node_that_never_answered_is_no_suspect() -> None:
    """It did not stop; what it sees is unknown all the same."""
    with world(start=False) as found:
        found.clusters["one"].set_fault(2, Fault("refuse"))
        found.agent.start()
        reading = found.poll()
        found.agent.stop()
        assert (reading.suspects, severity(reading)) == (frozenset(), Severity.UNKNOWN)


def test_a_cluster_that_is_silent_as_a_whole() -> None:
    """The last verdict stays with its age, everybody is a suspect, and nobody may restart; then all is well again."""
    with world() as found:
        cluster = found.clusters["one"]
        everybody = addresses(cluster)
        before = found.poll()
        for one in cluster.nodes:
            cluster.set_fault(one.address, Fault("refuse"))
        reading = found.poll()
        assert reading.error is not None
        assert "nobody answered" in reading.error
        assert (reading.verdict, reading.last_success) == (before.verdict, before.last_success)
        assert (reading.suspects, reading.restart_safe) == (everybody, None)
        assert reading.requests["unreachable"] >= 3
        for one in cluster.nodes:
            cluster.set_fault(one.address, None)
        reading = found.poll()
        assert (reading.error, reading.suspects, reading.restart_safe) == (None, frozenset(), everybody)


def test_who_answers_nonsense_is_no_suspect() -> None:
    """A page of a proxy, from all: the poll fails, but somebody answered."""
    with world() as found:
        for one in found.clusters["one"].nodes:
            found.clusters["one"].set_fault(one.address, Fault("html"))
        reading = found.poll()
        assert reading.error is not None
        assert (reading.suspects, reading.restart_safe) == (frozenset(), None)


@pytest.mark.parametrize(("interval", "young"), [(60.0, 180.0), (1.0, 10.0)])
def test_what_is_old_is_not_the_present(interval: float, young: float) -> None:
    """Three intervals after the begin of its poll, and never before ten seconds: without any further poll."""
    with world(start=False) as found:
        found.agent.reload(found.config(interval=interval))
        found.agent.start()
        await_(found.agent.tried, PATIENCE, "the first poll")
        found.agent.stop()  # no poll comes after
        begun = found.agent._state.watches[0].beat
        found.ours.read = lambda: begun
        found.ours.ahead = young
        assert found.reading().fresh
        found.ours.ahead = young + 0.1
        old = found.reading()
        assert not old.fresh
        assert old.verdict is not None
        assert 'ringcheck_up{cassandra_cluster="one"} 0.0' in scraped(old)
        assert not any(line.startswith("cassandra_ring_") for line in scraped(old))


def test_polls_that_fail_make_it_old_too() -> None:
    """A poll that fails does not renew what it could not see."""
    with world() as found:
        cluster = found.clusters["one"]
        for one in cluster.nodes:
            cluster.set_fault(one.address, Fault("refuse"))
        found.ours.ahead = 3 * INTERVAL + 1
        reading = found.poll()
        assert (reading.error is not None, reading.fresh) == (True, False)


def test_a_bug_is_told_with_its_place_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected fails that poll only."""
    with world() as found:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "assess", lambda *_, **__: 1 / 0)
            reading = found.poll()
            assert reading.error is not None
            assert reading.error.startswith(
                "this is a bug of ringcheck: ZeroDivisionError: division by zero (test_loop"
            )
            assert reading.restart_safe is None
        assert found.poll().error is None


def test_a_password_that_comes_late(tmp_path: Path) -> None:
    """The file is looked for at each poll until it is there."""
    with world(start=False) as found:
        one = found.known["one"]
        password = tmp_path / "password"
        late = replace(one, jolokia=replace(one.jolokia, username="u", password_file=str(password)))
        found.agent.reload(found.config(one=late))
        found.agent.start()
        assert str(password) in (found.poll().error or "")
        password.write_text("secret\n")
        password.chmod(0o600)
        assert found.poll().error is None
        found.agent.stop()


# Who may restart


def test_streams_are_asked_for_whoever_decides() -> None:
    """`fresh` asks every node what it streams, and who streams may not restart; the polls of every day do not ask."""
    with world(start=False) as found:
        found.agent.start()
        await_(found.agent.tried, PATIENCE, "the first poll")
        cluster = found.clusters["one"]
        cluster.stream(2)
        plain, asked = found.reading(), found.poll()
        found.agent.stop()
        assert plain.verdict is not None
        assert {one.streams for one in plain.verdict.snapshot.nodes} == {None}
        assert asked.restart_safe == addresses(cluster, 0, 1)


def test_a_fresh_reading_is_of_a_poll_that_began_after_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll in hand, which may have asked a node before it died, is not it."""
    with world() as found:
        (watch,) = found.agent._state.watches
        begun, go = threading.Event(), threading.Event()
        poll = watch._poll

        def held(*, streams: bool) -> Reading:
            left = poll(streams=streams)
            begun.set()
            assert go.wait(PATIENCE)
            return left

        with monkeypatch.context() as patched:
            patched.setattr(watch, "_poll", held)
            found.agent.hurry("one")
            assert begun.wait(PATIENCE)
        found.clusters["one"].down(0, instant=True)
        threading.Timer(0.3, go.set).start()
        reading = found.poll()
        assert reading.verdict is not None
        assert "down" in reading.verdict.states


def test_who_asks_for_a_fresh_reading_does_not_wait_in_vain() -> None:
    """Not for a cluster that nobody knows, nor longer than he said, nor for one that is taken off meanwhile."""
    with world("one", "two") as found:
        assert found.agent.fresh("three", PATIENCE) is None
        for one in found.clusters["one"].nodes:
            found.clusters["one"].set_fault(one.address, HANG)
        assert found.agent.fresh("one", 0.05) is None
        threading.Timer(0.3, found.agent.reload, [found.config("two")]).start()
        begins = time.monotonic()
        assert found.agent.fresh("one", PATIENCE) is None
        assert time.monotonic() - begins < PATIENCE / 2


def test_leases_are_counted(tmp_path: Path) -> None:
    """Holders are told, count as down, and may not be restarted by others; who can't ask lets nobody."""
    with world(start=False) as found:
        lease = values.Lease(file=str(tmp_path / "leases.json"))
        known = replace(found.known["one"], lease=lease)
        found.agent.reload(found.config(one=known))
        found.agent.start()
        first = found.clusters["one"].nodes[0].address
        store = open_store(known)
        assert found.poll().restart_safe == addresses(found.clusters["one"])
        store.add([Holder(first, "me", "test", now())])
        reading = found.poll()
        assert [one.node for one in reading.holders or ()] == [first]
        assert reading.restart_safe == frozenset(), "with the first counted as down no other may stop"
        store.remove([first], "me")
        store.add([Holder("10.9.9.9", "me", "test", now())])
        assert found.poll().restart_safe == frozenset(), "a lease on nobody that is known here"
        (tmp_path / "leases.json").write_text("{")
        reading = found.poll()
        assert (reading.holders, reading.restart_safe) == (None, None)
        assert reading.verdict is not None
        assert "leases_unknown" in {one.code for one in reading.verdict.findings}
        found.agent.stop()


# Clusters beside each other


def test_a_slow_cluster_delays_no_other() -> None:
    """While the first poll of one hangs the other is polled as often as anybody likes."""
    with world("slow", "quick", start=False) as found:
        slow = found.clusters["slow"]
        for one in slow.nodes:
            slow.set_fault(one.address, HANG)
        found.agent.start()
        readings = [found.poll("quick") for _ in range(3)]
        assert all(one.error is None for one in readings)
        assert not any(found.reading("slow").polls.counts), "its first poll was over too early for this test"
        assert not found.agent.tried()
        found.agent.stop(0.0)


def test_a_node_that_hangs_costs_a_poll_its_deadline_at_most() -> None:
    """And makes it a suspect, as one that refuses is."""
    with world() as found:
        found.clusters["one"].set_fault(1, HANG)
        reading = found.poll()
        assert reading.suspects == {found.clusters["one"].nodes[1].address}
        assert reading.polls.total < 2 * deadline_of(INTERVAL)


@pytest.mark.parametrize(("interval", "seconds"), [(15.0, 12.0), (1.0, 1.0), (0.1, 1.0), (300.0, 240.0)])
def test_a_poll_is_over_before_the_next_is_due(interval: float, seconds: float) -> None:
    """But gets a second in any case."""
    assert deadline_of(interval) == seconds


def test_a_watch_that_hangs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judgement that does not end stops the progress of that cluster, and so the agent's; the end is not clean."""
    begun, go = threading.Event(), threading.Event()
    with world("one", "two") as found:

        def hang(seen: Snapshot, policy: Policy, maintenance: Maintenance | None = None) -> Verdict:
            if seen.cluster == "one":
                begun.set()
                go.wait(PATIENCE)
            return assess(seen, policy, maintenance=maintenance)

        monkeypatch.setattr(loop, "assess", hang)
        found.agent.hurry("one")
        assert begun.wait(PATIENCE)
        assert found.agent.lively()
        found.ours.ahead = 10 * INTERVAL
        assert not found.agent.lively()
        assert found.poll("two").error is None
        assert not found.agent.lively(), "what one does is no progress of another"
        assert not found.agent.stop(0.2)
        go.set()


def test_waiting_for_news() -> None:
    """Whoever has seen all waits; a poll wakes him, and so does the end."""
    with world() as found:
        seen = found.agent.sequence
        assert found.agent.wait(seen - 1, 0) == seen
        assert found.agent.wait(seen, 0.05) == seen
        threading.Timer(0.2, found.agent.hurry, ["one"]).start()
        assert found.agent.wait(seen, PATIENCE) == seen + 1
        threading.Timer(0.2, found.agent.stop).start()
        begins = time.monotonic()
        found.agent.wait(found.agent.sequence, PATIENCE)
        assert time.monotonic() - begins < PATIENCE / 2


# Reloads


def test_a_reload_leaves_alone_what_is_as_before() -> None:
    """Its connections and its ring: the next poll is one request a node and that of streams; the others come and go."""
    with world("kept", "gone", "changed", "new", start=False) as found:
        found.agent.reload(found.config("kept", "gone", "changed"))
        found.agent.start()
        await_(found.agent.tried, PATIENCE, "the first polls")
        before = found.poll("kept")
        changed = replace(found.known["changed"], gate=Gate(settle=1e9))
        found.agent.reload(found.config("new", "changed", "kept", changed=changed))
        assert [one.cluster for one in found.agent.readings()] == ["new", "changed", "kept"]
        assert found.agent.reading("gone") is None
        assert found.reading("kept") is before
        after = found.poll("kept")
        assert after.requests["ok"] - before.requests["ok"] == 6
        assert found.poll("changed").restart_safe == frozenset(), "nobody has run for so long"
        assert severity(found.poll("new")) is Severity.OK
        await_(lambda: "watch gone" not in threads(), PATIENCE, "the end of a watch that nobody wants")
        assert found.agent.stop(PATIENCE)


def test_another_interval_keeps_what_is_known() -> None:
    """And is in force at once, not when a long one is over."""
    with world() as found:
        before = found.poll()
        assert before.verdict is not None
        found.agent.reload(found.config(interval=0.05))
        assert found.reading().verdict is before.verdict
        await_(lambda: sum(found.reading().polls.counts) > sum(before.polls.counts) + 3, PATIENCE, "quick polls")


def test_a_bad_file_is_told_until_a_good_one_is_read() -> None:
    """What is in force stays, with its time."""
    with world() as found:
        config, last = found.agent.config, found.agent.last_reload
        assert last.successful
        found.agent.refuse()
        assert found.agent.last_reload == replace(last, successful=False)
        assert found.agent.config is config
        assert found.poll().error is None
        found.agent.reload(config)
        assert found.agent.last_reload.successful
        assert found.agent.last_reload.last_success >= last.last_success


# Who is told


def test_a_listener_that_hangs_delays_no_poll() -> None:
    """It gets the newest of each cluster once it listens again, and the others get everything."""
    go = threading.Event()
    slow: list[Reading] = []

    def listen(reading: Reading) -> None:
        go.wait(PATIENCE)
        slow.append(reading)

    with world("one", "two", start=False) as found:
        found.agent = Agent(found.config(), [listen, found.told.append])
        found.agent.start()
        for _ in range(3):
            found.poll("one")
            found.poll("two")
        assert slow == []
        go.set()
        assert found.agent.stop(PATIENCE)
        assert len(slow) == 3, "the one in hand, and one of each cluster"
        assert {one.cluster: one for one in slow} == {one.cluster: one for one in found.agent.readings()}


def test_a_listener_that_fails_is_told_of_and_called_again() -> None:
    """One bug in a log must not blind the agent, nor end the log."""
    complaints: list[str] = []
    calls: list[Reading] = []

    def listen(reading: Reading) -> None:
        calls.append(reading)
        raise KeyError(reading.cluster)

    with world(start=False) as found:
        found.agent = Agent(found.config(), [listen], complain=complaints.append)
        found.agent.start()
        found.poll()
        await_(lambda: len(calls) > 0, PATIENCE, "the first call")
        found.poll()
        assert found.agent.stop(PATIENCE)
    assert len(complaints) == len(calls) >= 2
    assert complaints[0].startswith("this is a bug of ringcheck: KeyError: 'one' (test_loop.py:")


def test_what_waits_of_a_cluster_that_is_gone_is_dropped() -> None:
    """A listener that remembers clusters must not be given one again after it was told to forget it."""
    told: list[str] = []
    outlet = Outlet(lambda reading: told.append(reading.cluster), print)
    for name in ("gone", "here"):
        outlet.put(Reading(name))
    outlet.forget("gone")
    outlet.end()
    outlet.start()
    assert outlet.join(PATIENCE)
    assert told == ["here"]


# The end


def threads() -> set[str]:
    return {one.name for one in threading.enumerate()}


def test_the_end_leaves_nothing() -> None:
    """No thread of the agent's is left, no poll begins any more, and a second end is none."""
    before = set(threading.enumerate())
    with world("one", "two") as found:
        mine = {one for one in threading.enumerate() if one not in before and one.name != "embedded-cluster"}
        assert len(mine) >= 3
        found.agent.hurry("one")
        assert found.agent.stop(PATIENCE)
        polls = [sum(one.polls.counts) for one in found.agent.readings()]
        await_(lambda: not any(one.is_alive() for one in mine), PATIENCE, lambda: f"left: {threads()}")
        found.agent.hurry("one")
        assert found.agent.stop(PATIENCE)
        assert [sum(one.polls.counts) for one in found.agent.readings()] == polls


def test_the_end_of_what_never_began() -> None:
    """An agent whose server could not listen is ended before it was started."""
    with world(start=False) as found:
        assert found.agent.stop(0.0)


def test_polls_in_hand_are_abandoned() -> None:
    """The end does not wait for a cluster that hangs, and says that it was not clean; nobody is told of it later."""
    with world() as found:
        cluster = found.clusters["one"]
        for one in cluster.nodes:
            cluster.set_fault(one.address, HANG)
        (watch,) = found.agent._state.watches
        begun = watch._begun
        found.agent.hurry("one")
        await_(lambda: watch._begun > begun, PATIENCE, "a poll")
        told = len(found.told)
        begins = time.monotonic()
        assert not found.agent.stop(0.1)
        assert time.monotonic() - begins < PATIENCE / 2
        await_(lambda: watch.join(1), PATIENCE, "its end by itself, for it has a deadline")
        assert len(found.told) == told
