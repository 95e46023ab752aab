"""Runs ringcheck on a world, in process: polls it, assesses it, and asks the gate.

It owns the calls of ringcheck's entry points, and knows nothing about how ringcheck decides.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, cast

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.maintenance import Holder, Maintenance
from ringcheck.core.policy import DEFAULT, Policy, Rule, Threshold
from ringcheck.errors import RingcheckError
from ringcheck.http.threads import WorkerThreads
from ringcheck.jolokia.asking import ByThreads
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.worlds.client import InProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict
    from ringcheck.jolokia.client import Client
    from tests.worlds.world import World

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
INTERVAL = 15.0  # seconds between two polls of an agent
DEADLINE = 30.0  # seconds of a poll; nothing in a world waits
STEP = 0.0005  # seconds between the answers of two nodes, if their order is to differ


@dataclass(frozen=True)
class Order:
    """An order for everything that has none of its own: contact points, nodes, entries of maps, answers.

    Attributes:
        number: of the order; 0 is the order of creation.
        threads: whether nodes answer in different threads, each after its own time.
    """

    number: int = 0
    threads: bool = False

    def __str__(self) -> str:
        return f"order {self.number}{' with threads' if self.threads else ''}"

    def random(self, salt: int = 0) -> Random | None:
        """A random generator that shuffles; None for the order of creation."""
        return Random(self.number * 1000 + salt) if self.number else None  # noqa: S311 - an order


FIRST = Order()


@dataclass
class Judgement:
    """The answers of ringcheck about a world.

    Attributes:
        snapshot: None if an error was raised, which counts as UNKNOWN; `error` has its text.
        maintained: the verdict with restart leases; None without any.
        decisions: of the gate, by the name of each node of the snapshot, alone.
        safe: the result of `safe_nodes`.
    """

    snapshot: Snapshot | None = None
    verdict: Verdict | None = None
    maintained: Verdict | None = None
    keeper: Gatekeeper | None = None
    decisions: dict[str, str] = field(default_factory=dict)
    safe: frozenset[str] = frozenset()
    error: str = ""

    def parts(self) -> dict[str, object]:
        """The part that must not depend on the order."""
        if self.verdict is None:
            return {"severity": None}
        return {
            "severity": self.verdict.severity.name,
            "findings": sorted((finding.code, finding.severity.name) for finding in self.verdict.findings),
            "decisions": sorted(self.decisions.items()),
            "safe_nodes": sorted(self.safe),
        }


def judge(world: World, order: Order = FIRST) -> Judgement:
    """The answers of ringcheck about a world, in a given order."""
    try:
        return _judged(world, polled(world, order))
    except RingcheckError as error:
        return Judgement(error=f"{type(error).__name__}: {error}")


def _judged(world: World, snapshot: Snapshot) -> Judgement:
    policy = policy_of(world)
    keeper = Gatekeeper(snapshot, policy, gate_of(world), _holders(world, snapshot))
    return Judgement(
        snapshot=snapshot,
        verdict=assess(snapshot, policy),
        maintained=assess(snapshot, policy, None, Maintenance(holders=tuple(_holders(world, snapshot))))
        if world.holders
        else None,
        keeper=keeper,
        decisions={node.address: keeper.decide([node.address]).decision for node in snapshot.nodes},
        safe=keeper.safe_nodes(),
    )


def polled(world: World, order: Order = FIRST) -> Snapshot:
    """The snapshot of a poll; if the world changes between two polls, the snapshot of the second.

    Raises:
        RingcheckError: if ringcheck could not make one.
    """
    seconds = [1000.0]
    settings = JolokiaSettings(contact_points=tuple(_mixed(world.contacts, order)))
    client = InProcess(world, settings, order.random, _pause(world, order))
    collector = JolokiaSource(
        settings,
        asking=_asking(client, threads=order.threads),
        clock=lambda: seconds[0],
        now=lambda: NOW + timedelta(seconds=seconds[0]),
    )
    try:
        if world.change == "between" and world.before:
            _poll_before(collector, client, world.before)
            client.world = world
            seconds[0] += INTERVAL
        return collector.poll(DEADLINE, streams=world.seed % 2 == 0)
    finally:
        collector.close()


def _poll_before(collector: JolokiaSource, client: InProcess, before: World) -> None:
    client.world = before
    with suppress(RingcheckError):
        collector.poll(DEADLINE)


def _mixed(contacts: list[str], order: Order) -> list[str]:
    mixed = list(contacts)
    if shuffle := order.random():
        shuffle.shuffle(mixed)
    return mixed


def _pause(world: World, order: Order) -> Callable[[int], None] | None:
    """A function that delays each node, so that nodes answer one after another in a given order."""
    if not order.threads:
        return None
    ranks = list(range(len(world.nodes)))
    if shuffle := order.random():
        shuffle.shuffle(ranks)
    return lambda number: time.sleep(STEP * ranks[number])


class AtOnce:
    """Replaces the collector's threads: runs each job as soon as it is submitted."""

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Run a job now; the future has its result or exception."""
        future: Future[Any] = Future()
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Do nothing: no job is running."""


class Unpausing(ByThreads):
    """Asks without pauses: nothing changes in a world while time passes."""

    async def pause(self, seconds: float) -> None:
        """Return at once."""


def _asking(client: InProcess, *, threads: bool) -> ByThreads:
    """The object that asks the agents of a world, with threads or one after another."""
    return Unpausing(cast("Client", client), WorkerThreads() if threads else cast("WorkerThreads", AtOnce()))


# What the owners want, as values of ringcheck


def policy_of(world: World) -> Policy:
    """The levels and datacenters that the owners want watched; half of those with the default levels have no rule."""
    wishes = world.wishes
    if (wishes.critical, wishes.warning) == tuple(map(str, DEFAULT.levels)) and world.seed % 2:
        return Policy(client_datacenters=wishes.clients)
    critical, warning = (
        Threshold(level=Level(level)) if level else None for level in (wishes.critical, wishes.warning)
    )
    rule = Rule(keyspaces=("*",), critical=critical, warning=warning)
    return Policy(rules=(rule,), client_datacenters=wishes.clients)


def gate_of(world: World) -> Gate:
    """The gate's settings: what a stop may cost."""
    wishes = world.wishes
    return Gate(level=Level(wishes.gate), accept=wishes.accept, allow=frozenset(wishes.allow))


def _holders(world: World, snapshot: Snapshot) -> list[Holder]:
    """The leases, each with its node's address in the snapshot, or the true address if the snapshot lacks the node."""
    since = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    addresses = {node.host_id: node.address for node in snapshot.nodes}
    holders = []
    for number in world.holders:
        host_id = world.nodes[number].host_id
        name = name_of(world, number)
        if name not in addresses.values():
            name = addresses.get(host_id, name)
        holders.append(Holder(node=name, owner="ops@host", purpose="upgrade", since=since, host_id=host_id))
    return holders


def name_of(world: World, number: int) -> str:
    """The name of a node: its address, with the port if there are several instances on the address."""
    endpoint = world.nodes[number].endpoint
    sharing = [node for node in world.nodes if node.endpoint.address == endpoint.address]
    return names_of(*endpoint)[0 if len(sharing) == 1 else 1]


def names_of(address: str, port: int) -> tuple[str, str]:
    """The names of an endpoint: its address, without and with the port."""
    return address, f"{f'[{address}]' if ':' in address else address}:{port}"
