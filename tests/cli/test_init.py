"""`ringcheck init` writes a usable configuration of the cluster that it polled, and overwrites nothing."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml

from ringcheck.cli import run
from ringcheck.config import load
from ringcheck.config.first import FirstConfig, contact_points, single_replicas, step_above, usable_name
from ringcheck.core.consistency import Level
from ringcheck.http.tls import Tls
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.server import serve
from tests import article

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringcheck.core.ring import Snapshot


@contextmanager
def served() -> Iterator[list[str]]:
    """An embedded cluster; the options that name it."""
    keyspaces = {"orders": topology(dc1=3), "scratch": topology(dc1=1)}
    cluster = EmbeddedCluster.uniform(
        3, racks=3, vnodes=4, addresses=loopback_address, time_factor=0.02, keyspaces=keyspaces
    )
    with serve(cluster) as server:
        written = yaml.safe_load(server.config())["clusters"]["embedded"]["jolokia"]
        yield ["-H", written["contact_points"][0], "-u", written["url"]]


def test_the_file_is_a_configuration_of_the_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no mistakes and no warnings, and every command works with it at once."""
    path = tmp_path / "ringcheck.yaml"
    with served() as options:
        assert run(["init", *options, "-o", str(path)]) == 0
        assert capsys.readouterr().out == (
            f"{path}: cluster embedded, 3 nodes; critical LOCAL_QUORUM, warning LOCAL_ALL\n"
            f"next: ringcheck health -C {path}\n"
        )
        beside = [re.search(r"\S +(# .*)$", line) for line in path.read_text().splitlines()]
        assert len([found for found in beside if found]) > 10
        assert all(found.start(1) == max(47, found.start() + 2) for found in beside if found)
        assert run(["check", "-C", str(path), "-vv"]) == 0
    assert "levels: those of `monitor` of cluster embedded in the configuration\n" in capsys.readouterr().out
    loaded = load(str(path))
    assert loaded.warnings == ()
    cluster = loaded.clusters["embedded"]
    (rule,) = cluster.policy.rules
    assert rule.critical
    assert rule.warning
    assert (rule.critical.level, rule.warning.level) == (Level.LOCAL_QUORUM, Level.LOCAL_ALL)
    assert (cluster.gate.level, cluster.stable_readings) == (Level.LOCAL_QUORUM, 3)
    assert cluster.source.contact_points == ("127.0.1.1", "127.0.1.2", "127.0.1.3")  # type: ignore[union-attr]
    text = path.read_text()
    assert "# - {keyspaces: [scratch], ignore: true}" in text
    assert "# client_datacenters: [dc1]" in text
    assert os.listdir(tmp_path) == ["ringcheck.yaml"]  # noqa: PTH208 - hidden files too


def test_each_line_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line that sets something has a comment, or lies within such a line; none is wider than 120 columns."""
    with served() as options:
        assert run(["init", *options, "-o", "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("#" in line for line in lines if line != "clusters:")
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_nothing_is_overwritten(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file, or a dangling link, stays as it is; the cluster is not even asked."""
    path = tmp_path / "ringcheck.yaml"
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
    assert run(["init", "-H", "127.0.0.1:1", "-o", str(path)]) == 3
    assert capsys.readouterr().err == (
        f"UNKNOWN - {path} exists and is not overwritten; next: name another file with -o, or - for standard output\n"
    )
    assert kind != "file" or path.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step fails if the file exists by then."""
    path = tmp_path / "ringcheck.yaml"
    monkeypatch.setattr("os.path.lexists", lambda _: False)
    with served() as options:
        path.write_text("mine")
        assert run(["init", *options, "-o", str(path)]) == 3
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_for_inclusion_has_no_agent(tmp_path: Path) -> None:
    """It is one of the files in conf.d that another file includes."""
    (tmp_path / "ringcheck.yaml").write_text("clusters_from: 'part.yaml'\n")
    with served() as options:
        assert run(["init", *options, "-o", str(tmp_path / "part.yaml"), "--no-agent"]) == 0
    assert list(load(str(tmp_path / "ringcheck.yaml")).clusters) == ["embedded"]


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        (["-c", "QUORUM"], ("QUORUM", "ALL")), (["-c", "ONE"], ("ONE", "LOCAL_QUORUM")),
        (["-c", "auto"], ("auto", "auto")), (["-c", "auto", "-w", "ALL"], ("auto", "ALL")),
        (["-c", "LOCAL_ONE", "-w", "EACH_QUORUM"], ("LOCAL_ONE", "EACH_QUORUM")),
    ],
)  # fmt: skip
def test_levels_can_be_named(words: list[str], levels: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The warning level is one step above the critical level, unless it is named."""
    with served() as options:
        assert run(["init", *options, "-o", "-", *words]) == 0
    (rule,) = yaml.safe_load(capsys.readouterr().out)["clusters"]["embedded"]["monitor"]
    assert (rule["critical"], rule["warning"]) == levels


