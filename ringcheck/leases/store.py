"""Where the leases of a cluster are kept: what every such place can do, however it keeps its record.

Knows the record and its steps; etcd.py and lockfile.py know a place each, lease.py which of them is meant.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from ringcheck.leases.record import Record, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ringcheck.core.maintenance import Holder

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


def now() -> str:
    """The time as a lease tells it: UTC, `2026-01-31T23:59:59Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
