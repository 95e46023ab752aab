"""Telling systemd, by real datagram sockets; the last part with the real service, without a systemd."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import TYPE_CHECKING

import pytest

from ringcheck.agent.notify import notify, reloading, watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def listening(address: str) -> socket.socket:
    """A datagram socket, as systemd has one."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(10)
    receiver.bind(address)
    return receiver


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket of either kind, which the environment names as systemd would."""
    name = f"ringcheck-{os.getpid()}-{secrets.token_hex(4)}"
    path = str(tmp_path / "notify")
    named, address = (path, path) if request.param == "path" else (f"@{name}", f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", named)
    with listening(address) as receiver:
        yield receiver


def test_what_is_told_arrives(manager: socket.socket) -> None:
    """One datagram with all assignments, a line each, to a socket with a path as to an abstract one."""
    assert notify("READY=1", "STATUS=2 clusters, worst OK")
    assert manager.recv(4096).decode() == "READY=1\nSTATUS=2 clusters, worst OK"
    manager.setblocking(False)  # noqa: FBT003 - as it is
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


@pytest.mark.parametrize("named", [None, "", "relative", "vsock:2:1234", "/nowhere/notify", "@nobody-is-there", "/"])
def test_nobody_is_told(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket, or with one that can't be reached, the service goes on; it knows that nobody heard."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if named is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", named)
    assert not notify("READY=1")


def test_a_socket_of_another_kind_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream socket, and a plain file, take no datagram."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "stream"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(str(tmp_path / "stream"))
        stream.listen()
        assert not notify("READY=1")
    (tmp_path / "file").touch()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "file"))
    assert not notify("READY=1")


def test_a_name_that_no_socket_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path beyond what the kernel takes (108 bytes) is a socket that can't be reached."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / ("n" * 200)))
    assert not notify("READY=1")


def test_a_receiver_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    """Once its queue is full the rest is dropped after a moment, and what stood in the queue arrives."""
    begins = time.monotonic()
    sent = 0
    while notify("WATCHDOG=1"):
        sent += 1
        assert sent < 100_000
    assert time.monotonic() - begins < 60
    assert [manager.recv(64) for _ in range(sent)] == [b"WATCHDOG=1"] * sent


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
def test_how_often_systemd_wants_to_hear(
    microseconds: str | None, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sd_watchdog_enabled(3): microseconds, for this process or for whoever asks; anything else is no watchdog."""
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, {"mine": str(os.getpid()), "another": "1"}.get(value, value))
    assert watchdog() == seconds


def test_a_reload_says_when_it_began() -> None:
    """By the clock that systemd compares with: monotonic, in microseconds."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert before <= int(second.partition("=")[2]) <= after
