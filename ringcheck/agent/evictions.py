"""The admission webhook that Kubernetes asks before it evicts a pod: `pods/eviction` (AdmissionReview v1).

`kubectl drain` evicts the pods of a host one by one. The API server asks about each pod, and does not evict it if the
answer is a refusal. A pod is mapped to its Cassandra node, and the gate decides whether that node may stop. If the
cluster has a lease store, the grant takes a restart lease, as FleetLock's does; it is released once the node has
started again and is back. If the patterns of several clusters match a pod, the cluster that has its node decides.

A refusal has status 429, after which `kubectl drain` tries again every 5 s. If the answer is not known, the
configuration decides whether the eviction is refused (`closed`) or allowed (`open`). An eviction that the gate calls
unsafe is always refused, whatever else fails: for example, if a lease store does not answer.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from ringcheck.agent.answers import decoded, started
from ringcheck.agent.bugs import bug_text
from ringcheck.agent.fleetlock import LeaseClient, RefusedError, because, body_of, one_line
from ringcheck.agent.pods import pod_of
from ringcheck.agent.preflight import UnknownError, Wish, decided, resolved
from ringcheck.core.maintenance import unix_seconds
from ringcheck.errors import RingcheckError
from ringcheck.http.credentials import secret
from ringcheck.leases.configured import open_store
from ringcheck.leases.record import LeaseError
from ringcheck.restart.readiness import RestartedNode, lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from ringcheck.agent.fleetlock import FleetLock
    from ringcheck.agent.log import Log
    from ringcheck.agent.pods import Pod
    from ringcheck.agent.service import Agent
    from ringcheck.config.values import Cluster
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.reading import Reading

PATH = "/kubernetes/evictions"
PROTOCOL = "kubernetes"  # begins the owner of a lease
PURPOSE = "eviction by Kubernetes"
API = "admission.k8s.io/v1"
MAX_REQUESTS = 64  # at the same time; a client that is refused asks again
MAX_BODY = 3 * 2**20  # bytes of a request, as the API server's own limit
DEFAULT_SECONDS, LONGEST_SECONDS = 10.0, 30.0  # seconds that the API server waits: by default, and at most
MARGIN = 1.0  # seconds before that time limit at which the answer must be sent
UNSAFE = frozenset({"unsafe", "held_by_another"})  # kinds of refusals that stay refusals even with `fail: open`


@dataclass(frozen=True, slots=True)
class Eviction:
    """A request of the API server.

    Attributes:
        uid: of the request.
        namespace: of the pod.
        pod: its name.
        dry: whether nothing may be changed: no lease is taken.
    """

    uid: str
    namespace: str
    pod: str
    dry: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer: whether the pod may be evicted, and why."""

    allowed: bool
    message: str
    warning: bool = False

    def review(self, uid: str) -> dict[str, Any]:
        """An AdmissionReview with this response."""
        response: dict[str, Any] = {"uid": uid, "allowed": self.allowed}
        if not self.allowed:
            status = {"status": "Failure", "code": 429, "reason": "TooManyRequests", "message": self.message}
            response["status"] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, **status}
        elif self.warning:
            response["warnings"] = [f"ringcheck: {self.message}"[:120]]
        return {"apiVersion": API, "kind": "AdmissionReview", "response": response}


