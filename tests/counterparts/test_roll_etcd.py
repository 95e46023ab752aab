"""Rolling restarts with their leases in a real etcd: two at once, one that is killed, and an etcd that goes away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.config import load
from ringcheck.leases.configured import open_store
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.server import serve
from tests.counterparts.test_etcd import Member, etcd
from tests.outage import Seen, lost, sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONG = 400.0  # seconds for two rolls of six nodes on a busy machine


@dataclass
class Roll:
    """A `ringcheck roll` with a name, its journal, and the records of its commands."""

    folder: Path
    name: str
    process: subprocess.Popen[str] | None = None

    def start(self, *words: str) -> None:
        journal = ("--journal", str(self.folder / f"{self.name}.jsonl"))
        command = ("--exec", f"{self.folder / 'restart'} {self.name} {{address}}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ringcheck", "roll", "-C", str(self.folder / "ringcheck.yaml"), "--no-cql",
             "--stable", "2", *journal, *command, *words],
            stdout=(self.folder / f"{self.name}.out").open("ab"), stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def finish(self) -> int:
        assert self.process is not None
        return self.process.wait(LONG)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def told(self) -> str:
        return (self.folder / f"{self.name}.out").read_text()

    def events(self, *names: str) -> list[dict[str, Any]]:
        file = self.folder / f"{self.name}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [one for one in found if one["event"] in names]

    def ran(self) -> Counter[str]:
        """How many times its command ran for each node."""
        file = self.folder / f"ran-{self.name}"
        return Counter(file.read_text().split() if file.exists() else [])


@dataclass
class Site:
    """An embedded cluster, an etcd, and rolls of the cluster."""

    folder: Path
    cluster: EmbeddedCluster
    etcd: Member
    seen: Seen
    rolls: list[Roll] = field(default_factory=list)

    def roll(self, name: str, *words: str) -> Roll:
        made = Roll(self.folder, name)
        self.rolls.append(made)
        made.start(*words)
        return made

    @property
    def nodes(self) -> list[str]:
        return [node.address for node in self.cluster.nodes]

    def leases(self) -> set[str]:
        [known] = load(str(self.folder / "ringcheck.yaml")).clusters.values()
        with closing(open_store(known, 60.0)) as store:
            return {one.node for one in store.holders()}

    def harmed_nobody(self) -> None:
        """Assert that every range always had its quorum: never were nodes of two racks down together."""
        pairs = combinations(self.cluster.nodes, 2)
        assert all(lost(self.cluster, {a.address, b.address}) for a, b in pairs if a.spec.rack != b.spec.rack)
        assert self.seen.nodes == set(self.nodes)
        assert {len(racks) for racks in self.seen.racks} == {1}
        assert self.seen.worst(self.cluster) == 0


RESTART = """#!/bin/sh
set -e
echo $2 >> {folder}/ran-$1
sleep {before}
{python} -m ringcheck simulate down $2 --url {url}
sleep {seconds}
{python} -m ringcheck simulate up $2 --url {url}
"""


@contextmanager
def site(folder: Path, nodes: int = 6, seconds: float = 0.5, before: float = 0.0) -> Iterator[Site]:
    """Six nodes in three racks; a restart takes time before the node goes down, and while it is down."""
    cluster = EmbeddedCluster.uniform(
        nodes, racks=3, vnodes=16, addresses=loopback_address, time_factor=0.02, keyspaces={"orders": topology(dc1=3)}
    )
    with ExitStack() as stack:
        [member] = stack.enter_context(etcd(folder))
        server = stack.enter_context(serve(cluster))
        more = f"    gate: {{settle: 0s}}\n    lease: {{etcd: {member.url}}}\n"
        (folder / "ringcheck.yaml").write_text(f"{server.config().rstrip()}\n{more}")
        script = folder / "restart"
        values = {"url": server.url, "seconds": seconds, "before": before}
        script.write_text(RESTART.format(folder=folder, python=sys.executable, **values))
        script.chmod(0o755)
        found = Site(folder, cluster, member, stack.enter_context(sampled(cluster)))
        try:
            yield found
        finally:
            for one in found.rolls:
                one.kill()


def until(condition: Callable[[], object], roll: Roll) -> None:
    """Wait until a condition holds; fails as soon as the roll has ended without it."""
    assert roll.process
    ends = time.monotonic() + LONG
    while not condition():
        assert roll.process.poll() is None or condition(), roll.told
        assert time.monotonic() < ends, roll.told
        time.sleep(0.05)


def once(nodes: list[str]) -> Counter[str]:
    return Counter(dict.fromkeys(nodes, 1))


@pytest.mark.parametrize(("words", "before"), [([], 0.0), (["--no-drain", "--stable", "1"], 3.0)])
def test_two_at_once(tmp_path: Path, words: list[str], before: float) -> None:
    """Two rolls restart every node, together one rack at a time; they overlapped, and no lease is left.

    One case drains the nodes. In the other the commands take seconds until their node goes down; until then only the
    lease shows it.
    """
    with site(tmp_path, before=before) as here:
        one, other = here.roll("one", *words), here.roll("other", *words)
        assert [one.finish(), other.finish()] == [0, 0], one.told + other.told
        here.harmed_nobody()
        assert [one.ran(), other.ran()] == [once(here.nodes)] * 2
        assert one.events("waiting") or other.events("waiting")
        assert here.leases() == set()


@pytest.mark.parametrize("moment", ["lease", "draining", "command", "released"])
def test_one_of_two_is_killed(tmp_path: Path, moment: str) -> None:
    """One roll gets SIGKILL after a lease, a drain, a command's start or a release; the other waits or continues.

    --resume finishes the killed roll: neither runs its command twice for any node.
    """
    with site(tmp_path, seconds=1.0) as here:
        one, other = here.roll("one"), here.roll("other")
        until(lambda: one.events(moment), one)
        one.kill()
        left = set(one.events("lease")[-1]["nodes"]) if moment != "released" else set()
        assert here.leases() >= left
        time.sleep(1.0)  # the other roll is sampled in the meantime
        assert here.leases() >= left
        one.start("--resume")
        assert [one.finish(), other.finish()] == [0, 0], one.told + other.told
        assert [one.ran(), other.ran()] == [once(here.nodes)] * 2
        assert here.leases() == set()
    here.harmed_nobody()


def test_etcd_goes_away_under_a_batch(tmp_path: Path) -> None:
    """The batch comes back, but can't release its lease: exit 3 with the reason, no other batch; --resume continues."""
    with site(tmp_path, seconds=1.0) as here:
        roll = here.roll("one")
        until(lambda: roll.events("command"), roll)
        here.etcd.stop()
        assert roll.finish() == 3
        assert "back, but the lease could not be released: " in roll.told
        assert "`ringcheck lease release` does it" in roll.told
        [lease] = roll.events("lease")
        assert roll.ran() == once(lease["nodes"])
        assert {event["node"] for event in roll.events("back")} == set(lease["nodes"])
        assert not roll.events("released")
        here.etcd.start([here.etcd])
        assert here.leases() == set(lease["nodes"])
        roll.start("--resume")
        assert roll.finish() == 0, roll.told
        assert roll.ran() == once(here.nodes)
        assert here.leases() == set()
    here.harmed_nobody()


