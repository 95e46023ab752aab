"""What every test of the agent needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ringcheck.leases import lockfile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of clusters without `lease:` are not those of this host."""
    monkeypatch.setattr(lockfile, "FOLDER", tmp_path / "shared")
