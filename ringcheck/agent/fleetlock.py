"""FleetLock: hosts ask here before they reboot, and say when they are back, as Zincati of Fedora CoreOS does.

https://coreos.github.io/zincati/development/fleetlock/protocol: a semaphore with owners, asked again and again by each
client until it says yes. How many may hold it is the gate's word here: a client gets a restart lease if its node may
stop now, and gives it back once the node is really back.

Two places where an answer is stricter than the protocol, since 200 is what a host reboots on: a client that holds its
lock and asks again is judged anew, and one that says that it is steady is not believed without a look.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import OrderedDict, defaultdict
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route

from ringcheck.agent.bugs import bug_text
from ringcheck.agent.preflight import UnknownError, look, unchanged
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.errors import DataError, RingcheckError, SourceError
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

# What `kind` can be, with its status: few and stable, since clients count them in their metrics.
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
PURPOSE = "reboot by FleetLock"
BETWEEN = 2.0  # seconds between readings, as those of `preflight`
FRESH = 30.0  # seconds that one look at a cluster may take: the poll in hand, and one begun after it
PATIENCE = 45.0  # seconds that a client waits for others of its cluster
MOST = 64  # requests at once; a client that is turned away asks again by itself
TICK = 0.25  # seconds between looks whether the agent is to end
LARGEST = 16 * 1024  # bytes of a request
LONGEST = 500  # characters of a text for people
STOPPING = "the agent is stopping"
REMEMBERED = 1000  # clients whose last answer is known, so that what stays as it is is logged once


@dataclass(frozen=True, slots=True)
class FleetLockAnswer:
    """What a client is told; `kind` is a key of KINDS, `value` one line for people."""

    kind: str
    value: str

    @property
    def status(self) -> int:
        """Of HTTP; only 200 is a yes."""
        return KINDS[self.kind]

    @property
    def document(self) -> dict[str, str]:
        """The body."""
        return {"kind": self.kind, "value": self.value}


class _RefusedError(Exception):
    def __init__(self, kind: str, value: str) -> None:
        super().__init__(value)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class _Client:
    """Who asks, and for which node: an address or a host id."""

    id: str
    cluster: Cluster
    node: str

    @property
    def owner(self) -> str:
        return f"fleetlock {self.id}"


class FleetLock:
    """The protocol's two operations. They block while they look at the cluster; safe to use from many threads."""

    def __init__(self, agent: Agent, log: Log, sleep: Callable[[float], object] = time.sleep) -> None:
        """Prepare; nothing is asked.

        Args:
            agent: looks at the clusters, by the configuration in force.
            log: told of every answer that differs from the last one to the same client.
            sleep: between readings.
        """
        self._agent = agent
        self._log = log
        self._sleep = sleep
        # Of clients that ask at once each would see the others' leases, and all would be refused: one after another.
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._told: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def pre_reboot(self, body: bytes, headers: Mapping[str, str]) -> FleetLockAnswer:
        """RecursiveLock: may the client's node stop now?

        Args:
            body: JSON, as the protocol has it.
            headers: of the request, their names in lower case.
        """
        return self._answered("pre-reboot", self._grant, body, headers)

    def steady_state(self, body: bytes, headers: Mapping[str, str]) -> FleetLockAnswer:
        """UnlockIfHeld: the client says that its node is back. Args as `pre_reboot`."""
        return self._answered("steady-state", self._release, body, headers)

    def stop(self) -> None:
        """Grant nothing more, and ask no store: whoever asks, waits, or is being decided on."""
        self._stopping.set()

    def _answered(
        self, action: str, do: Callable[[_Client], FleetLockAnswer], body: bytes, headers: Mapping[str, str]
    ) -> FleetLockAnswer:
        asked: dict[str, str] = {}
        try:
            asked |= _asked(body, headers)
            client = self._client(**asked)
            with self._turn(client.cluster.name):
                self._go_on(client.cluster)
                answer = do(client)
        except _RefusedError as error:
            answer = FleetLockAnswer(error.kind, _line(str(error)))
        except HeldError as error:
            answer = FleetLockAnswer("held_by_another", _line(str(error)))
        except LeaseError as error:
            answer = FleetLockAnswer("leases_in_doubt", _line(str(error)))
        except (UnknownError, RingcheckError) as error:
            answer = FleetLockAnswer("unknown", _line(str(error)))
        except Exception as error:  # noqa: BLE001 - no grant, and the service goes on
            answer = FleetLockAnswer("bug", _line(bug_text(error)))
        self._tell(action, asked, answer)
        return answer

    def _client(self, id: str, group: str) -> _Client:  # noqa: A002 - the protocol's word
        """Whom the configuration knows by that name."""
        for cluster in self._agent.config.clusters.values():
            if cluster.fleetlock and (cluster.fleetlock.group or cluster.name) == group:
                if id in cluster.fleetlock.nodes:
                    return _Client(id, cluster, cluster.fleetlock.nodes[id])
                raise _RefusedError(
                    "unknown_client", f"{_quoted(id)} is no client of {cluster.name}: fleetlock.nodes has it not"
                )
        raise _RefusedError("unknown_group", f"no cluster has the group {_quoted(group)}")

    @contextmanager
    def _turn(self, cluster: str) -> Iterator[None]:
        with self._guard:
            turn = self._turns[cluster]
        if not turn.acquire(timeout=PATIENCE):
            raise _RefusedError("busy", f"other clients of {cluster} were asked about for {PATIENCE:g} s: try again")
        try:
            yield
        finally:
            turn.release()

    def _tell(self, action: str, asked: Mapping[str, str], answer: FleetLockAnswer) -> None:
        """Log what is new: a client that is refused asks every few minutes, for days."""
        key = (action, *(asked.get(one, "")[:100] for one in ("group", "id")))
        with self._guard:
            old, self._told[key] = self._told.pop(key, None), answer.kind
            if len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        if old == answer.kind and answer.kind not in {"granted", "released"}:
            return
        level = "error" if answer.kind == "bug" else "info" if answer.status == KINDS["granted"] else "warning"
        fields = {"group": key[1], "id": key[2], "status": answer.status, "kind": answer.kind, "why": answer.value}
        self._log("fleetlock", level, action=action, **fields)

    # Grant

    def _grant(self, client: _Client) -> FleetLockAnswer:
        cluster = client.cluster
        node = _node(client, self._look(cluster))
        target = RestartedNode(node.address, node.host_id)
        wanted = Holder(node=node.address, owner=client.owner, purpose=PURPOSE, since=now(), host_id=node.host_id)
        with closing(open_store(cluster)) as store:
            decision = granted(store, [wanted], lambda others: self._decide(cluster, target, others))
            where = store.describe()
        if decision.decision != "safe":
            raise _RefusedError(decision.decision, _because(decision))
        self._agent.hurry(cluster.name)
        return FleetLockAnswer("granted", f"{node.address} of {cluster.name} may stop now; its lease is in {where}")

    def _decide(self, cluster: Cluster, target: RestartedNode, others: Sequence[Holder]) -> Decision:
        """The first reading that is not safe, or the last of as many as the configuration asks for."""
        for reading in range(cluster.stable_readings):
            if reading:
                self._sleep(BETWEEN)
            seen = self._look(cluster)
            node = target.find(seen)
            if node is None:
                raise DataError(f"{target.node} left {cluster.name}")
            held = [one for one in others if one.node != node.address]
            decision = Gatekeeper(seen, cluster.policy, cluster.gate, held).decide([node.address], "restart")
            if decision.decision != "safe":
                break
        self._go_on(cluster)  # raised here it withdraws the lease, which others may no longer see
        return decision

    def _go_on(self, cluster: Cluster) -> None:
        """Raise if nobody waits for an answer any more, or what it would be decided by is no longer in force."""
        if self._stopping.is_set():
            raise _RefusedError("unknown", STOPPING)
        unchanged(self._agent, cluster)

    def _look(self, cluster: Cluster) -> Snapshot:
        """What a poll says that begins now, streams included; once, though no node may tell any: that is the gate's.

        Raises:
            SourceError: if there is none.
            UnknownError: if the cluster is configured otherwise by now.
        """
        ends = time.monotonic() + FRESH
        reading = look(self._agent, cluster, FRESH)
        if reading is None and time.monotonic() < ends:  # the watch has ended, and by no reload
            raise _RefusedError("unknown", STOPPING)
        if reading is None:
            raise SourceError(f"{cluster.name} could not be looked at within {FRESH:g} s")
        if reading.error or reading.verdict is None:
            raise SourceError(reading.error or f"{cluster.name} has not been seen yet")
        return reading.verdict.snapshot

    # Release

    def _release(self, client: _Client) -> FleetLockAnswer:
        cluster = client.cluster
        with closing(open_store(cluster)) as store:
            mine = [one for one in store.holders() if one.owner == client.owner]
            if not mine:
                return FleetLockAnswer("not_held", f"{client.id} holds no lease of {cluster.name}")
            seen = self._look(cluster)
            lacks = [
                f"{one.node}: {lack}" for one in mine if (lack := lacking(RestartedNode(one.node, one.host_id), seen))
            ]
            if lacks:
                raise _RefusedError("not_back", _line(f"{'; '.join(lacks)}; the lease stays"))
            store.remove([one.node for one in mine], client.owner)
        self._agent.hurry(cluster.name)
        return FleetLockAnswer("released", f"{', '.join(one.node for one in mine)} of {cluster.name} is back")


