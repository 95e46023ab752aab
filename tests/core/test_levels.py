"""The levels in use according to all evidence, the rules that follow from them, and how verdict and gate apply them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Behaviour, Level, Rules, expected
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.health import RingState
from ringcheck.core.levels import (
    WEAKER,
    Following,
    above,
    changed,
    followed,
    in_words,
    observed,
)
from ringcheck.core.observed import EVERY, LevelChange, Observed, Used
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.core.ring import Pending, Replication, Ring
from ringcheck.core.sources import Sources
from ringcheck.core.usage import TOO_OLD, Evidence, Reading, Seen, part_length
from ringcheck.core.uses import QUERIED, Use
from tests.core.clusters import address, nodes, ring, snapshot
from tests.core.test_range_healths import LAYOUT, SPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW, WINDOW = 2_000_000.0, 7 * 86400.0
FOLLOWING = Following(window=WINDOW)
DCS = ("dc1", "dc2")
AUTO = Rule(
    keyspaces=("*",),
    critical=Threshold(Level.LOCAL_ONE),
    warning=Threshold(Level.LOCAL_QUORUM),
    auto=frozenset({"critical", "warning"}),
)


PART = part_length(WINDOW)


def evidence(uses: Mapping[Use, int], *, whole: bool = True) -> Evidence:
    seen = {use: Seen(NOW, ((int(NOW // PART) * PART, count),)) for use, count in uses.items()}
    return Evidence(uses=seen, at=NOW, since=NOW - WINDOW if whole else NOW - 60)


def use(text: str, keyspace: str = "", operation: str = "read") -> Use:
    datacenter, _, level = text.partition(" ")
    return Use(keyspace, datacenter.strip("-"), Level(level), operation)


def of(*sources: Evidence, least: int = 1) -> Observed:
    named = {f"source{number}": source for number, source in enumerate(sources)}
    return observed(named, NOW, Following(window=WINDOW, least=least), DCS)


def levels(seen: Observed, keyspace: str = EVERY) -> list[str]:
    return [f"{one.datacenter or '-'} {one.level}" for one in seen.of(keyspace)]


def watched(rule: Rule) -> list[str]:
    """The watched levels, as `CRITICAL LOCAL_QUORUM dc1` for each threshold."""
    return sorted(" ".join([tier.name, each.level, *each.clients]) for tier, each in rule.tiers)


OWNERS = {"dc1": 4, "dc2": 3}
REPLICATIONS = (
    "NetworkTopologyStrategy {dc1=3, dc2=2}",
    "NetworkTopologyStrategy {dc1=4, dc2=1}",
    "SimpleStrategy {replication_factor=3}",
    "SimpleStrategy {replication_factor=5}",
    "OldNetworkTopologyStrategy {replication_factor=3}",
    "MetaStrategy {replication_factor=5}",
    "EverywhereStrategy {}",
)
BEHAVIOURS = (Behaviour((3, 11), "v1"), Behaviour((4, 1), "v1"), Behaviour((5, 0), "v2"))


def drawn(source: random.Random, replication: Replication) -> RingState:
    """Seven nodes in two datacenters, some down and some ranges in movement; some ranges lack replicas."""
    wanted = expected(replication, OWNERS) or {None: 5}
    ends = sorted(source.sample(range(-1000, 1000), 20))
    rows = []
    for index, end in enumerate(ends):
        local = [node for name, count in wanted.items() for node in _replicas(source, name, count)]
        rows.append((ends[index - 1], end, tuple(local[: -source.randrange(2) or None])))
    moves = [
        Pending(ends[index], ends[index + 2] - 1, tuple(source.sample(range(7), source.randint(1, 2))))
        for index in source.sample(range(18), 3)
    ]
    down = frozenset(source.sample(range(7), source.randrange(6)))
    return RingState(Ring.build(["ks"], replication, rows, 7, moves), LAYOUT, SPACE, down)


def _replicas(source: random.Random, datacenter: str | None, count: int) -> list[int]:
    places = {"dc1": range(4), "dc2": range(4, 7), None: range(7)}[datacenter]
    return source.sample(places, min(count, len(places)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("replication", REPLICATIONS)
def test_a_weaker_level_is_lost_only_with_the_stronger_one(replication: str, seed: int) -> None:
    """A range that is unavailable at the weaker level, and could be served with all nodes up, is so at both levels."""
    source = random.Random(f"{replication}{seed}")  # noqa: S311 - tokens, no secret
    parsed = Replication.parse(replication)
    shown = drawn(source, parsed)
    rules = Rules(parsed, source.choice(BEHAVIOURS), OWNERS)
    for client in ("dc1", "dc2"):
        found = {level: _conditions(shown, level, client, rules) for level in WEAKER}
        for strong, weaker in WEAKER.items():
            for weak in weaker:
                for lost, kept in zip(found[weak], found[strong], strict=True):
                    unserved = kept in {"unavailable", "structurally_unavailable"}
                    assert lost != "unavailable" or unserved, (strong, weak, client, rules.version)


def _conditions(shown: RingState, level: Level, client: str, rules: Rules) -> list[str]:
    return [health.condition for health in shown.range_healths(level, client if level.local else None, rules)]


def test_levels_that_do_not_include_each_other_are_in_use_side_by_side() -> None:
    """QUORUM may be available while LOCAL_QUORUM is lost, and the reverse."""
    seen = of(evidence({use("dc1 LOCAL_QUORUM"): 1, use("dc1 LOCAL_ONE"): 9, use("dc1 QUORUM"): 1, use("dc2 ONE"): 5}))
    assert levels(seen) == ["dc1 LOCAL_ONE", "dc1 LOCAL_QUORUM", "dc1 QUORUM", "dc2 ONE"]
    assert in_words(seen.of("any")) == "LOCAL_QUORUM in dc1, QUORUM"
    assert in_words(()) == "none"


def test_one_is_shown_only_where_it_is_alone() -> None:
    """Drivers' control connections read at ONE everywhere: the level is watched, but says nothing about clients."""
    seen = of(evidence({use("dc1 LOCAL_ONE"): 1, use("dc1 ONE"): 9}))
    assert in_words(seen.of("any")) == "LOCAL_ONE in dc1"
    assert levels(seen) == ["dc1 LOCAL_ONE", "dc1 ONE"]
    assert in_words(of(evidence({use("dc1 LOCAL_ONE"): 1, use("dc2 ONE"): 9})).of("any")) == "LOCAL_ONE in dc1, ONE"