@pytest.mark.slow
def test_the_level_is_asked_for_at_a_terminal(tmp_path: Path) -> None:
    """After a wrong answer the question is repeated; the file has the answered level."""
    path = tmp_path / "r.yaml"
    with served() as options:
        ours, theirs = pty.openpty()
        with os.fdopen(theirs, "r+b", buffering=0) as terminal, os.fdopen(ours, "r+b", buffering=0) as keyboard:
            keyboard.write(b"most\nquorum\n")
            command = [sys.executable, "-m", "ringcheck", "init", *options, "-o", str(path)]
            subprocess.run(command, stdin=terminal, stdout=terminal, stderr=terminal, check=True, timeout=120)
            shown = keyboard.read(65536).decode()
    assert "do your clients read and write? (auto: follow the queries that the nodes count) [LOCAL_QUORUM]: " in shown
    assert "there is no consistency level 'MOST'" in shown
    assert "critical: QUORUM " in path.read_text()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-H", "127.0.0.1:1"], "connection refused; next: start Jolokia there"),
        ([], "no cluster is named; next: use -H HOST or -u URL"),
        (["-C", "x"], "does not take --config: init writes a configuration and does not read one"),
        (["--from", "x"], "does not take --from: a recorded snapshot does not say how the nodes are asked"),
        (["-H", "127.0.0.1:1", "--username", "me"], "name a file with the password by --password-file"),
        (["-H", "h", "-o", "/nowhere/x"], "can't be resolved"),
        (["--name", "my cluster"], "--name: 'my cluster' can't be a cluster's name: it takes letters, digits, _ . -\n"),
        (["--name", ""], "--name: '' can't be a cluster's name"),
        (
            ["-c", "LOCAL_ONE", "-w", "LOCAL_ONE"],
            "--warning: LOCAL_ONE never warns before LOCAL_ONE is critical; next: use LOCAL_QUORUM\n",
        ),
        (["-c", "ALL", "-w", "QUORUM"], "QUORUM never warns before ALL is critical; next: leave out --warning\n"),
    ],
)
def test_what_can_not_be_written(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with one line on standard error, and writes no file."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", *words]) == 3
    out, err = capsys.readouterr()
    assert (out, text in err) == ("", True), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["7", "no", "1e3", "a.b-c_"])
def test_any_valid_name_can_be_written(name: str, tmp_path: Path) -> None:
    """A name that YAML would read as a number or a truth value is put in quotes."""
    path = tmp_path / "ringcheck.yaml"
    with served() as options:
        assert run(["init", *options, "-o", str(path), "--name", name]) == 0
    assert list(load(str(path)).clusters) == [name]


def test_warnings_and_mistakes_name_the_file_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is checked under a temporary name, which would tell nothing."""
    path, secret = tmp_path / "ringcheck.yaml", tmp_path / "secret"
    with served() as options:
        assert run(["init", *options, "-o", str(path), "-c", "ALL"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"{path}:")
        assert lines[0].endswith(": ALL never warns before ALL is critical: leave it out (warning)")
        assert lines[1].endswith(
            ": ALL needs every replica, so the gate lets no node stop: name a lower level (warning)"
        )
        path.unlink()
        secret.write_text("s3cret")
        secret.chmod(0o600)
        login = ["--username", " ", "--password-file", str(secret)]
        assert run(["init", *options, "-o", str(path), *login]) == 3
    assert capsys.readouterr().err.startswith(f"UNKNOWN - {path}:")
    assert list(tmp_path.iterdir()) == [secret]


def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line, as for every file."""
    with served() as options:
        assert run(["init", *options, "-o", "/nowhere/x.yaml"]) == 3
    assert capsys.readouterr().err == "UNKNOWN - /nowhere/x.yaml can't be written: No such file or directory\n"


