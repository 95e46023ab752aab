"""The levels that clients use as text: complete lines, and rules that YAML can read."""

from __future__ import annotations

from typing import Any

import yaml

from ringcheck.report.levels import render


def use(**fields: Any) -> dict[str, Any]:
    return {
        "keyspace": None, "datacenter": "dc1", "level": "LOCAL_QUORUM", "operation": "read", "queries": 9,
        "rate": 123.456, "last_seen": "2026-01-31T12:00:00Z", "source": "counters", **fields,
    }  # fmt: skip


def document(**fields: Any) -> dict[str, Any]:
    return {
        "cluster": "orders-prod", "window_seconds": 604800.0, "whole": True, "unclear": [], "scans": False,
        "uses": [], "in_use": [], "client_datacenters": [], "rules": [], **fields,
    }  # fmt: skip


def test_everything_that_is_known() -> None:
    """Gaps come first, then the evidence, the levels in use and the rules."""
    used = [
        {"keyspace": None, "datacenter": "dc1", "level": "LOCAL_QUORUM"},
        {"keyspace": None, "datacenter": "dc2", "level": "LOCAL_QUORUM"},
        {"keyspace": "clicks", "datacenter": None, "level": "QUORUM"},
    ]
    rule = {
        "keyspaces": ["*"], "critical": "LOCAL_QUORUM", "warning": "LOCAL_ALL", "beside": ["QUORUM"],
        "client_datacenters": ["dc1", "dc2"],
    }  # fmt: skip
    uses = [use(), use(keyspace="a_very_long_keyspace", datacenter="datacenter-east", operation=None, rate=None)]
    text = render(
        document(
            whole=False,
            unclear=["counters: 10.0.0.7: its Jolokia does not answer"],
            scans=True,
            uses=uses,
            in_use=used,
            rules=[rule],
            client_datacenters=["dc1", "dc2"],
        )
    )
    assert text.splitlines() == [
        "orders-prod: window of 7 days, the window is incomplete: defaults apply too",
        "  counters: 10.0.0.7: its Jolokia does not answer",
        "  range scans were seen; Cassandra does not count at which level they are made",
        "",
        "KEYSPACE        DC         LEVEL        OP    PER SECOND LAST (UTC)  SOURCE",
        "*               dc1        LOCAL_QUORUM read  123        01-31 12:00 counters",
        "a_very_long_... datacen... LOCAL_QUORUM *     -          01-31 12:00 counters",
        "",
        "in use:",
        "  *: LOCAL_QUORUM in dc1, dc2",
        "  clicks: QUORUM",
        "",
        "the same as rules by hand (critical: auto, warning: auto keep them current):",
        "    client_datacenters: [dc1, dc2]",
        "    monitor:",
        '      - keyspaces: ["*"]',
        "        critical: LOCAL_QUORUM",
        "        warning: LOCAL_ALL",
        "        # for clients in dc1, dc2",
        "        # also used, and watched by auto alone: QUORUM",
    ]


def test_nothing_is_known() -> None:
    """There are no queries and no rules."""
    assert render(document(window_seconds=90.0)).splitlines() == [
        "orders-prod: window of 90 s, the whole window is known",
        "",
        "no query was seen",
        "",
        "in use:",
        "  nothing",
    ]


def test_rules_are_yaml_however_many_keyspaces_there_are() -> None:
    """Lines are folded where YAML allows it, and no text from a node breaks one."""
    names = [f"keyspace_{number}" for number in range(40)]
    rule = {"keyspaces": names, "critical": "ALL", "warning": None, "beside": [], "client_datacenters": []}
    text = render(document(rules=[rule], uses=[use(datacenter="dc\n1")], unclear=["x" * 300]), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "dc?1" in text
    assert yaml.safe_load(text.partition("current):\n")[2]) == {"monitor": [{"keyspaces": names, "critical": "ALL"}]}


def test_sentences_fit_a_terminal_and_stay_whole_elsewhere() -> None:
    """A table that is too wide is cut; rules stay as they are, to be copied."""
    unclear = f"counters: {', '.join(f'10.0.0.{number}' for number in range(9))}: their Jolokia does not answer"
    known = document(whole=False, unclear=[unclear], uses=[use()])
    narrow, whole = render(known, width=40), render(known)
    assert max(map(len, narrow.splitlines())) == 40
    assert f"  {unclear}" in whole.splitlines()
    assert unclear in " ".join(narrow.split())
