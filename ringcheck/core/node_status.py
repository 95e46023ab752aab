"""The nodes of a cluster one by one: what each is, what the others see of it, and whether it may stop now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.answers import answer
from ringcheck.core.endpoint import ip_of
from ringcheck.core.ring import NORMAL
from ringcheck.core.streaming import may_stream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ringcheck.core.evidence import State
    from ringcheck.core.gate import Gatekeeper
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.reasons import DecisionWord, Reason
    from ringcheck.core.ring import Node, View
    from ringcheck.core.verdict import Verdict


ASKED = 64  # nodes that the gate is asked about one by one, although others are like them


class StopAnswer(NamedTuple):
    """Whether a node may restart now, alone.

    The reason is the first one that blocks. For `safe` it is the note about the lease on the node, or None.
    """

    decision: DecisionWord
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node.

    Attributes:
        node: as the source reports it.
        state: whether it is up, by all views.
        since: UTC, when it got that state; None if not known.
        begin_seen: whether the agent saw that; if not, it has been in that state for longer. None if not known.
        seen_down_by: addresses of the observers that see it down.
        view: its own view, judged; None if it has none.
        lease: the restart lease that the node is under; None if there is none.
        stop: the gate's answer; None if the gate can't be asked.
    """

    node: Node
    state: State
    since: str | None
    begin_seen: bool | None
    seen_down_by: tuple[str, ...]
    view: View | None
    lease: Holder | None
    stop: StopAnswer | None

    @property
    def wrong(self) -> str | None:
        """What is wrong with the node itself, in a few words; None if nothing is, even if it must not stop."""
        if self.state != "up":
            return self.state
        node = self.node
        faults = {
            f"mode {node.mode}": node.mode not in {None, NORMAL},
            "gossip off": node.gossip_running is False,
            "native transport off": node.native_transport_running is False,
            f"Jolokia {node.source}": node.source not in {"ok", "not_asked"},
            "view discarded": self.view is not None and self.view.outcome == "discarded",
        }
        return next((fault for fault, holds in faults.items() if holds), None)


_ORDER = {"down": 0, "unknown": 1, "up": 2}


def statuses(verdict: Verdict, stops: Mapping[str, StopAnswer] | None) -> tuple[NodeStatus, ...]:
    """The nodes of a verdict: what is wrong comes first, then by datacenter, rack and address.

    Args:
        verdict: on all keyspaces.
        stops: answers by address; None if the gate can't be asked.
    """
    views = {view.observer: view for view in verdict.views}
    leases = {holder.node: holder for holder in verdict.holders or ()}
    since = verdict.states_since or (None,) * len(verdict.states)
    nodes = [
        NodeStatus(
            node=node,
            state=verdict.states[index],
            since=since[index],
            begin_seen=verdict.begin_seen(since[index]),
            seen_down_by=tuple(verdict.seen_down_by.get(index, ())),
            view=views.get(node.address),
            lease=leases.get(node.address),
            stop=stops.get(node.address) if stops is not None else None,
        )
        for index, node in enumerate(verdict.snapshot.nodes)
    ]
    return tuple(sorted(nodes, key=_place))


def _place(status: NodeStatus) -> tuple[object, ...]:
    node = status.node
    return (
        _ORDER[status.state],
        status.wrong is None,
        node.datacenter or "",
        node.rack or "",
        _number(node.address),
        node.address,
    )


def _number(address: str) -> tuple[int, int]:
    """The order of addresses: 10.0.0.9 before 10.0.0.10, IPv4 before IPv6, names of assumed nodes last."""
    try:
        ip = ip_address(ip_of(address))
    except ValueError:
        return 9, 0
    return ip.version, int(ip)


def stop_answers(keeper: Gatekeeper, addresses: Collection[str]) -> dict[str, StopAnswer]:
    """The gate's answer for each of these nodes, alone: the decision and the first reason of `decide`.

    The nodes that may stop are found in one pass. For a node whose stop takes nothing, the reasons that keep every node
    from stopping are the answer. About the others the gate is asked one by one, but only about the first `ASKED` if
    they are many: then a node gets the reason of another one whose stop breaks the same, which its summary names.
    A node that may stop but is under a lease has the note about that.
    """
    safe = keeper.safe_nodes()
    refused = _Refused(keeper)
    return {address: _safe(keeper, address) if address in safe else refused.answer(address) for address in addresses}


def _safe(keeper: Gatekeeper, address: str) -> StopAnswer:
    if all(holder.node != address for holder in keeper.holders):
        return StopAnswer("safe")
    notes = keeper.decide([address]).reasons
    return StopAnswer("safe", next((one for one in notes if one.code == "lease_held" and one.subject == address), None))


class _Refused:
    """Answers for nodes that may not stop."""

    def __init__(self, keeper: Gatekeeper) -> None:
        self._keeper = keeper
        self._for_live = keeper.obstacles()
        refusals = set(keeper.refusals)
        self._for_dead = tuple([obstacle for obstacle in self._for_live if obstacle in refusals])
        # Ranges that are lost only if doubtful nodes are down are also ranges that the stop of a live node takes.
        outage = len(self._for_dead) < len(self._for_live)
        self._outage_in_doubt = outage and bool(keeper.uncounted - keeper.evidence.surely_down)
        self._breaking = [keeper.breakers(stake) for stake in keeper.stakes]
        self._asked = 0
        self._examples: dict[object, tuple[str, Reason]] = {}

    def answer(self, address: str) -> StopAnswer:
        """The answer for one node."""
        obstacles = self._obstacles(address)
        broken = frozenset(number for number, nodes in enumerate(self._breaking) if self._index(address) in nodes)
        special = self._is_special(address)
        takes = bool(broken) or (self._outage_in_doubt and not self._is_dead(address))
        if obstacles and not takes and not special:
            return StopAnswer(answer(obstacles), obstacles[0])
        like = broken if takes and not special else address
        if self._asked >= ASKED and like in self._examples:
            example, why = self._examples[like]
            return StopAnswer("unsafe", replace(why, summary=f"as for {example}: {why.summary}"))
        return self._decided(address, like)

    def _decided(self, address: str, like: object) -> StopAnswer:
        self._asked += 1
        decision = self._keeper.decide([address])
        first = next((reason for reason in decision.reasons if reason.blocks), None)
        if first and decision.decision == "unsafe":
            self._examples.setdefault(like, (address, first))
        return StopAnswer(decision.decision, first)

    def _obstacles(self, address: str) -> list[Reason]:
        """What keeps this node from stopping as it does others; ranges that are lost already don't if it is down."""
        every = self._for_dead if self._is_dead(address) else self._for_live
        return [obstacle for obstacle in every if not (obstacle.waived_for_subject and obstacle.subject == address)]

    def _is_special(self, address: str) -> bool:
        """Whether one pass over the ranges does not show all that the gate would say of this node."""
        keeper, index = self._keeper, self._index(address)
        if index is None or keeper.gate.require_spare or keeper.gate.require_all_up or keeper.gate.allow:
            return True
        doubtful = index in keeper.uncounted and not self._is_dead(address)
        return doubtful or index in may_stream(keeper.evidence)

    def _is_dead(self, address: str) -> bool:
        return self._index(address) in self._keeper.evidence.surely_down

    def _index(self, address: str) -> int | None:
        return self._keeper.snapshot.index.get(address)
