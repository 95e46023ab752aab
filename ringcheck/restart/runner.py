"""A rolling restart: one batch after another, each by the gate's leave, each really back before the next.

For every batch: look, plan what is left, and ask the gate; record a lease and ask again, several times in a row, with
all other holders counted as down; drain each node and see that it is drained and that its peers see it down; run the
operator's commands; wait until each node is really back (see back.py) and nothing is worse than before; release.

It stops at the first doubt, before a node is touched where that is possible. What was begun stays under its lease, so
that nobody else takes a replica more. The journal has a line before everything that is done, so that a run that was
killed can be continued without restarting anything twice.

Nothing here reads a clock, polls or runs a command by itself: a `World` does, which tests replace.
"""

from __future__ import annotations

import random
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

from ringcheck.core.evidence import evidence_of
from ringcheck.core.gate import Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.plan import plan
from ringcheck.core.words import listed
from ringcheck.errors import DataError, GoneError, RingcheckError, SourceError
from ringcheck.leases.leases import HeldError, LeaseError, granted
from ringcheck.report.roll import Report
from ringcheck.restart.readiness import RestartedNode, down_ids, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.plan import Plan
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Node, Snapshot
    from ringcheck.leases.leases import Store
    from ringcheck.report.roll import RollOutcome
    from ringcheck.restart.commands import Command, Ended
    from ringcheck.restart.journal import Begun, Past

    class World(Protocol):
        """What a run does to the world and learns from it."""

        def poll(self) -> Snapshot:
            """A fresh snapshot; RingcheckError where there is none."""

        def started_at(self, address: str, host_id: str | None) -> int:
            """As `Control.started_at`."""

        def drain(self, address: str, host_id: str | None, seconds: float) -> None:
            """As `Control.drain`."""

        def clients_of(self, addresses: Sequence[str]) -> dict[str, tuple[str, int]]:
            """Where the clients of these nodes connect, by address of the node."""

        def answers_cql(self, host: str, port: int) -> bool:
            """As `answers_cql` of back.py."""

        def run(self, words: tuple[str, ...], seconds: float, started: Callable[[int], None]) -> Ended:
            """As `run` of commands.py."""

        def birth(self, pid: int) -> int | None:
            """As `birth` of commands.py."""

        def clock(self) -> float:
            """Monotonic seconds."""

        def sleep(self, seconds: float) -> None:
            """Wait."""

        def utc(self) -> str:
            """Now, `2026-01-31T23:59:59Z`."""

        def interrupts(self) -> int:
            """How often the operator has asked to stop."""


DRAINED = "DRAINED"  # OperationMode
_REFUSALS = 3  # in a row, after which nothing listens any more


@dataclass(frozen=True, slots=True)
class Procedure:
    """How the operator wants nodes restarted; times in seconds.

    Attributes:
        restart: the command that restarts a node; None where it is stopped and started by two.
        stop: the command that stops one, otherwise.
        start: the command that starts it again.
        drain: whether to drain nodes first.
        stable: safe readings in a row before a batch.
        max_batch: nodes of a batch at most.
        by: how to batch, as `plan`.
        wait: how long the gate may refuse before the run stops.
        drain_timeout: for a drain, and for the peers to see it.
        exec_timeout: for one command.
        back_timeout: for a node to be back.
        pause: between batches.
        max_failures: nodes that may fail before the run stops.
        between: seconds from poll to poll.
        flap: how long a node that went down meanwhile may take to come back.
        lost: how long after a killed run a node may take to show that its command was run.
        purpose: of the leases.
    """

    restart: Command | None = None
    stop: Command | None = None
    start: Command | None = None
    drain: bool = True
    stable: int = 3
    max_batch: int | None = None
    by: Literal["rack", "node"] | None = None
    wait: float = 600.0
    drain_timeout: float = 300.0
    exec_timeout: float = 600.0
    back_timeout: float = 900.0
    pause: float = 0.0
    max_failures: int = 0
    between: float = 2.0
    flap: float = 60.0
    lost: float = 120.0
    purpose: str = "rolling restart"


