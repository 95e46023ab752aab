"""Rules, thresholds and severities, as literal tables."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.core.consistency import Level
from ringcheck.core.health import LevelHealth
from ringcheck.core.policy import (
    DEFAULT,
    LEFT_OUT,
    NONE_ALLOWED,
    NagiosRange,
    Policy,
    Rule,
    Severity,
    Threshold,
    auth_level,
    auth_levels,
    auth_rule,
)
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

# ---- severity ----


def test_severities_are_ordered_by_what_must_not_be_hidden() -> None:
    """A warning does not hide a gap, a gap does not hide an outage, and exit codes are those of Nagios."""
    order = [Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL]
    assert sorted({Severity.CRITICAL, Severity.UNKNOWN, Severity.WARNING, Severity.OK}) == order
    assert all(a < b and b > a and a <= b and b >= a and a != b for a, b in pairwise(order))
    assert [one.exit_code for one in order] == [0, 1, 3, 2]
    assert max(Severity.UNKNOWN, Severity.CRITICAL) is Severity.CRITICAL
    assert all(order), "a severity is never falsy: OK is an answer"


def test_a_severity_compares_with_nothing_else() -> None:
    """Comparing it with an exit code is an error."""
    with pytest.raises(TypeError):
        _ = Severity.OK < 1


# ---- Nagios ranges ----

RANGES: list[tuple[str, list[float], list[float]]] = [  # text, values that alert, values that do not
    ("10", [-1, 10.5, 11], [0, 5, 10]),
    ("10:", [9.9, 0, -1], [10, 1e9]),
    ("~:10", [10.1, 11], [-1e9, 0, 10]),
    ("~:", [], [-1e9, 0, 1e9]),
    ("10:20", [9, 21], [10, 15, 20]),
    ("@10:20", [10, 15, 20], [9, 21]),
    ("@10", [0, 10], [-1, 11]),
    ("@~:3", [-9, 3], [4]),
    (":5", [6, -1], [0, 5]),
    ("0", [1, -1], [0]),
    ("-5:-1", [-6, 0], [-5, -1]),
    ("1.5", [1.6], [1.5, 0]),
    (".5:", [0.4], [0.5]),
    (" 7 ", [8], [7]),
]


@pytest.mark.parametrize(("text", "loud", "quiet"), RANGES)
def test_nagios_ranges_alert_as_the_guidelines_say(text: str, loud: Sequence[float], quiet: Sequence[float]) -> None:
    """A value outside the range alerts, while its ends do not; `@` reverses that."""
    found = NagiosRange.parse(text)
    assert [value for value in (*loud, *quiet) if found.alerts(value)] == list(loud)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "@", ":", "@:", "~", "~:~", "10:~", "5:3", "1:2:3", "@@1", "a", "1%", "+5", "1e3", "1_0", "nan",
        "@nan", "inf", "0:inf", "-inf:", "1 : 2", "1,5", "\u0661", "1\n2", "--1", ".", "-",
    ],
)  # fmt: skip
def test_no_other_text_is_a_nagios_range(text: str) -> None:
    """Texts such as 'nan' and 'inf', which float() accepts, are no thresholds: they would never alert."""
    with pytest.raises(UsageError) as error:
        NagiosRange.parse(text)
    assert str(error.value) == f"{text!r} is not a Nagios range such as '10', '5:' or '@1:3'"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("10", "10"), ("0:10", "10"), ("10:", "10:"), ("0:", "0:"), ("~:10", "~:10"), ("~:", "~:"), ("@1:3", "@1:3"),
        ("1234567", "1234567"), ("0.000001", "0.000001"), ("1.50", "1.5"), ("@0", "@0"), ("100", "100"),
    ],
)  # fmt: skip
def test_nagios_ranges_print_as_nagios_reads_them(text: str, printed: str) -> None:
    """They are printed with all digits and no exponent."""
    assert str(NagiosRange.parse(text)) == printed


@given(
    st.none() | st.integers(-(10**9), 10**9),
    st.none() | st.integers(-(10**9), 10**9),
    st.booleans(),
)
def test_printed_ranges_are_read_as_they_were(start: int | None, end: int | None, inside: bool) -> None:  # noqa: FBT001 - drawn
    """Parsing a printed range gives the same range."""
    if start is not None and end is not None and start > end:
        start, end = end, start
    one = NagiosRange(start, end, inside)
    assert NagiosRange.parse(str(one)) == one


# ---- thresholds ----


def health(unavailable: int, structural: int = 0, share: float = 0.0) -> LevelHealth:
    return LevelHealth(
        level=Level.ONE,
        datacenter=None,
        required=(),
        ranges=100,
        unavailable=unavailable,
        unavailable_share=share,
        at_minimum=0,
        structurally_unavailable=structural,
        outage_share=share,
        node_failures_to_outage=0,
        rack_failures_to_outage=0,
        by_operation={},
        worst_range=None,
    )


TEN, PERCENT = NagiosRange(0, 10), NagiosRange(0, 1)


@pytest.mark.parametrize(
    ("ranges", "share", "outage", "alerts"),
    [
        (NONE_ALLOWED, None, health(0), False),
        (NONE_ALLOWED, None, health(1), True),
        (NONE_ALLOWED, None, health(5, structural=5), False),
        (NONE_ALLOWED, None, health(6, structural=5), True),
        (TEN, None, health(10), False),
        (TEN, None, health(11), True),
        (TEN, None, health(15, structural=5), False),
        (None, PERCENT, health(50, share=0.01), False),
        (None, PERCENT, health(1, share=0.0101), True),
        (TEN, PERCENT, health(11, share=0.001), True),
        (TEN, PERCENT, health(1, share=0.5), True),
        (TEN, PERCENT, health(1, share=0.001), False),
        (NagiosRange(5, None), None, health(0), False),
        (None, None, health(1), True),
        (None, None, health(1, structural=1), False),
    ],
)
def test_thresholds(ranges: NagiosRange | None, share: NagiosRange | None, outage: LevelHealth, alerts: bool) -> None:  # noqa: FBT001 - the expectation
    """Either bound alerts; without bounds any loss does; structurally unavailable ranges are no outage."""
    assert Threshold(Level.ONE, ranges, share).alerts(outage) is alerts


# ---- rules ----

AUTH = auth_rule(Level.LOCAL_QUORUM)
MINE = Rule(keyspaces=("*",), critical=Threshold(Level.QUORUM), warning=Threshold(Level.ALL))
TEAM = Rule(keyspaces=("payments", "orders_*"), critical=Threshold(Level.EACH_QUORUM))
SYSTEM = Rule(keyspaces=("system_*",), critical=Threshold(Level.TWO))
IGNORED = Rule(keyspaces=("scratch", "orders_tmp"), ignore=True)


@pytest.mark.parametrize(
    ("rules", "keyspace", "authenticates", "named", "found"),
    [
        ((), "orders", True, False, DEFAULT),
        ((), "system_auth", True, False, AUTH),
        ((), "system_auth", False, False, LEFT_OUT),
        ((), "system_auth", False, True, DEFAULT),
        ((), "system_auth", True, True, AUTH),
        ((MINE,), "system_auth", True, True, AUTH),
        ((SYSTEM, MINE), "system_auth", True, True, SYSTEM),
        ((), "system_traces", True, False, LEFT_OUT),
        ((), "system_traces", True, True, DEFAULT),
        ((), "system_distributed", True, False, LEFT_OUT),
        ((), "system_distributed_everywhere", True, False, LEFT_OUT),
        ((), "system_tracesque", True, False, DEFAULT),
        ((), "xsystem_auth", False, False, DEFAULT),
        ((MINE,), "orders", True, False, MINE),
        ((MINE,), "system_auth", True, False, AUTH),
        ((MINE,), "system_auth", False, False, LEFT_OUT),
        ((MINE,), "system_traces", True, False, LEFT_OUT),
        ((MINE,), "system_auth", False, True, MINE),
        ((SYSTEM, MINE), "system_auth", False, False, SYSTEM),
        ((SYSTEM, MINE), "system_traces", True, False, SYSTEM),
        ((MINE, SYSTEM), "system_auth", True, False, AUTH),
        ((TEAM, MINE), "orders_eu", True, False, TEAM),
        ((TEAM, MINE), "orders", True, False, MINE),
        ((TEAM,), "invoices", True, False, DEFAULT),
        ((MINE, TEAM), "payments", True, False, MINE),
        ((IGNORED, MINE), "scratch", True, False, IGNORED),
        ((IGNORED, MINE), "scratch", True, True, MINE),
        ((IGNORED,), "scratch", True, True, DEFAULT),
        ((IGNORED, TEAM), "orders_tmp", True, True, TEAM),
        ((TEAM,), "PAYMENTS", True, False, DEFAULT),
    ],
)
def test_rules(rules: tuple[Rule, ...], keyspace: str, authenticates: bool, named: bool, found: Rule) -> None:  # noqa: FBT001 - a table
    """The first match wins; Cassandra's own keyspaces count only if a rule names them or they are asked for by name."""
    assert Policy(rules).rule(keyspace, authenticates=authenticates, named=named) is found


