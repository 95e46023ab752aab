"""Every recorded reply of a real cluster becomes the right model, or the right error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.endpoint import ip_of
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.ring import NORMAL, PARTITIONERS, Replication, Ring
from ringcheck.errors import DataError, SourceError
from ringcheck.jolokia import endpoints, gossip, mbeans, node_report, outcomes, rangemaps
from ringcheck.jolokia.outcomes import Outcome
from ringcheck.jolokia.rangemaps import NodeIndexes
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.jolokia.testimony import refusal
from tests.fake_jolokia import Agent, recorded_cluster
from tests.recordings import Recording, recordings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.ring import Snapshot
    from ringcheck.jolokia.node_report import NodeReport

LINES = sorted({item.line for item in recordings()})
ALL = [f"127.0.1.{number}" for number in range(1, 6)]
FIRST = "127.0.1.1"
PATIENCE = 1.5  # seconds for one request: a stopped node costs all of them, and a busy machine needs them
UNKEPT = {"auth", "policy", "truncating", "truncating-objects"}  # one node each, with its own tests
CLUSTERS = sorted({(item.line, item.state) for item in recordings() if item.state not in UNKEPT})
SEQUENCES = [item for item in recordings() if item.state.startswith("startup") or item.state == "joining-sequence"]
STARTS = [item for item in SEQUENCES if "startup" in item.state and item.address != FIRST]
WHOLE = [
    pair for pair in CLUSTERS if "startup" not in pair[1] and pair[1] not in {"joining-sequence", "sigterm-stopped"}
]


def named(item: object) -> str:
    if isinstance(item, Recording):
        return f"{item.line}-{item.state}-{item.address}"
    return "-".join(item) if isinstance(item, tuple) else str(item)


# Item by item.


def shape(name: str, value: Any, members: NodeIndexes) -> object:
    """Decode a value by the name of its attribute or operation."""
    if name.startswith(("getRangeToEndpoint", "getPendingRangeToEndpoint")):
        return rangemaps.pending(value, members, name)
    if name.endswith(("ToHostId", "ToHostIdMap")):
        return endpoints.host_ids(value, name)
    if name in {*mbeans.LISTS, *mbeans.LISTS_WITH_PORT}:
        return endpoints.endpoints(value, name)
    if name == mbeans.REPLICATION:
        return Replication.parse(outcomes.text(value, name))
    if name == mbeans.STATES:
        return gossip.gossiped_releases(value)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("recording", recordings(), ids=named)
def test_every_recorded_item_is_decoded(recording: Recording) -> None:
    """Every recorded answer becomes a value of the right form or an error of one line; no other exception is raised."""
    members = NodeIndexes(lambda endpoint: ALL.index(ip_of(endpoint)))
    for item in recording.items():
        asked = item.request
        if not isinstance(asked, dict) or "config" in asked or recording.state.startswith("truncating"):
            continue
        if item.raw["http_status"] != 200 or asked.get("type") not in {"read", "exec"}:
            continue
        outcome = outcomes.outcome(item.reply)
        if outcome.status == 200:
            shape(str(asked.get("operation") or asked.get("attribute")), outcome.value, members)
        else:
            assert outcome.status in {400, 403, 404, 500}
            with pytest.raises((DataError, SourceError)) as caught:
                outcome.get("it")
            assert "\n" not in str(caught.value)


def test_collapsed_bulks_are_recognised() -> None:
    """Every recorded bulk in which an Error was thrown came back as one object."""
    collapsed = 0
    for recording in recordings():
        for raw in recording.load():
            if isinstance(raw.get("post"), list) and isinstance(raw.get("reply"), dict):
                assert outcomes.outcomes(raw["reply"], len(raw["post"])) is None
                collapsed += 1
            elif isinstance(raw.get("post"), list) and isinstance(raw.get("reply"), list):
                assert len(outcomes.outcomes(raw["reply"], len(raw["post"])) or []) == len(raw["post"])
    assert collapsed > 30


# States of whole clusters, through HTTP.


def snapshot_of(line: str, state: str, **settings: Any) -> Snapshot:
    """The snapshot of a recorded state, with its first node as the contact point."""
    with recorded_cluster(line, state) as cluster:
        source = JolokiaSource(
            JolokiaSettings(contact_points=(FIRST,), url=cluster.template, timeout=PATIENCE, **settings)
        )
        try:
            snapshot = source.poll(2.0)
            assert source.poll(2.0).rings == snapshot.rings
            return snapshot
        finally:
            source.close()


def views(snapshot: Snapshot) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason by the last octet of the observer's address."""
    return {view.observer[-1]: (view.outcome, view.reason) for view in snapshot.views}


