"""Verdicts on small clusters: each finding with its complete text, and what must never be OK."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.policy import NagiosRange, Policy, Rule, Severity, Threshold, auth_rule
from ringcheck.core.ring import Problem, Replication, Ring, Snapshot
from ringcheck.core.schema_report import SchemaReport
from ringcheck.core.words import counted, listed, percent
from ringcheck.errors import RingError, UsageError
from tests.core.clusters import (
    STEP,
    TOKENS,
    address,
    addresses,
    findings,
    nodes,
    ring,
    snapshot,
    with_node,
    with_view,
    with_views,
)

if TYPE_CHECKING:
    from ringcheck.core.verdict import Verdict

ALL_OF_3 = "SimpleStrategy {replication_factor=3}"
THREE = nodes("dc1:r1", "dc1:r2", "dc1:r3")
FULL = [(1, 2, 3)] * 4
QUORUM_ONLY = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.QUORUM)),))
TWO_DCS = nodes("dc1:r1", "dc1:r2", "dc2:r1", "dc2:r2")


def healthy(rf: int = 3, names: str = "orders") -> Snapshot:
    rows = [[(start + step) % 3 + 1 for step in range(rf)] for start in range(3)]
    return snapshot(THREE, [ring(names, f"SimpleStrategy {{replication_factor={rf}}}", rows, 3)])


def test_all_well() -> None:
    """A healthy cluster has no finding, and the summary shows how many failures away an outage is."""
    verdict = assess(healthy(), Policy())
    assert verdict.severity is Severity.OK
    assert verdict.findings == ()
    assert verdict.summary == (
        "1 keyspace available at LOCAL_ONE, LOCAL_QUORUM, 3 of 3 nodes up; 2 node failures to an outage of orders at "
        "LOCAL_QUORUM"
    )
    assert (verdict.states, verdict.down(), verdict.recover_first) == (("up",) * 3, [], ())


# ---- nothing judged is never OK ----


def test_no_views_at_all() -> None:
    """Without any view nothing is known."""
    verdict = assess(replace(healthy(), views=()), Policy())
    assert findings(verdict) == {"no_usable_view": ["UNKNOWN no usable view: none asked"]}
    assert (verdict.severity, verdict.keyspaces, verdict.states) == (Severity.UNKNOWN, (), ("unknown",) * 3)


def test_no_usable_view() -> None:
    """If all views are unreachable or discarded, each is named with its reason."""
    one = with_node(healthy(), 2, mode="DRAINED")
    one = with_view(one, 1, outcome="unreachable", reason="timed out")
    verdict = assess(with_view(one, 3, outcome="discarded", reason="half-started", live=frozenset()), Policy())
    text = "UNKNOWN no usable view: 10.0.0.1 (timed out), 10.0.0.2 (drained), 10.0.0.3 (half-started)"
    assert findings(verdict) == {"no_usable_view": [text]}


def test_a_cluster_that_starts_as_a_whole() -> None:
    """While all nodes start, no partitioner is known: the finding names their start, not the partitioner."""
    one = replace(healthy(), partitioner="unknown", rings=())
    for node in (1, 2, 3):
        one = with_node(with_view(one, node), node, mode="STARTING")
    text = "UNKNOWN no usable view: 10.0.0.1 (starting), 10.0.0.2 (starting), 10.0.0.3 (starting)"
    assert findings(assess(one, Policy())) == {"no_usable_view": [text]}


def test_no_rings() -> None:
    """A cluster is not healthy if no ring could be read."""
    verdict = assess(snapshot(THREE), Policy())
    assert findings(verdict) == {"no_keyspaces": ["UNKNOWN no keyspace is watched"]}


def test_no_nodes() -> None:
    """An empty snapshot is never OK."""
    verdict = assess(snapshot(()), Policy())
    assert verdict.severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    "policy",
    [
        Policy((Rule(keyspaces=("orders",), ignore=True),)),
        Policy((Rule(keyspaces=("*",)),)),
        Policy((Rule(keyspaces=("orders",), warning_failures_left=1),)),
    ],
)
def test_nothing_watched(policy: Policy) -> None:
    """If the rules ignore everything, or name no level, nothing was judged and the verdict is not OK."""
    for question in (None, Question(levels=(Level.QUORUM,))):
        verdict = assess(healthy(), policy, question)
        assert findings(verdict) == {"no_keyspaces": ["UNKNOWN no keyspace is watched"]}


def test_only_keyspaces_of_cassandra() -> None:
    """If only keyspaces that are left out exist, nothing was judged and the verdict is not OK."""
    one = replace(healthy(names="system_traces system_distributed system_auth"), authenticates=False)
    assert findings(assess(one, Policy())) == {
        "no_keyspaces": ["UNKNOWN no keyspace is watched"],
        "auth_not_watched": ["OK system_auth is not watched: no authenticator is recognised over JMX"],
    }


@pytest.mark.parametrize(
    ("seen", "stated", "judged"),
    [
        (None, None, ["orders", "system_auth"]),
        (True, None, ["orders", "system_auth"]),
        (False, None, ["orders"]),
        (False, True, ["orders", "system_auth"]),
        (None, False, ["orders"]),
    ],
)
def test_logins_are_judged_unless_there_are_none(seen: bool | None, stated: bool | None, judged: list[str]) -> None:  # noqa: FBT001 - a table
    """system_auth is left out only if the cluster is known not to authenticate; the configuration overrides that."""
    one = replace(healthy(names="orders system_auth system_traces"), authenticates=seen)
    assert [each.name for each in assess(one, Policy(authenticates=stated)).keyspaces] == judged


def two_replicas(**fields: Any) -> Snapshot:
    """system_auth with two replicas for each range, one of them down; clients log in."""
    auth = ring("system_auth", "NetworkTopologyStrategy {dc1=2}", [(1, 2), (2, 3), (3, 1)], 3)
    return snapshot(THREE, [*healthy().rings, auth], down=[1], **{"authenticates": True, **fields})


@pytest.mark.parametrize(
    ("level", "release", "lost_at"),
    [
        ("LOCAL_QUORUM", "5.0.8", "LOCAL_QUORUM"),
        ("LOCAL_ONE", "5.0.8", None),
        ("QUORUM", "4.1.9", "QUORUM"),
        (None, "5.0.8", "LOCAL_QUORUM"),
        (None, "4.1.0", "LOCAL_QUORUM"),
        (None, "4.0.17", None),
        (None, "2.2.19", None),
    ],
)
@pytest.mark.parametrize("named", [(), ("system_auth",)])
def test_logins_are_judged_at_the_level_at_which_cassandra_reads(
    level: str | None, release: str, lost_at: str | None, named: tuple[str, ...]
) -> None:
    """With one of two replicas down, no client can log in at a quorum: CRITICAL, also if asked for by name."""
    nodes = tuple(replace(node, release_version=release) for node in two_replicas().nodes)
    verdict = assess(two_replicas(nodes=nodes, auth_read_level=level), Policy(), Question(keyspaces=named))
    auth = next(one for one in verdict.keyspaces if one.name == "system_auth")
    at = {str(one.level): one.severity for one in auth.levels}
    assert at == ({lost_at: Severity.CRITICAL} if lost_at else {"LOCAL_ONE": Severity.OK})
    assert verdict.severity is (Severity.CRITICAL if lost_at else Severity.OK)


def test_logins_of_a_mixed_cluster_are_judged_at_the_levels_of_all_its_coordinators() -> None:
    """Coordinators before 4.1 read system_auth at LOCAL_ONE, the others at the level that they report."""
    seen = two_replicas()
    releases = ["4.0.17", *["4.1.9"] * (len(seen.nodes) - 1)]
    nodes = tuple(replace(node, release_version=text) for node, text in zip(seen.nodes, releases, strict=True))
    verdict = assess(replace(seen, nodes=nodes, auth_read_level="LOCAL_QUORUM"), Policy())
    auth = next(keyspace for keyspace in verdict.keyspaces if keyspace.name == "system_auth")
    severities = {str(level.level): level.severity for level in auth.levels}
    assert severities == {"LOCAL_QUORUM": Severity.CRITICAL, "LOCAL_ONE": Severity.OK}
    both = auth_rule(Level.QUORUM, Level.LOCAL_ONE)
    assert both.levels == (Level.QUORUM, Level.LOCAL_ONE)


def test_an_unknown_level_of_logins_is_a_gap_under_a_pattern_that_matches_by_accident_too() -> None:
    """A rule for "s*" is not meant for system_auth, and does not state its level."""
    seen = two_replicas(auth_read_level="NODE_LOCAL", views=healthy().views)
    wide = Policy((Rule(keyspaces=("s*",), critical=Threshold(Level.LOCAL_ONE)),))
    assert "auth_level_unknown" in findings(assess(seen, wide))
    meant = Policy((Rule(keyspaces=("system*",), critical=Threshold(Level.LOCAL_ONE)),))
    assert "auth_level_unknown" not in findings(assess(seen, meant))


@pytest.mark.parametrize(
    ("levels", "watched"),
    [
        (["LOCAL_ONE", None, "LOCAL_ONE"], ["LOCAL_QUORUM", "LOCAL_ONE"]),
        (["LOCAL_QUORUM", None, "LOCAL_ONE"], ["LOCAL_QUORUM", "LOCAL_ONE"]),
        (["LOCAL_QUORUM", None, "LOCAL_QUORUM"], ["LOCAL_QUORUM"]),
        ([None, None, None], ["LOCAL_ONE"]),
    ],
)
def test_a_node_that_does_not_report_its_level_may_have_the_default(
    levels: list[str | None], watched: list[str]
) -> None:
    """Snapshots of earlier versions have no levels of nodes: there the level of the snapshot counts."""
    seen = two_replicas(views=healthy().views)
    nodes = tuple(replace(node, auth_read_level=level) for node, level in zip(seen.nodes, levels, strict=True))
    level = max(filter(None, levels), default="LOCAL_ONE")
    verdict = assess(replace(seen, nodes=nodes, auth_read_level=level), Policy())
    auth = next(keyspace for keyspace in verdict.keyspaces if keyspace.name == "system_auth")
    assert [str(one.level) for one in auth.levels] == watched
    text = "10.0.0.2 does not report yet at which level logins read system_auth"
    noted = f"OK {text}: the default, LOCAL_QUORUM, is watched too"
    assert findings(verdict).get("auth_level_missing") == ([noted] if levels[0] == "LOCAL_ONE" else None)


NO_LOGINS = "WARNING no client can log in to dc2: system_auth has no replica there, and is read at LOCAL_QUORUM"


@pytest.mark.parametrize(
    ("auth", "policy", "found"),
    [
        ("{dc1=2}", Policy(authenticates=True), [NO_LOGINS]),
        ("{dc1=2}", Policy(authenticates=False), None),
        ("{dc1=2}", Policy(authenticates=True, client_datacenters=("dc1",)), None),
        ("{dc1=2, dc2=1}", Policy(authenticates=True), None),
    ],
)
def test_a_datacenter_without_replicas_of_system_auth(auth: str, policy: Policy, found: list[str] | None) -> None:
    """Each coordinator reads roles in its own datacenter, wherever other keyspaces have replicas."""
    held = [[1, 2, 3] if "dc2" in auth else [1, 2]] * 4
    rings = [
        ring("orders", "NetworkTopologyStrategy {dc1=2, dc2=2}", [[1, 2, 3, 4]] * 4, 4),
        ring("system_auth", f"NetworkTopologyStrategy {auth}", held, 4),
    ]
    verdict = assess(snapshot(TWO_DCS, rings), policy)
    assert findings(verdict).get("logins_without_replicas") == found


def test_logins_are_judged_at_the_level_of_every_node() -> None:
    """One node reads system_auth at QUORUM, which is lost; the level that most nodes use is not."""
    seen = two_replicas(auth_read_level="LOCAL_ONE")
    levels = ["QUORUM", *["LOCAL_ONE"] * (len(seen.nodes) - 1)]
    nodes = tuple(replace(node, auth_read_level=text) for node, text in zip(seen.nodes, levels, strict=True))
    verdict = assess(replace(seen, nodes=nodes), Policy())
    auth = next(keyspace for keyspace in verdict.keyspaces if keyspace.name == "system_auth")
    severities = {str(level.level): level.severity for level in auth.levels}
    assert severities == {"QUORUM": Severity.CRITICAL, "LOCAL_ONE": Severity.OK}


def test_a_level_of_logins_that_is_not_known_is_a_gap() -> None:
    """It is quoted, so that it can't break a line; no finding if a rule states a level or clients don't log in."""
    seen = two_replicas(auth_read_level="NODE\x1b\nLOCAL", views=healthy().views)
    level = "'NODE\\x1b\\nLOCAL', which is not a known level"
    text = f"whether clients can log in is not known: system_auth is read at {level}"
    assert findings(assess(seen, Policy())) == {"auth_level_unknown": [f"UNKNOWN {text}"]}
    assert findings(assess(seen, Policy(), Question(keyspaces=("orders",)))) == {}
    mine = Policy((Rule(keyspaces=("system_auth",), critical=Threshold(Level.LOCAL_ONE)),))
    assert findings(assess(seen, mine)) == {}
    assert findings(assess(seen, Policy(authenticates=False))) == {}


@pytest.mark.parametrize(
    ("policy", "question", "names", "noted"),
    [
        (Policy(), None, "orders system_auth", True),
        (Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE)),)), None, "orders system_auth", True),
        (Policy(), None, "orders", False),
        (Policy(), Question(keyspaces=("orders",)), "orders system_auth", False),
        (Policy(), Question(keyspaces=("system_auth",)), "orders system_auth", False),
        (Policy(authenticates=False), None, "orders system_auth", False),
        (Policy(authenticates=True), None, "orders system_auth", False),
        (Policy((Rule(keyspaces=("system_auth",), ignore=True),)), None, "orders system_auth", False),
        (Policy((Rule(keyspaces=("system_*",), critical=Threshold(Level.ONE)),)), None, "orders system_auth", False),
    ],
)
def test_logins_without_a_rule_are_noted_once(
    policy: Policy, question: Question | None, names: str, *, noted: bool
) -> None:
    """One note, unless the configuration decides, other keyspaces were asked for, or system_auth does not exist."""
    verdict = assess(replace(healthy(names=names), authenticates=False), policy, question)
    assert [one.code for one in verdict.findings] == ["auth_not_watched"] * noted
    assert verdict.severity is Severity.OK


@pytest.mark.parametrize(
    ("patterns", "missing"),
    [(("payments",), "payments"), (("orders", "pay*"), "pay*"), (("p*", "orders", "q"), "p*, q")],
)
def test_keyspaces_asked_for_that_do_not_exist(patterns: tuple[str, ...], missing: str) -> None:
    """Each pattern must match a keyspace: a dropped keyspace must not pass because another one is healthy."""
    verdict = assess(healthy(), Policy(), Question(keyspaces=patterns))
    assert findings(verdict) == {"no_keyspaces": [f"UNKNOWN no keyspace matches {missing} (known: orders)"]}


@pytest.mark.parametrize(
    ("patterns", "texts"),
    [
        (("order",), ["OK the rule for 'order' matches no keyspace (did you mean orders?)"]),
        (("Orders",), ["OK the rule for 'Orders' matches no keyspace (did you mean orders?)"]),
        (("pay*",), ["OK the rule for 'pay*' matches no keyspace"]),
        (("orders", "orders_2"), ["OK the rule for 'orders_2' matches no keyspace"]),
        (("order", "*"), ["OK the rule for 'order' matches no keyspace (did you mean orders?)"]),
        (("o*", "*"), []),
    ],
)
def test_a_rule_that_matches_no_keyspace_is_a_note(patterns: tuple[str, ...], texts: list[str]) -> None:
    """A typing error must not stay unseen, and a rule for a later keyspace must not alert.

    A keyspace that a rule names is not suggested for another rule.
    """
    policy = Policy(tuple(Rule(keyspaces=(pattern,), critical=Threshold(Level.QUORUM)) for pattern in patterns))
    verdict = assess(healthy(), policy)
    assert (verdict.severity, findings(verdict).get("rule_unmatched", [])) == (Severity.OK, texts)
    unread = [Problem("ring_unreadable", name, "its ring can't be read") for name in patterns]
    for silent in (
        assess(healthy(), policy, Question(keyspaces=("orders",))),
        assess(snapshot(THREE), policy),
        assess(replace(healthy(), problems=tuple(unread)), policy),
    ):
        assert "rule_unmatched" not in findings(silent)


def test_an_ignored_keyspace_asked_for_by_name_is_judged() -> None:
    """Asking by name overrides a rule that ignores the keyspace."""
    policy = Policy((Rule(keyspaces=("orders",), ignore=True),))
    verdict = assess(snapshot(THREE, healthy(1).rings, down=[1]), policy, Question(keyspaces=("orders",)))
    assert verdict.severity is Severity.CRITICAL


def test_a_keyspace_without_replicas() -> None:
    """A keyspace replicated to a datacenter without nodes can't be served from anywhere."""
    rings = [ring("orders", "NetworkTopologyStrategy {nowhere=3}", [(), (), (), ()], 3)]
    verdict = assess(snapshot(THREE, rings), Policy())
    text = "of orders can never be served at"
    assert findings(verdict) == {
        "replication_without_nodes": ["WARNING orders: 3 replicas in nowhere, which has no nodes"],
        "structurally_unavailable": [
            f"WARNING 4 of 4 ranges {text} LOCAL_ONE in dc1: the level needs more replicas than they have",
            f"WARNING 4 of 4 ranges {text} LOCAL_QUORUM in dc1: the level needs more replicas than they have",
        ],
    }


