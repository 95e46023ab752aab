"""The lists in the JSON Schemas are those of the program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema
import pytest

from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy, Severity
from ringcheck.documents.decision import plan_document
from tests import article
from tests.schemas import SCHEMAS, schema, validate, with_definitions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_schemas_are_current(path: Path) -> None:
    """`make docs` was run after the last change of a level, a severity or the form of a reason."""
    assert path.read_text() == with_definitions(path.read_text())


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_no_other_list_of_levels_is_written_by_hand(path: Path) -> None:
    """No schema names a level outside of the definition."""
    document = schema(path.stem)
    document.get("$defs", {}).pop("level", None)
    text = json.dumps(document)
    assert not [level for level in Level if f'"{level}"' in text]


def test_a_level_that_is_added_reaches_the_schemas() -> None:
    """If a definition lacks a level, or has a different one, it is rewritten."""
    document = schema("verdict-1")
    document["$defs"]["level"]["enum"] = ["ONE"]
    document["$defs"]["severity"]["enum"].append("FINE")
    written = json.loads(with_definitions(json.dumps(document)))
    assert written["$defs"]["level"]["enum"] == list(Level)
    assert written["$defs"]["severity"]["enum"] == [severity.name for severity in Severity]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["LOCAL_QUORUM", None, "NODE_LOCAL", ""])
def test_a_reason_has_a_level_or_none(level: str | None) -> None:
    """The reference to the list of levels still rejects values that are not in it."""
    document = plan_document(plan(article.snapshot(), Policy(), Gate()))
    document["refused"][0]["reasons"][0]["level"] = level
    if level is None or level in set(Level):
        validate(document, "plan-1")
    else:
        with pytest.raises(jsonschema.ValidationError):
            validate(document, "plan-1")
