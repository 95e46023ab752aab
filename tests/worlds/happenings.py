"""Events in a world: nodes stop, start and are cut off; members join and leave.

Each function changes the truth of a world, and returns whether that was possible. The nodes' answers follow from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from tests.worlds.cluster import GAINERS, Node, View
from tests.worlds.world import agent_url, new_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from tests.worlds.world import World

Bend: TypeAlias = "Callable[[World, Random], bool]"


def some(rng: Random, items: Iterable[int], *, least: int = 1) -> list[int]:
    """A random subset in random order; all sizes from `least` up to all are equally likely."""
    pool = sorted(items)
    rng.shuffle(pool)
    return pool[: rng.randint(min(least, len(pool)), len(pool))] if pool else []


def others(world: World, number: int) -> list[int]:
    return [node.number for node in world.nodes if node.number != number and node.role != "left"]


def _running_members(world: World) -> list[Node]:
    return [node for node in world.owners if node.running and node.mode == "NORMAL"]


def pick(world: World, rng: Random) -> Node | None:
    """A healthy member; None if it is the last one."""
    members = _running_members(world)
    return rng.choice(members) if len(members) > 1 else None


def unreached(world: World, number: int, observers: Iterable[int] | None = None) -> None:
    """Let the failure detectors of other nodes convict a node."""
    for observer in others(world, number) if observers is None else observers:
        world.views[observer].reaches.discard(number)


def _add(world: World, rng: Random, node: Node) -> None:
    """Add a node that knows all others, and that all others know and reach."""
    present = {other.number for other in world.nodes if other.role != "left"}
    world.nodes.append(node)
    running = {number for number in present if world.nodes[number].running}
    world.views[node.number] = View(present | {node.number}, running | {node.number})
    for number in present:
        view = world.views[number]
        view.knows.add(node.number)
        view.reaches.add(node.number)
    if rng.random() < 0.4:
        index = rng.randint(0, len(world.contacts))
        world.contacts.insert(index, agent_url(node.endpoint.address, node.agent_port))


def _new_node(world: World, rng: Random) -> Node:
    twin = rng.choice(world.nodes)
    return Node(
        number=len(world.nodes),
        host_id=str(UUID(int=rng.getrandbits(128), version=4)),
        endpoint=world.fresh_endpoint(rng),
        datacenter=twin.datacenter,
        rack=twin.rack,
        tokens=new_tokens(rng, len(twin.tokens) or 1),
        release=twin.release,
        schema=twin.schema,
    )


def ports(world: World) -> bool:
    """Whether all releases have endpoints with ports."""
    return all(not node.release.startswith("3.") for node in world.nodes)


def node_down(world: World, rng: Random) -> bool:
    """A process has ended, and all other nodes have noticed."""
    node = pick(world, rng)
    if node is None:
        return False
    node.running = False
    unreached(world, node.number)
    return True


def rack_down(world: World, rng: Random) -> bool:
    """All processes of a rack have ended, and all other nodes have noticed."""
    node = pick(world, rng)
    if node is None:
        return False
    rack = [other for other in world.owners if (other.datacenter, other.rack) == (node.datacenter, node.rack)]
    if len(rack) >= len(world.owners):
        return False
    for other in rack:
        other.running = False
        unreached(world, other.number)
    return True


def not_convicted_yet(world: World, rng: Random) -> bool:
    """A process has ended, and some or all other nodes have not noticed."""
    node = pick(world, rng)
    if node is None:
        return False
    node.running = False
    unreached(world, node.number, some(rng, others(world, node.number), least=0))
    return True


def drained(world: World, rng: Random) -> bool:
    """A node was drained: its lists are frozen with all nodes live."""
    node = pick(world, rng)
    if node is None:
        return False
    node.mode, node.gossip, node.native = "DRAINED", False, False
    late = rng.random() < 0.2
    unreached(world, node.number, some(rng, others(world, node.number)) if late else None)
    return True


def starting(world: World, rng: Random) -> bool:
    """A node is starting: it sees few nodes yet, and its peers may see it already."""
    node = pick(world, rng)
    if node is None:
        return False
    node.mode, node.native, node.gossip = rng.choice(("STARTING", "NORMAL")), False, rng.random() < 0.8
    view = world.views[node.number]
    view.reaches = {node.number, *some(rng, view.reaches, least=0)} if rng.random() < 0.3 else {node.number}
    if rng.random() < 0.5:
        view.listed = {number: frozenset() for number in view.knows - view.reaches}
    unreached(world, node.number, some(rng, others(world, node.number), least=0))
    return True


def gossip_off(world: World, rng: Random) -> bool:
    """Gossip was stopped: the node still serves, with frozen lists."""
    node = pick(world, rng)
    if node is None:
        return False
    node.gossip = False
    flapping = rng.random() < 0.25
    unreached(world, node.number, some(rng, others(world, node.number)) if flapping else None)
    return True


def native_off(world: World, rng: Random) -> bool:
    """Native transport was stopped: the node is a replica like any other, but has no clients."""
    node = pick(world, rng)
    if node is None:
        return False
    node.native = False
    return True


def frozen_view(world: World, rng: Random) -> bool:
    """A node reports that gossip runs, but it is dead: its peers see the node down, while it sees all nodes live."""
    node = pick(world, rng)
    if node is None:
        return False
    view = world.views[node.number]
    view.reaches = set(view.knows)
    unreached(world, node.number)
    if rng.random() < 0.5 and (dead := pick(world, rng)) and dead is not node:
        dead.running = False
        unreached(world, dead.number, [number for number in others(world, dead.number) if number != node.number])
    return True


def one_way(world: World, rng: Random) -> bool:
    """Some nodes do not reach some others."""
    numbers = [node.number for node in _running_members(world)]
    if len(numbers) < 2:
        return False
    for _ in range(rng.randint(1, 3)):
        observer, other = rng.sample(numbers, 2)
        world.views[observer].reaches.discard(other)
    return True


def partition(world: World, rng: Random) -> bool:
    """Two groups of nodes, or the datacenters, do not reach each other."""
    numbers = [node.number for node in world.nodes if node.role != "left"]
    datacenters = sorted({node.datacenter for node in world.nodes})
    if len(datacenters) > 1 and rng.random() < 0.6:
        lost = rng.choice(datacenters)
        away = {number for number in numbers if world.nodes[number].datacenter == lost}
    else:
        away = set(some(rng, numbers))
    if not away or len(away) == len(numbers):
        return False
    for number in numbers:
        view = world.views[number]
        view.reaches = view.reaches & away if number in away else view.reaches - away
    return True


def joiner(world: World, rng: Random) -> bool:
    """A node joins."""
    node = _new_node(world, rng)
    node.role, node.mode, node.native = "joiner", "JOINING", False
    _add(world, rng, node)
    if rng.random() < 0.25:
        for number in some(rng, others(world, node.number)):
            world.views[number].knows.discard(node.number)  # gossip has not arrived there yet
    return True


def dead_joiner(world: World, rng: Random) -> bool:
    """A joining node has ended: others list it as joining, but neither as live nor as unreachable."""
    node = _new_node(world, rng)
    node.role, node.mode, node.native, node.running = "joiner", "JOINING", False, False
    _add(world, rng, node)
    for observer in others(world, node.number):
        view = world.views[observer]
        view.reaches.discard(node.number)
        if rng.random() < 0.8:
            view.listed[node.number] = frozenset()
    return True


def leaver(world: World, rng: Random) -> bool:
    """A node is being decommissioned."""
    node = pick(world, rng)
    if node is None or any(other.role in {"leaver", "removed"} for other in world.nodes):
        return False
    node.role, node.mode = "leaver", "LEAVING"
    return True


def removenode(world: World, rng: Random) -> bool:
    """`nodetool removenode` of a dead node is in progress."""
    node = pick(world, rng)
    if node is None or any(other.role in {"leaver", "removed"} for other in world.nodes):
        return False
    node.role, node.running = "removed", False
    unreached(world, node.number)
    return True


def replacement(world: World, rng: Random) -> bool:
    """A new node takes over the tokens of a dead one."""
    dead = pick(world, rng)
    if dead is None or any(other.role in GAINERS for other in world.nodes):
        return False
    dead.running = False
    unreached(world, dead.number)
    node = _new_node(world, rng)
    node.role, node.mode, node.native = "replacement", "JOINING", False
    node.datacenter, node.rack, node.tokens, node.replaces = dead.datacenter, dead.rack, dead.tokens, dead.number
    node.release, node.schema = dead.release, dead.schema
    _add(world, rng, node)
    return True


def finished_movement(world: World, rng: Random) -> bool:
    """Joining nodes have joined and leaving nodes have left, compared with an earlier time of the world."""
    del rng
    movers = [node for node in world.nodes if node.role in {"joiner", "replacement", "leaver", "removed"}]
    if not movers or world.before is None:
        return False
    for node in movers:
        _finish(world, node)
    return True


def _finish(world: World, node: Node) -> None:
    if node.role in GAINERS:
        if not node.running:
            return
        node.role, node.mode, node.native = "member", "NORMAL", True
        if node.replaces is not None:
            _gone(world, world.nodes[node.replaces])
        return
    node.mode, node.gossip, node.native = "DECOMMISSIONED", False, False
    _gone(world, node)


def _gone(world: World, node: Node) -> None:
    node.role, node.tokens = "left", ()
    for number, view in world.views.items():
        if number != node.number:
            view.knows.discard(node.number)
            view.reaches.discard(node.number)


def decommissioned(world: World, rng: Random) -> bool:
    """A node that has left still answers, with all nodes live in its lists; some nodes list it as unreachable."""
    node = _new_node(world, rng)
    node.role, node.tokens = "left", ()
    node.mode, node.gossip, node.native = "DECOMMISSIONED", False, False
    _add(world, rng, node)
    _gone(world, node)
    for number in some(rng, others(world, node.number), least=0):
        world.views[number].extra_unreachable.append(node.endpoint)
    if rng.random() < 0.5:
        url = agent_url(node.endpoint.address)
        world.contacts = [url, *(contact for contact in world.contacts if contact != url)]
    return True


def coordinator_only(world: World, rng: Random) -> bool:
    """A node without tokens coordinates requests, as Stargate does, or a node with `join_ring=false`."""
    node = _new_node(world, rng)
    node.role, node.tokens, node.mode = "coordinator", (), rng.choice(("NORMAL", "STARTING"))
    node.agent = rng.choice(("answers", "silent"))
    _add(world, rng, node)
    return True


HAPPENINGS: tuple[Bend, ...] = (
    node_down,
    rack_down,
    not_convicted_yet,
    drained,
    starting,
    gossip_off,
    native_off,
    frozen_view,
    one_way,
    partition,
    joiner,
    dead_joiner,
    leaver,
    removenode,
    replacement,
    finished_movement,
    decommissioned,
    coordinator_only,
)
