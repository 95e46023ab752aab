"""`ringcheck lease`: list, acquire, release and break restart leases by hand."""

from __future__ import annotations

import json
import random
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import EXIT, gate_options, stable_option, wait_option
from ringcheck.cli.node_names import resolve, resolve_among
from ringcheck.cli.options import EVERY_KEYSPACE, NO_RECORDING, ClusterCommand, format_option, target_options
from ringcheck.cli.terminal import colours, columns, say
from ringcheck.errors import DataError, UsageError, one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.cli.target import ChosenCluster, Target
    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot
    from ringcheck.leases.record import HeldError
    from ringcheck.leases.store import Store
    from ringcheck.restart.readiness import RestartedNode

OVERDUE, REFUSED = 1, 2
_owner = click.option("--owner", metavar="NAME", help="Owner of the lease. [default: USER@HOST]")
_nodes = click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
_target_options = target_options(without=("dc", "keyspace"), refused={"from_": NO_RECORDING})


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lease() -> None:
    """Restart leases: which nodes are down, or about to be, on purpose.

    They are kept where `lease:` in the configuration says; without it, in a lock file on this host, which protects
    only against other runs on this host.
    """


@lease.command("list", cls=ClusterCommand)
@_target_options
@format_option("text", "json")
def list_(target: Target, format_: str) -> int:
    """Who holds which node, since when and why.

    Exit codes: 0; 1 if a lease is older than its deadline; 3 if the leases can't be read.
    """
    from ringcheck.config.values import Lease
    from ringcheck.leases.stamp import now
    from ringcheck.report import lease as report

    cluster = target.choose()
    deadline = ((cluster.configured and cluster.configured.lease) or Lease()).deadline
    with _store(cluster) as (store, name):
        document = report.leases_document(name, store.describe(), now(), deadline, store.holders(), store.history())
    click.echo(
        json.dumps(document, indent=2)
        if format_ == "json"
        else report.render(document, colour=colours(), width=columns())
    )
    return OVERDUE if any(holder["overdue"] for holder in document["holders"]) else 0


# Acquire


