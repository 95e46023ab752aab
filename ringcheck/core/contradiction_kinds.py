"""The rows of the table of findings for facts that contradict each other: who is a member, where, and who moves."""

from __future__ import annotations

from ringcheck.core.finding_kind import FindingKind
from ringcheck.core.policy import Severity

CONTRADICTION_KINDS = (
    FindingKind(
        code="movement_disagreement",
        severity=Severity.UNKNOWN,
        meaning="Usable views disagree on which nodes join, leave or move, or a view shows a node as joining "
        "although it owns ranges. These coordinators place replicas by a ring that differs from the one that was read. "
        "A note if their clients are served with either ring.",
        next_step="Wait some seconds. If the finding stays, compare `nodetool status` on these nodes, and restart the "
        "node that is behind.",
        reason="contradiction",
        lifts_when="all views know the same movements",
    ),
    FindingKind(
        code="token_disagreement",
        severity=Severity.UNKNOWN,
        meaning="Nodes report different shares of the ring for a member: they know different tokens of some member. "
        "Some coordinators send queries to other replicas than those in the ring that was read.",
        next_step="Wait some seconds. If the finding stays, compare `nodetool ring` on these nodes, and restart the "
        "node that is behind.",
        reason="contradiction",
        lifts_when="all nodes know the same tokens",
    ),
    FindingKind(
        code="live_but_down",
        severity=Severity.OK,
        meaning="A node lists another one as live, but its failure detector has it down, so that its own queries do "
        "not use it: it counts as down for that node. So it is for a moment after a quick restart. It stays so if the "
        "node can't connect to the restarted one, or if that one has died again.",
        next_step="`nodetool status` there shows UN, and `nodetool failuredetector` the truth. If the finding stays, "
        "check the restarted node, and whether the other one can connect to its storage port.",
        gate="judged",
        source_decides=True,
    ),
    FindingKind(
        code="location_disagreement",
        severity=Severity.UNKNOWN,
        meaning="Nodes disagree on the datacenter or rack of a node. Some of them therefore count other replicas as "
        "local, and may send queries to other replicas, than the ring that was read suggests.",
        next_step="Compare `nodetool status` on the nodes named, and the files of their snitches: "
        "cassandra-rackdc.properties or cassandra-topology.properties.",
        reason="contradiction",
        lifts_when="all nodes place the node in the same datacenter and rack",
        distrusts_subject=True,
    ),
    FindingKind(
        code="replication_disagreement",
        severity=Severity.UNKNOWN,
        meaning="Nodes with different schemas have different replications of a keyspace, or some do not know it. Each "
        "coordinator uses its own, and the ring that was read shows one of them. A change of the schema may not "
        "reach nodes of another major release; then this lasts until the end of an upgrade of Cassandra.",
        next_step="Compare `DESCRIBE KEYSPACE` on the nodes named. During an upgrade, run the same ALTER or CREATE "
        "KEYSPACE on a node of each release; else restart the node that is behind.",
        reason="contradiction",
        lifts_when="all nodes have the same replication of the keyspace",
    ),
    FindingKind(
        code="replication_unread",
        severity=Severity.UNKNOWN,
        meaning="Nodes have several schema versions, and the keyspaces of one version could not be read, or could not "
        "be compared with the ring. Coordinators with that version may place replicas differently. Snapshots that were "
        "recorded by older releases of ringcheck lack these keyspaces.",
        next_step="Check the Jolokia of the nodes named, or run `ringcheck doctor`.",
        lifts_when="the keyspaces of each schema version can be read",
    ),
    FindingKind(
        code="wrong_node",
        severity=Severity.UNKNOWN,
        meaning="The Jolokia at an address belongs to another node or another cluster.",
        next_step="Check addresses, port forwards and the `url` template.",
        reason="contradiction",
        lifts_when="the Jolokia at that address is the node's own",
    ),
    FindingKind(
        code="duplicate_host_id",
        severity=Severity.UNKNOWN,
        meaning="Several nodes claim the same host id or the same address, or two agents answer with the same host id.",
        next_step="Look for cloned data directories and for port forwards.",
        reason="contradiction",
        lifts_when="each host id and each address belongs to one node",
        distrusts_subject=True,
    ),
    FindingKind(
        code="contradictory_view",
        severity=Severity.WARNING,
        meaning="A view lists a node both as live and as unreachable. For that view such a node counts as not reached.",
        next_step="Wait for the next poll. If the finding stays, restart gossip on the node whose view it is.",
        reason="contradiction",
        lifts_when="no view lists a node as live and as unreachable",
        distrusts_subject=True,
    ),
    FindingKind(
        code="membership_disagreement",
        severity=Severity.WARNING,
        meaning="Some views know a member that other views do not know.",
        next_step="After a removal, wait a minute. If the finding stays, check `nodetool gossipinfo` on the nodes "
        "named.",
        reason="view_disagreement",
        lifts_when="all views know the same members",
        source_decides=True,
    ),
    FindingKind(
        code="unconfirmed_member",
        severity=Severity.OK,
        meaning="A node that is drained, is starting or has gossip switched off knows a token owner that no serving "
        "node knows. Either the owner has left since, or the serving nodes have lost a member, and the ring that was "
        "read lacks its replicas.",
        next_step="Compare `nodetool status` on the node named and on a serving one. If the owner has left, start the "
        "node named.",
        reason="contradiction",
        lifts_when="all views know the same members",
        source_decides=True,
    ),
    FindingKind(
        code="unconfirmed_address",
        severity=Severity.WARNING,
        meaning="Some nodes know the host id of a token owner, others know the owner by its address alone, and the "
        "owner itself does not confirm the address. The two may be different nodes.",
        next_step="Compare the host ids of `nodetool status` on the nodes named and on the others. Restart the nodes "
        "that do not know the host id.",
        reason="contradiction",
        lifts_when="the node confirms its address, or all nodes know its host id",
        distrusts_subject=True,
        source_decides=True,
    ),
    FindingKind(
        code="address_disagreement",
        severity=Severity.OK,
        meaning="Views know a node under an address that is not its own: the address is stale, or addresses are "
        "translated between the nodes. Whether they reach the node is judged by the address that they know.",
        next_step="If a node that knows a stale address does not reach the other node, restart it.",
        gate="note",
    ),
)
