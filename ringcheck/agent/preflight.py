"""The gate's answers to whoever asks the agent: on polls that began after the question, and on nothing older.

Owns what may be asked, in the words of the API, and how long it may take. Whether nodes may stop is core/gate's to say.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gatekeeper
from ringcheck.documents.fields import address
from ringcheck.errors import DataError
from ringcheck.leases.configured import open_store
from ringcheck.leases.grant import placed

if TYPE_CHECKING:
    from ringcheck.agent.service import Agent
    from ringcheck.config.values import Cluster
    from ringcheck.core.gate import Action, Decision, Gate
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.reading import Reading

WAIT = 60.0  # seconds that a question may take, unless it says otherwise
LONGEST = 100.0
BETWEEN = 2.0  # seconds between readings that must all be safe, as `preflight`'s
LEASES = 2.0  # seconds that the store of leases may take


class UnknownError(Exception):
    """It can't be told now; the text says why."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of the gate.

    Attributes:
        nodes: addresses or host ids.
        action: what is to be done to them.
        gate: what is wanted of it.
        stable: how many readings in a row must be safe.
        seconds: that it may take.
    """

    nodes: tuple[str, ...]
    action: Action
    gate: Gate
    stable: int
    seconds: float


FIELDS = (
    "nodes", "action", "level", "accept", "allow", "require_spare", "require_all_up", "stable", "timeout",
)  # fmt: skip


def wish_of(body: dict[str, Any], cluster: Cluster) -> Wish:
    """What a request's body asks for.

    Raises:
        HTTPException: 400 if it can't be understood whole.
    """
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise HTTPException(400, f"there is no field {unknown[0]!r} (known: {', '.join(FIELDS)})")
    nodes, action = _texts(body, "nodes"), body.get("action", "restart")
    if not nodes:
        raise HTTPException(400, "nodes names the nodes that are to stop, by address or host id")
    if action not in ("restart", "decommission"):
        raise HTTPException(400, "action is restart or decommission")
    stable = _number(body, "stable", cluster.stable_readings, 1, 20)
    if not isinstance(stable, int):
        raise HTTPException(400, "stable is a whole number")
    return Wish(nodes, action, _gate(body, cluster.gate), stable, _number(body, "timeout", WAIT, 1, LONGEST))


def _gate(body: dict[str, Any], gate: Gate) -> Gate:
    """The configured gate with what a request asks for.

    Raises:
        HTTPException: 400 if it can't be understood whole.
    """
    level = level_of(body["level"]) if "level" in body else None
    accept, allow = _texts(body, "accept"), _texts(body, "allow")
    spare, all_up = body.get("require_spare", False), body.get("require_all_up", False)
    if not isinstance(spare, bool) or not isinstance(all_up, bool):
        raise HTTPException(400, "require_spare and require_all_up are true or false")
    try:
        return gate.asked(level=level, accept=accept, allow=allow, require_spare=spare, require_all_up=all_up)
    except UsageError as error:
        raise HTTPException(400, str(error)) from None


def _texts(body: dict[str, Any], name: str) -> tuple[str, ...]:
    found = body.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise HTTPException(400, f"{name} is a list of names")
    return tuple(dict.fromkeys(found))


def _number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> Any:  # noqa: ANN401 - int or float, as it was given
    found = body.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
        raise HTTPException(400, f"{name} is a number from {least:g} to {most:g}")
    return found


def decided(agent: Agent, cluster: Cluster, wish: Wish) -> Decision:
    """The gate's decision on readings of polls that began after the question; takes a while.

    Raises:
        UnknownError: if there is no such reading in time, or the configuration changes meanwhile.
        LeaseError: if it can't be learned who is under a restart lease.
    """
    ends = time.monotonic() + wish.seconds
    safe = 0
    while True:
        reading = _asked(agent, cluster, ends)
        if reading.error or reading.verdict is None or not reading.fresh:
            raise UnknownError(f"the poll of {cluster.name} failed: {reading.error}")
        decision = _decision(reading, reading.verdict.snapshot, cluster, wish)
        unchanged(agent, cluster)
        safe += decision.decision == "safe"
        if decision.decision != "safe" or safe >= wish.stable:
            return decision
        if time.monotonic() + BETWEEN > ends:
            raise UnknownError(f"{safe} of {wish.stable} readings in {wish.seconds:g} s were safe: the time is over")
        time.sleep(BETWEEN)


def _asked(agent: Agent, cluster: Cluster, ends: float) -> Reading:
    reading = look(agent, cluster, max(0.0, ends - time.monotonic()))
    if reading is None:
        raise UnknownError(f"no poll of {cluster.name} that began after the question was over in time")
    return reading


def look(agent: Agent, cluster: Cluster, seconds: float) -> Reading | None:
    """`Agent.fresh` of a cluster as it was configured when the question came.

    Raises:
        UnknownError: if it is configured otherwise now.
    """
    unchanged(agent, cluster)  # before it too: of two reloads meanwhile the second may undo the first
    reading = agent.fresh(cluster.name, seconds)
    unchanged(agent, cluster)
    return reading


def unchanged(agent: Agent, cluster: Cluster) -> None:
    """Nothing is decided by a configuration that is no longer in force: not its levels, nor where its leases are.

    Raises:
        UnknownError: if the cluster is gone or configured otherwise.
    """
    if agent.config.clusters.get(cluster.name) != cluster:
        raise UnknownError("the configuration was reloaded meanwhile: ask again")


def _decision(reading: Reading, seen: Snapshot, cluster: Cluster, wish: Wish) -> Decision:
    nodes = list(dict.fromkeys(_resolved(one, seen) for one in wish.nodes))
    # A lease of a candidate itself may be one that is still being decided on: it takes nothing off the loss.
    held = [one for one in _held(reading, cluster, seen) if one.node not in nodes]
    return Gatekeeper(seen, cluster.policy, wish.gate, held).decide(nodes, wish.action)


def _held(reading: Reading, cluster: Cluster, seen: Snapshot) -> tuple[Holder, ...]:
    """Holders of restart leases; of a cluster without `lease:` by the lock file that the commands use then."""
    holders = reading.holders
    if cluster.lease is None:
        with closing(open_store(cluster, LEASES)) as store:
            holders = store.holders()
    if holders is None:
        raise UnknownError("who holds restart leases is not known: their store does not answer")
    return tuple(placed(one, seen) for one in holders)


def _resolved(name: str, seen: Snapshot) -> str:
    """The address that is meant; what no node has stays as it is, for the gate to refuse."""
    by_id = next((one.address for one in seen.nodes if one.host_id == name), None)
    if by_id:
        return by_id
    try:
        return address(name)
    except DataError:
        return name


def level_of(name: object) -> Level:
    """A consistency level by its name.

    Raises:
        HTTPException: 400 if there is none.
    """
    if not isinstance(name, str) or name not in Level.__members__:
        raise HTTPException(400, f"there is no consistency level {name!r} (known: {', '.join(Level.__members__)})")
    return Level[name]
