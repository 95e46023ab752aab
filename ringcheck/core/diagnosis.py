"""What `doctor` found out about one host: the steps from its name to its peers, each with its fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        name: a word, the same for every host.
        status: `skipped` if it was not asked, or can't be asked without changing the node.
        text: what was found, in one line.
        fix: what to do, in one line; empty if there is nothing to do.
    """

    name: str
    status: Status
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All steps for one host, in the order in which they were taken.

    Attributes:
        url: of its Jolokia agent, without credentials.
        steps: each name once.
    """

    url: str
    steps: tuple[Step, ...]

    @property
    def failed(self) -> tuple[Step, ...]:
        """The steps that failed."""
        return tuple(step for step in self.steps if step.status == "failed")
