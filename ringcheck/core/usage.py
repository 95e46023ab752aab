"""The evidence of the levels that clients use: what each source showed in a window, and since when it is complete.

Pure: the time is passed in, as seconds of Unix time. A use is forgotten only when its source has reported all queries
of a whole window since then. So after a gap (a node that can't be read, an agent that was off while a node restarted, a
Prometheus that does not answer) the earlier evidence stays, and a gap never lowers a level.

Counters are compared with the previous reading. If a counter's process was started since then, or its value went down,
it counts from zero. What a node counted before its first reading is not evidence.

What is not known of a node stays unknown when the node leaves: the window then begins anew. The process with which a
node became a member while we watched is its first one; all others that are read for the first time had predecessors.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ringcheck.core.consistency import release
from ringcheck.core.observed import PATIENCE
from ringcheck.core.own_requests import owed_at_first, own_levels, without_own
from ringcheck.core.uses import SCANS, SCOPES, Use
from ringcheck.core.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ringcheck.core.node_requests import NodeRequests

BUCKETS = 28  # parts of a window: of a week, each has six hours
COUNTERS = "counters"  # the source that reads the nodes' own counters
BEGINNING = -1.0  # a time before all others
TOO_OLD = "Cassandra before 3.10 does not count queries by level"
_FIRST_WITH_COUNTERS = (3, 10)


@dataclass(frozen=True, slots=True)
class Seen:
    """How often and when something was used.

    Attributes:
        last: time of the reading that showed it last.
        counts: (start of a part of the window, queries in it), oldest first.
    """

    last: float
    counts: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        """Queries in the window."""
        return sum(count for _, count in self.counts)

    def together(self, other: Seen) -> Seen:
        """This use and another as one."""
        counts = Counter(dict(self.counts))
        counts.update(dict(other.counts))
        return Seen(max(self.last, other.last), tuple(sorted(counts.items())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The last reading of the counters of one process.

    Attributes:
        at: time of the reading.
        since: time since which everything that was counted is known, without a gap; BEGINNING for a node that became a
            member while we watched.
        started: when the process was started; None if it is not known.
        generation: of the node's gossip state; None if it is not known.
        values: by name.
        owed: upper bound of reads, and writes, of system_auth that the table has counted and the level has not yet.
    """

    at: float
    since: float
    started: float | None = None
    generation: int | None = None
    values: Mapping[str, int] = field(default_factory=dict)
    owed: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one source has shown.

    Attributes:
        uses: what was used in the window.
        readings: of counters, by node or series.
        at: time of the last reading; None before the first.
        since: since when everything is known, without a gap; None if that follows from the readings of nodes.
        gaps: texts about what is missing now.
        scans: by datacenter (empty for one that is not known), the time of the last reading that showed range scans,
            whose level is not counted.
        unread: members whose counters were never read, each with the time of the last reading before it was a member;
            BEGINNING if it may always have been one. None before the first reading, and in older documents.
        floor: nothing before this time counts as known.
        window: seconds for which uses were kept at the last reading; None before the first.
        hold: no use is dropped before this time, because the clock may still be set.
    """

    uses: Mapping[Use, Seen] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    at: float | None = None
    since: float | None = None
    gaps: tuple[str, ...] = ()
    scans: Mapping[str, float] = field(default_factory=dict)
    unread: Mapping[str, float] | None = None
    floor: float = 0.0
    window: float | None = None
    hold: float = 0.0

    @property
    def never(self) -> bool:
        """Whether the source can't show anything, because no node has counters; not if nothing was read."""
        old = bool(self.gaps) and all(gap.endswith(TOO_OLD) for gap in self.gaps)
        return old and not self.readings and not self.uses

    def whole(self, at: float, window: float) -> bool:
        """Whether everything of the window that ends now is known."""
        return not self.missing(at, window)

    def known(self, at: float, window: float) -> float:
        """How many seconds of the window are known; 0 for none."""
        begins = [reading.since for reading in self.readings.values() if reading.since != BEGINNING]
        begin = min(begins, default=at) if self.since is None else self.since
        return 0.0 if self.at is None else min(window, max(0.0, at - begin))

    def begin(self, window: float) -> float:
        """Nothing before this time counts as known; the uses before a window that was shorter were dropped."""
        longer = self.at is not None and self.window is not None and window > self.window
        return max(self.floor, self.at - self.window) if longer else self.floor  # type: ignore[operator]  # see above

    def known_span(self, window: float) -> tuple[float, float]:
        """The time in which every query is known; it ends in the future if nothing is missing now."""
        begins = [reading.since for reading in self.readings.values()] if self.since is None else [self.since]
        begin = max([self.begin(window), *begins]) if begins else math.inf
        if not self.gaps:
            return begin, math.inf
        if self.since is not None or self.at is None:
            return begin, self.at or -math.inf
        end = min((reading.at for reading in self.readings.values()), default=-math.inf)
        return begin, end if end != self.at else -math.inf  # a node that was never read

    def missing(self, at: float, window: float, patience: float = PATIENCE) -> str:
        """What is missing in the window, in words; empty if nothing is."""
        if self.at is None:
            return "nothing was read yet"
        if self.gaps:
            return self.gaps[0] + (f", and {counted(len(self.gaps) - 1, 'more gap')}" if len(self.gaps) > 1 else "")
        if at - self.at > patience:
            return f"nothing was read for {span(at - self.at)}"
        begins = [reading.since for reading in self.readings.values()] if self.since is None else [self.since]
        known = at - max([self.begin(window), *begins]) if begins else 0.0
        return "" if known >= window else f"{span(max(known, 0.0))} of {span(window)} are known"


