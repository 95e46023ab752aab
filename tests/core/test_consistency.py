"""What each level requires, as literal tables: level by replication by release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ringcheck.core.consistency import (
    OPERATIONS,
    Behaviour,
    Demand,
    Level,
    Margin,
    Operation,
    Replicas,
    Requirement,
    Rules,
    UnknownReplicationError,
    behaviours,
    expected,
    resolved,
    supports,
)
from ringcheck.core.ring import Replication

if TYPE_CHECKING:
    from collections.abc import Mapping

OWNERS = {"dc1": 3, "dc2": 2}
OLD, NEW = Behaviour((3, 11), "v1"), Behaviour((4, 0), "v1")
V2 = Behaviour((4, 1), "v2")

# Replicas in all datacenters, or `dc:replicas`; "-" if nothing is needed. Clients are in dc1.
NETWORK = "NetworkTopologyStrategy {dc1=3, dc2=2}"
ONE_DC = "NetworkTopologyStrategy {dc2=5}"  # no replicas where the clients are
ZERO = "NetworkTopologyStrategy {dc1=3, dc2=0}"
SIMPLE = "SimpleStrategy {replication_factor=4}"
OLD_NETWORK = "OldNetworkTopologyStrategy {replication_factor=3}"
EVERYWHERE = "EverywhereStrategy {}"
NOTHING = "NetworkTopologyStrategy {}"

TABLE: list[tuple[str, Behaviour, dict[str, str]]] = [
    (NETWORK, NEW, {
        "ANY": "-", "ONE": "1", "TWO": "2", "THREE": "3", "QUORUM": "3", "ALL": "5", "LOCAL_ONE": "dc1:1",
        "LOCAL_QUORUM": "dc1:2", "LOCAL_ALL": "dc1:all", "EACH_QUORUM": "dc1:2 dc2:2", "SERIAL": "3",
        "LOCAL_SERIAL": "dc1:2",
    }),
    (ONE_DC, NEW, {
        "ANY": "-", "ONE": "1", "QUORUM": "3", "ALL": "5", "LOCAL_ONE": "dc1:1", "LOCAL_QUORUM": "dc1:1",
        "LOCAL_ALL": "dc1:all", "EACH_QUORUM": "dc2:3", "SERIAL": "3", "LOCAL_SERIAL": "dc1:1",
    }),
    (ZERO, OLD, {"QUORUM": "2", "ALL": "3", "LOCAL_QUORUM": "dc1:2", "EACH_QUORUM": "dc1:2 dc2:1", "SERIAL": "2"}),
    (ZERO, NEW, {"QUORUM": "2", "ALL": "3", "LOCAL_QUORUM": "dc1:2", "EACH_QUORUM": "dc1:2", "SERIAL": "2"}),
    (SIMPLE, NEW, {
        "ANY": "-", "ONE": "1", "TWO": "2", "THREE": "3", "QUORUM": "3", "ALL": "4", "LOCAL_ONE": "dc1:1",
        "LOCAL_QUORUM": "dc1:3", "LOCAL_ALL": "dc1:all", "EACH_QUORUM": "3", "SERIAL": "3", "LOCAL_SERIAL": "dc1:3",
    }),
    (OLD_NETWORK, OLD, {
        "QUORUM": "2", "ALL": "3", "LOCAL_QUORUM": "dc1:2", "EACH_QUORUM": "2", "SERIAL": "2", "LOCAL_SERIAL": "dc1:2",
    }),
    (EVERYWHERE, OLD, {"QUORUM": "3", "ALL": "5", "LOCAL_QUORUM": "dc1:3", "EACH_QUORUM": "3", "LOCAL_ONE": "dc1:1"}),
    (NOTHING, NEW, {"QUORUM": "1", "ALL": "1", "LOCAL_QUORUM": "dc1:1", "EACH_QUORUM": "1", "ONE": "1"}),
    (NETWORK, V2, {"QUORUM": "3", "LOCAL_QUORUM": "dc1:2", "SERIAL": "all", "LOCAL_SERIAL": "dc1:all"}),
    (SIMPLE, V2, {"LOCAL_QUORUM": "dc1:3", "SERIAL": "all", "LOCAL_SERIAL": "dc1:all"}),
    ("SimpleStrategy {replication_factor=1}", OLD, {"QUORUM": "1", "ALL": "1", "LOCAL_QUORUM": "dc1:1", "TWO": "2"}),
    ("SimpleStrategy {replication_factor=0}", OLD, {"QUORUM": "1", "ALL": "1", "LOCAL_QUORUM": "dc1:1"}),
    ("SimpleStrategy {replication_factor=2}", OLD, {"QUORUM": "2", "ALL": "2", "LOCAL_QUORUM": "dc1:2"}),
    ("SimpleStrategy {replication_factor=3/1}", NEW, {"QUORUM": "2", "ALL": "3", "LOCAL_QUORUM": "dc1:2"}),
    ("NetworkTopologyStrategy {dc1=3/1, dc2=5/2}", NEW, {
        "QUORUM": "5", "ALL": "8", "LOCAL_QUORUM": "dc1:2", "EACH_QUORUM": "dc1:2 dc2:3",
    }),
]  # fmt: skip


def written(demand: Demand) -> str:
    def one(need: Requirement) -> str:
        replicas = "all" if need.replicas is None else str(need.replicas)
        return f"{need.datacenter}:{replicas}" if need.datacenter is not None else replicas

    return " ".join(map(one, demand.requirements)) or "-"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replication", "behaviour", "level", "need"),
    [(replication, behaviour, level, need) for replication, behaviour, rows in TABLE for level, need in rows.items()],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_demands(replication: str, behaviour: Behaviour, level: str, need: str, operation: Operation) -> None:
    """For reads and writes, each level requires the number that Cassandra's `blockFor` gives for each replication."""
    demand = Rules(Replication.parse(replication), behaviour, OWNERS).demand(Level(level), operation, "dc1")
    assert written(demand) == need
    assert demand.operation == operation
    assert demand.paxos == (behaviour.paxos if level in {"SERIAL", "LOCAL_SERIAL"} else None)


