"""`config show`: the values in force, and where they are set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ringcheck.cli import run

if TYPE_CHECKING:
    import pytest

EXAMPLE = Path(__file__).parents[2] / "config" / "ringcheck.yaml"


def test_show_names_the_origin_of_values(capsys: pytest.CaptureFixture[str]) -> None:
    """The origin is a file and line, or `default`."""
    assert run(["config", "show", "-C", str(EXAMPLE), "--cluster", "orders-prod"]) == 0
    out = capsys.readouterr().out
    assert f"clusters.orders-prod.gate.settle: 45s  # {EXAMPLE}:13\n" in out
    assert "clusters.orders-prod.jolokia.views: all  # default\n" in out
    assert "legacy" not in out
    assert run(["config", "show", "-C", str(EXAMPLE), "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["clusters.orders-prod.jolokia.timeout"] == {"value": "10s", "from": f"{EXAMPLE}:7"}


def test_show_prints_all_values_in_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They include defaults of absent sections and those that depend on other keys; YAML reads texts back unchanged."""
    (tmp_path / "ca.pem").touch()
    file = tmp_path / "r.yaml"
    file.write_text(
        "clusters:\n"
        "  a:\n"
        "    jolokia: {contact_points: [h, '2001:db8::1'], tls: {ca_file: ca.pem}}\n"
        "    sensu: {team: 'on call: #1'}\n"
        "    replication: {k: {class: SimpleStrategy, replication_factor: 3}}\n"
        "  a.b: {jolokia: {contact_points: h}}\n"
    )
    assert run(["config", "show", "-C", str(file), "--cluster", "a"]) == 0
    lines = capsys.readouterr().out.splitlines()
    values = dict(line.split(": ", 1) for line in lines)
    assert values["clusters.a.gate.settle"] == "45s  # default"
    assert values["clusters.a.jolokia.url"] == '"https://{address}:8778/jolokia"  # default'
    assert values["clusters.a.jolokia.tls.ca_file"] == f"{tmp_path}/ca.pem  # {file}:3"
    assert yaml.safe_load(values["clusters.a.sensu.team"]) == "on call: #1"
    assert yaml.safe_load(values["clusters.a.jolokia.contact_points"]) == ["h", "2001:db8::1"]
    assert values["clusters.a.replication.k"] == f"{{class: SimpleStrategy, replication_factor: 3}}  # {file}:5"
    assert not [key for key in values if not key.startswith("clusters.a.") or key.startswith("clusters.a.b")]


def test_show_reads_the_named_file(capsys: pytest.CaptureFixture[str]) -> None:
    """It reads the file as `config check FILE` does."""
    assert run(["config", "show", "-C", str(EXAMPLE)]) == 0
    shown = capsys.readouterr().out
    assert run(["config", "show", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out == shown


def test_show_prints_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    """Each value appears once, under its path."""
    assert run(["config", "show", "-C", str(EXAMPLE)]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["clusters.legacy.monitor.0.critical.ranges"] == "10"
    assert "clusters.legacy.monitor.0.critical" not in shown
    assert shown["agent.listen"] == "127.0.0.1:9742"


def test_show_of_a_cluster_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It is an error, because an empty output would look like a cluster without settings."""
    assert run(["config", "show", "-C", str(EXAMPLE), "--cluster", "orders"]) == 3
    assert capsys.readouterr().err == f"UNKNOWN - {EXAMPLE} has no cluster 'orders' (did you mean orders-prod?)\n"
