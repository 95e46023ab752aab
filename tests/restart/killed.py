"""Kill `ringcheck roll` at random moments, with full disks and incomplete journals, and report every broken promise.

    python -m tests.restart.killed --count 200 --seed 0

The cluster is an embedded one of six nodes in three racks with RF 3; `roll`, its kills and its commands are real
processes. A separate oracle looks only at the cluster, and never at ringcheck: at every moment all nodes that do not
serve must be in one rack; in the end each node was restarted once; and a run that reports DONE has restarted all of
them.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODES, RACKS = 6, 3
MOST_KILLS = 16  # of one roll
SECONDS = 300.0  # for one process; generous, so that a busy machine does not fail a test
DISK = 256  # KiB

# The real command line with short waits.
ROLL = """
import sys
from dataclasses import replace
import ringcheck.cli.roll as command
made = command._procedure
command._procedure = lambda *a: replace(made(*a), interval=0.1, replace_timeout=3.0, flap_timeout=5.0)
from ringcheck.cli import main
main(sys.argv[1:])
"""

# The program for `--exec`: it stops the node, waits, and starts it.
COMMAND = """
import random, socket, sys, time
def say(word):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
        sock.sendall(f"{word} {sys.argv[2]}\\n".encode())
        sock.recv(1)
time.sleep(random.uniform(0, 0.1))
say("down")
time.sleep(random.uniform(0, 0.3))
say("up")
time.sleep(random.uniform(0, 0.1))
"""


@dataclass
class Result:
    """What was done, and what was wrong.

    Attributes:
        counts: kills, full disks, torn journals, rolls and restarts.
        at: the last event in the journal when the process was killed.
        failures: one line for each broken promise.
    """

    counts: Counter[str] = field(default_factory=Counter)
    at: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Disk:
    """A folder that can be made full: a small tmpfs if allowed, otherwise a limit on the size of a process's files."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}k", "tmpfs", str(folder)], capture_output=True, check=False
        )
        self.real = done.returncode == 0
        if self.real:
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)

    def fill(self, process: subprocess.Popen[str], rest: int) -> None:
        """Leave this many bytes for this process."""
        if self.real:
            with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
                file.truncate(0)
                while True:
                    file.write(bytes(512))
        else:
            journal = self.folder / "journal"
            size = (journal.stat().st_size if journal.exists() else 0) + rest
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))

    def free(self) -> None:
        """Make room again."""
        (self.folder / "filler").unlink(missing_ok=True)


class Oracle:
    """What really happens to the cluster."""

    def __init__(self, cluster: EmbeddedCluster, failures: list[str], name: str) -> None:
        self.cluster = cluster
        self.restarts: list[str] = []
        self._rack = {node.address: node.spec.rack for node in cluster.nodes}
        self._failures = failures
        self._name = name
        self._ended = threading.Event()
        self._bad: frozenset[str] = frozenset()

    def act(self, verb: str, address: str) -> None:
        """What a command does."""
        if verb == "down":
            self.restarts.append(address)
            self.look(address)
        getattr(self.cluster, verb)(address)

    def off(self) -> frozenset[str]:
        """The nodes that do not serve now."""
        with self.cluster.lock:
            now = self.cluster.now()
            serving = {n.address for n in self.cluster.nodes if n.process == "running" and self.cluster.serving(n, now)}
        return frozenset(self._rack.keys() - serving)

    def look(self, *more: str) -> None:
        """Report a failure if nodes of two racks do not serve."""
        off = self.off() | set(more)
        if len({self._rack[address] for address in off}) > 1 and off != self._bad:
            self._failures.append(f"{self._name}: beyond the gate: {', '.join(sorted(off))} do not serve")
            self._bad = off

    @contextmanager
    def watching(self) -> Iterator[int]:
        """Look all the time; yields the port to which commands report what they do."""

        class Handler(socketserver.StreamRequestHandler):
            def handle(handler) -> None:  # noqa: N805 - `self` is the oracle
                verb, address = handler.rfile.readline().decode().split()
                self.act(verb, address)
                handler.wfile.write(b"\n")

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            threads = [threading.Thread(target=server.serve_forever), threading.Thread(target=self._watch)]
            for thread in threads:
                thread.start()
            try:
                yield int(server.server_address[1])
            finally:
                self._ended.set()
                server.shutdown()
                for thread in threads:
                    thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.look()