@pytest.mark.parametrize("version", [(2, 2), (3, 0), (3, 11), (4, 0), (4, 1), (5, 0)])
@pytest.mark.parametrize("level", Level)
def test_operations_of_levels(level: Level, version: tuple[int, int]) -> None:
    """ANY is for writes only, and so is EACH_QUORUM before 3.0; all other levels are for both."""
    assert supports(level, "write", version)
    only_writes = level == "ANY" or (level == "EACH_QUORUM" and version == (2, 2))
    assert supports(level, "read", version) is not only_writes


@pytest.mark.parametrize(
    ("level", "local"),
    [
        ("ANY", False), ("ONE", False), ("TWO", False), ("THREE", False), ("QUORUM", False), ("ALL", False),
        ("LOCAL_ONE", True), ("LOCAL_QUORUM", True), ("LOCAL_ALL", True), ("EACH_QUORUM", False), ("SERIAL", False),
        ("LOCAL_SERIAL", True),
    ],
)  # fmt: skip
def test_local_levels(level: str, local: bool) -> None:  # noqa: FBT001 - the expectation
    """LOCAL levels count the coordinator's datacenter only."""
    assert Level(level).local is local


@pytest.mark.parametrize("level", Level)
def test_without_a_factor_only_fixed_numbers_are_judged(level: Level) -> None:
    """Levels with a fixed number, and LOCAL_ALL, need no factor; the requirements of other levels are not guessed."""
    rules = Rules(None, NEW, OWNERS)
    if level in {"ANY", "ONE", "TWO", "THREE", "LOCAL_ONE", "LOCAL_ALL"}:
        assert rules.demand(level, "write", "dc1").operation == "write"
        return
    with pytest.raises(UnknownReplicationError) as error:
        rules.demand(level, "write", "dc1")
    assert (
        str(error.value)
        == "its replication is not known: this release does not report it, and no configuration states it"
    )