@pytest.mark.parametrize("level", [level for level in Level if level is not Level.ANY])
@pytest.mark.parametrize("version", ["2.2.19", "3.11.19", "5.0.8"])
def test_no_level_is_served_by_no_replicas(level: Level, version: str) -> None:
    """Without replicas every level is structurally unavailable, on every release."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=0}", [(), (), (), ()], 3)]
    members = nodes("dc1:r1", "dc1:r2", "dc1:r3", release_version=version)
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(level)),))
    (found,) = assess(snapshot(members, rings), policy).keyspaces[0].levels
    assert found.health is not None
    assert (found.severity, found.health.structurally_unavailable) == (Severity.WARNING, 4)


# ---- what could not be read, or contradicts itself ----


def test_problems_of_the_source() -> None:
    """A problem that a source reports is UNKNOWN, even if everything else is healthy."""
    one = replace(healthy(), problems=(Problem("ring_unreadable", "payments", "payments can't be read: cut"),))
    assert findings(assess(one, Policy())) == {"ring_unreadable": ["UNKNOWN payments can't be read: cut"]}


def test_the_worst_of_equal_findings_is_kept() -> None:
    """A problem of the source stays UNKNOWN, though the core's own finding with the same text is a warning."""
    text = "the view of 10.0.0.2 is not usable: drained"
    one = with_node(healthy(), 2, mode="DRAINED")
    verdict = assess(replace(one, problems=(Problem("view_discarded", address(2), text),)), Policy())
    assert findings(verdict) == {"view_discarded": [f"UNKNOWN {text}"]}
    text = "3 of 3 ranges of orders can never be served at QUORUM: the level needs more replicas than they have"
    one = snapshot(THREE, [ring("orders", "SimpleStrategy {replication_factor=7}", FULL[:3], 3)])
    one = replace(one, problems=(Problem("structurally_unavailable", "orders", text),))
    assert findings(assess(one, QUORUM_ONLY)) == {"structurally_unavailable": [f"UNKNOWN {text}"]}


