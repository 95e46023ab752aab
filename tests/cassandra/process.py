"""Processes, known by pid, that may outlive their starter: start, signal and wait, and never signal another process.

A pid is used only together with its start time: if the kernel has given it to another process, the process is "gone".
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Children of this process; polling reaps them, otherwise they stay zombies as long as this process runs.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Process:
    """A process that may have ended, and that another process of the harness may have started."""

    pid: int
    started: int

    @property
    def state(self) -> str:
        """One letter as in `ps`: S, R, T (stopped) ...; empty if the process has ended."""
        if child := _children.get(self.pid):
            child.poll()
        fields = _stat(self.pid)
        if fields is None or int(fields[19]) != self.started or fields[0] in "ZX":
            return ""
        return fields[0]

    @property
    def alive(self) -> bool:
        """Whether the process exists, paused or not."""
        return self.state != ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing if the process has ended."""
        if self.alive:
            os.kill(self.pid, number)

    def pause(self, timeout: float = 60.0) -> None:
        """SIGSTOP; returns when every thread has stopped: on a busy machine some go on serving until then.

        Raises:
            TimeoutError: if they have not in time.
        """
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + timeout
        while self._thread_states() - {"T"}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} has not stopped within {timeout:g} s")
            time.sleep(0.02)

    def _thread_states(self) -> set[str]:
        """States of the threads as in proc(5); one that ends meanwhile is left out."""
        states = set()
        for stat in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with suppress(OSError):
                states.add(stat.read_text(errors="replace").rpartition(")")[2].split()[0])
        return states

    def wait_gone(self, timeout: float) -> bool:
        """Wait until the process ends; False if it still exists after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def launch(command: Sequence[str], directory: Path, output: Path) -> Process:
    """Start a command in a session of its own, its output appended to a file."""
    with output.open("ab") as sink:
        child = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    _children[child.pid] = child
    fields = _stat(child.pid)
    return Process(child.pid, int(fields[19]) if fields else 0)


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on; the second may contain spaces and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
