"""Real clusters as fixtures: one at a time, shared by tests that ask for the same.

`RINGCHECK_CASSANDRA_VERSIONS` ("all", or releases separated by commas) chooses the releases under test.
Without Java or Maven these tests are skipped with the reason; with `CI=true` they fail.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.cassandra import artifacts, queries
from tests.cassandra.cluster import RealCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# Releases of every run; they take some twenty minutes. A module can name its own. `all` takes two hours.
DEFAULT_RELEASES = ("5.0.8",)


class ClusterFactory(Protocol):
    """The fixture `real_cluster`: called with `RealCluster`'s arguments it starts or reuses one; `close` ends it."""

    def __call__(self, release: str, layout: str = ..., **options: Any) -> RealCluster: ...

    def close(self) -> None: ...


class _Shelf:
    """The cluster that runs; a request for a different one replaces it."""

    def __init__(self) -> None:
        self._wanted: object = None
        self._shape: object = None
        self._cluster: RealCluster | None = None

    def __call__(self, release: str, layout: str = "dc1:r1,dc1:r2,dc1:r3", **options: Any) -> RealCluster:
        """A cluster with all nodes up: the running one, if it was requested with equal arguments and kept its nodes."""
        wanted = (release, layout, repr(sorted(options.items())))
        if self._cluster and self._wanted == wanted and self._shape == _shape(self._cluster):
            self._cluster.restore()
            return self._cluster
        self.close()
        cluster = RealCluster(release, layout, **options)
        cluster.__enter__()
        self._cluster, self._wanted, self._shape = cluster, wanted, _shape(cluster)
        return cluster

    def close(self) -> None:
        """End the cluster that runs, if any."""
        if self._cluster:
            self._cluster.close()
            self._cluster = None


def _shape(cluster: RealCluster) -> object:
    return [(node.number, node.release, node.left) for node in cluster.record.nodes]


def chosen_releases(default: tuple[str, ...] = DEFAULT_RELEASES) -> tuple[str, ...]:
    """The releases that the environment asks for."""
    asked = os.environ.get("RINGCHECK_CASSANDRA_VERSIONS", "")
    if asked == "all":
        return artifacts.RELEASES
    chosen = tuple(asked.replace(",", " ").split()) or default
    if unknown := sorted(set(chosen) - set(artifacts.RELEASES)):
        raise pytest.UsageError(f"RINGCHECK_CASSANDRA_VERSIONS: not supported: {', '.join(unknown)}")
    return chosen


def chosen_jolokias(default: tuple[str, ...]) -> tuple[str, ...]:
    """The lines of Jolokia under test: all of them with all releases of Cassandra or if `RINGCHECK_JOLOKIAS=all`."""
    asked = os.environ.get("RINGCHECK_JOLOKIAS", os.environ.get("RINGCHECK_CASSANDRA_VERSIONS"))
    return tuple(line for line in artifacts.JOLOKIA_RELEASES if line in default or asked == "all")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with the fixture `cassandra_release` once for each release."""
    if "cassandra_release" in metafunc.fixturenames:
        default = getattr(metafunc.module, "DEFAULT_RELEASES", DEFAULT_RELEASES)
        metafunc.parametrize("cassandra_release", chosen_releases(default), scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many outcomes of real queries were compared with predictions."""
    ledger = queries.LEDGER
    if not ledger and not queries.COUNTED:
        return
    terminalreporter.section("CQL outcomes compared with predictions")
    for release, state, found in ledger:
        counts = ", ".join(f"{number} {name}" for name, number in found.outcomes.most_common())
        noise = f", {len(found.noise)} asked again" if found.noise else ""
        text = f"{release:8} {state:30} {found.compared:7} ({counts}), {len(found.differences)} differ{noise}"
        terminalreporter.line(text)
    terminalreporter.line(f"{sum(found.compared for _, _, found in ledger)} in all")
    if moments := queries.COUNTED["moments"]:
        asked = queries.COUNTED["queries in moments"]
        terminalreporter.line(f"{moments} moments with {asked} queries watched for a false OK")


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[ClusterFactory]:
    """A factory of running clusters; a request closes the cluster of the request before, unless the two are equal."""
    require_tools()
    shelf = _Shelf()
    yield shelf
    shelf.close()


def require_tools() -> None:
    """Skip the test if there is no Java or Maven; in CI fail it."""
    if reason := artifacts.missing_tools():
        if os.environ.get("CI") == "true":
            pytest.fail(f"real clusters are required in CI: {reason}")
        pytest.skip(f"no real cluster: {reason}")
