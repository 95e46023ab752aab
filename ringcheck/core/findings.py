"""The table of findings: what each code means, how bad it is, and what the gate makes of it.

Every code that this release uses has a row. A code without a row, as a snapshot of a newer release may contain, is
UNKNOWN and blocks the gate. Verdict, gate, leases, documents and the page docs/findings.md read this table; there is no
other list of codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.contradiction_kinds import CONTRADICTION_KINDS
from ringcheck.core.coordinator_kinds import COORDINATOR_KINDS
from ringcheck.core.duration_kinds import DURATION_KINDS
from ringcheck.core.finding_kind import FindingKind
from ringcheck.core.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

_SETTLED = "no node is joining, leaving or moving"
_STATED = "its replication is stated under `replication:`"

SECTIONS: Mapping[str, tuple[FindingKind, ...]] = {
    "Ranges that are lost or at risk": (
        FindingKind(
            code="unavailable",
            severity=Severity.CRITICAL,
            meaning="Ranges of a keyspace can't be served at a watched level, as the named coordinator sees it.",
            next_step="Bring back the nodes under *Bring back first*, in that order.",
            gate="judged",
            loses=True,
        ),
        FindingKind(
            code="structurally_unavailable",
            severity=Severity.WARNING,
            meaning="Ranges need more replicas at the level than they have, even with all nodes up: the replication "
            "factor is larger than the number of nodes, a datacenter has no replicas, or SimpleStrategy spans several "
            "datacenters.",
            next_step="This is a mistake in the configuration, not a new outage. Correct the replication, or don't "
            "use that level there.",
            gate="judged",
            loses=True,
        ),
        *COORDINATOR_KINDS,
        FindingKind(
            code="failures_left",
            severity=Severity.WARNING,
            meaning="The keyspace loses its critical level after at most `warning_failures_left` more node failures.",
            next_step="Bring back the nodes that are down. Don't stop any node.",
            gate="judged",
            loses=True,
        ),
    ),
    "The cluster metadata service (Cassandra 6.0+)": (
        FindingKind(
            code="metadata_quorum",
            severity=Severity.WARNING,
            meaning="Fewer members of the cluster metadata service are up than its quorum. No table can be created "
            "or altered, and no node can join, leave, move or be replaced. It is a WARNING, not a page: queries are "
            "served as before, and nodes that stop can start again. A note if there is a quorum, but none to spare.",
            next_step="Bring back the members that are named as down. Don't replace or remove a node before that.",
            gate="judged",
        ),
        FindingKind(
            code="metadata_unknown",
            severity=Severity.UNKNOWN,
            meaning="No node of 6.0 or newer reports the members of the cluster metadata service, or a member is not a "
            "known node. So it is not known whether the service has a quorum.",
            next_step="Allow `describeCMS` of `org.apache.cassandra.tcm:type=CMSOperations` in the access policy.",
            lifts_when="the members of the cluster metadata service are known",
        ),
        FindingKind(
            code="metadata_behind",
            severity=Severity.OK,
            meaning="A view has not yet applied changes of the metadata that another view has: its lists of joining, "
            "leaving and moving nodes may be old.",
            next_step="Wait a second. If the finding stays, check whether that node reaches a member of the metadata "
            "service.",
            reason="view_disagreement",
            lifts_when="all views have applied the same changes",
        ),
        FindingKind(
            code="metadata_contradiction",
            severity=Severity.WARNING,
            meaning="Views that have applied the same changes report different members of the cluster metadata "
            "service. The gate requires a quorum in each of these sets.",
            next_step="Compare `nodetool cms describe` on the nodes.",
            reason="contradiction",
            lifts_when="the views report the same members of the cluster metadata service",
        ),
        FindingKind(
            code="metadata_not_writable",
            severity=Severity.WARNING,
            meaning="The cluster metadata can't be changed, although its members may be up: the service was not "
            "initialised after an upgrade to 6.0, it is being initialised, or commits are paused on a node.",
            next_step="When all nodes run 6.0, run `nodetool cms initialize`. Resume commits that were paused.",
            gate="judged",
        ),
    ),
    "What is not known": (
        FindingKind(
            code="no_usable_view",
            severity=Severity.UNKNOWN,
            meaning="No view is usable: no node answered, or every view was discarded, for the reasons given. Without "
            "a view nothing is known about any keyspace.",
            next_step="See the reasons.",
            lifts_when="a node with a usable view answers",
        ),
        FindingKind(
            code="no_keyspaces",
            severity=Severity.UNKNOWN,
            meaning="A pattern of `-k` matches no keyspace, or no keyspace is watched at any level.",
            next_step="Check `-k` and `monitor`.",
            lifts_when="a keyspace is watched",
        ),
        FindingKind(
            code="rule_unmatched",
            severity=Severity.OK,
            meaning="A pattern of a rule of `monitor` matches no keyspace of the cluster: a typing error, or a "
            "keyspace that does not exist yet. A keyspace without a rule is judged by the default levels.",
            next_step="Correct the pattern, or remove the rule of a keyspace that was dropped.",
            gate="note",
        ),
        FindingKind(
            code="view_missing",
            severity=Severity.UNKNOWN,
            meaning="A node's Jolokia did not answer although other nodes see the node up, or a datacenter has no "
            "usable view of its own. Cassandra needs 18 to 37 s to notice a killed node; until then this is the only "
            "sign.",
            next_step="If the finding stays, check that node's Jolokia.",
            reason="view_missing",
            lifts_when="every node's Jolokia answers",
            waived_for_subject=True,
            eased_by_lease=True,
        ),
        FindingKind(
            code="node_unknown",
            severity=Severity.UNKNOWN,
            meaning="No usable view lists a member as live or as unreachable, so no coordinator reaches it.",
            next_step="Check that node, and `nodetool gossipinfo`.",
            reason="view_missing",
            lifts_when="a view lists the node as live or unreachable",
        ),
        FindingKind(
            code="unknown_datacenter",
            severity=Severity.UNKNOWN,
            meaning="The snitch does not know a node's datacenter (`UNKNOWN_DC`).",
            next_step="Check the snitch's files, and `nodetool gossipinfo`.",
            lifts_when="the snitch knows the node's datacenter",
        ),
        FindingKind(
            code="unknown_endpoint",
            severity=Severity.UNKNOWN,
            meaning="A view lists a live endpoint that is not a node of the snapshot.",
            next_step="Wait for the next poll. If the finding stays, check the node whose view it is.",
            lifts_when="every live endpoint is a known node",
        ),
        FindingKind(
            code="replication_unknown",
            severity=Severity.UNKNOWN,
            meaning="A level needs the replication factor, but the release does not report it (before 3.11.11), or the "
            "strategy is not one of Cassandra's. Each keyspace has one finding, which names the levels.",
            next_step="State the replication under `replication:` in the configuration; this also works for DSE's "
            "EverywhereStrategy.",
            gate="judged",
            lifts_when=_STATED,
        ),
        FindingKind(
            code="ring_contradicts_replication",
            severity=Severity.UNKNOWN,
            meaning="Ranges have more or fewer replicas than the replication requires, even after both were read a "
            "second time: the ring was read from a node that has not fully started, or `replication:` is wrong.",
            next_step="Check `replication:`; restart a node whose snitch was asked for its datacenters too early.",
            lifts_when="ring and replication agree",
        ),
        FindingKind(
            code="ring_unreadable",
            severity=Severity.UNKNOWN,
            meaning="A keyspace's ring could not be read, is incomplete, or was truncated by the agent's limits.",
            next_step="The text has the cause: the access policy, `maxCollectionSize` or `maxObjects`.",
        ),
        FindingKind(
            code="ring_behind",
            severity=Severity.UNKNOWN,
            meaning="A node serves clients, or owns tokens according to some nodes, but owns no tokens in the ring "
            "that was read: the node that the ring was read from is behind. Or a contact point has joined the ring, "
            "and no other node knows it.",
            next_step="If the finding stays, check `nodetool gossipinfo` on the nodes named.",
            lifts_when="the node's tokens are in the ring that is read",
        ),
        FindingKind(
            code="topology_stale",
            severity=Severity.UNKNOWN,
            meaning="The ring may have changed and could not be read again.",
            next_step="If the finding stays, check the Jolokia of the nodes named.",
        ),
        FindingKind(
            code="pending_unreadable",
            severity=Severity.UNKNOWN,
            meaning="Pending ranges could not be read, so writes can't be judged.",
            next_step="As for `ring_unreadable`.",
        ),
    ),
    "Contradictions": CONTRADICTION_KINDS,
    "Views and nodes": (
        FindingKind(
            code="streams_unread",
            severity=Severity.OK,
            meaning="It is not known whether a node is streaming: the request failed or was late. Only the gate asks.",
            next_step="Ask again. If the finding stays, check that node's Jolokia.",
            gate="judged",
            source_decides=True,
        ),
        FindingKind(
            code="view_discarded",
            severity=Severity.WARNING,
            meaning="A node answers, but its view is not usable. Either other nodes see the node up while it is "
            "starting or drained, or while its gossip or native transport is off; or they see it down while it may "
            "still serve clients.",
            next_step="Complete the work on that node: `nodetool enablegossip`, `enablebinary`, or a restart.",
            reason="view_missing",
            lifts_when="that node serves again, or all views see it down",
            waived_for_subject=True,
            eased_by_lease=True,
        ),
        FindingKind(
            code="view_disagreement",
            severity=Severity.WARNING,
            meaning="Some coordinators see a node down and others see it up. The worst view counts.",
            next_step="If it lasts longer than a minute, look for a network partition.",
            reason="view_disagreement",
            lifts_when="all views agree",
            eased_by_lease=True,
        ),
        FindingKind(
            code="gossip_dead",
            severity=Severity.WARNING,
            meaning="A node serves clients and believes that it gossips, but every other view sees it down.",
            next_step="The node is cut off, or its gossip has died: drain it, then restart it. Until it is drained the "
            "gate counts it as up, because it serves clients.",
            reason="view_disagreement",
            lifts_when="all views agree",
            eased_by_lease=True,
        ),
        FindingKind(
            code="schema_disagreement",
            severity=Severity.WARNING,
            meaning="Nodes of one release have different schema versions.",
            next_step="Check `nodetool describecluster`. Wait, or restart the node that differs.",
            reason="schema_disagreement",
            lifts_when="the nodes of each release have one schema version",
        ),
        FindingKind(
            code="paxos_disagreement",
            severity=Severity.WARNING,
            meaning="Coordinators use different variants of Paxos, for example while `paxos_variant` is being changed. "
            "Each of them serves SERIAL and LOCAL_SERIAL by the rules of its own variant, and is judged by these "
            "rules.",
            next_step="Set the same `paxos_variant` on every node, in cassandra.yaml and over JMX.",
            gate="note",
        ),
        FindingKind(
            code="paxos_unknown",
            severity=Severity.OK,
            meaning="A coordinator of 4.1 or newer does not report which variant of Paxos it uses, or reports one that "
            "ringcheck does not know. SERIAL and LOCAL_SERIAL are judged for each variant, and the worst counts.",
            next_step="Allow `PaxosVariant` of `StorageProxy` in the access policy of its Jolokia.",
            gate="note",
        ),
        FindingKind(
            code="topology_changing",
            severity=Severity.OK,
            meaning="A node is joining, leaving or moving, is being removed or is being replaced.",
            next_step="Don't restart any node meanwhile.",
            reason="topology_changing",
            lifts_when=_SETTLED,
        ),
        FindingKind(
            code="node_down",
            severity=Severity.OK,
            meaning="A node is down. Other findings show whether ranges are lost.",
            gate="judged",
        ),
        FindingKind(
            code="coordinator_only",
            severity=Severity.OK,
            meaning="A node owns no tokens and is not joining, leaving or moving (Stargate, `join_ring=false`): it "
            "holds no replicas, and its view is not needed.",
            gate="note",
        ),
        FindingKind(
            code="former_member",
            severity=Severity.OK,
            meaning="A contact point answers but is no longer a member, for example after a decommission.",
            next_step="Remove it from `contact_points`.",
            gate="note",
        ),
        FindingKind(
            code="auth_level_unknown",
            severity=Severity.UNKNOWN,
            meaning="Cassandra reads system_auth at a level that ringcheck does not know. So it is not known whether "
            "clients can log in.",
            next_step="Set `auth_read_consistency_level` to a known level, or name system_auth under `monitor:` with a "
            "level.",
            lifts_when="the level at which logins read system_auth is known",
        ),
        FindingKind(
            code="auth_level_missing",
            severity=Severity.OK,
            meaning="A node does not report the level at which it reads system_auth; that is normal until the first "
            "login after its start. Other nodes report a level other than the default, so both levels are watched.",
            next_step="Log in to the node once, with a role other than `cassandra`.",
            gate="note",
        ),
        FindingKind(
            code="logins_without_replicas",
            severity=Severity.WARNING,
            meaning="Clients must log in, and a datacenter whose nodes serve clients has no replica of system_auth: "
            "logins read it at a LOCAL level there, and fail.",
            next_step="Add the datacenter to the replication of system_auth, and repair the keyspace there. If the "
            "datacenter has no clients, name the others in `client_datacenters`.",
            gate="note",
        ),
        FindingKind(
            code="auth_not_watched",
            severity=Severity.OK,
            meaning="No node shows that clients must log in, so system_auth is not watched. Authenticators other than "
            "Cassandra's own can be seen only from 4.1 on, after the first login.",
            next_step="If clients log in, set `authenticates: true`. If they don't, set it to `false`: the note ends.",
            gate="note",
        ),
    ),
    "Time limits and replication": DURATION_KINDS,
    "Levels that follow the queries": (
        FindingKind(
            code="level_changed",
            severity=Severity.OK,
            meaning="Clients use another level than before; the note is shown for a day. Rules with `auto` follow, and "
            "the gate keeps the levels in use.",
            next_step="`ringcheck levels` shows the evidence.",
            gate="note",
        ),
        FindingKind(
            code="levels_unclear",
            severity=Severity.OK,
            meaning="Part of the window is not known, so the default levels apply in addition to those in use.",
            next_step="Wait for the rest of the window, or make the named sources readable.",
            gate="judged",
        ),
    ),
    "Restarts under way": (
        FindingKind(
            code="lease_held",
            severity=Severity.OK,
            meaning="A node is under a restart lease, for the reason given.",
            gate="judged",
        ),
        FindingKind(
            code="lease_overdue",
            severity=Severity.WARNING,
            meaning="A lease is older than its `deadline`, or its time is not plausible. It turns no warning into a "
            "note.",
            next_step="Finish the restart, or `ringcheck lease break` once the node is back.",
            gate="judged",
        ),
        FindingKind(
            code="leases_unknown",
            severity=Severity.OK,
            meaning="The lease store did not answer. No warning becomes a note because of a lease.",
            next_step="Check etcd, or the lock file that is configured.",
            gate="judged",
        ),
    ),
}

FINDINGS: Mapping[str, FindingKind] = {kind.code: kind for kinds in SECTIONS.values() for kind in kinds}
_RANKS = {code: rank for rank, code in enumerate(FINDINGS)}


def kind_of(code: str) -> FindingKind:
    """The row of a code; a code without a row is UNKNOWN and blocks."""
    unlisted = FindingKind(code=code, severity=Severity.UNKNOWN, meaning="A finding that this release does not know.")
    return FINDINGS.get(code, unlisted)


def rank_of(code: str) -> int:
    """The position of a code's row in the table; behind all rows if it has none."""
    return _RANKS.get(code, len(_RANKS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that an operator should know.

    Attributes:
        code: stable name, documented in docs/findings.md.
        severity: OK for a note.
        subject: node address, keyspace, datacenter or cluster that it is about.
        summary: one line.
        detail: what it means or what to do; may be empty.
        share: share of the token space that is lost, 0 to 1; orders findings of one severity.
        level: the consistency level that it is about, if it is about one.
        datacenter: the clients' datacenter, if the level has one.
        more: how many findings of its code and severity it stands for, which are left out; 0 for an ordinary finding.
        since: UTC, `2026-01-31T23:59:59Z`: when it got this severity; None if not known.
    """

    code: str
    severity: Severity
    subject: str
    summary: str
    detail: str = ""
    share: float = 0.0
    level: str | None = None
    datacenter: str | None = None
    more: int = 0
    since: str | None = None

    @property
    def kind(self) -> FindingKind:
        """Its row in the table."""
        return kind_of(self.code)

    @property
    def count(self) -> int:
        """Findings that it stands for: one, or `more` if it counts those that are left out."""
        return max(1, self.more)


def noted(code: str, subject: str, summary: str, detail: str = "", *, share: float = 0.0) -> Finding:
    """A finding with the severity that the table has for it.

    Raises:
        KeyError: if the table has no such code.
    """
    severity = FINDINGS[code].severity
    return Finding(code=code, severity=severity, subject=subject, summary=summary, detail=detail, share=share)
