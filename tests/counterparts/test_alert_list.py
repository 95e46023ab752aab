"""The list of alerts on the dashboards: promtool evaluates its query while the shipped alerts fire."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.counterparts.daemon import required
from tests.report.test_dashboards import BOARDS, RULES, board, expressions

if TYPE_CHECKING:
    from pathlib import Path

AGENT = 'job="ringcheck", instance="monitor-1:9742"'
SERIES = {
    f"ringcheck_build_info{{{AGENT}}}": "1x60",
    f'ringcheck_up{{{AGENT}, cassandra_cluster="orders"}}': "1x60",
    f'cassandra_ring_verdict{{{AGENT}, cassandra_cluster="orders", severity="CRITICAL"}}': "1x60",
    f"ringcheck_config_last_reload_successful{{{AGENT}}}": "0x60",
    f'cassandra_ring_verdict{{{AGENT}, cassandra_cluster="other", severity="WARNING"}}': "1x60",
}  # fmt: skip
FIRING = {
    'severity="page", alertname="CassandraRingOutage", alertstate="firing", cassandra_cluster="orders"',
    'severity="ticket", alertname="RingcheckConfigReloadFailed", alertstate="firing", instance="monitor-1:9742"',
}
OTHER = 'severity="ticket", alertname="CassandraRingDegraded", alertstate="firing", cassandra_cluster="other"'


def listed(path: Path) -> str:
    """The query of the list, for the cluster `orders`."""
    (query,) = [one for one in expressions(path) if "alertstate, cassandra_cluster" in one]
    return query.replace("$cluster", "orders")


def agreed(path: Path, folder: Path, labels: set[str]) -> bool:
    """Whether, according to promtool, the query finds exactly these alerts after an hour."""
    samples = [{"labels": f"{{{one}}}", "value": 1} for one in labels]
    check = {"expr": listed(path), "eval_time": "1h", "exp_samples": samples}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{values[0]}+0{values[1:]}"} for name, values in SERIES.items()],
        "promql_expr_test": [check],
    }
    file = folder / "test.json"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    return (
        subprocess.run([required("promtool"), "test", "rules", file], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_what_fires_is_listed(path: Path, tmp_path: Path) -> None:
    """The fleet's list has every alert, a cluster's its own and those of agents; a different list does not match."""
    expected = FIRING | ({OTHER} if path.stem == "ringcheck-fleet" else set())
    assert agreed(path, tmp_path, expected)
    assert not agreed(path, tmp_path, expected - {next(iter(FIRING))})


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_columns_have_names(path: Path) -> None:
    """Each label of the query is renamed to a column, and the columns with links have the names of columns."""
    (panel,) = (panel for panel in board(path)["panels"] if panel["title"] == "Alerts")
    (grouped,) = re.findall(r"max by \(([^)]*)\)", panel["targets"][0]["expr"])
    (organized,) = (step["options"] for step in panel["transformations"] if step["id"] == "organize")
    assert set(organized["renameByName"]) == set(grouped.split(", "))
    overridden = {part["matcher"]["options"] for part in panel["fieldConfig"]["overrides"]}
    assert overridden <= set(organized["renameByName"].values())