def test_each_datacenter_has_its_own_level() -> None:
    """A datacenter without evidence keeps the default levels, even if the window is complete."""
    seen = of(evidence({use("dc1 LOCAL_QUORUM"): 1}))
    assert seen.unclear == ()
    assert watched(followed(AUTO, "orders", seen)) == [
        "CRITICAL LOCAL_ONE dc2",
        "CRITICAL LOCAL_QUORUM dc1",
        "WARNING LOCAL_ALL dc1",
        "WARNING LOCAL_QUORUM dc2",
    ]


def test_a_whole_window_can_lower_the_level() -> None:
    """It may be lower than the default too, because no client needs more."""
    low = replace(AUTO, critical=Threshold(Level.LOCAL_QUORUM), warning=Threshold(Level.ALL))
    seen = of(evidence({use("dc1 TWO"): 1, use("dc2 LOCAL_ONE"): 1}))
    assert watched(followed(low, "orders", seen)) == [
        "CRITICAL LOCAL_ONE dc2",
        "CRITICAL TWO",
        "WARNING ALL",
        "WARNING LOCAL_QUORUM dc2",
    ]


@pytest.mark.parametrize("scans", [{"dc2": NOW}, {"": NOW}])
def test_a_datacenter_that_only_scans_has_clients(scans: dict[str, float]) -> None:
    """The level of a scan is not counted: the default levels hold there, also beside other levels."""
    seen = of(replace(evidence({use("dc1 QUORUM"): 1, use("dc2 QUORUM"): 1}), scans=scans))
    assert "dc2" in (seen.clients or DCS)
    assert "dc2" in seen.scanned
    assert any(text.startswith("CRITICAL LOCAL_ONE") and "dc2" in text for text in watched(followed(AUTO, "x", seen)))
    assert of(replace(evidence({use("dc1 QUORUM"): 1}), scans={"dc2": NOW})).clients == DCS


