"""Hypothesis strategies for clusters: they draw plain data, and `Cluster.snapshot` makes the core's values of it.

Replicas are drawn, not placed: a range may have any nodes in any order, even if no snitch would place them so.
`tests/core/bruteforce.py` reads the plain data, the core reads the snapshot.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from ringcheck.core.ring import Factor, Node, Pending, Replication, Ring, Snapshot, View
from tests.core.bruteforce import LEVELS, LOCAL_LEVELS, Arc, Case, Factors, Kind, Place, Space, Variant

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

RELEASES = ("2.2.19", "3.0.29", "3.11.19", "4.0.17", "4.1.9", "5.0.8")
SPACES = {
    "Murmur3Partitioner": Space(-(2**63), 2**63 - 1),
    "RandomPartitioner": Space(0, 2**127),
}
CLASSES = {
    "nts": "NetworkTopologyStrategy",
    "simple": "SimpleStrategy",
    "old": "OldNetworkTopologyStrategy",
    "everywhere": "EverywhereStrategy",
}


def version(release: str) -> tuple[int, int]:
    """(major, minor) of a release."""
    major, minor = release.split(".")[:2]
    return int(major), int(minor)


@dataclass(frozen=True)
class Table:
    """The ranges of one keyspace."""

    natural: tuple[Arc, ...]
    pending: tuple[Arc, ...]
    factors: Factors

    def replication(self) -> Replication:
        """The replication as Cassandra reports it."""
        transient = dict(self.factors.transient)
        pairs = self.factors.by_dc
        if self.factors.kind in {"simple", "old"}:
            pairs = (("replication_factor", self.factors.total),)
            transient = {"replication_factor": transient.get("", 0)}
        return Replication.of(
            f"org.apache.cassandra.locator.{CLASSES[self.factors.kind]}",
            {name: Factor(number, transient.get(name, 0)) for name, number in pairs},
        )


@dataclass(frozen=True)
class Cluster:
    """Nodes, the ranges of each keyspace, and the nodes that each observer sees live."""

    places: dict[str, Place]
    joining: tuple[str, ...]
    partitioner: str
    release: str
    tables: tuple[Table, ...]
    live: dict[str, frozenset[str]]
    """Live nodes by observer."""
    paxos: Variant = "v1"

    @property
    def space(self) -> Space:
        """The token space."""
        return SPACES[self.partitioner]

    @property
    def datacenters(self) -> tuple[str, ...]:
        """The datacenters of the nodes."""
        return tuple(sorted({place.dc for place in self.places.values()}))

    def case(self, table: Table, level: str, client: str | None) -> Case:
        """A question to the brute force."""
        pending = (table.natural, table.pending, table.factors)
        return Case(self.places, *pending, self.space, version(self.release), level, client, self.paxos)

    def cases(self, table: Table) -> list[Case]:
        """Questions for every level; LOCAL levels for clients of every datacenter."""
        return [
            self.case(table, level, client)
            for level in LEVELS
            for client in (self.datacenters if level in LOCAL_LEVELS else (None,))
        ]

    def snapshot(self, order: Sequence[str] = ()) -> Snapshot:
        """The core's snapshot, with the nodes in any order."""
        names = list(order) or list(self.places)
        index = {name: number for number, name in enumerate(names)}
        nodes = [
            Node(
                name,
                datacenter=self.places[name].dc,
                rack=self.places[name].rack,
                release_version=self.release,
                paxos_variant=self.paxos if version(self.release) >= (4, 1) else None,
                mode="JOINING" if name in self.joining else "NORMAL",
                gossip_running=True,
                native_transport_running=name not in self.joining,
                source="ok",
                tokens=0 if name in self.joining else 1,
            )
            for name in names
        ]
        rings = [
            Ring.build(
                (f"ks{number}",),
                table.replication(),
                [(arc.start, arc.end, [index[node] for node in arc.nodes]) for arc in table.natural],
                len(nodes),
                [Pending(arc.start, arc.end, tuple(index[node] for node in arc.nodes)) for arc in table.pending],
            )
            for number, table in enumerate(self.tables)
        ]
        views = [
            View(observer, live=live, unreachable=frozenset(self.places) - live, joining=frozenset(self.joining))
            for observer, live in self.live.items()
        ]
        return Snapshot(
            cluster="prop",
            taken_at="2024-05-06T07:08:09Z",
            partitioner=self.partitioner,
            nodes=tuple(nodes),
            views=tuple(views),
            rings=tuple(rings),
        )

    def with_live(self, live: Collection[str]) -> Cluster:
        """The same cluster seen by one observer."""
        return replace(self, live={next(iter(self.live)): frozenset(live)})


