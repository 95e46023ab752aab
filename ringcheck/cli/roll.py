"""`ringcheck roll`: restart the nodes of a cluster, batch after batch, without a failed query."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringcheck.cli.dry_run import REFUSED, DryRun
from ringcheck.cli.gate import gate_options
from ringcheck.cli.node_names import members
from ringcheck.cli.options import EVERY_KEYSPACE, NO_RECORDING, ClusterCommand, Seconds, Whole, target_options
from ringcheck.cli.terminal import broken, columns, say
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ringcheck.cli.target import ChosenCluster, Target
    from ringcheck.core.gate import Gate
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.roll import Report
    from ringcheck.restart.journal import Event, Journal, Past
    from ringcheck.restart.procedure import Procedure, Window

EXIT = {"done": 0, "interrupted": 1, "refused": REFUSED, "failed": 2, "doubt": 3, "aborted": 3}
STABLE = 3  # safe readings in a row before a batch, at least


class TimeWindow(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter there
    """A part of each day by local time: `22:00-06:00`."""

    name = "window"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Window:
        """The window."""
        from ringcheck.restart.procedure import Window

        try:
            return Window.parse(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Bound(Seconds):
    """The longest duration of a wait; 0 for no wait at all."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The duration in seconds, 0 or more."""
        return 0.0 if str(value) in {"0", "0s"} else super().convert(value, param, ctx)


