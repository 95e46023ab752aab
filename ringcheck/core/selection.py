"""The scope of a judgement: which keyspaces, for the clients of which datacenters, by which rules.

Verdict and gate share it, so that they can't differ in what they look at.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from ringcheck.core.consistency import NETWORK_TOPOLOGY, Level, Rules, release
from ringcheck.core.headroom import demands_of
from ringcheck.core.levels import followed
from ringcheck.core.policy import AUTH_KEYSPACE, LEFT_OUT, auth_level, auth_levels, auth_rule, without_local
from ringcheck.core.ring import DEFAULT_PARTITIONER, partitioner
from ringcheck.core.words import suggestion
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.consistency import Behaviour
    from ringcheck.core.evidence import Evidence, Outlook
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Replication, Ring


class Scope:
    """The keyspaces of a snapshot that are judged, and how."""

    def __init__(
        self, evidence: Evidence, policy: Policy, keyspaces: tuple[str, ...] = (), view: str | None = None
    ) -> None:
        """Choose by a policy.

        Args:
            evidence: of the snapshot that is judged.
            policy: its owners' rules.
            keyspaces: shell patterns; empty for all that the policy does not leave out.
            view: address of the only observer to believe; None for all.

        Raises:
            RingError: if the partitioner's tokens can't be compared.
            UsageError: if the policy names a datacenter that has no nodes.
        """
        snapshot = evidence.snapshot
        self.evidence = evidence
        self.snapshot = snapshot
        self.policy = policy
        # Without rings the partitioner need not be known: all nodes may be starting. What may be judged then is the
        # metadata service, whose one range is the whole space of any partitioner.
        self.space = partitioner(snapshot.partitioner if snapshot.rings else DEFAULT_PARTITIONER)
        self._patterns = keyspaces
        self._view = view
        # By identity of the ring: the snapshot keeps its rings alive for as long.
        self._homes: dict[int, tuple[str, ...]] = {}
        self._chosen_of: dict[int, list[tuple[str, Rule]]] = {}
        self._rules: dict[tuple[Replication | None, Behaviour], Rules] = {}
        unknown = sorted(set(policy.client_datacenters) - set(snapshot.datacenters))
        if unknown and snapshot.rings:
            near = suggestion(unknown[0], snapshot.datacenters)
            raise UsageError(f"datacenter {unknown[0] or repr(unknown[0])} has no nodes ({near})")

    def chosen(self, ring: Ring) -> list[tuple[str, Rule]]:
        """The keyspaces of a ring that are judged, and their rules."""
        chosen = self._chosen_of.get(id(ring))
        if chosen is None:
            chosen = self._chosen_of[id(ring)] = self._choose(ring)
        return chosen

    def _choose(self, ring: Ring) -> list[tuple[str, Rule]]:
        named = ((name, self._rule(name)) for name in ring.keyspaces)
        rules = [(name, rule) for name, rule in named if self._judges(name, rule)]
        if not self._is_foreign(ring):
            return rules
        return [(name, rule if rule.logins else without_local(rule)) for name, rule in rules]

    def judges(self, keyspace: str) -> bool:
        """Whether a keyspace is judged, if the cluster has it."""
        return self._judges(keyspace, self._rule(keyspace))

    def _judges(self, keyspace: str, rule: Rule) -> bool:
        if self._patterns:
            return any(fnmatchcase(keyspace, pattern) for pattern in self._patterns)
        return not rule.ignore

    def _rule(self, keyspace: str) -> Rule:
        named = bool(self._patterns)
        rule = self.policy.rule(keyspace, authenticates=self._authenticates, named=named, auth=self._auth_rule)
        return followed(rule, keyspace, self.policy.observed)

    @cached_property
    def _auth_rule(self) -> Rule:
        """The rule for system_auth if clients log in; an unknown level is a finding of its own."""
        releases = {node.release_version for node in self.snapshot.nodes if node.release_version}
        default = {Level.LOCAL_QUORUM.value} if self.silent_on_auth_level else set()
        return auth_rule(*auth_levels(self._reported_auth_levels | default, releases))

    @cached_property
    def silent_on_auth_level(self) -> tuple[str, ...]:
        """Nodes that serve clients and do not report their level although others do: it may be the default.

        The result is empty if the default is among the levels that are reported.
        """
        levels = self._reported_auth_levels
        if (
            not levels
            or Level.LOCAL_QUORUM.value in levels
            or all(node.auth_read_level is None for node in self.snapshot.nodes)
        ):
            return ()
        return tuple(
            node.address
            for node in self.snapshot.nodes
            if node.auth_read_level is None
            and node.native_transport_running
            and release(node.release_version) >= (4, 1)
        )

    @property
    def unknown_auth_level(self) -> str | None:
        """A level at which a node reads system_auth, as it reports it, if that level is not known."""
        unknown = (text for text in self._reported_auth_levels if auth_level(text, ()) is None)
        return min(unknown, default=None)

    @cached_property
    def _reported_auth_levels(self) -> frozenset[str]:
        levels = {self.snapshot.auth_read_level, *(node.auth_read_level for node in self.snapshot.nodes)}
        return frozenset(level for level in levels if level is not None)

    @property
    def _authenticates(self) -> bool:
        if self.policy.authenticates is not None:
            return self.policy.authenticates
        return self.snapshot.authenticates is not False  # if it is not known, logins are watched

    @property
    def auth_by_cassandra(self) -> bool:
        """Whether system_auth is in scope, at the level at which Cassandra reads it for logins."""
        return any(rule.logins for ring in self.snapshot.rings for _, rule in self.chosen(ring))

    @property
    def auth_left_out(self) -> bool:
        """Whether system_auth exists and is left out because no node shows that clients log in.

        False if the owners decided that, by a rule or by `authenticates`, or if keyspaces were asked for by name.
        """
        if self._patterns or self.policy.authenticates is not None or self._authenticates:
            return False
        return any(
            name == AUTH_KEYSPACE and self._rule(name) is LEFT_OUT
            for ring in self.snapshot.rings
            for name in ring.keyspaces
        )

    def clients(self, level: Level, ring: Ring) -> tuple[str | None, ...]:
        """The client datacenters that a level is judged for; (None,) if it is the same for all clients."""
        if not level.local:
            return (None,)
        if self._view is not None:
            return (self.datacenter_of_view,)
        return self.policy.client_datacenters or self._usual(ring)

    @property
    def datacenter_of_view(self) -> str:
        """The datacenter whose clients the only observer serves: its own. Empty if it is not known, or all count."""
        return "" if self._view is None else self.snapshot.nodes[self.snapshot.index[self._view]].datacenter or ""

    @property
    def without_clients(self) -> list[str]:
        """Keyspaces whose LOCAL levels are left out, because no clients of theirs are in the only view's datacenter."""
        foreign = [ring for ring in self.snapshot.rings if self._is_foreign(ring)]
        return sorted(name for ring in foreign for name, rule in self.chosen(ring) if not rule.logins)

    def with_clients(self, accept: Sequence[str] = ()) -> tuple[str, ...]:
        """The datacenters with clients, sorted: those that the policy names.

        If it names none, those in which queries were seen, and those that are usual for a ring whose keyspaces clients
        use. Keyspaces that match a shell pattern in `accept` don't count. None if only one observer is believed.
        """
        if self._view is not None:
            return ()
        if self.policy.client_datacenters:
            return tuple(sorted(self.policy.client_datacenters))
        names = set(self.policy.observed.clients if self.policy.observed else ()) & set(self.snapshot.datacenters)
        for ring in self.snapshot.rings:
            used = (name for name, rule in self.chosen(ring) if not rule.by_cassandra)
            if not all(any(fnmatchcase(name, pattern) for pattern in accept) for name in used):
                names.update(self._usual(ring))
        return tuple(sorted(names))

    def _is_foreign(self, ring: Ring) -> bool:
        """Whether only one view counts, and by the policy the ring's keyspaces have no clients in its datacenter.

        If the datacenter of that observer or of a replica is not known, they may have some. Roles are read by the
        coordinators themselves, so that logins count everywhere.
        """
        own = self.datacenter_of_view
        if not own or own in self.policy.client_datacenters or own in self._usual(ring):
            return False
        return all(self.snapshot.nodes[node].datacenter for node in ring.holders)

    def _usual(self, ring: Ring) -> tuple[str, ...]:
        """The client datacenters of a ring if the policy names none."""
        if ring.replication and ring.replication.strategy != NETWORK_TOPOLOGY:
            return self.snapshot.datacenters
        return self._holding(ring)

    def _holding(self, ring: Ring) -> tuple[str, ...]:
        """The datacenters that hold replicas of a ring; all datacenters if none does.

        A keyspace without replicas must not pass for a keyspace without clients.
        """
        homes = self._homes.get(id(ring))
        if homes is None:
            names = {self.snapshot.nodes[node].datacenter for node in ring.holders}
            homes = self._homes[id(ring)] = tuple(sorted(name for name in names if name)) or self.snapshot.datacenters
        return homes

    def outlooks(self, ring: Ring, level: Level, client: str | None) -> Iterator[tuple[Outlook, Rules]]:
        """The outlooks of the coordinators of a level's clients, with their rules; only one of equal demands.

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        seen = set()
        for outlook in self.evidence.outlooks(self.policy.client_datacenters if client is None else (client,)):
            rules = self.rules(ring, outlook.behaviour)
            judged = outlook.down, tuple(demands_of(level, client, rules).values())
            if judged not in seen:
                seen.add(judged)
                yield outlook, rules

    def rules(self, ring: Ring, behaviour: Behaviour) -> Rules:
        """The demands on a ring as coordinators of one behaviour read them.

        Raises:
            UnknownReplicationError: if its replication is not one of Cassandra's.
        """
        rules = self._rules.get((ring.replication, behaviour))
        if rules is None:
            rules = self._rules[ring.replication, behaviour] = Rules(ring.replication, behaviour, self.evidence.owners)
        return rules
