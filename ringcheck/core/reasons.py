"""The table of the gate's reasons: which answer each of them leads to, and what lifts it.

The table is complete: gate, plan, runner, documents and docs/gate.md read it, and no other file lists the codes. A
reason whose code has no row, as in the document of a newer release, blocks and makes the answer `unsafe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.consistency import Level

DecisionWord: TypeAlias = Literal["safe", "unsafe", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonKind:
    """One row of the table.

    Attributes:
        code: stable name.
        answer: the gate's answer if the reason blocks: `unsafe`, or `unknown` if something is not known; `safe` for a
            note, which never blocks.
        meaning: one sentence, for docs/gate.md.
        lifts_when: what lifts it, unless the reason itself is more precise.
        waived_for_subject: whether it does not block the stop of the node that it is about.
        takes: whether it is about replicas or ranges that the stop takes away.
        lost: whether its ranges are lost by the stop or before it; None if it is not about lost ranges.
        headline: order among the reasons of one answer: 0 for a reason that explains others, 1 for what the stop takes,
            2 for the rest.
        passing: whether it passes once all nodes are up and settled: a plan notes it, and does not refuse nodes for it.
    """

    code: str
    answer: DecisionWord
    meaning: str
    lifts_when: str = ""
    waived_for_subject: bool = False
    takes: bool = False
    lost: Literal["by_the_stop", "before"] | None = None
    headline: int = 2
    passing: bool = False


_KINDS = (
    ReasonKind(
        code="would_become_unavailable",
        answer="unsafe",
        meaning="Ranges that are available now would become unavailable.",
        lifts_when="more of their replicas are up",
        takes=True,
        lost="by_the_stop",
        headline=1,
    ),
    ReasonKind(
        code="structurally_never_safe",
        answer="unsafe",
        meaning="Ranges have no replica to spare even with all nodes up: RF 1, or ALL.",
        lifts_when="the replication factor is raised, a lower level is kept, or the keyspace is accepted by name",
        takes=True,
        lost="by_the_stop",
        headline=1,
    ),
    ReasonKind(
        code="metadata_quorum",
        answer="unsafe",
        meaning="Fewer members of the cluster metadata service (Cassandra 6.0+) would be left than its quorum: no "
        "table could be created, and no node could join, leave, move or be replaced. It also blocks if the quorum is "
        "lost already, unless every candidate is down already and is to be restarted.",
        lifts_when="more members of the cluster metadata service are up",
        takes=True,
        headline=1,
    ),
    ReasonKind(
        code="last_coordinator",
        answer="unsafe",
        meaning="A datacenter with clients would have no coordinator left, so that its clients have no node to connect "
        "to, although every range can be served at its level. A note if the datacenter has only one node and "
        "neither `client_datacenters` nor the queries show that it has clients. Left out if they lose ranges anyway.",
        lifts_when="another of its nodes serves clients, or `client_datacenters` names only other datacenters",
        takes=True,
        headline=1,
    ),
    ReasonKind(
        code="metadata_not_writable",
        answer="unsafe",
        meaning="With every action but `restart`: nodes refuse to change the cluster metadata. The service is not "
        "initialised, is being initialised, or its commits are paused.",
        lifts_when="changes of the cluster metadata are committed again",
    ),
    ReasonKind(
        code="already_unavailable",
        answer="unsafe",
        meaning="Ranges are unavailable before any node stops. A note if every candidate is down already: then the "
        "restart is the cure.",
        lost="before",
        headline=1,
        lifts_when="the nodes that are down are back",
    ),
    ReasonKind(
        code="candidate_down",
        answer="unsafe",
        meaning="With `--action decommission`: the node is down. Only a node that is up can leave; a dead node is "
        "removed (`nodetool removenode`).",
        lifts_when="the node is up; a dead node is removed instead",
    ),
    ReasonKind(
        code="candidate_up",
        answer="unsafe",
        meaning="With `--action removenode` or `replace`: not every usable view lists the node as unreachable, or its "
        "own Jolokia reports that it serves clients. Only a dead node can be removed or replaced.",
        lifts_when="every view lists the node as unreachable; a node that is up is decommissioned instead",
    ),
    ReasonKind(
        code="not_a_member",
        answer="unsafe",
        meaning="With `--action removenode` or `replace`: the node owns no tokens, so there is nothing to remove or "
        "replace.",
        lifts_when="a member is named",
    ),
    ReasonKind(
        code="one_at_a_time",
        answer="unsafe",
        meaning="With `--action removenode`: several nodes are named. Cassandra removes one at a time.",
        lifts_when="one node is named",
    ),
    ReasonKind(
        code="no_live_source",
        answer="unsafe",
        meaning="With `--action removenode`, `replace` or `bootstrap`: ranges have no reliable replica from which "
        "their data could be streamed. A note for keyspaces that are accepted, and for system keyspaces that are not "
        "watched, if Cassandra continues without their data: it does so for `removenode`, and for `replace` with RF 1.",
        lifts_when="a replica of these ranges is up",
        takes=True,
        headline=1,
    ),
    ReasonKind(
        code="shared_ranges",
        answer="unsafe",
        meaning="With `--action replace`: several nodes are named, and ranges that they share have fewer live replicas "
        "than a quorum. Values that only the dead nodes acknowledged would be lost, and no repair could restore them. "
        "The groups that may be replaced at once are in `together` of the decision.",
        lifts_when="they are replaced one after the other",
    ),
    ReasonKind(
        code="rack_differs",
        answer="unsafe",
        meaning="With `--action replace`: the new node is not in the datacenter and rack of the node that it replaces, "
        "so it would hold other ranges. If the place of the new node is not stated, this is a note that states the "
        "required place.",
        lifts_when="the new node is in the rack of the node that it replaces",
    ),
    ReasonKind(
        code="new_datacenter",
        answer="unsafe",
        meaning="With `--action bootstrap`: the datacenter of the new node has no node yet, but a keyspace has "
        "replicas there. A note if no keyspace has replicas there.",
        lifts_when="no keyspace has replicas there; add the nodes, then alter the keyspaces and rebuild the nodes",
    ),
    ReasonKind(
        code="placement_unknown",
        answer="unsafe",
        meaning="With `--action decommission`, `removenode` or `bootstrap` in a cluster of several datacenters: it is "
        "not known where SimpleStrategy would place the replicas of a keyspace that must keep a LOCAL level.",
        lifts_when="the keyspace is altered to NetworkTopologyStrategy and repaired, or accepted by name",
    ),
    ReasonKind(
        code="replication_would_not_fit",
        answer="unsafe",
        meaning="With `--action decommission` or `removenode`: fewer nodes would be left than the replication factor.",
        lifts_when="the replication factor is lowered, or a node joins",
    ),
    ReasonKind(
        code="lease_held",
        answer="unsafe",
        meaning="Other nodes are under a restart lease and count as down. A note; it blocks with every action but "
        "`restart`. With `--action removenode` or `replace` the candidate's own lease blocks too: its owner is "
        "going to bring the node back.",
        lifts_when="the lease is released",
        headline=0,
        passing=True,
    ),
    ReasonKind(
        code="node_down_elsewhere",
        answer="unsafe",
        meaning="Another node is down. A note; `--require-all-up` makes it block, and so does `--action decommission`, "
        "`removenode` or `bootstrap`: the nodes that take over the ranges must acknowledge their writes as well, and a "
        "new node streams each range from the replica that gives it up.",
        lifts_when="all other nodes are up",
        passing=True,
    ),
    ReasonKind(
        code="would_be_at_minimum",
        answer="unsafe",
        meaning="Ranges would be left without a spare replica. A note; `--require-spare` makes it block.",
        lifts_when="more replicas are up",
        takes=True,
        headline=1,
    ),
    ReasonKind(
        code="topology_changing",
        answer="unsafe",
        meaning="A node is joining, leaving or moving, or ranges are pending.",
        lifts_when="no node is joining, leaving or moving",
    ),
    ReasonKind(
        code="releases_differ",
        answer="unsafe",
        meaning="With `--action decommission`, `removenode`, `replace` or `bootstrap`: nodes run different releases "
        "(3.11 and 4.0, for example). Nodes of different releases may refuse each other's streams, and a removal ends "
        "as if it had succeeded, with replicas that have no data.",
        lifts_when="all nodes run one release",
    ),
    ReasonKind(
        code="streaming",
        answer="unsafe",
        meaning="A candidate sends or receives streams (repair, bootstrap, rebuild, decommission), which a stop would "
        "interrupt. A note if another node streams, or if it is not known because the access policy does not allow "
        "`StreamManager`'s `CurrentStreams`.",
        lifts_when="all streams have ended",
        passing=True,
    ),
    ReasonKind(
        code="streams_unread",
        answer="unknown",
        meaning="It is not known whether a candidate is streaming: the request failed or was late.",
        lifts_when="`StreamManager`'s `CurrentStreams` can be read there",
        passing=True,
    ),
    ReasonKind(
        code="view_disagreement",
        answer="unsafe",
        meaning="Coordinators see different nodes up, or know different members.",
        lifts_when="all views agree",
        passing=True,
    ),
    ReasonKind(
        code="schema_disagreement",
        answer="unsafe",
        meaning="Nodes of one release have different schema versions. A note if no node's schema version can be read. "
        "During an upgrade old and new nodes differ; that does not block.",
        lifts_when="the nodes of each release have one schema version",
        passing=True,
    ),
    ReasonKind(
        code="recently_changed",
        answer="unsafe",
        meaning="A node has run for less time than `gate: {settle: ...}` requires. The time comes from its gossip "
        "generation, by the node's own clock. A note if the generation is not known: the node was not asked (`views: "
        "contact_points`), or its Jolokia does not allow reading the generation.",
        lifts_when="the node has run long enough",
        waived_for_subject=True,
        passing=True,
    ),
    ReasonKind(
        code="contradiction",
        answer="unknown",
        meaning="The data of the nodes is contradictory: a node is in both lists of a view, two nodes have one host "
        "id, the Jolokia at a node's address belongs to another node, or nodes have different replications of a "
        "keyspace.",
        lifts_when="the data no longer contradicts itself",
    ),
    ReasonKind(
        code="view_missing",
        answer="unknown",
        meaning="A node that other nodes see up does not answer, or its view is not usable. The candidates' own views "
        "are not needed.",
        lifts_when="every node's Jolokia answers",
        waived_for_subject=True,
        passing=True,
    ),
    ReasonKind(
        code="unknown_node",
        answer="unknown",
        meaning="A candidate is not a node of the cluster, or no candidate is named.",
        lifts_when="a member is named",
    ),
    ReasonKind(
        code="no_data",
        answer="unknown",
        meaning="Data that the gate needs could not be read, or no keyspace is watched.",
        lifts_when="the data can be read",
    ),
    ReasonKind(
        code="levels_unclear",
        answer="unknown",
        meaning="Levels follow the queries (`auto` or `observed` in the configuration), and nothing is known of the "
        "levels that clients use. A note if they are known for a part of the window: the gate keeps those that were "
        "seen in it.",
        lifts_when="an agent has seen queries for some time, and its state file can be read",
    ),
    ReasonKind(
        code="logged_batches",
        answer="safe",
        meaning="Only one node of a datacenter with several nodes would be up. Logged batches of its clients that "
        "write several partitions would be Unavailable at every level: their log goes to another node of the "
        "datacenter.",
        lifts_when="another node of the datacenter is up",
    ),
    ReasonKind(
        code="structurally_unavailable",
        answer="safe",
        meaning="Ranges can never be served at the level; no stop makes it worse.",
        lost="before",
        lifts_when="the replication is corrected",
    ),
    ReasonKind(
        code="rack_empties",
        answer="safe",
        meaning="With `--action decommission` or `removenode`: a rack would have no node left.",
        lifts_when="another node joins that rack",
    ),
    ReasonKind(
        code="rack_new",
        answer="safe",
        meaning="With `--action bootstrap`: the rack has no node yet. NetworkTopologyStrategy spreads replicas over "
        "racks, so the first node of a rack gets more ranges than others; it gets all ranges if there are fewer racks "
        "than replicas.",
        lifts_when="as many nodes join each rack",
    ),
    ReasonKind(
        code="repair_needed",
        answer="safe",
        meaning="With `--action removenode` or `replace`: each range is streamed from one replica, which may have "
        "missed writes that the dead node had.",
        lifts_when="`nodetool repair` has run",
    ),
)

REASONS: Mapping[str, ReasonKind] = {kind.code: kind for kind in _KINDS}


def kind_of(code: str) -> ReasonKind:
    """The row of a code; for an unknown code, a row that blocks."""
    unlisted = ReasonKind(code=code, answer="unsafe", meaning="A reason that this release does not know.")
    return REASONS.get(code, unlisted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One range that a reason is about, as it would be after the stop.

    Attributes:
        start: token before its first token.
        end: its last token.
        replicas: addresses, in Cassandra's order.
        live: addresses of those that would be left.
    """

    start: int
    end: int
    replicas: tuple[str, ...]
    live: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why nodes must not stop, or a note for the operator.

    Attributes:
        code: stable name, documented in docs/gate.md.
        subject: the node, keyspace, datacenter or cluster that it is about.
        summary: one line.
        blocks: False for a note.
        lifts_when: what would lift it.
        keyspace: the first of the keyspaces that it is about; None if it is not about keyspaces.
        level: the consistency level that it is about, if any.
        datacenter: the clients' datacenter, if any.
        ranges: how many of the keyspace's ranges.
        share: of the token space, 0 to 1.
        example: one of the ranges, as it would be after the stop.
        keyspaces: all keyspaces that it is about.
        waived_for_subject: whether it does not block the stop of the node that it is about.
    """

    code: str
    subject: str
    summary: str
    blocks: bool = True
    lifts_when: str = ""
    keyspace: str | None = None
    level: Level | None = None
    datacenter: str | None = None
    ranges: int | None = None
    share: float | None = None
    example: Example | None = None
    keyspaces: tuple[str, ...] = ()
    waived_for_subject: bool = False

    @property
    def kind(self) -> ReasonKind:
        """Its row in the table."""
        return kind_of(self.code)


def reason(code: str, subject: str, summary: str, **fields: object) -> Reason:
    """A reason with the values of its row in the table, unless `fields` has others.

    Raises:
        KeyError: if the table has no such code.
    """
    kind = REASONS[code]
    given = {
        "blocks": kind.answer != "safe",
        "lifts_when": kind.lifts_when,
        "waived_for_subject": kind.waived_for_subject,
        **fields,
    }
    return Reason(code=code, subject=subject, summary=summary, **given)  # type: ignore[arg-type]
