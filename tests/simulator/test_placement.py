"""Placement equals that of the recorded clusters, and of a forward walk that is written independently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.ring import Replication
from ringcheck.simulator.cluster import version_of
from ringcheck.simulator.placement import (
    Movement,
    SimPlace,
    TokenRing,
    even_tokens,
    pending,
    place,
    random_tokens,
)
from tests.conftest import examples
from tests.recordings import Recording, recordings

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

KEYSPACES = {
    "blog_1": "SimpleStrategy {replication_factor=1}",
    "blog_3": "SimpleStrategy {replication_factor=3}",
    "orders": "NetworkTopologyStrategy {dc1=3, dc2=1}",
    "system_auth": "SimpleStrategy {replication_factor=1}",
    "system_traces": "SimpleStrategy {replication_factor=2}",
    "system_distributed": "SimpleStrategy {replication_factor=3}",
}
PLACES = {  # recorded/README: .3 is the node that is stopped, .5 the node that joins and leaves
    "127.0.1.1": SimPlace("dc1", "r1"),
    "127.0.1.2": SimPlace("dc1", "r2"),
    "127.0.1.3": SimPlace("dc1", "r3"),
    "127.0.1.4": SimPlace("dc2", "r1"),
    "127.0.1.5": SimPlace("dc1", "r1"),
}
NODES = list(PLACES)
CUT = ("startup", "truncating", "joining-sequence", "auth")  # states without a recording of the whole ring
SETTLED = [item for item in recordings() if not item.state.startswith(CUT) and item.read("TokenToEndpointMap")]
MOVING = [  # 6.0 cuts pending ranges at the smallest token too, so its ranges differ although the nodes are the same
    item for item in SETTLED if item.state in {"joining", "leaving"} and version_of(item.release) < (6, 0)
]


def ring_of(recording: Recording, *, joining: Iterable[str] = ()) -> TokenRing:
    """The ring in a node's TokenToEndpointMap, without nodes that are still joining."""
    owned: dict[int, list[int]] = {}
    for token, address in (recording.read("TokenToEndpointMap") or {}).items():
        if address not in joining:
            owned.setdefault(NODES.index(address), []).append(int(token))
    return TokenRing.of(owned)


def ranges(reply: dict[str, list[str]]) -> dict[tuple[int, int], list[int]]:
    """A recorded range map in node indexes."""
    indexed = {}
    for key, endpoints in reply.items():
        start, end = key.strip("[]").split(", ")
        indexed[int(start), int(end)] = [NODES.index(endpoint) for endpoint in endpoints]
    return indexed


def name(recording: Any) -> str:
    return f"{recording.line}-{recording.state}-{recording.address}" if isinstance(recording, Recording) else ""


def unordered(ranges: dict[tuple[int, int], list[int]]) -> dict[tuple[int, int], list[int]]:
    """A range map with the replicas of each range sorted."""
    return {span: sorted(replicas) for span, replicas in ranges.items()}


@pytest.mark.slow
@pytest.mark.parametrize("recording", SETTLED, ids=name)
def test_natural_ranges_equal_the_recorded_cluster(recording: Recording) -> None:
    """Every range of every recorded keyspace has the recorded replicas, in the recorded order."""
    ring = ring_of(recording, joining=recording.read("JoiningNodes") or ())
    places = list(PLACES.values())
    for keyspace, replication in KEYSPACES.items():
        recorded = recording.exec("getRangeToEndpointMap", keyspace)
        if recorded is None:  # not asked in this state
            continue
        rows = place(ring, Replication.parse(replication), places, version_of(recording.read("ReleaseVersion")))
        placed = {ring.range(index): list(row) for index, row in enumerate(rows)}
        if version_of(recording.release) >= (6, 0):  # the same replicas, in no order that the ring explains
            assert unordered(ranges(recorded)) == unordered(placed)
        else:
            assert ranges(recorded) == placed


