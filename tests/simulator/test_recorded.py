"""The embedded cluster answers every recorded request as the real cluster did."""

from __future__ import annotations

import json
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.simulator.cluster import STARTUPS, UNKNOWN, version_of
from tests.recordings import Recording, recordings
from tests.simulator.replay import CHANGES, VICTIM, ask, rebuild

if TYPE_CHECKING:
    from ringcheck.simulator.cluster import EmbeddedCluster

STATES = [
    recording
    for recording in recordings()
    if not recording.state.startswith(("startup", "joining-sequence"))
    and any("reply" in raw for raw in recording.load())
]

# Values that can't be equal, with the reason; only their types are compared.
OWN = {
    "CurrentGenerationNumber": "a time",
    "getCurrentGenerationNumber": "a time",
    "getEndpointDowntime": "a time",
    "SchemaVersion": "a hash of the schema",
    "getNaturalEndpoints(java.lang.String,java.lang.String,java.lang.String)": "the key's token is not Murmur3's",
    "getNaturalEndpointsWithPort(java.lang.String,java.lang.String,java.lang.String)": "the same",
    "AllEndpointStates": "versions and loads",
    "Ownership": "rounding", "OwnershipWithPort": "rounding",
    "effectiveOwnership": "rounding", "effectiveOwnershipWithPort": "rounding",
    "version": "the agent's own configuration",
    "Count": "requests before the recording",
}  # fmt: skip
# What of 6.0 is not embedded, with the reason; these replies are not compared.
OF_6_0 = {
    "getRangeToEndpointMap": "another order of replicas", "getRangeToEndpointWithPortMap": "the same",
    "describeRingJMX": "the same", "describeRingWithPortJMX": "the same",
    "getPendingRangeToEndpointMap": "cut at the smallest token, and empty ranges that stay after a join",
    "getPendingRangeToEndpointWithPortMap": "the same",
    "OutstandingSchemaVersions": "deprecated: it throws",
    "Count": "scopes of Accord and of new levels", "search": "the same",
    "OperationMode": "a joiner that only surveys writes is JOINING_FAILED", "Initialized": "likewise",
    "NativeTransportRunning": "likewise",
    "describeCMS": "the members as Cassandra chose them",
}  # fmt: skip
LAZY = "scope=RangeSlice"  # since 4.0 it is registered at the first range read, so only some nodes had it


def ident(recording: Any) -> str:
    return f"{recording.line}-{recording.state}-{recording.address}" if isinstance(recording, Recording) else ""


@pytest.mark.slow
@pytest.mark.parametrize("recording", STATES, ids=ident)
def test_answers_as_recorded(recording: Recording) -> None:
    """Status, content type and every value of every recorded exchange are equal, whatever their order."""
    cluster, clock = rebuild(recording)
    for raw in recording.load():
        if "failed" in raw:
            continue
        reply, body = ask(cluster, recording.address, raw)
        assert (reply.status, reply.content_type) == (raw["http_status"], raw["content_type"]), raw.get("post")
        for request, recorded, got in pairs(raw.get("post"), raw["reply"], body):
            if recording.release.startswith("6.") and of_6_0(request):
                continue
            limited = recording.state.startswith("truncating")
            assert comparable(request, got, limited=limited) == comparable(request, recorded, limited=limited), request
        if isinstance(raw.get("post"), dict) and raw["post"].get("operation") in CHANGES:
            clock.now += 60


def of_6_0(request: Any) -> bool:
    """Whether a reply to a request is one of those of 6.0 that are not embedded."""
    names = [item.get("attribute") or item.get("operation") or item["type"] for item in _items(request)]
    return any(isinstance(name, str) and name in OF_6_0 for name in names)


def _items(request: Any) -> list[Any]:
    return (
        [item for item in request if isinstance(item, dict)] if isinstance(request, list) else [request or {"type": ""}]
    )


def pairs(post: Any, recorded: Any, got: Any) -> list[tuple[Any, Any, Any]]:
    if isinstance(recorded, list) and isinstance(got, list) and isinstance(post, list):
        return list(zip(post, recorded, got, strict=True))
    return [(post, recorded, got)]


def comparable(request: Any, reply: Any, *, limited: bool) -> Any:
    """A reply without what differs between any two runs: times, order, and the notation of addresses."""
    if not isinstance(reply, dict):
        return reply
    fields = {key: value for key, value in reply.items() if key != "timestamp"}
    if "error" in fields:
        fields["error"], fields["stacktrace"] = overloads(fields["error"]), "stacktrace" in fields
    if "value" in fields:
        limited = limited or (isinstance(request, dict) and "config" in request)
        fields["value"] = shape("cut", fields["value"]) if limited else value_of(request, fields["value"])
    return fields


