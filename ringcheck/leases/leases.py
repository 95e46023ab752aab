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
import socket
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.leases.record import HeldError, LeaseError, NotHeldError, Taken
from ringcheck.leases.store import SECONDS, Added, RecordStore, Store, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ringcheck.config.values import Cluster
    from ringcheck.core.gate import Decision
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot

__all__ = [
    "SECONDS", "Added", "HeldError", "LeaseError", "NotHeldError", "RecordStore", "Store", "Taken", "granted", "now",
    "open_store", "placed", "whoami",
]  # fmt: skip


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
        from ringcheck.leases.etcd import Etcd  # noqa: PLC0415 - brings HTTP, which a lock file does not need

        return Etcd(cluster.name, lease, seconds)
    from ringcheck.leases.lockfile import LockFile, default_path  # noqa: PLC0415 - likewise the other way

    if lease and lease.file:
        return LockFile(cluster.name, lease.file, seconds)
    return LockFile(cluster.name, default_path(cluster.name), seconds, guarded=True)


def whoami() -> str:
    """`user@host`, the owner where none is named."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in containers
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


# The grant


def granted(store: Store, wanted: Sequence[Holder], decide: Callable[[tuple[Holder, ...]], Decision]) -> Decision:
    """Take leases if the nodes may stop: record first, then decide, and withdraw unless it is safe.

    Only a decision `safe` leaves the leases. Those that the owner had before stay in any case: their nodes may be down.

    Args:
        store: where leases are kept.
        wanted: leases of one owner.
        decide: the gate's decision on fresh data, with the nodes of these leases counted as down: all that are not
            asked for.

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


def _decided(added: Added, wanted: Sequence[Holder], decide: Callable[[tuple[Holder, ...]], Decision]) -> Decision:
    """A decision that counted every other holder as down, wherever its node is now."""
    mine = {one.node for one in wanted}
    others = tuple(one for one in added.holders if one.node not in mine)
    decision = decide(others)
    there = tuple(placed(one, decision.snapshot) for one in others)
    if set(there) - set(others):
        decision = decide(there)
    missed = {one.node for one in there} - set(decision.holders)
    if missed:
        raise LeaseError(f"the gate did not count {', '.join(sorted(missed))} as down, though under a restart lease")
    return decision


def placed(holder: Holder, seen: Snapshot) -> Holder:
    """A lease with the address that its node has in a snapshot; it may have changed while the node was down.

    Raises:
        LeaseError: if no node of the cluster is meant: it can't be counted as down then.
    """
    if holder.host_id:
        found = next((node.address for node in seen.nodes if node.host_id == holder.host_id), None)
        if found:
            return replace(holder, node=found)
    index = seen.index.get(holder.node)
    other = index is not None and holder.host_id and seen.nodes[index].host_id not in {None, holder.host_id}
    if index is None or other:  # addresses change hands
        raise LeaseError(
            f"{holder.node} is under the restart lease of {holder.owner}, but is no node of {seen.cluster} as it is "
            "seen now; if it has gone for good, `ringcheck lease break` frees it"
        )
    return holder


def _still_held(store: Store, wanted: Sequence[Holder]) -> None:
    """Whether the leases are there still: someone may have broken them while the gate was asked."""
    held = {(one.node, one.owner) for one in store.holders()}
    lost = [one.node for one in wanted if (one.node, one.owner) not in held]
    if lost:
        raise LeaseError(f"the lease of {', '.join(lost)} was taken away while the gate was asked")
