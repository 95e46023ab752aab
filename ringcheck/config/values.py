"""The values that a configuration is read into; they are immutable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ringcheck.core.events import EVENTS
from ringcheck.core.gate import Gate
from ringcheck.core.levels import Following, with_observed
from ringcheck.core.overdue import TimeLimits
from ringcheck.core.policy import Policy
from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.observed import Observed
    from ringcheck.core.ring import Replication
    from ringcheck.http.tls import Tls
    from ringcheck.jolokia.settings import JolokiaSettings
    from ringcheck.replay.settings import ReplaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Where restart leases are kept.

    Attributes:
        etcd: URLs of an etcd cluster; empty if `file` is set.
        file: path of a lock file.
        username: for etcd, with the password in `password_file`.
        password_file: path.
        tls: certificates for https.
        deadline: seconds after which a lease is reported as overdue.
    """

    etcd: tuple[str, ...] = ()
    file: str | None = None
    username: str | None = None
    password_file: str | None = None
    tls: Tls | None = None
    deadline: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensu:
    """Where events for Sensu go, and what they state.

    Attributes:
        transport: `socket` or `sensu-go`.
        team: to notify.
        runbook: URL.
        page: lowest severity that pages somebody.
        ticket: lowest severity that opens a ticket.
        host: of the socket.
        port: of the socket.
        url: of the Sensu Go agent's API.
        ttl: seconds of silence after which Sensu itself warns; None for the agent's default.
        after: seconds that a problem must last before anybody is notified.
        repeat: seconds between repeated notifications; None for Sensu's own.
    """

    transport: str = "socket"
    team: str | None = None
    runbook: str | None = None
    page: Literal["critical", "warning", "never"] = "critical"
    ticket: Literal["critical", "warning", "never"] = "warning"
    host: str = "127.0.0.1"
    port: int = 3030
    url: str = "http://127.0.0.1:3031"
    ttl: float | None = None
    after: float = 0.0
    repeat: float | None = None


