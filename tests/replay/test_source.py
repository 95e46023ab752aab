"""Recorded snapshots are replayed in the order and at the pace of their times."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ringcheck.documents.snapshot import read_snapshot, snapshot_document
from ringcheck.errors import DataError, SourceError
from ringcheck.replay.settings import ReplaySettings
from ringcheck.replay.source import ReplaySource

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
BEGIN = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def recorded(name: str, after: float, cluster: str | None = None) -> Snapshot:
    snapshot = read_snapshot((SNAPSHOTS / f"article-{name}.json").read_bytes(), name)
    taken_at = (BEGIN + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return replace(snapshot, taken_at=taken_at, cluster=cluster or snapshot.cluster)


def record(folder: Path, file: str, snapshot: Snapshot) -> None:
    (folder / file).write_text(json.dumps(snapshot_document(snapshot)))


@pytest.fixture
def outage(tmp_path: Path) -> list[Snapshot]:
    """Three recordings one minute apart, whose files are not named in that order."""
    moments = [recorded("healthy", 0), recorded("one-down", 60), recorded("two-down", 120)]
    for file, snapshot in zip(("c.json", "a.json", "b.json"), moments, strict=True):
        record(tmp_path, file, snapshot)
    (tmp_path / "notes.txt").write_text("not a recording")
    return moments


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_snapshots_follow_their_times(outage: list[Snapshot], tmp_path: Path, speed: float) -> None:
    """The first poll returns the first snapshot, a later one the last whose time has come, at the given speed."""
    clock = Clock()
    source = ReplaySource(ReplaySettings(directory=str(tmp_path), speed=speed), clock)
    for after, expected in ((0, 0), (59, 0), (60, 1), (119, 1), (120, 2), (9999, 2)):
        clock.now = 1000.0 + after / speed
        assert source.poll(1.0) == outage[expected], after


@pytest.mark.slow
def test_a_recording_that_is_added_is_replayed(outage: list[Snapshot], tmp_path: Path) -> None:
    """A directory may grow during a replay."""
    clock = Clock()
    source = ReplaySource(ReplaySettings(directory=str(tmp_path)), clock)
    assert source.poll(1.0) == outage[0]
    clock.now += 500
    assert source.poll(1.0) == outage[2]
    record(tmp_path, "d.json", again := recorded("healthy", 300))
    assert source.poll(1.0) == again


def test_a_recording_is_read_once_while_it_is_due(outage: list[Snapshot], tmp_path: Path) -> None:
    """Polls between two recordings parse nothing."""
    source = ReplaySource(ReplaySettings(directory=str(tmp_path)), Clock())
    assert source.poll(1.0) is source.poll(1.0)
    assert source.counts.requests == {"ok": 2}
    assert source.counts.bytes == (tmp_path / "c.json").stat().st_size
    assert outage


def test_a_directory_without_recordings_is_an_error(tmp_path: Path) -> None:
    """The error names the command that makes a recording."""
    source = ReplaySource(ReplaySettings(directory=str(tmp_path)))
    with pytest.raises(SourceError, match="has no recording: record one with `ringcheck snapshot -o"):
        source.poll(1.0)
    with pytest.raises(SourceError, match="can't be read: No such file"):
        ReplaySource(ReplaySettings(directory=str(tmp_path / "none"))).poll(1.0)
    assert source.counts.requests == {"error": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": "ringcheck/snapshot/1"}', '{"schema": "ringcheck/snapshot/1", "taken_at": "x"}'],
)
def test_a_file_that_is_not_a_snapshot_is_named(outage: list[Snapshot], tmp_path: Path, text: str) -> None:
    """A damaged recording is an error and is never skipped, since the replay would lack its state."""
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(DataError, match=r"e\.json is not a snapshot document with a time"):
        ReplaySource(ReplaySettings(directory=str(tmp_path))).poll(1.0)
    assert outage


def test_recordings_of_two_clusters_are_refused(outage: list[Snapshot], tmp_path: Path) -> None:
    """Otherwise the replay would look like one cluster that changes all its nodes."""
    record(tmp_path, "e.json", recorded("healthy", 200, cluster="other"))
    clock = Clock()
    source = ReplaySource(ReplaySettings(directory=str(tmp_path)), clock)
    source.poll(1.0)
    clock.now += 1000
    with pytest.raises(DataError, match=r"e\.json is from cluster 'other', earlier recordings of '"):
        source.poll(1.0)
    assert outage
