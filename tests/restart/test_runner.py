"""Rolling restarts on the embedded cluster: what is done, in which order, and what ends a run."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.consistency import Level
from ringcheck.core.maintenance import Holder
from ringcheck.core.observed import EVERY, Observed, Used
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Problem
from ringcheck.errors import DataError, GoneError, SourceError, UsageError
from ringcheck.leases.record import LeaseError
from ringcheck.restart.commands import Command
from ringcheck.restart.journal import past
from ringcheck.simulator.cluster import simple
from tests.restart.environments import START, STOP, Killed, Stage, staged, wait

if TYPE_CHECKING:
    from pathlib import Path

    from ringcheck.core.ring import Snapshot

NOOP = Command.parse("noop {address}")


def other(node: str) -> Holder:
    return Holder(node=node, owner="you@there", purpose="disk", since="2026-01-01T00:00:00Z")


@pytest.mark.slow
def test_a_rack_at_a_time_each_node_once(tmp_path: Path) -> None:
    """Six nodes in three racks take three batches; no node outside the batch is ever down, and no lease is left."""
    with staged(tmp_path) as stage:
        racks = {node.address: node.spec.rack for node in stage.cluster.nodes}
        report = stage.roll()
        assert (report.outcome, report.why, sorted(report.done)) == ("done", "", sorted(stage.names))
        assert sorted(stage.restarted()) == sorted(stage.names)
        assert all(racks[down] == racks[node] for node, off, _ in stage.environment.observations for down in off)
        leases = [event["nodes"] for event in stage.recorded("lease")]
        assert [{racks[node] for node in nodes} for nodes in leases] == [{"r1"}, {"r2"}, {"r3"}]
        assert stage.store.holders() == ()


@pytest.mark.slow
def test_nodes_are_drained_and_seen_down_before_their_command(tmp_path: Path) -> None:
    """When a command runs, its node serves no client and no peer sees it up."""
    with staged(tmp_path) as stage:
        stage.roll()
        assert [node for node, off, up in stage.environment.observations if node not in off or up] == []
        assert len(stage.recorded("drained")) == 6


@pytest.mark.slow
def test_without_drain_a_node_serves_until_its_command(tmp_path: Path) -> None:
    """`--no-drain` sends no drain, and the command stops a node that still serves."""
    with staged(tmp_path, 3) as stage:
        report = stage.roll(drain=False)
        assert report.outcome == "done"
        assert all(node not in off for node, off, _ in stage.environment.observations)
        assert stage.recorded("draining") == []


@pytest.mark.slow
def test_two_commands_stop_and_start_each_node(tmp_path: Path) -> None:
    """The start command of a node follows its stop command, one node after another."""
    with staged(tmp_path, 3, own=True) as stage:
        assert stage.roll(restart=None, stop=STOP, start=START).outcome == "done"
        assert stage.environment.commands == [(verb, node) for node in stage.names for verb in ("stop", "start")]


def test_a_node_is_not_started_while_its_old_process_runs(tmp_path: Path) -> None:
    """A stop command that did not stop the process makes the node fail; the start command is not run."""
    with staged(tmp_path, 3) as stage:
        report = stage.roll(restart=None, stop=NOOP, start=START, drain=False, exec_timeout=0.5)
        assert report.outcome == "failed"
        assert len(stage.environment.commands) == 1


@pytest.mark.slow
def test_a_stop_behind_a_proxy_leaves_the_run_in_doubt(tmp_path: Path) -> None:
    """Behind a proxy a silent agent may still be stopping: its node is not started, and the run ends in doubt."""
    with staged(tmp_path, 3) as stage:
        report = stage.roll(restart=None, stop=STOP, start=START, exec_timeout=1.0)
        first = stage.names[0]
        assert (report.outcome, stage.environment.commands) == ("doubt", [("stop", first)])
        assert report.failed[first].startswith("not within 1 s: not known whether its process has ended: ")
        assert report.failed[first].endswith("; once it has ended there, start it by hand and continue with --resume")
        assert [holder.node for holder in stage.store.holders()] == [first]


@pytest.mark.slow
def test_max_failures_does_not_cover_a_stop_in_doubt(tmp_path: Path) -> None:
    """A run does not go on beside a process that may still be stopping; once the node is up, --resume goes on."""
    with staged(tmp_path, 3) as stage:
        how: dict[str, Any] = {"restart": None, "stop": STOP, "start": START, "exec_timeout": 0.5, "max_failures": 2}
        assert stage.roll(stage.names[0], **how).outcome == "doubt"
        stage.cluster.up(stage.names[0], instant=True)
        head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names[:1]}
        report = stage.roll(stage.names[0], past=past([head, *stage.events]), **how)
        assert (report.outcome, stage.environment.commands) == ("done", [("stop", stage.names[0])])


@pytest.mark.slow
def test_only_three_refusals_in_a_row_prove_an_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout, an HTTP error, or two refusals before an answer do not: the start command waits for the third."""
    answers: list[Exception | None] = [
        SourceError("timed out", "unreachable"),
        *[GoneError("refused", "unreachable")] * 2,
    ]
    answers += [SourceError("HTTP 502"), DataError("it is another"), *[GoneError("refused", "unreachable")] * 2]
    with staged(tmp_path, 3) as stage:
        real = stage.environment.started_at
        queue = iter([*answers, None, *[GoneError("refused", "unreachable")] * 3])

        def started_at(address: str, host_id: str | None) -> int:
            if not stage.environment.commands or stage.environment.commands[-1][0] == "start":
                return real(address, host_id)
            answer = next(queue)
            if isinstance(answer, Exception):
                raise answer
            return int(stage.recorded("stopping")[0]["started_at"])

        monkeypatch.setattr(stage.environment, "started_at", started_at)
        assert stage.roll(stage.names[0], restart=None, stop=STOP, start=START).outcome == "done"
        assert next(queue, "all asked") == "all asked"
        errors = ["timed out", "refused", "HTTP 502", "it is another", "refused"]
        doubts = [f"not known whether its process has ended: {error}" for error in errors]
        assert [event["what"] for event in stage.recorded("lacks")][:7] == [*doubts, "it still runs", doubts[1]]


