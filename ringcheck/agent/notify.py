"""Reports the state of the service to systemd (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


def notify(*lines: str) -> bool:
    """Send assignments such as `READY=1`, and return whether a socket took them.

    Raises nothing: the service must not fail because no one listens.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in {"/", "@"}:
        return False
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1.0)
        # An unconnected socket counts as writable even if the receiver's queue is full: `sendto` would spin.
        sender.connect(address)
        sender.send("\n".join(lines).encode())
        return True
    return False


def watchdog() -> float | None:
    """Seconds within which systemd expects a `WATCHDOG=1`; None if it does not watch this process."""
    pid = os.environ.get("WATCHDOG_PID")
    with suppress(ValueError):
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
        if seconds > 0 and pid in {None, str(os.getpid())}:
            return seconds
    return None


def reloading() -> tuple[str, str]:
    """The assignments that announce a reload; systemd 253 and later need the time at which it began."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
