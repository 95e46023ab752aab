"""A disposable copy of this machine with the Debian package, and with a systemd if wanted.

Its root is an overlay in memory over this machine's root: all changes are discarded. Its network is this machine's, so
that embedded clusters on loopback answer there.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.counterparts.daemon import await_, end

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0  # seconds; generous, so that a busy machine does not fail a test
HIERARCHIES = tuple(Path("/sys/fs/cgroup", name) for name in ("systemd", "unified"))  # the hybrid layout
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
DEVICES = "null zero full random urandom tty"

ROOT = """
mount --make-rprivate /
mkdir -p "$1"
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cp "$2" root/ringcheck.deb
cd root
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/shm dev/pts
for one in $3; do touch dev/$one; mount --bind /dev/$one dev/$one; done
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
"""

# systemd starts nothing by itself. No chroot: it would allow no user namespace.
SYSTEM = """
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
: >etc/fstab
rm -rf etc/systemd/system usr/lib/systemd/system/*.target.wants usr/lib/systemd/system/systemd-journald-audit.socket
mkdir -p etc/systemd/system
printf '[Unit]\\nDescription=nothing\\nDefaultDependencies=no\\n' >etc/systemd/system/nothing.target
hostname thrown-away
"""
PIVOT = """
mkdir .before
pivot_root . .before
cd /
umount -l /.before
rmdir /.before
mount --make-rshared /
"""
BOOT = (
    "exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other "
    "setpriv --bounding-set -sys_module,-sys_time,-sys_boot,-sys_rawio,-audit_control,-audit_read "
    "/lib/systemd/systemd --system --unit=nothing.target --show-status=no --log-target=journal"
)


@dataclass(frozen=True)
class Machine:
    """The machine, entered through a process in it."""

    pid: int

    def run(self, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command there as root, with a short environment."""
        assigned = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        return subprocess.run(
            [*self._enter(), "env", "-i", *assigned, *command],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _enter(self) -> list[str]:
        """The command that enters the machine; entering a namespace that it shares with this one does no harm."""
        return ["nsenter", f"--target={self.pid}", "-m", "-u", "-i", "-p", "-C", "-r", "-w"]

    def shell(self, script: str) -> str:
        """The output of a script, which must succeed."""
        done = self.run("sh", "-euc", script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def put(self, text: str | bytes, path: str, mode: str = "644") -> None:
        """Write a file in the machine."""
        data = text.encode() if isinstance(text, str) else text
        script = f"mkdir -p $(dirname {path}) && cat >{path} && chmod {mode} {path}"
        subprocess.run([*self._enter(), "sh", "-c", script], input=data, check=True)

    def dpkg(self, *arguments: str) -> str:
        """Run dpkg, which must succeed."""
        done = self.run("dpkg", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def exists(self, path: str) -> bool:
        """Whether a path exists in the machine."""
        return self.run("test", "-e", path).returncode == 0 or self.run("test", "-L", path).returncode == 0

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.shell(f"systemctl show --property={name} --value '{unit}'").strip()


@contextmanager
def machine(folder: Path, deb: Path) -> Iterator[Machine]:
    """A machine without systemd; the package is /ringcheck.deb, not installed.

    Args:
        folder: an empty folder for its root.
        deb: the package.
    """
    _only_root()
    with _entered(["unshare", "--mount"], folder, deb, f"{ROOT}{PIVOT}echo up\nexec sleep infinity") as process:
        yield Machine(process.pid)


@contextmanager
def booted(folder: Path, deb: Path) -> Iterator[Machine]:
    """A machine with systemd as its process 1, and the package installed."""
    _only_root()
    with ExitStack() as stack:
        groups = [stack.enter_context(_group(one / f"ringcheck-{os.getpid()}")) for one in HIERARCHIES]
        joining = "; ".join(f"echo $$ >{one}/cgroup.procs" for one in groups)
        namespaces = ["-m", "-u", "-i", "-C", "-p", "--fork", "--kill-child"]
        enter = ["sh", "-c", f'{joining}; exec "$@"', "sh", "unshare", *namespaces]
        process = stack.enter_context(_entered(enter, folder, deb, f"{ROOT}{SYSTEM}{PIVOT}echo up\n{BOOT}"))
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        stack.callback(os.kill, int(first), signal.SIGKILL)  # with process 1 all other processes of its namespace end
        found = Machine(int(first))
        await_(lambda: found.run("systemctl", "is-system-running").stdout == "running\n", PATIENCE, "systemd is up")
        found.shell("systemctl start systemd-journald && dpkg -i /ringcheck.deb")
        yield found


def _only_root() -> None:
    if os.getuid():
        pytest.skip("only root can make a machine to throw away")


@contextmanager
def _entered(enter: list[str], folder: Path, deb: Path, script: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*enter, "sh", "-euc", script, "sh", str(folder), str(deb), DEVICES]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != b"up\n":
            process.wait(PATIENCE)
            pytest.skip(f"no machine to throw away can be made here: {process.stderr.read().decode().strip()}")
        yield process
    finally:
        end(process)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


@contextmanager
def _group(path: Path) -> Iterator[Path]:
    """A control group for a machine, removed with the groups that systemd made in it."""
    if not (path.parent / "cgroup.procs").exists():
        pytest.skip(f"{path.parent} is no hierarchy of control groups: systemd is tried in the hybrid layout only")
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield path
    finally:
        await_(lambda: _removed(path), PATIENCE, f"{path} is empty")


def _removed(path: Path) -> bool:
    for folder, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not path.exists()
