"""Reads the restart leases of a cluster in a thread, while its nodes are asked."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.config import Cluster
    from ringcheck.core.maintenance import Maintenance

LEASES = 1.0  # seconds that the lease store gets


def begin(configured: Cluster, deadline: float, timeout: float) -> Callable[[], Maintenance]:
    """Begin to read; the function that is returned waits for the leases, at most `LEASES` seconds.

    Args:
        configured: the cluster.
        deadline: seconds that a restart may take.
        timeout: seconds that the whole command may take.
    """
    results: list[Maintenance] = []
    work = threading.Thread(target=lambda: results.append(_maintenance(configured, deadline)), daemon=True)
    work.start()
    ends = time.monotonic() + min(LEASES, timeout)
    return lambda: _awaited(work, ends, results, deadline)


def _maintenance(configured: Cluster, deadline: float) -> Maintenance:
    """The restart leases, or why they can't be read: a check goes on without them."""
    from ringcheck.core.maintenance import Maintenance

    try:
        from ringcheck.leases.configured import open_store

        with closing(open_store(configured, LEASES)) as store:
            return Maintenance(store.holders(), deadline)
    except Exception as error:  # noqa: BLE001 - as above; a crash here would be lost with its thread
        return Maintenance((), deadline, str(error) or type(error).__name__)


def _awaited(work: threading.Thread, ends: float, results: list[Maintenance], deadline: float) -> Maintenance:
    from ringcheck.core.maintenance import Maintenance

    work.join(max(0.0, ends - time.monotonic()))
    late = f"the store of leases took longer than {LEASES:g} s"
    return results[0] if results else Maintenance((), deadline, late)