@st.composite
def _places(draw: st.DrawFn, at_most: int) -> dict[str, Place]:
    """Nodes in one to three datacenters with one to four racks each."""
    found: dict[str, Place] = {}
    for dc in range(1, draw(st.sampled_from((1, 2, 2, 3))) + 1):
        for rack in range(1, draw(st.integers(1, 4)) + 1):
            for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
                if len(found) < at_most:
                    found[f"10.{dc}.{rack}.{len(found) + 1}"] = Place(f"dc{dc}", f"r{rack}")
    return found


@st.composite
def _tokens(draw: st.DrawFn, space: Space) -> list[int]:
    """One to seven tokens: adjacent, scattered, or at the edges of the token space."""
    middle = (space.low + space.high) // 2
    token = st.one_of(
        st.integers(space.low, space.high),
        st.integers(middle, middle + 9),
        st.integers(space.low, space.low + 3),
        st.integers(space.high - 3, space.high),
    )
    return sorted(draw(st.lists(token, min_size=1, max_size=7, unique=True)))


@st.composite
def _factors(draw: st.DrawFn, datacenters: Sequence[str], nodes: int) -> Factors:
    kinds: list[Kind] = ["nts", "nts", "nts", "nts", "simple", "simple", "old", "everywhere"]
    kind = draw(st.sampled_from(kinds))
    transient = draw(st.sampled_from((0, 0, 0, 0, 0, 1)))
    if kind == "everywhere":
        return Factors(kind, nodes)
    if kind != "nts":
        total = draw(st.integers(0, 5))
        return Factors(kind, total, (), (("", 1),) if transient and total > 1 else ())
    options = draw(st.lists(st.sampled_from((*datacenters, *datacenters, "nowhere")), unique=True, max_size=3))
    by_dc = tuple((dc, draw(st.sampled_from((0, 1, 2, 3, 3, 3, 4, 5)))) for dc in options)
    marked = tuple((dc, 1) for dc, number in by_dc if transient and number > 1)
    return Factors("nts", 0, by_dc, marked)


@st.composite
def _replicas(draw: st.DrawFn, factors: Factors, places: dict[str, Place]) -> tuple[str, ...]:
    """Any nodes in any order: as many as the factors ask for, and no more than exist."""
    if factors.kind != "nts":
        mixed = draw(st.permutations(sorted(places)))
        return tuple(mixed[: factors.total])
    chosen: list[str] = []
    for dc, number in factors.by_dc:
        local = draw(st.permutations([name for name, place in sorted(places.items()) if place.dc == dc]))
        chosen += local[:number]
    return tuple(draw(st.permutations(chosen)))


@st.composite
def _table(draw: st.DrawFn, tokens: list[int], space: Space, places: dict[str, Place], joining: Sequence[str]) -> Table:
    owners = {name: place for name, place in places.items() if name not in joining}
    factors = draw(_factors(sorted({place.dc for place in places.values()}), len(owners)))
    starts = [tokens[-1], *tokens[:-1]]
    natural = [Arc(start, end, draw(_replicas(factors, owners))) for start, end in zip(starts, tokens, strict=True)]
    if natural[0].nodes and draw(st.sampled_from((False, False, False, True))):
        natural[0] = replace(natural[0], nodes=natural[0].nodes[1:])  # a range that lacks a replica
    pending: list[Arc] = []
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2, 3)))):
        pending += draw(_pending(natural, space, owners, joining))
    return Table(tuple(draw(st.permutations(natural))), tuple(pending), factors)


