"""The tables of nodes and racks on a cluster's page: problems first, then in the numeric order of addresses."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ringcheck.agent.page.clusters import unanswered
from ringcheck.core.endpoint import order
from ringcheck.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringcheck.core.evidence import State
    from ringcheck.core.held_back import HeldBack
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Node
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

NODES, SAFE = 100, 256  # most rows, and most addresses that are listed by rack
FOLDED = 12  # if more nodes than this are without a problem, they are in a closed section
_RANKS = {"down": 0, "unknown": 1, "suspect": 2, "up": 3}


@dataclass(frozen=True, slots=True)
class _Rack:
    """The number of nodes in each state in a rack."""

    datacenter: str
    rack: str
    states: Counter[str]

    @property
    def name(self) -> str:
        return f"{self.datacenter}/{self.rack}"


def _natural(*texts: str) -> list[list[str | int]]:
    """A sort key that puts r2 before r10."""
    return [[int(part) if part.isdecimal() else part for part in re.split(r"(\d{1,18})", text)] for text in texts]


def racks(verdict: Verdict) -> list[_Rack]:
    """The racks with their numbers of nodes."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True):
        counts[node.datacenter or "?", node.rack or "?"][state] += 1
    return [_Rack(*names, states) for names, states in sorted(counts.items(), key=lambda item: _natural(*item[0]))]


@dataclass(frozen=True, slots=True)
class Place:
    """Nodes of one rack; `addresses` is empty if there are too many to list."""

    datacenter: str
    rack: str
    number: int
    addresses: list[str]

    @property
    def filter(self) -> str:
        """The filter that shows the nodes of this rack."""
        return f"{self.datacenter}/{self.rack}"


def by_rack(addresses: frozenset[str] | None, verdict: Verdict, usual: State) -> list[Place] | None:
    """Nodes by rack, with their state if it is not the usual one; None if the nodes are not known."""
    if addresses is None:
        return None
    places: dict[tuple[str, str], list[tuple[str, State]]] = defaultdict(list)
    for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True):
        if node.address in addresses:
            places[node.datacenter or "?", node.rack or "?"].append((node.address, state))
    few = sum(map(len, places.values())) <= SAFE
    return [
        Place(*names, len(found), _addresses(found, usual) if few else [])
        for names, found in sorted(places.items(), key=lambda item: _natural(*item[0]))
    ]


def _addresses(found: Iterable[tuple[str, State]], usual: State) -> list[str]:
    ordered = sorted(found, key=lambda item: order(item[0]))
    return [address if state == usual else f"{address} ({state})" for address, state in ordered]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason why nodes that are up may not restart, and these nodes.

    Attributes:
        reason: None if the gate was not asked for it.
        number: how many nodes.
        example: address of the node that the numbers of the reason are about; None if it is about all of them.
        places: the nodes by rack.
    """

    reason: Reason | None
    number: int
    example: str | None
    places: list[Place]


def refusals(groups: Iterable[HeldBack], verdict: Verdict) -> list[Refusal]:
    """Why nodes may not restart, as the page shows it."""
    nodes = verdict.snapshot.nodes
    return [
        Refusal(
            group.reason,
            len(group.nodes),
            None if group.example is None else nodes[group.example].address,
            by_rack(frozenset(nodes[index].address for index in group.nodes), verdict, "up") or [],
        )
        for group in groups
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A node in the table of nodes."""

    node: Node
    state: str
    seen_down_by: str
    restart: str
    lease: Holder | None
    since: str | None

    @property
    def problem(self) -> bool:
        """Whether it is shown before the others."""
        return self.state != "up" or self.lease is not None

    def matches(self, words: Sequence[str]) -> bool:
        """Whether each word is part of its names or state; `dc1/r1` must be its datacenter and rack."""
        node = self.node
        place = f"{node.datacenter or '?'}/{node.rack or '?'}".casefold()
        text = f"{node.address} {node.host_id} {node.release_version} {self.state} {place}".casefold()
        return all(word == place if "/" in word else word in text for word in words)


def rows(reading: Reading, verdict: Verdict) -> list[NodeRow]:
    """All nodes, problems first, then by address."""
    holders = {holder.node: holder for holder in reading.holders or ()}
    since = {node: at for node, at in unanswered(verdict).items() if node in reading.suspects}
    usable = sum(view.outcome == "ok" for view in verdict.views)
    made = [
        NodeRow(
            node=node,
            state="suspect" if node.address in reading.suspects else state,
            seen_down_by=_seen_by(verdict.seen_down_by.get(index, ()), usable),
            restart=_may_restart(node.address, reading),
            lease=holders.get(node.address),
            since=since.get(node.address) or (verdict.states_since[index] if verdict.states_since else None),
        )
        for index, (node, state) in enumerate(zip(verdict.snapshot.nodes, verdict.states, strict=True))
    ]
    return sorted(made, key=lambda row: (_RANKS.get(row.state, 0), row.lease is None, order(row.node.address)))


def listed(reading: Reading, verdict: Verdict, words: Sequence[str]) -> dict[str, Any]:
    """The rows of the table: problems, and the others in a closed section; for a large cluster only the problems.

    With a filter, the nodes that match it, however large the cluster is.
    """
    every = rows(reading, verdict)
    few = [row for row in every if row.matches(words)] if words else every
    problems = [row for row in few if row.problem]
    sound = [row for row in few if not row.problem] if words or len(every) <= NODES else []
    folds = len(sound) > FOLDED and not words
    first = problems if folds else [*problems, *sound]
    return {
        "nodes": first[:NODES],
        "other_nodes": sound if folds else [],
        "all_nodes": len(every),
        "up_nodes": verdict.states.count("up"),
        "more_nodes": max(0, len(first) - NODES),
        "matching_nodes": len(few),
        "one_node": few[0].node.address if words and len(few) == 1 else None,
    }


def _seen_by(observers: Sequence[str], usable: int) -> str:
    if observers:
        return f"{len(observers)} of {counted(usable, 'view')}"
    return "none" if usable else "not known"


def _may_restart(address: str, reading: Reading) -> str:
    if reading.restart_safe is None or not reading.fresh:
        return "not known"
    if address in (reading.restart_cures or ()):
        return "yes, it is down"
    return "yes, alone" if address in reading.restart_safe else "no"
