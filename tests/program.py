"""The files of the program as text and as syntax trees; several tests use all of them, so each is read once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "ringcheck"


@cache
def texts() -> dict[Path, str]:
    """The text of every file of the package, in the order of their paths."""
    return {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def parsed(text: str) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(text)


@cache
def imports(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every import of a file as module and names, including those within functions and for the type checker."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.append((node.module or "", tuple(alias.name for alias in node.names)))
    return tuple(found)
