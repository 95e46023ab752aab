"""The watches on embedded clusters: what a reading says, how long it is of the present, and what ends no watch."""

from __future__ import annotations

import base64
import io
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import watch as watch_module
from ringcheck.agent.log import Changes, Log
from ringcheck.agent.service import Agent
from ringcheck.agent.watch import Watch
from ringcheck.config.values import AgentSettings, Cluster, Config, Lease
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate
from ringcheck.core.health import RingState
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.errors import ConfigError
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.leases import lockfile
from ringcheck.leases.configured import open_store
from ringcheck.leases.stamp import now
from ringcheck.report import metrics
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ringcheck.report.reading import Reading
    from ringcheck.simulator.faults import FaultKind

PATIENCE = 60.0  # seconds; a busy machine is no failure
NEVER = 2000.0  # seconds between polls that no test waits for
RULES = (Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_QUORUM), warning=Threshold(Level.LOCAL_ALL)),)


@dataclass
class Clock:
    """Stands still until it is moved."""

    time: float = 1000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class World:
    """An embedded cluster, how to ask it, and a watch that polls when it is told to.

    Attributes:
        simulated: three nodes in three racks with a keyspace of RF 3; peers need seconds to convict a node.
        cluster: its configuration.
        clock: the watch's.
        told: readings that the watch told.
    """

    simulated: EmbeddedCluster
    cluster: Cluster
    clock: Clock = field(default_factory=Clock)
    told: list[Reading] = field(default_factory=list)

    def watch(self, interval: float = 15.0, **changes: Any) -> Watch:
        return Watch(replace(self.cluster, **changes), interval, self.told.append, self.clock)

    def address(self, number: int) -> str:
        return self.simulated.nodes[number].address

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(node.address for node in self.simulated.nodes)

    def all_go(self, fault: Fault | None) -> None:
        for node in self.simulated.nodes:
            self.simulated.set_fault(node.index, fault)


@contextmanager
def embedded(name: str = "orders-prod", **options: Any) -> Iterator[World]:
    cluster = EmbeddedCluster.uniform(3, racks=3, vnodes=4, keyspaces={"orders": topology(dc1=3)}, name=name, **options)
    with serve(cluster) as server:
        points = tuple(node.address for node in cluster.nodes)
        jolokia = JolokiaSettings(contact_points=points, url=server.template, timeout=5)
        yield World(cluster, Cluster(name, jolokia, policy=Policy(RULES), gate=Gate(settle=0)))


@pytest.fixture
def world() -> Iterator[World]:
    with embedded() as found:
        yield found


def polled(watch: Watch) -> Reading:
    watch.turn()
    return watch.present()


def states(reading: Reading) -> dict[str, str]:
    assert reading.verdict
    nodes = reading.verdict.snapshot.nodes
    return {node.address: state for node, state in zip(nodes, reading.verdict.states, strict=True)}


def severity(reading: Reading) -> Severity:
    assert reading.verdict
    return reading.verdict.severity


# One watch, poll by poll


def test_a_reading_tells_what_a_poll_saw(world: World) -> None:
    """Before the first poll nothing is known; after it the verdict, who may restart, the time and the requests are."""
    watch = world.watch()
    before = watch.present()
    assert (before.verdict, before.fresh, before.last_success) == (None, False, None)
    assert (before.restart_safe, before.restart_cures) == (None, None)
    found = polled(watch)
    assert severity(found) is Severity.OK
    assert found.fresh
    assert (found.restart_safe, found.restart_cures) == (world.addresses, frozenset())
    assert (found.error, found.suspects, found.holders) == (None, frozenset(), ())
    assert found.requests["ok"] == 8
    assert sum(found.polls.counts) == 1
    assert world.told == [found]
    assert found.verdict
    assert found.verdict.snapshot.cluster == found.cluster == "orders-prod"


@pytest.mark.parametrize(("interval", "seconds"), [(15.0, 45.0), (60.0, 180.0), (1.0, 10.0)])
def test_a_verdict_is_of_the_present_for_three_intervals(world: World, interval: float, seconds: float) -> None:
    """From the begin of its poll, and ten seconds at least; then it is kept and no longer told as the present."""
    watch = world.watch(interval)
    first = polled(watch)
    world.clock.time += seconds
    assert watch.present() == first
    world.clock.time += 0.001
    assert watch.present() == replace(first, fresh=False)
    assert polled(watch).fresh


