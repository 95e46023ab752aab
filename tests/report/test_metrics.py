"""Metrics: which series exist and which do not, and that no series vanishes while its subject exists."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from ringcheck import __version__
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.core.quorum import Quorum
from ringcheck.core.ring import View
from ringcheck.documents.verdict import verdict_document
from ringcheck.report import metrics
from ringcheck.report.families import FAMILIES
from ringcheck.report.metrics import MetricsCollector, SeriesCache, render
from ringcheck.report.reading import BUCKETS, Durations, Reading, Reload, ServiceReading
from tests import article
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

ROOT = Path(__file__).parents[2]
NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
OPEN = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def reading(down: Collection[str] = (), **changes: Any) -> Reading:
    verdict = assess(article.snapshot(down), Policy())
    values: dict[str, Any] = {"restart_safe": frozenset(), "fresh": True, "last_success": NOW - 5, **changes}
    return Reading(cluster="blogs", verdict=verdict, **values)


def scrape(readings: Iterable[Reading], **others: Any) -> Series:
    """All samples of ringcheck's own families by name and labels; a duplicate series is a failure."""
    kind, body = render(lambda: readings, clock=lambda: NOW, **others)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    series: Series = {}
    for family in plain(body.decode()):
        for sample in family.samples if not family.name.startswith("process_") else ():
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series, key
            series[key] = sample.value
    return series


def of(series: Series, name: str, **labels: str) -> dict[frozenset[tuple[str, str]], float]:
    """The series of this name that have these labels, by all their labels."""
    return {key[1]: value for key, value in series.items() if key[0] == name and labels.items() <= dict(key[1]).items()}


def value(series: Series, name: str, **labels: str) -> float:
    """The value of the only series with this name and these labels."""
    (number,) = of(series, name, **labels).values()
    return number


def test_a_verdict_in_numbers() -> None:
    """Each number of a level has the labels of that level."""
    series = scrape([reading(["10.0.0.1"])])
    at = {"cassandra_cluster": "blogs", "keyspace": "blog_1", "consistency_level": "LOCAL_ONE", "cassandra_dc": "dc1"}
    assert {name: number for (name, labels), number in series.items() if labels == frozenset(at.items())} == {
        "cassandra_ring_ranges": 768,
        "cassandra_ring_unavailable_ranges": 256,
        "cassandra_ring_structurally_unavailable_ranges": 0,
        "cassandra_ring_unavailable_ratio": pytest.approx(0.3147, abs=1e-4),
        "cassandra_ring_at_minimum_ranges": 512,
        "cassandra_ring_node_failures_to_outage": 0,
        "cassandra_ring_rack_failures_to_outage": 0,
    }
    assert (
        value(series, "cassandra_ring_node_failures_to_outage", keyspace="blog_3", consistency_level="LOCAL_ONE") == 2
    )


@pytest.mark.parametrize(
    ("down", "severity"), [((), "OK"), (("10.0.0.1",), "CRITICAL"), (article.ADDRESSES, "UNKNOWN")]
)
def test_one_severity_is_one(down: Collection[str], severity: str) -> None:
    """Each severity has a series, and only that of the verdict is 1."""
    series = of(scrape([reading(down)]), "cassandra_ring_verdict")
    assert {dict(labels)["severity"]: number for labels, number in series.items()} == {
        known.name: float(known.name == severity) for known in Severity
    }


def test_series_never_vanish() -> None:
    """A datacenter without a live node exports 0 nodes up; losing nodes ends no series."""
    well, worse = (scrape([reading(down)]) for down in ((), article.ADDRESSES[:2]))
    assert set(worse) == set(well)
    series = scrape([reading(article.ADDRESSES)])
    counts = {
        dict(labels)["state"]: number
        for labels, number in of(series, "cassandra_ring_nodes", cassandra_dc="dc1").items()
    }
    assert counts == {"up": 0, "down": 0, "unknown": 3}


def test_an_old_verdict_has_no_series() -> None:
    """Only ringcheck_up and the times of the polls are left."""
    old = scrape([reading(fresh=False, suspects=frozenset(["10.0.0.1"]))])
    assert not [name for name, _ in old if name.startswith("cassandra_ring_")]
    assert value(old, "ringcheck_up", cassandra_cluster="blogs") == 0
    assert value(old, "ringcheck_last_success_timestamp_seconds") == NOW - 5
    assert value(scrape([reading()]), "ringcheck_up") == 1