@pytest.mark.parametrize(
    "text",
    [
        "MetaStrategy {dc1=3}",
        "LocalStrategy {}",
        "SimpleStrategy {}",
        "SimpleStrategy {dc1=3, replication_factor=3}",
        "OldNetworkTopologyStrategy {dc1=3}",
        "NetworkTopologyStrategy {dc1=3, replication_factor=2}",
        "networkTopologyStrategy {dc1=3}",
    ],
)
def test_other_strategies_are_refused(text: str) -> None:
    """The requirements of a strategy that is not Cassandra's are not guessed."""
    replication = Replication.parse(text)
    with pytest.raises(UnknownReplicationError) as error:
        Rules(replication, NEW, OWNERS)
    assert str(error.value) == f"replication {replication} is not one of Cassandra's"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("NetworkTopologyStrategy {dc1=3, dc2=5, dc3=1}", {"dc1": 3, "dc2": 2, "dc3": 0}),
        ("NetworkTopologyStrategy {dc1=0}", {"dc1": 0}),
        ("SimpleStrategy {replication_factor=3}", {None: 3}),
        ("SimpleStrategy {replication_factor=9}", {None: 5}),
        ("OldNetworkTopologyStrategy {replication_factor=2}", {None: 2}),
        ("EverywhereStrategy {}", {None: 5}),
        ("SimpleStrategy {dc1=3}", None),
        ("MetaStrategy {dc1=3}", None),
    ],
)
def test_expected_replicas(text: str | None, wanted: dict[str | None, int] | None) -> None:
    """They are as many as configured, but no more than there are nodes."""
    assert expected(Replication.parse(text) if text else None, OWNERS) == wanted


# ---- one range ----


def counts(
    natural: dict[str, int], live: Mapping[str, tuple[int, ...]], pending: dict[str, int], arriving: dict[str, int]
) -> Replicas:
    """Replica counts of a range: live ones by rack; `arriving` are live pending ones, each in a rack of its own."""
    together = {name: (*live.get(name, ()), *[1] * arriving.get(name, 0)) for name in sorted({*live, *arriving})}
    rows = [tuple(sorted(one.items())) for one in (natural, pending)]
    return Replicas(
        natural=rows[0],
        live=tuple(sorted(live.items())),
        pending=rows[1],
        live_with_pending=tuple(together.items()),
        all_live=(),
    )


BOTH, FIVE = {"dc1": 3, "dc2": 2}, {"dc1": (3,), "dc2": (2,)}

RANGES: list[tuple[str, Operation, Replicas, list[tuple[int, int]]]] = [  # (required, live) of each condition
    ("QUORUM", "read", counts(BOTH, {"dc1": (1, 1), "dc2": (1,)}, {}, {}), [(3, 3)]),
    ("QUORUM", "write", counts(BOTH, {"dc1": (2,)}, {"dc1": 1, "dc2": 1}, {"dc2": 1}), [(5, 3)]),
    ("QUORUM", "read", counts(BOTH, {"dc1": (2,)}, {"dc1": 1, "dc2": 1}, {"dc2": 1}), [(3, 2)]),
    ("LOCAL_QUORUM", "write", counts(BOTH, {"dc1": (3,)}, {"dc2": 1}, {}), [(2, 3)]),
    ("LOCAL_QUORUM", "write", counts(BOTH, {"dc1": (3,)}, {"dc1": 1}, {}), [(3, 3)]),
    ("EACH_QUORUM", "write", counts(BOTH, FIVE, {"dc2": 1}, {}), [(2, 3), (3, 2)]),
    ("EACH_QUORUM", "read", counts(BOTH, FIVE, {"dc2": 1}, {}), [(2, 3), (2, 2)]),
    ("ONE", "write", counts({"dc1": 3}, {"dc1": (1,)}, {"dc1": 1}, {}), [(2, 1)]),
    ("LOCAL_ALL", "write", counts({"dc1": 3}, {"dc1": (3,)}, {"dc1": 1}, {}), [(4, 3)]),
    ("LOCAL_ALL", "read", counts({"dc1": 3}, {"dc1": (3,)}, {"dc1": 1}, {}), [(3, 3)]),
    ("LOCAL_ALL", "read", counts({"dc2": 2}, {"dc2": (2,)}, {}, {}), [(1, 0)]),
    ("ANY", "write", counts({"dc1": 3}, {}, {"dc1": 2}, {}), []),
    # a serial operation reads from natural replicas, then needs a majority of the participants
    ("SERIAL", "write", counts(BOTH, {"dc1": (2,), "dc2": (1,)}, {}, {}), [(3, 3), (3, 3)]),
    ("SERIAL", "read", counts(BOTH, {"dc1": (2,), "dc2": (1,)}, {"dc1": 1}, {"dc1": 1}), [(3, 3), (4, 4)]),
    ("SERIAL", "write", counts(BOTH, {"dc1": (3,), "dc2": (1,)}, {"dc1": 1}, {}), [(3, 4), (4, 4)]),
    ("SERIAL", "write", counts(BOTH, {"dc1": (3,)}, {"dc1": 1, "dc2": 1}, {"dc1": 1, "dc2": 1}), [(3, 3), (8, 5)]),
    ("LOCAL_SERIAL", "write", counts(BOTH, {"dc1": (2,)}, {"dc2": 2}, {}), [(2, 2), (2, 2)]),
    ("LOCAL_SERIAL", "read", counts({"dc2": 2}, {"dc2": (2,)}, {}, {}), [(2, 0), (1, 0)]),
]  # fmt: skip