def test_unknown_replication() -> None:
    """If the required number is not known, a quorum is UNKNOWN; levels that need one replica can be judged."""
    verdict = assess(snapshot(THREE, [ring("orders", None, FULL, 3)]), Policy())
    text = (
        "UNKNOWN orders can't be judged at LOCAL_QUORUM: its replication is not known: "
        "this release does not report it, and no configuration states it"
    )
    assert findings(verdict) == {"replication_unknown": [text]}
    assert [one.severity for one in verdict.keyspaces[0].levels] == [Severity.OK, Severity.UNKNOWN]
    assert verdict.keyspaces[0].replication is None


@pytest.mark.parametrize(
    "text",
    [
        "MetaStrategy {dc1=3}",
        "LocalStrategy {}",
        "SimpleStrategy {}",
        "SimpleStrategy {dc1=3}",
        "SimpleStrategy {dc1=3, replication_factor=3}",
        "NetworkTopologyStrategy {dc1=3, replication_factor=3}",
        "MyOwnStrategy {replication_factor=3}",
    ],
)
def test_a_strategy_that_is_not_cassandra_s(text: str) -> None:
    """Its requirements can't be guessed; a keyspace has one finding about that, however many levels it has."""
    verdict = assess(snapshot(TWO_DCS, [ring("orders", text, [(1, 2, 3, 4)] * 4, 4)]), Policy())
    why = f"replication {Replication.parse(text)} is not one of Cassandra's"
    assert verdict.severity is Severity.UNKNOWN
    assert findings(verdict)["replication_unknown"] == [
        f"UNKNOWN orders can't be judged at LOCAL_ONE, LOCAL_QUORUM: {why}"
    ]


def test_an_unknown_level_that_is_only_shown_is_no_finding() -> None:
    """If no rule watches the level, there is no finding."""
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE)),))
    verdict = assess(snapshot(THREE, [ring("o", None, FULL, 3)]), policy, Question(levels=(Level.QUORUM,)))
    assert (verdict.severity, findings(verdict)) == (Severity.OK, {})
    assert [(one.severity, one.health is None) for one in verdict.keyspaces[0].levels] == [
        (Severity.OK, False),
        (None, True),
    ]


@pytest.mark.parametrize(
    ("replication", "rows", "text"),
    [
        (ALL_OF_3, [(1,), (2,), (3,), (1,)], "1 replica, but {} asks for 3 replicas"),
        (ALL_OF_3, [(1, 2, 3), (1, 2), (1, 2, 3), (1, 2, 3)], "2 replicas, but {} asks for 3 replicas"),
        ("SimpleStrategy {replication_factor=2}", FULL, "3 replicas, but {} asks for 2 replicas"),
        ("NetworkTopologyStrategy {dc1=2}", FULL, "3 replicas in dc1, but {} asks for 2 replicas in dc1"),
        (
            "NetworkTopologyStrategy {dc1=3, dc2=3}",
            [(1, 2)] * 4,
            "2 replicas in dc1, 0 replicas in dc2, but {} asks for 3 replicas in dc1, 0 replicas in dc2",
        ),
        ("EverywhereStrategy {}", [(1, 2)] * 4, "2 replicas, but {} asks for 3 replicas"),
    ],
)
def test_contradictions(replication: str, rows: list[tuple[int, ...]], text: str) -> None:
    """Ranges whose number of replicas differs from the configuration come from a half-started node: never OK."""
    verdict = assess(snapshot(THREE, [ring("a b", replication, rows, 3)]), Policy())
    whole = f"UNKNOWN ranges of a, b have {text.format(Replication.parse(replication))}"
    assert findings(verdict)["ring_contradicts_replication"] == [whole]
    assert verdict.severity >= Severity.UNKNOWN


