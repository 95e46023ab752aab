"""What `doctor` found out as a `ringcheck/diagnosis/1` document."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringcheck.core.diagnosis import Diagnosis
    from ringcheck.documents.fields import Json

DIAGNOSIS = "ringcheck/diagnosis/1"

_STEP = ("name", "status", "text", "fix")


def diagnosis_document(diagnosis: Diagnosis) -> Json:
    """A diagnosis as `ringcheck/diagnosis/1`."""
    return {
        "schema": DIAGNOSIS,
        "url": diagnosis.url,
        "result": "failed" if diagnosis.failed else "ok",
        "steps": [{name: getattr(step, name) for name in _STEP} for step in diagnosis.steps],
    }