@dataclass
class Stage:
    """One roll, from its beginning through all kills to its end."""

    name: str
    folder: Path
    config: Path
    command: str
    oracle: Oracle
    disk: Disk
    chance: random.Random
    result: Result

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def events(self) -> list[dict[str, Any]]:
        """The whole lines of the journal."""
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_bytes().split(b"\n")[:-1]]

    def start(self) -> subprocess.Popen[str]:
        resume = ["--resume"] if self.events() else []
        words = ["roll", "-C", str(self.config), "-t", "60s", "--no-cql"]
        words += ["--stable", "1", "--wait", "60s", "--back-timeout", "60s"]
        words += ["--journal", str(self.journal), "--exec", self.command, *resume]
        return subprocess.Popen(
            [sys.executable, "-c", ROLL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wrong(self, why: str, out: str = "") -> None:
        self.result.failures.append(f"{self.name}: {why}" + (f": {' / '.join(out.split(chr(10))[-6:])}" if out else ""))

    def attempt(self, *, kill: bool) -> bool:
        """Run `roll` once, perhaps killed or with a full disk on the way; return whether it has ended for good."""
        before = len(self.events())
        process = self.start()
        full = kill and self.chance.random() < 0.25
        if full:
            self._wait(process, before)
            self.disk.fill(process, self.chance.randrange(2000))
            self.result.counts["full disks"] += 1
        killed = kill and not (full and self.chance.random() < 0.5) and self._killed(process, before)
        out = self._ended(process)
        self.disk.free()
        done = self._judge(process.returncode, out, full=full, killed=killed)
        if not done and (process.returncode == -signal.SIGKILL or (full and self.chance.random() < 0.3)):
            self._tear()
        return done

    def _killed(self, process: subprocess.Popen[str], before: int) -> bool:
        self._wait(process, before)
        if process.poll() is not None:
            return False
        process.kill()
        return True

    def _wait(self, process: subprocess.Popen[str], before: int) -> None:
        """Wait until a random moment: for some events, and then not at all, some milliseconds, or longer."""
        events = before + self.chance.randrange(14)
        ends = time.monotonic() + SECONDS
        size, seen = 0, 0
        while process.poll() is None and time.monotonic() < ends and seen < events:
            time.sleep(0.001)
            if self.journal.exists() and self.journal.stat().st_size != size:
                size, seen = self.journal.stat().st_size, len(self.events())
        time.sleep(self.chance.choice([0.0, self.chance.uniform(0, 0.01), self.chance.uniform(0, 0.4)]))

    def _ended(self, process: subprocess.Popen[str]) -> str:
        try:
            return process.communicate(timeout=SECONDS)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            self.wrong("it does not end", process.communicate()[0])
            return ""

    def _judge(self, code: int, out: str, *, full: bool, killed: bool) -> bool:
        """Check what one process left behind; return whether it reports that the roll is done."""
        if "bug" in out or "Traceback" in out:
            self.wrong("a bug", out)
        if code == -signal.SIGKILL and killed:
            self.result.counts["kills"] += 1
            events = self.events()
            self.result.at[events[-1]["event"] if events else "nothing"] += 1
        elif code != 0 and not full:
            self.wrong(f"ended with {code}", out)
        elif code != 0 and "can't be written: " not in out and "can't use the lease file" not in out:
            self.wrong(f"a full disk is not named, exit code {code}", out)
        done = "DONE" in out or bool(self.events() and self.events()[-1].get("outcome") == "done")
        if done:
            self._judge_done(out)
        if done != (code == 0) and code != -signal.SIGKILL:
            self.wrong(f"exit code {code}, {'' if done else 'not '}done", out)
        return done

    def _judge_done(self, out: str) -> None:
        """Check that a roll which reports that it is done is really done; it may have been killed right after."""
        left = json.loads((self.folder / "leases.json").read_text())["holders"]
        if sorted(self.oracle.restarts) != sorted(node.address for node in self.oracle.cluster.nodes):
            self.wrong(f"a false DONE or a second restart: {self.oracle.restarts}", out)
        if left or self.oracle.off():
            self.wrong(f"DONE with leases {left} and {sorted(self.oracle.off())} down", out)

    def _tear(self) -> None:
        """Leave a part of a line, as if it was being written."""
        if not self.events() or self.chance.random() < 0.5:
            return
        line = json.dumps({**self.chance.choice(self.events()), "event": self.chance.choice(["back", "end", "begin"])})
        torn = line.encode()[: self.chance.randrange(1, len(line))]
        with self.journal.open("ab") as file:
            file.write(self.chance.choice([torn, torn, bytes(100)]))
        self.result.counts["torn journals"] += 1

    def run(self, kills: int) -> None:
        """Roll until it is done, with at most this many kills on the way."""
        for _ in range(kills):
            if self.attempt(kill=True):
                return
        if not self.attempt(kill=False):
            self.wrong("can't be resumed")


@contextmanager
def staged(name: str, chance: random.Random, result: Result) -> Iterator[Stage]:
    """A new cluster, and a roll of it that has not begun."""
    cluster = EmbeddedCluster.uniform(
        NODES,
        racks=RACKS,
        vnodes=4,
        addresses=loopback_address,
        time_factor=0.05,
        keyspaces={"orders": topology(dc1=3)},
    )
    oracle = Oracle(cluster, result.failures, name)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serve(cluster))
        port = stack.enter_context(oracle.watching())
        (folder / "disk").mkdir()
        disk = Disk(folder / "disk", stack)
        config, command = folder / "ringcheck.yaml", folder / "command.py"
        lease = f"    gate: {{settle: 0s}}\n    lease: {{file: {disk.folder / 'leases.json'}}}\n"
        config.write_text(server.config().rstrip("\n") + "\n" + lease)
        command.write_text(COMMAND)
        yield Stage(
            name=name, folder=disk.folder, config=config, oracle=oracle, disk=disk, chance=chance, result=result,
            command=f"{sys.executable} -I -S {command} {port} {{address}}",
        )  # fmt: skip


def killed(seed: int, count: int, number: int = 0, show: Callable[[Result], object] = lambda _: None) -> Result:
    """Kill rolls this often, one roll after another, starting with the roll of this number; each roll is shown."""
    result = Result()
    while result.counts["kills"] < count and len(result.failures) < 20:
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - no secret
        left = count - result.counts["kills"]
        with staged(f"roll {number} of seed {seed}", chance, result) as stage:
            stage.run(min(left, chance.randint(1, MOST_KILLS)))
            result.counts["rolls"] += 1
            result.counts["restarts"] += len(stage.oracle.restarts)
            result.counts["real disks"] += stage.disk.real
        show(result)
        number += 1
    return result


def main() -> int:
    """Run what the command line asks for; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.restart.killed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="of all moments")
    parser.add_argument("--roll", type=int, default=0, help="number of the first roll")
    options = parser.parse_args()
    started = time.monotonic()

    def show(result: Result) -> None:
        kills, failures = result.counts["kills"], len(result.failures)
        print(f"{time.monotonic() - started:.0f} s: {kills} of {options.count} kills, {failures} failures", flush=True)

    result = killed(options.seed, options.count, options.roll, show)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(result.counts.items()))
    print(f"seed {options.seed}: {counts} in {time.monotonic() - started:.0f} s; {len(result.failures)} failures")
    print("killed after: " + ", ".join(f"{event} {count}" for event, count in result.at.most_common()))
    for failure in result.failures:
        print(failure)
    return int(bool(result.failures))


if __name__ == "__main__":
    raise SystemExit(main())