@st.composite
def _pending(
    draw: st.DrawFn,
    natural: list[Arc],
    space: Space,
    owners: dict[str, Place],
    joining: Sequence[str],
) -> list[Arc]:
    """Pending ranges: of a leaving node (a natural range, with new nodes), or of a joining node (a part of a range)."""
    arc = draw(st.sampled_from(natural))
    gaining = [name for name in owners if name not in arc.nodes]
    if gaining and (not joining or draw(st.booleans())):
        return [Arc(arc.start, arc.end, (draw(st.sampled_from(gaining)),))]
    if not joining:
        return []
    near = [arc.end + step for arc in natural for step in (-1, 0, 1) if space.low <= arc.end + step <= space.high]
    cut = st.one_of(st.sampled_from(near), st.integers(space.low, space.high))
    names = draw(st.lists(st.sampled_from(joining), min_size=1, max_size=2, unique=True))
    return [Arc(draw(cut), draw(cut), tuple(names))]


@st.composite
def _live(draw: st.DrawFn, places: dict[str, Place], observer: str) -> frozenset[str]:
    """Mostly all nodes live, sometimes each at random."""
    down = draw(st.lists(st.sampled_from(sorted(places)), max_size=draw(st.sampled_from((0, 1, 2, 3, len(places))))))
    return (frozenset(places) - frozenset(down)) | {observer}


def _paxos(release: str) -> st.SearchStrategy[Variant]:
    variants: list[Variant] = ["v1", "v2"]
    return st.sampled_from(variants if version(release) >= (4, 1) else variants[:1])


@st.composite
def wide_clusters(draw: st.DrawFn) -> Cluster:
    """Clusters with many ranges, few of them on one or two of the nodes: a change of these nodes affects few ranges."""
    places = draw(_places(14))
    joining: list[str] = draw(st.lists(st.sampled_from(sorted(places)), max_size=min(1, len(places) - 1)))
    owners = [name for name in places if name not in joining]
    source = random.Random(draw(st.integers(0, 2**32)))  # noqa: S311 - drawn, so that it is repeated
    tokens = sorted(source.sample(range(-(2**61), 2**61), draw(st.integers(16, 48))))
    total = draw(st.integers(1, 3))
    rows = [tuple(source.sample(owners, min(total, len(owners)))) for _ in tokens]
    natural = [Arc(tokens[index - 1], end, rows[index]) for index, end in enumerate(tokens)]
    pending = []
    if joining and draw(st.sampled_from((False, True))):
        start, end = sorted(source.sample(range(-(2**61), 2**61), 2))
        pending = [Arc(start, end, tuple(joining)), Arc(tokens[0], tokens[1], tuple(joining))]
    kinds: list[Kind] = ["simple", "simple", "nts"]
    kind = draw(st.sampled_from(kinds))
    by_dc = tuple((dc, 1) for dc in sorted({places[name].dc for name in owners}))
    factors = Factors("nts", 0, by_dc) if kind == "nts" else Factors("simple", total)
    down = draw(st.lists(st.sampled_from(sorted(places)), max_size=2))
    table = Table(tuple(natural), tuple(pending), factors)
    live = {owners[0]: frozenset(places) - frozenset(down)}
    release = draw(st.sampled_from(RELEASES))
    paxos = draw(_paxos(release))
    return Cluster(places, tuple(joining), "Murmur3Partitioner", release, (table,), live, paxos)


@st.composite
def clusters(draw: st.DrawFn, *, nodes: int = 8, views: int = 1, tables: int = 1) -> Cluster:
    """Clusters with at most so many nodes, views and keyspaces."""
    places = draw(_places(nodes))
    joining = draw(st.lists(st.sampled_from(sorted(places)), max_size=min(2, len(places) - 1), unique=True))
    partitioner = draw(st.sampled_from(sorted(SPACES)))
    space = SPACES[partitioner]
    tokens = draw(_tokens(space))
    drawn = tuple(
        draw(_table(tokens, space, places, joining)) for _ in range(draw(st.integers(1, tables)) if tables > 1 else 1)
    )
    observers = draw(st.permutations([name for name in places if name not in joining]))[
        : draw(st.integers(1, views)) if views > 1 else 1
    ]
    live = {observer: draw(_live(places, observer)) for observer in observers}
    release = draw(st.sampled_from(RELEASES))
    return Cluster(places, tuple(sorted(joining)), partitioner, release, drawn, live, draw(_paxos(release)))
