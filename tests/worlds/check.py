"""The properties that must hold in every world.

Each violation is a `Failure` of a kind, so that a soak can count them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING

from ringcheck.core.policy import Severity
from tests.worlds.asking import FIRST, Judgement, Order, judge, name_of, names_of
from tests.worlds.cluster import AGENT_PORT, OWNERS, STORAGE_PORT
from tests.worlds.lies import GHOSTS, NAMED, NEUTRAL, PLAIN, bend, drawn
from tests.worlds.oracle import Case, Oracle
from tests.worlds.world import World, blended, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.core.actions import Action
    from tests.worlds.oracle import Up

DEAD: tuple[Action, ...] = ("removenode", "replace")
PAIRS = 3  # of candidates that are asked for together

KINDS = {
    "false_ok": "OK though a coordinator that answers can't serve a range at a watched level",
    "false_safe": "SAFE though the stop costs a coordinator a range that it serves",
    "false_safe_pair": "SAFE for two nodes together though their stop costs a range",
    "false_alone": "SAFE though the stop leaves a datacenter with clients without a coordinator",
    "deserted_ok": "OK though a datacenter with clients has no coordinator",
    "false_dead": "SAFE to remove or replace a node that answers and serves clients",
    "false_source": "SAFE to remove or replace a node that has the last working replica of a range",
    "safe_nodes": "safe_nodes() and decide() differ",
    "order": "another order of contact points, nodes or answers gives another verdict or decision",
    "noise": "a world without lies and with nothing down is not OK, or a stop that costs nothing is not SAFE",
    "ghost_noise": "the same with endpoints that are no members, coordinators that own nothing, or less told by some",
    "outage": "a world without lies in which nodes are down is not judged as the arithmetic says",
    "crash": "something else than a RingcheckError was raised",
    "too_quiet": "WARNING though a coordinator that answers can't serve a range at the critical level",
}
ADVISORY = frozenset({"too_quiet"})  # not required of every world, but worth looking at


@dataclass(frozen=True)
class Failure:
    """A property that does not hold.

    Attributes:
        kind: one of `KINDS`.
        text: ringcheck's answer, and the truth.
    """

    kind: str
    text: str

    @property
    def sort(self) -> str:
        """The kind; failures about what Cassandra reads for a login are counted as a sort of their own."""
        return f"{self.kind} (login)" if "system_auth" in self.text else self.kind


@dataclass
class Outcome:
    """The result for one world.

    Attributes:
        failures: properties that do not hold.
        severity: of the verdict; None if a RingcheckError was raised, which counts as UNKNOWN.
        decisions: how many nodes were SAFE, UNSAFE and UNKNOWN; and for how many a removal or a replacement was SAFE.
        lost: whether a range was lost at the critical level, and not by a mistake of configuration.
    """

    failures: list[Failure] = field(default_factory=list)
    severity: Severity | None = None
    decisions: Counter[str] = field(default_factory=Counter)
    lost: bool = False


def made(seed: int, names: Sequence[str] | None = None) -> World:
    """The world of a seed, bent by the given lies, or else by those that the seed draws."""
    rng = Random(seed)  # noqa: S311 - worlds are to be made again
    world = draw(rng, seed)
    bend(world, drawn(rng) if names is None else names)
    return world


def checked(world: World, orders: Sequence[Order] = (Order(1),)) -> Outcome:
    """The result for a world, also in some other orders."""
    outcome = Outcome()
    try:
        _Check(world, outcome).run(orders)
    except Exception as error:  # noqa: BLE001 - the property is that there is none
        outcome.failures.append(Failure("crash", f"{type(error).__name__}: {error}"))
    return outcome


class _Check:
    """The properties of one world.

    Attributes:
        truth: of the time that counts. If the world changes during the poll, `truths` also has the time before and
            the times between; then only what holds at all of these times, for the same coordinator, is required.
    """

    def __init__(self, world: World, outcome: Outcome) -> None:
        self.world = world
        self.outcome = outcome
        self.judged: Judgement = judge(world, FIRST)
        self.truth = Oracle(world)
        self.truths = [self.truth]
        if world.change == "during" and world.before:
            self.truths += map(Oracle, (world.before, blended(world, world.before), blended(world.before, world)))

    def run(self, orders: Sequence[Order]) -> None:
        """Add every failure to the outcome."""
        if self.judged.verdict:
            self.outcome.severity = self.judged.verdict.severity
            self.outcome.decisions.update(self.judged.decisions.values())
            self._check_severity(self.judged.verdict.severity)
            self._check_safe()
            self._check_pairs()
            self._check_dead()
        self._check_quiet()
        if self.world.change != "during":  # the order decides which requests a node answers from which time
            for order in orders:
                self._check_order(order)

    def _fail(self, kind: str, text: str) -> None:
        self.outcome.failures.append(Failure(kind, text))

    # No false OK

    def _check_severity(self, severity: Severity) -> None:
        critical, warning = (self._unserved(tier) for tier in ("critical", "warning"))
        self.outcome.lost = critical is not None and not critical.structural
        if severity is Severity.OK and (case := critical or warning):
            self._fail("false_ok", f"OK, but {case} is not served")
        deserted = set.intersection(*[set(truth.deserted()) for truth in self.truths])
        if severity is Severity.OK and deserted:
            self._fail("deserted_ok", f"OK, but {sorted(deserted)} has no coordinator")
        maintained = self.judged.maintained
        if maintained and maintained.severity is Severity.OK and critical:
            self._fail("false_ok", f"OK because of a lease, but {critical} is not served")
        if severity is Severity.WARNING and critical and not critical.structural:
            self._fail("too_quiet", f"WARNING, but {critical} is not served")

    def _unserved(self, tier: str, truths: Sequence[Oracle] = ()) -> Case | None:
        """A case that a coordinator can't serve at all of these times; outages come before configuration mistakes."""
        cases = [
            [case for number in truth.health_coordinators() for case in truth.unserved(number, tier)]
            for truth in truths or self.truths
        ]
        outages = [[case for case in at_a_time if not case.structural] for at_a_time in cases]
        return _always(outages) or _always(cases)

    # No false SAFE

    def _check_safe(self) -> None:
        judged = self.judged
        for name, decision in judged.decisions.items():
            if (name in judged.safe) != (decision == "safe"):
                listed = "is" if name in judged.safe else "is not"
                self._fail("safe_nodes", f"decide({name}) is {decision}, but it {listed} in safe_nodes()")
        asked = {name for name, decision in judged.decisions.items() if decision == "safe"}
        for name in sorted(asked | judged.safe | self._safe_otherwise()):
            for number in sorted(self._meant(name)):
                if cost := self._cost(frozenset({number})):
                    self._fail("false_safe", f"{name} is SAFE, but the stop of node {number} costs {cost}")
                self._check_coordinators(frozenset({number}), name)

    def _check_coordinators(self, stopped: Up, name: str) -> None:
        left = [set(truth.abandoned(stopped)) for truth in self.truths]
        if lost := set.intersection(*left):
            self._fail("false_alone", f"{name} is SAFE, but {sorted(lost)} would have no coordinator")

    def _safe_otherwise(self) -> set[str]:
        """Names of members, with and without a port, that are SAFE although no node of the snapshot has them."""
        names = {name for node in self.world.members for name in names_of(*node.endpoint)}
        return {name for name in names - self.judged.decisions.keys() if self._decided(name)}

    def _decided(self, *names: str) -> bool:
        assert self.judged.keeper
        return self.judged.keeper.decide(names).decision == "safe"

    def _check_pairs(self) -> None:
        names = sorted(self.judged.decisions, key=lambda name: (name not in self.judged.safe, name))
        for left, right in list(combinations(names[:4], 2))[:PAIRS]:
            if self._decided(left, right):
                self._check_pair(left, right)

    def _check_pair(self, left: str, right: str) -> None:
        for first in sorted(self._meant(left)):
            for second in sorted(self._meant(right)):
                if cost := self._cost(frozenset({first, second})):
                    text = (
                        f"{left} and {right} are SAFE together, but the stop of nodes {first} and {second} costs {cost}"
                    )
                    self._fail("false_safe_pair", text)
                self._check_coordinators(frozenset({first, second}), f"{left} and {right}")

    def _check_dead(self) -> None:
        """A node that may be removed or replaced is dead, and its data is on other nodes that work."""
        assert self.judged.keeper
        for name in self.judged.decisions:
            for action in DEAD:
                if self.judged.keeper.decide([name], action).decision == "safe":
                    self.outcome.decisions[action] += 1
                    for number in sorted(self._meant(name)):
                        self._check_dead_node(number, f"{name} ({action}) is SAFE, but node {number}")

    def _check_dead_node(self, number: int, text: str) -> None:
        if all(number in truth.health_coordinators() for truth in self.truths):
            self._fail("false_dead", f"{text} answers and serves clients")
        orphans = [list(truth.orphans(number)) for truth in self.truths]
        if all(orphans):
            self._fail("false_source", f"{text} has the last replica of {orphans[0][0]}")

    def _cost(self, stopped: Up) -> Case | None:
        """A case that a stop costs some coordinator."""
        return _always([list(truth.costs(stopped)) for truth in self.truths])

    def _meant(self, name: str) -> set[int]:
        """Nodes that a name may mean, by their address, by an alias, or by the host id in the snapshot."""
        present = [node for node in self.world.nodes if node.role != "left"]
        meant = {node.number for node in present if name in names_of(*node.endpoint)}
        if not meant:
            aliases = self.world.routes.items()
            meant = {number for (host, _), number in aliases if name in names_of(host, STORAGE_PORT)}
        nodes = self.judged.snapshot.nodes if self.judged.snapshot else ()
        ids = {node.host_id for node in nodes if node.address == name}
        return meant | {node.number for node in present if node.host_id in ids}

    # No noise

    def _check_quiet(self) -> None:
        kind = self._quiet_kind()
        if kind is None:
            return
        if self.judged.verdict is None:
            self._fail(kind, f"no verdict: {self.judged.error}")
            return
        self._check_noise(kind, self.judged.verdict.severity)
        # While a node goes down, views from before and after contradict each other, and a contradiction blocks.
        contradictory = kind == "outage" and self.world.change == "during"
        if not contradictory and not self._lost_already():
            self._check_refusals(kind)

    def _quiet_kind(self) -> str | None:
        """The property about noise that applies; None if the world bends too much, or a running node can't be asked."""
        world, truth = self.world, self.truth
        lies = set(world.lies) - NEUTRAL
        running = {node.number for node in world.members if node.running}
        speaking = {world.nodes[number].datacenter for number in truth.counting}
        mute = {node.datacenter for node in world.members} - speaking
        sharing = any(node.agent_port != AGENT_PORT for node in world.nodes)
        if sharing and "no_host_id" in lies:  # it can't be known which node an agent belongs to
            return None
        whole = [number for number in truth.counting if not world.views[number].broken_ring]
        if world.authenticates or running - set(truth.answering) or mute or not whole:
            return None
        kinds = {"noise": frozenset[str](), "outage": PLAIN, "ghost_noise": GHOSTS | NAMED}
        return next((kind for kind, allowed in kinds.items() if lies <= allowed), None)

    def _check_noise(self, kind: str, severity: Severity) -> None:
        expected = self._expected(kind)
        if severity not in expected:
            assert self.judged.verdict
            findings = [item for item in self.judged.verdict.findings if item.severity is severity]
            why = "; ".join(f"{item.code}: {item.summary}" for item in findings)
            right = "/".join(sorted(item.name for item in expected))
            self._fail(kind, f"{severity.name} instead of {right}: {why}")

    def _expected(self, kind: str) -> set[Severity]:
        """The severities that the arithmetic allows; during a change, those of all times of the change.

        A node that goes down during the poll may refuse connections while all views still see it up; then it is a
        suspect.
        """
        times = [self.truths, *([truth] for truth in self.truths)]
        suspected = {Severity.UNKNOWN} if kind == "outage" and self.world.change == "during" else set[Severity]()
        return suspected.union(*(self._expected_at(truths, kind) for truths in times))

    def _expected_at(self, truths: Sequence[Oracle], kind: str) -> set[Severity]:
        cases = [self._unserved("critical", truths), self._unserved("warning", truths)]
        if cases[0] and not cases[0].structural:
            return {Severity.CRITICAL}
        if any(cases):
            return {Severity.WARNING}
        worth_a_warning = kind == "outage" or NAMED.intersection(self.world.lies)
        return {Severity.OK, Severity.WARNING} if worth_a_warning else {Severity.OK}

    def _lost_already(self) -> bool:
        """Whether a range that the gate must keep is lost before any stop."""
        truth = self.truth
        return any(
            not case.structural
            for number in truth.gate_coordinators()
            for keyspace in truth.keyspaces(number)
            for level in truth.gated(keyspace, number)
            for case in truth.unserved_at(number, keyspace, level)
        )

    def _check_refusals(self, kind: str) -> None:
        for node in self.world.nodes:
            name = name_of(self.world, node.number)
            decision = self.judged.decisions.get(name, "missing")
            if node.role in OWNERS and decision != "safe" and self._free(node.number):
                self._fail(kind, f"{name} is {decision}, but its stop costs nothing: {self._reasons(name)}")

    def _free(self, number: int) -> bool:
        """Whether a stop costs nothing, and leaves another coordinator in its datacenter."""
        datacenter = self.world.nodes[number].datacenter
        left = [item for item in self.truth.gate_coordinators() if item != number]
        stay = [item for item in left if self.world.nodes[item].datacenter == datacenter]
        return bool(stay) and not any(self.truth.costs(frozenset({number})))

    def _reasons(self, name: str) -> str:
        assert self.judged.keeper
        reasons = self.judged.keeper.decide([name]).reasons
        return "; ".join(f"{reason.code}: {reason.summary}" for reason in reasons if reason.blocks)

    # No difference between orders

    def _check_order(self, order: Order) -> None:
        again = judge(self.world, order)
        first, second = self.judged.parts(), again.parts()
        if first != second:
            names = first.keys() & second.keys()
            texts = [f"{name} {first[name]} / {second[name]}" for name in sorted(names) if first[name] != second[name]]
            errors = " / ".join(error for error in (self.judged.error, again.error) if error)
            self._fail("order", f"{order}: {'; '.join([*texts, errors])}")


def _always(cases: list[list[Case]]) -> Case | None:
    """A case of a coordinator that has some case at all of these times."""
    suffering = set.intersection(*({case.coordinator for case in at_a_time} for at_a_time in cases))
    return next((case for case in cases[0] if case.coordinator in suffering), None)
