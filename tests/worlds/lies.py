"""The ways to bend a world: happenings, and lies, which are false reports of its nodes.

Each lie is a function that changes reports, and returns whether that was possible. A lie that changes what a
coordinator believes, such as a stale address, also changes which nodes it reaches: Cassandra acts on what it believes.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from tests.worlds.cluster import AGENT_PORT, GAINERS, Answering, Endpoint, Node, Role
from tests.worlds.happenings import HAPPENINGS, Bend, others, pick, ports, some, unreached
from tests.worlds.world import AUTH_LEVELS, agent_url, new_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.worlds.cluster import Keyspace
    from tests.worlds.world import World


def ghost_on_another_port(world: World, rng: Random) -> bool:
    """Instances that were decommissioned on members' addresses are still listed as unreachable."""
    if not ports(world):
        return False
    members = world.owners
    ghosts = [
        Endpoint(member.endpoint.address, member.endpoint.port + 100)
        for member in rng.sample(members, rng.randint(1, len(members)))
    ]
    observers = [node.number for node in world.nodes if node.role != "left"]
    for number in some(rng, observers) if rng.random() < 0.5 else observers:
        world.views[number].extra_unreachable += [
            ghost for ghost in ghosts if ghost not in world.views[number].extra_unreachable
        ]
    return True


def ghost(world: World, rng: Random) -> bool:
    """A node that was assassinated or has left is still listed as unreachable."""
    endpoint = world.fresh_endpoint(rng)
    observers = [node.number for node in world.nodes if node.role != "left"]
    for number in some(rng, observers) if rng.random() < 0.5 else observers:
        world.views[number].extra_unreachable.append(endpoint)
    return True


def _known_before(world: World, rng: Random, node: Node, observers: Sequence[int]) -> Endpoint:
    """Let observers know a node only by a former address, and not reach it."""
    old = world.fresh_endpoint(rng)
    for number in observers:
        view = world.views[number]
        view.book[node.number] = old
        view.reaches.discard(node.number)
    return old


def stale_address(world: World, rng: Random) -> bool:
    """Some nodes know a node only by its former address, and do not reach it."""
    pair = _known_member(world, rng)
    if pair is None:
        return False
    old = _known_before(world, rng, *pair)
    if rng.random() < 0.2:
        world.contacts.insert(0, agent_url(old.address))
    return True


def old_address_too(world: World, rng: Random) -> bool:
    """Some nodes list a node's former address as unreachable, in addition to the node itself."""
    pair = _known_member(world, rng)
    if pair is None:
        return False
    old = world.fresh_endpoint(rng)
    for number in pair[1]:
        world.views[number].extra_unreachable.append(old)
    return True


def new_address_without_tokens(world: World, rng: Random) -> bool:
    """Some nodes list a node's new address as live, while the ring has its former address, which is unreachable."""
    pair = _known_member(world, rng)
    if pair is None:
        return False
    node, observers = pair
    _known_before(world, rng, node, observers)
    for number in observers:
        world.views[number].extra_live.append(node.endpoint)
    return True


def alias(world: World, rng: Random) -> bool:
    """Some nodes know and reach a node under another of its addresses, at which its agent may answer."""
    pair = _known_member(world, rng)
    if pair is None:
        return False
    node, observers = pair
    other = world.fresh_endpoint(rng)
    for number in observers:
        world.views[number].book[node.number] = other
    if rng.random() < 0.5:
        world.routes[other.address, AGENT_PORT] = node.number
    return True


def _known_member(world: World, rng: Random) -> tuple[Node, list[int]] | None:
    """A member, and some of the other nodes that know it by its true address."""
    members = world.owners
    node = rng.choice(members)
    free = [
        number
        for number in others(world, node.number)
        if node.number not in world.views[number].book and node.number in world.views[number].knows
    ]
    return (node, some(rng, free)) if free else None