def test_a_datacenter_with_reads_at_one_alone_keeps_its_default_level() -> None:
    """These may be those of a driver's control connection, while its queries are not seen."""
    seen = of(evidence({use("dc1 LOCAL_QUORUM"): 1, use("dc2 ONE"): 1}))
    assert watched(followed(AUTO, "orders", seen)) == [
        "CRITICAL LOCAL_ONE dc2",
        "CRITICAL LOCAL_QUORUM dc1",
        "CRITICAL ONE",
        "WARNING LOCAL_ALL dc1",
        "WARNING LOCAL_QUORUM dc2",
    ]


def test_without_a_whole_window_the_stricter_of_both_holds() -> None:
    """The default levels apply beside those in use; without any evidence they apply alone."""
    seen = of(evidence({use("dc1 ONE"): 1, use("dc2 LOCAL_QUORUM"): 1}, whole=False))
    assert seen.unclear == ("source0: 60 s of 7 days are known",)
    assert watched(followed(AUTO, "orders", seen)) == [
        "CRITICAL LOCAL_ONE dc1 dc2",
        "CRITICAL LOCAL_QUORUM dc2",
        "CRITICAL ONE",
        "WARNING LOCAL_ALL dc2",
        "WARNING LOCAL_QUORUM dc1 dc2",
    ]
    assert watched(followed(AUTO, "orders", None)) == ["CRITICAL LOCAL_ONE", "WARNING LOCAL_QUORUM"]
    assert watched(followed(AUTO, "orders", of(evidence({})))) == [
        "CRITICAL LOCAL_ONE dc1 dc2",
        "WARNING LOCAL_QUORUM dc1 dc2",
    ]


def test_a_fixed_tier_stays() -> None:
    """`critical: LOCAL_ONE, warning: auto`, or the reverse; bounds of a threshold apply to the new level."""
    seen = of(evidence({use("dc1 QUORUM"): 1, use("dc2 QUORUM"): 1}))
    assert watched(followed(replace(AUTO, auto=frozenset({"warning"})), "orders", seen)) == [
        "CRITICAL LOCAL_ONE",
        "WARNING ALL",
    ]
    bounded = replace(AUTO, critical=Threshold(Level.LOCAL_ONE, None), auto=frozenset({"critical"}))
    rule = followed(bounded, "orders", seen)
    assert rule.critical == Threshold(Level.QUORUM, None)
    assert watched(rule) == ["CRITICAL QUORUM", "WARNING LOCAL_QUORUM"]


@pytest.mark.parametrize(
    ("pattern", "auto", "logins"),
    [
        ("system_auth", {"critical", "warning"}, "CRITICAL LOCAL_QUORUM"),
        ("system*", {"critical"}, "CRITICAL LOCAL_QUORUM"),
        ("s*", {"critical"}, "CRITICAL LOCAL_QUORUM"),
        ("s*", {"warning"}, "CRITICAL LOCAL_QUORUM"),
        ("system_auth", {"warning"}, "WARNING LOCAL_QUORUM"),
    ],
)
def test_auto_keeps_the_levels_of_logins(pattern: str, auto: set[str], logins: str) -> None:
    """The counters leave out reads of system_auth, so queries can't lower them; a critical level of its own stays."""
    rule = replace(AUTO, keyspaces=(pattern,), warning=Threshold(Level.LOCAL_ONE), auto=frozenset(auto))
    chosen = Policy((rule,)).rule("system_auth", authenticates=True)
    for seen in (None, of(evidence({use("dc1 LOCAL_ONE"): 1, use("dc2 LOCAL_ONE"): 1}))):
        assert logins in watched(followed(chosen, "system_auth", seen))
    fixed = replace(rule, auto=frozenset())
    meant = pattern.startswith("system")
    assert (logins in watched(Policy((fixed,)).rule("system_auth", authenticates=True))) is not meant


STEPS = {
    "ONE": "LOCAL_QUORUM",
    "LOCAL_ONE": "LOCAL_QUORUM",
    "LOCAL_QUORUM": "LOCAL_ALL",
    "QUORUM": "ALL",
    "EACH_QUORUM": "ALL",
    "SERIAL": "ALL",
    "LOCAL_SERIAL": "LOCAL_ALL",
    "TWO": "ALL",
    "ALL": None,
    "LOCAL_ALL": None,
}


