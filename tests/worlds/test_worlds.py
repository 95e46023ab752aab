"""ringcheck gives no false OK and no false SAFE, whatever nodes report; and the search would find one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core import evidence, views
from ringcheck.core.assess import assess
from ringcheck.core.endpoint import ip_of
from ringcheck.core.evidence import Evidence
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.membership import Directory
from ringcheck.core.policy import Severity
from ringcheck.errors import DataError
from tests.conftest import examples
from tests.worlds import asking
from tests.worlds.asking import Order
from tests.worlds.check import ADVISORY, DEAD, checked, made
from tests.worlds.lies import BENDS
from tests.worlds.soak import Report, fewest, soak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ringcheck.core.ring import Node, View
    from ringcheck.core.verdict import Verdict

SEEDS = 250
PLANTED = 45  # worlds, in which a planted rule must be found


@pytest.fixture(scope="module")
def report() -> Report:
    """The results of some hundred worlds; from this seed on they are of every kind, rare ones included."""
    total = Report()
    for part in soak(1_001_500, max(examples(SEEDS), SEEDS)):
        total.add(part)
    return total


def wrong(report: Report) -> list[str]:
    """The failures, each with its seed and the lies that cause it."""
    examples = [example for example in report.examples if example.sort.partition(" ")[0] not in ADVISORY]
    return [f"{item.sort} --replay {item.seed} --lies {','.join(item.lies) or ','}: {item.text}" for item in examples]


@pytest.mark.slow
def test_seeded_worlds(report: Report) -> None:
    """Every property holds in each of them."""
    assert wrong(report) == []


@pytest.mark.slow
def test_worlds_are_of_all_kinds(report: Report) -> None:
    """All severities and decisions occur, so that the search does not pass just because it draws refused worlds."""
    assert {"OK", "WARNING", "UNKNOWN", "CRITICAL"} <= report.severities.keys()
    assert min(report.decisions[answer] for answer in ("safe", "unsafe", "unknown")) >= report.worlds // 5
    assert min(report.decisions[action] for action in DEAD) > 0
    assert report.lies.keys() >= BENDS.keys()


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(seed=st.integers(0, 2**32), names=st.lists(st.sampled_from(sorted(BENDS)), max_size=4))
def test_any_lies_together(seed: int, names: list[str]) -> None:
    """Every property holds for any lies in any cluster; a failure is shown with the fewest lies."""
    failures = checked(made(seed, names)).failures
    assert [failure for failure in failures if failure.kind not in ADVISORY] == []


# Wrong rules, planted on purpose


@dataclass(frozen=True)
class Plant:
    """A wrong rule.

    Attributes:
        rule: replaces the right rule.
        lies: worlds with any of these are run.
        kinds: of failures that it must cause.
    """

    rule: Callable[[pytest.MonkeyPatch], None]
    lies: tuple[str, ...]
    kinds: frozenset[str]


def any_view_calls_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate counts as down as soon as one view lists it as unreachable."""

    def surely_down(self: Evidence) -> frozenset[int]:
        return frozenset().union(*(self.liveness(view).refused for view in self.usable))

    monkeypatch.setattr(Evidence, "surely_down", property(surely_down))


def names_without_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listed endpoint counts for the instance on its address, whatever the port is."""
    right = Directory.index_of

    def index_of(self: Directory, endpoint: str, host_ids: Mapping[str, str]) -> int | None:
        found = right(self, endpoint, host_ids)
        return right(self, ip_of(endpoint), host_ids) if found is None else found

    monkeypatch.setattr(Directory, "index_of", index_of)


def lone_view_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that serves and sees only itself is taken for a starting node."""
    right = views.unusable_because

    def unusable_because(node: Node | None, view: View) -> str | None:
        return right(node, view) or ("it sees only itself so far" if len(view.live) == 1 else None)

    monkeypatch.setattr(evidence, "unusable_because", unusable_because)
    monkeypatch.setattr(Evidence, "may_serve", lambda *_: False)  # this would report the node


PLANTS = {
    "any_view_calls_down": Plant(
        any_view_calls_down, ("one_way", "partition"), frozenset({"false_safe", "false_safe_pair"})
    ),
    "names_without_ports": Plant(
        names_without_ports, ("ghost_on_another_port",), frozenset({"false_safe", "false_safe_pair", "ghost_noise"})
    ),
    "lone_view_discarded": Plant(lone_view_discarded, ("partition", "one_way"), frozenset({"false_ok"})),
}


def failing(plant: Plant) -> Iterator[str]:
    """Failures of a plant's kinds in worlds with its lies."""
    for seed in range(PLANTED):
        lie = plant.lies[seed % len(plant.lies)]
        failures = checked(made(seed, [lie]), ()).failures
        yield from (f"{lie}, seed {seed}: {failure.text}" for failure in failures if failure.kind in plant.kinds)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTS)
