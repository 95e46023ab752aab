"""Reading a ring from one node: keyspaces, ranges that can't be used, logins, and changes between two requests."""

from __future__ import annotations

from typing import Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.policy import Policy
from ringcheck.errors import DataError
from ringcheck.jolokia.settings import ConfiguredCluster, JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import denied, failed, missing_attribute, missing_mbean
from tests.jolokia.scripted import (
    CREDENTIALS,
    ONE,
    THREE,
    TWO,
    TWO_RINGS,
    Lab,
    Running,
    asked_of,
    error_of,
    later,
    refuse_if,
)

# Rings that can't be used.


def unknown_keyspace(item: dict[str, Any]) -> Any:
    """An Error as Jolokia replies it: without the request, and in place of a whole bulk."""
    reply = failed(item, 500, "javax.management.RuntimeErrorException", "java.lang.AssertionError: Unknown keyspace")
    return {name: value for name, value in reply.items() if name != "request"}


def problems_of(lab: Lab) -> list[tuple[str, str, str]]:
    """The problems of a poll, in which the ring of keyspace `other` must be read."""
    with lab.running() as running:
        snapshot = running.poll()
        assert [ring.keyspaces for ring in snapshot.rings] == [("other",)]
        return [(problem.code, problem.subject, problem.summary) for problem in snapshot.problems]


@pytest.mark.parametrize("name", ["org.apache.cassandra.dht.ByteOrderedPartitioner", "OrderPreservingPartitioner"])
def test_an_order_preserving_partitioner_is_refused(name: str) -> None:
    """Its tokens are keys with any text, which can't be compared as numbers."""
    lab = Lab()
    lab.set_all("PartitionerName", name)
    with lab.running() as running:
        text = error_of(running, DataError)
        simple = name.rpartition(".")[2]
        assert text.startswith(f"partitioner {simple} is not supported (only Murmur3Partitioner, RandomPartitioner)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (
            unknown_keyspace,
            "the range map: javax.management.RuntimeErrorException : java.lang.AssertionError: Unknown keyspace",
        ),
        ({}, "the ring has no ranges"),
        ({"[1, 9]": [ONE], "[20, 1]": [ONE]}, "the ring is not whole: "),
        ({"[1, 9]": [ONE], "[5, 12]": [ONE], "[12, 1]": [ONE]}, "the ring is not whole: "),
        ({"[1, 9]": [ONE], "[9, 1]": [ONE]}, "it has 2 ranges, but its nodes own 6 tokens"),
        ({"[1, 9]": ["10.9.9.9:7000"], "[9, 1]": [ONE]}, "10.9.9.9:7000 holds ranges but is not a member"),
        ({"[1, 9]": [ONE, ONE], "[9, 1]": [ONE]}, "a range names the same node twice"),
        ({"[apple, pear]": [ONE]}, "[apple, pear] is not a token range"),
        ({"[1, 9]": "[Object limit exceeded]"}, "the agent's maxObjects cut it off"),
        ("[Object limit exceeded]", "the agent's maxObjects cut it off"),
        (denied, "the range map: the agent refuses: Operation getRangeToEndpointWithPortMap forbidden for MBean"),
        (
            {"[1, 9]": [ONE], f"[9, {2**63}]": [ONE], f"[{2**63}, 1]": [ONE]},
            "it has tokens outside the range of Murmur3Partitioner",
        ),
        (
            {f"[{-(2**63) - 1}, 9]": [ONE], "[9, 12]": [ONE], f"[12, {-(2**63) - 1}]": [ONE]},
            "it has tokens outside the range of Murmur3Partitioner",
        ),
        ({f"[1, {'9' * 5000}]": [ONE]}, " is not a token range"),
        ({"[1, \u0669]": [ONE], "[\u0669, 1]": [ONE]}, " is not a token range"),
        (
            {f"[{2**70}, {2**71}]": [ONE], f"[{2**71}, {2**70}]": [ONE]},
            "it has tokens outside the range of Murmur3Partitioner",
        ),
    ],
)
def test_a_ring_that_can_not_be_read_is_a_problem_of_its_keyspaces(ranges: Any, message: str) -> None:
    """A missing, truncated or torn map is a problem of each of its keyspaces; other keyspaces are still read."""
    lab = Lab(keyspaces={
        "orders": "SimpleStrategy {replication_factor=1}",
        "bills": "SimpleStrategy {replication_factor=1}",
        "other": "NetworkTopologyStrategy {dc1=3}",
    })  # fmt: skip
    for node in lab.nodes.values():
        for keyspace in ("orders", "bills"):
            node.operations["getRangeToEndpointWithPortMap", keyspace] = ranges
    problems = problems_of(lab)
    assert [(code, subject) for code, subject, _ in problems] == [
        ("ring_unreadable", "bills"),
        ("ring_unreadable", "orders"),
    ]
    for _, subject, summary in problems:
        assert summary.startswith(f"{subject}: the ring can't be read: ")
        assert message in summary
        assert "\n" not in summary


