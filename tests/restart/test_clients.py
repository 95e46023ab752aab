"""Rolls that observe the clients: errors during a batch, hints, connections, checks, canaries, steps and windows."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.maintenance import Holder
from ringcheck.errors import UsageError
from ringcheck.jolokia.mbeans import CALLS, CLIENT_REQUESTS
from ringcheck.report.roll import line
from ringcheck.restart.commands import CommandResult
from ringcheck.restart.journal import past
from ringcheck.restart.procedure import Window
from ringcheck.simulator.cluster import SimAgent
from tests.restart.environments import Killed, Stage, staged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ringcheck.core.ring import Snapshot
    from ringcheck.report.roll import Report


def suffer(stage: Stage, restarted: int, coordinator: int, **counters: int) -> None:
    """While a node is restarted, let a coordinator count errors named like `Read_QUORUM__Unavailables`."""

    def count() -> None:
        for name, number in counters.items():
            scope, _, metric = name.partition("__")
            stage.cluster.nodes[coordinator].counters[f"{scope.replace('_', '-', 1)},{metric}"] += number

    stage.environment.during[stage.names[restarted]] = count


def forbid(stage: Stage, mbean: str) -> None:
    """Let every agent allow everything that ringcheck asks for, except one MBean."""
    calls = [call for call in CALLS if call.mbean != mbean]
    allowed = {call.mbean: frozenset(other.name for other in calls if other.mbean == call.mbean) for call in calls}
    for node in stage.cluster.nodes:
        stage.cluster.configure(node.address, SimAgent(allowed=allowed))


@pytest.mark.slow
def test_a_roll_stops_before_the_next_batch_if_clients_got_unavailables(tmp_path: Path) -> None:
    """The report has the numbers; the batch itself is back, and its lease is released."""
    with staged(tmp_path, 3) as stage:
        suffer(stage, 0, 1, Read_QUORUM__Unavailables=12, Write_ONE__Timeouts=3)
        report = stage.roll()
        assert report.outcome == "failed"
        assert report.why == "clients got errors: 12 Read-QUORUM Unavailables; --max-client-errors allows 0"
        assert (report.done, report.left, report.in_hand) == (stage.names[:1], stage.names[1:], [])
        assert stage.store.holders() == ()
        [clients] = stage.recorded("clients")
        assert clients["errors"] == {"Read-QUORUM Unavailables": 12, "Write-ONE Timeouts": 3}
        shown = line({**clients, "time": "2026-01-01T10:11:12Z"})
        assert shown == (
            f"10:11:12 clients got 12 Read-QUORUM Unavailables, 3 Write-ONE Timeouts in {clients['seconds']:g} s"
        )


@pytest.mark.slow
def test_timeouts_alone_are_shown_and_do_not_stop_a_roll(tmp_path: Path) -> None:
    """Every busy cluster has some timeouts; without --max-client-errors they are only logged."""
    with staged(tmp_path, 3) as stage:
        suffer(stage, 1, 0, Read_QUORUM__Timeouts=2)
        assert stage.roll().outcome == "done"
        assert [event["errors"] for event in stage.recorded("clients")] == [{}, {"Read-QUORUM Timeouts": 2}, {}]


@pytest.mark.slow
@pytest.mark.parametrize(("most", "outcome"), [(4, "failed"), (5, "done")])
def test_all_errors_count_if_the_operator_limits_them(tmp_path: Path, most: int, outcome: str) -> None:
    """The limit applies to one batch, over all levels and kinds."""
    with staged(tmp_path, 3) as stage:
        for node in range(3):
            suffer(
                stage, node, (node + 1) % 3, Read_QUORUM__Timeouts=2, Write_ONE__Failures=2, CASWrite__Unavailables=1
            )
        assert stage.roll(stage.names[0], max_client_errors=most).outcome == outcome


@pytest.mark.slow
def test_errors_from_before_a_batch_do_not_count(tmp_path: Path) -> None:
    """This holds for the counters of its coordinators, and for those of the restarted node, which start again."""
    with staged(tmp_path, 3) as stage:
        for node in stage.cluster.nodes:
            node.counters["Read-QUORUM,Unavailables"] = 100
        assert stage.roll(stage.names[0], max_client_errors=0).outcome == "done"


@pytest.mark.slow
def test_without_leave_to_read_the_errors_a_roll_says_so(tmp_path: Path) -> None:
    """It goes on, unless the operator limits errors: then it ends before it touches a node."""
    with staged(tmp_path, 3) as stage:
        forbid(stage, CLIENT_REQUESTS)
        assert stage.roll(stage.names[0]).outcome == "done"
        [unread] = stage.recorded("clients_unread")
        assert "Unavailables: the agent refuses" in unread["why"]
        report = stage.roll(stage.names[1], max_client_errors=9)
        assert (report.outcome, report.left) == ("doubt", [stage.names[1]])
        assert report.why.startswith("the errors of clients can't be read from")
        assert stage.restarted() == stage.names[:1]
        assert stage.store.holders() == ()


@pytest.mark.slow
@pytest.mark.parametrize("event", ["pause", "waiting", "lease"])
def test_errors_between_two_batches_end_a_roll_before_the_next(tmp_path: Path, event: str) -> None:
    """Clients suffer while the run pauses, waits for the gate, or takes the lease of the second batch."""
    with staged(tmp_path, 3) as stage:
        second, counters = stage.names[1], stage.cluster.nodes[2].counters

        def meanwhile(found: dict[str, Any]) -> bool:
            if len(stage.restarted()) == 1:
                if found["event"] == "pause" and event == "waiting":
                    stage.store.add(
                        [Holder(node=second, owner="you@there", purpose="disk", since="2026-01-01T00:00:00Z")]
                    )
                elif found["event"] == "waiting":
                    stage.store.remove([second], "you@there")
                counters["Read-QUORUM,Unavailables"] += 7 * (found["event"] == event)
            return False

        stage.dies_at = meanwhile
        report = stage.roll(pause=0.1)
        assert (report.outcome, report.done, stage.restarted()) == ("failed", stage.names[:1], stage.names[:1])
        text = "before the batch began, clients got errors: 7 Read-QUORUM Unavailables; --max-client-errors allows 0"
        assert report.why == text
        assert [found["errors"] for found in stage.recorded("clients")] == [{}, {"Read-QUORUM Unavailables": 7}]
        assert stage.store.holders() == ()


@pytest.mark.slow
def test_coordinators_that_are_not_asked_are_named(tmp_path: Path) -> None:
    """With `views: contact_points` their errors are not known: a limit can't be kept, and no node is touched."""
    with staged(tmp_path, 6) as stage:
        poll, others = stage.environment.poll, stage.names[3:]

        def of_contact_points() -> Snapshot:
            seen = poll()
            nodes = [replace(node, source="not_asked") if node.address in others else node for node in seen.nodes]
            return replace(seen, nodes=tuple(nodes))

        stage.environment.poll = of_contact_points
        suffer(stage, 0, 5, Write_QUORUM__Unavailables=999)
        report = stage.roll(stage.names[0], max_client_errors=0)
        why = f"{', '.join(others)}: not asked (`views: contact_points`)"
        assert (report.outcome, report.why) == ("doubt", f"the errors of clients can't be read from {why}")
        assert (stage.restarted(), stage.store.holders()) == ([], ())
        assert stage.roll(stage.names[0]).outcome == "done"
        assert [event["why"] for event in stage.recorded("clients_unread")] == [why]