class Halt(Exception):  # noqa: N818 - it is an end, not always an error
    """The run ends here."""

    def __init__(self, outcome: RollOutcome, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


@dataclass(slots=True)
class _Work:
    """A node of the batch in hand: what it was, and what is known to have been done to it."""

    node: Node
    target: RestartedNode
    done: Begun | None = None
    problem: str = ""
    refusals: int = 0  # connections to its agent in a row, after its stop
    doubt: bool = False  # whether its process may still be stopping


class Runner:
    """One run. `tell` is called with each event before what it announces is done."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a run consists of
        self,
        world: World,
        store: Store,
        policy: Policy,
        gate: Gate,
        procedure: Procedure,
        owner: str,
        tell: Callable[..., object],
    ) -> None:
        self.world = world
        self.store = store
        self.policy = policy
        self.gate = gate
        self.how = procedure
        self.owner = owner
        self.tell = tell
        self.report = Report()
        self._told: dict[str, object] = {}
        self._verdict: RollOutcome = (
            "doubt"  # if the run ended for what the gate said last: unsafe is known, all else not
        )
        self._untouched: list[str] = []  # nodes under our lease to which nothing was done yet
        self._seen: Snapshot | None = None  # on which the gate's last word on them was based

    def run(self, wanted: Sequence[str], past: Past | None = None) -> Report:
        """Restart nodes.

        Args:
            wanted: addresses, all of them, also those that an earlier run has done.
            past: what the run did that this one continues.
        """
        begins = self.world.clock()
        report = self.report
        report.done = [one for one in wanted if past and one in past.done]
        report.left = [one for one in wanted if one not in report.done]
        try:
            if past:
                self._tidy(past)
            if past and past.begun:
                self._finish(list(past.begun.values()))
            while report.left:
                self._next()
        except Halt as halt:
            report.outcome, report.why = halt.outcome, str(halt)
        except RingcheckError as error:
            report.outcome, report.why = "doubt", str(error)
        self._let_go()
        if report.outcome == "done" and report.failed:
            report.outcome, report.why = "failed", f"{listed(list(report.failed))} not back"
        report.seconds = self.world.clock() - begins
        self.tell("end", outcome=report.outcome, why=report.why, seconds=round(report.seconds, 1))
        return report

    def _let_go(self) -> None:
        """Release the lease of nodes to which nothing was done."""
        with suppress(RingcheckError):  # what can't be released is told by `lease list`, and --resume tries again
            if self._untouched:
                self._release(self._untouched)

    # One batch

    def _next(self) -> None:
        """The next batch, from a fresh look to its return."""
        ends = self.world.clock() + self.how.wait
        last = ""
        while True:
            self._stop_if_asked()
            why, batch = self._try()
            if batch:
                break
            if _unnumbered(why) != last:
                self.tell("waiting", why=why)
                last = _unnumbered(why)
            if self.world.clock() > ends:
                raise Halt(self._verdict, f"the gate did not open within {self.how.wait:g} s: {why}")
            self._pause(self.how.between * random.uniform(1, 1.5))  # noqa: S311 - so that two runs do not meet for ever
        self._restart_all(batch)
        if self.report.left and self.how.pause:
            self.tell("pause", seconds=self.how.pause)
            self._pause(self.how.pause, clean=True)

    def _try(self) -> tuple[str, list[_Work]]:
        """A batch that may be stopped now, under its lease; or why there is none."""
        self._verdict = "doubt"
        try:
            seen = self.world.poll()
            held = tuple(one for one in self.store.holders() if one.owner != self.owner)
        except RingcheckError as error:
            return str(error), []
        why, batch = self._choose(seen, held)
        if why:
            return why, []
        decision = self._decide(seen, batch, held)
        if decision.decision != "safe":
            return _because(decision), []
        works = [self._work(seen, address) for address in batch]
        self._reachable(works)
        return self._lease(works)

    def _choose(self, seen: Snapshot, held: Sequence[Holder]) -> tuple[str, list[str]]:
        """The first batch of what is left, planned anew; or why there is none as yet."""
        there = [one for one in self.report.left if one in seen.index]
        gone = sorted(set(self.report.left) - set(there))
        if gone:
            raise Halt("doubt", f"{listed(gone)} left the cluster")
        made = plan(seen, self.policy, self.gate, nodes=there, max_batch=self.how.max_batch, by=self.how.by)
        if why := _refused(made):
            return why, []
        # What another run has under its lease may be back when its turn comes.
        theirs = {one.node for one in held}
        free = [batch for batch in made.batches if not theirs.intersection(batch)]
        batch = list((free or made.batches)[0])
        self._news("plan", batches=[list(one) for one in made.batches], next=batch, rule=made.rule)
        return "", batch

    def _decide(self, seen: Snapshot, batch: Sequence[str], holders: Sequence[Holder]) -> Decision:
        decision = Gatekeeper(seen, self.policy, self.gate, holders).decide(batch)
        self._verdict = "refused" if decision.decision == "unsafe" else "doubt"
        self._news("gate", decision=decision.decision, candidates=list(batch), why=_because(decision))
        return decision

    def _news(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as tell
        """Tell what differs from what was told last: a wait has many readings."""
        news = {**fields, "why": _unnumbered(fields.get("why", ""))}
        if self._told.get(event) != news:
            self._told[event] = news
            self.tell(event, **fields)

    def _work(self, seen: Snapshot, address: str) -> _Work:
        """What a node is before it is touched."""
        node = seen.nodes[seen.index[address]]
        down = seen.index[address] in evidence_of(seen).surely_down
        try:
            started: int | None = self.world.started_at(address, node.host_id)
        except (SourceError, DataError) as error:
            if not down or (isinstance(error, SourceError) and error.kind == "denied"):
                raise Halt("refused", f"since when {address} runs can't be read: {error}") from None
            started = None
        return _Work(node, RestartedNode(address, node.host_id, started))

    def _reachable(self, works: Iterable[_Work]) -> None:
        """Where clients connect, and that it can be reached from here before it is needed."""
        up = [one for one in works if one.target.started_at is not None]
        clients = self.world.clients_of([one.node.address for one in up])
        for work in up:
            where = clients.get(work.node.address)
            if where and work.node.native_transport_running and not self.world.answers_cql(*where):
                text = f"the CQL port {where[0]}:{where[1]} of {work.node.address} can't be reached from here"
                raise Halt("refused", f"{text}: say where it is with --cql-port, or leave it out with --no-cql")
            work.target = replace(work.target, client=where)

    # The lease

    def _lease(self, works: list[_Work]) -> tuple[str, list[_Work]]:
        """The batch if it is under its lease and the gate said yes often enough, or why not."""
        batch = [one.node.address for one in works]
        now = self.world.utc()
        wanted = [
            Holder(
                node=one.node.address, owner=self.owner, purpose=self.how.purpose, since=now, host_id=one.node.host_id
            )
            for one in works
        ]
        try:
            decision = granted(self.store, wanted, lambda others: self._stable(batch, others))
        except HeldError as error:
            self._verdict = "refused"
            return str(error), []
        except LeaseError as error:  # whether it is ours is not known; what is ours is released before the next try
            return f"no lease: {error}", []
        except RingcheckError as error:  # a poll that failed
            return str(error), []
        if decision.decision != "safe":
            return _because(decision), []
        self._untouched, self._seen = batch, decision.snapshot
        self.tell("lease", nodes=batch, store=self.store.describe())
        return "", works

    def _stable(self, batch: Sequence[str], others: Sequence[Holder]) -> Decision:
        """The first reading that is not safe, or the last of enough that are."""
        for reading in range(max(1, self.how.stable)):
            if reading:
                self._pause(self.how.between, clean=True)
            decision = self._decide(self.world.poll(), batch, others)
            if decision.decision != "safe":
                break
        return decision

    def _release(self, nodes: Sequence[str]) -> None:
        try:
            self.store.remove(nodes, self.owner)
        except LeaseError as error:
            text = f"{listed(list(nodes))} back, but the lease could not be released: {error}"
            raise Halt("doubt", f"{text}; `ringcheck lease release` does it") from None
        self.tell("released", nodes=list(nodes))

    # Stop and start

    def _restart_all(self, works: list[_Work]) -> None:
        """Drain, restart and await a batch that may stop now."""
        before = self._down_before(works, self._seen or self.world.poll())
        for work in works:
            target = work.target
            self.tell("stopping", node=target.node, host_id=target.host_id, started_at=target.started_at)
            self.report.left.remove(target.node)
            self.report.in_hand.append(target.node)
        self._untouched = []
        if self.how.drain:
            self._drain_all([one for one in works if one.target.started_at is not None and one.node.mode != DRAINED])
        self._command_all([one for one in works if not one.problem])
        self._await_back([one for one in works if not one.problem], before)
        self._settle(works, before)

    @staticmethod
    def _down_before(works: Iterable[_Work], seen: Snapshot) -> frozenset[str]:
        """Who is not waited for: nodes that are down, but for those that are restarted."""
        return down_ids(seen) - {one.node.host_id or one.node.address for one in works}

    def _settle(self, works: list[_Work], before: frozenset[str]) -> None:
        """Count what failed, release what is back, and look whether anything got worse."""
        for work in works:
            if work.problem:
                self.report.failed[work.target.node] = work.problem
                self.tell("failed", node=work.target.node, why=work.problem)
        back = [one.target.node for one in works if not one.problem]
        self.report.done += back
        self.report.in_hand = []
        doubt = any(one.doubt for one in works)
        if doubt or len(self.report.failed) > self.how.max_failures:
            if back:
                self._release(back)
            why = "; ".join(f"{one}: {why}" for one, why in self.report.failed.items())
            raise Halt("doubt" if doubt else "failed", why)
        self._nothing_worse(before | {one.node.host_id or one.node.address for one in works if one.problem})
        if back:
            self._release(back)

    def _nothing_worse(self, before: frozenset[str]) -> None:
        """Every range has at least the replicas that it had, in every view; a flap may pass."""
        ends = self.world.clock() + self.how.flap
        while True:
            try:
                seen = self.world.poll()
                names = {node.host_id or node.address: node.address for node in seen.nodes}
                worse = [names[one] for one in sorted(down_ids(seen) - before) if one in names]
                why = f"{listed(worse)} went down meanwhile" if worse else ""
            except RingcheckError as error:
                why = str(error)
            if not why:
                return
            if self.world.clock() > ends:
                raise Halt("failed", f"the batch is back, but the cluster is not as before: {why}")
            self._pause(self.how.between)

    # Drain

    def _drain_all(self, works: list[_Work]) -> None:
        """Drain nodes, and see that they are drained and that nobody sends them requests any more."""
        if not works:
            return
        self.tell("draining", nodes=[one.node.address for one in works])
        self._together(works, self._drain)
        waiting = [one for one in works if not one.problem]
        self._until(waiting, self._undrained, self.how.drain_timeout)
        for work in waiting:
            if not work.problem:
                self.tell("drained", node=work.node.address)

    def _drain(self, work: _Work) -> None:
        try:
            self.world.drain(work.node.address, work.target.host_id, self.how.drain_timeout)
        except RingcheckError as error:
            work.problem = f"it could not be drained: {error} (--no-drain leaves it out)"

    @staticmethod
    def _undrained(work: _Work, seen: Snapshot) -> str | None:
        node = work.target.find(seen)
        if node is None or node.mode != DRAINED:
            return f"it is {node.mode}, not {DRAINED}" if node and node.mode else "its Jolokia does not answer"
        evidence = evidence_of(seen)
        up = [view.observer for view in evidence.usable if seen.index[node.address] not in evidence.down(view)]
        if up:
            return f"seen up by {listed(up)}"
        return None if evidence.usable else "no peer's view can be used"

    # Commands

    def _command_all(self, works: list[_Work]) -> None:
        if self.how.restart:
            self._together(works, lambda work: self._command(work, self.how.restart))
            return
        self._together(works, lambda work: self._command(work, self.how.stop))
        self._await_ends([one for one in works if not one.problem])
        self._together([one for one in works if not one.problem], lambda work: self._command(work, self.how.start))

    def _await_ends(self, works: list[_Work]) -> None:
        """Wait until the stopped processes are gone: started beside its old one, a node would be two."""
        for work in works:
            work.doubt = True
        self._until(works, self._running, self.how.exec_timeout)
        for work in works:
            if work.doubt:
                work.problem += "; once it has ended there, start it by hand and go on with --resume"

    def _running(self, work: _Work, _: Snapshot) -> str | None:
        """What keeps a stopped node from being started; silence is no end, since a process that stops is silent too."""
        try:
            now = self.world.started_at(work.node.address, work.target.host_id)
        except (SourceError, DataError) as error:
            work.refusals = work.refusals + 1 if isinstance(error, GoneError) else 0
            work.doubt = work.refusals < _REFUSALS
            return f"whether its process has ended is not known: {error}" if work.doubt else None
        work.refusals, work.doubt = 0, False
        return "it still runs" if now == work.target.started_at else None

    def _command(self, work: _Work, command: Command | None) -> None:
        assert command is not None  # noqa: S101 - the command line asks for one or for both others
        words, address = command.of(work.node), work.node.address

        def started(pid: int) -> None:
            self.tell("command", node=address, words=list(words), pid=pid, born=self.world.birth(pid))

        ended = self.world.run(words, self.how.exec_timeout, started)
        self.tell("command_ended", node=address, status=ended.status, output=ended.output, problem=ended.problem)
        if ended.status != 0:
            how = ended.problem or f"ended with status {ended.status}"
            tail = " ".join(ended.output.split())[-200:]
            work.problem = f"the command {how}" + (f": {tail}" if tail else "")

    # Back

    def _await_back(self, works: list[_Work], before: frozenset[str]) -> None:
        """Wait until each is really back; what is not in time has a problem."""
        begins = self.world.clock()

        def lacks(work: _Work, seen: Snapshot) -> str | None:
            return self._lacks(work, seen, before)

        def back(work: _Work) -> None:
            self.tell("back", node=work.node.address, seconds=round(self.world.clock() - begins, 1))

        self._until(works, lacks, self.how.back_timeout, back)

    def _lacks(self, work: _Work, seen: Snapshot, before: frozenset[str]) -> str | None:
        lack = missing(work.target, seen, before)
        if lack:
            return lack
        now = work.target.find(seen)
        address = now.address if now else work.node.address
        try:
            old, host_id = work.target.started_at, work.target.host_id
            if old is not None and self.world.started_at(address, host_id) <= old:
                return "its process was not replaced"
        except RingcheckError as error:
            return str(error)
        where = work.target.client
        if where and not self.world.answers_cql(*where):
            return f"its CQL port {where[0]}:{where[1]} does not answer"
        return None

    # Resume

    def _tidy(self, past: Past) -> None:
        """Release what the killed run held of nodes that are back, or that it had not touched yet."""
        mine = [one.node for one in self.store.holders() if one.owner == self.owner]
        over = [one for one in mine if one not in past.begun]
        if over:
            self._release(over)

    def _finish(self, begun: list[Begun]) -> None:
        """Bring to an end what a killed run had begun, restarting nothing that was restarted already."""
        self._await_commands(begun)
        works = [self._again(one) for one in begun]
        self.report.in_hand = [one.target.node for one in works]
        self.report.left = [one for one in self.report.left if one not in self.report.in_hand]
        before = self._down_before(works, self.world.poll())
        rest = [one for one in works if not self._restarted(one)]
        if rest:
            self._stop_again(rest)
        self._await_back([one for one in works if not one.problem], before)
        self._settle(works, before)

    def _await_commands(self, begun: Iterable[Begun]) -> None:
        """Commands that outlived the run that started them."""
        ends = self.world.clock() + self.how.exec_timeout
        for one in begun:
            while one.pid is not None and one.born is not None and self.world.birth(one.pid) == one.born:
                if self.world.clock() > ends:
                    raise Halt("doubt", f"the command of the earlier run for {one.node} still runs (pid {one.pid})")
                self._pause(self.how.between)

    def _again(self, begun: Begun) -> _Work:
        seen = self.world.poll()
        target = RestartedNode(begun.node, begun.host_id, begun.started_at)
        node = target.find(seen)
        if node is None:
            raise Halt("doubt", f"{begun.node} left the cluster")
        where = self.world.clients_of([node.address]).get(node.address)
        return _Work(node, replace(target, client=where), begun)

    def _restarted(self, work: _Work) -> bool:
        """Whether its process is a new one, or will be: one whose command has run may still be on its way up."""
        done = work.done
        ends = self.world.clock() + (self.how.lost if done and done.pid is not None else 0.0)
        while True:
            try:
                now = self.world.started_at(work.node.address, work.target.host_id)
                if work.target.started_at is None or now > work.target.started_at:
                    return True
                if not (done and done.ran):
                    return False
            except RingcheckError:
                pass
            if self.world.clock() >= ends:
                return False
            self._pause(self.how.between)

    def _stop_again(self, works: list[_Work]) -> None:
        """Restart what the killed run had not, by the gate's leave as the first time."""
        ends = self.world.clock() + self.how.wait
        while True:
            why, _ = self._lease(works)
            if not why:
                break
            if self.world.clock() > ends:
                raise Halt(self._verdict, f"the gate did not open within {self.how.wait:g} s: {why}")
            self.tell("waiting", why=why)
            self._pause(self.how.between, clean=True)
        self._untouched = []  # the killed run had begun them
        seen = self.world.poll()
        serving = [one for one in works if (node := one.target.find(seen)) and node.mode == "NORMAL"]
        if self.how.drain:
            self._drain_all(serving)
        self._command_all([one for one in works if not one.problem])

    # Waiting

    def _until(
        self,
        works: Iterable[_Work],
        lacks: Callable[[_Work, Snapshot], str | None],
        seconds: float,
        then: Callable[[_Work], object] = lambda _: None,
    ) -> None:
        """Poll until nothing is lacking to any of them; those to whom it is after that time have a problem."""
        ends = self.world.clock() + seconds
        waiting = {one.node.address: one for one in works}
        told: dict[str, str] = {}
        while waiting:
            try:
                seen = self.world.poll()
                lacking = {address: lacks(work, seen) for address, work in waiting.items()}
            except RingcheckError as error:
                lacking = dict.fromkeys(waiting, str(error))
            for address, what in lacking.items():
                if what is None:
                    then(waiting.pop(address))
                elif told.get(address) != what:
                    self.tell("lacks", node=address, what=what)
                    told[address] = what
            if waiting and self.world.clock() > ends:
                for address, work in waiting.items():
                    work.problem = f"not within {seconds:g} s: {lacking[address]}"
                return
            if waiting:
                self._pause(self.how.between)

    def _together(self, works: list[_Work], do: Callable[[_Work], None]) -> None:
        """Do something to each, at once; a second interrupt does not wait for it."""
        wrong: list[BaseException] = []

        def each(work: _Work) -> None:
            try:
                do(work)
            except BaseException as error:  # noqa: BLE001 - raised again below
                wrong.append(error)

        threads = [Thread(target=each, args=(work,), daemon=True) for work in works]
        for one in threads:
            one.start()
        while any(one.is_alive() for one in threads):
            self._pause(0.1)
        if wrong:
            raise wrong[0]

    def _pause(self, seconds: float, *, clean: bool = False) -> None:
        """Sleep in small steps; `clean` says that nothing is in hand, so that one interrupt ends the run."""
        ends = self.world.clock() + seconds
        while True:
            if self.world.interrupts() > 1:
                raise Halt("aborted", "interrupted twice: what was begun stays under its lease; --resume goes on")
            if clean:
                self._stop_if_asked()
            left = ends - self.world.clock()
            if left <= 0:
                return
            self.world.sleep(min(left, 0.2))

    def _stop_if_asked(self) -> None:
        if self.world.interrupts():
            raise Halt("interrupted", "stopped as asked; no node is in hand")


def _refused(made: Plan) -> str:
    """Why there is no plan as yet.

    Raises:
        Halt: if nothing that passes is the reason.
    """
    for one in made.refused:
        for reason in one.reasons:
            if reason.kind.takes:  # a plan is of the ring with all nodes up
                nodes = listed([one.node for one in made.refused])
                raise Halt("refused", f"{nodes} can never be stopped safely: {reason.summary}")
    if made.refused and made.refused[0].reasons:
        return made.refused[0].reasons[0].summary
    return "" if made.batches else "there is nothing to plan"


def _unnumbered(why: str) -> str:
    """A reason without its numbers: the seconds that it still takes are no news."""
    return re.sub(r"\b\d+ (?=s\b|ranges|of)", "", why)


def _because(decision: Decision) -> str:
    blocking = [one for one in decision.reasons if one.blocks]
    return blocking[0].summary if blocking else ""
