"""doctor: exit codes, both formats, and which host is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ringcheck.cli import run
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.server import serve
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.simulator.server import Server

NAMES = [
    "name", "port", "tls", "http", "login", "jolokia", "bulk", "cassandra",
    "check", "gate", "roll", "policy", "drain", "clock", "peers",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    cluster = EmbeddedCluster.uniform(3, keyspaces={"orders": topology(dc1=3)}, name="orders-prod", time_factor=0)
    with serve(cluster) as server:
        yield server


def url(server: Server, index: int) -> str:
    return server.template.replace("{address}", server.cluster.nodes[index].address)


def options(server: Server, index: int) -> list[str]:
    return ["-u", server.template, "-H", server.cluster.nodes[index].address]


def test_a_healthy_node(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Every host has a line for each step, in the same order; the exit code is 0."""
    assert run(["doctor", *options(server, 0)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"OK {url(server, 0)}: no step failed; still to do: policy"
    assert [line.split()[1] for line in lines if not line.lstrip().startswith("->")] == NAMES


def test_rows_fit_the_terminal(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not fall back to the first column."""
    monkeypatch.setattr("ringcheck.cli.doctor.columns", lambda: 80)
    assert run(["doctor", *options(server, 0)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert {len(row) for row in rows if "://" not in row and len(row) > 80} == set()
    assert {row.split()[0] for row in rows if not row.startswith(" ")} == {"OK", "ok", "skipped"}
    assert any(row.startswith(" " * 20) for row in rows)


@pytest.mark.parametrize("words", [["-H", "127.0.0.1:1"], ["127.0.0.1:1"]], ids=["option", "argument"])
def test_a_host_without_an_agent(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output shows the step that failed and how to fix it, with exit code 2; later steps are skipped."""
    monkeypatch.setattr("ringcheck.cli.target.DEFAULT_CONFIG", Path("/nowhere/ringcheck.yaml"))
    assert run(["doctor", *words]) == 2
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "FAILED http://127.0.0.1:1/jolokia: 1 step failed (port)"
    assert lines[1] == "failed   port       nothing listens on 127.0.0.1:1"
    assert lines[2].lstrip().startswith("-> start Cassandra with -javaagent:")
    assert all(line.startswith("skipped") and line.endswith("needs `port`") for line in lines[3:])


@pytest.mark.parametrize(("port", "code", "result"), [(None, 0, "ok"), (1, 2, "failed")])
def test_the_document_is_what_its_schema_says(
    server: Server, capsys: pytest.CaptureFixture[str], port: int | None, code: int, result: str
) -> None:
    """The documents of a healthy host and of one without an agent are valid."""
    target = ["-H", f"127.0.0.1:{port}"] if port else options(server, 0)
    assert run(["doctor", *target, "--format", "json"]) == code
    document = json.loads(capsys.readouterr().out)
    validate(document, "diagnosis-1")
    assert (document["result"], [step["name"] for step in document["steps"]]) == (result, NAMES)


def configured(server: Server, folder: Path) -> str:
    document: dict[str, Any] = yaml.safe_load(server.config())
    path = folder / "ringcheck.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_a_configured_cluster(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first contact point is asked, or the named host, with the cluster's settings."""
    config = configured(server, tmp_path)
    assert run(["doctor", "-C", config]) == 0
    assert capsys.readouterr().out.startswith("OK http://")
    other = server.cluster.nodes[2].address
    assert run(["doctor", "-C", config, other]) == 0
    assert capsys.readouterr().out.startswith(f"OK {url(server, 2)}: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-H", "10.0.0.1", "-H", "10.0.0.2"], "name one host"),
        (["-H", "10.0.0.1", "10.0.0.2"], "name one host"),
        (["--from", "x.json"], "does not take --from: it asks a live node"),
        (["-u", "http://{address}:8778/jolokia"], "needs a node to start from"),
        (["-H", "http:/10.0.0.1"], "is neither HOST, HOST:PORT, [IPV6]:PORT nor a URL"),
        (["-H", "10.0.0.1", "--ca-file", "/no/such/file"], "/no/such/file can't be loaded"),
    ],
)
def test_errors_of_the_caller(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each ends with exit code 3 and one line."""
    assert run(["doctor", *arguments]) == 3
    assert text in capsys.readouterr().err


def test_a_replayed_cluster_has_no_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "ringcheck.yaml"
    config.write_text(f"clusters: {{old: {{replay: {{directory: {tmp_path}}}}}}}")
    assert run(["doctor", "-C", str(config)]) == 3
    assert "old is replayed from recordings: it has no hosts to ask" in capsys.readouterr().err