def test_pending_tokens_outside_the_partitioner_are_a_problem() -> None:
    """The ring itself is still read."""
    lab = Lab(keyspaces={"a": "SimpleStrategy {replication_factor=3}"})
    for node in lab.nodes.values():
        node.operations["getPendingRangeToEndpointWithPortMap", "a"] = {f"[1, {2**63}]": [f"{TWO}:7000"]}
    with lab.running() as running:
        snapshot = running.poll()
        assert [ring.pending for ring in snapshot.rings] == [()]
        assert [problem.summary for problem in snapshot.problems] == [
            "a: the ring can't be read: pending ranges have tokens outside the range of Murmur3Partitioner"
        ]


def test_the_ring_of_a_group_survives_a_dropped_keyspace() -> None:
    """If its first keyspace has been dropped meanwhile, the ring is read from the next keyspace of the group."""
    lab = Lab(keyspaces=dict.fromkeys(("a", "b"), "SimpleStrategy {replication_factor=3}"))
    lab.nodes[ONE].operations["getRangeToEndpointWithPortMap", "a"] = unknown_keyspace
    with lab.running() as running:
        snapshot = running.poll()
        assert [ring.keyspaces for ring in snapshot.rings] == [("a", "b")]


def test_a_replication_that_is_not_understood_is_a_problem() -> None:
    """A text of another form is not guessed: the keyspace has a ring without replication, and a problem."""
    lab = Lab(keyspaces={"orders": "SomethingElse"})
    with lab.running() as running:
        snapshot = running.poll()
        assert [(ring.keyspaces, ring.replication) for ring in snapshot.rings] == [(("orders",), None)]
        assert [problem.summary for problem in snapshot.problems] == [
            "orders: the ring can't be judged: replication 'SomethingElse' is not understood"
        ]


def test_a_bulk_that_an_error_turned_into_one_object_is_repeated_singly() -> None:
    """One Error in a bulk hides the answers to all its requests; sent one by one, the others are answered."""
    lab = Lab(keyspaces={"a": "SimpleStrategy {replication_factor=3}", "b": "SimpleStrategy {replication_factor=2}"})
    for node in lab.nodes.values():
        node.operations["getKeyspaceReplicationInfo", "a"] = unknown_keyspace
    with lab.running() as running:
        snapshot = running.poll()
        assert [str(ring.replication) for ring in snapshot.rings] == ["SimpleStrategy {replication_factor=2}", "None"]


def test_a_bulk_that_is_refused_as_a_whole_is_repeated_singly() -> None:
    """Newer agents answer HTTP 400 to a bulk with one bad item."""
    lab = Lab()
    with lab.running() as running:
        refuse_if(running.cluster.agents[ONE], lambda body: body.startswith(b"["), 400, b"400 (Bad Request)")
        snapshot = running.poll()
        assert (len(snapshot.rings), snapshot.problems) == (1, ())


def test_no_keyspaces_is_a_snapshot_without_rings() -> None:
    """Zero keyspaces make zero rings, which the core judges as a gap and never as health."""
    lab = Lab()
    lab.set_all("NonLocalStrategyKeyspaces", [])
    with lab.running() as running:
        snapshot = running.poll()
        assert (snapshot.rings, [view.outcome for view in snapshot.views]) == ((), ["ok"] * 3)


def test_if_no_node_lists_the_keyspaces_the_poll_fails() -> None:
    """Without a list of keyspaces there is no ring: it is an error, once other nodes were tried."""
    lab = Lab()
    lab.set_all("NonLocalStrategyKeyspaces", "[Object limit exceeded]")
    with lab.running() as running:
        text = error_of(running, DataError)
        assert text == (
            "NonLocalStrategyKeyspaces is not a list: [Object limit exceeded] (the agent's maxObjects cut it off)"
        )
        assert all("NonLocalStrategyKeyspaces" in asked_of(running, address) for address in (ONE, TWO, THREE))


def test_if_one_node_does_not_list_the_keyspaces_another_is_asked() -> None:
    """A contact point with unusable answers does not fail the poll."""
    lab = Lab()
    lab.nodes[ONE].attributes["NonLocalStrategyKeyspaces"] = 7
    with lab.running() as running:
        assert len(running.poll().rings) == 1


