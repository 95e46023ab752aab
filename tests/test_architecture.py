"""What docs/architecture.md says about additions holds for those that were made: they touch the places it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ringcheck.core.findings import FINDINGS
from ringcheck.core.reasons import REASONS
from tests.program import PACKAGE, texts

ROOT = Path(__file__).parent.parent
# Codes that some output shows in its own form, and codes that are also names of conditions of ranges.
SHOWN_SPECIALLY = {
    "at_minimum", "contradictory_view", "lease_held", "leases_unknown", "no_data", "node_down", "streaming",
    "structurally_unavailable", "unavailable", "view_disagreement", "view_missing",
}  # fmt: skip


def files_with(text: str) -> set[str]:
    """Files of the package that hold a text, relative to it."""
    return {path.relative_to(PACKAGE).as_posix() for path, content in texts().items() if text in content}


def named(addition: str) -> set[str]:
    """The paths that the page names for an addition."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    row = re.search(rf"^\| {addition} \| (.*) \|$", page, re.MULTILINE)
    assert row, f"docs/architecture.md does not say what {addition} touches"
    return set(re.findall(r"`([a-z_]+/[a-z_/.]*|[a-z_]+\.py)`", row[1]))


@pytest.mark.parametrize(
    ("addition", "table", "page"),
    [("a finding", FINDINGS, "docs/findings.md"), ("a reason", REASONS, "docs/gate.md")],
    ids=["finding", "reason"],
)
def test_a_row_and_the_code_that_raises_it_are_all(addition: str, table: dict[str, object], page: str) -> None:
    """No output, command or service has its own list of codes: they read the table, and so does the page."""
    homes = {
        "a finding": {
            "core/findings.py",
            "core/contradiction_kinds.py",
            "core/coordinator_kinds.py",
            "core/duration_kinds.py",
        },
        "a reason": {"core/reasons.py"},
    }[addition]
    assert homes <= named(addition)
    documented = (ROOT / page).read_text()
    for code in set(table) - SHOWN_SPECIALLY:
        touched = files_with(f'"{code}"')
        assert homes & touched, code
        assert {file.partition("/")[0] for file in touched} <= {"core", "jolokia"}, code
        assert f"`{code}`" in documented, code


def test_a_source_touches_its_room_and_the_places_that_the_page_names() -> None:
    """Few files outside of its room name `replay`, the second source."""
    outside = {file for file in files_with("ringcheck.replay") if not file.startswith("replay/")}
    assert outside
    assert outside <= named("a source")
    assert "tests/test_house.py" in named("a source")


def test_no_room_but_those_places_names_jolokia() -> None:
    """Code that reads snapshots does not depend on their source."""
    rooms = {file.partition("/")[0] for file in files_with("ringcheck.jolokia")} - {"jolokia"}
    assert rooms == {"cli", "config", "sources.py"}
