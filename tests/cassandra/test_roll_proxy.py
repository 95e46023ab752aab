"""A rolling restart of nodes without Jolokia, whose JMX ports `ringcheck jmx-proxy` reads, under load."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cassandra.load import Load
from tests.cassandra.test_roll import (
    TIMEOUTS,
    TOKENS,
    Roll,
    addresses,
    assert_nothing_lost,
    harness,
    processes,
    quiet,
    served_by_all,
    stops,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

DEFAULT_RELEASES = ("5.0.8",)


def test_a_rolling_restart_loses_no_query(real_cluster: ClusterFactory, cassandra_release: str, tmp_path: Path) -> None:
    """The gate, drain, restart and readiness of each node work through the proxy."""
    cluster = real_cluster(cassandra_release, jolokia="none", num_tokens=TOKENS, yaml=TIMEOUTS)
    before = processes(cluster)
    with Load(cluster, tmp_path) as load:
        begin = quiet(load)
        # With the load and the proxy on two cores, a poll can take longer than the default allows.
        roll = Roll(cluster, tmp_path, "-t", "60s", "--exec", harness(cluster, "restart", "--hard"))
        roll.finish(roll.start())
        served_by_all(load, cluster)
    assert not set(before.values()) & set(processes(cluster).values())
    assert {event["node"] for event in roll.of("back")} == addresses(cluster), roll.said
    assert_nothing_lost(load.traffic().between(begin, time.time()), stops(roll.events), addresses(cluster))
