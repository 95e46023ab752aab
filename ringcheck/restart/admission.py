"""Which nodes may stop now: the plan, the gate and the lease of the next batch.

Owns the leases of a run, from the record to the release. Nothing here touches a node.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ringcheck.core.evidence import evidence_of
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.plan import plan
from ringcheck.core.readings import confirmed
from ringcheck.core.words import listed
from ringcheck.errors import DataError, RingcheckError, SourceError, UsageError
from ringcheck.leases.grant import granted
from ringcheck.leases.record import HeldError, LeaseError
from ringcheck.restart.procedure import Halt, RestartTask
from ringcheck.restart.readiness import RestartedNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.plan import Plan
    from ringcheck.core.policy import Policy
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Snapshot
    from ringcheck.leases.store import Store
    from ringcheck.report.roll import RollOutcome
    from ringcheck.restart.context import RunContext


class NotNow(Exception):  # noqa: N818 - a refusal that may pass is not an error
    """No batch may stop now.

    Attributes:
        cause: equal for two refusals with the same reason, even if the numbers in their texts differ.
    """

    def __init__(self, why: str, cause: object = None) -> None:
        super().__init__(why)
        self.cause = why if cause is None else cause


@dataclass(slots=True, kw_only=True)
class Admission:
    """Requests batches, and holds their leases.

    Attributes:
        context: the run.
        store: where leases are kept.
        owner: of the run's leases.
        policy: the cluster's rules for judging a snapshot.
        gate: the settings of the gate.
        outcome: how the run ends if the last refusal is final: `refused` if the stop was known to be unsafe, otherwise
            `doubt`.
        untouched: nodes under a lease of this run that have not been touched yet.
        snapshot: the snapshot on which the last grant was based; None before the first grant.
        max_batch: maximum number of nodes in the next batch; None for no limit.
    """

    context: RunContext
    store: Store
    owner: str
    policy: Callable[[Snapshot], Policy]
    gate: Gate
    outcome: RollOutcome = "doubt"
    untouched: list[str] = field(default_factory=list)
    snapshot: Snapshot | None = None
    max_batch: int | None = None
    _recorded: dict[str, object] = field(default_factory=dict, init=False)
    _confirmed: tuple[tuple[str, str | None], ...] = field(default=(), init=False)

    # A batch

    def next_batch(self, left: Sequence[str]) -> list[RestartTask]:
        """A batch of the remaining nodes that may stop now, under its lease.

        Empty if the operator was asked and has agreed: a person may answer minutes later, so that nothing that was read
        before the answer counts. Call it again.

        Raises:
            NotNow: if the gate, the leases or a failed poll prevent it; a later attempt may succeed.
            Halt: if a later attempt can't succeed either.
        """
        self.outcome = "doubt"
        try:
            seen = self.context.environment.poll()
            others = tuple(holder for holder in self.store.holders() if holder.owner != self.owner)
        except RingcheckError as error:
            raise NotNow(str(error)) from None
        batch = self._planned(seen, left, others)
        _raise_unless_safe(self._decide(seen, batch, others))
        tasks = self.tasks(seen, batch)
        if self._confirm(tasks):
            return []
        self.lease(tasks)
        return tasks

    def _confirm(self, tasks: Sequence[RestartTask]) -> bool:
        """With `--step`, ask the operator, once for each batch. Returns whether the operator was asked.

        Raises:
            Halt: if the operator says no.
        """
        nodes = tuple((task.node.address, task.node.host_id) for task in tasks)
        if not self.context.procedure.step or self._confirmed == nodes:
            return False
        if not self.context.environment.confirm(f"Restart {listed([task.node.address for task in tasks])} now?"):
            raise Halt("interrupted", "stopped on request between two batches")
        self._confirmed = nodes
        return True

    def _planned(self, seen: Snapshot, left: Sequence[str], others: Sequence[Holder]) -> list[str]:
        """The first batch of a new plan for the remaining nodes."""
        members = [node for node in left if node in seen.index]
        gone = sorted(set(left) - set(members))
        if gone:
            raise Halt("doubt", f"{listed(gone)} left the cluster")
        how = self.context.procedure
        made = plan(seen, self.policy(seen), self.gate, nodes=members, max_batch=self.max_batch, by=how.by)
        _raise_if_refused(made)
        # Nodes under another run's lease come last: they may be back by then.
        leased = {holder.node for holder in others}
        free = [batch for batch in made.batches if not leased.intersection(batch)]
        batch = list((free or made.batches)[0])
        fields = {"batches": [list(nodes) for nodes in made.batches], "next": batch, "rule": made.rule}
        self._record_news("plan", fields, fields)
        return batch

    def _decide(self, seen: Snapshot, batch: Sequence[str], holders: Sequence[Holder]) -> Decision:
        decision = Gatekeeper(seen, self.policy(seen), self.gate, holders).decide(batch)
        self.outcome = "refused" if decision.decision == "unsafe" else "doubt"
        reason = _blocking(decision)
        fields = {"decision": decision.decision, "candidates": list(batch), "why": reason.summary if reason else ""}
        self._record_news("gate", fields, (decision.decision, tuple(batch), _cause(reason)))
        return decision

    def _record_news(self, event: str, fields: dict[str, Any], content: object) -> None:
        """Record an event, unless its content equals that of the last event of its kind: a wait has many readings."""
        if self._recorded.get(event) != content:
            self._recorded[event] = content
            self.context.record(event, **fields)

    def tasks(self, seen: Snapshot, batch: Sequence[str]) -> list[RestartTask]:
        """The tasks of a batch, after all checks of its nodes that come before their lease.

        Raises:
            NotNow: if a node can't be reached, because another run restarts it.
            Halt: if a node can't be reached otherwise, or too little is known about it.
        """
        tasks = [self._task(seen, address) for address in batch]
        self._find_clients(tasks)
        return tasks

    def _task(self, seen: Snapshot, address: str) -> RestartTask:
        """The state of a node before it is touched, and the arguments of its commands.

        Raises:
            Halt: if too little is known about the node.
        """
        node = seen.nodes[seen.index[address]]
        try:
            words = self.context.procedure.words(node)
        except UsageError as error:
            raise Halt("refused", str(error)) from None
        down = seen.index[address] in evidence_of(seen).surely_down
        try:
            started: int | None = self.context.environment.started_at(address, node.host_id)
        except (SourceError, DataError) as error:
            if not down or (isinstance(error, SourceError) and error.kind == "denied"):
                why = f"the start time of the process of {address} can't be read: {error}"
                raise self._unreachable(address, why) from None
            started = None
        return RestartTask(node=node, target=RestartedNode(address, node.host_id, started_at=started), words=words)

    def _unreachable(self, address: str, why: str, remedy: str = "") -> Exception:
        """A refusal because of a node that can't be reached; if another run restarts that node, it is for now only."""
        return NotNow(why) if self._leased_to_others(address) else Halt("refused", why, remedy)

    def _leased_to_others(self, address: str) -> bool:
        """Whether another run holds a lease on one of the nodes, perhaps taken since the poll."""
        with suppress(RingcheckError):
            return any(holder.node == address and holder.owner != self.owner for holder in self.store.holders())
        return False

    def _find_clients(self, tasks: Iterable[RestartTask]) -> None:
        """Find each node's CQL port, and check that this host reaches it: later it shows whether the node is back.

        Raises:
            Halt: if this host can't reach it.
            NotNow: if another run restarts the node.
        """
        environment = self.context.environment
        up = [task for task in tasks if task.target.started_at is not None]
        clients = environment.clients_of([task.node.address for task in up])
        for task in up:
            where = clients.get(task.node.address)
            if where and task.node.native_transport_running and not environment.answers_cql(*where):
                text = f"the CQL port {where[0]}:{where[1]} of {task.node.address} can't be reached from here"
                why = f"{text}: name the port with --cql-port, or skip the check with --no-cql"
                raise self._unreachable(task.node.address, why, "and --cql-port PORT or --no-cql")
            task.target = replace(task.target, client=where)

    # The lease

    def lease(self, tasks: Sequence[RestartTask]) -> None:
        """Take the lease of a batch, if the gate answers safe often enough in a row.

        Raises:
            NotNow: if the gate does not, or if no lease can be taken now.
        """
        batch = [task.node.address for task in tasks]
        since, purpose = self.context.environment.utc(), self.context.procedure.purpose
        wanted = [
            Holder(node=task.node.address, owner=self.owner, purpose=purpose, since=since, host_id=task.node.host_id)
            for task in tasks
        ]
        stable = self.context.procedure.stable
        try:
            decision = granted(self.store, wanted, lambda others: confirmed(self._readings(tasks, others), stable))
        except HeldError as error:
            self.outcome = "refused"
            raise NotNow(str(error)) from None
        except LeaseError as error:  # it may have been recorded; the next try releases it or takes it over
            raise NotNow(f"no lease: {error}") from None
        except RingcheckError as error:  # a poll that failed
            raise NotNow(str(error)) from None
        _raise_unless_safe(decision)
        self.untouched, self.snapshot = batch, decision.snapshot
        self.context.record("lease", nodes=batch, store=self.store.describe())

    def _readings(self, tasks: Sequence[RestartTask], others: Sequence[Holder]) -> Iterator[Decision]:
        """The gate's answers on fresh data, one poll interval apart."""
        while True:
            seen = self.context.environment.poll()
            yield self._decide(seen, [_unmoved(task, seen) for task in tasks], others)
            self.context.pause(self.context.procedure.interval, idle=True)

    def release(self, nodes: Sequence[str]) -> None:
        """Give leases back.

        Raises:
            Halt: if the leases can't be released.
        """
        try:
            self.store.remove(nodes, self.owner)
        except LeaseError as error:
            text = f"{listed(list(nodes))} back, but the lease could not be released: {error}"
            raise Halt("doubt", f"{text}; `ringcheck lease release` does it") from None
        self.context.record("released", nodes=list(nodes))

    def release_untouched(self) -> None:
        """Give back the lease of nodes that were not touched. If that fails, --resume does it later."""
        with suppress(RingcheckError, Halt):
            if self.untouched:
                self.release(self.untouched)

    def release_all_but(self, nodes: Iterable[str]) -> None:
        """Give back all leases of this owner except those of some nodes."""
        kept = set(nodes)
        ours = [holder.node for holder in self.store.holders() if holder.owner == self.owner]
        if over := [node for node in ours if node not in kept]:
            self.release(over)


