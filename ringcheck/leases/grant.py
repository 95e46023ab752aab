"""The grant of a restart lease: may these nodes stop, given the nodes that others are stopping now?

The problem: two runs of `roll`, or two hosts about to reboot, ask the gate at the same moment. Each sees all nodes up,
each gets the answer safe, and both nodes stop: a range loses two replicas at once.

The rule: record first, then evaluate. A lease is written to a store that all runs share before the gate is asked. The
gate counts the nodes of all other leases as down. The lease stays if the gate says safe, and is withdrawn otherwise.

Why it is right: the store puts all writes in one order. Of two requests that overlap, the one that writes second sees
the lease of the first, so at least one gate counts the other's node as down. Both requests may be refused. Both are
granted only if the cluster can spare both nodes. With the gate first and the record second, neither would see the
other.

A lease does not expire. Its node may still be down after its owner has died, and a lease that expired would let the
next run stop another node beside it; airlock and locksmith keep their leases for the same reason. A lease older than
`lease: {deadline: ...}` is reported as overdue, and an operator removes it with `ringcheck lease break`.

Any doubt is a LeaseError and no grant: a store that does not answer, a record that can't be read, a lease whose node is
unknown, a gate that did not count a holder as down, a lease that was taken away while the gate was asked. A doubt about
leases never replaces an unsafe decision.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.leases.record import LeaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ringcheck.core.gate import Decision
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot
    from ringcheck.leases.store import Added, Store

TRIES = 4  # decisions of one grant, while nodes under other leases change their addresses


def granted(store: Store, wanted: Sequence[Holder], decide: Callable[[tuple[Holder, ...]], Decision]) -> Decision:
    """Record leases, ask the gate, and withdraw the leases unless it says safe.

    A lease that the owner already held before this call is never withdrawn: its node may be down.

    Args:
        store: where the leases are recorded.
        wanted: leases of one owner.
        decide: the gate's decision on fresh data. Its argument is the leases of all other nodes, which it must count
            as down. It may be called several times.

    Returns:
        The decision. The leases are held if and only if it says safe.

    Raises:
        HeldError: another owner holds one of the nodes; nothing was recorded.
        LeaseError: the outcome is in doubt, or a lease could not be withdrawn; the text says which. If the gate had
            decided by then, the error has its decision.
    """
    added = store.add(wanted)
    with _withdrawn_unless_safe(store, wanted[0].owner, added) as outcome:
        decision = outcome.decision = _decided(added, wanted, decide)
        if decision.decision == "safe":
            _require_held(store, wanted)
            outcome.stands = True
    return decision


@dataclass
class _Outcome:
    """The decision on a grant, and whether its leases stand."""

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
        try:
            _withdraw(store, owner, added, f"the gate says {outcome.decision.decision}")
        except LeaseError as error:
            error.decision = outcome.decision
            raise


def _withdraw(store: Store, owner: str, added: Added, why: str) -> None:
    if not added.new:
        return
    try:
        store.remove(added.new, owner, added.grant)
    except LeaseError as error:
        nodes = ", ".join(sorted(added.new))
        raise LeaseError(
            f"no grant ({why}), but the lease of {nodes} could not be withdrawn and is left: {error}; "
            "release it with `ringcheck lease release --force`"
        ) from error


def _decided(added: Added, wanted: Sequence[Holder], decide: Callable[[tuple[Holder, ...]], Decision]) -> Decision:
    """A decision that counted every other lease's node as down, and no other node for them.

    The leases are placed in the snapshot of each decision, since a node may change its address from one reading to the
    next. An unsafe decision stands even if it counted too few nodes as down: with more of them it is unsafe too.

    Raises:
        LeaseError: a lease matches no node, or the nodes move with every decision.
    """
    wanted_nodes = {lease.node for lease in wanted}
    others = asked = tuple(lease for lease in added.holders if lease.node not in wanted_nodes)
    for _ in range(TRIES):
        decision = decide(asked)
        now = PlacedLeases.of(others, decision.snapshot)
        counted, leased = set(decision.holders), {lease.node for lease in now.holders}
        if decision.decision == "unsafe" and counted <= leased:
            return decision
        if counted == leased:
            return now.required(decision)
        asked = now.holders
    missed = ", ".join(sorted(counted ^ leased))
    raise LeaseError(f"the gate did not count {missed} as down, though under a restart lease: its address may change")


@dataclass(frozen=True, slots=True)
class PlacedLeases:
    """The restart leases of a cluster, as far as they are known.

    Attributes:
        holders: leases at the present addresses of their nodes.
        problem: why there may be more leases; None if there are none.
    """

    holders: tuple[Holder, ...] = ()
    problem: LeaseError | None = None

    @classmethod
    def of(cls, leases: Iterable[Holder], seen: Snapshot) -> PlacedLeases:
        """Leases, each at the address that its node has in a snapshot."""
        holders, problem = [], None
        for lease in leases:
            try:
                holders.append(placed(lease, seen))
            except LeaseError as error:
                problem = problem or error
        return cls(tuple(holders), problem)

    @classmethod
    def read(cls, leases: Callable[[], Iterable[Holder]], seen: Snapshot) -> PlacedLeases:
        """The leases that a store has; none, and the problem, if it can't be read."""
        try:
            return cls.of(leases(), seen)
        except LeaseError as error:
            return cls(problem=error)

    def required(self, decision: Decision) -> Decision:
        """A decision that counted these leases; an unsafe one stands whether or not there are more.

        Raises:
            LeaseError: the decision is not unsafe, and there may be more leases.
        """
        if self.problem and decision.decision != "unsafe":
            raise self.problem
        return decision


def placed(holder: Holder, seen: Snapshot) -> Holder:
    """A lease with the address that its node has in a snapshot; a node may come back with another one.

    Raises:
        LeaseError: the lease matches no node of the snapshot, so that no node can be counted as down for it.
    """
    if holder.host_id:
        address = next((node.address for node in seen.nodes if node.host_id == holder.host_id), None)
        if address:
            return replace(holder, node=address)
    index = seen.index.get(holder.node)
    # The address may belong to a new node now: the host id decides.
    reused = index is not None and holder.host_id and seen.nodes[index].host_id not in {None, holder.host_id}
    if index is None or reused:
        raise LeaseError(
            f"{holder.node} is under the restart lease of {holder.owner}, but no node of {seen.cluster} has that "
            "address or host id now; if the node is gone for good, remove the lease with `ringcheck lease break`"
        )
    return holder


def _require_held(store: Store, wanted: Sequence[Holder]) -> None:
    """Raise if someone broke one of the leases while the gate was asked: others then counted its node as up."""
    current = {(lease.node, lease.owner) for lease in store.holders()}
    lost = [lease.node for lease in wanted if (lease.node, lease.owner) not in current]
    if lost:
        raise LeaseError(f"the lease of {', '.join(lost)} was taken away while the gate was asked")