def test_a_command_that_fails_ends_the_run(tmp_path: Path) -> None:
    """Its node stays under the lease, its output is reported, and no other node is touched."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        stage.environment.status[first] = 5
        report = stage.roll()
        assert (report.outcome, list(report.failed), report.left) == ("failed", [first], stage.names[1:])
        assert report.failed[first] == "the command ended with status 5: no such unit"
        assert [holder.node for holder in stage.store.holders()] == [first]


@pytest.mark.slow
def test_a_failed_node_counts_as_down(tmp_path: Path) -> None:
    """If failures are allowed the run goes on as far as the gate allows: not beside a drained replica."""
    with staged(tmp_path, 3) as stage:
        stage.environment.status[stage.names[0]] = 5
        report = stage.roll(max_failures=1, wait=1.0)
        assert (report.outcome, len(stage.environment.commands)) == ("refused", 1)
        assert "would become unavailable" in report.why


def test_a_command_that_does_nothing_is_noticed(tmp_path: Path) -> None:
    """A node that serves again in its old process was not restarted."""
    with staged(tmp_path, 3) as stage:
        report = stage.roll(restart=NOOP, drain=False, back_timeout=0.5)
        assert report.outcome == "failed"
        assert next(iter(report.failed.values())) == "not within 0.5 s: its process was not replaced"


@pytest.mark.slow
def test_a_node_that_does_not_come_back_ends_the_run(tmp_path: Path) -> None:
    """The run waits for it as long as `--back-timeout` says, and stops no other node."""
    with staged(tmp_path, 3) as stage:
        report = stage.roll(restart=STOP, back_timeout=0.5)
        assert next(iter(report.failed.values())) == "not within 0.5 s: its Jolokia does not answer"
        assert len(stage.environment.commands) == 1


@pytest.mark.slow
def test_serving_clients_is_part_of_being_back(tmp_path: Path) -> None:
    """A node that all peers see up is not back as long as its CQL port does not answer."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        stage.environment.during[first] = lambda: stage.environment.deaf.add(first)
        threading.Timer(2.0, stage.environment.deaf.clear).start()
        assert stage.roll().outcome == "done"
        assert any("its CQL port" in event["what"] for event in stage.recorded("lacks"))


def test_an_unreachable_cql_port_ends_the_run_before_any_stop(tmp_path: Path) -> None:
    """A node that could never be recognised as back is not stopped."""
    with staged(tmp_path, 3) as stage:
        stage.environment.deaf.add(stage.names[0])
        report = stage.roll()
        assert (report.outcome, stage.environment.commands) == ("refused", [])
        assert report.why.endswith("name the port with --cql-port, or skip the check with --no-cql")
        assert report.remedy == "and --cql-port PORT or --no-cql"


