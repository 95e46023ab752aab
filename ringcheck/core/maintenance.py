"""Nodes that are down on purpose: who holds a restart lease, and what that excuses.

A lease quiets the ticket tier for as long as a restart may take, and never the page tier: what is lost is lost, whoever
meant it. It excuses what its node does alone; where another node has a part in it, or where something is not known of
another node, the alarm stays. A lease that is older than its deadline excuses nothing and is an alarm of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ringcheck.core.findings import noted
from ringcheck.core.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.findings import Finding

_IN_MINUTES = 120  # seconds


@dataclass(frozen=True, slots=True)
class Holder:
    """A node under a restart lease.

    Attributes:
        node: its address.
        owner: who took the lease: `user@host` and what tells one run from another.
        purpose: why, for people.
        since: UTC, `2026-01-31T23:59:59Z`.
        host_id: of the node, where it is known; its address may change while it is down.
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
        deadline_seconds: how long a lease excuses its node.
        problem: why the holders could not be learned; None where they could.
    """

    holders: tuple[Holder, ...] = ()
    deadline_seconds: float = 3600.0
    problem: str | None = None


class Leases:
    """The leases, laid on one snapshot."""

    def __init__(self, evidence: Evidence, maintenance: Maintenance | None) -> None:
        self.maintenance = maintenance or Maintenance()
        snapshot = evidence.snapshot
        self.snapshot = snapshot
        self._evidence = evidence
        self._by_host_id = {node.host_id: index for index, node in enumerate(snapshot.nodes) if node.host_id}
        self._taken = _seconds(snapshot.taken_at)
        self._holder: dict[int, Holder] = {}
        for one in self.maintenance.holders:
            index = self._index(one)
            if index is not None:
                self._holder.setdefault(index, one)
        self.held = frozenset(index for index, one in self._holder.items() if self._young(one))
        self._addresses = frozenset(snapshot.nodes[index].address for index in self.held)

    def _index(self, holder: Holder) -> int | None:
        """The node that a lease is about: by its host id where that is a member's, for addresses change hands."""
        if holder.host_id in self._by_host_id:
            return self._by_host_id[holder.host_id]
        index = self.snapshot.index.get(holder.node)
        known = self.snapshot.nodes[index].host_id if index is not None else None
        return None if holder.host_id and known else index

    def _age(self, holder: Holder) -> float | None:
        """Seconds; None where a time can't be read."""
        since = _seconds(holder.since)
        return None if since is None or self._taken is None else self._taken - since

    def _young(self, holder: Holder) -> bool:
        age = self._age(holder)
        # A lease of tomorrow would excuse its node for a day: clocks that far apart are not believed.
        return age is not None and abs(age) <= self.maintenance.deadline_seconds

    # In words

    def named(self, index: int) -> str:
        """The address of a node, and whose lease it is under."""
        address, holder = self.snapshot.nodes[index].address, self._holder.get(index)
        if holder is None:
            return address
        return f"{address} restarting (lease of {holder.owner}{'' if index in self.held else ', overdue'})"

    def besides(self, shown: Collection[int]) -> str:
        """The nodes under a lease that are not shown otherwise; empty where there are none."""
        return ", ".join(self.named(index) for index in sorted(set(self._holder) - set(shown)))

    def whose(self, nodes: Iterable[int]) -> str:
        """Some nodes under a lease, as the end of a sentence."""
        return f"; {', '.join(self.named(index) for index in sorted(nodes))}"

    # As findings

    def findings(self) -> Iterator[Finding]:
        """A note a lease, an alarm for one that is overdue."""
        if self.maintenance.problem:
            text = f"who holds restart leases is not known: {self.maintenance.problem}"
            yield noted("leases_unknown", self.snapshot.cluster, text, "nothing is lowered")
        for one in self.maintenance.holders:
            index = self._index(one)
            what = one.node if index is None else self.snapshot.nodes[index].address
            text = f"{what} is under the restart lease of {one.owner} since {one.since}"
            why = one.purpose + ("" if index is not None else f"{'; ' if one.purpose else ''}no node of the cluster")
            if self._young(one):
                yield noted("lease_held", what, text, why)
            else:
                yield noted("lease_overdue", what, f"{text}, {self._overdue(one)}", why)

    def _overdue(self, holder: Holder) -> str:
        age = self._age(holder)
        if age is None:
            return "a time that can't be read"
        return f"{_span(age)} ago; {_span(self.maintenance.deadline_seconds)} are allowed"

    def eased(self, finding: Finding) -> Finding:
        """What is wrong with a view, lowered to a note where nodes under a lease are all the reason."""
        if finding.severity not in {Severity.WARNING, Severity.UNKNOWN}:
            return finding
        guilty = self._guilty(finding)
        if not guilty:
            return finding
        return replace(finding, severity=Severity.OK, summary=finding.summary + self.whose(guilty))

    def _guilty(self, finding: Finding) -> frozenset[int]:
        """The nodes under a lease that alone make a finding; empty where others have a part in it."""
        if not finding.kind.eased_by_lease:
            return frozenset()
        if finding.subject in self._addresses:
            return frozenset({self.snapshot.index[finding.subject]})
        if finding.code == "view_missing":
            return self._whole_datacenter(finding.subject)
        if finding.code == "view_disagreement":
            observers = self._observers(finding.subject)
            return frozenset(self.snapshot.index[one] for one in observers) if self._all_new(observers) else frozenset()
        return frozenset()

    def _observers(self, subject: str) -> Collection[str]:
        """The observers that disagree with the others: about a node, or, of a cluster that is cut, the lone ones."""
        if subject in self.snapshot.index:
            return self._evidence.seen_down_by.get(self.snapshot.index[subject], ())
        return [side[0] for side in self._evidence.partition if len(side) == 1]

    def _whole_datacenter(self, name: str) -> frozenset[int]:
        there = frozenset(index for index, node in enumerate(self.snapshot.nodes) if node.datacenter == name)
        return there if there <= self.held else frozenset()

    def _all_new(self, observers: Collection[str]) -> bool:
        """Whether these nodes were started under their leases: for some seconds they see their peers down."""
        return bool(observers) and all(self._new(self.snapshot.index[one]) for one in observers)

    def _new(self, index: int) -> bool:
        started = self.snapshot.nodes[index].generation
        since = _seconds(self._holder[index].since) if index in self.held else None
        return started is not None and since is not None and started >= since


def _seconds(text: str) -> float | None:
    """Unix seconds of an ISO 8601 time, UTC where it names no zone; None where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _span(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if abs(seconds) >= _IN_MINUTES else f"{round(seconds)} s"
