"""What a row of the table of findings has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from ringcheck.core.policy import Severity

GateEffect: TypeAlias = Literal["blocks", "note", "judged"]
"""Whether a finding blocks the gate, is ignored by it, or is a matter that the gate judges itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingKind:
    """One row of the table.

    Attributes:
        code: stable name.
        severity: of its findings, unless the policy decides; OK is a note.
        meaning: what it means, a sentence or two.
        next_step: what an operator should do about it; empty for a plain note.
        gate: `blocks`: the gate has a reason for it; `note`: the gate ignores it; `judged`: the gate judges the matter
            itself, at its own levels.
        reason: code of the gate's reason, if it blocks.
        lifts_when: what makes the reason go away.
        waived_for_subject: whether the reason lets the node that it is about stop: after the stop that node's view no
            longer counts.
        eased_by_lease: whether a restart lease of the node that it is about lowers it to a note.
        distrusts_subject: whether what is known of the node that it is about contradicts itself, so that nothing may
            count on that node.
        loses: whether ranges are lost, or nearly; the summary begins with the worst of these.
        source_decides: whether a source may report it as a problem of the table's severity; other problems of a source
            are UNKNOWN, whatever their code.
    """

    code: str
    severity: Severity
    meaning: str
    next_step: str = ""
    gate: GateEffect = "blocks"
    reason: str = "no_data"
    lifts_when: str = "the data can be read"
    waived_for_subject: bool = False
    eased_by_lease: bool = False
    distrusts_subject: bool = False
    loses: bool = False
    source_decides: bool = False

    @property
    def runbook(self) -> str:
        """Its section of the documentation, below docs/."""
        return f"findings.md#{self.code}"
