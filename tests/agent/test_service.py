"""The agent on embedded clusters: threads, listeners and reloads, and that no cluster delays another."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent.bugs import located_bug
from ringcheck.agent.judging import Judging
from ringcheck.agent.polls import PollLoop
from ringcheck.agent.service import Agent
from ringcheck.config.values import AgentSettings, Cluster, Config
from ringcheck.core.gate import Gate
from ringcheck.core.policy import Severity
from ringcheck.report import metrics
from ringcheck.simulator.faults import Fault
from tests.agent.embedded import NEVER, PATIENCE, Clock, World, embedded, severity
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.report.reading import Reading


@pytest.fixture
def world() -> Iterator[World]:
    with embedded() as world:
        yield world


@contextmanager
def running(agent: Agent) -> Iterator[Agent]:
    agent.start()
    try:
        yield agent
    finally:
        agent.stop(PATIENCE)


def config(*clusters: Cluster, interval: float = 1.0) -> Config:
    return Config(clusters={cluster.name: cluster for cluster in clusters}, agent=AgentSettings(interval=interval))


def polls(agent: Agent, name: str) -> int:
    reading = agent.reading(name)
    return sum(reading.polls.counts) if reading else 0


def retired_watches_ended(agent: Agent) -> bool:
    return all(watch.join(0) for watch in agent._retired)


def until(condition: Callable[[], bool]) -> None:
    await_(condition, PATIENCE, "it did not come to be")


@dataclass
class Hangs:
    """A judgement that hangs for clusters of a name until `free` is set."""

    name: str
    judge: Any = Judging.judge
    entered: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)

    def __call__(self, judging: Any, seen: Any, given: Any) -> Any:
        if seen.cluster == self.name:
            self.entered.set()
            self.free.wait(PATIENCE)
        return self.judge(judging, seen, given)


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hangs]:
    made = Hangs("slow")
    monkeypatch.setattr(Judging, "judge", lambda *given: made(*given))  # noqa: PLW0108 - an object would be no method
    yield made
    made.free.set()


@pytest.mark.slow
def test_a_hanging_cluster_delays_no_other(world: World, hangs: Hangs) -> None:
    """One cluster is polled repeatedly while the first poll of the other one hangs."""
    slow = replace(world.cluster, name="slow")
    with running(Agent(config(slow, world.cluster))) as agent:
        until(lambda: polls(agent, "orders-prod") >= 3)
        assert hangs.entered.is_set()
        assert polls(agent, "slow") == 0
        assert not agent.tried()
        hangs.free.set()
        until(agent.tried)
        assert [reading.cluster for reading in agent.readings()] == ["slow", "orders-prod"]


@pytest.mark.slow
def test_polls_of_hanging_nodes_end_at_their_deadline(world: World) -> None:
    """The poll fails in time, and the next one begins."""
    with running(Agent(config(world.cluster))) as agent:
        until(agent.tried)
        world.all_go(Fault("hang"))
        until(lambda: bool((reading := agent.reading("orders-prod")) and reading.error))
        failed = polls(agent, "orders-prod")
        until(lambda: polls(agent, "orders-prod") > failed)
        assert agent.makes_progress()


def test_a_hanging_poll_makes_the_reading_old_and_the_agent_not_lively(world: World, hangs: Hangs) -> None:
    """The age is computed when a reading is requested, so that no thread has to notice it."""
    clock = Clock()
    hangs.free.set()
    agent = Agent(config(replace(world.cluster, name="slow"), interval=NEVER), clock=clock)
    with running(agent):
        until(agent.tried)
        hangs.free.clear()
        hangs.entered.clear()
        agent.hurry("slow")
        assert hangs.entered.wait(PATIENCE)
        clock.time += NEVER * 3
        before = agent.reading("slow")
        assert before
        assert before.fresh
        assert before.verdict
        assert not agent.makes_progress()
        clock.time += 1
        assert agent.readings() == (replace(before, fresh=False),)
        hangs.free.set()
        until(lambda: agent.readings()[0].fresh)
        assert agent.makes_progress()


def test_hurry_polls_at_once(world: World) -> None:
    """Only that cluster's pause is cut short."""
    other = replace(world.cluster, name="other")
    with running(Agent(config(world.cluster, other, interval=NEVER))) as agent:
        until(agent.tried)
        agent.hurry("orders-prod")
        until(lambda: polls(agent, "orders-prod") == 2)
        agent.hurry("unknown")
        assert polls(agent, "other") == 1