def test_etcd_is_away_between_batches(tmp_path: Path) -> None:
    """The roll waits without a lease and without starting a batch, reports why, and continues once etcd is back."""
    with site(tmp_path) as here:
        roll = here.roll("one", "--pause-between", "2s")
        until(lambda: roll.events("pause"), roll)
        here.etcd.stop()
        until(lambda: _waits_for_etcd(roll, here), roll)
        [lease] = roll.events("lease")
        assert roll.ran() == once(lease["nodes"])
        here.etcd.start([here.etcd])
        assert here.leases() == set()
        assert roll.finish() == 0, roll.told
        assert roll.ran() == once(here.nodes)
    here.harmed_nobody()


def test_etcd_stays_away(tmp_path: Path) -> None:
    """After --wait it exits with 3 and the reason, and has started nothing without a lease; --resume continues."""
    with site(tmp_path) as here:
        roll = here.roll("one", "--pause-between", "2s", "--wait", "15s")
        until(lambda: roll.events("pause"), roll)
        here.etcd.stop()
        assert roll.finish() == 3
        assert "the gate did not open within 15 s: " in roll.told
        assert here.etcd.url in roll.told
        [lease] = roll.events("lease")
        assert roll.ran() == once(lease["nodes"])
        assert len(roll.events("stopping")) == len(lease["nodes"])
        here.etcd.start([here.etcd])
        assert here.leases() == set()
        roll.start("--resume")
        assert roll.finish() == 0, roll.told
        assert roll.ran() == once(here.nodes)
    here.harmed_nobody()


def _waits_for_etcd(roll: Roll, here: Site) -> bool:
    assert roll.process is not None
    assert roll.process.poll() is None, roll.told
    return any(here.etcd.url in event["why"] for event in roll.events("waiting"))
