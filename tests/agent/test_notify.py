"""Notifications to systemd over real datagram sockets; the last tests run the real service, without systemd."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from select import select
from typing import TYPE_CHECKING

import pytest

from ringcheck.agent.notify import notify, reloading, watchdog
from tests.agent.service import PATIENCE, clusters, service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.agent.service import Clusters, Service


def listening(address: str) -> socket.socket:
    """A datagram socket like that of systemd."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(10)
    receiver.bind(address)
    return receiver


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket with a path or an abstract one, named in the environment as systemd does."""
    name = f"ringcheck-{os.getpid()}-{secrets.token_hex(4)}"
    path = str(tmp_path / "notify")
    named, address = (path, path) if request.param == "path" else (f"@{name}", f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", named)
    with listening(address) as receiver:
        yield receiver


def test_notifications_arrive(manager: socket.socket) -> None:
    """One datagram with a line for each assignment, to a socket with a path or an abstract one."""
    assert notify("READY=1", "STATUS=2 clusters, worst OK")
    assert manager.recv(4096).decode() == "READY=1\nSTATUS=2 clusters, worst OK"
    manager.setblocking(False)  # noqa: FBT003 - as it is
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


@pytest.mark.parametrize("named", [None, "", "relative", "vsock:2:1234", "/nowhere/notify", "@nobody-is-there", "/"])
def test_a_missing_socket_is_no_failure(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket, or with one that can't be reached, the result is False and nothing is raised."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if named is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", named)
    assert not notify("READY=1")


def test_a_socket_of_another_kind_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream socket and a plain file accept no datagram."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "stream"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(str(tmp_path / "stream"))
        stream.listen()
        assert not notify("READY=1")
    (tmp_path / "file").touch()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "file"))
    assert not notify("READY=1")


def test_a_name_too_long_for_a_socket_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel accepts paths up to 108 bytes."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / ("n" * 200)))
    assert not notify("READY=1")


@pytest.mark.slow
def test_a_receiver_that_does_not_read_delays_nothing(manager: socket.socket) -> None:
    """When the queue is full, further notifications are dropped after a moment; those in the queue still arrive."""
    begins = time.monotonic()
    sent = 0
    while notify("WATCHDOG=1"):
        sent += 1
        assert sent < 100_000
    assert time.monotonic() - begins < 60
    assert [manager.recv(64) for _ in range(sent)] == [b"WATCHDOG=1"] * sent


@pytest.mark.slow
def test_waiting_for_a_full_queue_takes_no_cpu(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the queue is full, the kernel reports our socket as not writable, so that waiting is not a busy loop."""
    writable = []

    class Looked(socket.socket):
        def close(self) -> None:
            writable.append(bool(select([], [self], [], 0)[1]))
            super().close()

    while notify("WATCHDOG=1"):
        pass
    monkeypatch.setattr("ringcheck.agent.notify.socket.socket", Looked)
    assert not notify("WATCHDOG=1")
    assert writable == [False]
    assert manager.recv(64) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        ("500000", "mine", 0.5),
        ("30000000", "another", None),
        ("30000000", "", None),
        (None, "mine", None),
        ("", None, None),
        ("0", None, None),
        ("-5", None, None),
        ("soon", None, None),
        ("1e6", None, None),
    ],
)
def test_the_interval_of_the_watchdog(
    microseconds: str | None, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in sd_watchdog_enabled(3): microseconds, for this process or with no pid; otherwise there is no watchdog."""
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, {"mine": str(os.getpid()), "another": "1"}.get(value, value))
    assert watchdog() == seconds


def test_a_reload_is_announced_with_its_time() -> None:
    """The time is in microseconds of the monotonic clock, which systemd uses for its comparison."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert before <= int(second.partition("=")[2]) <= after


# The service itself


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Clusters]:
    with clusters(tmp_path) as ours:
        yield ours


@pytest.mark.slow
def test_ready_once_every_cluster_was_polled(ours: Clusters, tmp_path: Path) -> None:
    """The first poll must end, even if it fails; feeding the watchdog is not enough."""
    ours.write("orders-prod", "slow", dead=("dead",))
    (tmp_path / "slow.hangs").touch()
    with service(ours.path, tmp_path) as running:
        running.hears("WATCHDOG=1", times=5)
        assert "READY=1" not in running.notified
        (tmp_path / "slow.hangs").unlink()
        running.hears("READY=1")
        running.awaits(lambda: "STATUS=3 clusters, worst OK, 1 without a current verdict" in running.notified)
        assert running.notified.count("READY=1") == 1


