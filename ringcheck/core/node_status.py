"""The nodes of a cluster one by one: what each is, what the others see of it, and whether it may stop now."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.endpoint import ip_of
from ringcheck.core.reasons import answer
from ringcheck.core.ring import NORMAL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ringcheck.core.evidence import State
    from ringcheck.core.gate import Gatekeeper
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.reasons import DecisionWord, Reason
    from ringcheck.core.ring import Node, View
    from ringcheck.core.verdict import Verdict


class StopAnswer(NamedTuple):
    """Whether a node may restart now, alone; the reason is the first one that blocks, None for `safe`."""

    decision: DecisionWord
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node.

    Attributes:
        node: as the source reports it.
        state: whether it is up, by all views.
        since: UTC, when it got that state; None if not known.
        seen_down_by: addresses of the observers that see it down.
        view: its own view, judged; None if it has none.
        lease: the restart lease that the node is under; None if there is none.
        stop: the gate's answer; None if the gate can't be asked.
    """

    node: Node
    state: State
    since: str | None
    seen_down_by: tuple[str, ...]
    view: View | None
    lease: Holder | None
    stop: StopAnswer | None

    @property
    def wrong(self) -> str | None:
        """What is wrong with the node itself, in a few words; None if nothing is. That it may not stop is no fault."""
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
    """The order of addresses: 10.0.0.9 before 10.0.0.10, IPv4 before IPv6, names of supposed nodes last."""
    try:
        ip = ip_address(ip_of(address))
    except ValueError:
        return 9, 0
    return ip.version, int(ip)


def stop_answers(keeper: Gatekeeper, addresses: Collection[str]) -> dict[str, StopAnswer]:
    """The gate's answer for each of these nodes, alone: `safe` exactly for those for which `decide` says so.

    The nodes that may stop are found in one pass. A reason that keeps every node from stopping is the answer for all:
    what a stop would cost besides is not computed then, so `decide` may answer `unsafe` when this answer is `unknown`.
    """
    safe = keeper.safe_nodes()
    general = keeper.obstacles()
    answers = {}
    for address in addresses:
        if address in safe:
            answers[address] = StopAnswer("safe")
        elif general and general[0].subject != address:
            answers[address] = StopAnswer(answer(general), general[0])
        else:
            decision = keeper.decide([address])
            answers[address] = StopAnswer(decision.decision, _first(decision.reasons))
    return answers


def _first(reasons: Iterable[Reason]) -> Reason | None:
    return next((reason for reason in reasons if reason.blocks), None)
