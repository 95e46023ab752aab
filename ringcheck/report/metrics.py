"""What a long-running service knows, as Prometheus and OpenMetrics text.

A stateless view: each scrape is made of what is known then, so that no series outlives what it told of. What can't be
known is absent and never 0; where the verdict is too old its series stop, and `ringcheck_up` says so. No label holds a
token, an owner or any text that grows with time. docs/metrics.md says what each metric means to people.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ringcheck import __version__
from ringcheck.core.evidence import State
from ringcheck.core.policy import Severity
from ringcheck.report.reading import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ringcheck.core.maintenance import Holder
    from ringcheck.core.verdict import KeyspaceVerdict, LevelVerdict, Verdict
    from ringcheck.report.reading import Durations, Reading, Reload

Readings: TypeAlias = "Callable[[], Iterable[Reading]]"

MOST_LEASES = 100  # oldest first: a store gone wild must not make series without end
OUTCOMES = ("ok", "unreachable", "denied", "error")  # of a request (`jolokia.client.Counts`), told before the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric; counters and infos are named without `_total` and `_info`, which their samples add."""

    name: str
    kind: Literal["gauge", "counter", "histogram", "info"]
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> str:
        """The name that queries use; histograms add `_bucket`, `_sum` and `_count`."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")


_CLUSTER = ("cassandra_cluster",)
_LEVEL = (*_CLUSTER, "keyspace", "consistency_level", "cassandra_dc")


def _ring(name: str, text: str, labels: tuple[str, ...] = _LEVEL) -> Family:
    return Family(name=f"cassandra_ring_{name}", kind="gauge", labels=labels, help=text)


RANGES = _ring("ranges", "Token ranges of the keyspace.")
UNAVAILABLE = _ring("unavailable_ranges", "Ranges that can't be served at the level, as the worst coordinator sees it.")
STRUCTURAL = _ring("structurally_unavailable_ranges", "Of these, ranges that need more replicas than they have.")
RATIO = _ring("unavailable_ratio", "Share of the token space that can't be served at the level, 0 to 1.")
AT_MINIMUM = _ring("at_minimum_ranges", "Ranges that can be served at the level with no replica to spare.")
NODES_LEFT = _ring(
    "node_failures_to_outage", "Fewest node failures to an unavailable range; +Inf where none leads to one."
)
RACKS_LEFT = _ring(
    "rack_failures_to_outage", "Fewest rack failures to an unavailable range; +Inf where none leads to one."
)
NODES = _ring("nodes", "Nodes by state and datacenter.", (*_CLUSTER, "state", "cassandra_dc"))
SAFE = _ring("restart_safe_nodes", "Nodes that are up and each of which may restart now, alone.", _CLUSTER)
DISAGREEMENT = _ring("view_disagreement", "Nodes that some coordinators see up and others down.", _CLUSTER)
SUSPECTS = _ring("suspect_nodes", "Nodes whose Jolokia stopped answering though no view calls them down.", _CLUSTER)
VERDICT = _ring("verdict", "1 for the severity of the cluster's verdict, 0 for the others.", (*_CLUSTER, "severity"))

UP = Family(
    name="ringcheck_up",
    kind="gauge",
    labels=_CLUSTER,
    help="Whether there is a verdict young enough to be told as the present.",
)
SUCCESS = Family(
    name="ringcheck_last_success_timestamp_seconds",
    kind="gauge",
    labels=_CLUSTER,
    help="Unix time of the last poll that gave a verdict.",
)
POLLS = Family(name="ringcheck_poll_duration_seconds", kind="histogram", labels=_CLUSTER, help="How long polls took.")
REQUESTS = Family(
    name="ringcheck_jolokia_requests", kind="counter", labels=(*_CLUSTER, "outcome"), help="Requests to Jolokia agents."
)
STORE = Family(
    name="ringcheck_lease_store_up",
    kind="gauge",
    labels=_CLUSTER,
    help="Whether the holders of restart leases are known.",
)
LEASE = Family(
    name="ringcheck_lease_holder_age_seconds",
    kind="gauge",
    labels=(*_CLUSTER, "node"),
    help="Age of a node's restart lease.",
)
RELOADED = Family(
    name="ringcheck_config_last_reload_successful",
    kind="gauge",
    labels=(),
    help="Whether the configuration read last is in force.",
)
RELOADED_AT = Family(
    name="ringcheck_config_last_reload_success_timestamp_seconds",
    kind="gauge",
    labels=(),
    help="Unix time at which the configuration in force was read.",
)
BUILD = Family(name="ringcheck_build", kind="info", labels=("version",), help="The program that tells this.")

FAMILIES = (
    RANGES, UNAVAILABLE, STRUCTURAL, RATIO, AT_MINIMUM, NODES_LEFT, RACKS_LEFT, NODES, SAFE, DISAGREEMENT, SUSPECTS,
    VERDICT, UP, SUCCESS, POLLS, REQUESTS, STORE, LEASE, RELOADED, RELOADED_AT, BUILD,
)  # fmt: skip

Sample: TypeAlias = "tuple[Family, tuple[str, ...], float | Durations]"


def render(
    readings: Readings, accept: str = "", reload: Reload | None = None, clock: Callable[[], float] = time.time
) -> tuple[str, bytes]:
    """The body of a scrape.

    Args:
        readings: what is known now, a reading a cluster.
        accept: the request's Accept header; decides between Prometheus's text and OpenMetrics.
        reload: how the last reading of the configuration went; None where that is not known.
        clock: unix seconds.

    Returns:
        Content type and body.
    """
    registry = CollectorRegistry()
    registry.register(MetricsCollector(readings, reload, clock))
    ProcessCollector(registry=registry)
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it compares versions, and "x" with 1
        encode, content_type = choose_encoder("")
    return content_type, encode(registry)


class MetricsCollector(Collector):
    """Readings for a `CollectorRegistry`."""

    def __init__(
        self, readings: Readings, reload: Reload | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Remember where to ask; see `render`."""
        self._readings = readings
        self._reload = reload
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """All families, without samples."""
        return (Metric(one.name, one.help, one.kind) for one in FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """All families, with what is known now."""
        found = {one: Metric(one.name, one.help, one.kind) for one in FAMILIES}
        for family, values, value in self._samples():
            _add(found[family], family, values, value)
        return iter(found.values())

    def _samples(self) -> Iterator[Sample]:
        now = self._clock()
        yield BUILD, (__version__,), 1
        if self._reload:
            yield RELOADED, (), self._reload.successful
            yield RELOADED_AT, (), self._reload.last_success
        for reading in self._readings():
            yield from _of_reading(reading, now)


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
    """A label value; JSON can hold halves of surrogate pairs, for which one bad name would cost the whole scrape."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _of_reading(reading: Reading, now: float) -> Iterator[Sample]:
    cluster = reading.cluster
    current = reading.verdict if reading.fresh else None
    if current:
        yield from _of_verdict(cluster, current)
        yield SUSPECTS, (cluster,), len(reading.suspects)
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
    for (state, datacenter), number in _nodes(verdict).items():
        yield NODES, (cluster, state, datacenter), number
    usable = sum(view.outcome == "ok" for view in verdict.views)
    if usable:  # without a view there is nothing that could agree
        yield DISAGREEMENT, (cluster,), sum(0 < len(some) < usable for some in verdict.seen_down_by.values())
    for keyspace in verdict.keyspaces:
        for level in keyspace.levels:
            if level.severity is not None:
                yield from _of_level(cluster, keyspace, level)


def _nodes(verdict: Verdict) -> Counter[tuple[str, str]]:
    """How many nodes by state and datacenter; 0 where there are none, so that a lost datacenter does not vanish."""
    homes = [node.datacenter or "" for node in verdict.snapshot.nodes]
    found = Counter({(state, home): 0 for home in sorted(set(homes)) for state in get_args(State)})
    found.update(zip(verdict.states, homes, strict=True))
    return found


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
    """No number of failures makes an outage where `LevelHealth` has None: endless, and the series stays."""
    return math.inf if number is None else number


def _ages(holders: Iterable[Holder], now: float) -> list[tuple[str, float]]:
    """Nodes under a lease and the age of their oldest, oldest first; a bounded number."""
    found: dict[str, float] = {}
    for one in holders:
        found[one.node] = max(found.get(one.node, -math.inf), _age(one, now))
    return sorted(found.items(), key=lambda item: -abs(item[1]))[:MOST_LEASES]


def _age(holder: Holder, now: float) -> float:
    """Seconds; endless where the time can't be read, for such a lease is overdue (`core.maintenance`)."""
    try:
        since = datetime.fromisoformat(holder.since)
    except ValueError:
        return math.inf
    return now - (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