def test_its_time_is_that_of_the_begin_of_its_poll(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a slow poll saw first is as old as the poll."""
    judge = assess

    def slow(*arguments: Any, **options: Any) -> Any:
        world.clock.time += 30
        return judge(*arguments, **options)

    monkeypatch.setattr(watch_module, "assess", slow)
    watch = world.watch(15.0)
    assert polled(watch).fresh
    assert polled(watch).polls.counts[-2:] == (2, 0)
    world.clock.time += 15.001
    assert not watch.present().fresh


def test_a_dead_jolokia_everywhere_keeps_the_verdict_until_it_is_old(world: World) -> None:
    """The error is told, all that answered are suspects, nobody may restart; later nothing is the present any more."""
    watch = world.watch()
    good = polled(watch)
    world.all_go(Fault("refuse"))
    world.clock.time += 45
    failed = polled(watch)
    assert failed.error
    assert failed.error.startswith("nobody answered: ")
    assert (failed.verdict, failed.last_success, failed.fresh) == (good.verdict, good.last_success, True)
    assert (failed.restart_safe, failed.restart_cures, failed.suspects) == (None, None, world.addresses)
    assert sum(failed.polls.counts) == 2
    assert failed.requests["unreachable"] > 0
    world.clock.time += 1
    assert not watch.present().fresh
    assert not polled(watch).fresh
    text = metrics.render(lambda: [watch.present()])[1].decode()
    assert 'ringcheck_up{cassandra_cluster="orders-prod"} 0.0' in text
    assert "cassandra_ring_verdict{" not in text
    world.all_go(None)
    back = polled(watch)
    assert (back.error, back.fresh, back.suspects, severity(back)) == (None, True, frozenset(), Severity.OK)


@pytest.mark.parametrize(
    "faults", [("status",) * 3, ("refuse", "status", "status"), ("reset", "hang", "status"), ("html", "hang", "reset")]
)
def test_nobody_answers_in_whatever_way(faults: tuple[FaultKind, ...], world: World) -> None:
    """All that did are suspects, as each of them is whose peers still answer."""
    watch = world.watch(1.0)
    good = polled(watch)
    for number, kind in enumerate(faults):
        world.simulated.set_fault(number, Fault(kind, status=500))
    failed = polled(watch)
    assert failed.error
    assert failed.error.startswith("nobody answered: ")
    assert (failed.verdict, failed.restart_safe, failed.suspects) == (good.verdict, None, world.addresses)


def test_a_configuration_that_can_not_be_used_makes_no_suspects(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong on our side says nothing of nodes."""
    watch = world.watch()
    polled(watch)

    def wrong(*_: Any, **__: Any) -> None:
        raise ConfigError("the password can't be read")

    assert watch._source
    monkeypatch.setattr(watch._source, "poll", wrong)
    failed = polled(watch)
    assert (failed.error, failed.suspects) == ("the password can't be read", frozenset())


def test_a_killed_node_is_a_suspect_at_once_and_down_later(world: World) -> None:
    """In the first poll after its death, while its peers still see it up; a suspect no more when they see it down."""
    watch = world.watch()
    polled(watch)
    victim = world.address(1)
    world.simulated.down(1)
    for _ in range(2):
        found = polled(watch)
        assert found.suspects == {victim}
        assert states(found)[victim] == "up"
        assert severity(found) is Severity.UNKNOWN
        assert found.restart_safe is not None
        assert found.restart_safe <= {victim}
        assert found.restart_cures == frozenset()  # nobody but its silence says that it is down
    assert b'cassandra_ring_suspect_nodes{cassandra_cluster="orders-prod"} 1.0' in metrics.render(lambda: [found])[1]
    world.simulated.down(1, instant=True)
    found = polled(watch)
    assert found.suspects == frozenset()
    assert states(found)[victim] == "down"
    assert (found.restart_safe, found.restart_cures) == (frozenset(), frozenset({victim}))
    world.simulated.up(1, instant=True)
    found = polled(watch)
    assert (found.suspects, severity(found)) == (frozenset(), Severity.OK)


def test_a_paused_node_is_a_suspect_and_costs_no_more_than_the_deadline(world: World) -> None:
    """It takes connections and never answers: the poll is over in time with what the others said."""
    watch = world.watch(2.0)
    polled(watch)
    world.simulated.pause(2)
    found = polled(watch)
    assert found.suspects == {world.address(2)}
    assert found.error is None


def test_a_node_that_was_never_heard_is_no_suspect(world: World) -> None:
    """Its Jolokia may never have been there: that is a finding, and nothing that happened now."""
    world.simulated.set_fault(1, Fault("refuse"))
    watch = world.watch()
    for _ in range(2):
        found = polled(watch)
        assert found.suspects == frozenset()
        assert severity(found) is Severity.UNKNOWN
    world.simulated.set_fault(1, None)
    polled(watch)
    world.simulated.set_fault(1, Fault("refuse"))
    assert polled(watch).suspects == {world.address(1)}


def test_a_node_that_was_down_before_is_no_suspect_when_it_comes_up_silent(world: World) -> None:
    """Its peers see it up again, and its Jolokia was not started: nobody died."""
    watch = world.watch()
    polled(watch)
    world.simulated.down(1, instant=True)
    polled(watch)
    world.simulated.set_fault(1, Fault("refuse"))
    world.simulated.up(1, instant=True)
    found = polled(watch)
    assert states(found)[world.address(1)] == "up"
    assert found.suspects == frozenset()


def test_a_suspect_stays_one_through_a_poll_that_saw_nothing(world: World) -> None:
    """A poll without a usable view tells of nobody whether he is up; the next one suspects him again."""
    watch = world.watch()
    polled(watch)
    world.simulated.down(1)
    assert polled(watch).suspects == {world.address(1)}
    for number in (0, 2):
        world.simulated.binary_off(number)
    blind = polled(watch)
    assert (states(blind)[world.address(1)], blind.suspects) == ("unknown", frozenset())
    for number in (0, 2):
        world.simulated.binary_on(number)
    assert polled(watch).suspects == {world.address(1)}


def test_a_bug_is_told_with_its_place_and_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, nobody may restart, and the next poll is a poll."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by\nzero")

    watch = world.watch()
    good = polled(watch)
    with monkeypatch.context() as patch:
        patch.setattr(watch_module, "assess", broken)
        found = polled(watch)
    assert found.error
    assert found.error.startswith("this is a bug of ringcheck: ZeroDivisionError: by zero (test_watch.py:")
    assert (found.verdict, found.restart_safe) == (good.verdict, None)
    assert polled(watch).error is None