@pytest.mark.slow
def test_a_node_that_is_down_coordinates_nothing(tmp_path: Path) -> None:
    """A limit of errors does not keep it from being restarted, which is the cure."""
    with staged(tmp_path, 3) as stage:
        stage.cluster.down(stage.names[1], instant=True)
        report = stage.roll(stage.names[1], max_client_errors=0)
        assert (report.outcome, report.why) == ("done", "")
        assert stage.recorded("clients_unread") == []


# Runs that were killed


def killed_at(stage: Stage, event: str, errors: int, **how: Any) -> None:
    """Kill a run at an event; meanwhile a coordinator counts errors."""

    def dies(found: dict[str, Any]) -> bool:
        stage.cluster.nodes[5].counters["Write-QUORUM,Unavailables"] += errors * (found["event"] == event)
        return bool(found["event"] == event)

    stage.dies_at = dies
    with pytest.raises(Killed):
        stage.roll(**how)
    stage.dies_at = lambda _: False


def resumed(stage: Stage, **how: Any) -> Report:
    head = {"event": "begin", "run": "r", "owner": stage.owner, "cluster": "c", "nodes": stage.names}
    journal, stage.events[:] = [head, *stage.events], []
    return stage.roll(past=past(json.loads(json.dumps(journal))), **how)