def swapped_addresses(world: World, rng: Random) -> bool:
    """Two nodes have swapped addresses, and some nodes have not noticed; they may not reach one of the two."""
    if len(world.owners) < 3:
        return False
    left, right = rng.sample(world.owners, 2)
    pair = {left.number, right.number}
    if left.host_id == right.host_id:
        return False
    free = [
        node.number
        for node in world.owners
        if node.number not in pair
        and not pair.intersection(world.views[node.number].book)
        and pair <= world.views[node.number].knows
        and not pair & world.views[node.number].nameless
    ]
    for number in (chosen := some(rng, free)):
        view = world.views[number]
        view.book |= {left.number: right.endpoint, right.number: left.endpoint}
        view.pinned |= pair
        if rng.random() < 0.6:
            view.reaches.discard(rng.choice(sorted(pair)))
    return bool(chosen)


def in_both_lists(world: World, rng: Random) -> bool:
    """Some nodes list a node both as live and as unreachable; either may be true."""
    node = rng.choice(world.members)
    for number in (chosen := some(rng, others(world, node.number))):
        view = world.views[number]
        view.listed[node.number] = frozenset({"live", "unreachable"})
        if node.running and rng.random() < 0.5:
            view.reaches.add(node.number)
        else:
            view.reaches.discard(node.number)
    return bool(chosen)


def in_neither_list(world: World, rng: Random) -> bool:
    """Some nodes list a member neither as live nor as unreachable: they do not reach it."""
    node = rng.choice(world.members)
    for number in (chosen := some(rng, others(world, node.number))):
        view = world.views[number]
        view.listed[node.number] = frozenset()
        view.reaches.discard(node.number)
    return bool(chosen)


def live_but_down(world: World, rng: Random) -> bool:
    """Some nodes list a node as live that their failure detectors have down: it restarted, and no echo came."""
    node = rng.choice(world.members)
    for number in (chosen := some(rng, others(world, node.number))):
        view = world.views[number]
        view.listed[node.number] = frozenset({"live"})
        view.reaches.discard(node.number)
    return bool(chosen)