def test_a_password_that_can_not_be_read_yet_is_tried_again(world: World, tmp_path: Path) -> None:
    """A cluster whose file is missing is an error of its own, and is watched once the file is there."""
    file = tmp_path / "password"
    jolokia = replace(world.cluster.source, username="ringcheck", password_file=str(file))
    watch = world.watch(source=jolokia)
    found = polled(watch)
    assert found.error == f"{file} can't be read: No such file or directory"
    file.write_text("s3cret")
    file.chmod(0o600)
    assert polled(watch).error is None


def test_two_clusters_under_one_name_are_no_cluster() -> None:
    """Contact points of two clusters, though both are named alike: an error, and not one half of the truth."""
    with embedded() as one, ExitStack() as stack:
        other = EmbeddedCluster.uniform(3, keyspaces={"orders": topology(dc1=3)}, name="orders-prod", seed=7)
        server = stack.enter_context(serve(other))
        jolokia = JolokiaSettings(
            contact_points=(one.address(0), server.template.format(address=one.address(1))), url=one.cluster.source.url
        )
        found = polled(one.watch(source=jolokia))
    assert found.error
    assert found.error.startswith("two clusters, both named 'orders-prod': ")
    assert (found.verdict, found.fresh, found.suspects) == (None, False, frozenset())