def test_replicas_in_a_datacenter_that_has_no_factor() -> None:
    """Replicas in a datacenter without a configured factor contradict the configuration too."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=2}", [(1, 2, 3)] * 4, 4)]
    text = "ranges of orders have 2 replicas in dc1, 1 replica in dc2, but NetworkTopologyStrategy {dc1=2} asks for 2 "
    assert findings(assess(snapshot(TWO_DCS, rings), Policy()))["ring_contradicts_replication"] == [
        f"UNKNOWN {text}replicas in dc1"
    ]


@pytest.mark.parametrize(
    ("replication", "rows"),
    [
        ("SimpleStrategy {replication_factor=5}", FULL),
        ("NetworkTopologyStrategy {dc1=5, nowhere=3}", FULL),
        ("NetworkTopologyStrategy {dc1=3, dc2=0}", FULL),
        ("EverywhereStrategy {}", FULL),
    ],
)
def test_a_factor_above_the_nodes_is_no_contradiction(replication: str, rows: list[tuple[int, ...]]) -> None:
    """Cassandra places one replica on each node, and no more."""
    verdict = assess(snapshot(THREE, [ring("orders", replication, rows, 3)]), Policy())
    assert "ring_contradicts_replication" not in findings(verdict)


def test_joining_nodes_are_not_yet_there_to_place_replicas_on() -> None:
    """A joining node causes no contradiction, whether its tokens or the views show that it joins."""
    rings = [ring("orders", "SimpleStrategy {replication_factor=4}", [(1, 2, 3)] * 4, 4)]
    four = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1")
    known = with_node(snapshot(four, rings), 4, tokens=0)
    assert "ring_contradicts_replication" not in findings(assess(known, Policy()))
    told = with_view(with_node(snapshot(four, rings), 4, tokens=None), 1, joining=addresses([4]))
    assert "ring_contradicts_replication" not in findings(assess(told, Policy()))
    silent = with_node(snapshot(four, rings), 4, tokens=None)
    assert "ring_contradicts_replication" in findings(assess(silent, Policy()))


@pytest.mark.parametrize("name", ["ByteOrderedPartitioner", "org.apache.cassandra.dht.OrderPreservingPartitioner"])
def test_order_preserving_partitioners_are_refused(name: str) -> None:
    """Tokens of these partitioners are keys, so that ranges have no share of the token space."""
    simple = name.rpartition(".")[2]
    text = f"partitioner {simple} is not supported (only Murmur3Partitioner, RandomPartitioner): its tokens can't be "
    with pytest.raises(RingError) as error:
        assess(replace(healthy(), partitioner=name), Policy())
    assert str(error.value) == f"{text}compared"


def test_a_client_datacenter_without_nodes() -> None:
    """A misspelt datacenter is refused, instead of being judged as a datacenter without replicas."""
    with pytest.raises(UsageError) as error:
        assess(healthy(), Policy(client_datacenters=("dc1", "DC1")))
    assert str(error.value) == "datacenter DC1 has no nodes (did you mean dc1?)"


def test_a_view_that_is_not_there() -> None:
    """Asking for a view that the snapshot does not have is an error."""
    with pytest.raises(UsageError) as error:
        assess(healthy(), Policy(), Question(view="10.9.9.9"))
    assert str(error.value) == "there is no view of 10.9.9.9 (known: 10.0.0.1, 10.0.0.2, 10.0.0.3)"


@pytest.mark.parametrize("datacenter", [None, ""])
def test_a_node_without_a_datacenter(datacenter: str | None) -> None:
    """Its replicas count for no LOCAL level, so the verdict is not certain."""
    verdict = assess(with_node(healthy(), 3, datacenter=datacenter), Policy())
    assert findings(verdict)["unknown_datacenter"] == ["UNKNOWN the datacenter of 10.0.0.3 is not known"]


def test_an_owner_of_tokens_without_a_datacenter() -> None:
    """It matters even if it holds no replica and does not answer: it may have clients."""
    one = snapshot(nodes("dc1:r1", "dc1:r2", ""), [ring("o", "NetworkTopologyStrategy {dc1=2}", [(1, 2)] * 4, 3)])
    verdict = assess(replace(one, views=one.views[:2]), Policy())
    assert findings(verdict)["unknown_datacenter"] == ["UNKNOWN the datacenter of 10.0.0.3 is not known"]


def test_a_joiner_without_a_datacenter() -> None:
    """It matters only once it gains ranges: then LOCAL levels may have to wait for its acknowledgements."""
    four = nodes("dc1:r1", "dc1:r2", "dc1:r3", "")
    still = snapshot(four, [ring("orders", ALL_OF_3, FULL, 4)], down=[4])
    assert "unknown_datacenter" not in findings(assess(with_node(still, 4, tokens=0), Policy()))
    gains = snapshot(four, [ring("orders", ALL_OF_3, FULL, 4, [(0, 5, (4,))])], down=[4])
    assert findings(assess(with_node(gains, 4, tokens=0), Policy()))["unknown_datacenter"] == [
        "UNKNOWN the datacenter of 10.0.0.4 is not known"
    ]


def test_an_observer_without_a_datacenter_counts_for_no_local_level() -> None:
    """It is not known which datacenter's clients it serves, so its view counts for no LOCAL level."""
    one = snapshot(TWO_DCS, [ring("o", "NetworkTopologyStrategy {dc1=1, dc2=2}", [(2, 3, 4)] * 4, 4)])
    one = with_node(one, 1, datacenter=None, tokens=0)
    verdict = assess(one, Policy(), Question(view=address(1)))
    assert findings(verdict)["unknown_datacenter"] == ["UNKNOWN the datacenter of 10.0.0.1 is not known"]
    assert [one.health and one.health.unavailable for one in verdict.keyspaces[0].levels] == [4, 4]


def test_one_host_id_or_address_twice() -> None:
    """Nodes that can't be distinguished can't be counted."""
    clone = with_node(healthy(), 3, host_id="host-1")
    assert findings(assess(clone, Policy())) == {
        "duplicate_host_id": ["UNKNOWN 2 nodes claim host id host-1: 10.0.0.1, 10.0.0.3"]
    }
    twin = with_node(healthy(), 3, address="10.0.0.1")
    assert "UNKNOWN 2 nodes claim address 10.0.0.1" in findings(assess(twin, Policy()))["duplicate_host_id"]


# ---- views ----


def test_a_missing_view() -> None:
    """If a node's Jolokia is silent, it is not known what the node sees, even if others see it up."""
    verdict = assess(with_view(healthy(), 2, outcome="unreachable", reason="timed out"), Policy())
    text = "UNKNOWN 10.0.0.2 did not answer (timed out), though others see it up"
    assert findings(verdict) == {"view_missing": [text]}
    verdict = assess(with_view(healthy(), 2, outcome="unreachable", reason=None), Policy())
    assert findings(verdict) == {"view_missing": [text.replace("timed out", "no answer")]}


def test_a_missing_view_of_a_node_that_is_down_is_no_gap() -> None:
    """If every usable view sees a node down, its own view is not needed."""
    verdict = assess(snapshot(THREE, healthy().rings, down=[2]), Policy())
    assert findings(verdict) == {"node_down": ["OK 10.0.0.2 is down"]}
    assert verdict.severity is Severity.OK
    assert verdict.summary == (
        "1 keyspace available at LOCAL_ONE, LOCAL_QUORUM, 1 node down: 10.0.0.2; 1 node failure to an outage of orders "
        "at LOCAL_QUORUM"
    )


def test_a_missing_view_of_a_node_that_only_some_see_down_is_a_gap() -> None:
    """The view is missing as long as at least one coordinator sees the node up."""
    one = with_view(healthy(), 2, outcome="unreachable", reason="timed out")
    one = with_view(one, 1, live=addresses([1, 3]), unreachable=addresses([2]))
    assert set(findings(assess(one, Policy()))) == {"view_missing", "view_disagreement", "node_down"}


def test_a_missing_view_of_a_joiner_is_no_gap() -> None:
    """It does not coordinate; a node that owns tokens has joined, even if a view still lists it as joining."""
    four = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1")
    one = snapshot(four, [ring("orders", ALL_OF_3, FULL, 4)])
    one = with_view(one, 4, outcome="unreachable", reason="timed out")
    one = with_views(one, joining=addresses([4]))
    joins = findings(assess(with_node(one, 4, tokens=0), Policy()))
    assert joins == {"topology_changing": ["OK 10.0.0.4 is joining"]}
    assert "view_missing" in findings(assess(one, Policy()))