def eviction_of(document: object) -> Eviction:
    """The eviction that a request is about.

    Raises:
        ValueError: it is not an AdmissionReview v1 for the creation of an eviction.
    """
    review = _mapping(document)
    request = _mapping(review.get("request"))
    resource = _mapping(request.get("resource")).get("resource"), request.get("subResource"), request.get("operation")
    uid, namespace, pod = (request.get(name) for name in ("uid", "namespace", "name"))
    kind = review.get("apiVersion"), review.get("kind")
    named = all(isinstance(text, str) and text for text in (uid, namespace, pod))
    if kind != (API, "AdmissionReview") or resource != ("pods", "eviction", "CREATE") or not named:
        raise ValueError(f"not an AdmissionReview of {API} for the creation of pods/eviction")
    options = _mapping(_mapping(request.get("object")).get("deleteOptions"))
    dry = bool(request.get("dryRun") or options.get("dryRun"))
    return Eviction(str(uid), str(namespace), str(pod), dry=dry)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class Evictions:
    """Decides on evictions; thread-safe."""

    def __init__(self, agent: Agent, lock: FleetLock) -> None:
        """Prepare.

        Args:
            agent: polls the clusters, by the configuration in force.
            lock: takes restart leases.
        """
        self._agent = agent
        self._lock = lock

    def decide(self, asked: Eviction, seconds: float) -> Admission:
        """Whether a pod may be evicted; blocks while its cluster is polled."""
        clusters = self._clusters(asked)
        if not clusters:
            return Admission(allowed=True, message="no pod of a configured cluster")
        request = _Request(asked, time.monotonic() + seconds)
        if len(clusters) > 1:
            return _answered(clusters, lambda: self._of_owners(clusters, request))
        [cluster] = clusters
        return _answered(clusters, lambda: self._decided(cluster, request.pod_of(cluster), request))

    def late(self, asked: Eviction) -> Admission:
        """The answer if the gate does not answer in time."""
        clusters = self._clusters(asked)
        text = "the gate has not answered in time: try again"
        return _refusal(clusters, text, known=False) if clusters else Admission(allowed=False, message=text)

    def _clusters(self, asked: Eviction) -> list[Cluster]:
        """The clusters that the pod may belong to, by namespace and name."""
        return [
            cluster
            for cluster in self._agent.config.clusters.values()
            if (settings := cluster.kubernetes)
            and asked.namespace in settings.namespaces
            and any(fnmatchcase(asked.pod, pattern) for pattern in settings.pods)
        ]

    # Pods that may belong to several clusters

    def _of_owners(self, clusters: Sequence[Cluster], request: _Request) -> Admission:
        """The answer of the cluster that has the pod's node; if several have it, all of them must allow the eviction.

        Raises:
            RefusedError: it is not safe.
            UnknownError: no cluster has the node, or it is not known whether one of them has it.
        """
        owners, problems = self._owners(clusters, request)
        if problems or len(owners) > 1:  # before a lease is taken, and whatever else is not known
            for cluster, pod in owners:
                self._raise_if_unsafe(cluster, pod, request)
        if problems or not owners:
            raise UnknownError("; ".join(problems) or "none of these clusters has the pod's node")
        answers = [_answered([cluster], partial(self._decided, cluster, pod, request)) for cluster, pod in owners]
        return min(answers, key=lambda answer: (answer.allowed, not answer.warning))

    def _owners(self, clusters: Sequence[Cluster], request: _Request) -> tuple[list[tuple[Cluster, Pod]], list[str]]:
        """The clusters that have the pod's node, by polls that begin now, and why others may have it too."""
        owners, problems = [], []
        for cluster in clusters:
            try:
                pod = request.pod_of(cluster)
                if pod.ended or resolved(pod.node, seen := self._lock.poll(cluster)) in seen.index:
                    owners.append((cluster, pod))
            except (RefusedError, UnknownError, RingcheckError) as error:
                problems.append(f"not known whether the pod belongs to {cluster.name}: {error}")
        return owners, problems

    # The pod of one cluster

    def _decided(self, cluster: Cluster, pod: Pod, request: _Request) -> Admission:
        if pod.ended:
            return Admission(allowed=True, message=f"no container of {request.asked.pod} runs")
        if cluster.lease is None or request.asked.dry:
            return self._without_lease(cluster, pod, request)
        owner = f"{request.asked.namespace}/{request.asked.pod}"
        try:
            with self._lock.turn(cluster.name):
                self._lock.require_running(cluster)
                grant = self._lock.grant(LeaseClient(owner, cluster, pod.node, PROTOCOL, PURPOSE))
        except RingcheckError as error:
            if not _is_unsafe(error) and _opens([cluster]):
                self._raise_if_unsafe(cluster, pod, request)
            raise
        return Admission(allowed=True, message=grant.value)

    def _raise_if_unsafe(self, cluster: Cluster, pod: Pod, request: _Request) -> None:
        """Ask the gate alone.

        Raises:
            RefusedError: the stop is unsafe. Any other answer, or none, raises no error.
        """
        if not pod.ended:
            with suppress(UnknownError, RingcheckError):
                try:
                    self._without_lease(cluster, pod, request)
                except RefusedError as error:
                    if error.kind in UNSAFE:
                        raise

    def _without_lease(self, cluster: Cluster, pod: Pod, request: _Request) -> Admission:
        wish = Wish(
            nodes=(pod.node,),
            action="restart",
            newcomer=None,
            gate=cluster.gate,
            stable=cluster.stable_readings,
            seconds=max(MARGIN, request.left),
        )
        decision = decided(self._agent, cluster, wish)
        self._agent.recorder.decided(cluster.name, decision, PROTOCOL)
        if decision.decision != "safe":
            raise RefusedError(decision.decision, because(decision))
        return Admission(allowed=True, message=f"{pod.node} of {cluster.name} may stop now")

    # Leases of pods that are back

    def release(self, reading: Reading) -> None:
        """Release the leases of evicted pods whose nodes were started again and are back. Called for each reading."""
        cluster = self._agent.config.clusters.get(reading.cluster)
        if cluster is None or cluster.kubernetes is None or reading.verdict is None or reading.error:
            return
        seen = reading.verdict.snapshot
        for holder in reading.holders or ():
            if holder.owner.startswith(f"{PROTOCOL} ") and holder.purpose == PURPOSE and _is_back(holder, seen):
                with self._lock.turn(cluster.name), closing(open_store(cluster)) as store:
                    store.remove([holder.node], holder.owner)


