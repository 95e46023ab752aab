"""The tests of this folder run real programs together with ringcheck."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counterparts.daemon import required

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "packaging" / "build-deb"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this room."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.counterparts)


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, built from this tree."""
    required("dpkg-deb")
    out = tmp_path_factory.mktemp("dist")
    environment = {**os.environ, "OUT": str(out), "TOOLS": str(Path(sys.executable).parent)}
    built = subprocess.run([BUILD], env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = out.glob("*.deb")
    return found