@pytest.mark.parametrize(("level", "step"), STEPS.items())
def test_one_step_above(level: str, step: str | None) -> None:
    """It is the level that warns before the level in use is lost."""
    assert above(Level(level)) == step


def test_queries_below_the_least_number_are_no_use() -> None:
    """Reads and writes at one level in one datacenter are counted together."""
    counted = {use("dc1 ALL"): 4, use("dc1 ALL", operation="write"): 5, use("dc2 ALL"): 9, use("dc1 ONE"): 50}
    assert levels(of(evidence(counted), least=10)) == ["dc1 ONE"]
    assert levels(of(evidence(counted), least=9)) == ["dc1 ALL", "dc1 ONE", "dc2 ALL"]


def test_while_part_of_the_window_is_not_known_one_query_is_enough() -> None:
    """Queries leave the window one by one, and those of a gap were never counted: a gap must not lower a level."""
    counted = {use("dc1 ALL"): 4, use("dc1 QUORUM"): 50}
    assert levels(of(evidence(counted), least=10)) == ["dc1 QUORUM"]
    assert levels(of(evidence(counted, whole=False), least=10)) == ["dc1 ALL", "dc1 QUORUM"]
    whole = evidence({use("dc1 ONE"): 4})
    assert levels(of(whole, evidence(counted, whole=False), least=10)) == ["dc1 ALL", "dc1 QUORUM"]


# Keyspaces


def test_a_keyspace_has_its_own_level_if_all_queries_are_known_by_keyspace() -> None:
    """Then the queries of the counters are those of the keyspaces; other keyspaces keep all levels of the counters."""
    counters = evidence({use("dc1 LOCAL_QUORUM"): 1000, use("dc1 ONE"): 100})
    spans = evidence({use("dc1 LOCAL_QUORUM", "orders"): 990, use("dc1 ONE", "clicks"): 100})
    seen = of(counters, spans)
    assert levels(seen, "orders") == ["dc1 LOCAL_QUORUM"]
    assert levels(seen, "clicks") == ["dc1 ONE"]
    assert levels(seen, "others") == ["dc1 LOCAL_QUORUM", "dc1 ONE"]


def test_queries_of_no_known_keyspace_may_be_of_any() -> None:
    """A batch job that is not traced uses QUORUM, and most queries at LOCAL_QUORUM are not traced."""
    counters = evidence({use("dc1 LOCAL_QUORUM"): 2000, use("dc1 QUORUM"): 1, use("dc1 ONE"): 100})
    spans = evidence({use("dc1 LOCAL_QUORUM", "orders"): 990, use("dc1 ONE", "clicks"): 100})
    assert levels(of(counters, spans), "clicks") == ["dc1 LOCAL_QUORUM", "dc1 ONE", "dc1 QUORUM"]


def test_queries_of_one_datacenter_explain_none_of_another() -> None:
    """If it is not known where the named ones were, they are compared with those of all datacenters together."""
    counters = evidence({use("dc1 QUORUM"): 1000, use("dc2 QUORUM"): 1000, use("dc1 LOCAL_ONE"): 100})
    for where in ("-", "dc1"):
        spans = evidence({use(f"{where} QUORUM", "orders"): 1000, use("- LOCAL_ONE", "clicks"): 100})
        assert "dc2 QUORUM" in levels(of(counters, spans), "clicks")
    spans = evidence({use("- QUORUM", "orders"): 1950, use("- LOCAL_ONE", "clicks"): 100})
    assert levels(of(counters, spans), "clicks") == ["- LOCAL_ONE"]


def test_a_source_explains_none_of_its_own_queries() -> None:
    """Those that it reports without a keyspace are others than those with one."""
    spans = evidence({use("dc1 QUORUM", "orders"): 1000, use("dc1 QUORUM"): 5, use("dc1 ONE", "clicks"): 1})
    assert levels(of(spans), "clicks") == ["dc1 ONE", "dc1 QUORUM"]
    counters = evidence({use("dc1 QUORUM"): 1005})
    assert levels(of(counters, spans), "clicks") == ["dc1 ONE", "dc1 QUORUM"]