def test_before_the_first_poll() -> None:
    """A cluster without a verdict has only the series of the agent, whatever `fresh` is."""
    series = scrape([Reading(cluster="new", fresh=True)])
    assert {name for name, _ in series if not name.startswith("ringcheck_poll_duration")} == {
        "ringcheck_up", "ringcheck_jolokia_requests_total", "ringcheck_lease_store_up", "ringcheck_build_info",
    }  # fmt: skip
    assert value(series, "ringcheck_up", cassandra_cluster="new") == 0


def test_what_is_not_known_is_absent() -> None:
    """An unknown number has no series: 0 would mean that no range is unavailable."""
    known = reading()
    assert known.verdict
    blog = known.verdict.keyspaces[0]
    blind = replace(blog, levels=tuple(replace(level, health=None, severity=Severity.UNKNOWN) for level in blog.levels))
    series = scrape(
        [replace(known, verdict=replace(known.verdict, keyspaces=(blind,)), restart_safe=None, holders=None)]
    )
    assert {name for (name, labels) in series if "keyspace" in dict(labels)} == {"cassandra_ring_ranges"}
    assert not of(series, "cassandra_ring_restart_safe_nodes")
    assert not of(series, "ringcheck_lease_holder_age_seconds")
    assert value(series, "ringcheck_lease_store_up") == 0
    assert not of(scrape([reading(article.ADDRESSES)]), "cassandra_ring_view_disagreement"), (
        "without a view, agreement has no meaning"
    )


def test_only_watched_levels_have_series() -> None:
    """A level that is shown but not watched has no series."""
    known = reading()
    assert known.verdict
    shown = tuple(
        replace(keyspace, levels=tuple(replace(level, severity=None) for level in keyspace.levels))
        for keyspace in known.verdict.keyspaces
    )
    series = scrape([replace(known, verdict=replace(known.verdict, keyspaces=shown))])
    assert not [labels for _, labels in series if "keyspace" in dict(labels)]


def test_a_level_without_datacenter_has_an_empty_label() -> None:
    """QUORUM needs the same replicas for the clients of every datacenter."""
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.QUORUM)),))
    series = scrape([Reading(cluster="blogs", verdict=assess(article.snapshot(), policy), fresh=True)])
    assert value(series, "cassandra_ring_ranges", keyspace="blog_3", consistency_level="QUORUM", cassandra_dc="") == 768


def test_a_level_that_no_failure_can_lose_is_infinite() -> None:
    """The series stays, and its value is above every threshold."""
    known = reading()
    assert known.verdict
    first, *others = known.verdict.keyspaces
    assert first.levels[0].health
    never = replace(first.levels[0].health, node_failures_to_outage=None, rack_failures_to_outage=None)
    changed = replace(first, levels=(replace(first.levels[0], health=never), *first.levels[1:]))
    series = scrape([replace(known, verdict=replace(known.verdict, keyspaces=(changed, *others)))])
    for name in ("node", "rack"):
        failures = of(
            series, f"cassandra_ring_{name}_failures_to_outage", keyspace="blog_1", consistency_level="LOCAL_ONE"
        )
        assert list(failures.values()) == [math.inf]


@pytest.mark.parametrize(("live", "left"), [(("10.0.0.1", "10.0.0.2"), 1), (("10.0.0.1",), 0), ((), 0)])
def test_the_metadata_service_has_series_from_6_0_on(live: tuple[str, ...], left: int) -> None:
    """Members by state, and how many members may fail until the quorum is lost; none of them without such a service."""
    assert not of(scrape([reading()]), "cassandra_ring_metadata_members")
    assert not of(scrape([reading()]), "cassandra_ring_metadata_member_failures_to_outage")
    quorum = Quorum(size=3, members=("10.0.0.1", "10.0.0.2", "10.0.0.3"), live=live, observer="10.0.0.1")
    one = reading()
    assert one.verdict
    series = scrape([replace(one, verdict=replace(one.verdict, metadata_quorum=quorum))])
    assert value(series, "cassandra_ring_metadata_members", state="up") == len(live)
    assert value(series, "cassandra_ring_metadata_members", state="down") == 3 - len(live)
    assert value(series, "cassandra_ring_metadata_member_failures_to_outage") == left


