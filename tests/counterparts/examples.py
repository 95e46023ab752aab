"""Programs for the examples that are in no lock file: `make examples` installs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

INSTALLED = Path(__file__).parents[2] / ".venv-examples" / "bin"


def example_program(name: str) -> str:
    """Path of a program; the test is skipped if it is neither on the PATH nor in the environment of `make examples`."""
    path = shutil.which(name, path=str(INSTALLED)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: `make examples` does that")
    return path
