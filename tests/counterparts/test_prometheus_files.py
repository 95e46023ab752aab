"""The shipped files for Prometheus, Alertmanager and Grafana, checked with promtool and amtool."""

from __future__ import annotations

import json
import re
import subprocess
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
import yaml

from ringcheck.core.assess import assess
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy
from ringcheck.report.metrics import render
from ringcheck.report.reading import Durations, Reading, Reload, ServiceReading
from tests import article
from tests.counterparts.daemon import required
from tests.report.test_dashboards import BOARDS, RULES, expressions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHIPPED = RULES.parent
SLO = SHIPPED / "ringcheck.slo.rules.yml"
VARIABLE = re.compile(r"\$(\w+)")


def ran(command: Sequence[str | Path], text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, cwd=SHIPPED, input=text, capture_output=True, text=True)


def promtool(arguments: Sequence[str | Path], text: str | None = None) -> subprocess.CompletedProcess[str]:
    return ran([required("promtool"), *arguments], text)


def test_the_scrape_configuration_and_the_rules_are_valid() -> None:
    """Both are valid, and the configuration finds the rules at the path that it names."""
    done = promtool(["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"])
    assert done.returncode == 0, done.stdout + done.stderr
    number = sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text())["groups"])
    assert f"{number} rules found" in done.stdout
    assert "ringcheck.slo.rules.yml" in done.stdout


def test_the_budget_alerts_do_what_their_tests_say() -> None:
    """The shipped tests of recording rules and burn rates pass; in one of them each alert fires and does not fire."""
    done = promtool(["test", "rules", "ringcheck.slo.rules.test.yml"])
    assert done.returncode == 0, done.stdout + done.stderr
    tests = yaml.safe_load((SHIPPED / "ringcheck.slo.rules.test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test.get("alert_rule_test", [])]
    [group] = yaml.safe_load(SLO.read_text())["groups"]
    alerts = {rule["alert"] for rule in group["rules"] if "alert" in rule}
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == alerts
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == alerts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('consistency_level!~"ALL|LOCAL_ALL"', 'consistency_level!~"ALL"'),
        ("cassandra_ring_structurally_unavailable_ranges > 0", "cassandra_ring_structurally_unavailable_ranges > 99"),
        ("max by (cassandra_cluster, keyspace", "min by (cassandra_cluster, keyspace"),
        ("ratio_avg1h > 14.4 * 0.001", "ratio_avg1h > 144 * 0.001"),
        ("and keyspace:cassandra_ring_unserved:ratio_avg5m > 14.4 * 0.001", ""),
        ('max_over_time(cassandra_ring_verdict{severity="CRITICAL"}[6h])) == 1', "vector(1)) == 1"),
        ("and keyspace:cassandra_ring_unserved:ratio_avg6h > 0.001", ""),
        ("for: 15m", "for: 5m"),
    ],
)
def test_a_budget_rule_that_was_spoiled_is_found(old: str, new: str, tmp_path: Path) -> None:
    """This shows that the tests of the burn rates can fail."""
    text = SLO.read_text()
    assert old in text
    (tmp_path / SLO.name).write_text(text.replace(old, new))
    (tmp_path / "test.yml").write_text((SHIPPED / "ringcheck.slo.rules.test.yml").read_text())
    assert promtool(["test", "rules", tmp_path / "test.yml"]).returncode != 0


def test_the_scrape_configuration_of_a_part_of_the_clusters_is_valid(tmp_path: Path) -> None:
    """It is the one in docs/metrics.md, for scrape jobs that share the clusters of a large agent."""
    page = (RULES.parent.parent.parent / "docs" / "metrics.md").read_text()
    (example,) = re.findall(r"(?m)^    scrape_configs:\n(?:^    .*\n)+", page)
    file = tmp_path / "prometheus.yml"
    file.write_text(dedent(example))
    assert yaml.safe_load(file.read_text())["scrape_configs"][0]["params"]["cluster"]
    done = promtool(["check", "config", "--lint=all", "--lint-fatal", file])
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_takes_the_routes() -> None:
    """The routes are valid, and send each tier to its receiver."""
    amtool = required("amtool")
    done = ran([amtool, "check-config", "alertmanager.yml"])
    assert done.returncode == 0, done.stdout + done.stderr
    for severity, receiver in (("page", "pages"), ("ticket", "tickets")):
        command = [amtool, "config", "routes", "test", "--config.file=alertmanager.yml", f"severity={severity}"]
        assert subprocess.check_output(command, cwd=SHIPPED, text=True).strip() == receiver


def test_each_alert_does_what_its_tests_say() -> None:
    """The shipped tests of the rules pass, and each alert fires in a test."""
    done = promtool(["test", "rules", "ringcheck.rules.test.yml"])
    assert done.returncode == 0, done.stdout + done.stderr
    tests = yaml.safe_load((SHIPPED / "ringcheck.rules.test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test.get("alert_rule_test", [])]
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == alerts
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == alerts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("or\n              max by (cassandra_cluster) (\n                (\n", "or\n max by (x) (\n(\n"),
        ('last_over_time(cassandra_ring_verdict{severity="CRITICAL"}[1h])', 'cassandra_ring_verdict{severity="OK"}'),
        ("and on (cassandra_cluster) ringcheck_up", "and on (cassandra_cluster) ringcheck_up == 1"),
        ("and on (cassandra_cluster) ringcheck_up", "and on (cassandra_cluster, instance) ringcheck_up"),
        ("unless on (job, instance) ringcheck_build_info\n                )\n              )\n", "))\n"),
        ("for: 1m", "for: 5m"),
        ("<= 1", "< 1"),
        ("absent(ringcheck_build_info)", "absent(ringcheck_up)"),
    ],
)
def test_a_rule_that_was_spoiled_is_found(old: str, new: str, tmp_path: Path) -> None:
    """This shows that the tests of the rules can fail."""
    text = RULES.read_text()
    assert old in text
    (tmp_path / RULES.name).write_text(text.replace(old, new))
    (tmp_path / "test.yml").write_text((SHIPPED / "ringcheck.rules.test.yml").read_text())
    assert promtool(["test", "rules", tmp_path / "test.yml"]).returncode != 0


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_queries_of_dashboards_are_promql(path: Path, tmp_path: Path) -> None:
    """With its variables filled in, each query of a dashboard is valid, which is checked as a recording rule."""
    filled = [VARIABLE.sub(lambda found: "5m" if "interval" in found[1] else "x", one) for one in expressions(path)]
    rules = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool(["check", "rules", tmp_path / "rules.yml"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(filled)} rules found" in done.stdout


def test_metrics_follow_the_conventions() -> None:
    """No name, unit or help text gets an objection of promtool."""
    holders = (Holder(node="10.0.0.1", owner="o", purpose="", since="2026-01-01T00:00:00Z"),)
    one = Reading(
        cluster="b",
        verdict=assess(article.snapshot(), Policy()),
        restart_safe=frozenset(),
        fresh=True,
        last_success=1.0,
        holders=holders,
        polls=Durations(),
    )
    text = render(lambda: [one], ServiceReading(reload=Reload(successful=True, last_success=1.0)))[1].decode()
    done = promtool(["check", "metrics"], text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    spoiled = text.replace("cassandra_ring_nodes{", "cassandra_ring_nodes_total{").replace(
        "_ring_nodes ", "_ring_nodes_total "
    )
    assert promtool(["check", "metrics"], spoiled).returncode != 0
