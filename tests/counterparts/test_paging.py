"""The example for PagerDuty and Slack: checked by amtool, and run by a real Alertmanager against test doubles."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import requests

from tests.counterparts.daemon import await_, daemon, free_port, required
from tests.counterparts.test_prometheus import answering
from tests.report.test_dashboards import RULES

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = RULES.parent / "alertmanager-pagerduty-slack.yml"
PATIENCE = 90.0  # seconds; generous, so that a busy machine does not fail a test
RUNBOOK = "https://wiki.example.net/ringcheck"


def alert(name: str, severity: str) -> dict[str, Any]:
    """An alert as Prometheus sends it."""
    annotations = {"summary": f"{name} happened", "description": "It did.", "runbook_url": f"{RUNBOOK}#{name.lower()}"}
    labels = {"alertname": name, "severity": severity, "cassandra_cluster": "orders-prod"}
    return {"labels": labels, "annotations": annotations}


def of(calls: list[tuple[str, dict[str, Any]]], path: str, text: str) -> dict[str, Any] | None:
    """The first call of this path whose body contains a text."""
    return next((body for place, body in calls if place == path and text in str(body)), None)


def test_the_example_is_valid() -> None:
    """A page goes to both PagerDuty and Slack, a ticket only to Slack."""
    amtool = required("amtool")
    done = subprocess.run([amtool, "check-config", EXAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for severity, receivers in (("page", "pagerduty,slack-pages"), ("ticket", "slack-tickets")):
        command = [amtool, "config", "routes", "test", f"--config.file={EXAMPLE}", f"severity={severity}"]
        assert subprocess.check_output(command, text=True).strip() == receivers


def test_what_arrives_at_pagerduty_and_slack(tmp_path: Path) -> None:
    """The page links to its runbook and to the agent's page; the ticket has another channel and colour."""
    calls: list[tuple[str, dict[str, Any]]] = []
    with answering(lambda path, body: calls.append((path, body))) as port:
        (tmp_path / "key").write_text("the-key")
        (tmp_path / "slack").write_text(f"http://127.0.0.1:{port}/slack")
        text = EXAMPLE.read_text().replace("/etc/alertmanager/pagerduty-key", str(tmp_path / "key"))
        text = text.replace("/etc/alertmanager/slack-webhook", str(tmp_path / "slack")).replace("30s", "1s")
        config = tmp_path / "alertmanager.yml"
        config.write_text(f"global: {{pagerduty_url: 'http://127.0.0.1:{port}/pagerduty'}}\n{text}")
        url = f"http://127.0.0.1:{free_port()}"
        command = [
            required("prometheus-alertmanager"), f"--config.file={config}", f"--storage.path={tmp_path / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}", "--cluster.listen-address=",
        ]  # fmt: skip
        with daemon(command, tmp_path / "log", lambda: requests.get(f"{url}/-/ready", timeout=5).ok):
            alerts = [alert("RingcheckBlind", "page"), alert("RingcheckStale", "ticket")]
            requests.post(f"{url}/api/v2/alerts", json=alerts, timeout=30).raise_for_status()
            wanted = [("/pagerduty", "Blind"), ("/slack", "Blind"), ("/slack", "Stale")]
            await_(lambda: all(of(calls, *one) for one in wanted), PATIENCE, lambda: str(calls))
    page, shown, ticket = (of(calls, *one) or {} for one in wanted)
    assert of(calls, "/pagerduty", "Stale") is None
    assert page["routing_key"] == "the-key"
    assert page["client_url"].endswith("/clusters/orders-prod")
    assert page["links"] == [{"href": f"{RUNBOOK}#ringcheckblind", "text": "Runbook"}]
    assert page["payload"]["summary"] == "RingcheckBlind happened"
    assert (shown["channel"], ticket["channel"]) == ("#cassandra-oncall", "#cassandra-tickets")
    assert [body["attachments"][0]["color"] for body in (shown, ticket)] == ["danger", "warning"]
    assert shown["attachments"][0]["title_link"] == f"{RUNBOOK}#ringcheckblind"
    assert "It did." in ticket["attachments"][0]["text"]
