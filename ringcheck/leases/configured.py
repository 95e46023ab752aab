"""The lease store of a cluster as it is configured: etcd, a named lock file, or the default lock file of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.leases.store import STEP_SECONDS

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster
    from ringcheck.leases.store import Store


def open_store(cluster: Cluster, seconds: float = STEP_SECONDS) -> Store:
    """The lease store that `lease:` of a cluster names; without `lease:` a lock file of this host.

    Nothing is opened or sent yet.

    Args:
        cluster: its name and its `lease:` section are used.
        seconds: deadline of each step, including retries.

    Raises:
        ConfigError: the configured store can't be used.
        UsageError: the password file can't be read.
    """
    lease = cluster.lease
    if lease and lease.etcd:
        from ringcheck.leases.etcd import Etcd  # noqa: PLC0415 - loads HTTP, which a lock file does not need

        return Etcd(cluster.name, lease, seconds)
    from ringcheck.leases.lockfile import LockFile, default_path  # noqa: PLC0415 - not needed with etcd

    if lease and lease.file:
        return LockFile(cluster.name, lease.file, seconds)
    return LockFile(cluster.name, default_path(cluster.name), seconds, guarded=True)
