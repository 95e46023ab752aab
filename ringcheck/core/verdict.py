"""What to tell people: one immutable verdict on a snapshot, from which every output is rendered."""

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
    from ringcheck.core.ring import Range, Snapshot, View


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelVerdict:
    """One level of one keyspace for one client datacenter.

    Attributes:
        level: the consistency level.
        datacenter: client datacenter of LOCAL levels, None for the others.
        severity: None where the level is shown but nobody watches it.
        health: numbers from the worst view; None where they can't be known.
        worst_view: address of an observer that sees it so.
        unavailable_ranges: the ranges of each operation, where they were asked for.
    """

    level: Level
    datacenter: str | None
    severity: Severity | None
    health: LevelHealth | None
    worst_view: str | None
    unavailable_ranges: Mapping[Operation, list[Range]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyspaceVerdict:
    """One keyspace; `ranges` is how many its ring has."""

    name: str
    replication: str | None
    ranges: int
    levels: tuple[LevelVerdict, ...]

    @property
    def severity(self) -> Severity:
        """The worst of its levels that are watched."""
        return max((one.severity for one in self.levels if one.severity), default=Severity.OK)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A down node (index) and the share of a keyspace's token space, 0 to 1, that its return makes available again.

    The keyspace, level and datacenter that gain most count; nodes that stand before it in the order are back already.
    """

    node: int
    restores_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All that ringcheck says of a cluster at one time.

    Attributes:
        snapshot: what it is based on.
        severity: the worst of the findings.
        summary: one line, without the severity.
        states: a state a node of the snapshot.
        seen_down_by: observers by node index.
        views: the snapshot's views, judged.
        keyspaces: in order of name.
        findings: worst first.
        recover_first: down nodes in the order in which their return helps most.
        holders: of restart leases; None where they could not be learned.
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

    def down(self) -> list[str]:
        """Addresses of the nodes whose state is `down`, in the snapshot's order."""
        return [node.address for node, state in zip(self.snapshot.nodes, self.states, strict=True) if state == "down"]
