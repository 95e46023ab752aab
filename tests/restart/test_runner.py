"""Rolling restarts on the embedded cluster: what is done, in which order, and what stops it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.maintenance import Holder
from ringcheck.core.ring import Problem
from ringcheck.errors import DataError, GoneError, SourceError, UsageError
from ringcheck.leases.leases import LeaseError
from ringcheck.restart.commands import Command
from ringcheck.restart.journal import past
from ringcheck.simulator.cluster import simple
from tests.restart.environments import START, STOP, Killed, Stage, stage, wait

if TYPE_CHECKING:
    from pathlib import Path

    from ringcheck.core.ring import Snapshot

NOOP = Command.parse("noop {address}")


def other(node: str) -> Holder:
    return Holder(node=node, owner="you@there", purpose="disk", since="2026-01-01T00:00:00Z")


@pytest.mark.slow
def test_a_rack_at_a_time_each_node_once(tmp_path: Path) -> None:
    """Six nodes in three racks take three batches; nobody outside the batch is ever down, and no lease is left."""
    with stage(tmp_path) as on:
        racks = {node.address: node.spec.rack for node in on.cluster.nodes}
        report = on.roll()
        assert (report.outcome, report.why, sorted(report.done)) == ("done", "", sorted(on.names))
        assert sorted(on.restarted()) == sorted(on.names)
        assert all(racks[one] == racks[node] for node, off, _ in on.world.beside for one in off)
        leases = [one["nodes"] for one in on.told("lease")]
        assert [{racks[node] for node in nodes} for nodes in leases] == [{"r1"}, {"r2"}, {"r3"}]
        assert on.store.holders() == ()


@pytest.mark.slow
def test_nodes_are_drained_and_seen_down_first(tmp_path: Path) -> None:
    """When a command runs its node serves nobody, and no peer would send it a request."""
    with stage(tmp_path) as on:
        on.roll()
        assert [node for node, off, up in on.world.beside if node not in off or up] == []
        assert len(on.told("drained")) == 6


def test_without_drain_the_command_does_it_all(tmp_path: Path) -> None:
    """`--no-drain` leaves the node serving until its command runs."""
    with stage(tmp_path, 3) as on:
        report = on.roll(drain=False)
        assert report.outcome == "done"
        assert all(node not in off for node, off, _ in on.world.beside)
        assert on.told("draining") == []


@pytest.mark.slow
def test_stopped_and_started_by_two_commands(tmp_path: Path) -> None:
    """The second runs once the first has ended the process."""
    with stage(tmp_path, 3, own=True) as on:
        assert on.roll(restart=None, stop=STOP, start=START).outcome == "done"
        assert on.world.ran == [(what, node) for node in on.names for what in ("stop", "start")]


def test_a_stop_that_does_not_stop(tmp_path: Path) -> None:
    """A process that still runs after its stop command must not be started beside itself."""
    with stage(tmp_path, 3) as on:
        report = on.roll(restart=None, stop=NOOP, start=START, drain=False, exec_timeout=0.5)
        assert report.outcome == "failed"
        assert len(on.world.ran) == 1


def test_a_stop_of_which_nobody_knows_whether_it_did(tmp_path: Path) -> None:
    """Behind a proxy a silent agent may be one that still stops: its node is not started, and the run is in doubt."""
    with stage(tmp_path, 3) as on:
        report = on.roll(restart=None, stop=STOP, start=START, exec_timeout=1.0)
        first = on.names[0]
        assert (report.outcome, on.world.ran) == ("doubt", [("stop", first)])
        assert report.failed[first].startswith("not within 1 s: whether its process has ended is not known: ")
        assert report.failed[first].endswith("; once it has ended there, start it by hand and go on with --resume")
        assert [one.node for one in on.store.holders()] == [first]


def test_a_doubtful_stop_is_no_failure_that_is_allowed(tmp_path: Path) -> None:
    """`--max-failures` does not let a run go on beside what may still be stopping; --resume does once it is up."""
    with stage(tmp_path, 3) as on:
        how: dict[str, Any] = {"restart": None, "stop": STOP, "start": START, "exec_timeout": 0.5, "max_failures": 2}
        assert on.roll(on.names[0], **how).outcome == "doubt"
        on.cluster.up(on.names[0], instant=True)
        head = {"event": "begin", "run": "r", "owner": on.owner, "cluster": "c", "nodes": on.names[:1]}
        report = on.roll(on.names[0], past=past([head, *on.events]), **how)
        assert (report.outcome, on.world.ran) == ("done", [("stop", on.names[0])])


@pytest.mark.slow
def test_one_unanswered_question_is_no_end_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a connection that was refused twice and then made, or one that timed out: the third in a row is."""
    said: list[Exception | None] = [SourceError("timed out", "unreachable"), *[GoneError("refused", "unreachable")] * 2]
    said += [SourceError("HTTP 502"), DataError("it is another"), *[GoneError("refused", "unreachable")] * 2]
    with stage(tmp_path, 3) as on:
        began = on.world.started_at
        answers = iter([*said, None, *[GoneError("refused", "unreachable")] * 3])

        def started_at(address: str, host_id: str | None) -> int:
            if not on.world.ran or on.world.ran[-1][0] == "start":
                return began(address, host_id)
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return int(on.told("stopping")[0]["started_at"])

        monkeypatch.setattr(on.world, "started_at", started_at)
        assert on.roll(on.names[0], restart=None, stop=STOP, start=START).outcome == "done"
        assert next(answers, "all asked") == "all asked"
        told = ["timed out", "refused", "HTTP 502", "it is another", "refused"]
        doubts = [f"whether its process has ended is not known: {one}" for one in told]
        assert [one["what"] for one in on.told("lacks")][:7] == [*doubts, "it still runs", doubts[1]]


