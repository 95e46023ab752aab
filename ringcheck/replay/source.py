"""Replays a directory of snapshots in the order of their times, at the speed of their recording or another.

The first poll returns the first snapshot. A later poll returns the last snapshot whose time has come: `speed` recorded
seconds pass in one second. After the last recording the cluster stays as it was. Recordings that are added meanwhile
are replayed too.

A snapshot keeps the time at which it was recorded, so that no output takes it for the present.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ringcheck.core.source import RequestCounts
from ringcheck.documents.fields import shown
from ringcheck.documents.snapshot import SNAPSHOT, read_file, read_snapshot
from ringcheck.errors import DataError, SourceError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ringcheck.core.ring import Snapshot
    from ringcheck.replay.settings import ReplaySettings


@dataclass(frozen=True, slots=True)
class Recording:
    """One snapshot in a file: its epoch seconds and its path."""

    taken_at: float
    path: Path


class ReplaySource:
    """Replays one cluster. Not for use by two threads at once."""

    def __init__(self, settings: ReplaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is read until the first poll.

        Args:
            settings: directory and speed.
            clock: monotonic seconds.
        """
        self._settings = settings
        self._clock = clock
        self._counts = RequestCounts()
        self._known: dict[tuple[str, int, int], float] = {}  # time of a recording, by path, size and mtime
        self._began: tuple[float, float] | None = None  # clock and recorded time at the first poll
        self._cluster: str | None = None
        self._last: tuple[Recording, Snapshot] | None = None

    @property
    def counts(self) -> RequestCounts:
        """Polls by outcome (ok or error), and bytes of the recordings that were read."""
        return self._counts

    def poll(self, deadline_seconds: float, *, streams: bool = False) -> Snapshot:  # noqa: ARG002 - of the interface; files need neither
        """The last snapshot whose time has come.

        Args:
            deadline_seconds: not used; reading a file has no deadline.
            streams: not used; a recording has them or not.

        Raises:
            SourceError: if the directory can't be read or has no recording.
            DataError: if a recording is not a snapshot document, or is of another cluster.
        """
        try:
            snapshot = self._snapshot()
        except (SourceError, DataError):
            self._counts.requests["error"] += 1
            raise
        self._counts.requests["ok"] += 1
        return snapshot

    def close(self) -> None:
        """Do nothing: no file is open between polls."""

    def _snapshot(self) -> Snapshot:
        recordings = self._recordings()
        if self._began is None:
            self._began = self._clock(), recordings[0].taken_at
        started, first = self._began
        now = first + (self._clock() - started) * self._settings.speed
        due = [recording for recording in recordings if recording.taken_at <= now] or recordings[:1]
        if self._last is None or self._last[0] != due[-1]:
            self._last = due[-1], self._read(due[-1])
        return self._last[1]

    def _recordings(self) -> list[Recording]:
        """All recordings in the order of their times; those of equal times in the order of their paths."""
        known: dict[tuple[str, int, int], float] = {}
        for path, stat in _files(Path(self._settings.directory)):
            key = str(path), stat.st_size, stat.st_mtime_ns
            known[key] = self._known[key] if key in self._known else _taken_at(path)
        self._known = known
        return sorted((Recording(taken_at, Path(key[0])) for key, taken_at in known.items()), key=_order)

    def _read(self, recording: Recording) -> Snapshot:
        document = _bytes(recording.path)
        self._counts.bytes += len(document)
        snapshot = read_snapshot(document, str(recording.path))
        if self._cluster not in {None, snapshot.cluster}:
            raise DataError(
                f"{recording.path} is from cluster {snapshot.cluster!r}, earlier recordings of {self._cluster!r}"
            )
        self._cluster = snapshot.cluster
        return snapshot


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    """The files of a directory that are recordings by their names; there is one at least.

    Raises:
        SourceError: if there is none, or the directory can't be read.
    """
    try:
        files = [(path, path.stat()) for path in sorted(directory.iterdir()) if path.suffix == ".json"]
    except OSError as error:
        raise SourceError(f"{directory} can't be read: {error.strerror or error}") from None
    if not files:
        raise SourceError(f"{directory} has no recording: record one with `ringcheck snapshot -o FILE.json`")
    return files


def _order(recording: Recording) -> tuple[float, Path]:
    return recording.taken_at, recording.path


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}") from None


def _taken_at(path: Path) -> float:
    """The time of a recording in epoch seconds.

    Raises:
        SourceError: if the file can't be read.
        DataError: if it is not a snapshot document with a time.
    """
    try:
        document = json.loads(_bytes(path))
        if document["schema"] != SNAPSHOT:
            raise DataError(f"{path} has schema {shown(document['schema'])}, not {SNAPSHOT!r}")
        taken_at = datetime.fromisoformat(document["taken_at"])
    except (ValueError, RecursionError, LookupError, TypeError):
        raise DataError(f"{path} is not a snapshot document with a time") from None
    return (taken_at if taken_at.tzinfo else taken_at.replace(tzinfo=UTC)).timestamp()