def test_fresh_is_a_poll_that_began_after_the_call(world: World, hangs: Hangs) -> None:
    """The current poll does not count, and streams are included; None for an unknown name and at the deadline."""
    hangs.free.set()
    cluster = replace(world.cluster, name="slow")
    with running(Agent(config(cluster, interval=NEVER))) as agent:
        until(agent.tried)
        hangs.free.clear()
        hangs.entered.clear()
        agent.hurry("slow")
        assert hangs.entered.wait(PATIENCE)
        world.simulated.stream(1)
        readings: list[Reading | None] = []
        asking = threading.Thread(target=lambda: readings.append(agent.fresh("slow", PATIENCE)))
        asking.start()
        assert agent.fresh("slow", 0.01) is None
        hangs.free.set()
        asking.join(PATIENCE)
        (reading,) = readings
        assert reading
        assert reading.verdict
        assert sum(reading.polls.counts) >= 3
        assert {node.address for node in reading.verdict.snapshot.nodes if node.streams} == {world.address(1)}
        assert agent.fresh("unknown", 0.01) is None
        world.all_go(Fault("refuse"))
        failed = agent.fresh("slow", PATIENCE)
        assert failed
        assert failed.error


def test_wait_returns_at_a_new_reading_and_at_the_end(world: World) -> None:
    """It returns long before its timeout."""
    agent = Agent(config(world.cluster, interval=NEVER))
    with running(agent):
        seen = agent.wait(0, PATIENCE)
        assert seen == 1
        assert agent.wait(seen, 0.01) == seen
        woken: list[int] = []
        waiting = threading.Thread(target=lambda: woken.append(agent.wait(seen, 10 * PATIENCE)))
        waiting.start()
        agent.hurry("orders-prod")
        waiting.join(PATIENCE)
        assert woken == [2]
        waiting = threading.Thread(target=lambda: woken.append(agent.wait(2, 10 * PATIENCE)))
        waiting.start()
        agent.stop()
        waiting.join(PATIENCE)
        assert woken == [2, 2]


def test_stop_leaves_no_thread_and_no_connection(world: World) -> None:
    """The threads of watches, listeners and requests end; stopping twice does no harm."""
    before = set(threading.enumerate())
    agent = Agent(config(world.cluster), [lambda _: None])
    with running(agent):
        until(agent.tried)
        assert {thread.name for thread in threading.enumerate()} >= {"polls", "listener"}
        assert agent.stop(PATIENCE)
    until(lambda: set(threading.enumerate()) <= before)
    count = agent.sequence
    assert agent.stop(0.0)
    assert agent.sequence == count


def test_stop_does_not_wait_for_a_hanging_poll(world: World, hangs: Hangs) -> None:
    """It reports that some threads have not ended, and the poll's result is never published."""
    published: list[Reading] = []
    agent = Agent(config(replace(world.cluster, name="slow"), interval=NEVER), [published.append])
    agent.start()
    assert hangs.entered.wait(PATIENCE)
    assert not agent.stop(0.1)
    hangs.free.set()
    until(lambda: agent.stop(0))
    assert published == []