CANARY = {"canary": 1, "bake": 0.2}


@pytest.mark.slow
@pytest.mark.parametrize("event", ["stopping", "command_ended", "back", "released", "bake", "clients"])
def test_a_resumed_run_counts_the_errors_of_the_batch_that_was_killed(tmp_path: Path, event: str) -> None:
    """It bakes the canary again, and compares with the counters from before the batch. The next run goes on."""
    with staged(tmp_path, 6) as stage:
        killed_at(stage, event, 500, **CANARY)
        earlier = list(stage.events)
        report = resumed(stage, **CANARY)
        assert (report.outcome, report.done, stage.restarted()) == ("failed", stage.names[:1], stage.names[:1])
        assert report.why == "clients got errors: 500 Write-QUORUM Unavailables; --max-client-errors allows 0"
        assert len(stage.recorded("bake")) == 1
        [clients] = stage.recorded("clients")
        assert line({**clients, "time": "2026-01-01T10:11:12Z"}) == (
            "10:11:12 clients got 500 Write-QUORUM Unavailables since before the batch"
        )
        stage.events[:0] = earlier
        assert resumed(stage, **CANARY).outcome == "done"
        assert [len(found["nodes"]) for found in stage.recorded("lease")] == [1, 2, 2]
        assert len(stage.recorded("bake")) == 1  # the first batch had not passed


@pytest.mark.slow
def test_errors_that_a_killed_run_had_no_time_to_report_end_the_next(tmp_path: Path) -> None:
    """They are in the journal, without an end of the run."""
    with staged(tmp_path, 6) as stage:
        suffer(stage, 0, 5, Write_QUORUM__Unavailables=3)
        killed_at(stage, "clients", 0)
        report = resumed(stage)
        why = "clients got errors: 3 Write-QUORUM Unavailables; --max-client-errors allows 0"
        assert (report.outcome, report.why, len(report.done)) == ("failed", why, 2)


@pytest.mark.slow
def test_a_resumed_run_bakes_a_canary_that_had_not_passed(tmp_path: Path) -> None:
    """If clients are well, the run goes on with whole batches; if the first batch had passed, nothing is baked."""
    with staged(tmp_path, 6) as stage:
        killed_at(stage, "bake", 0, **CANARY)
        assert resumed(stage, **CANARY).outcome == "done"
        assert [found["event"] for found in stage.events if found["event"] in {"bake", "passed", "lease"}] == [
            "bake", "passed", "lease", "passed", "lease", "passed", "lease", "passed",
        ]  # fmt: skip
        assert [len(found["nodes"]) for found in stage.recorded("lease")] == [1, 2, 2]
    with staged(tmp_path / "passed", 6) as stage:
        killed_at(stage, "passed", 500, **CANARY)
        assert resumed(stage, **CANARY).outcome == "done"
        assert stage.recorded("bake") == []


# Hints and connections


@pytest.mark.slow
def test_a_batch_keeps_its_lease_until_its_hints_are_delivered(tmp_path: Path) -> None:
    """Its peers stored five hints while it was away; the run goes on once five are acknowledged."""
    with staged(tmp_path, 3) as stage:
        node, peer = stage.names[0], stage.cluster.nodes[1]
        held: list[int] = []

        def deliver(event: dict[str, Any]) -> bool:
            if event["event"] == "load":
                held.append(len(stage.store.holders()))
                peer.counters["HintsSucceeded"] += 5
            return False

        stage.environment.during[node] = lambda: peer.counters.update({"TotalHints": 5})
        stage.dies_at = deliver
        assert stage.roll(node).outcome == "done"
        [load] = stage.recorded("load")
        assert load["what"] == f"waiting for hints for {node} to be delivered: 5 hints"
        assert held == [1]