@click.command(cls=ClusterCommand)
@target_options(refused={"keyspace": EVERY_KEYSPACE, "from_": NO_RECORDING})
@gate_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--rack", metavar="RACK", help="Only the nodes of this rack.")
@click.option(
    "--exec",
    "exec_",
    metavar="CMD",
    help="Command that restarts a node, such as 'ssh {address} sudo systemctl restart cassandra'.",
)
@click.option("--stop-exec", metavar="CMD", help="Instead of --exec: command that stops a node.")
@click.option("--start-exec", metavar="CMD", help="With --stop-exec: command that starts the node again.")
@click.option("--no-drain", is_flag=True, help="Do not drain nodes: the command stops them gracefully itself.")
@click.option(
    "--stable",
    type=Whole(1),
    metavar="N",
    help="Safe readings in a row that are needed before a batch. [default: that of the configuration, at least 3]",
)
@click.option(
    "--wait", type=Seconds(), default=600.0, help="Give up if the gate refuses a batch for this long. [default: 10m]"
)
@click.option("--max-batch", type=Whole(1), metavar="N", help="Restart at most N nodes at once.")
@click.option(
    "--by", type=click.Choice(["rack", "node"]), help="rack: no batch spans racks; node: each node is a batch."
)
@click.option("--pause-between", type=Seconds(), default=None, help="Pause between batches. [default: none]")
@click.option(
    "--max-failures",
    type=Whole(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Continue after up to N nodes have failed.",
)
@click.option("--check", metavar="CMD", help="Command that must succeed before each batch and after the last.")
@click.option("--canary", type=Whole(1), metavar="N", help="Restart at most N nodes in the first batch.")
@click.option("--bake", type=Seconds(), default=0.0, help="Watch the clients for this long after the first batch.")
@click.option("--step", is_flag=True, help="Ask before each batch; needs a terminal.")
@click.option("--window", type=TimeWindow(), help="Begin batches only at this time of day, such as 22:00-06:00.")
@click.option(
    "--max-client-errors",
    type=Whole(0),
    metavar="N",
    help="Stop if clients got more than N errors during a batch. [default: no Unavailables, any number of others]",
)
@click.option(
    "--hints-timeout",
    type=Bound(),
    default=300.0,
    help="Wait for the hints of a batch, at most; 0: don't wait. [default: 5m]",
)
@click.option(
    "--load-timeout",
    type=Bound(),
    default=120.0,
    help="Wait for clients to connect again, at most; 0: don't wait. [default: 2m]",
)
@click.option("--drain-timeout", type=Seconds(), default=300.0, help="Time for draining a node. [default: 5m]")
@click.option("--exec-timeout", type=Seconds(), default=600.0, help="Time for a command. [default: 10m]")
@click.option(
    "--back-timeout", type=Seconds(), default=900.0, help="Time for a node to be back after its restart. [default: 15m]"
)
@click.option(
    "--cql-port",
    type=Whole(1, 65535),
    metavar="PORT",
    help="Port for CQL clients. [default: the one that gossip reports]",
)
@click.option("--no-cql", is_flag=True, help="Do not check CQL ports, if they can't be reached from this host.")
@click.option(
    "--purpose",
    metavar="TEXT",
    default="rolling restart",
    show_default=True,
    help="The reason in the leases, shown to other people.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that records the progress. [default: ringcheck-roll-CLUSTER.jsonl in this directory]",
)
@click.option("--resume", is_flag=True, help="Continue the run in the journal, which stopped or was killed.")
@click.option("--dry-run", is_flag=True, help="Show the batches, the gate's decision and the commands; do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def roll(target: Target, nodes: tuple[str, ...], rack: str | None, gate: Gate, **options: Any) -> int:  # noqa: ANN401 - one an option
    """Restart nodes batch by batch: gate, lease, drain, your command, and wait until the nodes are back.

    A NODE is an address, a host name, a host id, or the beginning of an address or host id. Without a NODE, all nodes
    are restarted. In the commands, {address}, {host_id}, {datacenter} and {rack} are replaced by those of the node; no
    shell is involved.

    The first interrupt (Ctrl-C) lets the nodes of the current batch come back and stops then; a second one aborts.

    Exit codes: 0 all nodes restarted, 1 stopped on request, 2 refused or failed, 3 in doubt.
    """
    cluster = target.choose()
    how = _procedure(cluster, options)
    with cluster.polls(streams=True) as poll:
        seen = poll()
        wanted = _nodes_to_restart(seen, cluster, nodes, rack)
        if options["dry_run"]:
            past = _past_unchanged(seen, options, wanted)
            _require_commands(seen, how, _not_begun(past, wanted))
            owner = past.owner if past else ""
            dry = DryRun(cluster=cluster, gate=gate, how=how, options=options, owner=owner)
            return dry.show(seen, _not_begun(past, wanted))
        with closing(_journal(options["journal"], seen.cluster)) as journal:
            past = _past(journal, seen.cluster, wanted, resume=options["resume"])
            _require_commands(seen, how, _not_begun(past, wanted))
            _confirm(seen.cluster, past.nodes if past else wanted, yes=options["yes"])
            run = _Run(cluster=cluster, name=seen.cluster, gate=gate, how=how, journal=journal, past=past)
            report = run.run(poll, wanted, options)
    from ringcheck.report.roll import final

    say(final(seen.cluster, report, str(journal.path)))
    return EXIT[report.outcome]


def _nodes_to_restart(seen: Snapshot, cluster: ChosenCluster, nodes: Sequence[str], rack: str | None) -> list[str]:
    """Addresses of the nodes to restart, at least one.

    They are checked before there is a journal, in which a wrong name would stay as a run that was begun.

    Raises:
        UsageError: if there is no node to restart, or a node or datacenter is not of this cluster.
    """
    from ringcheck.core.evidence import evidence_of
    from ringcheck.core.selection import Scope
    from ringcheck.core.words import suggestion

    Scope(evidence_of(seen), cluster.policy(seen))
    datacenters = cluster.target.dc
    wanted = members(seen, nodes, rack, datacenters)
    if unknown := [address for address in wanted if address not in seen.index]:
        raise UsageError(f"{unknown[0]} is not a node of {seen.cluster} ({suggestion(unknown[0], seen.index)})")
    if not wanted:
        raise UsageError(f"{seen.cluster} has no node" + (f" in {', '.join(datacenters)}" if datacenters else ""))
    return wanted


def _require_commands(seen: Snapshot, how: Procedure, nodes: Sequence[str]) -> None:
    """Check that the commands of all nodes can be run, before one of them is touched.

    Raises:
        UsageError: if the words of one can't be made, or its program does not exist.
    """
    from ringcheck.restart.commands import require_program

    every = [how.words(seen.nodes[seen.index[node]]) for node in nodes]
    for words in dict.fromkeys(words for words_of in every for words in words_of.values()):
        require_program(words)


_SAME = (
    "wait", "max_batch", "by", "max_failures", "drain_timeout", "exec_timeout", "back_timeout", "purpose",
    "canary", "bake", "step", "window", "max_client_errors", "hints_timeout", "load_timeout",
)  # fmt: skip
"""Options with the name and the meaning of a field of `Procedure`."""


def _procedure(cluster: ChosenCluster, options: dict[str, Any]) -> Procedure:
    """How nodes are restarted, checked before a node is asked."""
    from ringcheck.restart.commands import require_program, split
    from ringcheck.restart.procedure import Procedure

    if options["step"] and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("--step asks before each batch: it needs a terminal")
    if options["bake"] and not options["canary"]:
        raise UsageError("--bake is the time after the canary nodes: name their number with --canary")
    check = split(options["check"]) if options["check"] else None
    if check:
        require_program(check)
    return Procedure(
        check=check,
        **_commands(options["exec_"], options["stop_exec"], options["start_exec"]),
        drain=not options["no_drain"],
        stable=options["stable"] or max(STABLE, cluster.stable_readings()),
        pause=options["pause_between"] or 0.0,
        **{name: options[name] for name in _SAME},
    )


def _commands(restart: str | None, stop: str | None, start: str | None) -> dict[str, Any]:
    from ringcheck.restart.commands import Command

    if bool(restart) == bool(stop or start) or bool(stop) != bool(start):
        raise UsageError("state how nodes are restarted: --exec, or --stop-exec and --start-exec")
    texts = {"restart": restart, "stop": stop, "start": start}
    return {name: Command.parse(text) if text else None for name, text in texts.items()}


def _past_unchanged(seen: Snapshot, options: dict[str, Any], wanted: Sequence[str]) -> Past | None:
    """As `_past`, for a dry run, which creates no journal.

    Raises:
        UsageError: as `_past`.
    """
    path = _path(options["journal"], seen.cluster)
    if not path.exists():
        if options["resume"]:
            raise UsageError(f"{path} has no roll to resume")
        return None
    with closing(_journal(path, seen.cluster)) as journal:
        return _past(journal, seen.cluster, wanted, resume=options["resume"])


def _not_begun(past: Past | None, wanted: Sequence[str]) -> list[str]:
    """The nodes whose restart has not begun."""
    return [node for node in past.nodes if node not in {*past.done, *past.begun}] if past else list(wanted)


def _journal(path: Path | None, cluster: str) -> Journal:
    from ringcheck.restart.journal import Journal

    return Journal(_path(path, cluster))


def _path(path: Path | None, cluster: str) -> Path:
    """The path of the journal; by default, a file in this directory that is called after the cluster."""
    safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in cluster)
    return path or Path(f"ringcheck-roll-{safe}.jsonl")


def _past(journal: Journal, cluster: str, wanted: Sequence[str], *, resume: bool) -> Past | None:
    """The run to continue; None for a new one.

    Raises:
        UsageError: if an unfinished run would be forgotten, or there is none of these nodes to continue.
    """
    past = journal.past
    if resume:
        _refuse_resume(journal, cluster, wanted)
        return past
    if past.run and not past.ended:
        text = f"{journal.path} has an unfinished roll of {past.cluster} by {past.owner}"
        raise UsageError(f"{text}: continue it with --resume, or name another --journal")
    return None


def _refuse_resume(journal: Journal, cluster: str, wanted: Sequence[str]) -> None:
    past = journal.past
    if past.run is None:
        raise UsageError(f"{journal.path} has no roll to resume")
    if past.ended:
        raise UsageError(f"the roll in {journal.path} is done: there is nothing to resume")
    if past.cluster != cluster:
        raise UsageError(f"{journal.path} is about {past.cluster}, not {cluster}")
    if others := set(wanted) - set(past.nodes):
        raise UsageError(f"{min(others)} is not among the nodes of {journal.path}")


def _confirm(cluster: str, nodes: Sequence[str], *, yes: bool) -> None:
    """Ask for confirmation at a terminal."""
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm(f"Restart {len(nodes)} nodes of {cluster}?", abort=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run that is about to begin, or to be continued.

    Attributes:
        cluster: whose nodes are restarted.
        name: of the cluster.
        gate: what must hold.
        how: to restart a node.
        journal: where every step is recorded.
        past: what the journal has of the run to continue; None for a new one.
    """

    cluster: ChosenCluster
    name: str
    gate: Gate
    how: Procedure
    journal: Journal
    past: Past | None

    def run(self, poll: Callable[[], Snapshot], wanted: Sequence[str], options: dict[str, Any]) -> Report:
        """Restart the nodes; `wanted` are those of a new run."""
        from ringcheck.restart.environment import LiveEnvironment
        from ringcheck.restart.runner import Runner
        from ringcheck.sources import open_control

        past = self.past
        nodes = past.nodes if past else tuple(wanted)
        with ExitStack() as stack:
            store = stack.enter_context(closing(self.cluster.lease_store(self.name)))
            control = stack.enter_context(closing(open_control(self.cluster.definition())))
            interrupts = stack.enter_context(_interrupts())
            record = stack.enter_context(
                _recorded(self.journal, len(nodes), len(past.done) if past else 0, bar=not self.how.step)
            )
            environment = LiveEnvironment(
                poll, control, interrupts, options["cql_port"], cql=not options["no_cql"], confirm=click.confirm
            )
            owner = self._begin(record, nodes)
            return Runner(
                environment=environment,
                store=store,
                policy=self.cluster.policy,
                gate=self.gate,
                procedure=self.how,
                owner=owner,
                record=record,
            ).run(nodes, past)

    def _begin(self, record: Callable[..., Event], nodes: Sequence[str]) -> str:
        """Record the beginning, and return the owner of the leases."""
        from ringcheck.leases.stamp import whoami

        past = self.past
        run = past.run if past and past.run else uuid.uuid4().hex[:8]
        owner = past.owner if past else f"{whoami()} roll {run}"
        record("resume" if past else "begin", run=run, owner=owner, cluster=self.name, nodes=list(nodes))
        return owner


@contextmanager
def _interrupts() -> Iterator[Callable[[], int]]:
    """A function that returns how often SIGINT or SIGTERM came since this began."""
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        text = "finishing the current batch; interrupt again to abort" if len(came) == 1 else "aborting"
        say(f"{signal.Signals(number).name}: {text}", err=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: len(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_IDLE = frozenset({"begin", "plan", "gate", "waiting", "lease", "pause", "bake", "check"})
"""Events between restarts: a run whose output is lost ends at one of these, and not while a node is drained."""


@contextmanager
def _recorded(journal: Journal, nodes: int, done: int, *, bar: bool) -> Iterator[Callable[..., Event]]:
    """A function that writes an event to the journal and then shows it; safe to call from several threads."""
    from ringcheck.report.roll import line

    guard = threading.Lock()
    with _printer(nodes, done, bar=bar) as show:

        def record(event: str, **fields: Any) -> Event:  # noqa: ANN401 - JSON
            with guard:
                written = journal.write(event, **fields)
                try:
                    show(line(written), event == "back")
                except OSError as error:
                    if event in _IDLE:
                        raise UsageError(f"stdout can't be written: {error.strerror or error}") from None
            return written

        yield record


@contextmanager
def _printer(nodes: int, done: int, *, bar: bool) -> Iterator[Callable[[str | None, bool], None]]:
    """A function that prints a line; at a terminal, with a bar below that shows how many nodes are back."""
    if not bar or not sys.stdout.isatty():
        yield lambda text, _: say(text) if text else None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    parts = (TextColumn("restarted"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*parts, transient=True) as progress:
        task = progress.add_task("", total=nodes, completed=done)

        def show(text: str | None, back: bool) -> None:  # noqa: FBT001 - a fact
            if text:
                progress.console.print(broken(text, columns()), markup=False, highlight=False, soft_wrap=True)
            if back:
                progress.advance(task)

        yield show