@pytest.mark.parametrize(("observers", "number"), [((0,), 1), ((0, 1, 2), 0), ((), 0)])
def test_disagreement_counts_nodes(observers: Collection[int], number: int) -> None:
    """A node counts once if some views see it down and others up, but not if all see it down."""
    seen = article.snapshot()
    gone = frozenset(article.ADDRESSES[2:])
    views = tuple(
        View(address, live=frozenset(article.ADDRESSES) - (gone if index in observers else frozenset()))
        for index, address in enumerate(article.ADDRESSES)
    )
    views = views[:2] if len(observers) == 3 else views  # a node that is down has no view of its own
    verdict = assess(replace(seen, views=views), Policy())
    series = scrape([Reading(cluster="blogs", verdict=verdict, fresh=True)])
    assert value(series, "cassandra_ring_view_disagreement") == number


def test_safe_nodes_and_suspects_are_counted() -> None:
    """Their addresses are not used as labels."""
    series = scrape([reading(restart_safe=frozenset(article.ADDRESSES), suspects=frozenset(article.ADDRESSES[:2]))])
    assert value(series, "cassandra_ring_restart_safe_nodes", cassandra_cluster="blogs") == 3
    assert value(series, "cassandra_ring_suspect_nodes", cassandra_cluster="blogs") == 2


def test_leases_have_an_age() -> None:
    """There is a series for each node, of its oldest lease; the age is infinite if the time can't be read."""
    holders = (
        Holder(node="10.0.0.1", owner="a@b 1", purpose="", since="2025-12-31T23:00:00Z"),
        Holder(node="10.0.0.1", owner="a@b 2", purpose="", since="2025-12-31T23:50:00Z"),
        Holder(node="10.0.0.2", owner="a@b 3", purpose="", since="2026-01-01T02:01:00+02:00"),
        Holder(node="10.0.0.3", owner="a@b 4", purpose="", since="last week"),
    )
    series = of(scrape([reading(holders=holders)]), "ringcheck_lease_holder_age_seconds")
    assert {dict(labels)["node"]: age for labels, age in series.items()} == {
        "10.0.0.1": 3600, "10.0.0.2": -60, "10.0.0.3": math.inf,
    }  # fmt: skip
    assert not any("owner" in dict(labels) for labels in series)


def test_leases_are_bounded() -> None:
    """If a broken store returns very many leases, only the oldest have series."""
    holders = tuple(
        Holder(node=f"n{age}", owner="o", purpose="", since=f"2025-12-{31 - age // 24:02}T{23 - age % 24:02}:00:00Z")
        for age in range(240)
    )
    series = of(scrape([reading(holders=holders)]), "ringcheck_lease_holder_age_seconds")
    assert sorted(series.values()) == [3600.0 * (age + 1) for age in range(240 - metrics.MOST_LEASES, 240)]


def test_polls_are_a_histogram() -> None:
    """Buckets are cumulative, and the last one equals the count."""
    counts = tuple(range(len(BUCKETS) + 1))
    series = scrape([reading(polls=Durations(counts, 12.5))])
    buckets = {
        dict(labels)["le"]: number for labels, number in of(series, "ringcheck_poll_duration_seconds_bucket").items()
    }
    assert [buckets[str(bound)] for bound in BUCKETS] == [sum(counts[: index + 1]) for index in range(len(BUCKETS))]
    assert buckets["+Inf"] == value(series, "ringcheck_poll_duration_seconds_count") == sum(counts)
    assert value(series, "ringcheck_poll_duration_seconds_sum") == 12.5


def test_requests_begin_at_zero() -> None:
    """Outcomes have a series before the first request, so that a rate sees it; new outcomes get one too."""
    series = of(scrape([reading(requests={"ok": 7, "refused": 1})]), "ringcheck_jolokia_requests_total")
    assert {dict(labels)["outcome"]: number for labels, number in series.items()} == {
        "ok": 7, "unreachable": 0, "denied": 0, "error": 0, "refused": 1,
    }  # fmt: skip