@pytest.mark.parametrize(
    ("pattern", "kept"), [("s*", True), ("*_auth", True), ("system*", False), ("system_auth", False)]
)
def test_a_pattern_that_matches_system_auth_by_accident_keeps_logins(pattern: str, kept: bool) -> None:  # noqa: FBT001 - a table
    """Logins keep their level beside that of the rule, unless the pattern names Cassandra's keyspaces."""
    mine = Rule(keyspaces=(pattern,), critical=Threshold(Level.LOCAL_ONE))
    rule = Policy((mine,)).rule("system_auth", authenticates=True)
    assert ((Severity.CRITICAL, Threshold(Level.LOCAL_QUORUM)) in rule.tiers) is kept
    assert (Severity.CRITICAL, Threshold(Level.LOCAL_ONE)) in rule.tiers
    assert Policy((mine,)).rule("system_auth", authenticates=False) is mine
    ignored = replace(mine, ignore=True)
    assert Policy((ignored,)).rule("system_auth", authenticates=True) is ignored


def test_default_rules_are_those_that_the_documentation_names() -> None:
    """LOCAL_ONE pages, LOCAL_QUORUM warns."""
    assert DEFAULT.levels == (Level.LOCAL_ONE, Level.LOCAL_QUORUM)
    assert LEFT_OUT.ignore
    assert LEFT_OUT.levels == ()
    assert (DEFAULT.critical, DEFAULT.warning) == (Threshold(Level.LOCAL_ONE), Threshold(Level.LOCAL_QUORUM))


