"""The house: which room may import which, which libraries it may use, and that no imports form a circle.

`docs/architecture.md` draws the same map. Each check takes a package as text, so that the tests below can pass it a
made-up violation.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE = Path(__file__).parent.parent / "ringcheck"

# Imports go one way: a room, or a file beside the rooms, may import the rooms in its list, itself and `errors`.
ROOMS = {
    "errors": set(),
    "deadline": set(),
    "core": set(),
    "http": set(),
    "documents": {"core"},
    "jolokia": {"core", "http"},
    "replay": {"core", "documents"},
    "report": {"core", "documents"},
    "simulator": {"core"},
    "config": {"core", "http", "jolokia", "replay"},
    "leases": {"core", "documents", "http", "config"},
    "sources": {"core", "http", "config", "jolokia", "replay"},
    "restart": {"core", "report", "leases"},
    "history": {"core"},
    "agent": {"core", "documents", "http", "report", "config", "leases", "sources", "restart", "history"},
    "cli": {
        "core", "documents", "http", "jolokia", "replay", "report", "config", "leases", "sources", "simulator",
        "restart", "history", "agent", "deadline",
    },
    "__init__": set(),
    "__main__": {"cli", "deadline"},
}  # fmt: skip

# What core may import from the standard library: values and algorithms; no I/O, clock or environment.
VALUES = {
    "__future__", "array", "bisect", "collections", "dataclasses", "datetime", "difflib", "enum", "fnmatch",
    "functools", "heapq", "ipaddress", "itertools", "math", "operator", "re", "typing",
}  # fmt: skip

Files = dict[str, str]
"""Text by module name: `ringcheck.core.ring` and so on."""


def files() -> Files:
    """All files of the package."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def room(module: str) -> str:
    """The room of a module; the module's own name if it is a file beside the rooms."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every import of a file as module and names, including those within functions and for the type checker."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or "", tuple(alias.name for alias in node.names)


def graph(package: Mapping[str, str]) -> dict[str, set[str]]:
    """For each file the other files of the package that it imports."""
    links: dict[str, set[str]] = {}
    for module, text in package.items():
        links[module] = set()
        for name, members in imports(text):
            if name.split(".")[0] == "ringcheck":
                modules = {f"{name}.{member}" for member in members if f"{name}.{member}" in package}
                whole = {name} if len(modules) < len(members) or not members else set()
                links[module] |= (modules | whole) - {module}
    return links


def wrong_rooms(package: Mapping[str, str]) -> list[str]:
    """Unknown rooms, and imports of rooms that are not in a room's list."""
    wrong = [f"{module}: unknown room {room(module)!r}" for module in package if room(module) not in ROOMS]
    for module, used in graph(package).items():
        allowed = ROOMS.get(room(module), set()) | {room(module), "__init__"}
        allowed |= {"errors"} if room(module) not in {"__init__", "errors"} else set()
        wrong += [f"{module} imports {other}" for other in sorted(used) if room(other) not in allowed]
    return wrong


def impure(package: Mapping[str, str]) -> list[str]:
    """Files of core, and `errors`, that import more than value modules of the standard library."""
    allowed = {"core": VALUES | {"ringcheck"}, "errors": {"__future__", "errno"}}
    return [
        f"{module} imports {name}"
        for module, text in package.items()
        for name, _ in imports(text)
        if room(module) in allowed and name.split(".")[0] not in allowed[room(module)]
    ]


def circle(links: Mapping[str, set[str]]) -> list[str]:
    """Files that import each other in a circle, in the order of their imports; empty if there is no circle."""
    done: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(links.get(module, ())):
            if found := search(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(links) if (found := search(module, []))), [])


def test_every_room_is_known_and_imports_go_one_way() -> None:
    """A room imports only rooms in its list, and every room has a list."""
    assert wrong_rooms(files()) == []


def test_core_is_pure() -> None:
    """Core imports itself, errors, and value modules of the standard library; errors imports nothing."""
    assert impure(files()) == []


def test_no_imports_form_a_circle() -> None:
    """Neither between rooms nor between the files of a room."""
    assert circle(graph(files())) == []


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("ringcheck.core.ring", "from ringcheck.cli.target import Target", "ringcheck.core.ring imports"),
        ("ringcheck.core.ring", "def f():\n    from ringcheck.http import sockets", "ringcheck.core.ring imports"),
        ("ringcheck.leases.etcd", "from ringcheck.jolokia.client import Client", "ringcheck.leases.etcd imports"),
        ("ringcheck.attic.old", "x = 1", "ringcheck.attic.old: unknown room 'attic'"),
        ("ringcheck.stray", "x = 1", "ringcheck.stray: unknown room 'stray'"),
        ("ringcheck.errors", "from ringcheck.core.ring import Ring", "ringcheck.errors imports ringcheck.core.ring"),
    ],
)
def test_an_import_that_goes_the_wrong_way_is_found(module: str, text: str, complaint: str) -> None:
    """An import of a higher room, of a neighbour, within a function, from an unknown room, or from `errors`."""
    assert any(line.startswith(complaint) for line in wrong_rooms(files() | {module: text}))


@pytest.mark.parametrize(
    ("module", "text"),
    [("ringcheck.core.ring", "import time"), ("ringcheck.core.ring", "import yaml"), ("ringcheck.errors", "import os")],
)
def test_a_library_that_core_must_not_use_is_found(module: str, text: str) -> None:
    """A clock or a third-party package in core, and any library in `errors`."""
    assert impure({module: text}) == [f"{module} imports {text.removeprefix('import ')}"]


def test_a_circle_is_found() -> None:
    """A circle of three files in a room, with one import within a function."""
    package = {
        "ringcheck.core.a": "from ringcheck.core import b",
        "ringcheck.core.b": "from ringcheck.core.c import C",
        "ringcheck.core.c": "def f():\n    from ringcheck.core.a import A",
    }
    assert circle(graph(package)) == ["ringcheck.core.a", "ringcheck.core.b", "ringcheck.core.c", "ringcheck.core.a"]


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
    """A plugin loads no library that its call does not use: importing them would be most of its run time."""
    program = (
        "import sys; from ringcheck.cli import run; run(sys.argv[1:]); "
        "sys.stderr.write(' '.join(sys.modules))"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert not banned & set(done.stderr.split())


def test_no_module_is_long() -> None:
    """What fills more than 450 lines is two things; the embedded cluster imitates all of Cassandra's MBeans."""
    files = [path for path in PACKAGE.rglob("*.py") if "simulator" not in path.parts]
    assert {path.name: lines for path in files if (lines := path.read_text().count("\n")) > 450} == {}