# Answers from before and after a change.

RANGE_MAP, TOKEN_MAP = "getRangeToEndpointWithPortMap", "TokenToEndpointWithPortMap"


def reads_of(running: Running, name: str) -> list[str]:
    """The keyspaces (empty if there are none) in all requests for an attribute or operation."""
    items = [item for item in running.cluster.items() if name in (item.get("operation"), item.get("attribute"))]
    return [(item.get("arguments") or [""])[0] for item in items]


def without_last(lab: Lab, found: dict[str, Any]) -> dict[str, Any]:
    """A range map as it was before the node with the highest token had joined."""
    tokens = sorted(lab.tokens)[:-1]
    return {
        f"[{tokens[place - 1]}, {end}]": found[key]
        for place, end in enumerate(tokens)
        for key in found
        if key.endswith(f" {end}]")
    }


def alter_before_ranges(lab: Lab) -> None:
    operations = lab.nodes[ONE].operations
    operations["getKeyspaceReplicationInfo", "orders"] = later("NetworkTopologyStrategy {dc1=1}", TWO_RINGS["orders"])


def ranges_before_alter(lab: Lab) -> None:
    operations = lab.nodes[ONE].operations
    operations[RANGE_MAP, "orders"] = later(lab.ranges(2, with_port=True), lab.ranges(3, with_port=True))


def join_after_tokens(lab: Lab) -> None:
    tokens = {str(token): lab.endpoint(owner) for token, owner in lab.tokens.items()}
    lab.nodes[ONE].attributes[TOKEN_MAP] = later(dict(list(tokens.items())[:-1]), tokens)


def join_amid_rings(lab: Lab) -> None:
    join_after_tokens(lab)
    ranges = lab.ranges(2, with_port=True)
    lab.nodes[ONE].operations[RANGE_MAP, "bills"] = later(without_last(lab, ranges), ranges)


@pytest.mark.parametrize(
    ("change", "tokens", "ranges"),
    [
        (lambda _: None, 1, ["bills", "orders"]),
        (alter_before_ranges, 2, ["bills", "orders", "orders"]),
        (ranges_before_alter, 2, ["bills", "orders", "orders"]),
        (join_after_tokens, 2, ["bills", "orders"]),  # the rings match the tokens that are read the second time
        (join_amid_rings, 2, ["bills", "bills", "orders"]),
    ],
)
def test_answers_from_before_and_after_a_change_are_read_again(change: Any, tokens: int, ranges: list[str]) -> None:
    """Tokens, replication and ranges that do not match are read again; rings that match are kept."""
    lab = Lab(keyspaces=TWO_RINGS)
    change(lab)
    with lab.running() as running:
        seen = running.poll()
        assert seen.problems == ()
        assert {ring.keyspaces: str(ring.replication) for ring in seen.rings} == {
            (name,): replication for name, replication in TWO_RINGS.items()
        }
        assert {ring.keyspaces[0]: (len(ring), ring.width) for ring in seen.rings} == {
            "orders": (6, 3), "bills": (6, 2),
        }  # fmt: skip
        assert [node.tokens for node in seen.nodes] == [2, 2, 2]
        assert len(reads_of(running, TOKEN_MAP)) == tokens
        assert sorted(reads_of(running, RANGE_MAP)) == ranges
        assert not any(finding.code == "ring_contradicts_replication" for finding in assess(seen, Policy()).findings)
        posts = running.cluster.posts
        running.poll()
        assert running.cluster.posts - posts == 3


def test_a_contradiction_that_stays_is_read_twice_and_reported() -> None:
    """The core judges replicas that do not match the replication. A steady poll reads no ring."""
    lab = Lab(keyspaces=TWO_RINGS)
    for node in lab.nodes.values():
        node.operations["getKeyspaceReplicationInfo", "orders"] = "NetworkTopologyStrategy {dc1=1}"
    with lab.running() as running:
        seen = running.poll()
        read = reads_of(running, RANGE_MAP)
        running.poll()
        assert reads_of(running, RANGE_MAP) == read
        assert read.count("orders") == 2 * read.count("bills") == 2 * len(lab.nodes)  # two readings of each node
    [contradiction] = [
        finding for finding in assess(seen, Policy()).findings if finding.code == "ring_contradicts_replication"
    ]
    assert contradiction.subject == "orders"


