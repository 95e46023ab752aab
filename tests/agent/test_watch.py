"""The watch of an embedded cluster: its readings, how long they are current, and which errors it survives."""

from __future__ import annotations

import base64
import io
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent.clock import LeaseAges
from ringcheck.agent.judging import Judging
from ringcheck.agent.log import Changes, Log
from ringcheck.agent.questions import judged
from ringcheck.config.values import Cluster, Lease
from ringcheck.core.assess import Question
from ringcheck.core.gate import Gate
from ringcheck.core.health import RingState
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Severity
from ringcheck.core.transitions import utc
from ringcheck.errors import ConfigError
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.leases import lockfile
from ringcheck.leases.configured import open_store
from ringcheck.leases.stamp import now
from ringcheck.report import metrics
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import serve
from tests.agent.embedded import World, embedded, polled, severity, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringcheck.report.reading import Reading
    from ringcheck.simulator.faults import FaultKind


@pytest.fixture
def world() -> Iterator[World]:
    with embedded() as world:
        yield world


# Poll by poll


def test_a_reading_has_the_result_of_a_poll(world: World) -> None:
    """Before the first poll nothing is known; afterwards it has verdict, nodes that may restart, time and requests."""
    watch = world.watch()
    before = watch.present()
    assert (before.verdict, before.fresh, before.last_success) == (None, False, None)
    assert (before.restart_safe, before.restart_cures) == (None, None)
    reading = polled(watch)
    assert severity(reading) is Severity.OK
    assert reading.fresh
    assert (reading.restart_safe, reading.restart_cures) == (world.addresses, frozenset())
    assert (reading.error, reading.suspects, reading.holders) == (None, frozenset(), ())
    assert reading.requests["ok"] == 10
    assert sum(reading.polls.counts) == 1
    assert world.published == [reading]
    assert reading.verdict
    assert reading.verdict.snapshot.cluster == reading.cluster == "orders-prod"


@pytest.mark.parametrize(("interval", "seconds"), [(15.0, 45.0), (60.0, 180.0), (1.0, 10.0)])
def test_a_verdict_is_current_for_three_intervals(world: World, interval: float, seconds: float) -> None:
    """The time starts with its poll, and is ten seconds at least; after it the verdict is kept as an old one."""
    watch = world.watch(interval)
    first = polled(watch)
    world.clock.time += seconds
    assert watch.present() == first
    world.clock.time += 0.001
    assert watch.present() == replace(first, fresh=False)
    assert polled(watch).fresh


