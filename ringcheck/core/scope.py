"""What of a snapshot is judged: which keyspaces, for the clients of which datacenters, by which rules.

Shared by the verdict and the gate, so that they can't differ in what they look at.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ringcheck.core.consistency import NETWORK_TOPOLOGY, Rules
from ringcheck.core.ring import partitioner
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.core.consistency import Level
    from ringcheck.core.policy import Policy, Rule
    from ringcheck.core.ring import Replication, Ring, Snapshot


class Scope:
    """A snapshot, a policy, and what was asked to be left out."""

    def __init__(
        self, snapshot: Snapshot, policy: Policy, keyspaces: tuple[str, ...] = (), view: str | None = None
    ) -> None:
        """Look at the snapshot.

        Args:
            snapshot: what is judged.
            policy: its owners' rules.
            keyspaces: shell patterns; empty for all that the policy does not leave out.
            view: address of the one observer to believe.

        Raises:
            RingError: if the partitioner's tokens can't be compared.
            UsageError: if the policy names a datacenter that has no nodes.
        """
        self.snapshot = snapshot
        self.policy = policy
        if snapshot.rings:  # while all nodes start, none has said yet how its tokens compare
            self.space = partitioner(snapshot.partitioner)
        self._patterns = keyspaces
        self._view = view
        self._homes: dict[int, tuple[str, ...]] = {}  # by identity: the snapshot keeps its rings for as long
        self._rules: dict[tuple[Replication | None, tuple[int, int]], Rules] = {}
        unknown = sorted(set(policy.client_datacenters) - set(snapshot.datacenters))
        if unknown and snapshot.rings:
            known = ", ".join(snapshot.datacenters) or "none"
            raise UsageError(f"datacenter {unknown[0]} has no nodes (known: {known})")

    def chosen(self, ring: Ring) -> list[tuple[str, Rule]]:
        """The keyspaces of a ring that are judged, and their rules."""
        rules = [(name, self._rule(name)) for name in ring.keyspaces]
        if self._patterns:
            return [one for one in rules if any(fnmatchcase(one[0], pattern) for pattern in self._patterns)]
        return [one for one in rules if not one[1].ignore]

    def _rule(self, keyspace: str) -> Rule:
        authenticates = self.policy.authenticates
        if authenticates is None:
            authenticates = self.snapshot.authenticates is not False  # the loud way where it is not known
        return self.policy.rule(keyspace, authenticates=authenticates, named=bool(self._patterns))

    def clients(self, level: Level, ring: Ring) -> tuple[str | None, ...]:
        """The client datacenters that a level is judged for; (None,) where it is the same for all."""
        if not level.local:
            return (None,)
        nodes = self.snapshot.nodes
        if self._view is not None:  # a coordinator serves its own datacenter's clients
            return (nodes[self.snapshot.index[self._view]].datacenter or "",)
        if self.policy.client_datacenters:
            return self.policy.client_datacenters
        if ring.replication and ring.replication.strategy != NETWORK_TOPOLOGY:
            return self.snapshot.datacenters
        return self._holding(ring)

    def _holding(self, ring: Ring) -> tuple[str, ...]:
        found = self._homes.get(id(ring))
        if found is None:
            homes = {self.snapshot.nodes[node].datacenter for node in ring.holders}
            # A keyspace that nobody holds is judged everywhere: it must not pass for one without clients.
            found = self._homes[id(ring)] = tuple(sorted(name for name in homes if name)) or self.snapshot.datacenters
        return found

    def rules(self, ring: Ring, version: tuple[int, int]) -> Rules:
        """The demands on a ring as coordinators of one release read them.

        Raises:
            UnknownReplicationError: if its replication is not one of Cassandra's.
        """
        found = self._rules.get((ring.replication, version))
        if found is None:
            found = self._rules[ring.replication, version] = Rules(ring.replication, version, self.snapshot.owners)
        return found