def test_a_discarded_view() -> None:
    """A node that others see up, though its own view does not count, is a warning."""
    verdict = assess(with_node(healthy(), 2, gossip_running=False), Policy())
    text = "WARNING the view of 10.0.0.2 is not usable: gossip is off: its view is frozen"
    assert findings(verdict) == {"view_discarded": [text]}


def test_a_drained_node_that_is_down_has_a_reason() -> None:
    """The reason why its view does not count is shown as the reason why it is down."""
    one = with_node(healthy(), 2, mode="DRAINED")
    for observer in (1, 3):
        one = with_view(one, observer, live=addresses([1, 3]), unreachable=addresses([2]))
    assert findings(assess(one, Policy())) == {"node_down": ["OK 10.0.0.2 is down (drained)"]}


def test_a_datacenter_without_a_usable_view() -> None:
    """The LOCAL levels of that datacenter are judged by views of other datacenters, which is a gap."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=2, dc2=2}", [(1, 2, 3, 4)] * 4, 4)]
    one = snapshot(TWO_DCS, rings)
    for observer in (3, 4):
        one = with_node(one, observer, native_transport_running=False)
    verdict = assess(one, Policy())
    assert findings(verdict) == {
        "view_discarded": [
            f"WARNING the view of 10.0.0.{number} is not usable: native transport is off: it serves no clients"
            for number in (3, 4)
        ],
        "view_missing": ["UNKNOWN no usable view from dc2: it is judged by what other datacenters see of it"],
        "no_coordinator": ["WARNING no coordinator is up in dc2: its clients have no node to connect to"],
    }
    assert {one.worst_view for one in verdict.keyspaces[0].levels} == {address(1)}


def test_a_datacenter_that_is_down_has_no_view_to_miss() -> None:
    """If all its nodes are down it has no coordinator, so no view is missing."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=2, dc2=2}", [(1, 2, 3, 4)] * 4, 4)]
    assert set(findings(assess(snapshot(TWO_DCS, rings, down=[3, 4]), Policy()))) == {"node_down", "unavailable"}


def test_disagreement() -> None:
    """A node that some views see down and others up is reported with both sides; the worst view counts."""
    one = with_view(healthy(1), 1, live=addresses([1, 2]), unreachable=addresses([3]))
    verdict = assess(one, Policy())
    text = "WARNING 10.0.0.3 is down for 10.0.0.1 but up for 10.0.0.2, 10.0.0.3"
    assert findings(verdict)["view_disagreement"] == [text]
    assert verdict.severity is Severity.CRITICAL
    assert {level.worst_view for level in verdict.keyspaces[0].levels} == {address(1)}
    assert verdict.seen_down_by == {2: (address(1),)}


def test_dead_gossip() -> None:
    """A node that only its own view sees as up is cut off, or its gossip is dead."""
    one = healthy()
    for observer in (1, 2):
        one = with_view(one, observer, live=addresses([1, 2]), unreachable=addresses([3]))
    text = "WARNING 10.0.0.3 serves clients, but every other view sees it down"
    assert findings(assess(one, Policy()))["gossip_dead"] == [text]


def test_a_node_in_no_list() -> None:
    """A node that is neither live nor unreachable is unknown, and counts as not live."""
    one = healthy(1)
    for observer in (1, 2):
        one = with_view(one, observer, live=addresses([1, 2]), unreachable=frozenset())
    one = with_view(one, 3, outcome="unreachable", reason="refused")
    verdict = assess(one, Policy())
    assert verdict.states == ("up", "up", "unknown")
    assert findings(verdict)["node_unknown"] == ["UNKNOWN no view lists 10.0.0.3 as live or as unreachable"]
    assert verdict.severity is Severity.CRITICAL


def test_a_joiner_in_no_list() -> None:
    """It matters as soon as it gains ranges."""
    four = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r4")
    for pending, told in (([], False), ([(0, 5, (4,))], True)):
        one = with_node(snapshot(four, [ring("orders", ALL_OF_3, FULL, 4, pending)], down=[4]), 4, tokens=0)
        for observer in (1, 2, 3):
            one = with_view(one, observer, unreachable=frozenset())
        assert ("node_unknown" in findings(assess(one, Policy()))) is told


def test_a_node_in_both_lists_is_not_up() -> None:
    """If a view lists a node as live and as unreachable, the node counts as not reached."""
    one = healthy(1)
    for observer in (1, 2, 3):
        one = with_view(one, observer, unreachable=addresses([3]))
    verdict = assess(one, Policy())
    assert verdict.severity is Severity.CRITICAL
    text = "10.0.0.3 is listed as live and as unreachable by 10.0.0.1, 10.0.0.2, 10.0.0.3"
    assert findings(verdict)["contradictory_view"] == [f"WARNING {text}"]


def test_a_live_stranger() -> None:
    """A live endpoint is not a node of the ring: the two were read at different times, or one of them is wrong."""
    one = with_view(healthy(), 1, live=addresses([1, 2, 3, 8, 9]))
    text = "UNKNOWN 10.0.0.1 sees 10.0.0.8, 10.0.0.9 live, which is not a known node"
    assert findings(assess(one, Policy())) == {"unknown_endpoint": [text]}


def test_schema_versions() -> None:
    """They must agree among nodes of one release; during an upgrade they differ between releases."""
    versions = {"s": (address(1), address(2)), "t": (address(3),)}
    reports = [SchemaReport(version=name, nodes=nodes, asked=nodes[0]) for name, nodes in versions.items()]
    one = replace(with_view(healthy(), 3, schema_version="t"), schemas=tuple(reports))
    text = "WARNING 2 schema versions; 10.0.0.3 differ from the others"
    assert findings(assess(one, Policy())) == {"schema_disagreement": [text]}
    assert findings(assess(with_node(one, 3, release_version="5.0.8"), Policy())) == {}