def test_the_age_of_a_verdict_counts_from_the_start_of_its_poll(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a slow poll the first data is as old as the poll itself."""
    judge = Judging.judge

    def slow(*arguments: Any, **options: Any) -> Any:
        world.clock.time += 30
        return judge(*arguments, **options)

    monkeypatch.setattr(Judging, "judge", slow)
    watch = world.watch(15.0)
    assert polled(watch).fresh
    assert polled(watch).polls.counts[-2:] == (2, 0)
    world.clock.time += 15.001
    assert not watch.present().fresh


@pytest.mark.slow
def test_the_verdict_is_kept_while_no_node_answers(world: World) -> None:
    """The error is shown, all nodes are suspects, none may restart; later the verdict is old."""
    watch = world.watch()
    good = polled(watch)
    world.all_go(Fault("refuse"))
    world.clock.time += 45
    failed = polled(watch)
    assert failed.error
    assert failed.error.startswith("no node answered: ")
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults", [("status",) * 3, ("refuse", "status", "status"), ("reset", "hang", "status"), ("html", "hang", "reset")]
)
def test_every_kind_of_silence_makes_suspects(faults: tuple[FaultKind, ...], world: World) -> None:
    """If no node answers, all nodes that answered before are suspects, whatever kinds of faults they have."""
    watch = world.watch(1.0)
    good = polled(watch)
    for number, kind in enumerate(faults):
        world.simulated.set_fault(number, Fault(kind, status=500))
    failed = polled(watch)
    assert failed.error
    assert failed.error.startswith("no node answered: ")
    assert (failed.verdict, failed.restart_safe, failed.suspects) == (good.verdict, None, world.addresses)


def test_a_configuration_error_makes_no_suspects(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error on our side says nothing about the nodes."""
    watch = world.watch()
    polled(watch)

    def wrong(*_: Any, **__: Any) -> None:
        raise ConfigError("the password can't be read")

    assert watch._source
    monkeypatch.setattr(watch._source, "poll", wrong)
    failed = polled(watch)
    assert (failed.error, failed.suspects) == ("the password can't be read", frozenset())


@pytest.mark.slow
def test_a_killed_node_is_first_a_suspect_then_down(world: World) -> None:
    """It is a suspect while its peers still see it up, and no longer once they see it down."""
    watch = world.watch()
    polled(watch)
    victim = world.address(1)
    world.simulated.down(1)
    for _ in range(2):
        reading = polled(watch)
        assert reading.suspects == {victim}
        assert states(reading)[victim] == "up"
        assert severity(reading) is Severity.UNKNOWN
        assert reading.restart_safe is not None
        assert reading.restart_safe <= {victim}
        assert reading.restart_cures == frozenset()  # its silence alone does not prove that it is down
    assert b'cassandra_ring_suspect_nodes{cassandra_cluster="orders-prod"} 1.0' in metrics.render(lambda: [reading])[1]
    world.simulated.down(1, instant=True)
    reading = polled(watch)
    assert reading.suspects == frozenset()
    assert states(reading)[victim] == "down"
    assert (reading.restart_safe, reading.restart_cures) == (frozenset(), frozenset({victim}))
    world.simulated.up(1, instant=True)
    reading = polled(watch)
    assert (reading.suspects, severity(reading)) == (frozenset(), Severity.OK)


@pytest.mark.slow
def test_a_paused_node_is_a_suspect(world: World) -> None:
    """It accepts connections and never answers; the poll ends in time with the data of the others."""
    watch = world.watch(2.0)
    polled(watch)
    world.simulated.pause(2)
    reading = polled(watch)
    assert reading.suspects == {world.address(2)}
    assert reading.error is None


@pytest.mark.slow
def test_a_node_that_never_answered_is_no_suspect(world: World) -> None:
    """Its Jolokia may not be installed: that is a finding, but does not mean that the node died."""
    world.simulated.set_fault(1, Fault("refuse"))
    watch = world.watch()
    for _ in range(2):
        reading = polled(watch)
        assert reading.suspects == frozenset()
        assert severity(reading) is Severity.UNKNOWN
    world.simulated.set_fault(1, None)
    polled(watch)
    world.simulated.set_fault(1, Fault("refuse"))
    assert polled(watch).suspects == {world.address(1)}


def test_a_node_that_comes_up_without_jolokia_is_no_suspect(world: World) -> None:
    """Its peers see it up again, and only its Jolokia was not started: no node died."""
    watch = world.watch()
    polled(watch)
    world.simulated.down(1, instant=True)
    polled(watch)
    world.simulated.set_fault(1, Fault("refuse"))
    world.simulated.up(1, instant=True)
    reading = polled(watch)
    assert states(reading)[world.address(1)] == "up"
    assert reading.suspects == frozenset()


@pytest.mark.slow
def test_a_suspect_stays_one_through_a_blind_poll(world: World) -> None:
    """A poll without a usable view can't tell whether a node is up; the next one suspects the node again."""
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


def test_a_bug_is_reported_and_does_not_end_the_watch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the location is logged; no node may restart, and the next poll works."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by\nzero")

    watch = world.watch()
    good = polled(watch)
    with monkeypatch.context() as patch:
        patch.setattr(Judging, "judge", broken)
        reading = polled(watch)
    assert reading.error
    assert reading.error.startswith("this is a bug in ringcheck: ZeroDivisionError: by zero (test_watch.py:")
    assert (reading.verdict, reading.restart_safe) == (good.verdict, None)
    assert polled(watch).error is None


def test_a_missing_password_file_is_read_again(world: World, tmp_path: Path) -> None:
    """The missing file is an error of that poll; once it exists, the cluster is watched."""
    file = tmp_path / "password"
    jolokia = replace(world.settings, username="ringcheck", password_file=str(file))
    watch = world.watch(source=jolokia)
    reading = polled(watch)
    assert reading.error == f"{file} can't be read: No such file or directory"
    file.write_text("s3cret")
    file.chmod(0o600)
    assert polled(watch).error is None


def test_contact_points_of_two_clusters_are_an_error() -> None:
    """This holds although both clusters have the same name: a verdict would cover only one of them."""
    with embedded() as world, ExitStack() as stack:
        other = EmbeddedCluster.uniform(3, keyspaces={"orders": topology(dc1=3)}, name="orders-prod", seed=7)
        server = stack.enter_context(serve(other))
        jolokia = JolokiaSettings(
            contact_points=(world.address(0), server.template.format(address=world.address(1))),
            url=world.settings.url,
        )
        reading = polled(world.watch(source=jolokia))
    assert reading.error
    assert reading.error.startswith("two clusters, both named 'orders-prod': ")
    assert (reading.verdict, reading.fresh, reading.suspects) == (None, False, frozenset())


@pytest.mark.slow
def test_memory_for_past_states_is_freed(world: World) -> None:
    """Only what was computed for the last set of down nodes, and for all nodes up, is kept."""
    watch = world.watch()

    def remembered() -> int:
        reading = polled(watch)
        assert reading.verdict
        (ring,) = reading.verdict.snapshot.rings
        return sum(isinstance(value, RingState) for value in ring.memo.values())

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


