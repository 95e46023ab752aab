"""The house: which room may import which, which libraries it may use, that no imports form a circle, and sizes.

`docs/architecture.md` draws the same map. Each check takes a package as text, so that the tests below can pass it a
made-up violation.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import pytest

from tests.program import PACKAGE, imports, parsed, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    "cluster": {"core", "documents", "http", "cli"},
    "__init__": set(),
    "__main__": {"cli", "deadline"},
}  # fmt: skip

# What core may import from the standard library: values and algorithms; no I/O, clock or environment.
VALUES = {
    "__future__", "array", "bisect", "collections", "copy", "dataclasses", "datetime", "difflib", "enum", "fnmatch",
    "functools", "heapq", "ipaddress", "itertools", "math", "operator", "re", "typing",
}  # fmt: skip

Files = dict[str, str]
"""Text by module name: `ringcheck.core.ring` and so on."""


def files() -> Files:
    """All files of the package."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): text
        for path, text in texts().items()
    }


def room(module: str) -> str:
    """The room of a module; the module's own name if it is a file beside the rooms."""
    return module.split(".")[1] if "." in module else "__init__"


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
    """This is tested between rooms and between the files of a room."""
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


# Sizes


MODULE = 450  # lines; a longer file does two things. The embedded cluster imitates all of Cassandra's MBeans
FUNCTION = 45  # lines, with signature and docstring
BODY = 5  # lines of code in the median function
LONG_BODY = 13  # in nine of ten functions
PARAMETERS = 6  # without self; a command of click has one for each option

Definition: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"


class Size(NamedTuple):
    """A function: its lines, those of them in its body that hold code, and its parameters."""

    name: str
    lines: int
    body: int
    parameters: int
    command: bool


def sizes(package: Mapping[str, str]) -> Iterator[Size]:
    """The size of every function, also of those within functions."""
    for module, text in package.items():
        yield from sizes_of(module, text)


@cache
def sizes_of(module: str, text: str) -> list[Size]:
    code = code_lines(text)
    functions = [node for node in ast.walk(parsed(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [size(f"{module}.{node.name}", node, code) for node in functions]


def size(name: str, node: Definition, code: set[int]) -> Size:
    first = node.body[0].end_lineno or 0 if ast.get_docstring(node) else node.body[0].lineno - 1
    last = node.end_lineno or 0
    given = node.args.posonlyargs + node.args.args
    own = bool(given) and given[0].arg in {"self", "cls"}
    rest = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
    return Size(
        name,
        lines=last - node.lineno + 1,
        body=len(code & set(range(first + 1, last + 1))),
        parameters=len(given) - own + len(node.args.kwonlyargs) + len(rest),
        command=any(is_command(decorator) for decorator in node.decorator_list),
    )


def is_command(decorator: ast.expr) -> bool:
    """Whether a decorator makes a command of click: `@click.command(...)`, or `@group.command(...)`."""
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(function, ast.Attribute) and function.attr == "command"


def code_lines(text: str) -> set[int]:
    """The lines that hold more than a comment."""
    lines = (line.strip() for line in text.split("\n"))
    return {number for number, line in enumerate(lines, 1) if line and not line.startswith("#")}


def long_modules(package: Mapping[str, str]) -> list[str]:
    return [
        f"{module} has {lines} lines"
        for module, text in package.items()
        if room(module) != "simulator" and (lines := text.count("\n")) > MODULE
    ]


def large_functions(package: Mapping[str, str]) -> list[str]:
    """Functions with too many lines or parameters."""
    found = list(sizes(package))
    long = [f"{one.name} has {one.lines} lines" for one in found if one.lines > FUNCTION]
    wide = [one for one in found if one.parameters > PARAMETERS and not one.command]
    return long + [f"{one.name} has {one.parameters} parameters" for one in wide]


def typical_bodies(package: Mapping[str, str]) -> tuple[float, float]:
    """Lines of code in the body of the median function, and of the largest one among the smallest nine tenths."""
    bodies = [one.body for one in sizes(package)]
    return median(bodies), quantiles(bodies, n=10)[-1]


def test_no_module_is_long() -> None:
    """No file has more than 450 lines; only the simulator may."""
    assert long_modules(files()) == []


def test_no_function_is_large() -> None:
    """No function has more than 45 lines; only a command of click has more than 6 parameters."""
    assert large_functions(files()) == []


def test_functions_are_short() -> None:
    """Half of the functions have 5 lines of code or fewer in their body, and nine of ten 13 or fewer."""
    typical, long = typical_bodies(files())
    assert typical <= BODY
    assert long <= LONG_BODY


def test_a_long_module_is_found() -> None:
    """A module of 451 lines, but not in the simulator."""
    text = "x = 1\n" * 451
    assert long_modules({"ringcheck.core.ring": text}) == ["ringcheck.core.ring has 451 lines"]
    assert long_modules({"ringcheck.core.ring": text[:-6], "ringcheck.simulator.cluster": text}) == []


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("def f():\n" + "    x = 1\n" * 45, ["m.f has 46 lines"]),
        ("def f():\n" + "    x = 1\n" * 44, []),
        (
            "class C:\n    def f(self):\n        def g():\n" + "            x = 1\n" * 45,
            ["m.f has 47 lines", "m.g has 46 lines"],
        ),
        ("async def f(a, b, c, *, d, e, f, g): ...", ["m.f has 7 parameters"]),
        ("def f(a, /, b, *c, d, e, f, **g): ...", ["m.f has 7 parameters"]),
        ("class C:\n    def f(self, a, b, c, d, e, f): ...", []),
        ("class C:\n    @staticmethod\n    def f(a, b, c, d, e, f, g): ...", ["m.f has 7 parameters"]),
        ("@click.command('x')\n@click.option('--a')\ndef f(a, b, c, d, e, f, g): ...", []),
        ("@cache\ndef f(a, b, c, d, e, f, g): ...", ["m.f has 7 parameters"]),
    ],
)
def test_a_large_function_is_found(text: str, complaints: list[str]) -> None:
    """Functions, methods and nested functions are measured; commands of click may have many parameters."""
    assert sorted(large_functions({"m": text})) == complaints


def test_long_bodies_are_found() -> None:
    """Signatures, docstrings, comments and empty lines do not count as code."""
    short = 'def f(\n    a,\n    b,\n):\n    """Text.\n\n    More.\n    """\n    # why\n\n' + "    x = 1\n" * 5
    long = "def f():\n" + "    x = 1\n" * 14
    assert typical_bodies({"a": short * 20}) == (5, 5)
    assert typical_bodies({"a": short * 8, "b": long * 12}) == (14, 14)
    assert typical_bodies({"a": short * 17, "b": long * 3}) == (5, 14)
