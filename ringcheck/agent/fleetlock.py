"""FleetLock: hosts ask here before they reboot, and report when they are back, as Zincati of Fedora CoreOS does.

https://coreos.github.io/zincati/development/fleetlock/protocol: a semaphore with owners, which each client requests
again and again until it is granted. Here the gate decides how many clients may hold it: a client gets a restart lease
if its node may stop now, and releases it once the node is really back.

Two answers are stricter than the protocol, because a host reboots on 200: a client that holds its lock and asks again
is decided on anew, and a client that reports a steady state is checked.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import OrderedDict, defaultdict
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route

from ringcheck.agent.answers import decoded, started
from ringcheck.agent.bugs import bug_text
from ringcheck.agent.preflight import UnknownError, fresh_reading, require_unchanged
from ringcheck.agent.questions import policy_for
from ringcheck.core.endpoint import ip_of
from ringcheck.core.evidence import evidence_of
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.readings import confirmed
from ringcheck.core.words import listed
from ringcheck.errors import DataError, RingcheckError, SourceError, limit_of
from ringcheck.leases.configured import open_store
from ringcheck.leases.grant import granted
from ringcheck.leases.record import HeldError, LeaseError
from ringcheck.leases.stamp import now
from ringcheck.restart.readiness import RestartedNode, lacking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from ringcheck.agent.log import Log
    from ringcheck.agent.service import Agent
    from ringcheck.config.values import Cluster
    from ringcheck.core.gate import Decision
    from ringcheck.core.ring import Node, Snapshot

    Handler = Callable[[bytes, Mapping[str, str]], "FleetLockAnswer"]

# The values of `kind` with their status: few and stable, since clients count them in their metrics.
KINDS = {
    "granted": 200,
    "released": 200,
    "not_held": 200,
    "bad_request": 400,
    "unknown_client": 403,
    "unknown_group": 404,
    "held_by_another": 409,
    "unsafe": 409,
    "not_back": 409,
    "bug": 500,
    "busy": 503,
    "leases_in_doubt": 503,
    "unknown": 503,
}
PRE_REBOOT, STEADY_STATE = "/v1/pre-reboot", "/v1/steady-state"
PURPOSE = "reboot by FleetLock"
BETWEEN = 2.0  # seconds between two readings, as in the `preflight` command
POLL_SECONDS = 30.0  # limit for one reading: the current poll, and the one that begins after it
TURN_SECONDS = 45.0  # seconds that a client waits for other clients of its cluster, at most
MAX_REQUESTS = 64  # at once; a client that is refused asks again by itself
TICK = 0.25  # seconds between checks whether the agent is stopping
MAX_BODY = 16 * 1024  # bytes of a request
LONGEST = 500  # characters of a text for people
STOPPING = "the agent is stopping"
REMEMBERED = 1000  # clients whose last answer is remembered, so that the same answer is logged once


@dataclass(frozen=True, slots=True)
class FleetLockAnswer:
    """The answer to a client: `kind` is a key of KINDS, `value` one line for people."""

    kind: str
    value: str

    @property
    def status(self) -> int:
        """The HTTP status; only 200 is a grant."""
        return KINDS[self.kind]

    @property
    def document(self) -> dict[str, str]:
        """The body."""
        return {"kind": self.kind, "value": self.value}


class RefusedError(Exception):
    """A request is refused; `kind` is a key of KINDS."""

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(value)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class LeaseClient:
    """A client that asks for a lease, and the address or host id of the node that the lease is for."""

    id: str
    cluster: Cluster
    node: str
    protocol: str = "fleetlock"
    purpose: str = PURPOSE

    @property
    def owner(self) -> str:
        """The owner of its lease."""
        return f"{self.protocol} {self.id}"


class FleetLock:
    """The two operations of the protocol. They block while the cluster is polled; safe to use from many threads."""

    def __init__(self, agent: Agent, log: Log, sleep: Callable[[float], object] = time.sleep) -> None:
        """Prepare; nothing is polled.

        Args:
            agent: polls the clusters, by the configuration in force.
            log: gets every answer that differs from the last one to the same client.
            sleep: pauses between readings.
        """
        self._agent = agent
        self._log = log
        self._sleep = sleep
        # One client of a cluster at a time: clients that ask at once would see each other's leases and all be refused.
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._logged: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def pre_reboot(self, body: bytes, headers: Mapping[str, str]) -> FleetLockAnswer:
        """RecursiveLock: may the client's node stop now?

        Args:
            body: JSON as in the protocol.
            headers: of the request, names in lower case.
        """
        return self._answered("pre-reboot", self.grant, body, headers)

    def steady_state(self, body: bytes, headers: Mapping[str, str]) -> FleetLockAnswer:
        """UnlockIfHeld: the client reports that its node is back. For arguments see `pre_reboot`."""
        return self._answered("steady-state", self._release, body, headers)

    def stop(self) -> None:
        """Refuse every request from now on, those that wait or are being decided included."""
        self._stopping.set()

    def _answered(
        self, action: str, do: Callable[[LeaseClient], FleetLockAnswer], body: bytes, headers: Mapping[str, str]
    ) -> FleetLockAnswer:
        asked: dict[str, str] = {}
        try:
            asked |= _id_and_group(body, headers)
            client = self._client(**asked)
            with self.turn(client.cluster.name):
                self.require_running(client.cluster)
                answer = do(client)
        except RefusedError as error:
            answer = FleetLockAnswer(error.kind, one_line(str(error)))
        except HeldError as error:
            answer = FleetLockAnswer("held_by_another", one_line(str(error)))
        except LeaseError as error:
            answer = FleetLockAnswer("unsafe" if error.unsafe else "leases_in_doubt", one_line(str(error)))
        except (UnknownError, RingcheckError) as error:
            answer = FleetLockAnswer("unknown", one_line(str(error)))
        except Exception as error:  # noqa: BLE001 - no grant, and the service goes on
            answer = FleetLockAnswer("unknown" if limit_of(error) else "bug", one_line(bug_text(error)))
        self._log_new(action, asked, answer)
        return answer

    def _client(self, id: str, group: str) -> LeaseClient:  # noqa: A002 - the name in the protocol
        """The configured client of that id and group."""
        for cluster in self._agent.config.clusters.values():
            if cluster.fleetlock and (cluster.fleetlock.group or cluster.name) == group:
                if id in cluster.fleetlock.nodes:
                    return LeaseClient(id, cluster, cluster.fleetlock.nodes[id])
                raise RefusedError(
                    "unknown_client", f"{_quoted(id)} is not in fleetlock.nodes of cluster {cluster.name}"
                )
        raise RefusedError("unknown_group", f"no cluster has the FleetLock group {_quoted(group)}")

    @contextmanager
    def turn(self, cluster: str) -> Iterator[None]:
        """One client of a cluster at a time.

        Raises:
            RefusedError: others took too long.
        """
        with self._guard:
            turn = self._turns[cluster]
        if not turn.acquire(timeout=TURN_SECONDS):
            raise RefusedError("busy", f"other clients of {cluster} took {TURN_SECONDS:g} s: try again")
        try:
            yield
        finally:
            turn.release()

    def _log_new(self, action: str, asked: Mapping[str, str], answer: FleetLockAnswer) -> None:
        """Log an answer unless it repeats the last one: a refused client asks every few minutes, for days."""
        key = (action, *(asked.get(field, "")[:100] for field in ("group", "id")))
        with self._guard:
            old, self._logged[key] = self._logged.pop(key, None), answer.kind
            if len(self._logged) > REMEMBERED:
                self._logged.popitem(last=False)
        if old == answer.kind and answer.kind not in {"granted", "released"}:
            return
        level = "error" if answer.kind == "bug" else "info" if answer.status == KINDS["granted"] else "warning"
        fields = {"group": key[1], "id": key[2], "status": answer.status, "kind": answer.kind, "why": answer.value}
        self._log("fleetlock", level, action=action, **fields)

    # Grant

    def grant(self, client: LeaseClient) -> FleetLockAnswer:
        """Take a lease for the client's node if the gate lets it stop; the caller must hold the cluster's `turn`.

        Raises:
            RefusedError: the gate's answer is not safe, or the node is not known.
            LeaseError: the outcome is in doubt.
            RingcheckError: the cluster can't be polled.
        """
        cluster = client.cluster
        nodes = _nodes(client, self.poll(cluster))
        targets = [RestartedNode(node.address, node.host_id) for node in nodes]
        since = now()
        wanted = [
            Holder(node=node.address, owner=client.owner, purpose=client.purpose, since=since, host_id=node.host_id)
            for node in nodes
        ]
        with closing(open_store(cluster)) as store:
            decision = granted(store, wanted, lambda others: self._decide(client, targets, others))
            where = store.describe()
        self._agent.recorder.decided(cluster.name, decision, client.owner)
        if decision.decision != "safe":
            raise RefusedError(decision.decision, because(decision))
        self._agent.hurry(cluster.name)
        names = listed([node.address for node in nodes])
        leases = "its lease is" if len(nodes) == 1 else "their leases are"
        return FleetLockAnswer("granted", f"{names} of {cluster.name} may stop now; {leases} in {where}")

    def _decide(self, client: LeaseClient, targets: Sequence[RestartedNode], others: Sequence[Holder]) -> Decision:
        """The decision on as many readings as the configuration asks for."""
        decision = confirmed(self._decisions(client, targets, others), client.cluster.stable_readings)
        if decision.decision != "unsafe":
            self.require_running(client.cluster)  # if this raises, the lease is withdrawn: others may no longer see it
        return decision

    def _decisions(
        self, client: LeaseClient, targets: Sequence[RestartedNode], others: Sequence[Holder]
    ) -> Iterator[Decision]:
        cluster = client.cluster
        while True:
            seen = self.poll(cluster)
            found = {target.node: target.find(seen) for target in targets}
            if gone := [name for name, node in found.items() if node is None]:
                raise DataError(f"{listed(gone)} left {cluster.name}")
            names = [node.address for node in found.values() if node]
            if late := [name for name in _at_its_host(client, names[0], seen) if name not in names]:
                raise DataError(f"{listed(late)} at the address of {names[0]} has come up meanwhile: ask again")
            leases = [lease for lease in others if lease.node not in names]
            policy = policy_for(self._agent.reading(cluster.name), cluster)
            yield Gatekeeper(seen, policy, cluster.gate, leases).decide(names, "restart")
            self._sleep(BETWEEN)

    def require_running(self, cluster: Cluster) -> None:
        """Raise if the agent is stopping, or the configuration of the cluster is no longer in force."""
        if self._stopping.is_set():
            raise RefusedError("unknown", STOPPING)
        require_unchanged(self._agent, cluster)

    def poll(self, cluster: Cluster) -> Snapshot:
        """The snapshot of a poll that begins now and asks for streams; if no node may report streams, the gate decides.

        Raises:
            SourceError: the poll failed or took too long.
            UnknownError: the configuration of the cluster has changed.
        """
        ends = time.monotonic() + POLL_SECONDS
        reading = fresh_reading(self._agent, cluster, POLL_SECONDS)
        if reading is None and time.monotonic() < ends:  # the watch has ended, and not because of a reload
            raise RefusedError("unknown", STOPPING)
        if reading is None:
            raise SourceError(f"no poll of {cluster.name} ended within {POLL_SECONDS:g} s")
        if reading.error or reading.verdict is None:
            raise SourceError(reading.error or f"{cluster.name} has not been polled yet")
        return reading.verdict.snapshot

    # Release

    def _release(self, client: LeaseClient) -> FleetLockAnswer:
        cluster = client.cluster
        with closing(open_store(cluster)) as store:
            leases = [lease for lease in store.holders() if lease.owner == client.owner]
            if not leases:
                return FleetLockAnswer("not_held", f"{client.id} holds no lease of {cluster.name}")
            seen = self.poll(cluster)
            lacks = [
                f"{lease.node}: {lack}"
                for lease in leases
                if (lack := lacking(RestartedNode(lease.node, lease.host_id), seen))
            ]
            if lacks:
                raise RefusedError("not_back", one_line(f"{'; '.join(lacks)}; the lease stays"))
            nodes = [lease.node for lease in leases]
            store.remove(nodes, client.owner)
        self._agent.hurry(cluster.name)
        return FleetLockAnswer("released", f"{', '.join(nodes)} of {cluster.name} is back")


def _id_and_group(body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """`id` and `group` of a request."""
    if headers.get("fleet-lock-protocol") != "true":
        raise RefusedError("bad_request", "the header fleet-lock-protocol: true is missing")
    try:
        params = decoded(body)["client_params"]
        asked = {name: params[name] for name in ("id", "group")}
    except (ValueError, TypeError, KeyError, RecursionError):
        asked = {}
    if not asked or not all(isinstance(value, str) and value for value in asked.values()):
        raise RefusedError("bad_request", 'the body is not JSON such as {"client_params": {"id": ID, "group": GROUP}}')
    return asked


def _quoted(text: str) -> str:
    return json.dumps(text[:100])


def one_line(text: str) -> str:
    """One line for people, bounded."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def _nodes(client: LeaseClient, seen: Snapshot) -> list[Node]:
    """The node that is configured for the client, and the others that stop with it."""
    match = next((node for node in seen.nodes if client.node in {node.address, node.host_id}), None)
    if match is None:
        text = f"{client.id} is configured as {client.node}, but {seen.cluster} has no such node now"
        raise RefusedError("unknown", text)
    stopping = _at_its_host(client, match.address, seen)
    return [match, *(node for node in seen.nodes if node is not match and node.address in stopping)]


