"""The tables of keys, from which validation, the JSON Schema, `config show` and docs/configuration.md are made.

A section is a table of keys, and a function that makes one value from theirs and refuses wrong combinations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ringcheck.config.agent_schema import AGENT
from ringcheck.config.cassandra import AUTO, LevelType, ReplicationType
from ringcheck.config.files import File, NewFile
from ringcheck.config.formats import CLUSTER_NAME, GROUP, MEMBER, PATTERN, URL
from ringcheck.config.monitor_schema import MONITOR
from ringcheck.config.observed import OBSERVED
from ringcheck.config.reader import Wrong, child
from ringcheck.config.sections import ConfigKey, Many, Named, Section
from ringcheck.config.source_schema import JOLOKIA, LOOKED_UP, REPLAY, TLS, refuse_plain
from ringcheck.config.types import Choice, Duration, Flag, Number, Text
from ringcheck.config.values import Cluster, Fleetlock, Kubernetes, Lease, Sensu
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate
from ringcheck.core.overdue import TimeLimits
from ringcheck.core.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

    from ringcheck.config.reader import ConfigReader


def _gate(reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> tuple[Gate, int]:
    stable = values.pop("stable_readings", 1)
    if values.get("level") in {Level.ALL, Level.LOCAL_ALL}:
        text = f"{values['level']} needs every replica, so the gate lets no node stop: name a lower level"
        reader.warn(child(node, "level"), text)
    return Gate(**values), stable


GATE = Section(
    what="gate",
    keys={
        "level": ConfigKey(LevelType(), "Consistency level that every range must keep.", default="LOCAL_QUORUM"),
        "accept": ConfigKey(Many(PATTERN), "Keyspaces that may lose ranges."),
        "stable_readings": ConfigKey(
            Number(1, 100), "Number of safe readings in a row that `preflight` needs.", default="1"
        ),
        "settle": ConfigKey(Duration(0), "How long every node must have been running.", default="45s"),
        "require_spare": ConfigKey(Flag(), "Block if a range would be left without a spare replica.", default="false"),
        "require_all_up": ConfigKey(Flag(), "Block while any other node is down.", default="false"),
    },
    build=_gate,
)


def _lease_conflicts(present: frozenset[str]) -> Iterator[str]:
    if ("etcd" in present) == ("file" in present):
        yield "lease takes either etcd or file"
    if ("username" in present) != ("password_file" in present):
        yield "username and password_file must be set together"
    elif "file" in present and {"username", "tls"} & present:
        yield "username, password_file and tls are for etcd"


def _lease(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Lease:
    lease = Lease(**values)
    refuse_plain(node, lease.tls, lease.etcd)
    return lease


LEASE = Section(
    what="lease",
    keys={
        "etcd": ConfigKey(Many(URL), "URLs of the members of one etcd cluster."),
        "file": ConfigKey(NewFile(), "A lock file, if all restarts are run from one host."),
        "username": ConfigKey(Text(), "User name for etcd."),
        "password_file": ConfigKey(File(secret=True), LOOKED_UP),
        "tls": ConfigKey(TLS, "Certificates for https."),
        "deadline": ConfigKey(
            Duration(1), "How long a restart may take before its lease is reported as overdue.", default="1h"
        ),
    },
    build=_lease,
    conflicts=_lease_conflicts,
    also={
        "oneOf": [{"required": ["etcd"]}, {"required": ["file"]}],
        "dependentRequired": {
            "tls": ["etcd"],
            "username": ["etcd", "password_file"],
            "password_file": ["etcd", "username"],
        },
    },
)


def _sensu(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Sensu:
    sensu = Sensu(**values)
    others = ("host", "port") if sensu.transport == "sensu-go" else ("url",)
    wrong = next((name for name in others if name in values), None)
    if wrong:
        raise Wrong(node, f"{wrong} is not used with transport {sensu.transport}")
    if sensu.page == sensu.ticket == "never":
        raise Wrong(node, "page and ticket are both never, so no event would be sent: leave out sensu")
    return sensu


SENSU = Section(
    what="sensu",
    keys={
        "transport": ConfigKey(
            Choice(("socket", "sensu-go")), "The classic socket, or the API of the Sensu Go agent.", default="socket"
        ),
        "team": ConfigKey(Text(), "Team to notify."),
        "runbook": ConfigKey(Text(), "URL of the runbook."),
        "page": ConfigKey(
            Choice(("critical", "warning", "never")), "Lowest severity that pages somebody.", default="critical"
        ),
        "ticket": ConfigKey(
            Choice(("critical", "warning", "never")),
            "Lowest severity that opens a ticket, if it does not page.",
            default="warning",
        ),
        "host": ConfigKey(Text(), "Host of the socket.", default="127.0.0.1"),
        "port": ConfigKey(Number(1, 65535), "Port of the socket.", default="3030"),
        "url": ConfigKey(URL, "URL of the Sensu Go agent's API.", default="http://127.0.0.1:3031"),
        "ttl": ConfigKey(
            Duration(3),
            "Silence after which Sensu itself warns; by default ten of the agent's intervals, at least 5m.",
        ),
        "after": ConfigKey(Duration(0), "How long a problem must last before anybody is notified.", default="0s"),
        "repeat": ConfigKey(Duration(1), "Time between repeated notifications; by default that of Sensu's handlers."),
    },
    build=_sensu,
    also={
        "not": {
            "properties": {"page": {"const": "never"}, "ticket": {"const": "never"}},
            "required": ["page", "ticket"],
        },
        "if": {"properties": {"transport": {"const": "sensu-go"}}, "required": ["transport"]},
        "then": {"properties": {"host": False, "port": False}},
        "else": {"properties": {"url": False}},
    },
)


FLEETLOCK = Section(
    what="fleetlock",
    keys={
        "nodes": ConfigKey(
            Named(what="nodes", of=MEMBER, pattern=r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}", names="a client's id"),
            "For each client's id, the address or host id of its node; other clients are refused.",
            required=True,
        ),
        "group": ConfigKey(GROUP, "The name that clients use for the cluster; by default its name in this file."),
    },
    build=lambda _reader, _node, values: Fleetlock(**values),
)


LIMITS = Section(
    what="limits",
    keys={
        "hint_window": ConfigKey(
            Duration(1, 3650 * 86400),
            "How long a node may be down before it misses hints: Cassandra's `max_hint_window`.",
            default="3h",
        ),
        "gc_grace": ConfigKey(
            Duration(1, 3650 * 86400),
            "How long a node may be down before it would bring back deleted data: the shortest `gc_grace_seconds`.",
            default="10d",
        ),
        "movement": ConfigKey(Duration(1, 3650 * 86400), "How long a node may join, leave or move.", default="6h"),
    },
    build=lambda _reader, _node, values: TimeLimits(**values),
)


def _pod_name(text: str) -> str:
    """A template of a pod's host name.

    Raises:
        ValueError: if it has no {pod}, or other braces than {pod} and {namespace}.
    """
    rest = text.replace("{pod}", "").replace("{namespace}", "")
    if "{pod}" not in text or set("{} ") & set(rest):
        raise ValueError(f"{text!r} must contain {{pod}}, and no other braces than {{namespace}}")
    return text


def _kubernetes(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Kubernetes:
    kubernetes = Kubernetes(**values)
    for name in ("host_name", "nodes"):
        if (name in values) != (kubernetes.node_by == {"host_name": "host_name", "nodes": "node_name"}[name]):
            raise Wrong(node, "host_name is for node_by: host_name, and nodes for node_by: node_name")
    return kubernetes


KUBERNETES = Section(
    what="kubernetes",
    keys={
        "namespaces": ConfigKey(Many(Text("a namespace")), "Namespaces of the pods.", required=True),
        "pods": ConfigKey(Many(PATTERN), "Shell patterns of the pods' names.", default='"*"'),
        "node_by": ConfigKey(
            Choice(("pod_ip", "host_name", "node_name")), "How to find the Cassandra node of a pod.", default="pod_ip"
        ),
        "host_name": ConfigKey(
            Text("a host name with {pod} in it", _pod_name, r"\{pod\}"),
            "Host name of a pod, such as `{pod}.cassandra.{namespace}.svc`.",
        ),
        "nodes": ConfigKey(
            Named(what="nodes", of=MEMBER, pattern=r"[a-z0-9][a-z0-9.-]{0,252}", names="a Kubernetes node's name"),
            "For each Kubernetes node, the address or host id of the Cassandra node on it.",
        ),
        "fail": ConfigKey(
            Choice(("closed", "open")),
            "Whether an eviction is refused (`closed`) or allowed (`open`) if the answer is not known.",
            default="closed",
        ),
        "api": ConfigKey(URL, "URL of Kubernetes' API.", default="https://kubernetes.default.svc"),
        "token_file": ConfigKey(File(), "File with the token of the service account."),
        "ca_file": ConfigKey(File(), "PEM file with the certificate authority of Kubernetes' API."),
    },
    build=_kubernetes,
    also={
        "allOf": [
            {
                "if": {"properties": {"node_by": {"const": by}}, "required": ["node_by"]},
                "then": {"required": [key]},
                "else": {"properties": {key: False}},
            }
            for by, key in (("node_name", "nodes"), ("host_name", "host_name"))
        ]
    },
)


def _cluster_conflicts(present: frozenset[str]) -> Iterator[str]:
    if "fleetlock" in present and "lease" not in present:
        yield "fleetlock needs lease, where its grants are kept"
    if ("jolokia" in present) == ("replay" in present):
        yield "a cluster takes either jolokia or replay"
    elif "replay" in present and {"fleetlock", "kubernetes"} & present:
        yield "a cluster that is replayed has no nodes to stop: remove fleetlock and kubernetes"


def _cluster(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Cluster:
    """The cluster, still without its name, which is the key of this section."""
    rules = values.get("monitor") or ()
    gate, stable_readings = values.get("gate") or (Gate(), 1)
    clients = values.get("client_datacenters") or ()
    follows = clients == (AUTO,)
    policy = Policy(tuple(rules), () if follows else clients, values.get("authenticates"), auto_datacenters=follows)
    if values.get("replay") and (policy.follows or values.get("observed")):
        raise Wrong(node, "a cluster that is replayed has no queries: name levels in place of auto and observed")
    return Cluster(
        name="",
        source=values.get("jolokia") or values["replay"],
        replication=values.get("replication") or {},
        policy=policy,
        gate=gate,
        stable_readings=stable_readings,
        limits=values.get("limits") or TimeLimits(),
        labels=values.get("labels") or {},
        **{name: values.get(name) for name in ("lease", "sensu", "fleetlock", "observed", "kubernetes")},
    )


CLUSTER = Section(
    what="a cluster",
    keys={
        "jolokia": ConfigKey(JOLOKIA, "How the nodes of the cluster are asked."),
        "replay": ConfigKey(REPLAY, "Recorded snapshots to use instead of live nodes, for rehearsals."),
        "replication": ConfigKey(
            Named(
                what="replication",
                of=ReplicationType(),
                pattern="[A-Za-z0-9_]{1,48}",
                names="a keyspace's name",
            ),
            "The replication of each keyspace; needed for releases that do not report it (before 3.11.11, and DSE): "
            "`{class: NetworkTopologyStrategy, dc1: 3}`, `{class: SimpleStrategy, replication_factor: 2}` or, with a "
            "replica on each node, `{class: EverywhereStrategy}`.",
        ),
        "client_datacenters": ConfigKey(
            Many(Text("a datacenter")),
            "Datacenters with clients, or `auto`; by default each datacenter that holds replicas of the keyspace.",
        ),
        "authenticates": ConfigKey(
            Flag(),
            "Whether clients must log in, so that system_auth is monitored; by default read from the nodes' MBeans.",
        ),
        "monitor": ConfigKey(MONITOR, "Rules for alerts; the first that matches a keyspace applies."),
        "gate": ConfigKey(GATE, "What must hold before a node may stop.", implied=True),
        "lease": ConfigKey(LEASE, "Where restart leases are kept."),
        "sensu": ConfigKey(SENSU, "Where the agent and `check --sensu` send events."),
        "fleetlock": ConfigKey(FLEETLOCK, "Hosts that ask the agent before they reboot, by the FleetLock protocol."),
        "labels": ConfigKey(
            Named(what="labels", of=Text(), pattern="[A-Za-z_][A-Za-z0-9_]{0,63}", names="a label's name"),
            "Labels by which the agent's page groups and filters clusters, such as `{team: payments}`.",
        ),
        "observed": ConfigKey(OBSERVED, "How `auto` [follows the queries](levels.md)."),
        "limits": ConfigKey(LIMITS, "How long states may last before the agent reports them.", implied=True),
        "kubernetes": ConfigKey(KUBERNETES, "Pods on whose evictions the gate decides, through an admission webhook."),
    },
    build=_cluster,
    conflicts=_cluster_conflicts,
    also={
        "oneOf": [{"required": ["jolokia"]}, {"required": ["replay"]}],
        "dependentRequired": {"fleetlock": ["lease"]},
    },
)


# Names are part of URLs, labels and the names of Sensu checks.
_CLUSTERS = Named(
    what="clusters",
    of=CLUSTER,
    pattern=CLUSTER_NAME,
    names="a cluster's name: letters, digits, _ . -",
)
TOP = Section(
    what="the configuration",
    keys={
        "clusters": ConfigKey(_CLUSTERS, "Clusters by name."),
        "clusters_from": ConfigKey(
            Many(Text("a pattern of files")),
            "More files with `clusters:`, relative to this one, so that each team can own a file.",
        ),
        "agent": ConfigKey(AGENT, "Settings of `ringcheck agent`.", implied=True),
    },
    build=lambda _reader, _node, values: values,
    also={"anyOf": [{"required": ["clusters"]}, {"required": ["clusters_from"]}]},
)

PART = Section(
    what="a file of clusters",
    keys={"clusters": ConfigKey(_CLUSTERS, "Clusters by name.", required=True)},
    build=lambda _reader, _node, values: values,
)
