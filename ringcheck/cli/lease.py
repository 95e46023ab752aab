"""`ringcheck lease`: who holds which node, and to take, give back or take away a restart lease by hand."""

from __future__ import annotations

import json
import random
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import gate_options, meant, resolve
from ringcheck.cli.target import Seconds, Target, target_options
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ringcheck.cli.target import Settled
    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot
    from ringcheck.leases.record import HeldError
    from ringcheck.leases.store import Store

OVERDUE, REFUSED = 1, 2
_owner = click.option("--owner", metavar="NAME", help="Whose lease it is. [default: USER@HOST]")
_nodes = click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
_as = click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lease() -> None:
    """Restart leases: which nodes are down, or about to be, on purpose.

    They are kept in etcd where `lease:` in the configuration says so, else in a lock file, which protects against
    other runs on this host only.
    """


@lease.command("list")
@target_options
@_as
def list_(target: Target, format_: str) -> int:
    """Who holds which node, since when and why.

    Exit codes: 0, 1 if a lease is older than its deadline, 3 if it is not known.
    """
    from ringcheck.config.values import Lease
    from ringcheck.leases.stamp import now
    from ringcheck.report import lease as report

    settled = target.settled()
    deadline = ((settled.configured and settled.configured.lease) or Lease()).deadline
    with _store(settled) as (store, cluster):
        seen = store.describe(), now(), deadline, store.holders(), store.history()
    document = report.leases_document(cluster, *seen)
    click.echo(json.dumps(document, indent=2) if format_ == "json" else report.render(document))
    return OVERDUE if any(one["overdue"] for one in document["holders"]) else 0


@lease.command
@target_options
@gate_options
@_nodes
@click.option("--purpose", default="restart by hand", show_default=True, help="Why, for others to read.")
@_owner
@click.option(
    "--stable", type=click.IntRange(1), metavar="N", help="Safe readings in a row. [default: the config's, or 1]"
)
@click.option("--wait", type=Seconds(), metavar="DURATION", help="Read again for so long until it is safe.")
@_as
def acquire(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    gate: Gate,
    nodes: tuple[str, ...],
    purpose: str,
    owner: str | None,
    stable: int | None,
    wait: float | None,
    format_: str,
) -> int:
    """Take leases, if the nodes may stop together now.

    The leases are recorded first; then the gate is asked on fresh data, with all nodes under other leases counted as
    down, and the leases are withdrawn unless it says safe. Exit codes: 0 granted, 2 refused, 3 unknown; only 0 is a
    yes.
    """
    from ringcheck.cli.preflight import EXIT, until_safe
    from ringcheck.documents.decision import decision_document
    from ringcheck.leases.record import HeldError
    from ringcheck.leases.stamp import now, whoami
    from ringcheck.report import gate as report

    settled = target.settled()
    seen = settled.snapshot()
    chosen = list(dict.fromkeys(_member(name, seen) for name in nodes))
    taker, since = owner or whoami(), now()
    wanted = [_wanted(node, taker, purpose, since, seen) for node in chosen]

    def decide(others: tuple[Holder, ...]) -> Decision:
        readings = stable or settled.stable_readings()
        return until_safe(settled, gate, lambda _: chosen, "restart", readings, 0.0, lambda _: others)

    with closing(settled.leases(seen.cluster)) as store:
        try:
            decision = _granted(store, wanted, decide, wait or 0.0)
        except HeldError as error:
            told = json.dumps(decision_document(_held_by_others(seen, chosen, error)), indent=2)
            click.echo(told if format_ == "json" else f"UNSAFE {seen.cluster}: {error}")
            return REFUSED
        where = store.describe()
    if format_ == "json":
        click.echo(json.dumps(decision_document(decision), indent=2))
        return EXIT[decision.decision]
    click.echo(report.render(decision))
    if decision.decision == "safe":
        click.echo(f"\nLeases of {taker} on {', '.join(chosen)} in {where}: `ringcheck lease release` gives them back")
    return EXIT[decision.decision]


def _granted(
    store: Store, wanted: Sequence[Holder], decide: Callable[[tuple[Holder, ...]], Decision], wait: float
) -> Decision:
    """The first grant, or the last refusal in the time there is.

    Nothing stays recorded while it waits: two that wait would keep each other from ever being granted.
    """
    from ringcheck.cli.preflight import BETWEEN
    from ringcheck.leases.grant import granted
    from ringcheck.leases.record import HeldError

    ends = time.monotonic() + wait
    while True:
        pause = BETWEEN * random.uniform(0.5, 1.5)  # noqa: S311 - so that two that refused each other don't meet again
        over = time.monotonic() + pause > ends
        try:
            decision = granted(store, wanted, decide)
            if over or decision.decision == "safe":
                return decision
        except HeldError:
            if over:
                raise
        time.sleep(pause)


