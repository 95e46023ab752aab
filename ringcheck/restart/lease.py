"""Restart leases: which nodes are down, or about to be, on purpose, so that nobody stops another one beside them.

Record first, then evaluate: a lease is written where all others see it before the gate is asked, with every other
holder counted as down, and is withdrawn unless the gate says safe. Of two that ask at once at least one sees the other,
so that both may be refused, but never both granted beyond what the gate allows.

A lease does not expire. A node that is under one may be down still when its owner has died, and what forgot it by a
clock would let the next one stop beside it; airlock and locksmith hold theirs for the same reason. An old lease is
reported (`lease: {deadline: ...}`), and `ringcheck lease break` takes it away by an operator's word.

Whatever is in doubt is a LeaseError, and no grant.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from ringcheck.restart.record import HeldError, LeaseError, NotHeldError, Record, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ringcheck.config.values import Cluster
    from ringcheck.core.gate import Decision
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot

__all__ = ["HeldError", "LeaseError", "NotHeldError", "Store", "Taken", "granted", "open_store"]

T = TypeVar("T")

SECONDS = 15.0  # that one step at a store may take, all tries together


@dataclass(frozen=True, slots=True)
class Added:
    """What a step that records leases has made.

    Attributes:
        holders: all, as they stand in the very revision that the step made.
        new: nodes that the step itself recorded; its owner held the others already.
        grant: what marks them as this step's.
    """

    holders: tuple[Holder, ...]
    new: frozenset[str]
    grant: str


class Store(Protocol):
    """Where the leases of one cluster are kept. Every method raises LeaseError where the outcome is in doubt."""

    def holders(self) -> tuple[Holder, ...]:
        """All leases, as they are now."""
        ...

    def history(self) -> tuple[Taken, ...]:
        """Leases that were taken away, the newest last; bounded."""
        ...

    def add(self, wanted: Sequence[Holder]) -> Added:
        """Record leases of one owner, all or none.

        Args:
            wanted: a node that this owner holds already keeps its time and purpose.

        Raises:
            HeldError: if another owner holds one of the nodes.
            LeaseError: in doubt; some may have been recorded.
        """
        ...

    def remove(self, nodes: Collection[str], owner: str, grant: str | None = None) -> None:
        """Release leases of one owner; nodes under none are passed over.

        Args:
            nodes: addresses.
            owner: whose they are.
            grant: release only what `add` marked so, and nobody has asked for again since.

        Raises:
            HeldError: if another owner holds one of the nodes.
        """
        ...

    def take_away(self, node: str, by: str, reason: str) -> Holder:
        """Take a node's lease from whoever holds it; the record remembers it.

        Raises:
            NotHeldError: if the node is under no lease.
        """
        ...

    def describe(self) -> str:
        """Where it is, and whom it protects against."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class RecordStore(ABC):
    """A store that keeps one document and can replace it if nobody else did."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster

    @abstractmethod
    def read(self) -> Record:
        """The record as it is now; an empty one where none is kept."""

    @abstractmethod
    def change(self, step: Callable[[Record], tuple[Record, T]]) -> T:
        """Replace the record by what a step makes of it, and return the step's result.

        The step may be asked several times, and a try that was in doubt may turn out to have been carried out: it must
        bear to meet its own work. The record is written even if the step changes nothing: a write on its way that was
        given up must not find the revision that it expects once this one has returned.
        """

    def close(self) -> None:  # noqa: B027 - where nothing is kept open there is nothing to do
        """Let go of connections."""

    def holders(self) -> tuple[Holder, ...]:
        """See Store."""
        return self.read().holders

    def history(self) -> tuple[Taken, ...]:
        """See Store."""
        return self.read().history

    def add(self, wanted: Sequence[Holder]) -> Added:
        """See Store."""
        nodes = {one.node for one in wanted}
        if len({one.owner for one in wanted}) != 1 or len(nodes) < len(wanted):
            raise ValueError("leases are recorded for one owner, each node once")
        grant, kept = secrets.token_hex(8), set[str]()

        def step(record: Record) -> tuple[Record, Added]:
            kept.update(record.kept(wanted, grant))
            then = record.with_(wanted, grant)
            return then, Added(then.holders, frozenset(nodes - kept), grant)

        return self.change(step)

    def remove(self, nodes: Collection[str], owner: str, grant: str | None = None) -> None:
        """See Store."""
        self.change(lambda record: (record.without(nodes, owner, grant), None))

    def take_away(self, node: str, by: str, reason: str) -> Holder:
        """See Store."""
        at = now()
        tried: list[Holder] = []

        def step(record: Record) -> tuple[Record, Holder]:
            done = next((one for one in tried if Taken(one, by, reason, at) in record.history), None)
            if done:  # by an earlier try whose answer was lost
                return record, done
            then, holder = record.taken(node, by, reason, at)
            tried.append(holder)
            return then, holder

        return self.change(step)


def open_store(cluster: Cluster, seconds: float = SECONDS) -> Store:
    """The store of a cluster's leases, as it is configured; a lock file of this host where nothing is.

    Args:
        cluster: the name and what `lease:` says.
        seconds: that one step may take, all tries together.

    Raises:
        ConfigError: if it can't be used as it is configured.
        UsageError: if the password can't be read.
    """
    lease = cluster.lease
    if lease and lease.etcd:
        from ringcheck.restart.etcd import Etcd  # noqa: PLC0415 - brings requests, which a lock file does not need

        return Etcd(cluster.name, lease, seconds)
    from ringcheck.restart.lockfile import LockFile, default_path  # noqa: PLC0415 - likewise the other way

    if lease and lease.file:
        return LockFile(cluster.name, lease.file, seconds)
    return LockFile(cluster.name, default_path(cluster.name), seconds, guarded=True)


def now() -> str:
    """The time as a lease tells it: UTC, `2026-01-31T23:59:59Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whoami() -> str:
    """`user@host`, the owner where none is named."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in containers
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


# The grant


def granted(store: Store, wanted: Sequence[Holder], decide: Callable[[tuple[str, ...]], Decision]) -> Decision:
    """Take leases if the nodes may stop: record first, then decide, and withdraw unless it is safe.

    Only a decision `safe` leaves the leases. Those that the owner had before stay in any case: their nodes may be down.

    Args:
        store: where leases are kept.
        wanted: leases of one owner.
        decide: the gate's decision on fresh data, with the nodes at these addresses counted as down: all that any
            other lease is about.

    Raises:
        HeldError: if another owner holds one of the nodes; nothing was recorded.
        LeaseError: in doubt, or a lease that had to be withdrawn could not be, and is left: the text says so.
    """
    added = store.add(wanted)
    with _withdrawn_unless_safe(store, wanted[0].owner, added) as outcome:
        decision = outcome.decision = _decided(added, wanted, decide)
        if decision.decision == "safe":
            _still_held(store, wanted)
            outcome.stands = True
    return decision


@dataclass
class _Outcome:
    """What became of a grant."""

    decision: Decision | None = None
    stands: bool = False


@contextmanager
def _withdrawn_unless_safe(store: Store, owner: str, added: Added) -> Iterator[_Outcome]:
    outcome = _Outcome()
    try:
        yield outcome
    except BaseException as error:  # an interrupt too must not leave a lease
        _withdraw(store, owner, added, str(error) or type(error).__name__)
        raise
    if not outcome.stands and outcome.decision:
        _withdraw(store, owner, added, f"the gate says {outcome.decision.decision}")


def _withdraw(store: Store, owner: str, added: Added, why: str) -> None:
    if not added.new:
        return
    try:
        store.remove(added.new, owner, added.grant)
    except LeaseError as error:
        nodes = ", ".join(sorted(added.new))
        raise LeaseError(
            f"no grant ({why}), but the lease of {nodes} could not be withdrawn and is left: {error}; "
            "`ringcheck lease release --force` does it"
        ) from error


def _decided(added: Added, wanted: Sequence[Holder], decide: Callable[[tuple[str, ...]], Decision]) -> Decision:
    """A decision that counted every other holder as down, wherever its node is now."""
    mine = {one.node for one in wanted}
    others = [one for one in added.holders if one.node not in mine]
    asked = tuple(one.node for one in others)
    decision = decide(asked)
    there = tuple(dict.fromkeys(place(one, decision.snapshot) for one in others))
    if set(there) - set(asked):
        decision = decide(there)
    missed = set(there) - set(decision.holders)
    if missed:
        raise LeaseError(f"the gate did not count {', '.join(sorted(missed))} as down, though under a restart lease")
    return decision


def place(holder: Holder, seen: Snapshot) -> str:
    """The address at which a snapshot has the node of a lease; it may have changed while the node was down.

    Raises:
        LeaseError: if no node of the cluster is meant: it can't be counted as down then.
    """
    if holder.host_id:
        found = next((node.address for node in seen.nodes if node.host_id == holder.host_id), None)
        if found:
            return found
    index = seen.index.get(holder.node)
    other = index is not None and holder.host_id and seen.nodes[index].host_id not in {None, holder.host_id}
    if index is None or other:  # addresses change hands
        raise LeaseError(
            f"{holder.node} is under the restart lease of {holder.owner}, but is no node of {seen.cluster} as it is "
            "seen now; if it has gone for good, `ringcheck lease break` frees it"
        )
    return holder.node


def _still_held(store: Store, wanted: Sequence[Holder]) -> None:
    """Whether the leases are there still: someone may have broken them while the gate was asked."""
    held = {(one.node, one.owner) for one in store.holders()}
    lost = [one.node for one in wanted if (one.node, one.owner) not in held]
    if lost:
        raise LeaseError(f"the lease of {', '.join(lost)} was taken away while the gate was asked")
