"""Judges a snapshot by a policy: the verdict.

Brings together what is lost (core/judge.py), what is not known (core/gaps.py) and what restart leases excuse
(core/maintenance.py), and sorts it. A gap in what is known is a finding of its own, UNKNOWN, so that it can't pass for
health; what is known to be lost is CRITICAL or WARNING as the policy says; a configuration mistake, which does not end
when nodes return, is a WARNING.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ringcheck.core.consistency import NETWORK_TOPOLOGY, expected
from ringcheck.core.contested import ContestedMovements
from ringcheck.core.coordinators import of_coordinators
from ringcheck.core.evidence import Evidence, evidence_of
from ringcheck.core.findings import Finding, noted, rank_of
from ringcheck.core.gaps import gaps, unknown_paxos
from ringcheck.core.health import ring_state
from ringcheck.core.judge import Judge
from ringcheck.core.level_findings import of_levels
from ringcheck.core.maintenance import Leases
from ringcheck.core.policy import AUTH_KEYSPACE, Severity
from ringcheck.core.quorum import MetadataService
from ringcheck.core.recovery import recovery_order
from ringcheck.core.schemas import of_schemas
from ringcheck.core.selection import Scope
from ringcheck.core.summary import Summary
from ringcheck.core.verdict import Verdict
from ringcheck.core.words import NAMED, counted, listed, nearest, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Level
    from ringcheck.core.maintenance import Maintenance
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.verdict import KeyspaceVerdict

AT_MOST = 20  # findings of one code and severity
_LONGEST_LEVEL = 40  # characters of an unknown level that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a caller asks about a snapshot, in addition to the policy.

    Attributes:
        keyspaces: shell patterns; empty for all that the policy does not leave out.
        levels: levels to show, watched or not.
        view: address of the only observer to believe, for the clients of its datacenter; None for all.
        ranges: whether to list the unavailable ranges.
    """

    keyspaces: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    view: str | None = None
    ranges: bool = False


def assess(
    snapshot: Snapshot,
    policy: Policy,
    question: Question | None = None,
    maintenance: Maintenance | None = None,
    more: Iterable[Finding] = (),
) -> Verdict:
    """The verdict on a snapshot.

    Args:
        snapshot: what was seen.
        policy: the cluster's rules.
        question: what is asked in addition to these rules.
        maintenance: restart leases; None if the cluster keeps none.
        more: findings that can't be made from the snapshot alone, such as those of `core.overdue`.

    Raises:
        RingError: if the partitioner's tokens can't be compared.
        UsageError: if the question or the policy names a datacenter or an observer that the snapshot does not have.
    """
    asked = question or Question()
    evidence = Evidence(snapshot, asked.view) if asked.view else evidence_of(snapshot)
    leases = Leases(evidence, maintenance)
    scope = Scope(evidence, policy, asked.keyspaces, asked.view)
    judge = Judge(scope, leases, asked.levels, ranges=asked.ranges)
    keyspaces = judge.keyspaces() if evidence.usable else ()
    about_scope = _about_scope(scope, keyspaces, asked) if evidence.usable else ()
    metadata = MetadataService(evidence)
    beside = [*metadata.of_quorum(leases), *of_coordinators(scope, leases, judge.findings)]
    findings = _distinct([*judge.findings, *beside, *gaps(evidence), *about_scope, *more])
    ordered = _worst_first([*map(leases.eased, findings), *leases.findings()])
    severity = max((finding.severity for finding in ordered), default=Severity.OK)
    return Verdict(
        snapshot=snapshot,
        severity=severity,
        summary=f"{_as_seen(scope, asked)}{Summary(evidence, leases, keyspaces).of(severity, ordered)}",
        states=evidence.states,
        seen_down_by=evidence.seen_down_by,
        views=evidence.views,
        keyspaces=keyspaces,
        findings=_bounded(ordered, AT_MOST),
        recover_first=recovery_order(evidence, judge.outages),
        metadata_quorum=metadata.worst(),
        holders=None if leases.maintenance.problem else leases.maintenance.holders,
    )


def _as_seen(scope: Scope, asked: Question) -> str:
    """Whose view the summary is about, and which clients; empty if all views count."""
    if asked.view is None:
        return ""
    names = scope.without_clients
    without = f" (not of {listed(names)}: no replicas there)" if names else ""
    clients = f", for clients of {scope.datacenter_of_view}" if scope.datacenter_of_view else ""
    return f"as {asked.view} sees it{clients}{without}: "