def _unmoved(task: RestartTask, seen: Snapshot) -> str:
    """The address of a node, which its commands and its lease name.

    Raises:
        DataError: the node has left, or has another address now, so that commands would reach another node.
    """
    address, node = task.node.address, task.target.find(seen)
    if node is None:
        raise DataError(f"{address} left the cluster")
    if node.address != address:
        raise DataError(f"the node that was {address} is {node.address} now")
    return address


def _raise_unless_safe(decision: Decision) -> None:
    if decision.decision != "safe":
        reason = _blocking(decision)
        raise NotNow(reason.summary if reason else "", _cause(reason))


def _raise_if_refused(made: Plan) -> None:
    """Raise if a plan has no batch that can stop now.

    Raises:
        Halt: if a reason can't be lifted by waiting.
        NotNow: otherwise.
    """
    for refusal in made.refused:
        for reason in refusal.reasons:
            if reason.kind.takes:  # a plan is made for the ring with all nodes up
                nodes = listed([other.node for other in made.refused])
                why = f"{nodes} can never be stopped safely: {reason.summary}"
                raise Halt("refused", why, "once that has changed")
    if made.refused and made.refused[0].reasons:
        first = made.refused[0].reasons[0]
        raise NotNow(first.summary, _cause(first))
    if not made.batches:
        raise NotNow("there is nothing to plan")


def _blocking(decision: Decision) -> Reason | None:
    """The reason that a refusal states: the first one that blocks."""
    return next((reason for reason in decision.reasons if reason.blocks), None)


def _cause(reason: Reason | None) -> object:
    """The identity of a reason across readings: everything except its numbers."""
    return reason and (reason.code, reason.subject, reason.keyspace, reason.level, reason.datacenter)