@pytest.mark.slow
def test_only_nodes_that_hold_hints_are_asked_again(tmp_path: Path) -> None:
    """A cluster of a thousand nodes must not be asked as a whole every two seconds."""
    with staged(tmp_path, 3) as stage:
        node, peer = stage.names[0], stage.cluster.nodes[1]
        read, asked = stage.environment.client_counters, list[set[str]]()

        def noted(nodes: Any) -> Any:
            asked.append({one.address for one in nodes.values()})
            peer.counters["HintsSucceeded"] += len(asked) == 4
            return read(nodes)

        stage.environment.client_counters = noted  # type: ignore[method-assign]
        stage.environment.during[node] = lambda: peer.counters.update({"TotalHints": 1})
        assert stage.roll(node).outcome == "done"
        every = set(stage.names)
        assert asked == [every, every - {node}, {peer.address}, {peer.address}, every]


@pytest.mark.slow
def test_a_roll_waits_for_hints_for_a_bounded_time(tmp_path: Path) -> None:
    """After that it says so and goes on; with 0 it does not wait at all."""
    with staged(tmp_path, 3) as stage:
        node, peer = stage.names[0], stage.cluster.nodes[1]
        stage.environment.during[node] = lambda: peer.counters.update({"TotalHints": 1})
        assert stage.roll(node, hints_timeout=0.3).outcome == "done"
        *_, last = stage.recorded("load")
        assert last["what"].partition(" without")[0] == "continuing after 0.3 s"
        stage.events.clear()
        assert stage.roll(node, hints_timeout=0.0).outcome == "done"
        assert stage.recorded("load") == []


@pytest.mark.slow
def test_a_node_that_had_clients_is_awaited_until_it_has_clients(tmp_path: Path) -> None:
    """Clients connect when their drivers notice that the node is up."""
    with staged(tmp_path, 3) as stage:
        node = stage.cluster.nodes[0]
        node.counters["connectedNativeClients"] = 7

        def connect(event: dict[str, Any]) -> bool:
            node.counters["connectedNativeClients"] += event["event"] == "load"
            return False

        stage.dies_at = connect
        assert stage.roll(node.address).outcome == "done"
        assert [event["what"] for event in stage.recorded("load")] == [
            f"waiting for clients to connect to {node.address}: {node.address}"
        ]


# The operator's check, canaries, steps, windows


def checked(stage: Stage, statuses: list[int]) -> None:
    """The check of a stage ends with these statuses, one after another."""
    run, left = stage.environment.run, iter(statuses)

    def either(words: tuple[str, ...], seconds: float, started: Callable[[int], None]) -> CommandResult:
        return CommandResult(next(left), "p99 is 3 s\n") if words == ("check",) else run(words, seconds, started)

    stage.environment.run = either  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize(("statuses", "outcome", "restarted"), [([1], "refused", 0), ([0, 1], "failed", 1)])
def test_a_check_that_fails_ends_a_roll(tmp_path: Path, statuses: list[int], outcome: str, restarted: int) -> None:
    """It runs before anything is done, and after each batch; when it fails no node is being restarted."""
    with staged(tmp_path, 3) as stage:
        checked(stage, statuses)
        report = stage.roll(check=("check",))
        assert (report.outcome, len(stage.restarted())) == (outcome, restarted)
        assert report.why == "the check ended with status 1: p99 is 3 s"
        assert stage.store.holders() == ()


@pytest.mark.slow
def test_the_first_batch_is_of_canaries_that_are_watched(tmp_path: Path) -> None:
    """Errors while they are watched count too."""
    with staged(tmp_path, 6) as stage:
        assert stage.roll(canary=1, bake=0.2).outcome == "done"
        assert [len(event["nodes"]) for event in stage.recorded("lease")] == [1, 1, 2, 2]
        assert [event["seconds"] for event in stage.recorded("bake")] == [0.2]
    with staged(tmp_path / "again", 6) as stage:

        def during_bake(event: dict[str, Any]) -> bool:
            stage.cluster.nodes[5].counters["Write-QUORUM,Unavailables"] += event["event"] == "bake"
            return False

        stage.dies_at = during_bake
        report = stage.roll(canary=1, bake=0.2)
        assert (report.outcome, len(report.done)) == ("failed", 1)


@pytest.mark.slow
def test_a_step_is_asked_for_once_and_a_no_ends_the_roll(tmp_path: Path) -> None:
    """The question comes before the lease: another run may go first while the operator thinks."""
    with staged(tmp_path, 3) as stage:
        answers, asked = iter([True, False]), list[str]()

        def confirm(question: str) -> bool:
            assert stage.store.holders() == ()
            asked.append(question)
            return next(answers)

        stage.environment.confirm = confirm
        report = stage.roll(step=True)
        assert (report.outcome, report.done) == ("interrupted", stage.names[:1])
        assert asked == [f"Restart {node} now?" for node in stage.names[:2]]