def _at_its_host(client: LeaseClient, address: str, seen: Snapshot) -> list[str]:
    """The nodes at the IP address of a node, if its host reboots.

    Those that are down already count as down anyway, and may never come back to have a lease released.
    """
    if client.protocol != "fleetlock":  # an evicted pod stops its own node only
        return []
    ip, down = ip_of(address), evidence_of(seen).surely_down
    return [node.address for index, node in enumerate(seen.nodes) if index not in down and ip_of(node.address) == ip]


def because(decision: Decision) -> str:
    """The first blocking reason, what lifts it, and how many more there are."""
    blocking = [reason for reason in decision.reasons if reason.blocks]
    if not blocking:
        return f"the gate says {decision.decision}"
    more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
    return one_line(f"{blocking[0].summary}{more}; until {blocking[0].lifts_when}")


# HTTP


def routes(agent: Agent, log: Log, lock: FleetLock | None = None) -> list[Route]:
    """The routes of the protocol, for the agent's web application."""
    lock = lock or FleetLock(agent, log)
    requests = _Requests(lock)
    return [
        Route(PRE_REBOOT, requests.endpoint(lock.pre_reboot), methods=["POST"]),
        Route(STEADY_STATE, requests.endpoint(lock.steady_state), methods=["POST"]),
    ]


