"""The state of a long-running service as Prometheus and OpenMetrics text.

A stateless view: each scrape is made from the readings at that time, so that no series outlives its subject. A number
that is not known is absent, never 0; if the verdict is too old its series stop and `ringcheck_up` is 0. No label holds
a token, an owner or any text that grows with time. docs/metrics.md explains each metric.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import accumulate
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ringcheck import __version__
from ringcheck.core.evidence import State
from ringcheck.core.policy import Severity
from ringcheck.report.families import (
    AT_MINIMUM,
    ATTEMPTS,
    BUILD,
    DISAGREEMENT,
    DROPPED,
    FAMILIES,
    HISTORY,
    LEASE,
    LEVELS_KNOWN,
    METADATA_LEFT,
    METADATA_MEMBERS,
    NODES,
    NODES_LEFT,
    POLLS,
    RACKS_LEFT,
    RANGES,
    RATIO,
    RELOADED,
    RELOADED_AT,
    REQUESTS,
    SAFE,
    SINCE,
    STORE,
    STRUCTURAL,
    SUCCESS,
    SUSPECTS,
    UNAVAILABLE,
    UP,
    USED_LEVEL,
    VERDICT,
    WAITING,
    Family,
)
from ringcheck.report.reading import BUCKETS, ServiceReading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from ringcheck.core.maintenance import Holder
    from ringcheck.core.observed import Observed
    from ringcheck.core.quorum import Quorum
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
    from ringcheck.report.reading import Durations, Reading

ReadingsSource: TypeAlias = "Callable[[], Iterable[Reading]]"

MOST_LEASES = 100  # the oldest leases: a broken lease store must not create series without limit
OUTCOMES = (
    "ok",
    "unreachable",
    "denied",
    "error",
)  # of a request (`jolokia.client.Counts`), exported as 0 before the first


Sample: TypeAlias = "tuple[Family, tuple[str, ...], float | Durations]"


def render(
    readings: ReadingsSource,
    service: ServiceReading | None = None,
    accept: str = "",
    *,
    clock: Callable[[], float] = time.time,
    series: SeriesCache | None = None,
) -> tuple[str, bytes]:
    """The reply to a scrape.

    Args:
        readings: the present reading of each cluster.
        service: what the service knows about itself; fields that are None have no series.
        accept: the request's Accept header, which decides between Prometheus's text format and OpenMetrics.
        clock: unix seconds.
        series: texts of earlier scrapes.

    Returns:
        Content type and body.
    """
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # raised for a version that is not a number
        encode, content_type = choose_encoder("")
    collector = MetricsCollector(readings, service, clock)
    known = series or SeriesCache()
    texts = [_texts(encode, collector.own_samples()), *known.texts(encode, content_type, collector.by_cluster())]
    own = CollectorRegistry()
    ProcessCollector(registry=own)
    heads = _texts(encode, ())
    parts: list[str] = []
    for family in FAMILIES:
        parts += [_HEAD, heads[family.name][0], *(text[family.name][1] for text in texts if family.name in text)]
    return content_type, "".join(parts).encode() + encode(own)


_HEAD = "# HELP "
_END = "# EOF\n"  # of OpenMetrics


def _texts(encode: Callable[[Any], bytes], samples: Iterable[Sample]) -> dict[str, tuple[str, str]]:
    """The head and the series of each family, as a format has them; all families if there are no samples."""
    metrics: dict[str, Metric] = {} if samples else {family.name: _metric(family) for family in FAMILIES}
    for family, values, value in samples:
        if family.name not in metrics:
            metrics[family.name] = _metric(family)
        _add(metrics[family.name], family, values, value)
    text = encode(SimpleNamespace(collect=metrics.values)).decode().removesuffix(_END)
    # A newline within a label's value is escaped, so a line that begins with the mark begins a family.
    parts = f"\n{text}".split(f"\n{_HEAD}")[1:]
    return {name: _cut(part) for name, part in zip(metrics, parts, strict=True)}


def _cut(part: str) -> tuple[str, str]:
    """Help and type of a family, and the lines of its series."""
    help_, type_, *series = part.split("\n", 2)
    lines = series[0] if series else ""
    return f"{help_}\n{type_}\n", lines if not lines or lines.endswith("\n") else f"{lines}\n"


class SeriesCache:
    """The series of each cluster as text, kept from scrape to scrape: a family is encoded anew only if it changed."""

    def __init__(self, most: int = 4096) -> None:
        """Keep nothing yet.

        Args:
            most: texts that are kept: clusters times formats.
        """
        self._most = most
        self._kept: dict[tuple[str, str], dict[str, tuple[list[Sample], tuple[str, str]]]] = {}

    def texts(
        self, encode: Callable[[Any], bytes], content_type: str, clusters: Iterable[tuple[str, list[Sample]]]
    ) -> Iterator[dict[str, tuple[str, str]]]:
        """Head and series of the families of each cluster, in the form that `encode` gives them."""
        for cluster, samples in clusters:
            key = cluster, content_type
            known = _renewed(self._kept.pop(key, {}), encode, samples)
            self._kept[key] = known  # at the end: texts that have not been asked for are dropped first
            yield {name: text for name, (_, text) in known.items()}
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]

    def keep(self, clusters: Collection[str]) -> None:
        """Drop the texts of all other clusters, which are not watched any more."""
        for key in list(self._kept):
            if key[0] not in clusters:
                self._kept.pop(key, None)  # several scrapes may come at once


def _renewed(
    before: Mapping[str, tuple[list[Sample], tuple[str, str]]],
    encode: Callable[[Any], bytes],
    samples: Iterable[Sample],
) -> dict[str, tuple[list[Sample], tuple[str, str]]]:
    """The samples of each family and their text; for unchanged families, those of `before`."""
    families: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        families[sample[0].name].append(sample)
    same = {name: known for name, known in before.items() if families.get(name) == known[0]}
    changed = [sample for name, its in families.items() if name not in same for sample in its]
    encoded = _texts(encode, changed) if changed else {}
    return {name: same.get(name) or (its, encoded[name]) for name, its in families.items()}


class MetricsCollector(Collector):
    """The readings as a collector for a `CollectorRegistry`."""

    def __init__(
        self,
        readings: ReadingsSource,
        service: ServiceReading | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask for no reading yet; for the arguments see `render`."""
        self._readings = readings
        self._service = service or ServiceReading()
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """All families, without samples."""
        return map(_metric, FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """All families, with the samples of the present readings."""
        metrics = {family: _metric(family) for family in FAMILIES}
        for family, values, value in self._samples():
            _add(metrics[family], family, values, value)
        return iter(metrics.values())

    def _samples(self) -> Iterator[Sample]:
        yield from self.own_samples()
        for _, samples in self.by_cluster():
            yield from samples

    def own_samples(self) -> list[Sample]:
        """The samples that are about no cluster."""
        samples: list[Sample] = [(BUILD, (__version__,), 1)]
        service = self._service
        if service.reload:
            samples += [(RELOADED, (), service.reload.successful), (RELOADED_AT, (), service.reload.last_success)]
        if service.history is not None:
            samples.append((HISTORY, (), service.history))
        for name, counts in service.webhooks.items():
            samples += [(WAITING, (name,), counts.waiting), (DROPPED, (name,), counts.dropped)]
            samples += [(ATTEMPTS, (name, outcome), number) for outcome, number in counts.attempts.items()]
        return samples

    def by_cluster(self) -> Iterator[tuple[str, list[Sample]]]:
        """Each cluster and its samples."""
        now = self._clock()
        for reading in self._readings():
            yield reading.cluster, list(_of_reading(reading, now))


def _metric(family: Family) -> Metric:
    return Metric(family.name, family.help, family.kind)


def _add(metric: Metric, family: Family, values: tuple[str, ...], value: float | Durations) -> None:
    labels = dict(zip(family.labels, map(_encodable, values), strict=True))
    if isinstance(value, int | float):
        metric.add_sample(family.series, labels, value)
        return
    bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
    for bound, number in zip(bounds, accumulate(value.counts), strict=True):
        metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, number)
    metric.add_sample(f"{family.name}_count", labels, sum(value.counts))
    metric.add_sample(f"{family.name}_sum", labels, value.total)


