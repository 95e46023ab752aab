"""`ringcheck nodes`: which nodes it shows and since when, and that the table says what it can't know."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ringcheck.cli import run
from ringcheck.core.transitions import Fact, Key, Known
from ringcheck.history import database
from ringcheck.history.entries import Changes
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.server import serve
from tests.cli.test_errors import recorded
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("command", ["nodes", "status"])
def test_the_table(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0 whatever the states are; the command also has the name that users of nodetool expect."""
    assert run([command, "--from", recorded(tmp_path, ["10.0.0.1"])]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("blogs: 3 nodes (2 up, 1 down); none of the 2 up may stop now, alone\n")
    assert err == ""


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document is one of its own."""
    assert run(["nodes", "--from", recorded(tmp_path), "--format", "json", "10.0.0.2"]) == 0
    document = json.loads(capsys.readouterr().out)
    validate(document, "nodes-1")
    assert [node["address"] for node in document["nodes"]] == ["10.0.0.2"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["10.0.0.3", "10.0.0.1"], ["10.0.0.1", "10.0.0.3"]), (["10.0.0"], ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        (["host-1"], ["10.0.0.2"]), (["--rack", "r2"], ["10.0.0.3"]),
        (["--datacenter", "dc1", "--rack", "r0"], ["10.0.0.1"]), (["10.0.0.1", "--rack", "r1"], []),
    ],
)  # fmt: skip
def test_some_nodes(words: list[str], shown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are chosen by rack, by datacenter, or by names, each of which may mean several nodes here."""
    assert run(["nodes", "--from", recorded(tmp_path), "--format", "json", *words]) == 0
    assert [node["address"] for node in json.loads(capsys.readouterr().out)["nodes"]] == shown


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["10.9.9.9"], "10.9.9.9 is not a node of blogs (known: 10.0.0.1, 10.0.0.2, 10.0.0.3)"),
        ([""], "'' is not a node of blogs"), (["--rack", "r9"], "there is no rack r9 (known: r0, r1, r2)"),
        (["--datacenter", "dc2"], "datacenter dc2 has no nodes (did you mean dc1?)"),
        (["-k", "blog_1"], "does not take --keyspace"),
    ],
)  # fmt: skip
def test_what_is_not_there(words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with one line on standard error, and exit code 3."""
    assert run(["nodes", "--from", recorded(tmp_path), *words]) == 3
    out, err = capsys.readouterr()
    assert (out, text in err) == ("", True)


@contextmanager
def served(folder: Path) -> Iterator[tuple[EmbeddedCluster, Path]]:
    """An embedded cluster, its configuration with leases, and the state file of an agent."""
    cluster = EmbeddedCluster.uniform(
        3, racks=3, vnodes=4, addresses=loopback_address, time_factor=0.02, keyspaces={"orders": topology(dc1=3)}
    )
    with serve(cluster) as server:
        config = folder / "ringcheck.yaml"
        settings = f"    gate: {{settle: 0s}}\n    lease: {{file: {folder / 'leases.json'}}}\n"
        config.write_text(server.config().rstrip("\n") + f"\n{settings}agent: {{state: state.db}}\n")
        yield cluster, config


def remember(folder: Path, name: str, states: dict[str, str]) -> None:
    """Write a state file in which the nodes have had these states since 1970."""
    known = {Key("node", address): Known(Fact(state, address), 0) for address, state in states.items()}
    with closing(database.connected(folder / "state.db")) as connection:
        Changes(cluster=name, at=0, entries=[], facts=known, gone=())(connection)


def test_since_when_comes_from_the_state_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration names the file; a node whose state has changed since then has no time."""
    with served(tmp_path) as (_, config):
        words = ["nodes", "-C", str(config), "--format", "json"]
        assert run(words) == 0
        document = json.loads(capsys.readouterr().out)
        assert {node["since"] for node in document["nodes"]} == {None}
        first, second, third = (node["address"] for node in document["nodes"])
        remember(tmp_path, document["cluster"], {first: "up", second: "down"})
        assert run(words) == 0
        nodes = json.loads(capsys.readouterr().out)["nodes"]
        assert run(words[:-2]) == 0
    since = {node["address"]: (node["since"], node["begin_seen"]) for node in nodes}
    assert since == {first: ("1970-01-01T00:00:00Z", False), second: (None, None), third: (None, None)}
    assert "up     >= " in capsys.readouterr().out


def test_what_can_not_be_read_is_said_below_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If state file and lease store are damaged the table is still shown, and no node may stop."""
    with served(tmp_path) as (_, config):
        (tmp_path / "state.db").write_text("junk")
        (tmp_path / "leases.json").write_text("junk")
        assert run(["nodes", "-C", str(config)]) == 0
    out = capsys.readouterr().out
    assert "which may stop is not known" in out
    assert f"Since when is not known: {tmp_path}/state.db can't be read: it is damaged, or not an SQLite file" in out
    assert "Whether nodes may stop is not known: " in out
    assert "  yes" not in out


def test_a_node_under_a_lease_names_its_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No node may stop beside it, because its ranges need the two others."""
    with served(tmp_path) as (_, config):
        assert run(["lease", "acquire", "-C", str(config), "127.0.1.1", "--owner", "me@here"]) == 0
        capsys.readouterr()
        assert run(["nodes", "-C", str(config)]) == 0
    out = capsys.readouterr().out
    assert "127.0.1.1: under the lease of me@here" in out
    assert "2 nodes (127.0.1.2, 127.0.1.3) must not stop now" in out
