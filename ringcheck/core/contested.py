"""Views that contradict each other, or the ring, about which nodes join, leave or move.

A coordinator places replicas, and the writes to nodes that gain ranges, by the movements that it knows. The ring is
read from one node, so a coordinator that believes in other movements uses a ring that was not read. For some seconds
this is normal at the beginning and at the end of every movement; a node that missed the end believes in it longer.

Such a coordinator is judged by bounds. A range that enough other replicas serve is served in either ring, so the nodes
whose movement is contested are taken away. Besides, a write waits for every node that gains the range. A coordinator
that knows a movement may wait for a node that it does not reach, if there is one. If the bounds raise no alarm, the
contradiction is a note. Otherwise it is not known whether the coordinator serves its clients.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ringcheck.core.consistency import UnknownReplicationError
from ringcheck.core.findings import Finding, noted
from ringcheck.core.health import ring_state
from ringcheck.core.judge import alarm_of
from ringcheck.core.policy import Severity
from ringcheck.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.consistency import Behaviour, Level
    from ringcheck.core.evidence import Evidence
    from ringcheck.core.policy import Rule
    from ringcheck.core.ring import Ring, View
    from ringcheck.core.selection import Scope
    from ringcheck.core.views import Liveness

_MOVEMENTS = ("joining", "leaving", "moving")


class Movement(NamedTuple):
    """A node, and whether it is `joining`, `leaving` or `moving`."""

    what: str
    node: int


class ContestedMovements:
    """Movements that some of the usable views know, and that other views or the ring contradict."""

    def __init__(self, evidence: Evidence) -> None:
        """Compare the views.

        Args:
            evidence: with the views.
        """
        self._evidence = evidence
        self._known = {id(lists): _movements(lists) for lists, _ in evidence.observers_of}

    @cached_property
    def _between_views(self) -> frozenset[Movement]:
        """Movements that some views know and others do not."""
        known = self._known.values()
        return frozenset().union(*known) - frozenset.intersection(*known) if known else frozenset()

    @cached_property
    def _natural(self) -> frozenset[int]:
        """Nodes that hold ranges of the rings that were read."""
        return frozenset().union(*(ring.holders for ring in self._evidence.snapshot.rings))

    def _of(self, view: View) -> frozenset[Movement]:
        return self._known[id(self._evidence.liveness(view))]

    def _with_ring(self, view: View) -> frozenset[Movement]:
        """Nodes that a view sees joining, though they hold ranges of the ring already."""
        return frozenset(one for one in self._of(view) if one.what == "joining" and one.node in self._natural)

    def notes(self) -> Iterator[Finding]:
        """A note for each contested movement; any of them blocks the gate, since the ring may not be what it seems."""
        for movement in self._believed_by:
            yield self._finding(movement, Severity.OK)

    @cached_property
    def _believed_by(self) -> dict[Movement, list[str]]:
        """The contested movements, with the observers of the views that know them."""
        observers_of: dict[Movement, list[str]] = defaultdict(list)
        for view in self._evidence.usable if any(self._known.values()) else ():
            for movement in self._of(view) & self._between_views | self._with_ring(view):
                observers_of[movement].append(view.observer)
        return dict(sorted(observers_of.items()))

    def _finding(self, movement: Movement, severity: Severity, detail: str = "") -> Finding:
        address = self._evidence.snapshot.nodes[movement.node].address
        observers = self._believed_by[movement]
        seen = f"{listed(sorted(observers))} {'sees' if len(observers) == 1 else 'see'} {address} {movement.what}"
        between = movement in self._between_views
        text = f"{seen}, and other nodes do not" if between else f"{seen}, but it owns ranges in the ring already"
        return replace(noted("movement_disagreement", address, text, detail), severity=severity)

    # Health

    def unknowns(self, scope: Scope) -> Iterator[Finding]:
        """A finding for each contested movement by which a coordinator may not serve its clients."""
        details: dict[Movement, str] = {}
        for view, movements in self._doubtful():
            about = next(iter(self._endangered(scope, view, frozenset(one.node for one in movements))), None)
            if about is not None:
                name, level = about
                text = f"whether {view.observer} serves {name} at {level} is not known"
                details |= {movement: details.get(movement, text) for movement in movements}
        for movement, detail in sorted(details.items()):
            yield self._finding(movement, Severity.UNKNOWN, detail)

    def _doubtful(self) -> Iterator[tuple[View, frozenset[Movement]]]:
        """The views that know, or don't know, contested movements; of views with equal lists and behaviour only one."""
        seen = set()
        for view in self._evidence.usable if any(self._known.values()) else ():
            movements = self._between_views | self._with_ring(view)
            lists, node = self._evidence.liveness(view), self._evidence.node(view)
            key = id(lists), node.datacenter, node.release_version, node.paxos_variant
            if movements and key not in seen:
                seen.add(key)
                yield view, movements

    def _endangered(self, scope: Scope, view: View, contested: frozenset[int]) -> Iterator[tuple[str, Level]]:
        """Keyspaces and watched levels that a coordinator may not serve."""
        down, datacenter = self._evidence.down(view), self._evidence.node(view).datacenter
        unread = self._waits_for_the_unread(view)
        for behaviour in self._evidence.behaviours(view):
            for watched in _watched(scope, datacenter):
                now, then = (watched.alarm(scope, behaviour, without) for without in (down, down | contested))
                if unread or then > now:
                    yield watched.keyspace, watched.level

    def _waits_for_the_unread(self, view: View) -> bool:
        """Whether writes of a coordinator may wait for a node that it does not reach, in ranges that were not read."""
        believes = bool(self._of(view) & self._between_views)
        read = any(ring.pending for ring in self._evidence.snapshot.rings)
        return believes and not read and bool(self._evidence.down(view) & self._evidence.members)


def _movements(lists: Liveness) -> frozenset[Movement]:
    return frozenset(Movement(what, node) for what in _MOVEMENTS for node in getattr(lists, what))


class _Watched(NamedTuple):
    """A keyspace at a watched level, for the clients of a datacenter."""

    keyspace: str
    rule: Rule
    ring: Ring
    level: Level
    client: str | None

    def alarm(self, scope: Scope, behaviour: Behaviour, down: frozenset[int]) -> Severity:
        """Its alarm for a coordinator that does not reach some nodes; OK if it can't be judged at all."""
        try:
            rules = scope.rules(self.ring, behaviour)
            state = ring_state(self.ring, scope.snapshot.layout, scope.space, down)
            return alarm_of(self.rule, state.level(self.level, self.client, rules))
        except UnknownReplicationError:
            return Severity.OK


def _watched(scope: Scope, datacenter: str | None) -> Iterator[_Watched]:
    """What is watched for the clients of a coordinator in a datacenter."""
    for ring in scope.snapshot.rings:
        for name, rule in scope.chosen(ring):
            for level in rule.levels:
                for client in scope.clients(level, ring):
                    if client in {None, datacenter}:
                        yield _Watched(name, rule, ring, level, client)