def test_stop_abandons_polls_that_wait_for_nodes(world: World) -> None:
    """A poll only reads, and its result would not be published, so nothing is lost by not waiting for its deadline."""
    hanging = replace(world.cluster, source=replace(world.settings, timeout=NEVER))
    agent = Agent(config(hanging, interval=NEVER))
    with running(agent):
        until(agent.tried)
        world.all_go(Fault("hang"))
        agent.hurry("orders-prod")
        until(lambda: agent._state.watches[0]._begun == 2)
        assert agent.stop(PATIENCE)
    assert polls(agent, "orders-prod") == 1


def test_a_loop_that_is_stopped_twice_ends_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second `stop` leaves the cancelled work its time, and causes no error."""
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    polls, cancelled, ended = PollLoop(), threading.Event(), threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            cancelled.set()
            await asyncio.sleep(0.1)
            ended.set()

    polls.spawn(work())
    polls.start()
    time.sleep(0.1)
    polls.stop()
    assert cancelled.wait(PATIENCE)
    polls.stop()
    polls._thread.join(PATIENCE)
    assert (ended.is_set(), polls._loop.is_closed(), errors) == (True, True, [])
    polls.stop()


def test_polls_begin_one_by_one_in_the_order_of_asking() -> None:
    """A loop that can't keep up finishes the polls that it has begun, instead of beginning all of them."""
    polls = PollLoop()
    begun: list[int] = []
    after_each_pass: list[int] = []

    async def poll(number: int) -> None:
        await polls.turn()
        begun.append(number)

    async def passes() -> None:
        started = [asyncio.create_task(poll(number)) for number in range(5)]
        while not all(task.done() for task in started):
            before = len(begun)
            await asyncio.sleep(0)
            after_each_pass.append(len(begun) - before)

    polls._loop.run_until_complete(passes())
    polls._loop.close()
    assert begun == [0, 1, 2, 3, 4]
    assert max(after_each_pass) == 1


# Listeners


@pytest.mark.slow
def test_a_listener_that_raises_or_hangs_affects_no_other(world: World) -> None:
    """Polls and other listeners go on; the error is reported; a slow listener gets only the newest reading."""
    free, news = threading.Event(), 4
    slow: list[int] = []
    published: list[Reading] = []
    complaints: list[str] = []

    def raises(_: Reading) -> None:
        raise RuntimeError("no\nmore")

    def waits(reading: Reading) -> None:
        slow.append(sum(reading.polls.counts))
        free.wait(PATIENCE)

    agent = Agent(
        config(world.cluster),
        [raises, waits, published.append],
        complain=lambda error: complaints.append(located_bug(error)),
    )
    with running(agent):
        until(lambda: len(published) >= news and len(complaints) >= news)
        assert slow == [1]
        free.set()
        until(lambda: len(slow) >= 2)
    assert complaints[0].startswith("this is a bug in ringcheck: RuntimeError: no more (test_service.py:")
    assert slow[1] >= news
    assert [sum(reading.polls.counts) for reading in published[:news]] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_listener_gets_the_last_reading(world: World) -> None:
    """A reading from before the stop is still delivered."""
    free, published = threading.Event(), []

    def late(reading: Reading) -> None:
        free.wait(PATIENCE)
        published.append(reading)

    agent = Agent(config(world.cluster), [late])
    agent.start()
    until(lambda: polls(agent, "orders-prod") >= 2)
    threading.Timer(0.2, free.set).start()
    assert agent.stop(PATIENCE)
    assert len(published) == 2


# Reloads