def _asked(body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """`id` and `group` of a request."""
    if headers.get("fleet-lock-protocol") != "true":
        raise _RefusedError("bad_request", "the header fleet-lock-protocol: true is missing: nobody meant to ask this")
    try:
        params = json.loads(body)["client_params"]
        asked = {name: params[name] for name in ("id", "group")}
    except (ValueError, TypeError, KeyError, RecursionError):
        asked = {}
    if not asked or not all(isinstance(one, str) and one for one in asked.values()):
        raise _RefusedError("bad_request", 'the body is not JSON such as {"client_params": {"id": ID, "group": GROUP}}')
    return asked


def _quoted(text: str) -> str:
    return json.dumps(text[:100])


def _line(text: str) -> str:
    """One line for people, bounded."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def _node(client: _Client, seen: Snapshot) -> Node:
    """The client's node, by the operator's word."""
    found = next((one for one in seen.nodes if client.node in {one.address, one.host_id}), None)
    if found is None:
        text = f"{client.id} stands for {client.node}, which is no node of {seen.cluster} as it is seen now"
        raise _RefusedError("unknown", text)
    return found


def _because(decision: Decision) -> str:
    """The first reasons, and what the first waits for."""
    blocking = [one for one in decision.reasons if one.blocks]
    if not blocking:
        return f"the gate says {decision.decision}"
    more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
    return _line(f"{blocking[0].summary}{more}; until {blocking[0].lifts_when}")


# HTTP


def routes(agent: Agent, log: Log) -> list[Route]:
    """The protocol's endpoints, for the application that has the agent's other ones."""
    lock = FleetLock(agent, log)
    desk = _Desk(lock)
    return [
        Route("/v1/pre-reboot", desk.endpoint(lock.pre_reboot), methods=["POST"]),
        Route("/v1/steady-state", desk.endpoint(lock.steady_state), methods=["POST"]),
    ]


class _Desk:
    """Has requests answered by threads of their own, so that neither the event loop nor other pages wait for them.

    Nor does the process at its end, as it would for those of an executor: a store that hangs would hold it up.
    """

    def __init__(self, lock: FleetLock) -> None:
        self._lock = lock
        self._present = 0

    def endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[JSONResponse]]:
        """What starlette calls."""

        async def answer(request: Request) -> JSONResponse:
            try:
                body = await _body(request)
                found = await self._handed(request, partial(handler, body, dict(request.headers)))
            except _RefusedError as error:
                found = FleetLockAnswer(error.kind, str(error))
            again = {"Retry-After": "30"} if found.status == KINDS["busy"] else None
            return JSONResponse(found.document, found.status, again)

        return answer

    async def _handed(self, request: Request, work: Callable[[], FleetLockAnswer]) -> FleetLockAnswer:
        if self._present >= MOST:
            return FleetLockAnswer("busy", f"{MOST} requests are being answered: try again")
        ending: threading.Event | None = getattr(request.app.state, "ending", None)  # of web.py's application
        self._present += 1
        try:
            found = _begun(work)
            while not (ending and ending.is_set()):
                await asyncio.wait({found}, timeout=TICK)
                if found.done():
                    return found.result()
        finally:
            self._present -= 1
        self._lock.stop()
        raise _RefusedError("unknown", STOPPING)


def _begun(work: Callable[[], FleetLockAnswer]) -> asyncio.Future[FleetLockAnswer]:
    """What a thread that has begun now will have found."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[FleetLockAnswer] = loop.create_future()

    def run() -> None:
        try:
            told = partial(found.set_result, work())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            told = partial(found.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(told)

    threading.Thread(target=run, name="fleetlock", daemon=True).start()
    return found


async def _body(request: Request) -> bytes:
    """A request's body."""
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST:
                raise _RefusedError("bad_request", f"the body has more than {LARGEST} bytes")
    except ClientDisconnect:
        raise _RefusedError("bad_request", "the body did not end") from None
    return body
