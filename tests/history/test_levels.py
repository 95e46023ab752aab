"""The table with the evidence of levels in use: rows are replaced by source, in files of older releases too."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ringcheck.history import database, reader
from ringcheck.history.levels import SaveEvidence, drop_evidence, load_evidence

if TYPE_CHECKING:
    from pathlib import Path


def test_a_source_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Other sources and clusters keep theirs, and dropping one removes nothing else."""
    path = tmp_path / "state.db"
    with closing(database.connected(path)) as connection:
        for cluster, source, at in [
            ("a", "counters", 1),
            ("a", "proxy", 2),
            ("b", "counters", 3),
            ("a", "counters", 4),
        ]:
            SaveEvidence.of(cluster, source, {"at": at})(connection)
        assert load_evidence(connection) == {
            "a": {"counters": {"at": 4}, "proxy": {"at": 2}},
            "b": {"counters": {"at": 3}},
        }
        assert reader.evidence(path, "a") == {"counters": {"at": 4}, "proxy": {"at": 2}}
        assert reader.evidence(path, "c") == {}
        drop_evidence(connection, ["a"])
        assert load_evidence(connection) == {"b": {"counters": {"at": 3}}}


def test_evidence_that_is_not_json_is_left_out(tmp_path: Path) -> None:
    """Such evidence counts as missing."""
    with closing(database.connected(tmp_path / "state.db")) as connection:
        SaveEvidence("a", "counters", "{")(connection)
        assert load_evidence(connection) == {}


def test_a_file_of_an_older_release_gets_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent adds it when it opens the file; until then there is no evidence to read."""
    path = tmp_path / "state.db"
    with monkeypatch.context() as older:
        older.setattr(database, "MIGRATIONS", database.MIGRATIONS[:1])
        database.connected(path).close()
    with pytest.raises(database.StateFileError, match="no such table"):
        reader.evidence(path, "a")
    with closing(database.connected(path)) as connection:
        assert load_evidence(connection) == {}
    assert reader.evidence(path, "a") == {}
