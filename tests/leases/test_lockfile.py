"""The lock file store: it matches a model, survives every crash, and refuses files of other users."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ringcheck.config.values import Cluster, Lease
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.leases import lockfile
from ringcheck.leases.configured import open_store
from ringcheck.leases.lockfile import LockFile, default_path
from ringcheck.leases.record import MAX_BYTES, HeldError, LeaseError
from tests.leases.stores import NODES, StoreMachine, holder

if TYPE_CHECKING:
    from ringcheck.leases.store import RecordStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.json"


@pytest.mark.slow
def test_it_matches_the_model(tmp_path: Path) -> None:
    """Random steps of two clients give the same result as a dictionary."""
    files = itertools.count()

    class Machine(StoreMachine):
        @staticmethod
        def make() -> tuple[RecordStore, RecordStore]:
            path = str(tmp_path / f"{next(files)}.json")
            return LockFile("c", path), LockFile("c", path)

    run_state_machine_as_test(Machine, settings=settings(max_examples=40, stateful_step_count=20))
    assert next(files) > 30


def test_fifty_racers_have_one_winner(path: Path) -> None:
    """Fifty threads ask for one node, then the losers for a node each: no lease is lost."""
    won: list[int] = []

    def race(number: int) -> None:
        store = LockFile("c", str(path), 60.0)
        try:
            store.add([holder(NODES[0], f"owner-{number}")])
            won.append(number)
        except HeldError:
            pass
        if number not in won:
            store.add([holder(NODES[number + 1], f"owner-{number}")])

    racers = [threading.Thread(target=race, args=(number,)) for number in range(50)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert len(LockFile("c", str(path)).holders()) == 50


KILLED = """
import os, signal, sys
from pathlib import Path
from ringcheck.core.maintenance import Holder
from ringcheck.leases.lockfile import LockFile
store = LockFile("c", sys.argv[1])
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
setattr({"replace": Path, "fsync": os}[sys.argv[2]], sys.argv[2], die)
store.add([Holder(node="10.0.0.2", owner="dead", purpose="p", since="2026-01-01T00:00:00Z")])
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["replace", "fsync"])
def test_a_crash_leaves_the_old_record(path: Path, where: str) -> None:
    """If a run is killed while it writes, the lock is free again, and the old record is intact."""
    store = LockFile("c", str(path))
    store.add([holder()])
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), where], check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.holders() == (holder(),)
    store.add([holder(NODES[1])])
    assert len(LockFile("c", str(path)).holders()) == 2


def test_a_lock_held_too_long_is_an_error(path: Path) -> None:
    """If another run hangs with the lock, a step ends at its deadline; reading needs no lock."""
    store = LockFile("c", str(path), 0.2)
    store.add([holder()])
    with path.with_name("leases.json.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LeaseError, match=r"another run has held .*leases.json.lock for 0.2 s"):
            store.add([holder(NODES[1])])
        assert store.holders() == (holder(),)


def test_a_failed_step_leaves_no_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the record stays intact, and no temporary file is left."""
    store = LockFile("c", str(path))
    store.add([holder()])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LeaseError, match=r"can't use the lease file .*leases.json: No space left on device$"):
        store.add([holder(NODES[1])])
    assert store.holders() == (holder(),)
    assert sorted(one.name for one in path.parent.iterdir()) == ["leases.json", "leases.json.lock"]


def test_a_record_is_on_disk_before_the_step_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it replaces the old one, and the folder afterwards."""
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112 - of a descriptor
        sync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        done.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    LockFile("c", str(path)).add([holder()])
    assert done == ["file", "replace", "folder"]


@pytest.mark.parametrize("kind", ["missing folder", "a folder in its place", "too large"])
def test_a_file_that_can_t_be_used_is_an_error(path: Path, kind: str) -> None:
    """The error has the text of the operating system."""
    if kind == "missing folder":
        path = path.parent / "none" / "leases.json"
    elif kind == "a folder in its place":
        path.mkdir()
    else:
        path.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(LeaseError, match=r"can't use the lease file .*: (No such file|Is a directory)|larger than"):
        LockFile("c", str(path)).add([holder()])


def test_the_file_mode_is_kept(path: Path) -> None:
    """A new file has the mode that the umask gives; a mode set later survives a step."""
    store = LockFile("c", str(path))
    store.add([holder()])
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    path.chmod(0o660)
    store.add([holder(NODES[1])])
    assert path.stat().st_mode & 0o777 == 0o660


def test_a_link_stays_a_link(path: Path) -> None:
    """If the configured file is a symbolic link, its target is replaced."""
    path.symlink_to("elsewhere.json")
    LockFile("c", str(path)).add([holder()])
    assert path.is_symlink()
    assert LockFile("c", str(path.with_name("elsewhere.json"))).holders() == (holder(),)


# The default lock file


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder, inside a folder that other users may enter."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    monkeypatch.setattr(lockfile, "FOLDER", made / "ringcheck")
    return made / "ringcheck"


def unconfigured(name: str = "c") -> Cluster:
    return Cluster(name=name, source=JolokiaSettings(contact_points=("127.0.0.1",)))


def test_the_default_store_is_a_lock_file(folder: Path) -> None:
    """Its description states what it protects against; reading creates nothing."""
    store = open_store(unconfigured())
    assert store.describe() == f"lock file {folder}/c.json (protects against other runs on this host only)"
    assert store.holders() == ()
    assert not folder.exists()
    store.add([holder()])
    assert open_store(unconfigured()).holders() == (holder(),)
    assert open_store(unconfigured("d")).holders() == ()


def test_a_configured_file_is_used(path: Path) -> None:
    """Its name comes from `lease: {file: ...}`."""
    store = open_store(
        Cluster(name="c", source=JolokiaSettings(contact_points=("127.0.0.1",)), lease=Lease(file=str(path)))
    )
    store.add([holder()])
    assert path.exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "Test Cluster", "", "..", "ü"])
def test_a_cluster_name_stays_in_the_folder(name: str) -> None:
    """Cassandra allows any ClusterName; each name has its own file in the folder."""
    found = Path(default_path(name))
    assert found.parent == lockfile.FOLDER
    assert found.name.endswith(".json")
    assert len({default_path(name) for name in ("a/b", "a b", "a%2Fb", "a_b", "..", "")}) == 6


@pytest.mark.parametrize("kind", ["open to all", "a link", "a file"])
def test_a_folder_that_others_may_write_is_refused(folder: Path, kind: str) -> None:
    """In such a folder another user could remove leases unnoticed."""
    if kind == "open to all":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "a link":
        folder.symlink_to(folder.parent)
    else:
        folder.touch()
    for step in (open_store(unconfigured()).holders, lambda: open_store(unconfigured()).add([holder()])):
        with pytest.raises(LeaseError, match=r"could be forged; name a file|File exists; name a file"):
            step()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused(folder: Path) -> None:
    """Users with separate files would not see each other's leases: the error names the setting to use."""
    open_store(unconfigured()).add([holder()])
    program = "from tests.leases.test_lockfile import *; lockfile.FOLDER = Path(sys.argv[1]); "
    program += "os.setuid(65534); print(open_store(unconfigured()).holders()); "
    program += "open_store(unconfigured()).add([holder(NODES[1])])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "10.0.0.1" in done.stdout
    assert "LeaseError" in done.stderr
    assert "Permission denied; name a file that every user may write under `lease: {file: ...}`" in done.stderr
    assert open_store(unconfigured()).holders() == (holder(),)
