"""What clients notice of a batch: errors that coordinators count, hints, and connections.

The gate predicts that every range stays available; the cluster's own counters show whether that was true. They are read
before a batch is touched and after it is back, and each reading is compared with the last one, so that the errors
between two batches count too. The reading before a batch is in the journal: a resumed run continues to compare with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringcheck.core.client_errors import (
    HINTS_SERVICE,
    UNAVAILABLES,
    ClientCounters,
    by_name,
    hints_left,
    in_words,
    new_errors,
)
from ringcheck.core.evidence import evidence_of
from ringcheck.core.release import parse_release
from ringcheck.core.words import counted, listed
from ringcheck.restart.procedure import Halt
from ringcheck.restart.readiness import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ringcheck.core.ring import Node, Snapshot
    from ringcheck.restart.context import RunContext
    from ringcheck.restart.journal import Unpassed


@dataclass(slots=True)
class ClientWatch:
    """Compares the counters of all coordinators before and after a batch."""

    context: RunContext
    _nodes: dict[str, Node] = field(default_factory=dict, init=False)
    _before: dict[str, ClientCounters] = field(default_factory=dict, init=False)  # the last reading before a batch
    _last: dict[str, ClientCounters] = field(default_factory=dict, init=False)  # the last reading of each node
    _since: float | None = field(default=None, init=False)  # time of the last reading; None if it is in the journal
    _unread: str = field(default="", init=False)

    def begin(self, seen: Snapshot) -> None:
        """Read the counters of every coordinator, and record them, before a batch is touched.

        Raises:
            Halt: if clients got more errors since the last batch than the operator allows, or if errors are limited and
                a node's can't be read.
        """
        down = evidence_of(seen).surely_down
        nodes = [node for index, node in enumerate(seen.nodes) if index not in down]
        self._nodes = {identity(node): node for node in nodes if node.source == "ok"}
        others = {node.address: _unread(node) for node in nodes if node.source != "ok"}
        self._before = self._read(self._nodes, others)
        errors = self._counted(self._before)
        if why := self._excess(errors):
            why = f"before the batch began, {why}"
        if errors:
            self._record(errors, why)
        if why:
            raise Halt("failed", why)
        self._since = self.context.environment.clock()
        self._last = {node: counters for node, counters in self._last.items() if node in self._nodes}
        read = {node: by_name(+Counter(counters.errors)) for node, counters in self._before.items()}
        self.context.record("counters", errors=read)

    def resume(self, unpassed: Unpassed, seen: Snapshot) -> None:
        """Continue to watch a batch of a killed run, as from its `begin`."""
        self._nodes = {identity(node): node for node in seen.nodes}
        self._last = dict(unpassed.before)

    def await_load(self, batch: Sequence[Node]) -> None:
        """Wait until the hints of a batch are delivered and clients connect to it again; each wait is bounded.

        Only nodes whose counters could be read before the batch are asked.
        """
        how = self.context.procedure
        names = listed([node.address for node in batch])
        if not self._before:
            return
        ours = {identity(node) for node in batch}
        holding = [node for node in self._before if node not in ours] if self._counts_hints() else []
        self._await(f"hints for {names} to be delivered", how.hints_timeout, lambda: self._hints(holding))
        self._await(f"clients to connect to {names}", how.load_timeout, lambda: self._without_clients(batch))

    def end(self, batch: Collection[str]) -> str:
        """The errors that clients got since `begin`, if there are more than the operator allows; otherwise empty.

        Args:
            batch: identities of nodes whose process is a new one.

        Raises:
            Halt: if errors are limited and a node's can't be read.
        """
        if not self._last:
            return ""
        self._last |= {node: ClientCounters() for node in batch if node in self._last}
        gone = {node: "it left the cluster" for node in self._last if node not in self._nodes}
        errors = self._counted(self._read({node: self._nodes[node] for node in self._last if node not in gone}, gone))
        why = self._excess(errors)
        self._record(errors, why)
        return why

    def _counted(self, now: Mapping[str, ClientCounters]) -> Counter[tuple[str, str]]:
        """The errors since the last reading of the same nodes; `now` becomes the last one."""
        errors = new_errors(self._last, {node: counters for node, counters in now.items() if node in self._last}, ())
        self._last |= now
        return errors

    def _record(self, errors: Counter[tuple[str, str]], excess: str) -> None:
        now = self.context.environment.clock()
        seconds = None if self._since is None else round(now - self._since, 1)
        self._since = now
        self.context.record("clients", seconds=seconds, errors=by_name(errors), excess=excess)

    def _excess(self, errors: Counter[tuple[str, str]]) -> str:
        most = self.context.procedure.max_client_errors
        counts = (
            errors if most is not None else Counter({key: n for key, n in errors.items() if key[1] == UNAVAILABLES})
        )
        if counts.total() <= (most or 0):
            return ""
        return f"clients got errors: {in_words(by_name(counts))}; --max-client-errors allows {most or 0}"

    def _read(self, nodes: Mapping[str, Node], unasked: Mapping[str, str] | None = None) -> dict[str, ClientCounters]:
        """The counters of nodes, by identity; nodes that can't be read are left out.

        Args:
            nodes: those to ask, by identity.
            unasked: other coordinators, and why they can't be asked.

        Raises:
            Halt: if errors are limited and a node's can't be read.
        """
        read, problems = self.context.environment.client_counters(nodes)
        problems = {**(unasked or {}), **problems}
        if problems:
            unread = f"{listed(sorted(problems))}: {problems[min(problems)]}"
            if self.context.procedure.max_client_errors is not None:
                raise Halt("doubt", f"the errors of clients can't be read from {unread}")
            if unread != self._unread:
                self.context.record("clients_unread", why=unread)
            self._unread = unread
        return read

    def _await(self, what: str, seconds: float, lacks: Callable[[], str]) -> None:
        """Poll until nothing is lacking or the time is over; the run continues in both cases."""
        ends = self.context.environment.clock() + seconds
        recorded = False
        while seconds and (lack := lacks()):
            if self.context.environment.clock() > ends:
                self.context.record("load", what=f"continuing after {seconds:g} s without {what}: {lack}")
                return
            if not recorded:
                self.context.record("load", what=f"waiting for {what}: {lack}")
                recorded = True
            self.context.pause(self.context.procedure.interval)

    def _counts_hints(self) -> bool:
        """Whether the releases of all nodes count delivered hints."""
        releases = [parse_release(node.release_version) for node in self._nodes.values()]
        return all(release is None or release >= HINTS_SERVICE for release in releases)

    def _hints(self, holding: list[str]) -> str:
        """How many hints are not yet delivered; empty if there are none, or the number is not known.

        Args:
            holding: nodes that may hold such hints; nodes that hold none are removed from it, and not asked again.
        """
        if not holding:
            return ""
        now = self._read({node: self._nodes[node] for node in holding})
        left = hints_left({node: self._before[node] for node in holding}, now) or {}
        holding[:] = left
        return counted(sum(left.values()), "hint") if left else ""

    def _without_clients(self, batch: Sequence[Node]) -> str:
        """Nodes that had clients before the batch and have none yet; empty for none."""
        had = {
            identity(node): node for node in batch if (then := self._before.get(identity(node))) and then.connections
        }
        now = self._read(had) if had else {}
        return listed([node.address for key, node in had.items() if key not in now or now[key].connections == 0])


def _unread(node: Node) -> str:
    """Why a node that may coordinate requests is not asked for its counters."""
    return "not asked (`views: contact_points`)" if node.source == "not_asked" else f"its Jolokia is {node.source}"
