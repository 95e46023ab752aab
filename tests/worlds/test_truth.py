"""The truth of worlds is that of Cassandra: rings as recorded, levels as coordinators decide, not changed by lies."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.recordings import Recording, recordings
from tests.worlds.asking import judge
from tests.worlds.check import checked, made
from tests.worlds.cluster import AGENT_PORT, Endpoint, Keyspace, Node, Piece, Ring, Role, Span
from tests.worlds.lies import BENDS
from tests.worlds.oracle import OPERATIONS, Oracle, Query, served
from tests.worlds.world import agent_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

HERE = Path(__file__).parent
ENTRY_POINTS = {
    "ringcheck.core.actions",  # for names of actions
    "ringcheck.core.assess",
    "ringcheck.core.consistency",  # for names of levels
    "ringcheck.core.gate",
    "ringcheck.core.maintenance",
    "ringcheck.core.policy",
    "ringcheck.core.ring",
    "ringcheck.core.verdict",
    "ringcheck.errors",
    "ringcheck.jolokia",
    "ringcheck.http.threads",
    "ringcheck.jolokia.asking",
    "ringcheck.jolokia.client",
    "ringcheck.jolokia.settings",
    "ringcheck.jolokia.source",
    "ringcheck.core.source",
    "ringcheck.http.replies",
}
ASKING = {
    "asking.py",
    "client.py",
    "check.py",
    "soak.py",
    "test_worlds.py",
}  # the only files that may import ringcheck

PLACES = {"127.0.1.1": "r1", "127.0.1.2": "r2", "127.0.1.3": "r3", "127.0.1.4": "r1", "127.0.1.5": "r1"}
STATES = ("healthy", "joining", "leaving")


def imports(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    return {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_the_oracle_is_independent(path: Path) -> None:
    """Truth, lies and answers import nothing of ringcheck, and the other files import only its entry points."""
    used = {name for name in imports(path) if name.startswith("ringcheck")}
    if path.name == "test_worlds.py":  # replaces right rules by wrong ones
        used -= {"ringcheck.core", "ringcheck.core.endpoint", "ringcheck.core.evidence", "ringcheck.core.membership"}
    assert used <= (ENTRY_POINTS if path.name in ASKING else set())


def cases() -> Iterator[Recording]:
    for recording in recordings():
        old = recording.release.startswith(("2.", "3.0"))  # these do not report the replication
        if recording.state in STATES and recording.address == "127.0.1.1" and not old:
            yield recording


def nodes_of(recording: Recording) -> dict[str, Node]:
    owned: dict[str, list[int]] = {}
    for token, address in recording.read("TokenToEndpointMap").items():
        owned.setdefault(address, []).append(int(token))
    joining, leaving = recording.read("JoiningNodes") or (), recording.read("LeavingNodes") or ()
    return {
        address: Node(
            number=number,
            host_id="",
            endpoint=Endpoint(address),
            datacenter="dc2" if address == "127.0.1.4" else "dc1",
            rack=PLACES[address],
            tokens=tuple(tokens),
            release=recording.release,
            role=role(address, joining, leaving),
        )
        for number, (address, tokens) in enumerate(owned.items())
    }


def role(address: str, joining: Collection[str], leaving: Collection[str]) -> Role:
    return "joiner" if address in joining else "leaver" if address in leaving else "member"


def keyspaces_of(recording: Recording) -> Iterator[Keyspace]:
    """Keyspaces whose ring was recorded in a state; their replication comes from a healthy node that reports it."""
    names = {
        name
        for item in recording.items()
        if isinstance(item.request, dict) and item.request.get("operation") == "getRangeToEndpointMap"
        for name in item.request["arguments"]
        if isinstance(name, str)
    }
    healthy = [other for other in recordings() if other.state == "healthy" and other.line == recording.line]
    for name in sorted(names):
        text = next((text for other in healthy if (text := other.exec("getKeyspaceReplicationInfo", name))), None)
        if text and text.startswith(("SimpleStrategy", "NetworkTopologyStrategy")):
            strategy, _, options = text.rstrip("}").partition(" {")
            pairs = (option.split("=") for option in options.split(", "))
            yield Keyspace(name, strategy, tuple((key, int(value)) for key, value in pairs))


def spans_of(value: dict[str, list[str]], nodes: dict[str, Node]) -> set[tuple[int, int, frozenset[int]]]:
    return {
        (*map(int, key.strip("[]").split(", ")), frozenset(nodes[address].number for address in addresses))  # type: ignore[misc]
        for key, addresses in value.items()
    }


def merged(spans: list[Span]) -> set[tuple[int, int, frozenset[int]]]:
    ranges = {(span.start, span.end) for span in spans}
    return {
        (*edges, frozenset(number for span in spans if span[:2] == edges for number in span.nodes)) for edges in ranges
    }


@pytest.mark.parametrize("recording", list(cases()), ids=lambda item: f"{item.line}-{item.state}")
def test_rings_are_those_of_real_clusters(recording: Recording) -> None:
    """Natural and pending ranges of each recorded keyspace match: healthy, with a joining and with a leaving node."""
    nodes = nodes_of(recording)
    ring = Ring(nodes.values())
    compared = 0
    for keyspace in keyspaces_of(recording):
        natural = recording.exec("getRangeToEndpointMap", keyspace.name)
        if natural:
            assert merged(ring.natural(keyspace)) == spans_of(natural, nodes)
        pending = recording.exec("getPendingRangeToEndpointMap", keyspace.name)
        if pending and not recording.release.startswith("6."):  # 6.0 cuts pending ranges at the smallest token too
            assert merged(ring.pending(keyspace)) == spans_of(pending, nodes)
        compared += bool(natural) + bool(pending)
    assert compared


NTS = Keyspace("ks", "NetworkTopologyStrategy", (("dc1", 3), ("dc2", 2)))
SIMPLE = Keyspace("ks", "SimpleStrategy", (("replication_factor", 3),))
DATACENTERS = ["dc1", "dc1", "dc1", "dc2", "dc2", "dc1"]
WHOLE = (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("level", "datacenter", "up", "keyspace", "expected"),
    [
        ("LOCAL_ONE", "dc2", {3}, NTS, True),
        ("LOCAL_ONE", "dc2", {0, 1, 2}, NTS, False),
        ("ONE", "dc2", {0}, NTS, True),
        ("LOCAL_QUORUM", "dc1", {0, 1}, NTS, True),
        ("LOCAL_QUORUM", "dc1", {0, 3, 4}, NTS, False),
        ("QUORUM", "dc1", {0, 3, 4}, NTS, True),
        ("QUORUM", "dc1", {0, 1}, NTS, False),
        ("EACH_QUORUM", "dc1", {0, 1, 3, 4}, NTS, True),
        ("EACH_QUORUM", "dc1", {0, 1, 2, 3}, NTS, False),
        ("LOCAL_ALL", "dc2", {3, 4}, NTS, True),
        ("LOCAL_ALL", "dc2", {0, 1, 2, 3}, NTS, False),
        ("ALL", "dc2", {0, 1, 2, 3}, NTS, False),
        ("TWO", "dc1", {2, 3}, NTS, True),
        ("LOCAL_QUORUM", "dc2", {0, 1, 2, 3}, SIMPLE, False),  # the quorum of all replicas, within one datacenter
    ],
)
def test_levels(level: str, datacenter: str, up: set[int], keyspace: Keyspace, *, expected: bool) -> None:
    """Each level is tested with and without enough replicas, for reads and for writes."""
    for operation in OPERATIONS:
        query = Query(operation, keyspace, level, datacenter)
        assert served(query, Piece(WHOLE, frozenset()), DATACENTERS, frozenset(up)) is expected


def test_writes_wait_for_pending_replicas() -> None:
    """A dead joining node makes writes at a quorum without a spare replica fail, but no reads."""
    piece = Piece(WHOLE, frozenset({5}))
    for up, expected in (({0, 1}, False), ({0, 1, 2}, True), ({0, 1, 5}, True)):
        assert served(Query("write", NTS, "LOCAL_QUORUM", "dc1"), piece, DATACENTERS, frozenset(up)) is expected
        assert served(Query("read", NTS, "LOCAL_QUORUM", "dc1"), piece, DATACENTERS, frozenset(up))


SAID_ONLY = (
    "ghost ghost_on_another_port old_address_too alias no_host_id silent_agent refusing_agent forbidden_attribute "
    "misrouted_agent one_host_id_twice broken_ring schema_disagreement streaming lease decommissioned"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID_ONLY.split())
def test_lies_leave_the_truth_alone(name: str) -> None:
    """A lie changes neither the ring nor the nodes that each coordinator reaches."""
    bent = 0
    for seed in range(40):
        before, after = made(seed, []), made(seed, [name])
        bent += bool(after.lies)
        for node in before.nodes:
            assert before.reached(node.number) == after.reached(node.number)
        assert all(before.ring().pieces(item) == after.ring().pieces(item) for item in before.keyspaces)
    assert bent > 5


SHOWN = (
    "nodes",
    "views",
    "routes",
    "holders",
    "auth_levels",
    "quiet_nodes",
    "open_nodes",
    "own_datacenters",
    "own_keyspaces",
    "own_tokens",
)


@pytest.mark.parametrize("name", sorted(BENDS.keys() - {"change", "finished_movement"}))
def test_each_bend_shows(name: str) -> None:
    """Every lie and happening has an effect: some answer, or the question to the gate, differs from before."""
    for seed in range(60):
        bent, plain = made(seed, [name]), made(seed, [])
        if bent.lies and any(getattr(bent, part) != getattr(plain, part) for part in SHOWN):
            return
    pytest.fail(f"{name} changes nothing")


def test_a_process_keeps_its_host_id() -> None:
    """Two nodes that share a host id have it before a change too: no process changes its host id while it runs."""
    for seed in range(40):
        world = made(seed, ["change", "one_host_id_twice"])
        assert world.before
        assert [node.host_id for node in world.before.nodes] == [node.host_id for node in world.nodes]


def test_a_node_that_nobody_who_answers_knows_is_in_no_ring() -> None:
    """If only its own silent process knows a joining node, nobody can report what the node costs."""
    world = made(1, ["joiner"])
    joining = world.nodes[-1]
    assert any(
        joining.number in piece.pending for item in world.keyspaces for piece in Oracle(world).whole.pieces(item)
    )
    joining.agent = "silent"
    for number, view in world.views.items():
        view.knows -= {joining.number} - {number}
    assert not any(piece.pending for item in world.keyspaces for piece in Oracle(world).whole.pieces(item))


def test_a_node_is_asked_where_it_was_met() -> None:
    """At the usual port of a contact point's address another agent answers, of which its node need not know."""
    seed = next(seed for seed in range(500) if made(seed, []).nodes[1].agent_port != AGENT_PORT)
    world = made(seed, [])
    first, second = world.nodes[:2]
    assert first.endpoint.address == second.endpoint.address
    world.contacts = [agent_url(second.endpoint.address, second.agent_port)]
    assert set(Oracle(world).answering) >= {first.number, second.number}
    world.views[second.number].knows = {second.number}
    assert Oracle(world).answering == [second.number]


def test_in_the_middle_of_a_change_the_severity_of_any_time_is_right() -> None:
    """Views from before and after the change contradict each other, so it is not known that a stop costs nothing.

    In these worlds a process ends between two answers to one poll.
    """
    for seed in (1001030, 711984):
        assert checked(made(seed, ["change", "node_down"]), ()).failures == []


@pytest.mark.slow
def test_a_seed_is_a_world() -> None:
    """The same seed makes the same world and the same result, so that a failure can be replayed."""
    for seed in range(15):
        world, again = made(seed), made(seed)
        assert (world.nodes, world.views, world.lies, world.contacts) == (
            again.nodes,
            again.views,
            again.lies,
            again.contacts,
        )
        assert judge(world).parts() == judge(again).parts()
        assert checked(world, ()).failures == checked(again, ()).failures