def test_a_gate_that_stays_closed_ends_the_run(tmp_path: Path) -> None:
    """While another replica is down no node is touched, and no lease is left."""
    with staged(tmp_path, 3) as stage:
        stage.cluster.down(stage.names[2], instant=True)
        report = stage.roll(stage.names[0], wait=0.5)
        assert (report.outcome, report.left, stage.environment.commands) == ("refused", [stage.names[0]], [])
        assert report.why.startswith("the gate did not open within 0.5 s: ")
        assert stage.store.holders() == ()


@pytest.mark.slow
def test_a_run_waits_for_the_gate(tmp_path: Path) -> None:
    """It goes on by itself once the reason for the refusal has passed."""
    with staged(tmp_path, 3) as stage:
        stage.cluster.down(stage.names[2], instant=True)
        threading.Timer(1.0, lambda: stage.cluster.up(stage.names[2])).start()
        assert stage.roll(stage.names[0], wait=30.0).outcome == "done"
        assert len(stage.recorded("waiting")) >= 1


@pytest.mark.slow
def test_a_node_that_is_down_is_restarted_first(tmp_path: Path) -> None:
    """Its restart resolves the outage. It can't be drained, and any process that answers is a new one."""
    with staged(tmp_path, 3) as stage:
        stage.cluster.down(stage.names[1], instant=True)
        report = stage.roll()
        assert (report.outcome, stage.restarted()[0]) == ("done", stage.names[1])
        assert len(stage.recorded("drained")) == 2


def test_a_stop_that_can_never_be_safe_is_refused_at_once(tmp_path: Path) -> None:
    """A keyspace with one replica forbids stopping its nodes: the run does not wait for that to pass."""
    with staged(tmp_path, 3, keyspaces={"one": simple(1)}) as stage:
        report = stage.roll(wait=60.0)
        assert (report.outcome, stage.environment.commands) == ("refused", [])
        assert "can never be stopped safely" in report.why
        assert report.remedy == "once that has changed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("later", "outcome", "why"),
    [
        (
            Policy(observed=Observed(keyspaces={EVERY: (Used("", Level.ALL),)})),
            "refused",
            "can't survive any stop at ALL",
        ),
        (Policy(unobserved="the file is gone"), "doubt", "the levels that clients use are not known: the file is gone"),
    ],
)
def test_levels_that_change_during_a_run_count_before_the_next_batch(
    tmp_path: Path, later: Policy, outcome: str, why: str
) -> None:
    """A run lasts for hours: clients may use other levels meanwhile, and the agent's state file may be lost."""
    with staged(tmp_path, 3) as stage:

        def change(event: dict[str, Any]) -> bool:
            stage.policy = later if event["event"] == "back" else stage.policy
            return False

        stage.dies_at = change
        report = stage.roll(wait=0.3)
        assert (report.outcome, report.done, stage.restarted()) == (outcome, stage.names[:1], stage.names[:1])
        assert why in report.why
        assert stage.store.holders() == ()


@pytest.mark.slow
def test_a_poll_with_too_little_data_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the ring could not be read this time, every node is refused; the run polls again."""
    with staged(tmp_path, 3) as stage:
        poll, problem = stage.environment.poll, Problem("ring_unreadable", "orders", "the ring of orders can't be read")
        polls: list[int] = []

        def blind_at_first() -> Snapshot:
            polls.append(1)
            return replace(poll(), problems=(problem,)) if len(polls) < 3 else poll()

        monkeypatch.setattr(stage.environment, "poll", blind_at_first)
        assert stage.roll().outcome == "done"
        assert stage.recorded("waiting")[0]["why"] == "the ring of orders can't be read"


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 2])
def test_the_lease_of_another_run_is_respected(tmp_path: Path, index: int) -> None:
    """A node under it counts as down: neither it nor a replica of the same range is stopped."""
    with staged(tmp_path, 3) as stage:
        stage.store.add([other(stage.names[index])])
        report = stage.roll(stage.names[0], wait=0.5)
        assert (report.outcome, stage.environment.commands) == ("refused", [])
        assert [holder.owner for holder in stage.store.holders()] == ["you@there"]


def test_without_a_lease_nothing_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the lease store does not answer, no node is stopped."""
    with staged(tmp_path, 3) as stage:

        def broken(*_: object) -> None:
            raise LeaseError("etcd does not answer")

        monkeypatch.setattr(stage.store, "add", broken)
        report = stage.roll(wait=0.5)
        assert (report.outcome, stage.environment.commands) == ("doubt", [])
        assert "etcd does not answer" in report.why


