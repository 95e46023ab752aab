"""The interface of a lease store, and the steps that etcd.py and lockfile.py share.

A store keeps one record a cluster. All it must guarantee is that a record is replaced only if nobody else replaced it
in between; from this the steps below follow for every store. configured.py picks the store that is configured.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ringcheck.leases.record import Record, Taken
from ringcheck.leases.stamp import now

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ringcheck.core.maintenance import Holder

T = TypeVar("T")

STEP_SECONDS = 15.0  # deadline of one step at a store, including retries


@dataclass(frozen=True, slots=True)
class Added:
    """The result of recording leases.

    Attributes:
        holders: all leases of the cluster, in the revision that this step wrote.
        new: nodes whose lease this step recorded; the owner already held the others.
        grant: the mark that the new leases carry; see `Store.remove`.
    """

    holders: tuple[Holder, ...]
    new: frozenset[str]
    grant: str


class Store(Protocol):
    """The leases of one cluster. Every method raises LeaseError if the outcome is in doubt."""

    def holders(self) -> tuple[Holder, ...]:
        """All leases, as they are now."""
        ...

    def history(self) -> tuple[Taken, ...]:
        """Leases that were taken away, the newest last; at most record.HISTORY."""
        ...

    def add(self, wanted: Sequence[Holder]) -> Added:
        """Record leases of one owner, all or none.

        Args:
            wanted: asking again for a node that this owner already holds keeps its original time and purpose.

        Raises:
            HeldError: another owner holds one of the nodes.
            LeaseError: the outcome is in doubt; some leases may have been recorded.
        """
        ...

    def remove(self, nodes: Collection[str], owner: str, grant: str | None = None) -> None:
        """Release leases of one owner; nodes without a lease are ignored.

        Args:
            nodes: addresses.
            owner: the owner of the leases.
            grant: release only leases that still carry this mark, which `add` set and a later `add` replaces.

        Raises:
            HeldError: another owner holds one of the nodes.
        """
        ...

    def take_away(self, node: str, by: str, reason: str) -> Holder:
        """Remove a node's lease, whatever its owner, note it in the history, and return it.

        Raises:
            NotHeldError: the node has no lease.
        """
        ...

    def describe(self) -> str:
        """The location of the store, and which runs it protects against if not all."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class RecordStore(ABC):
    """A store that keeps one document and replaces it only if nobody else did in between."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster

    @abstractmethod
    def read(self) -> Record:
        """The record as it is now; an empty one if none is stored."""

    @abstractmethod
    def change(self, step: Callable[[Record], tuple[Record, T]]) -> T:
        """Replace the record by the one that a step returns, and return the step's result.

        The step may be called several times, and an earlier attempt whose outcome was in doubt may have succeeded: the
        step must accept a record that already contains its change. The record is written even if the step changes
        nothing, so that a delayed write that was given up fails its revision check once this method has returned.
        """

    def close(self) -> None:  # noqa: B027 - optional: a lock file keeps nothing open
        """Close connections."""

    def holders(self) -> tuple[Holder, ...]:
        """See Store."""
        return self.read().holders

    def history(self) -> tuple[Taken, ...]:
        """See Store."""
        return self.read().history

    def add(self, wanted: Sequence[Holder]) -> Added:
        """See Store."""
        nodes = {lease.node for lease in wanted}
        if len({lease.owner for lease in wanted}) != 1 or len(nodes) < len(wanted):
            raise ValueError("leases are recorded for one owner, each node once")
        grant, kept = secrets.token_hex(8), set[str]()

        def step(record: Record) -> tuple[Record, Added]:
            kept.update(record.kept(wanted, grant))
            changed = record.with_(wanted, grant)
            return changed, Added(holders=changed.holders, new=frozenset(nodes - kept), grant=grant)

        return self.change(step)

    def remove(self, nodes: Collection[str], owner: str, grant: str | None = None) -> None:
        """See Store."""
        self.change(lambda record: (record.without(nodes, owner, grant), None))

    def take_away(self, node: str, by: str, reason: str) -> Holder:
        """See Store."""
        at = now()
        attempted: list[Holder] = []

        def step(record: Record) -> tuple[Record, Holder]:
            done = next(
                (lease for lease in attempted if Taken(holder=lease, by=by, reason=reason, at=at) in record.history),
                None,
            )
            if done:  # by an earlier attempt whose answer was lost
                return record, done
            changed, holder = record.taken(node, by, reason, at)
            attempted.append(holder)
            return changed, holder

        return self.change(step)
