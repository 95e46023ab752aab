"""The definitions of the JSON Schemas that repeat the program's own tables: `python -m tests.docs` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

import ringcheck.documents
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Severity

SCHEMAS = sorted((Path(ringcheck.documents.__file__).parent / "schemas").glob("*.json"))
_ENUMS = {"level": [level.value for level in Level], "severity": [severity.name for severity in Severity]}
_REASONS = "urn:ringcheck:decision:1"  # plans repeat its definition of a reason


def schema(name: str) -> dict[str, Any]:
    """The schema of a document, by the name of its file: `snapshot-1`."""
    (path,) = (path for path in SCHEMAS if path.stem == name)
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def validate(document: object, name: str) -> None:
    """Check a document against the schema of this name.

    Raises:
        jsonschema.ValidationError: if it does not conform.
    """
    jsonschema.Draft202012Validator.check_schema(schema(name))
    jsonschema.Draft202012Validator(schema(name)).validate(document)


def with_definitions(text: str) -> str:
    """The text of a schema, with levels, severities and the form of a reason as the program has them."""
    document = json.loads(text)
    definitions = document.get("$defs", {})
    for name in _ENUMS.keys() & definitions.keys():
        definitions[name] = {"enum": _ENUMS[name]}
    if "reason" in definitions and document["$id"] != _REASONS:
        definitions["reason"] = schema("decision-1")["$defs"]["reason"]
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write() -> None:
    """Write all schemas again."""
    for path in SCHEMAS:
        path.write_text(with_definitions(path.read_text()))