@pytest.mark.parametrize("level", list(Level))
def test_logins_page_at_the_level_at_which_cassandra_reads(level: Level) -> None:
    """Both tiers have that level, so that every login that fails causes a page; the gate checks no other level."""
    rule = Policy().rule("system_auth", authenticates=True, auth=auth_rule(level))
    assert (rule.critical, rule.warning, rule.levels) == (Threshold(level), Threshold(level), (level,))
    assert (rule.by_cassandra, rule.ignore) == (True, False)
    assert not any(one.by_cassandra for one in (DEFAULT, LEFT_OUT, MINE, SYSTEM))


@pytest.mark.parametrize(
    ("reported", "releases", "level"),
    [
        (None, ["5.0.8", "5.0.8"], Level.LOCAL_QUORUM),
        (None, ["4.0.17", "4.1.0"], Level.LOCAL_QUORUM),
        (None, ["3.11.19", None, "5.0-beta1"], Level.LOCAL_QUORUM),
        (None, ["4.0.17", "3.11.19"], Level.LOCAL_ONE),
        (None, ["2.2.19", None], Level.LOCAL_ONE),
        (None, [None, None], Level.LOCAL_QUORUM),
        (None, [], Level.LOCAL_QUORUM),
        ("LOCAL_ONE", ["5.0.8"], Level.LOCAL_ONE),
        ("EACH_QUORUM", ["4.1.9", "4.0.17"], Level.EACH_QUORUM),
        ("QUORUM", ["4.0.17"], Level.QUORUM),
        ("NODE_LOCAL", ["5.0.8"], None),
        ("local_quorum", ["5.0.8"], None),
        ("", ["5.0.8"], None),
        ("ANY", ["5.0.8"], None),
        ("LOCAL_ALL", ["5.0.8"], None),
    ],
)
def test_the_level_of_logins(reported: str | None, releases: list[str | None], level: Level | None) -> None:
    """The reported level counts; else the default of the newest release; the stricter one if no release is known."""
    assert auth_level(reported, releases) is level


@pytest.mark.parametrize(
    ("reported", "releases", "levels"),
    [
        ([], ["5.0.8"], [Level.LOCAL_QUORUM]),
        ([], [], [Level.LOCAL_QUORUM]),
        ([], ["4.0.17", "3.11.19"], [Level.LOCAL_ONE]),
        ([], ["4.0.17", "4.1.9"], [Level.LOCAL_QUORUM, Level.LOCAL_ONE]),
        (["QUORUM"], ["4.0.17", "4.1.9"], [Level.QUORUM, Level.LOCAL_ONE]),
        (["LOCAL_ONE"], ["5.0.8"], [Level.LOCAL_ONE]),
        (["LOCAL_QUORUM", "LOCAL_ONE", "QUORUM"], ["5.0.8"], [Level.QUORUM, Level.LOCAL_QUORUM, Level.LOCAL_ONE]),
        (["ALL", "NODE_LOCAL"], ["5.0.8"], [Level.ALL, Level.LOCAL_QUORUM]),
    ],
)
def test_every_level_at_which_a_coordinator_reads_system_auth_pages(
    reported: list[str], releases: list[str], levels: list[Level]
) -> None:
    """Each node has a configuration of its own; an unknown level counts as the default."""
    assert auth_levels(reported, releases) == tuple(levels)
    rule = auth_rule(*levels)
    assert rule.levels == tuple(levels)
    assert {severity for severity, _ in rule.tiers} == {Severity.CRITICAL}
