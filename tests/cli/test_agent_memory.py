"""The C library returns memory that the agent has freed; in processes of their own, since its options stay."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ringcheck.cli import run

if TYPE_CHECKING:
    from pathlib import Path

cli = import_module("ringcheck.cli.agent")

# Each of many threads makes large and small blocks in turn, and keeps a small one of each pair.
PROGRAM = """
import sys, threading
if sys.argv[1] == "yes":
    from ringcheck.cli.agent import return_freed_memory
    return_freed_memory()
before = len(open("/proc/self/maps").readlines())
go, end = threading.Barrier(13), threading.Event()
kept = []
def work():
    large = []
    for _ in range(40):
        large.append(bytearray(100_000))
        kept.append(bytearray(600))
    go.wait()
    large.clear()
    go.wait()
    end.wait()
threads = [threading.Thread(target=work, daemon=True) for _ in range(12)]
for thread in threads:
    thread.start()
go.wait()
go.wait()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
end.set()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such options")
def test_freed_memory_is_returned() -> None:
    """12 threads that free 4 MB each and keep some small blocks between them leave little behind."""
    assert resident("yes") < resident("no") - 20_000


def test_the_environment_has_precedence() -> None:
    """Somebody who sets an option of the C library keeps it."""
    kept = resident("no", MALLOC_MMAP_THRESHOLD_="33554432")
    assert resident("yes", MALLOC_MMAP_THRESHOLD_="33554432") > kept - 10_000


def resident(options: str, **environment: str) -> int:
    """KiB that the program holds at its end."""
    words = [sys.executable, "-c", PROGRAM, options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    return int(subprocess.run(words, env=clean | environment, capture_output=True, text=True, check=True).stdout)


def test_the_agent_sets_the_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before it starts any thread."""
    did: list[str] = []

    def serve() -> int:
        did.append("service")
        return 0

    monkeypatch.setattr(cli, "return_freed_memory", lambda: did.append("memory"))
    monkeypatch.setattr(cli, "_Service", lambda *_, **__: SimpleNamespace(run=serve))
    monkeypatch.setattr(cli, "_block", lambda: None)
    monkeypatch.setattr(cli, "_allow_descriptors", lambda: None)
    file = tmp_path / "ringcheck.yaml"
    file.write_text("clusters: {orders: {jolokia: {contact_points: [10.0.0.1]}}}\n")
    assert run(["agent", "-C", str(file)]) == 0
    assert did == ["memory", "service"]