def _held_by_others(seen: Snapshot, chosen: Sequence[str], error: HeldError) -> Decision:
    """The refusal of nodes that other owners hold, in the gate's form; it was not asked, and so checked nothing."""
    from ringcheck.core.gate import Checked, Decision
    from ringcheck.core.reasons import reason

    held = tuple(one.node for one in error.holders)
    return Decision(
        snapshot=seen,
        decision="unsafe",
        action="restart",
        candidates=tuple(chosen),
        holders=held,
        reasons=(reason("lease_held", held[0], str(error)),),
        checked=Checked(keyspaces=0, ranges=0, views=0, levels=()),
    )


def _member(name: str, seen: Snapshot) -> str:
    """The address of a node of the cluster."""
    address = resolve(name, seen)
    if address not in seen.index:
        raise UsageError(f"{name} is no node of {seen.cluster}")
    return address


def _wanted(address: str, owner: str, purpose: str, since: str, seen: Snapshot) -> Holder:
    from ringcheck.core.maintenance import Holder

    return Holder(
        node=address, owner=owner, purpose=purpose, since=since, host_id=seen.nodes[seen.index[address]].host_id
    )


@lease.command
@target_options
@_nodes
@_owner
@click.option("--force", is_flag=True, help="Release though a node is not back, without asking any.")
def release(target: Target, nodes: tuple[str, ...], owner: str | None, force: bool) -> int:  # noqa: FBT001 - a flag
    """Give leases back, if the nodes are really back: NORMAL, serving, seen up by all and seeing them up.

    Exit codes: 0 released, 2 a node is not back or another owner's, 3 unknown.
    """
    from ringcheck.leases.record import HeldError
    from ringcheck.leases.stamp import whoami

    settled = target.settled()
    with _store(settled) as (store, cluster):
        held = [_held(name, store.holders()) for name in nodes]
        away = [] if force else _away(settled.snapshot(), held)
        if away:
            click.echo(f"REFUSED {cluster}: {'; '.join(away)}; nothing is released (--force does it all the same)")
            return REFUSED
        try:
            store.remove({one.node for one in held}, owner or whoami())
        except HeldError as error:
            click.echo(f"REFUSED {cluster}: {error}; --owner names another, `ringcheck lease break` takes it away")
            return REFUSED
    click.echo(f"{cluster}: released {', '.join(one.node for one in held)}")
    return 0


def _away(seen: Snapshot, held: Sequence[Holder]) -> list[str]:
    """Why nodes are not back, a line each."""
    from ringcheck.leases.grant import placed
    from ringcheck.restart.readiness import RestartedNode, lacking

    found = ((placed(one, seen).node, lacking(RestartedNode(one.node, one.host_id), seen)) for one in held)
    return [f"{at}: {why}" for at, why in found if why]


@lease.command("break")
@target_options
@click.argument("node", metavar="NODE")
@click.option("--reason", required=True, metavar="TEXT", help="Why; the record remembers it.")
def break_(target: Target, node: str, reason: str) -> int:
    """Take a node's lease away from whoever holds it: its run has died, or its node has gone for good.

    Look first that nobody works on the node: the next one is told that it is up. Exit codes: 0, 3 if it is not known
    whether it was done.
    """
    from ringcheck.leases.stamp import whoami

    if not reason.strip():
        raise UsageError("--reason says why: the record remembers it")
    with _store(target.settled()) as (store, cluster):
        taken = store.take_away(_held(node, store.holders()).node, whoami(), reason)
    click.echo(f"{cluster}: {taken.node} is no longer under the lease of {taken.owner} since {taken.since}")
    return 0


def _held(name: str, holders: Sequence[Holder]) -> Holder:
    """The lease of a node that is named as for the gate, though no node is asked.

    Raises:
        UsageError: if there is none, or several could be meant.
    """
    address = meant(name, {one.node: one.host_id for one in holders})
    found = next((one for one in holders if one.node == address), None)
    if found is None:
        known = ", ".join(one.node for one in holders) or "no node is"
        raise UsageError(f"{name} is under no restart lease; under one: {known}")
    return found


@contextmanager
def _store(settled: Settled) -> Iterator[tuple[Store, str]]:
    """Where the leases are, and the cluster's name; only one that is not configured must be asked for it."""
    known = settled.configured
    name = known.name if known else settled.snapshot().cluster
    with closing(settled.leases(name)) as store:
        yield store, name