def test_what_was_derived_of_states_that_are_over_is_forgotten(world: World) -> None:
    """Of hundreds of sets of down nodes, over months, those of the last poll are kept, and that with all nodes up."""
    watch = world.watch()

    def remembered() -> int:
        found = polled(watch)
        assert found.verdict
        (ring,) = found.verdict.snapshot.rings
        return sum(isinstance(one, RingState) for one in ring.memo.values())

    always = remembered()
    counts = []
    for victim in (0, 1, 2, 0):
        world.simulated.down(victim, instant=True)
        counts.append(remembered())
        remembered()
        world.simulated.up(victim, instant=True)
        remembered()
        counts.append(remembered())
    assert counts[1::2] == [always] * 4
    assert len(set(counts[::2])) == 1
    assert counts[0] > always


# Leases


def held(world: World, folder: Path, number: int) -> Cluster:
    """The cluster with a lock file in which a node is under a lease."""
    cluster = replace(world.cluster, lease=Lease(file=str(folder / "leases.json")))
    open_store(cluster).add(
        [Holder(node=world.address(number), owner="ops@bastion", purpose="new kernel", since=now())]
    )
    return cluster


def test_a_lease_lowers_tickets_and_keeps_others_from_restarting(world: World, tmp_path: Path) -> None:
    """A node that is down under a lease is no ticket; its peers may not restart beside it; its owner is told."""
    world.simulated.down(1, instant=True)
    bare = polled(world.watch())
    assert severity(bare) is Severity.WARNING
    watch = world.watch(lease=held(world, tmp_path, 1).lease)
    assert watch.present().holders is None
    found = polled(watch)
    assert found.verdict
    assert {one.code for one in found.verdict.findings if one.severity is Severity.OK} >= {"lease_held"}
    assert [one.owner for one in found.holders or ()] == ["ops@bastion"]
    assert (found.restart_safe, found.restart_cures) == (frozenset(), frozenset())  # its owner starts it
    assert bare.restart_cures == frozenset({world.address(1)})
    assert "ops@bastion" in found.verdict.summary


def test_a_node_under_a_lease_counts_as_down_for_who_may_restart(world: World, tmp_path: Path) -> None:
    """It is up still, and will stop soon."""
    found = polled(world.watch(lease=held(world, tmp_path, 1).lease))
    assert severity(found) is Severity.OK
    assert found.restart_safe == frozenset()


def test_while_leases_are_not_known_nothing_is_lowered_and_nobody_may_restart(world: World, tmp_path: Path) -> None:
    """A record that can't be read: holders and safe nodes are None, not empty; read again, all is as before."""
    cluster = held(world, tmp_path, 1)
    world.simulated.down(1, instant=True)
    watch = world.watch(lease=cluster.lease)
    good = polled(watch)
    path = tmp_path / "leases.json"
    text = path.read_text()
    path.write_text("{")
    found = polled(watch)
    assert (found.holders, found.restart_safe, found.restart_cures, found.error) == (None, None, None, None)
    assert found.verdict
    assert severity(found) is Severity.WARNING
    assert "leases_unknown" in {one.code for one in found.verdict.findings}
    body = metrics.render(lambda: [found])[1].decode()
    assert 'ringcheck_lease_store_up{cassandra_cluster="orders-prod"} 0.0' in body
    assert "cassandra_ring_restart_safe_nodes{" not in body
    path.write_text(text)
    again = polled(watch)
    assert (again.holders, again.restart_safe) == (good.holders, good.restart_safe)


def leases_in(reading: Reading) -> list[str]:
    """What the metrics tell of leases: series and whether the value is more than 0."""
    lines = metrics.render(lambda: [reading])[1].decode().splitlines()
    return [
        f"{line.partition('{')[0]} {line.rpartition(' ')[2] > '0.0'}"
        for line in lines
        if "ringcheck_lease" in line[:15]
    ]


def test_leases_are_read_while_no_node_answers(world: World, tmp_path: Path) -> None:
    """From the first poll on: who holds one, that it was released, that the store is broken; before it nothing."""
    world.all_go(Fault("refuse"))
    watch = world.watch(lease=held(world, tmp_path, 1).lease)
    before = watch.present()
    assert (before.store_asked, leases_in(before)) == (False, [])
    found = polled(watch)
    assert found.error
    assert [one.owner for one in found.holders or ()] == ["ops@bastion"]
    assert leases_in(found) == ["ringcheck_lease_store_up True", "ringcheck_lease_holder_age_seconds True"]
    open_store(watch.cluster).remove([world.address(1)], "ops@bastion")
    found = polled(watch)
    assert (found.holders, leases_in(found)) == ((), ["ringcheck_lease_store_up True"])
    (tmp_path / "leases.json").write_text("{")
    found = polled(watch)
    assert (found.holders, leases_in(found)) == (None, ["ringcheck_lease_store_up False"])