def test_a_command_that_fails_stops_the_run(tmp_path: Path) -> None:
    """Its node stays under the lease, what it said is told, and nobody else is touched."""
    with stage(tmp_path, 3) as on:
        first = on.names[0]
        on.world.status[first] = 5
        report = on.roll()
        assert (report.outcome, list(report.failed), report.left) == ("failed", [first], on.names[1:])
        assert report.failed[first] == "the command ended with status 5: no such unit"
        assert [one.node for one in on.store.holders()] == [first]


def test_what_failed_counts_as_down(tmp_path: Path) -> None:
    """With failures allowed the run goes on, as far as the gate lets it: beside a drained node it does not."""
    with stage(tmp_path, 3) as on:
        on.world.status[on.names[0]] = 5
        report = on.roll(max_failures=1, wait=1.0)
        assert (report.outcome, len(on.world.ran)) == ("refused", 1)
        assert "would become unavailable" in report.why


def test_a_command_that_does_nothing_is_noticed(tmp_path: Path) -> None:
    """A node that serves as before, in its old process, was not restarted."""
    with stage(tmp_path, 3) as on:
        report = on.roll(restart=NOOP, drain=False, back_timeout=0.5)
        assert report.outcome == "failed"
        assert next(iter(report.failed.values())) == "not within 0.5 s: its process was not replaced"


def test_a_node_that_does_not_come_back(tmp_path: Path) -> None:
    """It is awaited for so long, and no other is stopped."""
    with stage(tmp_path, 3) as on:
        report = on.roll(restart=STOP, back_timeout=0.5)
        assert next(iter(report.failed.values())) == "not within 0.5 s: its Jolokia does not answer"
        assert len(on.world.ran) == 1


@pytest.mark.slow
def test_serving_clients_is_part_of_being_back(tmp_path: Path) -> None:
    """A node that all see up, but whose CQL port is silent, is awaited."""
    with stage(tmp_path, 3) as on:
        first = on.names[0]
        on.world.after[first] = lambda: on.world.deaf.add(first)
        threading.Timer(2.0, on.world.deaf.clear).start()
        assert on.roll().outcome == "done"
        assert any("its CQL port" in one["what"] for one in on.told("lacks"))


def test_a_port_that_can_not_be_reached_is_told_before(tmp_path: Path) -> None:
    """Nothing is stopped that could not be seen back."""
    with stage(tmp_path, 3) as on:
        on.world.deaf.add(on.names[0])
        report = on.roll()
        assert (report.outcome, on.world.ran) == ("refused", [])
        assert report.why.endswith("say where it is with --cql-port, or leave it out with --no-cql")


def test_the_gate_refuses(tmp_path: Path) -> None:
    """While a replica elsewhere is down nothing is touched, and no lease is left behind."""
    with stage(tmp_path, 3) as on:
        on.cluster.down(on.names[2], instant=True)
        report = on.roll(on.names[0], wait=0.5)
        assert (report.outcome, report.left, on.world.ran) == ("refused", [on.names[0]], [])
        assert report.why.startswith("the gate did not open within 0.5 s: ")
        assert on.store.holders() == ()


@pytest.mark.slow
def test_the_gate_is_waited_for(tmp_path: Path) -> None:
    """A run goes on by itself when what kept it has passed."""
    with stage(tmp_path, 3) as on:
        on.cluster.down(on.names[2], instant=True)
        threading.Timer(1.0, lambda: on.cluster.up(on.names[2])).start()
        assert on.roll(on.names[0], wait=30.0).outcome == "done"
        assert len(on.told("waiting")) >= 1