@dataclass(frozen=True, slots=True)
class _Request:
    """An eviction, and the time on the monotonic clock at which its answer is due."""

    asked: Eviction
    ends: float

    @property
    def left(self) -> float:
        """Seconds until the answer is due."""
        return self.ends - time.monotonic()

    def pod_of(self, cluster: Cluster) -> Pod:
        """The pod, if it is one of this cluster."""
        return pod_of(cluster, self.asked.namespace, self.asked.pod, self.left)


def _answered(clusters: Sequence[Cluster], decide: Callable[[], Admission]) -> Admission:
    """An answer, or the refusal that an error means."""
    try:
        return decide()
    except RefusedError as error:
        return _refusal(clusters, str(error), known=error.kind in UNSAFE)
    except (UnknownError, RingcheckError) as error:
        return _refusal(clusters, str(error), known=_is_unsafe(error))
    except Exception as error:  # noqa: BLE001 - the API server gets an answer
        return _refusal(clusters, bug_text(error), known=False)


def _is_unsafe(error: Exception) -> bool:
    return isinstance(error, LeaseError) and error.unsafe


def _refusal(clusters: Sequence[Cluster], why: str, *, known: bool) -> Admission:
    """A refusal; a grant if safety is not known and the clusters' configuration allows evictions in that case."""
    opens = not known and _opens(clusters)
    what = "allowed, although it is not known whether it is safe" if opens else "refused"
    names = ", ".join(cluster.name for cluster in clusters)
    return Admission(allowed=opens, message=one_line(f"{names}: {what}: {why}"), warning=opens)


def _opens(clusters: Sequence[Cluster]) -> bool:
    """Whether evictions of these clusters are allowed if it is not known whether they are safe."""
    return all(cluster.kubernetes is not None and cluster.kubernetes.fail == "open" for cluster in clusters)


def _is_back(holder: Holder, seen: Snapshot) -> bool:
    """Whether the node of a lease was started after the lease was taken, and serves."""
    target = RestartedNode(holder.node, holder.host_id)
    node = target.find(seen)
    if node is None or node.generation is None:
        return False
    since = unix_seconds(holder.since)
    return since is not None and node.generation > since and lacking(target, seen) is None


# HTTP


def routes(evictions: Evictions, agent: Agent, log: Log) -> list[Route]:
    """The route of the webhook; its last part is the secret of `admission_secret_file`, if one is configured."""
    active = 0

    async def answer(request: Request) -> JSONResponse:
        nonlocal active
        _require_secret(agent, request.path_params.get("secret", ""))
        try:
            asked = eviction_of(decoded(await body_of(request, MAX_BODY)))
        except (ValueError, RecursionError, RefusedError) as error:
            raise HTTPException(400, str(error)) from None
        seconds = _seconds(request.query_params.get("timeout", "")) - MARGIN
        admission = evictions.late(asked)
        if active < MAX_REQUESTS:
            active += 1
            work = started(partial(evictions.decide, asked, seconds))
            work.add_done_callback(finished)
            await asyncio.wait({work}, timeout=seconds)
            admission = work.result() if work.done() else admission
        log(
            "eviction",
            "info" if admission.allowed else "warning",
            pod=f"{asked.namespace}/{asked.pod}",
            allowed=admission.allowed,
            dry_run=asked.dry,
            why=admission.message,
        )
        return JSONResponse(admission.review(asked.uid))

    def finished(_work: object) -> None:
        nonlocal active
        active -= 1

    return [Route(PATH, answer, methods=["POST"]), Route(f"{PATH}/{{secret}}", answer, methods=["POST"])]


def _require_secret(agent: Agent, given: str) -> None:
    """Refuse a path with a wrong secret; guard.py has refused a path without one if the client may not POST."""
    path = agent.config.agent.admission_secret_file
    expected = secret(path) if path else ""
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise HTTPException(404, "Not Found")


def _seconds(timeout: str) -> float:
    """Seconds of the API server's `timeout` parameter, such as `10s`."""
    try:
        return min(LONGEST_SECONDS, max(2 * MARGIN, float(timeout.removesuffix("s"))))
    except ValueError:
        return DEFAULT_SECONDS
