"""The lease store in a file, for operators who run all restarts from one host.

A separate lock file (flock) orders the runs of this host, and the threads of one run. The record is replaced as a
whole, so that a crash at any moment leaves either the old record or the new one. Runs on other hosts are not seen.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_IWOTH
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from ringcheck.leases.record import MAX_BYTES, LeaseError, Record
from ringcheck.leases.store import STEP_SECONDS, RecordStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

# Shared by all users of a host, unlike $XDG_RUNTIME_DIR: users with separate files would not see each other's leases.
# Not below /tmp or /var/tmp: a service with PrivateTmp has its own. No cleaner removes files here. A reboot of the host
# empties the folder, but by then the peers of a node that was stopped from here see it down.
FOLDER = Path("/run/lock/ringcheck")
_RETRY = 0.02  # seconds between attempts to take a lock that another run holds


def default_path(cluster: str) -> str:
    """The lock file of a cluster without `lease:`."""
    return str(FOLDER / f"{quote(cluster, safe=' ') or '_'}.json")


class LockFile(RecordStore):
    """One cluster's leases in one file of this host; safe to use from many threads."""

    def __init__(self, cluster: str, path: str, seconds: float = STEP_SECONDS, *, guarded: bool = False) -> None:
        """Prepare; nothing is opened.

        Args:
            cluster: name of the cluster.
            path: the record; the lock is PATH.lock beside it.
            seconds: how long to wait for other runs.
            guarded: create the folder, and refuse it if another user could replace files in it.
        """
        super().__init__(cluster)
        self.path = Path(path) if guarded else Path(os.path.realpath(path))  # a link stays one
        self._seconds = seconds
        self._guarded = guarded

    def describe(self) -> str:
        """The path, and that other hosts are not seen."""
        return f"lock file {self.path} (protects against other runs on this host only)"

    def read(self) -> Record:
        """See RecordStore. Takes no lock, since the file is replaced as a whole: monitoring needs no write access."""
        with self._explained():
            self._check_folder()
            return self._read()

    def change(self, step: Callable[[Record], tuple[Record, T]]) -> T:
        """See RecordStore."""
        with self._locked():
            changed, result = step(self._read())
            self._write(changed.dump())
            return result

    def _read(self) -> Record:
        try:
            with self.path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return Record.empty(self.cluster)
        if len(text) > MAX_BYTES:
            raise LeaseError(f"{self.path} is larger than a lease record can be")
        return Record.parse(text, self.cluster, str(self.path))

    def _write(self, text: bytes) -> None:
        """Replace the file as a whole, and return once it is on disk."""
        if len(text) > MAX_BYTES:
            raise LeaseError(f"{self.path} would become larger than a lease record can be")
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            self._fill(fresh, text)
            fresh.replace(self.path)
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
        _sync(self.path.parent)

    def _fill(self, fresh: Path, text: bytes) -> None:
        mode = S_IMODE(self.path.stat().st_mode) if self.path.exists() else None
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:  # noqa: PTH123 - of a descriptor
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock: no other run changes the file meanwhile."""
        with self._explained():
            if self._guarded:
                self.path.parent.mkdir(mode=0o755, exist_ok=True)
            self._check_folder()
            descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDONLY | os.O_CREAT, 0o666)
            try:
                self._wait(descriptor)
                yield
            finally:
                os.close(descriptor)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the system into LeaseError: the state of the leases is in doubt."""
        try:
            yield
        except OSError as error:
            advice = "; name a file that every user may write under `lease: {file: ...}`" if self._guarded else ""
            raise LeaseError(f"can't use the lease file {self.path}: {error.strerror or error}{advice}") from error

    def _wait(self, descriptor: int) -> None:
        ends = time.monotonic() + self._seconds
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > ends:
                raise LeaseError(f"another run has held {self.path}.lock for {self._seconds:g} s")
            time.sleep(_RETRY)

    def _check_folder(self) -> None:
        """Refuse the shared folder if another user could replace files in it."""
        folder = self.path.parent
        if not self._guarded or not os.path.lexists(folder):
            return
        seen = folder.stat(follow_symlinks=False)
        if not S_ISDIR(seen.st_mode) or seen.st_uid not in {0, os.geteuid()} or seen.st_mode & S_IWOTH:
            raise LeaseError(
                f"{folder} belongs to another user or is writable by everyone: leases there could be forged; "
                "name a file under `lease: {file: ...}`"
            )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
