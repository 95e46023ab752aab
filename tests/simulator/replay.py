"""Rebuilds a recorded cluster, in its recorded state, as an embedded one, and sends it the recorded requests."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ringcheck.simulator.cluster import EmbeddedCluster, NodeSpec, SimAgent, simple, stock_keyspaces, topology
from ringcheck.simulator.mbeans import SNITCH, STORAGE
from ringcheck.simulator.protocol import SimReply, answer
from tests.recordings import Recording, recordings

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND, VICTIM, PEER, COMER = "127.0.1.2", "127.0.1.3", "127.0.1.4", "127.0.1.5"
PLACES = {"127.0.1.1": "r1", "127.0.1.2": "r2", "127.0.1.3": "r3", "127.0.1.4": "r1", "127.0.1.5": "r1"}
CHANGES = {"drain", "decommission", "stopNativeTransport", "stopNativeTransport()"}
READABLE = (
    "LiveNodes UnreachableNodes JoiningNodes LeavingNodes MovingNodes OperationMode GossipRunning TokenToEndpointMap "
    "NativeTransportRunning ReleaseVersion ClusterName LocalHostId NonSystemKeyspaces CurrentGenerationNumber"
)
CALLABLE = "getRangeToEndpointMap getPendingRangeToEndpointMap getKeyspaceReplicationInfo getNaturalEndpoints"
POLICY = {  # as in policy/policy.xml of the recordings
    STORAGE: frozenset(f"{READABLE} {CALLABLE}".split()),
    SNITCH: frozenset({"getDatacenter", "getRack"}),
}
AGENTS = {
    "auth": ("127.0.1.2", SimAgent(user="monitor", password="s3cret")),  # noqa: S106 - a recorded cluster's
    "policy": ("127.0.1.3", SimAgent(allowed=POLICY)),
    "truncating": ("127.0.1.4", SimAgent(limits={"maxCollectionSize": 3})),
    "truncating-objects": ("127.0.1.4", SimAgent(limits={"maxObjects": 5})),
}


@dataclass
class Clock:
    now: float = 1_795_238_264.0

    def __call__(self) -> float:
        return self.now


def whole(recording: Recording) -> Recording:
    """A recording of the same cluster with all its tokens: of node .1 in this state, or else in the healthy state."""
    same = [other for other in recordings() if other.line == recording.line and other.address == "127.0.1.1"]
    ready = not recording.state.startswith("startup")
    chosen = [other for other in same if ready and other.state == recording.state and other.read("TokenToEndpointMap")]
    return (chosen or [other for other in same if other.state == "healthy"])[0]


def specs(recording: Recording) -> list[NodeSpec]:
    """The recorded nodes with their tokens and host ids."""
    source = whole(recording)
    owned: dict[str, list[int]] = {}
    for token, address in source.read("TokenToEndpointMap").items():
        owned.setdefault(address, []).append(int(token))
    if recording.state == "decommissioned":  # it has left the ring; only its own recording has its host id
        owned.setdefault(COMER, [4711, 4712, 4713, 4714])
    hosts = source.read("EndpointToHostId")
    return [
        NodeSpec(
            address,
            datacenter="dc2" if address == PEER else "dc1",
            rack=PLACES[address],
            tokens=tuple(sorted(tokens)),
            release=release_of(recording, address),
            jolokia=recording.jolokia,
            host_id=hosts.get(address) or recording.read("LocalHostId"),
        )
        for address, tokens in sorted(owned.items())
    ]


def release_of(recording: Recording, address: str) -> str:
    mixed = recording.state.removeprefix("mixed-n4-")
    return mixed if mixed != recording.state and address == PEER else recording.release


def rebuild(recording: Recording) -> tuple[EmbeddedCluster, Clock]:
    """The embedded cluster in the recorded state, unless requests of the recording itself cause that state."""
    clock = Clock()
    everyone = specs(recording)
    founders = [spec for spec in everyone if not (spec.address == COMER and recording.state in {"joining", "joined"})]
    keyspaces = {"blog_1": simple(1), "blog_3": simple(3), "orders": topology(dc1=3, dc2=1)}
    cluster = EmbeddedCluster(founders, stock_keyspaces(recording.release) | keyspaces, name="lab", clock=clock, seed=3)
    if recording.state in AGENTS:
        address, agent = AGENTS[recording.state]
        cluster.configure(address, replace(agent, line=recording.jolokia))
    if not changes_itself(recording):
        change(cluster, recording.state, clock, everyone)
    clock.now += 60
    return cluster, clock


def changes_itself(recording: Recording) -> bool:
    post = recording.load()[0].get("post")
    return isinstance(post, dict) and post.get("operation") in CHANGES


def change(cluster: EmbeddedCluster, state: str, clock: Clock, everyone: list[NodeSpec]) -> None:
    if state in {"joining", "joined"}:
        cluster.join(next(spec for spec in everyone if spec.address == COMER))
    if state in {"leaving", "decommissioned"}:
        cluster.leave(COMER)
    if state in {"joined", "decommissioned"}:
        clock.now += 20
        cluster.finish(COMER)
    if state.startswith("drained"):
        cluster.drain(VICTIM)
    at_once: dict[str, Callable[[str], object]] = {
        "binary-off": cluster.binary_off,
        "gossip-off": cluster.gossip_off,
        "sigstopped": cluster.pause,
        "killed": cluster.down,
        "sigterm-stopped": cluster.stop,
    }
    if state in at_once:
        at_once[state](VICTIM)
    if state == "drained-then-peer-killed":
        clock.now += 60
        cluster.down(PEER)
    if state == "metadata-quorum-lost":
        cluster.down(VICTIM)
        cluster.down(SECOND)


def ask(cluster: EmbeddedCluster, address: str, raw: dict[str, Any]) -> tuple[SimReply, Any]:
    """The embedded node's answer to a recorded request, and its body decoded as by the recorder."""
    body = json.dumps(raw["post"]).encode() if "post" in raw else None
    authorization = f"Basic {base64.b64encode(raw['auth'].encode()).decode()}" if "auth" in raw else None
    query = raw.get("query", "").lstrip("?")
    reply = answer(cluster, cluster.node(address), raw.get("get") or "", query, body, authorization)
    text = b"".join(reply.chunks)
    try:
        return reply, json.loads(text)
    except ValueError:
        return reply, text.decode()