def overloads(text: str) -> str:
    """An error text with the signatures of overloaded operations sorted."""
    head, intro, rest = text.partition("Signatures found: ")
    listed, end, tail = rest.partition(". Use a")
    return head + intro + "|".join(sorted(re.findall(r"\(?[^()]*\)", listed.replace("),", ") ")))) + end + tail


def value_of(request: Any, value: Any) -> Any:
    name = request.get("attribute") or request.get("operation") or request["type"] if request else ""
    if str(name).startswith("SchemaVersions") and isinstance(value, dict):  # keyed by a hash of the schema
        return sorted((key if key == "UNREACHABLE" else "", sorted(nodes)) for key, nodes in value.items())
    if isinstance(name, str) and name in OWN:
        return shape(name, value)
    return settled(value, ordered=isinstance(request, dict) and request["type"] == "exec")


def settled(value: Any, *, ordered: bool) -> Any:
    """A value with its lists sorted unless they are replicas, addresses without host names, and options sorted."""
    if isinstance(value, dict):
        return {address(key): item if ordered else settled(item, ordered=ordered) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(json.dumps(item) for item in value if LAZY not in str(item))
    if isinstance(value, str) and "{" in value:
        return re.sub(r"\{(.*)\}", lambda options: "{" + ",".join(sorted(options[1].split(", "))) + "}", value)
    return value


def address(text: str) -> str:
    return re.sub(r"^[^/\[]*/", "/", text) if "/" in text else text


def shape(name: str, value: Any) -> Any:
    """The types of a value, with its keys if they are the same in every run."""
    if isinstance(value, dict) and name == "cut":
        return sorted(json.dumps(shape(name, item)) for item in value.values())
    if isinstance(value, dict):
        return {address(key): shape(name, item) for key, item in value.items() if LAZY not in key}
    if isinstance(value, list):
        return sorted(json.dumps(shape(name, item), sort_keys=True) for item in value)
    if value == "[Object limit exceeded]":
        return value
    return type(value).__name__


STARTED = [item for item in recordings() if item.state.startswith("startup-after") and item.address == VICTIM]


def samples(recording: Recording) -> list[list[dict[str, Any]]]:
    """The exchanges of each moment of a startup, without moments at which a request timed out."""
    moments = [list(group) for _, group in groupby(recording.load(), key=lambda raw: raw["at_seconds"])]
    return [moment for moment in moments if not any("failed" in raw for raw in moment)]


def in_phase(recording: Recording, phase: str, *, early: bool) -> EmbeddedCluster:
    """The recorded cluster with one node held at a phase; `early` asks its snitch too early, before that phase."""
    cluster, clock = rebuild(recording)
    if recording.state.endswith("drain"):
        cluster.drain(VICTIM)
        clock.now += 10
    cluster.down(VICTIM)
    clock.now += 60
    cluster.up(VICTIM, hold="snitch" if early else phase)
    if early:
        assert cluster.snitch(cluster.node(VICTIM), cluster.nodes[0], clock.now) == UNKNOWN
        cluster.node(VICTIM).held = phase
    clock.now += 60
    return cluster


def answers_alike(recording: Recording, sample: list[dict[str, Any]], phase: str, *, early: bool) -> bool:
    cluster = in_phase(recording, phase, early=early)
    return all(
        comparable(request, got, limited=False) == comparable(request, recorded, limited=False)
        for raw in sample
        for request, recorded, got in pairs(raw["post"], raw["reply"], ask(cluster, VICTIM, raw)[1])
    )


@pytest.mark.slow
@pytest.mark.parametrize("line", sorted({item.line for item in STARTED}))
def test_starts_as_recorded(line: str) -> None:
    """Each phase of a startup answers exactly as at some moment of the recorded restarts."""
    both = [item for item in STARTED if item.line == line]
    startup = STARTUPS[[known for known in STARTUPS if version_of(known) <= version_of(both[0].release)][-1]]
    seen = {
        phase
        for item in both
        for sample in samples(item)
        for phase, _ in startup[1:]
        if any(answers_alike(item, sample, phase, early=early) for early in {False, item.state.endswith("kill")})
    }
    assert seen == {phase for phase, _ in startup[1:]}