def span(seconds: float) -> str:
    """A time as text: `90 s`, `5 min`, `3 h`, `7 days`; rounded down."""
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "day" and seconds >= length):
            number = int(seconds // length)
            return counted(number, "day") if unit == "day" else f"{number} {unit}"
    return f"{int(seconds)} s"


# Uses


def _kept(uses: Mapping[Use, Seen], at: float, window: float, *, whole: bool) -> dict[Use, Seen]:
    """The uses that are still evidence: a use older than the window is dropped only if the whole window is known."""
    length = part_length(window)
    kept = {}
    for use, seen in uses.items():
        if not whole or at - seen.last < window:
            counts = tuple(part for part in seen.counts if part[0] > at - window - length)
            kept[use] = Seen(seen.last, counts)
    return kept


def _added(uses: dict[Use, Seen], found: Mapping[Use, int], at: float, window: float) -> dict[Use, Seen]:
    length = part_length(window)
    begin = int(at // length) * length
    for use, count in found.items():
        if count > 0:
            before = uses.get(use, Seen(at)).counts
            same = before[-1][1] if before and before[-1][0] >= begin else 0
            uses[use] = Seen(at, (*(before[:-1] if same else before), (begin, same + count)))
    return uses


def part_length(window: float) -> int:
    """Seconds of each part of a window whose queries are counted together."""
    return max(1, int(window / BUCKETS))


# The counters of nodes


def noted(
    evidence: Evidence, nodes: Sequence[NodeRequests], at: float, window: float, auth: str | None = None
) -> Evidence:
    """The evidence after a reading of the nodes' counters.

    Args:
        evidence: before it.
        nodes: all members; those that could not be read have no counts.
        at: time of the reading.
        window: seconds.
        auth: the level at which nodes read system_auth that do not report it themselves; None if none does.
    """
    readings: dict[str, Reading] = {}
    unread: dict[str, float] = {}
    found: Counter[Use] = Counter()
    scans = dict(evidence.scans)
    for node in nodes:
        before, absent = evidence.readings.get(node.node), _absent(evidence, node.node)
        reading, counts = _read(node, before, at, window, absent)
        if reading is None:
            unread[node.node] = absent
            continue
        if node.counts is not None:
            owed, counts = without_own(counts, reading.owed, own_levels(node, auth))
            reading = replace(reading, owed=owed)
            found.update(_by_use(node, counts))
            scans |= {node.datacenter: at} if counts.get(SCANS) else {}
        readings[node.node] = reading
    gaps, floor = tuple(_gaps(nodes, readings, at)), _floor(evidence, nodes, at, window)
    after = replace(evidence, readings=readings, unread=unread, at=at, gaps=gaps, floor=floor, window=window)
    whole = after.whole(at, window) and at >= after.hold
    kept = _kept(evidence.uses, at, window, whole=whole)
    scans = {name: last for name, last in scans.items() if not whole or at - last < window}
    return replace(after, uses=_added(kept, found, at, window), scans=scans)


def _absent(evidence: Evidence, name: str) -> float:
    """The time of the last reading before a node that has no reading was a member; BEGINNING if none is known."""
    if evidence.unread is None or evidence.at is None:
        return BEGINNING
    return evidence.unread.get(name, evidence.at)


def _floor(evidence: Evidence, nodes: Sequence[NodeRequests], at: float, window: float) -> float:
    """The time before which nothing is known, once some members are gone: what is not known of them stays unknown."""
    if evidence.at is None:
        return at  # who was a member before is not known
    names = {node.node for node in nodes}
    begins = [evidence.begin(window)]
    for name, reading in evidence.readings.items():
        if name not in names:
            begins.append(reading.since if at - reading.at <= PATIENCE else at)
    begins += [at for name, absent in (evidence.unread or {}).items() if name not in names and at - absent > PATIENCE]
    if evidence.unread is None:  # an older document names unread members only in its gaps
        here = tuple(f"{node.address}: " for node in nodes)
        begins += [at for gap in evidence.gaps if not gap.startswith(here)]
    return max(begins)


def _by_use(node: NodeRequests, counts: Mapping[str, int]) -> dict[Use, int]:
    return {Use("", node.datacenter, *SCOPES[name]): count for name, count in counts.items() if name in SCOPES}


def _read(
    node: NodeRequests, before: Reading | None, at: float, window: float, absent: float
) -> tuple[Reading | None, dict[str, int]]:
    """The new reading of a node, and what the node counted since the previous one.

    A node that could not be read keeps its previous reading. What a node that is read for the first time did before
    its process was started is not known, unless it became a member at about that time.
    """
    if node.counts is None:
        return before, {}
    values = dict(node.counts)
    started = node.generation if node.started is None else node.started
    new = Reading(
        at=at, since=at, started=node.started, generation=node.generation, values=values, owed=owed_at_first(values)
    )
    if before is None:
        young = started is not None and at - started < window
        first = absent != BEGINNING and started is not None and abs(started - absent) <= PATIENCE
        since = BEGINNING if first else started if young and started is not None else at
        return replace(new, since=min(since, at)), values if young else {}
    same = _same_process(before, node)
    if same is False:
        return replace(new, since=_since_restart(before, started, at)), values
    unclear = same is None and at - before.at > PATIENCE
    return _continued(before, new, since=at if unclear else before.since)


def _same_process(before: Reading, node: NodeRequests) -> bool | None:
    """Whether the counters are those of the same process; None if neither they nor a start time show that.

    Only start times of one kind are compared. The counter of logins is a sum over tables and does not show a restart:
    it is lower if a table can't be read.
    """
    if any(value < before.values.get(name, 0) for name, value in (node.counts or {}).items() if name in SCOPES):
        return False
    for was, now in ((before.started, node.started), (before.generation, node.generation)):
        if was is not None and now is not None:
            return abs(now - was) <= 1
    return None


def _since_restart(before: Reading, started: float | None, at: float) -> float:
    """Since when everything is known after a restart: what the old process did after its last reading is not known.

    If the start is before that reading, the node's clock is wrong.
    """
    if at - before.at <= PATIENCE:
        return before.since
    end = at if started is None or started < before.at else min(started, at)
    return before.since if end - before.at <= PATIENCE else end


def _continued(before: Reading, new: Reading, since: float) -> tuple[Reading, dict[str, int]]:
    """The new reading of the same process, and what it counted since the previous one.

    A value that went down without a restart counts again once it is higher than before.
    """
    known = {name: before.values.get(name, 0 if name in SCOPES else value) for name, value in new.values.items()}
    values = {name: max(value, known[name]) for name, value in new.values.items()}
    counts = {name: value - known[name] for name, value in values.items()}
    reading = replace(
        new,
        since=since,
        started=new.started if before.started is None else before.started,
        generation=before.generation if new.generation is None else new.generation,
        values={**before.values, **values},
        owed=before.owed,
    )
    return reading, counts


def _gaps(nodes: Iterable[NodeRequests], readings: Mapping[str, Reading], at: float) -> Iterable[str]:
    old = [node.address for node in nodes if node.counts is None and _too_old(node.release)]
    if old:
        yield f"{listed(old)}: {TOO_OLD}"
    for node in nodes:
        reading = readings.get(node.node)
        if node.address not in old and (reading is None or at - reading.at > PATIENCE):
            yield f"{node.address}: {node.problem or 'its counters could not be read'}"


def _too_old(text: str | None) -> bool:
    return text is not None and release(text) < _FIRST_WITH_COUNTERS


# Sources that report uses


def reported(
    evidence: Evidence, found: Mapping[Use, int], at: float, window: float, patience: float, gap: str = ""
) -> Evidence:
    """The evidence after a report of how many queries there were since the previous report.

    Args:
        evidence: before it.
        found: number of queries, by what they used.
        at: time of the report.
        window: seconds.
        patience: the longest time between two reports that does not count as a gap, in seconds.
        gap: what is missing of this report; empty if nothing is.
    """
    late = evidence.at is None or at - evidence.at > patience
    since = at if late or gap or evidence.since is None else evidence.since
    floor = evidence.begin(window)
    after = replace(evidence, at=at, since=since, gaps=(gap,) if gap else (), floor=floor, window=window)
    whole = not after.missing(at, window, patience) and at >= after.hold
    kept = _kept(evidence.uses, at, window, whole=whole)
    return replace(after, uses=_added(kept, found, at, window))


def sampled(
    evidence: Evidence,
    series: Mapping[str, tuple[Use, int]],
    at: float,
    window: float,
    patience: float,
    gap: str = "",
) -> Evidence:
    """The evidence after a reading of counters that can begin and end at any time, such as those of Prometheus.

    Args:
        evidence: before it.
        series: by the identity of a series, what it counts and its value.
        at: time of the reading.
        window: seconds.
        patience: the longest time between two readings that does not count as a gap, in seconds.
        gap: what is missing of this reading; empty if nothing is.
    """
    found: Counter[Use] = Counter()
    for name, (use, value) in series.items():
        before = evidence.readings.get(name)
        known = before.values[""] if before else value if evidence.at is None else 0  # a new series counts from zero
        found[use] += value - known if value >= known else value
    readings = {name: reading for name, reading in evidence.readings.items() if at - reading.at < window}
    readings |= {name: Reading(at=at, since=at, values={"": value}) for name, (_, value) in series.items()}
    return replace(reported(evidence, found, at, window, patience, gap), readings=readings)


def failed(evidence: Evidence, why: str) -> Evidence:
    """The evidence after a reading that failed: nothing is lowered until the source can be read again."""
    return replace(evidence, gaps=(why,))


def merged(earlier: Evidence, later: Evidence) -> Evidence:
    """All evidence of an earlier time and of a later one; what happened between them is not known."""
    if earlier.at is None:
        return later
    if later.at is None:
        return replace(earlier, gaps=later.gaps or earlier.gaps)
    uses = dict(earlier.uses)
    for use, seen in later.uses.items():
        uses[use] = seen.together(uses[use]) if use in uses else seen
    return replace(later, uses=uses, scans={**earlier.scans, **later.scans})


def resumed(evidence: Evidence, at: float) -> Evidence:
    """The evidence in a new process, whose clock may be set soon: no use is dropped for a time."""
    if evidence.at is not None and evidence.at - at > PATIENCE:
        return clock_set(evidence, at)
    return replace(evidence, hold=at + PATIENCE)


def clock_set(evidence: Evidence, at: float) -> Evidence:
    """The evidence after the clock was set to a time: nothing before counts as known, and all uses are kept."""
    return replace(
        evidence,
        uses={use: replace(seen, last=min(seen.last, at)) for use, seen in evidence.uses.items()},
        readings={
            name: replace(reading, at=min(reading.at, at), since=min(reading.since, at))
            for name, reading in evidence.readings.items()
        },
        scans={name: min(last, at) for name, last in evidence.scans.items()},
        at=None if evidence.at is None else min(evidence.at, at),
        since=None if evidence.since is None else at,
        floor=at,
        hold=at + PATIENCE,
    )
