"""The gate behind the API: parses a request, and decides on polls that began after it, never on older ones.

Owns the fields of a request and its deadline; the decision itself is core/gate's.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from ringcheck.agent.questions import policy_for
from ringcheck.core.actions import NAMES, counted, newcomer_of
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gatekeeper, with_leases
from ringcheck.core.readings import confirmed
from ringcheck.documents.fields import address
from ringcheck.errors import DataError, UsageError
from ringcheck.leases.configured import open_store
from ringcheck.leases.grant import PlacedLeases
from ringcheck.leases.record import LeaseError
from ringcheck.sources import is_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.agent.service import Agent
    from ringcheck.config.values import Cluster
    from ringcheck.core.actions import Action, Newcomer
    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.reading import Reading

DEFAULT_TIMEOUT, MAX_TIMEOUT = 60.0, 100.0  # seconds that a request may take
MAX_STABLE = 20  # readings
BETWEEN = 2.0  # seconds between two readings, as in the `preflight` command
LEASE_SECONDS = 2.0  # deadline of a step at the lease store


class UnknownError(Exception):
    """The answer is not known now; the text says why."""


class BusyError(UnknownError):
    """Too many requests wait for an answer: asking again later may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request to the gate.

    Attributes:
        nodes: addresses or host ids; none for a bootstrap.
        action: what will be done.
        newcomer: datacenter and rack of the node that will join, or replace one of the nodes; None if not stated.
        gate: the gate's settings: those of the configuration, tightened or overridden by the request.
        stable: how many readings in a row must be safe.
        seconds: how long the decision may take.
    """

    nodes: tuple[str, ...]
    action: Action
    newcomer: Newcomer | None
    gate: Gate
    stable: int
    seconds: float


FIELDS = (
    "nodes", "action", "datacenter", "rack", "level", "accept", "allow", "require_spare", "require_all_up", "stable",
    "timeout",
)  # fmt: skip


def wish_of(body: dict[str, Any], cluster: Cluster) -> Wish:
    """Parse the body of a request.

    Raises:
        HTTPException: 400 if a field is unknown or has a wrong value.
    """
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise HTTPException(400, f"there is no field {unknown[0]!r} (known: {', '.join(FIELDS)})")
    nodes, action = _texts(body, "nodes"), body.get("action", "restart")
    if action not in NAMES:
        raise HTTPException(400, f"action must be {', '.join(NAMES[:-1])} or {NAMES[-1]}")
    if not nodes and action != "bootstrap":
        raise HTTPException(400, "nodes is missing: the addresses or host ids of the nodes to stop")
    stable = _number(body, "stable", cluster.stable_readings, 1, MAX_STABLE)
    if stable != int(stable):
        raise HTTPException(400, "stable must be a whole number")
    return Wish(
        nodes=nodes,
        action=action,
        newcomer=_newcomer(body, action, nodes),
        gate=_gate(body, cluster.gate),
        stable=int(stable),  # JSON has one kind of number: 3.0 is 3
        seconds=_number(body, "timeout", DEFAULT_TIMEOUT, 1, MAX_TIMEOUT),
    )


def _newcomer(body: dict[str, Any], action: Action, nodes: tuple[str, ...]) -> Newcomer | None:
    datacenter, rack = (body.get(name) for name in ("datacenter", "rack"))
    if not all(name is None or isinstance(name, str) for name in (datacenter, rack)):
        raise HTTPException(400, "datacenter and rack must be names")
    try:
        return newcomer_of(action, nodes, datacenter, rack)
    except UsageError as error:
        raise HTTPException(400, str(error)) from None


def _gate(body: dict[str, Any], gate: Gate) -> Gate:
    """The configured gate, changed by what a request asks for.

    Raises:
        HTTPException: 400 if a part of the request can't be understood.
    """
    level = level_of(body["level"]) if "level" in body else None
    accept, allow = _texts(body, "accept"), _texts(body, "allow")
    spare, all_up = body.get("require_spare", False), body.get("require_all_up", False)
    if not isinstance(spare, bool) or not isinstance(all_up, bool):
        raise HTTPException(400, "require_spare and require_all_up must be true or false")
    try:
        return gate.asked(level=level, accept=accept, allow=allow, require_spare=spare, require_all_up=all_up)
    except UsageError as error:
        raise HTTPException(400, str(error)) from None


def _texts(body: dict[str, Any], name: str) -> tuple[str, ...]:
    texts = body.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise HTTPException(400, f"{name} must be a list of names")
    return tuple(dict.fromkeys(texts))


def _number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> Any:  # noqa: ANN401 - int or float, as it was given
    number = body.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number <= most:
        raise HTTPException(400, f"{name} must be a number from {least:g} to {most:g}")
    return number


def decided(agent: Agent, cluster: Cluster, wish: Wish) -> Decision:
    """The gate's decision on polls that begin after this call; blocks until they are over.

    Raises:
        UnknownError: a poll fails or takes too long, or the configuration changes meanwhile.
        LeaseError: as `_decision`.
    """
    return confirmed(_decisions(agent, cluster, wish), wish.stable)


def _decisions(agent: Agent, cluster: Cluster, wish: Wish) -> Iterator[Decision]:
    ends = time.monotonic() + wish.seconds
    for safe in count(1):
        reading = _polled(agent, cluster, ends)
        if reading.error or reading.verdict is None or not reading.fresh:
            raise UnknownError(f"the poll of {cluster.name} failed: {reading.error}")
        decision = _decision(reading, reading.verdict.snapshot, cluster, wish)
        if decision.decision != "unsafe":
            require_unchanged(agent, cluster)
        yield decision
        if time.monotonic() + BETWEEN > ends:
            raise UnknownError(f"{safe} of {wish.stable} readings were safe within {wish.seconds:g} s")
        time.sleep(BETWEEN)


def _polled(agent: Agent, cluster: Cluster, ends: float) -> Reading:
    reading = fresh_reading(agent, cluster, max(0.0, ends - time.monotonic()))
    if reading is None:
        raise UnknownError(f"no new poll of {cluster.name} finished in time")
    return reading


def fresh_reading(agent: Agent, cluster: Cluster, seconds: float) -> Reading | None:
    """`Agent.fresh` of a cluster, if its configuration is still the given one.

    Raises:
        UnknownError: the configuration has changed.
    """
    require_unchanged(agent, cluster)  # before the poll too: of two reloads the second may undo the first
    reading = agent.fresh(cluster.name, seconds)
    require_unchanged(agent, cluster)
    return reading


def require_unchanged(agent: Agent, cluster: Cluster) -> None:
    """Refuse to decide by a configuration that is no longer in force: its levels or its lease store may differ.

    Raises:
        UnknownError: the cluster was removed, or its configuration has changed.
    """
    if agent.config.clusters.get(cluster.name) != cluster:
        raise UnknownError("the configuration was reloaded meanwhile: ask again")


def _decision(reading: Reading, seen: Snapshot, cluster: Cluster, wish: Wish) -> Decision:
    """The gate's decision on a snapshot.

    Raises:
        LeaseError: it is not known which nodes are under restart leases, and without them the decision is not unsafe.
    """
    nodes = list(dict.fromkeys(resolved(name, seen) for name in wish.nodes))
    leases = PlacedLeases.read(lambda: _leases(reading, cluster), seen)
    holders = counted(leases.holders, nodes, wish.action)
    policy, recorded = policy_for(reading, cluster), is_recorded(cluster)
    gatekeeper = Gatekeeper(seen, policy, wish.gate, holders, recorded=recorded)
    decision = gatekeeper.decide(nodes, wish.action, wish.newcomer)
    return leases.required(with_leases(decision, leases.holders))


def _leases(reading: Reading, cluster: Cluster) -> tuple[Holder, ...]:
    """All restart leases; without `lease:` those in the default lock file, which the commands use.

    Raises:
        LeaseError: they can't be read.
    """
    holders = reading.holders
    if cluster.lease is None:
        with closing(open_store(cluster, LEASE_SECONDS)) as store:
            holders = store.holders()
    if holders is None:
        raise LeaseError("who holds restart leases is not known: the lease store does not answer")
    return holders


def resolved(name: str, seen: Snapshot) -> str:
    """The address of a node; an unknown name is returned as it is, for the gate to refuse.

    Args:
        name: an address, an IPv6 address in brackets as URLs have it, or a host id.
        seen: the cluster.
    """
    by_id = next((node.address for node in seen.nodes if node.host_id == name), None)
    if by_id:
        return by_id
    bracketed = name.startswith("[") and name.endswith("]") and ":" in name
    try:
        return address(name[1:-1] if bracketed else name)
    except DataError:
        return name


def level_of(name: object) -> Level:
    """A consistency level by its name.

    Raises:
        HTTPException: 400 if no level has that name.
    """
    if not isinstance(name, str) or name not in Level.__members__:
        raise HTTPException(400, f"there is no consistency level {name!r} (known: {', '.join(Level.__members__)})")
    return Level[name]