OK = ("ok", None)
SIX = "6.0-alpha2-jolokia2"
DISCARDED = {
    "drained": "drained",
    "drained-then-peer-killed": "drained",
    "gossip-off": "gossip is off: its view is frozen",
    "binary-off": "native transport is off: it serves no clients",
    "joining": "joining",
}


@pytest.mark.slow
@pytest.mark.parametrize(("line", "state"), [pytest.param(*one, id=named(one)) for one in WHOLE])
def test_a_recorded_state_gives_the_right_views(line: str, state: str) -> None:
    """Only the view of a serving node counts; any other has a reason, and a silent node has no view."""
    snapshot = snapshot_of(line, state)
    seen = views(snapshot)
    victim = "5" if state in {"joining", "leaving", "joined"} else "3"
    for number, view in seen.items():
        if number == victim and state in DISCARDED:
            surveys = (line, state) == (SIX, "joining")  # its node 5 only surveys writes, and serves clients
            assert view == (OK if surveys else ("discarded", DISCARDED[state]))
        elif view != OK:
            assert view[0] == "unreachable"
    assert seen["1"] == OK
    assert snapshot.rings
    assert not snapshot.problems
    assert snapshot.partitioner == "Murmur3Partitioner"


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_healthy_cluster_is_complete(line: str) -> None:
    """Names, locations, releases, tokens, views and rings are as the README of the recordings states them."""
    snapshot = snapshot_of(line, "healthy")
    assert [node.address for node in snapshot.nodes] == ALL[:4]
    assert [node.datacenter for node in snapshot.nodes] == ["dc1", "dc1", "dc1", "dc2"]
    assert [node.rack for node in snapshot.nodes] == ["r1", "r2", "r3", "r1"]
    assert {node.release_version for node in snapshot.nodes} == {line.rpartition("-")[0]}
    assert {node.tokens for node in snapshot.nodes} == {4}
    assert {node.mode for node in snapshot.nodes} == {NORMAL}
    assert all(view.outcome == "ok" and view.live == frozenset(ALL[:4]) for view in snapshot.views)
    modern = mbeans.release(line) >= mbeans.REPLICATION_INFO
    strategies = {str(ring.replication) for ring in snapshot.rings}
    whole = {
        "NetworkTopologyStrategy {dc1=3, dc2=1}",
        *(f"SimpleStrategy {{replication_factor={n}}}" for n in (1, 2, 3)),
    }
    assert strategies == (whole if modern else {"None"})
    assert sorted(name for ring in snapshot.rings for name in ring.keyspaces) == [
        "blog_1", "blog_3", "orders", "system_auth", "system_distributed", "system_traces",
    ]  # fmt: skip
    assert all(len(ring) == 16 for ring in snapshot.rings)
    assert len({id(ring.tokens) for ring in snapshot.rings}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_the_rings_are_those_of_the_recording(line: str) -> None:
    """The replicas of every range are the recorded ones, in the recorded order."""
    recording = next(item for item in recordings() if (item.line, item.state) == (line, "healthy"))
    for ring in snapshot_of(line, "healthy").rings:
        for keyspace in ring.keyspaces:
            ranges = recording.exec("getRangeToEndpointMap", keyspace)
            read = {ring.range(index): [ALL[node] for node in ring.replicas(index)] for index in range(len(ring))}
            assert read == {rangemaps.tokens_of_key(key): replicas for key, replicas in ranges.items()}


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line, state in CLUSTERS if state == "sigstopped"])
def test_a_stopped_process_is_unreachable_and_a_killed_one_too(line: str) -> None:
    """A node that accepts connections and never answers differs only in the reason from one that refuses them."""
    for state, reason in (("sigstopped", "no answer in time"), ("killed", "connection refused")):
        snapshot = snapshot_of(line, state)
        node = snapshot.nodes[2]
        assert (node.source, node.mode, node.datacenter, node.tokens) == ("unreachable", None, "dc1", 4)
        outcome, text = views(snapshot)["3"]
        assert (outcome, str(text).partition("jolokia: ")[2]) == ("unreachable", reason)
        assert all(view.live == frozenset(ALL[:4]) - {ALL[2]} for view in snapshot.views if view.outcome == "ok")


