"""The text of a first configuration, made from a snapshot of a cluster: each line has its reason beside it.

Pure. The values follow from the cluster and from the levels that were asked for. Facts that only the owners can know,
such as which datacenters have clients, are comments to complete.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.consistency import Level
from ringcheck.core.policy import AUTH_KEYSPACE, LEFT_OUT
from ringcheck.core.words import counted, listed
from ringcheck.errors import printable
from ringcheck.jolokia.settings import host_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.jolokia.settings import JolokiaSettings

CONTACTS = 3  # contact points that are written
_NAMED = 40  # keyspaces that a comment lists
_COLUMN = 46  # where comments begin
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # words with another meaning in YAML 1.1
_ABOVE = {
    Level.ONE: Level.LOCAL_QUORUM, Level.LOCAL_ONE: Level.LOCAL_QUORUM, Level.LOCAL_QUORUM: Level.LOCAL_ALL,
    Level.QUORUM: Level.ALL, Level.EACH_QUORUM: Level.ALL,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstConfig:
    """The facts from which a first configuration is made.

    Attributes:
        name: of the cluster; usable as a key of `clusters`.
        settings: how its nodes were asked.
        seen: the cluster.
        critical: level whose loss pages; None for `auto`, which follows the queries.
        warning: level whose loss is a ticket; None likewise.
        agent: whether the file has the `agent` section; a file that another one includes has none.
    """

    name: str
    settings: JolokiaSettings
    seen: Snapshot
    critical: Level | None
    warning: Level | None
    agent: bool = True

    def text(self) -> str:
        """The whole file."""
        return "\n".join([*self._head(), *self._cluster(), *(self._agent() if self.agent else ())]) + "\n"

    def _head(self) -> Iterator[str]:
        nodes = counted(len(self.seen.nodes), "node")
        yield f"# Written by `ringcheck init` from {printable(self.seen.cluster)} ({nodes}) at {self.seen.taken_at}."
        yield "# `ringcheck config check FILE` finds mistakes; docs/configuration.md has every key."
        yield "clusters:"
        yield _line(f"  {_scalar(self.name)}:", "the name in alerts, metrics and --cluster")

    def _cluster(self) -> Iterator[str]:
        yield from self._jolokia()
        yield from self._replication()
        yield from self._datacenters()
        yield from self._monitor()
        yield from self._gate()

    # How to ask

    def _jolokia(self) -> Iterator[str]:
        settings = self.settings
        yield _line("    jolokia:", "how the nodes are asked")
        contacts = ", ".join(map(_scalar, contact_points(self.seen, settings.contact_points)))
        yield _line(
            f"      contact_points: [{contacts}]", "some nodes that are seldom down together; the others are found"
        )
        if settings.proxy:
            yield _line(f"      proxy: {_scalar(settings.proxy)}", "a Jolokia that asks the nodes' JMX ports")
            yield _line(f"      jmx: {_scalar(settings.jmx)}", "JMX of a node")
        elif settings.url:
            yield _line(f"      url: {_scalar(settings.url)}", "Jolokia of any node")
        else:
            yield _line('      # url: "http://{address}:8778/jolokia"', "the default; set another port or path here")
        yield from self._logins()

    def _logins(self) -> Iterator[str]:
        settings = self.settings
        logins = (
            ("", settings.username, settings.password_file),
            ("jmx_", settings.jmx_username, settings.jmx_password_file),
        )
        for prefix, username, file in logins:
            if username:
                yield f"      {prefix}username: {_scalar(username)}"
                yield _line(
                    f"      {prefix}password_file: {_scalar(file or '')}", "not readable by everybody: chmod o-r"
                )
        files = settings.tls and {
            "ca_file": settings.tls.ca_file,
            "cert_file": settings.tls.cert_file,
            "key_file": settings.tls.key_file,
        }
        if files:
            given = ", ".join(f"{name}: {_scalar(file)}" for name, file in files.items() if file)
            yield _line(f"      tls: {{{given}}}", "certificates for https")

    # What matters

    def _replication(self) -> Iterator[str]:
        """What a release that does not report its replication needs."""
        unknown = [name for ring in self.seen.rings if ring.replication is None for name in ring.keyspaces]
        if unknown:
            yield "    # These nodes do not report replication (before 3.11.11). State it, or they are UNKNOWN:"
            yield "    # replication:"
            yield from (
                f"    #   {printable(name)}: {{class: NetworkTopologyStrategy, DC: 3}}" for name in sorted(unknown)
            )

    def _datacenters(self) -> Iterator[str]:
        found = self.seen.datacenters
        sizes = ", ".join(f"{name} ({sum(node.datacenter == name for node in self.seen.nodes)})" for name in found)
        yield f"    # Datacenters and their nodes: {printable(sizes)}. Without this key every datacenter that holds"
        yield "    # replicas of a keyspace is taken to have clients. If some have none, name those that have clients:"
        yield f"    # client_datacenters: [{', '.join(map(_scalar, found))}]"

    def _monitor(self) -> Iterator[str]:
        yield _line("    monitor:", "what is an alert: the first rule that matches a keyspace applies")
        yield from self._keyspaces()
        yield _line('      - keyspaces: ["*"]', "all others; of Cassandra's own only system_auth, if clients log in")
        yield _line(f"        critical: {self.critical or 'auto'}", "losing it pages: clients that use it get errors")
        yield _line(f"        warning: {self.warning or 'auto'}", "losing it opens a ticket: it is lost first")
        yield "        # `auto` follows the levels that the nodes see clients use: docs/levels.md"

    def _keyspaces(self) -> Iterator[str]:
        """The keyspaces by replication, and those with a single replica as a rule to complete."""
        rings = [(ring, _watched(ring)) for ring in self.seen.rings]
        for ring, names in rings:
            if names:
                yield f"      # {printable(str(ring.replication or 'replication not known'))}: {_several(names)}"
        single = single_replicas(self.seen)
        if single:
            yield "      # One replica: each node that stops makes ranges unavailable. If you accept that, uncomment:"
            yield f"      # - {{keyspaces: [{', '.join(map(_scalar, single[:_NAMED]))}], ignore: true}}"

    def _gate(self) -> Iterator[str]:
        yield _line("    gate:", "what must hold before a node may stop (preflight, plan, roll)")
        yield _line(f"      level: {self.critical or Level.LOCAL_QUORUM}", "every range of every keyspace keeps it")
        yield _line("      stable_readings: 3", "safe answers in a row")
        if single := single_replicas(self.seen):
            yield "      # Because of these keyspaces no node may stop, unless they are accepted:"
            yield f"      # accept: [{', '.join(map(_scalar, single[:_NAMED]))}]"
        lease = '    # lease: {etcd: ["http://127.0.0.1:2379"]}'
        yield _line(lease, "if several people or hosts restart nodes: docs/leases.md")

    @staticmethod
    def _agent() -> Iterator[str]:
        yield _line("agent:", "`ringcheck agent`: pages, metrics, API")
        yield _line('  listen: "127.0.0.1:9742"', "for other hosts, with a web_config (TLS and users): docs/web.md")
        yield _line("  interval: 15s", "from one poll to the next")
        yield _line("  # state: /var/lib/ringcheck/state.db", "keeps the history over restarts")


def step_above(level: Level | None) -> Level | None:
    """The level to warn at if another one pages; None for None, since both are `auto` in that case."""
    return None if level is None else _ABOVE.get(level, Level.ALL)


def usable_name(cluster: str) -> str:
    """A cluster's own name as a key of `clusters`: `Test Cluster` is `Test-Cluster`."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", cluster).strip("-.")[:64]
    return name if name and name.lower() not in _WORDS and not name[0].isdigit() else f"cluster-{name}".rstrip("-")[:64]


