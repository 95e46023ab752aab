"""The Python API: its page runs as it is written, it is loaded late, and it answers as the commands do."""

from __future__ import annotations

import doctest
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import ringcheck
from ringcheck import Cluster, Wishes
from ringcheck.cli import run
from ringcheck.documents.decision import decision_document, plan_document
from ringcheck.documents.snapshot import snapshot_parts
from ringcheck.documents.verdict import verdict_document
from ringcheck.errors import SourceError, UsageError
from ringcheck.leases import lockfile
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a script: a configuration of an embedded cluster, and a recorded snapshot."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lockfile, "FOLDER", tmp_path / "shared")
    cluster = EmbeddedCluster.uniform(
        3, racks=3, vnodes=4, keyspaces={"orders": topology(dc1=3)}, name="orders-prod", time_factor=0
    )
    with serve(cluster) as server:
        document = yaml.safe_load(server.config())
        document["clusters"]["orders-prod"]["gate"] = {"settle": "0s"}
        (tmp_path / "ringcheck.yaml").write_text(yaml.safe_dump(document))
        cluster.down(0, instant=True)
        with Cluster.configured("ringcheck.yaml") as recorded:
            Path("one-down.json").write_text("".join(snapshot_parts(recorded.snapshot())))
        cluster.up(0, instant=True)
        yield tmp_path


def test_the_page_runs(folder: Path) -> None:
    """Every example of docs/python.md runs, in this order."""
    page = ROOT / "docs" / "python.md"
    shutil.copy(page, folder / "python.md")
    level = logging.getLogger("ringcheck").level
    try:
        failed, tried = doctest.testfile(str(folder / "python.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    finally:
        logging.getLogger("ringcheck").setLevel(level)
    assert not failed
    assert tried > 10


def test_answers_are_those_of_the_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdict, decision and plan of a recorded snapshot are the same documents."""
    file = str(folder / "one-down.json")

    def printed(*words: str) -> object:
        run([*words, "--from", file, "--format", "json"])
        return json.loads(capsys.readouterr().out)

    with Cluster.recorded(file, client_datacenters="dc1") as cluster:
        verdict = verdict_document(cluster.verdict(keyspaces="*", levels="all", ranges=True))
        assert verdict == printed("health", "*", "--level", "all", "--ranges", "--dc", "dc1")
        wishes = Wishes(level="LOCAL_ONE", require_all_up=True, allow=["no_data"])
        decided = decision_document(cluster.decide(["127.0.1.2", "127.0.1.3"], wishes=wishes))
        options = ["--level", "LOCAL_ONE", "--require-all-up", "--allow", "no_data", "--dc", "dc1"]
        assert decided == printed("preflight", "127.0.1.2", "127.0.1.3", *options)
        assert plan_document(cluster.plan(by="node")) == printed("plan", "--by", "node", "--dc", "dc1")


@pytest.mark.slow
def test_polls_share_their_connections(folder: Path) -> None:
    """A second method uses the connections of the first; after `close` there are new ones."""
    with Cluster.configured(folder / "ringcheck.yaml") as cluster:
        first = cluster.snapshot()
        kept = cluster._chosen.kept[0]
        sent = sum(kept.counts.requests.values())
        assert cluster.decide("127.0.1.1", stable=2).decision == "safe"
        assert cluster._chosen.kept == [kept]
        # A later poll is one small request per node, and one for its streams.
        assert sum(kept.counts.requests.values()) - sent == 2 * 2 * len(first.nodes)
    assert cluster._chosen.kept == []
    assert cluster.snapshot().nodes == first.nodes
    cluster.close()


def test_a_live_cluster_is_asked_each_time(folder: Path) -> None:
    """Each method polls: a node that stops between two calls is seen."""
    text = yaml.safe_load((folder / "ringcheck.yaml").read_text())
    source = text["clusters"]["orders-prod"]["jolokia"]
    with Cluster.at(*source["contact_points"], url=source["url"]) as cluster:
        assert cluster.verdict().severity.name == "OK"
        assert len(cluster.plan().batches) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (Cluster.at, "needs a node to start from|no cluster"),
        (lambda: Cluster.at("10.0.0.1", timeout=0), "timeout"),
        (lambda: Cluster.configured("none.yaml"), "there is no configuration none.yaml"),
        (lambda: Cluster.configured("ringcheck.yaml", "orders-prd"), "orders-prod"),
        (lambda: Cluster.recorded("none.json").snapshot(), "can't be read"),
        (lambda: Cluster.recorded("one-down.json").decide(), "name the nodes"),
        (lambda: Cluster.recorded("one-down.json").decide("127.0.1.1", wishes=Wishes(level="MOST")), "MOST"),
        (lambda: Cluster.recorded("one-down.json").decide("127.0.1.1", wishes=Wishes(level="")), "level ''"),
        (lambda: Cluster.recorded("one-down.json").verdict(levels=["MOST"]), "MOST"),
        (lambda: Cluster.recorded("one-down.json").verdict(view=""), "'' is not an address"),
    ],
)
def test_wrong_arguments(folder: Path, wrong: object, text: str) -> None:
    """Each is a UsageError that names what is wrong."""
    assert folder.exists()
    assert callable(wrong)
    with pytest.raises(UsageError, match=text):
        wrong()


@pytest.mark.slow
def test_a_silent_cluster_is_an_error(folder: Path) -> None:
    """An error is raised instead of a verdict."""
    assert folder.exists()
    with Cluster.at("127.0.0.1:1", timeout=2) as cluster, pytest.raises(SourceError):
        cluster.verdict()


def test_the_api_is_loaded_late() -> None:
    """`import ringcheck` lists the API without loading any part of it."""
    program = "import sys, ringcheck; assert 'Cluster' in dir(ringcheck); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith(("ringcheck.", "click", "logging"))] == []
    with pytest.raises(AttributeError, match="no attribute 'Clusters'"):
        _ = ringcheck.Clusters  # type: ignore[attr-defined]