def test_leases_that_a_poll_did_not_read_are_not_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug before they were asked for leaves those of the poll before, which may be over."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    watch = world.watch(lease=held(world, tmp_path, 1).lease)
    assert len(leases_in(polled(watch))) == 2
    assert watch._source
    monkeypatch.setattr(watch._source, "poll", broken)
    assert leases_in(polled(watch)) == []


def test_without_a_store_the_commands_lock_file_tells_who_may_restart(world: World) -> None:
    """As in the gate's decisions: who runs `roll` here without `lease:` keeps them there. None lowers a ticket."""
    watch = world.watch()
    found = polled(watch)
    assert (found.holders, found.restart_safe) == ((), world.addresses)
    open_store(world.cluster).add(
        [Holder(node=world.address(1), owner="ops@bastion", purpose="new kernel", since=now())]
    )
    world.simulated.down(1, instant=True)
    found = polled(watch)
    assert [one.owner for one in found.holders or ()] == ["ops@bastion"]
    assert (found.restart_safe, found.restart_cures) == (frozenset(), frozenset())
    assert severity(found) is Severity.WARNING


def test_a_default_lock_file_that_may_not_be_read_is_no_alert(world: World) -> None:
    """Nobody asked for it: who may restart is not known then, and no store of leases is told as broken."""
    open_store(world.cluster).add(
        [Holder(node=world.address(1), owner="ops@bastion", purpose="new kernel", since=now())]
    )
    lockfile.FOLDER.chmod(0o777)  # anybody could forge what is in it
    found = polled(world.watch())
    assert (found.holders, found.restart_safe, found.error) == ((), None, None)
    assert found.verdict
    assert severity(found) is Severity.OK
    assert "leases_unknown" not in {one.code for one in found.verdict.findings}
    body = metrics.render(lambda: [found])[1].decode()
    assert 'ringcheck_lease_store_up{cassandra_cluster="orders-prod"} 1.0' in body
    assert "cassandra_ring_restart_safe_nodes{" not in body


def test_a_lease_of_a_node_that_is_not_there_blocks_all(world: World, tmp_path: Path) -> None:
    """It can't be counted as down, as the gate says too."""
    cluster = replace(world.cluster, lease=Lease(file=str(tmp_path / "leases.json")))
    open_store(cluster).add([Holder(node="127.9.9.9", owner="ops@bastion", purpose="", since=now())])
    assert polled(world.watch(lease=cluster.lease)).restart_safe == frozenset()


def test_a_gate_that_is_configured_wrong_leaves_the_verdict(world: World) -> None:
    """A keyspace that is accepted and was dropped keeps nodes from restarting; health is told all the same."""
    world.simulated.down(1, instant=True)
    watch = world.watch(gate=Gate(settle=0, accept=("dropped",)))
    found = polled(watch)
    assert (found.error, severity(found)) == (None, Severity.WARNING)
    assert (found.restart_safe, found.restart_cures) == (frozenset(), frozenset())


@pytest.mark.parametrize("serves", [True, False])
def test_a_node_that_is_down_for_its_peers_is_no_spare_one(world: World, serves: bool) -> None:  # noqa: FBT001 - a case
    """Cut off but running, its stop is judged as that of one that is up; it never counts among the up ones."""
    watch = world.watch()
    polled(watch)
    victim = world.address(1)
    world.simulated.partition([1], instant=True)
    if not serves:
        world.simulated.binary_off(1)
    found = polled(watch)
    assert states(found)[victim] == "down"
    assert found.restart_safe == frozenset()
    assert found.restart_cures == (frozenset() if serves else frozenset({victim}))


# All watches


@contextmanager
def running(agent: Agent) -> Iterator[Agent]:
    agent.start()
    try:
        yield agent
    finally:
        agent.stop(PATIENCE)


def config(*clusters: Cluster, interval: float = 1.0) -> Config:
    return Config({one.name: one for one in clusters}, AgentSettings(interval=interval))