# Paxos v2: a majority of the existing natural replicas, and one more participant for each pending replica.
WITH_V2: list[tuple[str, Operation, Replicas, list[tuple[int, int]]]] = [
    ("SERIAL", "read", counts(BOTH, {"dc1": (2,), "dc2": (1,)}, {}, {}), [(3, 3), (3, 3)]),
    ("SERIAL", "write", counts(BOTH, {"dc1": (3,)}, {"dc1": 1, "dc2": 1}, {"dc1": 1, "dc2": 1}), [(3, 3), (5, 5)]),
    ("SERIAL", "write", counts({"dc1": 2}, {"dc1": (2,)}, {"dc1": 1}, {}), [(2, 2), (3, 2)]),
    ("LOCAL_SERIAL", "write", counts({"dc1": 1, "dc2": 2}, {"dc1": (1,)}, {"dc2": 2}, {}), [(1, 1), (1, 1)]),
    ("LOCAL_SERIAL", "read", counts({"dc2": 2}, {"dc2": (2,)}, {}, {}), [(1, 0), (1, 0)]),
    ("QUORUM", "write", counts(BOTH, {"dc1": (2,)}, {"dc1": 1}, {}), [(4, 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("level", "operation", "replicas", "conditions"), RANGES)
def test_conditions_on_a_range(
    level: str, operation: Operation, replicas: Replicas, conditions: list[tuple[int, int]]
) -> None:
    """The live replicas that a range needs and has: natural ones for reads, pending ones too for writes."""
    demand = Rules(Replication.parse(NETWORK), NEW, OWNERS).demand(Level(level), operation, "dc1")
    assert [(one.required, one.live) for one in replicas.margins(demand)] == conditions


@pytest.mark.parametrize(("level", "operation", "replicas", "conditions"), WITH_V2)
def test_conditions_with_paxos_v2(
    level: str, operation: Operation, replicas: Replicas, conditions: list[tuple[int, int]]
) -> None:
    """The participants of Paxos v2 are the existing replicas, whatever the replication factor is."""
    demand = Rules(Replication.parse(NETWORK), V2, OWNERS).demand(Level(level), operation, "dc1")
    assert [(one.required, one.live) for one in replicas.margins(demand)] == conditions


def test_no_replica_is_no_majority_with_paxos_v2() -> None:
    """Only a range without natural replicas in the scope can never be served, however large the factor is."""
    demand = Rules(Replication.parse("SimpleStrategy {replication_factor=7}"), V2, OWNERS).demand(
        Level.LOCAL_SERIAL, "read", "dc1"
    )
    assert counts({"dc2": 5}, {}, {}, {}).structural(demand)
    assert not counts({"dc1": 1, "dc2": 5}, {}, {}, {}).structural(demand)
    assert resolved(demand.requirements[0], demand, (("dc1", 4), ("dc2", 1))) == Requirement(3, "dc1")


@pytest.mark.parametrize(
    ("release", "variant", "paxos"),
    [
        ("4.0.17", None, ["v1"]), ("2.2.19", None, ["v1"]), ("4.1.9", "v1", ["v1"]), ("5.0.8", "v2", ["v2"]),
        ("5.0.8", "v1_without_linearizable_reads_or_rejected_writes", ["v1"]),
        ("5.0.8", "v2_without_linearizable_reads", ["v2"]), (None, "v2", ["v2"]),
        ("6.0-alpha2", "v2_without_linearizable_reads_or_rejected_writes", ["v2"]),
        ("4.1.9", None, ["v1", "v2"]), ("5.0.8", "v3", ["v1", "v2"]), (None, None, ["v1", "v2"]),
        ("5.0.8", "", ["v1", "v2"]), ("4.0.17", "v3", ["v1", "v2"]), ("?", None, ["v1", "v2"]),
    ],
)  # fmt: skip
def test_behaviours(release: str | None, variant: str | None, paxos: list[str]) -> None:
    """Releases before 4.1 have v1; if the variant is not known, it may be any."""
    assert [behaviour.paxos for behaviour in behaviours(release, variant)] == paxos


TRANSIENT = Rules(Replication.parse("NetworkTopologyStrategy {dc1=3/1, dc2=3/1}"), NEW, OWNERS)


@pytest.mark.parametrize(
    ("level", "operation", "required"),
    [
        ("LOCAL_ONE", "read", 2), ("LOCAL_ONE", "write", 1), ("LOCAL_QUORUM", "read", 2), ("ONE", "read", 3),
        ("TWO", "read", 3), ("THREE", "read", 3), ("ONE", "write", 1), ("QUORUM", "read", 4), ("ALL", "read", 6),
    ],
)  # fmt: skip
def test_transient_reads_need_a_full_replica(level: str, operation: Operation, required: int) -> None:
    """Any live replica may be transient, so one more than these must be live; writes need no full replica."""
    everyone = counts({"dc1": 3, "dc2": 3}, {"dc1": (3,), "dc2": (3,)}, {}, {})
    (margin,) = everyone.margins(TRANSIENT.demand(Level(level), operation, "dc1"))
    assert margin.required == required


def test_the_only_replica_is_a_full_one() -> None:
    """If there are fewer nodes than the factor, transient replicas are left out first."""
    lonely = counts({"dc1": 1}, {"dc1": (1,)}, {}, {})
    demand = TRANSIENT.demand(Level.LOCAL_ONE, "read", "dc1")
    assert [one.spare for one in lonely.margins(demand)] == [0]
    assert resolved(demand.requirements[0], demand, lonely.natural) == Requirement(1, "dc1", 1)


@pytest.mark.parametrize(
    ("required", "racks", "failures"),
    [
        (1, (), 0), (1, (1,), 1), (2, (1, 1, 1), 2), (2, (3,), 1), (2, (2, 1), 1), (1, (2, 1), 2), (3, (1, 1, 1), 1),
        (1, (1, 2, 3), 3), (4, (1, 2, 3), 1), (3, (1, 2, 2), 2), (2, (1,), 0),
    ],
)  # fmt: skip
def test_rack_failures(required: int, racks: tuple[int, ...], failures: int) -> None:
    """The largest racks are assumed to fail first; the result is 0 if the condition already fails."""
    assert Margin(required=required, racks=racks, datacenter=None, counts_pending=False).rack_failures() == failures


def test_structural_unavailability_is_about_replicas_not_nodes() -> None:
    """The range has too few natural replicas for the requirement, however many are live or pending."""
    demand = Rules(Replication.parse(NETWORK), NEW, OWNERS).demand(Level.LOCAL_QUORUM, "write", "dc1")
    assert counts({"dc1": 1, "dc2": 2}, {"dc1": (1,)}, {"dc1": 3}, {"dc1": 3}).structural(demand)
    assert not counts({"dc1": 2}, {}, {}, {}).structural(demand)