@pytest.mark.parametrize(
    ("own", "key"),
    [
        ("Test Cluster", "Test-Cluster"), ("orders_prod.1", "orders_prod.1"), ("no", "cluster-no"), ("", "cluster"),
        ("7", "cluster-7"), ("\u00e9t\u00e9", "t"), ("a: {b", "a-b"), ("x" * 100, "x" * 64),
    ],
)  # fmt: skip
def test_the_name_can_be_a_key(own: str, key: str, tmp_path: Path) -> None:
    """Whatever name the cluster reports, the file can be read and has a valid form of it."""
    assert usable_name(own) == key
    seen = replace(article.snapshot(), cluster=own)
    assert list(loaded(tmp_path, seen, JolokiaSettings(contact_points=("h",)))) == [key]


def loaded(folder: Path, seen: Snapshot, settings: JolokiaSettings) -> dict[str, object]:
    """The clusters of the written file."""
    text = FirstConfig(
        name=usable_name(seen.cluster), settings=settings, seen=seen, critical=Level.LOCAL_QUORUM,
        warning=Level.LOCAL_ALL,
    ).text()  # fmt: skip
    (folder / "first.yaml").write_text(text)
    return dict(load(str(folder / "first.yaml")).clusters)


def test_hostile_names_stay_within_their_lines(tmp_path: Path) -> None:
    """Names of datacenters and keyspaces from nodes are quoted, and can't end a comment."""
    seen = article.snapshot()
    evil = 'x"\n  evil: {}\n#\x1b[2J'
    nodes = tuple(replace(node, datacenter=evil, rack=evil) for node in seen.nodes)
    rings = (replace(seen.rings[0], keyspaces=(evil,)), seen.rings[1])
    assert list(loaded(tmp_path, replace(seen, nodes=nodes, rings=rings), JolokiaSettings(contact_points=("h",)))) == [
        "blogs"
    ]


def test_users_certificates_and_proxy_are_written(tmp_path: Path) -> None:
    """The configuration asks the nodes in the same way as the command did."""
    for name in ("secret", "ca", "cert", "key"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    settings = JolokiaSettings(
        contact_points=("h",), proxy="https://proxy:8779/jolokia", username="me",
        password_file=str(tmp_path / "secret"),
        jmx_username="jmx: you", jmx_password_file=str(tmp_path / "secret"),
        tls=Tls(ca_file=str(tmp_path / "ca"), cert_file=str(tmp_path / "cert"), key_file=str(tmp_path / "key")),
    )  # fmt: skip
    source = loaded(tmp_path, article.snapshot(), settings)["blogs"].source  # type: ignore[attr-defined]
    for name in ("proxy", "jmx", "username", "password_file", "jmx_username", "jmx_password_file", "tls"):
        assert getattr(source, name) == getattr(settings, name)


def test_replication_that_is_not_reported_is_asked_for() -> None:
    """Releases before 3.11.11 don't report it, so the keyspaces are listed for the user to complete."""
    seen = article.snapshot()
    bare = replace(seen, rings=tuple(replace(ring, replication=None) for ring in seen.rings))
    text = FirstConfig(
        name="a", settings=JolokiaSettings(contact_points=("h",)), seen=bare, critical=Level.ONE, warning=Level.TWO
    ).text()
    assert "    #   blog_1: {class: NetworkTopologyStrategy, DC: 3}\n" in text


def test_contact_points_are_of_several_racks() -> None:
    """The nodes that were asked come first; nodes that do not answer are not used."""
    assert contact_points(article.snapshot(), ["db1:8779"]) == ["db1:8779", "10.0.0.1", "10.0.0.2"]
    assert contact_points(article.snapshot(["10.0.0.1"]), ["10.0.0.3"]) == ["10.0.0.3", "10.0.0.2"]
    assert contact_points(article.snapshot(), ["10.0.0.1:8779"]) == ["10.0.0.1:8779", "10.0.0.2", "10.0.0.3"]
    same = tuple(replace(node, rack="r1") for node in article.snapshot().nodes)
    assert contact_points(replace(article.snapshot(), nodes=same), ["10.0.0.1"]) == list(article.ADDRESSES)


def test_single_replicas() -> None:
    """Only keyspaces that lose ranges if any one node stops are reported."""
    assert single_replicas(article.snapshot()) == ["blog_1"]


@pytest.mark.parametrize("level", Level)
def test_there_is_a_level_above_each(level: Level) -> None:
    """The warning is at a level above the one that pages, except for ALL, above which there is none."""
    assert step_above(level) is not level or level is Level.ALL