@pytest.mark.parametrize("recording", MOVING, ids=name)
def test_pending_ranges_equal_the_recorded_cluster(recording: Recording) -> None:
    """A joining or leaving node causes exactly the recorded pending ranges."""
    joining = set(recording.read("JoiningNodes") or ())
    leaving = frozenset(NODES.index(address) for address in recording.read("LeavingNodes") or ())
    whole = recording.read("TokenToEndpointMap")
    coming = tuple(
        (NODES.index(address), tuple(int(token) for token, owner in whole.items() if owner == address))
        for address in sorted(joining)
    )
    assert coming or leaving
    ring, movement = ring_of(recording, joining=joining), Movement(joining=coming, leaving=leaving)
    for keyspace in ("blog_1", "blog_3", "orders"):
        recorded = ranges(recording.exec("getPendingRangeToEndpointMap", keyspace))
        replication = Replication.parse(KEYSPACES[keyspace])
        at = version_of(recording.read("ReleaseVersion"))
        assert recorded
        assert pending(ring, replication, list(PLACES.values()), at, movement) == recorded


def test_recordings_cover_every_release() -> None:
    """The comparisons above have data of all seven releases, and of joining and leaving nodes of three."""
    assert {item.line for item in SETTLED} >= {
        "2.2.19-jolokia1", "3.0.29-jolokia1", "3.11.19-jolokia1", "4.0.17-jolokia1", "4.1.9-jolokia1",
        "4.1.9-jolokia2", "5.0.8-jolokia1", "5.0.8-jolokia2", "6.0-alpha2-jolokia2",
    }  # fmt: skip
    assert len({item.line for item in MOVING}) == 3


def walk(ring: TokenRing, index: int, factors: dict[str, int], places: Sequence[SimPlace], *, last: bool) -> list[int]:
    """Brute force: walk forward from a range, and decide at each node by the state of its datacenter."""
    replicas: list[int] = []
    racks = {dc: {places[node].rack for node in set(ring.owners) if places[node].datacenter == dc} for dc in factors}
    seen: dict[str, list[str]] = {dc: [] for dc in factors}
    skipped: dict[str, list[int]] = {dc: [] for dc in factors}
    for step in range(len(ring.owners)):
        node = ring.owners[(index + step) % len(ring.owners)]
        dc, rack = places[node].datacenter, places[node].rack
        have = [replica for replica in replicas if places[replica].datacenter == dc]
        if len(have) >= factors.get(dc, 0) or node in replicas or node in skipped[dc]:
            continue
        if rack not in seen[dc]:
            seen[dc].append(rack)
            replicas.append(node)
            if last and len(seen[dc]) == len(racks[dc]):
                replicas += skipped[dc][: factors[dc] - len(have) - 1]
        elif last and len(seen[dc]) < len(racks[dc]):
            skipped[dc].append(node)
        elif last or len(have) - len(seen[dc]) < factors[dc] - len(racks[dc]):
            replicas.append(node)
    return replicas


@st.composite
def clusters(draw: st.DrawFn) -> tuple[TokenRing, list[SimPlace], dict[str, int]]:
    count = draw(st.integers(1, 9))
    places = [
        SimPlace(draw(st.sampled_from(["a", "b", "c"])), draw(st.sampled_from(["x", "y", "z"]))) for _ in range(count)
    ]
    vnodes = draw(st.integers(1, 6))
    ring = TokenRing.of(dict(enumerate(random_tokens(count, vnodes, draw(st.integers(0, 99)), -50, 200))))
    return (
        ring,
        places,
        draw(st.dictionaries(st.sampled_from(["a", "b", "c", "nowhere"]), st.integers(0, 6), min_size=1)),
    )


