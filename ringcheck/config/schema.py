"""The tables of keys: validation, JSON Schema, `config show` and docs/configuration.md all come from them."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from stat import S_IROTH
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.config.formats import CONTACT, COUNT, GROUP, LISTEN, MEMBER, PATTERN, SHARE, TEMPLATE, URL
from ringcheck.config.types import (
    Choice,
    ConfigKey,
    Duration,
    File,
    Flag,
    Many,
    Named,
    NewFile,
    Number,
    Section,
    Text,
    ValueType,
    Wrong,
    near,
    scalar,
    text,
)
from ringcheck.config.values import AgentSettings, Cluster, Fleetlock, Lease, Sensu
from ringcheck.core.consistency import EVERYWHERE, NETWORK_TOPOLOGY, TOTAL_STRATEGIES, Level
from ringcheck.core.gate import Gate
from ringcheck.core.policy import NONE_ALLOWED, Policy, Rule, Threshold
from ringcheck.core.ring import Factor, Replication
from ringcheck.errors import RingError
from ringcheck.http.credentials import PASSWORD_VARIABLE
from ringcheck.http.tls import Tls
from ringcheck.jolokia.settings import JolokiaSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.config.types import ConfigReader


_FACTOR = "(0|[1-9][0-9]{0,3})(/[1-9][0-9]{0,3})?"


class LevelKind(ValueType):
    """A consistency level that can be watched."""

    name = "a consistency level"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Level:  # noqa: ARG002 - as the base
        """The level."""
        value = text(node, "a consistency level")
        if value == "auto":
            raise Wrong(node, "auto is not supported yet: name a level")
        if value == Level.ANY:
            raise Wrong(node, "ANY is for writes only, which a hint satisfies: there is nothing to watch")
        if value not in Level.__members__:
            raise Wrong(node, f"there is no consistency level {value!r} ({near(value, Level.__members__)})")
        return Level[value]

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": [level.value for level in Level if level is not Level.ANY]}


_THRESHOLD = Section(
    "a threshold",
    {
        "level": ConfigKey(LevelKind(), "The consistency level that must be served.", required=True),
        "ranges": ConfigKey(COUNT, "Alerts where the number of lost ranges is outside."),
        "share": ConfigKey(SHARE, "The same of their share of the token space."),
    },
    lambda _reader, _node, values: Threshold(
        values["level"],
        values.get("ranges") or (None if values.get("share") else NONE_ALLOWED),
        values.get("share"),
    ),
)


class ThresholdKind(ValueType):
    """A level, or a level with how much may be lost at it."""

    name = "a consistency level, or `{level, ranges, share}`"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - as the base
        """The threshold."""
        if isinstance(node, yaml.MappingNode):
            return _THRESHOLD.read(reader, node, path)
        return Threshold(LevelKind().read(reader, node, path))

    def schema(self) -> dict[str, Any]:
        """Either form."""
        return {"anyOf": [LevelKind().schema(), _THRESHOLD.schema()]}


class ReplicationKind(ValueType):
    """`{class: ..., ...}` as in CQL."""

    name = (
        "`{class: NetworkTopologyStrategy, DC: FACTOR, ...}`, `{class: SimpleStrategy, replication_factor: N}` or "
        "`{class: EverywhereStrategy}`"
    )

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Replication:  # noqa: ARG002 - as the base
        """The replication."""
        pairs = {name: (key, value) for name, key, value in reader.pairs(node, "replication")}
        if "class" not in pairs:
            raise Wrong(node, "replication needs the key 'class'")
        strategy = text(pairs["class"][1], "a strategy").rpartition(".")[2]
        known = (NETWORK_TOPOLOGY, *sorted(TOTAL_STRATEGIES), EVERYWHERE)
        if strategy not in known:
            raise Wrong(pairs["class"][1], f"strategy {strategy!r} is not supported ({near(strategy, known)})")
        factors = {name: _factor(value) for name, (_, value) in pairs.items() if name != "class"}
        if strategy in TOTAL_STRATEGIES and set(factors) != {"replication_factor"}:
            raise Wrong(node, f"{strategy} takes replication_factor and nothing else")
        if strategy == NETWORK_TOPOLOGY and (not factors or "replication_factor" in factors):
            raise Wrong(node, f"{strategy} takes a factor for each datacenter")
        if strategy == EVERYWHERE and factors:
            raise Wrong(node, f"{strategy} takes no factor: each node has a replica")
        return Replication.of(strategy, factors)

    def schema(self) -> dict[str, Any]:
        """A class and factors."""
        number = {"type": "integer", "minimum": 0, "maximum": 9999}
        factor = {"anyOf": [number, {"type": "string", "pattern": f"^{_FACTOR}$"}]}
        return {
            "type": "object",
            "required": ["class"],
            "properties": {"class": {"type": "string"}},
            "additionalProperties": factor,
        }


def _factor(node: yaml.Node) -> Factor:
    value = scalar(node, "a replication factor")
    if not re.fullmatch(_FACTOR, value):
        raise Wrong(node, f"replication factor {value!r} is not a number such as 3, or '3/1'")
    try:
        return Factor.parse(value)
    except RingError as error:
        raise Wrong(node, str(error)) from None


def _tls(reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Tls:
    tls = Tls(**values)
    if tls.key_file and not tls.cert_file:
        raise Wrong(node, "key_file needs cert_file")
    alone = tls.cert_file if not tls.key_file else None
    if alone and Path(alone).stat().st_mode & S_IROTH:
        raise Wrong(node, "cert_file has the key in it, without key_file, and can be read by everybody: chmod o-r it")
    if tls.insecure_skip_verify:
        reader.warnings.append(f"{reader.at(node)}: insecure_skip_verify: whoever answers is believed")
    return tls


def _refuse_plain(node: yaml.Node, tls: Tls | None, urls: Iterable[str]) -> None:
    """`tls` beside a URL without it would be ignored, and nobody told."""
    plain = next((url for url in urls if tls and url.lower().startswith("http:")), None)
    if plain:
        raise Wrong(node, f"tls is not used by {plain}: it must be https")


TLS = Section(
    "tls",
    {
        "ca_file": ConfigKey(File(), "PEM of the authorities to trust instead of the system's."),
        "cert_file": ConfigKey(File(), "PEM of our certificate, with its key in it or in `key_file`."),
        "key_file": ConfigKey(File(secret=True), "PEM of its key."),
        "insecure_skip_verify": ConfigKey(Flag(), "Believe whoever answers; loud.", "false"),
    },
    _tls,
    {"dependentRequired": {"key_file": ["cert_file"]}},
)


def _jolokia(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> JolokiaSettings:
    jolokia = JolokiaSettings(**values)
    if jolokia.password_file and not jolokia.username:
        raise Wrong(node, "password_file needs username")
    if jolokia.username and not jolokia.password_file and not os.environ.get(PASSWORD_VARIABLE):
        raise Wrong(node, f"username needs password_file, or {PASSWORD_VARIABLE} in the environment")
    _refuse_plain(node, jolokia.tls, (jolokia.url, *jolokia.contact_points))
    return jolokia


_LOOKED_UP = "Its password; a bare name and `$CREDENTIALS_DIRECTORY/NAME` are looked up where systemd puts them."
JOLOKIA = Section(
    "jolokia",
    {
        "contact_points": ConfigKey(
            Many(CONTACT),
            "Any nodes of the cluster; the rest is discovered.",
            required=True,
        ),
        "url": ConfigKey(
            TEMPLATE,
            "Where a node's agent is; https by default where there is `tls`.",
            '"http://{address}:8778/jolokia"',
            default_with=("tls", '"https://{address}:8778/jolokia"'),
        ),
        "views": ConfigKey(
            Choice(("all", "contact_points")),
            "Whose views to ask for; `contact_points` where Jolokia listens on each node's loopback only.",
            "all",
        ),
        "username": ConfigKey(Text(), "For HTTP basic authentication."),
        "password_file": ConfigKey(
            File(secret=True),
            f"{_LOOKED_UP} Or set `{PASSWORD_VARIABLE}`.",
        ),
        "tls": ConfigKey(TLS, "Whom to trust and who to be."),
        "timeout": ConfigKey(Duration(), "For one request.", "10s"),
    },
    _jolokia,
    {"dependentRequired": {"password_file": ["username"]}},
)


def _rule(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Rule:
    if values.get("ignore") and len(values) > 2:  # noqa: PLR2004 - ignore and keyspaces
        raise Wrong(node, "a rule that ignores keyspaces takes nothing else")
    if not values.get("ignore") and not values.get("critical") and not values.get("warning"):
        raise Wrong(node, "a rule needs critical or warning, or ignore: true")
    if values.get("warning_failures_left") and not values.get("critical"):
        raise Wrong(node, "warning_failures_left needs critical, whose loss it warns of")
    return Rule(**values)


RULE = Section(
    "a rule of monitor",
    {
        "keyspaces": ConfigKey(Many(PATTERN), 'Shell patterns; `"*"` needs its quotes.', required=True),
        "critical": ConfigKey(ThresholdKind(), "Page where this level is lost."),
        "warning": ConfigKey(ThresholdKind(), "A ticket where this level is lost."),
        "warning_failures_left": ConfigKey(
            Number(1, 1000), "A ticket when so many node failures, or fewer, are left until the critical level is lost."
        ),
        "ignore": ConfigKey(Flag(), "Leave these keyspaces out."),
    },
    _rule,
    {
        "if": {"properties": {"ignore": {"const": True}}, "required": ["ignore"]},
        "then": {"maxProperties": 2},
        "else": {"anyOf": [{"required": ["critical"]}, {"required": ["warning"]}]},
        "dependentRequired": {"warning_failures_left": ["critical"]},
    },
)


def _gate(_reader: ConfigReader, _node: yaml.Node, values: dict[str, Any]) -> tuple[Gate, int]:
    stable = values.pop("stable_readings", 1)
    return Gate(**values), stable


GATE = Section(
    "gate",
    {
        "level": ConfigKey(LevelKind(), "Every range must keep it.", "LOCAL_QUORUM"),
        "accept": ConfigKey(Many(PATTERN), "Keyspaces that may lose ranges."),
        "stable_readings": ConfigKey(Number(1, 100), "Safe readings in a row that `preflight` asks for.", "1"),
        "settle": ConfigKey(Duration(0), "How long every node must have run.", "45s"),
        "require_spare": ConfigKey(Flag(), "Block where a range would be left without a spare replica.", "false"),
        "require_all_up": ConfigKey(Flag(), "Block while any other node is down.", "false"),
    },
    _gate,
)


def _lease(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Lease:
    lease = Lease(**values)
    if bool(lease.etcd) == bool(lease.file):
        raise Wrong(node, "lease takes etcd or file, one of them")
    if bool(lease.username) != bool(lease.password_file):
        raise Wrong(node, "username and password_file need each other")
    if lease.file and (lease.username or lease.tls):
        raise Wrong(node, "username, password_file and tls are for etcd")
    _refuse_plain(node, lease.tls, lease.etcd)
    return lease


LEASE = Section(
    "lease",
    {
        "etcd": ConfigKey(Many(URL), "Endpoints of one etcd cluster."),
        "file": ConfigKey(NewFile(), "A lock file, where all restarts are run from one host."),
        "username": ConfigKey(Text(), "At etcd."),
        "password_file": ConfigKey(File(secret=True), _LOOKED_UP),
        "tls": ConfigKey(TLS, "Whom to trust and who to be."),
        "deadline": ConfigKey(Duration(1), "How long a restart may take before its lease is reported.", "1h"),
    },
    _lease,
    {
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
        raise Wrong(node, f"{wrong} is not for transport {sensu.transport}")
    if sensu.page == sensu.ticket == "never":
        raise Wrong(node, "page and ticket are both never: nobody would be told; leave sensu out")
    return sensu


SENSU = Section(
    "sensu",
    {
        "transport": ConfigKey(
            Choice(("socket", "sensu-go")), "The classic socket, or the Sensu Go agent's API.", "socket"
        ),
        "team": ConfigKey(Text(), "Who is told."),
        "runbook": ConfigKey(Text(), "URL of what to do."),
        "page": ConfigKey(
            Choice(("critical", "warning", "never")), "From which severity on people are paged.", "critical"
        ),
        "ticket": ConfigKey(
            Choice(("critical", "warning", "never")),
            "From which severity on a ticket is opened, for what does not page.",
            "warning",
        ),
        "host": ConfigKey(Text(), "Of the socket.", "127.0.0.1"),
        "port": ConfigKey(Number(1, 65535), "Of the socket.", "3030"),
        "url": ConfigKey(URL, "Of the Sensu Go agent's API.", "http://127.0.0.1:3031"),
        "ttl": ConfigKey(
            Duration(3),
            "After which Sensu itself warns of silence; by default ten of the agent's intervals, at least 5m.",
        ),
        "after": ConfigKey(Duration(0), "How long something must last before people are told.", "0s"),
        "repeat": ConfigKey(
            Duration(1), "How often they are told again; by default as Sensu's handlers do by themselves."
        ),
    },
    _sensu,
    {
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
    "fleetlock",
    {
        "nodes": ConfigKey(
            Named("nodes", MEMBER, r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}", "a client's id"),
            "By the id of a client the address or host id of its node; other clients are refused.",
            required=True,
        ),
        "group": ConfigKey(GROUP, "What clients name the cluster; by default its name here."),
    },
    lambda _reader, _node, values: Fleetlock(**values),
)


def _cluster(reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Cluster:
    rules = values.get("monitor") or ()
    _warn_of_shadows(reader, node, rules)
    if values.get("fleetlock") and not values.get("lease"):
        raise Wrong(node, "fleetlock needs lease, where it keeps who may restart")
    gate, stable = values.get("gate") or (Gate(), 1)
    policy = Policy(tuple(rules), values.get("client_datacenters") or (), values.get("authenticates"))
    return Cluster(
        "",
        values["jolokia"],
        values.get("replication") or {},
        policy,
        gate,
        stable,
        values.get("lease"),
        values.get("sensu"),
        values.get("fleetlock"),
    )


def _warn_of_shadows(reader: ConfigReader, node: yaml.Node, rules: Sequence[Rule]) -> None:
    """Tell of rules that never apply, because earlier ones match all that they match."""
    earlier: list[str] = []
    for rule in rules:
        covers = [next((one for one in earlier if _covers(one, pattern)), None) for pattern in rule.keyspaces]
        if all(covers):
            told = ", ".join(rule.keyspaces)
            reader.warnings.append(f"{reader.at(node)}: the rule for {told} never applies: {covers[0]!r} comes first")
        earlier += rule.keyspaces


def _covers(one: str, other: str) -> bool:
    """Whether a pattern surely matches all that another does."""
    return one == other or (not set("?[") & set(one) and fnmatchcase(other, one))


CLUSTER = Section(
    "a cluster",
    {
        "jolokia": ConfigKey(JOLOKIA, "Where its agents are.", required=True),
        "replication": ConfigKey(
            Named("replication", ReplicationKind(), "[A-Za-z0-9_]{1,48}", "a keyspace's name"),
            "By keyspace, for releases that can't tell (before 3.11.11, and DSE): "
            "`{class: NetworkTopologyStrategy, dc1: 3}`, `{class: SimpleStrategy, replication_factor: 2}` or, with a "
            "replica on each node, `{class: EverywhereStrategy}`.",
        ),
        "client_datacenters": ConfigKey(
            Many(Text("a datacenter")), "Those with clients; by default each that holds replicas of the keyspace."
        ),
        "authenticates": ConfigKey(
            Flag(), "Whether clients log in, so that system_auth is watched; by default as the nodes' MBeans show."
        ),
        "monitor": ConfigKey(Many(RULE), "The first rule that matches a keyspace wins."),
        "gate": ConfigKey(GATE, "What must hold before a node may stop.", implied=True),
        "lease": ConfigKey(LEASE, "Where restart leases are kept."),
        "sensu": ConfigKey(SENSU, "Where events go."),
        "fleetlock": ConfigKey(FLEETLOCK, "Hosts that ask the agent, by the FleetLock protocol, before they reboot."),
    },
    _cluster,
    {"dependentRequired": {"fleetlock": ["lease"]}},
)

AGENT = Section(
    "agent",
    {
        "listen": ConfigKey(LISTEN, "Where the service listens.", "127.0.0.1:9742"),
        "interval": ConfigKey(Duration(1), "Between two polls of a cluster.", "15s"),
        "web_config": ConfigKey(File(), "TLS and users, with exporter-toolkit's keys."),
        "log": ConfigKey(Choice(("logfmt", "json")), "Form of the log's lines.", "logfmt"),
    },
    lambda _reader, _node, values: AgentSettings(**values),
)

# Names stand in URLs, labels and the names of Sensu's checks.
_CLUSTERS = Named("clusters", CLUSTER, r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "a cluster's name: letters, digits, _ . -")
TOP = Section(
    "the configuration",
    {
        "clusters": ConfigKey(_CLUSTERS, "Clusters by name."),
        "clusters_from": ConfigKey(
            Many(Text("a pattern of files")),
            "Further files with `clusters:`, relative to this one; a team may own each.",
        ),
        "agent": ConfigKey(AGENT, "The long-running service.", implied=True),
    },
    lambda _reader, _node, values: values,
    {"anyOf": [{"required": ["clusters"]}, {"required": ["clusters_from"]}]},
)

PART = Section(
    "a file of clusters",
    {"clusters": ConfigKey(_CLUSTERS, "Clusters by name.", required=True)},
    lambda _reader, _node, values: values,
)