@pytest.mark.slow
def test_a_poll_that_fails_under_the_lease_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is withdrawn, and the run asks again: one failed poll does not end it."""
    with staged(tmp_path, 3) as stage:
        poll = stage.environment.poll
        polls: list[int] = []

        def third_is_lost() -> Snapshot:
            polls.append(1)
            if len(polls) == 3:
                raise SourceError("no node answered")
            return poll()

        monkeypatch.setattr(stage.environment, "poll", third_is_lost)
        assert stage.roll(stable=3).outcome == "done"
        assert stage.recorded("waiting")[0]["why"] == "no node answered"


@pytest.mark.parametrize("event", ["lease", "stopping"])
def test_a_journal_that_can_not_be_written_stops_the_run(tmp_path: Path, event: str) -> None:
    """The run ends before the node is touched, and leaves no lease."""
    with staged(tmp_path, 3) as stage:

        def full(line: dict[str, Any]) -> bool:
            if line["event"] == event:
                raise UsageError("the journal can't be written: No space left on device")
            return False

        stage.dies_at = full
        report = stage.roll()
        assert (report.outcome, stage.environment.commands, stage.store.holders()) == ("doubt", [], ())
        assert all(stage.cluster.serving(node, stage.cluster.now()) for node in stage.cluster.nodes)


def test_a_lease_that_can_not_be_given_back_does_not_hide_the_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If journal and lease store fail at the same time, the run still ends with its report."""
    with staged(tmp_path, 3) as stage:

        def broken(*_: object) -> None:
            raise LeaseError("etcd does not answer")

        def full(line: dict[str, Any]) -> bool:
            if line["event"] == "stopping":
                monkeypatch.setattr(stage.store, "remove", broken)
                raise UsageError("the journal can't be written: No space left on device")
            return False

        stage.dies_at = full
        report = stage.roll()
        assert (report.outcome, stage.environment.commands) == ("doubt", [])
        assert report.why == "the journal can't be written: No space left on device"
        assert stage.recorded("end")[0]["outcome"] == "doubt"


@pytest.mark.parametrize("rack", [None, "r\0", "\udc80", "-x"])
@pytest.mark.parametrize("drain", [True, False])
def test_a_command_that_can_not_be_made_touches_no_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rack: str | None, *, drain: bool
) -> None:
    """This is found before the lease is taken, and not when the node is drained."""
    with staged(tmp_path, 3) as stage:
        poll = stage.environment.poll

        def bent() -> Snapshot:
            seen = poll()
            return replace(seen, nodes=tuple(replace(node, rack=rack) for node in seen.nodes))

        monkeypatch.setattr(stage.environment, "poll", bent)
        command = Command.parse("restart {address} {rack}")
        report = stage.roll(stage.names[0], restart=command, drain=drain)
        assert (report.outcome, report.left, stage.environment.commands) == ("refused", [stage.names[0]], [])
        assert stage.recorded("lease") == stage.recorded("draining") == []
        assert f"of {stage.names[0]}" in report.why or f"for {stage.names[0]}" in report.why


@pytest.mark.slow
def test_a_run_whose_end_is_not_recorded_is_not_done(tmp_path: Path) -> None:
    """All nodes are back, but the journal does not say so: the report states this, and --resume has nothing to do."""
    with staged(tmp_path, 3) as stage:

        def full(line: dict[str, Any]) -> bool:
            if line["event"] == "end":
                raise UsageError("the journal can't be written: No space left on device")
            return False

        stage.dies_at = full
        report = stage.roll(stage.names[0])
        assert (report.outcome, report.done) == ("doubt", [stage.names[0]])
        assert report.why == "the journal can't be written: No space left on device"
        head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names[:1]}
        stage.dies_at = lambda _: False
        assert stage.roll(stage.names[0], past=past([head, *stage.events[:-1]])).outcome == "done"
        assert len(stage.environment.commands) == 1


@pytest.mark.slow
def test_a_node_outside_the_batch_that_dies_ends_the_run(tmp_path: Path) -> None:
    """Even if the batch itself came back, no other batch is begun."""
    with staged(tmp_path, 3) as stage:
        stage.environment.during[stage.names[0]] = lambda: stage.cluster.down(stage.names[2], instant=True)
        report = stage.roll(stage.names[0], stage.names[1], back_timeout=3.0)
        assert report.outcome == "failed"
        assert stage.restarted() == [stage.names[0]]