class _Requests:
    """Answers each request in a thread of its own, so that neither the event loop nor other routes wait for it.

    No executor: at its end the process would wait for the executor's threads, and a lease store may hang.
    """

    def __init__(self, lock: FleetLock) -> None:
        self._lock = lock
        self._active = 0

    def endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[JSONResponse]]:
        """The endpoint of a route, for starlette."""

        async def answer(request: Request) -> JSONResponse:
            try:
                body = await body_of(request)
                reply = await self._handled(request, partial(handler, body, dict(request.headers)))
            except RefusedError as error:
                reply = FleetLockAnswer(error.kind, str(error))
            retry = {"Retry-After": "30"} if reply.status == KINDS["busy"] else None
            return JSONResponse(reply.document, reply.status, retry)

        return answer

    async def _handled(self, request: Request, work: Callable[[], FleetLockAnswer]) -> FleetLockAnswer:
        if self._active >= MAX_REQUESTS:
            return FleetLockAnswer("busy", f"{MAX_REQUESTS} requests are being answered: try again")
        ending: threading.Event | None = getattr(request.app.state, "ending", None)  # set by web.py
        self._active += 1
        try:
            future = started(work)
            while not (ending and ending.is_set()):
                await asyncio.wait({future}, timeout=TICK)
                if future.done():
                    return future.result()
        finally:
            self._active -= 1
        self._lock.stop()
        raise RefusedError("unknown", STOPPING)


async def body_of(request: Request, most: int = MAX_BODY) -> bytes:
    """The body of a request.

    Raises:
        RefusedError: it is incomplete or has more bytes than `most`.
    """
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise RefusedError("bad_request", f"the body has more than {most} bytes")
    except ClientDisconnect:
        raise RefusedError("bad_request", "the body is incomplete") from None
    return body
