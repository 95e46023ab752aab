"""The verdict on a snapshot: one immutable value from which every output is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.consistency import Level, Operation
    from ringcheck.core.evidence import State
    from ringcheck.core.findings import Finding
    from ringcheck.core.health import LevelHealth
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.quorum import Quorum
    from ringcheck.core.ring import Range, Snapshot, View


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelVerdict:
    """One level of one keyspace for one client datacenter.

    Attributes:
        level: the consistency level.
        datacenter: client datacenter of LOCAL levels, None for the others.
        severity: None if the level is shown but no rule watches it.
        health: numbers from the worst view; None if they can't be known.
        worst_view: address of an observer with that view.
        unavailable_ranges: the ranges by operation; None if they were not asked for.
    """

    level: Level
    datacenter: str | None
    severity: Severity | None
    health: LevelHealth | None
    worst_view: str | None
    unavailable_ranges: Mapping[Operation, list[Range]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyspaceVerdict:
    """One keyspace.

    Attributes:
        name: of the keyspace.
        replication: its text; None if not known.
        ranges: number of ranges of its ring.
        levels: a verdict for each level and client datacenter.
    """

    name: str
    replication: str | None
    ranges: int
    levels: tuple[LevelVerdict, ...]

    @property
    def severity(self) -> Severity:
        """The worst severity of its watched levels."""
        return max((level.severity for level in self.levels if level.severity), default=Severity.OK)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A down node, and what its return makes available again.

    Attributes:
        node: its index.
        restores_share: share of the token space of a keyspace, 0 to 1, if the nodes before it in the order have
            returned. The keyspace, level and datacenter that gain most count.
    """

    node: int
    restores_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Everything that ringcheck reports about a cluster at one time.

    Attributes:
        snapshot: what it is based on.
        severity: the worst of the findings.
        summary: one line, without the severity.
        states: the state of each node of the snapshot.
        seen_down_by: by node index, the addresses of the observers that see the node down.
        views: the snapshot's views, judged.
        keyspaces: in order of name.
        findings: worst first.
        recover_first: down nodes in the order in which their return helps most.
        holders: of restart leases; None if the store did not answer.
        since: UTC, `2026-01-31T23:59:59Z`: when it got this severity; None if not known.
        states_since: likewise for the state of each node; empty if nothing is known of the past.
        blind_until: those of these times, and of the times of findings, until which the agent did not watch the
            cluster: what has held since such a time may have begun before it.
        metadata_quorum: of the cluster metadata service, as seen by the coordinator that reaches the fewest members;
            None before 6.0, until the service is initialised, or if it is not known.
    """

    snapshot: Snapshot
    severity: Severity
    summary: str
    states: tuple[State, ...]
    seen_down_by: Mapping[int, tuple[str, ...]]
    views: tuple[View, ...]
    keyspaces: tuple[KeyspaceVerdict, ...]
    findings: tuple[Finding, ...]
    recover_first: tuple[Recovery, ...]
    holders: tuple[Holder, ...] | None = ()
    since: str | None = None
    states_since: tuple[str | None, ...] = ()
    blind_until: frozenset[str] = frozenset()
    metadata_quorum: Quorum | None = None

    def begin_seen(self, since: str | None) -> bool | None:
        """Whether the agent saw the start of what has lasted since one of its times; None if the time is not known."""
        return None if since is None else since not in self.blind_until

    def when(self, since: str) -> str:
        """One of its times for a sentence, after `since`: `before TIME` if the start was not seen."""
        return since if self.begin_seen(since) else f"before {since}"

    def down(self) -> list[str]:
        """Addresses of the nodes whose state is `down`, in the snapshot's order."""
        return [node.address for node, state in zip(self.snapshot.nodes, self.states, strict=True) if state == "down"]
