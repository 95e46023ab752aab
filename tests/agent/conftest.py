"""Fixtures of all tests of the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ringcheck.leases import lockfile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters without `lease:` must not use the lock file of this host."""
    monkeypatch.setattr(lockfile, "FOLDER", tmp_path / "shared")
