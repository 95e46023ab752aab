"""`ringcheck roll`: restart the nodes of a cluster, batch after batch, without a failed query."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringcheck.cli.gate import gate_options, members
from ringcheck.cli.target import Seconds, Settled, Target, target_options
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ringcheck.core.gate import Gate
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.roll import Report
    from ringcheck.restart.journal import Event, Journal, Past
    from ringcheck.restart.procedure import Procedure

EXIT = {"done": 0, "interrupted": 1, "refused": 2, "failed": 2, "doubt": 3, "aborted": 3}
STABLE = 3  # readings, at least


@click.command
@target_options
@gate_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--rack", metavar="RACK", help="Only the nodes of this rack.")
@click.option(
    "--exec", "exec_", metavar="CMD", help="Restarts one node: 'ssh {address} sudo systemctl restart cassandra'."
)
@click.option("--stop-exec", metavar="CMD", help="Instead of --exec: stops one node ...")
@click.option("--start-exec", metavar="CMD", help="... and starts it again.")
@click.option("--no-drain", is_flag=True, help="Do not drain nodes first: the command stops them gracefully itself.")
@click.option(
    "--stable", type=click.IntRange(1), metavar="N", help="Safe readings in a row before a batch. [default: 3]"
)
@click.option("--wait", type=Seconds(), default=600.0, show_default="10m", help="How long the gate may refuse.")
@click.option("--max-batch", type=click.IntRange(1), metavar="N", help="Nodes at once, at most.")
@click.option("--by", type=click.Choice(["rack", "node"]), help="Whole racks at once, or single nodes; as in `plan`.")
@click.option("--pause-between", type=Seconds(), default=None, help="Rest between batches.")
@click.option("--max-failures", type=click.IntRange(0), default=0, show_default=True, help="Nodes that may fail.")
@click.option("--drain-timeout", type=Seconds(), default=300.0, show_default="5m", help="For a drain.")
@click.option("--exec-timeout", type=Seconds(), default=600.0, show_default="10m", help="For a command.")
@click.option("--back-timeout", type=Seconds(), default=900.0, show_default="15m", help="For a node to be back.")
@click.option("--cql-port", type=click.IntRange(1, 65535), help="Where clients connect. [default: as gossip tells]")
@click.option("--no-cql", is_flag=True, help="Do not check CQL ports, where they can't be reached from here.")
@click.option("--purpose", default="rolling restart", show_default=True, help="Of the leases, for others to read.")
@click.option(
    "--journal", type=click.Path(path_type=Path, dir_okay=False), help="[default: ringcheck-roll-CLUSTER.jsonl here]"
)
@click.option("--resume", is_flag=True, help="Go on where the run of the journal stopped or was killed.")
@click.option("--dry-run", is_flag=True, help="Show the batches, the gate's word and the commands; do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask at a terminal.")
def roll(target: Target, nodes: tuple[str, ...], rack: str | None, gate: Gate, **options: Any) -> int:  # noqa: ANN401 - one an option
    """Restart nodes batch by batch: gate, lease, drain, your command, and wait until they are really back.

    A NODE is an address, a host name, a host id, or the beginning of one; without any all nodes are restarted. In the
    commands {address}, {host_id}, {datacenter} and {rack} become the node's; no shell is involved.

    Exit codes: 0 all done, 1 stopped as asked, 2 refused or failed, 3 in doubt. An interrupt lets the batch in hand
    come back and stops then; a second one aborts.
    """
    settled = target.settled()
    if target.from_:
        raise UsageError("--from is a recording: nothing can be restarted in it")
    how = _procedure(settled, options)
    with settled.polls(streams=True) as poll:
        seen = poll()
        wanted = _wanted(seen, settled, nodes, rack)
        if options["dry_run"]:
            return _dry_run(seen, settled, gate, how, wanted)
        with closing(_journal(options["journal"], seen.cluster)) as journal:
            past = _past(journal, seen.cluster, wanted, resume=options["resume"])
            _confirm(seen.cluster, past.nodes if past else wanted, yes=options["yes"])
            report = _run(settled, gate, how, poll, journal, past, seen.cluster, wanted, options)
    from ringcheck.report.roll import final

    click.echo(final(seen.cluster, report, str(journal.path)))
    return EXIT[report.outcome]


def _wanted(seen: Snapshot, settled: Settled, nodes: Sequence[str], rack: str | None) -> list[str]:
    """Addresses of the nodes that are to be restarted: one at least.

    Raises:
        UsageError: if there is none, or one or a datacenter that is none of the cluster; before there is a journal, in
            which it would stay as a run that was begun.
    """
    from ringcheck.core.evidence import evidence_of
    from ringcheck.core.selection import Scope

    Scope(evidence_of(seen), settled.policy())
    homes = settled.target.dc
    wanted = members(seen, nodes, rack, homes)
    if unknown := [one for one in wanted if one not in seen.index]:
        raise UsageError(f"{unknown[0]} is no node of {seen.cluster}")
    if not wanted:
        raise UsageError(f"{seen.cluster} has no node" + (f" in {', '.join(homes)}" if homes else ""))
    return wanted


def _procedure(settled: Settled, options: dict[str, Any]) -> Procedure:
    """What the options say, checked before anything is asked."""
    from ringcheck.restart.commands import Command
    from ringcheck.restart.procedure import Procedure

    whole, stop, start = (options[name] for name in ("exec_", "stop_exec", "start_exec"))
    if bool(whole) == bool(stop or start) or bool(stop) != bool(start):
        raise UsageError("say how nodes are restarted: --exec, or --stop-exec and --start-exec")
    restart, stop, start = (Command.parse(one) if one else None for one in (whole, stop, start))
    same = {name: options[name] for name in _SAME}
    return Procedure(
        restart=restart,
        stop=stop,
        start=start,
        drain=not options["no_drain"],
        stable=options["stable"] or max(STABLE, settled.stable_readings()),
        pause=options["pause_between"] or 0.0,
        **same,
    )


_SAME = ("wait", "max_batch", "by", "max_failures", "drain_timeout", "exec_timeout", "back_timeout", "purpose")


def _journal(path: Path | None, cluster: str) -> Journal:
    from ringcheck.restart.journal import Journal

    safe = "".join(one if one.isalnum() or one in "-_." else "_" for one in cluster)
    return Journal(path or Path(f"ringcheck-roll-{safe}.jsonl"))


def _past(journal: Journal, cluster: str, wanted: Sequence[str], *, resume: bool) -> Past | None:
    """The run that is to be continued; None for a new one.

    Raises:
        UsageError: if an unfinished one would be forgotten, or is about something else.
    """
    past = journal.past
    if not resume:
        if past.run and not past.ended:
            text = f"{journal.path} has an unfinished roll of {past.cluster} by {past.owner}"
            raise UsageError(f"{text}: --resume goes on with it, another --journal starts anew")
        return None
    if past.run is None:
        raise UsageError(f"{journal.path} has no roll to resume")
    if past.ended:
        raise UsageError(f"the roll in {journal.path} is done: there is nothing to resume")
    if past.cluster != cluster:
        raise UsageError(f"{journal.path} is about {past.cluster}, not {cluster}")
    if others := set(wanted) - set(past.nodes):
        raise UsageError(f"{min(others)} is not among the nodes of {journal.path}")
    return past


def _confirm(cluster: str, nodes: Sequence[str], *, yes: bool) -> None:
    """Ask a person; scripts have said what they want."""
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm(f"Restart {len(nodes)} nodes of {cluster}?", abort=True)


def _run(  # noqa: PLR0913, PLR0917 - what a run is made of
    settled: Settled,
    gate: Gate,
    how: Procedure,
    poll: Callable[[], Snapshot],
    journal: Journal,
    past: Past | None,
    cluster: str,
    wanted: Sequence[str],
    options: dict[str, Any],
) -> Report:
    from ringcheck.leases.stamp import whoami
    from ringcheck.restart.environment import LiveEnvironment
    from ringcheck.restart.runner import Runner
    from ringcheck.sources import open_control

    run = past.run if past and past.run else uuid.uuid4().hex[:8]
    owner = past.owner if past else f"{whoami()} roll {run}"
    nodes = past.nodes if past else tuple(wanted)
    with ExitStack() as stack:
        store = stack.enter_context(closing(settled.leases(cluster)))
        control = stack.enter_context(closing(open_control(settled.cluster())))
        interrupts = stack.enter_context(_interrupts())
        tell = stack.enter_context(_told(journal, len(nodes), len(past.done) if past else 0))
        environment = LiveEnvironment(poll, control, interrupts, options["cql_port"], cql=not options["no_cql"])
        tell("resume" if past else "begin", run=run, owner=owner, cluster=cluster, nodes=list(nodes))
        runner = Runner(
            environment=environment,
            store=store,
            policy=settled.policy(),
            gate=gate,
            procedure=how,
            owner=owner,
            record=tell,
        )
        return runner.run(nodes, past)


@contextmanager
def _interrupts() -> Iterator[Callable[[], int]]:
    """How often SIGINT or SIGTERM came, while this lasts."""
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        text = "finishing the batch in hand; once more aborts" if len(came) == 1 else "aborting"
        click.echo(f"{signal.Signals(number).name}: {text}", err=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: len(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _told(journal: Journal, nodes: int, done: int) -> Iterator[Callable[..., Event]]:
    """Write each event to the journal first, then show it; commands of a batch tell from several threads."""
    from ringcheck.report.roll import line

    guard = threading.Lock()
    with _shown(nodes, done) as show:

        def tell(event: str, **fields: Any) -> Event:  # noqa: ANN401 - JSON
            with guard:
                told = journal.write(event, **fields)
                show(line(told), event == "back")
            return told

        yield tell


@contextmanager
def _shown(nodes: int, done: int) -> Iterator[Callable[[str | None, bool], None]]:
    """Lines; below them, at a terminal, how many nodes are back."""
    if not sys.stdout.isatty():
        yield lambda text, _: click.echo(text) if text else None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("restarted"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("", total=nodes, completed=done)

        def show(text: str | None, back: bool) -> None:  # noqa: FBT001 - a fact
            if text:
                progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
            if back:
                progress.advance(task)

        yield show


def _dry_run(seen: Snapshot, settled: Settled, gate: Gate, how: Procedure, wanted: Sequence[str]) -> int:
    """What would be done: batches, the commands, and what the gate says of the first now."""
    from ringcheck.cli import preflight
    from ringcheck.core.gate import Gatekeeper
    from ringcheck.core.plan import plan_with
    from ringcheck.report import gate as report
    from ringcheck.report.roll import rehearsal

    holders = settled.leased(seen)
    keeper = Gatekeeper(seen, settled.policy(), gate, holders)
    made = plan_with(keeper, nodes=wanted, max_batch=how.max_batch, by=how.by)
    commands = [one for one in (how.restart, how.stop, how.start) if one]
    words = {one: [command.of(seen.nodes[seen.index[one]]) for command in commands] for one in wanted}
    click.echo(rehearsal(made, words, drain=how.drain))
    if made.refused or not made.batches:
        return EXIT["refused"]
    decision = keeper.decide(made.batches[0])
    click.echo(f"\n{report.render(decision)}")
    return preflight.EXIT[decision.decision]
