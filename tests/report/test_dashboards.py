"""Dashboards and alerts ask for metrics that exist, by labels that these have; dashboards are such as Grafana loads."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ringcheck.report.metrics import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = Path(__file__).parents[2] / "config"
RULES = CONFIG / "prometheus" / "ringcheck.rules.yml"
BOARDS = sorted((CONFIG / "grafana").glob("*.json"))
NAME = re.compile(r"\b(?:cassandra_ring|ringcheck)_[a-z_]+\b")
SELECTOR = re.compile(r"\b((?:cassandra_ring|ringcheck)_[a-z_]+)\{(.*?)\}", re.DOTALL)
LABEL = re.compile(r'([a-z_]+)\s*(?:=|!=|=~|!~)\s*"')
SCRAPED = {"job", "instance"}  # what Prometheus adds
EXPRESSION = re.compile(r"label_values\((.*), [a-z_]+\)")


def labels() -> dict[str, set[str]]:
    """Every series' name and its labels."""
    found = {one.series: set(one.labels) for one in FAMILIES if one.kind != "histogram"}
    for one in (each for each in FAMILIES if each.kind == "histogram"):
        found |= {f"{one.name}_{suffix}": {*one.labels, "le"} for suffix in ("bucket", "sum", "count")}
    return found


def board(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def targets(path: Path) -> Iterator[dict[str, Any]]:
    for panel in board(path)["panels"]:
        yield from panel.get("targets", [])


def expressions(path: Path) -> list[str]:
    """The queries of a dashboard's panels and variables, or of a file of rules."""
    if path == RULES:
        return [rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    variables = [one["query"]["query"] for one in board(path)["templating"]["list"] if one["type"] == "query"]
    matches = [EXPRESSION.fullmatch(one) for one in variables]
    return [one["expr"] for one in targets(path)] + [one.group(1) for one in matches if one]


def test_there_are_dashboards() -> None:
    """The tests below have something to test: one dashboard of all clusters, one of one."""
    assert [path.stem for path in BOARDS] == ["ringcheck-cluster", "ringcheck-fleet"]
    assert all(len(expressions(path)) > 10 for path in (*BOARDS, RULES))


@pytest.mark.parametrize("path", [*BOARDS, RULES], ids=lambda path: path.name)
def test_every_metric_asked_for_is_told(path: Path) -> None:
    """No query asks for a name, or selects by a label, that no series has."""
    known = labels()
    for expression in expressions(path):
        names = set(NAME.findall(expression))
        assert names or expression.startswith("up{"), expression
        assert names <= set(known), expression
        for name, selector in SELECTOR.findall(expression):
            assert set(LABEL.findall(selector)) <= known[name] | SCRAPED, expression


def test_every_metric_of_a_ring_is_shown() -> None:
    """No number that is told of a ring, the agent or its leases is missing from the dashboards and the alerts."""
    asked = {name for path in (*BOARDS, RULES) for one in expressions(path) for name in NAME.findall(one)}
    stems = {re.sub("_(bucket|sum|count)$", "", name) for name in asked} | asked
    assert {one.series for one in FAMILIES} <= stems


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_found_again(path: Path) -> None:
    """A stable uid, a data source that each site chooses, and ids and reference ids that are unique."""
    document = board(path)
    assert document["uid"] == path.stem
    assert "id" not in document, "a database id belongs to one Grafana"
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    kinds = {one["name"]: one["type"] for one in document["templating"]["list"]}
    assert kinds["datasource"] == "datasource"
    sources = [one["datasource"] for one in (*document["panels"], *targets(path)) if one.get("type") != "row"]
    assert sources
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
    for panel in document["panels"]:
        references = [one["refId"] for one in panel.get("targets", [])]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_lie_side_by_side(path: Path) -> None:
    """Within the 24 columns, and no panel on another."""
    places = [panel["gridPos"] for panel in board(path)["panels"]]
    assert all(one["x"] >= 0 and one["x"] + one["w"] <= 24 and one["w"] > 0 and one["h"] > 0 for one in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_say_what_they_show(path: Path) -> None:
    """A title, a description, and only variables that the dashboard has."""
    document = board(path)
    known = {one["name"] for one in document["templating"]["list"]} | {"__rate_interval"}
    for panel in (one for one in document["panels"] if one["type"] != "row"):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert {name for one in panel["targets"] for name in re.findall(r"\$(\w+)", one["expr"])} <= known


def test_links_lead_to_dashboards() -> None:
    """From the fleet to the cluster and back."""
    uids = {path.stem for path in BOARDS}
    linked = {found for path in BOARDS for found in re.findall(r'"/d/([\w-]+)', path.read_text())}
    assert linked == uids


def test_alerts_say_what_people_need() -> None:
    """A tier, one line, what it means, where to read on; and none that one missed scrape raises."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
            assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert']}")
            assert rule["for"].endswith("m")
            assert int(rule["for"][:-1]) >= 1
