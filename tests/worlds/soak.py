"""Runs many worlds in several processes, and adds up the results."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import Pool
from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity
from tests.worlds.asking import Order
from tests.worlds.check import checked, made

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK = 200  # worlds that a process runs in one chunk
ORDERED = 3  # one in this many worlds is run in another order too; one in this many of these with threads
SHRUNK = 6  # failures of each sort and chunk for which the fewest lies are searched; all failures are counted


@dataclass(frozen=True)
class Example:
    """A failure that can be shown again.

    Attributes:
        sort: one of `check.KINDS`, with an addition if it is about logins.
        seed: of the world.
        lies: that suffice for it.
        text: ringcheck's answer, and the truth.
    """

    sort: str
    seed: int
    lies: tuple[str, ...]
    text: str


@dataclass
class Report:
    """The results of many worlds; counts are of worlds, except for decisions.

    Attributes:
        lies: worlds by lie; `fine` those of them whose verdict was OK, `safe` the nodes that were SAFE in them.
        severities: of verdicts.
        decisions: on single nodes.
        quiet: severities of worlds in which a range was lost at the critical level.
        failures: by sort.
        blamed: sampled failures, by sort and the fewest lies that cause them.
        examples: some failures of each sort, with different lies.
    """

    worlds: int = 0
    lies: Counter[str] = field(default_factory=Counter)
    fine: Counter[str] = field(default_factory=Counter)
    safe: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    quiet: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    blamed: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Add the counts of another report."""
        self.worlds += other.worlds
        for name in ("lies", "fine", "safe", "severities", "decisions", "quiet", "failures", "blamed"):
            getattr(self, name).update(getattr(other, name))
        kept = {(example.sort, example.lies) for example in self.examples}
        for example in other.examples:
            if (example.sort, example.lies) not in kept:
                kept.add((example.sort, example.lies))
                self.examples.append(example)


def soak(first: int, count: int, jobs: int = 1) -> Iterator[Report]:
    """Reports on the worlds of the seeds from `first` on, one report per chunk, in order."""
    chunks = [(start, min(CHUNK, first + count - start)) for start in range(first, first + count, CHUNK)]
    if jobs == 1:
        yield from map(_chunk, chunks)
        return
    with Pool(jobs) as pool:
        yield from pool.imap(_chunk, chunks)


def _chunk(chunk: tuple[int, int]) -> Report:
    report = Report()
    for seed in range(chunk[0], chunk[0] + chunk[1]):
        _add_world(report, seed)
    return report


def _add_world(report: Report, seed: int) -> None:
    world = made(seed)
    outcome = checked(world, orders_of(seed))
    report.worlds += 1
    lies = set(world.lies) or {"none"}
    report.lies.update(lies)
    report.fine.update(lies if outcome.severity is Severity.OK else ())
    report.safe.update(dict.fromkeys(lies, outcome.decisions["safe"]))
    report.severities[outcome.severity.name if outcome.severity else "error (UNKNOWN)"] += 1
    report.decisions.update(outcome.decisions)
    if outcome.lost and outcome.severity:
        report.quiet[outcome.severity.name] += 1
    for sort, text in {failure.sort: failure.text for failure in reversed(outcome.failures)}.items():
        report.failures[sort] += 1
        if report.failures[sort] <= SHRUNK:
            needed = fewest(seed, world.lies, sort)
            report.blamed[sort, " + ".join(needed) or "none"] += 1
            report.examples.append(Example(sort, seed, needed, text))


def orders_of(seed: int) -> tuple[Order, ...]:
    """The other orders in which the world of a seed is run."""
    if seed % ORDERED:
        return ()
    return (Order(1 + seed % 7, threads=seed % (ORDERED * 10) == 0),)


def fewest(seed: int, lies: Sequence[str], sort: str) -> tuple[str, ...]:
    """The fewest lies of a world that cause a failure of this sort: without any one of them it does not occur."""
    kept = list(lies)
    for name in reversed(lies):
        fewer = [*kept]
        fewer.remove(name)
        if sort in {failure.sort for failure in checked(made(seed, fewer), orders_of(seed)).failures}:
            kept = fewer
    return tuple(kept)