def _distinct(findings: Iterable[Finding]) -> list[Finding]:
    """The worst finding for each code, subject and text: a source and the core may report the same."""
    worst: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.code, finding.subject, finding.summary)
        if finding.severity > worst.setdefault(key, finding).severity:
            worst[key] = finding
    return list(worst.values())


_LOUDEST = {severity: rank for rank, severity in enumerate(sorted(Severity, reverse=True))}


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity; then losses, the largest first; then in the order of the table."""

    def rank(finding: Finding) -> tuple[int, bool, float, int]:
        return _LOUDEST[finding.severity], not finding.kind.loses, -finding.share, rank_of(finding.code)

    return sorted(findings, key=rank)


def _bounded(findings: Iterable[Finding], most: int) -> tuple[Finding, ...]:
    """At most `most` findings of each code and severity, followed by one that counts those left out."""
    kept: list[Finding] = []
    groups: dict[tuple[Severity, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.severity, finding.code].append(finding)
    for (severity, code), group in groups.items():
        kept += group[:most]
        if len(group) > most:
            more = len(group) - most
            text = f"and {counted(more, 'more finding')} of this kind"
            kept.append(Finding(code=code, severity=severity, subject=group[0].subject, summary=text, more=more))
    return tuple(kept)


def _about_scope(scope: Scope, keyspaces: Sequence[KeyspaceVerdict], question: Question) -> Iterator[Finding]:
    """What is wrong with the keyspaces that are judged, apart from their health."""
    for ring in scope.snapshot.rings:
        names = [name for name, _ in scope.chosen(ring)]
        if names:
            yield from contradictions(scope, ring, names)
            yield from _without_nodes(scope.snapshot, ring, names)
    yield from of_schemas(scope)
    yield from ContestedMovements(scope.evidence).unknowns(scope)
    yield from _unjudged(scope.snapshot, keyspaces, question)
    if not question.keyspaces:
        yield from _unmatched(scope)
    yield from of_logins(scope)
    yield from _logins_without_replicas(scope)
    yield from of_levels(scope.policy, scope.snapshot.cluster)
    if any(level.level.serial for keyspace in keyspaces for level in keyspace.levels):
        yield from unknown_paxos(scope.evidence)


def _without_nodes(snapshot: Snapshot, ring: Ring, names: list[str]) -> Iterator[Finding]:
    """Datacenters of a ring's replication without any node, even joining; none if a node's datacenter is unknown."""
    if ring.replication is None or ring.replication.strategy != NETWORK_TOPOLOGY:
        return
    empty = [item for item in ring.replication.options if item[1].replicas and item[0] not in snapshot.datacenters]
    if empty and all(node.datacenter for node in snapshot.nodes):
        for datacenter, factor in empty:
            text = f"{listed(names)}: {counted(factor.replicas, 'replica')} in {datacenter}, which has no nodes"
            yield noted("replication_without_nodes", names[0], text, f"replication {ring.replication}")


def contradictions(scope: Scope, ring: Ring, names: list[str]) -> Iterator[Finding]:
    """A finding if the ranges of a ring do not have as many replicas as its replication asks for.

    Then the ring was read from a half-started node, or `replication:` is wrong.
    """
    wanted = expected(ring.replication, scope.evidence.owners)
    if wanted is None:
        return
    for kind in ring_state(ring, scope.snapshot.layout, scope.space, ()).kinds:
        counts: dict[str | None, int] = dict.fromkeys(wanted, 0)
        for datacenter, number in kind[0].natural:
            key = None if None in wanted else datacenter
            counts[key] = counts.get(key, 0) + number
        if counts != wanted:
            text = f"ranges of {listed(names)} have {_written(counts)}"
            text += f", but {ring.replication} asks for {_written(wanted)}"
            yield noted("ring_contradicts_replication", names[0], text)
            return


def _written(counts: Mapping[str | None, int]) -> str:
    """`3 replicas in dc1, 1 replica in dc2`."""
    return ", ".join(
        f"{counted(number, 'replica')}{f' in {name}' if name else ''}"
        for name, number in sorted(counts.items(), key=lambda item: item[0] or "")
    )


def of_logins(scope: Scope) -> Iterator[Finding]:
    """What is not known about logins, for which Cassandra reads system_auth."""
    if scope.unknown_auth_level is not None and scope.auth_by_cassandra:
        level = repr(scope.unknown_auth_level)[:_LONGEST_LEVEL]
        text = (
            f"whether clients can log in is not known: {AUTH_KEYSPACE} is read at {level}, which is not a known level"
        )
        yield noted("auth_level_unknown", AUTH_KEYSPACE, text, "name the keyspace under `monitor:`")
    if scope.auth_by_cassandra and (silent := scope.silent_on_auth_level):
        text = f"{listed(silent)} {'does' if len(silent) == 1 else 'do'} not report yet at which level logins read "
        yield noted(
            "auth_level_missing", silent[0], f"{text}{AUTH_KEYSPACE}: the default, LOCAL_QUORUM, is watched too"
        )
    if scope.auth_left_out:
        text = f"{AUTH_KEYSPACE} is not watched: no authenticator is recognised over JMX"
        yield noted("auth_not_watched", AUTH_KEYSPACE, text, "if clients log in: `authenticates: true`")


def _logins_without_replicas(scope: Scope) -> Iterator[Finding]:
    """Datacenters whose nodes serve clients and that have no replica of system_auth; none if the owners named them.

    Cassandra reads roles on the coordinator, so that its datacenter counts, whether or not other keyspaces have
    replicas in it.
    """
    if scope.policy.client_datacenters:
        return
    serving = {node.datacenter for node in scope.snapshot.nodes if node.native_transport_running and node.datacenter}
    for ring in scope.snapshot.rings:
        rules = [rule for name, rule in scope.chosen(ring) if name == AUTH_KEYSPACE and rule.logins]
        local = [str(level) for rule in rules for level in rule.levels if level.local]
        if not local or ring.replication is None or ring.replication.strategy != NETWORK_TOPOLOGY:
            continue
        holding = {scope.snapshot.nodes[node].datacenter for node in ring.holders}
        if None in holding:
            continue
        for datacenter in sorted(serving - holding):
            text = f"no client can log in to {datacenter}: {AUTH_KEYSPACE} has no replica there, and is read at "
            yield noted(
                "logins_without_replicas", AUTH_KEYSPACE, f"{text}{listed(local)}", f"replication {ring.replication}"
            )


def _unjudged(snapshot: Snapshot, keyspaces: Sequence[KeyspaceVerdict], question: Question) -> Iterator[Finding]:
    """A finding if nothing was judged, or a pattern matches nothing: an OK would then be about nothing."""
    names = [keyspace.name for keyspace in keyspaces]
    missing = [pattern for pattern in question.keyspaces if not any(fnmatchcase(name, pattern) for name in names)]
    if missing:
        known = sorted(name for ring in snapshot.rings for name in ring.keyspaces)
        hint = suggestion(missing[0], known, NAMED)
        yield noted(
            "no_keyspaces",
            snapshot.cluster,
            f"no keyspace matches {listed([pattern or repr(pattern) for pattern in missing])} ({hint})",
        )
    elif not any(level.severity for keyspace in keyspaces for level in keyspace.levels):
        yield noted("no_keyspaces", snapshot.cluster, "no keyspace is watched")


def _unmatched(scope: Scope) -> Iterator[Finding]:
    """Patterns of rules that match no keyspace, each with a similar name that no rule has.

    A keyspace that could not be read is the subject of a problem.
    """
    names = [name for ring in scope.snapshot.rings for name in ring.keyspaces]
    unread = [problem.subject for problem in scope.snapshot.problems]
    patterns = dict.fromkeys(pattern for rule in scope.policy.rules for pattern in rule.keyspaces if pattern != "*")
    matches = {pattern: {name for name in (*names, *unread) if fnmatchcase(name, pattern)} for pattern in patterns}
    unnamed = sorted(set(names).difference(*matches.values()))
    for pattern in patterns if names else ():
        if not matches[pattern]:
            near = nearest(pattern, unnamed)
            hint = f" (did you mean {near}?)" if near else ""
            yield noted("rule_unmatched", pattern, f"the rule for {pattern!r} matches no keyspace{hint}")
