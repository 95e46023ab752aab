"""Small clusters for tables of cases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ringcheck.core.maintenance import Holder
from ringcheck.core.ring import Node, Pending, Replication, Ring, Snapshot, View

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

STEP = 2**62
TOKENS = (-2 * STEP, -STEP, 0, STEP)  # four quarters of Murmur3's space


def address(number: int) -> str:
    """The address of a node, counted from 1."""
    return f"10.0.0.{number}"


def nodes(*places: str, **fields: Any) -> tuple[Node, ...]:
    """A node for each `dc1:r1` or `dc1`; all healthy, on 4.1 with Paxos v1."""
    return tuple(
        replace(
            Node(
                address(number),
                host_id=f"host-{number}",
                datacenter=place.partition(":")[0] or None,
                rack=place.partition(":")[2] or "r1",
                release_version="4.1.9",
                paxos_variant="v1",
                mode="NORMAL",
                gossip_running=True,
                native_transport_running=True,
                generation=1,
                source="ok",
                tokens=1,
                streams=0,
            ),
            **fields,
        )
        for number, place in enumerate(places, start=1)
    )


def ring(
    names: str,
    replication: str | None,
    rows: Sequence[Sequence[int]],
    total: int,
    pending: Iterable[tuple[int, int, Sequence[int]]] = (),
) -> Ring:
    """A ring of as many equal ranges as rows (at most four); nodes counted from 1."""
    tokens = TOKENS[: len(rows)]
    return Ring.build(
        names.split(),
        Replication.parse(replication) if replication else None,
        [(tokens[place - 1], end, [node - 1 for node in rows[place]]) for place, end in enumerate(tokens)],
        total,
        [Pending(start, end, tuple(node - 1 for node in gaining)) for start, end, gaining in pending],
    )


def views(members: Sequence[Node], down: Collection[int] = (), **fields: Any) -> tuple[View, ...]:
    """Views of the nodes that are up; the nodes with these numbers are down and their Jolokia is silent."""
    gone = {address(number) for number in down}
    live = frozenset(node.address for node in members) - gone
    return tuple(
        View(node.address, outcome="unreachable", reason="connection refused")
        if node.address in gone
        else replace(View(node.address, live=live, unreachable=frozenset(gone), schema_version="s"), **fields)
        for node in members
    )


def snapshot(
    members: Sequence[Node], rings: Iterable[Ring] = (), down: Collection[int] = (), **fields: Any
) -> Snapshot:
    """A snapshot in which all nodes that are up agree; `fields` override those of the snapshot."""
    made = Snapshot(
        cluster="test",
        taken_at="2024-05-06T07:08:09Z",
        partitioner="Murmur3Partitioner",
        nodes=tuple(members),
        views=views(members, down),
        rings=tuple(rings),
    )
    return replace(made, **fields)


def with_view(one: Snapshot, observer: int, **fields: Any) -> Snapshot:
    """The same snapshot with the view of one observer changed."""
    changed = tuple(replace(view, **fields) if view.observer == address(observer) else view for view in one.views)
    return replace(one, views=changed)


def with_views(one: Snapshot, **fields: Any) -> Snapshot:
    """The same snapshot with all views changed alike."""
    return replace(one, views=tuple(replace(view, **fields) for view in one.views))


def with_node(one: Snapshot, number: int, **fields: Any) -> Snapshot:
    """The same snapshot with one node changed."""
    changed = tuple(replace(node, **fields) if node.address == address(number) else node for node in one.nodes)
    return replace(one, nodes=changed)


def addresses(numbers: Iterable[int]) -> frozenset[str]:
    """The addresses of some nodes."""
    return frozenset(address(number) for number in numbers)


def findings(verdict: Any) -> Mapping[str, list[str]]:
    """Summaries by code, notes too, each with its severity."""
    summaries: dict[str, list[str]] = {}
    for finding in verdict.findings:
        summaries.setdefault(finding.code, []).append(f"{finding.severity.name} {finding.summary}")
    return summaries


def held(*numbers: int) -> list[Holder]:
    """Restart leases of another owner on some nodes."""
    return [
        Holder(node=address(number), owner="anna@bastion", purpose="kernel", since="2024-05-06T07:00:00Z")
        for number in numbers
    ]