@pytest.mark.parametrize("what", ["joining", "leaving", "moving"])
def test_a_changing_topology_is_a_note(what: str) -> None:
    """It blocks the gate, but not the health."""
    four = snapshot(nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1"), [ring("orders", ALL_OF_3, FULL, 4)])
    verdict = assess(with_views(four, **{what: addresses([4])}), Policy())
    assert findings(verdict) == {"topology_changing": [f"OK 10.0.0.4 is {what}"]}
    assert verdict.severity is Severity.OK


# Views that disagree about movements


@pytest.mark.parametrize("what", ["joining", "leaving", "moving"])
def test_a_contested_movement_is_a_note_while_clients_are_served_in_either_ring(what: str) -> None:
    """QUORUM of three replicas is available without the node whose movement is contested."""
    verdict = assess(with_view(healthy(), 1, **{what: addresses([2])}), Policy())
    text = f"OK 10.0.0.1 sees 10.0.0.2 {what}, and other nodes do not"
    assert findings(verdict) == {
        "topology_changing": [f"OK 10.0.0.2 is {what}"],
        "movement_disagreement": [text],
    }


def test_a_contested_movement_is_unknown_if_clients_may_not_be_served() -> None:
    """At RF 2, a coordinator that takes a replica for a joining node has one replica to read from, and needs two."""
    two = snapshot(nodes("dc1:r1", "dc1:r2"), [ring("orders", "NetworkTopologyStrategy {dc1=2}", [(1, 2)], 2)])
    verdict = assess(with_view(two, 2, joining=addresses([1])), Policy())
    assert verdict.severity is Severity.UNKNOWN
    [finding] = [one for one in verdict.findings if one.code == "movement_disagreement"]
    assert finding.summary == "10.0.0.2 sees 10.0.0.1 joining, and other nodes do not"
    assert finding.detail == "whether 10.0.0.1 serves orders at LOCAL_QUORUM is not known"


def test_a_joining_node_that_owns_ranges_contradicts_the_ring() -> None:
    """All views list it as joining: the ring was read later, after it joined, and other facts may be older still."""
    two = snapshot(nodes("dc1:r1", "dc1:r2"), [ring("orders", "NetworkTopologyStrategy {dc1=2}", [(1, 2)], 2)])
    verdict = assess(with_views(two, joining=addresses([1])), Policy())
    [finding] = [one for one in verdict.findings if one.code == "movement_disagreement"]
    assert finding.severity is Severity.UNKNOWN
    assert finding.summary == "10.0.0.1, 10.0.0.2 see 10.0.0.1 joining, but it owns ranges in the ring already"


def test_a_contested_movement_beside_a_node_that_is_down_is_unknown() -> None:
    """Writes of a coordinator that knows the movement may wait for that node, in ranges that were not read."""
    one = snapshot(THREE, [ring("orders", ALL_OF_3, FULL, 3)], down=[3])
    assert assess(one, Policy()).severity is Severity.OK
    verdict = assess(with_view(one, 1, leaving=addresses([2])), Policy())
    assert verdict.severity is Severity.UNKNOWN
    assert "movement_disagreement" in findings(verdict)


# ---- levels ----


def test_an_outage() -> None:
    """The page tier is CRITICAL, the ticket tier WARNING; the summary names counts, level and nodes."""
    verdict = assess(snapshot(THREE, healthy(1).rings, down=[2]), Policy())
    assert findings(verdict)["unavailable"] == [
        "CRITICAL 1 of 3 ranges (25.0 % of the tokens) of orders unavailable at LOCAL_ONE in dc1",
        "WARNING 1 of 3 ranges (25.0 % of the tokens) of orders unavailable at LOCAL_QUORUM in dc1",
    ]
    assert verdict.summary == (
        "1 of 3 ranges (25.0 % of the tokens) of orders unavailable at LOCAL_ONE in dc1 (1 node down: 10.0.0.2)"
        "; and 1 more finding"
    )


def test_several_outages() -> None:
    """The outage with the largest share comes first; the others are counted."""
    rings = [
        ring("a", "SimpleStrategy {replication_factor=1}", [(1,), (2,), (3,), (3,)], 3),
        ring("b", "SimpleStrategy {replication_factor=1}", [(1,), (2,), (2,), (3,)], 3),
    ]
    verdict = assess(snapshot(THREE, rings, down=[2]), Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE)),)))
    text = "2 of 4 ranges (50.0 % of the tokens) of b unavailable at ONE (1 node down: 10.0.0.2); and 1 more finding"
    assert verdict.summary == text


def test_a_gap_does_not_hide_an_outage_nor_a_warning_a_gap() -> None:
    """CRITICAL ranks before UNKNOWN, and UNKNOWN before WARNING."""
    one = snapshot(THREE, healthy(1).rings, down=[2], problems=(Problem("ring_unreadable", "p", "p can't be read"),))
    assert assess(one, Policy()).severity is Severity.CRITICAL
    assert (
        assess(one, Policy((Rule(keyspaces=("*",), critical=None, warning=Threshold(Level.ONE)),))).severity
        is Severity.UNKNOWN
    )


def test_few_failures_left() -> None:
    """`warning_failures_left` warns about the critical level only, if no more failures than that are left."""
    rule = Rule(
        keyspaces=("*",), critical=Threshold(Level.QUORUM), warning=Threshold(Level.ALL), warning_failures_left=1
    )
    one = snapshot(THREE, [ring("orders", ALL_OF_3, FULL, 3)])
    assert findings(assess(one, Policy((rule,)))) == {}
    found = findings(assess(one, Policy((replace(rule, warning_failures_left=2),))))
    assert found == {"failures_left": ["WARNING 2 more node failures to an outage of orders at QUORUM"]}
    down = snapshot(THREE, one.rings, down=[1])
    assert findings(assess(down, Policy((rule,))))["failures_left"] == [
        "WARNING 1 more node failure to an outage of orders at QUORUM"
    ]
    lost = findings(assess(snapshot(THREE, one.rings, down=[1, 2]), Policy((rule,))))
    assert "failures_left" not in lost
    assert "CRITICAL 4 of 4 ranges (100.0 % of the tokens) of orders unavailable at QUORUM" in lost["unavailable"]


def test_no_failures_left_where_some_loss_is_allowed() -> None:
    """If ranges may be lost, the number of failures left is zero."""
    rule = Rule(
        keyspaces=("*",), critical=Threshold(Level.ONE, NagiosRange(0, 2)), warning=None, warning_failures_left=1
    )
    verdict = assess(snapshot(THREE, healthy(1).rings, down=[2]), Policy((rule,)))
    assert findings(verdict)["failures_left"] == ["WARNING 0 more node failures to an outage of orders at ONE"]


def test_an_allowed_loss_is_reported() -> None:
    """OK, but never "available"."""
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE, NagiosRange(0, 2))),))
    verdict = assess(snapshot(THREE, healthy(1, "a b").rings, down=[2]), policy)
    text = "1 of 3 ranges (25.0 % of the tokens) of {} unavailable at ONE, as its thresholds allow"
    assert verdict.severity is Severity.OK
    assert findings(verdict)["unavailable"] == [f"OK {text.format(name)}" for name in "ab"]
    assert verdict.summary == f"{text.format('a')} (1 node down: 10.0.0.2); and 1 more finding"


def test_structural_unavailability_is_no_outage() -> None:
    """RF above the number of nodes is a configuration mistake: it is a warning, even with all nodes up."""
    rings = [ring("orders", "SimpleStrategy {replication_factor=7}", FULL, 3)]
    verdict = assess(snapshot(THREE, rings), QUORUM_ONLY)
    text = "WARNING 4 of 4 ranges of orders can never be served at QUORUM: the level needs more replicas than they have"
    assert findings(verdict) == {"structurally_unavailable": [text]}
    (level,) = verdict.keyspaces[0].levels
    assert level.health is not None
    assert (level.health.unavailable, level.health.outage, level.health.node_failures_to_outage) == (4, 0, None)


def test_a_share_lost_in_one_view_alerts_though_another_lost_more_ranges() -> None:
    """The view that raises the alarm is named; the counts include every range that any coordinator has lost."""
    tokens = (-2 * STEP, -2 * STEP + 1, -2 * STEP + 2, 0)
    rows = [
        (tokens[place - 1], end, [node]) for place, (end, node) in enumerate(zip(tokens, (0, 1, 1, 2), strict=True))
    ]
    wide = Ring.build(["o"], Replication.parse("SimpleStrategy {replication_factor=1}"), rows, 3)
    one = snapshot(THREE, [wide])
    one = with_view(one, 1, live=addresses([1, 3]), unreachable=addresses([2]))
    one = with_view(one, 2, live=addresses([1, 2]), unreachable=addresses([3]))
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE, None, NagiosRange(0, 10))),))
    verdict = assess(one, policy)
    (level,) = verdict.keyspaces[0].levels
    assert (verdict.severity, level.worst_view) == (Severity.CRITICAL, address(2))
    assert level.health is not None
    assert (level.health.outage, round(level.health.outage_share, 3)) == (3, 0.5)


FIVE = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r4", "dc1:r5", "dc1:r6")


