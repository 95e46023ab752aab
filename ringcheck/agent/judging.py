"""Judges the snapshots of one cluster. The last judgement is kept while nothing that it depends on changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ringcheck.core.assess import assess
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.health import let_go, states_in_use
from ringcheck.core.refusals import young
from ringcheck.core.unchanged import shows_the_same
from ringcheck.errors import UsageError
from ringcheck.leases.grant import placed
from ringcheck.leases.record import LeaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.core.findings import Finding
    from ringcheck.core.gate import Gate
    from ringcheck.core.health import RingState
    from ringcheck.core.maintenance import Holder, Maintenance
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Ring, Snapshot
    from ringcheck.core.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a judgement depends on, in addition to the snapshot.

    Attributes:
        policy: the cluster's rules, with the levels that its clients use.
        maintenance: restart leases; None if the cluster keeps none.
        lasting: findings about states that have lasted too long.
        holders: of restart leases; None if they could not be read.
    """

    policy: Policy
    maintenance: Maintenance | None
    lasting: tuple[Finding, ...]
    holders: tuple[Holder, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The results of judging one snapshot.

    Attributes:
        given: what the results depend on, in addition to the snapshot.
        young: nodes that had not run for long enough.
        verdict: the verdict, which has the snapshot.
        safe: nodes that may restart now, nodes that are down included; None if the holders are not known.
        states: states of the rings, which the next judgement needs again.
    """

    given: Given
    young: object
    verdict: Verdict
    safe: frozenset[str] | None
    states: tuple[RingState, ...]


class Judging:
    """Judges one snapshot after the other."""

    def __init__(self, gate: Gate) -> None:
        """Begin; nothing is known.

        Args:
            gate: what must hold before a node may restart.
        """
        self._gate = gate
        self._last: Judgement | None = None
        self._same = False

    def look(self, seen: Snapshot) -> None:
        """Take a snapshot, before anything is derived from it; it is judged next."""
        self._same = self._last is not None and shows_the_same(seen, self._last.verdict.snapshot)

    def judge(self, seen: Snapshot, given: Given) -> Judgement:
        """The judgement on the snapshot that was taken last.

        Raises:
            RingError, UsageError: as `assess`.
        """
        last, now_young = self._last, young(seen, self._gate.settle)
        leased = given.holders or (given.maintenance and given.maintenance.holders)  # whose age counts
        if last and self._same and not leased and (last.given, last.young) == (given, now_young):
            for state in last.states:
                state.idle = False
            let_go(seen.rings)
            self._last = replace(last, verdict=replace(last.verdict, snapshot=seen))
        else:
            self._last = None  # in case the snapshot can't be judged
            let_go(seen.rings)
            verdict = assess(seen, given.policy, maintenance=given.maintenance, more=given.lasting)
            safe = self._safe(seen, given)
            states = states_in_use(seen.rings)
            self._last = Judgement(given=given, young=now_young, verdict=verdict, safe=safe, states=states)
        if last and last.verdict.snapshot is not seen:
            _forget(last.verdict.snapshot, seen.rings)
        return self._last

    def close(self) -> None:
        """Forget the last judgement; nothing is judged any more."""
        if self._last:
            _forget(self._last.verdict.snapshot, ())

    def _safe(self, seen: Snapshot, given: Given) -> frozenset[str] | None:
        """Nodes that may restart now, nodes that are down included; None if the holders are not known.

        Empty if a lease is of an unknown node or the gate's configuration can't be used; the verdict is not affected.
        """
        if given.holders is None:
            return None
        try:
            leases = [placed(holder, seen) for holder in given.holders]
            gatekeeper = Gatekeeper(seen, given.policy, self._gate, leases)
        except (LeaseError, UsageError):
            return frozenset()
        return gatekeeper.safe_nodes() - {lease.node for lease in leases}


def _forget(snapshot: Snapshot, rings: Sequence[Ring]) -> None:
    """Drop what was derived from a snapshot that is not used any more, and from its rings apart from these.

    All of it refers back to them: they would stay in memory until Python searches for cycles.
    """
    snapshot.memo.clear()
    for ring in snapshot.rings:
        if not any(ring is other for other in rings):
            ring.memo.clear()