def test_the_configuration_and_the_build() -> None:
    """They show whether the last configuration is in force, since when, and the version of ringcheck."""
    series = scrape([], service=ServiceReading(reload=Reload(successful=False, last_success=NOW - 60)))
    assert {name: number for (name, _), number in series.items()} == {
        "ringcheck_config_last_reload_successful": 0,
        "ringcheck_config_last_reload_success_timestamp_seconds": NOW - 60,
        "ringcheck_build_info": 1,
    }
    assert value(series, "ringcheck_build_info", version=__version__) == 1


def test_labels_are_few_and_bounded() -> None:
    """A series has the labels of its family, and no label contains a token, an owner or a free text."""
    holders = (Holder(node="10.0.0.1", owner="a@b 1", purpose="because", since="2025-12-31T23:00:00Z"),)
    service = ServiceReading(reload=Reload(successful=True, last_success=NOW))
    series = scrape([reading(["10.0.0.1"], holders=holders)], service=service)
    families = {family.series: set(family.labels) for family in FAMILIES}
    for name, labels in series:
        base = re.sub("_(bucket|sum|count)$", "", name) if name not in families else name
        assert set(dict(labels)) - {"le"} == families[base], name
    known = {
        "cassandra_cluster", "cassandra_dc", "keyspace", "consistency_level", "state", "severity", "outcome", "node",
        "version", "webhook",
    }  # fmt: skip
    assert {label for family in FAMILIES for label in family.labels} == known


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPEN, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text; version=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("\x00;;=,;version=,", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_client_chooses_the_format(accept: str, kind: str) -> None:
    """The default is text; OpenMetrics is sent on request; an invalid Accept header does not make the scrape fail."""
    assert render(lambda: [reading()], accept=accept)[0] == kind


def test_both_formats_have_the_same_series() -> None:
    """OpenMetrics, strictly parsed, has every series of the text format with its value."""
    known = reading(
        ["10.0.0.1"], holders=(Holder(node="10.0.0.1", owner="o", purpose="", since="2025-12-31T23:00:00Z"),)
    )
    body = render(lambda: [known], accept=OPEN, clock=lambda: NOW)[1].decode()
    strict = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in openmetrics(body)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if not family.name.startswith("process_")
    }
    assert strict == scrape([known])


@pytest.mark.parametrize("name", ['a"b\\c\nd', "düsseldorf", "\ud800", "a{b=1}"])
def test_no_name_breaks_a_scrape(name: str) -> None:
    """A datacenter may have any name, which must not break the scrape of all clusters."""
    known = reading()
    assert known.verdict
    nodes = tuple(replace(node, datacenter=name) for node in known.verdict.snapshot.nodes)
    verdict = assess(replace(known.verdict.snapshot, nodes=nodes), Policy())
    series = scrape([replace(known, verdict=verdict)])
    label = name.encode(errors="replace").decode()
    assert value(series, "cassandra_ring_nodes", cassandra_dc=label, state="up") == 3
    assert of(series, "cassandra_ring_ranges", cassandra_dc=label, keyspace="blog_1")


def test_nodes_without_a_datacenter_count() -> None:
    """A node whose datacenter is not known is counted, with an empty label."""
    known = reading()
    assert known.verdict
    first, *others = known.verdict.snapshot.nodes
    verdict = assess(replace(known.verdict.snapshot, nodes=(replace(first, datacenter=None), *others)), Policy())
    series = scrape([replace(known, verdict=verdict)])
    assert sum(of(series, "cassandra_ring_nodes").values()) == 3
    assert value(series, "cassandra_ring_nodes", cassandra_dc="", state="up") == 1


def test_clusters_do_not_mix() -> None:
    """Each reading has its own series, under its name in the configuration."""
    series = scrape([reading(), replace(reading(["10.0.0.1"]), cluster="other"), Reading(cluster="dark")])
    assert value(series, "cassandra_ring_verdict", cassandra_cluster="blogs", severity="OK") == 1
    assert value(series, "cassandra_ring_verdict", cassandra_cluster="other", severity="CRITICAL") == 1
    assert not of(series, "cassandra_ring_verdict", cassandra_cluster="dark")


def test_a_registry_knows_the_names_beforehand() -> None:
    """Registering reads nothing, refuses names that exist already, and announces every family."""
    asked: list[Reading] = []

    def readings() -> list[Reading]:
        asked.append(reading())
        return asked

    collector = MetricsCollector(readings)
    registry = CollectorRegistry()
    registry.register(collector)
    assert not asked
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(MetricsCollector(list))
    collected = [(metric.name, metric.type, metric.documentation) for metric in collector.collect()]
    assert collected == [(metric.name, metric.type, metric.documentation) for metric in collector.describe()]


