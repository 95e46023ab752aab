"""The summary of a verdict: its one line, without the severity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity
from ringcheck.core.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.core.evidence import Evidence
    from ringcheck.core.findings import Finding
    from ringcheck.core.maintenance import Leases
    from ringcheck.core.verdict import KeyspaceVerdict


class Summary:
    """Writes the line."""

    def __init__(self, evidence: Evidence, leases: Leases, keyspaces: Sequence[KeyspaceVerdict]) -> None:
        self._leases = leases
        self._keyspaces = keyspaces
        self._states = evidence.states
        self._down = [index for index, state in enumerate(self._states) if state == "down"]

    def of(self, severity: Severity, findings: Sequence[Finding]) -> str:
        """The line, without the severity.

        Args:
            severity: of the verdict.
            findings: all of them, worst first.
        """
        if severity is Severity.OK:
            return self._healthy(findings)
        others = sum(finding.severity > Severity.OK for finding in findings) - 1
        return f"{findings[0].summary}{self._in_brackets()}{_more(others)}"

    def _nodes(self) -> str:
        """Which nodes are down, and which others are under a lease; empty if there are none."""
        parts = []
        if self._down:
            names = listed([self._leases.named(index) for index in self._down])
            parts.append(f"{counted(len(self._down), 'node')} down: {names}")
        return "; ".join(part for part in (*parts, self._leases.besides(self._down)) if part)

    def _in_brackets(self) -> str:
        nodes = self._nodes()
        return f" ({nodes})" if nodes else ""

    def _healthy(self, findings: Sequence[Finding]) -> str:
        allowed = [finding.summary for finding in findings if finding.code == "unavailable"]
        if allowed:
            return f"{allowed[0]}{self._in_brackets()}{_more(len(allowed) - 1)}"
        watched = {str(level.level) for keyspace in self._keyspaces for level in keyspace.levels if level.severity}
        up = f"{len(self._states) - len(self._down)} of {counted(len(self._states), 'node')} up"
        nodes = self._nodes()
        shown = nodes if self._down else "; ".join(part for part in (up, nodes) if part)
        judged = [keyspace for keyspace in self._keyspaces if any(level.severity for level in keyspace.levels)]
        available = f"{counted(len(judged), 'keyspace')} available at {listed(sorted(watched))}"
        return f"{available}, {shown}{_left(self._keyspaces)}"


def _more(number: int) -> str:
    return f"; and {counted(number, 'more finding')}" if number > 0 else ""


def _left(keyspaces: Sequence[KeyspaceVerdict]) -> str:
    """How many failures away the nearest outage of a watched level is; empty if no failure can cause one."""
    distances = [
        (level.health.node_failures_to_outage, str(level.level), keyspace.name)
        for keyspace in keyspaces
        for level in keyspace.levels
        if level.severity and level.health and level.health.node_failures_to_outage is not None
    ]
    if not distances:
        return ""
    failures, level_name, name = min(distances)
    return f"; {counted(failures, 'node failure')} to an outage of {name} at {level_name}"
