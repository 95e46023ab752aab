"""The actions that the gate is asked about, and the rules in which they differ.

A restart and a decommission are done to nodes that are up. `removenode` and `replace` are done to nodes that are dead,
and `bootstrap` adds a node that the cluster does not know yet. All but a restart change who holds which range: while
such a change lasts, writes go to the nodes that gain ranges as well, and these stream from the replicas that are up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ringcheck.core.maintenance import Holder

Action: TypeAlias = Literal["restart", "decommission", "removenode", "replace", "bootstrap"]

NAMES: tuple[Action, ...] = get_args(Action)
NEWCOMERS = frozenset({"replace", "bootstrap"})  # actions by which a node joins


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionKind:
    """One row of the table.

    Attributes:
        verb: what follows `may` in an answer whose subject is the candidates.
        of_dead_nodes: whether it is done to nodes that are down.
        needs_all_up: whether a down or leased node elsewhere blocks it, since it may need any other node.
        changes_ring: whether nodes gain ranges.
    """

    verb: str
    of_dead_nodes: bool = False
    needs_all_up: bool = False
    changes_ring: bool = True


ACTIONS: Mapping[Action, ActionKind] = {
    "restart": ActionKind(verb="stop", changes_ring=False),
    # The nodes that take over the ranges must acknowledge their writes as well (`ReplicaPlans`: `blockFor` plus
    # pending), and a node that is down may be one of them.
    "decommission": ActionKind(verb="leave", needs_all_up=True),
    "removenode": ActionKind(verb="be removed", of_dead_nodes=True, needs_all_up=True),
    # A replacement takes over the tokens of its node: no other node gains a range.
    "replace": ActionKind(verb="be replaced", of_dead_nodes=True),
    # Each range is streamed from the replica that gives it up (`RangeStreamer`, consistent range movement). The tokens
    # of the new node decide which replica that is.
    "bootstrap": ActionKind(verb="join", needs_all_up=True),
}


@dataclass(frozen=True, slots=True)
class Newcomer:
    """The datacenter and rack of a node that will join the cluster or replace another node."""

    datacenter: str
    rack: str

    def __str__(self) -> str:
        """`dc1 r1`."""
        return f"{self.datacenter} {self.rack}"


def newcomer_of(action: Action, nodes: Collection[str], datacenter: str | None, rack: str | None) -> Newcomer | None:
    """The new node that a question describes; None if the action has no new node, or if it is not described.

    Raises:
        UsageError: if the action needs a description and there is none, if only a datacenter or only a rack is given,
            if nodes are named for an action that is about no existing node, or if an action that needs nodes has none.
    """
    if action == "bootstrap":
        if nodes:
            raise UsageError("bootstrap is about a node that is not in the cluster yet: name no node")
        if not (datacenter and rack):
            raise UsageError("bootstrap needs the datacenter and the rack of the new node: --datacenter and --rack")
    if action != "bootstrap" and not nodes:
        raise UsageError(f"{action} needs the nodes that it is about")
    if action not in NEWCOMERS:
        if datacenter or rack:
            raise UsageError(f"{action} has no new node: the datacenter and rack of a new node don't apply")
        return None
    if bool(datacenter) != bool(rack):
        raise UsageError("the new node needs both a datacenter and a rack")
    return Newcomer(datacenter, rack) if datacenter and rack else None


def counted(holders: Iterable[Holder], candidates: Collection[str], action: Action) -> list[Holder]:
    """The restart leases that count for a decision.

    The lease on a node that is to stop may be the one that the decision is for: it must not count as an earlier loss.
    A lease on a dead node means that its owner will bring it back.
    """
    if ACTIONS[action].of_dead_nodes:
        return list(holders)
    return [holder for holder in holders if holder.node not in candidates]