@pytest.mark.parametrize(
    ("down", "worst", "numbers"),
    [
        ({1: [], 2: [6]}, 2, (0, 0, 2)),  # none at minimum, but one failure fewer is left
        ({1: [4, 6], 2: [4, 5]}, 2, (0, 3, 1)),  # more at minimum
        ({1: [4, 5], 2: [3, 4, 5]}, 2, (3, 1, 0)),  # fewer at minimum, but the others are lost
        ({1: [3, 4, 5], 2: [4, 5]}, 1, (3, 1, 0)),
    ],
)
def test_the_worse_of_two_views(down: dict[int, list[int]], worst: int, numbers: tuple[int, int, int]) -> None:
    """Views are compared by lost ranges, then by ranges at minimum, then by failures left."""
    rows = [(1, 2, 3, 4, 5), (1, 2, 3, 4, 6), (1, 2, 3, 4, 5), (1, 2, 3, 4, 5)]
    one = snapshot(FIVE, [ring("o", "SimpleStrategy {replication_factor=5}", rows, 6)])
    one = replace(one, views=one.views[:2])
    for observer, gone in down.items():
        up = addresses(set(range(1, 7)) - set(gone))
        one = with_view(one, observer, live=up, unreachable=addresses(gone))
    (level,) = assess(one, QUORUM_ONLY).keyspaces[0].levels
    assert level.health is not None
    found = level.health
    assert (found.outage, found.at_minimum, found.node_failures_to_outage) == numbers
    assert level.worst_view == address(worst)


def test_what_is_lost_counts_before_what_can_never_be_served() -> None:
    """Ranges that are structurally unavailable for an old release do not hide an outage that another view has."""
    rings = [ring("o", "NetworkTopologyStrategy {dc1=3, dc2=0}", [(1, 2, 3), (2, 3, 4), (1, 3, 4), (1, 2, 4)], 4)]
    one = snapshot(nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r4"), rings)
    one = with_view(one, 3, live=addresses([3, 4]), unreachable=addresses([1, 2]))
    one = with_node(one, 1, release_version="3.11.19")
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE)),))
    level = assess(one, policy, Question(levels=(Level.EACH_QUORUM,))).keyspaces[0].levels[1]
    assert level.health is not None
    assert (level.worst_view, level.health.outage, level.health.structurally_unavailable) == (address(3), 2, 2)


def test_local_levels_are_judged_by_coordinators_of_their_datacenter() -> None:
    """Views of dc2 don't matter for the clients of dc1, nor those of dc1 for the clients of dc2."""
    rings = [ring("o", "NetworkTopologyStrategy {dc1=1, dc2=1}", [(1, 3), (2, 4)] * 2, 4)]
    one = with_view(snapshot(TWO_DCS, rings), 3, live=addresses([2, 3, 4]), unreachable=addresses([1]))
    verdict = assess(
        one, Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.ALL)),))
    )
    assert findings(verdict)["unavailable"] == ["WARNING 2 of 4 ranges (50.0 % of the tokens) of o unavailable at ALL"]
    one = with_view(one, 1, live=addresses([1, 3, 4]), unreachable=addresses([2]))
    verdict = assess(one, Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE)),)))
    text = "CRITICAL 2 of 4 ranges (50.0 % of the tokens) of o unavailable at LOCAL_ONE in dc1"
    assert findings(verdict)["unavailable"] == [text]


def test_recovery_looks_at_the_clients_of_every_datacenter() -> None:
    """The node that restores most may be in the datacenter that is judged last."""
    rings = [ring("o", "NetworkTopologyStrategy {dc1=1, dc2=1}", [(1, 3), (2, 3), (2, 3), (2, 4)], 4)]
    verdict = assess(
        snapshot(TWO_DCS, rings, down=[1, 3]), Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE)),))
    )
    assert [(one.node, one.restores_share) for one in verdict.recover_first] == [(2, 0.75), (0, 0.25)]


def test_recovery_ends_the_page_before_the_ticket() -> None:
    """A node that restores more at the warning level does not come before one that restores the critical level."""
    small = ring("small", "NetworkTopologyStrategy {dc1=1, dc2=1}", [(1, 4), (2, 4), (2, 4), (2, 4)], 4)
    rules = (
        Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE, clients=("dc1",)), warning=Threshold(Level.ALL)),
    )
    verdict = assess(snapshot(TWO_DCS, [small], down=[1, 4]), Policy(rules))
    assert [(one.node, one.restores_share) for one in verdict.recover_first] == [(0, 0.25)]
    tickets = assess(snapshot(TWO_DCS, [small], down=[4]), Policy(rules))
    assert [(one.node, one.restores_share) for one in tickets.recover_first] == [(3, 1.0)]


def test_recovery_follows_the_loudest_rule_of_a_ring() -> None:
    """Keyspaces of one ring may have different rules; the order of their names makes no difference."""
    both = ring("a b", "NetworkTopologyStrategy {dc1=1, dc2=1}", [(2, 4)] * 4, 4)
    other = ring("c", "NetworkTopologyStrategy {dc1=1, dc2=1}", [(1, 3), (2, 4)], 4)
    for first, second in (("a", "b"), ("b", "a")):
        ticket = Rule(keyspaces=(first,), warning=Threshold(Level.LOCAL_ONE))
        page = Rule(keyspaces=(second, "c"), critical=Threshold(Level.LOCAL_ONE))
        verdict = assess(snapshot(TWO_DCS, [both, other], down=[1, 2]), Policy((ticket, page)))
        assert [one.node for one in verdict.recover_first] == [1, 0]


@pytest.mark.parametrize("down", [range(24, 31), range(20, 31), range(2, 31)])
def test_the_first_to_bring_back_among_many(down: range) -> None:
    """Even with many nodes down, the node that restores most comes first."""
    many = nodes(*["dc1"] * 30)
    rings = [ring("o", "SimpleStrategy {replication_factor=1}", [(30,), (29,), (30,), (30,)], 30)]
    verdict = assess(snapshot(many, rings, down=down), Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE)),)))
    assert [(one.node, one.restores_share) for one in verdict.recover_first[:3]] == [
        (29, 0.75),
        (28, 0.25),
    ]
    assert len(verdict.recover_first) == 2


def test_recovery_looks_at_watched_levels() -> None:
    """A level that is only shown does not affect which node to bring back first."""
    question = Question(levels=(Level.ALL,))
    verdict = assess(snapshot(THREE, healthy().rings, down=[2]), QUORUM_ONLY, question)
    assert verdict.recover_first == ()


def test_client_datacenters_choose_what_is_judged_and_by_whom() -> None:
    """Only coordinators with clients count, even for levels that are not LOCAL."""
    rings = [ring("o", "NetworkTopologyStrategy {dc1=1, dc2=1}", [(1, 3), (2, 4)] * 2, 4)]
    one = with_view(snapshot(TWO_DCS, rings), 3, live=addresses([2, 3, 4]), unreachable=addresses([1]))
    rule = Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.ALL))
    verdict = assess(one, Policy((rule,), ("dc1",)))
    assert [(level.level, level.datacenter) for level in verdict.keyspaces[0].levels] == [
        (Level.LOCAL_ONE, "dc1"),
        (Level.ALL, None),
    ]
    assert "unavailable" not in findings(verdict)
    assert "unavailable" in findings(assess(one, Policy((rule,), ("dc2",))))


@pytest.mark.parametrize(
    ("replication", "rows", "datacenters"),
    [
        ("NetworkTopologyStrategy {dc1=2}", [(1, 2)] * 4, ["dc1"]),
        ("NetworkTopologyStrategy {dc2=2}", [(3, 4)] * 4, ["dc2"]),
        ("NetworkTopologyStrategy {dc1=1, dc2=1}", [(1, 3)] * 4, ["dc1", "dc2"]),
        ("SimpleStrategy {replication_factor=1}", [(1,)] * 4, ["dc1", "dc2"]),
        (None, [(1,), (2,), (3,), (4,)], ["dc1", "dc2"]),
    ],
)
def test_datacenters_that_are_judged_by_default(
    replication: str | None, rows: list[tuple[int, ...]], datacenters: list[str]
) -> None:
    """Datacenters that hold replicas are judged; for strategies that ignore datacenters, all of them."""
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE)),))
    verdict = assess(snapshot(TWO_DCS, [ring("o", replication, rows, 4)]), policy)
    assert [level.datacenter for level in verdict.keyspaces[0].levels] == datacenters