def polls(agent: Agent, name: str) -> int:
    reading = agent.reading(name)
    return sum(reading.polls.counts) if reading else 0


def until(condition: Callable[[], bool]) -> None:
    await_(condition, PATIENCE, "it did not come to be")


@dataclass
class Hangs:
    """A judge that stands still for clusters of some name until it may go on."""

    name: str
    judge: Any = assess
    entered: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)

    def __call__(self, seen: Any, *arguments: Any, **options: Any) -> Any:
        if seen.cluster == self.name:
            self.entered.set()
            self.free.wait(PATIENCE)
        return self.judge(seen, *arguments, **options)


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hangs]:
    found = Hangs("slow")
    monkeypatch.setattr(watch_module, "assess", found)
    yield found
    found.free.set()


@pytest.mark.slow
def test_a_cluster_that_hangs_delays_no_other(world: World, hangs: Hangs) -> None:
    """Each has a thread of its own: one is polled again and again while another's first poll lasts."""
    slow = replace(world.cluster, name="slow")
    with running(Agent(config(slow, world.cluster))) as agent:
        until(lambda: polls(agent, "orders-prod") >= 3)
        assert hangs.entered.is_set()
        assert polls(agent, "slow") == 0
        assert not agent.tried()
        hangs.free.set()
        until(agent.tried)
        assert [one.cluster for one in agent.readings()] == ["slow", "orders-prod"]


@pytest.mark.slow
def test_nodes_that_never_answer_cost_their_cluster_a_poll_and_no_more(world: World) -> None:
    """A poll is over in time, well or not, and the next one begins."""
    with running(Agent(config(world.cluster))) as agent:
        until(agent.tried)
        world.all_go(Fault("hang"))
        until(lambda: bool((reading := agent.reading("orders-prod")) and reading.error))
        failed = polls(agent, "orders-prod")
        until(lambda: polls(agent, "orders-prod") > failed)
        assert agent.lively()


def test_a_poll_that_hangs_makes_the_reading_old_and_the_agent_not_lively(world: World, hangs: Hangs) -> None:
    """Nobody has to notice: how old it is, is asked of the clock by whoever wants to know."""
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
        told = agent.reading("slow")
        assert told
        assert told.fresh
        assert told.verdict
        assert not agent.lively()
        clock.time += 1
        assert agent.readings() == (replace(told, fresh=False),)
        hangs.free.set()
        until(lambda: agent.readings()[0].fresh)
        assert agent.lively()


def test_lively_bears_a_poll_at_its_deadline_and_not_two(world: World) -> None:
    """An interval with its jitter, the poll's own time and the leases' are allowed, twice, before a restart helps."""
    watch = world.watch(10.0)
    world.clock.time += 34.9
    assert watch.lively()
    world.clock.time += 0.2
    assert not watch.lively()
    watch.turn()
    assert watch.lively()


def test_hurry_polls_at_once(world: World) -> None:
    """The pause is cut short, for the cluster that is meant."""
    other = replace(world.cluster, name="other")
    with running(Agent(config(world.cluster, other, interval=NEVER))) as agent:
        until(agent.tried)
        agent.hurry("orders-prod")
        until(lambda: polls(agent, "orders-prod") == 2)
        agent.hurry("nobody's")
        assert polls(agent, "other") == 1


def test_fresh_is_a_poll_that_began_after_the_question(world: World, hangs: Hangs) -> None:
    """Not the one that lasts still, and with streams; None for a name that nobody has, and where time is over."""
    hangs.free.set()
    cluster = replace(world.cluster, name="slow")
    with running(Agent(config(cluster, interval=NEVER))) as agent:
        until(agent.tried)
        hangs.free.clear()
        hangs.entered.clear()
        agent.hurry("slow")
        assert hangs.entered.wait(PATIENCE)
        world.simulated.stream(1)
        found: list[Reading | None] = []
        asking = threading.Thread(target=lambda: found.append(agent.fresh("slow", PATIENCE)))
        asking.start()
        assert agent.fresh("slow", 0.01) is None
        hangs.free.set()
        asking.join(PATIENCE)
        (reading,) = found
        assert reading
        assert reading.verdict
        assert sum(reading.polls.counts) >= 3
        assert {node.address for node in reading.verdict.snapshot.nodes if node.streams} == {world.address(1)}
        assert agent.fresh("nobody", 0.01) is None
        world.all_go(Fault("refuse"))
        failed = agent.fresh("slow", PATIENCE)
        assert failed
        assert failed.error