def test_the_release_of_a_dead_node_is_known_from_gossip() -> None:
    """A node that does not answer keeps its release, since consistency rules differ between releases."""
    healthy = next(item for item in recordings() if (item.line, item.state) == ("3.11.19-jolokia1", "healthy"))
    states = healthy.read(mbeans.STATES)
    with recorded_cluster("3.11.19-jolokia1", "killed") as cluster:
        first = cluster.agents[FIRST]
        plain = first.answer
        known: Any = {"status": 200, "value": states}
        first.answer = lambda item: known if item.get("attribute") == mbeans.STATES else plain(item)
        source = JolokiaSource(JolokiaSettings(contact_points=(FIRST,), url=cluster.template, timeout=PATIENCE))
        assert [node.release_version for node in source.poll(2.0).nodes] == ["3.11.19"] * 4
        source.close()


@pytest.mark.slow
@pytest.mark.parametrize(("line", "state"), [pair for pair in CLUSTERS if pair[1] in {"joining", "leaving"}], ids=named)
def test_moving_nodes_have_pending_ranges(line: str, state: str) -> None:
    """While a node joins or leaves, the ring has pending ranges of the right nodes."""
    snapshot = snapshot_of(line, state)
    view = snapshot.views[0]
    assert (view.joining if state == "joining" else view.leaving) == {ALL[4]}
    assert [node.tokens for node in snapshot.nodes] == [4, 4, 4, 4, 0 if state == "joining" else 4]
    for ring in snapshot.rings:
        assert ring.pending
        gaining = {node for item in ring.pending for node in item.replicas}
        assert gaining == {4} if state == "joining" else 4 not in gaining
        assert len(ring) == (16 if state == "joining" else 20)


@pytest.mark.parametrize("pair", [pair for pair in CLUSTERS if pair[1].startswith("mixed")], ids=named)
def test_a_mixed_cluster_is_one_cluster(pair: tuple[str, str]) -> None:
    """During an upgrade each node is asked for what its own release has, and all nodes agree."""
    snapshot = snapshot_of(*pair)
    old, new = pair[0].rpartition("-")[0], pair[1].rpartition("-")[2]
    assert [node.release_version for node in snapshot.nodes] == [old, old, old, new]
    assert all(view.outcome == "ok" and view.live == frozenset(ALL[:4]) for view in snapshot.views)
    assert len({view.schema_version for view in snapshot.views}) == 2


# The metadata service.


def test_recorded_members_of_the_metadata_service_are_read() -> None:
    """All nodes report the same members, with or without host names; Cassandra itself replaced one by the new node."""
    healthy, joined = snapshot_of(SIX, "healthy"), snapshot_of(SIX, "joined")
    assert {view.metadata and (view.metadata.members, view.metadata.epoch) for view in healthy.views} == {
        (frozenset(ALL[:3]), 21)
    }
    assert [view.metadata and view.metadata.state for view in healthy.views] == ["LOCAL", "LOCAL", "LOCAL", "REMOTE"]
    assert {view.metadata and view.metadata.members for view in joined.views} == {frozenset({ALL[1], ALL[2], ALL[4]})}


def test_recorded_ranges_that_no_node_gains_are_not_pending() -> None:
    """6.0 keeps the ranges of a node that has joined in its map of pending ranges, without replicas."""
    recording = next(item for item in recordings() if (item.line, item.state) == (SIX, "joined"))
    assert set(map(len, recording.exec("getPendingRangeToEndpointMap", "orders").values())) == {0}
    assert not any(ring.pending for ring in snapshot_of(SIX, "joined").rings)