def numbers(document: Mapping[str, Any]) -> Series:
    """The watched levels of a verdict document as series."""
    fields = {
        "unavailable": "unavailable_ranges",
        "structurally_unavailable": "structurally_unavailable_ranges",
        "unavailable_share": "unavailable_ratio",
        "at_minimum": "at_minimum_ranges",
        "node_failures_to_outage": "node_failures_to_outage",
        "rack_failures_to_outage": "rack_failures_to_outage",
    }
    series: Series = {}
    for keyspace in document["keyspaces"]:
        for level in (level for level in keyspace["levels"] if level["severity"]):
            labels = {"cassandra_cluster": "prop", "keyspace": keyspace["name"], "consistency_level": level["level"]}
            key = frozenset({**labels, "cassandra_dc": level["datacenter"] or ""}.items())
            series["cassandra_ring_ranges", key] = keyspace["ranges"]
            for field, name in fields.items() if level["worst_view"] else ():
                series[f"cassandra_ring_{name}", key] = math.inf if level[field] is None else level[field]
    return series


@pytest.mark.slow
@given(clusters(views=3, tables=3))
def test_metrics_and_documents_agree(cluster: Cluster) -> None:
    """The series of a level are exactly the numbers in the verdict document."""
    verdict = assess(cluster.snapshot(), Policy())
    series = scrape([Reading(cluster="prop", verdict=verdict, fresh=True)])
    document = json.loads(json.dumps(verdict_document(verdict)))
    assert {key: number for key, number in series.items() if "keyspace" in dict(key[1])} == numbers(document)
    states = [node["state"] for node in document["nodes"]]
    for state in ("up", "down", "unknown"):
        assert sum(of(series, "cassandra_ring_nodes", state=state).values()) == states.count(state)


@pytest.mark.parametrize("accept", ["", OPEN])
def test_series_are_joined_from_kept_texts(accept: str) -> None:
    """In each format a scrape of many clusters equals a single encoding of them all, even when some change."""
    cache, names = SeriesCache(), ["a", 'b"\n# HELP x', "c"]
    verdicts = [assess(article.snapshot(down), Policy()) for down in ((), ["10.0.0.1"])]
    for turn in range(3):
        readings = [
            Reading(cluster=name, verdict=verdicts[(turn + place) % 2 if place else 0], fresh=place != turn)
            for place, name in enumerate(names)
        ]
        source = partial(tuple, readings)
        state = ServiceReading(reload=Reload(successful=True, last_success=turn))
        found = render(source, state, accept, clock=lambda: NOW, series=cache)[1].decode()
        registry = CollectorRegistry()
        registry.register(MetricsCollector(source, state, lambda: NOW))
        whole = choose_encoder(accept)[0](registry).decode().removesuffix("# EOF\n")
        assert found.startswith(whole)
        rest = found.removeprefix(whole).removesuffix("# EOF\n").splitlines()
        assert {line.removeprefix("# HELP ").removeprefix("# TYPE ").partition("_")[0] for line in rest} == {"process"}


def test_what_has_not_changed_is_not_encoded_again() -> None:
    """Only a cluster's families with a new sample are encoded; nothing of a removed cluster is kept."""
    cache = SeriesCache()
    encoded: list[list[str]] = []
    verdict = assess(article.snapshot(), Policy())

    def encode(registry: Any) -> bytes:
        encoded.append([metric.name for metric in registry.collect()])
        return choose_encoder("")[0](registry)

    def scrape_of(*readings: Reading) -> None:
        encoded.clear()
        list(cache.texts(encode, "text", MetricsCollector(lambda: readings).by_cluster()))

    one, two = (Reading(cluster=name, verdict=verdict, fresh=True) for name in "ab")
    scrape_of(one, two)
    assert len(encoded) == 2
    scrape_of(one, two)
    assert encoded == []
    scrape_of(one, replace(two, suspects=frozenset({"10.0.0.1"})))
    assert encoded == [["cassandra_ring_suspect_nodes"]]
    cache.keep({"a"})
    assert [cluster for cluster, _ in cache._kept] == ["a"]