@pytest.mark.slow
def test_a_node_that_is_down_is_restarted_first(tmp_path: Path) -> None:
    """Its restart is the cure; it can't be drained, and any process that answers is a new one."""
    with stage(tmp_path, 3) as on:
        on.cluster.down(on.names[1], instant=True)
        report = on.roll()
        assert (report.outcome, on.restarted()[0]) == ("done", on.names[1])
        assert len(on.told("drained")) == 2


def test_what_can_never_be_safe_is_refused_by_name(tmp_path: Path) -> None:
    """A keyspace with one replica keeps its nodes from any stop, and says so at once."""
    with stage(tmp_path, 3, keyspaces={"one": simple(1)}) as on:
        report = on.roll(wait=60.0)
        assert (report.outcome, on.world.ran) == ("refused", [])
        assert "can never be stopped safely" in report.why


@pytest.mark.slow
def test_a_poll_that_knows_too_little_is_no_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that could not be read this time refuses every node, and the run looks again."""
    with stage(tmp_path, 3) as on:
        poll, problem = on.world.poll, Problem("ring_unreadable", "orders", "the ring of orders can't be read")
        polls: list[int] = []

        def at_first_blind() -> Snapshot:
            polls.append(1)
            return replace(poll(), problems=(problem,)) if len(polls) < 3 else poll()

        monkeypatch.setattr(on.world, "poll", at_first_blind)
        assert on.roll().outcome == "done"
        assert on.told("waiting")[0]["why"] == "the ring of orders can't be read"


@pytest.mark.parametrize("place", [0, 2])
def test_the_lease_of_another_run(tmp_path: Path, place: int) -> None:
    """Under it a node counts as down: neither it nor a replica beside it is stopped."""
    with stage(tmp_path, 3) as on:
        on.store.add([other(on.names[place])])
        report = on.roll(on.names[0], wait=0.5)
        assert (report.outcome, on.world.ran) == ("refused", [])
        assert [one.owner for one in on.store.holders()] == ["you@there"]


def test_no_lease_no_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where leases can't be asked for nothing is stopped."""
    with stage(tmp_path, 3) as on:

        def broken(*_: object) -> None:
            raise LeaseError("etcd does not answer")

        monkeypatch.setattr(on.store, "add", broken)
        report = on.roll(wait=0.5)
        assert (report.outcome, on.world.ran) == ("doubt", [])
        assert "etcd does not answer" in report.why


@pytest.mark.slow
def test_a_poll_that_fails_under_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is withdrawn, and the run looks again: one lost poll is no end."""
    with stage(tmp_path, 3) as on:
        poll = on.world.poll
        polls: list[int] = []

        def third_is_lost() -> Snapshot:
            polls.append(1)
            if len(polls) == 3:
                raise SourceError("nobody answered")
            return poll()

        monkeypatch.setattr(on.world, "poll", third_is_lost)
        assert on.roll(stable=3).outcome == "done"
        assert on.told("waiting")[0]["why"] == "nobody answered"


@pytest.mark.parametrize("event", ["lease", "stopping"])
def test_what_can_not_be_told_is_not_begun(tmp_path: Path, event: str) -> None:
    """A journal that can't be written ends the run before its node is touched, and leaves no lease."""
    with stage(tmp_path, 3) as on:

        def full(told: dict[str, Any]) -> bool:
            if told["event"] == event:
                raise UsageError("the journal can't be written: No space left on device")
            return False

        on.dies_at = full
        report = on.roll()
        assert (report.outcome, on.world.ran, on.store.holders()) == ("doubt", [], ())
        assert all(on.cluster.serving(node, on.cluster.now()) for node in on.cluster.nodes)


@pytest.mark.slow
def test_something_else_got_worse(tmp_path: Path) -> None:
    """A node that died meanwhile stops the run, though the batch came back well."""
    with stage(tmp_path, 3) as on:
        on.world.after[on.names[0]] = lambda: on.cluster.down(on.names[2], instant=True)
        report = on.roll(on.names[0], on.names[1], back_timeout=3.0)
        assert report.outcome == "failed"
        assert on.restarted() == [on.names[0]]


def test_an_interrupt_before_anything(tmp_path: Path) -> None:
    """Nothing is in hand: the run ends at once."""
    with stage(tmp_path, 3) as on:
        on.world.asked = 1
        report = on.roll()
        assert (report.outcome, on.world.ran, on.store.holders()) == ("interrupted", [], ())


