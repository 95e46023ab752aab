"""A machine at its limits: a control group with a CPU quota, and work that does not end."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = Path("/sys/fs/cgroup")

# Python imports this when it starts. Importing the module that EFFECT_IN names then has the effect EFFECT, in the
# process that does the work; the file EFFECT_PID names the process.
EFFECTS = """
import os, re, signal, sys, time
EFFECTS = {
    "power": lambda: pow(3, 10**8),
    "expression": lambda: re.match("(a+)+$", "a" * 60 + "b"),
    "sleep": lambda: time.sleep(100),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "loop": lambda: [None for _ in iter(int, 1)],
}
class Finder:
    def find_spec(self, name, *_):
        if name == os.environ.get("EFFECT_IN"):
            with open(os.environ["EFFECT_PID"], "w") as file:
                file.write(str(os.getpid()))
            EFFECTS[os.environ["EFFECT"]]()
sys.meta_path.insert(0, Finder())
"""


@contextmanager
def twentieth_of_a_core() -> Iterator[str]:
    """A control group with 5 % of a core, of version 1 or 2: the file that takes its processes."""
    old = GROUPS / "cpu"
    group = (old if old.exists() else GROUPS) / f"ringcheck-starved-{os.getpid()}"
    try:
        group.mkdir()
        if old.exists():
            (group / "cpu.cfs_quota_us").write_text("5000")
        else:
            (group / "cpu.max").write_text("5000 100000")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"this machine allows no CPU quota: {error}")
    try:
        yield str(group / "cgroup.procs")
    finally:
        for _ in range(100):
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)