def no_host_id(world: World, rng: Random) -> bool:
    """Some or all nodes lack the host ids of members that own tokens."""
    observers = [node.number for node in world.nodes if node.role != "left"]
    chosen = observers if rng.random() < 0.4 else some(rng, observers)
    members = [node.number for node in world.members]
    missing = set(rng.sample(members, rng.randint(1, max(1, len(members) // 2))))
    for number in chosen:
        view = world.views[number]
        view.nameless |= missing - view.pinned
    return True


def knows_some(world: World, rng: Random) -> bool:
    """A node knows only some of the members."""
    node = pick(world, rng)
    if node is None:
        return False
    view = world.views[node.number]
    gone = some(rng, view.knows - {node.number})
    view.knows -= set(gone)
    for number in gone:
        if rng.random() < 0.7:
            world.views[number].reaches.discard(node.number)
    return bool(gone)


def knows_nobody(world: World, rng: Random) -> bool:
    """A node knows only itself and serves clients; the others see it down, or do not know it."""
    node = pick(world, rng)
    if node is None:
        return False
    world.views[node.number].knows = {node.number}
    unreached(world, node.number)
    return True


def stale_movement(world: World, rng: Random) -> bool:
    """Some nodes believe that a member joins or leaves, or that a joining or leaving node is a settled member."""
    node = rng.choice(world.members)
    wrong: tuple[Role, ...] = ("leaver", "joiner") if node.role == "member" else ("member",)
    if node.role in GAINERS or len(world.owners) < 2:
        return False
    for number in (chosen := some(rng, others(world, node.number))):
        world.views[number].roles[node.number] = rng.choice(wrong)
    return bool(chosen)


def silent_agent(world: World, rng: Random) -> bool:
    """An agent does not answer, or not in time."""
    return _agent_fails(world, rng, ("silent", "late"))


def refusing_agent(world: World, rng: Random) -> bool:
    """An agent refuses, or another server answers in its place."""
    return _agent_fails(world, rng, ("refuses", "broken"))


def _agent_fails(world: World, rng: Random, ways: tuple[Answering, ...]) -> bool:
    nodes = [node.number for node in world.nodes if node.running and node.agent == "answers"]
    if not nodes:
        return False
    for number in rng.sample(nodes, min(len(nodes), rng.choice((1, 1, 1, 2, 3)))):
        world.nodes[number].agent = rng.choice(ways)
    return True


def forbidden_attribute(world: World, rng: Random) -> bool:
    """An agent's access policy denies something that ringcheck reads."""
    node = rng.choice(world.owners)
    words = ("HostId", "TokenToEndpoint", "RangeToEndpoint", "Unreachable", "getDatacenter", "Joining", "Replication")
    node.forbids = (*node.forbids, rng.choice(words))
    return True


def misrouted_agent(world: World, rng: Random) -> bool:
    """At a node's address the agent of another node answers, so two addresses have one host id."""
    running = [node for node in world.owners if node.running]
    if len(running) < 2:
        return False
    behind, front = rng.sample(running, 2)
    world.routes[front.endpoint.address, front.agent_port] = behind.number
    return True


def one_host_id_twice(world: World, rng: Random) -> bool:
    """Two nodes have the same host id, as after cloning a disk; each peer knows one of them by it.

    They keep it at all times, because a process reads its host id from the disk only when it starts.
    """
    if len(world.owners) < 2:
        return False
    left, right = rng.sample(world.owners, 2)
    pair = {left.number, right.number}
    times = _times(world)
    if any(pair & view.pinned for time in times for view in time.views.values()):
        return False
    lacking = {number: pair - {number} if number in pair else {rng.choice(sorted(pair))} for number in world.views}
    for time in times:
        for node in time.nodes:
            node.host_id = left.host_id if node.number == right.number else node.host_id
        for number, view in time.views.items():
            view.nameless |= lacking[number]
    return True


def broken_ring(world: World, rng: Random) -> bool:
    """A node's range maps are truncated."""
    world.views[rng.choice(world.owners).number].broken_ring = True
    return True


def schema_disagreement(world: World, rng: Random) -> bool:
    """A node has another schema version than the other nodes of its release."""
    node = rng.choice(world.owners)
    node.schema = str(UUID(int=rng.getrandbits(128), version=4))
    return True


def other_replication(world: World, rng: Random) -> bool:
    """An ALTER or a CREATE KEYSPACE has reached only the nodes of one release, or only some nodes of a release.

    A change may not cross releases, so in a mixed cluster it stays so. Each coordinator uses the replication that it
    knows itself.
    """
    if world.own_keyspaces:
        return False
    releases = sorted({node.release for node in world.nodes})
    numbers = [node.number for node in world.nodes]
    release = rng.choice(releases)
    chosen = (
        some(rng, numbers) if len(releases) == 1 else [one for one in numbers if world.nodes[one].release == release]
    )
    own = [keyspace for keyspace in world.keyspaces if not keyspace.name.startswith("system")]
    if rng.random() < 0.3:
        fresh = replace(rng.choice(own), name="fresh")
        keyspaces = [*world.keyspaces, replace(fresh, factors=_other_factors(rng, fresh))]
    else:
        altered = rng.choice(own)
        changed = replace(altered, factors=_other_factors(rng, altered))
        keyspaces = [changed if keyspace is altered else keyspace for keyspace in world.keyspaces]
    version = str(UUID(int=rng.getrandbits(128), version=4))
    world.own_keyspaces[version] = keyspaces
    for number in chosen:
        world.nodes[number].schema = version
    return True


def other_tokens(world: World, rng: Random) -> bool:
    """Some nodes have missed that an owner moved, so that they know its old tokens."""
    if len(world.owners) == 1:
        return False
    owner = rng.choice(world.owners)
    old = new_tokens(rng, len(owner.tokens))
    others = [node.number for node in world.nodes if node is not owner]
    for number in some(rng, others):
        world.own_tokens.setdefault(number, {})[owner.number] = old
    return True


def _other_factors(rng: Random, keyspace: Keyspace) -> tuple[tuple[str, int], ...]:
    """Other replication factors than those of a keyspace."""
    name, factor = rng.choice(keyspace.factors)
    other = rng.choice([number for number in (1, 1, 2, 3) if number != factor])
    return tuple((key, other if key == name else value) for key, value in keyspace.factors)


def _times(world: World) -> list[World]:
    """The world before and after its change."""
    return [world, world.before] if world.before else [world]


def _configure(world: World, part: str, values: object) -> bool:
    """Add to a set or map of what nodes are configured with, at all times: a process keeps its configuration."""
    for time in _times(world):
        getattr(time, part).update(values)
    return True


def other_auth_level(world: World, rng: Random) -> bool:
    """Some nodes read system_auth at another level than the others."""
    if not world.authenticates:
        return False
    chosen = some(rng, [node.number for node in world.nodes])
    return _configure(world, "auth_levels", dict.fromkeys(chosen, rng.choice(AUTH_LEVELS)))


def no_auth_level(world: World, rng: Random) -> bool:
    """Some nodes were restarted, read system_auth at the default level again, and don't report it before a login."""
    if not world.authenticates:
        return False
    return _configure(world, "quiet_nodes", some(rng, [node.number for node in world.nodes]))


def no_authenticator(world: World, rng: Random) -> bool:
    """Clients of some nodes need not log in: an authenticator is being introduced, one node after the other."""
    if not world.authenticates:
        return False
    return _configure(world, "open_nodes", some(rng, [node.number for node in world.nodes]))


def other_location(world: World, rng: Random) -> bool:
    """A node's own file places it in another datacenter than the files of the other nodes do."""
    node = rng.choice(world.members)
    elsewhere = sorted({other.datacenter for other in world.nodes} - {node.datacenter})
    if not elsewhere:
        return False
    return _configure(world, "own_datacenters", {node.number: rng.choice(elsewhere)})


def streaming(world: World, rng: Random) -> bool:
    """A node streams."""
    rng.choice(world.owners).streams = 1
    return True


def lease(world: World, rng: Random) -> bool:
    """A node is under a restart lease, and is already down or not yet."""
    node = rng.choice(world.owners)
    if node.number in world.holders:
        return False
    world.holders.append(node.number)
    return True


def change(world: World, rng: Random) -> bool:
    """The bends after this one happen during the poll, or between an earlier poll and this one."""
    if world.before is not None:
        return False
    world.before = world.copied()
    world.change = rng.choice(("during", "between"))
    world.patience = {number: rng.randint(0, 4) for number in range(len(world.nodes) + 5)}
    return True


LIES: tuple[Bend, ...] = (
    ghost_on_another_port,
    ghost,
    stale_address,
    old_address_too,
    new_address_without_tokens,
    alias,
    swapped_addresses,
    in_both_lists,
    in_neither_list,
    live_but_down,
    no_host_id,
    knows_some,
    knows_nobody,
    stale_movement,
    silent_agent,
    refusing_agent,
    forbidden_attribute,
    misrouted_agent,
    one_host_id_twice,
    broken_ring,
    schema_disagreement,
    other_replication,
    other_tokens,
    other_auth_level,
    no_auth_level,
    no_authenticator,
    other_location,
    streaming,
    lease,
    change,
)
BENDS: dict[str, Bend] = {bend.__name__: bend for bend in (*HAPPENINGS, *LIES)}

NEUTRAL = frozenset({"change"})  # sets when the others happen
PLAIN = frozenset({"node_down", "rack_down"})  # an outage on which all nodes agree
GHOSTS = frozenset({"ghost", "ghost_on_another_port", "old_address_too", "decommissioned"})  # no members: no warning
NAMED = frozenset({"coordinator_only", "no_host_id", "broken_ring"})  # causes at most a warning

_HOW_MANY = (0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5)


def drawn(rng: Random) -> list[str]:
    """Names of random bends; lies are more likely than happenings."""
    chosen = [rng.choice(LIES if rng.random() < 0.6 else HAPPENINGS).__name__ for _ in range(rng.choice(_HOW_MANY))]
    if "finished_movement" in chosen:
        return [rng.choice(("joiner", "leaver", "replacement", "removenode")), "change", "finished_movement", *chosen]
    return chosen


def bend(world: World, names: Sequence[str]) -> None:
    """Bend a world; each bend has its own random generator, so that leaving one out hardly changes the others."""
    for index, name in enumerate(names):
        nth = names[:index].count(name)
        if BENDS[name](world, Random(f"{world.seed} {name} {nth}")):  # noqa: S311 - worlds are to be made again
            world.lies.append(name)