@lease.command(cls=ClusterCommand)
@target_options(refused={"keyspace": EVERY_KEYSPACE, "from_": NO_RECORDING})
@gate_options
@_nodes
@click.option(
    "--purpose", metavar="TEXT", default="restart by hand", show_default=True, help="The reason, shown to other people."
)
@_owner
@stable_option
@wait_option
@format_option("text", "json")
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
    """Take leases on nodes that may stop together now.

    The leases are recorded first. Then the gate judges fresh data, with all nodes under other leases counted as down,
    and the leases are withdrawn unless the answer is safe.

    Exit codes: 0 granted, 2 refused, 3 unknown. Stop the nodes only on 0.
    """
    from ringcheck.leases.record import HeldError, LeaseError
    from ringcheck.leases.stamp import whoami

    cluster = target.choose()
    seen = cluster.snapshot()
    request = _Request(
        cluster=cluster,
        gate=gate,
        targets=_targets(nodes, seen),
        owner=owner or whoami(),
        purpose=purpose,
        stable=stable,
    )
    with closing(cluster.lease_store(seen.cluster)) as store:
        try:
            decision = request.granted(store, seen, wait or 0.0)
        except HeldError as error:
            return _refuse(_held_by_others(seen, request.addresses(seen), error), error, format_)
        except LeaseError as error:
            if error.decision is None or not error.unsafe:
                raise
            decision = error.decision
            say(one_line(str(error), 900), err=True)
        described = store.describe()
    _show(decision, request, described, format_)
    return EXIT[decision.decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """Leases that are asked for: on some nodes, all of them or none.

    Attributes:
        targets: the nodes, each with the name that the operator gave it. Their addresses may change while the command
            waits: each reading is searched for them.
    """

    cluster: ChosenCluster
    gate: Gate
    targets: Mapping[str, RestartedNode]
    owner: str
    purpose: str
    stable: int | None

    def granted(self, store: Store, seen: Snapshot, wait: float) -> Decision:
        """The decision that grants the leases, or the last refusal after `wait` seconds.

        While it waits it holds no lease: two requests that wait would otherwise keep each other from being granted.

        Raises:
            HeldError: if another owner still holds one of the nodes.
            DataError: as `addresses`.
        """
        from ringcheck.cli.preflight import BETWEEN
        from ringcheck.leases.grant import granted
        from ringcheck.leases.record import HeldError

        ends = time.monotonic() + wait
        while True:
            pause = BETWEEN * random.uniform(0.5, 1.5)  # noqa: S311 - keeps two waiting requests from meeting again
            over = time.monotonic() + pause > ends
            try:
                decision = granted(store, self._wanted_leases(seen), self._decide)
                if over or decision.decision == "safe":
                    return decision
            except HeldError:
                if over:
                    raise
            time.sleep(pause)
            seen = self.cluster.snapshot()

    def _wanted_leases(self, seen: Snapshot) -> list[Holder]:
        from ringcheck.core.maintenance import Holder
        from ringcheck.leases.stamp import now

        since = now()
        host_ids = {address: seen.nodes[seen.index[address]].host_id for address in self.addresses(seen)}
        return [
            Holder(node=address, owner=self.owner, purpose=self.purpose, since=since, host_id=host_id)
            for address, host_id in host_ids.items()
        ]

    def _decide(self, others: tuple[Holder, ...]) -> Decision:
        from ringcheck.cli.preflight import Readings

        return Readings(
            cluster=self.cluster,
            gate=self.gate,
            choose=self.addresses,
            stable=self.stable,
            holders=others,
        ).decide()

    def addresses(self, seen: Snapshot) -> list[str]:
        """The addresses of the nodes in a snapshot.

        Raises:
            DataError: a node has left, or its name stands for another node now: the operator would stop that one.
            UsageError: a name stands for no node, or can mean several.
        """
        found: dict[str, None] = {}
        for name, target in self.targets.items():
            node = target.find(seen)
            if node is None:
                raise DataError(f"{target.node} left {seen.cluster}")
            if (meant := _member(name, seen)) != node.address:
                was = f"the node that was {target.node} when the command began is {node.address} now"
                raise DataError(f"{name} is another node now ({meant}); {was}: nothing is granted, ask again")
            found[node.address] = None
        return list(found)


def _targets(names: Iterable[str], seen: Snapshot) -> dict[str, RestartedNode]:
    """The nodes that some names mean."""
    from ringcheck.restart.readiness import RestartedNode

    addresses = {name: _member(name, seen) for name in names}
    return {
        name: RestartedNode(address, seen.nodes[seen.index[address]].host_id) for name, address in addresses.items()
    }


def _member(name: str, seen: Snapshot) -> str:
    """The address of a node of the cluster."""
    from ringcheck.core.words import suggestion

    address = resolve(name, seen)
    if address not in seen.index:
        raise UsageError(f"{name} is not a node of {seen.cluster} ({suggestion(name, seen.index)})")
    return address


def _held_by_others(seen: Snapshot, nodes: Sequence[str], error: HeldError) -> Decision:
    """The refusal because of other owners' leases, as a decision; the gate was not asked, and so checked nothing."""
    from ringcheck.core.gate import Checked, Decision
    from ringcheck.core.reasons import reason

    nodes_held = tuple(holder.node for holder in error.holders)
    return Decision(
        snapshot=seen,
        decision="unsafe",
        action="restart",
        candidates=tuple(nodes),
        holders=nodes_held,
        reasons=(reason("lease_held", nodes_held[0], str(error)),),
        checked=Checked(keyspaces=0, ranges=0, views=0, levels=()),
    )


def _refuse(decision: Decision, error: HeldError, format_: str) -> int:
    from ringcheck.documents.decision import decision_document

    document = json.dumps(decision_document(decision), indent=2)
    if format_ == "json":
        click.echo(document)
    else:
        say(one_line(f"UNSAFE {decision.snapshot.cluster}: {error}"))
    return REFUSED


def _show(decision: Decision, request: _Request, store: str, format_: str) -> None:
    from ringcheck.cli.repeated import repeated
    from ringcheck.documents.decision import decision_document
    from ringcheck.report import gate as report

    if format_ == "json":
        click.echo(json.dumps(decision_document(decision), indent=2))
        return
    click.echo(report.render(decision, colour=colours(), width=columns()))
    if decision.decision == "safe":
        leases = f"Leases of {request.owner} on {', '.join(decision.candidates)} in {store}"
        say(f"\n{leases}: give them back with `ringcheck lease release {repeated(release)}`")


# Release and break


@lease.command(cls=ClusterCommand)
@_target_options
@_nodes
@_owner
@click.option("--force", is_flag=True, help="Release without checking whether the nodes are back.")
def release(target: Target, nodes: tuple[str, ...], owner: str | None, force: bool) -> int:  # noqa: FBT001 - a flag
    """Give leases back, if the nodes are back.

    A node is back when it is NORMAL, serves clients, is seen up by all nodes, and sees all of them up.

    Exit codes: 0 released, 2 a node is not back or is held by another owner, 3 unknown.
    """
    from ringcheck.leases.record import HeldError
    from ringcheck.leases.stamp import whoami

    cluster = target.choose()
    with _store(cluster) as (store, name):
        leases = [_lease_of(node, store.holders()) for node in nodes]
        addresses = [holder.node for holder in leases]
        away = [] if force else _not_back(cluster.snapshot(), leases)
        if away:
            problems = one_line(f"{name}: {'; '.join(away)}", 900)
            say(f"REFUSED {problems}; nothing is released (--force releases without this check)")
            return REFUSED
        try:
            store.remove(set(addresses), owner or whoami())
        except HeldError as error:
            problem = one_line(f"{name}: {error}", 900)
            say(f"REFUSED {problem}; name that owner with --owner, or use `ringcheck lease break`")
            return REFUSED
    say(printable(f"{name}: released {', '.join(addresses)}"))
    return 0


def _not_back(seen: Snapshot, leases: Sequence[Holder]) -> list[str]:
    """Why nodes are not back, a line for each of them that is not."""
    from ringcheck.leases.grant import placed
    from ringcheck.restart.readiness import RestartedNode, lacking

    problems = (
        (placed(holder, seen).node, lacking(RestartedNode(holder.node, holder.host_id), seen)) for holder in leases
    )
    return [f"{address}: {problem}" for address, problem in problems if problem]


@lease.command("break", cls=ClusterCommand)
@_target_options
@click.argument("node", metavar="NODE")
@click.option("--reason", required=True, metavar="TEXT", help="Why the lease is broken; kept in the record.")
def break_(target: Target, node: str, reason: str) -> int:
    """Take the lease of a node away from its owner.

    Use it if the owner's run has died, or the node is gone for good. First make sure that nobody works on the node:
    without the lease the gate no longer counts it as down, and other nodes may stop.

    Exit codes: 0 broken; 3 if it is not known whether the lease is broken.
    """
    from ringcheck.leases.stamp import whoami

    if not reason.strip():
        raise UsageError("--reason is empty: state why the lease is broken")
    with _store(target.choose()) as (store, name):
        taken = store.take_away(_lease_of(node, store.holders()).node, whoami(), reason)
    say(one_line(f"{name}: {taken.node} is no longer under the lease of {taken.owner} since {taken.since}"))
    return 0


def _lease_of(name: str, holders: Sequence[Holder]) -> Holder:
    """The lease of a node, which is named as for the gate; no node is asked.

    Raises:
        UsageError: if there is no such lease, or the name can mean several nodes.
    """
    from ringcheck.core.words import listed

    address = resolve_among(name, {holder.node: holder.host_id for holder in holders})
    for holder in holders:
        if holder.node == address:
            return holder
    held = [holder.node for holder in holders]
    # No "did you mean": the name may be that of another node, which is under no lease.
    others = f"nodes under a lease: {listed(held)}" if held else "no node is under one"
    raise UsageError(f"{name} is under no restart lease ({others})")


@contextmanager
def _store(cluster: ChosenCluster) -> Iterator[tuple[Store, str]]:
    """The lease store and the cluster's name, which is asked of the cluster only if none is configured."""
    name = cluster.configured.name if cluster.configured else cluster.snapshot().cluster
    with closing(cluster.lease_store(name)) as store:
        yield store, name
