"""Dependencies: what is imported is declared, and what is declared is locked with hashes."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ringcheck
from tests.program import imports, parsed, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: dict[str, list[Any]] = PROJECT["dependency-groups"]
# The groups in each file of requirements/.
LOCKS = {"lock": ["lock"], "site": ["site"], "examples": ["examples"], "dev": ["dev"], "runtime": []}
TOOLS = ["lock", "site", "examples"]  # the files without the libraries of the program
EXTRAS = {"opentelemetry": "traces"}  # modules that are imported only if an extra is installed
FRAGILE = ["uvicorn"]  # libraries whose private parts ringcheck uses
PYTHONS = ["3.11", "3.12", "3.13"]
ENTRY = re.compile(r"^(?=[^\s#-])(.+?) *((?:\\\n +--hash=sha256:[0-9a-f]{64} *)*)$", re.MULTILINE)


def group(name: str) -> Iterator[str]:
    """The requirements of a dependency group, with those of the groups that it includes."""
    for entry in GROUPS[name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from group(entry["include-group"])


def locked(name: str) -> list[tuple[Requirement, int]]:
    """The requirements of a lock file, each with the number of its hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return [(Requirement(entry), hashes.count("--hash")) for entry, hashes in ENTRY.findall(text)]


def versions(name: str, python: str) -> dict[str, str]:
    """Version by package of what a lock file installs with a release of Python on Linux."""
    linux = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    return {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement, _ in locked(name)
        if requirement.marker is None or requirement.marker.evaluate(linux)
    }


def unlocked(wanted: Iterable[str], versions: dict[str, str]) -> list[str]:
    """The requirements that these versions do not satisfy."""
    requirements = map(Requirement, wanted)
    return [
        str(requirement)
        for requirement in requirements
        if not requirement.specifier.contains(versions.get(canonicalize_name(requirement.name), "0"))
    ]


def imported(text: str) -> set[str]:
    """Top-level names of the modules that a file imports."""
    return {name.partition(".")[0] for name, _ in imports(text)}


def subclasses(text: str) -> Iterator[str]:
    """Names of a file's classes with a base class from a fragile library."""
    if not imported(text) & set(FRAGILE):
        return
    nodes = list(ast.walk(parsed(text)))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    fragile = [node for node in froms if (node.module or "").split(".")[0] in FRAGILE]
    names = {alias.asname or alias.name for node in fragile for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in names for b in node.bases):
            yield node.name


def modules(library: str) -> set[str]:
    """Top-level names of the modules that an installed library brings along."""
    files = distribution(library).files or []
    return {file.parts[0].partition(".")[0] for file in files if file.suffix in {".py", ".so"}}


def declared() -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_release_has_a_hash_and_no_address(name: str) -> None:
    """An installation accepts only these files of these releases, whatever index they come from."""
    releases = locked(name)
    assert releases
    assert [str(requirement) for requirement, hashes in releases if not hashes] == []
    assert {bound.operator for requirement, _ in releases for bound in requirement.specifier} == {"=="}
    assert "://" not in (ROOT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_satisfies_pyproject(name: str, python: str) -> None:
    """`make lock` was run after the last change of a requirement."""
    libraries = [] if name in TOOLS else PROJECT["project"]["dependencies"]
    wanted = [*chain.from_iterable(map(group, LOCKS[name])), *libraries]
    assert wanted
    assert unlocked(wanted, versions(name, python)) == []


def test_an_old_lock_is_noticed() -> None:
    """The comparison above reports a release that is missing, too old or above a bound."""
    wanted = ["rich>=13", "click>=8.2", "PyYAML>=6", "h11<3"]
    assert unlocked(wanted, {"click": "8.1.9", "pyyaml": "6.0.4", "h11": "3.0"}) == [
        "rich>=13", "click>=8.2", "h11<3",
    ]  # fmt: skip


@pytest.mark.parametrize("python", PYTHONS)
def test_packages_contain_what_was_tested(python: str) -> None:
    """The Debian package contains the releases of the libraries that the tests use."""
    assert versions("runtime", python).items() <= versions("dev", python).items()


def test_the_build_backend_is_locked() -> None:
    """The lock has the requirements of [build-system], so that a build without isolation works."""
    assert set(PROJECT["build-system"]["requires"]) <= set(group("build"))


def test_the_supported_pythons_are_those_that_are_locked() -> None:
    """The classifiers name the releases of Python for which the tests above check the lock."""
    label = "Programming Language :: Python :: "
    assert [text.removeprefix(label) for text in PROJECT["project"]["classifiers"] if label in text] == PYTHONS
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.slow
def test_what_is_imported_is_declared() -> None:
    """The program declares each library that it imports, even if another library would install it."""
    names = set().union(*map(imported, texts().values())) - sys.stdlib_module_names
    needed = names - {"ringcheck", *EXTRAS}
    offered = {name: modules(name) for name in declared()}
    assert needed - set().union(*offered.values()) == set()
    assert [name for name, brought in offered.items() if not brought & needed] == []
    assert names >= EXTRAS.keys()


@pytest.mark.parametrize(("name", "extra"), EXTRAS.items())
def test_libraries_of_extras_are_tested_as_declared(name: str, extra: str) -> None:
    """The extra has the requirements that the tests use."""
    wanted = set(PROJECT["project"]["optional-dependencies"][extra])
    assert wanted
    assert all(Requirement(text).name.startswith(name) for text in wanted)
    assert wanted <= set(group("test"))


def test_private_parts_of_libraries_are_listed() -> None:
    """CONTRIBUTING.md lists every subclass of a class of these libraries, because their next release may break it."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    names = [name for text in texts().values() for name in subclasses(text)]
    assert names
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", FRAGILE)
def test_subclassed_libraries_have_an_upper_bound(name: str) -> None:
    """A newer release that was not tested is refused."""
    [library] = [entry for entry in map(Requirement, PROJECT["project"]["dependencies"]) if entry.name == name]
    assert "<" in {bound.operator for bound in library.specifier}


@pytest.mark.parametrize("name", FRAGILE)
def test_the_tested_range_is_the_one_that_is_admitted(name: str) -> None:
    """The list of private parts names the range of releases between the bounds of pyproject.toml."""
    listed = re.findall(rf"(?m)^\| {name} \| (\d+\.\d+) to (\d+)\.(\d+) \|", (ROOT / "CONTRIBUTING.md").read_text())
    [(lowest, major, minor)] = set(listed)
    admitted = {entry.name: entry.specifier for entry in map(Requirement, PROJECT["project"]["dependencies"])}[name]
    assert {str(bound) for bound in admitted} == {f">={lowest}", f"<{major}.{int(minor) + 1}"}


def test_the_version_stands_in_one_place() -> None:
    """The build reads the version from the package, and the change log starts with its section."""
    assert "version" in PROJECT["project"]["dynamic"]
    assert ROOT / PROJECT["tool"]["hatch"]["version"]["path"] == Path(ringcheck.__file__)
    [first, *_] = re.findall(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text())
    assert first == ringcheck.__version__
