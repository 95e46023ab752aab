"""Each alert links to a runbook that exists, and the base of these links can be changed as the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

from ringcheck.cli import COMMANDS
from ringcheck.core.findings import FINDINGS
from tests.test_site import anchors

ROOT = Path(__file__).parent.parent
RULES = ROOT / "config" / "prometheus" / "ringcheck.rules.yml"
PAGE = (ROOT / "docs" / "runbooks.md").read_text()
BASE = "https://docs.example.org/ringcheck/runbooks.html"


def alerts(rules: str) -> dict[str, dict[str, Any]]:
    """The alerts of a file of rules by their names."""
    found = [rule for group in yaml.safe_load(rules)["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in found if "alert" in rule}


def runbooks() -> dict[str, str]:
    """The section of each alert."""
    return dict(re.findall(r"(?ms)^## ((?:Cassandra|Ringcheck)\w+)\n(.*?)(?=^## |\Z)", PAGE))


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    """Alerts and sections have the same names in the same order, and each section has its alert's tier."""
    rules = alerts(RULES.read_text())
    assert list(runbooks()) == list(rules)
    tiers = {name: section.split(".")[0].strip().lower() for name, section in runbooks().items()}
    assert tiers == {name: rule["labels"]["severity"] for name, rule in rules.items()}


def test_the_link_of_each_alert_leads_to_its_runbook() -> None:
    """The anchor of `runbook_url` is that of the section's heading."""
    for name, rule in alerts(RULES.read_text()).items():
        assert rule["annotations"]["runbook_url"] == f"{BASE}#{name.lower()}"
        assert name.lower() in anchors(PAGE)


def test_each_runbook_says_what_people_need() -> None:
    """It says what the alert means, what to look at, what to do, and when the alert ends."""
    for name, section in runbooks().items():
        parts = re.findall(r"(?m)^\*\*(Meaning\.|Check\.|Do\.|It ends)\*\*", section)
        assert parts == ["Meaning.", "Check.", "Do.", "It ends"], name


def test_commands_of_the_runbooks_exist() -> None:
    """Each `ringcheck COMMAND` on the page is a command of the program."""
    named = set(re.findall(r"(?m)(?:^    |`)ringcheck ([a-z-]+)", PAGE))
    assert {"health", "doctor", "lease"} <= named <= set(COMMANDS)


def test_the_base_of_the_links_can_be_changed(tmp_path: Path) -> None:
    """The command on the page changes the link of every alert, and nothing else."""
    (command,) = re.findall(r"(?m)^sed .*$", PAGE)
    copy = tmp_path / RULES.name
    copy.write_text(RULES.read_text())
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    assert copy.read_text() == RULES.read_text().replace(BASE, "https://wiki.example.net/ringcheck")
    urls = [rule["annotations"]["runbook_url"] for rule in alerts(copy.read_text()).values()]
    assert all(url.startswith("https://wiki.example.net/ringcheck#") for url in urls)


def test_each_finding_has_a_heading() -> None:
    """The troubleshooting page has a heading for each code, to which `agent: {runbook_url: ...}` can link."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    section = page.partition("\n## By finding\n")[2]
    assert re.findall(r"(?m)^### (\w+)\n[^#\n]", section) == list(FINDINGS)