@dataclass(frozen=True, slots=True)
class Fleetlock:
    """The hosts that may take restart leases through the FleetLock protocol.

    Attributes:
        nodes: the address or host id of a client's node, by the client's id.
        group: the name that clients use for the cluster; None for its name in the configuration.
    """

    nodes: Mapping[str, str]
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLabels:
    """Names of labels of Prometheus series that count queries; of each kind, the first that a series has counts."""

    keyspace: tuple[str, ...] = ("db_namespace", "db_name")
    level: tuple[str, ...] = ("cassandra_consistency_level", "db_cassandra_consistency_level")
    datacenter: tuple[str, ...] = ("cassandra_coordinator_dc", "db_cassandra_coordinator_dc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A Prometheus that has counters of queries.

    Attributes:
        url: its base URL.
        query: the PromQL query; its result is counters.
        labels: the labels with keyspace, level and datacenter.
        interval: seconds between two queries.
        username: with the password in `password_file`.
        password_file: path.
        tls: certificates for https.
    """

    url: str
    query: str
    labels: SpanLabels = field(default_factory=SpanLabels)
    interval: float = 300.0
    username: str | None = None
    password_file: str | None = None
    tls: Tls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """How ringcheck finds out which levels clients use.

    Attributes:
        following: how long a query counts, and how many queries make a level count as used.
        every: seconds between two readings of the nodes' counters.
        prometheus: that has counters of queries; None for none.
    """

    following: Following = field(default_factory=Following)
    every: float = 60.0
    prometheus: Prometheus | None = None

    @property
    def interval(self) -> float:
        """Seconds between two queries to Prometheus; 0 if none is configured."""
        return self.prometheus.interval if self.prometheus else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """The pods of a cluster, whose evictions the gate decides on.

    Attributes:
        namespaces: of the pods.
        pods: shell patterns of their names.
        node_by: how a pod's node is found: by `pod_ip`, `host_name` or `node_name`.
        host_name: with `host_name`, the pod's name for look-ups, with {pod} and {namespace}.
        nodes: with `node_name`, the address or host id of the node on each Kubernetes node.
        fail: whether an eviction is refused (`closed`) or let through (`open`) if the answer is not known.
        api: URL of Kubernetes' API.
        token_file: path of the service account's token; empty for none.
        ca_file: path of the certificate authority of the API; None for the system's.
    """

    namespaces: tuple[str, ...]
    pods: tuple[str, ...] = ("*",)
    node_by: Literal["pod_ip", "host_name", "node_name"] = "pod_ip"
    host_name: str = ""
    nodes: Mapping[str, str] = field(default_factory=dict)
    fail: Literal["closed", "open"] = "closed"
    api: str = "https://kubernetes.default.svc"
    token_file: str = ""
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The configuration of a cluster.

    Attributes:
        name: its name in the configuration; empty if there is none.
        source: how its nodes are asked.
        replication: by keyspace, for releases that do not report it.
        policy: which levels are monitored, for which clients.
        gate: what must hold before a node may stop.
        stable_readings: safe readings in a row that the gate needs.
        lease: where restart leases are kept; None for the default lock file.
        sensu: where events go; None for no events.
        fleetlock: clients of the FleetLock protocol; None for none.
        labels: by which the page groups and filters clusters.
        observed: how ringcheck finds out which levels clients use; None for the defaults.
        kubernetes: pods whose evictions the gate decides on; None for none.
        limits: how long states may last until the agent reports them.
    """

    name: str
    source: JolokiaSettings | ReplaySettings
    replication: Mapping[str, Replication] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    gate: Gate = field(default_factory=Gate)
    stable_readings: int = 1
    lease: Lease | None = None
    sensu: Sensu | None = None
    fleetlock: Fleetlock | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    observed: Observing | None = None
    kubernetes: Kubernetes | None = None
    limits: TimeLimits = field(default_factory=TimeLimits)

    @property
    def observing(self) -> Observing | None:
        """How ringcheck finds out which levels clients use; None if nothing depends on it."""
        return self.observed or (Observing() if self.policy.follows else None)

    def policy_with(self, seen: Observed | None, why: str) -> Policy:
        """The policy with the levels in use.

        Args:
            seen: the levels in use; None if nothing is known of them.
            why: why nothing is known of them.
        """
        return with_observed(self.policy, seen, why if self.observing else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver of events.

    Attributes:
        name: in logs, metrics and the state file.
        url: where events are posted.
        secret_file: path of a file with `whsec_` and the key in base64.
        events: kinds of events that are sent.
        node_lost_after: seconds that a node must be down until it is lost.
        timeout: seconds that an attempt may take.
        queue: events that may wait; the oldest are dropped.
        tls: certificates for https.
    """

    name: str
    url: str
    secret_file: str
    events: tuple[str, ...] = tuple(EVENTS)
    node_lost_after: float = 1800.0
    timeout: float = 10.0
    queue: int = 10_000
    tls: Tls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Settings of the agent.

    Attributes:
        listen: HOST:PORT of the web server.
        interval: seconds from one poll of a cluster to the next.
        web_config: path of a file with TLS settings and users; None for plain HTTP without users.
        log: format of the log.
        state: path of the state file; None for none.
        state_keep: seconds that an entry of the history is kept.
        state_size: greatest size of the state file in MiB.
        grafana_url: URL of a cluster's dashboard, with `{cluster}` in it; None for no link.
        runbook_url: URL where the operator explains findings, with `{code}` in it; None for ringcheck's own page.
        webhooks: receivers of events.
        admission_secret_file: path of a file with the last part of the admission webhook's path; None for none.
    """

    listen: str = "127.0.0.1:9742"
    interval: float = 15.0
    web_config: str | None = None
    log: Literal["logfmt", "json"] = "logfmt"
    state: str | None = None
    state_keep: float = 90 * 86400.0
    state_size: int = 256
    grafana_url: str | None = None
    runbook_url: str | None = None
    webhooks: tuple[Webhook, ...] = ()
    admission_secret_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration, with the files that it includes.

    Attributes:
        clusters: by name.
        agent: settings of the agent.
        shown: for each value in force its path, its text, and the line that sets it or `default`.
        warnings: what is allowed but should be known, each beginning with `file:line:column:`.
    """

    clusters: Mapping[str, Cluster]
    agent: AgentSettings
    shown: tuple[tuple[tuple[str, ...], str, str], ...] = ()
    warnings: tuple[str, ...] = ()


class ConfigErrors(ConfigError):  # noqa: N818 - several errors
    """Everything that is wrong with a configuration; `errors` has a line for each mistake."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
        super().__init__(f"{self.errors[0]}{more}")
