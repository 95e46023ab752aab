"""The house: which room may import which, and what may be imported by all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parent.parent / "ringcheck"

# Imports go one way; a room may use those in its list, itself, and errors.
ROOMS = {
    "core": set(),
    "jolokia": {"core"},
    "report": {"core"},
    "simulator": {"core"},
    "config": {"core", "jolokia"},
    "restart": {"core", "jolokia", "report", "config"},
    "agent": {"core", "jolokia", "report", "config", "restart"},
    "cli": {"core", "jolokia", "report", "config", "simulator", "restart", "agent"},
}

# What core may take from the standard library: values and algorithms, nothing that reads the world.
VALUES = {
    "__future__", "array", "bisect", "collections", "dataclasses", "datetime", "difflib", "enum", "fnmatch",
    "functools", "heapq", "ipaddress", "itertools", "math", "operator", "re", "typing",
}  # fmt: skip


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize(("path", "tree"), list(modules()), ids=lambda one: one.name if isinstance(one, Path) else "")
def test_imports_go_one_way(path: Path, tree: ast.Module) -> None:
    """A room imports only the rooms below it."""
    here = room(path)
    used = {name.split(".")[1] for name in imports(tree) if name.startswith("ringcheck.")}
    if here in ROOMS:
        assert used <= ROOMS[here] | {here, "errors"}


def test_core_is_pure() -> None:
    """Core imports itself, errors, and value modules of the standard library."""
    for path, tree in modules():
        if room(path) == "core":
            others = {name.split(".")[0] for name in imports(tree) if not name.startswith("ringcheck.")}
            assert others <= VALUES | {"collections"}, path


def test_a_circle_would_be_found() -> None:
    """The check above sees an import that goes the wrong way."""
    tree = ast.parse("from ringcheck.cli.target import Target")
    used = {name.split(".")[1] for name in imports(tree)}
    assert not used <= ROOMS["core"] | {"core", "errors"}


@pytest.mark.parametrize(
    ("command", "banned"),
    [
        (["--help"], {"requests", "yaml", "ringcheck.core.ring"}),
        (["check", "--help"], {"requests", "yaml", "prometheus_client", "rich", "starlette", "ringcheck.core.ring"}),
        (
            ["check", "--from", "tests/snapshots/article-one-down.json"],
            {"requests", "yaml", "ijson", "prometheus_client", "rich", "starlette", "pysensu_yelp"},
        ),
    ],
)
def test_a_command_loads_what_it_needs(command: list[str], banned: set[str]) -> None:
    """A plugin's start is not spent on libraries that this call does not use."""
    program = (
        "import sys; from ringcheck.cli import run; run(sys.argv[1:]); "
        "sys.stderr.write(' '.join(sys.modules))"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert not banned & set(done.stderr.split())
