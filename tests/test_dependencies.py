"""Dependencies: what is imported is declared, and what is declared is locked by hashes."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ringcheck

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: dict[str, list[Any]] = PROJECT["dependency-groups"]
LOCKS = {"lock": ["lock"], "dev": ["dev"], "runtime": []}  # the groups in each file of requirements/
FRAGILE = ["uvicorn"]  # libraries of which we use private parts
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
    """Each requirement of a lock file, and how many hashes it has."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return [(Requirement(found[0]), found[1].count("--hash")) for found in ENTRY.findall(text)]


def versions(name: str, python: str) -> dict[str, str]:
    """What a lock file installs with a release of Python on Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "os_name": "posix"}
    return {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one, _ in locked(name)
        if one.marker is None or one.marker.evaluate(here)
    }


def unlocked(wanted: Iterable[str], versions: dict[str, str]) -> list[str]:
    """The requirements that these versions do not satisfy."""
    found = [Requirement(one) for one in wanted]
    return [str(one) for one in found if not one.specifier.contains(versions.get(canonicalize_name(one.name), "0"))]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(trees: Iterable[ast.Module]) -> set[str]:
    """Top-level names of the modules that are imported."""
    nodes = list(chain.from_iterable(ast.walk(tree) for tree in trees))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def subclasses(tree: ast.Module) -> Iterator[str]:
    """Classes of a module with a base that comes from a fragile library."""
    nodes = list(ast.walk(tree))
    froms = [one for one in nodes if isinstance(one, ast.ImportFrom) and (one.module or "").split(".")[0] in FRAGILE]
    bases = {alias.asname or alias.name for one in froms for alias in one.names}
    for node in nodes:
        if isinstance(node, ast.ClassDef) and any(isinstance(one, ast.Name) and one.id in bases for one in node.bases):
            yield node.name


def declared() -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in PROJECT["project"]["dependencies"]}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_release_has_a_hash_and_no_address(name: str) -> None:
    """An installation accepts only these files of these releases, wherever it gets them from."""
    found = locked(name)
    assert found
    assert [str(one) for one, hashes in found if not hashes] == []
    assert {one.operator for requirement, _ in found for one in requirement.specifier} == {"=="}
    assert "://" not in (ROOT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_satisfies_pyproject(name: str, python: str) -> None:
    """`make lock` was run after the last change of a requirement."""
    wanted = [*chain.from_iterable(map(group, LOCKS[name])), *(PROJECT["project"]["dependencies"] * (name != "lock"))]
    assert wanted
    assert unlocked(wanted, versions(name, python)) == []


def test_an_old_lock_is_noticed() -> None:
    """The comparison above sees a release that is missing, too old or beyond a bound."""
    wanted = ["rich>=13", "click>=8.2", "PyYAML>=6", "h11<3"]
    assert unlocked(wanted, {"click": "8.1.9", "pyyaml": "6.0.4", "h11": "3.0"}) == [
        "rich>=13", "click>=8.2", "h11<3",
    ]  # fmt: skip


@pytest.mark.parametrize("python", PYTHONS)
def test_packages_are_built_of_what_was_tested(python: str) -> None:
    """The releases in the Debian package are those that the tests use."""
    assert versions("runtime", python).items() <= versions("dev", python).items()


def test_the_build_backend_is_locked() -> None:
    """A build without isolation finds what [build-system] requires, in the lock."""
    assert set(PROJECT["build-system"]["requires"]) <= set(group("build"))


def test_the_supported_pythons_are_those_that_are_locked() -> None:
    """The classifiers name the releases of Python that the tests above look at."""
    label = "Programming Language :: Python :: "
    assert [one.removeprefix(label) for one in PROJECT["project"]["classifiers"] if label in one] == PYTHONS
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"


def test_what_is_imported_is_declared() -> None:
    """The program imports no library that it only has because another one wants it."""
    names = imported(map(tree_of, sorted((ROOT / "ringcheck").rglob("*.py")))) - sys.stdlib_module_names
    owners = packages_distributions()
    found = {canonicalize_name(owner) for name in names - {"ringcheck"} for owner in owners[name]}
    assert found == declared()


def test_private_parts_of_libraries_are_listed() -> None:
    """Every subclass of a class of a library is in the list of what their next release may break."""
    listed = (ROOT / "CONTRIBUTING.md").read_text()
    found = [one for path in (ROOT / "ringcheck").rglob("*.py") for one in subclasses(tree_of(path))]
    assert found
    assert [one for one in found if f"`{one}`" not in listed] == []


@pytest.mark.parametrize("name", FRAGILE)
def test_subclassed_libraries_have_an_upper_bound(name: str) -> None:
    """The next release that was not tested is refused."""
    [found] = [one for one in map(Requirement, PROJECT["project"]["dependencies"]) if one.name == name]
    assert "<" in {one.operator for one in found.specifier}


@pytest.mark.parametrize("name", FRAGILE)
def test_the_tested_range_is_the_one_that_is_admitted(name: str) -> None:
    """The list of private parts names the range of releases between the bounds of pyproject.toml."""
    listed = re.findall(rf"(?m)^\| {name} \| (\d+\.\d+) to (\d+)\.(\d+) \|", (ROOT / "CONTRIBUTING.md").read_text())
    [(lowest, major, minor)] = set(listed)
    admitted = {found.name: found.specifier for found in map(Requirement, PROJECT["project"]["dependencies"])}[name]
    assert {str(bound) for bound in admitted} == {f">={lowest}", f"<{major}.{int(minor) + 1}"}


def test_the_version_stands_in_one_place() -> None:
    """The build reads the version from the package, and the change log starts with its section."""
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert ROOT / PROJECT["tool"]["hatch"]["version"]["path"] == Path(ringcheck.__file__)
    [first, *_] = re.findall(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text())
    assert first == ringcheck.__version__