def test_an_interrupt_lets_the_batch_come_back(tmp_path: Path) -> None:
    """What was begun is brought to its end; the next batch is not begun."""
    with stage(tmp_path, 3) as on:
        first = on.names[0]
        on.world.after[first] = lambda: setattr(on.world, "asked", 1)
        report = on.roll()
        assert (report.outcome, report.done, on.store.holders()) == ("interrupted", [first], ())
        assert on.cluster.serving(on.cluster.node(first), on.cluster.now())


def test_two_interrupts_abort(tmp_path: Path) -> None:
    """What is in hand is told and stays under its lease."""
    with stage(tmp_path, 3) as on:
        first = on.names[0]
        on.world.after[first] = lambda: setattr(on.world, "asked", 2)
        report = on.roll()
        assert (report.outcome, report.in_hand) == ("aborted", [first])
        assert [one.node for one in on.store.holders()] == [first]


@pytest.mark.slow
def test_the_other_run_goes_first(tmp_path: Path) -> None:
    """Two runs over one cluster: never nodes of two racks at once, and both come to their end."""
    with stage(tmp_path / "a", 3) as on:
        theirs = on.another("you@there roll r2")
        reports: list[tuple[str, str]] = []

        def roll(one: Stage) -> None:
            report = one.roll(wait=60.0)
            reports.append((report.outcome, report.why))

        threads = [threading.Thread(target=roll, args=(one,)) for one in (on, theirs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert reports == [("done", ""), ("done", "")]
        beside = [*on.world.beside, *theirs.world.beside]
        assert [off - {node} for node, off, _ in beside if off - {node}] == []
        assert len(beside) == 6


# A run that is killed, and the one that goes on


def killed_at(on: Stage, kind: str) -> None:
    """Roll, and die at the first event of a kind."""
    on.dies_at = lambda event: bool(event["event"] == kind)
    with pytest.raises(Killed):
        on.roll()
    on.dies_at = lambda _: False


KINDS = ["stopping", "draining", "drained", "command", "command_ended", "back", "released", "lease", "plan", "gate"]


@pytest.mark.slow
@pytest.mark.parametrize("written", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_is_finished_by_the_next(tmp_path: Path, kind: str, *, written: bool) -> None:
    """At whatever moment it dies: the next one restarts each node that was not, none twice, and leaves no lease."""
    with stage(tmp_path, 3) as on:
        second = on.names[1]

        def dies(event: dict[str, Any]) -> bool:
            about = event.get("node") in {None, second}
            return event["event"] == kind and about and on.names[0] in on.restarted() and not on.told("resume")

        on.dies_at = dies
        with pytest.raises(Killed):
            on.roll()
        if not written:
            on.events.pop()
        before = past(
            [{"event": "begin", "run": "r", "owner": on.owner, "cluster": "c", "nodes": on.names}, *on.events]
        )
        on.events.append({"event": "resume"})
        report = on.roll(past=before)
        assert (report.outcome, sorted(report.done)) == ("done", sorted(on.names))
        assert sorted(on.restarted()) == sorted(on.names)
        assert on.store.holders() == ()


def test_what_was_begun_keeps_its_lease(tmp_path: Path) -> None:
    """A node that the killed run had drained, and that can't be restarted now either, stays under its lease."""
    with stage(tmp_path, 3) as on:
        first = on.names[0]
        killed_at(on, "drained")
        on.world.status[first] = 4
        head = {"event": "begin", "run": "r", "owner": on.owner, "cluster": "c", "nodes": on.names}
        report = on.roll(past=past([head, *on.events]))
        assert (report.outcome, list(report.failed)) == ("failed", [first])
        assert [one.node for one in on.store.holders()] == [first]


@pytest.mark.slow
def test_a_command_that_outlived_its_run_is_awaited(tmp_path: Path) -> None:
    """A process of the killed run may still be restarting the node: it is not run beside itself."""
    with stage(tmp_path, 3) as on:
        first = on.names[0]
        killed_at(on, "command")
        [begun] = [one for one in on.events if one["event"] == "command"]
        begun["born"] = on.world.alive[begun["pid"]] = 77

        def later() -> None:
            time.sleep(1.0)
            on.cluster.down(first)
            on.cluster.up(first)
            del on.world.alive[begun["pid"]]

        thread = threading.Thread(target=later)
        thread.start()
        on.world.ran.clear()
        head = {"event": "begin", "run": "r", "owner": on.owner, "cluster": "c", "nodes": on.names}
        report = on.roll(past=past([head, *on.events]))
        thread.join()
        assert report.outcome == "done"
        assert first not in on.restarted()
        wait(lambda: on.store.holders() == ())