@pytest.mark.slow
def test_a_recorded_loss_of_the_metadata_quorum_is_judged() -> None:
    """With two of the three members killed there is a WARNING, and only those two may stop."""
    killed, lost = snapshot_of(SIX, "killed"), snapshot_of(SIX, "metadata-quorum-lost")
    texts = {
        state: {finding.code: finding for finding in assess(snapshot, Policy()).findings}["metadata_quorum"]
        for state, snapshot in (("killed", killed), ("lost", lost))
    }
    assert (texts["killed"].severity, texts["lost"].severity) == (Severity.OK, Severity.WARNING)
    assert texts["lost"].detail == "as 127.0.1.1 sees it; down: 127.0.1.2, 127.0.1.3"
    for stop, snapshot, unsafe in ((ALL[4], killed, True), (ALL[0], killed, False), (ALL[0], lost, True)):
        reasons = Gatekeeper(snapshot, Policy(), Gate()).decide([stop]).reasons
        assert unsafe is ("metadata_quorum" in {reason.code for reason in reasons if reason.blocks})


# The start, sample by sample.


def samples(recording: Recording) -> Iterator[tuple[float, NodeReport]]:
    """The reports of a starting node, in the order of time."""
    for raw in recording.load():
        asked, replies = raw.get("post"), raw.get("reply")
        if isinstance(asked, list) and isinstance(replies, list) and len(asked) > 20:
            answers = {item["attribute"]: outcomes.outcome(answer) for item, answer in zip(asked, replies, strict=True)}
            answers.setdefault("SchemaVersion", Outcome(status=404))
            yield raw["at_seconds"], node_report.node_report(answers, {})


def judged_samples(recording: Recording) -> list[tuple[NodeReport, str | None]]:
    """Each sample with the reason why its view does not count, or None if it counts."""
    return [(report, refusal(report)) for _, report in samples(recording)]


@pytest.mark.parametrize("recording", [item for item in SEQUENCES if item.address != FIRST], ids=named)
def test_a_starting_node_does_not_count_before_it_serves(recording: Recording) -> None:
    """No sample counts before CQL is served. The first that counts lists all nodes, so that none is isolated."""
    members = ALL if recording.state == "joining-sequence" else ALL[:4]
    judged = judged_samples(recording)
    reasons = [reason for _, reason in judged]
    usable = reasons.index(None) if None in reasons else len(reasons)
    assert usable > 0
    assert set(reasons[usable:]) <= {None}
    for report, _ in judged[usable:]:
        assert (report.mode, report.native_transport_running) == (NORMAL, True)
        assert {ip_of(endpoint) for endpoint in report.live | report.unreachable} >= set(members)


def test_some_start_was_seen_to_its_end() -> None:
    """In most recordings the node was usable in the end; otherwise the test above would prove nothing."""
    ended = [judged_samples(item)[-1][1] for item in STARTS]
    assert ended.count(None) > len(ended) / 2


@pytest.mark.parametrize("recording", STARTS, ids=named)
def test_a_starting_node_never_gives_a_ring(recording: Recording) -> None:
    """If the only contact point is starting, its view is discarded, whatever ring it would report."""
    first = next(raw for raw in recording.load() if isinstance(raw.get("reply"), list) and len(raw["reply"]) > 20)
    replies = {item["attribute"]: reply for item, reply in zip(first["post"], first["reply"], strict=True)}
    absent = {"status": 404, "error_type": "javax.management.InstanceNotFoundException", "error": "x", "request": {}}
    with Agent(lambda item: replies.get(item.get("attribute", ""), absent), host=recording.address) as agent:
        source = JolokiaSource(
            JolokiaSettings(
                contact_points=(agent.url,), url=f"http://{{address}}:{agent.port}/jolokia", timeout=PATIENCE
            )
        )
        snapshot = source.poll(2.0)
        source.close()
        asked = {item["mbean"] for item in agent.items}
    assert (snapshot.rings, {view.outcome for view in snapshot.views} & {"ok"}) == ((), set())
    assert snapshot.nodes
    assert mbeans.SNITCH not in asked


# Agents that are configured differently.


def replies_of(line: str, state: str) -> list[dict[str, Any]]:
    return next(item for item in recordings() if (item.line, item.state) == (line, state)).load()


@pytest.mark.parametrize("line", [item.line for item in recordings() if item.state == "auth"])
def test_an_agent_that_requires_a_password_is_denied(line: str) -> None:
    """The recorded 401 of each line of Jolokia has kind `denied`, and the node has no view."""
    assert all(raw["http_status"] == 401 for raw in replies_of(line, "auth") if raw.get("auth") != "monitor:s3cret")
    with Agent(auth=("monitor", "other")) as agent:
        source = JolokiaSource(JolokiaSettings(contact_points=(agent.url,)))
        with pytest.raises(
            SourceError, match=r"no node answered: .*HTTP 401, it requires a user name and password"
        ) as caught:
            source.poll(1.0)
        assert caught.value.kind == "denied"
        source.close()