def test_wait_wakes_whoever_waits_for_news_and_at_the_end(world: World) -> None:
    """A new reading or the end of all: not the time given."""
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
    """Those of watches, listeners and requests end; a second stop does no harm."""
    before = set(threading.enumerate())
    agent = Agent(config(world.cluster), [lambda _: None])
    with running(agent):
        until(agent.tried)
        assert {one.name for one in threading.enumerate()} >= {"watch orders-prod", "listener"}
        assert agent.stop(PATIENCE)
    until(lambda: set(threading.enumerate()) <= before)
    count = agent.sequence
    assert agent.stop(0.0)
    assert agent.sequence == count


def test_stop_waits_for_no_poll_that_hangs(world: World, hangs: Hangs) -> None:
    """It says that it did not end cleanly, and nothing is told of that poll later."""
    told: list[Reading] = []
    agent = Agent(config(replace(world.cluster, name="slow")), [told.append])
    agent.start()
    assert hangs.entered.wait(PATIENCE)
    assert not agent.stop(0.1)
    hangs.free.set()
    until(lambda: not any(one.name == "watch slow" for one in threading.enumerate()))
    assert told == []


# Listeners


@pytest.mark.slow
def test_listeners_that_raise_or_hang_cost_nobody_else_anything(world: World) -> None:
    """Polls and other listeners go on; what was raised is complained of; who was slow hears the newest."""
    free, news = threading.Event(), 4
    slow: list[int] = []
    told: list[Reading] = []
    complaints: list[str] = []

    def raises(_: Reading) -> None:
        raise RuntimeError("no\nmore")

    def waits(reading: Reading) -> None:
        slow.append(sum(reading.polls.counts))
        free.wait(PATIENCE)

    agent = Agent(config(world.cluster), [raises, waits, told.append], complain=complaints.append)
    with running(agent):
        until(lambda: len(told) >= news and len(complaints) >= news)
        assert slow == [1]
        free.set()
        until(lambda: len(slow) >= 2)
    assert complaints[0].startswith("this is a bug of ringcheck: RuntimeError: no more (test_watch.py:")
    assert slow[1] >= news
    assert [sum(one.polls.counts) for one in told[:news]] == [1, 2, 3, 4]


def test_a_listener_hears_the_last_words(world: World) -> None:
    """What was read before the end is handed on at the end."""
    free, told = threading.Event(), []

    def late(reading: Reading) -> None:
        free.wait(PATIENCE)
        told.append(reading)

    agent = Agent(config(world.cluster), [late])
    agent.start()
    until(lambda: polls(agent, "orders-prod") >= 2)
    threading.Timer(0.2, free.set).start()
    assert agent.stop(PATIENCE)
    assert len(told) == 2


# Other configurations


def test_a_reload_leaves_what_is_the_same_alone(world: World) -> None:
    """The same cluster keeps its watch, its connections and its reading; others begin, change and end."""
    two, three = (replace(world.cluster, name=name) for name in ("two", "three"))
    clock = Clock()
    with running(Agent(config(world.cluster, two, interval=NEVER), clock=clock)) as agent:
        until(agent.tried)
        known = agent.reading("orders-prod")
        assert known
        again = replace(world.cluster, source=replace(world.cluster.source))  # equal, as read from the file again
        agent.reload(config(three, again, replace(two, gate=Gate(settle=9999)), interval=NEVER))
        assert [one.cluster for one in agent.readings()] == ["three", "orders-prod", "two"]
        until(agent.tried)
        assert agent.reading("orders-prod") == known
        safe = [one.restart_safe for one in agent.readings()]
        assert safe == [world.addresses, world.addresses, frozenset()]
        agent.reload(config(two, interval=NEVER))
        assert agent.reading("orders-prod") is None
        assert [one.cluster for one in agent.readings()] == ["two"]
        until(lambda: {one.name for one in threading.enumerate() if one.name.startswith("watch")} == {"watch two"})