def swapped(seen: Snapshot) -> Snapshot:
    """The snapshot, as if its first two nodes had each other's address."""
    first, second, *others = seen.nodes
    return replace(
        seen, nodes=(replace(first, host_id=second.host_id), replace(second, host_id=first.host_id), *others)
    )


def test_after_a_step_everything_is_read_anew(tmp_path: Path) -> None:
    """A person may answer minutes later: if another node has the address by then, the question was about another."""
    with staged(tmp_path, 3) as stage:
        first, asked = stage.names[0], list[str]()
        poll = stage.environment.poll

        def confirm(question: str) -> bool:
            asked.append(question)
            return True

        stage.environment.confirm = confirm
        stage.environment.poll = lambda: swapped(poll()) if len(asked) == 1 else poll()
        report = stage.roll(first, step=True, drain=False)
        assert asked == [f"Restart {first} now?"] * 3  # about one node, about the other, and about the first again
        assert (report.outcome, [event["nodes"] for event in stage.recorded("lease")]) == ("done", [[first]])
        assert stage.recorded("stopping")[0]["host_id"] == stage.cluster.nodes[0].host_id


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_the_gate_is_asked_about_the_node_under_the_lease(tmp_path: Path, number: int) -> None:
    """If its address changes before it is stopped, the commands would reach another node: the batch is planned anew."""
    with staged(tmp_path, 3) as stage:
        polls, poll = itertools.count(1), stage.environment.poll
        stage.environment.poll = lambda: swapped(poll()) if next(polls) == number else poll()
        assert stage.roll(stage.names[0]).outcome == "done"
        [waiting] = stage.recorded("waiting")
        assert waiting["why"] == f"the node that was {stage.names[0]} is {stage.names[1]} now"


def test_a_window_that_ended_during_the_answer_is_respected(tmp_path: Path) -> None:
    """The answer may come when no batch may begin any more."""
    with staged(tmp_path, 3) as stage:
        minute = 22 * 60

        def confirm(_: str) -> bool:
            nonlocal minute
            minute = 12 * 60
            return True

        def in_the_evening(event: dict[str, Any]) -> bool:
            nonlocal minute
            minute = 22 * 60 if event["event"] == "waiting" else minute
            return False

        stage.environment.confirm = confirm
        stage.environment.time_of_day = lambda: minute  # type: ignore[method-assign]
        stage.dies_at = in_the_evening
        assert stage.roll(stage.names[0], step=True, window=Window.parse("22:00-06:00")).outcome == "done"
        assert stage.recorded("waiting")[0]["why"] == "the window is 22:00-06:00"


@pytest.mark.slow
def test_no_batch_begins_outside_the_window(tmp_path: Path) -> None:
    """The wait for it does not count towards --wait."""
    with staged(tmp_path, 3) as stage:
        times = itertools.chain([12 * 60] * 3, itertools.repeat(22 * 60))
        stage.environment.time_of_day = lambda: next(times)  # type: ignore[method-assign]
        assert stage.roll(stage.names[0], window=Window.parse("22:00-06:00")).outcome == "done"
        assert stage.recorded("waiting")[0]["why"] == "the window is 22:00-06:00"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22:00-06:00", [22 * 60, 0, 6 * 60 - 1], [6 * 60, 22 * 60 - 1]),
        ("08:30-17:00", [8 * 60 + 30, 12 * 60], [8 * 60 + 29, 17 * 60, 0]),
        ("20:00-24:00", [23 * 60 + 59], [0, 19 * 60]),
    ],
)
def test_a_window_may_span_midnight(text: str, inside: list[int], outside: list[int]) -> None:
    """It ends before its last minute begins."""
    window = Window.parse(text)
    assert all(window.contains(minute) for minute in inside)
    assert not any(window.contains(minute) for minute in outside)


@pytest.mark.parametrize("text", ["", "22-06", "22:00", "25:00-26:00", "22:60-23:00", "10:00-10:00", "22:00 - 06:00"])
def test_a_window_that_is_none(text: str) -> None:
    """The error has an example of a valid one."""
    with pytest.raises(UsageError, match="is not a window such as 22:00-06:00"):
        Window.parse(text)
