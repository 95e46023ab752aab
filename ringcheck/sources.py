"""Opens the source that a cluster's configuration names: the only file that knows all kinds of sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.errors import UsageError
from ringcheck.jolokia.settings import JolokiaSettings

if TYPE_CHECKING:
    from ringcheck.config.values import Cluster
    from ringcheck.core.source import NodeControl, Source


def open_source(cluster: Cluster) -> Source:
    """The source of a cluster; nothing is asked yet.

    Raises:
        ConfigError: if it can't be used as configured.
        UsageError: if a password can't be read.
    """
    if not isinstance(cluster.source, JolokiaSettings):
        from ringcheck.replay.source import ReplaySource  # noqa: PLC0415 - a check of live nodes does not need it

        return ReplaySource(cluster.source)
    from ringcheck.jolokia.source import JolokiaSource  # noqa: PLC0415 - brings HTTP

    return JolokiaSource(cluster.source, cluster.replication, cluster.name or None, cluster.policy.authenticates)


def open_control(cluster: Cluster) -> NodeControl:
    """The control of a cluster's single nodes, for a rolling restart; nothing is asked yet.

    Raises:
        ConfigError: as `open_source`.
        UsageError: as `open_source`; also for a replayed cluster, whose nodes can't be restarted.
    """
    if not isinstance(cluster.source, JolokiaSettings):
        raise UsageError(f"{cluster.name} is replayed from recordings: its nodes can't be restarted")
    from ringcheck.jolokia.control import Control  # noqa: PLC0415 - brings HTTP

    return Control(cluster.source)