def test_planted_rules_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong rule makes worlds fail that pass without it."""
    PLANTS[name].rule(monkeypatch)
    assert next(failing(PLANTS[name]), None)


@pytest.mark.slow
def test_nothing_is_found_without_a_planted_rule() -> None:
    """The worlds used for planted rules pass without a planted rule."""
    assert [text for plant in PLANTS.values() for text in failing(plant)] == []


# Each property can fail


def severity_of_all(severity: Severity) -> Callable[..., Verdict]:
    """A replacement of `assess` that gives every cluster the same severity."""
    return lambda *arguments: replace(assess(*arguments), severity=severity)


def failing_kinds(lies: list[str], orders: tuple[Order, ...] = ()) -> set[str]:
    return {failure.kind for seed in range(15) for failure in checked(made(seed, lies), orders).failures}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("severity", "lies", "expected"),
    [
        (Severity.OK, ["rack_down"], {"false_ok", "outage"}),
        (Severity.OK, ["drained", "drained"], {"false_ok"}),
        (Severity.WARNING, ["rack_down"], {"too_quiet", "outage"}),
        (Severity.WARNING, [], {"noise"}),
        (Severity.CRITICAL, ["ghost"], {"ghost_noise"}),
    ],
)
def test_a_wrong_severity_is_found(
    severity: Severity, lies: list[str], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every cluster gets the same severity, it is wrong for some."""
    monkeypatch.setattr(asking, "assess", severity_of_all(severity))
    assert failing_kinds(lies) >= expected


@pytest.mark.slow
def test_a_gate_that_is_always_open_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """If all nodes are SAFE, alone and in pairs, this costs some cluster a range, and contradicts `safe_nodes`."""
    decide = Gatekeeper.decide
    monkeypatch.setattr(
        Gatekeeper, "decide", lambda *arguments: replace(decide(*arguments), decision="safe", reasons=())
    )
    assert failing_kinds([]) >= {"false_safe", "false_safe_pair", "safe_nodes"}


@pytest.mark.slow
def test_a_gate_that_is_always_shut_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every node is UNSAFE, this is reported as noise, since some nodes can be stopped at no cost."""
    decide = Gatekeeper.decide
    monkeypatch.setattr(Gatekeeper, "decide", lambda *arguments: replace(decide(*arguments), decision="unsafe"))
    assert "noise" in failing_kinds([])


@pytest.mark.slow
def test_a_verdict_that_depends_on_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings that differ from one assessment to the next are reported as a difference between orders."""
    several = count()
    monkeypatch.setattr(
        asking, "assess", lambda *arguments: replace(assess(*arguments), severity=list(Severity)[next(several) % 2])
    )
    assert "order" in failing_kinds([], (Order(1),))


@pytest.mark.slow
def test_a_crash_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of another class than ringcheck's own is a crash; its own errors count as UNKNOWN."""
    monkeypatch.setattr(asking, "assess", Mock(side_effect=KeyError("10.0.0.1")))
    assert failing_kinds(["node_down"]) == {"crash"}
    monkeypatch.setattr(asking, "assess", Mock(side_effect=DataError("cut off")))
    assert failing_kinds(["one_way"]) == set()


# The search itself


@pytest.mark.slow
def test_an_order_with_threads() -> None:
    """Nodes that answer one after another from threads give the same verdict as without threads."""
    for seed in range(12):
        kinds = {failure.kind for failure in checked(made(seed, []), (Order(seed + 1, threads=True),)).failures}
        assert "order" not in kinds


@pytest.mark.slow
def test_the_fewest_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a failure leaves out lies that it does not need."""
    any_view_calls_down(monkeypatch)
    lies = ["streaming", "one_way", "ghost"]
    kinds = ("false_safe", "false_safe_pair")
    seed, sort = next(
        (seed, failure.sort)
        for seed in range(PLANTED)
        for failure in checked(made(seed, lies), ()).failures
        if failure.kind in kinds and len(made(seed, lies).lies) == 3
    )
    assert fewest(seed, lies, sort) == ("one_way",)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.worlds", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_counts_and_replays() -> None:
    """A run prints how often each lie occurred and how many nodes were SAFE; a replay prints world and verdict."""
    counted = run("--count", "20", "--jobs", "2")
    assert "20 worlds in" in counted.stdout
    assert "decisions on single nodes: safe" in counted.stdout
    replayed = run("--replay", "3", "--lies", "", "-v")
    assert replayed.returncode == 0, replayed.stdout
    assert "node 0 answers" in replayed.stdout
    assert "0 failures" in replayed.stdout


@pytest.mark.slow
def test_an_unknown_lie_is_refused() -> None:
    """A misspelt lie is an error that lists the known lies."""
    refused = run("--replay", "3", "--lies", "gost")
    assert refused.returncode == 2
    assert "ghost_on_another_port" in refused.stderr


def offenders() -> Iterable[str]:
    return [name for name, bend in BENDS.items() if not (bend.__doc__ or "").strip()]


def test_each_lie_says_what_it_is() -> None:
    """Every bend has a docstring, which is its documentation."""
    assert list(offenders()) == []
