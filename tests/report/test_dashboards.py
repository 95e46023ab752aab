"""Dashboards and alerts query metrics and labels that exist; dashboards have the form that Grafana loads."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ringcheck.report.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = Path(__file__).parents[2] / "config"
RULES = CONFIG / "prometheus" / "ringcheck.rules.yml"
BOARDS = sorted((CONFIG / "grafana").glob("*.json"))
NAME = re.compile(r"\b(?:cassandra_ring|ringcheck)_[a-z_]+\b")
SELECTOR = re.compile(r"\b((?:cassandra_ring|ringcheck)_[a-z_]+)\{(.*?)\}", re.DOTALL)
LABEL = re.compile(r'([a-z_]+)\s*(?:=|!=|=~|!~)\s*"')
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
EXPRESSION = re.compile(r"label_values\((.*), [a-z_]+\)")


def labels() -> dict[str, set[str]]:
    """The labels of every series by its name."""
    known = {family.series: set(family.labels) for family in FAMILIES if family.kind != "histogram"}
    for family in (family for family in FAMILIES if family.kind == "histogram"):
        known |= {f"{family.name}_{suffix}": {*family.labels, "le"} for suffix in ("bucket", "sum", "count")}
    return known


def board(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def targets(path: Path) -> Iterator[dict[str, Any]]:
    for panel in board(path)["panels"]:
        yield from panel.get("targets", [])


def expressions(path: Path) -> list[str]:
    """The queries in the panels and variables of a dashboard, or in a file of rules."""
    if path == RULES:
        return [rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    variables = [
        variable["query"]["query"] for variable in board(path)["templating"]["list"] if variable["type"] == "query"
    ]
    matches = [EXPRESSION.fullmatch(variable) for variable in variables]
    marks = [mark["expr"] for mark in board(path)["annotations"]["list"]]
    return [target["expr"] for target in targets(path)] + [match.group(1) for match in matches if match] + marks


def test_there_are_dashboards() -> None:
    """There are dashboards for all clusters and for one cluster, so the tests below have something to test."""
    assert [path.stem for path in BOARDS] == ["ringcheck-cluster", "ringcheck-fleet"]
    assert all(len(expressions(path)) > 10 for path in (*BOARDS, RULES))


@pytest.mark.parametrize("path", [*BOARDS, RULES], ids=lambda path: path.name)
def test_every_query_is_of_a_metric_that_exists(path: Path) -> None:
    """Names and labels in queries are those of a series."""
    known = labels()
    for expression in expressions(path):
        names = set(NAME.findall(expression))
        assert names or "up{" in expression or "ALERTS{" in expression, expression
        assert names <= set(known), expression
        for name, selector in SELECTOR.findall(expression):
            assert set(LABEL.findall(selector)) <= known[name] | SCRAPED, expression


def test_every_metric_of_a_ring_is_shown() -> None:
    """Every metric of a ring, the agent or its leases is used in a dashboard or an alert."""
    asked = {name for path in (*BOARDS, RULES) for expression in expressions(path) for name in NAME.findall(expression)}
    stems = {re.sub("_(bucket|sum|count)$", "", name) for name in asked} | asked
    assert {family.series for family in FAMILIES} <= stems


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_found_again(path: Path) -> None:
    """It has a stable uid, a data source that the site chooses, and unique ids and reference ids."""
    document = board(path)
    assert document["uid"] == path.stem
    assert "id" not in document, "a database id belongs to one Grafana"
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    kinds = {part["name"]: part["type"] for part in document["templating"]["list"]}
    assert kinds["datasource"] == "datasource"
    sources = [part["datasource"] for part in (*document["panels"], *targets(path)) if part.get("type") != "row"]
    assert sources
    assert all(part == {"type": "prometheus", "uid": "${datasource}"} for part in sources)
    for panel in document["panels"]:
        references = [part["refId"] for part in panel.get("targets", [])]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_lie_side_by_side(path: Path) -> None:
    """They lie within the 24 columns, and none covers another."""
    positions = [panel["gridPos"] for panel in board(path)["panels"]]
    assert all(
        panel["x"] >= 0 and panel["x"] + panel["w"] <= 24 and panel["w"] > 0 and panel["h"] > 0 for panel in positions
    )
    for panel, other in combinations(positions, 2):
        beside = panel["x"] + panel["w"] <= other["x"] or other["x"] + other["w"] <= panel["x"]
        below = panel["y"] + panel["h"] <= other["y"] or other["y"] + other["h"] <= panel["y"]
        assert beside or below, (panel, other)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_say_what_they_show(path: Path) -> None:
    """A panel has a title and a description, and uses only variables of its dashboard."""
    document = board(path)
    known = {part["name"] for part in document["templating"]["list"]} | {"__rate_interval"}
    for panel in (part for part in document["panels"] if part["type"] != "row"):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert {name for part in panel["targets"] for name in re.findall(r"\$(\w+)", part["expr"])} <= known


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_alerts_are_listed_and_marked(path: Path) -> None:
    """A dashboard lists all shipped alerts and marks the pages; the names of all of them match."""
    document = board(path)
    (listed,) = (expression for expression in expressions(path) if "alertstate, cassandra_cluster" in expression)
    (marked,) = (mark["expr"] for mark in document["annotations"]["list"] if mark["name"] == "Pages")
    shipped = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    for expression in (listed, marked):
        (names,) = re.findall(r'alertname=~"([^"]+)"', expression)
        assert [name for name in shipped if not re.fullmatch(names, name)] == []
    assert 'severity="page"' in marked


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_the_agents_page_is_one_click_away(path: Path) -> None:
    """An import asks for the URL of the agent, with which links to the page of a cluster begin."""
    document = board(path)
    (asked,) = document["__inputs"]
    assert (asked["name"], asked["type"], asked["value"]) == ("VAR_AGENT_URL", "constant", "http://127.0.0.1:9742")
    (agent,) = (part for part in document["templating"]["list"] if part["name"] == "agent")
    assert agent["query"] == agent["current"]["value"] == "${VAR_AGENT_URL}"
    links = re.findall(r'"(\$\{agent\}[^"]*)"', path.read_text())
    assert len(links) >= 2
    assert {link.rpartition("$")[0] for link in links} == {"${agent}/clusters/"}
    assert path.read_text().count("VAR_AGENT_URL") == 4, "the input, and the three places of the variable"


def test_links_lead_to_dashboards() -> None:
    """The fleet's dashboard links to that of a cluster, and back."""
    uids = {path.stem for path in BOARDS}
    linked = {uid for path in BOARDS for uid in re.findall(r'"/d/([\w-]+)', path.read_text())}
    assert linked == uids


def test_alerts_say_what_people_need() -> None:
    """An alert has a tier, a summary, a description and a link, and waits longer than a missed scrape."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
            assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")
            assert rule["for"].endswith("m")
            assert int(rule["for"][:-1]) >= 1
