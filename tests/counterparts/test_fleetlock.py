"""FleetLock as hosts use it: curl with the protocol's headers, agents, and a real etcd behind them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pytest
import requests

from ringcheck.config import load
from ringcheck.leases.configured import open_store
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import daemon, free_port, required
from tests.counterparts.test_etcd import Member, all_at_once, etcd
from tests.outage import lost, sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ringcheck.config.values import Config

GROUP = "embedded"
LONG = 240.0  # seconds in which ten hosts take turns on a busy machine


class Told(NamedTuple):
    """The answer to a host."""

    status: int
    kind: str
    value: str


def post(url: str, operation: str, host: str, *headers: str) -> Told:
    """Send a request with curl, as in the protocol's own example."""
    body = json.dumps({"client_params": {"group": GROUP, "id": host}})
    words = [required("curl"), "-sS", "--max-time", "100", "-w", "\n%{http_code}", "-d", body]
    done = subprocess.run(
        [*words, *(word for one in headers for word in ("-H", one)), f"{url}/v1/{operation}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    text, _, status = done.stdout.rpartition("\n")
    document = json.loads(text)
    assert set(document) == {"kind", "value"}
    return Told(int(status), document["kind"], document["value"])


def ask(url: str, host: str) -> Told:
    return post(url, "pre-reboot", host, "fleet-lock-protocol: true")


def steady(url: str, host: str) -> Told:
    return post(url, "steady-state", host, "fleet-lock-protocol: true")


@dataclass
class Fleet:
    """An embedded cluster, and agents that answer for it with their leases in etcd."""

    cluster: EmbeddedCluster
    config: Config
    urls: list[str]
    etcd: Member
    granted: set[str] = field(default_factory=set)
    together: set[frozenset[str]] = field(default_factory=set)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def owners(self) -> set[tuple[str, str]]:
        return {(one.node, one.owner) for one in open_store(self.config.clusters[GROUP]).holders()}

    def address(self, number: int) -> str:
        return self.cluster.nodes[number].address

    def note(self, change: Callable[[str], object], number: int) -> None:
        """Record which hosts hold grants at the same time."""
        with self.guard:
            change(self.address(number))
            self.together.add(frozenset(self.granted))


@contextmanager
def fleet(folder: Path, nodes: int, agents: int = 1) -> Iterator[Fleet]:
    cluster = EmbeddedCluster.uniform(
        nodes, racks=3, vnodes=4, addresses=loopback_address, time_factor=0.02, keyspaces={"orders": topology(dc1=3)}
    )
    with ExitStack() as stack:
        [member] = stack.enter_context(etcd(folder))
        server = stack.enter_context(serve(cluster))
        table = ", ".join(f"host-{node.index}: {node.address}" for node in cluster.nodes)
        file = folder / "ringcheck.yaml"
        file.write_text(
            f"{server.config().rstrip()}\n    gate: {{settle: 0s}}\n    lease: {{etcd: {member.url}}}\n"
            f"    fleetlock: {{nodes: {{{table}}}}}\nagent: {{interval: 10s}}\n"
        )
        urls = [_agent(stack, file, number) for number in range(agents)]
        yield Fleet(cluster, load(str(file)), urls, member)


def _agent(stack: ExitStack, config: Path, number: int) -> str:
    """Start the service as a process."""
    url = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "ringcheck", "agent", "-C", str(config), "--listen", url]

    def ready() -> bool:
        return requests.get(f"http://{url}/-/ready", timeout=5).ok

    stack.enter_context(daemon(command, config.parent / f"agent-{number}.log", ready, 60))
    return f"http://{url}"


def until(condition: Callable[[], bool], seconds: float = LONG) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to be"
        time.sleep(0.1)


def test_the_life_of_a_reboot(tmp_path: Path) -> None:
    """A host gets a grant, one of another rack a refusal with the reason; the lease ends only once the node is back."""
    with fleet(tmp_path, 6) as home:
        [url] = home.urls
        without = post(url, "pre-reboot", "host-0", "Content-Type: application/json")
        assert (without.status, without.kind) == (400, "bad_request")
        assert steady(url, "host-0")[:2] == (200, "not_held")
        assert ask(url, "host-0")[:2] == (200, "granted")
        assert ask(url, "host-0")[:2] == (200, "granted")
        refused = ask(url, "host-1")
        assert (refused.status, refused.kind) == (409, "unsafe")
        assert f"{home.address(0)} is under the restart lease of fleetlock host-0" in refused.value
        assert "; until " in refused.value
        home.cluster.drain(0)
        until(lambda: steady(url, "host-0")[:2] == (409, "not_back"))
        assert steady(url, "host-0").value.endswith("the lease stays")
        home.cluster.down(0)
        assert steady(url, "host-0")[:2] == (409, "not_back")
        assert ask(url, "host-1").kind != "granted"
        assert home.owners() == {(home.address(0), "fleetlock host-0")}
        home.cluster.up(0)
        told: list[Told] = []

        def back() -> bool:
            told.append(steady(url, "host-0"))
            return told[-1].kind == "released"

        until(back)
        assert {(one.status, one.kind) for one in told} <= {(200, "released"), (409, "not_back")}
        assert home.owners() == set()
        until(lambda: ask(url, "host-1")[:2] == (200, "granted"))


def reboot(home: Fleet, number: int) -> None:
    """A host's reboot, from its request until it is steady again; it asks any of the agents."""
    host, ends = f"host-{number}", time.monotonic() + LONG
    while ask(random.choice(home.urls), host).status != 200:  # noqa: S311 - no secret
        assert time.monotonic() < ends, f"{host} was never granted"
        time.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - likewise
    home.note(home.granted.add, number)
    time.sleep(0.5)  # hosts take time to shut down: until then only the lease shows it
    time.sleep(home.cluster.drain(number) + 0.1)
    home.cluster.down(number)
    time.sleep(0.3)
    home.cluster.up(number)
    home.note(home.granted.discard, number)  # the next answer may be that it has no lease
    while steady(random.choice(home.urls), host).status != 200:  # noqa: S311 - likewise
        assert time.monotonic() < ends, f"{host} was never back"
        time.sleep(0.2)


@pytest.mark.parametrize("agents", [1, 2])
def test_ten_hosts_at_once(tmp_path: Path, agents: int) -> None:
    """Ten hosts ask to reboot at the same moment, and all do; no range ever has fewer replicas than a quorum.

    This holds both for the grants at one time and for the nodes that were really down, by their placement alone. Only
    the record in etcd coordinates the two agents.
    """
    with fleet(tmp_path, 10, agents) as home, sampled(home.cluster) as seen:
        all_at_once(lambda number: reboot(home, number), 10)
        assert home.owners() == set()
    assert seen.nodes == {node.address for node in home.cluster.nodes}
    assert seen.count > 10
    assert seen.worst(home.cluster) == 0
    assert max(lost(home.cluster, one) for one in home.together) == 0
    assert lost(home.cluster, seen.nodes) > 0


def test_an_etcd_that_is_away(tmp_path: Path) -> None:
    """Without etcd both grant and release get 503 with the reason; when etcd is back the leases are as before."""
    with fleet(tmp_path, 6) as home:
        [url] = home.urls
        assert ask(url, "host-0")[:2] == (200, "granted")
        home.etcd.stop()
        for one in (ask(url, "host-0"), ask(url, "host-3"), steady(url, "host-0")):
            assert (one.status, one.kind) == (503, "leases_in_doubt")
        home.etcd.start([home.etcd])
        assert home.owners() == {(home.address(0), "fleetlock host-0")}
        assert ask(url, "host-1")[:2] == (409, "unsafe")
        assert steady(url, "host-0")[:2] == (200, "released")
