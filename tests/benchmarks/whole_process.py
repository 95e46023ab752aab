"""Commands as whole processes, in CPU seconds, each against a line of Python that does the unavoidable minimum.

Byte code is written first: without it, most of the time is spent on compiling.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ringcheck.core.ring import Replication, Ring
from ringcheck.documents.snapshot import snapshot_parts
from ringcheck.simulator.placement import SimPlace, TokenRing, place, random_tokens
from tests.benchmarks import Row, compared
from tests.benchmarks.scale_core import LARGEST, RACKS, REPLICATIONS, VNODES, all_up

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = {"check": 15, "health": 5}


def run() -> Iterator[Row]:
    subprocess.run([sys.executable, "-m", "compileall", "-q", "ringcheck"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        yield from _check(Path(folder))
        yield from _health(Path(folder))


def _check(folder: Path) -> Iterator[Row]:
    with _simulated(folder / "ringcheck.yaml") as config:
        for options in ((), ("-t", "9")):
            ours = ("-m", "ringcheck", "check", "-C", str(config), "--cluster", "embedded", *options)
            name = " ".join(["check of 3 warm nodes, whole process", *options])
            yield _row(name, "check", ours, "import requests, click, yaml", 1.5)


@contextmanager
def _simulated(config: Path) -> Iterator[Path]:
    serve = ["simulate", "--nodes", "3", "--racks", "3", "--serve", "--config-out", str(config)]
    with subprocess.Popen([sys.executable, "-m", "ringcheck", *serve], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            yield config
        finally:
            server.kill()


def _health(folder: Path) -> Iterator[Row]:
    for name, views in (("all", LARGEST), ("3", 3)):
        file = folder / f"{views}.json"
        _write(file, views)
        size = f"{file.stat().st_size / 1e6:.0f} MB, {name} views"
        ours = ("-m", "ringcheck", "health", "--from", str(file))
        line = f"import json; json.load(open({str(file)!r}))"
        yield _row(
            f"health --from {size}: {LARGEST} nodes of {VNODES}", "health", ours, line, 3, "json.load of the file"
        )


def _write(file: Path, views: int) -> None:
    """A snapshot of the largest cluster with one ring."""
    places = [SimPlace(f"dc{1 + node % 2}", f"r{1 + node // 2 % RACKS}") for node in range(LARGEST)]
    tokens = TokenRing.of(dict(enumerate(random_tokens(LARGEST, VNODES, 1))))
    replication = Replication.parse(REPLICATIONS[0])
    rows = place(tokens, replication, places, (5, 0))
    spans = [(*tokens.range(index), row) for index, row in enumerate(rows)]
    seen = all_up("big", places, VNODES, [Ring.build(["orders"], replication, spans, LARGEST)], views)
    with file.open("w") as written:
        written.writelines(snapshot_parts(seen))


def _row(what: str, kind: str, ours: tuple[str, ...], line: str, budget: float, against: str = "") -> Row:
    taken = [(_cpu(*ours), _cpu("-c", line)) for _ in range(ROUNDS[kind])]
    first, second = median(one for one, _ in taken), median(other for _, other in taken)
    return compared(what, first, against or f"python -c '{line}'", second, budget=budget, text=f"<= {budget:g}")


def _cpu(*arguments: str) -> float:
    """CPU seconds of a Python process and of those that it waited for."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    return used.ru_utime + used.ru_stime
