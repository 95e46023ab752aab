"""How many file descriptors connections to nodes may take, so that some are left for everything else."""

from __future__ import annotations

import resource

_REST = 512  # descriptors for the clients of the agent, lease stores, logs and configuration
_UNLIMITED = 1 << 20


def room() -> int:
    """Descriptors that connections to nodes may take: the limit of this process less `_REST`, at least half of it."""
    limit = _limit()
    return max(limit // 2, limit - _REST)


def rest() -> int:
    """Descriptors for everything else."""
    return _limit() - room()


def _limit() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit
