"""The output of the plugin, which must follow the rules of Nagios, NRPE, Icinga and Sensu Go."""

from __future__ import annotations

import re

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.ring import Problem, Snapshot
from ringcheck.errors import LINE_BYTES
from ringcheck.report import nagios
from tests import article

TOO_LONG = "x" * 5000
PERF = re.compile(r"[A-Za-z0-9_]+=-?[0-9]+(\.[0-9]+)?(s|%|B|c)?(;[0-9.]*){0,4}")


def line(down: tuple[str, ...] = (), cluster: str = "blogs") -> str:
    return nagios.render(assess(article.snapshot(down, cluster), Policy()), seconds=0.25)


def test_all_well() -> None:
    """The whole line of a healthy cluster."""
    assert line() == (
        "OK - blogs: 2 keyspaces available at LOCAL_ONE, LOCAL_QUORUM, 3 of 3 nodes up; "
        "1 node failure to an outage of blog_1 at LOCAL_ONE | "
        "keyspaces=2;;;0 keyspaces_critical=0;;0;0;2 keyspaces_warning=0;0;;0;2 keyspaces_unknown=0;;;0;2 "
        "unavailable_ranges=0;;;0;768 unavailable_share=0.0000%;;;0;100 at_minimum_ranges=768;;;0 "
        "node_failures_to_outage=1;;;0 nodes=3;;;0 nodes_up=3;;;0;3 nodes_down=0;;;0;3 views=3;;;0;3 time=0.250s;;;0"
    )


def test_a_node_down() -> None:
    """The worst finding comes first, with the total and with the node that is down."""
    text = line(("10.0.0.1",)).partition(" | ")[0]
    assert text == (
        "CRITICAL - blogs: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE in dc1 "
        "(1 node down: 10.0.0.1); and 1 more finding"
    )  # fmt: skip


def test_nothing_known() -> None:
    """Without a usable view no number is printed."""
    text, _, perf = line(article.ADDRESSES).partition(" | ")
    assert text == (
        "UNKNOWN - blogs: no usable view: 10.0.0.1 (connection refused), 10.0.0.2 (connection refused), "
        "10.0.0.3 (connection refused)"
    )
    assert "unavailable" not in perf
    assert "keyspaces=0;;;0 " in perf


@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_perfdata_has_the_form_that_all_parsers_take(down: tuple[str, ...]) -> None:
    """One bar, labels without spaces or quotes, no exponents, all on the first line."""
    text = line(down)
    assert text.count("|") == 1
    assert all(PERF.fullmatch(value) for value in text.partition(" | ")[2].split(" "))


@pytest.mark.parametrize("name", [TOO_LONG, "ü" * 900, "a|b\nc\x1b[2J\x00"])
def test_no_name_can_break_the_line(name: str) -> None:
    """Output and perfdata are one line under 1,000 bytes, with one bar and no control characters."""
    text = line(("10.0.0.1",), name)
    assert len(text.encode()) <= LINE_BYTES
    assert text.count("|") == 1
    assert text.isprintable()
    assert " time=0.250s;;;0" in text


def test_details_have_no_bar_and_no_perfdata() -> None:
    """Further lines have no perfdata, because Icinga does not read it there."""
    seen = article.snapshot(["10.0.0.1"])
    problems = (Problem("ring_unreadable", "ks", "bad | worse\nlast"),)
    shown = Snapshot(
        cluster=seen.cluster,
        taken_at=seen.taken_at,
        partitioner=seen.partitioner,
        nodes=seen.nodes,
        views=seen.views,
        rings=seen.rings,
        problems=problems,
    )
    first, *more = nagios.render(assess(shown, Policy()), verbosity=1).splitlines()
    assert first.count("|") == 1
    assert "UNKNOWN: bad / worse last [ring_unreadable]" in more
    assert (
        "OK: blog_3 at LOCAL_QUORUM in dc1: 0 of 768 ranges unavailable, 768 at minimum, 1 node failure to outage"
        in more
    )
    assert not any("|" in detail for detail in more)


def test_each_v_adds_lines() -> None:
    """0 is one line, 1 adds lines about the check and its findings, 2 adds nodes, 3 adds views."""
    verdict = assess(article.snapshot(("10.0.0.1",)), Policy())
    none, one, two, three = (
        ["".join(text for text, _ in row) for row in nagios.lines(verdict, verbosity=level, notes=["levels: a|b"])]
        for level in range(4)
    )
    assert none[0].partition(" | ")[0].endswith("; and 1 more finding")
    assert (len(none), one[:2]) == (1, [none[0], "levels: a/b"])
    assert "note: 10.0.0.1 is down (for 10.0.0.2, 10.0.0.3) [node_down]" in one
    assert (two[: len(one)], three[: len(two)]) == (one, two)
    assert (len(two), len(three)) == (len(one) + 3, len(two) + 3)
    assert "node 10.0.0.1 in dc1 r0: down, mode ?, release 5.0.8, Jolokia unreachable" in two
    assert "view of 10.0.0.1: unreachable, connection refused" in three


def test_severities_are_nagios_codes() -> None:
    """They are ordered by what must not be hidden; the numbers are those of Nagios."""
    assert [(severity.name, severity.exit_code) for severity in sorted(Severity)] == [
        ("OK", 0),
        ("WARNING", 1),
        ("UNKNOWN", 3),
        ("CRITICAL", 2),
    ]