def test_lively_allows_one_poll_at_its_deadline(world: World) -> None:
    """An interval with jitter, and twice the time of a poll and its leases, are allowed; after that a restart helps."""
    watch = world.watch(10.0)
    world.clock.time += 34.9
    assert watch.makes_progress()
    world.clock.time += 0.2
    assert not watch.makes_progress()
    watch.turn()
    assert watch.makes_progress()


@pytest.mark.slow
def test_no_password_is_logged(world: World, tmp_path: Path) -> None:
    """This holds even if Jolokia refuses the password, or etcd does not answer."""
    file = tmp_path / "password"
    file.write_text("s3cret-word")
    file.chmod(0o600)
    jolokia = replace(world.settings, username="ringcheck", password_file=str(file))
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


# Leases


def lease(node: str) -> Holder:
    return Holder(node=node, owner="ops@bastion", purpose="new kernel", since=now())


def held(world: World, folder: Path, number: int) -> Cluster:
    """The cluster with a lock file that holds the lease of a node."""
    cluster = replace(world.cluster, lease=Lease(file=str(folder / "leases.json")))
    open_store(cluster).add([lease(world.address(number))])
    return cluster


def test_a_lease_lowers_tickets_and_blocks_other_restarts(world: World, tmp_path: Path) -> None:
    """A node that is down under a lease makes no ticket; its peers may not restart meanwhile; its owner is shown."""
    world.simulated.down(1, instant=True)
    bare = polled(world.watch())
    assert severity(bare) is Severity.WARNING
    watch = world.watch(lease=held(world, tmp_path, 1).lease)
    assert watch.present().holders is None
    reading = polled(watch)
    assert reading.verdict
    assert {finding.code for finding in reading.verdict.findings if finding.severity is Severity.OK} >= {"lease_held"}
    assert [holder.owner for holder in reading.holders or ()] == ["ops@bastion"]
    assert (reading.restart_safe, reading.restart_cures) == (frozenset(), frozenset())  # the lease's owner starts it
    assert bare.restart_cures == frozenset({world.address(1)})
    assert "ops@bastion" in reading.verdict.summary


@pytest.mark.parametrize("moved", [6 * 3600.0, -6 * 3600.0])
def test_a_clock_that_is_set_makes_no_lease_overdue(world: World, tmp_path: Path, moved: float) -> None:
    """The agent knows how long it has seen the lease, in its verdict and in those on questions of requests."""
    world.simulated.down(1, instant=True)
    cluster = replace(world.cluster, lease=Lease(file=str(tmp_path / "leases.json")))
    taken = time.time() - moved
    open_store(cluster).add([replace(lease(world.address(1)), since=utc(1000 * taken))])
    watch = world.watch(lease=cluster.lease)
    watch._ages = LeaseAges(lambda: taken, lambda: 0.0)  # as if the clock was set since then
    reading = polled(watch)
    assert reading.verdict
    again = judged(reading, reading.verdict, cluster, Question())
    for verdict in (reading.verdict, again):
        assert "lease_overdue" not in {finding.code for finding in verdict.findings}
        assert severity(replace(reading, verdict=verdict)) is Severity.OK


def test_a_node_under_a_lease_counts_as_down(world: World, tmp_path: Path) -> None:
    """It is still up, but it will stop soon."""
    reading = polled(world.watch(lease=held(world, tmp_path, 1).lease))
    assert severity(reading) is Severity.OK
    assert reading.restart_safe == frozenset()


@pytest.mark.slow
def test_unknown_leases_lower_nothing_and_block_all_restarts(world: World, tmp_path: Path) -> None:
    """While the record can't be read, holders and safe nodes are None, and not empty."""
    cluster = held(world, tmp_path, 1)
    world.simulated.down(1, instant=True)
    watch = world.watch(lease=cluster.lease)
    good = polled(watch)
    path = tmp_path / "leases.json"
    text = path.read_text()
    path.write_text("{")
    reading = polled(watch)
    assert (reading.holders, reading.restart_safe, reading.restart_cures, reading.error) == (None, None, None, None)
    assert reading.verdict
    assert severity(reading) is Severity.WARNING
    assert "leases_unknown" in {finding.code for finding in reading.verdict.findings}
    body = metrics.render(lambda: [reading])[1].decode()
    assert 'ringcheck_lease_store_up{cassandra_cluster="orders-prod"} 0.0' in body
    assert "cassandra_ring_restart_safe_nodes{" not in body
    path.write_text(text)
    again = polled(watch)
    assert (again.holders, again.restart_safe) == (good.holders, good.restart_safe)


