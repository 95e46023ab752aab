"""The facts about a cluster at one poll, and how they differ at the next: the entries of its history.

Pure. A *fact* is a value that lasts: the severity, a finding, the state of a node, who holds a lease. A *transition* is
a fact that has another value than before. Facts are distinguished by their key, never by their text: a finding by code,
subject, level and datacenter, a node by its host id, so that it stays the same node at another address.

What a poll does not show is unknown, not gone. If a poll fails, only the fact that polls fail is new. If the lease
store does not answer, the leases stay as they were. If no view counts, no node is gone, and no movement has ended.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ringcheck.core.evidence import evidence_of
from ringcheck.core.fact_kinds import DOWN, KINDS, TIMES, WATCHED_DOWN
from ringcheck.core.levels import NONE, in_words
from ringcheck.core.observed import EVERY
from ringcheck.core.policy import Severity
from ringcheck.errors import cut, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ringcheck.core.findings import Finding
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.observed import Observed
    from ringcheck.core.ring import Node
    from ringcheck.core.verdict import Verdict

LONGEST = 300  # bytes of a text that is kept
LONGEST_LEVELS = 4000  # bytes of the levels of a keyspace: a change is one of this text, which names datacenters


def kept(text: str | None, most: int = LONGEST) -> str:
    """A text as it is kept: one printable line of at most so many bytes; empty for None."""
    return cut(printable(text or ""), most)


class Key(NamedTuple):
    """The identity of a fact within its cluster.

    Attributes:
        kind: a key of KINDS.
        subject: what it is about: a host id (the address if none is known), a keyspace, an owner of leases.
        code: of a finding.
        level: the consistency level of a finding that is about one.
        datacenter: the clients' datacenter of that level.
    """

    kind: str
    subject: str
    code: str = ""
    level: str = ""
    datacenter: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact about a cluster; see the beginning of this module.

    Attributes:
        value: a short word or name; another value is a transition.
        name: what people call the subject: a node's address.
        text: one line of explanation, which may differ from poll to poll.
        seen: whether the agent saw it begin; if not, it may have begun before its time.
    """

    value: str
    name: str
    text: str = ""
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """An entry of the history.

    Attributes:
        kind: a key of KINDS.
        subject: what people call it: a node's address, a keyspace, the cluster.
        code: of a finding or of the gate's first reason; may be empty.
        level: the consistency level of a finding; may be empty.
        datacenter: the clients' datacenter of that level; may be empty.
        was: the value before; None if there was none.
        now: the value from now on; None if there is none.
        text: one line; may be empty.
    """

    kind: str
    subject: str
    code: str = ""
    level: str = ""
    datacenter: str = ""
    was: str | None = None
    now: str | None = None
    text: str = ""

    @property
    def severity(self) -> Severity | None:
        """The severity from now on, of the cluster or of a finding; None for other kinds."""
        if self.kind not in {"severity", "finding"}:
            return None
        return Severity.__members__.get(self.now or "OK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A transition in the history of a cluster.

    Attributes:
        id: its place in the order of all entries; a later entry has a higher one, whatever the clock said.
        cluster: its name in the configuration.
        at: when the agent saw it, in milliseconds of Unix time.
        change: what happened.
    """

    id: int
    cluster: str
    at: int
    change: Transition


_NODE_KINDS = frozenset({"node", "restart", "release", "movement"})
_VERDICT_KINDS = frozenset({"severity", "view", "finding"}) | _NODE_KINDS
_LEASE_KINDS = frozenset({"lease", "batch"})
_EVERY = Key("level", EVERY)


class Polled(Protocol):
    """What a poll showed; `Reading` is one."""

    @property
    def cluster(self) -> str:
        """The cluster's name."""

    @property
    def verdict(self) -> Verdict | None:
        """The newest verdict, of an earlier poll if `error` is set."""

    @property
    def error(self) -> str | None:
        """Why this poll gave no verdict."""

    @property
    def observed(self) -> Observed | None:
        """The levels that clients use; None if they are not observed."""

    @property
    def suspects(self) -> frozenset[str]:
        """Addresses whose Jolokia stopped answering."""

    @property
    def holders(self) -> tuple[Holder, ...] | None:
        """The holders of restart leases; None if the store did not answer."""

    @property
    def store_asked(self) -> bool:
        """Whether this poll asked the lease store."""


Facts = dict[Key, Fact]


def facts_of(polled: Polled, before: Mapping[Key, Fact]) -> Facts:
    """The facts after a poll.

    Args:
        polled: the poll.
        before: the facts before it; what this poll does not show is taken from there.
    """
    verdict = None if polled.error else polled.verdict
    observed = polled.observed if verdict and polled.observed and polled.observed.known else None
    stay = _unseen(verdict) | _unread(polled) | (frozenset() if observed else {"level"})
    facts = {key: fact for key, fact in before.items() if key.kind in stay}
    polls = Fact("failing" if polled.error else "working", polled.cluster, kept(polled.error))
    facts[Key("polls", "")] = polls
    if verdict:
        facts[Key("severity", "")] = Fact(verdict.severity.name, polled.cluster, kept(verdict.summary))
        facts.update(_of_nodes(verdict, polled.suspects, before))
        facts.update(_of_downtimes(facts, before))
        facts.update(_of_findings(verdict.findings, before))
    if observed:
        facts.update(_of_levels(observed))
    if polled.store_asked:
        facts[Key("leases", "")] = Fact("unknown" if polled.holders is None else "known", polled.cluster)
        facts.update(_of_leases(polled.holders or ()))
    return facts


def _unseen(verdict: Verdict | None) -> frozenset[str]:
    """Kinds of facts about nodes and ranges that the poll does not show; some nodes may still be shown."""
    if verdict is None:
        return _VERDICT_KINDS | TIMES
    return frozenset() if evidence_of(verdict.snapshot).usable else _NODE_KINDS


def _unread(polled: Polled) -> frozenset[str]:
    """Kinds of facts about leases that the poll does not show."""
    if not polled.store_asked:
        return _LEASE_KINDS | {"leases"}
    return _LEASE_KINDS if polled.holders is None else frozenset()


# Nodes


def _of_nodes(verdict: Verdict, suspects: frozenset[str], before: Mapping[Key, Fact]) -> Iterator[tuple[Key, Fact]]:
    known = {fact.name: key.subject for key, fact in before.items() if key.kind == "node"}
    identities = {
        node.address: node.host_id or known.get(node.address, node.address) for node in verdict.snapshot.nodes
    }
    for node, state in zip(verdict.snapshot.nodes, verdict.states, strict=True):
        identity = identities[node.address]
        yield Key("node", identity), Fact("suspect" if node.address in suspects else state, node.address)
        yield from _versions(node, identity, before)
    evidence = evidence_of(verdict.snapshot)
    for index in sorted(evidence.joining | evidence.leaving | evidence.moving | evidence.replaced):
        address = verdict.snapshot.nodes[index].address
        yield Key("movement", identities[address]), Fact(evidence.movement(index), address)
    for view in verdict.views:
        identity = identities.get(view.observer, view.observer)
        yield Key("view", identity), Fact(view.outcome, view.observer, kept(view.reason))


def _of_downtimes(facts: Mapping[Key, Fact], before: Mapping[Key, Fact]) -> Facts:
    """For each node that is down, or was when its state was last known, the facts that keep since when it is."""
    nodes = [(key.subject, fact) for key, fact in facts.items() if key.kind == "node"]
    down = [
        (subject, fact.name)
        for subject, fact in nodes
        if fact.value == "down"
        or (fact.value == "unknown" and not before.keys().isdisjoint({Key(DOWN, subject), Key(DOWN, fact.name)}))
    ]
    return {Key(kind, subject): Fact("down", address) for subject, address in down for kind in (DOWN, WATCHED_DOWN)}


def _versions(node: Node, identity: str, before: Mapping[Key, Fact]) -> Iterator[tuple[Key, Fact]]:
    """The start of a node and its release, as they were before if it does not report them now."""
    values = {"restart": _started(node.generation), "release": node.release_version}
    for kind, value in values.items():
        key = Key(kind, identity)
        if value is not None:
            yield key, Fact(kept(value), node.address)
        elif key in before:
            yield key, before[key]


def _started(generation: int | None) -> str | None:
    if generation is None:
        return None
    try:
        return utc(generation * 1000)
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return str(generation)


# Findings, levels and leases


def _of_levels(seen: Observed) -> Iterator[tuple[Key, Fact]]:
    for keyspace, used in seen.keyspaces.items():
        yield Key("level", kept(keyspace)), Fact(kept(in_words(used), LONGEST_LEVELS), kept(keyspace))


def _of_findings(findings: Iterable[Finding], before: Mapping[Key, Fact]) -> Iterator[tuple[Key, Fact]]:
    """Findings above a note; of several with one key only the worst, which comes first in the verdict.

    If the verdict leaves out some findings of a code, the known findings of that code stay: they may be among those.
    """
    alarms = [finding for finding in findings if finding.severity is not Severity.OK]
    cut_short = {finding.code for finding in alarms if finding.more}
    yield from ((key, fact) for key, fact in before.items() if key.kind == "finding" and key.code in cut_short)
    worst: Facts = {}
    for finding in alarms:
        if not finding.more:
            fact = Fact(finding.severity.name, kept(finding.subject), kept(finding.summary))
            worst.setdefault(key_of(finding), fact)
    yield from worst.items()


def key_of(finding: Finding) -> Key:
    """The identity of a finding from poll to poll."""
    texts = (finding.subject, finding.code, finding.level, finding.datacenter)
    return Key("finding", *map(kept, texts))


def _of_leases(holders: Iterable[Holder]) -> Iterator[tuple[Key, Fact]]:
    nodes: dict[str, list[str]] = defaultdict(list)
    for holder in holders:
        nodes[holder.owner].append(holder.node)
        identity = Key("lease", kept(holder.host_id or holder.node))
        yield identity, Fact(kept(holder.owner), kept(holder.node), kept(holder.purpose))
    for owner, held in nodes.items():
        if len(held) > 1:
            yield Key("batch", kept(owner)), Fact(kept(", ".join(sorted(held))), kept(owner))


# Differences


def transitions(before: Mapping[Key, Fact], after: Mapping[Key, Fact]) -> list[Transition]:
    """What differs, in the order of KINDS."""
    before, after = _entered(before), _entered(after)
    renames = _renames(before, after)
    old = {renames.get(key, key): fact for key, fact in before.items()}
    is_first = not any(key.kind == "node" for key in before)
    found = [change for key, fact in after.items() for change in _appeared(key, old.get(key), fact, first=is_first)]
    for key, fact in old.items():
        if key not in after and KINDS[key.kind].vanishes:
            found.append(_changed(key, fact.name, fact, None))
    found += _level_changes(old, after)
    order = {kind: rank for rank, kind in enumerate(KINDS)}
    return sorted(found, key=lambda change: order[change.kind])


def _entered(facts: Mapping[Key, Fact]) -> Facts:
    """The facts whose changes are entries."""
    return {key: fact for key, fact in facts.items() if key.kind in KINDS}


def _renames(before: Mapping[Key, Fact], after: Mapping[Key, Fact]) -> dict[Key, Key]:
    """New keys by old keys, of nodes that were known by their address and are now known by their host id."""
    lost = [key for key, fact in before.items() if key not in after and key.subject == fact.name]
    if not lost:
        return {}
    new = {(key.kind, fact.name, key.code): key for key, fact in after.items() if key not in before}
    found = {key: new.get((key.kind, key.subject, key.code)) for key in lost}
    return {key: renamed for key, renamed in found.items() if renamed}


def _appeared(key: Key, old: Fact | None, fact: Fact, *, first: bool) -> Iterator[Transition]:
    kind = KINDS[key.kind]
    if key.kind == "level":  # see `_level_changes`
        return
    if old is None:
        # A cluster that is seen for the first time has no new nodes: only what is wrong is news.
        known = kind.silent or (fact.value == kind.normal and (first or key.kind != "node"))
        if not known:
            yield _changed(key, fact.name, None, fact)
        return
    if key.kind == "node" and old.name != fact.name:
        yield Transition(kind="address", subject=fact.name, was=old.name, now=fact.name)
    if old.value != fact.value:
        yield _changed(key, fact.name, old, fact)


def _level_changes(before: Mapping[Key, Fact], after: Mapping[Key, Fact]) -> Iterator[Transition]:
    """The keyspaces whose clients use other levels. What is not known by name has the levels of `*`."""
    for key, fact in {**before, **after}.items():
        if key.kind != "level":
            continue
        old, new = (facts.get(key) or facts.get(_EVERY) for facts in (before, after))
        if new and key in after and key not in before and new.value != NONE:
            yield _changed(key, fact.name, old if old and old.value != new.value else None, new)
        elif old and new and old.value != new.value:
            yield _changed(key, fact.name, old, new)


def _changed(key: Key, name: str, old: Fact | None, new: Fact | None) -> Transition:
    return Transition(
        kind=key.kind,
        subject=name,
        code=key.code,
        level=key.level,
        datacenter=key.datacenter,
        was=old.value if old else None,
        now=new.value if new else None,
        text=new.text if new else "",
    )


# Since when


class Known(NamedTuple):
    """A fact, and since when it has its value, in milliseconds of Unix time."""

    fact: Fact
    since: int


def carried(
    before: Mapping[Key, Known], after: Mapping[Key, Fact], at: int, *, watched: bool = False
) -> dict[Key, Known]:
    """The facts of after, each with the time since when it has its value.

    That is `at` for those that are new; they were seen to begin if the cluster was watched until then.
    """
    renames = _renames({key: known.fact for key, known in before.items()}, after)
    old = {renames.get(key, key): known for key, known in before.items()}

    def known(key: Key, fact: Fact) -> Known:
        entry = old.get(key)
        lasts = entry is not None and entry.fact.value == fact.value
        seen, since = (entry.fact.seen, entry.since) if entry and lasts else (watched, at)
        return Known(fact if fact.seen is seen else replace(fact, seen=seen), since)

    return {key: known(key, fact) for key, fact in after.items()}


def identities_of(known: Mapping[Key, Known]) -> dict[str, str]:
    """The subjects of facts about nodes, by the node's address."""
    return {entry.fact.name: key.subject for key, entry in known.items() if key.kind == "node"}


def dated(verdict: Verdict, known: Mapping[Key, Known]) -> Verdict:
    """The verdict with the time since when its severity, its findings and the states of its nodes are as they are."""
    identities = identities_of(known)

    def since(key: Key, value: str) -> str | None:
        entry = known.get(key)
        return utc(entry.since) if entry and entry.fact.value == value else None

    def node_since(address: str, state: str) -> str | None:
        return since(Key(DOWN if state == "down" else "node", identities.get(address, "")), state)

    nodes = zip(verdict.snapshot.nodes, verdict.states, strict=True)
    return replace(
        verdict,
        since=since(Key("severity", ""), verdict.severity.name),
        findings=tuple(
            finding if finding.more else replace(finding, since=since(key_of(finding), finding.severity.name))
            for finding in verdict.findings
        ),
        blind_until=frozenset([utc(entry.since) for entry in known.values() if not entry.fact.seen]),
        states_since=tuple(node_since(node.address, state) for node, state in nodes),
    )


@lru_cache(1024)  # most clusters ask again for the same few times with each poll
def utc(milliseconds: float) -> str:
    """A Unix time in milliseconds as `2026-01-31T23:59:59Z`."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
