"""The keys of `observed`: the sources of the levels that clients use, and how long their evidence counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ringcheck.config.files import File
from ringcheck.config.formats import URL
from ringcheck.config.sections import ConfigKey, Many, Section
from ringcheck.config.source_schema import TLS, refuse_plain
from ringcheck.config.types import Duration, Number, Text
from ringcheck.config.values import Observing, Prometheus, SpanLabels
from ringcheck.core.levels import Following

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

    from ringcheck.config.reader import ConfigReader

_OF_PROMETHEUS = ("query", "labels", "interval", "username", "password_file", "tls")
_DAY = 86400.0


def _label(value: str) -> str:
    if not value.isidentifier() or not value.isascii():
        raise ValueError(f"{value!r} is not the name of a label")
    return value


LABEL = Text("the name of a label", _label, "^[A-Za-z_][A-Za-z0-9_]*$")


def _conflicts(present: frozenset[str]) -> Iterator[str]:
    useless = next((name for name in _OF_PROMETHEUS if name in present and "prometheus" not in present), None)
    if useless:
        yield f"{useless} needs prometheus"
    if "prometheus" in present and "query" not in present:
        yield "prometheus needs query: counters by keyspace, level and datacenter"
    if not useless and ("username" in present) != ("password_file" in present):
        yield "username and password_file must be set together"


def _observed(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Observing:
    following = Following(**{name: values.pop(name) for name in ("window", "least") if name in values})
    every = {"every": values.pop("every")} if "every" in values else {}
    if not values:
        return Observing(following=following, **every)
    refuse_plain(node, values.get("tls"), (values["prometheus"],))
    return Observing(following=following, prometheus=Prometheus(url=values.pop("prometheus"), **values), **every)


_LABELS = Section(
    what="labels",
    keys={
        "keyspace": ConfigKey(Many(LABEL), "The keyspace.", default="[db_namespace, db_name]"),
        "level": ConfigKey(
            Many(LABEL),
            "The consistency level, in upper or lower case.",
            default="[cassandra_consistency_level, db_cassandra_consistency_level]",
        ),
        "datacenter": ConfigKey(
            Many(LABEL),
            "The coordinator's datacenter.",
            default="[cassandra_coordinator_dc, db_cassandra_coordinator_dc]",
        ),
    },
    build=lambda _reader, _node, values: SpanLabels(**values),
)

OBSERVED = Section(
    what="observed",
    keys={
        "window": ConfigKey(
            Duration(1, 90 * _DAY),
            "How long a query counts; a level is lowered only after a whole window without it is known.",
            default="7d",
        ),
        "least": ConfigKey(
            Number(1, 10**9),
            "Number of queries in the window, at a level in a datacenter, from which the level counts as used.",
            default="1",
        ),
        "every": ConfigKey(Duration(1, 300), "Time between two readings of the nodes' counters.", default="60s"),
        "prometheus": ConfigKey(URL, "URL of a Prometheus that has counters of queries, by keyspace."),
        "query": ConfigKey(Text(), "PromQL query whose result is counters of queries; not `rate()` or `increase()`."),
        "labels": ConfigKey(_LABELS, "For each of these, names of labels; the first label that a series has is used."),
        "interval": ConfigKey(Duration(1, 86400), "Time between two queries to Prometheus.", default="5m"),
        "username": ConfigKey(Text(), "User name for Prometheus."),
        "password_file": ConfigKey(File(secret=True), "File with the password."),
        "tls": ConfigKey(TLS, "Certificates for https."),
    },
    build=_observed,
    conflicts=_conflicts,
    also={
        "dependentRequired": {name: ["prometheus"] for name in _OF_PROMETHEUS}
        | {
            "prometheus": ["query"],
            "username": ["prometheus", "password_file"],
            "password_file": ["prometheus", "username"],
        },
    },
)