def test_one_view_alone() -> None:
    """`--view` uses the view of one observer only, for the clients of its datacenter."""
    rings = [ring("o", "NetworkTopologyStrategy {dc1=1, dc2=1}", [(1, 3), (2, 4)] * 2, 4)]
    one = with_view(snapshot(TWO_DCS, rings), 3, live=addresses([2, 3, 4]), unreachable=addresses([1]))
    rule = Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.ALL))
    there = assess(one, Policy((rule,), ("dc1",)), Question(view=address(3)))
    assert [(level.datacenter, level.severity) for level in there.keyspaces[0].levels] == [
        ("dc2", Severity.OK),
        (None, Severity.WARNING),
    ]
    here = assess(one, Policy((rule,)), Question(view=address(1)))
    assert (here.severity, here.down()) == (Severity.OK, [])


LOCAL = Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.LOCAL_QUORUM))
HERE = "NetworkTopologyStrategy {dc1=2}"
BOTH = "NetworkTopologyStrategy {dc1=1, dc2=1}"


def seen_from_dc2(*, policy: Policy | None = None, levels: tuple[Level, ...] = (), both: bool = True) -> Verdict:
    """With the nodes of dc1 down, by the view of a node in dc2, where `here` has no replicas."""
    rings = [ring("here", HERE, [(1, 2)] * 4, 4), *([ring("both", BOTH, [(1, 3), (2, 4)] * 2, 4)] if both else ())]
    one = snapshot(TWO_DCS, rings)
    for observer in (3, 4):
        one = with_view(one, observer, live=addresses([3, 4]), unreachable=addresses([1, 2]))
    return assess(one, policy or Policy((LOCAL,)), Question(view=address(3), levels=levels))


def test_one_view_is_not_that_of_clients_that_a_keyspace_does_not_have() -> None:
    """By default the clients of a keyspace are where it has replicas; the summary says who is left out."""
    verdict = seen_from_dc2()
    assert "structurally_unavailable" not in findings(verdict)
    assert [(keyspace.name, len(keyspace.levels)) for keyspace in verdict.keyspaces] == [("both", 2), ("here", 0)]
    assert verdict.severity is Severity.OK
    assert verdict.summary.startswith(
        "as 10.0.0.3 sees it, for clients of dc2 (not of here: no replicas there): "
        "1 keyspace available at LOCAL_ONE, LOCAL_QUORUM, "
    )
    assert "for clients of dc2 (" not in assess(verdict.snapshot, Policy((LOCAL,))).summary


def test_one_view_of_no_clients_is_unknown() -> None:
    """If no keyspace has clients in its datacenter, the view shows nothing: that is no OK."""
    verdict = seen_from_dc2(both=False)
    assert (verdict.severity, next(iter(findings(verdict)))) == (Severity.UNKNOWN, "no_keyspaces")


def test_one_view_is_that_of_the_clients_that_the_owners_name() -> None:
    """Clients in a datacenter without replicas are a mistake if the owners say that there are some."""
    verdict = seen_from_dc2(policy=Policy((LOCAL,), ("dc1", "dc2")))
    assert [finding.split(":")[0] for finding in findings(verdict)["structurally_unavailable"]]
    assert "(not of" not in verdict.summary


def test_one_view_is_also_that_of_its_coordinator_that_reads_roles() -> None:
    """Clients of other keyspaces log in to the coordinator, which can't read system_auth without replicas here."""
    rings = [ring("both", BOTH, [(1, 3), (2, 4)] * 2, 4), ring("system_auth", HERE, [(1, 2)] * 4, 4)]
    verdict = assess(snapshot(TWO_DCS, rings), Policy((LOCAL,), authenticates=True), Question(view=address(3)))
    assert {"logins_without_replicas", "structurally_unavailable"} <= findings(verdict).keys()
    assert "(not of" not in verdict.summary


def test_one_view_shows_levels_that_are_asked_for() -> None:
    """A level that is named is evaluated, also where a keyspace has no clients; it is not an alarm there."""
    verdict = seen_from_dc2(levels=(Level.LOCAL_QUORUM,))
    [here] = [keyspace for keyspace in verdict.keyspaces if keyspace.name == "here"]
    assert [(level.level, level.datacenter, level.severity) for level in here.levels] == [
        (Level.LOCAL_QUORUM, "dc2", None)
    ]
    assert here.levels[0].health
    assert here.levels[0].health.unavailable == 4
    assert verdict.severity is Severity.OK
    assert ": 1 keyspace available at LOCAL_ONE, LOCAL_QUORUM, " in verdict.summary


def test_a_discarded_view_does_not_count_alone_either() -> None:
    """`--view` of a drained node is UNKNOWN."""
    verdict = assess(with_node(healthy(), 2, mode="DRAINED"), Policy(), Question(view=address(2)))
    assert findings(verdict) == {"no_usable_view": ["UNKNOWN no usable view: 10.0.0.2 (drained)"]}


def test_releases_are_judged_as_their_coordinators_are() -> None:
    """A datacenter with factor 0 counts up to 3.11 and is ignored from 4.0 on, so in a mixed cluster 3.11 is worse."""
    rings = [ring("o", "NetworkTopologyStrategy {dc1=3, dc2=0}", FULL, 3)]
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.EACH_QUORUM)),))
    assert assess(snapshot(THREE, rings), policy).severity is Severity.OK
    mixed = assess(with_node(snapshot(THREE, rings), 2, release_version="3.11.19"), policy)
    assert mixed.severity is Severity.WARNING
    assert mixed.keyspaces[0].levels[0].worst_view == address(2)


def test_listed_ranges() -> None:
    """They are listed by operation, and only on request."""
    one = snapshot(THREE, healthy(1).rings, down=[2])
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE)),))
    (level,) = assess(one, policy, Question(ranges=True)).keyspaces[0].levels
    assert level.unavailable_ranges == {"read": [TOKENS[:2]], "write": [TOKENS[:2]]}
    (level,) = assess(one, policy).keyspaces[0].levels
    assert level.unavailable_ranges is None


# ---- bounds and words ----


def test_a_lost_rack_does_not_take_a_line_for_each_node() -> None:
    """The findings of one code and severity are bounded; the others are only counted."""
    many = nodes(*["dc1"] * 120)
    rings = [ring("o", "SimpleStrategy {replication_factor=1}", [(1,)] * 4, 120)]
    verdict = assess(snapshot(many, rings, down=range(2, 102)), Policy())
    down = findings(verdict)["node_down"]
    assert (len(down), down[-1]) == (21, "OK and 80 more findings of this kind")
    assert verdict.severity is Severity.OK
    assert "100 nodes down: 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6 and 95 more;" in verdict.summary


def test_findings_come_worst_first() -> None:
    """CRITICAL, UNKNOWN, WARNING, then notes."""
    one = with_view(snapshot(THREE, healthy(1).rings, down=[2]), 1, schema_version="t", joining=addresses([3]))
    one = replace(one, problems=(Problem("ring_unreadable", "p", "p can't be read"),))
    found = [finding.severity for finding in assess(one, Policy()).findings]
    assert found == sorted(found, reverse=True)
    assert set(found) == set(Severity)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0 %"), (1e-9, "< 0.1 %"), (0.00099, "< 0.1 %"), (0.001, "0.1 %"), (0.279, "27.9 %"), (0.9999, "99.9 %"),
        (1, "100.0 %"),
    ],
)  # fmt: skip
def test_percent(share: float, text: str) -> None:
    """A share is never rounded to 0 or to 100."""
    assert percent(share) == text


def test_words() -> None:
    """Numbers and lists as text."""
    assert [counted(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"


@pytest.mark.slow
def test_what_a_ring_keeps_is_bounded() -> None:
    """Only the states of the last polls are kept."""
    many = nodes(*["dc1"] * 100)
    rings = [
        ring(
            "o", "SimpleStrategy {replication_factor=25}", [range(first, first + 25) for first in (1, 26, 51, 76)], 100
        )
    ]
    for down in range(2, 100):
        assess(snapshot(many, rings, down=[down]), QUORUM_ONLY)
    assert len(rings[0].memo) < 80