def _encodable(text: str) -> str:
    """A label value in valid Unicode: JSON may contain lone surrogates, and one such name would fail the scrape."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _of_reading(reading: Reading, now: float) -> Iterator[Sample]:
    cluster = reading.cluster
    current = reading.verdict if reading.fresh else None
    if current:
        yield from _of_verdict(cluster, current)
        yield SUSPECTS, (cluster,), len(reading.suspects)
        yield from _of_levels(cluster, reading.observed)
        if reading.restart_safe is not None:
            yield SAFE, (cluster,), len(reading.restart_safe)
    yield UP, (cluster,), current is not None
    if reading.last_success is not None:
        yield SUCCESS, (cluster,), reading.last_success
    yield POLLS, (cluster,), reading.polls
    for outcome, number in {**dict.fromkeys(OUTCOMES, 0), **reading.requests}.items():
        yield REQUESTS, (cluster, outcome), number
    if reading.store_asked:
        yield STORE, (cluster,), reading.holders is not None
        for node, age in _ages(reading.holders or (), now):
            yield LEASE, (cluster, node), age


def _of_verdict(cluster: str, verdict: Verdict) -> Iterator[Sample]:
    for severity in Severity:
        yield VERDICT, (cluster, severity.name), severity is verdict.severity
    if verdict.since:
        yield SINCE, (cluster,), datetime.fromisoformat(verdict.since).timestamp()
    for (state, datacenter), number in _nodes(verdict).items():
        yield NODES, (cluster, state, datacenter), number
    usable = sum(view.outcome == "ok" for view in verdict.views)
    if usable:  # without a usable view, agreement has no meaning
        yield DISAGREEMENT, (cluster,), sum(0 < len(some) < usable for some in verdict.seen_down_by.values())
    if verdict.metadata_quorum:
        yield from _of_metadata(cluster, verdict.metadata_quorum)
    for keyspace in verdict.keyspaces:
        for level in keyspace.levels:
            if level.severity is not None:
                yield from _of_level(cluster, keyspace, level)


def _of_levels(cluster: str, seen: Observed | None) -> Iterator[Sample]:
    if seen is None:
        return
    yield LEVELS_KNOWN, (cluster,), not seen.unclear
    for keyspace, uses in seen.keyspaces.items():
        for used in uses:
            yield USED_LEVEL, (cluster, keyspace, used.level.value, used.datacenter), 1


def _of_metadata(cluster: str, quorum: Quorum) -> Iterator[Sample]:
    live = len(quorum.live)
    yield METADATA_MEMBERS, (cluster, "up"), live
    yield METADATA_MEMBERS, (cluster, "down"), quorum.size - live
    yield METADATA_LEFT, (cluster,), max(0, quorum.spare + 1)


def _nodes(verdict: Verdict) -> Counter[tuple[str, str]]:
    """How many nodes by state and datacenter; a 0 for each other pair, so that no series of a datacenter vanishes."""
    datacenters = [node.datacenter or "" for node in verdict.snapshot.nodes]
    counts = Counter({(state, name): 0 for name in sorted(set(datacenters)) for state in get_args(State)})
    counts.update(zip(verdict.states, datacenters, strict=True))
    return counts


def _of_level(cluster: str, keyspace: KeyspaceVerdict, level: LevelVerdict) -> Iterator[Sample]:
    labels = (cluster, keyspace.name, level.level.value, level.datacenter or "")
    health = level.health
    yield RANGES, labels, keyspace.ranges
    if health is None:
        return
    yield UNAVAILABLE, labels, health.unavailable
    yield STRUCTURAL, labels, health.structurally_unavailable
    yield RATIO, labels, health.unavailable_share
    yield AT_MINIMUM, labels, health.at_minimum
    yield NODES_LEFT, labels, _failures(health.node_failures_to_outage)
    yield RACKS_LEFT, labels, _failures(health.rack_failures_to_outage)


def _failures(number: int | None) -> float:
    """Infinity for None, which means that no number of failures makes an outage: the series stays."""
    return math.inf if number is None else number


def _ages(holders: Iterable[Holder], now: float) -> list[tuple[str, float]]:
    """Nodes under a lease and the age of their oldest lease, at most MOST_LEASES, oldest first."""
    ages: dict[str, float] = {}
    for holder in holders:
        ages[holder.node] = max(ages.get(holder.node, -math.inf), _age(holder, now))
    return sorted(ages.items(), key=lambda item: -abs(item[1]))[:MOST_LEASES]


def _age(holder: Holder, now: float) -> float:
    """Seconds; infinite if the time can't be read, since such a lease is overdue (`core.maintenance`)."""
    try:
        since = datetime.fromisoformat(holder.since)
    except ValueError:
        return math.inf
    return now - (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