@settings(max_examples=examples(400))
@given(clusters(), st.booleans())
def test_networktopology_equals_a_forward_walk(
    cluster: tuple[TokenRing, list[SimPlace], dict[str, int]],
    last: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """This includes uneven racks, RF above racks and nodes, and several DCs, before and since 3.2."""
    ring, places, factors = cluster
    options = ", ".join(f"{dc}={factor}" for dc, factor in factors.items())
    replication = Replication.parse(f"NetworkTopologyStrategy {{{options}}}")
    rows = place(ring, replication, places, (3, 0, 29) if last else (3, 11, 19))
    assert [list(row) for row in rows] == [walk(ring, i, factors, places, last=last) for i in range(len(ring.tokens))]


@settings(max_examples=examples(200))
@given(clusters(), st.integers(1, 5))
def test_simple_equals_a_forward_walk(cluster: tuple[TokenRing, list[SimPlace], dict[str, int]], factor: int) -> None:
    """SimpleStrategy takes the next distinct nodes, whatever their datacenter."""
    ring, _, _ = cluster
    nowhere = [SimPlace("", str(node)) for node in range(9)]
    rows = place(ring, Replication.parse(f"SimpleStrategy {{replication_factor={factor}}}"), nowhere, (5, 0))
    assert [list(row) for row in rows] == [
        list(dict.fromkeys([*ring.owners[index:], *ring.owners[:index]]))[:factor] for index in range(len(ring.tokens))
    ]


@settings(max_examples=examples(150))
@given(clusters(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_pending_ranges_are_what_nodes_gain(
    cluster: tuple[TokenRing, list[SimPlace], dict[str, int]], draw: random.Random, factor: int
) -> None:
    """For each token, a leaving, joining or moving node makes exactly the replicas pending that the next ring adds."""
    ring, places, _ = cluster
    replication, at = Replication.parse(f"SimpleStrategy {{replication_factor={factor}}}"), (4, 1)
    owned = {node: [token for token, owner in zip(ring.tokens, ring.owners, strict=True) if owner == node]
             for node in range(len(places))}  # fmt: skip
    mover = draw.randrange(len(places))
    kind = draw.choice(["leave", "join", "move"])
    free = [token for token in range(-49, 149) if token not in ring.tokens]
    after, movement, places = dict(owned), Movement(), [*places, SimPlace("a", "x")]
    if kind == "leave" and len(owned) > 1:
        del after[mover]
        movement = Movement(leaving=frozenset({mover}))
    elif kind == "join":
        after[len(owned)] = draw.sample(free, 2)
        movement = Movement(joining=((len(owned), tuple(after[len(owned)])),))
    elif len(owned[mover]) == 1:
        after[mover] = [draw.choice(free)]
        movement = Movement(moving=((mover, after[mover][0]),))
    if not movement:
        return
    then = TokenRing.of(after)
    now_rows, then_rows = (place(tokens, replication, places, at) for tokens in (ring, then))
    gains = pending(ring, replication, places, at, movement)
    for token in range(-50, 150):
        gaining = {node for span, nodes in gains.items() for node in nodes if inside(token, span)}
        added = set(then_rows[then.index(token)]) - set(now_rows[ring.index(token)])
        joined = {node for node in then_rows[then.index(token)] if node >= len(owned)}
        assert gaining == (added if kind != "join" else joined), (kind, token)


def inside(token: int, span: tuple[int, int]) -> bool:
    start, end = span
    return start < token <= end if start < end else token > start or token <= end


def test_even_tokens_share_the_ring_in_turn() -> None:
    """They give twelve equal ranges, which four nodes own in turn: A, B, C, D, and again."""
    ring = TokenRing.of(dict(enumerate(even_tokens(4, 3))))
    assert ring.owners == (0, 1, 2, 3) * 3
    assert len({(end - start) % 2**64 for start, end in map(ring.range, range(12))}) <= 2


def test_random_tokens_repeat_with_their_seed() -> None:
    """The same seed draws the same tokens, and another seed draws others; no token is drawn twice."""
    assert random_tokens(5, 16, 7) == random_tokens(5, 16, 7) != random_tokens(5, 16, 8)
    assert len({token for tokens in random_tokens(5, 16, 7) for token in tokens}) == 80


def test_other_strategies_are_refused() -> None:
    """LocalStrategy places no replicas by token."""
    with pytest.raises(ValueError, match="LocalStrategy places no replicas"):
        place(TokenRing((1,), (0,)), Replication("LocalStrategy"), [SimPlace("a", "x")], (5, 0))