def test_a_ring_that_never_matches_the_tokens_is_one_problem() -> None:
    """A ring that has too few ranges in the second reading too is not used, and its keyspaces are named."""
    lab = Lab(keyspaces=TWO_RINGS)
    short = without_last(lab, lab.ranges(3, with_port=True))
    for node in lab.nodes.values():
        node.operations[RANGE_MAP, "orders"] = short
    with lab.running() as running:
        seen = running.poll()
        assert [ring.keyspaces for ring in seen.rings] == [("bills",)]
        assert [(problem.code, problem.summary) for problem in seen.problems] == [
            ("ring_unreadable", "orders: the ring can't be read: it has 5 ranges, but its nodes own 6 tokens")
        ]


def test_a_ring_that_contradicts_itself_is_read_from_another_node() -> None:
    """The next node's ring matches and is used; the first node's error is not a finding about the keyspace."""
    lab = Lab(keyspaces=TWO_RINGS)
    lab.nodes[ONE].operations[RANGE_MAP, "orders"] = without_last(lab, lab.ranges(3, with_port=True))
    with lab.running() as running:
        seen = running.poll()
        assert sorted(name for ring in seen.rings for name in ring.keyspaces) == ["bills", "orders"]
        assert {problem.code for problem in seen.problems} == set()


# Logins.

IDENTITIES = "org.apache.cassandra.auth:type=IdentitiesCache"
PROPERTIES = "org.apache.cassandra.auth:type=AuthProperties"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release", "answer", "authenticates"),
    [
        ("5.0.8", 2000, True),
        ("5.0.8", missing_mbean, False),
        ("5.0.8", denied, True),
        ("3.11.19", missing_mbean, False),
        ("2.2.19", missing_mbean, True),
        ("5.0.8", missing_attribute, True),
    ],
)
def test_the_credentials_cache_shows_whether_clients_log_in(release: str, answer: Any, authenticates: bool) -> None:  # noqa: FBT001 - an expectation
    """The MBean exists exactly if passwords are used. If this can't be read, logins are assumed."""
    lab = Lab(release=release)
    for node in lab.nodes.values():
        node.other[CREDENTIALS, "Validity"] = answer
    with lab.running() as running:
        assert running.poll().authenticates is authenticates
        overridden = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template),
            ConfiguredCluster(authenticates=not authenticates),
        )
        assert overridden.poll(2.0).authenticates is not authenticates
        overridden.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release", "bean", "answer", "found"),
    [
        ("5.0.8", PROPERTIES, "LOCAL_QUORUM", (True, "LOCAL_QUORUM")),
        ("4.1.9", PROPERTIES, "EACH_QUORUM", (True, "EACH_QUORUM")),
        ("4.1.9", PROPERTIES, "NODE_LOCAL", (True, "NODE_LOCAL")),
        ("4.1.9", PROPERTIES, "x\n\x1b" + "y" * 999, (True, "x ?" + "y" * 197)),
        ("4.1.9", PROPERTIES, 7, (True, None)),
        ("4.1.9", PROPERTIES, denied, (True, None)),
        ("4.1.9", PROPERTIES, missing_attribute, (True, None)),
        ("4.1.9", PROPERTIES, missing_mbean, (False, None)),
        ("4.0.17", PROPERTIES, "LOCAL_QUORUM", (False, None)),
        ("5.0.8", IDENTITIES, 2000, (True, None)),
        ("4.1.9", IDENTITIES, 2000, (False, None)),
    ],
)
def test_the_mbeans_of_other_authenticators_show_logins_too(
    release: str, bean: str, answer: Any, found: tuple[bool, str | None]
) -> None:
    """AuthProperties, which also has the read level, exists once a role was read; IdentitiesCache with mutual TLS."""
    lab = Lab(release=release)
    for node in lab.nodes.values():
        node.other[bean, "ReadConsistencyLevel" if bean == PROPERTIES else "Validity"] = answer
    with lab.running() as running:
        seen = running.poll()
        assert (seen.authenticates, seen.auth_read_level) == found
        assert running.poll().auth_read_level == found[1]


@pytest.mark.parametrize("newer", [2, 3])
def test_the_level_of_logins_is_read_from_a_node_that_has_it(newer: int) -> None:
    """During an upgrade to 4.1 the ring may be read from an older node, and a new one may lack the MBean at first."""
    lab = Lab(release="3.11.19")
    for node in lab.nodes.values():
        node.other[CREDENTIALS, "Validity"] = 2000
    for number, address in enumerate(lab.addresses, 1):
        if number >= newer:
            lab.nodes[address].attributes["ReleaseVersion"] = "4.1.9"
    lab.nodes[lab.addresses[-1]].other[PROPERTIES, "ReadConsistencyLevel"] = "QUORUM"
    with lab.running() as running:
        assert running.poll().auth_read_level == "QUORUM"
