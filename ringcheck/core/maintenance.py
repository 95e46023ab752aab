"""Nodes that are down on purpose: who holds a restart lease, and which alarms that lowers.

A lease lowers alarms of the ticket tier for as long as a restart may take. It never lowers alarms of the page tier:
ranges that are lost are lost, planned or not. It lowers only what its node causes alone: if another node has a part in
it, or if data about another node is missing, the alarm stays. A lease that is older than its deadline lowers nothing
and is an alarm itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ringcheck.core.findings import noted
from ringcheck.core.policy import Severity
from ringcheck.core.reasons import reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.findings import Finding
    from ringcheck.core.reasons import Reason

_IN_MINUTES = 120  # seconds from which a time is printed in minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A node under a restart lease.

    Attributes:
        node: its address.
        owner: who took the lease: `user@host`, and what distinguishes this run from others.
        purpose: why, for people to read.
        since: UTC, `2026-01-31T23:59:59Z`.
        host_id: of the node, None if not known; the address of a node may change while it is down.
    """

    node: str
    owner: str
    purpose: str
    since: str
    host_id: str | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What is known of the restarts under way.

    Attributes:
        holders: of restart leases.
        deadline_seconds: how long a lease lowers the alarms of its node.
        problem: why the leases could not be read; None if they could.
        ages: seconds since leases were taken, as far as they are known better than by the times of two clocks.
    """

    holders: tuple[Holder, ...] = ()
    deadline_seconds: float = 3600.0
    problem: str | None = None
    ages: Mapping[Holder, float] = field(default_factory=dict)


class Leases:
    """The leases on the nodes of one snapshot.

    Attributes:
        leased: indexes of the nodes under a lease that is not overdue.
    """

    def __init__(self, evidence: Evidence, maintenance: Maintenance | None) -> None:
        self.maintenance = maintenance or Maintenance()
        snapshot = evidence.snapshot
        self.snapshot = snapshot
        self._evidence = evidence
        self._by_host_id = {node.host_id: index for index, node in enumerate(snapshot.nodes) if node.host_id}
        self._taken = unix_seconds(snapshot.taken_at)
        self._holder: dict[int, Holder] = {}
        for holder in self.maintenance.holders:
            index = self._index(holder)
            if index is not None:
                self._holder.setdefault(index, holder)
        self.leased = frozenset(index for index, holder in self._holder.items() if self._in_time(holder))
        self._addresses = frozenset(snapshot.nodes[index].address for index in self.leased)

    def _index(self, holder: Holder) -> int | None:
        """The node that a lease is about: by its host id if a node has it, since another node can get the address."""
        if holder.host_id in self._by_host_id:
            return self._by_host_id[holder.host_id]
        index = self.snapshot.index.get(holder.node)
        known = self.snapshot.nodes[index].host_id if index is not None else None
        return None if holder.host_id and known else index

    def _age(self, holder: Holder) -> float | None:
        """Age of a lease in seconds; None if a time can't be read."""
        since = unix_seconds(holder.since)
        if holder in self.maintenance.ages:
            return self.maintenance.ages[holder]
        return None if since is None or self._taken is None else self._taken - since

    def _in_time(self, holder: Holder) -> bool:
        age = self._age(holder)
        # A lease dated tomorrow would lower alarms for a day: clocks that differ by so much are not trusted.
        return age is not None and abs(age) <= self.maintenance.deadline_seconds

    # In words

    def named(self, index: int) -> str:
        """The address of a node, with the owner of its lease if it is under one."""
        address, holder = self.snapshot.nodes[index].address, self._holder.get(index)
        if holder is None:
            return address
        return f"{address} restarting (lease of {holder.owner}{'' if index in self.leased else ', overdue'})"

    def besides(self, shown: Collection[int]) -> str:
        """The nodes under a lease except those that are shown elsewhere; empty if there are none."""
        return ", ".join(self.named(index) for index in sorted(set(self._holder) - set(shown)))

    def cause_text(self, nodes: Iterable[int]) -> str:
        """Some nodes under a lease with their owners, to be appended to a sentence about what they cause."""
        return f"; {', '.join(self.named(index) for index in sorted(nodes))}"

    # As findings

    def findings(self) -> Iterator[Finding]:
        """A note for each lease, or an alarm if it is overdue."""
        if self.maintenance.problem:
            text = f"who holds restart leases is not known: {self.maintenance.problem}"
            yield noted(
                "leases_unknown",
                self.snapshot.cluster,
                text,
                "a warning about a node under a lease does not become a note",
            )
        for holder in self.maintenance.holders:
            index = self._index(holder)
            address = holder.node if index is None else self.snapshot.nodes[index].address
            text = f"{address} is under the restart lease of {holder.owner} since {holder.since}"
            why = holder.purpose
            if index is None:
                why += f"{'; ' if why else ''}not a node of the cluster"
            if self._in_time(holder):
                yield noted("lease_held", address, text, why)
            else:
                yield noted("lease_overdue", address, f"{text}, {self._overdue(holder)}", why)

    def _overdue(self, holder: Holder) -> str:
        age = self._age(holder)
        if age is None:
            return "a time that can't be read"
        return f"{_span(age)} ago; {_span(self.maintenance.deadline_seconds)} are allowed"

    def eased(self, finding: Finding) -> Finding:
        """The finding; lowered to a note if it is about views and nodes under a lease are its only cause."""
        if finding.severity not in {Severity.WARNING, Severity.UNKNOWN}:
            return finding
        causes = self._causes(finding)
        if not causes:
            return finding
        return replace(finding, severity=Severity.OK, summary=finding.summary + self.cause_text(causes))

    def _causes(self, finding: Finding) -> frozenset[int]:
        """The nodes under a lease that alone cause a finding; empty if other nodes have a part in it."""
        if not finding.kind.eased_by_lease:
            return frozenset()
        if finding.subject in self._addresses:
            return frozenset({self.snapshot.index[finding.subject]})
        if finding.code == "view_missing":
            return self._whole_datacenter(finding.subject)
        if finding.code == "view_disagreement":
            observers = self._observers(finding.subject)
            if self._all_new(observers):
                return frozenset(self.snapshot.index[observer] for observer in observers)
        return frozenset()

    def _observers(self, subject: str) -> Collection[str]:
        """The observers that disagree with others: those that see a node down, or those cut off from all others."""
        if subject in self.snapshot.index:
            return self._evidence.seen_down_by.get(self.snapshot.index[subject], ())
        return [side[0] for side in self._evidence.partition if len(side) == 1]

    def _whole_datacenter(self, name: str) -> frozenset[int]:
        nodes = frozenset(index for index, node in enumerate(self.snapshot.nodes) if node.datacenter == name)
        return nodes if nodes <= self.leased else frozenset()

    def _all_new(self, observers: Collection[str]) -> bool:
        """Whether these nodes were started under their leases: a new process sees its peers down for some seconds."""
        return bool(observers) and all(self._new(self.snapshot.index[observer]) for observer in observers)

    def _new(self, index: int) -> bool:
        started = self.snapshot.nodes[index].generation
        since = unix_seconds(self._holder[index].since) if index in self.leased else None
        return started is not None and since is not None and started >= since


def unix_seconds(text: str) -> float | None:
    """Unix seconds of an ISO 8601 time, in UTC unless it names a zone; None if it can't be read."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _span(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if abs(seconds) >= _IN_MINUTES else f"{round(seconds)} s"


def under_lease(holder: Holder) -> str:
    """Whose lease a node is under."""
    return f"{holder.node} is under the restart lease of {holder.owner}"


def release_of(holder: Holder) -> str:
    """What lifts a reason about a lease."""
    details = ", ".join(part for part in (holder.purpose, f"since {holder.since}") if part)
    return f"{holder.owner} releases the lease on {holder.node} ({details})"


def lease_on_candidate(holder: Holder) -> Reason:
    """The note that a candidate is under a lease; for the owner of the lease this is expected."""
    text = f"{under_lease(holder)}: only its owner may stop it"
    return reason("lease_held", holder.node, text, blocks=False, lifts_when=release_of(holder))