def test_a_reload_keeps_unchanged_clusters(world: World) -> None:
    """An unchanged cluster keeps its watch, connections and reading; the others are started, changed or stopped."""
    two, three = (replace(world.cluster, name=name) for name in ("two", "three"))
    clock = Clock()
    with running(Agent(config(world.cluster, two, interval=NEVER), clock=clock)) as agent:
        until(agent.tried)
        known = agent.reading("orders-prod")
        assert known
        again = replace(world.cluster, source=replace(world.cluster.source))  # equal, but read from the file again
        agent.reload(config(three, again, replace(two, gate=Gate(settle=9999)), interval=NEVER))
        assert [reading.cluster for reading in agent.readings()] == ["three", "orders-prod", "two"]
        until(agent.tried)
        assert agent.reading("orders-prod") == known
        safe = [reading.restart_safe for reading in agent.readings()]
        assert safe == [world.addresses, world.addresses, frozenset()]
        agent.reload(config(two, interval=NEVER))
        assert agent.reading("orders-prod") is None
        assert [reading.cluster for reading in agent.readings()] == ["two"]
        until(lambda: retired_watches_ended(agent))


def test_a_removed_cluster_is_not_published_any_more(world: World, hangs: Hangs) -> None:
    """This holds even if its last poll ends after the reload."""
    published: list[Reading] = []
    with running(Agent(config(replace(world.cluster, name="slow"), interval=NEVER), [published.append])) as agent:
        assert hangs.entered.wait(PATIENCE)
        agent.reload(config(world.cluster))
        hangs.free.set()
        until(lambda: bool(published))
        until(lambda: retired_watches_ended(agent))
    assert {reading.cluster for reading in published} == {"orders-prod"}


def test_a_call_about_a_removed_cluster_returns_soon(world: World, hangs: Hangs) -> None:
    """A call that waits for a watch returns as soon as the watch ends."""
    with running(Agent(config(replace(world.cluster, name="slow"), interval=NEVER))) as agent:
        assert hangs.entered.wait(PATIENCE)
        readings: list[Reading | None] = []
        asking = threading.Thread(target=lambda: readings.append(agent.fresh("slow", 10 * PATIENCE)))
        asking.start()
        until(lambda: agent._state.watches[0]._streams)  # by then it has asked
        agent.reload(config(world.cluster, interval=NEVER))
        asking.join(PATIENCE)
        assert readings == [None]
        hangs.free.set()


@pytest.mark.slow
def test_a_new_interval_keeps_the_reading_and_polls_at_once(world: World) -> None:
    """The watch goes on, and the longer pause from before the reload does not count as a hanging poll."""
    clock = Clock()
    with running(Agent(config(world.cluster, interval=NEVER), clock=clock)) as agent:
        until(agent.tried)
        clock.time += NEVER / 2
        agent.reload(config(world.cluster, interval=1.0))
        assert agent.makes_progress()
        until(lambda: polls(agent, "orders-prod") >= 3)
        assert agent.config.agent.interval == 1.0


def test_a_refused_configuration_changes_nothing_but_the_metric(world: World) -> None:
    """The metric is 0 until a valid configuration is in force."""
    agent = Agent(config(world.cluster))

    def exported() -> list[float]:
        lines = metrics.render(agent.readings, agent.own_reading())[1].decode().splitlines()
        return [float(line.split()[1]) for line in lines if line.startswith("ringcheck_config_last_reload_success")]

    first = agent.last_reload
    assert exported() == [1.0, first.last_success]
    agent.refuse()
    assert exported() == [0.0, first.last_success]
    assert [reading.cluster for reading in agent.readings()] == ["orders-prod"]
    agent.reload(config(world.cluster))
    assert exported() == [1.0, agent.last_reload.last_success]
    assert agent.last_reload.last_success > first.last_success


def test_a_cluster_may_be_configured_twice(world: World) -> None:
    """It may have two names, and both get the same result."""
    with running(Agent(config(world.cluster, replace(world.cluster, name="again"), interval=NEVER))) as agent:
        until(agent.tried)
        assert [(reading.cluster, severity(reading)) for reading in agent.readings()] == [
            ("orders-prod", Severity.OK),
            ("again", Severity.OK),
        ]
        text = metrics.render(agent.readings)[1].decode()
    assert 'ringcheck_up{cassandra_cluster="orders-prod"} 1.0' in text
    assert 'ringcheck_up{cassandra_cluster="again"} 1.0' in text