def test_proxies_explain_together() -> None:
    """Each sees other queries; none explains those that another one has without a keyspace."""
    half = evidence({use("dc1 QUORUM", "orders"): 500, use("dc1 ONE", "clicks"): 1})
    both = {"counters": evidence({use("dc1 QUORUM"): 1000}), "proxy east": half, "proxy west": half}
    assert levels(observed(both, NOW, FOLLOWING, DCS), "clicks") == ["dc1 ONE"]
    both["proxy west"] = evidence({use("dc1 QUORUM"): 500})
    assert levels(observed(both, NOW, FOLLOWING, DCS), "clicks") == ["dc1 ONE", "dc1 QUORUM"]
    del both["counters"]
    assert levels(observed(both, NOW, FOLLOWING, DCS), "clicks") == ["dc1 ONE", "dc1 QUORUM"]


def parts(text: str, keyspace: str, *counts: int) -> dict[Use, Seen]:
    """Queries in the last parts of the window, the current one last."""
    last = int(NOW // PART)
    found = ((last - age) * PART for age in reversed(range(len(counts))))
    return {use(text, keyspace): Seen(NOW, tuple(zip(found, counts, strict=True)))}


READ = Reading(at=NOW, since=0.0)


@pytest.mark.parametrize(
    ("readings", "gaps", "counted", "named", "explained"),
    [
        ({"a": READ}, (), (50, 50, 50), (50, 0, 100), True),  # a report may come later than the queries
        ({"a": replace(READ, since=NOW - 60)}, (), (0, 0, 10), (500, 500, 500), False),
        ({"a": replace(READ, since=NOW - 60)}, (), (100, 100, 5), (500, 500, 500), True),
        ({"a": READ, "b": replace(READ, since=NOW - 60)}, (), (10, 0, 10), (500, 500, 500), False),
        ({"a": READ, "b": replace(READ, at=NOW - PART)}, ("b",), (50, 50, 50), (50, 500, 500), False),
        ({"a": READ}, ("b was never read",), (50, 50, 50), (500, 500, 500), False),
        ({"a": replace(READ, since=NOW - 60)}, (), (), (500, 500, 500), False),  # a use of before the window
    ],
)
def test_only_queries_of_a_time_that_both_know_are_compared(
    readings: dict[str, Reading],
    gaps: tuple[str, ...],
    counted: tuple[int, ...],
    named: tuple[int, ...],
    explained: bool,  # noqa: FBT001 - a case
) -> None:
    """What the counters missed must not stand for other queries, which may be of another keyspace."""
    counters = Evidence(uses=parts("dc1 QUORUM", "", *counted), at=NOW, readings=readings, gaps=gaps)
    spans = parts("dc1 QUORUM", "orders", *named) | parts("dc1 ONE", "clicks", 1)
    seen = of(counters, Evidence(uses=spans, at=NOW, since=0.0))
    assert levels(seen, "clicks") == ["dc1 ONE"] + ["dc1 QUORUM"] * (not explained)


def test_a_source_without_datacenters_speaks_for_all() -> None:
    """Its queries explain those of the counters in any datacenter; it is then not known where the clients are."""
    counters = evidence({use("dc1 LOCAL_QUORUM"): 1000, use("dc1 ONE"): 5})
    spans = evidence({use("- LOCAL_QUORUM", "orders"): 1000, use("- ONE", "clicks"): 5})
    seen = of(counters, spans)
    assert levels(seen, "clicks") == ["- ONE"]
    assert watched(followed(AUTO, "orders", seen)) == ["CRITICAL LOCAL_QUORUM", "WARNING LOCAL_ALL"]
    assert seen.clients == ()


def test_client_datacenters_follow_a_whole_window() -> None:
    """Without a complete window every datacenter may have clients."""
    one = {use("dc1 LOCAL_QUORUM"): 1}
    assert of(evidence(one)).clients == ("dc1",)
    assert of(evidence(one, whole=False)).clients == ()
    assert of(evidence({use("dc3 ONE"): 1})).clients == ()


# Changes


def test_a_change_is_news_for_a_day() -> None:
    """Each keyspace has its last change; the first evidence is not a change."""
    low, high = (Observed(keyspaces={EVERY: (Used("dc1", level),)}) for level in (Level.ONE, Level.QUORUM))
    assert changed(None, low, NOW).changes == ()
    raised = changed(low, high, NOW)
    assert raised.changes == (LevelChange(keyspace=EVERY, was="ONE", now="QUORUM", at=NOW),)
    assert changed(raised, high, NOW + 86399).changes == raised.changes
    assert changed(raised, high, NOW + 86400).changes == ()
    [again] = changed(raised, low, NOW + 60).changes
    assert (again.was, again.now) == ("QUORUM", "ONE")


def test_only_the_first_level_that_is_seen_is_no_change() -> None:
    """After levels in use, or a whole window without any, a level out of none is news."""
    used = (Used("dc1", Level.ALL),)
    unknown, idle = (Observed(keyspaces={EVERY: ()}, unclear=unclear) for unclear in (("a gap",), ()))
    new = Observed(keyspaces={EVERY: used}, unclear=("a gap",))
    first = changed(changed(None, unknown, NOW), new, NOW)
    assert first.changes == ()
    gone = changed(first, unknown, NOW)
    assert [(change.was, change.now) for change in changed(gone, new, NOW + 90000).changes] == [("none", "ALL")]
    started = changed(None, idle, NOW)
    assert [(change.was, change.now) for change in changed(started, new, NOW).changes] == [("none", "ALL")]
    named = replace(unknown, keyspaces={EVERY: (), "orders": used})
    assert changed(changed(None, unknown, NOW), named, NOW).changes == ()
    assert [change.keyspace for change in changed(started, named, NOW).changes] == ["orders"]


# Verdict and gate

ROWS = [[1, 2, 3, 4, 5, 6]] * 3
SIX = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc2:r1", "dc2:r2", "dc2:r3")
SNAPSHOT = snapshot(SIX, [ring("orders", "NetworkTopologyStrategy {dc1=3, dc2=3}", ROWS, 6)])


def policy(*used: str, **fields: object) -> Policy:
    seen = of(evidence({use(text): 1 for text in used}))
    return replace(Policy((AUTO,), observed=seen), **fields)  # type: ignore[arg-type]  # fields of Policy


def severity(down: set[int], rules: Policy, rings: tuple[Ring, ...] = SNAPSHOT.rings) -> Severity:
    """The severity of the keyspace if only what is watched counts."""
    lost = snapshot(SIX, rings, down=down)
    return next(found.severity for found in assess(lost, rules).keyspaces if found.name == "orders")


def test_the_verdict_follows_for_each_datacenter() -> None:
    """Two down nodes are CRITICAL in a datacenter that uses LOCAL_QUORUM, and a WARNING in one that uses LOCAL_ONE."""
    rules = policy("dc1 LOCAL_QUORUM", "dc2 LOCAL_ONE")
    assert severity({1, 2}, rules) is Severity.CRITICAL
    assert severity({4, 5}, rules) is Severity.WARNING
    assert severity({1}, rules) is Severity.WARNING
    assert severity({4}, rules) is Severity.OK
    assert severity({4, 5, 6}, rules) is Severity.CRITICAL


def test_the_gate_keeps_the_levels_in_use() -> None:
    """They apply to the clients that use them, in addition to the gate's own level, even if no rule is `auto`."""
    gate = Gate(level=Level.LOCAL_ONE, settle=0)
    for rules in (policy("dc1 LOCAL_QUORUM"), policy("dc1 LOCAL_QUORUM", rules=())):
        keeper = Gatekeeper(SNAPSHOT, rules, gate)
        assert keeper.decide([address(1), address(2)]).decision == "unsafe"
        assert keeper.decide([address(4), address(5)]).decision == "safe"
    assert Gatekeeper(SNAPSHOT, Policy(), gate).decide([address(1), address(2)]).decision == "safe"


USES = st.lists(st.builds(Used, st.sampled_from(["", *DCS]), st.sampled_from(QUERIED)), max_size=6)


def clients(one: Used) -> tuple[str, ...]:
    return (one.datacenter,) if one.datacenter else ()


# With more replicas than nodes some levels can never be served.
RINGS = [
    (ring("orders", replication, ROWS, 6),)
    for replication in (
        "NetworkTopologyStrategy {dc1=3, dc2=3}",
        "NetworkTopologyStrategy {dc1=4, dc2=3}",
        "NetworkTopologyStrategy {dc1=3, dc2=7}",
        "SimpleStrategy {replication_factor=6}",
    )
]


@given(USES, st.booleans(), st.sets(st.integers(1, 6)), st.sampled_from(RINGS))
def test_every_level_in_use_is_watched(
    used: list[Used],
    whole: bool,  # noqa: FBT001 - drawn
    down: set[int],
    rings: tuple[Ring, ...],
) -> None:
    """No lost level is judged better than by its own rule, whatever other levels are in use."""
    queries = {Use("", one.datacenter, one.level, "read"): 1 for one in used}
    seen = of(evidence(queries, whole=whole))
    rule = followed(AUTO, "orders", seen)
    for one in used:
        for client in DCS if one.level.local else (None,):
            if one.datacenter in {"", client} or not client:
                assert Severity.CRITICAL in [tier for tier, _ in rule.at(one.level, client)], (one, watched(rule))
    if len(down) == len(SIX):
        return
    fixed = [Rule(keyspaces=("*",), critical=Threshold(one.level, clients=clients(one))) for one in used]
    worst = max((severity(down, Policy((single,)), rings) for single in fixed), default=Severity.OK)
    assert severity(down, Policy((AUTO,), observed=seen), rings) >= worst


@pytest.mark.parametrize("replication", ["{dc1=4, dc2=3}", "{dc1=3, dc2=7}"])
def test_a_level_that_can_never_be_served_hides_no_other(replication: str) -> None:
    """One `CONSISTENCY ALL` in cqlsh fails; LOCAL_QUORUM keeps its alarm and its place in the gate."""
    rings = [ring("orders", f"NetworkTopologyStrategy {replication}", ROWS, 6)]
    rules = policy("dc1 LOCAL_QUORUM", "dc2 LOCAL_ONE", "dc1 ALL")
    assert severity({1, 2}, rules, tuple(rings)) is Severity.CRITICAL
    keeper = Gatekeeper(snapshot(SIX, rings), rules, Gate(level=Level.LOCAL_ONE, settle=0))
    assert keeper.decide([address(1), address(2)]).decision == "unsafe"
    assert keeper.decide([address(4), address(5)]).decision == "safe"


ONE_READING = Evidence(at=100.0, readings={"a": Reading(at=100.0, since=100.0)})
TWO_READINGS = Evidence(at=100.0, readings={"a": Reading(at=100.0, since=40.0)})


@pytest.mark.parametrize(
    ("evidence", "at", "known"),
    [
        ({}, 100.0, False),
        ({"counters": ONE_READING}, 100.0, False),
        ({"counters": ONE_READING}, 160.0, False),  # time alone shows nothing
        ({"counters": TWO_READINGS}, 100.0, True),
        ({"counters": TWO_READINGS}, 1099.0, True),
        ({"counters": TWO_READINGS}, 1100.0, False),  # an agent that has been off for a whole window
        ({"counters": Evidence(at=100.0, gaps=(f"a: {TOO_OLD}",))}, 100.0, False),
        ({"counters": ONE_READING, "proxy": Evidence(at=100.0, since=100.0)}, 100.0, False),
        ({"counters": ONE_READING, "proxy": Evidence(at=100.0, since=40.0)}, 100.0, True),
        (
            {"proxy": Evidence(at=100.0, since=100.0, uses={Use("", "dc1", Level.ONE, "read"): Seen(100.0)})},
            100.0,
            True,
        ),
    ],
)
def test_nothing_is_known_until_a_source_shows_a_part_of_the_window(
    evidence: dict[str, Evidence],
    at: float,
    known: bool,  # noqa: FBT001 - of the table
) -> None:
    """One reading of counters shows no query; two show those between them."""
    seen = Sources(evidence=evidence).observed(at, Following(window=1000.0), ["dc1"], 0.0)
    assert seen.known is known
