"""The mixin, read by jsonnet: the same rules and dashboards as the plain files, with a configured base and labels.

jsonnet is in no lock file. `make examples` installs it with the other programs, and runs these tests.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.counterparts.daemon import required
from tests.counterparts.examples import example_program

CONFIG = Path(__file__).parents[2] / "config"
RULES = yaml.safe_load((CONFIG / "prometheus" / "ringcheck.rules.yml").read_text())
EVALUATE = "import _jsonnet, sys; print(_jsonnet.evaluate_snippet('./', sys.stdin.read()))"


def evaluated(configuration: str = "{}") -> dict[str, Any]:
    """The mixin with a configuration."""
    python = example_program("python-with-jsonnet")
    snippet = f"(import 'mixin/mixin.libsonnet') + {{ _config+:: {configuration} }}"
    fields = "{alerts: m.prometheusAlerts, rules: m.prometheusRules, dashboards: m.grafanaDashboards}"
    done = subprocess.run(
        [python, "-c", EVALUATE], input=f"local m = {snippet}; {fields}", cwd=CONFIG, text=True, check=False,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def boards(agent: str) -> dict[str, Any]:
    """The plain dashboards as an import creates them, with the URL of the agent."""
    texts = {path.name: path.read_text().replace("${VAR_AGENT_URL}", agent) for path in (CONFIG / "grafana").glob("*")}
    documents = {name: json.loads(text) for name, text in texts.items()}
    return {name: {key: part for key, part in whole.items() if key[0] != "_"} for name, whole in documents.items()}


def test_it_has_the_plain_rules_and_dashboards() -> None:
    """Without configuration the mixin has exactly the content of the plain files, and no rule is left out."""
    found = evaluated()
    plain = [rule for group in RULES["groups"] for rule in group["rules"]]
    groups = found["alerts"]["groups"] + found["rules"]["groups"]
    assert sorted((rule for group in groups for rule in group["rules"]), key=json.dumps) == sorted(
        plain, key=json.dumps
    )
    assert found["dashboards"] == boards("http://127.0.0.1:9742")


def test_the_url_of_the_agent_is_configured() -> None:
    """Links of the dashboards lead to the configured URL, so that an import does not ask for it."""
    found = evaluated("{ringcheckAgentUrl: 'https://ringcheck.example.net'}")["dashboards"]
    assert found == boards("https://ringcheck.example.net")
    assert "VAR_" not in json.dumps(found)


def test_the_base_of_runbooks_and_the_labels_are_configured(tmp_path: Path) -> None:
    """Every alert links to the configured page and has the configured labels, and promtool accepts the rules."""
    found = evaluated("{ringcheckRunbookUrl: 'https://wiki.example.net/r', ringcheckAlertLabels: {team: 'db'}}")
    alerts = [rule for group in found["alerts"]["groups"] for rule in group["rules"]]
    assert {rule["labels"]["team"] for rule in alerts} == {"db"}
    urls = [rule["annotations"]["runbook_url"] for rule in alerts]
    assert urls == [f"https://wiki.example.net/r#{rule['alert'].lower()}" for rule in alerts]
    (tmp_path / "rules.json").write_text(json.dumps(found["alerts"]))
    command = [required("promtool"), "check", "rules", str(tmp_path / "rules.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