@pytest.mark.slow
def test_the_watchdog_is_fed_while_polls_go_on(ours: Clusters, tmp_path: Path) -> None:
    """It is fed while every cluster is polled; not while one hangs, even if others go on; again once it goes on."""
    ours.write("orders-prod", "slow")
    with service(ours.path, tmp_path) as running:
        running.hears("READY=1")
        running.hears("WATCHDOG=1", times=3)
        (tmp_path / "slow.hangs").touch()
        running.awaits(lambda: bool(running.logged("stuck")))
        assert running.quiet(4)
        assert running.process.poll() is None
        (tmp_path / "slow.hangs").unlink()
        running.hears("WATCHDOG=1", times=3)
        assert len(running.logged("stuck")) == 1


@pytest.mark.slow
def test_a_dead_cluster_is_no_reason_to_restart(ours: Clusters, tmp_path: Path) -> None:
    """Polls that fail within their deadline are progress: a restart would bring no node back."""
    ours.write(dead=("dead",))
    with service(ours.path, tmp_path) as running:
        running.hears("READY=1")
        running.hears("WATCHDOG=1", times=26)  # longer than the time after which a hanging poll counts as stuck
        assert not running.logged("stuck")
        assert "STATUS=1 cluster, worst not known, 1 without a current verdict" in running.notified


@pytest.mark.slow
def test_a_reload_is_reported_from_begin_to_end(ours: Clusters, tmp_path: Path) -> None:
    """RELOADING with its time, then READY, for a usable file and for an unusable one, which changes nothing."""
    with service(ours.path, tmp_path) as running:
        running.awaits(lambda: "STATUS=1 cluster, worst OK" in running.notified and "READY=1" in running.notified)
        ours.path.write_text("clusters: {orders-prod: {jolokia: 5}}\n")
        assert reloaded(running) == ["RELOADING=1", "MONOTONIC_USEC", "READY=1"]
        (line,) = running.logged("reload_failed")
        assert f"{ours.path}:1:" in line
        ours.nodes_down(0, 1)  # the old configuration stays in force, and its polls go on
        running.awaits(lambda: "STATUS=1 cluster, worst WARNING" in running.notified)
        ours.nodes_down()
        ours.write("orders-prod", "search-prod")
        assert reloaded(running) == ["RELOADING=1", "MONOTONIC_USEC", "READY=1"]
        assert len(running.logged("reloaded")) == 1
        running.awaits(lambda: "STATUS=2 clusters, worst OK" in running.notified)


def reloaded(running: Service) -> list[str]:
    """The notifications after a SIGHUP, except watchdog and status."""
    running.listen()
    before = len(running.notified)
    running.process.send_signal(signal.SIGHUP)
    running.awaits(lambda: "READY=1" in running.notified[before:])
    lines = [line for line in running.notified[before:] if not line.startswith(("WATCHDOG", "STATUS"))]
    return [line.partition("=")[0] if line.startswith("MONOTONIC") else line for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_reported(number: int, hangs: bool, ours: Clusters, tmp_path: Path) -> None:  # noqa: FBT001
    """STOPPING is the last notification, and the exit code is 0, even with a hanging poll."""
    with service(ours.path, tmp_path) as running:
        running.hears("READY=1")
        if hangs:
            (tmp_path / "orders-prod.hangs").touch()
            running.awaits((tmp_path / "orders-prod.hung").exists)
        running.process.send_signal(number)
        assert running.process.wait(PATIENCE) == 0
        running.listen()
        assert running.notified[-2:] == ["STOPPING=1", "STATUS=stopping"]
        (line,) = running.logged("stopped")
        assert line.endswith(f"clean={not hangs}")


@pytest.mark.slow
def test_a_service_that_can_t_start_is_never_ready(ours: Clusters, tmp_path: Path) -> None:
    """With an unusable configuration the service exits with 3 and prints the reason."""
    ours.path.write_text("clusters: {}\n")
    with service(ours.path, tmp_path) as running:
        assert running.process.wait(PATIENCE) == 3
        running.listen()
        assert running.notified == []
        assert "clusters must not be empty" in running.log.read_text()