def contact_points(seen: Snapshot, asked: Collection[str]) -> list[str]:
    """The hosts that were asked, and other nodes that answered, from different racks if there are several."""
    hosts = set(map(host_of, asked))
    racks: dict[tuple[str | None, str | None], str] = {}
    for node in seen.nodes:
        if node.source == "ok":
            racks.setdefault((node.datacenter, node.rack), node.address)
    every = (*racks.values(), *(node.address for node in seen.nodes if node.source == "ok"))
    others = [address for address in every if address not in hosts]
    return list(dict.fromkeys((*asked, *others)))[: max(CONTACTS, len(asked))]


def single_replicas(seen: Snapshot) -> list[str]:
    """The watched keyspaces with at most one replica in each datacenter."""
    rings = (
        ring
        for ring in seen.rings
        if ring.replication
        and ring.replication.options
        and all(factor.replicas <= 1 for _, factor in ring.replication.options)
    )
    return sorted(name for ring in rings for name in _watched(ring))


def _watched(ring: Ring) -> list[str]:
    return sorted(name for name in ring.keyspaces if not LEFT_OUT.matches(name) and name != AUTH_KEYSPACE)


def _several(names: list[str]) -> str:
    return printable(listed(names) if len(names) > _NAMED else ", ".join(names))


def _scalar(text: str) -> str:
    """Text as YAML: in quotes unless YAML can read it as nothing but this text."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text)


def _line(text: str, comment: str) -> str:
    return f"{text.ljust(_COLUMN)} # {comment}"
