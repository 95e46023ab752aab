"""The metrics: their names, labels and help texts. docs/metrics.md explains each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric. The names of counters and infos lack `_total` and `_info`, which their samples add."""

    name: str
    kind: Literal["gauge", "counter", "histogram", "info"]
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> str:
        """The name in queries; histograms add `_bucket`, `_sum` and `_count`."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")


_CLUSTER = ("cassandra_cluster",)
_LEVEL = (*_CLUSTER, "keyspace", "consistency_level", "cassandra_dc")


def _ring(name: str, text: str, labels: tuple[str, ...] = _LEVEL) -> Family:
    return Family(name=f"cassandra_ring_{name}", kind="gauge", labels=labels, help=text)


RANGES = _ring("ranges", "Token ranges of the keyspace.")
UNAVAILABLE = _ring("unavailable_ranges", "Ranges that can't be served at the level, as the worst coordinator sees it.")
STRUCTURAL = _ring("structurally_unavailable_ranges", "Unavailable ranges that need more replicas than they have.")
RATIO = _ring("unavailable_ratio", "Share of the token space that can't be served at the level, 0 to 1.")
AT_MINIMUM = _ring("at_minimum_ranges", "Ranges that can be served at the level with no replica to spare.")
NODES_LEFT = _ring(
    "node_failures_to_outage",
    "Fewest node failures that make a range unavailable; 0 if one is unavailable now, +Inf if no failure can cause it.",
)
RACKS_LEFT = _ring(
    "rack_failures_to_outage",
    "Fewest rack failures that make a range unavailable; 0 if one is unavailable now, +Inf if no failure can cause it.",
)
NODES = _ring("nodes", "Nodes by state and datacenter.", (*_CLUSTER, "state", "cassandra_dc"))
SAFE = _ring("restart_safe_nodes", "Nodes that are up and may each restart now, alone.", _CLUSTER)
DISAGREEMENT = _ring("view_disagreement", "Nodes that some coordinators see up and others down.", _CLUSTER)
SUSPECTS = _ring("suspect_nodes", "Nodes whose Jolokia stopped answering and that no view sees down.", _CLUSTER)
SINCE = _ring(
    "severity_since_timestamp_seconds", "Unix time at which the verdict got its severity, as far as known.", _CLUSTER
)
METADATA_MEMBERS = _ring(
    "metadata_members", "Members of the cluster metadata service (6.0+) by state.", (*_CLUSTER, "state")
)
METADATA_LEFT = _ring(
    "metadata_member_failures_to_outage",
    "Fewest failures of members that end the quorum of the cluster metadata service; 0 if there is none.",
    _CLUSTER,
)
VERDICT = _ring("verdict", "1 for the severity of the cluster's verdict, 0 for the others.", (*_CLUSTER, "severity"))

USED_LEVEL = _ring(
    "used_level",
    "1 for each consistency level that clients use; keyspace * stands for all that have no series.",
)
LEVELS_KNOWN = _ring("used_levels_known", "1 if the whole window of their evidence is known, 0 if not.", _CLUSTER)

UP = Family(
    name="ringcheck_up",
    kind="gauge",
    labels=_CLUSTER,
    help="1 if there is a recent verdict, 0 if not.",
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
    help="1 if the lease store could be read, 0 if not.",
)
LEASE = Family(
    name="ringcheck_lease_holder_age_seconds",
    kind="gauge",
    labels=(*_CLUSTER, "node"),
    help="Age of the node's oldest restart lease.",
)
RELOADED = Family(
    name="ringcheck_config_last_reload_successful",
    kind="gauge",
    labels=(),
    help="1 if the configuration read last is in force, 0 if not.",
)
RELOADED_AT = Family(
    name="ringcheck_config_last_reload_success_timestamp_seconds",
    kind="gauge",
    labels=(),
    help="Unix time at which the configuration in force was read.",
)
HISTORY = Family(
    name="ringcheck_history_up",
    kind="gauge",
    labels=(),
    help="1 if the state file can be written, 0 if not.",
)
_WEBHOOK = ("webhook",)
WAITING = Family(
    name="ringcheck_webhook_waiting_events", kind="gauge", labels=_WEBHOOK, help="Events that wait for the webhook."
)
DROPPED = Family(
    name="ringcheck_webhook_dropped_events",
    kind="counter",
    labels=_WEBHOOK,
    help="Events that were dropped because too many waited for the webhook.",
)
ATTEMPTS = Family(
    name="ringcheck_webhook_attempts",
    kind="counter",
    labels=(*_WEBHOOK, "outcome"),
    help="Attempts to deliver an event to the webhook.",
)
BUILD = Family(name="ringcheck_build", kind="info", labels=("version",), help="Version of ringcheck.")

FAMILIES = (
    RANGES, UNAVAILABLE, STRUCTURAL, RATIO, AT_MINIMUM, NODES_LEFT, RACKS_LEFT, NODES, SAFE, DISAGREEMENT, SUSPECTS,
    METADATA_MEMBERS, METADATA_LEFT, USED_LEVEL, LEVELS_KNOWN, VERDICT, SINCE, UP, SUCCESS, POLLS, REQUESTS, STORE,
    LEASE, RELOADED, RELOADED_AT, HISTORY, WAITING, DROPPED, ATTEMPTS, BUILD,
)  # fmt: skip