@pytest.mark.parametrize("line", [item.line for item in recordings() if item.state == "policy"])
def test_a_policy_that_forbids_too_much_is_reported(line: str) -> None:
    """Under a policy a 403 does not show whether an attribute is missing or denied; the error names the attribute."""
    bulk = replies_of(line, "policy")[0]
    answers = {
        item["attribute"]: outcomes.outcome(answer) for item, answer in zip(bulk["post"], bulk["reply"], strict=True)
    }
    assert answers["LiveNodesWithPort"].status == answers["SchemaVersion"].status == 403
    with pytest.raises(SourceError, match=r"^EndpointToHostId: the agent refuses: Reading attribute Endp") as caught:
        node_report.node_report(answers, {})
    assert caught.value.kind == "denied"
    report = node_report.node_report({name: value for name, value in answers.items() if "ToHostId" not in name}, {})
    assert (report.with_port, len(report.live), report.schema_version) == (False, 4, None)


@pytest.mark.parametrize("state", ["truncating", "truncating-objects"])
@pytest.mark.parametrize("line", [item.line for item in recordings() if item.state == "truncating"])
def test_limits_of_an_agent_are_lifted_by_what_is_sent(line: str, state: str) -> None:
    """A request with the limit 0 gets the whole list from an agent with a limit of its own, and no other number does.

    Every request has these settings (`mbeans.NO_LIMITS`).
    """
    lifted, cut = 0, 0
    for raw in replies_of(line, state):
        asked = raw["post"] if isinstance(raw.get("post"), list) else [raw.get("post")]
        answers = raw["reply"] if isinstance(raw["reply"], list) else [raw["reply"]]
        for item, answer in zip(asked, answers, strict=True):
            if not isinstance(item, dict) or item.get("attribute") != "LiveNodes":
                continue
            config = item.get("config") or {}
            free = "Size=0" in raw.get("query", "") or 0 in config.values()
            whole = len(answer["value"]) == 4 and "[Object limit exceeded]" not in answer["value"]
            assert whole or not free
            lifted += free
            cut += not whole
    assert lifted
    assert cut or state == "truncating-objects"
    assert {name: value for name, value in mbeans.NO_LIMITS.items() if name.startswith("max")} == {
        "maxCollectionSize": 0, "maxObjects": 0, "maxDepth": 0,
    }  # fmt: skip


def narrowest(value: Any, members: NodeIndexes) -> int:
    """The fewest replicas of any range, for the core to compare with the replication; 0 if a map makes no ring."""
    try:
        rows = rangemaps.pending(value, members, "the range map")
        ring = Ring.build(["orders"], None, [(row.start, row.end, row.replicas) for row in rows], len(ALL))
    except DataError:
        return 0
    return min(len(ring.replicas(index)) for index in range(len(ring)))


@pytest.mark.parametrize("line", [item.line for item in recordings() if item.state == "truncating"])
def test_a_truncated_ring_is_never_a_ring(line: str) -> None:
    """A truncated range map does not cover the ring, is not a map of lists, or lacks replicas."""
    members = NodeIndexes(lambda endpoint: ALL.index(ip_of(endpoint)))
    refused = 0
    for recording in recordings():
        for item in recording.items():
            asked = item.request
            if recording.line != line or not isinstance(asked, dict):
                continue
            limits = [value for name, value in (asked.get("config") or {}).items() if name.startswith("max") and value]
            if asked.get("operation") != "getRangeToEndpointMap" or not limits or item.reply["status"] != 200:
                continue
            assert narrowest(item.reply["value"], members) < 4
            refused += 1
    assert refused


def test_recordings_are_of_known_partitioners() -> None:
    """All recordings have a supported partitioner; otherwise the tests above would prove nothing."""
    names = {json.dumps(item.read("PartitionerName")) for item in recordings() if item.state == "healthy"}
    assert names == {'"org.apache.cassandra.dht.Murmur3Partitioner"'}
    assert "Murmur3Partitioner" in PARTITIONERS