def test_an_interrupt_before_the_first_batch_ends_the_run(tmp_path: Path) -> None:
    """No node is being restarted, so the run ends at once."""
    with staged(tmp_path, 3) as stage:
        stage.environment.interrupt_count = 1
        report = stage.roll()
        assert (report.outcome, stage.environment.commands, stage.store.holders()) == ("interrupted", [], ())


def test_an_interrupt_lets_the_batch_come_back(tmp_path: Path) -> None:
    """The current batch is finished, and the next one is not begun."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        stage.environment.during[first] = lambda: setattr(stage.environment, "interrupt_count", 1)
        report = stage.roll()
        assert (report.outcome, report.done, stage.store.holders()) == ("interrupted", [first], ())
        assert stage.cluster.serving(stage.cluster.node(first), stage.cluster.now())


def test_two_interrupts_abort(tmp_path: Path) -> None:
    """The current node is reported and stays under its lease."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        stage.environment.during[first] = lambda: setattr(stage.environment, "interrupt_count", 2)
        report = stage.roll()
        assert (report.outcome, report.in_hand) == ("aborted", [first])
        assert [holder.node for holder in stage.store.holders()] == [first]


@pytest.mark.slow
@pytest.mark.parametrize(("leased", "outcome"), [(True, "done"), (False, "refused")])
def test_a_node_that_can_not_be_asked_is_awaited_if_another_run_restarts_it(
    leased: bool,  # noqa: FBT001 - one of two cases
    outcome: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other run may have taken its lease since the poll; if there is no lease, the run ends."""
    with staged(tmp_path, 3) as stage:
        real, failed = stage.environment.started_at, list[str]()

        def started_at(address: str, host_id: str | None) -> int:
            failed.append(address)
            if len(failed) == 2:
                stage.store.remove([address], "you@there")
            if len(failed) > 1:
                return real(address, host_id)
            if leased:
                stage.store.add([other(address)])
            raise DataError("its MBeans are not there yet")

        monkeypatch.setattr(stage.environment, "started_at", started_at)
        why = "" if leased else f"the start time of the process of {stage.names[0]} can't be read: "
        report = stage.roll(stage.names[0], wait=30.0)
        assert (report.outcome, report.why) == (outcome, why and f"{why}its MBeans are not there yet")


@pytest.mark.slow
@pytest.mark.parametrize(("leased", "outcome"), [(True, "done"), (False, "refused")])
def test_a_cql_port_that_another_run_has_closed_is_awaited(
    leased: bool,  # noqa: FBT001 - one of two cases
    outcome: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other run may have stopped the node since its start time was read; if there is no lease, the run ends."""
    with staged(tmp_path, 3) as stage:
        real, asked = stage.environment.answers_cql, list[str]()

        def answers_cql(host: str, port: int) -> bool:
            asked.append(host)
            if len(asked) == 2:
                stage.store.remove([host], "you@there")
            if len(asked) > 1:
                return real(host, port)
            if leased:
                stage.store.add([other(stage.names[0])])
            return False

        monkeypatch.setattr(stage.environment, "answers_cql", answers_cql)
        report = stage.roll(stage.names[0], wait=30.0)
        assert (report.outcome, "the CQL port" in report.why) == (outcome, not leased)


@pytest.mark.slow
def test_two_runs_over_one_cluster_take_turns(tmp_path: Path) -> None:
    """No two of their nodes are ever down at once, and both runs are done in the end."""
    with staged(tmp_path / "a", 3) as stage:
        theirs = stage.another("you@there roll r2")
        reports: list[tuple[str, str]] = []

        def roll(runs: Stage) -> None:
            report = runs.roll(wait=60.0)
            reports.append((report.outcome, report.why))

        threads = [threading.Thread(target=roll, args=(runs,)) for runs in (stage, theirs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert reports == [("done", ""), ("done", "")]
        observations = [*stage.environment.observations, *theirs.environment.observations]
        assert [off - {node} for node, off, _ in observations if off - {node}] == []
        assert len(observations) == 6


# A run that is killed, and the run that resumes it


def killed_at(stage: Stage, kind: str) -> None:
    """Roll, and die at the first event of this kind."""
    stage.dies_at = lambda event: bool(event["event"] == kind)
    with pytest.raises(Killed):
        stage.roll()
    stage.dies_at = lambda _: False


KINDS = [
    "counters", "stopping", "draining", "drained", "command", "command_ended", "back", "released", "clients", "passed",
    "lease", "plan", "gate",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("written", [True, False], ids=["recorded", "not recorded"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_is_finished_by_the_next(tmp_path: Path, kind: str, *, written: bool) -> None:
    """Whenever it dies, the next run restarts each node that was not restarted, none twice, and leaves no lease."""
    with staged(tmp_path, 3) as stage:
        second = stage.names[1]

        def dies(event: dict[str, Any]) -> bool:
            about = event.get("node") in {None, second}
            return (
                event["event"] == kind
                and about
                and stage.names[0] in stage.restarted()
                and not stage.recorded("resume")
            )

        stage.dies_at = dies
        with pytest.raises(Killed):
            stage.roll()
        if not written:
            stage.events.pop()
        before = past(
            [{"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names}, *stage.events]
        )
        stage.events.append({"event": "resume"})
        report = stage.roll(past=before)
        assert (report.outcome, sorted(report.done)) == ("done", sorted(stage.names))
        assert sorted(stage.restarted()) == sorted(stage.names)
        assert stage.store.holders() == ()


def test_a_begun_node_keeps_its_lease(tmp_path: Path) -> None:
    """A node that the killed run had drained, and whose restart now fails, stays under its lease."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        killed_at(stage, "drained")
        stage.environment.status[first] = 4
        head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names}
        report = stage.roll(past=past([head, *stage.events]))
        assert (report.outcome, list(report.failed)) == ("failed", [first])
        assert [holder.node for holder in stage.store.holders()] == [first]


@pytest.mark.slow
def test_a_command_that_outlived_its_run_is_awaited(tmp_path: Path) -> None:
    """The killed run's command may still be restarting the node, so the node is not started a second time."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        killed_at(stage, "command")
        [begun] = stage.recorded("command")
        begun["born"] = stage.environment.alive[begun["pid"]] = 77

        def later() -> None:
            time.sleep(1.0)
            stage.cluster.down(first)
            stage.cluster.up(first)
            del stage.environment.alive[begun["pid"]]

        thread = threading.Thread(target=later)
        thread.start()
        stage.environment.commands.clear()
        head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names}
        report = stage.roll(past=past([head, *stage.events]))
        thread.join()
        assert report.outcome == "done"
        assert first not in stage.restarted()
        wait(lambda: stage.store.holders() == ())


@pytest.mark.slow
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "end unknown"])
def test_a_start_that_is_slow_is_not_repeated(tmp_path: Path, *, ended: bool) -> None:
    """A node that is silent after its command may be replaying its commit log: it is awaited, and fails in the end."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        killed_at(stage, "command_ended")
        if not ended:
            stage.events.pop()
        stage.cluster.down(first, instant=True)
        stage.environment.commands.clear()
        head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names}
        report = stage.roll(past=past([head, *stage.events]), back_timeout=0.5, replace_timeout=0.2)
        assert (report.outcome, list(report.failed), stage.environment.commands) == ("failed", [first], [])
        assert [holder.node for holder in stage.store.holders()] == [first]


@pytest.mark.slow
def test_a_command_whose_end_is_unknown_gets_time_to_act(tmp_path: Path) -> None:
    """`systemctl --no-block` returns before the process ends: the old process does not prove that nothing happens."""
    with staged(tmp_path, 3) as stage:
        first = stage.names[0]
        killed_at(stage, "command")
        stage.environment.commands.clear()

        def later() -> None:
            time.sleep(0.5)
            stage.cluster.down(first)
            stage.cluster.up(first)

        thread = threading.Thread(target=later)
        thread.start()
        head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names[:1]}
        report = stage.roll(first, past=past([head, *stage.events]), replace_timeout=20.0)
        thread.join()
        assert (report.outcome, stage.environment.commands) == ("done", [])


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [False, True])
def test_a_clock_that_was_set_back_hides_no_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, resumed: bool
) -> None:
    """A process that seems older than the previous one is still a new one, and is not restarted again."""
    with staged(tmp_path, 3) as stage:
        first, real = stage.names[0], stage.environment.started_at

        def set_back(address: str, host_id: str | None) -> int:
            return real(address, host_id) - (86_400_000 if stage.environment.commands else 0)

        monkeypatch.setattr(stage.environment, "started_at", set_back)
        before = None
        if resumed:
            killed_at(stage, "command_ended")
            head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names[:1]}
            before = past([head, *stage.events])
        assert stage.roll(first, past=before).outcome == "done"
        assert stage.restarted() == [first]
