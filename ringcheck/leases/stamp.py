"""What a new lease is stamped with: its owner and its time."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import UTC, datetime


def whoami() -> str:
    """`user@host`: the owner of a lease if the operator names none."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in containers
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """The current time in UTC, as a lease records it: `2026-01-31T23:59:59Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
