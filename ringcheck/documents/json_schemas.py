"""The JSON Schemas of the documents, as the package ships them in `schemas/`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a document.

    Args:
        name: of its file, with the version: `snapshot-1`.

    Raises:
        FileNotFoundError: there is no such document.
    """
    folder: Traversable = files("ringcheck.documents") / "schemas"
    schema: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return schema
