"""The tests of this folder run real programs together with ringcheck."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counterparts.daemon import required

HERE = Path(__file__).parent
PACKAGING = HERE.parents[1] / "packaging"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this room."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.counterparts)


@pytest.fixture(scope="session")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rpm, built from this tree."""
    required("rpm")
    return built("build-rpm", tmp_path_factory.mktemp("rpm"))


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, built from this tree."""
    required("dpkg-deb")
    return built("build-deb", tmp_path_factory.mktemp("dist"))


def built(script: str, out: Path) -> Path:
    """The package that a script of packaging/ makes."""
    environment = {**os.environ, "OUT": str(out), "TOOLS": str(Path(sys.executable).parent)}
    done = subprocess.run([PACKAGING / script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = out.iterdir()
    return found