def leases_in(reading: Reading) -> list[str]:
    """The metrics about leases: each series, and whether its value is above 0."""
    lines = metrics.render(lambda: [reading])[1].decode().splitlines()
    return [
        f"{line.partition('{')[0]} {line.rpartition(' ')[2] > '0.0'}"
        for line in lines
        if "ringcheck_lease" in line[:15]
    ]


@pytest.mark.slow
def test_leases_are_read_while_no_node_answers(world: World, tmp_path: Path) -> None:
    """From the first poll on they show the holder, its release and a broken store; before it nothing is exported."""
    world.all_go(Fault("refuse"))
    watch = world.watch(lease=held(world, tmp_path, 1).lease)
    before = watch.present()
    assert (before.store_asked, leases_in(before)) == (False, [])
    reading = polled(watch)
    assert reading.error
    assert [holder.owner for holder in reading.holders or ()] == ["ops@bastion"]
    assert leases_in(reading) == ["ringcheck_lease_store_up True", "ringcheck_lease_holder_age_seconds True"]
    open_store(watch.cluster).remove([world.address(1)], "ops@bastion")
    reading = polled(watch)
    assert (reading.holders, leases_in(reading)) == ((), ["ringcheck_lease_store_up True"])
    (tmp_path / "leases.json").write_text("{")
    reading = polled(watch)
    assert (reading.holders, leases_in(reading)) == (None, ["ringcheck_lease_store_up False"])


def test_leases_of_an_earlier_poll_are_not_exported(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a bug ends a poll before it reads the leases, the known leases may be out of date."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    watch = world.watch(lease=held(world, tmp_path, 1).lease)
    assert len(leases_in(polled(watch))) == 2
    assert watch._source
    monkeypatch.setattr(watch._source, "poll", broken)
    assert leases_in(polled(watch)) == []


def test_without_a_lease_store_the_default_lock_file_counts(world: World) -> None:
    """`roll` without `lease:` keeps its leases there. They block restarts, but lower no ticket."""
    watch = world.watch()
    reading = polled(watch)
    assert (reading.holders, reading.restart_safe) == ((), world.addresses)
    open_store(world.cluster).add([lease(world.address(1))])
    world.simulated.down(1, instant=True)
    reading = polled(watch)
    assert [holder.owner for holder in reading.holders or ()] == ["ops@bastion"]
    assert (reading.restart_safe, reading.restart_cures) == (frozenset(), frozenset())
    assert severity(reading) is Severity.WARNING


def test_an_unreadable_default_lock_file_is_no_alert(world: World) -> None:
    """It is not known which nodes may restart, but no broken lease store is reported, since none was configured."""
    open_store(world.cluster).add([lease(world.address(1))])
    lockfile.FOLDER.chmod(0o777)  # a lock file that any user could forge
    reading = polled(world.watch())
    assert (reading.holders, reading.restart_safe, reading.error) == ((), None, None)
    assert reading.verdict
    assert severity(reading) is Severity.OK
    assert "leases_unknown" not in {finding.code for finding in reading.verdict.findings}
    body = metrics.render(lambda: [reading])[1].decode()
    assert 'ringcheck_lease_store_up{cassandra_cluster="orders-prod"} 1.0' in body
    assert "cassandra_ring_restart_safe_nodes{" not in body


def test_a_lease_of_an_unknown_node_blocks_all_restarts(world: World, tmp_path: Path) -> None:
    """The lease can't be assigned to a node that then counts as down."""
    cluster = replace(world.cluster, lease=Lease(file=str(tmp_path / "leases.json")))
    open_store(cluster).add([lease("127.9.9.9")])
    assert polled(world.watch(lease=cluster.lease)).restart_safe == frozenset()


def test_a_wrong_gate_configuration_does_not_affect_the_verdict(world: World) -> None:
    """If a keyspace named in `accept` was dropped, no node may restart, but the health is still shown."""
    world.simulated.down(1, instant=True)
    watch = world.watch(gate=Gate(settle=0, accept=("dropped",)))
    reading = polled(watch)
    assert (reading.error, severity(reading)) == (None, Severity.WARNING)
    assert (reading.restart_safe, reading.restart_cures) == (frozenset(), frozenset())


@pytest.mark.parametrize("serves", [True, False])
def test_a_partitioned_node_is_no_spare_node(world: World, serves: bool) -> None:  # noqa: FBT001 - a case
    """While it serves clients, its stop is judged like that of a node that is up, but it is not listed as up."""
    watch = world.watch()
    polled(watch)
    victim = world.address(1)
    world.simulated.partition([1], instant=True)
    if not serves:
        world.simulated.binary_off(1)
    reading = polled(watch)
    assert states(reading)[victim] == "down"
    assert reading.restart_safe == frozenset()
    assert reading.restart_cures == (frozenset() if serves else frozenset({victim}))