def test_what_is_gone_is_not_told_any_more(world: World, hangs: Hangs) -> None:
    """A cluster whose last poll lasts when it is taken out of the configuration: no word of it after that."""
    told: list[Reading] = []
    with running(Agent(config(replace(world.cluster, name="slow")), [told.append])) as agent:
        assert hangs.entered.wait(PATIENCE)
        agent.reload(config(world.cluster))
        hangs.free.set()
        until(lambda: bool(told))
        until(lambda: not any(one.name == "watch slow" for one in threading.enumerate()))
    assert {one.cluster for one in told} == {"orders-prod"}


def test_whoever_asks_a_cluster_that_is_taken_away_is_told_soon(world: World, hangs: Hangs) -> None:
    """A question to a watch that ends is over with it."""
    with running(Agent(config(replace(world.cluster, name="slow"), interval=NEVER))) as agent:
        assert hangs.entered.wait(PATIENCE)
        found: list[Reading | None] = []
        asking = threading.Thread(target=lambda: found.append(agent.fresh("slow", 10 * PATIENCE)))
        asking.start()
        until(lambda: agent._state.watches[0]._streams)  # it has asked
        agent.reload(config(world.cluster, interval=NEVER))
        asking.join(PATIENCE)
        assert found == [None]
        hangs.free.set()


def test_another_interval_keeps_what_is_known_and_polls_at_once(world: World) -> None:
    """The watch lives on, is no corpse for a pause that was longer, and counts on."""
    clock = Clock()
    with running(Agent(config(world.cluster, interval=NEVER), clock=clock)) as agent:
        until(agent.tried)
        clock.time += NEVER / 2
        agent.reload(config(world.cluster, interval=1.0))
        assert agent.lively()
        until(lambda: polls(agent, "orders-prod") >= 3)
        assert agent.config.agent.interval == 1.0


def test_a_configuration_that_is_refused_leaves_all_and_says_so(world: World) -> None:
    """In the metric, until a good one is in force."""
    agent = Agent(config(world.cluster))

    def told() -> list[float]:
        lines = metrics.render(agent.readings, reload=agent.last_reload)[1].decode().splitlines()
        return [float(line.split()[1]) for line in lines if line.startswith("ringcheck_config_last_reload_success")]

    first = agent.last_reload
    assert told() == [1.0, first.last_success]
    agent.refuse()
    assert told() == [0.0, first.last_success]
    assert [one.cluster for one in agent.readings()] == ["orders-prod"]
    agent.reload(config(world.cluster))
    assert told() == [1.0, agent.last_reload.last_success]
    assert agent.last_reload.last_success > first.last_success


def test_one_cluster_under_two_names_is_two_clusters(world: World) -> None:
    """Each is told by its own name, and both are right."""
    with running(Agent(config(world.cluster, replace(world.cluster, name="again"), interval=NEVER))) as agent:
        until(agent.tried)
        assert [(one.cluster, severity(one)) for one in agent.readings()] == [
            ("orders-prod", Severity.OK),
            ("again", Severity.OK),
        ]
        text = metrics.render(agent.readings)[1].decode()
    assert 'ringcheck_up{cassandra_cluster="orders-prod"} 1.0' in text
    assert 'ringcheck_up{cassandra_cluster="again"} 1.0' in text


@pytest.mark.slow
def test_no_password_is_logged(world: World, tmp_path: Path) -> None:
    """Whatever goes wrong with those who want one: Jolokia that refuses it, an etcd that is not there."""
    file = tmp_path / "password"
    file.write_text("s3cret-word")
    file.chmod(0o600)
    jolokia = replace(world.cluster.source, username="ringcheck", password_file=str(file))
    lease = Lease(etcd=("http://127.0.0.1:1",), username="root", password_file=str(file))
    stream = io.StringIO()
    watch = world.watch(source=jolokia, lease=lease)
    changes = Changes(Log("logfmt", stream))
    world.simulated.set_fault(1, Fault("status", status=401))
    changes(polled(watch))
    world.all_go(Fault("status", status=401))
    changes(polled(watch))
    logged = stream.getvalue()
    assert "event=leases_unknown" in logged
    assert "event=poll_failed" in logged
    assert "401" in logged
    assert "s3cret-word" not in logged + repr(watch.present())
    assert base64.b64encode(b"ringcheck:s3cret-word").decode() not in logged
